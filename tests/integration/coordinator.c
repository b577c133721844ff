/* SPDX-License-Identifier: Apache-2.0 */
/* The scripted coordinator; see the header. Callbacks run on rt's pollers, under one lock. */
#include "coordinator.h"

#include "base/clock.h"
#include "base/file.h"
#include "crypto/cert.h"
#include "crypto/member.h"
#include "crypto/receipt.h"
#include "update/refusal.h"
#include "wire/chunk.h"
#include "wire/join.h"
#include "wire/methods.h"
#include "wire/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_MS INT64_C(86400000)

static int64_t unix_now(void)
{
    return weft_clock_system.unix_ms(weft_clock_system.self);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

typedef struct incoming {
    weft_buf scratch;
    weft_arena arena;
} incoming;

static void read_message(incoming *in, void *msg, weft_msg_kind kind, weft_rt_message *message)
{
    weft_view bytes;
    weft_buf_init(&in->scratch, &weft_alloc_std, 2U << 20);
    weft_wire_arena_init(&in->arena, kind, &weft_alloc_std);
    assert_ok(weft_rt_message_flat(message, &in->scratch, &bytes, &assert_err));
    assert_ok(weft_wire_decode(msg, kind, bytes.data, bytes.size, &in->arena, &assert_err));
}

static void read_done(incoming *in)
{
    weft_buf_done(&in->scratch);
    weft_arena_done(&in->arena);
}

static void reply(weft_rt_call *call, weft_msg_kind kind, const void *msg)
{
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 1U << 20);
    assert_ok(weft_wire_encode(&b, kind, msg, &assert_err));
    (void)weft_rt_call_reply(call, b.data, b.size); /* gone is fine */
    weft_buf_done(&b);
}

static void lock(coordinator *c)
{
    (void)pthread_mutex_lock(&c->lock);
}

static void unlock(coordinator *c)
{
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_mutex_unlock(&c->lock);
}

/* ---- certificates --------------------------------------------------------------------------- */

static void sign_request(coordinator *c, weft_view csr, weft_buf *out)
{
    weft_key *subject = NULL;
    weft_key *ca_key = NULL;
    assert_ok(weft_csr_open(&subject, csr.data, csr.size, &weft_alloc_std, &assert_err));
    assert_ok(weft_key_from_pem(&ca_key, c->keys.ca_key, strlen(c->keys.ca_key), &weft_alloc_std,
                                &assert_err));
    weft_cert_spec spec = {.not_before_unix_ms = unix_now() - 10000,
                           .not_after_unix_ms = unix_now() + c->script.certificate_ms};
    assert_ok(weft_identity_set(&spec.id, "test", WEFT_ROLE_CLIENT, "alice", &assert_err));
    const weft_view ca = {(const uint8_t *)c->keys.ca, strlen(c->keys.ca)};
    assert_ok(weft_cert_issue(out, &spec, subject, ca, ca_key, &weft_entropy_system, &assert_err));
    weft_key_free(subject);
    weft_key_free(ca_key);
}

