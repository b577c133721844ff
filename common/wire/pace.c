/* SPDX-License-Identifier: Apache-2.0 */
/* Chunk sizes by the time that chunks take. Called by whoever sends a model or an update. */
#include "wire/pace.h"

#include "base/limits.h"

enum { FAST_MS = 250, SLOW_MS = 1000 };

uint32_t weft_pace_next(weft_pace *pace, uint64_t now_ms)
{
    const uint64_t took_ms = now_ms - pace->sent_ms;
    if (pace->bytes == 0) {
        pace->bytes = WEFT_PACE_FIRST_BYTES;
    } else if (took_ms < FAST_MS && pace->bytes < WEFT_MAX_CHUNK_BYTES) {
        pace->bytes *= 2;
    } else if (took_ms > SLOW_MS && pace->bytes > WEFT_PACE_MIN_BYTES) {
        pace->bytes /= 2;
    }
    pace->sent_ms = now_ms;
    return pace->bytes;
}
