/* SPDX-License-Identifier: Apache-2.0 */
/* store: the data directory, batches, rows and histories, migrations, check and backup. */
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

/* ---- the directory --------------------------------------------------------------------------- */

static void test_store_open__makes_a_directory_that_opens_again(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char path[512];
    (void)snprintf(path, sizeof path, "%s/deep/data", dir);
    weft_store *store = open_store(path);
    assert_string_equal(weft_store_dir(store), path);
    assert_int_equal(weft_store_logical_ms(store), 0);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_commit(store, 12345, &assert_err));
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_commit(store, 17, &assert_err)); /* the clock never runs backwards */
    weft_store_close(store);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    store = open_store(path);
    assert_int_equal(weft_store_logical_ms(store), 12345);
    weft_store_close(store);
    test_dir_done(dir);
}

static void test_store_open__must_exist(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    options.must_exist = true;
    weft_store *store = NULL;
    assert_int_equal(weft_store_open(&store, dir, &options, &weft_alloc_std, NULL),
                     WEFT_E_NOTFOUND);
    assert_null(store);
    test_dir_done(dir);
}

static void test_store_open__refuses_a_second_process(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
        weft_store *second = NULL;
        weft_err err = WEFT_ERR_INIT;
        const weft_status status = weft_store_open(&second, dir, &options, &weft_alloc_std, &err);
        _exit(status == WEFT_E_CONFLICT && strstr(err.msg, "is in use by process") ? 42 : 1);
    }
    int end = 0;
    assert_int_equal(waitpid(child, &end, 0), child);
    assert_true(WIFEXITED(end));
    assert_int_equal(WEXITSTATUS(end), 42);
    /* in this process, too */
    weft_err err = WEFT_ERR_INIT;
    weft_store *second = NULL;
    const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    assert_int_equal(weft_store_open(&second, dir, &options, &weft_alloc_std, &err),
                     WEFT_E_CONFLICT);
    char want[64];
    (void)snprintf(want, sizeof want, "is in use by process %ld:", (long)getpid());
    assert_non_null(strstr(err.msg, want));
    weft_store_close(store);
    store = open_store(dir);
    weft_store_close(store);
    test_dir_done(dir);
}

/* Beside the one who holds the directory, who goes on writing. */
static void test_store_open__to_read_only(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    weft_store *store = NULL;
    options.read_only = true;
    assert_int_equal(weft_store_open(&store, dir, &options, &weft_alloc_std, NULL),
                     WEFT_E_NOTFOUND); /* nothing is made */
    weft_store *holder = open_store(dir);
    assert_ok(weft_store_open(&store, dir, &options, &weft_alloc_std, &assert_err));
    weft_job_def def = def_of("digits");
    const weft_job_row job = job_of(1, &def);
    assert_ok(weft_store_begin(holder, T0, &assert_err));
    assert_ok(weft_store_put_job(holder, &job, "def", 3, &assert_err));
    assert_ok(weft_store_commit(holder, 1, &assert_err));
    seen s = {0};
    assert_ok(weft_store_job_by_name(store, "digits", see_job, &s, &assert_err));
    assert_int_equal(s.n, 1);
    weft_status status = weft_store_begin(store, T0, NULL);
    if (status == WEFT_OK) {
        status = weft_store_put_job(store, &job, "def", 3, NULL);
    }
    assert_int_not_equal(status, WEFT_OK);
    weft_store_close(store);
    weft_store_close(holder);
    exec_on(dir, "weft.db", "PRAGMA user_version=8"); /* an older one is left as it is */
    assert_int_equal(weft_store_open(&store, dir, &options, &weft_alloc_std, NULL), WEFT_E_STATE);
    test_dir_done(dir);
}

static weft_status open_and_close(const weft_alloc *a, void *arg)
{
    const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    weft_store *store = NULL;
    const weft_status status = weft_store_open(&store, arg, &options, a, NULL);
    weft_store_close(store);
    return status;
}

static void test_store_open__every_allocation_may_fail(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    test_every_allocation_may_fail(open_and_close, dir);
    test_dir_done(dir);
}

/* ---- batches --------------------------------------------------------------------------------- */

