/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data schema: how a CSV's columns become features and a target. One text form serves job
 * files, the wire and clients' declarations:
 *
 *     csv header=0 missing=?
 *     column age numeric mean=54.1 std=9
 *     column chol numeric zero_missing=1 missing_flag=1
 *     column cp categorical values=1,2,3,4
 *     column id ignore
 *     column hospital group
 *     target num classes=2 positive_above=0
 *
 * One column a line. Without a header the lines are the file's columns in order, all of them; with
 * one they are found by name and other columns of the file are ignored. '#' starts a comment; a
 * name or value with blanks, commas or such is written in double quotes ("" for a quote).
 *   csv [header=0|1] [delimiter=C] [missing=TEXT] [comment=C]
 *       header defaults to 1, delimiter to ',' ("tab" for a tab). A cell that is empty or equals
 *       missing is missing. Lines that start with comment are skipped. Blanks around a cell that is
 *       not quoted are dropped.
 *   column NAME numeric [mean=X std=X] [zero_missing=1] [missing_flag=1]
 *       one feature, (x - mean) / std; a missing one is 0 after scaling.
 *   column NAME categorical values=A,B,... [other=1] [missing_flag=1]
 *       one feature a value, 0 or 1. other=1: one more for values not listed (else an error).
 *       Missing: all 0. "1.0" matches 1: numbers compare as numbers when no text is equal.
 *   column NAME ignore
 *   column NAME group       its distinct texts name the parts of weft_partition_column
 *   target NAME classes=N                     whole numbers 0..N-1
 *   target NAME values=A,B,...                text -> index; A|B: two spellings of one class
 *   target NAME classes=2 positive_above=X    class 1 where the number is above X, else 0
 *   target NAME numeric [mean=X std=X]        regression, scaled in the same way
 *       drop_missing=1: lines without a target are left out, which else are an error.
 * missing_flag=1 adds one feature after the column's: 1 where the value was missing.
 *
 * Pure; any thread; only weft_stats_apply makes changed copies.
 */
#ifndef WEFT_DATA_SCHEMA_H
#define WEFT_DATA_SCHEMA_H

#include "base/buf.h"
#include "base/limits.h"

typedef enum weft_column_kind {
    WEFT_COLUMN_NUMERIC,
    WEFT_COLUMN_CATEGORICAL,
    WEFT_COLUMN_IGNORE,
    WEFT_COLUMN_GROUP,
    WEFT_COLUMN_TARGET_CLASS, /* values, or n_classes, or positive_above */
    WEFT_COLUMN_TARGET_NUMERIC
} weft_column_kind;

typedef struct weft_column {
    char name[WEFT_MAX_NAME_BYTES + 1];
    weft_column_kind kind;
    bool zero_missing;
    bool missing_flag;
    bool other;
    bool drop_missing;
    bool has_scale; /* mean and std are given; else 0 and 1 */
    double mean;
    double std; /* > 0 */
    bool has_positive_above;
    double positive_above;
    uint32_t n_classes; /* of a class target */
    uint32_t n_values;
    char **values;         /* [n_values], owned, each owned */
    uint32_t *value_class; /* [n_values], owned: which category; spellings share one */
    uint32_t n_categories; /* distinct value_class */
    uint32_t feature;      /* first feature of this column */
    uint32_t n_features;   /* with other and the flag */
} weft_column;

typedef struct weft_schema {
    const weft_alloc *alloc;
    bool header;
    char delimiter;
    char comment; /* '\0': none */
    char missing[WEFT_MAX_NAME_BYTES + 1];
    uint32_t n_columns;
    weft_column *columns; /* [n_columns], owned */
    uint32_t n_features;
    uint32_t target; /* index into columns; n_columns: none */
    uint32_t group;  /* index into columns; n_columns: none */
} weft_schema;

/**
 * Parse and check; *ret is the caller's to free.
 * @return WEFT_E_FORMAT or WEFT_E_INVALID with "line N: ..."; WEFT_E_LIMIT; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_schema_parse(weft_schema **ret, const char *text, size_t size,
                                             const weft_alloc *a, weft_err *err);
/** Append the canonical text: parse(print(s)) equals s, and equal schemas print equal bytes. */
WEFT_NODISCARD weft_status weft_schema_print(const weft_schema *schema, weft_buf *out,
                                             weft_err *err);
void weft_schema_free(weft_schema *schema);

/** Classes of the target; 0 for regression or no target. */
uint32_t weft_schema_classes(const weft_schema *schema);

/* The name of a feature ("age", "cp=3", "chol?") into out, cut to fit; for reports. */
void weft_schema_feature_name(char *out, size_t out_size, const weft_schema *schema,
                              uint32_t feature);

#endif
