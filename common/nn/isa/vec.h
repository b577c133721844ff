/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vectors of float32 for the kernels in this folder, which are compiled once for each instruction
 * set (meson.build) from the same text: AVX-512, AVX2 with FMA, and plain vectors of four that any
 * compiler lowers (SSE2, NEON, or scalar code).
 *
 * The same bits from each: a kernel's results may not depend on LANES. Sums over products are
 * chains of fused multiply-adds, one chain an output (tile.h), or sixteen chains and one tree
 * (dots.c). vec_fma rounds once everywhere: where the processor has no such instruction it is
 * computed exactly in float64 (slow: such processors are from before 2013).
 */
#ifndef WEFT_NN_ISA_VEC_H
#define WEFT_NN_ISA_VEC_H

#include "nn/unroll.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)

#include <immintrin.h>

#define WEFT_ISA_NAME(name) name##_avx512
typedef __m512 vec;
enum { LANES = 16, TILE_ROWS = 14, ROW_VECTORS = 24 };

INLINE vec vec_zero(void)
{
    return _mm512_setzero_ps();
}
INLINE vec vec_set(float x)
{
    return _mm512_set1_ps(x);
}
INLINE vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
INLINE void vec_store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}
/* The first n (0..LANES) lanes; the others are read as 0 and not written. */
typedef __mmask16 vec_part;
INLINE vec_part vec_first(size_t n)
{
    return (vec_part)((1U << n) - 1U);
}
INLINE vec vec_load_part(const float *p, vec_part part)
{
    return _mm512_maskz_loadu_ps(part, p);
}
INLINE void vec_store_part(float *p, vec v, vec_part part)
{
    _mm512_mask_storeu_ps(p, part, v);
}
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
/* Negative values become 0; the second operand is returned for NaN: it stays. */
INLINE vec vec_relu(vec v)
{
    return _mm512_max_ps(_mm512_setzero_ps(), v);
}
/* Keep the largest of best and v, and in won the slot that it came from. */
INLINE void vec_best(vec *best, vec *won, vec v, vec slot)
{
    const __mmask16 more = _mm512_cmp_ps_mask(v, *best, _CMP_GT_OQ);
    *best = _mm512_mask_mov_ps(*best, more, v);
    *won = _mm512_mask_mov_ps(*won, more, slot);
}
/* v where best is above 0, else other. */
INLINE vec vec_where_positive(vec best, vec v, vec other)
{
    return _mm512_mask_mov_ps(other, _mm512_cmp_ps_mask(best, _mm512_setzero_ps(), _CMP_GT_OQ), v);
}
/* Whole numbers 0 to 255. */
INLINE void vec_store_bytes(uint8_t *p, vec v)
{
    const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v));
    memcpy(p, &bytes, sizeof bytes);
}
INLINE void vec_prefetch(const float *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T1);
}
#define VEC_LOADED(v) __asm__("" : "+v"(v))

#elif defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>

#define WEFT_ISA_NAME(name) name##_avx2
typedef __m256 vec;
enum { LANES = 8, TILE_ROWS = 6, ROW_VECTORS = 12 };

INLINE vec vec_zero(void)
{
    return _mm256_setzero_ps();
}
INLINE vec vec_set(float x)
{
    return _mm256_set1_ps(x);
}
INLINE vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
INLINE void vec_store(float *p, vec v)
{
    _mm256_storeu_ps(p, v);
}
typedef __m256i vec_part;
INLINE vec_part vec_first(size_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}
INLINE vec vec_load_part(const float *p, vec_part part)
{
    return _mm256_maskload_ps(p, part);
}
INLINE void vec_store_part(float *p, vec v, vec_part part)
{
    _mm256_maskstore_ps(p, part, v);
}
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}
INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
INLINE vec vec_relu(vec v)
{
    return _mm256_max_ps(_mm256_setzero_ps(), v);
}
INLINE void vec_best(vec *best, vec *won, vec v, vec slot)
{
    const vec more = _mm256_cmp_ps(v, *best, _CMP_GT_OQ);
    *best = _mm256_blendv_ps(*best, v, more);
    *won = _mm256_blendv_ps(*won, slot, more);
}
INLINE vec vec_where_positive(vec best, vec v, vec other)
{
    return _mm256_blendv_ps(other, v, _mm256_cmp_ps(best, _mm256_setzero_ps(), _CMP_GT_OQ));
}
INLINE void vec_store_bytes(uint8_t *p, vec v)
{
    const __m256i words = _mm256_cvtps_epi32(v);
    const __m128i pairs =
        _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    const __m128i bytes = _mm_packus_epi16(pairs, pairs);
    memcpy(p, &bytes, 8);
}
INLINE void vec_prefetch(const float *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T1);
}
#define VEC_LOADED(v)       __asm__("" : "+x"(v))

