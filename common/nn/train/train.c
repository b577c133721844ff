/* SPDX-License-Identifier: Apache-2.0 */
/* The training loop and the evaluation of weights. Threads: a state belongs to one at a time. */
#include "nn/train/train.h"

#include "base/rng.h"
#include "nn/sequence.h"
#include "nn/tensor.h"
#include "nn/train/optimizer.h"

#include <math.h>
#include <string.h>

/* Examples in one forward of an evaluation: fixed, as sums depend on it in their last bit. */
enum { EVALUATE_CHUNK = 64 };

typedef struct vector {
    void *data; /* owned */
    size_t n;   /* elements there is room for */
} vector;

struct weft_trainer_state {
    const weft_alloc *alloc;
    weft_spec *spec;          /* owned */
    weft_layout *layout;      /* owned */
    weft_net_options options; /* of all nets, but for max_batch and train */
    weft_numerics trained;    /* numerics of trainer */
    weft_net *trainer;        /* owned; NULL before the first training */
    weft_net *evaluator;      /* owned; NULL before the first evaluation */
    vector gradient;          /* float [n_params], where the optimizer needs it */
    vector state;             /* float [0..2][n_params] */
    vector base;              /* float [n_params] */
    vector index;             /* uint32_t [n_examples] */
    vector labels;            /* uint32_t [chunk][n_labels] */
    vector targets;           /* float [chunk][n_outputs] */
};

static weft_status copy_spec(weft_spec **ret, const weft_spec *spec, const weft_alloc *a,
                             weft_err *err)
{
    weft_spec *copy = weft_array(a, 1, sizeof *copy);
    weft_layer *layers = weft_array(a, spec->n_layers, sizeof *layers);
    if (!copy || !layers) {
        weft_free(a, copy);
        weft_free(a, layers);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a trainer");
    }
    memcpy(layers, spec->layers, spec->n_layers * sizeof *layers);
    *copy = *spec;
    copy->alloc = a;
    copy->layers = layers;
    copy->class_weights = NULL;
    *ret = copy; /* the caller's to free from here on */
    if (spec->class_weights) {
        const uint32_t classes = weft_spec_output(spec)->c;
        copy->class_weights = weft_array(a, classes, sizeof *copy->class_weights);
        if (!copy->class_weights) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a trainer");
        }
        memcpy(copy->class_weights, spec->class_weights, classes * sizeof *copy->class_weights);
    }
    return WEFT_OK;
}

weft_status weft_trainer_state_new(weft_trainer_state **ret, const weft_spec *spec,
                                   const weft_net_options *options, const weft_alloc *a,
                                   weft_err *err)
{
    if (spec->n_layers == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the model is plain tensors: only a trainer of its own can use it");
    }
    weft_trainer_state *state = weft_array(a, 1, sizeof *state);
    if (!state) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a trainer");
    }
    state->alloc = a;
    state->options = options ? *options : (weft_net_options)WEFT_NET_OPTIONS_INIT;
    state->trained = state->options.numerics;
    weft_status status = copy_spec(&state->spec, spec, a, err);
    if (status == WEFT_OK) {
        status = weft_layout_new(&state->layout, spec, a, err);
    }
    if (status != WEFT_OK) {
        weft_trainer_state_free(state);
        return status;
    }
    *ret = state;
    return WEFT_OK;
}

void weft_trainer_state_free(weft_trainer_state *state)
{
    if (!state) {
        return;
    }
    const weft_alloc *a = state->alloc;
    weft_net_free(state->trainer);
    weft_net_free(state->evaluator);
    weft_layout_free(state->layout);
    weft_spec_free(state->spec);
    const vector all[] = {state->gradient, state->state,  state->base,
                          state->index,    state->labels, state->targets};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        weft_free(a, all[i].data);
    }
    weft_free(a, state);
}

uint64_t weft_trainer_state_n_params(const weft_trainer_state *state)
{
    return state->layout->n_params;
}

/* Room for n elements; what was in it is lost. */
static weft_status reserve(weft_trainer_state *state, vector *v, uint64_t n, size_t size,
                           weft_err *err)
{
    if (n <= v->n) {
        return WEFT_OK;
    }
    weft_free(state->alloc, v->data);
    v->n = 0;
    v->data = weft_array_resize(state->alloc, NULL, (size_t)n, size);
    if (!v->data) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for training: %llu values", (unsigned long long)n);
    }
    v->n = (size_t)n;
    return WEFT_OK;
}

