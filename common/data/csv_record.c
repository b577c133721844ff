/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes -> records of cells (RFC 4180, blanks around cells dropped). Owner thread. */
#include "data/csv_record.h"

#include "base/limits.h"

#include <inttypes.h>
#include <string.h>

enum { END = -1 };

void weft_records_init(weft_records *r, weft_source *source, char delimiter, char comment,
                       const weft_alloc *a)
{
    memset(r, 0, sizeof *r);
    r->source = source;
    r->alloc = a;
    r->delimiter = delimiter;
    r->comment = comment;
    r->next_line = 1;
}

void weft_records_done(weft_records *r)
{
    weft_free(r->alloc, r->text);
    weft_free(r->alloc, r->cell);
    r->text = NULL;
    r->cell = NULL;
}

static weft_status refill(weft_records *r, weft_err *err)
{
    r->block_at = 0;
    r->block_size = 0;
    return r->source->read(r->source->self, r->block, sizeof r->block, &r->block_size, err);
}

/* The next byte without taking it, or END. */
static weft_status peek(weft_records *r, int *ret, weft_err *err)
{
    if (r->block_at == r->block_size) {
        WEFT_TRY(refill(r, err));
    }
    *ret = r->block_at < r->block_size ? r->block[r->block_at] : END;
    return WEFT_OK;
}

static weft_status put(weft_records *r, char c, weft_err *err)
{
    if (r->text_size == r->text_cap) {
        if (r->text_cap >= WEFT_MAX_LINE_BYTES) {
            WEFT_FAIL(err, WEFT_E_LIMIT, "%.120s line %" PRIu64 " is longer than %u bytes",
                      r->source->name, r->line, WEFT_MAX_LINE_BYTES);
        }
        const size_t cap = r->text_cap ? r->text_cap * 2 : 1024; /* powers of two up to the limit */
        char *grown = weft_array_resize(r->alloc, r->text, cap, 1);
        if (!grown) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a line of %.120s", r->source->name);
        }
        r->text = grown;
        r->text_cap = cap;
    }
    r->text[r->text_size++] = c;
    return WEFT_OK;
}

static weft_status open_cell(weft_records *r, weft_err *err)
{
    if (r->n_cells == r->cell_cap) {
        const uint32_t cap = r->cell_cap ? r->cell_cap * 2 : 64; /* <= cells <= bytes of a line */
        uint32_t *grown = weft_array_resize(r->alloc, r->cell, cap, sizeof *grown);
        if (!grown) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a line of %.120s", r->source->name);
        }
        r->cell = grown;
        r->cell_cap = cap;
    }
    r->cell[r->n_cells++] = (uint32_t)r->text_size;
    return WEFT_OK;
}

static bool is_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool ends_cell(const weft_records *r, int c)
{
    return c == END || c == '\n' || c == (unsigned char)r->delimiter;
}

static weft_status skip_blanks(weft_records *r, int *ret, weft_err *err)
{
    WEFT_TRY(peek(r, ret, err));
    while (is_blank(*ret) && !ends_cell(r, *ret)) {
        r->block_at++;
        WEFT_TRY(peek(r, ret, err));
    }
    return WEFT_OK;
}

/* Behind the opening quote up to and with the closing one. */
static weft_status quoted_text(weft_records *r, weft_err *err)
{
    for (;;) {
        int c = 0;
        WEFT_TRY(peek(r, &c, err));
        if (c == END || c == 0) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s line %" PRIu64 ": %s", r->source->name, r->line,
                      c == 0 ? "a zero byte" : "a quote is not closed");
        }
        r->block_at++;
        if (c == '"') {
            WEFT_TRY(peek(r, &c, err));
            if (c != '"') {
                return WEFT_OK;
            }
            r->block_at++;
        }
        r->next_line += c == '\n';
        WEFT_TRY(put(r, (char)c, err));
    }
}

static weft_status plain_text(weft_records *r, size_t start, weft_err *err)
{
    int c = 0;
    WEFT_TRY(peek(r, &c, err));
    while (!ends_cell(r, c)) {
        if (c == 0) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s line %" PRIu64 ": a zero byte", r->source->name,
                      r->line);
        }
        WEFT_TRY(put(r, (char)c, err));
        r->block_at++;
        WEFT_TRY(peek(r, &c, err));
    }
    while (r->text_size > start && is_blank(r->text[r->text_size - 1])) {
        r->text_size--;
    }
    return WEFT_OK;
}

/* One cell; *ret is what ended it, not taken yet. */
static weft_status read_cell(weft_records *r, int *ret, weft_err *err)
{
    WEFT_TRY(open_cell(r, err));
    int c = 0;
    WEFT_TRY(skip_blanks(r, &c, err));
    if (c == '"') {
        r->block_at++;
        WEFT_TRY(quoted_text(r, err));
        WEFT_TRY(skip_blanks(r, &c, err));
        if (!ends_cell(r, c)) {
            WEFT_FAIL(err, WEFT_E_FORMAT,
                      "%.120s line %" PRIu64 " column %" PRIu32 ": text behind a closing quote",
                      r->source->name, r->line, r->n_cells);
        }
    } else {
        WEFT_TRY(plain_text(r, r->text_size, err));
        WEFT_TRY(peek(r, &c, err));
    }
    *ret = c;
    return put(r, '\0', err);
}

static weft_status skip_line(weft_records *r, weft_err *err)
{
    int c = 0;
    do {
        WEFT_TRY(peek(r, &c, err));
        r->block_at += c != END;
    } while (c != END && c != '\n');
    r->next_line++;
    return WEFT_OK;
}

static weft_status skip_mark(weft_records *r, weft_err *err)
{
    if (r->started) {
        return WEFT_OK;
    }
    r->started = true;
    static const uint8_t mark[3] = {0xef, 0xbb, 0xbf}; /* UTF-8's byte order mark */
    for (size_t i = 0; i < sizeof mark; i++) {
        int c = 0;
        WEFT_TRY(peek(r, &c, err));
        if (c != mark[i]) {
            if (i > 0) {
                WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s starts with half a byte order mark",
                          r->source->name);
            }
            return WEFT_OK;
        }
        r->block_at++;
    }
    return WEFT_OK;
}

static weft_status read_record(weft_records *r, weft_err *err)
{
    r->line = r->next_line;
    r->text_size = 0;
    r->n_cells = 0;
    for (;;) {
        int c = 0;
        WEFT_TRY(read_cell(r, &c, err));
        r->block_at += c != END;
        if (c == END) {
            return WEFT_OK;
        }
        if (c == '\n') {
            r->next_line++;
            return WEFT_OK;
        }
    }
}

weft_status weft_records_next(weft_records *r, bool *ret_any, weft_err *err)
{
    WEFT_TRY(skip_mark(r, err));
    for (;;) {
        int c = 0;
        WEFT_TRY(peek(r, &c, err));
        if (c == END) {
            *ret_any = false;
            return WEFT_OK;
        }
        if (r->comment != '\0' && c == (unsigned char)r->comment) {
            WEFT_TRY(skip_line(r, err));
            continue;
        }
        WEFT_TRY(read_record(r, err));
        if (r->n_cells > 1 || r->text[0] != '\0') {
            *ret_any = true;
            return WEFT_OK;
        }
    }
}
