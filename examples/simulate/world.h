/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a simulation is about: the data, who has which, the test set, the job. Made once; read-only
 * while it runs, any number of threads.
 */
#ifndef WEFT_SIMULATE_WORLD_H
#define WEFT_SIMULATE_WORLD_H

#include "data/partition.h"
#include "model/job.h"
#include "model/layout.h"
#include "nn/train/source.h"
#include "options.h"

typedef struct sim_world {
    weft_data *train;         /* owned */
    weft_data *test;          /* owned; NULL: held_out is a part of train */
    weft_partition *held_out; /* owned: part 1; NULL: test is a set of its own */
    weft_data_view test_view; /* n 0: there is nothing to test on */
    weft_partition *parts;    /* owned: the clients' examples, without those held out */
    weft_job_def def;         /* owned texts */
    weft_spec *spec;          /* owned */
    weft_layout *layout;      /* owned */
    uint32_t n_clients;
} sim_world;

WEFT_NODISCARD weft_status sim_world_init(sim_world *world, const sim_options *options,
                                          weft_err *err);
void sim_world_done(sim_world *world);

/** Client k's examples. */
weft_data_view sim_world_part(const sim_world *world, uint32_t k);

/** A view as the training loop wants it; view is borrowed. */
weft_batch_source sim_source(const weft_data_view *view);

#endif
