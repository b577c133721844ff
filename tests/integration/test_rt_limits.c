/* SPDX-License-Identifier: Apache-2.0 */
/* The gRPC layer's limits: options, concurrent calls, message size, memory, and its ordered end. */
#include "rt_fixture.h"

#include <stdio.h>
#include <string.h>

static pki shared_pki;
static member shared_ann;

static int make_shared(void **state)
{
    (void)state;
    pki_make(&shared_pki);
    pki_member(&shared_pki, &shared_ann, "ann");
    return 0;
}

/* ---- options --------------------------------------------------------------------------------- */

static void ignore_message(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    (void)ctx;
    (void)call;
    (void)message;
}

static const weft_rt_method one_method[] = {
    {.path = "/t/One", .kind = WEFT_RT_UNARY, .on_message = ignore_message}};

static weft_rt_server_options plain_options(void)
{
    weft_rt_server_options o = WEFT_RT_SERVER_OPTIONS_INIT;
    o.address = "127.0.0.1:0";
    o.plain = true;
    o.methods = one_method;
    o.n_methods = 1;
    return o;
}

static void refused(const weft_rt_server_options *o, weft_status want, const char *words)
{
    weft_rt_server *server = NULL;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_rt_server_new(&server, o, &err), want);
    assert_null(server);
    if (!strstr(err.msg, words)) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
    }
}

static void test_server_new__plain_only_on_loopback(void **state)
{
    (void)state;
    const char *const bad[] = {"0.0.0.0:0",   "[::]:0",      "192.0.2.1:0",
                               "localhost:0", "128.0.0.1:0", "[::ffff:127.0.0.1]:0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        weft_rt_server_options o = plain_options();
        o.address = bad[i];
        refused(&o, WEFT_E_INVALID, "loopback");
    }
    const char *const good[] = {"127.0.0.1:0", "127.9.9.9:0"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        weft_rt_server_options o = plain_options();
        o.address = good[i];
        weft_rt_server *server = NULL;
        assert_ok(weft_rt_server_new(&server, &o, &assert_err));
        weft_rt_server_free(server);
    }
}

static void test_server_new__says_what_is_wrong(void **state)
{
    (void)state;
    weft_rt_server_options o = plain_options();
    o.address = "127.0.0.1";
    refused(&o, WEFT_E_INVALID, "host:port");
    o = plain_options();
    o.n_pollers = 17;
    refused(&o, WEFT_E_INVALID, "17");
    o = plain_options();
    o.max_calls = 0;
    refused(&o, WEFT_E_INVALID, "limits");
    o = plain_options();
    const weft_rt_method twice[] = {one_method[0], one_method[0]};
    o.methods = twice;
    o.n_methods = 2;
    refused(&o, WEFT_E_INVALID, "twice");
    const weft_rt_method wrong[] = {
        {.path = "/t/Up", .kind = WEFT_RT_CLIENT_STREAM, .on_message = ignore_message}};
    o.methods = wrong;
    o.n_methods = 1;
    refused(&o, WEFT_E_INVALID, "on_half_close");
    o = plain_options();
    o.plain = false;
    refused(&o, WEFT_E_INVALID, "CA certificate");
    const weft_rt_tls no_key = {shared_pki.ca, shared_pki.cert, NULL};
    o.tls = &no_key;
    refused(&o, WEFT_E_INVALID, "key");
    const weft_rt_tls nobody = {shared_pki.ca, NULL, NULL};
    o.tls = &nobody;
    refused(&o, WEFT_E_INVALID, "needs a certificate");
    const weft_rt_tls mixed = {shared_pki.ca, shared_pki.cert, shared_ann.key};
    o.tls = &mixed;
    refused(&o, WEFT_E_INVALID, "does not belong");
    const weft_rt_tls garbage = {"not a certificate", shared_pki.cert, shared_pki.key};
    o.tls = &garbage;
    refused(&o, WEFT_E_FORMAT, "CA certificate");
}

static void test_server_new__second_bind_of_a_port_fails(void **state)
{
    (void)state;
    service s;
    service_start(&s, &shared_pki, NULL);
    char address[64];
    service_address(&s, address);
    weft_rt_server_options o = plain_options();
    o.address = address;
    refused(&o, WEFT_E_IO, "another coordinator");
    service_stop(&s);
}

