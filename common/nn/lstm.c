/* SPDX-License-Identifier: Apache-2.0 */
/* The LSTM layer; built with -O3. Threads: any. */
#include "nn/math.h"
#include "nn/recurrent.h"
#include "nn/tensor.h"

#include <string.h>

/* The state: each [steps][n][...], h and c with the zeros before the first step. */
typedef struct memory {
    float *x;      /* [in] */
    float *h;      /* [units], steps + 1 */
    float *c;      /* [units], steps + 1 */
    float *gates;  /* [4 units]: sums, then i f g o, then their gradients */
    float *tanh_c; /* [units] */
} memory;

static memory memory_of(const weft_recurrent *r, float *state, size_t n)
{
    const size_t row = n * r->units;
    memory m;
    m.x = state;
    m.h = m.x + r->steps * n * r->in;
    m.c = m.h + (r->steps + 1) * row;
    m.gates = m.c + (r->steps + 1) * row;
    m.tanh_c = m.gates + r->steps * 4 * row;
    return m;
}

static size_t lstm_state(const weft_recurrent *r, size_t n)
{
    return n * (r->steps * (r->in + 5 * r->units) + 2 * (r->steps + 1) * r->units);
}

/* forward: the bias; backward: W_hh transposed, dh, dc, the bias's gradient, dx by steps */
static size_t lstm_scratch(const weft_recurrent *r, size_t n, bool train)
{
    const size_t backward = 4 * r->units * r->units + 2 * n * r->units + r->steps * n * r->in;
    return 4 * r->units + (train ? backward : 0);
}

/* One example's units at one step. */
static void cell(float *restrict i, float *restrict f, float *restrict g, float *restrict o,
                 float *restrict c, float *restrict tanh_c, float *restrict h,
                 const float *restrict c_before, const float *restrict bias, size_t units)
{
    for (size_t j = 0; j < units; j++) {
        i[j] = weft_sigmoidf(i[j] + bias[j]);
        f[j] = weft_sigmoidf(f[j] + bias[units + j]);
        g[j] = weft_tanhf(g[j] + bias[2 * units + j]);
        o[j] = weft_sigmoidf(o[j] + bias[3 * units + j]);
        c[j] = f[j] * c_before[j] + i[j] * g[j];
        tanh_c[j] = weft_tanhf(c[j]);
        h[j] = o[j] * tanh_c[j];
    }
}

static void lstm_forward(const weft_recurrent *r, const weft_recurrent_forward *io)
{
    const size_t n = io->n;
    const size_t units = r->units;
    const size_t row = n * units;
    const memory m = memory_of(r, io->state, n);
    const float *w_hh = io->w + r->in * 4 * units;
    const float *b = w_hh + units * 4 * units;
    float *bias = io->scratch;
    for (size_t k = 0; k < 4 * units; k++) {
        bias[k] = r->bias ? b[k] + b[4 * units + k] : 0.0F;
    }
    weft_swap_rows(m.x, io->x, n, r->steps, r->in);
    memset(m.h, 0, row * sizeof *m.h);
    memset(m.c, 0, row * sizeof *m.c);
    r->gemm(m.gates, 4 * units, r->steps * n, 4 * units, r->in, 1.0F,
            (weft_mat){m.x, r->in, WEFT_PLAIN}, (weft_mat){io->w, 4 * units, WEFT_PLAIN}, 0.0F);
    for (size_t t = 0; t < r->steps; t++) {
        float *gates = m.gates + t * 4 * row;
        const float *h = m.h + t * row;
        if (t > 0) {
            r->gemm(gates, 4 * units, n, 4 * units, units, 1.0F, (weft_mat){h, units, WEFT_PLAIN},
                    (weft_mat){w_hh, 4 * units, WEFT_PLAIN}, 1.0F);
        }
        for (size_t e = 0; e < n; e++) {
            float *g = gates + e * 4 * units;
            const size_t at = t * row + e * units;
            cell(g, g + units, g + 2 * units, g + 3 * units, m.c + at + row, m.tanh_c + at,
                 m.h + at + row, m.c + at, bias, units);
        }
    }
    weft_swap_rows(io->y, m.h + row, r->steps, n, units);
}

