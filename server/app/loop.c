/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner loop: takes what was posted, in batches; ticks the core when it is time; answers
 * queries between batches. SQLite commits are the only thing it waits for.
 */
#include "app/daemon.h"

#include <time.h>

enum { BATCH_ITEMS = 256 };
#define PRESENCE_IDLE_MS 60000U
#define REBUILD_PAUSE_MS 200U

uint64_t weft_daemon_now_ms(const weft_daemon *d)
{
    return d->base_ms + (d->clock->mono_ms(d->clock->self) - d->mono_base_ms);
}

int64_t weft_daemon_unix_ms(const weft_daemon *d)
{
    return d->clock->unix_ms(d->clock->self);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

uint64_t weft_daemon_hold(weft_daemon *d, weft_rpc_call *call)
{
    call->token = ++d->next_token;
    weft_rpc_call **bucket = &d->tokens[call->token % WEFT_DAEMON_TOKEN_BUCKETS];
    call->next = *bucket;
    *bucket = call;
    return call->token;
}

weft_rpc_call *weft_daemon_take(weft_daemon *d, uint64_t token)
{
    weft_rpc_call **at = &d->tokens[token % WEFT_DAEMON_TOKEN_BUCKETS];
    while (*at && (*at)->token != token) {
        at = &(*at)->next;
    }
    weft_rpc_call *call = *at;
    if (call) {
        *at = call->next;
        call->next = NULL;
        call->token = 0;
    }
    return call;
}

void weft_daemon_fail_held(weft_daemon *d, const char *text)
{
    for (size_t i = 0; i < WEFT_DAEMON_TOKEN_BUCKETS; i++) {
        while (d->tokens[i]) {
            weft_rpc_call *call = weft_daemon_take(d, d->tokens[i]->token);
            weft_rpc_fail_unavailable(call, text);
            weft_rpc_call_unref(call);
        }
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void pause_ms(uint32_t ms)
{
    const struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000L};
    (void)nanosleep(&t, NULL); /* a signal may shorten it: harmless */
}

static bool any_round_open(const weft_daemon *d)
{
    const uint32_t n = weft_core_n_jobs(d->core);
    for (uint32_t i = n; i > 0; i--) {
        const weft_job_row *row = weft_core_job_at(d->core, i - 1);
        if (weft_core_open_round(d->core, row->job_id)) {
            return true;
        }
    }
    return false;
}

/* What the clock asks for, inside a batch. */
static void tick(weft_daemon *d)
{
    weft_err err = WEFT_ERR_INIT;
    weft_certificate_tick(d);
    const uint64_t now = weft_daemon_now_ms(d);
    if (weft_core_next_ms(d->core) <= now) {
        weft_event event = {.kind = WEFT_EVENT_TICK};
        weft_batch_feed(d, &event);
    }
    const bool clock_due =
        now - d->committed_ms >= WEFT_DAEMON_CLOCK_MS && !d->batch.writing && any_round_open(d);
    const bool presence_due =
        now - d->presence_ms >= PRESENCE_IDLE_MS && weft_presence_dirty(d->presence);
    if ((clock_due || presence_due) && weft_batch_write(d, &err) != WEFT_OK) {
        weft_batch_fail(d, &err);
    }
}

static uint32_t wait_ms(const weft_daemon *d)
{
    const uint64_t now = weft_daemon_now_ms(d);
    const uint64_t next = weft_core_next_ms(d->core);
    const uint64_t left = next > now ? next - now : 0;
    if (atomic_load(&d->stopping)) {
        return 0;
    }
    return left < WEFT_DAEMON_CLOCK_MS ? (uint32_t)left : WEFT_DAEMON_CLOCK_MS;
}

/* After a rebuild, so that nothing is told that is not durable. */
static void answer_queries(weft_daemon *d)
{
    while (d->queries) {
        weft_rpc_call *call = d->queries;
        d->queries = call->next;
        call->next = NULL;
        if (d->rebuild_due) { /* stopping, without a core to ask */
            weft_rpc_fail_unavailable(call, "the coordinator is stopping: try again soon");
            weft_rpc_call_unref(call);
        } else {
            weft_queries_run(d, call);
        }
    }
    d->last_query = &d->queries;
}

static void rebuild(weft_daemon *d)
{
    while (d->rebuild_due && !atomic_load(&d->stopping)) {
        weft_err err = WEFT_ERR_INIT;
        pause_ms(REBUILD_PAUSE_MS); /* whatever it was may need a moment */
        d->rebuild_due = false;
        if (weft_daemon_restore(d, &err) != WEFT_OK) {
            weft_log_line(d->log, WEFT_LOG_ERROR, "event=restore_failed error=\"%s\"", err.msg);
            d->rebuild_due = true;
        }
    }
}

static weft_rt_node *run_batch(weft_daemon *d, weft_rt_node *node)
{
    for (unsigned n = 0; node && n < BATCH_ITEMS; n++) {
        weft_item *item = (weft_item *)(void *)node; /* its first member */
        node = node->next;
        item->run(item, d);
    }
    tick(d);
    weft_batch_end(d);
    rebuild(d);
    answer_queries(d);
    return node;
}

void *weft_daemon_loop(void *arg)
{
    weft_daemon *d = arg;
    for (;;) {
        weft_rt_node *node = weft_rt_queue_take(d->queue, wait_ms(d));
        if (!node && atomic_load(&d->stopping)) {
            break;
        }
        do {
            node = run_batch(d, node);
        } while (node && !d->rebuild_due);
        if (d->rebuild_due) {
            break; /* stopping, and the store cannot be read: there is no core to go on with */
        }
    }
    weft_daemon_fail_held(d, "the coordinator is stopping: try again soon");
    return NULL;
}
