/* SPDX-License-Identifier: Apache-2.0 */
/* After a restart: the same rounds go on from their rows. */
#include "core/core_priv.h"

#include <string.h>

weft_status weft_core_restore_job(weft_core *core, const weft_job_row *row, weft_err *err)
{
    const core_job *newest = core->n_jobs > 0 ? core->jobs[core->n_jobs - 1] : NULL;
    if (!row->def || row->job_id == 0 || (newest && newest->row.job_id >= row->job_id)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "job row %llu has no definition or does not follow the one before",
                  CORE_ULL(row->job_id));
    }
    core_job *job = NULL;
    WEFT_TRY(core_job_add(&job, core, row, err));
    if (core->next_job_id <= row->job_id) {
        core->next_job_id = row->job_id + 1;
    }
    return WEFT_OK;
}

static bool state_is_open(weft_round_state state)
{
    return state == WEFT_ROUND_TRAINING || state == WEFT_ROUND_AGGREGATING ||
           state == WEFT_ROUND_EVALUATING;
}

/* Of the state's task; rows follow. */
static weft_status restore_session(weft_core *core, core_round *round, weft_err *err)
{
    if (round->row.state != WEFT_ROUND_EVALUATING) {
        return core_secure_begin(core, round, round->job->def.task, err);
    }
    return round->job->def.eval_clients > 0
               ? core_secure_begin(core, round, WEFT_TASK_EVALUATE, err)
               : WEFT_OK;
}

weft_status weft_core_restore_round(weft_core *core, const weft_round_row *row, weft_err *err)
{
    core_job *job = core_job_find(core, row->job_id);
    if (!job) {
        WEFT_FAIL(err, WEFT_E_INVALID, "round %u of job %llu: there is no such job", row->round,
                  CORE_ULL(row->job_id));
    }
    if (!state_is_open(row->state)) {
        return WEFT_OK;
    }
    if (job->round || !core_job_live(job)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "job %s has a second open round, or has ended",
                  job->def.name);
    }
    core_round *round = NULL;
    WEFT_TRY(core_round_add(&round, core, job, row, err));
    /* counted again from the assignments; a masked one has no weight, only their sum has */
    round->row.accepted = 0;
    if (!job->def.secure_aggregation) {
        round->row.n_examples = 0;
    }
    round->row.bytes_up = 0;
    return restore_session(core, round, err);
}

/* What the assignment is to its round. */
static void count_in(weft_core *core, core_round *round, core_assignment *a)
{
    const bool evaluate = a->row.task == WEFT_TASK_EVALUATE;
    const bool accepted = a->row.state == WEFT_ASSIGNMENT_ACCEPTED;
    round->asked += evaluate;
    round->reported += evaluate && accepted;
    if (a->row.state == WEFT_ASSIGNMENT_OPEN) {
        core_client_set_open(core, a->client, a);
        round->open++;
    } else if (a->row.state == WEFT_ASSIGNMENT_EXPIRED) {
        a->client->lapsed = a;
    } else if (accepted && !evaluate) {
        round->row.accepted++;
        round->row.n_examples += a->row.n_examples;
        round->row.bytes_up += a->row.bytes;
    }
}

weft_status weft_core_restore_assignment(weft_core *core, const weft_assignment_row *row,
                                         weft_err *err)
{
    if (core_assignment_find(core, row->assignment_id)) {
        return WEFT_OK;
    }
    const core_job *job = core_job_find(core, row->job_id);
    core_round *round = job ? job->round : NULL;
    if (round && (round->row.round != row->round || round->row.attempt != row->attempt)) {
        round = NULL;
    }
    if (!round) {
        WEFT_FAIL(err, WEFT_E_INVALID, "assignment %llu is of no open round",
                  CORE_ULL(row->assignment_id));
    }
    if (round->n > 0 && round->list[round->n - 1]->row.assignment_id > row->assignment_id) {
        WEFT_FAIL(err, WEFT_E_INVALID, "assignment %llu does not follow the one before",
                  CORE_ULL(row->assignment_id));
    }
    core_assignment *a = NULL;
    WEFT_TRY(core_assignment_add(&a, core, round, row, err));
    if (core->next_assignment_id <= row->assignment_id) {
        core->next_assignment_id = row->assignment_id + 1;
    }
    count_in(core, round, a);
    return WEFT_OK;
}

weft_status weft_core_restore_ended(weft_core *core, const weft_assignment_row *row,
                                    const weft_round_row *round, weft_err *err)
{
    if (core_assignment_find(core, row->assignment_id)) {
        return WEFT_OK;
    }
    if (row->state == WEFT_ASSIGNMENT_OPEN || state_is_open(round->state)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "assignment %llu has not ended",
                  CORE_ULL(row->assignment_id));
    }
    core_assignment *a = NULL;
    WEFT_TRY(core_assignment_add(&a, core, NULL, row, err));
    const bool good = row->task == WEFT_TASK_EVALUATE ? round->federated.n > 0 : round->has_version;
    core_secure_outcome(a, good ? NULL : round->reason);
    core_assignment_retire(core, a);
    return WEFT_OK;
}

