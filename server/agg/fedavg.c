/* SPDX-License-Identifier: Apache-2.0 */
/* FedAvg: next = base + mean delta; and the table of aggregators. */
#include "agg/agg_priv.h"

#include <math.h>
#include <string.h>

static weft_status fedavg_finish_range(float *next, const float *base, const weft_sum *sum,
                                       uint64_t first, uint64_t n, weft_err *err)
{
    if (sum->updates == 0 || sum->examples == 0) {
        WEFT_FAIL(err, WEFT_E_STATE, "a round without updates has no mean");
    }
    /* The same value as weft_sum_mean: a power of two scales exactly, also as a factor. */
    const double unit = ldexp(1.0, -sum->grid_bits);
    const double examples = (double)sum->examples;
    const int64_t *acc = sum->acc + first;
    for (uint64_t i = 0; i < n; i++) {
        const double mean = (double)acc[i] * unit / examples;
        next[i] = (float)((double)base[i] + mean);
        if (!isfinite(next[i])) {
            WEFT_FAIL(err, WEFT_E_INVALID, "the result is not finite: parameter %llu",
                      (unsigned long long)(first + i));
        }
    }
    return WEFT_OK;
}

static weft_status fedavg_finish(float *next, const float *base, const weft_sum *sum, weft_err *err)
{
    return fedavg_finish_range(next, base, sum, 0, sum->n_params, err);
}

const weft_aggregator *weft_aggregator_find(const char *name)
{
    static const weft_aggregator all[] = {{"fedavg", fedavg_finish, fedavg_finish_range}};
    for (size_t i = 0; name && i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i].name, name) == 0) {
            return &all[i];
        }
    }
    return NULL;
}