#else

#define WEFT_ISA_NAME(name) name##_plain
typedef float vec __attribute__((vector_size(16)));
typedef int32_t vec_mask __attribute__((vector_size(16)));
enum { LANES = 4, TILE_ROWS = 4, ROW_VECTORS = 8 };

INLINE vec vec_set(float x)
{
    return (vec){x, x, x, x};
}
INLINE vec vec_zero(void)
{
    return vec_set(0.0F);
}
INLINE vec vec_load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void vec_store(float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}
typedef size_t vec_part;
INLINE vec_part vec_first(size_t n)
{
    return n;
}
INLINE vec vec_load_part(const float *p, vec_part part)
{
    vec v = vec_zero();
    memcpy(&v, p, part * sizeof *p);
    return v;
}
INLINE void vec_store_part(float *p, vec v, vec_part part)
{
    memcpy(p, &v, part * sizeof *p);
}
#if defined(__FP_FAST_FMAF)
INLINE vec vec_fma(vec a, vec b, vec c)
{
    vec v = c;
    for (int i = 0; i < LANES; i++) {
        v[i] = __builtin_fmaf(a[i], b[i], c[i]);
    }
    return v;
}
#else
/*
 * a * b is exact in float64. The sum with c is rounded there to odd (Boldo and Melquiond 2008):
 * where it was not exact, the last bit is set, so that the second rounding, to float32, sees on
 * which side of a tie the exact value lies.
 */
typedef double vec_wide __attribute__((vector_size(32)));
typedef int64_t vec_wide_mask __attribute__((vector_size(32)));
INLINE vec vec_fma(vec a, vec b, vec c)
{
    const vec_wide wide = __builtin_convertvector(c, vec_wide);
    const vec_wide product =
        __builtin_convertvector(a, vec_wide) * __builtin_convertvector(b, vec_wide);
    const vec_wide sum = product + wide;
    const vec_wide back = sum - product; /* Knuth's two-sum */
    const vec_wide lost = (product - (sum - back)) + (wide - back);
    const vec_wide zero = {0.0, 0.0, 0.0, 0.0};
    vec_wide_mask bits;
    memcpy(&bits, &sum, sizeof bits);
    /* towards the exact value by one, if the last bit is even: the odd neighbour */
    const vec_wide_mask up = (lost > zero) & 1;
    const vec_wide_mask down = (lost < zero) & 1; /* neither for NaN */
    const vec_wide_mask negative = (bits < 0);
    const vec_wide_mask even = ~bits & 1;
    bits += even & up & ~negative;
    bits -= even & up & negative;
    bits -= even & down & ~negative;
    bits += even & down & negative;
    vec_wide odd;
    memcpy(&odd, &bits, sizeof odd);
    return __builtin_convertvector(odd, vec);
}
#endif
INLINE vec vec_mul(vec a, vec b)
{
    return a * b;
}
INLINE vec vec_add(vec a, vec b)
{
    return a + b;
}
INLINE vec vec_blend(vec_mask mask, vec a, vec b)
{
    vec_mask x;
    vec_mask y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    x = (x & mask) | (y & ~mask);
    memcpy(&a, &x, sizeof a);
    return a;
}
INLINE vec vec_relu(vec v)
{
    return vec_blend(v < vec_zero(), vec_zero(), v);
}
INLINE void vec_best(vec *best, vec *won, vec v, vec slot)
{
    const vec_mask more = v > *best;
    *best = vec_blend(more, v, *best);
    *won = vec_blend(more, slot, *won);
}
INLINE vec vec_where_positive(vec best, vec v, vec other)
{
    return vec_blend(best > vec_zero(), v, other);
}
INLINE void vec_store_bytes(uint8_t *p, vec v)
{
    for (int i = 0; i < LANES; i++) {
        p[i] = (uint8_t)v[i];
    }
}
INLINE void vec_prefetch(const float *p)
{
    __builtin_prefetch(p);
}
#define VEC_LOADED(v) (void)(v)

#endif

/* Values side by side in a tile. */
enum { TILE_WIDTH = 2 * LANES };

#endif
