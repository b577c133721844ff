/* SPDX-License-Identifier: Apache-2.0 */
/* The training loop. Threads: a state belongs to one at a time. */
#include "nn/train/train.h"

#include "nn/math.h"
#include "nn/tensor.h"
#include "nn/train/augment.h"
#include "nn/train/optimizer.h"
#include "nn/train/run_priv.h"
#include "nn/train/schedule.h"

#include <string.h>

typedef struct step_job {
    weft_plan plan; /* learning_rate: of this step */
    double rate;    /* before the schedule */
    uint32_t round;
    float *weights;
    uint64_t n_params;
    uint64_t step; /* from 1 */
} step_job;

static void scale_by(float *g, size_t n, float factor)
{
    for (size_t i = 0; i < n; i++) {
        g[i] *= factor;
    }
}

/* What a batch's losses are multiplied by; one of ignored labels only changes nothing. */
static float inverse_of(double weight)
{
    return weight > 0.0 ? 1.0F / (float)weight : 0.0F;
}

/* Backward of a batch, chunk by chunk, into sink; the first chunk's keep is the sink's. What a
 * batch of several chunks counts for is known behind the last: its gradient is scaled then. */
static weft_status batch(weft_run *r, const float *weights, const uint32_t *index, uint32_t n,
                         weft_sink sink, weft_loss_sum *sum)
{
    const bool chunked = n > r->chunk;
    double weight = 0.0;
    for (uint32_t at = 0; at < n; at += r->chunk) {
        const uint32_t some = n - at < r->chunk ? n - at : r->chunk;
        weft_truth truth;
        WEFT_TRY(weft_run_fetch(r, index + at, some, &truth));
        (void)weft_net_forward(r->net, weights, weft_net_input(r->net), some,
                               true); /* kept inside */
        weight += weft_net_truth_weight(r->net, &truth, some);
        const float inverse_n = inverse_of(chunked ? (double)n : weight);
        WEFT_TRY(weft_net_backward(r->net, &truth, inverse_n, &sink, sum, r->err));
        sink.keep = 1.0F;
    }
    if (chunked && weight != (double)n) {
        scale_by(sink.to, (size_t)r->state->layout->n_params, (float)n * inverse_of(weight));
    }
    return WEFT_OK;
}

/* Does a step go through a gradient vector? Else backward changes the weights themselves. */
static bool needs_gradient(const weft_plan *plan, bool chunked)
{
    float keep = 0.0F;
    float scale = 0.0F;
    return chunked || plan->clip_gradient > 0.0 || !weft_optimizer_is_plain(plan, &keep, &scale);
}

/* Scale g down to a norm of at most most: sums of fixed blocks, in order. */
static void clip(float *g, size_t n, double most)
{
    enum { BLOCK = 4096 };
    double squares = 0.0;
    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t some = n - at < BLOCK ? n - at : BLOCK;
        squares += (double)weft_dot(g + at, g + at, some);
    }
    const double norm = sqrt(squares);
    if (norm > most) {
        scale_by(g, n, (float)(most / norm));
    }
}

static weft_status step(weft_run *r, step_job *job, const uint32_t *index, uint32_t n,
                        weft_loss_sum *sum)
{
    weft_trainer_state *state = r->state;
    weft_plan *plan = &job->plan;
    weft_sink sink = {job->weights, 0.0F, 0.0F};
    plan->learning_rate = job->rate;
    plan->learning_rate = weft_schedule_rate(plan, job->round, job->step, r->total);
    job->step++;
    (void)weft_optimizer_is_plain(plan, &sink.keep, &sink.scale); /* only for the two factors */
    if (needs_gradient(plan, n > r->chunk)) {
        sink = (weft_sink){state->gradient.data, 0.0F, 1.0F};
    }
    WEFT_TRY(batch(r, job->weights, index, n, sink, sum));
    if (sink.to != job->weights) {
        if (plan->clip_gradient > 0.0) {
            clip(sink.to, (size_t)job->n_params, plan->clip_gradient);
        }
        weft_optimizer_step(plan, job->weights, sink.to, state->base.data, state->state.data,
                            (size_t)job->n_params, job->step);
    }
    weft_net_put_running(r->net, job->weights);
    return WEFT_OK;
}

static weft_status epoch(weft_run *r, step_job *job, uint32_t batch_size, weft_loss_sum *sum)
{
    const uint32_t n = (uint32_t)r->source->n_examples;
    const uint32_t *index = r->state->index.data;
    for (uint32_t at = 0; at < n;) {
        const uint32_t some = n - at < batch_size ? n - at : batch_size;
        WEFT_TRY(step(r, job, index + at, some, sum));
        if (!isfinite(sum->loss)) {
            WEFT_FAIL(r->err, WEFT_E_INVALID,
                      "the loss is not finite after %llu batches: lower learning_rate (%g)",
                      (unsigned long long)job->step, job->rate);
        }
        WEFT_TRY(weft_run_report(r));
        at += some;
    }
    return WEFT_OK;
}

