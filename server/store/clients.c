/* SPDX-License-Identifier: Apache-2.0 */
/* Invitations, clients, certificates: changes and lookups. */
#include "store/clients.h"

#include "base/file.h"
#include "store/store_priv.h"

#include <string.h>

/* ---- what a change has to know first --------------------------------------------------------- */

typedef struct known {
    uint64_t client_id; /* 0: no such client */
    weft_store_client_status status;
    bool has_keys; /* it enrolled with them */
    uint8_t token_digest[WEFT_DIGEST_BYTES];
    uint8_t csr_key_digest[WEFT_DIGEST_BYTES];
    uint8_t member_public_key[WEFT_STORE_KEY_BYTES];
    bool same_invitation; /* or same chain: as compared in the query */
} known;

#define KNOWN_SELECT "SELECT client_id, status, token_digest, csr_key_digest, member_public_key, "

/* Reads one row of KNOWN_SELECT + a comparison; ends q. */
static weft_status read_known(weft_query *q, known *k, weft_err *err)
{
    memset(k, 0, sizeof *k);
    bool row = false;
    const weft_status status = weft_query_step(q, &row, err);
    if (status == WEFT_OK && row) {
        k->client_id = weft_query_u64(q, 0);
        k->status = (weft_store_client_status)weft_query_u32(q, 1); /* the schema checks it */
        (void)weft_query_copy_blob(q, 2, k->token_digest, sizeof k->token_digest); /* this, too */
        (void)weft_query_copy_blob(q, 3, k->csr_key_digest,
                                   sizeof k->csr_key_digest); /* zeros before enrolment */
        k->has_keys = weft_query_copy_blob(q, 4, k->member_public_key, sizeof k->member_public_key);
        k->same_invitation = weft_query_i64(q, 5) != 0;
    }
    weft_query_end(q);
    return status;
}

static weft_status by_name(weft_store *store, const char *name, weft_view invitation, known *k,
                           weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              KNOWN_SELECT "invitation = ? FROM client WHERE name = ?", err));
    weft_query_add_blob(&q, invitation.data, invitation.size);
    weft_query_add_text(&q, name);
    return read_known(&q, k, err);
}

/* A row that a statement finds by (blob, n). */
static weft_status finds(weft_store *store, const char *sql, const uint8_t *key, size_t n,
                         uint64_t other_than, bool *ret_found, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main, sql, err));
    weft_query_add_blob(&q, key, n);
    weft_query_add_u64(&q, other_than);
    const weft_status status = weft_query_step(&q, ret_found, err);
    weft_query_end(&q);
    return status;
}

static weft_status check_chain(weft_view bytes, const char *what, weft_err *err)
{
    if (bytes.size == 0 || bytes.size > WEFT_STORE_MAX_CHAIN_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%s of %zu bytes: 1 to %u are allowed", what, bytes.size,
                  WEFT_STORE_MAX_CHAIN_BYTES);
    }
    return WEFT_OK;
}

/* ---- invitations ----------------------------------------------------------------------------- */

static weft_status write_invitation(weft_store *store, const char *name, const uint8_t *token,
                                    weft_view invitation, int64_t expires_unix_ms, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_store_write(
        &q, store,
        "INSERT INTO client (name, status, reason, since_unix_ms, token_digest, invitation,"
        " invitation_expires_unix_ms, software, last_seen_unix_ms)"
        " VALUES (?, 1, '', ?, ?, ?, ?, '', 0) ON CONFLICT (name) DO UPDATE SET"
        " status = 1, reason = '', since_unix_ms = excluded.since_unix_ms,"
        " token_digest = excluded.token_digest, invitation = excluded.invitation,"
        " invitation_expires_unix_ms = excluded.invitation_expires_unix_ms,"
        " csr_key_digest = NULL, member_chain = NULL, member_public_key = NULL",
        err));
    weft_query_add_text(&q, name);
    weft_query_add_i64(&q, store->batch_unix_ms);
    weft_query_add_blob(&q, token, WEFT_DIGEST_BYTES);
    weft_query_add_blob(&q, invitation.data, invitation.size);
    weft_query_add_i64(&q, expires_unix_ms);
    return weft_store_run(&q, store, err);
}

