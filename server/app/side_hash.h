/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A SHA-256 beside the work that makes the bytes: a job of the pool follows the maker through its
 * memory. When no worker has had time for it in the end, the maker hashes by itself, so nobody ever
 * waits for a job that has not begun. Called by next_version.c; worker threads.
 */
#ifndef WEFT_APP_SIDE_HASH_H
#define WEFT_APP_SIDE_HASH_H

#include "crypto/hash.h"
#include "rt/queue.h"

typedef struct weft_side_hash weft_side_hash;

/**
 * Begin. @param data  [size], borrowed until finish or drop; its bytes come in order.
 * @return WEFT_OK; WEFT_E_NOMEM, WEFT_E_CRYPTO.
 */
WEFT_NODISCARD weft_status weft_side_hash_new(weft_side_hash **ret, const void *data, size_t size,
                                              weft_rt_pool *pool, const weft_alloc *a,
                                              weft_err *err);
/** The first `ready` bytes are there, for good. Never fewer than before. The maker's thread. */
void weft_side_hash_advance(weft_side_hash *hash, size_t ready);
/**
 * All bytes are there: their digest. Waits for a job that is at it. The maker's thread; drop
 * follows.
 * @return WEFT_OK; WEFT_E_CRYPTO.
 */
WEFT_NODISCARD weft_status weft_side_hash_finish(weft_side_hash *hash,
                                                 uint8_t ret[WEFT_SHA256_BYTES], weft_err *err);
/** Let go, after finish or instead of it; data may go. NULL is allowed. The maker's thread. */
void weft_side_hash_drop(weft_side_hash *hash);

#endif
