/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fully connected layer for small batches on processors with AVX2 and FMA (chosen at run time;
 * built with -O3). A batch of ten uses each weight ten times only: sgemm then spends as much time
 * on packing the weights as on multiplying. Here nothing is packed: forward reads the weights once,
 * and backward reads and writes them once, for both gradients.
 *
 * Every output value is summed in the order of the index (forward, gradient of the weights) or in
 * eight lanes and one tree (gradient of the input), whatever the batch. Threads: any.
 */
#include "nn/dense.h"

#if defined(__x86_64__)

#include "nn/tensor.h"
#include "nn/unroll.h"

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2,fma")))

enum {
    LANES = 8,
    PANEL = 6,  /* vectors of outputs side by side: 2 rows x 6 sums */
    DEPTH = 64, /* inputs at once: their weights, 64 x 48, stay in the first cache */
    DOTS = 5    /* rows of the batch at once in dot products: 2 x 5 sums */
};

/* ---- forward --------------------------------------------------------------------------------- */

typedef struct panel {
    float *y;       /* at the panel's first output */
    const float *x; /* at the first input of this depth */
    const float *w; /* at both */
    size_t in;      /* values of a row of x */
    size_t out;     /* of y and of w */
    size_t depth;
    bool first;        /* y is not yet written */
    const float *next; /* the weights of the panel behind this one, to be fetched meanwhile */
    float *copy;       /* [depth][8 * vectors]: rows of w are often powers of two apart, which */
} panel;               /* caches hold few of; the first tile copies them, the others read that */

/* Lanes 0 .. n - 1 of a vector. */
AVX2 INLINE __m256i first_lanes(size_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}

AVX2 INLINE __m256 load(const float *p, const bool part, __m256i mask)
{
    return part ? _mm256_maskload_ps(p, mask) : _mm256_loadu_ps(p);
}

AVX2 INLINE void store(float *p, __m256 v, const bool part, __m256i mask)
{
    if (part) {
        _mm256_maskstore_ps(p, mask, v);
    } else {
        _mm256_storeu_ps(p, v);
    }
}

/*
 * The sums of a tile over the panel's inputs. One weight at a time: 12 sums leave four registers.
 * Processors do not foresee the jumps from row to row: the first tile (copying) also fetches the
 * next panel.
 */
AVX2 INLINE void forward_sums(__m256 sum[2][PANEL], const panel *p, const float *x,
                              const size_t rows, const size_t n, const bool part, __m256i mask,
                              const bool copying)
{
    const float *w = p->w;
    const float *next = p->next;
    float *copy = p->copy;
    for (size_t k = 0; k < p->depth; k++, x++, w += p->out, next += p->out, copy += n * LANES) {
        __m256 v[2];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            v[r] = _mm256_broadcast_ss(x + r * p->in);
        }
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m256 weight =
                copying ? load(w + i * LANES, part, mask) : _mm256_load_ps(copy + i * LANES);
            LOADED(weight);
            if (copying) {
                _mm256_store_ps(copy + i * LANES, weight);
                _mm_prefetch((const char *)(next + i * LANES), _MM_HINT_T1);
            }
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                sum[r][i] = _mm256_fmadd_ps(v[r], weight, sum[r][i]);
            }
        }
    }
}

/* rows x (8 * n) outputs; the mask is of the last vector (part) only. */
AVX2 INLINE void forward_tile(const panel *p, size_t row, const size_t rows, const size_t n,
                              const bool part, __m256i mask, const bool copying)
{
    __m256 sum[2][PANEL];
    float *y = p->y + row * p->out;
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t i = 0; i < n; i++) {
            sum[r][i] =
                p->first ? _mm256_setzero_ps() : load(y + r * p->out + i * LANES, part, mask);
        }
    }
    forward_sums(sum, p, p->x + row * p->in, rows, n, part, mask, copying);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t i = 0; i < n; i++) {
            store(y + r * p->out + i * LANES, sum[r][i], part, mask);
        }
    }
}

/* All rows of a panel of n vectors. */
AVX2 INLINE void forward_rows(const panel *p, size_t rows, const size_t n, const bool part,
                              __m256i mask)
{
    if (rows == 1) {
        forward_tile(p, 0, 1, n, part, mask, true);
        return;
    }
    forward_tile(p, 0, 2, n, part, mask, true);
    size_t row = 2;
    for (; row + 2 <= rows; row += 2) {
        forward_tile(p, row, 2, n, part, mask, false);
    }
    if (row < rows) {
        forward_tile(p, row, 1, n, part, mask, false);
    }
}