static void on_enroll(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    coordinator *c = ctx;
    incoming in;
    weft_msg_enroll_request msg;
    read_message(&in, &msg, WEFT_MSG_ENROLL_REQUEST, message);
    lock(c);
    c->seen.enrolments++;
    uint8_t digest[32];
    weft_member_chain chain;
    weft_key *key = NULL;
    assert_ok(
        weft_csr_open(&key, msg.csr_der.data, msg.csr_der.size, &weft_alloc_std, &assert_err));
    assert_ok(weft_key_digest(digest, key, &assert_err));
    weft_key_free(key);
    const bool known = msg.token.size == 32 && memcmp(msg.token.data, c->token, 32) == 0;
    const bool same = c->token_used && memcmp(digest, c->enrolled_csr, 32) == 0;
    if (!known || (c->token_used && !same)) {
        (void)weft_rt_call_fail(call, WEFT_RT_PERMISSION_DENIED, "the token was used already");
    } else if (weft_member_decode(&chain, msg.member_chain.data, msg.member_chain.size, NULL) !=
                   WEFT_OK ||
               weft_member_verify(&chain, c->operator_key.public_key, "test", unix_now(), NULL) !=
                   WEFT_OK) {
        (void)weft_rt_call_fail(call, WEFT_RT_PERMISSION_DENIED, "the member chain does not hold");
    } else {
        memcpy(c->enrolled_csr, digest, 32);
        memcpy(c->member_key, chain.member_key, 32);
        c->token_used = true;
        weft_buf pem;
        weft_buf_init(&pem, &weft_alloc_std, 8192);
        sign_request(c, msg.csr_der, &pem);
        if (c->script.lose_enrolment) {
            c->script.lose_enrolment = false;
            (void)weft_rt_call_fail(call, WEFT_RT_UNAVAILABLE, "the power went out");
        } else {
            const weft_msg_enroll_reply answer = {.certificate_pem = weft_buf_view(&pem),
                                                  .client = "alice",
                                                  .federation = "test",
                                                  .not_after_unix_ms = unix_now() + DAY_MS};
            reply(call, WEFT_MSG_ENROLL_REPLY, &answer);
        }
        weft_buf_done(&pem);
    }
    unlock(c);
    read_done(&in);
}

static void on_renew(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    coordinator *c = ctx;
    incoming in;
    weft_msg_renew_request msg;
    read_message(&in, &msg, WEFT_MSG_RENEW_REQUEST, message);
    lock(c);
    c->seen.renewals++;
    c->seen.anonymous_renewals += !weft_rt_call_peer(call)->authenticated;
    if (weft_renewal_verify(c->member_key, "test", msg.client, msg.csr_der.data, msg.csr_der.size,
                            msg.signature.data, NULL) != WEFT_OK) {
        (void)weft_rt_call_fail(call, WEFT_RT_PERMISSION_DENIED, "not the member's signature");
    } else {
        weft_buf pem;
        weft_buf_init(&pem, &weft_alloc_std, 8192);
        c->script.certificate_ms = DAY_MS;
        sign_request(c, msg.csr_der, &pem);
        const weft_msg_renew_reply answer = {.certificate_pem = weft_buf_view(&pem),
                                             .not_after_unix_ms = unix_now() + DAY_MS};
        reply(call, WEFT_MSG_RENEW_REPLY, &answer);
        weft_buf_done(&pem);
    }
    unlock(c);
    read_done(&in);
}

/* ---- assignments ---------------------------------------------------------------------------- */

static void give(coordinator *c, weft_rt_call *call)
{
    const weft_plan plan = WEFT_PLAN_INIT;
    const uint32_t round = c->script.round ? c->script.round : (uint32_t)c->assignment_id;
    weft_msg_assignment a = {.assignment_id = c->assignment_id,
                             .job = c->script.job,
                             .job_id = 1,
                             .round = round,
                             .attempt = (uint32_t)c->assignment_id,
                             .task = c->script.task,
                             .dataset = "numbers",
                             .model_spec = "tensor w 4",
                             .data_schema = "",
                             .plan = plan,
                             .base_digest = {c->base_digest, 32},
                             .base_bytes = c->n_params * 4,
                             .clip_norm = 1e6,
                             .max_examples = 1000,
                             .deadline_ms = 60000,
                             .lease_ms = c->script.lease_ms,
                             .cohort = c->script.cohort,
                             .secure_aggregation = c->script.secure_aggregation,
                             .encoding = "f32"};
    if (c->script.secure_aggregation) {
        a.encoding = WEFT_FIXED_ENCODING;
        a.clip_norm = 100.0;
        a.secure = (weft_secagg_terms){.policy = WEFT_SECAGG_POLICY_INIT,
                                       .phase_deadline_ms = 60000,
                                       .max_cohort = 4,
                                       .metrics = "accuracy loss"};
        a.secure.policy.adversary = c->script.curious ? WEFT_SECAGG_CURIOUS : WEFT_SECAGG_ACTIVE;
        coordinator_secure_begin(c, &a);
    }
    const weft_msg_check_in_reply answer = {.assignment = &a};
    reply(call, WEFT_MSG_CHECK_IN_REPLY, &answer);
}

