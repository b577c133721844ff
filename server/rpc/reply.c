/* SPDX-License-Identifier: Apache-2.0 */
/* The core's REPLY actions as messages: what clients get. Owner thread. */
#include "rpc/rpc_priv.h"

#include "secagg/terms.h"

#include <string.h>

static weft_msg_assignment assignment_of(const weft_assignment_view *view)
{
    const weft_job_def *def = view->def;
    weft_msg_assignment msg = {
        .assignment_id = view->row->assignment_id,
        .job = def->name,
        .job_id = view->row->job_id,
        .round = view->row->round,
        .attempt = view->row->attempt,
        .task = view->row->task,
        .dataset = def->dataset,
        .model_spec = def->model_spec,
        .data_schema = def->data_schema,
        .plan = def->plan,
        .base_digest = {view->base, WEFT_DIGEST_BYTES},
        .base_bytes = view->base_bytes,
        .clip_norm = def->clip_norm,
        .max_examples = def->max_examples,
        .deadline_ms = view->left_ms,
        .lease_ms = def->lease_ms,
        .cohort = view->cohort,
        .secure_aggregation = def->secure_aggregation,
        .encoding = def->secure_aggregation ? WEFT_FIXED_ENCODING : "f32",
    };
    if (def->secure_aggregation) {
        weft_secagg_terms_make(&msg.secure, def, view->row->task);
    }
    return msg;
}

/* A receipt's fields and signature, in place. */
typedef struct signed_receipt {
    weft_receipt_fields fields;
    uint8_t signature[WEFT_SIGNATURE_BYTES];
    bool has_digest;
    weft_msg_receipt msg;
} signed_receipt;

static weft_status make_receipt(signed_receipt *out, const weft_assignment_row *row,
                                const weft_rpc_signer *signer, weft_err *err)
{
    static const uint8_t none[WEFT_DIGEST_BYTES];
    memset(out, 0, sizeof *out);
    const char *job = signer->job_name(signer->self, row->job_id);
    if (!job) {
        WEFT_FAIL(err, WEFT_E_INTERNAL, "no job %llu for a receipt",
                  (unsigned long long)row->job_id);
    }
    weft_receipt_fields *f = &out->fields;
    f->assignment_id = row->assignment_id;
    memcpy(f->job, job, strnlen(job, WEFT_MAX_NAME_BYTES));
    f->round = row->round;
    memcpy(f->update_digest, row->update_digest, sizeof f->update_digest);
    f->n_examples = row->n_examples;
    f->accepted_unix_ms = row->accepted_unix_ms;
    memcpy(f->client, row->client, sizeof f->client);
    WEFT_TRY(signer->sign(signer->self, out->signature, f, err));
    /* evaluations carry no bytes: their receipts no digest (all zeros are signed) */
    const bool digest = memcmp(f->update_digest, none, sizeof none) != 0;
    out->msg = (weft_msg_receipt){
        .assignment_id = f->assignment_id,
        .job = f->job,
        .round = f->round,
        .update_digest = {f->update_digest, digest ? WEFT_DIGEST_BYTES : 0},
        .n_examples = f->n_examples,
        .accepted_unix_ms = f->accepted_unix_ms,
        .client = f->client,
        .signature = {out->signature, sizeof out->signature},
    };
    return WEFT_OK;
}

static void reply_progress(weft_rpc_call *call, const weft_action *action,
                           const weft_rpc_signer *signer)
{
    weft_err err = WEFT_ERR_INIT;
    signed_receipt receipt;
    weft_msg_progress_reply msg = {
        .stop = action->u.reply.u.progress.stop,
        .reason = (uint32_t)action->u.reply.u.progress.reason,
        .held_bytes = action->u.reply.u.progress.held_bytes,
        .deadline_ms = action->u.reply.u.progress.left_ms,
    };
    if (action->u.reply.u.progress.accepted) {
        if (make_receipt(&receipt, action->u.reply.u.progress.accepted, signer, &err) != WEFT_OK) {
            weft_rpc_fail_err(call, &err);
            return;
        }
        msg.receipt = &receipt.msg;
    }
    weft_rpc_reply(call, WEFT_MSG_PROGRESS_REPLY, &msg);
}

