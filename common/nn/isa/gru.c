/* SPDX-License-Identifier: Apache-2.0 */
/* The GRU layer. Threads: any. */
#include "nn/isa/isa_priv.h"
#include "nn/math.h"
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

/* Offsets in the scratch of forward. */
typedef struct forward_parts {
    size_t bias; /* [6 units] */
    size_t of_h; /* [n][3 units]: h W_hh of one step */
    size_t ih;   /* W_ih and W_hh in panels */
    size_t hh;
    size_t end;
} forward_parts;

static forward_parts forward_of(const weft_recurrent *r, size_t n)
{
    forward_parts p;
    p.bias = 0;
    p.of_h = p.bias + weft_recurrent_align(6 * r->units);
    p.ih = p.of_h + weft_recurrent_align(3 * n * r->units);
    p.hh = p.ih + weft_recurrent_align(r->panels->size(r->in, 3 * r->units));
    p.end = p.hh + weft_recurrent_align(r->panels->size(r->units, 3 * r->units));
    return p;
}

/* Offsets in the scratch of backward. */
typedef struct backward_parts {
    size_t ih; /* transposed, in panels */
    size_t rz; /* W_hh of the two gates r and z, so */
    size_t hn; /* W_hn, so */
    size_t dh; /* [n][units] */
    size_t db; /* [6 units] */
    size_t end;
} backward_parts;

static backward_parts backward_of(const weft_recurrent *r, size_t n)
{
    backward_parts p;
    p.ih = 0;
    p.rz = p.ih + weft_recurrent_align(r->panels->size(3 * r->units, r->in));
    p.hn = p.rz + weft_recurrent_align(r->panels->size(2 * r->units, r->units));
    p.dh = p.hn + weft_recurrent_align(r->panels->size(r->units, r->units));
    p.db = p.dh + weft_recurrent_align(n * r->units);
    p.end = p.db + weft_recurrent_align(6 * r->units);
    return p;
}

