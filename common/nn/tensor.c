/* SPDX-License-Identifier: Apache-2.0 */
/* Loops over vectors and rows; built with -O3, which vectorises them. Threads: any. */
#include "nn/tensor.h"

#include <stdint.h>
#include <string.h>

void weft_rows_finish(float *restrict y, const float *restrict bias, size_t rows, size_t n,
                      bool relu)
{
    for (size_t row = 0; row < rows; row++, y += n) {
        if (bias) {
            for (size_t i = 0; i < n; i++) {
                y[i] += bias[i];
            }
        }
        if (relu) {
            for (size_t i = 0; i < n; i++) {
                y[i] = y[i] < 0.0F ? 0.0F : y[i];
            }
        }
    }
}

void weft_relu_back(float *restrict dy, const float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dy[i] = y[i] > 0.0F ? dy[i] : 0.0F;
    }
}

void weft_rows_sum(float *restrict sum, const float *restrict x, size_t rows, size_t n)
{
    for (size_t row = 0; row < rows; row++, x += n) {
        for (size_t i = 0; i < n; i++) {
            sum[i] += x[i];
        }
    }
}

void weft_blend(float *restrict to, float keep, float scale, const float *restrict g, size_t n)
{
    if (keep == 0.0F) {
        for (size_t i = 0; i < n; i++) {
            to[i] = scale * g[i];
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            to[i] = keep * to[i] + scale * g[i];
        }
    }
}

void weft_add(float *restrict out, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] += x[i];
    }
}

bool weft_all_finite(const float *x, size_t n)
{
    enum { BLOCK = 4096 };
    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t end = n - at < BLOCK ? n : at + BLOCK;
        uint32_t bad = 0;
        for (size_t i = at; i < end; i++) {
            uint32_t bits = 0;
            memcpy(&bits, &x[i], sizeof bits);
            bad |= (bits & 0x7f800000U) == 0x7f800000U; /* infinities and NaN */
        }
        if (bad) {
            return false;
        }
    }
    return true;
}
