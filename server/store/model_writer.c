/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing models. Chunks go in transactions of their own without a sync (WAL, synchronous=NORMAL);
 * the transaction that gives the model its digest syncs the log and with it all of them
 * (synchronous=FULL). A crash before leaves a model without a digest, which the sweep drops.
 */
#include "store/models.h"

#include "base/clock.h"
#include "crypto/hash.h"
#include "store/models_priv.h"

#include <string.h>

#define MAX_MODEL_BYTES (WEFT_MAX_PARAMS * 4)

struct weft_model_writer {
    weft_store *store;
    weft_hash *hash; /* owned; NULL: the digest is known */
    uint64_t total;
    uint64_t done;     /* <= total, with what is in block */
    uint64_t model_id; /* row without a digest; 0: none */
    uint64_t chunk;    /* index of the next one */
    uint8_t *block;    /* [WEFT_MAX_CHUNK_BYTES], owned; NULL until a part of a chunk comes */
    size_t filled;     /* of block */
};

/* Every statement of the writer is a transaction of its own; full: on disk when it returns. */
static weft_status set_full_locked(weft_models *m, bool full, weft_err *err)
{
    if (m->writer_full == full) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_db_exec(&m->writer,
                          full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", err));
    m->writer_full = full;
    return WEFT_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static weft_status new_row_locked(weft_models *m, uint64_t total, uint64_t *ret_id, weft_err *err)
{
    WEFT_TRY(set_full_locked(m, false, err));
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &m->writer,
                              "INSERT INTO model (bytes, created_unix_ms) VALUES (?, ?)", err));
    weft_query_add_u64(&q, total);
    weft_query_add_i64(&q, weft_clock_system.unix_ms(weft_clock_system.self));
    WEFT_TRY(weft_query_run(&q, err));
    *ret_id = (uint64_t)sqlite3_last_insert_rowid(m->writer.handle);
    return WEFT_OK;
}

static weft_status put_chunk_locked(weft_models *m, uint64_t chunk_id, const void *data, size_t n,
                                    weft_err *err)
{
    WEFT_TRY(set_full_locked(m, false, err));
    weft_query q;
    WEFT_TRY(
        weft_query_begin(&q, &m->writer, "INSERT INTO chunk (chunk_id, data) VALUES (?, ?)", err));
    weft_query_add_u64(&q, chunk_id);
    weft_query_add_blob(&q, data, weft_bytes_zero(data, n) ? 0 : n);
    return weft_query_run(&q, err);
}

static weft_status put_chunk(weft_model_writer *w, const void *data, size_t n, weft_err *err)
{
    weft_models *m = &w->store->models;
    weft_models_lock(&m->write_lock);
    const weft_status status =
        put_chunk_locked(m, WEFT_CHUNK_ID(w->model_id, w->chunk), data, n, err);
    weft_models_unlock(&m->write_lock);
    w->chunk += status == WEFT_OK;
    return status;
}

static weft_status check_total(uint64_t total, weft_err *err)
{
    if (total == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a model of 0 bytes");
    }
    if (total > MAX_MODEL_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a model of %llu bytes, the limit is %llu",
                  (unsigned long long)total, (unsigned long long)MAX_MODEL_BYTES);
    }
    return WEFT_OK;
}

static weft_status start(weft_model_writer *w, bool hashed, weft_err *err)
{
    if (hashed) {
        WEFT_TRY(weft_hash_new(&w->hash, w->store->alloc, err));
    }
    weft_models *m = &w->store->models;
    weft_models_lock(&m->write_lock);
    const weft_status status = new_row_locked(m, w->total, &w->model_id, err);
    weft_models_unlock(&m->write_lock);
    return status;
}

static weft_status writer_new(weft_model_writer **ret, weft_store *store, uint64_t total,
                              bool hashed, weft_err *err)
{
    WEFT_TRY(check_total(total, err));
    weft_model_writer *w = weft_array(store->alloc, 1, sizeof *w);
    if (!w) {
        (void)!weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__, "a model writer");
        return WEFT_E_NOMEM;
    }
    w->store = store;
    w->total = total;
    const weft_status status = start(w, hashed, err);
    if (status != WEFT_OK) {
        weft_model_writer_free(w);
        return status;
    }
    *ret = w;
    return WEFT_OK;
}

weft_status weft_model_writer_new(weft_model_writer **ret, weft_store *store, uint64_t total_bytes,
                                  weft_err *err)
{
    return writer_new(ret, store, total_bytes, true, err);
}

