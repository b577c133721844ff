/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program sets for its whole process, seen from outside: TLS 1.3 only and no tickets (asked
 * with bare OpenSSL), gRPC's log, signals. And a client behind an HTTP proxy.
 */
#include "rt/process.h"
#include "rt_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static pki shared_pki;
static member shared_ann;
static atomic_uint log_lines;

static void on_line(void *self, weft_log_level level, const char *text)
{
    (void)self;
    assert_true(level <= WEFT_LOG_WARN);
    assert_non_null(strstr(text, "from=grpc at="));
    atomic_fetch_add(&log_lines, 1);
}

static const weft_log test_log = {on_line, NULL, WEFT_LOG_WARN};

static int make_shared(void **state)
{
    (void)state;
    weft_rt_process_options o = WEFT_RT_PROCESS_OPTIONS_INIT;
    o.tls13_only = true;
    o.tune_malloc = true;
    o.raise_nofile = true;
    o.block_signals = true;
    o.log = &test_log;
    assert_ok(weft_rt_process_setup(&o, &assert_err));
    pki_make(&shared_pki);
    pki_member(&shared_pki, &shared_ann, "ann");
    return 0;
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static int connect_bare(uint16_t port)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&to, sizeof to), 0);
    return fd;
}

static atomic_uint tickets;

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    (void)session;
    atomic_fetch_add(&tickets, 1);
    return 0;
}

/* A handshake that offers at most max_version. @return whether it came to a connection. */
static bool handshake(const service *s, int max_version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, max_version), 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    static const unsigned char h2[] = {2, 'h', '2'};
    assert_int_equal(SSL_CTX_set_alpn_protos(ctx, h2, sizeof h2), 0);
    SSL *ssl = SSL_new(ctx);
    const int fd = connect_bare(weft_rt_server_port(s->server));
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    const bool connected = SSL_connect(ssl) == 1;
    if (connected) {
        assert_int_equal(SSL_version(ssl), TLS1_3_VERSION);
        char byte = 0;
        (void)SSL_read(ssl, &byte, 1); /* the server's SETTINGS: tickets would come before */
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    (void)close(fd);
    return connected;
}

static void test_process_setup__tls13_only_without_tickets(void **state)
{
    (void)state;
    service s;
    service_start(&s, &shared_pki, NULL);
    assert_true(handshake(&s, TLS1_3_VERSION));
    assert_false(handshake(&s, TLS1_2_VERSION));
    assert_int_equal(atomic_load(&tickets), 0);
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    assert_int_equal(call_text(channel, "/t/Echo", "x", NULL), WEFT_RT_OK);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

static void test_process_setup__log_is_passed_on_but_not_flooded(void **state)
{
    (void)state;
    service s;
    service_start(&s, &shared_pki, NULL);
    atomic_store(&log_lines, 0);
    for (int i = 0; i < 60; i++) {
        const int fd = connect_bare(weft_rt_server_port(s.server));
        assert_true(send(fd, "garbage, garbage, garbage", 25, MSG_NOSIGNAL) == 25);
        char block[256];
        while (recv(fd, block, sizeof block, 0) > 0) {
        }
        (void)close(fd);
    }
    const unsigned lines = atomic_load(&log_lines);
    assert_true(lines >= 1);
    assert_true(lines < 60);
    service_stop(&s);
}

/* ---- limits and signals ---------------------------------------------------------------------- */

static void test_process_setup__raises_open_files(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(limit.rlim_cur, limit.rlim_max);
    assert_int_equal(weft_rt_max_files(), limit.rlim_cur);
    weft_rt_memory_trim();
}

static void test_process_setup__says_when_threads_would_not_start(void **state)
{
    (void)state;
    static const struct {
        __rlimit_resource_t what;
        rlim_t least;
        const char *says;
    } limits[] = {
        {RLIMIT_DATA, (rlim_t)128 << 20, "ulimit -d"},
        {RLIMIT_AS, (rlim_t)1 << 30, "ulimit -v"},
    };
    const weft_rt_process_options options = WEFT_RT_PROCESS_OPTIONS_INIT;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct rlimit was;
        weft_err err = WEFT_ERR_INIT;
        assert_int_equal(getrlimit(limits[i].what, &was), 0);
        const struct rlimit low = {limits[i].least - 1, was.rlim_max};
        assert_int_equal(setrlimit(limits[i].what, &low), 0);
        const weft_status status = weft_rt_process_setup(&options, &err);
        assert_int_equal(setrlimit(limits[i].what, &was), 0);
        assert_int_equal(status, WEFT_E_LIMIT);
        assert_non_null(strstr(err.msg, limits[i].says));
        const struct rlimit enough = {limits[i].least, was.rlim_max};
        assert_int_equal(setrlimit(limits[i].what, &enough), 0);
        const weft_status good = weft_rt_process_setup(&options, NULL);
        assert_int_equal(setrlimit(limits[i].what, &was), 0);
        assert_int_equal(good, WEFT_OK);
    }
}

