/* SPDX-License-Identifier: Apache-2.0 */
/* client outbox: what it keeps survives, who may open it, history, keys, bad databases. */
#include "support/support.h"

#include "base/file.h"
#include "crypto/hash.h"
#include "files.h"
#include "outbox.h"
#include "wire/wire.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct fixture {
    char *dir;
    char path[4096];
    weft_outbox *o;
} fixture;

static void begin(fixture *f)
{
    f->dir = test_dir_new();
    f->o = NULL;
    assert_ok(weft_path_join(f->path, sizeof f->path, f->dir, "state", &assert_err));
    assert_ok(weft_outbox_open(&f->o, f->path, false, &weft_alloc_std, &assert_err));
}

static void reopen(fixture *f)
{
    weft_outbox_free(f->o);
    f->o = NULL;
    assert_ok(weft_outbox_open(&f->o, f->path, false, &weft_alloc_std, &assert_err));
}

static void end(fixture *f)
{
    weft_outbox_free(f->o);
    test_dir_done(f->dir);
}

static weft_session_assignment assignment(void)
{
    weft_session_assignment a = {.assignment_id = UINT64_MAX - 3,
                                 .job = "mnist",
                                 .job_id = 12,
                                 .round = 3,
                                 .attempt = 2,
                                 .task = WEFT_TASK_TRAIN,
                                 .dataset = "digits",
                                 .model_spec = "tensor w 4",
                                 .data_schema = "column a numeric",
                                 .plan = WEFT_PLAN_INIT,
                                 .base_bytes = 16,
                                 .clip_norm = 12.5,
                                 .max_examples = 1000,
                                 .deadline_ms = 60000,
                                 .lease_ms = 3000,
                                 .cohort = 8,
                                 .encoding = "f32"};
    memset(a.base_digest, 0xAB, sizeof a.base_digest);
    a.plan.learning_rate = 0.125;
    a.plan.seed = UINT64_MAX;
    return a;
}

static weft_session_update update(void)
{
    weft_session_update u = {.total_bytes = 4, .n_examples = 17};
    assert_ok(weft_sha256(u.digest, "abcd", 4, &assert_err));
    assert_ok(weft_metrics_set(&u.metrics, "loss", 0.1, &assert_err));
    assert_ok(weft_metrics_set(&u.metrics, "accuracy", 1.0 / 3.0, &assert_err));
    return u;
}

static void put_update_file(const fixture *f, uint64_t id)
{
    weft_update_file file;
    assert_ok(weft_update_file_begin(&file, f->path, id, 4, &assert_err));
    assert_ok(weft_update_file_write(&file, (const uint8_t *)"abcd", 4, &assert_err));
    assert_ok(weft_update_file_commit(&file, true, &assert_err));
}

/* WEFT_E_NOTFOUND or the record; its texts are compared in here. */
static weft_status load(const fixture *f, weft_session_record *r)
{
    weft_arena arena;
    weft_buf secure;
    weft_wire_arena_init(&arena, WEFT_MSG_ASSIGNMENT, &weft_alloc_std);
    weft_buf_init(&secure, &weft_alloc_std, 4096);
    const weft_status status = weft_outbox_load_record(f->o, r, &arena, &secure, NULL);
    if (status == WEFT_OK) {
        assert_string_equal(r->assignment.model_spec, "tensor w 4");
        assert_string_equal(r->assignment.data_schema, "column a numeric");
    }
    weft_arena_done(&arena);
    assert_int_equal(secure.size, 0);
    weft_buf_done(&secure);
    return status;
}

/* ---- opening -------------------------------------------------------------------------------- */

static void test_open__makes_a_private_folder_for_one_process(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    struct stat st;
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    weft_outbox *second = NULL;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_outbox_open(&second, f.path, false, &weft_alloc_std, &err),
                     WEFT_E_CONFLICT);
    assert_null(second);
    weft_outbox_free(f.o); /* gives the lock back */
    assert_ok(weft_outbox_open(&f.o, f.path, false, &weft_alloc_std, &assert_err));
    end(&f);
}

