/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of secure sessions: appended, read back in order, forgotten. Owner thread. */
#include "store/store.h"

#include "store/store_priv.h"

_Static_assert(WEFT_MAX_SECAGG_RECORD_BYTES <= WEFT_STORE_MAX_SECURE_BYTES, "a closure fits");

weft_status weft_store_put_secure(weft_store *store, const weft_secure_row *row, weft_err *err)
{
    weft_query q;
    if (row->data.size > WEFT_STORE_MAX_SECURE_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a row of a secure session of %zu bytes, the limit is %u",
                  row->data.size, WEFT_STORE_MAX_SECURE_BYTES);
    }
    WEFT_TRY(weft_store_write(&q, store,
                              "INSERT INTO secure (job_id, round, attempt, task, seq, kind,"
                              " assignment_id, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                              err));
    weft_query_add_u64(&q, row->job_id);
    weft_query_add_u64(&q, row->round);
    weft_query_add_u64(&q, row->attempt);
    weft_query_add_i64(&q, row->task);
    weft_query_add_u64(&q, row->seq);
    weft_query_add_i64(&q, row->kind);
    weft_query_add_u64(&q, row->assignment_id);
    weft_query_add_blob(&q, row->data.size ? (const void *)row->data.data : "", row->data.size);
    return weft_store_run(&q, store, err);
}

weft_status weft_store_end_secure(weft_store *store, const weft_secure_over *over, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_store_write(&q, store,
                              "DELETE FROM secure WHERE job_id = ? AND round = ? AND attempt = ?"
                              " AND task = ?",
                              err));
    weft_query_add_u64(&q, over->job_id);
    weft_query_add_u64(&q, over->round);
    weft_query_add_u64(&q, over->attempt);
    weft_query_add_i64(&q, over->task);
    return weft_store_run(&q, store, err);
}

static weft_status read_row(weft_query *q, weft_store_secure_fn fn, void *arg, weft_err *err)
{
    const weft_secure_row row = {
        .job_id = weft_query_u64(q, 0),
        .round = weft_query_u32(q, 1),
        .attempt = weft_query_u32(q, 2),
        .task = (weft_task)weft_query_u32(q, 3), /* the schema checks the range, here and below */
        .seq = weft_query_u32(q, 4),
        .kind = (weft_secure_kind)weft_query_u32(q, 5),
        .assignment_id = weft_query_u64(q, 6),
        .data = weft_query_blob(q, 7),
    };
    return fn(arg, &row, err);
}

weft_status weft_store_restore_secure(weft_store *store, weft_store_secure_fn fn, void *arg,
                                      weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT job_id, round, attempt, task, seq, kind, assignment_id, data"
                              " FROM secure WHERE (job_id, round, attempt) IN"
                              " (SELECT job_id, round, attempt FROM round WHERE state < 4)"
                              " ORDER BY job_id, round, attempt, task, seq",
                              err));
    weft_status status = WEFT_OK;
    bool more = true;
    while (status == WEFT_OK && more) {
        status = weft_query_step(&q, &more, err);
        if (status == WEFT_OK && more) {
            status = read_row(&q, fn, arg, err);
        }
    }
    weft_query_end(&q);
    return status;
}
