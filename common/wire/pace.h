/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How large the next chunk of a transfer should be: as large as goes through in about a second. A
 * chunk is noticed by its receiver when it is complete; on a slow link large ones would look like a
 * peer that has died, and hold up the small calls behind them. Pure; any thread.
 */
#ifndef WEFT_WIRE_PACE_H
#define WEFT_WIRE_PACE_H

#include <stdint.h>

#define WEFT_PACE_MIN_BYTES   (16U << 10)
#define WEFT_PACE_FIRST_BYTES (256U << 10)

typedef struct weft_pace {
    uint32_t bytes;   /* of the chunk that was sent last; 0: none yet */
    uint64_t sent_ms; /* when */
} weft_pace;

/**
 * The link has taken the last chunk: how much to send now? Twice as much when it took less than a
 * quarter of a second, half of it when it took more than a second; within WEFT_PACE_MIN_BYTES and
 * WEFT_MAX_CHUNK_BYTES.
 * @param pace  zeroed before a transfer.
 */
uint32_t weft_pace_next(weft_pace *pace, uint64_t now_ms);

#endif
