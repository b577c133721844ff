/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_data: an immutable data set in memory, and views of it by index list (so that partitions,
 * held-out parts and clients share one copy). Readers (idx.h, csv.h, npy.h, digits.h) make one;
 * load.h picks the reader. Once made it is only read: any number of threads.
 */
#ifndef WEFT_DATA_DATASET_H
#define WEFT_DATA_DATASET_H

#include "base/alloc.h"
#include "base/err.h"
#include "model/spec.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum weft_feature_type {
    WEFT_FEATURE_U8 = 1, /* images: 0..255, handed out as value / 255 */
    WEFT_FEATURE_F32 = 2 /* handed out as they are */
} weft_feature_type;

typedef enum weft_label_kind {
    WEFT_LABEL_NONE = 0,  /* for prediction only */
    WEFT_LABEL_CLASS = 1, /* 0..n_classes - 1 */
    WEFT_LABEL_VALUE = 2  /* one float32, for regression */
} weft_label_kind;

typedef enum weft_split { WEFT_SPLIT_TRAIN = 1, WEFT_SPLIT_TEST = 2 } weft_split;

/* All fields are for reading only. */
typedef struct weft_data {
    const weft_alloc *alloc;
    uint32_t n;          /* examples, 1..WEFT_MAX_EXAMPLES */
    weft_shape shape;    /* of one example: rank 1 (c features) or 3 (height x width x channels) */
    uint32_t n_features; /* h * w * c, 1..WEFT_MAX_FEATURES */
    weft_feature_type type;
    uint8_t *u8; /* [n][n_features] (NHWC), owned; NULL unless type is U8 */
    float *f32;  /* [n][n_features], owned, finite; NULL unless type is F32 */
    weft_label_kind labels;
    uint32_t n_classes; /* 1..WEFT_MAX_CLASSES; 0 unless labels is CLASS */
    uint32_t *classes;  /* [n], each < n_classes, owned; or NULL */
    float *values;      /* [n], finite, owned; or NULL */
    uint32_t n_groups;  /* distinct values of the group column; 0: there is none */
    uint32_t *groups;   /* [n], each < n_groups, owned; or NULL */
    char **group_names; /* [n_groups], owned, each owned; or NULL */
} weft_data;

/** Free a data set (also a half-built one); NULL is allowed. */
void weft_data_free(weft_data *data);

/**
 * An empty frame for readers and generators: zeroed arrays of the sizes asked for.
 * @param n          examples, 1..WEFT_MAX_EXAMPLES.
 * @param n_classes  for CLASS; ignored otherwise.
 * @return WEFT_E_LIMIT a size out of range; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_data_new(weft_data **ret, uint64_t n, weft_shape shape,
                                         weft_feature_type type, weft_label_kind labels,
                                         uint32_t n_classes, const weft_alloc *a, weft_err *err);

/** Examples of a data set by position; borrows both. */
typedef struct weft_data_view {
    const weft_data *data;
    const uint32_t *index; /* [n] positions in data; NULL: 0..n-1 */
    uint32_t n;
} weft_data_view;

/** The view of everything. */
weft_data_view weft_data_all(const weft_data *data);

/** The position in view->data of example i of the view; i < view->n. */
uint32_t weft_data_view_at(const weft_data_view *view, uint32_t i);

/**
 * Copy examples of a view into a batch, as the engine wants them.
 * @param features  [n][n_features] float32, written: u8 as value / 255, float32 as it is.
 * @param classes   [n] for CLASS labels, or NULL.
 * @param values    [n] for VALUE labels, or NULL.
 * @param order     [n] positions in the view (a shuffled slice); NULL: first, first + 1, ...
 * @param first     used when order is NULL.
 * Threads: any. Cost: O(n * n_features), no allocation.
 */
void weft_data_gather(float *features, uint32_t *classes, float *values, const weft_data_view *view,
                      const uint32_t *order, uint32_t first, uint32_t n);

/**
 * Compare with what a model expects: features as shape or as their number; classes at most outputs.
 * @param spec  layers, not plain tensors.
 * @return WEFT_E_INVALID naming both sides ("the model takes 784 features, the data have 30").
 */
WEFT_NODISCARD weft_status weft_data_fits(const weft_data *data, const weft_spec *spec,
                                          weft_err *err);

#endif
