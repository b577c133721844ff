/* SPDX-License-Identifier: Apache-2.0 */
/* Stored versions for operators: find, list, release, roll back. Owner thread. */
#include "app/daemon.h"

#include "app/views.h"

#include <string.h>

enum { PAGE_MODELS = 200 };

/* ---- finding one ----------------------------------------------------------------------------- */

typedef struct wanted {
    weft_view digest;
    const char *job;
    uint32_t round;
    bool released;
} wanted;

static weft_status take_digest(void *arg, const weft_store_version *version, weft_err *err)
{
    (void)err;
    memcpy(arg, version->row.digest, WEFT_DIGEST_BYTES);
    return WEFT_OK;
}

/* The digest that a request means; *ret_job_id is 0 without a job. */
static weft_status find(const weft_daemon *d, const wanted *w, uint8_t ret[WEFT_DIGEST_BYTES],
                        uint64_t *ret_job_id, weft_err *err)
{
    *ret_job_id = 0;
    const weft_job_row *row = w->job[0] ? weft_core_job_by_name(d->core, w->job) : NULL;
    if (w->job[0] && !row) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no job is named %s", w->job);
    }
    *ret_job_id = row ? row->job_id : 0;
    if (w->digest.size) {
        uint8_t found[WEFT_DIGEST_BYTES];
        WEFT_TRY(weft_store_version_by_digest(d->store, w->digest.data, take_digest, found, err));
        memcpy(ret, found, sizeof found);
        return WEFT_OK;
    }
    if (!row) {
        WEFT_FAIL(err, WEFT_E_INVALID, "name a job or a version's digest");
    }
    if (w->released) {
        const weft_status found = weft_store_release_of_job(d->store, row->job_id, ret, err);
        if (found == WEFT_E_NOTFOUND) { /* the store knows numbers only */
            weft_err_clear(err);
            WEFT_FAIL(err, found, "job %s has released nothing yet", w->job);
        }
        return found;
    }
    if (w->round) {
        const weft_status found =
            weft_store_version_of_round(d->store, row->job_id, w->round, take_digest, ret, err);
        if (found == WEFT_E_NOTFOUND) { /* as above */
            weft_err_clear(err);
            WEFT_FAIL(err, found, "round %u of job %s has published no version", w->round, w->job);
        }
        return found;
    }
    if (!row->has_version) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "job %s has no version yet", w->job);
    }
    memcpy(ret, row->version, WEFT_DIGEST_BYTES);
    return WEFT_OK;
}

/* ---- one model ------------------------------------------------------------------------------- */

/* What a reply about one version needs while it is encoded. */
typedef struct one {
    weft_rpc_call *call;
    weft_msg_kind kind; /* MODEL_INFO, or LIST_MODELS_REPLY with this one */
    const char *spec;
    const char *schema;
} one;

static weft_status reply_one(void *arg, const weft_store_version *version, weft_err *err)
{
    (void)err;
    const one *o = arg;
    weft_msg_model_info info;
    weft_view_version(&info, version);
    info.model_spec = o->spec;
    info.data_schema = o->schema;
    const weft_msg_list_models_reply list = {&info, 1};
    weft_rpc_reply(o->call, o->kind,
                   o->kind == WEFT_MSG_MODEL_INFO ? (const void *)&info : (const void *)&list);
    return WEFT_OK;
}

static void reply_version(weft_daemon *d, weft_rpc_call *call, const uint8_t *digest,
                          weft_msg_kind kind)
{
    weft_err err = WEFT_ERR_INIT;
    weft_buf spec;
    weft_buf schema;
    weft_buf_init(&spec, d->alloc, WEFT_MAX_SPEC_BYTES + 1);
    weft_buf_init(&schema, d->alloc, WEFT_MAX_SCHEMA_BYTES + 1);
    weft_status status = weft_store_model_texts(d->store, digest, &spec, &schema, &err);
    if (status == WEFT_OK) {
        one o = {call, kind, weft_buf_text(&spec), weft_buf_text(&schema)};
        status = weft_store_version_by_digest(d->store, digest, reply_one, &o, &err);
    }
    if (status != WEFT_OK) {
        weft_rpc_fail(call, status, err.msg);
    }
    weft_buf_done(&spec);
    weft_buf_done(&schema);
    weft_rpc_call_unref(call);
}