static void test_store_put__needs_a_batch(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    const weft_job_def def = def_of("a");
    const weft_job_row job = job_of(1, &def);
    assert_int_equal(weft_store_put_job(store, &job, "d", 1, NULL), WEFT_E_STATE);
    assert_int_equal(weft_store_commit(store, 1, NULL), WEFT_E_STATE);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_int_equal(weft_store_begin(store, T0, NULL), WEFT_E_STATE);
    weft_store_rollback(store);
    weft_store_rollback(store); /* again is harmless */
    weft_store_close(store);
    test_dir_done(dir);
}

static void test_store_rollback__leaves_nothing(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    const weft_job_def def = def_of("a");
    const weft_job_row job = job_of(1, &def);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_put_job(store, &job, "d", 1, &assert_err));
    weft_store_rollback(store);
    seen s = {0};
    assert_ok(weft_store_restore_jobs(store, see_job, &s, &assert_err));
    assert_int_equal(s.n, 0);
    /* closing in a batch rolls it back, too */
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_put_job(store, &job, "d", 1, &assert_err));
    weft_store_close(store);
    store = open_store(dir);
    assert_ok(weft_store_restore_jobs(store, see_job, &s, &assert_err));
    assert_int_equal(s.n, 0);
    weft_store_close(store);
    test_dir_done(dir);
}

static void test_store_commit__refuses_a_batch_that_failed(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    const weft_job_def def = def_of("a");
    weft_job_row job = job_of(1, &def);
    assert_ok(weft_store_put_job(store, &job, "d", 1, &assert_err));
    job.status = (weft_job_status)9; /* the schema's check */
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_store_put_job(store, &job, NULL, 0, &err), WEFT_E_DB);
    assert_non_null(strstr(err.msg, "CHECK constraint failed"));
    job.status = WEFT_JOB_RUNNING;
    assert_int_equal(weft_store_put_job(store, &job, NULL, 0, NULL), WEFT_E_STATE);
    assert_int_equal(weft_store_commit(store, 1, NULL), WEFT_E_STATE);
    seen s = {0};
    assert_ok(weft_store_restore_jobs(store, see_job, &s, &assert_err));
    assert_int_equal(s.n, 0);
    /* an orphan row fails the commit, whatever the order of the rows was */
    const weft_round_row orphan = round_of(7, 1, 1);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_put_round(store, &orphan, &assert_err));
    assert_int_equal(weft_store_commit(store, 1, NULL), WEFT_E_DB);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_commit(store, 1, &assert_err));
    weft_store_close(store);
    test_dir_done(dir);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void test_store_put_job__round_trips_and_keeps_its_history(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    const weft_job_def def = def_of("digits-cnn");
    weft_job_row job = job_of(3, &def);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_int_equal(weft_store_put_job(store, &job, NULL, 0, NULL), WEFT_E_NOTFOUND);
    assert_ok(weft_store_put_job(store, &job, "definition", 10, &assert_err));
    assert_ok(weft_store_commit(store, 1, &assert_err));
    job.status = WEFT_JOB_PAUSED;
    (void)snprintf(job.reason, sizeof job.reason, "round 2 failed 5 times");
    job.round = 2;
    job.rounds_done = 1;
    job.attempts = 5;
    job.retry_at_ms = UINT64_MAX;
    job.has_version = true;
    memset(job.version, 0xab, sizeof job.version);
    job.model_bytes = UINT64_C(1) << 33;
    job.evals_since_best = 4;
    job.has_best = true;
    job.best = 0.1; /* not a binary fraction: doubles must come back to the bit */
    assert_ok(weft_store_begin(store, T0 + 5, &assert_err));
    assert_ok(weft_store_put_job(store, &job, NULL, 0, &assert_err));
    job.rounds_done = 1; /* no change of status: no history */
    assert_ok(weft_store_put_job(store, &job, NULL, 0, &assert_err));
    assert_ok(weft_store_commit(store, 2, &assert_err));
    weft_store_close(store);

    store = open_store(dir);
    seen s = {0};
    assert_ok(weft_store_job_by_name(store, "digits-cnn", see_job, &s, &assert_err));
    assert_int_equal(s.n, 1);
    assert_string_equal(s.definition, "definition");
    job.def = NULL;
    assert_memory_equal(&s.job.version, &job.version, sizeof job.version);
    assert_true(s.job.best == job.best && s.job.has_best && s.job.retry_at_ms == UINT64_MAX);
    assert_true(s.job.model_bytes == job.model_bytes && s.job.status == WEFT_JOB_PAUSED);
    assert_string_equal(s.job.reason, job.reason);
    assert_true(s.job.round == 2 && s.job.rounds_done == 1 && s.job.attempts == 5);
    assert_true(s.job.evals_since_best == 4 && s.job.created_unix_ms == T0);
    assert_int_equal(weft_store_job_by_id(store, 4, see_job, &s, NULL), WEFT_E_NOTFOUND);
    assert_int_equal(weft_store_job_by_name(store, "other", see_job, &s, NULL), WEFT_E_NOTFOUND);
    s.n = 0;
    assert_ok(weft_store_job_history(store, 3, see_change, &s, &assert_err));
    assert_int_equal(s.n, 2);
    assert_true(s.change[0].status == WEFT_JOB_RUNNING && s.change[0].unix_ms == T0);
    assert_true(s.change[1].status == WEFT_JOB_PAUSED && s.change[1].unix_ms == T0 + 5);
    assert_string_equal(s.reasons[1], "round 2 failed 5 times");
    weft_store_close(store);
    test_dir_done(dir);
}

