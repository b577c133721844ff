/* SPDX-License-Identifier: Apache-2.0 */
/* Who may join and who may go on: decisions on invitations, enrolments and renewals, and the
 * certificates that follow from them. Called by the handlers of Invite, Enroll and Renew; any
 * thread. */
#include "auth/auth.h"

#include <string.h>

#include "auth/auth_priv.h"

#define DAY_MS INT64_C(86400000)

weft_status weft_auth_token_digest(uint8_t ret[WEFT_SHA256_BYTES], weft_view token, weft_err *err)
{
    if (token.size != WEFT_AUTH_TOKEN_BYTES) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a token of %zu bytes, wanted are %d", token.size,
                  WEFT_AUTH_TOKEN_BYTES);
    }
    return weft_sha256(ret, token.data, token.size, err);
}

weft_status weft_auth_unknown_token(weft_err *err)
{
    WEFT_FAIL(err, WEFT_E_AUTH,
              "this token is not known here: a newer invitation replaced it, or it is another "
              "federation's; ask the operator for a new join file");
}

weft_status weft_auth_check_invitation(weft_invitation *ret, const weft_auth *auth,
                                       const char *client, weft_view token_digest,
                                       weft_view invitation, int64_t now_unix_ms, weft_err *err)
{
    if (token_digest.size != WEFT_SHA256_BYTES) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a token digest of %zu bytes, wanted are %d",
                  token_digest.size, WEFT_SHA256_BYTES);
    }
    weft_invitation i;
    WEFT_TRY(weft_invitation_decode(&i, invitation.data, invitation.size, err));
    if (strcmp(i.client, client) != 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the invitation is for client %s, not %.64s", i.client,
                  client);
    }
    WEFT_TRY(weft_invitation_verify(&i, auth->operator_public, auth->ca.id.federation, now_unix_ms,
                                    err));
    *ret = i;
    return WEFT_OK;
}

/* The request's key; its public part is in *ret, its name in digest. */
static weft_status open_csr(weft_key **ret, uint8_t digest[WEFT_SHA256_BYTES],
                            const weft_auth *auth, weft_view csr_der, weft_err *err)
{
    weft_key *key = NULL;
    WEFT_TRY(weft_csr_open(&key, csr_der.data, csr_der.size, auth->alloc, err));
    const weft_status status = weft_key_digest(digest, key, err);
    if (status != WEFT_OK) {
        weft_key_free(key);
        return status;
    }
    *ret = key;
    return WEFT_OK;
}

/* When a certificate of so many days, issued now, ends. */
static weft_status end_of(int64_t *ret, const weft_auth *auth, uint32_t days, int64_t now,
                          weft_err *err)
{
    int64_t end = now + (int64_t)days * DAY_MS;
    if (end > auth->ca.not_after_unix_ms) {
        end = auth->ca.not_after_unix_ms; /* a chain is as good as its end */
    }
    if (end <= now) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the federation's authority has expired");
    }
    *ret = end;
    return WEFT_OK;
}

static weft_view ca_view(const weft_auth *auth)
{
    return (weft_view){(const uint8_t *)auth->ca_pem, strlen(auth->ca_pem)};
}

static weft_status issue_pem(weft_buf *pem, const weft_auth *auth, weft_role role, const char *name,
                             const weft_key *key, const weft_entropy *entropy, int64_t now,
                             weft_err *err)
{
    const uint32_t days =
        role == WEFT_ROLE_OPERATOR ? WEFT_AUTH_OPERATOR_DAYS : auth->lifetime_days;
    weft_cert_spec spec = {.not_before_unix_ms = now - WEFT_AUTH_BACKDATE_MS};
    WEFT_TRY(end_of(&spec.not_after_unix_ms, auth, days, now, err));
    WEFT_TRY(weft_identity_set(&spec.id, auth->ca.id.federation, role, name, err));
    return weft_cert_issue(pem, &spec, key, ca_view(auth), auth->ca_key, entropy, err);
}

/* Issue into grant, whose client and csr_key_digest are set. */
static weft_status issue(weft_auth_grant *grant, const weft_auth *auth, weft_role role,
                         const weft_key *key, const weft_entropy *entropy, int64_t now,
                         weft_err *err)
{
    weft_buf pem;
    weft_buf_init(&pem, auth->alloc, sizeof grant->pem);
    weft_cert_info info;
    weft_status status = issue_pem(&pem, auth, role, grant->client, key, entropy, now, err);
    if (status == WEFT_OK) {
        status = weft_cert_parse(&info, pem.data, pem.size, err);
    }
    if (status == WEFT_OK) {
        memcpy(grant->fingerprint, info.fingerprint, sizeof grant->fingerprint);
        grant->not_after_unix_ms = info.not_after_unix_ms;
        grant->pem_size = pem.size;
        memcpy(grant->pem, pem.data, pem.size);
    }
    weft_buf_done(&pem);
    return status;
}

