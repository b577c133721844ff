/* SPDX-License-Identifier: Apache-2.0 */
/* core: check-ins, selection, assignments, updates and receipts, the life of a round. */
#include "sim/core_fixture.h"

#include "crypto/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void name_of(char out[8], unsigned i)
{
    (void)snprintf(out, 8, "c%02u", i);
}

/* ---- check-ins ----------------------------------------------------------------------------- */

static void test_check_in__is_held_and_sent_away_with_jitter(void **state)
{
    (void)state;
    uint64_t pace[2][20];
    for (int run = 0; run < 2; run++) {
        core_fixture f;
        fix_init(&f);
        for (unsigned i = 0; i < 20; i++) {
            char name[8];
            name_of(name, i);
            f.call++;
            (void)sim_check_in(&f.s, f.call, name, "d", 1000);
            fix_unanswered(&f, f.call);
            assert_int_equal(weft_core_waiting(f.s.core), 1);
            sim_shell_pass(&f.s, 999);
            fix_unanswered(&f, f.call);
            assert_int_equal(weft_core_next_ms(f.s.core), f.s.now_ms + 1);
            sim_shell_pass(&f.s, 1);
            const sim_answer a = fix_answer(&f, f.call);
            assert_int_equal(a.kind, WEFT_REPLY_COME_BACK);
            assert_true(a.come_back_ms >= 1000 && a.come_back_ms <= 3000);
            pace[run][i] = a.come_back_ms;
            assert_int_equal(weft_core_waiting(f.s.core), 0);
        }
        assert_true(weft_core_next_ms(f.s.core) == UINT64_MAX);
        fix_done(&f);
    }
    assert_memory_equal(pace[0], pace[1], sizeof pace[0]); /* repeats */
    unsigned equal = 0;
    uint64_t sum = 0;
    for (unsigned i = 0; i < 20; i++) {
        equal += i > 0 && pace[0][i] == pace[0][i - 1];
        sum += pace[0][i];
    }
    assert_true(equal < 3 && sum / 20 > 1500 && sum / 20 < 2500);
}

static void test_check_in__holds_no_longer_than_allowed(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.call++;
    (void)sim_check_in(&f.s, f.call, "a", "d", 0); /* not held */
    const uint64_t first_ms = fix_answer(&f, f.call).come_back_ms;
    f.call++;
    (void)sim_check_in(&f.s, f.call, "a", "d", 0);
    assert_true(fix_answer(&f, f.call).come_back_ms != first_ms); /* jitter goes on */
    f.call++;
    (void)sim_check_in(&f.s, f.call, "a", "d", UINT64_MAX);
    sim_shell_pass(&f.s, 29999);
    fix_unanswered(&f, f.call);
    sim_shell_pass(&f.s, 1);
    assert_int_equal(fix_answer(&f, f.call).kind, WEFT_REPLY_COME_BACK);
    fix_done(&f);
}

static void test_check_in__a_second_call_replaces_the_first(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    const uint64_t old = fix_wait(&f, "a");
    const uint64_t new = fix_wait(&f, "a");
    const sim_answer a = fix_answer(&f, old);
    assert_int_equal(a.kind, WEFT_REPLY_COME_BACK);
    assert_int_equal(a.come_back_ms, 0);
    fix_unanswered(&f, new);
    assert_int_equal(weft_core_waiting(f.s.core), 1);
    (void)sim_gone(&f.s, old); /* the old connection's end changes nothing */
    assert_int_equal(weft_core_waiting(f.s.core), 1);
    fix_done(&f);
}

static void test_check_in__answers_an_open_assignment_again(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    (void)fix_submit(&f, "job");
    const sim_answer first = fix_assigned(&f, "a");
    sim_shell_pass(&f.s, 9000);
    const sim_answer again = fix_assigned(&f, "a");
    assert_int_equal(again.row.assignment_id, first.row.assignment_id);
    assert_memory_equal(again.base, first.base, sizeof first.base);
    assert_int_equal(first.left_ms, 60000);
    assert_int_equal(again.left_ms, 51000);
    sim_shell_pass(&f.s, 9000); /* the lease was renewed */
    assert_int_equal(fix_progress(&f, &first).stop, false);
    fix_done(&f);
}

static void test_check_in__says_when_there_is_nothing_more(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.rounds = 1;
    f.def.target = 1;
    uint64_t early = fix_wait(&f, "early"); /* no job yet: wait */
    fix_unanswered(&f, early);
    (void)sim_gone(&f.s, early);
    const uint64_t id = fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    const uint64_t held = fix_wait(&f, "b");
    f.call++;
    const uint64_t other = f.call;
    (void)sim_check_in(&f.s, other, "c", "another", 30000);
    assert_int_equal(fix_control(&f, "job", WEFT_JOB_PAUSED).kind, WEFT_REPLY_DONE);
    fix_unanswered(&f, held); /* paused is not over */
    assert_int_equal(fix_control(&f, "job", WEFT_JOB_RUNNING).kind, WEFT_REPLY_DONE);
    fix_deliver(&f, &a, 1);
    sim_shell_work_all(&f.s);
    assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_DONE);
    assert_int_equal(fix_answer(&f, held).kind, WEFT_REPLY_NOTHING_MORE); /* told at once */
    assert_int_equal(fix_answer(&f, fix_wait(&f, "a")).kind, WEFT_REPLY_NOTHING_MORE);
    fix_unanswered(&f, other); /* no job ever wanted its data set */
    (void)fix_submit(&f, "next");
    (void)fix_assigned(&f, "b");
    fix_done(&f);
}

