/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fully connected layer: y = x w + bias, optionally through relu. A batch may be shared out to
 * threads by outputs (forward) and by inputs (backward); no sum is cut, so the bits stay.
 * Threads: any.
 */
#ifndef WEFT_NN_DENSE_H
#define WEFT_NN_DENSE_H

#include "nn/gemm.h"

#include <stdint.h>

typedef struct weft_dense {
    uint32_t in;
    uint32_t out;
    bool relu;
    weft_gemm_fn *gemm;
} weft_dense;

/**
 * The outputs [first, last) of all rows.
 * @param y     [n][out], those columns are written.
 * @param x     [n][in].
 * @param w     [in][out].
 * @param bias  [out], or NULL.
 */
void weft_dense_forward(const weft_dense *d, float *y, const float *x, const float *w,
                        const float *bias, uint32_t n, uint32_t first, uint32_t last);

/* One batch on its way back. Before the other two functions, weft_dense_open. */
typedef struct weft_dense_backward {
    uint32_t n;
    const float *x; /* [n][in] */
    const float *w; /* [in][out] */
    const float *y; /* [n][out], of forward */
    float *dy;      /* [n][out]; weft_dense_open overwrites it */
    float *dx;      /* [n][in], written; NULL: not wanted */
    /* to = keep * to + scale * gradient; may be the weights themselves, which are read before */
    float *weight_to; /* [in][out] */
    float *bias_to;   /* [out], or NULL */
    float *scratch;   /* [out] */
    float keep;
    float scale;
} weft_dense_backward;

/** Undo the relu in io->dy, and the step of the bias. */
void weft_dense_open(const weft_dense *d, const weft_dense_backward *io);

/** The inputs [first, last): their columns of dx, then their rows of weights. */
void weft_dense_back(const weft_dense *d, const weft_dense_backward *io, uint32_t first,
                     uint32_t last);

#endif
