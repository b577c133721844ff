/* SPDX-License-Identifier: Apache-2.0 */
/* The fully connected layer as three matrix products. Threads: any. */
#include "nn/dense.h"

#include "nn/tensor.h"

#include <string.h>

void weft_dense_forward(const weft_dense *d, float *y, const float *x, const float *w,
                        const float *bias, uint32_t n, uint32_t first, uint32_t last)
{
    const weft_mat a = {x, d->in, WEFT_PLAIN};
    const weft_mat b = {w + first, d->out, WEFT_PLAIN};
    d->gemm(y + first, d->out, n, last - first, d->in, 1.0F, a, b, 0.0F);
    for (size_t row = 0; row < n; row++) {
        weft_rows_finish(y + row * d->out + first, bias ? bias + first : NULL, 1, last - first,
                         d->relu);
    }
}

void weft_dense_open(const weft_dense *d, const weft_dense_backward *io)
{
    if (d->relu) {
        weft_relu_back(io->dy, io->y, (size_t)io->n * d->out);
    }
    if (io->bias_to) {
        memset(io->scratch, 0, d->out * sizeof *io->scratch);
        weft_rows_sum(io->scratch, io->dy, io->n, d->out);
        weft_blend(io->bias_to, io->keep, io->scale, io->scratch, d->out);
    }
}

/* Inputs whose weights stay in the second cache between the two products: a multiple of the rows of
 * any tile. */
static uint32_t inputs_at_once(const weft_dense *d)
{
    enum { VALUES = 32768, ROWS = 84 };
    const uint32_t blocks = VALUES / ROWS / d->out;
    return (blocks > 0 ? blocks : 1U) * ROWS;
}

void weft_dense_back(const weft_dense *d, const weft_dense_backward *io, uint32_t first,
                     uint32_t last)
{
    const uint32_t most = inputs_at_once(d);
    for (uint32_t i = first; i < last;) {
        const uint32_t some = last - i < most ? last - i : most;
        const size_t at = (size_t)i * d->out;
        if (io->dx) { /* before w may change */
            const weft_mat a = {io->dy, d->out, WEFT_PLAIN};
            const weft_mat b = {io->w + at, d->out, WEFT_TRANSPOSED};
            d->gemm(io->dx + i, d->in, io->n, some, d->out, 1.0F, a, b, 0.0F);
        }
        const weft_mat a = {io->x + i, d->in, WEFT_TRANSPOSED};
        const weft_mat b = {io->dy, d->out, WEFT_PLAIN};
        d->gemm(io->weight_to + at, d->out, some, d->out, io->n, io->scale, a, b, io->keep);
        i += some;
    }
}
