/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A round's secure session: when its phases end, who is out then, and how the session ends.
 *
 * Training (or measuring) ends at Advertise: a client advertises when its update lies in its
 * outbox. That phase closes when as many have come as the round wants, or at the round's deadline
 * with at least the minimum; over-selected clients and stragglers are out then. Each later phase
 * closes when nobody is missing, or at its own deadline with those who are there, as long as the
 * thresholds hold. Whom a phase had is fixed by its closure, which is stored before anything that
 * follows from it is sent.
 */
#include "core/core_priv.h"

#include <string.h>

static weft_secagg_phase phase_of(const core_round *round)
{
    return weft_secagg_server_phase(round->session->machine);
}

weft_status core_secure_begin(weft_core *core, core_round *round, weft_task task, weft_err *err)
{
    round->session_seq = 0;
    round->session_masked = 0;
    round->session_folded = 0;
    round->session_over = false;
    round->session_failed = false;
    round->finishing = false;
    round->come = 0;
    round->advertised = 0;
    round->session_moved = false;
    if (!round->job->def.secure_aggregation) {
        return WEFT_OK;
    }
    round->session_task = task;
    return core_session_new(&round->session, core, round->job, &round->row, task, err);
}

bool core_secure_gathering(const core_round *round)
{
    return !round->session || phase_of(round) == WEFT_SECAGG_PHASE_ADVERTISE;
}

void core_secure_outcome(core_assignment *a, const char *detail)
{
    const bool accepted = a->row.state == WEFT_ASSIGNMENT_ACCEPTED;
    const bool good = accepted && !detail;
    a->ended = good ? WEFT_SECAGG_NEXT_DONE : WEFT_SECAGG_NEXT_FAILED;
    a->ended_reason = good       ? WEFT_SECAGG_FINE
                      : accepted ? WEFT_SECAGG_ROUND_FAILED
                                 : WEFT_SECAGG_LATE;
    core_text_cut(a->ended_detail, !good && accepted ? detail : a->row.reason);
}

weft_status core_secure_end(weft_core *core, core_round *round, const char *detail, weft_err *err)
{
    if (!round->session) {
        return WEFT_OK;
    }
    for (uint32_t i = 0; i < round->n; i++) {
        core_assignment *a = round->list[i];
        if (a->row.task != round->session_task) {
            continue;
        }
        core_secure_outcome(a, detail);
        WEFT_TRY(core_poll_end(core, a, err));
    }
    WEFT_TRY(core_secure_rows_over(core, round, err));
    core_bury_session(core, round->session);
    round->session = NULL;
    return WEFT_OK;
}

/* ---- who goes on ----------------------------------------------------------------------------- */

/* After a closure: assignments that are open and have no part in what follows. */
static weft_status end_those_out(weft_core *core, core_round *round, const char *reason,
                                 weft_err *err)
{
    const weft_secagg_phase phase = phase_of(round);
    for (uint32_t i = 0; i < round->n; i++) {
        core_assignment *a = round->list[i];
        const weft_assignment_state state = a->row.state;
        if (a->row.task != round->session_task ||
            (state != WEFT_ASSIGNMENT_OPEN && state != WEFT_ASSIGNMENT_EXPIRED)) {
            continue;
        }
        const bool in = a->advertised &&
                        (phase == WEFT_SECAGG_PHASE_SHARE ||
                         (phase == WEFT_SECAGG_PHASE_MASK &&
                          weft_secagg_server_may_mask(round->session->machine, a->row.client) ==
                              WEFT_SECAGG_FINE));
        if (!in) {
            core_assignment_end(core, a, WEFT_ASSIGNMENT_LATE, WEFT_REFUSAL_LATE, reason);
            WEFT_TRY(core_fold(core, WEFT_ACTION_DROP_UPDATE, a, err));
        }
    }
    return WEFT_OK;
}

weft_status core_secure_left(weft_core *core, core_assignment *a, weft_err *err)
{
    core_round *round = a->round;
    if (!round || !round->session || !a->advertised || a->left ||
        a->row.task != round->session_task || phase_of(round) >= WEFT_SECAGG_PHASE_SOLVE) {
        return WEFT_OK;
    }
    a->left = true;
    round->session_moved = true;
    weft_secagg_server_left(round->session->machine, a->row.client);
    return core_secure_row_add(core, round, WEFT_SECURE_LEFT, a->row.assignment_id,
                               (weft_view){NULL, 0}, err);
}

weft_status core_secure_masked(weft_core *core, core_assignment *a, weft_err *err)
{
    core_round *round = a->round;
    weft_secagg_reason reason = WEFT_SECAGG_FINE;
    if (weft_secagg_server_masked(round->session->machine, a->row.client, &reason) !=
        WEFT_SECAGG_ACCEPTED) { /* may_mask said yes */
        WEFT_FAIL(err, WEFT_E_INTERNAL, "a masked vector of %s was not taken: %s", a->row.client,
                  weft_secagg_reason_name(reason));
    }
    round->session_masked++;
    round->session_moved = true;
    return core_secure_row_add(core, round, WEFT_SECURE_MASKED, a->row.assignment_id,
                               (weft_view){NULL, 0}, err);
}

