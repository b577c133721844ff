/* SPDX-License-Identifier: Apache-2.0 */
/* What the recurrent layers share. Threads: any. */
#include "nn/recurrent.h"

#include <string.h>

void weft_swap_rows(float *to, const float *from, size_t a, size_t b, size_t n)
{
    for (size_t i = 0; i < a; i++) {
        for (size_t k = 0; k < b; k++) {
            memcpy(to + (k * a + i) * n, from + (i * b + k) * n, n * sizeof *to);
        }
    }
}

void weft_transpose(float *restrict to, const float *restrict from, size_t rows, size_t columns)
{
    enum { TILE = 16 }; /* a tile's cache lines stay while they are needed */
    for (size_t r = 0; r < rows; r += TILE) {
        const size_t r_end = rows - r < TILE ? rows : r + TILE;
        for (size_t c = 0; c < columns; c++) {
            for (size_t i = r; i < r_end; i++) {
                to[c * rows + i] = from[i * columns + c];
            }
        }
    }
}
