/* SPDX-License-Identifier: Apache-2.0 */
/* The lease's thread, and what a trainer asks of its control. Started by train.c. */
#include "lease.h"

#include "base/clock.h"
#include "convert.h"
#include "wire/methods.h"
#include "wire/wire.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CALL_MS 20000U

void weft_task_progress(weft_task_control *control, uint64_t done, uint64_t total)
{
    atomic_store_explicit(&control->done, done, memory_order_relaxed);
    atomic_store_explicit(&control->total, total, memory_order_relaxed);
}

int weft_task_canceled(const weft_task_control *control)
{
    return atomic_load(&control->lease_stop) || atomic_load(control->client_stop);
}

static void stop_trainer(weft_lease *lease)
{
    atomic_store(&lease->control->lease_stop, true);
}

/* A reply that cannot be read counts for nothing: the next one may. */
static void read_reply(weft_lease *lease, weft_rt_message *reply)
{
    weft_arena arena;
    weft_buf scratch;
    weft_view bytes = {NULL, 0};
    weft_msg_progress_reply msg;
    weft_wire_arena_init(&arena, WEFT_MSG_PROGRESS_REPLY, lease->alloc);
    weft_buf_init(&scratch, lease->alloc, WEFT_MAX_CONTROL_BYTES);
    if (weft_rt_message_flat(reply, &scratch, &bytes, NULL) == WEFT_OK &&
        weft_msg_progress_reply_decode(&msg, bytes.data, bytes.size, &arena, NULL) == WEFT_OK &&
        msg.stop) {
        weft_convert_refusal(lease->reason, msg.reason, "the coordinator said stop");
        stop_trainer(lease);
    }
    weft_buf_done(&scratch);
    weft_arena_done(&arena);
}

static void on_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                    weft_rt_message *reply)
{
    weft_lease *lease = arg;
    if (code == WEFT_RT_OK) {
        read_reply(lease, reply);
    } else if (weft_rt_code_status(code) == WEFT_E_AUTH) {
        (void)snprintf(lease->reason, sizeof lease->reason, "not allowed any more: %.200s",
                       text ? text : "");
        stop_trainer(lease);
    } /* else: the network; the next one may get through */
    weft_rt_rpc_free(rpc);
    lease->rpc = NULL;
}

static void send_progress(weft_lease *lease)
{
    const weft_msg_progress_request msg = {.assignment_id = lease->assignment_id,
                                           .phase = "train",
                                           .done = atomic_load(&lease->control->done),
                                           .total = atomic_load(&lease->control->total)};
    weft_buf bytes;
    weft_buf_init(&bytes, lease->alloc, WEFT_MAX_CONTROL_BYTES);
    if (weft_msg_progress_request_encode(&bytes, &msg, NULL) == WEFT_OK) {
        weft_rt_rpc_options o = WEFT_RT_RPC_OPTIONS_INIT;
        o.path = weft_method_get(WEFT_METHOD_PROGRESS)->path;
        o.kind = WEFT_RT_RPC_UNARY;
        o.request = weft_buf_view(&bytes);
        o.deadline_ms = CALL_MS;
        o.arg = lease;
        o.on_done = on_done;
        if (weft_rt_rpc_start(&lease->rpc, lease->loop, lease->channel, &o, NULL) != WEFT_OK) {
            lease->rpc = NULL; /* no memory: the next one may get through */
        }
    }
    weft_buf_done(&bytes);
}

/* From now on the end wakes the loop. Without memory for it, the next renewal may have it. */
static bool make_loop(weft_lease *lease)
{
    weft_rt_loop_options options = WEFT_RT_LOOP_OPTIONS_INIT;
    options.alloc = lease->alloc;
    weft_rt_loop *loop = NULL;
    if (weft_rt_loop_new(&loop, &options, NULL) != WEFT_OK) {
        return false;
    }
    (void)pthread_mutex_lock(&lease->lock); /* not recursive: cannot fail */
    lease->loop = loop;
    (void)pthread_mutex_unlock(&lease->lock); /* held by this thread */
    return true;
}

static uint64_t now_ms(void)
{
    return weft_clock_system.mono_ms(weft_clock_system.self);
}

/* Until news or the time. Holds the lock, gives it up meanwhile. */
static void sleep_locked(weft_lease *lease, uint64_t until_ms)
{
    lease->sleeps_until_ms = until_ms;
    if (until_ms == UINT64_MAX) {
        (void)pthread_cond_wait(&lease->news, &lease->lock); /* wakes early at worst */
    } else {
        const struct timespec until = {(time_t)(until_ms / 1000),
                                       (long)(until_ms % 1000) * 1000000L};
        (void)pthread_cond_timedwait(&lease->news, &lease->lock, &until); /* the same */
    }
    lease->sleeps_until_ms = 0;
}

