/* SPDX-License-Identifier: Apache-2.0 */
/* A federation, its weftd process, and peers. */
#include "weftd_fixture.h"

#include "auth/init.h"
#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

const char *weftd_path;

static int64_t now_ms(void)
{
    return weft_clock_system.unix_ms(NULL);
}

static uint64_t mono_ms(void)
{
    return weft_clock_system.mono_ms(NULL);
}

static void read_text(char *out, size_t size, const char *dir, const char *name)
{
    char path[1024];
    weft_buf buf;
    weft_buf_init(&buf, &weft_alloc_std, size - 1);
    assert_ok(weft_path_join(path, sizeof path, dir, name, NULL));
    assert_ok(weft_file_read(&buf, path, NULL));
    memcpy(out, buf.data, buf.size);
    out[buf.size] = '\0';
    weft_buf_done(&buf);
}

/* ---- the process ----------------------------------------------------------------------------- */

/* Wait for the ready line and take the address from it. */
static void await_ready(weftd *w)
{
    char line[512];
    size_t n = 0;
    const uint64_t until = mono_ms() + PATIENCE_MS;
    while (!memchr(line, '\n', n)) {
        struct pollfd fd = {w->out, POLLIN, 0};
        assert_true(mono_ms() < until && n < sizeof line - 1);
        if (poll(&fd, 1, 100) > 0) {
            const ssize_t got = read(w->out, line + n, sizeof line - 1 - n);
            assert_true(got > 0); /* it ended before it was ready */
            n += (size_t)got;
        }
    }
    line[n] = '\0';
    assert_int_equal(sscanf(line, "weftd ready address=%63s federation=test pid=", w->address), 1);
}

static void launch(weftd *w, const char *extra)
{
    char config[1024];
    char level[] = "--log-level=warn";
    (void)snprintf(config, sizeof config, "--config=%s/coord/weftd.yaml", w->dir);
    char listen[] = "--listen=127.0.0.1:0";
    char *more = extra ? strdup(extra) : NULL;
    char *path = strdup(weftd_path);
    char *argv[] = {path, config, listen, level, more, NULL};
    int pipe_fd[2];
    assert_int_equal(pipe(pipe_fd), 0);
    w->pid = fork();
    assert_true(w->pid >= 0);
    if (w->pid == 0) { /* only what is safe between fork and exec */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && dup2(pipe_fd[1], STDOUT_FILENO) >= 0) {
            (void)execv(path, argv); /* returns on failure only */
        }
        _exit(127);
    }
    (void)close(pipe_fd[1]); /* the child has it */
    w->out = pipe_fd[0];
    free(path);
    free(more);
    await_ready(w);
}

void weftd_prepare(weftd *w)
{
    memset(w, 0, sizeof *w);
    w->dir = test_dir_new();
    char coord[512];
    char op[512];
    (void)snprintf(coord, sizeof coord, "%s/coord", w->dir);
    (void)snprintf(op, sizeof op, "%s/op", w->dir);
    const weft_auth_init init = {.coordinator_dir = coord,
                                 .operator_dir = op,
                                 .federation = "test",
                                 .operator_name = "operator",
                                 .listen = "127.0.0.1:0",
                                 .address = "127.0.0.1:7443"};
    assert_ok(
        weft_auth_init_federation(&init, &weft_entropy_system, now_ms(), &weft_alloc_std, NULL));
    read_text(w->ca, sizeof w->ca, coord, "ca.pem");
    char pem[4096];
    read_text(pem, sizeof pem, op, "operator.key");
    assert_ok(weft_sign_key_from_pem(&w->operator_key, pem, strlen(pem), NULL));
    read_text(pem, sizeof pem, op, "receipt.pub");
    assert_ok(weft_sign_public_from_pem(w->receipt_public, pem, strlen(pem), NULL));
}

void weftd_start(weftd *w, const char *extra)
{
    weftd_prepare(w);
    launch(w, extra);
}

void weftd_restart(weftd *w, const char *extra)
{
    launch(w, extra);
}