/* ---- the end of a phase ---------------------------------------------------------------------- */

/* Nothing comes of it: a training round fails, an evaluation has no metrics. */
static weft_status fail_session(weft_core *core, core_round *round, const char *reason,
                                weft_err *err)
{
    if (round->session_task != WEFT_TASK_EVALUATE) {
        return core_round_attempt_failed(core, round, reason, err);
    }
    return core_secure_no_metrics(core, round, reason, err);
}

weft_status core_secure_no_metrics(weft_core *core, core_round *round, const char *reason,
                                   weft_err *err)
{
    round->session_over = true;
    round->session_failed = true;
    round->polls_due = true;
    core_text_cut(round->row.reason, reason);
    /* what is left of the evaluation, at the coordinator, has its own time */
    round->row.deadline_ms = core_later(core->now_ms, round->job->def.eval_deadline_ms);
    core_touch_round(core, round);
    WEFT_TRY(end_those_out(core, round, reason, err));
    return core_notify(core, "evaluation", round->job, round, "", reason, err);
}

static void describe_closure(char text[WEFT_REASON_BYTES], const core_round *round,
                             weft_secagg_phase phase, uint32_t come, uint32_t expected)
{
    const weft_secagg_params *params = weft_secagg_server_params(round->session->machine);
    if (phase == WEFT_SECAGG_PHASE_ADVERTISE) {
        core_text(text, "secure session of %u clients: %u neighbours each, %u must answer",
                  params->n, params->k, params->t);
    } else {
        core_text(text, "secure session: %u of %u clients did %s", come, expected,
                  weft_secagg_phase_name(phase));
    }
}

static weft_status after_closure(weft_core *core, core_round *round, weft_secagg_phase before,
                                 uint32_t come, uint32_t expected, weft_err *err)
{
    char text[WEFT_REASON_BYTES];
    const weft_secagg_phase phase = phase_of(round);
    if (phase == WEFT_SECAGG_PHASE_FAILED) {
        core_text(text, "secure aggregation failed: %s, %u of %u clients did %s",
                  weft_secagg_reason_name(weft_secagg_server_failure(round->session->machine)),
                  come, expected, weft_secagg_phase_name(before));
        return fail_session(core, round, text, err);
    }
    describe_closure(text, round, before, come, expected);
    round->row.deadline_ms = core_later(core->now_ms, round->session->terms.phase_deadline_ms);
    round->polls_due = true;
    round->session_moved = true; /* nobody may be left to wait for */
    core_touch_round(core, round);
    WEFT_TRY(core_notify(core, "round", round->job, round, "", text, err));
    WEFT_TRY(end_those_out(core, round,
                           before == WEFT_SECAGG_PHASE_ADVERTISE
                               ? "the secure session began without this client"
                               : "the secure session went on without this client",
                           err));
    if (phase == WEFT_SECAGG_PHASE_SOLVE && round->session_task != WEFT_TASK_EVALUATE) {
        core_text(text, "%u masked updates",
                  weft_secagg_server_n_included(round->session->machine));
        return core_round_close(core, round, text, err);
    }
    return WEFT_OK;
}

weft_status core_secure_close(weft_core *core, core_round *round, weft_err *err)
{
    weft_secagg_server *machine = round->session->machine;
    const weft_secagg_phase before = phase_of(round);
    uint32_t come = 0;
    uint32_t expected = 0;
    weft_secagg_server_progress(machine, &come, &expected);
    weft_buf record;
    weft_buf_init(&record, core->alloc, WEFT_MAX_SECAGG_RECORD_BYTES);
    weft_err why = WEFT_ERR_INIT;
    weft_status status = weft_secagg_server_close(machine, &record, &why);
    if (status == WEFT_OK) {
        status = core_secure_row_add(core, round, WEFT_SECURE_CLOSED, 0,
                                     (weft_view){record.data, record.size}, &why);
    }
    weft_buf_done(&record);
    if (status == WEFT_E_NOMEM) {
        return core_no_memory(err, 1, "phase of a secure session");
    }
    if (status != WEFT_OK) { /* nothing changed, and trying again would not help */
        char text[WEFT_REASON_BYTES];
        core_text(text, "secure aggregation failed: %s", why.msg);
        return fail_session(core, round, text, err);
    }
    return after_closure(core, round, before, come, expected, err);
}

/* ---- what is due ----------------------------------------------------------------------------- */

weft_status core_secure_advance(weft_core *core, core_round *round, bool *changed, weft_err *err)
{
    const weft_secagg_phase phase = phase_of(round);
    if (phase == WEFT_SECAGG_PHASE_SOLVE) {
        return core_round_finish(core, round, err);
    }
    if (phase == WEFT_SECAGG_PHASE_FAILED || phase == WEFT_SECAGG_PHASE_ADVERTISE) {
        return WEFT_OK;
    }
    const bool moved = round->session_moved;
    round->session_moved = false;
    if (core->now_ms < round->row.deadline_ms &&
        !(moved && weft_secagg_server_ready(round->session->machine))) {
        return WEFT_OK;
    }
    *changed = true;
    return core_secure_close(core, round, err);
}
