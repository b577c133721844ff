/* SPDX-License-Identifier: Apache-2.0 */
/* store: data directories of earlier versions, secure sessions, backups and what is checked in a
 * folder. */
#include "store_fixture.h"

#include "base/file.h"
#include "crypto/hash.h"
#include "store/ledger.h"
#include "store/models.h"
#include "store/queries.h"
#include "store/schema_priv.h"
#include "store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- migrations ------------------------------------------------------------------------------ */

/* A directory as a program of an earlier schema version left it. */
static void make_old(const char *dir, uint32_t main_version, uint32_t models_version)
{
    char path[512];
    weft_db db;
    weft_db_options options = {"weft.db", NULL, 4096, 100, false};
    (void)snprintf(path, sizeof path, "%s/weft.db", dir);
    assert_ok(weft_db_open(&db, path, &options, &assert_err));
    assert_ok(weft_schema_migrate(&db, &weft_main_schema, main_version, &assert_err));
    if (main_version >= 1) {
        assert_ok(weft_db_exec(
            &db,
            "UPDATE clock SET logical_ms = 777;"
            "INSERT INTO job (job_id, name, dataset, definition, status, reason, round, "
            "rounds_done,"
            " attempts, retry_at_ms, version, model_bytes, evals_since_best, best, created_unix_ms,"
            " changed_unix_ms) VALUES (1, 'old', 'd', x'6465', 1, '', 1, 0, 0, 0, NULL, 4, 0, NULL,"
            " 5, 6);"
            "INSERT INTO round (job_id, round, attempt, state, reason, base, version, eligible,"
            " cohort, accepted, n_examples, deadline_ms, opened_unix_ms, closed_unix_ms, bytes_up,"
            " changed_unix_ms) VALUES (1, 1, 1, 1, '', zeroblob(32), NULL, 3, 2, 0, 0, 9, 1, 0, 0,"
            " 6);"
            "INSERT INTO assignment VALUES (5, 1, 1, 1, 'c', 1, 1, 0, '', 0, NULL, 0, 0, 0, 6);"
            "INSERT INTO version (digest, job_id, round, bytes, created_unix_ms)"
            " VALUES (zeroblob(32), 1, 0, 4, 6)",
            &assert_err));
    }
    weft_db_close(&db);
    options = (weft_db_options){"models.db", NULL, 65536, 100, false};
    (void)snprintf(path, sizeof path, "%s/models.db", dir);
    assert_ok(weft_db_open(&db, path, &options, &assert_err));
    assert_ok(weft_schema_migrate(&db, &weft_models_schema, models_version, &assert_err));
    if (models_version >= 1) {
        assert_ok(weft_db_exec(&db,
                               "INSERT INTO model (model_id, digest, bytes, created_unix_ms)"
                               " VALUES (1, zeroblob(32), 4, 6);"
                               "INSERT INTO chunk VALUES (4294967296, x'01020304')",
                               &assert_err));
    }
    weft_db_close(&db);
}

/* ---- secure sessions ------------------------------------------------------------------------- */

typedef struct seen_secure {
    uint32_t n;
    weft_secure_row row[8];
    uint8_t data[8][16];
} seen_secure;

static weft_status see_secure(void *arg, const weft_secure_row *row, weft_err *err)
{
    (void)err;
    seen_secure *s = arg;
    assert_true(s->n < 8 && row->data.size <= 16);
    s->row[s->n] = *row;
    if (row->data.size) {
        memcpy(s->data[s->n], row->data.data, row->data.size);
    }
    s->n++;
    return WEFT_OK;
}

static weft_secure_row secure_row(weft_task task, uint32_t seq)
{
    return (weft_secure_row){.job_id = 1,
                             .round = 1,
                             .attempt = 1,
                             .task = task,
                             .seq = seq,
                             .kind = WEFT_SECURE_MESSAGE_TAKEN,
                             .assignment_id = 5,
                             .data = {(const uint8_t *)"sealed", 6}};
}

