/* SPDX-License-Identifier: Apache-2.0 */
/* The client of <weft/weft.h>: opening, attaching, running, stopping. */
#include "client_priv.h"

#include "base/clock.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "policy.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define RUN_STEP_MS 60000
/* Waiting for so long, it takes no memory for models. */
#define REST_MS 5000

weft_status weft_client_usable(const weft_client *client, weft_err *err)
{
    if (!client) {
        WEFT_FAIL(err, WEFT_E_INVALID, "no client");
    }
    if (getpid() != client->pid) {
        WEFT_FAIL(err, WEFT_E_STATE,
                  "this process was forked from the one that opened the client: open it here");
    }
    return WEFT_OK;
}

/* ---- open and close ------------------------------------------------------------------------- */

static void log_to_host(void *self, weft_log_level level, const char *text)
{
    const weft_client *client = self;
    if (client->options.log) {
        client->options.log(client->options.log_arg, (weft_log_severity)level, text);
    }
}

static weft_status copy_option(const char **text, size_t max, const weft_alloc *a, weft_err *err)
{
    if (*text) {
        *text = weft_string_copy(a, *text, max);
        if (!*text) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the options");
        }
    }
    return WEFT_OK;
}

/* On failure the texts that are not copies yet are NULL. */
static weft_status take_options(weft_client *client, const weft_client_options *given,
                                weft_err *err)
{
    weft_client_options o = WEFT_CLIENT_OPTIONS_INIT;
    WEFT_TRY(weft_struct_in(&o, sizeof o, given, offsetof(weft_client_options, allowed_jobs),
                            "weft_client_options", err));
    if (!o.state_dir || !o.state_dir[0]) {
        WEFT_FAIL(err, WEFT_E_INVALID, "weft_client_options.state_dir is not set");
    }
    if (o.connect_backoff_max_ms == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "connect_backoff_max_ms is 0, it must be 1 or more");
    }
    if (o.adversary != WEFT_POLICY_CURIOUS && o.adversary != WEFT_POLICY_ACTIVE) {
        WEFT_FAIL(err, WEFT_E_INVALID, "adversary %d is neither curious (1) nor active (2)",
                  o.adversary);
    }
    if (!(o.gamma >= 0.0 && o.gamma <= 0.9)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "gamma %g, it must be 0 to 0.9", o.gamma);
    }
    WEFT_TRY(weft_policy_check_jobs(o.allowed_jobs, err));
    const weft_client_options texts = o;
    o.state_dir = NULL;
    o.allowed_jobs = NULL;
    o.http_proxy = NULL;
    client->options = o;
    const char *copy = texts.state_dir;
    WEFT_TRY(copy_option(&copy, WEFT_CLIENT_MAX_PATH, client->alloc, err));
    client->options.state_dir = copy;
    copy = texts.allowed_jobs;
    WEFT_TRY(copy_option(&copy, WEFT_POLICY_MAX_JOBS_BYTES, client->alloc, err));
    client->options.allowed_jobs = copy;
    copy = texts.http_proxy;
    WEFT_TRY(copy_option(&copy, 1024, client->alloc, err));
    client->options.http_proxy = copy;
    return WEFT_OK;
}

/* One descriptor for hosts: readable when the network or the session's clock has work. */
static weft_status make_wake_fd(weft_client *client, weft_err *err)
{
    client->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    client->wake_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event on_loop = {.events = EPOLLIN};
    struct epoll_event on_timer = {.events = EPOLLIN};
    if (client->timer_fd < 0 || client->wake_fd < 0 ||
        epoll_ctl(client->wake_fd, EPOLL_CTL_ADD, weft_transport_fd(client->transport), &on_loop) !=
            0 ||
        epoll_ctl(client->wake_fd, EPOLL_CTL_ADD, client->timer_fd, &on_timer) != 0) {
        WEFT_FAIL_SYS(err, errno, "no descriptors to wake the host with: %s",
                      strerrordesc_np(errno));
    }
    return WEFT_OK;
}

