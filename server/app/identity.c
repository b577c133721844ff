/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invitations, enrolments, renewals, revocations: auth decides, the store records, the gate opens
 * or closes once that is durable. Owner thread.
 */
#include "app/daemon.h"

#include <string.h>

/* What the store knows of one client, in the batch's memory. */
typedef struct known {
    weft_daemon *d;
    char name[WEFT_MAX_NAME_BYTES + 1];
    weft_auth_record record;
} known;

static weft_status copy_row(void *arg, const weft_store_client_row *row, weft_err *err)
{
    known *k = arg;
    weft_auth_record *r = &k->record;
    uint8_t *invitation = NULL;
    if (row->invitation.size) {
        invitation = weft_batch_memory(k->d, row->invitation.size, 1);
        if (!invitation) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for an invitation");
        }
        memcpy(invitation, row->invitation.data, row->invitation.size);
    }
    memcpy(k->name, row->name, sizeof k->name);
    r->client = k->name;
    r->state = row->status == WEFT_STORE_CLIENT_REVOKED    ? WEFT_AUTH_REVOKED
               : row->status == WEFT_STORE_CLIENT_ENROLLED ? WEFT_AUTH_ENROLLED
                                                           : WEFT_AUTH_INVITED;
    memcpy(r->token_digest, row->token_digest, sizeof r->token_digest);
    r->invitation = (weft_view){invitation, row->invitation.size};
    memcpy(r->csr_key_digest, row->csr_key_digest, sizeof r->csr_key_digest);
    memcpy(r->member_key, row->member_public_key, sizeof r->member_key);
    return WEFT_OK;
}

/* ---- the gate opens after the commit --------------------------------------------------------- */

typedef struct opening {
    char client[WEFT_MAX_NAME_BYTES + 1];
    uint8_t fingerprint[WEFT_SHA256_BYTES];
    int64_t expires_unix_ms;
} opening;

static void open_gate(weft_daemon *d, void *arg, bool kept)
{
    const opening *o = arg;
    weft_err err = WEFT_ERR_INIT;
    if (kept &&
        weft_gate_allow(d->gate, o->client, o->fingerprint, o->expires_unix_ms, &err) != WEFT_OK) {
        weft_log_line(d->log, WEFT_LOG_ERROR, "event=gate_failed client=%s error=\"%s\"", o->client,
                      err.msg);
    }
}

static weft_status record_grant(weft_daemon *d, const weft_auth_grant *grant, weft_err *err)
{
    opening *o = weft_batch_memory(d, 1, sizeof *o);
    if (!o) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a certificate");
    }
    const weft_view pem = {(const uint8_t *)grant->pem, grant->pem_size};
    WEFT_TRY(weft_store_client_certificate(d->store, grant->client, grant->fingerprint,
                                           grant->csr_key_digest, pem, grant->not_after_unix_ms,
                                           err));
    memcpy(o->client, grant->client, sizeof o->client);
    memcpy(o->fingerprint, grant->fingerprint, sizeof o->fingerprint);
    o->expires_unix_ms = grant->not_after_unix_ms;
    weft_batch_after(d, open_gate, o);
    return WEFT_OK;
}

static weft_status load_one(void *arg, const weft_store_certificate *item, weft_err *err)
{
    const weft_daemon *d = arg;
    return weft_gate_allow(d->gate, item->client, item->fingerprint, item->expires_unix_ms, err);
}

weft_status weft_identity_load_gate(weft_daemon *d, weft_err *err)
{
    return weft_store_each_certificate(d->store, load_one, d, err);
}

/* ---- enrol ----------------------------------------------------------------------------------- */

static weft_status enroll(weft_daemon *d, weft_auth_grant *grant,
                          const weft_msg_enroll_request *request, weft_err *err)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    known k = {.d = d};
    const weft_auth_enrolment enrolment = {.token = request->token,
                                           .csr_der = request->csr_der,
                                           .member_chain = request->member_chain};
    WEFT_TRY(weft_auth_token_digest(digest, request->token, err));
    const weft_status found = weft_store_client_by_token(d->store, digest, copy_row, &k, NULL);
    if (found == WEFT_E_NOTFOUND) {
        return weft_auth_unknown_token(err);
    }
    if (found != WEFT_OK) {
        WEFT_FAIL(err, found, "the token could not be looked up");
    }
    WEFT_TRY(weft_auth_enroll(grant, d->auth, &k.record, &enrolment, d->entropy,
                              weft_daemon_unix_ms(d), err));
    WEFT_TRY(weft_batch_write(d, err));
    if (!grant->repeated) {
        WEFT_TRY(weft_store_client_enrol(d->store, digest, grant->csr_key_digest,
                                         request->member_chain, grant->member_key, err));
        weft_event event = {.kind = WEFT_EVENT_CLIENT_ENROLLED};
        event.u.client.name = grant->client;
        event.u.client.reason = "";
        weft_batch_feed(d, &event);
    }
    return record_grant(d, grant, err);
}

void weft_identity_enroll(weft_daemon *d, weft_rpc_call *call)
{
    weft_err err = WEFT_ERR_INIT;
    weft_auth_grant grant = {.pem_size = 0};
    if (enroll(d, &grant, call->msg, &err) != WEFT_OK) {
        weft_log_line(d->log, WEFT_LOG_WARN, "event=enrolment_refused peer=%s reason=\"%s\"",
                      weft_rt_call_peer(call->rt)->address, err.msg);
        weft_requests_fail(call, &err);
        return;
    }
    weft_log_line(d->log, WEFT_LOG_INFO, "event=enrolled client=%s repeated=%d", grant.client,
                  grant.repeated);
    const weft_msg_enroll_reply reply = {
        .certificate_pem = {(const uint8_t *)grant.pem, grant.pem_size},
        .client = grant.client,
        .federation = d->host.federation,
        .not_after_unix_ms = grant.not_after_unix_ms};
    weft_batch_reply(d, call, WEFT_MSG_ENROLL_REPLY, &reply);
}