static void test_store_put_job__names_stay_taken_and_definitions_have_a_limit(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    static char big[WEFT_STORE_MAX_DEFINITION_BYTES + 1];
    const weft_job_def def = def_of("a");
    const weft_job_row job = job_of(1, &def);
    const weft_job_row same_name = job_of(2, &def);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_int_equal(weft_store_put_job(store, &job, big, sizeof big, NULL), WEFT_E_LIMIT);
    assert_ok(weft_store_put_job(store, &job, big, sizeof big - 1, &assert_err));
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_store_put_job(store, &same_name, "d", 1, &err), WEFT_E_CONFLICT);
    assert_string_equal(err.msg, "a job named a exists already: choose another name");
    assert_ok(weft_store_commit(store, 1, &assert_err)); /* a refusal does not spoil the batch */
    weft_store_close(store);
    test_dir_done(dir);
}

/* One job, one round of two assignments; the first accepted. */
static void put_round_with_updates(weft_store *store, const weft_job_row *job, uint32_t round_no)
{
    const char *const clients[] = {"clinic-a", "clinic-b", "clinic-c"};
    weft_round_row round = round_of(job->job_id, round_no, 1);
    weft_assignment_row a = assignment_of(10, &round, "clinic-a");
    const weft_assignment_row b = assignment_of(11, &round, "clinic-b");
    const weft_eligible_row eligible = {job->job_id, round_no, 1, 3, clients};
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_put_assignment(store, &a, &assert_err)); /* before its round */
    assert_ok(weft_store_put_assignment(store, &b, &assert_err));
    assert_ok(weft_store_put_round(store, &round, &assert_err));
    assert_ok(weft_store_put_eligible(store, &eligible, &assert_err));
    assert_ok(weft_store_put_job(store, job, "d", 1, &assert_err));
    assert_ok(weft_store_commit(store, 1, &assert_err));
    a.state = WEFT_ASSIGNMENT_ACCEPTED;
    memset(a.update_digest, 7, sizeof a.update_digest);
    a.n_examples = 600;
    a.bytes = 1000;
    a.accepted_unix_ms = T0 + 9;
    a.metrics.n = 2;
    a.metrics.item[0] = (weft_metric){"loss", 2.25};
    a.metrics.item[1] = (weft_metric){"accuracy", 0.1};
    round.accepted = 1;
    round.n_examples = 600;
    round.bytes_up = 1000;
    round.bytes_down = 1200;
    round.train = a.metrics;
    assert_ok(weft_store_begin(store, T0 + 9, &assert_err));
    assert_ok(weft_store_put_assignment(store, &a, &assert_err));
    assert_ok(weft_store_put_round(store, &round, &assert_err));
    assert_ok(weft_store_commit(store, 2, &assert_err));
}

