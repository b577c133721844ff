/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Becoming a member and staying one: the join file, keys, Enroll, Renew. Keys are made here and are
 * on disk before anything that depends on them is sent, so that a lost reply costs nothing: the
 * same token with the same key gets the same answer. Owner thread.
 */
#include "base/clock.h"
#include "base/file.h"
#include "client_priv.h"
#include "crypto/cert.h"
#include "crypto/member.h"
#include "wire/join.h"
#include "wire/methods.h"
#include "wire/wire.h"

#include <stdio.h>
#include <string.h>

#define TRANSPORT_KEY "transport.pem"
#define MEMBER_KEY    "member.pem"
#define MAX_KEY_BYTES 8192

/* ---- keys ----------------------------------------------------------------------------------- */

static void wipe_buf(weft_buf *b)
{
    if (b->data) {
        weft_wipe(b->data, b->cap);
    }
    weft_buf_done(b);
}

/* The file's text, made by make where there is none yet. */
static weft_status
load_or_make(weft_client *client, const char *name, weft_buf *pem,
             weft_status (*make)(weft_buf *pem, const weft_alloc *a, weft_err *err), weft_err *err)
{
    weft_err missing = WEFT_ERR_INIT;
    const weft_status status = weft_outbox_load_key(client->outbox, name, pem, &missing);
    if (status == WEFT_OK) {
        return WEFT_OK;
    }
    if (status != WEFT_E_NOTFOUND) {
        return weft_err_set(err, status, missing.sys, missing.file, missing.line, "%s",
                            missing.msg);
    }
    WEFT_TRY(make(pem, client->alloc, err));
    return weft_outbox_create_key(client->outbox, name, pem, err);
}

static weft_status make_transport_key(weft_buf *pem, const weft_alloc *a, weft_err *err)
{
    weft_key *key = NULL;
    WEFT_TRY(weft_key_generate(&key, a, err));
    const weft_status status = weft_key_to_pem(pem, key, err);
    weft_key_free(key);
    return status;
}

static weft_status make_member_key(weft_buf *pem, const weft_alloc *a, weft_err *err)
{
    (void)a;
    weft_sign_key key;
    WEFT_TRY(weft_sign_key_generate(&key, &weft_entropy_system, err));
    const weft_status status = weft_sign_key_to_pem(pem, &key, err);
    weft_sign_key_done(&key);
    return status;
}

static weft_status load_member_key(weft_client *client, weft_sign_key *ret, weft_err *err)
{
    weft_buf pem;
    weft_buf_init(&pem, client->alloc, MAX_KEY_BYTES);
    weft_status status = load_or_make(client, MEMBER_KEY, &pem, make_member_key, err);
    if (status == WEFT_OK) {
        status = weft_sign_key_from_pem(ret, pem.data, pem.size, err);
    }
    wipe_buf(&pem);
    return status;
}

/* A request for the transport key; the key's PEM into client->key_pem. */
static weft_status make_request(weft_client *client, weft_buf *csr, weft_err *err)
{
    weft_key *key = NULL;
    weft_buf_clear(&client->key_pem);
    WEFT_TRY(load_or_make(client, TRANSPORT_KEY, &client->key_pem, make_transport_key, err));
    WEFT_TRY(
        weft_key_from_pem(&key, client->key_pem.data, client->key_pem.size, client->alloc, err));
    const weft_status status = weft_csr_make(csr, key, err);
    weft_key_free(key);
    return status;
}

/* What secure aggregation signs with, and what others check that against. */
static weft_status load_membership(weft_client *client, weft_err *err)
{
    const weft_outbox_identity *id = &client->identity;
    weft_sign_key_done(&client->member_key);
    WEFT_TRY(weft_member_decode(&client->chain, id->chain.data, id->chain.size, err));
    WEFT_TRY(load_member_key(client, &client->member_key, err));
    if (memcmp(client->member_key.public_key, client->chain.member_key, WEFT_SIGN_PUBLIC_BYTES) !=
        0) {
        WEFT_FAIL(err, WEFT_E_AUTH, "%s is not the key that %s was enrolled with", MEMBER_KEY,
                  id->name);
    }
    client->secure = (weft_session_secure_config){
        .federation = id->federation,
        .operator_public = id->operator_key,
        .member_key = &client->member_key,
        .chain = &client->chain,
        .entropy = &weft_entropy_system,
        .memory = {.context_used = weft_outbox_context_used,
                   .masked_round = weft_outbox_masked_round,
                   .pins = {.good = weft_outbox_pin_good, .self = client->outbox},
                   .self = client->outbox}};
    return WEFT_OK;
}

