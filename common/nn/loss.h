/* SPDX-License-Identifier: Apache-2.0 */
/* Losses over the outputs of a batch. Threads: any. */
#ifndef WEFT_NN_LOSS_H
#define WEFT_NN_LOSS_H

#include "nn/net.h"

/**
 * Softmax cross-entropy of logits z [n][classes].
 * @param dz         [n][classes], written: inverse_n * d loss / d z; or NULL.
 * @param labels     [n]; rows of WEFT_LABEL_IGNORED have no gradient and are not counted.
 * @param weights    [classes]: a row's loss is times its label's; NULL: all 1.
 * @param sum        added to.
 * @return WEFT_E_INVALID a label is not below classes; nothing is written then.
 */
WEFT_NODISCARD weft_status weft_loss_softmax(float *dz, const float *z, const uint32_t *labels,
                                             uint32_t n, uint32_t classes, const float *weights,
                                             float inverse_n, weft_loss_sum *sum, weft_err *err);

/**
 * Mean over outputs of the cross-entropy of sigmoid(z), z [n][outputs], and targets 0 to 1; dz as
 * above.
 * @param targets  [n][outputs]; or NULL: labels [n] of 0 and 1, with one output.
 * @return WEFT_E_INVALID a target or label out of range; nothing is written then.
 */
WEFT_NODISCARD weft_status weft_loss_sigmoid(float *dz, const float *z, const float *targets,
                                             const uint32_t *labels, uint32_t n, uint32_t outputs,
                                             float inverse_n, weft_loss_sum *sum, weft_err *err);

/** Mean over outputs of the squared error of y [n][outputs]; dy as above. */
void weft_loss_mse(float *dy, const float *y, const float *targets, uint32_t n, uint32_t outputs,
                   float inverse_n, weft_loss_sum *sum);

/** Mean over outputs of Huber's loss: d^2 / 2 up to |d| = delta, delta (|d| - delta / 2) beyond. */
void weft_loss_huber(float *dy, const float *y, const float *targets, uint32_t n, uint32_t outputs,
                     float delta, float inverse_n, weft_loss_sum *sum);

/** Sigmoid of each value, in place. */
void weft_sigmoid_rows(float *z, size_t n);

/** Softmax of each row, in place. */
void weft_softmax_rows(float *z, uint64_t rows, uint32_t classes);

#endif
