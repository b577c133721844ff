/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serving side of gRPC: a table of methods, callbacks, and calls that may be answered from any
 * thread at any time. Used by server/rpc and server/app; no policy in here beyond limits.
 *
 * One call, seen from its handler:
 *   [limits, identity, authorize] -> on_message (once for UNARY and SERVER_STREAM; any number for
 *   CLIENT_STREAM) -> on_half_close (CLIENT_STREAM: the caller has sent all) -> the answer ->
 *   on_closed.
 * Callbacks run on poller threads, one at a time per call (calls run in parallel). They must not
 * block: no fsync, no aggregation; hand over to a pool and answer later. on_closed comes exactly
 * once, last, for every call that passed authorize, also when no message ever came; after it the
 * handler's state is the handler's to free. Whoever keeps a call beyond its callback takes a
 * reference; functions on a call are safe for as long as a reference is held, also after the peer
 * has vanished, after on_closed and after the server was freed (they then return
 * WEFT_E_CANCELED). Messages that were kept are released before the server is freed.
 *
 * Locks: see locks.h. Callbacks are called without any lock held, and may call everything here
 * except drain and free.
 */
#ifndef WEFT_RT_SERVER_H
#define WEFT_RT_SERVER_H

#include "base/alloc.h"
#include "base/log.h"
#include "rt/blob.h"
#include "rt/code.h"
#include "rt/message.h"
#include "rt/tls.h"

#include <stdint.h>

typedef struct weft_rt_server weft_rt_server;
typedef struct weft_rt_call weft_rt_call;

#define WEFT_RT_IDENTITY_BYTES 256
#define WEFT_RT_ADDRESS_BYTES  96

/* Who calls. identity is the first URI in the certificate's subject alternative name; a verified
 * certificate without one has the empty identity. */
typedef struct weft_rt_peer {
    bool authenticated;                    /* a certificate of our CA was presented and verified */
    char identity[WEFT_RT_IDENTITY_BYTES]; /* "weft://federation/client/name", or "" */
    uint8_t fingerprint[32]; /* SHA-256 of the certificate's DER; zero when not authenticated */
    /* end of the certificate (unix ms). TLS judged it when the connection began, which may be long
     * ago: authorize has to. 0 without a certificate */
    int64_t expires_unix_ms;
    char address[WEFT_RT_ADDRESS_BYTES]; /* "ipv4:127.0.0.1:58040"; for people, never an identity */
} weft_rt_peer;

typedef enum weft_rt_kind {
    WEFT_RT_UNARY = 1,
    WEFT_RT_CLIENT_STREAM = 2,
    WEFT_RT_SERVER_STREAM = 3
} weft_rt_kind;

typedef struct weft_rt_method {
    const char *path; /* "/weft.v1.Federation/CheckIn"; must outlive the server */
    weft_rt_kind kind;
    bool anonymous_ok;       /* callers without a certificate are let through to authorize */
    uint32_t max_per_client; /* calls of this method by one client at once; 0: only the server's */
    /* How long the caller may take for each message it sends or takes, once we wait for it; a slow
     * but moving link sends a message of the largest size well within it. 0: the server's. It does
     * not run while the handler owes the answer (a held check-in) or has paused reading. */
    uint32_t idle_ms;
    void *ctx; /* first argument of the callbacks */
    /* message is borrowed; the next one is read when this returns, unless paused */
    void (*on_message)(void *ctx, weft_rt_call *call, weft_rt_message *message);
    void (*on_half_close)(void *ctx, weft_rt_call *call); /* CLIENT_STREAM only; else NULL */
    void (*on_writable)(void *ctx, weft_rt_call *call);   /* SERVER_STREAM only: a send was taken */
    void (*on_closed)(void *ctx, weft_rt_call *call, bool cancelled); /* or NULL */
} weft_rt_method;

