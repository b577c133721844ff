/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of a matrix and a transposed one: dot products of their rows. Each has sixteen lanes,
 * step k in lane k % 16, as chains of fused multiply-adds; what is missing of the last sixteen
 * counts as 0. Then one tree: lane l + 8 onto lane l, l + 4, l + 2, l + 1 (as weft_lanes_sum).
 *
 * Threads: any.
 */
#include "nn/isa/isa_priv.h"

enum { DOT = 16, PARTS = DOT / LANES };

#if defined(__AVX512F__)
enum { A_ROWS = 4, B_ROWS = 4 };
#elif defined(__AVX2__)
enum { A_ROWS = 3, B_ROWS = 2 };
#else
enum { A_ROWS = 2, B_ROWS = 1 };
#endif

typedef vec dot_sums[A_ROWS][B_ROWS][PARTS];

typedef struct dots_job {
    const float *a, *b;
    size_t a_stride, b_stride, k;
} dots_job;

/* Sixteen steps of all dots; the last ones in part. */
INLINE void dots_step(dot_sums sum, const dots_job *j, size_t k, const size_t rows,
                      const size_t columns, const bool whole, const vec_part part[PARTS])
{
    UNROLL
    for (size_t p = 0; p < PARTS; p++) {
        const size_t at = k + p * LANES;
        vec w[B_ROWS];
        UNROLL
        for (size_t s = 0; s < columns; s++) {
            const float *b = j->b + s * j->b_stride + at;
            w[s] = whole ? vec_load(b) : vec_load_part(b, part[p]);
            VEC_LOADED(w[s]);
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            const float *a = j->a + r * j->a_stride + at;
            vec x = whole ? vec_load(a) : vec_load_part(a, part[p]);
            VEC_LOADED(x);
            UNROLL
            for (size_t s = 0; s < columns; s++) {
                sum[r][s][p] = vec_fma(x, w[s], sum[r][s][p]);
            }
        }
    }
}

#if defined(__AVX512F__)

/* Trees of four dots at once: their results lie in the four quarters, four lanes each. */
INLINE vec half_trees(vec v0, vec v1, vec v2, vec v3)
{
    const vec a = _mm512_add_ps(_mm512_shuffle_f32x4(v0, v1, 0x44),
                                _mm512_shuffle_f32x4(v0, v1, 0xee)); /* 0 0 1 1, 8 lanes each */
    const vec b =
        _mm512_add_ps(_mm512_shuffle_f32x4(v2, v3, 0x44), _mm512_shuffle_f32x4(v2, v3, 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

/* out[r * stride + s] of the rows and columns that there are. */
INLINE void dots_end(float out[A_ROWS][B_ROWS], dot_sums sum, const size_t rows)
{
    vec q[B_ROWS];
    UNROLL
    for (size_t s = 0; s < B_ROWS; s++) {
        const vec zero = vec_zero();
        q[s] = half_trees(sum[0][s][0], rows > 1 ? sum[1][s][0] : zero,
                          rows > 2 ? sum[2][s][0] : zero, rows > 3 ? sum[3][s][0] : zero);
    }
    const vec low = _mm512_add_ps(_mm512_unpacklo_ps(q[0], q[1]), _mm512_unpackhi_ps(q[0], q[1]));
    const vec high = _mm512_add_ps(_mm512_unpacklo_ps(q[2], q[3]), _mm512_unpackhi_ps(q[2], q[3]));
    vec_store(out[0], _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x44),
                                    _mm512_shuffle_ps(low, high, 0xee)));
}

#else

INLINE float tree(const vec v[PARTS])
{
    float lane[DOT];
    for (size_t p = 0; p < PARTS; p++) {
        vec_store(lane + p * LANES, v[p]);
    }
    for (size_t step = DOT / 2; step > 0; step /= 2) {
        for (size_t l = 0; l < step; l++) {
            lane[l] += lane[l + step];
        }
    }
    return lane[0];
}

INLINE void dots_end(float out[A_ROWS][B_ROWS], dot_sums sum, const size_t rows)
{
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t s = 0; s < B_ROWS; s++) {
            out[r][s] = tree(sum[r][s]);
        }
    }
}

#endif

INLINE void dots_of(float out[A_ROWS][B_ROWS], const dots_job *j, const size_t rows,
                    const size_t columns)
{
    dot_sums sum;
    vec_part part[PARTS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t s = 0; s < B_ROWS; s++) {
            UNROLL
            for (size_t p = 0; p < PARTS; p++) {
                sum[r][s][p] = vec_zero();
            }
        }
    }
    size_t k = 0;
    for (; k + DOT <= j->k; k += DOT) {
        dots_step(sum, j, k, rows, columns, true, part);
    }
    if (k < j->k) {
        const size_t left = j->k - k;
        UNROLL
        for (size_t p = 0; p < PARTS; p++) {
            const size_t from = p * LANES;
            part[p] = vec_first(left <= from ? 0 : left - from < LANES ? left - from : LANES);
        }
        dots_step(sum, j, k, rows, columns, false, part);
    }
    dots_end(out, sum, rows);
}

static void dots_columns(float out[A_ROWS][B_ROWS], const dots_job *j, size_t rows, size_t columns)
{
#define ROWS(n)                                                                                    \
    case n:                                                                                        \
        if (columns == B_ROWS) {                                                                   \
            dots_of(out, j, n, B_ROWS);                                                            \
        } else {                                                                                   \
            for (size_t s = 0; s < columns; s++) {                                                 \
                float one[A_ROWS][B_ROWS];                                                         \
                dots_job single = *j;                                                              \
                single.b += s * j->b_stride;                                                       \
                dots_of(one, &single, n, 1);                                                       \
                for (size_t r = 0; r < (n); r++) {                                                 \
                    out[r][s] = one[r][0];                                                         \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        break;
    switch (rows) {
        ROWS(1)
        ROWS(2)
#if defined(__AVX2__)
        ROWS(3)
#endif
#if defined(__AVX512F__)
        ROWS(4)
#endif
    default:
        break;
    }
}

void weft_dots(float *c, size_t c_stride, size_t m, size_t n, size_t k, float alpha, weft_mat a,
               weft_mat b, float beta)
{
    const size_t pieces = (m + A_ROWS - 1) / A_ROWS;
    for (size_t column = 0; column < n; column += B_ROWS) {
        const size_t columns = n - column < B_ROWS ? n - column : B_ROWS;
        dots_job j = {a.data, b.data + column * b.stride, a.stride, b.stride, k};
        size_t row = 0;
        for (size_t i = 0; i < pieces; i++) {
            const size_t rows = m / pieces + (i < m % pieces);
            _Alignas(64) float out[A_ROWS][B_ROWS] = {{0.0F}};
            dots_columns(out, &j, rows, columns);
            for (size_t r = 0; r < rows; r++) {
                float *to = c + (row + r) * c_stride + column;
                for (size_t s = 0; s < columns; s++) {
                    const float scaled = alpha * out[r][s];
                    to[s] = beta == 0.0F ? scaled : beta * to[s] + scaled;
                }
            }
            j.a += rows * a.stride;
            row += rows;
        }
    }
}
