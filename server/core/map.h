/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash map from 64-bit keys to pointers, for the core: ids, call tokens, hashed names. Keys may
 * repeat when the values tell them apart (names). The order of slots is never looked at: whatever
 * the core does must not depend on it. Owner thread.
 */
#ifndef WEFT_CORE_MAP_H
#define WEFT_CORE_MAP_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct core_map_slot {
    uint64_t key;
    void *value; /* NULL: free */
} core_map_slot;

typedef struct core_map {
    const weft_alloc *alloc;
    core_map_slot *slot; /* [cap], owned; cap is 0 or a power of two, at most 3/4 of it used */
    size_t n;
    size_t cap;
} core_map;

/* Is this the value that is looked for? NULL: the key alone decides. */
typedef bool core_map_match(const void *value, const void *wanted);

void core_map_init(core_map *map, const weft_alloc *a);
/** Free the slots, not the values. */
void core_map_done(core_map *map);
/** Add a value; the caller knows that it is not there. WEFT_E_NOMEM: the map is unchanged. */
WEFT_NODISCARD weft_status core_map_add(core_map *map, uint64_t key, void *value, weft_err *err);
/** The value, or NULL. */
void *core_map_find(const core_map *map, uint64_t key, core_map_match *match, const void *wanted);
/** Remove exactly this value, if it is there. */
void core_map_remove(core_map *map, uint64_t key, const void *value);

/** A 64-bit hash of a text (FNV-1a). */
uint64_t core_hash_text(const char *text);

#endif
