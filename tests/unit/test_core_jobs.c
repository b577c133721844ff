/* SPDX-License-Identifier: Apache-2.0 */
/* core: jobs, evaluation, conditions to stop, control, revocation. */
#include "sim/core_fixture.h"

#include <string.h>

/* ---- submit -------------------------------------------------------------------------------- */

static void test_submit__again_answers_the_same_job(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    const uint64_t id = fix_submit(&f, "job");
    assert_int_equal(fix_submit(&f, "job"), id);
    assert_int_equal(f.s.db.n_jobs, 1);
    assert_int_equal(fix_job(&f, id)->created_unix_ms, (int64_t)f.s.now_ms + 1000000);
    f.def.plan.learning_rate = 0.25;
    const sim_answer a = fix_submit_def(&f);
    assert_int_equal(a.status, WEFT_E_CONFLICT);
    assert_string_equal(a.detail,
                        "job job exists already with another definition: choose another name");
    assert_int_equal(fix_submit(&f, "other"), id + 1);
    fix_done(&f);
}

/* Each field of a plan makes another definition. */
static void test_submit__compares_the_whole_plan(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    (void)fix_submit(&f, "job");
    const weft_plan plan = f.def.plan;
#define DIFFERS(change)                                                                            \
    do {                                                                                           \
        f.def.plan = plan;                                                                         \
        change;                                                                                    \
        assert_int_equal(fix_submit_def(&f).status, WEFT_E_CONFLICT);                              \
    } while (0)
    DIFFERS(f.def.plan.momentum = 0.5);
    DIFFERS(f.def.plan.seed++);
    DIFFERS(f.def.plan.numerics = WEFT_NUMERICS_PORTABLE);
    DIFFERS((f.def.plan.schedule = WEFT_SCHEDULE_STEP, f.def.plan.schedule_rounds = 1));
    DIFFERS(f.def.plan.warmup_rounds = 1.0);
    DIFFERS(f.def.plan.clip_gradient = 1.0);
    DIFFERS(f.def.plan.early_stop = 1);
#undef DIFFERS
    fix_done(&f);
}

static void test_submit__refuses_what_cannot_run(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.minimum = 3;
    sim_answer a = fix_submit_def(&f);
    assert_int_equal(a.status, WEFT_E_INVALID);
    assert_string_equal(a.detail, "round.minimum is 3, above round.target 2");
    f.def.minimum = 2;
    f.def.secure_aggregation = true;
    a = fix_submit_def(&f);
    assert_int_equal(a.status, WEFT_E_INVALID);
    assert_non_null(strstr(a.detail, "hides nobody"));
    assert_int_equal(f.s.db.n_jobs, 0);
    fix_done(&f);
}

static void test_submit__counts_jobs_that_have_not_ended(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f); /* three at once */
    (void)fix_submit(&f, "one");
    (void)fix_submit(&f, "two");
    (void)fix_submit(&f, "three");
    memcpy(f.def.name, "four", 5);
    assert_int_equal(fix_submit_def(&f).status, WEFT_E_LIMIT);
    (void)fix_control(&f, "two", WEFT_JOB_CANCELED);
    assert_int_equal(fix_submit_def(&f).kind, WEFT_REPLY_JOB);
    memcpy(f.def.name, "two", 4);
    f.def.seed = 77;
    assert_int_equal(fix_submit_def(&f).status, WEFT_E_CONFLICT); /* names stay taken */
    fix_done(&f);
}

/* ---- evaluation ---------------------------------------------------------------------------- */

