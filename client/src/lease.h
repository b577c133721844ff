/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While a trainer runs on the owner thread, one thread of libweft's own renews the assignment's
 * lease: a Progress every lease_ms / 3, over the transport's channel, which the owner thread leaves
 * alone meanwhile. It never calls the application. When the coordinator says stop, the trainer's
 * cancel flag is set. Between tasks the thread sleeps: most tasks end before a renewal is due, and
 * then it is not even woken.
 *
 * Threads: the functions are the owner thread's; progress and canceled any.
 */
#ifndef WEFT_CLIENT_LEASE_H
#define WEFT_CLIENT_LEASE_H

#include "rt/channel.h"
#include "session.h"
#include "weft/weft.h"

#include <pthread.h>
#include <stdatomic.h>

/* What a trainer holds. */
struct weft_task_control {
    atomic_uint_least64_t done;
    atomic_uint_least64_t total;
    atomic_bool lease_stop;         /* the coordinator said stop */
    const atomic_bool *client_stop; /* the host said stop; borrowed */
};

typedef struct weft_lease {
    const weft_alloc *alloc;
    pthread_t thread;
    bool started; /* the thread exists */
    pthread_mutex_t lock;
    pthread_cond_t news;   /* for the thread; on the monotonic clock */
    pthread_cond_t let_go; /* for the owner: renewing is false */
    /* the task; written with lock held while the thread is not renewing */
    weft_task_control *control; /* borrowed; NULL: none */
    weft_rt_channel *channel;   /* borrowed */
    uint64_t assignment_id;
    uint64_t every_ms;
    uint64_t due_ms;
    uint64_t sleeps_until_ms; /* guarded by lock: when the thread looks again by itself */
    bool renewing;            /* guarded by lock: the thread is at it, until the task ends */
    bool quit;                /* guarded by lock */
    atomic_bool ended;        /* the task; set with lock held */
    weft_rt_loop *loop; /* owned; made and stepped by the thread, once the first renewal is due;
                           set with lock held */
    weft_rt_rpc *rpc;   /* owned; the thread's */
    char reason[WEFT_SESSION_TEXT_BYTES]; /* of the stop; read it after end */
} weft_lease;

/** For start; costs nothing yet. */
void weft_lease_init(weft_lease *lease, const weft_alloc *a);
/** A task begins. @return WEFT_E_IO no thread. */
WEFT_NODISCARD weft_status weft_lease_start(weft_lease *lease, weft_task_control *control,
                                            weft_rt_channel *channel, uint64_t assignment_id,
                                            uint64_t lease_ms, weft_err *err);
/** The task has ended: channel and control are let go; waits for that, for milliseconds. */
void weft_lease_end(weft_lease *lease);
/** End the thread; start makes a new one. Between tasks. */
void weft_lease_done(weft_lease *lease);

#endif
