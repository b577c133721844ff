/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns one served call: what is outstanding in gRPC, what the handler is to be told, in order and
 * one at a time. Tags come on poller threads; answers come from any thread.
 *
 * Rules that keep it alive: each batch holds a reference until its tag is back; nothing is started
 * after RECV_CLOSE came back; the handler hears of the end when RECV_CLOSE is back and nothing is
 * outstanding, and only then is gRPC's call given up. So no batch can start after the server's
 * completion queues were shut down (which would abort the process).
 */
#include "rt/server_priv.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <string.h>

static void on_close(weft_rt_tag *tag, bool ok);
static void on_recv(weft_rt_tag *tag, bool ok);
static void on_sent(weft_rt_tag *tag, bool ok);
static void on_status(weft_rt_tag *tag, bool ok);

weft_rt_call *weft_rt_call_new(weft_rt_server *server, const weft_rt_method *method,
                               grpc_call *grpc)
{
    weft_rt_call *call = weft_array(server->alloc, 1, sizeof *call);
    if (!call) {
        return NULL;
    }
    call->alloc = server->alloc;
    atomic_init(&call->refs, 1);
    atomic_init(&call->due_ms, 0);
    weft_rt_lock_init(&call->lock);
    call->server = server;
    call->method = method;
    call->idle_ms = method->idle_ms ? method->idle_ms : server->options.idle_ms;
    call->grpc = grpc;
    call->want_read = true;
    call->close_tag.done = on_close;
    call->recv_tag.done = on_recv;
    call->send_tag.done = on_sent;
    call->status_tag.done = on_status;
    return call;
}

weft_rt_call *weft_rt_call_ref(weft_rt_call *call)
{
    atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
    return call;
}

void weft_rt_call_unref(weft_rt_call *call)
{
    if (call && atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) == 1) {
        weft_rt_lock_done(&call->lock);
        weft_free(call->alloc, call);
    }
}

/* ---- batches; all with the lock held --------------------------------------------------------- */

/* The peer has idle_ms from now for whatever we wait for. */
static void touch_locked(weft_rt_call *call) WEFT_REQUIRES(&call->lock)
{
    const bool waits = call->recv_busy || call->send_busy || call->status_busy;
    atomic_store_explicit(&call->due_ms, waits ? weft_rt_now_ms() + call->idle_ms : 0,
                          memory_order_relaxed);
}

static bool start_locked(weft_rt_call *call, const grpc_op *ops, size_t n_ops, weft_rt_tag *tag)
    WEFT_REQUIRES(&call->lock)
{
    weft_rt_call_ref(call);
    call->outstanding++;
    if (weft_rt_batch(call->grpc, ops, n_ops, tag)) {
        return true;
    }
    call->outstanding--;
    weft_rt_call_unref(call); /* not the last: the caller has one */
    return false;
}

static void cancel_locked(weft_rt_call *call, weft_rt_code code, const char *text)
    WEFT_REQUIRES(&call->lock)
{
    if (call->grpc) {
        /* fails only for a call that is over */
        (void)grpc_call_cancel_with_status(call->grpc, (grpc_status_code)code, text, NULL);
    }
}

static void read_ahead_locked(weft_rt_call *call) WEFT_REQUIRES(&call->lock)
{
    if (call->recv_busy || call->recv_ended || call->message || !call->want_read ||
        call->close_seen || call->status_started) {
        return;
    }
    grpc_op op = {0};
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &call->received;
    call->recv_busy = true;
    touch_locked(call);
    if (!start_locked(call, &op, 1, &call->recv_tag)) {
        call->recv_busy = false;
        cancel_locked(call, WEFT_RT_INTERNAL, "the request cannot be read");
    }
}

static void read_locked(weft_rt_call *call) WEFT_REQUIRES(&call->lock)
{
    if (!call->in_message) {
        read_ahead_locked(call);
    }
}

