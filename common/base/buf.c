/* SPDX-License-Identifier: Apache-2.0 */
/* Growing buffers, readers and hexadecimal text. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void weft_buf_init(weft_buf *b, const weft_alloc *a, size_t max)
{
    memset(b, 0, sizeof *b);
    b->alloc = a;
    b->max = max;
}

void weft_buf_done(weft_buf *b)
{
    if (b) {
        weft_free(b->alloc, b->data);
        b->data = NULL;
        b->size = 0;
        b->cap = 0;
    }
}

void weft_buf_clear(weft_buf *b)
{
    b->size = 0;
}

static weft_status reserve(weft_buf *b, size_t more, weft_err *err)
{
    if (more > b->max - b->size) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%zu bytes and %zu more pass the limit of %zu", b->size, more,
                  b->max);
    }
    const size_t want = b->size + more;
    if (want <= b->cap) {
        return WEFT_OK;
    }
    size_t cap = b->cap > b->max / 2 ? b->max : b->cap * 2;
    cap = cap < want ? want : cap;
    cap = cap < 64 && b->max >= 64 ? 64 : cap;
    uint8_t *data = b->alloc->resize(b->alloc->self, b->data, cap);
    if (!data) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %zu bytes", cap);
    }
    b->data = data;
    b->cap = cap;
    return WEFT_OK;
}

weft_status weft_buf_add(weft_buf *b, const void *data, size_t n, weft_err *err)
{
    if (n == 0) {
        return WEFT_OK;
    }
    WEFT_TRY(reserve(b, n, err));
    memcpy(b->data + b->size, data, n);
    b->size += n;
    return WEFT_OK;
}

weft_status weft_buf_extend(uint8_t **ret, weft_buf *b, size_t n, weft_err *err)
{
    WEFT_TRY(reserve(b, n, err));
    *ret = b->data + b->size;
    b->size += n;
    return WEFT_OK;
}

weft_status weft_buf_addf(weft_buf *b, weft_err *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        WEFT_FAIL(err, WEFT_E_INTERNAL, "a format was refused");
    }
    /* one byte more for the zero that vsnprintf writes; it is not counted */
    if (b->size + (size_t)n == b->max) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "text of %d bytes passes the limit of %zu", n, b->max);
    }
    WEFT_TRY(reserve(b, (size_t)n + 1, err));
    va_start(args, format);
    (void)vsnprintf((char *)b->data + b->size, (size_t)n + 1, format, args); /* fits: measured */
    va_end(args);
    b->size += (size_t)n;
    return WEFT_OK;
}

weft_status weft_buf_add_u32(weft_buf *b, uint32_t v, weft_err *err)
{
    uint8_t le[4];
    for (size_t i = 0; i < sizeof le; i++) {
        le[i] = (uint8_t)(v >> (8 * i));
    }
    return weft_buf_add(b, le, sizeof le, err);
}

weft_status weft_buf_add_u64(weft_buf *b, uint64_t v, weft_err *err)
{
    uint8_t le[8];
    for (size_t i = 0; i < sizeof le; i++) {
        le[i] = (uint8_t)(v >> (8 * i));
    }
    return weft_buf_add(b, le, sizeof le, err);
}

const char *weft_buf_text(weft_buf *b)
{
    if (b->size == b->cap) {
        uint8_t *data = b->alloc->resize(b->alloc->self, b->data, b->size + 1);
        if (!data) {
            return NULL;
        }
        b->data = data;
        b->cap = b->size + 1;
    }
    b->data[b->size] = '\0';
    return (const char *)b->data;
}

weft_view weft_buf_view(const weft_buf *b)
{
    return (weft_view){b->data, b->size};
}

void weft_reader_init(weft_reader *r, const void *data, size_t size)
{
    r->at = data;
    r->end = size ? r->at + size : r->at;
    r->failed = false;
}

size_t weft_reader_left(const weft_reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->at);
}

const uint8_t *weft_reader_take(weft_reader *r, size_t n)
{
    if (r->failed || n > (size_t)(r->end - r->at)) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += n;
    return p;
}

static uint64_t read_le(weft_reader *r, size_t n)
{
    const uint8_t *p = weft_reader_take(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

uint16_t weft_reader_u16(weft_reader *r)
{
    return (uint16_t)read_le(r, 2);
}

uint32_t weft_reader_u32(weft_reader *r)
{
    return (uint32_t)read_le(r, 4);
}

uint64_t weft_reader_u64(weft_reader *r)
{
    return read_le(r, 8);
}

void weft_hex_encode(char *out, const uint8_t *data, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    out[2 * n] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool weft_hex_decode(uint8_t *out, size_t n, const char *text, size_t text_size)
{
    if (text_size / 2 != n || text_size % 2 != 0) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const int high = hex_value(text[2 * i]);
        const int low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

bool weft_bytes_zero(const void *data, size_t n)
{
    const uint8_t *bytes = data;
    return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}
