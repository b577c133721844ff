/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts a source into CSV records. Private to this module (csv.c); owner thread. */
#ifndef WEFT_DATA_CSV_RECORD_H
#define WEFT_DATA_CSV_RECORD_H

#include "base/alloc.h"
#include "data/source.h"

#include <stdbool.h>

typedef struct weft_records {
    weft_source *source;
    const weft_alloc *alloc;
    char delimiter;
    char comment; /* '\0': none */
    /* the present record: cells as zero-terminated strings */
    uint64_t line;    /* on which it starts, from 1 */
    char *text;       /* [text_cap], owned */
    size_t text_size; /* <= WEFT_MAX_LINE_BYTES */
    size_t text_cap;
    uint32_t *cell; /* [cell_cap] offsets into text, owned */
    uint32_t n_cells;
    uint32_t cell_cap;
    /* behind it */
    uint64_t next_line;
    size_t block_at;
    size_t block_size;
    bool started;
    uint8_t block[16384];
} weft_records;

void weft_records_init(weft_records *r, weft_source *source, char delimiter, char comment,
                       const weft_alloc *a);
void weft_records_done(weft_records *r);

/**
 * The next record that is not blank and no comment; *ret_any is false at the end.
 * @return WEFT_E_FORMAT naming source and line; WEFT_E_LIMIT a record above WEFT_MAX_LINE_BYTES;
 *         WEFT_E_NOMEM; what the source returned.
 */
WEFT_NODISCARD weft_status weft_records_next(weft_records *r, bool *ret_any, weft_err *err);

#endif
