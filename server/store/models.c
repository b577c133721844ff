/* SPDX-License-Identifier: Apache-2.0 */
/* models.db: its connections, reading, and the sweep of what nothing names. */
#include "store/models.h"

#include "base/file.h"
#include "crypto/hash.h"
#include "store/models_priv.h"
#include "store/schema_priv.h"

#include <limits.h>
#include <string.h>

/* Pages of the log that tidy moves (64 MB), and that a commit moves by itself. */
#define TIDY_PAGES 1000
#define MOST_PAGES 8000

/* ---- connections ----------------------------------------------------------------------------- */

/* In place of SQLite's own, which would copy the log when a round waits for its version. */
static int on_commit(void *arg, sqlite3 *handle, const char *name, int pages)
{
    weft_models *m = arg;
    m->log_pages = pages;
    return pages < MOST_PAGES ? SQLITE_OK : sqlite3_wal_checkpoint(handle, name);
}

void weft_store_model_tidy(weft_store *store)
{
    weft_models *m = &store->models;
    weft_models_lock(&m->write_lock);
    if (m->log_pages >= TIDY_PAGES &&
        sqlite3_wal_checkpoint_v2(m->writer.handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) ==
            SQLITE_OK) {
        m->log_pages = 0; /* the next commit begins the log anew, or says how long it is */
    }
    weft_models_unlock(&m->write_lock);
}

static weft_status open_connections(weft_store *store, const char *path,
                                    const weft_store_options *options, weft_err *err)
{
    weft_models *m = &store->models;
    weft_db_options db_options = {"models.db", options->vfs, WEFT_STORE_MODELS_PAGE_BYTES,
                                  options->busy_timeout_ms, options->read_only};
    if (options->read_only) {
        WEFT_TRY(weft_db_open(&m->reader, path, &db_options, err));
        return weft_schema_check(&m->reader, &weft_models_schema, err);
    }
    WEFT_TRY(weft_db_open(&m->writer, path, &db_options, err));
    m->writer_full = true;
    (void)sqlite3_wal_hook(m->writer.handle, on_commit, m); /* returns the one before */
    WEFT_TRY(weft_schema_migrate(&m->writer, &weft_models_schema, weft_models_schema.n, err));
    db_options.read_only = true;
    return weft_db_open(&m->reader, path, &db_options, err);
}

weft_status weft_models_open(weft_store *store, const weft_store_options *options, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, store->dir, "models.db", err));
    if (pthread_mutex_init(&store->models.write_lock, NULL) != 0) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "a lock");
    }
    if (pthread_mutex_init(&store->models.read_lock, NULL) != 0) {
        (void)pthread_mutex_destroy(&store->models.write_lock); /* unused yet */
        WEFT_FAIL(err, WEFT_E_NOMEM, "a lock");
    }
    store->models.ready = true;
    return open_connections(store, path, options, err);
}

void weft_models_close(weft_store *store)
{
    weft_models *m = &store->models;
    if (!m->ready) {
        return;
    }
    weft_db_close(&m->reader);
    weft_db_close(&m->writer);
    (void)pthread_mutex_destroy(&m->read_lock);  /* nobody holds it: the caller's contract */
    (void)pthread_mutex_destroy(&m->write_lock); /* the same */
    m->ready = false;
}

/* ---- reading --------------------------------------------------------------------------------- */

static weft_status not_found(const uint8_t *digest, weft_err *err)
{
    char hex[2 * WEFT_DIGEST_BYTES + 1];
    weft_hex_encode(hex, digest, WEFT_DIGEST_BYTES);
    WEFT_FAIL(err, WEFT_E_NOTFOUND, "no model %s is stored", hex);
}

static weft_status find_locked(weft_models *m, const uint8_t *digest, uint64_t *ret_id,
                               uint64_t *ret_bytes, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &m->reader, "SELECT model_id, bytes FROM model WHERE digest = ?",
                              err));
    weft_query_add_blob(&q, digest, WEFT_DIGEST_BYTES);
    bool row = false;
    const weft_status status = weft_query_step(&q, &row, err);
    if (status == WEFT_OK && row) {
        *ret_id = weft_query_u64(&q, 0);
        *ret_bytes = weft_query_u64(&q, 1);
    }
    weft_query_end(&q);
    WEFT_TRY(status);
    return row ? WEFT_OK : not_found(digest, err);
}

