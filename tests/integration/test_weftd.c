/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may speak to weftd, and what it does with those who may not: every method, every role,
 * revocation, enrolment that is repeated or lost, other versions, hostile bytes.
 */
#include "weftd_fixture.h"

#include <stdlib.h>
#include <string.h>

/* Sanitizers keep freed memory for a while: its amount says nothing then. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

static const weft_msg_dataset numbers = {"numbers", 100, ""};

/* The code that a method ends with for an empty message. */
static weft_rt_code probe(peer *p, weft_method method)
{
    answer a;
    call_bytes(&a, p, method, "", 0); /* refusals come before the kind of call matters */
    const weft_rt_code code = a.code;
    answer_done(&a);
    return code;
}

static void test_weftd__refuses_strangers_everywhere_but_at_the_door(void **state)
{
    weftd *w = *state;
    peer stranger;
    peer_stranger(&stranger, w);
    for (int m = 0; m < WEFT_METHOD_COUNT; m++) {
        const weft_rt_code code = probe(&stranger, (weft_method)m);
        if (m == WEFT_METHOD_ENROLL || m == WEFT_METHOD_RENEW) {
            assert_int_equal(code, WEFT_RT_FAILED_PRECONDITION); /* heard: no version in it */
        } else {
            assert_int_equal(code, WEFT_RT_UNAUTHENTICATED);
        }
    }
    peer_done(&stranger);
}

static void test_weftd__refuses_the_wrong_role(void **state)
{
    weftd *w = *state;
    peer op;
    peer client;
    peer_operator(&op, w);
    peer_client(&client, w, &op, "roles");
    for (int m = 0; m < WEFT_METHOD_COUNT; m++) {
        const weft_method_role role = weft_method_get((weft_method)m)->role;
        if (role == WEFT_METHOD_ROLE_OPERATOR) {
            assert_int_equal(probe(&client, (weft_method)m), WEFT_RT_PERMISSION_DENIED);
        } else if (role == WEFT_METHOD_ROLE_CLIENT) {
            assert_int_equal(probe(&op, (weft_method)m), WEFT_RT_PERMISSION_DENIED);
        }
    }
    peer_done(&client);
    peer_done(&op);
}

static void revoke(peer *op, const char *name)
{
    const weft_msg_revoke_client_request request = {name, "lost its laptop"};
    weft_msg_client_info info;
    answer a;
    call_ok(&a, op, WEFT_METHOD_REVOKE_CLIENT, WEFT_MSG_REVOKE_CLIENT_REQUEST, &request,
            WEFT_MSG_CLIENT_INFO, &info);
    assert_string_equal(info.client, name);
    assert_string_equal(info.status, "revoked");
    answer_done(&a);
}

static void test_weftd__revocation_cuts_a_held_call_at_once(void **state)
{
    weftd *w = *state;
    peer op;
    peer client;
    peer other;
    waiting held;
    waiting others;
    peer_operator(&op, w);
    peer_client(&client, w, &op, "lost");
    peer_client(&other, w, &op, "kept");
    const weft_msg_check_in_request request = {&numbers, 1, "test 1", 60000};
    waiting_start(&held, &client, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request);
    waiting_start(&others, &other, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request);
    assert_false(waiting_end(&held, 200));
    assert_false(waiting_end(&others, 100));
    revoke(&op, "lost");
    assert_true(waiting_end(&held, 2000)); /* not the 60 s it asked for */
    assert_int_equal(held.a.code, WEFT_RT_PERMISSION_DENIED);
    assert_false(waiting_end(&others, 100)); /* nobody else notices */
    waiting_done(&held);
    waiting_done(&others);
    for (int m = WEFT_METHOD_CHECK_IN; m <= WEFT_METHOD_ABANDON; m++) {
        assert_int_equal(probe(&client, (weft_method)m), WEFT_RT_PERMISSION_DENIED);
    }
    revoke(&op, "lost"); /* again is harmless */
    peer_done(&client);
    peer_done(&other);
    peer_done(&op);
}