static void test_open__observers_look_on_while_another_works(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_outbox *look = NULL;
    const weft_session_assignment a = assignment();
    assert_ok(weft_outbox_open(&look, f.path, true, &weft_alloc_std, &assert_err));
    assert_ok(weft_outbox_keep_assignment(f.o, &a, 5, &assert_err));
    weft_session_record r;
    weft_arena arena;
    weft_buf secure;
    weft_wire_arena_init(&arena, WEFT_MSG_ASSIGNMENT, &weft_alloc_std);
    weft_buf_init(&secure, &weft_alloc_std, 4096);
    assert_ok(weft_outbox_load_record(look, &r, &arena, &secure, &assert_err));
    weft_arena_done(&arena);
    weft_buf_done(&secure);
    assert_int_equal(weft_outbox_keep_assignment(look, &a, 5, NULL), WEFT_E_DB); /* read-only */
    weft_outbox_free(look);
    end(&f);
    assert_int_equal(weft_outbox_open(&look, "/nonexistent/x", true, &weft_alloc_std, NULL),
                     WEFT_E_NOTFOUND);
}

static void test_open__refuses_what_is_not_its_own(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_outbox_free(f.o);
    f.o = NULL;
    char path[4200];
    sqlite3 *db = NULL;
    assert_ok(weft_path_join(path, sizeof path, f.path, "client.db", &assert_err));
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_outbox_open(&f.o, f.path, false, &weft_alloc_std, &err), WEFT_E_STATE);
    assert_non_null(strstr(err.msg, "has version 99, this weft knows 3"));
    assert_ok(weft_file_write(path,
                              "this is not a database, but long enough to look like one at "
                              "first sight, for SQLite reads 100 bytes of it before it says",
                              120, 0600, &assert_err));
    assert_int_equal(weft_outbox_open(&f.o, f.path, false, &weft_alloc_std, NULL), WEFT_E_DB);
    assert_null(f.o);
    test_dir_done(f.dir);
}

static weft_status open_once(const weft_alloc *a, void *arg)
{
    weft_outbox *o = NULL;
    weft_outbox_identity id;
    weft_session_record r;
    weft_arena arena;
    weft_err err = WEFT_ERR_INIT;
    WEFT_TRY(weft_outbox_open(&o, arg, false, a, &err));
    weft_outbox_identity_init(&id, a);
    weft_wire_arena_init(&arena, WEFT_MSG_ASSIGNMENT, a);
    weft_status status = weft_outbox_load_identity(o, &id, &err);
    if (status == WEFT_OK) {
        weft_buf secure;
        weft_buf_init(&secure, a, 4096);
        status = weft_outbox_load_record(o, &r, &arena, &secure, &err);
        weft_buf_done(&secure);
    }
    weft_arena_done(&arena);
    weft_outbox_identity_done(&id);
    weft_outbox_free(o);
    return status;
}

static void fill_identity(weft_outbox_identity *id)
{
    weft_outbox_identity_init(id, &weft_alloc_std);
    strcpy(id->federation, "north");
    strcpy(id->name, "alice");
    strcpy(id->address, "example.org:7443");
    memset(id->operator_key, 1, 32);
    memset(id->receipt_key, 2, 32);
    memset(id->token_digest, 3, 32);
    assert_ok(weft_buf_add(&id->ca_pem, "CA", 2, &assert_err));
    assert_ok(weft_buf_add(&id->chain, "chain\0x", 7, &assert_err));
    assert_ok(weft_buf_add(&id->certificate_pem, "CERT", 4, &assert_err));
    id->from_unix_ms = 1000;
    id->until_unix_ms = INT64_C(4102444800000);
}

static void test_load__every_allocation_may_fail(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_outbox_identity id;
    fill_identity(&id);
    const weft_session_assignment a = assignment();
    assert_ok(weft_outbox_keep_identity(f.o, &id, &assert_err));
    assert_ok(weft_outbox_keep_assignment(f.o, &a, 1, &assert_err));
    weft_outbox_identity_done(&id);
    weft_outbox_free(f.o);
    f.o = NULL;
    test_every_allocation_may_fail(open_once, f.path);
    end(&f);
}

/* ---- identity ------------------------------------------------------------------------------- */

