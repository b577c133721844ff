/* SPDX-License-Identifier: Apache-2.0 */
/* The evaluation of what was published: at clients, in the clear or as a secure sum, and here. */
#include "core/core_priv.h"

weft_status core_evaluation_begin(weft_core *core, core_round *round, weft_err *err)
{
    const weft_job_def *def = &round->job->def;
    const uint64_t pause_ms = core_later(core->config.come_back_ms, core->config.come_back_ms);
    core_round_set_state(core, round, WEFT_ROUND_EVALUATING, "");
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

weft_status core_evaluation_metrics(weft_core *core, core_round *round, const weft_event *event,
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
    WEFT_TRY(core_round_name_liars(core, round, event, err));
    core_text(text, "%u clients reported", totals->clients);
    return core_notify(core, "evaluation", round->job, round, "", text, err);
}

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
    return core_round_come(round) >= wanted ||
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
    if (core_round_come(round) >= minimum) {
        return core_secure_close(core, round, err);
    }
    char text[WEFT_REASON_BYTES];
    core_text(text, "%u clients measured, a secure sum takes at least %u", core_round_come(round),
              minimum);
    return core_secure_no_metrics(core, round, text, err);
}

weft_status core_evaluation_advance(weft_core *core, core_round *round, bool *changed,
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
