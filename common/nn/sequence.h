/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers of sequences that are not recurrent: tokens into vectors, and the last step. Threads: any.
 */
#ifndef WEFT_NN_SEQUENCE_H
#define WEFT_NN_SEQUENCE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/**
 * Are they whole numbers below vocab, with negative ones only at the end of an example?
 * @param x  [n][steps].
 * @return WEFT_E_INVALID naming the first that is not.
 */
WEFT_NODISCARD weft_status weft_tokens_check(const float *x, size_t n, size_t steps, uint32_t vocab,
                                             weft_err *err);

/** length[i] = the steps of example i before its padding. */
void weft_tokens_lengths(uint32_t *length, const float *x, size_t n, size_t steps);

/**
 * Each token's row of the table; zeros for padding (and for what is no token).
 * @param y      [tokens][dims], written.
 * @param table  [vocab][dims].
 */
void weft_embedding_forward(float *y, const float *x, const float *table, size_t tokens,
                            size_t dims, uint32_t vocab);
/** to [vocab][dims] = keep * to + scale * gradient of the table; tokens in their order. */
void weft_embedding_backward(float *to, const float *dy, const float *x, size_t tokens, size_t dims,
                             uint32_t vocab, float keep, float scale);

/** y [n][channels] = the last step of each example; length [n], or NULL: all steps. A sequence of
 *  nothing but padding has its first step. */
void weft_last_forward(float *y, const float *x, const uint32_t *length, size_t n, size_t steps,
                       size_t channels);
/** dx [n][steps][channels] is written completely. */
void weft_last_backward(float *dx, const float *dy, const uint32_t *length, size_t n, size_t steps,
                        size_t channels);

/** y [channels] = the mean over rows of x [rows][channels]: an image's pixels. */
void weft_mean_forward(float *y, const float *x, size_t rows, size_t channels);
/** dx is written completely. */
void weft_mean_backward(float *dx, const float *dy, size_t rows, size_t channels);

#endif
