/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mind of one client: check in, look at the owner's policy, fetch, train, store, upload, learn
 * the outcome, begin again. One pure state machine: an event and the time come in, ordered actions
 * come out. No clock, no I/O, no randomness of its own (jitter comes from the seed, keys of secure
 * aggregation come from the entropy handed in).
 *
 * The contract with the shell (client.c in production, examples/simulate, tests/sim):
 * - Events are fed by one thread, one at a time. now_ms never runs backwards; its zero means
 * nothing.
 * - Actions are executed in order. KEEP_ASSIGNMENT, KEEP_ABANDON and CLOSE survive a crash of the
 *   process before the next action runs (should a power failure undo them, the coordinator's
 * answers bring the same about again); STORE, KEEP_SECURE and MASK survive a power failure. When
 * one fails, the shell drops the rest of the batch and feeds FAILED.
 * - CHECK_IN, FETCH, TRAIN, STORE, STEP, MASK, UPLOAD, PROGRESS, ABANDON and RENEW are asked for
 * once and answered by exactly one event: their own, or FAILED naming them. At most one of them is
 *   under way, except that a PROGRESS may accompany a FETCH, a TRAIN or an UPLOAD. After CANCEL the
 *   shell feeds nothing of what it cancelled.
 * - A shell whose TRAIN blocks renews the lease itself meanwhile, every lease_ms / 3, and hands the
 *   coordinator's "stop" back in u.trained.stopped. When the host's stop ended the training, it
 * feeds STOP instead of TRAINED.
 * - After a crash, the session is built anew from the record that the shell kept: the newest
 *   KEEP_ASSIGNMENT or KEEP_ABANDON without a CLOSE, the stored update's head, if STORE was done,
 *   and what the newest KEEP_SECURE said.
 *
 * Secure aggregation (session_secure.c): after STORE the protocol of common/secagg/client.h runs
 * inside the session. KEEP_SECURE holds its state before the first byte that depends on it leaves;
 * STEP hands in a message and polls for the coordinator's next; MASK makes the masked vector, once,
 * which UPLOAD sends. States and masks are secret: the shell keeps them from others' eyes, and
 * KEEP_ABANDON and CLOSE end them.
 *
 * Threads: owner thread. Memory: the assignment's texts; no allocation but for them.
 */
#ifndef WEFT_SESSION_H
#define WEFT_SESSION_H

#include "base/alloc.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/rng.h"
#include "model/job.h"
#include "model/metric.h"
#include "model/plan.h"
#include "secagg/client.h"
#include "secagg/terms.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct weft_session weft_session;

/* One sentence, cut to fit the wire. */
#define WEFT_SESSION_TEXT_BYTES     WEFT_MAX_REASON_BYTES
#define WEFT_SESSION_ENCODING_BYTES 16

/* What the coordinator asks for (weft.v1.Assignment). */
typedef struct weft_session_assignment {
    uint64_t assignment_id;
    char job[WEFT_MAX_NAME_BYTES + 1];
    uint64_t job_id; /* for the coordinator's sake: kept, not looked at */
    uint32_t round;
    uint32_t attempt;
    weft_task task;
    char dataset[WEFT_MAX_NAME_BYTES + 1];
    const char *model_spec;  /* borrowed in events; the session's own copy in actions */
    const char *data_schema; /* the same; "" for none */
    weft_plan plan;
    uint8_t base_digest[WEFT_DIGEST_BYTES];
    uint64_t base_bytes;
    double clip_norm;
    uint64_t max_examples;
    uint64_t deadline_ms; /* left when it was sent; for people, the coordinator's word counts */
    uint64_t lease_ms;
    uint32_t cohort;
    bool secure_aggregation;
    weft_secagg_terms secure; /* with secure_aggregation */
    char encoding[WEFT_SESSION_ENCODING_BYTES + 1];
} weft_session_assignment;