weft_status weft_model_writer_new_unhashed(weft_model_writer **ret, weft_store *store,
                                           uint64_t total_bytes, weft_err *err)
{
    return writer_new(ret, store, total_bytes, false, err);
}

/* Fill the block up from data; a full one (or the last one) is written. Returns what was taken. */
static weft_status add_to_block(weft_model_writer *w, const uint8_t *data, size_t n,
                                size_t *ret_taken, weft_err *err)
{
    if (!w->block) {
        w->block = weft_array(w->store->alloc, 1, WEFT_MAX_CHUNK_BYTES);
        if (!w->block) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "a model's chunk");
        }
    }
    const size_t space = WEFT_MAX_CHUNK_BYTES - w->filled;
    const size_t taken = n < space ? n : space;
    memcpy(w->block + w->filled, data, taken);
    w->filled += taken;
    *ret_taken = taken;
    if (w->filled == WEFT_MAX_CHUNK_BYTES) {
        WEFT_TRY(put_chunk(w, w->block, w->filled, err));
        w->filled = 0;
    }
    return WEFT_OK;
}

/* A whole chunk is written in place, other bytes are gathered. */
static weft_status add_some(weft_model_writer *w, const uint8_t *data, size_t n, size_t *ret_taken,
                            weft_err *err)
{
    if (w->filled > 0 || n < WEFT_MAX_CHUNK_BYTES) {
        return add_to_block(w, data, n, ret_taken, err);
    }
    *ret_taken = WEFT_MAX_CHUNK_BYTES;
    return put_chunk(w, data, WEFT_MAX_CHUNK_BYTES, err);
}

weft_status weft_model_writer_add(weft_model_writer *writer, const void *data, size_t n,
                                  weft_err *err)
{
    if (n > writer->total - writer->done) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a model announced with %llu bytes has more",
                  (unsigned long long)writer->total);
    }
    if (writer->hash) {
        WEFT_TRY(weft_hash_add(writer->hash, data, n, err));
    }
    const uint8_t *at = data;
    while (n > 0) {
        size_t taken = 0;
        WEFT_TRY(add_some(writer, at, n, &taken, err));
        at += taken;
        n -= taken;
        writer->done += taken;
    }
    return WEFT_OK;
}

weft_status weft_models_has(weft_db *db, const uint8_t *digest, bool *ret_exists, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, db, "SELECT 1 FROM model WHERE digest = ?", err));
    weft_query_add_blob(&q, digest, WEFT_DIGEST_BYTES);
    bool row = false;
    const weft_status status = weft_query_step(&q, &row, err);
    weft_query_end(&q);
    if (status == WEFT_OK) {
        *ret_exists = row;
    }
    return status;
}

/* Give the row its digest, on disk; *ret_kept false when the bytes were there already. */
static weft_status name_locked(weft_model_writer *w, const uint8_t *digest, const char *spec,
                               const char *schema, bool *ret_kept, weft_err *err)
{
    weft_models *m = &w->store->models;
    bool known = false;
    WEFT_TRY(weft_models_has(&m->writer, digest, &known, err));
    *ret_kept = !known;
    if (known) {
        return WEFT_OK;
    }
    WEFT_TRY(set_full_locked(m, true, err));
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &m->writer,
                              "UPDATE model SET digest = ?, spec = ?, data_schema = ?"
                              " WHERE model_id = ?",
                              err));
    weft_query_add_blob(&q, digest, WEFT_DIGEST_BYTES);
    weft_query_add_text(&q, spec ? spec : "");
    weft_query_add_text(&q, schema ? schema : "");
    weft_query_add_u64(&q, w->model_id);
    return weft_query_run(&q, err);
}

static weft_status name_model(weft_model_writer *w, const uint8_t *digest, const char *spec,
                              const char *schema, weft_err *err)
{
    if (w->filled > 0) {
        WEFT_TRY(put_chunk(w, w->block, w->filled, err));
        w->filled = 0;
    }
    bool kept = false;
    weft_models_lock(&w->store->models.write_lock);
    const weft_status status = name_locked(w, digest, spec, schema, &kept, err);
    weft_models_unlock(&w->store->models.write_lock);
    if (status == WEFT_OK && kept) {
        w->model_id = 0; /* it stays */
    }
    return status;
}

