/* SPDX-License-Identifier: Apache-2.0 */
/* store: the ledger over real rows: what is recorded, proofs of it, and that nothing can be changed
 * without a finding. */
#include "store_fixture.h"

#include "store/clients.h"
#include "store/ledger.h"
#include "store/ledger_priv.h"
#include "store/queries.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static weft_assignment_row update_of(uint64_t id)
{
    weft_assignment_row a = {.assignment_id = id,
                             .job_id = 1,
                             .round = 1,
                             .attempt = 1,
                             .task = WEFT_TASK_TRAIN,
                             .state = WEFT_ASSIGNMENT_OPEN,
                             .client = "alice"};
    return a;
}

static void accept_update(weft_store *store, uint64_t id)
{
    weft_assignment_row a = update_of(id);
    a.state = WEFT_ASSIGNMENT_ACCEPTED;
    memset(a.update_digest, (int)(id % 256), sizeof a.update_digest);
    a.n_examples = 600;
    a.bytes = 1000;
    a.accepted_unix_ms = T0 + 9;
    assert_ok(weft_store_put_assignment(store, &a, &assert_err));
}

static void begin(weft_store *store)
{
    assert_ok(weft_store_begin(store, T0, &assert_err));
}

static void commit(weft_store *store)
{
    assert_ok(weft_store_commit(store, 1, &assert_err));
}

/* A round from its client to its release, in three batches. */
static void write_history(weft_store *store)
{
    weft_job_def def = {.name = "digits", .dataset = "digits"};
    const weft_job_row job = {
        .job_id = 1, .def = &def, .status = WEFT_JOB_RUNNING, .round = 1, .created_unix_ms = T0};
    weft_round_row round = {.job_id = 1,
                            .round = 1,
                            .attempt = 1,
                            .state = WEFT_ROUND_TRAINING,
                            .base = {1},
                            .opened_unix_ms = T0 + 5};
    const char *const names[] = {"alice", "bob"};
    const weft_eligible_row eligible = {1, 1, 1, 2, names};
    const uint8_t token[32] = {1};
    const uint8_t csr[32] = {2};
    const uint8_t member[32] = {3};
    const weft_view chain = {(const uint8_t *)"chain", 5};
    const weft_version_row first = {.digest = {1}, .job_id = 1, .bytes = 1000};
    const weft_version_row second = {
        .digest = {2}, .has_parent = true, .parent = {1}, .job_id = 1, .round = 1, .bytes = 1000};
    const weft_assignment_row open = update_of(7);
    begin(store);
    assert_ok(weft_store_client_invite(store, "alice", token, chain, T0 * 2, &assert_err));
    assert_ok(weft_store_client_enrol(store, token, csr, chain, member, &assert_err));
    assert_ok(weft_store_put_version(store, &first, &assert_err));
    assert_ok(weft_store_put_job(store, &job, "d", 1, &assert_err));
    assert_ok(weft_store_put_round(store, &round, &assert_err));
    assert_ok(weft_store_put_eligible(store, &eligible, &assert_err));
    assert_ok(weft_store_put_assignment(store, &open, &assert_err));
    commit(store);
    begin(store);
    accept_update(store, 7);
    accept_update(store, 7); /* persisted again: on record once */
    commit(store);
    begin(store);
    round.state = WEFT_ROUND_DONE;
    round.accepted = 1;
    round.n_examples = 600;
    round.has_version = true;
    round.version[0] = 2;
    round.closed_unix_ms = T0 + 20;
    (void)snprintf(round.reason, sizeof round.reason, "target \"1\" reached\n");
    assert_ok(weft_store_put_version(store, &second, &assert_err));
    assert_ok(weft_store_put_round(store, &round, &assert_err));
    assert_ok(weft_store_put_release(store, "stable", 1, second.digest, &assert_err));
    const weft_store_rollback_row back = {.job_id = 1, .round = 2, .from = {2}, .to = {1}};
    assert_ok(weft_store_put_rollback(store, &back, &assert_err));
    commit(store);
}

/* ---- records --------------------------------------------------------------------------------- */

typedef struct records {
    uint32_t n;
    char text[16][512];
} records;

static weft_status see_record(void *arg, uint64_t index, const char *record, weft_err *err)
{
    records *r = arg;
    (void)err;
    assert_int_equal(index, r->n);
    assert_true(r->n < 16 && strlen(record) < 512);
    (void)snprintf(r->text[r->n++], 512, "%s", record);
    return WEFT_OK;
}