static void test_store_secure__rows_come_back_in_order_until_the_session_is_over(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    make_old(dir, weft_main_schema.n, weft_models_schema.n); /* round 1 is open */
    weft_store *store = open_store(dir);
    const weft_secure_row rows[] = {secure_row(WEFT_TASK_TRAIN, 2), secure_row(WEFT_TASK_TRAIN, 1),
                                    secure_row(WEFT_TASK_EVALUATE, 1)};
    assert_ok(weft_store_begin(store, T0, &assert_err));
    for (size_t i = 0; i < 3; i++) {
        assert_ok(weft_store_put_secure(store, &rows[i], &assert_err));
    }
    assert_ok(weft_store_commit(store, 800, &assert_err));
    weft_store_close(store);
    store = open_store(dir);
    seen_secure s = {0};
    assert_ok(weft_store_restore_secure(store, see_secure, &s, &assert_err));
    assert_int_equal(s.n, 3);
    assert_true(s.row[0].seq == 1 && s.row[1].seq == 2 && s.row[2].task == WEFT_TASK_EVALUATE);
    assert_true(s.row[1].kind == WEFT_SECURE_MESSAGE_TAKEN && s.row[1].assignment_id == 5);
    assert_true(s.row[1].data.size == 6 && memcmp(s.data[1], "sealed", 6) == 0);
    /* the same row again is a defect, not an update */
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_int_equal(weft_store_put_secure(store, &rows[0], NULL), WEFT_E_DB);
    weft_store_rollback(store);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    const weft_secure_over over = {1, 1, 1, WEFT_TASK_TRAIN};
    assert_ok(weft_store_end_secure(store, &over, &assert_err));
    assert_ok(weft_store_commit(store, 801, &assert_err));
    s.n = 0;
    assert_ok(weft_store_restore_secure(store, see_secure, &s, &assert_err));
    assert_true(s.n == 1 && s.row[0].task == WEFT_TASK_EVALUATE);
    weft_store_close(store);
    test_dir_done(dir);
}

static void test_store_secure__one_below_at_and_above_the_limit(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    make_old(dir, weft_main_schema.n, weft_models_schema.n);
    weft_store *store = open_store(dir);
    static const uint8_t data[WEFT_STORE_MAX_SECURE_BYTES + 1];
    assert_ok(weft_store_begin(store, T0, &assert_err));
    for (uint32_t i = 0; i < 3; i++) {
        weft_secure_row row = secure_row(WEFT_TASK_TRAIN, i + 1);
        row.data = (weft_view){data, WEFT_STORE_MAX_SECURE_BYTES - 1 + i};
        assert_int_equal(weft_store_put_secure(store, &row, NULL), i < 2 ? WEFT_OK : WEFT_E_LIMIT);
    }
    weft_store_rollback(store);
    weft_store_close(store);
    test_dir_done(dir);
}

static void no_finding(void *arg, const char *text)
{
    (void)arg;
    fail_msg("%s", text);
}

static void check_migrated(const char *dir, bool had_rows, bool had_models, uint64_t logical_ms)
{
    weft_store *store = open_store(dir);
    seen s = {0};
    assert_ok(weft_store_restore_jobs(store, see_job, &s, &assert_err));
    assert_int_equal(s.n, had_rows);
    s.n = 0;
    assert_ok(weft_store_restore_assignments(store, see_assignment, &s, &assert_err));
    assert_int_equal(s.n, had_rows);
    if (had_rows) {
        assert_int_equal(weft_store_logical_ms(store), logical_ms);
        assert_string_equal(s.definition, "de");
        s.n = 0;
        assert_ok(weft_store_job_history(store, 1, see_change, &s, &assert_err));
        assert_int_equal(s.n, 1);
        /* and what came later works on the old rows */
        weft_assignment_row row = s.assignment[0];
        row.metrics.n = 1;
        row.metrics.item[0] = (weft_metric){"loss", 1.0};
        assert_ok(weft_store_begin(store, T0, &assert_err));
        assert_ok(weft_store_put_assignment(store, &row, &assert_err));
        const uint8_t zero[WEFT_DIGEST_BYTES] = {0};
        assert_ok(weft_store_put_release(store, "stable", 1, zero, &assert_err));
        const weft_secure_over over = {1, 1, 1, WEFT_TASK_TRAIN};
        const weft_secure_row secure = {1, 1, 1, WEFT_TASK_TRAIN, 1, WEFT_SECURE_LEFT, 5, {0}};
        assert_ok(weft_store_end_secure(store, &over, &assert_err));
        assert_ok(weft_store_put_secure(store, &secure, &assert_err));
        assert_ok(weft_store_commit(store, 778, &assert_err));
    }
    uint8_t bytes[4] = {0};
    const uint8_t zero[WEFT_DIGEST_BYTES] = {0};
    assert_int_equal(weft_store_model_read(store, zero, 0, bytes, 4, NULL),
                     had_models ? WEFT_OK : WEFT_E_NOTFOUND);
    assert_int_equal(bytes[3], had_models ? 4 : 0);
    weft_store_close(store);
    /* what was there before the ledger is in it */
    uint32_t findings = 0;
    weft_tree_head head;
    assert_ok(weft_store_ledger_verify(dir, NULL, 0, no_finding, NULL, &findings, &head,
                                       &weft_alloc_std, &assert_err));
    assert_true(had_rows ? head.size >= 3 : head.size == 0);
}

