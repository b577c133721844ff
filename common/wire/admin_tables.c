/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of admin.proto. Static data, any thread. */
#include "wire/table_priv.h"

#include "weft/v1/admin.pb-c.h"

enum { KEY_BYTES = 32, SMALL_BYTES = 2048, ADDRESS_BYTES = 255, KIND_BYTES = 32 };
enum { PATH_BYTES = 4096 };
/* elements of one page: their structs stay within the decoding budget */
enum { PAGE_JOBS = 500, PAGE_ROUNDS = 500, PAGE_MODELS = 500, PAGE_CLIENTS = 2000 };
enum { PAGE_ASSIGNMENTS = 5000, PAGE_HISTORY = 5000 };

#define MAX_BULK_BYTES (UINT64_C(4) * WEFT_MAX_PARAMS)

static const char *const aggregations[] = {"fedavg"};
static const char *const durabilities[] = {"update", "round"};

static const char *const adversaries[] = {"curious", "active"};

static const weft_field secure_policy[] = {
    {"adversary", 1, WEFT_FIELD_CHOICE, false, 2, offsetof(weft_job_secure, adversary), 0, NULL,
     adversaries},
    WEFT_ROW(weft_job_secure, gamma, 2, F64, false, 0),
    WEFT_ROW(weft_job_secure, delta, 3, F64, false, 0),
    WEFT_ROW(weft_job_secure, min_colluders, 4, U32, false, UINT32_MAX),
    WEFT_ROW(weft_job_secure, phase_deadline_ms, 5, U64, false, UINT64_MAX),
};
static const weft_table weft_wire_table_secure_policy = {"SecurePolicy",
                                                         &weft__v1__secure_policy__descriptor,
                                                         secure_policy,
                                                         sizeof secure_policy /
                                                             sizeof secure_policy[0],
                                                         sizeof(weft_job_secure),
                                                         false,
                                                         NULL};

/* ranges of a definition: weft_job_def_check, where it is used */
static const weft_field job_definition[] = {
    WEFT_ROW(weft_job_def, name, 1, NAME_IN, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_job_def, dataset, 2, NAME_IN, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_job_def, model_spec, 3, OWNED, true, WEFT_MAX_SPEC_BYTES),
    WEFT_ROW(weft_job_def, data_schema, 4, OWNED, false, WEFT_MAX_SCHEMA_BYTES),
    WEFT_ROW(weft_job_def, task, 5, ENUM, true, WEFT_TASK_STATS),
    WEFT_ROW_SUB(weft_job_def, plan, 6, INLINE, true, training_plan),
    WEFT_ROW(weft_job_def, target, 7, U32, false, UINT32_MAX),
    WEFT_ROW(weft_job_def, minimum, 8, U32, false, UINT32_MAX),
    WEFT_ROW(weft_job_def, over_selection, 9, F64, false, 0),
    WEFT_ROW(weft_job_def, deadline_ms, 10, U64, false, UINT64_MAX),
    WEFT_ROW(weft_job_def, lease_ms, 11, U64, false, UINT64_MAX),
    WEFT_ROW(weft_job_def, max_attempts, 12, U32, false, UINT32_MAX),
    WEFT_ROW(weft_job_def, backoff_ms, 13, U64, false, UINT64_MAX),
    WEFT_ROW(weft_job_def, selection_window_ms, 14, U64, false, UINT64_MAX),
    {"aggregation", 15, WEFT_FIELD_CHOICE, true, 1, offsetof(weft_job_def, aggregation), 0, NULL,
     aggregations},
    WEFT_ROW(weft_job_def, clip_norm, 16, F64, false, 0),
    WEFT_ROW(weft_job_def, max_examples, 17, U64, false, UINT64_MAX),
    {"durability", 18, WEFT_FIELD_CHOICE, true, 2, offsetof(weft_job_def, durability), 0, NULL,
     durabilities},
    WEFT_ROW(weft_job_def, secure_aggregation, 19, BOOL, false, 1),
    WEFT_ROW(weft_job_def, eval_clients, 20, U32, false, UINT32_MAX),
    WEFT_ROW(weft_job_def, eval_every, 21, U32, false, UINT32_MAX),
    WEFT_ROW(weft_job_def, eval_deadline_ms, 22, U64, false, UINT64_MAX),
    WEFT_ROW(weft_job_def, eval_data, 23, OWNED, false, PATH_BYTES),
    WEFT_ROW(weft_job_def, rounds, 24, U32, false, UINT32_MAX),
    WEFT_ROW(weft_job_def, target_metric, 25, LINE_IN, false, WEFT_MAX_METRIC_NAME_BYTES),
    WEFT_ROW(weft_job_def, target_value, 26, F64, false, 0),
    WEFT_ROW(weft_job_def, patience, 27, U32, false, UINT32_MAX),
    WEFT_ROW(weft_job_def, init_seed, 28, U64, false, UINT64_MAX),
    {"init_version", 29, WEFT_FIELD_DIGEST_IN, false, WEFT_DIGEST_BYTES,
     offsetof(weft_job_def, init_version), offsetof(weft_job_def, has_init_version), NULL, NULL},
    WEFT_ROW(weft_job_def, seed, 30, U64, false, UINT64_MAX),
    WEFT_ROW_SUB(weft_job_def, secure, 31, INLINE, false, secure_policy),
    WEFT_ROW(weft_job_def, keep_updates, 32, U32, false, UINT32_MAX),
};
const weft_table weft_wire_table_job_definition = {"JobDefinition",
                                                   &weft__v1__job_definition__descriptor,
                                                   job_definition,
                                                   sizeof job_definition / sizeof job_definition[0],
                                                   sizeof(weft_job_def),
                                                   false,
                                                   NULL};

