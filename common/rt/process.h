/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program (weftd, weft, weft-client, test servers) sets once for the whole process, in main,
 * before any thread and before anything else of rt. libweft inside somebody's application calls
 * nothing of this: there gRPC's own initialisation is all that happens.
 */
#ifndef WEFT_RT_PROCESS_H
#define WEFT_RT_PROCESS_H

#include "base/err.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct weft_rt_process_options {
    size_t size;
    /* TLS 1.3 only (leaves TLS 1.2 without a usable suite for ECDSA certificates), no session
     * tickets (they do not survive a restart and cost a fifth of each handshake). Servers. */
    bool tls13_only;
    /* Give freed memory back late, few arenas: uploads reuse it. Servers. */
    bool tune_malloc;
    /* Raise the soft limit of open files to the hard one: one descriptor per connection. */
    bool raise_nofile;
    /* Block SIGTERM, SIGINT and SIGHUP in this and all later threads; for weft_rt_signal_wait. */
    bool block_signals;
    /* Where gRPC's own log goes (errors; "peer did not return a certificate" is said only there).
     * NULL: stderr, as gRPC does. Must outlive the process's use of rt. */
    const weft_log *log;
} weft_rt_process_options;

#define WEFT_RT_PROCESS_OPTIONS_INIT                                                               \
    {                                                                                              \
        .size = sizeof(weft_rt_process_options)                                                    \
    }

/**
 * Set the process up; SIGPIPE is always ignored. Once, from main, single-threaded.
 * @return WEFT_OK; WEFT_E_LIMIT less memory is allowed (ulimit -d, -v) than gRPC's threads need,
 * which would wait for ever; WEFT_E_CRYPTO OpenSSL refused its settings; WEFT_E_IO a limit or the
 * signal mask.
 */
WEFT_NODISCARD weft_status weft_rt_process_setup(const weft_rt_process_options *options,
                                                 weft_err *err);

/** Wait for one of the blocked signals. @return its number; 0 after timeout_ms. Threads: any. */
int weft_rt_signal_wait(uint32_t timeout_ms);

/** The soft limit of open files: connections that can be held. Threads: any. */
uint64_t weft_rt_max_files(void);

/** Give memory that is free back to the system, after many clients have left. Threads: any. */
void weft_rt_memory_trim(void);

#endif
