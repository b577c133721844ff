/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator's side: the core of production, and a shell that keeps everything in memory. */
#include "federation_priv.h"

#include "crypto/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const weft_alloc *const memory = &weft_alloc_std;

static size_t model_bytes(const sim_federation *fed)
{
    return (size_t)fed->world->layout->n_params * sizeof(float);
}

static weft_status digest_version(sim_federation *fed, sim_version *v, weft_err *err)
{
    return weft_sha256(v->digest, v->weights, model_bytes(fed), err);
}

/* Vouches for the members of secure sessions. */
static weft_status make_operator_key(sim_federation *fed, weft_err *err)
{
    weft_rng rng;
    const weft_entropy entropy = sim_entropy(&rng, fed->world->def.seed, UINT32_MAX);
    return weft_sign_key_generate(&fed->operator_key, &entropy, err);
}

weft_status sim_coordinator_init(sim_federation *fed, const sim_start *start, weft_err *err)
{
    const weft_layout *layout = fed->world->layout;
    weft_core_config config = WEFT_CORE_CONFIG_INIT;
    config.pace_seed = fed->world->def.seed;
    config.federation = SIM_FEDERATION;
    WEFT_TRY(make_operator_key(fed, err));
    memcpy(config.operator_public, fed->operator_key.public_key, sizeof config.operator_public);
    WEFT_TRY(weft_core_new(&fed->core, &config, memory, err));
    fed->aggregator = weft_aggregator_find("fedavg");
    fed->mark = *start;
    fed->mark.weights = NULL;
    fed->mark.next_assignment = start->rounds_done > 0 ? start->next_assignment : 1;
    fed->current.weights = weft_array(memory, (size_t)layout->n_params, sizeof(float));
    fed->next.weights = weft_array(memory, (size_t)layout->n_params, sizeof(float));
    if (!fed->current.weights || !fed->next.weights || !fed->aggregator) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model of %" PRIu64 " parameters",
                  layout->n_params);
    }
    if (start->weights) {
        memcpy(fed->current.weights, start->weights, model_bytes(fed));
    } else {
        weft_layout_init_weights(fed->current.weights, layout, fed->world->spec,
                                 fed->world->def.init_seed);
    }
    return digest_version(fed, &fed->current, err);
}

void sim_coordinator_done(sim_federation *fed)
{
    weft_core_free(fed->core);
    weft_sum_free(fed->sum);
    sim_masked_drop(&fed->masked);
    weft_free(memory, fed->current.weights);
    weft_free(memory, fed->next.weights);
}

/* ---- actions --------------------------------------------------------------------------------- */

static weft_status open_sum(sim_federation *fed, const weft_action *action, weft_err *err)
{
    const weft_job_def *def = &fed->world->def;
    if (action->u.sum.secure) {
        return sim_masked_open(&fed->masked, action->u.sum.secure, err);
    }
    weft_sum_free(fed->sum);
    fed->sum = NULL;
    return weft_sum_new(&fed->sum, fed->world->layout->n_params, action->u.sum.cohort,
                        def->max_examples, def->clip_norm, memory, err);
}

static weft_status fold_masked(sim_federation *fed, uint64_t assignment_id, weft_err *err)
{
    for (uint32_t k = 0; k < fed->world->n_clients; k++) {
        sim_vector *v = &fed->clients[k].vector;
        if (v->assignment_id == assignment_id) {
            WEFT_TRY(sim_masked_fold(&fed->masked, v, err));
            return sim_push(&fed->queue, (sim_due){.kind = SIM_DUE_FOLDED, .id = assignment_id},
                            err);
        }
    }
    WEFT_FAIL(err, WEFT_E_INTERNAL, "an update is folded that nobody holds");
}

/* An update is folded where it was accepted: its bytes are in the task. */
static weft_status fold(sim_federation *fed, const weft_action *action, weft_err *err)
{
    if (fed->world->def.secure_aggregation) {
        return fold_masked(fed, action->u.fold.assignment_id, err);
    }
    const sim_task *t = fed->folding;
    if (!t || !fed->sum) {
        WEFT_FAIL(err, WEFT_E_INTERNAL, "an update is folded that nobody holds");
    }
    const float *delta = weft_codec_f32.view(t->update);
    weft_sum_add_range(fed->sum, delta, 0, fed->world->layout->n_params, action->u.fold.n_examples);
    WEFT_TRY(weft_sum_count(fed->sum, action->u.fold.n_examples, err));
    return sim_push(&fed->queue,
                    (sim_due){.kind = SIM_DUE_FOLDED, .id = action->u.fold.assignment_id}, err);
}

