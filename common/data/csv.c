/* SPDX-License-Identifier: Apache-2.0 */
/* CSV records under a schema: cells read by their columns' kinds, rows handed to a callback. */
#include "data/csv.h"

#include "data/csv_record.h"
#include "data/number.h"
#include "data/schema_priv.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct csv {
    const weft_schema *schema;
    weft_records records;
    weft_csv_cell *cells; /* [n_columns], owned */
    uint32_t *at;         /* [n_columns]: the file's column, owned */
    uint32_t width;       /* cells of each record */
} csv;

static weft_status find_columns(csv *c, weft_err *err)
{
    const weft_schema *s = c->schema;
    const weft_records *r = &c->records;
    for (uint32_t i = 0; i < s->n_columns; i++) {
        uint32_t k = 0;
        while (k < r->n_cells && strcmp(r->text + r->cell[k], s->columns[i].name) != 0) {
            k++;
        }
        if (k == r->n_cells && s->columns[i].kind != WEFT_COLUMN_IGNORE) {
            WEFT_FAIL(err, WEFT_E_FORMAT,
                      "%.120s line %" PRIu64 ": the header lacks the column '%s'", r->source->name,
                      r->line, s->columns[i].name);
        }
        c->at[i] = k < r->n_cells ? k : 0; /* what is ignored may be missing */
    }
    c->width = r->n_cells;
    return WEFT_OK;
}

/* Where, not what: messages may travel to the coordinator, cells may not. */
static weft_status bad_cell(const csv *c, const weft_column *column, const char *why, weft_err *err)
{
    WEFT_FAIL(err, WEFT_E_FORMAT, "%.80s line %" PRIu64 " column %s: %s", c->records.source->name,
              c->records.line, column->name, why);
}

/* A category whose text is equal, else one that is the same number; n_categories: none. */
static uint32_t find_category(const weft_column *column, const char *text)
{
    for (uint32_t i = 0; i < column->n_values; i++) {
        if (strcmp(column->values[i], text) == 0) {
            return column->value_class[i];
        }
    }
    double number = 0.0;
    if (weft_number_parse(&number, text, strlen(text))) {
        for (uint32_t i = 0; i < column->n_values; i++) {
            double value = 0.0;
            if (weft_number_parse(&value, column->values[i], strlen(column->values[i])) &&
                value == number) {
                return column->value_class[i];
            }
        }
    }
    return column->n_categories;
}

static weft_status read_number(const csv *c, const weft_column *column, const char *text,
                               weft_csv_cell *cell, weft_err *err)
{
    if (!weft_number_parse(&cell->number, text, strlen(text))) {
        return bad_cell(c, column, "the cell is not a number", err);
    }
    if (column->zero_missing && cell->number == 0.0) {
        cell->missing = true;
    }
    return WEFT_OK;
}

static weft_status read_class(const csv *c, const weft_column *column, const char *text,
                              weft_csv_cell *cell, weft_err *err)
{
    if (column->n_values > 0) {
        cell->category = find_category(column, text);
        if (cell->category == column->n_categories) {
            return bad_cell(c, column, "the cell is none of the target's values", err);
        }
        return WEFT_OK;
    }
    WEFT_TRY(read_number(c, column, text, cell, err));
    if (column->has_positive_above) {
        cell->category = cell->number > column->positive_above ? 1 : 0;
        return WEFT_OK;
    }
    if (!(cell->number >= 0.0 && cell->number < column->n_classes) ||
        cell->number != floor(cell->number)) {
        return bad_cell(c, column, "the cell is not one of the classes", err);
    }
    cell->category = (uint32_t)cell->number;
    return WEFT_OK;
}

static weft_status read_category(const csv *c, const weft_column *column, const char *text,
                                 weft_csv_cell *cell, weft_err *err)
{
    cell->category = find_category(column, text);
    if (cell->category == column->n_categories && !column->other) {
        return bad_cell(c, column, "the cell is none of the values (other=1 would take it)", err);
    }
    return WEFT_OK;
}

static weft_status read_cell(const csv *c, const weft_column *column, const char *text,
                             weft_csv_cell *cell, weft_err *err)
{
    memset(cell, 0, sizeof *cell);
    cell->text = text;
    cell->missing =
        text[0] == '\0' || (c->schema->missing[0] != '\0' && strcmp(text, c->schema->missing) == 0);
    if (cell->missing) {
        if (weft_column_is_target(column) && !column->drop_missing) {
            return bad_cell(c, column,
                            "the target is missing (drop_missing=1 would leave the line out)", err);
        }
        return WEFT_OK;
    }
    switch (column->kind) {
    case WEFT_COLUMN_NUMERIC:
    case WEFT_COLUMN_TARGET_NUMERIC:
        return read_number(c, column, text, cell, err);
    case WEFT_COLUMN_CATEGORICAL:
        return read_category(c, column, text, cell, err);
    case WEFT_COLUMN_TARGET_CLASS:
        return read_class(c, column, text, cell, err);
    case WEFT_COLUMN_IGNORE:
    case WEFT_COLUMN_GROUP:
        break;
    }
    return WEFT_OK;
}

/* *ret_use: false when the line has no target and may be left out. */
static weft_status read_row(csv *c, bool *ret_use, weft_err *err)
{
    const weft_schema *s = c->schema;
    const weft_records *r = &c->records;
    if (r->n_cells != c->width) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "%.120s line %" PRIu64 " has %" PRIu32 " columns, wanted are %" PRIu32,
                  r->source->name, r->line, r->n_cells, c->width);
    }
    for (uint32_t i = 0; i < s->n_columns; i++) {
        WEFT_TRY(read_cell(c, &s->columns[i], r->text + r->cell[c->at[i]], &c->cells[i], err));
    }
    *ret_use = s->target == s->n_columns || !c->cells[s->target].missing;
    return WEFT_OK;
}

static weft_status each(csv *c, weft_csv_row row, void *self, weft_err *err)
{
    bool header = c->schema->header;
    for (;;) {
        bool any = false;
        WEFT_TRY(weft_records_next(&c->records, &any, err));
        if (!any) {
            break;
        }
        if (header) {
            WEFT_TRY(find_columns(c, err));
            header = false;
            continue;
        }
        bool use = false;
        WEFT_TRY(read_row(c, &use, err));
        if (use) {
            WEFT_TRY(row(self, c->cells, c->records.line, err));
        }
    }
    if (header) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s is empty, wanted is a header line",
                  c->records.source->name);
    }
    return WEFT_OK;
}

weft_status weft_csv_each(const weft_schema *schema, weft_source *source, weft_csv_row row,
                          void *self, const weft_alloc *a, weft_err *err)
{
    csv *c = weft_array(a, 1, sizeof *c);
    if (!c) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory to read %.120s", source->name);
    }
    c->schema = schema;
    weft_records_init(&c->records, source, schema->delimiter, schema->comment, a);
    c->cells = weft_array(a, schema->n_columns, sizeof *c->cells);
    c->at = weft_array(a, schema->n_columns, sizeof *c->at);
    weft_status status = WEFT_OK;
    if (!c->cells || !c->at) {
        status = WEFT_E_NOMEM;
        (void)weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__, "no memory to read %.120s",
                           source->name);
    }
    if (status == WEFT_OK) {
        for (uint32_t i = 0; i < schema->n_columns; i++) {
            c->at[i] = i;
        }
        c->width = schema->n_columns;
        status = each(c, row, self, err);
    }
    weft_records_done(&c->records);
    weft_free(a, c->cells);
    weft_free(a, c->at);
    weft_free(a, c);
    return status;
}
