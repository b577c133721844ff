/* SPDX-License-Identifier: Apache-2.0 */
/* weftd: options, signals, the ready line. The main thread waits for signals; all else has threads
 * of its own. */
#include "app/daemon.h"
#include "app/stderr_log.h"
#include "base/file.h"
#include "base/version.h"
#include "rt/process.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 64 };

typedef struct options {
    const char *config;
    const char *data_dir;
    const char *listen;
    const char *ready_file;
    const char *log_level;
    bool plain;
    bool check;
} options;

static const char usage[] =
    "usage: weftd --config FILE [options]\n"
    "\n"
    "The coordinator of a federation. `weft init` makes its directory and configuration.\n"
    "\n"
    "  --config FILE      configuration (weftd.yaml)\n"
    "  --data-dir DIR     databases and uploads, instead of the configured directory\n"
    "  --listen ADDRESS   HOST:PORT, instead of the configured one; port 0: any free port\n"
    "  --ready-file FILE  write the ready line there, too, once it serves\n"
    "  --log-level LEVEL  error, warn, info or debug\n"
    "  --check            check configuration and keys, then exit\n"
    "  --plain-loopback-for-benchmarks\n"
    "                     no TLS and no identities; refused on any address but loopback\n"
    "  --version          print the version\n"
    "  --help             print this\n"
    "\n"
    "Once it serves, it prints one line: weftd ready address=HOST:PORT federation=NAME pid=N\n"
    "SIGTERM and SIGINT stop it gracefully; SIGHUP loads its certificate anew. It renews that\n"
    "certificate by itself, at start and while it runs, after two thirds of its 90 days.\n"
    "Exit status: 0 stopped, 1 failed, 64 usage.\n";

static int fail(const weft_err *err)
{
    (void)fprintf(stderr, "weftd: %s\n", err->msg); /* nowhere to report a failing stderr */
    return EXIT_FAILED;
}

/* 0: go on; else the exit status plus 1. */
static int parse(options *o, int argc, char **argv)
{
    enum {
        OPT_CONFIG = 256,
        OPT_DATA,
        OPT_LISTEN,
        OPT_READY,
        OPT_LEVEL,
        OPT_CHECK,
        OPT_PLAIN,
        OPT_VERSION,
        OPT_HELP
    };
    static const struct option longs[] = {
        {"config", required_argument, NULL, OPT_CONFIG},
        {"data-dir", required_argument, NULL, OPT_DATA},
        {"listen", required_argument, NULL, OPT_LISTEN},
        {"ready-file", required_argument, NULL, OPT_READY},
        {"log-level", required_argument, NULL, OPT_LEVEL},
        {"check", no_argument, NULL, OPT_CHECK},
        {"plain-loopback-for-benchmarks", no_argument, NULL, OPT_PLAIN},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0}};
    int c = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the only thread yet */
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case OPT_CONFIG:
            o->config = optarg;
            break;
        case OPT_DATA:
            o->data_dir = optarg;
            break;
        case OPT_LISTEN:
            o->listen = optarg;
            break;
        case OPT_READY:
            o->ready_file = optarg;
            break;
        case OPT_LEVEL:
            o->log_level = optarg;
            break;
        case OPT_CHECK:
            o->check = true;
            break;
        case OPT_PLAIN:
            o->plain = true;
            break;
        case OPT_VERSION:
            (void)puts("weftd " WEFT_VERSION); /* a closed stdout: nothing to do about it */
            return 1;
        case OPT_HELP:
            (void)fputs(usage, stdout); /* the same */
            return 1;
        default:
            return EXIT_USAGE + 1;
        }
    }
    if (optind < argc || !o->config) {
        (void)fprintf(stderr, "weftd: %s%s; --help shows the options\n",
                      o->config ? "what is " : "--config FILE is needed",
                      o->config ? argv[optind] : ""); /* nowhere to report a failing stderr */
        return EXIT_USAGE + 1;
    }
    return 0;
}

static weft_status put_text(char *out, size_t size, const char *text, const char *name,
                            weft_err *err)
{
    const int n = snprintf(out, size, "%s", text);
    if (n < 0 || (size_t)n >= size) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%s is longer than %zu bytes", name, size - 1);
    }
    return WEFT_OK;
}

