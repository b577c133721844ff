/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of types.proto and federation.proto. Static data, any thread. */
#include "wire/table_priv.h"

#include "weft/v1/federation.pb-c.h"
#include "weft/v1/types.pb-c.h"

enum { TOKEN_BYTES = 32, KEY_BYTES = 32, SIGNATURE_BYTES = 64, ENCODING_BYTES = 16 };
enum { SMALL_BYTES = 2048, ADDRESS_BYTES = 255 };

#define MAX_BULK_BYTES (UINT64_C(4) * WEFT_MAX_PARAMS)
/* a year: nobody waits longer for anything */
#define MAX_TIME_MS UINT64_C(31622400000)
/* a ledger's: common/ledger/merkle.h */
#define MAX_RECORDS     (UINT64_C(1) << 62)
#define MAX_PROOF_BYTES (UINT64_C(64) * WEFT_DIGEST_BYTES)

static const char *const optimizers[] = {"sgd", "adam"};
static const char *const numerics[] = {"portable"};
static const char *const schedules[] = {"step", "cosine"};
static const char *const adversaries[] = {"curious", "active"};

/* ---- types.proto ---------------------------------------------------------------------------- */

static const weft_field metric[] = {
    WEFT_ROW(weft_metric, name, 1, LINE_IN, true, WEFT_MAX_METRIC_NAME_BYTES),
    WEFT_ROW(weft_metric, value, 2, F64, false, 0),
};
const weft_table weft_wire_table_metric = {"Metric",
                                           &weft__v1__metric__descriptor,
                                           metric,
                                           sizeof metric / sizeof metric[0],
                                           sizeof(weft_metric),
                                           false,
                                           NULL};

static weft_status check_plan(const void *msg, weft_err *err)
{
    return weft_plan_check(msg, err);
}

static const weft_field training_plan[] = {
    {"optimizer", 1, WEFT_FIELD_CHOICE, true, 2, offsetof(weft_plan, optimizer), 0, NULL,
     optimizers},
    WEFT_ROW(weft_plan, learning_rate, 2, F64, false, 0),
    WEFT_ROW(weft_plan, momentum, 3, F64, false, 0),
    WEFT_ROW(weft_plan, weight_decay, 4, F64, false, 0),
    WEFT_ROW(weft_plan, beta1, 5, F64, false, 0),
    WEFT_ROW(weft_plan, beta2, 6, F64, false, 0),
    WEFT_ROW(weft_plan, epsilon, 7, F64, false, 0),
    WEFT_ROW(weft_plan, batch_size, 8, U32, false, UINT32_MAX),
    WEFT_ROW(weft_plan, epochs, 9, U32, false, UINT32_MAX),
    WEFT_ROW(weft_plan, seed, 10, U64, false, UINT64_MAX),
    WEFT_ROW(weft_plan, prox_mu, 11, F64, false, 0),
    {"numerics", 12, WEFT_FIELD_CHOICE, false, 1, offsetof(weft_plan, numerics), 0, NULL, numerics},
    {"schedule", 13, WEFT_FIELD_CHOICE, false, 2, offsetof(weft_plan, schedule), 0, NULL,
     schedules},
    WEFT_ROW(weft_plan, schedule_rounds, 14, U32, false, UINT32_MAX),
    WEFT_ROW(weft_plan, schedule_factor, 15, F64, false, 0),
    WEFT_ROW(weft_plan, warmup_rounds, 16, F64, false, 0),
    WEFT_ROW(weft_plan, clip_gradient, 17, F64, false, 0),
    WEFT_ROW(weft_plan, early_stop, 18, U32, false, UINT32_MAX),
    WEFT_ROW(weft_plan, augment_shift, 19, U32, false, UINT32_MAX),
    WEFT_ROW(weft_plan, augment_crop, 20, U32, false, UINT32_MAX),
    WEFT_ROW(weft_plan, augment_flip, 21, BOOL, false, 1),
};
const weft_table weft_wire_table_training_plan = {
    "TrainingPlan",    &weft__v1__training_plan__descriptor,
    training_plan,     sizeof training_plan / sizeof training_plan[0],
    sizeof(weft_plan), false,
    check_plan};

