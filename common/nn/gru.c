/* SPDX-License-Identifier: Apache-2.0 */
/* The GRU layer; built with -O3. Threads: any. */
#include "nn/math.h"
#include "nn/recurrent.h"
#include "nn/tensor.h"

#include <string.h>

/* The state: each [steps][n][...], h with the zeros before the first step. */
typedef struct memory {
    float *x;     /* [in] */
    float *h;     /* [units], steps + 1 */
    float *gates; /* [3 units]: x W_ih, then r z n, then their gradients */
    float *hn;    /* [units]: h W_hn + b_hn, then its gradient */
} memory;

static memory memory_of(const weft_recurrent *r, float *state, size_t n)
{
    const size_t row = n * r->units;
    memory m;
    m.x = state;
    m.h = m.x + r->steps * n * r->in;
    m.gates = m.h + (r->steps + 1) * row;
    m.hn = m.gates + r->steps * 3 * row;
    return m;
}

static size_t gru_state(const weft_recurrent *r, size_t n)
{
    return n * (r->steps * (r->in + 4 * r->units) + (r->steps + 1) * r->units);
}

/* forward: the biases, h W_hh of one step; backward: W_hh transposed, dh, the biases' gradients,
 * dx by steps */
static size_t gru_scratch(const weft_recurrent *r, size_t n, bool train)
{
    const size_t forward = 6 * r->units + 3 * n * r->units;
    const size_t backward =
        3 * r->units * r->units + n * r->units + 6 * r->units + (r->steps * n * r->in);
    return train && backward > forward ? backward : forward;
}

/* One example's units at one step; of_h is h W_hh. */
static void cell(float *restrict r, float *restrict z, float *restrict new, float *restrict hn,
                 float *restrict h, const float *restrict before, const float *restrict of_h,
                 const float *restrict bias, size_t units)
{
    const float *of_h_bias = bias + 3 * units;
    for (size_t j = 0; j < units; j++) {
        r[j] = weft_sigmoidf((r[j] + bias[j]) + (of_h[j] + of_h_bias[j]));
        z[j] = weft_sigmoidf((z[j] + bias[units + j]) + (of_h[units + j] + of_h_bias[units + j]));
        hn[j] = of_h[2 * units + j] + of_h_bias[2 * units + j];
        new[j] = weft_tanhf((new[j] + bias[2 * units + j]) + r[j] * hn[j]);
        h[j] = (1.0F - z[j]) * new[j] + z[j] * before[j];
    }
}

static void gru_forward(const weft_recurrent *r, const weft_recurrent_forward *io)
{
    const size_t n = io->n;
    const size_t units = r->units;
    const size_t row = n * units;
    const memory m = memory_of(r, io->state, n);
    const float *w_hh = io->w + r->in * 3 * units;
    float *bias = io->scratch;
    float *of_h = bias + 6 * units;
    memset(bias, 0, (6 * units + 3 * row) * sizeof *bias); /* of_h of the first step, too */
    if (r->bias) {
        memcpy(bias, w_hh + units * 3 * units, 6 * units * sizeof *bias);
    }
    weft_swap_rows(m.x, io->x, n, r->steps, r->in);
    memset(m.h, 0, row * sizeof *m.h);
    r->gemm(m.gates, 3 * units, r->steps * n, 3 * units, r->in, 1.0F,
            (weft_mat){m.x, r->in, WEFT_PLAIN}, (weft_mat){io->w, 3 * units, WEFT_PLAIN}, 0.0F);
    for (size_t t = 0; t < r->steps; t++) {
        if (t > 0) {
            r->gemm(of_h, 3 * units, n, 3 * units, units, 1.0F,
                    (weft_mat){m.h + t * row, units, WEFT_PLAIN},
                    (weft_mat){w_hh, 3 * units, WEFT_PLAIN}, 0.0F);
        }
        for (size_t e = 0; e < n; e++) {
            const size_t at = t * row + e * units;
            float *g = m.gates + 3 * at;
            cell(g, g + units, g + 2 * units, m.hn + at, m.h + at + row, m.h + at,
                 of_h + e * 3 * units, bias, units);
        }
    }
    weft_swap_rows(io->y, m.h + row, r->steps, n, units);
}

