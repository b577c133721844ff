/* SPDX-License-Identifier: Apache-2.0 */
/* The data directory: opening, its lock, batches and the logical clock. */
#include "store/store.h"

#include "base/file.h"
#include "store/ledger_priv.h"
#include "store/schema_priv.h"
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static weft_status take_lock(weft_store *store, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, store->dir, "weft.lock", err));
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot open %.160s: %s", path, strerrordesc_np(errno));
    }
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        const int sys = errno;
        if (sys != EWOULDBLOCK) {
            WEFT_FAIL_SYS(err, sys, "cannot lock %.160s: %s", path, strerrordesc_np(sys));
        }
        char holder[32] = "";
        const ssize_t n = pread(store->lock_fd, holder, sizeof holder - 1, 0);
        holder[n > 0 ? n : 0] = '\0';
        WEFT_FAIL(err, WEFT_E_CONFLICT,
                  "the data directory %.120s is in use by process %s: one coordinator a directory",
                  store->dir, n > 0 ? holder : "(unknown)");
    }
    char pid[32];
    const int n = snprintf(pid, sizeof pid, "%ld", (long)getpid());
    if (ftruncate(store->lock_fd, 0) != 0 || pwrite(store->lock_fd, pid, (size_t)n, 0) != n) {
        WEFT_FAIL_SYS(err, errno, "cannot write %.160s: %s", path, strerrordesc_np(errno));
    }
    return WEFT_OK;
}

static weft_status make_dir(weft_store *store, const weft_store_options *options, weft_err *err)
{
    if (!options->must_exist && !options->read_only) {
        return weft_dir_make(store->dir, 0700, err);
    }
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, store->dir, "weft.db", err));
    if (access(path, F_OK) != 0) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "%.160s is not a data directory: it has no weft.db",
                  store->dir);
    }
    return WEFT_OK;
}

static weft_status open_main(weft_store *store, const weft_store_options *options, weft_err *err)
{
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, store->dir, "weft.db", err));
    const weft_db_options db_options = {"weft.db", options->vfs, WEFT_STORE_MAIN_PAGE_BYTES,
                                        options->busy_timeout_ms, options->read_only};
    WEFT_TRY(weft_db_open(&store->main, path, &db_options, err));
    if (options->read_only) {
        return weft_schema_check(&store->main, &weft_main_schema, err);
    }
    store->main_full = true;
    WEFT_TRY(weft_schema_migrate(&store->main, &weft_main_schema, weft_main_schema.n, err));
    /* what is deleted is overwritten: rows of secure sessions end with shares in the clear */
    WEFT_TRY(weft_db_exec(&store->main, "PRAGMA secure_delete=ON", err));
    int64_t logical_ms = 0;
    WEFT_TRY(weft_db_int(&store->main, "SELECT logical_ms FROM clock", &logical_ms, err));
    store->logical_ms = (uint64_t)logical_ms;
    return weft_ledger_load(&store->ledger, &store->main, err);
}

static weft_status open_all(weft_store *store, const weft_store_options *options, weft_err *err)
{
    WEFT_TRY(make_dir(store, options, err));
    if (!options->read_only) {
        WEFT_TRY(take_lock(store, err));
    }
    WEFT_TRY(open_main(store, options, err));
    return weft_models_open(store, options, err);
}

weft_status weft_store_open(weft_store **ret, const char *dir, const weft_store_options *options,
                            const weft_alloc *a, weft_err *err)
{
    weft_store *store = weft_array(a, 1, sizeof *store);
    if (!store) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the store");
    }
    store->alloc = a;
    store->lock_fd = -1;
    store->dir = weft_string_copy(a, dir, PATH_MAX);
    const weft_status status = store->dir ? open_all(store, options, err)
                                          : weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                                                         "the data directory's name");
    if (status != WEFT_OK) {
        weft_store_close(store);
        return status;
    }
    *ret = store;
    return WEFT_OK;
}

