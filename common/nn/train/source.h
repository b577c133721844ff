/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_batch_source: where examples come from, as the training loop sees it: a number of examples
 * and a way to fetch some of them by index. common/data implements it over its data sets; plain
 * arrays are served by weft_arrays_source.
 *
 * Threads: as the implementation says; a source over plain arrays may be shared.
 */
#ifndef WEFT_NN_TRAIN_SOURCE_H
#define WEFT_NN_TRAIN_SOURCE_H

#include "base/err.h"

#include <stdint.h>

typedef struct weft_batch_source {
    uint64_t n_examples;
    uint32_t n_features; /* of one example; images are [height][width][channel] */
    uint32_t n_targets;  /* 0: integer labels; else float targets, so many an example */
    uint32_t n_labels;   /* labels of an example, of sequences its steps; 0 is 1 */
    /**
     * Copy the examples index[0..n) in that order.
     * @param index    [n], each below n_examples; examples may repeat.
     * @param x        [n][n_features].
     * @param labels   [n][n_labels]; NULL when not wanted, and not written when n_targets > 0.
     * @param targets  [n][n_targets]; NULL when not wanted, and not written when n_targets is 0.
     * @return WEFT_OK; anything else ends the training with it.
     */
    weft_status (*fetch)(const void *self, const uint32_t *index, uint32_t n, float *x,
                         uint32_t *labels, float *targets, weft_err *err);
    const void *self;
} weft_batch_source;

/* Examples in memory, borrowed. Features are floats, or bytes of which value = byte / divisor. */
typedef struct weft_arrays {
    uint64_t n_examples; /* at most 2^32 - 1 */
    uint32_t n_features;
    uint32_t n_targets;
    uint32_t n_labels;      /* 0 is 1 */
    const float *features;  /* [n_examples][n_features], or NULL */
    const uint8_t *bytes;   /* [n_examples][n_features], or NULL */
    float divisor;          /* of bytes, e.g. 255, or 1 for tokens; not 0 */
    const uint32_t *labels; /* [n_examples][n_labels], with n_targets = 0 */
    const float *targets;   /* [n_examples][n_targets], with n_targets > 0 */
} weft_arrays;

/** A source over arrays; both are borrowed as long as it is used. */
weft_batch_source weft_arrays_source(const weft_arrays *arrays);

/* Some of another source's examples, borrowed: a client's part, a train or held-out split. */
typedef struct weft_subset {
    const weft_batch_source *of;
    const uint32_t *index; /* [n_examples] */
    uint64_t n_examples;
} weft_subset;

/** A source over a subset; it and what it borrows must outlive the use. */
weft_batch_source weft_subset_source(const weft_subset *subset);

#endif
