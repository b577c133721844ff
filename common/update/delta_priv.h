/* SPDX-License-Identifier: Apache-2.0 */
/* Inside update only: what all encodings of a delta begin with. */
#ifndef WEFT_UPDATE_DELTA_PRIV_H
#define WEFT_UPDATE_DELTA_PRIV_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Truncation and this margin keep the norm of what is sent at or below the limit, whatever the
 * rounding of 2^33 additions. */
#define WEFT_DELTA_CLIP_MARGIN (1.0 - 0x1p-26)

/** out[i] = weights[first + i] - base[first + i]; base NULL: zeros. */
void weft_delta_read(float *out, const float *weights, const float *base, uint64_t first, size_t n);
/** WEFT_E_INVALID naming the first value of block [n], from parameter `first` on, that is not
 *  finite. */
WEFT_NODISCARD weft_status weft_delta_not_finite(const float *block, size_t n, const float *weights,
                                                 uint64_t first, weft_err *err);

#endif