static void test_evaluation__averages_what_clients_report(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    f.def.eval_clients = 2;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t waiting = fix_wait(&f, "b");
    const sim_answer train = fix_answer(&f, waiting);
    const uint64_t early = fix_wait(&f, "c"); /* waits while b trains */
    fix_deliver(&f, &train, 1);
    sim_shell_work_all(&f.s);
    const weft_round_row *r = fix_round(&f, id, 1);
    assert_int_equal(r->state, WEFT_ROUND_EVALUATING);
    assert_int_equal(fix_job(&f, id)->rounds_done, 0);
    const sim_answer c = fix_answer(&f, early);
    assert_int_equal(c.row.task, WEFT_TASK_EVALUATE);
    assert_memory_equal(c.base, r->version, WEFT_DIGEST_BYTES); /* the new version */
    assert_int_equal(c.left_ms, f.def.eval_deadline_ms);
    const sim_answer b = fix_assigned(&f, "b"); /* trained, may evaluate, too */
    assert_int_equal(b.row.task, WEFT_TASK_EVALUATE);
    fix_unanswered(&f, fix_wait(&f, "d")); /* two are enough */
    const weft_metrics good = fix_metric("accuracy", 0.9);
    const weft_metrics poor = fix_metric("accuracy", 0.5);
    sim_answer wrong = b;
    memcpy(wrong.base, train.base, WEFT_DIGEST_BYTES); /* measured the old version */
    assert_int_equal(fix_update_full(&f, &c, 0, 300, WEFT_REFUSAL_NONE, &good).kind,
                     WEFT_REPLY_RECEIPT);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_EVALUATING);
    assert_int_equal(fix_update_full(&f, &b, 0, 100, WEFT_REFUSAL_NONE, &poor).kind,
                     WEFT_REPLY_RECEIPT);
    assert_int_equal(fix_update_full(&f, &c, 0, 300, WEFT_REFUSAL_NONE, &good).kind,
                     WEFT_REPLY_RECEIPT); /* again */
    r = fix_round(&f, id, 1);
    assert_int_equal(r->state, WEFT_ROUND_DONE);
    assert_int_equal(r->accepted, 1); /* evaluations are no updates */
    double value = 0.0;
    assert_true(weft_metrics_get(&r->federated, "accuracy", &value));
    assert_true(value == (0.9 * 300 + 0.5 * 100) / 400);
    assert_int_equal(fix_job(&f, id)->rounds_done, 1);
    fix_done(&f);
}

static void test_evaluation__refuses_another_version(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    f.def.eval_clients = 1;
    (void)fix_submit(&f, "job");
    fix_train(&f, "a", 1);
    sim_answer e = fix_assigned(&f, "a");
    e.base[3] ^= 1;
    const weft_metrics m = fix_metric("loss", 1.0);
    const sim_answer got = fix_update_full(&f, &e, 0, 1, WEFT_REFUSAL_NONE, &m);
    fix_expect_refused(&got, WEFT_REFUSAL_WRONG_BASE);
    fix_done(&f);
}

static void test_evaluation__ends_at_its_deadline_with_what_there_is(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    f.def.eval_clients = 2;
    f.def.eval_deadline_ms = 30000;
    const uint64_t id = fix_submit(&f, "job");
    fix_train(&f, "a", 1);
    const sim_answer a = fix_assigned(&f, "a");
    const sim_answer b = fix_assigned(&f, "b");
    const weft_metrics m = fix_metric("loss", 0.25);
    assert_int_equal(fix_update_full(&f, &a, 0, 5, WEFT_REFUSAL_NONE, &m).kind, WEFT_REPLY_RECEIPT);
    for (unsigned i = 0; i < 3; i++) {
        sim_shell_pass(&f.s, 9999);
        assert_false(fix_progress(&f, &b).stop);
    }
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_EVALUATING);
    sim_shell_pass(&f.s, 3);
    const weft_round_row *r = fix_round(&f, id, 1);
    assert_int_equal(r->state, WEFT_ROUND_DONE);
    assert_string_equal(r->reason, "the evaluation ended at its deadline: 1 of 2 clients reported");
    double loss = 0.0;
    assert_true(weft_metrics_get(&r->federated, "loss", &loss) && loss == 0.25);
    const sim_answer late = fix_update_full(&f, &b, 0, 5, WEFT_REFUSAL_NONE, &m);
    fix_expect_refused(&late, WEFT_REFUSAL_LATE);
    fix_done(&f);
}

/* Ten are wanted, two exist: not a moment is waited once both have reported. */
static void test_evaluation__does_not_wait_for_clients_that_do_not_exist(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    f.def.eval_clients = 10;
    const uint64_t id = fix_submit(&f, "job");
    fix_train(&f, "a", 1);
    const sim_answer a = fix_assigned(&f, "a");
    const sim_answer b = fix_assigned(&f, "b");
    const weft_metrics m = fix_metric("loss", 0.25);
    (void)fix_update_full(&f, &a, 0, 5, WEFT_REFUSAL_NONE, &m);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_EVALUATING);
    (void)fix_update_full(&f, &b, 0, 5, WEFT_REFUSAL_NONE, &m);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    fix_done(&f);
}

