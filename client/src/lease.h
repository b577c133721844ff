/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While a trainer runs on the owner thread, one thread of libweft's own renews the assignment's
 * lease: a Progress every lease_ms / 3, over the transport's channel, which the owner thread leaves
 * alone meanwhile. It never calls the application. When the coordinator says stop, the trainer's
 * cancel flag is set.
 *
 * Threads: start and end are the owner thread's; progress and canceled any.
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
    weft_task_control *control; /* borrowed */
    weft_rt_channel *channel;   /* borrowed */
    weft_rt_loop *loop; /* owned; made and stepped by the thread, once the first renewal is due;
                           set with lock held */
    weft_rt_rpc *rpc;   /* owned; the thread's */
    pthread_t thread;
    bool started; /* the thread exists */
    pthread_mutex_t lock;
    pthread_cond_t end; /* on the monotonic clock */
    uint64_t assignment_id;
    uint64_t every_ms;
    uint64_t due_ms;                      /* the thread's */
    atomic_bool ended;                    /* set with lock held */
    char reason[WEFT_SESSION_TEXT_BYTES]; /* of the stop; read it after end */
} weft_lease;

/** @return WEFT_E_IO no thread. Most trainers are done before a renewal is due: it costs a thread.
 */
WEFT_NODISCARD weft_status weft_lease_start(weft_lease *lease, weft_task_control *control,
                                            weft_rt_channel *channel, uint64_t assignment_id,
                                            uint64_t lease_ms, const weft_alloc *a, weft_err *err);
/** Ends the thread; waits for it, for milliseconds. */
void weft_lease_end(weft_lease *lease);

#endif
