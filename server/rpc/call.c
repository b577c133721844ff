/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call: its state, its way to the owner thread, its answers. References: one is rt's (until
 * on_closed), one the owner's (from post until it has answered), one for each item on its way.
 */
#include "rpc/rpc_priv.h"

#include <string.h>

static void run_request(weft_item *item, void *owner)
{
    weft_rpc_call *call = (weft_rpc_call *)(void *)item; /* request is its first member */
    call->rpc->host->on_request(owner, call);
}

static void run_gone(weft_item *item, void *owner)
{
    weft_rpc_call *call = (void *)((char *)item - offsetof(weft_rpc_call, gone));
    call->rpc->host->on_gone(owner, call);
    weft_rpc_call_unref(call);
}

static void run_alive(weft_item *item, void *owner)
{
    weft_rpc_call *call = (void *)((char *)item - offsetof(weft_rpc_call, alive));
    atomic_store(&call->alive_posted, false);
    call->rpc->host->upload_alive(owner, call);
    weft_rpc_call_unref(call);
}

static void set_name(weft_rpc_call *call, const weft_rt_peer *peer)
{
    weft_identity id;
    call->authenticated =
        weft_identity_parse(&id, peer->identity, strlen(peer->identity), NULL) == WEFT_OK;
    if (call->authenticated) {
        memcpy(call->name, id.name, sizeof call->name);
    }
}

weft_rpc_call *weft_rpc_call_new(const weft_rpc_slot *slot, weft_rt_call *rt)
{
    const weft_alloc *alloc = slot->rpc->host->alloc;
    weft_rpc_call *call = weft_array(alloc, 1, sizeof *call);
    if (!call) {
        (void)weft_rt_call_fail(rt, WEFT_RT_RESOURCE_EXHAUSTED, "the coordinator has no memory");
        return NULL;
    }
    call->request.run = run_request;
    call->gone.run = run_gone;
    call->alive.run = run_alive;
    call->rpc = slot->rpc;
    call->rt = weft_rt_call_ref(rt);
    call->method = slot->method;
    atomic_init(&call->refs, 1);
    atomic_init(&call->posted, false);
    atomic_init(&call->answered, false);
    atomic_init(&call->alive_posted, false);
    set_name(call, weft_rt_call_peer(rt));
    weft_wire_arena_init(&call->arena, WEFT_MSG_CHECK_IN_REQUEST, alloc);
    weft_rt_call_set_state(rt, call);
    return call;
}

weft_rpc_call *weft_rpc_call_ref(weft_rpc_call *call)
{
    atomic_fetch_add(&call->refs, 1);
    return call;
}

void weft_rpc_call_unref(weft_rpc_call *call)
{
    if (call && atomic_fetch_sub(&call->refs, 1) == 1) {
        weft_arena_done(&call->arena);
        weft_rt_call_unref(call->rt);
        weft_free(call->rpc->host->alloc, call);
    }
}

void weft_rpc_call_forget(weft_rpc_call *call)
{
    weft_arena_done(&call->arena);
    call->msg = NULL;
}

bool weft_rpc_call_decode_bytes(weft_rpc_call *call, weft_msg_kind kind, weft_view bytes)
{
    weft_err err = WEFT_ERR_INIT;
    void *msg = weft_arena_take(&call->arena, 1, weft_wire_struct_bytes(kind));
    if (!msg) {
        weft_rpc_fail(call, WEFT_E_NOMEM, "the coordinator has no memory");
        return false;
    }
    if (weft_wire_decode(msg, kind, bytes.data, bytes.size, &call->arena, &err) != WEFT_OK) {
        weft_rpc_fail_err(call, &err);
        return false;
    }
    call->msg = msg;
    return true;
}

bool weft_rpc_call_decode(weft_rpc_call *call, weft_msg_kind kind, weft_rt_message *message)
{
    weft_err err = WEFT_ERR_INIT;
    weft_buf scratch;
    weft_view bytes = {NULL, 0};
    weft_buf_init(&scratch, call->rpc->host->alloc, WEFT_MAX_CONTROL_BYTES);
    const weft_status status = weft_rt_message_flat(message, &scratch, &bytes, &err);
    bool good = status == WEFT_OK;
    if (good) {
        good = weft_rpc_call_decode_bytes(call, kind, bytes);
    } else {
        weft_rpc_fail_err(call, &err);
    }
    weft_buf_done(&scratch);
    return good;
}

