/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backward through a max-pool. At most one pixel of a pool window has a gradient, and none where
 * the relu is closed. So both gradients are sums of a few scaled rows of kw * cin values:
 *
 *   dw of a filter   over the pixels where it won:     g * the image's window there
 *   dx of a window   over the filters that won there:  g * the filter's weights
 *
 * with the row in registers while the sum runs over a list of (where, g). The second serves layers
 * without a pool, too, where all filters have won (convolutions with a stride).
 *
 * Every output value is a chain of fused multiply-adds in an order that the winners alone fix.
 * Threads: any.
 */
#include "nn/isa/conv_priv.h"

/* The terms of a sum: g times the row at src + at. */
typedef struct terms {
    uint32_t *at; /* in values */
    float *g;
    size_t n;
} terms;

/* to[0 .. count * LANES) += the sum of terms */
INLINE void add_row_n(float *to, const float *src, const terms *list, const size_t count)
{
    vec sum[ROW_VECTORS];
    UNROLL
    for (size_t i = 0; i < count; i++) {
        sum[i] = vec_load(to + i * LANES);
    }
    for (size_t t = 0; t < list->n; t++) {
        const vec g = vec_set(list->g[t]);
        const float *row = src + list->at[t];
        UNROLL
        for (size_t i = 0; i < count; i++) {
            sum[i] = vec_fma(g, vec_load(row + i * LANES), sum[i]);
        }
    }
    UNROLL
    for (size_t i = 0; i < count; i++) {
        vec_store(to + i * LANES, sum[i]);
    }
}

/* The same for count rows of FRAME_VECTOR values each. */
INLINE void add_rows_n(float *to, size_t to_row, const float *src, size_t src_row,
                       const terms *list, const size_t count)
{
    enum { PARTS = FRAME_VECTOR / LANES };
    vec sum[ROW_VECTORS];
    UNROLL
    for (size_t i = 0; i < count * PARTS; i++) {
        sum[i] = vec_load(to + i / PARTS * to_row + i % PARTS * LANES);
    }
    for (size_t t = 0; t < list->n; t++) {
        const vec g = vec_set(list->g[t]);
        const float *row = src + list->at[t];
        UNROLL
        for (size_t i = 0; i < count * PARTS; i++) {
            sum[i] = vec_fma(g, vec_load(row + i % PARTS * LANES), sum[i]);
            row += i % PARTS == PARTS - 1 ? src_row : 0;
        }
    }
    UNROLL
    for (size_t i = 0; i < count * PARTS; i++) { /* in this order: a row's padding may reach into */
        vec_store(to + i / PARTS * to_row + i % PARTS * LANES, sum[i]); /* the next */
    }
}

#define EACH_OF_2(CASE)  CASE(1) CASE(2)
#define EACH_OF_6(CASE)  EACH_OF_2(CASE) CASE(3) CASE(4) CASE(5) CASE(6)
#define EACH_OF_8(CASE)  EACH_OF_6(CASE) CASE(7) CASE(8)
#define EACH_OF_12(CASE) EACH_OF_8(CASE) CASE(9) CASE(10) CASE(11) CASE(12)
#define EACH_OF_18(CASE) EACH_OF_12(CASE) CASE(13) CASE(14) CASE(15) CASE(16) CASE(17) CASE(18)
#define EACH_OF_24(CASE) EACH_OF_18(CASE) CASE(19) CASE(20) CASE(21) CASE(22) CASE(23) CASE(24)
#if defined(__AVX512F__)
#define EACH_COUNT EACH_OF_24
#define EACH_ROWS  EACH_OF_8
#elif defined(__AVX2__)
#define EACH_COUNT EACH_OF_12
#define EACH_ROWS  EACH_OF_6
#else
#define EACH_COUNT EACH_OF_8
#define EACH_ROWS  EACH_OF_2
#endif
enum { MOST_ROWS = LANES == 16 ? 8 : ROW_VECTORS * LANES / FRAME_VECTOR };

#define ROW_CASE(n)                                                                                \
    case n:                                                                                        \
        add_row_n(to, src, list, n);                                                               \
        break;
#define ROWS_CASE(n)                                                                               \
    case n:                                                                                        \
        add_rows_n(to, to_row, src, src_row, list, n);                                             \
        break;

/* 1 to ROW_VECTORS vectors in a row. */
static void add_row(float *to, const float *src, const terms *list, size_t vectors)
{
    switch (vectors) {
        EACH_COUNT(ROW_CASE)
    default:
        break;
    }
}

/* 1 to MOST_ROWS rows of FRAME_VECTOR values. */
static void add_rows(float *to, size_t to_row, const float *src, size_t src_row, size_t rows,
                     const terms *list)
{
    switch (rows) {
        EACH_ROWS(ROWS_CASE)
    default:
        break;
    }
}