static const weft_field secure_terms[] = {
    {"adversary", 1, WEFT_FIELD_CHOICE, false, 2, offsetof(weft_secagg_terms, policy.adversary), 0,
     NULL, adversaries},
    {"gamma", 2, WEFT_FIELD_F64, false, 0, offsetof(weft_secagg_terms, policy.gamma), 0, NULL,
     NULL},
    {"delta", 3, WEFT_FIELD_F64, false, 0, offsetof(weft_secagg_terms, policy.delta), 0, NULL,
     NULL},
    {"min_colluders", 4, WEFT_FIELD_U32, false, WEFT_MAX_COHORT,
     offsetof(weft_secagg_terms, policy.min_colluders), 0, NULL, NULL},
    {"min_cohort", 5, WEFT_FIELD_U32, false, WEFT_MAX_COHORT,
     offsetof(weft_secagg_terms, policy.min_cohort), 0, NULL, NULL},
    WEFT_ROW(weft_secagg_terms, phase_deadline_ms, 6, U64, false, MAX_TIME_MS),
    WEFT_ROW(weft_secagg_terms, max_cohort, 7, U32, false, WEFT_MAX_COHORT),
    WEFT_ROW(weft_secagg_terms, metrics, 8, LINE_IN, false, WEFT_SECAGG_METRICS_BYTES),
};
static const weft_table weft_wire_table_secure_terms = {"SecureTerms",
                                                        &weft__v1__secure_terms__descriptor,
                                                        secure_terms,
                                                        sizeof secure_terms /
                                                            sizeof secure_terms[0],
                                                        sizeof(weft_secagg_terms),
                                                        false,
                                                        NULL};

static const weft_field assignment[] = {
    WEFT_ROW(weft_msg_assignment, assignment_id, 1, U64, true, UINT64_MAX),
    WEFT_ROW(weft_msg_assignment, job, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_assignment, job_id, 3, U64, true, UINT64_MAX),
    WEFT_ROW(weft_msg_assignment, round, 4, U32, true, UINT32_MAX),
    WEFT_ROW(weft_msg_assignment, attempt, 5, U32, true, UINT32_MAX),
    WEFT_ROW(weft_msg_assignment, task, 6, ENUM, true, WEFT_TASK_STATS),
    WEFT_ROW(weft_msg_assignment, dataset, 7, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_assignment, model_spec, 8, TEXT, true, WEFT_MAX_SPEC_BYTES),
    WEFT_ROW(weft_msg_assignment, data_schema, 9, TEXT, false, WEFT_MAX_SCHEMA_BYTES),
    WEFT_ROW_SUB(weft_msg_assignment, plan, 10, INLINE, true, training_plan),
    WEFT_ROW(weft_msg_assignment, base_digest, 11, DIGEST, true, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_assignment, base_bytes, 12, U64, true, MAX_BULK_BYTES),
    WEFT_ROW(weft_msg_assignment, clip_norm, 13, F64, true, 0),
    WEFT_ROW(weft_msg_assignment, max_examples, 14, U64, true, WEFT_MAX_EXAMPLES),
    WEFT_ROW(weft_msg_assignment, deadline_ms, 15, U64, false, MAX_TIME_MS),
    WEFT_ROW(weft_msg_assignment, lease_ms, 16, U64, false, MAX_TIME_MS),
    WEFT_ROW(weft_msg_assignment, cohort, 17, U32, false, WEFT_MAX_COHORT),
    WEFT_ROW(weft_msg_assignment, secure_aggregation, 18, BOOL, false, 1),
    WEFT_ROW(weft_msg_assignment, encoding, 19, NAME, true, ENCODING_BYTES),
    WEFT_ROW_SUB(weft_msg_assignment, secure, 20, INLINE, false, secure_terms),
};
WEFT_TABLE("Assignment", assignment, assignment, false, NULL);

static const weft_field receipt[] = {
    WEFT_ROW(weft_msg_receipt, assignment_id, 1, U64, true, UINT64_MAX),
    WEFT_ROW(weft_msg_receipt, job, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_receipt, round, 3, U32, true, UINT32_MAX),
    WEFT_ROW(weft_msg_receipt, update_digest, 4, DIGEST, false, WEFT_DIGEST_BYTES),
    /* 0: with secure aggregation nobody but the client knows */
    WEFT_ROW(weft_msg_receipt, n_examples, 5, U64, false, WEFT_MAX_EXAMPLES),
    WEFT_ROW(weft_msg_receipt, accepted_unix_ms, 6, I64, false, INT64_MAX),
    WEFT_ROW(weft_msg_receipt, client, 7, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_receipt, signature, 8, DIGEST, true, SIGNATURE_BYTES),
};
WEFT_TABLE("Receipt", receipt, receipt, false, NULL);

