/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels behind update/norm.h: one portable oracle and its fast twins. For update and tests.
 */
#ifndef WEFT_UPDATE_NORM_PRIV_H
#define WEFT_UPDATE_NORM_PRIV_H

#include "update/norm.h"

/* lane[j] += square of values[16 g + j] for g = 0, 1, ..., n_groups - 1, in this order. */
typedef void weft_norm_lanes_fn(double lane[WEFT_NORM_LANES], const float *values, size_t n_groups);

weft_norm_lanes_fn weft_norm_lanes_portable;
#if defined(__x86_64__)
weft_norm_lanes_fn weft_norm_lanes_avx2;
#endif
/** The fastest one that this processor has. */
weft_norm_lanes_fn *weft_norm_lanes_best(void);

#endif