static void never(void *arg, const char *text)
{
    (void)arg;
    fail_msg("%s", text);
}

static uint32_t verify(const char *dir, const weft_tree_head *heads, size_t n_heads,
                       weft_store_finding_fn fn, void *arg)
{
    uint32_t findings = 0;
    assert_ok(weft_store_ledger_verify(dir, heads, n_heads, fn, arg, &findings, NULL,
                                       &weft_alloc_std, &assert_err));
    return findings;
}

static void test_ledger__has_every_event_once(void **state)
{
    (void)state;
    static const char *const kinds[] = {"client", "version", "job",       "round",   "eligible",
                                        "update", "version", "round_end", "release", "rollback"};
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    records r = {0};
    write_history(store);
    assert_ok(weft_store_ledger_export(dir, see_record, &r, NULL, &weft_alloc_std, &assert_err));
    assert_int_equal(r.n, 10);
    for (size_t i = 0; i < 10; i++) {
        char start[32];
        (void)snprintf(start, sizeof start, "{\"kind\":\"%s\",", kinds[i]);
        assert_memory_equal(r.text[i], start, strlen(start));
    }
    /* what a client makes of its receipt is what was hashed */
    weft_receipt_fields receipt = {.assignment_id = 7,
                                   .job = "digits",
                                   .round = 1,
                                   .n_examples = 600,
                                   .accepted_unix_ms = T0 + 9,
                                   .client = "alice"};
    char text[WEFT_LEDGER_UPDATE_RECORD_BYTES];
    memset(receipt.update_digest, 7, sizeof receipt.update_digest);
    (void)weft_ledger_update_record(text, &receipt);
    assert_string_equal(r.text[5], text);
    assert_string_equal(
        r.text[7],
        "{\"kind\":\"round_end\",\"job_id\":1,\"round\":1,\"attempt\":1,\"state\":\"done\","
        "\"reason\":\"target \\\"1\\\" reached\\u000a\",\"accepted\":1,\"n_examples\":600,"
        "\"version\":\"0200000000000000000000000000000000000000000000000000000000000000\","
        "\"closed_unix_ms\":1700000000020}");
    assert_int_equal(verify(dir, NULL, 0, never, NULL), 0);
    weft_store_close(store);
    test_dir_done(dir);
}

/* ---- proofs ---------------------------------------------------------------------------------- */

static void head_of(weft_store *store, weft_tree_head *ret)
{
    memset(ret, 0, sizeof *ret);
    assert_ok(weft_store_ledger_root(store, &ret->size, ret->root, &assert_err));
}

static void check_update(weft_store *store, const weft_tree_head *head, uint64_t id)
{
    uint64_t index = 0;
    weft_merkle_proof proof;
    uint8_t leaf[WEFT_SHA256_BYTES];
    char text[WEFT_LEDGER_UPDATE_RECORD_BYTES];
    weft_receipt_fields receipt = {.assignment_id = id,
                                   .job = "digits",
                                   .round = 1,
                                   .n_examples = 600,
                                   .accepted_unix_ms = T0 + 9,
                                   .client = "alice"};
    memset(receipt.update_digest, (int)(id % 256), sizeof receipt.update_digest);
    const size_t n = weft_ledger_update_record(text, &receipt);
    assert_ok(weft_merkle_leaf(leaf, text, n, &assert_err));
    assert_ok(weft_store_ledger_inclusion(store, id, "alice", &index, &proof, &assert_err));
    assert_ok(
        weft_merkle_check_inclusion(&proof, leaf, index, head->size, head->root, &assert_err));
}

