/* SPDX-License-Identifier: Apache-2.0 */
/* Clients and certificates: lookups. */
#include "store/clients.h"

#include "store/store_priv.h"

#include <string.h>

/* In the order that read_client takes them; the certificate is the newest one issued. */
#define CLIENT_SELECT                                                                              \
    "SELECT c.client_id, c.name, c.status, c.reason, c.since_unix_ms, c.token_digest,"             \
    " c.invitation, c.invitation_expires_unix_ms, c.csr_key_digest, c.member_chain,"               \
    " c.member_public_key, c.software, c.last_seen_unix_ms,"                                       \
    " (SELECT count(*) FROM assignment a WHERE a.client = c.name AND a.state = 2"                  \
    " AND a.task <> 2), t.fingerprint, t.expires_unix_ms, t.pem"                                   \
    " FROM client c LEFT JOIN certificate t ON t.rowid ="                                          \
    " (SELECT max(u.rowid) FROM certificate u WHERE u.client_id = c.client_id"                     \
    " AND (u.revoked = 0 OR c.status = 3)) "

static weft_status read_datasets(weft_store *store, uint64_t client_id, weft_store_client_row *row,
                                 weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main,
        "SELECT name, n_examples FROM client_dataset WHERE client_id = ? ORDER BY name", err));
    weft_query_add_u64(&q, client_id);
    bool more = false;
    weft_status status = weft_query_step(&q, &more, err);
    while (status == WEFT_OK && more && row->n_datasets < WEFT_MAX_DATASETS) {
        weft_store_dataset *item = &row->datasets[row->n_datasets++];
        weft_query_copy_text(&q, 0, item->name, sizeof item->name);
        item->n_examples = weft_query_u64(&q, 1);
        status = weft_query_step(&q, &more, err);
    }
    weft_query_end(&q);
    return status;
}

static weft_status read_client(weft_query *q, weft_store *store, weft_store_client_fn fn, void *arg,
                               weft_err *err)
{
    weft_store_client_row row;
    memset(&row, 0, sizeof row);
    weft_query_copy_text(q, 1, row.name, sizeof row.name);
    row.status = (weft_store_client_status)weft_query_u32(q, 2); /* the schema checks it */
    weft_query_copy_text(q, 3, row.reason, sizeof row.reason);
    row.since_unix_ms = weft_query_i64(q, 4);
    (void)weft_query_copy_blob(q, 5, row.token_digest, sizeof row.token_digest); /* this, too */
    row.invitation = weft_query_blob(q, 6);
    row.invitation_expires_unix_ms = weft_query_i64(q, 7);
    /* zeros and empty before enrolment: what the row's comment says */
    (void)weft_query_copy_blob(q, 8, row.csr_key_digest, sizeof row.csr_key_digest);
    row.member_chain = weft_query_blob(q, 9);
    (void)weft_query_copy_blob(q, 10, row.member_public_key, sizeof row.member_public_key);
    weft_query_copy_text(q, 11, row.software, sizeof row.software);
    row.last_seen_unix_ms = weft_query_i64(q, 12);
    row.updates_accepted = weft_query_u64(q, 13);
    (void)weft_query_copy_blob(q, 14, row.certificate_fingerprint,
                               sizeof row.certificate_fingerprint);
    row.certificate_expires_unix_ms = weft_query_i64(q, 15);
    row.certificate_pem = weft_query_blob(q, 16);
    WEFT_TRY(read_datasets(store, weft_query_u64(q, 0), &row, err));
    return fn(arg, &row, err);
}

static weft_status each_client(weft_query *q, weft_store *store, weft_store_client_fn fn, void *arg,
                               uint32_t *ret_n, weft_err *err)
{
    uint32_t n = 0;
    bool more = false;
    weft_status status = weft_query_step(q, &more, err);
    while (status == WEFT_OK && more) {
        n++;
        status = read_client(q, store, fn, arg, err);
        if (status == WEFT_OK) {
            status = weft_query_step(q, &more, err);
        }
    }
    weft_query_end(q);
    *ret_n = n;
    return status;
}

