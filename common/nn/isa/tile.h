/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one loop that does nearly all of the arithmetic: up to TILE_ROWS x TILE_WIDTH sums in
 * registers,
 *
 *   sum[row][column] = start + the chain over outer, inner of  a(row, outer, inner) *
 * b[step][column]
 *
 * fused multiply-adds in exactly this order. Matrix products, convolutions, and the gradients of
 * their weights differ in the strides of a only. Threads: any.
 */
#ifndef WEFT_NN_ISA_TILE_H
#define WEFT_NN_ISA_TILE_H

#include "nn/isa/vec.h"

#include <stdbool.h>

typedef struct weft_tile {
    const float *a;
    size_t a_row;   /* values between the rows of a tile */
    size_t a_inner; /* between inner steps */
    size_t a_outer; /* between outer steps */
    size_t inner;
    size_t outer;
    const float *b; /* LANES * vectors values a step, b_step apart, over inner and outer alike */
    size_t b_step;
    size_t width;       /* of a tile of one vector: how many of its values there are */
    const float *start; /* the rows' first values; NULL: zeros */
    size_t start_row;   /* between them; 0: the same for all rows (a bias) */
    float *c;
    size_t c_row;
    bool relu;
    bool blend; /* c = keep * c + scale * sum; else c = sum. With keep 0, c is not read. */
    float keep;
    float scale;
    const float *soon; /* what to fetch meanwhile, in steps of b_step; or b again */
} weft_tile;

#define weft_tile_run WEFT_ISA_NAME(weft_tile_run)
/** A tile of rows (1..TILE_ROWS) x vectors (1, 2). */
void weft_tile_run(const weft_tile *t, size_t rows, size_t vectors);

#endif
