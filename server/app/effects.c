/* SPDX-License-Identifier: Apache-2.0 */
/* The core's actions, executed: what is not a persist. Owner thread, after the commit. */
#include "app/daemon.h"

#include "app/views.h"

#include <inttypes.h>
#include <string.h>

/* ---- current versions ------------------------------------------------------------------------ */

weft_status weft_effects_pin(weft_daemon *d, uint64_t job_id, const uint8_t *version, weft_err *err)
{
    weft_job_pin *pin = d->pins;
    while (pin && pin->job_id != job_id) {
        pin = pin->next;
    }
    WEFT_TRY(weft_models_pin(d->models, version, err));
    if (pin) {
        weft_models_unpin(d->models, pin->version);
    } else {
        pin = weft_array(d->alloc, 1, sizeof *pin);
        if (!pin) {
            weft_models_unpin(d->models, version);
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a job's version");
        }
        pin->job_id = job_id;
        pin->next = d->pins;
        d->pins = pin;
    }
    memcpy(pin->version, version, sizeof pin->version);
    return WEFT_OK;
}

void weft_effects_unpin(weft_daemon *d, uint64_t job_id)
{
    weft_job_pin **at = &d->pins;
    while (*at && (*at)->job_id != job_id) {
        at = &(*at)->next;
    }
    weft_job_pin *pin = *at;
    if (pin) {
        *at = pin->next;
        weft_models_unpin(d->models, pin->version);
        weft_free(d->alloc, pin);
    }
}

void weft_effects_unpin_all(weft_daemon *d)
{
    while (d->pins) {
        weft_effects_unpin(d, d->pins->job_id);
    }
}

/* ---- replies --------------------------------------------------------------------------------- */

static weft_status sign(void *self, uint8_t ret[WEFT_SIGNATURE_BYTES],
                        const weft_receipt_fields *fields, weft_err *err)
{
    const weft_daemon *d = self;
    return weft_auth_sign_receipt(ret, d->auth, fields, err);
}

static const char *job_name(void *self, uint64_t job_id)
{
    const weft_job_row *row = weft_view_find_job(((weft_daemon *)self)->core, job_id);
    return row ? row->def->name : NULL;
}

static void reply(weft_daemon *d, const weft_action *action)
{
    weft_rpc_call *call = weft_daemon_take(d, action->u.reply.call);
    if (!call) {
        return; /* its caller went away */
    }
    if (weft_method_get(call->method)->role == WEFT_METHOD_ROLE_OPERATOR) {
        weft_queries_reply_action(d, call, action);
    } else {
        const weft_rpc_signer signer = {sign, d, job_name};
        weft_rpc_reply_action(call, action, &signer);
    }
    weft_rpc_call_unref(call);
}

/* ---- files and calls ------------------------------------------------------------------------- */

typedef struct drop_job {
    weft_rt_job job; /* first */
    weft_daemon *d;
    uint64_t assignment_id;
} drop_job;

static void run_drop(weft_rt_job *job)
{
    drop_job *drop = (drop_job *)(void *)job; /* its first member */
    weft_daemon *d = drop->d;
    weft_err err = WEFT_ERR_INIT;
    if (weft_spool_drop(d->spool, drop->assignment_id, &err) != WEFT_OK) {
        weft_log_line(d->log, WEFT_LOG_WARN,
                      "event=spool_drop_failed assignment=%" PRIu64 " error=\"%s\"",
                      drop->assignment_id, err.msg);
    }
    weft_free(d->alloc, drop);
}

/* Unlinking a big file takes its time: on the pool. What is missed goes at the next start. */
static void drop_update(weft_daemon *d, uint64_t assignment_id)
{
    drop_job *drop = weft_array(d->alloc, 1, sizeof *drop);
    if (drop) {
        drop->job.run = run_drop;
        drop->d = d;
        drop->assignment_id = assignment_id;
        if (!weft_rt_pool_submit(d->pool, &drop->job)) {
            weft_free(d->alloc, drop);
        }
    }
}

/* Of how many rounds does the job keep the updates, to be replayed? */
static uint32_t kept_rounds(const weft_daemon *d, uint64_t job_id)
{
    const weft_job_row *row = weft_view_find_job(d->core, job_id);
    return row ? row->def->keep_updates : 0;
}

void weft_effects_drop_update(weft_daemon *d, uint64_t job_id, uint64_t assignment_id)
{
    weft_err err = WEFT_ERR_INIT;
    bool wanted = false;
    if (kept_rounds(d, job_id) > 0 &&
        weft_store_wants_upload(d->store, assignment_id, &wanted, &err) == WEFT_OK && wanted) {
        return;
    }
    drop_update(d, assignment_id);
}

static weft_status drop_row(void *arg, const weft_assignment_row *row, weft_err *err)
{
    (void)err;
    drop_update(arg, row->assignment_id);
    return WEFT_OK;
}

static weft_status drop_round(void *arg, const weft_round_row *row, weft_err *err)
{
    weft_daemon *d = arg;
    return weft_store_assignments(d->store, row->job_id, row->round, row->attempt, drop_row, d,
                                  err);
}

/* With this round published, an earlier one is no longer among those whose updates are kept. */
static void prune(weft_daemon *d, uint64_t job_id, uint32_t round)
{
    const uint32_t keep = kept_rounds(d, job_id);
    weft_err err = WEFT_ERR_INIT;
    if (keep > 0 && round > keep &&
        weft_store_round(d->store, job_id, round - keep, 0, drop_round, d, &err) != WEFT_OK) {
        weft_log_line(d->log, WEFT_LOG_WARN,
                      "event=spool_prune_failed job=%" PRIu64 " round=%u error=\"%s\"", job_id,
                      round - keep, err.msg);
    }
}