static weft_status try_server(const weft_alloc *a, void *arg)
{
    const bool plain = arg != NULL;
    const weft_rt_tls tls = pki_server_tls(&shared_pki);
    weft_rt_server_options o = plain_options();
    o.alloc = a;
    o.plain = plain;
    o.tls = plain ? NULL : &tls;
    weft_rt_server *server = NULL;
    const weft_status status = weft_rt_server_new(&server, &o, NULL);
    weft_rt_server_free(server);
    return status;
}

static weft_status try_channel(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_rt_channel_options o = WEFT_RT_CHANNEL_OPTIONS_INIT;
    o.alloc = a;
    o.address = "127.0.0.1:1";
    o.plain = true;
    o.plain_identity = "weft://test/client/ann";
    weft_rt_channel *channel = NULL;
    weft_status status = weft_rt_channel_new(&channel, &o, NULL);
    if (status == WEFT_OK) {
        weft_rt_loop *loop = NULL;
        weft_rt_loop_options l = WEFT_RT_LOOP_OPTIONS_INIT;
        l.alloc = a;
        status = weft_rt_loop_new(&loop, &l, NULL);
        weft_rt_loop_free(loop);
    }
    weft_rt_channel_free(channel);
    return status;
}

static void test_new__every_allocation_may_fail(void **state)
{
    (void)state;
    int plain = 1;
    test_every_allocation_may_fail(try_server, NULL);
    test_every_allocation_may_fail(try_server, &plain);
    test_every_allocation_may_fail(try_channel, NULL);
}

/* An allocator for many threads that refuses one allocation: what is in flight fails, nothing else
 * does. */
typedef struct shaky {
    weft_alloc alloc;
    atomic_long left; /* until the refusal; below 0: never */
} shaky;

static void *shaky_resize(void *self, void *p, size_t size)
{
    shaky *s = self;
    if (size > 0 && atomic_fetch_sub(&s->left, 1) == 0) {
        return NULL;
    }
    return weft_alloc_std.resize(weft_alloc_std.self, p, size);
}

static void test_serving__survives_every_failing_allocation(void **state)
{
    (void)state;
    shaky a = {{shaky_resize, &a}, -1};
    weft_rt_server_options o = WEFT_RT_SERVER_OPTIONS_INIT;
    o.alloc = &a.alloc;
    o.plain = true;
    service s;
    service_start(&s, NULL, &o);
    weft_rt_channel *channel = channel_plain(&s, "weft://test/client/ann");
    unsigned failures = 0;
    for (long n = 0; n < 8; n++) {
        atomic_store(&a.left, n);
        const weft_rt_code code = call_text(channel, "/t/Echo", "x", NULL);
        assert_true(code == WEFT_RT_OK || code == WEFT_RT_RESOURCE_EXHAUSTED ||
                    code == WEFT_RT_CANCELED);
        failures += code != WEFT_RT_OK;
        atomic_store(&a.left, -1);
        assert_int_equal(call_text(channel, "/t/Echo", "x", NULL), WEFT_RT_OK);
    }
    assert_true(failures >= 3); /* the call, the client, the message */
    weft_rt_channel_free(channel);
    service_stop(&s);
}

/* ---- concurrent calls ------------------------------------------------------------------------ */

static void step_until_done(weft_rt_loop *loop, const job *jobs, size_t n, size_t want)
{
    for (size_t done = 0; done < want;) {
        (void)weft_rt_loop_step(loop, 50);
        done = 0;
        for (size_t i = 0; i < n; i++) {
            done += jobs[i].done;
        }
    }
}

