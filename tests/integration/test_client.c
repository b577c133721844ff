/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libweft against a scripted coordinator over real TLS: enrolment, rounds, broken lines, lost
 * replies, what the owner's policy declines and what a trainer cannot do.
 */
#include "client_host.h"

#include "base/file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- enrolment ------------------------------------------------------------------------------ */

static void test_enrol__makes_a_member_once(void **state)
{
    (void)state;
    host h;
    begin(&h, 4, false);
    weft_client_info info = WEFT_CLIENT_INFO_INIT;
    assert_weft(weft_client_get_info(h.client, &info, err));
    assert_int_equal(info.enrolled, 0);
    weft_error why = WEFT_ERROR_INIT;
    assert_int_equal(weft_client_run(h.client, &why), WEFT_E_AUTH);
    assert_non_null(strstr(why.message, "has not enrolled"));
    assert_weft(weft_client_enrol(h.client, h.join, err));
    assert_weft(weft_client_enrol(h.client, h.join, err)); /* harmless */
    assert_int_equal(coordinator_seen(&h.c).enrolments, 1);
    close_host(&h);
    open_host(&h);
    assert_weft(weft_client_get_info(h.client, &info, err));
    assert_int_equal(info.enrolled, 1);
    assert_string_equal(info.name, "alice");
    assert_string_equal(info.federation, "test");
    assert_string_equal(info.address, h.c.address);
    assert_weft(weft_client_run(h.client, err));
    end(&h);
}

static void test_enrol__a_lost_reply_does_not_burn_the_token(void **state)
{
    (void)state;
    host h;
    begin(&h, 4, false);
    script s = coordinator_script(&h.c);
    s.lose_enrolment = true;
    tell(&h, s);
    weft_error why = WEFT_ERROR_INIT;
    assert_int_equal(weft_client_enrol(h.client, h.join, &why), WEFT_E_AGAIN);
    assert_non_null(strstr(why.message, "cannot be reached: "));
    close_host(&h); /* as after a crash */
    open_host(&h);
    assert_weft(weft_client_enrol(h.client, h.join, err));
    assert_int_equal(coordinator_seen(&h.c).enrolments, 2);
    end(&h);
}

static void test_enrol__another_key_cannot_use_the_token(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 4, false);
    close_host(&h);
    assert_ok(weft_path_join(h.state, sizeof h.state, h.dir, "thief", &assert_err));
    open_host(&h);
    weft_error why = WEFT_ERROR_INIT;
    assert_int_equal(weft_client_enrol(h.client, h.join, &why), WEFT_E_AUTH);
    assert_non_null(strstr(why.message, "the token was used already"));
    end(&h);
}

static void test_enrol__says_when_nobody_answers_or_the_file_is_bad(void **state)
{
    (void)state;
    host h;
    begin(&h, 4, false);
    coordinator_down(&h.c);
    assert_int_equal(weft_client_enrol(h.client, h.join, NULL), WEFT_E_AGAIN);
    assert_int_equal(weft_client_enrol(h.client, "/nonexistent", NULL), WEFT_E_NOTFOUND);
    char path[4096];
    assert_ok(weft_path_join(path, sizeof path, h.dir, "bad", &assert_err));
    assert_ok(weft_file_write(path, "hello", 5, 0600, &assert_err));
    assert_int_equal(weft_client_enrol(h.client, path, NULL), WEFT_E_FORMAT);
    end(&h);
}

/* ---- rounds --------------------------------------------------------------------------------- */

static void test_run__takes_part_until_there_is_nothing_more(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 1000000, false); /* 4 MB: several chunks */
    script s = coordinator_script(&h.c);
    s.n_assignments = 3;
    s.come_back_ms = 20;
    tell(&h, s);
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.receipts, 3);
    assert_int_equal(n.uploads, 3);
    assert_int_equal(n.fetches, 1); /* the same base: fetched once */
    assert_int_equal(n.bytes_in, 3 * 4000000);
    assert_int_equal(n.n_examples, 10);
    assert_string_equal(n.metrics.item[0].name, "loss");
    assert_string_equal(n.dataset, "numbers");
    assert_int_equal(h.trained, 3);
    const float *update = (const float *)(const void *)h.c.held;
    for (size_t i = 0; i < 1000000; i++) {
        assert_true(update[i] == 1.0F);
    }
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_CONNECTED], 1);
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_ASSIGNED], 3);
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_TRAINED], 3);
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_UPLOADED], 3);
    weft_receipt r = WEFT_RECEIPT_INIT;
    assert_weft(weft_client_receipt(h.client, &r, err));
    assert_int_equal(r.assignment_id, 3);
    assert_int_equal(r.round, 3);
    assert_string_equal(r.job, "sums");
    assert_memory_equal(r.update_digest, h.c.update_digest, 32);
    assert_last_outcome(&h, "sums round 3: accepted");
    end(&h);
}

static void test_run__evaluates_without_a_payload(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 100, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    s.task = WEFT_TASK_EVALUATE;
    tell(&h, s);
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.receipts, 1);
    assert_int_equal(n.task_bytes, 0);
    assert_int_equal(n.bytes_in, 0);
    assert_true(n.metrics.item[0].value == 0.25);
    end(&h);
}

/* ---- broken lines --------------------------------------------------------------------------- */

static void test_run__resumes_a_fetch_where_it_broke(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 1000000, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    s.cut_fetch_at = 2000000;
    tell(&h, s);
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.receipts, 1);
    assert_int_equal(n.fetches, 2);
    assert_true(n.fetched_from > 0 && n.fetched_from <= 2100000);
    assert_true(n.progress >= 1); /* is it still wanted? */
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_DISCONNECTED], 1);
    end(&h);
}

