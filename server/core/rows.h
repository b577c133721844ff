/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows: what the coordinator knows, as it is persisted. The core writes them (persist actions),
 * the store keeps them, and at start the store hands them back to weft_core_restore_*. Plain data.
 *
 * Times named _ms are logical: milliseconds of coordinator uptime since the federation was created,
 * carried on across restarts (the store persists the newest with every transaction), so downtime
 * and clock jumps never expire a deadline. Times named _unix_ms are for people only.
 */
#ifndef WEFT_CORE_ROWS_H
#define WEFT_CORE_ROWS_H

#include "base/buf.h"
#include "model/job.h"
#include "model/metric.h"
#include "update/refusal.h"

typedef enum weft_job_status {
    WEFT_JOB_RUNNING = 1,
    WEFT_JOB_PAUSED = 2, /* by the operator, or after max_attempts failed attempts */
    WEFT_JOB_DONE = 3,
    WEFT_JOB_CANCELED = 4,
    WEFT_JOB_FAILED = 5
} weft_job_status;

typedef enum weft_round_state {
    WEFT_ROUND_TRAINING = 1,    /* cohort chosen, updates come in */
    WEFT_ROUND_AGGREGATING = 2, /* closed: the sum is being finished and made durable */
    WEFT_ROUND_EVALUATING = 3,  /* version published, evaluations come in */
    WEFT_ROUND_DONE = 4,
    WEFT_ROUND_FAILED = 5 /* this attempt; another may follow */
} weft_round_state;

typedef enum weft_assignment_state {
    WEFT_ASSIGNMENT_OPEN = 1,
    WEFT_ASSIGNMENT_ACCEPTED = 2,  /* its update has a receipt */
    WEFT_ASSIGNMENT_ABANDONED = 3, /* by the client, with a reason */
    WEFT_ASSIGNMENT_EXPIRED = 4,   /* lease lost; OPEN again if its client returns in time */
    WEFT_ASSIGNMENT_LATE = 5,      /* the round closed without it */
    WEFT_ASSIGNMENT_REFUSED = 6,   /* its update was refused */
    WEFT_ASSIGNMENT_REVOKED = 7    /* the client was revoked, or the job ended */
} weft_assignment_state;

#define WEFT_REASON_BYTES    160
#define WEFT_SIGNATURE_BYTES 64

typedef struct weft_job_row {
    uint64_t job_id;
    const weft_job_def *def; /* borrowed in persist actions; immutable after submit */
    weft_job_status status;
    char reason[WEFT_REASON_BYTES];
    uint32_t round; /* the open round, or the next one */
    uint32_t rounds_done;
    uint32_t attempts; /* failed attempts of the present round */
    uint64_t retry_at_ms;
    bool has_version;
    uint8_t version[WEFT_DIGEST_BYTES]; /* current weights */
    uint64_t model_bytes;
    uint32_t evals_since_best;
    bool has_best;
    double best;
    int64_t created_unix_ms;
} weft_job_row;

typedef struct weft_round_row {
    uint64_t job_id;
    uint32_t round;   /* from 1 */
    uint32_t attempt; /* from 1 */
    weft_round_state state;
    char reason[WEFT_REASON_BYTES];
    uint8_t base[WEFT_DIGEST_BYTES];
    bool has_version;
    uint8_t version[WEFT_DIGEST_BYTES];
    uint32_t eligible; /* how many were checked in */
    uint32_t cohort;
    uint32_t accepted;
    uint64_t n_examples;
    uint64_t deadline_ms; /* of the present state */
    int64_t opened_unix_ms;
    int64_t closed_unix_ms;
    uint64_t bytes_up;
    uint64_t bytes_down; /* of models sent; those under way at a crash are not in it */
    weft_metrics train;
    weft_metrics federated;
    weft_metrics central;
} weft_round_row;

typedef struct weft_assignment_row {
    uint64_t assignment_id; /* unique in the federation, from 1 */
    uint64_t job_id;
    uint32_t round;
    uint32_t attempt;
    char client[WEFT_MAX_NAME_BYTES + 1];
    weft_task task;
    weft_assignment_state state;
    weft_refusal refusal;
    char reason[WEFT_REASON_BYTES];
    uint64_t lease_until_ms; /* at the row's last change: renewals are not persisted */
    /* of the accepted update */
    uint8_t update_digest[WEFT_DIGEST_BYTES];
    uint64_t n_examples; /* 0 with secure aggregation */
    uint64_t bytes;
    int64_t accepted_unix_ms;
    weft_metrics metrics;
} weft_assignment_row;

typedef struct weft_version_row {
    uint8_t digest[WEFT_DIGEST_BYTES];
    bool has_parent;
    uint8_t parent[WEFT_DIGEST_BYTES];
    uint64_t job_id; /* 0: imported */
    uint32_t round;  /* 0: initial weights */
    uint64_t bytes;
    int64_t created_unix_ms;
} weft_version_row;

/* What a secure session consists of, in order: replaying it gives the same session. */
typedef enum weft_secure_kind {
    WEFT_SECURE_MESSAGE_TAKEN = 1, /* data: the client's message, as it came */
    WEFT_SECURE_MASKED = 2,        /* its masked vector lies in the spool */
    WEFT_SECURE_LEFT = 3,          /* it abandoned, or was revoked */
    WEFT_SECURE_CLOSED = 4         /* data: the record of a phase's end; assignment_id is 0 */
} weft_secure_kind;

typedef struct weft_secure_row {
    uint64_t job_id;
    uint32_t round;
    uint32_t attempt;
    weft_task task; /* EVALUATE has a session of its own */
    uint32_t seq;   /* from 1, without a gap */
    weft_secure_kind kind;
    uint64_t assignment_id;
    weft_view data; /* borrowed */
} weft_secure_row;

/* A session that is over: its rows are of no use any more. */
typedef struct weft_secure_over {
    uint64_t job_id;
    uint32_t round;
    uint32_t attempt;
    weft_task task;
} weft_secure_over;

/* The clients that were checked in and could have served when a round was opened, sorted by name:
 * a replay selects the same cohort from it. */
typedef struct weft_eligible_row {
    uint64_t job_id;
    uint32_t round;
    uint32_t attempt;
    uint32_t n;
    const char *const *clients; /* borrowed */
} weft_eligible_row;

#endif
