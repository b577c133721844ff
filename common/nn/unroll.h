/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For kernels that keep their sums in registers: the sums are a small array and loops over it with
 * constant ends, which must be unrolled, or compilers leave the array in memory.
 */
#ifndef WEFT_NN_UNROLL_H
#define WEFT_NN_UNROLL_H

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 24")
#endif

/* Makes the compiler load a value once into a register, where it would read memory for each use. */
#define LOADED(v) __asm__("" : "+x"(v))

#endif