static void test_store_restore__hands_back_the_open_round(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    const weft_job_def def = def_of("a");
    const weft_job_row job = job_of(1, &def);
    put_round_with_updates(store, &job, 1);
    weft_store_close(store);
    store = open_store(dir);
    seen s = {0};
    assert_ok(weft_store_restore_rounds(store, see_round, &s, &assert_err));
    assert_int_equal(s.n, 1);
    assert_true(s.round.state == WEFT_ROUND_TRAINING && s.round.n_examples == 600);
    assert_true(s.round.bytes_up == 1000 && s.round.bytes_down == 1200);
    assert_int_equal(s.round.train.n, 2);
    assert_string_equal(s.round.train.item[0].name, "loss"); /* in their order */
    assert_true(s.round.train.item[0].value == 2.25 && s.round.train.item[1].value == 0.1);
    assert_int_equal(s.round.federated.n, 0);
    s.n = 0;
    assert_ok(weft_store_restore_assignments(store, see_assignment, &s, &assert_err));
    assert_int_equal(s.n, 2);
    assert_int_equal(s.assignment[0].assignment_id, 10);
    assert_int_equal(s.assignment[0].state, WEFT_ASSIGNMENT_ACCEPTED);
    assert_int_equal(s.assignment[0].update_digest[31], 7);
    assert_int_equal(s.assignment[0].metrics.n, 2);
    assert_string_equal(s.assignment[1].client, "clinic-b");
    assert_int_equal(s.assignment[1].metrics.n, 0);
    uint64_t next_job = 0;
    uint64_t next_assignment = 0;
    assert_ok(weft_store_next_ids(store, &next_job, &next_assignment, &assert_err));
    assert_true(next_job == 2 && next_assignment == 12);
    bool wanted = false;
    assert_ok(weft_store_wants_upload(store, 10, &wanted, &assert_err));
    assert_true(wanted);
    assert_ok(weft_store_wants_upload(store, 11, &wanted, &assert_err));
    assert_true(wanted);
    assert_ok(weft_store_wants_upload(store, 12, &wanted, &assert_err));
    assert_false(wanted);
    /* once the round has ended nothing is restored, and no upload is wanted */
    weft_round_row round = round_of(1, 1, 1);
    round.state = WEFT_ROUND_FAILED;
    (void)snprintf(round.reason, sizeof round.reason, "1 of 2 updates at the deadline");
    assert_ok(weft_store_begin(store, T0 + 20, &assert_err));
    assert_ok(weft_store_put_round(store, &round, &assert_err));
    assert_ok(weft_store_commit(store, 3, &assert_err));
    s.n = 0;
    assert_ok(weft_store_restore_rounds(store, see_round, &s, &assert_err));
    assert_ok(weft_store_restore_assignments(store, see_assignment, &s, &assert_err));
    assert_int_equal(s.n, 0);
    assert_ok(weft_store_wants_upload(store, 10, &wanted, &assert_err));
    assert_false(wanted);
    weft_store_close(store);
    test_dir_done(dir);
}

static void test_store_histories__are_kept_and_append_only(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    const weft_job_def def = def_of("a");
    const weft_job_row job = job_of(1, &def);
    put_round_with_updates(store, &job, 1);
    seen s = {0};
    assert_ok(weft_store_assignment_history(store, 10, see_change, &s, &assert_err));
    assert_int_equal(s.n, 2);
    assert_true(s.change[0].status == WEFT_ASSIGNMENT_OPEN &&
                s.change[1].status == WEFT_ASSIGNMENT_ACCEPTED && s.change[1].unix_ms == T0 + 9);
    s.n = 0;
    assert_ok(weft_store_round_history(store, 1, 1, 1, see_change, &s, &assert_err));
    assert_int_equal(s.n, 1); /* counts changed, the state did not */
    weft_store_close(store);
    /* not even by hand */
    char path[512];
    (void)snprintf(path, sizeof path, "%s/weft.db", dir);
    const weft_db_options options = {"weft.db", NULL, 4096, 100, false};
    weft_db db;
    assert_ok(weft_db_open(&db, path, &options, &assert_err));
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_db_exec(&db, "DELETE FROM assignment_history", &err), WEFT_E_DB);
    assert_non_null(strstr(err.msg, "histories are append-only"));
    assert_int_equal(weft_db_exec(&db, "UPDATE job_history SET status = 1", NULL), WEFT_E_DB);
    assert_int_equal(weft_db_exec(&db, "UPDATE job SET definition = x'00'", NULL), WEFT_E_DB);
    weft_db_close(&db);
    test_dir_done(dir);
}

