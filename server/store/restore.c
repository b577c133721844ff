/* SPDX-License-Identifier: Apache-2.0 */
/* The core's rows: reading them back, for restore and for queries. */
#include "store/store.h"

#include "store/queries.h"
#include "store/store_priv.h"

#include <string.h>

/* ---- metrics --------------------------------------------------------------------------------- */

/* Rows of (name, value) into out, and end q. */
static weft_status read_metrics(weft_query *q, weft_metrics *out, weft_err *err)
{
    memset(out, 0, sizeof *out);
    weft_status status = WEFT_OK;
    while (status == WEFT_OK) {
        bool row = false;
        status = weft_query_step(q, &row, err);
        if (status != WEFT_OK || !row) {
            break;
        }
        if (out->n == WEFT_MAX_METRICS) {
            status =
                weft_err_set(err, WEFT_E_FORMAT, 0, __FILE__, __LINE__,
                             "weft.db holds more than %d metrics of one report", WEFT_MAX_METRICS);
            break;
        }
        weft_metric *item = &out->item[out->n++];
        weft_query_copy_text(q, 0, item->name, sizeof item->name);
        item->value = weft_query_f64(q, 1);
    }
    weft_query_end(q);
    return status;
}

weft_status weft_store_round_metrics(weft_store *store, uint64_t job_id, uint32_t round,
                                     uint32_t attempt, int kind, weft_metrics *out, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT name, value FROM round_metric WHERE job_id = ? AND round = ?"
                              " AND attempt = ? AND kind = ? ORDER BY position",
                              err));
    weft_query_add_u64(&q, job_id);
    weft_query_add_u64(&q, round);
    weft_query_add_u64(&q, attempt);
    weft_query_add_i64(&q, kind);
    return read_metrics(&q, out, err);
}

static weft_status assignment_metrics(weft_store *store, uint64_t assignment_id, weft_metrics *out,
                                      weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT name, value FROM assignment_metric WHERE assignment_id = ?"
                              " ORDER BY position",
                              err));
    weft_query_add_u64(&q, assignment_id);
    return read_metrics(&q, out, err);
}

/* ---- read ------------------------------------------------------------------------------------ */

static void read_job(weft_query *q, weft_job_row *row)
{
    memset(row, 0, sizeof *row);
    row->job_id = weft_query_u64(q, 0);
    row->status = (weft_job_status)weft_query_u32(q, 1); /* the schema checks the range */
    weft_query_copy_text(q, 2, row->reason, sizeof row->reason);
    row->round = weft_query_u32(q, 3);
    row->rounds_done = weft_query_u32(q, 4);
    row->attempts = weft_query_u32(q, 5);
    row->retry_at_ms = weft_query_u64(q, 6);
    row->has_version = weft_query_copy_blob(q, 7, row->version, sizeof row->version);
    row->model_bytes = weft_query_u64(q, 8);
    row->evals_since_best = weft_query_u32(q, 9);
    row->has_best = !weft_query_is_null(q, 10);
    row->best = weft_query_f64(q, 10);
    row->created_unix_ms = weft_query_i64(q, 11);
}

static void read_round(weft_query *q, weft_round_row *row)
{
    memset(row, 0, sizeof *row);
    row->job_id = weft_query_u64(q, 0);
    row->round = weft_query_u32(q, 1);
    row->attempt = weft_query_u32(q, 2);
    row->state = (weft_round_state)weft_query_u32(q, 3);
    weft_query_copy_text(q, 4, row->reason, sizeof row->reason);
    (void)weft_query_copy_blob(q, 5, row->base,
                               sizeof row->base); /* the schema checks its length */
    row->has_version = weft_query_copy_blob(q, 6, row->version, sizeof row->version);
    row->eligible = weft_query_u32(q, 7);
    row->cohort = weft_query_u32(q, 8);
    row->accepted = weft_query_u32(q, 9);
    row->n_examples = weft_query_u64(q, 10);
    row->deadline_ms = weft_query_u64(q, 11);
    row->opened_unix_ms = weft_query_i64(q, 12);
    row->closed_unix_ms = weft_query_i64(q, 13);
    row->bytes_up = weft_query_u64(q, 14);
    row->bytes_down = weft_query_u64(q, 15);
}

