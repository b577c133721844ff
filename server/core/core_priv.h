/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the core: its structures and what its files offer each other.
 *
 * One event is one batch. While it is handled, rows change and are marked ("touched"), and effects
 * (replies, sums, notices) are collected; at its end core_flush writes all touched rows as
 * persists, each row once with its final content, then the effects in order. So nothing is told
 * that is not persisted before.
 *
 * Rows in actions are borrowed until the next event: what ends meanwhile goes to `dead` and is
 * freed when the next event begins. Nothing here depends on the order of hash maps.
 */
#ifndef WEFT_CORE_PRIV_H
#define WEFT_CORE_PRIV_H

#include "core/core.h"
#include "core/map.h"
#include "core/timers.h"

#include <stdatomic.h>

typedef struct core_job core_job;
typedef struct core_round core_round;
typedef struct core_assignment core_assignment;
typedef struct core_client core_client;

/* First member of what may die during an event. */
typedef struct core_node {
    struct core_node *next_dead;
} core_node;

/* The names of an eligible set, in one block. */
typedef struct core_names {
    core_node node;
    uint32_t n;
    const char **name; /* [n] into the block, sorted */
} core_names;

struct weft_secure_session {
    atomic_uint refs;
    const weft_alloc *alloc;
    weft_secagg_server *machine; /* owned */
    weft_secagg_terms terms;
    weft_fixed_grid grid;
    uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES];
    /* of the machine, which borrows them */
    char federation[WEFT_MAX_NAME_BYTES + 1];
    uint8_t operator_public[WEFT_SIGN_PUBLIC_BYTES];
    weft_secure_session *next_dead;
};

/* A row of a secure session on its way to the store. */
typedef struct core_secure_row {
    core_node node;
    struct core_secure_row *next;
    weft_secure_row row; /* data follows the struct */
} core_secure_row;

/* A data set that some job asks for. */
typedef struct core_dataset {
    char name[WEFT_MAX_NAME_BYTES + 1];
    uint32_t n_live;    /* jobs that have not ended */
    uint32_t n_waiting; /* waiting clients that declare it */
    uint32_t n_busy;    /* clients with an open assignment that declare it */
} core_dataset;

struct core_job {
    weft_job_row row; /* row.def is &def */
    weft_job_def def; /* owned copy */
    core_dataset *dataset;
    core_round *round;       /* the open one, owned; or NULL */
    uint64_t served;         /* order number of its newest round; 0: none since the start */
    uint64_t window_ends_ms; /* of selection; 0: fewer than minimum wait */
    uint64_t turn_ends_ms;   /* until then jobs served later step back; 0: they have not met yet */
    core_timer timer;
    bool touched;
    core_job *next_touched;
};

struct core_round {
    core_node node;
    weft_round_row row;
    core_job *job;
    core_assignment **list; /* [n] of [cap], owned, ascending id */
    uint32_t n;
    uint32_t cap;
    uint32_t open;       /* assignments of the present state's task that are open */
    uint32_t folded;     /* accepted updates in the sum */
    bool finishing;      /* FINISH was emitted */
    uint64_t recheck_ms; /* when to look again whether the minimum can be reached */
    /* evaluation */
    uint32_t asked;
    uint32_t reported;
    uint64_t asking_ends_ms;
    bool central_pending;
    /* secure aggregation: of the present state's task */
    weft_secure_session *session; /* NULL: a plain job, or its session is over */
    weft_task session_task;
    uint32_t session_seq;    /* rows so far */
    uint32_t come;           /* advertisements taken */
    uint32_t advertised;     /* of them, assignments that are open */
    bool session_moved;      /* its phase may be complete now */
    uint32_t session_masked; /* vectors taken */
    uint32_t session_folded; /* of them, in the sum */
    bool session_over;       /* an evaluation's: nothing more comes of it */
    bool session_failed;     /* an evaluation's: and nothing came */
    bool polls_due;          /* held polls may have an answer now */
    core_names *eligible;    /* persist it with this batch; or NULL */
    bool touched;
    core_round *next_touched;
};

