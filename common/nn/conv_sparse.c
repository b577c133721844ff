/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backward through a max-pool for processors with AVX2 and FMA (chosen at run time; built with
 * -O3). At most one pixel of a pool window has a gradient, and none where the relu is closed. So
 * both gradients are sums of a few scaled rows of kw * cin values:
 *
 *   dw of a filter   over the pixels where it won:     g * the image's window there
 *   dx of a window   over the filters that won there:  g * the filter's weights
 *
 * with the row in registers while the sum runs over a list of (where, g).
 *
 * Every output value is summed in an order that the winners alone fix, by one thread. Threads: any.
 */
#include "nn/conv_avx2_priv.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { VECTORS = 12 }; /* sums of one row in registers */

/* One term of a sum: g times the row at src + at. */
typedef struct term {
    uint32_t at; /* in values */
    float g;
} term;

/* to[0..n * 8) += the sum of terms */
AVX2 INLINE void add_row_n(float *to, const float *src, const term *terms, size_t n_terms,
                           const size_t n)
{
    __m256 sum[VECTORS];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        sum[i] = _mm256_loadu_ps(to + i * WEFT_LANES);
    }
    for (size_t t = 0; t < n_terms; t++) {
        const __m256 g = _mm256_broadcast_ss(&terms[t].g);
        const float *row = src + terms[t].at;
        UNROLL
        for (size_t i = 0; i < n; i++) {
            sum[i] = _mm256_fmadd_ps(g, _mm256_loadu_ps(row + i * WEFT_LANES), sum[i]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        _mm256_storeu_ps(to + i * WEFT_LANES, sum[i]);
    }
}

/* The same for n rows of one vector each. */
AVX2 INLINE void add_rows_n(float *to, size_t to_row, const float *src, size_t src_row,
                            const term *terms, size_t n_terms, const size_t n)
{
    __m256 sum[VECTORS];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        sum[i] = _mm256_loadu_ps(to + i * to_row);
    }
    for (size_t t = 0; t < n_terms; t++) {
        const __m256 g = _mm256_broadcast_ss(&terms[t].g);
        const float *row = src + terms[t].at;
        UNROLL
        for (size_t i = 0; i < n; i++) {
            sum[i] = _mm256_fmadd_ps(g, _mm256_loadu_ps(row), sum[i]);
            row += src_row;
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) { /* in this order: a row's padding may reach into the next */
        _mm256_storeu_ps(to + i * to_row, sum[i]);
    }
}

#define EACH_COUNT(CASE)                                                                           \
    CASE(1)                                                                                        \
    CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#define ROW_CASE(n)                                                                                \
    case n:                                                                                        \
        add_row_n(to, src, terms, n_terms, n);                                                     \
        break;
#define ROWS_CASE(n)                                                                               \
    case n:                                                                                        \
        add_rows_n(to, to_row, src, src_row, terms, n_terms, n);                                   \
        break;

/* 1 to VECTORS vectors in a row. */
AVX2 static void add_row(float *to, const float *src, const term *terms, size_t n_terms,
                         size_t vectors)
{
    switch (vectors) {
        EACH_COUNT(ROW_CASE)
    default:
        break;
    }
}

/* 1 to VECTORS rows of one vector. */
AVX2 static void add_rows(float *to, size_t to_row, const float *src, size_t src_row, size_t rows,
                          const term *terms, size_t n_terms)
{
    switch (rows) {
        EACH_COUNT(ROWS_CASE)
    default:
        break;
    }
}

/* Rows of padded values: as many sums at once as there are registers. */
static void add_window(float *to, size_t to_row, const float *src, size_t src_row, size_t rows,
                       size_t padded, const term *terms, size_t n_terms)
{
    const size_t vectors = padded / WEFT_LANES;
    if (vectors == 1 && rows <= VECTORS) {
        add_rows(to, to_row, src, src_row, rows, terms, n_terms);
        return;
    }
    const size_t pieces = (vectors + VECTORS - 1) / VECTORS;
    for (size_t row = 0; row < rows; row++) {
        size_t at = 0;
        for (size_t i = 0; i < pieces; i++) {
            const size_t n = vectors / pieces + (i < vectors % pieces);
            add_row(to + row * to_row + at, src + row * src_row + at, terms, n_terms, n);
            at += n * WEFT_LANES;
        }
    }
}

/*
 * The parts of the scratch. Rows of windows are read and written as whole vectors: what lies
 * behind their end is added to padding that nobody reads, or is a zero weight added to a
 * neighbour. Each image has a vector of zeros behind it.
 */
typedef struct sparse {
    weft_frame f;
    size_t outputs;    /* pool windows */
    size_t slots;      /* of one */
    float *x;          /* framed image */
    float *dx;         /* framed gradient */
    float *w;          /* [cout][kh][padded] */
    float *dw;         /* [cout][kh][padded] */
    uint32_t *slot_at; /* [outputs][slots]: where in x and dx a slot's convolution window is */
    term *terms;       /* [most of cout and outputs, and one] */
} sparse;

typedef struct arena {
    float *base; /* NULL: only count */
    size_t used;
} arena;

static void *take(arena *a, size_t n)
{
    float *p = a->base ? a->base + a->used : NULL;
    a->used += weft_frame_align(n);
    return p;
}

/* Lay the arrays out at scratch (NULL: not yet); returns the values needed. */
static size_t lay_out(sparse *s, const weft_conv *c, float *scratch)
{
    arena a = {NULL, 0};
    a.base = scratch;
    s->f = weft_frame_of(c);
    s->outputs = (size_t)c->pool.oh * c->pool.ow;
    s->slots = (size_t)c->pool.size * c->pool.size;
    s->x = take(&a, s->f.size + WEFT_LANES);
    s->dx = take(&a, s->f.size + WEFT_LANES);
    s->w = take(&a, (size_t)c->cout * c->kh * s->f.padded);
    s->dw = take(&a, (size_t)c->cout * c->kh * s->f.padded);
    s->slot_at = take(&a, s->outputs * s->slots);
    s->terms = take(&a, 2 * ((s->outputs > c->cout ? s->outputs : c->cout) + 1)); /* two values */
    return a.used;
}

size_t weft_conv_sparse_scratch(const weft_conv *c)
{
    sparse s;
    return lay_out(&s, c, NULL);
}

/* w [kh][length][cout] -> [cout][kh][padded]; the padding is zero already. */
static void transpose_weights(const weft_conv *c, const sparse *s, const float *w)
{
    for (size_t ky = 0; ky < c->kh; ky++) {
        for (size_t k = 0; k < s->f.length; k++) {
            for (size_t co = 0; co < c->cout; co++) {
                s->w[(co * c->kh + ky) * s->f.padded + k] = *w++;
            }
        }
    }
}

static void transpose_gradient(const weft_conv *c, const sparse *s, float *dw)
{
    for (size_t ky = 0; ky < c->kh; ky++) {
        for (size_t k = 0; k < s->f.length; k++) {
            for (size_t co = 0; co < c->cout; co++) {
                *dw++ = s->dw[(co * c->kh + ky) * s->f.padded + k];
            }
        }
    }
}

static void find_slots(const weft_conv *c, const sparse *s)
{
    uint32_t *at = s->slot_at;
    for (size_t p = 0; p < s->outputs; p++) {
        for (size_t k = 0; k < s->slots; k++) {
            const size_t y = p / c->pool.ow * c->pool.stride + k / c->pool.size;
            const size_t x = p % c->pool.ow * c->pool.stride + k % c->pool.size;
            *at++ = (uint32_t)((y * s->f.row + x * c->cin) * c->stride);
        }
    }
}

/* The filters that won at slot k of one pool window. Without branches on the data: a loser is
 * written, too, but not counted. */
static size_t winners(const weft_conv *c, const sparse *s, const float *dy, const uint8_t *slot,
                      size_t k)
{
    const uint32_t step = (uint32_t)(c->kh * s->f.padded);
    term *terms = s->terms;
    size_t n = 0;
    for (uint32_t co = 0; co < c->cout; co++) {
        terms[n].at = co * step;
        terms[n].g = dy[co];
        n += slot[co] == k;
    }
    return n;
}

/* The windows in which one filter won. */
static size_t windows_won(const weft_conv *c, const sparse *s, const float *dy, const uint8_t *slot)
{
    const uint32_t *slot_at = s->slot_at;
    term *terms = s->terms;
    size_t n = 0;
    for (size_t p = 0; p < s->outputs; p++, slot_at += s->slots) {
        const uint8_t won = slot[p * c->cout];
        const bool alive = won != WEFT_POOL_DEAD;
        terms[n].at = slot_at[alive ? won : 0];
        terms[n].g = dy[p * c->cout];
        n += alive;
    }
    return n;
}

static void back_to_x(const weft_conv *c, const sparse *s, const float *dy, const uint8_t *slot)
{
    memset(s->dx, 0, (s->f.size + WEFT_LANES) * sizeof *s->dx);
    for (size_t p = 0; p < s->outputs; p++) {
        for (size_t k = 0; k < s->slots; k++) {
            const size_t n = winners(c, s, dy + p * c->cout, slot + p * c->cout, k);
            if (n > 0) {
                add_window(s->dx + s->slot_at[p * s->slots + k], s->f.row, s->w, s->f.padded, c->kh,
                           s->f.padded, s->terms, n);
            }
        }
    }
}

static void back_to_w(const weft_conv *c, const sparse *s, const float *dy, const uint8_t *slot,
                      float *db)
{
    for (size_t co = 0; co < c->cout; co++) {
        const size_t n = windows_won(c, s, dy + co, slot + co);
        add_window(s->dw + co * c->kh * s->f.padded, s->f.padded, s->x, s->f.row, c->kh,
                   s->f.padded, s->terms, n);
        for (size_t t = 0; t < n; t++) {
            db[co] += s->terms[t].g;
        }
    }
}

void weft_conv_sparse_backward(const weft_conv *c, const weft_conv_backward *io)
{
    sparse s;
    const size_t n_in = (size_t)c->h * c->w * c->cin;
    const size_t n_out = weft_conv_n_out(c);
    memset(io->scratch, 0, lay_out(&s, c, io->scratch) * sizeof *io->scratch);
    memset(io->db, 0, c->cout * sizeof *io->db);
    find_slots(c, &s);
    if (io->dx) {
        transpose_weights(c, &s, io->w);
    }
    for (size_t image = 0; image < io->n; image++) {
        const float *dy = io->dy + image * n_out;
        const uint8_t *slot = io->slot + image * n_out;
        weft_frame_fill(c, &s.f, s.x, io->x + image * n_in);
        back_to_w(c, &s, dy, slot, io->db);
        if (io->dx) {
            back_to_x(c, &s, dy, slot);
            weft_frame_empty(c, &s.f, io->dx + image * n_in, s.dx);
        }
    }
    transpose_gradient(c, &s, io->dw);
}

#endif
