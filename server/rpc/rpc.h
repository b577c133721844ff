/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The services of proto/weft/v1 over rt: bytes -> wire -> a request on the owner thread, and the
 * answer back. One file a method or a small group of them. No policy: who may call is the gate's
 * data, what happens is the core's decision, where bytes lie is the host's business.
 *
 * A call, seen from here: rt's callbacks run on poller threads, decode, and post the call to the
 * owner thread (host->on_request). The host answers with weft_rpc_reply or weft_rpc_fail, now or
 * later, from any thread, and gives its reference back. If the caller goes away before that,
 * host->on_gone follows on the owner thread.
 */
#ifndef WEFT_RPC_H
#define WEFT_RPC_H

#include "base/clock.h"
#include "base/log.h"
#include "core/core.h"
#include "crypto/cert.h"
#include "crypto/receipt.h"
#include "rpc/gate.h"
#include "rt/queue.h"
#include "rt/server.h"
#include "update/check.h"
#include "update/fixed.h"
#include "wire/chunk.h"
#include "wire/methods.h"
#include "wire/wire.h"

#include <stdatomic.h>

/* Something for the owner thread: it takes items off the queue and calls run(item, owner). */
typedef struct weft_item {
    weft_rt_node node; /* first */
    void (*run)(struct weft_item *item, void *owner);
} weft_item;

typedef struct weft_rpc weft_rpc;
typedef struct weft_rpc_call weft_rpc_call;

/* What the host knows of an open assignment; asked once an upload. */
typedef struct weft_rpc_assignment {
    weft_task task;
    uint8_t base[WEFT_DIGEST_BYTES];
    uint64_t model_bytes;
    double clip_norm;
    uint64_t max_examples;
    uint64_t lease_ms;
    weft_durability durability;
    uint64_t masked_bytes; /* 0: plain; else a masked vector of this size is wanted */
} weft_rpc_assignment;

/* What a SubmitUpdate has become when its last byte is there. */
typedef struct weft_rpc_update {
    weft_msg_update_header header; /* texts and views live in the call's arena */
    void *upload;                  /* the host's, from upload_begin; NULL without bytes */
    bool open;                     /* the assignment was open when the header came: */
    weft_rpc_assignment assignment;
    /* set when every byte passed through on this call; else the host looks at the whole upload */
    bool checked;
    weft_refusal refusal;
    char detail[WEFT_REASON_BYTES];
} weft_rpc_update;

/* The program around: all functions are given self. Poller threads unless said otherwise; none may
 * block. */
typedef struct weft_rpc_host {
    void *self;
    const weft_alloc *alloc; /* usable from any thread */
    const weft_log *log;
    const weft_clock *clock;
    const char *federation;
    bool plain; /* no certificates: every connection is a client and an operator of its own */
    /* put the item on the owner's queue; after close it is refused: false */
    bool (*post)(void *self, weft_item *item);
    /* owner thread: a decoded request; the call's reference becomes the host's */
    void (*on_request)(void *self, weft_rpc_call *call);
    /* owner thread: the caller of an unanswered call went away; borrowed */
    void (*on_gone)(void *self, weft_rpc_call *call);

    /* the assignment, when it is open and this client's */
    bool (*assignment)(void *self, uint64_t id, const char *client, weft_rpc_assignment *ret);
    /* uploads: see store/spool.h, which they are */
    weft_status (*upload_begin)(void *self, void **ret, uint64_t assignment_id, uint64_t start,
                                uint64_t total, weft_err *err);
    weft_status (*upload_append)(void *self, void *upload, uint64_t offset, const weft_view *pieces,
                                 size_t n_pieces, weft_err *err);
    void (*upload_end)(void *self, void *upload);
    /* owner thread: bytes of an upload came lately; borrowed, update may be NULL (it is decided).
     * Told at most once every quarter of the lease. */
    void (*upload_alive)(void *self, weft_rpc_call *call);
    /* all of an update is there, or it is refused, or its assignment is not open: call->update.
     * The call's reference and the upload become the host's. */
    void (*update_ready)(void *self, weft_rpc_call *call);

    /*
     * A model to send. NULL and WEFT_OK: it is being loaded, weft_rpc_fetch_ready follows with the
     * call (whose reference is the host's meanwhile). published: only what clients may see.
     */
    weft_status (*model_get)(void *self, weft_rt_blob **ret, const uint8_t *digest, bool published,
                             weft_rpc_call *call, weft_err *err);
    void (*model_put)(void *self, const uint8_t *digest, weft_rt_blob *blob);
    /* owner thread: a FETCH_MODEL has ended after so many bytes of the model */
    void (*model_sent)(void *self, const char *client, const uint8_t *digest, uint64_t bytes);

    /* imports: bytes [at, at + n) of the message (kept by reference) go to a worker, which resumes
     * the paused call; finish answers it; drop follows always, last, when the call has ended */
    weft_status (*import_begin)(void *self, void **ret, weft_rpc_call *call,
                                const weft_msg_import_header *header, weft_err *err);
    void (*import_data)(void *self, void *import, weft_rt_message *message, size_t at, size_t n);
    void (*import_finish)(void *self, void *import);
    void (*import_drop)(void *self, void *import);
} weft_rpc_host;