static weft_status set_up(weft_client *client, const weft_client_options *given, weft_err *err)
{
    WEFT_TRY(take_options(client, given, err));
    const bool observe = client->options.observe != 0;
    WEFT_TRY(
        weft_outbox_open(&client->outbox, client->options.state_dir, observe, client->alloc, err));
    weft_err none = WEFT_ERR_INIT;
    const weft_status status = weft_outbox_load_identity(client->outbox, &client->identity, &none);
    if (status != WEFT_OK && status != WEFT_E_NOTFOUND) {
        return weft_err_set(err, status, none.sys, none.file, none.line, "%s", none.msg);
    }
    client->enrolled = status == WEFT_OK && client->identity.certificate_pem.size > 0;
    client->seen_unix_ms = weft_outbox_seen(client->outbox);
    if (observe) {
        return WEFT_OK;
    }
    const weft_transport_options options = {.alloc = client->alloc,
                                            .http_proxy = client->options.http_proxy,
                                            .backoff_max_ms =
                                                client->options.connect_backoff_max_ms,
                                            .poller_thread = client->options.poller_thread != 0};
    WEFT_TRY(weft_transport_new(&client->transport, &options, err));
    return client->options.poller_thread ? make_wake_fd(client, err) : WEFT_OK;
}

static void free_client(weft_client *client)
{
    weft_session_free(client->session);
    weft_lease_done(&client->lease);
    weft_transport_free(client->transport);
    weft_base_map_done(&client->map);
    weft_base_free(client->base);
    weft_base_memory_done(&client->memory);
    weft_outbox_free(client->outbox);
    weft_outbox_identity_done(&client->identity);
    weft_sign_key_done(&client->member_key);
    if (client->key_pem.data) {
        weft_wipe(client->key_pem.data, client->key_pem.cap);
    }
    weft_buf_done(&client->key_pem);
    for (uint32_t i = 0; i < client->n_datasets; i++) {
        weft_free(client->alloc, client->datasets[i].schema);
    }
    if (client->wake_fd >= 0) {
        (void)close(client->wake_fd); /* nothing was written */
    }
    if (client->timer_fd >= 0) {
        (void)close(client->timer_fd); /* nothing was written */
    }
    weft_free(client->alloc, (void *)(uintptr_t)client->options.state_dir);
    weft_free(client->alloc, (void *)(uintptr_t)client->options.allowed_jobs);
    weft_free(client->alloc, (void *)(uintptr_t)client->options.http_proxy);
    weft_free(client->alloc, client);
}

static weft_status open_client(weft_client **ret, const weft_client_options *options, weft_err *err)
{
    const weft_alloc *a = &weft_alloc_std;
    if (!ret || !options) {
        WEFT_FAIL(err, WEFT_E_INVALID, "weft_client_open needs a place for the client and options");
    }
    weft_client *client = weft_array(a, 1, sizeof *client);
    if (!client) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a client");
    }
    client->alloc = a;
    client->pid = getpid();
    client->wake_fd = -1;
    client->timer_fd = -1;
    client->log = (weft_log){log_to_host, client, WEFT_LOG_DEBUG};
    weft_base_memory_init(&client->memory, a);
    weft_lease_init(&client->lease, a);
    weft_outbox_identity_init(&client->identity, a);
    weft_buf_init(&client->key_pem, a, WEFT_MAX_PEM_BYTES);
    atomic_init(&client->stop, false);
    const weft_status status = set_up(client, options, err);
    if (status != WEFT_OK) {
        free_client(client);
        return status;
    }
    *ret = client;
    return WEFT_OK;
}

weft_status weft_client_open(weft_client **ret, const weft_client_options *options, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    return weft_client_tell(err, open_client(ret, options, &why), &why);
}

void weft_client_close(weft_client *client)
{
    if (!client || getpid() != client->pid) {
        return; /* in a forked child, gRPC and SQLite may not be touched: the memory is left */
    }
    free_client(client);
}

/* ---- data sets ------------------------------------------------------------------------------ */

