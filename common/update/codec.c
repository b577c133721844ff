/* SPDX-License-Identifier: Apache-2.0 */
/* The table of encodings, and f32. */
#include "update/codec.h"

#include <string.h>

#define F32_BYTES 4U

static uint64_t f32_size_bytes(uint64_t n)
{
    return n * F32_BYTES;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

static void f32_encode(uint8_t *out, const float *values, size_t n)
{
    memcpy(out, values, n * F32_BYTES);
}

static void f32_read(float *values, const uint8_t *data, size_t n)
{
    memcpy(values, data, n * F32_BYTES);
}

static const float *f32_view(const void *data)
{
    return (uintptr_t)data % _Alignof(float) == 0 ? (const float *)data : NULL;
}

#else

static void f32_encode(uint8_t *out, const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &values[i], sizeof bits);
        for (unsigned k = 0; k < F32_BYTES; k++) {
            out[i * F32_BYTES + k] = (uint8_t)(bits >> (8 * k));
        }
    }
}

static void f32_read(float *values, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        for (unsigned k = 0; k < F32_BYTES; k++) {
            bits |= (uint32_t)data[i * F32_BYTES + k] << (8 * k);
        }
        memcpy(&values[i], &bits, sizeof bits);
    }
}

static const float *f32_view(const void *data)
{
    (void)data;
    return NULL;
}

#endif

static weft_status f32_decode(float *values, size_t n, const uint8_t *data, size_t size,
                              weft_err *err)
{
    if (n > SIZE_MAX / F32_BYTES || size != n * F32_BYTES) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%zu bytes are not %zu f32 values", size, n);
    }
    if (n > 0) {
        f32_read(values, data, n);
    }
    return WEFT_OK;
}

const weft_codec weft_codec_f32 = {
    .name = "f32",
    .block_values = 1,
    .block_bytes = F32_BYTES,
    .size_bytes = f32_size_bytes,
    .encode = f32_encode,
    .decode = f32_decode,
    .view = f32_view,
};

const weft_codec *weft_codec_find(const char *name)
{
    static const weft_codec *const all[] = {&weft_codec_f32};
    for (size_t i = 0; name && i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            return all[i];
        }
    }
    return NULL;
}
