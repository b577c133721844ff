/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both sides of rt share below the surface: tags of completion queues, batches, slices of
 * blobs. gRPC comes uninstrumented from the system; the two wrappers here tell the thread sanitizer
 * that what was written before a batch is seen after its tag (with
 * TSAN_OPTIONS=ignore_noninstrumented_modules=1 nothing else is needed).
 */
#ifndef WEFT_RT_CQ_PRIV_H
#define WEFT_RT_CQ_PRIV_H

#include "rt/blob.h"
#include "rt/message.h"

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEFT_RT_NO_TIMEOUT UINT32_MAX

/* Every tag handed to gRPC is one of these, inside the object that it belongs to. */
typedef struct weft_rt_tag weft_rt_tag;
struct weft_rt_tag {
    void (*done)(weft_rt_tag *tag, bool ok); /* exactly once for each batch that was started */
    weft_rt_tag *next;                       /* in a loop's list of completed tags */
    bool ok;
};

/* The object around a member: tags to their owners. */
#define WEFT_RT_OWNER(pointer, type, member)                                                       \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

typedef enum weft_rt_next {
    WEFT_RT_NEXT_EVENT,
    WEFT_RT_NEXT_TIMEOUT,
    WEFT_RT_NEXT_SHUTDOWN
} weft_rt_next;

/* One event of cq. 0 only looks, WEFT_RT_NO_TIMEOUT waits for ever. */
weft_rt_next weft_rt_cq_next(grpc_completion_queue *cq, uint32_t timeout_ms, weft_rt_tag **ret,
                             bool *ret_ok);

/* Start a batch; false (a defect: the tag will not come) when gRPC refuses. */
bool weft_rt_batch(grpc_call *call, const grpc_op *ops, size_t n_ops, weft_rt_tag *tag);

/* Before handing a tag to gRPC in any other way. */
void weft_rt_tag_release(weft_rt_tag *tag);

/* A byte buffer of header (copied; may be empty) and blob[offset, offset + length) (referenced). */
grpc_byte_buffer *weft_rt_bytes(const void *header, size_t header_size, weft_rt_blob *blob,
                                uint64_t offset, size_t length);
/* True when the part lies inside the blob; NULL holds nothing. */
bool weft_rt_part_valid(const weft_rt_blob *blob, uint64_t offset, size_t length);

/* A message that owns bytes; NULL when out of memory (bytes are destroyed then). */
weft_rt_message *weft_rt_message_new(const weft_alloc *alloc, grpc_byte_buffer *bytes);

/* Milliseconds of a clock that never steps. */
uint64_t weft_rt_now_ms(void);

/* Whether "host:port" names this machine only: 127.0.0.0/8, [::1], unix sockets. */
bool weft_rt_address_loopback(const char *address);
/* Whether address is "host:port" with a port of 0..65535 (or a unix socket). */
bool weft_rt_address_valid(const char *address);

#endif
