/* SPDX-License-Identifier: Apache-2.0 */
/* What server.c, accept.c, call.c, clients.c and peer.c share. */
#ifndef WEFT_RT_SERVER_PRIV_H
#define WEFT_RT_SERVER_PRIV_H

#include "rt/cq_priv.h"
#include "rt/locks.h"
#include "rt/server.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <pthread.h>
#include <stdatomic.h>

#define WEFT_RT_MAX_POLLERS 16
/* Calls waiting to be matched, per method and poller; each is replaced as soon as it is used. */
#define WEFT_RT_ARMED 8
/* A connection's streams: a client has a few calls under way, never many. */
#define WEFT_RT_STREAMS_PER_CONNECTION 16
/* Carries weft_rt_channel_options.plain_identity. */
#define WEFT_RT_PLAIN_IDENTITY_KEY "weft-plain-identity"

/* ---- clients.c: who has which calls open; everything needs the server's lock ---------------- */

typedef struct weft_rt_client weft_rt_client;
struct weft_rt_client {
    weft_rt_client *next;      /* of the same bucket */
    weft_rt_call *calls;       /* linked by weft_rt_call.next_of_client */
    uint32_t live;             /* number of calls */
    uint32_t *live_per_method; /* [n_methods], behind the struct */
    char *key;                 /* behind the struct */
};

typedef struct weft_rt_clients {
    const weft_alloc *alloc;
    weft_rt_client **buckets; /* [n_buckets], a power of two; owned */
    size_t n_buckets;
    uint32_t n_methods;
    uint64_t seed;
} weft_rt_clients;

WEFT_NODISCARD weft_status weft_rt_clients_init(weft_rt_clients *clients, const weft_alloc *alloc,
                                                uint32_t max_calls, uint32_t n_methods,
                                                weft_err *err);
/* All calls have left. */
void weft_rt_clients_done(weft_rt_clients *clients);
/* The client of this key, or NULL. */
weft_rt_client *weft_rt_clients_find(const weft_rt_clients *clients, const char *key);
/* The same, made where missing; NULL when out of memory. */
weft_rt_client *weft_rt_clients_get(weft_rt_clients *clients, const char *key);
void weft_rt_clients_enter(weft_rt_client *client, weft_rt_call *call, uint32_t method);
/* The client goes with its last call. */
void weft_rt_clients_leave(weft_rt_clients *clients, weft_rt_client *client, weft_rt_call *call,
                           uint32_t method);

/* ---- one call: call.c ------------------------------------------------------------------------ */

struct weft_rt_call {
    weft_rt_tag close_tag; /* RECV_CLOSE */
    weft_rt_tag recv_tag;  /* RECV_MESSAGE */
    weft_rt_tag send_tag;  /* SEND_MESSAGE of a stream */
    weft_rt_tag status_tag;
    const weft_alloc *alloc;
    atomic_size_t refs;     /* one while live, one for each batch, the handler's */
    weft_rt_server *server; /* lives until on_closed has returned */
    const weft_rt_method *method;
    uint32_t idle_ms;
    bool silent;                      /* refused after it was entered: no callbacks */
    weft_rt_client *client;           /* guarded by server lock */
    weft_rt_call *next_of_client;     /* guarded by server lock */
    weft_rt_call *previous_of_client; /* guarded by server lock */
    bool cut;                         /* guarded by server lock; by cancel_peer */
    weft_rt_peer peer;
    void *state;                  /* the handler's */
    atomic_uint_least64_t due_ms; /* when our patience ends; 0: we wait for nothing */
    weft_rt_lock lock;
    /* all below: guarded by lock */
    grpc_call *grpc;            /* NULL once the call is over */
    grpc_byte_buffer *received; /* written by gRPC while recv_busy */
    int close_cancelled;        /* written by gRPC until close_seen */
    unsigned outstanding;       /* batches whose tags have not come back */
    bool metadata_sent;
    bool recv_busy, send_busy, status_busy; /* outstanding batches that need the peer */
    bool status_started;
    bool close_seen;          /* RECV_CLOSE is back: no batch is started any more */
    bool recv_ended;          /* half-closed, failed, or the kind has no more messages */
    bool want_read;           /* not paused */
    bool in_message;          /* on_message runs */
    bool telling;             /* a poller delivers this call's callbacks */
    weft_rt_message *message; /* to be told; owned */
    bool tell_half_close;
    bool tell_writable;
};

