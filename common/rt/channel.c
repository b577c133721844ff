/* SPDX-License-Identifier: Apache-2.0 */
/* Owns channels: where to, as whom, under which limits. Owner thread; unary from any. */
#include "rt/channel_priv.h"
#include "rt/server_priv.h"

#include "base/version.h"

#include <grpc/grpc_security.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PLAIN_SCHEME     "plain:"
#define MAX_ARGS         20
#define FIRST_BACKOFF_MS 500
#define CONNECT_LIMIT_MS 10000

static weft_status check_proxy(const char *proxy, weft_err *err)
{
    static const char scheme[] = "http://";
    if (strncmp(proxy, scheme, sizeof scheme - 1) != 0 ||
        !weft_rt_address_valid(proxy + sizeof scheme - 1)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the proxy %.100s is not http://host:port", proxy);
    }
    return WEFT_OK;
}

/* "plain:127.0.0.1:7443": the same options without TLS; identity is where the name is kept. */
static weft_status open_plain(weft_rt_channel_options *o,
                              char identity[static WEFT_RT_IDENTITY_BYTES], weft_err *err)
{
    o->address += sizeof PLAIN_SCHEME - 1;
    o->plain = true;
    if (!o->plain_identity && o->tls && o->tls->cert_pem) {
        WEFT_TRY(weft_rt_tls_identity(identity, WEFT_RT_IDENTITY_BYTES, o->tls->cert_pem, err));
        o->plain_identity = identity;
    }
    return WEFT_OK;
}

static weft_status check_options(const weft_rt_channel_options *o, weft_err *err)
{
    if (!weft_rt_address_valid(o->address)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the address %.100s is not host:port", o->address);
    }
    if (o->http_proxy) {
        WEFT_TRY(check_proxy(o->http_proxy, err));
    }
    if (!o->plain) {
        if (o->plain_identity) {
            WEFT_FAIL(err, WEFT_E_INVALID, "with TLS the identity is the certificate's");
        }
        return weft_rt_tls_check(o->tls, false, err);
    }
    if (!weft_rt_address_loopback(o->address)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "without TLS only loopback addresses are called, not %.100s",
                  o->address);
    }
    if (o->plain_identity && strlen(o->plain_identity) >= WEFT_RT_IDENTITY_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the identity has more than %d bytes",
                  WEFT_RT_IDENTITY_BYTES - 1);
    }
    return WEFT_OK;
}

typedef struct arg_list {
    grpc_arg args[MAX_ARGS];
    size_t n;
} arg_list;

/* gRPC's interface knows no const: it copies keys and strings */
static char *unconst(const char *text)
{
    void *p = NULL;
    memcpy(&p, &text, sizeof p);
    return p;
}

static void add_number(arg_list *list, const char *key, uint32_t value)
{
    grpc_arg *arg = &list->args[list->n++];
    arg->type = GRPC_ARG_INTEGER;
    arg->key = unconst(key);
    arg->value.integer = value > INT_MAX ? INT_MAX : (int)value;
}

static void add_text(arg_list *list, const char *key, const char *value)
{
    grpc_arg *arg = &list->args[list->n++];
    arg->type = GRPC_ARG_STRING;
    arg->key = unconst(key);
    arg->value.string = unconst(value);
}

