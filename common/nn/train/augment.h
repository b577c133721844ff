/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image augmentation: a training example as it might have been, drawn anew each time it is used. A
 * plan's augment_crop, augment_flip and augment_shift, in this order. Pure; any thread.
 */
#ifndef WEFT_NN_TRAIN_AUGMENT_H
#define WEFT_NN_TRAIN_AUGMENT_H

#include "base/rng.h"
#include "model/plan.h"
#include "model/spec.h"

/**
 * Change one image.
 * @param plan    checked, also for the model that takes the image (weft_plan_check_model).
 * @param x       [h][w][c], in place.
 * @param before  [h][w][c], scratch.
 * @param rng     five draws are taken, whatever is wanted: one image's do not move the next one's.
 */
void weft_augment(float *x, float *before, const weft_shape *shape, const weft_plan *plan,
                  weft_rng *rng);

#endif