/* Gates become their gradients before the sigmoids and the tanh; dc that of the step before. */
static void cell_back(float *restrict i, float *restrict f, float *restrict g, float *restrict o,
                      float *restrict dc, const float *restrict dh, const float *restrict dy,
                      const float *restrict tanh_c, const float *restrict c_before, size_t units)
{
    for (size_t j = 0; j < units; j++) {
        const float d = dh[j] + dy[j];
        const float in = i[j];
        const float keep = f[j];
        const float new = g[j];
        const float out = o[j];
        const float dcell = dc[j] + d * out * (1.0F - tanh_c[j] * tanh_c[j]);
        i[j] = dcell * new *in *(1.0F - in);
        f[j] = dcell * c_before[j] * keep * (1.0F - keep);
        g[j] = dcell * in * (1.0F - new *new);
        o[j] = d * tanh_c[j] * out * (1.0F - out);
        dc[j] = dcell * keep;
    }
}

/* Through time: m->gates holds the gradients then. */
static void back_through_steps(const weft_recurrent *r, const weft_recurrent_backward *io,
                               const memory *m, const float *w_hh_t, float *dh, float *dc)
{
    const size_t n = io->n;
    const size_t units = r->units;
    const size_t row = n * units;
    memset(dh, 0, row * sizeof *dh);
    memset(dc, 0, row * sizeof *dc);
    for (size_t t = r->steps; t-- > 0;) {
        float *gates = m->gates + t * 4 * row;
        for (size_t e = 0; e < n; e++) {
            float *g = gates + e * 4 * units;
            const size_t at = t * row + e * units;
            cell_back(g, g + units, g + 2 * units, g + 3 * units, dc + e * units, dh + e * units,
                      io->dy + (e * r->steps + t) * units, m->tanh_c + at, m->c + at, units);
        }
        if (t > 0) {
            r->gemm(dh, units, n, units, 4 * units, 1.0F, (weft_mat){gates, 4 * units, WEFT_PLAIN},
                    (weft_mat){w_hh_t, units, WEFT_PLAIN}, 0.0F);
        }
    }
}

static void lstm_backward(const weft_recurrent *r, const weft_recurrent_backward *io)
{
    const size_t n = io->n;
    const size_t units = r->units;
    const size_t rows = r->steps * n;
    const memory m = memory_of(r, io->state, n);
    const size_t w_hh = r->in * 4 * units;
    const size_t bias = w_hh + units * 4 * units;
    float *w_hh_t = io->scratch;
    float *dh = w_hh_t + 4 * units * units;
    float *dc = dh + n * units;
    float *db = dc + n * units;
    float *dx = db + 4 * units;
    weft_transpose(w_hh_t, io->w + w_hh, units, 4 * units);
    back_through_steps(r, io, &m, w_hh_t, dh, dc);
    const weft_mat gates = {m.gates, 4 * units, WEFT_PLAIN};
    if (io->dx) { /* before w may change */
        r->gemm(dx, r->in, rows, r->in, 4 * units, 1.0F, gates,
                (weft_mat){io->w, 4 * units, WEFT_TRANSPOSED}, 0.0F);
        weft_swap_rows(io->dx, dx, r->steps, n, r->in);
    }
    r->gemm(io->to, 4 * units, r->in, 4 * units, rows, io->scale,
            (weft_mat){m.x, r->in, WEFT_TRANSPOSED}, gates, io->keep);
    r->gemm(io->to + w_hh, 4 * units, units, 4 * units, rows, io->scale,
            (weft_mat){m.h, units, WEFT_TRANSPOSED}, gates, io->keep);
    if (r->bias) {
        memset(db, 0, 4 * units * sizeof *db);
        weft_rows_sum(db, m.gates, rows, 4 * units);
        weft_blend(io->to + bias, io->keep, io->scale, db, 4 * units);
        weft_blend(io->to + bias + 4 * units, io->keep, io->scale, db, 4 * units);
    }
}

const weft_recurrent_ops weft_lstm = {lstm_state, lstm_scratch, lstm_forward, lstm_backward};
