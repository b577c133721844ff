/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of an instruction set. Threads: any. */
#include "nn/isa/isa.h"

static bool has_avx2(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

static bool has_avx512(void)
{
#if defined(__x86_64__)
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

weft_isa_kind weft_isa_best(void)
{
    return has_avx512() ? WEFT_ISA_AVX512 : has_avx2() ? WEFT_ISA_AVX2 : WEFT_ISA_PLAIN;
}

const weft_isa *weft_isa_get(weft_isa_kind kind)
{
    kind = kind == WEFT_ISA_BEST ? weft_isa_best() : kind;
#if defined(__x86_64__)
    if (kind == WEFT_ISA_AVX512) {
        return has_avx512() ? &weft_isa_kernels_avx512 : NULL;
    }
    if (kind == WEFT_ISA_AVX2) {
        return has_avx2() ? &weft_isa_kernels_avx2 : NULL;
    }
#endif
    return kind == WEFT_ISA_PLAIN ? &weft_isa_kernels_plain : NULL;
}

const char *weft_isa_name(weft_isa_kind kind)
{
    switch (kind) {
    case WEFT_ISA_PLAIN:
        return "plain";
    case WEFT_ISA_AVX2:
        return "avx2";
    case WEFT_ISA_AVX512:
        return "avx512";
    case WEFT_ISA_BEST:
        break;
    }
    return "best";
}

const weft_loops *weft_loops_best(void)
{
    return weft_isa_get(WEFT_ISA_BEST)->loops;
}
