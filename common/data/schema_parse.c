/* SPDX-License-Identifier: Apache-2.0 */
/* Text -> schema: a line is cut into words, words into options, options into a column. Pure. */
#include "data/number.h"
#include "data/schema.h"
#include "data/schema_priv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_WORDS = 12 };

/* A piece of the text, quotes still in it. */
typedef struct piece {
    const char *at;
    size_t size;
} piece;

typedef struct parser {
    weft_schema *schema;
    const weft_alloc *alloc;
    weft_err *err;
    uint32_t line;
    bool has_csv;
    uint32_t cap; /* of schema->columns */
    piece word[MAX_WORDS];
    uint32_t n_words;
} parser;

/* "line N: " before every message. */
static weft_status fail_line(parser *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static weft_status fail_line(parser *p, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cut where it does not fit */
    va_end(args);
    WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %" PRIu32 ": %s", p->line, text);
}

static int shown(size_t size)
{
    return size < 60 ? (int)size : 60; /* of what the user wrote, in a message */
}

/* ---- words ---------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The end of a word that starts at `at`: the next blank or '#' that is not in quotes. */
static weft_status word_end(parser *p, const char *at, const char *end, const char **ret)
{
    bool quoted = false;
    for (; at < end; at++) {
        if (*at == '"') {
            quoted = !quoted; /* "" inside quotes: off and on again */
        } else if (!quoted && (is_blank(*at) || *at == '#')) {
            break;
        }
    }
    if (quoted) {
        return fail_line(p, "a quote is not closed");
    }
    *ret = at;
    return WEFT_OK;
}

static weft_status cut_words(parser *p, const char *at, const char *end)
{
    p->n_words = 0;
    for (;;) {
        while (at < end && is_blank(*at)) {
            at++;
        }
        if (at == end || *at == '#') {
            return WEFT_OK;
        }
        if (p->n_words == MAX_WORDS) {
            return fail_line(p, "more than %d words", MAX_WORDS);
        }
        const char *stop = at;
        WEFT_TRY(word_end(p, at, end, &stop));
        p->word[p->n_words++] = (piece){at, (size_t)(stop - at)};
        at = stop;
    }
}

static bool is(piece w, const char *text)
{
    return w.size == strlen(text) && memcmp(w.at, text, w.size) == 0;
}

/* The text of a piece without its quotes, as a fresh string. */
static weft_status text_of(parser *p, piece w, char **ret)
{
    char *text = weft_array(p->alloc, w.size + 1, 1);
    if (!text) {
        WEFT_FAIL(p->err, WEFT_E_NOMEM, "no memory for a schema");
    }
    size_t n = 0;
    bool quoted = false;
    for (size_t i = 0; i < w.size; i++) {
        if (w.at[i] != '"') {
            text[n++] = w.at[i];
        } else if (quoted && i + 1 < w.size && w.at[i + 1] == '"') {
            text[n++] = '"';
            i++;
        } else {
            quoted = !quoted;
        }
    }
    *ret = text;
    return WEFT_OK;
}

static weft_status text_into(parser *p, piece w, char *out, size_t out_size, const char *what)
{
    char *text = NULL;
    WEFT_TRY(text_of(p, w, &text));
    const size_t n = strlen(text);
    if (n < out_size) {
        memcpy(out, text, n + 1);
    }
    weft_free(p->alloc, text);
    if (n == 0 || n >= out_size) {
        return fail_line(p, "%s of %zu bytes, allowed are 1 to %zu", what, n, out_size - 1);
    }
    return WEFT_OK;
}

/* ---- options -------------------------------------------------------------------------------- */

/* If word w is name=value: its value. */
static bool option(piece w, const char *name, piece *ret)
{
    const size_t n = strlen(name);
    if (w.size <= n || memcmp(w.at, name, n) != 0 || w.at[n] != '=') {
        return false;
    }
    *ret = (piece){w.at + n + 1, w.size - n - 1};
    return true;
}

static weft_status flag_value(parser *p, piece value, const char *name, bool *ret)
{
    if (!is(value, "0") && !is(value, "1")) {
        return fail_line(p, "%s=%.*s, allowed are 0 and 1", name, shown(value.size), value.at);
    }
    *ret = value.at[0] == '1';
    return WEFT_OK;
}

static weft_status number_value(parser *p, piece value, const char *name, double *ret)
{
    if (!weft_number_parse(ret, value.at, value.size)) {
        return fail_line(p, "%s=%.*s is not a number", name, shown(value.size), value.at);
    }
    return WEFT_OK;
}

static weft_status char_value(parser *p, piece value, const char *name, char *ret)
{
    char *text = NULL;
    WEFT_TRY(text_of(p, value, &text));
    const bool tab = strcmp(text, "tab") == 0;
    char c = text[0];
    if (tab) {
        c = '\t';
    }
    const bool one = tab || (strlen(text) == 1 && c != '"' && c > ' ') || strcmp(text, " ") == 0;
    weft_free(p->alloc, text);
    if (!one) {
        return fail_line(p, "%s=%.*s, wanted is one character", name, shown(value.size), value.at);
    }
    *ret = c;
    return WEFT_OK;
}

/* ---- lists of values --------------------------------------------------------------------------
 */

static size_t item_size(piece list)
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

static weft_status check_new_value(parser *p, const weft_column *c, const char *text)
{
    if (text[0] == '\0') {
        return fail_line(p, "an empty value: empty cells are missing ones");
    }
    for (uint32_t i = 0; i < c->n_values; i++) {
        if (strcmp(c->values[i], text) == 0) {
            return fail_line(p, "the value '%.60s' is there twice", text);
        }
    }
    return WEFT_OK;
}

static weft_status add_value(parser *p, weft_column *c, piece item, bool alias)
{
    if (c->n_values == WEFT_MAX_CATEGORIES) {
        return fail_line(p, "more than %d values", WEFT_MAX_CATEGORIES);
    }
    char *text = NULL;
    WEFT_TRY(text_of(p, item, &text));
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

static weft_status list_value(parser *p, piece list, weft_column *c)
{
    size_t n = 1; /* at most: commas in quotes count, too */
    for (size_t i = 0; i < list.size; i++) {
        n += list.at[i] == ',' || list.at[i] == '|';
    }
    n = n < WEFT_MAX_CATEGORIES ? n : WEFT_MAX_CATEGORIES;
    if (c->values) {
        return fail_line(p, "values= is there twice");
    }
    c->values = weft_array(p->alloc, n, sizeof *c->values);
    c->value_class = weft_array(p->alloc, n, sizeof *c->value_class);
    if (!c->values || !c->value_class) {
        WEFT_FAIL(p->err, WEFT_E_NOMEM, "no memory for a schema");
    }
    bool alias = false;
    for (;;) {
        const size_t size = item_size(list);
        WEFT_TRY(add_value(p, c, (piece){list.at, size}, alias));
        if (size == list.size) {
            return WEFT_OK;
        }
        alias = list.at[size] == '|';
        list = (piece){list.at + size + 1, list.size - size - 1};
    }
}

/* ---- lines ---------------------------------------------------------------------------------- */

static weft_status csv_line(parser *p)
{
    weft_schema *s = p->schema;
    if (p->has_csv || s->n_columns > 0) {
        return fail_line(p, "the csv line comes once and first");
    }
    p->has_csv = true;
    for (uint32_t i = 1; i < p->n_words; i++) {
        const piece w = p->word[i];
        piece v = {0};
        if (option(w, "header", &v)) {
            WEFT_TRY(flag_value(p, v, "header", &s->header));
        } else if (option(w, "delimiter", &v)) {
            WEFT_TRY(char_value(p, v, "delimiter", &s->delimiter));
        } else if (option(w, "comment", &v)) {
            WEFT_TRY(char_value(p, v, "comment", &s->comment));
        } else if (option(w, "missing", &v)) {
            WEFT_TRY(text_into(p, v, s->missing, sizeof s->missing, "missing="));
        } else {
            return fail_line(p, "unknown word '%.*s'", shown(w.size), w.at);
        }
    }
    if (s->delimiter == s->comment) {
        return fail_line(p, "delimiter and comment are the same");
    }
    return WEFT_OK;
}

static weft_status kind_word(parser *p, weft_column *c, uint32_t *next)
{
    static const struct {
        const char *word;
        weft_column_kind kind;
    } kinds[] = {{"numeric", WEFT_COLUMN_NUMERIC},
                 {"categorical", WEFT_COLUMN_CATEGORICAL},
                 {"ignore", WEFT_COLUMN_IGNORE},
                 {"group", WEFT_COLUMN_GROUP}};
    if (is(p->word[0], "target")) {
        const bool numeric = p->n_words > 2 && is(p->word[2], "numeric");
        c->kind = numeric ? WEFT_COLUMN_TARGET_NUMERIC : WEFT_COLUMN_TARGET_CLASS;
        *next = numeric ? 3 : 2;
        return WEFT_OK;
    }
    *next = 3;
    for (size_t i = 0; p->n_words > 2 && i < sizeof kinds / sizeof kinds[0]; i++) {
        if (is(p->word[2], kinds[i].word)) {
            c->kind = kinds[i].kind;
            return WEFT_OK;
        }
    }
    return fail_line(p, "a column is 'numeric', 'categorical', 'ignore' or 'group'");
}

static weft_status classes_value(parser *p, piece v, weft_column *c)
{
    if (!weft_number_parse_u32(&c->n_classes, v.at, v.size, WEFT_MAX_CLASSES) || c->n_classes < 2) {
        return fail_line(p, "classes=%.*s, allowed are 2 to %u", shown(v.size), v.at,
                         WEFT_MAX_CLASSES);
    }
    return WEFT_OK;
}

/* What was seen of a column's options, to tell which do not belong to its kind. */
typedef struct seen {
    bool mean, std, list, classes;
} seen;

static weft_status column_flag(parser *p, weft_column *c, piece w, bool *known)
{
    piece v = {0};
    *known = true;
    if (option(w, "zero_missing", &v)) {
        return flag_value(p, v, "zero_missing", &c->zero_missing);
    }
    if (option(w, "missing_flag", &v)) {
        return flag_value(p, v, "missing_flag", &c->missing_flag);
    }
    if (option(w, "other", &v)) {
        return flag_value(p, v, "other", &c->other);
    }
    if (option(w, "drop_missing", &v)) {
        return flag_value(p, v, "drop_missing", &c->drop_missing);
    }
    *known = false;
    return WEFT_OK;
}

static weft_status column_option(parser *p, weft_column *c, piece w, seen *has)
{
    piece v = {0};
    bool known = false;
    WEFT_TRY(column_flag(p, c, w, &known));
    if (known) {
        return WEFT_OK;
    }
    if (option(w, "mean", &v)) {
        has->mean = true;
        return number_value(p, v, "mean", &c->mean);
    }
    if (option(w, "std", &v)) {
        has->std = true;
        return number_value(p, v, "std", &c->std);
    }
    if (option(w, "values", &v)) {
        has->list = true;
        return list_value(p, v, c);
    }
    if (option(w, "classes", &v)) {
        has->classes = true;
        return classes_value(p, v, c);
    }
    if (option(w, "positive_above", &v)) {
        c->has_positive_above = true;
        return number_value(p, v, "positive_above", &c->positive_above);
    }
    return fail_line(p, "unknown word '%.*s'", shown(w.size), w.at);
}

static weft_status check_class_target(parser *p, weft_column *c, const seen *has)
{
    if (has->list == has->classes) {
        return fail_line(p, "a class target has either classes= or values=");
    }
    if (has->list) {
        c->n_classes = c->n_categories;
    }
    if (c->n_classes < 2) {
        return fail_line(p, "a class target has at least two values");
    }
    if (c->has_positive_above && (has->list || c->n_classes != 2)) {
        return fail_line(p, "positive_above= goes with classes=2");
    }
    return WEFT_OK;
}

static weft_status check_options(parser *p, weft_column *c, const seen *has)
{
    const bool numeric = c->kind == WEFT_COLUMN_NUMERIC;
    const bool categorical = c->kind == WEFT_COLUMN_CATEGORICAL;
    const bool class_target = c->kind == WEFT_COLUMN_TARGET_CLASS;
    const bool scaled = numeric || c->kind == WEFT_COLUMN_TARGET_NUMERIC;
    if (has->mean != has->std || (has->mean && !scaled)) {
        return fail_line(p, "mean= and std= come together and belong to numeric columns");
    }
    if (has->std && !(c->std > 0.0)) {
        return fail_line(p, "std= must be above 0");
    }
    if (has->list != categorical && !(has->list && class_target)) {
        return fail_line(p, "values= belongs to categorical columns and class targets");
    }
    if ((c->zero_missing && !numeric) || (c->other && !categorical) ||
        (c->missing_flag && !numeric && !categorical) ||
        (c->drop_missing && !weft_column_is_target(c)) ||
        ((has->classes || c->has_positive_above) && !class_target)) {
        return fail_line(p, "an option does not belong to this kind of column");
    }
    c->has_scale = has->mean;
    if (!c->has_scale) {
        c->std = 1.0;
    }
    return class_target ? check_class_target(p, c, has) : WEFT_OK;
}

static weft_status grow_columns(parser *p)
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

static weft_status place_column(parser *p, weft_column *c)
{
    weft_schema *s = p->schema;
    const uint32_t at = s->n_columns - 1;
    for (uint32_t i = 0; i < at; i++) {
        if (strcmp(s->columns[i].name, c->name) == 0) {
            return fail_line(p, "the column '%.60s' is there twice", c->name);
        }
    }
    if (weft_column_is_target(c)) {
        if (s->target != UINT32_MAX) {
            return fail_line(p, "a second target");
        }
        s->target = at;
    }
    if (c->kind == WEFT_COLUMN_GROUP) {
        if (s->group != UINT32_MAX) {
            return fail_line(p, "a second group column");
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

static weft_status column_line(parser *p)
{
    if (p->n_words < 2) {
        return fail_line(p, "a column needs a name");
    }
    WEFT_TRY(grow_columns(p));
    weft_column *c = &p->schema->columns[p->schema->n_columns++]; /* freed with the schema */
    memset(c, 0, sizeof *c);
    WEFT_TRY(text_into(p, p->word[1], c->name, sizeof c->name, "a column name"));
    uint32_t next = 0;
    WEFT_TRY(kind_word(p, c, &next));
    seen has = {0};
    for (uint32_t i = next; i < p->n_words; i++) {
        WEFT_TRY(column_option(p, c, p->word[i], &has));
    }
    WEFT_TRY(check_options(p, c, &has));
    return place_column(p, c);
}

static weft_status parse_line(parser *p, const char *at, const char *end)
{
    for (const char *q = at; q < end; q++) {
        const unsigned char c = (unsigned char)*q;
        if ((c < ' ' && !is_blank(*q)) || c == 0x7f) {
            return fail_line(p, "a control character (0x%02x)", c);
        }
    }
    WEFT_TRY(cut_words(p, at, end));
    if (p->n_words == 0) {
        return WEFT_OK;
    }
    if (is(p->word[0], "csv")) {
        return csv_line(p);
    }
    if (is(p->word[0], "column") || is(p->word[0], "target")) {
        return column_line(p);
    }
    return fail_line(p, "starts with '%.*s', wanted is csv, column or target",
                     shown(p->word[0].size), p->word[0].at);
}

static weft_status parse_all(parser *p, const char *text, size_t size)
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
    parser p = {.schema = s, .alloc = a, .err = err};
    const weft_status status = parse_all(&p, text, size);
    if (status != WEFT_OK) {
        weft_schema_free(s);
        return status;
    }
    *ret = s;
    return WEFT_OK;
}