/* What goes with an update (weft.v1.UpdateHeader). With secure aggregation the example count and
 * the metrics stay here: they are in the vector. */
typedef struct weft_session_update {
    uint64_t total_bytes;              /* 0 for WEFT_TASK_EVALUATE without secure aggregation */
    uint8_t digest[WEFT_DIGEST_BYTES]; /* of the encoded vector; of the masked one after MASK */
    uint64_t n_examples;
    weft_metrics metrics;
} weft_session_update;

/* weft.v1.Receipt, verified by the shell. */
typedef struct weft_session_receipt {
    uint64_t assignment_id;
    char job[WEFT_MAX_NAME_BYTES + 1];
    uint32_t round;
    uint64_t n_examples;
    int64_t accepted_unix_ms;
    uint8_t update_digest[WEFT_DIGEST_BYTES];
    uint8_t signature[64];
} weft_session_receipt;

/* The durable record of the one open assignment, as the shell keeps it. */
typedef struct weft_session_record {
    weft_session_assignment assignment;
    bool has_update; /* STORE was done: the bytes are in the outbox; after MASK the masked ones */
    weft_session_update update;
    weft_view secure; /* the newest KEEP_SECURE's state, borrowed; size 0: there was none */
    bool masked;      /* and its update and receipt, if it had them */
    bool has_receipt;
    weft_session_receipt receipt;
    bool abandoning; /* KEEP_ABANDON was done */
    bool declined;
    char reason[WEFT_SESSION_TEXT_BYTES];
} weft_session_record;

typedef struct weft_session_dataset {
    char name[WEFT_MAX_NAME_BYTES + 1];
} weft_session_dataset;

/* What the client remembers beyond the open assignment; read-only questions to the shell. A failure
 * is told to the owner and ends the assignment. */
typedef struct weft_session_memory {
    /* Was this very context (secagg/context.h) ever begun? Every KEEP_SECURE notes its own. */
    weft_status (*context_used)(void *self, bool *ret, const uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES],
                                weft_err *err);
    /* The latest round of this job and task for which KEEP_SECURE said masked; 0: none. */
    weft_status (*masked_round)(void *self, uint32_t *ret, const char *job, weft_task task,
                                weft_err *err);
    /* The member keys that KEEP_SECURE's peers had. */
    weft_secagg_pins pins;
    void *self;
} weft_session_memory;

/* What secure aggregation takes; borrowed for the session's life. */
typedef struct weft_session_secure_config {
    const char *federation;
    const uint8_t *operator_public; /* [32] */
    const weft_sign_key *member_key;
    const weft_member_chain *chain;
    const weft_entropy *entropy;
    weft_session_memory memory;
} weft_session_secure_config;

typedef struct weft_session_config {
    const char *allowed_jobs; /* comma-separated names or prefixes with '*'; NULL: all; copied */
    uint32_t min_cohort;
    bool require_secure_aggregation;
    weft_secagg_adversary adversary;          /* what a secure job must guard against at least */
    double gamma;                             /* and against how many colluders */
    const weft_session_secure_config *secure; /* NULL: the shell does not speak the protocol */
    const weft_session_dataset *datasets;     /* [n_datasets], copied */
    uint32_t n_datasets;
    uint64_t hold_ms;        /* how long a check-in may be held */
    uint64_t backoff_min_ms; /* first wait after a failed call; doubled each time */
    uint64_t backoff_max_ms;
    uint64_t keep_ms;          /* an update that cannot be delivered for so long is given up */
    uint64_t decline_pause_ms; /* wait after declining, so that both sides keep their peace */
    uint64_t seed;             /* of the jitter */
    /* the transport certificate; 0, 0: no renewals (simulation) */
    int64_t certificate_from_unix_ms;
    int64_t certificate_until_unix_ms;
} weft_session_config;

