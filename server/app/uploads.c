/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads: rpc's host on the poller side, and the worker that makes a complete update durable (and
 * reads it whole where it came in several connections). Then the core hears of it.
 */
#include "app/daemon.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A complete upload on its way through the pool. */
typedef struct settle_job {
    weft_rt_job job; /* first */
    weft_daemon *d;
    weft_rpc_call *call; /* referenced */
} settle_job;

/* ---- the owner hears of it ------------------------------------------------------------------- */

static void run_update(weft_item *item, void *owner)
{
    weft_daemon *d = owner;
    weft_rpc_call *call = (weft_rpc_call *)(void *)item; /* request is its first member */
    const weft_rpc_update *update = call->update;
    const weft_msg_update_header *h = &update->header;
    const weft_assignment_row *row = weft_core_assignment(d->core, h->assignment_id);
    if (!update->open && row && row->state == WEFT_ASSIGNMENT_OPEN &&
        strcmp(row->client, call->name) == 0) {
        /* it was opened while the header came: nothing was taken, so nothing may be accepted */
        weft_rpc_fail_unavailable(call, "the assignment was not known yet: try again");
        weft_rpc_call_unref(call);
        return;
    }
    weft_event event = {.kind = WEFT_EVENT_UPDATE, .client = call->name};
    event.u.update.assignment_id = h->assignment_id;
    memcpy(event.u.update.base, h->base_digest.data, sizeof event.u.update.base);
    if (h->update_digest.size) {
        memcpy(event.u.update.digest, h->update_digest.data, sizeof event.u.update.digest);
    }
    event.u.update.n_examples = h->n_examples;
    event.u.update.bytes = h->total_bytes;
    /* nothing came of what is not on the board: whatever the core thinks of it, it may not take it;
     * what it took before it answers with its receipt all the same */
    event.u.update.refusal = update->open ? update->refusal : WEFT_REFUSAL_LATE;
    event.u.update.detail = update->detail[0] ? update->detail : NULL;
    event.u.update.metrics = &h->metrics;
    event.call = weft_daemon_hold(d, call);
    const uint64_t id = h->assignment_id;
    weft_batch_feed(d, &event);
    weft_board_release(d->board, id); /* down already, unless the core left it open */
    weft_rpc_call_forget(call);
    call->update = NULL;
}

/* As if the client had said so itself, which it may be too busy for. */
static void upload_alive(void *owner, weft_rpc_call *call)
{
    if (call->update) {
        weft_event event = {.kind = WEFT_EVENT_PROGRESS, .client = call->name};
        event.u.progress.assignment_id = call->update->header.assignment_id;
        weft_batch_feed(owner, &event);
    }
}

static void to_owner(weft_daemon *d, weft_rpc_call *call)
{
    call->request.run = run_update;
    if (!weft_rt_queue_push(d->queue, &call->request.node)) {
        weft_rpc_fail_unavailable(call, "the coordinator is stopping: try again soon");
        weft_rpc_call_unref(call);
    }
}

/* ---- settling -------------------------------------------------------------------------------- */

/* Hash and check in one pass, with a window of the file in memory. */
static weft_status read_windows(weft_update_check *check, uint8_t *digest, const weft_view *view,
                                const weft_alloc *a, weft_err *err)
{
    weft_hash *hash = NULL;
    weft_status status = WEFT_OK;
    WEFT_TRY(weft_hash_new(&hash, a, err));
    for (size_t at = 0; status == WEFT_OK && at < view->size; at += WEFT_MAX_CHUNK_BYTES) {
        const size_t left = view->size - at;
        const size_t n = left < WEFT_MAX_CHUNK_BYTES ? left : WEFT_MAX_CHUNK_BYTES;
        status = weft_hash_add(hash, view->data + at, n, err);
        if (check) {
            weft_update_check_add(check, view->data + at, n);
        }
        weft_spool_unload(view, at, n);
    }
    if (status == WEFT_OK) {
        status = weft_hash_finish(digest, hash, err);
    }
    weft_hash_free(hash);
    return status;
}

/* Read a complete upload that came in parts; the verdict is left in the update. */
static weft_status read_whole(weft_daemon *d, weft_rpc_update *update, weft_err *err)
{
    const weft_msg_update_header *h = &update->header;
    weft_view view = {NULL, 0};
    weft_err why = WEFT_ERR_INIT;
    uint8_t digest[WEFT_SHA256_BYTES];
    const weft_update_rules rules = {.codec = weft_codec_find(h->encoding[0] ? h->encoding : "f32"),
                                     .n_params = update->assignment.model_bytes / sizeof(float),
                                     .clip_norm = update->assignment.clip_norm,
                                     .max_examples = update->assignment.max_examples};
    weft_update_check check;
    weft_update_check_init(&check, &rules);
    WEFT_TRY(weft_spool_map(&view, d->spool, h->assignment_id, err));
    const bool masked = update->assignment.masked_bytes > 0; /* noise: only its digest tells */
    const weft_status status = read_windows(masked ? NULL : &check, digest, &view, d->alloc, err);
    if (status == WEFT_OK && memcmp(digest, h->update_digest.data, sizeof digest) != 0) {
        update->refusal = WEFT_REFUSAL_WRONG_DIGEST;
        (void)snprintf(update->detail, sizeof update->detail,
                       "the bytes do not have the digest that the header names"); /* fits */
    } else if (status == WEFT_OK && !masked) {
        update->refusal = weft_update_check_finish(&check, h->n_examples, &why);
        (void)snprintf(update->detail, sizeof update->detail, "%.*s",
                       (int)sizeof update->detail - 1, why.msg); /* cut where too long */
    }
    weft_spool_unmap(&view);
    update->checked = status == WEFT_OK;
    return status;
}

