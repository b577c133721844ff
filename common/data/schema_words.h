/* SPDX-License-Identifier: Apache-2.0 */
/* The words of a schema's line, for schema_parse.c alone. Pure. */
#ifndef WEFT_DATA_SCHEMA_WORDS_H
#define WEFT_DATA_SCHEMA_WORDS_H

#include "data/schema.h"

enum { WEFT_SCHEMA_MAX_WORDS = 12 };

/* A slice of the text, quotes still in it. */
typedef struct weft_schema_word {
    const char *at;
    size_t size;
} weft_schema_word;

typedef struct weft_schema_parser {
    weft_schema *schema;
    const weft_alloc *alloc;
    weft_err *err;
    uint32_t line;
    bool has_csv;
    uint32_t cap; /* of schema->columns */
    weft_schema_word word[WEFT_SCHEMA_MAX_WORDS];
    uint32_t n_words;
} weft_schema_parser;

/* WEFT_E_FORMAT, with "line N: " before the message. */
WEFT_NODISCARD weft_status weft_schema_fail(weft_schema_parser *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* How many bytes of a user's text a message shows. */
int weft_schema_word_shown(size_t size);

/* Cut a line into p->word. */
WEFT_NODISCARD weft_status weft_schema_words_cut(weft_schema_parser *p, const char *at,
                                                 const char *end);
bool weft_schema_word_is(weft_schema_word w, const char *text);
/* The text without its quotes, as a fresh string, or into out, which takes 1 to out_size - 1. */
WEFT_NODISCARD weft_status weft_schema_word_text(weft_schema_parser *p, weft_schema_word w,
                                                 char **ret);
WEFT_NODISCARD weft_status weft_schema_word_text_into(weft_schema_parser *p, weft_schema_word w,
                                                      char *out, size_t out_size, const char *what);
/* If w is name=value: its value. */
bool weft_schema_word_option(weft_schema_word w, const char *name, weft_schema_word *ret);
WEFT_NODISCARD weft_status weft_schema_word_flag(weft_schema_parser *p, weft_schema_word value,
                                                 const char *name, bool *ret);
WEFT_NODISCARD weft_status weft_schema_word_number(weft_schema_parser *p, weft_schema_word value,
                                                   const char *name, double *ret);
WEFT_NODISCARD weft_status weft_schema_word_char(weft_schema_parser *p, weft_schema_word value,
                                                 const char *name, char *ret);

#endif