#define WEFT_SESSION_CONFIG_INIT                                                                   \
    {                                                                                              \
        NULL, 0, false, WEFT_SECAGG_ACTIVE, 0.05, NULL, NULL, 0, 30000, 500, 20000,                \
            UINT64_C(604800000), 5000, 1, 0, 0                                                     \
    }

/* ---- events --------------------------------------------------------------------------------- */

typedef enum weft_session_event_kind {
    WEFT_SESSION_TICK = 1,   /* time passed; the first event of a session, too */
    WEFT_SESSION_CHECKED_IN, /* u.checked_in */
    WEFT_SESSION_FETCHED,    /* the base is complete and its digest is right */
    WEFT_SESSION_TRAINED,    /* u.trained: also when it failed or was cancelled */
    WEFT_SESSION_STORED,     /* u.stored: the encoded update is durable in the outbox */
    WEFT_SESSION_SUBMITTED,  /* u.submitted: a receipt or a refusal */
    WEFT_SESSION_PROGRESSED, /* u.progressed */
    WEFT_SESSION_ABANDONED,
    WEFT_SESSION_RENEWED, /* u.renewed; new calls use the new certificate */
    WEFT_SESSION_FAILED,  /* u.failed: the named action did not succeed */
    WEFT_SESSION_STOP,    /* the host wants to end; what is durable stays */
    WEFT_SESSION_STEPPED, /* u.stepped: the coordinator's answer to STEP */
    WEFT_SESSION_MASKED   /* u.masked: the masked vector is durable in the outbox */
} weft_session_event_kind;

/* weft.v1.SecureState: the same numbers */
typedef enum weft_session_step {
    WEFT_SESSION_STEP_WAIT = 1,
    WEFT_SESSION_STEP_MESSAGE = 2,
    WEFT_SESSION_STEP_DONE = 3,
    WEFT_SESSION_STEP_FAILED = 4
} weft_session_step;

typedef enum weft_session_answer {
    WEFT_SESSION_ASSIGNMENT = 1,
    WEFT_SESSION_COME_BACK,
    WEFT_SESSION_NOTHING_MORE
} weft_session_answer;

typedef enum weft_session_action_kind {
    /* durable at once */
    WEFT_SESSION_KEEP_ASSIGNMENT = 1, /* u.assignment is open from now on */
    WEFT_SESSION_KEEP_ABANDON,        /* u.keep: the open assignment is to be abandoned, and why */
    WEFT_SESSION_CLOSE,               /* u.close: into the history; the update's bytes may go */
    WEFT_SESSION_KEEP_SECURE,         /* u.secure: replaces the one before */
    /* answered by an event */
    WEFT_SESSION_CHECK_IN, /* u.check_in */
    WEFT_SESSION_FETCH,    /* u.fetch: what was fetched already stays valid unless from_zero */
    WEFT_SESSION_TRAIN,    /* u.train */
    WEFT_SESSION_STORE,    /* u.store: delta, clip, encode, make durable; EVALUATE: no bytes */
    WEFT_SESSION_UPLOAD,   /* u.upload */
    WEFT_SESSION_PROGRESS, /* u.progress */
    WEFT_SESSION_ABANDON,  /* u.abandon */
    WEFT_SESSION_RENEW,    /* u.renew */
    WEFT_SESSION_STEP,     /* u.step */
    WEFT_SESSION_MASK,     /* u.mask: add the masks to the stored vector, make that durable, too */
    /* no answer */
    WEFT_SESSION_CANCEL, /* drop whatever is under way */
    WEFT_SESSION_NOTIFY, /* u.notify: for the host */
    WEFT_SESSION_FINISH  /* u.finish: the last action of a session */
} weft_session_action_kind;

