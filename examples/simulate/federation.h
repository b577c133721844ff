/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The federation in one process: the coordinator's core with a shell that keeps versions, sums and
 * updates in memory, and the clients' sessions; between them function calls. The logical clock only
 * moves when nobody has anything to do, so a run is a matter of its seed alone. Owner thread.
 */
#ifndef WEFT_SIMULATE_FEDERATION_H
#define WEFT_SIMULATE_FEDERATION_H

#include "core/core.h"
#include "pool.h"
#include "world.h"

typedef struct sim_federation sim_federation;

/* What happened, for the report. */
typedef struct sim_round {
    const weft_round_row *row; /* state DONE, or FAILED with its reason */
    uint64_t trained_examples; /* examples times epochs since the last report */
} sim_round;

typedef struct sim_observer {
    /* a round is over; a failure ends the simulation */
    weft_status (*round)(void *self, const sim_round *round, weft_err *err);
    void *self;
} sim_observer;

/* Where to go on: after so many rounds with these weights. */
typedef struct sim_start {
    uint32_t rounds_done;     /* 0: from the beginning */
    const float *weights;     /* [n_params], borrowed for the call; NULL: drawn from the seed */
    uint64_t next_assignment; /* id of the next assignment */
    bool has_best;            /* of the metric that is watched for patience */
    double best;
    uint32_t evals_since_best;
} sim_start;

/* Of secure aggregation, over the whole simulation. */
typedef struct sim_secure_stats {
    uint32_t n_sums;    /* that were unmasked, each equal to the plain sum, word for word */
    uint64_t n_vectors; /* in them */
    uint64_t n_dropped; /* clients of their rosters that are not in them */
    uint32_t k, t;      /* the largest of a session */
} sim_secure_stats;

/**
 * Set up; *ret is the caller's to free. world and pool are borrowed.
 * @param dropout  chance that a selected client vanishes, in a secure job at any step of its
 *                 protocol; vanished ones come back after a lease.
 */
WEFT_NODISCARD weft_status sim_federation_new(sim_federation **ret, const sim_world *world,
                                              sim_pool *pool, double dropout,
                                              const sim_observer *observer, const sim_start *start,
                                              weft_err *err);
void sim_federation_free(sim_federation *fed);

/**
 * Run the job to its end.
 * @return WEFT_E_STATE when it pauses or fails, with its reason; what the observer returned;
 * others.
 */
WEFT_NODISCARD weft_status sim_federation_run(sim_federation *fed, weft_err *err);

/** The newest weights and their digest; valid until the next round ends. */
const float *sim_federation_weights(const sim_federation *fed,
                                    uint8_t ret_digest[WEFT_DIGEST_BYTES]);
/** Where a simulation could go on that is ended now; without the weights. */
void sim_federation_mark(const sim_federation *fed, sim_start *ret);
/** Why the job ended. */
const char *sim_federation_reason(const sim_federation *fed);
/** How many selected clients vanished so far. */
uint64_t sim_federation_vanished(const sim_federation *fed);
/** All zeros in a plain job. */
sim_secure_stats sim_federation_secure(const sim_federation *fed);

#endif
