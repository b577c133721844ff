/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator inside the test, which holds its clock and its disk: a slow link that moves is
 * alive (bytes of an upload renew the assignment's lease); what the disk refuses has not happened.
 */
#include "weftd_fixture.h"

#include "app/daemon.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { N = 1000, LEASE_MS = 10000, CHUNKS = 10 };

static _Atomic uint64_t mono;
static _Atomic int64_t ahead_ms; /* of the coordinator's wall clock */

static uint64_t mono_ms(void *self)
{
    (void)self;
    return mono;
}

static int64_t unix_ms(void *self)
{
    (void)self;
    return weft_clock_system.unix_ms(weft_clock_system.self) + ahead_ms;
}

static const weft_clock held = {mono_ms, unix_ms, NULL};

typedef struct federation {
    weftd w;
    weft_daemon *daemon;
    peer op;
    peer a;
    weft_msg_assignment to;
    answer assigned;  /* holds to */
    uint32_t expired; /* moments when the assignment was not open */
} federation;

static void start(federation *f)
{
    char path[PATH_MAX];
    weft_server_config config;
    static const weft_log silent = {.level = WEFT_LOG_ERROR};
    memset(f, 0, sizeof *f);
    weftd_prepare(&f->w);
    (void)snprintf(path, sizeof path, "%s/coord/weftd.yaml", f->w.dir);
    assert_ok(weft_server_config_load(&config, path, &weft_alloc_std, NULL));
    const weft_daemon_options options = {.config = &config,
                                         .alloc = &weft_alloc_std,
                                         .log = &silent,
                                         .clock = &held,
                                         .entropy = &weft_entropy_system};
    assert_ok(weft_daemon_new(&f->daemon, &options, NULL));
    (void)snprintf(f->w.address, sizeof f->w.address, "%s", weft_daemon_address(f->daemon));
    peer_operator(&f->op, &f->w);
}

static void start_job(federation *f)
{
    weft_job_def def;
    peer_client(&f->a, &f->w, &f->op, "alice");
    job_plain(&def, "slow", N, 1, 1);
    def.lease_ms = LEASE_MS;
    def.deadline_ms = UINT64_C(100) * LEASE_MS;
    job_submit(&f->op, &def);
    weft_job_def_done(&def, &weft_alloc_std);
    check_in(&f->assigned, &f->a, &f->to);
}

static void end(federation *f)
{
    peer_done(&f->op);
    weft_daemon_free(f->daemon);
    weftd_done(&f->w);
}

static void end_job(federation *f)
{
    wait_status(&f->op, "slow", "done");
    answer_done(&f->assigned);
    peer_done(&f->a);
}

static bool is_open(federation *f)
{
    const weft_msg_get_round_request request = {.job = "slow", .round = 1};
    weft_msg_get_round_reply round;
    answer a;
    call_ok(&a, &f->op, WEFT_METHOD_GET_ROUND, WEFT_MSG_GET_ROUND_REQUEST, &request,
            WEFT_MSG_GET_ROUND_REPLY, &round);
    assert_int_equal(round.n_assignments, 1);
    const bool open = strcmp(round.assignments[0].state, "open") == 0;
    answer_done(&a);
    return open;
}

/* Once the coordinator has what was sent, more than half a lease passes. */
static void dawdle(void *arg, uint64_t sent)
{
    federation *f = arg;
    uint64_t have = 0;
    if (sent == 0) {
        return; /* the header may be on its way still */
    }
    for (int i = 0; have < sent && i < PATIENCE_MS; i++) {
        assert_ok(weft_spool_held(f->daemon->spool, f->to.assignment_id, &have, NULL, NULL));
        (void)poll(NULL, 0, have < sent ? 1 : 0); /* only to wait */
    }
    assert_int_equal(have, sent);
    mono += LEASE_MS * 6 / 10;
    f->expired += !is_open(f); /* the loop ran in between */
}

static void upload_slowly(federation *f, void (*before)(void *, uint64_t))
{
    static const float delta[N] = {1.0F};
    uint8_t digest[32];
    assert_ok(weft_sha256(digest, delta, sizeof delta, NULL));
    const upload u = {.header = {.assignment_id = f->to.assignment_id,
                                 .base_digest = f->to.base_digest,
                                 .total_bytes = sizeof delta,
                                 .update_digest = {digest, 32},
                                 .n_examples = 1,
                                 .encoding = "f32"},
                      .data = delta,
                      .chunk_bytes = sizeof delta / CHUNKS,
                      .before = before,
                      .arg = f};
    weft_msg_submit_reply reply;
    answer a;
    submit(&a, &f->a, &u, &reply);
    assert_int_equal(a.code, WEFT_RT_OK);
    assert_non_null(reply.receipt);
    answer_done(&a);
}

static void test_upload__bytes_renew_the_lease(void **state)
{
    (void)state;
    federation f;
    start(&f);
    start_job(&f);
    upload_slowly(&f, dawdle); /* more than five leases long, without one Progress */
    assert_int_equal(f.expired, 0);
    end_job(&f);
    end(&f);
}

/* What the test above would see if bytes renewed nothing. */
static void test_lease__runs_out_in_silence(void **state)
{
    (void)state;
    federation f;
    start(&f);
    start_job(&f);
    assert_true(is_open(&f));
    mono += LEASE_MS - 1;
    assert_true(is_open(&f));
    mono += 1;
    assert_false(is_open(&f));
    upload_slowly(&f, NULL); /* nobody took the place: what was trained is not lost */
    end_job(&f);
    end(&f);
}

/* ---- the disk -------------------------------------------------------------------------------- */

static weft_rt_code invite(federation *f, const char *name, char *text)
{
    uint8_t digest[32] = {7};
    weft_sign_key key;
    weft_invitation invitation;
    weft_buf bytes;
    weft_msg_invite_reply reply;
    answer a;
    weft_buf_init(&bytes, &weft_alloc_std, WEFT_MAX_INVITATION_BYTES);
    assert_ok(weft_sign_key_generate(&key, &weft_entropy_system, NULL));
    assert_ok(weft_invitation_make(&invitation, &f->w.operator_key, "test", name,
                                   unix_ms(NULL) + 3600000, key.public_key, NULL));
    assert_ok(weft_invitation_encode(&bytes, &invitation, NULL));
    const weft_msg_invite_request request = {
        .client = name, .token_digest = {digest, 32}, .invitation = weft_buf_view(&bytes)};
    call(&a, &f->op, WEFT_METHOD_INVITE, WEFT_MSG_INVITE_REQUEST, &request, WEFT_MSG_INVITE_REPLY,
         &reply);
    const weft_rt_code code = a.code;
    (void)memcpy(text, a.text, sizeof a.text);
    answer_done(&a);
    weft_buf_done(&bytes);
    return code;
}

static size_t count_clients(federation *f)
{
    const weft_msg_list_clients_request request = {.limit = 0};
    weft_msg_list_clients_reply clients;
    answer a;
    call_ok(&a, &f->op, WEFT_METHOD_LIST_CLIENTS, WEFT_MSG_LIST_CLIENTS_REQUEST, &request,
            WEFT_MSG_LIST_CLIENTS_REPLY, &clients);
    const size_t n = clients.n_clients;
    answer_done(&a);
    return n;
}

static void test_disk__what_it_refuses_has_not_happened(void **state)
{
    (void)state;
    federation f;
    char text[256];
    struct rlimit before;
    start(&f);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit nothing = {0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &nothing), 0); /* as a disk that is full */
    const weft_rt_code code = invite(&f, "alice", text);
    const size_t n = count_clients(&f);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(code, WEFT_RT_UNAVAILABLE);
    assert_non_null(strstr(text, "could not keep this: try again"));
    assert_int_equal(n, 0);
    assert_int_equal(invite(&f, "alice", text), WEFT_RT_OK); /* with the disk it is back */
    assert_int_equal(count_clients(&f), 1);
    end(&f);
}

