/* SPDX-License-Identifier: Apache-2.0 */
/* Dropout. Threads: any. */
#include "nn/activation.h"

void weft_dropout_forward(float *y, uint8_t *kept, const float *x, size_t n, float rate,
                          weft_rng *rng)
{
    const float scale = 1.0F / (1.0F - rate);
    for (size_t i = 0; i < n; i++) {
        kept[i] = weft_rng_float(rng) >= rate;
        y[i] = kept[i] ? x[i] * scale : 0.0F;
    }
}

void weft_dropout_backward(float *dx, const float *dy, const uint8_t *kept, size_t n, float rate)
{
    const float scale = 1.0F / (1.0F - rate);
    for (size_t i = 0; i < n; i++) {
        dx[i] = kept[i] ? dy[i] * scale : 0.0F;
    }
}