weft_status weft_store_client_by_name(weft_store *store, const char *name, weft_store_client_fn fn,
                                      void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main, CLIENT_SELECT "WHERE c.name = ?", err));
    weft_query_add_text(&q, name);
    uint32_t n = 0;
    WEFT_TRY(each_client(&q, store, fn, arg, &n, err));
    if (n == 0) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no client is named %.64s", name);
    }
    return WEFT_OK;
}

weft_status weft_store_client_by_token(weft_store *store,
                                       const uint8_t token_digest[WEFT_DIGEST_BYTES],
                                       weft_store_client_fn fn, void *arg, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main, CLIENT_SELECT "WHERE c.token_digest = ?", err));
    weft_query_add_blob(&q, token_digest, WEFT_DIGEST_BYTES);
    uint32_t n = 0;
    WEFT_TRY(each_client(&q, store, fn, arg, &n, err));
    if (n == 0) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no invitation has this token");
    }
    return WEFT_OK;
}

/* Whose certificate it is, and whether it still counts; ends with *ret_client_id 0: unknown. */
static weft_status certificate_owner(weft_store *store, const uint8_t *fingerprint,
                                     uint64_t *ret_client_id, bool *ret_revoked, weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(
        &q, &store->main, "SELECT client_id, revoked FROM certificate WHERE fingerprint = ?", err));
    weft_query_add_blob(&q, fingerprint, WEFT_DIGEST_BYTES);
    bool row = false;
    const weft_status status = weft_query_step(&q, &row, err);
    if (status == WEFT_OK) {
        *ret_client_id = row ? weft_query_u64(&q, 0) : 0;
        *ret_revoked = row && weft_query_i64(&q, 1) != 0;
    }
    weft_query_end(&q);
    return status;
}

weft_status weft_store_client_by_certificate(weft_store *store,
                                             const uint8_t fingerprint[WEFT_DIGEST_BYTES],
                                             weft_store_client_fn fn, void *arg, weft_err *err)
{
    uint64_t client_id = 0;
    bool revoked = false;
    WEFT_TRY(certificate_owner(store, fingerprint, &client_id, &revoked, err));
    if (client_id == 0) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "this certificate was not issued by this federation");
    }
    if (revoked) {
        WEFT_FAIL(err, WEFT_E_AUTH, "this certificate is revoked");
    }
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main, CLIENT_SELECT "WHERE c.client_id = ?", err));
    weft_query_add_u64(&q, client_id);
    uint32_t n = 0;
    return each_client(&q, store, fn, arg, &n, err);
}

weft_status weft_store_each_client(weft_store *store, weft_store_client_fn fn, void *arg,
                                   weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main, CLIENT_SELECT "ORDER BY c.name", err));
    uint32_t n = 0;
    return each_client(&q, store, fn, arg, &n, err);
}

weft_status weft_store_each_certificate(weft_store *store, weft_store_certificate_fn fn, void *arg,
                                        weft_err *err)
{
    weft_query q;
    WEFT_TRY(weft_query_begin(&q, &store->main,
                              "SELECT c.name, t.fingerprint, t.issued_unix_ms, t.expires_unix_ms"
                              " FROM certificate t JOIN client c ON c.client_id = t.client_id"
                              " WHERE t.revoked = 0 AND c.status = 2 ORDER BY c.name, t.rowid",
                              err));
    bool more = false;
    weft_status status = weft_query_step(&q, &more, err);
    while (status == WEFT_OK && more) {
        weft_store_certificate item = {.client = weft_query_text(&q, 0),
                                       .issued_unix_ms = weft_query_i64(&q, 2),
                                       .expires_unix_ms = weft_query_i64(&q, 3)};
        (void)weft_query_copy_blob(&q, 1, item.fingerprint,
                                   sizeof item.fingerprint); /* the schema checks its length */
        status = fn(arg, &item, err);
        if (status == WEFT_OK) {
            status = weft_query_step(&q, &more, err);
        }
    }
    weft_query_end(&q);
    return status;
}