static const weft_field job_info[] = {
    WEFT_ROW(weft_msg_job_info, job_id, 1, U64, false, UINT64_MAX),
    WEFT_ROW(weft_msg_job_info, name, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_job_info, status, 3, LINE, false, KIND_BYTES),
    WEFT_ROW(weft_msg_job_info, reason, 4, LINE, false, WEFT_MAX_REASON_BYTES),
    WEFT_ROW(weft_msg_job_info, round, 5, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_job_info, rounds_done, 6, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_job_info, rounds_total, 7, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_job_info, current_version, 8, DIGEST, false, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_job_info, dataset, 9, NAME, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_job_info, created_unix_ms, 10, I64, false, INT64_MAX),
    WEFT_ROW_METRICS(weft_msg_job_info, metrics, 11),
    WEFT_ROW(weft_msg_job_info, secure_aggregation, 12, BOOL, false, 1),
    WEFT_ROW(weft_msg_job_info, cohort, 13, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_job_info, accepted, 14, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_job_info, round_state, 15, LINE, false, KIND_BYTES),
};
WEFT_TABLE("JobInfo", job_info, job_info, false, NULL);

static const weft_field submit_job_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW_SUB(weft_msg_submit_job_request, job, 2, MESSAGE, true, job_definition),
    WEFT_ROW(weft_msg_submit_job_request, dry_run, 3, BOOL, false, 1),
    WEFT_ROW(weft_msg_submit_job_request, plain, 4, BOOL, false, 1),
};
WEFT_TABLE("SubmitJobRequest", submit_job_request, submit_job_request, false, NULL);

static const weft_field submit_job_reply[] = {
    WEFT_ROW_SUB(weft_msg_submit_job_reply, job, 1, MESSAGE, false, job_info),
    WEFT_ROW(weft_msg_submit_job_reply, n_params, 2, U64, false, UINT64_MAX),
    WEFT_ROW(weft_msg_submit_job_reply, model_bytes, 3, U64, false, UINT64_MAX),
};
WEFT_TABLE("SubmitJobReply", submit_job_reply, submit_job_reply, false, NULL);

static const weft_field control_job_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_control_job_request, job, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_control_job_request, verb, 3, NAME, true, KIND_BYTES),
    WEFT_ROW(weft_msg_control_job_request, reason, 4, LINE, false, WEFT_MAX_REASON_BYTES),
};
WEFT_TABLE("ControlJobRequest", control_job_request, control_job_request, false, NULL);

static const weft_field list_jobs_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_list_jobs_request, after_job, 2, U64, false, UINT64_MAX),
};
WEFT_TABLE("ListJobsRequest", list_jobs_request, list_jobs_request, false, NULL);

static const weft_field list_jobs_reply[] = {
    WEFT_ROW_LIST(weft_msg_list_jobs_reply, jobs, 1, PAGE_JOBS, job_info),
};
WEFT_TABLE("ListJobsReply", list_jobs_reply, list_jobs_reply, true, NULL);

static const weft_field get_job_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_get_job_request, job, 2, NAME, true, WEFT_MAX_NAME_BYTES),
};
WEFT_TABLE("GetJobRequest", get_job_request, get_job_request, false, NULL);

