/* SPDX-License-Identifier: Apache-2.0 */
/* The outbox: what secure aggregation must not forget. Called by client.c through the session. */
#include "outbox.h"

#include "convert.h"
#include "crypto/hash.h"
#include "files.h"
#include "outbox_priv.h"
#include "wire/wire.h"

#include <string.h>

/* ---- keeping -------------------------------------------------------------------------------- */

static weft_status keep_state(weft_outbox *outbox, const weft_session_action *keep,
                              const weft_buf *receipt, weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt, "UPDATE work SET secure = ?, masked = ?, receipt = nullif(?, x'')", err));
    weft_outbox_db_bind(stmt, 1, keep->u.secure.state.data, keep->u.secure.state.size);
    (void)sqlite3_bind_int(stmt, 2, keep->u.secure.masked ? 1 : 0); /* NULL is refused */
    weft_outbox_db_bind(stmt, 3, receipt->data, receipt->size);
    return weft_outbox_db_run(outbox, stmt, err);
}

static void bind_round(sqlite3_stmt *stmt, int first, const weft_session_assignment *a)
{
    (void)sqlite3_bind_text(stmt, first, a->job, -1, SQLITE_STATIC); /* NULL is refused */
    (void)sqlite3_bind_int(stmt, first + 1, (int)a->task);
    (void)sqlite3_bind_int64(stmt, first + 2, a->round);
}

static weft_status keep_context(weft_outbox *outbox, const weft_session_action *keep,
                                int64_t unix_ms, weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(outbox, &stmt,
                                    "INSERT OR IGNORE INTO context VALUES(?,?,?,?,?)", err));
    weft_outbox_db_bind(stmt, 1, keep->u.secure.ctx, WEFT_SECAGG_DIGEST_BYTES);
    (void)sqlite3_bind_int64(stmt, 2, unix_ms); /* NULL is refused */
    bind_round(stmt, 3, keep->u.secure.assignment);
    return weft_outbox_db_run(outbox, stmt, err);
}

/* A masked round stands for every context of its job and task up to it: none of them is joined. */
static weft_status forget_contexts(weft_outbox *outbox, const weft_session_assignment *a,
                                   weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt, "DELETE FROM context WHERE job = ? AND task = ? AND round <= ?", err));
    bind_round(stmt, 1, a);
    return weft_outbox_db_run(outbox, stmt, err);
}

static weft_status keep_peers(weft_outbox *outbox, const weft_session_action *keep, int64_t unix_ms,
                              weft_err *err)
{
    for (uint32_t i = 0; i < keep->u.secure.n_peers; i++) {
        const weft_secagg_peer *peer = &keep->u.secure.peers[i];
        sqlite3_stmt *stmt = NULL;
        WEFT_TRY(
            weft_outbox_db_prepare(outbox, &stmt, "INSERT OR IGNORE INTO pin VALUES(?,?,?)", err));
        (void)sqlite3_bind_text(stmt, 1, peer->id, -1, SQLITE_STATIC); /* NULL is refused */
        weft_outbox_db_bind(stmt, 2, peer->member_key, sizeof peer->member_key);
        (void)sqlite3_bind_int64(stmt, 3, unix_ms);
        WEFT_TRY(weft_outbox_db_run(outbox, stmt, err));
    }
    return WEFT_OK;
}

/* The masked vector is the update from now on; the round counts as masked. */
static weft_status keep_masked(weft_outbox *outbox, const weft_session_action *keep,
                               const weft_buf *header, weft_err *err)
{
    const weft_session_assignment *a = keep->u.secure.assignment;
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(outbox, &stmt, "UPDATE work SET header = ?", err));
    weft_outbox_db_bind(stmt, 1, header->data, header->size);
    WEFT_TRY(weft_outbox_db_run(outbox, stmt, err));
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt,
        "INSERT INTO masked_round VALUES(?,?,?)"
        " ON CONFLICT(job, task) DO UPDATE SET round = max(round, excluded.round)",
        err));
    bind_round(stmt, 1, a);
    WEFT_TRY(weft_outbox_db_run(outbox, stmt, err));
    return forget_contexts(outbox, a, err);
}

static weft_status keep_all(weft_outbox *outbox, const weft_session_action *keep,
                            const weft_buf *receipt, const weft_buf *header, int64_t unix_ms,
                            weft_err *err)
{
    WEFT_TRY(weft_outbox_db_exec(outbox, "BEGIN IMMEDIATE", err));
    weft_status status = keep_state(outbox, keep, receipt, err);
    if (status == WEFT_OK) {
        status = keep_context(outbox, keep, unix_ms, err);
    }
    if (status == WEFT_OK) {
        status = keep_peers(outbox, keep, unix_ms, err);
    }
    if (status == WEFT_OK && keep->u.secure.masked) {
        status = keep_masked(outbox, keep, header, err);
    }
    if (status == WEFT_OK) {
        status = weft_outbox_db_exec(outbox, "COMMIT", err);
    }
    if (status != WEFT_OK) {
        (void)sqlite3_exec(outbox->db, "ROLLBACK", NULL, NULL, NULL); /* reported already */
    }
    return status;
}

