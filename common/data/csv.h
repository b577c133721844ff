/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSV (RFC 4180: quoted cells may hold delimiters, quotes and line ends; LF or CRLF) under a
 * schema. Streaming: one line in memory at a time. Messages name source, line and column
 * but never show a cell: they may travel to the coordinator. Threads: any; a reader belongs to one.
 */
#ifndef WEFT_DATA_CSV_H
#define WEFT_DATA_CSV_H

#include "data/dataset.h"
#include "data/schema.h"
#include "data/source.h"

/* One cell as the schema reads it. */
typedef struct weft_csv_cell {
    bool missing;
    double number;     /* numeric columns and numeric targets, not scaled */
    uint32_t category; /* categorical: its value, n_categories for "other"; class target: class */
    const char *text;  /* group column: zero-terminated; valid during the call */
} weft_csv_cell;

/** Called for each line: cells [schema->n_columns]. A failure ends the reading and is returned. */
typedef weft_status (*weft_csv_row)(void *self, const weft_csv_cell *cells, uint64_t line,
                                    weft_err *err);

/**
 * Read every line of a source.
 * @return WEFT_E_FORMAT ("heart.csv line 7 column chol: the cell is not a number"), WEFT_E_LIMIT,
 *         WEFT_E_IO, WEFT_E_NOMEM, or what row returned.
 */
WEFT_NODISCARD weft_status weft_csv_each(const weft_schema *schema, weft_source *source,
                                         weft_csv_row row, void *self, const weft_alloc *a,
                                         weft_err *err);

/** A data set: features and target as the schema says. WEFT_E_FORMAT also when there is no line. */
WEFT_NODISCARD weft_status weft_csv_read(weft_data **ret, const weft_schema *schema,
                                         weft_source *source, const weft_alloc *a, weft_err *err);
/** The same from a file (.gz too). */
WEFT_NODISCARD weft_status weft_csv_load(weft_data **ret, const weft_schema *schema,
                                         const char *path, const weft_alloc *a, weft_err *err);

#endif
