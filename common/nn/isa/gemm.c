/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products of tiles (tile.h). Operand b is read in panels of TILE_WIDTH columns: where they
 * lie when a panel is used once or all of b is in the cache, packed when many rows use it. With
 * both b's rows as the outputs (WEFT_TRANSPOSED) the sums are dot products (dots.c).
 *
 * Every output is one chain of fused multiply-adds in the order of k, cut at multiples of
 * DEPTH when it is blended into c. Threads: any.
 */
#include "nn/isa/isa_priv.h"
#include "nn/isa/tile.h"

enum {
    DEPTH = 256, /* rows of a packed panel: 32 KiB at most, on the stack; longest chain blended */
    DIRECT_DEPTH = 64,  /* rows at once of b as it lies */
    DIRECT_SIZE = 65536 /* values of b that the first cache keeps */
};

/* Columns of the next panel: two vectors, one, or a part of one. */
static size_t panel_width(size_t left)
{
    return left >= TILE_WIDTH ? (size_t)TILE_WIDTH : left >= LANES ? (size_t)LANES : left;
}

typedef struct product {
    float *c;
    size_t c_stride, m, n, k;
    weft_mat a, b;
    float alpha, beta;
} product;

/* All tiles of one panel: columns [at, at + width), k-steps [from, from + depth). */
static void panel_rows(const product *p, weft_tile *t, size_t at, size_t row, size_t rows)
{
    const size_t pieces = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t i = 0; i < pieces; i++) {
        const size_t n = rows / pieces + (i < rows % pieces);
        t->c = p->c + row * p->c_stride + at;
        t->start = t->start ? t->c : NULL;
        weft_tile_run(t, n, t->width > LANES ? 2 : 1);
        t->a += n * t->a_row;
        row += n;
    }
}

/* The tile of k-steps [from, from + depth), but for b and c. */
static weft_tile tile_of(const product *p, size_t from, size_t depth)
{
    const bool plain = p->alpha == 1.0F && (p->beta == 0.0F || p->beta == 1.0F);
    const bool goes_on = from > 0 || p->beta == 1.0F;
    return (weft_tile){
        .a_row = p->a.trans ? 1 : p->a.stride,
        .a_inner = p->a.trans ? p->a.stride : 1,
        .inner = depth,
        .outer = 1,
        .start = plain && goes_on ? p->c : NULL,
        .start_row = p->c_stride,
        .c_row = p->c_stride,
        .blend = !plain,
        .keep = from > 0 ? 1.0F : p->beta,
        .scale = p->alpha,
    };
}

static const float *a_at(const product *p, size_t row, size_t k)
{
    return p->a.data + (p->a.trans ? k * p->a.stride + row : row * p->a.stride + k);
}

/* b as it lies, tile row by tile row. */
static void direct(const product *p, size_t from, size_t depth)
{
    weft_tile t = tile_of(p, from, depth);
    t.b_step = p->b.stride;
    const float *b = p->b.data + from * p->b.stride;
    /* the rows behind these, while there are any */
    const size_t ahead = p->k - from >= 2 * depth ? depth * p->b.stride : 0;
    const size_t pieces = (p->m + TILE_ROWS - 1) / TILE_ROWS;
    size_t row = 0;
    for (size_t i = 0; i < pieces; i++) {
        const size_t n = p->m / pieces + (i < p->m % pieces);
        for (size_t at = 0; at < p->n; at += t.width) {
            t.width = panel_width(p->n - at);
            t.a = a_at(p, row, from);
            t.b = b + at;
            t.soon = t.b + ahead;
            panel_rows(p, &t, at, row, n);
        }
        row += n;
    }
}

static void pack(float *packed, const product *p, size_t from, size_t depth, size_t at,
                 size_t width, size_t step)
{
    if (p->b.trans) {
        for (size_t j = 0; j < width; j++) {
            const float *b = p->b.data + (at + j) * p->b.stride + from;
            for (size_t k = 0; k < depth; k++) {
                packed[k * step + j] = b[k];
            }
        }
        return;
    }
    const float *b = p->b.data + from * p->b.stride + at;
    for (size_t k = 0; k < depth; k++, b += p->b.stride, packed += step) {
        if (width == TILE_WIDTH) {
            vec_store(packed, vec_load(b));
            vec_store(packed + LANES, vec_load(b + LANES));
        } else {
            memcpy(packed, b, width * sizeof *b);
        }
    }
}

/* Panel by panel, each packed for all rows. */
static void packed(const product *p, size_t from, size_t depth)
{
    _Alignas(64) float panel[DEPTH * TILE_WIDTH];
    weft_tile t = tile_of(p, from, depth);
    t.b = panel;
    t.soon = panel;
    for (size_t at = 0; at < p->n; at += t.width) {
        t.width = panel_width(p->n - at);
        t.b_step = t.width > LANES ? TILE_WIDTH : LANES;
        pack(panel, p, from, depth, at, t.width, t.b_step);
        t.a = a_at(p, 0, from);
        panel_rows(p, &t, at, 0, p->m);
    }
}

void weft_isa_gemm(float *c, size_t c_stride, size_t m, size_t n, size_t k, float alpha, weft_mat a,
                   weft_mat b, float beta)
{
    if (!a.trans && b.trans) {
        weft_dots(c, c_stride, m, n, k, alpha, a, b, beta);
        return;
    }
    const product p = {c, c_stride, m, n, k, a, b, alpha, beta};
    const bool lies = !b.trans && (m <= TILE_ROWS || k * n <= DIRECT_SIZE);
    const bool plain = alpha == 1.0F && (beta == 0.0F || beta == 1.0F);
    const size_t most = plain && lies ? DIRECT_DEPTH : DEPTH;
    for (size_t from = 0; from < k || from == 0; from += most) {
        const size_t depth = k - from < most ? k - from : most;
        if (lies) {
            direct(&p, from, depth);
        } else {
            packed(&p, from, depth);
        }
    }
}