static void read_assignment(weft_query *q, weft_assignment_row *row)
{
    memset(row, 0, sizeof *row);
    row->assignment_id = weft_query_u64(q, 0);
    row->job_id = weft_query_u64(q, 1);
    row->round = weft_query_u32(q, 2);
    row->attempt = weft_query_u32(q, 3);
    weft_query_copy_text(q, 4, row->client, sizeof row->client);
    row->task = (weft_task)weft_query_u32(q, 5);
    row->state = (weft_assignment_state)weft_query_u32(q, 6);
    row->refusal = (weft_refusal)weft_query_u32(q, 7);
    weft_query_copy_text(q, 8, row->reason, sizeof row->reason);
    row->lease_until_ms = weft_query_u64(q, 9);
    (void)weft_query_copy_blob(q, 10, row->update_digest,
                               sizeof row->update_digest); /* NULL unless accepted: zeros */
    row->n_examples = weft_query_u64(q, 11);
    row->bytes = weft_query_u64(q, 12);
    row->accepted_unix_ms = weft_query_i64(q, 13);
}

static weft_status next_row(weft_query *q, weft_status before, bool *ret_row, weft_err *err)
{
    *ret_row = false;
    return before == WEFT_OK ? weft_query_step(q, ret_row, err) : before;
}

weft_status weft_store_each_job(weft_query *q, weft_store_job_fn fn, void *arg, uint32_t *ret_n,
                                weft_err *err)
{
    uint32_t n = 0;
    bool more = false;
    weft_status status = next_row(q, WEFT_OK, &more, err);
    while (more) {
        weft_job_row row;
        read_job(q, &row);
        n++;
        status = fn(arg, &row, weft_query_blob(q, 12), err);
        status = next_row(q, status, &more, err);
    }
    weft_query_end(q);
    if (ret_n) {
        *ret_n = n;
    }
    return status;
}

static weft_status one_round(weft_query *q, weft_store *store, weft_store_round_fn fn, void *arg,
                             weft_err *err)
{
    weft_round_row row;
    read_round(q, &row);
    WEFT_TRY(
        weft_store_round_metrics(store, row.job_id, row.round, row.attempt, 1, &row.train, err));
    WEFT_TRY(weft_store_round_metrics(store, row.job_id, row.round, row.attempt, 2, &row.federated,
                                      err));
    WEFT_TRY(
        weft_store_round_metrics(store, row.job_id, row.round, row.attempt, 3, &row.central, err));
    return fn(arg, &row, err);
}

weft_status weft_store_each_round(weft_query *q, weft_store *store, weft_store_round_fn fn,
                                  void *arg, uint32_t *ret_n, weft_err *err)
{
    uint32_t n = 0;
    bool more = false;
    weft_status status = next_row(q, WEFT_OK, &more, err);
    while (more) {
        n++;
        status = one_round(q, store, fn, arg, err);
        status = next_row(q, status, &more, err);
    }
    weft_query_end(q);
    if (ret_n) {
        *ret_n = n;
    }
    return status;
}

static weft_status one_assignment(weft_query *q, weft_store *store, weft_store_assignment_fn fn,
                                  void *arg, weft_err *err)
{
    weft_assignment_row row;
    read_assignment(q, &row);
    WEFT_TRY(assignment_metrics(store, row.assignment_id, &row.metrics, err));
    return fn(arg, &row, err);
}

weft_status weft_store_each_assignment(weft_query *q, weft_store *store,
                                       weft_store_assignment_fn fn, void *arg, uint32_t *ret_n,
                                       weft_err *err)
{
    uint32_t n = 0;
    bool more = false;
    weft_status status = next_row(q, WEFT_OK, &more, err);
    while (more) {
        n++;
        status = one_assignment(q, store, fn, arg, err);
        status = next_row(q, status, &more, err);
    }
    weft_query_end(q);
    if (ret_n) {
        *ret_n = n;
    }
    return status;
}

/* ---- restore --------------------------------------------------------------------------------- */

weft_status weft_store_restore_jobs(weft_store *store, weft_store_job_fn fn, void *arg,
                                    weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT " WEFT_JOB_COLUMNS " FROM job ORDER BY job_id", err));
    return weft_store_each_job(&q, fn, arg, NULL, err);
}

weft_status weft_store_restore_rounds(weft_store *store, weft_store_round_fn fn, void *arg,
                                      weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT " WEFT_ROUND_COLUMNS " FROM round WHERE state < 4"
                              " ORDER BY job_id, round, attempt",
                              err));
    return weft_store_each_round(&q, store, fn, arg, NULL, err);
}

weft_status weft_store_restore_assignments(weft_store *store, weft_store_assignment_fn fn,
                                           void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT " WEFT_ASSIGNMENT_COLUMNS " FROM assignment"
                              " WHERE (job_id, round, attempt) IN"
                              " (SELECT job_id, round, attempt FROM round WHERE state < 4)"
                              " ORDER BY assignment_id",
                              err));
    return weft_store_each_assignment(&q, store, fn, arg, NULL, err);
}

static weft_status copy_round(void *arg, const weft_round_row *row, weft_err *err)
{
    (void)err;
    *(weft_round_row *)arg = *row;
    return WEFT_OK;
}