/* One that was there a moment ago may still come: for a while. */
static void test_evaluation__stops_asking_after_a_while(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    f.def.eval_clients = 10;
    f.def.selection_window_ms = 1000;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t one = fix_wait(&f, "a");
    f.call++;
    (void)sim_check_in(&f.s, f.call, "b", "d", 0);
    const sim_answer a = fix_answer(&f, one);
    fix_deliver(&f, &a, 1);
    sim_shell_work_all(&f.s);
    const sim_answer e = fix_assigned(&f, "a");
    const weft_metrics m = fix_metric("loss", 0.25);
    (void)fix_update_full(&f, &e, 0, 5, WEFT_REFUSAL_NONE, &m);
    sim_shell_pass(&f.s, 4999); /* selection window and twice the mean pace */
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_EVALUATING);
    sim_shell_pass(&f.s, 1);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    fix_done(&f);
}

static void test_evaluation__at_the_coordinator(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    double values[] = {0.5, 0.75};
    f.s.self = values;
    f.def.target = 1;
    f.def.rounds = 2;
    f.def.eval_data = weft_string_copy(&weft_alloc_std, "data", 8);
    const uint64_t id = fix_submit(&f, "job");
    f.s.central = fix_central_of_round;
    fix_train(&f, "a", 1);
    double value = 0.0;
    assert_true(weft_metrics_get(&fix_round(&f, id, 1)->central, "accuracy", &value));
    assert_true(value == 0.5);
    f.s.central = NULL; /* it fails: the round goes on without */
    fix_train(&f, "a", 2);
    assert_int_equal(fix_round(&f, id, 2)->state, WEFT_ROUND_DONE);
    assert_int_equal(fix_round(&f, id, 2)->central.n, 0);
    assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_DONE);
    fix_done(&f);
}

static void test_evaluation__comes_every_few_rounds_and_at_the_end(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    double values[] = {0.1, 0.2, 0.3, 0.4, 0.5};
    f.s.self = values;
    f.s.central = fix_central_of_round;
    f.def.target = 1;
    f.def.rounds = 5;
    f.def.eval_every = 2;
    f.def.eval_data = weft_string_copy(&weft_alloc_std, "data", 8);
    const uint64_t id = fix_submit(&f, "job");
    for (uint32_t round = 1; round <= 5; round++) {
        fix_train(&f, "a", round);
        assert_int_equal(fix_round(&f, id, round)->central.n, round % 2 == 0 || round == 5);
    }
    assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_DONE);
    fix_done(&f);
}

/* ---- conditions to stop -------------------------------------------------------------------- */

static void test_stop__after_all_rounds(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    const uint64_t id = fix_submit(&f, "job");
    for (uint32_t round = 1; round <= 3; round++) {
        assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_RUNNING);
        fix_train(&f, "a", round);
    }
    assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_DONE);
    assert_string_equal(fix_job(&f, id)->reason, "all 3 rounds are done");
    assert_int_equal(fix_job(&f, id)->round, 3);
    assert_int_equal(fix_job(&f, id)->rounds_done, 3);
    fix_done(&f);
}

typedef struct stop_case {
    const char *metric;
    double target;
    uint32_t patience;
    double values[6];
    uint32_t rounds; /* done when it stops */
    const char *reason;
} stop_case;

static weft_metrics named_value(void *self, const weft_job_row *job, uint32_t round)
{
    (void)job;
    const stop_case *c = self;
    return fix_metric(c->metric[0] ? c->metric : "loss", c->values[round - 1]);
}