static void reply_receipt(weft_rpc_call *call, const weft_action *action,
                          const weft_rpc_signer *signer)
{
    weft_err err = WEFT_ERR_INIT;
    signed_receipt receipt;
    if (make_receipt(&receipt, action->u.reply.u.receipt, signer, &err) != WEFT_OK) {
        weft_rpc_fail_err(call, &err);
        return;
    }
    const weft_msg_submit_reply msg = {.receipt = &receipt.msg};
    weft_rpc_reply(call, WEFT_MSG_SUBMIT_REPLY, &msg);
}

static void reply_refused(weft_rpc_call *call, const weft_action *action)
{
    if (call->method == WEFT_METHOD_SUBMIT_UPDATE) {
        const weft_msg_submit_reply msg = {
            .refusal = (uint32_t)action->u.reply.u.refused.refusal,
            .detail = action->u.reply.u.refused.detail,
        };
        weft_rpc_reply(call, WEFT_MSG_SUBMIT_REPLY, &msg);
    } else {
        weft_rpc_fail(call, WEFT_E_STATE, action->u.reply.u.refused.detail);
    }
}

static void reply_done(weft_rpc_call *call)
{
    const weft_msg_abandon_reply done = {0};
    weft_rpc_reply(call, WEFT_MSG_ABANDON_REPLY, &done);
}

static weft_secure_state state_of(weft_secagg_next next)
{
    switch (next) {
    case WEFT_SECAGG_NEXT_MESSAGE:
        return WEFT_SECURE_MESSAGE;
    case WEFT_SECAGG_NEXT_DONE:
        return WEFT_SECURE_DONE;
    case WEFT_SECAGG_NEXT_FAILED:
        return WEFT_SECURE_FAILED;
    case WEFT_SECAGG_NEXT_WAIT:
        break;
    }
    return WEFT_SECURE_WAIT;
}

static void reply_secure(weft_rpc_call *call, const weft_action *action)
{
    const weft_msg_secure_step_reply msg = {
        .state = state_of(action->u.reply.u.secure.state),
        .type = action->u.reply.u.secure.type,
        .offset = action->u.reply.u.secure.offset,
        .total_bytes = action->u.reply.u.secure.total,
        .message = action->u.reply.u.secure.piece,
        .reason = (uint32_t)action->u.reply.u.secure.reason,
        .detail = action->u.reply.u.secure.detail,
    };
    weft_rpc_reply(call, WEFT_MSG_SECURE_STEP_REPLY, &msg);
}

void weft_rpc_reply_action(weft_rpc_call *call, const weft_action *action,
                           const weft_rpc_signer *signer)
{
    weft_msg_check_in_reply check_in = {0};
    weft_msg_assignment assignment;
    switch (action->u.reply.kind) {
    case WEFT_REPLY_ASSIGNMENT:
        assignment = assignment_of(&action->u.reply.u.assignment);
        check_in.assignment = &assignment;
        weft_rpc_reply(call, WEFT_MSG_CHECK_IN_REPLY, &check_in);
        break;
    case WEFT_REPLY_COME_BACK:
        check_in.has_come_back = true;
        check_in.come_back_ms = action->u.reply.u.come_back_ms;
        weft_rpc_reply(call, WEFT_MSG_CHECK_IN_REPLY, &check_in);
        break;
    case WEFT_REPLY_NOTHING_MORE:
        check_in.nothing_more = true;
        weft_rpc_reply(call, WEFT_MSG_CHECK_IN_REPLY, &check_in);
        break;
    case WEFT_REPLY_PROGRESS:
        reply_progress(call, action, signer);
        break;
    case WEFT_REPLY_RECEIPT:
        reply_receipt(call, action, signer);
        break;
    case WEFT_REPLY_REFUSED:
        reply_refused(call, action);
        break;
    case WEFT_REPLY_SECURE:
        reply_secure(call, action);
        break;
    case WEFT_REPLY_ERROR:
        weft_rpc_fail(call, action->u.reply.u.error.status, action->u.reply.u.error.detail);
        break;
    case WEFT_REPLY_DONE:
        reply_done(call);
        break;
    case WEFT_REPLY_JOB:
        weft_rpc_fail(call, WEFT_E_INTERNAL, "an answer for an operator reached a client");
        break;
    }
}