/* The first renewal is due: renew until the task has ended. */
static void renew(weft_lease *lease)
{
    while (!atomic_load(&lease->ended)) {
        const uint64_t now = now_ms();
        if (now >= lease->due_ms) {
            lease->due_ms = now + lease->every_ms;
            if (!lease->rpc) {
                send_progress(lease);
            }
        }
        const uint64_t wait_ms = lease->due_ms - now;
        (void)weft_rt_loop_step(lease->loop, wait_ms < 60000 ? (uint32_t)wait_ms : 60000);
    }
    weft_rt_loop *loop = lease->loop;
    (void)pthread_mutex_lock(&lease->lock); /* not recursive: cannot fail */
    lease->loop = NULL;
    (void)pthread_mutex_unlock(&lease->lock); /* held by this thread */
    weft_rt_rpc_free(lease->rpc);             /* cancels */
    lease->rpc = NULL;
    weft_rt_loop_free(loop);
}

static void *work(void *arg)
{
    weft_lease *lease = arg;
    (void)pthread_mutex_lock(&lease->lock); /* not recursive: cannot fail */
    while (!lease->quit) {
        if (!lease->control) {
            sleep_locked(lease, UINT64_MAX);
        } else if (now_ms() < lease->due_ms) {
            sleep_locked(lease, lease->due_ms);
        } else {
            lease->renewing = true;
            (void)pthread_mutex_unlock(&lease->lock); /* held by this thread */
            if (make_loop(lease)) {
                renew(lease);
            } else {
                lease->due_ms += lease->every_ms;
            }
            (void)pthread_mutex_lock(&lease->lock); /* not recursive: cannot fail */
            lease->renewing = false;
            (void)pthread_cond_signal(&lease->let_go);
        }
    }
    (void)pthread_mutex_unlock(&lease->lock); /* held by this thread */
    return NULL;
}

void weft_lease_init(weft_lease *lease, const weft_alloc *a)
{
    memset(lease, 0, sizeof *lease);
    lease->alloc = a;
}

static void destroy(weft_lease *lease)
{
    (void)pthread_cond_destroy(&lease->news);   /* nobody waits any more */
    (void)pthread_cond_destroy(&lease->let_go); /* the same */
    (void)pthread_mutex_destroy(&lease->lock);  /* nobody holds it */
}

static weft_status start_thread(weft_lease *lease, weft_err *err)
{
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* a clock that Linux has */
    (void)pthread_cond_init(&lease->news, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_cond_init(&lease->let_go, NULL);
    (void)pthread_mutex_init(&lease->lock, NULL); /* a plain mutex: cannot fail on Linux */
    lease->quit = false;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all); /* cannot fail */
    /* The application's signals are for its own threads. */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int sys = pthread_create(&lease->thread, NULL, work, lease);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (sys != 0) {
        destroy(lease);
        WEFT_FAIL_SYS(err, sys, "cannot start the thread that renews the lease: %s",
                      strerrordesc_np(sys));
    }
    lease->started = true;
    (void)pthread_setname_np(lease->thread, "weft-lease"); /* for people only */
    return WEFT_OK;
}

weft_status weft_lease_start(weft_lease *lease, weft_task_control *control,
                             weft_rt_channel *channel, uint64_t assignment_id, uint64_t lease_ms,
                             weft_err *err)
{
    if (!lease->started) {
        WEFT_TRY(start_thread(lease, err));
    }
    (void)pthread_mutex_lock(&lease->lock); /* not recursive: cannot fail */
    lease->control = control;
    lease->channel = channel;
    lease->assignment_id = assignment_id;
    lease->every_ms = lease_ms / 3 + 1;
    lease->due_ms = now_ms() + lease->every_ms;
    lease->reason[0] = '\0';
    atomic_store(&lease->ended, false);
    if (lease->sleeps_until_ms > lease->due_ms) {
        (void)pthread_cond_signal(&lease->news);
    }
    (void)pthread_mutex_unlock(&lease->lock); /* held by this thread */
    return WEFT_OK;
}

void weft_lease_end(weft_lease *lease)
{
    if (!lease->control) {
        return;
    }
    (void)pthread_mutex_lock(&lease->lock); /* not recursive: cannot fail */
    atomic_store(&lease->ended, true);
    while (lease->renewing) {
        if (lease->loop) { /* one that is made from here on sees the end before a step */
            weft_rt_loop_wake(lease->loop);
        }
        (void)pthread_cond_wait(&lease->let_go, &lease->lock);
    }
    lease->control = NULL;
    lease->channel = NULL;
    (void)pthread_mutex_unlock(&lease->lock); /* held by this thread */
}

void weft_lease_done(weft_lease *lease)
{
    if (!lease->started) {
        return;
    }
    (void)pthread_mutex_lock(&lease->lock); /* not recursive: cannot fail */
    lease->quit = true;
    (void)pthread_cond_signal(&lease->news);
    (void)pthread_mutex_unlock(&lease->lock); /* held by this thread */
    (void)pthread_join(lease->thread, NULL);  /* it was created, and joins once */
    destroy(lease);
    lease->started = false;
}
