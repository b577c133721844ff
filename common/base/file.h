/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole small files: read with a limit, written so that a crash leaves the old content or the new.
 * For the shells (programs, stores, the SDK's outbox); pure modules take bytes. Threads: any.
 */
#ifndef WEFT_FILE_H
#define WEFT_FILE_H

#include "base/buf.h"

/**
 * Append the whole file at path to out (whose maximum is the limit).
 * @return WEFT_E_NOTFOUND, WEFT_E_LIMIT (larger than out may grow), WEFT_E_IO, WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_file_read(weft_buf *out, const char *path, weft_err *err);

/**
 * Replace the file at path: temporary file beside it, fsync, rename, fsync of the folder.
 * @param mode  permission bits, e.g. 0600 for keys.
 */
WEFT_NODISCARD weft_status weft_file_write(const char *path, const void *data, size_t n,
                                           unsigned mode, weft_err *err);

/** As weft_file_write, but WEFT_E_CONFLICT where path exists: keys are never overwritten. */
WEFT_NODISCARD weft_status weft_file_create(const char *path, const void *data, size_t n,
                                            unsigned mode, weft_err *err);

/**
 * A new file without a name, open for reading and writing, in a folder: it is gone with its last
 * descriptor or mapping. @param ret  the caller's to close. WEFT_E_LIMIT, WEFT_E_IO.
 */
WEFT_NODISCARD weft_status weft_file_open_unnamed(int *ret, const char *dir, weft_err *err);

/** mkdir, also for parents; an existing folder is fine. */
WEFT_NODISCARD weft_status weft_dir_make(const char *path, unsigned mode, weft_err *err);

/** "dir/name" into out; WEFT_E_LIMIT when it does not fit. */
WEFT_NODISCARD weft_status weft_path_join(char *out, size_t out_size, const char *dir,
                                          const char *name, weft_err *err);

/**
 * True for names that we accept from users and peers: 1..WEFT_MAX_NAME_BYTES of [A-Za-z0-9._-],
 * not starting with '.' or '-'. They become file names and certificate fields.
 */
bool weft_name_valid(const char *name);

#endif