/* The invitation inside the chain must be the very bytes that the operator registered. */
static weft_status check_same_invitation(const weft_invitation *i, const weft_auth *auth,
                                         const weft_auth_record *record, weft_err *err)
{
    weft_buf b;
    weft_buf_init(&b, auth->alloc, WEFT_MAX_INVITATION_BYTES);
    const weft_status status = weft_invitation_encode(&b, i, err);
    const bool same = status == WEFT_OK && b.size == record->invitation.size &&
                      memcmp(b.data, record->invitation.data, b.size) == 0;
    weft_buf_done(&b);
    WEFT_TRY(status);
    if (!same) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the member chain is built on another invitation than the one of this token");
    }
    return WEFT_OK;
}

static weft_status check_enrolment(weft_member_chain *ret, const weft_auth *auth,
                                   const weft_auth_record *record,
                                   const weft_auth_enrolment *request, int64_t now, weft_err *err)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    WEFT_TRY(weft_auth_token_digest(digest, request->token, err));
    if (!weft_equal_secret(digest, record->token_digest, sizeof digest)) {
        return weft_auth_unknown_token(err);
    }
    if (record->state == WEFT_AUTH_REVOKED) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "client %.64s is revoked: ask the operator for a new invitation", record->client);
    }
    weft_member_chain chain;
    WEFT_TRY(
        weft_member_decode(&chain, request->member_chain.data, request->member_chain.size, err));
    WEFT_TRY(check_same_invitation(&chain.invitation, auth, record, err));
    /* a repeat answers a lost reply; it brings nothing new, so it may come late */
    const int64_t when = record->state == WEFT_AUTH_ENROLLED ? WEFT_MEMBER_ANY_TIME : now;
    WEFT_TRY(weft_member_verify(&chain, auth->operator_public, auth->ca.id.federation, when, err));
    *ret = chain;
    return WEFT_OK;
}

/* The keys of a repeated enrolment must be those on record. */
static weft_status check_repeat(const weft_auth_grant *grant, const weft_auth_record *record,
                                weft_err *err)
{
    if (!weft_equal_secret(grant->csr_key_digest, record->csr_key_digest,
                           sizeof grant->csr_key_digest) ||
        !weft_equal_secret(grant->member_key, record->member_key, sizeof grant->member_key)) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the token of client %.64s was used with another key already: each machine needs "
                  "an invitation of its own",
                  record->client);
    }
    return WEFT_OK;
}

static weft_status set_client(weft_auth_grant *grant, const char *client, weft_err *err)
{
    weft_identity id;
    WEFT_TRY(weft_identity_set(&id, "any", WEFT_ROLE_CLIENT, client, err));
    memcpy(grant->client, id.name, sizeof grant->client);
    return WEFT_OK;
}

weft_status weft_auth_enroll(weft_auth_grant *ret, const weft_auth *auth,
                             const weft_auth_record *record, const weft_auth_enrolment *request,
                             const weft_entropy *entropy, int64_t now_unix_ms, weft_err *err)
{
    weft_member_chain chain;
    WEFT_TRY(check_enrolment(&chain, auth, record, request, now_unix_ms, err));
    weft_auth_grant grant;
    memset(&grant, 0, sizeof grant);
    WEFT_TRY(set_client(&grant, record->client, err));
    memcpy(grant.member_key, chain.member_key, sizeof grant.member_key);
    grant.repeated = record->state == WEFT_AUTH_ENROLLED;
    weft_key *key = NULL;
    WEFT_TRY(open_csr(&key, grant.csr_key_digest, auth, request->csr_der, err));
    weft_status status = grant.repeated ? check_repeat(&grant, record, err) : WEFT_OK;
    if (status == WEFT_OK) {
        status = issue(&grant, auth, WEFT_ROLE_CLIENT, key, entropy, now_unix_ms, err);
    }
    weft_key_free(key);
    if (status == WEFT_OK) {
        *ret = grant;
    }
    return status;
}