static weft_status configure(weft_server_config *config, const options *o, weft_err *err)
{
    WEFT_TRY(weft_server_config_load(config, o->config, &weft_alloc_std, err));
    if (o->data_dir) {
        WEFT_TRY(
            put_text(config->data_dir, sizeof config->data_dir, o->data_dir, "--data-dir", err));
    }
    if (o->listen) {
        WEFT_TRY(put_text(config->listen, sizeof config->listen, o->listen, "--listen", err));
    }
    if (o->log_level && !weft_stderr_level(o->log_level, &config->log_level)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "--log-level is %s, want error, warn, info or debug",
                  o->log_level);
    }
    return WEFT_OK;
}

static weft_status say_ready(const weft_daemon *d, const options *o, const char *listen,
                             weft_err *err)
{
    char line[1024];
    const char *colon = strrchr(listen, ':');
    const int host = colon ? (int)(colon - listen) : (int)strlen(listen);
    const int n =
        snprintf(line, sizeof line, "weftd ready address=%.*s:%u federation=%s pid=%ld\n", host,
                 listen, weft_daemon_port(d), weft_daemon_federation(d), (long)getpid());
    if (n < 0 || (size_t)n >= sizeof line) {
        WEFT_FAIL(err, WEFT_E_INTERNAL, "the ready line is too long");
    }
    if (o->ready_file) {
        WEFT_TRY(weft_file_write(o->ready_file, line, (size_t)n, 0644, err));
    }
    (void)fputs(line, stdout); /* a closed stdout: the ready file tells it, too */
    (void)fflush(stdout);
    return WEFT_OK;
}

/* Until SIGTERM or SIGINT. */
static void wait_for_end(weft_daemon *d, const weft_log *log)
{
    for (;;) {
        const int sig = weft_rt_signal_wait(UINT32_MAX);
        weft_err err = WEFT_ERR_INIT;
        if (sig == SIGHUP) {
            const bool good = weft_daemon_reload(d, &err) == WEFT_OK;
            weft_log_line(log, good ? WEFT_LOG_INFO : WEFT_LOG_ERROR, "event=reload%s%s%s",
                          good ? "ed" : "_failed error=\"", err.msg, good ? "" : "\"");
        } else if (sig != 0) {
            weft_log_line(log, WEFT_LOG_INFO, "event=stopping signal=%d", sig);
            return;
        }
    }
}

static int run(const options *o, const weft_server_config *config, const weft_log *log)
{
    weft_err err = WEFT_ERR_INIT;
    weft_daemon *d = NULL;
    const weft_daemon_options daemon = {.config = config,
                                        .plain = o->plain,
                                        .alloc = &weft_alloc_std,
                                        .log = log,
                                        .clock = &weft_clock_system,
                                        .entropy = &weft_entropy_system};
    if (o->check) {
        if (weft_daemon_check(&daemon, &err) != WEFT_OK) {
            return fail(&err);
        }
        (void)puts("weftd: the configuration and the keys are good"); /* as above */
        return 0;
    }
    if (weft_daemon_new(&d, &daemon, &err) != WEFT_OK) {
        return fail(&err);
    }
    int status = 0;
    if (say_ready(d, o, config->listen, &err) == WEFT_OK) {
        wait_for_end(d, log);
    } else {
        status = fail(&err);
    }
    weft_daemon_free(d);
    weft_log_line(log, WEFT_LOG_INFO, "event=stopped");
    return status;
}

int main(int argc, char **argv)
{
    options o = {0};
    const int stop = parse(&o, argc, argv);
    if (stop) {
        return stop - 1;
    }
    weft_err err = WEFT_ERR_INIT;
    weft_server_config config;
    if (configure(&config, &o, &err) != WEFT_OK) {
        return fail(&err);
    }
    const weft_log log = weft_stderr_log(config.log_level);
    weft_rt_process_options process = WEFT_RT_PROCESS_OPTIONS_INIT;
    process.tls13_only = true;
    process.tune_malloc = true;
    process.raise_nofile = true;
    process.block_signals = true;
    process.log = &log;
    if (weft_rt_process_setup(&process, &err) != WEFT_OK) {
        return fail(&err);
    }
    return run(&o, &config, &log);
}