static void test_identity__comes_back_as_it_was(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_outbox_identity id;
    weft_outbox_identity back;
    weft_outbox_identity_init(&back, &weft_alloc_std);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_outbox_load_identity(f.o, &back, &err), WEFT_E_NOTFOUND);
    fill_identity(&id);
    assert_ok(weft_outbox_keep_identity(f.o, &id, &assert_err));
    assert_int_equal(weft_outbox_seen(f.o), 0);
    assert_ok(weft_outbox_keep_seen(f.o, 77, &assert_err));
    reopen(&f);
    assert_ok(weft_outbox_load_identity(f.o, &back, &assert_err));
    assert_string_equal(back.federation, "north");
    assert_string_equal(back.name, "alice");
    assert_string_equal(back.address, "example.org:7443");
    assert_memory_equal(back.operator_key, id.operator_key, 32);
    assert_memory_equal(back.receipt_key, id.receipt_key, 32);
    assert_memory_equal(back.token_digest, id.token_digest, 32);
    assert_int_equal(back.chain.size, 7);
    assert_memory_equal(back.chain.data, "chain\0x", 7);
    assert_memory_equal(back.certificate_pem.data, "CERT", 4);
    assert_int_equal(back.until_unix_ms, id.until_unix_ms);
    assert_int_equal(weft_outbox_seen(f.o), 77);
    weft_outbox_identity_done(&id);
    weft_outbox_identity_done(&back);
    end(&f);
}

