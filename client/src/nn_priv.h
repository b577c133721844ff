/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of libweft-nn share: a data set with its split and the engine kept for it. */
#ifndef WEFT_CLIENT_NN_PRIV_H
#define WEFT_CLIENT_NN_PRIV_H

#include "data/load.h"
#include "nn/train/train.h"

#include <weft/nn.h>

struct weft_nn_data {
    const weft_alloc *alloc;
    double held_out;
    uint64_t split_seed;
    char *path;            /* owned; NULL: arrays of the host */
    char *csv;             /* owned: the file behind path; NULL unless it is a CSV */
    weft_schema *declared; /* owned: the owner's schema, or NULL */
    char *declared_text;   /* owned, or NULL */
    /* the examples, once they are loaded */
    weft_data *loaded;      /* owned; NULL: arrays of the host, or not loaded yet */
    char *loaded_text;      /* owned: the schema they were loaded with, or NULL */
    weft_arrays arrays;     /* into loaded or the host's; n_examples 0: not loaded yet */
    uint32_t *index;        /* [n_examples], owned: held-out ones first */
    weft_batch_source all;  /* over arrays */
    weft_subset train_part; /* index[n_held_out ..) */
    weft_subset held_part;  /* index[.. n_held_out) */
    /* the engine of the last task's model */
    weft_trainer_state *state; /* owned, or NULL */
    char *state_text;          /* owned: its spec */
};

/** weft_nn_data_open and weft_nn_data_from_arrays over an allocator, for tests. */
WEFT_NODISCARD weft_status weft_nn_data_open_with(weft_nn_data **ret, const char *path,
                                                  const char *schema,
                                                  const weft_nn_data_options *options,
                                                  const weft_alloc *a, weft_err *err);
WEFT_NODISCARD weft_status weft_nn_data_from_arrays_with(weft_nn_data **ret,
                                                         const weft_nn_arrays *arrays,
                                                         const weft_nn_data_options *options,
                                                         const weft_alloc *a, weft_err *err);

/**
 * Have the examples as a task's schema makes them of the file; data that are no CSV ignore it.
 * @param schema  text, or "" for the owner's.
 * @return WEFT_E_INVALID the schema uses what the owner did not declare; else as weft_data_load.
 */
WEFT_NODISCARD weft_status weft_nn_data_prepare(weft_nn_data *data, const char *schema,
                                                weft_err *err);

/** A task's schema if it keeps to what the owner declared, *ret is the caller's to free; NULL when
 *  neither has one. */
WEFT_NODISCARD weft_status weft_nn_data_schema(weft_schema **ret, const weft_nn_data *data,
                                               const char *schema, weft_err *err);

/** Copy the detail of a failure for the host; returns its code. out may be NULL. */
WEFT_NODISCARD weft_status weft_nn_error(weft_error *out, const weft_err *err);

#endif
