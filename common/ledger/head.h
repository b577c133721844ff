/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed tree heads (after RFC 9162, section 4.10): the coordinator's word for how long its ledger
 * is and what is in it. Signed with the receipt key over ("weft tree head 1", every field). Who
 * keeps the last head it saw can refuse any later one that does not go on from it. Pure; any
 * thread.
 */
#ifndef WEFT_LEDGER_HEAD_H
#define WEFT_LEDGER_HEAD_H

#include "base/limits.h"
#include "crypto/receipt.h"
#include "ledger/merkle.h"

typedef struct weft_tree_head {
    char federation[WEFT_MAX_NAME_BYTES + 1];
    uint64_t size; /* records */
    uint8_t root[WEFT_SHA256_BYTES];
    int64_t unix_ms; /* when it was signed; for people */
    uint8_t signature[WEFT_SIGN_SIGNATURE_BYTES];
} weft_tree_head;

/** Sign: fills head->signature. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_tree_head_sign(weft_tree_head *head, const weft_sign_key *key,
                                               weft_err *err);
/** WEFT_E_AUTH when the signature does not hold. */
WEFT_NODISCARD weft_status weft_tree_head_verify(const weft_tree_head *head,
                                                 const uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES],
                                                 weft_err *err);
/**
 * Does `next` go on from `known`? Both signatures must have been verified.
 * @return WEFT_E_AUTH with both sizes: another federation, a shorter log, or a history that is not
 * shown to begin with the known one.
 */
WEFT_NODISCARD weft_status weft_tree_head_follows(const weft_tree_head *known,
                                                  const weft_tree_head *next,
                                                  const weft_merkle_proof *consistency,
                                                  weft_err *err);

/* The longest record of an accepted update. */
#define WEFT_LEDGER_UPDATE_RECORD_BYTES 512

/**
 * The ledger's record of an accepted update, from its receipt: the JSON text that the coordinator
 * hashed, byte by byte, so that a client needs nobody to look its leaf up.
 * @param ret  written, terminated.
 * @return its length; 0: a name of the receipt is no valid one.
 */
size_t weft_ledger_update_record(char ret[WEFT_LEDGER_UPDATE_RECORD_BYTES],
                                 const weft_receipt_fields *receipt);

#endif