static weft_status check_signature_size(weft_view signature, weft_err *err)
{
    if (signature.size != WEFT_SIGN_SIGNATURE_BYTES) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a signature of %zu bytes, wanted are %d", signature.size,
                  WEFT_SIGN_SIGNATURE_BYTES);
    }
    return WEFT_OK;
}

static weft_status check_renewal(const weft_auth *auth, const weft_auth_record *record,
                                 weft_view csr_der, weft_view signature, weft_err *err)
{
    switch (record->state) {
    case WEFT_AUTH_ENROLLED:
        break;
    case WEFT_AUTH_REVOKED:
        WEFT_FAIL(err, WEFT_E_AUTH, "client %.64s is revoked", record->client);
    case WEFT_AUTH_INVITED:
    default:
        WEFT_FAIL(err, WEFT_E_AUTH, "client %.64s has not enrolled yet: there is nothing to renew",
                  record->client);
    }
    WEFT_TRY(check_signature_size(signature, err));
    return weft_renewal_verify(record->member_key, auth->ca.id.federation, record->client,
                               csr_der.data, csr_der.size, signature.data, err);
}

weft_status weft_auth_renew(weft_auth_grant *ret, const weft_auth *auth,
                            const weft_auth_record *record, weft_view csr_der, weft_view signature,
                            const weft_entropy *entropy, int64_t now_unix_ms, weft_err *err)
{
    WEFT_TRY(check_renewal(auth, record, csr_der, signature, err));
    weft_auth_grant grant;
    memset(&grant, 0, sizeof grant);
    WEFT_TRY(set_client(&grant, record->client, err));
    memcpy(grant.member_key, record->member_key, sizeof grant.member_key);
    weft_key *key = NULL;
    WEFT_TRY(open_csr(&key, grant.csr_key_digest, auth, csr_der, err));
    const weft_status status =
        issue(&grant, auth, WEFT_ROLE_CLIENT, key, entropy, now_unix_ms, err);
    weft_key_free(key);
    if (status == WEFT_OK) {
        *ret = grant;
    }
    return status;
}

weft_status weft_auth_renew_operator(weft_auth_grant *ret, const weft_auth *auth, const char *name,
                                     weft_view csr_der, weft_view signature,
                                     const weft_entropy *entropy, int64_t now_unix_ms,
                                     weft_err *err)
{
    weft_auth_grant grant;
    memset(&grant, 0, sizeof grant);
    WEFT_TRY(check_signature_size(signature, err));
    WEFT_TRY(weft_operator_renewal_verify(auth->operator_public, auth->ca.id.federation, name,
                                          csr_der.data, csr_der.size, signature.data, err));
    WEFT_TRY(set_client(&grant, name, err));
    weft_key *key = NULL;
    WEFT_TRY(open_csr(&key, grant.csr_key_digest, auth, csr_der, err));
    const weft_status status =
        issue(&grant, auth, WEFT_ROLE_OPERATOR, key, entropy, now_unix_ms, err);
    weft_key_free(key);
    if (status == WEFT_OK) {
        *ret = grant;
    }
    return status;
}

/* ---- the coordinator's own ------------------------------------------------------------------- */

/* Never, where it lives as long as the authority: a successor would live no longer. */
static int64_t server_renew_at(const weft_auth *auth, int64_t from, int64_t until)
{
    return until >= auth->ca.not_after_unix_ms ? INT64_MAX : weft_auth_renew_at(from, until);
}

int64_t weft_auth_server_renew_at(const weft_auth *auth)
{
    return server_renew_at(auth, auth->server.not_before_unix_ms, auth->server.not_after_unix_ms);
}

weft_status weft_auth_renew_server(weft_buf *out, int64_t *ret_renew_at, const weft_auth *auth,
                                   const weft_entropy *entropy, int64_t now_unix_ms, weft_err *err)
{
    const int64_t from = now_unix_ms - WEFT_AUTH_BACKDATE_MS;
    int64_t until = 0;
    WEFT_TRY(end_of(&until, auth, WEFT_AUTH_SERVER_DAYS, now_unix_ms, err));
    const weft_view pem = {(const uint8_t *)auth->certificate_pem, strlen(auth->certificate_pem)};
    WEFT_TRY(weft_cert_reissue(out, pem, from, until, ca_view(auth), auth->ca_key, entropy, err));
    *ret_renew_at = server_renew_at(auth, from, until);
    return WEFT_OK;
}

int64_t weft_auth_renew_at(int64_t not_before_unix_ms, int64_t not_after_unix_ms)
{
    return not_before_unix_ms + (not_after_unix_ms - not_before_unix_ms) / 3 * 2;
}
