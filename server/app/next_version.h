/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a round: sum and base become the next weights, in memory and, durable, in the store.
 * One pass in windows that stay in the cache. Called by rounds_finish.c; worker threads.
 */
#ifndef WEFT_APP_NEXT_VERSION_H
#define WEFT_APP_NEXT_VERSION_H

#include "app/memory.h"
#include "rt/queue.h"
#include "store/models.h"

/* Everything is borrowed. */
typedef struct weft_next_version {
    weft_store *store;
    /* the new weights [n] of parameters [first, first + n), from theirs of the base */
    weft_status (*finish)(void *sum, float *next, const float *base, uint64_t first, uint64_t n,
                          weft_err *err);
    void *sum;
    uint64_t n_params;
    const weft_memory *acc; /* the sum's memory; where it is a mapping, it leaves behind the pass */
    size_t acc_width;       /* its bytes a parameter */
    const float *base;      /* [n_params] */
    const char *model_spec;
    const char *data_schema; /* or NULL */
    weft_rt_pool *pool;      /* hashes beside, where the weights are in memory */
    const weft_alloc *alloc;
} weft_next_version;

/**
 * @param ret  empty before; the next weights, also on failure the caller's to finish.
 * @param ret_digest  their SHA-256, under which the store has them.
 * @return WEFT_E_INVALID a weight is not finite; WEFT_E_NOMEM, WEFT_E_IO no room; WEFT_E_DB.
 */
WEFT_NODISCARD weft_status weft_next_version_make(weft_memory *ret,
                                                  uint8_t ret_digest[WEFT_DIGEST_BYTES],
                                                  const weft_next_version *v, weft_err *err);

#endif
