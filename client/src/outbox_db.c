/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outbox's database: opening, schema, small helpers around SQLite. Called by outbox.c and
 * outbox_work.c, owner thread. Migrations are numbered; user_version says which have run.
 */
#include "outbox_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const char *const migrations[] = {
    /* 1 */
    "CREATE TABLE identity("
    "  one INTEGER PRIMARY KEY CHECK(one = 1), federation TEXT NOT NULL, name TEXT NOT NULL,"
    "  address TEXT NOT NULL, ca BLOB NOT NULL, operator_key BLOB NOT NULL,"
    "  receipt_key BLOB NOT NULL, token_digest BLOB NOT NULL, chain BLOB NOT NULL,"
    "  certificate BLOB NOT NULL, from_unix_ms INTEGER NOT NULL, until_unix_ms INTEGER NOT NULL);"
    /* assignment, header: as on the wire */
    "CREATE TABLE work("
    "  one INTEGER PRIMARY KEY CHECK(one = 1), assignment BLOB NOT NULL, unix_ms INTEGER NOT NULL,"
    "  header BLOB, abandoning INTEGER NOT NULL DEFAULT 0, declined INTEGER NOT NULL DEFAULT 0,"
    "  reason TEXT NOT NULL DEFAULT '');"
    "CREATE TABLE history("
    "  seq INTEGER PRIMARY KEY, assignment_id INTEGER NOT NULL, job TEXT NOT NULL,"
    "  round INTEGER NOT NULL, task INTEGER NOT NULL, outcome INTEGER NOT NULL,"
    "  reason TEXT NOT NULL, n_examples INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    "  unix_ms INTEGER NOT NULL, receipt BLOB);"
    "CREATE TABLE seen(one INTEGER PRIMARY KEY CHECK(one = 1), unix_ms INTEGER NOT NULL);",
    /* 2: secure aggregation. secure: the session's state, secret; receipt: as on the wire */
    "ALTER TABLE work ADD COLUMN secure BLOB;"
    "ALTER TABLE work ADD COLUMN masked INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE work ADD COLUMN receipt BLOB;"
    "CREATE TABLE context(ctx BLOB PRIMARY KEY, unix_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE masked_round("
    "  job TEXT NOT NULL, task INTEGER NOT NULL, round INTEGER NOT NULL, PRIMARY KEY(job, task))"
    "  WITHOUT ROWID;"
    "CREATE TABLE pin(client TEXT PRIMARY KEY, member_key BLOB NOT NULL, unix_ms INTEGER NOT NULL)"
    "  WITHOUT ROWID;",
    /* 3: what a context was of, so that it can go; those of before stay */
    "ALTER TABLE context ADD COLUMN job TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE context ADD COLUMN task INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE context ADD COLUMN round INTEGER NOT NULL DEFAULT 0;",
};
#define N_MIGRATIONS ((int)(sizeof migrations / sizeof migrations[0]))

weft_status weft_outbox_db_fail(const weft_outbox *outbox, const char *what, weft_err *err)
{
    const int rc = outbox->db ? sqlite3_errcode(outbox->db) : SQLITE_NOMEM;
    const weft_status code = rc == SQLITE_NOMEM ? WEFT_E_NOMEM
                             : rc == SQLITE_FULL || rc == SQLITE_IOERR || rc == SQLITE_CANTOPEN
                                 ? WEFT_E_IO
                                 : WEFT_E_DB;
    WEFT_FAIL(err, code, "%s in %.120s/client.db: %s", what, outbox->dir,
              outbox->db ? sqlite3_errmsg(outbox->db) : "out of memory");
}

