/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A coordinator in memory around server/core: rows as the database, a spool, sums, published
 * versions, answers to calls. It keeps the shell's side of the contract in core/core.h to the
 * letter, can die at any action and come back from its rows, and checks the invariants of the
 * architecture. A "model" is the SHA-256 over what it was made of, so a version tells which updates
 * are in it. For tests and simulations; one thread.
 */
#ifndef WEFT_TESTS_SIM_CORE_SHELL_H
#define WEFT_TESTS_SIM_CORE_SHELL_H

#include "support/support.h"

#include "core/core.h"

#define SIM_NEVER    SIZE_MAX
#define SIM_MODEL    400U /* bytes of every model */
#define SIM_MAX_JOBS 64U
#define SIM_PIECE    4096U /* messages of secure sessions here are shorter */

/* Bugs that shells could have, to show that the simulator finds them. */
typedef enum sim_mutation {
    SIM_SOUND = 0,
    SIM_ACK_BEFORE_COMMIT, /* replies leave before the transaction */
    SIM_MASKED_ROW_LOST,   /* rows that a batch has, and the database not */
    SIM_CLOSURE_ROW_LOST,
    SIM_MESSAGE_ROW_LOST,
    SIM_ACCEPTED_ROW_LOST,
    SIM_ROUND_ROW_LOST,
    SIM_JOB_ROW_LOST,
    SIM_DOUBLE_FOLD,
    SIM_FOLD_LOST_AT_RESTART,
    SIM_SPOOL_LOST_AT_RESTART,
    SIM_PUBLISH_LOST,
    SIM_CLOCK_STANDS_AFTER_RESTART, /* no deadline is armed then */
    SIM_CLIENT_KEYS_LOST,           /* a client restarts without its disk and goes on */
    SIM_CLIENT_MASKS_AGAIN,         /* or makes another vector under the same masks */
    SIM_MUTATIONS
} sim_mutation;

/* One answer, copied. */
typedef struct sim_answer {
    uint64_t call;
    weft_reply_kind kind;
    weft_assignment_row row; /* ASSIGNMENT, RECEIPT, PROGRESS with a receipt */
    uint8_t base[WEFT_DIGEST_BYTES];
    uint64_t left_ms;
    uint32_t cohort;
    bool stop;
    bool has_receipt;
    weft_refusal refusal;
    uint64_t held_bytes;
    uint64_t come_back_ms;
    uint64_t job_id;
    weft_status status;
    char detail[WEFT_REASON_BYTES];
    struct {
        weft_secagg_next state;
        uint32_t type;
        weft_secagg_reason reason;
        size_t n;
        uint8_t piece[SIM_PIECE]; /* [n] */
    } secure;
} sim_answer;

typedef struct sim_eligible {
    uint64_t job_id;
    uint32_t round, attempt;
    uint32_t n;
    char (*name)[WEFT_MAX_NAME_BYTES + 1]; /* [n], owned */
} sim_eligible;

/* What survives a crash. */
typedef struct sim_db {
    weft_job_row *jobs; /* def is owned */
    size_t n_jobs, cap_jobs;
    weft_round_row *rounds; /* every attempt */
    size_t n_rounds, cap_rounds;
    weft_assignment_row *assignments; /* by ascending id */
    size_t n_assignments, cap_assignments;
    weft_version_row *versions;
    size_t n_versions, cap_versions;
    sim_eligible *eligible;
    size_t n_eligible, cap_eligible;
    weft_secure_row *secure; /* data is owned */
    size_t n_secure, cap_secure;
    uint64_t logical_ms;
} sim_db;

typedef struct sim_spooled {
    uint64_t assignment_id;
    uint8_t digest[WEFT_DIGEST_BYTES];
    uint32_t *words; /* [n_words] of a masked vector, owned; or NULL */
    size_t n_words;
} sim_spooled;

typedef struct sim_sum {
    uint64_t job_id;
    uint32_t round, attempt;
    uint64_t *folded; /* assignment ids, owned */
    size_t n_folded, cap_folded;
} sim_sum;

/* Work that the core asked for and that has not come back yet. */
typedef struct sim_work {
    weft_event_kind kind; /* FOLDED, FINISHED, CENTRAL */
    uint64_t job_id, assignment_id;
    uint32_t round, attempt;
    uint8_t version[WEFT_DIGEST_BYTES];
    bool secure, failed;
    weft_fixed_totals totals;
} sim_work;

