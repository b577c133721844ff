/* SPDX-License-Identifier: Apache-2.0 */
/* What each kind of step does forward and backward. Nothing here allocates. */
#include "nn/activation.h"
#include "nn/net_priv.h"
#include "nn/sequence.h"
#include "nn/tensor.h"

#include <string.h>

size_t weft_step_state(const weft_step *step, size_t n)
{
    if (step->kind == WEFT_STEP_NORM || step->kind == WEFT_STEP_BATCHNORM) {
        const weft_norm d = weft_step_norm_of(step, n);
        return 2 * d.samples * d.groups;
    }
    return step->kind == WEFT_STEP_RECURRENT ? step->recurrent_ops->state(&step->recurrent, n) : 0;
}

size_t weft_step_scratch(const weft_step *step, size_t n, bool train)
{
    const size_t state = train ? 0 : weft_step_state(step, n); /* nobody reads it later */
    if (step->kind == WEFT_STEP_NORM || step->kind == WEFT_STEP_BATCHNORM) {
        const size_t partial = train ? weft_step_norm_partial(step, n) : 0;
        return weft_norm_scratch(step->norm.channels) + state + partial;
    }
    return step->kind == WEFT_STEP_RECURRENT
               ? step->recurrent_ops->scratch(&step->recurrent, n, train) + state
               : 0;
}

size_t weft_step_n_dw(const weft_step *step)
{
    if (step->kind == WEFT_STEP_GROUPED) {
        return weft_grouped_n_weights(&step->grouped);
    }
    return step->kind == WEFT_STEP_NORM || step->kind == WEFT_STEP_BATCHNORM ? step->norm.channels
                                                                             : 0;
}

size_t weft_step_n_db(const weft_step *step)
{
    if (step->kind == WEFT_STEP_GROUPED) {
        return step->grouped.conv.cout;
    }
    return weft_step_n_dw(step);
}

/* Values of the whole batch at the output. */
static size_t values_of(const weft_net *net, const weft_step *step)
{
    return net->n * step->n_out;
}

/* ---- grouped convolution --------------------------------------------------------------------- */

static void backward_grouped(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                             const weft_sink *sink)
{
    weft_grouped_backward(&step->grouped, dx, dy, step->out, x, net->weights + step->weight,
                          net->dw, net->db, net->n);
    weft_blend(sink->to + step->weight, sink->keep, sink->scale, net->dw,
               weft_grouped_n_weights(&step->grouped));
    if (step->has_bias) {
        weft_blend(sink->to + step->bias, sink->keep, sink->scale, net->db,
                   step->grouped.conv.cout);
    }
}

/* ---- pools ----------------------------------------------------------------------------------- */

static void forward_maxpool(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    for (size_t i = 0; i < net->n; i++) {
        weft_maxpool_forward(&step->pool, step->out + i * step->n_out, x + i * step->n_in);
    }
}

static void backward_maxpool(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                             const weft_sink *sink)
{
    (void)sink;
    for (size_t i = 0; dx && i < net->n; i++) {
        weft_maxpool_backward(&step->pool, dx + i * step->n_in, dy + i * step->n_out,
                              x + i * step->n_in);
    }
}

static void forward_avgpool(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    for (size_t i = 0; i < net->n; i++) {
        weft_avgpool_forward(&step->pool, step->out + i * step->n_out, x + i * step->n_in);
    }
}

static void backward_avgpool(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                             const weft_sink *sink)
{
    (void)x;
    (void)sink;
    for (size_t i = 0; dx && i < net->n; i++) {
        weft_avgpool_backward(&step->pool, dx + i * step->n_in, dy + i * step->n_out);
    }
}

static void forward_mean(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    for (size_t i = 0; i < net->n; i++) {
        weft_mean_forward(step->out + i * step->n_out, x + i * step->n_in, step->places,
                          step->n_out);
    }
}

static void backward_mean(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                          const weft_sink *sink)
{
    (void)x;
    (void)sink;
    for (size_t i = 0; dx && i < net->n; i++) {
        weft_mean_backward(dx + i * step->n_in, dy + i * step->n_out, step->places, step->n_out);
    }
}

/* ---- value by value -------------------------------------------------------------------------- */

