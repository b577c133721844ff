/* SPDX-License-Identifier: Apache-2.0 */
/* The fully connected layer as three matrix products. Threads: any. */
#include "nn/dense.h"

#include "nn/tensor.h"

#include <string.h>

void weft_dense_forward(const weft_dense *d, float *y, const float *x, const float *w,
                        const float *bias, uint32_t n)
{
    if (d->small_batches && n < WEFT_DENSE_SMALL) {
        weft_dense_forward_avx2(d, y, x, w, bias, n);
        return;
    }
    const weft_mat a = {x, d->in, WEFT_PLAIN};
    const weft_mat b = {w, d->out, WEFT_PLAIN};
    d->gemm(y, d->out, n, d->out, d->in, 1.0F, a, b, 0.0F);
    weft_rows_finish(y, bias, n, d->out, d->relu);
}

static void backward_by_gemm(const weft_dense *d, float *dx, const float *dy, const float *x,
                             const float *w, uint32_t n, float *weight_to, float keep, float scale)
{
    if (dx) { /* before w may change */
        const weft_mat a = {dy, d->out, WEFT_PLAIN};
        const weft_mat b = {w, d->out, WEFT_TRANSPOSED};
        d->gemm(dx, d->in, n, d->in, d->out, 1.0F, a, b, 0.0F);
    }
    const weft_mat a = {x, d->in, WEFT_TRANSPOSED};
    const weft_mat b = {dy, d->out, WEFT_PLAIN};
    d->gemm(weight_to, d->out, d->in, d->out, n, scale, a, b, keep);
}

void weft_dense_backward(const weft_dense *d, float *dx, float *dy, const float *y, const float *x,
                         const float *w, uint32_t n, float *scratch, float *weight_to,
                         float *bias_to, float keep, float scale)
{
    if (d->relu) {
        weft_relu_back(dy, y, (size_t)n * d->out);
    }
    if (d->small_batches && n < WEFT_DENSE_SMALL) {
        weft_dense_backward_avx2(d, dx, dy, x, w, n, weight_to, keep, scale);
    } else {
        backward_by_gemm(d, dx, dy, x, w, n, weight_to, keep, scale);
    }
    if (bias_to) {
        memset(scratch, 0, d->out * sizeof *scratch);
        weft_rows_sum(scratch, dy, n, d->out);
        weft_blend(bias_to, keep, scale, scratch, d->out);
    }
}
