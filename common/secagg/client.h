/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of one session as a pure state machine: message in, message out. It has no
 * clock, no I/O and no randomness but what _new is given. How a shell drives it:
 *
 *     new -> store -> send outbox
 *     receive(roster)    -> store -> send outbox (shares)
 *     receive(delivery)  -> masks() over the encoded vector, y into the outbox file, masked(digest)
 *                           -> store -> upload y as an update with encoding "masked_u32"
 *     receive(survivors) -> store -> send outbox (confirmations; active only)
 *     receive(unmask)    -> store -> send outbox (the answer); secrets are wiped by then
 *
 * "store": weft_secagg_client_state is durable in the client's outbox before the message leaves. A
 * message that comes twice changes nothing, and the outbox holds the same bytes again. A different
 * message for a step that was taken is refused and changes nothing. Anything else that is wrong
 * ends the session for ever: secrets are wiped, the outbox holds an abort message, the reason
 * stays.
 *
 * Owner thread only. Secrets live in the machine and in its state: both are the caller's to guard.
 */
#ifndef WEFT_SECAGG_CLIENT_H
#define WEFT_SECAGG_CLIENT_H

#include "base/rng.h"
#include "crypto/prg.h"
#include "secagg/message.h"

typedef enum weft_secagg_client_phase {
    WEFT_SECAGG_CLIENT_ADVERTISED = 1, /* waits for the roster */
    WEFT_SECAGG_CLIENT_SHARED = 2,     /* waits for the neighbours' shares */
    WEFT_SECAGG_CLIENT_MASKING = 3,    /* has the masks: the shell makes y, then calls _masked */
    WEFT_SECAGG_CLIENT_MASKED = 4,     /* y is fixed; waits for survivors (curious: unmask) */
    WEFT_SECAGG_CLIENT_CONFIRMED = 5,  /* waits for unmask */
    WEFT_SECAGG_CLIENT_ANSWERED = 6,   /* done; keeps its answer for resends, no secret */
    WEFT_SECAGG_CLIENT_ABORTED = 7
} weft_secagg_client_phase;

/* The member keys of others that this client has seen. */
typedef struct weft_secagg_pins {
    /* false: another key of this client was seen before. NULL function: nothing was seen. */
    bool (*good)(void *self, const char *client, const uint8_t key[WEFT_SIGN_PUBLIC_BYTES]);
    void *self;
} weft_secagg_pins;

typedef struct weft_secagg_client_config {
    weft_secagg_context context;     /* of the assignment; borrowed for the call */
    weft_secagg_policy owner;        /* what the client's owner demands at least */
    const uint8_t *operator_public;  /* [32], borrowed for the machine's life */
    const weft_sign_key *member_key; /* borrowed for the machine's life */
    const weft_member_chain *chain;  /* this client's own; borrowed for the machine's life */
    weft_secagg_pins pins;           /* asked during receive(roster) */
    bool context_used;               /* the shell has a record of this very context */
    uint32_t masked_round;           /* latest round of this job whose masked input was sent; 0 */
    const weft_alloc *alloc;
} weft_secagg_client_config;

typedef struct weft_secagg_client weft_secagg_client;

/**
 * Begin: fresh keys from entropy, the advertisement in the outbox.
 * @param abort  set when the client will not begin: POLICY, PARAMETERS, REPEATED, SECOND_ATTEMPT.
 * @return WEFT_OK, *ret the caller's to free; WEFT_E_STATE with abort set; WEFT_E_INVALID the
 *         configuration; WEFT_E_CRYPTO, WEFT_E_NOMEM, errors of the entropy.
 */
WEFT_NODISCARD weft_status weft_secagg_client_new(weft_secagg_client **ret,
                                                  const weft_secagg_client_config *config,
                                                  const weft_entropy *entropy,
                                                  weft_secagg_abort *abort, weft_err *err);