static void test_check_in__limits_the_data_sets(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    weft_declared list[WEFT_MAX_DATASETS + 1] = {0};
    for (unsigned i = 0; i <= WEFT_MAX_DATASETS; i++) {
        (void)snprintf(list[i].name, sizeof list[i].name, "set%u", i % 31);
    }
    (void)snprintf(list[WEFT_MAX_DATASETS - 1].name, sizeof list[0].name, "d");
    weft_event e = {.kind = WEFT_EVENT_CHECK_IN, .call = 1, .client = "a"};
    e.u.check_in.datasets = list;
    e.u.check_in.n_datasets = WEFT_MAX_DATASETS + 1;
    e.u.check_in.hold_ms = 1000;
    (void)sim_shell_feed(&f.s, &e);
    assert_int_equal(fix_answer(&f, 1).status, WEFT_E_LIMIT);
    e.u.check_in.n_datasets = WEFT_MAX_DATASETS;
    (void)sim_shell_feed(&f.s, &e);
    fix_unanswered(&f, 1);
    f.call = 1;
    (void)fix_submit(&f, "job"); /* repeated names count once, and the last one is seen */
    assert_int_equal(fix_answer(&f, 1).kind, WEFT_REPLY_ASSIGNMENT);
    fix_done(&f);
}

static void test_call_gone__takes_the_client_out(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    const uint64_t call = fix_wait(&f, "a");
    (void)sim_gone(&f.s, call);
    (void)sim_gone(&f.s, call);
    (void)sim_gone(&f.s, 999);
    assert_int_equal(weft_core_waiting(f.s.core), 0);
    const uint64_t id = fix_submit(&f, "job");
    assert_null(weft_core_open_round(f.s.core, id));
    fix_unanswered(&f, call);
    fix_done(&f);
}

/* ---- selection ----------------------------------------------------------------------------- */

static void test_select__waits_for_the_minimum_and_the_window(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.minimum = 2;
    f.def.target = 3;
    f.def.selection_window_ms = 5000;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t a = fix_wait(&f, "a");
    sim_shell_pass(&f.s, 6000);
    fix_unanswered(&f, a); /* below the minimum no window opens */
    const uint64_t b = fix_wait(&f, "b");
    sim_shell_pass(&f.s, 4000);
    (void)sim_gone(&f.s, b); /* below the minimum again: the window closes */
    (void)fix_wait(&f, "b");
    sim_shell_pass(&f.s, 4999);
    fix_unanswered(&f, a);
    sim_shell_pass(&f.s, 1);
    assert_int_equal(fix_answer(&f, a).kind, WEFT_REPLY_ASSIGNMENT);
    assert_int_equal(fix_round(&f, id, 1)->cohort, 2);
    fix_done(&f);
}

static void test_select__starts_at_once_with_a_full_cohort(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 3;
    f.def.over_selection = 1.3; /* 4 */
    f.def.selection_window_ms = 5000;
    const uint64_t id = fix_submit(&f, "job");
    for (unsigned i = 0; i < 3; i++) {
        char name[8];
        name_of(name, i);
        fix_unanswered(&f, fix_wait(&f, name));
    }
    (void)fix_assigned(&f, "last");
    assert_int_equal(fix_round(&f, id, 1)->cohort, 4);
    assert_int_equal(fix_round(&f, id, 1)->eligible, 4);
    fix_done(&f);
}

/* By hand: HMAC-SHA256(seed, round | attempt | client), integers little-endian. */
static void reference_mark(uint8_t out[32], uint64_t seed, uint32_t round, uint32_t attempt,
                           const char *client)
{
    uint8_t key[8];
    uint8_t text[16];
    for (unsigned i = 0; i < 8; i++) {
        key[i] = (uint8_t)(seed >> (8 * i));
        text[i] = (uint8_t)((i < 4 ? round : attempt) >> (8 * (i % 4)));
    }
    memcpy(text + 8, client, strlen(client));
    assert_int_equal(weft_hmac_sha256(out, key, 8, text, 8 + strlen(client), NULL), WEFT_OK);
}

