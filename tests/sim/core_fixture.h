/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shorthand for unit tests of the core: a coordinator in memory, calls that are answered, clients
 * that do the right thing. Everything asserts; one thread.
 */
#ifndef WEFT_TESTS_SIM_CORE_FIXTURE_H
#define WEFT_TESTS_SIM_CORE_FIXTURE_H

#include "sim/core_shell.h"

typedef struct core_fixture {
    sim_shell s;
    weft_job_def def; /* target 2 of 2, minimum 1, window 0, lease 10 s, deadline 60 s, 3 rounds */
    uint64_t call;    /* the newest */
} core_fixture;

void fix_init(core_fixture *f);
/** Check the invariants, recompute every version, free. */
void fix_done(core_fixture *f);
/** Submit f->def under a name; the job's id. */
uint64_t fix_submit(core_fixture *f, const char *name);
/** Submit f->def as it is; the answer. */
sim_answer fix_submit_def(core_fixture *f);
/** The job's row as persisted. */
const weft_job_row *fix_job(core_fixture *f, uint64_t job_id);
/** The newest attempt of a round as persisted. */
const weft_round_row *fix_round(core_fixture *f, uint64_t job_id, uint32_t round);

/** Check in with data set "d"; held. The call. */
uint64_t fix_wait(core_fixture *f, const char *client);
/** The answer to a call, which must be there. */
sim_answer fix_answer(core_fixture *f, uint64_t call);
/** No answer yet. */
void fix_unanswered(core_fixture *f, uint64_t call);
/** Check in and get an assignment at once. */
sim_answer fix_assigned(core_fixture *f, const char *client);
/** Update, progress and so on with their answers. */
sim_answer fix_update(core_fixture *f, const sim_answer *assignment, uint64_t content);
sim_answer fix_update_full(core_fixture *f, const sim_answer *assignment, uint64_t content,
                           uint64_t n_examples, weft_refusal refusal, const weft_metrics *metrics);
sim_answer fix_progress(core_fixture *f, const sim_answer *assignment);
sim_answer fix_abandon(core_fixture *f, const sim_answer *assignment);
sim_answer fix_control(core_fixture *f, const char *job, weft_job_status to);
/** The accepted update's receipt, or the test fails. */
void fix_deliver(core_fixture *f, const sim_answer *assignment, uint64_t content);
/** One client trains one round and everything is folded and finished. */
void fix_train(core_fixture *f, const char *client, uint64_t content);
weft_metrics fix_metric(const char *name, double value);
/** A central evaluation for the simulator; self: double[], the accuracy after each round. */
weft_metrics fix_central_of_round(void *self, const weft_job_row *job, uint32_t round);
void fix_expect_refused(const sim_answer *answer, weft_refusal refusal);

#endif