/* Rows of padded values: as many sums at once as there are registers. */
static void add_window(float *to, size_t to_row, const float *src, size_t src_row, size_t rows,
                       size_t padded, const terms *list)
{
    const size_t vectors = padded / LANES;
    const size_t pieces = (vectors + ROW_VECTORS - 1) / ROW_VECTORS;
    for (size_t row = 0; row < rows; row++) {
        size_t at = 0;
        for (size_t i = 0; i < pieces; i++) {
            const size_t n = vectors / pieces + (i < vectors % pieces);
            add_row(to + row * to_row + at, src + row * src_row + at, list, n);
            at += n * LANES;
        }
    }
}

/*
 * The parts of the scratch. Rows of windows are read and written as whole vectors: what lies
 * behind their end is added to padding that nobody reads, or is a zero weight added to a
 * neighbour. Each image has a vector of zeros behind it.
 */
typedef struct windows {
    weft_frame f;
    size_t outputs;    /* pool windows; or pixels, where there is no pool */
    size_t slots;      /* of one */
    float *image;      /* framed image, or framed gradient */
    float *w;          /* [cout][kh][padded]: weights, or their gradients */
    uint32_t *slot_at; /* [outputs][slots]: where in the image a slot's convolution window is */
    terms list;        /* most of cout and outputs, and a vector of what is not counted */
} windows;

/* Lay the arrays out at scratch (NULL: not yet); returns the values needed. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the arrays are written */
static size_t lay_out(windows *s, const weft_conv *c, float *scratch)
{
    weft_frame_arena a = {scratch, 0};
    s->f = weft_frame_of(c);
    s->outputs = c->pooled ? (size_t)c->pool.oh * c->pool.ow : (size_t)c->oh * c->ow;
    s->slots = c->pooled ? (size_t)c->pool.size * c->pool.size : 1;
    const size_t most = (s->outputs > c->cout ? s->outputs : c->cout) + FRAME_VECTOR;
    s->image = weft_frame_take(&a, s->f.size + FRAME_VECTOR);
    s->w = weft_frame_take(&a, (size_t)c->cout * c->kh * s->f.padded);
    s->slot_at = (uint32_t *)(void *)weft_frame_take(&a, s->outputs * s->slots);
    s->list.at = (uint32_t *)(void *)weft_frame_take(&a, most);
    s->list.g = weft_frame_take(&a, most);
    return a.used;
}

size_t weft_windows_scratch(const weft_conv *c)
{
    windows s;
    return lay_out(&s, c, NULL);
}

static void find_slots(const weft_conv *c, const windows *s)
{
    uint32_t *at = s->slot_at;
    const size_t across = c->pooled ? c->pool.ow : c->ow;
    const size_t stride = c->pooled ? c->pool.stride : 1;
    const size_t size = c->pooled ? c->pool.size : 1;
    for (size_t p = 0; p < s->outputs; p++) {
        for (size_t k = 0; k < s->slots; k++) {
            const size_t y = p / across * stride + k / size;
            const size_t x = p % across * stride + k % size;
            *at++ = (uint32_t)((y * s->f.row + x * c->cin) * c->stride);
        }
    }
}

static void start(windows *s, const weft_conv *c, float *scratch)
{
    memset(scratch, 0, lay_out(s, c, scratch) * sizeof *scratch);
    find_slots(c, s);
}

/* ---- gradient of the input ------------------------------------------------------------------- */

/* w [kh][length][cout] -> [cout][kh][padded]; the padding is zero already. */
static void transpose_weights(const weft_conv *c, const windows *s, const float *w)
{
    for (size_t ky = 0; ky < c->kh; ky++) {
        for (size_t k = 0; k < s->f.length; k++) {
            for (size_t co = 0; co < c->cout; co++) {
                s->w[(co * c->kh + ky) * s->f.padded + k] = *w++;
            }
        }
    }
}

/* The filters [from, cout) that won at slot k of one pool window, behind those in the list. Without
 * branches on the data: a loser is written, too, but not counted. */
static void add_winners(const weft_conv *c, windows *s, const float *dy, const uint8_t *slot,
                        size_t k, uint32_t from)
{
    const uint32_t step = (uint32_t)(c->kh * s->f.padded);
    terms list = s->list;
    for (uint32_t co = from; co < c->cout; co++) {
        list.at[list.n] = co * step;
        list.g[list.n] = dy[co];
        list.n += slot[co] == k;
    }
    s->list.n = list.n;
}

static void winners(const weft_conv *c, windows *s, const float *dy, const uint8_t *slot, size_t k)
{
    uint32_t co = 0;
    s->list.n = 0;
#if defined(__AVX512F__)
    const uint32_t step = (uint32_t)(c->kh * s->f.padded);
    const __m512i steps =
        _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                           _mm512_set1_epi32((int)step));
    for (; co + LANES <= c->cout; co += LANES) {
        __m128i slots;
        memcpy(&slots, slot + co, sizeof slots);
        const __mmask16 won =
            _mm512_cmpeq_epi32_mask(_mm512_cvtepu8_epi32(slots), _mm512_set1_epi32((int)k));
        const __m512i at = _mm512_add_epi32(steps, _mm512_set1_epi32((int)(co * step)));
        _mm512_storeu_si512(s->list.at + s->list.n, _mm512_maskz_compress_epi32(won, at));
        vec_store(s->list.g + s->list.n, _mm512_maskz_compress_ps(won, vec_load(dy + co)));
        s->list.n += (size_t)__builtin_popcount(won);
    }
