/* SPDX-License-Identifier: Apache-2.0 */
/* The core's rows: putting them into the open batch. */
#include "store/store.h"

#include "store/store_priv.h"

#include <string.h>

/* ---- metrics --------------------------------------------------------------------------------- */

static weft_status put_round_metrics(weft_store *store, const weft_round_row *row, int kind,
                                     const weft_metrics *m, weft_err *err)
{
    weft_query q;
    for (uint32_t i = 0; i < m->n; i++) {
        WEFT_TRY(
            weft_store_write(&q, store,
                             "INSERT INTO round_metric (job_id, round, attempt, kind, position,"
                             " name, value) VALUES (?, ?, ?, ?, ?, ?, ?)"
                             " ON CONFLICT DO UPDATE SET name = excluded.name,"
                             " value = excluded.value",
                             err));
        weft_query_add_u64(&q, row->job_id);
        weft_query_add_u64(&q, row->round);
        weft_query_add_u64(&q, row->attempt);
        weft_query_add_i64(&q, kind);
        weft_query_add_u64(&q, i);
        weft_query_add_text(&q, m->item[i].name);
        weft_query_add_f64(&q, m->item[i].value);
        WEFT_TRY(weft_store_run(&q, store, err));
    }
    WEFT_TRY(weft_store_write(&q, store,
                              "DELETE FROM round_metric WHERE job_id = ? AND round = ?"
                              " AND attempt = ? AND kind = ? AND position >= ?",
                              err));
    weft_query_add_u64(&q, row->job_id);
    weft_query_add_u64(&q, row->round);
    weft_query_add_u64(&q, row->attempt);
    weft_query_add_i64(&q, kind);
    weft_query_add_u64(&q, m->n);
    return weft_store_run(&q, store, err);
}

static weft_status put_assignment_metrics(weft_store *store, const weft_assignment_row *row,
                                          weft_err *err)
{
    weft_query q;
    for (uint32_t i = 0; i < row->metrics.n; i++) {
        WEFT_TRY(weft_store_write(&q, store,
                                  "INSERT INTO assignment_metric (assignment_id, position, name,"
                                  " value) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                                  " name = excluded.name, value = excluded.value",
                                  err));
        weft_query_add_u64(&q, row->assignment_id);
        weft_query_add_u64(&q, i);
        weft_query_add_text(&q, row->metrics.item[i].name);
        weft_query_add_f64(&q, row->metrics.item[i].value);
        WEFT_TRY(weft_store_run(&q, store, err));
    }
    WEFT_TRY(weft_store_write(
        &q, store, "DELETE FROM assignment_metric WHERE assignment_id = ? AND position >= ?", err));
    weft_query_add_u64(&q, row->assignment_id);
    weft_query_add_u64(&q, row->metrics.n);
    return weft_store_run(&q, store, err);
}

/* ---- put ------------------------------------------------------------------------------------- */

/* What both the insert and the update of a job bind, in this order. */
static void add_job(weft_query *q, const weft_store *store, const weft_job_row *row)
{
    weft_query_add_i64(q, row->status);
    weft_query_add_text(q, row->reason);
    weft_query_add_u64(q, row->round);
    weft_query_add_u64(q, row->rounds_done);
    weft_query_add_u64(q, row->attempts);
    weft_query_add_u64(q, row->retry_at_ms);
    weft_query_add_blob_if(q, row->has_version, row->version, sizeof row->version);
    weft_query_add_u64(q, row->model_bytes);
    weft_query_add_u64(q, row->evals_since_best);
    if (row->has_best) {
        weft_query_add_f64(q, row->best);
    } else {
        weft_query_add_null(q);
    }
    weft_query_add_i64(q, store->batch_unix_ms);
    weft_query_add_u64(q, row->job_id);
}

static weft_status update_job(weft_store *store, const weft_job_row *row, bool *ret_found,
                              weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_store_write(&q, store,
                              "UPDATE job SET status = ?, reason = ?, round = ?, rounds_done = ?,"
                              " attempts = ?, retry_at_ms = ?, version = ?, model_bytes = ?,"
                              " evals_since_best = ?, best = ?, changed_unix_ms = ?"
                              " WHERE job_id = ?",
                              err));
    add_job(&q, store, row);
    WEFT_TRY(weft_store_run(&q, store, err));
    *ret_found = sqlite3_changes(store->main.handle) == 1;
    return WEFT_OK;
}

