/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by transport.c (life, events) and transport_calls.c (what goes over the wire) only. */
#ifndef WEFT_CLIENT_TRANSPORT_PRIV_H
#define WEFT_CLIENT_TRANSPORT_PRIV_H

#include "transport.h"
#include "wire/chunk.h"
#include "wire/pace.h"
#include "wire/wire.h"

/* One call and what came of it. */
typedef struct weft_transport_call {
    weft_transport *owner;
    weft_session_action_kind kind; /* 0: idle */
    weft_rt_rpc *rpc;              /* owned; NULL when done */
    bool done;                     /* event is ready to be taken */
    weft_session_event event;
    weft_arena arena; /* of what event points to */
    weft_buf scratch; /* the request, then the reply in one piece */
    weft_err local;   /* a failure on our side of a stream */
    char text[WEFT_SESSION_TEXT_BYTES];
    weft_session_assignment assignment;
    weft_session_receipt receipt;
} weft_transport_call;

struct weft_transport {
    const weft_alloc *alloc;
    const char *http_proxy; /* borrowed */
    uint32_t backoff_max_ms;
    uint32_t stall_ms;
    char address[256];
    char name[WEFT_MAX_NAME_BYTES + 1];
    uint8_t receipt_key[32];
    weft_buf ca_pem;
    weft_rt_loop *loop;       /* owned */
    weft_rt_channel *channel; /* owned, or NULL */
    weft_rt_channel *bare;    /* owned: without certificate, for a renewal; or NULL */
    weft_transport_call main;
    weft_transport_call lease;
    /* the present transfer */
    weft_base *base; /* FETCH: borrowed */
    weft_chunk_stream stream;
    weft_rt_blob *blob; /* UPLOAD: owned */
    uint64_t start;
    uint64_t sent;
    uint64_t total;
    bool header_sent;
    weft_pace pace; /* UPLOAD */
    uint8_t digest[32];
    uint64_t moved_ms;    /* when the transfer moved last */
    uint64_t answered_ms; /* when a call ended well, unless one failed since */
    weft_buf certificate_pem;
};

/* A call of this kind, from scratch. */
void weft_transport_begin(weft_transport *t, weft_transport_call *call,
                          weft_session_action_kind kind);
/* Start it; on failure the call is done with FAILED. */
void weft_transport_start(weft_transport_call *call, weft_rt_channel *channel,
                          const weft_rt_rpc_options *options);
/* FAILED, now. */
void weft_transport_fail(weft_transport_call *call, weft_status status, const char *text);
/* The call has ended well: event.kind is set by the caller. */
void weft_transport_done(weft_transport_call *call, weft_session_event_kind kind);

#endif
