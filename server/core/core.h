/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's mind: jobs, rounds, selection, leases, receipts' order. One pure state machine:
 * an event and the time come in, ordered actions come out. No clock, no I/O, no randomness of its
 * own (selection is HMAC-ordered by the job's seed).
 *
 * The contract with the shell (server/app in production, examples/simulate, tests/sim):
 * - Events are fed by one thread, one at a time, with a logical clock that never runs backwards.
 * - Actions are executed in order. Each event's batch begins with its persists (versions, jobs,
 *   rounds, eligible sets, assignments; each row once), which are one transaction. Nothing after a
 *   persist runs before it is durable. If a persist fails, the shell answers every call of the
 *   batch "unavailable", throws the core away and builds it anew from the store: the state is what
 *   was durable.
 * - FOLD and FINISH work off-thread and come back as FOLDED and FINISHED events; EVALUATE comes
 *   back as CENTRAL. Answers that come too late (the attempt was ended meanwhile) are ignored, and
 *   DROP_SUM may come while a FINISH runs: its result is not wanted any more.
 * - A version may be persisted whose bytes are known already (updates that changed nothing, two
 * jobs with one seed).
 * - A call token (not 0) names a waiting call of the shell; each token gets exactly one REPLY. The
 *   shell may report with CALL_GONE that its caller went away; then no reply is needed (one may
 *   still come). Replies to call 0 are left out.
 *
 * Life of a round: WAITING (no row yet; enough eligible clients?) -> TRAINING -> AGGREGATING ->
 * [EVALUATING] -> DONE, or FAILED (below the minimum at the deadline or without hope of reaching
 * it, a result that is not finite, a cancel or rollback) -> next attempt after a backoff (doubled
 * each time, at most an hour) -> job paused after max_attempts. A paused job finishes its open
 * round and starts no other. Training ends early when the target is reached, or when the minimum is
 * and nobody trains any more.
 *
 * Selection: when at least `minimum` eligible clients wait and either cohort-many wait or
 * selection_window_ms passed, the eligible set (waiting clients that declare the job's data set,
 * are not revoked and hold no open assignment) is recorded, ordered by HMAC-SHA256(key = job seed,
 * round | attempt | client) and the first weft_job_def_cohort() are assigned. Clients that wait
 * later replace those that are lost, one part a client and attempt; the assignments record them.
 * Several jobs take turns: the one served longest ago chooses first.
 *
 * Assignments: a lease that runs out frees the slot; until another client takes it or training
 * ends, the client may come back (by progress, update or check-in) and go on. A check-in of a
 * client with an open assignment answers that assignment again. A client asks again for a receipt
 * that it lost: the core knows each client's newest assignment.
 *
 * Evaluation: up to eval_clients that check in are asked, until a moment (selection_window_ms and
 * twice come_back_ms) has passed or nobody else is about; it ends when all asked have reported or
 * were lost and the coordinator's own is done, or at eval_deadline_ms with what there is. The
 * metric that ends a job is the federated one when clients measured it, else the coordinator's.
 */
#ifndef WEFT_CORE_H
#define WEFT_CORE_H

#include "base/alloc.h"
#include "core/rows.h"
#include "core/session.h"

typedef struct weft_core weft_core;

/* Deterministic configuration of the federation. */
typedef struct weft_core_config {
    uint64_t come_back_ms;  /* mean pace for clients without work; per-client jitter +-50 % */
    uint64_t max_hold_ms;   /* the longest a check-in is held */
    uint32_t max_jobs;      /* not ended, at once */
    uint64_t pace_seed;     /* of the jitter */
    const char *federation; /* secure sessions are about it; borrowed for the core's life */
    uint8_t operator_public[WEFT_SIGN_PUBLIC_BYTES]; /* vouches for their members */
} weft_core_config;

