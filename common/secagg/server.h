/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's side of one session as a pure state machine. No clock, no I/O, no randomness.
 *
 * Phases: ADVERTISE -> SHARE -> MASK -> CONFIRM (active only) -> UNMASK -> SOLVE, or FAILED. In
 * each the caller hands in clients' messages (receive; masked for an accepted upload), answers
 * polls (next), and closes the phase when ready says that nobody is missing, or when its own
 * deadline has passed. Closing fixes who is in; what comes later is refused.
 *
 * Durability: store each accepted message before acknowledging it, and each closure's record before
 * acting on it. A restart replays: new with the same config, then receive, masked and left in any
 * order within a phase and replay(record) for each closure, gives the same session, byte for byte.
 *
 * In SOLVE, weft_secagg_server_solve turns the answers into streams that the masked sum has too
 * much; it is const and may run on several threads. Memory: about 200 bytes x n x k.
 *
 * Owner thread otherwise. What it holds before SOLVE is public keys, ciphertexts and signatures.
 */
#ifndef WEFT_SECAGG_SERVER_H
#define WEFT_SECAGG_SERVER_H

#include "crypto/prg.h"
#include "secagg/message.h"

typedef enum weft_secagg_phase {
    WEFT_SECAGG_PHASE_ADVERTISE = 1,
    WEFT_SECAGG_PHASE_SHARE = 2,
    WEFT_SECAGG_PHASE_MASK = 3,
    WEFT_SECAGG_PHASE_CONFIRM = 4,
    WEFT_SECAGG_PHASE_UNMASK = 5,
    WEFT_SECAGG_PHASE_SOLVE = 6,
    WEFT_SECAGG_PHASE_FAILED = 7
} weft_secagg_phase;

/** "advertise", ...; static string. */
const char *weft_secagg_phase_name(weft_secagg_phase phase);

typedef struct weft_secagg_server_config {
    uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES]; /* weft_secagg_ctx of the assignments' context */
    weft_secagg_policy policy;
    uint32_t minimum;       /* fewer fail the round; the policy's min_cohort holds in any case */
    uint32_t expected;      /* clients whose updates are in their outboxes: closes
                               ADVERTISE early; at most WEFT_MAX_COHORT */
    const char *federation; /* borrowed for the machine's life */
    const uint8_t *operator_public; /* [32], borrowed for the machine's life */
    const weft_alloc *alloc;
} weft_secagg_server_config;

typedef struct weft_secagg_server weft_secagg_server;

/** WEFT_E_INVALID the config; WEFT_E_NOMEM. *ret is the caller's to free. */
WEFT_NODISCARD weft_status weft_secagg_server_new(weft_secagg_server **ret,
                                                  const weft_secagg_server_config *config,
                                                  weft_err *err);
void weft_secagg_server_free(weft_secagg_server *s);

weft_secagg_phase weft_secagg_server_phase(const weft_secagg_server *s);
/** Why the session failed, FINE otherwise. */
weft_secagg_reason weft_secagg_server_failure(const weft_secagg_server *s);
/** n, k, t; n is 0 in ADVERTISE. */
const weft_secagg_params *weft_secagg_server_params(const weft_secagg_server *s);

typedef enum weft_secagg_verdict {
    WEFT_SECAGG_ACCEPTED = 1, /* new: store the message, then acknowledge */
    WEFT_SECAGG_SAME = 2,     /* accepted before: acknowledge again */
    WEFT_SECAGG_REFUSED = 3   /* nothing changed; the reason says why */
} weft_secagg_verdict;

/**
 * A message of a client.
 * @param client  the name that its connection was authenticated with.
 * @param reason  set when refused (also sent to the client); or NULL.
 * @param err     one sentence when refused.
 * @return WEFT_OK with *ret; WEFT_E_NOMEM, WEFT_E_CRYPTO (nothing changed).
 */
WEFT_NODISCARD weft_status weft_secagg_server_receive(weft_secagg_verdict *ret,
                                                      weft_secagg_reason *reason,
                                                      weft_secagg_server *s, const char *client,
                                                      const void *message, size_t n, weft_err *err);
/** May this client's masked vector be taken now? FINE, SAME step LATE, NOT_INVITED, OUT_OF_ORDER.
 */
weft_secagg_reason weft_secagg_server_may_mask(const weft_secagg_server *s, const char *client);
/** The client's masked vector is durable in the spool. Verdict as receive. */
weft_secagg_verdict weft_secagg_server_masked(weft_secagg_server *s, const char *client,
                                              weft_secagg_reason *reason);
