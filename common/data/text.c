/* SPDX-License-Identifier: Apache-2.0 */
/* Text -> roles -> windows of characters. Any thread. */
#include "data/text.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"

#include <string.h>

enum { FIRST_ROLES = 64, READ_BYTES = 1 << 16 };

typedef struct role {
    char *name;     /* owned */
    uint64_t count; /* characters */
    uint64_t start; /* of its characters */
    uint64_t fill;  /* characters that are in place */
} role;

typedef struct reader {
    const weft_alloc *alloc;
    const char *text; /* [size] */
    size_t size;
    role *roles; /* [n_roles] of room, owned */
    uint32_t n_roles;
    uint32_t room;
    uint8_t *classes; /* [all characters], by roles; owned; NULL in the first pass */
} reader;

uint32_t weft_text_class(uint8_t byte)
{
    return byte == '\n' ? 0 : byte >= 0x20 && byte < 0x7f ? byte - 0x1fU : WEFT_TEXT_CLASSES - 1U;
}

/* ---- roles ----------------------------------------------------------------------------------- */

/* NAME: of a block's first line; the name's size, or 0. */
static size_t role_name(const char *line, size_t n)
{
    return n >= 2 && n <= WEFT_MAX_NAME_BYTES + 1 && line[n - 1] == ':' ? n - 1 : 0;
}

static weft_status add_role(reader *r, const char *name, size_t n, weft_err *err)
{
    if (r->n_roles == WEFT_MAX_TEXT_ROLES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the text has more than %u roles", WEFT_MAX_TEXT_ROLES);
    }
    if (r->n_roles == r->room) {
        const uint32_t room = r->room ? 2 * r->room : FIRST_ROLES;
        role *grown = weft_array_resize(r->alloc, r->roles, room, sizeof *grown);
        if (!grown) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %u roles", room);
        }
        r->roles = grown;
        r->room = room;
    }
    char *copy = weft_string_copy(r->alloc, name, n);
    if (!copy) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a role");
    }
    r->roles[r->n_roles++] = (role){.name = copy};
    return WEFT_OK;
}

/* Blocks of one role follow each other rarely: all roles are compared, and they are few. */
static weft_status find_role(reader *r, uint32_t *ret, const char *name, size_t n, weft_err *err)
{
    for (uint32_t i = 0; i < r->n_roles; i++) {
        const char *known = r->roles[i].name;
        if (strncmp(known, name, n) == 0 && known[n] == '\0') {
            *ret = i;
            return WEFT_OK;
        }
    }
    WEFT_TRY(add_role(r, name, n, err));
    *ret = r->n_roles - 1;
    return WEFT_OK;
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* Counts the characters of a line and its end, or in the second pass keeps their classes. */
static void take_line(reader *r, role *to, const char *line, size_t n)
{
    for (size_t i = 0; i <= n && r->classes; i++) {
        const uint8_t byte = i < n ? (uint8_t)line[i] : (uint8_t)'\n';
        r->classes[to->start + to->fill++] = (uint8_t)weft_text_class(byte);
    }
    to->count += r->classes ? 0 : n + 1;
}

static weft_status walk(reader *r, weft_err *err)
{
    uint32_t current = UINT32_MAX;
    bool block_begins = true;
    for (size_t at = 0; at < r->size;) {
        const char *line = r->text + at;
        const char *end = memchr(line, '\n', r->size - at);
        size_t n = end ? (size_t)(end - line) : r->size - at;
        at += n + 1;
        n -= n > 0 && line[n - 1] == '\r';
        const size_t name = block_begins ? role_name(line, n) : 0;
        block_begins = n == 0;
        if (name > 0 || (n > 0 && current == UINT32_MAX)) {
            WEFT_TRY(find_role(r, &current, line, name, err));
        }
        if (name == 0 && n > 0) {
            take_line(r, &r->roles[current], line, n);
        }
    }
    return WEFT_OK;
}

/* ---- windows --------------------------------------------------------------------------------- */

/* Predicted characters of a role: the second, and each stride from there. */
static uint64_t windows_of(const role *of, uint32_t stride)
{
    return of->count < 2 ? 0 : (of->count - 2) / stride + 1;
}

static void fill_windows(weft_data *d, const reader *r, uint32_t window, uint32_t stride)
{
    size_t at = 0;
    for (uint32_t i = 0; i < r->n_roles; i++) {
        const uint8_t *text = r->classes + r->roles[i].start;
        for (uint64_t next = 1; next < r->roles[i].count; next += stride, at++) {
            float *x = d->f32 + at * window;
            const uint64_t known = next < window ? next : window;
            for (uint64_t k = 0; k < window; k++) {
                x[k] = k < known ? (float)text[next - known + k] : -1.0F;
            }
            d->classes[at] = text[next];
            d->groups[at] = i;
        }
    }
}

/* The roles' names go over to the data. */
static weft_status add_groups(weft_data *d, reader *r, weft_err *err)
{
    d->groups = weft_array(r->alloc, d->n, sizeof *d->groups);
    d->group_names = weft_array(r->alloc, r->n_roles, sizeof *d->group_names);
    if (!d->groups || !d->group_names) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the roles of %u examples", d->n);
    }
    d->n_groups = r->n_roles;
    for (uint32_t i = 0; i < r->n_roles; i++) {
        d->group_names[i] = r->roles[i].name;
        r->roles[i].name = NULL;
    }
    return WEFT_OK;
}

