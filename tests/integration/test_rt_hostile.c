/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that do not play by the rules, over bare sockets: garbage, half a handshake, plaintext to
 * the TLS port, slow trickles, frozen readers, compressed bombs, resets. Each is cut off, and a
 * well-behaved client is served all the while.
 */
#include "rt_fixture.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHORT_MS 300 /* idle and handshake limits of the servers here */

static pki shared_pki;
static member shared_ann;

static int make_shared(void **state)
{
    (void)state;
    pki_make(&shared_pki);
    pki_member(&shared_pki, &shared_ann, "ann");
    return 0;
}

static void start_impatient(service *s, bool plain)
{
    weft_rt_server_options o = WEFT_RT_SERVER_OPTIONS_INIT;
    o.idle_ms = SHORT_MS;
    o.handshake_timeout_ms = SHORT_MS;
    o.plain = plain;
    service_start(s, plain ? NULL : &shared_pki, &o);
}

/* ---- bare sockets ---------------------------------------------------------------------------- */

static int connect_bare(const service *s)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(weft_rt_server_port(s->server))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&to, sizeof to), 0);
    return fd;
}

/* False when the other end has hung up. */
static bool send_bare(int fd, const void *data, size_t n)
{
    return send(fd, data, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/* Reads and forgets until the other end hangs up. */
static void expect_hangup(int fd)
{
    char block[4096];
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
        if (recv(fd, block, sizeof block, 0) <= 0) {
            (void)close(fd);
            return;
        }
    }
}

static void expect_service(service *s, weft_rt_channel *channel)
{
    (void)s;
    char text[256];
    assert_int_equal(call_text(channel, "/t/Echo", "still there?", text), WEFT_RT_OK);
    assert_string_equal(text, "still there?");
}

/* ---- at the TLS port ------------------------------------------------------------------------- */

static void test_garbage__is_hung_up_on(void **state)
{
    (void)state;
    service s;
    start_impatient(&s, false);
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    char garbage[4096];
    for (size_t i = 0; i < sizeof garbage; i++) {
        garbage[i] = (char)(i * 131 + (i >> 3));
    }
    static const char http2[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static const char http1[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const struct {
        const void *data;
        size_t size;
    } all[] = {{garbage, sizeof garbage}, {http2, sizeof http2 - 1}, {http1, sizeof http1 - 1}};
    for (size_t i = 0; i < 3; i++) {
        const int fd = connect_bare(&s);
        assert_true(send_bare(fd, all[i].data, all[i].size));
        expect_service(&s, channel);
        expect_hangup(fd);
    }
    expect_service(&s, channel);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

/* The first bytes that an OpenSSL client sends. */
static size_t client_hello(unsigned char *out, size_t size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *sent = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, sent);
    SSL_set_connect_state(ssl);
    assert_int_equal(SSL_do_handshake(ssl), -1);
    const int n = BIO_read(sent, out, (int)size);
    assert_true(n > 100);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return (size_t)n;
}

static void test_half_a_handshake__times_out(void **state)
{
    (void)state;
    service s;
    start_impatient(&s, false);
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    unsigned char hello[4096];
    const size_t n = client_hello(hello, sizeof hello);
    const size_t sizes[] = {0, 1, 5, n / 2, n};
    int fds[40];
    for (size_t i = 0; i < 40; i++) {
        fds[i] = connect_bare(&s);
        assert_true(send_bare(fds[i], hello, sizes[i % 5]));
    }
    expect_service(&s, channel);
    for (size_t i = 0; i < 40; i++) {
        expect_hangup(fds[i]);
    }
    expect_service(&s, channel);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

static void test_handshake_without_http2__times_out(void **state)
{
    (void)state;
    service s;
    start_impatient(&s, false);
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    static const unsigned char h2[] = {2, 'h', '2'};
    assert_int_equal(SSL_CTX_set_alpn_protos(ctx, h2, sizeof h2), 0);
    SSL *ssl = SSL_new(ctx);
    const int fd = connect_bare(&s);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    assert_int_equal(SSL_connect(ssl), 1);
    expect_service(&s, channel);
    expect_hangup(fd);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

/* ---- HTTP/2 by hand, at a plain port --------------------------------------------------------- */

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, GOAWAY = 7 };
#define END_STREAM  1
#define END_HEADERS 4

static bool send_frame(int fd, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
                       size_t n)
{
    uint8_t frame[9 + 2048];
    assert_true(n <= 2048);
    const uint8_t head[9] = {(uint8_t)(n >> 16),
                             (uint8_t)(n >> 8),
                             (uint8_t)n,
                             type,
                             flags,
                             (uint8_t)(stream >> 24),
                             (uint8_t)(stream >> 16),
                             (uint8_t)(stream >> 8),
                             (uint8_t)stream};
    memcpy(frame, head, 9);
    if (n > 0) {
        memcpy(frame + 9, payload, n);
    }
    return send_bare(fd, frame, 9 + n);
}

static size_t put_header(uint8_t *out, const char *name, const char *value)
{
    const size_t name_size = strlen(name);
    const size_t value_size = strlen(value);
    assert_true(name_size < 127 && value_size < 127);
    out[0] = 0; /* literal, not indexed, new name */
    out[1] = (uint8_t)name_size;
    memcpy(out + 2, name, name_size);
    out[2 + name_size] = (uint8_t)value_size;
    memcpy(out + 3 + name_size, value, value_size);
    return 3 + name_size + value_size;
}

static int connect_http2(const service *s)
{
    const int fd = connect_bare(s);
    assert_true(send_bare(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24));
    assert_true(send_frame(fd, SETTINGS, 0, 0, NULL, 0));
    return fd;
}

static bool open_stream(int fd, uint32_t stream, const char *path, const char *encoding)
{
    uint8_t block[1024];
    size_t n = put_header(block, ":method", "POST");
    n += put_header(block + n, ":scheme", "http");
    n += put_header(block + n, ":path", path);
    n += put_header(block + n, ":authority", "x");
    n += put_header(block + n, "te", "trailers");
    n += put_header(block + n, "content-type", "application/grpc");
    n += put_header(block + n, "weft-plain-identity", "weft://test/client/mallory");
    if (encoding) {
        n += put_header(block + n, "grpc-encoding", encoding);
    }
    return send_frame(fd, HEADERS, END_HEADERS, stream, block, n);
}

static bool receive(int fd, uint8_t *out, size_t n)
{
    for (size_t have = 0; have < n;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
        const ssize_t got = recv(fd, out + have, n - have, 0);
        if (got <= 0) {
            return false;
        }
        have += (size_t)got;
    }
    return true;
}

/* Reads frames until the stream (or the whole connection) has been ended by the server. */
static void expect_stream_end(int fd, uint32_t stream)
{
    uint8_t head[9];
    while (receive(fd, head, sizeof head)) {
        uint8_t payload[70000];
        const size_t n = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        assert_true(n <= sizeof payload);
        if (!receive(fd, payload, n)) {
            return;
        }
        const uint32_t of = (uint32_t)(head[5] & 0x7F) << 24 | (uint32_t)head[6] << 16 |
                            (uint32_t)head[7] << 8 | head[8];
        if (of == stream &&
            (head[3] == RST_STREAM || (head[3] == HEADERS && (head[4] & END_STREAM)))) {
            return;
        }
    }
}

static bool readable(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, 20) == 1;
}

/* A byte now and then, for ever: the connection is busy, the message never comes. */
static void trickle(const char *path, unsigned opened)
{
    service s;
    start_impatient(&s, true);
    weft_rt_channel *channel = channel_plain(&s, "weft://test/client/ann");
    const int fd = connect_http2(&s);
    assert_true(open_stream(fd, 1, path, NULL));
    const uint8_t prefix[5] = {0, 0, 1, 0, 0}; /* a message of 64 KiB follows */
    assert_true(send_frame(fd, DATA, 0, 1, prefix, sizeof prefix));
    weft_rt_server_stats stats = {0};
    const uint64_t until = weft_clock_system.mono_ms(NULL) + PATIENCE_MS;
    unsigned echoes = 0;
    while (stats.cut_idle == 0 && weft_clock_system.mono_ms(NULL) < until) {
        (void)readable(fd); /* our pace: 20 ms a byte, or faster */
        (void)send_frame(fd, DATA, 0, 1, "x", 1);
        expect_service(&s, channel);
        echoes++;
        weft_rt_server_stats_get(s.server, &stats);
    }
    assert_int_equal(stats.cut_idle, 1);
    expect_stream_end(fd, 1);
    service_wait_closed(&s, echoes + 1);
    assert_int_equal(atomic_load(&s.cancelled), 1);
    assert_int_equal(atomic_load(&s.opened), opened + echoes);
    assert_int_equal(atomic_load(&s.messages), 0);
    (void)close(fd);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

static void test_trickled_upload__is_cut(void **state)
{
    (void)state;
    trickle("/t/Up", 0);
}

static void test_trickled_request__is_cut(void **state)
{
    (void)state;
    trickle("/t/Echo", 0);
}

static void test_silent_upload__is_cut(void **state)
{
    (void)state;
    service s;
    start_impatient(&s, false);
    weft_rt_channel *channel = channel_to(&s, &shared_pki, &shared_ann);
    weft_rt_loop *loop = loop_new(false);
    job j = {.never_end = true};
    job_start(&j, loop, channel, WEFT_RT_RPC_UPLOAD, "/t/Up", "");
    job_finish(&j, loop);
    assert_int_equal(j.code, WEFT_RT_DEADLINE_EXCEEDED);
    assert_string_equal(j.text, "nothing moved for 300 ms, the most allowed");
    job_end(&j);
    /* but whom the server keeps waiting may wait */
    job k = {0};
    job_start(&k, loop, channel, WEFT_RT_RPC_UNARY, "/t/Hold", "x");
    const uint64_t until = weft_clock_system.mono_ms(NULL) + 3 * SHORT_MS;
    while (weft_clock_system.mono_ms(NULL) < until) {
        (void)weft_rt_loop_step(loop, 50);
    }
    assert_false(k.done);
    assert_int_equal(service_answer(&s, "at last"), 1);
    job_finish(&k, loop);
    assert_int_equal(k.code, WEFT_RT_OK);
    job_end(&k);
    weft_rt_loop_free(loop);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

static void test_frozen_reader__is_cut(void **state)
{
    (void)state;
    service s;
    start_impatient(&s, true);
    void *data = weft_array(&weft_alloc_std, 8U << 20, 1);
    assert_ok(weft_rt_blob_take(&s.blob, &weft_alloc_std, data, 8U << 20, &assert_err));
    weft_rt_channel *channel = channel_plain(&s, "weft://test/client/ann");
    const int fd = connect_http2(&s);
    assert_true(open_stream(fd, 1, "/t/Down", NULL));
    const uint8_t empty[5] = {0};
    assert_true(send_frame(fd, DATA, END_STREAM, 1, empty, sizeof empty));
    weft_rt_server_stats stats = {0};
    while (stats.cut_idle == 0) {
        expect_service(&s, channel);
        weft_rt_server_stats_get(s.server, &stats);
    }
    expect_stream_end(fd, 1);
    (void)close(fd);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

static void test_compressed_message__is_refused(void **state)
{
    (void)state;
    service s;
    start_impatient(&s, true);
    /* "abc", well-formed: a bomb would be, too */
    static const uint8_t gzip[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00,
                                   0x02, 0x03, 0x4b, 0x4c, 0x4a, 0x06, 0x00, 0xc2,
                                   0x41, 0x24, 0x35, 0x03, 0x00, 0x00, 0x00};
    static const uint8_t deflate[] = {0x78, 0x9c, 0x4b, 0x4c, 0x4a, 0x06,
                                      0x00, 0x02, 0x4d, 0x01, 0x27};
    const struct {
        const char *encoding;
        const void *data;
        uint8_t size;
    } all[] = {{"gzip", gzip, sizeof gzip}, {"deflate", deflate, sizeof deflate}};
    for (size_t i = 0; i < 2; i++) {
        const int fd = connect_http2(&s);
        assert_true(open_stream(fd, 1, "/t/Up", all[i].encoding));
        uint8_t message[64] = {1, 0, 0, 0, all[i].size};
        memcpy(message + 5, all[i].data, all[i].size);
        assert_true(send_frame(fd, DATA, 0, 1, message, 5U + all[i].size));
        expect_stream_end(fd, 1);
        (void)close(fd);
    }
    assert_int_equal(atomic_load(&s.messages), 0);
    /* marked as compressed in a way that nobody knows: the bytes as they are, nothing unpacked */
    const int fd = connect_http2(&s);
    assert_true(open_stream(fd, 1, "/t/Up", "nonsense"));
    const uint8_t message[8] = {1, 0, 0, 0, 3, 'a', 'b', 'c'};
    assert_true(send_frame(fd, DATA, END_STREAM, 1, message, sizeof message));
    expect_stream_end(fd, 1);
    (void)close(fd);
    assert_int_equal(atomic_load(&s.received), 3);
    service_stop(&s);
}

static void test_bad_frames__end_the_connection(void **state)
{
    (void)state;
    service s;
    start_impatient(&s, true);
    weft_rt_channel *channel = channel_plain(&s, "weft://test/client/ann");
    uint8_t noise[512];
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (uint8_t)(i * 37 + 11);
    }
    const int fd = connect_http2(&s);
    assert_true(send_frame(fd, HEADERS, END_HEADERS, 1, noise, sizeof noise)); /* HPACK garbage */
    expect_hangup(fd);
    const int other = connect_http2(&s);
    assert_true(send_bare(other, noise, sizeof noise)); /* frame garbage */
    (void)shutdown(other, SHUT_WR);
    expect_hangup(other);
    expect_service(&s, channel);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

static void test_resets__leave_nothing_behind(void **state)
{
    (void)state;
    service s;
    start_impatient(&s, true);
    weft_rt_channel *channel = channel_plain(&s, "weft://test/client/ann");
    const int fd = connect_http2(&s);
    const uint8_t cancel[4] = {0, 0, 0, 8};
    bool open = true;
    for (uint32_t i = 0; i < 500 && open; i++) {
        open = open_stream(fd, 2 * i + 1, "/t/Hold", NULL) &&
               send_frame(fd, RST_STREAM, 0, 2 * i + 1, cancel, sizeof cancel);
    }
    expect_service(&s, channel);
    (void)close(fd);
    expect_service(&s, channel);
    weft_rt_server_stats stats;
    do {
        weft_rt_server_stats_get(s.server, &stats);
    } while (stats.calls_live > 0);
    weft_rt_channel_free(channel);
    service_stop(&s);
}

static void test_streams__of_one_connection_are_few(void **state)
{
    (void)state;
    service s;
    start_impatient(&s, true);
    const int fd = connect_http2(&s);
    bool open = true;
    for (uint32_t i = 0; i < 100 && open; i++) {
        open = open_stream(fd, 2 * i + 1, "/t/Up", NULL);
    }
    expect_stream_end(fd, 199);
    weft_rt_server_stats stats;
    weft_rt_server_stats_get(s.server, &stats);
    assert_true(stats.calls_total <= 16);
    (void)close(fd);
    service_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_garbage__is_hung_up_on),
        cmocka_unit_test(test_half_a_handshake__times_out),
        cmocka_unit_test(test_handshake_without_http2__times_out),
        cmocka_unit_test(test_trickled_upload__is_cut),
        cmocka_unit_test(test_trickled_request__is_cut),
        cmocka_unit_test(test_silent_upload__is_cut),
        cmocka_unit_test(test_frozen_reader__is_cut),
        cmocka_unit_test(test_compressed_message__is_refused),
        cmocka_unit_test(test_bad_frames__end_the_connection),
        cmocka_unit_test(test_resets__leave_nothing_behind),
        cmocka_unit_test(test_streams__of_one_connection_are_few),
    };
    return cmocka_run_group_tests(tests, make_shared, NULL);
}
