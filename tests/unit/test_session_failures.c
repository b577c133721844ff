/* SPDX-License-Identifier: Apache-2.0 */
/* client session: what fails and what follows; the certificate's life. */
#include "session_fixture.h"

/* ---- failures ------------------------------------------------------------------------------- */

static void test_session_on__backs_off_exponentially_with_jitter(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    tick(&f);
    uint64_t want = 500;
    bool some_jitter_seen = false;
    for (int i = 0; i < 7; i++) {
        failed(&f, WEFT_SESSION_CHECK_IN, WEFT_E_AGAIN);
        if (i == 0) {
            EXPECT(&f, WEFT_SESSION_NOTIFY);
            assert_int_equal(f.out.item[0].u.notify.notice, WEFT_SESSION_DISCONNECTED);
            assert_non_null(strstr(f.out.item[0].u.notify.detail, "the network is away; next try"));
        } else {
            EXPECT_NOTHING(&f); /* told once */
        }
        const uint64_t wait = weft_session_next_ms(f.s) - f.now;
        assert_in_range(wait, want / 2, want);
        some_jitter_seen = some_jitter_seen || wait != want;
        want = want * 2 < 20000 ? want * 2 : 20000;
        f.now = weft_session_next_ms(f.s);
        tick(&f);
        EXPECT(&f, WEFT_SESSION_CHECK_IN);
    }
    assert_true(some_jitter_seen);
    come_back(&f, 5);
    EXPECT(&f, WEFT_SESSION_NOTIFY);
    assert_int_equal(f.out.item[0].u.notify.notice, WEFT_SESSION_CONNECTED);
    f.now += 5;
    tick(&f);
    failed(&f, WEFT_SESSION_CHECK_IN, WEFT_E_TIMEOUT);
    assert_in_range(weft_session_next_ms(f.s) - f.now, 250, 500); /* from the start again */
    end(&f);
}

static void test_session_on__jitter_repeats_by_seed_and_differs_between(void **state)
{
    (void)state;
    uint64_t wait[3];
    for (int i = 0; i < 3; i++) {
        fixture f;
        begin(&f);
        end(&f);
        f.config.seed = i == 2 ? 99 : 5;
        f.config.backoff_min_ms = 10000000;
        f.config.backoff_max_ms = 10000000;
        begin_with(&f, NULL);
        tick(&f);
        failed(&f, WEFT_SESSION_CHECK_IN, WEFT_E_AGAIN);
        wait[i] = weft_session_next_ms(f.s) - f.now;
        end(&f);
    }
    assert_int_equal(wait[0], wait[1]);
    assert_int_not_equal(wait[0], wait[2]);
}

static void test_session_on__resumes_an_upload_where_the_coordinator_holds_it(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_UPLOAD);
    failed(&f, WEFT_SESSION_UPLOAD, WEFT_E_AGAIN);
    EXPECT(&f, WEFT_SESSION_NOTIFY);
    f.now = weft_session_next_ms(f.s);
    tick(&f);
    EXPECT(&f, WEFT_SESSION_PROGRESS);
    assert_string_equal(f.out.item[0].u.progress.phase, "upload");
    progressed(&f, false, 8, NULL);
    EXPECT(&f, WEFT_SESSION_NOTIFY, WEFT_SESSION_UPLOAD); /* connected again */
    assert_int_equal(f.out.item[1].u.upload.offset, 8);
    end(&f);
}

static void test_session_on__more_held_than_sent_begins_anew(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_PROGRESS);
    progressed(&f, false, 17, NULL);
    assert_int_equal(find(&f, WEFT_SESSION_UPLOAD)->u.upload.offset, 0);
    end(&f);
}

