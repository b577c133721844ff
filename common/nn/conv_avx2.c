/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution for processors with AVX2 and FMA (chosen at run time; built with -O3).
 *
 * Forward is direct, without columns: the image lies in a frame of zeros, so that one kernel row
 * of a window is kw * cin values in a row, whatever the channels; weights are packed into blocks of
 * 16 filters; up to 6 pixels x 16 filters stay in registers. Bias, relu and pool follow while a
 * block of rows is in the first cache.
 *
 * Backward through a max-pool is sparse: at most one pixel of a pool window has a gradient, and
 * none where the relu is closed. So both gradients are sums of a few scaled rows of kw * cin
 * values: dw of filter c         sum over the pixels where c won of g * (the image's window there)
 *   dx of the window at p  sum over the filters that won at p of g * (the filter's weights)
 * with the row in registers while the sum runs over a list of (where, g).
 *
 * Every output value is summed by one thread in an order that the shape alone fixes. Threads: any.
 */
#include "nn/conv.h"

#if defined(__x86_64__)

#include "nn/unroll.h"

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2,fma")))

enum {
    LANES = 8,
    BLOCK = 16,       /* filters in one block: two vectors */
    PIXELS = 6,       /* 6 x 2 sums, 2 weights and 1 pixel: 15 of 16 registers */
    VECTORS = 12,     /* sums of one sparse row */
    MAX_WINDOW = 6000 /* values of a window: a block's weights stay in the second cache */
};

/* A convolution's geometry in float32 values. */
typedef struct frame {
    size_t row;    /* one row of the framed image */
    size_t size;   /* the framed image */
    size_t length; /* one kernel row of a window: kw * cin */
    size_t padded; /* the same, rounded up to whole vectors */
    size_t window; /* kh * length */
    bool framed;   /* there are zeros around the image */
} frame;

static frame frame_of(const weft_conv *c)
{
    frame f;
    f.row = ((size_t)c->w + c->pad_left + c->pad_right) * c->cin;
    f.size = ((size_t)c->h + c->pad_top + c->pad_bottom) * f.row;
    f.length = (size_t)c->kw * c->cin;
    f.padded = (f.length + LANES - 1) / LANES * LANES;
    f.window = c->kh * f.length;
    f.framed = c->pad_top || c->pad_left || c->pad_bottom || c->pad_right;
    return f;
}

static size_t aligned(size_t n)
{
    return (n + 15) / 16 * 16;
}

/* The inside of the frame; its zeros were written before. */
static void fill_frame(const weft_conv *c, const frame *f, float *framed, const float *x)
{
    const size_t n = (size_t)c->w * c->cin;
    float *at = framed + c->pad_top * f->row + (size_t)c->pad_left * c->cin;
    for (uint32_t y = 0; y < c->h; y++, at += f->row, x += n) {
        memcpy(at, x, n * sizeof *x);
    }
}

static void empty_frame(const weft_conv *c, const frame *f, float *x, const float *framed)
{
    const size_t n = (size_t)c->w * c->cin;
    const float *at = framed + c->pad_top * f->row + (size_t)c->pad_left * c->cin;
    for (uint32_t y = 0; y < c->h; y++, at += f->row, x += n) {
        memcpy(x, at, n * sizeof *x);
    }
}

/* ---- forward --------------------------------------------------------------------------------- */

/* packed weights [cout / 16][window][16], framed image, rows of one pool window [size][ow][16] */
static size_t forward_scratch(const weft_conv *c)
{
    const frame f = frame_of(c);
    return aligned(f.window * c->cout) + aligned(f.size) +
           (c->pooled ? aligned((size_t)c->pool.size * c->ow * BLOCK) : 0);
}

static void pack_weights(const weft_conv *c, const frame *f, float *packed, const float *w)
{
    for (size_t block = 0; block < c->cout; block += BLOCK) {
        for (size_t k = 0; k < f->window; k++, packed += BLOCK) {
            memcpy(packed, w + k * c->cout + block, BLOCK * sizeof *w);
        }
    }
}

/* One row of pixels of one block of filters. */
typedef struct row_job {
    const float *x;    /* framed image at the row's first window */
    size_t x_row;      /* between kernel rows */
    size_t x_step;     /* between pixels */
    size_t kh, length; /* kernel rows, values of one */
    const float *w;    /* [kh * length][16] */
    const float *bias; /* [16], or NULL */
    float *y;
    size_t y_step; /* between pixels */
    bool relu;
} row_job;

AVX2 INLINE void conv_pixels(const row_job *job, size_t first, const int n)
{
    __m256 sum[PIXELS][2];
    const __m256 bias0 = job->bias ? _mm256_loadu_ps(job->bias) : _mm256_setzero_ps();
    const __m256 bias1 = job->bias ? _mm256_loadu_ps(job->bias + LANES) : _mm256_setzero_ps();
    UNROLL
    for (int p = 0; p < n; p++) {
        sum[p][0] = bias0;
        sum[p][1] = bias1;
    }
    const size_t step = job->x_step;
    const float *w = job->w;
    for (size_t ky = 0; ky < job->kh; ky++) {
        const float *x = job->x + first * step + ky * job->x_row;
        for (size_t k = 0; k < job->length; k++, x++, w += BLOCK) {
            const __m256 w0 = _mm256_loadu_ps(w);
            const __m256 w1 = _mm256_loadu_ps(w + LANES);
            UNROLL
            for (int p = 0; p < n; p++) {
                const __m256 v = _mm256_broadcast_ss(x + (size_t)p * step);
                sum[p][0] = _mm256_fmadd_ps(v, w0, sum[p][0]);
                sum[p][1] = _mm256_fmadd_ps(v, w1, sum[p][1]);
            }
        }
    }
    UNROLL
    for (int p = 0; p < n; p++) {
        float *y = job->y + (first + (size_t)p) * job->y_step;
        if (job->relu) { /* the second operand is returned for NaN: it stays */
            sum[p][0] = _mm256_max_ps(_mm256_setzero_ps(), sum[p][0]);
            sum[p][1] = _mm256_max_ps(_mm256_setzero_ps(), sum[p][1]);
        }
        _mm256_storeu_ps(y, sum[p][0]);
        _mm256_storeu_ps(y + LANES, sum[p][1]);
    }
}

/* ow pixels, cut as evenly as possible into pieces of at most PIXELS. */
AVX2 static void conv_row(const row_job *job, size_t ow)
{
    const size_t pieces = (ow + PIXELS - 1) / PIXELS;
    size_t at = 0;
    for (size_t i = 0; i < pieces; i++) {
        const size_t n = ow / pieces + (i < ow % pieces);
        switch (n) {
        case 1:
            conv_pixels(job, at, 1);
            break;
        case 2:
            conv_pixels(job, at, 2);
            break;
        case 3:
            conv_pixels(job, at, 3);
            break;
        case 4:
            conv_pixels(job, at, 4);
            break;
        case 5:
            conv_pixels(job, at, 5);
            break;
        default:
            conv_pixels(job, at, PIXELS);
            break;
        }
        at += n;
    }
}

/* Largest of each window of a row of pool windows, its slot, relu; 16 channels. */
AVX2 static void pool_row(const weft_conv *c, float *y, uint8_t *slot, const float *z)
{
    const weft_pool *pool = &c->pool;
    const __m256 zero = _mm256_setzero_ps();
    for (size_t ox = 0; ox < pool->ow; ox++, y += c->cout, slot = slot ? slot + c->cout : NULL) {
        const float *window = z + ox * pool->stride * BLOCK;
        __m256 best[2] = {_mm256_loadu_ps(window), _mm256_loadu_ps(window + LANES)};
        __m256i won[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (uint32_t k = 1; k < pool->size * pool->size; k++) {
            const float *v = window + ((size_t)(k / pool->size) * c->ow + k % pool->size) * BLOCK;
            for (int i = 0; i < 2; i++) {
                const __m256 value = _mm256_loadu_ps(v + i * LANES);
                const __m256 more = _mm256_cmp_ps(value, best[i], _CMP_GT_OQ);
                best[i] = _mm256_blendv_ps(best[i], value, more);
                won[i] = _mm256_blendv_epi8(won[i], _mm256_set1_epi32((int)k),
                                            _mm256_castps_si256(more));
            }
        }
        for (int i = 0; i < 2 && c->relu; i++) {
            const __m256i open = _mm256_castps_si256(_mm256_cmp_ps(best[i], zero, _CMP_GT_OQ));
            won[i] = _mm256_blendv_epi8(_mm256_set1_epi32(WEFT_POOL_DEAD), won[i], open);
            best[i] = _mm256_max_ps(zero, best[i]);
        }
        _mm256_storeu_ps(y, best[0]);
        _mm256_storeu_ps(y + LANES, best[1]);
        if (slot) {
            const __m256i pairs = _mm256_packs_epi32(won[0], won[1]);
            const __m256i words = _mm256_permute4x64_epi64(pairs, 0xd8);
            const __m128i bytes =
                _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
            memcpy(slot, &bytes, sizeof bytes);
        }
    }
}

static void conv_image(const weft_conv *c, const frame *f, row_job job, float *y)
{
    const float *x = job.x;
    job.y_step = c->cout;
    job.relu = c->relu;
    for (size_t oy = 0; oy < c->oh; oy++) {
        job.x = x + oy * c->stride * f->row;
        job.y = y + oy * c->ow * c->cout;
        conv_row(&job, c->ow);
    }
}

static void conv_image_pooled(const weft_conv *c, const frame *f, row_job job, float *y,
                              uint8_t *slot, float *rows)
{
    const float *x = job.x;
    job.y_step = BLOCK;
    job.relu = false;
    for (size_t oy = 0; oy < c->pool.oh; oy++) {
        for (size_t k = 0; k < c->pool.size; k++) {
            job.x = x + (oy * c->pool.stride + k) * c->stride * f->row;
            job.y = rows + k * c->ow * BLOCK;
            conv_row(&job, c->ow);
        }
        const size_t at = oy * c->pool.ow * c->cout;
        pool_row(c, y + at, slot ? slot + at : NULL, rows);
    }
}

static void direct_forward(const weft_conv *c, const weft_conv_forward *io)
{
    const frame f = frame_of(c);
    float *packed = io->scratch;
    float *framed = packed + aligned(f.window * c->cout);
    float *rows = framed + aligned(f.size);
    pack_weights(c, &f, packed, io->w);
    if (f.framed) {
        memset(framed, 0, f.size * sizeof *framed);
    }
    for (uint32_t image = 0; image < io->n; image++) {
        const float *x = io->x + (size_t)image * c->h * c->w * c->cin;
        if (f.framed) {
            fill_frame(c, &f, framed, x);
        }
        const size_t out = image * weft_conv_n_out(c);
        for (size_t block = 0; block < c->cout; block += BLOCK) {
            const row_job job = {.x = f.framed ? framed : x,
                                 .x_row = f.row,
                                 .x_step = (size_t)c->stride * c->cin,
                                 .kh = c->kh,
                                 .length = f.length,
                                 .w = packed + block * f.window,
                                 .bias = io->bias ? io->bias + block : NULL};
            float *y = io->y + out + block;
            if (c->pooled) {
                conv_image_pooled(c, &f, job, y, io->slot ? io->slot + out + block : NULL, rows);
            } else {
                conv_image(c, &f, job, y);
            }
        }
    }
}

/* ---- sparse backward ------------------------------------------------------------------------- */

/* One term of a sum: g times the row at src + at. */
typedef struct term {
    uint32_t at; /* in values */
    float g;
} term;

/* to[0..n * 8) += the sum of terms */
AVX2 INLINE void add_row_n(float *to, const float *src, const term *terms, size_t n_terms,
                           const int n)
{
    __m256 sum[VECTORS];
    UNROLL
    for (int i = 0; i < n; i++) {
        sum[i] = _mm256_loadu_ps(to + i * LANES);
    }
    for (size_t t = 0; t < n_terms; t++) {
        const __m256 g = _mm256_broadcast_ss(&terms[t].g);
        const float *row = src + terms[t].at;
        UNROLL
        for (int i = 0; i < n; i++) {
            sum[i] = _mm256_fmadd_ps(g, _mm256_loadu_ps(row + i * LANES), sum[i]);
        }
    }
    UNROLL
    for (int i = 0; i < n; i++) {
        _mm256_storeu_ps(to + i * LANES, sum[i]);
    }
}

/* The same for n rows of one vector each. */
AVX2 INLINE void add_rows_n(float *to, size_t to_row, const float *src, size_t src_row,
                            const term *terms, size_t n_terms, const int n)
{
    __m256 sum[VECTORS];
    UNROLL
    for (int i = 0; i < n; i++) {
        sum[i] = _mm256_loadu_ps(to + (size_t)i * to_row);
    }
    for (size_t t = 0; t < n_terms; t++) {
        const __m256 g = _mm256_broadcast_ss(&terms[t].g);
        const float *row = src + terms[t].at;
        UNROLL
        for (int i = 0; i < n; i++) {
            sum[i] = _mm256_fmadd_ps(g, _mm256_loadu_ps(row), sum[i]);
            row += src_row;
        }
    }
    UNROLL
    for (int i = 0; i < n; i++) { /* in this order: a row's padding may reach into the next */
        _mm256_storeu_ps(to + (size_t)i * to_row, sum[i]);
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
    const size_t vectors = padded / LANES;
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
            at += n * LANES;
        }
    }
}

/*
 * The parts of the scratch. Rows of windows are read and written as whole vectors: what lies
 * behind their end is added to padding that nobody reads, or is a zero weight added to a
 * neighbour. Each image has a vector of zeros behind it.
 */
typedef struct sparse {
    frame f;
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
    a->used += aligned(n);
    return p;
}

/* Lay the arrays out at scratch (NULL: not yet); returns the values needed. */
static size_t lay_out(sparse *s, const weft_conv *c, float *scratch)
{
    arena a = {scratch, 0};
    s->f = frame_of(c);
    s->outputs = (size_t)c->pool.oh * c->pool.ow;
    s->slots = (size_t)c->pool.size * c->pool.size;
    s->x = take(&a, s->f.size + LANES);
    s->dx = take(&a, s->f.size + LANES);
    s->w = take(&a, c->cout * c->kh * s->f.padded);
    s->dw = take(&a, c->cout * c->kh * s->f.padded);
    s->slot_at = take(&a, s->outputs * s->slots);
    s->terms = take(&a, 2 * ((s->outputs > c->cout ? s->outputs : c->cout) + 1)); /* two values */
    return a.used;
}

static size_t sparse_scratch(const weft_conv *c)
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
        terms[n] = (term){co * step, dy[co]};
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
        terms[n] = (term){slot_at[alive ? won : 0], dy[p * c->cout]};
        n += alive;
    }
    return n;
}

