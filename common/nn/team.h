/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A team of threads for one net: the caller and n - 1 others, which wait between the pieces of
 * work. They spin for a moment (the layers of a step follow each other closely), then sleep.
 *
 * Threads: a team belongs to one caller at a time.
 */
#ifndef WEFT_NN_TEAM_H
#define WEFT_NN_TEAM_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdint.h>

typedef struct weft_team weft_team;

/* Work of member index (0: the caller) of n. */
typedef void weft_team_fn(void *arg, uint32_t index, uint32_t n);

/**
 * Start the threads; *ret is the caller's to free; NULL for one thread, which all functions take.
 * @param n_threads  1..WEFT_TEAM_MOST, the caller included.
 * @param started    called once on each new thread before its first work (to pin it, say); or NULL.
 * @return WEFT_E_INVALID n_threads; WEFT_E_NOMEM, also when the system has no thread left.
 */
#define WEFT_TEAM_MOST 64U
WEFT_NODISCARD weft_status weft_team_new(weft_team **ret, uint32_t n_threads,
                                         void (*started)(void *self, uint32_t index), void *self,
                                         const weft_alloc *a, weft_err *err);
/** Ends the threads and joins them. */
void weft_team_free(weft_team *team);

uint32_t weft_team_size(const weft_team *team);

/** Run fn on all members and return when all are done. */
void weft_team_run(weft_team *team, weft_team_fn *fn, void *arg);

/** Member index's part [*from, *to) of total items, cut at multiples of unit. */
static inline void weft_team_share(uint32_t index, uint32_t n, uint64_t total, uint64_t unit,
                                   uint64_t *from, uint64_t *to)
{
    const uint64_t units = (total + unit - 1) / unit;
    const uint64_t first = units * index / n * unit;
    const uint64_t last = units * (index + 1) / n * unit;
    *from = first < total ? first : total;
    *to = last < total ? last : total;
}

#endif
