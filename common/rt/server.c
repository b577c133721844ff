/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the server: options, gRPC's server and completion queues, and the ordered end. The order of
 * the end matters: no completion queue is shut down before every call, refusal and slot has come
 * back (see call.c).
 */
#include "rt/server_priv.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_METHODS     64
#define MAX_ARGS        16
#define MIN_SWEEP_MS    20
#define MAX_SWEEP_MS    1000
#define CUT_AT_ONCE     16
#define MAX_OWN_POLLERS 4

/* ---- options --------------------------------------------------------------------------------- */

static weft_status check_method(const weft_rt_method *m, weft_err *err)
{
    if (!m->path || m->path[0] != '/' || !m->on_message) {
        WEFT_FAIL(err, WEFT_E_INVALID, "method %s needs a path and on_message",
                  m->path ? m->path : "(none)");
    }
    if ((m->kind == WEFT_RT_CLIENT_STREAM) != (m->on_half_close != NULL)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "method %s: on_half_close is for client streams", m->path);
    }
    if (m->on_writable && m->kind != WEFT_RT_SERVER_STREAM) {
        WEFT_FAIL(err, WEFT_E_INVALID, "method %s: on_writable is for server streams", m->path);
    }
    return WEFT_OK;
}

static weft_status check_options(const weft_rt_server_options *o, weft_err *err)
{
    if (!o || o->size != sizeof *o || !o->alloc || !o->address || !o->methods) {
        WEFT_FAIL(err, WEFT_E_INVALID, "server options need address, methods and allocator");
    }
    if (!weft_rt_address_valid(o->address)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the address %.100s is not host:port", o->address);
    }
    if (o->n_methods < 1 || o->n_methods > MAX_METHODS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a server has 1 to %d methods, not %zu", MAX_METHODS,
                  o->n_methods);
    }
    if (o->n_pollers > WEFT_RT_MAX_POLLERS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a server has at most %d pollers, not %u",
                  WEFT_RT_MAX_POLLERS, o->n_pollers);
    }
    if (o->max_calls == 0 || o->max_calls_per_client == 0 || o->idle_ms == 0 ||
        o->max_message_bytes == 0 || o->max_message_bytes > INT_MAX || o->quota_bytes == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the limits of a server must be above 0");
    }
    for (size_t i = 0; i < o->n_methods; i++) {
        WEFT_TRY(check_method(&o->methods[i], err));
    }
    if (o->plain) {
        if (!weft_rt_address_loopback(o->address)) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "without TLS only loopback addresses are served, not %.100s", o->address);
        }
        return WEFT_OK;
    }
    return weft_rt_tls_check(o->tls, true, err);
}

static uint32_t sweep_interval(const weft_rt_server_options *o)
{
    uint32_t least = o->idle_ms;
    for (size_t i = 0; i < o->n_methods; i++) {
        if (o->methods[i].idle_ms && o->methods[i].idle_ms < least) {
            least = o->methods[i].idle_ms;
        }
    }
    const uint32_t interval = least / 4;
    if (interval < MIN_SWEEP_MS) {
        return MIN_SWEEP_MS;
    }
    return interval < MAX_SWEEP_MS ? interval : MAX_SWEEP_MS;
}

static uint32_t some_cores(void)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores < 1) {
        return 1;
    }
    return cores < MAX_OWN_POLLERS ? (uint32_t)cores : MAX_OWN_POLLERS;
}

/* ---- building -------------------------------------------------------------------------------- */

static weft_status allocate(weft_rt_server *server, const weft_rt_server_options *o, weft_err *err)
{
    server->n_methods = (uint32_t)o->n_methods;
    server->n_slots = (size_t)server->options.n_pollers * (o->n_methods + 1) * WEFT_RT_ARMED;
    server->methods = weft_array(o->alloc, o->n_methods, sizeof *server->methods);
    server->registered = weft_array(o->alloc, o->n_methods, sizeof *server->registered);
    server->slots = weft_array(o->alloc, server->n_slots, sizeof *server->slots);
    if (!server->methods || !server->registered || !server->slots) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a server");
    }
    memcpy(server->methods, o->methods, o->n_methods * sizeof *server->methods);
    WEFT_TRY(
        weft_rt_clients_init(&server->clients, o->alloc, o->max_calls, server->n_methods, err));
    return o->plain ? WEFT_OK : weft_rt_server_set_tls(server, o->tls, err);
}

