/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store under faults: kill -9 at random points, and a disk that fails the Nth write or sync (a
 * shim over SQLite's file system layer).
 */
#include "support/support.h"

#include "base/rng.h"
#include "crypto/hash.h"
#include "store/models.h"
#include "store/queries.h"
#include "store/store.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_MODEL_BYTES ((size_t)WEFT_MAX_CHUNK_BYTES + 70000U)

/* two chunks; a small one where every single write is made to fail */
static size_t model_bytes = MAX_MODEL_BYTES;

/* ---- a disk that fails ----------------------------------------------------------------------- */

#define MAX_METHODS 4

static struct {
    long calls_left; /* writes and syncs that still succeed; negative: all */
    int error;
    bool failed;
    unsigned syncs;
    int (*write)(sqlite3_file *file, const void *data, int n, sqlite3_int64 at);
    int (*sync)(sqlite3_file *file, int flags);
    /* databases and logs have different tables of methods, with the same write and sync */
    size_t n;
    const sqlite3_io_methods *real[MAX_METHODS];
    sqlite3_io_methods methods[MAX_METHODS];
} disk;

static bool fails(void)
{
    if (disk.calls_left < 0) {
        return false;
    }
    if (disk.calls_left > 0) {
        disk.calls_left--;
        return false;
    }
    disk.failed = true; /* and it stays broken: a full disk does not heal by itself */
    return true;
}

static int shim_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 at)
{
    return fails() ? disk.error : disk.write(file, data, n, at);
}

static int shim_sync(sqlite3_file *file, int flags)
{
    disk.syncs++;
    return fails() ? SQLITE_IOERR_FSYNC : disk.sync(file, flags);
}

static const sqlite3_io_methods *shim_methods(const sqlite3_io_methods *real)
{
    size_t i = 0;
    while (i < disk.n && disk.real[i] != real) {
        i++;
    }
    if (i == disk.n) {
        assert_true(disk.n < MAX_METHODS);
        disk.n++;
        disk.real[i] = real;
        disk.methods[i] = *real;
        disk.methods[i].xWrite = shim_write;
        disk.methods[i].xSync = shim_sync;
        disk.write = real->xWrite;
        disk.sync = real->xSync;
    }
    return &disk.methods[i];
}

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    sqlite3_vfs *real = vfs->pAppData;
    const int rc = real->xOpen(real, name, file, flags, out);
    if (rc == SQLITE_OK && file->pMethods) {
        file->pMethods = shim_methods(file->pMethods);
    }
    return rc;
}

static int register_shim(void **state)
{
    (void)state;
    static sqlite3_vfs shim;
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);
    shim = *real;
    shim.pNext = NULL;
    shim.zName = "failing";
    shim.pAppData = real;
    shim.xOpen = shim_open;
    disk.calls_left = -1;
    return sqlite3_vfs_register(&shim, 0) != SQLITE_OK;
}

/* ---- the work that is interrupted ------------------------------------------------------------ */

/* Batch n: job n, its initial version and the model of it; all or nothing. */
static weft_status put_batch(weft_store *store, uint64_t n, weft_err *err)
{
    static uint8_t bytes[MAX_MODEL_BYTES];
    memset(bytes, (int)(n * 7 + 1), model_bytes);
    memcpy(bytes, &n, sizeof n);
    weft_version_row version;
    memset(&version, 0, sizeof version);
    WEFT_TRY(weft_sha256(version.digest, bytes, model_bytes, err));
    WEFT_TRY(weft_store_model_put(store, version.digest, bytes, model_bytes, NULL, NULL, err));
    weft_job_def def;
    memset(&def, 0, sizeof def);
    (void)snprintf(def.name, sizeof def.name, "job-%llu", (unsigned long long)n);
    weft_job_row job;
    memset(&job, 0, sizeof job);
    job.job_id = n;
    job.def = &def;
    job.status = WEFT_JOB_RUNNING;
    version.job_id = n;
    version.bytes = model_bytes;
    WEFT_TRY(weft_store_begin(store, (int64_t)n, err));
    weft_status status = weft_store_put_version(store, &version, err);
    if (status == WEFT_OK) {
        status = weft_store_put_job(store, &job, "d", 1, err);
    }
    if (status != WEFT_OK) {
        weft_store_rollback(store);
        return status;
    }
    return weft_store_commit(store, n, err);
}

