/* SPDX-License-Identifier: Apache-2.0 */
/* FedAvg: next = base + mean delta; and the table of aggregators. */
#include "agg/agg_priv.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Elements that are looked at together for values that are not finite. */
enum { BLOCK = 1024 };

/* @return whether all are finite. The same operations for each element on any width of vectors:
 * a conversion, a product with a power of two, a division, a sum, a conversion, each rounded once.
 */
static inline __attribute__((always_inline)) bool add_means(float *next, const float *base,
                                                            const int64_t *acc, size_t n,
                                                            double unit, double examples)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        const double mean = (double)acc[i] * unit / examples;
        const float value = (float)((double)base[i] + mean);
        uint32_t bits = 0;
        memcpy(&bits, &value, sizeof bits);
        bits &= 0x7fffffffU;
        largest = bits > largest ? bits : largest;
        next[i] = value;
    }
    return largest < 0x7f800000U;
}

typedef bool add_means_fn(float *next, const float *base, const int64_t *acc, size_t n, double unit,
                          double examples);

static bool add_means_portable(float *next, const float *base, const int64_t *acc, size_t n,
                               double unit, double examples)
{
    return add_means(next, base, acc, n, unit, examples);
}

#if defined(__x86_64__)
/* The first one with a conversion of 64-bit integers. */
__attribute__((target("avx512f,avx512dq"))) static bool
add_means_avx512(float *next, const float *base, const int64_t *acc, size_t n, double unit,
                 double examples)
{
    return add_means(next, base, acc, n, unit, examples);
}
#endif

static add_means_fn *add_means_best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512dq")) {
        return add_means_avx512;
    }
#endif
    return add_means_portable;
}

static weft_status not_finite(const float *next, uint64_t first, size_t n, weft_err *err)
{
    size_t i = 0;
    while (i + 1 < n && isfinite(next[i])) {
        i++;
    }
    WEFT_FAIL(err, WEFT_E_INVALID, "the result is not finite: parameter %llu",
              (unsigned long long)(first + i));
}

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
    add_means_fn *const add = add_means_best();
    for (uint64_t at = 0; at < n; at += BLOCK) {
        const size_t take = n - at < BLOCK ? (size_t)(n - at) : BLOCK;
        if (!add(next + at, base + at, acc + at, take, unit, examples)) {
            return not_finite(next + at, first + at, take, err);
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
