/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of proto/weft/v1 as plain structs (proto/ documents the fields). One rule for all:
 *
 * - strings are zero-terminated and never NULL after decoding; NULL encodes as empty;
 * - bytes are a weft_view, size 0 when absent; a digest has exactly 0 or 32 bytes;
 * - a submessage is a pointer, NULL when absent; a repeated one is a pointer and n_<name>;
 * - `version` fields are not here: encoding writes this side's version, decoding checks the peer's;
 * - what other rooms own as types (plan, metrics, job definition) is used directly.
 *
 * Decoded pointers live in the arena given to the decoder; encoding borrows. Never call
 * weft_job_def_done on a decoded definition: copy it to keep it.
 */
#ifndef WEFT_WIRE_MESSAGES_H
#define WEFT_WIRE_MESSAGES_H

#include "base/buf.h"
#include "model/job.h"
#include "model/metric.h"
#include "model/plan.h"
#include "secagg/terms.h"
#include "update/refusal.h"

/* ---- types.proto ------------------------------------------------------------------------------
 */

typedef struct weft_msg_assignment {
    uint64_t assignment_id;
    const char *job;
    uint64_t job_id;
    uint32_t round;
    uint32_t attempt;
    weft_task task;
    const char *dataset;
    const char *model_spec;
    const char *data_schema;
    weft_plan plan;
    weft_view base_digest; /* 32 */
    uint64_t base_bytes;
    double clip_norm;
    uint64_t max_examples;
    uint64_t deadline_ms;
    uint64_t lease_ms;
    uint32_t cohort;
    bool secure_aggregation;
    const char *encoding;
    weft_secagg_terms secure; /* with secure_aggregation; else zeros */
} weft_msg_assignment;

typedef struct weft_msg_receipt {
    uint64_t assignment_id;
    const char *job;
    uint32_t round;
    weft_view update_digest; /* 32 */
    uint64_t n_examples;
    int64_t accepted_unix_ms;
    const char *client;
    weft_view signature; /* 64 */
} weft_msg_receipt;

typedef struct weft_msg_join_file {
    const char *address;
    const char *federation;
    const char *client;
    weft_view transport_ca_pem;
    weft_view token;                  /* 32 */
    weft_view operator_public_key;    /* 32 */
    weft_view invitation_private_key; /* 32 */
    weft_view invitation;
    weft_view receipt_public_key; /* 32 */
} weft_msg_join_file;

/* ---- federation.proto -------------------------------------------------------------------------
 */

typedef struct weft_msg_enroll_request {
    weft_view token; /* 32 */
    weft_view csr_der;
    weft_view member_chain;
} weft_msg_enroll_request;

typedef struct weft_msg_enroll_reply {
    weft_view certificate_pem;
    const char *client;
    const char *federation;
    int64_t not_after_unix_ms;
} weft_msg_enroll_reply;

typedef struct weft_msg_renew_request {
    const char *client;
    weft_view csr_der;
    weft_view signature;       /* 64 */
    bool operator_certificate; /* client is an operator's name */
} weft_msg_renew_request;

typedef struct weft_msg_renew_reply {
    weft_view certificate_pem;
    int64_t not_after_unix_ms;
} weft_msg_renew_reply;

typedef struct weft_msg_dataset {
    const char *name;
    uint64_t n_examples;
    const char *schema;
} weft_msg_dataset;

typedef struct weft_msg_check_in_request {
    const weft_msg_dataset *datasets;
    size_t n_datasets;
    const char *software;
    uint64_t hold_ms;
} weft_msg_check_in_request;

/* Exactly one is set: assignment, come_back, or nothing_more. */
typedef struct weft_msg_check_in_reply {
    const weft_msg_assignment *assignment;
    bool has_come_back;
    uint64_t come_back_ms;
    bool nothing_more;
} weft_msg_check_in_reply;

typedef struct weft_msg_fetch_model_request {
    weft_view digest; /* 32 */
    uint64_t offset;
} weft_msg_fetch_model_request;

typedef struct weft_msg_update_header {
    uint64_t assignment_id;
    weft_view base_digest; /* 32 */
    uint64_t total_bytes;
    weft_view update_digest; /* 32, or 0 when total_bytes is 0 */
    uint64_t n_examples;
    weft_metrics metrics;
    uint64_t start_offset;
    const char *encoding;
} weft_msg_update_header;

typedef struct weft_msg_submit_reply {
    const weft_msg_receipt *receipt;
    uint32_t refusal; /* weft_refusal; a newer peer may send other numbers */
    const char *detail;
} weft_msg_submit_reply;

typedef struct weft_msg_progress_request {
    uint64_t assignment_id;
    const char *phase;
    uint64_t done;
    uint64_t total;
} weft_msg_progress_request;

