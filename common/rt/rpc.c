/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the calling side's calls. Everything happens on the loop's owner thread: tags are run by
 * step, so there are no locks. A call is over when its status and all its other tags are back; then
 * on_done is called, once, and gRPC's call is given up.
 */
#include "rt/channel_priv.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <string.h>

#define MAX_TEXT_BYTES WEFT_ERR_MSG_BYTES

/* ---- batches --------------------------------------------------------------------------------- */

static bool start(weft_rt_rpc *rpc, const grpc_op *ops, size_t n_ops, weft_rt_tag *tag)
{
    if (!weft_rt_batch(rpc->grpc, ops, n_ops, tag)) {
        return false;
    }
    rpc->outstanding++;
    return true;
}

static void cancel(weft_rt_rpc *rpc)
{
    if (rpc->grpc) {
        (void)grpc_call_cancel(rpc->grpc, NULL); /* fails only for a call that is over */
    }
}

static void read_next(weft_rt_rpc *rpc)
{
    if (rpc->recv_busy || rpc->recv_ended || rpc->over) {
        return;
    }
    grpc_op op = {0};
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &rpc->received;
    rpc->recv_busy = start(rpc, &op, 1, &rpc->recv_tag);
    if (!rpc->recv_busy) {
        cancel(rpc);
    }
}

