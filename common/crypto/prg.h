/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Masks: AES-256-CTR from counter 0 under a key that is used for nothing else; the keystream is
 * read as little-endian 32-bit words (NIST SP 800-38A; word w is bytes 4w..4w+3). A bank holds many
 * streams at one position and adds them to a vector block by block: nothing of the vector's length
 * is ever allocated. Pure; a bank belongs to one thread at a time.
 */
#ifndef WEFT_CRYPTO_PRG_H
#define WEFT_CRYPTO_PRG_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define WEFT_PRG_KEY_BYTES 32
/* Words that are generated and added at a time: with the accumulator's they stay in the cache. */
#define WEFT_PRG_BLOCK_WORDS 8192U

typedef struct weft_prg_stream {
    uint8_t key[WEFT_PRG_KEY_BYTES]; /* secret: wipe */
    bool subtract;                   /* else added */
} weft_prg_stream;

typedef struct weft_prg_bank weft_prg_bank;

/**
 * Streams at one position.
 * @param streams  [n], borrowed for the call; n may be 0.
 * @param first    word of the streams that the first added one is: a multiple of 4, so that ranges
 *                 of one vector can be masked by several threads; at most WEFT_MAX_PARAMS * 2.
 * @return WEFT_E_INVALID first; WEFT_E_CRYPTO, WEFT_E_NOMEM. *ret is the caller's to free.
 * Memory: about 1 KB a stream.
 */
WEFT_NODISCARD weft_status weft_prg_bank_new(weft_prg_bank **ret, const weft_prg_stream *streams,
                                             size_t n, uint64_t first, const weft_alloc *a,
                                             weft_err *err);
/**
 * words[i] += (or -=) the next n words of every stream, mod 2^32; the position moves on by n.
 * @param n  any; but a multiple of 4 in all calls except the last one (WEFT_E_INVALID otherwise:
 *           a bank that was given an odd piece takes no other).
 */
WEFT_NODISCARD weft_status weft_prg_bank_add(weft_prg_bank *bank, uint32_t *words, size_t n,
                                             weft_err *err);
/** Wipe and free; NULL is allowed. */
void weft_prg_bank_free(weft_prg_bank *bank);

/**
 * Add streams to words [first, first + n) of a vector; any number of streams in little memory.
 * @param words  [n], the range itself; first as in weft_prg_bank_new.
 */
WEFT_NODISCARD weft_status weft_prg_apply(uint32_t *words, uint64_t first, uint64_t n,
                                          const weft_prg_stream *streams, size_t n_streams,
                                          const weft_alloc *a, weft_err *err);

/** The first n bytes of one stream. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_prg_bytes(void *out, size_t n,
                                          const uint8_t key[WEFT_PRG_KEY_BYTES], weft_err *err);

#endif
