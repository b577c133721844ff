/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The large files of the state folder: the base version that comes in, the encoded update that goes
 * out. Called by client.c and outbox_work.c; owner thread.
 *
 *   base-<hex of digest>.part  bytes [0, n) of a base that is being fetched
 *   base-<hex of digest>.bin   complete, its SHA-256 checked before it got the name; at most one
 *   update-<id>.tmp, .bin      an update; .bin is complete
 *   encoded-<id>.tmp, .bin     with secure aggregation: the vector before it is masked; the update
 *                              is the masked one. Goes as soon as that is safe
 *   update-spare               an accepted one's file, for the next of its size
 *
 * A small base is worked on in memory and only comes into the folder when it rests: a client that
 * is busy spares itself the file, one that waits the memory.
 */
#ifndef WEFT_CLIENT_FILES_H
#define WEFT_CLIENT_FILES_H

#include "base/buf.h"
#include "model/job.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- base ----------------------------------------------------------------------------------- */

/* Larger ones are files from the start: resumed after a crash, mapped, never whole in memory. */
#define WEFT_BASE_MEMORY_BYTES (UINT64_C(64) << 20)

/* Two copies of a small model, lent to one base after the other: pages that are there already cost
 * nothing. */
typedef struct weft_base_memory {
    const weft_alloc *alloc;
    uint8_t *base;  /* [size] */
    float *weights; /* [size / 4] */
    size_t size;    /* 0: none */
} weft_base_memory;
void weft_base_memory_init(weft_base_memory *memory, const weft_alloc *a);
/** Let go of it; it may be used again. No base may hold it. */
void weft_base_memory_done(weft_base_memory *memory);
/** Make it this large (what it held is lost then). WEFT_E_NOMEM: it holds nothing. */
WEFT_NODISCARD weft_status weft_base_memory_fit(weft_base_memory *memory, size_t size,
                                                weft_err *err);

typedef struct weft_base weft_base;

/**
 * Look for a base version in the folder: complete, in part, or not at all. What is there is read
 * once to check or continue its SHA-256.
 * @param size    bytes of the whole; a multiple of 4, > 0.
 * @param memory  lent to a small base until it is freed; NULL: it is a file in any case.
 * @return WEFT_OK; WEFT_E_IO; WEFT_E_NOMEM; WEFT_E_CRYPTO.
 */
WEFT_NODISCARD weft_status weft_base_open(weft_base **ret, const char *dir,
                                          const uint8_t digest[WEFT_DIGEST_BYTES], uint64_t size,
                                          weft_base_memory *memory, const weft_alloc *a,
                                          weft_err *err);
/** A complete one that is in memory only: into the folder, other bases out of it. Not synced: it is
 * checked before it is used again. WEFT_E_IO. */
WEFT_NODISCARD weft_status weft_base_rest(weft_base *base, weft_err *err);
/** The files stay. NULL is allowed. */
void weft_base_free(weft_base *base);
/** Is it this one? */
bool weft_base_is(const weft_base *base, const uint8_t digest[WEFT_DIGEST_BYTES]);
const uint8_t *weft_base_digest(const weft_base *base); /* [WEFT_DIGEST_BYTES] */
uint64_t weft_base_size(const weft_base *base);
/** Bytes that are there: where a fetch goes on; all of them when complete. */
uint64_t weft_base_have(const weft_base *base);
bool weft_base_complete(const weft_base *base);
/** Forget what was fetched (not a complete one). */
WEFT_NODISCARD weft_status weft_base_reset(weft_base *base, weft_err *err);
/** The next bytes, in pieces. WEFT_E_FORMAT more than the whole; WEFT_E_IO (disk full, too). */
WEFT_NODISCARD weft_status weft_base_add(weft_base *base, const weft_view *pieces, size_t n_pieces,
                                         weft_err *err);
/**
 * All is there: check the digest, name it, remove other bases.
 * @return WEFT_E_FORMAT too short, or another digest (what came is then forgotten); WEFT_E_IO.
 */
WEFT_NODISCARD weft_status weft_base_finish(weft_base *base, weft_err *err);

/* Both views of a complete base: as it is, and a private copy to train on. Pages that are only read
 * are shared with the page cache. */
