/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_buf: bytes that grow up to a maximum fixed at the start. Owner thread only.
 * weft_view: bytes of somebody else. weft_reader: a cursor that never reads past the end.
 */
#ifndef WEFT_BUF_H
#define WEFT_BUF_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct weft_view {
    const uint8_t *data;
    size_t size;
} weft_view;

typedef struct weft_buf {
    const weft_alloc *alloc;
    uint8_t *data; /* owned; [cap] */
    size_t size;   /* size <= cap <= max */
    size_t cap;
    size_t max;
} weft_buf;

/** An empty buffer that may grow to max bytes. Nothing is allocated yet. */
void weft_buf_init(weft_buf *b, const weft_alloc *a, size_t max);
/** Free the bytes; the buffer is as after init. NULL is allowed. */
void weft_buf_done(weft_buf *b);
/** Forget the content, keep the memory. */
void weft_buf_clear(weft_buf *b);
/** Append n bytes. WEFT_E_LIMIT above max, WEFT_E_NOMEM; the buffer is unchanged then. */
WEFT_NODISCARD weft_status weft_buf_add(weft_buf *b, const void *data, size_t n, weft_err *err);
/** Append n bytes for the caller to write at *ret, all of them, before the next change. Otherwise
 * as weft_buf_add. */
WEFT_NODISCARD weft_status weft_buf_extend(uint8_t **ret, weft_buf *b, size_t n, weft_err *err);
/** Append formatted text (no terminating zero). Errors as weft_buf_add. */
WEFT_NODISCARD weft_status weft_buf_addf(weft_buf *b, weft_err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** Append little-endian integers. */
WEFT_NODISCARD weft_status weft_buf_add_u32(weft_buf *b, uint32_t v, weft_err *err);
WEFT_NODISCARD weft_status weft_buf_add_u64(weft_buf *b, uint64_t v, weft_err *err);
/** The content as a zero-terminated string, valid until the next change; NULL when out of memory.
 */
const char *weft_buf_text(weft_buf *b);
/** The content as a view, valid until the next change. */
weft_view weft_buf_view(const weft_buf *b);

typedef struct weft_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed; /* set once a read went past the end; all later reads fail, too */
} weft_reader;

void weft_reader_init(weft_reader *r, const void *data, size_t size);
size_t weft_reader_left(const weft_reader *r);
/** n bytes in place, or NULL when fewer are left. */
const uint8_t *weft_reader_take(weft_reader *r, size_t n);
/** Little-endian integers; 0 (and failed) when too few bytes are left. */
uint16_t weft_reader_u16(weft_reader *r);
uint32_t weft_reader_u32(weft_reader *r);
uint64_t weft_reader_u64(weft_reader *r);

/** out needs 2 * n + 1 bytes; lower case, zero-terminated. */
void weft_hex_encode(char *out, const uint8_t *data, size_t n);
/** Exactly 2 * n hexadecimal digits of text; false otherwise. */
bool weft_hex_decode(uint8_t *out, size_t n, const char *text, size_t text_size);

/** Nothing but zero bytes? Then a hole in a file says the same. */
bool weft_bytes_zero(const void *data, size_t n);

#endif
