/* SPDX-License-Identifier: Apache-2.0 */
/* What operators ask about jobs and rounds, and the histories. */
#include "store/queries.h"

#include "store/store_priv.h"

#include <string.h>

/* ---- jobs ------------------------------------------------------------------------------------ */

weft_status weft_store_job_by_name(weft_store *store, const char *name, weft_store_job_fn fn,
                                   void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT " WEFT_JOB_COLUMNS " FROM job WHERE name = ?", err));
    weft_query_add_text(&q, name);
    uint32_t n = 0;
    WEFT_TRY(weft_store_each_job(&q, fn, arg, &n, err));
    if (n == 0) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no job is named %.64s", name);
    }
    return WEFT_OK;
}

weft_status weft_store_job_by_id(weft_store *store, uint64_t job_id, weft_store_job_fn fn,
                                 void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT " WEFT_JOB_COLUMNS " FROM job WHERE job_id = ?", err));
    weft_query_add_u64(&q, job_id);
    uint32_t n = 0;
    WEFT_TRY(weft_store_each_job(&q, fn, arg, &n, err));
    if (n == 0) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no job has the number %llu", (unsigned long long)job_id);
    }
    return WEFT_OK;
}

/* ---- histories ------------------------------------------------------------------------------- */

/* Rows of (unix_ms, status, reason); ends q. */
static weft_status each_change(weft_query *q, weft_store_change_fn fn, void *arg, weft_err *err)
{
    bool more = false;
    weft_status status = weft_query_step(q, &more, err);
    while (status == WEFT_OK && more) {
        const weft_store_change change = {weft_query_i64(q, 0), weft_query_u32(q, 1),
                                          weft_query_text(q, 2)};
        status = fn(arg, &change, err);
        if (status == WEFT_OK) {
            status = weft_query_step(q, &more, err);
        }
    }
    weft_query_end(q);
    return status;
}

weft_status weft_store_job_history(weft_store *store, uint64_t job_id, weft_store_change_fn fn,
                                   void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT unix_ms, status, reason FROM job_history WHERE job_id = ?"
                              " ORDER BY id",
                              err));
    weft_query_add_u64(&q, job_id);
    return each_change(&q, fn, arg, err);
}

weft_status weft_store_round_history(weft_store *store, uint64_t job_id, uint32_t round,
                                     uint32_t attempt, weft_store_change_fn fn, void *arg,
                                     weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT unix_ms, state, reason FROM round_history WHERE job_id = ?"
                              " AND round = ? AND attempt = ? ORDER BY id",
                              err));
    weft_query_add_u64(&q, job_id);
    weft_query_add_u64(&q, round);
    weft_query_add_u64(&q, attempt);
    return each_change(&q, fn, arg, err);
}

weft_status weft_store_assignment_history(weft_store *store, uint64_t assignment_id,
                                          weft_store_change_fn fn, void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT unix_ms, state, reason FROM assignment_history"
                              " WHERE assignment_id = ? ORDER BY id",
                              err));
    weft_query_add_u64(&q, assignment_id);
    return each_change(&q, fn, arg, err);
}

weft_status weft_store_client_history(weft_store *store, const char *name, weft_store_change_fn fn,
                                      void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT h.unix_ms, h.status, h.reason FROM client_history h"
                              " JOIN client c ON c.client_id = h.client_id WHERE c.name = ?"
                              " ORDER BY h.id",
                              err));
    weft_query_add_text(&q, name);
    return each_change(&q, fn, arg, err);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

weft_status weft_store_rounds(weft_store *store, uint64_t job_id, uint32_t after_round,
                              uint32_t limit, weft_store_round_fn fn, void *arg, weft_err *err)
{
    weft_query q;
    /* up to the round that holds the page's last row, with all its attempts */
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT " WEFT_ROUND_COLUMNS " FROM round WHERE job_id = ?1"
                              " AND round > ?2 AND round <= ifnull((SELECT round FROM round"
                              " WHERE job_id = ?1 AND round > ?2 ORDER BY round, attempt"
                              " LIMIT 1 OFFSET ?3), 9223372036854775807)"
                              " ORDER BY round, attempt",
                              err));
    weft_query_add_u64(&q, job_id);
    weft_query_add_u64(&q, after_round);
    weft_query_add_u64(&q, (limit ? limit : WEFT_STORE_PAGE_ROWS) - 1);
    return weft_store_each_round(&q, store, fn, arg, NULL, err);
}

weft_status weft_store_round(weft_store *store, uint64_t job_id, uint32_t round, uint32_t attempt,
                             weft_store_round_fn fn, void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT " WEFT_ROUND_COLUMNS " FROM round WHERE job_id = ?1"
                              " AND round = ?2 AND (?3 = 0 OR attempt = ?3)"
                              " ORDER BY attempt DESC LIMIT 1",
                              err));
    weft_query_add_u64(&q, job_id);
    weft_query_add_u64(&q, round);
    weft_query_add_u64(&q, attempt);
    uint32_t n = 0;
    WEFT_TRY(weft_store_each_round(&q, store, fn, arg, &n, err));
    if (n == 0) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "job %llu has no round %u", (unsigned long long)job_id,
                  (unsigned)round);
    }
    return WEFT_OK;
}

weft_status weft_store_assignments(weft_store *store, uint64_t job_id, uint32_t round,
                                   uint32_t attempt, weft_store_assignment_fn fn, void *arg,
                                   weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT " WEFT_ASSIGNMENT_COLUMNS " FROM assignment WHERE job_id = ?"
                              " AND round = ? AND attempt = ? ORDER BY assignment_id",
                              err));
    weft_query_add_u64(&q, job_id);
    weft_query_add_u64(&q, round);
    weft_query_add_u64(&q, attempt);
    return weft_store_each_assignment(&q, store, fn, arg, NULL, err);
}

/* Each line of text to fn. */
static weft_status each_name(const char *text, size_t size, weft_store_name_fn fn, void *arg,
                             weft_err *err)
{
    const char *end = text + size;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        const size_t n = stop ? (size_t)(stop - text) : 0;
        if (n == 0 || n > WEFT_MAX_NAME_BYTES) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "weft.db holds an eligible set that is damaged");
        }
        char name[WEFT_MAX_NAME_BYTES + 1];
        memcpy(name, text, n);
        name[n] = '\0';
        WEFT_TRY(fn(arg, name, err));
        text = stop + 1;
    }
    return WEFT_OK;
}

weft_status weft_store_eligible(weft_store *store, uint64_t job_id, uint32_t round,
                                uint32_t attempt, weft_store_name_fn fn, void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main,
        "SELECT clients FROM eligible WHERE job_id = ? AND round = ? AND attempt = ?", err));
    weft_query_add_u64(&q, job_id);
    weft_query_add_u64(&q, round);
    weft_query_add_u64(&q, attempt);
    bool row = false;
    weft_status status = weft_query_step(&q, &row, err);
    if (status == WEFT_OK && !row) {
        status = weft_err_set(err, WEFT_E_NOTFOUND, 0, __FILE__, __LINE__,
                              "job %llu has no eligible set of round %u, attempt %u",
                              (unsigned long long)job_id, (unsigned)round, (unsigned)attempt);
    }
    if (status == WEFT_OK) {
        const char *text = weft_query_text(&q, 0);
        status = each_name(text, weft_query_blob(&q, 0).size, fn, arg, err);
    }
    weft_query_end(&q);
    return status;
}
