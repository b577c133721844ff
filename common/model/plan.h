/* SPDX-License-Identifier: Apache-2.0 */
/* The training plan: how a client trains its part. Plain data and its validation; pure. */
#ifndef WEFT_MODEL_PLAN_H
#define WEFT_MODEL_PLAN_H

#include "base/err.h"
#include "model/spec.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum weft_optimizer { WEFT_OPTIMIZER_SGD = 1, WEFT_OPTIMIZER_ADAM = 2 } weft_optimizer;

typedef enum weft_task {
    WEFT_TASK_TRAIN = 1,
    WEFT_TASK_EVALUATE = 2,
    WEFT_TASK_STATS = 3
} weft_task;

/* How the learning rate goes on over the rounds; time runs on within one, batch by batch. */
typedef enum weft_schedule {
    WEFT_SCHEDULE_CONSTANT = 0,
    WEFT_SCHEDULE_STEP = 1,  /* times schedule_factor after each schedule_rounds */
    WEFT_SCHEDULE_COSINE = 2 /* down to schedule_factor of it within schedule_rounds */
} weft_schedule;

/* Which arithmetic trains. */
typedef enum weft_numerics {
    WEFT_NUMERICS_FAST = 0,    /* the fastest on the client's processor */
    WEFT_NUMERICS_PORTABLE = 1 /* the same bits on every processor */
} weft_numerics;

typedef struct weft_plan {
    weft_optimizer optimizer;
    double learning_rate; /* (0, 1000] */
    double momentum;      /* [0, 1), SGD */
    double weight_decay;  /* [0, 1] */
    double beta1, beta2;  /* [0, 1), Adam */
    double epsilon;       /* (0, 1], Adam */
    double prox_mu;       /* [0, 1000]: FedProx's term mu/2 |w - base|^2 */
    uint32_t batch_size;  /* 0: all examples in one batch; else 1..65536 */
    uint32_t epochs;      /* 1..10000 */
    uint64_t seed;        /* shuffles and dropout; mixed with client, round and job by the client */
    weft_numerics numerics;
    weft_schedule schedule;
    uint32_t schedule_rounds; /* 1..1000000; constant: 0 */
    double schedule_factor;   /* [0, 1]; constant: 0 */
    double warmup_rounds;     /* [0, 1000000]: the rate rises from 0 for so long */
    double clip_gradient;     /* [0, 1000000]: largest norm of a batch's gradient; 0: any */
    uint32_t early_stop;    /* 0..10000: end after so many epochs without a lower loss; 0: never */
    uint32_t augment_shift; /* 0..1024: images move by up to so many pixels, zeros come in */
    uint32_t augment_crop;  /* 0..1024: up to so many rows and columns are cut off, the rest
                             * enlarged to the whole */
    bool augment_flip;      /* every second image is mirrored, left for right */
} weft_plan;

/** SGD, learning_rate 0.1, batch_size 32, one epoch, Adam's usual betas. */
#define WEFT_PLAN_INIT                                                                             \
    {                                                                                              \
        .optimizer = WEFT_OPTIMIZER_SGD, .learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.999,       \
        .epsilon = 1e-8, .batch_size = 32, .epochs = 1, .seed = 1                                  \
    }

/** WEFT_E_INVALID naming the field, its value and its range. */
WEFT_NODISCARD weft_status weft_plan_check(const weft_plan *plan, weft_err *err);
/** Does a checked plan augment images? */
bool weft_plan_augments(const weft_plan *plan);
/**
 * Does a checked plan fit a model? Of plain tensors only their own trainer knows what they take.
 * @return WEFT_E_INVALID naming the field: it augments what is no image, or the crop leaves nothing
 * of the images.
 */
WEFT_NODISCARD weft_status weft_plan_check_model(const weft_plan *plan, const weft_spec *spec,
                                                 weft_err *err);
/** The word of the text form: "step", "portable". Static strings. */
const char *weft_optimizer_name(weft_optimizer optimizer);
const char *weft_schedule_name(weft_schedule schedule);
const char *weft_numerics_name(weft_numerics numerics);

#endif
