/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weftd as one object: everything that runs, and the owner loop that feeds the core. The only place
 * that names every concrete type.
 *
 * Threads: pollers (rt) decode and move bytes; the pool validates, folds, finishes, loads; one
 * thread evaluates; the owner thread alone touches core, store (rows), watchers, presence. What the
 * others want of it they post to the queue.
 */
#ifndef WEFT_APP_DAEMON_H
#define WEFT_APP_DAEMON_H

#include "app/board.h"
#include "app/models.h"
#include "app/presence.h"
#include "app/rounds.h"
#include "auth/auth.h"
#include "config/server.h"
#include "rpc/rpc.h"
#include "store/clients.h"
#include "store/queries.h"

#include <pthread.h>

typedef struct weft_daemon weft_daemon;

typedef struct weft_daemon_options {
    const weft_server_config *config; /* copied */
    bool plain;                       /* no TLS; loopback only; for benchmarks */
    const weft_alloc *alloc;          /* usable from any thread */
    const weft_log *log;
    const weft_clock *clock;
    const weft_entropy *entropy;
} weft_daemon_options;

/**
 * Load keys and store, restore the core, bind, serve.
 * @param ret  the caller's to stop and free.
 * @return whatever stood in the way, in one sentence. Threads: one.
 */
WEFT_NODISCARD weft_status weft_daemon_new(weft_daemon **ret, const weft_daemon_options *options,
                                           weft_err *err);
/** Load configuration, keys and certificates, open nothing else. */
WEFT_NODISCARD weft_status weft_daemon_check(const weft_daemon_options *options, weft_err *err);
/** New connections get the certificate that is on disk now, or its successor where it is due for
 *  renewal; existing ones go on. Threads: any but pollers. */
WEFT_NODISCARD weft_status weft_daemon_reload(weft_daemon *d, weft_err *err);
/** The port that is bound. */
uint16_t weft_daemon_port(const weft_daemon *d);
/** "host:port" as clients are told, with the port that is bound. Lives with d. */
const char *weft_daemon_address(const weft_daemon *d);
const char *weft_daemon_federation(const weft_daemon *d);
/** Answer what is held, let calls end (for some seconds), make all durable, free. NULL is fine. */
void weft_daemon_free(weft_daemon *d);

/* ---- inside app ------------------------------------------------------------------------------ */

#define WEFT_DAEMON_TOKEN_BUCKETS 8192
/* Open rounds lose at most so much of their time to a crash. */
#define WEFT_DAEMON_CLOCK_MS 5000

typedef struct weft_effect weft_effect;

/* A running job's current version is kept in memory for its clients. */
typedef struct weft_job_pin {
    struct weft_job_pin *next;
    uint64_t job_id;
    uint8_t version[WEFT_DIGEST_BYTES];
} weft_job_pin;

struct weft_daemon {
    const weft_alloc *alloc;
    const weft_log *log;
    const weft_clock *clock;
    const weft_entropy *entropy;
    weft_server_config config;
    bool plain;
    char address[WEFT_CONFIG_MAX_ADDRESS_BYTES + 8];
    weft_auth *auth;
    weft_store *store;
    weft_spool *spool;
    weft_gate *gate;
    weft_models *models;
    weft_board *board;
    weft_rt_queue *queue;
    weft_rt_pool *pool;
    weft_rt_pool *eval_pool;
    uint32_t n_workers;
    weft_rpc_host host;
    weft_rpc *rpc;
    weft_rt_server *server;
    pthread_t thread;
    bool has_thread;
    atomic_bool stopping;                    /* the loop ends when the queue is empty */
    atomic_int_least64_t certificate_due_ms; /* unix time when weftd renews its own */
    pthread_mutex_t reload_lock;             /* one reload at a time: SIGHUP's or the loop's */