static weft_status one_ended(weft_query *q, weft_store *store, weft_store_ended_fn fn, void *arg,
                             weft_err *err)
{
    weft_assignment_row row;
    weft_round_row round;
    read_assignment(q, &row);
    WEFT_TRY(assignment_metrics(store, row.assignment_id, &row.metrics, err));
    WEFT_TRY(weft_store_round(store, row.job_id, row.round, row.attempt, copy_round, &round, err));
    return fn(arg, &row, &round, err);
}

weft_status weft_store_restore_ended(weft_store *store, weft_store_ended_fn fn, void *arg,
                                     weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT " WEFT_ASSIGNMENT_COLUMNS " FROM assignment"
                              " WHERE assignment_id IN"
                              " (SELECT max(assignment_id) FROM assignment GROUP BY client)"
                              " AND (job_id, round, attempt) NOT IN"
                              " (SELECT job_id, round, attempt FROM round WHERE state < 4)"
                              " ORDER BY assignment_id",
                              err));
    bool more = false;
    weft_status status = next_row(&q, WEFT_OK, &more, err);
    while (more) {
        status = one_ended(&q, store, fn, arg, err);
        status = next_row(&q, status, &more, err);
    }
    weft_query_end(&q);
    return status;
}

weft_status weft_store_next_ids(weft_store *store, uint64_t *ret_job_id,
                                uint64_t *ret_assignment_id, weft_err *err)
{
    int64_t job_id = 0;
    int64_t assignment_id = 0;
    WEFT_TRY(weft_db_int(&store->main,
                         "SELECT max(ifnull((SELECT max(job_id) FROM job), 0) + 1,"
                         " ifnull((SELECT max(first_job_id) FROM epoch), 0))",
                         &job_id, err));
    WEFT_TRY(weft_db_int(&store->main,
                         "SELECT max(ifnull((SELECT max(assignment_id) FROM assignment), 0) + 1,"
                         " ifnull((SELECT max(first_assignment_id) FROM epoch), 0))",
                         &assignment_id, err));
    *ret_job_id = (uint64_t)job_id;
    *ret_assignment_id = (uint64_t)assignment_id;
    return WEFT_OK;
}

static weft_status add_epoch(weft_store *store, int64_t unix_ms, weft_err *err)
{
    uint64_t job_id = 0;
    uint64_t assignment_id = 0;
    WEFT_TRY(weft_store_next_ids(store, &job_id, &assignment_id, err));
    WEFT_TRY(weft_store_begin(store, unix_ms, err));
    weft_query q;
    WEFT_TRY(weft_store_write(&q, store,
                              "INSERT INTO epoch (unix_ms, first_job_id, first_assignment_id)"
                              " VALUES (?, ?, ?)",
                              err));
    weft_query_add_i64(&q, unix_ms);
    weft_query_add_u64(&q, job_id + WEFT_STORE_EPOCH_JOBS);
    weft_query_add_u64(&q, assignment_id + WEFT_STORE_EPOCH_ASSIGNMENTS);
    WEFT_TRY(weft_store_run(&q, store, err));
    return weft_store_commit(store, weft_store_logical_ms(store), err);
}

weft_status weft_store_begin_epoch(const char *dir, int64_t unix_ms, const weft_alloc *a,
                                   weft_err *err)
{
    weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    weft_store *store = NULL;
    options.must_exist = true;
    WEFT_TRY(weft_store_open(&store, dir, &options, a, err));
    const weft_status status = add_epoch(store, unix_ms, err);
    weft_store_close(store); /* rolls back what was not committed */
    return status;
}

weft_status weft_store_wants_upload(weft_store *store, uint64_t assignment_id, bool *ret_wanted,
                                    weft_err *err)
{
    return weft_db_wants_upload(&store->main, assignment_id, ret_wanted, err);
}

weft_status weft_db_wants_upload(weft_db *db, uint64_t assignment_id, bool *ret_wanted,
                                 weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, db,
                              "SELECT 1 FROM assignment a JOIN round r"
                              " ON r.job_id = a.job_id AND r.round = a.round"
                              " AND r.attempt = a.attempt"
                              " JOIN job j ON j.job_id = a.job_id"
                              " WHERE a.assignment_id = ? AND a.state IN (1, 2)"
                              " AND (r.state IN (1, 2) OR (r.state = 3 AND a.task = 2)"
                              " OR (a.state = 2 AND a.task = 1 AND r.state IN (3, 4)"
                              " AND a.round + j.keep_updates > j.rounds_done"
                              " AND j.keep_updates > 0))",
                              err));
    weft_query_add_u64(&q, assignment_id);
    bool row = false;
    const weft_status status = weft_query_step(&q, &row, err);
    weft_query_end(&q);
    if (status == WEFT_OK) {
        *ret_wanted = row;
    }
    return status;
}
