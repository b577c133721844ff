/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receipts: the coordinator's proof that it took an update, once. Signed with its receipt key over
 * ("weft receipt 1", every field below, each length-prefixed); clients verify with the public key
 * of their join file. Pure; any thread.
 */
#ifndef WEFT_CRYPTO_RECEIPT_H
#define WEFT_CRYPTO_RECEIPT_H

#include "base/limits.h"
#include "crypto/hash.h"
#include "crypto/sign.h"

/* The fields of weft.v1.Receipt but the signature. */
typedef struct weft_receipt_fields {
    uint64_t assignment_id;
    char job[WEFT_MAX_NAME_BYTES + 1];
    uint32_t round;
    uint8_t update_digest[WEFT_SHA256_BYTES];
    uint64_t n_examples;
    int64_t accepted_unix_ms;
    char client[WEFT_MAX_NAME_BYTES + 1];
} weft_receipt_fields;

/** Sign with the receipt key. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_receipt_sign(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES],
                                             const weft_sign_key *key,
                                             const weft_receipt_fields *fields, weft_err *err);
/** WEFT_E_AUTH when the signature does not hold. */
WEFT_NODISCARD weft_status weft_receipt_verify(const uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES],
                                               const weft_receipt_fields *fields,
                                               const uint8_t signature[WEFT_SIGN_SIGNATURE_BYTES],
                                               weft_err *err);

#endif
