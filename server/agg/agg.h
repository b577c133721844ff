/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aggregation: vectors in, vector out; pure. FedAvg (McMahan et al., AISTATS 2017) over exact sums:
 * each term n_i * delta_ij is rounded once (half to even) to the grid 2^-s that the job fixes, then
 * added as int64, so the sum is the same for any order and any split over threads.
 * s = 62 - ceil(log2(cohort * max_examples * clip_norm)), at most 90: the sum stays below
 * 2^62 + cohort / 2 and cannot overflow, because |delta_ij| <= clip_norm.
 *
 * Memory: 8 bytes a parameter, whatever the cohort.
 * Threads: one sum may be folded by several threads when each folds another element range of an
 * update, or under the round's lock; begin/end of an update are counted by the owner.
 */
#ifndef WEFT_AGG_H
#define WEFT_AGG_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdint.h>

typedef struct weft_sum weft_sum;

/* How a round's sum becomes the next weights. Others (FedAvgM, FedAdam, ...) implement the same. */
typedef struct weft_aggregator {
    const char *name; /* "fedavg" */
    /**
     * next = base + the mean delta.
     * @param next  [n_params], written; may not overlap base.
     * @return WEFT_OK; WEFT_E_INVALID when a value is not finite; WEFT_E_STATE for an empty sum.
     */
    weft_status (*finish)(float *next, const float *base, const weft_sum *sum, weft_err *err);
    /** The same for elements [first, first + n): next and base are [n] and begin with the first. */
    weft_status (*finish_range)(float *next, const float *base, const weft_sum *sum, uint64_t first,
                                uint64_t n, weft_err *err);
} weft_aggregator;

/** The aggregator of a name, or NULL. */
const weft_aggregator *weft_aggregator_find(const char *name);

/**
 * Could weft_sum_new make this sum, memory aside? For refusing a job before it starts.
 * @return WEFT_E_INVALID, WEFT_E_LIMIT as weft_sum_new. Pure; any thread.
 */
WEFT_NODISCARD weft_status weft_sum_check(uint64_t n_params, uint32_t cohort, uint64_t max_examples,
                                          double clip_norm, weft_err *err);

/**
 * An empty sum.
 * @param n_params      parameters, > 0.
 * @param cohort        most updates ever added.
 * @param max_examples  largest weight of one update.
 * @param clip_norm     largest absolute value of one element.
 * @return WEFT_E_INVALID an argument is 0 or above its limit; WEFT_E_LIMIT when the grid would be
 *         coarser than 2^-8; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_sum_new(weft_sum **ret, uint64_t n_params, uint32_t cohort,
                                        uint64_t max_examples, double clip_norm,
                                        const weft_alloc *a, weft_err *err);
/**
 * The same over memory of the caller's, for sums that must not lie on the heap.
 * @param acc  [n_params] zeros; borrowed, must outlive the sum.
 */
WEFT_NODISCARD weft_status weft_sum_new_over(weft_sum **ret, int64_t *acc, uint64_t n_params,
                                             uint32_t cohort, uint64_t max_examples,
                                             double clip_norm, const weft_alloc *a, weft_err *err);
void weft_sum_free(weft_sum *sum);

/**
 * Add elements [first, first + n) of one update.
 * @param delta  [n] float32, finite and within clip_norm (validated before: see update/check.h).
 * @param n_examples  the update's weight, 1..max_examples.
 * Cost: near memory speed; no allocation, no floating-point arithmetic. Blocks of zeros (frozen
 * layers) are not added: parts of the sum that no update changes are never touched.
 */
void weft_sum_add_range(weft_sum *sum, const float *delta, uint64_t first, uint64_t n,
                        uint64_t n_examples);
/** Count one completely added update. WEFT_E_LIMIT above the cohort; the sum is unchanged then. */
WEFT_NODISCARD weft_status weft_sum_count(weft_sum *sum, uint64_t n_examples, weft_err *err);

uint64_t weft_sum_n_params(const weft_sum *sum);
uint32_t weft_sum_updates(const weft_sum *sum);
uint64_t weft_sum_examples(const weft_sum *sum);
/** Mean delta of one element (float64 arithmetic on the exact sum). */
double weft_sum_mean(const weft_sum *sum, uint64_t element);
int weft_sum_grid_bits(const weft_sum *sum); /* s */

#endif
