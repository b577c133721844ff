/* SPDX-License-Identifier: Apache-2.0 */
/* What models.c and model_writer.c share. */
#ifndef WEFT_STORE_MODELS_PRIV_H
#define WEFT_STORE_MODELS_PRIV_H

#include "store/store_priv.h"

/* Row of a model's chunk: model_id * 2^32 + index. A chunk of nothing but zeros (all of a first
 * version of plain tensors) is stored without bytes. */
#define WEFT_CHUNK_ID(id, index) (((id) << 32) | (index))

static inline void weft_models_lock(pthread_mutex_t *mutex)
{
    (void)pthread_mutex_lock(mutex); /* fails only for locks that are misused */
}

static inline void weft_models_unlock(pthread_mutex_t *mutex)
{
    (void)pthread_mutex_unlock(mutex); /* the same */
}

/** Is a complete model of this digest there? db: either connection, its lock held. */
WEFT_NODISCARD weft_status weft_models_has(weft_db *db, const uint8_t *digest, bool *ret_has,
                                           weft_err *err);
/** Drop a model's chunks, then its row; takes write_lock chunk by chunk. */
WEFT_NODISCARD weft_status weft_models_drop(weft_models *m, uint64_t model_id, weft_err *err);

#endif
