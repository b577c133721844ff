/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products of row-major float32 matrices: the only user of BLAS. Threads: any; each call
 * computes on the calling thread.
 */
#ifndef WEFT_NN_GEMM_H
#define WEFT_NN_GEMM_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum weft_trans { WEFT_PLAIN = 0, WEFT_TRANSPOSED = 1 } weft_trans;

/* No dimension of a product may pass this: BLAS counts in int. */
#define WEFT_GEMM_MAX_DIM 0x7fffffffU

/*
 * One operand: element (row, column) of the matrix as it is stored lies at data[row * stride +
 * column].
 */
typedef struct weft_mat {
    const float *data;
    size_t stride;
    weft_trans trans;
} weft_mat;

/**
 * c = beta * c + alpha * op(a) op(b); with beta = 0, c is written without being read.
 * @param c  [m][n], rows of c_stride; op(a) is [m][k], op(b) is [k][n].
 */
typedef void weft_gemm_fn(float *c, size_t c_stride, size_t m, size_t n, size_t k, float alpha,
                          weft_mat a, weft_mat b, float beta);

/* Three loops and float64 sums: the oracle. */
weft_gemm_fn weft_gemm_naive;

/* A right operand that is laid out once for many products of few rows. */
typedef struct weft_panels_ops {
    /* float32 values of a [k][n] operand's layout */
    size_t (*size)(size_t k, size_t n);
    /* op(b) is [k][n] */
    void (*pack)(float *to, size_t k, size_t n, weft_mat b);
    /* c [m][n] = a b, or c + a b (onto); a is [m][k] */
    void (*multiply)(float *c, size_t c_stride, size_t m, size_t n, size_t k, const float *a,
                     size_t a_stride, const float *panels, bool onto);
} weft_panels_ops;

/* With weft_gemm_naive, and the operand as it is. */
extern const weft_panels_ops weft_panels_naive;
/* With weft_gemm_blas. */
extern const weft_panels_ops weft_panels_blas;

/* What these two share: [k][n] as it is. */
size_t weft_panels_plain_size(size_t k, size_t n);
void weft_panels_plain_pack(float *to, size_t k, size_t n, weft_mat b);

/* ---- blas.c -----------------------------------------------------------------------------------
 */

/* By OpenBLAS; only after weft_blas_open. */
weft_gemm_fn weft_gemm_blas;

/**
 * Load OpenBLAS, if it is not yet: it is no part of a process before.
 * @return WEFT_E_NOTFOUND this system has none.
 */
WEFT_NODISCARD weft_status weft_blas_open(weft_err *err);
/** Limit OpenBLAS to one thread, unless it is already (net.h says why); after weft_blas_open. */
void weft_blas_one_thread(void);

#endif
