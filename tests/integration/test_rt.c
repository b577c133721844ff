/* SPDX-License-Identifier: Apache-2.0 */
/* The gRPC layer from both sides, over real TLS: kinds of calls, identity, answers from anywhere.
 */
#include "rt_fixture.h"

#include "base/clock.h"
#include "crypto/cert.h"
#include "rt/certificate_priv.h"

#include <grpc/grpc.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

typedef struct world {
    pki p;
    member ann;
    member bob;
    service s;
    weft_rt_channel *channel; /* ann's */
    weft_rt_loop *loop;
} world;

static pki shared_pki; /* making keys takes time: once */
static member shared_ann;
static member shared_bob;

static int make_shared(void **state)
{
    (void)state;
    pki_make(&shared_pki);
    pki_member(&shared_pki, &shared_ann, "ann");
    pki_member(&shared_pki, &shared_bob, "bob");
    return 0;
}

static void world_init(world *w)
{
    w->p = shared_pki;
    w->ann = shared_ann;
    w->bob = shared_bob;
    service_start(&w->s, &w->p, NULL);
    w->channel = channel_to(&w->s, &w->p, &w->ann);
    w->loop = loop_new(false);
}

static void world_done(world *w)
{
    weft_rt_loop_free(w->loop);
    weft_rt_channel_free(w->channel);
    service_stop(&w->s);
}

/* ---- kinds ----------------------------------------------------------------------------------- */

static void test_unary__echoes_any_size(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    static char text[1 << 20];
    const size_t sizes[] = {0, 1, 22, 23, 24, 16384, 65536, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(text, 'x', sizeof text);
        weft_buf reply;
        weft_buf_init(&reply, &weft_alloc_std, sizeof text);
        const weft_view request = {(const uint8_t *)text, sizes[i]};
        weft_rt_code code = WEFT_RT_UNKNOWN;
        assert_ok(
            weft_rt_unary(w.channel, "/t/Echo", request, PATIENCE_MS, &reply, &code, &assert_err));
        assert_int_equal(code, WEFT_RT_OK);
        assert_int_equal(reply.size, sizes[i]);
        assert_true(sizes[i] == 0 || memcmp(reply.data, text, sizes[i]) == 0);
        weft_buf_done(&reply);
    }
    world_done(&w);
}

static weft_rt_blob *pattern_blob(size_t size)
{
    uint8_t *data = weft_array(&weft_alloc_std, size, 1);
    assert_non_null(data);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i * 31 + (i >> 13));
    }
    weft_rt_blob *blob = NULL;
    assert_ok(weft_rt_blob_take(&blob, &weft_alloc_std, data, size, &assert_err));
    return blob;
}

static void test_fetch__delivers_header_and_blob(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    w.s.blob = pattern_blob((3U << 20) + 5);
    job j = {0};
    job_start(&j, w.loop, w.channel, WEFT_RT_RPC_FETCH, "/t/Down", "");
    job_finish(&j, w.loop);
    assert_int_equal(j.code, WEFT_RT_OK);
    assert_int_equal(j.messages, 4);
    assert_int_equal(j.received, (3U << 20) + 5 + 4 * 2);
    job_end(&j);
    world_done(&w);
}

static void test_fetch__waits_for_a_slow_consumer(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    w.s.blob = pattern_blob(16U << 20);
    job j = {.stalled = true};
    job_start(&j, w.loop, w.channel, WEFT_RT_RPC_FETCH, "/t/Down", "");
    while (j.messages == 0) {
        (void)weft_rt_loop_step(w.loop, 100);
    }
    for (int i = 0; i < 5; i++) {
        (void)weft_rt_loop_step(w.loop, 20);
    }
    assert_int_equal(j.messages, 1);
    assert_false(j.done);
    j.stalled = false;
    weft_rt_rpc_next(j.rpc);
    job_finish(&j, w.loop);
    assert_int_equal(j.code, WEFT_RT_OK);
    assert_int_equal(j.messages, 16);
    job_end(&j);
    world_done(&w);
}