/* Whether something may still be sent. */
static weft_status sendable_locked(const weft_rt_call *call) WEFT_REQUIRES(&call->lock)
{
    if (!call->grpc || call->close_seen) {
        return WEFT_E_CANCELED;
    }
    return call->status_started ? WEFT_E_STATE : WEFT_OK;
}

/* The last batch: [metadata] [message] status. bytes may be NULL and stay the caller's. */
static weft_status end_locked(weft_rt_call *call, grpc_byte_buffer *bytes, weft_rt_code code,
                              const char *text) WEFT_REQUIRES(&call->lock)
{
    WEFT_TRY(sendable_locked(call));
    grpc_op ops[3] = {0};
    size_t n = 0;
    if (!call->metadata_sent) {
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    }
    if (bytes) {
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n].flags = GRPC_WRITE_NO_COMPRESS;
        ops[n++].data.send_message.send_message = bytes;
    }
    grpc_slice details = grpc_slice_from_copied_string(text ? text : "");
    ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[n].data.send_status_from_server.status = (grpc_status_code)code;
    ops[n++].data.send_status_from_server.status_details = &details;
    call->metadata_sent = true;
    call->status_started = true;
    call->status_busy = true;
    touch_locked(call);
    const bool started = start_locked(call, ops, n, &call->status_tag);
    grpc_slice_unref(details);
    if (!started) {
        call->status_busy = false;
        cancel_locked(call, WEFT_RT_INTERNAL, "the answer cannot be sent");
        return WEFT_E_INTERNAL;
    }
    return WEFT_OK;
}

/* ---- telling the handler --------------------------------------------------------------------- */

static void tell_message(weft_rt_call *call) WEFT_REQUIRES(&call->lock)
{
    weft_rt_message *message = call->message;
    call->message = NULL;
    call->in_message = true;
    call->recv_ended = call->recv_ended || call->method->kind != WEFT_RT_CLIENT_STREAM;
    weft_rt_lock_give(&call->lock);
    if (!call->silent) {
        call->method->on_message(call->method->ctx, call, message);
    }
    weft_rt_message_unref(message);
    weft_rt_lock_take(&call->lock);
    call->in_message = false;
    read_locked(call);
}

static void tell(weft_rt_call *call, bool *flag, void (*callback)(void *ctx, weft_rt_call *call))
    WEFT_REQUIRES(&call->lock)
{
    *flag = false;
    if (callback && !call->silent) {
        weft_rt_lock_give(&call->lock);
        callback(call->method->ctx, call);
        weft_rt_lock_take(&call->lock);
    }
}

/* The end; the lock is given up for good. */
static void tell_closed(weft_rt_call *call) WEFT_RELEASE(&call->lock)
{
    grpc_call *grpc = call->grpc;
    call->grpc = NULL;
    const bool cancelled = call->close_cancelled || !call->status_started;
    weft_rt_lock_give(&call->lock);
    if (call->method->on_closed && !call->silent) {
        call->method->on_closed(call->method->ctx, call, cancelled);
    }
    grpc_call_unref(grpc);
    weft_rt_server_leave(call->server, call);
    weft_rt_call_unref(call); /* the reference of the live call; the tag's is still held */
}

/* After each tag, with the lock held, which is given up: whoever comes first tells everything,
 * others leave their news to it. */
static void settle(weft_rt_call *call) WEFT_RELEASE(&call->lock)
{
    if (call->telling) {
        weft_rt_lock_give(&call->lock);
        return;
    }
    call->telling = true;
    for (;;) {
        if (call->message) {
            tell_message(call);
        } else if (call->tell_half_close) {
            tell(call, &call->tell_half_close, call->method->on_half_close);
        } else if (call->tell_writable) {
            tell(call, &call->tell_writable, call->method->on_writable);
        } else if (call->close_seen && call->outstanding == 0) {
            tell_closed(call); /* telling stays set: nothing can come any more */
            return;
        } else {
            break;
        }
    }
    call->telling = false;
    weft_rt_lock_give(&call->lock);
}

/* ---- tags ------------------------------------------------------------------------------------ */

