/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256, HMAC-SHA256 and the care of secrets. Every digest in weft is SHA-256: model versions,
 * updates, tokens, certificates. Pure; any thread; one weft_hash belongs to one thread at a time.
 */
#ifndef WEFT_CRYPTO_HASH_H
#define WEFT_CRYPTO_HASH_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEFT_SHA256_BYTES 32

/**
 * SHA-256 of n bytes.
 * @param out   [32], written only on success.
 * @param data  [n], borrowed; may be NULL when n is 0.
 * @return WEFT_OK; WEFT_E_CRYPTO when OpenSSL refuses. Threads: any.
 */
WEFT_NODISCARD weft_status weft_sha256(uint8_t out[WEFT_SHA256_BYTES], const void *data, size_t n,
                                       weft_err *err);

/* SHA-256 piece by piece. */
typedef struct weft_hash weft_hash;

/** A hash of nothing yet; *ret is the caller's to free. WEFT_E_NOMEM, WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_hash_new(weft_hash **ret, const weft_alloc *a, weft_err *err);
/** Hash n more bytes. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_hash_add(weft_hash *hash, const void *data, size_t n,
                                         weft_err *err);
/** The digest of all that was added; the hash is then empty again and may be used anew. */
WEFT_NODISCARD weft_status weft_hash_finish(uint8_t out[WEFT_SHA256_BYTES], weft_hash *hash,
                                            weft_err *err);
/** Free; NULL is allowed. */
void weft_hash_free(weft_hash *hash);

/**
 * HMAC-SHA256 (RFC 2104).
 * @param out  [32], written only on success.
 * @param key  [key_n], borrowed; key_n may be 0.
 * @return WEFT_OK; WEFT_E_CRYPTO. Threads: any.
 */
WEFT_NODISCARD weft_status weft_hmac_sha256(uint8_t out[WEFT_SHA256_BYTES], const void *key,
                                            size_t key_n, const void *data, size_t n,
                                            weft_err *err);

/** Equality in a time that depends on n only: for digests of tokens and for keys. */
bool weft_equal_secret(const void *a, const void *b, size_t n);

/** Overwrite n bytes with zeros; the compiler cannot leave it out. NULL with n 0 is allowed. */
void weft_wipe(void *p, size_t n);

#endif