void weft_models_reply(weft_daemon *d, weft_rpc_call *call, const uint8_t *digest)
{
    reply_version(d, call, digest, WEFT_MSG_MODEL_INFO);
}

/* ---- FetchModel ------------------------------------------------------------------------------ */

void weft_models_fetch(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_fetch_version_request *request = call->msg;
    const wanted w = {request->digest, request->job, request->round, request->released};
    weft_err err = WEFT_ERR_INIT;
    uint8_t digest[WEFT_DIGEST_BYTES];
    uint64_t job_id = 0;
    if (find(d, &w, digest, &job_id, &err) != WEFT_OK) {
        weft_requests_fail(call, &err);
        return;
    }
    weft_rpc_fetch_start(call, digest);
    weft_rpc_call_unref(call);
}

/* ---- ListModels ------------------------------------------------------------------------------ */

/* Infos borrow their texts from rows that go with each step: they are copied. */
typedef struct page {
    weft_arena arena;
    weft_msg_model_info *items; /* [PAGE_MODELS] */
    size_t n;
    uint32_t skip;
} page;

static const char *keep_text(page *p, const char *text)
{
    const size_t n = strlen(text) + 1;
    char *copy = weft_arena_take(&p->arena, n, 1);
    if (copy) {
        memcpy(copy, text, n);
    }
    return copy;
}

static weft_view keep_view(page *p, weft_view view)
{
    uint8_t *copy = view.size ? weft_arena_take(&p->arena, view.size, 1) : NULL;
    if (!copy) {
        return (weft_view){NULL, 0};
    }
    memcpy(copy, view.data, view.size);
    return (weft_view){copy, view.size};
}

static weft_status add_version(void *arg, const weft_store_version *version, weft_err *err)
{
    page *p = arg;
    if (p->skip > 0) {
        p->skip--;
        return WEFT_OK;
    }
    if (p->n == PAGE_MODELS) {
        return WEFT_OK;
    }
    weft_msg_model_info *info = &p->items[p->n];
    weft_view_version(info, version);
    info->digest = keep_view(p, info->digest);
    info->parent = keep_view(p, info->parent);
    info->job = keep_text(p, info->job);
    info->release_name = keep_text(p, info->release_name);
    if (!info->digest.data || !info->job || !info->release_name) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    p->n++;
    return WEFT_OK;
}

static weft_status list(const weft_daemon *d, page *p, const weft_msg_list_models_request *request,
                        weft_err *err)
{
    const weft_job_row *row = NULL;
    if (request->job[0]) {
        row = weft_core_job_by_name(d->core, request->job);
        if (!row) {
            WEFT_FAIL(err, WEFT_E_NOTFOUND, "no job is named %s", request->job);
        }
    }
    p->items = weft_arena_take(&p->arena, PAGE_MODELS, sizeof *p->items);
    if (!p->items) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    const uint32_t limit =
        request->limit && request->limit < PAGE_MODELS ? request->limit : PAGE_MODELS;
    const uint32_t rows = request->skip > UINT32_MAX - limit ? UINT32_MAX : request->skip + limit;
    p->skip = request->skip;
    return weft_store_versions(d->store, row ? row->job_id : 0, rows, add_version, p, err);
}

void weft_models_list(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_list_models_request *request = call->msg;
    weft_err err = WEFT_ERR_INIT;
    if (request->digest.size || request->round || request->released) {
        const wanted w = {request->digest, request->job, request->round, request->released};
        uint8_t digest[WEFT_DIGEST_BYTES];
        uint64_t job_id = 0;
        if (find(d, &w, digest, &job_id, &err) != WEFT_OK) {
            weft_requests_fail(call, &err);
            return;
        }
        reply_version(d, call, digest, WEFT_MSG_LIST_MODELS_REPLY);
        return;
    }
    page p = {.n = 0};
    weft_arena_init(&p.arena, d->alloc, (size_t)2 * WEFT_MAX_REPLY_BYTES);
    if (list(d, &p, request, &err) == WEFT_OK) {
        const weft_msg_list_models_reply reply = {p.items, p.n};
        weft_rpc_reply(call, WEFT_MSG_LIST_MODELS_REPLY, &reply);
        weft_rpc_call_unref(call);
    } else {
        weft_requests_fail(call, &err);
    }
    weft_arena_done(&p.arena);
}