static void test_upload__counts_every_byte(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    weft_rt_blob *blob = pattern_blob(1U << 20);
    job j = {.blob = blob, .part = 1U << 20, .n_parts = 7};
    job_start(&j, w.loop, w.channel, WEFT_RT_RPC_UPLOAD, "/t/Up", "");
    job_finish(&j, w.loop);
    assert_int_equal(j.code, WEFT_RT_OK);
    char want[32];
    (void)snprintf(want, sizeof want, "%u", 7 * ((1U << 20) + 2));
    assert_string_equal(weft_buf_text(&j.reply), want);
    assert_int_equal(atomic_load(&w.s.messages), 7);
    job_end(&j);
    /* none at all */
    job none = {0};
    job_start(&none, w.loop, w.channel, WEFT_RT_RPC_UPLOAD, "/t/Up", "");
    job_finish(&none, w.loop);
    assert_int_equal(none.code, WEFT_RT_OK);
    job_end(&none);
    weft_rt_blob_unref(blob);
    world_done(&w);
}

static void test_upload__paused_reader_slows_the_sender(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    weft_rt_blob *blob = pattern_blob(1U << 20);
    job j = {.blob = blob, .part = 1U << 20, .n_parts = 8};
    job_start(&j, w.loop, w.channel, WEFT_RT_RPC_UPLOAD, "/t/Paused", "");
    while (atomic_load(&w.s.messages) < 1) {
        (void)weft_rt_loop_step(w.loop, 20);
    }
    for (int i = 0; i < 5; i++) {
        (void)weft_rt_loop_step(w.loop, 20);
    }
    assert_int_equal(atomic_load(&w.s.messages), 1);
    assert_true(j.writables < 8); /* the sender was not let through to the end */
    while (!j.done) {
        service_resume(&w.s);
        (void)weft_rt_loop_step(w.loop, 5);
    }
    assert_int_equal(j.code, WEFT_RT_OK);
    assert_int_equal(atomic_load(&w.s.messages), 8);
    job_end(&j);
    weft_rt_blob_unref(blob);
    world_done(&w);
}

static void test_send__refuses_parts_outside_the_blob(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    weft_rt_blob *blob = pattern_blob(10);
    job j = {.blob = blob, .part = 10, .n_parts = 1, .never_end = true};
    job_start(&j, w.loop, w.channel, WEFT_RT_RPC_UPLOAD, "/t/Up", "");
    assert_int_equal(weft_rt_rpc_send(j.rpc, "", 0, blob, 0, 11), WEFT_E_INVALID);
    assert_int_equal(weft_rt_rpc_send(j.rpc, "", 0, blob, 11, 0), WEFT_E_INVALID);
    assert_int_equal(weft_rt_rpc_send(j.rpc, "", 0, blob, UINT64_MAX, 2), WEFT_E_INVALID);
    assert_int_equal(weft_rt_rpc_send(j.rpc, "", 0, NULL, 0, 1), WEFT_E_INVALID);
    while (j.writables < 2) {
        (void)weft_rt_loop_step(w.loop, 100);
    }
    assert_int_equal(weft_rt_rpc_send(j.rpc, "", 0, blob, 10, 0), WEFT_OK);
    assert_int_equal(weft_rt_rpc_send(j.rpc, "", 0, blob, 0, 1), WEFT_E_STATE); /* one at a time */
    weft_rt_rpc_end(j.rpc);
    assert_int_equal(weft_rt_rpc_send(j.rpc, "", 0, blob, 0, 1), WEFT_E_STATE);
    job_finish(&j, w.loop);
    assert_int_equal(j.code, WEFT_RT_OK);
    assert_int_equal(weft_rt_rpc_send(j.rpc, "", 0, blob, 0, 1), WEFT_E_CANCELED);
    assert_int_equal(atomic_load(&w.s.received), 12);
    job_end(&j);
    weft_rt_blob_unref(blob);
    world_done(&w);
}

static void test_unknown_method__is_told(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    char text[256];
    assert_int_equal(call_text(w.channel, "/t/Nothing", "x", text), WEFT_RT_UNIMPLEMENTED);
    assert_non_null(strstr(text, "/t/Nothing"));
    weft_rt_server_stats stats;
    weft_rt_server_stats_get(w.s.server, &stats);
    assert_int_equal(stats.unknown_method, 1);
    world_done(&w);
}

/* ---- answers from elsewhere ------------------------------------------------------------------ */