static const weft_field status_change[] = {
    WEFT_ROW(weft_msg_status_change, unix_ms, 1, I64, false, INT64_MAX),
    WEFT_ROW(weft_msg_status_change, status, 2, LINE, false, KIND_BYTES),
    WEFT_ROW(weft_msg_status_change, reason, 3, LINE, false, WEFT_MAX_REASON_BYTES),
};
WEFT_TABLE("StatusChange", status_change, status_change, false, NULL);

static const weft_field get_job_reply[] = {
    WEFT_ROW_SUB(weft_msg_get_job_reply, job, 1, MESSAGE, true, job_info),
    WEFT_ROW_SUB(weft_msg_get_job_reply, definition, 2, MESSAGE, false, job_definition),
    WEFT_ROW_LIST(weft_msg_get_job_reply, history, 3, PAGE_HISTORY, status_change),
};
WEFT_TABLE("GetJobReply", get_job_reply, get_job_reply, true, NULL);

static const weft_field round_info[] = {
    WEFT_ROW(weft_msg_round_info, job, 1, NAME, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_round_info, round, 2, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_round_info, attempt, 3, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_round_info, state, 4, LINE, false, KIND_BYTES),
    WEFT_ROW(weft_msg_round_info, reason, 5, LINE, false, WEFT_MAX_REASON_BYTES),
    WEFT_ROW(weft_msg_round_info, eligible, 6, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_round_info, cohort, 7, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_round_info, accepted, 8, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_round_info, n_examples, 9, U64, false, UINT64_MAX),
    WEFT_ROW(weft_msg_round_info, base_version, 10, DIGEST, false, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_round_info, version, 11, DIGEST, false, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_round_info, opened_unix_ms, 12, I64, false, INT64_MAX),
    WEFT_ROW(weft_msg_round_info, closed_unix_ms, 13, I64, false, INT64_MAX),
    WEFT_ROW_METRICS(weft_msg_round_info, train_metrics, 14),
    WEFT_ROW_METRICS(weft_msg_round_info, eval_metrics, 15),
    WEFT_ROW_METRICS(weft_msg_round_info, central_metrics, 16),
    WEFT_ROW(weft_msg_round_info, bytes_up, 17, U64, false, UINT64_MAX),
    WEFT_ROW(weft_msg_round_info, bytes_down, 18, U64, false, UINT64_MAX),
};
WEFT_TABLE("RoundInfo", round_info, round_info, false, NULL);

static const weft_field list_rounds_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_list_rounds_request, job, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_list_rounds_request, after_round, 3, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_list_rounds_request, limit, 4, U32, false, UINT32_MAX),
};
WEFT_TABLE("ListRoundsRequest", list_rounds_request, list_rounds_request, false, NULL);

static const weft_field list_rounds_reply[] = {
    WEFT_ROW_LIST(weft_msg_list_rounds_reply, rounds, 1, PAGE_ROUNDS, round_info),
};
WEFT_TABLE("ListRoundsReply", list_rounds_reply, list_rounds_reply, true, NULL);

static const weft_field get_round_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_get_round_request, job, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_get_round_request, round, 3, U32, true, UINT32_MAX),
    WEFT_ROW(weft_msg_get_round_request, after_assignment, 4, U64, false, UINT64_MAX),
};
WEFT_TABLE("GetRoundRequest", get_round_request, get_round_request, false, NULL);

static const weft_field assignment_info[] = {
    WEFT_ROW(weft_msg_assignment_info, assignment_id, 1, U64, true, UINT64_MAX),
    WEFT_ROW(weft_msg_assignment_info, client, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_assignment_info, state, 3, LINE, false, KIND_BYTES),
    WEFT_ROW(weft_msg_assignment_info, reason, 4, LINE, false, WEFT_MAX_REASON_BYTES),
    WEFT_ROW(weft_msg_assignment_info, n_examples, 5, U64, false, UINT64_MAX),
    WEFT_ROW(weft_msg_assignment_info, update_digest, 6, DIGEST, false, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_assignment_info, task, 7, ENUM, false, WEFT_TASK_STATS),
    WEFT_ROW(weft_msg_assignment_info, answered, 8, BOOL, false, 1),
};
WEFT_TABLE("AssignmentInfo", assignment_info, assignment_info, false, NULL);

static const weft_field secure_info[] = {
    WEFT_ROW(weft_msg_secure_info, phase, 1, LINE, false, KIND_BYTES),
    WEFT_ROW(weft_msg_secure_info, answered, 2, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_secure_info, expected, 3, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_secure_info, clients, 4, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_secure_info, neighbours, 5, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_secure_info, threshold, 6, U32, false, UINT32_MAX),
};
WEFT_TABLE("SecureInfo", secure_info, secure_info, false, NULL);

