/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training: the loop over a source's examples that a plan describes, and the evaluation of weights.
 *
 * weft_trainer_state keeps a net and all buffers between runs of the same spec (a simulation
 * trains thousands of clients with a few of them): after its first run of a size it allocates
 * nothing. The trained bytes depend on weights, plan, seed and examples only.
 *
 * Threads: a state belongs to one thread at a time; different states run in parallel.
 */
#ifndef WEFT_NN_TRAIN_TRAIN_H
#define WEFT_NN_TRAIN_TRAIN_H

#include "model/metric.h"
#include "model/plan.h"
#include "nn/net.h"
#include "nn/train/source.h"
#include "nn/train/tally.h"

/* More examples than this are passed through the net in chunks whose gradients are added up in a
 * fixed order: batch_size 0 or a large one costs no more memory. */
#define WEFT_TRAIN_CHUNK 128U

/* How a run reports and learns that it should stop. Both are called on the running thread. */
typedef struct weft_train_control {
    bool (*canceled)(void *self);                                /* polled each batch; or NULL */
    void (*progress)(void *self, uint64_t done, uint64_t total); /* batches; or NULL */
    void *self;
    uint32_t round; /* where the plan's schedule is, from 1; 0 is 1 */
} weft_train_control;

typedef struct weft_trainer_state weft_trainer_state;

/**
 * Prepare training and evaluation of a spec; *ret is the caller's to free. spec is borrowed for the
 * call; a must outlive the state.
 * @param options  of the nets; NULL: the defaults. max_batch and train are not used, and training
 *                 has the numerics of its plan.
 * @return WEFT_E_INVALID the spec has plain tensors; WEFT_E_LIMIT; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_trainer_state_new(weft_trainer_state **ret, const weft_spec *spec,
                                                  const weft_net_options *options,
                                                  const weft_alloc *a, weft_err *err);
void weft_trainer_state_free(weft_trainer_state *state);
uint64_t weft_trainer_state_n_params(const weft_trainer_state *state);

/* What came out: means over examples, of sequences over labelled steps; the loss by class weights.
 */
typedef struct weft_train_result {
    uint64_t n_examples;
    uint64_t n_batches; /* optimizer steps done */
    double loss;        /* TRAIN: mean of the last epoch's batches, each before its step */
    double accuracy;    /* the same; 0 where there is none */
    bool has_accuracy;
    weft_tally_result tally; /* EVALUATE: what the spec's metrics line asks for */
} weft_train_result;

/**
 * Train plan->epochs epochs, or fewer where plan->early_stop ends it. After the first batch nothing
 * is allocated.
 * @param weights  [n_params], base weights on entry, trained ones on return; undefined after a
 * failure.
 * @param plan     checked here.
 * @param seed     of shuffles, dropout and augmentation (plan->seed is not used: the caller has
 * mixed it).
 * @param control  or NULL.
 * @return WEFT_E_CANCELED; WEFT_E_INVALID the data do not fit the spec, no examples, or the loss
 *         stopped being finite; WEFT_E_NOMEM; what the source returned.
 */
WEFT_NODISCARD weft_status weft_train(weft_train_result *ret, weft_trainer_state *state,
                                      float *weights, const weft_plan *plan, uint64_t seed,
                                      const weft_batch_source *source,
                                      const weft_train_control *control, weft_err *err);

/**
 * Loss and accuracy of weights on all examples, in their order.
 * @param weights  [n_params], unchanged; may be shared.
 * @return as weft_train.
 */
WEFT_NODISCARD weft_status weft_evaluate(weft_train_result *ret, weft_trainer_state *state,
                                         const float *weights, const weft_batch_source *source,
                                         const weft_train_control *control, weft_err *err);

/**
 * The result as metrics: "loss", and where there are such "accuracy", "top5" (of top_k=5), "auc",
 * "recall_0", "recall_1", ...
 *
 * A federation's value is the mean of its clients' values, weighted by examples. For the first
 * three that is the value over all examples (but for a loss with class weights, where it is the
 * mean of clients, as labels are not counted); for the others it is not (an area under a curve of
 * all examples is no mean of areas, and recall would have to be weighted by the examples of its
 * class). So a client's are named "client_auc" and "client_recall_0": means of clients.
 *
 * @param of_client  name them so.
 * @return WEFT_E_INVALID not finite.
 */
WEFT_NODISCARD weft_status weft_train_result_metrics(const weft_train_result *result,
                                                     bool of_client, weft_metrics *ret,
                                                     weft_err *err);

/* What a client needs for a plan, in bytes: all that training allocates, and the weights. */
typedef struct weft_train_memory {
    uint64_t parameters;  /* the weights */
    uint64_t optimizer;   /* gradients, moments, base weights, where the plan needs them */
    uint64_t activations; /* of one batch, and their gradients */
    uint64_t scratch;     /* of kernels */
} weft_train_memory;

/** @return as weft_trainer_state_new; WEFT_E_INVALID the plan. */
WEFT_NODISCARD weft_status weft_train_plan_memory(weft_train_memory *ret, const weft_spec *spec,
                                                  const weft_plan *plan, const weft_alloc *a,
                                                  weft_err *err);

#endif