static void test_limits__hundred_calls_too_many_are_refused(void **state)
{
    (void)state;
    service s;
    service_start(&s, &shared_pki, NULL);
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    weft_rt_loop *loop = loop_new(false);
    enum { N = 104 };
    static job jobs[N];
    memset(jobs, 0, sizeof jobs);
    for (size_t i = 0; i < N; i++) {
        job_start(&jobs[i], loop, channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    }
    step_until_done(loop, jobs, N, N - 4);
    service_wait_held(&s, 4);
    assert_int_equal(service_answer(&s, "ok"), 4);
    size_t good = 0;
    for (size_t i = 0; i < N; i++) {
        job_finish(&jobs[i], loop);
        good += jobs[i].code == WEFT_RT_OK;
        assert_true(jobs[i].code == WEFT_RT_OK || jobs[i].code == WEFT_RT_RESOURCE_EXHAUSTED);
        job_end(&jobs[i]);
    }
    assert_int_equal(good, 4);
    weft_rt_server_stats stats;
    weft_rt_server_stats_get(s.server, &stats);
    assert_int_equal(stats.refused_limit, 100);
    assert_int_equal(stats.calls_total, 4);
    /* and there is room again */
    assert_int_equal(call_text(channel, "/t/Echo", "x", NULL), WEFT_RT_OK);
    weft_rt_loop_free(loop);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

/* Calls of many identities: below the limit, at it, and one above it. */
static void test_limits__total_of_all_clients(void **state)
{
    (void)state;
    weft_rt_server_options o = WEFT_RT_SERVER_OPTIONS_INIT;
    o.plain = true;
    o.max_calls = 6;
    service s;
    service_start(&s, NULL, &o);
    weft_rt_loop *loop = loop_new(false);
    enum { N = 7 };
    weft_rt_channel *channels[N];
    job jobs[N] = {0};
    for (size_t i = 0; i < N; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "weft://test/client/c%zu", i);
        channels[i] = channel_plain(&s, name);
        job_start(&jobs[i], loop, channels[i], WEFT_RT_RPC_UNARY, "/t/Hold", "x");
        if (i < 6) {
            for (size_t held = 0; held < i + 1;) {
                (void)weft_rt_loop_step(loop, 10);
                (void)pthread_mutex_lock(&s.lock);
                held = s.n_held;
                (void)pthread_mutex_unlock(&s.lock);
            }
        }
    }
    job_finish(&jobs[6], loop);
    assert_int_equal(jobs[6].code, WEFT_RT_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(jobs[6].text, "6 calls"));
    (void)service_answer(&s, "ok");
    for (size_t i = 0; i < N; i++) {
        job_finish(&jobs[i], loop);
        assert_int_equal(jobs[i].code, i < 6 ? WEFT_RT_OK : WEFT_RT_RESOURCE_EXHAUSTED);
        job_end(&jobs[i]);
        weft_rt_channel_free(channels[i]);
    }
    weft_rt_loop_free(loop);
    service_stop(&s);
}

static void test_limits__strangers_do_not_crowd_clients_out(void **state)
{
    (void)state;
    weft_rt_server_options o = WEFT_RT_SERVER_OPTIONS_INIT;
    o.max_calls_anonymous = 0;
    service s;
    service_start(&s, &shared_pki, &o);
    weft_rt_channel *nobody = channel_to(&s, &shared_pki, NULL);
    char text[256];
    assert_int_equal(call_text(nobody, "/t/Who", "", text), WEFT_RT_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(text, "without a certificate"));
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    assert_int_equal(call_text(channel, "/t/Who", "", text), WEFT_RT_OK);
    weft_rt_channel_free(channel);
    weft_rt_channel_free(nobody);
    service_stop(&s);
}

/* ---- message size ---------------------------------------------------------------------------- */

static weft_rt_code upload_once(service *s, weft_rt_loop *loop, weft_rt_channel *channel,
                                size_t size)
{
    void *data = weft_array(&weft_alloc_std, size, 1);
    assert_non_null(data);
    weft_rt_blob *blob = NULL;
    assert_ok(weft_rt_blob_take(&blob, &weft_alloc_std, data, size, &assert_err));
    job j = {.blob = blob, .part = size - 2, .n_parts = 1}; /* and two bytes of header */
    job_start(&j, loop, channel, WEFT_RT_RPC_UPLOAD, "/t/Up", "");
    job_finish(&j, loop);
    const weft_rt_code code = j.code;
    job_end(&j);
    weft_rt_blob_unref(blob);
    (void)s;
    return code;
}

static void test_message__one_below_at_and_above_the_limit(void **state)
{
    (void)state;
    weft_rt_server_options o = WEFT_RT_SERVER_OPTIONS_INIT;
    service s;
    service_start(&s, &shared_pki, &o);
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    weft_rt_loop *loop = loop_new(false);
    assert_int_equal(upload_once(&s, loop, channel, o.max_message_bytes - 1), WEFT_RT_OK);
    assert_int_equal(upload_once(&s, loop, channel, o.max_message_bytes), WEFT_RT_OK);
    assert_int_equal(upload_once(&s, loop, channel, o.max_message_bytes + 1),
                     WEFT_RT_RESOURCE_EXHAUSTED);
    service_wait_closed(&s, 3);
    assert_int_equal(atomic_load(&s.cancelled), 1);
    assert_int_equal(atomic_load(&s.messages), 2);
    weft_rt_loop_free(loop);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

/* As the network cut it: nothing is copied before somebody wants it. */
static void test_message__comes_in_pieces(void **state)
{
    (void)state;
    weft_rt_server_options o = WEFT_RT_SERVER_OPTIONS_INIT;
    service s;
    service_start(&s, &shared_pki, &o);
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    weft_rt_loop *loop = loop_new(false);
    assert_int_equal(upload_once(&s, loop, channel, 1 << 20), WEFT_RT_OK);
    assert_int_equal(atomic_load(&s.received), 1 << 20);
    assert_true(atomic_load(&s.most_pieces) > 1);
    assert_true(atomic_load(&s.most_pieces) <= 256);
    weft_rt_loop_free(loop);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

/* ---- one buffer for all readers -------------------------------------------------------------- */

static atomic_uint freed;

static void *counting_resize(void *self, void *p, size_t size)
{
    (void)self;
    if (size == 0 && p) {
        atomic_fetch_add(&freed, 1);
    }
    return weft_alloc_std.resize(weft_alloc_std.self, p, size);
}

static void test_blob__is_shared_by_four_readers(void **state)
{
    (void)state;
    enum { READERS = 4, MIB = 1 << 20, BLOB = 64 * MIB };
    service s;
    service_start(&s, &shared_pki, NULL);
    static const weft_alloc counting = {counting_resize, NULL};
    void *data = weft_array(&counting, BLOB, 1);
    assert_non_null(data);
    memset(data, 'w', BLOB);
    weft_rt_blob *blob = NULL;
    assert_ok(weft_rt_blob_take(&blob, &counting, data, BLOB, &assert_err));
    s.blob = weft_rt_blob_ref(blob);
    weft_rt_loop *loop = loop_new(false);
    weft_rt_channel *channels[READERS];
    job jobs[READERS] = {0};
    for (size_t i = 0; i < READERS; i++) {
        channels[i] = channel_to(&s, &shared_pki, &shared_ann);
        job_start(&jobs[i], loop, channels[i], WEFT_RT_RPC_FETCH, "/t/Down", "x");
    }
    const uint64_t before = resident_bytes();
    uint64_t most = before;
    for (size_t done = 0; done < READERS;) {
        (void)weft_rt_loop_step(loop, 50);
        const uint64_t now = resident_bytes();
        most = now > most ? now : most;
        done = 0;
        for (size_t i = 0; i < READERS; i++) {
            done += jobs[i].done;
        }
    }
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(jobs[i].code, WEFT_RT_OK);
        assert_int_equal(jobs[i].received, BLOB + 64 * 2);
        job_end(&jobs[i]);
        weft_rt_channel_free(channels[i]);
    }
    print_message("4 readers of 64 MiB: resident +%.1f MiB (both ends)\n",
                  (double)(most - before) / MIB);
    if (!SANITIZED) {
        assert_true(most - before < (uint64_t)40 * MIB);
    }
    weft_rt_loop_free(loop);
    atomic_store(&freed, 0);
    service_stop(&s);
    assert_int_equal(atomic_load(&freed), 0); /* our reference holds it */
    weft_rt_blob_unref(blob);
    assert_int_equal(atomic_load(&freed), 2);
}

/* ---- the end --------------------------------------------------------------------------------- */

typedef struct drain_run {
    weft_rt_server *server;
    uint32_t deadline_ms;
    atomic_bool done;
} drain_run;

static void *drain(void *arg)
{
    drain_run *d = arg;
    weft_rt_server_drain(d->server, d->deadline_ms);
    atomic_store(&d->done, true);
    return NULL;
}

static void test_drain__lets_answered_calls_end(void **state)
{
    (void)state;
    service s;
    service_start(&s, &shared_pki, NULL);
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    weft_rt_loop *loop = loop_new(false);
    job jobs[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        job_start(&jobs[i], loop, channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    }
    for (size_t held = 0; held < 3;) {
        (void)weft_rt_loop_step(loop, 10);
        (void)pthread_mutex_lock(&s.lock);
        held = s.n_held;
        (void)pthread_mutex_unlock(&s.lock);
    }
    drain_run d = {s.server, PATIENCE_MS, false};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain, &d), 0);
    /* nobody gets in any more: the port refuses, in a moment if not yet */
    weft_rt_code code = WEFT_RT_OK;
    while (code != WEFT_RT_UNAVAILABLE) {
        weft_rt_channel *late = channel_to(&s, &shared_pki, &shared_ann);
        code = call_text(late, "/t/Echo", "x", NULL);
        weft_rt_channel_free(late);
    }
    assert_false(atomic_load(&d.done));
    assert_int_equal(service_answer(&s, "bye"), 3);
    for (size_t i = 0; i < 3; i++) {
        job_finish(&jobs[i], loop);
        assert_int_equal(jobs[i].code, WEFT_RT_OK);
        job_end(&jobs[i]);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    weft_rt_loop_free(loop);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

static void test_drain__cuts_what_is_left_at_the_deadline(void **state)
{
    (void)state;
    service s;
    service_start(&s, &shared_pki, NULL);
    void *data = weft_array(&weft_alloc_std, 32U << 20, 1);
    assert_ok(weft_rt_blob_take(&s.blob, &weft_alloc_std, data, 32U << 20, &assert_err));
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    weft_rt_loop *loop = loop_new(true);
    job held = {0};
    job down = {.stalled = true};
    job up = {.never_end = true};
    job_start(&held, loop, channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    job_start(&down, loop, channel, WEFT_RT_RPC_FETCH, "/t/Down", "x");
    job_start(&up, loop, channel, WEFT_RT_RPC_UPLOAD, "/t/Up", "");
    while (down.messages == 0 || up.writables == 0) {
        (void)weft_rt_loop_step(loop, 10);
    }
    service_wait_held(&s, 1);
    weft_rt_server_drain(s.server, 50);
    assert_true(atomic_load(&s.cancelled) >= 2); /* the upload may not have reached its handler */
    down.stalled = false;
    weft_rt_rpc_next(down.rpc);
    job *const all[] = {&held, &down, &up};
    for (size_t i = 0; i < 3; i++) {
        job_finish(all[i], loop);
        assert_int_not_equal(all[i]->code, WEFT_RT_OK);
        job_end(all[i]);
    }
    weft_rt_loop_free(loop);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_new__plain_only_on_loopback),
        cmocka_unit_test(test_server_new__says_what_is_wrong),
        cmocka_unit_test(test_server_new__second_bind_of_a_port_fails),
        cmocka_unit_test(test_new__every_allocation_may_fail),
        cmocka_unit_test(test_serving__survives_every_failing_allocation),
        cmocka_unit_test(test_limits__hundred_calls_too_many_are_refused),
        cmocka_unit_test(test_limits__total_of_all_clients),
        cmocka_unit_test(test_limits__strangers_do_not_crowd_clients_out),
        cmocka_unit_test(test_message__one_below_at_and_above_the_limit),
        cmocka_unit_test(test_message__comes_in_pieces),
        cmocka_unit_test(test_blob__is_shared_by_four_readers),
        cmocka_unit_test(test_drain__lets_answered_calls_end),
        cmocka_unit_test(test_drain__cuts_what_is_left_at_the_deadline),
    };
    return cmocka_run_group_tests(tests, make_shared, NULL);
}
