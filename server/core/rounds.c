/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attempt's life: its record, its beginning, its ends, and whose turn it is meanwhile. Each
 * state has a deadline, but for AGGREGATING, which waits for the shell alone.
 */
#include "core/core_priv.h"

#include <string.h>

/* ---- records --------------------------------------------------------------------------------- */

weft_status core_round_add(core_round **ret, weft_core *core, core_job *job,
                           const weft_round_row *row, weft_err *err)
{
    core_round *round = weft_array(core->alloc, 1, sizeof *round);
    if (!round) {
        return core_no_memory(err, 1, "round");
    }
    round->row = *row;
    round->job = job;
    job->round = round;
    *ret = round;
    return WEFT_OK;
}

void core_round_free(weft_core *core, core_round *round)
{
    if (round) {
        weft_secure_session_unref(round->session);
        weft_free(core->alloc, round->eligible);
        weft_free(core->alloc, round->list);
        weft_free(core->alloc, round);
    }
}

uint32_t core_round_lost(const core_round *round)
{
    const uint32_t filled = round->open + round->row.accepted;
    return round->row.state == WEFT_ROUND_TRAINING && core_secure_gathering(round) &&
                   filled < round->row.cohort
               ? round->row.cohort - filled
               : 0;
}

uint32_t core_round_to_ask(const weft_core *core, const core_round *round)
{
    const uint32_t wanted = round->job->def.eval_clients;
    const bool asking = round->asked == 0 || core->now_ms < round->asking_ends_ms;
    return round->row.state == WEFT_ROUND_EVALUATING && core_secure_gathering(round) && asking &&
                   round->asked < wanted
               ? wanted - round->asked
               : 0;
}

weft_status core_round_begin(core_round **ret, weft_core *core, core_job *job, core_names *eligible,
                             uint32_t cohort, weft_err *err)
{
    weft_round_row row = {
        .job_id = job->row.job_id,
        .round = job->row.round,
        .attempt = job->row.attempts + 1,
        .state = WEFT_ROUND_TRAINING,
        .eligible = eligible->n,
        .cohort = cohort,
        .deadline_ms = core_later(core->now_ms, job->def.deadline_ms),
        .opened_unix_ms = core->unix_ms,
    };
    memcpy(row.base, job->row.version, WEFT_DIGEST_BYTES);
    core_round *round = NULL;
    WEFT_TRY(core_round_add(&round, core, job, &row, err));
    round->eligible = eligible;
    core_touch_round(core, round);
    WEFT_TRY(core_secure_begin(core, round, job->def.task, err));
    WEFT_TRY(core_sum(core, WEFT_ACTION_OPEN_SUM, round, err));
    char text[WEFT_REASON_BYTES];
    core_text(text, "%u of %u eligible clients train", cohort, eligible->n);
    WEFT_TRY(core_notify(core, "round", job, round, "", text, err));
    *ret = round;
    return WEFT_OK;
}

/* ---- ends ------------------------------------------------------------------------------------ */

void core_round_set_state(weft_core *core, core_round *round, weft_round_state state,
                          const char *reason)
{
    round->row.state = state;
    core_text_cut(round->row.reason, reason);
    core_touch_round(core, round);
}

weft_status core_round_end_open(weft_core *core, core_round *round, weft_assignment_state state,
                                const char *reason, weft_err *err)
{
    for (uint32_t i = 0; i < round->n; i++) {
        core_assignment *a = round->list[i];
        if (a->row.state == WEFT_ASSIGNMENT_OPEN) {
            core_assignment_end(core, a, state, WEFT_REFUSAL_LATE, reason);
            WEFT_TRY(core_fold(core, WEFT_ACTION_DROP_UPDATE, a, err));
        }
    }
    return WEFT_OK;
}

static weft_status drop_updates(weft_core *core, const core_round *round, weft_task task,
                                weft_err *err)
{
    for (uint32_t i = 0; i < round->n; i++) {
        const core_assignment *a = round->list[i];
        if (a->row.task == task &&
            (a->row.state == WEFT_ASSIGNMENT_ACCEPTED || a->row.state == WEFT_ASSIGNMENT_EXPIRED)) {
            WEFT_TRY(core_fold(core, WEFT_ACTION_DROP_UPDATE, a, err));
        }
    }
    return WEFT_OK;
}

weft_status core_round_drop_updates(weft_core *core, const core_round *round, weft_err *err)
{
    return drop_updates(core, round, round->job->def.task, err);
}

/* The job has no open round any more. The row lives until the next event. */
static void detach(weft_core *core, core_round *round)
{
    for (uint32_t i = 0; i < round->n; i++) {
        core_assignment_retire(core, round->list[i]);
    }
    round->job->round = NULL;
    weft_free(core->alloc, round->list);
    round->list = NULL;
    round->n = 0;
    core_bury(core, &round->node);
}