static void test_session_on__learns_of_a_receipt_that_was_lost(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_PROGRESS);
    const weft_session_receipt r = receipt_for(7, 9);
    progressed(&f, true, 16, &r); /* a receipt counts for more than "stop" */
    EXPECT(&f, WEFT_SESSION_NOTIFY, WEFT_SESSION_CLOSE, WEFT_SESSION_NOTIFY, WEFT_SESSION_CHECK_IN);
    assert_int_equal(f.out.item[1].u.close.outcome, WEFT_OUTCOME_ACCEPTED);
    end(&f);
}

static void test_session_on__drops_what_is_late_with_the_reason(void **state)
{
    (void)state;
    for (int asked = 0; asked < 2; asked++) {
        fixture f;
        begin(&f);
        walk_to(&f, asked ? WEFT_SESSION_PROGRESS : WEFT_SESSION_UPLOAD);
        if (asked) {
            progressed(&f, true, 0, NULL);
        } else {
            submitted(&f, NULL);
        }
        const weft_session_action *c = find(&f, WEFT_SESSION_CLOSE);
        assert_int_equal(c->u.close.outcome, WEFT_OUTCOME_REFUSED);
        assert_string_equal(c->u.close.reason, "late: the round has closed");
        (void)find(&f, WEFT_SESSION_CHECK_IN);
        end(&f);
    }
}

static void test_session_on__takes_no_receipt_for_another_update(void **state)
{
    (void)state;
    const weft_session_receipt wrong[] = {receipt_for(7, 8), receipt_for(8, 9)};
    for (size_t i = 0; i < 2; i++) {
        fixture f;
        begin(&f);
        walk_to(&f, WEFT_SESSION_UPLOAD);
        for (int k = 0; k < 2; k++) {
            submitted(&f, &wrong[i]);
            EXPECT_NOTHING(&f);
            f.now = weft_session_next_ms(f.s);
            tick(&f);
            EXPECT(&f, WEFT_SESSION_PROGRESS);
            progressed(&f, false, 0, NULL);
            EXPECT(&f, WEFT_SESSION_UPLOAD);
        }
        submitted(&f, &wrong[i]);
        EXPECT(&f, WEFT_SESSION_KEEP_ABANDON, WEFT_SESSION_ABANDON);
        assert_string_equal(f.out.item[1].u.abandon.reason, "the receipt is for another update");
        end(&f);
    }
}

static void test_session_on__gives_up_after_three_hard_refusals_unless_it_moves(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_UPLOAD);
    for (uint64_t held = 4; held <= 16; held += 4) { /* moving: no limit */
        failed(&f, WEFT_SESSION_UPLOAD, WEFT_E_INVALID);
        f.now = weft_session_next_ms(f.s);
        tick(&f);
        progressed(&f, false, held, NULL);
        assert_int_equal(find(&f, WEFT_SESSION_UPLOAD)->u.upload.offset, held);
    }
    for (int i = 0; i < 2; i++) {
        failed(&f, WEFT_SESSION_UPLOAD, WEFT_E_INVALID);
        f.now = weft_session_next_ms(f.s);
        tick(&f);
        progressed(&f, false, 16, NULL);
    }
    failed(&f, WEFT_SESSION_UPLOAD, WEFT_E_INVALID);
    EXPECT(&f, WEFT_SESSION_KEEP_ABANDON, WEFT_SESSION_ABANDON);
    end(&f);
}

static void test_session_on__fetches_afresh_after_a_wrong_digest(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_FETCH);
    failed(&f, WEFT_SESSION_FETCH, WEFT_E_AGAIN);
    f.now = weft_session_next_ms(f.s);
    tick(&f);
    EXPECT(&f, WEFT_SESSION_PROGRESS);
    assert_string_equal(f.out.item[0].u.progress.phase, "fetch");
    progressed(&f, false, 0, NULL);
    assert_false(find(&f, WEFT_SESSION_FETCH)->u.fetch.from_zero);
    failed(&f, WEFT_SESSION_FETCH, WEFT_E_FORMAT);
    f.now = weft_session_next_ms(f.s);
    tick(&f);
    progressed(&f, false, 0, NULL);
    assert_true(find(&f, WEFT_SESSION_FETCH)->u.fetch.from_zero);
    end(&f);
}