/* Gates and hn become their gradients; dh what goes to the step before past the products. */
static void cell_back(float *restrict r, float *restrict z, float *restrict new, float *restrict hn,
                      float *restrict dh, const float *restrict dy, const float *restrict before,
                      size_t units)
{
    for (size_t j = 0; j < units; j++) {
        const float d = dh[j] + dy[j];
        const float reset = r[j];
        const float keep = z[j];
        const float dnew = d * (1.0F - keep) * (1.0F - new[j] * new[j]);
        z[j] = d * (before[j] - new[j]) * keep * (1.0F - keep);
        r[j] = dnew * hn[j] * reset * (1.0F - reset);
        new[j] = dnew;
        hn[j] = dnew * reset;
        dh[j] = d * keep;
    }
}

static void back_through_steps(const weft_recurrent *r, const weft_recurrent_backward *io,
                               const memory *m, const float *w_hh_t, float *dh)
{
    const size_t n = io->n;
    const size_t units = r->units;
    const size_t row = n * units;
    memset(dh, 0, row * sizeof *dh);
    for (size_t t = r->steps; t-- > 0;) {
        for (size_t e = 0; e < n; e++) {
            const size_t at = t * row + e * units;
            float *g = m->gates + 3 * at;
            cell_back(g, g + units, g + 2 * units, m->hn + at, dh + e * units,
                      io->dy + (e * r->steps + t) * units, m->h + at, units);
        }
        if (t > 0) {
            r->gemm(dh, units, n, units, 2 * units, 1.0F,
                    (weft_mat){m->gates + 3 * t * row, 3 * units, WEFT_PLAIN},
                    (weft_mat){w_hh_t, units, WEFT_PLAIN}, 1.0F);
            r->gemm(dh, units, n, units, units, 1.0F,
                    (weft_mat){m->hn + t * row, units, WEFT_PLAIN},
                    (weft_mat){w_hh_t + 2 * units * units, units, WEFT_PLAIN}, 1.0F);
        }
    }
}

static void bias_back(const weft_recurrent *r, const weft_recurrent_backward *io, const memory *m,
                      float *db, float *to)
{
    const size_t units = r->units;
    const size_t rows = r->steps * io->n;
    memset(db, 0, 6 * units * sizeof *db);
    weft_rows_sum(db, m->gates, rows, 3 * units);
    memcpy(db + 3 * units, db, 2 * units * sizeof *db);
    weft_rows_sum(db + 5 * units, m->hn, rows, units);
    weft_blend(to, io->keep, io->scale, db, 6 * units);
}

static void gru_backward(const weft_recurrent *r, const weft_recurrent_backward *io)
{
    const size_t n = io->n;
    const size_t units = r->units;
    const size_t rows = r->steps * n;
    const memory m = memory_of(r, io->state, n);
    const size_t w_hh = r->in * 3 * units;
    float *w_hh_t = io->scratch;
    float *dh = w_hh_t + 3 * units * units;
    float *db = dh + n * units;
    float *dx = db + 6 * units;
    weft_transpose(w_hh_t, io->w + w_hh, units, 3 * units);
    back_through_steps(r, io, &m, w_hh_t, dh);
    const weft_mat gates = {m.gates, 3 * units, WEFT_PLAIN};
    const weft_mat h = {m.h, units, WEFT_TRANSPOSED};
    if (io->dx) { /* before w may change */
        r->gemm(dx, r->in, rows, r->in, 3 * units, 1.0F, gates,
                (weft_mat){io->w, 3 * units, WEFT_TRANSPOSED}, 0.0F);
        weft_swap_rows(io->dx, dx, r->steps, n, r->in);
    }
    r->gemm(io->to, 3 * units, r->in, 3 * units, rows, io->scale,
            (weft_mat){m.x, r->in, WEFT_TRANSPOSED}, gates, io->keep);
    r->gemm(io->to + w_hh, 3 * units, units, 2 * units, rows, io->scale, h, gates, io->keep);
    r->gemm(io->to + w_hh + 2 * units, 3 * units, units, units, rows, io->scale, h,
            (weft_mat){m.hn, units, WEFT_PLAIN}, io->keep);
    if (r->bias) {
        bias_back(r, io, &m, db, io->to + w_hh + units * 3 * units);
    }
}

const weft_recurrent_ops weft_gru = {gru_state, gru_scratch, gru_forward, gru_backward};
