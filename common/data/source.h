/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_source: a stream of bytes for the readers: memory (tests, fuzzing) or a file, where gzip is
 * recognised and unpacked on the way. Owner thread only.
 */
#ifndef WEFT_DATA_SOURCE_H
#define WEFT_DATA_SOURCE_H

#include "base/alloc.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct weft_source {
    /* up to n > 0 bytes into out; *ret_n == 0: the end. WEFT_E_IO, WEFT_E_FORMAT (bad gzip). */
    weft_status (*read)(void *self, void *out, size_t n, size_t *ret_n, weft_err *err);
    void *self;
    const char *name;        /* for messages: a path or "input"; borrowed */
    const uint8_t *at, *end; /* of a memory source */
} weft_source;

/** Read from memory; data and name are borrowed. Nothing to close. The source must not move. */
void weft_source_init_bytes(weft_source *source, const void *data, size_t size, const char *name);

/**
 * Open a file, gzip or not; path is borrowed as the name.
 * @return WEFT_E_NOTFOUND, WEFT_E_IO, WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_source_open(weft_source *source, const char *path, weft_err *err);
/** Close what weft_source_open opened; a memory source needs none, but may be closed. */
void weft_source_close(weft_source *source);

/** Exactly n bytes, or WEFT_E_FORMAT ("... ends after 12 of 16 bytes of its header"). */
WEFT_NODISCARD weft_status weft_source_exact(weft_source *source, void *out, size_t n,
                                             const char *what, weft_err *err);
/**
 * An array of n elements that a header announced: memory grows with the bytes that really arrive,
 * so a lying header costs at most twice its file.
 * @param ret  the caller's to free.
 */
WEFT_NODISCARD weft_status weft_source_array(weft_source *source, void **ret, size_t n,
                                             size_t element_size, const char *what,
                                             const weft_alloc *a, weft_err *err);
/** WEFT_E_FORMAT unless the source is at its end. */
WEFT_NODISCARD weft_status weft_source_at_end(weft_source *source, weft_err *err);

#endif
