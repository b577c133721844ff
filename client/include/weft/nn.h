/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libweft-nn: weft's own training engine. It gives a client that has data but no trainer of its own
 * a ready one for <weft/weft.h>, and a host that holds a released model a way to use it.
 *
 *     weft_nn_data *data = NULL;
 *     weft_nn_data_open(&data, "/var/lib/digits", NULL, NULL, &err);
 *     weft_trainer trainer = weft_nn_trainer(data);
 *     weft_client_attach(client, &dataset, &trainer, &err);
 *
 * Threads: data may be used by one thread at a time; weft_nn_predict by any. The engine computes on
 * the calling thread only. Where the processor has neither AVX2 nor AVX-512, building a network (at
 * a task, in weft_nn_predict) loads OpenBLAS, if there is one, and sets it to one thread for the
 * process, where it has more: openblas_set_num_threads(1).
 *
 * libweft-nn needs no libweft at run time: both share types only.
 */
#ifndef WEFT_NN_H
#define WEFT_NN_H

#include <weft/weft.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Examples of one data set, and the split into those to train on and those held out. */
typedef struct weft_nn_data weft_nn_data;

typedef struct weft_nn_data_options {
    size_t size;         /* set by WEFT_NN_DATA_OPTIONS_INIT */
    double held_out;     /* fraction kept out of training for evaluation tasks, 0..0.9 */
    uint64_t split_seed; /* of the split; the same seed and data split the same way */
} weft_nn_data_options;
#define WEFT_NN_DATA_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(weft_nn_data_options), 0.2, 1                                                       \
    }

/**
 * Open a data set: a folder or file of IDX images and labels (.gz too), CSV or NPY.
 * @param ret      the caller's to close.
 * @param schema   the columns of a CSV as text, or NULL. A task may bring another one (with the
 *                 federation's scaling statistics and categories) and is served with that, but only
 *                 with columns that are declared here; without a declaration it may use any. A CSV
 *                 without a schema is read at the first task.
 * @param options  or NULL for the defaults.
 * @return WEFT_E_NOTFOUND, WEFT_E_FORMAT, WEFT_E_INVALID, WEFT_E_LIMIT, WEFT_E_IO, WEFT_E_NOMEM.
 */
WEFT_API WEFT_NODISCARD weft_status weft_nn_data_open(weft_nn_data **ret, const char *path,
                                                      const char *schema,
                                                      const weft_nn_data_options *options,
                                                      weft_error *err);

/** Examples in memory. Features are float, or bytes that become byte / 255. */
typedef struct weft_nn_arrays {
    size_t size;
    uint64_t n_examples;
    uint32_t n_features;    /* of one example; images: height, width, channel */
    uint32_t n_targets;     /* 0: labels */
    const float *features;  /* [n_examples][n_features], or NULL */
    const uint8_t *pixels;  /* [n_examples][n_features], or NULL */
    const uint32_t *labels; /* [n_examples], classes from 0; or NULL */
    const float *targets;   /* [n_examples][n_targets], or NULL */
} weft_nn_arrays;
#define WEFT_NN_ARRAYS_INIT                                                                        \
    {                                                                                              \
        sizeof(weft_nn_arrays), 0, 0, 0, NULL, NULL, NULL, NULL                                    \
    }

/**
 * A data set over arrays, which are borrowed until it is closed.
 * @return WEFT_E_INVALID not exactly one of features and pixels, or of labels and targets, or a
 *         value out of range; WEFT_E_NOMEM.
 */
WEFT_API WEFT_NODISCARD weft_status weft_nn_data_from_arrays(weft_nn_data **ret,
                                                             const weft_nn_arrays *arrays,
                                                             const weft_nn_data_options *options,
                                                             weft_error *err);
/** NULL is allowed. No trainer over it may be used any more. */
WEFT_API void weft_nn_data_close(weft_nn_data *data);
/** Examples to train on, without the held-out ones: what to declare in weft_dataset. 0 for a CSV
 * that waits for its schema. */
WEFT_API uint64_t weft_nn_data_n_train(const weft_nn_data *data);
WEFT_API uint64_t weft_nn_data_n_held_out(const weft_nn_data *data);

/**
 * A trainer over data (borrowed: close it after the client). It trains on the training part,
 * evaluates on the held-out part (on all examples where nothing is held out) and answers statistics
 * tasks over all lines of a CSV. It keeps its network between tasks.
 */
WEFT_API weft_trainer weft_nn_trainer(weft_nn_data *data);

/**
 * Values of one example at the input and at the output of a model.
 * @return WEFT_E_FORMAT or WEFT_E_INVALID with "line N: ..."; WEFT_E_INVALID a spec of plain
 * tensors.
 */
WEFT_API WEFT_NODISCARD weft_status weft_nn_shape(const char *model_spec, uint64_t *ret_n_params,
                                                  uint32_t *ret_n_inputs, uint32_t *ret_n_outputs,
                                                  weft_error *err);

/**
 * The model's outputs: class probabilities for softmax_cross_entropy (of sequences: for each step),
 * probabilities for sigmoid_cross_entropy, values for mse and huber.
 * @param weights   [n_params], as a released model holds them in weft's order.
 * @param features  [n_examples][n_inputs].
 * @param outputs   [n_examples][n_outputs], written completely.
 * @return as weft_nn_shape; WEFT_E_INVALID n_params is not the model's; WEFT_E_NOMEM.
 */
WEFT_API WEFT_NODISCARD weft_status weft_nn_predict(const char *model_spec, const float *weights,
                                                    uint64_t n_params, const float *features,
                                                    uint64_t n_examples, float *outputs,
                                                    weft_error *err);

#ifdef __cplusplus
}
#endif

#endif
