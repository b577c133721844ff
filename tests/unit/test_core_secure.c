/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/core's secure rounds on the coordinator in memory: it dies at every step, clients die in
 * every phase, messages come twice, late and as garbage. What must hold is checked on the way, see
 * sim/secure_rounds.h.
 */
#include "sim/secure_rounds.h"

#include <string.h>

static rounds_world w;

/* Every round in its first attempt; the last one's sum has so many clients. */
static void check_done(uint32_t rounds, uint32_t n_summed)
{
    assert_int_equal(fix_job(&w.f, w.job_id)->status, WEFT_JOB_DONE);
    for (uint32_t r = 1; r <= rounds; r++) {
        assert_int_equal(fix_round(&w.f, w.job_id, r)->state, WEFT_ROUND_DONE);
        assert_int_equal(fix_round(&w.f, w.job_id, r)->attempt, 1);
    }
    assert_int_equal(w.n_summed, n_summed);
    assert_int_equal(fix_round(&w.f, w.job_id, rounds)->accepted, n_summed);
    assert_int_equal(w.f.s.db.n_secure, 0); /* what is over is forgotten */
}

static void test_core_secure__rounds_give_the_plain_sum(void **state)
{
    (void)state;
    const weft_adversary against[] = {WEFT_ADVERSARY_ACTIVE, WEFT_ADVERSARY_CURIOUS};
    for (size_t i = 0; i < 2; i++) {
        rounds_init(&w, 5, 3, against[i], 1);
        rounds_run(&w);
        check_done(3, 5);
        assert_int_equal(w.n_sums, 3);
        rounds_done(&w);
    }
}

/* ---- the coordinator dies -------------------------------------------------------------------- */

/* Before any action, after any transaction and before its replies: same session, same sum, in the
 * first attempt, and no client in two sessions. */
static void test_core_secure__dies_at_every_step(void **state)
{
    (void)state;
    bool died = true;
    size_t at = 0;
    for (; died; at++) {
        rounds_init(&w, 4, 1, WEFT_ADVERSARY_CURIOUS, 2);
        const uint64_t before = w.f.s.crashes;
        w.f.s.crash_in = at;
        rounds_run(&w);
        died = w.f.s.crashes > before;
        check_done(1, 4);
        for (uint32_t i = 0; i < w.n; i++) {
            assert_int_equal(w.client[i].n_sessions, 1);
        }
        rounds_done(&w);
    }
    assert_true(at > 60); /* there were so many steps */
}

static void test_core_secure__dies_at_every_step_against_an_active_adversary(void **state)
{
    (void)state;
    bool died = true;
    for (size_t at = 0; died; at += 3) {
        rounds_init(&w, 5, 1, WEFT_ADVERSARY_ACTIVE, at);
        const uint64_t before = w.f.s.crashes;
        w.client[0].die_receipt = true; /* with a dropout in the middle */
        w.f.s.crash_in = at;
        rounds_run(&w);
        died = w.f.s.crashes > before;
        check_done(1, 5);
        rounds_done(&w);
    }
}

static void test_core_secure__everybody_is_restored_before_every_step(void **state)
{
    (void)state;
    rounds_init(&w, 5, 2, WEFT_ADVERSARY_ACTIVE, 3);
    w.crash_always = true;
    w.restart_clients = true;
    rounds_run(&w);
    check_done(2, 5);
    rounds_done(&w);
}

/* ---- clients die ----------------------------------------------------------------------------- */

typedef struct death {
    uint32_t before; /* the type that is never sent */
    bool masked, receipt;
    uint32_t summed; /* of 6, when one dies so */
} death;

static const death deaths[] = {
    {WEFT_SECAGG_SHARES, false, false, 5},
    {0, true, false, 5},
    {0, false, true, 6},
    {WEFT_SECAGG_CONFIRM, false, false, 6},
    {WEFT_SECAGG_ANSWER, false, false, 6},
};

static void die(rounds_client *c, const death *d)
{
    c->die_before = d->before;
    c->die_masked = d->masked;
    c->die_receipt = d->receipt;
}

static void test_core_secure__goes_on_without_a_client_that_dies_in_any_phase(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) {
        for (int restarts = 0; restarts < 2; restarts++) {
            rounds_init(&w, 6, 1, WEFT_ADVERSARY_ACTIVE, 4 + i);
            w.crash_always = restarts;
            die(&w.client[i], &deaths[i]);
            rounds_run(&w);
            assert_true(w.client[i].gone);
            check_done(1, deaths[i].summed);
            rounds_done(&w);
        }
    }
}

/* Too many die: the round fails with the reason, no sum comes out, and where the masks were still
 * on nobody has answered for them. */
