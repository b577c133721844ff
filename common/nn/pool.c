/* SPDX-License-Identifier: Apache-2.0 */
/* Pooling layers: plain loops, channels innermost so that compilers vectorise them. Threads: any.
 */
#include "nn/pool.h"

#include <string.h>

/* The first value of the window of output (oy, ox). */
static size_t window_at(const weft_pool *p, uint32_t oy, uint32_t ox)
{
    return ((size_t)oy * p->stride * p->w + (size_t)ox * p->stride) * p->c;
}

static size_t slot_at(const weft_pool *p, uint32_t ky, uint32_t kx)
{
    return ((size_t)ky * p->w + kx) * p->c;
}

void weft_maxpool_forward(const weft_pool *p, float *y, const float *x)
{
    weft_maxpool_fused(p, y, NULL, x, NULL, false);
}

static void max_of_window(const weft_pool *p, float *restrict y, const float *restrict x)
{
    memcpy(y, x, p->c * sizeof *y);
    for (uint32_t k = 1; k < p->size * p->size; k++) {
        const float *restrict v = x + slot_at(p, k / p->size, k % p->size);
        for (uint32_t c = 0; c < p->c; c++) {
            y[c] = v[c] > y[c] ? v[c] : y[c];
        }
    }
}

static void max_and_slot_of_window(const weft_pool *p, float *restrict y, uint8_t *restrict slot,
                                   const float *restrict x)
{
    memcpy(y, x, p->c * sizeof *y);
    memset(slot, 0, p->c);
    for (uint32_t k = 1; k < p->size * p->size; k++) {
        const float *restrict v = x + slot_at(p, k / p->size, k % p->size);
        for (uint32_t c = 0; c < p->c; c++) {
            const bool more = v[c] > y[c];
            y[c] = more ? v[c] : y[c];
            slot[c] = more ? (uint8_t)k : slot[c];
        }
    }
}

static void finish(float *restrict y, uint8_t *restrict slot, const float *restrict bias, bool relu,
                   uint32_t n)
{
    for (uint32_t c = 0; bias && c < n; c++) {
        y[c] += bias[c];
    }
    for (uint32_t c = 0; relu && slot && c < n; c++) {
        slot[c] = y[c] > 0.0F ? slot[c] : WEFT_POOL_DEAD;
    }
    for (uint32_t c = 0; relu && c < n; c++) {
        y[c] = y[c] < 0.0F ? 0.0F : y[c];
    }
}

void weft_maxpool_fused(const weft_pool *p, float *y, uint8_t *slot, const float *x,
                        const float *bias, bool relu)
{
    for (uint32_t oy = 0; oy < p->oh; oy++) {
        for (uint32_t ox = 0; ox < p->ow; ox++) {
            const float *window = x + window_at(p, oy, ox);
            if (slot) {
                max_and_slot_of_window(p, y, slot, window);
            } else {
                max_of_window(p, y, window);
            }
            finish(y, slot, bias, relu, p->c);
            y += p->c;
            slot = slot ? slot + p->c : NULL;
        }
    }
}

void weft_maxpool_scatter(const weft_pool *p, float *dx, const float *dy, const uint8_t *slot)
{
    memset(dx, 0, (size_t)p->h * p->w * p->c * sizeof *dx);
    for (uint32_t oy = 0; oy < p->oh; oy++) {
        for (uint32_t ox = 0; ox < p->ow; ox++, dy += p->c, slot += p->c) {
            float *window = dx + window_at(p, oy, ox);
            for (uint32_t c = 0; c < p->c; c++) {
                if (slot[c] != WEFT_POOL_DEAD) {
                    window[slot_at(p, slot[c] / p->size, slot[c] % p->size) + c] += dy[c];
                }
            }
        }
    }
}

/* Where the first maximum of one channel's window lies, relative to the window. */
static size_t first_max(const weft_pool *p, const float *x)
{
    size_t best = 0;
    for (uint32_t ky = 0; ky < p->size; ky++) {
        for (uint32_t kx = 0; kx < p->size; kx++) {
            const size_t at = slot_at(p, ky, kx);
            best = x[at] > x[best] ? at : best;
        }
    }
    return best;
}

void weft_maxpool_backward(const weft_pool *p, float *dx, const float *dy, const float *x)
{
    memset(dx, 0, (size_t)p->h * p->w * p->c * sizeof *dx);
    for (uint32_t oy = 0; oy < p->oh; oy++) {
        for (uint32_t ox = 0; ox < p->ow; ox++) {
            const size_t window = window_at(p, oy, ox);
            for (uint32_t c = 0; c < p->c; c++) {
                dx[window + c + first_max(p, x + window + c)] += *dy++;
            }
        }
    }
}

void weft_avgpool_forward(const weft_pool *p, float *y, const float *x)
{
    const float area = (float)p->size * (float)p->size;
    for (uint32_t oy = 0; oy < p->oh; oy++) {
        for (uint32_t ox = 0; ox < p->ow; ox++, y += p->c) {
            const float *window = x + window_at(p, oy, ox);
            memset(y, 0, p->c * sizeof *y);
            for (uint32_t k = 0; k < p->size * p->size; k++) {
                const float *v = window + slot_at(p, k / p->size, k % p->size);
                for (uint32_t c = 0; c < p->c; c++) {
                    y[c] += v[c];
                }
            }
            for (uint32_t c = 0; c < p->c; c++) {
                y[c] /= area;
            }
        }
    }
}

void weft_avgpool_backward(const weft_pool *p, float *dx, const float *dy)
{
    const float area = (float)p->size * (float)p->size;
    memset(dx, 0, (size_t)p->h * p->w * p->c * sizeof *dx);
    for (uint32_t oy = 0; oy < p->oh; oy++) {
        for (uint32_t ox = 0; ox < p->ow; ox++, dy += p->c) {
            float *window = dx + window_at(p, oy, ox);
            for (uint32_t k = 0; k < p->size * p->size; k++) {
                float *v = window + slot_at(p, k / p->size, k % p->size);
                for (uint32_t c = 0; c < p->c; c++) {
                    v[c] += dy[c] / area;
                }
            }
        }
    }
}
