/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schemas of both databases as numbered steps. A step never changes once it was released; new
 * ones are appended. user_version counts the steps that a file has seen.
 */
#ifndef WEFT_STORE_SCHEMA_PRIV_H
#define WEFT_STORE_SCHEMA_PRIV_H

#include "store/db_priv.h"

typedef struct weft_schema_steps {
    uint32_t n;
    const char *const *const *sql; /* [n] lists of SQL texts, each ended by NULL */
} weft_schema_steps;

extern const weft_schema_steps weft_main_schema;   /* weft.db */
extern const weft_schema_steps weft_models_schema; /* models.db */

/**
 * Bring a database to version `to` (all steps: steps->n), each step one transaction. A fresh file
 * gets weft's application_id with the first step.
 * @return WEFT_E_STATE it is newer than `to`; WEFT_E_FORMAT it belongs to another program;
 * WEFT_E_DB.
 */
WEFT_NODISCARD weft_status weft_schema_migrate(weft_db *db, const weft_schema_steps *steps,
                                               uint32_t to, weft_err *err);

/** Only look: the same refusals, and WEFT_E_STATE when it is older than steps->n. */
WEFT_NODISCARD weft_status weft_schema_check(weft_db *db, const weft_schema_steps *steps,
                                             weft_err *err);

#endif
