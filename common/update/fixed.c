/* SPDX-License-Identifier: Apache-2.0 */
/* The fixed-point vector under the mask: its grid, and what a client puts into it. */
#include "update/fixed.h"

#include "base/limits.h"
#include "crypto/hash.h"
#include "crypto/prg.h"
#include "update/delta_priv.h"
#include "update/fixed_priv.h"
#include "update/norm.h"

#include <math.h>
#include <string.h>

/* Words of one step: deltas, randomness and words stay in the first-level cache. */
#define STEP 4096U
/* Less would only make the grid finer than float32. */
#define MIN_CLIP_NORM 1e-9
#define MAX_CLIP_NORM 1e6

/* ---- the grid -------------------------------------------------------------------------------- */

static weft_status check_layout(const weft_fixed_layout *l, weft_err *err)
{
    if (l->n_params > WEFT_MAX_PARAMS || l->cohort == 0 || l->cohort > WEFT_MAX_COHORT ||
        l->max_examples == 0 || l->max_examples > WEFT_MAX_EXAMPLES ||
        l->n_metrics > WEFT_MAX_METRICS) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "no vector of %llu parameters and %u metrics for a cohort of %u, max_examples "
                  "%llu",
                  (unsigned long long)l->n_params, l->n_metrics, l->cohort,
                  (unsigned long long)l->max_examples);
    }
    if (l->n_params > 0 && !(l->clip_norm >= MIN_CLIP_NORM && l->clip_norm <= MAX_CLIP_NORM)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "clip_norm is %g, outside [%g, %g]", l->clip_norm,
                  MIN_CLIP_NORM, MAX_CLIP_NORM);
    }
    weft_metrics names = {.n = 0};
    for (uint32_t i = 0; i < l->n_metrics; i++) {
        WEFT_TRY(weft_metrics_set(&names, l->metrics[i], 0.0, err));
    }
    if (names.n != l->n_metrics) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a metric is named twice");
    }
    return WEFT_OK;
}

static uint32_t digits_of(weft_fixed_wide most, uint64_t base)
{
    uint32_t digits = 1;
    while (most >= base) {
        most /= base;
        digits++;
    }
    return digits;
}

weft_status weft_fixed_grid_make(weft_fixed_grid *ret, const weft_fixed_layout *layout,
                                 weft_err *err)
{
    WEFT_TRY(check_layout(layout, err));
    weft_fixed_grid g = {.layout = *layout, .scale = 1.0};
    g.bound = (int32_t)(INT32_MAX / layout->cohort);
    g.base = (uint64_t)UINT32_MAX / layout->cohort + 1;
    g.weight_digits = digits_of(layout->max_examples, g.base);
    g.value_digits =
        digits_of((weft_fixed_wide)layout->max_examples * WEFT_FIXED_VALUE_MOST, g.base);
    g.param_words =
        layout->exact
            ? digits_of((weft_fixed_wide)layout->max_examples * WEFT_FIXED_EXACT_MOST, g.base)
            : 1;
    g.n_words = layout->n_params * g.param_words + 1 + g.weight_digits +
                (uint64_t)layout->n_metrics * (g.weight_digits + g.value_digits);
    if (layout->n_params > 0 && !layout->exact) {
        g.scale = floor((double)INT32_MAX / (layout->cohort * layout->clip_norm));
    }
    if (g.scale < 1.0) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "a cohort of %u with clip_norm %g leaves a step of %g: lower one of them",
                  layout->cohort, layout->clip_norm,
                  layout->cohort * layout->clip_norm / (double)INT32_MAX);
    }
    *ret = g;
    return WEFT_OK;
}

weft_status weft_fixed_describe(weft_buf *out, const weft_fixed_grid *grid, weft_err *err)
{
    const weft_fixed_layout *l = &grid->layout;
    uint64_t clip = 0;
    memcpy(&clip, &l->clip_norm, sizeof clip);
    WEFT_TRY(weft_buf_add(out, l->exact ? "WFXE" : "WFX1", 4, err));
    WEFT_TRY(weft_buf_add_u64(out, l->n_params, err));
    WEFT_TRY(weft_buf_add_u64(out, l->cohort, err));
    WEFT_TRY(weft_buf_add_u64(out, l->n_params ? clip : 0, err));
    WEFT_TRY(weft_buf_add_u64(out, l->max_examples, err));
    for (uint32_t i = 0; i < l->n_metrics; i++) {
        const size_t n = strlen(l->metrics[i]);
        WEFT_TRY(weft_buf_add_u32(out, (uint32_t)n, err));
        WEFT_TRY(weft_buf_add(out, l->metrics[i], n, err));
    }
    return WEFT_OK;
}