static weft_status reserve_net(weft_trainer_state *state, weft_net **net, uint32_t batch,
                               bool train, weft_err *err)
{
    if (*net && weft_net_max_batch(*net) >= batch) {
        return WEFT_OK;
    }
    weft_net_free(*net);
    *net = NULL;
    weft_net_options options = state->options;
    options.max_batch = batch;
    options.train = train;
    options.numerics = train ? state->trained : state->options.numerics;
    return weft_net_new(net, state->spec, state->layout, &options, state->alloc, err);
}

/* ---- one chunk ------------------------------------------------------------------------------- */

/* What a run works on. */
typedef struct run {
    weft_trainer_state *state;
    weft_net *net;
    const weft_batch_source *source;
    const weft_train_control *control;
    weft_err *err;
    uint32_t chunk; /* most examples of one forward */
    uint64_t done;  /* batches, for progress */
    uint64_t total;
} run;

/* Labels or targets, and how many of them. */
static weft_status check_truth(const run *r)
{
    const weft_spec *spec = r->state->spec;
    const weft_batch_source *s = r->source;
    const uint32_t outputs = weft_shape_size(weft_spec_output(spec));
    const uint32_t wanted = weft_spec_n_labels(spec);
    const uint32_t labels = s->n_labels > 0 ? s->n_labels : 1;
    const bool takes_labels =
        spec->loss == WEFT_LOSS_SOFTMAX_CE || (spec->loss == WEFT_LOSS_SIGMOID_CE && outputs == 1);
    if (spec->loss == WEFT_LOSS_SOFTMAX_CE && s->n_targets != 0) {
        WEFT_FAIL(r->err, WEFT_E_INVALID,
                  "softmax_cross_entropy wants labels, the data have target values");
    }
    if (takes_labels && s->n_targets == 0) {
        if (labels != wanted) {
            WEFT_FAIL(r->err, WEFT_E_INVALID,
                      "the data have %u labels an example, the model's outputs want %u", labels,
                      wanted);
        }
        return WEFT_OK;
    }
    if (s->n_targets != outputs) {
        WEFT_FAIL(r->err, WEFT_E_INVALID, "%s wants %u target values an example, the data have %u",
                  weft_loss_name(spec->loss), outputs, s->n_targets);
    }
    return WEFT_OK;
}

static weft_status check_data(const run *r)
{
    const weft_batch_source *s = r->source;
    const uint32_t inputs = weft_shape_size(&r->state->spec->input);
    if (s->n_examples == 0 || s->n_examples > UINT32_MAX) {
        WEFT_FAIL(r->err, WEFT_E_INVALID, "the data have %llu examples, not 1 to %u",
                  (unsigned long long)s->n_examples, UINT32_MAX);
    }
    if (s->n_features != inputs) {
        WEFT_FAIL(r->err, WEFT_E_INVALID, "the data have %u features, the model takes %u",
                  s->n_features, inputs);
    }
    return check_truth(r);
}

static weft_status prepare(run *r)
{
    weft_trainer_state *state = r->state;
    WEFT_TRY(reserve(state, &state->index, r->source->n_examples, sizeof(uint32_t), r->err));
    uint32_t *index = state->index.data;
    for (uint32_t i = 0; i < r->source->n_examples; i++) {
        index[i] = i;
    }
    WEFT_TRY(reserve(state, &state->labels, (uint64_t)r->chunk * weft_net_n_labels(r->net),
                     sizeof(uint32_t), r->err));
    return reserve(state, &state->targets, (uint64_t)r->chunk * weft_net_n_outputs(r->net),
                   sizeof(float), r->err);
}

/* Fetch examples into the net's input. */
static weft_status fetch(const run *r, const uint32_t *index, uint32_t n, weft_truth *truth)
{
    const weft_batch_source *s = r->source;
    uint32_t *labels = s->n_targets == 0 ? r->state->labels.data : NULL;
    float *targets = s->n_targets > 0 ? r->state->targets.data : NULL;
    float *x = weft_net_input(r->net);
    *truth = (weft_truth){labels, targets};
    WEFT_TRY(s->fetch(s->self, index, n, x, labels, targets, r->err));
    const weft_spec *spec = r->state->spec;
    return spec->vocab > 0 ? weft_tokens_check(x, n, spec->input.h, spec->vocab, r->err) : WEFT_OK;
}