weft_status core_round_fail(weft_core *core, core_round *round, const char *reason,
                            weft_assignment_state state, weft_err *err)
{
    WEFT_TRY(core_round_end_open(core, round, state, reason, err));
    core_round_set_state(core, round, WEFT_ROUND_FAILED, reason);
    round->row.closed_unix_ms = core->unix_ms;
    WEFT_TRY(core_sum(core, WEFT_ACTION_DROP_SUM, round, err));
    if (round->session && round->session_masked > 0) {
        /* a client that sent masked input joins no later attempt of the round: the next one is a
         * round of its own, with new training */
        round->job->row.round++;
        core_touch_job(core, round->job);
    }
    WEFT_TRY(core_secure_end(core, round, reason, err));
    WEFT_TRY(core_round_drop_updates(core, round, err));
    WEFT_TRY(core_notify(core, "round", round->job, round, "", reason, err));
    detach(core, round);
    return WEFT_OK;
}

weft_status core_round_attempt_failed(weft_core *core, core_round *round, const char *reason,
                                      weft_err *err)
{
    core_job *job = round->job;
    const uint32_t number = round->row.round;
    WEFT_TRY(core_round_fail(core, round, reason, WEFT_ASSIGNMENT_LATE, err));
    return core_job_attempt_failed(core, job, number, reason, err);
}

void core_round_mean(weft_metrics *ret, const core_round *round, bool evaluate)
{
    weft_metrics_mean mean = {0};
    for (uint32_t i = 0; i < round->n; i++) {
        const weft_assignment_row *row = &round->list[i]->row;
        if (row->state == WEFT_ASSIGNMENT_ACCEPTED &&
            (row->task == WEFT_TASK_EVALUATE) == evaluate) {
            weft_metrics_mean_add(&mean, &row->metrics, row->n_examples);
        }
    }
    weft_metrics_mean_get(&mean, ret);
}

weft_status core_round_done(weft_core *core, core_round *round, const char *reason, weft_err *err)
{
    const bool secure = round->job->def.secure_aggregation; /* its metrics came out of the sum */
    WEFT_TRY(core_round_end_open(core, round, WEFT_ASSIGNMENT_LATE, reason, err));
    if (round->reported > 0 && !secure) {
        core_round_mean(&round->row.federated, round, true);
    }
    if (round->session) {
        WEFT_TRY(core_sum(core, WEFT_ACTION_DROP_SUM, round, err));
        WEFT_TRY(drop_updates(core, round, WEFT_TASK_EVALUATE, err));
        const bool good = round->session_over && !round->session_failed;
        WEFT_TRY(core_secure_end(core, round, good ? NULL : reason, err));
    }
    core_round_set_state(core, round, WEFT_ROUND_DONE, reason);
    round->row.closed_unix_ms = core->unix_ms;
    const bool evaluated = round->row.federated.n > 0 || round->row.central.n > 0;
    WEFT_TRY(core_notify(core, "round", round->job, round, "", reason, err));
    detach(core, round);
    return core_job_round_done(core, round->job, &round->row, evaluated, err);
}

uint32_t core_round_come(const core_round *round)
{
    return round->session ? round->come : round->row.accepted;
}

weft_status core_round_name_liars(weft_core *core, core_round *round, const weft_event *event,
                                  weft_err *err)
{
    const char *liars = event->u.finished.liars;
    char text[WEFT_REASON_BYTES];
    if (!liars || !liars[0]) {
        return WEFT_OK;
    }
    core_text(text, "wrong shares, corrected, of: %s", liars);
    core_text_cut(round->row.reason, text);
    core_touch_round(core, round);
    return core_notify(core, "round", round->job, round, "", text, err);
}

/* ---- what is due ----------------------------------------------------------------------------- */

weft_status core_round_advance(weft_core *core, core_job *job, bool *changed, weft_err *err)
{
    core_round *round = job->round;
    if (!round) {
        return WEFT_OK;
    }
    switch (round->row.state) {
    case WEFT_ROUND_TRAINING:
        return core_training_advance(core, round, changed, err);
    case WEFT_ROUND_AGGREGATING:
        return core_round_finish(core, round, err);
    case WEFT_ROUND_EVALUATING:
        return core_evaluation_advance(core, round, changed, err);
    case WEFT_ROUND_DONE:
    case WEFT_ROUND_FAILED:
    default:
        return WEFT_OK;
    }
}

uint64_t core_round_next_ms(const weft_core *core, const core_round *round)
{
    uint64_t next_ms = round->row.deadline_ms;
    if (round->row.state == WEFT_ROUND_AGGREGATING) {
        return CORE_NEVER;
    }
    if (round->row.state == WEFT_ROUND_TRAINING &&
        round->open + round->row.accepted < round->job->def.minimum &&
        round->recheck_ms < next_ms) {
        next_ms = round->recheck_ms;
    }
    if (round->row.state == WEFT_ROUND_EVALUATING && core_secure_gathering(round) &&
        round->asked > 0 && round->asking_ends_ms > core->now_ms &&
        round->asking_ends_ms < next_ms) {
        next_ms = round->asking_ends_ms;
    }
    return next_ms;
}