static void test_weftd__a_revoked_name_may_come_back_with_new_keys(void **state)
{
    weftd *w = *state;
    peer op;
    peer before;
    peer after;
    peer_operator(&op, w);
    peer_client(&before, w, &op, "phoenix");
    revoke(&op, "phoenix");
    peer_client(&after, w, &op, "phoenix");
    const weft_msg_check_in_request request = {&numbers, 1, "test 1", 0};
    weft_msg_check_in_reply reply;
    answer a;
    call_ok(&a, &after, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request,
            WEFT_MSG_CHECK_IN_REPLY, &reply);
    answer_done(&a);
    assert_int_equal(probe(&before, WEFT_METHOD_CHECK_IN), WEFT_RT_PERMISSION_DENIED);
    peer_done(&before);
    peer_done(&after);
    peer_done(&op);
}

static weft_rt_code enrol_again(peer *p, weft_msg_enroll_reply *reply, answer *a)
{
    const weft_msg_enroll_request request = {.token = {p->token, sizeof p->token},
                                             .csr_der = {p->csr, p->csr_size},
                                             .member_chain = {p->chain, p->chain_size}};
    call(a, p, WEFT_METHOD_ENROLL, WEFT_MSG_ENROLL_REQUEST, &request, WEFT_MSG_ENROLL_REPLY, reply);
    return a->code;
}

static void test_weftd__a_repeated_enrolment_gets_the_same_answer(void **state)
{
    weftd *w = *state;
    peer op;
    peer client;
    peer thief;
    weft_msg_enroll_reply reply;
    answer a;
    peer_operator(&op, w);
    peer_client(&client, w, &op, "again");
    assert_int_equal(enrol_again(&client, &reply, &a), WEFT_RT_OK);
    assert_string_equal(reply.client, "again");
    answer_done(&a);
    /* the first certificate is good all the same */
    assert_int_equal(probe(&client, WEFT_METHOD_CHECK_IN), WEFT_RT_FAILED_PRECONDITION);
    /* the token with other keys is not */
    peer_invited(&thief, w, &op, "thief");
    memcpy(thief.token, client.token, sizeof thief.token);
    assert_int_equal(enrol_again(&thief, &reply, &a), WEFT_RT_PERMISSION_DENIED);
    answer_done(&a);
    /* nor is a token that nobody gave out */
    memset(thief.token, 7, sizeof thief.token);
    assert_int_equal(enrol_again(&thief, &reply, &a), WEFT_RT_PERMISSION_DENIED);
    answer_done(&a);
    peer_done(&client);
    peer_done(&thief);
    peer_done(&op);
}

static void test_weftd__a_lost_reply_does_not_burn_the_token(void **state)
{
    weftd *w = *state;
    peer op;
    peer client;
    peer_operator(&op, w);
    peer_invited(&client, w, &op, "unlucky");
    const weft_msg_enroll_request request = {.token = {client.token, sizeof client.token},
                                             .csr_der = {client.csr, client.csr_size},
                                             .member_chain = {client.chain, client.chain_size}};
    for (uint32_t ms = 0; ms < 5; ms++) { /* gone before, while, or after it is decided */
        waiting lost;
        waiting_start(&lost, &client, WEFT_METHOD_ENROLL, WEFT_MSG_ENROLL_REQUEST, &request);
        (void)waiting_end(&lost, ms); /* any outcome is fine: it is not looked at */
        waiting_done(&lost);
    }
    peer_enrol(&client, w);
    peer_done(&client);
    peer_done(&op);
}