/* ---- renew ----------------------------------------------------------------------------------- */

static weft_status renew(weft_daemon *d, weft_auth_grant *grant,
                         const weft_msg_renew_request *request, weft_err *err)
{
    known k = {.d = d};
    const weft_status found =
        weft_store_client_by_name(d->store, request->client, copy_row, &k, NULL);
    if (found != WEFT_OK) { /* who is enrolled here is nobody's business */
        WEFT_FAIL(err, found == WEFT_E_NOTFOUND ? WEFT_E_AUTH : found,
                  "the renewal is not signed by a member of this federation");
    }
    WEFT_TRY(weft_auth_renew(grant, d->auth, &k.record, request->csr_der, request->signature,
                             d->entropy, weft_daemon_unix_ms(d), err));
    WEFT_TRY(weft_batch_write(d, err));
    return record_grant(d, grant, err);
}

void weft_identity_renew(weft_daemon *d, weft_rpc_call *call)
{
    weft_err err = WEFT_ERR_INIT;
    weft_auth_grant grant;
    const weft_msg_renew_request *request = call->msg;
    const char *role = request->operator_certificate ? "operator" : "client";
    /* nothing is kept of an operator's: its certificate needs no record to be good */
    const weft_status status =
        request->operator_certificate
            ? weft_auth_renew_operator(&grant, d->auth, request->client, request->csr_der,
                                       request->signature, d->entropy, weft_daemon_unix_ms(d), &err)
            : renew(d, &grant, request, &err);
    if (status != WEFT_OK) {
        weft_log_line(d->log, WEFT_LOG_WARN, "event=renewal_refused %s=%s reason=\"%s\"", role,
                      request->client, err.msg);
        weft_requests_fail(call, &err);
        return;
    }
    weft_log_line(d->log, WEFT_LOG_INFO, "event=renewed %s=%s", role, grant.client);
    const weft_msg_renew_reply reply = {
        .certificate_pem = {(const uint8_t *)grant.pem, grant.pem_size},
        .not_after_unix_ms = grant.not_after_unix_ms};
    weft_batch_reply(d, call, WEFT_MSG_RENEW_REPLY, &reply);
}

/* ---- invite ---------------------------------------------------------------------------------- */

static weft_status invite(weft_daemon *d, const weft_msg_invite_request *request, weft_err *err)
{
    weft_invitation invitation;
    WEFT_TRY(weft_auth_check_invitation(&invitation, d->auth, request->client,
                                        request->token_digest, request->invitation,
                                        weft_daemon_unix_ms(d), err));
    WEFT_TRY(weft_batch_write(d, err));
    return weft_store_client_invite(d->store, request->client, request->token_digest.data,
                                    request->invitation, invitation.expires_unix_ms, err);
}

void weft_identity_invite(weft_daemon *d, weft_rpc_call *call)
{
    weft_err err = WEFT_ERR_INIT;
    const weft_msg_invite_request *request = call->msg;
    if (invite(d, request, &err) != WEFT_OK) {
        weft_requests_fail(call, &err);
        return;
    }
    const char *ca = weft_auth_ca_pem(d->auth);
    weft_log_line(d->log, WEFT_LOG_INFO, "event=invited client=%s", request->client);
    const weft_msg_invite_reply reply = {
        .federation = d->host.federation,
        .address = d->address,
        .transport_ca_pem = {(const uint8_t *)ca, strlen(ca)},
        .receipt_public_key = {weft_auth_receipt_public(d->auth), WEFT_SIGN_PUBLIC_BYTES}};
    weft_batch_reply(d, call, WEFT_MSG_INVITE_REPLY, &reply);
}

/* ---- revoke ---------------------------------------------------------------------------------- */

static void close_gate(weft_daemon *d, void *arg, bool kept)
{
    if (kept) {
        weft_gate_revoke(d->gate, arg);
        weft_presence_left(d->presence, arg);
    }
}

void weft_identity_revoke(weft_daemon *d, weft_rpc_call *call)
{
    weft_err err = WEFT_ERR_INIT;
    const weft_msg_revoke_client_request *request = call->msg;
    char *name = weft_batch_memory(d, WEFT_MAX_NAME_BYTES + 1, 1);
    weft_status status = weft_batch_write(d, &err);
    if (status == WEFT_OK) {
        status = name ? weft_store_client_revoke(d->store, request->client, request->reason, &err)
                      : weft_err_set(&err, WEFT_E_NOMEM, 0, __FILE__, __LINE__, "no memory");
    }
    if (!name || status != WEFT_OK) {
        weft_requests_fail(call, &err);
        return;
    }
    memcpy(name, request->client, strnlen(request->client, WEFT_MAX_NAME_BYTES));
    weft_log_line(d->log, WEFT_LOG_INFO, "event=revoked client=%s reason=\"%s\"", name,
                  request->reason);
    weft_batch_after(d, close_gate, name); /* before the core's CANCEL_CALLS, which follows */
    weft_event event = {.kind = WEFT_EVENT_CLIENT_REVOKED};
    event.u.client.name = name;
    event.u.client.reason = request->reason;
    event.call = weft_daemon_hold(d, call);
    weft_batch_feed(d, &event);
}
