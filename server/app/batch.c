/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One batch: events go into the core, their persists into one transaction, all else waits until it
 * is durable and then runs in order. Rows in actions are borrowed until the next event, so what
 * waits is copied (rows only; definitions live as long as the core's jobs). Owner thread.
 */
#include "app/daemon.h"

#include "app/views.h"

#include <stdio.h>
#include <string.h>

/* What one batch may keep until its end: the assignments of the largest cohort. */
#define MAX_BATCH_BYTES (512U << 20)
#define PRESENCE_MS     10000U
enum { PRESENCE_CLIENTS = 200 };

typedef enum effect_kind { EFFECT_ACTION, EFFECT_REPLY, EFFECT_RUN } effect_kind;

struct weft_effect {
    weft_effect *next;
    effect_kind kind;
    weft_action action;
    weft_rpc_call *call; /* referenced */
    const void *data;
    size_t size;
    weft_batch_fn run;
    void *arg;
};

static void reset(weft_daemon *d)
{
    d->batch.first = NULL;
    d->batch.last = &d->batch.first;
    d->batch.writing = false;
    weft_err_clear(&d->batch.failure);
}

void weft_batch_init(weft_daemon *d)
{
    weft_arena_init(&d->batch.arena, d->alloc, MAX_BATCH_BYTES);
    weft_actions_init(&d->batch.actions, d->alloc);
    reset(d);
}

void weft_batch_done(weft_daemon *d)
{
    weft_arena_done(&d->batch.arena);
    weft_actions_done(&d->batch.actions);
}

void *weft_batch_memory(weft_daemon *d, size_t n, size_t size)
{
    return weft_arena_take(&d->batch.arena, n, size);
}

void weft_batch_fail(weft_daemon *d, const weft_err *err)
{
    if (d->batch.failure.code == WEFT_OK) {
        d->batch.failure = *err;
    }
}

static bool failed(const weft_daemon *d)
{
    return d->batch.failure.code != WEFT_OK;
}

static weft_status commit(weft_daemon *d, weft_err *err)
{
    const uint64_t now = weft_daemon_now_ms(d);
    WEFT_TRY(weft_store_commit(d->store, now, err));
    d->batch.writing = false;
    d->committed_ms = now;
    return WEFT_OK;
}

/* Open a transaction for what comes. Rows that must be on disk do not go into one that is not
 * synced: that one ends here, and should the next one fail, what it kept is in the store when the
 * batch begins again from there: done, and not answered yet. */
static weft_status open_transaction(weft_daemon *d, bool synced, weft_err *err)
{
    if (d->batch.writing && synced && !d->batch.synced) {
        WEFT_TRY(commit(d, err));
    }
    if (!d->batch.writing) {
        WEFT_TRY((synced ? weft_store_begin
                         : weft_store_begin_unsynced)(d->store, weft_daemon_unix_ms(d), err));
        d->batch.writing = true;
        d->batch.synced = synced;
    }
    return WEFT_OK;
}

weft_status weft_batch_write(weft_daemon *d, weft_err *err)
{
    return open_transaction(d, true, err);
}

static weft_effect *add_effect(weft_daemon *d, effect_kind kind)
{
    weft_effect *e = weft_batch_memory(d, 1, sizeof *e);
    if (!e) {
        weft_err err = WEFT_ERR_INIT;
        (void)!weft_err_set(&err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                            "no memory for a batch"); /* its return is the code */
        weft_batch_fail(d, &err);
        return NULL;
    }
    e->kind = kind;
    *d->batch.last = e;
    d->batch.last = &e->next;
    return e;
}

/* ---- persists -------------------------------------------------------------------------------- */

/* A job's definition is stored once, as the message that submits it. */
static weft_status put_job(weft_daemon *d, const weft_job_row *row, weft_err *err)
{
    weft_buf definition;
    if (row->job_id <= d->known_job_id) {
        return weft_store_put_job(d->store, row, NULL, 0, err);
    }
    weft_buf_init(&definition, d->alloc, WEFT_STORE_MAX_DEFINITION_BYTES);
    const weft_msg_submit_job_request msg = {.job = row->def};
    weft_status status = weft_msg_submit_job_request_encode(&definition, &msg, err);
    if (status == WEFT_OK) {
        status = weft_store_put_job(d->store, row, definition.data, definition.size, err);
    }
    weft_buf_done(&definition);
    if (status == WEFT_OK) {
        d->known_job_id = row->job_id; /* a failed commit sets it anew */
    }
    return status;
}

static weft_status persist(weft_daemon *d, const weft_action *action, weft_err *err)
{
    switch (action->kind) {
    case WEFT_ACTION_PERSIST_JOB:
        return put_job(d, action->u.job, err);
    case WEFT_ACTION_PERSIST_ROUND:
        return weft_store_put_round(d->store, action->u.round, err);
    case WEFT_ACTION_PERSIST_ASSIGNMENT:
        weft_daemon_note(d, action->u.assignment);
        return weft_store_put_assignment(d->store, action->u.assignment, err);
    case WEFT_ACTION_PERSIST_VERSION:
        return weft_store_put_version(d->store, &action->u.version, err);
    case WEFT_ACTION_PERSIST_ELIGIBLE:
        return weft_store_put_eligible(d->store, &action->u.eligible, err);
    case WEFT_ACTION_PERSIST_SECURE:
        return weft_store_put_secure(d->store, &action->u.secure, err);
    case WEFT_ACTION_PERSIST_SECURE_OVER:
        return weft_store_end_secure(d->store, &action->u.secure_over, err);
    case WEFT_ACTION_REPLY:
    case WEFT_ACTION_OPEN_SUM:
    case WEFT_ACTION_FOLD:
    case WEFT_ACTION_FINISH:
    case WEFT_ACTION_DROP_SUM:
    case WEFT_ACTION_DROP_UPDATE:
    case WEFT_ACTION_PUBLISH:
    case WEFT_ACTION_EVALUATE:
    case WEFT_ACTION_CANCEL_CALLS:
    case WEFT_ACTION_NOTIFY:
        break;
    }
    WEFT_FAIL(err, WEFT_E_INTERNAL, "action %d is no persist", (int)action->kind);
}

static bool is_persist(weft_action_kind kind)
{
    return kind == WEFT_ACTION_PERSIST_JOB || kind == WEFT_ACTION_PERSIST_ROUND ||
           kind == WEFT_ACTION_PERSIST_ASSIGNMENT || kind == WEFT_ACTION_PERSIST_VERSION ||
           kind == WEFT_ACTION_PERSIST_ELIGIBLE || kind == WEFT_ACTION_PERSIST_SECURE ||
           kind == WEFT_ACTION_PERSIST_SECURE_OVER;
}

/* Rows of a job whose receipts promise that the round is retried, no more: that an update came, and
 * that all have. A power cut takes the round back to an earlier moment of its training. */
static bool may_be_lost(const weft_daemon *d, const weft_action *action)
{
    uint64_t job_id = 0;
    if (action->kind == WEFT_ACTION_PERSIST_ASSIGNMENT) {
        const weft_assignment_row *row = action->u.assignment;
        const bool over =
            row->state == WEFT_ASSIGNMENT_ACCEPTED || row->state == WEFT_ASSIGNMENT_LATE;
        job_id = over && row->task != WEFT_TASK_EVALUATE ? row->job_id : 0;
    } else if (action->kind == WEFT_ACTION_PERSIST_ROUND) {
        const weft_round_row *row = action->u.round;
        const bool open = row->state == WEFT_ROUND_TRAINING || row->state == WEFT_ROUND_AGGREGATING;
        job_id = open ? row->job_id : 0;
    }
    const weft_job_row *job = job_id ? weft_view_find_job(d->core, job_id) : NULL;
    return job && job->def->durability == WEFT_DURABILITY_ROUND;
}

/* For the rows of one event, which are never in two transactions. */
static weft_status open_for(weft_daemon *d, const weft_actions *actions, weft_err *err)
{
    bool any = false;
    bool synced = false;
    for (size_t i = 0; i < actions->n; i++) {
        if (is_persist(actions->item[i].kind)) {
            any = true;
            synced = synced || !may_be_lost(d, &actions->item[i]);
        }
    }
    return any ? open_transaction(d, synced, err) : WEFT_OK;
}

/* ---- what waits ------------------------------------------------------------------------------ */

static const void *copy(weft_daemon *d, const void *data, size_t size)
{
    void *p = data ? weft_batch_memory(d, 1, size) : NULL;
    if (p) {
        memcpy(p, data, size);
    }
    return p;
}

/* Rows that an action borrows, copied in place; false without memory. */
static bool own_rows(weft_daemon *d, weft_action *a)
{
    bool good = true;
    if (a->kind == WEFT_ACTION_NOTIFY) {
        const weft_round_row *round = a->u.notify.round;
        a->u.notify.job = copy(d, a->u.notify.job, sizeof *a->u.notify.job);
        a->u.notify.round = copy(d, round, sizeof *round);
        good = a->u.notify.job && (!round || a->u.notify.round);
    } else if (a->kind == WEFT_ACTION_OPEN_SUM || a->kind == WEFT_ACTION_FINISH ||
               a->kind == WEFT_ACTION_DROP_SUM) {
        const uint8_t *base = a->u.sum.base;
        a->u.sum.base = copy(d, base, WEFT_DIGEST_BYTES);
        good = !base || a->u.sum.base;
        if (a->u.sum.secure) { /* the core may let go of it before the batch ends */
            (void)weft_secure_session_ref(a->u.sum.secure);
        }
    } else if (a->kind == WEFT_ACTION_REPLY && a->u.reply.kind == WEFT_REPLY_ASSIGNMENT) {
        weft_assignment_view *view = &a->u.reply.u.assignment;
        view->row = copy(d, view->row, sizeof *view->row);
        view->base = copy(d, view->base, WEFT_DIGEST_BYTES);
        good = view->row && view->base;
    } else if (a->kind == WEFT_ACTION_REPLY && a->u.reply.kind == WEFT_REPLY_RECEIPT) {
        a->u.reply.u.receipt = copy(d, a->u.reply.u.receipt, sizeof *a->u.reply.u.receipt);
        good = a->u.reply.u.receipt != NULL;
    } else if (a->kind == WEFT_ACTION_REPLY && a->u.reply.kind == WEFT_REPLY_SECURE) {
        weft_view *piece = &a->u.reply.u.secure.piece;
        piece->data = copy(d, piece->data, piece->size);
        good = piece->size == 0 || piece->data;
    } else if (a->kind == WEFT_ACTION_REPLY && a->u.reply.kind == WEFT_REPLY_PROGRESS) {
        const weft_assignment_row *row = a->u.reply.u.progress.accepted;
        a->u.reply.u.progress.accepted = copy(d, row, sizeof *row);
        good = !row || a->u.reply.u.progress.accepted;
    }
    return good;
}

static void keep_action(weft_daemon *d, const weft_action *action)
{
    weft_effect *e = add_effect(d, EFFECT_ACTION);
    if (!e) {
        return;
    }
    e->action = *action;
    if (!own_rows(d, &e->action)) {
        weft_err err = WEFT_ERR_INIT;
        (void)!weft_err_set(&err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                            "no memory for a batch"); /* its return is the code */
        weft_batch_fail(d, &err);
    }
}

weft_status weft_batch_take(weft_daemon *d, const weft_actions *actions, weft_err *err)
{
    WEFT_TRY(open_for(d, actions, err));
    for (size_t i = 0; i < actions->n && !failed(d); i++) {
        if (is_persist(actions->item[i].kind)) {
            WEFT_TRY(persist(d, &actions->item[i], err));
        } else {
            keep_action(d, &actions->item[i]);
        }
    }
    /* last: until its own row is noted, an update that closed the round looks left over */
    for (size_t i = 0; i < actions->n && !failed(d); i++) {
        if (actions->item[i].kind == WEFT_ACTION_PERSIST_ROUND) {
            weft_daemon_note_round(d, actions->item[i].u.round);
        }
    }
    return WEFT_OK;
}

void weft_batch_feed(weft_daemon *d, weft_event *event)
{
    weft_err err = WEFT_ERR_INIT;
    weft_actions *actions = &d->batch.actions;
    if (failed(d)) {
        return;
    }
    actions->n = 0;
    event->unix_ms = weft_daemon_unix_ms(d);
    weft_status status = weft_core_on(d->core, event, weft_daemon_now_ms(d), actions, &err);
    if (status == WEFT_OK) {
        status = weft_batch_take(d, actions, &err);
    }
    if (status != WEFT_OK) {
        weft_batch_fail(d, &err);
    }
}

void weft_batch_reply(weft_daemon *d, weft_rpc_call *call, weft_msg_kind kind, const void *msg)
{
    weft_err err = WEFT_ERR_INIT;
    weft_buf out;
    weft_effect *e = add_effect(d, EFFECT_REPLY);
    if (!e) {
        weft_rpc_fail_unavailable(call, "the coordinator has no memory: try again soon");
        weft_rpc_call_unref(call);
        return;
    }
    weft_buf_init(&out, d->alloc, WEFT_MAX_REPLY_BYTES + WEFT_MAX_CONTROL_BYTES);
    weft_status status = weft_wire_encode(&out, kind, msg, &err);
    e->call = call;
    e->size = out.size;
    if (status == WEFT_OK && out.size) {
        e->data = copy(d, out.data, out.size);
        status = e->data ? WEFT_OK : WEFT_E_NOMEM;
    }
    weft_buf_done(&out);
    if (status != WEFT_OK) {
        (void)!weft_err_set(&err, status, 0, __FILE__, __LINE__, "an answer could not be written");
        weft_batch_fail(d, &err);
    }
}

void weft_batch_after(weft_daemon *d, weft_batch_fn run, void *arg)
{
    weft_effect *e = add_effect(d, EFFECT_RUN);
    if (e) {
        e->run = run;
        e->arg = arg;
    }
}

/* A session that an action of the batch kept. */
static void let_go(const weft_effect *e)
{
    const weft_action_kind kind = e->action.kind;
    if (e->kind == EFFECT_ACTION && (kind == WEFT_ACTION_OPEN_SUM || kind == WEFT_ACTION_FINISH ||
                                     kind == WEFT_ACTION_DROP_SUM)) {
        weft_secure_session_unref(e->action.u.sum.secure);
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

static void run_effects(weft_daemon *d, weft_effect *e)
{
    for (; e; e = e->next) {
        switch (e->kind) {
        case EFFECT_ACTION:
            weft_effects_action(d, &e->action);
            let_go(e);
            break;
        case EFFECT_REPLY:
            weft_rpc_reply_bytes(e->call, e->data, e->size);
            weft_rpc_call_unref(e->call);
            break;
        case EFFECT_RUN:
            e->run(d, e->arg, true);
            break;
        }
    }
}

/* Nothing of the batch happened: say so to all who wait, and begin again from the store. */
static void give_up(weft_daemon *d)
{
    weft_store_rollback(d->store);
    weft_log_line(d->log, WEFT_LOG_ERROR, "event=batch_failed status=\"%s\" error=\"%s\"",
                  weft_status_name(d->batch.failure.code), d->batch.failure.msg);
    for (weft_effect *e = d->batch.first; e; e = e->next) {
        let_go(e);
        if (e->kind == EFFECT_REPLY) {
            weft_rpc_fail_unavailable(e->call, "the coordinator could not keep this: try again");
            weft_rpc_call_unref(e->call);
        } else if (e->kind == EFFECT_RUN) {
            e->run(d, e->arg, false);
        }
    }
    weft_daemon_fail_held(d, "the coordinator could not keep this: try again soon");
    d->rebuild_due = true;
}

void weft_batch_drop(weft_daemon *d)
{
    weft_store_rollback(d->store);
    weft_arena_done(&d->batch.arena);
    reset(d);
}

static void flush_presence(weft_daemon *d)
{
    weft_err err = WEFT_ERR_INIT;
    const uint64_t now = weft_daemon_now_ms(d);
    if (d->batch.writing && !failed(d) && now - d->presence_ms >= PRESENCE_MS) {
        d->presence_ms = now;
        if (weft_presence_flush(d->presence, d->store, PRESENCE_CLIENTS, &err) != WEFT_OK) {
            weft_batch_fail(d, &err);
        }
    }
}

void weft_batch_end(weft_daemon *d)
{
    weft_err err = WEFT_ERR_INIT;
    flush_presence(d);
    if (d->batch.writing && !failed(d) && commit(d, &err) != WEFT_OK) {
        weft_batch_fail(d, &err);
    }
    if (failed(d)) {
        give_up(d);
    } else {
        run_effects(d, d->batch.first);
    }
    weft_rounds_tidy(d->rounds);
    weft_arena_done(&d->batch.arena);
    reset(d);
}
