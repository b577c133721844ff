/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sum of masked vectors, mod 2^32: exact, the same in any order, 4 bytes a word whatever the
 * cohort. Until the masks are taken off its words look like noise. Pure.
 *
 * Threads: as weft_sum (agg.h): several may add when each has another range; count by the owner.
 */
#ifndef WEFT_AGG_MASKED_H
#define WEFT_AGG_MASKED_H

#include "base/alloc.h"
#include "base/err.h"
#include "update/fixed.h"

#include <stdint.h>

typedef struct weft_masked_sum weft_masked_sum;

/** An empty sum for vectors of a grid. WEFT_E_NOMEM. *ret is the caller's to free. */
WEFT_NODISCARD weft_status weft_masked_sum_new(weft_masked_sum **ret, const weft_fixed_grid *grid,
                                               const weft_alloc *a, weft_err *err);
/** The same over [n_words] zeros of the caller's; borrowed, must outlive the sum. */
WEFT_NODISCARD weft_status weft_masked_sum_new_over(weft_masked_sum **ret, uint32_t *acc,
                                                    const weft_fixed_grid *grid,
                                                    const weft_alloc *a, weft_err *err);
void weft_masked_sum_free(weft_masked_sum *sum);

/** Add words [first, first + n) of one vector. @param bytes [4 * n] little-endian, any alignment.
 */
void weft_masked_sum_add_range(weft_masked_sum *sum, const uint8_t *bytes, uint64_t first,
                               uint64_t n);
/** Count one completely added vector. WEFT_E_LIMIT above the cohort. */
WEFT_NODISCARD weft_status weft_masked_sum_count(weft_masked_sum *sum, weft_err *err);
uint32_t weft_masked_sum_clients(const weft_masked_sum *sum);
/** The words [n_words]: weft_prg_apply takes the masks off here, in ranges. */
uint32_t *weft_masked_sum_words(weft_masked_sum *sum);

/**
 * After unmasking: check all bounds, read the totals.
 * @return WEFT_E_INVALID it is no sum of the counted clients' inputs; WEFT_E_STATE an empty sum.
 */
WEFT_NODISCARD weft_status weft_masked_sum_totals(weft_fixed_totals *ret,
                                                  const weft_masked_sum *sum, weft_err *err);
/**
 * FedAvg: next = base + mean delta, for parameters [first, first + n).
 * @param next, base  [n], beginning with the first.
 * @return WEFT_E_INVALID a result is not finite, or a word is out of its bounds.
 */
WEFT_NODISCARD weft_status weft_masked_finish_range(float *next, const float *base,
                                                    const weft_masked_sum *sum,
                                                    const weft_fixed_totals *totals, uint64_t first,
                                                    uint64_t n, weft_err *err);

#endif