AVX2 static void forward_panel(const panel *p, size_t rows, size_t outputs)
{
    const __m256i none = _mm256_setzero_si256();
    switch (outputs / LANES) {
    case 0:
        forward_rows(p, rows, 1, true, first_lanes(outputs));
        break;
    case 1:
        forward_rows(p, rows, 1, false, none);
        break;
    case 2:
        forward_rows(p, rows, 2, false, none);
        break;
    case 3:
        forward_rows(p, rows, 3, false, none);
        break;
    case 4:
        forward_rows(p, rows, 4, false, none);
        break;
    case 5:
        forward_rows(p, rows, 5, false, none);
        break;
    default:
        forward_rows(p, rows, PANEL, false, none);
        break;
    }
}

/* Outputs of the next panel: as wide as it goes, then whole vectors, then the rest. */
static size_t panel_width(size_t left)
{
    const size_t vectors = left / LANES;
    return vectors >= PANEL ? (size_t)PANEL * LANES : vectors > 0 ? vectors * LANES : left;
}

void weft_dense_forward_avx2(const weft_dense *d, float *y, const float *x, const float *w,
                             const float *bias, uint32_t n)
{
    _Alignas(LANES * sizeof(float)) float copy[DEPTH * PANEL * LANES];
    for (size_t k = 0; k < d->in; k += DEPTH) {
        const size_t depth = d->in - k < DEPTH ? d->in - k : DEPTH;
        for (size_t at = 0; at < d->out;) {
            const size_t width = panel_width(d->out - at);
            const float *here = w + k * d->out + at;
            const bool last = at + width == d->out;
            const panel p = {.y = y + at,
                             .x = x + k,
                             .w = here,
                             .in = d->in,
                             .out = d->out,
                             .depth = depth,
                             .first = k == 0,
                             .copy = copy,
                             .next = !last               ? here + width
                                     : k + depth < d->in ? w + (k + depth) * d->out
                                                         : w};
            forward_panel(&p, n, width);
            at += width;
        }
    }
    weft_rows_finish(y, bias, n, d->out, d->relu);
}

/* ---- backward -------------------------------------------------------------------------------- */

typedef struct backward_job {
    float *dx;       /* [n][in], or NULL */
    const float *dy; /* [n][out] */
    const float *x;  /* [n][in] */
    const float *w;  /* [in][out] */
    float *to;       /* [in][out] */
    size_t n, in, out;
    float keep, scale;
} backward_job;

AVX2 INLINE float sum_of(__m256 v)
{
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
}

/* dx[first .. first + rows)[i .. i + inputs): dot products of rows of dy and rows of w. */
AVX2 INLINE void dots(const backward_job *j, size_t i, size_t first, const size_t inputs,
                      const size_t rows)
{
    __m256 sum[2][DOTS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        sum[0][r] = _mm256_setzero_ps();
        sum[1][r] = _mm256_setzero_ps();
    }
    const float *dy = j->dy + first * j->out;
    const float *w = j->w + i * j->out;
    const size_t whole = j->out / LANES * LANES;
    for (size_t k = 0; k < whole; k += LANES) {
        __m256 weight[2];
        UNROLL
        for (size_t s = 0; s < inputs; s++) {
            weight[s] = _mm256_loadu_ps(w + s * j->out + k);
            LOADED(weight[s]);
        }
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            __m256 v = _mm256_loadu_ps(dy + r * j->out + k);
            LOADED(v);
            UNROLL
            for (size_t s = 0; s < inputs; s++) {
                sum[s][r] = _mm256_fmadd_ps(v, weight[s], sum[s][r]);
            }
        }
    }
    if (whole < j->out) {
        const __m256i mask = first_lanes(j->out - whole);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            const __m256 v = _mm256_maskload_ps(dy + r * j->out + whole, mask);
            UNROLL
            for (size_t s = 0; s < inputs; s++) {
                const __m256 weight = _mm256_maskload_ps(w + s * j->out + whole, mask);
                sum[s][r] = _mm256_fmadd_ps(v, weight, sum[s][r]);
            }
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t s = 0; s < inputs; s++) {
            j->dx[(first + r) * j->in + i + s] = sum_of(sum[s][r]);
        }
    }
}

AVX2 INLINE void all_dots(const backward_job *j, size_t i, const size_t inputs)
{
    size_t row = 0;
    for (; row + DOTS <= j->n; row += DOTS) {
        dots(j, i, row, inputs, DOTS);
    }
    for (; row + 2 <= j->n; row += 2) {
        dots(j, i, row, inputs, 2);
    }
    if (row < j->n) {
        dots(j, i, row, inputs, 1);
    }
}

