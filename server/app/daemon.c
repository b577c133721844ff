/* SPDX-License-Identifier: Apache-2.0 */
/* Wiring: everything that weftd is made of, put together and taken apart. */
#include "app/daemon.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* How long calls may take to end when we stop. */
#define DRAIN_MS 3000U
/* gRPC's buffers together: many uploads at once share it. */
#define QUOTA_BYTES (UINT64_C(48) << 20)

const char *weft_daemon_address(const weft_daemon *d)
{
    return d->address;
}

const char *weft_daemon_federation(const weft_daemon *d)
{
    return weft_auth_federation(d->auth);
}

uint16_t weft_daemon_port(const weft_daemon *d)
{
    return weft_rt_server_port(d->server);
}

/* ---- the host of rpc ------------------------------------------------------------------------- */

static bool post(void *self, weft_item *item)
{
    return weft_rt_queue_push(((weft_daemon *)self)->queue, &item->node);
}

static weft_status model_get(void *self, weft_rt_blob **ret, const uint8_t *digest, bool published,
                             weft_rpc_call *call, weft_err *err)
{
    return weft_models_get(((weft_daemon *)self)->models, ret, digest, published, call, err);
}

static void model_put(void *self, const uint8_t *digest, weft_rt_blob *blob)
{
    weft_models_put(((weft_daemon *)self)->models, digest, blob);
}

static void model_sent(void *owner, const char *client, const uint8_t *digest, uint64_t bytes)
{
    weft_event event = {.kind = WEFT_EVENT_MODEL_SENT, .client = client};
    memcpy(event.u.sent.version, digest, sizeof event.u.sent.version);
    event.u.sent.bytes = bytes;
    weft_batch_feed(owner, &event);
}

static void fill_host(weft_daemon *d)
{
    weft_rpc_host *h = &d->host;
    h->self = d;
    h->alloc = d->alloc;
    h->log = d->log;
    h->clock = d->clock;
    h->federation = weft_auth_federation(d->auth);
    h->plain = d->plain;
    h->post = post;
    h->on_request = weft_requests_on_request;
    h->on_gone = weft_requests_on_gone;
    h->model_get = model_get;
    h->model_put = model_put;
    h->model_sent = model_sent;
    weft_uploads_host(h);
    weft_imports_host(h);
}

/* ---- results of rounds ----------------------------------------------------------------------- */

static void folded(void *owner, const weft_round_result *result)
{
    weft_event event = {.kind = WEFT_EVENT_FOLDED};
    event.u.folded.assignment_id = result->assignment_id;
    weft_batch_feed(owner, &event);
}

static void finished(void *owner, const weft_round_result *result)
{
    weft_event event = {.kind = WEFT_EVENT_FINISHED};
    event.u.finished.job_id = result->job_id;
    event.u.finished.round = result->round;
    event.u.finished.attempt = result->attempt;
    event.u.finished.ok = result->ok;
    memcpy(event.u.finished.version, result->version, sizeof event.u.finished.version);
    event.u.finished.bytes = result->bytes;
    event.u.finished.reason = result->reason;
    event.u.finished.task = result->task;
    event.u.finished.totals = result->totals;
    event.u.finished.liars = result->liars;
    weft_batch_feed(owner, &event);
}

/* ---- start ----------------------------------------------------------------------------------- */

weft_status weft_daemon_open_auth(weft_auth **ret, const weft_daemon *d, weft_err *err)
{
    const weft_server_config *c = &d->config;
    const weft_auth_files files = {.ca_certificate = c->ca_certificate,
                                   .ca_key = c->ca_key,
                                   .certificate = c->certificate,
                                   .key = c->key,
                                   .receipt_key = c->receipt_key,
                                   .operator_public_key = c->operator_public_key};
    weft_auth *auth = NULL;
    WEFT_TRY(
        weft_auth_open(&auth, &files, c->lifetime_days, weft_daemon_unix_ms(d), d->alloc, err));
    if (strcmp(weft_auth_federation(auth), c->federation) != 0) {
        (void)!weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                            "the configuration says federation %s, the keys belong to %s",
                            c->federation, weft_auth_federation(auth)); /* its return is the code */
        weft_auth_free(auth);
        return WEFT_E_INVALID;
    }
    *ret = auth;
    return WEFT_OK;
}

static weft_status keep_upload(void *arg, uint64_t assignment_id, bool *ret_keep, weft_err *err)
{
    return weft_store_wants_upload(arg, assignment_id, ret_keep, err);
}

