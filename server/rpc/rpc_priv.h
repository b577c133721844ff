/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of rpc share. */
#ifndef WEFT_RPC_PRIV_H
#define WEFT_RPC_PRIV_H

#include "rpc/rpc.h"

/* The context of one method's callbacks. */
typedef struct weft_rpc_slot {
    weft_rpc *rpc;
    weft_method method;
} weft_rpc_slot;

struct weft_rpc {
    const weft_rpc_host *host;
    weft_gate *gate;
    atomic_bool stopped;
    weft_rpc_slot slots[WEFT_METHOD_COUNT];
    weft_rt_method methods[WEFT_METHOD_COUNT];
};

/** The state of a new call, set as rt's state; NULL: answered with a failure. */
weft_rpc_call *weft_rpc_call_new(const weft_rpc_slot *slot, weft_rt_call *rt);
/** Decode a message into the call; false: answered with a failure. */
bool weft_rpc_call_decode(weft_rpc_call *call, weft_msg_kind kind, weft_rt_message *message);
/** The same for bytes. */
bool weft_rpc_call_decode_bytes(weft_rpc_call *call, weft_msg_kind kind, weft_view bytes);
/** Hand the call to the owner thread (with a reference). */
void weft_rpc_call_post(weft_rpc_call *call);
/** Tell the owner thread that bytes came, unless that is on its way already. */
void weft_rpc_call_alive(weft_rpc_call *call);
/** Caller's half of on_closed: tell the owner, give rt's reference back. */
void weft_rpc_call_closed(weft_rpc_call *call);
/** Fail with a status' code and err's sentence. */
void weft_rpc_fail_err(weft_rpc_call *call, const weft_err *err);
/** True for the first answer of a call. */
bool weft_rpc_call_answer(weft_rpc_call *call);

/** The pieces of a message, in the caller's array or a fresh one. */
typedef struct weft_rpc_pieces {
    const weft_alloc *alloc;
    weft_view few[160]; /* 1 MiB over TLS comes in about 116 */
    weft_view *all;
    size_t n;
} weft_rpc_pieces;
WEFT_NODISCARD weft_status weft_rpc_pieces_init(weft_rpc_pieces *pieces, const weft_alloc *a,
                                                const weft_rt_message *message, weft_err *err);
void weft_rpc_pieces_done(weft_rpc_pieces *pieces);

/* submit.c, import.c, fetch.c, watch.c: rt's callbacks */
void weft_rpc_submit_message(void *ctx, weft_rt_call *rt, weft_rt_message *message);
void weft_rpc_submit_half_close(void *ctx, weft_rt_call *rt);
void weft_rpc_submit_closed(void *ctx, weft_rt_call *rt, bool cancelled);
void weft_rpc_import_message(void *ctx, weft_rt_call *rt, weft_rt_message *message);
void weft_rpc_import_half_close(void *ctx, weft_rt_call *rt);
void weft_rpc_import_closed(void *ctx, weft_rt_call *rt, bool cancelled);
void weft_rpc_fetch_message(void *ctx, weft_rt_call *rt, weft_rt_message *message);
void weft_rpc_fetch_writable(void *ctx, weft_rt_call *rt);
void weft_rpc_fetch_closed(void *ctx, weft_rt_call *rt, bool cancelled);
void weft_rpc_watch_writable(void *ctx, weft_rt_call *rt);

#endif