static int reap(weftd *w)
{
    int status = 0;
    const uint64_t until = mono_ms() + PATIENCE_MS;
    while (waitpid(w->pid, &status, WNOHANG) == 0) {
        assert_true(mono_ms() < until);
        (void)poll(NULL, 0, 5); /* only to wait */
    }
    (void)close(w->out); /* only read */
    w->pid = 0;
    return status;
}

void weftd_stop(weftd *w)
{
    assert_int_equal(kill(w->pid, SIGTERM), 0);
    const int status = reap(w);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

void weftd_kill(weftd *w)
{
    assert_int_equal(kill(w->pid, SIGKILL), 0);
    (void)reap(w); /* killed: no status */
}

void weftd_done(weftd *w)
{
    if (w->pid) {
        weftd_stop(w);
    }
    test_dir_done(w->dir);
    weft_sign_key_done(&w->operator_key);
}

long weftd_memory_kb(const weftd *w, const char *field)
{
    char path[64];
    char line[256];
    long kb = -1;
    (void)snprintf(path, sizeof path, "/proc/%d/status", w->pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, field, strlen(field)) == 0) {
            (void)sscanf(line + strlen(field), "%ld", &kb);
        }
    }
    (void)fclose(f); /* only read */
    assert_true(kb > 0);
    return kb;
}

/* ---- peers ----------------------------------------------------------------------------------- */

void peer_reconnect(peer *p, const weftd *w)
{
    weft_rt_channel_options options = WEFT_RT_CHANNEL_OPTIONS_INIT;
    const weft_rt_tls tls = {.ca_pem = w->ca,
                             .cert_pem = p->cert[0] ? p->cert : NULL,
                             .key_pem = p->cert[0] ? p->key : NULL};
    options.address = w->address;
    options.tls = &tls;
    weft_rt_channel_free(p->channel);
    assert_ok(weft_rt_channel_new(&p->channel, &options, NULL));
}

void peer_operator(peer *p, const weftd *w)
{
    char op[512];
    memset(p, 0, sizeof *p);
    (void)snprintf(op, sizeof op, "%s/op", w->dir);
    (void)snprintf(p->name, sizeof p->name, "operator");
    read_text(p->cert, sizeof p->cert, op, "operator.pem");
    read_text(p->key, sizeof p->key, op, "operator-tls.key");
    peer_reconnect(p, w);
}

void peer_stranger(peer *p, const weftd *w)
{
    memset(p, 0, sizeof *p);
    peer_reconnect(p, w);
}

static void make_keys(peer *p)
{
    weft_key *key = NULL;
    weft_buf buf;
    weft_buf_init(&buf, &weft_alloc_std, sizeof p->csr);
    assert_ok(weft_key_generate(&key, &weft_alloc_std, NULL));
    assert_ok(weft_csr_make(&buf, key, NULL));
    memcpy(p->csr, buf.data, buf.size);
    p->csr_size = buf.size;
    weft_buf_clear(&buf);
    assert_ok(weft_key_to_pem(&buf, key, NULL));
    assert_true(buf.size < sizeof p->key);
    memcpy(p->key, buf.data, buf.size);
    p->key[buf.size] = '\0';
    weft_buf_done(&buf);
    weft_key_free(key);
}