static weft_status report(run *r)
{
    const weft_train_control *c = r->control;
    r->done++;
    if (c && c->progress) {
        c->progress(c->self, r->done, r->total);
    }
    if (c && c->canceled && c->canceled(c->self)) {
        WEFT_FAIL(r->err, WEFT_E_CANCELED, "canceled after %llu of %llu batches",
                  (unsigned long long)r->done, (unsigned long long)r->total);
    }
    return WEFT_OK;
}

/* ---- training -------------------------------------------------------------------------------- */

typedef struct step_job {
    const weft_plan *plan;
    float *weights;
    uint64_t n_params;
    uint64_t step; /* from 1 */
} step_job;

/* Backward of a batch, chunk by chunk, into sink; the first chunk's keep is the sink's. */
static weft_status batch(const run *r, const float *weights, const uint32_t *index, uint32_t n,
                         weft_sink sink, weft_loss_sum *sum)
{
    const float inverse_n = 1.0F / (float)n;
    for (uint32_t at = 0; at < n; at += r->chunk) {
        const uint32_t some = n - at < r->chunk ? n - at : r->chunk;
        weft_truth truth;
        WEFT_TRY(fetch(r, index + at, some, &truth));
        (void)weft_net_forward(r->net, weights, weft_net_input(r->net), some,
                               true); /* kept inside */
        WEFT_TRY(weft_net_backward(r->net, &truth, inverse_n, &sink, sum, r->err));
        sink.keep = 1.0F;
    }
    return WEFT_OK;
}

static weft_status step(const run *r, step_job *job, const uint32_t *index, uint32_t n,
                        weft_loss_sum *sum)
{
    weft_trainer_state *state = r->state;
    weft_sink sink = {job->weights, 0.0F, 0.0F};
    job->step++;
    if (weft_optimizer_is_plain(job->plan, &sink.keep, &sink.scale) && n <= r->chunk) {
        WEFT_TRY(batch(r, job->weights, index, n, sink, sum));
        weft_net_put_running(r->net, job->weights);
        return WEFT_OK;
    }
    sink = (weft_sink){state->gradient.data, 0.0F, 1.0F};
    WEFT_TRY(batch(r, job->weights, index, n, sink, sum));
    weft_optimizer_step(job->plan, job->weights, state->gradient.data, state->base.data,
                        state->state.data, (size_t)job->n_params, job->step);
    weft_net_put_running(r->net, job->weights);
    return WEFT_OK;
}

static weft_status epoch(run *r, step_job *job, uint32_t batch_size, weft_loss_sum *sum)
{
    const uint32_t n = (uint32_t)r->source->n_examples;
    const uint32_t *index = r->state->index.data;
    for (uint32_t at = 0; at < n;) {
        const uint32_t some = n - at < batch_size ? n - at : batch_size;
        WEFT_TRY(step(r, job, index + at, some, sum));
        if (!isfinite(sum->loss)) {
            WEFT_FAIL(r->err, WEFT_E_INVALID,
                      "the loss is not finite after %llu batches: lower learning_rate (%g)",
                      (unsigned long long)job->step, job->plan->learning_rate);
        }
        WEFT_TRY(report(r));
        at += some;
    }
    return WEFT_OK;
}

static weft_status reserve_optimizer(const run *r, const step_job *job, uint32_t batch_size)
{
    weft_trainer_state *state = r->state;
    const weft_plan *plan = job->plan;
    const unsigned n_state = weft_optimizer_n_state(plan);
    float keep = 0.0F;
    float scale = 0.0F;
    if (!weft_optimizer_is_plain(plan, &keep, &scale) || batch_size > r->chunk) {
        WEFT_TRY(reserve(state, &state->gradient, job->n_params, sizeof(float), r->err));
    }
    if (n_state > 0) {
        WEFT_TRY(reserve(state, &state->state, n_state * job->n_params, sizeof(float), r->err));
        memset(state->state.data, 0, (size_t)(n_state * job->n_params) * sizeof(float));
    }
    if (weft_optimizer_needs_base(plan)) {
        WEFT_TRY(reserve(state, &state->base, job->n_params, sizeof(float), r->err));
        memcpy(state->base.data, job->weights, (size_t)job->n_params * sizeof(float));
    }
    return WEFT_OK;
}

