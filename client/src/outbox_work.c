/* SPDX-License-Identifier: Apache-2.0 */
/* The outbox: the open assignment, its update, the history. Called by client.c. */
#include "outbox.h"

#include "convert.h"
#include "files.h"
#include "outbox_priv.h"
#include "wire/wire.h"

#include <string.h>

/* The statement is finalized by the caller's run. */
static weft_status insert_work(weft_outbox *outbox, const weft_buf *blob, int64_t unix_ms,
                               weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt, "INSERT OR REPLACE INTO work(one, assignment, unix_ms) VALUES(1,?,?)", err));
    (void)sqlite3_bind_blob(stmt, 1, blob->data, (int)blob->size, SQLITE_STATIC); /* or refused */
    (void)sqlite3_bind_int64(stmt, 2, unix_ms);
    return weft_outbox_db_run(outbox, stmt, err);
}

weft_status weft_outbox_keep_assignment(weft_outbox *outbox, const weft_session_assignment *a,
                                        int64_t unix_ms, weft_err *err)
{
    weft_msg_assignment msg;
    weft_convert_assignment_msg(&msg, a);
    weft_buf blob;
    weft_buf_init(&blob, outbox->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_status status = weft_msg_assignment_encode(&blob, &msg, err);
    if (status == WEFT_OK) {
        status = insert_work(outbox, &blob, unix_ms, err);
    }
    weft_buf_done(&blob);
    return status;
}

static weft_status update_header(weft_outbox *outbox, const weft_buf *blob, weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(outbox, &stmt, "UPDATE work SET header = ?", err));
    if (sqlite3_bind_blob(stmt, 1, blob->data, (int)blob->size, SQLITE_STATIC) != SQLITE_OK) {
        (void)sqlite3_finalize(stmt); /* never stepped */
        return weft_outbox_db_fail(outbox, "cannot write", err);
    }
    return weft_outbox_db_run(outbox, stmt, err);
}

weft_status weft_outbox_keep_update(weft_outbox *outbox, const weft_session_assignment *a,
                                    const weft_session_update *update, bool sync, weft_err *err)
{
    weft_msg_update_header msg;
    weft_convert_update_msg(&msg, a, update, 0);
    weft_buf blob;
    weft_buf_init(&blob, outbox->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_status status = weft_msg_update_header_encode(&blob, &msg, err);
    if (status == WEFT_OK && sync) {
        status = weft_outbox_db_durable(outbox, true, err);
    }
    if (status == WEFT_OK) {
        status = update_header(outbox, &blob, err);
    }
    weft_buf_done(&blob);
    WEFT_TRY(status);
    return sync ? weft_outbox_db_durable(outbox, false, err) : WEFT_OK;
}

weft_status weft_outbox_keep_abandon(weft_outbox *outbox, const char *reason, bool declined,
                                     weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt, "UPDATE work SET abandoning = 1, declined = ?, reason = ?, secure = NULL",
        err));
    (void)sqlite3_bind_int(stmt, 1, declined ? 1 : 0); /* NULL is refused by the table */
    (void)sqlite3_bind_text(stmt, 2, reason, -1, SQLITE_STATIC);
    return weft_outbox_db_run(outbox, stmt, err);
}

static weft_status read_assignment(weft_session_assignment *ret, sqlite3_stmt *stmt,
                                   weft_arena *arena, weft_err *err)
{
    weft_msg_assignment msg;
    WEFT_TRY(weft_msg_assignment_decode(&msg, sqlite3_column_blob(stmt, 0),
                                        (size_t)sqlite3_column_bytes(stmt, 0), arena, err));
    return weft_convert_assignment(ret, &msg, err);
}

static weft_status read_receipt(weft_outbox *outbox, weft_session_receipt *ret, sqlite3_stmt *stmt,
                                int column, weft_err *err)
{
    weft_arena arena;
    weft_wire_arena_init(&arena, WEFT_MSG_RECEIPT, outbox->alloc);
    weft_msg_receipt msg;
    weft_status status =
        weft_msg_receipt_decode(&msg, sqlite3_column_blob(stmt, column),
                                (size_t)sqlite3_column_bytes(stmt, column), &arena, err);
    if (status == WEFT_OK) {
        status = weft_convert_receipt(ret, &msg, err);
    }
    weft_arena_done(&arena);
    return status;
}

static weft_status read_secure(weft_outbox *outbox, weft_session_record *r, sqlite3_stmt *stmt,
                               weft_buf *secure, weft_err *err)
{
    if (sqlite3_column_type(stmt, 5) == SQLITE_NULL) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_outbox_db_blob(secure, stmt, 5, err));
    r->secure = weft_buf_view(secure);
    r->masked = sqlite3_column_int(stmt, 6) != 0;
    r->has_receipt = sqlite3_column_type(stmt, 7) != SQLITE_NULL;
    return r->has_receipt ? read_receipt(outbox, &r->receipt, stmt, 7, err) : WEFT_OK;
}

