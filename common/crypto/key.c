/* SPDX-License-Identifier: Apache-2.0 */
/* P-256 transport keys and PKCS#10 requests. No state of its own, any thread. */
#include "crypto/cert.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#include <string.h>

#include "crypto/cert_priv.h"

static const char curve[] = "prime256v1"; /* OpenSSL's name of P-256 */

/* Wrap pkey, which is consumed in every case. Points print uncompressed from here on, so that one
 * key has one digest. */
static weft_status wrap(weft_key **ret, EVP_PKEY *pkey, const weft_alloc *a, weft_err *err)
{
    WEFT_AUTO_PKEY *owned = pkey;
    char group[32] = "";
    size_t n = 0;
    int explicit_curve = 0;
    const bool ec = EVP_PKEY_is_a(pkey, "EC") == 1 &&
                    EVP_PKEY_get_group_name(pkey, group, sizeof group, &n) == 1;
    (void)EVP_PKEY_get_int_param(pkey, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                                 &explicit_curve); /* absent: stays 0 */
    ERR_clear_error();
    if (!ec || strcmp(group, curve) != 0 || explicit_curve != 0) {
        const char *type = EVP_PKEY_get0_type_name(pkey);
        WEFT_FAIL(err, WEFT_E_FORMAT, "the key is of type %s %s, wanted is EC P-256",
                  type ? type : "unknown", group);
    }
    if (EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                       OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) != 1) {
        return weft_openssl_fail(err, "a P-256 key");
    }
    weft_key *key = weft_array(a, 1, sizeof *key);
    if (!key) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a key");
    }
    key->alloc = a;
    key->pkey = owned;
    owned = NULL;
    *ret = key;
    return WEFT_OK;
}

weft_status weft_key_generate(weft_key **ret, const weft_alloc *a, weft_err *err)
{
    EVP_PKEY *pkey = EVP_EC_gen(curve);
    if (!pkey) {
        return weft_openssl_fail(err, "a new P-256 key");
    }
    return wrap(ret, pkey, a, err);
}

weft_status weft_key_from_pem(weft_key **ret, const void *pem, size_t n, const weft_alloc *a,
                              weft_err *err)
{
    EVP_PKEY *pkey = NULL;
    WEFT_TRY(weft_openssl_read_private(&pkey, pem, n, err));
    return wrap(ret, pkey, a, err);
}

weft_status weft_key_to_pem(weft_buf *out, const weft_key *key, weft_err *err)
{
    return weft_openssl_add_private(out, key->pkey, err);
}

weft_status weft_key_digest(uint8_t ret[WEFT_SHA256_BYTES], const weft_key *key, weft_err *err)
{
    uint8_t *der = NULL;
    const int n = i2d_PUBKEY(key->pkey, &der);
    if (n <= 0) {
        return weft_openssl_fail(err, "a public key");
    }
    const weft_status status = weft_sha256(ret, der, (size_t)n, err);
    OPENSSL_free(der);
    return status;
}

void weft_key_free(weft_key *key)
{
    if (key) {
        EVP_PKEY_free(key->pkey);
        weft_free(key->alloc, key);
    }
}

weft_status weft_csr_make(weft_buf *out, const weft_key *key, weft_err *err)
{
    WEFT_AUTO_REQ *req = X509_REQ_new();
    if (!req || X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 ||
        X509_REQ_set_pubkey(req, key->pkey) != 1 ||
        X509_REQ_sign(req, key->pkey, EVP_sha256()) <= 0) {
        return weft_openssl_fail(err, "a certificate request");
    }
    uint8_t *der = NULL;
    const int n = i2d_X509_REQ(req, &der);
    if (n <= 0) {
        return weft_openssl_fail(err, "a certificate request");
    }
    const weft_status status = weft_buf_add(out, der, (size_t)n, err);
    OPENSSL_free(der);
    return status;
}

weft_status weft_csr_open(weft_key **ret, const void *der, size_t n, const weft_alloc *a,
                          weft_err *err)
{
    if (n > WEFT_MAX_CSR_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a certificate request of %zu bytes, above the limit of %d", n,
                  WEFT_MAX_CSR_BYTES);
    }
    const uint8_t *at = der;
    WEFT_AUTO_REQ *req = n ? d2i_X509_REQ(NULL, &at, (long)n) : NULL;
    EVP_PKEY *pkey = req ? X509_REQ_get_pubkey(req) : NULL;
    ERR_clear_error(); /* the line below says it better */
    const uint8_t *start = der;
    if (!pkey || at != start + n) {
        EVP_PKEY_free(pkey);
        WEFT_FAIL(err, WEFT_E_FORMAT, "the certificate request is not PKCS#10 in DER");
    }
    weft_key *key = NULL;
    WEFT_TRY(wrap(&key, pkey, a, err));
    const int good = X509_REQ_verify(req, pkey);
    ERR_clear_error();
    if (good != 1) {
        weft_key_free(key);
        WEFT_FAIL(err, WEFT_E_AUTH, "the certificate request is not signed by the key in it");
    }
    *ret = key;
    return WEFT_OK;
}
