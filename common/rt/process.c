/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what a program sets once for its whole process: environment, OpenSSL's defaults, malloc,
 * limits, signals, gRPC's log. From main, before there is a second thread.
 */
#include "rt/process.h"

#include "rt/cq_priv.h"

#include <errno.h>
#include <grpc/support/log.h>
#include <malloc.h>
#include <openssl/bio.h>
#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* gRPC 1.51 has no setting for TLS 1.3 only. This leaves it no TLS 1.2 suite that an ECDSA
 * certificate could serve; TLS 1.3 suites are not affected. */
#define SUITE_NO_ECDSA_CAN_SERVE "ECDHE-RSA-AES256-GCM-SHA384"

/* Two tickets a handshake, each with a copy of the peer's certificate, are 20 % of its CPU. The
 * other lines repeat Debian's openssl.cnf, whose section this replaces. */
static const char openssl_settings[] = "weft = weft_modules\n"
                                       "[weft_modules]\n"
                                       "ssl_conf = weft_ssl\n"
                                       "[weft_ssl]\n"
                                       "system_default = weft_ssl_default\n"
                                       "[weft_ssl_default]\n"
                                       "MinProtocol = TLSv1.2\n"
                                       "CipherString = DEFAULT:@SECLEVEL=2\n"
                                       "NumTickets = 0\n";

/* Buffers of chunks stay in the heap between uploads; whole models come and go as mappings. (glibc
 * ignores a mapping threshold above 32 MiB.) */
#define MALLOC_KEEP_BYTES (64 << 20)
#define MALLOC_MAP_BYTES  (4 << 20)
#define MALLOC_ARENAS     2

static void conf_done(CONF **conf)
{
    NCONF_free(*conf);
}

static void bio_done(BIO **bio)
{
    BIO_free(*bio);
}

static weft_status set_openssl(weft_err *err)
{
    /* the system's own file first: loaded later it would replace our section again */
    if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CONFIG, NULL) != 1) {
        WEFT_FAIL(err, WEFT_E_CRYPTO, "OpenSSL cannot be initialised");
    }
    __attribute__((cleanup(conf_done))) CONF *conf = NCONF_new(NULL);
    __attribute__((cleanup(bio_done))) BIO *bio =
        BIO_new_mem_buf(openssl_settings, (int)sizeof openssl_settings - 1);
    long line = 0;
    if (!conf || !bio || NCONF_load_bio(conf, bio, &line) != 1 ||
        CONF_modules_load(conf, "weft", 0) != 1) {
        ERR_clear_error();
        WEFT_FAIL(err, WEFT_E_CRYPTO, "OpenSSL refuses its settings at line %ld", line);
    }
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): from main, before there is a second thread */
    if (setenv("GRPC_SSL_CIPHER_SUITES", SUITE_NO_ECDSA_CAN_SERVE, 1) != 0) {
        WEFT_FAIL_SYS(err, errno, "cannot set the environment");
    }
    return WEFT_OK;
}

/* ---- gRPC's log ------------------------------------------------------------------------------ */

/* A hostile peer makes gRPC write a line per connection: so many a second are passed on. */
#define MAX_LINES_PER_SECOND 10

static _Atomic(const weft_log *) grpc_log;
static atomic_uint_least64_t log_window; /* second * 2^16 + lines in it */

static bool may_log(void)
{
    const uint64_t second = (weft_rt_now_ms() / 1000) << 16;
    uint64_t seen = atomic_load(&log_window);
    for (;;) {
        uint64_t next = seen + 1;
        if (seen >> 16 != second >> 16) {
            next = second + 1;
        } else if ((seen & 0xFFFF) >= MAX_LINES_PER_SECOND) {
            return false;
        }
        if (atomic_compare_exchange_weak(&log_window, &seen, next)) {
            return true;
        }
    }
}

