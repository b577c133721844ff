/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ed25519 signatures (RFC 8032): the operator's key, invitation keys, member keys and the
 * coordinator's receipt key. Pure; any thread. Callers sign statements that begin with a domain
 * (see crypto/member.h and crypto/receipt.h), never bare bytes of a peer.
 */
#ifndef WEFT_CRYPTO_SIGN_H
#define WEFT_CRYPTO_SIGN_H

#include "base/buf.h"
#include "base/rng.h"

#define WEFT_SIGN_SEED_BYTES      32
#define WEFT_SIGN_PUBLIC_BYTES    32
#define WEFT_SIGN_SIGNATURE_BYTES 64

/* A key pair. Secret: finish with weft_sign_key_done. */
typedef struct weft_sign_key {
    uint8_t seed[WEFT_SIGN_SEED_BYTES];
    uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES]; /* invariant: derived from seed */
} weft_sign_key;

/** The key pair of a 32-byte seed. @return WEFT_OK; WEFT_E_CRYPTO; *ret untouched on failure. */
WEFT_NODISCARD weft_status weft_sign_key_from_seed(weft_sign_key *ret,
                                                   const uint8_t seed[WEFT_SIGN_SEED_BYTES],
                                                   weft_err *err);
/** A fresh key pair. Errors of the entropy, WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_sign_key_generate(weft_sign_key *ret, const weft_entropy *entropy,
                                                  weft_err *err);
/** Wipe. NULL is allowed. */
void weft_sign_key_done(weft_sign_key *key);

/** Sign n bytes. @param ret [64], untouched on failure. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_sign(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES],
                                     const weft_sign_key *key, const void *data, size_t n,
                                     weft_err *err);
/** @return WEFT_OK; WEFT_E_AUTH the signature does not hold (or the key is no point). */
WEFT_NODISCARD weft_status weft_sign_verify(const uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES],
                                            const void *data, size_t n,
                                            const uint8_t signature[WEFT_SIGN_SIGNATURE_BYTES],
                                            weft_err *err);

/** Append the key pair as PKCS#8 PEM (secret: wipe the buffer). WEFT_E_LIMIT, WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_sign_key_to_pem(weft_buf *out, const weft_sign_key *key,
                                                weft_err *err);
/** Read a PKCS#8 PEM. WEFT_E_LIMIT above WEFT_MAX_PEM_BYTES; WEFT_E_FORMAT says what is wrong. */
WEFT_NODISCARD weft_status weft_sign_key_from_pem(weft_sign_key *ret, const void *pem, size_t n,
                                                  weft_err *err);
/** Append a public key as SubjectPublicKeyInfo PEM. */
WEFT_NODISCARD weft_status weft_sign_public_to_pem(weft_buf *out,
                                                   const uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES],
                                                   weft_err *err);
WEFT_NODISCARD weft_status weft_sign_public_from_pem(uint8_t ret[WEFT_SIGN_PUBLIC_BYTES],
                                                     const void *pem, size_t n, weft_err *err);

#endif
