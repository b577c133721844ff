/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite connections, cached statements, and their errors in our words. */
#include "store/db_priv.h"

#include "store/ledger_priv.h"

#include <stdio.h>
#include <string.h>

static const char *advice(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return "free space on its disk and try again";
    case SQLITE_IOERR:
        return "check its disk and the free space there";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another program works on the file: end it and try again";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return "the file is damaged or not a database: restore a backup";
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return "check that this user may write the file and its folder";
    default:
        return "run `weft doctor`";
    }
}

weft_status weft_db_fail(weft_db *db, int rc, weft_err *err)
{
    if (db->handle && (rc & 0xff) == SQLITE_ERROR) {
        rc = sqlite3_extended_errcode(db->handle);
    }
    const int primary = rc & 0xff;
    weft_status code = WEFT_E_DB;
    if (primary == SQLITE_NOMEM) {
        code = WEFT_E_NOMEM;
    } else if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB) {
        code = WEFT_E_FORMAT;
    }
    const char *detail = db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(rc);
    const int sys = db->handle ? sqlite3_system_errno(db->handle) : 0;
    const bool system =
        primary == SQLITE_IOERR || primary == SQLITE_FULL || primary == SQLITE_CANTOPEN;
    return weft_err_set(err, code, system ? sys : 0, __FILE__, __LINE__,
                        "%s: %.100s (SQLite code %d); %s", db->name, detail, rc, advice(rc));
}

weft_status weft_db_exec(weft_db *db, const char *sql, weft_err *err)
{
    const int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? WEFT_OK : weft_db_fail(db, rc, err);
}

weft_status weft_db_int(weft_db *db, const char *sql, int64_t *ret, weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    if (rc != SQLITE_ROW) {
        const weft_status status = weft_db_fail(db, rc, err);
        (void)sqlite3_finalize(stmt); /* its failure is the step's */
        return status;
    }
    *ret = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt); /* a row came: nothing failed */
    return WEFT_OK;
}

static weft_status set_up(weft_db *db, const weft_db_options *options, weft_err *err)
{
    (void)sqlite3_extended_result_codes(db->handle, 1); /* cannot fail on an open connection */
    (void)sqlite3_busy_timeout(db->handle, (int)options->busy_timeout_ms); /* nor can this */
    WEFT_TRY(weft_ledger_functions(db, err));
    if (options->read_only) {
        return weft_db_exec(db, "PRAGMA query_only=ON; PRAGMA trusted_schema=OFF", err);
    }
    char sql[64];
    (void)snprintf(sql, sizeof sql, "PRAGMA page_size=%u",
                   (unsigned)options->page_bytes); /* fits */
    WEFT_TRY(weft_db_exec(db, sql, err));          /* before WAL, which fixes it */
    WEFT_TRY(weft_db_exec(db,
                          "PRAGMA synchronous=FULL;"
                          "PRAGMA foreign_keys=ON;"
                          "PRAGMA trusted_schema=OFF;"
                          "PRAGMA cell_size_check=ON",
                          err));
    return WEFT_OK;
}

weft_status weft_db_open(weft_db *db, const char *path, const weft_db_options *options,
                         weft_err *err)
{
    memset(db, 0, sizeof *db);
    db->name = options->name;
    const int flags =
        options->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    const int rc = sqlite3_open_v2(path, &db->handle, flags | SQLITE_OPEN_NOMUTEX, options->vfs);
    const weft_status status =
        rc == SQLITE_OK ? set_up(db, options, err) : weft_db_fail(db, rc, err);
    if (status != WEFT_OK) {
        weft_db_close(db);
    }
    return status;
}

void weft_db_close(weft_db *db)
{
    for (uint32_t i = 0; i < db->n_statements; i++) {
        (void)sqlite3_finalize(db->statements[i].stmt); /* reports an old failure again */
    }
    db->n_statements = 0;
    (void)sqlite3_close(db->handle); /* all statements are finalized; NULL is fine */
    db->handle = NULL;
}

static weft_db_statement *find_slot(weft_db *db, const char *sql)
{
    for (uint32_t i = 0; i < db->n_statements; i++) {
        if (db->statements[i].sql == sql) {
            return &db->statements[i];
        }
    }
    if (db->n_statements == WEFT_DB_MAX_STATEMENTS) {
        return NULL;
    }
    weft_db_statement *slot = &db->statements[db->n_statements];
    const int rc =
        sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &slot->stmt, NULL);
    if (rc != SQLITE_OK) {
        slot->stmt = NULL;
        return NULL; /* the caller prepares it once more and reports */
    }
    slot->sql = sql;
    slot->busy = false;
    db->n_statements++;
    return slot;
}

