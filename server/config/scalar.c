/* SPDX-License-Identifier: Apache-2.0 */
/* One YAML value: text to numbers, words, names, durations; ranges; suggestions. */
#include "config/scalar_priv.h"

#include "base/file.h"
#include "base/limits.h"
#include "data/number.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Names longer than this are not compared. */
#define MAX_SUGGEST_BYTES 32

weft_status weft_yaml_fail(const weft_yaml_scalar *at, weft_status code, weft_err *err,
                           const char *format, ...)
{
    char text[WEFT_ERR_MSG_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cut where too long */
    va_end(args);
    return weft_err_set(err, code, 0, __FILE__, __LINE__, "%.80s:%u: %s: %s", at->file,
                        (unsigned)at->line, at->path, text);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool parse_u64(const char *text, size_t size, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        if (c < '0' || c > '9' || __builtin_mul_overflow(v, UINT64_C(10), &v) ||
            __builtin_add_overflow(v, (uint64_t)(c - '0'), &v)) {
            return false;
        }
    }
    *ret = v;
    return size > 0;
}

typedef struct unit {
    const char *name;
    uint64_t ms;
} unit;

static const unit units[] = {{"d", UINT64_C(86400000)},
                             {"h", UINT64_C(3600000)},
                             {"m", UINT64_C(60000)},
                             {"s", UINT64_C(1000)},
                             {"ms", UINT64_C(1)}};

bool weft_yaml_duration(const char *text, uint64_t *ret_ms)
{
    const size_t digits = strspn(text, "0123456789");
    uint64_t n = 0;
    if (!parse_u64(text, digits, &n)) {
        return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(text + digits, units[i].name) == 0) {
            uint64_t ms = 0;
            const bool fits = !__builtin_mul_overflow(n, units[i].ms, &ms);
            if (fits) {
                *ret_ms = ms;
            }
            return fits;
        }
    }
    return false;
}

weft_status weft_yaml_print_duration(weft_buf *out, uint64_t ms, weft_err *err)
{
    size_t i = 0;
    while (ms == 0 ? units[i].ms != 1000 : ms % units[i].ms != 0) {
        i++; /* ends: every number is a multiple of 1 ms */
    }
    return weft_buf_addf(out, err, "%llu%s", (unsigned long long)(ms / units[i].ms), units[i].name);
}

/* Whole numbers without an exponent (100, not 1e+02), others as short as they can be. */
static void number_text(char out[WEFT_NUMBER_BYTES], double value)
{
    if (value == floor(value) && fabs(value) < 1e15) {
        (void)snprintf(out, WEFT_NUMBER_BYTES, "%.0f", value); /* fits */
    } else {
        weft_number_print(out, value);
    }
}

weft_status weft_yaml_print_number(weft_buf *out, double value, weft_err *err)
{
    char text[WEFT_NUMBER_BYTES];
    number_text(text, value);
    return weft_buf_add(out, text, strlen(text), err);
}

static weft_status add_escaped(weft_buf *out, char c, weft_err *err)
{
    if (c == '"' || c == '\\') {
        return weft_buf_addf(out, err, "\\%c", c);
    }
    if ((unsigned char)c < 0x20 || c == 0x7f) {
        return weft_buf_addf(out, err, "\\x%02x", (unsigned)c);
    }
    return weft_buf_add(out, &c, 1, err);
}

weft_status weft_yaml_print_quoted(weft_buf *out, const char *text, weft_err *err)
{
    WEFT_TRY(weft_buf_add(out, "\"", 1, err));
    for (; *text; text++) {
        WEFT_TRY(add_escaped(out, *text, err));
    }
    return weft_buf_add(out, "\"", 1, err);
}

/* "1 to 100000", "above 0, at most 1000", in the field's notation */
static void range_text(char *out, size_t size, const weft_yaml_field *f)
{
    char low[WEFT_NUMBER_BYTES];
    char high[WEFT_NUMBER_BYTES];
    if (f->type == WEFT_YAML_DURATION) {
        weft_buf b;
        weft_buf_init(&b, &weft_alloc_std, (size_t)2 * WEFT_NUMBER_BYTES);
        /* without memory the range stays empty: the message says the rest */
        (void)!weft_yaml_print_duration(&b, (uint64_t)f->min, NULL);
        (void)!weft_buf_add(&b, " to ", 4, NULL);
        (void)!weft_yaml_print_duration(&b, (uint64_t)f->max, NULL);
        const char *text = weft_buf_text(&b);
        (void)snprintf(out, size, "%s", text ? text : ""); /* fits */
        weft_buf_done(&b);
        return;
    }
    number_text(low, f->min);
    number_text(high, f->max);
    if (f->above_min || f->below_max) {
        (void)snprintf(out, size, "%s %s, %s %s", f->above_min ? "above" : "at least", low,
                       f->below_max ? "below" : "at most", high);
    } else {
        (void)snprintf(out, size, "%s to %s", low, high);
    }
}

