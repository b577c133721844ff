/* SPDX-License-Identifier: Apache-2.0 */
/* Text -> schema: words into options, options into a column. Pure. */
#include "data/schema.h"

#include "data/number.h"
#include "data/schema_priv.h"
#include "data/schema_words.h"

#include <inttypes.h>
#include <string.h>

/* ---- lists of values --------------------------------------------------------------------------
 */

static size_t item_size(weft_schema_word list)
{
    bool quoted = false;
    size_t n = 0;
    for (; n < list.size; n++) {
        if (list.at[n] == '"') {
            quoted = !quoted;
        } else if (!quoted && (list.at[n] == ',' || list.at[n] == '|')) {
            break;
        }
    }
    return n;
}

static weft_status check_new_value(weft_schema_parser *p, const weft_column *c, const char *text)
{
    if (text[0] == '\0') {
        return weft_schema_fail(p, "an empty value: empty cells are missing ones");
    }
    for (uint32_t i = 0; i < c->n_values; i++) {
        if (strcmp(c->values[i], text) == 0) {
            return weft_schema_fail(p, "the value '%.60s' is there twice", text);
        }
    }
    return WEFT_OK;
}

static weft_status add_value(weft_schema_parser *p, weft_column *c, weft_schema_word item,
                             bool alias)
{
    if (c->n_values == WEFT_MAX_CATEGORIES) {
        return weft_schema_fail(p, "more than %d values", WEFT_MAX_CATEGORIES);
    }
    char *text = NULL;
    WEFT_TRY(weft_schema_word_text(p, item, &text));
    const weft_status status = check_new_value(p, c, text);
    if (status != WEFT_OK) {
        weft_free(p->alloc, text);
        return status;
    }
    c->n_categories += alias ? 0 : 1;
    c->value_class[c->n_values] = c->n_categories - 1;
    c->values[c->n_values++] = text;
    return WEFT_OK;
}

static weft_status list_value(weft_schema_parser *p, weft_schema_word list, weft_column *c)
{
    size_t n = 1; /* at most: commas in quotes count, too */
    for (size_t i = 0; i < list.size; i++) {
        n += list.at[i] == ',' || list.at[i] == '|';
    }
    n = n < WEFT_MAX_CATEGORIES ? n : WEFT_MAX_CATEGORIES;
    if (c->values) {
        return weft_schema_fail(p, "values= is there twice");
    }
    c->values = weft_array(p->alloc, n, sizeof *c->values);
    c->value_class = weft_array(p->alloc, n, sizeof *c->value_class);
    if (!c->values || !c->value_class) {
        WEFT_FAIL(p->err, WEFT_E_NOMEM, "no memory for a schema");
    }
    bool alias = false;
    for (;;) {
        const size_t size = item_size(list);
        WEFT_TRY(add_value(p, c, (weft_schema_word){list.at, size}, alias));
        if (size == list.size) {
            return WEFT_OK;
        }
        alias = list.at[size] == '|';
        list = (weft_schema_word){list.at + size + 1, list.size - size - 1};
    }
}

/* ---- lines ---------------------------------------------------------------------------------- */

static weft_status csv_line(weft_schema_parser *p)
{
    weft_schema *s = p->schema;
    if (p->has_csv || s->n_columns > 0) {
        return weft_schema_fail(p, "the csv line comes once and first");
    }
    p->has_csv = true;
    for (uint32_t i = 1; i < p->n_words; i++) {
        const weft_schema_word w = p->word[i];
        weft_schema_word v = {0};
        if (weft_schema_word_option(w, "header", &v)) {
            WEFT_TRY(weft_schema_word_flag(p, v, "header", &s->header));
        } else if (weft_schema_word_option(w, "delimiter", &v)) {
            WEFT_TRY(weft_schema_word_char(p, v, "delimiter", &s->delimiter));
        } else if (weft_schema_word_option(w, "comment", &v)) {
            WEFT_TRY(weft_schema_word_char(p, v, "comment", &s->comment));
        } else if (weft_schema_word_option(w, "missing", &v)) {
            WEFT_TRY(weft_schema_word_text_into(p, v, s->missing, sizeof s->missing, "missing="));
        } else {
            return weft_schema_fail(p, "unknown word '%.*s'", weft_schema_word_shown(w.size), w.at);
        }
    }
    if (s->delimiter == s->comment) {
        return weft_schema_fail(p, "delimiter and comment are the same");
    }
    return WEFT_OK;
}

static weft_status kind_word(weft_schema_parser *p, weft_column *c, uint32_t *next)
{
    static const struct {
        const char *word;
        weft_column_kind kind;
    } kinds[] = {{"numeric", WEFT_COLUMN_NUMERIC},
                 {"categorical", WEFT_COLUMN_CATEGORICAL},
                 {"ignore", WEFT_COLUMN_IGNORE},
                 {"group", WEFT_COLUMN_GROUP}};
    if (weft_schema_word_is(p->word[0], "target")) {
        const bool numeric = p->n_words > 2 && weft_schema_word_is(p->word[2], "numeric");
        c->kind = numeric ? WEFT_COLUMN_TARGET_NUMERIC : WEFT_COLUMN_TARGET_CLASS;
        *next = numeric ? 3 : 2;
        return WEFT_OK;
    }
    *next = 3;
    for (size_t i = 0; p->n_words > 2 && i < sizeof kinds / sizeof kinds[0]; i++) {
        if (weft_schema_word_is(p->word[2], kinds[i].word)) {
            c->kind = kinds[i].kind;
            return WEFT_OK;
        }
    }
    return weft_schema_fail(p, "a column is 'numeric', 'categorical', 'ignore' or 'group'");
}