static void send_end(weft_rt_rpc *rpc)
{
    grpc_op op = {0};
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    rpc->end_sent = true;
    if (!start(rpc, &op, 1, &rpc->end_tag)) {
        cancel(rpc);
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

static void release(weft_rt_rpc *rpc)
{
    weft_free(rpc->alloc, rpc);
}

static void copy_details(char out[static MAX_TEXT_BYTES], grpc_slice details)
{
    size_t n = GRPC_SLICE_LENGTH(details);
    n = n < MAX_TEXT_BYTES ? n : MAX_TEXT_BYTES - 1;
    memcpy(out, GRPC_SLICE_START_PTR(details), n);
    for (size_t i = 0; i < n; i++) {
        if (out[i] < 0x20 || out[i] > 0x7E) {
            out[i] = '?';
        }
    }
    out[n] = 0;
}

/* gRPC's part is over: give it up, then tell. */
static void finish(weft_rt_rpc *rpc)
{
    char text[MAX_TEXT_BYTES];
    copy_details(text, rpc->details);
    grpc_slice_unref(rpc->details);
    grpc_metadata_array_destroy(&rpc->head);
    grpc_metadata_array_destroy(&rpc->trailer);
    grpc_call_unref(rpc->grpc);
    rpc->grpc = NULL;
    rpc->over = true;
    weft_rt_loop_remove(rpc->loop, rpc);
    weft_rt_message *reply = rpc->reply;
    rpc->reply = NULL;
    weft_rt_code code = (weft_rt_code)rpc->status;
    const char *say = text;
    if (code == WEFT_RT_OK && !reply && rpc->kind != WEFT_RT_RPC_FETCH) {
        code = WEFT_RT_INTERNAL;
        say = "the server said OK without a reply";
    }
    if (!rpc->orphan) {
        rpc->calling = true;
        rpc->on_done(rpc->arg, rpc, code, say, code == WEFT_RT_OK ? reply : NULL);
        rpc->calling = false;
    }
    weft_rt_message_unref(reply);
    if (rpc->orphan) {
        release(rpc);
    }
}

/* After each tag. */
static void settle(weft_rt_rpc *rpc)
{
    if (rpc->status_seen && rpc->outstanding == 0) {
        finish(rpc);
    }
}

/* ---- tags ------------------------------------------------------------------------------------ */

static weft_rt_message *take_received(weft_rt_rpc *rpc)
{
    grpc_byte_buffer *bytes = rpc->received;
    rpc->received = NULL;
    if (!bytes) {
        return NULL;
    }
    weft_rt_message *message = weft_rt_message_new(rpc->alloc, bytes);
    if (!message) {
        /* sets the status that the caller will see */
        (void)grpc_call_cancel_with_status(rpc->grpc, GRPC_STATUS_RESOURCE_EXHAUSTED,
                                           "no memory for a message", NULL);
    }
    return message;
}

static void on_status(weft_rt_tag *tag, bool ok)
{
    (void)ok; /* says nothing about this operation */
    weft_rt_rpc *rpc = WEFT_RT_OWNER(tag, weft_rt_rpc, status_tag);
    rpc->outstanding--;
    rpc->status_seen = true;
    if (rpc->kind == WEFT_RT_RPC_UNARY) {
        rpc->reply = take_received(rpc);
    }
    settle(rpc);
}

static void tell_writable(weft_rt_rpc *rpc)
{
    if (rpc->kind == WEFT_RT_RPC_UPLOAD && !rpc->orphan && !rpc->status_seen && !rpc->end_wanted) {
        rpc->calling = true;
        rpc->on_writable(rpc->arg, rpc);
        rpc->calling = false;
    }
}

static void on_started(weft_rt_tag *tag, bool ok)
{
    weft_rt_rpc *rpc = WEFT_RT_OWNER(tag, weft_rt_rpc, start_tag);
    if (ok) {
        tell_writable(rpc);
    }
    rpc->outstanding--;
    settle(rpc);
}

/* Nothing to do but to count: the operation had to be asked for. */
static void on_head(weft_rt_tag *tag, bool ok)
{
    (void)ok;
    weft_rt_rpc *rpc = WEFT_RT_OWNER(tag, weft_rt_rpc, head_tag);
    rpc->outstanding--;
    settle(rpc);
}

static void on_end(weft_rt_tag *tag, bool ok)
{
    (void)ok; /* the status tells */
    weft_rt_rpc *rpc = WEFT_RT_OWNER(tag, weft_rt_rpc, end_tag);
    rpc->outstanding--;
    settle(rpc);
}

static void on_recv(weft_rt_tag *tag, bool ok)
{
    weft_rt_rpc *rpc = WEFT_RT_OWNER(tag, weft_rt_rpc, recv_tag);
    weft_rt_message *message = take_received(rpc);
    rpc->recv_busy = false;
    rpc->recv_ended = !ok || !message || rpc->kind != WEFT_RT_RPC_FETCH;
    if (rpc->kind != WEFT_RT_RPC_FETCH) {
        rpc->reply = message;
        message = NULL;
    }
    if (message && !rpc->orphan) {
        rpc->calling = true;
        rpc->on_message(rpc->arg, rpc, message);
        rpc->calling = false;
    }
    weft_rt_message_unref(message);
    rpc->outstanding--;
    settle(rpc);
}

static void on_sent(weft_rt_tag *tag, bool ok)
{
    weft_rt_rpc *rpc = WEFT_RT_OWNER(tag, weft_rt_rpc, send_tag);
    rpc->send_busy = false;
    if (ok && rpc->end_wanted && !rpc->end_sent && !rpc->status_seen) {
        send_end(rpc);
    } else if (ok) {
        tell_writable(rpc);
    }
    rpc->outstanding--;
    settle(rpc);
}

/* ---- starting -------------------------------------------------------------------------------- */

static void op_start(grpc_op *op, const weft_rt_rpc_options *o, grpc_metadata *metadata, size_t n)
{
    op->op = GRPC_OP_SEND_INITIAL_METADATA;
    op->flags = o->wait_for_ready ? GRPC_INITIAL_METADATA_WAIT_FOR_READY |
                                        GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET
                                  : 0;
    op->data.send_initial_metadata.count = n;
    op->data.send_initial_metadata.metadata = metadata;
}

static void op_status(grpc_op *op, weft_rt_rpc *rpc)
{
    op->op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op->data.recv_status_on_client.trailing_metadata = &rpc->trailer;
    op->data.recv_status_on_client.status = &rpc->status;
    op->data.recv_status_on_client.status_details = &rpc->details;
}

static void op_send(grpc_op *op, grpc_byte_buffer *bytes)
{
    op->op = GRPC_OP_SEND_MESSAGE;
    op->flags = GRPC_WRITE_NO_COMPRESS;
    op->data.send_message.send_message = bytes;
}

static bool start_unary(weft_rt_rpc *rpc, const grpc_op *first, grpc_byte_buffer *request)
{
    grpc_op ops[6] = {0};
    ops[0] = *first;
    op_send(&ops[1], request);
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &rpc->head;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &rpc->received;
    op_status(&ops[5], rpc);
    return start(rpc, ops, 6, &rpc->status_tag);
}

/* A batch's slot is its first operation's: status alone, head alone. */
static bool start_stream(weft_rt_rpc *rpc, const grpc_op *first, grpc_byte_buffer *request,
                         size_t request_size)
{
    grpc_op status = {0};
    op_status(&status, rpc);
    grpc_op head = {0};
    head.op = GRPC_OP_RECV_INITIAL_METADATA;
    head.data.recv_initial_metadata.recv_initial_metadata = &rpc->head;
    grpc_op ops[3] = {0};
    size_t n = 0;
    ops[n++] = *first;
    if (rpc->kind == WEFT_RT_RPC_FETCH) {
        op_send(&ops[n++], request);
        ops[n++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        rpc->end_sent = true;
    } else if (request_size > 0) {
        op_send(&ops[n++], request);
    }
    const bool started = start(rpc, &status, 1, &rpc->status_tag);
    if (!started) {
        return false;
    }
    /* from here on the status will come: a failure of the others only ends the call early */
    if (!start(rpc, &head, 1, &rpc->head_tag) || !start(rpc, ops, n, &rpc->start_tag)) {
        cancel(rpc);
    } else {
        read_next(rpc);
    }
    return true;
}

static weft_status check_options(const weft_rt_rpc_options *o, weft_err *err)
{
    const bool fetch = o && o->kind == WEFT_RT_RPC_FETCH;
    const bool upload = o && o->kind == WEFT_RT_RPC_UPLOAD;
    if (!o || o->size != sizeof *o || !o->path || o->path[0] != '/' || !o->on_done ||
        (fetch && !o->on_message) || (upload && !o->on_writable) ||
        (o->kind != WEFT_RT_RPC_UNARY && !fetch && !upload)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a call needs a path, a kind and the kind's callbacks");
    }
    return WEFT_OK;
}

static gpr_timespec deadline_after(uint32_t deadline_ms)
{
    if (deadline_ms == 0) {
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    }
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_millis((int64_t)deadline_ms, GPR_TIMESPAN));
}

static weft_rt_rpc *rpc_new(weft_rt_loop *loop, const weft_rt_rpc_options *o)
{
    weft_rt_rpc *rpc = weft_array(loop->alloc, 1, sizeof *rpc);
    if (!rpc) {
        return NULL;
    }
    rpc->alloc = loop->alloc;
    rpc->loop = loop;
    rpc->kind = o->kind;
    rpc->arg = o->arg;
    rpc->on_message = o->on_message;
    rpc->on_writable = o->on_writable;
    rpc->on_done = o->on_done;
    rpc->status_tag.done = on_status;
    rpc->start_tag.done = on_started;
    rpc->head_tag.done = on_head;
    rpc->recv_tag.done = on_recv;
    rpc->send_tag.done = on_sent;
    rpc->end_tag.done = on_end;
    grpc_metadata_array_init(&rpc->head);
    grpc_metadata_array_init(&rpc->trailer);
    rpc->details = grpc_empty_slice();
    return rpc;
}

weft_status weft_rt_rpc_start(weft_rt_rpc **ret, weft_rt_loop *loop, weft_rt_channel *channel,
                              const weft_rt_rpc_options *options, weft_err *err)
{
    WEFT_TRY(check_options(options, err));
    weft_rt_rpc *rpc = rpc_new(loop, options);
    if (!rpc) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a call");
    }
    grpc_slice path = grpc_slice_from_copied_string(options->path);
    rpc->grpc = grpc_channel_create_call(channel->grpc, NULL, GRPC_PROPAGATE_DEFAULTS, loop->cq,
                                         path, NULL, deadline_after(options->deadline_ms), NULL);
    grpc_slice_unref(path);
    grpc_metadata metadata[WEFT_RT_MAX_CALL_METADATA];
    const size_t n = weft_rt_channel_metadata(channel, metadata);
    grpc_op first = {0};
    op_start(&first, options, metadata, n);
    grpc_byte_buffer *request =
        weft_rt_bytes(options->request.data, options->request.size, NULL, 0, 0);
    const bool started = rpc->kind == WEFT_RT_RPC_UNARY
                             ? start_unary(rpc, &first, request)
                             : start_stream(rpc, &first, request, options->request.size);
    grpc_byte_buffer_destroy(request);
    for (size_t i = 0; i < n; i++) {
        grpc_slice_unref(metadata[i].value); /* the call has its own reference */
    }
    if (!started) {
        grpc_call_unref(rpc->grpc);
        release(rpc);
        WEFT_FAIL(err, WEFT_E_INTERNAL, "gRPC refuses to start %s", options->path);
    }
    weft_rt_loop_add(loop, rpc);
    *ret = rpc;
    return WEFT_OK;
}

/* ---- the owner's side ------------------------------------------------------------------------ */

void weft_rt_rpc_next(weft_rt_rpc *rpc)
{
    if (rpc->kind == WEFT_RT_RPC_FETCH) {
        read_next(rpc);
    }
}

weft_status weft_rt_rpc_send(weft_rt_rpc *rpc, const void *header, size_t header_size,
                             weft_rt_blob *blob, uint64_t offset, size_t length)
{
    if (!weft_rt_part_valid(blob, offset, length)) {
        return WEFT_E_INVALID;
    }
    if (rpc->over || rpc->status_seen) {
        return WEFT_E_CANCELED;
    }
    if (rpc->kind != WEFT_RT_RPC_UPLOAD || rpc->send_busy || rpc->end_wanted) {
        return WEFT_E_STATE;
    }
    grpc_byte_buffer *bytes = weft_rt_bytes(header, header_size, blob, offset, length);
    grpc_op op = {0};
    op_send(&op, bytes);
    rpc->send_busy = start(rpc, &op, 1, &rpc->send_tag);
    grpc_byte_buffer_destroy(bytes);
    if (!rpc->send_busy) {
        cancel(rpc);
        return WEFT_E_INTERNAL;
    }
    return WEFT_OK;
}

void weft_rt_rpc_end(weft_rt_rpc *rpc)
{
    if (rpc->kind != WEFT_RT_RPC_UPLOAD || rpc->end_wanted || rpc->over || rpc->status_seen) {
        return;
    }
    rpc->end_wanted = true;
    if (!rpc->send_busy) {
        send_end(rpc);
    }
}

void weft_rt_rpc_cancel(weft_rt_rpc *rpc)
{
    cancel(rpc);
}

void weft_rt_rpc_abandon(weft_rt_rpc *rpc)
{
    rpc->orphan = true;
    cancel(rpc);
}

void weft_rt_rpc_free(weft_rt_rpc *rpc)
{
    if (!rpc) {
        return;
    }
    weft_rt_rpc_abandon(rpc); /* released with its last tag */
    if (rpc->over && !rpc->calling) {
        release(rpc);
    }
}

/* ---- blocking -------------------------------------------------------------------------------- */

typedef struct blocking {
    weft_buf *reply;
    weft_err *err;
    weft_status status;
    weft_rt_code code;
    bool done;
} blocking;

static void on_blocking_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                             weft_rt_message *reply)
{
    (void)rpc;
    blocking *b = arg;
    b->done = true;
    b->code = code;
    if (code == WEFT_RT_OK) {
        b->status = weft_rt_message_copy(reply, b->reply, b->err);
    } else {
        b->status = weft_err_set(b->err, weft_rt_code_status(code), 0, __FILE__, __LINE__, "%s",
                                 text[0] ? text : weft_rt_code_name(code));
    }
}

