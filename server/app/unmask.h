/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking the masks off a round's sum, on the pool: first the secrets are solved, several at a time,
 * then their streams are added to the sum, each worker its own range of it. No worker waits for
 * another: the last one of a step begins the next. Memory: 33 bytes a stream, 64 KiB of streams'
 * contexts and a block a worker.
 */
#ifndef WEFT_APP_UNMASK_H
#define WEFT_APP_UNMASK_H

#include "core/session.h"
#include "rt/queue.h"

#define WEFT_UNMASK_LIARS_BYTES 128

typedef struct weft_unmask_result {
    weft_err failure;                    /* code != OK: the masks are not off */
    char liars[WEFT_UNMASK_LIARS_BYTES]; /* names, comma-separated, cut with "..."; or "" */
    uint32_t n_liars;
} weft_unmask_result;

typedef struct weft_unmask_config {
    const weft_secure_session *session; /* in SOLVE; borrowed until done */
    uint32_t *words;                    /* [n_words] the masked sum; borrowed until done */
    uint64_t n_words;
    weft_rt_pool *pool;
    uint32_t n_workers;
    const weft_alloc *alloc;
    /* once, on a worker (or the caller's thread when the pool has stopped) */
    void (*done)(void *self, const weft_unmask_result *result);
    void *self;
} weft_unmask_config;

/**
 * Start; done follows also after a failure. Secrets are wiped before it.
 * @return WEFT_E_NOMEM: done does not follow. Threads: any.
 */
WEFT_NODISCARD weft_status weft_unmask_start(const weft_unmask_config *config, weft_err *err);

#endif
