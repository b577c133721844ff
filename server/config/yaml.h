/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML files read by tables: a document's mappings are walked against arrays of fields, every
 * mistake is named with its line: "job.yaml:12: round.minimum: 0 is out of range (1 to 100000)".
 * Values are scalars and nested mappings; anchors, tags, lists and several documents are refused:
 * our files have no use for them. Any thread; no I/O except weft_yaml_load.
 */
#ifndef WEFT_CONFIG_YAML_H
#define WEFT_CONFIG_YAML_H

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum weft_yaml_type {
    WEFT_YAML_SECTION = 1, /* fields[] of a nested mapping */
    WEFT_YAML_NAME,        /* char [WEFT_MAX_NAME_BYTES + 1] at offset; weft_name_valid */
    WEFT_YAML_STRING,      /* char [max + 1] at offset; min to max bytes of printable text */
    WEFT_YAML_U32,         /* min to max, and words[] that stand for numbers */
    WEFT_YAML_U64,
    WEFT_YAML_DOUBLE,
    WEFT_YAML_BOOL,     /* bool; true, false, yes, no, on, off */
    WEFT_YAML_DURATION, /* uint64_t milliseconds: 500ms, 30s, 10m, 2h, 7d */
    WEFT_YAML_CHOICE,   /* int (or an enumeration) of words[] */
    WEFT_YAML_CUSTOM    /* parse() decides */
} weft_yaml_type;

typedef struct weft_yaml_word {
    const char *word;
    int value;
} weft_yaml_word;

/* Where a value stands; handed to custom parsers. Borrowed for the call. */
typedef struct weft_yaml_scalar {
    const char *file;
    const char *path; /* "round.target" */
    uint32_t line;    /* of the value, from 1 */
    uint32_t
        first_line;   /* of the text in a block ("|"), line k of it is first_line + k - 1; else 0 */
    const char *text; /* [size], zero-terminated, may hold zeros */
    size_t size;
    const weft_alloc *alloc;
} weft_yaml_scalar;

typedef struct weft_yaml_field {
    const char *name;
    weft_yaml_type type;
    bool required;
    bool above_min;  /* min itself is not allowed */
    bool below_max;  /* nor max */
    size_t offset;   /* into the struct that is filled, also of sections' fields */
    double min, max; /* of numbers, durations (ms), strings (bytes); both 0: any */
    const struct weft_yaml_field *fields; /* of a section, up to one without a name */
    const weft_yaml_word *words;          /* up to one without a word */
    weft_status (*parse)(void *base, const weft_yaml_scalar *scalar, weft_err *err); /* custom */
} weft_yaml_field;

/* Which fields were there, and where: for what can only be checked at the end. */
#define WEFT_YAML_MAX_PATH_BYTES 48
#define WEFT_YAML_MAX_LINES      96
typedef struct weft_yaml_lines {
    uint32_t n;
    struct {
        char path[WEFT_YAML_MAX_PATH_BYTES + 1];
        uint32_t line; /* of its name */
    } item[WEFT_YAML_MAX_LINES];
} weft_yaml_lines;

/**
 * Parse text and fill base by the fields (an array ended by one without a name).
 * @param base   defaults are there already; on failure some fields may be set.
 * @param lines  written, or NULL.
 * @param file   the name in messages.
 * @return WEFT_E_FORMAT not YAML; WEFT_E_INVALID a field; WEFT_E_LIMIT size (WEFT_MAX_YAML_BYTES)
 * or depth; WEFT_E_NOMEM; what a custom parser returns.
 */
WEFT_NODISCARD weft_status weft_yaml_parse(void *base, weft_yaml_lines *lines,
                                           const weft_yaml_field *fields, const char *file,
                                           const char *text, size_t size, const weft_alloc *a,
                                           weft_err *err);
/**
 * The bytes of a file, at most WEFT_MAX_YAML_BYTES, into out, which is initialised here and on
 * success the caller's to finish. WEFT_E_NOTFOUND, WEFT_E_LIMIT, WEFT_E_IO.
 */
WEFT_NODISCARD weft_status weft_yaml_load(weft_buf *out, const char *path, const weft_alloc *a,
                                          weft_err *err);

/** Line of a field that was given; 0: it was not. */
uint32_t weft_yaml_line_of(const weft_yaml_lines *lines, const char *path);
/** "FILE:LINE: PATH: ..." for a custom parser. Returns code. */
WEFT_NODISCARD weft_status weft_yaml_fail(const weft_yaml_scalar *at, weft_status code,
                                          weft_err *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** A custom parser's way to the words of a WEFT_YAML_BOOL. */
WEFT_NODISCARD weft_status weft_yaml_bool(bool *ret, const weft_yaml_scalar *scalar, weft_err *err);

/** Parse "500ms", "30s", "10m", "2h", "7d"; false when it is not a duration or overflows. */
bool weft_yaml_duration(const char *text, uint64_t *ret_ms);
/** Append a duration in its largest exact unit. */
WEFT_NODISCARD weft_status weft_yaml_print_duration(weft_buf *out, uint64_t ms, weft_err *err);
/** Append a number: the shortest text that reads back as the same value. */
WEFT_NODISCARD weft_status weft_yaml_print_number(weft_buf *out, double value, weft_err *err);
/** Append text in double quotes, escaped. */
WEFT_NODISCARD weft_status weft_yaml_print_quoted(weft_buf *out, const char *text, weft_err *err);

#endif
