/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for whole models: the heap for small ones, fresh (huge) pages for ordinary ones, a mapping
 * of an unlinked file in the data directory for huge ones, so that the kernel can write it back
 * instead of running out.
 */
#ifndef WEFT_APP_MEMORY_H
#define WEFT_APP_MEMORY_H

#include "base/alloc.h"
#include "base/err.h"
#include "rt/blob.h"

#include <stdbool.h>

/* Above this a block lies in a mapped file: it must not count against the machine's memory. A round
 * has three (base, sum, next version), so what its model takes beside mappings stays below 192 MiB,
 * however large it is. */
#define WEFT_APP_MAPPED_BYTES (UINT64_C(64) << 20)

/* From here on a block has pages of its own: a round takes and leaves three of them, and touching
 * 4 KiB pages one by one costs four times as much as huge ones. */
#define WEFT_APP_PAGES_BYTES (UINT64_C(4) << 20)

/* One block. Finish with weft_memory_done, or turn it into a blob. */
typedef struct weft_memory {
    const weft_alloc *alloc; /* of the block: the heap's, or the pages' own */
    void *data;
    size_t size;
} weft_memory;

/** size bytes, not zeroed unless mapped. WEFT_E_NOMEM, WEFT_E_IO. Threads: any. */
WEFT_NODISCARD weft_status weft_memory_take(weft_memory *ret, uint64_t size, const char *dir,
                                            const weft_alloc *a, weft_err *err);
/** The same, all zeros; pages of a mapping that nobody writes to take no room on the disk. */
WEFT_NODISCARD weft_status weft_memory_take_zeros(weft_memory *ret, uint64_t size, const char *dir,
                                                  const weft_alloc *a, weft_err *err);
/** Is it a mapping of a file? */
bool weft_memory_is_mapped(const weft_memory *memory);
/** Bytes [from, from + n) of a mapping leave this process; they stay in the file. Else nothing. */
void weft_memory_unload(const weft_memory *memory, size_t from, size_t n);
/** Free; an empty one is fine. */
void weft_memory_done(weft_memory *memory);
/** A blob that owns the block; memory is empty afterwards. On failure it stays the caller's. */
WEFT_NODISCARD weft_status weft_memory_to_blob(weft_rt_blob **ret, weft_memory *memory,
                                               weft_err *err);

#endif