static void on_close(weft_rt_tag *tag, bool ok)
{
    (void)ok; /* says nothing about this operation */
    weft_rt_call *call = WEFT_RT_OWNER(tag, weft_rt_call, close_tag);
    weft_rt_lock_take(&call->lock);
    call->outstanding--;
    call->close_seen = true;
    settle(call);
    weft_rt_call_unref(call);
}

/* What a finished read means. NULL bytes are the caller's half-close, or a failure. */
static void take_received_locked(weft_rt_call *call, grpc_byte_buffer *bytes, bool ok)
    WEFT_REQUIRES(&call->lock)
{
    if (bytes && ok) {
        call->message = weft_rt_message_new(call->alloc, bytes);
        if (!call->message) {
            call->recv_ended = true;
            cancel_locked(call, WEFT_RT_RESOURCE_EXHAUSTED, "the server is out of memory");
        }
        return;
    }
    call->recv_ended = true;
    if (bytes) {
        grpc_byte_buffer_destroy(bytes); /* of a call that failed meanwhile */
    } else if (ok && !grpc_call_failed_before_recv_message(call->grpc)) {
        if (call->method->kind == WEFT_RT_CLIENT_STREAM) {
            call->tell_half_close = true;
        } else {
            /* over already is fine */
            (void)end_locked(call, NULL, WEFT_RT_INVALID_ARGUMENT, "the request is missing");
        }
    }
}

static void on_recv(weft_rt_tag *tag, bool ok)
{
    weft_rt_call *call = WEFT_RT_OWNER(tag, weft_rt_call, recv_tag);
    weft_rt_lock_take(&call->lock);
    grpc_byte_buffer *bytes = call->received;
    call->received = NULL;
    call->outstanding--;
    call->recv_busy = false;
    touch_locked(call);
    take_received_locked(call, bytes, ok);
    settle(call);
    weft_rt_call_unref(call);
}

static void on_sent(weft_rt_tag *tag, bool ok)
{
    weft_rt_call *call = WEFT_RT_OWNER(tag, weft_rt_call, send_tag);
    weft_rt_lock_take(&call->lock);
    call->outstanding--;
    call->send_busy = false;
    call->tell_writable = ok && !call->status_started;
    touch_locked(call);
    settle(call);
    weft_rt_call_unref(call);
}

static void on_status(weft_rt_tag *tag, bool ok)
{
    (void)ok; /* RECV_CLOSE tells whether the caller got it */
    weft_rt_call *call = WEFT_RT_OWNER(tag, weft_rt_call, status_tag);
    weft_rt_lock_take(&call->lock);
    call->outstanding--;
    call->status_busy = false;
    touch_locked(call);
    settle(call);
    weft_rt_call_unref(call);
}

void weft_rt_call_begin(weft_rt_call *call, weft_rt_code code, const char *text)
{
    grpc_op op = {0};
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &call->close_cancelled;
    weft_rt_call_ref(call);
    weft_rt_lock_take(&call->lock);
    if (!start_locked(call, &op, 1, &call->close_tag)) {
        /* a defect of ours, and nothing is outstanding: give the call up here */
        call->silent = true;
        cancel_locked(call, WEFT_RT_INTERNAL, "the call cannot be served");
        tell_closed(call);
    } else {
        if (call->silent) {
            (void)end_locked(call, NULL, code, text); /* over already is fine */
        } else {
            read_locked(call);
        }
        weft_rt_lock_give(&call->lock);
    }
    weft_rt_call_unref(call);
}

/* ---- the handler's side ---------------------------------------------------------------------- */

const weft_rt_peer *weft_rt_call_peer(const weft_rt_call *call)
{
    return &call->peer;
}

const char *weft_rt_call_path(const weft_rt_call *call)
{
    return call->method->path;
}

void weft_rt_call_set_state(weft_rt_call *call, void *state)
{
    call->state = state;
}

void *weft_rt_call_state(const weft_rt_call *call)
{
    return call->state;
}

