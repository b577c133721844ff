/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The secure path of the coordinator in memory: rows of sessions, masked vectors in the spool,
 * their sum. Called by core_shell.c; one thread.
 */
#ifndef WEFT_TESTS_SIM_CORE_SECURE_H
#define WEFT_TESTS_SIM_CORE_SECURE_H

#include "sim/core_shell.h"

void sim_secure_persist(sim_shell *s, const weft_secure_row *row);
void sim_secure_over(sim_shell *s, const weft_secure_over *over);
/** All rows into the core, in order. */
void sim_secure_restore(sim_shell *s);
/** The masked words of these assignments, summed and unmasked; handed to s->summed. Wrong shares,
 *  or what is no sum: work->failed. */
void sim_secure_finish(sim_shell *s, sim_work *work, const sim_sum *sum,
                       const weft_secure_session *session);
/** A reply of SecureStep, copied. */
void sim_secure_answer(sim_answer *ret, const weft_action *action);

/** SecureStep; message may be empty. */
bool sim_step(sim_shell *s, uint64_t call, const char *client, uint64_t assignment_id,
              const uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES], weft_view message, uint32_t taken,
              uint64_t hold_ms);
/** An upload of masked words, stored in the spool first. */
bool sim_masked(sim_shell *s, uint64_t call, const char *client, uint64_t assignment_id,
                const uint8_t base[WEFT_DIGEST_BYTES], const uint32_t *words, size_t n);

#endif
