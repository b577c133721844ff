/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_eval: central evaluation of a job's versions on a data set at the coordinator. The examples
 * are loaded once and kept with the net for the job's next version.
 *
 * Threads: a weft_eval belongs to one worker thread at a time; it reads weights in place (they may
 * be the published, shared version).
 */
#ifndef WEFT_EVAL_H
#define WEFT_EVAL_H

#include "base/alloc.h"
#include "base/err.h"
#include "model/metric.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct weft_eval weft_eval;

typedef struct weft_eval_result {
    weft_metrics metrics; /* "loss", and "accuracy" for classification */
    uint64_t n_examples;
} weft_eval_result;

/**
 * Load the examples and build the net; *ret is the caller's to free. Reads files.
 * @param model_spec   text of the job; layers, not plain tensors.
 * @param data_schema  text of the job, or NULL for images.
 * @param data_path    file or folder at the coordinator: its test part where it has one, else all.
 * @return WEFT_E_INVALID the data do not fit the spec, or plain tensors; WEFT_E_NOTFOUND;
 * WEFT_E_FORMAT; WEFT_E_LIMIT; WEFT_E_IO; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_eval_new(weft_eval **ret, const char *model_spec,
                                         const char *data_schema, const char *data_path,
                                         const weft_alloc *a, weft_err *err);
void weft_eval_free(weft_eval *eval);

/**
 * Evaluate one version.
 * @param weights   [n_weights], borrowed, unchanged.
 * @param canceled  polled each batch with arg; or NULL.
 * @return WEFT_E_INVALID n_weights is not the spec's, or a metric is not finite; WEFT_E_CANCELED.
 */
WEFT_NODISCARD weft_status weft_eval_run(weft_eval_result *ret, weft_eval *eval,
                                         const float *weights, uint64_t n_weights,
                                         bool (*canceled)(void *arg), void *arg, weft_err *err);

#endif
