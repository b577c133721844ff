/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ImportModel: chunks go into models.db on the pool, one at a time for each import; the version's
 * row is the owner's. Values that are not finite are refused: no job may start from them.
 */
#include "app/daemon.h"

#include "model/layout.h"

#include <float.h>
#include <string.h>

typedef struct import {
    weft_rt_job job; /* first; one at a time */
    weft_item item;
    weft_daemon *d;
    weft_rpc_call *call; /* referenced */
    atomic_uint refs;    /* rpc's (until drop), the job's or item's under way */
    weft_model_writer *writer;
    weft_update_check check;  /* for values that are not finite */
    weft_rt_message *message; /* of the job, referenced */
    size_t at;
    size_t n;
    weft_view spec; /* texts in the call's arena */
    weft_view schema;
    uint8_t want[WEFT_DIGEST_BYTES];
    uint64_t bytes;
    weft_err err;
} import;

static void unref(import *i)
{
    if (atomic_fetch_sub(&i->refs, 1) == 1) {
        const weft_alloc *a = i->d->alloc;
        weft_model_writer_free(i->writer);
        weft_rpc_call_unref(i->call);
        weft_free(a, i);
    }
}

/* ---- begin ----------------------------------------------------------------------------------- */

static weft_status check_header(const weft_daemon *d, const weft_msg_import_header *header,
                                weft_err *err)
{
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    if (header->total_bytes > d->config.max_model_bytes) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "the model has %llu bytes, this coordinator takes at most %llu (max_model_bytes)",
                  (unsigned long long)header->total_bytes,
                  (unsigned long long)d->config.max_model_bytes);
    }
    WEFT_TRY(weft_spec_parse(&spec, header->model_spec, strlen(header->model_spec), d->alloc, err));
    weft_status status = weft_layout_new(&layout, spec, d->alloc, err);
    const uint64_t want = status == WEFT_OK ? layout->n_params * sizeof(float) : 0;
    if (status == WEFT_OK && want != header->total_bytes) {
        status = weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                              "the model has %llu bytes, its spec wants %llu",
                              (unsigned long long)header->total_bytes, (unsigned long long)want);
    }
    weft_layout_free(layout);
    weft_spec_free(spec);
    return status;
}

static weft_status import_begin(void *self, void **ret, weft_rpc_call *call,
                                const weft_msg_import_header *header, weft_err *err)
{
    weft_daemon *d = self;
    WEFT_TRY(check_header(d, header, err));
    import *i = weft_array(d->alloc, 1, sizeof *i);
    if (!i) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    const weft_status status =
        weft_model_writer_new(&i->writer, d->store, header->total_bytes, err);
    if (status != WEFT_OK) {
        weft_free(d->alloc, i);
        return status;
    }
    const weft_update_rules rules = {
        .n_params = header->total_bytes / sizeof(float), .clip_norm = DBL_MAX, .max_examples = 1};
    weft_update_check_init(&i->check, &rules);
    i->d = d;
    i->call = weft_rpc_call_ref(call);
    atomic_init(&i->refs, 1);
    i->spec = (weft_view){(const uint8_t *)header->model_spec, strlen(header->model_spec)};
    i->schema = (weft_view){(const uint8_t *)header->data_schema, strlen(header->data_schema)};
    memcpy(i->want, header->digest.data, sizeof i->want);
    i->bytes = header->total_bytes;
    *ret = i;
    return WEFT_OK;
}

/* ---- data ------------------------------------------------------------------------------------ */

static weft_status write_message(import *i, weft_err *err)
{
    size_t skip = i->at;
    size_t left = i->n;
    const size_t n_pieces = weft_rt_message_pieces(i->message);
    for (size_t k = 0; k < n_pieces && left > 0; k++) {
        weft_view piece = weft_rt_message_piece(i->message, k);
        if (skip >= piece.size) {
            skip -= piece.size;
            continue;
        }
        piece.data += skip;
        piece.size = piece.size - skip < left ? piece.size - skip : left;
        skip = 0;
        left -= piece.size;
        WEFT_TRY(weft_model_writer_add(i->writer, piece.data, piece.size, err));
        weft_update_check_add(&i->check, piece.data, piece.size);
    }
    return WEFT_OK;
}

