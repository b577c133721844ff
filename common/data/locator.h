/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a data path may say besides a place on disk:
 *   digits:SEED:N[:STRENGTH]  N drawn digits; STRENGTH 0..1: how much the hand differs from the
 *                             common one (it is drawn from SEED); default 0.3
 *   text:WINDOW:STRIDE:PATH   the text at PATH to predict each STRIDE-th character from the WINDOW
 *                             before it (data/text.h); its part #I/N has whole roles
 *   PATH#I/N                  part I (from 1) of N equal shuffled parts of the data at PATH, the
 *                             same parts for everybody: to try a federation on one data set
 * Pure; any thread.
 */
#ifndef WEFT_DATA_LOCATOR_H
#define WEFT_DATA_LOCATOR_H

#include "data/dataset.h"

#define WEFT_LOCATOR_MAX_BYTES 4095U

typedef struct weft_locator {
    char path[WEFT_LOCATOR_MAX_BYTES + 1]; /* without the part; "" for digits */
    bool digits;
    uint32_t seed;
    uint32_t n;
    float strength;
    uint32_t window; /* of a text; 0: it is none */
    uint32_t stride;
    uint32_t part; /* from 1; 0: everything */
    uint32_t n_parts;
} weft_locator;

/** WEFT_E_INVALID what follows "digits:", "text:" or "#" is not of the form above; WEFT_E_LIMIT. */
WEFT_NODISCARD weft_status weft_locator_parse(weft_locator *ret, const char *text, weft_err *err);

/** Draw the digits of a locator; the test split is another draw in the same hand. */
WEFT_NODISCARD weft_status weft_locator_draw(weft_data **ret, const weft_locator *locator,
                                             weft_split split, const weft_alloc *a, weft_err *err);

/** Replace *data by the locator's part of it (freed on success); nothing for part 0.
 *  WEFT_E_INVALID fewer examples than parts; WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_locator_cut(weft_data **data, const weft_locator *locator,
                                            const weft_alloc *a, weft_err *err);

#endif
