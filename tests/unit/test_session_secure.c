/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client session: secure aggregation. Whole rounds in memory: clients that die before any action,
 * vanish for good, lose replies; a coordinator that dies, changes messages or asks for the same
 * round again. Whatever happens, a sum that comes out is the sum of what went in.
 */
#include "sim/secure_world.h"

#include <stdlib.h>
#include <string.h>

static void assert_outcome(secure_world *w, uint32_t k, weft_session_outcome outcome)
{
    const secure_client *c = secure_world_client(w, k);
    if (c->disk.closed != 1 || c->disk.outcome != outcome) {
        fail_msg("client %u: closed %u times, outcome %d, '%s'", k, c->disk.closed,
                 (int)c->disk.outcome, c->disk.reason);
    }
}

/* ---- rounds --------------------------------------------------------------------------------- */

static void test_round__sums_exactly(void **state)
{
    (void)state;
    static const struct {
        uint32_t n;
        uint64_t n_params;
    } cases[] = {{3, 5}, {4, 1}, {8, 1000}, {5, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        secure_world w;
        secure_world_init(&w, cases[i].n, cases[i].n_params, 1 + i);
        secure_world_run(&w);
        assert_true(secure_world_check(&w));
        assert_int_equal(weft_secagg_server_n_included(w.server), cases[i].n);
        for (uint32_t k = 0; k < w.n; k++) {
            const secure_client *c = secure_world_client(&w, k);
            assert_outcome(&w, k, WEFT_OUTCOME_ACCEPTED);
            assert_int_equal(c->n_trained, 1);
            assert_int_equal(c->n_masked_made, 1);
            assert_int_equal(c->disk.masked_round, 3);
            assert_int_equal(c->disk.n_contexts, 1);
            assert_int_equal(c->disk.n_pins, cases[i].n - 1);
            assert_null(c->disk.encoded); /* what is not masked has gone */
        }
        secure_world_done(&w);
    }
}

static void test_round__messages_come_in_pieces(void **state)
{
    (void)state;
    secure_world w;
    secure_world_init(&w, 5, 20, 7);
    w.piece_bytes = 97;
    secure_world_run(&w);
    assert_true(secure_world_check(&w));
    assert_int_equal(weft_secagg_server_n_included(w.server), 5);
    secure_world_done(&w);
}

/* ---- crashes -------------------------------------------------------------------------------- */

/* Client 1 of 3 dies before its k-th action, for every k, and comes back. Without its resends being
 * the same to the byte, the world or its coordinator would complain. */
static void test_crash__before_any_action_loses_nothing(void **state)
{
    (void)state;
    unsigned n_actions = 1;
    for (unsigned die_at = 0; die_at <= n_actions; die_at++) {
        secure_world w;
        secure_world_init(&w, 3, 6, 11);
        secure_world_client(&w, 1)->die_at = die_at;
        secure_world_run(&w);
        const secure_client *c = secure_world_client(&w, 1);
        assert_int_equal(c->died, die_at > 0);
        assert_true(secure_world_check(&w));
        assert_int_equal(weft_secagg_server_n_included(w.server), 3);
        for (uint32_t k = 0; k < 3; k++) {
            assert_outcome(&w, k, WEFT_OUTCOME_ACCEPTED);
        }
        assert_in_range(c->n_masked_made, 1, 2);
        if (die_at == 0) {
            n_actions = c->n_actions;
            assert_true(n_actions > 15);
        }
        secure_world_done(&w);
    }
}

static void test_crash__survives_a_bad_network(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        secure_world w;
        secure_world_init(&w, 4, 6, seed);
        w.fail_of_8 = 1 + (unsigned)(seed % 4);
        w.piece_bytes = seed % 2 ? 200 : 0;
        w.deadline_ms = UINT64_C(86400000);
        secure_world_client(&w, (uint32_t)(seed % 4))->die_at = 3 + (unsigned)seed;
        secure_world_run(&w);
        assert_true(secure_world_check(&w));
        assert_int_equal(weft_secagg_server_n_included(w.server), 4);
        secure_world_done(&w);
    }
}