void peer_invited(peer *p, const weftd *w, peer *op, const char *name)
{
    weft_sign_key invitation_key;
    weft_invitation invitation;
    weft_member_chain chain;
    weft_buf buf;
    uint8_t token_digest[32];
    memset(p, 0, sizeof *p);
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    make_keys(p);
    assert_ok(weft_entropy_system.fill(NULL, p->token, sizeof p->token, NULL));
    assert_ok(weft_sha256(token_digest, p->token, sizeof p->token, NULL));
    assert_ok(weft_sign_key_generate(&invitation_key, &weft_entropy_system, NULL));
    assert_ok(weft_sign_key_generate(&p->member, &weft_entropy_system, NULL));
    assert_ok(weft_invitation_make(&invitation, &w->operator_key, "test", name, now_ms() + 3600000,
                                   invitation_key.public_key, NULL));
    assert_ok(weft_member_make(&chain, &invitation, &invitation_key, p->member.public_key, NULL));
    weft_buf_init(&buf, &weft_alloc_std, sizeof p->chain);
    assert_ok(weft_member_encode(&buf, &chain, NULL));
    memcpy(p->chain, buf.data, buf.size);
    p->chain_size = buf.size;
    weft_buf_clear(&buf);
    assert_ok(weft_invitation_encode(&buf, &invitation, NULL));
    const weft_msg_invite_request request = {
        .client = name, .token_digest = {token_digest, 32}, .invitation = {buf.data, buf.size}};
    weft_msg_invite_reply reply;
    answer a;
    call_ok(&a, op, WEFT_METHOD_INVITE, WEFT_MSG_INVITE_REQUEST, &request, WEFT_MSG_INVITE_REPLY,
            &reply);
    assert_string_equal(reply.federation, "test");
    assert_string_equal(reply.address, w->address);
    assert_memory_equal(reply.receipt_public_key.data, w->receipt_public, 32);
    answer_done(&a);
    weft_buf_done(&buf);
    peer_reconnect(p, w);
}

void peer_enrol(peer *p, const weftd *w)
{
    const weft_msg_enroll_request request = {.token = {p->token, sizeof p->token},
                                             .csr_der = {p->csr, p->csr_size},
                                             .member_chain = {p->chain, p->chain_size}};
    weft_msg_enroll_reply reply;
    answer a;
    call_ok(&a, p, WEFT_METHOD_ENROLL, WEFT_MSG_ENROLL_REQUEST, &request, WEFT_MSG_ENROLL_REPLY,
            &reply);
    assert_string_equal(reply.client, p->name);
    assert_true(reply.certificate_pem.size < sizeof p->cert);
    memcpy(p->cert, reply.certificate_pem.data, reply.certificate_pem.size);
    p->cert[reply.certificate_pem.size] = '\0';
    answer_done(&a);
    peer_reconnect(p, w);
}

void peer_client(peer *p, const weftd *w, peer *op, const char *name)
{
    peer_invited(p, w, op, name);
    peer_enrol(p, w);
}

void peer_done(peer *p)
{
    weft_rt_channel_free(p->channel);
    weft_sign_key_done(&p->member);
    p->channel = NULL;
}

/* ---- unary calls ----------------------------------------------------------------------------- */

static void answer_init(answer *a)
{
    memset(a, 0, sizeof *a);
    weft_buf_init(&a->bytes, &weft_alloc_std, 4U << 20);
    weft_arena_init(&a->arena, &weft_alloc_std, 8U << 20);
}

void answer_done(answer *a)
{
    weft_buf_done(&a->bytes);
    weft_arena_done(&a->arena);
}

void call_bytes(answer *a, peer *p, weft_method method, const void *data, size_t size)
{
    weft_err err = WEFT_ERR_INIT;
    answer_init(a);
    const weft_status status =
        weft_rt_unary(p->channel, weft_method_get(method)->path, (weft_view){data, size},
                      PATIENCE_MS, &a->bytes, &a->code, &err);
    assert_true(status == WEFT_OK || err.code != WEFT_OK);
    (void)snprintf(a->text, sizeof a->text, "%s", err.msg);
}

void call(answer *a, peer *p, weft_method method, weft_msg_kind kind, const void *request,
          weft_msg_kind reply_kind, void *reply)
{
    weft_err err = WEFT_ERR_INIT;
    weft_buf out;
    weft_buf_init(&out, &weft_alloc_std, 2U << 20);
    if (weft_wire_encode(&out, kind, request, &err) != WEFT_OK) {
        fail_msg("request: %s", err.msg);
    }
    call_bytes(a, p, method, out.data, out.size);
    weft_buf_done(&out);
    if (a->code == WEFT_RT_OK && reply &&
        weft_wire_decode(reply, reply_kind, a->bytes.data, a->bytes.size, &a->arena, &err) !=
            WEFT_OK) {
        fail_msg("reply: %s", err.msg);
    }
}

