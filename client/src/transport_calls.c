/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The eight calls: request bytes out, replies and streams in. Callbacks run inside
 * weft_transport_step on the owner thread.
 */
#include "transport_priv.h"

#include "base/clock.h"
#include "base/version.h"
#include "convert.h"
#include "wire/methods.h"

#include <stdio.h>
#include <string.h>

static void touch(weft_transport *t)
{
    t->moved_ms = weft_clock_system.mono_ms(weft_clock_system.self);
}

/* The reply as the kind's struct, in the call's arena like what it points to; NULL: the call is
 * done. */
static const void *decode_reply(weft_transport_call *call, weft_msg_kind kind,
                                weft_rt_message *reply)
{
    weft_transport *t = call->owner;
    weft_view bytes = {NULL, 0};
    weft_err err = WEFT_ERR_INIT;
    weft_wire_arena_init(&call->arena, kind, t->alloc);
    void *msg = weft_arena_take(&call->arena, 1, weft_wire_struct_bytes(kind));
    if (!msg) {
        weft_transport_fail(call, WEFT_E_NOMEM, "no memory for the coordinator's answer");
        return NULL;
    }
    weft_status status = weft_rt_message_flat(reply, &call->scratch, &bytes, &err);
    if (status == WEFT_OK) {
        status = weft_wire_decode(msg, kind, bytes.data, bytes.size, &call->arena, &err);
    }
    if (status != WEFT_OK) {
        /* bytes that make no sense are a defect of the other side; the session tries again */
        weft_transport_fail(call, status == WEFT_E_STATE ? status : WEFT_E_INTERNAL, err.msg);
        return NULL;
    }
    return msg;
}

/* True when the call ended well; else it is done with FAILED. */
static bool ended_well(weft_transport_call *call, weft_rt_code code, const char *text)
{
    if (call->local.code != WEFT_OK) {
        weft_transport_fail(call, call->local.code, call->local.msg);
        return false;
    }
    if (code == WEFT_RT_OK) {
        call->owner->answered_ms = weft_clock_system.mono_ms(weft_clock_system.self);
        return true;
    }
    char say[WEFT_SESSION_TEXT_BYTES];
    (void)snprintf(say, sizeof say, "%s: %.*s", weft_rt_code_name(code), (int)sizeof say - 32,
                   text && text[0] ? text : "no details");
    weft_transport_fail(call, weft_rt_code_status(code), say);
    return false;
}

/* ---- receipts ------------------------------------------------------------------------------- */

static bool take_receipt(weft_transport_call *call, const weft_msg_receipt *msg)
{
    const weft_transport *t = call->owner;
    weft_err err = WEFT_ERR_INIT;
    if (weft_convert_receipt(&call->receipt, msg, &err) != WEFT_OK ||
        weft_convert_receipt_verify(&call->receipt, t->name, t->receipt_key, &err) != WEFT_OK) {
        /* not a matter of who we are: FORMAT, so that it is asked again and given up in the end */
        weft_transport_fail(call, WEFT_E_FORMAT, err.msg);
        return false;
    }
    return true;
}

/* ---- unary calls ---------------------------------------------------------------------------- */

static void start_unary(weft_transport_call *call, weft_rt_channel *channel, weft_method method,
                        weft_msg_kind kind, const void *msg, uint32_t deadline_ms,
                        void (*on_done)(void *, weft_rt_rpc *, weft_rt_code, const char *,
                                        weft_rt_message *))
{
    weft_err err = WEFT_ERR_INIT;
    if (weft_wire_encode(&call->scratch, kind, msg, &err) != WEFT_OK) {
        weft_transport_fail(call, err.code, err.msg);
        return;
    }
    weft_rt_rpc_options o = WEFT_RT_RPC_OPTIONS_INIT;
    o.path = weft_method_get(method)->path;
    o.kind = WEFT_RT_RPC_UNARY;
    o.request = weft_buf_view(&call->scratch);
    o.deadline_ms = deadline_ms;
    o.arg = call;
    o.on_done = on_done;
    weft_transport_start(call, channel, &o);
}