static void test_session_on__abandons_a_base_that_is_gone_or_too_large(void **state)
{
    (void)state;
    const weft_status why[] = {WEFT_E_NOTFOUND, WEFT_E_NOMEM};
    for (size_t i = 0; i < 2; i++) {
        fixture f;
        begin(&f);
        walk_to(&f, WEFT_SESSION_FETCH);
        failed(&f, WEFT_SESSION_FETCH, why[i]);
        EXPECT(&f, WEFT_SESSION_KEEP_ABANDON, WEFT_SESSION_ABANDON);
        assert_string_equal(f.out.item[1].u.abandon.reason, "the network is away");
        end(&f);
    }
}

static void test_session_on__a_full_disk_does_not_hold_a_round_up(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_FETCH);
    for (int i = 0; i < 2; i++) {
        failed(&f, WEFT_SESSION_FETCH, WEFT_E_IO);
        EXPECT_NOTHING(&f);
        f.now = weft_session_next_ms(f.s);
        tick(&f);
        progressed(&f, false, 0, NULL);
        (void)find(&f, WEFT_SESSION_FETCH);
    }
    failed(&f, WEFT_SESSION_FETCH, WEFT_E_IO);
    EXPECT(&f, WEFT_SESSION_KEEP_ABANDON, WEFT_SESSION_ABANDON);
    end(&f);
}

static void test_session_on__gives_up_what_cannot_be_delivered(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_UPLOAD);
    f.now += f.config.keep_ms - 1;
    failed(&f, WEFT_SESSION_UPLOAD, WEFT_E_AGAIN);
    f.now = weft_session_next_ms(f.s);
    tick(&f);
    EXPECT(&f, WEFT_SESSION_PROGRESS);
    failed(&f, WEFT_SESSION_PROGRESS, WEFT_E_AGAIN);
    EXPECT(&f, WEFT_SESSION_KEEP_ABANDON, WEFT_SESSION_ABANDON);
    failed(&f, WEFT_SESSION_ABANDON, WEFT_E_AGAIN); /* nor can that */
    (void)find(&f, WEFT_SESSION_CLOSE);
    end(&f);
}

static void test_session_on__ask_is_told_that_the_assignment_is_unknown(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_PROGRESS);
    failed(&f, WEFT_SESSION_PROGRESS, WEFT_E_NOTFOUND);
    assert_int_equal(find(&f, WEFT_SESSION_CLOSE)->u.close.outcome, WEFT_OUTCOME_REFUSED);
    end(&f);
}

static void test_session_on__ends_when_not_allowed(void **state)
{
    (void)state;
    const weft_session_action_kind calls[] = {WEFT_SESSION_CHECK_IN, WEFT_SESSION_FETCH,
                                              WEFT_SESSION_UPLOAD, WEFT_SESSION_PROGRESS,
                                              WEFT_SESSION_ABANDON};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        fixture f;
        begin(&f);
        walk_to(&f, calls[i]);
        failed(&f, calls[i], WEFT_E_AUTH);
        EXPECT(&f, WEFT_SESSION_FINISH);
        assert_int_equal(f.out.item[0].u.finish.status, WEFT_E_AUTH);
        assert_string_equal(f.out.item[0].u.finish.detail, "the network is away");
        end(&f);
    }
}

static void test_session_on__ends_at_an_incompatible_coordinator(void **state)
{
    (void)state;
    const weft_status why[] = {WEFT_E_STATE, WEFT_E_INVALID, WEFT_E_NOMEM};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        begin(&f);
        tick(&f);
        failed(&f, WEFT_SESSION_CHECK_IN, why[i]);
        EXPECT(&f, WEFT_SESSION_FINISH);
        assert_int_equal(f.out.item[0].u.finish.status, why[i]);
        end(&f);
    }
}

