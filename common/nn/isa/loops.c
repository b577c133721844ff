/* SPDX-License-Identifier: Apache-2.0 */
/* Loops over vectors and rows (nn/tensor.h) and of optimizers. Threads: any. */
#include "nn/isa/isa_priv.h"

#include <math.h>

static void rows_finish(float *restrict y, const float *restrict bias, size_t rows, size_t n,
                        bool relu)
{
    for (size_t row = 0; row < rows; row++, y += n) {
        if (bias) {
            for (size_t i = 0; i < n; i++) {
                y[i] += bias[i];
            }
        }
        if (relu) {
            for (size_t i = 0; i < n; i++) {
                y[i] = y[i] < 0.0F ? 0.0F : y[i];
            }
        }
    }
}

static void relu_back(float *restrict dy, const float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dy[i] = y[i] > 0.0F ? dy[i] : 0.0F;
    }
}

static void blend(float *restrict to, float keep, float scale, const float *restrict g, size_t n)
{
    if (keep == 0.0F) {
        for (size_t i = 0; i < n; i++) {
            to[i] = scale * g[i];
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            to[i] = keep * to[i] + scale * g[i];
        }
    }
}

static void add(float *restrict out, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] += x[i];
    }
}

/* Columns [at, at + VECTORS whole ones) or the last in part: the sums stay in registers. */
INLINE void columns_sum(float *sum, const float *x, size_t rows, size_t n, const size_t vectors,
                        vec_part part)
{
    enum { MOST = 4 };
    vec s[MOST];
    UNROLL
    for (size_t v = 0; v < vectors; v++) {
        s[v] = vectors > 1 ? vec_load(sum + v * LANES) : vec_load_part(sum, part);
    }
    for (size_t row = 0; row < rows; row++, x += n) {
        UNROLL
        for (size_t v = 0; v < vectors; v++) {
            s[v] = vec_add(s[v], vectors > 1 ? vec_load(x + v * LANES) : vec_load_part(x, part));
        }
    }
    UNROLL
    for (size_t v = 0; v < vectors; v++) {
        if (vectors > 1) {
            vec_store(sum + v * LANES, s[v]);
        } else {
            vec_store_part(sum, s[v], part);
        }
    }
}

static void rows_sum(float *sum, const float *x, size_t rows, size_t n)
{
    size_t i = 0;
    for (; i + 4 * (size_t)LANES <= n; i += 4 * (size_t)LANES) {
        columns_sum(sum + i, x + i, rows, n, 4, vec_first(LANES));
    }
    for (; i < n; i += LANES) {
        columns_sum(sum + i, x + i, rows, n, 1, vec_first(n - i < LANES ? n - i : LANES));
    }
}

static void decay(float *restrict g, const float *restrict w, float rate, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g[i] += rate * w[i];
    }
}

static void proximal(float *restrict g, const float *restrict w, const float *restrict base,
                     float mu, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g[i] += mu * (w[i] - base[i]);
    }
}

static void sgd(float *restrict w, const float *restrict g, float rate, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        w[i] -= rate * g[i];
    }
}

static void momentum(float *restrict w, const float *restrict g, float *restrict v, float rate,
                     float keep, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        v[i] = keep * v[i] + g[i];
        w[i] -= rate * v[i];
    }
}

static void adam(float *restrict w, const float *restrict g, float *restrict m, float *restrict v,
                 const weft_adam *restrict a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        m[i] = a->b1 * m[i] + a->c1 * g[i];
        v[i] = a->b2 * v[i] + a->c2 * (g[i] * g[i]);
        w[i] -= a->rate * m[i] / (sqrtf(v[i]) * a->root + a->epsilon);
    }
}

const weft_loops weft_vector_loops = {
    .rows_finish = rows_finish,
    .relu_back = relu_back,
    .rows_sum = rows_sum,
    .blend = blend,
    .add = add,
    .decay = decay,
    .proximal = proximal,
    .sgd = sgd,
    .momentum = momentum,
    .adam = adam,
};