static void check_in_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                          weft_rt_message *reply)
{
    (void)rpc;
    weft_transport_call *call = arg;
    const weft_msg_check_in_reply *msg =
        ended_well(call, code, text) ? decode_reply(call, WEFT_MSG_CHECK_IN_REPLY, reply) : NULL;
    if (!msg) {
        return;
    }
    weft_session_event *e = &call->event;
    if (msg->assignment) {
        weft_err err = WEFT_ERR_INIT;
        if (weft_convert_assignment(&call->assignment, msg->assignment, &err) != WEFT_OK) {
            weft_transport_fail(call, WEFT_E_INTERNAL, err.msg);
            return;
        }
        e->u.checked_in.answer = WEFT_SESSION_ASSIGNMENT;
        e->u.checked_in.assignment = &call->assignment;
    } else if (msg->nothing_more) {
        e->u.checked_in.answer = WEFT_SESSION_NOTHING_MORE;
    } else {
        e->u.checked_in.answer = WEFT_SESSION_COME_BACK;
        e->u.checked_in.come_back_ms = msg->come_back_ms;
    }
    weft_transport_done(call, WEFT_SESSION_CHECKED_IN);
}

void weft_transport_check_in(weft_transport *t, const weft_msg_dataset *datasets, size_t n_datasets,
                             uint64_t hold_ms)
{
    const weft_msg_check_in_request msg = {.datasets = datasets,
                                           .n_datasets = n_datasets,
                                           .software = "libweft " WEFT_VERSION,
                                           .hold_ms = hold_ms};
    weft_transport_begin(t, &t->main, WEFT_SESSION_CHECK_IN);
    start_unary(&t->main, t->channel, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &msg,
                (uint32_t)hold_ms + WEFT_TRANSPORT_CALL_MS, check_in_done);
}

/* While the coordinator loads a large version or stores a large update, no byte moves: that it
 * answers is the sign of life then. */
static void touch_waiting(weft_transport *t)
{
    const weft_session_action_kind kind = t->main.kind;
    if ((kind == WEFT_SESSION_UPLOAD && t->header_sent && t->sent == t->total) ||
        (kind == WEFT_SESSION_FETCH && t->sent == t->start)) {
        touch(t);
    }
}

static void progress_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                          weft_rt_message *reply)
{
    (void)rpc;
    weft_transport_call *call = arg;
    const weft_msg_progress_reply *msg =
        ended_well(call, code, text) ? decode_reply(call, WEFT_MSG_PROGRESS_REPLY, reply) : NULL;
    if (!msg) {
        return;
    }
    if (msg->receipt && !take_receipt(call, msg->receipt)) {
        return;
    }
    weft_convert_refusal(call->text, msg->reason, "the coordinator says stop");
    weft_session_event *e = &call->event;
    e->u.progressed.stop = msg->stop;
    e->u.progressed.reason = call->text;
    e->u.progressed.held_bytes = msg->held_bytes;
    e->u.progressed.receipt = msg->receipt ? &call->receipt : NULL;
    touch_waiting(call->owner);
    weft_transport_done(call, WEFT_SESSION_PROGRESSED);
}

void weft_transport_progress(weft_transport *t, uint64_t assignment_id, const char *phase)
{
    const weft_msg_progress_request msg = {
        .assignment_id = assignment_id, .phase = phase, .done = t->sent, .total = t->total};
    weft_transport_call *call = &t->lease;
    weft_transport_begin(t, call, WEFT_SESSION_PROGRESS);
    start_unary(call, t->channel, WEFT_METHOD_PROGRESS, WEFT_MSG_PROGRESS_REQUEST, &msg,
                WEFT_TRANSPORT_CALL_MS, progress_done);
}

static void step_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                      weft_rt_message *reply)
{
    (void)rpc;
    weft_transport_call *call = arg;
    const weft_msg_secure_step_reply *msg =
        ended_well(call, code, text) ? decode_reply(call, WEFT_MSG_SECURE_STEP_REPLY, reply) : NULL;
    if (!msg) {
        return;
    }
    weft_session_event *e = &call->event;
    e->u.stepped.state = (weft_session_step)msg->state;
    e->u.stepped.type = msg->type;
    e->u.stepped.offset = msg->offset;
    e->u.stepped.total_bytes = msg->total_bytes;
    e->u.stepped.piece = msg->message;
    e->u.stepped.reason = msg->reason;
    (void)snprintf(call->text, sizeof call->text, "%s", msg->detail ? msg->detail : ""); /* cut */
    e->u.stepped.detail = call->text;
    weft_transport_done(call, WEFT_SESSION_STEPPED);
}

