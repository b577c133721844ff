/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products by three loops: the oracle of the others. Threads: any. */
#include "nn/gemm.h"

static double element(weft_mat m, size_t row, size_t column)
{
    return (double)(m.trans ? m.data[column * m.stride + row] : m.data[row * m.stride + column]);
}

void weft_gemm_naive(float *c, size_t c_stride, size_t m, size_t n, size_t k, float alpha,
                     weft_mat a, weft_mat b, float beta)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (size_t p = 0; p < k; p++) {
                sum += element(a, i, p) * element(b, p, j);
            }
            float *out = &c[i * c_stride + j];
            *out =
                (float)((double)alpha * sum + (beta == 0.0F ? 0.0 : (double)beta * (double)*out));
        }
    }
}