typedef struct weft_session_event {
    weft_session_event_kind kind;
    int64_t unix_ms; /* wall clock: for the certificate only */
    union {
        struct {
            weft_session_answer answer;
            const weft_session_assignment *assignment;
            uint64_t come_back_ms;
        } checked_in;
        struct {
            weft_status status; /* OK, CANCELED, or the trainer's failure */
            bool stopped;       /* CANCELED because the coordinator said stop */
            const char *detail; /* of a failure or of the stop; or NULL */
            uint64_t n_examples;
            const weft_metrics *metrics;
        } trained;
        struct {
            uint64_t total_bytes;
            uint8_t digest[WEFT_DIGEST_BYTES]; /* not looked at when there are no bytes */
        } stored;
        struct {
            const weft_session_receipt *receipt; /* NULL: refused */
            const char *refusal;                 /* "late: the round has closed" */
        } submitted;
        struct {
            bool stop;
            const char *reason; /* of the stop */
            uint64_t held_bytes;
            const weft_session_receipt *receipt; /* accepted already, or NULL */
        } progressed;
        struct {
            int64_t from_unix_ms;
            int64_t until_unix_ms;
        } renewed;
        struct {
            weft_session_step state;
            uint32_t type;        /* MESSAGE: of the message that piece is of */
            uint64_t offset;      /* of the piece */
            uint64_t total_bytes; /* of the message */
            weft_view piece;
            uint32_t reason; /* FAILED: weft_secagg_reason, or a newer peer's */
            const char *detail;
        } stepped;
        struct {
            uint64_t total_bytes;
            uint8_t digest[WEFT_DIGEST_BYTES];
        } masked;
        struct {
            weft_session_action_kind action;
            weft_status status;
            const char *detail; /* or NULL */
        } failed;
    } u;
} weft_session_event;

/* ---- actions -------------------------------------------------------------------------------- */

typedef enum weft_session_notice {
    WEFT_SESSION_CONNECTED = 1, /* the same numbers as weft_client_event_kind */
    WEFT_SESSION_DISCONNECTED,
    WEFT_SESSION_ASSIGNED,
    WEFT_SESSION_WAS_TRAINED,
    WEFT_SESSION_UPLOADED,
    WEFT_SESSION_REFUSED,
    WEFT_SESSION_DECLINED,
    WEFT_SESSION_GAVE_UP,
    WEFT_SESSION_CERTIFIED,
    WEFT_SESSION_SECURED /* a step of secure aggregation was taken; detail: which */
} weft_session_notice;

typedef enum weft_session_outcome {
    WEFT_OUTCOME_ACCEPTED = 1,
    WEFT_OUTCOME_REFUSED,  /* by the coordinator */
    WEFT_OUTCOME_DECLINED, /* by the owner's policy */
    WEFT_OUTCOME_ABANDONED /* the trainer failed, or the update could not be kept or delivered */
} weft_session_outcome;

