/* SPDX-License-Identifier: Apache-2.0 */
/* Versions, releases and rollbacks. */
#include "store/queries.h"

#include "base/file.h"
#include "store/store_priv.h"

#include <string.h>

/* ---- versions -------------------------------------------------------------------------------- */

/* In the order that read_version takes them. The attempt is the one that published. */
#define VERSION_SELECT                                                                             \
    "SELECT v.digest, v.parent, ifnull(v.job_id, 0), v.round, v.bytes, v.created_unix_ms,"         \
    " ifnull(j.name, ''), ifnull(j.version = v.digest, 0),"                                        \
    " (SELECT e.name FROM release e WHERE e.digest = v.digest AND NOT EXISTS"                      \
    " (SELECT 1 FROM release f WHERE f.name = e.name AND f.release_id > e.release_id)"             \
    " ORDER BY e.release_id DESC LIMIT 1),"                                                        \
    " ifnull((SELECT r.attempt FROM round r WHERE r.job_id = v.job_id AND r.round = v.round"       \
    " AND r.version = v.digest ORDER BY r.attempt DESC LIMIT 1), 0)"                               \
    " FROM version v LEFT JOIN job j ON j.job_id = v.job_id "

static weft_status read_version(weft_query *q, weft_store *store, weft_store_version_fn fn,
                                void *arg, weft_err *err)
{
    weft_store_version version;
    memset(&version, 0, sizeof version);
    weft_version_row *row = &version.row;
    (void)weft_query_copy_blob(q, 0, row->digest, sizeof row->digest); /* the schema checks it */
    row->has_parent = weft_query_copy_blob(q, 1, row->parent, sizeof row->parent);
    row->job_id = weft_query_u64(q, 2);
    row->round = weft_query_u32(q, 3);
    row->bytes = weft_query_u64(q, 4);
    row->created_unix_ms = weft_query_i64(q, 5);
    version.job = weft_query_text(q, 6);
    version.current = weft_query_i64(q, 7) != 0;
    version.released = !weft_query_is_null(q, 8);
    version.release = weft_query_text(q, 8);
    const uint32_t attempt = weft_query_u32(q, 9);
    WEFT_TRY(
        weft_store_round_metrics(store, row->job_id, row->round, attempt, 1, &version.train, err));
    WEFT_TRY(weft_store_round_metrics(store, row->job_id, row->round, attempt, 2,
                                      &version.federated, err));
    WEFT_TRY(weft_store_round_metrics(store, row->job_id, row->round, attempt, 3, &version.central,
                                      err));
    return fn(arg, &version, err);
}

static weft_status each_version(weft_query *q, weft_store *store, weft_store_version_fn fn,
                                void *arg, uint32_t *ret_n, weft_err *err)
{
    uint32_t n = 0;
    bool more = false;
    weft_status status = weft_query_step(q, &more, err);
    while (status == WEFT_OK && more) {
        n++;
        status = read_version(q, store, fn, arg, err);
        if (status == WEFT_OK) {
            status = weft_query_step(q, &more, err);
        }
    }
    weft_query_end(q);
    *ret_n = n;
    return status;
}

weft_status weft_store_versions(weft_store *store, uint64_t job_id, uint32_t limit,
                                weft_store_version_fn fn, void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main,
        VERSION_SELECT "WHERE ?1 = 0 OR v.job_id = ?1 ORDER BY v.version_id DESC LIMIT ?2", err));
    weft_query_add_u64(&q, job_id);
    weft_query_add_u64(&q, limit ? limit : WEFT_STORE_PAGE_ROWS);
    uint32_t n = 0;
    return each_version(&q, store, fn, arg, &n, err);
}

weft_status weft_store_version_by_digest(weft_store *store, const uint8_t digest[WEFT_DIGEST_BYTES],
                                         weft_store_version_fn fn, void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main, VERSION_SELECT "WHERE v.digest = ? ORDER BY v.version_id DESC LIMIT 1",
        err));
    weft_query_add_blob(&q, digest, WEFT_DIGEST_BYTES);
    uint32_t n = 0;
    WEFT_TRY(each_version(&q, store, fn, arg, &n, err));
    if (n == 0) {
        char hex[2 * WEFT_DIGEST_BYTES + 1];
        weft_hex_encode(hex, digest, WEFT_DIGEST_BYTES);
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no version %s", hex);
    }
    return WEFT_OK;
}

