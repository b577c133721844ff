/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops over vectors and rows. Sums run in the order of the index, so the same inputs give the same
 * bytes. Arrays of one call do not overlap unless said. Threads: any.
 */
#ifndef WEFT_NN_TENSOR_H
#define WEFT_NN_TENSOR_H

#include <stdbool.h>
#include <stddef.h>

/** y[row][i] += bias[i] (NULL: none), then negative values become 0 if relu. NaN stays NaN. */
void weft_rows_finish(float *y, const float *bias, size_t rows, size_t n, bool relu);

/** dy[i] = 0 where y[i] is not positive: back through the relu that made y. */
void weft_relu_back(float *dy, const float *y, size_t n);

/** sum[i] += the sum over rows of x[row][i], rows in order. */
void weft_rows_sum(float *sum, const float *x, size_t rows, size_t n);

/** to[i] = keep * to[i] + scale * g[i]; to is not read when keep is 0. */
void weft_blend(float *to, float keep, float scale, const float *g, size_t n);

/** out[i] += x[i] */
void weft_add(float *out, const float *x, size_t n);

/** True when every value is finite. */
bool weft_all_finite(const float *x, size_t n);

#endif
