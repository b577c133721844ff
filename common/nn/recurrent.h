/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LSTM (Hochreiter and Schmidhuber 1997, with forget gates) and GRU (Cho et al. 2014) over whole
 * sequences, by PyTorch's equations, from a state of zeros:
 *
 *   lstm   i, f, o = sigmoid(x W_ih + b_ih + h W_hh + b_hh), g = tanh(...), in the order i f g o
 *          c = f c + i g;  h = o tanh(c)
 *   gru    r, z = sigmoid(x W_ih + b_ih + h W_hh + b_hh), in the order r z n
 *          n = tanh(x W_in + b_in + r (h W_hn + b_hn));  h = (1 - z) n + z h
 *
 * W_ih and W_hh are laid out once a batch (weft_panels_ops); then examples are apart from each
 * other forward and back through time, and the gradients of the weights are one product over all
 * steps of all examples. Inside, everything lies step by step, [steps][n][...].
 *
 * Parameters, at w: W_ih [in][gates * units], W_hh [units][gates * units], then with bias b_ih and
 * b_hh [gates * units]; gates is 4 for lstm, 3 for gru. Threads: any.
 */
#ifndef WEFT_NN_RECURRENT_H
#define WEFT_NN_RECURRENT_H

#include "nn/gemm.h"

#include <stdint.h>

typedef struct weft_recurrent {
    size_t steps;
    size_t in;
    size_t units;
    bool bias;
    weft_gemm_fn *gemm;
    const weft_panels_ops *panels;
} weft_recurrent;

typedef struct weft_recurrent_forward {
    uint32_t n;
    const float *x; /* [n][steps][in] */
    const float *w; /* parameters */
    float *y;       /* [n][steps][units], written */
    float *state;   /* what backward needs */
    float *scratch;
} weft_recurrent_forward;

typedef struct weft_recurrent_backward {
    uint32_t n;
    const float *w;
    const float *dy; /* [n][steps][units] */
    float *dx;       /* [n][steps][in], written; NULL: not wanted */
    float *state;    /* of forward; overwritten */
    float *scratch;
    float *to; /* parameters: keep * to + scale * gradient; may be w itself, which is read before */
    float keep;
    float scale;
} weft_recurrent_backward;

/* Member index's part of n_threads; examples and rows of weights have one owner each. */
typedef void weft_recurrent_forward_fn(const weft_recurrent *r, const weft_recurrent_forward *io,
                                       uint32_t index, uint32_t n_threads);
typedef void weft_recurrent_backward_fn(const weft_recurrent *r, const weft_recurrent_backward *io,
                                        uint32_t index, uint32_t n_threads);

/* What lies ready, all steps of an example, the gradients of the weights. */
enum { WEFT_FORWARD_PHASES = 2, WEFT_BACKWARD_PHASES = 3 };

typedef struct weft_recurrent_ops {
    /* float32 values of state and scratch for n examples */
    size_t (*state)(const weft_recurrent *r, size_t n);
    size_t (*scratch)(const weft_recurrent *r, size_t n, bool train);
    /* each on all members, before the next begins */
    weft_recurrent_forward_fn *forward[WEFT_FORWARD_PHASES];
    weft_recurrent_backward_fn *backward[WEFT_BACKWARD_PHASES];
} weft_recurrent_ops;

/* ---- shared by the two ----------------------------------------------------------------------- */

/* Examples [first, last) of one member; weights are cut at whole tiles. */
typedef struct weft_recurrent_share {
    size_t first;
    size_t last;
} weft_recurrent_share;

weft_recurrent_share weft_share_examples(uint32_t n, uint32_t index, uint32_t n_threads);
weft_recurrent_share weft_share_weights(size_t rows, uint32_t index, uint32_t n_threads);

/** to [steps][n][size] from from [n][steps][size], of the examples in share. */
void weft_by_steps(float *to, const float *from, uint32_t n, size_t steps, size_t size,
                   weft_recurrent_share share);
/** The way back. */
void weft_by_examples(float *to, const float *from, uint32_t n, size_t steps, size_t size,
                      weft_recurrent_share share);

/* Parts of a scratch start at cache lines. */
static inline size_t weft_recurrent_align(size_t n)
{
    return (n + 15) / 16 * 16;
}

#endif