/* Start serving a call that was entered: silent ones are answered with code at once. Poller. */
void weft_rt_call_begin(weft_rt_call *call, weft_rt_code code, const char *text);
/* A call object; NULL when out of memory. */
weft_rt_call *weft_rt_call_new(weft_rt_server *server, const weft_rt_method *method,
                               grpc_call *grpc);

/* ---- accept.c -------------------------------------------------------------------------------- */

/* One armed request for the next call of a method. */
typedef struct weft_rt_slot {
    weft_rt_tag tag;
    weft_rt_server *server;
    grpc_completion_queue *cq;
    uint32_t method; /* == n_methods: unknown ones */
    grpc_call *call; /* this and below are written by gRPC */
    grpc_metadata_array metadata;
    grpc_call_details details;
    gpr_timespec deadline;
} weft_rt_slot;

/* Arm all slots of a server that has started. */
void weft_rt_server_arm(weft_rt_server *server);

/* ---- server.c -------------------------------------------------------------------------------- */

struct weft_rt_server {
    const weft_alloc *alloc;
    weft_rt_server_options options; /* pointers: log, authorize_ctx; tls and address are not kept */
    weft_rt_method *methods;        /* [n_methods]; owned */
    void **registered;              /* [n_methods]; owned; gRPC's handles */
    uint32_t n_methods;
    grpc_server *grpc;
    grpc_resource_quota *quota;
    grpc_completion_queue *cqs[WEFT_RT_MAX_POLLERS];
    pthread_t threads[WEFT_RT_MAX_POLLERS];
    uint32_t n_cqs;
    uint32_t n_threads;
    uint32_t sweep_ms;
    weft_rt_slot *slots; /* [n_slots]; owned */
    size_t n_slots;
    uint16_t port;
    bool started;
    bool drained;
    weft_rt_tag shutdown_tag;

    weft_rt_lock lock;
    pthread_cond_t quiet;       /* something below reached its end */
    weft_rt_clients clients;    /* guarded by lock */
    weft_rt_server_stats stats; /* guarded by lock */
    uint32_t anonymous_live;    /* guarded by lock */
    size_t refusals;            /* guarded by lock; answers on their way */
    size_t armed;               /* guarded by lock; slots */
    bool shut;                  /* guarded by lock; gRPC's shutdown is complete */

    weft_rt_lock tls_lock;
    char *ca_pem, *cert_pem, *key_pem; /* guarded by tls_lock; owned */
    uint64_t tls_generation;           /* guarded by tls_lock */
    uint64_t tls_delivered;            /* guarded by tls_lock */
};

/* poll.c: a thread for each completion queue. */
WEFT_NODISCARD weft_status weft_rt_server_start_pollers(weft_rt_server *server, weft_err *err);
/* accept.c: the call is over, its callbacks have run. */
void weft_rt_server_leave(weft_rt_server *server, weft_rt_call *call);

/* ---- server_tls.c ---------------------------------------------------------------------------- */

/* Copies tls, which was checked. */
WEFT_NODISCARD weft_status weft_rt_server_set_tls(weft_rt_server *server, const weft_rt_tls *tls,
                                                  weft_err *err);
void weft_rt_server_wipe_tls(weft_rt_server *server);
/* Credentials that fetch the current certificate for each connection; NULL when out of memory. */
grpc_server_credentials *weft_rt_server_credentials(weft_rt_server *server);

/* ---- peer.c ---------------------------------------------------------------------------------- */

/* Identity from the TLS certificate; with plain from the metadata. */
void weft_rt_peer_read(weft_rt_peer *ret, grpc_call *call, const grpc_metadata_array *plain);
/* The key by which a peer's calls are counted: identity, fingerprint, or host. */
#define WEFT_RT_KEY_BYTES (WEFT_RT_IDENTITY_BYTES + 80)
void weft_rt_peer_key(char ret[static WEFT_RT_KEY_BYTES], const weft_rt_peer *peer);

#endif
