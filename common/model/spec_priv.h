/* SPDX-License-Identifier: Apache-2.0 */
/* What the spec's parser and its shape inference share. */
#ifndef WEFT_MODEL_SPEC_PRIV_H
#define WEFT_MODEL_SPEC_PRIV_H

#include "model/spec.h"

/**
 * Set layer->in and layer->out, and the padding of padding=same, from the shape that arrives.
 * @param line  for messages.
 * @return WEFT_E_INVALID the layer does not take that shape; WEFT_E_LIMIT the result is too large.
 */
WEFT_NODISCARD weft_status weft_layer_infer(weft_layer *layer, const weft_shape *in, uint32_t line,
                                            weft_err *err);

#endif
