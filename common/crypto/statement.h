/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is signed, hashed or bound into a key: u32 n, domain, then each field as u32 n, bytes
 * (little-endian), so that no two statements of different domains or fields have equal bytes. On
 * the stack; pure; any thread.
 */
#ifndef WEFT_CRYPTO_STATEMENT_H
#define WEFT_CRYPTO_STATEMENT_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* The longest one: a renewal with a WEFT_MAX_CSR_BYTES request and two names. */
#define WEFT_STATEMENT_BYTES 2304

typedef struct weft_statement {
    size_t n; /* <= WEFT_STATEMENT_BYTES */
    uint8_t data[WEFT_STATEMENT_BYTES];
} weft_statement;

/** Begin a statement of a domain ("weft receipt 1"). */
WEFT_NODISCARD weft_status weft_statement_init(weft_statement *s, const char *domain,
                                               weft_err *err);
/** Add a field of n bytes. WEFT_E_LIMIT. */
WEFT_NODISCARD weft_status weft_statement_add(weft_statement *s, const void *data, size_t n,
                                              weft_err *err);
WEFT_NODISCARD weft_status weft_statement_add_text(weft_statement *s, const char *text,
                                                   weft_err *err);
/** Add a field of 8 little-endian bytes. */
WEFT_NODISCARD weft_status weft_statement_add_u64(weft_statement *s, uint64_t v, weft_err *err);

#endif