weft_status weft_client_identify(weft_client *client, weft_err *err)
{
    weft_buf_clear(&client->key_pem);
    WEFT_TRY(weft_outbox_load_key(client->outbox, TRANSPORT_KEY, &client->key_pem, err));
    WEFT_TRY(weft_transport_identify(client->transport, &client->identity, &client->key_pem, err));
    WEFT_TRY(load_membership(client, err));
    client->identified = true;
    return WEFT_OK;
}

/* ---- certificates --------------------------------------------------------------------------- */

static weft_status check_certificate(const weft_outbox_identity *id, const weft_buf *key_pem,
                                     weft_view pem, weft_cert_info *ret, const weft_alloc *a,
                                     weft_err *err)
{
    WEFT_TRY(weft_cert_parse(ret, pem.data, pem.size, err));
    if (strcmp(ret->id.federation, id->federation) != 0 || strcmp(ret->id.name, id->name) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH, "a certificate for %s of %s, not for %s of %s", ret->id.name,
                  ret->id.federation, id->name, id->federation);
    }
    /* at a time that it names itself: whether it holds now is for the coordinator's clock */
    const int64_t middle =
        ret->not_before_unix_ms + (ret->not_after_unix_ms - ret->not_before_unix_ms) / 2;
    WEFT_TRY(weft_cert_verify(pem, weft_buf_view(&id->ca_pem), WEFT_ROLE_CLIENT, middle, err));
    weft_key *key = NULL;
    WEFT_TRY(weft_key_from_pem(&key, key_pem->data, key_pem->size, a, err));
    const weft_status status = weft_cert_check_key(pem, key, err);
    weft_key_free(key);
    return status;
}

/* ---- enrolment ------------------------------------------------------------------------------ */

static weft_status check_join(const weft_client *client, const weft_msg_join_file *join,
                              const uint8_t token_digest[32], bool *ret_same, weft_err *err)
{
    *ret_same = false;
    if (!weft_name_valid(join->federation) || !weft_name_valid(join->client) ||
        strlen(join->address) >= sizeof client->identity.address || join->token.size != 32 ||
        join->operator_public_key.size != 32 || join->invitation_private_key.size != 32 ||
        join->receipt_public_key.size != 32 || join->transport_ca_pem.size == 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "the join file is not complete: ask the operator for another");
    }
    const weft_outbox_identity *id = &client->identity;
    if (!client->enrolled) {
        return WEFT_OK;
    }
    if (strcmp(id->federation, join->federation) != 0 || strcmp(id->name, join->client) != 0) {
        WEFT_FAIL(err, WEFT_E_CONFLICT,
                  "this folder belongs to client %s of federation %s: enrol %s of %s in a folder "
                  "of its own",
                  id->name, id->federation, join->client, join->federation);
    }
    if (memcmp(id->operator_key, join->operator_public_key.data, 32) != 0) {
        WEFT_FAIL(err, WEFT_E_CONFLICT,
                  "the join file has another operator key than this folder: ask the operator of %s "
                  "in person whether that is right",
                  id->federation);
    }
    *ret_same = memcmp(id->token_digest, token_digest, 32) == 0;
    return WEFT_OK;
}

static weft_status fill_identity(weft_outbox_identity *id, const weft_msg_join_file *join,
                                 const uint8_t token_digest[32], weft_err *err)
{
    (void)snprintf(id->federation, sizeof id->federation, "%s", join->federation);
    (void)snprintf(id->name, sizeof id->name, "%s", join->client);
    (void)snprintf(id->address, sizeof id->address, "%s", join->address);
    memcpy(id->operator_key, join->operator_public_key.data, 32);
    memcpy(id->receipt_key, join->receipt_public_key.data, 32);
    memcpy(id->token_digest, token_digest, 32);
    return weft_buf_add(&id->ca_pem, join->transport_ca_pem.data, join->transport_ca_pem.size, err);
}

/* operator -> invitation (in the join file) -> our member key */
static weft_status make_chain(weft_client *client, const weft_msg_join_file *join, weft_buf *out,
                              weft_err *err)
{
    weft_invitation invitation;
    WEFT_TRY(
        weft_invitation_decode(&invitation, join->invitation.data, join->invitation.size, err));
    WEFT_TRY(weft_invitation_verify(&invitation, join->operator_public_key.data, join->federation,
                                    WEFT_MEMBER_ANY_TIME, err));
    if (strcmp(invitation.client, join->client) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the invitation is for %s, the join file for %s",
                  invitation.client, join->client);
    }
    weft_sign_key invitation_key;
    weft_sign_key member;
    WEFT_TRY(weft_sign_key_from_seed(&invitation_key, join->invitation_private_key.data, err));
    weft_status status = load_member_key(client, &member, err);
    if (status == WEFT_OK) {
        weft_member_chain chain;
        status = weft_member_make(&chain, &invitation, &invitation_key, member.public_key, err);
        if (status == WEFT_OK) {
            status = weft_member_encode(out, &chain, err);
        }
        weft_sign_key_done(&member);
    }
    weft_sign_key_done(&invitation_key);
    return status;
}