static void test_select__orders_the_recorded_eligible_by_hmac(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 4;
    f.def.seed = UINT64_C(0x1122334455667788);
    f.def.selection_window_ms = 1000;
    uint64_t call[10];
    for (unsigned i = 0; i < 10; i++) { /* arrival order is not name order */
        char name[8];
        name_of(name, (i * 7) % 10);
        call[(i * 7) % 10] = fix_wait(&f, name);
    }
    const uint64_t id = fix_submit(&f, "job");
    const sim_eligible *e = sim_eligible_of(&f.s, id, 1, 1);
    assert_non_null(e);
    assert_int_equal(e->n, 10);
    unsigned chosen = 0;
    for (unsigned i = 0; i < 10; i++) {
        uint8_t mine[32];
        unsigned better = 0;
        char name[8];
        name_of(name, i);
        assert_string_equal(e->name[i], name); /* recorded in the order of names */
        reference_mark(mine, f.def.seed, 1, 1, name);
        for (unsigned k = 0; k < 10; k++) {
            uint8_t other[32];
            name_of(name, k);
            reference_mark(other, f.def.seed, 1, 1, name);
            better += memcmp(other, mine, 32) < 0;
        }
        sim_answer a;
        const bool assigned = sim_shell_answer(&f.s, call[i], &a);
        assert_int_equal(assigned, better < 4);
        chosen += assigned;
    }
    assert_int_equal(chosen, 4);
    /* a replay from the record finds the same cohort, in the order of assignments */
    const char *names[10];
    uint32_t order[10];
    uint32_t cohort = 0;
    for (unsigned i = 0; i < 10; i++) {
        names[i] = e->name[i];
    }
    assert_int_equal(
        weft_core_order(order, &cohort, &f.def, 1, 1, names, 10, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(cohort, 4);
    for (uint32_t i = 0; i < cohort; i++) {
        assert_string_equal(sim_assignment(&f.s, i + 1)->client, names[order[i]]);
    }
    fix_done(&f);
}

/* 3 of 10 in 2000 rounds: 600 times each, standard deviation 20.5. */
static void test_core_order__is_uniform(void **state)
{
    (void)state;
    weft_job_def def;
    weft_job_def_init(&def);
    def.secure_aggregation = false;
    def.target = 3;
    def.over_selection = 1.0;
    const char *names[10] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    unsigned chosen[10] = {0};
    for (uint32_t round = 1; round <= 1000; round++) {
        for (uint32_t attempt = 1; attempt <= 2; attempt++) {
            uint32_t order[10];
            uint32_t cohort = 0;
            assert_int_equal(weft_core_order(order, &cohort, &def, round, attempt, names, 10,
                                             &weft_alloc_std, NULL),
                             WEFT_OK);
            for (uint32_t i = 0; i < cohort; i++) {
                chosen[order[i]]++;
            }
        }
    }
    for (unsigned i = 0; i < 10; i++) {
        assert_in_range(chosen[i], 600 - 103, 600 + 103);
    }
}

static void test_select__gives_a_client_one_part_at_a_time(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    const uint64_t one = fix_submit(&f, "one");
    const uint64_t two = fix_submit(&f, "two");
    const sim_answer a = fix_assigned(&f, "a");
    assert_int_equal(a.row.job_id, one);
    assert_null(weft_core_open_round(f.s.core, two));
    assert_int_equal(fix_assigned(&f, "a").row.assignment_id, a.row.assignment_id);
    const sim_answer b = fix_assigned(&f, "b");
    assert_int_equal(b.row.job_id, two);
    fix_done(&f);
}

static void test_select__jobs_take_turns(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    f.def.rounds = 10;
    const uint64_t one = fix_submit(&f, "one");
    const uint64_t two = fix_submit(&f, "two");
    for (uint32_t i = 1; i <= 10; i++) {
        fix_train(&f, "a", i);
        const uint32_t first = fix_job(&f, one)->rounds_done;
        const uint32_t second = fix_job(&f, two)->rounds_done;
        assert_int_equal(first + second, i);
        assert_true(first == second || first == second + 1);
    }
    fix_done(&f);
}

/* Every client is offered whenever it is free: the small job must not starve the large one. */
static void test_select__a_job_of_one_does_not_starve_a_job_of_three(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.rounds = 100;
    f.def.target = 1;
    const uint64_t small = fix_submit(&f, "small");
    f.def.target = 3;
    f.def.minimum = 3;
    const uint64_t large = fix_submit(&f, "large");
    sim_answer open[3] = {{0}};
    uint64_t call[3] = {0};
    uint64_t busy_until[3] = {0};
    for (uint64_t step = 0; step < 300; step++) {
        for (unsigned i = 0; i < 3; i++) {
            char name[8];
            name_of(name, i);
            if (call[i] && sim_shell_answer(&f.s, call[i], &open[i])) {
                call[i] = 0;
                busy_until[i] = open[i].kind == WEFT_REPLY_ASSIGNMENT
                                    ? f.s.now_ms + 700 + 300 * i
                                    : f.s.now_ms + open[i].come_back_ms;
            }
            if (call[i] == 0 && f.s.now_ms >= busy_until[i]) {
                if (open[i].kind == WEFT_REPLY_ASSIGNMENT) {
                    fix_deliver(&f, &open[i], step);
                    open[i].kind = WEFT_REPLY_DONE;
                }
                call[i] = fix_wait(&f, name);
            }
        }
        sim_shell_work_all(&f.s);
        sim_shell_pass(&f.s, 100);
    }
    const uint32_t a = fix_job(&f, small)->rounds_done;
    const uint32_t b = fix_job(&f, large)->rounds_done;
    assert_true(a >= 5 && b >= 5);
    assert_true(a <= 2 * b + 2 && b <= 2 * a + 2); /* one in turn */
    fix_done(&f);
}

/* The large job waits in vain: the small one loses a bounded time a round, no more. */
static void test_select__a_job_without_enough_clients_holds_nobody_up(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.rounds = 100;
    f.def.minimum = 2;
    f.def.deadline_ms = 600000;
    f.def.lease_ms = 600000;
    const uint64_t busy = fix_submit(&f, "busy");
    (void)fix_wait(&f, "a");
    assert_int_equal(fix_assigned(&f, "b").row.job_id, busy);
    f.def.target = 3;
    f.def.minimum = 3;
    (void)fix_submit(&f, "large");
    f.def.target = 1;
    f.def.minimum = 1;
    const uint64_t small = fix_submit(&f, "small");
    for (uint64_t round = 1; round <= 3; round++) {
        const uint64_t call = fix_wait(&f, "c"); /* a and b may come back any moment */
        sim_shell_pass(&f.s, 1999);
        fix_unanswered(&f, call);
        sim_shell_pass(&f.s, 1); /* selection_window_ms + come_back_ms */
        const sim_answer c = fix_answer(&f, call);
        assert_int_equal(c.row.job_id, small);
        fix_deliver(&f, &c, round);
        sim_shell_work_all(&f.s);
    }
    assert_int_equal(fix_control(&f, "busy", WEFT_JOB_CANCELED).kind, WEFT_REPLY_DONE);
    assert_int_equal(fix_assigned(&f, "c").row.job_id, small); /* alone: no waiting at all */
    fix_done(&f);
}

/* ---- a round --------------------------------------------------------------------------------- */

static void test_round__goes_from_cohort_to_version(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.minimum = 2;
    const uint64_t id = fix_submit(&f, "job");
    uint8_t initial[WEFT_DIGEST_BYTES];
    sim_digest(initial, f.def.init_seed);
    assert_int_equal(f.s.db.n_versions, 1);
    assert_memory_equal(f.s.db.versions[0].digest, initial, sizeof initial);
    assert_int_equal(f.s.db.versions[0].round, 0);
    const uint64_t held = fix_wait(&f, "a");
    const sim_answer b = fix_assigned(&f, "b");
    const sim_answer a = fix_answer(&f, held);
    assert_memory_equal(a.base, initial, sizeof initial);
    assert_int_equal(a.row.task, WEFT_TASK_TRAIN);
    assert_int_equal(a.cohort, 2);
    (void)sim_sent(&f.s, "a", initial, SIM_MODEL);
    (void)sim_sent(&f.s, "b", initial, 10); /* the rest another time */
    (void)sim_sent(&f.s, "b", initial, SIM_MODEL - 10);
    static const uint8_t other[WEFT_DIGEST_BYTES] = {1};
    (void)sim_sent(&f.s, "b", other, SIM_MODEL);   /* of another job */
    (void)sim_sent(&f.s, "c", initial, SIM_MODEL); /* without a part in the round */
    const weft_metrics low = fix_metric("loss", 1.0);
    const weft_metrics high = fix_metric("loss", 4.0);
    assert_int_equal(fix_update_full(&f, &b, 2, 30, WEFT_REFUSAL_NONE, &high).kind,
                     WEFT_REPLY_RECEIPT);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_TRAINING);
    assert_int_equal(fix_update_full(&f, &a, 1, 10, WEFT_REFUSAL_NONE, &low).kind,
                     WEFT_REPLY_RECEIPT);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_AGGREGATING);
    assert_int_equal(f.s.n_work, 2); /* two folds; the sum is finished after both */
    (void)sim_shell_work(&f.s, 1);
    assert_int_equal(f.s.n_work, 1);
    (void)sim_shell_work(&f.s, 0);
    assert_int_equal(f.s.n_work, 1);
    assert_int_equal(f.s.work[0].kind, WEFT_EVENT_FINISHED);
    assert_true(sim_spool_has(&f.s, a.row.assignment_id));
    (void)sim_shell_work(&f.s, 0);
    const weft_round_row *r = fix_round(&f, id, 1);
    assert_int_equal(r->state, WEFT_ROUND_DONE);
    assert_int_equal(r->accepted, 2);
    assert_int_equal(r->n_examples, 40);
    assert_int_equal(r->bytes_up, 2 * SIM_MODEL);
    assert_int_equal(r->bytes_down, 2 * SIM_MODEL);
    double loss = 0.0;
    assert_true(weft_metrics_get(&r->train, "loss", &loss));
    assert_true(loss == (10 * 1.0 + 30 * 4.0) / 40);
    assert_int_equal(f.s.db.n_versions, 2);
    const weft_version_row *v = &f.s.db.versions[1];
    assert_true(v->has_parent && v->round == 1 && v->job_id == id && v->bytes == SIM_MODEL);
    assert_memory_equal(v->parent, initial, sizeof initial);
    assert_memory_equal(v->digest, r->version, sizeof initial);
    assert_memory_equal(f.s.published[0].version, v->digest, sizeof initial);
    assert_false(sim_spool_has(&f.s, a.row.assignment_id)); /* the spool is free again */
    const weft_job_row *job = fix_job(&f, id);
    assert_int_equal(job->rounds_done, 1);
    assert_int_equal(job->round, 2);
    /* the next round is based on it */
    const uint64_t again = fix_wait(&f, "a");
    (void)fix_assigned(&f, "b");
    assert_memory_equal(fix_answer(&f, again).base, v->digest, sizeof initial);
    fix_done(&f);
}