void call_ok(answer *a, peer *p, weft_method method, weft_msg_kind kind, const void *request,
             weft_msg_kind reply_kind, void *reply)
{
    call(a, p, method, kind, request, reply_kind, reply);
    if (a->code != WEFT_RT_OK) {
        fail_msg("%s: %s: %s", weft_method_get(method)->path, weft_rt_code_name(a->code), a->text);
    }
}

/* ---- calls under way ------------------------------------------------------------------------- */

static void waiting_over(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                         weft_rt_message *reply)
{
    waiting *c = arg;
    (void)rpc;
    c->done = true;
    c->a.code = code;
    (void)snprintf(c->a.text, sizeof c->a.text, "%s", text ? text : "");
    if (reply) {
        assert_ok(weft_rt_message_copy(reply, &c->a.bytes, NULL));
    }
}

static void waiting_message(void *arg, weft_rt_rpc *rpc, weft_rt_message *message)
{
    waiting *c = arg;
    (void)message;
    c->messages++;
    weft_rt_rpc_next(rpc);
}

void waiting_start(waiting *c, peer *p, weft_method method, weft_msg_kind kind, const void *request)
{
    const weft_rt_loop_options options = WEFT_RT_LOOP_OPTIONS_INIT;
    weft_rt_rpc_options rpc = WEFT_RT_RPC_OPTIONS_INIT;
    weft_buf out;
    memset(c, 0, sizeof *c);
    answer_init(&c->a);
    weft_buf_init(&out, &weft_alloc_std, 2U << 20);
    assert_ok(weft_wire_encode(&out, kind, request, NULL));
    assert_ok(weft_rt_loop_new(&c->loop, &options, NULL));
    rpc.path = weft_method_get(method)->path;
    rpc.kind = weft_method_get(method)->server_streams ? WEFT_RT_RPC_FETCH : WEFT_RT_RPC_UNARY;
    rpc.request = weft_buf_view(&out);
    rpc.deadline_ms = 10 * PATIENCE_MS;
    rpc.arg = c;
    rpc.on_message = waiting_message;
    rpc.on_done = waiting_over;
    assert_ok(weft_rt_rpc_start(&c->rpc, c->loop, p->channel, &rpc, NULL));
    weft_buf_done(&out);
}

bool waiting_end(waiting *c, uint32_t timeout_ms)
{
    const uint64_t until = mono_ms() + timeout_ms;
    while (!c->done && mono_ms() < until) {
        (void)weft_rt_loop_step(c->loop, 20); /* progress shows in done */
    }
    return c->done;
}

void waiting_done(waiting *c)
{
    weft_rt_rpc_free(c->rpc);
    weft_rt_loop_free(c->loop);
    answer_done(&c->a);
}

/* ---- streams --------------------------------------------------------------------------------- */

typedef struct stream {
    bool done;
    answer *a;
    /* down */
    weft_buf *out;
    weft_chunk_stream order;
    uint8_t *digest;
    bool broken;
    /* up */
    weft_buf head; /* the header message */
    bool head_sent;
    weft_rt_blob *blob;
    uint64_t at;
    uint64_t total;
    uint64_t stop_at;
    uint32_t chunk_bytes;
    const upload *upload; /* or NULL */
} stream;

static void stream_over(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                        weft_rt_message *reply)
{
    stream *s = arg;
    (void)rpc;
    s->done = true;
    s->a->code = code;
    (void)snprintf(s->a->text, sizeof s->a->text, "%s", text ? text : "");
    if (reply) {
        assert_ok(weft_rt_message_copy(reply, &s->a->bytes, NULL));
    }
}

static void take_chunk(void *arg, weft_rt_rpc *rpc, weft_rt_message *message)
{
    stream *s = arg;
    weft_view pieces[512];
    weft_chunk chunk;
    size_t data_at = 0;
    const size_t n = weft_rt_message_pieces(message);
    assert_true(n <= 512);
    for (size_t i = 0; i < n; i++) {
        pieces[i] = weft_rt_message_piece(message, i);
    }
    assert_ok(
        weft_chunk_parse(&chunk, &data_at, pieces, n, 0, weft_rt_message_size(message), NULL));
    assert_ok(weft_chunk_stream_take(&s->order, &chunk, NULL));
    uint8_t *copy = malloc(chunk.data_bytes + 1U);
    assert_non_null(copy);
    assert_true(weft_pieces_copy(copy, pieces, n, data_at, chunk.data_bytes));
    assert_ok(weft_buf_add(s->out, copy, chunk.data_bytes, NULL));
    free(copy);
    weft_rt_rpc_next(rpc);
}