static void test_store_open__migrates_from_every_earlier_version(void **state)
{
    (void)state;
    for (uint32_t v = 0; v <= weft_main_schema.n; v++) {
        for (uint32_t m = 0; m <= weft_models_schema.n; m++) {
            char *dir = test_dir_new();
            make_old(dir, v, m);
            check_migrated(dir, v >= 1, m >= 1, 777);
            check_migrated(dir, v >= 1, m >= 1, 778); /* once more: nothing left to do */
            test_dir_done(dir);
        }
    }
}

static weft_status try_open(const char *dir, weft_err *err)
{
    const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    weft_store *store = NULL;
    const weft_status status = weft_store_open(&store, dir, &options, &weft_alloc_std, err);
    weft_store_close(store);
    return status;
}

static void test_store_open__refuses_newer_foreign_and_damaged_files(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store_close(open_store(dir));
    exec_on(dir, "weft.db", "PRAGMA user_version=99");
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(try_open(dir, &err), WEFT_E_STATE);
    assert_string_equal(err.msg,
                        "weft.db has schema version 99 and this program knows versions up to 9: "
                        "start the newer weftd, or restore a backup from before its first start");
    exec_on(dir, "weft.db", "PRAGMA user_version=0");
    assert_int_equal(try_open(dir, NULL), WEFT_E_FORMAT);
    exec_on(dir, "weft.db", "PRAGMA user_version=9");
    assert_int_equal(try_open(dir, NULL), WEFT_OK);
    exec_on(dir, "models.db", "PRAGMA application_id=1");
    weft_err_clear(&err);
    assert_int_equal(try_open(dir, &err), WEFT_E_FORMAT);
    assert_string_equal(err.msg, "models.db belongs to another program (application_id 1)");
    test_dir_done(dir);

    /* another program's database is not touched */
    dir = test_dir_new();
    exec_on(dir, "weft.db", "CREATE TABLE t (x)");
    assert_int_equal(try_open(dir, NULL), WEFT_E_FORMAT);
    char path[512];
    (void)snprintf(path, sizeof path, "%s/weft.db-wal", dir);
    assert_int_not_equal(access(path, F_OK), 0);
    /* nor is a file that is no database */
    (void)snprintf(path, sizeof path, "%s/weft.db", dir);
    assert_ok(weft_file_write(path, "not a database, but some text of a kilobyte or so", 49, 0600,
                              &assert_err));
    weft_err_clear(&err);
    assert_int_equal(try_open(dir, &err), WEFT_E_FORMAT);
    assert_non_null(strstr(err.msg, "restore a backup"));
    test_dir_done(dir);
}

/* ---- care ------------------------------------------------------------------------------------ */

static void note_finding(void *arg, const char *text)
{
    (void)snprintf(arg, 256, "%s", text);
}

static void put_real_version(weft_store *store, uint8_t *digest)
{
    const weft_job_def def = def_of("a");
    const weft_job_row job = job_of(1, &def);
    assert_ok(weft_sha256(digest, "weights", 7, &assert_err));
    assert_ok(weft_store_model_put(store, digest, "weights", 7, NULL, NULL, &assert_err));
    weft_version_row version = version_of(1, 0, 0);
    memcpy(version.digest, digest, sizeof version.digest);
    version.bytes = 7;
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_put_job(store, &job, "d", 1, &assert_err));
    assert_ok(weft_store_put_version(store, &version, &assert_err));
    assert_ok(weft_store_commit(store, 1, &assert_err));
}

