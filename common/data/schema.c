/* SPDX-License-Identifier: Apache-2.0 */
/* The data schema: its memory, its checks, its canonical text. The parser is schema_parse.c. */
#include "data/schema.h"

#include "data/number.h"
#include "data/schema_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void column_done(weft_column *c, const weft_alloc *a)
{
    for (uint32_t i = 0; c->values && i < c->n_values; i++) {
        weft_free(a, c->values[i]);
    }
    weft_free(a, c->values);
    weft_free(a, c->value_class);
}

void weft_schema_free(weft_schema *schema)
{
    if (!schema) {
        return;
    }
    for (uint32_t i = 0; i < schema->n_columns; i++) {
        column_done(&schema->columns[i], schema->alloc);
    }
    weft_free(schema->alloc, schema->columns);
    weft_free(schema->alloc, schema);
}

uint32_t weft_schema_classes(const weft_schema *schema)
{
    if (schema->target == schema->n_columns) {
        return 0;
    }
    return schema->columns[schema->target].n_classes; /* 0 for a numeric target */
}

/* Quoted where the parser would else cut or drop something. */
static weft_status print_text(weft_buf *out, const char *text, weft_err *err)
{
    if (text[0] != '\0' && !strpbrk(text, " \t\r,|\"#")) {
        return weft_buf_addf(out, err, "%s", text);
    }
    WEFT_TRY(weft_buf_add(out, "\"", 1, err));
    for (const char *p = text; *p; p++) {
        WEFT_TRY(weft_buf_add(out, *p == '"' ? "\"\"" : p, *p == '"' ? 2 : 1, err));
    }
    return weft_buf_add(out, "\"", 1, err);
}

static weft_status print_number(weft_buf *out, const char *name, double value, weft_err *err)
{
    char text[WEFT_NUMBER_BYTES];
    weft_number_print(text, value);
    return weft_buf_addf(out, err, " %s=%s", name, text);
}

static weft_status print_scale(weft_buf *out, const weft_column *c, weft_err *err)
{
    if (!c->has_scale) {
        return WEFT_OK;
    }
    WEFT_TRY(print_number(out, "mean", c->mean, err));
    return print_number(out, "std", c->std, err);
}

/* Spellings of one category follow its first one: the parser makes them so. */
static weft_status print_values(weft_buf *out, const weft_column *c, weft_err *err)
{
    if (c->n_values == 0) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_buf_addf(out, err, " values="));
    for (uint32_t i = 0; i < c->n_values; i++) {
        if (i > 0) {
            const bool same = c->value_class[i] == c->value_class[i - 1];
            WEFT_TRY(weft_buf_add(out, same ? "|" : ",", 1, err));
        }
        WEFT_TRY(print_text(out, c->values[i], err));
    }
    return WEFT_OK;
}

static weft_status print_flag(weft_buf *out, bool set, const char *name, weft_err *err)
{
    return set ? weft_buf_addf(out, err, " %s=1", name) : WEFT_OK;
}

static weft_status print_target(weft_buf *out, const weft_column *c, weft_err *err)
{
    if (c->kind == WEFT_COLUMN_TARGET_NUMERIC) {
        WEFT_TRY(weft_buf_addf(out, err, " numeric"));
        WEFT_TRY(print_scale(out, c, err));
    } else if (c->n_values > 0) {
        WEFT_TRY(print_values(out, c, err));
    } else {
        WEFT_TRY(weft_buf_addf(out, err, " classes=%" PRIu32, c->n_classes));
        if (c->has_positive_above) {
            WEFT_TRY(print_number(out, "positive_above", c->positive_above, err));
        }
    }
    return print_flag(out, c->drop_missing, "drop_missing", err);
}

static weft_status print_column(weft_buf *out, const weft_column *c, weft_err *err)
{
    const bool target = weft_column_is_target(c);
    WEFT_TRY(weft_buf_addf(out, err, target ? "target " : "column "));
    WEFT_TRY(print_text(out, c->name, err));
    if (target) {
        return print_target(out, c, err);
    }
    if (c->kind == WEFT_COLUMN_IGNORE || c->kind == WEFT_COLUMN_GROUP) {
        return weft_buf_addf(out, err, c->kind == WEFT_COLUMN_GROUP ? " group" : " ignore");
    }
    const bool numeric = c->kind == WEFT_COLUMN_NUMERIC;
    WEFT_TRY(weft_buf_addf(out, err, numeric ? " numeric" : " categorical"));
    WEFT_TRY(print_scale(out, c, err));
    WEFT_TRY(print_values(out, c, err));
    WEFT_TRY(print_flag(out, c->other, "other", err));
    WEFT_TRY(print_flag(out, c->zero_missing, "zero_missing", err));
    return print_flag(out, c->missing_flag, "missing_flag", err);
}

static weft_status print_char(weft_buf *out, const char *name, char c, weft_err *err)
{
    const char text[2] = {c, '\0'};
    WEFT_TRY(weft_buf_addf(out, err, " %s=", name));
    return print_text(out, c == '\t' ? "tab" : text, err);
}

weft_status weft_schema_print(const weft_schema *schema, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "csv header=%d", schema->header ? 1 : 0));
    if (schema->delimiter != ',') {
        WEFT_TRY(print_char(out, "delimiter", schema->delimiter, err));
    }
    if (schema->missing[0] != '\0') {
        WEFT_TRY(weft_buf_addf(out, err, " missing="));
        WEFT_TRY(print_text(out, schema->missing, err));
    }
    if (schema->comment != '\0') {
        WEFT_TRY(print_char(out, "comment", schema->comment, err));
    }
    WEFT_TRY(weft_buf_add(out, "\n", 1, err));
    for (uint32_t i = 0; i < schema->n_columns; i++) {
        WEFT_TRY(print_column(out, &schema->columns[i], err));
        WEFT_TRY(weft_buf_add(out, "\n", 1, err));
    }
    return WEFT_OK;
}

static const char *category_name(const weft_column *c, uint32_t category)
{
    for (uint32_t i = 0; i < c->n_values; i++) {
        if (c->value_class[i] == category) {
            return c->values[i];
        }
    }
    return "other";
}

void weft_schema_feature_name(char *out, size_t out_size, const weft_schema *schema,
                              uint32_t feature)
{
    if (out_size == 0) {
        return;
    }
    out[0] = '\0';
    for (uint32_t i = 0; i < schema->n_columns; i++) {
        const weft_column *c = &schema->columns[i];
        if (feature < c->feature || feature - c->feature >= c->n_features) {
            continue;
        }
        const uint32_t k = feature - c->feature;
        if (c->missing_flag && k == c->n_features - 1) {
            (void)snprintf(out, out_size, "%s?", c->name); /* cut where it does not fit */
        } else if (c->kind == WEFT_COLUMN_CATEGORICAL) {
            (void)snprintf(out, out_size, "%s=%s", c->name, category_name(c, k)); /* cut, too */
        } else {
            (void)snprintf(out, out_size, "%s", c->name); /* cut, too */
        }
        return;
    }
}
