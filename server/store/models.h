/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model bytes: content-addressed by SHA-256, in rows of 1 MiB of a database file of their own
 * (models.db, 64 KiB pages, its own connections), so that a big model does not hold up the writer
 * of rounds. The same bytes twice are one model.
 *
 * A model becomes visible when all its chunks are durable; parts of unfinished ones are swept at
 * start. Memory: one chunk, whatever the model's size.
 *
 * Any thread; writers take turns chunk by chunk, readers do not wait for them.
 */
#ifndef WEFT_STORE_MODELS_H
#define WEFT_STORE_MODELS_H

#include "store/store.h"

/**
 * Store a model; durable on return. Known bytes are not written again.
 * @param digest  SHA-256 of data (the caller computed it; reading all of it verifies).
 * @param spec, schema  texts or NULL; kept from whoever stores these bytes first.
 * @return WEFT_E_INVALID no bytes; WEFT_E_LIMIT; WEFT_E_DB.
 */
WEFT_NODISCARD weft_status weft_store_model_put(weft_store *store,
                                                const uint8_t digest[WEFT_DIGEST_BYTES],
                                                const void *data, size_t size, const char *spec,
                                                const char *schema, weft_err *err);

/* Piece by piece, for imports: the digest is computed on the way. One thread at a time. */
typedef struct weft_model_writer weft_model_writer;

/** @param total_bytes  exactly so many must follow. *ret is the caller's to free. */
WEFT_NODISCARD weft_status weft_model_writer_new(weft_model_writer **ret, weft_store *store,
                                                 uint64_t total_bytes, weft_err *err);
/** The same for bytes that are hashed elsewhere meanwhile: commit_as follows, not commit. */
WEFT_NODISCARD weft_status weft_model_writer_new_unhashed(weft_model_writer **ret,
                                                          weft_store *store, uint64_t total_bytes,
                                                          weft_err *err);
/** Append n bytes (any n). WEFT_E_LIMIT above the total. */
WEFT_NODISCARD weft_status weft_model_writer_add(weft_model_writer *writer, const void *data,
                                                 size_t n, weft_err *err);
/**
 * Make it durable under the digest of its bytes. Known bytes: nothing new is kept, still WEFT_OK.
 * @param want  digest it must have, or NULL. @return WEFT_E_INVALID bytes missing or another
 * digest.
 */
WEFT_NODISCARD weft_status weft_model_writer_commit(weft_model_writer *writer, const uint8_t *want,
                                                    const char *spec, const char *schema,
                                                    uint8_t ret_digest[WEFT_DIGEST_BYTES],
                                                    weft_err *err);
/** The same for a writer without a hash. @param digest  SHA-256 of all its bytes. */
WEFT_NODISCARD weft_status weft_model_writer_commit_as(weft_model_writer *writer,
                                                       const uint8_t digest[WEFT_DIGEST_BYTES],
                                                       const char *spec, const char *schema,
                                                       weft_err *err);
/** Free; what was not committed is dropped. NULL is allowed. */
void weft_model_writer_free(weft_model_writer *writer);

/** WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_store_model_size(weft_store *store,
                                                 const uint8_t digest[WEFT_DIGEST_BYTES],
                                                 uint64_t *ret_bytes, weft_err *err);
/** The texts stored with it, appended to spec and schema (either may be NULL). WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_store_model_texts(weft_store *store,
                                                  const uint8_t digest[WEFT_DIGEST_BYTES],
                                                  weft_buf *spec, weft_buf *schema, weft_err *err);
/** Bytes [offset, offset + n) into out; not verified. WEFT_E_NOTFOUND; WEFT_E_INVALID past the end.
 */
WEFT_NODISCARD weft_status weft_store_model_read(weft_store *store,
                                                 const uint8_t digest[WEFT_DIGEST_BYTES],
                                                 uint64_t offset, void *out, size_t n,
                                                 weft_err *err);
/**
 * The whole model into out, verified against its digest.
 * @param size  of out; must be the model's. @return WEFT_E_FORMAT the stored bytes are damaged.
 */
WEFT_NODISCARD weft_status weft_store_model_read_all(weft_store *store,
                                                     const uint8_t digest[WEFT_DIGEST_BYTES],
                                                     void *out, uint64_t size, weft_err *err);

/**
 * Move what lies in models.db's log into the file, once it is much. Commits leave that to whoever
 * has the time; beyond some hundred MB they do it themselves. A failure is for the next time.
 */
void weft_store_model_tidy(weft_store *store);

/**
 * Drop models that no version row names, and parts of unfinished writers. At start only, on the
 * owner thread, before anything stores models. @param ret_dropped  may be NULL.
 */
WEFT_NODISCARD weft_status weft_store_model_sweep(weft_store *store, uint32_t *ret_dropped,
                                                  weft_err *err);

#endif