/* sum = the gradient of weights [inputs][8 * n] at (i, at): over rows, x * dy. */
AVX2 INLINE void update_sums(__m256 sum[2][PANEL], const backward_job *j, size_t i, size_t at,
                             const size_t inputs, const size_t n, const bool part, __m256i mask)
{
    const float *x = j->x + i;
    const float *dy = j->dy + at;
    for (size_t row = 0; row < j->n; row++, x += j->in, dy += j->out) {
        __m256 value[2];
        UNROLL
        for (size_t s = 0; s < inputs; s++) {
            value[s] = _mm256_broadcast_ss(x + s);
        }
        UNROLL
        for (size_t v = 0; v < n; v++) {
            __m256 g = load(dy + v * LANES, part, mask);
            LOADED(g);
            UNROLL
            for (size_t s = 0; s < inputs; s++) {
                sum[s][v] = _mm256_fmadd_ps(value[s], g, sum[s][v]);
            }
        }
    }
}

/* to[i .. i + inputs)[at .. at + 8 * n) = keep * to + scale * gradient */
AVX2 INLINE void update_tile(const backward_job *j, size_t i, size_t at, const size_t inputs,
                             const size_t n, const bool part, __m256i mask)
{
    __m256 sum[2][PANEL];
    UNROLL
    for (size_t v = 0; v < n; v++) {
        sum[0][v] = _mm256_setzero_ps();
        sum[1][v] = _mm256_setzero_ps();
    }
    update_sums(sum, j, i, at, inputs, n, part, mask);
    const __m256 scale = _mm256_set1_ps(j->scale);
    const __m256 keep = _mm256_set1_ps(j->keep);
    UNROLL
    for (size_t s = 0; s < inputs; s++) {
        float *to = j->to + (i + s) * j->out + at;
        UNROLL
        for (size_t v = 0; v < n; v++, to += LANES) {
            __m256 result = _mm256_mul_ps(scale, sum[s][v]);
            if (j->keep != 0.0F) { /* else what is there may be anything */
                result = _mm256_fmadd_ps(keep, load(to, part, mask), result);
            }
            store(to, result, part, mask);
        }
    }
}

AVX2 INLINE void update_panel(const backward_job *j, size_t i, size_t at, size_t width,
                              const size_t inputs)
{
    const __m256i none = _mm256_setzero_si256();
    switch (width / LANES) {
    case 0:
        update_tile(j, i, at, inputs, 1, true, first_lanes(width));
        break;
    case 1:
        update_tile(j, i, at, inputs, 1, false, none);
        break;
    case 2:
        update_tile(j, i, at, inputs, 2, false, none);
        break;
    case 3:
        update_tile(j, i, at, inputs, 3, false, none);
        break;
    case 4:
        update_tile(j, i, at, inputs, 4, false, none);
        break;
    case 5:
        update_tile(j, i, at, inputs, 5, false, none);
        break;
    default:
        update_tile(j, i, at, inputs, PANEL, false, none);
        break;
    }
}

/* The dot products first: `to` may be w. */
AVX2 INLINE void backward_inputs(const backward_job *j, size_t i, const size_t inputs)
{
    if (j->dx) {
        all_dots(j, i, inputs);
    }
    for (size_t at = 0; at < j->out;) {
        const size_t width = panel_width(j->out - at);
        update_panel(j, i, at, width, inputs);
        at += width;
    }
}

AVX2 static void backward_all(const backward_job *j)
{
    size_t i = 0;
    for (; i + 2 <= j->in; i += 2) {
        backward_inputs(j, i, 2);
    }
    if (i < j->in) {
        backward_inputs(j, i, 1);
    }
}

void weft_dense_backward_avx2(const weft_dense *d, float *dx, const float *dy, const float *x,
                              const float *w, uint32_t n, float *weight_to, float keep, float scale)
{
    backward_job job = {.dy = dy, .x = x, .w = w, .n = n, .in = d->in, .out = d->out};
    job.dx = dx;
    job.to = weight_to;
    job.keep = keep;
    job.scale = scale;
    backward_all(&job);
}

bool weft_dense_has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#else

/* Never called: weft_dense_has_avx2 says no. */
void weft_dense_forward_avx2(const weft_dense *d, float *y, const float *x, const float *w,
                             const float *bias, uint32_t n)
{
    weft_dense_forward(d, y, x, w, bias, n);
}

void weft_dense_backward_avx2(const weft_dense *d, float *dx, const float *dy, const float *x,
                              const float *w, uint32_t n, float *weight_to, float keep, float scale)
{
    (void)d;
    (void)dx;
    (void)dy;
    (void)x;
    (void)w;
    (void)n;
    (void)weight_to;
    (void)keep;
    (void)scale;
}

bool weft_dense_has_avx2(void)
{
    return false;
}

#endif