/* The coordinator dies after each thing that it stored. */
static void test_crash__of_the_coordinator_changes_nothing(void **state)
{
    (void)state;
    size_t n_stored = 1;
    for (unsigned at = 0; at <= n_stored; at++) {
        secure_world w;
        secure_world_init(&w, 4, 6, 13);
        w.restart_at = at;
        secure_world_run(&w);
        assert_int_equal(w.restarts, at > 0);
        assert_true(secure_world_check(&w));
        assert_int_equal(weft_secagg_server_n_included(w.server), 4);
        n_stored = w.n_stored;
        secure_world_done(&w);
    }
}

/* ---- vanishing ------------------------------------------------------------------------------ */

typedef struct vanishing {
    weft_session_action_kind before;
    bool after_receipt;
    uint32_t included; /* of 10 clients of which one vanishes */
} vanishing;

static void test_vanish__at_any_step_the_rest_goes_on(void **state)
{
    (void)state;
    static const vanishing cases[] = {
        {WEFT_SESSION_TRAIN, false, 9},          {WEFT_SESSION_STEP, false, 9},
        {WEFT_SESSION_MASK, false, 9},           {WEFT_SESSION_UPLOAD, false, 9},
        {(weft_session_action_kind)0, true, 10},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        secure_world w;
        secure_world_init(&w, 10, 6, 17 + i);
        secure_world_client(&w, 4)->vanish_before = cases[i].before;
        secure_world_client(&w, 4)->vanish_after_receipt = cases[i].after_receipt;
        secure_world_run(&w);
        assert_true(secure_world_client(&w, 4)->vanished);
        assert_true(secure_world_check(&w));
        assert_int_equal(weft_secagg_server_n_included(w.server), cases[i].included);
        for (uint32_t k = 0; k < 10; k++) {
            if (k != 4) {
                assert_outcome(&w, k, WEFT_OUTCOME_ACCEPTED);
            }
        }
        secure_world_done(&w);
    }
}

/* Below the threshold nothing comes out, and everybody learns why. */
static void test_vanish__too_many_and_the_round_fails(void **state)
{
    (void)state;
    secure_world w;
    secure_world_init(&w, 4, 6, 23);
    for (uint32_t k = 0; k < 2; k++) {
        secure_world_client(&w, k)->vanish_before = WEFT_SESSION_UPLOAD;
    }
    secure_world_run(&w);
    assert_false(secure_world_check(&w));
    for (uint32_t k = 2; k < 4; k++) {
        assert_outcome(&w, k, WEFT_OUTCOME_REFUSED);
        assert_non_null(strstr(secure_world_client(&w, k)->disk.reason, "secure aggregation: "));
    }
    secure_world_done(&w);
}

/* ---- large cohorts -------------------------------------------------------------------------- */

static void run_cohort(uint32_t n, uint32_t n_vanish, uint64_t seed)
{
    static const weft_session_action_kind where[] = {WEFT_SESSION_TRAIN, WEFT_SESSION_MASK,
                                                     WEFT_SESSION_UPLOAD};
    secure_world w;
    secure_world_init(&w, n, 32, seed);
    for (uint32_t i = 0; i < n_vanish; i++) {
        secure_client *c = secure_world_client(&w, (uint32_t)((uint64_t)i * n / n_vanish));
        c->vanish_before = i % 4 < 3 ? where[i % 4] : (weft_session_action_kind)0;
        c->vanish_after_receipt = i % 4 == 3;
    }
    secure_world_run(&w);
    assert_true(secure_world_check(&w));
    assert_int_equal(weft_secagg_server_n_included(w.server), n - n_vanish + n_vanish / 4);
    secure_world_done(&w);
}

static void test_cohort__of_100(void **state)
{
    (void)state;
    run_cohort(100, 0, 31);
    run_cohort(100, 8, 32);
}

static void test_cohort__of_1000(void **state)
{
    (void)state;
    run_cohort(1000, 0, 33);
    run_cohort(1000, 80, 34);
}

/* ---- lies ----------------------------------------------------------------------------------- */

typedef struct lie {
    uint32_t type;   /* of the message that is changed */
    size_t offset;   /* from its start; SIZE_MAX: cut it short */
    size_t again;    /* another byte, or 0 */
    uint8_t value;   /* xored */
    const char *why; /* in the victim's words */
} lie;

