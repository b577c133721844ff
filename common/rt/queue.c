/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the queue into an owner loop: any thread pushes, one takes. */
#include "rt/queue.h"

#include "rt/locks.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

struct weft_rt_queue {
    const weft_alloc *alloc;
    weft_rt_lock lock;
    pthread_cond_t filled; /* on the monotonic clock */
    weft_rt_node *first;   /* guarded by lock; oldest */
    weft_rt_node *last;    /* guarded by lock; valid while first is */
    bool woken;            /* guarded by lock */
    bool closed;           /* guarded by lock */
};

weft_status weft_rt_queue_new(weft_rt_queue **ret, const weft_alloc *alloc, weft_err *err)
{
    weft_rt_queue *queue = weft_array(alloc, 1, sizeof *queue);
    if (!queue) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a queue");
    }
    queue->alloc = alloc;
    pthread_condattr_t attr;
    int sys = pthread_condattr_init(&attr);
    if (sys == 0) {
        (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* a clock that Linux has */
        sys = pthread_cond_init(&queue->filled, &attr);
        (void)pthread_condattr_destroy(&attr); /* cannot fail after init */
    }
    if (sys != 0) {
        weft_free(alloc, queue);
        WEFT_FAIL_SYS(err, sys, "no condition variable for a queue");
    }
    weft_rt_lock_init(&queue->lock);
    *ret = queue;
    return WEFT_OK;
}

void weft_rt_queue_free(weft_rt_queue *queue)
{
    if (queue) {
        (void)pthread_cond_destroy(&queue->filled); /* nobody waits: see the header */
        weft_rt_lock_done(&queue->lock);
        weft_free(queue->alloc, queue);
    }
}

bool weft_rt_queue_push(weft_rt_queue *queue, weft_rt_node *node)
{
    weft_rt_lock_take(&queue->lock);
    const bool open = !queue->closed;
    if (open) {
        node->next = NULL;
        if (queue->first) {
            queue->last->next = node;
        } else {
            queue->first = node;
        }
        queue->last = node;
        (void)pthread_cond_signal(&queue->filled);
    }
    weft_rt_lock_give(&queue->lock);
    return open;
}

static struct timespec time_after(uint32_t timeout_ms)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* a clock that Linux has */
    t.tv_sec += (time_t)(timeout_ms / 1000);
    t.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

weft_rt_node *weft_rt_queue_take(weft_rt_queue *queue, uint32_t timeout_ms)
{
    const struct timespec until = time_after(timeout_ms);
    weft_rt_lock_take(&queue->lock);
    int sys = 0;
    while (!queue->first && !queue->woken && !queue->closed && sys != ETIMEDOUT) {
        if (timeout_ms == UINT32_MAX) {
            sys = pthread_cond_wait(&queue->filled, &queue->lock.mutex);
        } else {
            sys = pthread_cond_timedwait(&queue->filled, &queue->lock.mutex, &until);
        }
    }
    weft_rt_node *all = queue->first;
    queue->first = NULL;
    queue->last = NULL;
    queue->woken = false;
    weft_rt_lock_give(&queue->lock);
    return all;
}

void weft_rt_queue_wake(weft_rt_queue *queue)
{
    weft_rt_lock_take(&queue->lock);
    queue->woken = true;
    (void)pthread_cond_signal(&queue->filled);
    weft_rt_lock_give(&queue->lock);
}

void weft_rt_queue_close(weft_rt_queue *queue)
{
    weft_rt_lock_take(&queue->lock);
    queue->closed = true;
    (void)pthread_cond_signal(&queue->filled);
    weft_rt_lock_give(&queue->lock);
}