static weft_status open_on(weft_store **ret, const char *dir, const char *vfs, weft_err *err)
{
    weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    options.vfs = vfs;
    options.busy_timeout_ms = 0;
    return weft_store_open(ret, dir, &options, &weft_alloc_std, err);
}

static void no_finding(void *arg, const char *text)
{
    (void)arg;
    fail_msg("%s", text);
}

static weft_status read_version(void *arg, const weft_store_version *version, weft_err *err)
{
    static uint8_t bytes[MAX_MODEL_BYTES];
    uint64_t n = 0;
    WEFT_TRY(weft_store_model_read_all(arg, version->row.digest, bytes, model_bytes, err));
    memcpy(&n, bytes, sizeof n);
    assert_true(n == version->row.job_id);
    return WEFT_OK;
}

static weft_status count_job(void *arg, weft_job_row *row, weft_view definition, weft_err *err)
{
    (void)definition;
    (void)err;
    uint64_t *n = arg;
    *n += 1;
    assert_true(row->job_id == *n); /* without gaps */
    return WEFT_OK;
}

/* What a restart finds: batches 1..n whole, at least those that were acknowledged. Returns n. */
static uint64_t check_after(const char *dir, uint64_t acknowledged)
{
    weft_store *store = NULL;
    assert_ok(open_on(&store, dir, NULL, &assert_err));
    assert_ok(weft_store_model_sweep(store, NULL, &assert_err));
    uint64_t n = 0;
    assert_ok(weft_store_restore_jobs(store, count_job, &n, &assert_err));
    assert_true(n >= acknowledged);
    assert_true(weft_store_logical_ms(store) == n);
    assert_ok(weft_store_versions(store, 0, UINT32_MAX, read_version, store, &assert_err));
    weft_store_close(store);
    uint32_t findings = 0;
    assert_ok(
        weft_store_check(dir, true, no_finding, NULL, &findings, &weft_alloc_std, &assert_err));
    return n;
}

/* ---- kill -9 --------------------------------------------------------------------------------- */

static void work_until_killed(const char *dir, uint64_t from, int out)
{
    weft_store *store = NULL;
    if (open_on(&store, dir, NULL, NULL) != WEFT_OK) {
        _exit(1);
    }
    for (uint64_t n = from;; n++) {
        if (put_batch(store, n, NULL) != WEFT_OK || write(out, &n, sizeof n) != sizeof n) {
            _exit(2);
        }
    }
}

/* Reads acknowledgements until `until` is there, then spins a little and kills. */
static uint64_t kill_after(pid_t child, int in, uint64_t until, uint64_t spins)
{
    uint64_t seen = 0;
    while (seen < until) {
        assert_int_equal(read(in, &seen, sizeof seen), sizeof seen);
    }
    for (volatile uint64_t i = 0; i < spins; i++) {
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    int end = 0;
    assert_int_equal(waitpid(child, &end, 0), child);
    assert_true(WIFSIGNALED(end));
    while (read(in, &seen, sizeof seen) == sizeof seen) { /* acknowledged before it died */
    }
    return seen;
}

static void test_store__kill_9_loses_nothing_acknowledged(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_rng rng;
    weft_rng_init(&rng, 1, 1);
    uint64_t done = 0;
    for (int i = 0; i < 8; i++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)close(ends[0]); /* the reader's */
            work_until_killed(dir, done + 1, ends[1]);
        }
        (void)close(ends[1]); /* the child's */
        const uint64_t acknowledged = kill_after(child, ends[0], done + 1 + weft_rng_below(&rng, 3),
                                                 weft_rng_below(&rng, 20000000));
        (void)close(ends[0]); /* read to its end */
        done = check_after(dir, acknowledged);
    }
    assert_true(done >= 8);
    test_dir_done(dir);
}

/* ---- disk full, disk broken ------------------------------------------------------------------ */

static void fail_from(long calls, int error)
{
    model_bytes = 4096;
    char *dir = test_dir_new();
    weft_store *store = NULL;
    disk.calls_left = -1;
    disk.failed = false;
    assert_ok(open_on(&store, dir, "failing", &assert_err));
    assert_ok(put_batch(store, 1, &assert_err));
    disk.calls_left = calls;
    disk.error = error;
    weft_err err = WEFT_ERR_INIT;
    const weft_status status = put_batch(store, 2, &err);
    assert_true(disk.failed ? status == WEFT_E_DB : status == WEFT_OK);
    if (disk.failed) {
        assert_non_null(strstr(err.msg, ".db: "));
        assert_non_null(strstr(err.msg, "space"));
    }
    disk.calls_left = -1;
    weft_store_close(store);
    const uint64_t n = check_after(dir, status == WEFT_OK ? 2 : 1);
    assert_true(n <= 2);
    /* and work goes on */
    assert_ok(open_on(&store, dir, "failing", &assert_err));
    assert_ok(put_batch(store, n + 1, &assert_err));
    weft_store_close(store);
    test_dir_done(dir);
}

