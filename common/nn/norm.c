/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisations; built with -O3. Threads: any. */
#include "nn/norm.h"

#include "nn/math.h"
#include "nn/tensor.h"

#include <string.h>

/* Rows that are summed before they go into the total: keeps the rounding of long sums small. */
enum { BLOCK_ROWS = 32 };

size_t weft_norm_scratch(size_t channels)
{
    return 8 * channels;
}

static void zero(float *x, size_t n)
{
    memset(x, 0, n * sizeof *x);
}

/* sum[c] of x. */
static void sum_rows(float *restrict sum, float *restrict block, const float *restrict x,
                     size_t rows, size_t channels)
{
    zero(sum, channels);
    for (size_t at = 0; at < rows; at += BLOCK_ROWS) {
        const size_t some = rows - at < BLOCK_ROWS ? rows - at : BLOCK_ROWS;
        zero(block, channels);
        weft_rows_sum(block, x + at * channels, some, channels);
        weft_add(sum, block, channels);
    }
}

/* sum[c] of (x - mean[c])^2. */
static void sum_squares(float *restrict sum, float *restrict block, const float *restrict x,
                        const float *restrict mean, size_t rows, size_t channels)
{
    zero(sum, channels);
    for (size_t at = 0; at < rows; at += BLOCK_ROWS) {
        const size_t some = rows - at < BLOCK_ROWS ? rows - at : BLOCK_ROWS;
        zero(block, channels);
        for (size_t row = 0; row < some; row++, x += channels) {
            for (size_t c = 0; c < channels; c++) {
                const float d = x[c] - mean[c];
                block[c] += d * d;
            }
        }
        weft_add(sum, block, channels);
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

static void affine(float *restrict y, const float *restrict x, const float *restrict mean,
                   const float *restrict factor, const float *restrict bias, size_t rows,
                   size_t channels, bool relu)
{
    for (size_t row = 0; row < rows; row++, x += channels, y += channels) {
        for (size_t c = 0; c < channels; c++) {
            y[c] = (x[c] - mean[c]) * factor[c] + bias[c];
        }
        if (relu) {
            for (size_t c = 0; c < channels; c++) {
                y[c] = y[c] < 0.0F ? 0.0F : y[c];
            }
        }
    }
}

void weft_norm_forward(const weft_norm *d, float *y, const float *x, const float *weight,
                       const float *bias, float *mean, float *inverse, float *scratch)
{
    const size_t n = d->channels;
    const size_t values = d->rows * (n / d->groups);
    float *sum = scratch;
    float *block = scratch + n;
    float *centre = scratch + 2 * n;
    float *factor = scratch + 3 * n;
    for (size_t i = 0; i < d->samples; i++) {
        sum_rows(sum, block, x, d->rows, n);
        fold(mean, sum, n, d->groups, values);
        spread(centre, mean, n, d->groups);
        sum_squares(sum, block, x, centre, d->rows, n);
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

/* dy_sum[c] of dy, x_sum[c] of dy (x - mean[c]). */
static void sum_gradients(float *restrict dy_sum, float *restrict x_sum, float *restrict dy_block,
                          float *restrict x_block, const float *restrict dy,
                          const float *restrict x, const float *restrict mean, size_t rows,
                          size_t channels)
{
    zero(dy_sum, channels);
    zero(x_sum, channels);
    for (size_t at = 0; at < rows; at += BLOCK_ROWS) {
        const size_t some = rows - at < BLOCK_ROWS ? rows - at : BLOCK_ROWS;
        zero(dy_block, channels);
        zero(x_block, channels);
        for (size_t row = 0; row < some; row++, x += channels, dy += channels) {
            for (size_t c = 0; c < channels; c++) {
                dy_block[c] += dy[c];
                x_block[c] += dy[c] * (x[c] - mean[c]);
            }
        }
        weft_add(dy_sum, dy_block, channels);
        weft_add(x_sum, x_block, channels);
    }
}

static void affine_back(float *restrict dx, const float *restrict dy, const float *restrict x,
                        const float *restrict mean, const float *restrict of_dy,
                        const float *restrict of_x, const float *restrict constant, size_t rows,
                        size_t channels)
{
    for (size_t row = 0; row < rows; row++, x += channels, dx += channels, dy += channels) {
        for (size_t c = 0; c < channels; c++) {
            dx[c] = dy[c] * of_dy[c] - (x[c] - mean[c]) * of_x[c] - constant[c];
        }
    }
}

/*
 * With u = (x - mean) inverse, m values in a group and sums over them:
 * dx = inverse (weight dy - sum(weight dy) / m - u sum(weight dy u) / m)
 */
static void sample_back(const weft_norm *d, float *dx, const float *dy, const float *x,
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
    sum_gradients(dy_sum, x_sum, scratch + 6 * n, scratch + 7 * n, dy, x, centre, d->rows, n);
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

void weft_norm_backward(const weft_norm *d, float *dx, float *dy, const float *y, const float *x,
                        const float *weight, const float *mean, const float *inverse,
                        float *dweight, float *dbias, float *scratch)
{
    const size_t size = d->rows * d->channels;
    zero(dweight, d->channels);
    zero(dbias, d->channels);
    for (size_t i = 0; i < d->samples; i++) {
        if (d->relu) {
            weft_relu_back(dy + i * size, y + i * size, size);
        }
        sample_back(d, dx ? dx + i * size : NULL, dy + i * size, x + i * size, weight,
                    mean + i * d->groups, inverse + i * d->groups, dweight, dbias, scratch);
    }
}

void weft_norm_apply(const weft_norm *d, float *y, const float *x, const float *weight,
                     const float *bias, const float *mean, const float *variance, float *scratch)
{
    for (size_t c = 0; c < d->channels; c++) {
        const float v = variance[c] > 0.0F ? variance[c] : 0.0F;
        scratch[c] = weight[c] / sqrtf(v + WEFT_NORM_EPSILON);
    }
    affine(y, x, mean, scratch, bias, d->samples * d->rows, d->channels, d->relu);
}

void weft_norm_track(const weft_norm *d, float *running_mean, float *running_variance,
                     const float *mean, const float *inverse)
{
    const float n = (float)d->rows;
    const float unbiased = d->rows > 1 ? n / (n - 1.0F) : 1.0F;
    for (size_t c = 0; c < d->channels; c++) {
        const float variance = 1.0F / (inverse[c] * inverse[c]) - WEFT_NORM_EPSILON;
        running_mean[c] += WEFT_NORM_MOMENTUM * (mean[c] - running_mean[c]);
        running_variance[c] += WEFT_NORM_MOMENTUM * (variance * unbiased - running_variance[c]);
    }
}