static weft_status join_name(void *arg, const char *name, weft_err *err)
{
    return weft_buf_addf(arg, err, "%s ", name);
}

static void test_store_eligible__keeps_names_and_order(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    const weft_job_def def = def_of("a");
    const weft_job_row job = job_of(1, &def);
    put_round_with_updates(store, &job, 1);
    weft_buf names;
    weft_buf_init(&names, &weft_alloc_std, 256);
    assert_ok(weft_store_eligible(store, 1, 1, 1, join_name, &names, &assert_err));
    assert_string_equal(weft_buf_text(&names), "clinic-a clinic-b clinic-c ");
    weft_buf_done(&names);
    assert_int_equal(weft_store_eligible(store, 1, 2, 1, join_name, &names, NULL), WEFT_E_NOTFOUND);
    const char *const bad[] = {"a\nb"};
    const weft_eligible_row row = {1, 1, 1, 1, bad};
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_int_equal(weft_store_put_eligible(store, &row, NULL), WEFT_E_INVALID);
    weft_store_rollback(store);
    weft_store_close(store);
    test_dir_done(dir);
}

static void test_store_rounds__pages_are_whole_rounds(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    const weft_job_def def = def_of("a");
    const weft_job_row job = job_of(1, &def);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_put_job(store, &job, "d", 1, &assert_err));
    for (uint32_t round = 1; round <= 4; round++) {
        for (uint32_t attempt = 1; attempt <= (round == 2 ? 3U : 1U); attempt++) {
            weft_round_row row = round_of(1, round, attempt);
            row.state = WEFT_ROUND_DONE;
            assert_ok(weft_store_put_round(store, &row, &assert_err));
        }
    }
    assert_ok(weft_store_commit(store, 1, &assert_err));
    seen s = {0};
    assert_ok(weft_store_rounds(store, 1, 0, 0, see_round, &s, &assert_err));
    assert_int_equal(s.n, 6);
    s.n = 0;
    assert_ok(weft_store_rounds(store, 1, 0, 2, see_round, &s, &assert_err));
    const uint32_t first[] = {11, 21, 22, 23}; /* the page ends inside round 2: all of it */
    assert_int_equal(s.n, 4);
    assert_memory_equal(s.rounds, first, sizeof first);
    s.n = 0;
    assert_ok(weft_store_rounds(store, 1, 2, 2, see_round, &s, &assert_err));
    const uint32_t second[] = {31, 41};
    assert_int_equal(s.n, 2);
    assert_memory_equal(s.rounds, second, sizeof second);
    s.n = 0;
    assert_ok(weft_store_rounds(store, 1, 4, 2, see_round, &s, &assert_err));
    assert_int_equal(s.n, 0);
    assert_ok(weft_store_round(store, 1, 2, 0, see_round, &s, &assert_err));
    assert_int_equal(s.round.attempt, 3);
    assert_ok(weft_store_round(store, 1, 2, 1, see_round, &s, &assert_err));
    assert_int_equal(s.round.attempt, 1);
    assert_int_equal(weft_store_round(store, 1, 2, 4, see_round, &s, NULL), WEFT_E_NOTFOUND);
    weft_store_close(store);
    test_dir_done(dir);
}

static weft_status ask_again(void *arg, weft_job_row *row, weft_view definition, weft_err *err)
{
    (void)definition;
    weft_store *store = arg;
    static int depth = 0;
    if (row->job_id == 1 && depth++ == 0) {
        return weft_store_restore_jobs(store, ask_again, store, err);
    }
    return row->job_id == 2 ? WEFT_E_CANCELED : WEFT_OK;
}

static void test_store_callbacks__may_ask_the_same_and_may_stop(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    const weft_job_def a = def_of("a");
    const weft_job_def b = def_of("b");
    const weft_job_row job_a = job_of(1, &a);
    const weft_job_row job_b = job_of(2, &b);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_put_job(store, &job_a, "d", 1, &assert_err));
    assert_ok(weft_store_put_job(store, &job_b, "d", 1, &assert_err));
    assert_ok(weft_store_commit(store, 1, &assert_err));
    assert_int_equal(weft_store_restore_jobs(store, ask_again, store, NULL), WEFT_E_CANCELED);
    weft_store_close(store);
    test_dir_done(dir);
}

