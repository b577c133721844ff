/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_sum_kernel_portable for AVX2, four elements at a time: 64-bit lanes, variable shifts. A
 * vector shift by 64 or more (a negative count is one, too) gives 0, which replaces the branches.
 */
#include "agg/agg_priv.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

typedef struct constants {
    __m256i magnitude, fraction, hidden, one;
    __m256i n_examples;
    __m256i left;  /* exponent + left: shift to the left */
    __m256i right; /* right - exponent: shift to the right, less one */
    __m256i half;  /* exponent + half: 64 minus the bits of the rounding term */
} constants;

AVX2 static constants constants_of(uint32_t n_examples, int grid_bits)
{
    const int left = grid_bits - 150;
    return (constants){
        .magnitude = _mm256_set1_epi64x(0x7fffffff),
        .fraction = _mm256_set1_epi64x(0x7fffff),
        .hidden = _mm256_set1_epi64x(0x800000),
        .one = _mm256_set1_epi64x(1),
        .n_examples = _mm256_set1_epi64x((int64_t)n_examples),
        .left = _mm256_set1_epi64x(left),
        .right = _mm256_set1_epi64x(-left - 1),
        .half = _mm256_set1_epi64x(65 + left),
    };
}

/* The terms of four floats: see term() in sum.c. With r = -(shift), r >= 1 rounds and r <= 0 does
 * not: the shift to the right is split into 1 and r - 1, so that r = 0 gives 0 there. */
AVX2 static inline __m256i terms(__m128i bits, const constants *k)
{
    const __m256i wide = _mm256_cvtepi32_epi64(bits);
    const __m256i sign = _mm256_shuffle_epi32(wide, 0xf5);
    const __m256i absolute = _mm256_and_si256(wide, k->magnitude);
    const __m256i exponent = _mm256_srli_epi64(absolute, 23);
    const __m256i mantissa = _mm256_or_si256(_mm256_and_si256(wide, k->fraction), k->hidden);
    const __m256i product = _mm256_mul_epu32(mantissa, k->n_examples);
    const __m256i left = _mm256_sllv_epi64(product, _mm256_add_epi64(exponent, k->left));
    const __m256i r_less_1 = _mm256_sub_epi64(k->right, exponent);
    const __m256i r = _mm256_add_epi64(r_less_1, k->one);
    const __m256i odd = _mm256_and_si256(_mm256_srlv_epi64(product, r), k->one);
    const __m256i half =
        _mm256_srlv_epi64(_mm256_set1_epi64x(-1), _mm256_add_epi64(exponent, k->half));
    const __m256i rounded = _mm256_add_epi64(_mm256_add_epi64(product, half), odd);
    const __m256i right = _mm256_srlv_epi64(_mm256_srli_epi64(rounded, 1), r_less_1);
    const __m256i value = _mm256_or_si256(left, right);
    return _mm256_sub_epi64(_mm256_xor_si256(value, sign), sign);
}

AVX2 void weft_sum_kernel_avx2(int64_t *acc, const float *delta, size_t n, uint32_t n_examples,
                               int grid_bits)
{
    const constants k = constants_of(n_examples, grid_bits);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const __m128i bits = _mm_loadu_si128((const __m128i_u *)(const void *)(delta + i));
        __m256i_u *at = (__m256i_u *)(void *)(acc + i);
        _mm256_storeu_si256(at, _mm256_add_epi64(_mm256_loadu_si256(at), terms(bits, &k)));
    }
    weft_sum_kernel_portable(acc + i, delta + i, n - i, n_examples, grid_bits);
}

#endif
