/* SPDX-License-Identifier: Apache-2.0 */
/* Tree heads and the record of an update. Pure, any thread. */
#include "ledger/head.h"

#include "base/buf.h"
#include "base/file.h"
#include "crypto/statement.h"

#include <stdio.h>
#include <string.h>

static weft_status state(weft_statement *s, const weft_tree_head *head, weft_err *err)
{
    WEFT_TRY(weft_statement_init(s, "weft tree head 1", err));
    WEFT_TRY(weft_statement_add_text(s, head->federation, err));
    WEFT_TRY(weft_statement_add_u64(s, head->size, err));
    WEFT_TRY(weft_statement_add(s, head->root, sizeof head->root, err));
    return weft_statement_add_u64(s, (uint64_t)head->unix_ms, err);
}

weft_status weft_tree_head_sign(weft_tree_head *head, const weft_sign_key *key, weft_err *err)
{
    weft_statement s;
    WEFT_TRY(state(&s, head, err));
    return weft_sign(head->signature, key, s.data, s.n, err);
}

weft_status weft_tree_head_verify(const weft_tree_head *head,
                                  const uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES], weft_err *err)
{
    weft_statement s;
    WEFT_TRY(state(&s, head, err));
    if (weft_sign_verify(public_key, s.data, s.n, head->signature, NULL) != WEFT_OK) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the tree head over %llu records is not signed by the coordinator's receipt key",
                  (unsigned long long)head->size);
    }
    return WEFT_OK;
}

weft_status weft_tree_head_follows(const weft_tree_head *known, const weft_tree_head *next,
                                   const weft_merkle_proof *consistency, weft_err *err)
{
    if (strcmp(known->federation, next->federation) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the ledger is of federation %s, the known one of %s",
                  next->federation, known->federation);
    }
    if (next->size < known->size) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the ledger has %llu records and had %llu: history was taken back",
                  (unsigned long long)next->size, (unsigned long long)known->size);
    }
    return weft_merkle_check_consistency(consistency, known->size, known->root, next->size,
                                         next->root, err);
}

size_t weft_ledger_update_record(char ret[WEFT_LEDGER_UPDATE_RECORD_BYTES],
                                 const weft_receipt_fields *receipt)
{
    char digest[2 * WEFT_SHA256_BYTES + 1];
    ret[0] = '\0';
    if (!weft_name_valid(receipt->job) || !weft_name_valid(receipt->client)) {
        return 0; /* valid ones need no escapes */
    }
    weft_hex_encode(digest, receipt->update_digest, sizeof receipt->update_digest);
    const int n = snprintf(ret, WEFT_LEDGER_UPDATE_RECORD_BYTES,
                           "{\"kind\":\"update\",\"assignment\":%lld,\"job\":\"%s\",\"round\":%u,"
                           "\"client\":\"%s\",\"update\":\"%s\",\"n_examples\":%lld,"
                           "\"accepted_unix_ms\":%lld}",
                           (long long)receipt->assignment_id, receipt->job, receipt->round,
                           receipt->client, digest, (long long)receipt->n_examples,
                           (long long)receipt->accepted_unix_ms); /* fits: names are short */
    return (size_t)n;
}
