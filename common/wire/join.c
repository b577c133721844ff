/* SPDX-License-Identifier: Apache-2.0 */
/* Join files: base64 (RFC 4648) between two lines. Pure, any thread. */
#include "wire/join.h"

#include <string.h>

#define BEGIN_LINE "-----BEGIN WEFT JOIN-----"
#define END_LINE   "-----END WEFT JOIN-----"

enum { LINE_COLUMNS = 64 };

/* The compiler may not leave it out: the bytes were a secret. */
static void wipe(weft_buf *buf)
{
    volatile uint8_t *p = buf->data;
    for (size_t i = 0; i < buf->cap; i++) {
        p[i] = 0;
    }
    weft_buf_done(buf);
}

static weft_status add_base64(weft_buf *out, const uint8_t *data, size_t n, weft_err *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        const size_t left = n - i < 3 ? n - i : 3;
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++) {
            v = v << 8 | (k < left ? data[i + k] : 0U);
        }
        char quad[4] = {digits[v >> 18], digits[v >> 12 & 63], '=', '='};
        if (left > 1) {
            quad[2] = digits[v >> 6 & 63];
        }
        if (left > 2) {
            quad[3] = digits[v & 63];
        }
        WEFT_TRY(weft_buf_add(out, quad, sizeof quad, err));
        if ((i / 3 + 1) * 4 % LINE_COLUMNS == 0 || n - i <= 3) {
            WEFT_TRY(weft_buf_add(out, "\n", 1, err));
        }
    }
    return WEFT_OK;
}

weft_status weft_join_write(weft_buf *out, const weft_msg_join_file *join, weft_err *err)
{
    weft_buf bytes;
    weft_buf_init(&bytes, out->alloc, WEFT_MAX_JOIN_BYTES);
    weft_status status = weft_msg_join_file_encode(&bytes, join, err);
    if (status == WEFT_OK) {
        status = weft_buf_add(out, BEGIN_LINE "\n", sizeof BEGIN_LINE, err);
    }
    if (status == WEFT_OK) {
        status = add_base64(out, bytes.data, bytes.size, err);
    }
    if (status == WEFT_OK) {
        status = weft_buf_add(out, END_LINE "\n", sizeof END_LINE, err);
    }
    wipe(&bytes);
    return status;
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+') {
        return 62;
    }
    return c == '/' ? 63 : -1;
}

/* Strict: whole groups of four, padding at the end only, its unused bits zero. */
static weft_status decode_base64(weft_buf *out, const char *text, size_t size, weft_err *err)
{
    uint32_t v = 0;
    unsigned digits = 0;
    unsigned pads = 0;
    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
            continue;
        }
        const int value = c == '=' && digits >= 2 ? 0 : digit_value(c);
        if (value < 0 || (pads && (c != '=' || digits == 0))) {
            WEFT_FAIL(err, WEFT_E_FORMAT,
                      "the join file's text holds a character that base64 does "
                      "not have: was it changed on its way?");
        }
        pads += c == '=';
        v = v << 6 | (uint32_t)value;
        if (++digits < 4) {
            continue;
        }
        const uint8_t three[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
        const bool loose = pads && (pads > 2 || three[3 - pads] != 0);
        if (loose || (pads == 2 && three[2] != 0)) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "the join file's text ends badly: was it changed?");
        }
        WEFT_TRY(weft_buf_add(out, three, 3 - pads, err));
        digits = 0;
        v = 0;
    }
    if (digits % 4 != 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the join file's text is cut short: copy it whole");
    }
    return WEFT_OK;
}

weft_status weft_join_parse(weft_msg_join_file *ret, const char *text, size_t size,
                            weft_arena *arena, weft_err *err)
{
    if (size > WEFT_MAX_JOIN_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the join file has %zu bytes, at most %u are allowed", size,
                  WEFT_MAX_JOIN_BYTES);
    }
    const char *begin = size ? memmem(text, size, BEGIN_LINE, sizeof BEGIN_LINE - 1) : NULL;
    if (!begin) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the join file lacks its line \"%s\"", BEGIN_LINE);
    }
    begin += sizeof BEGIN_LINE - 1;
    const size_t left = size - (size_t)(begin - text);
    const char *end = memmem(begin, left, END_LINE, sizeof END_LINE - 1);
    if (!end) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the join file lacks its line \"%s\": copy it whole",
                  END_LINE);
    }
    weft_buf bytes;
    weft_buf_init(&bytes, arena->alloc, WEFT_MAX_JOIN_BYTES);
    weft_status status = decode_base64(&bytes, begin, (size_t)(end - begin), err);
    if (status == WEFT_OK) {
        status = weft_msg_join_file_decode(ret, bytes.data, bytes.size, arena, err);
    }
    wipe(&bytes);
    return status;
}
