/* SPDX-License-Identifier: Apache-2.0 */
/* The transport's life: loop, channels, calls in flight, events. Owner thread. */
#include "transport_priv.h"

#include "base/clock.h"
#include "crypto/hash.h"

#include <stdio.h>
#include <string.h>

/* A connection that answered so lately is there: gRPC need not be told to try again. */
#define FRESH_MS 1000

/* ---- life ----------------------------------------------------------------------------------- */

weft_status weft_transport_new(weft_transport **ret, const weft_transport_options *options,
                               weft_err *err)
{
    weft_transport *t = weft_array(options->alloc, 1, sizeof *t);
    if (!t) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a connection");
    }
    t->alloc = options->alloc;
    t->http_proxy = options->http_proxy;
    t->backoff_max_ms = options->backoff_max_ms;
    t->stall_ms = options->stall_ms ? options->stall_ms : WEFT_TRANSPORT_STALL_MS;
    t->main.owner = t;
    t->lease.owner = t;
    weft_buf_init(&t->ca_pem, t->alloc, WEFT_MAX_PEM_BYTES);
    weft_buf_init(&t->certificate_pem, t->alloc, WEFT_MAX_PEM_BYTES);
    weft_buf_init(&t->main.scratch, t->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_buf_init(&t->lease.scratch, t->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_rt_loop_options loop = WEFT_RT_LOOP_OPTIONS_INIT;
    loop.alloc = t->alloc;
    loop.poller_thread = options->poller_thread;
    const weft_status status = weft_rt_loop_new(&t->loop, &loop, err);
    if (status != WEFT_OK) {
        weft_transport_free(t);
        return status;
    }
    *ret = t;
    return WEFT_OK;
}

void weft_transport_free(weft_transport *t)
{
    if (!t) {
        return;
    }
    weft_transport_cancel(t);
    weft_rt_loop_free(t->loop);
    weft_rt_channel_free(t->channel);
    weft_rt_channel_free(t->bare);
    weft_buf_done(&t->ca_pem);
    weft_buf_done(&t->certificate_pem);
    weft_buf_done(&t->main.scratch);
    weft_buf_done(&t->lease.scratch);
    weft_free(t->alloc, t);
}

weft_status weft_transport_channel(weft_rt_channel **ret, const char *address,
                                   const weft_rt_tls *tls, const char *http_proxy,
                                   uint32_t backoff_max_ms, const weft_alloc *a, weft_err *err)
{
    weft_rt_channel_options o = WEFT_RT_CHANNEL_OPTIONS_INIT;
    o.alloc = a;
    o.address = address;
    o.tls = tls;
    o.http_proxy = http_proxy;
    o.backoff_max_ms = backoff_max_ms;
    return weft_rt_channel_new(ret, &o, err);
}

weft_status weft_transport_identify(weft_transport *t, const weft_outbox_identity *id,
                                    const weft_buf *key_pem, weft_err *err)
{
    weft_buf key;
    weft_buf certificate;
    weft_buf_init(&key, t->alloc, WEFT_MAX_PEM_BYTES + 1);
    weft_buf_init(&certificate, t->alloc, WEFT_MAX_PEM_BYTES + 1);
    weft_buf_clear(&t->ca_pem);
    weft_status status = weft_buf_add(&key, key_pem->data, key_pem->size, err);
    if (status == WEFT_OK) {
        status =
            weft_buf_add(&certificate, id->certificate_pem.data, id->certificate_pem.size, err);
    }
    if (status == WEFT_OK) {
        status = weft_buf_add(&t->ca_pem, id->ca_pem.data, id->ca_pem.size, err);
    }
    const weft_rt_tls tls = {weft_buf_text(&t->ca_pem), weft_buf_text(&certificate),
                             weft_buf_text(&key)};
    weft_rt_channel *channel = NULL;
    if (status == WEFT_OK && (!tls.ca_pem || !tls.cert_pem || !tls.key_pem)) {
        status = weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__, "no memory for PEMs");
    }
    if (status == WEFT_OK) {
        status = weft_transport_channel(&channel, id->address, &tls, t->http_proxy,
                                        t->backoff_max_ms, t->alloc, err);
    }
    if (key.data) {
        weft_wipe(key.data, key.cap);
    }
    weft_buf_done(&key);
    weft_buf_done(&certificate);
    WEFT_TRY(status);
    weft_rt_channel_free(t->channel);
    t->channel = channel;
    (void)snprintf(t->address, sizeof t->address, "%s", id->address);
    (void)snprintf(t->name, sizeof t->name, "%s", id->name);
    memcpy(t->receipt_key, id->receipt_key, sizeof t->receipt_key);
    return WEFT_OK;
}

/* ---- calls in flight ------------------------------------------------------------------------ */

