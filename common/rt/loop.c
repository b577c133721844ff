/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the calling side's completion queue. Without a thread, gRPC works inside step. With one, the
 * thread collects completed tags and counts them into an eventfd; step runs them: callbacks are
 * always on the owner thread.
 */
#include "rt/channel_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* How long a signal handler's wake may go unnoticed without a thread. */
#define SIGNAL_CHECK_MS 200

/* ---- the thread ------------------------------------------------------------------------------ */

static void ring(const weft_rt_loop *loop)
{
    const uint64_t one = 1;
    /* fails only when the counter is full: it is readable then */
    (void)!write(loop->fd, &one, sizeof one);
}

static void *collect(void *arg)
{
    weft_rt_loop *loop = arg;
    weft_rt_tag *tag = NULL;
    bool ok = false;
    while (weft_rt_cq_next(loop->cq, WEFT_RT_NO_TIMEOUT, &tag, &ok) == WEFT_RT_NEXT_EVENT) {
        tag->ok = ok;
        tag->next = NULL;
        weft_rt_lock_take(&loop->lock);
        if (loop->first) {
            loop->last->next = tag;
        } else {
            loop->first = tag;
        }
        loop->last = tag;
        weft_rt_lock_give(&loop->lock);
        ring(loop);
    }
    return NULL;
}

static weft_status start_thread(weft_rt_loop *loop, weft_err *err)
{
    loop->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->fd < 0) {
        WEFT_FAIL_SYS(err, errno, "no eventfd for a loop: %s", strerrordesc_np(errno));
    }
    const int sys = pthread_create(&loop->thread, NULL, collect, loop);
    if (sys != 0) {
        WEFT_FAIL_SYS(err, sys, "cannot start a poller thread: %s", strerrordesc_np(sys));
    }
    (void)pthread_setname_np(loop->thread, "weft-loop"); /* for people only */
    loop->threaded = true;
    return WEFT_OK;
}

/* ---- waking without a thread ----------------------------------------------------------------- */

static void on_wake(weft_rt_tag *tag, bool ok)
{
    (void)ok;
    weft_rt_loop *loop = WEFT_RT_OWNER(tag, weft_rt_loop, wake_tag);
    atomic_store(&loop->wake_sent, false);
}

