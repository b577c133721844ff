/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing with linear probing; removal shifts back, so there are no tombstones. */
#include "core/map.h"

#include <string.h>

#define MIN_SLOTS 16

static size_t home(const core_map *map, uint64_t key)
{
    const uint64_t mixed = (key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 20) & (map->cap - 1);
}

void core_map_init(core_map *map, const weft_alloc *a)
{
    memset(map, 0, sizeof *map);
    map->alloc = a;
}

void core_map_done(core_map *map)
{
    weft_free(map->alloc, map->slot);
    map->slot = NULL;
    map->n = 0;
    map->cap = 0;
}

static void put(core_map *map, uint64_t key, void *value)
{
    size_t i = home(map, key);
    while (map->slot[i].value) {
        i = (i + 1) & (map->cap - 1);
    }
    map->slot[i] = (core_map_slot){key, value};
    map->n++;
}

static weft_status grow(core_map *map, weft_err *err)
{
    core_map larger = {.alloc = map->alloc, .cap = map->cap ? map->cap * 2 : MIN_SLOTS};
    larger.slot = weft_array(map->alloc, larger.cap, sizeof *larger.slot);
    if (!larger.slot) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a map of %zu entries", larger.cap);
    }
    for (size_t i = 0; i < map->cap; i++) {
        if (map->slot[i].value) {
            put(&larger, map->slot[i].key, map->slot[i].value);
        }
    }
    weft_free(map->alloc, map->slot);
    *map = larger;
    return WEFT_OK;
}

weft_status core_map_add(core_map *map, uint64_t key, void *value, weft_err *err)
{
    if ((map->n + 1) * 4 > map->cap * 3) {
        WEFT_TRY(grow(map, err));
    }
    put(map, key, value);
    return WEFT_OK;
}

void *core_map_find(const core_map *map, uint64_t key, core_map_match *match, const void *wanted)
{
    if (map->cap == 0) {
        return NULL;
    }
    for (size_t i = home(map, key); map->slot[i].value; i = (i + 1) & (map->cap - 1)) {
        if (map->slot[i].key == key && (!match || match(map->slot[i].value, wanted))) {
            return map->slot[i].value;
        }
    }
    return NULL;
}

void core_map_remove(core_map *map, uint64_t key, const void *value)
{
    if (map->cap == 0) {
        return;
    }
    const size_t mask = map->cap - 1;
    size_t hole = home(map, key);
    while (map->slot[hole].value && map->slot[hole].value != value) {
        hole = (hole + 1) & mask;
    }
    if (!map->slot[hole].value) {
        return;
    }
    for (size_t i = (hole + 1) & mask; map->slot[i].value; i = (i + 1) & mask) {
        /* an entry may move back unless its home lies after the hole */
        if (((i - home(map, map->slot[i].key)) & mask) >= ((i - hole) & mask)) {
            map->slot[hole] = map->slot[i];
            hole = i;
        }
    }
    map->slot[hole].value = NULL;
    map->n--;
}

uint64_t core_hash_text(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *c = text; *c; c++) {
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    }
    return hash;
}