static void loop_done(weft_rt_loop **loop)
{
    weft_rt_loop_free(*loop);
}

weft_status weft_rt_unary(weft_rt_channel *channel, const char *path, weft_view request,
                          uint32_t deadline_ms, weft_buf *reply, weft_rt_code *ret_code,
                          weft_err *err)
{
    const weft_rt_loop_options loop_options = {sizeof loop_options, channel->alloc, false};
    __attribute__((cleanup(loop_done))) weft_rt_loop *loop = NULL;
    WEFT_TRY(weft_rt_loop_new(&loop, &loop_options, err));
    blocking b = {reply, err, WEFT_OK, WEFT_RT_UNKNOWN, false};
    weft_rt_rpc_options options = WEFT_RT_RPC_OPTIONS_INIT;
    options.path = path;
    options.kind = WEFT_RT_RPC_UNARY;
    options.request = request;
    options.deadline_ms = deadline_ms;
    options.arg = &b;
    options.on_done = on_blocking_done;
    weft_rt_rpc *rpc = NULL;
    WEFT_TRY(weft_rt_rpc_start(&rpc, loop, channel, &options, err));
    while (!b.done) {
        (void)weft_rt_loop_step(loop, UINT32_MAX);
    }
    weft_rt_rpc_free(rpc);
    if (ret_code) {
        *ret_code = b.code;
    }
    return b.status;
}