typedef struct weft_rt_server_options {
    size_t size;
    const weft_alloc *alloc; /* usable from any thread; outlives server and calls */
    const weft_log *log;     /* or NULL; outlives the server */
    const char *address;     /* "0.0.0.0:7443", "[::1]:0"; port 0: the system chooses */
    const weft_rt_tls *tls;  /* copied; NULL with plain */
    /* No TLS: benchmarks and tests; refused unless address is loopback. Then a caller is who it
     * says it is (weft_rt_channel_options.plain_identity). */
    bool plain;
    const weft_rt_method *methods; /* [n_methods]; copied */
    size_t n_methods;
    /* Decides on each call before any message is read: role, revocation. text has room for
     * WEFT_ERR_MSG_BYTES and is sent to the caller. NULL: all are allowed. Poller threads. */
    weft_rt_code (*authorize)(void *ctx, const char *path, const weft_rt_peer *peer, char *text);
    void *authorize_ctx;
    /* Threads, each with a completion queue of its own. One does about 1 GB/s over TLS. 0: one for
     * each core, at most 4 (a second one on two shared cores costs small calls, but whole rounds
     * gain: what clients wait for together is read by both). */
    uint32_t n_pollers;
    uint32_t max_calls;            /* at once, in total; more are RESOURCE_EXHAUSTED */
    uint32_t max_calls_per_client; /* at once, by identity (anonymous: by host address) */
    uint32_t max_calls_anonymous;  /* at once, in total: strangers never crowd clients out */
    uint32_t max_message_bytes;    /* received; larger ones end their call */
    uint64_t quota_bytes;          /* gRPC's buffers together */
    uint32_t idle_ms;              /* see weft_rt_method.idle_ms */
    uint32_t handshake_timeout_ms; /* from accept to the end of the TLS handshake */
    uint32_t keepalive_ms;         /* ping after silence: NATs, frozen peers */
    uint32_t keepalive_timeout_ms; /* no answer for so long: the connection is dropped */
} weft_rt_server_options;

/* clang-format off */
#define WEFT_RT_SERVER_OPTIONS_INIT                                                                \
    {                                                                                              \
        .size = sizeof(weft_rt_server_options),                                                    \
        .alloc = &weft_alloc_std,                                                                  \
        .n_pollers = 0,                                                                            \
        .max_calls = 20000,                                                                        \
        .max_calls_per_client = 8,                                                                 \
        .max_calls_anonymous = 64,                                                                 \
        .max_message_bytes = (1U << 20) + (64U << 10),                                             \
        .quota_bytes = 128U << 20,                                                                 \
        .idle_ms = 120000,                                                                         \
        .handshake_timeout_ms = 10000,                                                             \
        .keepalive_ms = 60000,                                                                     \
        .keepalive_timeout_ms = 20000                                                              \
    }
/* clang-format on */

/**
 * Bind, start serving. Nothing else may listen on the port (a second coordinator is refused).
 * @return WEFT_OK; WEFT_E_INVALID options, plain on an address that is not loopback; WEFT_E_IO the
 *         address cannot be bound; as weft_rt_tls_check; WEFT_E_NOMEM. Threads: any.
 */
WEFT_NODISCARD weft_status weft_rt_server_new(weft_rt_server **ret,
                                              const weft_rt_server_options *options, weft_err *err);

/** The port that is bound. Threads: any. */
uint16_t weft_rt_server_port(const weft_rt_server *server);

/**
 * New connections get this certificate and CA; existing ones keep theirs. Checked first: on failure
 * the old ones stay. Errors as weft_rt_tls_check; WEFT_E_STATE on a plain server. Threads: any.
 */
WEFT_NODISCARD weft_status weft_rt_server_reload(weft_rt_server *server, const weft_rt_tls *tls,
                                                 weft_err *err);

/**
 * Cut every live call of an identity, at once, with this code and text. New calls are authorize's
 * business: make it refuse first, then call this.
 * @return calls that were cut. Threads: any, also from callbacks.
 */