/* ---- versions -------------------------------------------------------------------------------- */

static void put_versions(weft_store *store)
{
    const weft_job_def def = def_of("a");
    weft_job_row job = job_of(1, &def);
    weft_round_row round = round_of(1, 1, 2);
    weft_version_row initial = version_of(1, 0, 0x10);
    weft_version_row first = version_of(1, 1, 0x11);
    weft_version_row imported = version_of(0, 0, 0x10); /* the same bytes, imported */
    first.has_parent = true;
    memcpy(first.parent, initial.digest, sizeof first.parent);
    job.has_version = true;
    memcpy(job.version, first.digest, sizeof job.version);
    round.state = WEFT_ROUND_DONE;
    round.has_version = true;
    memcpy(round.version, first.digest, sizeof round.version);
    round.central.n = 1;
    round.central.item[0] = (weft_metric){"accuracy", 0.93};
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_put_version(store, &imported, &assert_err));
    assert_ok(weft_store_put_version(store, &initial, &assert_err));
    assert_ok(weft_store_put_version(store, &initial, &assert_err)); /* again: nothing new */
    assert_ok(weft_store_put_version(store, &first, &assert_err));
    assert_ok(weft_store_put_round(store, &round, &assert_err));
    assert_ok(weft_store_put_job(store, &job, "d", 1, &assert_err));
    assert_ok(weft_store_commit(store, 1, &assert_err));
}