static void drive(stream *s, peer *p, weft_rt_rpc_options *options)
{
    const weft_rt_loop_options loop_options = WEFT_RT_LOOP_OPTIONS_INIT;
    weft_rt_loop *loop = NULL;
    weft_rt_rpc *rpc = NULL;
    const uint64_t until = mono_ms() + PATIENCE_MS;
    assert_ok(weft_rt_loop_new(&loop, &loop_options, NULL));
    options->arg = s;
    options->on_done = stream_over;
    options->deadline_ms = PATIENCE_MS;
    assert_ok(weft_rt_rpc_start(&rpc, loop, p->channel, options, NULL));
    while (!s->done) {
        assert_true(mono_ms() < until);
        (void)weft_rt_loop_step(loop, 20); /* progress shows in done */
    }
    weft_rt_rpc_free(rpc);
    weft_rt_loop_free(loop);
}

weft_rt_code fetch(peer *p, weft_method method, weft_msg_kind kind, const void *request,
                   weft_buf *out, uint8_t ret_digest[32])
{
    stream s = {.out = out};
    answer a;
    weft_buf bytes;
    weft_rt_rpc_options options = WEFT_RT_RPC_OPTIONS_INIT;
    const uint64_t offset = method == WEFT_METHOD_FETCH_MODEL
                                ? ((const weft_msg_fetch_model_request *)request)->offset
                                : ((const weft_msg_fetch_version_request *)request)->offset;
    answer_init(&a);
    weft_buf_init(&bytes, &weft_alloc_std, 1U << 20);
    assert_ok(weft_wire_encode(&bytes, kind, request, NULL));
    s.a = &a;
    weft_chunk_stream_init(&s.order, offset, 1U << 30);
    options.path = weft_method_get(method)->path;
    options.kind = WEFT_RT_RPC_FETCH;
    options.request = weft_buf_view(&bytes);
    options.on_message = take_chunk;
    drive(&s, p, &options);
    if (a.code == WEFT_RT_OK) {
        assert_true(weft_chunk_stream_complete(&s.order) && s.order.has_digest);
        memcpy(ret_digest, s.order.digest, 32);
    }
    const weft_rt_code code = a.code;
    weft_buf_done(&bytes);
    answer_done(&a);
    return code;
}

static void send_part(void *arg, weft_rt_rpc *rpc)
{
    stream *s = arg;
    if (!s->head_sent) {
        s->head_sent = true;
        /* a call that has ended: over tells */
        (void)!weft_rt_rpc_send(rpc, s->head.data, s->head.size, NULL, 0, 0);
        return;
    }
    if (s->stop_at && s->at >= s->stop_at) {
        weft_rt_rpc_cancel(rpc);
        return;
    }
    if (s->at == s->total) {
        weft_rt_rpc_end(rpc);
        return;
    }
    if (s->upload && s->upload->before) {
        s->upload->before(s->upload->arg, s->at);
    }
    const uint64_t left = s->total - s->at;
    weft_chunk chunk = {.offset = s->at, .total_bytes = s->total};
    chunk.data_bytes = left < s->chunk_bytes ? (uint32_t)left : s->chunk_bytes;
    uint8_t head[WEFT_CHUNK_MAX_HEAD_BYTES];
    const size_t n = weft_chunk_write_head(head, &chunk, true);
    /* as above */
    (void)!weft_rt_rpc_send(rpc, head, n, s->blob, s->at, chunk.data_bytes);
    s->at += chunk.data_bytes;
}

