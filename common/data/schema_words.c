/* SPDX-License-Identifier: Apache-2.0 */
/* The words of a schema's line: quotes, options, values. Called by schema_parse.c; pure. */
#include "data/schema_words.h"

#include "data/number.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

weft_status weft_schema_fail(weft_schema_parser *p, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cut where it does not fit */
    va_end(args);
    WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %" PRIu32 ": %s", p->line, text);
}

int weft_schema_word_shown(size_t size)
{
    return size < 60 ? (int)size : 60; /* of what the user wrote, in a message */
}

/* ---- words ---------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The end of a word that starts at `at`: the next blank or '#' that is not in quotes. */
static weft_status word_end(weft_schema_parser *p, const char *at, const char *end,
                            const char **ret)
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
        return weft_schema_fail(p, "a quote is not closed");
    }
    *ret = at;
    return WEFT_OK;
}

static weft_status check_characters(weft_schema_parser *p, const char *at, const char *end)
{
    for (; at < end; at++) {
        const unsigned char c = (unsigned char)*at;
        if ((c < ' ' && !is_blank(*at)) || c == 0x7f) {
            return weft_schema_fail(p, "a control character (0x%02x)", c);
        }
    }
    return WEFT_OK;
}

weft_status weft_schema_words_cut(weft_schema_parser *p, const char *at, const char *end)
{
    p->n_words = 0;
    WEFT_TRY(check_characters(p, at, end));
    for (;;) {
        while (at < end && is_blank(*at)) {
            at++;
        }
        if (at == end || *at == '#') {
            return WEFT_OK;
        }
        if (p->n_words == WEFT_SCHEMA_MAX_WORDS) {
            return weft_schema_fail(p, "more than %d words", WEFT_SCHEMA_MAX_WORDS);
        }
        const char *stop = at;
        WEFT_TRY(word_end(p, at, end, &stop));
        p->word[p->n_words++] = (weft_schema_word){at, (size_t)(stop - at)};
        at = stop;
    }
}

bool weft_schema_word_is(weft_schema_word w, const char *text)
{
    return w.size == strlen(text) && memcmp(w.at, text, w.size) == 0;
}

weft_status weft_schema_word_text(weft_schema_parser *p, weft_schema_word w, char **ret)
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

weft_status weft_schema_word_text_into(weft_schema_parser *p, weft_schema_word w, char *out,
                                       size_t out_size, const char *what)
{
    char *text = NULL;
    WEFT_TRY(weft_schema_word_text(p, w, &text));
    const size_t n = strlen(text);
    if (n < out_size) {
        memcpy(out, text, n + 1);
    }
    weft_free(p->alloc, text);
    if (n == 0 || n >= out_size) {
        return weft_schema_fail(p, "%s of %zu bytes, allowed are 1 to %zu", what, n, out_size - 1);
    }
    return WEFT_OK;
}

/* ---- options -------------------------------------------------------------------------------- */

bool weft_schema_word_option(weft_schema_word w, const char *name, weft_schema_word *ret)
{
    const size_t n = strlen(name);
    if (w.size <= n || memcmp(w.at, name, n) != 0 || w.at[n] != '=') {
        return false;
    }
    *ret = (weft_schema_word){w.at + n + 1, w.size - n - 1};
    return true;
}

weft_status weft_schema_word_flag(weft_schema_parser *p, weft_schema_word value, const char *name,
                                  bool *ret)
{
    if (!weft_schema_word_is(value, "0") && !weft_schema_word_is(value, "1")) {
        return weft_schema_fail(p, "%s=%.*s, allowed are 0 and 1", name,
                                weft_schema_word_shown(value.size), value.at);
    }
    *ret = value.at[0] == '1';
    return WEFT_OK;
}

weft_status weft_schema_word_number(weft_schema_parser *p, weft_schema_word value, const char *name,
                                    double *ret)
{
    if (!weft_number_parse(ret, value.at, value.size)) {
        return weft_schema_fail(p, "%s=%.*s is not a number", name,
                                weft_schema_word_shown(value.size), value.at);
    }
    return WEFT_OK;
}

weft_status weft_schema_word_char(weft_schema_parser *p, weft_schema_word value, const char *name,
                                  char *ret)
{
    char *text = NULL;
    WEFT_TRY(weft_schema_word_text(p, value, &text));
    const bool tab = strcmp(text, "tab") == 0;
    char c = text[0];
    if (tab) {
        c = '\t';
    }
    const bool one = tab || (strlen(text) == 1 && c != '"' && c > ' ') || strcmp(text, " ") == 0;
    weft_free(p->alloc, text);
    if (!one) {
        return weft_schema_fail(p, "%s=%.*s, wanted is one character", name,
                                weft_schema_word_shown(value.size), value.at);
    }
    *ret = c;
    return WEFT_OK;
}