static void test_hold__is_answered_from_another_thread(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    job j[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        job_start(&j[i], w.loop, w.channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    }
    for (size_t n = 0; n < 4;) {
        (void)weft_rt_loop_step(w.loop, 10);
        (void)pthread_mutex_lock(&w.s.lock);
        n = w.s.n_held;
        (void)pthread_mutex_unlock(&w.s.lock);
    }
    assert_int_equal(service_answer(&w.s, "now"), 4);
    for (size_t i = 0; i < 4; i++) {
        job_finish(&j[i], w.loop);
        assert_int_equal(j[i].code, WEFT_RT_OK);
        assert_string_equal(weft_buf_text(&j[i].reply), "now");
        job_end(&j[i]);
    }
    world_done(&w);
}

/* Steps until n calls are held. */
static void hold(world *w, size_t n)
{
    for (size_t held = 0; held < n;) {
        (void)weft_rt_loop_step(w->loop, 10);
        (void)pthread_mutex_lock(&w->s.lock);
        held = w->s.n_held;
        (void)pthread_mutex_unlock(&w->s.lock);
    }
}

static void test_reply__second_answer_is_refused(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    job j = {0};
    job_start(&j, w.loop, w.channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    hold(&w, 1);
    weft_rt_call *call = w.s.held[0];
    assert_int_equal(weft_rt_call_finish(call), WEFT_E_STATE); /* not a stream */
    assert_int_equal(weft_rt_call_send(call, "", 0, NULL, 0, 0), WEFT_E_STATE);
    assert_int_equal(weft_rt_call_fail(call, WEFT_RT_NOT_FOUND, "no such thing"), WEFT_OK);
    const weft_status again = weft_rt_call_reply(call, "x", 1);
    assert_true(again == WEFT_E_STATE || again == WEFT_E_CANCELED);
    job_finish(&j, w.loop);
    assert_int_equal(j.code, WEFT_RT_NOT_FOUND);
    assert_string_equal(j.text, "no such thing");
    job_end(&j);
    world_done(&w);
}

static void test_reply__to_a_vanished_caller_is_harmless(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    job j = {0};
    job_start(&j, w.loop, w.channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    hold(&w, 1);
    weft_rt_rpc_cancel(j.rpc);
    job_finish(&j, w.loop);
    assert_int_equal(j.code, WEFT_RT_CANCELED);
    service_wait_closed(&w.s, 1);
    assert_int_equal(atomic_load(&w.s.cancelled), 1);
    assert_int_equal(weft_rt_call_reply(w.s.held[0], "x", 1), WEFT_E_CANCELED);
    job_end(&j);
    world_done(&w);
}

static void test_early_refusal__ends_an_upload(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    weft_rt_blob *blob = pattern_blob(1U << 20);
    job j = {.blob = blob, .part = 1U << 20, .n_parts = 1000};
    job_start(&j, w.loop, w.channel, WEFT_RT_RPC_UPLOAD, "/t/Paused", "");
    hold(&w, 1);
    assert_int_equal(weft_rt_call_fail(w.s.held[0], WEFT_RT_FAILED_PRECONDITION, "round is over"),
                     WEFT_OK);
    job_finish(&j, w.loop);
    assert_int_equal(j.code, WEFT_RT_FAILED_PRECONDITION);
    assert_string_equal(j.text, "round is over");
    job_end(&j);
    weft_rt_blob_unref(blob);
    world_done(&w);
}

static void test_free__forgets_a_running_call(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    job j = {0};
    job_start(&j, w.loop, w.channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    hold(&w, 1);
    weft_rt_rpc_free(j.rpc);
    for (int i = 0; i < 5; i++) {
        (void)weft_rt_loop_step(w.loop, 10);
    }
    assert_int_equal(j.done_count, 0);
    weft_buf_done(&j.reply);
    service_wait_closed(&w.s, 1);
    /* and one that the loop has to end */
    job k = {0};
    job_start(&k, w.loop, w.channel, WEFT_RT_RPC_FETCH, "/t/Hold", "x");
    world_done(&w);
    assert_int_equal(k.done_count, 0);
    weft_buf_done(&k.reply);
}

/* ---- identity -------------------------------------------------------------------------------- */

static void test_peer__is_the_certificates_uri(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    char text[256];
    assert_int_equal(call_text(w.channel, "/t/Who", "", text), WEFT_RT_OK);
    assert_string_equal(text, "weft://test/client/ann");
    /* fingerprint: SHA-256 of the DER, as crypto computes it */
    job j = {0};
    job_start(&j, w.loop, w.channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    hold(&w, 1);
    weft_cert_info info;
    assert_ok(weft_cert_parse(&info, w.ann.cert, strlen(w.ann.cert), &assert_err));
    const weft_rt_peer *peer = weft_rt_call_peer(w.s.held[0]);
    assert_true(peer->authenticated);
    assert_memory_equal(peer->fingerprint, info.fingerprint, sizeof info.fingerprint);
    assert_non_null(strstr(peer->address, "127.0.0.1:"));
    assert_string_equal(weft_rt_call_path(w.s.held[0]), "/t/Hold");
    (void)service_answer(&w.s, "");
    job_finish(&j, w.loop);
    job_end(&j);
    world_done(&w);
}

/* Whatever is read without crypto's parser is what crypto's parser says. */
static void test_certificate__reads_what_crypto_reads(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    weft_cert_info info;
    uint8_t print[32] = {0};
    const uint8_t untouched[32] = {0};
    int64_t end = 0;
    const size_t size = strlen(w.ann.cert);
    assert_ok(weft_cert_parse(&info, w.ann.cert, size, &assert_err));
    const size_t last = (size_t)(strstr(w.ann.cert, "-----END") - w.ann.cert);
    for (size_t n = 0; n < last - 120; n++) { /* cut before the signature's end at least */
        if (weft_rt_certificate_read(print, &end, w.ann.cert, n)) {
            fail_msg("%zu of %zu bytes are a certificate", n, size);
        }
        assert_memory_equal(print, untouched, sizeof print);
    }
    assert_true(weft_rt_certificate_read(print, &end, w.ann.cert, size));
    assert_memory_equal(print, info.fingerprint, sizeof print);
    assert_int_equal(end, info.not_after_unix_ms);
    world_done(&w);
}

static void test_certificate__limit(void **state)
{
    (void)state;
    enum { QUANTA = WEFT_RT_MAX_CERTIFICATE_BYTES / 3 };
    static char pem[64 + 4 * (QUANTA + 2)];
    uint8_t print[32];
    int64_t end = 0;
    for (size_t quanta = QUANTA; quanta <= QUANTA + 1; quanta++) { /* at it: just no certificate */
        const size_t n = (size_t)snprintf(pem, sizeof pem, "-----BEGIN CERTIFICATE-----\n");
        memset(pem + n, 'A', 4 * quanta);
        assert_false(weft_rt_certificate_read(print, &end, pem, n + 4 * quanta));
    }
}

static void test_anonymous__is_refused_but_where_allowed(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    weft_rt_channel *nobody = channel_to(&w.s, &w.p, NULL);
    char text[256];
    assert_int_equal(call_text(nobody, "/t/Who", "", text), WEFT_RT_OK);
    assert_string_equal(text, "nobody");
    const char *const others[] = {"/t/Echo", "/t/Hold", "/t/Up", "/t/Down", "/t/Paused"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(call_text(nobody, others[i], "x", text), WEFT_RT_UNAUTHENTICATED);
        assert_non_null(strstr(text, "enrol"));
    }
    assert_int_equal(atomic_load(&w.s.opened), 0);
    weft_rt_channel_free(nobody);
    world_done(&w);
}

static void test_foreign_certificate__is_not_let_in(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    pki other;
    pki_make(&other);
    member mallory;
    pki_member(&other, &mallory, "ann");
    memcpy(other.ca, w.p.ca, sizeof other.ca); /* she knows the CA's certificate */
    weft_rt_channel *channel = channel_to(&w.s, &other, &mallory);
    assert_int_equal(call_text(channel, "/t/Who", "", NULL), WEFT_RT_UNAVAILABLE);
    weft_rt_channel_free(channel);
    world_done(&w);
}

static void test_wrong_server__is_not_talked_to(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    pki other;
    pki_make(&other);
    weft_rt_channel *channel = channel_to(&w.s, &other, NULL);
    assert_int_equal(call_text(channel, "/t/Who", "", NULL), WEFT_RT_UNAVAILABLE);
    weft_rt_channel_free(channel);
    world_done(&w);
}

static void test_cancel_peer__cuts_one_identity(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    weft_rt_channel *bob = channel_to(&w.s, &w.p, &w.bob);
    w.s.blob = pattern_blob(32U << 20);
    job ann[3] = {{0}, {0}, {.stalled = true}};
    job_start(&ann[0], w.loop, w.channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    job_start(&ann[1], w.loop, w.channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    job_start(&ann[2], w.loop, w.channel, WEFT_RT_RPC_FETCH, "/t/Down", "x");
    job other = {0};
    job_start(&other, w.loop, bob, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    hold(&w, 3);
    while (ann[2].messages == 0) {
        (void)weft_rt_loop_step(w.loop, 10);
    }
    (void)pthread_mutex_lock(&w.s.lock);
    (void)snprintf(w.s.revoked, sizeof w.s.revoked, "weft://test/client/ann");
    (void)pthread_mutex_unlock(&w.s.lock);
    assert_int_equal(weft_rt_server_cancel_peer(w.s.server, "weft://test/client/ann",
                                                WEFT_RT_PERMISSION_DENIED, "revoked"),
                     3);
    service_wait_closed(&w.s, 3);
    assert_int_equal(atomic_load(&w.s.cancelled), 3);
    /* gRPC hands out what had arrived before it tells of the end */
    ann[2].stalled = false;
    weft_rt_rpc_next(ann[2].rpc);
    for (size_t i = 0; i < 3; i++) {
        job_finish(&ann[i], w.loop);
        assert_int_equal(ann[i].code, WEFT_RT_PERMISSION_DENIED);
        assert_string_equal(ann[i].text, "revoked");
        job_end(&ann[i]);
    }
    char text[256];
    assert_int_equal(call_text(w.channel, "/t/Echo", "x", text), WEFT_RT_PERMISSION_DENIED);
    assert_string_equal(text, "weft://test/client/ann is revoked");
    assert_false(other.done);
    (void)service_answer(&w.s, "you stay");
    job_finish(&other, w.loop);
    assert_int_equal(other.code, WEFT_RT_OK);
    job_end(&other);
    assert_int_equal(weft_rt_server_cancel_peer(w.s.server, "weft://test/client/nobody",
                                                WEFT_RT_PERMISSION_DENIED, ""),
                     0);
    weft_rt_channel_free(bob);
    world_done(&w);
}

static void test_reload__serves_new_connections(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    assert_int_equal(call_text(w.channel, "/t/Echo", "x", NULL), WEFT_RT_OK);
    pki next;
    pki_make(&next);
    member carl;
    pki_member(&next, &carl, "carl");
    weft_rt_tls tls = pki_server_tls(&next);
    weft_rt_tls bad = {next.ca, next.cert, w.p.key};
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_rt_server_reload(w.s.server, &bad, &err), WEFT_E_INVALID);
    assert_ok(weft_rt_server_reload(w.s.server, &tls, &assert_err));
    char text[256];
    weft_rt_channel *channel = channel_to(&w.s, &next, &carl);
    assert_int_equal(call_text(channel, "/t/Who", "", text), WEFT_RT_OK);
    assert_string_equal(text, "weft://test/client/carl");
    /* who is connected stays connected; who comes anew with the old CA does not */
    assert_int_equal(call_text(w.channel, "/t/Echo", "x", NULL), WEFT_RT_OK);
    weft_rt_channel *old = channel_to(&w.s, &w.p, &w.bob);
    assert_int_equal(call_text(old, "/t/Who", "", NULL), WEFT_RT_UNAVAILABLE);
    weft_rt_channel_free(old);
    weft_rt_channel_free(channel);
    world_done(&w);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void test_poller_thread__signals_the_descriptor(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    weft_rt_loop *loop = loop_new(true);
    const int fd = weft_rt_loop_fd(loop);
    assert_true(fd >= 0);
    assert_int_equal(weft_rt_loop_fd(w.loop), -1);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 0), 0);
    job j = {0};
    job_start(&j, loop, w.channel, WEFT_RT_RPC_UNARY, "/t/Echo", "hello");
    assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
    assert_false(j.done); /* callbacks run in step only */
    job_finish(&j, loop);
    assert_int_equal(j.code, WEFT_RT_OK);
    job_end(&j);
    assert_int_equal(poll(&wait, 1, 0), 0);
    weft_rt_loop_wake_signal(loop);
    assert_int_equal(weft_rt_loop_step(loop, UINT32_MAX), 0);
    /* freed with a call under way */
    job k = {0};
    job_start(&k, loop, w.channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    weft_rt_loop_free(loop);
    assert_int_equal(k.done_count, 0);
    weft_buf_done(&k.reply);
    world_done(&w);
}

static void *wake_it(void *loop)
{
    weft_rt_loop_wake(loop);
    return NULL;
}

static void test_wake__ends_a_step(void **state)
{
    (void)state;
    weft_rt_loop *loop = loop_new(false);
    weft_rt_loop_wake(loop);
    weft_rt_loop_wake(loop);
    assert_int_equal(weft_rt_loop_step(loop, UINT32_MAX), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_it, loop), 0);
    assert_int_equal(weft_rt_loop_step(loop, UINT32_MAX), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    weft_rt_loop_wake_signal(loop);
    assert_int_equal(weft_rt_loop_step(loop, UINT32_MAX), 0);
    assert_int_equal(weft_rt_loop_step(loop, 0), 0);
    weft_rt_loop_wake(loop); /* freed with a wake on its way */
    weft_rt_loop_free(loop);
}

static void test_deadline__ends_a_call(void **state)
{
    (void)state;
    world w;
    world_init(&w);
    const weft_view request = {(const uint8_t *)"x", 1};
    weft_buf reply;
    weft_buf_init(&reply, &weft_alloc_std, 100);
    weft_rt_code code = WEFT_RT_OK;
    assert_int_equal(weft_rt_unary(w.channel, "/t/Hold", request, 50, &reply, &code, NULL),
                     WEFT_E_TIMEOUT);
    assert_int_equal(code, WEFT_RT_DEADLINE_EXCEEDED);
    weft_buf_done(&reply);
    world_done(&w);
}

static void test_nobody_there__fails_at_once_or_waits(void **state)
{
    (void)state;
    weft_rt_channel_options o = WEFT_RT_CHANNEL_OPTIONS_INIT;
    o.address = "127.0.0.1:1";
    o.plain = true;
    weft_rt_channel *channel = NULL;
    assert_ok(weft_rt_channel_new(&channel, &o, &assert_err));
    assert_int_equal(call_text(channel, "/t/Echo", "x", NULL), WEFT_RT_UNAVAILABLE);
    weft_rt_loop *loop = loop_new(false);
    job j = {0};
    job_start(&j, loop, channel, WEFT_RT_RPC_UPLOAD, "/t/Up", "");
    job_finish(&j, loop);
    assert_int_equal(j.code, WEFT_RT_UNAVAILABLE);
    assert_int_equal(j.writables, 0);
    job_end(&j);
    weft_rt_loop_free(loop);
    weft_rt_channel_free(channel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary__echoes_any_size),
        cmocka_unit_test(test_fetch__delivers_header_and_blob),
        cmocka_unit_test(test_fetch__waits_for_a_slow_consumer),
        cmocka_unit_test(test_upload__counts_every_byte),
        cmocka_unit_test(test_upload__paused_reader_slows_the_sender),
        cmocka_unit_test(test_send__refuses_parts_outside_the_blob),
        cmocka_unit_test(test_unknown_method__is_told),
        cmocka_unit_test(test_hold__is_answered_from_another_thread),
        cmocka_unit_test(test_reply__second_answer_is_refused),
        cmocka_unit_test(test_reply__to_a_vanished_caller_is_harmless),
        cmocka_unit_test(test_early_refusal__ends_an_upload),
        cmocka_unit_test(test_free__forgets_a_running_call),
        cmocka_unit_test(test_peer__is_the_certificates_uri),
        cmocka_unit_test(test_certificate__reads_what_crypto_reads),
        cmocka_unit_test(test_certificate__limit),
        cmocka_unit_test(test_anonymous__is_refused_but_where_allowed),
        cmocka_unit_test(test_foreign_certificate__is_not_let_in),
        cmocka_unit_test(test_wrong_server__is_not_talked_to),
        cmocka_unit_test(test_cancel_peer__cuts_one_identity),
        cmocka_unit_test(test_reload__serves_new_connections),
        cmocka_unit_test(test_poller_thread__signals_the_descriptor),
        cmocka_unit_test(test_wake__ends_a_step),
        cmocka_unit_test(test_deadline__ends_a_call),
        cmocka_unit_test(test_nobody_there__fails_at_once_or_waits),
    };
    return cmocka_run_group_tests(tests, make_shared, NULL);
}
