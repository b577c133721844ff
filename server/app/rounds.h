/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sums of open rounds: the core says open, fold, finish, drop; the work is done on the pool and
 * comes back to the owner thread as items.
 *
 * An update is folded from the spool's mapping by stripes of elements, each under its own lock, so
 * several workers share one big update and several small updates go side by side; the sum is exact,
 * so their order does not matter. Memory: the sum (8 bytes a parameter), at the end the next
 * weights.
 *
 * A secure sum is folded the same way from masked words (4 bytes each); its finish takes the masks
 * off (unmask.h), checks what came out and goes on as the other. That of an evaluation ends there.
 *
 * Threads: the functions belong to the owner thread.
 */
#ifndef WEFT_APP_ROUNDS_H
#define WEFT_APP_ROUNDS_H

#include "app/models.h"
#include "store/spool.h"

typedef struct weft_rounds weft_rounds;

typedef struct weft_round_result {
    uint64_t job_id;
    uint32_t round;
    uint32_t attempt;
    uint64_t assignment_id; /* of a fold */
    weft_task task;
    bool ok; /* of a finish, and what follows */
    uint8_t version[WEFT_DIGEST_BYTES];
    uint64_t bytes;
    const char *reason;              /* when not ok */
    const weft_fixed_totals *totals; /* of a secure sum, or NULL */
    const char *liars;               /* of a secure sum: who sent wrong shares, or NULL */
} weft_round_result;

typedef struct weft_rounds_host {
    void *self;
    const weft_alloc *alloc;
    const weft_log *log;
    weft_store *store;
    weft_spool *spool;
    weft_models *models;
    weft_rt_pool *pool;
    uint32_t n_workers;
    bool (*post)(void *self, weft_item *item);
    /* owner thread; owner is what the item was run with */
    void (*folded)(void *owner, const weft_round_result *result);
    void (*finished)(void *owner, const weft_round_result *result);
} weft_rounds_host;

/** host is copied, what it points at borrowed. */
WEFT_NODISCARD weft_status weft_rounds_new(weft_rounds **ret, const weft_rounds_host *host,
                                           weft_err *err);
/** Free; the pool has stopped. NULL is allowed. */
void weft_rounds_free(weft_rounds *rounds);

/** WEFT_ACTION_OPEN_SUM: nothing is allocated before the first fold. WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_rounds_open(weft_rounds *rounds, const weft_action *action,
                                            weft_err *err);
/** WEFT_ACTION_FOLD. WEFT_E_NOTFOUND no such sum; WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_rounds_fold(weft_rounds *rounds, const weft_action *action,
                                            weft_err *err);
/** WEFT_ACTION_FINISH; the result comes once all folds are through. */
WEFT_NODISCARD weft_status weft_rounds_finish(weft_rounds *rounds, const weft_action *action,
                                              weft_err *err);
/** WEFT_ACTION_DROP_SUM: results that are under way are forgotten. Unknown ones are fine. */
void weft_rounds_drop(weft_rounds *rounds, uint64_t job_id, uint32_t round, uint32_t attempt,
                      weft_task task);
/** Let go of what has finished, once the actions that followed were executed. */
void weft_rounds_tidy(weft_rounds *rounds);
/** Drop all: the core is built anew. */
void weft_rounds_drop_all(weft_rounds *rounds);

#endif
