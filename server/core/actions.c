/* SPDX-License-Identifier: Apache-2.0 */
/* The batch of one event: touched rows, effects, and what they are made of. */
#include "core/core_priv.h"

#include <stdarg.h>
#include <string.h>

/* ---- lists ----------------------------------------------------------------------------------- */

void weft_actions_init(weft_actions *list, const weft_alloc *a)
{
    memset(list, 0, sizeof *list);
    list->alloc = a;
}

void weft_actions_done(weft_actions *list)
{
    weft_free(list->alloc, list->item);
    list->item = NULL;
    list->n = 0;
    list->cap = 0;
}

static weft_status append(weft_action **ret, weft_actions *list, weft_action_kind kind,
                          weft_err *err)
{
    if (list->n == list->cap) {
        const size_t cap = list->cap ? list->cap * 2 : 16;
        weft_action *item = weft_array_resize(list->alloc, list->item, cap, sizeof *item);
        if (!item) {
            return core_no_memory(err, cap, "actions");
        }
        list->item = item;
        list->cap = cap;
    }
    weft_action *action = &list->item[list->n];
    memset(action, 0, sizeof *action);
    action->kind = kind;
    list->n++;
    *ret = action;
    return WEFT_OK;
}

/* ---- small things ---------------------------------------------------------------------------- */

void core_text(char out[WEFT_REASON_BYTES], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = __builtin_vsnprintf(out, WEFT_REASON_BYTES, format, args); /* no I/O in it */
    va_end(args);
    const size_t used = n < 0 ? 0 : (size_t)n;
    for (size_t i = 0; i < WEFT_REASON_BYTES; i++) {
        if (i >= used || i == WEFT_REASON_BYTES - 1) {
            out[i] = '\0';
        } else if (out[i] < 0x20 || out[i] > 0x7e) {
            out[i] = '?';
        }
    }
}

void core_text_cut(char out[WEFT_REASON_BYTES], const char *text)
{
    const size_t n = strnlen(text, WEFT_REASON_BYTES - 1);
    memmove(out, text, n);
    memset(out + n, 0, WEFT_REASON_BYTES - n);
}

uint64_t core_later(uint64_t x_ms, uint64_t y_ms)
{
    return x_ms > CORE_NEVER - y_ms ? CORE_NEVER : x_ms + y_ms;
}

void core_bury(weft_core *core, core_node *node)
{
    node->next_dead = core->dead;
    core->dead = node;
}

void core_bury_session(weft_core *core, weft_secure_session *session)
{
    session->next_dead = core->dead_sessions;
    core->dead_sessions = session;
}

void core_bury_all(weft_core *core)
{
    while (core->dead_sessions) {
        weft_secure_session *next = core->dead_sessions->next_dead;
        weft_secure_session_unref(core->dead_sessions);
        core->dead_sessions = next;
    }
    while (core->dead) {
        core_node *next = core->dead->next_dead;
        weft_free(core->alloc, core->dead);
        core->dead = next;
    }
}

void core_touch_job(weft_core *core, core_job *job)
{
    if (!job->touched) {
        job->touched = true;
        job->next_touched = core->touched_jobs;
        core->touched_jobs = job;
    }
}

void core_touch_round(weft_core *core, core_round *round)
{
    if (!round->touched) {
        round->touched = true;
        round->next_touched = core->touched_rounds;
        core->touched_rounds = round;
    }
}

void core_touch_assignment(weft_core *core, core_assignment *a)
{
    if (!a->touched) {
        a->touched = true;
        a->next_touched = core->touched_assignments;
        core->touched_assignments = a;
    }
}

/* ---- effects --------------------------------------------------------------------------------- */

weft_status core_effect(weft_action **ret, weft_core *core, weft_action_kind kind, weft_err *err)
{
    return append(ret, &core->effects, kind, err);
}

weft_status core_reply(weft_action **ret, weft_core *core, uint64_t call, weft_reply_kind kind,
                       weft_err *err)
{
    weft_action *action = &core->nobody;
    if (call != 0) {
        WEFT_TRY(core_effect(&action, core, WEFT_ACTION_REPLY, err));
    }
    action->u.reply.call = call;
    action->u.reply.kind = kind;
    *ret = action;
    return WEFT_OK;
}

