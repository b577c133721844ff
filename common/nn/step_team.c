/* SPDX-License-Identifier: Apache-2.0 */
/* The steps that a net's threads share. Nothing here allocates. */
#include "nn/net_priv.h"
#include "nn/tensor.h"

/* What threads share is cut at multiples of these: whole tiles. */
enum { OUTPUTS_AT_ONCE = 32, INPUTS_AT_ONCE = 84, FILTERS_AT_ONCE = 16, VALUES_AT_ONCE = 4096 };

/* ---- forward --------------------------------------------------------------------------------- */

/* One step of a forward, for the members of the team. */
typedef struct forward_job {
    const weft_net *net;
    const weft_step *step;
    const float *x;
    const float *w;
    const float *bias;
} forward_job;

static void share_dense(void *arg, uint32_t index, uint32_t n)
{
    const forward_job *j = arg;
    const weft_dense *d = &j->step->dense;
    uint64_t first = 0;
    uint64_t last = 0;
    weft_team_share(index, n, d->out, OUTPUTS_AT_ONCE, &first, &last);
    if (first < last) {
        weft_dense_forward(d, j->step->out, j->x, j->w, j->bias, j->net->n * j->step->places,
                           (uint32_t)first, (uint32_t)last);
    }
}

static void share_conv(void *arg, uint32_t index, uint32_t n)
{
    const forward_job *j = arg;
    const weft_step *step = j->step;
    uint64_t first = 0;
    uint64_t last = 0;
    weft_team_share(index, n, j->net->n, 1, &first, &last);
    if (first < last) {
        step->conv_ops->forward(
            &step->conv,
            &(weft_conv_forward){.n = (uint32_t)(last - first),
                                 .x = j->x + first * step->n_in,
                                 .w = j->w,
                                 .bias = j->bias,
                                 .y = step->out + first * step->n_out,
                                 .slot = step->mask ? step->mask + first * step->n_out : NULL,
                                 .scratch = j->net->scratch + index * j->net->n_scratch});
    }
}

static forward_job job_of(const weft_net *net, const weft_step *step, const float *x)
{
    return (forward_job){net, step, x, net->weights + step->weight,
                         step->has_bias ? net->weights + step->bias : NULL};
}

void weft_step_dense_forward(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    forward_job job = job_of(net, step, x);
    weft_team_run(net->team, share_dense, &job);
}

void weft_step_conv_forward(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    forward_job job = job_of(net, step, x);
    weft_team_run(net->team, share_conv, &job);
}

static void share_grouped(void *arg, uint32_t index, uint32_t n)
{
    const forward_job *j = arg;
    const weft_step *step = j->step;
    uint64_t first = 0;
    uint64_t last = 0;
    weft_team_share(index, n, j->net->n, 1, &first, &last);
    weft_grouped_forward(&step->grouped, step->out + first * step->n_out, j->x + first * step->n_in,
                         j->w, j->bias, (uint32_t)(last - first));
}

void weft_step_grouped_forward(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    forward_job job = job_of(net, step, x);
    weft_team_run(net->team, share_grouped, &job);
}

static void share_add(void *arg, uint32_t index, uint32_t n)
{
    const forward_job *j = arg;
    const weft_step *step = j->step;
    const float *other =
        step->other == WEFT_FROM_INPUT ? j->net->x : j->net->steps[step->other].out;
    uint64_t first = 0;
    uint64_t last = 0;
    weft_team_share(index, n, j->net->n * step->n_out, VALUES_AT_ONCE, &first, &last);
    j->net->isa->activation->sum_forward(step->out + first, j->x + first, other + first,
                                         last - first, step->relu);
}