#endif
    add_winners(c, s, dy, slot, k, co);
}

/* Without a pool: all filters, in each pixel. */
static void all_filters(const weft_conv *c, windows *s)
{
    for (uint32_t co = 0; co < c->cout; co++) {
        s->list.at[co] = (uint32_t)((size_t)co * c->kh * s->f.padded);
    }
    s->list.n = c->cout;
}

static void image_to_x(const weft_conv *c, windows *s, const float *dy, const uint8_t *slot)
{
    memset(s->image, 0, (s->f.size + FRAME_VECTOR) * sizeof *s->image);
    for (size_t p = 0; p < s->outputs; p++, dy += c->cout) {
        for (size_t k = 0; k < s->slots; k++) {
            if (c->pooled) {
                winners(c, s, dy, slot + p * c->cout, k);
            } else {
                memcpy(s->list.g, dy, c->cout * sizeof *dy);
            }
            if (s->list.n > 0) {
                add_window(s->image + s->slot_at[p * s->slots + k], s->f.row, s->w, s->f.padded,
                           c->kh, s->f.padded, &s->list);
            }
        }
    }
}

void weft_windows_to_x(const weft_conv *c, const weft_conv_backward *io)
{
    windows s;
    const size_t n_in = (size_t)c->h * c->w * c->cin;
    const size_t n_out = weft_conv_n_out(c);
    start(&s, c, io->scratch);
    transpose_weights(c, &s, io->w);
    if (!c->pooled) {
        all_filters(c, &s);
    }
    for (size_t image = 0; image < io->n; image++) {
        image_to_x(c, &s, io->dy + image * n_out, c->pooled ? io->slot + image * n_out : NULL);
        weft_frame_empty(c, &s.f, io->dx + image * n_in, s.image);
    }
}

/* ---- gradient of the weights ----------------------------------------------------------------- */

/* The windows in which one filter won. */
static void windows_won(const weft_conv *c, windows *s, const float *dy, const uint8_t *slot)
{
    const uint32_t *slot_at = s->slot_at;
    terms list = s->list;
    list.n = 0;
    for (size_t p = 0; p < s->outputs; p++, slot_at += s->slots) {
        const uint8_t won = slot[p * c->cout];
        const bool alive = won != WEFT_POOL_DEAD;
        list.at[list.n] = slot_at[alive ? won : 0];
        list.g[list.n] = dy[p * c->cout];
        list.n += alive;
    }
    s->list.n = list.n;
}

static void image_to_w(const weft_conv *c, windows *s, const float *dy, const uint8_t *slot,
                       float *db, uint32_t first, uint32_t last)
{
    for (size_t co = first; co < last; co++) {
        float *dw = s->w + co * c->kh * s->f.padded;
        windows_won(c, s, dy + co, slot + co);
        if (s->f.padded == FRAME_VECTOR && c->kh <= MOST_ROWS) {
            add_rows(dw, s->f.padded, s->image, s->f.row, c->kh, &s->list);
        } else {
            add_window(dw, s->f.padded, s->image, s->f.row, c->kh, s->f.padded, &s->list);
        }
        for (size_t t = 0; db && t < s->list.n; t++) {
            db[co] += s->list.g[t];
        }
    }
}

static void transpose_gradient(const weft_conv *c, const windows *s, float *dw, uint32_t first,
                               uint32_t last)
{
    for (size_t ky = 0; ky < c->kh; ky++) {
        for (size_t k = 0; k < s->f.length; k++, dw += c->cout) {
            for (size_t co = first; co < last; co++) {
                dw[co] = s->w[(co * c->kh + ky) * s->f.padded + k];
            }
        }
    }
}

void weft_sparse_to_w(const weft_conv *c, const weft_conv_backward *io, uint32_t first,
                      uint32_t last)
{
    windows s;
    const size_t n_in = (size_t)c->h * c->w * c->cin;
    const size_t n_out = weft_conv_n_out(c);
    start(&s, c, io->scratch);
    if (io->db) {
        memset(io->db + first, 0, (last - first) * sizeof *io->db);
    }
    for (size_t image = 0; image < io->n; image++) {
        weft_frame_fill(c, &s.f, s.image, io->x + image * n_in);
        image_to_w(c, &s, io->dy + image * n_out, io->slot + image * n_out, io->db, first, last);
    }
    transpose_gradient(c, &s, io->dw, first, last);
}
