/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products by OpenBLAS. It is loaded when a net first needs it and not linked: its start
 * takes milliseconds and megabytes, and threads that spin, of each process; where the kernels of
 * isa/ run nobody calls it. Threads: any.
 */
#include "nn/gemm.h"

#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

/* As Debian's libopenblas0 and most others name it: the ABI that cblas.h declares. */
static const char soname[] = "libopenblas.so.0";

static struct {
    pthread_mutex_t lock;
    void *library; /* guarded by lock; never closed */
    /* written once, under lock, before any user can have them */
    __typeof__(&cblas_sgemm) sgemm;
    __typeof__(&openblas_get_num_threads) get_threads;
    __typeof__(&openblas_set_num_threads) set_threads;
} blas = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* *function = the address of name; C has no cast between the two kinds of pointer. */
static bool find(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

static weft_status load_locked(weft_err *err)
{
    if (blas.library) {
        return WEFT_OK;
    }
    void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "OpenBLAS cannot be loaded: there is no usable %s", soname);
    }
    if (!find(library, "cblas_sgemm", &blas.sgemm) ||
        !find(library, "openblas_get_num_threads", &blas.get_threads) ||
        !find(library, "openblas_set_num_threads", &blas.set_threads)) {
        (void)dlclose(library); /* nothing of it is kept */
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "OpenBLAS cannot be used: %s lacks its functions", soname);
    }
    blas.library = library;
    return WEFT_OK;
}

weft_status weft_blas_open(weft_err *err)
{
    (void)pthread_mutex_lock(&blas.lock); /* a plain mutex: cannot fail, nor below */
    const weft_status status = load_locked(err);
    (void)pthread_mutex_unlock(&blas.lock);
    return status;
}

void weft_blas_one_thread(void)
{
    (void)pthread_mutex_lock(&blas.lock);
    if (blas.get_threads() != 1) {
        blas.set_threads(1);
    }
    (void)pthread_mutex_unlock(&blas.lock);
}

void weft_gemm_blas(float *c, size_t c_stride, size_t m, size_t n, size_t k, float alpha,
                    weft_mat a, weft_mat b, float beta)
{
    blas.sgemm(CblasRowMajor, a.trans ? CblasTrans : CblasNoTrans,
               b.trans ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, alpha, a.data,
               (int)a.stride, b.data, (int)b.stride, beta, c, (int)c_stride);
}

static void multiply(float *c, size_t c_stride, size_t m, size_t n, size_t k, const float *a,
                     size_t a_stride, const float *panels, bool onto)
{
    weft_gemm_blas(c, c_stride, m, n, k, 1.0F, (weft_mat){a, a_stride, WEFT_PLAIN},
                   (weft_mat){panels, n, WEFT_PLAIN}, onto ? 1.0F : 0.0F);
}

const weft_panels_ops weft_panels_blas = {weft_panels_plain_size, weft_panels_plain_pack, multiply};