static void test_store__every_write_may_find_the_disk_full(void **state)
{
    (void)state;
    disk.failed = true;
    for (long calls = 0; disk.failed; calls++) {
        assert_true(calls < 1000);
        fail_from(calls, SQLITE_FULL);
    }
}

static void test_store__every_write_may_fail(void **state)
{
    (void)state;
    disk.failed = true;
    for (long calls = 0; disk.failed; calls += 3) {
        assert_true(calls < 1000);
        fail_from(calls, SQLITE_IOERR_WRITE);
    }
}

static void test_store__goes_on_once_there_is_space_again(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = NULL;
    disk.calls_left = -1;
    assert_ok(open_on(&store, dir, "failing", &assert_err));
    assert_ok(put_batch(store, 1, &assert_err));
    disk.calls_left = 0;
    disk.error = SQLITE_FULL;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(put_batch(store, 2, &err), WEFT_E_DB);
    assert_non_null(strstr(err.msg, "database or disk is full"));
    assert_non_null(strstr(err.msg, "free space on its disk and try again"));
    disk.calls_left = -1;
    assert_ok(put_batch(store, 2, &assert_err)); /* the same store, without a restart */
    weft_store_close(store);
    assert_true(check_after(dir, 2) == 2);
    test_dir_done(dir);
}

/* ---- batches that wait for no disk ----------------------------------------------------------- */

static void put_job(weft_store *store, uint64_t n)
{
    weft_job_def def = {.name = {0}};
    (void)snprintf(def.name, sizeof def.name, "job-%llu", (unsigned long long)n);
    const weft_job_row job = {.job_id = n, .def = &def, .status = WEFT_JOB_RUNNING};
    assert_ok(weft_store_put_job(store, &job, "d", 1, &assert_err));
    assert_ok(weft_store_commit(store, n, &assert_err));
}

static void test_store_begin_unsynced__survives_kill_9(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        weft_store *store = NULL;
        assert_ok(open_on(&store, dir, NULL, &assert_err));
        assert_ok(weft_store_begin_unsynced(store, 1, &assert_err));
        put_job(store, 1);
        (void)kill(getpid(), SIGKILL); /* oneself: cannot fail */
    }
    int end = 0;
    assert_int_equal(waitpid(child, &end, 0), child);
    assert_true(WIFSIGNALED(end));
    assert_true(check_after(dir, 1) == 1);
    test_dir_done(dir);
}

static void test_store_begin_unsynced__keeps_without_waiting(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = NULL;
    disk.calls_left = -1;
    assert_ok(open_on(&store, dir, "failing", &assert_err));
    assert_ok(weft_store_begin(store, 1, &assert_err));
    put_job(store, 1);
    unsigned before = disk.syncs;
    for (uint64_t n = 2; n <= 4; n++) {
        assert_ok(weft_store_begin_unsynced(store, 1, &assert_err));
        put_job(store, n);
    }
    assert_int_equal(disk.syncs, before);
    assert_ok(weft_store_begin(store, 1, &assert_err)); /* and those that must be on disk wait */
    put_job(store, 5);
    assert_true(disk.syncs > before);
    before = disk.syncs;
    assert_ok(weft_store_begin_unsynced(store, 1, &assert_err));
    put_job(store, 6);
    assert_int_equal(disk.syncs, before);
    weft_store_close(store);
    assert_true(check_after(dir, 6) == 6);
    test_dir_done(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store__kill_9_loses_nothing_acknowledged),
        cmocka_unit_test(test_store__every_write_may_find_the_disk_full),
        cmocka_unit_test(test_store__every_write_may_fail),
        cmocka_unit_test(test_store__goes_on_once_there_is_space_again),
        cmocka_unit_test(test_store_begin_unsynced__keeps_without_waiting),
        cmocka_unit_test(test_store_begin_unsynced__survives_kill_9),
    };
    return cmocka_run_group_tests(tests, register_shim, NULL);
}