static weft_status check_range(const weft_yaml_field *f, double v, const weft_yaml_scalar *s,
                               weft_err *err)
{
    const bool any = f->min == 0 && f->max == 0;
    const bool low = f->above_min ? v > f->min : v >= f->min;
    const bool high = f->below_max ? v < f->max : v <= f->max;
    if (any || (low && high)) {
        return WEFT_OK;
    }
    char range[96];
    range_text(range, sizeof range, f);
    return weft_yaml_fail(s, WEFT_E_INVALID, err, "%.40s is out of range (%s)", s->text, range);
}

static weft_status need_plain(const weft_yaml_scalar *s, bool quoted, const char *what,
                              weft_err *err)
{
    if (s->size == 0) {
        return weft_yaml_fail(s, WEFT_E_INVALID, err, "is empty: %s is expected", what);
    }
    if (quoted) {
        return weft_yaml_fail(s, WEFT_E_INVALID, err, "is text in quotes: %s is expected", what);
    }
    return WEFT_OK;
}

static weft_status store_whole(void *at, const weft_yaml_field *f, const weft_yaml_scalar *s,
                               weft_err *err)
{
    uint64_t v = 0;
    if (!parse_u64(s->text, s->size, &v)) {
        return weft_yaml_fail(s, WEFT_E_INVALID, err, "\"%.40s\" is not a whole number%s", s->text,
                              f->words ? " (or a word)" : "");
    }
    WEFT_TRY(check_range(f, (double)v, s, err));
    if (f->type == WEFT_YAML_U64) {
        *(uint64_t *)at = v;
        return WEFT_OK;
    }
    if (v > UINT32_MAX) {
        return weft_yaml_fail(s, WEFT_E_INVALID, err, "%.40s is out of range (0 to %u)", s->text,
                              UINT32_MAX);
    }
    *(uint32_t *)at = (uint32_t)v;
    return WEFT_OK;
}

static weft_status store_double(double *at, const weft_yaml_field *f, const weft_yaml_scalar *s,
                                weft_err *err)
{
    double v = 0;
    if (!weft_number_parse(&v, s->text, s->size)) {
        return weft_yaml_fail(s, WEFT_E_INVALID, err, "\"%.40s\" is not a number", s->text);
    }
    WEFT_TRY(check_range(f, v, s, err));
    *at = v;
    return WEFT_OK;
}

static weft_status store_duration(uint64_t *at, const weft_yaml_field *f, const weft_yaml_scalar *s,
                                  weft_err *err)
{
    uint64_t ms = 0;
    if (strlen(s->text) != s->size || !weft_yaml_duration(s->text, &ms)) {
        return weft_yaml_fail(s, WEFT_E_INVALID, err,
                              "\"%.40s\" is not a duration: 500ms, 30s, 10m, 2h or 7d", s->text);
    }
    WEFT_TRY(check_range(f, (double)ms, s, err));
    *at = ms;
    return WEFT_OK;
}

/* ---- words ----------------------------------------------------------------------------------- */

static const weft_yaml_word bools[] = {{"true", 1}, {"false", 0}, {"yes", 1}, {"no", 0},
                                       {"on", 1},   {"off", 0},   {NULL, 0}};

static const weft_yaml_word *find_word(const weft_yaml_word *words, const weft_yaml_scalar *s)
{
    for (; words && words->word; words++) {
        if (strlen(words->word) == s->size && memcmp(words->word, s->text, s->size) == 0) {
            return words;
        }
    }
    return NULL;
}

static weft_status no_such_word(const weft_yaml_word *words, const weft_yaml_scalar *s,
                                weft_err *err)
{
    char all[128] = "";
    for (size_t n = 0; words->word && n < sizeof all; words++) {
        const int more = snprintf(all + n, sizeof all - n, "%s%s", n ? ", " : "", words->word);
        n += more > 0 ? (size_t)more : 0;
    }
    return weft_yaml_fail(s, WEFT_E_INVALID, err, "\"%.40s\" is none of: %s", s->text, all);
}