static weft_status open_store(weft_daemon *d, weft_err *err)
{
    const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    char dir[4096];
    uint32_t uploads = 0;
    uint32_t models = 0;
    WEFT_TRY(weft_store_open(&d->store, d->config.data_dir, &options, d->alloc, err));
    const int n = snprintf(dir, sizeof dir, "%s/spool", d->config.data_dir);
    if (n < 0 || (size_t)n >= sizeof dir) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the path of the data directory is too long");
    }
    WEFT_TRY(weft_spool_open(&d->spool, dir, d->alloc, err));
    WEFT_TRY(weft_spool_sweep(d->spool, keep_upload, d->store, &uploads, err));
    WEFT_TRY(weft_store_model_sweep(d->store, &models, err));
    if (uploads || models) {
        weft_log_line(d->log, WEFT_LOG_INFO, "event=swept uploads=%u models=%u", uploads, models);
    }
    d->base_ms = weft_store_logical_ms(d->store);
    d->mono_base_ms = d->clock->mono_ms(d->clock->self);
    d->committed_ms = d->base_ms;
    d->presence_ms = d->base_ms;
    return WEFT_OK;
}

static weft_status make_parts(weft_daemon *d, weft_err *err)
{
    const weft_alloc *a = d->alloc;
    WEFT_TRY(weft_gate_new(&d->gate, a, err));
    WEFT_TRY(weft_identity_load_gate(d, err));
    WEFT_TRY(weft_rt_queue_new(&d->queue, a, err));
    WEFT_TRY(weft_rt_pool_new(&d->pool, a, d->n_workers, "weft-work", err));
    WEFT_TRY(weft_rt_pool_new(&d->eval_pool, a, 1, "weft-eval", err));
    WEFT_TRY(weft_models_new(&d->models, d->store, d->pool, a, err));
    WEFT_TRY(weft_board_new(&d->board, a, err));
    const weft_rounds_host host = {.self = d,
                                   .alloc = a,
                                   .log = d->log,
                                   .store = d->store,
                                   .spool = d->spool,
                                   .models = d->models,
                                   .pool = d->pool,
                                   .n_workers = d->n_workers,
                                   .post = post,
                                   .folded = folded,
                                   .finished = finished};
    WEFT_TRY(weft_rounds_new(&d->rounds, &host, err));
    WEFT_TRY(weft_presence_new(&d->presence, a, err));
    WEFT_TRY(weft_watchers_new(&d->watchers, weft_queries_snapshot, d, a, err));
    WEFT_TRY(weft_evaluations_new(d, err));
    fill_host(d);
    return weft_rpc_new(&d->rpc, &d->host, d->gate, err);
}

static uint32_t cores(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n < 256 ? (uint32_t)n : 1;
}

/* Where to connect: what is configured, with the port that was bound where none was asked for. */
static void set_address(weft_daemon *d, uint16_t port)
{
    const weft_server_config *c = &d->config;
    const char *from = c->advertise[0] ? c->advertise : c->listen;
    const char *listen_colon = strrchr(c->listen, ':');
    const char *colon = strrchr(from, ':');
    const bool any_port = !listen_colon || strcmp(listen_colon, ":0") == 0;
    const bool own_port = colon && strcmp(colon, ":0") != 0 && !any_port;
    if (own_port) {
        (void)snprintf(d->address, sizeof d->address, "%s", from); /* fits: the same limit */
    } else {
        const int n = colon ? (int)(colon - from) : (int)strlen(from);
        (void)snprintf(d->address, sizeof d->address, "%.*s:%u", n, from, port); /* fits */
    }
}

static weft_status serve_with(weft_daemon *d, const weft_rt_tls *tls, weft_err *err)
{
    weft_rt_server_options options = WEFT_RT_SERVER_OPTIONS_INIT;
    options.alloc = d->alloc;
    options.log = d->log;
    options.address = d->config.listen;
    options.tls = d->plain ? NULL : tls;
    options.plain = d->plain;
    options.methods = weft_rpc_methods(d->rpc, &options.n_methods);
    options.authorize = weft_rpc_authorize;
    options.authorize_ctx = d->rpc;
    options.max_calls = 2 * d->config.max_clients + 64;
    options.max_calls_per_client = d->config.max_calls_per_client;
    options.quota_bytes = QUOTA_BYTES;
    WEFT_TRY(weft_rt_server_new(&d->server, &options, err));
    set_address(d, weft_rt_server_port(d->server));
    return WEFT_OK;
}

static weft_status serve(weft_daemon *d, weft_err *err)
{
    weft_buf pem;
    weft_rt_tls tls;
    weft_buf_init(&pem, d->alloc, WEFT_MAX_PEM_BYTES);
    weft_status status = weft_certificate_current(d, &tls, &pem, d->auth, err);
    if (status == WEFT_OK) {
        status = serve_with(d, &tls, err);
    }
    weft_buf_done(&pem);
    return status;
}