static const weft_field get_round_reply[] = {
    WEFT_ROW_SUB(weft_msg_get_round_reply, round, 1, MESSAGE, true, round_info),
    WEFT_ROW_LIST(weft_msg_get_round_reply, assignments, 2, PAGE_ASSIGNMENTS, assignment_info),
    WEFT_ROW_LIST(weft_msg_get_round_reply, history, 3, PAGE_HISTORY, status_change),
    WEFT_ROW_SUB(weft_msg_get_round_reply, secure, 4, MESSAGE, false, secure_info),
};
WEFT_TABLE("GetRoundReply", get_round_reply, get_round_reply, true, NULL);

static const weft_field model_info[] = {
    WEFT_ROW(weft_msg_model_info, digest, 1, DIGEST, true, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_model_info, parent, 2, DIGEST, false, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_model_info, job, 3, NAME, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_model_info, round, 4, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_model_info, bytes, 5, U64, false, UINT64_MAX),
    WEFT_ROW(weft_msg_model_info, created_unix_ms, 6, I64, false, INT64_MAX),
    WEFT_ROW(weft_msg_model_info, released, 7, BOOL, false, 1),
    WEFT_ROW(weft_msg_model_info, release_name, 8, NAME, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_model_info, current, 9, BOOL, false, 1),
    WEFT_ROW_METRICS(weft_msg_model_info, metrics, 10),
    WEFT_ROW(weft_msg_model_info, model_spec, 11, TEXT, false, WEFT_MAX_SPEC_BYTES),
    WEFT_ROW(weft_msg_model_info, data_schema, 12, TEXT, false, WEFT_MAX_SCHEMA_BYTES),
};
WEFT_TABLE("ModelInfo", model_info, model_info, false, NULL);

static const weft_field list_models_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_list_models_request, job, 2, NAME, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_list_models_request, limit, 3, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_list_models_request, digest, 4, DIGEST, false, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_list_models_request, round, 5, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_list_models_request, released, 6, BOOL, false, 1),
    WEFT_ROW(weft_msg_list_models_request, skip, 7, U32, false, UINT32_MAX),
};
WEFT_TABLE("ListModelsRequest", list_models_request, list_models_request, false, NULL);

static const weft_field list_models_reply[] = {
    WEFT_ROW_LIST(weft_msg_list_models_reply, models, 1, PAGE_MODELS, model_info),
};
WEFT_TABLE("ListModelsReply", list_models_reply, list_models_reply, true, NULL);

static weft_status check_fetch_version(const void *msg, weft_err *err)
{
    const weft_msg_fetch_version_request *request = msg;
    if (request->digest.size == 0 && (!request->job || !request->job[0])) {
        WEFT_FAIL(err, WEFT_E_INVALID, "FetchVersionRequest names neither a digest nor a job");
    }
    return WEFT_OK;
}

static const weft_field fetch_version_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_fetch_version_request, digest, 2, DIGEST, false, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_fetch_version_request, job, 3, NAME, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_fetch_version_request, round, 4, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_fetch_version_request, offset, 5, U64, false, MAX_BULK_BYTES),
    WEFT_ROW(weft_msg_fetch_version_request, released, 6, BOOL, false, 1),
};
WEFT_TABLE("FetchVersionRequest", fetch_version_request, fetch_version_request, false,
           check_fetch_version);

static const weft_field import_header[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_import_header, model_spec, 2, TEXT, true, WEFT_MAX_SPEC_BYTES),
    WEFT_ROW(weft_msg_import_header, total_bytes, 3, U64, true, MAX_BULK_BYTES),
    WEFT_ROW(weft_msg_import_header, digest, 4, DIGEST, true, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_import_header, data_schema, 5, TEXT, false, WEFT_MAX_SCHEMA_BYTES),
};
WEFT_TABLE("ImportHeader", import_header, import_header, false, NULL);

static const weft_field tag_model_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_tag_model_request, verb, 2, NAME, true, KIND_BYTES),
    WEFT_ROW(weft_msg_tag_model_request, job, 3, NAME, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_tag_model_request, digest, 4, DIGEST, false, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_tag_model_request, round, 5, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_tag_model_request, name, 6, NAME, false, WEFT_MAX_NAME_BYTES),
};
WEFT_TABLE("TagModelRequest", tag_model_request, tag_model_request, false, NULL);

static const weft_field invite_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_invite_request, client, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_invite_request, token_digest, 3, DIGEST, true, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_invite_request, invitation, 4, BYTES, true, SMALL_BYTES),
};
WEFT_TABLE("InviteRequest", invite_request, invite_request, false, NULL);