void weft_rpc_call_post(weft_rpc_call *call)
{
    const weft_rpc_host *host = call->rpc->host;
    (void)weft_rpc_call_ref(call); /* the owner's */
    atomic_store(&call->posted, true);
    if (!host->post(host->self, &call->request)) {
        weft_rpc_fail_unavailable(call, "the coordinator is stopping: try again soon");
        weft_rpc_call_unref(call);
    }
}

void weft_rpc_call_alive(weft_rpc_call *call)
{
    const weft_rpc_host *host = call->rpc->host;
    if (atomic_exchange(&call->alive_posted, true)) {
        return;
    }
    (void)weft_rpc_call_ref(call); /* the item's */
    if (!host->post(host->self, &call->alive)) {
        weft_rpc_call_unref(call);
    }
}

void weft_rpc_call_closed(weft_rpc_call *call)
{
    if (!call) {
        return;
    }
    const weft_rpc_host *host = call->rpc->host;
    if (atomic_load(&call->posted) && !atomic_load(&call->answered)) {
        (void)weft_rpc_call_ref(call);
        if (!host->post(host->self, &call->gone)) {
            weft_rpc_call_unref(call);
        }
    }
    weft_rpc_call_unref(call);
}

/* ---- answers --------------------------------------------------------------------------------- */

bool weft_rpc_call_answer(weft_rpc_call *call)
{
    return !atomic_exchange(&call->answered, true);
}

void weft_rpc_reply_bytes(weft_rpc_call *call, const void *data, size_t size)
{
    if (weft_rpc_call_answer(call)) {
        (void)weft_rt_call_reply(call->rt, data, size); /* a caller that left: on_closed tells */
    }
}

void weft_rpc_reply(weft_rpc_call *call, weft_msg_kind kind, const void *msg)
{
    weft_err err = WEFT_ERR_INIT;
    weft_buf out;
    weft_buf_init(&out, call->rpc->host->alloc, WEFT_MAX_REPLY_BYTES + WEFT_MAX_CONTROL_BYTES);
    if (weft_wire_encode(&out, kind, msg, &err) == WEFT_OK) {
        weft_rpc_reply_bytes(call, out.data, out.size);
    } else {
        weft_log_line(call->rpc->host->log, WEFT_LOG_ERROR,
                      "event=reply_failed method=%s error=\"%s\"",
                      weft_method_get(call->method)->path, err.msg);
        weft_rpc_fail(call, err.code, "the coordinator could not write its answer");
    }
    weft_buf_done(&out);
}

void weft_rpc_fail(weft_rpc_call *call, weft_status status, const char *text)
{
    if (weft_rpc_call_answer(call)) {
        /* a caller that left: on_closed tells */
        (void)weft_rt_call_fail(call->rt, weft_rt_status_code(status), text);
    }
}

void weft_rpc_fail_err(weft_rpc_call *call, const weft_err *err)
{
    weft_rpc_fail(call, err->code == WEFT_OK ? WEFT_E_INTERNAL : err->code, err->msg);
}

void weft_rpc_fail_unavailable(weft_rpc_call *call, const char *text)
{
    if (weft_rpc_call_answer(call)) {
        (void)weft_rt_call_fail(call->rt, WEFT_RT_UNAVAILABLE, text); /* as above */
    }
}

/* ---- pieces ---------------------------------------------------------------------------------- */

weft_status weft_rpc_pieces_init(weft_rpc_pieces *pieces, const weft_alloc *a,
                                 const weft_rt_message *message, weft_err *err)
{
    pieces->alloc = a;
    pieces->n = weft_rt_message_pieces(message);
    pieces->all = pieces->few;
    if (pieces->n > sizeof pieces->few / sizeof pieces->few[0]) {
        pieces->all = weft_array(a, pieces->n, sizeof *pieces->all);
        if (!pieces->all) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a message");
        }
    }
    for (size_t i = 0; i < pieces->n; i++) {
        pieces->all[i] = weft_rt_message_piece(message, i);
    }
    return WEFT_OK;
}

void weft_rpc_pieces_done(weft_rpc_pieces *pieces)
{
    if (pieces->all != pieces->few) {
        weft_free(pieces->alloc, pieces->all);
    }
}
