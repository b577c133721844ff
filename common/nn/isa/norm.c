/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Normalisations. Sums of many rows run in blocks of a fixed size, which keeps their rounding
 * small; a vector of channels at a time, so that sums stay in registers. Threads: any.
 */
#include "nn/isa/isa_priv.h"
#include "nn/math.h"

enum { BLOCK_ROWS = 32, BLOCKS = 4 /* at once: their chains do not wait for each other */ };

static void zero(float *x, size_t n)
{
    memset(x, 0, n * sizeof *x);
}

INLINE vec squared(vec x, vec mean)
{
    const vec d = x - mean;
    return vec_mul(d, d);
}

/* The sum over rows of x, or of (x - mean)^2, of one vector of channels. */
INLINE vec sum_of(const float *x, size_t rows, size_t channels, vec mean, vec_part part,
                  const bool squares)
{
    vec total = vec_zero();
    const size_t at_once = (size_t)BLOCKS * BLOCK_ROWS;
    size_t row = 0;
    for (; row + at_once <= rows; row += at_once) {
        vec block[BLOCKS];
        UNROLL
        for (size_t b = 0; b < BLOCKS; b++) {
            block[b] = vec_zero();
        }
        for (size_t i = 0; i < BLOCK_ROWS; i++) {
            UNROLL
            for (size_t b = 0; b < BLOCKS; b++) {
                const vec v = vec_load_part(x + (row + b * BLOCK_ROWS + i) * channels, part);
                block[b] = vec_add(block[b], squares ? squared(v, mean) : v);
            }
        }
        UNROLL
        for (size_t b = 0; b < BLOCKS; b++) {
            total = vec_add(total, block[b]);
        }
    }
    while (row < rows) {
        const size_t end = rows - row < BLOCK_ROWS ? rows : row + BLOCK_ROWS;
        vec block = vec_zero();
        for (; row < end; row++) {
            const vec v = vec_load_part(x + row * channels, part);
            block = vec_add(block, squares ? squared(v, mean) : v);
        }
        total = vec_add(total, block);
    }
    return total;
}

static vec_part part_at(size_t c, size_t channels)
{
    return vec_first(channels - c < LANES ? channels - c : LANES);
}

/* sum[c] of x. */
static void sum_rows(float *sum, const float *x, size_t rows, size_t channels)
{
    for (size_t c = 0; c < channels; c += LANES) {
        const vec_part part = part_at(c, channels);
        vec_store_part(sum + c, sum_of(x + c, rows, channels, vec_zero(), part, false), part);
    }
}

/* sum[c] of (x - mean[c])^2. */
static void sum_squares(float *sum, const float *x, const float *mean, size_t rows, size_t channels)
{
    for (size_t c = 0; c < channels; c += LANES) {
        const vec_part part = part_at(c, channels);
        const vec m = vec_load_part(mean + c, part);
        vec_store_part(sum + c, sum_of(x + c, rows, channels, m, part, true), part);
    }
}

/* by_channel[c] = by_group[group of c] */
static void spread(float *by_channel, const float *by_group, size_t channels, size_t groups)
{
    const size_t width = channels / groups;
    for (size_t c = 0; c < channels; c++) {
        by_channel[c] = by_group[c / width];
    }
}

/* by_group[g] = the sum over its channels / values */
static void fold(float *by_group, const float *by_channel, size_t channels, size_t groups,
                 size_t values)
{
    const size_t width = channels / groups;
    for (size_t g = 0; g < groups; g++) {
        by_group[g] = weft_sum(by_channel + g * width, width) / (float)values;
    }
}

static void affine(float *y, const float *x, const float *mean, const float *factor,
                   const float *bias, size_t rows, size_t channels, bool relu)
{
    for (size_t c = 0; c < channels; c += LANES) {
        const vec_part part = part_at(c, channels);
        const vec m = vec_load_part(mean + c, part);
        const vec f = vec_load_part(factor + c, part);
        const vec b = vec_load_part(bias + c, part);
        for (size_t row = 0; row < rows; row++) {
            const size_t at = row * channels + c;
            const vec v = vec_add(vec_mul(vec_load_part(x + at, part) - m, f), b);
            vec_store_part(y + at, relu ? vec_relu(v) : v, part);
        }
    }
}

static void forward(const weft_norm *d, float *y, const float *x, const float *weight,
                    const float *bias, float *mean, float *inverse, float *scratch)
{
    const size_t n = d->channels;
    const size_t values = d->rows * (n / d->groups);
    float *sum = scratch;
    float *centre = scratch + n;
    float *factor = scratch + 2 * n;
    for (size_t i = 0; i < d->samples; i++) {
        sum_rows(sum, x, d->rows, n);
        fold(mean, sum, n, d->groups, values);
        spread(centre, mean, n, d->groups);
        sum_squares(sum, x, centre, d->rows, n);
        fold(inverse, sum, n, d->groups, values);
        for (size_t g = 0; g < d->groups; g++) {
            inverse[g] = 1.0F / sqrtf(inverse[g] + WEFT_NORM_EPSILON);
        }
        spread(factor, inverse, n, d->groups);
        for (size_t c = 0; c < n; c++) {
            factor[c] *= weight[c];
        }
        affine(y, x, centre, factor, bias, d->rows, n, d->relu);
        x += d->rows * n;
        y += d->rows * n;
        mean += d->groups;
        inverse += d->groups;
    }
}

