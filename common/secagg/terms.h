/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an assignment says about its secure session. The coordinator fills the terms from the job,
 * the assignment carries them, and both sides make the same grid and thereby the same context of
 * them: any difference gives another ctx, and no message of the other side is taken.
 *
 * A client makes its weft_secagg_context of an assignment thus: policy = terms.policy, encoding =
 * weft_fixed_describe(weft_secagg_terms_grid(...)), all else as the assignment names it.
 *
 * Pure; any thread; no allocation.
 */
#ifndef WEFT_SECAGG_TERMS_H
#define WEFT_SECAGG_TERMS_H

#include "model/job.h"
#include "secagg/params.h"
#include "update/fixed.h"

/* Three names: "accuracy", "loss" and the metric that ends the job. */
#define WEFT_SECAGG_METRICS_BYTES 64

typedef struct weft_secagg_terms {
    weft_secagg_policy policy; /* min_cohort: the round's minimum */
    uint64_t phase_deadline_ms;
    uint32_t max_cohort; /* of the grid: no more than so many are ever summed */
    char metrics[WEFT_SECAGG_METRICS_BYTES + 1]; /* names, sorted, one blank between two */
} weft_secagg_terms;

/**
 * The terms of a job's task.
 * @param def   a checked definition with secure_aggregation.
 * @param task  TRAIN and STATS: round.target clients are summed; EVALUATE: evaluation.clients.
 */
void weft_secagg_terms_make(weft_secagg_terms *ret, const weft_job_def *def, weft_task task);

/**
 * Can a job be aggregated securely with any cohort that it allows? Parameters for its smallest and
 * largest session, training and evaluation, and their grids.
 * @param n_params  of the model.
 * @return WEFT_E_INVALID, WEFT_E_LIMIT: no, and what to change. A plain job passes.
 */
WEFT_NODISCARD weft_status weft_secagg_terms_check(const weft_job_def *def, uint64_t n_params,
                                                   weft_err *err);

/**
 * The grid of an assignment's vector.
 * @param n_params      of the model (base_bytes / 4); not looked at for EVALUATE, whose vector
 * holds metrics only.
 * @param clip_norm, max_examples  as in the assignment.
 * @return WEFT_E_INVALID the terms (as a client gets them from anybody); WEFT_E_LIMIT no grid: see
 *         weft_fixed_grid_make.
 */
WEFT_NODISCARD weft_status weft_secagg_terms_grid(weft_fixed_grid *ret,
                                                  const weft_secagg_terms *terms, weft_task task,
                                                  uint64_t n_params, double clip_norm,
                                                  uint64_t max_examples, weft_err *err);

#endif
