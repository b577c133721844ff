/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a sum of fixed-point vectors. */
#include "update/fixed_priv.h"

#include <math.h>

/* Digit sums, lowest first; false: one of them is more than n clients' digits can add up to. */
static bool read_digits(weft_fixed_wide *ret, const uint32_t **at, uint32_t digits,
                        const weft_fixed_grid *grid, uint32_t clients)
{
    weft_fixed_wide value = 0;
    weft_fixed_wide unit = 1;
    for (uint32_t i = 0; i < digits; i++) {
        const uint32_t digit = *(*at)++;
        if (digit > (uint64_t)clients * (grid->base - 1)) {
            return false;
        }
        value += unit * digit;
        unit *= grid->base;
    }
    *ret = value;
    return true;
}

/* One metric; false: no sum of clients who together weigh `weight`. */
static bool read_metric(double *ret, bool *measured, const uint32_t **at,
                        const weft_fixed_grid *grid, uint32_t clients, uint64_t weight)
{
    weft_fixed_wide w = 0;
    weft_fixed_wide sum = 0;
    if (!read_digits(&w, at, grid->weight_digits, grid, clients) ||
        !read_digits(&sum, at, grid->value_digits, grid, clients) || w > weight ||
        sum > w * WEFT_FIXED_VALUE_MOST) {
        return false;
    }
    *measured = w > 0;
    if (*measured) {
        *ret = (double)sum / (double)w / WEFT_FIXED_VALUE_SCALE - WEFT_FIXED_VALUE_RANGE;
    }
    return true;
}

weft_status weft_fixed_totals_read(weft_fixed_totals *ret, const weft_fixed_grid *grid,
                                   const uint32_t *tail, uint32_t clients, weft_err *err)
{
    weft_fixed_totals t = {.clients = clients, .metrics = {.n = 0}};
    const uint32_t *at = tail;
    weft_fixed_wide weight = 0;
    if (clients == 0 || clients > grid->layout.cohort || *at++ != clients ||
        !read_digits(&weight, &at, grid->weight_digits, grid, clients) || weight < clients ||
        weight > (weft_fixed_wide)clients * grid->layout.max_examples) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "what came out is no sum of %u clients: it counts %u, and their weight is out of "
                  "bounds or masks are left",
                  clients, tail[0]);
    }
    t.weight = (uint64_t)weight;
    for (uint32_t i = 0; i < grid->layout.n_metrics; i++) {
        double value = 0.0;
        bool measured = false;
        if (!read_metric(&value, &measured, &at, grid, clients, t.weight)) {
            WEFT_FAIL(err, WEFT_E_INVALID, "metric %.32s is no sum of %u clients",
                      grid->layout.metrics[i], clients);
        }
        if (measured) {
            WEFT_TRY(weft_metrics_set(&t.metrics, grid->layout.metrics[i], value, err));
        }
    }
    *ret = t;
    return WEFT_OK;
}

uint64_t weft_fixed_param_words(const weft_fixed_grid *grid)
{
    return grid->layout.n_params * grid->param_words;
}

/* The sum of an exact parameter, as it was counted. */
static bool read_exact(weft_fixed_wide *ret, const weft_fixed_grid *grid, const uint32_t *words,
                       uint32_t clients, uint64_t weight)
{
    return read_digits(ret, &words, grid->param_words, grid, clients) &&
           *ret <= (weft_fixed_wide)weight * WEFT_FIXED_EXACT_MOST;
}

bool weft_fixed_in_bounds(const weft_fixed_grid *grid, const uint32_t *words, uint32_t clients,
                          uint64_t weight)
{
    if (grid->layout.exact) {
        weft_fixed_wide sum = 0;
        return read_exact(&sum, grid, words, clients, weight);
    }
    const int64_t most = (int64_t)grid->bound * clients;
    const int64_t value = (int32_t)*words;
    return value <= most && value >= -most;
}

/* Zero comes out as zero: the offset is taken off before anything is rounded. */
static double exact_mean(const weft_fixed_grid *grid, const uint32_t *words, uint64_t weight)
{
    const weft_fixed_wide zero = (weft_fixed_wide)weight * (uint64_t)WEFT_FIXED_EXACT_ZERO;
    weft_fixed_wide sum = 0;
    if (!read_exact(&sum, grid, words, grid->layout.cohort, weight)) {
        return (double)NAN; /* whoever looked at the bounds does not come here */
    }
    const double steps = sum >= zero ? (double)(sum - zero) : -(double)(zero - sum);
    return steps / (double)weight / WEFT_FIXED_EXACT_SCALE;
}

double weft_fixed_mean(const weft_fixed_grid *grid, const uint32_t *words, uint64_t weight)
{
    if (grid->layout.exact) {
        return exact_mean(grid, words, weight);
    }
    /* x = q * delta * scale with q = weight_i / max_examples */
    return (double)(int32_t)*words *
           ((double)grid->layout.max_examples / (grid->scale * (double)weight));
}
