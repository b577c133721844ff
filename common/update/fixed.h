/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes under the mask: a vector of 32-bit words whose sum mod 2^32 over a cohort is the exact
 * integer sum. The grid is fixed by the job, never by the data, and so scaled that nothing wraps.
 *
 * Layout of the vector, each part starting where the one before ends:
 *   1. [n_params] parameters, two's complement: x = round(q * clip(delta) * scale) with
 *      q = min(n_examples, max_examples) / max_examples, scale = floor((2^31 - 1) / (cohort *
 *      clip_norm)) (at least 1), stochastic rounding, |x| <= M = floor((2^31 - 1) / cohort)
 *   2. [1] the number one: the sum must be the number of clients
 *   3. [weight_digits] the weight, min(n_examples, max_examples)
 *   4. for each metric: [weight_digits] the weight where it was measured, else 0; [value_digits]
 *      that weight times round((value + 2^16) * 2^20), for values clamped to +-2^16
 * Statistics (exact) are not rounded to a grid of the cohort's: a mean of the rows must come out to
 * many more digits than an update needs. Instead of 1. each of their parameters is [param_words]
 * digits of the weight times (round(value * 2^39) + 2^52), for values clamped to +-2^13.
 *
 * Numbers wider than a word are digits of base B = floor((2^32 - 1) / cohort) + 1, lowest first.
 *
 * Why nothing wraps, for any n <= cohort clients: parameters, n * M <= 2^31 - 1; digits are at most
 * B - 1 and n * (B - 1) <= 2^32 - 1; one, n < 2^32. The decoder puts the digit sums together with
 * 128-bit integers: n * 2^31 * 2^53 < 2^102.
 *
 * Pure; any thread. The bytes depend on the arguments and the seed only.
 */
#ifndef WEFT_UPDATE_FIXED_H
#define WEFT_UPDATE_FIXED_H

#include "base/buf.h"
#include "base/limits.h"
#include "model/metric.h"

#include <stdbool.h>

/* The encoding's name in assignments and update headers. */
#define WEFT_FIXED_ENCODING   "masked_u32"
#define WEFT_FIXED_SEED_BYTES 32

typedef struct weft_fixed_layout {
    uint64_t n_params;     /* 0: metrics only (evaluation) */
    uint32_t cohort;       /* most clients ever summed, 1..WEFT_MAX_COHORT */
    double clip_norm;      /* L2 norm of a delta, (0, 1e6]; not looked at without parameters */
    uint64_t max_examples; /* w_max, 1..WEFT_MAX_EXAMPLES */
    bool exact;            /* statistics; clip_norm then only bounds, it makes no grid */
    uint32_t n_metrics;
    char metrics[WEFT_MAX_METRICS][WEFT_MAX_METRIC_NAME_BYTES + 1]; /* valid, all different */
} weft_fixed_layout;

typedef struct weft_fixed_grid {
    weft_fixed_layout layout;
    double scale;           /* an integer: units of one; the step is 1 / scale */
    int32_t bound;          /* M */
    uint64_t base;          /* B */
    uint32_t param_words;   /* words of a parameter: 1, or with exact its digits */
    uint32_t weight_digits; /* words of a weight */
    uint32_t value_digits;  /* words of a metric's sum */
    uint64_t n_words;       /* of the whole vector */
} weft_fixed_grid;

/**
 * The grid of a layout.
 * @return WEFT_E_INVALID a field, named; WEFT_E_LIMIT cohort * clip_norm leaves no grid (scale
 * below 1): lower one of them.
 */
WEFT_NODISCARD weft_status weft_fixed_grid_make(weft_fixed_grid *ret,
                                                const weft_fixed_layout *layout, weft_err *err);
/** Append the grid as canonical bytes, for the session's context: at most 1024. */
WEFT_NODISCARD weft_status weft_fixed_describe(weft_buf *out, const weft_fixed_grid *grid,
                                               weft_err *err);
/**
 * How far rounding takes the mean delta off, at most, as an L2 norm in parts of clip_norm: the
 * standard deviation for clients with so many examples each. sqrt(n_params) / 2 steps of one
 * client's input, / sqrt(clients) in the mean, times max_examples / examples.
 */