weft_status weft_store_client_invite(weft_store *store, const char *name,
                                     const uint8_t token_digest[WEFT_DIGEST_BYTES],
                                     weft_view invitation, int64_t expires_unix_ms, weft_err *err)
{
    if (!weft_name_valid(name)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "%.70s is not a client name: 1 to %d letters, digits, '.', '_' and '-'", name,
                  WEFT_MAX_NAME_BYTES);
    }
    WEFT_TRY(check_chain(invitation, "an invitation", err));
    known k;
    WEFT_TRY(by_name(store, name, invitation, &k, err));
    const bool same = k.client_id && memcmp(k.token_digest, token_digest, WEFT_DIGEST_BYTES) == 0;
    if (same && k.same_invitation && k.status != WEFT_STORE_CLIENT_REVOKED) {
        return WEFT_OK; /* the request came twice */
    }
    if (k.client_id && k.status == WEFT_STORE_CLIENT_ENROLLED) {
        WEFT_FAIL(err, WEFT_E_CONFLICT, "%s is enrolled: revoke it first to invite it again", name);
    }
    bool used = false;
    WEFT_TRY(finds(store, "SELECT 1 FROM client_history WHERE token_digest = ? AND 0 = ?",
                   token_digest, WEFT_DIGEST_BYTES, 0, &used, err));
    if (used) {
        WEFT_FAIL(err, WEFT_E_CONFLICT,
                  "the token of this invitation was used before: make another");
    }
    return write_invitation(store, name, token_digest, invitation, expires_unix_ms, err);
}

/* ---- enrolment ------------------------------------------------------------------------------- */

static weft_status write_enrolment(weft_store *store, uint64_t client_id, const uint8_t *csr_key,
                                   weft_view chain, const uint8_t *member_key, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_store_write(&q, store,
                              "UPDATE client SET status = 2, reason = '', since_unix_ms = ?,"
                              " csr_key_digest = ?, member_chain = ?, member_public_key = ?"
                              " WHERE client_id = ?",
                              err));
    weft_query_add_i64(&q, store->batch_unix_ms);
    weft_query_add_blob(&q, csr_key, WEFT_DIGEST_BYTES);
    weft_query_add_blob(&q, chain.data, chain.size);
    weft_query_add_blob(&q, member_key, WEFT_STORE_KEY_BYTES);
    weft_query_add_u64(&q, client_id);
    return weft_store_run(&q, store, err);
}

/* The key under which it enrolled, also after renewals under others: that of its first certificate.
 */
static weft_status enrolled_with(weft_store *store, const known *k, const uint8_t *csr_key,
                                 bool *ret_same, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT csr_key_digest = ?1 FROM certificate WHERE client_id = ?2"
                              " AND revoked = 0 ORDER BY rowid LIMIT 1",
                              err));
    weft_query_add_blob(&q, csr_key, WEFT_DIGEST_BYTES);
    weft_query_add_u64(&q, k->client_id);
    bool row = false;
    const weft_status status = weft_query_step(&q, &row, err);
    if (status == WEFT_OK) {
        *ret_same = row ? weft_query_i64(&q, 0) != 0
                        : memcmp(k->csr_key_digest, csr_key, WEFT_DIGEST_BYTES) == 0;
    }
    weft_query_end(&q);
    return status;
}

