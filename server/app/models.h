/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The models in memory: digest -> one shared, immutable blob. A model is loaded when somebody wants
 * it and let go when nobody does: pins (a running job's current version, an open round's base) and
 * readers (downloads) keep it.
 *
 * Threads: any; the lock is held for moments only.
 */
#ifndef WEFT_APP_MODELS_H
#define WEFT_APP_MODELS_H

#include "rpc/rpc.h"
#include "rt/queue.h"
#include "store/models.h"

typedef struct weft_models weft_models;

/** pool loads; store, pool and alloc are borrowed. */
WEFT_NODISCARD weft_status weft_models_new(weft_models **ret, weft_store *store, weft_rt_pool *pool,
                                           const weft_alloc *a, weft_err *err);
/** Free; readers have gone, the pool has stopped. NULL is allowed. */
void weft_models_free(weft_models *m);

/** Keep what is, or will be, in memory under this digest; clients may fetch it. WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_models_pin(weft_models *m, const uint8_t digest[WEFT_DIGEST_BYTES],
                                           weft_err *err);
void weft_models_unpin(weft_models *m, const uint8_t digest[WEFT_DIGEST_BYTES]);
/** A blob that was just made: nobody needs to load it while it is pinned. Takes one reference. */
void weft_models_offer(weft_models *m, const uint8_t digest[WEFT_DIGEST_BYTES], weft_rt_blob *blob);

/** The host's model_get and model_put (rpc/rpc.h). */
WEFT_NODISCARD weft_status weft_models_get(weft_models *m, weft_rt_blob **ret,
                                           const uint8_t *digest, bool published,
                                           weft_rpc_call *call, weft_err *err);
void weft_models_put(weft_models *m, const uint8_t *digest, weft_rt_blob *blob);
/** For workers: a reference, loaded here when it is not in memory; end it with put. Blocks. */
WEFT_NODISCARD weft_status weft_models_load(weft_models *m, weft_rt_blob **ret,
                                            const uint8_t *digest, weft_err *err);

/** Bytes of all blobs that are held now. */
uint64_t weft_models_bytes(weft_models *m);

#endif