static void on_check_in(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    coordinator *c = ctx;
    incoming in;
    weft_msg_check_in_request msg;
    read_message(&in, &msg, WEFT_MSG_CHECK_IN_REQUEST, message);
    lock(c);
    c->seen.check_ins++;
    (void)snprintf(c->seen.dataset, sizeof c->seen.dataset, "%s",
                   msg.n_datasets ? msg.datasets[0].name : "");
    if (c->script.come_back_ms) {
        const weft_msg_check_in_reply answer = {.has_come_back = true,
                                                .come_back_ms = c->script.come_back_ms};
        c->script.come_back_ms = 0;
        reply(call, WEFT_MSG_CHECK_IN_REPLY, &answer);
    } else if (c->open || c->assignment_id < c->script.n_assignments) {
        if (!c->open) {
            coordinator_secure_done(c);
            c->assignment_id++;
            c->open = true;
            c->accepted = false;
            c->n_held = 0;
        }
        give(c, call);
    } else if (c->script.hold) {
        weft_rt_call_unref(c->holding);
        c->holding = weft_rt_call_ref(call);
    } else {
        const weft_msg_check_in_reply answer = {.nothing_more = true};
        reply(call, WEFT_MSG_CHECK_IN_REPLY, &answer);
    }
    unlock(c);
    read_done(&in);
}

static void on_abandon(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    coordinator *c = ctx;
    incoming in;
    weft_msg_abandon_request msg;
    read_message(&in, &msg, WEFT_MSG_ABANDON_REQUEST, message);
    lock(c);
    c->seen.abandons++;
    coordinator_secure_done(c);
    (void)snprintf(c->seen.reason, sizeof c->seen.reason, "%s", msg.reason);
    assert_int_equal(msg.assignment_id, c->assignment_id);
    c->open = false;
    const weft_msg_abandon_reply none = {0};
    reply(call, WEFT_MSG_ABANDON_REPLY, &none);
    unlock(c);
    read_done(&in);
}

static void on_step(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    coordinator *c = ctx;
    incoming in;
    weft_msg_secure_step_request msg;
    read_message(&in, &msg, WEFT_MSG_SECURE_STEP_REQUEST, message);
    lock(c);
    c->seen.steps++;
    weft_msg_secure_step_reply answer = {.state = WEFT_SECURE_FAILED, .detail = ""};
    if (c->secure && msg.assignment_id == c->assignment_id) {
        coordinator_secure_step(c, &msg, &answer);
    }
    if (c->script.cut_step) {
        c->script.cut_step = false;
        (void)weft_rt_call_fail(call, WEFT_RT_UNAVAILABLE, "the line broke");
    } else {
        reply(call, WEFT_MSG_SECURE_STEP_REPLY, &answer);
    }
    unlock(c);
    read_done(&in);
}

/* ---- receipts ------------------------------------------------------------------------------- */

static void make_receipt(coordinator *c, weft_msg_receipt *ret, uint8_t signature[64], bool forge)
{
    weft_receipt_fields f = {.assignment_id = c->assignment_id,
                             .round =
                                 c->script.round ? c->script.round : (uint32_t)c->assignment_id,
                             .n_examples = c->seen.n_examples,
                             .accepted_unix_ms = c->accepted_unix_ms};
    (void)snprintf(f.job, sizeof f.job, "%s", c->script.job);
    (void)snprintf(f.client, sizeof f.client, "alice");
    memcpy(f.update_digest, c->update_digest, 32);
    assert_ok(
        weft_receipt_sign(signature, forge ? &c->operator_key : &c->receipt_key, &f, &assert_err));
    *ret = (weft_msg_receipt){.assignment_id = f.assignment_id,
                              .job = c->script.job,
                              .round = f.round,
                              .update_digest = {c->update_digest, 32},
                              .n_examples = f.n_examples,
                              .accepted_unix_ms = f.accepted_unix_ms,
                              .client = "alice",
                              .signature = {signature, 64}};
}

