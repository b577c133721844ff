/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulation's memory between runs: DIR/state.json (which simulation, how far, the curve) and the
 * weights, DIR/model-0.safetensors and model-1.safetensors in turn, so that a run that is cut off
 * at any moment goes on after the last whole round. Owner thread.
 */
#ifndef WEFT_SIMULATE_STATE_H
#define WEFT_SIMULATE_STATE_H

#include "federation.h"
#include "report.h"

/**
 * What must be the same for a simulation to go on: job without its end, data, partition, and the
 * weights it starts from (NULL: the seed tells).
 */
WEFT_NODISCARD weft_status sim_state_fingerprint(char ret[65], const sim_world *world,
                                                 double dropout, const float *init, weft_err *err);

/**
 * Load: the curve goes to the report, the weights to *ret_weights (weft_alloc_std; what was there
 * is freed).
 * @param start  rounds_done stays 0 when the folder holds no state yet.
 * @return WEFT_E_CONFLICT when the state is of another simulation; WEFT_E_FORMAT; WEFT_E_IO.
 */
WEFT_NODISCARD weft_status sim_state_load(const char *dir, const char *fingerprint,
                                          const sim_world *world, sim_start *start,
                                          float **ret_weights, sim_report *report, weft_err *err);

/** Save after a round. */
WEFT_NODISCARD weft_status sim_state_save(const char *dir, const char *fingerprint,
                                          const sim_world *world, const sim_start *mark,
                                          const float *weights, const uint8_t *digest,
                                          const sim_report *report, weft_err *err);

#endif
