/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IDX, the format of MNIST and its relatives (.gz too): big-endian header
 *   1. two zero bytes, type 0x08 (unsigned byte), rank
 *   2. rank sizes of 4 bytes
 *   3. the bytes, row-major
 * Images have rank 3 (n, h, w) or 4 (n, h, w, c), labels rank 1. Threads: any.
 */
#ifndef WEFT_DATA_IDX_H
#define WEFT_DATA_IDX_H

#include "data/dataset.h"
#include "data/source.h"

/**
 * Decode a pair of images and labels; classes are 0..max(label, 9).
 * @param labels  NULL: a data set without labels.
 * @return WEFT_E_FORMAT naming the source and what differs; WEFT_E_LIMIT; WEFT_E_IO; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_idx_read(weft_data **ret, weft_source *images, weft_source *labels,
                                         const weft_alloc *a, weft_err *err);

/**
 * Read dir/{train,t10k}-images-idx3-ubyte[.gz] and -labels-idx1-ubyte[.gz] ('.' instead of the
 * second '-' is fine, too).
 * @return WEFT_E_NOTFOUND when dir holds no such pair; else as weft_idx_read.
 */
WEFT_NODISCARD weft_status weft_idx_load(weft_data **ret, const char *dir, weft_split split,
                                         const weft_alloc *a, weft_err *err);

/**
 * Write examples of a U8 data set with CLASS labels as the two files of a split (not compressed).
 * @return WEFT_E_INVALID other types; WEFT_E_IO; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_idx_save(const weft_data_view *view, const char *dir,
                                         weft_split split, const weft_alloc *a, weft_err *err);

#endif