static weft_status classes_value(weft_schema_parser *p, weft_schema_word v, weft_column *c)
{
    if (!weft_number_parse_u32(&c->n_classes, v.at, v.size, WEFT_MAX_CLASSES) || c->n_classes < 2) {
        return weft_schema_fail(p, "classes=%.*s, allowed are 2 to %u",
                                weft_schema_word_shown(v.size), v.at, WEFT_MAX_CLASSES);
    }
    return WEFT_OK;
}

/* What was seen of a column's options, to tell which do not belong to its kind. */
typedef struct seen {
    bool mean, std, list, classes;
} seen;

static weft_status column_flag(weft_schema_parser *p, weft_column *c, weft_schema_word w,
                               bool *known)
{
    weft_schema_word v = {0};
    *known = true;
    if (weft_schema_word_option(w, "zero_missing", &v)) {
        return weft_schema_word_flag(p, v, "zero_missing", &c->zero_missing);
    }
    if (weft_schema_word_option(w, "missing_flag", &v)) {
        return weft_schema_word_flag(p, v, "missing_flag", &c->missing_flag);
    }
    if (weft_schema_word_option(w, "other", &v)) {
        return weft_schema_word_flag(p, v, "other", &c->other);
    }
    if (weft_schema_word_option(w, "drop_missing", &v)) {
        return weft_schema_word_flag(p, v, "drop_missing", &c->drop_missing);
    }
    *known = false;
    return WEFT_OK;
}

static weft_status column_option(weft_schema_parser *p, weft_column *c, weft_schema_word w,
                                 seen *has)
{
    weft_schema_word v = {0};
    bool known = false;
    WEFT_TRY(column_flag(p, c, w, &known));
    if (known) {
        return WEFT_OK;
    }
    if (weft_schema_word_option(w, "mean", &v)) {
        has->mean = true;
        return weft_schema_word_number(p, v, "mean", &c->mean);
    }
    if (weft_schema_word_option(w, "std", &v)) {
        has->std = true;
        return weft_schema_word_number(p, v, "std", &c->std);
    }
    if (weft_schema_word_option(w, "values", &v)) {
        has->list = true;
        return list_value(p, v, c);
    }
    if (weft_schema_word_option(w, "classes", &v)) {
        has->classes = true;
        return classes_value(p, v, c);
    }
    if (weft_schema_word_option(w, "positive_above", &v)) {
        c->has_positive_above = true;
        return weft_schema_word_number(p, v, "positive_above", &c->positive_above);
    }
    return weft_schema_fail(p, "unknown word '%.*s'", weft_schema_word_shown(w.size), w.at);
}

static weft_status check_class_target(weft_schema_parser *p, weft_column *c, const seen *has)
{
    if (has->list == has->classes) {
        return weft_schema_fail(p, "a class target has either classes= or values=");
    }
    if (has->list) {
        c->n_classes = c->n_categories;
    }
    if (c->n_classes < 2) {
        return weft_schema_fail(p, "a class target has at least two values");
    }
    if (c->has_positive_above && (has->list || c->n_classes != 2)) {
        return weft_schema_fail(p, "positive_above= goes with classes=2");
    }
    return WEFT_OK;
}

static weft_status check_options(weft_schema_parser *p, weft_column *c, const seen *has)
{
    const bool numeric = c->kind == WEFT_COLUMN_NUMERIC;
    const bool categorical = c->kind == WEFT_COLUMN_CATEGORICAL;
    const bool class_target = c->kind == WEFT_COLUMN_TARGET_CLASS;
    const bool scaled = numeric || c->kind == WEFT_COLUMN_TARGET_NUMERIC;
    if (has->mean != has->std || (has->mean && !scaled)) {
        return weft_schema_fail(p, "mean= and std= come together and belong to numeric columns");
    }
    if (has->std && !(c->std > 0.0)) {
        return weft_schema_fail(p, "std= must be above 0");
    }
    if (has->list != categorical && !(has->list && class_target)) {
        return weft_schema_fail(p, "values= belongs to categorical columns and class targets");
    }
    if ((c->zero_missing && !numeric) || (c->other && !categorical) ||
        (c->missing_flag && !numeric && !categorical) ||
        (c->drop_missing && !weft_column_is_target(c)) ||
        ((has->classes || c->has_positive_above) && !class_target)) {
        return weft_schema_fail(p, "an option does not belong to this kind of column");
    }
    c->has_scale = has->mean;
    if (!c->has_scale) {
        c->std = 1.0;
    }
    return class_target ? check_class_target(p, c, has) : WEFT_OK;
}

