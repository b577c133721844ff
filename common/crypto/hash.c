/* SPDX-License-Identifier: Apache-2.0 */
/* Digests over OpenSSL's EVP. No state of its own, any thread. */
#include "crypto/hash.h"

#include "crypto/openssl_priv.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <limits.h>
#include <string.h>

struct weft_hash {
    const weft_alloc *alloc;
    EVP_MD_CTX *ctx; /* owned, initialised for SHA-256 */
};

weft_status weft_sha256(uint8_t out[WEFT_SHA256_BYTES], const void *data, size_t n, weft_err *err)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    if (EVP_Digest(n ? data : "", n, digest, NULL, EVP_sha256(), NULL) != 1) {
        return weft_openssl_fail(err, "SHA-256");
    }
    memcpy(out, digest, sizeof digest);
    return WEFT_OK;
}

weft_status weft_hash_new(weft_hash **ret, const weft_alloc *a, weft_err *err)
{
    weft_hash *hash = weft_array(a, 1, sizeof *hash);
    if (!hash) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a hash");
    }
    hash->alloc = a;
    hash->ctx = EVP_MD_CTX_new();
    if (!hash->ctx || EVP_DigestInit_ex(hash->ctx, EVP_sha256(), NULL) != 1) {
        weft_hash_free(hash);
        return weft_openssl_fail(err, "SHA-256");
    }
    *ret = hash;
    return WEFT_OK;
}

weft_status weft_hash_add(weft_hash *hash, const void *data, size_t n, weft_err *err)
{
    if (n > 0 && EVP_DigestUpdate(hash->ctx, data, n) != 1) {
        return weft_openssl_fail(err, "SHA-256");
    }
    return WEFT_OK;
}

weft_status weft_hash_finish(uint8_t out[WEFT_SHA256_BYTES], weft_hash *hash, weft_err *err)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    if (EVP_DigestFinal_ex(hash->ctx, digest, NULL) != 1 ||
        EVP_DigestInit_ex(hash->ctx, EVP_sha256(), NULL) != 1) {
        return weft_openssl_fail(err, "SHA-256");
    }
    memcpy(out, digest, sizeof digest);
    return WEFT_OK;
}

void weft_hash_free(weft_hash *hash)
{
    if (hash) {
        EVP_MD_CTX_free(hash->ctx);
        weft_free(hash->alloc, hash);
    }
}

weft_status weft_hmac_sha256(uint8_t out[WEFT_SHA256_BYTES], const void *key, size_t key_n,
                             const void *data, size_t n, weft_err *err)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    if (key_n > INT_MAX) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a key of %zu bytes", key_n);
    }
    static const uint8_t none[1] = {0};
    if (!HMAC(EVP_sha256(), key_n ? key : none, (int)key_n, n ? data : none, n, digest, NULL)) {
        return weft_openssl_fail(err, "HMAC-SHA256");
    }
    memcpy(out, digest, sizeof digest);
    return WEFT_OK;
}

bool weft_equal_secret(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

void weft_wipe(void *p, size_t n)
{
    if (n > 0) {
        OPENSSL_cleanse(p, n);
    }
}