static void test_run__fetches_anew_what_was_garbled(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 200000, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    s.garble_fetch = true;
    tell(&h, s);
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.receipts, 1);
    assert_int_equal(n.fetches, 2);
    assert_int_equal(n.fetched_from, 0);
    end(&h);
}

static void test_run__resumes_an_upload_where_it_broke(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 1000000, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    s.cut_upload_at = 1500000;
    tell(&h, s);
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.receipts, 1);
    assert_int_equal(n.uploads, 2);
    assert_in_range(n.uploaded_from, 1500000, 3999999); /* whole chunks, sized by the link */
    assert_int_equal(n.bytes_in, 4000000);              /* none came twice */
    assert_int_equal(h.trained, 1);
    end(&h);
}

static void test_run__a_lost_receipt_costs_nothing(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 1000, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    s.lose_receipt = true;
    tell(&h, s);
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.receipts, 1);
    assert_int_equal(n.uploads, 1);
    assert_int_equal(h.trained, 1);
    assert_last_outcome(&h, "sums round 1: accepted");
    end(&h);
}

static void test_run__takes_no_forged_receipt(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 1000, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    s.forge_receipt = true;
    tell(&h, s);
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_true(n.progress >= 1); /* it asked, and got the real one */
    weft_receipt r = WEFT_RECEIPT_INIT;
    assert_weft(weft_client_receipt(h.client, &r, err));
    assert_int_equal(r.assignment_id, 1);
    end(&h);
}

static void test_run__drops_what_is_late(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 1000, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    s.late = true;
    tell(&h, s);
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_REFUSED], 1);
    assert_last_outcome(&h, "sums round 1: refused: late: the round has closed");
    weft_receipt r = WEFT_RECEIPT_INIT;
    assert_int_equal(weft_client_receipt(h.client, &r, NULL), WEFT_E_NOTFOUND);
    end(&h);
}

static void test_run__comes_back_when_the_coordinator_does(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 1000, false);
    coordinator_down(&h.c);
    weft_status status = WEFT_E_AGAIN;
    while (h.n_of_kind[WEFT_CLIENT_DISCONNECTED] == 0) {
        status = weft_client_step(h.client, 50, NULL);
        assert_int_equal(status, WEFT_E_AGAIN);
    }
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    tell(&h, s);
    coordinator_again(&h.c);
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(coordinator_seen(&h.c).receipts, 1);
    end(&h);
}

/* ---- policy, trainers ----------------------------------------------------------------------- */

static void test_run__declines_by_policy_with_the_reason(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 4, false);
    close_host(&h);
    h.options.min_cohort = 9;
    open_host(&h);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    tell(&h, s);
    weft_status status = WEFT_E_AGAIN;
    while (status == WEFT_E_AGAIN && coordinator_seen(&h.c).abandons == 0) {
        status = weft_client_step(h.client, 50, NULL);
    }
    while (status == WEFT_E_AGAIN && h.n_events < 2) {
        status = weft_client_step(h.client, 50, NULL);
    }
    assert_string_equal(coordinator_seen(&h.c).reason,
                        "a cohort of 8, this client takes part in 9 or more");
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_DECLINED], 1);
    assert_int_equal(h.trained, 0);
    end(&h);
}

static void test_run__abandons_what_the_trainer_cannot_do(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 4, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    tell(&h, s);
    h.answer = WEFT_E_IO;
    assert_weft(weft_client_run(h.client, err));
    assert_string_equal(coordinator_seen(&h.c).reason,
                        "the trainer of numbers: the disk of scanner 3 is full");
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_ABANDONED], 1);
    assert_last_outcome(
        &h, "sums round 1: abandoned: the trainer of numbers: the disk of scanner 3 is full");
    end(&h);
}

static void test_run__renews_the_lease_while_the_trainer_works(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 4, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    s.lease_ms = 300;
    s.stop = true;
    h.until_canceled = true;
    tell(&h, s);
    assert_weft(weft_client_run(h.client, err));
    assert_true(coordinator_seen(&h.c).progress_train >= 1);
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_REFUSED], 1);
    assert_last_outcome(&h, "sums round 1: refused: late: the coordinator said stop");
    end(&h);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enrol__makes_a_member_once),
        cmocka_unit_test(test_enrol__a_lost_reply_does_not_burn_the_token),
        cmocka_unit_test(test_enrol__another_key_cannot_use_the_token),
        cmocka_unit_test(test_enrol__says_when_nobody_answers_or_the_file_is_bad),
        cmocka_unit_test(test_run__takes_part_until_there_is_nothing_more),
        cmocka_unit_test(test_run__evaluates_without_a_payload),
        cmocka_unit_test(test_run__resumes_a_fetch_where_it_broke),
        cmocka_unit_test(test_run__fetches_anew_what_was_garbled),
        cmocka_unit_test(test_run__resumes_an_upload_where_it_broke),
        cmocka_unit_test(test_run__a_lost_receipt_costs_nothing),
        cmocka_unit_test(test_run__takes_no_forged_receipt),
        cmocka_unit_test(test_run__drops_what_is_late),
        cmocka_unit_test(test_run__comes_back_when_the_coordinator_does),
        cmocka_unit_test(test_run__declines_by_policy_with_the_reason),
        cmocka_unit_test(test_run__abandons_what_the_trainer_cannot_do),
        cmocka_unit_test(test_run__renews_the_lease_while_the_trainer_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
