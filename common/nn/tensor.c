/* SPDX-License-Identifier: Apache-2.0 */
/* Loops over vectors and rows: those of the best instruction set (isa/loops.c). Threads: any. */
#include "nn/tensor.h"

#include "nn/isa/loops.h"

#include <stdint.h>
#include <string.h>

void weft_rows_finish(float *y, const float *bias, size_t rows, size_t n, bool relu)
{
    weft_loops_best()->rows_finish(y, bias, rows, n, relu);
}

void weft_relu_back(float *dy, const float *y, size_t n)
{
    weft_loops_best()->relu_back(dy, y, n);
}

void weft_rows_sum(float *sum, const float *x, size_t rows, size_t n)
{
    weft_loops_best()->rows_sum(sum, x, rows, n);
}

void weft_blend(float *to, float keep, float scale, const float *g, size_t n)
{
    weft_loops_best()->blend(to, keep, scale, g, n);
}

void weft_add(float *out, const float *x, size_t n)
{
    weft_loops_best()->add(out, x, n);
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
