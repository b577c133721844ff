/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Procedurally drawn digits, 28 x 28 grey: strokes with jittered control points, a random affine
 * map, stroke width, blur, noise. For the demo, tests and the simulation where MNIST is not at
 * hand. Hard enough that a linear model stays clearly below a small CNN. Seeded: example i of a
 * seed is the same picture however many are drawn. Pure; any thread.
 */
#ifndef WEFT_DATA_DIGITS_H
#define WEFT_DATA_DIGITS_H

#include "base/rng.h"
#include "data/dataset.h"

#define WEFT_DIGITS_SIDE   28U
#define WEFT_DIGITS_PIXELS 784U /* 28 * 28 */

/* A client's hand: added to every digit it writes. All 0: the common style. */
typedef struct weft_digits_style {
    float slant;    /* shear, -0.5..0.5 */
    float width;    /* of the stroke, pixels added, -0.6..1 */
    float size;     /* relative, -0.2..0.2 */
    float rotation; /* radians, -0.4..0.4 */
    float contrast; /* ink taken away, 0..0.5 */
} weft_digits_style;

#define WEFT_DIGITS_STYLE_INIT                                                                     \
    {                                                                                              \
        0.0F, 0.0F, 0.0F, 0.0F, 0.0F                                                               \
    }

/** Draw a style within those ranges; strength 0..1 (0: the common style). */
void weft_digits_style_draw(weft_digits_style *style, float strength, weft_rng *rng);

/** Draw one digit (0..9) into out [28][28]. */
void weft_digits_draw(uint8_t *out, uint32_t digit, const weft_digits_style *style, weft_rng *rng);

/**
 * A data set of n digits, classes in random order, each about equally often.
 * @param style  NULL: the common one.
 * @return WEFT_E_LIMIT, WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_digits_new(weft_data **ret, uint32_t n, uint64_t seed,
                                           const weft_digits_style *style, const weft_alloc *a,
                                           weft_err *err);

#endif