weft_status weft_yaml_bool(bool *ret, const weft_yaml_scalar *scalar, weft_err *err)
{
    const weft_yaml_word *word = find_word(bools, scalar);
    if (!word) {
        return no_such_word(bools, scalar, err);
    }
    *ret = word->value != 0;
    return WEFT_OK;
}

/* ---- text ------------------------------------------------------------------------------------ */

static weft_status store_name(char *at, const weft_yaml_scalar *s, weft_err *err)
{
    if (strlen(s->text) != s->size || !weft_name_valid(s->text)) {
        return weft_yaml_fail(s, WEFT_E_INVALID, err,
                              "\"%.66s\" is not a name: 1 to %d of A-Z a-z 0-9 . _ -", s->text,
                              WEFT_MAX_NAME_BYTES);
    }
    memcpy(at, s->text, s->size + 1);
    return WEFT_OK;
}

static weft_status store_string(char *at, const weft_yaml_field *f, const weft_yaml_scalar *s,
                                weft_err *err)
{
    if ((double)s->size < f->min || (double)s->size > f->max) {
        return weft_yaml_fail(s, WEFT_E_INVALID, err, "%zu bytes of text, %.0f to %.0f are allowed",
                              s->size, f->min, f->max);
    }
    for (size_t i = 0; i < s->size; i++) {
        const unsigned char c = (unsigned char)s->text[i];
        if (c < 0x20 || c == 0x7f) {
            return weft_yaml_fail(s, WEFT_E_INVALID, err,
                                  "holds a character that cannot be printed");
        }
    }
    memcpy(at, s->text, s->size);
    at[s->size] = '\0';
    return WEFT_OK;
}

weft_status weft_yaml_store(void *base, const weft_yaml_field *f, const weft_yaml_scalar *s,
                            bool quoted, weft_err *err)
{
    char *at = (char *)base + f->offset;
    const weft_yaml_word *word = NULL;
    switch (f->type) {
    case WEFT_YAML_NAME:
        return store_name(at, s, err);
    case WEFT_YAML_STRING:
        return store_string(at, f, s, err);
    case WEFT_YAML_U32:
    case WEFT_YAML_U64:
        WEFT_TRY(need_plain(s, quoted, "a whole number", err));
        word = f->type == WEFT_YAML_U32 ? find_word(f->words, s) : NULL;
        if (word) {
            *(uint32_t *)(void *)at = (uint32_t)word->value;
            return WEFT_OK;
        }
        return store_whole(at, f, s, err);
    case WEFT_YAML_DOUBLE:
        WEFT_TRY(need_plain(s, quoted, "a number", err));
        return store_double((double *)(void *)at, f, s, err);
    case WEFT_YAML_DURATION:
        WEFT_TRY(need_plain(s, quoted, "a duration", err));
        return store_duration((uint64_t *)(void *)at, f, s, err);
    case WEFT_YAML_BOOL:
        return weft_yaml_bool((bool *)(void *)at, s, err);
    case WEFT_YAML_CHOICE:
        word = find_word(f->words, s);
        if (!word) {
            return no_such_word(f->words, s, err);
        }
        memcpy(at, &word->value, sizeof word->value);
        return WEFT_OK;
    case WEFT_YAML_CUSTOM:
        return f->parse(base, s, err);
    case WEFT_YAML_SECTION:
    default:
        return weft_yaml_fail(s, WEFT_E_INVALID, err, "is text: a section is expected");
    }
}

/* ---- suggestions ----------------------------------------------------------------------------- */

static uint32_t min3(uint32_t a, uint32_t b, uint32_t c)
{
    const uint32_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein's distance of two short names. */
static uint32_t distance(const char *a, const char *b)
{
    uint32_t row[MAX_SUGGEST_BYTES + 1];
    const size_t n = strlen(b);
    for (uint32_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (uint32_t i = 0; a[i]; i++) {
        uint32_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            const uint32_t above = row[j + 1];
            row[j + 1] = min3(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
            diagonal = above;
        }
    }
    return row[n];
}

const char *weft_yaml_suggest(const char *name, const char *const *names, size_t n)
{
    const size_t size = strlen(name);
    const char *best = NULL;
    uint32_t best_distance = (uint32_t)(size / 3) + 1;
    for (size_t i = 0; i < n && size <= MAX_SUGGEST_BYTES; i++) {
        const uint32_t d =
            strlen(names[i]) <= MAX_SUGGEST_BYTES ? distance(name, names[i]) : UINT32_MAX;
        if (d < best_distance || (!best && d == best_distance)) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}
