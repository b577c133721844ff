/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calling side of gRPC: a channel (address and identity), a loop (one completion queue), and
 * calls whose callbacks run inside weft_rt_loop_step, on the thread that steps. Used by the
 * client's transport and by the CLI. Nothing here changes the process: no signals, no environment,
 * no log redirection (process.h is for programs).
 *
 * A loop belongs to one thread at a time ("owner thread"); its channels and calls, too. Only wake
 * may come from elsewhere.
 */
#ifndef WEFT_RT_CHANNEL_H
#define WEFT_RT_CHANNEL_H

#include "base/alloc.h"
#include "base/buf.h"
#include "rt/blob.h"
#include "rt/code.h"
#include "rt/message.h"
#include "rt/tls.h"

#include <stdint.h>

/* ---- channel --------------------------------------------------------------------------------- */

typedef struct weft_rt_channel weft_rt_channel;

typedef struct weft_rt_channel_options {
    size_t size;
    const weft_alloc *alloc;
    /* "host:7443", "127.0.0.1:7443", "[::1]:7443"; "plain:127.0.0.1:7443" is plain, and whom the
     * certificate in tls names is who we say we are: so programs run unchanged in benchmarks */
    const char *address;
    const weft_rt_tls *tls; /* NULL with plain; without cert_pem: only the server is verified */
    bool plain;             /* no TLS: refused unless address is loopback */
    const char
        *plain_identity;     /* with plain: who to be, "weft://federation/client/name"; or NULL */
    const char *http_proxy;  /* "http://host:port"; NULL: direct, whatever the environment says */
    const char *target_name; /* the name that the server's certificate must have, where it is not
                                the address's; NULL: the address's */
    uint32_t backoff_max_ms; /* between attempts to connect */
    uint32_t max_message_bytes; /* received */
    uint32_t keepalive_ms;      /* 0: none; the server pings */
} weft_rt_channel_options;

#define WEFT_RT_CHANNEL_OPTIONS_INIT                                                               \
    {                                                                                              \
        .size = sizeof(weft_rt_channel_options), .alloc = &weft_alloc_std,                         \
        .backoff_max_ms = 20000, .max_message_bytes = (1U << 20) + (64U << 10), .keepalive_ms = 0  \
    }

/**
 * A channel; it connects with the first call, over a connection of its own.
 * @return WEFT_OK; WEFT_E_INVALID address, proxy, plain to an address that is not loopback; as
 *         weft_rt_tls_check; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_rt_channel_new(weft_rt_channel **ret,
                                               const weft_rt_channel_options *given, weft_err *err);
/** Calls that are under way go on. NULL is allowed. */
void weft_rt_channel_free(weft_rt_channel *channel);
/** Forget the backoff: the next call connects at once. Owner thread. */
void weft_rt_channel_retry_now(weft_rt_channel *channel);

/* ---- loop ------------------------------------------------------------------------------------ */

typedef struct weft_rt_loop weft_rt_loop;

typedef struct weft_rt_loop_options {
    size_t size;
    const weft_alloc *alloc;
    /* A thread waits on the network and makes weft_rt_loop_fd readable when step has something to
     * do; it never runs callbacks. Without it the network moves only inside step. */
    bool poller_thread;
} weft_rt_loop_options;

#define WEFT_RT_LOOP_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(weft_rt_loop_options), &weft_alloc_std, false                                       \
    }

/** @return WEFT_OK; WEFT_E_NOMEM; WEFT_E_IO no thread or descriptor. */
WEFT_NODISCARD weft_status weft_rt_loop_new(weft_rt_loop **ret, const weft_rt_loop_options *options,
                                            weft_err *err);
/** Cancels calls that are left (their on_done does not come, their handles go with the loop), waits
 * for them, frees. NULL is allowed. Blocks for milliseconds. */
void weft_rt_loop_free(weft_rt_loop *loop);

/**
 * Wait until something completes, a wake, or timeout_ms; run the callbacks of all that has
 * completed.
 * @return number of completions handled: 0 for a timeout or a wake. Owner thread.
 */
size_t weft_rt_loop_step(weft_rt_loop *loop, uint32_t timeout_ms);
/** Make the present or next step return. Threads: any. */
void weft_rt_loop_wake(weft_rt_loop *loop);
/** The same for signal handlers: async-signal-safe; without a poller thread it may take 200 ms. */
void weft_rt_loop_wake_signal(weft_rt_loop *loop);
/** With poller_thread: readable (an eventfd; do not read it) when step has work. Else -1. */
int weft_rt_loop_fd(const weft_rt_loop *loop);

