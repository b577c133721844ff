/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NPY, NumPy's array file, versions 1 to 3:
 *   1. "\x93NUMPY", major, minor
 *   2. length of the header, 2 (v1) or 4 bytes, little-endian
 *   3. a Python dictionary: descr, fortran_order, shape
 *   4. the elements
 * The header codec also serves NPZ weights (common/weights). Threads: any.
 */
#ifndef WEFT_DATA_NPY_H
#define WEFT_DATA_NPY_H

#include "base/buf.h"
#include "data/dataset.h"
#include "data/source.h"

typedef enum weft_npy_type {
    WEFT_NPY_U8 = 1, /* u1, also booleans */
    WEFT_NPY_I8 = 2,
    WEFT_NPY_I32 = 3,
    WEFT_NPY_I64 = 4,
    WEFT_NPY_F16 = 5,
    WEFT_NPY_F32 = 6,
    WEFT_NPY_F64 = 7
} weft_npy_type;

#define WEFT_NPY_MAX_RANK 8

typedef struct weft_npy_header {
    weft_npy_type type;
    uint32_t rank; /* 0: a single value */
    uint64_t shape[WEFT_NPY_MAX_RANK];
    uint64_t count; /* product of shape; no overflow */
    bool fortran;   /* the first index varies fastest */
} weft_npy_header;

/** Bytes of one element. */
size_t weft_npy_size(weft_npy_type type);

/** Element i of little-endian data as a double; int64 beyond 2^53 are rounded. Any alignment. */
double weft_npy_value(const uint8_t *data, weft_npy_type type, uint64_t i);

/**
 * Read a header; the source is at the first element then.
 * @return WEFT_E_FORMAT (also for big-endian and other types, which are named).
 */
WEFT_NODISCARD weft_status weft_npy_read_header(weft_npy_header *ret, weft_source *source,
                                                weft_err *err);

/** Append the header of a C-ordered array as numpy.save writes it (version 1.0, 64-byte aligned).
 */
WEFT_NODISCARD weft_status weft_npy_print_header(weft_buf *out, const weft_npy_header *header,
                                                 weft_err *err);

/**
 * Decode features [n][f], [n][h][w] or [n][h][w][c] (u1 stay bytes, all others become float32) and
 * labels [n] (integers: classes; floats: values), both in C order.
 * @param labels  NULL: a data set without labels.
 * @return WEFT_E_FORMAT, WEFT_E_INVALID (not finite, a negative class), WEFT_E_LIMIT, WEFT_E_IO,
 *         WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_npy_read(weft_data **ret, weft_source *features,
                                         weft_source *labels, const weft_alloc *a, weft_err *err);

/** dir/features.npy and dir/labels.npy; the test split: dir/test_features.npy, test_labels.npy. */
WEFT_NODISCARD weft_status weft_npy_load(weft_data **ret, const char *dir, weft_split split,
                                         const weft_alloc *a, weft_err *err);

#endif