static void test_signal_wait__hands_out_blocked_signals(void **state)
{
    (void)state;
    assert_int_equal(weft_rt_signal_wait(0), 0);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_int_equal(weft_rt_signal_wait(PATIENCE_MS), SIGTERM);
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    assert_int_equal(weft_rt_signal_wait(PATIENCE_MS), SIGHUP);
    assert_int_equal(kill(getpid(), SIGPIPE), 0); /* ignored: we live on */
    assert_int_equal(weft_rt_signal_wait(0), 0);
}

/* ---- proxy ----------------------------------------------------------------------------------- */

typedef struct proxy {
    int listener;
    uint16_t port;
    uint16_t target;    /* where everything goes */
    char request[512];  /* what was asked for */
    atomic_bool frozen; /* nothing comes through any more, and nobody is told: a NAT that forgot */
    pthread_t thread;
} proxy;

static void relay(const proxy *p, int a, int b)
{
    char block[16384];
    for (;;) {
        struct pollfd waits[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
        if (poll(waits, 2, PATIENCE_MS) <= 0) {
            return;
        }
        for (int i = 0; i < 2; i++) {
            if (waits[i].revents) {
                const ssize_t n = recv(waits[i].fd, block, sizeof block, 0);
                if (n > 0 && atomic_load(&p->frozen)) {
                    continue;
                }
                if (n <= 0 || send(i == 0 ? b : a, block, (size_t)n, MSG_NOSIGNAL) != n) {
                    return;
                }
            }
        }
    }
}

static void *serve_one(void *arg)
{
    proxy *p = arg;
    const int fd = accept(p->listener, NULL, NULL);
    assert_true(fd >= 0);
    size_t n = 0;
    while (n < sizeof p->request - 1 && !strstr(p->request, "\r\n\r\n")) {
        const ssize_t got = recv(fd, p->request + n, sizeof p->request - 1 - n, 0);
        assert_true(got > 0);
        n += (size_t)got;
    }
    static const char yes[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    assert_true(send(fd, yes, sizeof yes - 1, MSG_NOSIGNAL) == (ssize_t)sizeof yes - 1);
    const int to = connect_bare(p->target);
    relay(p, fd, to);
    (void)close(fd);
    (void)close(to);
    return NULL;
}

static void proxy_start(proxy *p, uint16_t target)
{
    *p = (proxy){.target = target};
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    assert_int_equal(bind(p->listener, (const struct sockaddr *)(const void *)&at, sizeof at), 0);
    assert_int_equal(listen(p->listener, 4), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)(void *)&at, &size), 0);
    p->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&p->thread, NULL, serve_one, p), 0);
}

