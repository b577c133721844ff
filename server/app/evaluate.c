/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Central evaluation: one thread of its own, which keeps each job's examples between versions. The
 * result, or why there is none, goes to the core.
 */
#include "app/daemon.h"

#include "app/views.h"
#include "eval/eval.h"

#include <stdio.h>
#include <string.h>

/* The data of one job; the evaluation thread's, but for `over`. */
typedef struct job_data {
    struct job_data *next; /* owner thread's list */
    uint64_t job_id;
    atomic_uint refs;
    atomic_bool over; /* the job has ended: stop soon */
    char *spec;       /* owned texts */
    char *schema;
    char *path;
    weft_eval *eval; /* NULL until the first evaluation */
} job_data;

typedef struct evaluation {
    weft_rt_job job; /* first */
    weft_item item;
    weft_daemon *d;
    job_data *data; /* referenced */
    uint32_t round;
    uint8_t version[WEFT_DIGEST_BYTES];
    weft_eval_result result;
    weft_err err;
} evaluation;

struct weft_evaluations {
    job_data *head;
};

static void unref(const weft_daemon *d, job_data *data)
{
    if (atomic_fetch_sub(&data->refs, 1) == 1) {
        weft_eval_free(data->eval);
        weft_free(d->alloc, data->spec);
        weft_free(d->alloc, data->schema);
        weft_free(d->alloc, data->path);
        weft_free(d->alloc, data);
    }
}

weft_status weft_evaluations_new(weft_daemon *d, weft_err *err)
{
    d->evaluations = weft_array(d->alloc, 1, sizeof *d->evaluations);
    if (!d->evaluations) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for evaluations");
    }
    return WEFT_OK;
}

void weft_evaluations_forget(weft_daemon *d, uint64_t job_id)
{
    job_data **at = &d->evaluations->head;
    while (*at && (*at)->job_id != job_id) {
        at = &(*at)->next;
    }
    job_data *data = *at;
    if (data) {
        *at = data->next;
        atomic_store(&data->over, true);
        unref(d, data);
    }
}

void weft_evaluations_free(weft_daemon *d)
{
    while (d->evaluations && d->evaluations->head) {
        weft_evaluations_forget(d, d->evaluations->head->job_id);
    }
    weft_free(d->alloc, d->evaluations);
    d->evaluations = NULL;
}

static bool canceled(void *arg)
{
    const job_data *data = arg;
    return atomic_load(&data->over);
}

static weft_status evaluate(evaluation *e, weft_err *err)
{
    weft_daemon *d = e->d;
    job_data *data = e->data;
    weft_rt_blob *blob = NULL;
    if (!data->eval) {
        WEFT_TRY(weft_eval_new(&data->eval, data->spec, data->schema, data->path, d->alloc, err));
    }
    WEFT_TRY(weft_models_load(d->models, &blob, e->version, err));
    const weft_status status =
        weft_eval_run(&e->result, data->eval, (const void *)weft_rt_blob_data(blob),
                      weft_rt_blob_size(blob) / sizeof(float), canceled, data, err);
    weft_models_put(d->models, e->version, blob);
    return status;
}

static void run_evaluated(weft_item *item, void *owner)
{
    evaluation *e = (void *)((char *)item - offsetof(evaluation, item));
    weft_daemon *d = owner;
    weft_event event = {.kind = WEFT_EVENT_CENTRAL};
    event.u.central.job_id = e->data->job_id;
    event.u.central.round = e->round;
    event.u.central.metrics = e->err.code == WEFT_OK ? &e->result.metrics : NULL;
    event.u.central.reason = e->err.msg;
    weft_batch_feed(d, &event);
    unref(d, e->data);
    weft_free(d->alloc, e);
}

static void run_evaluate(weft_rt_job *job)
{
    evaluation *e = (evaluation *)(void *)job; /* its first member */
    weft_daemon *d = e->d;
    if (evaluate(e, &e->err) != WEFT_OK && !atomic_load(&e->data->over)) {
        weft_log_line(d->log, WEFT_LOG_ERROR, "event=evaluation_failed round=%u error=\"%s\"",
                      e->round, e->err.msg);
    }
    if (!weft_rt_queue_push(d->queue, &e->item.node)) {
        unref(d, e->data);
        weft_free(d->alloc, e);
    }
}

static job_data *data_of(weft_daemon *d, const weft_job_row *row)
{
    const weft_job_def *def = row->def;
    job_data *data = d->evaluations->head;
    while (data && data->job_id != row->job_id) {
        data = data->next;
    }
    if (data || !def->eval_data) {
        return data;
    }
    data = weft_array(d->alloc, 1, sizeof *data);
    if (!data) {
        return NULL;
    }
    data->job_id = row->job_id;
    atomic_init(&data->refs, 1);
    atomic_init(&data->over, false);
    data->spec = weft_string_copy(d->alloc, def->model_spec, WEFT_MAX_SPEC_BYTES);
    data->schema = def->data_schema
                       ? weft_string_copy(d->alloc, def->data_schema, WEFT_MAX_SCHEMA_BYTES)
                       : NULL;
    data->path = weft_string_copy(d->alloc, def->eval_data, strlen(def->eval_data));
    if (!data->spec || !data->path || (def->data_schema && !data->schema)) {
        unref(d, data);
        return NULL;
    }
    data->next = d->evaluations->head;
    d->evaluations->head = data;
    return data;
}

void weft_evaluations_start(weft_daemon *d, uint64_t job_id, uint32_t round, const uint8_t *version)
{
    const weft_job_row *row = weft_view_find_job(d->core, job_id);
    job_data *data = row ? data_of(d, row) : NULL;
    evaluation *e = data ? weft_array(d->alloc, 1, sizeof *e) : NULL;
    if (!e) {
        weft_log_line(d->log, WEFT_LOG_ERROR, "event=evaluation_failed round=%u error=\"%s\"",
                      round, "it could not be started");
        return; /* the core gives up on it at its deadline */
    }
    e->job.run = run_evaluate;
    e->item.run = run_evaluated;
    e->d = d;
    e->data = data;
    e->round = round;
    memcpy(e->version, version, sizeof e->version);
    atomic_fetch_add(&data->refs, 1);
    if (!weft_rt_pool_submit(d->eval_pool, &e->job)) {
        unref(d, data);
        weft_free(d->alloc, e);
    }
}