/* A header part: field 1 of the stream's message. */
static void wrap_header(weft_buf *out, weft_msg_kind kind, const void *header)
{
    weft_buf bytes;
    weft_buf_init(&bytes, &weft_alloc_std, 1U << 20);
    weft_buf_init(out, &weft_alloc_std, 1U << 20);
    assert_ok(weft_wire_encode(&bytes, kind, header, NULL));
    uint8_t head[4] = {0x0a, (uint8_t)(bytes.size & 0x7F), (uint8_t)(bytes.size >> 7 & 0x7F),
                       (uint8_t)(bytes.size >> 14)};
    head[1] |= 0x80; /* a varint may be longer than it must be */
    head[2] |= 0x80;
    assert_ok(weft_buf_add(out, head, sizeof head, NULL));
    assert_ok(weft_buf_add(out, bytes.data, bytes.size, NULL));
    weft_buf_done(&bytes);
}

static void send_all(stream *s, answer *a, peer *p, weft_method method, const void *data,
                     size_t size)
{
    weft_rt_rpc_options options = WEFT_RT_RPC_OPTIONS_INIT;
    answer_init(a);
    s->a = a;
    assert_ok(weft_rt_blob_copy(&s->blob, &weft_alloc_std, data, size, NULL));
    options.path = weft_method_get(method)->path;
    options.kind = WEFT_RT_RPC_UPLOAD;
    options.on_writable = send_part;
    drive(s, p, &options);
    weft_rt_blob_unref(s->blob);
    weft_buf_done(&s->head);
}

void submit(answer *a, peer *p, const upload *u, weft_msg_submit_reply *reply)
{
    weft_err err = WEFT_ERR_INIT;
    stream s = {.at = u->header.start_offset,
                .total = u->header.total_bytes,
                .stop_at = u->stop_after,
                .chunk_bytes = u->chunk_bytes ? u->chunk_bytes : WEFT_MAX_CHUNK_BYTES,
                .upload = u};
    wrap_header(&s.head, WEFT_MSG_UPDATE_HEADER, &u->header);
    send_all(&s, a, p, WEFT_METHOD_SUBMIT_UPDATE, u->data, (size_t)u->header.total_bytes);
    if (a->code == WEFT_RT_OK && weft_msg_submit_reply_decode(reply, a->bytes.data, a->bytes.size,
                                                              &a->arena, &err) != WEFT_OK) {
        fail_msg("reply: %s", err.msg);
    }
}

void import_model(answer *a, peer *op, const weft_msg_import_header *header, const void *data,
                  size_t size, weft_msg_model_info *reply)
{
    weft_err err = WEFT_ERR_INIT;
    stream s = {.total = size, .chunk_bytes = WEFT_MAX_CHUNK_BYTES};
    wrap_header(&s.head, WEFT_MSG_IMPORT_HEADER, header);
    send_all(&s, a, op, WEFT_METHOD_IMPORT_MODEL, data, size);
    if (a->code == WEFT_RT_OK && weft_msg_model_info_decode(reply, a->bytes.data, a->bytes.size,
                                                            &a->arena, &err) != WEFT_OK) {
        fail_msg("reply: %s", err.msg);
    }
}

/* ---- jobs ------------------------------------------------------------------------------------ */

void job_plain(weft_job_def *def, const char *name, uint64_t n_params, uint32_t target,
               uint32_t rounds)
{
    char spec[64];
    weft_job_def_init(def);
    def->secure_aggregation = false;
    (void)snprintf(def->name, sizeof def->name, "%s", name);
    (void)snprintf(def->dataset, sizeof def->dataset, "numbers");
    (void)snprintf(spec, sizeof spec, "tensor w %llu\n", (unsigned long long)n_params);
    def->model_spec = weft_string_copy(&weft_alloc_std, spec, sizeof spec);
    assert_non_null(def->model_spec);
    def->target = target;
    def->minimum = target;
    def->over_selection = 1.0;
    def->rounds = rounds;
    def->deadline_ms = 60000;
    def->lease_ms = 30000;
    def->selection_window_ms = 0;
    def->clip_norm = 10000.0;
    def->max_examples = 1000;
    def->eval_clients = 0;
    def->durability = WEFT_DURABILITY_UPDATE;
}

