/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products with a right operand that lies ready in panels of TILE_WIDTH columns, one behind the
 * other, [k][width] each; the last ones have the columns that are left. Every output is one chain
 * of fused multiply-adds in the order of k, wherever it is cut: the bits depend on no other row.
 * Threads: any.
 */
#include "nn/isa/isa_priv.h"
#include "nn/isa/tile.h"

enum {
    DEPTH = 256,    /* steps at once where many rows use a panel: it stays in the first cache */
    FEW_ROWS = 3,   /* rows that leave the arithmetic units waiting in a tile of two vectors */
    WIDE_PANELS = 4 /* panels at once for those */
};

static size_t panel_width(size_t left)
{
    return left >= TILE_WIDTH ? (size_t)TILE_WIDTH : left >= LANES ? (size_t)LANES : left;
}

/* Values of a step of a panel. */
static size_t panel_step(size_t width)
{
    return width > LANES ? (size_t)TILE_WIDTH : (size_t)LANES;
}

static size_t panels_size(size_t k, size_t n)
{
    return k * ((n + LANES - 1) / LANES * LANES);
}

static void pack_transposed(float *restrict to, const float *restrict b, size_t stride, size_t k,
                            size_t width, size_t step)
{
    for (size_t at = 0; at < k; at += LANES) { /* lines stay in the cache while they are filled */
        const size_t end = k - at < LANES ? k : at + LANES;
        for (size_t j = 0; j < width; j++) {
            __builtin_prefetch(b + j * stride + at + 2 * (size_t)LANES); /* rows are pages apart */
            for (size_t i = at; i < end; i++) {
                to[i * step + j] = b[j * stride + i];
            }
        }
    }
}

/* Row by row, as b lies: a column of panels at a time would touch a page for each line. */
static void pack_rows(float *restrict to, const float *restrict b, size_t stride, size_t k,
                      size_t n)
{
    for (size_t i = 0; i < k; i++, b += stride) {
        size_t at = 0;
        for (; n - at >= TILE_WIDTH; at += TILE_WIDTH) {
            float *line = to + at * k + i * TILE_WIDTH;
            vec_store(line, vec_load(b + at));
            vec_store(line + LANES, vec_load(b + at + LANES));
        }
        for (size_t width = 0; at < n; at += width) { /* panels of one vector */
            width = panel_width(n - at);
            memcpy(to + at * k + i * LANES, b + at, width * sizeof *b);
        }
    }
}

static void panels_pack(float *to, size_t k, size_t n, weft_mat b)
{
    if (!b.trans) {
        pack_rows(to, b.data, b.stride, k, n);
        return;
    }
    size_t width = 0;
    for (size_t at = 0; at < n; at += width) {
        width = panel_width(n - at);
        const size_t step = panel_step(width);
        pack_transposed(to + at * k, b.data + at * b.stride, b.stride, k, width, step);
    }
}

/* Rows of WIDE_PANELS whole panels: rows * 8 chains at once. */
INLINE void wide_of(float *c, size_t c_stride, size_t k, const float *a, size_t a_stride,
                    const float *b, bool onto, const size_t rows)
{
    enum { VECTORS = 2 * WIDE_PANELS };
    const size_t panel = k * TILE_WIDTH;
    vec sum[FEW_ROWS][VECTORS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t v = 0; v < VECTORS; v++) {
            sum[r][v] = onto ? vec_load(c + r * c_stride + v * LANES) : vec_zero();
        }
    }
    for (size_t i = 0; i < k; i++, b += TILE_WIDTH) {
        vec x[FEW_ROWS];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            x[r] = vec_set(a[r * a_stride + i]);
        }
        UNROLL
        for (size_t v = 0; v < VECTORS; v++) {
            const vec w = vec_load(b + v / 2 * panel + v % 2 * LANES);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                sum[r][v] = vec_fma(x[r], w, sum[r][v]);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t v = 0; v < VECTORS; v++) {
            vec_store(c + r * c_stride + v * LANES, sum[r][v]);
        }
    }
}

static void wide(float *c, size_t c_stride, size_t k, const float *a, size_t a_stride,
                 const float *b, bool onto, size_t rows)
{
    switch (rows) {
    case 1:
        wide_of(c, c_stride, k, a, a_stride, b, onto, 1);
        break;
    case 2:
        wide_of(c, c_stride, k, a, a_stride, b, onto, 2);
        break;
    default:
        wide_of(c, c_stride, k, a, a_stride, b, onto, 3);
        break;
    }
}

/* All rows of one panel; t has everything but its operands. */
static void panel_rows(weft_tile *t, float *c, size_t m, const float *a)
{
    const size_t pieces = (m + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t i = 0; i < pieces; i++) {
        const size_t rows = m / pieces + (i < m % pieces);
        t->a = a;
        t->c = c;
        t->start = t->start ? c : NULL;
        weft_tile_run(t, rows, t->width > LANES ? 2 : 1);
        a += rows * t->a_row;
        c += rows * t->c_row;
    }
}

static void panels_multiply(float *c, size_t c_stride, size_t m, size_t n, size_t k, const float *a,
                            size_t a_stride, const float *panels, bool onto)
{
    const size_t most = m <= TILE_ROWS ? k : DEPTH;
    for (size_t at = 0; at < n;) {
        const bool whole = n - at >= (size_t)WIDE_PANELS * TILE_WIDTH;
        if (m <= FEW_ROWS && whole) {
            wide(c + at, c_stride, k, a, a_stride, panels, onto, m);
            at += (size_t)WIDE_PANELS * TILE_WIDTH;
            panels += k * WIDE_PANELS * TILE_WIDTH;
            continue;
        }
        weft_tile t = {.a_row = a_stride,
                       .a_inner = 1,
                       .outer = 1,
                       .width = panel_width(n - at),
                       .start_row = c_stride,
                       .c_row = c_stride};
        t.b_step = panel_step(t.width);
        for (size_t from = 0; from < k; from += most) {
            t.inner = k - from < most ? k - from : most;
            t.b = panels + from * t.b_step;
            t.soon = t.b + t.inner * t.b_step; /* what comes next; a prefetch may miss the end */
            t.start = onto || from > 0 ? c + at : NULL;
            panel_rows(&t, c + at, m, a + from);
        }
        at += t.width;
        panels += k * t.b_step;
    }
}

const weft_panels_ops weft_panels = {panels_size, panels_pack, panels_multiply};
