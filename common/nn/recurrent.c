/* SPDX-License-Identifier: Apache-2.0 */
/* What the recurrent layers share. Threads: any. */
#include "nn/recurrent.h"

#include "nn/team.h"

#include <string.h>

static weft_recurrent_share share_of(size_t total, uint64_t unit, uint32_t index,
                                     uint32_t n_threads)
{
    uint64_t first = 0;
    uint64_t last = 0;
    weft_team_share(index, n_threads, total, unit, &first, &last);
    return (weft_recurrent_share){(size_t)first, (size_t)last};
}

weft_recurrent_share weft_share_examples(uint32_t n, uint32_t index, uint32_t n_threads)
{
    return share_of(n, 1, index, n_threads);
}

weft_recurrent_share weft_share_weights(size_t rows, uint32_t index, uint32_t n_threads)
{
    enum { ROWS_AT_ONCE = 84 };
    return share_of(rows, ROWS_AT_ONCE, index, n_threads);
}

void weft_by_steps(float *to, const float *from, uint32_t n, size_t steps, size_t size,
                   weft_recurrent_share share)
{
    for (size_t e = share.first; e < share.last; e++) {
        for (size_t t = 0; t < steps; t++) {
            memcpy(to + (t * n + e) * size, from + (e * steps + t) * size, size * sizeof *to);
        }
    }
}

void weft_by_examples(float *to, const float *from, uint32_t n, size_t steps, size_t size,
                      weft_recurrent_share share)
{
    for (size_t e = share.first; e < share.last; e++) {
        for (size_t t = 0; t < steps; t++) {
            memcpy(to + (e * steps + t) * size, from + (t * n + e) * size, size * sizeof *to);
        }
    }
}
