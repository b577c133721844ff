/* SPDX-License-Identifier: Apache-2.0 */
/* What training and evaluation share: a state's memory, and a run over a source. */
#ifndef WEFT_NN_TRAIN_RUN_PRIV_H
#define WEFT_NN_TRAIN_RUN_PRIV_H

#include "base/rng.h"
#include "nn/train/tally.h"
#include "nn/train/train.h"

typedef struct weft_vector {
    void *data; /* owned */
    size_t n;   /* elements there is room for */
} weft_vector;

struct weft_trainer_state {
    const weft_alloc *alloc;
    weft_spec *spec;          /* owned */
    weft_layout *layout;      /* owned */
    weft_net_options options; /* of all nets, but for max_batch and train */
    weft_numerics trained;    /* numerics of trainer */
    weft_net *trainer;        /* owned; NULL before the first training */
    weft_net *evaluator;      /* owned; NULL before the first evaluation */
    weft_vector gradient;     /* float [n_params], where the optimizer needs it */
    weft_vector state;        /* float [0..2][n_params] */
    weft_vector base;         /* float [n_params] */
    weft_vector index;        /* uint32_t [n_examples] */
    weft_vector labels;       /* uint32_t [chunk][n_labels] */
    weft_vector targets;      /* float [chunk][n_outputs] */
    weft_vector image;        /* float [n_features]: an original, with augmentation */
    weft_vector scores;       /* weft_scored [n_examples], where evaluation wants them */
};

/* What a run works on. */
typedef struct weft_run {
    weft_trainer_state *state;
    weft_net *net;
    const weft_batch_source *source;
    const weft_train_control *control;
    weft_err *err;
    uint32_t chunk; /* most examples of one forward */
    uint64_t done;  /* batches, for progress */
    uint64_t total;
    const weft_plan *augment; /* how images are changed; NULL: they are not */
    weft_rng augment_rng;
} weft_run;

/* Room for n elements; what was in it is lost. */
WEFT_NODISCARD weft_status weft_run_reserve(weft_trainer_state *state, weft_vector *v, uint64_t n,
                                            size_t size, weft_err *err);
/* A net for that batch, kept if it has one. */
WEFT_NODISCARD weft_status weft_run_reserve_net(weft_trainer_state *state, weft_net **net,
                                                uint32_t batch, bool train, weft_err *err);
/* Do the data fit the spec? */
WEFT_NODISCARD weft_status weft_run_check_data(const weft_run *r);
/* The order 0, 1, ..., and room for labels and targets. */
WEFT_NODISCARD weft_status weft_run_prepare(weft_run *r);
/* Fetch examples into the net's input. */
WEFT_NODISCARD weft_status weft_run_fetch(weft_run *r, const uint32_t *index, uint32_t n,
                                          weft_truth *truth);
/* One batch is done: tell, and ask whether to stop. */
WEFT_NODISCARD weft_status weft_run_report(weft_run *r);
weft_train_result weft_run_result(const weft_run *r, const weft_loss_sum *sum, uint64_t n_batches);

#endif