static void test_store_versions__by_job_round_digest_and_prefix(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    put_versions(store);
    seen s = {0};
    assert_ok(weft_store_versions(store, 0, 0, see_version, &s, &assert_err));
    assert_int_equal(s.n, 3);
    assert_true(s.version[0].current && !s.version[1].current && !s.version[2].current);
    assert_string_equal(s.job_name[0], "a");
    assert_string_equal(s.job_name[2], "");
    assert_int_equal(s.version[0].central.n, 1);
    assert_true(s.version[0].central.item[0].value == 0.93);
    assert_true(s.version[0].row.has_parent && !s.version[1].row.has_parent);
    s.n = 0;
    assert_ok(weft_store_versions(store, 1, 1, see_version, &s, &assert_err));
    assert_int_equal(s.n, 1);
    s.n = 0;
    assert_ok(weft_store_version_of_round(store, 1, 0, see_version, &s, &assert_err));
    assert_int_equal(s.version[0].row.digest[0], 0x10);
    assert_int_equal(weft_store_version_of_round(store, 1, 2, see_version, &s, NULL),
                     WEFT_E_NOTFOUND);
    uint8_t digest[WEFT_DIGEST_BYTES];
    assert_ok(weft_store_version_by_prefix(store, "1111", digest, &assert_err));
    assert_int_equal(digest[31], 0x11);
    assert_ok(weft_store_version_by_prefix(store, "10101", digest, &assert_err));
    assert_int_equal(digest[31], 0x10);
    assert_int_equal(weft_store_version_by_prefix(store, "111", digest, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_store_version_by_prefix(store, "11xx", digest, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_store_version_by_prefix(store, "2222", digest, NULL), WEFT_E_NOTFOUND);
    weft_version_row near = version_of(1, 2, 0x11);
    near.digest[31] = 0;
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_ok(weft_store_put_version(store, &near, &assert_err));
    assert_ok(weft_store_commit(store, 1, &assert_err));
    assert_int_equal(weft_store_version_by_prefix(store, "1111", digest, NULL), WEFT_E_CONFLICT);
    char whole[2 * WEFT_DIGEST_BYTES + 1];
    weft_hex_encode(whole, near.digest, sizeof near.digest);
    assert_ok(weft_store_version_by_prefix(store, whole, digest, &assert_err));
    assert_memory_equal(digest, near.digest, sizeof digest);
    weft_store_close(store);
    test_dir_done(dir);
}

static weft_status count_release(void *arg, const weft_store_release *release, weft_err *err)
{
    (void)err;
    uint32_t *n = arg;
    assert_string_equal(release->name, "stable");
    *n += 1;
    return WEFT_OK;
}

static weft_status see_rollback(void *arg, const weft_store_rollback_row *row, weft_err *err)
{
    (void)err;
    *(weft_store_rollback_row *)arg = *row;
    return WEFT_OK;
}

static void test_store_releases__a_name_moves_and_stays_on_record(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    put_versions(store);
    const weft_version_row initial = version_of(1, 0, 0x10);
    const weft_version_row first = version_of(1, 1, 0x11);
    const weft_version_row unknown = version_of(1, 1, 0x12);
    uint8_t digest[WEFT_DIGEST_BYTES];
    assert_int_equal(weft_store_release_by_name(store, "stable", digest, NULL), WEFT_E_NOTFOUND);
    assert_int_equal(weft_store_release_of_job(store, 1, digest, NULL), WEFT_E_NOTFOUND);
    assert_ok(weft_store_begin(store, T0, &assert_err));
    assert_int_equal(weft_store_put_release(store, "stable", 1, unknown.digest, NULL),
                     WEFT_E_NOTFOUND);
    assert_int_equal(weft_store_put_release(store, "no/name", 1, first.digest, NULL),
                     WEFT_E_INVALID);
    assert_ok(weft_store_put_release(store, "stable", 1, first.digest, &assert_err));
    assert_ok(weft_store_commit(store, 1, &assert_err));
    seen s = {0};
    assert_ok(weft_store_version_by_digest(store, first.digest, see_version, &s, &assert_err));
    assert_true(s.version[0].released);
    assert_string_equal(s.release[0], "stable");
    assert_ok(weft_store_begin(store, T0 + 1, &assert_err));
    assert_ok(weft_store_put_release(store, "stable", 1, initial.digest, &assert_err));
    const weft_store_rollback_row rollback = {1, 2, {1}, {2}, 0};
    assert_ok(weft_store_put_rollback(store, &rollback, &assert_err));
    assert_ok(weft_store_commit(store, 1, &assert_err));
    assert_ok(weft_store_release_by_name(store, "stable", digest, &assert_err));
    assert_memory_equal(digest, initial.digest, sizeof digest);
    assert_ok(weft_store_release_of_job(store, 1, digest, &assert_err));
    assert_memory_equal(digest, initial.digest, sizeof digest);
    s.n = 0;
    assert_ok(weft_store_version_by_digest(store, first.digest, see_version, &s, &assert_err));
    assert_false(s.version[0].released); /* the name has moved on */
    uint32_t n = 0;
    assert_ok(weft_store_each_release(store, count_release, &n, &assert_err));
    assert_int_equal(n, 2);
    weft_store_rollback_row got = {0};
    assert_ok(weft_store_rollbacks(store, 1, see_rollback, &got, &assert_err));
    assert_true(got.round == 2 && got.from[0] == 1 && got.to[0] == 2 && got.unix_ms == T0 + 1);
    weft_store_close(store);
    test_dir_done(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_open__makes_a_directory_that_opens_again),
        cmocka_unit_test(test_store_open__must_exist),
        cmocka_unit_test(test_store_open__refuses_a_second_process),
        cmocka_unit_test(test_store_open__to_read_only),
        cmocka_unit_test(test_store_open__every_allocation_may_fail),
        cmocka_unit_test(test_store_put__needs_a_batch),
        cmocka_unit_test(test_store_rollback__leaves_nothing),
        cmocka_unit_test(test_store_commit__refuses_a_batch_that_failed),
        cmocka_unit_test(test_store_put_job__round_trips_and_keeps_its_history),
        cmocka_unit_test(test_store_put_job__names_stay_taken_and_definitions_have_a_limit),
        cmocka_unit_test(test_store_restore__hands_back_the_open_round),
        cmocka_unit_test(test_store_histories__are_kept_and_append_only),
        cmocka_unit_test(test_store_eligible__keeps_names_and_order),
        cmocka_unit_test(test_store_rounds__pages_are_whole_rounds),
        cmocka_unit_test(test_store_callbacks__may_ask_the_same_and_may_stop),
        cmocka_unit_test(test_store_versions__by_job_round_digest_and_prefix),
        cmocka_unit_test(test_store_releases__a_name_moves_and_stays_on_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
