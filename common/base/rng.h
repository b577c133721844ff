/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Randomness comes in as a parameter. weft_entropy is where secrets come from (the shell hands in
 * the system's); weft_rng is the seeded, portable generator of everything that must repeat
 * (initial weights, shuffles, partitions, jitter): xoshiro256** by Blackman and Vigna, seeded by
 * splitmix64. It is not for secrets.
 */
#ifndef WEFT_RNG_H
#define WEFT_RNG_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct weft_entropy {
    weft_status (*fill)(void *self, void *out, size_t n, weft_err *err);
    void *self;
} weft_entropy;

/** getrandom(2). Threads: any. */
extern const weft_entropy weft_entropy_system;

typedef struct weft_rng {
    uint64_t s[4];
} weft_rng;

/** The generator of (seed, stream): different streams of one seed are independent for our use. */
void weft_rng_init(weft_rng *r, uint64_t seed, uint64_t stream);
uint64_t weft_rng_u64(weft_rng *r);
/** Uniform in [0, bound), without bias; bound > 0. */
uint64_t weft_rng_below(weft_rng *r, uint64_t bound);
/** Uniform in [0, 1), 24 bits: the same on every machine. */
float weft_rng_float(weft_rng *r);
/** Uniform in [0, 1), 53 bits. */
double weft_rng_double(weft_rng *r);
/** Standard normal (polar method; uses only +, *, / and the C library's log and sqrt). */
double weft_rng_normal(weft_rng *r);
/** Shuffle index[0..n) in place (Fisher and Yates). */
void weft_rng_shuffle(weft_rng *r, uint32_t *index, size_t n);

#endif
