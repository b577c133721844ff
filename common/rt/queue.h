/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How threads hand work over. weft_rt_queue: many threads push, one (the owner loop) takes.
 * weft_rt_pool: a fixed number of threads that run jobs in the order in which they came. Both are
 * intrusive: what is handed over carries its own node, so handing over never fails for want of
 * memory.
 */
#ifndef WEFT_RT_QUEUE_H
#define WEFT_RT_QUEUE_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct weft_rt_node {
    struct weft_rt_node *next; /* the queue's while inside */
} weft_rt_node;

typedef struct weft_rt_queue weft_rt_queue;

/** @return WEFT_OK; WEFT_E_NOMEM; WEFT_E_IO. */
WEFT_NODISCARD weft_status weft_rt_queue_new(weft_rt_queue **ret, const weft_alloc *alloc,
                                             weft_err *err);
/** Nodes still inside are forgotten, not freed. No thread may be in take. NULL is allowed. */
void weft_rt_queue_free(weft_rt_queue *queue);

/** Append; wakes the taker. Threads: any. @return false when closed: node stays the caller's. */
bool weft_rt_queue_push(weft_rt_queue *queue, weft_rt_node *node);
/**
 * Everything that is inside, oldest first, linked by next; NULL after timeout_ms (UINT32_MAX:
 * none), a wake, or when closed and empty. One thread at a time.
 */
weft_rt_node *weft_rt_queue_take(weft_rt_queue *queue, uint32_t timeout_ms);
/** Make the present or next take return. Threads: any. */
void weft_rt_queue_wake(weft_rt_queue *queue);
/** Later pushes are refused; take hands out what is left. Threads: any. */
void weft_rt_queue_close(weft_rt_queue *queue);

typedef struct weft_rt_job {
    weft_rt_node node;
    void (*run)(struct weft_rt_job *job); /* on a pool thread; job is the callee's from then on */
} weft_rt_job;

typedef struct weft_rt_pool weft_rt_pool;

/**
 * @param n_threads  1..64; with 1 the jobs run strictly one after another.
 * @param name       of the threads, at most 15 bytes.
 * @return WEFT_OK; WEFT_E_INVALID; WEFT_E_NOMEM; WEFT_E_IO no thread.
 */
WEFT_NODISCARD weft_status weft_rt_pool_new(weft_rt_pool **ret, const weft_alloc *alloc,
                                            uint32_t n_threads, const char *name, weft_err *err);
/** Threads: any, also jobs. @return false after stop: job stays the caller's. */
bool weft_rt_pool_submit(weft_rt_pool *pool, weft_rt_job *job);
/** Jobs waiting or running. Threads: any. */
size_t weft_rt_pool_busy(weft_rt_pool *pool);
/** Refuse new jobs, run all that are there, join the threads. Blocks. Not from a job. */
void weft_rt_pool_stop(weft_rt_pool *pool);
/** Stops first where that was not done. NULL is allowed. */
void weft_rt_pool_free(weft_rt_pool *pool);

#endif