void weft_transport_secure_step(weft_transport *t, const weft_session_action *step)
{
    const weft_msg_secure_step_request msg = {.assignment_id =
                                                  step->u.step.assignment->assignment_id,
                                              .ctx = {step->u.step.ctx, WEFT_SECAGG_DIGEST_BYTES},
                                              .message = step->u.step.message,
                                              .taken = step->u.step.taken,
                                              .offset = step->u.step.offset,
                                              .hold_ms = step->u.step.hold_ms};
    weft_transport_begin(t, &t->main, WEFT_SESSION_STEP);
    start_unary(&t->main, t->channel, WEFT_METHOD_SECURE_STEP, WEFT_MSG_SECURE_STEP_REQUEST, &msg,
                (uint32_t)step->u.step.hold_ms + WEFT_TRANSPORT_CALL_MS, step_done);
}

static void abandon_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                         weft_rt_message *reply)
{
    (void)rpc;
    (void)reply; /* it is empty */
    weft_transport_call *call = arg;
    if (ended_well(call, code, text)) {
        weft_transport_done(call, WEFT_SESSION_ABANDONED);
    }
}

void weft_transport_abandon(weft_transport *t, uint64_t assignment_id, const char *reason)
{
    const weft_msg_abandon_request msg = {.assignment_id = assignment_id, .reason = reason};
    weft_transport_begin(t, &t->main, WEFT_SESSION_ABANDON);
    start_unary(&t->main, t->channel, WEFT_METHOD_ABANDON, WEFT_MSG_ABANDON_REQUEST, &msg,
                WEFT_TRANSPORT_CALL_MS, abandon_done);
}

static void renew_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                       weft_rt_message *reply)
{
    (void)rpc;
    weft_transport_call *call = arg;
    weft_transport *t = call->owner;
    const weft_msg_renew_reply *msg =
        ended_well(call, code, text) ? decode_reply(call, WEFT_MSG_RENEW_REPLY, reply) : NULL;
    if (!msg) {
        return;
    }
    weft_err err = WEFT_ERR_INIT;
    weft_buf_clear(&t->certificate_pem);
    if (weft_buf_add(&t->certificate_pem, msg->certificate_pem.data, msg->certificate_pem.size,
                     &err) != WEFT_OK) {
        weft_transport_fail(call, WEFT_E_INTERNAL, err.msg);
        return;
    }
    weft_transport_done(call, WEFT_SESSION_RENEWED);
}

void weft_transport_renew(weft_transport *t, const char *client, weft_view csr,
                          const uint8_t signature[64], bool anonymous)
{
    const weft_msg_renew_request msg = {
        .client = client, .csr_der = csr, .signature = {signature, 64}};
    weft_transport_begin(t, &t->main, WEFT_SESSION_RENEW);
    weft_rt_channel *channel = t->channel;
    if (anonymous) {
        weft_err err = WEFT_ERR_INIT;
        const weft_rt_tls tls = {weft_buf_text(&t->ca_pem), NULL, NULL};
        weft_rt_channel_free(t->bare);
        t->bare = NULL;
        if (weft_transport_channel(&t->bare, t->address, &tls, t->http_proxy, t->backoff_max_ms,
                                   t->alloc, &err) != WEFT_OK) {
            weft_transport_fail(&t->main, err.code, err.msg);
            return;
        }
        channel = t->bare;
    }
    start_unary(&t->main, channel, WEFT_METHOD_RENEW, WEFT_MSG_RENEW_REQUEST, &msg,
                WEFT_TRANSPORT_CALL_MS, renew_done);
}

/* ---- fetch ---------------------------------------------------------------------------------- */