static void add_number(grpc_arg *args, size_t *n, const char *key, uint32_t value)
{
    /* gRPC's interface knows no const: it copies keys */
    void *name = NULL;
    memcpy(&name, &key, sizeof name);
    args[*n].type = GRPC_ARG_INTEGER;
    args[*n].key = name;
    args[(*n)++].value.integer = value > INT_MAX ? INT_MAX : (int)value;
}

/* Why each: the design's list of measurements. Tested: reuse, receive limit, quota, probe. */
static weft_status make_grpc(weft_rt_server *server, weft_err *err)
{
    const weft_rt_server_options *o = &server->options;
    server->quota = grpc_resource_quota_create("weft");
    grpc_resource_quota_resize(server->quota, (size_t)o->quota_bytes);
    grpc_arg args[MAX_ARGS];
    size_t n = 0;
    add_number(args, &n, GRPC_ARG_RESOURCE_QUOTA, 0);
    args[0].type = GRPC_ARG_POINTER;
    args[0].value.pointer.p = server->quota;
    args[0].value.pointer.vtable = grpc_resource_quota_arg_vtable();
    add_number(args, &n, GRPC_ARG_ALLOW_REUSEPORT, 0); /* a second coordinator must not bind */
    add_number(args, &n, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, o->max_message_bytes);
    add_number(args, &n, GRPC_ARG_HTTP2_BDP_PROBE, 0); /* 4 MB a connection otherwise */
    add_number(args, &n, GRPC_ARG_MAX_CONCURRENT_STREAMS, WEFT_RT_STREAMS_PER_CONNECTION);
    add_number(args, &n, GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, o->handshake_timeout_ms);
    add_number(args, &n, GRPC_ARG_KEEPALIVE_TIME_MS, o->keepalive_ms);
    add_number(args, &n, GRPC_ARG_KEEPALIVE_TIMEOUT_MS, o->keepalive_timeout_ms);
    add_number(args, &n, GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    add_number(args, &n, GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0); /* go on pinging */
    add_number(args, &n, GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
    /* compressed messages are refused: the size check looks at the compressed length */
    add_number(args, &n, GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
    add_number(args, &n, GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1);
    const grpc_channel_args list = {n, args};
    server->grpc = grpc_server_create(&list, NULL);
    while (server->n_cqs < o->n_pollers) {
        grpc_completion_queue *cq = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(server->grpc, cq, NULL);
        server->cqs[server->n_cqs++] = cq;
    }
    for (uint32_t i = 0; i < server->n_methods; i++) {
        /* not the payload: gRPC would wait for it without a limit of time before it tells us */
        server->registered[i] = grpc_server_register_method(server->grpc, server->methods[i].path,
                                                            NULL, GRPC_SRM_PAYLOAD_NONE, 0);
        if (!server->registered[i]) {
            WEFT_FAIL(err, WEFT_E_INVALID, "method %s is listed twice", server->methods[i].path);
        }
    }
    return WEFT_OK;
}

/* gRPC does not say why it could not bind: ask the system the same question. */
static weft_status explain_bind(const char *address, weft_err *err)
{
    char host[256] = {0};
    const char *colon = strrchr(address, ':');
    const bool brackets = address[0] == '[';
    if (strncmp(address, "unix:", 5) != 0 && colon) {
        const char *begin = address + brackets;
        const size_t n = (size_t)(colon - begin) - brackets;
        memcpy(host, begin, n < sizeof host ? n : sizeof host - 1);
        struct addrinfo hints = {0};
        hints.ai_flags = AI_PASSIVE;
        hints.ai_socktype = SOCK_STREAM;
        struct addrinfo *found = NULL;
        const int why = getaddrinfo(host, colon + 1, &hints, &found);
        if (why != 0) {
            WEFT_FAIL(err, WEFT_E_IO, "the address %.100s is not known here: %s", address,
                      gai_strerror(why));
        }
        const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const int bound = fd < 0 ? -1 : bind(fd, found->ai_addr, found->ai_addrlen);
        const int sys = errno;
        freeaddrinfo(found);
        if (fd >= 0) {
            (void)close(fd); /* never used */
        }
        if (bound != 0) {
            WEFT_FAIL_SYS(err, sys, "cannot listen on %.100s: %s%s", address, strerrordesc_np(sys),
                          sys == EADDRINUSE ? "; does another coordinator run there?" : "");
        }
    }
    WEFT_FAIL(err, WEFT_E_IO, "cannot listen on %.100s", address);
}

static weft_status bind_port(weft_rt_server *server, const char *address, weft_err *err)
{
    grpc_server_credentials *credentials = server->options.plain
                                               ? grpc_insecure_server_credentials_create()
                                               : weft_rt_server_credentials(server);
    if (!credentials) {
        WEFT_FAIL(err, WEFT_E_CRYPTO, "the server's certificate is not usable");
    }
    const int port = grpc_server_add_http2_port(server->grpc, address, credentials);
    grpc_server_credentials_release(credentials);
    if (port == 0) {
        return explain_bind(address, err);
    }
    server->port = (uint16_t)port;
    return WEFT_OK;
}

static void shutdown_done(weft_rt_tag *tag, bool ok)
{
    (void)ok; /* always true */
    weft_rt_server *server = WEFT_RT_OWNER(tag, weft_rt_server, shutdown_tag);
    weft_rt_lock_take(&server->lock);
    server->shut = true;
    (void)pthread_cond_signal(&server->quiet);
    weft_rt_lock_give(&server->lock);
}

static weft_status build(weft_rt_server *server, const weft_rt_server_options *o, weft_err *err)
{
    WEFT_TRY(allocate(server, o, err));
    WEFT_TRY(make_grpc(server, err));
    /* threads before the port: from there on nothing may fail */
    WEFT_TRY(weft_rt_server_start_pollers(server, err));
    WEFT_TRY(bind_port(server, o->address, err));
    grpc_server_start(server->grpc);
    server->started = true;
    weft_rt_server_arm(server);
    return WEFT_OK;
}

weft_status weft_rt_server_new(weft_rt_server **ret, const weft_rt_server_options *options,
                               weft_err *err)
{
    WEFT_TRY(check_options(options, err));
    weft_rt_server *server = weft_array(options->alloc, 1, sizeof *server);
    if (!server) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a server");
    }
    server->alloc = options->alloc;
    server->options = *options;
    if (options->n_pollers == 0) {
        server->options.n_pollers = some_cores();
    }
    server->sweep_ms = sweep_interval(options);
    server->shutdown_tag.done = shutdown_done;
    weft_rt_lock_init(&server->lock);
    weft_rt_lock_init(&server->tls_lock);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&server->quiet, &attr);
    (void)pthread_condattr_destroy(&attr);
    grpc_init();
    const weft_status status = build(server, options, err);
    /* borrowed for the call only */
    server->options.tls = NULL;
    server->options.address = NULL;
    server->options.methods = NULL;
    if (status != WEFT_OK) {
        weft_rt_server_free(server);
        return status;
    }
    *ret = server;
    return WEFT_OK;
}

/* ---- looking, cutting ------------------------------------------------------------------------ */

uint16_t weft_rt_server_port(const weft_rt_server *server)
{
    return server->port;
}

void weft_rt_server_stats_get(weft_rt_server *server, weft_rt_server_stats *ret)
{
    weft_rt_lock_take(&server->lock);
    *ret = server->stats;
    weft_rt_lock_give(&server->lock);
}

size_t weft_rt_server_cancel_peer(weft_rt_server *server, const char *identity, weft_rt_code code,
                                  const char *text)
{
    /* a handful at a time, because cutting needs the table's lock free; those that were cut stay in
     * the table until they are over */
    size_t cut = 0;
    for (;;) {
        weft_rt_call *some[CUT_AT_ONCE];
        size_t n = 0;
        weft_rt_lock_take(&server->lock);
        weft_rt_client *client = weft_rt_clients_find(&server->clients, identity);
        for (weft_rt_call *call = client ? client->calls : NULL; call && n < CUT_AT_ONCE;
             call = call->next_of_client) {
            if (!call->cut) {
                call->cut = true;
                some[n++] = weft_rt_call_ref(call);
            }
        }
        weft_rt_lock_give(&server->lock);
        for (size_t i = 0; i < n; i++) {
            weft_rt_call_cancel(some[i], code, text);
            weft_rt_call_unref(some[i]);
        }
        cut += n;
        if (n == 0) {
            return cut;
        }
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Wait until gRPC's shutdown is complete; false at the deadline (UINT64_MAX: none). */
static bool wait_shut(weft_rt_server *server, uint64_t deadline_ms)
{
    const struct timespec until = {(time_t)(deadline_ms / 1000),
                                   (long)(deadline_ms % 1000) * 1000000L};
    weft_rt_lock_take(&server->lock);
    int sys = 0;
    while (!server->shut && sys != ETIMEDOUT) {
        sys = deadline_ms == UINT64_MAX
                  ? pthread_cond_wait(&server->quiet, &server->lock.mutex)
                  : pthread_cond_timedwait(&server->quiet, &server->lock.mutex, &until);
    }
    const bool shut = server->shut;
    weft_rt_lock_give(&server->lock);
    return shut;
}

static void wait_quiet(weft_rt_server *server)
{
    weft_rt_lock_take(&server->lock);
    while (server->stats.calls_live > 0 || server->refusals > 0 || server->armed > 0) {
        (void)pthread_cond_wait(&server->quiet, &server->lock.mutex);
    }
    weft_rt_lock_give(&server->lock);
}

void weft_rt_server_drain(weft_rt_server *server, uint32_t deadline_ms)
{
    if (!server->started || server->drained) {
        return;
    }
    server->drained = true;
    weft_rt_tag_release(&server->shutdown_tag);
    grpc_server_shutdown_and_notify(server->grpc, server->cqs[0], &server->shutdown_tag);
    if (!wait_shut(server, weft_rt_now_ms() + deadline_ms)) {
        grpc_server_cancel_all_calls(server->grpc);
        (void)wait_shut(server, UINT64_MAX);
    }
    wait_quiet(server);
}

static void stop_queues(weft_rt_server *server)
{
    for (uint32_t i = 0; i < server->n_cqs; i++) {
        grpc_completion_queue_shutdown(server->cqs[i]);
    }
    for (uint32_t i = 0; i < server->n_threads; i++) {
        (void)pthread_join(server->threads[i], NULL); /* our own, joined once */
    }
    for (uint32_t i = server->n_threads; i < server->n_cqs; i++) {
        /* a queue whose thread never started: nothing was put in */
        weft_rt_tag *tag = NULL;
        bool ok = false;
        (void)weft_rt_cq_next(server->cqs[i], WEFT_RT_NO_TIMEOUT, &tag, &ok);
    }
}

void weft_rt_server_free(weft_rt_server *server)
{
    if (!server) {
        return;
    }
    weft_rt_server_drain(server, 0);
    stop_queues(server);
    if (server->grpc) {
        grpc_server_destroy(server->grpc);
    }
    for (uint32_t i = 0; i < server->n_cqs; i++) {
        grpc_completion_queue_destroy(server->cqs[i]);
    }
    if (server->quota) {
        grpc_resource_quota_unref(server->quota);
    }
    grpc_shutdown();
    weft_rt_server_wipe_tls(server);
    weft_rt_clients_done(&server->clients);
    weft_free(server->alloc, server->slots);
    weft_free(server->alloc, server->registered);
    weft_free(server->alloc, server->methods);
    (void)pthread_cond_destroy(&server->quiet);
    weft_rt_lock_done(&server->tls_lock);
    weft_rt_lock_done(&server->lock);
    weft_free(server->alloc, server);
}
