/* SPDX-License-Identifier: Apache-2.0 */
/* Inside update only: numbers wider than a word, shared by the fixed-point encoder and decoder. */
#ifndef WEFT_UPDATE_FIXED_PRIV_H
#define WEFT_UPDATE_FIXED_PRIV_H

#include "update/fixed.h"

__extension__ typedef unsigned __int128 weft_fixed_wide;

/* Metrics are clamped to +-2^16 and counted in steps of 2^-20 from -2^16 on: 0..2^37. */
#define WEFT_FIXED_VALUE_RANGE 65536.0
#define WEFT_FIXED_VALUE_SCALE 1048576.0
#define WEFT_FIXED_VALUE_MOST  (UINT64_C(1) << 37)

/* Exact parameters are clamped to +-2^13 and counted in steps of 2^-39 from -2^52 of them on. */
#define WEFT_FIXED_EXACT_RANGE 8192.0
#define WEFT_FIXED_EXACT_SCALE 0x1p39
#define WEFT_FIXED_EXACT_ZERO  (INT64_C(1) << 52)
#define WEFT_FIXED_EXACT_MOST  (UINT64_C(1) << 53)

/** A metric's value as such a count. @param value  finite. */
uint64_t weft_fixed_value(double value);

#endif
