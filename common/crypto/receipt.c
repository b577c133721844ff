/* SPDX-License-Identifier: Apache-2.0 */
/* Receipts: one statement, signed and verified. Pure, any thread. */
#include "crypto/receipt.h"

#include "crypto/statement.h"

static weft_status state(weft_statement *s, const weft_receipt_fields *f, weft_err *err)
{
    WEFT_TRY(weft_statement_init(s, "weft receipt 1", err));
    WEFT_TRY(weft_statement_add_u64(s, f->assignment_id, err));
    WEFT_TRY(weft_statement_add_text(s, f->job, err));
    WEFT_TRY(weft_statement_add_u64(s, f->round, err));
    WEFT_TRY(weft_statement_add(s, f->update_digest, sizeof f->update_digest, err));
    WEFT_TRY(weft_statement_add_u64(s, f->n_examples, err));
    WEFT_TRY(weft_statement_add_u64(s, (uint64_t)f->accepted_unix_ms, err));
    return weft_statement_add_text(s, f->client, err);
}

weft_status weft_receipt_sign(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES], const weft_sign_key *key,
                              const weft_receipt_fields *fields, weft_err *err)
{
    weft_statement s;
    WEFT_TRY(state(&s, fields, err));
    return weft_sign(ret, key, s.data, s.n, err);
}

weft_status weft_receipt_verify(const uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES],
                                const weft_receipt_fields *fields,
                                const uint8_t signature[WEFT_SIGN_SIGNATURE_BYTES], weft_err *err)
{
    weft_statement s;
    WEFT_TRY(state(&s, fields, err));
    if (weft_sign_verify(public_key, s.data, s.n, signature, NULL) != WEFT_OK) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the receipt for assignment %llu is not signed by the coordinator's receipt key",
                  (unsigned long long)fields->assignment_id);
    }
    return WEFT_OK;
}