double weft_fixed_noise(const weft_fixed_grid *grid, uint32_t clients, uint64_t examples);
/* A grid with more noise than this for clients with few examples is coarse: an update that uses a
 * tenth of the clip norm is then a hundredth off. */
#define WEFT_FIXED_COARSE_NOISE 1e-3
#define WEFT_FIXED_FEW_EXAMPLES 100

/** Bytes of the encoded vector: 4 * n_words, little-endian. */
uint64_t weft_fixed_bytes(const weft_fixed_grid *grid);

typedef struct weft_fixed_result {
    uint64_t weight; /* that went in: min(n_examples, max_examples) */
    double norm;     /* of the delta before clipping */
    bool clipped;
} weft_fixed_result;

/* Where the words go, in order: multiples of 4 at a time but for the last. The sink may change them
 * in place (that is where the mask is added). Words are in the machine's byte order: see
 * weft_fixed_to_bytes. A failure of write ends the encoding and is returned. */
typedef struct weft_fixed_sink {
    weft_status (*write)(void *self, uint32_t *words, size_t n, weft_err *err);
    void *self;
} weft_fixed_sink;

/**
 * Encode one client's input: two passes over the weights in cache-sized blocks.
 * @param weights     [n_params] after training, borrowed; NULL when n_params is 0.
 * @param base        [n_params] before it, borrowed; NULL: all zeros (weights is the delta).
 * @param n_examples  local examples; > 0.
 * @param metrics     what was measured; those that the layout does not name are left out.
 * @param seed        [32] secret randomness of the rounding; never used twice.
 * @return WEFT_E_INVALID a value of the delta is not finite, n_examples 0; WEFT_E_CRYPTO,
 *         WEFT_E_NOMEM; what the sink returned.
 */
WEFT_NODISCARD weft_status weft_fixed_encode(weft_fixed_result *ret, const weft_fixed_sink *sink,
                                             const weft_fixed_grid *grid, const float *weights,
                                             const float *base, uint64_t n_examples,
                                             const weft_metrics *metrics,
                                             const uint8_t seed[WEFT_FIXED_SEED_BYTES],
                                             const weft_alloc *a, weft_err *err);

/** Words to little-endian bytes, in place or apart (out may be words itself). */
void weft_fixed_to_bytes(uint8_t *out, const uint32_t *words, size_t n);

/* What stands behind the parameters of a sum. */
typedef struct weft_fixed_totals {
    uint32_t clients;
    uint64_t weight;      /* > 0 */
    weft_metrics metrics; /* weighted means of those that somebody measured */
} weft_fixed_totals;

/** Words of all parameters: what stands behind them begins here. */
uint64_t weft_fixed_param_words(const weft_fixed_grid *grid);

/**
 * Read the words behind the parameters of a sum, and check them: a vector from which the masks were
 * not taken off completely does not pass.
 * @param tail     [n_words - weft_fixed_param_words], the sum's words from there on.
 * @param clients  in the sum.
 * @return WEFT_E_INVALID the numbers are no sum of so many clients' inputs.
 */
WEFT_NODISCARD weft_status weft_fixed_totals_read(weft_fixed_totals *ret,
                                                  const weft_fixed_grid *grid, const uint32_t *tail,
                                                  uint32_t clients, weft_err *err);
/**
 * Is a parameter of a sum of n clients within its bounds, |word| <= n * M; exact: not above what
 * clients of this weight add up to?
 * @param words  [param_words] of the sum.
 * @param weight  of the sum; looked at with exact only.
 */
bool weft_fixed_in_bounds(const weft_fixed_grid *grid, const uint32_t *words, uint32_t clients,
                          uint64_t weight);
/** The weighted mean delta that a parameter of the sum stands for: word / scale * max_examples /
 *  weight, in float64. @param words  [param_words] of the sum. */
double weft_fixed_mean(const weft_fixed_grid *grid, const uint32_t *words, uint64_t weight);

#endif
