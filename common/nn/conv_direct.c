/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct convolution for processors with AVX2 and FMA (chosen at run time; built with -O3): no
 * columns. Weights are packed into blocks of 16 filters; up to 6 pixels x 16 filters stay in
 * registers. Bias, relu and pool follow while a block of rows is in the first cache.
 *
 * Every output value is summed in the order of the window, by one thread. Threads: any.
 */
#include "nn/conv_avx2_priv.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum {
    BLOCK = 16,       /* filters in one block: two vectors */
    PIXELS = 6,       /* 6 x 2 sums, 2 weights and 1 pixel: 15 of 16 registers */
    MAX_WINDOW = 6000 /* values of a window: a block's weights stay in the second cache */
};

bool weft_conv_direct_fits(const weft_conv *c)
{
    return c->cout % BLOCK == 0 && weft_frame_of(c).window <= MAX_WINDOW &&
           (!c->pooled || c->pool.stride >= c->pool.size);
}

/* packed weights [cout / 16][window][16], framed image, rows of one pool window [size][ow][16] */
size_t weft_conv_direct_scratch(const weft_conv *c)
{
    const weft_frame f = weft_frame_of(c);
    return weft_frame_align(f.window * c->cout) + weft_frame_align(f.size) +
           (c->pooled ? weft_frame_align((size_t)c->pool.size * c->ow * BLOCK) : 0);
}

static void pack_weights(const weft_conv *c, const weft_frame *f, float *packed, const float *w)
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

AVX2 INLINE void conv_pixels(const row_job *job, size_t first, const size_t n)
{
    __m256 sum[PIXELS][2];
    const __m256 bias0 = job->bias ? _mm256_loadu_ps(job->bias) : _mm256_setzero_ps();
    const __m256 bias1 = job->bias ? _mm256_loadu_ps(job->bias + WEFT_LANES) : _mm256_setzero_ps();
    UNROLL
    for (size_t p = 0; p < n; p++) {
        sum[p][0] = bias0;
        sum[p][1] = bias1;
    }
    const size_t step = job->x_step;
    const float *w = job->w;
    for (size_t ky = 0; ky < job->kh; ky++) {
        const float *x = job->x + first * step + ky * job->x_row;
        for (size_t k = 0; k < job->length; k++, x++, w += BLOCK) {
            const __m256 w0 = _mm256_loadu_ps(w);
            const __m256 w1 = _mm256_loadu_ps(w + WEFT_LANES);
            UNROLL
            for (size_t p = 0; p < n; p++) {
                const __m256 v = _mm256_broadcast_ss(x + p * step);
                sum[p][0] = _mm256_fmadd_ps(v, w0, sum[p][0]);
                sum[p][1] = _mm256_fmadd_ps(v, w1, sum[p][1]);
            }
        }
    }
    UNROLL
    for (size_t p = 0; p < n; p++) {
        float *y = job->y + (first + p) * job->y_step;
        if (job->relu) { /* the second operand is returned for NaN: it stays */
            sum[p][0] = _mm256_max_ps(_mm256_setzero_ps(), sum[p][0]);
            sum[p][1] = _mm256_max_ps(_mm256_setzero_ps(), sum[p][1]);
        }
        _mm256_storeu_ps(y, sum[p][0]);
        _mm256_storeu_ps(y + WEFT_LANES, sum[p][1]);
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
        __m256 best[2] = {_mm256_loadu_ps(window), _mm256_loadu_ps(window + WEFT_LANES)};
        __m256i won[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (size_t k = 1; k < (size_t)pool->size * pool->size; k++) {
            const float *v = window + (k / pool->size * c->ow + k % pool->size) * BLOCK;
            for (size_t i = 0; i < 2; i++) {
                const __m256 value = _mm256_loadu_ps(v + i * WEFT_LANES);
                const __m256 more = _mm256_cmp_ps(value, best[i], _CMP_GT_OQ);
                best[i] = _mm256_blendv_ps(best[i], value, more);
                won[i] = _mm256_blendv_epi8(won[i], _mm256_set1_epi32((int)k),
                                            _mm256_castps_si256(more));
            }
        }
        for (size_t i = 0; i < 2 && c->relu; i++) {
            const __m256i open = _mm256_castps_si256(_mm256_cmp_ps(best[i], zero, _CMP_GT_OQ));
            won[i] = _mm256_blendv_epi8(_mm256_set1_epi32(WEFT_POOL_DEAD), won[i], open);
            best[i] = _mm256_max_ps(zero, best[i]);
        }
        _mm256_storeu_ps(y, best[0]);
        _mm256_storeu_ps(y + WEFT_LANES, best[1]);
        if (slot) {
            const __m256i pairs = _mm256_packs_epi32(won[0], won[1]);
            const __m256i words = _mm256_permute4x64_epi64(pairs, 0xd8);
            const __m128i bytes =
                _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
            memcpy(slot, &bytes, sizeof bytes);
        }
    }
}

static void conv_image(const weft_conv *c, const weft_frame *f, row_job job, float *y)
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

static void conv_image_pooled(const weft_conv *c, const weft_frame *f, row_job job, float *y,
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

void weft_conv_direct_forward(const weft_conv *c, const weft_conv_forward *io)
{
    const weft_frame f = weft_frame_of(c);
    float *packed = io->scratch;
    float *framed = packed + weft_frame_align(f.window * c->cout);
    float *rows = framed + weft_frame_align(f.size);
    pack_weights(c, &f, packed, io->w);
    if (f.framed) {
        memset(framed, 0, f.size * sizeof *framed);
    }
    for (uint32_t image = 0; image < io->n; image++) {
        const float *x = io->x + (size_t)image * c->h * c->w * c->cin;
        if (f.framed) {
            weft_frame_fill(c, &f, framed, x);
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

#endif
