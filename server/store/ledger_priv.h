/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's SQL. A record is JSON text, made in SQL from the row that it is about: by a
 * trigger when the row comes, and again by a check. So no writer can forget a record, and a row
 * that was changed afterwards no longer gives its record's text.
 */
#ifndef WEFT_STORE_LEDGER_PRIV_H
#define WEFT_STORE_LEDGER_PRIV_H

#include "ledger/merkle.h"
#include "store/db_priv.h"

/* Nodes of every so many levels are stored, leaves among them; those between are computed. */
#define WEFT_LEDGER_LEVELS 8U

/* How one kind of record is compared with the rows that it is about. */
typedef struct weft_ledger_kind {
    const char *lacks_record; /* SELECT what the row is: rows without a record of their text */
    const char *lacks_row;    /* SELECT seq, record: records that no row gives any more */
} weft_ledger_kind;

extern const weft_ledger_kind weft_ledger_kinds[];
extern const uint32_t weft_ledger_n_kinds;

/** The migration that makes the ledger and enters what happened before it. Ended by NULL. */
extern const char *const weft_ledger_schema[];

/** The hash of a complete subtree from its stored nodes: a weft_merkle_source's node. arg: weft_db.
 */
WEFT_NODISCARD weft_status weft_ledger_node(void *arg, uint32_t level, uint64_t index,
                                            uint8_t ret[WEFT_SHA256_BYTES], weft_err *err);
/** weft_sha256(x) and weft_record(key, value, ...) for the SQL of a connection. */
WEFT_NODISCARD weft_status weft_ledger_functions(weft_db *db, weft_err *err);

struct weft_store;
/** At the end of a batch: hash the records it brought. *ret is the edge after them. */
WEFT_NODISCARD weft_status weft_ledger_seal(struct weft_store *store, weft_merkle_edge *ret,
                                            weft_err *err);
/** The edge of what is stored. */
WEFT_NODISCARD weft_status weft_ledger_load(weft_merkle_edge *ret, weft_db *db, weft_err *err);

#endif