static void clear_call(weft_transport_call *call)
{
    weft_rt_rpc_free(call->rpc); /* cancels; nothing comes of it any more */
    call->rpc = NULL;
    call->kind = 0;
    call->done = false;
    weft_err_clear(&call->local);
    if (call->arena.alloc) {
        weft_arena_done(&call->arena);
    }
}

static void drop_transfer(weft_transport *t)
{
    weft_rt_blob_unref(t->blob);
    t->blob = NULL;
    t->base = NULL;
}

void weft_transport_begin(weft_transport *t, weft_transport_call *call,
                          weft_session_action_kind kind)
{
    clear_call(call);
    memset(&call->event, 0, sizeof call->event);
    call->kind = kind;
    weft_buf_clear(&call->scratch);
    if (call == &t->main) { /* a lease renewed does not move a transfer */
        drop_transfer(t);
        t->moved_ms = weft_clock_system.mono_ms(weft_clock_system.self);
    }
}

void weft_transport_fail(weft_transport_call *call, weft_status status, const char *text)
{
    (void)snprintf(call->text, sizeof call->text, "%s", text);
    call->event.kind = WEFT_SESSION_FAILED;
    call->event.u.failed.action = call->kind;
    call->event.u.failed.status = status;
    call->event.u.failed.detail = call->text;
    call->done = true;
    call->owner->answered_ms = 0;
}

void weft_transport_done(weft_transport_call *call, weft_session_event_kind kind)
{
    call->event.kind = kind;
    call->done = true;
}

void weft_transport_start(weft_transport_call *call, weft_rt_channel *channel,
                          const weft_rt_rpc_options *options)
{
    weft_err err = WEFT_ERR_INIT;
    if (!channel) {
        weft_transport_fail(call, WEFT_E_STATE, "this client has not enrolled");
        return;
    }
    if (weft_clock_system.mono_ms(weft_clock_system.self) - call->owner->answered_ms >= FRESH_MS) {
        weft_rt_channel_retry_now(channel); /* the session does the waiting */
    }
    if (weft_rt_rpc_start(&call->rpc, call->owner->loop, channel, options, &err) != WEFT_OK) {
        call->rpc = NULL;
        weft_transport_fail(call, err.code, err.msg);
    }
}

void weft_transport_cancel(weft_transport *t)
{
    clear_call(&t->main);
    clear_call(&t->lease);
    drop_transfer(t);
}

bool weft_transport_busy(const weft_transport *t)
{
    return t->main.kind != 0 || t->lease.kind != 0;
}

bool weft_transport_take(weft_transport *t, weft_session_event *ret)
{
    weft_transport_call *const calls[] = {&t->main, &t->lease};
    for (size_t i = 0; i < 2; i++) {
        weft_transport_call *call = calls[i];
        if (!call->kind || !call->done) {
            continue;
        }
        weft_rt_rpc_free(call->rpc);
        call->rpc = NULL;
        call->kind = 0; /* what the event points to stays until begin or cancel */
        call->done = false;
        if (i == 0) {
            drop_transfer(t);
        }
        *ret = call->event;
        return true;
    }
    return false;
}

weft_view weft_transport_certificate(const weft_transport *t)
{
    return weft_buf_view(&t->certificate_pem);
}

void weft_transport_moved(const weft_transport *t, uint64_t *ret_done, uint64_t *ret_total)
{
    *ret_done = t->sent;
    *ret_total = t->total;
}

/* A transfer that stands still is dead, whatever TCP thinks. */
static void check_stall(weft_transport *t)
{
    weft_transport_call *call = &t->main;
    const uint64_t now = weft_clock_system.mono_ms(weft_clock_system.self);
    if (call->rpc && !call->done &&
        (call->kind == WEFT_SESSION_FETCH || call->kind == WEFT_SESSION_UPLOAD) &&
        now - t->moved_ms > t->stall_ms) {
        weft_rt_rpc_free(call->rpc); /* cancels */
        call->rpc = NULL;
        char text[96];
        (void)snprintf(text, sizeof text, "the transfer stood still for %u s at byte %llu",
                       t->stall_ms / 1000, (unsigned long long)t->sent);
        weft_transport_fail(call, WEFT_E_TIMEOUT, text);
    }
}

void weft_transport_step(weft_transport *t, uint32_t timeout_ms)
{
    const bool ready = (t->main.kind && t->main.done) || (t->lease.kind && t->lease.done);
    (void)weft_rt_loop_step(t->loop, ready ? 0 : timeout_ms); /* the events tell */
    check_stall(t);
}

int weft_transport_fd(const weft_transport *t)
{
    return weft_rt_loop_fd(t->loop);
}

void weft_transport_wake_signal(weft_transport *t)
{
    weft_rt_loop_wake_signal(t->loop);
}

weft_rt_channel *weft_transport_lend_channel(weft_transport *t)
{
    return t->channel;
}
