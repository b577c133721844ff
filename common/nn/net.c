/* SPDX-License-Identifier: Apache-2.0 */
/* Runs nets: forward, loss, backward. Nothing here allocates. */
#include "nn/net.h"

#include "nn/loss.h"
#include "nn/net_priv.h"
#include "nn/sequence.h"
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

uint32_t weft_net_n_labels(const weft_net *net)
{
    return net->n_labels;
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

void weft_net_take_running(weft_net *net, const float *weights)
{
    for (uint32_t i = 0; i < net->n_steps; i++) {
        const weft_step *step = &net->steps[i];
        if (step->running) { /* behind the bias */
            const size_t n = step->norm.channels;
            memcpy(step->running, weights + step->bias + n, 2 * n * sizeof *weights);
        }
    }
}

void weft_net_put_running(const weft_net *net, float *weights)
{
    for (uint32_t i = 0; i < net->n_steps; i++) {
        const weft_step *step = &net->steps[i];
        if (step->running) {
            const size_t n = step->norm.channels;
            memcpy(weights + step->bias + n, step->running, 2 * n * sizeof *weights);
        }
    }
}

/* ---- forward --------------------------------------------------------------------------------- */

static const float *input_of(const weft_net *net, const weft_step *step)
{
    return step->from == WEFT_FROM_INPUT ? net->x : net->steps[step->from].out;
}

const float *weft_net_forward(weft_net *net, const float *weights, const float *x, uint32_t n,
                              bool train)
{
    net->weights = weights;
    net->x = x;
    net->n = n;
    if (net->vocab > 0) {
        weft_tokens_lengths(net->lengths, x, n, net->n_tokens);
    }
    for (uint32_t i = 0; i < net->n_steps; i++) {
        weft_step *step = &net->steps[i];
        weft_step_table[step->kind].forward(net, step, input_of(net, step), train);
    }
    return net->steps[net->n_steps - 1].out;
}

/* ---- loss ------------------------------------------------------------------------------------ */

static weft_status loss(weft_net *net, float *gradient, const weft_truth *truth, float inverse_n,
                        weft_loss_sum *sum, weft_err *err)
{
    const float *out = net->steps[net->n_steps - 1].out;
    const uint32_t outputs = net->n_outputs;
    if (net->loss == WEFT_LOSS_SOFTMAX_CE) {
        if (!truth->labels) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "softmax_cross_entropy wants labels, the data have none");
        }
        return weft_loss_softmax(gradient, out, truth->labels, net->n * net->n_labels,
                                 net->n_channels, net->class_weights,
                                 inverse_n / (float)net->n_labels, sum, err);
    }
    if (net->loss == WEFT_LOSS_SIGMOID_CE && (truth->targets || (truth->labels && outputs == 1))) {
        return weft_loss_sigmoid(gradient, out, truth->targets, truth->labels, net->n, outputs,
                                 inverse_n, sum, err);
    }
    if (!truth->targets) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s wants target values, the data have none",
                  weft_loss_name(net->loss));
    }
    if (net->loss == WEFT_LOSS_HUBER) {
        weft_loss_huber(gradient, out, truth->targets, net->n, outputs, net->delta, inverse_n, sum);
    } else {
        weft_loss_mse(gradient, out, truth->targets, net->n, outputs, inverse_n, sum);
    }
    return WEFT_OK;
}

double weft_net_truth_weight(const weft_net *net, const weft_truth *truth, uint32_t n)
{
    if (net->loss != WEFT_LOSS_SOFTMAX_CE || !truth->labels) {
        return (double)n;
    }
    const size_t labels = (size_t)n * net->n_labels;
    double sum = 0.0;
    for (size_t i = 0; i < labels; i++) {
        const uint32_t label = truth->labels[i];
        if (label < net->n_channels) { /* others are ignored, or refused with the loss */
            sum += net->class_weights ? (double)net->class_weights[label] : 1.0;
        }
    }
    return sum / (double)net->n_labels;
}

weft_status weft_net_loss(weft_net *net, const weft_truth *truth, weft_loss_sum *sum, weft_err *err)
{
    return loss(net, NULL, truth, 0.0F, sum, err);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* One of the two buffers that gradients between neighbours take turns in. */
static float *free_gradient(const weft_net *net, const float *dy)
{
    return net->gradient[dy == net->gradient[0]];
}

/* Adds g to the gradient at the output of a kept step. */
static void collect(const weft_net *net, int32_t step, const float *g)
{
    if (step == WEFT_FROM_INPUT) {
        return;
    }
    weft_step *s = &net->steps[step];
    const size_t n = net->n * s->n_out;
    if (s->grad_written) {
        weft_add(s->grad, g, n);
    } else {
        memcpy(s->grad, g, n * sizeof *g);
        s->grad_written = true;
    }
}

/* An add hands its gradient on to both inputs. Returns what is left for the step before. */
static float *backward_add(const weft_net *net, const weft_step *step, float *dy)
{
    if (step->relu) {
        weft_relu_back(dy, step->out, net->n * step->n_out);
    }
    collect(net, step->other, dy);
    if (step->from != WEFT_FROM_INPUT && net->steps[step->from].kept) {
        collect(net, step->from, dy);
    }
    return dy;
}

/* One step: from dy at its output to the gradient at its input, which is returned for a step that
 * nobody else reads. */
static float *backward_one(weft_net *net, weft_step *step, float *dy, const weft_sink *sink)
{
    if (step->kind == WEFT_STEP_ADD) {
        return backward_add(net, step, dy);
    }
    weft_step *before = step->from == WEFT_FROM_INPUT ? NULL : &net->steps[step->from];
    const weft_step_ops *ops = &weft_step_table[step->kind];
    const float *x = input_of(net, step);
    if (!before) {
        ops->backward(net, step, NULL, dy, x, sink);
        return NULL;
    }
    if (before->kept && !before->grad_written) { /* the first to come */
        ops->backward(net, step, before->grad, dy, x, sink);
        before->grad_written = true;
        return NULL;
    }
    float *dx = free_gradient(net, dy);
    ops->backward(net, step, dx, dy, x, sink);
    if (before->kept) {
        weft_add(before->grad, dx, net->n * before->n_out);
    }
    return dx;
}

weft_status weft_net_backward(weft_net *net, const weft_truth *truth, float inverse_n,
                              const weft_sink *sink, weft_loss_sum *sum, weft_err *err)
{
    weft_step *last = &net->steps[net->n_steps - 1];
    float *dy = last->kept ? last->grad : net->gradient[0];
    WEFT_TRY(loss(net, dy, truth, inverse_n, sum, err));
    for (uint32_t i = 0; i < net->n_steps; i++) {
        net->steps[i].grad_written = false;
    }
    last->grad_written = last->kept;
    for (uint32_t i = net->n_steps; i-- > 0;) {
        weft_step *step = &net->steps[i];
        dy = backward_one(net, step, step->kept ? step->grad : dy, sink);
    }
    return WEFT_OK;
}