weft_status
weft_store_client_enrol(weft_store *store, const uint8_t token_digest[WEFT_DIGEST_BYTES],
                        const uint8_t csr_key_digest[WEFT_DIGEST_BYTES], weft_view member_chain,
                        const uint8_t member_public_key[WEFT_STORE_KEY_BYTES], weft_err *err)
{
    WEFT_TRY(check_chain(member_chain, "a member chain", err));
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main,
        KNOWN_SELECT "ifnull(member_chain = ?, 0) FROM client WHERE token_digest = ?", err));
    weft_query_add_blob(&q, member_chain.data, member_chain.size);
    weft_query_add_blob(&q, token_digest, WEFT_DIGEST_BYTES);
    known k;
    WEFT_TRY(read_known(&q, &k, err));
    if (!k.client_id) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no invitation has this token");
    }
    if (k.status == WEFT_STORE_CLIENT_REVOKED) {
        WEFT_FAIL(err, WEFT_E_AUTH, "this client is revoked");
    }
    if (k.status == WEFT_STORE_CLIENT_ENROLLED) {
        bool same = false;
        WEFT_TRY(enrolled_with(store, &k, csr_key_digest, &same, err));
        same = same && k.same_invitation &&
               memcmp(k.member_public_key, member_public_key, WEFT_STORE_KEY_BYTES) == 0;
        if (!same) {
            WEFT_FAIL(err, WEFT_E_CONFLICT, "the token was used already, with other keys");
        }
        return WEFT_OK;
    }
    bool taken = false;
    WEFT_TRY(finds(store, "SELECT 1 FROM client WHERE member_public_key = ? AND client_id <> ?",
                   member_public_key, WEFT_STORE_KEY_BYTES, k.client_id, &taken, err));
    if (taken) {
        WEFT_FAIL(err, WEFT_E_CONFLICT, "another client has this member key");
    }
    return write_enrolment(store, k.client_id, csr_key_digest, member_chain, member_public_key,
                           err);
}

/* ---- certificates ---------------------------------------------------------------------------- */

static weft_status write_certificate(weft_store *store, uint64_t client_id,
                                     const uint8_t *fingerprint, const uint8_t *csr_key,
                                     weft_view pem, int64_t expires_unix_ms, weft_err *err)
{
    weft_query q;
    WEFT_TRY(
        weft_store_write(&q, store,
                         "INSERT INTO certificate (fingerprint, client_id, csr_key_digest, pem,"
                         " issued_unix_ms, expires_unix_ms, revoked)"
                         " VALUES (?, ?, ?, ?, ?, ?, 0)",
                         err));
    weft_query_add_blob(&q, fingerprint, WEFT_DIGEST_BYTES);
    weft_query_add_u64(&q, client_id);
    weft_query_add_blob(&q, csr_key, WEFT_DIGEST_BYTES);
    weft_query_add_blob(&q, pem.data, pem.size);
    weft_query_add_i64(&q, store->batch_unix_ms);
    weft_query_add_i64(&q, expires_unix_ms);
    WEFT_TRY(weft_store_run(&q, store, err));
    WEFT_TRY(weft_store_write(&q, store, "UPDATE client SET csr_key_digest = ? WHERE client_id = ?",
                              err));
    weft_query_add_blob(&q, csr_key, WEFT_DIGEST_BYTES);
    weft_query_add_u64(&q, client_id);
    return weft_store_run(&q, store, err);
}

weft_status weft_store_client_certificate(weft_store *store, const char *name,
                                          const uint8_t fingerprint[WEFT_DIGEST_BYTES],
                                          const uint8_t csr_key_digest[WEFT_DIGEST_BYTES],
                                          weft_view pem, int64_t expires_unix_ms, weft_err *err)
{
    WEFT_TRY(check_chain(pem, "a certificate", err));
    known k;
    WEFT_TRY(by_name(store, name, pem, &k, err));
    if (!k.client_id) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no client is named %.64s", name);
    }
    if (k.status != WEFT_STORE_CLIENT_ENROLLED) {
        WEFT_FAIL(err, WEFT_E_AUTH, "%s is not enrolled", name);
    }
    bool issued = false;
    WEFT_TRY(finds(store, "SELECT 1 FROM certificate WHERE fingerprint = ? AND 0 = ?", fingerprint,
                   WEFT_DIGEST_BYTES, 0, &issued, err));
    if (issued) {
        WEFT_FAIL(err, WEFT_E_CONFLICT, "this certificate is on record already");
    }
    return write_certificate(store, k.client_id, fingerprint, csr_key_digest, pem, expires_unix_ms,
                             err);
}

