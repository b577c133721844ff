/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the poller threads: one for each completion queue, so that one call's events come on one
 * thread. The first one also sweeps: callers that keep us waiting too long are cut.
 */
#include "rt/server_priv.h"

#include <stdio.h>
#include <string.h>

#define SWEEP_AT_ONCE 64

/* Cut the calls whose peers are too slow. */
static void sweep(weft_rt_server *server)
{
    weft_rt_call *late[SWEEP_AT_ONCE];
    size_t n = 0;
    const uint64_t now = weft_rt_now_ms();
    weft_rt_lock_take(&server->lock);
    for (size_t b = 0; b < server->clients.n_buckets; b++) {
        for (weft_rt_client *client = server->clients.buckets[b]; client; client = client->next) {
            for (weft_rt_call *call = client->calls; call && n < SWEEP_AT_ONCE;
                 call = call->next_of_client) {
                const uint64_t due = atomic_load_explicit(&call->due_ms, memory_order_relaxed);
                if (due != 0 && due <= now) {
                    late[n++] = weft_rt_call_ref(call); /* live: it is in the table */
                }
            }
        }
    }
    server->stats.cut_idle += n;
    weft_rt_lock_give(&server->lock);
    for (size_t i = 0; i < n; i++) {
        char text[96];
        (void)snprintf(text, sizeof text, "nothing moved for %u ms, the most allowed",
                       late[i]->idle_ms);
        atomic_store_explicit(&late[i]->due_ms, 0, memory_order_relaxed);
        weft_rt_call_cancel(late[i], WEFT_RT_DEADLINE_EXCEEDED, text);
        weft_rt_call_unref(late[i]);
    }
}

/* The first poller also looks for slow callers. */
static void poll_and_sweep(weft_rt_server *server)
{
    uint64_t next_sweep = weft_rt_now_ms() + server->sweep_ms;
    for (;;) {
        const uint64_t now = weft_rt_now_ms();
        if (now >= next_sweep) {
            sweep(server);
            next_sweep = now + server->sweep_ms;
        }
        weft_rt_tag *tag = NULL;
        bool ok = false;
        const weft_rt_next next =
            weft_rt_cq_next(server->cqs[0], (uint32_t)(next_sweep - now + 1), &tag, &ok);
        if (next == WEFT_RT_NEXT_SHUTDOWN) {
            return;
        }
        if (next == WEFT_RT_NEXT_EVENT) {
            tag->done(tag, ok);
        }
    }
}

static void *poll_first(void *arg)
{
    poll_and_sweep(arg);
    return NULL;
}

static void *poll_other(void *arg)
{
    weft_rt_tag *tag = NULL;
    bool ok = false;
    while (weft_rt_cq_next(arg, WEFT_RT_NO_TIMEOUT, &tag, &ok) == WEFT_RT_NEXT_EVENT) {
        tag->done(tag, ok);
    }
    return NULL;
}

weft_status weft_rt_server_start_pollers(weft_rt_server *server, weft_err *err)
{
    for (uint32_t i = 0; i < server->n_cqs; i++) {
        const int sys = i == 0
                            ? pthread_create(&server->threads[i], NULL, poll_first, server)
                            : pthread_create(&server->threads[i], NULL, poll_other, server->cqs[i]);
        if (sys != 0) {
            WEFT_FAIL_SYS(err, sys, "cannot start a poller thread: %s", strerrordesc_np(sys));
        }
        (void)pthread_setname_np(server->threads[i], "weft-poll"); /* for people only */
        server->n_threads++;
    }
    return WEFT_OK;
}