static void test_round__over_selection_makes_the_slow_ones_late(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.over_selection = 1.5; /* 3 for 2 */
    f.def.minimum = 2;
    f.def.selection_window_ms = 1000;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t one = fix_wait(&f, "a");
    const uint64_t two = fix_wait(&f, "b");
    const sim_answer c = fix_assigned(&f, "c");
    const sim_answer a = fix_answer(&f, one);
    const sim_answer b = fix_answer(&f, two);
    fix_deliver(&f, &a, 1);
    fix_deliver(&f, &c, 3);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_AGGREGATING);
    assert_int_equal(sim_assignment(&f.s, b.row.assignment_id)->state, WEFT_ASSIGNMENT_LATE);
    sim_answer late = fix_update(&f, &b, 2);
    fix_expect_refused(&late, WEFT_REFUSAL_LATE);
    assert_string_equal(late.detail, "the round has closed");
    assert_false(sim_spool_has(&f.s, b.row.assignment_id));
    sim_answer p = fix_progress(&f, &b);
    assert_true(p.stop && p.refusal == WEFT_REFUSAL_LATE && !p.has_receipt);
    sim_shell_work_all(&f.s);
    late = fix_update(&f, &b, 2); /* the same answer after the round's end */
    fix_expect_refused(&late, WEFT_REFUSAL_LATE);
    p = fix_progress(&f, &b);
    assert_true(p.stop && p.refusal == WEFT_REFUSAL_LATE);
    assert_int_equal(fix_round(&f, id, 1)->accepted, 2);
    fix_done(&f);
}