static void test_weftd__renews_by_the_member_key(void **state)
{
    weftd *w = *state;
    peer op;
    peer client;
    peer stranger;
    weft_key *key = NULL;
    weft_buf csr;
    uint8_t signature[64];
    weft_msg_renew_reply reply;
    answer a;
    peer_operator(&op, w);
    peer_client(&client, w, &op, "renewer");
    peer_stranger(&stranger, w); /* as one whose certificate has expired */
    weft_buf_init(&csr, &weft_alloc_std, WEFT_MAX_CSR_BYTES);
    assert_ok(weft_key_generate(&key, &weft_alloc_std, NULL));
    assert_ok(weft_csr_make(&csr, key, NULL));
    assert_ok(
        weft_renewal_sign(signature, &client.member, "test", "renewer", csr.data, csr.size, NULL));
    weft_msg_renew_request request = {
        .client = "renewer", .csr_der = {csr.data, csr.size}, .signature = {signature, 64}};
    call_ok(&a, &stranger, WEFT_METHOD_RENEW, WEFT_MSG_RENEW_REQUEST, &request,
            WEFT_MSG_RENEW_REPLY, &reply);
    memcpy(client.cert, reply.certificate_pem.data, reply.certificate_pem.size);
    client.cert[reply.certificate_pem.size] = '\0';
    answer_done(&a);
    weft_buf pem;
    weft_buf_init(&pem, &weft_alloc_std, sizeof client.key - 1);
    assert_ok(weft_key_to_pem(&pem, key, NULL));
    memcpy(client.key, pem.data, pem.size);
    client.key[pem.size] = '\0';
    weft_buf_done(&pem);
    peer_reconnect(&client, w);
    assert_int_equal(probe(&client, WEFT_METHOD_CHECK_IN), WEFT_RT_FAILED_PRECONDITION);
    signature[0] ^= 1;
    call(&a, &stranger, WEFT_METHOD_RENEW, WEFT_MSG_RENEW_REQUEST, &request, WEFT_MSG_RENEW_REPLY,
         &reply);
    assert_int_equal(a.code, WEFT_RT_PERMISSION_DENIED);
    answer_done(&a);
    request.client = "nobody";
    call(&a, &stranger, WEFT_METHOD_RENEW, WEFT_MSG_RENEW_REQUEST, &request, WEFT_MSG_RENEW_REPLY,
         &reply);
    assert_int_equal(a.code, WEFT_RT_PERMISSION_DENIED); /* not: not found */
    answer_done(&a);
    weft_key_free(key);
    weft_buf_done(&csr);
    peer_done(&client);
    peer_done(&stranger);
    peer_done(&op);
}

static void test_weftd__tells_another_version(void **state)
{
    weftd *w = *state;
    peer op;
    peer client;
    answer a;
    peer_operator(&op, w);
    peer_client(&client, w, &op, "newer");
    call_bytes(&a, &client, WEFT_METHOD_CHECK_IN, "\x08\x02\x7a\x00", 4);
    assert_int_equal(a.code, WEFT_RT_FAILED_PRECONDITION);
    assert_non_null(strstr(a.text, "version 2"));
    answer_done(&a);
    call_bytes(&a, &op, WEFT_METHOD_STATUS, "\x08\x63", 2);
    assert_int_equal(a.code, WEFT_RT_FAILED_PRECONDITION);
    answer_done(&a);
    /* newer fields are no newer version */
    call_bytes(&a, &op, WEFT_METHOD_STATUS, "\x08\x01\xf8\x07\x05", 5);
    assert_int_equal(a.code, WEFT_RT_OK);
    answer_done(&a);
    peer_done(&client);
    peer_done(&op);
}

static void test_weftd__unknown_fields_cost_bounded_memory(void **state)
{
    weftd *w = *state;
    peer op;
    peer client;
    answer a;
    static uint8_t bytes[1U << 20];
    peer_operator(&op, w);
    peer_client(&client, w, &op, "hostile");
    bytes[0] = 0x08;
    bytes[1] = 0x01;
    for (size_t i = 2; i + 3 <= sizeof bytes; i += 3) { /* 350,000 fields of one byte each */
        bytes[i] = 0xF8;
        bytes[i + 1] = 0x07;
        bytes[i + 2] = (uint8_t)i & 0x7F;
    }
    const long before = weftd_memory_kb(w, "VmHWM:");
    for (int i = 0; i < 20; i++) {
        call_bytes(&a, &client, WEFT_METHOD_CHECK_IN, bytes, sizeof bytes - 1);
        assert_int_equal(a.code, WEFT_RT_RESOURCE_EXHAUSTED);
        answer_done(&a);
        call_bytes(&a, &client, WEFT_METHOD_CHECK_IN, bytes, 2 + 3 * 87380); /* within the limit */
        assert_int_equal(a.code, WEFT_RT_RESOURCE_EXHAUSTED);
        answer_done(&a);
    }
    const long after = weftd_memory_kb(w, "VmHWM:");
    if (!sanitized && after - before > 16L << 10) {
        fail_msg("%ld kB more at the peak", after - before);
    }
    assert_int_equal(probe(&client, WEFT_METHOD_CHECK_IN), WEFT_RT_FAILED_PRECONDITION);
    peer_done(&client);
    peer_done(&op);
}