/* ---- TagModel -------------------------------------------------------------------------------- */

typedef struct tagged {
    weft_rpc_call *call; /* referenced */
    uint8_t digest[WEFT_DIGEST_BYTES];
} tagged;

static void reply_tagged(weft_daemon *d, void *arg, bool kept)
{
    const tagged *t = arg;
    if (kept) {
        weft_models_reply(d, t->call, t->digest);
    } else {
        weft_rpc_fail_unavailable(t->call, "the coordinator could not keep this: try again");
        weft_rpc_call_unref(t->call);
    }
}

static weft_status release(weft_daemon *d, weft_rpc_call *call, const uint8_t *digest,
                           uint64_t job_id, weft_err *err)
{
    const weft_msg_tag_model_request *request = call->msg;
    tagged *t = weft_batch_memory(d, 1, sizeof *t);
    if (!t) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    if (!request->name[0]) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a release needs a name");
    }
    WEFT_TRY(weft_batch_write(d, err));
    WEFT_TRY(weft_store_put_release(d->store, request->name, job_id, digest, err));
    t->call = call;
    memcpy(t->digest, digest, sizeof t->digest);
    weft_log_line(d->log, WEFT_LOG_INFO, "event=released job=%s name=%s", request->job,
                  request->name);
    weft_batch_after(d, reply_tagged, t);
    return WEFT_OK;
}

static weft_status rollback(weft_daemon *d, weft_rpc_call *call, const uint8_t *digest,
                            uint64_t job_id, weft_err *err)
{
    const weft_msg_tag_model_request *request = call->msg;
    const weft_job_row *row = weft_view_find_job(d->core, job_id);
    if (!row) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a rollback needs a job");
    }
    uint64_t bytes = 0;
    WEFT_TRY(weft_store_model_size(d->store, digest, &bytes, err));
    if (bytes != row->model_bytes) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the version has %llu bytes, the job's model %llu: it is another model",
                  (unsigned long long)bytes, (unsigned long long)row->model_bytes);
    }
    weft_store_rollback_row record = {.job_id = job_id, .round = row->round};
    memcpy(record.from, row->version, sizeof record.from);
    memcpy(record.to, digest, sizeof record.to);
    weft_event event = {.kind = WEFT_EVENT_ROLLBACK};
    event.u.rollback.job = request->job;
    memcpy(event.u.rollback.version, digest, sizeof event.u.rollback.version);
    event.call = weft_daemon_hold(d, call);
    weft_batch_feed(d, &event);
    /* the core said yes when its job goes on from there now; it replies in either case */
    if (memcmp(record.from, digest, sizeof record.from) != 0 &&
        memcmp(row->version, digest, sizeof row->version) == 0) {
        weft_err why = WEFT_ERR_INIT;
        weft_status status = weft_batch_write(d, &why);
        if (status == WEFT_OK) {
            status = weft_store_put_rollback(d->store, &record, &why);
        }
        if (status != WEFT_OK) {
            weft_batch_fail(d, &why);
        }
    }
    return WEFT_OK;
}

void weft_models_tag(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_tag_model_request *request = call->msg;
    const wanted w = {request->digest, request->job, request->round, false};
    weft_err err = WEFT_ERR_INIT;
    uint8_t digest[WEFT_DIGEST_BYTES];
    uint64_t job_id = 0;
    weft_status status = find(d, &w, digest, &job_id, &err);
    if (status == WEFT_OK) {
        if (strcmp(request->verb, "release") == 0) {
            status = release(d, call, digest, job_id, &err);
        } else if (strcmp(request->verb, "rollback") == 0) {
            status = rollback(d, call, digest, job_id, &err);
        } else {
            status = weft_err_set(&err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                                  "the verb must be release or rollback");
        }
    }
    if (status != WEFT_OK) {
        weft_requests_fail(call, &err);
    }
}