static void test_keys__are_private_and_never_overwritten(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_buf pem;
    weft_buf_init(&pem, &weft_alloc_std, 100);
    assert_int_equal(weft_outbox_load_key(f.o, "member.pem", &pem, NULL), WEFT_E_NOTFOUND);
    assert_ok(weft_buf_add(&pem, "secret", 6, &assert_err));
    assert_ok(weft_outbox_create_key(f.o, "member.pem", &pem, &assert_err));
    assert_int_equal(weft_outbox_create_key(f.o, "member.pem", &pem, NULL), WEFT_E_CONFLICT);
    char path[4200];
    struct stat st;
    assert_ok(weft_path_join(path, sizeof path, f.path, "member.pem", &assert_err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    weft_buf_clear(&pem);
    assert_ok(weft_outbox_load_key(f.o, "member.pem", &pem, &assert_err));
    assert_memory_equal(pem.data, "secret", 6);
    assert_int_equal(chmod(path, 0640), 0);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_outbox_load_key(f.o, "member.pem", &pem, &err), WEFT_E_AUTH);
    assert_non_null(strstr(err.msg, "mode 640"));
    weft_buf_done(&pem);
    end(&f);
}

/* ---- the open assignment -------------------------------------------------------------------- */

static void test_assignment__comes_back_as_it_was(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_session_record r;
    const weft_session_assignment a = assignment();
    assert_int_equal(load(&f, &r), WEFT_E_NOTFOUND);
    assert_ok(weft_outbox_keep_assignment(f.o, &a, 1, &assert_err));
    reopen(&f);
    assert_ok(load(&f, &r));
    assert_true(r.assignment.assignment_id == a.assignment_id);
    assert_string_equal(r.assignment.job, "mnist");
    assert_int_equal(r.assignment.job_id, 12);
    assert_int_equal(r.assignment.round, 3);
    assert_int_equal(r.assignment.attempt, 2);
    assert_int_equal(r.assignment.task, WEFT_TASK_TRAIN);
    assert_string_equal(r.assignment.dataset, "digits");
    assert_true(r.assignment.plan.learning_rate == 0.125);
    assert_true(r.assignment.plan.seed == UINT64_MAX);
    assert_memory_equal(r.assignment.base_digest, a.base_digest, 32);
    assert_int_equal(r.assignment.base_bytes, 16);
    assert_true(r.assignment.clip_norm == 12.5);
    assert_int_equal(r.assignment.max_examples, 1000);
    assert_int_equal(r.assignment.lease_ms, 3000);
    assert_int_equal(r.assignment.cohort, 8);
    assert_false(r.assignment.secure_aggregation);
    assert_string_equal(r.assignment.encoding, "f32");
    assert_false(r.has_update);
    assert_false(r.abandoning);
    end(&f);
}

static void test_update__counts_only_with_its_file(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_session_record r;
    const weft_session_assignment a = assignment();
    const weft_session_update u = update();
    assert_ok(weft_outbox_keep_assignment(f.o, &a, 1, &assert_err));
    put_update_file(&f, a.assignment_id);
    assert_ok(weft_outbox_keep_update(f.o, &a, &u, true, &assert_err));
    reopen(&f);
    assert_ok(load(&f, &r));
    assert_true(r.has_update);
    assert_int_equal(r.update.total_bytes, 4);
    assert_int_equal(r.update.n_examples, 17);
    assert_memory_equal(r.update.digest, u.digest, 32);
    assert_int_equal(r.update.metrics.n, 2);
    assert_true(r.update.metrics.item[1].value == 1.0 / 3.0);
    char path[4096];
    assert_ok(weft_update_file_path(path, sizeof path, f.path, a.assignment_id, &assert_err));
    assert_ok(weft_file_write(path, "abc", 4, 0600, &assert_err)); /* as a power cut may leave it */
    assert_ok(load(&f, &r));
    assert_false(r.has_update);
    assert_ok(weft_file_write(path, "abcd", 4, 0600, &assert_err));
    assert_ok(load(&f, &r));
    assert_true(r.has_update);
    weft_update_file_remove(f.path, a.assignment_id);
    assert_ok(load(&f, &r));
    assert_false(r.has_update); /* to be trained anew: there is nothing to send */
    assert_int_equal(r.update.n_examples, 0);
    end(&f);
}

static void test_update__of_an_evaluation_needs_no_file(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_session_record r;
    const weft_session_assignment a = assignment();
    weft_session_update u = update();
    u.total_bytes = 0;
    assert_ok(weft_outbox_keep_assignment(f.o, &a, 1, &assert_err));
    assert_ok(weft_outbox_keep_update(f.o, &a, &u, true, &assert_err));
    assert_ok(load(&f, &r));
    assert_true(r.has_update);
    end(&f);
}

static void test_abandon__is_remembered_with_its_reason(void **state)
{
    (void)state;
    for (int declined = 0; declined < 2; declined++) {
        fixture f;
        begin(&f);
        weft_session_record r;
        const weft_session_assignment a = assignment();
        assert_ok(weft_outbox_keep_assignment(f.o, &a, 1, &assert_err));
        assert_ok(weft_outbox_keep_abandon(f.o, "it isn't \"so\"", declined != 0, &assert_err));
        reopen(&f);
        assert_ok(load(&f, &r));
        assert_true(r.abandoning);
        assert_int_equal(r.declined, declined);
        assert_string_equal(r.reason, "it isn't \"so\"");
        end(&f);
    }
}

/* The process dies (for real) after each step; the next one finds what was kept. */
static void test_crash__keeps_each_step(void **state)
{
    (void)state;
    for (int steps = 1; steps <= 4; steps++) {
        fixture f;
        begin(&f);
        weft_outbox_free(f.o);
        f.o = NULL;
        const weft_session_assignment a = assignment();
        const weft_session_update u = update();
        const pid_t pid = fork();
        if (pid == 0) {
            weft_outbox *o = NULL;
            weft_status s = weft_outbox_open(&o, f.path, false, &weft_alloc_std, NULL);
            s = s == WEFT_OK ? weft_outbox_keep_assignment(o, &a, 1, NULL) : s;
            if (s == WEFT_OK && steps >= 2) {
                put_update_file(&f, a.assignment_id);
                s = steps >= 3 ? weft_outbox_keep_update(o, &a, &u, true, NULL) : s;
            }
            if (s == WEFT_OK && steps >= 4) {
                s = weft_outbox_keep_abandon(o, "late", false, NULL);
            }
            (void)kill(getpid(), s == WEFT_OK ? SIGKILL : SIGTERM);
        }
        int how = 0;
        assert_int_equal(waitpid(pid, &how, 0), pid);
        assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
        assert_ok(weft_outbox_open(&f.o, f.path, false, &weft_alloc_std, &assert_err));
        weft_session_record r;
        assert_ok(load(&f, &r));
        assert_int_equal(r.has_update, steps >= 3);
        assert_int_equal(r.abandoning, steps >= 4);
        end(&f);
    }
}

/* ---- history -------------------------------------------------------------------------------- */

static void close_one(fixture *f, uint64_t id, weft_session_outcome outcome, const char *reason,
                      const weft_session_receipt *receipt)
{
    weft_session_assignment a = assignment();
    a.assignment_id = id;
    a.round = (uint32_t)id;
    weft_session_action close = {.kind = WEFT_SESSION_CLOSE};
    close.u.close.assignment = &a;
    close.u.close.outcome = outcome;
    close.u.close.reason = reason;
    close.u.close.receipt = receipt;
    close.u.close.n_examples = 10 * id;
    close.u.close.bytes = 4;
    assert_ok(weft_outbox_keep_assignment(f->o, &a, (int64_t)id, &assert_err));
    put_update_file(f, id);
    assert_ok(weft_outbox_close_assignment(f->o, &close, "alice", 100 + (int64_t)id, &assert_err));
    assert_false(weft_update_file_present(f->path, id, 4));
}

typedef struct listed {
    unsigned n;
    unsigned stop_after;
    weft_outbox_item item[8];
    char reason[8][64];
} listed;

static int list(void *arg, const weft_outbox_item *item)
{
    listed *l = arg;
    if (l->n < 8) {
        l->item[l->n] = *item;
        (void)snprintf(l->reason[l->n], sizeof l->reason[0], "%s", item->reason);
    }
    l->n++;
    return l->n == l->stop_after;
}

static void test_history__lists_all_and_the_open_one_last(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_session_receipt r = {
        .assignment_id = 2, .job = "mnist", .round = 2, .n_examples = 20, .accepted_unix_ms = 1234};
    memset(r.update_digest, 4, sizeof r.update_digest);
    memset(r.signature, 5, sizeof r.signature);
    weft_session_receipt back;
    assert_int_equal(weft_outbox_last_receipt(f.o, &back, NULL), WEFT_E_NOTFOUND);
    close_one(&f, 1, WEFT_OUTCOME_DECLINED, "too few", NULL);
    close_one(&f, 2, WEFT_OUTCOME_ACCEPTED, "", &r);
    close_one(&f, 3, WEFT_OUTCOME_REFUSED, "late", NULL);
    weft_session_assignment open = assignment();
    open.round = 4;
    assert_ok(weft_outbox_keep_assignment(f.o, &open, 4, &assert_err));
    reopen(&f);
    listed l = {.n = 0};
    assert_ok(weft_outbox_history(f.o, list, &l, &assert_err));
    assert_int_equal(l.n, 4);
    assert_int_equal(l.item[0].outcome, WEFT_OUTCOME_DECLINED);
    assert_string_equal(l.reason[0], "too few");
    assert_int_equal(l.item[1].outcome, WEFT_OUTCOME_ACCEPTED);
    assert_int_equal(l.item[1].n_examples, 20);
    assert_int_equal(l.item[1].unix_ms, 102);
    assert_int_equal(l.item[2].round, 3);
    assert_int_equal(l.item[3].outcome, 0);
    assert_int_equal(l.item[3].round, 4);
    listed some = {.stop_after = 2};
    assert_ok(weft_outbox_history(f.o, list, &some, &assert_err));
    assert_int_equal(some.n, 2);
    assert_ok(weft_outbox_last_receipt(f.o, &back, &assert_err));
    assert_memory_equal(&back, &r, sizeof r);
    end(&f);
}

static void test_history__keeps_the_newest_when_there_are_too_many(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_outbox_free(f.o);
    char path[4200];
    char sql[400];
    sqlite3 *db = NULL;
    assert_ok(weft_path_join(path, sizeof path, f.path, "client.db", &assert_err));
    (void)snprintf(sql, sizeof sql,
                   "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < %d)"
                   " INSERT INTO history SELECT x, x, 'old', x, 1, 1, '', 1, 1, 1, NULL FROM c",
                   WEFT_OUTBOX_MAX_HISTORY);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_ok(weft_outbox_open(&f.o, f.path, false, &weft_alloc_std, &assert_err));
    listed all = {.n = 0};
    assert_ok(weft_outbox_history(f.o, list, &all, &assert_err));
    assert_int_equal(all.n, WEFT_OUTBOX_MAX_HISTORY); /* at the limit */
    close_one(&f, 5, WEFT_OUTCOME_REFUSED, "late", NULL);
    listed l = {.n = 0};
    assert_ok(weft_outbox_history(f.o, list, &l, &assert_err));
    assert_int_equal(l.n, WEFT_OUTBOX_MAX_HISTORY);
    assert_int_equal(l.item[0].round, 2); /* the oldest one went */
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open__makes_a_private_folder_for_one_process),
        cmocka_unit_test(test_open__observers_look_on_while_another_works),
        cmocka_unit_test(test_open__refuses_what_is_not_its_own),
        cmocka_unit_test(test_load__every_allocation_may_fail),
        cmocka_unit_test(test_identity__comes_back_as_it_was),
        cmocka_unit_test(test_keys__are_private_and_never_overwritten),
        cmocka_unit_test(test_assignment__comes_back_as_it_was),
        cmocka_unit_test(test_update__counts_only_with_its_file),
        cmocka_unit_test(test_update__of_an_evaluation_needs_no_file),
        cmocka_unit_test(test_abandon__is_remembered_with_its_reason),
        cmocka_unit_test(test_crash__keeps_each_step),
        cmocka_unit_test(test_history__lists_all_and_the_open_one_last),
        cmocka_unit_test(test_history__keeps_the_newest_when_there_are_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
