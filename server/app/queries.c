/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operators ask about jobs, rounds and the coordinator itself: read from core and store after
 * the batch, so that only what is durable is told. Rows are copied, messages borrow from the
 * copies. Owner thread.
 */
#include "app/daemon.h"

#include "app/views.h"
#include "base/version.h"

#include <stdio.h>
#include <string.h>

enum { PAGE_JOBS = 200, PAGE_ROUNDS = 200, PAGE_ASSIGNMENTS = 2000, PAGE_HISTORY = 2000 };
enum { PAGE_BYTES = 8 << 20 };
/* Versions to look through for the newest that was evaluated. */
enum { RECENT_VERSIONS = 32 };

/* ---- jobs ------------------------------------------------------------------------------------ */

static weft_status take_metrics(void *arg, const weft_store_version *version, weft_err *err)
{
    (void)err;
    weft_metrics *metrics = arg;
    if (metrics->n == 0) {
        *metrics = version->federated.n ? version->federated : version->central;
    }
    return WEFT_OK;
}

/* Never a silent wait: why a running job has no open round, as its reason. */
static void explain_wait(const weft_daemon *d, weft_msg_job_info *out, const weft_job_row *row,
                         char text[WEFT_REASON_BYTES])
{
    const uint64_t now = weft_daemon_now_ms(d);
    if (row->status != WEFT_JOB_RUNNING || weft_core_open_round(d->core, row->job_id)) {
        return;
    }
    if (row->retry_at_ms > now) {
        (void)snprintf(text, WEFT_REASON_BYTES, "the next attempt begins in %llu s",
                       (unsigned long long)((row->retry_at_ms - now + 999) / 1000)); /* fits */
    } else {
        (void)snprintf(text, WEFT_REASON_BYTES,
                       "waiting for clients: %u with data set %s are here, at least %u are needed",
                       weft_core_offering(d->core, row->job_id), row->def->dataset,
                       row->def->minimum); /* fits: names are short */
    }
    out->reason = text;
}

/* The texts live as long as the core's rows and text. */
static weft_status view_job(const weft_daemon *d, weft_msg_job_info *out, const weft_job_row *row,
                            char text[WEFT_REASON_BYTES], weft_err *err)
{
    weft_view_job(out, row, weft_core_open_round(d->core, row->job_id));
    explain_wait(d, out, row, text);
    return weft_store_versions(d->store, row->job_id, RECENT_VERSIONS, take_metrics, &out->metrics,
                               err);
}

static weft_status list_jobs(weft_daemon *d, weft_rpc_call *call, weft_arena *arena, weft_err *err)
{
    const weft_msg_list_jobs_request *request = call->msg;
    weft_msg_list_jobs_reply reply = {NULL, 0};
    weft_msg_job_info *jobs = weft_arena_take(arena, PAGE_JOBS, sizeof *jobs);
    char(*texts)[WEFT_REASON_BYTES] = weft_arena_take(arena, PAGE_JOBS, sizeof *texts);
    if (!jobs || !texts) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    const uint32_t n = weft_core_n_jobs(d->core);
    for (uint32_t i = 0; i < n && reply.n_jobs < PAGE_JOBS; i++) {
        const weft_job_row *row = weft_core_job_at(d->core, i);
        if (row->job_id > request->after_job) {
            WEFT_TRY(view_job(d, &jobs[reply.n_jobs], row, texts[reply.n_jobs], err));
            reply.n_jobs++;
        }
    }
    reply.jobs = jobs;
    weft_rpc_reply(call, WEFT_MSG_LIST_JOBS_REPLY, &reply);
    return WEFT_OK;
}

/* NULL when there is none; err says so. */
static const weft_job_row *find_job(const weft_daemon *d, const char *name, weft_err *err)
{
    const weft_job_row *row = weft_core_job_by_name(d->core, name);
    if (!row) {
        (void)!weft_err_set(err, WEFT_E_NOTFOUND, 0, __FILE__, __LINE__, "no job is named %s",
                            name);
    }
    return row;
}

/* A history, copied. */
typedef struct history {
    weft_arena *arena;
    weft_msg_status_change *items; /* [PAGE_HISTORY] */
    size_t n;
    bool rounds; /* of a round, else of a job */
} history;

static const char *keep_text(weft_arena *arena, const char *text)
{
    const size_t n = strlen(text) + 1;
    char *copy = weft_arena_take(arena, n, 1);
    if (copy) {
        memcpy(copy, text, n);
    }
    return copy;
}