static void test_channel__goes_through_the_proxy_that_it_is_given(void **state)
{
    (void)state;
    service s;
    service_start(&s, &shared_pki, NULL);
    proxy p;
    proxy_start(&p, weft_rt_server_port(s.server));
    char where[64];
    (void)snprintf(where, sizeof where, "http://127.0.0.1:%u", p.port);
    const weft_rt_tls tls = {shared_pki.ca, shared_ann.cert, shared_ann.key};
    weft_rt_channel_options o = WEFT_RT_CHANNEL_OPTIONS_INIT;
    o.address = "coordinator.invalid:7443"; /* known to the proxy only */
    o.tls = &tls;
    o.http_proxy = where;
    o.target_name = "localhost";
    weft_rt_channel *channel = NULL;
    assert_ok(weft_rt_channel_new(&channel, &o, &assert_err));
    char text[256];
    assert_int_equal(call_text(channel, "/t/Who", "", text), WEFT_RT_OK);
    assert_string_equal(text, "weft://test/client/ann");
    weft_rt_channel_free(channel);
    assert_int_equal(pthread_join(p.thread, NULL), 0);
    assert_int_equal(strncmp(p.request, "CONNECT coordinator.invalid:7443", 32), 0);
    (void)close(p.listener);
    service_stop(&s);
}

/* The server pings; whose answers do not come any more is gone, with all its held calls. */
static void test_keepalive__finds_a_line_that_is_dead(void **state)
{
    (void)state;
    weft_rt_server_options so = WEFT_RT_SERVER_OPTIONS_INIT;
    so.keepalive_ms = 200;
    so.keepalive_timeout_ms = 200;
    service s;
    service_start(&s, &shared_pki, &so);
    proxy p;
    proxy_start(&p, weft_rt_server_port(s.server));
    char where[64];
    (void)snprintf(where, sizeof where, "http://127.0.0.1:%u", p.port);
    const weft_rt_tls tls = {shared_pki.ca, shared_ann.cert, shared_ann.key};
    weft_rt_channel_options o = WEFT_RT_CHANNEL_OPTIONS_INIT;
    o.address = "coordinator.invalid:7443";
    o.tls = &tls;
    o.http_proxy = where;
    o.target_name = "localhost";
    weft_rt_channel *channel = NULL;
    assert_ok(weft_rt_channel_new(&channel, &o, &assert_err));
    weft_rt_loop *loop = loop_new(true);
    job j;
    job_start(&j, loop, channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    service_wait_held(&s, 1);
    atomic_store(&p.frozen, true);
    service_wait_closed(&s, 1); /* fails the test after PATIENCE_MS */
    assert_int_equal(atomic_load(&s.cancelled), 1);
    assert_int_equal(service_answer(&s, "too late"), 1);
    job_finish(&j, loop);
    assert_int_equal(j.code, WEFT_RT_UNAVAILABLE);
    job_end(&j);
    weft_rt_loop_free(loop);
    weft_rt_channel_free(channel);
    assert_int_equal(pthread_join(p.thread, NULL), 0);
    (void)close(p.listener);
    service_stop(&s);
}

static void test_channel__ignores_a_proxy_of_the_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
    assert_int_equal(setenv("https_proxy", "http://127.0.0.1:1", 1), 0);
    service s;
    service_start(&s, &shared_pki, NULL);
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    assert_int_equal(call_text(channel, "/t/Echo", "x", NULL), WEFT_RT_OK);
    weft_rt_channel_free(channel);
    service_stop(&s);
    assert_int_equal(unsetenv("http_proxy"), 0);
    assert_int_equal(unsetenv("https_proxy"), 0);
}

