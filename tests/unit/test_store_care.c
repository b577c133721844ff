/* SPDX-License-Identifier: Apache-2.0 */
/* Care of a data directory: epochs of restored ones, and what crashes left behind. */
#include "store_fixture.h"

#include "base/file.h"
#include "store/schema_priv.h"
#include "store/store_priv.h"

#include <stdio.h>
#include <string.h>

/* Jobs up to 3, whose round 1 is open; assignment 7 has its update, 8 lost its lease. */
static char *make_dir(void)
{
    char *dir = test_dir_new();
    weft_store_close(open_store(dir));
    exec_on(
        dir, "weft.db",
        "INSERT INTO job (job_id, name, dataset, definition, status, reason, round, rounds_done,"
        " attempts, retry_at_ms, version, model_bytes, evals_since_best, best,"
        " created_unix_ms, changed_unix_ms) VALUES (3, 'a', 'd', x'6465', 1, '', 1, 0, 0, 0, NULL, "
        "4, 0, NULL, 5,"
        " 6);"
        "INSERT INTO round (job_id, round, attempt, state, reason, base, eligible, cohort,"
        " accepted, n_examples, deadline_ms, opened_unix_ms, closed_unix_ms, bytes_up,"
        " changed_unix_ms) VALUES (3, 1, 1, 1, '', zeroblob(32), 2, 2, 1, 9, 9, 1, 0, 4, 6);"
        "INSERT INTO assignment VALUES (7, 3, 1, 1, 'c', 1, 2, 0, '', 0, zeroblob(32), 9, 4, 6,"
        " 6);"
        "INSERT INTO assignment VALUES (8, 3, 1, 1, 'e', 1, 4, 0, '', 0, NULL, 0, 0, 0, 6);"
        "INSERT INTO version (digest, job_id, round, bytes, created_unix_ms)"
        " VALUES (zeroblob(32), 3, 0, 4, 6)");
    exec_on(dir, "models.db",
            "INSERT INTO model (model_id, digest, bytes, created_unix_ms)"
            " VALUES (1, zeroblob(32), 4, 6)");
    return dir;
}

static void check_next(const char *dir, uint64_t job_id, uint64_t assignment_id)
{
    uint64_t next_job = 0;
    uint64_t next_assignment = 0;
    weft_store *store = open_store(dir);
    assert_ok(weft_store_next_ids(store, &next_job, &next_assignment, &assert_err));
    weft_store_close(store);
    assert_int_equal(next_job, job_id);
    assert_int_equal(next_assignment, assignment_id);
}

static void test_begin_epoch__gives_ids_that_nobody_has_seen(void **state)
{
    (void)state;
    char *dir = make_dir();
    check_next(dir, 4, 9);
    assert_ok(weft_store_begin_epoch(dir, T0, &weft_alloc_std, &assert_err));
    check_next(dir, 4 + WEFT_STORE_EPOCH_JOBS, 9 + WEFT_STORE_EPOCH_ASSIGNMENTS);
    assert_ok(weft_store_begin_epoch(dir, T0, &weft_alloc_std, &assert_err)); /* restored again */
    check_next(dir, 4 + 2 * WEFT_STORE_EPOCH_JOBS, 9 + 2 * WEFT_STORE_EPOCH_ASSIGNMENTS);
    test_dir_done(dir);
}

static void test_begin_epoch__refuses_a_directory_in_use_and_none(void **state)
{
    (void)state;
    char *dir = make_dir();
    weft_store *store = open_store(dir);
    assert_int_equal(weft_store_begin_epoch(dir, T0, &weft_alloc_std, NULL), WEFT_E_CONFLICT);
    weft_store_close(store);
    check_next(dir, 4, 9);
    test_dir_done(dir);
    dir = test_dir_new();
    assert_int_equal(weft_store_begin_epoch(dir, T0, &weft_alloc_std, NULL), WEFT_E_NOTFOUND);
    test_dir_done(dir);
}

static void put_file(const char *dir, const char *name)
{
    char path[600];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name); /* fits: short */
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
}

static void test_count_orphans__tells_left_over_from_needed(void **state)
{
    (void)state;
    char *dir = make_dir();
    char spool[512];
    weft_store_orphans o = {9, 9};
    weft_store *store = open_store(dir); /* beside its owner */
    assert_ok(weft_store_count_orphans(&o, dir, &weft_alloc_std, &assert_err)); /* no spool yet */
    assert_true(o.models == 0 && o.uploads == 0);
    (void)snprintf(spool, sizeof spool, "%s/spool", dir);
    assert_ok(weft_dir_make(spool, 0700, &assert_err));
    put_file(spool, "7.upd"); /* waits for its round */
    put_file(spool, "boot");  /* the spool's own */
    assert_ok(weft_store_count_orphans(&o, dir, &weft_alloc_std, &assert_err));
    assert_true(o.models == 0 && o.uploads == 0);
    put_file(spool, "8.part"); /* of a lease that is over */
    put_file(spool, "99.upd"); /* of nobody */
    exec_on(dir, "models.db",
            "INSERT INTO model (digest, bytes, created_unix_ms) VALUES (NULL, 4, 6);"
            "INSERT INTO model (digest, bytes, created_unix_ms) VALUES (randomblob(32), 4, 6)");
    assert_ok(weft_store_count_orphans(&o, dir, &weft_alloc_std, &assert_err));
    assert_int_equal(o.models, 2);
    assert_int_equal(o.uploads, 2);
    weft_store_close(store);
    test_dir_done(dir);
    dir = test_dir_new();
    assert_int_equal(weft_store_count_orphans(&o, dir, &weft_alloc_std, NULL), WEFT_E_NOTFOUND);
    test_dir_done(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begin_epoch__gives_ids_that_nobody_has_seen),
        cmocka_unit_test(test_begin_epoch__refuses_a_directory_in_use_and_none),
        cmocka_unit_test(test_count_orphans__tells_left_over_from_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
