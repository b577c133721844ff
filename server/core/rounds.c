/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attempt's life: training until the target, the deadline or nobody is left; the sum's end; the
 * evaluation of what was published. Each state has a deadline, but for AGGREGATING, which waits for
 * the shell alone.
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

static void set_state(weft_core *core, core_round *round, weft_round_state state,
                      const char *reason)
{
    round->row.state = state;
    core_text_cut(round->row.reason, reason);
    core_touch_round(core, round);
}

/* Open assignments get their end; what they uploaded so far is of no use. */
static weft_status end_open(weft_core *core, core_round *round, weft_assignment_state state,
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
    WEFT_TRY(end_open(core, round, state, reason, err));
    set_state(core, round, WEFT_ROUND_FAILED, reason);
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

/* The mean over accepted assignments of a task, by ascending id. */
static void mean_metrics(weft_metrics *ret, const core_round *round, bool evaluate)
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
    WEFT_TRY(end_open(core, round, WEFT_ASSIGNMENT_LATE, reason, err));
    if (round->reported > 0 && !secure) {
        mean_metrics(&round->row.federated, round, true);
    }
    if (round->session) {
        WEFT_TRY(core_sum(core, WEFT_ACTION_DROP_SUM, round, err));
        WEFT_TRY(drop_updates(core, round, WEFT_TASK_EVALUATE, err));
        const bool good = round->session_over && !round->session_failed;
        WEFT_TRY(core_secure_end(core, round, good ? NULL : reason, err));
    }
    set_state(core, round, WEFT_ROUND_DONE, reason);
    round->row.closed_unix_ms = core->unix_ms;
    const bool evaluated = round->row.federated.n > 0 || round->row.central.n > 0;
    WEFT_TRY(core_notify(core, "round", round->job, round, "", reason, err));
    detach(core, round);
    return core_job_round_done(core, round->job, &round->row, evaluated, err);
}

/* ---- training -------------------------------------------------------------------------------- */

weft_status core_round_finish(weft_core *core, core_round *round, weft_err *err)
{
    const bool folded = round->session ? round->session_folded >= round->session_masked
                                       : round->folded >= round->row.accepted;
    if (round->finishing || !folded) {
        return WEFT_OK;
    }
    round->finishing = true;
    return core_sum(core, WEFT_ACTION_FINISH, round, err);
}

weft_status core_round_close(weft_core *core, core_round *round, const char *reason, weft_err *err)
{
    WEFT_TRY(end_open(core, round, WEFT_ASSIGNMENT_LATE, "the round has closed", err));
    set_state(core, round, WEFT_ROUND_AGGREGATING, reason);
    round->row.deadline_ms = 0;
    WEFT_TRY(core_notify(core, "round", round->job, round, "", reason, err));
    return core_round_finish(core, round, err);
}

/* In the outboxes or here: updates that the round can count on. */
static uint32_t come(const core_round *round)
{
    return round->session ? round->come : round->row.accepted;
}

static weft_status advance_training(weft_core *core, core_round *round, bool *changed,
                                    weft_err *err)
{
    const weft_job_def *def = &round->job->def;
    if (!core_secure_gathering(round)) {
        return core_secure_advance(core, round, changed, err);
    }
    const uint32_t accepted = come(round);
    char text[WEFT_REASON_BYTES];
    if (accepted < def->target && core->now_ms < round->row.deadline_ms) {
        return WEFT_OK;
    }
    *changed = true;
    if (accepted >= def->minimum && round->session) {
        return core_secure_close(core, round, err);
    }
    if (accepted >= def->minimum) {
        core_text(text, "%u updates %s", accepted,
                  accepted >= def->target ? "reached the target" : "at the deadline");
        return core_round_close(core, round, text, err);
    }
    core_text(text, "%u updates at the deadline, at least %u are needed", accepted, def->minimum);
    return core_round_attempt_failed(core, round, text, err);
}

/* Expired ones may return with their updates. */
static uint32_t returning(const core_round *round)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < round->n; i++) {
        const core_assignment *a = round->list[i];
        n += a->row.state == WEFT_ASSIGNMENT_EXPIRED && !a->client->revoked;
    }
    return n;
}

