/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watch: every watcher has a short queue of encoded events. One that falls behind loses its queue
 * and gets a snapshot of the present state instead: memory stays bounded, the picture stays right.
 * Owner thread; rt's on_writable posts an item to it.
 */
#include "rpc/rpc_priv.h"

#include <string.h>

enum { QUEUE_EVENTS = 64 };

typedef struct watcher {
    struct watcher *next;
    weft_rpc_call *call; /* referenced */
    weft_watchers *all;
    char job[WEFT_MAX_NAME_BYTES + 1]; /* "" : all */
    weft_buf events[QUEUE_EVENTS];     /* ring */
    unsigned first;
    unsigned n;
    bool sending; /* one is on its way; on_writable follows */
    bool behind;  /* events were lost: a snapshot is due */
    bool snapshotting;
} watcher;

struct weft_watchers {
    const weft_alloc *alloc;
    weft_watch_snapshot snapshot;
    void *self;
    watcher *head;
    size_t n;
};

weft_status weft_watchers_new(weft_watchers **ret, weft_watch_snapshot snapshot, void *self,
                              const weft_alloc *a, weft_err *err)
{
    weft_watchers *w = weft_array(a, 1, sizeof *w);
    if (!w) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the watchers");
    }
    w->alloc = a;
    w->snapshot = snapshot;
    w->self = self;
    *ret = w;
    return WEFT_OK;
}

static void clear(watcher *item)
{
    for (unsigned i = 0; i < QUEUE_EVENTS; i++) {
        weft_buf_done(&item->events[i]);
    }
    item->first = 0;
    item->n = 0;
}

static void drop(weft_watchers *w, watcher *item)
{
    watcher **at = &w->head;
    while (*at && *at != item) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = item->next;
        w->n--;
    }
    clear(item);
    item->call->host_state = NULL;
    weft_rpc_call_unref(item->call);
    weft_free(w->alloc, item);
}

void weft_watchers_end(weft_watchers *w)
{
    while (w->head) {
        watcher *item = w->head;
        weft_rpc_fail_unavailable(item->call, "the coordinator is stopping: watch again soon");
        drop(w, item);
    }
}

void weft_watchers_free(weft_watchers *w)
{
    if (w) {
        weft_watchers_end(w);
        weft_free(w->alloc, w);
    }
}

size_t weft_watchers_count(const weft_watchers *w)
{
    return w->n;
}

/* Send the oldest event, when none is on its way. */
static void pump(watcher *item)
{
    if (item->sending || item->n == 0) {
        return;
    }
    weft_buf *event = &item->events[item->first];
    item->sending = weft_rt_call_send(item->call->rt, event->data, event->size, NULL, 0, 0) ==
                    WEFT_OK; /* a caller that left: gone follows */
    weft_buf_done(event);
    item->first = (item->first + 1) % QUEUE_EVENTS;
    item->n--;
}

static void catch_up(watcher *item)
{
    item->behind = false;
    item->snapshotting = true;
    item->all->snapshot(item->all->self, item->call, item->job);
    item->snapshotting = false;
}

static void run_writable(weft_item *item, void *owner)
{
    (void)owner;
    weft_rpc_call *call = (weft_rpc_call *)(void *)item; /* request is its first member */
    watcher *w = call->host_state;
    if (w) {
        w->sending = false;
        if (w->n == 0 && w->behind) {
            catch_up(w);
        }
        pump(w);
    }
    weft_rpc_call_unref(call);
}

/* Poller thread. The request item is free: it has brought the call here once. */
void weft_rpc_watch_writable(void *ctx, weft_rt_call *rt)
{
    (void)ctx;
    weft_rpc_call *call = weft_rt_call_state(rt);
    const weft_rpc_host *host = call->rpc->host;
    call->request.run = run_writable;
    (void)weft_rpc_call_ref(call);
    if (!host->post(host->self, &call->request)) {
        weft_rpc_call_unref(call);
    }
}

void weft_watchers_add(weft_watchers *w, weft_rpc_call *call)
{
    const weft_msg_watch_request *request = call->msg;
    watcher *item = weft_array(w->alloc, 1, sizeof *item);
    if (!item) {
        weft_rpc_fail(call, WEFT_E_NOMEM, "the coordinator has no memory");
        weft_rpc_call_unref(call);
        return;
    }
    memcpy(item->job, request->job, strnlen(request->job, WEFT_MAX_NAME_BYTES));
    item->call = call;
    item->all = w;
    item->next = w->head;
    w->head = item;
    w->n++;
    call->host_state = item;
    weft_rpc_call_forget(call);
    catch_up(item);
    pump(item);
}

void weft_watchers_gone(weft_watchers *w, weft_rpc_call *call)
{
    if (call->host_state) {
        drop(w, call->host_state);
    }
}

static void enqueue(watcher *item, const weft_buf *bytes)
{
    if (item->behind) {
        return;
    }
    if (item->n == QUEUE_EVENTS) {
        if (!item->snapshotting) { /* a snapshot that is longer ends where the queue ends */
            clear(item);
            item->behind = true;
        }
        return;
    }
    weft_buf *slot = &item->events[(item->first + item->n) % QUEUE_EVENTS];
    weft_buf_init(slot, item->all->alloc, WEFT_MAX_CONTROL_BYTES);
    if (weft_buf_add(slot, bytes->data, bytes->size, NULL) != WEFT_OK) {
        item->behind = true;
        return;
    }
    item->n++;
}

static bool encode(weft_watchers *w, weft_buf *out, const weft_msg_watch_event *event)
{
    weft_buf_init(out, w->alloc, WEFT_MAX_CONTROL_BYTES);
    return weft_msg_watch_event_encode(out, event, NULL) == WEFT_OK;
}

void weft_watchers_send(weft_watchers *w, weft_rpc_call *call, const weft_msg_watch_event *event)
{
    weft_buf bytes;
    watcher *item = call->host_state;
    if (item && encode(w, &bytes, event)) {
        enqueue(item, &bytes);
        pump(item);
    }
    if (item) {
        weft_buf_done(&bytes);
    }
}

/* A certificate that ends lets nobody go on watching. Who may renew it comes back with the next. */
static void end_expired(weft_watchers *w)
{
    watcher *next = NULL;
    for (watcher *item = w->head; item; item = next) {
        const weft_clock *clock = item->call->rpc->host->clock;
        const int64_t expires = weft_rt_call_peer(item->call->rt)->expires_unix_ms;
        next = item->next;
        if (expires && clock->unix_ms(clock->self) >= expires) {
            weft_rpc_fail_unavailable(item->call, "the certificate has expired: watch again");
            drop(w, item);
        }
    }
}

void weft_watchers_publish(weft_watchers *w, const weft_msg_watch_event *event)
{
    weft_buf bytes;
    end_expired(w);
    if (!w->head) {
        return;
    }
    if (encode(w, &bytes, event)) {
        for (watcher *item = w->head; item; item = item->next) {
            const bool wanted =
                !item->job[0] || !event->job || strcmp(item->job, event->job->name) == 0;
            if (wanted) {
                enqueue(item, &bytes);
                pump(item);
            }
        }
    }
    weft_buf_done(&bytes);
}