typedef struct weft_msg_progress_reply {
    bool stop;
    uint32_t reason; /* weft_refusal; a newer peer may send other numbers */
    uint64_t held_bytes;
    const weft_msg_receipt *receipt;
    uint64_t deadline_ms;
} weft_msg_progress_reply;

typedef struct weft_msg_abandon_request {
    uint64_t assignment_id;
    const char *reason;
} weft_msg_abandon_request;

typedef struct weft_msg_secure_step_request {
    uint64_t assignment_id;
    weft_view ctx; /* 32 */
    weft_view message;
    uint32_t taken;
    uint64_t offset;
    uint64_t hold_ms;
} weft_msg_secure_step_request;

typedef enum weft_secure_state {
    WEFT_SECURE_WAIT = 1,
    WEFT_SECURE_MESSAGE = 2,
    WEFT_SECURE_DONE = 3,
    WEFT_SECURE_FAILED = 4
} weft_secure_state;

typedef struct weft_msg_secure_step_reply {
    weft_secure_state state;
    uint32_t type;
    uint64_t offset;
    uint64_t total_bytes;
    weft_view message;
    uint32_t reason; /* weft_secagg_reason; a newer peer may send other numbers */
    const char *detail;
} weft_msg_secure_step_reply;

typedef struct weft_msg_ledger_request {
    uint64_t known_size;
    uint64_t assignment_id; /* 0: none */
} weft_msg_ledger_request;

typedef struct weft_msg_ledger_reply {
    const char *federation;
    uint64_t size;
    weft_view root; /* 32 */
    int64_t unix_ms;
    weft_view signature;   /* 64 */
    weft_view consistency; /* whole hashes */
    uint64_t leaf_index;
    weft_view inclusion; /* whole hashes */
} weft_msg_ledger_reply;

/* Messages without a field of their own still have a type, so that one may be added. */
typedef struct weft_msg_abandon_reply {
    char unused;
} weft_msg_abandon_reply;

/* ---- admin.proto ------------------------------------------------------------------------------
 */

typedef struct weft_msg_job_info {
    uint64_t job_id;
    const char *name;
    const char *status;
    const char *reason;
    uint32_t round;
    uint32_t rounds_done;
    uint32_t rounds_total;
    weft_view current_version; /* 32 or 0 */
    const char *dataset;
    int64_t created_unix_ms;
    weft_metrics metrics;
    bool secure_aggregation;
    uint32_t cohort;
    uint32_t accepted;
    const char *round_state;
} weft_msg_job_info;

typedef struct weft_msg_submit_job_request {
    const weft_job_def *job;
    bool dry_run;
    bool plain; /* said in so many words: no secure aggregation */
} weft_msg_submit_job_request;

typedef struct weft_msg_submit_job_reply {
    const weft_msg_job_info *job;
    uint64_t n_params;
    uint64_t model_bytes;
} weft_msg_submit_job_reply;

typedef struct weft_msg_control_job_request {
    const char *job;
    const char *verb;
    const char *reason;
} weft_msg_control_job_request;

typedef struct weft_msg_list_jobs_request {
    uint64_t after_job;
} weft_msg_list_jobs_request;

typedef struct weft_msg_list_jobs_reply {
    const weft_msg_job_info *jobs;
    size_t n_jobs;
} weft_msg_list_jobs_reply;

typedef struct weft_msg_get_job_request {
    const char *job;
} weft_msg_get_job_request;

typedef struct weft_msg_status_change {
    int64_t unix_ms;
    const char *status;
    const char *reason;
} weft_msg_status_change;

typedef struct weft_msg_get_job_reply {
    const weft_msg_job_info *job;
    const weft_job_def *definition;
    const weft_msg_status_change *history;
    size_t n_history;
} weft_msg_get_job_reply;

typedef struct weft_msg_round_info {
    const char *job;
    uint32_t round;
    uint32_t attempt;
    const char *state;
    const char *reason;
    uint32_t eligible;
    uint32_t cohort;
    uint32_t accepted;
    uint64_t n_examples;
    weft_view base_version; /* 32 or 0 */
    weft_view version;      /* 32 or 0 */
    int64_t opened_unix_ms;
    int64_t closed_unix_ms;
    weft_metrics train_metrics;
    weft_metrics eval_metrics;
    weft_metrics central_metrics;
    uint64_t bytes_up;
    uint64_t bytes_down;
} weft_msg_round_info;

typedef struct weft_msg_list_rounds_request {
    const char *job;
    uint32_t after_round;
    uint32_t limit;
} weft_msg_list_rounds_request;

typedef struct weft_msg_list_rounds_reply {
    const weft_msg_round_info *rounds;
    size_t n_rounds;
} weft_msg_list_rounds_reply;