static weft_status add_change(void *arg, const weft_store_change *change, weft_err *err)
{
    history *h = arg;
    if (h->n == PAGE_HISTORY) { /* the newest are the ones that matter */
        memmove(h->items, h->items + 1, (PAGE_HISTORY - 1) * sizeof *h->items);
        h->n--;
    }
    weft_msg_status_change *item = &h->items[h->n++];
    item->unix_ms = change->unix_ms;
    item->status = h->rounds ? weft_view_round_state((weft_round_state)change->status)
                             : weft_view_job_status((weft_job_status)change->status);
    item->reason = keep_text(h->arena, change->reason ? change->reason : "");
    if (!item->reason) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    return WEFT_OK;
}

static weft_status get_job(weft_daemon *d, weft_rpc_call *call, weft_arena *arena, weft_err *err)
{
    const weft_msg_get_job_request *request = call->msg;
    const weft_job_row *row = find_job(d, request->job, err);
    weft_msg_job_info info;
    char text[WEFT_REASON_BYTES];
    history h = {arena, weft_arena_take(arena, PAGE_HISTORY, sizeof *h.items), 0, false};
    if (!row) {
        return WEFT_E_NOTFOUND;
    }
    WEFT_TRY(view_job(d, &info, row, text, err));
    if (!h.items) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    WEFT_TRY(weft_store_job_history(d->store, row->job_id, add_change, &h, err));
    const weft_msg_get_job_reply reply = {
        .job = &info, .definition = row->def, .history = h.items, .n_history = h.n};
    weft_rpc_reply(call, WEFT_MSG_GET_JOB_REPLY, &reply);
    return WEFT_OK;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

typedef struct rounds {
    weft_arena *arena;
    const weft_job_def *def;
    weft_msg_round_info *items; /* [max] */
    size_t n;
    size_t max;
} rounds;

static weft_status add_round(void *arg, const weft_round_row *row, weft_err *err)
{
    rounds *r = arg;
    if (r->n == r->max) {
        return WEFT_OK;
    }
    weft_round_row *copy = weft_arena_take(r->arena, 1, sizeof *copy);
    if (!copy) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    *copy = *row;
    weft_view_round(&r->items[r->n++], copy, r->def);
    return WEFT_OK;
}

static weft_status list_rounds(weft_daemon *d, weft_rpc_call *call, weft_arena *arena,
                               weft_err *err)
{
    const weft_msg_list_rounds_request *request = call->msg;
    const weft_job_row *row = find_job(d, request->job, err);
    if (!row) {
        return WEFT_E_NOTFOUND;
    }
    /* a page ends with a whole round: room for its attempts */
    const uint32_t limit =
        request->limit && request->limit < PAGE_ROUNDS ? request->limit : PAGE_ROUNDS;
    rounds r = {arena, row->def, NULL, 0, (size_t)2 * PAGE_ROUNDS};
    r.items = weft_arena_take(arena, r.max, sizeof *r.items);
    if (!r.items) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    WEFT_TRY(
        weft_store_rounds(d->store, row->job_id, request->after_round, limit, add_round, &r, err));
    const weft_msg_list_rounds_reply reply = {r.items, r.n};
    weft_rpc_reply(call, WEFT_MSG_LIST_ROUNDS_REPLY, &reply);
    return WEFT_OK;
}

typedef struct assignments {
    weft_arena *arena;
    weft_msg_assignment_info *items; /* [PAGE_ASSIGNMENTS] */
    size_t n;
    uint64_t after;
    const weft_secagg_server *machine; /* of the open secure session, or NULL */
    weft_task task;                    /* that it sums */
} assignments;

static weft_status add_assignment(void *arg, const weft_assignment_row *row, weft_err *err)
{
    assignments *a = arg;
    if (a->n == PAGE_ASSIGNMENTS || row->assignment_id <= a->after) {
        return WEFT_OK;
    }
    weft_assignment_row *copy = weft_arena_take(a->arena, 1, sizeof *copy);
    if (!copy) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    *copy = *row;
    weft_msg_assignment_info *item = &a->items[a->n++];
    weft_view_assignment(item, copy);
    item->answered =
        a->machine && item->task == a->task && weft_secagg_server_came(a->machine, item->client);
    return WEFT_OK;
}

/* The secure session of this very attempt, while it is open. */
static void find_session(assignments *a, const weft_daemon *d, const weft_job_row *row,
                         const weft_msg_round_info *info)
{
    const weft_round_row *open = weft_core_open_round(d->core, row->job_id);
    const weft_secure_session *session = weft_core_secure(d->core, row->job_id);
    const bool here =
        open && session && open->round == info->round && open->attempt == info->attempt;
    if (here) {
        a->machine = weft_secure_session_machine(session);
        a->task = open->state == WEFT_ROUND_EVALUATING ? WEFT_TASK_EVALUATE : row->def->task;
    }
}

static void view_session(weft_msg_secure_info *out, const weft_secagg_server *machine)
{
    const weft_secagg_params *params = weft_secagg_server_params(machine);
    memset(out, 0, sizeof *out);
    out->phase = weft_secagg_phase_name(weft_secagg_server_phase(machine));
    weft_secagg_server_progress(machine, &out->answered, &out->expected);
    out->clients = params->n;
    out->neighbours = params->k;
    out->threshold = params->t;
}

static weft_status get_round(weft_daemon *d, weft_rpc_call *call, weft_arena *arena, weft_err *err)
{
    const weft_msg_get_round_request *request = call->msg;
    const weft_job_row *row = find_job(d, request->job, err);
    weft_msg_round_info info = {.round = 0};
    if (!row) {
        return WEFT_E_NOTFOUND;
    }
    rounds r = {arena, row->def, &info, 0, 1};
    assignments a = {.arena = arena,
                     .items = weft_arena_take(arena, PAGE_ASSIGNMENTS, sizeof *a.items),
                     .after = request->after_assignment};
    weft_msg_secure_info secure;
    history h = {arena, weft_arena_take(arena, PAGE_HISTORY, sizeof *h.items), 0, true};
    if (!a.items || !h.items) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    const weft_status found =
        weft_store_round(d->store, row->job_id, request->round, 0, add_round, &r, err);
    if (found == WEFT_E_NOTFOUND) { /* the store knows numbers only */
        weft_err_clear(err);
        WEFT_FAIL(err, found, "job %s has no round %u; its last one is %u", row->def->name,
                  request->round, row->round);
    }
    WEFT_TRY(found);
    find_session(&a, d, row, &info);
    if (a.machine) {
        view_session(&secure, a.machine);
    }
    WEFT_TRY(weft_store_assignments(d->store, row->job_id, info.round, info.attempt, add_assignment,
                                    &a, err));
    WEFT_TRY(weft_store_round_history(d->store, row->job_id, info.round, info.attempt, add_change,
                                      &h, err));
    const weft_msg_get_round_reply reply = {.round = &info,
                                            .assignments = a.items,
                                            .n_assignments = a.n,
                                            .history = h.items,
                                            .n_history = h.n,
                                            .secure = a.machine ? &secure : NULL};
    weft_rpc_reply(call, WEFT_MSG_GET_ROUND_REPLY, &reply);
    return WEFT_OK;
}

/* ---- the coordinator ------------------------------------------------------------------------- */

static weft_status status(weft_daemon *d, weft_rpc_call *call, weft_arena *arena, weft_err *err)
{
    (void)arena;
    weft_msg_status_reply reply = {.federation = d->host.federation,
                                   .software = "weftd " WEFT_VERSION,
                                   .uptime_ms = weft_daemon_now_ms(d) - d->base_ms,
                                   .address = d->address};
    WEFT_TRY(weft_clients_count(d, &reply.clients_enrolled, err));
    reply.clients_connected = weft_clients_connected(d);
    for (uint32_t i = weft_core_n_jobs(d->core); i > 0; i--) {
        reply.jobs_running += weft_core_job_at(d->core, i - 1)->status == WEFT_JOB_RUNNING;
    }
    weft_rpc_reply(call, WEFT_MSG_STATUS_REPLY, &reply);
    return WEFT_OK;
}

void weft_queries_snapshot(void *self, weft_rpc_call *call, const char *job)
{
    weft_daemon *d = self;
    const uint32_t n = weft_core_n_jobs(d->core);
    for (uint32_t i = 0; i < n; i++) {
        const weft_job_row *row = weft_core_job_at(d->core, i);
        const weft_round_row *open = weft_core_open_round(d->core, row->job_id);
        const bool live = row->status == WEFT_JOB_RUNNING || row->status == WEFT_JOB_PAUSED;
        if (job[0] ? strcmp(row->def->name, job) != 0 : !live) {
            continue; /* ended jobs only for those who ask for them by name */
        }
        weft_err err = WEFT_ERR_INIT;
        weft_msg_job_info info;
        weft_msg_round_info round;
        char text[WEFT_REASON_BYTES];
        if (view_job(d, &info, row, text, &err) != WEFT_OK) {
            weft_view_job(&info, row, open); /* without metrics */
        }
        weft_msg_watch_event event = {
            .unix_ms = weft_daemon_unix_ms(d), .kind = "snapshot", .job = &info};
        if (open) {
            weft_view_round(&round, open, row->def);
            event.round = &round;
        }
        weft_watchers_send(d->watchers, call, &event);
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */

typedef weft_status (*query_fn)(weft_daemon *d, weft_rpc_call *call, weft_arena *arena,
                                weft_err *err);

void weft_queries_run(weft_daemon *d, weft_rpc_call *call)
{
    static const query_fn queries[WEFT_METHOD_COUNT] = {
        [WEFT_METHOD_LIST_JOBS] = list_jobs,
        [WEFT_METHOD_GET_JOB] = get_job,
        [WEFT_METHOD_LIST_ROUNDS] = list_rounds,
        [WEFT_METHOD_GET_ROUND] = get_round,
        [WEFT_METHOD_LIST_CLIENTS] = weft_clients_list,
        [WEFT_METHOD_STATUS] = status,
        [WEFT_METHOD_LEDGER] = weft_ledger_answer,
    };
    if (call->method == WEFT_METHOD_FETCH_VERSION) {
        weft_models_fetch(d, call);
    } else if (call->method == WEFT_METHOD_LIST_MODELS) {
        weft_models_list(d, call);
    } else if (call->method == WEFT_METHOD_WATCH) {
        weft_watchers_add(d->watchers, call);
    } else {
        weft_err err = WEFT_ERR_INIT;
        weft_arena arena;
        weft_arena_init(&arena, d->alloc, PAGE_BYTES);
        if (queries[call->method](d, call, &arena, &err) == WEFT_OK) {
            weft_rpc_call_unref(call);
        } else {
            weft_requests_fail(call, &err);
        }
        weft_arena_done(&arena);
    }
}

/* ---- operators' calls that went through the core --------------------------------------------- */

static void reply_control(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_control_job_request *request = call->msg;
    const weft_job_row *row = weft_core_job_by_name(d->core, request->job);
    weft_err err = WEFT_ERR_INIT;
    weft_msg_job_info info;
    char text[WEFT_REASON_BYTES];
    if (row && view_job(d, &info, row, text, &err) == WEFT_OK) {
        weft_rpc_reply(call, WEFT_MSG_JOB_INFO, &info);
    } else {
        weft_rpc_fail(call, row ? err.code : WEFT_E_NOTFOUND, err.msg);
    }
}

static void reply_submitted(weft_daemon *d, weft_rpc_call *call, uint64_t job_id)
{
    const weft_job_row *row = weft_view_find_job(d->core, job_id);
    weft_msg_job_info info;
    if (!row) {
        weft_rpc_fail(call, WEFT_E_INTERNAL, "the submitted job is not there");
        return;
    }
    weft_view_job(&info, row, weft_core_open_round(d->core, job_id));
    const weft_msg_submit_job_reply reply = {.job = &info,
                                             .n_params = row->model_bytes / sizeof(float),
                                             .model_bytes = row->model_bytes};
    weft_rpc_reply(call, WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
}

void weft_queries_reply_action(weft_daemon *d, weft_rpc_call *call, const weft_action *action)
{
    if (action->u.reply.kind == WEFT_REPLY_ERROR) {
        weft_rpc_fail(call, action->u.reply.u.error.status, action->u.reply.u.error.detail);
    } else if (call->method == WEFT_METHOD_SUBMIT_JOB) {
        reply_submitted(d, call, action->u.reply.u.job_id);
    } else if (call->method == WEFT_METHOD_CONTROL_JOB) {
        reply_control(d, call);
    } else if (call->method == WEFT_METHOD_TAG_MODEL) {
        const weft_msg_tag_model_request *request = call->msg;
        const weft_job_row *row = weft_core_job_by_name(d->core, request->job);
        if (row) {
            weft_models_reply(d, weft_rpc_call_ref(call), row->version);
        } else {
            weft_rpc_fail(call, WEFT_E_NOTFOUND, "the job is not there");
        }
    } else if (call->method == WEFT_METHOD_REVOKE_CLIENT) {
        weft_clients_reply(d, call);
    } else {
        weft_rpc_fail(call, WEFT_E_INTERNAL, "an answer without a question");
    }
}