/**
 * Go on from a stored state; the config is the same as for _new (context_used and masked_round are
 * not looked at).
 * @return as _new; WEFT_E_STATE with STATE_LOST when the bytes are no state of this context.
 */
WEFT_NODISCARD weft_status weft_secagg_client_restore(weft_secagg_client **ret,
                                                      const weft_secagg_client_config *config,
                                                      const void *state, size_t n,
                                                      weft_secagg_abort *abort, weft_err *err);
/** Wipe and free; NULL is allowed. */
void weft_secagg_client_free(weft_secagg_client *c);

/**
 * Take one message of the coordinator.
 * @return WEFT_OK: taken, or taken before; store the state, then send the outbox.
 *         WEFT_E_CONFLICT, WEFT_E_STATE: refused, nothing changed (OUT_OF_ORDER, CONFLICT,
 *         ANSWERED, OTHER_SESSION in weft_secagg_client_abort). WEFT_E_AUTH: the machine has
 * aborted with a reason; store and send the outbox. WEFT_E_NOMEM, WEFT_E_CRYPTO: nothing changed.
 */
WEFT_NODISCARD weft_status weft_secagg_client_receive(weft_secagg_client *c, const void *message,
                                                      size_t n, weft_err *err);
/** Leave for a reason of the shell's own (canceled, cannot store): wipes, aborts with LEFT. */
void weft_secagg_client_leave(weft_secagg_client *c);

weft_secagg_client_phase weft_secagg_client_phase_get(const weft_secagg_client *c);
/** Why it aborted, or why the last message was refused; valid until the next call. */
const weft_secagg_abort *weft_secagg_client_abort(const weft_secagg_client *c);
/** The message to send in the present phase; empty in MASKING and MASKED. Valid until the next
 *  call. */
weft_view weft_secagg_client_outbox(const weft_secagg_client *c);
/** The context's hash. */
const uint8_t *weft_secagg_client_ctx(const weft_secagg_client *c);
/** n, k, t; n is 0 before the roster. */
const weft_secagg_params *weft_secagg_client_params(const weft_secagg_client *c);

/** Append everything that a restarted client needs: at most WEFT_MAX_SECAGG_STATE_BYTES. Secret:
 *  wipe the buffer. WEFT_E_LIMIT, WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_secagg_client_state(const weft_secagg_client *c, weft_buf *out,
                                                    weft_err *err);

/* A neighbour as the roster showed it, for the shell to remember its key. */
typedef struct weft_secagg_peer {
    char id[WEFT_MAX_NAME_BYTES + 1];
    uint8_t member_key[WEFT_SIGN_PUBLIC_BYTES];
} weft_secagg_peer;
/** Neighbours 0..k-1 in roster order; false past the end or before the roster. */
bool weft_secagg_client_peer(const weft_secagg_client *c, uint32_t i, weft_secagg_peer *ret);

/**
 * The masks to add to the encoded vector: its own, and one for each neighbour that sent shares.
 * Phase MASKING only: after _masked they are gone. Use with weft_prg_bank_new and
 * weft_prg_bank_add, block by block.
 * @param ret  [k + 1], WEFT_MAX_SECAGG_NEIGHBOURS + 1 always suffices; secret: wipe it.
 * @return WEFT_E_STATE in another phase; WEFT_E_CRYPTO.
 */
WEFT_NODISCARD weft_status weft_secagg_client_masks(weft_prg_stream *ret, size_t *ret_n,
                                                    const weft_secagg_client *c, weft_err *err);
/**
 * y is made and lies in the shell's file: from now on it never changes.
 * @param digest  [32] SHA-256 of y's bytes.
 * @return WEFT_OK, also again with the same digest; WEFT_E_STATE in another phase; WEFT_E_CONFLICT
 *         another digest: another vector under the same masks would reveal the difference.
 */
WEFT_NODISCARD weft_status weft_secagg_client_masked(weft_secagg_client *c,
                                                     const uint8_t digest[WEFT_SHA256_BYTES],
                                                     weft_err *err);

#endif
