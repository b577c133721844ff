/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of rt share; see the header. */
#include "rt_fixture.h"

#include "base/clock.h"
#include "crypto/cert.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- certificates ---------------------------------------------------------------------------- */

#define DAY_MS INT64_C(86400000)

static int64_t now_unix_ms(void)
{
    return weft_clock_system.unix_ms(weft_clock_system.self);
}

static void take_text(char *out, size_t out_size, weft_buf *b)
{
    assert_true(b->size < out_size);
    memcpy(out, b->data, b->size);
    out[b->size] = 0;
    weft_buf_clear(b);
}

static void issue(const pki *p, char *cert, char *key, size_t cert_size, size_t key_size,
                  weft_role role, const char *name)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    const weft_alloc *a = &weft_alloc_std;
    weft_buf b;
    weft_buf_init(&b, a, 8192);
    weft_key *pair = NULL;
    weft_key *ca_key = NULL;
    assert_ok(weft_key_generate(&pair, a, &assert_err));
    assert_ok(weft_key_from_pem(&ca_key, p->ca_key, strlen(p->ca_key), a, &assert_err));
    weft_cert_spec spec = {.not_before_unix_ms = now_unix_ms() - DAY_MS,
                           .not_after_unix_ms = now_unix_ms() + DAY_MS};
    assert_ok(weft_identity_set(&spec.id, "test", role, name, &assert_err));
    if (role == WEFT_ROLE_COORDINATOR) {
        spec.hosts = hosts;
        spec.n_hosts = 2;
    }
    const weft_view ca = {(const uint8_t *)p->ca, strlen(p->ca)};
    assert_ok(weft_cert_issue(&b, &spec, pair, ca, ca_key, &weft_entropy_system, &assert_err));
    take_text(cert, cert_size, &b);
    assert_ok(weft_key_to_pem(&b, pair, &assert_err));
    take_text(key, key_size, &b);
    weft_key_free(ca_key);
    weft_key_free(pair);
    weft_buf_done(&b);
}

void pki_make(pki *ret)
{
    const weft_alloc *a = &weft_alloc_std;
    weft_buf b;
    weft_buf_init(&b, a, 8192);
    weft_key *ca_key = NULL;
    assert_ok(weft_key_generate(&ca_key, a, &assert_err));
    assert_ok(weft_cert_make_ca(&b, ca_key, "test", now_unix_ms() - DAY_MS, now_unix_ms() + DAY_MS,
                                &weft_entropy_system, &assert_err));
    take_text(ret->ca, sizeof ret->ca, &b);
    assert_ok(weft_key_to_pem(&b, ca_key, &assert_err));
    take_text(ret->ca_key, sizeof ret->ca_key, &b);
    weft_key_free(ca_key);
    weft_buf_done(&b);
    issue(ret, ret->cert, ret->key, sizeof ret->cert, sizeof ret->key, WEFT_ROLE_COORDINATOR,
          "coordinator");
}

void pki_member(const pki *p, member *ret, const char *name)
{
    issue(p, ret->cert, ret->key, sizeof ret->cert, sizeof ret->key, WEFT_ROLE_CLIENT, name);
}

weft_rt_tls pki_server_tls(const pki *p)
{
    return (weft_rt_tls){p->ca, p->cert, p->key};
}

/* ---- methods --------------------------------------------------------------------------------- */

static void on_echo(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    service *s = ctx;
    atomic_fetch_add(&s->opened, 1);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 4U << 20);
    weft_view bytes;
    assert_ok(weft_rt_message_flat(message, &b, &bytes, &assert_err));
    (void)weft_rt_call_reply(call, bytes.data, bytes.size); /* gone is fine */
    weft_buf_done(&b);
}

static void on_who(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    (void)ctx;
    (void)message;
    const weft_rt_peer *peer = weft_rt_call_peer(call);
    const char *text = peer->authenticated ? peer->identity : "nobody";
    (void)weft_rt_call_reply(call, text, strlen(text)); /* gone is fine */
}