static weft_status start(weft_daemon *d, weft_err *err)
{
    WEFT_TRY(weft_daemon_open_auth(&d->auth, d, err));
    WEFT_TRY(open_store(d, err));
    WEFT_TRY(make_parts(d, err));
    WEFT_TRY(weft_daemon_restore(d, err));
    WEFT_TRY(serve(d, err));
    const int sys = pthread_create(&d->thread, NULL, weft_daemon_loop, d);
    if (sys != 0) {
        WEFT_FAIL_SYS(err, sys, "no thread for the coordinator's loop");
    }
    d->has_thread = true;
    return WEFT_OK;
}

weft_status weft_daemon_new(weft_daemon **ret, const weft_daemon_options *options, weft_err *err)
{
    weft_daemon *d = weft_array(options->alloc, 1, sizeof *d);
    if (!d) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the coordinator");
    }
    d->alloc = options->alloc;
    d->log = options->log;
    d->clock = options->clock;
    d->entropy = options->entropy;
    d->config = *options->config;
    d->plain = options->plain;
    d->n_workers = d->config.workers ? d->config.workers : cores();
    d->n_workers = d->n_workers > 64 ? 64 : d->n_workers;
    d->last_query = &d->queries;
    atomic_init(&d->stopping, false);
    atomic_init(&d->certificate_due_ms, INT64_MAX);
    (void)pthread_mutex_init(&d->reload_lock, NULL); /* cannot fail on Linux */
    weft_batch_init(d);
    const weft_status status = start(d, err);
    if (status != WEFT_OK) {
        weft_daemon_free(d);
        return status;
    }
    *ret = d;
    return WEFT_OK;
}

weft_status weft_daemon_check(const weft_daemon_options *options, weft_err *err)
{
    weft_auth *auth = NULL;
    weft_daemon *d = weft_array(options->alloc, 1, sizeof *d);
    if (!d) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the coordinator");
    }
    d->alloc = options->alloc;
    d->clock = options->clock;
    d->config = *options->config;
    const weft_status status = weft_daemon_open_auth(&auth, d, err);
    weft_auth_free(auth);
    weft_free(options->alloc, d);
    return status;
}

/* ---- end ------------------------------------------------------------------------------------- */

/* Owner: nobody is kept waiting any more. */
static void run_let_go(weft_item *item, void *owner)
{
    (void)item;
    weft_daemon *d = owner;
    weft_daemon_fail_held(d, "the coordinator is stopping: try again soon");
    weft_watchers_end(d->watchers);
}

/* What is only in memory, once the loop has ended. */
static void keep_last(weft_daemon *d)
{
    weft_err err = WEFT_ERR_INIT;
    weft_status status = weft_store_begin(d->store, weft_daemon_unix_ms(d), &err);
    if (status == WEFT_OK) {
        status = weft_presence_flush(d->presence, d->store, UINT32_MAX, &err);
    }
    if (status == WEFT_OK) {
        status = weft_store_commit(d->store, weft_daemon_now_ms(d), &err);
    }
    if (status != WEFT_OK) {
        weft_store_rollback(d->store);
        weft_log_line(d->log, WEFT_LOG_WARN, "event=last_commit_failed error=\"%s\"", err.msg);
    }
}

static void stop_running(weft_daemon *d)
{
    weft_item let_go = {.run = run_let_go};
    if (d->rpc) {
        weft_rpc_stop(d->rpc);
    }
    if (d->has_thread && weft_rt_queue_push(d->queue, &let_go.node)) {
        weft_rt_server_drain(d->server, DRAIN_MS);
    }
    if (d->pool) {
        weft_rt_pool_stop(d->pool);
    }
    if (d->evaluations && d->has_thread) {
        weft_rt_pool_stop(d->eval_pool);
    }
    atomic_store(&d->stopping, true);
    if (d->queue) {
        weft_rt_queue_close(d->queue);
    }
    if (d->has_thread) {
        (void)pthread_join(d->thread, NULL); /* a thread of ours: cannot fail */
        keep_last(d);
    }
}

/* Items that nobody will run any more only have memory to give back: the process ends. */
void weft_daemon_free(weft_daemon *d)
{
    if (!d) {
        return;
    }
    stop_running(d);
    weft_rt_server_free(d->server);
    weft_rpc_free(d->rpc);
    weft_rt_pool_free(d->pool);
    weft_rt_pool_free(d->eval_pool);
    weft_watchers_free(d->watchers);
    weft_effects_unpin_all(d);
    weft_evaluations_free(d);
    weft_rounds_free(d->rounds);
    weft_core_free(d->core);
    weft_presence_free(d->presence);
    weft_board_free(d->board);
    weft_models_free(d->models);
    weft_gate_free(d->gate);
    weft_rt_queue_free(d->queue);
    weft_spool_close(d->spool);
    weft_store_close(d->store);
    weft_auth_free(d->auth);
    weft_batch_done(d);
    (void)pthread_mutex_destroy(&d->reload_lock); /* nobody is inside: the caller's contract */
    weft_free(d->alloc, d);
}