static void run_data(weft_rt_job *job)
{
    import *i = (import *)(void *)job; /* its first member */
    if (i->err.code == WEFT_OK && write_message(i, &i->err) != WEFT_OK) {
        weft_rpc_fail(i->call, i->err.code, i->err.msg);
    }
    weft_rt_message_unref(i->message);
    i->message = NULL;
    weft_rt_call_resume(i->call->rt);
    unref(i);
}

static void start(import *i, void (*run)(weft_rt_job *job))
{
    i->job.run = run;
    atomic_fetch_add(&i->refs, 1);
    if (!weft_rt_pool_submit(i->d->pool, &i->job)) {
        weft_rpc_fail_unavailable(i->call, "the coordinator is stopping: try again soon");
        weft_rt_message_unref(i->message);
        i->message = NULL;
        unref(i);
    }
}

static void import_data(void *self, void *handle, weft_rt_message *message, size_t at, size_t n)
{
    (void)self;
    import *i = handle;
    i->message = weft_rt_message_ref(message);
    i->at = at;
    i->n = n;
    start(i, run_data);
}

/* ---- end ------------------------------------------------------------------------------------- */

static void reply_model(weft_daemon *d, void *arg, bool kept)
{
    import *i = *(import **)arg;
    if (kept) {
        weft_models_reply(d, weft_rpc_call_ref(i->call), i->want);
    } else {
        weft_rpc_fail_unavailable(i->call, "the coordinator could not keep this: try again");
    }
    unref(i);
}

/* Owner: the row that makes it a version. */
static void run_imported(weft_item *item, void *owner)
{
    import *i = (void *)((char *)item - offsetof(import, item));
    weft_daemon *d = owner;
    weft_err err = WEFT_ERR_INIT;
    weft_version_row row = {.bytes = i->bytes, .created_unix_ms = weft_daemon_unix_ms(d)};
    memcpy(row.digest, i->want, sizeof row.digest);
    import **keep = weft_batch_memory(d, 1, sizeof(import *));
    weft_status status = weft_batch_write(d, &err);
    if (status == WEFT_OK) {
        status = weft_store_put_version(d->store, &row, &err);
    }
    if (status != WEFT_OK || !keep) {
        weft_rpc_fail(i->call, status == WEFT_OK ? WEFT_E_NOMEM : status, err.msg);
        unref(i);
        return;
    }
    *keep = i;
    weft_batch_after(d, reply_model, keep);
}

static weft_status commit(import *i, weft_err *err)
{
    uint8_t digest[WEFT_DIGEST_BYTES];
    const weft_refusal refusal = weft_update_check_finish(&i->check, 1, err);
    if (refusal != WEFT_REFUSAL_NONE) {
        return err->code == WEFT_OK ? WEFT_E_INVALID : err->code;
    }
    return weft_model_writer_commit(i->writer, i->want, (const char *)i->spec.data,
                                    (const char *)i->schema.data, digest, err);
}

static void run_commit(weft_rt_job *job)
{
    import *i = (import *)(void *)job; /* its first member */
    weft_status status = i->err.code;
    if (status == WEFT_OK) {
        status = commit(i, &i->err);
    }
    if (status != WEFT_OK) {
        weft_rpc_fail(i->call, status, i->err.msg);
        unref(i);
        return;
    }
    i->item.run = run_imported;
    if (!weft_rt_queue_push(i->d->queue, &i->item.node)) {
        weft_rpc_fail_unavailable(i->call, "the coordinator is stopping: try again soon");
        unref(i);
    }
}

static void import_finish(void *self, void *handle)
{
    (void)self;
    start(handle, run_commit);
}

static void import_drop(void *self, void *handle)
{
    (void)self;
    unref(handle);
}

void weft_imports_host(weft_rpc_host *host)
{
    host->import_begin = import_begin;
    host->import_data = import_data;
    host->import_finish = import_finish;
    host->import_drop = import_drop;
}
