/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this module. */
#ifndef WEFT_DATA_SCHEMA_PRIV_H
#define WEFT_DATA_SCHEMA_PRIV_H

#include "data/schema.h"

static inline bool weft_column_is_target(const weft_column *c)
{
    return c->kind == WEFT_COLUMN_TARGET_CLASS || c->kind == WEFT_COLUMN_TARGET_NUMERIC;
}

#endif
