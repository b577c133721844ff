/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens, steps, means over rows; built with -O3. Threads: any. */
#include "nn/sequence.h"

#include "nn/tensor.h"

#include <string.h>

weft_status weft_tokens_check(const float *x, size_t n, size_t steps, uint32_t vocab, weft_err *err)
{
    for (size_t i = 0; i < n; i++, x += steps) {
        for (size_t t = 0; t < steps; t++) {
            const bool padding = x[t] < 0.0F;
            if (padding ? t + 1 < steps && !(x[t + 1] < 0.0F)
                        : !(x[t] < (float)vocab) || x[t] != (float)(uint32_t)x[t]) {
                WEFT_FAIL(err, WEFT_E_INVALID,
                          "token %zu of an example is %g: they are whole numbers below %u, "
                          "negative only behind the last",
                          t, (double)x[t], vocab);
            }
        }
    }
    return WEFT_OK;
}

void weft_tokens_lengths(uint32_t *length, const float *x, size_t n, size_t steps)
{
    for (size_t i = 0; i < n; i++, x += steps) {
        uint32_t some = 0;
        while (some < steps && x[some] >= 0.0F) {
            some++;
        }
        length[i] = some;
    }
}

/* False for padding, NaN and what is beyond the table. */
static bool row_of(size_t *ret, float token, uint32_t vocab)
{
    const bool ok = token >= 0.0F && token < (float)vocab;
    *ret = ok ? (size_t)token : 0;
    return ok;
}

void weft_embedding_forward(float *y, const float *x, const float *table, size_t tokens,
                            size_t dims, uint32_t vocab)
{
    for (size_t i = 0; i < tokens; i++, y += dims) {
        size_t row = 0;
        if (row_of(&row, x[i], vocab)) {
            memcpy(y, table + row * dims, dims * sizeof *y);
        } else {
            memset(y, 0, dims * sizeof *y);
        }
    }
}

void weft_embedding_backward(float *restrict to, const float *restrict dy, const float *x,
                             size_t tokens, size_t dims, uint32_t vocab, float keep, float scale)
{
    const size_t values = vocab * dims;
    for (size_t i = 0; i < values && keep != 1.0F; i++) {
        to[i] = keep == 0.0F ? 0.0F : keep * to[i];
    }
    for (size_t i = 0; i < tokens; i++, dy += dims) {
        size_t row = 0;
        if (row_of(&row, x[i], vocab)) {
            float *out = to + row * dims;
            for (size_t k = 0; k < dims; k++) {
                out[k] += scale * dy[k];
            }
        }
    }
}

static size_t last_of(const uint32_t *length, size_t i, size_t steps)
{
    const size_t n = length ? length[i] : steps;
    return n > 0 ? n - 1 : 0;
}

void weft_last_forward(float *y, const float *x, const uint32_t *length, size_t n, size_t steps,
                       size_t channels)
{
    for (size_t i = 0; i < n; i++) {
        memcpy(y + i * channels, x + (i * steps + last_of(length, i, steps)) * channels,
               channels * sizeof *y);
    }
}

void weft_last_backward(float *dx, const float *dy, const uint32_t *length, size_t n, size_t steps,
                        size_t channels)
{
    memset(dx, 0, n * steps * channels * sizeof *dx);
    for (size_t i = 0; i < n; i++) {
        memcpy(dx + (i * steps + last_of(length, i, steps)) * channels, dy + i * channels,
               channels * sizeof *dx);
    }
}

void weft_mean_forward(float *restrict y, const float *restrict x, size_t rows, size_t channels)
{
    memset(y, 0, channels * sizeof *y);
    weft_rows_sum(y, x, rows, channels);
    for (size_t c = 0; c < channels; c++) {
        y[c] /= (float)rows;
    }
}

void weft_mean_backward(float *restrict dx, const float *restrict dy, size_t rows, size_t channels)
{
    for (size_t row = 0; row < rows; row++, dx += channels) {
        for (size_t c = 0; c < channels; c++) {
            dx[c] = dy[c] / (float)rows;
        }
    }
}