static weft_status check_end(const weft_model_writer *writer, weft_err *err)
{
    if (writer->done != writer->total) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a model announced with %llu bytes ended after %llu",
                  (unsigned long long)writer->total, (unsigned long long)writer->done);
    }
    return WEFT_OK;
}

weft_status weft_model_writer_commit_as(weft_model_writer *writer,
                                        const uint8_t digest[WEFT_DIGEST_BYTES], const char *spec,
                                        const char *schema, weft_err *err)
{
    WEFT_TRY(check_end(writer, err));
    return name_model(writer, digest, spec, schema, err);
}

weft_status weft_model_writer_commit(weft_model_writer *writer, const uint8_t *want,
                                     const char *spec, const char *schema,
                                     uint8_t ret_digest[WEFT_DIGEST_BYTES], weft_err *err)
{
    WEFT_TRY(check_end(writer, err));
    uint8_t digest[WEFT_DIGEST_BYTES];
    WEFT_TRY(weft_hash_finish(digest, writer->hash, err));
    if (want && memcmp(want, digest, sizeof digest) != 0) {
        char hex[2 * WEFT_DIGEST_BYTES + 1];
        weft_hex_encode(hex, digest, sizeof digest);
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the model's bytes have the digest %s, not the one announced", hex);
    }
    WEFT_TRY(name_model(writer, digest, spec, schema, err));
    memcpy(ret_digest, digest, sizeof digest);
    return WEFT_OK;
}

/* One chunk a transaction: others get their turn in between. False: none is left. */
static weft_status drop_chunk_locked(weft_models *m, uint64_t model_id, bool *ret_dropped,
                                     weft_err *err)
{
    WEFT_TRY(set_full_locked(m, false, err));
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &m->writer,
                              "DELETE FROM chunk WHERE chunk_id = (SELECT min(chunk_id) FROM chunk"
                              " WHERE chunk_id >= ? AND chunk_id < ?)",
                              err));
    weft_query_add_u64(&q, WEFT_CHUNK_ID(model_id, UINT64_C(0)));
    weft_query_add_u64(&q, WEFT_CHUNK_ID(model_id + 1, UINT64_C(0)));
    WEFT_TRY(weft_query_run(&q, err));
    *ret_dropped = sqlite3_changes(m->writer.handle) == 1;
    return WEFT_OK;
}

static weft_status drop_row_locked(weft_models *m, uint64_t model_id, weft_err *err)
{
    WEFT_TRY(set_full_locked(m, false, err));
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &m->writer, "DELETE FROM model WHERE model_id = ?", err));
    weft_query_add_u64(&q, model_id);
    return weft_query_run(&q, err);
}

weft_status weft_models_drop(weft_models *m, uint64_t model_id, weft_err *err)
{
    weft_status status = WEFT_OK;
    for (bool dropped = true; status == WEFT_OK && dropped;) {
        weft_models_lock(&m->write_lock);
        status = drop_chunk_locked(m, model_id, &dropped, err);
        weft_models_unlock(&m->write_lock);
    }
    WEFT_TRY(status);
    weft_models_lock(&m->write_lock);
    status = drop_row_locked(m, model_id, err);
    weft_models_unlock(&m->write_lock);
    return status;
}

void weft_model_writer_free(weft_model_writer *writer)
{
    if (!writer) {
        return;
    }
    if (writer->model_id) {
        /* what cannot be dropped now is swept at the next start */
        (void)!weft_models_drop(&writer->store->models, writer->model_id, NULL);
    }
    weft_hash_free(writer->hash);
    weft_free(writer->store->alloc, writer->block);
    weft_free(writer->store->alloc, writer);
}

weft_status weft_store_model_put(weft_store *store, const uint8_t digest[WEFT_DIGEST_BYTES],
                                 const void *data, size_t size, const char *spec,
                                 const char *schema, weft_err *err)
{
    bool known = false;
    weft_models_lock(&store->models.read_lock);
    weft_status status = weft_models_has(&store->models.reader, digest, &known, err);
    weft_models_unlock(&store->models.read_lock);
    if (status != WEFT_OK || known) {
        return status;
    }
    weft_model_writer *w = NULL;
    WEFT_TRY(writer_new(&w, store, size, false, err));
    status = weft_model_writer_add(w, data, size, err);
    if (status == WEFT_OK) {
        status = name_model(w, digest, spec, schema, err);
    }
    weft_model_writer_free(w);
    return status;
}
