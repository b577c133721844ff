/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the outbox only: its handle and its way of talking to SQLite. */
#ifndef WEFT_CLIENT_OUTBOX_PRIV_H
#define WEFT_CLIENT_OUTBOX_PRIV_H

#include "outbox.h"

#include <limits.h>
#include <sqlite3.h>

struct weft_outbox {
    const weft_alloc *alloc;
    char dir[PATH_MAX];
    int lock_fd; /* -1: observing */
    sqlite3 *db; /* owned */
};

/* ---- outbox_db.c ---------------------------------------------------------------------------- */

/* Open client.db, bring its schema up to date. */
WEFT_NODISCARD weft_status weft_outbox_db_open(weft_outbox *outbox, bool observe, weft_err *err);
/* The status for what SQLite said last. */
WEFT_NODISCARD weft_status weft_outbox_db_fail(const weft_outbox *outbox, const char *what,
                                               weft_err *err);
/* One statement without rows or parameters. */
WEFT_NODISCARD weft_status weft_outbox_db_exec(weft_outbox *outbox, const char *sql, weft_err *err);
WEFT_NODISCARD weft_status weft_outbox_db_prepare(weft_outbox *outbox, sqlite3_stmt **ret,
                                                  const char *sql, weft_err *err);
/* Step a statement that returns no row, and finalize it, whatever comes. Parameters that could not
 * be bound show here. */
WEFT_NODISCARD weft_status weft_outbox_db_run(weft_outbox *outbox, sqlite3_stmt *stmt,
                                              weft_err *err);
/* What is written from here on survives a power failure, or only the process. */
WEFT_NODISCARD weft_status weft_outbox_db_durable(weft_outbox *outbox, bool power, weft_err *err);
/* Bytes as a parameter; what cannot be bound is NULL, and refused by the table. */
void weft_outbox_db_bind(sqlite3_stmt *stmt, int at, const void *data, size_t n);
/* A blob column into a buffer, replacing its content. */
WEFT_NODISCARD weft_status weft_outbox_db_blob(weft_buf *out, sqlite3_stmt *stmt, int column,
                                               weft_err *err);
/* A blob column of exactly n bytes; WEFT_E_FORMAT otherwise. */
WEFT_NODISCARD weft_status weft_outbox_db_bytes(uint8_t *out, size_t n, sqlite3_stmt *stmt,
                                                int column, weft_err *err);
/* A text column; WEFT_E_FORMAT when it does not fit. */
WEFT_NODISCARD weft_status weft_outbox_db_text(char *out, size_t out_size, sqlite3_stmt *stmt,
                                               int column, weft_err *err);

#endif