static void test_disk__a_coordinator_without_one_can_be_stopped(void **state)
{
    (void)state;
    federation f;
    char text[256];
    struct rlimit before;
    start(&f);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit nothing = {0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &nothing), 0);
    const weft_rt_code code = invite(&f, "alice", text);
    peer_done(&f.op);
    weft_daemon_free(f.daemon);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(code, WEFT_RT_UNAVAILABLE);
    weftd_done(&f.w);
}

/* A call of method i by its peer: the operator's Status, or the client's Progress on assignment 1,
 * which nobody has: it may stop. */
static weft_rt_code probe(peer *p, size_t i, char text[256])
{
    static const uint8_t body[] = {8, 1, 16, 1}; /* version 1; assignment 1 */
    answer a;
    call_bytes(&a, p, i ? WEFT_METHOD_PROGRESS : WEFT_METHOD_STATUS, body, i ? sizeof body : 2);
    const weft_rt_code code = a.code;
    memcpy(text, a.text, sizeof a.text);
    answer_done(&a);
    return code;
}

/* TLS looks at a certificate when the connection begins. Here it was good then, and is not now. */
static void test_certificate__is_judged_at_every_call(void **state)
{
    (void)state;
    federation f;
    char text[256];
    start(&f);
    peer_client(&f.a, &f.w, &f.op, "alice");
    peer *peers[] = {&f.a, &f.op};                       /* the operator's ends last */
    assert_int_equal(probe(&f.op, 0, text), WEFT_RT_OK); /* they are connected, both */
    assert_int_equal(probe(&f.a, 1, text), WEFT_RT_OK);
    for (size_t k = 0; k < 2; k++) {
        const size_t i = peers[k] == &f.a;
        weft_cert_info info;
        assert_ok(weft_cert_parse(&info, peers[k]->cert, strlen(peers[k]->cert), NULL));
        const int64_t left = info.not_after_unix_ms - weft_clock_system.unix_ms(NULL);
        ahead_ms = left - 60000; /* more than the test takes */
        assert_int_equal(probe(peers[k], i, text), WEFT_RT_OK);
        ahead_ms = left;
        assert_int_equal(probe(peers[k], i, text), WEFT_RT_UNAUTHENTICATED);
        assert_string_equal(text, "the certificate has expired: renew it");
        ahead_ms = 0; /* nothing but the time was wrong, and the connection is the same */
        assert_int_equal(probe(peers[k], i, text), WEFT_RT_OK);
    }
    peer_done(&f.a);
    end(&f);
}

