/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model spec: which layers, in which order, or plain named tensors for a trainer that weft
 * does not know. One text form serves job files, the wire, the store and exported models:
 *
 *     input 28x28x1                    height x width x channels, or one number of features
 *     conv2d filters=32 kernel=5 padding=same
 *     relu
 *     maxpool size=2
 *     flatten
 *     dense hidden units=512           an optional name before the options
 *     relu
 *     dense units=10
 *     loss softmax_cross_entropy
 *
 * or
 *
 *     tensor encoder.weight 64x128
 *     tensor encoder.bias 64
 *
 * One layer a line; '#' starts a comment; options are name=value, in any order. Layers:
 *   dense units=N [bias=0|1] [init=he|glorot|zero]
 *   conv2d filters=N kernel=K|KHxKW [stride=S] [padding=same|valid|P] [bias=0|1] [init=...]
 *   maxpool size=K [stride=S]   avgpool size=K [stride=S]     (stride defaults to size)
 *   relu  tanh  sigmoid  flatten  dropout rate=R
 * Losses: softmax_cross_entropy, mse. Shapes are inferred and checked at parse time: a spec that
 * parsed can be built. Names default to kind and index ("conv2d1", "dense1", ...).
 *
 * Pure; any thread; specs are immutable after parsing.
 */
#ifndef WEFT_MODEL_SPEC_H
#define WEFT_MODEL_SPEC_H

#include "base/buf.h"
#include "base/limits.h"

/* One dimension: sizes, units, kernels, strides. Products of two fit 64 bits with room to spare. */
#define WEFT_SPEC_MAX_DIM (1U << 24)
/* Values of one example between two layers: 1 GiB of float32, far above any sensible image. */
#define WEFT_SPEC_MAX_VALUES (1U << 28)
/* Zeros on one side of a convolution's input. */
#define WEFT_SPEC_MAX_PADDING 1024U

typedef enum weft_layer_kind {
    WEFT_LAYER_DENSE,
    WEFT_LAYER_CONV2D,
    WEFT_LAYER_MAXPOOL,
    WEFT_LAYER_AVGPOOL,
    WEFT_LAYER_RELU,
    WEFT_LAYER_TANH,
    WEFT_LAYER_SIGMOID,
    WEFT_LAYER_FLATTEN,
    WEFT_LAYER_DROPOUT
} weft_layer_kind;

typedef enum weft_init { WEFT_INIT_HE, WEFT_INIT_GLOROT, WEFT_INIT_ZERO } weft_init;

typedef enum weft_loss { WEFT_LOSS_NONE, WEFT_LOSS_SOFTMAX_CE, WEFT_LOSS_MSE } weft_loss;

/* height x width x channels; features alone are 1 x 1 x n with rank 1 */
typedef struct weft_shape {
    uint32_t rank; /* 1 or 3 */
    uint32_t h, w, c;
} weft_shape;

typedef struct weft_layer {
    weft_layer_kind kind;
    char name[WEFT_MAX_NAME_BYTES + 1];
    uint32_t units;              /* dense: outputs; conv2d: filters */
    uint32_t kernel_h, kernel_w; /* conv2d and pools */
    uint32_t stride;
    uint32_t pad_top, pad_left, pad_bottom, pad_right; /* zeros around the input; conv2d */
    bool pad_same;                                     /* written as padding=same */
    bool bias;
    weft_init init;
    float rate; /* dropout */
    weft_shape in, out;
} weft_layer;

typedef struct weft_plain_tensor {
    char name[WEFT_MAX_TENSOR_NAME_BYTES + 1];
    uint32_t rank;
    uint64_t shape[WEFT_MAX_TENSOR_RANK];
} weft_plain_tensor;

typedef struct weft_spec {
    const weft_alloc *alloc;
    weft_shape input; /* rank 0 for plain tensors */
    uint32_t n_layers;
    weft_layer *layers; /* [n_layers], owned */
    weft_loss loss;
    uint32_t n_tensors;
    weft_plain_tensor *tensors; /* [n_tensors], owned; either layers or tensors, never both */
} weft_spec;

/**
 * Parse and check a spec; *ret is the caller's to free.
 * @return WEFT_E_FORMAT or WEFT_E_INVALID with "line N: ..." in err; WEFT_E_LIMIT; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_spec_parse(weft_spec **ret, const char *text, size_t size,
                                           const weft_alloc *a, weft_err *err);
/** Append the canonical text: parse(print(s)) equals s, and equal specs print equal bytes. */
WEFT_NODISCARD weft_status weft_spec_print(const weft_spec *spec, weft_buf *out, weft_err *err);
/** Free; NULL is allowed. */
void weft_spec_free(weft_spec *spec);

/** The word of the text form: "conv2d", "he", "mse". Static strings. */
const char *weft_layer_kind_name(weft_layer_kind kind);
const char *weft_init_name(weft_init init);
const char *weft_loss_name(weft_loss loss);
/** h * w * c. */
uint32_t weft_shape_size(const weft_shape *shape);
/** Weights and bias of one layer; 0 for the kinds without; UINT64_MAX when 64 bits are too few. */
uint64_t weft_layer_n_params(const weft_layer *layer);

#endif