double weft_fixed_noise(const weft_fixed_grid *grid, uint32_t clients, uint64_t examples)
{
    const weft_fixed_layout *l = &grid->layout;
    const uint64_t weight = examples < l->max_examples ? examples : l->max_examples;
    if (l->n_params == 0 || l->exact || weight == 0 || clients == 0) {
        return 0.0;
    }
    return sqrt((double)l->n_params / clients) / 2.0 / grid->scale / l->clip_norm *
           ((double)l->max_examples / (double)weight);
}

uint64_t weft_fixed_bytes(const weft_fixed_grid *grid)
{
    return grid->n_words * sizeof(uint32_t);
}

void weft_fixed_to_bytes(uint8_t *out, const uint32_t *words, size_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memmove(out, words, n * sizeof *words);
#else
    for (size_t i = 0; i < n; i++) {
        const uint32_t w = __builtin_bswap32(words[i]);
        memcpy(out + i * sizeof w, &w, sizeof w);
    }
#endif
}

/* ---- one client's input ---------------------------------------------------------------------- */

typedef struct input {
    const weft_fixed_grid *grid;
    const float *weights;
    const float *base;
    const weft_fixed_sink *sink;
    uint32_t *words; /* [STEP], held back until it is full: the sink gets multiples of 4 */
    size_t n_words;
} input;

static weft_status flush(input *in, weft_err *err)
{
    const weft_status status =
        in->n_words ? in->sink->write(in->sink->self, in->words, in->n_words, err) : WEFT_OK;
    in->n_words = 0;
    return status;
}

static weft_status put(input *in, uint32_t word, weft_err *err)
{
    in->words[in->n_words++] = word;
    return in->n_words == STEP ? flush(in, err) : WEFT_OK;
}

static weft_status put_digits(input *in, weft_fixed_wide value, uint32_t digits, weft_err *err)
{
    for (uint32_t i = 0; i < digits; i++) {
        WEFT_TRY(put(in, (uint32_t)(value % in->grid->base), err));
        value /= in->grid->base;
    }
    return WEFT_OK;
}

static size_t step_at(const input *in, uint64_t first)
{
    const uint64_t left = in->grid->layout.n_params - first;
    return left < STEP ? (size_t)left : STEP;
}

static weft_status measure(double *ret_norm, const input *in, weft_err *err)
{
    float block[STEP];
    weft_norm norm;
    weft_norm_init(&norm);
    for (uint64_t first = 0; first < in->grid->layout.n_params; first += STEP) {
        const size_t n = step_at(in, first);
        weft_delta_read(block, in->weights, in->base, first, n);
        weft_norm_add(&norm, block, n);
        if (!isfinite(weft_norm_square(&norm))) {
            return weft_delta_not_finite(block, n, in->weights, first, err);
        }
    }
    *ret_norm = weft_norm_get(&norm);
    return WEFT_OK;
}

/*
 * floor(value + u / 2^32) for uniform u: the mean is value, up to 2^-32. Then |x| <= M: only a
 * value within one unit of the bound can pass it, when one element holds the whole norm.
 */
static uint32_t round_to_grid(double value, uint32_t u, int64_t bound)
{
    const double shifted = value + (double)u * 0x1p-32;
    int64_t x = (int64_t)shifted;
    x -= (double)x > shifted; /* conversion cuts towards zero */
    x = x > bound ? bound : x;
    x = x < -bound ? -bound : x;
    return (uint32_t)x;
}

static weft_status put_params(input *in, double factor, const uint8_t *seed, const weft_alloc *a,
                              weft_err *err)
{
    float block[STEP];
    weft_prg_stream stream = {.subtract = false};
    weft_prg_bank *bank = NULL;
    memcpy(stream.key, seed, sizeof stream.key);
    weft_status status = weft_prg_bank_new(&bank, &stream, 1, 0, a, err);
    weft_wipe(&stream, sizeof stream);
    WEFT_TRY(status);
    for (uint64_t first = 0; status == WEFT_OK && first < in->grid->layout.n_params;
         first += STEP) {
        const size_t n = step_at(in, first);
        weft_delta_read(block, in->weights, in->base, first, n);
        memset(in->words, 0, n * sizeof *in->words);
        status = weft_prg_bank_add(bank, in->words, n, err);
        for (size_t i = 0; i < n; i++) {
            in->words[i] = round_to_grid((double)block[i] * factor, in->words[i], in->grid->bound);
        }
        in->n_words = n;
        if (status == WEFT_OK && n == STEP) {
            status = flush(in, err);
        }
    }
    weft_prg_bank_free(bank);
    return status;
}

