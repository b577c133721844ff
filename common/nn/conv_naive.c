/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution by its definition, in float64 sums: the oracle of the others. Threads: any. */
#include "nn/conv.h"

static size_t naive_scratch(const weft_conv *c, bool train)
{
    (void)train;
    return (size_t)c->oh * c->ow * c->cout;
}

/* The value of x at (y, x) of the padded image. */
static double padded(const weft_conv *c, const float *x, size_t row, size_t column, size_t channel)
{
    if (row < c->pad_top || row >= (size_t)c->pad_top + c->h || column < c->pad_left ||
        column >= (size_t)c->pad_left + c->w) {
        return 0.0;
    }
    return (double)x[((row - c->pad_top) * c->w + column - c->pad_left) * c->cin + channel];
}

static double output(const weft_conv *c, const float *x, const float *w, size_t oy, size_t ox,
                     size_t co)
{
    double sum = 0.0;
    for (size_t ky = 0; ky < c->kh; ky++) {
        for (size_t kx = 0; kx < c->kw; kx++) {
            for (size_t ci = 0; ci < c->cin; ci++) {
                sum += padded(c, x, oy * c->stride + ky, ox * c->stride + kx, ci) *
                       (double)w[((ky * c->kw + kx) * c->cin + ci) * c->cout + co];
            }
        }
    }
    return sum;
}

static void naive_forward(const weft_conv *c, const weft_conv_forward *io)
{
    for (uint32_t image = 0; image < io->n; image++) {
        const float *x = io->x + (size_t)image * c->h * c->w * c->cin;
        float *z = c->pooled ? io->scratch : io->y + image * weft_conv_n_out(c);
        for (size_t at = 0; at < (size_t)c->oh * c->ow * c->cout; at++) {
            const size_t pixel = at / c->cout;
            z[at] = (float)output(c, x, io->w, pixel / c->ow, pixel % c->ow, at % c->cout);
        }
        weft_conv_finish(c, io, image, z);
    }
}

/* The gradient of one weight in one image. */
static double weight_gradient(const weft_conv *c, const float *x, const float *dz, size_t at)
{
    const size_t co = at % c->cout;
    const size_t ci = at / c->cout % c->cin;
    const size_t kx = at / c->cout / c->cin % c->kw;
    const size_t ky = at / c->cout / c->cin / c->kw;
    double sum = 0.0;
    for (size_t oy = 0; oy < c->oh; oy++) {
        for (size_t ox = 0; ox < c->ow; ox++) {
            sum += padded(c, x, oy * c->stride + ky, ox * c->stride + kx, ci) *
                   (double)dz[(oy * c->ow + ox) * c->cout + co];
        }
    }
    return sum;
}

/* The gradient of one input value: of all windows that hold it. */
static double input_gradient(const weft_conv *c, const float *w, const float *dz, size_t at)
{
    const size_t ci = at % c->cin;
    const size_t column = at / c->cin % c->w + c->pad_left;
    const size_t row = at / c->cin / c->w + c->pad_top;
    double sum = 0.0;
    for (size_t ky = 0; ky < c->kh && ky <= row; ky++) {
        for (size_t kx = 0; kx < c->kw && kx <= column; kx++) {
            const size_t oy = (row - ky) / c->stride;
            const size_t ox = (column - kx) / c->stride;
            if ((row - ky) % c->stride != 0 || (column - kx) % c->stride != 0 || oy >= c->oh ||
                ox >= c->ow) {
                continue;
            }
            for (size_t co = 0; co < c->cout; co++) {
                sum += (double)w[((ky * c->kw + kx) * c->cin + ci) * c->cout + co] *
                       (double)dz[(oy * c->ow + ox) * c->cout + co];
            }
        }
    }
    return sum;
}

static void naive_to_x(const weft_conv *c, const weft_conv_backward *io)
{
    const size_t n_in = (size_t)c->h * c->w * c->cin;
    for (uint32_t image = 0; image < io->n; image++) {
        const float *dz = weft_conv_gradient(c, io, image, io->scratch);
        for (size_t at = 0; at < n_in; at++) {
            io->dx[image * n_in + at] = (float)input_gradient(c, io->w, dz, at);
        }
    }
}

static void naive_to_w(const weft_conv *c, const weft_conv_backward *io, uint32_t first,
                       uint32_t last)
{
    const size_t n_weights = weft_conv_n_weights(c);
    for (uint32_t image = 0; image < io->n; image++) {
        const float *x = io->x + (size_t)image * c->h * c->w * c->cin;
        const float *dz = weft_conv_gradient(c, io, image, io->scratch);
        for (size_t at = 0; at < n_weights; at++) {
            if (at % c->cout >= first && at % c->cout < last) {
                const float g = (float)weight_gradient(c, x, dz, at);
                io->dw[at] = image == 0 ? g : io->dw[at] + g;
            }
        }
        for (size_t co = first; io->db && co < last; co++) {
            io->db[co] = image == 0 ? 0.0F : io->db[co];
            for (size_t pixel = 0; pixel < (size_t)c->oh * c->ow; pixel++) {
                io->db[co] += dz[pixel * c->cout + co];
            }
        }
    }
}

const weft_conv_ops weft_conv_naive = {naive_scratch, naive_forward, naive_to_x, naive_to_w};