/* Steps that differ in the functions that they call only; of: what backward takes, y or x. */
#define VALUE_BY_VALUE(name, of)                                                                   \
    static void forward_##name(weft_net *net, weft_step *step, const float *x, bool train)         \
    {                                                                                              \
        (void)train;                                                                               \
        net->isa->activation->name##_forward(step->out, x, values_of(net, step));                  \
    }                                                                                              \
    static void backward_##name(weft_net *net, weft_step *step, float *dx, float *dy,              \
                                const float *x, const weft_sink *sink)                             \
    {                                                                                              \
        (void)x;                                                                                   \
        (void)sink;                                                                                \
        if (dx) {                                                                                  \
            net->isa->activation->name##_backward(dx, dy, of, values_of(net, step));               \
        }                                                                                          \
    }

VALUE_BY_VALUE(relu, step->out)
VALUE_BY_VALUE(tanh, step->out)
VALUE_BY_VALUE(sigmoid, step->out)
VALUE_BY_VALUE(gelu, x)
VALUE_BY_VALUE(silu, x)

static void forward_leaky_relu(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    net->isa->activation->leaky_relu_forward(step->out, x, values_of(net, step), step->rate);
}

static void backward_leaky_relu(weft_net *net, weft_step *step, float *dx, float *dy,
                                const float *x, const weft_sink *sink)
{
    (void)sink;
    if (dx) {
        net->isa->activation->leaky_relu_backward(dx, dy, x, values_of(net, step), step->rate);
    }
}

static void forward_dropout(weft_net *net, weft_step *step, const float *x, bool train)
{
    const size_t n = values_of(net, step);
    if (train) {
        weft_dropout_forward(step->out, step->mask, x, n, step->rate, &step->rng);
    } else {
        memcpy(step->out, x, n * sizeof *x);
    }
}

static void backward_dropout(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                             const weft_sink *sink)
{
    (void)x;
    (void)sink;
    if (dx) {
        weft_dropout_backward(dx, dy, step->mask, values_of(net, step), step->rate);
    }
}

/* ---- sequences ------------------------------------------------------------------------------- */

static void forward_embedding(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    weft_embedding_forward(step->out, x, net->weights + step->weight, (size_t)net->n * step->places,
                           step->n_out / step->places, step->vocab);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): one type for all steps */
static void backward_embedding(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                               const weft_sink *sink)
{
    (void)dx; /* tokens have no gradient: dx is NULL */
    weft_embedding_backward(sink->to + step->weight, dy, x, (size_t)net->n * step->places,
                            step->n_out / step->places, step->vocab, sink->keep, sink->scale);
}

static void forward_last(weft_net *net, weft_step *step, const float *x, bool train)
{
    (void)train;
    weft_last_forward(step->out, x, net->lengths, net->n, step->places, step->n_out);
}

static void backward_last(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                          const weft_sink *sink)
{
    (void)x;
    (void)sink;
    if (dx) {
        weft_last_backward(dx, dy, net->lengths, net->n, step->places, step->n_out);
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */

const weft_step_ops weft_step_table[WEFT_N_STEP_KINDS] = {
    [WEFT_STEP_DENSE] = {weft_step_dense_forward, weft_step_dense_backward},
    [WEFT_STEP_CONV] = {weft_step_conv_forward, weft_step_conv_backward},
    [WEFT_STEP_MAXPOOL] = {forward_maxpool, backward_maxpool},
    [WEFT_STEP_AVGPOOL] = {forward_avgpool, backward_avgpool},
    [WEFT_STEP_RELU] = {forward_relu, backward_relu},
    [WEFT_STEP_TANH] = {forward_tanh, backward_tanh},
    [WEFT_STEP_SIGMOID] = {forward_sigmoid, backward_sigmoid},
    [WEFT_STEP_DROPOUT] = {forward_dropout, backward_dropout},
    [WEFT_STEP_LEAKY_RELU] = {forward_leaky_relu, backward_leaky_relu},
    [WEFT_STEP_GELU] = {forward_gelu, backward_gelu},
    [WEFT_STEP_SILU] = {forward_silu, backward_silu},
    [WEFT_STEP_ADD] = {weft_step_add_forward, NULL}, /* net.c leads its gradient two ways */
    [WEFT_STEP_GROUPED] = {weft_step_grouped_forward, backward_grouped},
    [WEFT_STEP_NORM] = {weft_step_norm_forward, weft_step_norm_backward},
    [WEFT_STEP_BATCHNORM] = {weft_step_norm_forward, weft_step_norm_backward},
    [WEFT_STEP_MEAN] = {forward_mean, backward_mean},
    [WEFT_STEP_EMBEDDING] = {forward_embedding, backward_embedding},
    [WEFT_STEP_RECURRENT] = {weft_step_recurrent_forward, weft_step_recurrent_backward},
    [WEFT_STEP_LAST] = {forward_last, backward_last},
};
