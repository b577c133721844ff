/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The L2 norm of a vector that arrives in pieces, the same bits on every machine and for every
 * split: value i goes to lane i mod 16, squares are exact in float64, each block of 4096 values is
 * folded in one fixed order. Client and coordinator use this one definition, so a client that
 * clipped to the limit is never refused for it. Pure; any thread; a sum belongs to one at a time.
 */
#ifndef WEFT_UPDATE_NORM_H
#define WEFT_UPDATE_NORM_H

#include <stddef.h>
#include <stdint.h>

#define WEFT_NORM_LANES 16
#define WEFT_NORM_BLOCK 4096

typedef struct weft_norm {
    double lane[WEFT_NORM_LANES]; /* of the present block */
    double total;                 /* of the finished blocks */
    uint64_t n;                   /* values seen */
} weft_norm;

void weft_norm_init(weft_norm *norm);
/** @param values  [n], any bits; borrowed. Cost: O(n), vectorised. */
void weft_norm_add(weft_norm *norm, const float *values, size_t n);
/** Sum of squares; NaN or infinite exactly when some value is not finite (n <= 2^33). */
double weft_norm_square(const weft_norm *norm);
/** Its root. */
double weft_norm_get(const weft_norm *norm);

#endif