static weft_train_result result_of(const run *r, const weft_loss_sum *sum, uint64_t n_batches)
{
    const weft_loss loss = weft_net_loss_kind(r->net);
    const bool classes = loss == WEFT_LOSS_SOFTMAX_CE ||
                         (loss == WEFT_LOSS_SIGMOID_CE && weft_net_n_outputs(r->net) == 1);
    const double n = sum->n > 0 ? (double)sum->n : 1.0; /* no step may have had a label */
    return (weft_train_result){
        .n_examples = r->source->n_examples,
        .n_batches = n_batches,
        .loss = sum->loss / n,
        .accuracy = classes ? (double)sum->correct / n : 0.0,
        .has_accuracy = classes,
    };
}

weft_status weft_train(weft_train_result *ret, weft_trainer_state *state, float *weights,
                       const weft_plan *plan, uint64_t seed, const weft_batch_source *source,
                       const weft_train_control *control, weft_err *err)
{
    static const uint64_t shuffle_stream = 0x73687566;
    run r = {.state = state, .source = source, .control = control, .err = err};
    WEFT_TRY(weft_plan_check(plan, err));
    WEFT_TRY(check_data(&r));
    const uint32_t n = (uint32_t)source->n_examples;
    const uint32_t batch_size =
        plan->batch_size == 0 || plan->batch_size > n ? n : plan->batch_size;
    step_job job = {plan, weights, state->layout->n_params, 0};
    r.chunk = batch_size < WEFT_TRAIN_CHUNK ? batch_size : WEFT_TRAIN_CHUNK;
    r.total = plan->epochs * ((n - 1) / (uint64_t)batch_size + 1);
    if (state->trained != plan->numerics) {
        weft_net_free(state->trainer);
        state->trainer = NULL;
        state->trained = plan->numerics;
    }
    WEFT_TRY(reserve_net(state, &state->trainer, r.chunk, true, err));
    r.net = state->trainer;
    WEFT_TRY(prepare(&r));
    WEFT_TRY(reserve_optimizer(&r, &job, batch_size));
    weft_net_seed(r.net, seed);
    weft_net_take_running(r.net, weights);
    weft_rng shuffle;
    weft_rng_init(&shuffle, seed, shuffle_stream);
    weft_loss_sum sum = {0.0, 0, 0};
    for (uint32_t i = 0; i < plan->epochs; i++) {
        sum = (weft_loss_sum){0.0, 0, 0};
        if (batch_size < n) { /* the order within one batch of everything is of no use */
            weft_rng_shuffle(&shuffle, state->index.data, n);
        }
        WEFT_TRY(epoch(&r, &job, batch_size, &sum));
    }
    if (!weft_all_finite(weights, (size_t)job.n_params)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the weights are not finite after %llu batches: lower learning_rate (%g)",
                  (unsigned long long)job.step, plan->learning_rate);
    }
    *ret = result_of(&r, &sum, job.step);
    return WEFT_OK;
}

/* ---- evaluation ------------------------------------------------------------------------------ */

weft_status weft_evaluate(weft_train_result *ret, weft_trainer_state *state, const float *weights,
                          const weft_batch_source *source, const weft_train_control *control,
                          weft_err *err)
{
    run r = {.state = state, .source = source, .control = control, .err = err};
    WEFT_TRY(check_data(&r));
    const uint32_t n = (uint32_t)source->n_examples;
    r.chunk = EVALUATE_CHUNK;
    r.total = (n - 1) / r.chunk + 1;
    WEFT_TRY(reserve_net(state, &state->evaluator, r.chunk, false, err));
    r.net = state->evaluator;
    WEFT_TRY(prepare(&r));
    weft_loss_sum sum = {0.0, 0, 0};
    const uint32_t *index = state->index.data;
    for (uint32_t at = 0; at < n;) {
        const uint32_t some = n - at < r.chunk ? n - at : r.chunk;
        weft_truth truth;
        WEFT_TRY(fetch(&r, index + at, some, &truth));
        (void)weft_net_forward(r.net, weights, weft_net_input(r.net), some,
                               false); /* kept inside */
        WEFT_TRY(weft_net_loss(r.net, &truth, &sum, err));
        WEFT_TRY(report(&r));
        at += some;
    }
    *ret = result_of(&r, &sum, r.total);
    return WEFT_OK;
}

weft_status weft_train_result_metrics(const weft_train_result *result, weft_metrics *ret,
                                      weft_err *err)
{
    weft_metrics metrics = {0};
    WEFT_TRY(weft_metrics_set(&metrics, "loss", result->loss, err));
    if (result->has_accuracy) {
        WEFT_TRY(weft_metrics_set(&metrics, "accuracy", result->accuracy, err));
    }
    *ret = metrics;
    return WEFT_OK;
}
