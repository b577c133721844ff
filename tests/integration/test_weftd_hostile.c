/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A crowd around a real weftd: silent and half-spoken connections, strangers who knock without end,
 * an enrolled client that floods and one that downloads without reading. Rounds go on, memory stays
 * bounded, and stopping does not wait for them.
 */
#include "weftd_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CROWD = 300, PARAMS = 2000000, FLOOD = 200, FROZEN = 6 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static int connect_bare(const weftd *w)
{
    const char *colon = strrchr(w->address, ':');
    assert_non_null(colon);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&to, sizeof to), 0);
    return fd;
}

/* A third says nothing, a third begins a handshake, a third talks nonsense. */
static void crowd_in(const weftd *w, int fds[CROWD])
{
    static const uint8_t hello[] = {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03};
    static const char nonsense[] = "GET / HTTP/1.1\r\nHost: weft\r\n\r\n";
    for (size_t i = 0; i < CROWD; i++) {
        fds[i] = connect_bare(w);
        if (i % 3 == 1) {
            (void)send(fds[i], hello, sizeof hello, MSG_NOSIGNAL); /* cut off is fine */
        } else if (i % 3 == 2) {
            (void)send(fds[i], nonsense, sizeof nonsense - 1, MSG_NOSIGNAL); /* the same */
        }
    }
}

/* One round of two clients, from check-in to the new version. */
static void one_round(const weftd *w, peer *op, peer *a, peer *b, uint32_t round)
{
    const weft_msg_dataset set = {"numbers", 100, ""};
    const weft_msg_check_in_request request = {&set, 1, "test 1", PATIENCE_MS};
    waiting held;
    answer theirs;
    weft_msg_assignment to_b;
    weft_msg_check_in_reply reply;
    waiting_start(&held, a, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request);
    assert_false(waiting_end(&held, 50));
    check_in(&theirs, b, &to_b);
    assert_true(waiting_end(&held, PATIENCE_MS));
    assert_ok(weft_msg_check_in_reply_decode(&reply, held.a.bytes.data, held.a.bytes.size,
                                             &held.a.arena, NULL));
    assert_non_null(reply.assignment);
    contribute(w, a, reply.assignment, 1.0F, 10);
    contribute(w, b, &to_b, 1.0F, 10);
    wait_rounds(op, "crowded", round);
    waiting_done(&held);
    answer_done(&theirs);
}

/* Calls of one client that nobody answers yet: what is over the limit is refused at once, or a
 * newer check-in ends an older one; how many of which depends on who is faster. */
static void flood(peer *p)
{
    const weft_msg_dataset set = {"other", 1, ""};
    const weft_msg_check_in_request request = {&set, 1, "test 1", PATIENCE_MS};
    static waiting calls[FLOOD];
    memset(calls, 0, sizeof calls);
    for (size_t i = 0; i < FLOOD; i++) {
        waiting_start(&calls[i], p, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request);
    }
    size_t ended = 0;
    for (size_t pass = 0; pass < 200 && ended <= FLOOD / 2; pass++) { /* a busy machine is slow */
        ended = 0;
        for (size_t i = 0; i < FLOOD; i++) {
            if (waiting_end(&calls[i], 20)) {
                assert_int_not_equal(calls[i].a.code, WEFT_RT_INTERNAL);
                ended++;
            }
        }
    }
    assert_true(ended > FLOOD / 2);
    for (size_t i = 0; i < FLOOD; i++) {
        waiting_done(&calls[i]);
    }
}

typedef struct frozen {
    peer *p;
    weft_rt_loop *loop;
    weft_rt_rpc *calls[FROZEN];
    unsigned messages;
} frozen;

static void one_message(void *arg, weft_rt_rpc *rpc, weft_rt_message *message)
{
    (void)rpc; /* and no more is asked for */
    (void)message;
    frozen *f = arg;
    f->messages++;
}

static void no_end(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                   weft_rt_message *reply)
{
    (void)arg;
    (void)rpc;
    (void)text;
    (void)reply;
    assert_int_equal(code, WEFT_RT_OK); /* it has no right to end */
}

