/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of one instruction set. */
#include "nn/isa/isa.h"
#include "nn/isa/isa_priv.h"

const weft_isa WEFT_ISA_NAME(weft_isa_kernels) = {
    .gemm = weft_isa_gemm,
    .conv = &weft_direct_ops,
    .panels = &weft_panels,
    .lstm = &weft_lstm,
    .gru = &weft_gru,
    .norm = &weft_norms,
    .activation = &weft_activation,
    .loops = &weft_vector_loops,
};