static void test_round__closes_at_the_deadline_with_the_minimum(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.minimum = 1;
    f.def.selection_window_ms = 1000;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t one = fix_wait(&f, "a");
    const sim_answer b = fix_assigned(&f, "b");
    const sim_answer a = fix_answer(&f, one);
    fix_deliver(&f, &a, 1);
    for (unsigned i = 0; i < 6; i++) { /* b keeps its lease to the end */
        sim_shell_pass(&f.s, 9999);
        assert_false(fix_progress(&f, &b).stop);
    }
    sim_shell_pass(&f.s, 5);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_TRAINING);
    sim_shell_pass(&f.s, 1);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_AGGREGATING);
    assert_string_equal(fix_round(&f, id, 1)->reason, "1 updates at the deadline");
    sim_shell_work_all(&f.s);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    fix_done(&f);
}

static void keep_alive(core_fixture *f, const sim_answer *a, uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 5000) {
        sim_shell_pass(&f->s, 5000);
        (void)fix_progress(f, a);
    }
}

static void test_round__fails_openly_and_is_tried_again(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.minimum = 2;
    const uint64_t id = fix_submit(&f, "job");
    uint64_t wait_ms = 1000;
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        const uint64_t one = fix_wait(&f, "a");
        const sim_answer b = fix_assigned(&f, "b");
        const sim_answer a = fix_answer(&f, one);
        assert_int_equal(a.row.attempt, attempt);
        fix_deliver(&f, &a, attempt);
        keep_alive(&f, &b, 60000);
        const weft_round_row *r = sim_round(&f.s, id, 1, attempt);
        assert_int_equal(r->state, WEFT_ROUND_FAILED);
        assert_string_equal(r->reason, "1 updates at the deadline, at least 2 are needed");
        /* the receipt stands, in a round that failed openly */
        assert_int_equal(sim_assignment(&f.s, a.row.assignment_id)->state,
                         WEFT_ASSIGNMENT_ACCEPTED);
        assert_int_equal(sim_assignment(&f.s, b.row.assignment_id)->state, WEFT_ASSIGNMENT_LATE);
        assert_int_equal(f.s.n_spool, 0);
        assert_int_equal(f.s.n_sums, 0);
        const weft_job_row *job = fix_job(&f, id);
        assert_int_equal(job->attempts, attempt);
        if (attempt < 3) {
            assert_int_equal(job->status, WEFT_JOB_RUNNING);
            const uint64_t deadline = r->deadline_ms;
            assert_int_equal(job->retry_at_ms, deadline + wait_ms);
            const uint64_t early = fix_wait(&f, "a");
            const uint64_t early2 = fix_wait(&f, "b");
            if (f.s.now_ms < job->retry_at_ms) {
                fix_unanswered(&f, early); /* not before the backoff is over */
            }
            (void)sim_gone(&f.s, early);
            (void)sim_gone(&f.s, early2);
            sim_shell_pass(&f.s, wait_ms);
            wait_ms *= 2;
        }
    }
    const weft_job_row *job = fix_job(&f, id);
    assert_int_equal(job->status, WEFT_JOB_PAUSED);
    assert_string_equal(job->reason, "round 1 failed 3 times, at last: 1 updates at the deadline, "
                                     "at least 2 are needed");
    sim_shell_pass(&f.s, 100000);
    const uint64_t one = fix_wait(&f, "a");
    fix_unanswered(&f, fix_wait(&f, "b")); /* paused */
    assert_int_equal(fix_control(&f, "job", WEFT_JOB_RUNNING).kind, WEFT_REPLY_DONE);
    assert_int_equal(fix_answer(&f, one).row.attempt, 4); /* attempts are never numbered twice */
    assert_string_equal(fix_job(&f, id)->reason, "");
    fix_done(&f);
}

static void test_round__backoff_is_doubled_up_to_an_hour(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.max_attempts = 8;
    f.def.backoff_ms = 500000;
    f.def.target = 1;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t want_ms[] = {500000, 1000000, 2000000, 3600000, 3600000};
    for (unsigned i = 0; i < 5; i++) {
        const sim_answer a = fix_assigned(&f, "a");
        assert_int_equal(fix_abandon(&f, &a).kind, WEFT_REPLY_DONE);
        assert_int_equal(fix_job(&f, id)->retry_at_ms - f.s.now_ms, want_ms[i]);
        sim_shell_pass(&f.s, want_ms[i]);
    }
    fix_done(&f);
}

static void test_round__a_result_that_is_not_finite_fails_it(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    const uint64_t id = fix_submit(&f, "job");
    f.s.finish_fails = true;
    fix_train(&f, "a", 1);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_FAILED);
    assert_string_equal(fix_round(&f, id, 1)->reason, "the result is not finite");
    assert_int_equal(f.s.db.n_versions, 1); /* nothing is published */
    f.s.finish_fails = false;
    sim_shell_pass(&f.s, 1000);
    fix_train(&f, "a", 2);
    assert_int_equal(fix_round(&f, id, 1)->attempt, 2);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    assert_int_equal(fix_job(&f, id)->attempts, 0);
    fix_done(&f);
}

static void test_round__closes_when_nobody_trains_any_more(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 3;
    f.def.selection_window_ms = 1000;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t one = fix_wait(&f, "a");
    const uint64_t two = fix_wait(&f, "b");
    const sim_answer c = fix_assigned(&f, "c");
    const sim_answer a = fix_answer(&f, one);
    const sim_answer b = fix_answer(&f, two);
    fix_deliver(&f, &a, 1);
    (void)fix_abandon(&f, &b);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_TRAINING);
    (void)fix_abandon(&f, &c);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_AGGREGATING);
    fix_done(&f);
}