#define WEFT_CORE_CONFIG_INIT                                                                      \
    {                                                                                              \
        2000, 30000, 64, 1, "",                                                                    \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* ---- events ---------------------------------------------------------------------------------- */

typedef enum weft_event_kind {
    WEFT_EVENT_TICK = 1,    /* time passed */
    WEFT_EVENT_JOB_SUBMIT,  /* u.submit; the initial version is durable already */
    WEFT_EVENT_JOB_CONTROL, /* u.control */
    WEFT_EVENT_CHECK_IN,    /* u.check_in; call held */
    WEFT_EVENT_CALL_GONE,   /* u.gone */
    WEFT_EVENT_PROGRESS,    /* u.progress */
    WEFT_EVENT_ABANDON,     /* u.abandon */
    WEFT_EVENT_UPDATE,      /* u.update: complete, validated, in the spool (synced if promised) */
    WEFT_EVENT_FOLDED,      /* u.folded */
    WEFT_EVENT_FINISHED,    /* u.finished: candidate durable in models.db, or a reason */
    WEFT_EVENT_CENTRAL,     /* u.central: evaluation at the coordinator is done */
    WEFT_EVENT_CLIENT_REVOKED,  /* u.client: no work for this name from now on */
    WEFT_EVENT_ROLLBACK,        /* u.rollback: the job goes on from another stored version */
    WEFT_EVENT_SECURE_STEP,     /* u.secure; call held */
    WEFT_EVENT_CLIENT_ENROLLED, /* u.client: a revoked name has enrolled again, may work again */
    WEFT_EVENT_MODEL_SENT       /* u.sent: to a client, all or a part; counted, no more */
} weft_event_kind;

typedef struct weft_declared {
    char name[WEFT_MAX_NAME_BYTES + 1];
    uint64_t n_examples;
} weft_declared;

typedef struct weft_event {
    weft_event_kind kind;
    uint64_t call;      /* token of the waiting call, 0: none */
    const char *client; /* caller, verified; NULL for shell events */
    int64_t unix_ms;    /* wall clock, recorded for people only */
    union {
        struct {
            const weft_job_def *def;            /* the same again answers the same job */
            uint8_t version[WEFT_DIGEST_BYTES]; /* initial weights */
            uint64_t model_bytes;
        } submit;
        struct {
            const char *job;
            weft_job_status to; /* PAUSED, RUNNING (resume), CANCELED */
            const char *reason;
        } control;
        struct {
            const weft_declared *datasets;
            uint32_t n_datasets;
            uint64_t hold_ms;
        } check_in;
        struct {
            uint64_t call;
        } gone;
        struct {
            uint64_t assignment_id;
            uint64_t held_bytes; /* what the shell's spool holds; echoed in the reply */
        } progress;
        struct {
            uint64_t assignment_id;
            const char *reason;
        } abandon;
        struct {
            uint64_t assignment_id;
            uint8_t base[WEFT_DIGEST_BYTES];
            uint8_t digest[WEFT_DIGEST_BYTES];
            uint64_t n_examples;
            uint64_t bytes;
            weft_refusal refusal; /* what validation found; NONE: good */
            const char *detail;   /* of the refusal, or NULL */
            const weft_metrics *metrics;
        } update;
        struct {
            uint64_t assignment_id;
            uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES];
            weft_view message; /* of the client; size 0: it only polls */
            uint32_t taken;    /* type of the newest message that it has of us, 0: none */
            uint64_t offset;   /* what it holds of the one after */
            uint64_t hold_ms;
        } secure;
        struct {
            uint64_t assignment_id;
        } folded;
        struct {
            uint64_t job_id;
            uint32_t round;
            uint32_t attempt;
            weft_task task; /* EVALUATE: a secure sum of metrics, no version; else as the job's */
            bool ok;
            uint8_t version[WEFT_DIGEST_BYTES];
            uint64_t bytes;
            const char *reason;              /* when not ok: "the result is not finite" */
            const weft_fixed_totals *totals; /* secure: what was summed besides */
            const char *liars;               /* secure: who sent wrong shares, or "" or NULL */
        } finished;
        struct {
            uint64_t job_id;
            uint32_t round;
            const weft_metrics *metrics; /* NULL: it failed, reason */
            const char *reason;
        } central;
        struct {
            const char *name;
            const char *reason;
        } client;
        struct {
            const char *job;
            uint8_t version[WEFT_DIGEST_BYTES];
        } rollback;
        struct {
            uint8_t version[WEFT_DIGEST_BYTES];
            uint64_t bytes;
        } sent;
    } u;
} weft_event;

/* ---- actions --------------------------------------------------------------------------------- */

