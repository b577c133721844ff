/* SPDX-License-Identifier: Apache-2.0 */
/* CSV rows -> a data set: scaling, one-hot, missing flags, groups. Any thread. */
#include "data/csv.h"

#include "base/limits.h"
#include "data/schema_priv.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* The data set under construction: arrays of cap rows, of which data->n are filled. */
typedef struct builder {
    const weft_schema *schema;
    const weft_alloc *alloc;
    const char *name;
    weft_data *data;
    uint32_t cap;
    uint32_t *slot; /* [n_slots] hash table of group + 1, 0: empty; owned */
    uint32_t n_slots;
    uint32_t group_cap;
} builder;

static weft_status no_memory(const builder *b, weft_err *err)
{
    WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the rows of %.120s", b->name);
}

/* Grow one of the arrays; true when it went well. */
static bool grow(const builder *b, void *array_address, size_t n, size_t size)
{
    void *old = NULL;
    memcpy(&old, array_address, sizeof old); /* any object pointer type */
    void *grown = weft_array_resize(b->alloc, old, n, size);
    if (grown) {
        memcpy(array_address, &grown, sizeof grown);
    }
    return grown != NULL;
}

static bool resize_rows(builder *b, uint32_t cap)
{
    weft_data *d = b->data;
    bool ok = grow(b, &d->f32, cap, d->n_features * sizeof(float)); /* < 2^31 rows x 2^26 bytes */
    if (ok && d->labels == WEFT_LABEL_CLASS) {
        ok = grow(b, &d->classes, cap, sizeof *d->classes);
    }
    if (ok && d->labels == WEFT_LABEL_VALUE) {
        ok = grow(b, &d->values, cap, sizeof *d->values);
    }
    if (ok && b->schema->group < b->schema->n_columns) {
        ok = grow(b, &d->groups, cap, sizeof *d->groups);
    }
    return ok;
}

static weft_status need_row(builder *b, weft_err *err)
{
    weft_data *d = b->data;
    if (d->n == WEFT_MAX_EXAMPLES ||
        ((uint64_t)d->n + 1) * d->n_features > WEFT_MAX_DATA_BYTES / sizeof(float)) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "%.120s has more than %" PRIu32 " rows of %" PRIu32 " features", b->name, d->n,
                  d->n_features);
    }
    if (d->n < b->cap) {
        return WEFT_OK;
    }
    const uint32_t cap = b->cap ? b->cap * 2 : 64; /* at most 2^31 */
    if (!resize_rows(b, cap)) {
        return no_memory(b, err);
    }
    b->cap = cap;
    return WEFT_OK;
}

/* ---- groups --------------------------------------------------------------------------------- */

static uint32_t hash(const char *text)
{
    uint32_t h = 2166136261U; /* FNV-1a */
    for (; *text; text++) {
        h = (h ^ (unsigned char)*text) * 16777619U;
    }
    return h;
}

static void insert(builder *b, uint32_t group)
{
    uint32_t i = hash(b->data->group_names[group]) & (b->n_slots - 1);
    while (b->slot[i] != 0) {
        i = (i + 1) & (b->n_slots - 1);
    }
    b->slot[i] = group + 1;
}

static weft_status grow_groups(builder *b, weft_err *err)
{
    weft_data *d = b->data;
    const uint32_t cap = b->group_cap ? b->group_cap * 2 : 16;
    uint32_t *slot = weft_array(b->alloc, (size_t)cap * 2, sizeof *slot); /* at most half full */
    if (!slot) {
        return no_memory(b, err);
    }
    if (!grow(b, &d->group_names, cap, sizeof *d->group_names)) {
        weft_free(b->alloc, slot);
        return no_memory(b, err);
    }
    weft_free(b->alloc, b->slot);
    b->slot = slot;
    b->n_slots = cap * 2;
    b->group_cap = cap;
    for (uint32_t g = 0; g < d->n_groups; g++) {
        insert(b, g);
    }
    return WEFT_OK;
}