static weft_status take_chunk(weft_transport *t, const weft_rt_message *message, weft_err *err)
{
    const size_t n = weft_rt_message_pieces(message);
    weft_view *const pieces = weft_array(t->alloc, 2 * n + 1, sizeof *pieces);
    if (!pieces) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a chunk of %zu pieces", n);
    }
    for (size_t i = 0; i < n; i++) {
        pieces[i] = weft_rt_message_piece(message, i);
    }
    weft_chunk chunk;
    size_t at = 0;
    weft_status status =
        weft_chunk_parse(&chunk, &at, pieces, n, 0, weft_rt_message_size(message), err);
    if (status == WEFT_OK) {
        status = weft_chunk_stream_take(&t->stream, &chunk, err);
    }
    if (status == WEFT_OK) {
        const size_t m = weft_pieces_range(pieces + n, pieces, n, at, chunk.data_bytes);
        status = weft_base_add(t->base, pieces + n, m, err);
    }
    weft_free(t->alloc, pieces);
    return status;
}

static void fetch_message(void *arg, weft_rt_rpc *rpc, weft_rt_message *message)
{
    weft_transport_call *call = arg;
    weft_transport *t = call->owner;
    touch(t);
    if (call->local.code != WEFT_OK) {
        return; /* cancelled, on its way out */
    }
    weft_rt_rpc_next(rpc); /* it comes while this one is hashed */
    const weft_status status = take_chunk(t, message, &call->local);
    if (status != WEFT_OK) {
        if (status == WEFT_E_LIMIT) { /* of the peer's bytes: not a matter of waiting */
            call->local.code = WEFT_E_FORMAT;
        }
        weft_rt_rpc_cancel(rpc);
        return;
    }
    t->sent = weft_base_have(t->base);
}

static void fetch_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                       weft_rt_message *reply)
{
    (void)rpc;
    (void)reply; /* a stream has none */
    weft_transport_call *call = arg;
    weft_transport *t = call->owner;
    if (!ended_well(call, code, text)) {
        return;
    }
    weft_err err = WEFT_ERR_INIT;
    if (t->sent < t->total) { /* the coordinator is going down: the rest another time */
        weft_transport_fail(call, WEFT_E_AGAIN, "the base version came in part only");
        return;
    }
    if (weft_base_finish(t->base, &err) != WEFT_OK) {
        weft_transport_fail(call, err.code, err.msg);
        return;
    }
    weft_transport_done(call, WEFT_SESSION_FETCHED);
}

void weft_transport_fetch(weft_transport *t, weft_base *base)
{
    weft_transport_call *call = &t->main;
    weft_transport_begin(t, call, WEFT_SESSION_FETCH);
    t->base = base;
    t->start = weft_base_have(base);
    t->sent = t->start;
    t->total = weft_base_size(base);
    if (weft_base_complete(base)) { /* in the folder from an earlier round */
        weft_transport_done(call, WEFT_SESSION_FETCHED);
        return;
    }
    weft_chunk_stream_init(&t->stream, t->sent, t->total);
    weft_chunk_stream_expect(&t->stream, t->total);
    const weft_msg_fetch_model_request msg = {.digest = {weft_base_digest(base), WEFT_DIGEST_BYTES},
                                              .offset = t->sent};
    weft_err err = WEFT_ERR_INIT;
    if (weft_msg_fetch_model_request_encode(&call->scratch, &msg, &err) != WEFT_OK) {
        weft_transport_fail(call, err.code, err.msg);
        return;
    }
    weft_rt_rpc_options o = WEFT_RT_RPC_OPTIONS_INIT;
    o.path = weft_method_get(WEFT_METHOD_FETCH_MODEL)->path;
    o.kind = WEFT_RT_RPC_FETCH;
    o.request = weft_buf_view(&call->scratch);
    o.arg = call;
    o.on_message = fetch_message;
    o.on_done = fetch_done;
    weft_transport_start(call, t->channel, &o);
}

/* ---- upload --------------------------------------------------------------------------------- */

