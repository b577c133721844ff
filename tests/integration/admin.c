/* SPDX-License-Identifier: Apache-2.0 */
/* The Admin service as tests want it, and programs run to their end. */
#include "admin.h"

#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define NOW weft_clock_system.unix_ms(weft_clock_system.self)

extern char **environ;

/* ---- handlers (poller threads) --------------------------------------------------------------- */

static weft_rt_code authorize(void *ctx, const char *path, const weft_rt_peer *peer, char *text)
{
    (void)ctx;
    weft_identity id;
    if (strcmp(path, weft_method_get(WEFT_METHOD_RENEW)->path) == 0) {
        return WEFT_RT_OK; /* by its signature */
    }
    if (peer->authenticated &&
        weft_identity_parse(&id, peer->identity, strlen(peer->identity), NULL) == WEFT_OK &&
        id.role == WEFT_ROLE_OPERATOR) {
        return WEFT_RT_OK;
    }
    (void)snprintf(text, WEFT_ERR_MSG_BYTES, "only operators may do this"); /* fits */
    return WEFT_RT_PERMISSION_DENIED;
}

static void keep_request(admin_method *m, const weft_rt_message *message, bool first)
{
    if (first) {
        weft_buf_clear(&m->request);
        m->n_calls++;
    }
    if (weft_rt_message_copy(message, &m->request, NULL) != WEFT_OK) {
        weft_buf_clear(&m->request);
    }
}

/* The next answer, or an empty message. */
static void answer(admin_method *m, weft_rt_call *call)
{
    static const admin_answer nothing;
    const admin_answer *a = m->given < m->n_answers ? &m->answer[m->given++] : &nothing;
    if (a->code != WEFT_RT_OK) {
        (void)weft_rt_call_fail(call, a->code, (const char *)a->bytes.data);
    } else {
        (void)weft_rt_call_reply(call, a->bytes.data, a->bytes.size);
    }
}

static void on_unary(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    admin_method *m = ctx;
    (void)pthread_mutex_lock(&m->admin->lock);
    keep_request(m, message, true);
    answer(m, call);
    (void)pthread_mutex_unlock(&m->admin->lock);
}

static void on_part(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    admin_method *m = ctx;
    (void)pthread_mutex_lock(&m->admin->lock);
    keep_request(m, message, weft_rt_call_state(call) == NULL);
    weft_rt_call_set_state(call, m);
    (void)pthread_mutex_unlock(&m->admin->lock);
}

static void on_half_close(void *ctx, weft_rt_call *call)
{
    admin_method *m = ctx;
    (void)pthread_mutex_lock(&m->admin->lock);
    answer(m, call);
    (void)pthread_mutex_unlock(&m->admin->lock);
}

/* Send the next message of a server stream, or end it. */
static void pump(admin_method *m, weft_rt_call *call)
{
    const admin_answer *a = m->given < m->n_answers ? &m->answer[m->given++] : NULL;
    if (!a) {
        (void)weft_rt_call_finish(call);
    } else if (a->code != WEFT_RT_OK) {
        (void)weft_rt_call_fail(call, a->code, (const char *)a->bytes.data);
    } else if (weft_rt_call_send(call, a->bytes.data, a->bytes.size, NULL, 0, 0) != WEFT_OK) {
        weft_rt_call_cancel(call, WEFT_RT_INTERNAL, "the test could not send");
    }
}

static void on_request(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    admin_method *m = ctx;
    (void)pthread_mutex_lock(&m->admin->lock);
    keep_request(m, message, true);
    pump(m, call);
    (void)pthread_mutex_unlock(&m->admin->lock);
}

static void on_writable(void *ctx, weft_rt_call *call)
{
    admin_method *m = ctx;
    (void)pthread_mutex_lock(&m->admin->lock);
    pump(m, call);
    (void)pthread_mutex_unlock(&m->admin->lock);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static void fill_method(admin *a, weft_method method)
{
    const weft_method_info *info = weft_method_get(method);
    admin_method *m = &a->method[method];
    m->admin = a;
    m->method = method;
    weft_buf_init(&m->request, &weft_alloc_std, 8U << 20);
    a->table[method] = (weft_rt_method){.path = info->path,
                                        .kind = WEFT_RT_UNARY,
                                        .anonymous_ok = info->role == WEFT_METHOD_ROLE_ANYONE,
                                        .ctx = m,
                                        .on_message = on_unary};
    if (info->client_streams) {
        a->table[method].kind = WEFT_RT_CLIENT_STREAM;
        a->table[method].on_message = on_part;
        a->table[method].on_half_close = on_half_close;
    } else if (info->server_streams) {
        a->table[method].kind = WEFT_RT_SERVER_STREAM;
        a->table[method].on_message = on_request;
        a->table[method].on_writable = on_writable;
    }
}

static void open_auth(admin *a, const char *dir)
{
    static const char *const names[] = {"ca.pem",     "ca.key",      "server.pem",
                                        "server.key", "receipt.key", "operator.pub"};
    char path[6][PATH_MAX];
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(weft_path_join(path[i], PATH_MAX, dir, names[i], NULL), WEFT_OK);
    }
    const weft_auth_files files = {path[0], path[1], path[2], path[3], path[4], path[5]};
    assert_int_equal(weft_auth_open(&a->auth, &files, 30, NOW, &weft_alloc_std, NULL), WEFT_OK);
}