static void on_progress(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    coordinator *c = ctx;
    incoming in;
    weft_msg_progress_request msg;
    read_message(&in, &msg, WEFT_MSG_PROGRESS_REQUEST, message);
    lock(c);
    c->seen.progress++;
    c->seen.progress_train += strcmp(msg.phase, "train") == 0;
    weft_msg_progress_reply answer = {.held_bytes = c->n_held, .deadline_ms = 1000};
    weft_msg_receipt receipt;
    uint8_t signature[64];
    if (c->accepted) {
        make_receipt(c, &receipt, signature, false);
        answer.receipt = &receipt;
        answer.stop = true;
    } else if (c->script.stop || !c->open) {
        answer.stop = true;
        answer.reason = WEFT_REFUSAL_LATE;
        c->open = false;
    }
    reply(call, WEFT_MSG_PROGRESS_REPLY, &answer);
    unlock(c);
    read_done(&in);
}

/* ---- fetch ---------------------------------------------------------------------------------- */

static void send_next(coordinator *c, weft_rt_call *call)
{
    const uint64_t at = (uint64_t)(uintptr_t)weft_rt_call_state(call) - 1;
    const uint64_t total = c->n_params * 4;
    if (c->script.cut_fetch_at && at >= c->script.cut_fetch_at) {
        c->script.cut_fetch_at = 0;
        weft_rt_call_cancel(call, WEFT_RT_UNAVAILABLE, "the line broke");
        return;
    }
    if (at == total) {
        (void)weft_rt_call_finish(call); /* gone is fine */
        return;
    }
    const uint64_t left = total - at;
    weft_chunk chunk = {.offset = at,
                        .total_bytes = total,
                        .has_digest = at == 0,
                        .data_bytes = left < 300000 ? (uint32_t)left : 300000};
    memcpy(chunk.digest, c->base_digest, 32);
    uint8_t head[WEFT_CHUNK_MAX_HEAD_BYTES];
    const size_t n = weft_chunk_write_head(head, &chunk, false);
    weft_rt_call_set_state(call, (void *)(uintptr_t)(at + chunk.data_bytes + 1));
    if (c->script.garble_fetch) {
        c->script.garble_fetch = false;
        weft_rt_blob *wrong = NULL;
        uint8_t *bytes = weft_array(&weft_alloc_std, chunk.data_bytes, 1);
        memcpy(bytes, weft_rt_blob_data(c->blob) + at, chunk.data_bytes);
        bytes[17] ^= 1;
        assert_ok(weft_rt_blob_take(&wrong, &weft_alloc_std, bytes, chunk.data_bytes, &assert_err));
        (void)!weft_rt_call_send(call, head, n, wrong, 0, chunk.data_bytes);
        weft_rt_blob_unref(wrong);
        return;
    }
    (void)!weft_rt_call_send(call, head, n, c->blob, at, chunk.data_bytes);
}

static void on_fetch(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    coordinator *c = ctx;
    incoming in;
    weft_msg_fetch_model_request msg;
    read_message(&in, &msg, WEFT_MSG_FETCH_MODEL_REQUEST, message);
    lock(c);
    assert_memory_equal(msg.digest.data, c->base_digest, 32);
    c->seen.fetches++;
    c->seen.fetched_from = msg.offset;
    weft_rt_call_set_state(call, (void *)(uintptr_t)(msg.offset + 1));
    send_next(c, call);
    unlock(c);
    read_done(&in);
}

static void on_fetch_writable(void *ctx, weft_rt_call *call)
{
    coordinator *c = ctx;
    lock(c);
    send_next(c, call);
    unlock(c);
}

/* ---- upload --------------------------------------------------------------------------------- */