static weft_status name_taken(weft_store *store, const char *name, bool *ret_taken, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main, "SELECT 1 FROM job WHERE name = ?", err));
    weft_query_add_text(&q, name);
    const weft_status status = weft_query_step(&q, ret_taken, err);
    weft_query_end(&q);
    return status;
}

static weft_status insert_job(weft_store *store, const weft_job_row *row, const void *definition,
                              size_t definition_size, weft_err *err)
{
    bool taken = false;
    WEFT_TRY(name_taken(store, row->def->name, &taken, err));
    if (taken) {
        WEFT_FAIL(err, WEFT_E_CONFLICT, "a job named %s exists already: choose another name",
                  row->def->name);
    }
    weft_query q;
    WEFT_TRY(weft_store_write(
        &q, store,
        "INSERT INTO job (status, reason, round, rounds_done, attempts, retry_at_ms, version,"
        " model_bytes, evals_since_best, best, changed_unix_ms, job_id, name, dataset, definition,"
        " created_unix_ms, keep_updates)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        err));
    add_job(&q, store, row);
    weft_query_add_text(&q, row->def->name);
    weft_query_add_text(&q, row->def->dataset);
    weft_query_add_blob(&q, definition, definition_size);
    weft_query_add_i64(&q, row->created_unix_ms);
    weft_query_add_u64(&q, row->def->keep_updates);
    return weft_store_run(&q, store, err);
}

weft_status weft_store_put_job(weft_store *store, const weft_job_row *row, const void *definition,
                               size_t definition_size, weft_err *err)
{
    if (definition_size > WEFT_STORE_MAX_DEFINITION_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a job definition of %zu bytes, the limit is %u",
                  definition_size, WEFT_STORE_MAX_DEFINITION_BYTES);
    }
    bool found = false;
    WEFT_TRY(update_job(store, row, &found, err));
    if (found) {
        return WEFT_OK;
    }
    if (!definition || !row->def) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND,
                  "job %llu is not in the store and came without a definition",
                  (unsigned long long)row->job_id);
    }
    return insert_job(store, row, definition, definition_size, err);
}

weft_status weft_store_put_round(weft_store *store, const weft_round_row *row, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_store_write(
        &q, store,
        "INSERT INTO round (" WEFT_ROUND_COLUMNS ", changed_unix_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " state = excluded.state, reason = excluded.reason, base = excluded.base,"
        " version = excluded.version, eligible = excluded.eligible, cohort = excluded.cohort,"
        " accepted = excluded.accepted, n_examples = excluded.n_examples,"
        " deadline_ms = excluded.deadline_ms, opened_unix_ms = excluded.opened_unix_ms,"
        " closed_unix_ms = excluded.closed_unix_ms, bytes_up = excluded.bytes_up,"
        " bytes_down = excluded.bytes_down, changed_unix_ms = excluded.changed_unix_ms",
        err));
    weft_query_add_u64(&q, row->job_id);
    weft_query_add_u64(&q, row->round);
    weft_query_add_u64(&q, row->attempt);
    weft_query_add_i64(&q, row->state);
    weft_query_add_text(&q, row->reason);
    weft_query_add_blob(&q, row->base, sizeof row->base);
    weft_query_add_blob_if(&q, row->has_version, row->version, sizeof row->version);
    weft_query_add_u64(&q, row->eligible);
    weft_query_add_u64(&q, row->cohort);
    weft_query_add_u64(&q, row->accepted);
    weft_query_add_u64(&q, row->n_examples);
    weft_query_add_u64(&q, row->deadline_ms);
    weft_query_add_i64(&q, row->opened_unix_ms);
    weft_query_add_i64(&q, row->closed_unix_ms);
    weft_query_add_u64(&q, row->bytes_up);
    weft_query_add_u64(&q, row->bytes_down);
    weft_query_add_i64(&q, store->batch_unix_ms);
    WEFT_TRY(weft_store_run(&q, store, err));
    WEFT_TRY(put_round_metrics(store, row, 1, &row->train, err));
    WEFT_TRY(put_round_metrics(store, row, 2, &row->federated, err));
    return put_round_metrics(store, row, 3, &row->central, err);
}

