/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_sum_kernel_portable for AVX-512, eight elements at a time; see sum_avx2.c for how shifts
 * replace the branches.
 */
#include "agg/agg_priv.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f")))

typedef struct constants {
    __m512i magnitude, fraction, hidden, one, ones;
    __m512i n_examples;
    __m512i left;  /* exponent + left: shift to the left */
    __m512i right; /* right - exponent: shift to the right, less one */
    __m512i half;  /* exponent + half: 64 minus the bits of the rounding term */
} constants;

AVX512 static constants constants_of(uint32_t n_examples, int grid_bits)
{
    const int left = grid_bits - 150;
    return (constants){
        .magnitude = _mm512_set1_epi64(0x7fffffff),
        .fraction = _mm512_set1_epi64(0x7fffff),
        .hidden = _mm512_set1_epi64(0x800000),
        .one = _mm512_set1_epi64(1),
        .ones = _mm512_set1_epi64(-1),
        .n_examples = _mm512_set1_epi64((int64_t)n_examples),
        .left = _mm512_set1_epi64(left),
        .right = _mm512_set1_epi64(-left - 1),
        .half = _mm512_set1_epi64(65 + left),
    };
}

/* acc + the terms of eight floats. */
AVX512 static inline __m512i add_terms(__m512i acc, __m256i bits, const constants *k)
{
    const __m512i wide = _mm512_cvtepi32_epi64(bits);
    const __mmask8 negative = _mm512_cmplt_epi64_mask(wide, _mm512_setzero_si512());
    const __m512i exponent = _mm512_srli_epi64(_mm512_and_si512(wide, k->magnitude), 23);
    const __m512i mantissa = _mm512_or_si512(_mm512_and_si512(wide, k->fraction), k->hidden);
    const __m512i product = _mm512_mul_epu32(mantissa, k->n_examples);
    const __m512i left = _mm512_sllv_epi64(product, _mm512_add_epi64(exponent, k->left));
    const __m512i r_less_1 = _mm512_sub_epi64(k->right, exponent);
    const __m512i r = _mm512_add_epi64(r_less_1, k->one);
    const __m512i odd = _mm512_and_si512(_mm512_srlv_epi64(product, r), k->one);
    const __m512i half = _mm512_srlv_epi64(k->ones, _mm512_add_epi64(exponent, k->half));
    const __m512i rounded = _mm512_add_epi64(_mm512_add_epi64(product, half), odd);
    const __m512i right = _mm512_srlv_epi64(_mm512_srli_epi64(rounded, 1), r_less_1);
    const __m512i value = _mm512_or_si512(left, right);
    return _mm512_mask_sub_epi64(_mm512_add_epi64(acc, value), negative, acc, value);
}

AVX512 void weft_sum_kernel_avx512(int64_t *acc, const float *delta, size_t n, uint32_t n_examples,
                                   int grid_bits)
{
    const constants k = constants_of(n_examples, grid_bits);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i bits = _mm256_loadu_si256((const __m256i_u *)(const void *)(delta + i));
        const __m512i sum = _mm512_loadu_si512(acc + i);
        _mm512_storeu_si512(acc + i, add_terms(sum, bits, &k));
    }
    weft_sum_kernel_portable(acc + i, delta + i, n - i, n_examples, grid_bits);
}

#endif