weft_status weft_store_version_of_round(weft_store *store, uint64_t job_id, uint32_t round,
                                        weft_store_version_fn fn, void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              VERSION_SELECT "WHERE v.job_id = ? AND v.round = ?"
                                             " ORDER BY v.version_id DESC LIMIT 1",
                              err));
    weft_query_add_u64(&q, job_id);
    weft_query_add_u64(&q, round);
    uint32_t n = 0;
    WEFT_TRY(each_version(&q, store, fn, arg, &n, err));
    if (n == 0) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "round %u of job %llu published no version",
                  (unsigned)round, (unsigned long long)job_id);
    }
    return WEFT_OK;
}

/* Rows of (digest), at most two, that begin with the same bytes; ends q. */
static weft_status only_one(weft_query *q, const char *hex, uint8_t *ret_digest, weft_err *err)
{
    uint8_t digest[WEFT_DIGEST_BYTES] = {0};
    bool first = false;
    bool second = false;
    weft_status status = weft_query_step(q, &first, err);
    if (status == WEFT_OK && first) {
        (void)weft_query_copy_blob(q, 0, digest, sizeof digest); /* the schema checks its length */
        status = weft_query_step(q, &second, err);
    }
    weft_query_end(q);
    WEFT_TRY(status);
    if (!first) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no version begins with %.64s", hex);
    }
    if (second) {
        WEFT_FAIL(err, WEFT_E_CONFLICT, "several versions begin with %.64s: give more digits", hex);
    }
    memcpy(ret_digest, digest, sizeof digest);
    return WEFT_OK;
}

weft_status weft_store_version_by_prefix(weft_store *store, const char *hex,
                                         uint8_t ret_digest[WEFT_DIGEST_BYTES], weft_err *err)
{
    const size_t max = (size_t)2 * WEFT_DIGEST_BYTES;
    const size_t n = strnlen(hex, max + 1);
    char low_hex[2 * WEFT_DIGEST_BYTES + 1];
    uint8_t low[WEFT_DIGEST_BYTES];
    uint8_t high[WEFT_DIGEST_BYTES];
    bool good = n >= 4 && n <= max;
    if (good) {
        memset(low_hex, '0', sizeof low_hex);
        memcpy(low_hex, hex, n);
        good = weft_hex_decode(low, sizeof low, low_hex, max);
    }
    if (good) {
        memset(low_hex + n, 'f', sizeof low_hex - n);
        good = weft_hex_decode(high, sizeof high, low_hex, max);
    }
    if (!good) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "%.70s is not the beginning of a version: 4 to 64 hexadecimal digits", hex);
    }
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main,
        "SELECT DISTINCT digest FROM version WHERE digest BETWEEN ? AND ? LIMIT 2", err));
    weft_query_add_blob(&q, low, sizeof low);
    weft_query_add_blob(&q, high, sizeof high);
    return only_one(&q, hex, ret_digest, err);
}

/* ---- releases -------------------------------------------------------------------------------- */

static weft_status is_version(weft_store *store, uint64_t job_id, const uint8_t *digest,
                              bool *ret_is, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main, "SELECT 1 FROM version WHERE digest = ? AND ifnull(job_id, 0) = ?", err));
    weft_query_add_blob(&q, digest, WEFT_DIGEST_BYTES);
    weft_query_add_u64(&q, job_id);
    const weft_status status = weft_query_step(&q, ret_is, err);
    weft_query_end(&q);
    return status;
}

weft_status weft_store_put_release(weft_store *store, const char *name, uint64_t job_id,
                                   const uint8_t digest[WEFT_DIGEST_BYTES], weft_err *err)
{
    if (!weft_name_valid(name)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "%.70s is not a release name: 1 to %d letters, digits, '.', '_' and '-'", name,
                  WEFT_MAX_NAME_BYTES);
    }
    bool is = false;
    WEFT_TRY(is_version(store, job_id, digest, &is, err));
    if (!is) {
        char hex[2 * WEFT_DIGEST_BYTES + 1];
        weft_hex_encode(hex, digest, WEFT_DIGEST_BYTES);
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "job %llu has no version %s", (unsigned long long)job_id,
                  hex);
    }
    weft_query q;
    WEFT_TRY(weft_store_write(&q, store,
                              "INSERT INTO release (name, job_id, digest, unix_ms)"
                              " VALUES (?, nullif(?, 0), ?, ?)",
                              err));
    weft_query_add_text(&q, name);
    weft_query_add_u64(&q, job_id);
    weft_query_add_blob(&q, digest, WEFT_DIGEST_BYTES);
    weft_query_add_i64(&q, store->batch_unix_ms);
    return weft_store_run(&q, store, err);
}