static void back_to_x(const weft_conv *c, const sparse *s, const float *dy, const uint8_t *slot)
{
    memset(s->dx, 0, (s->f.size + LANES) * sizeof *s->dx);
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

static void sparse_backward(const weft_conv *c, const weft_conv_backward *io)
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
        fill_frame(c, &s.f, s.x, io->x + image * n_in);
        back_to_w(c, &s, dy, slot, io->db);
        if (io->dx) {
            back_to_x(c, &s, dy, slot);
            empty_frame(c, &s.f, io->dx + image * n_in, s.dx);
        }
    }
    transpose_gradient(c, &s, io->dw);
}

/* ---- the choice ------------------------------------------------------------------------------ */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t direct_dense_scratch(const weft_conv *c, bool train)
{
    return larger(forward_scratch(c), train ? weft_conv_blas.scratch(c, true) : 0);
}

static size_t direct_sparse_scratch(const weft_conv *c, bool train)
{
    return larger(forward_scratch(c), train ? sparse_scratch(c) : 0);
}

static size_t blas_sparse_scratch(const weft_conv *c, bool train)
{
    return larger(weft_conv_blas.scratch(c, train), train ? sparse_scratch(c) : 0);
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
    static const weft_conv_ops direct_dense = {direct_dense_scratch, direct_forward,
                                               dense_backward};
    static const weft_conv_ops direct_sparse = {direct_sparse_scratch, direct_forward,
                                                sparse_backward};
    static const weft_conv_ops blas_sparse = {blas_sparse_scratch, blas_forward, sparse_backward};
    const size_t most = (size_t)1 << 28; /* offsets are 32 bits */
    const frame f = frame_of(c);
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || f.size > most ||
        f.window > most || c->kh * f.padded * c->cout > most) {
        return NULL;
    }
    const bool direct = c->cout % BLOCK == 0 && f.window <= MAX_WINDOW &&
                        (!c->pooled || c->pool.stride >= c->pool.size);
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