void job_submit(peer *op, const weft_job_def *def)
{
    const weft_msg_submit_job_request request = {.job = def, .plain = !def->secure_aggregation};
    weft_msg_submit_job_reply reply;
    answer a;
    call_ok(&a, op, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REQUEST, &request,
            WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
    assert_string_equal(reply.job->name, def->name);
    answer_done(&a);
}

void check_in(answer *a, peer *p, weft_msg_assignment *ret)
{
    const weft_msg_dataset set = {"numbers", 100, ""};
    const weft_msg_check_in_request request = {&set, 1, "test 1", 5000};
    const uint64_t until = mono_ms() + PATIENCE_MS;
    for (;;) {
        weft_msg_check_in_reply reply;
        call_ok(a, p, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request,
                WEFT_MSG_CHECK_IN_REPLY, &reply);
        if (reply.assignment) {
            *ret = *reply.assignment;
            return;
        }
        answer_done(a);
        assert_true(mono_ms() < until);
    }
}

void contribute(const weftd *w, peer *p, const weft_msg_assignment *assignment, float value,
                uint64_t n_examples)
{
    const size_t n = (size_t)assignment->base_bytes / sizeof(float);
    float *delta = calloc(n, sizeof *delta);
    uint8_t digest[32];
    assert_non_null(delta);
    for (size_t i = 0; i < n; i++) {
        delta[i] = value;
    }
    assert_ok(weft_sha256(digest, delta, n * sizeof *delta, NULL));
    upload u = {.header = {.assignment_id = assignment->assignment_id,
                           .base_digest = assignment->base_digest,
                           .total_bytes = n * sizeof *delta,
                           .update_digest = {digest, 32},
                           .n_examples = n_examples,
                           .encoding = "f32"},
                .data = delta};
    assert_ok(weft_metrics_set(&u.header.metrics, "loss", 0.5, NULL));
    weft_msg_submit_reply reply;
    answer a;
    submit(&a, p, &u, &reply);
    assert_int_equal(a.code, WEFT_RT_OK);
    if (!reply.receipt) {
        fail_msg("refused %u: %s", reply.refusal, reply.detail);
    }
    weft_receipt_fields fields = {.assignment_id = reply.receipt->assignment_id,
                                  .round = reply.receipt->round,
                                  .n_examples = reply.receipt->n_examples,
                                  .accepted_unix_ms = reply.receipt->accepted_unix_ms};
    (void)snprintf(fields.job, sizeof fields.job, "%s", reply.receipt->job);
    (void)snprintf(fields.client, sizeof fields.client, "%s", reply.receipt->client);
    memcpy(fields.update_digest, reply.receipt->update_digest.data, 32);
    assert_ok(weft_receipt_verify(w->receipt_public, &fields, reply.receipt->signature.data, NULL));
    assert_string_equal(fields.client, p->name);
    answer_done(&a);
    free(delta);
}

static void wait_for(peer *op, const char *job, uint32_t rounds, const char *status)
{
    const weft_msg_get_job_request request = {job};
    const uint64_t until = mono_ms() + PATIENCE_MS;
    for (;;) {
        weft_msg_get_job_reply reply;
        answer a;
        call_ok(&a, op, WEFT_METHOD_GET_JOB, WEFT_MSG_GET_JOB_REQUEST, &request,
                WEFT_MSG_GET_JOB_REPLY, &reply);
        const bool there =
            status ? strcmp(reply.job->status, status) == 0 : reply.job->rounds_done >= rounds;
        if (!there && mono_ms() >= until) {
            fail_msg("job %s: %s, %u rounds done, %s", job, reply.job->status,
                     reply.job->rounds_done, reply.job->reason);
        }
        answer_done(&a);
        if (there) {
            return;
        }
        (void)poll(NULL, 0, 10); /* only to wait */
    }
}

void wait_rounds(peer *op, const char *job, uint32_t rounds)
{
    wait_for(op, job, rounds, NULL);
}

void wait_status(peer *op, const char *job, const char *status)
{
    wait_for(op, job, 0, status);
}
