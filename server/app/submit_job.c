/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SubmitJob: everything is checked, and the initial weights are made and durable, on the pool; then
 * the core hears of the job. A dry run stops before that.
 */
#include "app/daemon.h"

#include "app/memory.h"
#include "app/views.h"
#include "eval/eval.h"
#include "model/layout.h"

#include <string.h>

typedef struct submission {
    weft_rt_job job; /* first */
    weft_item item;
    weft_daemon *d;
    weft_rpc_call *call; /* referenced */
    weft_job_def def;    /* owned */
    bool dry_run;
    uint64_t n_params;
    uint8_t version[WEFT_DIGEST_BYTES];
    bool pinned;
    weft_err err;
} submission;

static void drop(submission *s)
{
    weft_daemon *d = s->d;
    if (s->pinned) {
        weft_models_unpin(d->models, s->version);
    }
    weft_job_def_done(&s->def, d->alloc);
    weft_free(d->alloc, s);
}

/* ---- on the pool ----------------------------------------------------------------------------- */

/* Equal specs get equal text: what is stored and sent is canonical. */
static weft_status canonical_spec(submission *s, const weft_spec *spec, weft_err *err)
{
    const weft_alloc *a = s->d->alloc;
    weft_buf text;
    weft_buf_init(&text, a, WEFT_MAX_SPEC_BYTES + 1);
    weft_status status = weft_spec_print(spec, &text, err);
    const char *printed = status == WEFT_OK ? weft_buf_text(&text) : NULL;
    char *copy = printed ? weft_string_copy(a, printed, text.size) : NULL;
    if (copy) {
        weft_free(a, s->def.model_spec);
        s->def.model_spec = copy;
    } else if (status == WEFT_OK) {
        status = weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__, "no memory for a spec");
    }
    weft_buf_done(&text);
    return status;
}

static weft_status seeded_weights(submission *s, const weft_layout *layout, const weft_spec *spec,
                                  weft_err *err)
{
    weft_daemon *d = s->d;
    weft_memory memory = {0};
    weft_rt_blob *blob = NULL;
    WEFT_TRY(weft_memory_take_zeros(&memory, layout->n_params * sizeof(float),
                                    weft_store_dir(d->store), d->alloc, err));
    weft_layout_init_weights(memory.data, layout, spec, s->def.init_seed);
    weft_status status = weft_sha256(s->version, memory.data, memory.size, err);
    if (status == WEFT_OK) {
        status = weft_store_model_put(d->store, s->version, memory.data, memory.size,
                                      s->def.model_spec, s->def.data_schema, err);
    }
    if (status == WEFT_OK) {
        status = weft_models_pin(d->models, s->version, err);
        s->pinned = status == WEFT_OK;
    }
    if (status == WEFT_OK) {
        status = weft_memory_to_blob(&blob, &memory, err);
    }
    if (status == WEFT_OK) {
        weft_models_offer(d->models, s->version, blob); /* its clients will ask for it at once */
    }
    weft_memory_done(&memory);
    return status;
}

static weft_status stored_weights(submission *s, const weft_layout *layout, weft_err *err)
{
    uint64_t bytes = 0;
    memcpy(s->version, s->def.init_version, sizeof s->version);
    WEFT_TRY(weft_store_model_size(s->d->store, s->version, &bytes, err));
    if (bytes != layout->n_params * sizeof(float)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "init.version has %llu bytes, the model spec wants %llu: it is another model",
                  (unsigned long long)bytes,
                  (unsigned long long)(layout->n_params * sizeof(float)));
    }
    return WEFT_OK;
}

static weft_status check_eval_data(const submission *s, weft_err *err)
{
    weft_eval *eval = NULL;
    if (!s->def.eval_data) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_eval_new(&eval, s->def.model_spec, s->def.data_schema, s->def.eval_data,
                           s->d->alloc, err));
    weft_eval_free(eval);
    return WEFT_OK;
}

static weft_status with_layout(submission *s, const weft_layout *layout, const weft_spec *spec,
                               weft_err *err)
{
    const uint64_t bytes = layout->n_params * sizeof(float);
    s->n_params = layout->n_params;
    if (bytes > s->d->config.max_model_bytes) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "the model has %llu bytes, this coordinator takes at most %llu (max_model_bytes)",
                  (unsigned long long)bytes, (unsigned long long)s->d->config.max_model_bytes);
    }
    WEFT_TRY(weft_secagg_terms_check(&s->def, layout->n_params, err));
    WEFT_TRY(canonical_spec(s, spec, err));
    WEFT_TRY(check_eval_data(s, err));
    if (s->def.has_init_version) {
        return stored_weights(s, layout, err);
    }
    return s->dry_run ? WEFT_OK : seeded_weights(s, layout, spec, err);
}