static weft_status attach(weft_client *client, const weft_dataset *given,
                          const weft_trainer *trainer, weft_err *err)
{
    WEFT_TRY(weft_client_usable(client, err));
    if (!given || !trainer) {
        WEFT_FAIL(err, WEFT_E_INVALID, "weft_client_attach needs a data set and a trainer");
    }
    weft_dataset d = WEFT_DATASET_INIT;
    weft_trainer t = {.size = sizeof t};
    WEFT_TRY(weft_struct_in(&d, sizeof d, given, offsetof(weft_dataset, n_examples), "weft_dataset",
                            err));
    WEFT_TRY(weft_struct_in(&t, sizeof t, trainer, sizeof t, "weft_trainer", err));
    if (!d.name || !weft_name_valid(d.name)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "a data set's name is 1 to %d letters, digits, '.', '_' or '-', not '%.80s'",
                  WEFT_MAX_NAME_BYTES, d.name ? d.name : "");
    }
    if (!t.run) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the trainer of %s has no run function", d.name);
    }
    if (client->session) {
        WEFT_FAIL(err, WEFT_E_STATE, "the client is running: attach %s before", d.name);
    }
    if (client->n_datasets == WEFT_MAX_DATASETS) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "more than %d data sets", WEFT_MAX_DATASETS);
    }
    for (uint32_t i = 0; i < client->n_datasets; i++) {
        if (strcmp(client->datasets[i].name, d.name) == 0) {
            WEFT_FAIL(err, WEFT_E_CONFLICT, "data set %s is attached already", d.name);
        }
    }
    if (d.schema && strnlen(d.schema, WEFT_MAX_SCHEMA_BYTES + 1) > WEFT_MAX_SCHEMA_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the schema of %s is longer than %u bytes", d.name,
                  WEFT_MAX_SCHEMA_BYTES);
    }
    const char *schema = d.schema;
    WEFT_TRY(copy_option(&schema, WEFT_MAX_SCHEMA_BYTES, client->alloc, err));
    weft_client_data *data = &client->datasets[client->n_datasets++];
    memcpy(data->name, d.name, strlen(d.name) + 1);
    data->n_examples = d.n_examples;
    data->schema = (char *)(uintptr_t)schema;
    data->trainer = t;
    return WEFT_OK;
}

weft_status weft_client_attach(weft_client *client, const weft_dataset *dataset,
                               const weft_trainer *trainer, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    return weft_client_tell(err, attach(client, dataset, trainer, &why), &why);
}

void weft_client_observe(weft_client *client, weft_client_observer observer, void *arg)
{
    if (client) {
        client->observer = observer;
        client->observer_arg = arg;
    }
}

/* ---- running -------------------------------------------------------------------------------- */

static weft_status begin(weft_client *client, weft_err *err)
{
    if (!client->transport) {
        WEFT_FAIL(err, WEFT_E_STATE, "a client that only observes cannot run");
    }
    if (!client->enrolled) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the client in %.160s has not enrolled: it needs a join file",
                  client->options.state_dir);
    }
    if (client->n_datasets == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "no data set is attached");
    }
    if (!client->identified) {
        WEFT_TRY(weft_client_identify(client, err));
    }
    return weft_client_begin_session(client, err);
}

/* Feed what is there. @return in *ret_any whether anything was. */
static weft_status turn(weft_client *client, bool *ret_any, weft_err *err)
{
    weft_session_event event = {.kind = WEFT_SESSION_STOP};
    *ret_any = true;
    if (atomic_load(&client->stop)) {
        return weft_client_feed(client, &event, err);
    }
    if (weft_transport_take(client->transport, &event)) {
        return weft_client_feed(client, &event, err);
    }
    const uint64_t now = weft_clock_system.mono_ms(weft_clock_system.self);
    if (now >= weft_session_next_ms(client->session)) {
        event = (weft_session_event){.kind = WEFT_SESSION_TICK};
        return weft_client_feed(client, &event, err);
    }
    *ret_any = false;
    return WEFT_OK;
}

