/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exact sum. A float32 is an integer of 24 bits times a power of two, a weight an integer of at
 * most 2^31: their product has at most 55 bits and is formed exactly, then shifted to the grid with
 * one rounding, half to even. Integer arithmetic throughout: no rounding mode, no contraction, no
 * order. Called by the fold workers of server/app and by the simulations.
 */
#include "agg/agg_priv.h"

#include "base/buf.h"
#include "base/limits.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define FRACTION_BITS 23
#define FRACTION_MASK 0x7fffffU
#define HIDDEN_BIT    0x800000U
#define EXPONENT_MASK 0xffU
/* value = mantissa * 2^(exponent - 150) */
#define EXPONENT_BIAS 150
/* Elements that are looked at together: 16 KiB of deltas, which stay in the first-level cache */
#define BLOCK 4096U

/*
 * One term. Numbers below 2^-126 (exponent 0) lack the hidden bit; with grids of at most 90 bits
 * and weights of at most 2^31 their terms are below 2^-5, so that they round to 0 with it, too.
 */
static int64_t term(uint32_t bits, uint64_t n_examples, int grid_bits)
{
    const uint64_t mantissa = (bits & FRACTION_MASK) | HIDDEN_BIT;
    const int exponent = (int)(bits >> FRACTION_BITS & EXPONENT_MASK);
    const int shift = exponent - EXPONENT_BIAS + grid_bits;
    uint64_t magnitude = mantissa * n_examples;
    if (shift >= 64 || shift <= -64) {
        magnitude = 0; /* below half a unit; or (never, see agg.h) beyond the norm limit */
    } else if (shift >= 0) {
        magnitude <<= shift;
    } else {
        const int right = -shift;
        const uint64_t odd = magnitude >> right & 1U;
        const uint64_t half = (UINT64_C(1) << (right - 1)) - 1;
        magnitude = (magnitude + half + odd) >> right;
    }
    return (int64_t)(bits >> 31 ? -magnitude : magnitude);
}

void weft_sum_kernel_portable(int64_t *acc, const float *delta, size_t n, uint32_t n_examples,
                              int grid_bits)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &delta[i], sizeof bits);
        acc[i] = (int64_t)((uint64_t)acc[i] + (uint64_t)term(bits, n_examples, grid_bits));
    }
}

size_t weft_sum_kernels(weft_sum_kernel *ret[WEFT_SUM_MAX_KERNELS])
{
    size_t n = 0;
    ret[n++] = weft_sum_kernel_portable;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        ret[n++] = weft_sum_kernel_avx2;
    }
    if (__builtin_cpu_supports("avx512f")) {
        ret[n++] = weft_sum_kernel_avx512;
    }
#endif
    return n;
}

weft_sum_kernel *weft_sum_kernel_best(void)
{
    weft_sum_kernel *all[WEFT_SUM_MAX_KERNELS] = {NULL};
    const size_t n = weft_sum_kernels(all);
    weft_sum_kernel *fastest = all[n - 1];
    return fastest;
}

int weft_sum_grid(uint32_t cohort, uint64_t max_examples, double clip_norm)
{
    int exponent = 0;
    const double bound = (double)((uint64_t)cohort * max_examples) * clip_norm;
    const double fraction = frexp(bound, &exponent); /* [0.5, 1) * 2^exponent */
    const int bits = 62 - (fraction > 0.5 ? exponent : exponent - 1);
    return bits < WEFT_SUM_MAX_GRID_BITS ? bits : WEFT_SUM_MAX_GRID_BITS;
}