static void tell_lie(secure_world *w, uint32_t client, uint32_t type, weft_buf *message)
{
    const lie *l = w->tamper_arg;
    if (client != 2 || type != l->type) {
        return;
    }
    if (l->offset == SIZE_MAX) {
        message->size--;
    } else {
        assert_true(l->offset < message->size);
        message->data[l->offset] ^= l->value;
    }
    if (l->again) {
        message->data[l->again] ^= l->value;
    }
}

/* Whoever is lied to leaves with the reason, tells its owner and the coordinator, and keeps no
 * secret; the others go on without it. */
static void test_lie__is_abandoned_with_the_reason(void **state)
{
    (void)state;
    static const lie lies[] = {
        {WEFT_SECAGG_ROSTER, 4, 0, 1, "other session"},
        {WEFT_SECAGG_ROSTER, 42, 0, 1, "wrong parameters"},
        {WEFT_SECAGG_ROSTER, SIZE_MAX, 0, 0, "malformed message"},
        {WEFT_SECAGG_DELIVERY, 36 + 2 + 2 + 5, 0, 1, "share does not decrypt (c00001)"},
        {WEFT_SECAGG_SURVIVORS, 38, 0, 1, "called dropped"},
        {WEFT_SECAGG_SURVIVORS, 41, 0, 1, "both kinds of share (c00001)"},
        {WEFT_SECAGG_UNMASK, 39, 0, 1, "wrong lists (c00001)"},
        {WEFT_SECAGG_UNMASK, 39, 41, 1, "lists changed"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        secure_world w;
        secure_world_init(&w, 10, 6, 41 + i);
        w.tamper = tell_lie;
        w.tamper_arg = (void *)(uintptr_t)&lies[i];
        secure_world_run(&w);
        const secure_client *c = secure_world_client(&w, 2);
        if (!strstr(c->disk.reason, lies[i].why) || !strstr(c->reason, lies[i].why)) {
            fail_msg("lie %zu: '%s', told '%s', wanted '%s'", i, c->disk.reason, c->reason,
                     lies[i].why);
        }
        assert_outcome(&w, 2, WEFT_OUTCOME_ABANDONED);
        assert_true(c->has_sent[WEFT_SECAGG_ABORT]);
        assert_int_equal(c->disk.record.secure.size, 0);
        assert_true(secure_world_check(&w)); /* with or without it */
        secure_world_done(&w);
    }
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Played once; client 0 gets an assignment again. */
static void offer_again(secure_world *w, uint32_t attempt, uint32_t round)
{
    w->assignment.attempt = attempt;
    w->assignment.round = round;
    for (uint32_t k = 0; k < w->n; k++) {
        secure_client *c = secure_world_client(w, k);
        c->asked = c->uploaded = c->abandoned = c->done = false;
        c->disk.closed = 0;
        memset(c->has_sent, 0, sizeof c->has_sent);
    }
    for (size_t i = 0; i < w->n_stored; i++) {
        weft_free(&weft_alloc_std, w->stored[i].bytes);
    }
    w->n_stored = 0;
    secure_world_again(w);
    secure_world_run(w);
}

static void test_memory__a_masked_round_is_never_joined_again(void **state)
{
    (void)state;
    secure_world w;
    secure_world_init(&w, 3, 6, 51);
    secure_world_run(&w);
    assert_true(secure_world_check(&w));
    offer_again(&w, 2, 3); /* the same round, another attempt */
    for (uint32_t k = 0; k < 3; k++) {
        const secure_client *c = secure_world_client(&w, k);
        assert_outcome(&w, k, WEFT_OUTCOME_DECLINED);
        assert_non_null(strstr(c->disk.reason, "second attempt after masked input"));
        assert_int_equal(c->n_trained, 1); /* it did not even train */
        assert_false(c->has_sent[WEFT_SECAGG_ADVERTISE]);
    }
    offer_again(&w, 1, 4); /* the next one is welcome */
    assert_true(secure_world_check(&w));
    secure_world_done(&w);
}

static void test_memory__a_context_is_used_once(void **state)
{
    (void)state;
    secure_world w;
    secure_world_init(&w, 3, 6, 53);
    for (uint32_t k = 1; k < 3; k++) { /* the round fails before anybody masks */
        secure_world_client(&w, k)->vanish_before = WEFT_SESSION_STEP;
    }
    secure_world_run(&w);
    assert_false(secure_world_check(&w));
    assert_outcome(&w, 0, WEFT_OUTCOME_REFUSED);
    assert_int_equal(secure_world_client(&w, 0)->disk.masked_round, 0);
    for (uint32_t k = 1; k < 3; k++) {
        secure_world_client(&w, k)->vanish_before = 0;
    }
    offer_again(&w, 1, 3); /* the very same */
    assert_outcome(&w, 0, WEFT_OUTCOME_DECLINED);
    assert_non_null(strstr(secure_world_client(&w, 0)->disk.reason, "repeated session"));
    secure_world_done(&w);
}

/* A state that was lost, damaged, or is not of this assignment: the session is left. */
static void test_memory__a_lost_state_ends_the_session(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        secure_world w;
        secure_world_init(&w, 10, 6, 61);
        secure_client *c = secure_world_client(&w, 4);
        c->vanish_before = WEFT_SESSION_MASK;
        w.deadline_ms = 1000;
        secure_world_run(&w);
        assert_true(c->vanished);
        assert_true(c->disk.record.secure.size > 0);
        switch (how) {
        case 0:
            c->disk.state[c->disk.record.secure.size / 2] ^= 1;
            break;
        case 1:
            c->disk.record.assignment.round++;
            break;
        case 2:
            c->disk.record.has_update = false;
            break;
        default: /* the whole row: the context is known, its state is not */
            c->disk.record.secure.size = 0;
            w.ended = false; /* as far as it is told */
            w.phase_until = UINT64_MAX;
            break;
        }
        c->vanish_before = 0;
        secure_world_return(&w, 4);
        assert_int_equal(c->disk.closed, 1);
        assert_int_not_equal(c->disk.outcome, WEFT_OUTCOME_ACCEPTED);
        if (how != 1) { /* there, round 4 has its own context */
            assert_non_null(strstr(c->reason, how == 3 ? "repeated session" : "state lost"));
        }
        assert_int_equal(c->n_masked_made, 0);
        secure_world_done(&w);
    }
}

/* A member whose key is another than the one seen before. */
static void test_memory__refuses_a_changed_member_key(void **state)
{
    (void)state;
    secure_world w;
    secure_world_init(&w, 5, 6, 71);
    secure_world_run(&w);
    assert_true(secure_world_check(&w));
    secure_client *c = secure_world_client(&w, 3);
    const weft_entropy entropy = secure_entropy(&w.rng);
    secure_member_make(&c->member, &w.operator_key, "test", "c00004", &entropy);
    offer_again(&w, 1, 4);
    for (uint32_t k = 0; k < 5; k++) {
        if (k != 3) {
            assert_outcome(&w, k, WEFT_OUTCOME_ABANDONED);
            assert_non_null(
                strstr(secure_world_client(&w, k)->reason, "member key changed (c00004)"));
        }
    }
    secure_world_done(&w);
}

int main(int argc, char **argv)
{
    (void)argv;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round__sums_exactly),
        cmocka_unit_test(test_round__messages_come_in_pieces),
        cmocka_unit_test(test_crash__before_any_action_loses_nothing),
        cmocka_unit_test(test_crash__survives_a_bad_network),
        cmocka_unit_test(test_crash__of_the_coordinator_changes_nothing),
        cmocka_unit_test(test_vanish__at_any_step_the_rest_goes_on),
        cmocka_unit_test(test_vanish__too_many_and_the_round_fails),
        cmocka_unit_test(test_cohort__of_100),
        cmocka_unit_test(test_lie__is_abandoned_with_the_reason),
        cmocka_unit_test(test_memory__a_masked_round_is_never_joined_again),
        cmocka_unit_test(test_memory__a_context_is_used_once),
        cmocka_unit_test(test_memory__a_lost_state_ends_the_session),
        cmocka_unit_test(test_memory__refuses_a_changed_member_key),
    };
    const struct CMUnitTest long_tests[] = {
        cmocka_unit_test(test_cohort__of_1000),
    };
    return argc > 1 ? cmocka_run_group_tests(long_tests, NULL, NULL)
                    : cmocka_run_group_tests(tests, NULL, NULL);
}