weft_status weft_outbox_db_exec(weft_outbox *outbox, const char *sql, weft_err *err)
{
    if (sqlite3_exec(outbox->db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        return weft_outbox_db_fail(outbox, "cannot write", err);
    }
    return WEFT_OK;
}

weft_status weft_outbox_db_prepare(weft_outbox *outbox, sqlite3_stmt **ret, const char *sql,
                                   weft_err *err)
{
    if (sqlite3_prepare_v2(outbox->db, sql, -1, ret, NULL) != SQLITE_OK) {
        return weft_outbox_db_fail(outbox, "cannot prepare a statement", err);
    }
    return WEFT_OK;
}

weft_status weft_outbox_db_run(weft_outbox *outbox, sqlite3_stmt *stmt, weft_err *err)
{
    const int rc = sqlite3_step(stmt);
    weft_status status = WEFT_OK;
    if (rc != SQLITE_DONE) {
        status = weft_outbox_db_fail(outbox, "cannot write", err);
    }
    (void)sqlite3_finalize(stmt); /* repeats what step said */
    return status;
}

weft_status weft_outbox_db_durable(weft_outbox *outbox, bool power, weft_err *err)
{
    return weft_outbox_db_exec(
        outbox, power ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", err);
}

void weft_outbox_db_bind(sqlite3_stmt *stmt, int at, const void *data, size_t n)
{
    (void)sqlite3_bind_blob(stmt, at, n ? data : "", (int)n, SQLITE_STATIC); /* or it stays NULL */
}

weft_status weft_outbox_db_blob(weft_buf *out, sqlite3_stmt *stmt, int column, weft_err *err)
{
    weft_buf_clear(out);
    const void *data = sqlite3_column_blob(stmt, column);
    const int n = sqlite3_column_bytes(stmt, column);
    return n > 0 ? weft_buf_add(out, data, (size_t)n, err) : WEFT_OK;
}

weft_status weft_outbox_db_bytes(uint8_t *out, size_t n, sqlite3_stmt *stmt, int column,
                                 weft_err *err)
{
    const void *data = sqlite3_column_blob(stmt, column);
    if ((size_t)sqlite3_column_bytes(stmt, column) != n || !data) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "column %d of client.db does not have %zu bytes", column, n);
    }
    memcpy(out, data, n);
    return WEFT_OK;
}

weft_status weft_outbox_db_text(char *out, size_t out_size, sqlite3_stmt *stmt, int column,
                                weft_err *err)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);
    const size_t n = (size_t)sqlite3_column_bytes(stmt, column);
    if (!text || n >= out_size) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "column %d of client.db has %zu bytes, at most %zu", column,
                  n, out_size - 1);
    }
    memcpy(out, text, n);
    out[n] = '\0';
    return WEFT_OK;
}

static weft_status user_version(weft_outbox *outbox, int *ret, weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(outbox, &stmt, "PRAGMA user_version", err));
    weft_status status = WEFT_OK;
    if (sqlite3_step(stmt) == SQLITE_ROW) {
        *ret = sqlite3_column_int(stmt, 0);
    } else {
        status = weft_outbox_db_fail(outbox, "cannot read", err);
    }
    (void)sqlite3_finalize(stmt); /* read only */
    return status;
}

static weft_status migrate(weft_outbox *outbox, int from, weft_err *err)
{
    for (int v = from; v < N_MIGRATIONS; v++) {
        char set[64];
        (void)sqlite3_snprintf((int)sizeof set, set, "PRAGMA user_version = %d", v + 1);
        WEFT_TRY(weft_outbox_db_exec(outbox, "BEGIN IMMEDIATE", err));
        weft_status status = weft_outbox_db_exec(outbox, migrations[v], err);
        if (status == WEFT_OK) {
            status = weft_outbox_db_exec(outbox, set, err);
        }
        if (status == WEFT_OK) {
            status = weft_outbox_db_exec(outbox, "COMMIT", err);
        }
        if (status != WEFT_OK) {
            (void)sqlite3_exec(outbox->db, "ROLLBACK", NULL, NULL, NULL); /* reported already */
            return status;
        }
    }
    return WEFT_OK;
}

weft_status weft_outbox_db_open(weft_outbox *outbox, bool observe, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_outbox_path(outbox, path, sizeof path, "client.db", err));
    const int mode = observe ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    if (sqlite3_open_v2(path, &outbox->db, mode | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        return weft_outbox_db_fail(outbox, "cannot open it", err);
    }
    if (!observe && chmod(path, 0600) != 0) { /* WAL and index follow it */
        WEFT_FAIL_SYS(err, errno, "cannot keep %.160s to its owner: %s", path,
                      strerrordesc_np(errno));
    }
    (void)sqlite3_busy_timeout(outbox->db, 5000); /* cannot fail on an open database */
    int version = 0;
    if (!observe) {
        WEFT_TRY(weft_outbox_db_exec(outbox, "PRAGMA journal_mode = WAL", err));
        /* what secure aggregation keeps must not outlive its row */
        WEFT_TRY(weft_outbox_db_exec(outbox, "PRAGMA secure_delete = ON", err));
        WEFT_TRY(weft_outbox_db_durable(outbox, true, err));
    }
    WEFT_TRY(user_version(outbox, &version, err));
    if (version > N_MIGRATIONS) {
        WEFT_FAIL(err, WEFT_E_STATE,
                  "%.120s/client.db has version %d, this weft knows %d: use the newer weft",
                  outbox->dir, version, N_MIGRATIONS);
    }
    if (observe) {
        if (version < N_MIGRATIONS) {
            WEFT_FAIL(err, WEFT_E_NOTFOUND, "%.160s holds no client of this version", outbox->dir);
        }
        return WEFT_OK;
    }
    WEFT_TRY(migrate(outbox, version, err));
    return weft_outbox_db_durable(outbox, false, err);
}
