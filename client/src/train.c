/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TRAIN and STORE: map the base version, let the host's trainer at a private copy of it, encode the
 * difference into the outbox. Called by shell.c; owner thread.
 */
#include "base/clock.h"
#include "client_priv.h"
#include "update/delta.h"

#include <stdio.h>
#include <string.h>

/* Updates above this take longer to write than a lease may last, and their base need not stay in
 * memory. */
#define LARGE_BYTES (UINT64_C(64) << 20)

static const weft_client_data *find_data(const weft_client *client, const char *name)
{
    for (uint32_t i = 0; i < client->n_datasets; i++) {
        if (strcmp(client->datasets[i].name, name) == 0) {
            return &client->datasets[i];
        }
    }
    return NULL;
}

static weft_status fill_info(weft_task_info *ret, const weft_client *client,
                             const weft_session_assignment *a, weft_err *err)
{
    *ret = (weft_task_info){.size = sizeof *ret,
                            .kind = (weft_task_kind)a->task,
                            .job = a->job,
                            .round = a->round,
                            .dataset = a->dataset,
                            .model_spec = a->model_spec,
                            .data_schema = a->data_schema,
                            .optimizer = weft_optimizer_name(a->plan.optimizer),
                            .learning_rate = a->plan.learning_rate,
                            .momentum = a->plan.momentum,
                            .weight_decay = a->plan.weight_decay,
                            .beta1 = a->plan.beta1,
                            .beta2 = a->plan.beta2,
                            .epsilon = a->plan.epsilon,
                            .prox_mu = a->plan.prox_mu,
                            .batch_size = a->plan.batch_size,
                            .epochs = a->plan.epochs,
                            .n_params = (size_t)(a->base_bytes / sizeof(float)),
                            .numerics = weft_numerics_name(a->plan.numerics),
                            .schedule = weft_schedule_name(a->plan.schedule),
                            .schedule_factor = a->plan.schedule_factor,
                            .warmup_rounds = a->plan.warmup_rounds,
                            .clip_gradient = a->plan.clip_gradient,
                            .schedule_rounds = a->plan.schedule_rounds,
                            .early_stop = a->plan.early_stop,
                            .augment_shift = a->plan.augment_shift,
                            .augment_crop = a->plan.augment_crop,
                            .augment_flip = a->plan.augment_flip};
    return weft_session_train_seed(&ret->seed, a->plan.seed, client->identity.name, a->job,
                                   a->round, err);
}

static uint64_t now_ms(void)
{
    return weft_clock_system.mono_ms(weft_clock_system.self);
}

/* What the trainer reports, as far as it makes sense. */
static weft_status read_result(weft_metrics *ret, const weft_task_result *result, weft_err *err)
{
    ret->n = 0;
    if (result->n_metrics > WEFT_RESULT_MAX_METRICS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the trainer reports %u metrics, at most %d",
                  result->n_metrics, WEFT_RESULT_MAX_METRICS);
    }
    for (uint32_t i = 0; i < result->n_metrics; i++) {
        char name[sizeof result->metrics[i].name];
        memcpy(name, result->metrics[i].name, sizeof name);
        name[sizeof name - 1] = '\0';
        WEFT_TRY(weft_metrics_set(ret, name, result->metrics[i].value, err));
    }
    return WEFT_OK;
}

static weft_status run_trainer(weft_client *client, const weft_client_data *data,
                               const weft_task_info *info, weft_task_control *control,
                               uint64_t *ret_n, weft_metrics *metrics, weft_err *err)
{
    weft_task_result result = {.size = sizeof result};
    char message[256] = {0};
    const weft_status status =
        data->trainer.run(data->trainer.self, info, client->map.weights, &result, control, message);
    message[sizeof message - 1] = '\0';
    if (status != WEFT_OK) {
        WEFT_FAIL(err, status, "the trainer of %s: %.200s", data->name,
                  message[0] ? message : weft_status_name(status));
    }
    *ret_n = result.n_examples;
    return read_result(metrics, &result, err);
}

static weft_status train(weft_client *client, const weft_session_assignment *a,
                         weft_session_event *event, weft_metrics *metrics, weft_err *err)
{
    weft_task_info info;
    const weft_client_data *data = find_data(client, a->dataset);
    if (!data) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "data set %s is not offered here", a->dataset);
    }
    WEFT_TRY(fill_info(&info, client, a, err));
    WEFT_TRY(weft_base_map_new(&client->map, client->base, err));
    weft_task_control control = {.client_stop = &client->stop};
    WEFT_TRY(weft_lease_start(&client->lease, &control,
                              weft_transport_lend_channel(client->transport), a->assignment_id,
                              a->lease_ms, err));
    const uint64_t begin = now_ms();
    const weft_status status =
        run_trainer(client, data, &info, &control, &event->u.trained.n_examples, metrics, err);
    client->train_ms = now_ms() - begin;
    weft_lease_end(&client->lease);
    if (atomic_load(&control.lease_stop)) {
        event->u.trained.stopped = true;
        weft_err_clear(err);
        WEFT_FAIL(err, WEFT_E_CANCELED, "%s", client->lease.reason);
    }
    return status;
}

void weft_client_train(weft_client *client, const weft_session_assignment *a,
                       weft_session_event *event, weft_metrics *metrics,
                       char text[WEFT_SESSION_TEXT_BYTES])
{
    weft_err err = WEFT_ERR_INIT;
    memset(event, 0, sizeof *event);
    memset(metrics, 0, sizeof *metrics);
    event->kind = WEFT_SESSION_TRAINED;
    event->u.trained.metrics = metrics;
    event->u.trained.status = train(client, a, event, metrics, &err);
    event->u.trained.detail = text;
    (void)snprintf(text, WEFT_SESSION_TEXT_BYTES, "%s", err.msg);
    if (event->u.trained.status != WEFT_OK) {
        weft_base_map_done(&client->map);
    }
    if (event->u.trained.status != WEFT_OK && atomic_load(&client->stop)) {
        event->kind = WEFT_SESSION_STOP; /* the assignment stays open */
    }
}