static grpc_channel *make_channel(const weft_rt_channel_options *o,
                                  grpc_channel_credentials *credentials)
{
    arg_list list = {0};
    add_number(&list, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, o->max_message_bytes);
    add_number(&list, GRPC_ARG_HTTP2_BDP_PROBE, 0);
    /* an update is resumed where the coordinator says, never replayed from a buffer */
    add_number(&list, GRPC_ARG_ENABLE_RETRIES, 0);
    add_number(&list, GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    add_number(&list, GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, FIRST_BACKOFF_MS);
    add_number(&list, GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_LIMIT_MS);
    add_number(&list, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, o->backoff_max_ms);
    add_number(&list, GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, FIRST_BACKOFF_MS);
    add_number(&list, GRPC_ARG_DNS_ENABLE_SRV_QUERIES, 0);
    add_number(&list, GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
    add_number(&list, GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
    add_number(&list, GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1);
    add_text(&list, GRPC_ARG_PRIMARY_USER_AGENT_STRING, "weft/" WEFT_VERSION);
    add_number(&list, GRPC_ARG_ENABLE_HTTP_PROXY, o->http_proxy != NULL);
    if (o->http_proxy) {
        add_text(&list, GRPC_ARG_HTTP_PROXY, o->http_proxy);
    }
    if (o->target_name) {
        add_text(&list, GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, o->target_name);
    }
    if (o->keepalive_ms) {
        add_number(&list, GRPC_ARG_KEEPALIVE_TIME_MS, o->keepalive_ms);
        add_number(&list, GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
        add_number(&list, GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    }
    const grpc_channel_args args = {list.n, list.args};
    return grpc_channel_create(o->address, credentials, &args);
}

static grpc_channel_credentials *make_credentials(const weft_rt_channel_options *o)
{
    if (o->plain) {
        return grpc_insecure_credentials_create();
    }
    grpc_ssl_pem_key_cert_pair pair = {o->tls->key_pem, o->tls->cert_pem};
    return grpc_ssl_credentials_create_ex(o->tls->ca_pem, o->tls->cert_pem ? &pair : NULL, NULL,
                                          NULL);
}

weft_status weft_rt_channel_new(weft_rt_channel **ret, const weft_rt_channel_options *given,
                                weft_err *err)
{
    if (!given || given->size != sizeof *given || !given->alloc || !given->address) {
        WEFT_FAIL(err, WEFT_E_INVALID, "channel options need an address and an allocator");
    }
    weft_rt_channel_options o = *given;
    const weft_rt_channel_options *options = &o;
    char identity[WEFT_RT_IDENTITY_BYTES];
    if (strncmp(o.address, PLAIN_SCHEME, sizeof PLAIN_SCHEME - 1) == 0) {
        WEFT_TRY(open_plain(&o, identity, err));
    }
    WEFT_TRY(check_options(options, err));
    weft_rt_channel *channel = weft_array(options->alloc, 1, sizeof *channel);
    if (!channel) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a channel");
    }
    channel->alloc = options->alloc;
    if (options->plain_identity) {
        channel->plain_identity =
            weft_string_copy(options->alloc, options->plain_identity, SIZE_MAX);
        if (!channel->plain_identity) {
            weft_free(options->alloc, channel);
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a channel");
        }
    }
    grpc_init();
    grpc_channel_credentials *credentials = make_credentials(options);
    if (credentials) {
        channel->grpc = make_channel(options, credentials);
        grpc_channel_credentials_release(credentials);
    }
    if (!channel->grpc) {
        weft_rt_channel_free(channel);
        WEFT_FAIL(err, WEFT_E_CRYPTO, "gRPC makes no channel to %.100s with these credentials",
                  options->address);
    }
    *ret = channel;
    return WEFT_OK;
}

void weft_rt_channel_free(weft_rt_channel *channel)
{
    if (!channel) {
        return;
    }
    if (channel->grpc) {
        grpc_channel_destroy(channel->grpc);
    }
    grpc_shutdown();
    weft_free(channel->alloc, channel->plain_identity);
    weft_free(channel->alloc, channel);
}

void weft_rt_channel_retry_now(weft_rt_channel *channel)
{
    grpc_channel_reset_connect_backoff(channel->grpc);
}

size_t weft_rt_channel_metadata(const weft_rt_channel *channel,
                                grpc_metadata out[static WEFT_RT_MAX_CALL_METADATA])
{
    if (!channel->plain_identity) {
        return 0;
    }
    out[0] = (grpc_metadata){0};
    out[0].key = grpc_slice_from_static_string(WEFT_RT_PLAIN_IDENTITY_KEY);
    out[0].value = grpc_slice_from_copied_string(channel->plain_identity);
    return 1;
}
