/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Normalisations as steps. Where a mean is of one example, a team shares the examples; what each
 * adds to the gradients of the weights is kept apart and summed in the order of the examples, so
 * that the bits are those of one thread. batchnorm and the gradients of layernorm run on the
 * caller's thread. Nothing here allocates.
 */
#include "nn/net_priv.h"
#include "nn/tensor.h"

#include <string.h>

weft_norm weft_step_norm_of(const weft_step *step, size_t n)
{
    weft_norm d = step->norm;
    if (step->kind == WEFT_STEP_BATCHNORM) {
        d.rows *= n;
    } else {
        d.samples *= n;
    }
    return d;
}

/* The gradients' parts are worth keeping where a sample has many rows: not for layernorm. */
static bool has_parts(const weft_step *step)
{
    return step->kind == WEFT_STEP_NORM && step->norm.rows > 1;
}

size_t weft_step_norm_partial(const weft_step *step, size_t n)
{
    return has_parts(step) ? 2 * n * step->norm.samples * step->norm.channels : 0;
}

/* One step, for the members of the team. */
typedef struct norm_job {
    const weft_net *net;
    const weft_step *step;
    weft_norm all;
    const float *x;
    const float *weight;
    const float *bias;
    float *mean;
    float *inverse;
    /* backward */
    float *dx;
    float *dy;
    float *partial; /* [samples]: of the weight, then of the bias */
} norm_job;

static norm_job job_of(const weft_net *net, const weft_step *step, const float *x)
{
    norm_job j = {.net = net,
                  .step = step,
                  .all = weft_step_norm_of(step, net->n),
                  .x = x,
                  .weight = net->weights + step->weight,
                  .bias = net->weights + step->bias};
    j.mean = step->state ? step->state : net->scratch + weft_norm_scratch(j.all.channels);
    j.inverse = j.mean + j.all.samples * j.all.groups;
    j.partial = net->scratch + weft_norm_scratch(j.all.channels);
    return j;
}

/* Member index's samples. */
static weft_norm share_of(const norm_job *j, uint32_t index, uint32_t n, size_t *ret_first)
{
    weft_norm d = j->all;
    uint64_t first = 0;
    uint64_t last = 0;
    weft_team_share(index, n, d.samples, 1, &first, &last);
    d.samples = last - first;
    *ret_first = first;
    return d;
}

static void share_forward(void *arg, uint32_t index, uint32_t n)
{
    const norm_job *j = arg;
    size_t first = 0;
    const weft_norm d = share_of(j, index, n, &first);
    const size_t at = first * d.rows * d.channels;
    j->net->isa->norm->forward(&d, j->step->out + at, j->x + at, j->weight, j->bias,
                               j->mean + first * d.groups, j->inverse + first * d.groups,
                               j->net->scratch + index * j->net->n_scratch);
}

void weft_step_norm_forward(weft_net *net, weft_step *step, const float *x, bool train)
{
    norm_job j = job_of(net, step, x);
    if (step->kind == WEFT_STEP_BATCHNORM && !train) {
        const float *running = j.bias + j.all.channels; /* mean, then variance */
        net->isa->norm->apply(&j.all, step->out, x, j.weight, j.bias, running,
                              running + j.all.channels, net->scratch);
        return;
    }
    weft_team_run(net->team, share_forward, &j); /* batchnorm is one sample */
    if (step->kind == WEFT_STEP_BATCHNORM) {
        weft_norm_track(&j.all, step->running, step->running + j.all.channels, j.mean, j.inverse);
    }
}

/* A sink for values that have no gradient. */
static void sink_nothing(float *to, size_t n, float keep)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = keep == 0.0F ? 0.0F : keep * to[i];
    }
}

static void share_backward(void *arg, uint32_t index, uint32_t n)
{
    const norm_job *j = arg;
    size_t first = 0;
    weft_norm d = share_of(j, index, n, &first);
    const size_t last = first + d.samples;
    d.samples = 1;
    for (size_t i = first; i < last; i++) {
        const size_t at = i * d.rows * d.channels;
        float *partial = j->partial + 2 * i * d.channels;
        j->net->isa->norm->backward(&d, j->dx ? j->dx + at : NULL, j->dy + at, j->step->out + at,
                                    j->x + at, j->weight, j->mean + i * d.groups,
                                    j->inverse + i * d.groups, partial, partial + d.channels,
                                    j->net->scratch + index * j->net->n_scratch);
    }
}

static void sum_parts(const norm_job *j, float *dw, float *db)
{
    const size_t n = j->all.channels;
    memset(dw, 0, n * sizeof *dw);
    memset(db, 0, n * sizeof *db);
    for (size_t i = 0; i < j->all.samples; i++) {
        weft_add(dw, j->partial + 2 * i * n, n);
        weft_add(db, j->partial + (2 * i + 1) * n, n);
    }
}

void weft_step_norm_backward(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                             const weft_sink *sink)
{
    norm_job j = job_of(net, step, x);
    const size_t n = j.all.channels;
    j.dx = dx;
    j.dy = dy;
    if (has_parts(step)) {
        weft_team_run(net->team, share_backward, &j);
        sum_parts(&j, net->dw, net->db);
    } else {
        net->isa->norm->backward(&j.all, dx, dy, step->out, x, j.weight, j.mean, j.inverse, net->dw,
                                 net->db, net->scratch);
    }
    weft_blend(sink->to + step->weight, sink->keep, sink->scale, net->dw, n);
    weft_blend(sink->to + step->bias, sink->keep, sink->scale, net->db, n);
    if (step->kind == WEFT_STEP_BATCHNORM) {
        sink_nothing(sink->to + step->bias + n, 2 * n, sink->keep);
    }
}