static void test_round__fails_early_without_hope(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.minimum = 2;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t one = fix_wait(&f, "a");
    const sim_answer b = fix_assigned(&f, "b");
    const sim_answer a = fix_answer(&f, one);
    fix_deliver(&f, &a, 1);
    (void)fix_abandon(&f, &b);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_FAILED);
    assert_string_equal(fix_round(&f, id, 1)->reason,
                        "only 1 of at least 2 updates can still come");
    fix_done(&f);
}

/* Somebody else was there a moment ago: the round waits for a replacement as long as that is so. */
static void test_round__waits_for_a_replacement_that_is_about(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.minimum = 2;
    f.def.deadline_ms = 600000;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t one = fix_wait(&f, "a");
    const sim_answer b = fix_assigned(&f, "b");
    const sim_answer a = fix_answer(&f, one);
    const uint64_t c = fix_wait(&f, "c");
    sim_shell_pass(&f.s, 9000); /* c waits */
    (void)fix_progress(&f, &a);
    (void)fix_progress(&f, &b);
    (void)sim_gone(&f.s, c);
    (void)fix_wait(&f, "c");
    f.call++;
    (void)sim_check_in(&f.s, f.call, "c", "d", 0); /* is sent away, but about */
    fix_deliver(&f, &a, 1);
    (void)fix_abandon(&f, &b);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_TRAINING);
    const sim_answer again = fix_assigned(&f, "c"); /* takes b's slot */
    assert_int_equal(again.row.round, 1);
    assert_int_equal(again.row.attempt, 1);
    fix_deliver(&f, &again, 3);
    sim_shell_work_all(&f.s);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    /* and now nobody comes: given up once c has not been heard of for a while */
    (void)fix_wait(&f, "a");
    const sim_answer bb = fix_assigned(&f, "b");
    f.call++;
    (void)sim_check_in(&f.s, f.call, "c", "d", 0);
    (void)fix_abandon(&f, &bb);
    assert_int_equal(fix_round(&f, id, 2)->state, WEFT_ROUND_TRAINING);
    sim_shell_pass(&f.s, 40000);
    assert_int_equal(fix_round(&f, id, 2)->state, WEFT_ROUND_FAILED);
    fix_done(&f);
}

/* ---- leases ---------------------------------------------------------------------------------- */

static void test_lease__lost_slots_go_to_clients_that_wait(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    const uint64_t id = fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    const uint64_t b = fix_wait(&f, "b");
    sim_shell_pass(&f.s, 9999);
    fix_unanswered(&f, b);
    sim_shell_pass(&f.s, 1);
    const weft_assignment_row *lost = sim_assignment(&f.s, a.row.assignment_id);
    assert_int_equal(lost->state, WEFT_ASSIGNMENT_EXPIRED);
    assert_string_equal(lost->reason, "no sign of life for 10000 ms");
    const sim_answer r = fix_answer(&f, b);
    assert_int_equal(r.kind, WEFT_REPLY_ASSIGNMENT);
    assert_int_equal(r.row.attempt, 1);
    assert_int_equal(fix_round(&f, id, 1)->eligible, 1); /* b was not there at the start */
    /* the slot is taken: a is late, whatever it does */
    const sim_answer p = fix_progress(&f, &a);
    assert_true(p.stop && p.refusal == WEFT_REFUSAL_LATE);
    const sim_answer u = fix_update(&f, &a, 1);
    fix_expect_refused(&u, WEFT_REFUSAL_LATE);
    fix_unanswered(&f, fix_wait(&f, "a"));
    fix_deliver(&f, &r, 2);
    sim_shell_work_all(&f.s);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    fix_done(&f);
}

static void test_lease__progress_renews_it(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    (void)fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    for (unsigned i = 0; i < 5; i++) {
        sim_shell_pass(&f.s, 9999);
        const sim_answer p = fix_progress(&f, &a);
        assert_false(p.stop);
        assert_int_equal(p.left_ms, 60000 - (i + 1) * 9999);
    }
    assert_int_equal(sim_assignment(&f.s, a.row.assignment_id)->state, WEFT_ASSIGNMENT_OPEN);
    fix_done(&f);
}

static void test_lease__a_client_comes_back_to_its_free_slot(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        core_fixture f;
        fix_init(&f);
        f.def.target = 1;
        const uint64_t id = fix_submit(&f, "job");
        const sim_answer a = fix_assigned(&f, "a");
        sim_shell_pass(&f.s, 20000);
        assert_int_equal(sim_assignment(&f.s, a.row.assignment_id)->state, WEFT_ASSIGNMENT_EXPIRED);
        assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_TRAINING);
        if (way == 0) {
            assert_false(fix_progress(&f, &a).stop);
        } else if (way == 1) {
            assert_int_equal(fix_assigned(&f, "a").row.assignment_id, a.row.assignment_id);
        }
        if (way < 2) {
            assert_int_equal(sim_assignment(&f.s, a.row.assignment_id)->state,
                             WEFT_ASSIGNMENT_OPEN);
            assert_string_equal(sim_assignment(&f.s, a.row.assignment_id)->reason, "");
        }
        fix_deliver(&f, &a, 1); /* nothing that was trained is lost */
        sim_shell_work_all(&f.s);
        assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
        fix_done(&f);
    }
}

static void test_lease__who_gave_up_is_not_asked_again_in_the_same_attempt(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 2;
    f.def.selection_window_ms = 1000;
    (void)fix_submit(&f, "job");
    const uint64_t one = fix_wait(&f, "a");
    const sim_answer b = fix_assigned(&f, "b");
    (void)fix_answer(&f, one);
    (void)fix_abandon(&f, &b);
    fix_unanswered(&f, fix_wait(&f, "b"));
    const sim_answer c = fix_assigned(&f, "c");
    assert_int_equal(c.row.attempt, 1);
    fix_done(&f);
}

