/* SPDX-License-Identifier: Apache-2.0 */
/* What channel.c, loop.c and rpc.c share. */
#ifndef WEFT_RT_CHANNEL_PRIV_H
#define WEFT_RT_CHANNEL_PRIV_H

#include "rt/channel.h"
#include "rt/cq_priv.h"
#include "rt/locks.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

struct weft_rt_channel {
    const weft_alloc *alloc;
    grpc_channel *grpc;
    char *plain_identity; /* owned; or NULL */
};

/* Metadata that goes with each call; the slices are static or live as long as the channel. */
#define WEFT_RT_MAX_CALL_METADATA 1
size_t weft_rt_channel_metadata(const weft_rt_channel *channel,
                                grpc_metadata out[static WEFT_RT_MAX_CALL_METADATA]);

struct weft_rt_loop {
    const weft_alloc *alloc;
    grpc_completion_queue *cq;
    weft_rt_rpc *rpcs; /* not over yet; linked by weft_rt_rpc.next */
    size_t handled;    /* completions in the present step */
    /* waking without a thread: an empty batch on a call that never goes anywhere */
    grpc_channel *wake_channel;
    grpc_call *wake_call;
    weft_rt_tag wake_tag;
    atomic_bool wake_sent;   /* the tag is in the queue */
    atomic_bool wake_signal; /* set by signal handlers */
    /* with a thread */
    bool threaded;
    int fd; /* eventfd, or -1 */
    pthread_t thread;
    weft_rt_lock lock;
    weft_rt_tag *first; /* guarded by lock; completed tags, oldest first */
    weft_rt_tag *last;  /* guarded by lock; valid while first is */
};

void weft_rt_loop_add(weft_rt_loop *loop, weft_rt_rpc *rpc);
void weft_rt_loop_remove(weft_rt_loop *loop, weft_rt_rpc *rpc);

struct weft_rt_rpc {
    weft_rt_tag status_tag; /* RECV_STATUS; for UNARY the whole call */
    weft_rt_tag start_tag;  /* SEND_INITIAL_METADATA and what goes with it */
    weft_rt_tag head_tag;   /* RECV_INITIAL_METADATA */
    weft_rt_tag recv_tag;
    weft_rt_tag send_tag;
    weft_rt_tag end_tag;
    weft_rt_loop *loop;
    weft_rt_rpc *next;
    weft_rt_rpc *previous;
    const weft_alloc *alloc;
    grpc_call *grpc; /* owned until the end */
    weft_rt_rpc_kind kind;
    void *arg;
    void (*on_message)(void *arg, weft_rt_rpc *rpc, weft_rt_message *message);
    void (*on_writable)(void *arg, weft_rt_rpc *rpc);
    void (*on_done)(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                    weft_rt_message *reply);
    unsigned outstanding;
    bool orphan;  /* freed by its owner: no callbacks any more */
    bool calling; /* inside a callback: free waits for its return */
    bool over;    /* on_done has been called, or would have been */
    bool status_seen;
    bool recv_busy, recv_ended;
    bool send_busy, end_wanted, end_sent;
    weft_rt_message *reply;     /* of UNARY and UPLOAD; owned */
    grpc_byte_buffer *received; /* written by gRPC while recv_busy */
    grpc_metadata_array head;
    grpc_metadata_array trailer;
    grpc_status_code status;
    grpc_slice details;
};

/* Ask for the end and forget the owner. */
void weft_rt_rpc_abandon(weft_rt_rpc *rpc);

#endif
