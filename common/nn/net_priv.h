/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a net: shared by build.c, which plans it, and net.c, which runs it. */
#ifndef WEFT_NN_NET_PRIV_H
#define WEFT_NN_NET_PRIV_H

#include "nn/conv.h"
#include "nn/dense.h"
#include "nn/net.h"
#include "nn/pool.h"
#include "nn/team.h"

#include "base/rng.h"

typedef enum weft_step_kind {
    WEFT_STEP_DENSE, /* with the relu behind it */
    WEFT_STEP_CONV,  /* with the relu and the max-pool behind it */
    WEFT_STEP_MAXPOOL,
    WEFT_STEP_AVGPOOL,
    WEFT_STEP_RELU,
    WEFT_STEP_TANH,
    WEFT_STEP_SIGMOID,
    WEFT_STEP_DROPOUT
} weft_step_kind;

/* What runs: one or more layers of the spec. */
typedef struct weft_step {
    weft_step_kind kind;
    weft_dense dense;
    weft_conv conv;
    const weft_conv_ops *conv_ops;
    weft_pool pool;
    float rate;
    weft_rng rng; /* dropout's */
    size_t n_in;  /* values of one example */
    size_t n_out;
    uint64_t weight; /* offsets into the weight vector */
    uint64_t bias;
    bool has_bias;
    float *out;    /* [max_batch][n_out], in the workspace */
    uint8_t *mask; /* [max_batch][n_out]: slots of a fused pool, or what dropout kept; or NULL */
} weft_step;

struct weft_net {
    const weft_alloc *alloc;
    void *block; /* the workspace, owned */
    uint32_t n_steps;
    weft_step *steps; /* [n_steps], owned */
    uint32_t max_batch;
    bool train;
    weft_team *team; /* owned; NULL: one thread */
    uint32_t n_inputs;
    uint32_t n_outputs;
    uint64_t n_params;
    weft_loss loss;
    weft_net_memory memory;
    /* in the workspace */
    float *input;       /* [max_batch][n_inputs] */
    float *gradient[2]; /* [max_batch][most values between two steps]; train only */
    float *scratch;     /* [n_threads][n_scratch], of one step at a time */
    float *dw;          /* gradients of the largest convolution; train only */
    float *db;          /* of the largest bias; train only */
    size_t n_scratch;
    /* the last forward */
    const float *weights;
    const float *x;
    uint32_t n;
};

#endif
