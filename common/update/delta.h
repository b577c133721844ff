/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client sends back: delta = new weights - base weights, clipped to the job's L2 norm,
 * encoded, hashed. In small blocks; nothing of the model's size is allocated. Two passes over the
 * weights where the bytes leave at once (their norm decides about them), one into memory. The bytes
 * depend on the arguments only. Pure; any thread.
 */
#ifndef WEFT_UPDATE_DELTA_H
#define WEFT_UPDATE_DELTA_H

#include "base/alloc.h"
#include "crypto/hash.h"
#include "update/codec.h"

#include <stdbool.h>

typedef struct weft_delta_options {
    const weft_codec *codec; /* NULL: f32 */
    double clip_norm;        /* > 0: the norm of what is sent is at most this */
    bool exact;              /* never scale (statistics): above clip_norm is WEFT_E_LIMIT */
    uint64_t max_examples;   /* > 0: a larger weight is lowered to it */
} weft_delta_options;

typedef struct weft_delta_result {
    uint64_t bytes;                    /* of the encoded update */
    uint8_t digest[WEFT_SHA256_BYTES]; /* of those bytes */
    uint64_t n_examples;               /* the weight to send: min(n_examples, max_examples) */
    double norm;                       /* of the delta before clipping */
    bool clipped;
} weft_delta_result;

/* Where the encoded bytes go, in order. A failure of write ends the encoding and is returned. */
typedef struct weft_delta_sink {
    weft_status (*write)(void *self, const uint8_t *data, size_t n, weft_err *err);
    void *self;
    /* Values [first, first + n) of weights and base were read (in each pass, in windows of at most
     * 2^18): a mapping of them need not stay in memory. Or NULL. */
    void (*passed)(void *self, uint64_t first, uint64_t n);
    void *passed_self;
} weft_delta_sink;

/**
 * Encode one update into a sink.
 * @param weights     [n_params] after training, borrowed.
 * @param base        [n_params] before it, borrowed; NULL: all zeros (weights is the delta).
 * @param n_params    1..WEFT_MAX_PARAMS.
 * @param n_examples  local examples, the weight of the update; > 0.
 * @return WEFT_E_INVALID a value of the delta is not finite (the first one is named), n_examples
 *         or an option out of range; WEFT_E_LIMIT exact and above clip_norm; WEFT_E_NOMEM;
 *         WEFT_E_CRYPTO; what the sink returned.
 */
WEFT_NODISCARD weft_status weft_delta_encode(weft_delta_result *ret, const weft_delta_sink *sink,
                                             const float *weights, const float *base,
                                             uint64_t n_params, uint64_t n_examples,
                                             const weft_delta_options *options, const weft_alloc *a,
                                             weft_err *err);

/**
 * The same into memory; what lies there after a failure says nothing.
 * @param out  [out_size], out_size >= codec's size_bytes(n_params), or WEFT_E_LIMIT. May be the
 *             memory of weights itself (f32 in place); no other overlap.
 */
WEFT_NODISCARD weft_status weft_delta_encode_to(weft_delta_result *ret, uint8_t *out,
                                                size_t out_size, const float *weights,
                                                const float *base, uint64_t n_params,
                                                uint64_t n_examples,
                                                const weft_delta_options *options,
                                                const weft_alloc *a, weft_err *err);

#endif
