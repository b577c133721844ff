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
 *   dense units=N [bias=0|1] [init=he|glorot|zero]         on steps: the same for each step
 *   conv2d filters=N kernel=K|KHxKW [stride=S] [padding=same|valid|P] [groups=G] [bias=0|1]
 *          [init=...]                   groups: inputs and filters in G parts that do not see
 *                                       each other; as many as channels: a depthwise convolution
 *   maxpool size=K [stride=S]   avgpool size=K [stride=S]     (stride defaults to size)
 *   globalavgpool                       the mean of each channel: an image becomes features
 *   relu  leaky_relu [slope=S]  tanh  sigmoid  gelu  silu  dropout rate=R
 *   flatten
 *   groupnorm groups=G                  Wu and He 2018; means over an image's pixels and a group
 *   layernorm                           Ba et al. 2016; over the channels of each pixel or step
 *   batchnorm                           see below
 *   embedding dims=N                    tokens become steps of N features
 *   lstm units=N [bias=0|1]   gru units=N [bias=0|1]          steps to steps; PyTorch's equations
 *   last                                the last step of a sequence that is not padding
 * Names default to kind and index ("conv2d1", "dense1", ...).
 *
 * Branches: `save NAME` keeps the value that arrives; `add NAME` adds a kept value of the same
 * shape; `from NAME` goes on with a kept value (what came before it must be kept, too). A block of
 * ResNet with a projection:
 *
 *     save in
 *     conv2d filters=32 kernel=3 stride=2 padding=1 bias=0
 *     groupnorm groups=8
 *     relu
 *     conv2d filters=32 kernel=3 padding=1 bias=0
 *     groupnorm groups=8
 *     save main
 *     from in
 *     conv2d filters=32 kernel=1 stride=2
 *     add main
 *     relu
 *
 * Sequences: `input tokens=80 vocab=90` takes 80 tokens, whole numbers below 90 (as float32, as all
 * features), of which trailing ones may be negative: padding. `input 80x16` takes 80 steps of 16
 * features. The label of a step may be WEFT_LABEL_IGNORED (nn/net.h): it counts nowhere.
 *
 * batchnorm normalises by the batch's mean and variance in training and by running ones in
 * evaluation (momentum 0.1, epsilon 1e-5, as PyTorch's). The running values are parameters like all
 * others: tensors of the layout that travel with each update and are averaged by examples, so the
 * federation evaluates with the clients' mean statistics. A client starts from the federation's.
 * They are part of the update's norm that is clipped. Where clients' data differ much, groupnorm is
 * the better choice (Hsieh et al. 2020).
 *
 * Losses, of one example (a batch has the mean of its examples):
 *   softmax_cross_entropy [weights=W,W,...]   of a label, or of each labelled step. With weights a
 *                                             batch has the mean by its labels' weights: the sum of
 *                                             weight * loss by the sum of weights, as PyTorch's
 *   sigmoid_cross_entropy                     of targets 0 to 1, the mean over outputs; with one
 *                                             output, labels 0 and 1 will do
 *   mse                                       the mean over outputs of the squared error
 *   huber [delta=D]                           the mean over outputs; squared / 2 up to D, 1 unless
 *                                             said, linear beyond
 * Behind the loss, what evaluation measures besides loss and accuracy:
 *   metrics [auc] [recall] [top_k=K]
 * auc: of the second of two classes, or of one sigmoid output. recall: of each class, at most 12.
 * How a federation's are made of its clients': nn/train/train.h, weft_train_result_metrics.
 *
 * Shapes are inferred and checked at parse time: a spec that parsed can be built.
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
    WEFT_LAYER_DROPOUT,
    WEFT_LAYER_SAVE,
    WEFT_LAYER_FROM,
    WEFT_LAYER_ADD,
    WEFT_LAYER_GLOBALAVGPOOL,
    WEFT_LAYER_LEAKY_RELU,
    WEFT_LAYER_GELU,
    WEFT_LAYER_SILU,
    WEFT_LAYER_GROUPNORM,
    WEFT_LAYER_LAYERNORM,
    WEFT_LAYER_BATCHNORM,
    WEFT_LAYER_EMBEDDING,
    WEFT_LAYER_LSTM,
    WEFT_LAYER_GRU,
    WEFT_LAYER_LAST_STEP
} weft_layer_kind;
enum { WEFT_N_LAYER_KINDS = WEFT_LAYER_LAST_STEP + 1 };