static const weft_field join_file[] = {
    WEFT_ROW(weft_msg_join_file, address, 1, LINE, true, ADDRESS_BYTES),
    WEFT_ROW(weft_msg_join_file, federation, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_join_file, client, 3, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_join_file, transport_ca_pem, 4, BYTES, true, WEFT_MAX_PEM_BYTES),
    WEFT_ROW(weft_msg_join_file, token, 5, DIGEST, true, TOKEN_BYTES),
    WEFT_ROW(weft_msg_join_file, operator_public_key, 6, DIGEST, true, KEY_BYTES),
    WEFT_ROW(weft_msg_join_file, invitation_private_key, 7, DIGEST, true, KEY_BYTES),
    WEFT_ROW(weft_msg_join_file, invitation, 8, BYTES, true, SMALL_BYTES),
    WEFT_ROW(weft_msg_join_file, receipt_public_key, 9, DIGEST, true, KEY_BYTES),
};
WEFT_TABLE("JoinFile", join_file, join_file, false, NULL);

/* ---- federation.proto ----------------------------------------------------------------------- */

static const weft_field enroll_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_enroll_request, token, 2, DIGEST, true, TOKEN_BYTES),
    WEFT_ROW(weft_msg_enroll_request, csr_der, 3, BYTES, true, SMALL_BYTES),
    WEFT_ROW(weft_msg_enroll_request, member_chain, 4, BYTES, true, SMALL_BYTES),
};
WEFT_TABLE("EnrollRequest", enroll_request, enroll_request, false, NULL);

static const weft_field enroll_reply[] = {
    WEFT_ROW(weft_msg_enroll_reply, certificate_pem, 1, BYTES, true, WEFT_MAX_PEM_BYTES),
    WEFT_ROW(weft_msg_enroll_reply, client, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_enroll_reply, federation, 3, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_enroll_reply, not_after_unix_ms, 4, I64, false, INT64_MAX),
};
WEFT_TABLE("EnrollReply", enroll_reply, enroll_reply, false, NULL);

static const weft_field renew_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_renew_request, client, 2, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_renew_request, csr_der, 3, BYTES, true, SMALL_BYTES),
    WEFT_ROW(weft_msg_renew_request, signature, 4, DIGEST, true, SIGNATURE_BYTES),
    WEFT_ROW(weft_msg_renew_request, operator_certificate, 5, BOOL, false, 1),
};
WEFT_TABLE("RenewRequest", renew_request, renew_request, false, NULL);

static const weft_field renew_reply[] = {
    WEFT_ROW(weft_msg_renew_reply, certificate_pem, 1, BYTES, true, WEFT_MAX_PEM_BYTES),
    WEFT_ROW(weft_msg_renew_reply, not_after_unix_ms, 2, I64, false, INT64_MAX),
};
WEFT_TABLE("RenewReply", renew_reply, renew_reply, false, NULL);

static const weft_field dataset[] = {
    WEFT_ROW(weft_msg_dataset, name, 1, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_dataset, n_examples, 2, U64, false, UINT64_MAX),
    WEFT_ROW(weft_msg_dataset, schema, 3, TEXT, false, WEFT_MAX_SCHEMA_BYTES),
};
WEFT_TABLE("Dataset", dataset, dataset, false, NULL);

static const weft_field check_in_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW_LIST(weft_msg_check_in_request, datasets, 2, WEFT_MAX_DATASETS, dataset),
    WEFT_ROW(weft_msg_check_in_request, software, 3, LINE, false, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_check_in_request, hold_ms, 4, U64, false, MAX_TIME_MS),
};
WEFT_TABLE("CheckInRequest", check_in_request, check_in_request, false, NULL);

static weft_status check_check_in_reply(const void *msg, weft_err *err)
{
    const weft_msg_check_in_reply *reply = msg;
    const int answers =
        (reply->assignment != NULL) + (int)reply->has_come_back + (int)reply->nothing_more;
    if (answers != 1) {
        WEFT_FAIL(err, WEFT_E_INVALID, "CheckInReply holds %d answers, want one", answers);
    }
    return WEFT_OK;
}

