/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads on disk, one file an assignment:
 *
 *   spool/<assignment_id>.part   arriving; its size is what we hold
 *   spool/<assignment_id>.upd    complete
 *   spool/boot                   the machine's boot id: after a reboot unfinished files may have
 *                                holes, so they are dropped and their uploads start over
 *
 * Any thread. Several uploads run at once; of one assignment the newest wins: a client that
 * reconnects takes over from its own dead connection, whose appends then fail with WEFT_E_STATE.
 */
#ifndef WEFT_STORE_SPOOL_H
#define WEFT_STORE_SPOOL_H

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"

typedef struct weft_spool weft_spool;
typedef struct weft_spool_upload weft_spool_upload;

/** Open the folder (made 0700 where missing). *ret is the caller's to close. */
WEFT_NODISCARD weft_status weft_spool_open(weft_spool **ret, const char *dir, const weft_alloc *a,
                                           weft_err *err);
/** The same of a folder that stays as it is, to map what is in it: beside whoever uses it, or in a
 * copy. WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_spool_open_to_look(weft_spool **ret, const char *dir,
                                                   const weft_alloc *a, weft_err *err);
/** Close, after every upload and view ended. The files stay. NULL is allowed. */
void weft_spool_close(weft_spool *spool);

/**
 * Begin or resume the upload of an assignment.
 * @param start_offset  where the client goes on, at most what is held; what is held beyond it is
 * cut off (a client that starts over has other bytes).
 * @param total_bytes   the upload's size; appends may not pass it.
 * @return WEFT_E_INVALID start_offset above what is held, or above the total; WEFT_E_CONFLICT a
 *         complete upload is held and this one would change it (drop it first, if nobody validates
 *         or folds it; starting at its end is fine: nothing to append, complete() succeeds);
 *         WEFT_E_IO.
 */
WEFT_NODISCARD weft_status weft_spool_begin(weft_spool_upload **ret, weft_spool *spool,
                                            uint64_t assignment_id, uint64_t start_offset,
                                            uint64_t total_bytes, weft_err *err);
/**
 * Append n bytes at offset, which must equal what is held.
 * @return WEFT_E_INVALID another offset (the message says what is held); WEFT_E_LIMIT past the
 * total; WEFT_E_STATE a newer upload took over, or it was dropped or completed; WEFT_E_IO (nothing
 * of the n bytes is held then).
 */
WEFT_NODISCARD weft_status weft_spool_append(weft_spool_upload *upload, uint64_t offset,
                                             const void *data, size_t n, weft_err *err);
/** The same of bytes in pieces. */
WEFT_NODISCARD weft_status weft_spool_append_pieces(weft_spool_upload *upload, uint64_t offset,
                                                    const weft_view *pieces, size_t n_pieces,
                                                    weft_err *err);
/**
 * All bytes are there: give the file its final name.
 * @param durable  true: on disk before this returns (file data, then the folder's entry).
 * @return WEFT_E_INVALID bytes are missing; WEFT_E_STATE; WEFT_E_IO.
 */
WEFT_NODISCARD weft_status weft_spool_complete(weft_spool_upload *upload, bool durable,
                                               weft_err *err);
/** End this upload; what is held stays for the next one. NULL is allowed. */
void weft_spool_upload_free(weft_spool_upload *upload);

/** What is held of an assignment (0: nothing); ret_complete may be NULL. */
WEFT_NODISCARD weft_status weft_spool_held(weft_spool *spool, uint64_t assignment_id,
                                           uint64_t *ret_bytes, bool *ret_complete, weft_err *err);

/**
 * A complete upload, mapped read-only; end it with weft_spool_unmap. Dropping meanwhile is fine.
 * @param ret  data is NULL when the upload has 0 bytes.
 * @return WEFT_E_NOTFOUND not there or not complete; WEFT_E_IO.
 */
WEFT_NODISCARD weft_status weft_spool_map(weft_view *ret, weft_spool *spool, uint64_t assignment_id,
                                          weft_err *err);
void weft_spool_unmap(weft_view *view);
/**
 * Bytes [from, from + n) of a view were read: they need not stay in this process's memory (they are
 * read again where somebody looks once more). from: a multiple of the page size.
 */
void weft_spool_unload(const weft_view *view, size_t from, size_t n);

/** Has the machine started anew since the spool was last open? Complete uploads that were not
 * synced may have holes then. */
bool weft_spool_rebooted(const weft_spool *spool);

/** Forget what is held of an assignment; nothing held is fine. A running upload is cut off. */
WEFT_NODISCARD weft_status weft_spool_drop(weft_spool *spool, uint64_t assignment_id,
                                           weft_err *err);

/** At start: drop every file whose assignment keep() does not want. @param ret_dropped may be NULL.
 */
WEFT_NODISCARD weft_status weft_spool_sweep(weft_spool *spool,
                                            weft_status (*keep)(void *arg, uint64_t assignment_id,
                                                                bool *ret_keep, weft_err *err),
                                            void *arg, uint32_t *ret_dropped, weft_err *err);

#endif