static void on_grpc_log(gpr_log_func_args *args)
{
    const weft_log *log = atomic_load(&grpc_log);
    if (log && may_log()) {
        const weft_log_level level =
            args->severity == GPR_LOG_SEVERITY_ERROR ? WEFT_LOG_WARN : WEFT_LOG_DEBUG;
        const char *slash = strrchr(args->file, '/');
        weft_log_line(log, level, "from=grpc at=%s:%d msg=\"%.700s\"",
                      slash ? slash + 1 : args->file, args->line, args->message);
    }
}

/* ---- signals, limits ------------------------------------------------------------------------- */

static void handled_signals(sigset_t *ret)
{
    (void)sigemptyset(ret); /* cannot fail */
    (void)sigaddset(ret, SIGTERM);
    (void)sigaddset(ret, SIGINT);
    (void)sigaddset(ret, SIGHUP);
}

static weft_status raise_nofile(weft_err *err)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        WEFT_FAIL_SYS(err, errno, "cannot read the limit of open files");
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        WEFT_FAIL_SYS(err, errno, "cannot raise the limit of open files to %llu",
                      (unsigned long long)limit.rlim_max);
    }
    return WEFT_OK;
}

/* gRPC starts threads of its own, some only later, and waits for ever for one that could not be
 * started. A stack of 8 MiB each; of address space glibc takes 64 MiB more for each one's heap. */
#define LEAST_DATA_BYTES    ((rlim_t)128 << 20)
#define LEAST_ADDRESS_BYTES ((rlim_t)1 << 30)

static weft_status check_memory_limits(weft_err *err)
{
    const struct {
        __rlimit_resource_t what;
        const char *name;
        rlim_t least;
    } limits[] = {{RLIMIT_DATA, "ulimit -d", LEAST_DATA_BYTES},
                  {RLIMIT_AS, "ulimit -v", LEAST_ADDRESS_BYTES}};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct rlimit limit;
        if (getrlimit(limits[i].what, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
            limit.rlim_cur < limits[i].least) {
            WEFT_FAIL(err, WEFT_E_LIMIT,
                      "this process may use %llu kB of memory (%s); threads need at least %llu kB",
                      (unsigned long long)limit.rlim_cur >> 10, limits[i].name,
                      (unsigned long long)limits[i].least >> 10);
        }
    }
    return WEFT_OK;
}

weft_status weft_rt_process_setup(const weft_rt_process_options *options, weft_err *err)
{
    struct sigaction ignore = {0};
    ignore.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &ignore, NULL); /* cannot fail for this signal */
    if (options->block_signals) {
        sigset_t set;
        handled_signals(&set);
        const int sys = pthread_sigmask(SIG_BLOCK, &set, NULL);
        if (sys != 0) {
            WEFT_FAIL_SYS(err, sys, "cannot block signals");
        }
    }
    WEFT_TRY(check_memory_limits(err));
    if (options->raise_nofile) {
        WEFT_TRY(raise_nofile(err));
    }
    if (options->tune_malloc) {
        /* hints: an allocator that does not know them works, too */
        /* NOLINTBEGIN(concurrency-mt-unsafe): from main, before there is a second thread */
        (void)mallopt(M_TRIM_THRESHOLD, MALLOC_KEEP_BYTES);
        (void)mallopt(M_MMAP_THRESHOLD, MALLOC_MAP_BYTES);
        (void)mallopt(M_ARENA_MAX, MALLOC_ARENAS);
        /* NOLINTEND(concurrency-mt-unsafe) */
    }
    if (options->log) {
        atomic_store(&grpc_log, options->log);
        gpr_set_log_function(on_grpc_log);
    }
    return options->tls13_only ? set_openssl(err) : WEFT_OK;
}

int weft_rt_signal_wait(uint32_t timeout_ms)
{
    sigset_t set;
    handled_signals(&set);
    const struct timespec timeout = {(time_t)(timeout_ms / 1000),
                                     (long)(timeout_ms % 1000) * 1000000L};
    const int number = sigtimedwait(&set, NULL, &timeout);
    return number > 0 ? number : 0;
}

uint64_t weft_rt_max_files(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (uint64_t)limit.rlim_cur : 0;
}

void weft_rt_memory_trim(void)
{
    (void)malloc_trim(0); /* nothing to give back is fine */
}