/* ---- updates --------------------------------------------------------------------------------- */

static void test_update__twice_gives_the_same_receipt(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    const uint64_t id = fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    const sim_answer first = fix_update(&f, &a, 1);
    assert_int_equal(first.kind, WEFT_REPLY_RECEIPT);
    sim_shell_pass(&f.s, 50);
    sim_answer again = fix_update(&f, &a, 1);
    assert_int_equal(again.kind, WEFT_REPLY_RECEIPT);
    assert_memory_equal(&again.row, &first.row, sizeof first.row);
    sim_answer other = fix_update(&f, &a, 2);
    fix_expect_refused(&other, WEFT_REFUSAL_CONFLICT);
    const sim_answer p = fix_progress(&f, &a);
    assert_true(p.has_receipt && !p.stop);
    assert_memory_equal(&p.row, &first.row, sizeof first.row);
    sim_shell_work_all(&f.s);
    assert_int_equal(fix_round(&f, id, 1)->accepted, 1);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    again = fix_update(&f, &a, 1); /* after the round's end, too */
    assert_memory_equal(&again.row, &first.row, sizeof first.row);
    other = fix_update(&f, &a, 2);
    fix_expect_refused(&other, WEFT_REFUSAL_CONFLICT);
    const sim_answer b = fix_assigned(&f, "a"); /* and while the next one runs */
    again = fix_update(&f, &a, 1);
    assert_memory_equal(&again.row, &first.row, sizeof first.row);
    fix_deliver(&f, &b, 5);
    fix_done(&f);
}

static void test_update__of_somebody_else_is_unknown(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    (void)fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    sim_answer foreign = a;
    memcpy(foreign.row.client, "mallory", 8);
    sim_answer got = fix_update(&f, &foreign, 1);
    fix_expect_refused(&got, WEFT_REFUSAL_UNKNOWN);
    sim_answer p = fix_progress(&f, &foreign);
    assert_true(p.stop && p.refusal == WEFT_REFUSAL_UNKNOWN);
    got = fix_abandon(&f, &foreign);
    assert_int_equal(got.kind, WEFT_REPLY_ERROR);
    assert_int_equal(got.status, WEFT_E_NOTFOUND);
    foreign = a;
    foreign.row.assignment_id = 99;
    got = fix_update(&f, &foreign, 1);
    fix_expect_refused(&got, WEFT_REFUSAL_UNKNOWN);
    p = fix_progress(&f, &foreign);
    assert_true(p.stop && p.refusal == WEFT_REFUSAL_UNKNOWN);
    assert_int_equal(sim_assignment(&f.s, a.row.assignment_id)->state, WEFT_ASSIGNMENT_OPEN);
    fix_deliver(&f, &a, 1);
    fix_done(&f);
}

static void test_update__is_refused_with_a_reason_that_stays(void **state)
{
    (void)state;
    weft_metrics bad = fix_metric("loss", 1.0);
    bad.n = WEFT_MAX_METRICS + 1;
    const struct {
        bool wrong_base;
        uint64_t n_examples;
        weft_refusal found;
        const weft_metrics *metrics;
        weft_refusal want;
        const char *detail;
    } cases[] = {
        {true, 10, WEFT_REFUSAL_NONE, NULL, WEFT_REFUSAL_WRONG_BASE,
         "the update is not based on this round's model version"},
        {false, 10, WEFT_REFUSAL_NON_FINITE, NULL, WEFT_REFUSAL_NON_FINITE, "not finite"},
        {false, 10, WEFT_REFUSAL_WRONG_DIGEST, NULL, WEFT_REFUSAL_WRONG_DIGEST, "wrong digest"},
        {false, 0, WEFT_REFUSAL_NONE, NULL, WEFT_REFUSAL_WEIGHT,
         "the weight 0 is not within 1..100 (max_examples)"},
        {false, 101, WEFT_REFUSAL_NONE, NULL, WEFT_REFUSAL_WEIGHT,
         "the weight 101 is not within 1..100 (max_examples)"},
        {false, 100, WEFT_REFUSAL_NONE, &bad, WEFT_REFUSAL_METRICS, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        core_fixture f;
        fix_init(&f);
        f.def.target = 1;
        f.def.max_attempts = 1;
        const uint64_t id = fix_submit(&f, "job");
        sim_answer a = fix_assigned(&f, "a");
        a.base[0] ^= (uint8_t)cases[i].wrong_base;
        for (int again = 0; again < 2; again++) {
            const sim_answer got =
                fix_update_full(&f, &a, 1, cases[i].n_examples, cases[i].found, cases[i].metrics);
            fix_expect_refused(&got, cases[i].want);
            if (cases[i].detail) {
                assert_string_equal(got.detail, cases[i].detail);
            }
            assert_false(sim_spool_has(&f.s, a.row.assignment_id));
        }
        const sim_answer good = fix_update_full(&f, &a, 1, 5, WEFT_REFUSAL_NONE, NULL);
        fix_expect_refused(&good, cases[i].want); /* its slot is gone */
        const sim_answer p = fix_progress(&f, &a);
        assert_true(p.stop && p.refusal == cases[i].want);
        const weft_assignment_row *row = sim_assignment(&f.s, a.row.assignment_id);
        assert_int_equal(row->state, WEFT_ASSIGNMENT_REFUSED);
        assert_int_equal(row->refusal, cases[i].want);
        assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_PAUSED);
        fix_done(&f);
    }
}