weft_status weft_store_put_assignment(weft_store *store, const weft_assignment_row *row,
                                      weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_store_write(
        &q, store,
        "INSERT INTO assignment (" WEFT_ASSIGNMENT_COLUMNS ", changed_unix_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " state = excluded.state, refusal = excluded.refusal, reason = excluded.reason,"
        " lease_until_ms = excluded.lease_until_ms, update_digest = excluded.update_digest,"
        " n_examples = excluded.n_examples, bytes = excluded.bytes,"
        " accepted_unix_ms = excluded.accepted_unix_ms, changed_unix_ms = excluded.changed_unix_ms",
        err));
    const bool accepted = row->state == WEFT_ASSIGNMENT_ACCEPTED;
    weft_query_add_u64(&q, row->assignment_id);
    weft_query_add_u64(&q, row->job_id);
    weft_query_add_u64(&q, row->round);
    weft_query_add_u64(&q, row->attempt);
    weft_query_add_text(&q, row->client);
    weft_query_add_i64(&q, row->task);
    weft_query_add_i64(&q, row->state);
    weft_query_add_i64(&q, row->refusal);
    weft_query_add_text(&q, row->reason);
    weft_query_add_u64(&q, row->lease_until_ms);
    weft_query_add_blob_if(&q, accepted, row->update_digest, sizeof row->update_digest);
    weft_query_add_u64(&q, row->n_examples);
    weft_query_add_u64(&q, row->bytes);
    weft_query_add_i64(&q, row->accepted_unix_ms);
    weft_query_add_i64(&q, store->batch_unix_ms);
    WEFT_TRY(weft_store_run(&q, store, err));
    return put_assignment_metrics(store, row, err);
}

weft_status weft_store_put_version(weft_store *store, const weft_version_row *row, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_store_write(&q, store,
                              "INSERT INTO version (digest, parent, job_id, round, bytes,"
                              " created_unix_ms) VALUES (?, ?, nullif(?, 0), ?, ?, ?)"
                              " ON CONFLICT DO NOTHING",
                              err));
    weft_query_add_blob(&q, row->digest, sizeof row->digest);
    weft_query_add_blob_if(&q, row->has_parent, row->parent, sizeof row->parent);
    weft_query_add_u64(&q, row->job_id);
    weft_query_add_u64(&q, row->round);
    weft_query_add_u64(&q, row->bytes);
    weft_query_add_i64(&q, row->created_unix_ms);
    return weft_store_run(&q, store, err);
}

static weft_status join_names(weft_buf *out, const weft_eligible_row *row, weft_err *err)
{
    for (uint32_t i = 0; i < row->n; i++) {
        const size_t n = strnlen(row->clients[i], WEFT_MAX_NAME_BYTES + 1);
        if (n == 0 || n > WEFT_MAX_NAME_BYTES || memchr(row->clients[i], '\n', n)) {
            WEFT_FAIL(err, WEFT_E_INVALID, "an eligible client without a valid name");
        }
        WEFT_TRY(weft_buf_add(out, row->clients[i], n, err));
        WEFT_TRY(weft_buf_add(out, "\n", 1, err));
    }
    return WEFT_OK;
}

static weft_status put_eligible(weft_store *store, const weft_eligible_row *row,
                                const weft_buf *names, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_store_write(&q, store,
                              "INSERT INTO eligible (job_id, round, attempt, n, clients)"
                              " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = excluded.n,"
                              " clients = excluded.clients",
                              err));
    weft_query_add_u64(&q, row->job_id);
    weft_query_add_u64(&q, row->round);
    weft_query_add_u64(&q, row->attempt);
    weft_query_add_u64(&q, row->n);
    weft_query_add_text_n(&q, names->size ? (const char *)names->data : "", names->size);
    return weft_store_run(&q, store, err);
}

weft_status weft_store_put_eligible(weft_store *store, const weft_eligible_row *row, weft_err *err)
{
    weft_buf names;
    weft_buf_init(&names, store->alloc, (size_t)row->n * (WEFT_MAX_NAME_BYTES + 1));
    weft_status status = join_names(&names, row, err);
    if (status == WEFT_OK) {
        status = put_eligible(store, row, &names, err);
    }
    weft_buf_done(&names);
    return status;
}