typedef enum weft_action_kind {
    WEFT_ACTION_PERSIST_JOB = 1,     /* u.job */
    WEFT_ACTION_PERSIST_ROUND,       /* u.round */
    WEFT_ACTION_PERSIST_ASSIGNMENT,  /* u.assignment */
    WEFT_ACTION_PERSIST_VERSION,     /* u.version */
    WEFT_ACTION_PERSIST_ELIGIBLE,    /* u.eligible */
    WEFT_ACTION_PERSIST_SECURE,      /* u.secure: append */
    WEFT_ACTION_PERSIST_SECURE_OVER, /* u.secure_over: forget its rows */
    WEFT_ACTION_REPLY,               /* u.reply */
    WEFT_ACTION_OPEN_SUM,            /* u.sum: start an empty sum for a round */
    WEFT_ACTION_FOLD,                /* u.fold: add a spooled update to its round's sum */
    WEFT_ACTION_FINISH,              /* u.sum: close the sum, make the candidate durable */
    WEFT_ACTION_DROP_SUM,            /* u.sum: forget the sum */
    WEFT_ACTION_DROP_UPDATE,         /* u.fold: the spool may forget this update */
    WEFT_ACTION_PUBLISH,             /* u.publish: job's current version is now this one */
    WEFT_ACTION_EVALUATE,            /* u.publish: run the central evaluation of this version */
    WEFT_ACTION_CANCEL_CALLS,        /* u.client: cut every call of this client */
    WEFT_ACTION_NOTIFY               /* u.notify: for watchers and logs */
} weft_action_kind;

typedef enum weft_reply_kind {
    WEFT_REPLY_ASSIGNMENT = 1, /* u.assignment */
    WEFT_REPLY_COME_BACK,      /* u.come_back_ms */
    WEFT_REPLY_NOTHING_MORE,
    WEFT_REPLY_PROGRESS, /* u.progress */
    WEFT_REPLY_RECEIPT,  /* u.receipt */
    WEFT_REPLY_REFUSED,  /* u.refused */
    WEFT_REPLY_DONE,     /* abandon, control, rollback, revoke */
    WEFT_REPLY_JOB,      /* u.job_id of a submitted job */
    WEFT_REPLY_SECURE,   /* u.secure */
    WEFT_REPLY_ERROR     /* u.error */
} weft_reply_kind;

/* Everything an Assignment message needs; def and texts borrowed until the next event. */
typedef struct weft_assignment_view {
    const weft_assignment_row *row;
    const weft_job_def *def;
    const uint8_t *base; /* [WEFT_DIGEST_BYTES] */
    uint64_t base_bytes;
    uint64_t left_ms; /* until the deadline */
    uint32_t cohort;
} weft_assignment_view;

typedef struct weft_action {
    weft_action_kind kind;
    union {
        const weft_job_row *job; /* rows: borrowed until the next event */
        const weft_round_row *round;
        const weft_assignment_row *assignment;
        weft_version_row version;
        weft_eligible_row eligible;
        weft_secure_row secure;
        weft_secure_over secure_over;
        struct {
            uint64_t call;
            weft_reply_kind kind;
            union {
                weft_assignment_view assignment;
                uint64_t come_back_ms;
                struct {
                    bool stop; /* over, without a receipt */
                    weft_refusal reason;
                    uint64_t held_bytes;
                    uint64_t left_ms;
                    const weft_assignment_row *accepted; /* when there is a receipt, or NULL */
                } progress;
                const weft_assignment_row *receipt; /* the accepted assignment */
                struct {
                    weft_refusal refusal;
                    char detail[WEFT_REASON_BYTES];
                } refused;
                uint64_t job_id;
                struct {
                    weft_secagg_next state;
                    uint32_t type; /* of the message, of which this is a piece */
                    uint64_t offset;
                    uint64_t total;
                    weft_view piece; /* borrowed until the next event */
                    weft_secagg_reason reason;
                    char detail[WEFT_REASON_BYTES];
                } secure;
                struct {
                    weft_status status;
                    char detail[WEFT_REASON_BYTES];
                } error;
            } u;
        } reply;
        struct {
            uint64_t job_id;
            uint32_t round;
            uint32_t attempt;
            const weft_job_def *def;
            const uint8_t *base; /* [WEFT_DIGEST_BYTES] */
            uint64_t model_bytes;
            uint32_t cohort;             /* bounds the sum */
            weft_task task;              /* EVALUATE: a secure sum of metrics */
            weft_secure_session *secure; /* NULL: plain; borrowed until the next event, take a
                                            reference */
        } sum;
        struct {
            uint64_t job_id;
            uint32_t round;
            uint32_t attempt;
            uint64_t assignment_id;
            uint64_t n_examples;
            weft_task task;
        } fold;
        struct {
            uint64_t job_id;
            uint32_t round;
            uint8_t version[WEFT_DIGEST_BYTES];
        } publish;
        struct {
            char name[WEFT_MAX_NAME_BYTES + 1];
        } client;
        struct {
            const char *kind; /* "job", "round", "update" (accepted, refused, given up, lost),
                                 "version", "evaluation" */
            const weft_job_row *job;
            const weft_round_row *round; /* or NULL */
            char client[WEFT_MAX_NAME_BYTES + 1];
            char detail[WEFT_REASON_BYTES];
        } notify;
    } u;
} weft_action;