/* Downloads whose reader takes one chunk and stops. */
static void freeze(frozen *f, peer *p, const uint8_t *digest)
{
    *f = (frozen){.p = p};
    const weft_rt_loop_options loop = WEFT_RT_LOOP_OPTIONS_INIT;
    assert_ok(weft_rt_loop_new(&f->loop, &loop, &assert_err));
    const weft_msg_fetch_model_request request = {.digest = {digest, 32}, .offset = 0};
    weft_buf bytes;
    weft_buf_init(&bytes, &weft_alloc_std, WEFT_MAX_CONTROL_BYTES);
    assert_ok(weft_wire_encode(&bytes, WEFT_MSG_FETCH_MODEL_REQUEST, &request, &assert_err));
    for (size_t i = 0; i < FROZEN; i++) {
        weft_rt_rpc_options o = WEFT_RT_RPC_OPTIONS_INIT;
        o.path = weft_method_get(WEFT_METHOD_FETCH_MODEL)->path;
        o.kind = WEFT_RT_RPC_FETCH;
        o.request = weft_buf_view(&bytes);
        o.arg = f;
        o.on_message = one_message;
        o.on_done = no_end;
        assert_ok(weft_rt_rpc_start(&f->calls[i], f->loop, p->channel, &o, &assert_err));
    }
    while (f->messages == 0) {
        (void)weft_rt_loop_step(f->loop, 100);
    }
    weft_buf_done(&bytes);
}

static void test_weftd__a_crowd_does_not_stop_the_rounds(void **state)
{
    (void)state;
    weftd w;
    peer op;
    peer a;
    peer b;
    peer mallory;
    peer stranger;
    int fds[CROWD];
    weftd_start(&w, NULL);
    peer_operator(&op, &w);
    peer_client(&a, &w, &op, "ann");
    peer_client(&b, &w, &op, "bob");
    peer_client(&mallory, &w, &op, "mallory");
    peer_stranger(&stranger, &w);
    weft_job_def def;
    job_plain(&def, "crowded", PARAMS, 2, 3);
    job_submit(&op, &def);
    weft_job_def_done(&def, &weft_alloc_std);
    one_round(&w, &op, &a, &b, 1);
    const long quiet_kb = weftd_memory_kb(&w, "VmHWM:");

    crowd_in(&w, fds);
    flood(&mallory);
    one_round(&w, &op, &a, &b, 2);
    /* the version that the next round starts from */
    const weft_msg_dataset set = {"numbers", 100, ""};
    const weft_msg_check_in_request request = {&set, 1, "test 1", PATIENCE_MS};
    waiting held;
    waiting_start(&held, &a, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request);
    answer theirs;
    weft_msg_assignment to_b;
    check_in(&theirs, &b, &to_b);
    frozen f;
    freeze(&f, &mallory, to_b.base_digest.data);
    for (int i = 0; i < 200; i++) {
        answer said;
        call_bytes(&said, &stranger, WEFT_METHOD_ENROLL, "\x08\x01", 2);
        assert_int_not_equal(said.code, WEFT_RT_OK);
        answer_done(&said);
    }
    weft_msg_check_in_reply reply;
    assert_true(waiting_end(&held, PATIENCE_MS));
    assert_ok(weft_msg_check_in_reply_decode(&reply, held.a.bytes.data, held.a.bytes.size,
                                             &held.a.arena, NULL));
    contribute(&w, &a, reply.assignment, 1.0F, 10);
    contribute(&w, &b, &to_b, 1.0F, 10);
    wait_status(&op, "crowded", "done");
    waiting_done(&held);
    answer_done(&theirs);
    const long crowded_kb = weftd_memory_kb(&w, "VmHWM:");
    print_message("peak %ld kB quiet, %ld kB with the crowd\n", quiet_kb, crowded_kb);
    if (!SANITIZED) {
        /* a connection costs about 0.1 MB; nothing else may have grown by much */
        assert_true(crowded_kb - quiet_kb < 64L << 10);
    }
    /* it stops with all of them at the door */
    weft_rt_loop_free(f.loop);
    weftd_stop(&w);
    for (size_t i = 0; i < CROWD; i++) {
        (void)close(fds[i]);
    }
    peer_done(&stranger);
    peer_done(&mallory);
    peer_done(&b);
    peer_done(&a);
    peer_done(&op);
    weftd_done(&w);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fputs("usage: test_weftd_hostile WEFTD\n", stderr);
        return 64;
    }
    weftd_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weftd__a_crowd_does_not_stop_the_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
