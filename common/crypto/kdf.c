/* SPDX-License-Identifier: Apache-2.0 */
/* HKDF over OpenSSL's EVP. No state of its own, any thread. */
#include "crypto/kdf.h"

#include "crypto/hash.h"
#include "crypto/openssl_priv.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <string.h>

#define MAX_INFO_BYTES 1024U

/* OpenSSL's parameters are not const, although these are only read. */
static OSSL_PARAM octets(const char *key, const void *data, size_t n)
{
    void *p = NULL;
    memcpy(&p, &data, sizeof p);
    return OSSL_PARAM_construct_octet_string(key, p, n);
}

weft_status weft_hkdf_sha256(void *out, size_t out_n, const void *secret, size_t secret_n,
                             const void *salt, size_t salt_n, const void *info, size_t info_n,
                             weft_err *err)
{
    if (out_n == 0 || out_n > WEFT_HKDF_MAX_BYTES || secret_n == 0 || info_n > MAX_INFO_BYTES) {
        WEFT_FAIL(err, WEFT_E_INVALID, "no key of %zu bytes from %zu bytes and %zu bytes of info",
                  out_n, secret_n, info_n);
    }
    char digest[] = "SHA256";
    OSSL_PARAM params[5];
    size_t n = 0;
    params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
    params[n++] = octets(OSSL_KDF_PARAM_KEY, secret, secret_n);
    if (salt_n > 0) {
        params[n++] = octets(OSSL_KDF_PARAM_SALT, salt, salt_n);
    }
    if (info_n > 0) {
        params[n++] = octets(OSSL_KDF_PARAM_INFO, info, info_n);
    }
    params[n] = OSSL_PARAM_construct_end();
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    const int good = ctx && EVP_KDF_derive(ctx, out, out_n, params) == 1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    if (!good) {
        weft_wipe(out, out_n);
        return weft_openssl_fail(err, "HKDF");
    }
    return WEFT_OK;
}