static void test_stop__by_metric_and_patience(void **state)
{
    (void)state;
    stop_case cases[] = {
        {"accuracy", 0.9, 0, {0.5, 0.89, 0.9}, 3, "accuracy 0.9 reached 0.9 in round 3"},
        {"loss", 0.3, 0, {0.5, 0.31, 0.2}, 3, "loss 0.2 reached 0.3 in round 3"},
        {"loss", 0.0, 2, {0.5, 0.6, 0.5}, 3, "loss did not improve on 0.5 in 2 evaluations"},
        {"accuracy",
         1.0,
         2,
         {0.5, 0.4, 0.6, 0.6, 0.55},
         5,
         "accuracy did not improve on 0.6 in 2 evaluations"},
        {"", 0.0, 1, {0.5, 0.4, 0.4}, 3, "loss did not improve on 0.4 in 1 evaluations"},
        {"accuracy", 0.99, 0, {0.1, 0.2, 0.3, 0.4, 0.5, 0.6}, 6, "all 6 rounds are done"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        core_fixture f;
        fix_init(&f);
        f.s.self = &cases[i];
        f.s.central = named_value;
        f.def.target = 1;
        f.def.rounds = 6;
        f.def.eval_data = weft_string_copy(&weft_alloc_std, "data", 8);
        memcpy(f.def.target_metric, cases[i].metric, strlen(cases[i].metric) + 1);
        f.def.target_value = cases[i].target;
        f.def.patience = cases[i].patience;
        const uint64_t id = fix_submit(&f, "job");
        for (uint32_t round = 1; fix_job(&f, id)->status == WEFT_JOB_RUNNING; round++) {
            fix_train(&f, "a", round);
        }
        assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_DONE);
        assert_int_equal(fix_job(&f, id)->rounds_done, cases[i].rounds);
        assert_string_equal(fix_job(&f, id)->reason, cases[i].reason);
        fix_done(&f);
    }
}

/* Federated and central disagree: the clients' word counts. */
static void test_stop__prefers_the_federated_metric(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    double values[] = {0.95, 0.95, 0.95};
    f.s.self = values;
    f.s.central = fix_central_of_round;
    f.def.target = 1;
    f.def.eval_clients = 1;
    f.def.eval_data = weft_string_copy(&weft_alloc_std, "data", 8);
    memcpy(f.def.target_metric, "accuracy", 9);
    f.def.target_value = 0.9;
    const uint64_t id = fix_submit(&f, "job");
    fix_train(&f, "a", 1);
    const sim_answer e = fix_assigned(&f, "a");
    const weft_metrics poor = fix_metric("accuracy", 0.4);
    (void)fix_update_full(&f, &e, 0, 5, WEFT_REFUSAL_NONE, &poor);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_RUNNING);
    fix_done(&f);
}

static void test_stop__statistics_take_one_round(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.task = WEFT_TASK_STATS;
    f.def.data_schema = weft_string_copy(&weft_alloc_std, "column x", 64);
    f.def.eval_clients = 5;
    f.def.target = 1;
    const uint64_t id = fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    assert_int_equal(a.row.task, WEFT_TASK_STATS);
    fix_deliver(&f, &a, 1);
    sim_shell_work_all(&f.s);
    assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_DONE);
    assert_string_equal(fix_job(&f, id)->reason, "the statistics are complete");
    fix_done(&f);
}

/* ---- control ------------------------------------------------------------------------------- */

static void test_control__a_paused_job_finishes_its_round(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    const uint64_t id = fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    assert_int_equal(fix_control(&f, "job", WEFT_JOB_PAUSED).kind, WEFT_REPLY_DONE);
    assert_int_equal(fix_control(&f, "job", WEFT_JOB_PAUSED).kind, WEFT_REPLY_DONE);
    assert_string_equal(fix_job(&f, id)->reason, "paused by the operator: asked for");
    fix_deliver(&f, &a, 1);
    sim_shell_work_all(&f.s);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    const uint64_t call = fix_wait(&f, "a");
    fix_unanswered(&f, call);
    assert_int_equal(fix_control(&f, "job", WEFT_JOB_RUNNING).kind, WEFT_REPLY_DONE);
    assert_int_equal(fix_answer(&f, call).row.round, 2);
    fix_done(&f);
}

