/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_codec_f32.decode, weft_update_check_add, weft_update_check_finish */
/*
 * The first bytes say how many parameters are expected, the limits, and how the rest is cut into
 * pieces; the rest is the update. Properties: the verdict does not depend on the pieces; it is what
 * a naive look at the values says; what passes decodes and encodes to the same bytes.
 */
#include "base/buf.h"
#include "update/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool truth)
{
    if (!truth) {
        abort();
    }
}

static weft_refusal naive(const weft_update_rules *rules, const float *values, size_t size,
                          uint64_t n_examples, double norm)
{
    if (size != rules->n_params * 4) {
        return WEFT_REFUSAL_WRONG_SHAPE;
    }
    long double square = 0.0L;
    for (size_t i = 0; i < size / 4; i++) {
        if (!isfinite(values[i])) {
            return WEFT_REFUSAL_NON_FINITE;
        }
        square += (long double)values[i] * (long double)values[i];
    }
    const double root = (double)sqrtl(square);
    require(fabs(root - norm) <= root * 1e-12);
    if (norm > rules->clip_norm) {
        return WEFT_REFUSAL_NORM;
    }
    return n_examples == 0 || n_examples > rules->max_examples ? WEFT_REFUSAL_WEIGHT
                                                               : WEFT_REFUSAL_NONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float values[MAX_VALUES];
    static uint8_t again[MAX_VALUES * 4];
    weft_reader r;
    weft_reader_init(&r, data, size);
    const uint16_t wanted = weft_reader_u16(&r);
    const uint16_t piece = weft_reader_u16(&r);
    const uint16_t n_examples = weft_reader_u16(&r);
    const uint16_t clip = weft_reader_u16(&r);
    const size_t left = weft_reader_left(&r);
    if (r.failed || left > sizeof again) {
        return 0;
    }
    const uint8_t *bytes = weft_reader_take(&r, left);
    const weft_update_rules rules = {
        weft_codec_find("f32"),
        wanted == 0xffff ? left / 4 + 1 : (uint64_t)(wanted ? wanted : left / 4 + (left < 4)),
        ldexp(1.0, clip % 64 - 16), 1000};
    weft_update_check whole;
    weft_update_check_init(&whole, &rules);
    weft_update_check_add(&whole, bytes, left);
    const weft_refusal verdict = weft_update_check_finish(&whole, n_examples, NULL);

    weft_update_check pieces;
    weft_update_check_init(&pieces, &rules);
    const size_t step = piece ? piece : 1;
    for (size_t at = 0; at < left; at += step) {
        weft_update_check_add(&pieces, bytes + at, step < left - at ? step : left - at);
    }
    weft_err err = WEFT_ERR_INIT;
    require(weft_update_check_finish(&pieces, n_examples, &err) == verdict);
    require((err.msg[0] != '\0') == (verdict != WEFT_REFUSAL_NONE));

    const weft_status decoded = weft_codec_f32.decode(values, left / 4, bytes, left, NULL);
    require((decoded == WEFT_OK) == (left % 4 == 0));
    if (decoded == WEFT_OK) {
        weft_codec_f32.encode(again, values, left / 4);
        require(left == 0 || memcmp(again, bytes, left) == 0);
    }
    require(verdict == naive(&rules, values, left, n_examples, weft_update_check_norm(&whole)));
    return 0;
}