static weft_status reserve_optimizer(const weft_run *r, const step_job *job, uint32_t batch_size)
{
    weft_trainer_state *state = r->state;
    const weft_plan *plan = &job->plan;
    const unsigned n_state = weft_optimizer_n_state(plan);
    if (needs_gradient(plan, batch_size > r->chunk)) {
        WEFT_TRY(weft_run_reserve(state, &state->gradient, job->n_params, sizeof(float), r->err));
    }
    if (n_state > 0) {
        WEFT_TRY(
            weft_run_reserve(state, &state->state, n_state * job->n_params, sizeof(float), r->err));
        memset(state->state.data, 0, (size_t)(n_state * job->n_params) * sizeof(float));
    }
    if (weft_optimizer_needs_base(plan)) {
        WEFT_TRY(weft_run_reserve(state, &state->base, job->n_params, sizeof(float), r->err));
        memcpy(state->base.data, job->weights, (size_t)job->n_params * sizeof(float));
    }
    return WEFT_OK;
}

weft_status weft_train(weft_train_result *ret, weft_trainer_state *state, float *weights,
                       const weft_plan *plan, uint64_t seed, const weft_batch_source *source,
                       const weft_train_control *control, weft_err *err)
{
    static const uint64_t shuffle_stream = 0x73687566;
    static const uint64_t augment_stream = 0x6175676d;
    weft_run r = {.state = state, .source = source, .control = control, .err = err};
    WEFT_TRY(weft_plan_check(plan, err));
    WEFT_TRY(weft_run_check_data(&r));
    WEFT_TRY(weft_plan_check_model(plan, state->spec, err));
    const uint32_t n = (uint32_t)source->n_examples;
    const uint32_t batch_size =
        plan->batch_size == 0 || plan->batch_size > n ? n : plan->batch_size;
    step_job job = {.plan = *plan,
                    .rate = plan->learning_rate,
                    .round = control && control->round > 0 ? control->round : 1,
                    .weights = weights,
                    .n_params = state->layout->n_params};
    r.chunk = batch_size < WEFT_TRAIN_CHUNK ? batch_size : WEFT_TRAIN_CHUNK;
    r.total = plan->epochs * ((n - 1) / (uint64_t)batch_size + 1);
    if (state->trained != plan->numerics) {
        weft_net_free(state->trainer);
        state->trainer = NULL;
        state->trained = plan->numerics;
    }
    WEFT_TRY(weft_run_reserve_net(state, &state->trainer, r.chunk, true, err));
    r.net = state->trainer;
    WEFT_TRY(weft_run_prepare(&r));
    WEFT_TRY(reserve_optimizer(&r, &job, batch_size));
    if (weft_plan_augments(plan)) {
        WEFT_TRY(weft_run_reserve(state, &state->image, source->n_features, sizeof(float), err));
        r.augment = plan;
        weft_rng_init(&r.augment_rng, seed, augment_stream);
    }
    weft_net_seed(r.net, seed);
    weft_net_take_running(r.net, weights);
    weft_rng shuffle;
    weft_rng_init(&shuffle, seed, shuffle_stream);
    weft_loss_sum sum = {0};
    double lowest = (double)INFINITY;
    uint32_t idle = 0; /* epochs since */
    for (uint32_t i = 0; i < plan->epochs && (plan->early_stop == 0 || idle < plan->early_stop);
         i++) {
        sum = (weft_loss_sum){0};
        if (batch_size < n) { /* the order within one batch of everything is of no use */
            weft_rng_shuffle(&shuffle, state->index.data, n);
        }
        WEFT_TRY(epoch(&r, &job, batch_size, &sum));
        idle = sum.loss < lowest ? 0 : idle + 1;
        lowest = sum.loss < lowest ? sum.loss : lowest;
    }
    if (!weft_all_finite(weights, (size_t)job.n_params)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the weights are not finite after %llu batches: lower learning_rate (%g)",
                  (unsigned long long)job.step, plan->learning_rate);
    }
    *ret = weft_run_result(&r, &sum, job.step);
    return WEFT_OK;
}

weft_status weft_train_plan_memory(weft_train_memory *ret, const weft_spec *spec,
                                   const weft_plan *plan, const weft_alloc *a, weft_err *err)
{
    weft_layout *layout = NULL;
    weft_net_memory net;
    weft_net_options options = WEFT_NET_OPTIONS_INIT;
    const bool chunked = plan->batch_size == 0 || plan->batch_size > WEFT_TRAIN_CHUNK;
    options.max_batch = chunked ? WEFT_TRAIN_CHUNK : plan->batch_size;
    options.train = true;
    options.numerics = plan->numerics;
    WEFT_TRY(weft_plan_check(plan, err));
    WEFT_TRY(weft_layout_new(&layout, spec, a, err));
    const weft_status status = weft_net_plan_memory(&net, spec, layout, &options, a, err);
    weft_layout_free(layout);
    WEFT_TRY(status);
    const uint64_t vectors = (needs_gradient(plan, chunked) ? 1U : 0U) +
                             weft_optimizer_n_state(plan) +
                             (weft_optimizer_needs_base(plan) ? 1U : 0U);
    *ret = (weft_train_memory){.parameters = net.parameters,
                               .optimizer = vectors * net.parameters,
                               .activations = net.activations,
                               .scratch = net.scratch};
    return WEFT_OK;
}
