/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_arena: the memory of decoded messages. Blocks are handed out under a maximum and freed
 * together. Owner thread only.
 */
#ifndef WEFT_ARENA_H
#define WEFT_ARENA_H

#include "base/alloc.h"
#include "base/err.h"

#include <stddef.h>

typedef struct weft_arena {
    const weft_alloc *alloc;
    struct weft_arena_block *head; /* newest block, owned */
    size_t used;                   /* bytes of all blocks; used <= max */
    size_t max;
    /* WEFT_OK, or why the newest take that failed did: WEFT_E_LIMIT (above max), WEFT_E_NOMEM */
    weft_status failed;
} weft_arena;

/** Nothing is allocated yet; at most max bytes ever will be. */
void weft_arena_init(weft_arena *arena, const weft_alloc *a, size_t max);
/** n * size zeroed bytes that live until weft_arena_done, or NULL; `failed` says why. */
void *weft_arena_take(weft_arena *arena, size_t n, size_t size);
/** Free everything; the arena is as after init. */
void weft_arena_done(weft_arena *arena);

#endif
