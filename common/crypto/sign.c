/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519 over OpenSSL's EVP. No state of its own, any thread. */
#include "crypto/sign.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <string.h>

#include "crypto/hash.h"
#include "crypto/openssl_priv.h"

weft_status weft_sign_key_from_seed(weft_sign_key *ret, const uint8_t seed[WEFT_SIGN_SEED_BYTES],
                                    weft_err *err)
{
    WEFT_AUTO_PKEY *pkey =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, WEFT_SIGN_SEED_BYTES);
    uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES];
    size_t n = sizeof public_key;
    if (!pkey || EVP_PKEY_get_raw_public_key(pkey, public_key, &n) != 1 || n != sizeof public_key) {
        return weft_openssl_fail(err, "an Ed25519 key");
    }
    memmove(ret->seed, seed, sizeof ret->seed); /* seed may be ret's own */
    memcpy(ret->public_key, public_key, sizeof public_key);
    return WEFT_OK;
}

weft_status weft_sign_key_generate(weft_sign_key *ret, const weft_entropy *entropy, weft_err *err)
{
    uint8_t seed[WEFT_SIGN_SEED_BYTES];
    weft_status status = entropy->fill(entropy->self, seed, sizeof seed, err);
    if (status == WEFT_OK) {
        status = weft_sign_key_from_seed(ret, seed, err);
    }
    weft_wipe(seed, sizeof seed);
    return status;
}

void weft_sign_key_done(weft_sign_key *key)
{
    if (key) {
        weft_wipe(key, sizeof *key);
    }
}

weft_status weft_sign(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES], const weft_sign_key *key,
                      const void *data, size_t n, weft_err *err)
{
    WEFT_AUTO_PKEY *pkey =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key->seed, sizeof key->seed);
    WEFT_AUTO_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t signature[WEFT_SIGN_SIGNATURE_BYTES];
    size_t size = sizeof signature;
    if (!pkey || !ctx || EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) != 1 ||
        EVP_DigestSign(ctx, signature, &size, n ? data : "", n) != 1 || size != sizeof signature) {
        return weft_openssl_fail(err, "an Ed25519 signature");
    }
    memcpy(ret, signature, sizeof signature);
    return WEFT_OK;
}

weft_status weft_sign_verify(const uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES], const void *data,
                             size_t n, const uint8_t signature[WEFT_SIGN_SIGNATURE_BYTES],
                             weft_err *err)
{
    WEFT_AUTO_PKEY *pkey =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, WEFT_SIGN_PUBLIC_BYTES);
    WEFT_AUTO_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!pkey || !ctx || EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) != 1) {
        return weft_openssl_fail(err, "an Ed25519 public key");
    }
    const int good = EVP_DigestVerify(ctx, signature, WEFT_SIGN_SIGNATURE_BYTES, n ? data : "", n);
    ERR_clear_error(); /* a signature that does not hold is an answer, not an error */
    if (good != 1) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the signature does not hold");
    }
    return WEFT_OK;
}

weft_status weft_sign_key_to_pem(weft_buf *out, const weft_sign_key *key, weft_err *err)
{
    WEFT_AUTO_PKEY *pkey =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key->seed, sizeof key->seed);
    if (!pkey) {
        return weft_openssl_fail(err, "an Ed25519 key");
    }
    return weft_openssl_add_private(out, pkey, err);
}

static weft_status check_ed25519(const EVP_PKEY *pkey, weft_err *err)
{
    if (EVP_PKEY_get_id(pkey) != EVP_PKEY_ED25519) {
        const char *type = EVP_PKEY_get0_type_name(pkey);
        WEFT_FAIL(err, WEFT_E_FORMAT, "the key is of type %s, wanted is ED25519",
                  type ? type : "unknown");
    }
    return WEFT_OK;
}

weft_status weft_sign_key_from_pem(weft_sign_key *ret, const void *pem, size_t n, weft_err *err)
{
    WEFT_AUTO_PKEY *pkey = NULL;
    WEFT_TRY(weft_openssl_read_private(&pkey, pem, n, err));
    WEFT_TRY(check_ed25519(pkey, err));
    uint8_t seed[WEFT_SIGN_SEED_BYTES];
    size_t size = sizeof seed;
    if (EVP_PKEY_get_raw_private_key(pkey, seed, &size) != 1 || size != sizeof seed) {
        return weft_openssl_fail(err, "an Ed25519 private key");
    }
    const weft_status status = weft_sign_key_from_seed(ret, seed, err);
    weft_wipe(seed, sizeof seed);
    return status;
}

weft_status weft_sign_public_to_pem(weft_buf *out, const uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES],
                                    weft_err *err)
{
    WEFT_AUTO_PKEY *pkey =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, WEFT_SIGN_PUBLIC_BYTES);
    WEFT_AUTO_BIO *bio = BIO_new(BIO_s_mem());
    if (!pkey || !bio || PEM_write_bio_PUBKEY(bio, pkey) != 1) {
        return weft_openssl_fail(err, "a public key as PEM");
    }
    return weft_openssl_add_bio(out, bio, err);
}

weft_status weft_sign_public_from_pem(uint8_t ret[WEFT_SIGN_PUBLIC_BYTES], const void *pem,
                                      size_t n, weft_err *err)
{
    WEFT_AUTO_BIO *bio = NULL;
    WEFT_TRY(weft_openssl_pem_bio(&bio, pem, n, err));
    WEFT_AUTO_PKEY *pkey = PEM_read_bio_PUBKEY(bio, NULL, weft_openssl_no_passphrase, NULL);
    ERR_clear_error(); /* the line below says it better */
    if (!pkey) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "no PEM public key (-----BEGIN PUBLIC KEY-----) that can be read");
    }
    WEFT_TRY(check_ed25519(pkey, err));
    uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES];
    size_t size = sizeof public_key;
    if (EVP_PKEY_get_raw_public_key(pkey, public_key, &size) != 1 || size != sizeof public_key) {
        return weft_openssl_fail(err, "an Ed25519 public key");
    }
    memcpy(ret, public_key, size);
    return WEFT_OK;
}