struct weft_rpc_call {
    weft_item request;
    weft_item gone;
    weft_item alive;
    weft_rpc *rpc;
    weft_rt_call *rt; /* referenced */
    atomic_uint refs;
    atomic_bool posted;
    atomic_bool answered;
    atomic_bool alive_posted; /* alive is on its way */
    weft_method method;
    char name[WEFT_MAX_NAME_BYTES + 1]; /* of the caller; "" when anonymous */
    bool authenticated;
    weft_arena arena;
    void *msg;               /* the decoded request, in the arena; by method (see weft_rpc_msg) */
    weft_rpc_update *update; /* SUBMIT_UPDATE, in the arena */
    void *stream;            /* of the method's own file; poller threads */
    /* the host's, owner thread */
    uint64_t token;
    weft_rpc_call *next;
    void *host_state;
};

/** Set up; rpc borrows host and gate, which must outlive it. *ret is the caller's to free. */
WEFT_NODISCARD weft_status weft_rpc_new(weft_rpc **ret, const weft_rpc_host *host, weft_gate *gate,
                                        weft_err *err);
/** Free, after the rt server was freed. NULL is allowed. */
void weft_rpc_free(weft_rpc *rpc);
/** The methods for rt; live as long as rpc. */
const weft_rt_method *weft_rpc_methods(weft_rpc *rpc, size_t *ret_n);
/** rt's authorize callback, ctx is the weft_rpc. */
weft_rt_code weft_rpc_authorize(void *ctx, const char *path, const weft_rt_peer *peer, char *text);
/** New requests are answered UNAVAILABLE from now on. Threads: any. */
void weft_rpc_stop(weft_rpc *rpc);

/* ---- answers (any thread; the first one counts) ---------------------------------------------- */

weft_rpc_call *weft_rpc_call_ref(weft_rpc_call *call);
void weft_rpc_call_unref(weft_rpc_call *call);
/** Free the decoded request early: a held call needs it no more. Owner thread. */
void weft_rpc_call_forget(weft_rpc_call *call);
/** Encode and send. A message that does not encode is a defect: INTERNAL, logged. */
void weft_rpc_reply(weft_rpc_call *call, weft_msg_kind kind, const void *msg);
/** Send bytes that are encoded already. */
void weft_rpc_reply_bytes(weft_rpc_call *call, const void *data, size_t size);
void weft_rpc_fail(weft_rpc_call *call, weft_status status, const char *text);
/** UNAVAILABLE: come again. */
void weft_rpc_fail_unavailable(weft_rpc_call *call, const char *text);

/** FETCH_MODEL, FETCH_VERSION: the blob (referenced for the call), or why not. Any thread. */
void weft_rpc_fetch_ready(weft_rpc_call *call, const uint8_t *digest, weft_rt_blob *blob,
                          weft_status status, const char *text);
/** FETCH_VERSION: the owner thread found the digest; go on with it. */
void weft_rpc_fetch_start(weft_rpc_call *call, const uint8_t digest[WEFT_DIGEST_BYTES]);

/* How a core reply is signed and shown. */
typedef struct weft_rpc_signer {
    weft_status (*sign)(void *self, uint8_t ret[WEFT_SIGNATURE_BYTES],
                        const weft_receipt_fields *fields, weft_err *err);
    void *self;
    const char *(*job_name)(void *self, uint64_t job_id); /* or NULL */
} weft_rpc_signer;
/** Answer a call with a core REPLY action (the kinds that clients get, and ERROR). */
void weft_rpc_reply_action(weft_rpc_call *call, const weft_action *action,
                           const weft_rpc_signer *signer);

/* ---- Watch (owner thread) -------------------------------------------------------------------- */

typedef struct weft_watchers weft_watchers;

/* Send the present state as events; called for a new watcher and for one that fell behind. */
typedef void (*weft_watch_snapshot)(void *self, weft_rpc_call *call, const char *job);

WEFT_NODISCARD weft_status weft_watchers_new(weft_watchers **ret, weft_watch_snapshot snapshot,
                                             void *self, const weft_alloc *a, weft_err *err);
/** End every stream. */
void weft_watchers_end(weft_watchers *w);
/** The same, and free. NULL is allowed. */
void weft_watchers_free(weft_watchers *w);
/** A WATCH request; takes over the call's reference. */
void weft_watchers_add(weft_watchers *w, weft_rpc_call *call);
/** Its caller went away. */
void weft_watchers_gone(weft_watchers *w, weft_rpc_call *call);
/** Queue an event for one watcher (in snapshots) ... */
void weft_watchers_send(weft_watchers *w, weft_rpc_call *call, const weft_msg_watch_event *event);
/** ... or for all that watch its job. */
void weft_watchers_publish(weft_watchers *w, const weft_msg_watch_event *event);
size_t weft_watchers_count(const weft_watchers *w);

#endif
