/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_rt_message: one received message, in the pieces of 8 to 64 KiB that the network delivered,
 * with borders anywhere. Given to callbacks as borrowed; who wants to keep it (to write it to a
 * file on another thread) takes a reference.
 */
#ifndef WEFT_RT_MESSAGE_H
#define WEFT_RT_MESSAGE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

typedef struct weft_rt_message weft_rt_message;

/** One more reference: message outlives the callback. Threads: any. @return message. */
weft_rt_message *weft_rt_message_ref(weft_rt_message *message);
/** One reference less. NULL is allowed. Threads: any. */
void weft_rt_message_unref(weft_rt_message *message);

/** Bytes in all pieces. Threads: any. */
size_t weft_rt_message_size(const weft_rt_message *message);
/** Number of pieces; an empty message has none. Threads: any. */
size_t weft_rt_message_pieces(const weft_rt_message *message);
/** Piece number index, in place: no copy; it lives as long as the message. Threads: any. */
weft_view weft_rt_message_piece(const weft_rt_message *message, size_t index);

/** Append all bytes to out. WEFT_E_LIMIT above out's maximum; WEFT_E_NOMEM. Threads: any. */
WEFT_NODISCARD weft_status weft_rt_message_copy(const weft_rt_message *message, weft_buf *out,
                                                weft_err *err);

/**
 * All bytes in one run: in place when the message came in one piece, else copied to scratch, which
 * is cleared first. The view lives as long as message and scratch are unchanged.
 * @return as weft_rt_message_copy. Threads: any.
 */
WEFT_NODISCARD weft_status weft_rt_message_flat(const weft_rt_message *message, weft_buf *scratch,
                                                weft_view *ret, weft_err *err);

#endif