static weft_status grow_columns(weft_schema_parser *p)
{
    weft_schema *s = p->schema;
    if (s->n_columns == WEFT_MAX_COLUMNS) {
        WEFT_FAIL(p->err, WEFT_E_LIMIT, "line %" PRIu32 ": more than %d columns", p->line,
                  WEFT_MAX_COLUMNS);
    }
    if (s->n_columns < p->cap) {
        return WEFT_OK;
    }
    const uint32_t cap = p->cap ? p->cap * 2 : 16;
    weft_column *grown = weft_array_resize(p->alloc, s->columns, cap, sizeof *grown);
    if (!grown) {
        WEFT_FAIL(p->err, WEFT_E_NOMEM, "no memory for a schema");
    }
    s->columns = grown;
    p->cap = cap;
    return WEFT_OK;
}

static weft_status place_column(weft_schema_parser *p, weft_column *c)
{
    weft_schema *s = p->schema;
    const uint32_t at = s->n_columns - 1;
    for (uint32_t i = 0; i < at; i++) {
        if (strcmp(s->columns[i].name, c->name) == 0) {
            return weft_schema_fail(p, "the column '%.60s' is there twice", c->name);
        }
    }
    if (weft_column_is_target(c)) {
        if (s->target != UINT32_MAX) {
            return weft_schema_fail(p, "a second target");
        }
        s->target = at;
    }
    if (c->kind == WEFT_COLUMN_GROUP) {
        if (s->group != UINT32_MAX) {
            return weft_schema_fail(p, "a second group column");
        }
        s->group = at;
    }
    c->feature = s->n_features;
    if (c->kind == WEFT_COLUMN_NUMERIC) {
        c->n_features = c->missing_flag ? 2 : 1;
    } else if (c->kind == WEFT_COLUMN_CATEGORICAL) {
        c->n_features = c->n_categories + (c->other ? 1 : 0) + (c->missing_flag ? 1 : 0);
    }
    s->n_features += c->n_features;
    return WEFT_OK;
}

static weft_status column_line(weft_schema_parser *p)
{
    if (p->n_words < 2) {
        return weft_schema_fail(p, "a column needs a name");
    }
    WEFT_TRY(grow_columns(p));
    weft_column *c = &p->schema->columns[p->schema->n_columns++]; /* freed with the schema */
    memset(c, 0, sizeof *c);
    WEFT_TRY(weft_schema_word_text_into(p, p->word[1], c->name, sizeof c->name, "a column name"));
    uint32_t next = 0;
    WEFT_TRY(kind_word(p, c, &next));
    seen has = {0};
    for (uint32_t i = next; i < p->n_words; i++) {
        WEFT_TRY(column_option(p, c, p->word[i], &has));
    }
    WEFT_TRY(check_options(p, c, &has));
    return place_column(p, c);
}

static weft_status parse_line(weft_schema_parser *p, const char *at, const char *end)
{
    WEFT_TRY(weft_schema_words_cut(p, at, end));
    if (p->n_words == 0) {
        return WEFT_OK;
    }
    if (weft_schema_word_is(p->word[0], "csv")) {
        return csv_line(p);
    }
    if (weft_schema_word_is(p->word[0], "column") || weft_schema_word_is(p->word[0], "target")) {
        return column_line(p);
    }
    return weft_schema_fail(p, "starts with '%.*s', wanted is csv, column or target",
                            weft_schema_word_shown(p->word[0].size), p->word[0].at);
}

static weft_status parse_all(weft_schema_parser *p, const char *text, size_t size)
{
    const char *end = text + size;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        stop = stop ? stop : end;
        p->line++;
        WEFT_TRY(parse_line(p, text, stop));
        text = stop < end ? stop + 1 : end;
    }
    weft_schema *s = p->schema;
    if (s->n_features == 0) {
        WEFT_FAIL(p->err, WEFT_E_INVALID, "the schema has no numeric or categorical column");
    }
    s->target = s->target == UINT32_MAX ? s->n_columns : s->target;
    s->group = s->group == UINT32_MAX ? s->n_columns : s->group;
    return WEFT_OK;
}

weft_status weft_schema_parse(weft_schema **ret, const char *text, size_t size, const weft_alloc *a,
                              weft_err *err)
{
    if (size > WEFT_MAX_SCHEMA_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a schema of %zu bytes, allowed are %u", size,
                  WEFT_MAX_SCHEMA_BYTES);
    }
    weft_schema *s = weft_array(a, 1, sizeof *s);
    if (!s) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a schema");
    }
    s->alloc = a;
    s->header = true;
    s->delimiter = ',';
    s->target = UINT32_MAX;
    s->group = UINT32_MAX;
    weft_schema_parser p = {.schema = s, .alloc = a, .err = err};
    const weft_status status = parse_all(&p, text, size);
    if (status != WEFT_OK) {
        weft_schema_free(s);
        return status;
    }
    *ret = s;
    return WEFT_OK;
}