/* More records than a stored node spans; restarts and batches that fail change nothing. */
static void test_ledger__proofs_over_stored_nodes(void **state)
{
    (void)state;
    static const uint64_t each = 17;
    enum { BATCHES = 40 };
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    weft_tree_head heads[BATCHES + 1];
    write_history(store);
    head_of(store, &heads[0]);
    for (uint64_t batch = 0; batch < BATCHES; batch++) {
        begin(store);
        for (uint64_t i = 0; i < each; i++) {
            accept_update(store, 100 + batch * each + i);
        }
        if (batch % 3 == 1) { /* undone, and done again */
            weft_store_rollback(store);
            weft_tree_head same;
            head_of(store, &same);
            assert_memory_equal(&same, &heads[batch], sizeof same);
            begin(store);
            for (uint64_t i = 0; i < each; i++) {
                accept_update(store, 100 + batch * each + i);
            }
        }
        commit(store);
        head_of(store, &heads[batch + 1]);
        if (batch % 5 == 2) {
            weft_store_close(store);
            store = open_store(dir);
            weft_tree_head same;
            head_of(store, &same);
            assert_memory_equal(&same, &heads[batch + 1], sizeof same);
        }
    }
    const weft_tree_head *last = &heads[BATCHES];
    assert_int_equal(last->size, 10 + BATCHES * each);
    for (uint64_t i = 0; i < BATCHES * each; i += 7) {
        check_update(store, last, 100 + i);
    }
    for (size_t i = 0; i < BATCHES; i++) {
        weft_merkle_proof proof;
        assert_ok(weft_store_ledger_consistency(store, heads[i].size, &proof, &assert_err));
        assert_ok(weft_tree_head_follows(&heads[i], last, &proof, &assert_err));
    }
    uint64_t index = 0;
    weft_merkle_proof none;
    assert_int_equal(weft_store_ledger_inclusion(store, 99, "alice", &index, &none, NULL),
                     WEFT_E_NOTFOUND);
    assert_int_equal(weft_store_ledger_inclusion(store, 7, "bob", &index, &none, NULL),
                     WEFT_E_NOTFOUND);
    assert_int_equal(weft_store_ledger_consistency(store, last->size + 1, &none, NULL),
                     WEFT_E_INVALID);
    assert_int_equal(verify(dir, heads, BATCHES + 1, never, NULL), 0);
    weft_store_close(store);
    test_dir_done(dir);
}

/* ---- changes --------------------------------------------------------------------------------- */

typedef struct findings {
    uint32_t n;
    char text[8][320];
} findings;

static void note(void *arg, const char *text)
{
    findings *f = arg;
    if (f->n < 8) {
        (void)snprintf(f->text[f->n], sizeof f->text[0], "%s", text);
    }
    f->n++;
}

/* SQL on the file as somebody without scruples would run it. */
static void tamper(const char *dir, const char *sql)
{
    char path[512];
    weft_db db;
    const weft_db_options options = {"weft.db", NULL, 4096, 1000, false};
    (void)snprintf(path, sizeof path, "%s/weft.db", dir);
    assert_ok(weft_db_open(&db, path, &options, &assert_err));
    assert_ok(weft_db_exec(
        &db,
        "PRAGMA foreign_keys=OFF; DROP TRIGGER ledger_u; DROP TRIGGER ledger_d;"
        " DROP TRIGGER ledger_node_u; DROP TRIGGER ledger_node_d; DROP TRIGGER version_u;"
        " DROP TRIGGER release_u; DROP TRIGGER rollback_u; DROP TRIGGER rollback_d; DROP TRIGGER "
        "client_history_u;"
        " DROP TRIGGER job_definition; DROP TRIGGER ledger_update; DROP TRIGGER ledger_round_end",
        &assert_err));
    assert_ok(weft_db_exec(&db, sql, &assert_err));
    weft_db_close(&db);
}

static void expect_finding(const char *sql, const char *expected)
{
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    weft_tree_head head;
    findings f = {0};
    write_history(store);
    head_of(store, &head);
    weft_store_close(store);
    tamper(dir, sql);
    assert_true(verify(dir, &head, 1, note, &f) > 0);
    for (uint32_t i = 0; i < f.n && i < 8; i++) {
        if (strstr(f.text[i], expected)) {
            test_dir_done(dir);
            return;
        }
    }
    fail_msg("after %s: \"%s\" instead of \"%s\"", sql, f.text[0], expected);
}

