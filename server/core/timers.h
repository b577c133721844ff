/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core's timers: a heap of the moments at which something is to be looked at. A timer is a part
 * of its owner; room for it is reserved when the owner is made, so that setting it cannot fail.
 * Equal moments come in the order of creation. Owner thread.
 */
#ifndef WEFT_CORE_TIMERS_H
#define WEFT_CORE_TIMERS_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdint.h>

#define CORE_NEVER UINT64_MAX

typedef enum core_timer_kind {
    CORE_TIMER_HOLD = 1, /* a check-in was held long enough; owner: core_client */
    CORE_TIMER_LEASE,    /* owner: core_assignment */
    CORE_TIMER_POLL,     /* a secure poll was held long enough; owner: core_assignment */
    CORE_TIMER_JOB       /* something of this job is due; owner: core_job */
} core_timer_kind;

typedef struct core_timer {
    uint64_t at_ms;
    uint64_t order; /* of creation */
    size_t place;   /* in the heap, from 1; 0: not set */
    core_timer_kind kind;
    void *owner;
} core_timer;

typedef struct core_timers {
    const weft_alloc *alloc;
    core_timer **heap; /* [cap], owned; heap[place - 1] */
    size_t n;
    size_t cap;
    size_t owners; /* <= cap */
    uint64_t created;
} core_timers;

void core_timers_init(core_timers *timers, const weft_alloc *a);
void core_timers_done(core_timers *timers);
/** A new owner's timer, not set. WEFT_E_NOMEM. Pair with core_timer_done. */
WEFT_NODISCARD weft_status core_timer_init(core_timers *timers, core_timer *timer,
                                           core_timer_kind kind, void *owner, weft_err *err);
void core_timer_done(core_timers *timers, core_timer *timer);
/** Set, move, or with CORE_NEVER clear. */
void core_timer_set(core_timers *timers, core_timer *timer, uint64_t at_ms);
/** Take the first timer that is due off the heap, or NULL. */
core_timer *core_timers_take(core_timers *timers, uint64_t now_ms);
/** When the first one is due, or CORE_NEVER. */
uint64_t core_timers_next(const core_timers *timers);

#endif
