/* SPDX-License-Identifier: Apache-2.0 */
/* What the convolutions of one instruction set share. Threads: any. */
#ifndef WEFT_NN_ISA_CONV_PRIV_H
#define WEFT_NN_ISA_CONV_PRIV_H

#include "nn/isa/frame.h"
#include "nn/isa/isa_priv.h"

#define weft_windows_scratch WEFT_ISA_NAME(weft_windows_scratch)
#define weft_windows_to_x    WEFT_ISA_NAME(weft_windows_to_x)
#define weft_sparse_to_w     WEFT_ISA_NAME(weft_sparse_to_w)

/** Values of scratch that the two below need. */
size_t weft_windows_scratch(const weft_conv *c);
/** dx as the sum of scaled windows of weights: of the winners of a pool, or of all pixels. */
void weft_windows_to_x(const weft_conv *c, const weft_conv_backward *io);
/** Columns [first, last) of dw and db of a pooled layer: sums of the winners' windows of x. */
void weft_sparse_to_w(const weft_conv *c, const weft_conv_backward *io, uint32_t first,
                      uint32_t last);

#endif
