/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One SQLite connection with its cached statements, and queries as short-lived values over them.
 * Used by the files of this room only. A connection belongs to one thread at a time.
 *
 *     weft_query q;
 *     WEFT_TRY(weft_query_begin(&q, db, "SELECT a, b FROM t WHERE c = ?", err));
 *     weft_query_add_u64(&q, c);
 *     bool row = false;
 *     weft_status status = weft_query_step(&q, &row, err);
 *     ...
 *     weft_query_end(&q);
 *
 * Values are bound in order; a failed binding shows at the step. Integers of 64 bits keep their
 * bits: UINT64_MAX is stored as -1.
 */
#ifndef WEFT_STORE_DB_PRIV_H
#define WEFT_STORE_DB_PRIV_H

#include "base/buf.h"
#include "base/err.h"

#include <sqlite3.h>

#include <stdbool.h>
#include <stdint.h>

/* The statements of one connection are string literals of this room: fewer than this. */
#define WEFT_DB_MAX_STATEMENTS 96

typedef struct weft_db_statement {
    const char *sql; /* identity: the literal's address */
    sqlite3_stmt *stmt;
    bool busy;
} weft_db_statement;

typedef struct weft_db {
    sqlite3 *handle;  /* owned; NULL: closed */
    const char *name; /* "weft.db", for messages */
    uint32_t n_statements;
    weft_db_statement statements[WEFT_DB_MAX_STATEMENTS];
} weft_db;

/* How to open a connection. */
typedef struct weft_db_options {
    const char *name;    /* for messages; must outlive the connection */
    const char *vfs;     /* or NULL */
    uint32_t page_bytes; /* of a fresh file */
    uint32_t busy_timeout_ms;
    bool read_only;
} weft_db_options;

/**
 * Open path: synchronous=FULL, foreign keys on; nothing is written yet (WAL comes with
 * weft_schema_migrate, once the file is known to be ours). On failure db is closed.
 */
WEFT_NODISCARD weft_status weft_db_open(weft_db *db, const char *path,
                                        const weft_db_options *options, weft_err *err);
/** Close with all statements; a closed or zeroed one is fine. */
void weft_db_close(weft_db *db);
/** Run SQL text without parameters and results; may be several statements. */
WEFT_NODISCARD weft_status weft_db_exec(weft_db *db, const char *sql, weft_err *err);
/** The connection's newest error, as a status with a sentence that says what to do. */
WEFT_NODISCARD weft_status weft_db_fail(weft_db *db, int rc, weft_err *err);
/** One integer (PRAGMAs). */
WEFT_NODISCARD weft_status weft_db_int(weft_db *db, const char *sql, int64_t *ret, weft_err *err);

typedef struct weft_query {
    weft_db *db;
    weft_db_statement *slot; /* NULL: stmt is this query's own */
    sqlite3_stmt *stmt;
    int next; /* parameter */
    int rc;   /* of the bindings */
} weft_query;

/** sql must be a string literal (its address is the cache's key). */
WEFT_NODISCARD weft_status weft_query_begin(weft_query *q, weft_db *db, const char *sql,
                                            weft_err *err);
void weft_query_add_u64(weft_query *q, uint64_t v);
void weft_query_add_i64(weft_query *q, int64_t v);
void weft_query_add_f64(weft_query *q, double v);
void weft_query_add_text(weft_query *q, const char *text);
void weft_query_add_text_n(weft_query *q, const char *text, size_t n);
void weft_query_add_blob(weft_query *q, const void *data, size_t n);
void weft_query_add_null(weft_query *q);
/** The blob when present, else NULL. */
void weft_query_add_blob_if(weft_query *q, bool present, const void *data, size_t n);
/** Next row into the columns; *ret_row false: no more. */
WEFT_NODISCARD weft_status weft_query_step(weft_query *q, bool *ret_row, weft_err *err);
/** Give the statement back. Borrowed columns are invalid then. */
void weft_query_end(weft_query *q);
/** Step a statement without rows, and end it. */
WEFT_NODISCARD weft_status weft_query_run(weft_query *q, weft_err *err);

uint64_t weft_query_u64(weft_query *q, int column);
uint32_t weft_query_u32(weft_query *q, int column);
int64_t weft_query_i64(weft_query *q, int column);
double weft_query_f64(weft_query *q, int column);
bool weft_query_is_null(weft_query *q, int column);
/** Borrowed, "" for NULL. */
const char *weft_query_text(weft_query *q, int column);
/** Cut to out_size - 1 bytes. */
void weft_query_copy_text(weft_query *q, int column, char *out, size_t out_size);
weft_view weft_query_blob(weft_query *q, int column);
/** Exactly n bytes into out (zeros for NULL or another length); false then. */
bool weft_query_copy_blob(weft_query *q, int column, void *out, size_t n);

#endif