/* ---- calls ----------------------------------------------------------------------------------- */

typedef struct weft_rt_rpc weft_rt_rpc;

typedef enum weft_rt_rpc_kind {
    WEFT_RT_RPC_UNARY = 1, /* request -> on_done with the reply */
    WEFT_RT_RPC_FETCH = 2, /* request -> on_message for each -> on_done */
    WEFT_RT_RPC_UPLOAD = 3 /* on_writable: send or end -> on_done with the reply */
} weft_rt_rpc_kind;

typedef struct weft_rt_rpc_options {
    size_t size;
    const char *path; /* "/weft.v1.Federation/CheckIn"; need not outlive the call of start */
    weft_rt_rpc_kind kind;
    weft_view request;    /* copied; UPLOAD: the first message, may be empty */
    uint32_t deadline_ms; /* from now to the end of the call; 0: none */
    bool wait_for_ready;  /* wait for a connection until the deadline, instead of failing at once */
    void *arg;
    /* FETCH: one message, borrowed. The next one is read only after weft_rt_rpc_next, inside this
     * callback or later: a slow consumer slows the sender down. */
    void (*on_message)(void *arg, weft_rt_rpc *rpc, weft_rt_message *message);
    /* UPLOAD: the next message may be sent; first called when the call has started. */
    void (*on_writable)(void *arg, weft_rt_rpc *rpc);
    /* Exactly once, last, unless rpc was freed before. text is the server's or gRPC's sentence;
     * reply is borrowed, NULL unless code is OK and the kind has one. rpc may be freed in here. */
    void (*on_done)(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                    weft_rt_message *reply);
} weft_rt_rpc_options;

#define WEFT_RT_RPC_OPTIONS_INIT                                                                   \
    {                                                                                              \
        .size = sizeof(weft_rt_rpc_options)                                                        \
    }

/**
 * Start a call. Callbacks come from later steps, never from in here.
 * @return WEFT_OK; WEFT_E_INVALID options; WEFT_E_NOMEM; WEFT_E_INTERNAL. Owner thread of loop.
 */
WEFT_NODISCARD weft_status weft_rt_rpc_start(weft_rt_rpc **ret, weft_rt_loop *loop,
                                             weft_rt_channel *channel,
                                             const weft_rt_rpc_options *options, weft_err *err);
/** FETCH: ready for the next message. Once for each message. */
void weft_rt_rpc_next(weft_rt_rpc *rpc);
/**
 * UPLOAD: send one message: header (copied) followed by blob[offset, offset + length) (not copied;
 * NULL with length 0). Once for each on_writable.
 * @return WEFT_OK; WEFT_E_STATE the last one has not been taken yet, or end was called;
 *         WEFT_E_INVALID the part is not inside the blob; WEFT_E_CANCELED the call has ended: wait
 *         for on_done. Owner thread.
 */
WEFT_NODISCARD weft_status weft_rt_rpc_send(weft_rt_rpc *rpc, const void *header,
                                            size_t header_size, weft_rt_blob *blob, uint64_t offset,
                                            size_t length);
/** UPLOAD: all is sent; the reply comes with on_done. Allowed while the last send is on its way. */
void weft_rt_rpc_end(weft_rt_rpc *rpc);
/** Ask for the end; on_done comes with WEFT_RT_CANCELED unless the call was over already. */
void weft_rt_rpc_cancel(weft_rt_rpc *rpc);
/** Done with it: after on_done, or inside, or before (cancels; no callback comes any more). NULL is
 * allowed. Owner thread. */
void weft_rt_rpc_free(weft_rt_rpc *rpc);

/**
 * A whole unary call, for programs that have nothing else to do. Blocks until deadline_ms (0:
 * none).
 * @param reply  the answer is appended.
 * @param ret_code  the code that ended the call (or NULL).
 * @return WEFT_OK; weft_rt_code_status of the code, err with the server's sentence; WEFT_E_NOMEM.
 * Threads: any.
 */
WEFT_NODISCARD weft_status weft_rt_unary(weft_rt_channel *channel, const char *path,
                                         weft_view request, uint32_t deadline_ms, weft_buf *reply,
                                         weft_rt_code *ret_code, weft_err *err);

#endif