static void end_session(weft_client *client)
{
    weft_transport_cancel(client->transport);
    weft_base_map_done(&client->map);
    weft_lease_done(&client->lease);
    weft_client_rest(client);
    weft_session_free(client->session);
    client->session = NULL;
    if (client->end == WEFT_E_CANCELED) {
        atomic_store(&client->stop, false); /* it was heard; the client may run again */
    }
}

/* When there is something to do without news: the session's clock, or memory to be given back. */
static uint64_t next_ms(const weft_client *client)
{
    const uint64_t next = weft_session_next_ms(client->session);
    const bool may_rest = client->memory.size > 0 && !weft_session_open(client->session);
    const uint64_t rest = may_rest ? client->busy_ms + REST_MS : UINT64_MAX;
    return next < rest ? next : rest;
}

/* Until the session ends or until_ms. */
static weft_status work(weft_client *client, uint64_t until_ms, weft_err *err)
{
    bool any = false;
    weft_transport_step(client->transport, 0);
    for (;;) {
        WEFT_TRY(turn(client, &any, err));
        if (weft_session_finished(client->session)) {
            return WEFT_OK;
        }
        const uint64_t now = weft_clock_system.mono_ms(weft_clock_system.self);
        if (any) {
            client->busy_ms = now;
            continue;
        }
        if (now >= next_ms(client)) {
            weft_client_rest(client);
        }
        const uint64_t next = next_ms(client);
        if (now >= until_ms) {
            return WEFT_E_AGAIN;
        }
        const uint64_t wait = (next < until_ms ? next : until_ms) - now;
        weft_transport_step(client->transport, wait < RUN_STEP_MS ? (uint32_t)wait : RUN_STEP_MS);
    }
}

static void set_timer(const weft_client *client)
{
    struct itimerspec at = {.it_value = {0, 0}}; /* none */
    const uint64_t next = client->session ? next_ms(client) : UINT64_MAX;
    if (next != UINT64_MAX) {
        at.it_value.tv_sec = (time_t)(next / 1000);
        at.it_value.tv_nsec = (long)(next % 1000) * 1000000 + 1; /* 0, 0 would mean never */
    }
    (void)timerfd_settime(client->timer_fd, TFD_TIMER_ABSTIME, &at, NULL); /* valid arguments */
}

static weft_status step(weft_client *client, uint32_t timeout_ms, weft_err *err)
{
    WEFT_TRY(weft_client_usable(client, err));
    if (!client->session) {
        WEFT_TRY(begin(client, err));
    }
    const uint64_t now = weft_clock_system.mono_ms(weft_clock_system.self);
    client->end = WEFT_E_INTERNAL;
    weft_status status = work(client, now + timeout_ms, err);
    if (status == WEFT_OK) {
        status = client->end;
        if (status != WEFT_OK) {
            status = weft_err_set(err, status, 0, __FILE__, __LINE__, "%s", client->end_text);
        }
    }
    if (status != WEFT_E_AGAIN || weft_session_finished(client->session)) {
        end_session(client);
    }
    if (client->timer_fd >= 0) {
        set_timer(client);
    }
    return status;
}

weft_status weft_client_step(weft_client *client, uint32_t timeout_ms, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    const weft_status status = step(client, timeout_ms, &why);
    return status == WEFT_E_AGAIN ? status : weft_client_tell(err, status, &why);
}

weft_status weft_client_run(weft_client *client, weft_error *err)
{
    weft_status status = WEFT_E_AGAIN;
    while (status == WEFT_E_AGAIN) {
        status = weft_client_step(client, RUN_STEP_MS, err);
    }
    return status;
}

void weft_client_stop(weft_client *client)
{
    if (client) {
        atomic_store(&client->stop, true);
        if (client->transport) {
            weft_transport_wake_signal(client->transport);
        }
    }
}

int weft_client_wake_fd(const weft_client *client)
{
    return client ? client->wake_fd : -1;
}
