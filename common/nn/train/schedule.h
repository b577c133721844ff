/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learning-rate schedules of a plan (model/plan.h). Time is counted in rounds and runs on within
 * one: a client that has done a third of its batches of round 5 is at 4 1/3. Pure; any thread.
 */
#ifndef WEFT_NN_TRAIN_SCHEDULE_H
#define WEFT_NN_TRAIN_SCHEDULE_H

#include "model/plan.h"

/**
 * The learning rate of one batch.
 * @param round  from 1.
 * @param done   batches of this round before it; below total.
 */
double weft_schedule_rate(const weft_plan *plan, uint32_t round, uint64_t done, uint64_t total);

#endif