static weft_status keep_durably(weft_outbox *outbox, const weft_session_action *keep,
                                const char *client, weft_buf *receipt, weft_buf *header,
                                int64_t unix_ms, weft_err *err)
{
    if (keep->u.secure.receipt) {
        weft_msg_receipt msg;
        weft_convert_receipt_msg(&msg, keep->u.secure.receipt, client);
        WEFT_TRY(weft_msg_receipt_encode(receipt, &msg, err));
    }
    weft_msg_update_header msg;
    weft_convert_update_msg(&msg, keep->u.secure.assignment, keep->u.secure.update, 0);
    WEFT_TRY(weft_msg_update_header_encode(header, &msg, err));
    WEFT_TRY(weft_outbox_db_durable(outbox, true, err));
    WEFT_TRY(keep_all(outbox, keep, receipt, header, unix_ms, err));
    return weft_outbox_db_durable(outbox, false, err);
}

weft_status weft_outbox_keep_secure(weft_outbox *outbox, const weft_session_action *keep,
                                    const char *client, int64_t unix_ms, weft_err *err)
{
    weft_buf receipt;
    weft_buf header;
    weft_buf_init(&receipt, outbox->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_buf_init(&header, outbox->alloc, WEFT_MAX_CONTROL_BYTES);
    const weft_status status = keep_durably(outbox, keep, client, &receipt, &header, unix_ms, err);
    weft_buf_done(&receipt);
    weft_buf_done(&header);
    if (status == WEFT_OK && keep->u.secure.masked) {
        weft_encoded_file_remove(outbox->dir, keep->u.secure.assignment->assignment_id);
    }
    return status;
}

/* ---- remembering ---------------------------------------------------------------------------- */

/* Step a prepared question of at most one row, whose integer is the answer; no row: *ret stays. */
static weft_status ask(weft_outbox *outbox, sqlite3_stmt *stmt, int64_t *ret, weft_err *err)
{
    const int rc = sqlite3_step(stmt);
    weft_status status = WEFT_OK;
    if (rc == SQLITE_ROW) {
        *ret = sqlite3_column_int64(stmt, 0);
    } else if (rc != SQLITE_DONE) {
        status = weft_outbox_db_fail(outbox, "cannot read what secure aggregation noted", err);
    }
    (void)sqlite3_finalize(stmt); /* read only */
    return status;
}

weft_status weft_outbox_context_used(void *self, bool *ret,
                                     const uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES], weft_err *err)
{
    weft_outbox *outbox = self;
    sqlite3_stmt *stmt = NULL;
    int64_t n = 0;
    WEFT_TRY(
        weft_outbox_db_prepare(outbox, &stmt, "SELECT count(*) FROM context WHERE ctx = ?", err));
    if (sqlite3_bind_blob(stmt, 1, ctx, WEFT_SECAGG_DIGEST_BYTES, SQLITE_STATIC) != SQLITE_OK) {
        (void)sqlite3_finalize(stmt); /* never stepped */
        return weft_outbox_db_fail(outbox, "cannot read", err);
    }
    WEFT_TRY(ask(outbox, stmt, &n, err));
    *ret = n > 0;
    return WEFT_OK;
}

weft_status weft_outbox_masked_round(void *self, uint32_t *ret, const char *job, weft_task task,
                                     weft_err *err)
{
    weft_outbox *outbox = self;
    sqlite3_stmt *stmt = NULL;
    int64_t round = 0;
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt, "SELECT round FROM masked_round WHERE job = ? AND task = ?", err));
    if (sqlite3_bind_text(stmt, 1, job, -1, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_int(stmt, 2, (int)task) != SQLITE_OK) {
        (void)sqlite3_finalize(stmt); /* never stepped */
        return weft_outbox_db_fail(outbox, "cannot read", err);
    }
    WEFT_TRY(ask(outbox, stmt, &round, err));
    *ret = (uint32_t)round;
    return WEFT_OK;
}

bool weft_outbox_pin_good(void *self, const char *client, const uint8_t key[WEFT_SIGN_PUBLIC_BYTES])
{
    weft_outbox *outbox = self;
    sqlite3_stmt *stmt = NULL;
    int64_t changed = 1;
    if (weft_outbox_db_prepare(outbox, &stmt,
                               "SELECT count(*) FROM pin WHERE client = ? AND member_key IS NOT ?",
                               NULL) != WEFT_OK) {
        return false;
    }
    weft_outbox_db_bind(stmt, 2, key, WEFT_SIGN_PUBLIC_BYTES);
    if (sqlite3_bind_text(stmt, 1, client, -1, SQLITE_STATIC) != SQLITE_OK) {
        (void)sqlite3_finalize(stmt); /* never stepped */
        return false;
    }
    return ask(outbox, stmt, &changed, NULL) == WEFT_OK && changed == 0;
}
