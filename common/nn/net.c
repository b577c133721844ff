/* SPDX-License-Identifier: Apache-2.0 */
/* Runs nets: forward, loss, backward. Nothing here allocates. */
#include "nn/net.h"

#include "nn/activation.h"
#include "nn/loss.h"
#include "nn/net_priv.h"
#include "nn/tensor.h"

#include <string.h>

void weft_net_get_memory(const weft_net *net, weft_net_memory *ret)
{
    *ret = net->memory;
}

uint32_t weft_net_n_inputs(const weft_net *net)
{
    return net->n_inputs;
}

uint32_t weft_net_n_outputs(const weft_net *net)
{
    return net->n_outputs;
}

uint64_t weft_net_n_params(const weft_net *net)
{
    return net->n_params;
}

uint32_t weft_net_max_batch(const weft_net *net)
{
    return net->max_batch;
}

weft_loss weft_net_loss_kind(const weft_net *net)
{
    return net->loss;
}

float *weft_net_input(weft_net *net)
{
    return net->input;
}

void weft_net_seed(weft_net *net, uint64_t seed)
{
    static const uint64_t dropout_stream = 0x64726f70; /* apart from the shuffles' */
    for (uint32_t i = 0; i < net->n_steps; i++) {
        weft_rng_init(&net->steps[i].rng, seed, dropout_stream + i);
    }
}

/* What threads share is cut at multiples of these: whole tiles. */
enum { OUTPUTS_AT_ONCE = 32, INPUTS_AT_ONCE = 84, FILTERS_AT_ONCE = 16 };

/* ---- forward --------------------------------------------------------------------------------- */

static void forward_dropout(weft_step *step, const float *x, size_t n, bool train)
{
    if (train) {
        weft_dropout_forward(step->out, step->mask, x, n, step->rate, &step->rng);
    } else {
        memcpy(step->out, x, n * sizeof *x);
    }
}

/* One step of a forward, for the members of the team. */
typedef struct forward_job {
    const weft_net *net;
    const weft_step *step;
    const float *x;
    const float *w;
    const float *bias;
} forward_job;

static void forward_dense(void *arg, uint32_t index, uint32_t n)
{
    const forward_job *j = arg;
    const weft_dense *d = &j->step->dense;
    uint64_t first = 0;
    uint64_t last = 0;
    weft_team_share(index, n, d->out, OUTPUTS_AT_ONCE, &first, &last);
    if (first < last) {
        weft_dense_forward(d, j->step->out, j->x, j->w, j->bias, j->net->n, (uint32_t)first,
                           (uint32_t)last);
    }
}

static void forward_conv(void *arg, uint32_t index, uint32_t n)
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

static void forward_step(weft_net *net, weft_step *step, const float *x, bool train)
{
    const size_t values = net->n * step->n_out;
    const float *w = net->weights + step->weight;
    const float *bias = step->has_bias ? net->weights + step->bias : NULL;
    switch (step->kind) {
    case WEFT_STEP_DENSE:
        weft_team_run(net->team, forward_dense, &(forward_job){net, step, x, w, bias});
        break;
    case WEFT_STEP_CONV:
        weft_team_run(net->team, forward_conv, &(forward_job){net, step, x, w, bias});
        break;
    case WEFT_STEP_MAXPOOL:
        for (size_t i = 0; i < net->n; i++) {
            weft_maxpool_forward(&step->pool, step->out + i * step->n_out, x + i * step->n_in);
        }
        break;
    case WEFT_STEP_AVGPOOL:
        for (size_t i = 0; i < net->n; i++) {
            weft_avgpool_forward(&step->pool, step->out + i * step->n_out, x + i * step->n_in);
        }
        break;
    case WEFT_STEP_RELU:
        weft_relu_forward(step->out, x, values);
        break;
    case WEFT_STEP_TANH:
        weft_tanh_forward(step->out, x, values);
        break;
    case WEFT_STEP_SIGMOID:
        weft_sigmoid_forward(step->out, x, values);
        break;
    case WEFT_STEP_DROPOUT:
        forward_dropout(step, x, values, train);
        break;
    }
}