/* Pointers are borrowed until the next event. */
typedef struct weft_session_action {
    weft_session_action_kind kind;
    union {
        const weft_session_assignment *assignment; /* KEEP_ASSIGNMENT */
        struct {
            const char *reason;
            bool declined; /* by the owner's policy */
        } keep;
        struct {
            const weft_session_assignment *assignment;
            weft_session_outcome outcome;
            const char *reason;                  /* "" when accepted */
            const weft_session_receipt *receipt; /* when accepted */
            uint64_t n_examples;                 /* of the update; 0: none was made */
            uint64_t bytes;
        } close;
        struct {
            const weft_session_assignment *assignment;
            weft_view state;    /* secret; at most WEFT_MAX_SECAGG_STATE_BYTES */
            const uint8_t *ctx; /* [32] of this state */
            bool masked;        /* from now on: update is what MASK made, the round counts as
                                   masked, and the unmasked vector is not needed any more */
            const weft_session_update *update;
            const weft_session_receipt *receipt; /* of the masked vector, or NULL */
            const weft_secagg_peer *peers;       /* [n_peers]: their keys are to be remembered */
            uint32_t n_peers;
        } secure;
        struct {
            const weft_session_assignment *assignment;
            const uint8_t *ctx; /* [32] */
            weft_view message;  /* size 0: only poll */
            uint32_t taken;     /* type of the last message that was taken; 0: none */
            uint64_t offset;    /* bytes held of the one after it */
            uint64_t hold_ms;
        } step;
        struct {
            const weft_session_assignment *assignment;
            const weft_session_update *update; /* of the stored vector */
            const weft_prg_stream *masks;      /* [n_masks], secret */
            size_t n_masks;
        } mask;
        struct {
            uint64_t hold_ms;
        } check_in;
        struct {
            uint8_t digest[WEFT_DIGEST_BYTES];
            uint64_t bytes;
            bool from_zero;
        } fetch;
        struct {
            const weft_session_assignment *assignment;
        } train;
        struct {
            const weft_session_assignment *assignment;
            const weft_session_update *update; /* n_examples and metrics are set */
        } store;
        struct {
            const weft_session_assignment *assignment;
            const weft_session_update *update;
            uint64_t offset;
        } upload;
        struct {
            uint64_t assignment_id;
            const char *phase; /* "fetch", "train", "upload" */
        } progress;
        struct {
            uint64_t assignment_id;
            const char *reason;
        } abandon;
        struct {
            bool anonymous; /* the certificate is no longer good for a connection */
        } renew;
        struct {
            weft_session_notice notice;
            const weft_session_assignment *assignment; /* or NULL */
            uint64_t bytes;
            uint64_t duration_ms;
            const char *detail;
        } notify;
        struct {
            weft_status status; /* OK: nothing more; CANCELED; AUTH; STATE; DB, IO, NOMEM ... */
            const char *detail;
        } finish;
    } u;
} weft_session_action;

#define WEFT_SESSION_MAX_ACTIONS 8
typedef struct weft_session_actions {
    uint32_t n;
    weft_session_action item[WEFT_SESSION_MAX_ACTIONS];
} weft_session_actions;

/* ---- the machine ---------------------------------------------------------------------------- */

/**
 * A session at its start, or after a crash.
 * @param record  what was kept of the open assignment, or NULL; copied.
 * @return WEFT_E_NOMEM; WEFT_E_INVALID a setting out of its range.
 */
WEFT_NODISCARD weft_status weft_session_new(weft_session **ret, const weft_session_config *config,
                                            const weft_session_record *record, const weft_alloc *a,
                                            weft_err *err);
void weft_session_free(weft_session *session);

/**
 * Handle one event at now_ms; out is overwritten. The first event of a session is TICK.
 * @return WEFT_OK; WEFT_E_NOMEM (an assignment could not be copied: feed the event again or end);
 *         WEFT_E_STATE an event that answers nothing, a defect of the shell.
 */
WEFT_NODISCARD weft_status weft_session_on(weft_session *session, const weft_session_event *event,
                                           uint64_t now_ms, weft_session_actions *out,
                                           weft_err *err);

/** When the next TICK is needed; UINT64_MAX: not before another event. */
uint64_t weft_session_next_ms(const weft_session *session);

/** The open assignment, or NULL. */
const weft_session_assignment *weft_session_open(const weft_session *session);

/** True once FINISH was emitted. */
bool weft_session_finished(const weft_session *session);

/** The grid of a secure assignment's vector. WEFT_E_INVALID, WEFT_E_LIMIT: its terms make none.
 * Pure.
 */
WEFT_NODISCARD weft_status weft_session_grid(weft_fixed_grid *ret,
                                             const weft_session_assignment *assignment,
                                             weft_err *err);

/** Does a list like "mnist,heart-*" admit this job? NULL admits all. Pure. */
bool weft_session_job_allowed(const char *allowed_jobs, const char *job);

/** The trainer's seed: the plan's, mixed with who trains and which round (SHA-256). Names hold no
 * '|'. Pure. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_session_train_seed(uint64_t *ret, uint64_t plan_seed,
                                                   const char *client, const char *job,
                                                   uint32_t round, weft_err *err);

#endif