/* Every column of every row that is on record, every record and every hash. */
static void test_verify__names_what_was_changed(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        const char *finding;
    } cases[] = {
        {"UPDATE job SET definition = x'65'", "job digits is not"},
        {"UPDATE job SET name = 'other'", "job other is not"},
        {"UPDATE job SET created_unix_ms = created_unix_ms + 1", "job digits is not"},
        {"UPDATE client_history SET reason = 'x' WHERE status = 2", "client history row 2 is not"},
        {"UPDATE client_history SET member_public_key = zeroblob(32) WHERE status = 2",
         "client history row 2 is not"},
        {"UPDATE client SET name = 'mallory'", "client history row 2 is not"},
        {"UPDATE version SET digest = zeroblob(32) WHERE version_id = 2", "version row 2 is not"},
        {"UPDATE version SET parent = NULL WHERE version_id = 2", "version row 2 is not"},
        {"UPDATE version SET bytes = 1001 WHERE version_id = 1", "version row 1 is not"},
        {"UPDATE round SET base = zeroblob(32)", "job 1, round 1, attempt 1 is not"},
        {"UPDATE round SET n_examples = 601", "job 1, round 1, attempt 1 is not"},
        {"UPDATE round SET reason = ''", "job 1, round 1, attempt 1 is not"},
        {"UPDATE round SET state = 5", "job 1, round 1, attempt 1 is not"},
        {"UPDATE round SET version = zeroblob(32)", "job 1, round 1, attempt 1 is not"},
        {"UPDATE eligible SET clients = 'alice' || char(10)", "the eligible set of job 1, round 1"},
        {"UPDATE assignment SET update_digest = zeroblob(32)", "assignment 7 is not"},
        {"UPDATE assignment SET n_examples = 6000", "assignment 7 is not"},
        {"UPDATE assignment SET client = 'bob'", "assignment 7 is not"},
        {"UPDATE assignment SET accepted_unix_ms = 1", "assignment 7 is not"},
        {"UPDATE release SET digest = zeroblob(32)", "release row 1 is not"},
        {"UPDATE rollback SET to_digest = zeroblob(32)", "rollback row 1 is not"},
        /* a row that is gone, and one that nobody wrote through the store */
        {"UPDATE assignment SET state = 3", "record 5 is about something"},
        {"DELETE FROM eligible", "record 4 is about something"},
        {"DELETE FROM version WHERE version_id = 2", "record 6 is about something"},
        {"DROP TRIGGER ledger_version; INSERT INTO version (digest, job_id, round, bytes,"
         " created_unix_ms) VALUES (zeroblob(32), 1, 9, 4, 5)",
         "version row 3 is not"},
        /* the ledger itself */
        {"UPDATE ledger SET record = replace(record, 'alice', 'alicf') WHERE seq = 6",
         "record 5 does not have the hash"},
        {"UPDATE ledger SET seq = 20 WHERE seq = 10", "record 9 is missing"},
        {"DELETE FROM ledger WHERE seq = 3", "record 2 is missing"},
        {"UPDATE ledger_node SET hash = zeroblob(32) WHERE position = 4",
         "record 4 does not have the hash"},
        {"DELETE FROM ledger_node WHERE position = 9", "record 9 does not have the hash"},
        {"INSERT INTO ledger_node VALUES (8, 0, zeroblob(32))", "11 hashes are stored"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_finding(cases[i].sql, cases[i].finding);
    }
}

/* Rows, record and hash taken back together: only a head that was seen before tells. */
static void test_verify__a_head_that_was_seen_finds_a_whole_rewrite(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_store *store = open_store(dir);
    weft_tree_head head;
    findings f = {0};
    write_history(store);
    head_of(store, &head);
    weft_store_close(store);
    tamper(dir, "DELETE FROM rollback; DELETE FROM ledger WHERE seq = 10;"
                " DELETE FROM ledger_node WHERE position = 9");
    assert_int_equal(verify(dir, NULL, 0, never, NULL), 0);
    assert_int_equal(verify(dir, &head, 1, note, &f), 1);
    assert_non_null(strstr(f.text[0], "it has 9 records, a signed head is over 10"));
    /* and with other records in their place, of the right number */
    store = open_store(dir);
    begin(store);
    const weft_store_rollback_row back = {.job_id = 1, .round = 3, .from = {2}, .to = {2}};
    assert_ok(weft_store_put_rollback(store, &back, &assert_err));
    commit(store);
    weft_store_close(store);
    assert_int_equal(verify(dir, NULL, 0, never, NULL), 0);
    f.n = 0;
    assert_int_equal(verify(dir, &head, 1, note, &f), 1);
    assert_non_null(strstr(f.text[0], "first 10 records are not those of a signed head"));
    test_dir_done(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ledger__has_every_event_once),
        cmocka_unit_test(test_ledger__proofs_over_stored_nodes),
        cmocka_unit_test(test_verify__names_what_was_changed),
        cmocka_unit_test(test_verify__a_head_that_was_seen_finds_a_whole_rewrite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