static weft_status make(weft_data **ret, reader *r, uint32_t window, uint32_t stride, weft_err *err)
{
    uint64_t total = 0;
    uint64_t n = 0;
    for (uint32_t i = 0; i < r->n_roles; i++) {
        r->roles[i].start = total;
        total += r->roles[i].count;
        n += windows_of(&r->roles[i], stride);
    }
    if (n == 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the text has no role with two characters");
    }
    r->classes = weft_array(r->alloc, (size_t)total, 1);
    if (!r->classes) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %llu characters", (unsigned long long)total);
    }
    WEFT_TRY(walk(r, err));
    weft_data *d = NULL;
    const weft_shape shape = {2, window, 1, 1};
    WEFT_TRY(weft_data_new(&d, n, shape, WEFT_FEATURE_F32, WEFT_LABEL_CLASS, WEFT_TEXT_CLASSES,
                           r->alloc, err));
    const weft_status status = add_groups(d, r, err);
    if (status != WEFT_OK) {
        weft_data_free(d);
        return status;
    }
    fill_windows(d, r, window, stride);
    *ret = d;
    return WEFT_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static weft_status read_all(weft_buf *text, weft_source *source, weft_err *err)
{
    for (;;) {
        uint8_t block[READ_BYTES];
        size_t got = 0;
        WEFT_TRY(source->read(source->self, block, sizeof block, &got, err));
        if (got == 0) {
            return WEFT_OK;
        }
        if (got > WEFT_MAX_TEXT_BYTES - text->size) {
            WEFT_FAIL(err, WEFT_E_LIMIT, "%.120s has more than %u bytes", source->name,
                      WEFT_MAX_TEXT_BYTES);
        }
        WEFT_TRY(weft_buf_add(text, block, got, err));
    }
}

static void reader_done(reader *r)
{
    for (uint32_t i = 0; i < r->n_roles; i++) {
        weft_free(r->alloc, r->roles[i].name);
    }
    weft_free(r->alloc, r->roles);
    weft_free(r->alloc, r->classes);
}

weft_status weft_text_read(weft_data **ret, weft_source *source, uint32_t window, uint32_t stride,
                           const weft_alloc *a, weft_err *err)
{
    if (window == 0 || window > WEFT_MAX_TEXT_WINDOW || stride == 0) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a window of %u characters, each %u: 1 to %u, from 1 on",
                  window, stride, WEFT_MAX_TEXT_WINDOW);
    }
    weft_buf text;
    weft_buf_init(&text, a, WEFT_MAX_TEXT_BYTES);
    reader r = {.alloc = a};
    weft_status status = read_all(&text, source, err);
    if (status == WEFT_OK) {
        r.text = (const char *)text.data;
        r.size = text.size;
        status = walk(&r, err);
    }
    if (status == WEFT_OK) {
        status = make(ret, &r, window, stride, err);
    }
    reader_done(&r);
    weft_buf_done(&text);
    return status;
}

weft_status weft_text_load(weft_data **ret, const char *path, uint32_t window, uint32_t stride,
                           const weft_alloc *a, weft_err *err)
{
    weft_source source;
    WEFT_TRY(weft_source_open(&source, path, err));
    const weft_status status = weft_text_read(ret, &source, window, stride, a, err);
    weft_source_close(&source);
    return status;
}
