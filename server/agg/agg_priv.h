/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside agg, and for its tests: the sum's fields and the kernels, one portable oracle and its
 * fast twins. All give the same bits; none uses floating-point arithmetic.
 */
#ifndef WEFT_AGG_PRIV_H
#define WEFT_AGG_PRIV_H

#include "agg/agg.h"

#include <stddef.h>

/* Finer grids gain nothing and would make the smallest float32 matter (see weft_sum_term). */
#define WEFT_SUM_MAX_GRID_BITS 90
/* Coarser ones would show in the weights. */
#define WEFT_SUM_MIN_GRID_BITS 8

struct weft_sum {
    const weft_alloc *alloc;
    int64_t *acc;  /* [n_params]: sums of terms in units of 2^-grid_bits */
    int64_t *mine; /* acc where the sum owns it, else NULL */
    uint64_t n_params;
    uint64_t max_examples;
    uint64_t examples; /* of the counted updates */
    uint32_t cohort;
    uint32_t updates; /* counted; <= cohort */
    int grid_bits;
};

/** acc[i] += round_half_even(delta[i] * n_examples * 2^grid_bits), exactly. */
typedef void weft_sum_kernel(int64_t *acc, const float *delta, size_t n, uint32_t n_examples,
                             int grid_bits);

weft_sum_kernel weft_sum_kernel_portable;
#if defined(__x86_64__)
weft_sum_kernel weft_sum_kernel_avx2;
weft_sum_kernel weft_sum_kernel_avx512;
#endif
#define WEFT_SUM_MAX_KERNELS 3
/** Those that this processor has, the portable one first, the fastest last. @return how many. */
size_t weft_sum_kernels(weft_sum_kernel *ret[WEFT_SUM_MAX_KERNELS]);
/** The fastest one that this processor has. */
weft_sum_kernel *weft_sum_kernel_best(void);

/** The bits of the grid: 62 - ceil(log2(cohort * max_examples * clip_norm)), at most the maximum.
 */
int weft_sum_grid(uint32_t cohort, uint64_t max_examples, double clip_norm);

#endif
