/* SPDX-License-Identifier: Apache-2.0 */
/* Grouped and depthwise convolution; built with -O3. Threads: any. */
#include "nn/grouped.h"

#include "nn/tensor.h"

#include <string.h>

size_t weft_grouped_n_weights(const weft_grouped *g)
{
    return (size_t)g->conv.kh * g->conv.kw * (g->conv.cin / g->groups) * g->conv.cout;
}

/* What one output pixel and one place of the window meet in. */
typedef struct meeting {
    size_t groups;
    size_t cin;  /* of one group */
    size_t cout; /* of one group */
} meeting;

static void meet_forward(const meeting *m, float *restrict y, const float *restrict x,
                         const float *restrict w)
{
    if (m->cin == 1 && m->cout == 1) { /* depthwise: channel by channel */
        for (size_t c = 0; c < m->groups; c++) {
            y[c] += x[c] * w[c];
        }
        return;
    }
    for (size_t ci = 0; ci < m->cin; ci++) {
        for (size_t g = 0; g < m->groups; g++) {
            const float v = x[g * m->cin + ci];
            for (size_t co = g * m->cout; co < (g + 1) * m->cout; co++) {
                y[co] += v * w[co];
            }
        }
        w += m->groups * m->cout;
    }
}

static void meet_dw(const meeting *m, float *restrict dw, const float *restrict x,
                    const float *restrict dy)
{
    if (m->cin == 1 && m->cout == 1) {
        for (size_t c = 0; c < m->groups; c++) {
            dw[c] += x[c] * dy[c];
        }
        return;
    }
    for (size_t ci = 0; ci < m->cin; ci++) {
        for (size_t g = 0; g < m->groups; g++) {
            const float v = x[g * m->cin + ci];
            for (size_t co = g * m->cout; co < (g + 1) * m->cout; co++) {
                dw[co] += v * dy[co];
            }
        }
        dw += m->groups * m->cout;
    }
}

static void meet_dx(const meeting *m, float *restrict dx, const float *restrict w,
                    const float *restrict dy)
{
    if (m->cin == 1 && m->cout == 1) {
        for (size_t c = 0; c < m->groups; c++) {
            dx[c] += w[c] * dy[c];
        }
        return;
    }
    for (size_t ci = 0; ci < m->cin; ci++) {
        for (size_t g = 0; g < m->groups; g++) {
            float sum = 0.0F;
            for (size_t co = g * m->cout; co < (g + 1) * m->cout; co++) {
                sum += w[co] * dy[co];
            }
            dx[g * m->cin + ci] += sum;
        }
        w += m->groups * m->cout;
    }
}

/* Where the arguments of a meeting are: by output pixel, by input pixel, by place of the window. */
typedef struct operand {
    float *written;
    const float *by_output;
    const float *by_input;
    const float *by_place;
} operand;

static size_t place_size(const weft_grouped *g)
{
    return (size_t)(g->conv.cin / g->groups) * g->conv.cout;
}

/* Calls back for each output pixel and each place of its window inside the image, in order. */
typedef void visit_fn(const meeting *m, const operand *io, size_t out, size_t in, size_t place);

static void visit(const weft_grouped *g, const operand *io, visit_fn *each)
{
    const weft_conv *c = &g->conv;
    const meeting m = {g->groups, c->cin / g->groups, c->cout / g->groups};
    for (size_t oy = 0; oy < c->oh; oy++) {
        for (size_t ox = 0; ox < c->ow; ox++) {
            for (size_t k = 0; k < (size_t)c->kh * c->kw; k++) {
                const size_t row = oy * c->stride + k / c->kw;
                const size_t column = ox * c->stride + k % c->kw;
                if (row < c->pad_top || row >= (size_t)c->pad_top + c->h || column < c->pad_left ||
                    column >= (size_t)c->pad_left + c->w) {
                    continue;
                }
                const size_t in = (row - c->pad_top) * c->w + column - c->pad_left;
                each(&m, io, (oy * c->ow + ox) * c->cout, in * c->cin, k * place_size(g));
            }
        }
    }
}

static void visit_forward(const meeting *m, const operand *io, size_t out, size_t in, size_t place)
{
    meet_forward(m, io->written + out, io->by_input + in, io->by_place + place);
}

static void visit_dw(const meeting *m, const operand *io, size_t out, size_t in, size_t place)
{
    meet_dw(m, io->written + place, io->by_input + in, io->by_output + out);
}

static void visit_dx(const meeting *m, const operand *io, size_t out, size_t in, size_t place)
{
    meet_dx(m, io->written + in, io->by_place + place, io->by_output + out);
}

void weft_grouped_forward(const weft_grouped *g, float *y, const float *x, const float *w,
                          const float *bias, uint32_t n)
{
    const weft_conv *c = &g->conv;
    const size_t pixels = (size_t)c->oh * c->ow;
    const size_t n_in = (size_t)c->h * c->w * c->cin;
    for (uint32_t i = 0; i < n; i++, x += n_in, y += pixels * c->cout) {
        const operand io = {.written = y, .by_input = x, .by_place = w};
        memset(y, 0, pixels * c->cout * sizeof *y);
        visit(g, &io, visit_forward);
        weft_rows_finish(y, bias, pixels, c->cout, c->relu);
    }
}

void weft_grouped_backward(const weft_grouped *g, float *dx, float *dy, const float *y,
                           const float *x, const float *w, float *dw, float *db, uint32_t n)
{
    const weft_conv *c = &g->conv;
    const size_t pixels = (size_t)c->oh * c->ow;
    const size_t n_in = (size_t)c->h * c->w * c->cin;
    memset(dw, 0, weft_grouped_n_weights(g) * sizeof *dw);
    memset(db, 0, c->cout * sizeof *db);
    for (size_t i = 0; i < n; i++) {
        const size_t at = i * pixels * c->cout;
        if (c->relu) {
            weft_relu_back(dy + at, y + at, pixels * c->cout);
        }
        weft_rows_sum(db, dy + at, pixels, c->cout);
        const operand of_w = {.written = dw, .by_output = dy + at, .by_input = x + i * n_in};
        visit(g, &of_w, visit_dw);
        if (dx) {
            const operand of_x = {.written = dx + i * n_in, .by_output = dy + at, .by_place = w};
            memset(dx + i * n_in, 0, n_in * sizeof *dx);
            visit(g, &of_x, visit_dx);
        }
    }
}