static weft_status tell_round(sim_federation *fed, const weft_round_row *row, weft_err *err)
{
    if (row->state != WEFT_ROUND_DONE && row->state != WEFT_ROUND_FAILED) {
        return WEFT_OK;
    }
    const sim_round round = {row, fed->trained_examples};
    fed->trained_examples = 0;
    return fed->observer.round(fed->observer.self, &round, err);
}

static void look_at_job(sim_federation *fed, const weft_job_row *row)
{
    fed->mark.rounds_done = row->rounds_done;
    fed->mark.has_best = row->has_best;
    fed->mark.best = row->best;
    fed->mark.evals_since_best = row->evals_since_best;
    fed->status = row->status;
    fed->ended = row->status != WEFT_JOB_RUNNING;
    memcpy(fed->reason, row->reason, sizeof fed->reason);
}

static weft_status on_reply(sim_federation *fed, const weft_action *action, weft_err *err)
{
    if (action->u.reply.call >= 16) {
        return sim_client_reply(fed, action, err);
    }
    if (action->u.reply.kind == WEFT_REPLY_ERROR) { /* to the submission */
        WEFT_FAIL(err, action->u.reply.u.error.status, "%s", action->u.reply.u.error.detail);
    }
    return WEFT_OK;
}

static weft_status on_action(sim_federation *fed, const weft_action *action, weft_err *err)
{
    switch (action->kind) {
    case WEFT_ACTION_PERSIST_JOB: /* memory is as durable as it gets here */
        look_at_job(fed, action->u.job);
        return WEFT_OK;
    case WEFT_ACTION_PERSIST_ROUND:
        return tell_round(fed, action->u.round, err);
    case WEFT_ACTION_PERSIST_ASSIGNMENT:
        if (action->u.assignment->assignment_id >= fed->mark.next_assignment) {
            fed->mark.next_assignment = action->u.assignment->assignment_id + 1;
        }
        return WEFT_OK;
    case WEFT_ACTION_REPLY:
        return on_reply(fed, action, err);
    case WEFT_ACTION_OPEN_SUM:
        return open_sum(fed, action, err);
    case WEFT_ACTION_FOLD:
        return fold(fed, action, err);
    case WEFT_ACTION_FINISH:
        fed->work.finish = true;
        fed->work.job_id = action->u.sum.job_id;
        fed->work.round = action->u.sum.round;
        fed->work.attempt = action->u.sum.attempt;
        fed->work.task = action->u.sum.task;
        return WEFT_OK;
    case WEFT_ACTION_DROP_SUM:
        weft_sum_free(fed->sum);
        fed->sum = NULL;
        sim_masked_drop(&fed->masked);
        fed->work.finish = false;
        return WEFT_OK;
    case WEFT_ACTION_EVALUATE:
        fed->work.evaluate = true;
        fed->work.job_id = action->u.publish.job_id;
        fed->work.round = action->u.publish.round;
        return WEFT_OK;
    case WEFT_ACTION_PERSIST_VERSION:
    case WEFT_ACTION_PERSIST_ELIGIBLE:
    case WEFT_ACTION_PERSIST_SECURE:
    case WEFT_ACTION_PERSIST_SECURE_OVER:
    case WEFT_ACTION_DROP_UPDATE: /* a task is given back after the answer to its upload */
    case WEFT_ACTION_PUBLISH:     /* done when the version was made */
    case WEFT_ACTION_CANCEL_CALLS:
    case WEFT_ACTION_NOTIFY:
    default:
        return WEFT_OK;
    }
}

static weft_status run_actions(sim_federation *fed, const weft_actions *list, weft_err *err)
{
    for (size_t i = 0; i < list->n; i++) {
        WEFT_TRY(on_action(fed, &list->item[i], err));
    }
    return WEFT_OK;
}

weft_status sim_coordinator_on(sim_federation *fed, const weft_event *event, weft_err *err)
{
    weft_actions list;
    weft_actions_init(&list, memory);
    weft_status status = weft_core_on(fed->core, event, fed->now_ms, &list, err);
    if (status == WEFT_OK) {
        status = run_actions(fed, &list, err);
    }
    weft_actions_done(&list);
    return status;
}

/* ---- the job --------------------------------------------------------------------------------- */

