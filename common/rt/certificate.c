/* SPDX-License-Identifier: Apache-2.0 */
/* What every call needs of its peer's certificate, without the cost of decoding all of it. */
#include "rt/certificate_priv.h"

#include <openssl/asn1.h>
#include <openssl/evp.h>
#include <string.h>
#include <time.h>

#define PEM_BEGIN     "-----BEGIN CERTIFICATE-----"
#define MAX_DER_BYTES WEFT_RT_MAX_CERTIFICATE_BYTES

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
    const uint8_t *whole = der;
    struct tm when;
    if (!step(&whole, end, false) || whole != end) { /* what follows it would be in the digest */
        return 0;
    }
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

bool weft_rt_certificate_read(uint8_t ret_fingerprint[static 32], int64_t *ret_end_unix_ms,
                              const char *pem, size_t size)
{
    uint8_t der[MAX_DER_BYTES + 4];
    const size_t der_size = der_of(der, pem, size);
    const int64_t end = end_of(der, der_size);
    unsigned digest_size = 32;
    if (end <= 0 ||
        EVP_Digest(der, der_size, ret_fingerprint, &digest_size, EVP_sha256(), NULL) != 1) {
        return false;
    }
    *ret_end_unix_ms = end;
    return true;
}
