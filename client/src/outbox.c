/* SPDX-License-Identifier: Apache-2.0 */
/* The outbox: its folder and lock, the identity, the private keys. Called by client.c. */
#include "outbox.h"

#include "outbox_priv.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

weft_status weft_outbox_path(const weft_outbox *outbox, char *out, size_t out_size,
                             const char *name, weft_err *err)
{
    return weft_path_join(out, out_size, outbox->dir, name, err);
}

static weft_status take_lock(weft_outbox *outbox, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_outbox_path(outbox, path, sizeof path, "lock", err));
    outbox->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (outbox->lock_fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot open %.160s: %s", path, strerrordesc_np(errno));
    }
    if (flock(outbox->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        return WEFT_OK;
    }
    if (errno == EWOULDBLOCK) {
        WEFT_FAIL(err, WEFT_E_CONFLICT,
                  "another process works with the client in %.160s: stop it first", outbox->dir);
    }
    WEFT_FAIL_SYS(err, errno, "cannot lock %.160s: %s", path, strerrordesc_np(errno));
}

weft_status weft_outbox_open(weft_outbox **ret, const char *dir, bool observe, const weft_alloc *a,
                             weft_err *err)
{
    const size_t n = strlen(dir);
    weft_outbox *outbox = weft_array(a, 1, sizeof *outbox);
    if (!outbox) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a client");
    }
    outbox->alloc = a;
    outbox->lock_fd = -1;
    weft_status status = WEFT_OK;
    if (n == 0 || n >= sizeof outbox->dir - 80) { /* room for the names in it */
        status = weft_err_set(err, WEFT_E_LIMIT, 0, __FILE__, __LINE__,
                              "a state folder whose name has %zu bytes", n);
    } else {
        memcpy(outbox->dir, dir, n + 1);
    }
    struct stat st;
    char path[PATH_MAX];
    if (status == WEFT_OK) {
        status = weft_outbox_path(outbox, path, sizeof path, "client.db", err);
    }
    if (status == WEFT_OK && observe && stat(path, &st) != 0) {
        status = weft_err_set(err, WEFT_E_NOTFOUND, errno, __FILE__, __LINE__,
                              "there is no client in %.160s", dir);
    }
    if (status == WEFT_OK && !observe) {
        status = weft_dir_make(dir, 0700, err);
        status = status == WEFT_OK ? take_lock(outbox, err) : status;
    }
    if (status == WEFT_OK) {
        status = weft_outbox_db_open(outbox, observe, err);
    }
    if (status != WEFT_OK) {
        weft_outbox_free(outbox);
        return status;
    }
    *ret = outbox;
    return WEFT_OK;
}

void weft_outbox_free(weft_outbox *outbox)
{
    if (!outbox) {
        return;
    }
    (void)sqlite3_close(outbox->db); /* every statement is finalized */
    if (outbox->lock_fd >= 0) {
        (void)close(outbox->lock_fd); /* gives the lock back */
    }
    weft_free(outbox->alloc, outbox);
}

/* ---- identity ------------------------------------------------------------------------------- */

void weft_outbox_identity_init(weft_outbox_identity *identity, const weft_alloc *a)
{
    memset(identity, 0, sizeof *identity);
    weft_buf_init(&identity->ca_pem, a, WEFT_MAX_PEM_BYTES);
    weft_buf_init(&identity->chain, a, 4096);
    weft_buf_init(&identity->certificate_pem, a, WEFT_MAX_PEM_BYTES);
}

void weft_outbox_identity_done(weft_outbox_identity *identity)
{
    weft_buf_done(&identity->ca_pem);
    weft_buf_done(&identity->chain);
    weft_buf_done(&identity->certificate_pem);
}

static weft_status read_identity(weft_outbox_identity *ret, sqlite3_stmt *stmt, weft_err *err)
{
    WEFT_TRY(weft_outbox_db_text(ret->federation, sizeof ret->federation, stmt, 0, err));
    WEFT_TRY(weft_outbox_db_text(ret->name, sizeof ret->name, stmt, 1, err));
    WEFT_TRY(weft_outbox_db_text(ret->address, sizeof ret->address, stmt, 2, err));
    WEFT_TRY(weft_outbox_db_blob(&ret->ca_pem, stmt, 3, err));
    WEFT_TRY(weft_outbox_db_bytes(ret->operator_key, sizeof ret->operator_key, stmt, 4, err));
    WEFT_TRY(weft_outbox_db_bytes(ret->receipt_key, sizeof ret->receipt_key, stmt, 5, err));
    WEFT_TRY(weft_outbox_db_bytes(ret->token_digest, sizeof ret->token_digest, stmt, 6, err));
    WEFT_TRY(weft_outbox_db_blob(&ret->chain, stmt, 7, err));
    WEFT_TRY(weft_outbox_db_blob(&ret->certificate_pem, stmt, 8, err));
    ret->from_unix_ms = sqlite3_column_int64(stmt, 9);
    ret->until_unix_ms = sqlite3_column_int64(stmt, 10);
    return WEFT_OK;
}

