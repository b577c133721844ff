/* SPDX-License-Identifier: Apache-2.0 */
/* A binary heap of pointers that know their places. */
#include "core/timers.h"

#include <stdbool.h>
#include <string.h>

void core_timers_init(core_timers *timers, const weft_alloc *a)
{
    memset(timers, 0, sizeof *timers);
    timers->alloc = a;
}

void core_timers_done(core_timers *timers)
{
    weft_free(timers->alloc, timers->heap);
    timers->heap = NULL;
}

weft_status core_timer_init(core_timers *timers, core_timer *timer, core_timer_kind kind,
                            void *owner, weft_err *err)
{
    if (timers->owners == timers->cap) {
        const size_t cap = timers->cap ? timers->cap * 2 : 32;
        core_timer **heap =
            weft_array_resize(timers->alloc, timers->heap, cap, sizeof(core_timer *));
        if (!heap) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %zu timers", cap);
        }
        timers->heap = heap;
        timers->cap = cap;
    }
    timers->owners++;
    *timer = (core_timer){CORE_NEVER, timers->created++, 0, kind, owner};
    return WEFT_OK;
}

static bool before(const core_timer *a, const core_timer *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void place(core_timers *timers, core_timer *timer, size_t at)
{
    timers->heap[at - 1] = timer;
    timer->place = at;
}

static void rise(core_timers *timers, core_timer *timer)
{
    size_t at = timer->place;
    while (at > 1 && before(timer, timers->heap[at / 2 - 1])) {
        place(timers, timers->heap[at / 2 - 1], at);
        at /= 2;
    }
    place(timers, timer, at);
}

static void sink(core_timers *timers, core_timer *timer)
{
    size_t at = timer->place;
    for (size_t child = at * 2; child <= timers->n; child = at * 2) {
        if (child < timers->n && before(timers->heap[child], timers->heap[child - 1])) {
            child++;
        }
        if (!before(timers->heap[child - 1], timer)) {
            break;
        }
        place(timers, timers->heap[child - 1], at);
        at = child;
    }
    place(timers, timer, at);
}

static void remove_timer(core_timers *timers, core_timer *timer)
{
    const size_t at = timer->place;
    core_timer *last = timers->heap[timers->n - 1];
    timers->n--;
    timer->place = 0;
    if (last != timer) {
        place(timers, last, at);
        rise(timers, last);
        sink(timers, last);
    }
}

void core_timer_set(core_timers *timers, core_timer *timer, uint64_t at_ms)
{
    if (timer->place > 0 && timer->at_ms == at_ms) {
        return;
    }
    if (timer->place > 0) {
        remove_timer(timers, timer);
    }
    timer->at_ms = at_ms;
    if (at_ms != CORE_NEVER) {
        timers->n++;
        place(timers, timer, timers->n);
        rise(timers, timer);
    }
}

void core_timer_done(core_timers *timers, core_timer *timer)
{
    if (timer->owner) {
        core_timer_set(timers, timer, CORE_NEVER);
        timer->owner = NULL;
        timers->owners--;
    }
}

core_timer *core_timers_take(core_timers *timers, uint64_t now_ms)
{
    if (timers->n == 0 || timers->heap[0]->at_ms > now_ms) {
        return NULL;
    }
    core_timer *timer = timers->heap[0];
    core_timer_set(timers, timer, CORE_NEVER);
    return timer;
}

uint64_t core_timers_next(const core_timers *timers)
{
    return timers->n > 0 ? timers->heap[0]->at_ms : CORE_NEVER;
}
