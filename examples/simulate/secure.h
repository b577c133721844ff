/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secure aggregation in a simulation: the sessions, the core's session and the masks are those of
 * production; here are the memories around them. Each sum is compared, word for word, with the
 * plain integer sum of what the same clients had encoded; a difference ends the simulation.
 * Randomness comes from the seed: nothing here is secret from anybody. Owner thread.
 */
#ifndef WEFT_SIMULATE_SECURE_H
#define WEFT_SIMULATE_SECURE_H

#include "agg/masked.h"
#include "core/session.h"
#include "federation.h"
#include "pool.h"
#include "session.h"

/* The name that keys are vouched for under. */
#define SIM_FEDERATION "simulation"

/* ---- a client -------------------------------------------------------------------------------- */

/* Its keys, and what it remembers for as long as the simulation lasts. Stays where it was made. */
typedef struct sim_member {
    weft_sign_key key;
    weft_member_chain chain;
    weft_rng rng;
    weft_entropy entropy;
    weft_session_secure_config config; /* points to all of these */
    uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES];
    bool has_ctx;
    uint32_t masked_round[WEFT_TASK_STATS + 1]; /* by task; 0: none */
} sim_member;

/* From STORE to the fold: what it encoded, and that under its masks. */
typedef struct sim_vector {
    uint64_t assignment_id;
    uint64_t n_words;
    uint32_t *encoded; /* [n_words], owned; NULL: there is none */
    uint32_t *masked;  /* [n_words], owned; NULL before MASK */
    uint8_t digest[WEFT_DIGEST_BYTES];
} sim_vector;

/** Bytes that repeat by seed and number; borrows rng, which it sets. */
weft_entropy sim_entropy(weft_rng *rng, uint64_t seed, uint32_t number);

WEFT_NODISCARD weft_status sim_member_init(sim_member *ret, const weft_sign_key *operator_key,
                                           const char *name, uint64_t seed, uint32_t number,
                                           weft_err *err);
/** KEEP_SECURE. */
void sim_member_note(sim_member *member, const weft_session_action *keep);

/** The task's words become the client's; they replace the vector before them. */
WEFT_NODISCARD weft_status sim_vector_take(sim_vector *v, sim_task *task, uint64_t assignment_id,
                                           weft_err *err);
/** MASK. */
WEFT_NODISCARD weft_status sim_vector_mask(sim_vector *v, const weft_session_action *mask,
                                           weft_err *err);
void sim_vector_drop(sim_vector *v);

/* ---- the coordinator ------------------------------------------------------------------------- */

typedef struct sim_masked {
    weft_secure_session *session; /* referenced; NULL: no sum is open */
    weft_masked_sum *sum;         /* owned: of the masked vectors */
    weft_masked_sum *plain;       /* owned: of the same before their masks */
    sim_secure_stats stats;
} sim_masked;

WEFT_NODISCARD weft_status sim_masked_open(sim_masked *m, weft_secure_session *session,
                                           weft_err *err);
void sim_masked_drop(sim_masked *m);
/** Add a client's vector; it is dropped. */
WEFT_NODISCARD weft_status sim_masked_fold(sim_masked *m, sim_vector *v, weft_err *err);
/**
 * Take the masks off and compare.
 * @return WEFT_E_INTERNAL it is not the plain sum: a defect. WEFT_E_INVALID it is no good sum.
 */
WEFT_NODISCARD weft_status sim_masked_finish(weft_fixed_totals *ret, sim_masked *m, weft_err *err);

#endif
