/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the server's certificate: gRPC asks for it at every connection and is given a new one only
 * when it has changed. Threads: any; tls_lock.
 */
#include "rt/server_priv.h"

#include <openssl/crypto.h>
#include <string.h>

static void wipe(const weft_alloc *alloc, char **text)
{
    if (*text) {
        OPENSSL_cleanse(*text, strlen(*text));
        weft_free(alloc, *text);
        *text = NULL;
    }
}

void weft_rt_server_wipe_tls(weft_rt_server *server)
{
    wipe(server->alloc, &server->ca_pem);
    wipe(server->alloc, &server->cert_pem);
    wipe(server->alloc, &server->key_pem);
}

static void swap(char **a, char **b)
{
    char *t = *a;
    *a = *b;
    *b = t;
}

weft_status weft_rt_server_set_tls(weft_rt_server *server, const weft_rt_tls *tls, weft_err *err)
{
    char *ca = weft_string_copy(server->alloc, tls->ca_pem, SIZE_MAX);
    char *cert = weft_string_copy(server->alloc, tls->cert_pem, SIZE_MAX);
    char *key = weft_string_copy(server->alloc, tls->key_pem, SIZE_MAX);
    const bool complete = ca && cert && key;
    if (complete) {
        weft_rt_lock_take(&server->tls_lock);
        swap(&ca, &server->ca_pem);
        swap(&cert, &server->cert_pem);
        swap(&key, &server->key_pem);
        server->tls_generation++;
        weft_rt_lock_give(&server->tls_lock);
    }
    wipe(server->alloc, &ca); /* the old ones */
    wipe(server->alloc, &cert);
    wipe(server->alloc, &key);
    if (!complete) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the server's certificate");
    }
    return WEFT_OK;
}

weft_status weft_rt_server_reload(weft_rt_server *server, const weft_rt_tls *tls, weft_err *err)
{
    if (server->options.plain) {
        WEFT_FAIL(err, WEFT_E_STATE, "a server without TLS has no certificate to replace");
    }
    WEFT_TRY(weft_rt_tls_check(tls, true, err));
    return weft_rt_server_set_tls(server, tls, err);
}

/* Called by gRPC for every connection, perhaps several at once. */
static grpc_ssl_certificate_config_reload_status fetch(void *arg,
                                                       grpc_ssl_server_certificate_config **config)
{
    weft_rt_server *server = arg;
    grpc_ssl_certificate_config_reload_status status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    weft_rt_lock_take(&server->tls_lock);
    if (server->tls_delivered != server->tls_generation) {
        const grpc_ssl_pem_key_cert_pair pair = {server->key_pem, server->cert_pem};
        *config = grpc_ssl_server_certificate_config_create(server->ca_pem, &pair, 1);
        if (*config) {
            server->tls_delivered = server->tls_generation;
            status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
        } else {
            status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
        }
    }
    weft_rt_lock_give(&server->tls_lock);
    return status;
}

grpc_server_credentials *weft_rt_server_credentials(weft_rt_server *server)
{
    /* not required: enrolling clients have no certificate yet; one that is shown must be valid */
    grpc_ssl_server_credentials_options *options =
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY, fetch, server);
    return options ? grpc_ssl_server_credentials_create_with_options(options) : NULL;
}
