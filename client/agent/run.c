/* SPDX-License-Identifier: Apache-2.0 */
/* weft-client enrol and run: the client's life, signals, pauses. One thread, and signals on any. */
#include "agent.h"

#include "base/version.h"
#include "rt/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Between two questions whether there is a job again. */
#define PAUSE_MS 10000
/* Between two attempts to enrol at a coordinator that is away. */
#define ENROL_PAUSE_MS 2000

typedef struct agent {
    const agent_options *options;
    weft_client *client;
    agent_sets *sets;
    weft_log log;
    weft_log_level level;
    int wake_fd; /* readable once a signal came */
    bool idle;   /* there was nothing to do the last time: asking again is not worth a line */
    atomic_bool stopping;
} agent;

/* Handlers have no argument of their own. Set while signals are handled. */
static agent *_Atomic signalled;

static void log_from_client(void *arg, weft_log_severity severity, const char *line)
{
    agent *a = arg;
    weft_log_level level = (weft_log_level)severity;
    if (a->idle && (strcmp(line, "event=connected") == 0 ||
                    strncmp(line, "event=ended status=ok ", 22) == 0)) {
        level = WEFT_LOG_DEBUG;
    } else if (level == WEFT_LOG_INFO) {
        a->idle = false;
    }
    agent_log_line(&a->level, level, line);
}

/* On any thread (OpenBLAS has some of its own, from before main: blocking would not do). A second
 * signal does not wait for anybody. */
static void on_signal(int number)
{
    const int saved = errno;
    agent *a = atomic_load(&signalled);
    if (!a || atomic_exchange(&a->stopping, true)) {
        _exit(128 + number);
    }
    const uint64_t one = 1;
    (void)!write(a->wake_fd, &one, sizeof one); /* cannot fail: the counter is not full */
    weft_client_stop(a->client); /* NOLINT(bugprone-signal-handler): documented as safe */
    errno = saved;
}

static void handle_signals(agent *a)
{
    atomic_store(&signalled, a);
    struct sigaction action = {.sa_flags = SA_RESTART};
    action.sa_handler = a ? on_signal : SIG_DFL;
    (void)sigaction(SIGTERM, &action, NULL); /* cannot fail for these */
    (void)sigaction(SIGINT, &action, NULL);
}

/* @return false when a signal came meanwhile. */
static bool pause_ms(const agent *a, int ms)
{
    struct pollfd fd = {.fd = a->wake_fd, .events = POLLIN};
    (void)poll(&fd, 1, ms); /* an error ends the pause early */
    return !atomic_load(&a->stopping);
}

static int set_up(agent *a)
{
    a->level = a->options->level;
    a->log = (weft_log){agent_log_line, &a->level, a->level};
    weft_rt_process_options process = WEFT_RT_PROCESS_OPTIONS_INIT;
    process.log = &a->log;
    process.tune_malloc = true; /* chunks come and go: their pages stay */
    weft_err err = WEFT_ERR_INIT;
    if (weft_rt_process_setup(&process, &err) != WEFT_OK) {
        return agent_fail("cannot start", err.code, err.msg);
    }
    weft_client_options o = WEFT_CLIENT_OPTIONS_INIT;
    o.state_dir = a->options->state_dir;
    o.allowed_jobs = a->options->allowed_jobs;
    o.min_cohort = a->options->min_cohort;
    o.require_secure_aggregation = !a->options->allow_plain;
    o.adversary = a->options->adversary;
    o.gamma = a->options->gamma;
    o.http_proxy = a->options->http_proxy;
    o.log = log_from_client;
    o.log_arg = a;
    weft_error why = WEFT_ERROR_INIT;
    const weft_status status = weft_client_open(&a->client, &o, &why);
    if (status != WEFT_OK) {
        return agent_fail("cannot open the client", status, why.message);
    }
    a->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->wake_fd < 0) {
        return agent_fail("cannot start", WEFT_E_IO, strerrordesc_np(errno));
    }
    handle_signals(a);
    return AGENT_DONE;
}

static void tear_down(agent *a)
{
    handle_signals(NULL); /* from here on they end the process at once */
    weft_client_close(a->client);
    agent_sets_close(a->sets);
    if (a->wake_fd >= 0) {
        (void)close(a->wake_fd); /* nothing to lose */
    }
}

/* patient: wait for a coordinator that is away. */
static int enrol(agent *a, bool patient)
{
    weft_error why = WEFT_ERROR_INIT;
    weft_status status = weft_client_enrol(a->client, a->options->join_file, &why);
    while (patient && status == WEFT_E_AGAIN) {
        weft_log_line(&a->log, WEFT_LOG_WARN, "event=waiting reason=\"%s\"", why.message);
        if (!pause_ms(a, ENROL_PAUSE_MS)) {
            return AGENT_DONE;
        }
        status = weft_client_enrol(a->client, a->options->join_file, &why);
    }
    return status == WEFT_OK ? AGENT_DONE : agent_fail("cannot enrol", status, why.message);
}

int agent_enrol(const agent_options *options)
{
    agent a = {.options = options, .wake_fd = -1};
    int result = set_up(&a);
    if (result == AGENT_DONE) {
        result = enrol(&a, false);
    }
    if (result == AGENT_DONE) {
        weft_client_info info = WEFT_CLIENT_INFO_INIT;
        weft_error why = WEFT_ERROR_INIT;
        if (weft_client_get_info(a.client, &info, &why) == WEFT_OK) {
            printf("%s is a client of %s at %s\n", info.name, info.federation, info.address);
        }
    }
    tear_down(&a);
    return result;
}

static int run(agent *a)
{
    weft_error why = WEFT_ERROR_INIT;
    weft_status status = agent_sets_open(&a->sets, a->client, a->options, &why);
    if (status != WEFT_OK) {
        return agent_fail("cannot open the data", status, why.message);
    }
    weft_log_line(&a->log, WEFT_LOG_INFO, "event=started version=%s state=%s", WEFT_VERSION,
                  a->options->state_dir);
    bool again = true;
    while (again && !atomic_load(&a->stopping)) {
        status = weft_client_run(a->client, &why);
        if (status != WEFT_OK || a->options->once) {
            break;
        }
        if (!a->idle) {
            weft_log_line(&a->log, WEFT_LOG_INFO, "event=idle again_s=%d", PAUSE_MS / 1000);
        }
        a->idle = true;
        again = pause_ms(a, PAUSE_MS);
    }
    if (status == WEFT_OK || status == WEFT_E_CANCELED) {
        return AGENT_DONE;
    }
    return agent_fail("the client has ended", status, why.message);
}

int agent_run(const agent_options *options)
{
    agent a = {.options = options, .wake_fd = -1};
    int result = set_up(&a);
    if (result == AGENT_DONE && options->join_file) {
        result = enrol(&a, true);
    }
    if (result == AGENT_DONE && !atomic_load(&a.stopping)) {
        result = run(&a);
    }
    tear_down(&a);
    return result;
}
