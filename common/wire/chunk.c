/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks: head writer, parser over pieces, order of a stream. Pure, any thread. */
#include "wire/chunk.h"

#include <string.h>

enum { TYPE_VARINT = 0, TYPE_64 = 1, TYPE_BYTES = 2, TYPE_32 = 5 };
enum { FIELD_OFFSET = 1, FIELD_TOTAL = 2, FIELD_DIGEST = 3, FIELD_DATA = 15 };
/* more fields than any sender has reason for */
enum { MAX_FIELDS = 64 };

/* ---- writing -------------------------------------------------------------------------------- */

static size_t put_varint(uint8_t *out, uint64_t v)
{
    size_t n = 0;
    while (v > 0x7F) {
        out[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    out[n++] = (uint8_t)v;
    return n;
}

static size_t put_head(uint8_t *out, const weft_chunk *chunk)
{
    size_t n = 0;
    if (chunk->offset) {
        out[n++] = FIELD_OFFSET << 3 | TYPE_VARINT;
        n += put_varint(out + n, chunk->offset);
    }
    if (chunk->total_bytes) {
        out[n++] = FIELD_TOTAL << 3 | TYPE_VARINT;
        n += put_varint(out + n, chunk->total_bytes);
    }
    if (chunk->has_digest) {
        out[n++] = FIELD_DIGEST << 3 | TYPE_BYTES;
        out[n++] = WEFT_CHUNK_DIGEST_BYTES;
        memcpy(out + n, chunk->digest, WEFT_CHUNK_DIGEST_BYTES);
        n += WEFT_CHUNK_DIGEST_BYTES;
    }
    if (chunk->data_bytes) {
        out[n++] = FIELD_DATA << 3 | TYPE_BYTES;
        n += put_varint(out + n, chunk->data_bytes);
    }
    return n;
}

size_t weft_chunk_write_head(uint8_t *out, const weft_chunk *chunk, bool in_part)
{
    if (!in_part) {
        return put_head(out, chunk);
    }
    uint8_t inner[WEFT_CHUNK_MAX_HEAD_BYTES];
    const size_t n = put_head(inner, chunk);
    size_t at = 0;
    out[at++] = WEFT_PART_CHUNK << 3 | TYPE_BYTES;
    at += put_varint(out + at, (uint64_t)n + chunk->data_bytes);
    memcpy(out + at, inner, n);
    return at + n;
}

/* ---- pieces --------------------------------------------------------------------------------- */

/* Walks bytes [at, end) of a message that lies in pieces. */
typedef struct cursor {
    const weft_view *pieces;
    size_t n_pieces;
    size_t piece;  /* the present one */
    size_t inside; /* position in it */
    size_t at;     /* position in the message */
    size_t end;
    bool failed;
} cursor;

static void cursor_skip(cursor *c, uint64_t n)
{
    if (c->failed || n > c->end - c->at) {
        c->failed = true;
        return;
    }
    size_t left = (size_t)n;
    c->at += left;
    while (left > 0 && c->piece < c->n_pieces) {
        const size_t here = c->pieces[c->piece].size - c->inside;
        if (left < here) {
            c->inside += left;
            return;
        }
        left -= here;
        c->piece++;
        c->inside = 0;
    }
    c->failed = left > 0;
}

static cursor cursor_at(const weft_view *pieces, size_t n_pieces, size_t at, size_t size)
{
    cursor c = {pieces, n_pieces, 0, 0, 0, at, false};
    cursor_skip(&c, at);
    if (size > SIZE_MAX - at) {
        c.failed = true;
    } else {
        c.end = at + size;
    }
    return c;
}

static uint8_t cursor_byte(cursor *c)
{
    while (c->piece < c->n_pieces && c->inside == c->pieces[c->piece].size) {
        c->piece++;
        c->inside = 0;
    }
    if (c->failed || c->at >= c->end || c->piece >= c->n_pieces) {
        c->failed = true;
        return 0;
    }
    c->at++;
    return c->pieces[c->piece].data[c->inside++];
}

static uint64_t cursor_varint(cursor *c)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t byte = cursor_byte(c);
        if (shift == 63 && byte > 1) {
            c->failed = true;
        }
        v |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80 || c->failed) {
            return c->failed ? 0 : v;
        }
    }
    c->failed = true;
    return 0;
}