/** The client has left (aborted, revoked): nobody waits for it any more. Unknown names are ignored.
 *  What it has sent still counts. */
void weft_secagg_server_left(weft_secagg_server *s, const char *client);

/** From now on ADVERTISE waits for n clients (some were lost before they came). */
void weft_secagg_server_expect(weft_secagg_server *s, uint32_t n);

/** Nobody is missing in this phase: closing now loses nothing. */
bool weft_secagg_server_ready(const weft_secagg_server *s);
/** How many the phase waits for, and how many of them have come. */
void weft_secagg_server_progress(const weft_secagg_server *s, uint32_t *ret_come,
                                 uint32_t *ret_expected);

/** Has this client done its part of the present phase? Of no phase from SOLVE on. */
bool weft_secagg_server_came(const weft_secagg_server *s, const char *client);

/**
 * Close the phase with those who have come: the next one begins, or the session fails (see
 * weft_secagg_server_failure; below a threshold nothing is asked of anybody).
 * @param record  gets the closure, to be stored before anything that follows is sent: at most
 *                WEFT_MAX_SECAGG_RECORD_BYTES.
 * @return WEFT_E_STATE in SOLVE and FAILED; WEFT_E_NOMEM, WEFT_E_CRYPTO: nothing changed.
 */
WEFT_NODISCARD weft_status weft_secagg_server_close(weft_secagg_server *s, weft_buf *record,
                                                    weft_err *err);
/**
 * After a restart: close as recorded, with exactly the recorded clients.
 * @return WEFT_E_FORMAT no record; WEFT_E_STATE of another phase, or it names a client whose
 *         message was not replayed.
 */
WEFT_NODISCARD weft_status weft_secagg_server_replay(weft_secagg_server *s, const void *record,
                                                     size_t n, weft_err *err);

typedef enum weft_secagg_next {
    WEFT_SECAGG_NEXT_WAIT = 1,    /* nothing yet: hold the poll */
    WEFT_SECAGG_NEXT_MESSAGE = 2, /* out holds the message */
    WEFT_SECAGG_NEXT_DONE = 3,    /* this client's part is over and was taken */
    WEFT_SECAGG_NEXT_FAILED = 4   /* this client, or the session: reason */
} weft_secagg_next;

/**
 * What a client is to be told now. In SHARE and later a client that has done its part of the
 * present phase waits; one that has not gets the phase's message, the same bytes each time.
 * @param out  gets the message, at most WEFT_MAX_SECAGG_MESSAGE_BYTES.
 * @return WEFT_E_LIMIT, WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_secagg_server_next(weft_secagg_next *ret,
                                                   weft_secagg_reason *reason, weft_buf *out,
                                                   const weft_secagg_server *s, const char *client,
                                                   weft_err *err);

/** Clients of the roster: 0..n-1 in order of their names; NULL past the end. */
const char *weft_secagg_server_client(const weft_secagg_server *s, uint32_t i);
/** Is roster client i in the sum? True from the closing of MASK on. */
bool weft_secagg_server_included(const weft_secagg_server *s, uint32_t i);
/** How many are. */
uint32_t weft_secagg_server_n_included(const weft_secagg_server *s);

/* One secret to reconstruct, and what it unmasks. */
typedef struct weft_secagg_solution {
    size_t n_streams;
    weft_prg_stream streams[WEFT_MAX_SECAGG_NEIGHBOURS]; /* to add to the masked sum; secret */
    size_t n_liars;
    uint32_t liars[WEFT_MAX_SECAGG_NEIGHBOURS]; /* roster clients whose shares were wrong */
} weft_secagg_solution;

/** Secrets to solve in SOLVE: the survivors' self masks and the dropped clients' mask keys. */
size_t weft_secagg_server_n_secrets(const weft_secagg_server *s);
/** Streams that all solutions together have: masks to take off. */
size_t weft_secagg_server_n_streams(const weft_secagg_server *s);
/**
 * Solve secret i: reconstruct, check against what its owner had committed to, correct errors.
 * @param ret  overwritten; wipe it after use.
 * @return WEFT_E_STATE before SOLVE; WEFT_E_AUTH too many wrong shares (the round fails with
 *         BAD_SHARES; liars are named as far as known); WEFT_E_CRYPTO, WEFT_E_NOMEM.
 * Threads: any number at a time, while nobody changes s.
 */
WEFT_NODISCARD weft_status weft_secagg_server_solve(weft_secagg_solution *ret,
                                                    const weft_secagg_server *s, size_t i,
                                                    weft_err *err);

#endif
