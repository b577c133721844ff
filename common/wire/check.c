/* SPDX-License-Identifier: Apache-2.0 */
/* Validation of a struct by its table: the same for what came and for what goes. Pure, any thread.
 */
#include "wire/table_priv.h"

#include "base/file.h"

#include <math.h>
#include <string.h>

static uint64_t number_of(const weft_field *f, const unsigned char *at)
{
    uint64_t v = 0;
    uint32_t v32 = 0;
    bool truth = false;
    if (f->kind == WEFT_FIELD_BOOL) {
        memcpy(&truth, at, sizeof truth);
        return truth;
    }
    if (f->kind == WEFT_FIELD_U64 || f->kind == WEFT_FIELD_I64) {
        memcpy(&v, at, sizeof v);
        return v;
    }
    memcpy(&v32, at, sizeof v32); /* U32, ENUM, REFUSAL, CHOICE */
    return v32;
}

static weft_status check_number(const weft_table *table, const weft_field *f,
                                const unsigned char *at, weft_err *err)
{
    const uint64_t v = number_of(f, at);
    if (f->kind == WEFT_FIELD_I64) {
        return WEFT_OK;
    }
    if (f->required && v == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s.%s is missing or 0", table->name, f->name);
    }
    if (v > f->max) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s.%s is %llu, at most %llu is allowed", table->name,
                  f->name, (unsigned long long)v, (unsigned long long)f->max);
    }
    return WEFT_OK;
}

static weft_status check_double(const weft_table *table, const weft_field *f,
                                const unsigned char *at, weft_err *err)
{
    double v = 0;
    memcpy(&v, at, sizeof v);
    if (!isfinite(v)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s.%s is not a finite number", table->name, f->name);
    }
    if (f->required && v == 0.0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s.%s is missing or 0", table->name, f->name);
    }
    return WEFT_OK;
}

/* Bytes of the code point that begins at s, 0 when it is not UTF-8 (RFC 3629). */
static size_t utf8_length(const unsigned char *s)
{
    static const unsigned char lead[] = {0xC2, 0xE0, 0xF0, 0xF5};
    if (s[0] < 0x80) {
        return 1;
    }
    for (size_t n = 2; n <= 4; n++) {
        if (s[0] < lead[n - 2] || s[0] >= lead[n - 1]) {
            continue;
        }
        for (size_t i = 1; i < n; i++) {
            if ((s[i] & 0xC0) != 0x80) { /* also the end of the string */
                return 0;
            }
        }
        const bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
        const bool outside = (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF4 && s[1] > 0x8F);
        return overlong || outside ? 0 : n;
    }
    return 0;
}

/* A line has no control characters; a text may have them (new lines, tabs). */
static bool text_valid(const char *text, bool line)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s) {
        const size_t n = utf8_length(s);
        if (n == 0 || (line && (*s < 0x20 || *s == 0x7F))) {
            return false;
        }
        s += n;
    }
    return true;
}

static weft_status check_text(const weft_table *table, const weft_field *f, const char *text,
                              weft_err *err)
{
    const size_t n = text ? strnlen(text, (size_t)f->max + 1) : 0;
    if (n == 0) {
        if (f->required) {
            WEFT_FAIL(err, WEFT_E_INVALID, "%s.%s is missing", table->name, f->name);
        }
        return WEFT_OK;
    }
    if (n > f->max) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%s.%s has more than %llu bytes", table->name, f->name,
                  (unsigned long long)f->max);
    }
    const bool name = f->kind == WEFT_FIELD_NAME || f->kind == WEFT_FIELD_NAME_IN;
    const bool line = f->kind == WEFT_FIELD_LINE || f->kind == WEFT_FIELD_LINE_IN;
    if (name && !weft_name_valid(text)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "%s.%s \"%.80s\" is not a name: letters, digits, '.', '_' and '-' only",
                  table->name, f->name, text);
    }
    if (!text_valid(text, line)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s.%s is not %s of UTF-8", table->name, f->name,
                  line ? "one line" : "text");
    }
    return WEFT_OK;
}

static weft_status check_view(const weft_table *table, const weft_field *f, const unsigned char *at,
                              weft_err *err)
{
    weft_view v = {NULL, 0};
    memcpy(&v, at, sizeof v);
    if (v.size == 0 && f->required) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s.%s is missing", table->name, f->name);
    }
    if (v.size > f->max) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%s.%s has %zu bytes, at most %llu are allowed", table->name,
                  f->name, v.size, (unsigned long long)f->max);
    }
    if (f->kind == WEFT_FIELD_DIGEST && v.size != 0 && v.size != f->max) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s.%s has %zu bytes, want %llu", table->name, f->name,
                  v.size, (unsigned long long)f->max);
    }
    return WEFT_OK;
}

static weft_status check_sub(const weft_table *table, const weft_field *f, const unsigned char *msg,
                             weft_err *err)
{
    const unsigned char *sub = msg + f->at;
    size_t n = 1;
    if (f->kind != WEFT_FIELD_INLINE) {
        memcpy(&sub, msg + f->at, sizeof sub);
        n = sub ? 1 : 0;
    }
    if (f->kind == WEFT_FIELD_LIST) {
        memcpy(&n, msg + f->at2, sizeof n);
    }
    if (n == 0 && f->required) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s.%s is missing", table->name, f->name);
    }
    if (n > f->max) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%s.%s has %zu elements, at most %llu are allowed",
                  table->name, f->name, n, (unsigned long long)f->max);
    }
    for (size_t i = 0; i < n; i++) {
        WEFT_TRY(weft_wire_check(f->sub, sub + i * f->sub->bytes, err));
    }
    return WEFT_OK;
}

static weft_status check_field(const weft_table *table, const weft_field *f,
                               const unsigned char *msg, weft_err *err)
{
    const unsigned char *at = msg + f->at;
    const char *text = NULL;
    switch (f->kind) {
    case WEFT_FIELD_VERSION:
    case WEFT_FIELD_DIGEST_IN:
        return WEFT_OK;
    case WEFT_FIELD_U32:
    case WEFT_FIELD_U64:
    case WEFT_FIELD_I64:
    case WEFT_FIELD_BOOL:
    case WEFT_FIELD_ENUM:
    case WEFT_FIELD_REFUSAL:
    case WEFT_FIELD_CHOICE:
        return check_number(table, f, at, err);
    case WEFT_FIELD_F64:
        return check_double(table, f, at, err);
    case WEFT_FIELD_NAME:
    case WEFT_FIELD_LINE:
    case WEFT_FIELD_TEXT:
    case WEFT_FIELD_OWNED:
        memcpy(&text, at, sizeof text);
        return check_text(table, f, text, err);
    case WEFT_FIELD_NAME_IN:
    case WEFT_FIELD_LINE_IN:
        return check_text(table, f, (const char *)at, err);
    case WEFT_FIELD_BYTES:
    case WEFT_FIELD_DIGEST:
        return check_view(table, f, at, err);
    case WEFT_FIELD_MESSAGE:
    case WEFT_FIELD_INLINE:
    case WEFT_FIELD_LIST:
        return check_sub(table, f, msg, err);
    case WEFT_FIELD_METRICS:
        return weft_metrics_check((const void *)at, err);
    }
    WEFT_FAIL(err, WEFT_E_INTERNAL, "%s.%s has no kind", table->name, f->name);
}

weft_status weft_wire_check(const weft_table *table, const void *msg, weft_err *err)
{
    for (size_t i = 0; i < table->n_fields; i++) {
        WEFT_TRY(check_field(table, &table->fields[i], msg, err));
    }
    return table->check ? table->check(msg, err) : WEFT_OK;
}