typedef struct weft_base_map {
    const float *base; /* [n_params], read-only */
    float *weights;    /* [n_params], copy on write, or the lent memory's */
    uint64_t n_params;
    bool lent; /* both are the lent memory's: nothing to unmap */
} weft_base_map;
/** WEFT_E_STATE not complete; WEFT_E_NOMEM, WEFT_E_IO the system refuses. */
WEFT_NODISCARD weft_status weft_base_map_new(weft_base_map *ret, const weft_base *base,
                                             weft_err *err);
void weft_base_map_done(weft_base_map *map);
/** For weft_delta_sink.passed, self is the map: the base's pages leave this process's memory
 * (the weights' stay: what the trainer wrote lies nowhere else). */
void weft_base_map_passed(void *self, uint64_t first, uint64_t n);

/* ---- update --------------------------------------------------------------------------------- */

/* A spare file may take so much of the disk. */
#define WEFT_UPDATE_SPARE_BYTES (UINT64_C(64) << 20)

typedef struct weft_update_file {
    char temp[4096];
    char path[4096];
    uint64_t at;   /* bytes written */
    uint64_t room; /* the file's size */
    bool used;     /* it was a spare: its bytes are not zeros */
    int fd;        /* -1: not open */
} weft_update_file;

/** Begin an update's file, with room for size bytes. WEFT_E_IO: the disk is full, and the like. */
WEFT_NODISCARD weft_status weft_update_file_begin(weft_update_file *file, const char *dir,
                                                  uint64_t assignment_id, uint64_t size,
                                                  weft_err *err);
/** A sink for weft_delta_encode: self is the file. */
WEFT_NODISCARD weft_status weft_update_file_write(void *self, const uint8_t *data, size_t n,
                                                  weft_err *err);
/**
 * Give it its name: from here on it survives the process.
 * @param sync  on disk before this returns, the name too: it survives a power cut as well.
 */
WEFT_NODISCARD weft_status weft_update_file_commit(weft_update_file *file, bool sync,
                                                   weft_err *err);
/** Drop what was not committed. */
void weft_update_file_done(weft_update_file *file);

/** The path of an assignment's committed update. */
WEFT_NODISCARD weft_status weft_update_file_path(char *out, size_t out_size, const char *dir,
                                                 uint64_t assignment_id, weft_err *err);
/** Is it there, with this size? True for size 0: no file belongs to it. */
bool weft_update_file_present(const char *dir, uint64_t assignment_id, uint64_t size);
/**
 * Is it there, with this size and digest? A power cut may have taken parts of what was not synced.
 * True for size 0. Reads it all.
 * @return WEFT_E_NOMEM, WEFT_E_CRYPTO: no verdict.
 */
WEFT_NODISCARD weft_status weft_update_file_intact(bool *ret, const char *dir,
                                                   uint64_t assignment_id, uint64_t size,
                                                   const uint8_t digest[WEFT_DIGEST_BYTES],
                                                   const weft_alloc *a, weft_err *err);
void weft_update_file_remove(const char *dir, uint64_t assignment_id);
/** The same, of one that the coordinator has read to its end: nobody sends its bytes any more, the
 * next update may overwrite them. */
void weft_update_file_recycle(const char *dir, uint64_t assignment_id, uint64_t size);
/** Let go of the spare file. */
void weft_update_file_drop_spare(const char *dir);

/** The same for the vector before it is masked; write, commit and done are the update's. */
WEFT_NODISCARD weft_status weft_encoded_file_begin(weft_update_file *file, const char *dir,
                                                   uint64_t assignment_id, uint64_t size,
                                                   weft_err *err);
WEFT_NODISCARD weft_status weft_encoded_file_path(char *out, size_t out_size, const char *dir,
                                                  uint64_t assignment_id, weft_err *err);
WEFT_NODISCARD weft_status weft_encoded_file_intact(bool *ret, const char *dir,
                                                    uint64_t assignment_id, uint64_t size,
                                                    const uint8_t digest[WEFT_DIGEST_BYTES],
                                                    const weft_alloc *a, weft_err *err);
void weft_encoded_file_remove(const char *dir, uint64_t assignment_id);

/** After a crash: remove updates of other assignments than this one (0: all), unfinished ones, and
 * all bases but the newest. */
void weft_files_sweep(const char *dir, uint64_t keep_assignment_id);

#endif
