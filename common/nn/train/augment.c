/* SPDX-License-Identifier: Apache-2.0 */
/* Image augmentation; built with -O3. Pure; any thread. */
#include "nn/train/augment.h"

#include <string.h>

/* What was drawn for one image. */
typedef struct draw {
    uint32_t cut;        /* the window is this much smaller than the image */
    uint32_t top, left;  /* and begins here */
    bool flip;           /* left for right */
    int64_t down, right; /* and moves that much */
} draw;

static draw draw_one(const weft_plan *plan, weft_rng *rng)
{
    const uint32_t s = plan->augment_shift;
    draw d;
    d.cut = (uint32_t)weft_rng_below(rng, (uint64_t)plan->augment_crop + 1);
    const uint64_t window = weft_rng_u64(rng); /* its place among (cut + 1)^2 */
    d.top = (uint32_t)((window >> 32U) % (d.cut + 1));
    d.left = (uint32_t)((window & UINT32_MAX) % (d.cut + 1));
    d.flip = (weft_rng_u64(rng) >> 63U) != 0 && plan->augment_flip;
    d.down = (int64_t)weft_rng_below(rng, 2 * (uint64_t)s + 1) - s;
    d.right = (int64_t)weft_rng_below(rng, 2 * (uint64_t)s + 1) - s;
    return d;
}

/* Where the middle of pixel i of n is in a window of size pixels from start: between *low and the
 * next one, part of the way; the window's edges go on beyond it. */
static size_t place(uint32_t i, uint32_t n, uint32_t size, uint32_t start, float *ret_part)
{
    float at = ((float)i + 0.5F) * (float)size / (float)n - 0.5F;
    at = at < 0.0F ? 0.0F : at;
    const uint32_t whole = (uint32_t)at;
    const bool last = whole + 1 >= size;
    *ret_part = last ? 0.0F : at - (float)whole;
    return (size_t)start + (last ? size - 1 : whole);
}

/* x = the window of before, as large as the image again (linear between pixels). */
static void enlarge(float *x, const float *before, const weft_shape *s, const draw *d)
{
    const size_t channels = s->c;
    for (uint32_t row = 0; row < s->h; row++) {
        float down = 0.0F;
        const size_t y = place(row, s->h, s->h - d->cut, d->top, &down);
        const size_t next_row = down > 0.0F ? (size_t)s->w * channels : 0;
        for (uint32_t column = 0; column < s->w; column++) {
            float right = 0.0F;
            const size_t left = place(column, s->w, s->w - d->cut, d->left, &right);
            const size_t next = right > 0.0F ? channels : 0;
            const float *p = before + (y * s->w + left) * channels;
            for (size_t c = 0; c < channels; c++, p++) {
                const float above = p[0] + right * (p[next] - p[0]);
                const float below = p[next_row] + right * (p[next_row + next] - p[next_row]);
                *x++ = above + down * (below - above);
            }
        }
    }
}

/* x = before, turned and moved; zeros come in at the edges. */
static void move(float *x, const float *before, const weft_shape *s, const draw *d)
{
    const size_t channels = s->c;
    for (int64_t row = 0; row < s->h; row++) {
        const int64_t y = row - d->down;
        for (int64_t column = 0; column < s->w; column++, x += channels) {
            const int64_t moved = column - d->right;
            const int64_t from = d->flip ? s->w - 1 - moved : moved;
            if (y < 0 || y >= s->h || moved < 0 || moved >= s->w) {
                memset(x, 0, channels * sizeof *x);
            } else {
                memcpy(x, before + (size_t)(y * s->w + from) * channels, channels * sizeof *x);
            }
        }
    }
}

void weft_augment(float *x, float *before, const weft_shape *shape, const weft_plan *plan,
                  weft_rng *rng)
{
    const draw d = draw_one(plan, rng);
    const size_t bytes = (size_t)shape->h * shape->w * shape->c * sizeof *x;
    if (d.cut > 0) {
        memcpy(before, x, bytes);
        enlarge(x, before, shape, &d);
    }
    if (d.flip || d.down != 0 || d.right != 0) {
        memcpy(before, x, bytes);
        move(x, before, shape, &d);
    }
}
