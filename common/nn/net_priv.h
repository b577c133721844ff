/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a net: shared by build.c, which plans it, and net.c, which runs it. */
#ifndef WEFT_NN_NET_PRIV_H
#define WEFT_NN_NET_PRIV_H

#include "nn/conv.h"
#include "nn/dense.h"
#include "nn/grouped.h"
#include "nn/isa/isa.h"
#include "nn/net.h"
#include "nn/norm.h"
#include "nn/pool.h"
#include "nn/recurrent.h"
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
    WEFT_STEP_DROPOUT,
    WEFT_STEP_LEAKY_RELU,
    WEFT_STEP_GELU,
    WEFT_STEP_SILU,
    WEFT_STEP_ADD,     /* with the relu behind it */
    WEFT_STEP_GROUPED, /* a convolution with groups and the relu behind it */
    WEFT_STEP_NORM,    /* groupnorm and layernorm with the relu behind them */
    WEFT_STEP_BATCHNORM,
    WEFT_STEP_MEAN,
    WEFT_STEP_EMBEDDING,
    WEFT_STEP_RECURRENT,
    WEFT_STEP_LAST
} weft_step_kind;
enum { WEFT_N_STEP_KINDS = WEFT_STEP_LAST + 1 };

/* Where a step's input comes from, instead of a step's number: the net's input. */
enum { WEFT_FROM_INPUT = -1 };

/* What runs: one or more layers of the spec. */
typedef struct weft_step {
    weft_step_kind kind;
    weft_dense dense;
    weft_conv conv;
    const weft_conv_ops *conv_ops;
    weft_pool pool;
    weft_grouped grouped;
    weft_norm norm; /* for one example */
    weft_recurrent recurrent;
    const weft_recurrent_ops *recurrent_ops;
    int32_t from;      /* the step whose output is the input */
    int32_t other;     /* add: the second one */
    bool kept;         /* other steps than the next read the output, too */
    bool grad_written; /* in the current backward */
    bool relu;         /* add */
    uint32_t vocab;    /* embedding */
    uint32_t places;   /* dense, embedding, last, mean: rows of one example */
    float rate;
    weft_rng rng; /* dropout's */
    size_t n_in;  /* values of one example */
    size_t n_out;
    uint64_t weight; /* offsets into the weight vector */
    uint64_t bias;
    bool has_bias;
    float *out;     /* [max_batch][n_out], in the workspace */
    float *grad;    /* as out: the gradient there, where a step is kept; train only */
    float *state;   /* what backward needs beside in- and outputs: norms' means, recurrent states */
    float *running; /* batchnorm: its running mean and variance; train only */
    uint8_t *mask;  /* [max_batch][n_out]: slots of a fused pool, or what dropout kept; or NULL */
} weft_step;

struct weft_net {
    const weft_alloc *alloc;
    void *block; /* the workspace, owned */
    uint32_t n_steps;
    weft_step *steps; /* [n_steps], owned */
    uint32_t max_batch;
    bool train;
    uint32_t n_threads;
    weft_team *team; /* owned; NULL: one thread */
    const weft_isa *isa;
    bool blas; /* some matrix products are OpenBLAS's */
    uint32_t n_inputs;
    uint32_t n_outputs;
    uint64_t n_params;
    uint32_t n_labels;   /* of one example: its steps, or 1 */
    uint32_t n_channels; /* outputs of one of them */
    uint32_t vocab;      /* of the input; 0: plain values */
    uint32_t n_tokens;   /* of one example */
    weft_loss loss;
    float delta;          /* huber's */
    float *class_weights; /* [n_channels], owned; or NULL */
    weft_net_memory memory;
    /* in the workspace */
    float *input;       /* [max_batch][n_inputs] */
    float *gradient[2]; /* [max_batch][most values between two steps]; train only */
    float *scratch;     /* [n_threads][n_scratch], of one step at a time */
    float *dw;          /* gradients of the largest convolution; train only */
    float *db;          /* of the largest bias; train only */
    uint32_t *lengths;  /* [max_batch]: steps before the padding; NULL: the input is no tokens */
    size_t n_scratch;
    /* the last forward */
    const float *weights;
    const float *x;
    uint32_t n;
};

/* ---- step.c: the steps that are not dense, convolution or pool --------------------------------
 */

/* float32 values of step->state and of scratch for n examples; dense and convolutions have theirs
 * from elsewhere. */
size_t weft_step_state(const weft_step *step, size_t n);
size_t weft_step_scratch(const weft_step *step, size_t n, bool train);
/* Largest sums of a step's gradients: of its weights (net->dw) and of its bias (net->db). */
size_t weft_step_n_dw(const weft_step *step);
size_t weft_step_n_db(const weft_step *step);

/* What a kind of step does; the arrays are the workspace's. */
typedef struct weft_step_ops {
    void (*forward)(weft_net *net, weft_step *step, const float *x, bool train);
    /* dx is NULL behind the net's input: nobody needs its gradient. dy may be overwritten. */
    void (*backward)(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                     const weft_sink *sink);
} weft_step_ops;

/* step_team.c: steps that a net's threads share */
void weft_step_dense_forward(weft_net *net, weft_step *step, const float *x, bool train);
void weft_step_dense_backward(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                              const weft_sink *sink);
void weft_step_conv_forward(weft_net *net, weft_step *step, const float *x, bool train);
void weft_step_conv_backward(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                             const weft_sink *sink);
void weft_step_recurrent_forward(weft_net *net, weft_step *step, const float *x, bool train);
void weft_step_recurrent_backward(weft_net *net, weft_step *step, float *dx, float *dy,
                                  const float *x, const weft_sink *sink);
void weft_step_grouped_forward(weft_net *net, weft_step *step, const float *x, bool train);
void weft_step_add_forward(weft_net *net, weft_step *step, const float *x, bool train);

/* step_norm.c: normalisations, shared by examples where a mean is of one example */
void weft_step_norm_forward(weft_net *net, weft_step *step, const float *x, bool train);
void weft_step_norm_backward(weft_net *net, weft_step *step, float *dx, float *dy, const float *x,
                             const weft_sink *sink);
/* The normalisation of n examples. */
weft_norm weft_step_norm_of(const weft_step *step, size_t n);
/* float32 values of scratch for the examples' parts of the gradients. */
size_t weft_step_norm_partial(const weft_step *step, size_t n);

extern const weft_step_ops weft_step_table[WEFT_N_STEP_KINDS];

#endif
