/* SPDX-License-Identifier: Apache-2.0 */
/* The core after a restart from its rows, and when memory runs out in the middle. */
#include "sim/core_fixture.h"

#include <string.h>

/* ---- restart ------------------------------------------------------------------------------- */

static void test_restart__training_goes_on(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.minimum = 2;
    const uint64_t id = fix_submit(&f, "job");
    const uint64_t one = fix_wait(&f, "a");
    const sim_answer b = fix_assigned(&f, "b");
    const sim_answer a = fix_answer(&f, one);
    sim_shell_pass(&f.s, 7000);
    fix_deliver(&f, &a, 1);
    sim_shell_crash(&f.s); /* before the fold is done */
    assert_int_equal(f.s.n_sums, 1);
    assert_int_equal(f.s.n_work, 1); /* it is folded again */
    assert_int_equal(f.s.published[0].job_id, id);
    assert_int_equal(fix_update(&f, &a, 1).kind, WEFT_REPLY_RECEIPT); /* lost with the reply */
    fix_unanswered(&f, fix_wait(&f, "a"));                            /* is not asked again */
    sim_shell_pass(&f.s, 9999);                                       /* leases began anew */
    assert_int_equal(fix_assigned(&f, "b").row.assignment_id, b.row.assignment_id);
    assert_int_equal(fix_round(&f, id, 1)->deadline_ms, 40000 + 60000);
    fix_deliver(&f, &b, 2);
    sim_shell_work_all(&f.s);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    assert_int_equal(fix_round(&f, id, 1)->accepted, 2);
    const uint64_t next = fix_wait(&f, "b"); /* a waits since the restart */
    assert_true(fix_answer(&f, next).row.assignment_id > b.row.assignment_id);
    fix_done(&f);
}

static void test_restart__leases_begin_anew_and_end(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    (void)fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    sim_shell_pass(&f.s, 7000);
    assert_int_equal(fix_submit(&f, "other"), 2); /* a commit: the clock is kept */
    sim_shell_crash(&f.s);
    assert_int_equal(f.s.now_ms, 47000);
    sim_shell_pass(&f.s, 9999);
    assert_int_equal(sim_assignment(&f.s, a.row.assignment_id)->state, WEFT_ASSIGNMENT_OPEN);
    sim_shell_pass(&f.s, 1);
    assert_int_equal(sim_assignment(&f.s, a.row.assignment_id)->state, WEFT_ASSIGNMENT_EXPIRED);
    fix_done(&f);
}

static void test_restart__aggregation_is_done_again(void **state)
{
    (void)state;
    for (size_t done = 0; done < 3; done++) { /* folds and finish that came back before */
        core_fixture f;
        fix_init(&f);
        f.def.minimum = 2;
        const uint64_t id = fix_submit(&f, "job");
        const uint64_t one = fix_wait(&f, "a");
        const sim_answer b = fix_assigned(&f, "b");
        const sim_answer a = fix_answer(&f, one);
        fix_deliver(&f, &a, 1);
        fix_deliver(&f, &b, 2);
        for (size_t i = 0; i < done; i++) {
            (void)sim_shell_work(&f.s, 0);
        }
        sim_shell_crash(&f.s);
        assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_AGGREGATING);
        assert_int_equal(f.s.n_work, 2);
        sim_shell_work_all(&f.s);
        assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
        fix_done(&f);
    }
}

