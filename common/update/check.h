/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the coordinator (and a careful client) looks at before an update counts: length, every value
 * finite, L2 norm and weight within the job's limits. One pass over bytes that may arrive in any
 * pieces; the verdict does not depend on the pieces. Pure; any thread; a check belongs to one at a
 * time. Memory: one block, no allocation.
 */
#ifndef WEFT_UPDATE_CHECK_H
#define WEFT_UPDATE_CHECK_H

#include "update/codec.h"
#include "update/norm.h"
#include "update/refusal.h"

#include <stdbool.h>

/* What the job allows. */
typedef struct weft_update_rules {
    const weft_codec *codec; /* NULL: f32 */
    uint64_t n_params;       /* of the model, > 0 */
    double clip_norm;        /* a norm of exactly this passes */
    uint64_t max_examples;
} weft_update_rules;

typedef struct weft_update_check {
    weft_update_rules rules;
    weft_norm norm;
    uint64_t n_bytes; /* seen */
    uint32_t held;    /* bytes of a block that has not arrived whole */
    uint8_t hold[WEFT_CODEC_MAX_BLOCK_BYTES];
    bool malformed;
    bool non_finite;
    uint64_t first_bad; /* parameter that is not finite */
} weft_update_check;

void weft_update_check_init(weft_update_check *check, const weft_update_rules *rules);
/** The next n bytes; any n. Cost: O(n), near memory speed for f32. */
void weft_update_check_add(weft_update_check *check, const void *data, size_t n);
/**
 * The verdict, once all bytes were added.
 * @param n_examples  the weight that came with the update.
 * @param err  gets one sentence with the values when it is refused; or NULL.
 * @return WEFT_REFUSAL_NONE, or in this order of precedence: ENCODING (cannot be decoded),
 *         WRONG_SHAPE, NON_FINITE, NORM, WEIGHT.
 */
weft_refusal weft_update_check_finish(weft_update_check *check, uint64_t n_examples, weft_err *err);
/** The L2 norm of what was added, for records. */
double weft_update_check_norm(const weft_update_check *check);

/** All of it in one call, for bytes that lie in one piece. */
weft_refusal weft_update_check_bytes(const weft_update_rules *rules, const void *data, size_t size,
                                     uint64_t n_examples, weft_err *err);

#endif