static weft_status replay_message(core_round *round, core_assignment *a, weft_view data,
                                  weft_err *err)
{
    weft_secagg_server *machine = round->session->machine;
    const bool first = weft_secagg_server_phase(machine) == WEFT_SECAGG_PHASE_ADVERTISE;
    weft_secagg_verdict verdict = WEFT_SECAGG_REFUSED;
    WEFT_TRY(weft_secagg_server_receive(&verdict, NULL, machine, a->row.client, data.data,
                                        data.size, err));
    if (verdict != WEFT_SECAGG_ACCEPTED) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a stored message of %s is not taken again", a->row.client);
    }
    if (first) {
        a->advertised = true;
        round->come++;
        round->advertised += a->row.state == WEFT_ASSIGNMENT_OPEN;
    }
    return WEFT_OK;
}

static weft_status replay_row(core_round *round, core_assignment *a, const weft_secure_row *row,
                              weft_err *err)
{
    weft_secagg_server *machine = round->session->machine;
    weft_secagg_reason reason = WEFT_SECAGG_FINE;
    switch (row->kind) {
    case WEFT_SECURE_MESSAGE_TAKEN:
        return replay_message(round, a, row->data, err);
    case WEFT_SECURE_MASKED:
        if (weft_secagg_server_masked(machine, a->row.client, &reason) != WEFT_SECAGG_ACCEPTED) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "a masked vector of %s is not taken again",
                      a->row.client);
        }
        round->session_masked++;
        return WEFT_OK;
    case WEFT_SECURE_LEFT:
        a->left = true;
        weft_secagg_server_left(machine, a->row.client);
        return WEFT_OK;
    case WEFT_SECURE_CLOSED:
        return weft_secagg_server_replay(machine, row->data.data, row->data.size, err);
    }
    WEFT_FAIL(err, WEFT_E_FORMAT, "row %u of a secure session is of no known kind", row->seq);
}

weft_status weft_core_restore_secure(weft_core *core, const weft_secure_row *row, weft_err *err)
{
    const core_job *job = core_job_find(core, row->job_id);
    core_round *round = job ? job->round : NULL;
    if (!round || !round->session || round->row.round != row->round ||
        round->row.attempt != row->attempt || round->session_task != row->task) {
        return WEFT_OK; /* of a session that is over */
    }
    core_assignment *a = core_assignment_find(core, row->assignment_id);
    const bool closure = row->kind == WEFT_SECURE_CLOSED;
    if (row->seq != round->session_seq + 1 || (!closure && (!a || a->round != round))) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "row %u of the secure session of round %u does not follow",
                  row->seq, row->round);
    }
    round->session_seq = row->seq;
    round->session_moved = true;
    return replay_row(round, a, row, err);
}

static weft_status resume_sum(weft_core *core, core_round *round, weft_task task, weft_err *err)
{
    WEFT_TRY(core_sum(core, WEFT_ACTION_OPEN_SUM, round, err));
    for (uint32_t i = 0; i < round->n; i++) {
        const core_assignment *a = round->list[i];
        if (a->row.state == WEFT_ASSIGNMENT_ACCEPTED && a->row.task == task) {
            WEFT_TRY(core_fold(core, WEFT_ACTION_FOLD, a, err));
        }
    }
    return WEFT_OK;
}

static weft_status resume_evaluation(weft_core *core, core_round *round, weft_err *err)
{
    const weft_job_def *def = &round->job->def;
    round->asking_ends_ms = core_later(
        core->now_ms, core_later(def->selection_window_ms, core->known_at_ms - core->now_ms));
    WEFT_TRY(core_round_drop_updates(core, round, err)); /* the crash may have come before */
    if (round->session && round->row.federated.n > 0) {
        round->session_over = true;
    } else if (round->session &&
               weft_secagg_server_phase(round->session->machine) == WEFT_SECAGG_PHASE_FAILED) {
        round->session_over = true;
        round->session_failed = true;
    } else if (round->session) {
        WEFT_TRY(resume_sum(core, round, WEFT_TASK_EVALUATE, err));
    }
    if (!def->eval_data || round->row.central.n > 0) {
        return WEFT_OK;
    }
    round->central_pending = true;
    return core_publish(core, WEFT_ACTION_EVALUATE, round->job, round->row.round, err);
}

static weft_status resume_job(weft_core *core, core_job *job, weft_err *err)
{
    core_round *round = job->round;
    if (job->row.has_version) {
        WEFT_TRY(core_publish(core, WEFT_ACTION_PUBLISH, job, job->row.rounds_done, err));
    }
    if (!round) {
        return WEFT_OK;
    }
    for (uint32_t i = 0; i < round->n; i++) {
        if (round->list[i]->row.state == WEFT_ASSIGNMENT_OPEN && !round->list[i]->advertised) {
            core_assignment_renew(core, round->list[i]);
        }
    }
    return round->row.state == WEFT_ROUND_EVALUATING ? resume_evaluation(core, round, err)
                                                     : resume_sum(core, round, job->def.task, err);
}

weft_status weft_core_resume(weft_core *core, uint64_t next_job_id, uint64_t next_assignment_id,
                             uint64_t now_ms, weft_actions *out, weft_err *err)
{
    core_bury_all(core);
    core->now_ms = now_ms;
    core->known_at_ms = core_later(
        now_ms, core_later(core->config.max_hold_ms,
                           core_later(core->config.come_back_ms, core->config.come_back_ms)));
    core->next_job_id = next_job_id > core->next_job_id ? next_job_id : core->next_job_id;
    core->next_assignment_id = next_assignment_id > core->next_assignment_id
                                   ? next_assignment_id
                                   : core->next_assignment_id;
    for (uint32_t i = 0; i < core->n_live; i++) {
        WEFT_TRY(resume_job(core, core->live[i], err));
    }
    WEFT_TRY(core_settle(core, err));
    return core_flush(core, out, err);
}
