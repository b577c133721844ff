/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of a caller's identity out of gRPC. Poller threads; no shared state. */
#include "rt/server_priv.h"

#include "base/buf.h"

#include <grpc/grpc_security_constants.h>
#include <grpc/support/alloc.h>
#include <openssl/asn1.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Certificates are at most this large as DER; ours have 600 bytes. */
#define MAX_DER_BYTES 8192
#define PEM_BEGIN     "-----BEGIN CERTIFICATE-----"

static void copy_text(char *out, size_t out_size, const char *text, size_t n)
{
    if (n >= out_size) {
        n = out_size - 1;
    }
    memcpy(out, text, n);
    out[n] = 0;
}

/* The DER inside a PEM certificate; 0: not one. */
static size_t der_of(uint8_t der[static MAX_DER_BYTES + 4], const char *pem, size_t size)
{
    const size_t begin_size = sizeof PEM_BEGIN - 1;
    if (size < begin_size || memcmp(pem, PEM_BEGIN, begin_size) != 0) {
        return 0;
    }
    uint8_t base64[MAX_DER_BYTES / 3 * 4];
    size_t n = 0;
    size_t padding = 0;
    for (size_t i = begin_size; i < size && pem[i] != '-'; i++) {
        if (pem[i] == '\n' || pem[i] == '\r') {
            continue;
        }
        if (n == sizeof base64) {
            return 0;
        }
        padding += pem[i] == '=';
        base64[n++] = (uint8_t)pem[i];
    }
    const int der_size = EVP_DecodeBlock(der, base64, (int)n);
    return der_size > 0 && padding <= 2 ? (size_t)der_size - padding : 0;
}

/* Step into a SEQUENCE (into) or over any element: *at moves on, to at most end. */
static bool step(const uint8_t **at, const uint8_t *end, bool into)
{
    long size = 0;
    int tag = 0;
    int class = 0;
    const uint8_t *p = *at;
    if (p >= end || ASN1_get_object(&p, &size, &tag, &class, end - p) & 0x80) {
        return false;
    }
    *at = into ? p : p + size;
    return !into || tag == V_ASN1_SEQUENCE;
}

/*
 * The end of a certificate's validity; 0: cannot be read. d2i_X509 would say it, too, but decodes
 * the public key on the way, which costs more than all the rest of a small call.
 */
static int64_t end_of(const uint8_t *der, size_t size)
{
    const uint8_t *at = der;
    const uint8_t *end = der + size;
    struct tm when;
    /* Certificate { TBSCertificate { version, serial, signature, issuer, Validity { from, until */
    const bool into[] = {true, true, false, false, false, false, true, false};
    for (size_t i = 0; i < sizeof into / sizeof into[0]; i++) {
        if (!step(&at, end, into[i])) {
            return 0;
        }
    }
    ASN1_TIME *until = d2i_ASN1_TIME(NULL, &at, end - at);
    const bool known = until && ASN1_TIME_to_tm(until, &when) == 1;
    ASN1_TIME_free(until);
    return known ? (int64_t)timegm(&when) * 1000 : 0;
}

/* Fingerprint and end of a PEM certificate; false: it cannot be read. */
static bool read_certificate(weft_rt_peer *peer, const char *pem, size_t size)
{
    uint8_t der[MAX_DER_BYTES + 4];
    const size_t der_size = der_of(der, pem, size);
    unsigned digest_size = sizeof peer->fingerprint;
    peer->expires_unix_ms = end_of(der, der_size);
    return peer->expires_unix_ms > 0 &&
           EVP_Digest(der, der_size, peer->fingerprint, &digest_size, EVP_sha256(), NULL) == 1;
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
            readable = read_certificate(peer, p->value, p->value_length);
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