static const weft_field check_in_reply[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW_SUB(weft_msg_check_in_reply, assignment, 2, MESSAGE, false, assignment),
    {"come_back_ms", 3, WEFT_FIELD_U64, false, MAX_TIME_MS,
     offsetof(weft_msg_check_in_reply, come_back_ms),
     offsetof(weft_msg_check_in_reply, has_come_back), NULL, NULL},
    WEFT_ROW(weft_msg_check_in_reply, nothing_more, 4, BOOL, false, 1),
};
WEFT_TABLE("CheckInReply", check_in_reply, check_in_reply, false, check_check_in_reply);

static const weft_field fetch_model_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_fetch_model_request, digest, 2, DIGEST, true, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_fetch_model_request, offset, 3, U64, false, MAX_BULK_BYTES),
};
WEFT_TABLE("FetchModelRequest", fetch_model_request, fetch_model_request, false, NULL);

static weft_status check_update_header(const void *msg, weft_err *err)
{
    const weft_msg_update_header *header = msg;
    if (header->total_bytes > 0 && header->update_digest.size == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "UpdateHeader.update_digest is missing");
    }
    if (header->start_offset > header->total_bytes) {
        WEFT_FAIL(err, WEFT_E_INVALID, "UpdateHeader.start_offset is %llu, above total_bytes %llu",
                  (unsigned long long)header->start_offset,
                  (unsigned long long)header->total_bytes);
    }
    return WEFT_OK;
}

/* n_examples 0 passes: the coordinator refuses it with a reason that the client can act on */
static const weft_field update_header[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_update_header, assignment_id, 2, U64, true, UINT64_MAX),
    WEFT_ROW(weft_msg_update_header, base_digest, 3, DIGEST, true, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_update_header, total_bytes, 4, U64, false, MAX_BULK_BYTES),
    WEFT_ROW(weft_msg_update_header, update_digest, 5, DIGEST, false, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_update_header, n_examples, 6, U64, false, UINT64_MAX),
    WEFT_ROW_METRICS(weft_msg_update_header, metrics, 7),
    WEFT_ROW(weft_msg_update_header, start_offset, 8, U64, false, MAX_BULK_BYTES),
    WEFT_ROW(weft_msg_update_header, encoding, 9, NAME, false, ENCODING_BYTES),
};
WEFT_TABLE("UpdateHeader", update_header, update_header, false, check_update_header);

static const weft_field submit_reply[] = {
    WEFT_ROW_SUB(weft_msg_submit_reply, receipt, 1, MESSAGE, false, receipt),
    WEFT_ROW(weft_msg_submit_reply, refusal, 2, REFUSAL, false, UINT32_MAX),
    WEFT_ROW(weft_msg_submit_reply, detail, 3, LINE, false, WEFT_MAX_REASON_BYTES),
};
WEFT_TABLE("SubmitReply", submit_reply, submit_reply, false, NULL);

static const weft_field progress_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_progress_request, assignment_id, 2, U64, true, UINT64_MAX),
    WEFT_ROW(weft_msg_progress_request, phase, 3, NAME, false, ENCODING_BYTES),
    WEFT_ROW(weft_msg_progress_request, done, 4, U64, false, UINT64_MAX),
    WEFT_ROW(weft_msg_progress_request, total, 5, U64, false, UINT64_MAX),
};
WEFT_TABLE("ProgressRequest", progress_request, progress_request, false, NULL);

static const weft_field progress_reply[] = {
    WEFT_ROW(weft_msg_progress_reply, stop, 1, BOOL, false, 1),
    WEFT_ROW(weft_msg_progress_reply, reason, 2, REFUSAL, false, UINT32_MAX),
    WEFT_ROW(weft_msg_progress_reply, held_bytes, 3, U64, false, MAX_BULK_BYTES),
    WEFT_ROW_SUB(weft_msg_progress_reply, receipt, 4, MESSAGE, false, receipt),
    WEFT_ROW(weft_msg_progress_reply, deadline_ms, 5, U64, false, MAX_TIME_MS),
};
WEFT_TABLE("ProgressReply", progress_reply, progress_reply, false, NULL);

static const weft_field abandon_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_abandon_request, assignment_id, 2, U64, true, UINT64_MAX),
    WEFT_ROW(weft_msg_abandon_request, reason, 3, LINE, false, WEFT_MAX_REASON_BYTES),
};
WEFT_TABLE("AbandonRequest", abandon_request, abandon_request, false, NULL);

