/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shamir's secret sharing (CACM 1979), byte by byte over GF(2^8) with AES's polynomial x^8 + x^4 +
 * x^3 + x + 1: share x of a secret is its polynomial's value at x, for x in 1..255. Time and memory
 * accesses depend on lengths, t and x only, never on secrets: no tables.
 *
 * Shares of one polynomial are a Reed-Solomon code word: m of them carry (m - t) / 2 wrong ones,
 * which are corrected and named.
 *
 * Pure; any thread; memory on the stack only.
 */
#ifndef WEFT_CRYPTO_SHAMIR_H
#define WEFT_CRYPTO_SHAMIR_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEFT_SHAMIR_MAX_SHARES 255

/**
 * One share.
 * @param out   [n].
 * @param x     which: 1..255, another one for each holder.
 * @param poly  [t][n]: row 0 is the secret, the others are uniform random bytes. Secret.
 * @param t     shares that reconstruct, 1..255; any t - 1 say nothing.
 */
void weft_shamir_share(uint8_t *out, uint8_t x, const uint8_t *poly, unsigned t, size_t n);

/**
 * The secret from t shares, all of them right.
 * @param out     [n]; may not overlap shares.
 * @param x       [t], all different, none 0.
 * @param shares  [t][stride], the first n bytes of each.
 * @return WEFT_E_INVALID t is 0 or above 255, or two x are equal or one is 0.
 */
WEFT_NODISCARD weft_status weft_shamir_combine(uint8_t *out, size_t n, const uint8_t *x,
                                               const uint8_t *shares, size_t stride, unsigned t,
                                               weft_err *err);

/**
 * The secret from m shares of which up to (m - t) / 2 are wrong (at each byte).
 * @param bad  [m], set for each share that differs anywhere from the polynomials found.
 * @return as weft_shamir_combine; WEFT_E_AUTH more are wrong than can be corrected. (Beyond that
 *         number a wrong secret may come out: check it against a commitment.)
 * Time depends on the shares: use it when they are to become known anyway.
 */
WEFT_NODISCARD weft_status weft_shamir_correct(uint8_t *out, bool *bad, size_t n, const uint8_t *x,
                                               const uint8_t *shares, size_t stride, unsigned m,
                                               unsigned t, weft_err *err);

/** Product in the field. Time does not depend on the factors. */
uint8_t weft_gf256_mul(uint8_t a, uint8_t b);
/** Inverse; 0 for 0. Time does not depend on a. */
uint8_t weft_gf256_inv(uint8_t a);

#endif