static weft_status prepare(submission *s, weft_err *err)
{
    const weft_alloc *a = s->d->alloc;
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    WEFT_TRY(weft_job_def_check(&s->def, a, err));
    WEFT_TRY(weft_spec_parse(&spec, s->def.model_spec, strlen(s->def.model_spec), a, err));
    weft_status status = weft_layout_new(&layout, spec, a, err);
    if (status == WEFT_OK) {
        status = with_layout(s, layout, spec, err);
    }
    weft_layout_free(layout);
    weft_spec_free(spec);
    return status;
}

static void run_prepare(weft_rt_job *job)
{
    submission *s = (submission *)(void *)job; /* its first member */
    weft_daemon *d = s->d;
    (void)prepare(s, &s->err); /* its code is in err */
    if (!weft_rt_queue_push(d->queue, &s->item.node)) {
        weft_rpc_fail_unavailable(s->call, "the coordinator is stopping: try again soon");
        weft_rpc_call_unref(s->call);
        drop(s);
    }
}

/* ---- on the owner thread --------------------------------------------------------------------- */

static void answer_dry_run(weft_daemon *d, submission *s)
{
    if (weft_core_job_by_name(d->core, s->def.name)) {
        (void)!weft_err_set(&s->err, WEFT_E_CONFLICT, 0, __FILE__, __LINE__,
                            "a job named %s exists already: choose another name", s->def.name);
        weft_requests_fail(s->call, &s->err);
        return;
    }
    const weft_msg_submit_job_reply reply = {.n_params = s->n_params,
                                             .model_bytes = s->n_params * sizeof(float)};
    weft_batch_reply(d, s->call, WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
}

static void drop_after(weft_daemon *d, void *arg, bool kept)
{
    (void)d;
    (void)kept;
    drop(*(submission **)arg);
}

/* The version stays pinned until the core's PUBLISH has pinned it for the job. */
static void drop_later(weft_daemon *d, submission *s)
{
    submission **keep = weft_batch_memory(d, 1, sizeof(submission *));
    if (keep) {
        *keep = s;
        weft_batch_after(d, drop_after, keep);
    } else {
        drop(s);
    }
}

static void run_submit(weft_item *item, void *owner)
{
    submission *s = (void *)((char *)item - offsetof(submission, item));
    weft_daemon *d = owner;
    if (s->err.code != WEFT_OK) {
        weft_requests_fail(s->call, &s->err);
        drop(s);
        return;
    }
    if (s->dry_run) {
        answer_dry_run(d, s);
        drop(s);
        return;
    }
    weft_event event = {.kind = WEFT_EVENT_JOB_SUBMIT};
    event.u.submit.def = &s->def;
    memcpy(event.u.submit.version, s->version, sizeof event.u.submit.version);
    event.u.submit.model_bytes = s->n_params * sizeof(float);
    event.call = weft_daemon_hold(d, s->call);
    weft_batch_feed(d, &event);
    drop_later(d, s);
}

/* On the wire what is false or zero is not there at all: a request that leaves secure aggregation
 * out must not end with a coordinator that sees every update. */
static weft_status settle_privacy(weft_job_def *def, bool plain, weft_err *err)
{
    const weft_job_secure *s = &def->secure;
    weft_job_def usual;
    if (plain && def->secure_aggregation) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the request says plain and its job secure_aggregation: leave one of them out");
    }
    def->secure_aggregation = !plain;
    if (s->adversary == 0 && s->gamma == 0.0 && s->delta == 0.0 && s->min_colluders == 0 &&
        s->phase_deadline_ms == 0) { /* no policy came */
        weft_job_def_init(&usual);
        def->secure = usual.secure;
    }
    return WEFT_OK;
}

void weft_jobs_submit(weft_daemon *d, weft_rpc_call *call)
{
    const weft_msg_submit_job_request *request = call->msg;
    weft_err err = WEFT_ERR_INIT;
    submission *s = weft_array(d->alloc, 1, sizeof *s);
    weft_status status = s ? weft_job_def_copy(&s->def, request->job, d->alloc, &err)
                           : weft_err_set(&err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                                          "the coordinator has no memory");
    if (!s || status != WEFT_OK) {
        weft_free(d->alloc, s);
        weft_requests_fail(call, &err);
        return;
    }
    if (settle_privacy(&s->def, request->plain, &err) != WEFT_OK) {
        weft_requests_fail(call, &err);
        s->d = d;
        drop(s);
        return;
    }
    s->job.run = run_prepare;
    s->item.run = run_submit;
    s->d = d;
    s->call = call;
    s->dry_run = request->dry_run;
    if (!weft_rt_pool_submit(d->pool, &s->job)) {
        weft_rpc_fail_unavailable(call, "the coordinator is stopping: try again soon");
        weft_rpc_call_unref(call);
        drop(s);
    }
}