static weft_status find(weft_store *store, const uint8_t *digest, uint64_t *ret_id,
                        uint64_t *ret_bytes, weft_err *err)
{
    weft_models_lock(&store->models.read_lock);
    const weft_status status = find_locked(&store->models, digest, ret_id, ret_bytes, err);
    weft_models_unlock(&store->models.read_lock);
    return status;
}

weft_status weft_store_model_size(weft_store *store, const uint8_t digest[WEFT_DIGEST_BYTES],
                                  uint64_t *ret_bytes, weft_err *err)
{
    uint64_t id = 0;
    return find(store, digest, &id, ret_bytes, err);
}

static weft_status texts_locked(weft_models *m, const uint8_t *digest, weft_buf *spec,
                                weft_buf *schema, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &m->reader,
                              "SELECT spec, data_schema FROM model WHERE digest = ?", err));
    weft_query_add_blob(&q, digest, WEFT_DIGEST_BYTES);
    bool row = false;
    weft_status status = weft_query_step(&q, &row, err);
    if (status == WEFT_OK && !row) {
        status = not_found(digest, err);
    }
    if (status == WEFT_OK && spec) {
        const char *text = weft_query_text(&q, 0);
        status = weft_buf_add(spec, text, strlen(text), err);
    }
    if (status == WEFT_OK && schema) {
        const char *text = weft_query_text(&q, 1);
        status = weft_buf_add(schema, text, strlen(text), err);
    }
    weft_query_end(&q);
    return status;
}

weft_status weft_store_model_texts(weft_store *store, const uint8_t digest[WEFT_DIGEST_BYTES],
                                   weft_buf *spec, weft_buf *schema, weft_err *err)
{
    weft_models_lock(&store->models.read_lock);
    const weft_status status = texts_locked(&store->models, digest, spec, schema, err);
    weft_models_unlock(&store->models.read_lock);
    return status;
}

/* Straight from SQLite's pages into out: no statement could do it without a copy. */
static weft_status read_chunk_locked(weft_models *m, uint64_t chunk_id, size_t at, uint8_t *out,
                                     size_t n, weft_err *err)
{
    sqlite3_blob *blob = NULL;
    int rc =
        sqlite3_blob_open(m->reader.handle, "main", "chunk", "data", (int64_t)chunk_id, 0, &blob);
    if (rc == SQLITE_OK && sqlite3_blob_bytes(blob) == 0) { /* a chunk of zeros */
        if (!weft_bytes_zero(out, n)) {                     /* else a hole may stay one */
            memset(out, 0, n);
        }
    } else if (rc == SQLITE_OK && (size_t)sqlite3_blob_bytes(blob) >= at + n) {
        rc = sqlite3_blob_read(blob, out, (int)n, (int)at);
    } else if (rc == SQLITE_OK || rc == SQLITE_ERROR) { /* too short, or no such row */
        rc = SQLITE_CORRUPT;
    }
    const weft_status status = rc == SQLITE_OK ? WEFT_OK : weft_db_fail(&m->reader, rc, err);
    (void)sqlite3_blob_close(blob); /* only read; NULL is fine */
    return status;
}

static weft_status read_range(weft_models *m, uint64_t model_id, uint64_t offset, uint8_t *out,
                              size_t n, weft_err *err)
{
    while (n > 0) {
        const size_t at = (size_t)(offset % WEFT_MAX_CHUNK_BYTES);
        const size_t take = n < WEFT_MAX_CHUNK_BYTES - at ? n : WEFT_MAX_CHUNK_BYTES - at;
        weft_models_lock(&m->read_lock);
        const weft_status status = read_chunk_locked(
            m, WEFT_CHUNK_ID(model_id, offset / WEFT_MAX_CHUNK_BYTES), at, out, take, err);
        weft_models_unlock(&m->read_lock);
        WEFT_TRY(status);
        offset += take;
        out += take;
        n -= take;
    }
    return WEFT_OK;
}