/* A bytes field's length; it fits into what is left. */
static size_t cursor_length(cursor *c)
{
    const uint64_t n = cursor_varint(c);
    if (c->failed || n > c->end - c->at) {
        c->failed = true;
        return 0;
    }
    return (size_t)n;
}

static void cursor_skip_value(cursor *c, unsigned type)
{
    switch (type) {
    case TYPE_VARINT:
        (void)cursor_varint(c); /* failure stays in c */
        break;
    case TYPE_64:
        cursor_skip(c, 8);
        break;
    case TYPE_BYTES:
        cursor_skip(c, cursor_length(c));
        break;
    case TYPE_32:
        cursor_skip(c, 4);
        break;
    default:
        c->failed = true;
        break;
    }
}

size_t weft_pieces_bytes(const weft_view *pieces, size_t n_pieces)
{
    size_t n = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        n += pieces[i].size;
    }
    return n;
}

size_t weft_pieces_range(weft_view *out, const weft_view *pieces, size_t n_pieces, size_t at,
                         size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < n_pieces && size > 0; i++) {
        if (at >= pieces[i].size) {
            at -= pieces[i].size;
            continue;
        }
        const size_t here = pieces[i].size - at < size ? pieces[i].size - at : size;
        out[n++] = (weft_view){pieces[i].data + at, here};
        size -= here;
        at = 0;
    }
    return size > 0 ? 0 : n;
}

bool weft_pieces_copy(uint8_t *out, const weft_view *pieces, size_t n_pieces, size_t at,
                      size_t size)
{
    for (size_t i = 0; i < n_pieces && size > 0; i++) {
        if (at >= pieces[i].size) {
            at -= pieces[i].size;
            continue;
        }
        const size_t here = pieces[i].size - at < size ? pieces[i].size - at : size;
        memcpy(out, pieces[i].data + at, here);
        out += here;
        size -= here;
        at = 0;
    }
    return size == 0;
}

/* ---- parsing -------------------------------------------------------------------------------- */

weft_status weft_part_parse(weft_part_kind *ret, size_t *ret_at, size_t *ret_size,
                            const weft_view *pieces, size_t n_pieces, weft_err *err)
{
    cursor c = cursor_at(pieces, n_pieces, 0, weft_pieces_bytes(pieces, n_pieces));
    uint64_t found = 0;
    size_t at = 0;
    size_t size = 0;
    for (unsigned fields = 0; !c.failed && c.at < c.end; fields++) {
        const uint64_t head = cursor_varint(&c);
        const uint64_t number = head >> 3;
        const bool known = number == WEFT_PART_HEADER || number == WEFT_PART_CHUNK;
        if (number == 0 || fields >= MAX_FIELDS || (known && (found || (head & 7) != TYPE_BYTES))) {
            c.failed = true;
        } else if (known) {
            found = number;
            size = cursor_length(&c);
            at = c.at;
            cursor_skip(&c, size);
        } else {
            cursor_skip_value(&c, (unsigned)(head & 7));
        }
    }
    if (c.failed || !found) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a message of %zu bytes is neither one header nor one chunk",
                  c.end);
    }
    *ret = found == WEFT_PART_HEADER ? WEFT_PART_HEADER : WEFT_PART_CHUNK;
    *ret_at = at;
    *ret_size = size;
    return WEFT_OK;
}