static size_t gru_scratch(const weft_recurrent *r, size_t n, bool train)
{
    const size_t forward = forward_of(r, n).end;
    const size_t backward = backward_of(r, n).end;
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

static void forward_open(const weft_recurrent *r, const weft_recurrent_forward *io, uint32_t index,
                         uint32_t n_threads)
{
    const size_t gates = 3 * r->units;
    const float *w_hh = io->w + r->in * gates;
    const forward_parts p = forward_of(r, io->n);
    float *bias = io->scratch + p.bias;
    if (index == 0) {
        memset(bias, 0, 2 * gates * sizeof *bias);
        if (r->bias) {
            memcpy(bias, w_hh + r->units * gates, 2 * gates * sizeof *bias);
        }
        r->panels->pack(io->scratch + p.hh, r->units, gates, (weft_mat){w_hh, gates, WEFT_PLAIN});
    }
    if (index == n_threads - 1) {
        r->panels->pack(io->scratch + p.ih, r->in, gates, (weft_mat){io->w, gates, WEFT_PLAIN});
    }
}

/* All steps of some examples. */
static void forward_steps(const weft_recurrent *r, const weft_recurrent_forward *io, uint32_t index,
                          uint32_t n_threads)
{
    const size_t units = r->units;
    const size_t row = io->n * units;
    const memory m = memory_of(r, io->state, io->n);
    const forward_parts p = forward_of(r, io->n);
    const weft_recurrent_share mine = weft_share_examples(io->n, index, n_threads);
    const size_t rows = mine.last - mine.first;
    const size_t first = mine.first * units;
    float *of_h = io->scratch + p.of_h + 3 * first;
    weft_by_steps(m.x, io->x, io->n, r->steps, r->in, mine);
    memset(m.h + first, 0, rows * units * sizeof *m.h);
    memset(of_h, 0, 3 * rows * units * sizeof *of_h); /* of the first step */
    for (size_t e = mine.first; e < mine.last; e++) { /* x W_ih of all steps */
        r->panels->multiply(m.gates + e * 3 * units, 3 * row, r->steps, 3 * units, r->in,
                            io->x + e * r->steps * r->in, r->in, io->scratch + p.ih, false);
    }
    for (size_t t = 0; t < r->steps; t++) {
        if (t > 0) {
            r->panels->multiply(of_h, 3 * units, rows, 3 * units, units, m.h + t * row + first,
                                units, io->scratch + p.hh, false);
        }
        for (size_t e = mine.first; e < mine.last; e++) {
            const size_t at = t * row + e * units;
            float *g = m.gates + 3 * at;
            cell(g, g + units, g + 2 * units, m.hn + at, m.h + at + row, m.h + at,
                 of_h + (e - mine.first) * 3 * units, io->scratch + p.bias, units);
        }
    }
    weft_by_examples(io->y, m.h + row, io->n, r->steps, units, mine);
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

static void backward_open(const weft_recurrent *r, const weft_recurrent_backward *io,
                          uint32_t index, uint32_t n_threads)
{
    const size_t units = r->units;
    const size_t gates = 3 * units;
    const float *w_hh = io->w + r->in * gates;
    const backward_parts p = backward_of(r, io->n);
    if (index == 0) {
        r->panels->pack(io->scratch + p.rz, 2 * units, units,
                        (weft_mat){w_hh, gates, WEFT_TRANSPOSED});
        r->panels->pack(io->scratch + p.hn, units, units,
                        (weft_mat){w_hh + 2 * units, gates, WEFT_TRANSPOSED});
    }
    if (index == n_threads - 1 && io->dx) {
        r->panels->pack(io->scratch + p.ih, gates, r->in,
                        (weft_mat){io->w, gates, WEFT_TRANSPOSED});
    }
}

/* Some examples through time: their gates and hn hold the gradients then. */
static void backward_steps(const weft_recurrent *r, const weft_recurrent_backward *io,
                           uint32_t index, uint32_t n_threads)
{
    const size_t units = r->units;
    const size_t row = io->n * units;
    const memory m = memory_of(r, io->state, io->n);
    const backward_parts p = backward_of(r, io->n);
    const weft_recurrent_share mine = weft_share_examples(io->n, index, n_threads);
    const size_t rows = mine.last - mine.first;
    const size_t first = mine.first * units;
    float *dh = io->scratch + p.dh;
    memset(dh + first, 0, rows * units * sizeof *dh);
    for (size_t t = r->steps; t-- > 0;) {
        for (size_t e = mine.first; e < mine.last; e++) {
            const size_t at = t * row + e * units;
            float *g = m.gates + 3 * at;
            cell_back(g, g + units, g + 2 * units, m.hn + at, dh + e * units,
                      io->dy + (e * r->steps + t) * units, m.h + at, units);
        }
        if (t > 0) {
            const size_t at = t * row + first;
            r->panels->multiply(dh + first, units, rows, units, 2 * units, m.gates + 3 * at,
                                3 * units, io->scratch + p.rz, true);
            r->panels->multiply(dh + first, units, rows, units, units, m.hn + at, units,
                                io->scratch + p.hn, true);
        }
    }
    for (size_t e = mine.first; io->dx && e < mine.last; e++) {
        r->panels->multiply(io->dx + e * r->steps * r->in, r->in, r->steps, r->in, 3 * units,
                            m.gates + e * 3 * units, 3 * row, io->scratch + p.ih, false);
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

/* Some rows of both weights' gradients, and the biases'. */
static void backward_weights(const weft_recurrent *r, const weft_recurrent_backward *io,
                             uint32_t index, uint32_t n_threads)
{
    const size_t units = r->units;
    const size_t rows = r->steps * io->n;
    const memory m = memory_of(r, io->state, io->n);
    const weft_mat gates = {m.gates, 3 * units, WEFT_PLAIN};
    float *to_hh = io->to + r->in * 3 * units;
    weft_recurrent_share mine = weft_share_weights(r->in, index, n_threads);
    if (mine.first < mine.last) {
        r->gemm(io->to + mine.first * 3 * units, 3 * units, mine.last - mine.first, 3 * units, rows,
                io->scale, (weft_mat){m.x + mine.first, r->in, WEFT_TRANSPOSED}, gates, io->keep);
    }
    mine = weft_share_weights(units, index, n_threads);
    if (mine.first < mine.last) {
        const size_t n = mine.last - mine.first;
        const weft_mat h = {m.h + mine.first, units, WEFT_TRANSPOSED};
        float *to = to_hh + mine.first * 3 * units;
        r->gemm(to, 3 * units, n, 2 * units, rows, io->scale, h, gates, io->keep);
        r->gemm(to + 2 * units, 3 * units, n, units, rows, io->scale, h,
                (weft_mat){m.hn, units, WEFT_PLAIN}, io->keep);
    }
    if (r->bias && index == 0) {
        bias_back(r, io, &m, io->scratch + backward_of(r, io->n).db, to_hh + units * 3 * units);
    }
}

const weft_recurrent_ops weft_gru = {gru_state,
                                     gru_scratch,
                                     {forward_open, forward_steps},
                                     {backward_open, backward_steps, backward_weights}};