weft_status core_round_look(weft_core *core, core_job *job, bool *changed, weft_err *err)
{
    core_round *round = job->round;
    if (!round || round->row.state != WEFT_ROUND_TRAINING || !core_secure_gathering(round)) {
        return WEFT_OK;
    }
    char text[WEFT_REASON_BYTES];
    const uint32_t minimum = job->def.minimum;
    const uint32_t filled = round->open + round->row.accepted;
    if (round->open == round->advertised && come(round) >= minimum) {
        *changed = true;
        if (round->session) {
            return core_secure_close(core, round, err);
        }
        core_text(text, "%u updates, and no assignment is open any more", round->row.accepted);
        return core_round_close(core, round, text, err);
    }
    if (filled >= minimum || core->now_ms < round->recheck_ms) {
        return WEFT_OK;
    }
    round->recheck_ms = core_later(core->now_ms, core->config.come_back_ms + 1);
    const uint64_t hope =
        (uint64_t)filled + returning(round) + core_select_reserve(core, round, job->def.task);
    if (hope >= minimum || core->now_ms < core->known_at_ms) {
        return WEFT_OK;
    }
    *changed = true;
    core_text(text, "only %llu of at least %u updates can still come", CORE_ULL(hope), minimum);
    return core_round_attempt_failed(core, round, text, err);
}

weft_status core_on_folded(weft_core *core, const weft_event *event, weft_err *err)
{
    (void)err;
    core_assignment *a = core_assignment_find(core, event->u.folded.assignment_id);
    if (!a || !a->round || a->row.state != WEFT_ASSIGNMENT_ACCEPTED || a->folded) {
        return WEFT_OK;
    }
    core_round *round = a->round;
    if (round->session && a->row.task == round->session_task) {
        a->folded = true;
        round->session_folded++;
    } else if (!round->session && a->row.task != WEFT_TASK_EVALUATE) {
        a->folded = true;
        round->folded++;
    }
    return WEFT_OK; /* of a round that failed meanwhile: nobody asks any more */
}

/* ---- publication ----------------------------------------------------------------------------- */

static bool evaluation_due(const core_round *round)
{
    const weft_job_def *def = &round->job->def;
    return def->task == WEFT_TASK_TRAIN && (def->eval_clients > 0 || def->eval_data) &&
           (round->row.round % def->eval_every == 0 || round->row.round >= def->rounds);
}

static weft_status begin_evaluation(weft_core *core, core_round *round, weft_err *err)
{
    const weft_job_def *def = &round->job->def;
    const uint64_t pause_ms = core_later(core->config.come_back_ms, core->config.come_back_ms);
    set_state(core, round, WEFT_ROUND_EVALUATING, "");
    round->row.deadline_ms = core_later(core->now_ms, def->eval_deadline_ms);
    round->asking_ends_ms =
        core_later(core->now_ms, core_later(def->selection_window_ms, pause_ms));
    WEFT_TRY(core_notify(core, "round", round->job, round, "", "evaluation", err));
    if (def->eval_clients > 0 && def->secure_aggregation) {
        WEFT_TRY(core_secure_begin(core, round, WEFT_TASK_EVALUATE, err));
        WEFT_TRY(core_sum(core, WEFT_ACTION_OPEN_SUM, round, err));
    }
    if (!def->eval_data) {
        return WEFT_OK;
    }
    round->central_pending = true;
    return core_publish(core, WEFT_ACTION_EVALUATE, round->job, round->row.round, err);
}