    /* the owner thread's */
    weft_core *core;
    weft_rounds *rounds;
    weft_presence *presence;
    weft_watchers *watchers;
    struct weft_evaluations *evaluations;
    uint64_t base_ms; /* logical time at mono_base_ms */
    uint64_t mono_base_ms;
    uint64_t committed_ms; /* logical time of the newest commit */
    uint64_t presence_ms;  /* of the newest flush */
    uint64_t known_job_id; /* whose definitions are stored */
    uint64_t next_token;
    weft_rpc_call *tokens[WEFT_DAEMON_TOKEN_BUCKETS]; /* calls that the core knows; by next */
    weft_rpc_call *queries;                           /* to be answered after the batch; by next */
    weft_rpc_call **last_query;
    bool rebuild_due;
    struct {
        weft_arena arena;
        weft_actions actions;
        weft_effect *first;
        weft_effect **last;
        bool writing; /* a transaction is open */
        bool synced;  /* whose commit waits for the disk */
        weft_err failure;
    } batch;
    weft_job_pin *pins; /* current versions of jobs that have not ended */
};

/** Logical time now. Owner thread (and all below). */
uint64_t weft_daemon_now_ms(const weft_daemon *d);
int64_t weft_daemon_unix_ms(const weft_daemon *d);

/* daemon.c */
WEFT_NODISCARD weft_status weft_daemon_open_auth(weft_auth **ret, const weft_daemon *d,
                                                 weft_err *err);

/* certificate.c */
/**
 * What to serve with: the certificate of auth, or its successor where it is due; that is written
 * to disk, too, and a disk that refuses is only logged.
 * @param ret  borrows from auth and pem.
 * @param pem  empty; for the certificate.
 */
WEFT_NODISCARD weft_status weft_certificate_current(weft_daemon *d, weft_rt_tls *ret, weft_buf *pem,
                                                    const weft_auth *auth, weft_err *err);
/** Renew when it is time. Owner thread. */
void weft_certificate_tick(weft_daemon *d);

/* loop.c */
void *weft_daemon_loop(void *arg);
/** Give a call a token: the core may answer it. The owner's reference goes with it. */
uint64_t weft_daemon_hold(weft_daemon *d, weft_rpc_call *call);
/** The call of a token, no longer held; or NULL. */
weft_rpc_call *weft_daemon_take(weft_daemon *d, uint64_t token);
/** Fail every call that is held. */
void weft_daemon_fail_held(weft_daemon *d, const char *text);

/* batch.c */
void weft_batch_init(weft_daemon *d);
void weft_batch_done(weft_daemon *d);
/** Feed one event; its persists join the batch's transaction, the rest follows after it. */
void weft_batch_feed(weft_daemon *d, weft_event *event);
/** The same for actions that are there already (a resumed core's). */
WEFT_NODISCARD weft_status weft_batch_take(weft_daemon *d, const weft_actions *actions,
                                           weft_err *err);
/** Open a transaction whose commit waits for the disk, for rows that are not the core's. */
WEFT_NODISCARD weft_status weft_batch_write(weft_daemon *d, weft_err *err);
/** The batch cannot be kept: all of it is undone. */
void weft_batch_fail(weft_daemon *d, const weft_err *err);
/** After the commit: answer, and give the owner's reference back. */
void weft_batch_reply(weft_daemon *d, weft_rpc_call *call, weft_msg_kind kind, const void *msg);
/** At the end: run; kept: the batch is durable, else nothing of it happened. */
typedef void (*weft_batch_fn)(weft_daemon *d, void *arg, bool kept);
void weft_batch_after(weft_daemon *d, weft_batch_fn run, void *arg);
/** n * size zeroed bytes until the batch ends, or NULL. */
void *weft_batch_memory(weft_daemon *d, size_t n, size_t size);
/** Undo a batch in which nobody waits for an answer (a restore's): the next try begins anew. */
void weft_batch_drop(weft_daemon *d);
/** Commit, then do all that was to come after. */
void weft_batch_end(weft_daemon *d);