static void test_weftd__survives_garbage_in_every_method(void **state)
{
    weftd *w = *state;
    peer op;
    peer client;
    answer a;
    uint8_t bytes[512];
    uint32_t x = 12345;
    peer_operator(&op, w);
    peer_client(&client, w, &op, "noisy");
    for (int m = 0; m < WEFT_METHOD_COUNT; m++) {
        const weft_method_info *info = weft_method_get((weft_method)m);
        peer *p = info->role == WEFT_METHOD_ROLE_OPERATOR ? &op : &client;
        for (size_t n = 0; n < sizeof bytes; n = n * 2 + 1) {
            bytes[0] = 0x08;
            bytes[1] = 0x01;
            for (size_t i = 2; i < n; i++) {
                x = x * 1664525 + 1013904223;
                bytes[i] = (uint8_t)(x >> 24);
            }
            call_bytes(&a, p, (weft_method)m, bytes, n);
            assert_true(n < 2 || a.code != WEFT_RT_INTERNAL);
            answer_done(&a);
        }
    }
    weft_msg_status_reply status;
    const weft_msg_status_request request = {0};
    call_ok(&a, &op, WEFT_METHOD_STATUS, WEFT_MSG_STATUS_REQUEST, &request, WEFT_MSG_STATUS_REPLY,
            &status);
    assert_string_equal(status.federation, "test");
    answer_done(&a);
    peer_done(&client);
    peer_done(&op);
}

static void test_weftd__stopping_answers_held_calls(void **state)
{
    (void)state;
    weftd w;
    peer op;
    peer client;
    waiting held;
    weftd_start(&w, NULL);
    peer_operator(&op, &w);
    peer_client(&client, &w, &op, "patient");
    const weft_msg_check_in_request request = {&numbers, 1, "test 1", 60000};
    waiting_start(&held, &client, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request);
    assert_false(waiting_end(&held, 200));
    weftd_stop(&w);
    assert_true(waiting_end(&held, 2000));
    assert_int_equal(held.a.code, WEFT_RT_UNAVAILABLE);
    waiting_done(&held);
    /* what it knew, it knows again */
    weftd_restart(&w, NULL);
    peer_reconnect(&client, &w);
    peer_reconnect(&op, &w);
    assert_int_equal(probe(&client, WEFT_METHOD_CHECK_IN), WEFT_RT_FAILED_PRECONDITION);
    const weft_msg_list_clients_request list = {"", 0};
    weft_msg_list_clients_reply clients;
    answer a;
    call_ok(&a, &op, WEFT_METHOD_LIST_CLIENTS, WEFT_MSG_LIST_CLIENTS_REQUEST, &list,
            WEFT_MSG_LIST_CLIENTS_REPLY, &clients);
    assert_int_equal(clients.n_clients, 1);
    assert_string_equal(clients.clients[0].client, "patient");
    assert_string_equal(clients.clients[0].software, "test 1");
    assert_true(clients.clients[0].last_seen_unix_ms > 0);
    assert_int_equal(clients.clients[0].n_datasets, 1);
    answer_done(&a);
    peer_done(&client);
    peer_done(&op);
    weftd_done(&w);
}

static weftd shared;

static int start_shared(void **state)
{
    weftd_start(&shared, NULL);
    *state = &shared;
    return 0;
}

static int stop_shared(void **state)
{
    weftd_done(*state);
    return 0;
}

int main(int argc, char **argv)
{
    weftd_path = argc > 1 ? argv[1] : "weftd";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weftd__refuses_strangers_everywhere_but_at_the_door),
        cmocka_unit_test(test_weftd__refuses_the_wrong_role),
        cmocka_unit_test(test_weftd__revocation_cuts_a_held_call_at_once),
        cmocka_unit_test(test_weftd__a_revoked_name_may_come_back_with_new_keys),
        cmocka_unit_test(test_weftd__a_repeated_enrolment_gets_the_same_answer),
        cmocka_unit_test(test_weftd__a_lost_reply_does_not_burn_the_token),
        cmocka_unit_test(test_weftd__renews_by_the_member_key),
        cmocka_unit_test(test_weftd__tells_another_version),
        cmocka_unit_test(test_weftd__unknown_fields_cost_bounded_memory),
        cmocka_unit_test(test_weftd__survives_garbage_in_every_method),
        cmocka_unit_test(test_weftd__stopping_answers_held_calls),
    };
    return cmocka_run_group_tests(tests, start_shared, stop_shared);
}