static void test_core_secure__below_the_threshold_nothing_is_revealed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) {
        rounds_init(&w, 5, 1, WEFT_ADVERSARY_ACTIVE, 20 + i);
        die(&w.client[0], &deaths[i]);
        die(&w.client[1], &deaths[i]);
        die(&w.client[2], &deaths[i]);
        while (w.f.s.db.n_rounds == 0 || w.f.s.db.rounds[0].closed_unix_ms == 0) {
            rounds_turn(&w);
        }
        const weft_round_row *round = &w.f.s.db.rounds[0];
        assert_int_equal(round->state, WEFT_ROUND_FAILED);
        assert_non_null(strstr(round->reason, "secure aggregation failed: "));
        assert_int_equal(w.n_sums, 0);
        assert_false(round->has_version);
        if (deaths[i].before != WEFT_SECAGG_ANSWER) {
            assert_int_equal(w.n_answers, 0);
        } else {
            assert_int_equal(w.n_answers, 2); /* fewer than the threshold of 3 */
        }
        rounds_done(&w);
    }
}

/* ---- an asker after the end ------------------------------------------------------------------ */

/* It comes back when its round is over, also to a coordinator that has restarted since. */
static void test_core_secure__one_that_missed_the_end_hears_of_it(void **state)
{
    (void)state;
    for (int restarted = 0; restarted < 2; restarted++) {
        for (int failed = 0; failed < 2; failed++) {
            rounds_init(&w, 5, 1, WEFT_ADVERSARY_ACTIVE, 30);
            sim_answer a;
            for (uint32_t i = 0; i < (failed ? 3U : 1U); i++) {
                w.client[i].die_receipt = true;
            }
            while (w.f.s.db.n_rounds == 0 || fix_round(&w.f, w.job_id, 1)->closed_unix_ms == 0) {
                rounds_turn(&w);
            }
            if (restarted) {
                sim_shell_crash(&w.f.s);
            }
            rounds_client *c = &w.client[0];
            assert_true(rounds_send(&w, c, weft_secagg_client_outbox(c->machine),
                                    WEFT_SECAGG_DELIVERY, &a));
            assert_int_equal(a.secure.state,
                             failed ? WEFT_SECAGG_NEXT_FAILED : WEFT_SECAGG_NEXT_DONE);
            assert_int_equal(a.secure.reason, failed ? WEFT_SECAGG_ROUND_FAILED : 0);
            assert_string_equal(a.detail, failed ? fix_round(&w.f, w.job_id, 1)->reason : "");
            const sim_answer progress = fix_progress(&w.f, &c->assignment);
            assert_true(progress.has_receipt);
            rounds_done(&w);
        }
    }
}

/* ---- what else arrives ----------------------------------------------------------------------- */

static void expect_refused(rounds_client *c, weft_view message)
{
    sim_answer a;
    assert_true(rounds_send(&w, c, message, 0, &a));
    assert_int_equal(a.kind, WEFT_REPLY_SECURE);
    assert_int_equal(a.secure.state, WEFT_SECAGG_NEXT_FAILED);
    assert_int_not_equal(a.secure.reason, WEFT_SECAGG_FINE);
}

/* Garbage, a cut message, one of another session, keys of another client, in every phase; each is
 * refused with a reason, and nothing follows from it. */
static void disturb(rounds_world *world, rounds_client *c)
{
    uint8_t bytes[SIM_PIECE];
    const weft_view outbox = weft_secagg_client_outbox(c->machine);
    const weft_secagg_client_phase phase = weft_secagg_client_phase_get(c->machine);
    const rounds_client *other = &world->client[c == world->client ? 1 : 0];
    if (!other->machine || other->over || phase == WEFT_SECAGG_CLIENT_ANSWERED ||
        fix_round(&world->f, world->job_id, 1)->state != WEFT_ROUND_TRAINING) {
        return;
    }
    memset(bytes, 0x5a, sizeof bytes);
    expect_refused(c, (weft_view){bytes, 100});
    const weft_view foreign = weft_secagg_client_outbox(other->machine);
    if (foreign.size > 0 && foreign.data[3] == WEFT_SECAGG_ADVERTISE) {
        expect_refused(c, foreign);
    }
    if (outbox.size > 0) {
        assert_true(outbox.size <= sizeof bytes);
        memcpy(bytes, outbox.data, outbox.size);
        expect_refused(c, (weft_view){bytes, outbox.size - 1});
        bytes[4] ^= 1; /* of another session */
        expect_refused(c, (weft_view){bytes, outbox.size});
    }
}

static void test_core_secure__garbage_in_every_phase_changes_nothing(void **state)
{
    (void)state;
    const weft_adversary against[] = {WEFT_ADVERSARY_ACTIVE, WEFT_ADVERSARY_CURIOUS};
    for (size_t i = 0; i < 2; i++) {
        rounds_init(&w, 5, 1, against[i], 40);
        w.disturb = disturb;
        rounds_run(&w);
        check_done(1, 5);
        rounds_done(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_core_secure__rounds_give_the_plain_sum),
        cmocka_unit_test(test_core_secure__dies_at_every_step),
        cmocka_unit_test(test_core_secure__dies_at_every_step_against_an_active_adversary),
        cmocka_unit_test(test_core_secure__everybody_is_restored_before_every_step),
        cmocka_unit_test(test_core_secure__goes_on_without_a_client_that_dies_in_any_phase),
        cmocka_unit_test(test_core_secure__below_the_threshold_nothing_is_revealed),
        cmocka_unit_test(test_core_secure__one_that_missed_the_end_hears_of_it),
        cmocka_unit_test(test_core_secure__garbage_in_every_phase_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