static weft_status settle(weft_daemon *d, weft_rpc_update *update, weft_err *err)
{
    const bool durable = update->assignment.durability == WEFT_DURABILITY_UPDATE;
    weft_status status = WEFT_OK;
    if (update->refusal == WEFT_REFUSAL_NONE) {
        status = weft_spool_complete(update->upload, durable, err);
    }
    weft_spool_upload_free(update->upload);
    update->upload = NULL;
    if (status == WEFT_OK && !update->checked) {
        status = read_whole(d, update, err);
    }
    if (status == WEFT_OK && update->refusal != WEFT_REFUSAL_NONE) {
        status = weft_spool_drop(d->spool, update->header.assignment_id, err);
    }
    return status;
}

static void settle_and_tell(weft_daemon *d, weft_rpc_call *call)
{
    weft_err err = WEFT_ERR_INIT;
    const weft_status status = settle(d, call->update, &err);
    if (status == WEFT_OK) {
        to_owner(d, call);
        return;
    }
    weft_board_release(d->board, call->update->header.assignment_id);
    weft_log_line(d->log, WEFT_LOG_ERROR,
                  "event=update_not_stored assignment=%" PRIu64 " client=%s error=\"%s\"",
                  call->update->header.assignment_id, call->name, err.msg);
    if (status == WEFT_E_STATE) { /* a newer upload of the same update goes on */
        weft_rpc_fail(call, WEFT_E_STATE, err.msg);
    } else {
        weft_rpc_fail_unavailable(call, "the update could not be stored: try again later");
    }
    weft_rpc_call_unref(call);
}

static void run_settle(weft_rt_job *job)
{
    settle_job *settling = (settle_job *)(void *)job; /* its first member */
    weft_daemon *d = settling->d;
    settle_and_tell(d, settling->call);
    weft_free(d->alloc, settling);
}

static void give_back(weft_rpc_call *call, const char *text)
{
    weft_spool_upload_free(call->update->upload);
    call->update->upload = NULL;
    weft_rpc_fail_unavailable(call, text);
    weft_rpc_call_unref(call);
}

/* Poller thread. Only a rename is left to do when nothing has to be read or synced. */
static void update_ready(void *self, weft_rpc_call *call)
{
    weft_daemon *d = self;
    const weft_rpc_update *update = call->update;
    const bool quick = update->checked && update->refusal == WEFT_REFUSAL_NONE &&
                       update->assignment.durability == WEFT_DURABILITY_ROUND;
    if (!update->upload) {
        to_owner(d, call);
        return;
    }
    if (!weft_board_claim(d->board, update->header.assignment_id)) {
        give_back(call, "this update is being taken already: ask again");
        return;
    }
    if (quick) {
        settle_and_tell(d, call);
        return;
    }
    settle_job *job = weft_array(d->alloc, 1, sizeof *job);
    if (job) {
        job->job.run = run_settle;
        job->d = d;
        job->call = call;
        if (weft_rt_pool_submit(d->pool, &job->job)) {
            return;
        }
        weft_free(d->alloc, job);
    }
    weft_board_release(d->board, call->update->header.assignment_id);
    give_back(call, "the coordinator is busy or stopping: try again soon");
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static bool assignment(void *self, uint64_t id, const char *client, weft_rpc_assignment *ret)
{
    return weft_board_get(((weft_daemon *)self)->board, id, client, ret);
}

static weft_status upload_begin(void *self, void **ret, uint64_t assignment_id, uint64_t start,
                                uint64_t total, weft_err *err)
{
    weft_spool_upload *upload = NULL;
    WEFT_TRY(
        weft_spool_begin(&upload, ((weft_daemon *)self)->spool, assignment_id, start, total, err));
    *ret = upload;
    return WEFT_OK;
}

static weft_status upload_append(void *self, void *upload, uint64_t offset, const weft_view *pieces,
                                 size_t n_pieces, weft_err *err)
{
    (void)self;
    return weft_spool_append_pieces(upload, offset, pieces, n_pieces, err);
}

static void upload_end(void *self, void *upload)
{
    (void)self;
    weft_spool_upload_free(upload);
}

void weft_uploads_host(weft_rpc_host *host)
{
    host->assignment = assignment;
    host->upload_begin = upload_begin;
    host->upload_append = upload_append;
    host->upload_end = upload_end;
    host->upload_alive = upload_alive;
    host->update_ready = update_ready;
}
