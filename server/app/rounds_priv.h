/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the sums of open rounds: what rounds.c (the set of them), rounds_fold.c and
 * rounds_finish.c share. The lock, and what stands below it, is shared with workers, the rest is
 * the owner's.
 */
#ifndef WEFT_APP_ROUNDS_PRIV_H
#define WEFT_APP_ROUNDS_PRIV_H

#include "agg/agg.h"
#include "agg/masked.h"
#include "app/memory.h"
#include "app/rounds.h"
#include "app/unmask.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ROUND_SUM_MAX_STRIPES = 16 };
/* 1 MiB of update: what stays mapped behind a worker; also the least that is worth a stripe */
enum { ROUND_SUM_WINDOW = 256 << 10 };

typedef struct round_sum {
    struct round_sum *next;
    weft_rounds *all;
    atomic_uint refs; /* the list's, one a job under way */
    uint64_t job_id;
    uint32_t round;
    uint32_t attempt;
    uint32_t cohort;
    uint64_t model_bytes;
    uint8_t base[WEFT_DIGEST_BYTES];
    weft_job_def def; /* owned */
    uint32_t folding; /* folds under way */
    bool finish_due;
    bool finishing;
    bool dropped;
    bool reported; /* finished: goes at the next tidy */
    bool base_pinned;
    /* shared with workers */
    pthread_mutex_t lock;
    weft_task task;
    weft_secure_session *session; /* referenced; NULL: a plain sum */
    weft_sum *sum;                /* made by the first fold, under lock; then by stripes */
    weft_masked_sum *masked;      /* or this */
    weft_memory acc;              /* of the sum */
    weft_err failure;             /* guarded by lock; code != OK: the round cannot be finished */
    pthread_mutex_t stripes[ROUND_SUM_MAX_STRIPES];
    uint32_t n_stripes;
    /* the finish: worker, then owner */
    weft_rt_job job;
    weft_item item;
    weft_round_result result;
    weft_fixed_totals totals;
    char liars[WEFT_UNMASK_LIARS_BYTES];
    bool version_pinned;
} round_sum;

struct weft_rounds {
    weft_rounds_host host;
    round_sum *head;
};

/** NULL: no such sum. */
round_sum *round_sum_find(const weft_rounds *rounds, uint64_t job_id, uint32_t round,
                          uint32_t attempt, weft_task task);
/** Take a reference. Any thread. */
void round_sum_ref(round_sum *s);
/** Let one go; the last one frees. Any thread. */
void round_sum_unref(round_sum *s);
/** Free the sum itself: it is read. By whoever works on it alone. */
void round_sum_drop(round_sum *s);
/** Remember the first failure: the round ends with it. Any thread. */
void round_sum_fail(round_sum *s, const weft_err *err);
/** Any thread. */
bool round_sum_has_failed(round_sum *s);
/** Of what is added: parameters, or words under the mask. */
uint64_t round_sum_elements(const round_sum *s);
/** Every update is in: begin to finish. Owner thread. */
void round_sum_start_finish(round_sum *s);

#endif