/* To wait for the disk is worth it for what took longer than this to train; of what is masked,
 * another version must never be sent. */
static bool must_sync(const weft_client *client, const weft_session_assignment *a)
{
    return a->secure_aggregation || client->train_ms >= client->options.sync_above_ms;
}

/* A model in memory in place, over the weights; of a mapped one never more than a window. */
static weft_status encode(weft_delta_result *ret, weft_update_file *file, weft_base_map *map,
                          uint64_t n_examples, const weft_delta_options *options,
                          const weft_alloc *a, weft_err *err)
{
    const size_t size = (size_t)map->n_params * sizeof(float);
    if (map->lent) {
        uint8_t *bytes = (void *)map->weights;
        WEFT_TRY(weft_delta_encode_to(ret, bytes, size, map->weights, map->base, map->n_params,
                                      n_examples, options, a, err));
        return weft_update_file_write(file, bytes, (size_t)ret->bytes, err);
    }
    const weft_delta_sink sink = {.write = weft_update_file_write,
                                  .self = file,
                                  .passed = size > LARGE_BYTES ? weft_base_map_passed : NULL,
                                  .passed_self = map};
    return weft_delta_encode(ret, &sink, map->weights, map->base, map->n_params, n_examples,
                             options, a, err);
}

/* Delta, clip, encode, write: the bytes and their digest into update. */
static weft_status write_update(weft_client *client, const weft_session_assignment *a,
                                weft_session_update *update, weft_err *err)
{
    const char *dir = client->options.state_dir;
    weft_update_file file;
    WEFT_TRY(weft_update_file_begin(&file, dir, a->assignment_id, a->base_bytes, err));
    const weft_delta_options options = {.codec = weft_codec_find(a->encoding),
                                        .clip_norm = a->clip_norm,
                                        .exact = a->task == WEFT_TASK_STATS,
                                        .max_examples = a->max_examples};
    weft_delta_result result;
    weft_status status =
        encode(&result, &file, &client->map, update->n_examples, &options, client->alloc, err);
    if (status == WEFT_OK) {
        status = weft_update_file_commit(&file, must_sync(client, a), err);
    }
    weft_update_file_done(&file);
    WEFT_TRY(status);
    update->total_bytes = result.bytes;
    update->n_examples = result.n_examples;
    memcpy(update->digest, result.digest, sizeof update->digest);
    if (result.clipped) {
        weft_client_tell_clipped(client, a, result.norm);
    }
    return WEFT_OK;
}

void weft_client_tell_clipped(const weft_client *client, const weft_session_assignment *a,
                              double norm)
{
    weft_log_line(&client->log, WEFT_LOG_INFO,
                  "event=clipped job=%s round=%u norm=%.6g clip_norm=%.6g", a->job, a->round, norm,
                  a->clip_norm);
}

weft_status weft_client_leased(weft_client *client, const weft_session_assignment *a,
                               uint64_t bytes, weft_status (*work)(void *self, weft_err *err),
                               void *self, weft_err *err)
{
    weft_task_control control = {.client_stop = &client->stop};
    if (bytes <= LARGE_BYTES) {
        return work(self, err);
    }
    WEFT_TRY(weft_lease_start(&client->lease, &control,
                              weft_transport_lend_channel(client->transport), a->assignment_id,
                              a->lease_ms, err));
    const weft_status status = work(self, err);
    weft_lease_end(&client->lease);
    return status;
}

typedef struct writing {
    weft_client *client;
    const weft_session_assignment *assignment;
    weft_session_update *update;
} writing;

static weft_status write_bytes(void *self, weft_err *err)
{
    const writing *w = self;
    return (w->assignment->secure_aggregation ? weft_client_encode : write_update)(
        w->client, w->assignment, w->update, err);
}

static weft_status store(weft_client *client, const weft_session_assignment *a,
                         const weft_session_update *given, weft_session_event *event, weft_err *err)
{
    weft_session_update update = *given;
    update.total_bytes = 0;
    if (a->task != WEFT_TASK_EVALUATE || a->secure_aggregation) {
        writing w = {client, a, &update};
        WEFT_TRY(weft_client_leased(client, a, a->base_bytes, write_bytes, &w, err));
    }
    WEFT_TRY(weft_outbox_keep_update(client->outbox, a, &update, must_sync(client, a), err));
    event->u.stored.total_bytes = update.total_bytes;
    memcpy(event->u.stored.digest, update.digest, sizeof update.digest);
    return WEFT_OK;
}

void weft_client_store(weft_client *client, const weft_session_assignment *a,
                       const weft_session_update *update, weft_session_event *event,
                       char text[WEFT_SESSION_TEXT_BYTES])
{
    weft_err err = WEFT_ERR_INIT;
    memset(event, 0, sizeof *event);
    event->kind = WEFT_SESSION_STORED;
    const weft_status status = store(client, a, update, event, &err);
    weft_base_map_done(&client->map);
    if (status != WEFT_OK) {
        (void)snprintf(text, WEFT_SESSION_TEXT_BYTES, "%s", err.msg);
        event->kind = WEFT_SESSION_FAILED;
        event->u.failed.action = WEFT_SESSION_STORE;
        event->u.failed.status = status;
        event->u.failed.detail = text;
    }
}
