/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX2 convolutions: which of them a shape gets, and what they need. Threads: any. */
#include "nn/conv_avx2_priv.h"

#if defined(__x86_64__)

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t direct_dense_scratch(const weft_conv *c, bool train)
{
    return larger(weft_conv_direct_scratch(c), train ? weft_conv_blas.scratch(c, true) : 0);
}

static size_t direct_sparse_scratch(const weft_conv *c, bool train)
{
    return larger(weft_conv_direct_scratch(c), train ? weft_conv_sparse_scratch(c) : 0);
}

static size_t blas_sparse_scratch(const weft_conv *c, bool train)
{
    return larger(weft_conv_blas.scratch(c, train), train ? weft_conv_sparse_scratch(c) : 0);
}

static void blas_forward(const weft_conv *c, const weft_conv_forward *io)
{
    weft_conv_blas.forward(c, io);
}

static void dense_backward(const weft_conv *c, const weft_conv_backward *io)
{
    weft_conv_blas.backward(c, io);
}

const weft_conv_ops *weft_conv_avx2(const weft_conv *c)
{
    static const weft_conv_ops direct_dense = {direct_dense_scratch, weft_conv_direct_forward,
                                               dense_backward};
    static const weft_conv_ops direct_sparse = {direct_sparse_scratch, weft_conv_direct_forward,
                                                weft_conv_sparse_backward};
    static const weft_conv_ops blas_sparse = {blas_sparse_scratch, blas_forward,
                                              weft_conv_sparse_backward};
    const size_t most = (size_t)1 << 28; /* offsets are 32 bits */
    const weft_frame f = weft_frame_of(c);
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || f.size > most ||
        f.window > most || c->kh * f.padded * c->cout > most) {
        return NULL;
    }
    const bool direct = weft_conv_direct_fits(c);
    if (c->pooled) {
        return direct ? &direct_sparse : &blas_sparse;
    }
    return direct ? &direct_dense : NULL;
}

#else

const weft_conv_ops *weft_conv_avx2(const weft_conv *c)
{
    (void)c;
    return NULL;
}

#endif