weft_status core_reply_error(weft_core *core, uint64_t call, weft_status status, const char *detail,
                             weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, call, WEFT_REPLY_ERROR, err));
    action->u.reply.u.error.status = status;
    core_text_cut(action->u.reply.u.error.detail, detail);
    return WEFT_OK;
}

weft_status core_reply_assignment(weft_core *core, uint64_t call, const core_assignment *a,
                                  weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, call, WEFT_REPLY_ASSIGNMENT, err));
    const core_round *round = a->round;
    const bool evaluate = a->row.task == WEFT_TASK_EVALUATE;
    action->u.reply.u.assignment = (weft_assignment_view){
        .row = &a->row,
        .def = &round->job->def,
        .base = evaluate ? round->row.version : round->row.base,
        .base_bytes = round->job->row.model_bytes,
        .left_ms =
            round->row.deadline_ms > core->now_ms ? round->row.deadline_ms - core->now_ms : 0,
        .cohort = round->row.cohort,
    };
    return WEFT_OK;
}

weft_status core_notify(weft_core *core, const char *kind, const core_job *job,
                        const core_round *round, const char *client, const char *detail,
                        weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_effect(&action, core, WEFT_ACTION_NOTIFY, err));
    action->u.notify.kind = kind;
    action->u.notify.job = &job->row;
    action->u.notify.round = round ? &round->row : NULL;
    memcpy(action->u.notify.client, client, strnlen(client, WEFT_MAX_NAME_BYTES));
    core_text_cut(action->u.notify.detail, detail);
    return WEFT_OK;
}

weft_status core_sum(weft_core *core, weft_action_kind kind, const core_round *round, weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_effect(&action, core, kind, err));
    action->u.sum.job_id = round->row.job_id;
    action->u.sum.round = round->row.round;
    action->u.sum.attempt = round->row.attempt;
    action->u.sum.def = &round->job->def;
    action->u.sum.base = round->row.base;
    action->u.sum.model_bytes = round->job->row.model_bytes;
    /* of the definition, not of this round: the grid is the job's */
    action->u.sum.cohort = weft_job_def_cohort(&round->job->def);
    action->u.sum.task = round->session ? round->session_task : round->job->def.task;
    action->u.sum.secure = round->session;
    return WEFT_OK;
}

weft_status core_fold(weft_core *core, weft_action_kind kind, const core_assignment *a,
                      weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_effect(&action, core, kind, err));
    action->u.fold.job_id = a->row.job_id;
    action->u.fold.round = a->row.round;
    action->u.fold.attempt = a->row.attempt;
    action->u.fold.assignment_id = a->row.assignment_id;
    action->u.fold.n_examples = a->row.n_examples;
    action->u.fold.task = a->row.task;
    return WEFT_OK;
}

void core_secure_rows_free(weft_core *core)
{
    core_secure_row *const lists[] = {core->secure_first, core->secure_over};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (core_secure_row *item = lists[i]; item;) {
            core_secure_row *next = item->next;
            weft_free(core->alloc, item);
            item = next;
        }
    }
    core->secure_first = NULL;
    core->secure_last = NULL;
    core->secure_over = NULL;
}

static weft_secure_row row_of(const core_round *round)
{
    return (weft_secure_row){
        .job_id = round->row.job_id,
        .round = round->row.round,
        .attempt = round->row.attempt,
        .task = round->session_task,
    };
}

weft_status core_secure_rows_over(weft_core *core, const core_round *round, weft_err *err)
{
    core_secure_row *item = weft_array(core->alloc, 1, sizeof *item);
    if (!item) {
        return core_no_memory(err, 1, "row of a secure session");
    }
    item->row = row_of(round);
    item->next = core->secure_over;
    core->secure_over = item;
    return WEFT_OK;
}

weft_status core_secure_row_add(weft_core *core, core_round *round, weft_secure_kind kind,
                                uint64_t assignment_id, weft_view data, weft_err *err)
{
    core_secure_row *item = weft_array(core->alloc, 1, sizeof *item + data.size);
    if (!item) {
        return core_no_memory(err, 1, "row of a secure session");
    }
    uint8_t *copy = (uint8_t *)(item + 1);
    if (data.size) {
        memcpy(copy, data.data, data.size);
    }
    round->session_seq++;
    item->row = row_of(round);
    item->row.seq = round->session_seq;
    item->row.kind = kind;
    item->row.assignment_id = assignment_id;
    item->row.data = (weft_view){copy, data.size};
    *(core->secure_last ? &core->secure_last->next : &core->secure_first) = item;
    core->secure_last = item;
    return WEFT_OK;
}

