/* SPDX-License-Identifier: Apache-2.0 */
/* The fully connected layer: y = x w + bias, optionally through relu. Threads: any. */
#ifndef WEFT_NN_DENSE_H
#define WEFT_NN_DENSE_H

#include "nn/gemm.h"
#include "nn/net.h"

#include <stdint.h>

typedef struct weft_dense {
    uint32_t in;
    uint32_t out;
    bool relu;
    weft_gemm_fn *gemm;
    bool small_batches; /* kernels of their own for batches below WEFT_DENSE_SMALL */
} weft_dense;

/* From here on sgemm is faster (measured). */
#define WEFT_DENSE_SMALL 20U

/** True when the processor has the kernels for small batches. */
bool weft_dense_has_avx2(void);

/**
 * @param y     [n][out], written.
 * @param x     [n][in].
 * @param w     [in][out].
 * @param bias  [out], or NULL.
 */
void weft_dense_forward(const weft_dense *d, float *y, const float *x, const float *w,
                        const float *bias, uint32_t n);

/**
 * @param dx         [n][in], written; NULL: not wanted.
 * @param dy         [n][out]; overwritten with the gradient before the relu.
 * @param y          [n][out], of forward; used with relu.
 * @param scratch    [out].
 * @param weight_to  [in][out]: keep * to + scale * gradient of w; may be w itself, which is read
 * before.
 * @param bias_to    [out], or NULL.
 */
void weft_dense_backward(const weft_dense *d, float *dx, float *dy, const float *y, const float *x,
                         const float *w, uint32_t n, float *scratch, float *weight_to,
                         float *bias_to, float keep, float scale);

/* The kernels for small batches; dy is behind the relu already. */
void weft_dense_forward_avx2(const weft_dense *d, float *y, const float *x, const float *w,
                             const float *bias, uint32_t n);
void weft_dense_backward_avx2(const weft_dense *d, float *dx, const float *dy, const float *x,
                              const float *w, uint32_t n, float *weight_to, float keep,
                              float scale);

#endif
