/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels that are compiled once for each instruction set, and the choice between them at run
 * time. All give the same bits for the same input. Threads: any.
 */
#ifndef WEFT_NN_ISA_H
#define WEFT_NN_ISA_H

#include "nn/activation.h"
#include "nn/conv.h"
#include "nn/gemm.h"
#include "nn/isa/loops.h"
#include "nn/norm.h"
#include "nn/recurrent.h"

typedef struct weft_isa {
    weft_gemm_fn *gemm;        /* any shape, any transposition */
    const weft_conv_ops *conv; /* any shape */
    const weft_panels_ops *panels;
    const weft_recurrent_ops *lstm; /* with any gemm and panels */
    const weft_recurrent_ops *gru;
    const weft_norm_ops *norm;
    const weft_activation_ops *activation;
    const weft_loops *loops;
} weft_isa;

/** The kernels for kind, or for the best that this processor has (WEFT_ISA_BEST); NULL: it lacks
 * them. */
const weft_isa *weft_isa_get(weft_isa_kind kind);

/** "plain", "avx2", "avx512". */
const char *weft_isa_name(weft_isa_kind kind);

/** The best that this processor has; never WEFT_ISA_BEST itself. */
weft_isa_kind weft_isa_best(void);

/* The three sets; those of another processor are not there. */
extern const weft_isa weft_isa_kernels_plain;
#if defined(__x86_64__)
extern const weft_isa weft_isa_kernels_avx2;
extern const weft_isa weft_isa_kernels_avx512;
#endif

#endif
