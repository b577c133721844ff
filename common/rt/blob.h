/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_rt_blob: immutable bytes with a reference count, shared by all who send them. gRPC holds a
 * reference for each part that is on its way, possibly until after the call has ended: a blob's
 * memory goes away with the last reference, on any thread. Never change bytes that a blob was made
 * of: replace the blob.
 */
#ifndef WEFT_RT_BLOB_H
#define WEFT_RT_BLOB_H

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

typedef struct weft_rt_blob weft_rt_blob;

/**
 * A blob with a copy of the bytes. One reference, the caller's.
 * @return WEFT_OK; WEFT_E_NOMEM. Threads: any; alloc must be usable from any thread.
 */
WEFT_NODISCARD weft_status weft_rt_blob_copy(weft_rt_blob **ret, const weft_alloc *alloc,
                                             const void *data, size_t size, weft_err *err);

/**
 * A blob that takes over memory which alloc made; freed with it at the end. On failure data stays
 * the caller's. Errors and threads as weft_rt_blob_copy.
 */
WEFT_NODISCARD weft_status weft_rt_blob_take(weft_rt_blob **ret, const weft_alloc *alloc,
                                             void *data, size_t size, weft_err *err);

/**
 * A blob over a whole file, mapped read-only; the file must not be changed (it may be unlinked).
 * @return WEFT_OK; WEFT_E_NOTFOUND; WEFT_E_IO; WEFT_E_NOMEM. Threads: any.
 */
WEFT_NODISCARD weft_status weft_rt_blob_map(weft_rt_blob **ret, const weft_alloc *alloc,
                                            const char *path, weft_err *err);

/** One more reference. Threads: any. @return blob. */
weft_rt_blob *weft_rt_blob_ref(weft_rt_blob *blob);
/** One reference less; the last frees. NULL is allowed. Threads: any. */
void weft_rt_blob_unref(weft_rt_blob *blob);

/** The bytes; they live as long as the caller's reference. Threads: any. */
const uint8_t *weft_rt_blob_data(const weft_rt_blob *blob);
uint64_t weft_rt_blob_size(const weft_rt_blob *blob);

#endif
