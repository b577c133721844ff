/* SPDX-License-Identifier: Apache-2.0 */
/* Arena blocks: small requests share a block, large ones get their own. Owner thread only. */
#include "wire/arena.h"

#include <stdint.h>
#include <string.h>

enum { BLOCK_BYTES = 4096, ALIGN_BYTES = 16 };

struct weft_arena_block {
    struct weft_arena_block *next;
    size_t size; /* of the whole allocation */
    size_t at;   /* first free byte */
};

enum {
    HEAD_BYTES = (sizeof(struct weft_arena_block) + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES
};

void weft_arena_init(weft_arena *arena, const weft_alloc *a, size_t max)
{
    arena->alloc = a;
    arena->head = NULL;
    arena->used = 0;
    arena->max = max;
    arena->failed = WEFT_OK;
}

static struct weft_arena_block *add_block(weft_arena *arena, size_t bytes)
{
    if (bytes > arena->max - arena->used) {
        arena->failed = WEFT_E_LIMIT;
        return NULL;
    }
    struct weft_arena_block *block = weft_array(arena->alloc, 1, bytes);
    if (!block) {
        arena->failed = WEFT_E_NOMEM;
        return NULL;
    }
    block->size = bytes;
    block->at = HEAD_BYTES;
    block->next = arena->head;
    arena->head = block;
    arena->used += bytes;
    return block;
}

void *weft_arena_take(weft_arena *arena, size_t n, size_t size)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes == 0 ||
        bytes > SIZE_MAX - HEAD_BYTES - ALIGN_BYTES) {
        arena->failed = WEFT_E_LIMIT;
        return NULL;
    }
    bytes = (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    struct weft_arena_block *block = arena->head;
    if (!block || bytes > block->size - block->at) {
        const size_t want = bytes + HEAD_BYTES;
        const size_t left = arena->max - arena->used;
        const size_t whole = left < BLOCK_BYTES ? left : BLOCK_BYTES;
        block = add_block(arena, want < whole ? whole : want);
        if (!block) {
            return NULL;
        }
    }
    void *p = (unsigned char *)block + block->at;
    block->at += bytes;
    return p;
}

void weft_arena_done(weft_arena *arena)
{
    struct weft_arena_block *block = arena->head;
    while (block) {
        struct weft_arena_block *next = block->next;
        weft_free(arena->alloc, block);
        block = next;
    }
    arena->head = NULL;
    arena->used = 0;
    arena->failed = WEFT_OK;
}