static void test_session_on__ends_when_its_memory_fails(void **state)
{
    (void)state;
    const weft_session_action_kind keep[] = {WEFT_SESSION_KEEP_ASSIGNMENT,
                                             WEFT_SESSION_KEEP_ABANDON, WEFT_SESSION_CLOSE};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        begin(&f);
        walk_to(&f, i == 0 ? WEFT_SESSION_FETCH : WEFT_SESSION_ABANDON);
        failed(&f, keep[i], WEFT_E_DB);
        EXPECT(&f, WEFT_SESSION_FINISH);
        assert_int_equal(f.out.item[0].u.finish.status, WEFT_E_DB);
        end(&f);
    }
}

/* ---- the certificate ------------------------------------------------------------------------ */

static void begin_certified(fixture *f, int64_t from, int64_t until)
{
    begin(f);
    end(f);
    f->config.certificate_from_unix_ms = from;
    f->config.certificate_until_unix_ms = until;
    begin_with(f, NULL);
}

static void renewed(fixture *f, int64_t from, int64_t until)
{
    weft_session_event e = {.kind = WEFT_SESSION_RENEWED};
    e.u.renewed.from_unix_ms = from;
    e.u.renewed.until_unix_ms = until;
    feed(f, e);
}

static void test_session_on__renews_from_two_thirds_of_a_certificates_life(void **state)
{
    (void)state;
    fixture f;
    begin_certified(&f, 0, 3000000);
    f.unix_ms = 1999999;
    tick(&f);
    EXPECT(&f, WEFT_SESSION_CHECK_IN);
    f.unix_ms = 2000000;
    come_back(&f, 1000);
    f.now += 1000;
    tick(&f);
    EXPECT(&f, WEFT_SESSION_RENEW);
    assert_false(f.out.item[0].u.renew.anonymous);
    renewed(&f, 2000000, 5000000);
    EXPECT(&f, WEFT_SESSION_NOTIFY, WEFT_SESSION_CHECK_IN);
    assert_int_equal(f.out.item[0].u.notify.notice, WEFT_SESSION_CERTIFIED);
    end(&f);
}

static void test_session_on__a_failed_renewal_does_not_stop_the_work(void **state)
{
    (void)state;
    const weft_status why[] = {WEFT_E_AGAIN, WEFT_E_AUTH};
    for (size_t i = 0; i < 2; i++) {
        fixture f;
        begin_certified(&f, 0, 3000000);
        tick(&f);
        come_back(&f, 1); /* connected */
        f.now += 1;
        f.unix_ms = 2000000;
        tick(&f);
        EXPECT(&f, WEFT_SESSION_RENEW);
        failed(&f, WEFT_SESSION_RENEW, why[i]);
        EXPECT(&f, WEFT_SESSION_CHECK_IN);
        come_back(&f, 1);
        f.now += 100999; /* a tenth of what is left, and a second */
        tick(&f);
        EXPECT(&f, WEFT_SESSION_CHECK_IN);
        come_back(&f, 1);
        f.now += 1;
        tick(&f);
        EXPECT(&f, WEFT_SESSION_RENEW);
        end(&f);
    }
}

static void test_session_on__an_expired_certificate_renews_without_it(void **state)
{
    (void)state;
    fixture f;
    begin_certified(&f, 0, 900000);
    tick(&f);
    EXPECT(&f, WEFT_SESSION_RENEW);
    assert_true(f.out.item[0].u.renew.anonymous);
    failed(&f, WEFT_SESSION_RENEW, WEFT_E_AGAIN);
    EXPECT(&f, WEFT_SESSION_NOTIFY);
    assert_int_equal(f.out.item[0].u.notify.notice, WEFT_SESSION_DISCONNECTED);
    f.now = weft_session_next_ms(f.s);
    tick(&f);
    EXPECT(&f, WEFT_SESSION_RENEW);
    assert_true(f.out.item[0].u.renew.anonymous);
    failed(&f, WEFT_SESSION_RENEW, WEFT_E_AUTH); /* revoked meanwhile */
    EXPECT(&f, WEFT_SESSION_FINISH);
    assert_int_equal(f.out.item[0].u.finish.status, WEFT_E_AUTH);
    end(&f);
}