weft_status weft_query_begin(weft_query *q, weft_db *db, const char *sql, weft_err *err)
{
    memset(q, 0, sizeof *q);
    q->db = db;
    weft_db_statement *slot = find_slot(db, sql);
    if (slot && !slot->busy) {
        slot->busy = true;
        q->slot = slot;
        q->stmt = slot->stmt;
        return WEFT_OK;
    }
    /* the cache is full, or a callback asks the same inside an iteration: a statement of its own */
    const int rc = sqlite3_prepare_v2(db->handle, sql, -1, &q->stmt, NULL);
    return rc == SQLITE_OK ? WEFT_OK : weft_db_fail(db, rc, err);
}

static void note(weft_query *q, int rc)
{
    if (q->rc == SQLITE_OK) {
        q->rc = rc;
    }
}

void weft_query_add_i64(weft_query *q, int64_t v)
{
    note(q, sqlite3_bind_int64(q->stmt, ++q->next, v));
}

void weft_query_add_u64(weft_query *q, uint64_t v)
{
    weft_query_add_i64(q, (int64_t)v);
}

void weft_query_add_f64(weft_query *q, double v)
{
    note(q, sqlite3_bind_double(q->stmt, ++q->next, v));
}

void weft_query_add_text(weft_query *q, const char *text)
{
    note(q, sqlite3_bind_text(q->stmt, ++q->next, text, -1, SQLITE_STATIC));
}

void weft_query_add_text_n(weft_query *q, const char *text, size_t n)
{
    note(q, sqlite3_bind_text64(q->stmt, ++q->next, text, n, SQLITE_STATIC, SQLITE_UTF8));
}

void weft_query_add_blob(weft_query *q, const void *data, size_t n)
{
    /* an empty blob, not NULL, for no bytes */
    note(q, sqlite3_bind_blob64(q->stmt, ++q->next, data ? data : "", n, SQLITE_STATIC));
}

void weft_query_add_null(weft_query *q)
{
    note(q, sqlite3_bind_null(q->stmt, ++q->next));
}

void weft_query_add_blob_if(weft_query *q, bool present, const void *data, size_t n)
{
    if (present) {
        weft_query_add_blob(q, data, n);
    } else {
        weft_query_add_null(q);
    }
}

weft_status weft_query_step(weft_query *q, bool *ret_row, weft_err *err)
{
    const int rc = q->rc == SQLITE_OK ? sqlite3_step(q->stmt) : q->rc;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return weft_db_fail(q->db, rc, err);
    }
    *ret_row = rc == SQLITE_ROW;
    return WEFT_OK;
}

void weft_query_end(weft_query *q)
{
    if (q->slot) {
        (void)sqlite3_reset(q->stmt);          /* reports the step's failure again */
        (void)sqlite3_clear_bindings(q->stmt); /* cannot fail; the bound memory is the caller's */
        q->slot->busy = false;
    } else {
        (void)sqlite3_finalize(q->stmt); /* reports the step's failure again */
    }
    q->slot = NULL;
    q->stmt = NULL;
}

weft_status weft_query_run(weft_query *q, weft_err *err)
{
    bool row = false;
    const weft_status status = weft_query_step(q, &row, err);
    weft_query_end(q);
    return status;
}

int64_t weft_query_i64(weft_query *q, int column)
{
    return sqlite3_column_int64(q->stmt, column);
}

uint64_t weft_query_u64(weft_query *q, int column)
{
    return (uint64_t)sqlite3_column_int64(q->stmt, column);
}

uint32_t weft_query_u32(weft_query *q, int column)
{
    return (uint32_t)sqlite3_column_int64(q->stmt, column);
}

double weft_query_f64(weft_query *q, int column)
{
    return sqlite3_column_double(q->stmt, column);
}

bool weft_query_is_null(weft_query *q, int column)
{
    return sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
}

const char *weft_query_text(weft_query *q, int column)
{
    const unsigned char *text = sqlite3_column_text(q->stmt, column);
    return text ? (const char *)text : "";
}

void weft_query_copy_text(weft_query *q, int column, char *out, size_t out_size)
{
    const char *text = weft_query_text(q, column);
    const size_t n = strnlen(text, out_size - 1);
    memcpy(out, text, n);
    out[n] = '\0';
}

weft_view weft_query_blob(weft_query *q, int column)
{
    weft_view view;
    view.data = sqlite3_column_blob(q->stmt, column); /* before its size: the manual's order */
    view.size = (size_t)sqlite3_column_bytes(q->stmt, column);
    return view;
}

bool weft_query_copy_blob(weft_query *q, int column, void *out, size_t n)
{
    const weft_view view = weft_query_blob(q, column);
    if (!view.data || view.size != n) {
        memset(out, 0, n);
        return false;
    }
    memcpy(out, view.data, n);
    return true;
}
