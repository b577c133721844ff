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
 * All steps' x W_ih are one matrix product; each step has one more, h W_hh. Inside, everything lies
 * step by step, [steps][n][...], so that these products have plain operands.
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

typedef struct weft_recurrent_ops {
    /* float32 values of state and scratch for n examples */
    size_t (*state)(const weft_recurrent *r, size_t n);
    size_t (*scratch)(const weft_recurrent *r, size_t n, bool train);
    void (*forward)(const weft_recurrent *r, const weft_recurrent_forward *io);
    void (*backward)(const weft_recurrent *r, const weft_recurrent_backward *io);
} weft_recurrent_ops;

extern const weft_recurrent_ops weft_lstm;
extern const weft_recurrent_ops weft_gru;

/* ---- shared by the two ----------------------------------------------------------------------- */

/** to [b][a][n] from from [a][b][n]: examples and steps change places. */
void weft_swap_rows(float *to, const float *from, size_t a, size_t b, size_t n);
/** to [columns][rows] from from [rows][columns]. */
void weft_transpose(float *to, const float *from, size_t rows, size_t columns);

#endif