/* A blocking call over a connection that has no certificate yet. */
static weft_status call_enroll(const weft_client *client, const weft_outbox_identity *id,
                               const weft_msg_enroll_request *msg, weft_buf *reply, weft_err *err)
{
    weft_buf request;
    weft_buf ca;
    weft_buf_init(&request, client->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_buf_init(&ca, client->alloc, WEFT_MAX_PEM_BYTES + 1);
    weft_rt_channel *channel = NULL;
    weft_status status = weft_msg_enroll_request_encode(&request, msg, err);
    if (status == WEFT_OK) {
        status = weft_buf_add(&ca, id->ca_pem.data, id->ca_pem.size, err);
    }
    const weft_rt_tls tls = {weft_buf_text(&ca), NULL, NULL};
    if (status == WEFT_OK && !tls.ca_pem) {
        status = weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__, "no memory for a PEM");
    }
    if (status == WEFT_OK) {
        status = weft_transport_channel(&channel, id->address, &tls, client->options.http_proxy,
                                        client->options.connect_backoff_max_ms, client->alloc, err);
    }
    if (status == WEFT_OK) {
        weft_err why = WEFT_ERR_INIT;
        status = weft_rt_unary(channel, weft_method_get(WEFT_METHOD_ENROLL)->path,
                               weft_buf_view(&request), WEFT_TRANSPORT_CALL_MS, reply, NULL, &why);
        if (status != WEFT_OK) {
            const bool away = status == WEFT_E_AGAIN || status == WEFT_E_TIMEOUT;
            status = weft_err_set(err, away ? WEFT_E_AGAIN : status, why.sys, why.file, why.line,
                                  "the coordinator at %.80s %s: %.140s", id->address,
                                  away ? "cannot be reached" : "refuses the enrolment", why.msg);
        }
    }
    weft_rt_channel_free(channel);
    wipe_buf(&request); /* holds the token */
    weft_buf_done(&ca);
    return status;
}

static weft_status take_reply(weft_client *client, weft_outbox_identity *id, const weft_buf *reply,
                              weft_err *err)
{
    weft_arena arena;
    weft_wire_arena_init(&arena, WEFT_MSG_ENROLL_REPLY, client->alloc);
    weft_msg_enroll_reply msg;
    weft_status status = weft_msg_enroll_reply_decode(&msg, reply->data, reply->size, &arena, err);
    weft_cert_info info = {.not_before_unix_ms = 0};
    if (status == WEFT_OK) {
        status =
            check_certificate(id, &client->key_pem, msg.certificate_pem, &info, client->alloc, err);
    }
    if (status == WEFT_OK) {
        id->from_unix_ms = info.not_before_unix_ms;
        id->until_unix_ms = info.not_after_unix_ms;
        status = weft_buf_add(&id->certificate_pem, msg.certificate_pem.data,
                              msg.certificate_pem.size, err);
    }
    weft_arena_done(&arena);
    return status;
}

static weft_status enroll(weft_client *client, const weft_msg_join_file *join,
                          const uint8_t token_digest[32], weft_outbox_identity *id, weft_err *err)
{
    weft_buf csr;
    weft_buf reply;
    weft_buf_init(&csr, client->alloc, WEFT_MAX_CSR_BYTES);
    weft_buf_init(&reply, client->alloc, WEFT_MAX_CONTROL_BYTES);
    weft_status status = fill_identity(id, join, token_digest, err);
    if (status == WEFT_OK) {
        status = make_chain(client, join, &id->chain, err);
    }
    if (status == WEFT_OK) {
        status = make_request(client, &csr, err);
    }
    if (status == WEFT_OK) {
        const weft_msg_enroll_request msg = {.token = join->token,
                                             .csr_der = weft_buf_view(&csr),
                                             .member_chain = weft_buf_view(&id->chain)};
        status = call_enroll(client, id, &msg, &reply, err);
    }
    if (status == WEFT_OK) {
        status = take_reply(client, id, &reply, err);
    }
    if (status == WEFT_OK) {
        status = weft_outbox_keep_identity(client->outbox, id, err);
    }
    weft_buf_done(&csr);
    weft_buf_done(&reply);
    return status;
}