static void take_header(coordinator *c, weft_rt_call *call, weft_view bytes)
{
    weft_arena arena;
    weft_msg_update_header h;
    weft_wire_arena_init(&arena, WEFT_MSG_UPDATE_HEADER, &weft_alloc_std);
    assert_ok(weft_msg_update_header_decode(&h, bytes.data, bytes.size, &arena, &assert_err));
    c->seen.uploads++;
    c->seen.uploaded_from = h.start_offset;
    c->seen.n_examples = h.n_examples;
    c->seen.metrics = h.metrics;
    c->seen.task_bytes = (uint32_t)h.total_bytes;
    (void)snprintf(c->seen.encoding, sizeof c->seen.encoding, "%s", h.encoding);
    memset(c->update_digest, 0, 32);
    if (h.total_bytes > 0) {
        memcpy(c->update_digest, h.update_digest.data, 32);
    }
    if (h.assignment_id != c->assignment_id || h.start_offset > c->n_held) {
        (void)weft_rt_call_fail(call, WEFT_RT_OUT_OF_RANGE, "that part is not here");
    } else {
        c->n_held = h.start_offset;
    }
    weft_arena_done(&arena);
}

static void take_chunk(coordinator *c, weft_rt_call *call, const weft_view *pieces, size_t n,
                       size_t at, size_t size)
{
    weft_chunk chunk;
    size_t data_at = 0;
    assert_ok(weft_chunk_parse(&chunk, &data_at, pieces, n, at, size, &assert_err));
    if (chunk.offset != c->n_held || chunk.offset + chunk.data_bytes > c->held_bytes) {
        (void)weft_rt_call_fail(call, WEFT_RT_INVALID_ARGUMENT, "a gap");
        return;
    }
    assert_true(weft_pieces_copy(c->held + c->n_held, pieces, n, data_at, chunk.data_bytes));
    c->n_held += chunk.data_bytes;
    c->seen.bytes_in += chunk.data_bytes;
    if (c->script.cut_upload_at && c->n_held >= c->script.cut_upload_at) {
        c->script.cut_upload_at = 0;
        weft_rt_call_cancel(call, WEFT_RT_UNAVAILABLE, "the line broke");
    }
}

static void on_part(void *ctx, weft_rt_call *call, weft_rt_message *message)
{
    coordinator *c = ctx;
    const size_t n = weft_rt_message_pieces(message);
    weft_view pieces[512];
    assert_true(n <= 512);
    for (size_t i = 0; i < n; i++) {
        pieces[i] = weft_rt_message_piece(message, i);
    }
    weft_part_kind kind;
    size_t at = 0;
    size_t size = 0;
    assert_ok(weft_part_parse(&kind, &at, &size, pieces, n, &assert_err));
    lock(c);
    if (kind == WEFT_PART_HEADER) {
        uint8_t bytes[4096];
        assert_true(size <= sizeof bytes);
        assert_true(weft_pieces_copy(bytes, pieces, n, at, size));
        take_header(c, call, (weft_view){bytes, size});
    } else {
        take_chunk(c, call, pieces, n, at, size);
    }
    unlock(c);
}

static void on_half_close(void *ctx, weft_rt_call *call)
{
    coordinator *c = ctx;
    lock(c);
    weft_msg_submit_reply answer = {.detail = ""};
    weft_msg_receipt receipt;
    uint8_t signature[64];
    uint8_t digest[32];
    assert_ok(weft_sha256(digest, c->held, c->n_held, &assert_err));
    const bool whole = c->n_held == c->seen.task_bytes;
    const bool refused = whole && c->secure && !coordinator_secure_masked(c);
    if (c->script.late || !c->open || refused) {
        c->script.late = false;
        c->open = false;
        answer.refusal = WEFT_REFUSAL_LATE;
        answer.detail = "the round has closed";
        reply(call, WEFT_MSG_SUBMIT_REPLY, &answer);
    } else if (!whole || (c->n_held && memcmp(digest, c->update_digest, 32) != 0)) {
        answer.refusal = WEFT_REFUSAL_WRONG_DIGEST;
        reply(call, WEFT_MSG_SUBMIT_REPLY, &answer);
    } else {
        c->accepted = true;
        c->open = false;
        c->accepted_unix_ms = unix_now();
        c->seen.receipts++;
        make_receipt(c, &receipt, signature, c->script.forge_receipt);
        c->script.forge_receipt = false;
        answer.receipt = &receipt;
        if (c->script.lose_receipt) {
            c->script.lose_receipt = false;
            weft_rt_call_cancel(call, WEFT_RT_UNAVAILABLE, "the power went out");
        } else {
            reply(call, WEFT_MSG_SUBMIT_REPLY, &answer);
        }
    }
    unlock(c);
}