typedef enum weft_init { WEFT_INIT_HE, WEFT_INIT_GLOROT, WEFT_INIT_ZERO } weft_init;

typedef enum weft_loss {
    WEFT_LOSS_NONE,
    WEFT_LOSS_SOFTMAX_CE,
    WEFT_LOSS_MSE,
    WEFT_LOSS_SIGMOID_CE,
    WEFT_LOSS_HUBER
} weft_loss;

/* What evaluation measures besides loss and accuracy: bits of weft_spec.metrics. */
enum { WEFT_METRIC_AUC = 1, WEFT_METRIC_RECALL = 2, WEFT_METRIC_TOP_K = 4 };
/* Classes whose recall is reported one by one: with the other metrics below WEFT_MAX_METRICS. */
#define WEFT_SPEC_MAX_RECALL 12U

/* Images are height x width x channels (rank 3), sequences steps x 1 x features (rank 2; tokens
 * have one value a step), features alone 1 x 1 x n (rank 1). */
typedef struct weft_shape {
    uint32_t rank; /* 1 to 3 */
    uint32_t h, w, c;
} weft_shape;

typedef struct weft_layer {
    weft_layer_kind kind;
    char name[WEFT_MAX_NAME_BYTES + 1];
    uint32_t units;              /* dense, lstm, gru: outputs; conv2d: filters; embedding: dims */
    uint32_t kernel_h, kernel_w; /* conv2d and pools */
    uint32_t stride;
    uint32_t pad_top, pad_left, pad_bottom, pad_right; /* zeros around the input; conv2d */
    bool pad_same;                                     /* written as padding=same */
    bool bias;
    weft_init init;
    float rate;      /* dropout's rate; leaky_relu's slope */
    uint32_t groups; /* conv2d: 1 or more; groupnorm */
    uint32_t of;     /* from, add: the layer that saves what they take */
    weft_shape in, out;
    /* What is known of the input beside its shape: the image that flatten made features of (else
     * rank 0), and how many tokens there are (0: it is no tokens) */
    weft_shape image;
    uint32_t vocab;
} weft_layer;

typedef struct weft_plain_tensor {
    char name[WEFT_MAX_TENSOR_NAME_BYTES + 1];
    uint32_t rank;
    uint64_t shape[WEFT_MAX_TENSOR_RANK];
} weft_plain_tensor;

typedef struct weft_spec {
    const weft_alloc *alloc;
    weft_shape input; /* rank 0 for plain tensors */
    uint32_t vocab;   /* the input is tokens below this; 0: it is not */
    uint32_t n_layers;
    weft_layer *layers; /* [n_layers], owned */
    weft_loss loss;
    float delta;          /* huber */
    float *class_weights; /* [outputs of the last layer's channels], owned; NULL: all 1 */
    uint32_t metrics;     /* WEFT_METRIC_... */
    uint32_t top_k;       /* with WEFT_METRIC_TOP_K */
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
/** Parameters of one layer; 0 for the kinds without; UINT64_MAX when 64 bits are too few. */
uint64_t weft_layer_n_params(const weft_layer *layer);
/** What comes out behind the last layer. */
const weft_shape *weft_spec_output(const weft_spec *spec);
/** Labels that one example has where a loss takes labels: the steps, or 1. */
uint32_t weft_spec_n_labels(const weft_spec *spec);

#endif