static weft_status update_intact(const weft_outbox *outbox, weft_session_record *r, weft_err *err)
{
    const bool encoded = r->assignment.secure_aggregation && !r->masked;
    return (encoded ? weft_encoded_file_intact : weft_update_file_intact)(
        &r->has_update, outbox->dir, r->assignment.assignment_id, r->update.total_bytes,
        r->update.digest, outbox->alloc, err);
}

static weft_status read_record(weft_outbox *outbox, weft_session_record *ret, sqlite3_stmt *stmt,
                               weft_arena *arena, weft_buf *secure, weft_err *err)
{
    weft_session_record r = {.has_update = false};
    WEFT_TRY(read_assignment(&r.assignment, stmt, arena, err));
    WEFT_TRY(read_secure(outbox, &r, stmt, secure, err));
    if (sqlite3_column_type(stmt, 1) != SQLITE_NULL) {
        weft_msg_update_header msg;
        WEFT_TRY(weft_msg_update_header_decode(&msg, sqlite3_column_blob(stmt, 1),
                                               (size_t)sqlite3_column_bytes(stmt, 1), arena, err));
        WEFT_TRY(weft_convert_update(&r.update, &msg, err));
        WEFT_TRY(update_intact(outbox, &r, err));
    }
    if (!r.has_update) {
        memset(&r.update, 0, sizeof r.update);
    }
    r.abandoning = sqlite3_column_int(stmt, 2) != 0;
    r.declined = sqlite3_column_int(stmt, 3) != 0;
    WEFT_TRY(weft_outbox_db_text(r.reason, sizeof r.reason, stmt, 4, err));
    *ret = r;
    return WEFT_OK;
}

weft_status weft_outbox_load_record(weft_outbox *outbox, weft_session_record *ret,
                                    weft_arena *arena, weft_buf *secure, weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(outbox, &stmt,
                                    "SELECT assignment, header, abandoning, declined, reason,"
                                    " secure, masked, receipt FROM work",
                                    err));
    const int rc = sqlite3_step(stmt);
    weft_status status = WEFT_OK;
    if (rc == SQLITE_ROW) {
        status = read_record(outbox, ret, stmt, arena, secure, err);
    } else if (rc == SQLITE_DONE) {
        status = weft_err_set(err, WEFT_E_NOTFOUND, 0, __FILE__, __LINE__, "nothing is open");
    } else {
        status = weft_outbox_db_fail(outbox, "cannot read the open assignment", err);
    }
    (void)sqlite3_finalize(stmt); /* read only */
    return status;
}

static weft_status insert_history(weft_outbox *outbox, const weft_session_action *close,
                                  const weft_buf *receipt, int64_t unix_ms, weft_err *err)
{
    const weft_session_assignment *a = close->u.close.assignment;
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt,
        "INSERT INTO history(assignment_id, job, round, task, outcome, reason, n_examples, bytes,"
        " unix_ms, receipt) VALUES(?,?,?,?,?,?,?,?,?,?)",
        err));
    /* What cannot be bound is NULL, and refused by the table. */
    (void)sqlite3_bind_int64(stmt, 1, (sqlite3_int64)a->assignment_id);
    (void)sqlite3_bind_text(stmt, 2, a->job, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 3, a->round);
    (void)sqlite3_bind_int(stmt, 4, (int)a->task);
    (void)sqlite3_bind_int(stmt, 5, (int)close->u.close.outcome);
    (void)sqlite3_bind_text(stmt, 6, close->u.close.reason, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 7, (sqlite3_int64)close->u.close.n_examples);
    (void)sqlite3_bind_int64(stmt, 8, (sqlite3_int64)close->u.close.bytes);
    (void)sqlite3_bind_int64(stmt, 9, unix_ms);
    if (receipt->size > 0 && sqlite3_bind_blob(stmt, 10, receipt->data, (int)receipt->size,
                                               SQLITE_STATIC) != SQLITE_OK) {
        (void)sqlite3_finalize(stmt); /* never stepped */
        return weft_outbox_db_fail(outbox, "cannot write", err);
    }
    return weft_outbox_db_run(outbox, stmt, err);
}

static weft_status move_to_history(weft_outbox *outbox, const weft_session_action *close,
                                   const weft_buf *receipt, int64_t unix_ms, weft_err *err)
{
    WEFT_TRY(weft_outbox_db_exec(outbox, "BEGIN IMMEDIATE", err));
    weft_status status = insert_history(outbox, close, receipt, unix_ms, err);
    if (status == WEFT_OK) {
        status = weft_outbox_db_exec(outbox, "DELETE FROM work", err);
    }
    if (status == WEFT_OK) {
        char sql[96];
        (void)sqlite3_snprintf(
            (int)sizeof sql, sql,
            "DELETE FROM history WHERE seq <= (SELECT max(seq) FROM history) - %d",
            WEFT_OUTBOX_MAX_HISTORY);
        status = weft_outbox_db_exec(outbox, sql, err);
    }
    if (status == WEFT_OK) {
        status = weft_outbox_db_exec(outbox, "COMMIT", err);
    }
    if (status != WEFT_OK) {
        (void)sqlite3_exec(outbox->db, "ROLLBACK", NULL, NULL, NULL); /* reported already */
    }
    return status;
}

