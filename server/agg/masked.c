/* SPDX-License-Identifier: Apache-2.0 */
/* The sum of masked vectors: wrapping addition of words, which is what takes the masks apart. */
#include "agg/masked.h"

#include "base/limits.h"

#include <math.h>
#include <string.h>

struct weft_masked_sum {
    const weft_alloc *alloc;
    weft_fixed_grid grid;
    uint32_t *words; /* [grid.n_words] */
    uint32_t *mine;  /* words where the sum owns it, else NULL */
    uint32_t clients;
};

weft_status weft_masked_sum_new_over(weft_masked_sum **ret, uint32_t *acc,
                                     const weft_fixed_grid *grid, const weft_alloc *a,
                                     weft_err *err)
{
    weft_masked_sum *sum = weft_array(a, 1, sizeof *sum);
    if (!sum) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a masked sum");
    }
    sum->alloc = a;
    sum->grid = *grid;
    sum->words = acc;
    *ret = sum;
    return WEFT_OK;
}

weft_status weft_masked_sum_new(weft_masked_sum **ret, const weft_fixed_grid *grid,
                                const weft_alloc *a, weft_err *err)
{
    uint32_t *words = weft_array(a, grid->n_words, sizeof *words);
    if (!words) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a masked sum of %llu words",
                  (unsigned long long)grid->n_words);
    }
    const weft_status status = weft_masked_sum_new_over(ret, words, grid, a, err);
    if (status != WEFT_OK) {
        weft_free(a, words);
        return status;
    }
    (*ret)->mine = words;
    return WEFT_OK;
}

void weft_masked_sum_free(weft_masked_sum *sum)
{
    if (sum) {
        weft_free(sum->alloc, sum->mine);
        weft_free(sum->alloc, sum);
    }
}

void weft_masked_sum_add_range(weft_masked_sum *sum, const uint8_t *bytes, uint64_t first,
                               uint64_t n)
{
    uint32_t *words = sum->words + first;
    for (uint64_t i = 0; i < n; i++) { /* vectorised by the compiler */
        uint32_t w = 0;
        memcpy(&w, bytes + i * sizeof w, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        w = __builtin_bswap32(w);
#endif
        words[i] += w;
    }
}

weft_status weft_masked_sum_count(weft_masked_sum *sum, weft_err *err)
{
    if (sum->clients >= sum->grid.layout.cohort) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the sum holds %u vectors already, its cohort", sum->clients);
    }
    sum->clients++;
    return WEFT_OK;
}

uint32_t weft_masked_sum_clients(const weft_masked_sum *sum)
{
    return sum->clients;
}

uint32_t *weft_masked_sum_words(weft_masked_sum *sum)
{
    return sum->words;
}

static weft_status check_bounds(const weft_masked_sum *sum, uint64_t weight, uint64_t first,
                                uint64_t n, weft_err *err)
{
    const uint32_t each = sum->grid.param_words;
    for (uint64_t i = first; i < first + n; i++) {
        if (!weft_fixed_in_bounds(&sum->grid, sum->words + i * each, sum->clients, weight)) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "parameter %llu of the sum is %d, beyond what %u clients can add up to: %lld",
                      (unsigned long long)i, (int)(int32_t)sum->words[i * each], sum->clients,
                      (long long)sum->grid.bound * sum->clients);
        }
    }
    return WEFT_OK;
}

weft_status weft_masked_sum_totals(weft_fixed_totals *ret, const weft_masked_sum *sum,
                                   weft_err *err)
{
    if (sum->clients == 0) {
        WEFT_FAIL(err, WEFT_E_STATE, "a round without updates has no mean");
    }
    weft_fixed_totals totals;
    WEFT_TRY(weft_fixed_totals_read(
        &totals, &sum->grid, sum->words + weft_fixed_param_words(&sum->grid), sum->clients, err));
    WEFT_TRY(check_bounds(sum, totals.weight, 0, sum->grid.layout.n_params, err));
    *ret = totals;
    return WEFT_OK;
}

weft_status weft_masked_finish_range(float *next, const float *base, const weft_masked_sum *sum,
                                     const weft_fixed_totals *totals, uint64_t first, uint64_t n,
                                     weft_err *err)
{
    WEFT_TRY(check_bounds(sum, totals->weight, first, n, err));
    const uint32_t each = sum->grid.param_words;
    for (uint64_t i = 0; i < n; i++) {
        const double mean =
            weft_fixed_mean(&sum->grid, sum->words + (first + i) * each, totals->weight);
        next[i] = (float)((double)base[i] + mean);
        if (!isfinite(next[i])) {
            WEFT_FAIL(err, WEFT_E_INVALID, "the result is not finite: parameter %llu",
                      (unsigned long long)(first + i));
        }
    }
    return WEFT_OK;
}