static void test_channel__plain_address_claims_the_certificates_name(void **state)
{
    (void)state;
    weft_rt_server_options so = WEFT_RT_SERVER_OPTIONS_INIT;
    so.plain = true;
    service s;
    service_start(&s, NULL, &so);
    char address[80];
    (void)snprintf(address, sizeof address, "plain:127.0.0.1:%u", weft_rt_server_port(s.server));
    const weft_rt_tls all[] = {{shared_pki.ca, shared_ann.cert, shared_ann.key},
                               {shared_pki.ca, NULL, NULL}};
    const char *const names[] = {"weft://test/client/ann", "nobody"};
    for (size_t i = 0; i < 2; i++) {
        weft_rt_channel_options o = WEFT_RT_CHANNEL_OPTIONS_INIT;
        o.address = address;
        o.tls = &all[i];
        weft_rt_channel *channel = NULL;
        assert_ok(weft_rt_channel_new(&channel, &o, &assert_err));
        char text[256];
        assert_int_equal(call_text(channel, "/t/Who", "", text), WEFT_RT_OK);
        assert_string_equal(text, names[i]);
        weft_rt_channel_free(channel);
    }
    service_stop(&s);
}

static void test_channel_new__says_what_is_wrong(void **state)
{
    (void)state;
    const weft_rt_tls tls = {shared_pki.ca, shared_ann.cert, shared_ann.key};
    const weft_rt_tls mixed = {shared_pki.ca, shared_ann.cert, shared_pki.key};
    const weft_rt_tls damaged = {shared_pki.ca, "-----BEGIN CERTIFICATE-----\nAAAA\n", "x"};
    const struct {
        const char *address;
        const weft_rt_tls *tls;
        const char *proxy;
        bool plain;
        weft_status want;
        const char *words;
    } all[] = {
        {"127.0.0.1", &tls, NULL, false, WEFT_E_INVALID, "host:port"},
        {"::1:7443", &tls, NULL, false, WEFT_E_INVALID, "host:port"},
        {"h:65536", &tls, NULL, false, WEFT_E_INVALID, "host:port"},
        {"h:1", &tls, "h:3128", false, WEFT_E_INVALID, "proxy"},
        {"h:1", &tls, "https://h:3128", false, WEFT_E_INVALID, "proxy"},
        {"h:1", NULL, NULL, false, WEFT_E_INVALID, "CA"},
        {"h:1", &mixed, NULL, false, WEFT_E_INVALID, "does not belong"},
        {"h:1", &damaged, NULL, false, WEFT_E_FORMAT, "own certificate"},
        {"192.0.2.1:7443", NULL, NULL, true, WEFT_E_INVALID, "loopback"},
        {"plain:192.0.2.1:7443", &tls, NULL, false, WEFT_E_INVALID, "loopback"},
        {"plain:127.0.0.1:7443", &damaged, NULL, false, WEFT_E_FORMAT, "own certificate"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        weft_rt_channel_options o = WEFT_RT_CHANNEL_OPTIONS_INIT;
        o.address = all[i].address;
        o.tls = all[i].tls;
        o.http_proxy = all[i].proxy;
        o.plain = all[i].plain;
        weft_err err = WEFT_ERR_INIT;
        weft_rt_channel *channel = NULL;
        assert_int_equal(weft_rt_channel_new(&channel, &o, &err), all[i].want);
        if (!strstr(err.msg, all[i].words)) {
            fail_msg("\"%s\" does not say \"%s\"", err.msg, all[i].words);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process_setup__tls13_only_without_tickets),
        cmocka_unit_test(test_process_setup__log_is_passed_on_but_not_flooded),
        cmocka_unit_test(test_process_setup__raises_open_files),
        cmocka_unit_test(test_process_setup__says_when_threads_would_not_start),
        cmocka_unit_test(test_signal_wait__hands_out_blocked_signals),
        cmocka_unit_test(test_channel__goes_through_the_proxy_that_it_is_given),
        cmocka_unit_test(test_keepalive__finds_a_line_that_is_dead),
        cmocka_unit_test(test_channel__ignores_a_proxy_of_the_environment),
        cmocka_unit_test(test_channel__plain_address_claims_the_certificates_name),
        cmocka_unit_test(test_channel_new__says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, make_shared, NULL);
}