weft_status weft_store_model_read(weft_store *store, const uint8_t digest[WEFT_DIGEST_BYTES],
                                  uint64_t offset, void *out, size_t n, weft_err *err)
{
    uint64_t id = 0;
    uint64_t bytes = 0;
    WEFT_TRY(find(store, digest, &id, &bytes, err));
    if (offset > bytes || n > bytes - offset) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%zu bytes from %llu of a model that has %llu", n,
                  (unsigned long long)offset, (unsigned long long)bytes);
    }
    return read_range(&store->models, id, offset, out, n, err);
}

static weft_status read_hashed(weft_models *m, uint64_t model_id, uint8_t *out, uint64_t size,
                               weft_hash *hash, weft_err *err)
{
    for (uint64_t at = 0; at < size; at += WEFT_MAX_CHUNK_BYTES) {
        const size_t n =
            (size_t)(size - at < WEFT_MAX_CHUNK_BYTES ? size - at : WEFT_MAX_CHUNK_BYTES);
        WEFT_TRY(read_range(m, model_id, at, out + at, n, err));
        WEFT_TRY(weft_hash_add(hash, out + at, n, err)); /* while it is in the cache */
    }
    return WEFT_OK;
}

weft_status weft_store_model_read_all(weft_store *store, const uint8_t digest[WEFT_DIGEST_BYTES],
                                      void *out, uint64_t size, weft_err *err)
{
    uint64_t id = 0;
    uint64_t bytes = 0;
    WEFT_TRY(find(store, digest, &id, &bytes, err));
    if (size != bytes) {
        WEFT_FAIL(err, WEFT_E_INVALID, "room for %llu bytes of a model that has %llu",
                  (unsigned long long)size, (unsigned long long)bytes);
    }
    weft_hash *hash = NULL;
    WEFT_TRY(weft_hash_new(&hash, store->alloc, err));
    uint8_t got[WEFT_DIGEST_BYTES] = {0};
    weft_status status = read_hashed(&store->models, id, out, size, hash, err);
    if (status == WEFT_OK) {
        status = weft_hash_finish(got, hash, err);
    }
    weft_hash_free(hash);
    WEFT_TRY(status);
    if (memcmp(got, digest, sizeof got) != 0) {
        char hex[2 * WEFT_DIGEST_BYTES + 1];
        weft_hex_encode(hex, digest, WEFT_DIGEST_BYTES);
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "the stored bytes of model %s are damaged: restore models.db from a backup", hex);
    }
    return WEFT_OK;
}

/* ---- sweep ----------------------------------------------------------------------------------- */

static weft_status has_version(weft_store *store, weft_view digest, bool *ret_has, weft_err *err)
{
    *ret_has = false;
    if (!digest.data) {
        return WEFT_OK; /* an unfinished one */
    }
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main, "SELECT 1 FROM version WHERE digest = ?", err));
    weft_query_add_blob(&q, digest.data, digest.size);
    const weft_status status = weft_query_step(&q, ret_has, err);
    weft_query_end(&q);
    return status;
}

/* The first model above *id that may go; *id 0: none. */
static weft_status next_orphan(weft_store *store, uint64_t *id, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->models.reader,
        "SELECT model_id, digest FROM model WHERE model_id > ? ORDER BY model_id", err));
    weft_query_add_u64(&q, *id);
    *id = 0;
    weft_status status = WEFT_OK;
    for (bool more = true, wanted = true; status == WEFT_OK && more && wanted;) {
        status = weft_query_step(&q, &more, err);
        if (status == WEFT_OK && more) {
            status = has_version(store, weft_query_blob(&q, 1), &wanted, err);
            *id = wanted ? 0 : weft_query_u64(&q, 0);
        }
    }
    weft_query_end(&q);
    return status;
}

weft_status weft_store_model_sweep(weft_store *store, uint32_t *ret_dropped, weft_err *err)
{
    uint32_t dropped = 0;
    uint64_t id = 0;
    WEFT_TRY(next_orphan(store, &id, err));
    for (; id != 0; dropped++) {
        WEFT_TRY(weft_models_drop(&store->models, id, err));
        WEFT_TRY(next_orphan(store, &id, err));
    }
    if (ret_dropped) {
        *ret_dropped = dropped;
    }
    return WEFT_OK;
}