static void test_update__weights_up_to_the_limit_are_taken(void **state)
{
    (void)state;
    const uint64_t weights[] = {1, 99, 100};
    for (size_t i = 0; i < 3; i++) {
        core_fixture f;
        fix_init(&f);
        (void)fix_submit(&f, "job");
        const sim_answer a = fix_assigned(&f, "a");
        assert_int_equal(
            fix_update_full(&f, &a, 1, weights[i], WEFT_REFUSAL_NONE, NULL).row.n_examples,
            weights[i]);
        fix_done(&f);
    }
}

static void test_abandon__frees_the_slot_once(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.selection_window_ms = 1000;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t one = fix_wait(&f, "a");
    const sim_answer b = fix_assigned(&f, "b");
    const sim_answer a = fix_answer(&f, one);
    assert_int_equal(fix_abandon(&f, &b).kind, WEFT_REPLY_DONE);
    assert_int_equal(fix_abandon(&f, &b).kind, WEFT_REPLY_DONE); /* again: the same answer */
    const weft_assignment_row *row = sim_assignment(&f.s, b.row.assignment_id);
    assert_int_equal(row->state, WEFT_ASSIGNMENT_ABANDONED);
    assert_string_equal(row->reason, "abandoned by the client: out of memory");
    const sim_answer u = fix_update(&f, &b, 1);
    fix_expect_refused(&u, WEFT_REFUSAL_LATE);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_TRAINING);
    fix_deliver(&f, &a, 2);
    assert_int_equal(fix_abandon(&f, &a).kind, WEFT_REPLY_DONE); /* delivered: nothing to give up */
    assert_int_equal(sim_assignment(&f.s, a.row.assignment_id)->state, WEFT_ASSIGNMENT_ACCEPTED);
    fix_done(&f);
}

static void test_core_on__refuses_events_without_a_client(void **state)
{
    (void)state;
    weft_core *core = NULL;
    const weft_core_config config = WEFT_CORE_CONFIG_INIT;
    assert_int_equal(weft_core_new(&core, &config, &weft_alloc_std, NULL), WEFT_OK);
    weft_actions list;
    weft_actions_init(&list, &weft_alloc_std);
    char longest[WEFT_MAX_NAME_BYTES + 2];
    memset(longest, 'a', sizeof longest);
    longest[WEFT_MAX_NAME_BYTES + 1] = '\0';
    weft_event e = {.kind = WEFT_EVENT_CHECK_IN, .call = 1};
    assert_int_equal(weft_core_on(core, &e, 1, &list, NULL), WEFT_E_INTERNAL);
    e.client = longest;
    assert_int_equal(weft_core_on(core, &e, 1, &list, NULL), WEFT_E_INTERNAL);
    longest[WEFT_MAX_NAME_BYTES] = '\0';
    assert_int_equal(weft_core_on(core, &e, 1, &list, NULL), WEFT_OK);
    assert_int_equal(list.n, 1);
    e.kind = (weft_event_kind)99;
    assert_int_equal(weft_core_on(core, &e, 1, &list, NULL), WEFT_E_INTERNAL);
    weft_actions_done(&list);
    weft_core_free(core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_in__is_held_and_sent_away_with_jitter),
        cmocka_unit_test(test_check_in__holds_no_longer_than_allowed),
        cmocka_unit_test(test_check_in__a_second_call_replaces_the_first),
        cmocka_unit_test(test_check_in__answers_an_open_assignment_again),
        cmocka_unit_test(test_check_in__says_when_there_is_nothing_more),
        cmocka_unit_test(test_check_in__limits_the_data_sets),
        cmocka_unit_test(test_call_gone__takes_the_client_out),
        cmocka_unit_test(test_select__waits_for_the_minimum_and_the_window),
        cmocka_unit_test(test_select__starts_at_once_with_a_full_cohort),
        cmocka_unit_test(test_select__orders_the_recorded_eligible_by_hmac),
        cmocka_unit_test(test_core_order__is_uniform),
        cmocka_unit_test(test_select__gives_a_client_one_part_at_a_time),
        cmocka_unit_test(test_select__jobs_take_turns),
        cmocka_unit_test(test_select__a_job_of_one_does_not_starve_a_job_of_three),
        cmocka_unit_test(test_select__a_job_without_enough_clients_holds_nobody_up),
        cmocka_unit_test(test_round__goes_from_cohort_to_version),
        cmocka_unit_test(test_round__over_selection_makes_the_slow_ones_late),
        cmocka_unit_test(test_round__closes_at_the_deadline_with_the_minimum),
        cmocka_unit_test(test_round__fails_openly_and_is_tried_again),
        cmocka_unit_test(test_round__backoff_is_doubled_up_to_an_hour),
        cmocka_unit_test(test_round__a_result_that_is_not_finite_fails_it),
        cmocka_unit_test(test_round__closes_when_nobody_trains_any_more),
        cmocka_unit_test(test_round__fails_early_without_hope),
        cmocka_unit_test(test_round__waits_for_a_replacement_that_is_about),
        cmocka_unit_test(test_lease__lost_slots_go_to_clients_that_wait),
        cmocka_unit_test(test_lease__progress_renews_it),
        cmocka_unit_test(test_lease__a_client_comes_back_to_its_free_slot),
        cmocka_unit_test(test_lease__who_gave_up_is_not_asked_again_in_the_same_attempt),
        cmocka_unit_test(test_update__twice_gives_the_same_receipt),
        cmocka_unit_test(test_update__of_somebody_else_is_unknown),
        cmocka_unit_test(test_update__is_refused_with_a_reason_that_stays),
        cmocka_unit_test(test_update__weights_up_to_the_limit_are_taken),
        cmocka_unit_test(test_abandon__frees_the_slot_once),
        cmocka_unit_test(test_core_on__refuses_events_without_a_client),
    };
    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