static weft_status enrol_with(weft_client *client, const weft_msg_join_file *join, weft_err *err)
{
    uint8_t token_digest[WEFT_SHA256_BYTES];
    bool same = false;
    WEFT_TRY(weft_sha256(token_digest, join->token.data, join->token.size, err));
    WEFT_TRY(check_join(client, join, token_digest, &same, err));
    if (same) {
        return WEFT_OK; /* this very file, once more */
    }
    weft_outbox_identity id;
    weft_outbox_identity_init(&id, client->alloc);
    const weft_status status = enroll(client, join, token_digest, &id, err);
    if (status != WEFT_OK) {
        weft_outbox_identity_done(&id);
        return status;
    }
    weft_outbox_identity_done(&client->identity);
    client->identity = id;
    client->enrolled = true;
    client->identified = false;
    weft_log_line(&client->log, WEFT_LOG_INFO, "event=enrolled federation=%s client=%s address=%s",
                  id.federation, id.name, id.address);
    return WEFT_OK;
}

static weft_status enrol_file(weft_client *client, const char *path, weft_err *err)
{
    WEFT_TRY(weft_client_usable(client, err));
    if (!path || !client->transport) {
        WEFT_FAIL(err, path ? WEFT_E_STATE : WEFT_E_INVALID,
                  path ? "a client that only observes cannot enrol" : "no join file");
    }
    if (client->session) {
        WEFT_FAIL(err, WEFT_E_STATE, "the client is running: stop it before it enrols");
    }
    weft_buf text;
    weft_arena arena;
    weft_buf_init(&text, client->alloc, WEFT_MAX_JOIN_BYTES);
    weft_wire_arena_init(&arena, WEFT_MSG_JOIN_FILE, client->alloc);
    weft_msg_join_file join;
    weft_status status = weft_file_read(&text, path, err);
    if (status == WEFT_OK) {
        status = weft_join_parse(&join, (const char *)text.data, text.size, &arena, err);
    }
    if (status == WEFT_OK) {
        status = enrol_with(client, &join, err);
        weft_wipe((void *)(uintptr_t)join.token.data, join.token.size);
        weft_wipe((void *)(uintptr_t)join.invitation_private_key.data,
                  join.invitation_private_key.size);
    }
    wipe_buf(&text);
    weft_arena_done(&arena);
    return status;
}

weft_status weft_client_enrol(weft_client *client, const char *join_file_path, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    return weft_client_tell(err, enrol_file(client, join_file_path, &why), &why);
}

/* ---- renewal -------------------------------------------------------------------------------- */

weft_status weft_client_begin_renewal(weft_client *client, bool anonymous, weft_err *err)
{
    const weft_outbox_identity *id = &client->identity;
    uint8_t signature[WEFT_SIGN_SIGNATURE_BYTES];
    weft_sign_key member;
    weft_buf csr;
    weft_buf_init(&csr, client->alloc, WEFT_MAX_CSR_BYTES);
    weft_status status = make_request(client, &csr, err);
    if (status == WEFT_OK) {
        status = load_member_key(client, &member, err);
    }
    if (status == WEFT_OK) {
        status = weft_renewal_sign(signature, &member, id->federation, id->name, csr.data, csr.size,
                                   err);
        weft_sign_key_done(&member);
    }
    if (status == WEFT_OK) {
        weft_transport_renew(client->transport, id->name, weft_buf_view(&csr), signature,
                             anonymous);
    }
    weft_buf_done(&csr);
    return status;
}

weft_status weft_client_finish_renewal(weft_client *client, weft_session_event *event,
                                       weft_err *err)
{
    weft_outbox_identity *id = &client->identity;
    const weft_view pem = weft_transport_certificate(client->transport);
    weft_cert_info info = {.not_before_unix_ms = 0};
    WEFT_TRY(check_certificate(id, &client->key_pem, pem, &info, client->alloc, err));
    weft_buf_clear(&id->certificate_pem);
    WEFT_TRY(weft_buf_add(&id->certificate_pem, pem.data, pem.size, err));
    id->from_unix_ms = info.not_before_unix_ms;
    id->until_unix_ms = info.not_after_unix_ms;
    WEFT_TRY(weft_outbox_keep_identity(client->outbox, id, err));
    WEFT_TRY(weft_client_identify(client, err));
    event->u.renewed.from_unix_ms = info.not_before_unix_ms;
    event->u.renewed.until_unix_ms = info.not_after_unix_ms;
    return WEFT_OK;
}