/* One row of (digest); ends q. */
static weft_status one_digest(weft_query *q, uint8_t *ret_digest, bool *ret_found, weft_err *err)
{
    const weft_status status = weft_query_step(q, ret_found, err);
    if (status == WEFT_OK && *ret_found) {
        (void)weft_query_copy_blob(q, 0, ret_digest, WEFT_DIGEST_BYTES); /* the schema checks it */
    }
    weft_query_end(q);
    return status;
}

weft_status weft_store_release_by_name(weft_store *store, const char *name,
                                       uint8_t ret_digest[WEFT_DIGEST_BYTES], weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main,
        "SELECT digest FROM release WHERE name = ? ORDER BY release_id DESC LIMIT 1", err));
    weft_query_add_text(&q, name);
    bool found = false;
    WEFT_TRY(one_digest(&q, ret_digest, &found, err));
    if (!found) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no release is named %.64s", name);
    }
    return WEFT_OK;
}

weft_status weft_store_release_of_job(weft_store *store, uint64_t job_id,
                                      uint8_t ret_digest[WEFT_DIGEST_BYTES], weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main,
        "SELECT digest FROM release WHERE job_id = ? ORDER BY release_id DESC LIMIT 1", err));
    weft_query_add_u64(&q, job_id);
    bool found = false;
    WEFT_TRY(one_digest(&q, ret_digest, &found, err));
    if (!found) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "job %llu has released nothing yet",
                  (unsigned long long)job_id);
    }
    return WEFT_OK;
}

weft_status weft_store_each_release(weft_store *store, weft_store_release_fn fn, void *arg,
                                    weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main,
        "SELECT name, ifnull(job_id, 0), digest, unix_ms FROM release ORDER BY release_id", err));
    bool more = false;
    weft_status status = weft_query_step(&q, &more, err);
    while (status == WEFT_OK && more) {
        weft_store_release release = {.name = weft_query_text(&q, 0),
                                      .job_id = weft_query_u64(&q, 1),
                                      .unix_ms = weft_query_i64(&q, 3)};
        (void)weft_query_copy_blob(&q, 2, release.digest,
                                   sizeof release.digest); /* the schema checks its length */
        status = fn(arg, &release, err);
        if (status == WEFT_OK) {
            status = weft_query_step(&q, &more, err);
        }
    }
    weft_query_end(&q);
    return status;
}

/* ---- rollbacks ------------------------------------------------------------------------------- */

weft_status weft_store_put_rollback(weft_store *store, const weft_store_rollback_row *row,
                                    weft_err *err)
{
    weft_query q;
    WEFT_TRY(
        weft_store_write(&q, store,
                         "INSERT INTO rollback (job_id, round, from_digest, to_digest, unix_ms)"
                         " VALUES (?, ?, ?, ?, ?)",
                         err));
    weft_query_add_u64(&q, row->job_id);
    weft_query_add_u64(&q, row->round);
    weft_query_add_blob(&q, row->from, sizeof row->from);
    weft_query_add_blob(&q, row->to, sizeof row->to);
    weft_query_add_i64(&q, store->batch_unix_ms);
    return weft_store_run(&q, store, err);
}

weft_status weft_store_rollbacks(weft_store *store, uint64_t job_id, weft_store_rollback_fn fn,
                                 void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT job_id, round, from_digest, to_digest, unix_ms FROM rollback"
                              " WHERE job_id = ? ORDER BY rollback_id",
                              err));
    weft_query_add_u64(&q, job_id);
    bool more = false;
    weft_status status = weft_query_step(&q, &more, err);
    while (status == WEFT_OK && more) {
        weft_store_rollback_row row = {.job_id = weft_query_u64(&q, 0),
                                       .round = weft_query_u32(&q, 1),
                                       .unix_ms = weft_query_i64(&q, 4)};
        (void)weft_query_copy_blob(&q, 2, row.from, sizeof row.from); /* the schema checks both */
        (void)weft_query_copy_blob(&q, 3, row.to, sizeof row.to);
        status = fn(arg, &row, err);
        if (status == WEFT_OK) {
            status = weft_query_step(&q, &more, err);
        }
    }
    weft_query_end(&q);
    return status;
}
