/* SPDX-License-Identifier: Apache-2.0 */
/*
 * X25519 (RFC 7748). Shared secrets are raw: they go through crypto/kdf.h before any use. Points of
 * low order, which give everybody the same secret, are refused. Pure; any thread; one key may be
 * used by several threads.
 */
#ifndef WEFT_CRYPTO_DH_H
#define WEFT_CRYPTO_DH_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define WEFT_DH_BYTES 32

/* A key pair, ready for many agreements. */
typedef struct weft_dh_key weft_dh_key;

/** The key pair of 32 secret bytes (clamped as the RFC says). *ret is the caller's to free.
 *  WEFT_E_CRYPTO, WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_dh_key_new(weft_dh_key **ret, const uint8_t secret[WEFT_DH_BYTES],
                                           const weft_alloc *a, weft_err *err);
/** Wipe and free; NULL is allowed. */
void weft_dh_key_free(weft_dh_key *key);
/** [32], lives as long as the key. */
const uint8_t *weft_dh_key_public(const weft_dh_key *key);

/**
 * The shared secret with a peer.
 * @param out  [32], zeros on failure; secret.
 * @return WEFT_OK; WEFT_E_AUTH the peer's point has low order; WEFT_E_CRYPTO.
 */
WEFT_NODISCARD weft_status weft_dh_agree(uint8_t out[WEFT_DH_BYTES], const weft_dh_key *key,
                                         const uint8_t peer[WEFT_DH_BYTES], weft_err *err);

/** Is it one of the points of low order (in any encoding)? */
bool weft_dh_low_order(const uint8_t point[WEFT_DH_BYTES]);

#endif