/* Chunks of zeros are stored without bytes; one that is not one of them is damaged. */
static void test_store_check__counts_zeros_that_are_not_there(void **state)
{
    (void)state;
    enum { SIZE = 2 * WEFT_MAX_CHUNK_BYTES + 4100 };
    static uint8_t data[SIZE];
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    uint8_t digest[WEFT_DIGEST_BYTES];
    put_real_version(store, digest);
    weft_version_row version = version_of(1, 0, 0);
    char text[256] = "";
    uint32_t n = 99;
    data[WEFT_MAX_CHUNK_BYTES + 3] = 1; /* the second of three chunks */
    assert_ok(weft_sha256(version.digest, data, SIZE, &assert_err));
    assert_ok(weft_store_model_put(store, version.digest, data, SIZE, NULL, NULL, &assert_err));
    version.bytes = SIZE;
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_put_version(store, &version, &assert_err));
    assert_ok(weft_store_commit(store, 1, &assert_err));
    weft_store_close(store);
    assert_ok(weft_store_check(dir, true, note_finding, text, &n, &weft_alloc_std, &assert_err));
    assert_int_equal(n, 0);
    exec_on(dir, "models.db", "UPDATE chunk SET data = x'' WHERE length(data) > 9");
    assert_ok(weft_store_check(dir, true, note_finding, text, &n, &weft_alloc_std, &assert_err));
    assert_int_equal(n, 1);
    assert_non_null(strstr(text, "are damaged"));
    exec_on(dir, "models.db", "DELETE FROM chunk WHERE length(data) = 0");
    assert_ok(weft_store_check(dir, true, note_finding, text, &n, &weft_alloc_std, &assert_err));
    assert_int_equal(n, 1);
    test_dir_done(dir);
}

static void test_store_check__finds_what_is_wrong(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    uint8_t digest[WEFT_DIGEST_BYTES];
    put_real_version(store, digest);
    char text[256] = "";
    uint32_t n = 99;
    /* beside the running store */
    assert_ok(weft_store_check(dir, true, note_finding, text, &n, &weft_alloc_std, &assert_err));
    assert_int_equal(n, 0);
    weft_store_close(store);
    exec_on(dir, "models.db", "UPDATE chunk SET data = x'00'");
    assert_ok(weft_store_check(dir, false, note_finding, text, &n, &weft_alloc_std, &assert_err));
    assert_int_equal(n, 0); /* only deep looks into the bytes */
    assert_ok(weft_store_check(dir, true, note_finding, text, &n, &weft_alloc_std, &assert_err));
    assert_int_equal(n, 1);
    assert_non_null(strstr(text, "are damaged"));
    exec_on(dir, "models.db", "DELETE FROM model");
    assert_ok(weft_store_check(dir, false, note_finding, text, &n, &weft_alloc_std, &assert_err));
    assert_int_equal(n, 1);
    assert_non_null(strstr(text, "are missing"));
    exec_on(dir, "weft.db",
            "PRAGMA foreign_keys=OFF; INSERT INTO rollback (job_id, round,"
            " from_digest, to_digest, unix_ms) VALUES (8, 1, zeroblob(32),"
            " zeroblob(32), 1)");
    assert_ok(weft_store_check(dir, false, note_finding, text, &n, &weft_alloc_std, &assert_err));
    assert_int_equal(n, 2);
    test_dir_done(dir);
    dir = test_dir_new();
    assert_int_equal(weft_store_check(dir, true, note_finding, text, &n, &weft_alloc_std, NULL),
                     WEFT_E_NOTFOUND);
    test_dir_done(dir);
}

static void test_store_backup__opens_and_holds_everything(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char to[512];
    (void)snprintf(to, sizeof to, "%s/backup", dir);
    weft_store *store = open_store(dir);
    uint8_t digest[WEFT_DIGEST_BYTES];
    put_real_version(store, digest);
    assert_ok(weft_store_backup(dir, to, &weft_alloc_std, &assert_err)); /* while it works */
    weft_store_close(store);
    assert_int_equal(weft_store_backup(dir, to, &weft_alloc_std, NULL), WEFT_E_CONFLICT);
    store = open_store(to);
    seen s = {0};
    assert_ok(weft_store_restore_jobs(store, see_job, &s, &assert_err));
    assert_int_equal(s.n, 1);
    char bytes[7];
    assert_ok(weft_store_model_read_all(store, digest, bytes, 7, &assert_err));
    assert_memory_equal(bytes, "weights", 7);
    weft_store_close(store);
    test_dir_done(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_open__migrates_from_every_earlier_version),
        cmocka_unit_test(test_store_secure__rows_come_back_in_order_until_the_session_is_over),
        cmocka_unit_test(test_store_secure__one_below_at_and_above_the_limit),
        cmocka_unit_test(test_store_open__refuses_newer_foreign_and_damaged_files),
        cmocka_unit_test(test_store_check__counts_zeros_that_are_not_there),
        cmocka_unit_test(test_store_check__finds_what_is_wrong),
        cmocka_unit_test(test_store_backup__opens_and_holds_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
