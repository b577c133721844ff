/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the wrappers around completion queues, batches and slices. Called by server and channel. */
#include "rt/cq_priv.h"

#include "base/clock.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define WEFT_RT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEFT_RT_TSAN 1
#endif
#endif

#ifdef WEFT_RT_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define TSAN_ACQUIRE(p) __tsan_acquire(p)
#define TSAN_RELEASE(p) __tsan_release(p)
#else
#define TSAN_ACQUIRE(p) (void)(p)
#define TSAN_RELEASE(p) (void)(p)
#endif

void weft_rt_tag_release(weft_rt_tag *tag)
{
    TSAN_RELEASE(tag);
}

weft_rt_next weft_rt_cq_next(grpc_completion_queue *cq, uint32_t timeout_ms, weft_rt_tag **ret,
                             bool *ret_ok)
{
    gpr_timespec until = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (timeout_ms == 0) {
        /* gRPC rounds up to whole milliseconds: "now" would be a wait of one */
        until = gpr_inf_past(GPR_CLOCK_MONOTONIC);
    } else if (timeout_ms != WEFT_RT_NO_TIMEOUT) {
        until = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                             gpr_time_from_millis((int64_t)timeout_ms, GPR_TIMESPAN));
    }
    const grpc_event event = grpc_completion_queue_next(cq, until, NULL);
    if (event.type == GRPC_QUEUE_TIMEOUT) {
        return WEFT_RT_NEXT_TIMEOUT;
    }
    if (event.type == GRPC_QUEUE_SHUTDOWN) {
        return WEFT_RT_NEXT_SHUTDOWN;
    }
    TSAN_ACQUIRE(event.tag);
    *ret = event.tag;
    *ret_ok = event.success != 0;
    return WEFT_RT_NEXT_EVENT;
}

bool weft_rt_batch(grpc_call *call, const grpc_op *ops, size_t n_ops, weft_rt_tag *tag)
{
    TSAN_RELEASE(tag);
    return grpc_call_start_batch(call, ops, n_ops, tag, NULL) == GRPC_CALL_OK;
}

static void part_done(void *blob)
{
    weft_rt_blob_unref(blob);
}

bool weft_rt_part_valid(const weft_rt_blob *blob, uint64_t offset, size_t length)
{
    const uint64_t size = blob ? weft_rt_blob_size(blob) : 0;
    return offset <= size && length <= size - offset;
}

grpc_byte_buffer *weft_rt_bytes(const void *header, size_t header_size, weft_rt_blob *blob,
                                uint64_t offset, size_t length)
{
    grpc_slice parts[2];
    size_t n = 0;
    if (header_size > 0) {
        parts[n++] = grpc_slice_from_copied_buffer(header, header_size);
    }
    if (blob && length > 0) {
        /* gRPC only reads it; its interface knows no const */
        void *part = NULL;
        const uint8_t *at = weft_rt_blob_data(blob) + offset;
        memcpy(&part, &at, sizeof part);
        parts[n++] = grpc_slice_new_with_user_data(part, length, part_done, weft_rt_blob_ref(blob));
    }
    grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(parts, n);
    for (size_t i = 0; i < n; i++) {
        grpc_slice_unref(parts[i]);
    }
    return bytes;
}

uint64_t weft_rt_now_ms(void)
{
    return weft_clock_system.mono_ms(weft_clock_system.self);
}