/* The header part went with the call's start; chunk after chunk from the mapped file. */
static weft_status send_next(weft_transport *t, weft_rt_rpc *rpc)
{
    t->header_sent = true;
    const uint64_t left = t->total - t->sent;
    if (left == 0) {
        weft_rt_rpc_end(rpc);
        return WEFT_OK;
    }
    const uint32_t most = weft_pace_next(&t->pace, t->moved_ms);
    weft_chunk chunk = {.offset = t->sent,
                        .total_bytes = t->total,
                        .has_digest = t->sent == t->start,
                        .data_bytes = left < most ? (uint32_t)left : most};
    memcpy(chunk.digest, t->digest, sizeof chunk.digest);
    uint8_t head[WEFT_CHUNK_MAX_HEAD_BYTES];
    const size_t n = weft_chunk_write_head(head, &chunk, true);
    const weft_status status = weft_rt_rpc_send(rpc, head, n, t->blob, t->sent, chunk.data_bytes);
    if (status == WEFT_OK) {
        t->sent += chunk.data_bytes;
    }
    return status;
}

static void upload_writable(void *arg, weft_rt_rpc *rpc)
{
    weft_transport_call *call = arg;
    weft_transport *t = call->owner;
    touch(t);
    const weft_status status = send_next(t, rpc);
    if (status != WEFT_OK && status != WEFT_E_CANCELED) { /* CANCELED: on_done tells why */
        (void)!weft_err_set(&call->local, status, 0, __FILE__, __LINE__,
                            "cannot send byte %llu of an update", (unsigned long long)t->sent);
        weft_rt_rpc_cancel(rpc);
    }
}

static void upload_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                        weft_rt_message *reply)
{
    (void)rpc;
    weft_transport_call *call = arg;
    const weft_msg_submit_reply *msg =
        ended_well(call, code, text) ? decode_reply(call, WEFT_MSG_SUBMIT_REPLY, reply) : NULL;
    if (!msg) {
        return;
    }
    if (msg->receipt) {
        if (!take_receipt(call, msg->receipt)) {
            return;
        }
        call->event.u.submitted.receipt = &call->receipt;
    } else {
        weft_convert_refusal(call->text, msg->refusal, msg->detail);
        call->event.u.submitted.refusal = call->text;
    }
    weft_transport_done(call, WEFT_SESSION_SUBMITTED);
}

void weft_transport_upload(weft_transport *t, const weft_session_assignment *assignment,
                           const weft_session_update *update, uint64_t offset, const char *path)
{
    weft_transport_call *call = &t->main;
    weft_transport_begin(t, call, WEFT_SESSION_UPLOAD);
    weft_msg_update_header msg;
    weft_convert_update_msg(&msg, assignment, update, offset);
    if (assignment->secure_aggregation) { /* they are in the vector: nothing of one client leaves */
        msg.n_examples = 0;
        msg.metrics.n = 0;
    }
    t->start = offset;
    t->sent = offset;
    t->total = update->total_bytes;
    t->header_sent = false;
    t->pace = (weft_pace){0};
    memcpy(t->digest, update->digest, sizeof t->digest);
    weft_err err = WEFT_ERR_INIT;
    weft_status status = weft_update_part_encode(&call->scratch, &msg, &err);
    if (status == WEFT_OK && t->total > 0) {
        status = weft_rt_blob_map(&t->blob, t->alloc, path, &err);
    }
    if (status == WEFT_OK && t->total > 0 && weft_rt_blob_size(t->blob) != t->total) {
        status = weft_err_set(&err, WEFT_E_NOTFOUND, 0, __FILE__, __LINE__,
                              "the update's file has %llu bytes, not %llu",
                              (unsigned long long)weft_rt_blob_size(t->blob),
                              (unsigned long long)t->total);
    }
    if (status != WEFT_OK) {
        weft_transport_fail(call, status, err.msg);
        return;
    }
    weft_rt_rpc_options o = WEFT_RT_RPC_OPTIONS_INIT;
    o.path = weft_method_get(WEFT_METHOD_SUBMIT_UPDATE)->path;
    o.kind = WEFT_RT_RPC_UPLOAD;
    o.request = weft_buf_view(&call->scratch);
    o.arg = call;
    o.on_writable = upload_writable;
    o.on_done = upload_done;
    weft_transport_start(call, t->channel, &o);
}
