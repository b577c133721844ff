/* SPDX-License-Identifier: Apache-2.0 */
/* The training plan: how a client trains its part. Plain data and its validation; pure. */
#ifndef WEFT_MODEL_PLAN_H
#define WEFT_MODEL_PLAN_H

#include "base/err.h"

#include <stdint.h>

typedef enum weft_optimizer { WEFT_OPTIMIZER_SGD = 1, WEFT_OPTIMIZER_ADAM = 2 } weft_optimizer;

typedef enum weft_task {
    WEFT_TASK_TRAIN = 1,
    WEFT_TASK_EVALUATE = 2,
    WEFT_TASK_STATS = 3
} weft_task;

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
} weft_plan;

/** SGD, learning_rate 0.1, batch_size 32, one epoch, Adam's usual betas. */
#define WEFT_PLAN_INIT                                                                             \
    {                                                                                              \
        WEFT_OPTIMIZER_SGD, 0.1, 0.0, 0.0, 0.9, 0.999, 1e-8, 0.0, 32, 1, 1, WEFT_NUMERICS_FAST     \
    }

/** WEFT_E_INVALID naming the field, its value and its range. */
WEFT_NODISCARD weft_status weft_plan_check(const weft_plan *plan, weft_err *err);

#endif