struct core_assignment {
    core_node node;
    weft_assignment_row row;
    core_round *round;   /* NULL: it has ended */
    core_client *client; /* outlives it */
    bool folded;
    /* secure aggregation */
    bool advertised;    /* it is in the session: from now on phases have deadlines, leases not */
    uint64_t poll_call; /* held; 0: none */
    uint32_t poll_taken;
    uint64_t poll_offset;
    core_timer poll;
    weft_secagg_next ended; /* DONE or FAILED once the session is over; 0 before */
    weft_secagg_reason ended_reason;
    char ended_detail[WEFT_REASON_BYTES];
    bool left; /* the session; what it has sent still counts */
    core_timer lease;
    bool touched;
    core_assignment *next_touched;
};

struct core_client {
    char name[WEFT_MAX_NAME_BYTES + 1];
    bool revoked;
    bool away; /* its connection or its lease was lost since it was heard of */
    uint64_t last_seen_ms;
    uint64_t sent_away;      /* how often: the counter of the jitter */
    weft_declared *declared; /* [n_declared], owned; of the newest check-in */
    uint32_t n_declared;
    uint64_t call;            /* of the waiting check-in; 0: none */
    core_client *prev, *next; /* waiting clients, by arrival */
    core_timer hold;
    bool hold_over; /* answer it at the end of this event */
    core_client *next_over;
    core_assignment *open;   /* in core->assignments; or NULL */
    core_assignment *lapsed; /* its lease ran out, its round is open; or NULL */
    core_assignment *last;   /* newest one of a round that ended: repeated requests; or NULL */
    uint64_t stamp;          /* marks of the walk core->stamp */
};

struct weft_core {
    const weft_alloc *alloc;
    weft_core_config config;
    uint64_t now_ms;
    int64_t unix_ms; /* of the present event */
    core_timers timers;
    core_job **jobs; /* [n_jobs] of [cap_jobs], owned, ascending id; ended ones too */
    core_job **live; /* [n_live] of [cap_jobs], owned array; those that have not ended */
    uint32_t n_jobs;
    uint32_t n_live;
    uint32_t cap_jobs;
    core_dataset **datasets; /* [n_datasets] of [cap_datasets], owned */
    uint32_t n_datasets;
    uint32_t cap_datasets;
    core_map clients;     /* by hash of name; owned */
    core_map calls;       /* waiting clients by call */
    core_map polls;       /* assignments by the call of their held poll */
    core_map assignments; /* by id; owned: those of open rounds and each client's last */
    core_client *first_waiting;
    core_client *last_waiting;
    uint32_t n_waiting;
    core_client *over; /* clients whose hold is over */
    uint64_t next_job_id;
    uint64_t next_assignment_id;
    uint64_t serving; /* newest order number of rounds */
    uint64_t stamp;
    uint64_t known_at_ms; /* after a restart: before, clients may exist that nobody heard of yet */
    bool job_ended;       /* in this event: some waiting client may have nothing more to wait for */
    core_node *dead;
    weft_secure_session *dead_sessions;
    /* this event's batch */
    core_job *touched_jobs;
    core_round *touched_rounds;
    core_assignment *touched_assignments;
    core_secure_row *secure_first;
    core_secure_row *secure_last;
    core_secure_row *secure_over; /* sessions that ended: rows without data */
    bool has_version;
    weft_version_row version;
    weft_actions effects;
    weft_action nobody; /* where replies to call 0 go */
};

#define CORE_ULL(x) ((unsigned long long)(x))

/* "no memory for 3 jobs" */
static inline weft_status core_no_memory(weft_err *err, uint64_t n, const char *what)
{
    const weft_status told = weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                                          "no memory for %llu %s", CORE_ULL(n), what);
    (void)told;
    return WEFT_E_NOMEM;
}

/* ---- actions.c: the batch -------------------------------------------------------------------- */

