/* SPDX-License-Identifier: Apache-2.0 */
/* Decoded requests on the owner thread: to the core, to the store, or into a line of their own. */
#include "app/daemon.h"

#include <string.h>

void weft_requests_fail(weft_rpc_call *call, const weft_err *err)
{
    weft_rpc_fail(call, err->code == WEFT_OK ? WEFT_E_INTERNAL : err->code, err->msg);
    weft_rpc_call_unref(call);
}

/* ---- clients --------------------------------------------------------------------------------- */

static void check_in(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_check_in_request *request = call->msg;
    weft_declared declared[WEFT_MAX_DATASETS];
    weft_event event = {.kind = WEFT_EVENT_CHECK_IN, .client = call->name};
    weft_presence_seen(d->presence, call->name, request, weft_daemon_unix_ms(d));
    for (size_t i = 0; i < request->n_datasets; i++) { /* decoded: at most WEFT_MAX_DATASETS */
        memset(&declared[i], 0, sizeof declared[i]);
        memcpy(declared[i].name, request->datasets[i].name,
               strnlen(request->datasets[i].name, WEFT_MAX_NAME_BYTES));
        declared[i].n_examples = request->datasets[i].n_examples;
    }
    event.u.check_in.datasets = declared;
    event.u.check_in.n_datasets = (uint32_t)request->n_datasets;
    event.u.check_in.hold_ms = request->hold_ms;
    event.call = weft_daemon_hold(d, call);
    weft_batch_feed(d, &event);
    weft_rpc_call_forget(call); /* it may be held for long */
}

static void progress(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_progress_request *request = call->msg;
    weft_err err = WEFT_ERR_INIT;
    weft_event event = {.kind = WEFT_EVENT_PROGRESS, .client = call->name};
    weft_rpc_assignment note;
    event.u.progress.assignment_id = request->assignment_id;
    /* only the assignment's own client learns what is held */
    if (weft_board_get(d->board, request->assignment_id, call->name, &note) &&
        weft_spool_held(d->spool, request->assignment_id, &event.u.progress.held_bytes, NULL,
                        &err) != WEFT_OK) {
        weft_requests_fail(call, &err);
        return;
    }
    event.call = weft_daemon_hold(d, call);
    weft_batch_feed(d, &event);
}

static void secure_step(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_secure_step_request *request = call->msg;
    weft_event event = {.kind = WEFT_EVENT_SECURE_STEP, .client = call->name};
    event.u.secure.assignment_id = request->assignment_id;
    memcpy(event.u.secure.ctx, request->ctx.data, sizeof event.u.secure.ctx); /* decoded: 32 */
    event.u.secure.message = request->message;
    event.u.secure.taken = request->taken;
    event.u.secure.offset = request->offset;
    event.u.secure.hold_ms = request->hold_ms;
    event.call = weft_daemon_hold(d, call);
    weft_batch_feed(d, &event);
    weft_rpc_call_forget(call); /* it may be held for long */
}

static void abandon(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_abandon_request *request = call->msg;
    weft_event event = {.kind = WEFT_EVENT_ABANDON, .client = call->name};
    event.u.abandon.assignment_id = request->assignment_id;
    event.u.abandon.reason = request->reason;
    event.call = weft_daemon_hold(d, call);
    weft_batch_feed(d, &event);
}

/* ---- operators ------------------------------------------------------------------------------- */

static bool control_verb(const char *verb, weft_job_status *ret)
{
    static const struct {
        const char *verb;
        weft_job_status to;
    } verbs[] = {
        {"pause", WEFT_JOB_PAUSED}, {"resume", WEFT_JOB_RUNNING}, {"cancel", WEFT_JOB_CANCELED}};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].verb, verb) == 0) {
            *ret = verbs[i].to;
            return true;
        }
    }
    return false;
}

static void control(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_control_job_request *request = call->msg;
    weft_event event = {.kind = WEFT_EVENT_JOB_CONTROL};
    if (!control_verb(request->verb, &event.u.control.to)) {
        weft_rpc_fail(call, WEFT_E_INVALID, "the verb must be pause, resume or cancel");
        weft_rpc_call_unref(call);
        return;
    }
    event.u.control.job = request->job;
    event.u.control.reason = request->reason;
    event.call = weft_daemon_hold(d, call);
    weft_batch_feed(d, &event);
}

/* Answered after the batch: what it reads is durable then. */
static void query(weft_daemon *d, weft_rpc_call *call)
{
    call->next = NULL;
    *d->last_query = call;
    d->last_query = &call->next;
}

void weft_requests_on_request(void *owner, weft_rpc_call *call)
{
    weft_daemon *d = owner;
    switch (call->method) {
    case WEFT_METHOD_ENROLL:
        weft_identity_enroll(d, call);
        break;
    case WEFT_METHOD_RENEW:
        weft_identity_renew(d, call);
        break;
    case WEFT_METHOD_CHECK_IN:
        check_in(d, call);
        break;
    case WEFT_METHOD_PROGRESS:
        progress(d, call);
        break;
    case WEFT_METHOD_ABANDON:
        abandon(d, call);
        break;
    case WEFT_METHOD_SUBMIT_JOB:
        weft_jobs_submit(d, call);
        break;
    case WEFT_METHOD_CONTROL_JOB:
        control(d, call);
        break;
    case WEFT_METHOD_TAG_MODEL:
        weft_models_tag(d, call);
        break;
    case WEFT_METHOD_INVITE:
        weft_identity_invite(d, call);
        break;
    case WEFT_METHOD_REVOKE_CLIENT:
        weft_identity_revoke(d, call);
        break;
    case WEFT_METHOD_LIST_JOBS:
    case WEFT_METHOD_GET_JOB:
    case WEFT_METHOD_LIST_ROUNDS:
    case WEFT_METHOD_GET_ROUND:
    case WEFT_METHOD_LIST_MODELS:
    case WEFT_METHOD_FETCH_VERSION:
    case WEFT_METHOD_LIST_CLIENTS:
    case WEFT_METHOD_WATCH:
    case WEFT_METHOD_STATUS:
    case WEFT_METHOD_LEDGER:
        query(d, call);
        break;
    case WEFT_METHOD_SECURE_STEP:
        secure_step(d, call);
        break;
    case WEFT_METHOD_FETCH_MODEL:
    case WEFT_METHOD_SUBMIT_UPDATE:
    case WEFT_METHOD_IMPORT_MODEL:
    case WEFT_METHOD_COUNT:
        weft_rpc_fail(call, WEFT_E_INTERNAL, "this method has no owner");
        weft_rpc_call_unref(call);
        break;
    }
}

/* Its caller went away before an answer. Calls on their way through workers end there. */
void weft_requests_on_gone(void *owner, weft_rpc_call *call)
{
    weft_daemon *d = owner;
    if (call->method == WEFT_METHOD_WATCH) {
        weft_watchers_gone(d->watchers, call);
        return;
    }
    const uint64_t token = call->token;
    if (token && weft_daemon_take(d, token)) {
        weft_event event = {.kind = WEFT_EVENT_CALL_GONE};
        event.u.gone.call = token;
        weft_batch_feed(d, &event);
        weft_rpc_call_unref(call);
    }
}
