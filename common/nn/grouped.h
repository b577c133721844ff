/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution in groups: channels and filters fall into equal parts, filters of part g see only
 * channels of part g. With as many groups as channels it is a depthwise convolution. Optionally
 * through relu. Sums run over the window row by row, then its channels. Threads: any.
 */
#ifndef WEFT_NN_GROUPED_H
#define WEFT_NN_GROUPED_H

#include "nn/conv.h"

/* weights [kh][kw][cin / groups][cout]; conv.pooled is not served */
typedef struct weft_grouped {
    weft_conv conv;
    uint32_t groups; /* divides cin and cout */
} weft_grouped;

size_t weft_grouped_n_weights(const weft_grouped *g);

/**
 * @param y     [n][oh][ow][cout], written.
 * @param x     [n][h][w][cin].
 * @param bias  [cout], or NULL.
 */
void weft_grouped_forward(const weft_grouped *g, float *y, const float *x, const float *w,
                          const float *bias, uint32_t n);

/**
 * @param dx  as x, written; NULL: not wanted.
 * @param dy  as y; overwritten with the gradient before the relu.
 * @param dw  as w, written; db [cout], too.
 */
void weft_grouped_backward(const weft_grouped *g, float *dx, float *dy, const float *y,
                           const float *x, const float *w, float *dw, float *db, uint32_t n);

#endif
