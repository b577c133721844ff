/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products by OpenBLAS, and the loops that check it. Threads: any. */
#include "nn/gemm.h"

#include <cblas.h>
#include <pthread.h>

void weft_gemm_blas(float *c, size_t c_stride, size_t m, size_t n, size_t k, float alpha,
                    weft_mat a, weft_mat b, float beta)
{
    cblas_sgemm(CblasRowMajor, a.trans ? CblasTrans : CblasNoTrans,
                b.trans ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, alpha, a.data,
                (int)a.stride, b.data, (int)b.stride, beta, c, (int)c_stride);
}

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

void weft_gemm_one_thread(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_mutex_lock(&lock); /* a plain mutex: cannot fail */
    if (openblas_get_num_threads() != 1) {
        openblas_set_num_threads(1);
    }
    (void)pthread_mutex_unlock(&lock); /* as above */
}
