/* SPDX-License-Identifier: Apache-2.0 */
/* The LSTM layer. Threads: any. */
#include "nn/isa/isa_priv.h"
#include "nn/math.h"
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

/* Offsets in the scratch of forward. */
typedef struct forward_parts {
    size_t bias; /* [4 units]: the sum of both */
    size_t ih;   /* W_ih and W_hh in panels */
    size_t hh;
    size_t end;
} forward_parts;

static forward_parts forward_of(const weft_recurrent *r)
{
    forward_parts p;
    p.bias = 0;
    p.ih = p.bias + weft_recurrent_align(4 * r->units);
    p.hh = p.ih + weft_recurrent_align(r->panels->size(r->in, 4 * r->units));
    p.end = p.hh + weft_recurrent_align(r->panels->size(r->units, 4 * r->units));
    return p;
}

/* Offsets in the scratch of backward. */
typedef struct backward_parts {
    size_t ih; /* both transposed, in panels */
    size_t hh;
    size_t dh; /* [n][units] */
    size_t dc;
    size_t db; /* [4 units] */
    size_t end;
} backward_parts;

static backward_parts backward_of(const weft_recurrent *r, size_t n)
{
    const size_t row = weft_recurrent_align(n * r->units);
    backward_parts p;
    p.ih = 0;
    p.hh = p.ih + weft_recurrent_align(r->panels->size(4 * r->units, r->in));
    p.dh = p.hh + weft_recurrent_align(r->panels->size(4 * r->units, r->units));
    p.dc = p.dh + row;
    p.db = p.dc + row;
    p.end = p.db + weft_recurrent_align(4 * r->units);
    return p;
}

static size_t lstm_scratch(const weft_recurrent *r, size_t n, bool train)
{
    const size_t forward = forward_of(r).end;
    const size_t backward = backward_of(r, n).end;
    return train && backward > forward ? backward : forward;
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

static void forward_open(const weft_recurrent *r, const weft_recurrent_forward *io, uint32_t index,
                         uint32_t n_threads)
{
    const size_t gates = 4 * r->units;
    const float *w_hh = io->w + r->in * gates;
    const float *b = w_hh + r->units * gates;
    const forward_parts p = forward_of(r);
    float *bias = io->scratch + p.bias;
    if (index == 0) {
        for (size_t k = 0; k < gates; k++) {
            bias[k] = r->bias ? b[k] + b[gates + k] : 0.0F;
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
    const forward_parts p = forward_of(r);
    const weft_recurrent_share mine = weft_share_examples(io->n, index, n_threads);
    const size_t rows = mine.last - mine.first;
    const size_t first = mine.first * units;
    weft_by_steps(m.x, io->x, io->n, r->steps, r->in, mine);
    memset(m.h + first, 0, rows * units * sizeof *m.h);
    memset(m.c + first, 0, rows * units * sizeof *m.c);
    for (size_t e = mine.first; e < mine.last; e++) { /* x W_ih of all steps */
        r->panels->multiply(m.gates + e * 4 * units, 4 * row, r->steps, 4 * units, r->in,
                            io->x + e * r->steps * r->in, r->in, io->scratch + p.ih, false);
    }
    for (size_t t = 0; t < r->steps; t++) {
        float *gates = m.gates + 4 * (t * row + first);
        if (t > 0) {
            r->panels->multiply(gates, 4 * units, rows, 4 * units, units, m.h + t * row + first,
                                units, io->scratch + p.hh, true);
        }
        for (size_t e = mine.first; e < mine.last; e++, gates += 4 * units) {
            const size_t at = t * row + e * units;
            cell(gates, gates + units, gates + 2 * units, gates + 3 * units, m.c + at + row,
                 m.tanh_c + at, m.h + at + row, m.c + at, io->scratch + p.bias, units);
        }
    }
    weft_by_examples(io->y, m.h + row, io->n, r->steps, units, mine);
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

static void backward_open(const weft_recurrent *r, const weft_recurrent_backward *io,
                          uint32_t index, uint32_t n_threads)
{
    const size_t gates = 4 * r->units;
    const backward_parts p = backward_of(r, io->n);
    if (index == 0) {
        r->panels->pack(io->scratch + p.hh, gates, r->units,
                        (weft_mat){io->w + r->in * gates, gates, WEFT_TRANSPOSED});
    }
    if (index == n_threads - 1 && io->dx) {
        r->panels->pack(io->scratch + p.ih, gates, r->in,
                        (weft_mat){io->w, gates, WEFT_TRANSPOSED});
    }
}

/* Some examples through time: their gates hold the gradients then. */
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
    float *dc = io->scratch + p.dc;
    memset(dh + first, 0, rows * units * sizeof *dh);
    memset(dc + first, 0, rows * units * sizeof *dc);
    for (size_t t = r->steps; t-- > 0;) {
        float *gates = m.gates + 4 * (t * row + first);
        float *g = gates;
        for (size_t e = mine.first; e < mine.last; e++, g += 4 * units) {
            const size_t at = t * row + e * units;
            cell_back(g, g + units, g + 2 * units, g + 3 * units, dc + e * units, dh + e * units,
                      io->dy + (e * r->steps + t) * units, m.tanh_c + at, m.c + at, units);
        }
        if (t > 0) {
            r->panels->multiply(dh + first, units, rows, units, 4 * units, gates, 4 * units,
                                io->scratch + p.hh, false);
        }
    }
    for (size_t e = mine.first; io->dx && e < mine.last; e++) {
        r->panels->multiply(io->dx + e * r->steps * r->in, r->in, r->steps, r->in, 4 * units,
                            m.gates + e * 4 * units, 4 * row, io->scratch + p.ih, false);
    }
}

/* Some rows of both weights' gradients, and the bias's. */
static void backward_weights(const weft_recurrent *r, const weft_recurrent_backward *io,
                             uint32_t index, uint32_t n_threads)
{
    const size_t units = r->units;
    const size_t rows = r->steps * io->n;
    const memory m = memory_of(r, io->state, io->n);
    const weft_mat gates = {m.gates, 4 * units, WEFT_PLAIN};
    float *to_hh = io->to + r->in * 4 * units;
    float *to_bias = to_hh + units * 4 * units;
    weft_recurrent_share mine = weft_share_weights(r->in, index, n_threads);
    if (mine.first < mine.last) {
        r->gemm(io->to + mine.first * 4 * units, 4 * units, mine.last - mine.first, 4 * units, rows,
                io->scale, (weft_mat){m.x + mine.first, r->in, WEFT_TRANSPOSED}, gates, io->keep);
    }
    mine = weft_share_weights(units, index, n_threads);
    if (mine.first < mine.last) {
        r->gemm(to_hh + mine.first * 4 * units, 4 * units, mine.last - mine.first, 4 * units, rows,
                io->scale, (weft_mat){m.h + mine.first, units, WEFT_TRANSPOSED}, gates, io->keep);
    }
    if (r->bias && index == 0) {
        float *db = io->scratch + backward_of(r, io->n).db;
        memset(db, 0, 4 * units * sizeof *db);
        weft_rows_sum(db, m.gates, rows, 4 * units);
        weft_blend(to_bias, io->keep, io->scale, db, 4 * units);
        weft_blend(to_bias + 4 * units, io->keep, io->scale, db, 4 * units);
    }
}

const weft_recurrent_ops weft_lstm = {lstm_state,
                                      lstm_scratch,
                                      {forward_open, forward_steps},
                                      {backward_open, backward_steps, backward_weights}};