/** A sentence with values, cut to fit; bytes of peers in it are made printable. */
void core_text(char out[WEFT_REASON_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void core_text_cut(char out[WEFT_REASON_BYTES], const char *text);
/** Give a block to be freed when the next event begins. */
void core_bury(weft_core *core, core_node *node);
void core_bury_all(weft_core *core);
void core_touch_job(weft_core *core, core_job *job);
void core_touch_round(weft_core *core, core_round *round);
void core_touch_assignment(weft_core *core, core_assignment *a);
/** Append an effect; *ret is valid until the next one. */
WEFT_NODISCARD weft_status core_effect(weft_action **ret, weft_core *core, weft_action_kind kind,
                                       weft_err *err);
/** A reply; with call 0 *ret is a place that nobody reads. */
WEFT_NODISCARD weft_status core_reply(weft_action **ret, weft_core *core, uint64_t call,
                                      weft_reply_kind kind, weft_err *err);
WEFT_NODISCARD weft_status core_reply_error(weft_core *core, uint64_t call, weft_status status,
                                            const char *detail, weft_err *err);
WEFT_NODISCARD weft_status core_reply_assignment(weft_core *core, uint64_t call,
                                                 const core_assignment *a, weft_err *err);
WEFT_NODISCARD weft_status core_notify(weft_core *core, const char *kind, const core_job *job,
                                       const core_round *round, const char *client,
                                       const char *detail, weft_err *err);
/** A row of the round's session, stored with this batch. @param data  copied. */
WEFT_NODISCARD weft_status core_secure_row_add(weft_core *core, core_round *round,
                                               weft_secure_kind kind, uint64_t assignment_id,
                                               weft_view data, weft_err *err);
/** Those that no batch has taken. */
void core_secure_rows_free(weft_core *core);
/** The round's session is over: its rows go with this batch. */
WEFT_NODISCARD weft_status core_secure_rows_over(weft_core *core, const core_round *round,
                                                 weft_err *err);
/** OPEN_SUM, FINISH, DROP_SUM. */
WEFT_NODISCARD weft_status core_sum(weft_core *core, weft_action_kind kind, const core_round *round,
                                    weft_err *err);
/** Let go of a session when the next event begins: actions may still point at it. */
void core_bury_session(weft_core *core, weft_secure_session *session);
/** FOLD, DROP_UPDATE. */
WEFT_NODISCARD weft_status core_fold(weft_core *core, weft_action_kind kind,
                                     const core_assignment *a, weft_err *err);
/** PUBLISH, EVALUATE of the job's current version. */
WEFT_NODISCARD weft_status core_publish(weft_core *core, weft_action_kind kind, const core_job *job,
                                        uint32_t round, weft_err *err);
/** Append the batch to out and begin a new one. */
WEFT_NODISCARD weft_status core_flush(weft_core *core, weft_actions *out, weft_err *err);

/* ---- clients.c: who is there ----------------------------------------------------------------- */

core_client *core_client_find(const weft_core *core, const char *name);
WEFT_NODISCARD weft_status core_client_get(core_client **ret, weft_core *core, const char *name,
                                           weft_err *err);
void core_client_free(weft_core *core, core_client *client);
bool core_client_declares(const core_client *client, const char *dataset);
/** The one assignment it works on now, or NULL. */
void core_client_set_open(weft_core *core, core_client *client, core_assignment *a);
/** End the wait without a reply: the caller sends it. Returns the call. */
uint64_t core_client_stop_waiting(weft_core *core, core_client *client);
/** Heard of: it is there. */
void core_client_seen(weft_core *core, core_client *client);
/** Was it there a short while ago? */
bool core_client_about(const weft_core *core, const core_client *client);
/** The data set of a name, made if missing. */
WEFT_NODISCARD weft_status core_dataset_get(core_dataset **ret, weft_core *core, const char *name,
                                            weft_err *err);
WEFT_NODISCARD weft_status core_on_check_in(weft_core *core, const weft_event *event,
                                            weft_err *err);
void core_on_call_gone(weft_core *core, const weft_event *event);
WEFT_NODISCARD weft_status core_on_revoked(weft_core *core, const weft_event *event, weft_err *err);
WEFT_NODISCARD weft_status core_on_enrolled(weft_core *core, const weft_event *event,
                                            weft_err *err);
/** Answer those whose hold is over, and those who need not wait any longer. */
WEFT_NODISCARD weft_status core_answer_waiting(weft_core *core, weft_err *err);

/* ---- jobs.c: from submit to their end -------------------------------------------------------- */

core_job *core_job_find(const weft_core *core, uint64_t job_id);
core_job *core_job_named(const weft_core *core, const char *name);
bool core_job_live(const core_job *job); /* running or paused */
/** Make a job from a row; it is the last of core->jobs then. */
WEFT_NODISCARD weft_status core_job_add(core_job **ret, weft_core *core, const weft_job_row *row,
                                        weft_err *err);
void core_job_free(weft_core *core, core_job *job);
/** A round was done: count it, look at the conditions to stop, go on. */
WEFT_NODISCARD weft_status core_job_round_done(weft_core *core, core_job *job,
                                               const weft_round_row *round, bool evaluated,
                                               weft_err *err);
/** An attempt of a round failed: backoff, or pause. What was masked is never asked for again, so
 * the next attempt may be another round's. */
WEFT_NODISCARD weft_status core_job_attempt_failed(weft_core *core, core_job *job, uint32_t round,
                                                   const char *reason, weft_err *err);
WEFT_NODISCARD weft_status core_on_submit(weft_core *core, const weft_event *event, weft_err *err);
WEFT_NODISCARD weft_status core_on_control(weft_core *core, const weft_event *event, weft_err *err);
WEFT_NODISCARD weft_status core_on_rollback(weft_core *core, const weft_event *event,
                                            weft_err *err);

/* ---- rounds.c: an attempt's life ------------------------------------------------------------- */

/** An empty round as the job's open one, with row as given. */
WEFT_NODISCARD weft_status core_round_add(core_round **ret, weft_core *core, core_job *job,
                                          const weft_round_row *row, weft_err *err);
void core_round_free(weft_core *core, core_round *round);
/** Begin an attempt: row, sum, notice. The assignments follow. */
WEFT_NODISCARD weft_status core_round_begin(core_round **ret, weft_core *core, core_job *job,
                                            core_names *eligible, uint32_t cohort, weft_err *err);
/** @param reason  copied; it may be the row's own. */
void core_round_set_state(weft_core *core, core_round *round, weft_round_state state,
                          const char *reason);
/** Whatever is due in a job's open round. */
WEFT_NODISCARD weft_status core_round_advance(weft_core *core, core_job *job, bool *changed,
                                              weft_err *err);
/** End the open attempt without a version; state is for its open assignments. */
WEFT_NODISCARD weft_status core_round_fail(weft_core *core, core_round *round, const char *reason,
                                           weft_assignment_state state, weft_err *err);
/** The same, and tell the job: it tries again, or pauses. */
WEFT_NODISCARD weft_status core_round_attempt_failed(weft_core *core, core_round *round,
                                                     const char *reason, weft_err *err);
/** Open assignments get their end; what they uploaded so far is of no use. */
WEFT_NODISCARD weft_status core_round_end_open(weft_core *core, core_round *round,
                                               weft_assignment_state state, const char *reason,
                                               weft_err *err);
/** End the open round whose version is published. */
WEFT_NODISCARD weft_status core_round_done(weft_core *core, core_round *round, const char *reason,
                                           weft_err *err);
/** The spool may forget what the round still holds there. */
WEFT_NODISCARD weft_status core_round_drop_updates(weft_core *core, const core_round *round,
                                                   weft_err *err);
/** When the round needs to be looked at next, or CORE_NEVER. */
uint64_t core_round_next_ms(const weft_core *core, const core_round *round);
/** Slots of the cohort that no one fills. */
uint32_t core_round_lost(const core_round *round);
/** Evaluations that may still be asked for. */
uint32_t core_round_to_ask(const weft_core *core, const core_round *round);
/** In the outboxes or here: updates that the round can count on. */
uint32_t core_round_come(const core_round *round);
/** The mean over accepted assignments of a task, by ascending id. */
void core_round_mean(weft_metrics *ret, const core_round *round, bool evaluate);
/** Clients whose shares were wrong, as `finished` tells: the sum is right all the same. */
WEFT_NODISCARD weft_status core_round_name_liars(weft_core *core, core_round *round,
                                                 const weft_event *event, weft_err *err);

/* ---- training.c: until the sum's end --------------------------------------------------------- */

WEFT_NODISCARD weft_status core_training_advance(weft_core *core, core_round *round, bool *changed,
                                                 weft_err *err);
/** After replacements were looked for: can the round still go on? */
WEFT_NODISCARD weft_status core_round_look(weft_core *core, core_job *job, bool *changed,
                                           weft_err *err);
/** No more updates: the sum is finished. */
WEFT_NODISCARD weft_status core_round_close(weft_core *core, core_round *round, const char *reason,
                                            weft_err *err);
/** FINISH, once all that was accepted is in the sum. */
WEFT_NODISCARD weft_status core_round_finish(weft_core *core, core_round *round, weft_err *err);
WEFT_NODISCARD weft_status core_on_folded(weft_core *core, const weft_event *event, weft_err *err);

/* ---- publication.c: what a sum gave ---------------------------------------------------------- */

WEFT_NODISCARD weft_status core_on_finished(weft_core *core, const weft_event *event,
                                            weft_err *err);

/* ---- evaluation.c: of what was published ----------------------------------------------------- */

WEFT_NODISCARD weft_status core_evaluation_begin(weft_core *core, core_round *round, weft_err *err);
WEFT_NODISCARD weft_status core_evaluation_advance(weft_core *core, core_round *round,
                                                   bool *changed, weft_err *err);
/** `finished` of a secure evaluation's sum. */
WEFT_NODISCARD weft_status core_evaluation_metrics(weft_core *core, core_round *round,
                                                   const weft_event *event, weft_err *err);
WEFT_NODISCARD weft_status core_on_central(weft_core *core, const weft_event *event, weft_err *err);

/* ---- select.c: who works on what ------------------------------------------------------------- */

/** Start rounds, fill lost slots, ask for evaluations: with the clients that wait now. */
WEFT_NODISCARD weft_status core_select(weft_core *core, bool *changed, weft_err *err);
/** When selection may change its mind about a job without an open round, or CORE_NEVER. */
uint64_t core_select_next_ms(const weft_core *core, const core_job *job);
/** Clients that may still come for a task of this round: about, and without a part in it. */
uint32_t core_select_reserve(weft_core *core, const core_round *round, weft_task task);

/* ---- assignments.c: one client's part -------------------------------------------------------- */

core_assignment *core_assignment_find(const weft_core *core, uint64_t assignment_id);
/** Make one from a row and append it to the round (NULL: an ended one). */
WEFT_NODISCARD weft_status core_assignment_add(core_assignment **ret, weft_core *core,
                                               core_round *round, const weft_assignment_row *row,
                                               weft_err *err);
void core_assignment_free(weft_core *core, core_assignment *a);
/** A fresh one for a client that waits; answers its call. */
WEFT_NODISCARD weft_status core_assignment_open(weft_core *core, core_round *round,
                                                core_client *client, weft_task task, weft_err *err);
/** Give an open (or expired) one its end. */
void core_assignment_end(weft_core *core, core_assignment *a, weft_assignment_state state,
                         weft_refusal refusal, const char *reason);
/** Has its lease run out, is its slot still free, and the round still open for it? */
bool core_assignment_may_return(const core_assignment *a);
/** Open again. */
void core_assignment_return(weft_core *core, core_assignment *a);
void core_assignment_renew(weft_core *core, core_assignment *a);
/** The round is over: keep it for repeated requests, or bury it. */
void core_assignment_retire(weft_core *core, core_assignment *a);
/** A lease ran out. */
WEFT_NODISCARD weft_status core_assignment_expire(weft_core *core, core_assignment *a,
                                                  weft_err *err);
WEFT_NODISCARD weft_status core_on_update(weft_core *core, const weft_event *event, weft_err *err);
WEFT_NODISCARD weft_status core_on_progress(weft_core *core, const weft_event *event,
                                            weft_err *err);
WEFT_NODISCARD weft_status core_on_abandon(weft_core *core, const weft_event *event, weft_err *err);
void core_on_model_sent(weft_core *core, const weft_event *event);

/* ---- session.c --------------------------------------------------------------------------------
 */

/** The session of a round's task, new. */
WEFT_NODISCARD weft_status core_session_new(weft_secure_session **ret, const weft_core *core,
                                            const core_job *job, const weft_round_row *row,
                                            weft_task task, weft_err *err);

/* ---- secure.c: a round's session --------------------------------------------------------------
 */

/** A round's state begins whose task is this one: give it its session, if the job wants that. */
WEFT_NODISCARD weft_status core_secure_begin(weft_core *core, core_round *round, weft_task task,
                                             weft_err *err);
/** The session, if any, is over: answer who polls, let its rows go. @param detail  why it failed,
 *  or NULL. */
WEFT_NODISCARD weft_status core_secure_end(weft_core *core, core_round *round, const char *detail,
                                           weft_err *err);
/** What a client that asks after the session's end is told of its part; the same before and after a
 *  restart, so of what rows say. @param detail  why the session failed, or NULL. */
void core_secure_outcome(core_assignment *a, const char *detail);
/** Clients still train (or evaluate) for it; true for plain jobs. */
bool core_secure_gathering(const core_round *round);
/** Whatever is due in the session. */
WEFT_NODISCARD weft_status core_secure_advance(weft_core *core, core_round *round, bool *changed,
                                               weft_err *err);
/** End the phase with those who are there. */
WEFT_NODISCARD weft_status core_secure_close(weft_core *core, core_round *round, weft_err *err);
/** An evaluation's session ends without metrics. */
WEFT_NODISCARD weft_status core_secure_no_metrics(weft_core *core, core_round *round,
                                                  const char *reason, weft_err *err);
/** The client will not go on: nobody waits for it. */
WEFT_NODISCARD weft_status core_secure_left(weft_core *core, core_assignment *a, weft_err *err);
/** Its masked vector is in the spool; part of accepting the update. */
WEFT_NODISCARD weft_status core_secure_masked(weft_core *core, core_assignment *a, weft_err *err);

/* ---- polls.c: SecureStep ----------------------------------------------------------------------
 */

WEFT_NODISCARD weft_status core_on_secure_step(weft_core *core, const weft_event *event,
                                               weft_err *err);
/** A poll was held long enough. */
WEFT_NODISCARD weft_status core_poll_expire(weft_core *core, core_assignment *a, weft_err *err);
/** The session is over for this assignment: tell it if it polls. */
WEFT_NODISCARD weft_status core_poll_end(weft_core *core, core_assignment *a, weft_err *err);
/** Answer polls that need not wait any longer: the phase has changed. */
WEFT_NODISCARD weft_status core_answer_polls(weft_core *core, weft_err *err);
/** Stop holding; the caller replies. Returns the call. */
uint64_t core_poll_stop(weft_core *core, core_assignment *a);

/* ---- core.c ---------------------------------------------------------------------------------- */

/** After an event: let time and the waiting clients take effect. */
WEFT_NODISCARD weft_status core_settle(weft_core *core, weft_err *err);
/** x + y, CORE_NEVER when it would pass. */
uint64_t core_later(uint64_t x_ms, uint64_t y_ms);

#endif