static void parse_field(cursor *c, weft_chunk *chunk, size_t *data_at, uint64_t *data_bytes)
{
    const uint64_t head = cursor_varint(c);
    switch (head) {
    case FIELD_OFFSET << 3 | TYPE_VARINT:
        chunk->offset = cursor_varint(c);
        break;
    case FIELD_TOTAL << 3 | TYPE_VARINT:
        chunk->total_bytes = cursor_varint(c);
        break;
    case FIELD_DIGEST << 3 | TYPE_BYTES: {
        const size_t n = cursor_length(c);
        c->failed |= n != WEFT_CHUNK_DIGEST_BYTES && n != 0;
        for (size_t i = 0; i < n && !c->failed; i++) {
            chunk->digest[i] = cursor_byte(c);
        }
        chunk->has_digest = n != 0;
        break;
    }
    case FIELD_DATA << 3 | TYPE_BYTES:
        *data_bytes = cursor_length(c);
        *data_at = c->at;
        cursor_skip(c, *data_bytes);
        break;
    default:
        c->failed |= head >> 3 == 0 || head >> 3 == FIELD_OFFSET || head >> 3 == FIELD_TOTAL ||
                     head >> 3 == FIELD_DIGEST || head >> 3 == FIELD_DATA;
        cursor_skip_value(c, (unsigned)(head & 7));
        break;
    }
}

weft_status weft_chunk_parse(weft_chunk *ret, size_t *ret_data_at, const weft_view *pieces,
                             size_t n_pieces, size_t at, size_t size, weft_err *err)
{
    cursor c = cursor_at(pieces, n_pieces, at, size);
    weft_chunk chunk = {0};
    size_t data_at = at;
    uint64_t data_bytes = 0;
    for (unsigned fields = 0; !c.failed && c.at < c.end; fields++) {
        parse_field(&c, &chunk, &data_at, &data_bytes);
        c.failed |= fields >= MAX_FIELDS;
    }
    if (c.failed) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a chunk of %zu bytes is cut short or not a message", size);
    }
    if (data_bytes > WEFT_MAX_CHUNK_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a chunk holds %llu bytes, at most %u are allowed",
                  (unsigned long long)data_bytes, WEFT_MAX_CHUNK_BYTES);
    }
    chunk.data_bytes = (uint32_t)data_bytes;
    *ret = chunk;
    *ret_data_at = data_at;
    return WEFT_OK;
}

/* ---- order ---------------------------------------------------------------------------------- */

void weft_chunk_stream_init(weft_chunk_stream *s, uint64_t start, uint64_t max_total)
{
    memset(s, 0, sizeof *s);
    s->next = start;
    s->max_total = max_total;
}

void weft_chunk_stream_expect(weft_chunk_stream *s, uint64_t total)
{
    s->total = total;
    s->has_total = true;
}

weft_status weft_chunk_stream_take(weft_chunk_stream *s, const weft_chunk *chunk, weft_err *err)
{
    if (chunk->total_bytes > s->max_total) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%llu bytes are offered, at most %llu are allowed",
                  (unsigned long long)chunk->total_bytes, (unsigned long long)s->max_total);
    }
    if (s->has_total && chunk->total_bytes != s->total) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a chunk says %llu bytes in total, the stream %llu",
                  (unsigned long long)chunk->total_bytes, (unsigned long long)s->total);
    }
    if (chunk->offset != s->next) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a chunk begins at %llu, want %llu",
                  (unsigned long long)chunk->offset, (unsigned long long)s->next);
    }
    if (chunk->offset > chunk->total_bytes ||
        chunk->data_bytes > chunk->total_bytes - chunk->offset) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a chunk of %u bytes at %llu passes the total of %llu",
                  chunk->data_bytes, (unsigned long long)chunk->offset,
                  (unsigned long long)chunk->total_bytes);
    }
    if (chunk->data_bytes == 0 && chunk->offset < chunk->total_bytes) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a chunk at %llu of %llu holds no data",
                  (unsigned long long)chunk->offset, (unsigned long long)chunk->total_bytes);
    }
    if (chunk->has_digest && s->has_digest &&
        memcmp(chunk->digest, s->digest, sizeof s->digest) != 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a chunk at %llu names another digest than the first",
                  (unsigned long long)chunk->offset);
    }
    if (chunk->has_digest) {
        memcpy(s->digest, chunk->digest, sizeof s->digest);
        s->has_digest = true;
    }
    s->total = chunk->total_bytes;
    s->has_total = true;
    s->next += chunk->data_bytes;
    return WEFT_OK;
}

bool weft_chunk_stream_complete(const weft_chunk_stream *s)
{
    return s->has_total && s->next == s->total;
}
