/* SPDX-License-Identifier: Apache-2.0 */
/* What the convolutions share: im2col, and what is fused. Threads: any. */
#include "nn/conv.h"

#include "nn/tensor.h"

#include <string.h>

bool weft_conv_is_small(const weft_conv *c)
{
    static const size_t most = (size_t)1 << 28;
    const size_t rows = (size_t)c->h + c->pad_top + c->pad_bottom;
    const size_t across = (size_t)c->w + c->pad_left + c->pad_right;
    const size_t padded = ((size_t)c->kw * c->cin + 15) / 16 * 16;
    return rows * across <= most / c->cin && c->kh * padded <= most / c->cout;
}

size_t weft_conv_n_out(const weft_conv *c)
{
    return c->pooled ? (size_t)c->pool.oh * c->pool.ow * c->cout : (size_t)c->oh * c->ow * c->cout;
}

size_t weft_conv_n_weights(const weft_conv *c)
{
    return (size_t)c->kh * c->kw * c->cin * c->cout;
}

/* How much of a window row that starts at column left (of the padded image) lies in the image:
 * window columns [*from, *to). */
static void inside(const weft_conv *c, size_t left, size_t *from, size_t *to)
{
    const size_t right = (size_t)c->pad_left + c->w;
    *from = left < c->pad_left ? c->pad_left - left : 0;
    *from = *from > c->kw ? c->kw : *from;
    *to = right > left ? right - left : 0;
    *to = *to > c->kw ? c->kw : *to;
    *to = *to < *from ? *from : *to;
}

void weft_im2col(const weft_conv *c, float *columns, const float *x)
{
    const size_t cin = c->cin;
    for (size_t oy = 0; oy < c->oh; oy++) {
        for (size_t ox = 0; ox < c->ow; ox++) {
            size_t from = 0;
            size_t to = 0;
            inside(c, ox * c->stride, &from, &to);
            for (size_t ky = 0; ky < c->kh; ky++, columns += c->kw * cin) {
                const size_t y = oy * c->stride + ky;
                if (y < c->pad_top || y >= (size_t)c->pad_top + c->h) {
                    memset(columns, 0, c->kw * cin * sizeof *columns);
                    continue;
                }
                memset(columns, 0, from * cin * sizeof *columns);
                if (to > from) {
                    const size_t at = (y - c->pad_top) * c->w + ox * c->stride + from - c->pad_left;
                    memcpy(columns + from * cin, x + at * cin, (to - from) * cin * sizeof *columns);
                }
                memset(columns + to * cin, 0, (c->kw - to) * cin * sizeof *columns);
            }
        }
    }
}

void weft_col2im(const weft_conv *c, float *dx, const float *columns)
{
    const size_t cin = c->cin;
    memset(dx, 0, (size_t)c->h * c->w * cin * sizeof *dx);
    for (size_t oy = 0; oy < c->oh; oy++) {
        for (size_t ox = 0; ox < c->ow; ox++) {
            size_t from = 0;
            size_t to = 0;
            inside(c, ox * c->stride, &from, &to);
            for (size_t ky = 0; ky < c->kh; ky++, columns += c->kw * cin) {
                const size_t y = oy * c->stride + ky;
                if (y >= c->pad_top && y < (size_t)c->pad_top + c->h && to > from) {
                    const size_t at = (y - c->pad_top) * c->w + ox * c->stride + from - c->pad_left;
                    weft_add(dx + at * cin, columns + from * cin, (to - from) * cin);
                }
            }
        }
    }
}

void weft_conv_finish(const weft_conv *c, const weft_conv_forward *io, uint32_t image, float *z)
{
    const size_t at = image * weft_conv_n_out(c);
    if (c->pooled) {
        weft_maxpool_fused(&c->pool, io->y + at, io->slot ? io->slot + at : NULL, z, io->bias,
                           c->relu);
    } else {
        weft_rows_finish(z, io->bias, (size_t)c->oh * c->ow, c->cout, c->relu);
    }
}

const float *weft_conv_gradient(const weft_conv *c, const weft_conv_backward *io, uint32_t image,
                                float *dz)
{
    const size_t at = image * weft_conv_n_out(c);
    if (c->pooled) {
        weft_maxpool_scatter(&c->pool, dz, io->dy + at, io->slot + at);
        return dz;
    }
    return io->dy + at;
}

void weft_conv_open(const weft_conv *c, const weft_conv_backward *io)
{
    if (c->relu && !c->pooled) {
        weft_relu_back(io->dy, io->y, io->n * weft_conv_n_out(c));
    }
}
