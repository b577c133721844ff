/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One securely aggregated round in memory and in virtual time: sessions of the client around
 * common/secagg's coordinator. Clients die before any action and come back from their disks, vanish
 * for good, lose replies; the coordinator dies and comes back from what it stored; messages can be
 * changed on their way to a client. In the end the unmasked sum is compared, word for word, with
 * the sum of what the included clients encoded. For tests; one thread.
 */
#ifndef WEFT_TESTS_SIM_SECURE_WORLD_H
#define WEFT_TESTS_SIM_SECURE_WORLD_H

#include "support/support.h"

#include "secagg/server.h"
#include "session.h"

/* ---- members and randomness ------------------------------------------------------------------ */

typedef struct secure_member {
    char name[WEFT_MAX_NAME_BYTES + 1];
    weft_sign_key key;
    weft_member_chain chain;
} secure_member;
void secure_member_make(secure_member *ret, const weft_sign_key *operator_key,
                        const char *federation, const char *name, const weft_entropy *entropy);

/* Bytes that repeat by seed. self of the entropy is the generator. */
weft_entropy secure_entropy(weft_rng *rng);

/* ---- a client -------------------------------------------------------------------------------- */

typedef struct secure_pin {
    char client[WEFT_MAX_NAME_BYTES + 1];
    uint8_t key[WEFT_SIGN_PUBLIC_BYTES];
} secure_pin;

/* What survives a crash of the client. */
typedef struct secure_disk {
    bool open;
    weft_session_record record;
    uint8_t *state; /* owned; record.secure points here */
    uint8_t (*contexts)[WEFT_SECAGG_DIGEST_BYTES];
    size_t n_contexts;
    uint32_t masked_round;
    secure_pin *pins;
    size_t n_pins;
    uint32_t *encoded; /* [n_words]; NULL: not there */
    uint32_t *masked;
    unsigned closed;
    weft_session_outcome outcome;
    char reason[WEFT_SESSION_TEXT_BYTES];
} secure_disk;

typedef struct secure_client {
    secure_member member;
    weft_session_secure_config secure;
    weft_session *session; /* NULL: vanished, or finished */
    secure_disk disk;
    weft_rng rng;
    weft_entropy entropy;
    unsigned n_actions;
    unsigned die_at;                        /* before this action, once; 0: never */
    weft_session_action_kind vanish_before; /* for good; 0: never */
    bool vanish_after_receipt;
    bool vanished;
    bool died;
    bool asked; /* the assignment was given */
    bool uploaded;
    bool abandoned;
    bool done;
    char reason[WEFT_SESSION_TEXT_BYTES]; /* of ABANDON */
    /* a poll that is held */
    bool held;
    uint64_t hold_until;
    uint32_t taken;
    uint64_t offset;
    unsigned n_trained, n_masked_made;
    uint8_t sent[WEFT_SECAGG_ABORT + 1][WEFT_SHA256_BYTES]; /* of each type, what left first */
    bool has_sent[WEFT_SECAGG_ABORT + 1];
    uint32_t *truth; /* [n_words], what it encoded; owned */
    uint8_t upload_digest[WEFT_SHA256_BYTES];
} secure_client;

/* ---- the world ------------------------------------------------------------------------------- */

typedef struct secure_world secure_world;

typedef struct secure_stored {
    int kind; /* message, masked, left, closed */
    uint32_t client;
    uint8_t *bytes;
    size_t n;
} secure_stored;

struct secure_world {
    uint32_t n;
    secure_client *clients; /* [n] */
    weft_sign_key operator_key;
    weft_session_assignment assignment; /* of all, but for its number */
    weft_fixed_grid grid;
    uint64_t now;
    weft_rng rng;
    unsigned fail_of_8;   /* network */
    size_t piece_bytes;   /* of messages to clients; 0: whole */
    unsigned restart_at;  /* the coordinator dies when it has stored so much; 0: never */
    uint64_t deadline_ms; /* of a phase */
    /* changes a message for a client before it leaves; or NULL */
    void (*tamper)(secure_world *w, uint32_t client, uint32_t type, weft_buf *message);
    void *tamper_arg;
    weft_secagg_server *server;
    secure_stored *stored;
    size_t n_stored, cap_stored;
    uint64_t phase_until;
    unsigned restarts;
    bool ended;
    uint32_t *sum; /* [n_words], of accepted masked vectors of the included, then unmasked */
};

/* n clients of one job with n_params parameters, min_cohort 3, defaults otherwise. */
void secure_world_init(secure_world *w, uint32_t n, uint64_t n_params, uint64_t seed);
void secure_world_done(secure_world *w);
/* Until every session has ended or vanished. */
void secure_world_run(secure_world *w);
/* After a run: another one, of the assignment as it is now, with the same clients and disks. */
void secure_world_again(secure_world *w);
/* After a run: a client that vanished comes back to a round that is over. */
void secure_world_return(secure_world *w, uint32_t k);
/* Did the coordinator get its sum? Then it is right, or this fails. */
bool secure_world_check(secure_world *w);
/* Client by number: "c00001" is 0. */
secure_client *secure_world_client(secure_world *w, uint32_t k);

#endif
