/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of tile.h for each size of a tile. Threads: any. */
#include "nn/isa/tile.h"

typedef vec tile_sums[TILE_ROWS][2];

/* Tiles of two vectors are whole, a single one may be in part. */
INLINE vec load(const float *p, const size_t vectors, vec_part part)
{
    return vectors > 1 ? vec_load(p) : vec_load_part(p, part);
}

INLINE void store(float *p, vec v, const size_t vectors, vec_part part)
{
    if (vectors > 1) {
        vec_store(p, v);
    } else {
        vec_store_part(p, v, part);
    }
}

INLINE void tile_start(tile_sums sum, const weft_tile *t, const size_t rows, const size_t vectors,
                       vec_part part)
{
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t v = 0; v < vectors; v++) {
            sum[r][v] = t->start ? load(t->start + r * t->start_row + v * LANES, vectors, part)
                                 : vec_zero();
        }
    }
}

INLINE void tile_sum(tile_sums sum, const weft_tile *t, const size_t rows, const size_t vectors,
                     vec_part part)
{
    const float *b = t->b;
    const size_t row = t->a_row;
    const ptrdiff_t soon = t->soon - t->b;
    for (size_t outer = 0; outer < t->outer; outer++) {
        const float *a = t->a + outer * t->a_outer;
        for (size_t inner = 0; inner < t->inner; inner++, a += t->a_inner, b += t->b_step) {
            vec w[2];
            UNROLL
            for (size_t v = 0; v < vectors; v++) {
                w[v] = load(b + v * LANES, vectors, part);
                VEC_LOADED(w[v]);
            }
            vec_prefetch(b + soon);
            if (vectors * LANES > 16) { /* two lines */
                vec_prefetch(b + soon + 16);
            }
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                vec x = vec_set(a[r * row]);
                if (vectors > 1) {
                    VEC_LOADED(x);
                }
                UNROLL
                for (size_t v = 0; v < vectors; v++) {
                    sum[r][v] = vec_fma(x, w[v], sum[r][v]);
                }
            }
        }
    }
}

INLINE void tile_end(tile_sums sum, const weft_tile *t, const size_t rows, const size_t vectors,
                     vec_part part)
{
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        float *c = t->c + r * t->c_row;
        UNROLL
        for (size_t v = 0; v < vectors; v++) {
            vec s = sum[r][v];
            if (t->blend) {
                s = vec_mul(vec_set(t->scale), s);
                if (t->keep != 0.0F) { /* else what is there may be anything */
                    s = vec_fma(vec_set(t->keep), load(c + v * LANES, vectors, part), s);
                }
            } else if (t->relu) {
                s = vec_relu(s);
            }
            store(c + v * LANES, s, vectors, part);
        }
    }
}

INLINE void tile_of(const weft_tile *t, const size_t rows, const size_t vectors)
{
    const vec_part part = vec_first(vectors > 1 ? LANES : t->width);
    tile_sums sum;
    tile_start(sum, t, rows, vectors, part);
    tile_sum(sum, t, rows, vectors, part);
    tile_end(sum, t, rows, vectors, part);
}

#define TILE(n)                                                                                    \
    static void tile_##n##_1(const weft_tile *t)                                                   \
    {                                                                                              \
        tile_of(t, n, 1);                                                                          \
    }                                                                                              \
    static void tile_##n##_2(const weft_tile *t)                                                   \
    {                                                                                              \
        tile_of(t, n, 2);                                                                          \
    }
#define BOTH(n)                                                                                    \
    {                                                                                              \
        tile_##n##_1, tile_##n##_2                                                                 \
    }

TILE(1)
TILE(2)
TILE(3)
TILE(4)
#if defined(__AVX2__)
TILE(5)
TILE(6)
#endif
#if defined(__AVX512F__)
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
TILE(13)
TILE(14)
#endif

void weft_tile_run(const weft_tile *t, size_t rows, size_t vectors)
{
    static void (*const tiles[TILE_ROWS][2])(const weft_tile *) = {
        BOTH(1),
        BOTH(2),
        BOTH(3),
        BOTH(4),
#if defined(__AVX2__)
        BOTH(5),
        BOTH(6),
#endif
#if defined(__AVX512F__)
        BOTH(7),
        BOTH(8),
        BOTH(9),
        BOTH(10),
        BOTH(11),
        BOTH(12),
        BOTH(13),
        BOTH(14),
#endif
    };
    tiles[rows - 1][vectors - 1](t);
}