typedef struct sim_shell {
    weft_core_config config;
    weft_core *core;
    uint64_t now_ms;
    sim_db db;
    sim_spooled *spool;
    size_t n_spool, cap_spool;
    /* lost with a crash */
    sim_sum *sums;
    size_t n_sums, cap_sums;
    sim_work *work;
    size_t n_work, cap_work;
    struct {
        uint64_t job_id;
        uint8_t version[WEFT_DIGEST_BYTES];
    } published[SIM_MAX_JOBS];
    size_t n_published;
    sim_answer *answers; /* sent and not taken yet; they outlive a crash */
    size_t n_answers, cap_answers;
    /* knobs */
    bool restoring;
    size_t crash_in; /* actions (a batch's persists count as one) until it dies; SIM_NEVER */
    weft_metrics (*central)(void *self, const weft_job_row *job, uint32_t round);
    /* of a secure round, unmasked; or NULL */
    void (*summed)(void *self, const sim_sum *sum, const uint32_t *words, size_t n);
    void *self;
    bool finish_fails; /* results are not finite */
    sim_mutation mutation;
    /* counters */
    uint64_t crashes;
    uint64_t notices;
    uint64_t canceled_calls;
    char canceled[WEFT_MAX_NAME_BYTES + 1]; /* the newest */
} sim_shell;

void sim_shell_init(sim_shell *s, const weft_core_config *config);
void sim_shell_done(sim_shell *s);

/** Feed one event at s->now_ms. False when the coordinator died on the way (it is up again then).
 */
bool sim_shell_feed(sim_shell *s, const weft_event *event);
/** Let time pass, with every tick that the core asks for on the way. */
void sim_shell_pass(sim_shell *s, uint64_t ms);
/** Deliver one piece of finished work (index < n_work), or all of it until none is left. */
bool sim_shell_work(sim_shell *s, size_t index);
void sim_shell_work_all(sim_shell *s);
/** Die now and come back. */
void sim_shell_crash(sim_shell *s);
/** Take the answer to a call; false: none. */
bool sim_shell_answer(sim_shell *s, uint64_t call, sim_answer *ret);

/** The invariants that can be seen from the rows; fails the test. deep: recompute all versions. */
void sim_shell_check(const sim_shell *s, bool deep);

weft_job_row *sim_job(sim_shell *s, uint64_t job_id);
weft_round_row *sim_round(sim_shell *s, uint64_t job_id, uint32_t round, uint32_t attempt);
weft_assignment_row *sim_assignment(sim_shell *s, uint64_t assignment_id);
const sim_eligible *sim_eligible_of(const sim_shell *s, uint64_t job_id, uint32_t round,
                                    uint32_t attempt);
bool sim_spool_has(const sim_shell *s, uint64_t assignment_id);
sim_spooled *sim_spooled_of(const sim_shell *s, uint64_t assignment_id); /* or NULL */
/** A fresh, empty one. */
sim_spooled *sim_spool_add(sim_shell *s, uint64_t assignment_id);

/* Events in one line; each feeds. call 0: nobody asks. */
bool sim_submit(sim_shell *s, uint64_t call, const weft_job_def *def);
bool sim_control(sim_shell *s, uint64_t call, const char *job, weft_job_status to);
bool sim_check_in(sim_shell *s, uint64_t call, const char *client, const char *dataset,
                  uint64_t hold_ms);
bool sim_gone(sim_shell *s, uint64_t call);
bool sim_progress(sim_shell *s, uint64_t call, const char *client, uint64_t assignment_id);
bool sim_abandon(sim_shell *s, uint64_t call, const char *client, uint64_t assignment_id);
/** An update of this content, stored in the spool first as the shell does. */
bool sim_update(sim_shell *s, uint64_t call, const char *client, uint64_t assignment_id,
                const uint8_t base[WEFT_DIGEST_BYTES], uint64_t content, uint64_t n_examples,
                weft_refusal refusal, const weft_metrics *metrics);
bool sim_revoke(sim_shell *s, uint64_t call, const char *client);
/** All or a part of a model went to a client. */
bool sim_sent(sim_shell *s, const char *client, const uint8_t version[WEFT_DIGEST_BYTES],
              uint64_t bytes);
bool sim_enrolled(sim_shell *s, uint64_t call, const char *client);
bool sim_rollback(sim_shell *s, uint64_t call, const char *job,
                  const uint8_t version[WEFT_DIGEST_BYTES]);

/** The digest that stands for an update of this content. */
void sim_digest(uint8_t out[WEFT_DIGEST_BYTES], uint64_t content);
/** A small valid job. */
void sim_job_def(weft_job_def *def, const char *name, const char *dataset);

#endif
