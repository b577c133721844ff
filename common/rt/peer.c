/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of a caller's identity out of gRPC. Poller threads; no shared state. */
#include "rt/server_priv.h"

#include "base/buf.h"
#include "rt/certificate_priv.h"

#include <grpc/grpc_security_constants.h>
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <string.h>

static void copy_text(char *out, size_t out_size, const char *text, size_t n)
{
    if (n >= out_size) {
        n = out_size - 1;
    }
    memcpy(out, text, n);
    out[n] = 0;
}

static void read_tls(weft_rt_peer *peer, grpc_auth_context *auth)
{
    if (!auth || !grpc_auth_context_peer_is_authenticated(auth)) {
        return;
    }
    bool readable = false;
    grpc_auth_property_iterator it = grpc_auth_context_property_iterator(auth);
    for (const grpc_auth_property *p = grpc_auth_property_iterator_next(&it); p;
         p = grpc_auth_property_iterator_next(&it)) {
        if (strcmp(p->name, GRPC_PEER_URI_PROPERTY_NAME) == 0) {
            if (peer->identity[0] == 0 && p->value_length < sizeof peer->identity) {
                copy_text(peer->identity, sizeof peer->identity, p->value, p->value_length);
            }
        } else if (strcmp(p->name, GRPC_X509_PEM_CERT_PROPERTY_NAME) == 0) {
            readable = weft_rt_certificate_read(peer->fingerprint, &peer->expires_unix_ms, p->value,
                                                p->value_length);
        }
    }
    peer->authenticated = readable;
    if (!readable) {
        peer->identity[0] = 0;
    }
}

static void read_plain(weft_rt_peer *peer, const grpc_metadata_array *metadata)
{
    for (size_t i = 0; i < metadata->count; i++) {
        const grpc_metadata *m = &metadata->metadata[i];
        if (grpc_slice_str_cmp(m->key, WEFT_RT_PLAIN_IDENTITY_KEY) == 0 &&
            GRPC_SLICE_LENGTH(m->value) < sizeof peer->identity) {
            copy_text(peer->identity, sizeof peer->identity,
                      (const char *)GRPC_SLICE_START_PTR(m->value), GRPC_SLICE_LENGTH(m->value));
            peer->authenticated = true;
        }
    }
}

void weft_rt_peer_read(weft_rt_peer *ret, grpc_call *call, const grpc_metadata_array *plain)
{
    *ret = (weft_rt_peer){0};
    char *address = grpc_call_get_peer(call);
    copy_text(ret->address, sizeof ret->address, address, strlen(address));
    gpr_free(address);
    if (plain) {
        read_plain(ret, plain);
        return;
    }
    grpc_auth_context *auth = grpc_call_auth_context(call);
    read_tls(ret, auth);
    grpc_auth_context_release(auth);
}

void weft_rt_peer_key(char ret[static WEFT_RT_KEY_BYTES], const weft_rt_peer *peer)
{
    if (peer->authenticated && peer->identity[0]) {
        copy_text(ret, WEFT_RT_KEY_BYTES, peer->identity, strlen(peer->identity));
    } else if (peer->authenticated) {
        char hex[2 * sizeof peer->fingerprint + 1];
        weft_hex_encode(hex, peer->fingerprint, sizeof peer->fingerprint);
        (void)snprintf(ret, WEFT_RT_KEY_BYTES, "certificate %s", hex); /* fits */
    } else {
        /* the port changes with each connection */
        const char *colon = strrchr(peer->address, ':');
        const size_t n = colon ? (size_t)(colon - peer->address) : strlen(peer->address);
        (void)snprintf(ret, WEFT_RT_KEY_BYTES, "host %.*s", (int)n, peer->address);
    }
}
