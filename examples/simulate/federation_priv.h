/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by federation.c, coordinator.c and clients.c. */
#ifndef WEFT_SIMULATE_FEDERATION_PRIV_H
#define WEFT_SIMULATE_FEDERATION_PRIV_H

#include "agg/agg.h"
#include "federation.h"
#include "secure.h"
#include "session.h"

/* What is to happen next, in order. Payloads lie with the client: one call each at a time. */
typedef enum sim_due_kind {
    /* for a session */
    SIM_DUE_FETCHED = 1,
    SIM_DUE_STORED,
    SIM_DUE_MASKED,
    /* for the core, from a client */
    SIM_DUE_CHECK_IN,
    SIM_DUE_UPDATE,
    SIM_DUE_PROGRESS,
    SIM_DUE_ABANDON,
    SIM_DUE_STEP,
    /* for the core */
    SIM_DUE_FOLDED
} sim_due_kind;

typedef struct sim_due {
    sim_due_kind kind;
    uint32_t client;
    uint64_t id; /* assignment */
} sim_due;

/* The token of a client's call: one of each kind can wait. Below 16: calls of nobody. */
static inline uint64_t sim_call(uint32_t client, sim_due_kind kind)
{
    return ((uint64_t)client + 1) * 16 + (uint64_t)kind;
}

static inline uint32_t sim_caller(uint64_t call)
{
    return (uint32_t)(call / 16 - 1);
}

/* A first-in first-out list. */
typedef struct sim_queue {
    sim_due *item; /* [cap], owned; cap is a power of two */
    size_t head, n, cap;
} sim_queue;

/* Where a client vanishes that does; by what it would have done next. */
typedef enum sim_stage {
    SIM_STAGE_NONE = 0,
    SIM_STAGE_TRAIN,
    SIM_STAGE_SHARE, /* these only in secure jobs */
    SIM_STAGE_MASK,
    SIM_STAGE_CONFIRM,
    SIM_STAGE_ANSWER,
    SIM_STAGE_END
} sim_stage;

/* A STEP that is under way; borrowed of the session. */
typedef struct sim_step {
    const uint8_t *ctx;
    weft_view message;
    uint32_t taken;
    uint64_t offset, hold_ms;
} sim_step;

typedef struct sim_client {
    char name[WEFT_MAX_NAME_BYTES + 1];
    weft_session *session; /* owned; NULL while it is away, or finished */
    uint64_t back_at_ms;   /* when it is away */
    uint64_t selections;   /* how often it was asked to train */
    bool wants_training;   /* TRAIN was asked for and not answered */
    sim_task *task;        /* its update, from TRAINED to the answer to UPLOAD; the pool's */
    char reason[WEFT_SESSION_TEXT_BYTES]; /* of ABANDON */
    /* secure jobs */
    sim_member *member; /* owned; NULL in plain ones */
    sim_vector vector;
    sim_step step;
    sim_stage vanish_at; /* of the present assignment */
} sim_client;

typedef struct sim_version {
    float *weights; /* [n_params], owned */
    uint8_t digest[WEFT_DIGEST_BYTES];
} sim_version;

/* Work of the shell that the core waits for. */
typedef struct sim_work {
    bool finish, evaluate;
    uint64_t job_id;
    uint32_t round, attempt;
    weft_task task; /* of the sum to finish */
} sim_work;

struct sim_federation {
    const sim_world *world;
    sim_pool *pool;
    double dropout;
    sim_observer observer;
    uint64_t now_ms;
    /* coordinator */
    weft_core *core;   /* owned */
    weft_sum *sum;     /* owned; of the open round */
    sim_masked masked; /* the same of a secure job */
    weft_sign_key operator_key;
    const weft_aggregator *aggregator;
    sim_version current; /* what clients fetch and rounds start from */
    sim_version next;    /* being made */
    sim_work work;
    sim_task *folding; /* the update that was just accepted */
    sim_start mark;    /* where the newest job row stands */
    bool ended;
    weft_job_status status;
    char reason[WEFT_REASON_BYTES];
    uint64_t trained_examples;
    uint64_t vanished;
    /* clients */
    sim_client *clients; /* [world->n_clients], owned */
    weft_declared declared;
    sim_queue queue;
    sim_queue training; /* TRAIN actions in order; kind is not used */
};

WEFT_NODISCARD weft_status sim_push(sim_queue *queue, sim_due due, weft_err *err);
bool sim_pop(sim_queue *queue, sim_due *ret);

/* ---- coordinator.c --------------------------------------------------------------------------- */

WEFT_NODISCARD weft_status sim_coordinator_init(sim_federation *fed, const sim_start *start,
                                                weft_err *err);
void sim_coordinator_done(sim_federation *fed);
/** Feed an event of a client (or of nobody: client UINT32_MAX) and execute what follows. */
WEFT_NODISCARD weft_status sim_coordinator_on(sim_federation *fed, const weft_event *event,
                                              weft_err *err);
/** Restore the job where start says; before any client comes. */
WEFT_NODISCARD weft_status sim_coordinator_resume(sim_federation *fed, const sim_start *start,
                                                  weft_err *err);
/** Submit the job. */
WEFT_NODISCARD weft_status sim_coordinator_submit(sim_federation *fed, weft_err *err);
/** Do the work that the core waits for; false in *ret_any: there is none. */
WEFT_NODISCARD weft_status sim_coordinator_work(sim_federation *fed, bool *ret_any, weft_err *err);

/* ---- clients.c ------------------------------------------------------------------------------- */

WEFT_NODISCARD weft_status sim_clients_init(sim_federation *fed, weft_err *err);
void sim_clients_done(sim_federation *fed);
/** Feed a session and execute its actions. */
WEFT_NODISCARD weft_status sim_client_on(sim_federation *fed, uint32_t client,
                                         const weft_session_event *event, weft_err *err);
/** Everybody whose time has come; those who were away come back. */
WEFT_NODISCARD weft_status sim_clients_tick(sim_federation *fed, weft_err *err);
/** When that is needed next. */
uint64_t sim_clients_next_ms(const sim_federation *fed);
/** Train some of those who wait for it, and hand back the first result; false: nobody waits. */
WEFT_NODISCARD weft_status sim_clients_train(sim_federation *fed, bool *ret_any, weft_err *err);
/** The session's answer to a reply of the core. */
WEFT_NODISCARD weft_status sim_client_reply(sim_federation *fed, const weft_action *action,
                                            weft_err *err);

#endif