static void test_control__cancel_ends_the_round_in_the_open(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    const uint64_t id = fix_submit(&f, "job");
    f.def.target = 1;
    const sim_answer a = fix_assigned(&f, "a");
    const uint64_t b = fix_wait(&f, "b");
    assert_int_equal(fix_control(&f, "job", WEFT_JOB_CANCELED).kind, WEFT_REPLY_DONE);
    assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_CANCELED);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_FAILED);
    assert_string_equal(fix_round(&f, id, 1)->reason, "canceled by the operator: asked for");
    assert_int_equal(sim_assignment(&f.s, a.row.assignment_id)->state, WEFT_ASSIGNMENT_REVOKED);
    assert_int_equal(fix_answer(&f, b).kind, WEFT_REPLY_NOTHING_MORE);
    const sim_answer p = fix_progress(&f, &a);
    assert_true(p.stop && p.refusal == WEFT_REFUSAL_LATE);
    assert_int_equal(f.s.n_sums, 0);
    assert_int_equal(fix_control(&f, "job", WEFT_JOB_CANCELED).kind, WEFT_REPLY_DONE);
    const sim_answer e = fix_control(&f, "job", WEFT_JOB_RUNNING);
    assert_int_equal(e.status, WEFT_E_STATE);
    assert_string_equal(e.detail, "job job is canceled");
    assert_int_equal(fix_control(&f, "nobody", WEFT_JOB_PAUSED).status, WEFT_E_NOTFOUND);
    assert_int_equal(fix_control(&f, "job", WEFT_JOB_DONE).status, WEFT_E_INVALID);
    assert_true(weft_core_next_ms(f.s.core) > f.s.now_ms + 30000);
    fix_done(&f);
}

static void test_control__cancel_while_aggregating_ignores_the_result(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    const uint64_t id = fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    fix_deliver(&f, &a, 1);
    (void)sim_shell_work(&f.s, 0);
    assert_int_equal(f.s.work[0].kind, WEFT_EVENT_FINISHED);
    (void)fix_control(&f, "job", WEFT_JOB_CANCELED);
    (void)sim_shell_work(&f.s, 0);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_FAILED);
    assert_int_equal(f.s.db.n_versions, 1);
    assert_int_equal(fix_update(&f, &a, 1).kind,
                     WEFT_REPLY_RECEIPT); /* it was taken, in the open */
    fix_done(&f);
}

static void test_control__cancel_while_evaluating_keeps_the_version(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    f.def.eval_clients = 2;
    const uint64_t id = fix_submit(&f, "job");
    fix_train(&f, "a", 1);
    const sim_answer e = fix_assigned(&f, "a");
    (void)fix_control(&f, "job", WEFT_JOB_CANCELED);
    assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_CANCELED);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    assert_int_equal(sim_assignment(&f.s, e.row.assignment_id)->state, WEFT_ASSIGNMENT_LATE);
    fix_done(&f);
}

static void test_rollback__goes_on_from_another_version(void **state)
{
    (void)state;
    for (int when = 0; when < 4; when++) { /* between rounds, training, aggregating, evaluating */
        core_fixture f;
        fix_init(&f);
        f.def.target = 1;
        f.def.eval_clients = when == 3;
        f.def.max_attempts = 1;
        const uint64_t id = fix_submit(&f, "job");
        uint8_t initial[WEFT_DIGEST_BYTES];
        memcpy(initial, fix_job(&f, id)->version, sizeof initial);
        fix_train(&f, "a", 1);
        sim_answer a = {0};
        if (when > 0 && when < 3) {
            a = fix_assigned(&f, "a");
        }
        if (when == 2) {
            fix_deliver(&f, &a, 2);
        }
        for (int again = 0; again < 2; again++) {
            f.call++;
            (void)sim_rollback(&f.s, f.call, "job", initial);
            assert_int_equal(fix_answer(&f, f.call).kind, WEFT_REPLY_DONE);
        }
        sim_shell_work_all(&f.s);
        assert_memory_equal(fix_job(&f, id)->version, initial, sizeof initial);
        assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_RUNNING); /* no fault of the round */
        assert_memory_equal(f.s.published[0].version, initial, sizeof initial);
        const sim_answer next = fix_assigned(&f, "a");
        assert_memory_equal(next.base, initial, sizeof initial);
        assert_int_equal(next.row.round, 2);
        assert_int_equal(next.row.attempt, when == 1 || when == 2 ? 2 : 1);
        f.call++;
        (void)sim_rollback(&f.s, f.call, "nobody", initial);
        assert_int_equal(fix_answer(&f, f.call).status, WEFT_E_NOTFOUND);
        fix_done(&f);
    }
}

/* ---- revocation ---------------------------------------------------------------------------- */

