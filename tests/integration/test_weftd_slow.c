/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slow link that moves is alive: bytes of an upload renew the assignment's lease. The coordinator
 * runs inside the test, on a clock that only the test moves.
 */
#include "weftd_fixture.h"

#include "app/daemon.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 1000, LEASE_MS = 10000, CHUNKS = 10 };

static _Atomic uint64_t mono;

static uint64_t mono_ms(void *self)
{
    (void)self;
    return mono;
}

static int64_t unix_ms(void *self)
{
    (void)self;
    return weft_clock_system.unix_ms(weft_clock_system.self);
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
    weft_job_def def;
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
    answer_done(&f->assigned);
    peer_done(&f->a);
    peer_done(&f->op);
    weft_daemon_free(f->daemon);
    weftd_done(&f->w);
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
    upload_slowly(&f, dawdle); /* more than five leases long, without one Progress */
    assert_int_equal(f.expired, 0);
    wait_status(&f.op, "slow", "done");
    end(&f);
}

/* What the test above would see if bytes renewed nothing. */
static void test_lease__runs_out_in_silence(void **state)
{
    (void)state;
    federation f;
    start(&f);
    assert_true(is_open(&f));
    mono += LEASE_MS - 1;
    assert_true(is_open(&f));
    mono += 1;
    assert_false(is_open(&f));
    upload_slowly(&f, NULL); /* nobody took the place: what was trained is not lost */
    wait_status(&f.op, "slow", "done");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upload__bytes_renew_the_lease),
        cmocka_unit_test(test_lease__runs_out_in_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