static void cancel_calls(weft_daemon *d, const char *client)
{
    weft_identity id;
    char uri[WEFT_MAX_IDENTITY_URI_BYTES + 1];
    if (d->server &&
        weft_identity_set(&id, d->host.federation, WEFT_ROLE_CLIENT, client, NULL) == WEFT_OK) {
        weft_identity_print(uri, &id);
        const size_t n = weft_rt_server_cancel_peer(d->server, uri, WEFT_RT_PERMISSION_DENIED,
                                                    "this client was revoked");
        weft_log_line(d->log, WEFT_LOG_INFO, "event=calls_cut client=%s calls=%zu", client, n);
    }
}

/* ---- notices --------------------------------------------------------------------------------- */

static void log_notice(weft_daemon *d, const weft_action *action)
{
    const weft_job_row *job = action->u.notify.job;
    const weft_round_row *round = action->u.notify.round;
    const bool quiet = strcmp(action->u.notify.kind, "update") == 0;
    const char *client = action->u.notify.client;
    if (round) {
        weft_log_line(d->log, quiet ? WEFT_LOG_DEBUG : WEFT_LOG_INFO,
                      "event=%s job=%s round=%u attempt=%u state=%s accepted=%u/%u%s%s%s%s%s",
                      action->u.notify.kind, job->def->name, round->round, round->attempt,
                      weft_view_round_state(round->state), round->accepted, round->cohort,
                      client[0] ? " client=" : "", client,
                      action->u.notify.detail[0] ? " detail=\"" : "", action->u.notify.detail,
                      action->u.notify.detail[0] ? "\"" : "");
    } else {
        weft_log_line(d->log, WEFT_LOG_INFO, "event=%s job=%s status=%s detail=\"%s\"",
                      action->u.notify.kind, job->def->name, weft_view_job_status(job->status),
                      action->u.notify.detail);
    }
}

static void notify(weft_daemon *d, const weft_action *action)
{
    const weft_job_row *job = action->u.notify.job;
    const weft_round_row *round = action->u.notify.round;
    weft_msg_job_info job_info;
    weft_msg_round_info round_info;
    log_notice(d, action);
    if (job->status != WEFT_JOB_RUNNING && job->status != WEFT_JOB_PAUSED) {
        weft_effects_unpin(d, job->job_id);
        weft_evaluations_forget(d, job->job_id);
    }
    weft_view_job(&job_info, job, round);
    weft_msg_watch_event event = {.unix_ms = weft_daemon_unix_ms(d),
                                  .kind = action->u.notify.kind,
                                  .job = &job_info,
                                  .client = action->u.notify.client,
                                  .detail = action->u.notify.detail};
    if (round) {
        weft_view_round(&round_info, round, job->def);
        event.round = &round_info;
    }
    weft_watchers_publish(d->watchers, &event);
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Work that cannot even be started: begin again from the store, where it is on record. */
static void must(weft_daemon *d, weft_status status, const weft_err *err)
{
    if (status != WEFT_OK) {
        weft_log_line(d->log, WEFT_LOG_ERROR, "event=action_failed error=\"%s\"", err->msg);
        weft_daemon_fail_held(d, "the coordinator starts over: try again soon");
        d->rebuild_due = true;
    }
}

void weft_effects_action(weft_daemon *d, const weft_action *action)
{
    weft_err err = WEFT_ERR_INIT;
    switch (action->kind) {
    case WEFT_ACTION_REPLY:
        reply(d, action);
        break;
    case WEFT_ACTION_OPEN_SUM:
        must(d, weft_rounds_open(d->rounds, action, &err), &err);
        break;
    case WEFT_ACTION_FOLD:
        must(d, weft_rounds_fold(d->rounds, action, &err), &err);
        break;
    case WEFT_ACTION_FINISH:
        must(d, weft_rounds_finish(d->rounds, action, &err), &err);
        break;
    case WEFT_ACTION_DROP_SUM:
        weft_rounds_drop(d->rounds, action->u.sum.job_id, action->u.sum.round,
                         action->u.sum.attempt, action->u.sum.task);
        break;
    case WEFT_ACTION_DROP_UPDATE:
        weft_effects_drop_update(d, action->u.fold.job_id, action->u.fold.assignment_id);
        break;
    case WEFT_ACTION_PUBLISH:
        must(d, weft_effects_pin(d, action->u.publish.job_id, action->u.publish.version, &err),
             &err);
        prune(d, action->u.publish.job_id, action->u.publish.round);
        break;
    case WEFT_ACTION_EVALUATE:
        weft_evaluations_start(d, action->u.publish.job_id, action->u.publish.round,
                               action->u.publish.version);
        break;
    case WEFT_ACTION_CANCEL_CALLS:
        cancel_calls(d, action->u.client.name);
        break;
    case WEFT_ACTION_NOTIFY:
        notify(d, action);
        break;
    case WEFT_ACTION_PERSIST_JOB:
    case WEFT_ACTION_PERSIST_ROUND:
    case WEFT_ACTION_PERSIST_ASSIGNMENT:
    case WEFT_ACTION_PERSIST_VERSION:
    case WEFT_ACTION_PERSIST_ELIGIBLE:
    case WEFT_ACTION_PERSIST_SECURE:
    case WEFT_ACTION_PERSIST_SECURE_OVER:
        break; /* done in the batch's transaction */
    }
}