static weft_status find_group(builder *b, const char *text, uint32_t *ret, weft_err *err)
{
    weft_data *d = b->data;
    uint32_t i = b->n_slots ? hash(text) & (b->n_slots - 1) : 0;
    while (b->n_slots && b->slot[i] != 0) {
        if (strcmp(d->group_names[b->slot[i] - 1], text) == 0) {
            *ret = b->slot[i] - 1;
            return WEFT_OK;
        }
        i = (i + 1) & (b->n_slots - 1);
    }
    if (d->n_groups == WEFT_MAX_GROUPS) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%.120s has more than %u values in its group column", b->name,
                  WEFT_MAX_GROUPS);
    }
    if (d->n_groups == b->group_cap) {
        WEFT_TRY(grow_groups(b, err));
    }
    char *name = weft_string_copy(b->alloc, text, WEFT_MAX_LINE_BYTES);
    if (!name) {
        return no_memory(b, err);
    }
    d->group_names[d->n_groups] = name;
    insert(b, d->n_groups);
    *ret = d->n_groups++;
    return WEFT_OK;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static weft_status scaled(const builder *b, const weft_column *c, const weft_csv_cell *cell,
                          uint64_t line, float *ret, weft_err *err)
{
    const float value = (float)((cell->number - c->mean) / c->std);
    if (!isfinite(value)) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.80s line %" PRIu64 " column %s: the number is too large",
                  b->name, line, c->name);
    }
    *ret = value;
    return WEFT_OK;
}

static weft_status put_features(const builder *b, const weft_column *c, const weft_csv_cell *cell,
                                uint64_t line, float *row, weft_err *err)
{
    float *out = row + c->feature;
    if (c->kind == WEFT_COLUMN_NUMERIC && !cell->missing) {
        WEFT_TRY(scaled(b, c, cell, line, out, err));
    } else if (c->kind == WEFT_COLUMN_CATEGORICAL && !cell->missing) {
        out[cell->category] = 1.0F; /* "other" comes right behind the values */
    }
    if (c->missing_flag && cell->missing) {
        out[c->n_features - 1] = 1.0F;
    }
    return WEFT_OK;
}

static weft_status add_row(void *self, const weft_csv_cell *cells, uint64_t line, weft_err *err)
{
    builder *b = self;
    WEFT_TRY(need_row(b, err));
    const weft_schema *s = b->schema;
    weft_data *d = b->data;
    float *row = d->f32 + (size_t)d->n * d->n_features;
    memset(row, 0, d->n_features * sizeof *row);
    for (uint32_t i = 0; i < s->n_columns; i++) {
        const weft_column *c = &s->columns[i];
        WEFT_TRY(put_features(b, c, &cells[i], line, row, err));
        if (c->kind == WEFT_COLUMN_TARGET_CLASS) {
            d->classes[d->n] = cells[i].category;
        } else if (c->kind == WEFT_COLUMN_TARGET_NUMERIC) {
            WEFT_TRY(scaled(b, c, &cells[i], line, &d->values[d->n], err));
        } else if (c->kind == WEFT_COLUMN_GROUP) {
            WEFT_TRY(
                find_group(b, cells[i].missing ? "missing" : cells[i].text, &d->groups[d->n], err));
        }
    }
    d->n++;
    return WEFT_OK;
}

static weft_status finish(builder *b, weft_err *err)
{
    if (b->data->n == 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s has no rows", b->name);
    }
    return resize_rows(b, b->data->n) ? WEFT_OK : no_memory(b, err);
}

weft_status weft_csv_read(weft_data **ret, const weft_schema *schema, weft_source *source,
                          const weft_alloc *a, weft_err *err)
{
    builder b = {.schema = schema, .alloc = a, .name = source->name};
    weft_data *d = weft_array(a, 1, sizeof *d);
    if (!d) {
        return no_memory(&b, err);
    }
    b.data = d;
    d->alloc = a;
    d->shape = (weft_shape){1, 1, 1, schema->n_features};
    d->n_features = schema->n_features;
    d->type = WEFT_FEATURE_F32;
    d->n_classes = weft_schema_classes(schema);
    if (schema->target < schema->n_columns) {
        d->labels = d->n_classes > 0 ? WEFT_LABEL_CLASS : WEFT_LABEL_VALUE;
    }
    weft_status status = weft_csv_each(schema, source, add_row, &b, a, err);
    if (status == WEFT_OK) {
        status = finish(&b, err);
    }
    weft_free(a, b.slot);
    if (status != WEFT_OK) {
        weft_data_free(d);
        return status;
    }
    *ret = d;
    return WEFT_OK;
}

weft_status weft_csv_load(weft_data **ret, const weft_schema *schema, const char *path,
                          const weft_alloc *a, weft_err *err)
{
    weft_source source = {0};
    WEFT_TRY(weft_source_open(&source, path, err));
    const weft_status status = weft_csv_read(ret, schema, &source, a, err);
    weft_source_close(&source);
    return status;
}
