/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FetchModel of both services: one shared blob, sent in chunks of up to 1 MiB behind small heads,
 * one on its way at a time, so a slow reader costs nothing but its call.
 *
 * The first chunk may be sent from any thread (the blob had to be loaded), the others from the
 * poller threads; `stage` decides who owns the state when the call ends meanwhile.
 */
#include "rpc/rpc_priv.h"

#include "wire/pace.h"

#include <string.h>

enum { STAGE_WAITING = 0, STAGE_SENDING = 1, STAGE_CLOSED = 2 };

typedef struct fetch {
    weft_item sent; /* first: tells the owner how much went */
    weft_rpc_call *call;
    atomic_int stage;
    weft_rt_blob *blob; /* valid while STAGE_SENDING */
    atomic_bool told;
    atomic_ullong offset; /* the next byte to send */
    uint64_t size;
    weft_pace pace;
    uint8_t digest[WEFT_DIGEST_BYTES];
    uint64_t start; /* asked for */
} fetch;

static void run_sent(weft_item *item, void *owner)
{
    fetch *f = (fetch *)(void *)item; /* its first member */
    weft_rpc_call *call = f->call;
    call->rpc->host->model_sent(owner, call->name, f->digest, atomic_load(&f->offset) - f->start);
    weft_rpc_call_unref(call); /* f lives in its arena */
}

/* Once a call: before its end is sent, so that it is counted before anything the caller does next.
 */
static void tell_sent(weft_rpc_call *call, fetch *f)
{
    const weft_rpc_host *host = call->rpc->host;
    if (call->method != WEFT_METHOD_FETCH_MODEL || atomic_exchange(&f->told, true)) {
        return; /* an operator's is no round's */
    }
    (void)weft_rpc_call_ref(call); /* the item's */
    if (!host->post(host->self, &f->sent)) {
        weft_rpc_call_unref(call);
    }
}

static void end(weft_rpc_call *call, fetch *f)
{
    if (weft_rpc_call_answer(call)) {
        tell_sent(call, f);
        (void)weft_rt_call_finish(call->rt); /* a caller that left: on_closed tells */
    }
}

/* Send what comes next, or the end. */
static void send_next(weft_rpc_call *call, fetch *f, weft_rt_blob *blob)
{
    const uint64_t at = atomic_load(&f->offset);
    if (at == f->size && at != f->start) {
        end(call, f);
        return;
    }
    const uint64_t left = f->size - at;
    const weft_clock *clock = call->rpc->host->clock;
    const uint32_t most = weft_pace_next(&f->pace, clock->mono_ms(clock->self));
    weft_chunk chunk = {.offset = at,
                        .total_bytes = f->size,
                        .has_digest = at == f->start,
                        .data_bytes = left < most ? (uint32_t)left : most};
    memcpy(chunk.digest, f->digest, sizeof chunk.digest);
    uint8_t head[WEFT_CHUNK_MAX_HEAD_BYTES];
    const size_t n = weft_chunk_write_head(head, &chunk, false);
    atomic_store(&f->offset, at + chunk.data_bytes);
    const bool last = at + chunk.data_bytes == f->size;
    /* a caller that left: on_closed tells */
    if (weft_rt_call_send(call->rt, head, n, blob, at, chunk.data_bytes) == WEFT_OK && last) {
        end(call, f);
    }
}

void weft_rpc_fetch_ready(weft_rpc_call *call, const uint8_t *digest, weft_rt_blob *blob,
                          weft_status status, const char *text)
{
    const weft_rpc_host *host = call->rpc->host;
    fetch *f = call->stream;
    if (!blob) {
        weft_rpc_fail(call, status, text);
        return;
    }
    const uint64_t size = weft_rt_blob_size(blob);
    if (f->start > size) {
        weft_rpc_fail(call, WEFT_E_INVALID, "the offset lies behind the model's end");
        host->model_put(host->self, digest, blob);
        return;
    }
    f->blob = blob;
    f->size = size;
    atomic_store(&f->offset, f->start);
    memcpy(f->digest, digest, sizeof f->digest);
    weft_rt_blob *mine = weft_rt_blob_ref(blob); /* on_closed may let go of f's any time */
    int waiting = STAGE_WAITING;
    if (atomic_compare_exchange_strong(&f->stage, &waiting, STAGE_SENDING)) {
        send_next(call, f, mine);
    } else {
        host->model_put(host->self, digest, blob);
    }
    weft_rt_blob_unref(mine);
}

static void get(weft_rpc_call *call, const uint8_t *digest, bool published)
{
    const weft_rpc_host *host = call->rpc->host;
    weft_err err = WEFT_ERR_INIT;
    weft_rt_blob *blob = NULL;
    (void)weft_rpc_call_ref(call); /* the host's while it loads */
    const weft_status status = host->model_get(host->self, &blob, digest, published, call, &err);
    if (status == WEFT_OK && !blob) {
        return; /* fetch_ready follows */
    }
    if (status == WEFT_OK) {
        weft_rpc_fetch_ready(call, digest, blob, WEFT_OK, NULL);
    } else {
        weft_rpc_fail_err(call, &err);
    }
    weft_rpc_call_unref(call);
}

void weft_rpc_fetch_start(weft_rpc_call *call, const uint8_t digest[WEFT_DIGEST_BYTES])
{
    get(call, digest, false);
}

void weft_rpc_fetch_message(void *ctx, weft_rt_call *rt, weft_rt_message *message)
{
    const weft_rpc_slot *slot = ctx;
    const bool admin = slot->method == WEFT_METHOD_FETCH_VERSION;
    weft_rpc_call *call = weft_rpc_call_new(slot, rt);
    if (!call ||
        !weft_rpc_call_decode(
            call, admin ? WEFT_MSG_FETCH_VERSION_REQUEST : WEFT_MSG_FETCH_MODEL_REQUEST, message)) {
        return;
    }
    fetch *f = weft_arena_take(&call->arena, 1, sizeof *f);
    if (!f) {
        weft_rpc_fail(call, WEFT_E_NOMEM, "the coordinator has no memory");
        return;
    }
    f->sent.run = run_sent;
    f->call = call;
    atomic_init(&f->stage, STAGE_WAITING);
    atomic_init(&f->told, false);
    atomic_init(&f->offset, 0);
    call->stream = f;
    if (admin) {
        f->start = ((const weft_msg_fetch_version_request *)call->msg)->offset;
        weft_rpc_call_post(call); /* the owner finds the digest */
        return;
    }
    const weft_msg_fetch_model_request *request = call->msg;
    f->start = request->offset;
    get(call, request->digest.data, true);
}

void weft_rpc_fetch_writable(void *ctx, weft_rt_call *rt)
{
    (void)ctx;
    weft_rpc_call *call = weft_rt_call_state(rt);
    fetch *f = call->stream;
    if (!atomic_load(&call->answered)) {
        send_next(call, f, f->blob);
    }
}

void weft_rpc_fetch_closed(void *ctx, weft_rt_call *rt, bool cancelled)
{
    (void)ctx;
    (void)cancelled;
    weft_rpc_call *call = weft_rt_call_state(rt);
    fetch *f = call ? call->stream : NULL;
    if (f && atomic_exchange(&f->stage, STAGE_CLOSED) == STAGE_SENDING) {
        const weft_rpc_host *host = call->rpc->host;
        host->model_put(host->self, f->digest, f->blob);
        tell_sent(call, f);
    }
    weft_rpc_call_closed(call);
}