/* Clients whose shares were wrong: the sum is right all the same. */
static weft_status name_liars(weft_core *core, core_round *round, const weft_event *event,
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

static weft_status publish(weft_core *core, core_round *round, const weft_event *event,
                           weft_err *err)
{
    core_job *job = round->job;
    core->has_version = true;
    core->version = (weft_version_row){
        .has_parent = true,
        .job_id = job->row.job_id,
        .round = round->row.round,
        .bytes = event->u.finished.bytes,
        .created_unix_ms = core->unix_ms,
    };
    memcpy(core->version.digest, event->u.finished.version, WEFT_DIGEST_BYTES);
    memcpy(core->version.parent, round->row.base, WEFT_DIGEST_BYTES);
    round->row.has_version = true;
    memcpy(round->row.version, event->u.finished.version, WEFT_DIGEST_BYTES);
    if (event->u.finished.totals) {
        round->row.train = event->u.finished.totals->metrics;
        round->row.n_examples = event->u.finished.totals->weight;
    } else {
        mean_metrics(&round->row.train, round, false);
    }
    memcpy(job->row.version, event->u.finished.version, WEFT_DIGEST_BYTES);
    job->row.model_bytes = event->u.finished.bytes;
    core_touch_job(core, job);
    WEFT_TRY(core_publish(core, WEFT_ACTION_PUBLISH, job, round->row.round, err));
    WEFT_TRY(core_round_drop_updates(core, round, err));
    WEFT_TRY(name_liars(core, round, event, err));
    WEFT_TRY(core_secure_end(core, round, NULL, err));
    char text[WEFT_REASON_BYTES];
    core_text(text, "the mean of %u updates", round->row.accepted);
    return core_notify(core, "version", job, round, "", text, err);
}

/* A secure evaluation's sum. */
static weft_status on_metrics(weft_core *core, core_round *round, const weft_event *event,
                              weft_err *err)
{
    char text[WEFT_REASON_BYTES];
    const weft_fixed_totals *totals = event->u.finished.totals;
    const char *reason = event->u.finished.reason;
    if (!event->u.finished.ok || !totals) {
        core_text(text, "the evaluation's secure sum could not be finished: %s",
                  reason ? reason : "no reason was given");
        return core_secure_no_metrics(core, round, text, err);
    }
    round->session_over = true;
    round->reported = totals->clients;
    round->row.federated = totals->metrics;
    round->row.deadline_ms = core_later(core->now_ms, round->job->def.eval_deadline_ms);
    core_touch_round(core, round);
    WEFT_TRY(name_liars(core, round, event, err));
    core_text(text, "%u clients reported", totals->clients);
    return core_notify(core, "evaluation", round->job, round, "", text, err);
}

weft_status core_on_finished(weft_core *core, const weft_event *event, weft_err *err)
{
    const core_job *job = core_job_find(core, event->u.finished.job_id);
    core_round *round = job ? job->round : NULL;
    if (!round || round->row.round != event->u.finished.round ||
        round->row.attempt != event->u.finished.attempt || !round->finishing) {
        return WEFT_OK; /* the attempt was ended meanwhile */
    }
    if (event->u.finished.task == WEFT_TASK_EVALUATE) {
        return round->session && round->session_task == WEFT_TASK_EVALUATE
                   ? on_metrics(core, round, event, err)
                   : WEFT_OK;
    }
    if (round->row.state != WEFT_ROUND_AGGREGATING) {
        return WEFT_OK;
    }
    if (!event->u.finished.ok) {
        char text[WEFT_REASON_BYTES];
        const char *reason = event->u.finished.reason;
        core_text(text, "%s", reason && reason[0] ? reason : "the sum could not be finished");
        return core_round_attempt_failed(core, round, text, err);
    }
    WEFT_TRY(publish(core, round, event, err));
    if (evaluation_due(round)) {
        return begin_evaluation(core, round, err);
    }
    char reason[WEFT_REASON_BYTES];
    core_text_cut(reason, event->u.finished.liars ? round->row.reason : "");
    return core_round_done(core, round, reason, err);
}

/* ---- evaluation ------------------------------------------------------------------------------ */

weft_status core_on_central(weft_core *core, const weft_event *event, weft_err *err)
{
    const core_job *job = core_job_find(core, event->u.central.job_id);
    core_round *round = job ? job->round : NULL;
    if (!round || round->row.round != event->u.central.round || !round->central_pending) {
        return WEFT_OK;
    }
    round->central_pending = false;
    weft_err why = WEFT_ERR_INIT;
    const weft_metrics *metrics = event->u.central.metrics;
    if (metrics && weft_metrics_check(metrics, &why) == WEFT_OK) {
        round->row.central = *metrics;
        core_touch_round(core, round);
        return core_notify(core, "evaluation", job, round, "", "at the coordinator", err);
    }
    const char *reason = metrics                   ? why.msg
                         : event->u.central.reason ? event->u.central.reason
                                                   : "no reason was given";
    char text[WEFT_REASON_BYTES];
    core_text(text, "the evaluation at the coordinator failed: %s", reason);
    return core_notify(core, "evaluation", job, round, "", text, err);
}

/* Everybody who was asked has answered or is lost, and nobody else needs to be asked. */
static bool all_reported(weft_core *core, const core_round *round)
{
    const uint32_t wanted = round->job->def.eval_clients;
    if (round->central_pending || (wanted > 0 && (round->open > 0 || round->asked == 0))) {
        return false;
    }
    return round->asked >= wanted || core->now_ms >= round->asking_ends_ms ||
           (core->now_ms >= core->known_at_ms &&
            core_select_reserve(core, round, WEFT_TASK_EVALUATE) == 0);
}

/* Nobody who was asked still measures, and nobody else needs to be asked. */
static bool all_measured(weft_core *core, const core_round *round)
{
    const uint32_t wanted = round->job->def.eval_clients;
    return come(round) >= wanted ||
           (round->asked > 0 && round->open == round->advertised &&
            (round->asked >= wanted || core->now_ms >= round->asking_ends_ms ||
             (core->now_ms >= core->known_at_ms &&
              core_select_reserve(core, round, WEFT_TASK_EVALUATE) == 0)));
}

/* The session of an evaluation, until it is over. */
static weft_status advance_metrics(weft_core *core, core_round *round, bool *changed, weft_err *err)
{
    const uint32_t minimum = round->session->terms.policy.min_cohort;
    if (!core_secure_gathering(round)) {
        return core_secure_advance(core, round, changed, err);
    }
    if (core->now_ms < round->row.deadline_ms && !all_measured(core, round)) {
        return WEFT_OK;
    }
    *changed = true;
    if (come(round) >= minimum) {
        return core_secure_close(core, round, err);
    }
    char text[WEFT_REASON_BYTES];
    core_text(text, "%u clients measured, a secure sum takes at least %u", come(round), minimum);
    return core_secure_no_metrics(core, round, text, err);
}

static weft_status advance_evaluation(weft_core *core, core_round *round, bool *changed,
                                      weft_err *err)
{
    if (round->session && !round->session_over) {
        return advance_metrics(core, round, changed, err);
    }
    if (round->session && (!round->central_pending || core->now_ms >= round->row.deadline_ms)) {
        char reason[WEFT_REASON_BYTES];
        *changed = true;
        core_text_cut(reason, round->row.reason);
        return core_round_done(core, round, reason, err);
    }
    if (round->session) {
        return WEFT_OK;
    }
    const bool over = core->now_ms >= round->row.deadline_ms;
    if (!over && !all_reported(core, round)) {
        return WEFT_OK;
    }
    *changed = true;
    char text[WEFT_REASON_BYTES] = {0};
    if (over) {
        core_text(text, "the evaluation ended at its deadline: %u of %u clients reported%s",
                  round->reported, round->asked,
                  round->central_pending ? ", the coordinator did not finish" : "");
    }
    return core_round_done(core, round, text, err);
}

weft_status core_round_advance(weft_core *core, core_job *job, bool *changed, weft_err *err)
{
    core_round *round = job->round;
    if (!round) {
        return WEFT_OK;
    }
    switch (round->row.state) {
    case WEFT_ROUND_TRAINING:
        return advance_training(core, round, changed, err);
    case WEFT_ROUND_AGGREGATING:
        return core_round_finish(core, round, err);
    case WEFT_ROUND_EVALUATING:
        return advance_evaluation(core, round, changed, err);
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
