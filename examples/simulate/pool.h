/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker threads: tasks go in and come back in the same order, whichever thread was faster, so
 * that a simulation does the same on any number of threads. Each thread has a net of its own; each
 * task a buffer of one model. One owner feeds and collects.
 */
#ifndef WEFT_SIMULATE_POOL_H
#define WEFT_SIMULATE_POOL_H

#include "model/job.h"
#include "model/metric.h"
#include "update/delta.h"
#include "update/fixed.h"
#include "update/refusal.h"
#include "world.h"

typedef enum sim_task_kind { SIM_TRAIN = 1, SIM_EVALUATE = 2 } sim_task_kind;

/* What is to be done, filled in by the owner; and what came out. */
typedef struct sim_task {
    sim_task_kind kind;
    uint32_t client;     /* TRAIN: whose; the owner's business otherwise */
    weft_data_view view; /* examples */
    const float *base;   /* [n_params], borrowed until the task came back */
    weft_plan plan;      /* TRAIN */
    uint32_t round;      /* TRAIN: where the plan's schedule is */
    uint64_t seed;
    double clip_norm;
    uint64_t max_examples;
    bool secure;          /* encoded on the grid instead, metrics and weight with it */
    weft_fixed_grid grid; /* secure */
    uint8_t rounding_seed[WEFT_FIXED_SEED_BYTES];
    /* results */
    weft_status status;
    weft_err err;
    uint64_t n_examples;
    uint64_t n_steps_examples; /* examples times epochs: for the rate */
    weft_metrics metrics;
    double loss, accuracy;
    uint8_t *update; /* TRAIN: encoded, in the task's buffer; valid until it is given back */
    uint32_t *words; /* secure: [grid.n_words], the owner's to take; what is left is freed */
    weft_delta_result delta;
    weft_refusal refusal; /* what the coordinator's check finds */
    char refusal_text[WEFT_ERR_MSG_BYTES];
} sim_task;

typedef struct sim_pool sim_pool;

WEFT_NODISCARD weft_status sim_pool_new(sim_pool **ret, const sim_world *world, uint32_t n_threads,
                                        weft_err *err);
/** Waits for the threads. */
void sim_pool_free(sim_pool *pool);

/** A free task to fill in, or NULL while all are under way. */
sim_task *sim_pool_take(sim_pool *pool);
/** Hand a taken task to the threads. */
void sim_pool_put(sim_pool *pool, sim_task *task);
/** Wait for the task that was put first; NULL: none is under way. Then give it back. */
sim_task *sim_pool_collect(sim_pool *pool);
void sim_pool_give_back(sim_pool *pool, sim_task *task);

/** Evaluate weights on a view in fixed pieces; the pool must be idle. */
WEFT_NODISCARD weft_status sim_pool_evaluate(sim_pool *pool, weft_metrics *ret,
                                             const float *weights, const weft_data_view *view,
                                             weft_err *err);

#endif
