/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_part_parse, weft_chunk_parse, weft_chunk_stream_take, weft_pieces_range */
/*
 * Byte 0: where the message is cut into pieces. The parse of the pieces must be that of the whole;
 * the data lie inside the message; a chunk that parsed is written back as a chunk that parses to
 * the same; a stream never passes its total.
 */
#include "wire/chunk.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

enum { MAX_PIECES = 64 };

static size_t cut(weft_view *pieces, const uint8_t *data, size_t size, size_t step)
{
    size_t n = 0;
    for (size_t at = 0; at < size || n == 0; n++) {
        const size_t here = n == MAX_PIECES - 1 || size - at < step ? size - at : step;
        pieces[n] = (weft_view){data + at, here};
        at += here;
    }
    return n;
}

static bool same(const weft_chunk *a, const weft_chunk *b)
{
    return a->offset == b->offset && a->total_bytes == b->total_bytes &&
           a->has_digest == b->has_digest && a->data_bytes == b->data_bytes &&
           (!a->has_digest || memcmp(a->digest, b->digest, sizeof a->digest) == 0);
}

static void write_back(const weft_chunk *c, const uint8_t *data)
{
    const size_t room = WEFT_CHUNK_MAX_HEAD_BYTES + c->data_bytes;
    uint8_t *bytes = malloc(room);
    weft_chunk back;
    size_t data_at = 0;
    require(bytes != NULL);
    const size_t n = weft_chunk_write_head(bytes, c, false);
    require(n <= WEFT_CHUNK_MAX_HEAD_BYTES);
    memcpy(bytes + n, data, c->data_bytes);
    const weft_view piece = {bytes, n + c->data_bytes};
    require(weft_chunk_parse(&back, &data_at, &piece, 1, 0, piece.size, NULL) == WEFT_OK);
    require(same(c, &back) && (c->data_bytes == 0 || data_at == n));
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    weft_view pieces[MAX_PIECES];
    const size_t n = cut(pieces, data + 1, size - 1, data[0] ? data[0] : 1);
    const weft_view whole = {data + 1, size - 1};
    weft_part_kind kind = WEFT_PART_HEADER;
    size_t at = 0;
    size_t bytes = size - 1;
    if (weft_part_parse(&kind, &at, &bytes, pieces, n, NULL) == WEFT_OK) {
        require(at + bytes <= size - 1);
    } else {
        at = 0;
        bytes = size - 1;
    }
    weft_chunk a;
    weft_chunk b;
    size_t a_at = 0;
    size_t b_at = 0;
    const weft_status first = weft_chunk_parse(&a, &a_at, pieces, n, at, bytes, NULL);
    require(first == weft_chunk_parse(&b, &b_at, &whole, 1, at, bytes, NULL));
    if (first != WEFT_OK) {
        return 0;
    }
    require(same(&a, &b) && a_at == b_at);
    require(a_at >= at && a_at + a.data_bytes <= at + bytes);
    weft_view range[MAX_PIECES];
    const size_t n_range = weft_pieces_range(range, pieces, n, a_at, a.data_bytes);
    require(weft_pieces_bytes(range, n_range) == a.data_bytes);
    write_back(&a, data + 1 + a_at);
    weft_chunk_stream s;
    weft_chunk_stream_init(&s, a.offset, 1U << 30);
    if (weft_chunk_stream_take(&s, &a, NULL) == WEFT_OK) {
        require(s.next <= s.total && s.total <= 1U << 30);
    }
    return 0;
}
