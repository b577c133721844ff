/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the AVX2 convolutions share: the image in a frame of zeros, in which one kernel row of a
 * window is kw * cin values in a row, whatever the channels.
 */
#ifndef WEFT_NN_CONV_AVX2_PRIV_H
#define WEFT_NN_CONV_AVX2_PRIV_H

#include "nn/conv.h"
#include "nn/unroll.h"

#include <string.h>

#define AVX2       __attribute__((target("avx2,fma")))
#define WEFT_LANES 8U

/* A convolution's geometry in float32 values. */
typedef struct weft_frame {
    size_t row;    /* one row of the framed image */
    size_t size;   /* the framed image */
    size_t length; /* one kernel row of a window: kw * cin */
    size_t padded; /* the same, rounded up to whole vectors */
    size_t window; /* kh * length */
    bool framed;   /* there are zeros around the image */
} weft_frame;

static inline weft_frame weft_frame_of(const weft_conv *c)
{
    weft_frame f;
    f.row = ((size_t)c->w + c->pad_left + c->pad_right) * c->cin;
    f.size = ((size_t)c->h + c->pad_top + c->pad_bottom) * f.row;
    f.length = (size_t)c->kw * c->cin;
    f.padded = (f.length + WEFT_LANES - 1) / WEFT_LANES * WEFT_LANES;
    f.window = c->kh * f.length;
    f.framed = c->pad_top || c->pad_left || c->pad_bottom || c->pad_right;
    return f;
}

/* Arrays of a scratch start at cache lines. */
static inline size_t weft_frame_align(size_t n)
{
    return (n + 15) / 16 * 16;
}

/* The inside of the frame; its zeros were written before. */
static inline void weft_frame_fill(const weft_conv *c, const weft_frame *f, float *framed,
                                   const float *x)
{
    const size_t n = (size_t)c->w * c->cin;
    float *at = framed + c->pad_top * f->row + (size_t)c->pad_left * c->cin;
    for (uint32_t y = 0; y < c->h; y++, at += f->row, x += n) {
        memcpy(at, x, n * sizeof *x);
    }
}

/* What lies inside of it. */
static inline void weft_frame_empty(const weft_conv *c, const weft_frame *f, float *x,
                                    const float *framed)
{
    const size_t n = (size_t)c->w * c->cin;
    const float *at = framed + c->pad_top * f->row + (size_t)c->pad_left * c->cin;
    for (uint32_t y = 0; y < c->h; y++, at += f->row, x += n) {
        memcpy(x, at, n * sizeof *x);
    }
}

/* Forward without columns, for dense and pooled layers that weft_conv_direct_fits. */
bool weft_conv_direct_fits(const weft_conv *c);
size_t weft_conv_direct_scratch(const weft_conv *c);
void weft_conv_direct_forward(const weft_conv *c, const weft_conv_forward *io);

/* Backward of pooled layers. */
size_t weft_conv_sparse_scratch(const weft_conv *c);
void weft_conv_sparse_backward(const weft_conv *c, const weft_conv_backward *io);

#endif