/* Anybody may ask to enrol: the owner thread wakes up for it, and refuses. */
static void knock(peer *stranger)
{
    static const uint8_t nothing[32];
    const weft_msg_enroll_request request = {
        .token = {nothing, 32}, .csr_der = {nothing, 32}, .member_chain = {nothing, 32}};
    weft_msg_enroll_reply reply;
    answer a;
    call(&a, stranger, WEFT_METHOD_ENROLL, WEFT_MSG_ENROLL_REQUEST, &request, WEFT_MSG_ENROLL_REPLY,
         &reply);
    assert_int_equal(a.code, WEFT_RT_PERMISSION_DENIED);
    answer_done(&a);
}

static void test_certificate__ends_a_watch(void **state)
{
    (void)state;
    federation f;
    peer stranger;
    waiting watch;
    weft_cert_info info;
    const weft_msg_watch_request all = {.job = ""};
    start(&f);
    peer_stranger(&stranger, &f.w);
    knock(&stranger); /* it is connected before the coordinator's own certificate is another one */
    start_job(&f);
    waiting_start(&watch, &f.op, WEFT_METHOD_WATCH, WEFT_MSG_WATCH_REQUEST, &all);
    for (int i = 0; i < PATIENCE_MS / 20 && watch.messages == 0; i++) {
        assert_false(waiting_end(&watch, 20));
    }
    assert_true(watch.messages > 0); /* the snapshot */
    assert_ok(weft_cert_parse(&info, f.op.cert, strlen(f.op.cert), NULL));
    ahead_ms = info.not_after_unix_ms - weft_clock_system.unix_ms(NULL);
    mono += UINT64_C(2) * LEASE_MS; /* alice's lease runs out: something to tell */
    knock(&stranger);
    assert_true(waiting_end(&watch, PATIENCE_MS));
    assert_int_equal(watch.a.code, WEFT_RT_UNAVAILABLE); /* it may come back, if it can renew */
    assert_string_equal(watch.a.text, "the certificate has expired: watch again");
    ahead_ms = 0;
    waiting_done(&watch);
    answer_done(&f.assigned);
    peer_done(&f.a);
    peer_done(&stranger);
    end(&f);
}

int main(void)
{
    (void)signal(SIGXFSZ, SIG_IGN); /* writes fail instead; this signal can be ignored */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upload__bytes_renew_the_lease),
        cmocka_unit_test(test_lease__runs_out_in_silence),
        cmocka_unit_test(test_disk__what_it_refuses_has_not_happened),
        cmocka_unit_test(test_disk__a_coordinator_without_one_can_be_stopped),
        cmocka_unit_test(test_certificate__is_judged_at_every_call),
        cmocka_unit_test(test_certificate__ends_a_watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