static void on_hold(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    (void)message;
    service *s = ctx;
    (void)pthread_mutex_lock(&s->lock);
    assert_true(s->n_held < MAX_HELD);
    s->held[s->n_held++] = weft_rt_call_ref(call);
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

static void on_part(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    (void)call;
    service *s = ctx;
    size_t sum = 0;
    const unsigned n = (unsigned)weft_rt_message_pieces(message);
    if (n > atomic_load(&s->most_pieces)) {
        atomic_store(&s->most_pieces, n);
    }
    for (size_t i = 0; i < n; i++) {
        sum += weft_rt_message_piece(message, i).size;
    }
    assert_int_equal(sum, weft_rt_message_size(message));
    atomic_fetch_add(&s->received, sum);
    (void)pthread_mutex_lock(&s->lock);
    atomic_fetch_add(&s->messages, 1);
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

static void on_end(void *ctx, weft_rt_call *call)
{
    service *s = ctx;
    char text[32];
    const int n = snprintf(text, sizeof text, "%llu", atomic_load(&s->received));
    (void)weft_rt_call_reply(call, text, (size_t)n); /* gone is fine */
}

static void on_paused_part(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    weft_rt_call_pause(call);
    on_hold(ctx, call, message);
    on_part(ctx, call, message);
}

static void send_next(service *s, weft_rt_call *call)
{
    const uint64_t at = (uint64_t)(uintptr_t)weft_rt_call_state(call);
    const uint64_t left = weft_rt_blob_size(s->blob) - at;
    if (left == 0) {
        (void)weft_rt_call_finish(call); /* gone is fine */
        return;
    }
    const size_t n = left < s->chunk ? (size_t)left : s->chunk;
    weft_rt_call_set_state(call, (void *)(uintptr_t)(at + n));
    (void)!weft_rt_call_send(call, "hd", 2, s->blob, at, n);
}

static void on_down(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    (void)message;
    service *s = ctx;
    atomic_fetch_add(&s->opened, 1);
    send_next(s, call);
}

static void on_down_writable(void *ctx, weft_rt_call *call)
{
    send_next(ctx, call);
}

static void on_closed(void *ctx, weft_rt_call *call, bool cancelled)
{
    (void)call;
    service *s = ctx;
    (void)pthread_mutex_lock(&s->lock);
    atomic_fetch_add(&s->cancelled, cancelled);
    atomic_fetch_add(&s->closed, 1);
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

static weft_rt_code authorize(void *ctx, const char *path, const weft_rt_peer *peer, char *text)
{
    (void)path;
    service *s = ctx;
    (void)pthread_mutex_lock(&s->lock);
    const bool revoked = s->revoked[0] && strcmp(s->revoked, peer->identity) == 0;
    (void)pthread_mutex_unlock(&s->lock);
    if (revoked) {
        (void)snprintf(text, WEFT_ERR_MSG_BYTES, "%.100s is revoked", peer->identity);
        return WEFT_RT_PERMISSION_DENIED;
    }
    return WEFT_RT_OK;
}

/* ---- the service ----------------------------------------------------------------------------- */

void service_start(service *s, const pki *p, const weft_rt_server_options *options)
{
    *s = (service){.chunk = 1U << 20};
    const weft_rt_server_options standard = WEFT_RT_SERVER_OPTIONS_INIT;
    s->options = options ? *options : standard;
    assert_int_equal(pthread_mutex_init(&s->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&s->changed, NULL), 0);
    const weft_rt_method methods[] = {
        {"/t/Echo", WEFT_RT_UNARY, false, 0, 0, s, on_echo, NULL, NULL, on_closed},
        {"/t/Who", WEFT_RT_UNARY, true, 0, 0, s, on_who, NULL, NULL, on_closed},
        {"/t/Hold", WEFT_RT_UNARY, false, 4, 0, s, on_hold, NULL, NULL, on_closed},
        {"/t/Up", WEFT_RT_CLIENT_STREAM, false, 0, 0, s, on_part, on_end, NULL, on_closed},
        {"/t/Down", WEFT_RT_SERVER_STREAM, false, 0, 0, s, on_down, NULL, on_down_writable,
         on_closed},
        {"/t/Paused", WEFT_RT_CLIENT_STREAM, false, 0, 0, s, on_paused_part, on_end, NULL,
         on_closed},
    };
    memcpy(s->methods, methods, sizeof methods);
    s->options.methods = s->methods;
    s->options.n_methods = sizeof methods / sizeof *methods;
    const weft_rt_tls tls = p ? pki_server_tls(p) : (weft_rt_tls){0};
    if (!s->options.plain && !s->options.tls) {
        s->options.tls = &tls;
    }
    if (!s->options.address) {
        s->options.address = "127.0.0.1:0";
    }
    if (s->options.n_pollers == 0) {
        s->options.n_pollers = 2; /* whatever the machine: races need company */
    }
    s->options.authorize = authorize;
    s->options.authorize_ctx = s;
    assert_ok(weft_rt_server_new(&s->server, &s->options, &assert_err));
    assert_true(weft_rt_server_port(s->server) > 0);
}

void service_stop(service *s)
{
    weft_rt_server_drain(s->server, 0);
    weft_rt_server_stats stats;
    weft_rt_server_stats_get(s->server, &stats);
    assert_int_equal(stats.calls_live, 0);
    assert_int_equal(stats.calls_total, atomic_load(&s->closed));
    weft_rt_server_free(s->server);
    /* a reference outlives the server, and is harmless */
    for (size_t i = 0; i < s->n_held; i++) {
        assert_int_equal(weft_rt_call_reply(s->held[i], "late", 4), WEFT_E_CANCELED);
        assert_int_equal(weft_rt_call_fail(s->held[i], WEFT_RT_INTERNAL, ""), WEFT_E_CANCELED);
        assert_int_equal(weft_rt_call_finish(s->held[i]), WEFT_E_CANCELED);
        assert_int_equal(weft_rt_call_send(s->held[i], "", 0, NULL, 0, 0), WEFT_E_CANCELED);
        weft_rt_call_resume(s->held[i]);
        weft_rt_call_cancel(s->held[i], WEFT_RT_INTERNAL, "");
        weft_rt_call_unref(s->held[i]);
    }
    weft_rt_blob_unref(s->blob);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->lock);
}

void service_address(const service *s, char out[64])
{
    (void)snprintf(out, 64, "127.0.0.1:%u", weft_rt_server_port(s->server));
}

static void wait_locked(service *s)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    if (pthread_cond_timedwait(&s->changed, &s->lock, &until) != 0) {
        fail_msg("held %zu, closed %u: the others never came", s->n_held, atomic_load(&s->closed));
    }
}

void service_wait_held(service *s, size_t n)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->n_held < n) {
        wait_locked(s);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

void service_wait_closed(service *s, unsigned n)
{
    (void)pthread_mutex_lock(&s->lock);
    while (atomic_load(&s->closed) < n) {
        wait_locked(s);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

static size_t take_held(service *s, weft_rt_call *out[MAX_HELD])
{
    (void)pthread_mutex_lock(&s->lock);
    const size_t n = s->n_held;
    memcpy(out, s->held, n * sizeof *out);
    s->n_held = 0;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

size_t service_answer(service *s, const char *text)
{
    weft_rt_call *calls[MAX_HELD];
    const size_t n = take_held(s, calls);
    for (size_t i = 0; i < n; i++) {
        (void)weft_rt_call_reply(calls[i], text, strlen(text)); /* gone is fine */
        weft_rt_call_unref(calls[i]);
    }
    return n;
}

void service_resume(service *s)
{
    weft_rt_call *calls[MAX_HELD];
    const size_t n = take_held(s, calls);
    for (size_t i = 0; i < n; i++) {
        weft_rt_call_resume(calls[i]);
        weft_rt_call_unref(calls[i]);
    }
}

/* ---- callers --------------------------------------------------------------------------------- */

weft_rt_channel *channel_to(const service *s, const pki *p, const member *m)
{
    char address[64];
    service_address(s, address);
    const weft_rt_tls tls = {p->ca, m ? m->cert : NULL, m ? m->key : NULL};
    weft_rt_channel_options o = WEFT_RT_CHANNEL_OPTIONS_INIT;
    o.address = address;
    o.tls = &tls;
    weft_rt_channel *channel = NULL;
    assert_ok(weft_rt_channel_new(&channel, &o, &assert_err));
    return channel;
}

weft_rt_channel *channel_plain(const service *s, const char *identity)
{
    char address[64];
    service_address(s, address);
    weft_rt_channel_options o = WEFT_RT_CHANNEL_OPTIONS_INIT;
    o.address = address;
    o.plain = true;
    o.plain_identity = identity;
    weft_rt_channel *channel = NULL;
    assert_ok(weft_rt_channel_new(&channel, &o, &assert_err));
    return channel;
}

weft_rt_loop *loop_new(bool threaded)
{
    weft_rt_loop_options o = WEFT_RT_LOOP_OPTIONS_INIT;
    o.poller_thread = threaded;
    weft_rt_loop *loop = NULL;
    assert_ok(weft_rt_loop_new(&loop, &o, &assert_err));
    return loop;
}

static void on_job_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                        weft_rt_message *reply)
{
    job *j = arg;
    assert_ptr_equal(rpc, j->rpc);
    j->done = true;
    j->done_count++;
    j->code = code;
    (void)snprintf(j->text, sizeof j->text, "%s", text);
    if (reply) {
        assert_ok(weft_rt_message_copy(reply, &j->reply, &assert_err));
    }
}

static void on_job_message(void *arg, weft_rt_rpc *rpc, weft_rt_message *message)
{
    job *j = arg;
    assert_false(j->done);
    j->messages++;
    j->received += weft_rt_message_size(message);
    if (!j->stalled) {
        weft_rt_rpc_next(rpc);
    }
}

static void on_job_writable(void *arg, weft_rt_rpc *rpc)
{
    job *j = arg;
    assert_false(j->done);
    if (j->writables++ < j->n_parts) {
        assert_int_equal(weft_rt_rpc_send(rpc, "hd", 2, j->blob, 0, j->part), WEFT_OK);
    } else if (!j->never_end) {
        weft_rt_rpc_end(rpc);
    }
}

void job_start(job *j, weft_rt_loop *loop, weft_rt_channel *channel, weft_rt_rpc_kind kind,
               const char *path, const char *request)
{
    weft_buf_init(&j->reply, &weft_alloc_std, 4U << 20);
    weft_rt_rpc_options o = WEFT_RT_RPC_OPTIONS_INIT;
    o.path = path;
    o.kind = kind;
    o.request = (weft_view){(const uint8_t *)request, strlen(request)};
    o.deadline_ms = PATIENCE_MS;
    o.arg = j;
    o.on_message = on_job_message;
    o.on_writable = on_job_writable;
    o.on_done = on_job_done;
    assert_ok(weft_rt_rpc_start(&j->rpc, loop, channel, &o, &assert_err));
}

void job_finish(job *j, weft_rt_loop *loop)
{
    const uint64_t until = weft_clock_system.mono_ms(NULL) + 2 * PATIENCE_MS;
    while (!j->done) {
        (void)weft_rt_loop_step(loop, 100);
        if (weft_clock_system.mono_ms(NULL) > until) {
            fail_msg("a call never ended");
        }
    }
}

void job_end(job *j)
{
    assert_int_equal(j->done_count, 1);
    weft_rt_rpc_free(j->rpc);
    weft_buf_done(&j->reply);
}

weft_rt_code call_text(weft_rt_channel *channel, const char *path, const char *request,
                       char reply[256])
{
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 4U << 20);
    weft_rt_code code = WEFT_RT_UNKNOWN;
    weft_err err = WEFT_ERR_INIT;
    const weft_view bytes = {(const uint8_t *)request, strlen(request)};
    const weft_status status = weft_rt_unary(channel, path, bytes, PATIENCE_MS, &b, &code, &err);
    assert_int_equal(status, weft_rt_code_status(code));
    if (reply) {
        const char *text = code == WEFT_RT_OK ? weft_buf_text(&b) : err.msg;
        (void)snprintf(reply, 256, "%s", text ? text : "");
    }
    weft_buf_done(&b);
    return code;
}

uint64_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    unsigned long long pages = 0;
    assert_int_equal(fscanf(f, "%*s %llu", &pages), 1);
    (void)fclose(f);
    return pages * 4096;
}
