/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk bytes: weft.v1.Chunk without copying. A sender writes the small fields and the header of
 * `data` (its number is the highest, so it comes last), then sends {head bytes, slice of the shared
 * buffer} as one message: on the wire that is an ordinary protobuf message. A receiver gets a
 * message as pieces that may be cut at any byte; the parser finds where the data lie in them.
 *
 * Why not the generated code, as for all other messages: protobuf-c unpacks only contiguous bytes
 * and copies each bytes field, two copies of every model and update that passes. This is the same
 * wire format; test_wire_chunk compares it with the generated code, byte for byte.
 *
 *   [0x12 varint(chunk bytes)]      only inside an UpdatePart or ImportPart
 *   0x08 varint(offset)             absent when 0
 *   0x10 varint(total_bytes)        absent when 0
 *   0x1A 0x20 digest[32]            first chunk of a stream
 *   0x7A varint(data bytes) data    absent when empty
 *
 * Pure; any thread.
 */
#ifndef WEFT_WIRE_CHUNK_H
#define WEFT_WIRE_CHUNK_H

#include "base/buf.h"
#include "base/limits.h"

#define WEFT_CHUNK_DIGEST_BYTES 32
/* Most that weft_chunk_write_head writes. */
#define WEFT_CHUNK_MAX_HEAD_BYTES 80

typedef struct weft_chunk {
    uint64_t offset;
    uint64_t total_bytes;
    bool has_digest;
    uint8_t digest[WEFT_CHUNK_DIGEST_BYTES];
    uint32_t data_bytes; /* at most WEFT_MAX_CHUNK_BYTES */
} weft_chunk;

/**
 * The bytes before the data.
 * @param out      [WEFT_CHUNK_MAX_HEAD_BYTES]
 * @param in_part  wrapped as the `chunk` of an UpdatePart or ImportPart.
 * @return bytes written; chunk->data_bytes bytes of data must follow.
 */
size_t weft_chunk_write_head(uint8_t *out, const weft_chunk *chunk, bool in_part);

/** What a message of a client's stream is. */
typedef enum weft_part_kind {
    WEFT_PART_HEADER = 1, /* field 1: decode its bytes with the message table */
    WEFT_PART_CHUNK = 2   /* field 2 */
} weft_part_kind;

/**
 * Look at an UpdatePart or ImportPart: which one it is and where its content lies.
 * @param pieces           [n_pieces] the message; borrowed.
 * @param ret_at,ret_size  byte range of the content within the message.
 * @return WEFT_E_FORMAT neither or both, or bytes that are not protobuf.
 */
WEFT_NODISCARD weft_status weft_part_parse(weft_part_kind *ret, size_t *ret_at, size_t *ret_size,
                                           const weft_view *pieces, size_t n_pieces, weft_err *err);

/**
 * Parse the Chunk in bytes [at, at + size) of a message.
 * @param ret_data_at  where its data begin within the message (ret->data_bytes of them).
 * @return WEFT_E_FORMAT; WEFT_E_LIMIT when the data are larger than WEFT_MAX_CHUNK_BYTES.
 */
WEFT_NODISCARD weft_status weft_chunk_parse(weft_chunk *ret, size_t *ret_data_at,
                                            const weft_view *pieces, size_t n_pieces, size_t at,
                                            size_t size, weft_err *err);

/** Copy bytes [at, at + size) of a message; false when it is shorter. */
bool weft_pieces_copy(uint8_t *out, const weft_view *pieces, size_t n_pieces, size_t at,
                      size_t size);
/**
 * The pieces of bytes [at, at + size) of a message, for writev and the like.
 * @param out  [n_pieces]; may be pieces itself.
 * @return how many were written to out; 0 when the message is shorter or size is 0.
 */
size_t weft_pieces_range(weft_view *out, const weft_view *pieces, size_t n_pieces, size_t at,
                         size_t size);
/** Bytes of all pieces. */
size_t weft_pieces_bytes(const weft_view *pieces, size_t n_pieces);

/* The order of one stream: chunks without gaps or overlaps, one total, one digest. */
typedef struct weft_chunk_stream {
    uint64_t next;      /* offset that comes next */
    uint64_t total;     /* of the whole; known from the first chunk or before */
    uint64_t max_total; /* larger totals are refused */
    bool has_total;
    bool has_digest;
    uint8_t digest[WEFT_CHUNK_DIGEST_BYTES];
} weft_chunk_stream;

/** A stream that begins at `start` of a whole of at most max_total bytes. */
void weft_chunk_stream_init(weft_chunk_stream *s, uint64_t start, uint64_t max_total);
/** Fix the total beforehand (an UpdateHeader told it). */
void weft_chunk_stream_expect(weft_chunk_stream *s, uint64_t total);
/**
 * The next chunk came.
 * @return WEFT_OK, its data belong at chunk->offset; WEFT_E_FORMAT wrong offset, another total or
 *         digest, no data; WEFT_E_LIMIT total above max_total. The stream is unchanged on failure.
 */
WEFT_NODISCARD weft_status weft_chunk_stream_take(weft_chunk_stream *s, const weft_chunk *chunk,
                                                  weft_err *err);
/** True once every byte up to the total has come. */
bool weft_chunk_stream_complete(const weft_chunk_stream *s);

#endif
