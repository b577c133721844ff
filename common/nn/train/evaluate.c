/* SPDX-License-Identifier: Apache-2.0 */
/* The evaluation of weights, and results as metrics. Threads: a state belongs to one at a time. */
#include "nn/train/run_priv.h"

#include <stdio.h>

/* Examples in one forward of an evaluation: fixed, as sums depend on it in their last bit. */
enum { EVALUATE_CHUNK = 64 };

weft_status weft_evaluate(weft_train_result *ret, weft_trainer_state *state, const float *weights,
                          const weft_batch_source *source, const weft_train_control *control,
                          weft_err *err)
{
    weft_run r = {.state = state, .source = source, .control = control, .err = err};
    WEFT_TRY(weft_run_check_data(&r));
    const uint32_t n = (uint32_t)source->n_examples;
    r.chunk = EVALUATE_CHUNK;
    r.total = (n - 1) / r.chunk + 1;
    WEFT_TRY(weft_run_reserve_net(state, &state->evaluator, r.chunk, false, err));
    r.net = state->evaluator;
    WEFT_TRY(weft_run_prepare(&r));
    if (weft_tally_wants_scores(state->spec)) {
        WEFT_TRY(weft_run_reserve(state, &state->scores, n, sizeof(weft_scored), err));
    }
    weft_tally tally;
    weft_tally_init(&tally, state->spec, state->scores.data);
    weft_loss_sum sum = {0};
    const uint32_t *index = state->index.data;
    for (uint32_t at = 0; at < n;) {
        const uint32_t some = n - at < r.chunk ? n - at : r.chunk;
        weft_truth truth;
        WEFT_TRY(weft_run_fetch(&r, index + at, some, &truth));
        const float *out = weft_net_forward(r.net, weights, weft_net_input(r.net), some, false);
        WEFT_TRY(weft_net_loss(r.net, &truth, &sum, err));
        weft_tally_add(&tally, out, &truth, some * weft_net_n_labels(r.net));
        WEFT_TRY(weft_run_report(&r));
        at += some;
    }
    *ret = weft_run_result(&r, &sum, r.total);
    weft_tally_get(&tally, &ret->tally);
    return WEFT_OK;
}

static weft_status set_tally(const weft_tally_result *t, bool of_client, weft_metrics *metrics,
                             weft_err *err)
{
    char name[WEFT_MAX_METRIC_NAME_BYTES + 1];
    const char *prefix = of_client ? "client_" : "";
    if (t->has_top) {
        (void)snprintf(name, sizeof name, "top%u", t->top_k); /* at most 11 characters */
        WEFT_TRY(weft_metrics_set(metrics, name, t->top, err));
    }
    if (t->has_auc) {
        (void)snprintf(name, sizeof name, "%sauc", prefix);
        WEFT_TRY(weft_metrics_set(metrics, name, t->auc, err));
    }
    for (uint32_t i = 0; i < WEFT_SPEC_MAX_RECALL; i++) {
        if (t->has_recall[i]) {
            (void)snprintf(name, sizeof name, "%srecall_%u", prefix, i);
            WEFT_TRY(weft_metrics_set(metrics, name, t->recall[i], err));
        }
    }
    return WEFT_OK;
}

weft_status weft_train_result_metrics(const weft_train_result *result, bool of_client,
                                      weft_metrics *ret, weft_err *err)
{
    weft_metrics metrics = {0};
    WEFT_TRY(weft_metrics_set(&metrics, "loss", result->loss, err));
    if (result->has_accuracy) {
        WEFT_TRY(weft_metrics_set(&metrics, "accuracy", result->accuracy, err));
    }
    WEFT_TRY(set_tally(&result->tally, of_client, &metrics, err));
    *ret = metrics;
    return WEFT_OK;
}