weft_status core_publish(weft_core *core, weft_action_kind kind, const core_job *job,
                         uint32_t round, weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_effect(&action, core, kind, err));
    action->u.publish.job_id = job->row.job_id;
    action->u.publish.round = round;
    memcpy(action->u.publish.version, job->row.version, WEFT_DIGEST_BYTES);
    return WEFT_OK;
}

/* ---- the batch's end ------------------------------------------------------------------------- */

static weft_status flush_rounds(weft_core *core, weft_actions *out, weft_err *err)
{
    weft_action *action = NULL;
    for (const core_round *r = core->touched_rounds; r; r = r->next_touched) {
        WEFT_TRY(append(&action, out, WEFT_ACTION_PERSIST_ROUND, err));
        action->u.round = &r->row;
    }
    while (core->touched_rounds) {
        core_round *r = core->touched_rounds;
        if (r->eligible) {
            WEFT_TRY(append(&action, out, WEFT_ACTION_PERSIST_ELIGIBLE, err));
            action->u.eligible = (weft_eligible_row){r->row.job_id, r->row.round, r->row.attempt,
                                                     r->eligible->n, r->eligible->name};
            core_bury(core, &r->eligible->node);
            r->eligible = NULL;
        }
        core->touched_rounds = r->next_touched;
        r->touched = false;
    }
    return WEFT_OK;
}

static weft_status flush_jobs(weft_core *core, weft_actions *out, weft_err *err)
{
    weft_action *action = NULL;
    if (core->has_version) {
        WEFT_TRY(append(&action, out, WEFT_ACTION_PERSIST_VERSION, err));
        action->u.version = core->version;
        core->has_version = false;
    }
    for (core_job *job = core->touched_jobs; job; job = job->next_touched) {
        WEFT_TRY(append(&action, out, WEFT_ACTION_PERSIST_JOB, err));
        action->u.job = &job->row;
        job->touched = false;
    }
    core->touched_jobs = NULL;
    return WEFT_OK;
}

static weft_status flush_assignments(weft_core *core, weft_actions *out, weft_err *err)
{
    weft_action *action = NULL;
    for (core_assignment *a = core->touched_assignments; a; a = a->next_touched) {
        WEFT_TRY(append(&action, out, WEFT_ACTION_PERSIST_ASSIGNMENT, err));
        action->u.assignment = &a->row;
        a->touched = false;
    }
    core->touched_assignments = NULL;
    return WEFT_OK;
}

/* After the rows themselves: what a session wrote in its last event goes, too. */
static weft_status flush_secure(weft_core *core, weft_actions *out, weft_err *err)
{
    weft_action *action = NULL;
    while (core->secure_first) {
        core_secure_row *item = core->secure_first;
        WEFT_TRY(append(&action, out, WEFT_ACTION_PERSIST_SECURE, err));
        action->u.secure = item->row;
        core->secure_first = item->next;
        core_bury(core, &item->node);
    }
    core->secure_last = NULL;
    while (core->secure_over) {
        core_secure_row *item = core->secure_over;
        WEFT_TRY(append(&action, out, WEFT_ACTION_PERSIST_SECURE_OVER, err));
        action->u.secure_over = (weft_secure_over){item->row.job_id, item->row.round,
                                                   item->row.attempt, item->row.task};
        core->secure_over = item->next;
        core_bury(core, &item->node);
    }
    return WEFT_OK;
}

weft_status core_flush(weft_core *core, weft_actions *out, weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(flush_jobs(core, out, err));
    WEFT_TRY(flush_rounds(core, out, err));
    WEFT_TRY(flush_assignments(core, out, err));
    WEFT_TRY(flush_secure(core, out, err));
    for (size_t i = 0; i < core->effects.n; i++) {
        WEFT_TRY(append(&action, out, core->effects.item[i].kind, err));
        *action = core->effects.item[i];
    }
    core->effects.n = 0;
    return WEFT_OK;
}