static void test_revoked__takes_effect_at_once(void **state)
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
    const uint64_t d = fix_wait(&f, "d");
    fix_deliver(&f, &a, 1);
    const char *names[] = {"d", "a", "b", "never seen"};
    for (size_t i = 0; i < 4; i++) {
        f.call++;
        (void)sim_revoke(&f.s, f.call, names[i]);
        assert_int_equal(fix_answer(&f, f.call).kind, WEFT_REPLY_DONE);
        assert_string_equal(f.s.canceled, names[i]);
    }
    assert_int_equal(f.s.canceled_calls, 4);
    assert_int_equal(fix_answer(&f, d).status, WEFT_E_AUTH);
    const weft_assignment_row *row = sim_assignment(&f.s, b.row.assignment_id);
    assert_int_equal(row->state, WEFT_ASSIGNMENT_REVOKED);
    assert_string_equal(row->reason, "the client was revoked: lost its laptop");
    const sim_answer u = fix_update(&f, &b, 2);
    fix_expect_refused(&u, WEFT_REFUSAL_LATE);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(fix_answer(&f, fix_wait(&f, names[i])).status, WEFT_E_AUTH);
    }
    fix_deliver(&f, &c, 3);
    sim_shell_work_all(&f.s);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    assert_int_equal(fix_round(&f, id, 1)->accepted, 2); /* what was accepted stays in */
    f.call++;
    (void)sim_enrolled(&f.s, f.call, "b"); /* with new keys */
    assert_int_equal(fix_answer(&f, f.call).kind, WEFT_REPLY_DONE);
    const uint64_t again = fix_wait(&f, "b");
    sim_shell_pass(&f.s, 1000);
    assert_int_equal(fix_answer(&f, again).kind, WEFT_REPLY_ASSIGNMENT);
    fix_done(&f);
}

static void test_revoked__cannot_return_to_a_lost_slot(void **state)
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
    sim_shell_pass(&f.s, 10000);
    assert_int_equal(sim_assignment(&f.s, b.row.assignment_id)->state, WEFT_ASSIGNMENT_EXPIRED);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_TRAINING); /* it might come back */
    f.call++;
    (void)sim_revoke(&f.s, f.call, "b");
    const sim_answer u = fix_update(&f, &b, 2);
    fix_expect_refused(&u, WEFT_REFUSAL_LATE);
    sim_shell_pass(&f.s, 2001);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_FAILED); /* and now it cannot */
    fix_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_submit__again_answers_the_same_job),
        cmocka_unit_test(test_submit__compares_the_whole_plan),
        cmocka_unit_test(test_submit__refuses_what_cannot_run),
        cmocka_unit_test(test_submit__counts_jobs_that_have_not_ended),
        cmocka_unit_test(test_evaluation__averages_what_clients_report),
        cmocka_unit_test(test_evaluation__refuses_another_version),
        cmocka_unit_test(test_evaluation__ends_at_its_deadline_with_what_there_is),
        cmocka_unit_test(test_evaluation__does_not_wait_for_clients_that_do_not_exist),
        cmocka_unit_test(test_evaluation__stops_asking_after_a_while),
        cmocka_unit_test(test_evaluation__at_the_coordinator),
        cmocka_unit_test(test_evaluation__comes_every_few_rounds_and_at_the_end),
        cmocka_unit_test(test_stop__after_all_rounds),
        cmocka_unit_test(test_stop__by_metric_and_patience),
        cmocka_unit_test(test_stop__prefers_the_federated_metric),
        cmocka_unit_test(test_stop__statistics_take_one_round),
        cmocka_unit_test(test_control__a_paused_job_finishes_its_round),
        cmocka_unit_test(test_control__cancel_ends_the_round_in_the_open),
        cmocka_unit_test(test_control__cancel_while_aggregating_ignores_the_result),
        cmocka_unit_test(test_control__cancel_while_evaluating_keeps_the_version),
        cmocka_unit_test(test_rollback__goes_on_from_another_version),
        cmocka_unit_test(test_revoked__takes_effect_at_once),
        cmocka_unit_test(test_revoked__cannot_return_to_a_lost_slot),
    };
    return cmocka_run_group_tests_name("core_jobs", tests, NULL, NULL);
}