static const weft_field secure_step_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_secure_step_request, assignment_id, 2, U64, true, UINT64_MAX),
    WEFT_ROW(weft_msg_secure_step_request, ctx, 3, DIGEST, true, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_secure_step_request, message, 4, BYTES, false, WEFT_MAX_SECAGG_CLIENT_BYTES),
    WEFT_ROW(weft_msg_secure_step_request, taken, 5, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_secure_step_request, offset, 6, U64, false, WEFT_MAX_SECAGG_MESSAGE_BYTES),
    WEFT_ROW(weft_msg_secure_step_request, hold_ms, 7, U64, false, MAX_TIME_MS),
};
WEFT_TABLE("SecureStepRequest", secure_step_request, secure_step_request, false, NULL);

static weft_status check_secure_step_reply(const void *msg, weft_err *err)
{
    const weft_msg_secure_step_reply *reply = msg;
    if (reply->offset > reply->total_bytes ||
        reply->message.size > reply->total_bytes - reply->offset) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "SecureStepReply holds bytes %llu to %llu of a message of %llu",
                  (unsigned long long)reply->offset,
                  (unsigned long long)(reply->offset + reply->message.size),
                  (unsigned long long)reply->total_bytes);
    }
    return WEFT_OK;
}

static const weft_field secure_step_reply[] = {
    WEFT_ROW(weft_msg_secure_step_reply, state, 1, ENUM, true, WEFT_SECURE_FAILED),
    WEFT_ROW(weft_msg_secure_step_reply, type, 2, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_secure_step_reply, offset, 3, U64, false, WEFT_MAX_SECAGG_MESSAGE_BYTES),
    WEFT_ROW(weft_msg_secure_step_reply, total_bytes, 4, U64, false, WEFT_MAX_SECAGG_MESSAGE_BYTES),
    WEFT_ROW(weft_msg_secure_step_reply, message, 5, BYTES, false, WEFT_MAX_SECAGG_PIECE_BYTES),
    WEFT_ROW(weft_msg_secure_step_reply, reason, 6, U32, false, UINT32_MAX),
    WEFT_ROW(weft_msg_secure_step_reply, detail, 7, LINE, false, WEFT_MAX_REASON_BYTES),
};
WEFT_TABLE("SecureStepReply", secure_step_reply, secure_step_reply, false, check_secure_step_reply);

static const weft_field ledger_request[] = {
    WEFT_ROW_VERSION,
    WEFT_ROW(weft_msg_ledger_request, known_size, 2, U64, false, MAX_RECORDS),
    WEFT_ROW(weft_msg_ledger_request, assignment_id, 3, U64, false, UINT64_MAX),
};
WEFT_TABLE("LedgerRequest", ledger_request, ledger_request, false, NULL);

static const weft_field ledger_reply[] = {
    WEFT_ROW(weft_msg_ledger_reply, federation, 1, NAME, true, WEFT_MAX_NAME_BYTES),
    WEFT_ROW(weft_msg_ledger_reply, size, 2, U64, false, MAX_RECORDS),
    WEFT_ROW(weft_msg_ledger_reply, root, 3, DIGEST, true, WEFT_DIGEST_BYTES),
    WEFT_ROW(weft_msg_ledger_reply, unix_ms, 4, I64, false, INT64_MAX),
    WEFT_ROW(weft_msg_ledger_reply, signature, 5, DIGEST, true, SIGNATURE_BYTES),
    WEFT_ROW(weft_msg_ledger_reply, consistency, 6, BYTES, false, MAX_PROOF_BYTES),
    WEFT_ROW(weft_msg_ledger_reply, leaf_index, 7, U64, false, MAX_RECORDS),
    WEFT_ROW(weft_msg_ledger_reply, inclusion, 8, BYTES, false, MAX_PROOF_BYTES),
};
WEFT_TABLE("LedgerReply", ledger_reply, ledger_reply, false, NULL);

const weft_table weft_wire_table_abandon_reply = {"AbandonReply",
                                                  &weft__v1__abandon_reply__descriptor,
                                                  NULL,
                                                  0,
                                                  sizeof(weft_msg_abandon_reply),
                                                  false,
                                                  NULL};
