/* SPDX-License-Identifier: Apache-2.0 */
/* Losses over the outputs of a batch. Threads: any. */
#ifndef WEFT_NN_LOSS_H
#define WEFT_NN_LOSS_H

#include "nn/net.h"

/**
 * Softmax cross-entropy of logits z [n][classes].
 * @param dz         [n][classes], written: inverse_n * d loss / d z; or NULL.
 * @param sum        added to.
 * @return WEFT_E_INVALID a label is not below classes; nothing is written then.
 */
WEFT_NODISCARD weft_status weft_loss_softmax(float *dz, const float *z, const uint32_t *labels,
                                             uint32_t n, uint32_t classes, float inverse_n,
                                             weft_loss_sum *sum, weft_err *err);

/** Mean over outputs of the squared error of y [n][outputs]; dy as above. */
void weft_loss_mse(float *dy, const float *y, const float *targets, uint32_t n, uint32_t outputs,
                   float inverse_n, weft_loss_sum *sum);

/** Softmax of each row, in place. */
void weft_softmax_rows(float *z, uint64_t rows, uint32_t classes);

#endif