weft_status weft_outbox_load_identity(weft_outbox *outbox, weft_outbox_identity *ret, weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt,
        "SELECT federation, name, address, ca, operator_key, receipt_key, token_digest, chain,"
        " certificate, from_unix_ms, until_unix_ms FROM identity",
        err));
    const int rc = sqlite3_step(stmt);
    weft_status status = WEFT_OK;
    if (rc == SQLITE_ROW) {
        status = read_identity(ret, stmt, err);
    } else if (rc == SQLITE_DONE) {
        status = weft_err_set(err, WEFT_E_NOTFOUND, 0, __FILE__, __LINE__,
                              "the client in %.160s has not enrolled", outbox->dir);
    } else {
        status = weft_outbox_db_fail(outbox, "cannot read the identity", err);
    }
    (void)sqlite3_finalize(stmt); /* read only */
    return status;
}

weft_status weft_outbox_keep_identity(weft_outbox *outbox, const weft_outbox_identity *id,
                                      weft_err *err)
{
    WEFT_TRY(weft_outbox_db_durable(outbox, true, err));
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(
        outbox, &stmt, "INSERT OR REPLACE INTO identity VALUES(1,?,?,?,?,?,?,?,?,?,?,?)", err));
    /* Binding may fail for lack of memory: the column is then NULL, and refused. */
    (void)sqlite3_bind_text(stmt, 1, id->federation, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 2, id->name, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 3, id->address, -1, SQLITE_STATIC);
    weft_outbox_db_bind(stmt, 4, id->ca_pem.data, id->ca_pem.size);
    (void)sqlite3_bind_blob(stmt, 5, id->operator_key, sizeof id->operator_key, SQLITE_STATIC);
    (void)sqlite3_bind_blob(stmt, 6, id->receipt_key, sizeof id->receipt_key, SQLITE_STATIC);
    (void)sqlite3_bind_blob(stmt, 7, id->token_digest, sizeof id->token_digest, SQLITE_STATIC);
    weft_outbox_db_bind(stmt, 8, id->chain.data, id->chain.size);
    weft_outbox_db_bind(stmt, 9, id->certificate_pem.data, id->certificate_pem.size);
    (void)sqlite3_bind_int64(stmt, 10, id->from_unix_ms);
    (void)sqlite3_bind_int64(stmt, 11, id->until_unix_ms);
    WEFT_TRY(weft_outbox_db_run(outbox, stmt, err));
    return weft_outbox_db_durable(outbox, false, err);
}

weft_status weft_outbox_keep_seen(weft_outbox *outbox, int64_t unix_ms, weft_err *err)
{
    sqlite3_stmt *stmt = NULL;
    WEFT_TRY(weft_outbox_db_prepare(outbox, &stmt, "INSERT OR REPLACE INTO seen VALUES(1,?)", err));
    (void)sqlite3_bind_int64(stmt, 1, unix_ms); /* NULL is refused by the table */
    return weft_outbox_db_run(outbox, stmt, err);
}

int64_t weft_outbox_seen(weft_outbox *outbox)
{
    sqlite3_stmt *stmt = NULL;
    int64_t unix_ms = 0;
    if (weft_outbox_db_prepare(outbox, &stmt, "SELECT unix_ms FROM seen", NULL) == WEFT_OK &&
        sqlite3_step(stmt) == SQLITE_ROW) {
        unix_ms = sqlite3_column_int64(stmt, 0);
    }
    (void)sqlite3_finalize(stmt); /* read only */
    return unix_ms;
}

/* ---- private keys --------------------------------------------------------------------------- */

weft_status weft_outbox_load_key(const weft_outbox *outbox, const char *name, weft_buf *out,
                                 weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_outbox_path(outbox, path, sizeof path, name, err));
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "others may read the private key %.160s (mode %03o): chmod 600 it, or enrol anew "
                  "if it may have been copied",
                  path, (unsigned)(st.st_mode & 0777));
    }
    return weft_file_read(out, path, err);
}

weft_status weft_outbox_create_key(const weft_outbox *outbox, const char *name, const weft_buf *pem,
                                   weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_outbox_path(outbox, path, sizeof path, name, err));
    return weft_file_create(path, pem->data, pem->size, 0600, err);
}