/* The gradient before a relu, which takes its place in dy; y is NULL without. */
INLINE vec through_relu(float *dy, const float *y, vec_part part)
{
    vec g = vec_load_part(dy, part);
    if (y) {
        g = vec_where_positive(vec_load_part(y, part), g, vec_zero());
        vec_store_part(dy, g, part);
    }
    return g;
}

/* dy_sum[c] of dy, x_sum[c] of dy (x - mean[c]); dy and y as above. */
static void sum_gradients(float *dy_sum, float *x_sum, float *dy, const float *y, const float *x,
                          const float *mean, size_t rows, size_t channels)
{
    for (size_t c = 0; c < channels; c += LANES) {
        const vec_part part = part_at(c, channels);
        const vec m = vec_load_part(mean + c, part);
        vec dy_total = vec_zero();
        vec x_total = vec_zero();
        for (size_t row = 0; row < rows;) {
            const size_t end = rows - row < BLOCK_ROWS ? rows : row + BLOCK_ROWS;
            vec dy_block = vec_zero();
            vec x_block = vec_zero();
            for (; row < end; row++) {
                const size_t at = row * channels + c;
                const vec g = through_relu(dy + at, y ? y + at : NULL, part);
                dy_block = vec_add(dy_block, g);
                x_block = vec_add(x_block, vec_mul(g, vec_load_part(x + at, part) - m));
            }
            dy_total = vec_add(dy_total, dy_block);
            x_total = vec_add(x_total, x_block);
        }
        vec_store_part(dy_sum + c, dy_total, part);
        vec_store_part(x_sum + c, x_total, part);
    }
}

static void affine_back(float *dx, const float *dy, const float *x, const float *mean,
                        const float *of_dy, const float *of_x, const float *constant, size_t rows,
                        size_t channels)
{
    for (size_t c = 0; c < channels; c += LANES) {
        const vec_part part = part_at(c, channels);
        const vec m = vec_load_part(mean + c, part);
        const vec by_dy = vec_load_part(of_dy + c, part);
        const vec by_x = vec_load_part(of_x + c, part);
        const vec less = vec_load_part(constant + c, part);
        for (size_t row = 0; row < rows; row++) {
            const size_t at = row * channels + c;
            const vec g = vec_mul(vec_load_part(dy + at, part), by_dy);
            const vec d = vec_mul(vec_load_part(x + at, part) - m, by_x);
            vec_store_part(dx + at, g - d - less, part);
        }
    }
}

/*
 * With u = (x - mean) inverse, m values in a group and sums over them:
 * dx = inverse (weight dy - sum(weight dy) / m - u sum(weight dy u) / m)
 */
static void sample_back(const weft_norm *d, float *dx, float *dy, const float *y, const float *x,
                        const float *weight, const float *mean, const float *inverse,
                        float *dweight, float *dbias, float *scratch)
{
    const size_t n = d->channels;
    const size_t width = n / d->groups;
    const float values = (float)(d->rows * width);
    float *dy_sum = scratch;
    float *x_sum = scratch + n;
    float *centre = scratch + 2 * n;
    float *of_dy = scratch + 3 * n;
    float *of_x = scratch + 4 * n;
    float *constant = scratch + 5 * n;
    float *product = scratch + 6 * n;
    spread(centre, mean, n, d->groups);
    sum_gradients(dy_sum, x_sum, dy, d->relu ? y : NULL, x, centre, d->rows, n);
    for (size_t g = 0; g < d->groups; g++) {
        const size_t at = g * width;
        const float inv = inverse[g];
        for (size_t c = at; c < at + width; c++) {
            dbias[c] += dy_sum[c];
            dweight[c] += x_sum[c] * inv;
            of_dy[c] = weight[c] * inv;
            product[c] = weight[c] * x_sum[c];
            dy_sum[c] *= weight[c];
        }
        const float with_x = weft_sum(product + at, width) / values * inv * inv * inv;
        const float alone = weft_sum(dy_sum + at, width) / values * inv;
        for (size_t c = at; c < at + width; c++) {
            of_x[c] = with_x;
            constant[c] = alone;
        }
    }
    if (dx) {
        affine_back(dx, dy, x, centre, of_dy, of_x, constant, d->rows, n);
    }
}

static void backward(const weft_norm *d, float *dx, float *dy, const float *y, const float *x,
                     const float *weight, const float *mean, const float *inverse, float *dweight,
                     float *dbias, float *scratch)
{
    const size_t size = d->rows * d->channels;
    zero(dweight, d->channels);
    zero(dbias, d->channels);
    for (size_t i = 0; i < d->samples; i++) {
        sample_back(d, dx ? dx + i * size : NULL, dy + i * size, y + i * size, x + i * size, weight,
                    mean + i * d->groups, inverse + i * d->groups, dweight, dbias, scratch);
    }
}

static void apply(const weft_norm *d, float *y, const float *x, const float *weight,
                  const float *bias, const float *mean, const float *variance, float *scratch)
{
    for (size_t c = 0; c < d->channels; c++) {
        const float v = variance[c] > 0.0F ? variance[c] : 0.0F;
        scratch[c] = weight[c] / sqrtf(v + WEFT_NORM_EPSILON);
    }
    affine(y, x, mean, scratch, bias, d->samples * d->rows, d->channels, d->relu);
}

const weft_norm_ops weft_norms = {.forward = forward, .backward = backward, .apply = apply};
