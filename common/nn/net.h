/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_net: a network that was built from a spec, with all memory for batches of up to max_batch
 * examples planned and allocated up front: no later call allocates.
 *
 * Weights are not part of a net: each call takes the flat vector of the spec's layout (layout.h),
 * so one net serves many weight vectors and a shared immutable version is evaluated in place.
 *
 * Activations are row-major [example][height][width][channel], of sequences [example][step]
 * [feature]; flatten changes nothing. Tokens are whole numbers as float32.
 *
 * Numerics. The kernels (isa/) give the same bits on every processor and with every instruction set
 * and number of threads: each output is one chain of fused multiply-adds in an order that the
 * shapes fix, elementary functions are our own (math.h), and nothing is left to the compiler
 * (-ffp-contract=off). WEFT_NUMERICS_PORTABLE uses nothing else. WEFT_NUMERICS_FAST, the default,
 * uses the same kernels wherever there are AVX2 or AVX-512, where they are as fast as OpenBLAS's or
 * faster for such shapes (docs/engine.md), and OpenBLAS on other processors.
 *
 * Threads: a net belongs to one thread at a time; different nets run in parallel freely. A net of
 * n_threads has n_threads - 1 threads of its own, which work during its calls only. The result of a
 * call depends on its arguments only, never on threads.
 *
 * Nothing global is changed where the kernels of isa/ run. Only a net that does use OpenBLAS sets
 * it to one thread for the whole process when it is built (openblas_set_num_threads(1): OpenBLAS
 * has no setting of narrower scope).
 */
#ifndef WEFT_NN_NET_H
#define WEFT_NN_NET_H

#include "model/layout.h"
#include "model/plan.h"

typedef struct weft_net weft_net;

typedef enum weft_kernels {
    WEFT_KERNELS_AUTO = 0,  /* the fastest that numerics allow */
    WEFT_KERNELS_NAIVE = 1, /* plain loops: the oracle of the others */
    WEFT_KERNELS_BLAS = 2   /* im2col and OpenBLAS */
} weft_kernels;

/* Instruction sets that the kernels are compiled for. */
typedef enum weft_isa_kind {
    WEFT_ISA_BEST = 0,
    WEFT_ISA_PLAIN = 1, /* what the compiler makes for any processor of the kind */
    WEFT_ISA_AVX2 = 2,  /* and FMA */
    WEFT_ISA_AVX512 = 3
} weft_isa_kind;

typedef struct weft_net_options {
    uint32_t max_batch; /* examples in one forward, 1..65536 */
    bool train;         /* plan what backward needs, too */
    weft_kernels kernels;
    weft_numerics numerics;
    weft_isa_kind isa;  /* forced, for tests; kernels AUTO only */
    uint32_t n_threads; /* for one call, the caller's included, 1..64; 0 means 1 */
    /* called once on each new thread before its first work (to pin it, say); or NULL */
    void (*thread_started)(void *self, uint32_t index);
    void *self;
} weft_net_options;
#define WEFT_NET_OPTIONS_INIT                                                                      \
    {                                                                                              \
        64, false, WEFT_KERNELS_AUTO, WEFT_NUMERICS_FAST, WEFT_ISA_BEST, 1, NULL, NULL             \
    }

/* What a net of this spec needs, in bytes. */
typedef struct weft_net_memory {
    uint64_t parameters;  /* the caller's weight vector */
    uint64_t activations; /* inputs, outputs and masks of max_batch examples, and their gradients */
    uint64_t scratch;     /* framed images of each thread, weight gradients of one layer */
    uint64_t workspace;   /* activations + scratch, with alignment: what weft_net_new allocates */
} weft_net_memory;

/**
 * Build a net; *ret is the caller's to free.
 * @param spec    of layers (not of plain tensors); borrowed for the call.
 * @param layout  of the same spec; borrowed for the call.
 * @return WEFT_E_INVALID plain tensors, max_batch or n_threads out of range, or a forced
 * instruction set that this processor lacks; WEFT_E_LIMIT a workspace above 1 TiB, or more rows
 * than a matrix product may have; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_net_new(weft_net **ret, const weft_spec *spec,
                                        const weft_layout *layout, const weft_net_options *options,
                                        const weft_alloc *a, weft_err *err);
void weft_net_free(weft_net *net);

/** What such a net would allocate; the same arguments and failures as weft_net_new, but next to
 *  nothing is allocated. */
WEFT_NODISCARD weft_status weft_net_plan_memory(weft_net_memory *ret, const weft_spec *spec,
                                                const weft_layout *layout,
                                                const weft_net_options *options,
                                                const weft_alloc *a, weft_err *err);

