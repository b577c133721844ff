/* SPDX-License-Identifier: Apache-2.0 */
/* Pooling layers over [h][w][c] images. Threads: any. */
#ifndef WEFT_NN_POOL_H
#define WEFT_NN_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct weft_pool {
    uint32_t h, w, c; /* input */
    uint32_t size;    /* of the square window; no padding */
    uint32_t stride;
    uint32_t oh, ow; /* output, c channels */
} weft_pool;

/** One image: y [oh][ow][c] from x [h][w][c]. */
void weft_maxpool_forward(const weft_pool *p, float *y, const float *x);
/** dx [h][w][c] is written completely; the first maximum of a window gets its gradient. */
void weft_maxpool_backward(const weft_pool *p, float *dx, const float *dy, const float *x);

void weft_avgpool_forward(const weft_pool *p, float *y, const float *x);
void weft_avgpool_backward(const weft_pool *p, float *dx, const float *dy);

/* The slot of a window that won, row by row, or this: the relu behind it is closed. */
#define WEFT_POOL_DEAD      255U
#define WEFT_POOL_MAX_SLOTS 254U

/**
 * Maximum and relu of an image at once, for layers that do not keep x (size * size at most
 * WEFT_POOL_MAX_SLOTS).
 * @param slot  [oh][ow][c], written, or NULL.
 * @param bias  [c], added to the maximum; or NULL.
 */
void weft_maxpool_fused(const weft_pool *p, float *y, uint8_t *slot, const float *x,
                        const float *bias, bool relu);
/** Back: dx [h][w][c] is written completely. */
void weft_maxpool_scatter(const weft_pool *p, float *dx, const float *dy, const uint8_t *slot);

#endif