static weft_status make_waker(weft_rt_loop *loop, weft_err *err)
{
    loop->wake_tag.done = on_wake;
    loop->wake_channel = grpc_lame_client_channel_create("weft:wake", GRPC_STATUS_UNAVAILABLE, "");
    if (loop->wake_channel) {
        loop->wake_call =
            grpc_channel_create_call(loop->wake_channel, NULL, GRPC_PROPAGATE_DEFAULTS, loop->cq,
                                     grpc_slice_from_static_string("/weft/wake"), NULL,
                                     gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    }
    if (!loop->wake_call) {
        WEFT_FAIL(err, WEFT_E_INTERNAL, "gRPC makes no call to wake a loop with");
    }
    return WEFT_OK;
}

void weft_rt_loop_wake(weft_rt_loop *loop)
{
    if (loop->threaded) {
        ring(loop);
    } else if (!atomic_exchange(&loop->wake_sent, true)) {
        if (!weft_rt_batch(loop->wake_call, NULL, 0, &loop->wake_tag)) {
            atomic_store(&loop->wake_sent, false);
            atomic_store(&loop->wake_signal, true); /* seen within SIGNAL_CHECK_MS */
        }
    }
}

void weft_rt_loop_wake_signal(weft_rt_loop *loop)
{
    if (loop->threaded) {
        const int saved = errno;
        ring(loop);
        errno = saved;
    } else {
        atomic_store(&loop->wake_signal, true);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

weft_status weft_rt_loop_new(weft_rt_loop **ret, const weft_rt_loop_options *options, weft_err *err)
{
    if (!options || options->size != sizeof *options || !options->alloc) {
        WEFT_FAIL(err, WEFT_E_INVALID, "loop options need an allocator");
    }
    weft_rt_loop *loop = weft_array(options->alloc, 1, sizeof *loop);
    if (!loop) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a loop");
    }
    loop->alloc = options->alloc;
    loop->fd = -1;
    weft_rt_lock_init(&loop->lock);
    grpc_init();
    loop->cq = grpc_completion_queue_create_for_next(NULL);
    const weft_status status =
        options->poller_thread ? start_thread(loop, err) : make_waker(loop, err);
    if (status != WEFT_OK) {
        weft_rt_loop_free(loop);
        return status;
    }
    *ret = loop;
    return WEFT_OK;
}

void weft_rt_loop_add(weft_rt_loop *loop, weft_rt_rpc *rpc)
{
    rpc->previous = NULL;
    rpc->next = loop->rpcs;
    if (loop->rpcs) {
        loop->rpcs->previous = rpc;
    }
    loop->rpcs = rpc;
}

void weft_rt_loop_remove(weft_rt_loop *loop, weft_rt_rpc *rpc)
{
    if (rpc->previous) {
        rpc->previous->next = rpc->next;
    } else {
        loop->rpcs = rpc->next;
    }
    if (rpc->next) {
        rpc->next->previous = rpc->previous;
    }
}

int weft_rt_loop_fd(const weft_rt_loop *loop)
{
    return loop->fd;
}

/* ---- stepping -------------------------------------------------------------------------------- */

static void run_tag(weft_rt_loop *loop, weft_rt_tag *tag, bool ok)
{
    loop->handled += tag != &loop->wake_tag;
    tag->done(tag, ok);
}

/* Everything that the thread has collected. */
static void run_collected(weft_rt_loop *loop)
{
    uint64_t count = 0;
    (void)!read(loop->fd, &count, sizeof count); /* nothing there is fine */
    weft_rt_lock_take(&loop->lock);
    weft_rt_tag *tag = loop->first;
    loop->first = NULL;
    weft_rt_lock_give(&loop->lock);
    while (tag) {
        weft_rt_tag *next = tag->next; /* before the tag's owner may go */
        run_tag(loop, tag, tag->ok);
        tag = next;
    }
}

static void step_threaded(weft_rt_loop *loop, uint32_t timeout_ms)
{
    struct pollfd wait = {.fd = loop->fd, .events = POLLIN};
    const int timeout = timeout_ms > INT32_MAX ? -1 : (int)timeout_ms;
    (void)poll(&wait, 1, timeout); /* a signal ends it early, which a step may do */
    run_collected(loop);
}

/* True when the step is over. */
static bool step_once(weft_rt_loop *loop, uint32_t timeout_ms)
{
    weft_rt_tag *tag = NULL;
    bool ok = false;
    if (weft_rt_cq_next(loop->cq, timeout_ms, &tag, &ok) != WEFT_RT_NEXT_EVENT) {
        return atomic_exchange(&loop->wake_signal, false);
    }
    do {
        run_tag(loop, tag, ok);
    } while (weft_rt_cq_next(loop->cq, 0, &tag, &ok) == WEFT_RT_NEXT_EVENT);
    return true;
}

size_t weft_rt_loop_step(weft_rt_loop *loop, uint32_t timeout_ms)
{
    loop->handled = 0;
    if (loop->threaded) {
        step_threaded(loop, timeout_ms);
        return loop->handled;
    }
    const uint64_t until = timeout_ms == UINT32_MAX ? UINT64_MAX : weft_rt_now_ms() + timeout_ms;
    for (;;) {
        const uint64_t now = weft_rt_now_ms();
        const uint64_t left = until > now ? until - now : 0;
        const uint32_t slice = left < SIGNAL_CHECK_MS ? (uint32_t)left : SIGNAL_CHECK_MS;
        if (step_once(loop, slice) || left == 0) {
            return loop->handled;
        }
    }
}

void weft_rt_loop_free(weft_rt_loop *loop)
{
    if (!loop) {
        return;
    }
    for (weft_rt_rpc *rpc = loop->rpcs; rpc; rpc = rpc->next) {
        weft_rt_rpc_abandon(rpc);
    }
    while (loop->rpcs || atomic_load(&loop->wake_sent)) {
        (void)weft_rt_loop_step(loop, SIGNAL_CHECK_MS);
    }
    if (loop->wake_call) {
        grpc_call_unref(loop->wake_call);
    }
    if (loop->wake_channel) {
        grpc_channel_destroy(loop->wake_channel);
    }
    grpc_completion_queue_shutdown(loop->cq);
    if (loop->threaded) {
        (void)pthread_join(loop->thread, NULL); /* our own, joined once */
    } else {
        weft_rt_tag *tag = NULL;
        bool ok = false;
        (void)weft_rt_cq_next(loop->cq, WEFT_RT_NO_TIMEOUT, &tag, &ok); /* empty: shut down */
    }
    grpc_completion_queue_destroy(loop->cq);
    grpc_shutdown();
    if (loop->fd >= 0) {
        (void)close(loop->fd); /* an eventfd: nothing to lose */
    }
    weft_rt_lock_done(&loop->lock);
    weft_free(loop->alloc, loop);
}
