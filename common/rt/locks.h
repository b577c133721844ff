/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All locks of rt, in the order in which they may be taken; never two of the same line at once, and
 * never a callback with one held. gRPC is entered with (1) held: it does not call back, except for
 * the destruction of slices (which only counts, see blob.h) and its log.
 *
 *   1. weft_rt_call.lock    one call: what was sent, what is outstanding, what is to be told
 *   2. weft_rt_server.lock  the table of clients and live calls
 *   3. weft_rt_server.tls_lock  the current certificate (taken by gRPC's threads in handshakes)
 *   4. weft_rt_queue.lock, weft_rt_pool.lock, weft_rt_loop.lock  leaves
 *
 * Functions that need a lock held are called ..._locked and say which with WEFT_REQUIRES; clang
 * checks it (-Wthread-safety).
 */
#ifndef WEFT_RT_LOCKS_H
#define WEFT_RT_LOCKS_H

#include <pthread.h>

#if defined(__clang__)
#define WEFT_CAPABILITY(name) __attribute__((capability(name)))
#define WEFT_REQUIRES(lock)   __attribute__((requires_capability(lock)))
#define WEFT_ACQUIRE(lock)    __attribute__((acquire_capability(lock)))
#define WEFT_RELEASE(lock)    __attribute__((release_capability(lock)))
#define WEFT_UNCHECKED        __attribute__((no_thread_safety_analysis))
#else
#define WEFT_CAPABILITY(name)
#define WEFT_REQUIRES(lock)
#define WEFT_ACQUIRE(lock)
#define WEFT_RELEASE(lock)
#define WEFT_UNCHECKED
#endif

typedef struct WEFT_CAPABILITY("mutex") weft_rt_lock {
    pthread_mutex_t mutex;
} weft_rt_lock;

/* A plain mutex: on Linux none of these can fail. */
static inline void weft_rt_lock_init(weft_rt_lock *lock)
{
    (void)pthread_mutex_init(&lock->mutex, NULL);
}

static inline void weft_rt_lock_done(weft_rt_lock *lock)
{
    (void)pthread_mutex_destroy(&lock->mutex);
}

static inline void weft_rt_lock_take(weft_rt_lock *lock) WEFT_ACQUIRE(lock) WEFT_UNCHECKED
{
    (void)pthread_mutex_lock(&lock->mutex);
}

static inline void weft_rt_lock_give(weft_rt_lock *lock) WEFT_RELEASE(lock) WEFT_UNCHECKED
{
    (void)pthread_mutex_unlock(&lock->mutex);
}

#endif
