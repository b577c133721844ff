/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the session, shared by its four files only: session.c (events), session_call.c
 * (the next call, waits, the certificate), session_end.c (ends of assignments, failures),
 * session_secure.c (secure aggregation).
 * Life of an assignment:
 *
 *   IDLE -> FETCH -> TRAIN -> STORE -> UPLOAD -> (closed) IDLE
 *   securely:      ... STORE -> STEP... -> MASK -> UPLOAD -> STEP... -> (closed) IDLE
 *
 * with ASK (what does the coordinator hold, does it still want it?) after every failed transfer and
 * after every restart, and ABANDON on the way out. A phase has its call under way (call != 0), or
 * waits until due_ms to make it.
 */
#ifndef WEFT_SESSION_PRIV_H
#define WEFT_SESSION_PRIV_H

#include "session.h"

typedef enum weft_session_phase {
    PHASE_IDLE,
    PHASE_ASK,
    PHASE_FETCH,
    PHASE_TRAIN,
    PHASE_STORE,
    PHASE_UPLOAD,
    PHASE_STEP,
    PHASE_MASK,
    PHASE_LEAVE, /* tell the others' coordinator why, once; then ABANDON */
    PHASE_ABANDON,
    PHASE_DONE
} weft_session_phase;

/* The protocol of the open assignment; made when its update is stored. */
typedef struct weft_session_secagg {
    weft_secagg_client *machine; /* owned */
    uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES];
    weft_buf state;    /* the machine's, as kept last; secret */
    weft_buf incoming; /* of the coordinator's message that comes in pieces */
    uint64_t incoming_bytes;
    bool handed_in; /* the machine's message was acknowledged */
    bool masked;    /* the update is the masked vector */
    bool has_receipt;
    weft_session_receipt receipt;
    uint32_t n_peers;
    weft_secagg_peer peers[WEFT_MAX_SECAGG_NEIGHBOURS];
    size_t n_masks;
    weft_prg_stream masks[WEFT_MAX_SECAGG_NEIGHBOURS + 1]; /* during MASK; secret */
} weft_session_secagg;

struct weft_session {
    const weft_alloc *alloc;
    weft_session_config config; /* its texts and tables are owned copies */
    weft_rng rng;
    weft_session_phase at;
    weft_session_action_kind call; /* under way, 0: none */
    bool lease_call;               /* a PROGRESS accompanies it */
    uint64_t due_ms;               /* not before: the phase's call */
    uint64_t trained_ms;           /* when the training began */
    uint64_t since_ms;             /* the present call's start */
    uint64_t lease_due_ms;
    uint64_t give_up_ms;       /* an assignment that moves nowhere until then is given up */
    uint32_t failures;         /* transient ones, in a row: the exponent of the backoff */
    uint32_t hard_failures;    /* of this assignment */
    uint32_t trainer_failures; /* in a row, over assignments */
    bool connected;
    uint64_t renew_due_ms;
    int64_t unix_ms; /* of the event that is being handled */
    /* the open assignment */
    bool open;
    weft_session_assignment assignment; /* texts owned */
    bool has_update;
    weft_session_update update;
    uint64_t offset; /* next upload starts here */
    bool from_zero;  /* next fetch starts afresh */
    bool declined;
    weft_session_secagg *secure; /* owned, or NULL */
    uint8_t left[256];           /* LEAVE: the last message to the coordinator */
    size_t n_left;
    char reason[WEFT_SESSION_TEXT_BYTES]; /* why it ends */
    char text[WEFT_SESSION_TEXT_BYTES];   /* of notices and FINISH */
};

static inline void weft_session_go(weft_session *s, weft_session_phase at, uint64_t due_ms)
{
    s->at = at;
    s->due_ms = due_ms;
}

/* ---- session_call.c ------------------------------------------------------------------------- */

weft_session_action *weft_session_emit(weft_session_actions *out, weft_session_action_kind kind);
void weft_session_set_text(char to[WEFT_SESSION_TEXT_BYTES], const char *text);
void weft_session_notify(weft_session *s, weft_session_notice notice, uint64_t bytes,
                         uint64_t duration_ms, const char *detail, weft_session_actions *out);
/* The last action; nothing is under way any more. */
void weft_session_finish(weft_session *s, weft_status status, const char *detail,
                         weft_session_actions *out);
/* CANCEL, if anything is under way. */
void weft_session_cancel(weft_session *s, weft_session_actions *out);
/* min_ms doubled exponent times, at most max_ms. */
uint64_t weft_session_exponential(uint64_t min_ms, uint64_t max_ms, uint32_t exponent);
/* Half of the delay for certain, half by lot. */
uint64_t weft_session_jitter(weft_session *s, uint64_t delay_ms);
/* The coordinator answered: end of the backoff. */
void weft_session_answered(weft_session *s, uint64_t now_ms, weft_session_actions *out);
/* One more failure: sets due_ms. @return the wait. */
uint64_t weft_session_back_off(weft_session *s, uint64_t now_ms);
bool weft_session_expired(const weft_session *s);
/* Make the present phase's call if it is time. */
void weft_session_advance(weft_session *s, uint64_t now_ms, weft_session_actions *out);
/* While a transfer or the training is under way: renew the lease. */
void weft_session_tick(weft_session *s, uint64_t now_ms, weft_session_actions *out);

/* ---- session_secure.c ----------------------------------------------------------------------- */

/* Before training: does the memory forbid this session? WEFT_E_AUTH with the reason, or a failure
 * of the memory. */
WEFT_NODISCARD weft_status weft_session_secure_check(const weft_session *s, weft_err *err);
/* After a restart, with what the record says. */
void weft_session_secure_restore(weft_session *s, const weft_session_record *record);
/* Go on with an assignment whose update is stored: where it stands. */
void weft_session_secure_go(weft_session *s, uint64_t now_ms, weft_session_actions *out);
void weft_session_secure_step(const weft_session *s, weft_session_action *action);
void weft_session_on_stepped(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                             weft_session_actions *out);
void weft_session_on_masked(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                            weft_session_actions *out);
void weft_session_secure_receipt(weft_session *s, const weft_session_receipt *receipt,
                                 uint64_t now_ms, weft_session_actions *out);
/* Is the masked input in the coordinator's hands? Then the round counts it, whatever comes. */
bool weft_session_secure_delivered(const weft_session *s);
/* Wipe and free; keeps a message to leave with. */
void weft_session_secure_leave(weft_session *s);
void weft_session_secure_done(weft_session *s);

/* ---- session_end.c -------------------------------------------------------------------------- */

void weft_session_end_accepted(weft_session *s, uint64_t now_ms,
                               const weft_session_receipt *receipt, weft_session_actions *out);
void weft_session_end_refused(weft_session *s, uint64_t now_ms, const char *reason,
                              weft_session_actions *out);
void weft_session_end_abandoned(weft_session *s, uint64_t now_ms, weft_session_actions *out);
void weft_session_begin_abandon(weft_session *s, uint64_t now_ms, bool declined, const char *reason,
                                weft_session_actions *out);
/* A transfer failed. The same refusal again and again: give the assignment up. Else wait, and ask
 * what the coordinator holds. @return the wait; 0: given up. */
uint64_t weft_session_retry_transfer(weft_session *s, uint64_t now_ms, bool hard,
                                     const char *detail, weft_session_actions *out);
WEFT_NODISCARD weft_status weft_session_on_failed(weft_session *s, const weft_session_event *event,
                                                  uint64_t now_ms, weft_session_actions *out,
                                                  weft_err *err);

#endif