/** The plan of a net. Threads: any. */
void weft_net_get_memory(const weft_net *net, weft_net_memory *ret);
/** Values of one example at the input and at the output; parameters; the batch limit. */
uint32_t weft_net_n_inputs(const weft_net *net);
uint32_t weft_net_n_outputs(const weft_net *net);
uint64_t weft_net_n_params(const weft_net *net);
uint32_t weft_net_max_batch(const weft_net *net);
weft_loss weft_net_loss_kind(const weft_net *net);
/** Labels of one example, with softmax_cross_entropy: the steps of a sequence, or 1. */
uint32_t weft_net_n_labels(const weft_net *net);

/** [max_batch][n_inputs], owned by the net: a place to assemble a batch for weft_net_forward. */
float *weft_net_input(weft_net *net);

/**
 * batchnorm's running values: a train net keeps its own while it trains, as they follow no
 * gradient. take copies them from weights [n_params] before the first forward, put writes them back
 * behind each step of an optimizer. Both do nothing for nets without batchnorm.
 */
void weft_net_take_running(weft_net *net, const float *weights);
void weft_net_put_running(const weft_net *net, float *weights);

/** Restart the dropout masks from a seed. They start from seed 0. */
void weft_net_seed(weft_net *net, uint64_t seed);

/**
 * Compute the outputs of n examples.
 * @param weights  [n_params], borrowed; for a backward call: until then.
 * @param x        [n][n_inputs], borrowed; for a backward call: until then. weft_net_input will do.
 * @param n        1..max_batch; not checked in release builds.
 * @param train    draw dropout masks (else dropout passes values on unchanged); needs a train net.
 * @return [n][n_outputs], valid until the next call; logits for softmax_cross_entropy.
 */
const float *weft_net_forward(weft_net *net, const float *weights, const float *x, uint32_t n,
                              bool train);

/* Sums over examples; zero it before the first batch. */
typedef struct weft_loss_sum {
    double loss;      /* sum of the examples' losses */
    uint64_t correct; /* largest output at the label (the first largest wins a tie); the side of 0
                       * of a single sigmoid */
    uint64_t n;       /* examples; of sequences: labelled steps */
    double weight;    /* of them, by the classes' weights; n without such */
} weft_loss_sum;

/* The label of a step that counts nowhere, as padding does. */
#define WEFT_LABEL_IGNORED UINT32_MAX

/* What the outputs should have been: labels for softmax_cross_entropy (or a single sigmoid), else
 * targets. */
typedef struct weft_truth {
    const uint32_t *labels; /* [n][n_labels], each below the classes or WEFT_LABEL_IGNORED */
    const float *targets;   /* [n][n_outputs] */
} weft_truth;

/**
 * How many examples a batch's truth counts for, in the mean that is its loss: the sum of its
 * labels' class weights by the labels of an example (ignored ones have none), as PyTorch's
 * CrossEntropyLoss(weight, ignore_index) divides. n for the other losses.
 */
double weft_net_truth_weight(const weft_net *net, const weft_truth *truth, uint32_t n);

/**
 * Add the loss of the last forward's outputs (spec.h says what each is). A sequence adds the losses
 * of its labelled steps, so that loss / weight is their mean.
 * @return WEFT_E_INVALID a label out of range, or labels and targets do not fit the loss.
 */
WEFT_NODISCARD weft_status weft_net_loss(weft_net *net, const weft_truth *truth, weft_loss_sum *sum,
                                         weft_err *err);

/*
 * Where the gradient goes: to = keep * to + scale * gradient, for every parameter. {g, 0, 1} writes
 * a gradient vector, {g, 1, 1} adds to one, and {weights, 1, -learning_rate} is a step of SGD
 * without a gradient vector at all (the same weights that forward had).
 */
typedef struct weft_sink {
    float *to; /* [n_params] */
    float keep;
    float scale;
} weft_sink;

/**
 * Back-propagate the last forward(train = true) against the truth.
 * @param inverse_n  what each example's loss is multiplied by: 1 / the examples that a whole step
 *                   counts for (weft_net_truth_weight), so that chunks of a large batch add up to
 *                   its mean. Each step of a sequence has one part in n_labels of it.
 * @param sum        the loss is added as by weft_net_loss.
 * @param sink       see above; written completely. When it is the weights themselves, they are
 *                   updated layer by layer behind the pass.
 * @return as weft_net_loss; nothing is written then.
 */
WEFT_NODISCARD weft_status weft_net_backward(weft_net *net, const weft_truth *truth,
                                             float inverse_n, const weft_sink *sink,
                                             weft_loss_sum *sum, weft_err *err);

#endif