static const weft_field invite_reply[] = {
    WEFT_ROW(weft_msg_invite_reply, federation, 1, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_invite_reply, address, 2, LINE, true, ADDRESS_BYTES),
    WEFT_ROW(weft_msg_invite_reply, transport_ca_pem, 3, BYTES, true, WEFT_MAX_PEM_BYTES),
    WEFT_ROW(weft_msg_invite_reply, receipt_public_key, 4, DIGEST, true, KEY_BYTES),
};
WEFT_TABLE("InviteReply", invite_reply, invite_reply, false, NULL);

static const weft_field dataset_info[] = {
    WEFT_ROW(weft_msg_dataset_info, name, 1, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_dataset_info, n_examples, 2, U64, false, UINT64_MAX),
};
WEFT_TABLE("DatasetInfo", dataset_info, dataset_info, false, NULL);

static const weft_field client_info[] = {
    WEFT_ROW(weft_msg_client_info, client, 1, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_client_info, status, 2, LINE, false, KIND_BYTES),
    WEFT_ROW(weft_msg_client_info, since_unix_ms, 3, I64, false, INT64_MAX),
    WEFT_ROW(weft_msg_client_info, invitation_expires_unix_ms, 4, I64, false, INT64_MAX),
    WEFT_ROW(weft_msg_client_info, certificate_expires_unix_ms, 5, I64, false, INT64_MAX),
    WEFT_ROW(weft_msg_client_info, connected, 6, BOOL, false, 1),
    WEFT_ROW(weft_msg_client_info, last_seen_unix_ms, 7, I64, false, INT64_MAX),
    WEFT_ROW(weft_msg_client_info, software, 8, LINE, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW_LIST(weft_msg_client_info, datasets, 9, WEFT_MAX_DATASETS, dataset_info),
    WEFT_ROW(weft_msg_client_info, updates_accepted, 10, U64, false, UINT64_MAX),
};
WEFT_TABLE("ClientInfo", client_info, client_info, false, NULL);

static const weft_field list_clients_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_list_clients_request, after, 2, NAME, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_list_clients_request, limit, 3, U32, false, UINT32_MAX),
};
WEFT_TABLE("ListClientsRequest", list_clients_request, list_clients_request, false, NULL);

static const weft_field list_clients_reply[] = {
    WEFT_ROW_LIST(weft_msg_list_clients_reply, clients, 1, PAGE_CLIENTS, client_info),
};
WEFT_TABLE("ListClientsReply", list_clients_reply, list_clients_reply, true, NULL);

static const weft_field revoke_client_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_revoke_client_request, client, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_revoke_client_request, reason, 3, LINE, false, WEFT_MAX_REASON_BYTES),
};
WEFT_TABLE("RevokeClientRequest", revoke_client_request, revoke_client_request, false, NULL);

static const weft_field watch_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_watch_request, job, 2, NAME, false, WEFT_MAX_NAME_BYTES),
};
WEFT_TABLE("WatchRequest", watch_request, watch_request, false, NULL);

static const weft_field watch_event[] = {
    WEFT_ROW(weft_msg_watch_event, unix_ms, 1, I64, false, INT64_MAX),
    WEFT_ROW(weft_msg_watch_event, kind, 2, LINE, true, KIND_BYTES),
    WEFT_ROW_SUB(weft_msg_watch_event, job, 3, MESSAGE, false, job_info),
    WEFT_ROW_SUB(weft_msg_watch_event, round, 4, MESSAGE, false, round_info),
    WEFT_ROW(weft_msg_watch_event, client, 5, NAME, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_watch_event, detail, 6, LINE, false, WEFT_MAX_REASON_BYTES),
};
WEFT_TABLE("WatchEvent", watch_event, watch_event, false, NULL);

static const weft_field status_request[] = {WEFT_ROW_VERSION};
WEFT_TABLE("StatusRequest", status_request, status_request, false, NULL);

static const weft_field status_reply[] = {
    WEFT_ROW(weft_msg_status_reply, federation, 1, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_status_reply, software, 2, LINE, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_status_reply, uptime_ms, 3, U64, false, UINT64_MAX),
    WEFT_ROW(weft_msg_status_reply, clients_connected, 4, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_status_reply, clients_enrolled, 5, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_status_reply, jobs_running, 6, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_status_reply, address, 7, LINE, false, ADDRESS_BYTES),
};
WEFT_TABLE("StatusReply", status_reply, status_reply, false, NULL);