weft_status weft_sum_check(uint64_t n_params, uint32_t cohort, uint64_t max_examples,
                           double clip_norm, weft_err *err)
{
    if (n_params == 0 || n_params > WEFT_MAX_PARAMS || cohort == 0 || cohort > WEFT_MAX_COHORT ||
        max_examples == 0 || max_examples > WEFT_MAX_EXAMPLES || !(clip_norm > 0.0) ||
        !isfinite(clip_norm)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "no sum of %llu parameters, cohort %u, max_examples %llu, clip_norm %g",
                  (unsigned long long)n_params, cohort, (unsigned long long)max_examples,
                  clip_norm);
    }
    const int grid_bits = weft_sum_grid(cohort, max_examples, clip_norm);
    if (grid_bits < WEFT_SUM_MIN_GRID_BITS) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "cohort %u * max_examples %llu * clip_norm %g leaves a grid of 2^%d, coarser "
                  "than 2^%d: lower max_examples or clip_norm",
                  cohort, (unsigned long long)max_examples, clip_norm, -grid_bits,
                  -WEFT_SUM_MIN_GRID_BITS);
    }
    return WEFT_OK;
}

weft_status weft_sum_new_over(weft_sum **ret, int64_t *acc, uint64_t n_params, uint32_t cohort,
                              uint64_t max_examples, double clip_norm, const weft_alloc *a,
                              weft_err *err)
{
    WEFT_TRY(weft_sum_check(n_params, cohort, max_examples, clip_norm, err));
    weft_sum *sum = weft_array(a, 1, sizeof *sum);
    if (!sum) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a sum");
    }
    sum->alloc = a;
    sum->acc = acc;
    sum->n_params = n_params;
    sum->max_examples = max_examples;
    sum->cohort = cohort;
    sum->grid_bits = weft_sum_grid(cohort, max_examples, clip_norm);
    *ret = sum;
    return WEFT_OK;
}

weft_status weft_sum_new(weft_sum **ret, uint64_t n_params, uint32_t cohort, uint64_t max_examples,
                         double clip_norm, const weft_alloc *a, weft_err *err)
{
    weft_sum *sum = NULL;
    WEFT_TRY(weft_sum_new_over(&sum, NULL, n_params, cohort, max_examples, clip_norm, a, err));
    sum->mine = n_params <= SIZE_MAX ? weft_array(a, (size_t)n_params, sizeof *sum->mine) : NULL;
    sum->acc = sum->mine;
    if (!sum->mine) {
        weft_sum_free(sum);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a sum of %llu parameters",
                  (unsigned long long)n_params);
    }
    *ret = sum;
    return WEFT_OK;
}

void weft_sum_free(weft_sum *sum)
{
    if (sum) {
        weft_free(sum->alloc, sum->mine);
        weft_free(sum->alloc, sum);
    }
}

void weft_sum_add_range(weft_sum *sum, const float *delta, uint64_t first, uint64_t n,
                        uint64_t n_examples)
{
    assert(first <= sum->n_params && n <= sum->n_params - first);
    assert(n_examples > 0 && n_examples <= sum->max_examples);
    weft_sum_kernel *kernel = weft_sum_kernel_best();
    for (uint64_t at = 0; at < n;) {
        const size_t take = n - at < BLOCK ? (size_t)(n - at) : BLOCK;
        if (!weft_bytes_zero(delta + at, take * sizeof *delta)) {
            kernel(sum->acc + first + at, delta + at, take, (uint32_t)n_examples, sum->grid_bits);
        }
        at += take;
    }
}

weft_status weft_sum_count(weft_sum *sum, uint64_t n_examples, weft_err *err)
{
    if (sum->updates >= sum->cohort) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the sum holds %u updates already, its cohort", sum->cohort);
    }
    sum->updates++;
    sum->examples += n_examples;
    return WEFT_OK;
}

uint64_t weft_sum_n_params(const weft_sum *sum)
{
    return sum->n_params;
}

uint32_t weft_sum_updates(const weft_sum *sum)
{
    return sum->updates;
}

uint64_t weft_sum_examples(const weft_sum *sum)
{
    return sum->examples;
}

int weft_sum_grid_bits(const weft_sum *sum)
{
    return sum->grid_bits;
}

double weft_sum_mean(const weft_sum *sum, uint64_t element)
{
    /* one rounding to float64, an exact shift, one rounded division */
    return ldexp((double)sum->acc[element], -sum->grid_bits) / (double)sum->examples;
}
