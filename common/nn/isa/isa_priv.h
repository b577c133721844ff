/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of one instruction set, under names of its own (WEFT_ISA_NAME). */
#ifndef WEFT_NN_ISA_PRIV_H
#define WEFT_NN_ISA_PRIV_H

#include "nn/activation.h"
#include "nn/conv.h"
#include "nn/gemm.h"
#include "nn/isa/loops.h"
#include "nn/isa/vec.h"
#include "nn/norm.h"
#include "nn/recurrent.h"

#define weft_isa_gemm     WEFT_ISA_NAME(weft_isa_gemm)
#define weft_dots         WEFT_ISA_NAME(weft_dots)
#define weft_direct_ops   WEFT_ISA_NAME(weft_direct_ops)
#define weft_panels       WEFT_ISA_NAME(weft_panels)
#define weft_lstm         WEFT_ISA_NAME(weft_lstm)
#define weft_gru          WEFT_ISA_NAME(weft_gru)
#define weft_norms        WEFT_ISA_NAME(weft_norms)
#define weft_activation   WEFT_ISA_NAME(weft_activation)
#define weft_vector_loops WEFT_ISA_NAME(weft_vector_loops)

weft_gemm_fn weft_isa_gemm;
/* a plain, b transposed: dot products of the rows of both. */
weft_gemm_fn weft_dots;

extern const weft_conv_ops weft_direct_ops;
extern const weft_panels_ops weft_panels;
extern const weft_recurrent_ops weft_lstm;
extern const weft_recurrent_ops weft_gru;
extern const weft_norm_ops weft_norms;
extern const weft_activation_ops weft_activation;
extern const weft_loops weft_vector_loops;

#endif