static void test_restart__evaluation_goes_on(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    double values[] = {0.5};
    f.s.self = values;
    f.s.central = fix_central_of_round;
    f.def.target = 1;
    f.def.eval_clients = 2;
    f.def.eval_data = weft_string_copy(&weft_alloc_std, "data", 8);
    const uint64_t id = fix_submit(&f, "job");
    const sim_answer t = fix_assigned(&f, "a");
    fix_deliver(&f, &t, 1);
    (void)sim_shell_work(&f.s, 0);
    (void)sim_shell_work(&f.s, 0);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_EVALUATING);
    const sim_answer a = fix_assigned(&f, "a");
    const sim_answer b = fix_assigned(&f, "b");
    const weft_metrics m = fix_metric("loss", 0.5);
    (void)fix_update_full(&f, &a, 0, 5, WEFT_REFUSAL_NONE, &m);
    sim_shell_crash(&f.s);
    assert_int_equal(f.s.n_work, 1); /* EVALUATE was asked for again */
    assert_int_equal(f.s.n_sums, 0);
    sim_shell_work_all(&f.s);
    sim_shell_crash(&f.s);
    assert_int_equal(f.s.n_work, 0); /* it is recorded */
    assert_int_equal(fix_update_full(&f, &a, 0, 5, WEFT_REFUSAL_NONE, &m).kind, WEFT_REPLY_RECEIPT);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_EVALUATING);
    (void)fix_update_full(&f, &b, 0, 5, WEFT_REFUSAL_NONE, &m);
    assert_int_equal(fix_round(&f, id, 1)->state, WEFT_ROUND_DONE);
    double loss = 0.0;
    assert_true(weft_metrics_get(&fix_round(&f, id, 1)->federated, "loss", &loss));
    fix_done(&f);
}

/* Dead between the commit of a version and everything that follows from it. */
static void test_restart__what_follows_a_commit_is_made_up_for(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    f.def.eval_clients = 1;
    const uint64_t id = fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    fix_deliver(&f, &a, 1);
    (void)sim_shell_work(&f.s, 0);
    f.s.crash_in = 1; /* the persists of FINISHED, and not one action more */
    assert_false(sim_shell_work(&f.s, 0));
    const weft_round_row *r = fix_round(&f, id, 1);
    assert_int_equal(r->state, WEFT_ROUND_EVALUATING);
    assert_memory_equal(f.s.published[0].version, r->version, WEFT_DIGEST_BYTES);
    assert_int_equal(f.s.n_spool, 0);
    assert_int_equal(f.s.n_work, 0);
    assert_int_equal(fix_assigned(&f, "a").row.task, WEFT_TASK_EVALUATE);
    fix_done(&f);
}

static void test_restart__backoff_and_pause_go_on(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    f.def.backoff_ms = 50000;
    const uint64_t id = fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    (void)fix_abandon(&f, &a);
    const uint64_t retry_ms = fix_job(&f, id)->retry_at_ms;
    sim_shell_crash(&f.s);
    assert_int_equal(weft_core_next_ms(f.s.core), retry_ms);
    f.call++;
    const uint64_t call = f.call;
    (void)sim_check_in(&f.s, call, "a", "d", 30000);
    sim_shell_pass(&f.s, 29999);
    fix_unanswered(&f, call);
    (void)sim_gone(&f.s, call);
    sim_shell_pass(&f.s, 20001);
    assert_int_equal(fix_assigned(&f, "a").row.attempt, 2);
    (void)fix_control(&f, "job", WEFT_JOB_PAUSED);
    sim_shell_crash(&f.s);
    assert_int_equal(fix_job(&f, id)->status, WEFT_JOB_PAUSED);
    assert_int_equal(fix_assigned(&f, "a").row.attempt, 2); /* its round is open still */
    fix_done(&f);
}

static void test_restart__ended_jobs_keep_their_names_and_end_their_clients_wait(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    f.def.rounds = 1;
    (void)fix_submit(&f, "job");
    fix_train(&f, "a", 1);
    sim_shell_crash(&f.s);
    assert_int_equal(fix_answer(&f, fix_wait(&f, "a")).kind, WEFT_REPLY_NOTHING_MORE);
    f.def.seed = 99;
    assert_int_equal(fix_submit_def(&f).status, WEFT_E_CONFLICT);
    assert_int_equal(fix_submit(&f, "other"), 2);
    fix_done(&f);
}

/* A receipt that was lost long ago: from the row. */
static void test_restart__knows_the_newest_assignment_of_each_client(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 1;
    (void)fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    fix_deliver(&f, &a, 1);
    sim_shell_work_all(&f.s);
    sim_shell_crash(&f.s);
    assert_int_equal(fix_update(&f, &a, 1).kind, WEFT_REPLY_RECEIPT);
    fix_done(&f);
}

typedef struct told {
    weft_secagg_next state;
    weft_secagg_reason reason;
    char detail[WEFT_REASON_BYTES];
} told;