void weft_store_close(weft_store *store)
{
    if (!store) {
        return;
    }
    weft_models_close(store);
    weft_db_close(&store->main); /* rolls an open batch back */
    if (store->lock_fd >= 0) {
        (void)close(store->lock_fd); /* the lock goes with it */
    }
    weft_free(store->alloc, store->dir);
    weft_free(store->alloc, store);
}

const char *weft_store_dir(const weft_store *store)
{
    return store->dir;
}

uint64_t weft_store_logical_ms(const weft_store *store)
{
    return store->logical_ms;
}

/* Not inside a transaction: SQLite refuses it there. */
static weft_status set_full(weft_store *store, bool full, weft_err *err)
{
    if (store->main_full == full) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_db_exec(&store->main,
                          full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", err));
    store->main_full = full;
    return WEFT_OK;
}

static weft_status begin(weft_store *store, int64_t unix_ms, bool full, weft_err *err)
{
    if (store->in_batch) {
        WEFT_FAIL(err, WEFT_E_STATE, "a batch is open already");
    }
    WEFT_TRY(set_full(store, full, err));
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main, "BEGIN IMMEDIATE", err));
    WEFT_TRY(weft_query_run(&q, err));
    store->in_batch = true;
    store->broken = false;
    store->batch_unix_ms = unix_ms;
    return WEFT_OK;
}

weft_status weft_store_begin(weft_store *store, int64_t unix_ms, weft_err *err)
{
    return begin(store, unix_ms, true, err);
}

weft_status weft_store_begin_unsynced(weft_store *store, int64_t unix_ms, weft_err *err)
{
    return begin(store, unix_ms, false, err);
}

void weft_store_rollback(weft_store *store)
{
    if (store->in_batch && !sqlite3_get_autocommit(store->main.handle)) {
        /* a rollback cannot fail in a way that keeps the transaction: without COMMIT it never was
         */
        (void)sqlite3_exec(store->main.handle, "ROLLBACK", NULL, NULL, NULL);
    }
    store->in_batch = false;
}

static weft_status commit(weft_store *store, uint64_t logical_ms, weft_merkle_edge *ret_ledger,
                          weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_ledger_seal(store, ret_ledger, err));
    WEFT_TRY(weft_store_write(&q, store, "UPDATE clock SET logical_ms = ? WHERE id = 1", err));
    weft_query_add_u64(&q, logical_ms);
    WEFT_TRY(weft_store_run(&q, store, err));
    WEFT_TRY(weft_store_write(&q, store, "COMMIT", err));
    return weft_store_run(&q, store, err);
}

weft_status weft_store_commit(weft_store *store, uint64_t logical_now_ms, weft_err *err)
{
    const uint64_t logical_ms =
        logical_now_ms > store->logical_ms ? logical_now_ms : store->logical_ms;
    weft_merkle_edge ledger;
    const weft_status status = commit(store, logical_ms, &ledger, err);
    if (status != WEFT_OK) {
        weft_store_rollback(store);
        return status;
    }
    store->in_batch = false;
    store->logical_ms = logical_ms;
    store->ledger = ledger;
    return WEFT_OK;
}

weft_status weft_store_write(weft_query *q, weft_store *store, const char *sql, weft_err *err)
{
    if (!store->in_batch) {
        WEFT_FAIL(err, WEFT_E_STATE, "no batch is open");
    }
    if (store->broken) {
        WEFT_FAIL(err, WEFT_E_STATE, "the batch failed already: roll it back");
    }
    const weft_status status = weft_query_begin(q, &store->main, sql, err);
    store->broken = status != WEFT_OK;
    return status;
}

weft_status weft_store_run(weft_query *q, weft_store *store, weft_err *err)
{
    const weft_status status = weft_query_run(q, err);
    if (status != WEFT_OK) {
        store->broken = true;
    }
    return status;
}
