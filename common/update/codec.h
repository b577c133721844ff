/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the values of an update are written: a named encoding is a table of functions. Values are
 * coded in blocks that do not know each other, so that both sides stream. Pure; any thread.
 *
 * "f32": one value a block, 4 bytes, IEEE 754 binary32, little-endian. Every bit pattern decodes;
 * update/check.h refuses what is not finite.
 */
#ifndef WEFT_UPDATE_CODEC_H
#define WEFT_UPDATE_CODEC_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* The largest block that any encoding may have: streaming readers keep one. */
#define WEFT_CODEC_MAX_BLOCK_VALUES 256
#define WEFT_CODEC_MAX_BLOCK_BYTES  1088

typedef struct weft_codec {
    const char *name;      /* as in assignments and update headers: at most 16 bytes */
    uint32_t block_values; /* a power of two, at most WEFT_CODEC_MAX_BLOCK_VALUES */
    uint32_t block_bytes;  /* of a full block: never above 4.25 bytes a value */
    /** Bytes of n values from the first on; n <= WEFT_MAX_PARAMS. */
    uint64_t (*size_bytes)(uint64_t n);
    /**
     * Encode n values: whole blocks, the last one of an update may be short.
     * @param out  [size_bytes(n)], written completely; may not overlap values.
     */
    void (*encode)(uint8_t *out, const float *values, size_t n);
    /**
     * Decode n values: whole blocks, the last one of an update may be short.
     * @param values  [n], written completely on success; any content on failure.
     * @return WEFT_E_FORMAT when size is not size_bytes(n) or the bytes are not of this encoding.
     */
    weft_status (*decode)(float *values, size_t n, const uint8_t *data, size_t size, weft_err *err);
    /** The bytes as they lie, when they are aligned float32 of this machine; else NULL: decode. */
    const float *(*view)(const void *data);
} weft_codec;

/** The encoding of a name, or NULL: the peer is newer or wrong. */
const weft_codec *weft_codec_find(const char *name);

extern const weft_codec weft_codec_f32;

#endif