/* What a client hears that polls the session of an assignment. */
static told poll_ended(weft_core *core, const weft_assignment_row *row)
{
    weft_event e = {.kind = WEFT_EVENT_SECURE_STEP, .call = 7, .client = row->client};
    e.u.secure.assignment_id = row->assignment_id;
    weft_actions out;
    weft_actions_init(&out, &weft_alloc_std);
    assert_int_equal(weft_core_on(core, &e, 60000, &out, NULL), WEFT_OK);
    assert_int_equal(out.n, 1);
    assert_int_equal(out.item[0].kind, WEFT_ACTION_REPLY);
    assert_int_equal(out.item[0].u.reply.kind, WEFT_REPLY_SECURE);
    told ret = {out.item[0].u.reply.u.secure.state, out.item[0].u.reply.u.secure.reason, ""};
    memcpy(ret.detail, out.item[0].u.reply.u.secure.detail, sizeof ret.detail);
    weft_actions_done(&out);
    return ret;
}

/* Its client was away while the round ended and the coordinator restarted. */
static void test_restart__a_secure_session_that_ended_says_how(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    const uint64_t id = fix_submit(&f, "job");
    const weft_job_row job = *fix_job(&f, id);
    weft_assignment_row row = {.assignment_id = 5,
                               .job_id = id,
                               .round = 1,
                               .attempt = 1,
                               .client = "a",
                               .task = WEFT_TASK_TRAIN,
                               .state = WEFT_ASSIGNMENT_ACCEPTED};
    weft_round_row round = {.job_id = id,
                            .round = 1,
                            .attempt = 1,
                            .state = WEFT_ROUND_FAILED,
                            .reason = "secure aggregation failed: below the threshold"};
    const struct {
        weft_assignment_state state;
        weft_task task;
        bool published, measured;
        weft_secagg_next told;
        weft_secagg_reason reason;
    } cases[] = {
        {WEFT_ASSIGNMENT_ACCEPTED, WEFT_TASK_TRAIN, true, false, WEFT_SECAGG_NEXT_DONE, 0},
        {WEFT_ASSIGNMENT_ACCEPTED, WEFT_TASK_TRAIN, false, false, WEFT_SECAGG_NEXT_FAILED,
         WEFT_SECAGG_ROUND_FAILED},
        {WEFT_ASSIGNMENT_ACCEPTED, WEFT_TASK_EVALUATE, true, true, WEFT_SECAGG_NEXT_DONE, 0},
        {WEFT_ASSIGNMENT_ACCEPTED, WEFT_TASK_EVALUATE, true, false, WEFT_SECAGG_NEXT_FAILED,
         WEFT_SECAGG_ROUND_FAILED},
        {WEFT_ASSIGNMENT_LATE, WEFT_TASK_TRAIN, true, false, WEFT_SECAGG_NEXT_FAILED,
         WEFT_SECAGG_LATE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        weft_core *core = NULL;
        weft_actions out;
        weft_actions_init(&out, &weft_alloc_std);
        row.state = cases[i].state;
        row.task = cases[i].task;
        memcpy(row.reason, "it went on", row.state == WEFT_ASSIGNMENT_LATE ? 11 : 0);
        round.state = cases[i].published ? WEFT_ROUND_DONE : WEFT_ROUND_FAILED;
        round.has_version = cases[i].published;
        round.federated = cases[i].measured ? fix_metric("accuracy", 0.5) : (weft_metrics){0};
        assert_int_equal(weft_core_new(&core, &f.s.config, &weft_alloc_std, NULL), WEFT_OK);
        assert_int_equal(weft_core_restore_job(core, &job, NULL), WEFT_OK);
        assert_int_equal(weft_core_restore_ended(core, &row, &round, NULL), WEFT_OK);
        assert_int_equal(weft_core_restore_ended(core, &row, &round, NULL), WEFT_OK); /* known */
        assert_int_equal(weft_core_resume(core, 2, 6, 50000, &out, NULL), WEFT_OK);
        const told got = poll_ended(core, &row);
        assert_int_equal(got.state, cases[i].told);
        assert_int_equal(got.reason, cases[i].reason);
        assert_string_equal(got.detail, got.reason == WEFT_SECAGG_LATE ? row.reason
                                        : got.reason                   ? round.reason
                                                                       : "");
        weft_actions_done(&out);
        weft_core_free(core);
    }
    fix_done(&f);
}

static void test_restore__refuses_rows_that_do_not_fit(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    const uint64_t id = fix_submit(&f, "job");
    const sim_answer a = fix_assigned(&f, "a");
    weft_job_row job = *fix_job(&f, id);
    weft_round_row round = *fix_round(&f, id, 1);
    weft_assignment_row row = *sim_assignment(&f.s, a.row.assignment_id);
    weft_core *core = NULL;
    assert_int_equal(weft_core_new(&core, &f.s.config, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(weft_core_restore_round(core, &round, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_core_restore_assignment(core, &row, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_core_restore_job(core, &job, NULL), WEFT_OK);
    assert_int_equal(weft_core_restore_job(core, &job, NULL), WEFT_E_INVALID); /* twice */
    assert_int_equal(weft_core_restore_round(core, &round, NULL), WEFT_OK);
    assert_int_equal(weft_core_restore_round(core, &round, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_core_restore_assignment(core, &row, NULL), WEFT_OK);
    assert_int_equal(weft_core_restore_assignment(core, &row, NULL), WEFT_OK); /* known */
    row.assignment_id++;
    row.round++;
    assert_int_equal(weft_core_restore_assignment(core, &row, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_core_restore_ended(core, &row, &round, NULL), WEFT_E_INVALID);
    job.job_id = 0;
    assert_int_equal(weft_core_restore_job(core, &job, NULL), WEFT_E_INVALID);
    weft_core_free(core);
    fix_done(&f);
}

static void test_next_ms__is_never_when_nothing_is_open(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    assert_true(weft_core_next_ms(f.s.core) == UINT64_MAX);
    (void)fix_submit(&f, "job");
    assert_true(weft_core_next_ms(f.s.core) == UINT64_MAX);
    (void)fix_assigned(&f, "a");
    assert_true(weft_core_next_ms(f.s.core) == f.s.now_ms + 10000); /* the lease */
    fix_done(&f);
}

/* ---- memory -------------------------------------------------------------------------------- */

typedef struct script {
    const weft_alloc *alloc;
    weft_core *core;
    weft_actions out;
    uint64_t now_ms;
    uint64_t call;
    weft_job_def *def;
    uint8_t base[WEFT_DIGEST_BYTES];
} script;

static weft_status feed(script *s, weft_event e)
{
    s->now_ms += 10;
    s->out.n = 0;
    return weft_core_on(s->core, &e, s->now_ms, &s->out, NULL);
}

static weft_status feed_check_in(script *s, const char *client)
{
    weft_declared declared = {.name = "d"};
    weft_event e = {.kind = WEFT_EVENT_CHECK_IN, .call = ++s->call, .client = client};
    e.u.check_in.datasets = &declared;
    e.u.check_in.n_datasets = 1;
    e.u.check_in.hold_ms = 5;
    return feed(s, e);
}

static weft_status feed_update(script *s, const char *client, uint64_t id)
{
    weft_event e = {.kind = WEFT_EVENT_UPDATE, .call = ++s->call, .client = client};
    e.u.update.assignment_id = id;
    memcpy(e.u.update.base, s->base, WEFT_DIGEST_BYTES);
    e.u.update.n_examples = 3;
    WEFT_TRY(feed(s, e));
    weft_event folded = {.kind = WEFT_EVENT_FOLDED};
    folded.u.folded.assignment_id = id;
    return feed(s, folded);
}

static weft_status run_script(script *s)
{
    weft_event e = {.kind = WEFT_EVENT_JOB_SUBMIT, .call = ++s->call};
    e.u.submit.def = s->def;
    memcpy(e.u.submit.version, s->base, WEFT_DIGEST_BYTES);
    e.u.submit.model_bytes = 400;
    WEFT_TRY(feed(s, e));
    for (unsigned i = 0; i < 40; i++) { /* grow the maps, the timers and the lists */
        const char name[3] = {'x', (char)('A' + i), '\0'};
        WEFT_TRY(feed_check_in(s, name));
    }
    WEFT_TRY(feed_update(s, "xA", 1));
    WEFT_TRY(feed_update(s, "xB", 2));
    weft_event finished = {.kind = WEFT_EVENT_FINISHED};
    finished.u.finished.job_id = 1;
    finished.u.finished.round = 1;
    finished.u.finished.attempt = 1;
    finished.u.finished.ok = true;
    finished.u.finished.bytes = 400;
    finished.u.finished.version[0] = 9;
    WEFT_TRY(feed(s, finished));
    WEFT_TRY(feed_check_in(s, "xA"));
    weft_event revoked = {.kind = WEFT_EVENT_CLIENT_REVOKED, .call = ++s->call};
    revoked.u.client.name = "xA";
    return feed(s, revoked);
}

static weft_status try_script(const weft_alloc *a, void *arg)
{
    script s = {.alloc = a, .def = arg, .base = {1}};
    const weft_core_config config = WEFT_CORE_CONFIG_INIT;
    weft_actions_init(&s.out, a);
    weft_status status = weft_core_new(&s.core, &config, a, NULL);
    if (status == WEFT_OK) {
        status = run_script(&s);
    }
    weft_core_free(s.core);
    weft_actions_done(&s.out);
    return status;
}

static void test_core__every_allocation_may_fail(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.target = 30;
    f.def.minimum = 2;
    test_every_allocation_may_fail(try_script, &f.def);
    f.def.target = 2;
    f.def.minimum = 2;
    test_every_allocation_may_fail(try_script, &f.def);
    fix_done(&f);
}

static weft_status try_restore(const weft_alloc *a, void *arg)
{
    core_fixture *f = arg;
    const sim_db *db = &f->s.db;
    weft_core *core = NULL;
    weft_actions out;
    weft_actions_init(&out, a);
    weft_status status = weft_core_new(&core, &f->s.config, a, NULL);
    if (status == WEFT_OK) {
        status = weft_core_restore_job(core, &db->jobs[0], NULL);
    }
    if (status == WEFT_OK) {
        status = weft_core_restore_round(core, &db->rounds[db->n_rounds - 1], NULL);
    }
    for (size_t i = 0; status == WEFT_OK && i < db->n_assignments; i++) {
        const weft_assignment_row *row = &db->assignments[i];
        const weft_round_row *round = sim_round(&f->s, row->job_id, row->round, row->attempt);
        status = round == &db->rounds[db->n_rounds - 1]
                     ? weft_core_restore_assignment(core, row, NULL)
                     : weft_core_restore_ended(core, row, round, NULL);
    }
    if (status == WEFT_OK) {
        status = weft_core_resume(core, 2, 9, 50000, &out, NULL);
    }
    weft_core_free(core);
    weft_actions_done(&out);
    return status;
}

static void test_core_restore__every_allocation_may_fail(void **state)
{
    (void)state;
    core_fixture f;
    fix_init(&f);
    f.def.minimum = 2;
    (void)fix_submit(&f, "job");
    const uint64_t one = fix_wait(&f, "a");
    sim_answer b = fix_assigned(&f, "b");
    sim_answer a = fix_answer(&f, one);
    fix_deliver(&f, &a, 1);
    fix_deliver(&f, &b, 2);
    sim_shell_work_all(&f.s);
    const uint64_t two = fix_wait(&f, "a");
    (void)fix_assigned(&f, "b");
    a = fix_answer(&f, two);
    fix_deliver(&f, &a, 3);
    test_every_allocation_may_fail(try_restore, &f);
    fix_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restart__training_goes_on),
        cmocka_unit_test(test_restart__leases_begin_anew_and_end),
        cmocka_unit_test(test_restart__aggregation_is_done_again),
        cmocka_unit_test(test_restart__evaluation_goes_on),
        cmocka_unit_test(test_restart__what_follows_a_commit_is_made_up_for),
        cmocka_unit_test(test_restart__backoff_and_pause_go_on),
        cmocka_unit_test(test_restart__ended_jobs_keep_their_names_and_end_their_clients_wait),
        cmocka_unit_test(test_restart__knows_the_newest_assignment_of_each_client),
        cmocka_unit_test(test_restart__a_secure_session_that_ended_says_how),
        cmocka_unit_test(test_restore__refuses_rows_that_do_not_fit),
        cmocka_unit_test(test_next_ms__is_never_when_nothing_is_open),
        cmocka_unit_test(test_core__every_allocation_may_fail),
        cmocka_unit_test(test_core_restore__every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("core_jobs", tests, NULL, NULL);
}
