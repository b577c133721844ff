/* SPDX-License-Identifier: Apache-2.0 */
/* A trainer's state, and what training and evaluation do alike. Threads: one at a time. */
#include "nn/sequence.h"
#include "nn/train/augment.h"
#include "nn/train/run_priv.h"

#include <string.h>

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
    const weft_vector all[] = {state->gradient, state->state,   state->base,  state->index,
                               state->labels,   state->targets, state->image, state->scores};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        weft_free(a, all[i].data);
    }
    weft_free(a, state);
}

uint64_t weft_trainer_state_n_params(const weft_trainer_state *state)
{
    return state->layout->n_params;
}

weft_status weft_run_reserve(weft_trainer_state *state, weft_vector *v, uint64_t n, size_t size,
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

weft_status weft_run_reserve_net(weft_trainer_state *state, weft_net **net, uint32_t batch,
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

/* ---- a run ----------------------------------------------------------------------------------- */

/* Labels or targets, and how many of them. */
static weft_status check_truth(const weft_run *r)
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

weft_status weft_run_check_data(const weft_run *r)
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

weft_status weft_run_prepare(weft_run *r)
{
    weft_trainer_state *state = r->state;
    WEFT_TRY(
        weft_run_reserve(state, &state->index, r->source->n_examples, sizeof(uint32_t), r->err));
    uint32_t *index = state->index.data;
    for (uint32_t i = 0; i < r->source->n_examples; i++) {
        index[i] = i;
    }
    WEFT_TRY(weft_run_reserve(state, &state->labels, (uint64_t)r->chunk * weft_net_n_labels(r->net),
                              sizeof(uint32_t), r->err));
    return weft_run_reserve(state, &state->targets, (uint64_t)r->chunk * weft_net_n_outputs(r->net),
                            sizeof(float), r->err);
}

weft_status weft_run_fetch(weft_run *r, const uint32_t *index, uint32_t n, weft_truth *truth)
{
    const weft_batch_source *s = r->source;
    uint32_t *labels = s->n_targets == 0 ? r->state->labels.data : NULL;
    float *targets = s->n_targets > 0 ? r->state->targets.data : NULL;
    float *x = weft_net_input(r->net);
    *truth = (weft_truth){labels, targets};
    WEFT_TRY(s->fetch(s->self, index, n, x, labels, targets, r->err));
    const weft_spec *spec = r->state->spec;
    if (spec->vocab > 0) {
        return weft_tokens_check(x, n, spec->input.h, spec->vocab, r->err);
    }
    for (uint32_t i = 0; i < n && r->augment; i++) {
        weft_augment(x + (size_t)i * s->n_features, r->state->image.data, &spec->input, r->augment,
                     &r->augment_rng);
    }
    return WEFT_OK;
}

weft_status weft_run_report(weft_run *r)
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

weft_train_result weft_run_result(const weft_run *r, const weft_loss_sum *sum, uint64_t n_batches)
{
    const weft_loss loss = weft_net_loss_kind(r->net);
    const bool classes = loss == WEFT_LOSS_SOFTMAX_CE ||
                         (loss == WEFT_LOSS_SIGMOID_CE && weft_net_n_outputs(r->net) == 1);
    const double n = sum->n > 0 ? (double)sum->n : 1.0; /* no step may have had a label */
    return (weft_train_result){
        .n_examples = r->source->n_examples,
        .n_batches = n_batches,
        .loss = sum->weight > 0.0 ? sum->loss / sum->weight : 0.0,
        .accuracy = classes ? (double)sum->correct / n : 0.0,
        .has_accuracy = classes,
    };
}