/* ---- life ----------------------------------------------------------------------------------- */

static weft_rt_code authorize(void *ctx, const char *path, const weft_rt_peer *peer, char *text)
{
    coordinator *c = ctx;
    lock(c);
    const bool revoked = c->script.revoked;
    unlock(c);
    const bool anonymous = strstr(path, "/Enroll") || strstr(path, "/Renew");
    if (!anonymous && strcmp(peer->identity, "weft://test/client/alice") != 0) {
        (void)snprintf(text, WEFT_ERR_MSG_BYTES, "who is that?");
        return WEFT_RT_UNAUTHENTICATED;
    }
    if (revoked && !strstr(path, "/Enroll")) {
        (void)snprintf(text, WEFT_ERR_MSG_BYTES, "alice is revoked");
        return WEFT_RT_PERMISSION_DENIED;
    }
    return WEFT_RT_OK;
}

static void listen_at(coordinator *c, const char *address)
{
    const weft_rt_method methods[8] = {
        {weft_method_get(WEFT_METHOD_ENROLL)->path, WEFT_RT_UNARY, true, 0, 0, c, on_enroll, NULL,
         NULL, NULL},
        {weft_method_get(WEFT_METHOD_RENEW)->path, WEFT_RT_UNARY, true, 0, 0, c, on_renew, NULL,
         NULL, NULL},
        {weft_method_get(WEFT_METHOD_CHECK_IN)->path, WEFT_RT_UNARY, false, 0, 0, c, on_check_in,
         NULL, NULL, NULL},
        {weft_method_get(WEFT_METHOD_FETCH_MODEL)->path, WEFT_RT_SERVER_STREAM, false, 0, 0, c,
         on_fetch, NULL, on_fetch_writable, NULL},
        {weft_method_get(WEFT_METHOD_SUBMIT_UPDATE)->path, WEFT_RT_CLIENT_STREAM, false, 0, 0, c,
         on_part, on_half_close, NULL, NULL},
        {weft_method_get(WEFT_METHOD_PROGRESS)->path, WEFT_RT_UNARY, false, 0, 0, c, on_progress,
         NULL, NULL, NULL},
        {weft_method_get(WEFT_METHOD_ABANDON)->path, WEFT_RT_UNARY, false, 0, 0, c, on_abandon,
         NULL, NULL, NULL},
        {weft_method_get(WEFT_METHOD_SECURE_STEP)->path, WEFT_RT_UNARY, false, 0, 0, c, on_step,
         NULL, NULL, NULL},
    };
    memcpy(c->methods, methods, sizeof methods);
    const weft_rt_tls tls = pki_server_tls(&c->keys);
    weft_rt_server_options o = WEFT_RT_SERVER_OPTIONS_INIT;
    o.address = address;
    o.tls = &tls;
    o.methods = c->methods;
    o.n_methods = 8;
    o.authorize = authorize;
    o.authorize_ctx = c;
    o.n_pollers = 1;
    assert_ok(weft_rt_server_new(&c->server, &o, &assert_err));
    (void)snprintf(c->address, sizeof c->address, "127.0.0.1:%u", weft_rt_server_port(c->server));
}