weft_status weft_outbox_close_assignment(weft_outbox *outbox, const weft_session_action *close,
                                         const char *client, int64_t unix_ms, weft_err *err)
{
    weft_buf receipt;
    weft_buf_init(&receipt, outbox->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_status status = WEFT_OK;
    if (close->u.close.receipt) {
        weft_msg_receipt msg;
        weft_convert_receipt_msg(&msg, close->u.close.receipt, client);
        status = weft_msg_receipt_encode(&receipt, &msg, err);
    }
    if (status == WEFT_OK) {
        status = move_to_history(outbox, close, &receipt, unix_ms, err);
    }
    weft_buf_done(&receipt);
    WEFT_TRY(status);
    const weft_session_assignment *a = close->u.close.assignment;
    if (close->u.close.outcome == WEFT_OUTCOME_ACCEPTED) {
        weft_update_file_recycle(outbox->dir, a->assignment_id, close->u.close.bytes);
    } else {
        weft_update_file_remove(outbox->dir, a->assignment_id);
    }
    if (a->secure_aggregation) {
        weft_encoded_file_remove(outbox->dir, a->assignment_id);
        /* the state's last copies lie in the log; with a reader beside us it is for another time */
        (void)sqlite3_wal_checkpoint_v2(outbox->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    }
    return WEFT_OK;
}

/* ---- looking back --------------------------------------------------------------------------- */

static weft_status show_open(weft_outbox *outbox,
                             int (*fn)(void *arg, const weft_outbox_item *item), void *arg,
                             weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(outbox, &stmt, "SELECT assignment, unix_ms FROM work", err));
    weft_arena arena;
    weft_wire_arena_init(&arena, WEFT_MSG_ASSIGNMENT, outbox->alloc);
    weft_status status = WEFT_OK;
    const int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        weft_session_assignment a;
        status = read_assignment(&a, stmt, &arena, err);
        if (status == WEFT_OK) {
            const weft_outbox_item item = {.job = a.job,
                                           .round = a.round,
                                           .task = a.task,
                                           .reason = "",
                                           .unix_ms = sqlite3_column_int64(stmt, 1)};
            (void)fn(arg, &item); /* it is the last one anyway */
        }
    } else if (rc != SQLITE_DONE) {
        status = weft_outbox_db_fail(outbox, "cannot read the open assignment", err);
    }
    weft_arena_done(&arena);
    (void)sqlite3_finalize(stmt); /* read only */
    return status;
}

weft_status weft_outbox_history(weft_outbox *outbox,
                                int (*fn)(void *arg, const weft_outbox_item *item), void *arg,
                                weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt,
        "SELECT job, round, task, outcome, reason, n_examples, bytes, unix_ms FROM history"
        " ORDER BY seq",
        err));
    int rc = sqlite3_step(stmt);
    int stop = 0;
    while (rc == SQLITE_ROW && !stop) {
        const char *job = (const char *)sqlite3_column_text(stmt, 0);
        const char *reason = (const char *)sqlite3_column_text(stmt, 4);
        const weft_outbox_item item = {.job = job ? job : "",
                                       .round = (uint32_t)sqlite3_column_int64(stmt, 1),
                                       .task = (weft_task)sqlite3_column_int(stmt, 2),
                                       .outcome = (weft_session_outcome)sqlite3_column_int(stmt, 3),
                                       .reason = reason ? reason : "",
                                       .n_examples = (uint64_t)sqlite3_column_int64(stmt, 5),
                                       .bytes = (uint64_t)sqlite3_column_int64(stmt, 6),
                                       .unix_ms = sqlite3_column_int64(stmt, 7)};
        stop = fn(arg, &item);
        rc = stop ? SQLITE_DONE : sqlite3_step(stmt);
    }
    weft_status status = WEFT_OK;
    if (rc != SQLITE_DONE) {
        status = weft_outbox_db_fail(outbox, "cannot read the history", err);
    }
    (void)sqlite3_finalize(stmt); /* read only */
    WEFT_TRY(status);
    return stop ? WEFT_OK : show_open(outbox, fn, arg, err);
}

weft_status weft_outbox_last_receipt(weft_outbox *outbox, weft_session_receipt *ret, weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt,
        "SELECT receipt FROM history WHERE receipt IS NOT NULL ORDER BY seq DESC LIMIT 1", err));
    const int rc = sqlite3_step(stmt);
    weft_status status = WEFT_OK;
    if (rc == SQLITE_ROW) {
        status = read_receipt(outbox, ret, stmt, 0, err);
    } else if (rc == SQLITE_DONE) {
        status = weft_err_set(err, WEFT_E_NOTFOUND, 0, __FILE__, __LINE__,
                              "this client has no receipt yet");
    } else {
        status = weft_outbox_db_fail(outbox, "cannot read the newest receipt", err);
    }
    (void)sqlite3_finalize(stmt); /* read only */
    return status;
}