size_t weft_rt_server_cancel_peer(weft_rt_server *server, const char *identity, weft_rt_code code,
                                  const char *text);

typedef struct weft_rt_server_stats {
    uint64_t calls_live;
    uint64_t calls_total;   /* passed limits and authorize */
    uint64_t refused_limit; /* over a limit of concurrent calls */
    uint64_t refused_auth;  /* anonymous, or by authorize */
    uint64_t unknown_method;
    uint64_t cut_idle; /* too slow */
} weft_rt_server_stats;
/** Threads: any. */
void weft_rt_server_stats_get(weft_rt_server *server, weft_rt_server_stats *ret);

/**
 * Stop accepting, let live calls end (answer held ones first), cut those that are left after
 * deadline_ms; returns when every call has had its on_closed. Blocks; afterwards only free is
 * allowed. Threads: any but pollers.
 */
void weft_rt_server_drain(weft_rt_server *server, uint32_t deadline_ms);
/** Drain with deadline 0 if that was not done, join the threads, free. NULL is allowed. */
void weft_rt_server_free(weft_rt_server *server);

/* ---- one call -------------------------------------------------------------------------------- */

/** One more reference. Threads: any. @return call. */
weft_rt_call *weft_rt_call_ref(weft_rt_call *call);
/** One reference less. NULL is allowed. Threads: any. */
void weft_rt_call_unref(weft_rt_call *call);

/** Who calls; lives as long as the call. Threads: any. */
const weft_rt_peer *weft_rt_call_peer(const weft_rt_call *call);
/** The method's path; lives as long as the server. Threads: any. */
const char *weft_rt_call_path(const weft_rt_call *call);
/** The handler's own pointer, NULL at first. Threads: callbacks of this call. */
void weft_rt_call_set_state(weft_rt_call *call, void *state);
void *weft_rt_call_state(const weft_rt_call *call);

/**
 * Answer a UNARY or CLIENT_STREAM call with one message (copied) and OK. The first of reply, fail
 * and finish wins.
 * @return WEFT_OK; WEFT_E_STATE answered already; WEFT_E_CANCELED the caller is gone. Most handlers
 *         may ignore it: on_closed tells the same. Threads: any.
 */
weft_status weft_rt_call_reply(weft_rt_call *call, const void *data, size_t size);
/** End the call with a code other than OK and one sentence. Return and threads as reply. */
weft_status weft_rt_call_fail(weft_rt_call *call, weft_rt_code code, const char *text);

/**
 * SERVER_STREAM: send one message that is header (copied) followed by blob[offset, offset + length)
 * (not copied; blob may be NULL with length 0). One at a time: on_writable says when the next may
 * come.
 * @return WEFT_OK; WEFT_E_STATE the last one has not been taken yet, or the call is finished;
 *         WEFT_E_INVALID the part is not inside the blob; WEFT_E_CANCELED. Threads: any.
 */
WEFT_NODISCARD weft_status weft_rt_call_send(weft_rt_call *call, const void *header,
                                             size_t header_size, weft_rt_blob *blob,
                                             uint64_t offset, size_t length);
/** SERVER_STREAM: all is sent; the status follows what is on its way. Return as reply. */
weft_status weft_rt_call_finish(weft_rt_call *call);

/** CLIENT_STREAM, inside on_message: let the next message come while this one is looked at; its
 * on_message follows when this one has returned. Not for calls that are paused. */
void weft_rt_call_read_ahead(weft_rt_call *call);
/** CLIENT_STREAM, inside on_message, before handing the message over: do not read the next message
 * until resume. */
void weft_rt_call_pause(weft_rt_call *call);
/** Read on. Threads: any. */
void weft_rt_call_resume(weft_rt_call *call);

/** Cut the call now; what is on its way may be lost. Threads: any. */
void weft_rt_call_cancel(weft_rt_call *call, weft_rt_code code, const char *text);

#endif