void weft_step_add_forward(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    forward_job job = job_of(net, step, x);
    weft_team_run(net->team, share_add, &job);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* One step of a backward, for the members of the team. */
typedef struct backward_job {
    const weft_net *net;
    const weft_step *step;
    weft_conv_backward conv;
    weft_dense_backward dense;
} backward_job;

static void open_conv(void *arg, uint32_t index, uint32_t n)
{
    const backward_job *j = arg;
    uint64_t first = 0;
    uint64_t last = 0;
    weft_team_share(index, n, j->net->n, 1, &first, &last);
    weft_conv_backward mine = j->conv;
    mine.n = (uint32_t)(last - first);
    mine.y += first * j->step->n_out;
    mine.dy += first * j->step->n_out;
    weft_conv_open(&j->step->conv, &mine);
}

/* Both gradients: of its images' inputs, then of its filters. */
static void back_conv(void *arg, uint32_t index, uint32_t n)
{
    const backward_job *j = arg;
    const weft_step *step = j->step;
    const weft_conv *c = &step->conv;
    uint64_t first = 0;
    uint64_t last = 0;
    weft_conv_backward mine = j->conv;
    mine.scratch += index * j->net->n_scratch;
    weft_team_share(index, n, c->cout, FILTERS_AT_ONCE, &first, &last);
    if (first < last) {
        step->conv_ops->to_w(c, &mine, (uint32_t)first, (uint32_t)last);
    }
    weft_team_share(index, n, j->net->n, 1, &first, &last);
    if (mine.dx && first < last) {
        mine.n = (uint32_t)(last - first);
        mine.x += first * step->n_in;
        mine.y += first * step->n_out;
        mine.slot = mine.slot ? mine.slot + first * step->n_out : NULL;
        mine.dy += first * step->n_out;
        mine.dx += first * step->n_in;
        step->conv_ops->to_x(c, &mine);
    }
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the workers write it */
void weft_step_conv_backward(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                             const weft_sink *sink)
{
    backward_job job = {.net = net,
                        .step = step,
                        .conv = {.n = net->n,
                                 .x = x,
                                 .w = net->weights + step->weight,
                                 .y = step->out,
                                 .slot = step->mask,
                                 .dy = dy,
                                 .dx = dx,
                                 .dw = net->dw,
                                 .db = step->has_bias ? net->db : NULL,
                                 .scratch = net->scratch}};
    if (step->conv.relu && !step->conv.pooled) {
        weft_team_run(net->team, open_conv, &job);
    }
    weft_team_run(net->team, back_conv, &job);
    weft_blend(sink->to + step->weight, sink->keep, sink->scale, net->dw,
               weft_conv_n_weights(&step->conv));
    if (step->has_bias) {
        weft_blend(sink->to + step->bias, sink->keep, sink->scale, net->db, step->conv.cout);
    }
}

static void back_dense(void *arg, uint32_t index, uint32_t n)
{
    const backward_job *j = arg;
    const weft_dense *d = &j->step->dense;
    uint64_t first = 0;
    uint64_t last = 0;
    weft_team_share(index, n, d->in, INPUTS_AT_ONCE, &first, &last);
    weft_dense_back(d, &j->dense, (uint32_t)first, (uint32_t)last);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the workers write it */
void weft_step_dense_backward(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                              const weft_sink *sink)
{
    backward_job job = {.net = net,
                        .step = step,
                        .dense = {.n = net->n * step->places,
                                  .x = x,
                                  .w = net->weights + step->weight,
                                  .y = step->out,
                                  .dy = dy,
                                  .dx = dx,
                                  .weight_to = sink->to + step->weight,
                                  .bias_to = step->has_bias ? sink->to + step->bias : NULL,
                                  .scratch = net->db,
                                  .keep = sink->keep,
                                  .scale = sink->scale}};
    weft_dense_open(&step->dense, &job.dense);
    weft_team_run(net->team, back_dense, &job);
}

/* ---- recurrent layers -------------------------------------------------------------------------
 */

/* One phase, for the members of the team. */
typedef struct recurrent_job {
    const weft_recurrent *layer;
    weft_recurrent_forward_fn *run_forward;
    weft_recurrent_backward_fn *run_backward;
    weft_recurrent_forward forward;
    weft_recurrent_backward backward;
} recurrent_job;

static void share_recurrent_forward(void *arg, uint32_t index, uint32_t n)
{
    const recurrent_job *j = arg;
    j->run_forward(j->layer, &j->forward, index, n);
}

static void share_recurrent_backward(void *arg, uint32_t index, uint32_t n)
{
    const recurrent_job *j = arg;
    j->run_backward(j->layer, &j->backward, index, n);
}

void weft_step_recurrent_forward(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    const size_t scratch = step->recurrent_ops->scratch(&step->recurrent, net->n, false);
    recurrent_job job = {.layer = &step->recurrent,
                         .forward = {.n = net->n,
                                     .x = x,
                                     .w = net->weights + step->weight,
                                     .y = step->out,
                                     .state = step->state ? step->state : net->scratch + scratch,
                                     .scratch = net->scratch}};
    for (uint32_t i = 0; i < WEFT_FORWARD_PHASES; i++) {
        job.run_forward = step->recurrent_ops->forward[i];
        weft_team_run(net->team, share_recurrent_forward, &job);
    }
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the workers write it */
void weft_step_recurrent_backward(weft_net *net, weft_step *step, float *dx, float *dy,
                                  const float *x, const weft_sink *sink)
{
    (void)x; /* the state has it */
    recurrent_job job = {.layer = &step->recurrent,
                         .backward = {.n = net->n,
                                      .w = net->weights + step->weight,
                                      .dy = dy,
                                      .dx = dx,
                                      .state = step->state,
                                      .scratch = net->scratch,
                                      .to = sink->to + step->weight,
                                      .keep = sink->keep,
                                      .scale = sink->scale}};
    for (uint32_t i = 0; i < WEFT_BACKWARD_PHASES; i++) {
        job.run_backward = step->recurrent_ops->backward[i];
        weft_team_run(net->team, share_recurrent_backward, &job);
    }
}
