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

size_t weft_panels_plain_size(size_t k, size_t n)
{
    return k * n;
}

void weft_panels_plain_pack(float *to, size_t k, size_t n, weft_mat b)
{
    for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < n; j++) {
            to[i * n + j] = b.trans ? b.data[j * b.stride + i] : b.data[i * b.stride + j];
        }
    }
}

static void multiply(float *c, size_t c_stride, size_t m, size_t n, size_t k, const float *a,
                     size_t a_stride, const float *panels, bool onto)
{
    weft_gemm_naive(c, c_stride, m, n, k, 1.0F, (weft_mat){a, a_stride, WEFT_PLAIN},
                    (weft_mat){panels, n, WEFT_PLAIN}, onto ? 1.0F : 0.0F);
}

const weft_panels_ops weft_panels_naive = {weft_panels_plain_size, weft_panels_plain_pack,
                                           multiply};