weft_status sim_coordinator_resume(sim_federation *fed, const sim_start *start, weft_err *err)
{
    weft_job_row row = {.job_id = 1,
                        .def = &fed->world->def,
                        .status = WEFT_JOB_RUNNING,
                        .round = start->rounds_done + 1,
                        .rounds_done = start->rounds_done,
                        .retry_at_ms = fed->now_ms + 1, /* not before everybody is there */
                        .has_version = true,
                        .model_bytes = model_bytes(fed),
                        .has_best = start->has_best,
                        .best = start->best,
                        .evals_since_best = start->evals_since_best};
    memcpy(row.version, fed->current.digest, sizeof row.version);
    weft_actions list;
    weft_actions_init(&list, memory);
    weft_status status = weft_core_restore_job(fed->core, &row, err);
    if (status == WEFT_OK) {
        status = weft_core_resume(fed->core, 2, start->next_assignment, fed->now_ms, &list, err);
    }
    if (status == WEFT_OK) {
        status = run_actions(fed, &list, err);
    }
    weft_actions_done(&list);
    return status;
}

weft_status sim_coordinator_submit(sim_federation *fed, weft_err *err)
{
    weft_event event = {.kind = WEFT_EVENT_JOB_SUBMIT, .call = 1};
    event.u.submit.def = &fed->world->def;
    memcpy(event.u.submit.version, fed->current.digest, WEFT_DIGEST_BYTES);
    event.u.submit.model_bytes = model_bytes(fed);
    return sim_coordinator_on(fed, &event, err);
}

/* ---- work ------------------------------------------------------------------------------------ */

/* Masks off, then as FedAvg does. A difference to the plain sum is a defect and ends everything. */
static weft_status finish_masked(sim_federation *fed, weft_fixed_totals *totals, bool *ret_defect,
                                 weft_err *err)
{
    const weft_status status = sim_masked_finish(totals, &fed->masked, err);
    *ret_defect = status == WEFT_E_INTERNAL;
    if (status != WEFT_OK || fed->work.task == WEFT_TASK_EVALUATE) {
        return status;
    }
    return weft_masked_finish_range(fed->next.weights, fed->current.weights, fed->masked.sum,
                                    totals, 0, fed->world->layout->n_params, err);
}

static weft_status finish(sim_federation *fed, weft_err *err)
{
    const bool secure = fed->world->def.secure_aggregation;
    weft_fixed_totals totals = {0};
    bool defect = false;
    const sim_work work = fed->work;
    fed->work.finish = false;
    weft_event event = {.kind = WEFT_EVENT_FINISHED};
    event.u.finished.job_id = work.job_id;
    event.u.finished.round = work.round;
    event.u.finished.attempt = work.attempt;
    event.u.finished.task = work.task;
    event.u.finished.totals = secure ? &totals : NULL;
    weft_err why = WEFT_ERR_INIT;
    event.u.finished.ok = (secure ? finish_masked(fed, &totals, &defect, &why)
                                  : fed->aggregator->finish(fed->next.weights, fed->current.weights,
                                                            fed->sum, &why)) == WEFT_OK;
    event.u.finished.reason = why.msg;
    if (defect) {
        WEFT_FAIL(err, why.code, "%s", why.msg);
    }
    if (event.u.finished.ok && work.task != WEFT_TASK_EVALUATE) {
        WEFT_TRY(digest_version(fed, &fed->next, err));
        const sim_version old = fed->current;
        fed->current = fed->next;
        fed->next = old;
        memcpy(event.u.finished.version, fed->current.digest, WEFT_DIGEST_BYTES);
        event.u.finished.bytes = model_bytes(fed);
    }
    return sim_coordinator_on(fed, &event, err);
}

static weft_status evaluate(sim_federation *fed, weft_err *err)
{
    const sim_work work = fed->work;
    fed->work.evaluate = false;
    weft_metrics metrics = {0};
    weft_err why = WEFT_ERR_INIT;
    const weft_status status =
        sim_pool_evaluate(fed->pool, &metrics, fed->current.weights, &fed->world->test_view, &why);
    weft_event event = {.kind = WEFT_EVENT_CENTRAL};
    event.u.central.job_id = work.job_id;
    event.u.central.round = work.round;
    event.u.central.metrics = status == WEFT_OK ? &metrics : NULL;
    event.u.central.reason = why.msg;
    return sim_coordinator_on(fed, &event, err);
}

weft_status sim_coordinator_work(sim_federation *fed, bool *ret_any, weft_err *err)
{
    *ret_any = fed->work.finish || fed->work.evaluate;
    if (fed->work.finish) {
        return finish(fed, err);
    }
    return fed->work.evaluate ? evaluate(fed, err) : WEFT_OK;
}
