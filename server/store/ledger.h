/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: an append-only Merkle log (common/ledger, after RFC 9162) over what must not be
 * rewritten: clients enrolled and revoked, jobs, versions, rounds with their eligible sets, each
 * accepted update, rounds' ends, releases and rollbacks. Records are JSON texts that the schema's
 * triggers write in the transaction of their row; a batch's commit hashes them. Rows can be checked
 * against their records, records against their hashes, and the whole against any signed head.
 */
#ifndef WEFT_STORE_LEDGER_H
#define WEFT_STORE_LEDGER_H

#include "ledger/head.h"
#include "store/store.h"

/* The longest record: names, digests and a reason, whose every byte may be escaped. */
#define WEFT_STORE_MAX_RECORD_BYTES 4096U

/** How many records are durable, and their root. Owner thread, outside a batch. */
WEFT_NODISCARD weft_status weft_store_ledger_root(weft_store *store, uint64_t *ret_size,
                                                  uint8_t ret_root[WEFT_SHA256_BYTES],
                                                  weft_err *err);
/** That the present log begins with its first `from` records. WEFT_E_INVALID from is larger. Owner
 *  thread, outside a batch. */
WEFT_NODISCARD weft_status weft_store_ledger_consistency(weft_store *store, uint64_t from,
                                                         weft_merkle_proof *ret, weft_err *err);
/**
 * Where the record of an accepted update is, and that it is in the present log. Owner thread,
 * outside a batch.
 * @param client  whose update it must be. @return WEFT_E_NOTFOUND.
 */
WEFT_NODISCARD weft_status weft_store_ledger_inclusion(weft_store *store, uint64_t assignment_id,
                                                       const char *client, uint64_t *ret_index,
                                                       weft_merkle_proof *ret, weft_err *err);

/** One record: index from 0; text borrowed, terminated. */
typedef weft_status (*weft_store_record_fn)(void *arg, uint64_t index, const char *record,
                                            weft_err *err);
/**
 * All records of a data directory in order, beside a running coordinator or without one; fn may be
 * NULL. Any thread.
 * @param ret_head  may be NULL: size and root of what was read (not signed; federation empty).
 */
WEFT_NODISCARD weft_status weft_store_ledger_export(const char *dir, weft_store_record_fn fn,
                                                    void *arg, weft_tree_head *ret_head,
                                                    const weft_alloc *a, weft_err *err);
/**
 * Check a ledger: every hash from its record, every record's row as it stands, and every row's
 * record; then against known heads, whose signatures the caller has verified. In one snapshot;
 * changes nothing. Any thread.
 * @param heads  [n_heads] borrowed.
 * @param fn     hears of each finding.
 * @param ret_head  size and root, as above.
 * @return WEFT_OK also with findings.
 */
WEFT_NODISCARD weft_status weft_store_ledger_verify(const char *dir, const weft_tree_head *heads,
                                                    size_t n_heads, weft_store_finding_fn fn,
                                                    void *arg, uint32_t *ret_findings,
                                                    weft_tree_head *ret_head, const weft_alloc *a,
                                                    weft_err *err);

#endif
