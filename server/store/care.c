/* SPDX-License-Identifier: Apache-2.0 */
/* Care of a data directory, beside a running coordinator or without one: check and backup. */
#include "store/store.h"

#include "base/file.h"
#include "crypto/hash.h"
#include "store/schema_priv.h"
#include "store/store_priv.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUSY_TIMEOUT_MS 5000U

/* ---- check ----------------------------------------------------------------------------------- */

typedef struct check {
    weft_db main;
    weft_db models;
    weft_store_finding_fn fn;
    void *arg;
    uint32_t findings;
    const weft_alloc *alloc;
} check;

static void finding(check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void finding(check *c, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cut where too long */
    va_end(args);
    c->findings++;
    c->fn(c->arg, text);
}

weft_status weft_store_open_read_only(weft_db *db, const char *dir, const char *name, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, dir, name, err));
    if (access(path, F_OK) != 0) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "%.160s is not a data directory: it has no %s", dir, name);
    }
    const weft_db_options options = {name, NULL, 0, BUSY_TIMEOUT_MS, true};
    return weft_db_open(db, path, &options, err);
}

/* Each row of a PRAGMA whose first column is a text; "ok" is none. */
static weft_status check_pragma(check *c, weft_db *db, const char *sql, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, db, sql, err));
    bool more = false;
    weft_status status = weft_query_step(&q, &more, err);
    while (status == WEFT_OK && more) {
        const char *text = weft_query_text(&q, 0);
        if (strcmp(text, "ok") != 0) {
            finding(c, "%s: %.180s", db->name, text);
        }
        status = weft_query_step(&q, &more, err);
    }
    weft_query_end(&q);
    return status;
}

static weft_status check_count(check *c, weft_db *db, const char *sql, const char *what,
                               weft_err *err)
{
    int64_t n = 0;
    WEFT_TRY(weft_db_int(db, sql, &n, err));
    if (n != 0) {
        finding(c, "%s: %lld %s", db->name, (long long)n, what);
    }
    return WEFT_OK;
}

static weft_status check_rows(check *c, weft_err *err)
{
    WEFT_TRY(check_pragma(c, &c->main, "PRAGMA integrity_check", err));
    WEFT_TRY(check_pragma(c, &c->models, "PRAGMA integrity_check", err));
    WEFT_TRY(check_count(c, &c->main, "SELECT count(*) FROM pragma_foreign_key_check",
                         "rows whose parent row is missing", err));
    WEFT_TRY(check_count(c, &c->main,
                         "SELECT count(*) FROM (SELECT job_id FROM round WHERE state < 4"
                         " GROUP BY job_id HAVING count(*) > 1)",
                         "jobs with more than one open round", err));
    WEFT_TRY(check_count(c, &c->main,
                         "SELECT count(*) FROM assignment a WHERE a.state = 2 AND a.task <> 2"
                         " AND a.update_digest IS NULL",
                         "accepted updates without a digest", err));
    /* under a mask no update has a weight that is known here: none of a round, or each */
    WEFT_TRY(check_count(c, &c->main,
                         "SELECT count(*) FROM (SELECT 1 FROM assignment a WHERE a.state = 2"
                         " AND a.task <> 2 GROUP BY a.job_id, a.round, a.attempt"
                         " HAVING min(a.n_examples) <= 0 AND max(a.n_examples) > 0)",
                         "rounds with updates that have a weight and others that have none", err));
    return check_count(c, &c->main,
                       "SELECT count(*) FROM round WHERE state = 4 AND n_examples <= 0",
                       "rounds whose version is of no weight", err);
}

/* A chunk without bytes is one of zeros; left: bytes of the model from it on. */
static weft_status hash_zeros(weft_hash *hash, uint64_t left, uint64_t *ret_bytes, weft_err *err)
{
    static const uint8_t zeros[4096];
    uint64_t n = left < WEFT_MAX_CHUNK_BYTES ? left : WEFT_MAX_CHUNK_BYTES;
    *ret_bytes += n;
    while (n > 0) {
        const size_t take = n < sizeof zeros ? (size_t)n : sizeof zeros;
        WEFT_TRY(weft_hash_add(hash, zeros, take, err));
        n -= take;
    }
    return WEFT_OK;
}

static weft_status hash_chunks(check *c, uint64_t model_id, uint64_t bytes, weft_hash *hash,
                               uint64_t *ret_bytes, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &c->models,
        "SELECT data FROM chunk WHERE chunk_id >= ? AND chunk_id < ? ORDER BY chunk_id", err));
    weft_query_add_u64(&q, model_id << 32);
    weft_query_add_u64(&q, (model_id + 1) << 32);
    bool more = false;
    weft_status status = weft_query_step(&q, &more, err);
    while (status == WEFT_OK && more) {
        const weft_view chunk = weft_query_blob(&q, 0);
        if (chunk.size == 0 && *ret_bytes < bytes) {
            status = hash_zeros(hash, bytes - *ret_bytes, ret_bytes, err);
        } else {
            *ret_bytes += chunk.size;
            status = weft_hash_add(hash, chunk.data, chunk.size, err);
        }
        if (status == WEFT_OK) {
            status = weft_query_step(&q, &more, err);
        }
    }
    weft_query_end(&q);
    return status;
}

static weft_status hash_model(check *c, uint64_t model_id, uint64_t bytes, uint8_t *out,
                              uint64_t *ret_bytes, weft_err *err)
{
    weft_hash *hash = NULL;
    WEFT_TRY(weft_hash_new(&hash, c->alloc, err));
    weft_status status = hash_chunks(c, model_id, bytes, hash, ret_bytes, err);
    if (status == WEFT_OK) {
        status = weft_hash_finish(out, hash, err);
    }
    weft_hash_free(hash);
    return status;
}