typedef struct weft_actions {
    const weft_alloc *alloc;
    weft_action *item; /* [cap], owned */
    size_t n;
    size_t cap;
} weft_actions;

void weft_actions_init(weft_actions *list, const weft_alloc *a);
void weft_actions_done(weft_actions *list);

/* ---- the machine ----------------------------------------------------------------------------- */

WEFT_NODISCARD weft_status weft_core_new(weft_core **ret, const weft_core_config *config,
                                         const weft_alloc *a, weft_err *err);
void weft_core_free(weft_core *core);

/*
 * Restart: feed, by ascending ids, the rows of every job (ended ones too: names stay taken), of the
 * newest attempt of each job's open round, and of that round's assignments; in any order with these
 * each client's newest assignment of a round that has ended; then resume once.
 * Resume emits what the shell must do again: OPEN_SUM and FOLD of accepted updates, FINISH of
 * rounds that were aggregating, PUBLISH of current versions, EVALUATE. Leases start anew at now_ms.
 */
WEFT_NODISCARD weft_status weft_core_restore_job(weft_core *core, const weft_job_row *row,
                                                 weft_err *err);
WEFT_NODISCARD weft_status weft_core_restore_round(weft_core *core, const weft_round_row *row,
                                                   weft_err *err);
WEFT_NODISCARD weft_status weft_core_restore_assignment(weft_core *core,
                                                        const weft_assignment_row *row,
                                                        weft_err *err);
/** One of a round that has ended, with that round's row: its client may have lost the receipt, or
 *  may ask how it ended, and hears what it would have heard before the restart. */
WEFT_NODISCARD weft_status weft_core_restore_ended(weft_core *core, const weft_assignment_row *row,
                                                   const weft_round_row *round, weft_err *err);
/** Rows of the secure sessions of open rounds, in order, after the assignments. */
WEFT_NODISCARD weft_status weft_core_restore_secure(weft_core *core, const weft_secure_row *row,
                                                    weft_err *err);
WEFT_NODISCARD weft_status weft_core_resume(weft_core *core, uint64_t next_job_id,
                                            uint64_t next_assignment_id, uint64_t now_ms,
                                            weft_actions *out, weft_err *err);

/**
 * Handle one event at logical time now_ms; actions are appended to out. A caller's mistake (unknown
 * job, foreign assignment) is a REPLY_ERROR or REPLY_REFUSED action, not a failure here.
 * @return WEFT_OK; WEFT_E_NOMEM (the core must be rebuilt from the store); WEFT_E_INTERNAL.
 */
WEFT_NODISCARD weft_status weft_core_on(weft_core *core, const weft_event *event, uint64_t now_ms,
                                        weft_actions *out, weft_err *err);

/**
 * Order a recorded eligible set as selection does and give the cohort: for replays.
 * @param ret_order  [n], written: indexes into clients, best first; the cohort is its beginning.
 * @param ret_cohort how many of them were assigned at the start of the round.
 * @param clients    [n] names, borrowed, in any order.
 * @return WEFT_E_NOMEM; WEFT_E_CRYPTO. Pure; any thread.
 */
WEFT_NODISCARD weft_status weft_core_order(uint32_t *ret_order, uint32_t *ret_cohort,
                                           const weft_job_def *def, uint32_t round,
                                           uint32_t attempt, const char *const *clients, uint32_t n,
                                           const weft_alloc *a, weft_err *err);

/** Logical time at which the next TICK is needed; UINT64_MAX: none. */
uint64_t weft_core_next_ms(const weft_core *core);

/* Read-only looks, for the shell's answers and for tests; pointers live until the next event. */
uint32_t weft_core_n_jobs(const weft_core *core);
const weft_job_row *weft_core_job_at(const weft_core *core, uint32_t index);
const weft_job_row *weft_core_job_by_name(const weft_core *core, const char *name);
const weft_round_row *weft_core_open_round(const weft_core *core, uint64_t job_id); /* or NULL */
const weft_assignment_row *weft_core_assignment(const weft_core *core, uint64_t assignment_id);
/** The session of the open round's present state, or NULL. */
const weft_secure_session *weft_core_secure(const weft_core *core, uint64_t job_id);
uint32_t weft_core_waiting(const weft_core *core); /* check-ins held now */
/** Clients that are about and offer the job's data set; 0 for an unknown job. */
uint32_t weft_core_offering(const weft_core *core, uint64_t job_id);

#endif