weft_status weft_rt_call_reply(weft_rt_call *call, const void *data, size_t size)
{
    weft_rt_lock_take(&call->lock);
    weft_status status = sendable_locked(call);
    if (status == WEFT_OK && call->method->kind == WEFT_RT_SERVER_STREAM) {
        status = WEFT_E_STATE;
    }
    if (status == WEFT_OK) {
        grpc_byte_buffer *bytes = weft_rt_bytes(data, size, NULL, 0, 0);
        status = end_locked(call, bytes, WEFT_RT_OK, NULL);
        grpc_byte_buffer_destroy(bytes);
    }
    weft_rt_lock_give(&call->lock);
    return status;
}

weft_status weft_rt_call_fail(weft_rt_call *call, weft_rt_code code, const char *text)
{
    weft_rt_lock_take(&call->lock);
    const weft_status status = end_locked(call, NULL, code, text);
    weft_rt_lock_give(&call->lock);
    return status;
}

weft_status weft_rt_call_finish(weft_rt_call *call)
{
    weft_rt_lock_take(&call->lock);
    weft_status status = sendable_locked(call);
    if (status == WEFT_OK) {
        status = call->method->kind == WEFT_RT_SERVER_STREAM
                     ? end_locked(call, NULL, WEFT_RT_OK, NULL)
                     : WEFT_E_STATE;
    }
    weft_rt_lock_give(&call->lock);
    return status;
}

static weft_status send_locked(weft_rt_call *call, grpc_byte_buffer *bytes)
    WEFT_REQUIRES(&call->lock)
{
    grpc_op ops[2] = {0};
    size_t n = 0;
    if (!call->metadata_sent) {
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    }
    ops[n].op = GRPC_OP_SEND_MESSAGE;
    ops[n].flags = GRPC_WRITE_NO_COMPRESS;
    ops[n++].data.send_message.send_message = bytes;
    call->metadata_sent = true;
    call->send_busy = true;
    touch_locked(call);
    if (!start_locked(call, ops, n, &call->send_tag)) {
        call->send_busy = false;
        cancel_locked(call, WEFT_RT_INTERNAL, "the answer cannot be sent");
        return WEFT_E_INTERNAL;
    }
    return WEFT_OK;
}

weft_status weft_rt_call_send(weft_rt_call *call, const void *header, size_t header_size,
                              weft_rt_blob *blob, uint64_t offset, size_t length)
{
    if (!weft_rt_part_valid(blob, offset, length)) {
        return WEFT_E_INVALID;
    }
    weft_rt_lock_take(&call->lock);
    weft_status status = sendable_locked(call);
    if (status == WEFT_OK && (call->send_busy || call->method->kind != WEFT_RT_SERVER_STREAM)) {
        status = WEFT_E_STATE;
    }
    if (status == WEFT_OK) {
        grpc_byte_buffer *bytes = weft_rt_bytes(header, header_size, blob, offset, length);
        status = send_locked(call, bytes);
        grpc_byte_buffer_destroy(bytes);
    }
    weft_rt_lock_give(&call->lock);
    return status;
}

void weft_rt_call_read_ahead(weft_rt_call *call)
{
    weft_rt_lock_take(&call->lock);
    if (call->grpc) {
        read_ahead_locked(call);
    }
    weft_rt_lock_give(&call->lock);
}

void weft_rt_call_pause(weft_rt_call *call)
{
    weft_rt_lock_take(&call->lock);
    call->want_read = false;
    weft_rt_lock_give(&call->lock);
}

void weft_rt_call_resume(weft_rt_call *call)
{
    weft_rt_lock_take(&call->lock);
    call->want_read = true;
    if (call->grpc) {
        read_locked(call);
    }
    weft_rt_lock_give(&call->lock);
}

void weft_rt_call_cancel(weft_rt_call *call, weft_rt_code code, const char *text)
{
    weft_rt_lock_take(&call->lock);
    cancel_locked(call, code, text);
    weft_rt_lock_give(&call->lock);
}