/* One version's bytes: there, of the right length, and (deep) of the right digest. */
static weft_status check_version(check *c, weft_view digest, uint64_t bytes, bool deep,
                                 weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &c->models, "SELECT model_id, bytes FROM model WHERE digest = ?",
                              err));
    weft_query_add_blob(&q, digest.data, digest.size);
    bool row = false;
    const weft_status status = weft_query_step(&q, &row, err);
    const uint64_t model_id = row ? weft_query_u64(&q, 0) : 0;
    const uint64_t stored = row ? weft_query_u64(&q, 1) : 0;
    weft_query_end(&q);
    WEFT_TRY(status);
    char hex[2 * WEFT_DIGEST_BYTES + 1] = "";
    weft_hex_encode(hex, digest.data,
                    digest.size < WEFT_DIGEST_BYTES ? digest.size : WEFT_DIGEST_BYTES);
    if (!row) {
        finding(c, "models.db: the bytes of version %s are missing", hex);
        return WEFT_OK;
    }
    if (stored != bytes) {
        finding(c, "models.db: version %s has %llu bytes, weft.db says %llu", hex,
                (unsigned long long)stored, (unsigned long long)bytes);
    }
    if (!deep) {
        return WEFT_OK;
    }
    uint8_t got[WEFT_DIGEST_BYTES];
    uint64_t read = 0;
    WEFT_TRY(hash_model(c, model_id, stored, got, &read, err));
    if (read != stored || digest.size != sizeof got || memcmp(got, digest.data, sizeof got) != 0) {
        finding(c, "models.db: the bytes of version %s are damaged", hex);
    }
    return WEFT_OK;
}

static weft_status check_versions(check *c, bool deep, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &c->main,
                              "SELECT digest, max(bytes) FROM version GROUP BY digest", err));
    bool more = false;
    weft_status status = weft_query_step(&q, &more, err);
    while (status == WEFT_OK && more) {
        status = check_version(c, weft_query_blob(&q, 0), weft_query_u64(&q, 1), deep, err);
        if (status == WEFT_OK) {
            status = weft_query_step(&q, &more, err);
        }
    }
    weft_query_end(&q);
    return status;
}

static weft_status run_check(check *c, const char *dir, bool deep, weft_err *err)
{
    WEFT_TRY(weft_store_open_read_only(&c->main, dir, "weft.db", err));
    WEFT_TRY(weft_schema_check(&c->main, &weft_main_schema, err));
    WEFT_TRY(weft_store_open_read_only(&c->models, dir, "models.db", err));
    WEFT_TRY(weft_schema_check(&c->models, &weft_models_schema, err));
    WEFT_TRY(check_rows(c, err));
    return check_versions(c, deep, err);
}

weft_status weft_store_check(const char *dir, bool deep, weft_store_finding_fn fn, void *arg,
                             uint32_t *ret_findings, const weft_alloc *a, weft_err *err)
{
    check *c = weft_array(a, 1, sizeof *c);
    if (!c) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "a check");
    }
    c->fn = fn;
    c->arg = arg;
    c->alloc = a;
    const weft_status status = run_check(c, dir, deep, err);
    weft_db_close(&c->main);
    weft_db_close(&c->models);
    if (status == WEFT_OK) {
        *ret_findings = c->findings;
    }
    weft_free(a, c);
    return status;
}

/* ---- backup ---------------------------------------------------------------------------------- */

static weft_status copy(weft_db *from, weft_db *to, weft_err *err)
{
    sqlite3_backup *backup = sqlite3_backup_init(to->handle, "main", from->handle, "main");
    if (!backup) {
        return weft_db_fail(to, sqlite3_extended_errcode(to->handle), err);
    }
    int rc = sqlite3_backup_step(backup, -1); /* in one snapshot; WAL lets the writer go on */
    const int end = sqlite3_backup_finish(backup);
    rc = rc == SQLITE_DONE ? end : rc;
    return rc == SQLITE_OK ? WEFT_OK : weft_db_fail(to, rc, err);
}

static weft_status copy_file(const char *dir, const char *to, const char *name,
                             const weft_schema_steps *steps, weft_db *pair, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, to, name, err));
    if (access(path, F_OK) == 0) {
        WEFT_FAIL(err, WEFT_E_CONFLICT, "%.160s exists already: back up into a fresh folder", path);
    }
    WEFT_TRY(weft_store_open_read_only(&pair[0], dir, name, err));
    WEFT_TRY(weft_schema_check(&pair[0], steps, err));
    int64_t page_bytes = 0;
    WEFT_TRY(weft_db_int(&pair[0], "PRAGMA page_size", &page_bytes, err));
    const weft_db_options options = {name, NULL, (uint32_t)page_bytes, BUSY_TIMEOUT_MS, false};
    WEFT_TRY(weft_db_open(&pair[1], path, &options, err));
    return copy(&pair[0], &pair[1], err);
}

static weft_status backup_one(const char *dir, const char *to, const char *name,
                              const weft_schema_steps *steps, const weft_alloc *a, weft_err *err)
{
    weft_db *pair = weft_array(a, 2, sizeof *pair);
    if (!pair) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "a backup");
    }
    const weft_status status = copy_file(dir, to, name, steps, pair, err);
    weft_db_close(&pair[1]);
    weft_db_close(&pair[0]);
    weft_free(a, pair);
    return status;
}

weft_status weft_store_backup(const char *dir, const char *to, const weft_alloc *a, weft_err *err)
{
    WEFT_TRY(weft_dir_make(to, 0700, err));
    /* rows first: what they name is in models.db already, and nothing is taken from there */
    WEFT_TRY(backup_one(dir, to, "weft.db", &weft_main_schema, a, err));
    return backup_one(dir, to, "models.db", &weft_models_schema, a, err);
}