/* effects.c */
void weft_effects_action(weft_daemon *d, const weft_action *action);
/** Let the spool forget an update. */
void weft_effects_drop_update(weft_daemon *d, uint64_t job_id, uint64_t assignment_id);
WEFT_NODISCARD weft_status weft_effects_pin(weft_daemon *d, uint64_t job_id, const uint8_t *version,
                                            weft_err *err);
void weft_effects_unpin(weft_daemon *d, uint64_t job_id);
void weft_effects_unpin_all(weft_daemon *d);

/* restore.c */
/** A fresh core from the store; what it resumes is executed. */
WEFT_NODISCARD weft_status weft_daemon_restore(weft_daemon *d, weft_err *err);
/** Put or take down the board's note of an assignment row. */
void weft_daemon_note(weft_daemon *d, const weft_assignment_row *row);
/** A round moved on: take its notes down, drop what was uploaded for them. */
void weft_daemon_note_round(weft_daemon *d, const weft_round_row *row);

/* requests.c: rpc's host, owner side */
void weft_requests_on_request(void *owner, weft_rpc_call *call);
void weft_requests_on_gone(void *owner, weft_rpc_call *call);
/** Fail a call and give the owner's reference back. */
void weft_requests_fail(weft_rpc_call *call, const weft_err *err);

/* uploads.c: rpc's host, poller side */
void weft_uploads_host(weft_rpc_host *host);

/* identity.c */
void weft_identity_enroll(weft_daemon *d, weft_rpc_call *call);
void weft_identity_renew(weft_daemon *d, weft_rpc_call *call);
void weft_identity_invite(weft_daemon *d, weft_rpc_call *call);
void weft_identity_revoke(weft_daemon *d, weft_rpc_call *call);
WEFT_NODISCARD weft_status weft_identity_load_gate(weft_daemon *d, weft_err *err);

/* submit_job.c, imports.c */
void weft_jobs_submit(weft_daemon *d, weft_rpc_call *call);
void weft_imports_host(weft_rpc_host *host);

/* models_admin.c: TagModel, FetchModel, ListModels */
void weft_models_tag(weft_daemon *d, weft_rpc_call *call);
void weft_models_fetch(weft_daemon *d, weft_rpc_call *call);
void weft_models_list(weft_daemon *d, weft_rpc_call *call);
/** Reply with the ModelInfo of a version (newest row of its bytes). */
void weft_models_reply(weft_daemon *d, weft_rpc_call *call, const uint8_t *digest);

/* queries.c: answered after the batch, from the store */
void weft_queries_run(weft_daemon *d, weft_rpc_call *call);
/** Answer an operator's call that the core has decided: job info, model info, client info. */
void weft_queries_reply_action(weft_daemon *d, weft_rpc_call *call, const weft_action *action);
/** The state of all jobs (or one) as watch events. */
void weft_queries_snapshot(void *self, weft_rpc_call *call, const char *job);

/* ledger.c */
WEFT_NODISCARD weft_status weft_ledger_answer(weft_daemon *d, weft_rpc_call *call,
                                              weft_arena *arena, weft_err *err);

/* clients_admin.c */
WEFT_NODISCARD weft_status weft_clients_list(weft_daemon *d, weft_rpc_call *call, weft_arena *arena,
                                             weft_err *err);
/** The ClientInfo of a client that was revoked. */
void weft_clients_reply(weft_daemon *d, weft_rpc_call *call);
uint32_t weft_clients_connected(const weft_daemon *d);
WEFT_NODISCARD weft_status weft_clients_count(const weft_daemon *d, uint32_t *ret, weft_err *err);

/* evaluate.c */
WEFT_NODISCARD weft_status weft_evaluations_new(weft_daemon *d, weft_err *err);
void weft_evaluations_free(weft_daemon *d);
void weft_evaluations_start(weft_daemon *d, uint64_t job_id, uint32_t round,
                            const uint8_t *version);
/** The job has ended: let its data go. */
void weft_evaluations_forget(weft_daemon *d, uint64_t job_id);

#endif
