/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns received messages: counted. gRPC hands over a buffer of small pieces (8 to 64 KiB each),
 * which are kept: those who store them write them at once (pwritev). A message in more pieces than
 * any well-meaning caller's is joined, so that what comes behind need not be made for it. The
 * buffer is raw, because rt switches compression off. Threads: any.
 */
#include "rt/cq_priv.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <stdatomic.h>
#include <string.h>

/* 1 MiB over TLS comes in about 116 */
#define MAX_PIECES 256

struct weft_rt_message {
    const weft_alloc *alloc;
    atomic_size_t refs;
    size_t size;
    uint8_t *joined;         /* [size], owned; or NULL */
    grpc_byte_buffer *bytes; /* owned; NULL when joined */
};

/* True when the pieces are one run now. */
static bool join(weft_rt_message *message)
{
    const grpc_slice_buffer *pieces = &message->bytes->data.raw.slice_buffer;
    uint8_t *to = message->alloc->resize(message->alloc->self, NULL, message->size);
    if (!to) {
        return false;
    }
    message->joined = to;
    for (size_t i = 0; i < pieces->count; i++) {
        const size_t n = GRPC_SLICE_LENGTH(pieces->slices[i]);
        memcpy(to, GRPC_SLICE_START_PTR(pieces->slices[i]), n);
        to += n;
    }
    return true;
}

weft_rt_message *weft_rt_message_new(const weft_alloc *alloc, grpc_byte_buffer *bytes)
{
    weft_rt_message *message = weft_array(alloc, 1, sizeof *message);
    if (!message) {
        grpc_byte_buffer_destroy(bytes);
        return NULL;
    }
    message->alloc = alloc;
    atomic_init(&message->refs, 1);
    message->bytes = bytes;
    message->size = bytes->data.raw.slice_buffer.length;
    if (bytes->data.raw.slice_buffer.count > MAX_PIECES && join(message)) {
        grpc_byte_buffer_destroy(bytes);
        message->bytes = NULL;
    }
    return message;
}

weft_rt_message *weft_rt_message_ref(weft_rt_message *message)
{
    atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
    return message;
}

void weft_rt_message_unref(weft_rt_message *message)
{
    if (message && atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) == 1) {
        if (message->bytes) {
            grpc_byte_buffer_destroy(message->bytes);
        }
        weft_free(message->alloc, message->joined);
        weft_free(message->alloc, message);
    }
}

size_t weft_rt_message_size(const weft_rt_message *message)
{
    return message->size;
}

size_t weft_rt_message_pieces(const weft_rt_message *message)
{
    return message->joined ? 1 : message->bytes->data.raw.slice_buffer.count;
}

weft_view weft_rt_message_piece(const weft_rt_message *message, size_t index)
{
    if (message->joined) {
        return (weft_view){message->joined, message->size};
    }
    const grpc_slice *slice = &message->bytes->data.raw.slice_buffer.slices[index];
    return (weft_view){GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice)};
}

weft_status weft_rt_message_copy(const weft_rt_message *message, weft_buf *out, weft_err *err)
{
    const size_t before = out->size;
    const size_t n = weft_rt_message_pieces(message);
    for (size_t i = 0; i < n; i++) {
        const weft_view piece = weft_rt_message_piece(message, i);
        const weft_status status = weft_buf_add(out, piece.data, piece.size, err);
        if (status != WEFT_OK) {
            out->size = before;
            return status;
        }
    }
    return WEFT_OK;
}

weft_status weft_rt_message_flat(const weft_rt_message *message, weft_buf *scratch, weft_view *ret,
                                 weft_err *err)
{
    if (weft_rt_message_pieces(message) == 1) {
        *ret = weft_rt_message_piece(message, 0);
        return WEFT_OK;
    }
    weft_buf_clear(scratch);
    WEFT_TRY(weft_rt_message_copy(message, scratch, err));
    *ret = weft_buf_view(scratch);
    return WEFT_OK;
}
