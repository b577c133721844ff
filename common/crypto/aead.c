/* SPDX-License-Identifier: Apache-2.0 */
/* AES-256-GCM over OpenSSL's EVP. No state of its own, any thread. */
#include "crypto/aead.h"

#include "crypto/hash.h"
#include "crypto/openssl_priv.h"

#include <openssl/err.h>

#include <string.h>

#define MAX_AAD_BYTES   4096U
#define MAX_PLAIN_BYTES (1U << 20)

static weft_status check_sizes(size_t aad_n, size_t n, weft_err *err)
{
    if (aad_n > MAX_AAD_BYTES || n > MAX_PLAIN_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%zu bytes with %zu more authenticated are too many to seal",
                  n, aad_n);
    }
    return WEFT_OK;
}

weft_status weft_aead_seal(uint8_t *out, const uint8_t key[WEFT_AEAD_KEY_BYTES],
                           const uint8_t nonce[WEFT_AEAD_NONCE_BYTES], const void *aad,
                           size_t aad_n, const void *plain, size_t n, weft_err *err)
{
    WEFT_TRY(check_sizes(aad_n, n, err));
    WEFT_AUTO_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int got = 0;
    if (!ctx || EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) != 1 ||
        (aad_n > 0 && EVP_EncryptUpdate(ctx, NULL, &got, aad, (int)aad_n) != 1) ||
        (n > 0 && EVP_EncryptUpdate(ctx, out, &got, plain, (int)n) != 1) ||
        EVP_EncryptFinal_ex(ctx, out + n, &got) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, WEFT_AEAD_TAG_BYTES, out + n) != 1) {
        return weft_openssl_fail(err, "AES-256-GCM");
    }
    return WEFT_OK;
}

weft_status weft_aead_open(uint8_t *out, const uint8_t key[WEFT_AEAD_KEY_BYTES],
                           const uint8_t nonce[WEFT_AEAD_NONCE_BYTES], const void *aad,
                           size_t aad_n, const void *sealed, size_t sealed_n, weft_err *err)
{
    if (sealed_n < WEFT_AEAD_TAG_BYTES) {
        WEFT_FAIL(err, WEFT_E_AUTH, "%zu bytes are shorter than a tag", sealed_n);
    }
    const size_t n = sealed_n - WEFT_AEAD_TAG_BYTES;
    WEFT_TRY(check_sizes(aad_n, n, err));
    const uint8_t *from = sealed;
    uint8_t tag[WEFT_AEAD_TAG_BYTES];
    memcpy(tag, from + n, sizeof tag);
    WEFT_AUTO_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int got = 0;
    if (!ctx || EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) != 1 ||
        (aad_n > 0 && EVP_DecryptUpdate(ctx, NULL, &got, aad, (int)aad_n) != 1) ||
        (n > 0 && EVP_DecryptUpdate(ctx, out, &got, from, (int)n) != 1) ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)sizeof tag, tag) != 1) {
        weft_wipe(out, n);
        return weft_openssl_fail(err, "AES-256-GCM");
    }
    uint8_t rest[WEFT_AEAD_TAG_BYTES];
    if (EVP_DecryptFinal_ex(ctx, rest, &got) != 1) {
        weft_wipe(out, n); /* nobody reads what nobody vouches for */
        ERR_clear_error();
        WEFT_FAIL(err, WEFT_E_AUTH, "the message was not sealed with this key for this purpose");
    }
    return WEFT_OK;
}
