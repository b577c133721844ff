/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of one instruction set. */
#include "nn/isa/isa.h"
#include "nn/isa/isa_priv.h"

const weft_isa WEFT_ISA_NAME(weft_isa_kernels) = {weft_isa_gemm, &weft_direct_ops, &weft_panels,
                                                  &weft_lstm, &weft_gru};