static void test_session_on__a_clock_years_ahead_does_not_renew_for_ever(void **state)
{
    (void)state;
    fixture f;
    begin_certified(&f, 0, 900000);
    f.unix_ms = 900000000;
    tick(&f);
    EXPECT(&f, WEFT_SESSION_RENEW);
    renewed(&f, 0, 900000); /* expired, says our clock; the coordinator's is right */
    EXPECT(&f, WEFT_SESSION_NOTIFY, WEFT_SESSION_NOTIFY, WEFT_SESSION_CHECK_IN);
    end(&f);
}

static void test_session_on__tries_a_renewal_when_connections_keep_failing(void **state)
{
    (void)state;
    fixture f;
    begin_certified(&f, 0, 3000000); /* fresh by our clock, which is behind */
    tick(&f);
    for (int i = 0; i < 7; i++) {
        failed(&f, WEFT_SESSION_CHECK_IN, WEFT_E_AGAIN);
        f.now = weft_session_next_ms(f.s);
        tick(&f);
        EXPECT(&f, WEFT_SESSION_CHECK_IN);
    }
    failed(&f, WEFT_SESSION_CHECK_IN, WEFT_E_AGAIN);
    f.now = weft_session_next_ms(f.s);
    tick(&f);
    EXPECT(&f, WEFT_SESSION_RENEW);
    assert_true(f.out.item[0].u.renew.anonymous);
    failed(&f, WEFT_SESSION_RENEW, WEFT_E_AGAIN); /* no: it is away */
    f.now = weft_session_next_ms(f.s);
    tick(&f);
    EXPECT(&f, WEFT_SESSION_CHECK_IN);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_on__backs_off_exponentially_with_jitter),
        cmocka_unit_test(test_session_on__jitter_repeats_by_seed_and_differs_between),
        cmocka_unit_test(test_session_on__resumes_an_upload_where_the_coordinator_holds_it),
        cmocka_unit_test(test_session_on__more_held_than_sent_begins_anew),
        cmocka_unit_test(test_session_on__learns_of_a_receipt_that_was_lost),
        cmocka_unit_test(test_session_on__drops_what_is_late_with_the_reason),
        cmocka_unit_test(test_session_on__takes_no_receipt_for_another_update),
        cmocka_unit_test(test_session_on__gives_up_after_three_hard_refusals_unless_it_moves),
        cmocka_unit_test(test_session_on__fetches_afresh_after_a_wrong_digest),
        cmocka_unit_test(test_session_on__abandons_a_base_that_is_gone_or_too_large),
        cmocka_unit_test(test_session_on__a_full_disk_does_not_hold_a_round_up),
        cmocka_unit_test(test_session_on__gives_up_what_cannot_be_delivered),
        cmocka_unit_test(test_session_on__ask_is_told_that_the_assignment_is_unknown),
        cmocka_unit_test(test_session_on__ends_when_not_allowed),
        cmocka_unit_test(test_session_on__ends_at_an_incompatible_coordinator),
        cmocka_unit_test(test_session_on__ends_when_its_memory_fails),
        cmocka_unit_test(test_session_on__renews_from_two_thirds_of_a_certificates_life),
        cmocka_unit_test(test_session_on__a_failed_renewal_does_not_stop_the_work),
        cmocka_unit_test(test_session_on__an_expired_certificate_renews_without_it),
        cmocka_unit_test(test_session_on__a_clock_years_ahead_does_not_renew_for_ever),
        cmocka_unit_test(test_session_on__tries_a_renewal_when_connections_keep_failing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
