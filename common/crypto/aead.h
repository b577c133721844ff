/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-256-GCM (NIST SP 800-38D). A key and a nonce encrypt one message, ever: callers either derive
 * a key for each message or count nonces. Pure; any thread.
 */
#ifndef WEFT_CRYPTO_AEAD_H
#define WEFT_CRYPTO_AEAD_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define WEFT_AEAD_KEY_BYTES   32
#define WEFT_AEAD_NONCE_BYTES 12
#define WEFT_AEAD_TAG_BYTES   16

/**
 * Encrypt.
 * @param out   [n + WEFT_AEAD_TAG_BYTES]: ciphertext, tag; may not overlap plain.
 * @param aad   [aad_n], authenticated, not encrypted; at most 4096 bytes.
 * @param plain [n], at most 1 MiB.
 * @return WEFT_E_LIMIT, WEFT_E_CRYPTO.
 */
WEFT_NODISCARD weft_status weft_aead_seal(uint8_t *out, const uint8_t key[WEFT_AEAD_KEY_BYTES],
                                          const uint8_t nonce[WEFT_AEAD_NONCE_BYTES],
                                          const void *aad, size_t aad_n, const void *plain,
                                          size_t n, weft_err *err);
/**
 * Decrypt.
 * @param out     [sealed_n - WEFT_AEAD_TAG_BYTES], zeros on failure; may not overlap sealed.
 * @return WEFT_E_AUTH the tag does not hold (or sealed is shorter than one); WEFT_E_LIMIT,
 *         WEFT_E_CRYPTO.
 */
WEFT_NODISCARD weft_status weft_aead_open(uint8_t *out, const uint8_t key[WEFT_AEAD_KEY_BYTES],
                                          const uint8_t nonce[WEFT_AEAD_NONCE_BYTES],
                                          const void *aad, size_t aad_n, const void *sealed,
                                          size_t sealed_n, weft_err *err);

#endif
