/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution as matrix products, image by image: the columns of one image stay in the cache, those
 * of a batch do not (measured: 92-97 % of sgemm's peak against 58-74 %). Threads: any.
 */
#include "nn/conv.h"

#include "nn/gemm.h"
#include "nn/tensor.h"

#include <string.h>

static size_t pixels(const weft_conv *c)
{
    return (size_t)c->oh * c->ow;
}

static size_t window(const weft_conv *c)
{
    return (size_t)c->kh * c->kw * c->cin;
}

/* A 1x1 kernel's columns are the image. */
static bool columns_are_x(const weft_conv *c)
{
    return c->kh == 1 && c->kw == 1 && c->stride == 1 && c->oh == c->h && c->ow == c->w;
}

/* columns [pixels][window], then z or dz [pixels][cout] */
static size_t blas_scratch(const weft_conv *c, bool train)
{
    (void)train;
    return pixels(c) * window(c) + pixels(c) * c->cout;
}

static const float *columns_of(const weft_conv *c, float *columns, const float *x)
{
    if (columns_are_x(c)) {
        return x;
    }
    weft_im2col(c, columns, x);
    return columns;
}

static void blas_forward(const weft_conv *c, const weft_conv_forward *io)
{
    float *columns = io->scratch;
    for (uint32_t image = 0; image < io->n; image++) {
        const float *x = io->x + (size_t)image * c->h * c->w * c->cin;
        float *z = c->pooled ? columns + pixels(c) * window(c) : io->y + image * weft_conv_n_out(c);
        const weft_mat a = {columns_of(c, columns, x), window(c), WEFT_PLAIN};
        const weft_mat b = {io->w, c->cout, WEFT_PLAIN};
        weft_gemm_blas(z, c->cout, pixels(c), c->cout, window(c), 1.0F, a, b, 0.0F);
        weft_conv_finish(c, io, image, z);
    }
}

static void back_to_x(const weft_conv *c, float *dx, float *columns, const float *dz,
                      const float *w)
{
    float *product = columns_are_x(c) ? dx : columns;
    const weft_mat a = {dz, c->cout, WEFT_PLAIN};
    const weft_mat b = {w, c->cout, WEFT_TRANSPOSED};
    weft_gemm_blas(product, window(c), pixels(c), window(c), c->cout, 1.0F, a, b, 0.0F);
    if (product != dx) {
        weft_col2im(c, dx, columns);
    }
}

static void blas_to_x(const weft_conv *c, const weft_conv_backward *io)
{
    const size_t n_in = (size_t)c->h * c->w * c->cin;
    float *columns = io->scratch;
    for (uint32_t image = 0; image < io->n; image++) {
        const float *dz = weft_conv_gradient(c, io, image, columns + pixels(c) * window(c));
        back_to_x(c, io->dx + image * n_in, columns, dz, io->w);
    }
}

static void blas_to_w(const weft_conv *c, const weft_conv_backward *io, uint32_t first,
                      uint32_t last)
{
    const size_t n_in = (size_t)c->h * c->w * c->cin;
    float *columns = io->scratch;
    if (io->db) {
        memset(io->db + first, 0, (last - first) * sizeof *io->db);
    }
    for (uint32_t image = 0; image < io->n; image++) {
        const float *dz = weft_conv_gradient(c, io, image, columns + pixels(c) * window(c));
        const weft_mat a = {columns_of(c, columns, io->x + image * n_in), window(c),
                            WEFT_TRANSPOSED};
        const weft_mat b = {dz + first, c->cout, WEFT_PLAIN};
        weft_gemm_blas(io->dw + first, c->cout, window(c), last - first, pixels(c), 1.0F, a, b,
                       image == 0 ? 0.0F : 1.0F);
        for (size_t pixel = 0; io->db && pixel < pixels(c); pixel++) {
            weft_add(io->db + first, dz + pixel * c->cout + first, last - first);
        }
    }
}

const weft_conv_ops weft_conv_blas = {blas_scratch, blas_forward, blas_to_x, blas_to_w};
