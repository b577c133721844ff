/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image in a frame of zeros, in which one kernel row of a window is kw * cin values in a row,
 * whatever the channels. Threads: any.
 */
#ifndef WEFT_NN_ISA_FRAME_H
#define WEFT_NN_ISA_FRAME_H

#include "nn/conv.h"

#include <string.h>

/* Rows are padded to whole vectors of the widest kind on every processor: the same bits. */
enum { FRAME_VECTOR = 16 };

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
    f.padded = (f.length + FRAME_VECTOR - 1) / FRAME_VECTOR * FRAME_VECTOR;
    f.window = c->kh * f.length;
    f.framed = c->pad_top || c->pad_left || c->pad_bottom || c->pad_right;
    return f;
}

/* Arrays of a scratch start at cache lines. */
static inline size_t weft_frame_align(size_t n)
{
    return (n + FRAME_VECTOR - 1) / FRAME_VECTOR * FRAME_VECTOR;
}

/* The parts of a scratch, counted before there is one. */
typedef struct weft_frame_arena {
    float *base; /* NULL: only count */
    size_t used;
} weft_frame_arena;

static inline float *weft_frame_take(weft_frame_arena *a, size_t n)
{
    float *p = a->base ? a->base + a->used : NULL;
    a->used += weft_frame_align(n);
    return p;
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

#endif
