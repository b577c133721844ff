/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The convolution layer with what is fused behind it: bias, relu, and a max-pool whose input is
 * then never stored. Three implementations of one set of functions: plain loops (the oracle),
 * im2col and OpenBLAS image by image, and the direct kernels in isa/ for each instruction set.
 *
 * Sums run over the images of a batch in their order. A batch may be shared out to threads: forward
 * and the gradient of the input by images, the gradient of the weights by filters, each with a
 * scratch of its own; no sum is cut, so the bits stay. Threads: any.
 */
#ifndef WEFT_NN_CONV_H
#define WEFT_NN_CONV_H

#include "nn/net.h"
#include "nn/pool.h"

typedef struct weft_conv {
    uint32_t h, w, cin; /* input */
    uint32_t kh, kw;
    uint32_t stride;
    uint32_t pad_top, pad_left, pad_bottom, pad_right;
    uint32_t oh, ow, cout; /* output of the convolution */
    bool relu;             /* behind the convolution, or behind the pool: the same values */
    bool pooled;
    weft_pool pool; /* over [oh][ow][cout], at most WEFT_POOL_MAX_SLOTS slots */
} weft_conv;

/* One batch on its way forward. Output of one image: [ph][pw][cout] if pooled, else [oh][ow][cout].
 */
typedef struct weft_conv_forward {
    uint32_t n;
    const float *x;    /* [n][h][w][cin] */
    const float *w;    /* [kh][kw][cin][cout] */
    const float *bias; /* [cout], or NULL */
    float *y;          /* [n][output], written */
    uint8_t *slot;     /* [n][output], written if pooled; NULL: not wanted */
    float *scratch;
} weft_conv_forward;

/* And back. Before the two functions, weft_conv_open. */
typedef struct weft_conv_backward {
    uint32_t n;
    const float *x;      /* as in forward */
    const float *w;      /* as in forward */
    const float *y;      /* [n][output], of forward */
    const uint8_t *slot; /* of forward */
    float *dy;           /* [n][output]; weft_conv_open overwrites it */
    float *dx;           /* [n][h][w][cin], written by to_x */
    float *dw;           /* [kh][kw][cin][cout], written by to_w */
    float *db;           /* [cout], written by to_w; NULL: not wanted */
    float *scratch;
} weft_conv_backward;

typedef struct weft_conv_ops {
    /* float32 values of scratch that the functions need */
    size_t (*scratch)(const weft_conv *c, bool train);
    void (*forward)(const weft_conv *c, const weft_conv_forward *io);
    /* the gradient of the input */
    void (*to_x)(const weft_conv *c, const weft_conv_backward *io);
    /* the gradients of the filters [first, last) and their biases, over all images */
    void (*to_w)(const weft_conv *c, const weft_conv_backward *io, uint32_t first, uint32_t last);
} weft_conv_ops;

extern const weft_conv_ops weft_conv_naive;
extern const weft_conv_ops weft_conv_blas;

/** True when the kernels in isa/ take the shape: their offsets are 32 bits. */
bool weft_conv_is_small(const weft_conv *c);

/** Undo the relu of a layer without a pool in io->dy, once for both gradients. */
void weft_conv_open(const weft_conv *c, const weft_conv_backward *io);

/* ---- shared by the implementations ----------------------------------------------------------- */

/** Values of one image at the output, and of the weights. */
size_t weft_conv_n_out(const weft_conv *c);
size_t weft_conv_n_weights(const weft_conv *c);

/** columns [oh * ow][kh * kw * cin] of one image x, zeros where the window leaves it. */
void weft_im2col(const weft_conv *c, float *columns, const float *x);
/** The transpose: dx [h][w][cin], written completely, sums what the columns hold of it. */
void weft_col2im(const weft_conv *c, float *dx, const float *columns);

/** Bias, relu and pool of one image's convolution z [oh][ow][cout]; y may be z if not pooled. */
void weft_conv_finish(const weft_conv *c, const weft_conv_forward *io, uint32_t image, float *z);

/**
 * The gradient [oh][ow][cout] at one image's convolution, behind the pool: in io->dy, or in dz when
 * pooled.
 */
const float *weft_conv_gradient(const weft_conv *c, const weft_conv_backward *io, uint32_t image,
                                float *dz);

#endif