typedef struct weft_msg_get_round_request {
    const char *job;
    uint32_t round;
    uint64_t after_assignment;
} weft_msg_get_round_request;

typedef struct weft_msg_assignment_info {
    uint64_t assignment_id;
    const char *client;
    const char *state;
    const char *reason;
    uint64_t n_examples;
    weft_view update_digest; /* 32 or 0 */
    weft_task task;
    bool answered; /* the present phase of the round's secure session */
} weft_msg_assignment_info;

typedef struct weft_msg_secure_info {
    const char *phase; /* weft_secagg_phase_name */
    uint32_t answered; /* so many have done their part of it */
    uint32_t expected; /* of so many that it waits for */
    uint32_t clients;  /* of the roster, with k and t; 0 in "advertise" */
    uint32_t neighbours;
    uint32_t threshold;
} weft_msg_secure_info;

typedef struct weft_msg_get_round_reply {
    const weft_msg_round_info *round;
    const weft_msg_assignment_info *assignments;
    size_t n_assignments;
    const weft_msg_status_change *history;
    size_t n_history;
    const weft_msg_secure_info *secure; /* while a secure session is open, or NULL */
} weft_msg_get_round_reply;

typedef struct weft_msg_model_info {
    weft_view digest; /* 32 */
    weft_view parent; /* 32 or 0 */
    const char *job;
    uint32_t round;
    uint64_t bytes;
    int64_t created_unix_ms;
    bool released;
    const char *release_name;
    bool current;
    weft_metrics metrics;
    const char *model_spec;
    const char *data_schema;
} weft_msg_model_info;

typedef struct weft_msg_list_models_request {
    const char *job;
    uint32_t limit;
    weft_view digest; /* 32 or 0 */
    uint32_t round;
    bool released;
    uint32_t skip;
} weft_msg_list_models_request;

typedef struct weft_msg_list_models_reply {
    const weft_msg_model_info *models;
    size_t n_models;
} weft_msg_list_models_reply;

typedef struct weft_msg_fetch_version_request {
    weft_view digest; /* 32 or 0 */
    const char *job;
    uint32_t round;
    uint64_t offset;
    bool released;
} weft_msg_fetch_version_request;

typedef struct weft_msg_import_header {
    const char *model_spec;
    uint64_t total_bytes;
    weft_view digest; /* 32 */
    const char *data_schema;
} weft_msg_import_header;

typedef struct weft_msg_tag_model_request {
    const char *verb;
    const char *job;
    weft_view digest; /* 32 or 0 */
    uint32_t round;
    const char *name;
} weft_msg_tag_model_request;

typedef struct weft_msg_invite_request {
    const char *client;
    weft_view token_digest; /* 32 */
    weft_view invitation;
} weft_msg_invite_request;

typedef struct weft_msg_invite_reply {
    const char *federation;
    const char *address;
    weft_view transport_ca_pem;
    weft_view receipt_public_key; /* 32 */
} weft_msg_invite_reply;

typedef struct weft_msg_dataset_info {
    const char *name;
    uint64_t n_examples;
} weft_msg_dataset_info;

typedef struct weft_msg_client_info {
    const char *client;
    const char *status;
    int64_t since_unix_ms;
    int64_t invitation_expires_unix_ms;
    int64_t certificate_expires_unix_ms;
    bool connected;
    int64_t last_seen_unix_ms;
    const char *software;
    const weft_msg_dataset_info *datasets;
    size_t n_datasets;
    uint64_t updates_accepted;
} weft_msg_client_info;

typedef struct weft_msg_list_clients_request {
    const char *after; /* names behind this one; empty: from the start */
    uint32_t limit;
} weft_msg_list_clients_request;

typedef struct weft_msg_list_clients_reply {
    const weft_msg_client_info *clients;
    size_t n_clients;
} weft_msg_list_clients_reply;

typedef struct weft_msg_revoke_client_request {
    const char *client;
    const char *reason;
} weft_msg_revoke_client_request;

typedef struct weft_msg_watch_request {
    const char *job;
} weft_msg_watch_request;

typedef struct weft_msg_watch_event {
    int64_t unix_ms;
    const char *kind;
    const weft_msg_job_info *job;
    const weft_msg_round_info *round;
    const char *client;
    const char *detail;
} weft_msg_watch_event;

typedef struct weft_msg_status_request {
    char unused;
} weft_msg_status_request;

typedef struct weft_msg_status_reply {
    const char *federation;
    const char *software;
    uint64_t uptime_ms;
    uint32_t clients_connected;
    uint32_t clients_enrolled;
    uint32_t jobs_running;
    const char *address;
} weft_msg_status_reply;

#endif