/* Nearest, not stochastic: half a step of 2^-39 is less than float32 knows of what matters. */
static weft_status put_exact(input *in, uint64_t weight, weft_err *err)
{
    float block[STEP];
    for (uint64_t first = 0; first < in->grid->layout.n_params; first += STEP) {
        const size_t n = step_at(in, first);
        weft_delta_read(block, in->weights, in->base, first, n);
        for (size_t i = 0; i < n; i++) {
            double value = fmin((double)block[i], WEFT_FIXED_EXACT_RANGE);
            value = fmax(value, -WEFT_FIXED_EXACT_RANGE);
            const int64_t steps = (int64_t)floor(value * WEFT_FIXED_EXACT_SCALE + 0.5);
            WEFT_TRY(put_digits(in,
                                (weft_fixed_wide)weight * (uint64_t)(steps + WEFT_FIXED_EXACT_ZERO),
                                in->grid->param_words, err));
        }
    }
    return WEFT_OK;
}

/* What stands behind the parameters: see the layout. */
static weft_status put_totals(input *in, uint64_t weight, const weft_metrics *metrics,
                              weft_err *err)
{
    const weft_fixed_grid *g = in->grid;
    WEFT_TRY(put(in, 1, err));
    WEFT_TRY(put_digits(in, weight, g->weight_digits, err));
    for (uint32_t i = 0; i < g->layout.n_metrics; i++) {
        double value = 0.0;
        const bool measured = weft_metrics_get(metrics, g->layout.metrics[i], &value);
        const weft_fixed_wide sum =
            measured ? (weft_fixed_wide)weight * weft_fixed_value(value) : 0;
        WEFT_TRY(put_digits(in, measured ? weight : 0, g->weight_digits, err));
        WEFT_TRY(put_digits(in, sum, g->value_digits, err));
    }
    return flush(in, err);
}

uint64_t weft_fixed_value(double value)
{
    double clamped = value > WEFT_FIXED_VALUE_RANGE ? WEFT_FIXED_VALUE_RANGE : value;
    clamped = clamped < -WEFT_FIXED_VALUE_RANGE ? -WEFT_FIXED_VALUE_RANGE : clamped;
    return (uint64_t)((clamped + WEFT_FIXED_VALUE_RANGE) * WEFT_FIXED_VALUE_SCALE + 0.5);
}

weft_status weft_fixed_encode(weft_fixed_result *ret, const weft_fixed_sink *sink,
                              const weft_fixed_grid *grid, const float *weights, const float *base,
                              uint64_t n_examples, const weft_metrics *metrics,
                              const uint8_t seed[WEFT_FIXED_SEED_BYTES], const weft_alloc *a,
                              weft_err *err)
{
    if (n_examples == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "an update of 0 examples has no weight");
    }
    WEFT_TRY(weft_metrics_check(metrics, err));
    uint32_t words[STEP];
    input in = {.grid = grid, .weights = weights, .base = base, .sink = sink, .words = words};
    const weft_fixed_layout *l = &grid->layout;
    weft_fixed_result r = {.weight = n_examples < l->max_examples ? n_examples : l->max_examples};
    WEFT_TRY(measure(&r.norm, &in, err));
    r.clipped = l->n_params > 0 && r.norm > l->clip_norm;
    const double shrink = r.clipped ? l->clip_norm / r.norm * WEFT_DELTA_CLIP_MARGIN : 1.0;
    const double q = (double)r.weight / (double)l->max_examples;
    weft_status status = WEFT_OK;
    if (l->exact) {
        status = put_exact(&in, r.weight, err);
    } else if (l->n_params > 0) {
        status = put_params(&in, q * shrink * grid->scale, seed, a, err);
    }
    if (status == WEFT_OK) {
        status = put_totals(&in, r.weight, metrics, err);
    }
    weft_wipe(words, sizeof words); /* unmasked, unless the sink masked in place */
    WEFT_TRY(status);
    *ret = r;
    return WEFT_OK;
}
