/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Optimizer steps over flat vectors. With g the gradient, w the weights, b the base weights:
 *   g += weight_decay * w + prox_mu * (w - b)         (FedProx, Li et al. 2020)
 *   SGD:   v = momentum * v + g;  w -= learning_rate * v
 *   Adam:  Kingma and Ba 2015, algorithm 1, with bias correction
 * as PyTorch's SGD and Adam define them. Threads: any, over different vectors.
 */
#ifndef WEFT_NN_TRAIN_OPTIMIZER_H
#define WEFT_NN_TRAIN_OPTIMIZER_H

#include "model/plan.h"

#include <stdbool.h>
#include <stddef.h>

/* How many vectors of the weights' length a plan's optimizer needs beside the gradient (0..2), and
 * whether it needs a copy of the base weights. */
unsigned weft_optimizer_n_state(const weft_plan *plan);
bool weft_optimizer_needs_base(const weft_plan *plan);

/**
 * True where a step is w = keep * w + scale * g: plain SGD, which the backward pass does by itself.
 */
bool weft_optimizer_is_plain(const weft_plan *plan, float *ret_keep, float *ret_scale);

/**
 * One step.
 * @param w      [n], updated.
 * @param g      [n]; overwritten.
 * @param base   [n]; NULL unless needed.
 * @param state  [n_state][n], zero before step 1; NULL unless needed.
 * @param step   from 1.
 */
void weft_optimizer_step(const weft_plan *plan, float *w, float *g, const float *base, float *state,
                         size_t n, uint64_t step);

#endif