/* ---- revocation, check-ins ------------------------------------------------------------------- */

static weft_status revoke_certificates(weft_store *store, uint64_t client_id, weft_err *err)
{
    weft_query q;
    WEFT_TRY(
        weft_store_write(&q, store, "UPDATE certificate SET revoked = 1 WHERE client_id = ?", err));
    weft_query_add_u64(&q, client_id);
    return weft_store_run(&q, store, err);
}

weft_status weft_store_client_revoke(weft_store *store, const char *name, const char *reason,
                                     weft_err *err)
{
    known k;
    WEFT_TRY(by_name(store, name, (weft_view){NULL, 0}, &k, err));
    if (!k.client_id) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no client is named %.64s", name);
    }
    if (k.status == WEFT_STORE_CLIENT_REVOKED) {
        return WEFT_OK;
    }
    weft_query q;
    WEFT_TRY(weft_store_write(
        &q, store,
        "UPDATE client SET status = 3, reason = ?, since_unix_ms = ? WHERE client_id = ?", err));
    weft_query_add_text_n(&q, reason ? reason : "",
                          strnlen(reason ? reason : "", WEFT_REASON_BYTES - 1));
    weft_query_add_i64(&q, store->batch_unix_ms);
    weft_query_add_u64(&q, k.client_id);
    WEFT_TRY(weft_store_run(&q, store, err));
    return revoke_certificates(store, k.client_id, err);
}

static weft_status put_datasets(weft_store *store, uint64_t client_id,
                                const weft_store_dataset *datasets, uint32_t n, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_store_write(&q, store, "DELETE FROM client_dataset WHERE client_id = ?", err));
    weft_query_add_u64(&q, client_id);
    WEFT_TRY(weft_store_run(&q, store, err));
    for (uint32_t i = 0; i < n; i++) {
        WEFT_TRY(weft_store_write(&q, store,
                                  "INSERT INTO client_dataset (client_id, name, n_examples)"
                                  " VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                                  " SET n_examples = excluded.n_examples",
                                  err));
        weft_query_add_u64(&q, client_id);
        weft_query_add_text(&q, datasets[i].name);
        weft_query_add_u64(&q, datasets[i].n_examples);
        WEFT_TRY(weft_store_run(&q, store, err));
    }
    return WEFT_OK;
}

weft_status weft_store_client_seen(weft_store *store, const char *name, const char *software,
                                   const weft_store_dataset *datasets, uint32_t n_datasets,
                                   weft_err *err)
{
    if (n_datasets > WEFT_MAX_DATASETS) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%u declared data sets, the limit is %d", (unsigned)n_datasets,
                  WEFT_MAX_DATASETS);
    }
    known k;
    WEFT_TRY(by_name(store, name, (weft_view){NULL, 0}, &k, err));
    if (!k.client_id) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no client is named %.64s", name);
    }
    weft_query q;
    WEFT_TRY(weft_store_write(
        &q, store, "UPDATE client SET software = ?, last_seen_unix_ms = ? WHERE client_id = ?",
        err));
    weft_query_add_text_n(&q, software, strnlen(software, WEFT_STORE_MAX_SOFTWARE_BYTES));
    weft_query_add_i64(&q, store->batch_unix_ms);
    weft_query_add_u64(&q, k.client_id);
    WEFT_TRY(weft_store_run(&q, store, err));
    return put_datasets(store, k.client_id, datasets, n_datasets, err);
}