void coordinator_start(coordinator *c, uint64_t n_params)
{
    memset(c, 0, sizeof *c);
    pki_make(&c->keys);
    assert_ok(weft_sign_key_generate(&c->operator_key, &weft_entropy_system, &assert_err));
    assert_ok(weft_sign_key_generate(&c->receipt_key, &weft_entropy_system, &assert_err));
    assert_ok(weft_sign_key_generate(&c->invitation_key, &weft_entropy_system, &assert_err));
    memset(c->token, 5, sizeof c->token);
    c->script = (script){.task = WEFT_TASK_TRAIN,
                         .cohort = 8,
                         .lease_ms = 60000,
                         .job = "sums",
                         .certificate_ms = DAY_MS};
    c->n_params = n_params;
    c->base = weft_array(&weft_alloc_std, n_params, sizeof *c->base);
    c->held_bytes = n_params * 4 + 256; /* words behind the parameters of a masked vector */
    c->held = weft_array(&weft_alloc_std, c->held_bytes, 1);
    for (uint64_t i = 0; i < n_params; i++) {
        c->base[i] = (float)(i % 1000) / 8.0F;
    }
    assert_ok(weft_sha256(c->base_digest, c->base, n_params * 4, &assert_err));
    assert_ok(weft_rt_blob_copy(&c->blob, &weft_alloc_std, c->base, n_params * 4, &assert_err));
    assert_int_equal(pthread_mutex_init(&c->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&c->changed, NULL), 0);
    listen_at(c, "127.0.0.1:0");
}

void coordinator_down(coordinator *c)
{
    weft_rt_server_drain(c->server, 0);
    weft_rt_server_free(c->server);
    c->server = NULL;
    weft_rt_call_unref(c->holding);
    c->holding = NULL;
}

void coordinator_again(coordinator *c)
{
    char address[64];
    memcpy(address, c->address, sizeof address);
    listen_at(c, address);
}

void coordinator_stop(coordinator *c)
{
    if (c->server) {
        coordinator_down(c);
    }
    coordinator_secure_done(c);
    weft_rt_blob_unref(c->blob);
    weft_free(&weft_alloc_std, c->base);
    weft_free(&weft_alloc_std, c->held);
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->lock);
}

void coordinator_join_file(coordinator *c, const char *dir, char *path)
{
    weft_invitation invitation;
    weft_buf encoded;
    weft_buf text;
    weft_buf_init(&encoded, &weft_alloc_std, 4096);
    weft_buf_init(&text, &weft_alloc_std, WEFT_MAX_JOIN_BYTES);
    assert_ok(weft_invitation_make(&invitation, &c->operator_key, "test", "alice",
                                   unix_now() + DAY_MS, c->invitation_key.public_key, &assert_err));
    assert_ok(weft_invitation_encode(&encoded, &invitation, &assert_err));
    const weft_msg_join_file join = {
        .address = c->address,
        .federation = "test",
        .client = "alice",
        .transport_ca_pem = {(const uint8_t *)c->keys.ca, strlen(c->keys.ca)},
        .token = {c->token, 32},
        .operator_public_key = {c->operator_key.public_key, 32},
        .invitation_private_key = {c->invitation_key.seed, 32},
        .invitation = weft_buf_view(&encoded),
        .receipt_public_key = {c->receipt_key.public_key, 32}};
    assert_ok(weft_join_write(&text, &join, &assert_err));
    assert_ok(weft_path_join(path, 4096, dir, "alice.join", &assert_err));
    assert_ok(weft_file_write(path, text.data, text.size, 0600, &assert_err));
    weft_buf_done(&encoded);
    weft_buf_done(&text);
}

void coordinator_release(coordinator *c)
{
    lock(c);
    c->script.hold = false;
    const weft_msg_check_in_reply answer = {.nothing_more = true};
    if (c->holding) {
        reply(c->holding, WEFT_MSG_CHECK_IN_REPLY, &answer);
        weft_rt_call_unref(c->holding);
        c->holding = NULL;
    }
    unlock(c);
}

void coordinator_wait_held(coordinator *c)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    (void)pthread_mutex_lock(&c->lock);
    while (!c->holding) {
        if (pthread_cond_timedwait(&c->changed, &c->lock, &until) != 0) {
            fail_msg("no check-in came");
        }
    }
    (void)pthread_mutex_unlock(&c->lock);
}

seen coordinator_seen(coordinator *c)
{
    lock(c);
    const seen copy = c->seen;
    unlock(c);
    return copy;
}

void coordinator_tell(coordinator *c, const script *s)
{
    lock(c);
    c->script = *s;
    unlock(c);
}

script coordinator_script(coordinator *c)
{
    lock(c);
    const script copy = c->script;
    unlock(c);
    return copy;
}
