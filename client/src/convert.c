/* SPDX-License-Identifier: Apache-2.0 */
/* Wire messages <-> session types. Called by transport and outbox; pure. */
#include "convert.h"

#include "crypto/receipt.h"
#include "update/refusal.h"

#include <stdio.h>
#include <string.h>

static weft_status copy_text(char *to, size_t to_size, const char *text, const char *field,
                             weft_err *err)
{
    const size_t n = strlen(text);
    if (n >= to_size) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%s has %zu bytes, at most %zu", field, n, to_size - 1);
    }
    memcpy(to, text, n + 1);
    return WEFT_OK;
}

static weft_status copy_bytes(uint8_t *to, size_t n, weft_view bytes, const char *field,
                              weft_err *err)
{
    if (bytes.size != n) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%s has %zu bytes, not %zu", field, bytes.size, n);
    }
    memcpy(to, bytes.data, n);
    return WEFT_OK;
}

weft_status weft_convert_assignment(weft_session_assignment *ret, const weft_msg_assignment *msg,
                                    weft_err *err)
{
    weft_session_assignment a = {.assignment_id = msg->assignment_id,
                                 .job_id = msg->job_id,
                                 .round = msg->round,
                                 .attempt = msg->attempt,
                                 .task = msg->task,
                                 .model_spec = msg->model_spec,
                                 .data_schema = msg->data_schema,
                                 .plan = msg->plan,
                                 .base_bytes = msg->base_bytes,
                                 .clip_norm = msg->clip_norm,
                                 .max_examples = msg->max_examples,
                                 .deadline_ms = msg->deadline_ms,
                                 .lease_ms = msg->lease_ms,
                                 .cohort = msg->cohort,
                                 .secure_aggregation = msg->secure_aggregation,
                                 .secure = msg->secure};
    WEFT_TRY(copy_text(a.job, sizeof a.job, msg->job, "assignment.job", err));
    WEFT_TRY(copy_text(a.dataset, sizeof a.dataset, msg->dataset, "assignment.dataset", err));
    WEFT_TRY(copy_text(a.encoding, sizeof a.encoding, msg->encoding, "assignment.encoding", err));
    WEFT_TRY(copy_bytes(a.base_digest, sizeof a.base_digest, msg->base_digest,
                        "assignment.base_digest", err));
    *ret = a;
    return WEFT_OK;
}

void weft_convert_assignment_msg(weft_msg_assignment *ret, const weft_session_assignment *a)
{
    *ret = (weft_msg_assignment){.assignment_id = a->assignment_id,
                                 .job = a->job,
                                 .job_id = a->job_id,
                                 .round = a->round,
                                 .attempt = a->attempt,
                                 .task = a->task,
                                 .dataset = a->dataset,
                                 .model_spec = a->model_spec,
                                 .data_schema = a->data_schema,
                                 .plan = a->plan,
                                 .base_digest = {a->base_digest, sizeof a->base_digest},
                                 .base_bytes = a->base_bytes,
                                 .clip_norm = a->clip_norm,
                                 .max_examples = a->max_examples,
                                 .deadline_ms = a->deadline_ms,
                                 .lease_ms = a->lease_ms,
                                 .cohort = a->cohort,
                                 .secure_aggregation = a->secure_aggregation,
                                 .encoding = a->encoding,
                                 .secure = a->secure};
}

weft_status weft_convert_receipt(weft_session_receipt *ret, const weft_msg_receipt *msg,
                                 weft_err *err)
{
    weft_session_receipt r = {.assignment_id = msg->assignment_id,
                              .round = msg->round,
                              .n_examples = msg->n_examples,
                              .accepted_unix_ms = msg->accepted_unix_ms};
    WEFT_TRY(copy_text(r.job, sizeof r.job, msg->job, "receipt.job", err));
    if (msg->update_digest.size > 0) { /* none for an evaluation */
        WEFT_TRY(copy_bytes(r.update_digest, sizeof r.update_digest, msg->update_digest,
                            "receipt.update_digest", err));
    }
    WEFT_TRY(copy_bytes(r.signature, sizeof r.signature, msg->signature, "receipt.signature", err));
    *ret = r;
    return WEFT_OK;
}

void weft_convert_receipt_msg(weft_msg_receipt *ret, const weft_session_receipt *r,
                              const char *client)
{
    *ret = (weft_msg_receipt){.assignment_id = r->assignment_id,
                              .job = r->job,
                              .round = r->round,
                              .update_digest = {r->update_digest, sizeof r->update_digest},
                              .n_examples = r->n_examples,
                              .accepted_unix_ms = r->accepted_unix_ms,
                              .client = client,
                              .signature = {r->signature, sizeof r->signature}};
}

weft_status weft_convert_receipt_verify(const weft_session_receipt *r, const char *client,
                                        const uint8_t receipt_key[32], weft_err *err)
{
    weft_receipt_fields fields = {.assignment_id = r->assignment_id,
                                  .round = r->round,
                                  .n_examples = r->n_examples,
                                  .accepted_unix_ms = r->accepted_unix_ms};
    WEFT_TRY(copy_text(fields.job, sizeof fields.job, r->job, "receipt.job", err));
    WEFT_TRY(copy_text(fields.client, sizeof fields.client, client, "receipt.client", err));
    memcpy(fields.update_digest, r->update_digest, sizeof fields.update_digest);
    return weft_receipt_verify(receipt_key, &fields, r->signature, err);
}

void weft_convert_update_msg(weft_msg_update_header *ret, const weft_session_assignment *a,
                             const weft_session_update *update, uint64_t start_offset)
{
    *ret = (weft_msg_update_header){.assignment_id = a->assignment_id,
                                    .base_digest = {a->base_digest, sizeof a->base_digest},
                                    .total_bytes = update->total_bytes,
                                    .n_examples = update->n_examples,
                                    .metrics = update->metrics,
                                    .start_offset = start_offset,
                                    .encoding = a->encoding};
    if (update->total_bytes > 0) {
        ret->update_digest = (weft_view){update->digest, sizeof update->digest};
    }
}

weft_status weft_convert_update(weft_session_update *ret, const weft_msg_update_header *msg,
                                weft_err *err)
{
    weft_session_update u = {
        .total_bytes = msg->total_bytes, .n_examples = msg->n_examples, .metrics = msg->metrics};
    if (msg->total_bytes > 0) {
        WEFT_TRY(copy_bytes(u.digest, sizeof u.digest, msg->update_digest, "update.digest", err));
    }
    *ret = u;
    return WEFT_OK;
}

void weft_convert_refusal(char ret[WEFT_SESSION_TEXT_BYTES], uint32_t refusal, const char *detail)
{
    const bool more = detail && detail[0];
    (void)snprintf(ret, WEFT_SESSION_TEXT_BYTES, "%s%s%s", weft_refusal_name((weft_refusal)refusal),
                   more ? ": " : "", more ? detail : "");
}
