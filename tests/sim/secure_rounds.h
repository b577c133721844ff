/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A secure job on the coordinator in memory (sim/core_secure.h), with clients that are the
 * protocol's machines (secagg/client.h) and their disks. Everybody may die at any step; time and
 * randomness are given; the invariants are checked as it goes:
 *
 * - what a client sends of a kind is the same bytes each time;
 * - nobody in a session is ever called alive to one client and dropped to another, so no client is
 *   asked for both kinds of share of anybody;
 * - a sum that comes out is the plain sum of what its members put in, word for word.
 *
 * For tests; one thread.
 */
#ifndef WEFT_TESTS_SIM_SECURE_ROUNDS_H
#define WEFT_TESTS_SIM_SECURE_ROUNDS_H

#include "sim/core_fixture.h"
#include "sim/core_secure.h"

#include "secagg/client.h"
#include "secagg/terms.h"

#define ROUNDS_MAX 16U

typedef struct rounds_client {
    char name[WEFT_MAX_NAME_BYTES + 1];
    weft_sign_key key;
    weft_member_chain chain;
    sim_answer assignment; /* of the present session */
    bool assigned;
    weft_secagg_client *machine;
    weft_buf state;  /* as stored */
    uint32_t *input; /* [n_words] */
    uint32_t *masked;
    bool has_receipt;
    bool over; /* it heard how the session ended */
    weft_secagg_next ended;
    weft_secagg_reason reason;
    char detail[WEFT_REASON_BYTES];
    bool gone;           /* dead for good */
    uint32_t die_before; /* it dies for good instead of sending this type; 0: never */
    bool die_masked;     /* or instead of uploading */
    bool die_receipt;    /* or with its receipt */
    uint32_t n_sessions;
    uint8_t sent[WEFT_SECAGG_ABORT + 1][WEFT_DIGEST_BYTES]; /* in this session */
    bool has_sent[WEFT_SECAGG_ABORT + 1];
} rounds_client;

typedef struct rounds_world {
    core_fixture f;
    uint64_t job_id;
    uint32_t n;
    rounds_client client[ROUNDS_MAX];
    weft_sign_key operator_key;
    weft_rng rng;
    weft_entropy entropy;
    weft_fixed_grid grid;
    weft_secagg_terms terms;
    bool restart_clients; /* each step finds a client that was just restored */
    bool crash_always;    /* each step of a session finds a coordinator that was just restored */
    bool plain;           /* no secure aggregation: updates as they are */
    /* Is this message lost on its way, or this answer? NULL: never. */
    bool (*lost)(struct rounds_world *w, const rounds_client *c);
    /* before a client's proper step: what else arrives; or NULL */
    void (*disturb)(struct rounds_world *w, rounds_client *c);
    char roster[ROUNDS_MAX][WEFT_MAX_NAME_BYTES + 1];
    uint8_t kind[ROUNDS_MAX]; /* 0: not named yet, 1: alive, 2: dropped; in this session */
    uint32_t n_sums;
    uint32_t n_summed;  /* clients in the newest sum */
    uint32_t n_answers; /* ANSWER messages that clients sent */
} rounds_world;

/** n clients of one job of `rounds` rounds: target n, minimum 3; against `adversary`. */
void rounds_init(rounds_world *w, uint32_t n, uint32_t rounds, weft_adversary adversary,
                 uint64_t seed);
void rounds_done(rounds_world *w);
/** The same with a plain job. */
void rounds_init_plain(rounds_world *w, uint32_t n, uint32_t rounds, uint64_t seed);
/** One step of a client. */
void rounds_step(rounds_world *w, rounds_client *c);
/** One step of each client that lives, then the workers, then time. */
void rounds_turn(rounds_world *w);
/** Turns until the job has ended or is paused. */
void rounds_run(rounds_world *w);
/** A step of the protocol by hand: answers as the client would hear it; false: a crash ate it. */
bool rounds_send(rounds_world *w, const rounds_client *c, weft_view message, uint32_t taken,
                 sim_answer *ret);
/** Its ctx of the assignment it has. */
const uint8_t *rounds_ctx(const rounds_client *c);

#endif