const float *weft_net_forward(weft_net *net, const float *weights, const float *x, uint32_t n,
                              bool train)
{
    net->weights = weights;
    net->x = x;
    net->n = n;
    for (uint32_t i = 0; i < net->n_steps; i++) {
        forward_step(net, &net->steps[i], x, train);
        x = net->steps[i].out;
    }
    return x;
}

/* ---- loss ------------------------------------------------------------------------------------ */

static weft_status loss(weft_net *net, float *gradient, const weft_truth *truth, float inverse_n,
                        weft_loss_sum *sum, weft_err *err)
{
    const float *out = net->steps[net->n_steps - 1].out;
    if (net->loss == WEFT_LOSS_SOFTMAX_CE) {
        if (!truth->labels) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "softmax_cross_entropy wants labels, the data have none");
        }
        return weft_loss_softmax(gradient, out, truth->labels, net->n, net->n_outputs, inverse_n,
                                 sum, err);
    }
    if (!truth->targets) {
        WEFT_FAIL(err, WEFT_E_INVALID, "mse wants target values, the data have none");
    }
    weft_loss_mse(gradient, out, truth->targets, net->n, net->n_outputs, inverse_n, sum);
    return WEFT_OK;
}

weft_status weft_net_loss(weft_net *net, const weft_truth *truth, weft_loss_sum *sum, weft_err *err)
{
    return loss(net, NULL, truth, 0.0F, sum, err);
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

static void backward_conv(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
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
                                 .db = net->db,
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

static void backward_dense(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                           const weft_sink *sink)
{
    backward_job job = {.net = net,
                        .step = step,
                        .dense = {.n = net->n,
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

/* dx is NULL for the first step: nobody needs the gradient of the input. */
static void backward_step(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                          const weft_sink *sink)
{
    const size_t values = net->n * step->n_out;
    switch (step->kind) {
    case WEFT_STEP_DENSE:
        backward_dense(net, step, dx, dy, x, sink);
        return;
    case WEFT_STEP_CONV:
        backward_conv(net, step, dx, dy, x, sink);
        return;
    case WEFT_STEP_MAXPOOL:
        for (size_t i = 0; dx && i < net->n; i++) {
            weft_maxpool_backward(&step->pool, dx + i * step->n_in, dy + i * step->n_out,
                                  x + i * step->n_in);
        }
        return;
    case WEFT_STEP_AVGPOOL:
        for (size_t i = 0; dx && i < net->n; i++) {
            weft_avgpool_backward(&step->pool, dx + i * step->n_in, dy + i * step->n_out);
        }
        return;
    case WEFT_STEP_RELU:
    case WEFT_STEP_TANH:
    case WEFT_STEP_SIGMOID:
    case WEFT_STEP_DROPOUT:
        break;
    }
    if (!dx) {
        return;
    }
    if (step->kind == WEFT_STEP_RELU) {
        weft_relu_backward(dx, dy, step->out, values);
    } else if (step->kind == WEFT_STEP_TANH) {
        weft_tanh_backward(dx, dy, step->out, values);
    } else if (step->kind == WEFT_STEP_SIGMOID) {
        weft_sigmoid_backward(dx, dy, step->out, values);
    } else {
        weft_dropout_backward(dx, dy, step->mask, values, step->rate);
    }
}

weft_status weft_net_backward(weft_net *net, const weft_truth *truth, float inverse_n,
                              const weft_sink *sink, weft_loss_sum *sum, weft_err *err)
{
    float *dy = net->gradient[0];
    WEFT_TRY(loss(net, dy, truth, inverse_n, sum, err));
    for (uint32_t i = net->n_steps; i-- > 0;) {
        float *dx = i > 0 ? net->gradient[dy == net->gradient[0]] : NULL;
        const float *x = i > 0 ? net->steps[i - 1].out : net->x;
        backward_step(net, &net->steps[i], dx, dy, x, sink);
        dy = dx;
    }
    return WEFT_OK;
}