void admin_start(admin *a, const char *coordinator_dir)
{
    memset(a, 0, sizeof *a);
    assert_int_equal(pthread_mutex_init(&a->lock, NULL), 0);
    open_auth(a, coordinator_dir);
    for (int i = 0; i < WEFT_METHOD_COUNT; i++) {
        fill_method(a, (weft_method)i);
    }
    const weft_rt_tls tls = {weft_auth_ca_pem(a->auth), weft_auth_certificate_pem(a->auth),
                             weft_auth_key_pem(a->auth)};
    weft_rt_server_options options = WEFT_RT_SERVER_OPTIONS_INIT;
    options.address = "127.0.0.1:0";
    options.tls = &tls;
    options.methods = a->table;
    options.n_methods = WEFT_METHOD_COUNT;
    options.authorize = authorize;
    options.n_pollers = 1;
    assert_int_equal(weft_rt_server_new(&a->server, &options, NULL), WEFT_OK);
    (void)snprintf(a->address, sizeof a->address, "127.0.0.1:%u",
                   weft_rt_server_port(a->server)); /* fits */
}

void admin_forget(admin *a)
{
    (void)pthread_mutex_lock(&a->lock);
    for (int i = 0; i < WEFT_METHOD_COUNT; i++) {
        admin_method *m = &a->method[i];
        for (size_t k = 0; k < m->n_answers; k++) {
            weft_buf_done(&m->answer[k].bytes);
        }
        m->n_answers = 0;
        m->given = 0;
        m->n_calls = 0;
        weft_buf_done(&m->request);
    }
    (void)pthread_mutex_unlock(&a->lock);
}

void admin_stop(admin *a)
{
    weft_rt_server_free(a->server);
    weft_auth_free(a->auth);
    admin_forget(a);
    (void)pthread_mutex_destroy(&a->lock);
}

static void queue(admin *a, weft_method method, weft_rt_code code, const void *data, size_t n)
{
    (void)pthread_mutex_lock(&a->lock);
    admin_method *m = &a->method[method];
    assert_true(m->n_answers < ADMIN_MAX_ANSWERS);
    admin_answer *x = &m->answer[m->n_answers++];
    x->code = code;
    weft_buf_init(&x->bytes, &weft_alloc_std, 2U << 20);
    assert_int_equal(weft_buf_add(&x->bytes, data, n, NULL), WEFT_OK);
    (void)pthread_mutex_unlock(&a->lock);
}

void admin_says_bytes(admin *a, weft_method method, const void *data, size_t n)
{
    queue(a, method, WEFT_RT_OK, data, n);
}

void admin_says(admin *a, weft_method method, weft_msg_kind kind, const void *msg)
{
    weft_buf b;
    weft_err err = WEFT_ERR_INIT;
    weft_buf_init(&b, &weft_alloc_std, WEFT_MAX_REPLY_BYTES);
    if (weft_wire_encode(&b, kind, msg, &err) != WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    queue(a, method, WEFT_RT_OK, b.data, b.size);
    weft_buf_done(&b);
}

void admin_refuses(admin *a, weft_method method, weft_rt_code code, const char *text)
{
    queue(a, method, code, text, strlen(text) + 1);
}

weft_view admin_heard(admin *a, weft_method method)
{
    (void)pthread_mutex_lock(&a->lock);
    const weft_view view = weft_buf_view(&a->method[method].request);
    (void)pthread_mutex_unlock(&a->lock);
    return view;
}

/* ---- programs -------------------------------------------------------------------------------- */

static void read_back(char *out, size_t size, const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(out, 1, size - 1, f);
    out[n] = '\0';
    assert_int_equal(fclose(f), 0);
}

const ended *run_program(const char *dir, const char *const *argv)
{
    static ended e;
    char out[PATH_MAX];
    char err[PATH_MAX];
    assert_int_equal(weft_path_join(out, sizeof out, dir, "stdout", NULL), WEFT_OK);
    assert_int_equal(weft_path_join(err, sizeof err, dir, "stderr", NULL), WEFT_OK);
    posix_spawn_file_actions_t actions;
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&actions, 1, out, flags, 0600), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&actions, 2, err, flags, 0600), 0);
    pid_t pid = 0;
    /* posix_spawn does not change the strings; its type is older than const */
    assert_int_equal(
        posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    e.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_back(e.out, sizeof e.out, out);
    read_back(e.err, sizeof e.err, err);
    return &e;
}

void assert_says(const char *text, const char *words)
{
    if (!strstr(text, words)) {
        fail_msg("'%s' does not say '%s'", text, words);
    }
}
