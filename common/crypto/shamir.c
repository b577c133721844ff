/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sharing and interpolation work on rows of bytes, eight at a time in a 64-bit word; the scalar
 * that a row is multiplied with (an x, a Lagrange coefficient) is public. Decoding with errors:
 * syndromes of the generalised Reed-Solomon code, Berlekamp-Massey, roots among the x (Massey 1969;
 * Roth, Introduction to Coding Theory, chapter 6).
 */
#include "crypto/shamir.h"

#include "crypto/hash.h"

#include <string.h>

#define MOST WEFT_SHAMIR_MAX_SHARES
/* Bytes of a row that are handled together. */
#define CHUNK 64U
#define WORDS (CHUNK / sizeof(uint64_t))

/* ---- the field ------------------------------------------------------------------------------- */

uint8_t weft_gf256_mul(uint8_t a, uint8_t b)
{
    unsigned product = 0;
    unsigned x = a;
    for (unsigned bit = 0; bit < 8; bit++) {
        product ^= x & (0U - ((unsigned)b >> bit & 1U));
        x = (x << 1) ^ (0x11bU & (0U - (x >> 7)));
    }
    return (uint8_t)product;
}

uint8_t weft_gf256_inv(uint8_t a)
{
    /* a^254: the exponent's bits are 11111110 */
    uint8_t power = a;
    uint8_t result = 1;
    for (unsigned bit = 1; bit < 8; bit++) {
        power = weft_gf256_mul(power, power);
        result = weft_gf256_mul(result, power);
    }
    return result;
}

/* Eight products by x at once. */
static inline uint64_t double_bytes(uint64_t v)
{
    const uint64_t high = v & UINT64_C(0x8080808080808080);
    return ((v ^ high) << 1) ^ ((high >> 7) * 0x1bU);
}

/* row = row * c ^ add, CHUNK bytes */
static void mul_add(uint64_t row[WORDS], uint8_t c, const uint64_t add[WORDS])
{
    for (size_t w = 0; w < WORDS; w++) {
        uint64_t product = 0;
        for (unsigned bit = 8; bit-- > 0;) {
            product = double_bytes(product) ^ (row[w] & (0U - (uint64_t)(c >> bit & 1U)));
        }
        row[w] = product ^ add[w];
    }
}

static size_t load(uint64_t row[WORDS], const uint8_t *from, size_t n)
{
    const size_t take = n < CHUNK ? n : CHUNK;
    memset(row, 0, CHUNK);
    memcpy(row, from, take);
    return take;
}

/* ---- sharing --------------------------------------------------------------------------------- */

void weft_shamir_share(uint8_t *out, uint8_t x, const uint8_t *poly, unsigned t, size_t n)
{
    uint64_t value[WORDS];
    uint64_t row[WORDS];
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t take = 0;
        memset(value, 0, sizeof value);
        for (unsigned i = t; i-- > 0;) {
            take = load(row, poly + i * n + at, n - at);
            mul_add(value, x, row);
        }
        memcpy(out + at, value, take);
    }
    weft_wipe(value, sizeof value);
    weft_wipe(row, sizeof row);
}

static weft_status check_points(const uint8_t *x, unsigned m, unsigned t, weft_err *err)
{
    if (t == 0 || t > m || m > MOST) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%u shares with a threshold of %u", m, t);
    }
    bool seen[256] = {true}; /* x = 0 would be the secret itself */
    for (unsigned i = 0; i < m; i++) {
        if (seen[x[i]]) {
            WEFT_FAIL(err, WEFT_E_INVALID, "share %u is there twice", x[i]);
        }
        seen[x[i]] = true;
    }
    return WEFT_OK;
}

/* coefficient[i] = prod over j of x[j] / (x[j] - x[i]): the value at 0 of the i-th basis */
static void lagrange_at_0(uint8_t *coefficient, const uint8_t *x, unsigned t)
{
    uint8_t all = 1;
    for (unsigned j = 0; j < t; j++) {
        all = weft_gf256_mul(all, x[j]);
    }
    for (unsigned i = 0; i < t; i++) {
        uint8_t below = x[i];
        for (unsigned j = 0; j < t; j++) {
            below = weft_gf256_mul(below, j == i ? 1 : (uint8_t)(x[j] ^ x[i]));
        }
        coefficient[i] = weft_gf256_mul(all, weft_gf256_inv(below));
    }
}

weft_status weft_shamir_combine(uint8_t *out, size_t n, const uint8_t *x, const uint8_t *shares,
                                size_t stride, unsigned t, weft_err *err)
{
    WEFT_TRY(check_points(x, t, t, err));
    uint8_t coefficient[MOST];
    lagrange_at_0(coefficient, x, t);
    uint64_t sum[WORDS];
    uint64_t row[WORDS];
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t take = 0;
        memset(sum, 0, sizeof sum);
        for (unsigned i = 0; i < t; i++) {
            take = load(row, shares + i * stride + at, n - at);
            mul_add(row, coefficient[i], sum);
            memcpy(sum, row, sizeof sum);
        }
        memcpy(out + at, sum, take);
    }
    weft_wipe(sum, sizeof sum);
    weft_wipe(row, sizeof row);
    return WEFT_OK;
}

/* ---- decoding with errors -------------------------------------------------------------------- */

/* multiplier[i] = prod over j != i of 1 / (x[i] - x[j]): of the dual code */
static void dual_multipliers(uint8_t *multiplier, const uint8_t *x, unsigned m)
{
    for (unsigned i = 0; i < m; i++) {
        uint8_t below = 1;
        for (unsigned j = 0; j < m; j++) {
            below = weft_gf256_mul(below, j == i ? 1 : (uint8_t)(x[i] ^ x[j]));
        }
        multiplier[i] = weft_gf256_inv(below);
    }
}

/* A polynomial over the field, lowest coefficient first. */
typedef struct polynomial {
    unsigned degree;
    uint8_t at[MOST + 1];
} polynomial;

static uint8_t evaluate(const polynomial *p, uint8_t x)
{
    uint8_t value = 0;
    for (unsigned i = p->degree + 1; i-- > 0;) {
        value = weft_gf256_mul(value, x) ^ p->at[i];
    }
    return value;
}

/* The shortest recurrence that makes the syndromes: its roots are the inverses of the wrong x. */
static unsigned berlekamp_massey(polynomial *locator, const uint8_t *syndrome, unsigned n)
{
    polynomial before = {.degree = 0, .at = {1}};
    *locator = before;
    unsigned length = 0;
    unsigned gap = 1;
    uint8_t last = 1;
    for (unsigned i = 0; i < n; i++) {
        uint8_t wrong = syndrome[i];
        for (unsigned j = 1; j <= length; j++) {
            wrong ^= weft_gf256_mul(locator->at[j], syndrome[i - j]);
        }
        if (wrong == 0) {
            gap++;
            continue;
        }
        const polynomial kept = *locator;
        const uint8_t factor = weft_gf256_mul(wrong, weft_gf256_inv(last));
        for (unsigned j = 0; j + gap <= MOST; j++) {
            locator->at[j + gap] ^= weft_gf256_mul(factor, before.at[j]);
        }
        if (2 * length <= i) {
            length = i + 1 - length;
            before = kept;
            last = wrong;
            gap = 1;
        } else {
            gap++;
        }
    }
    locator->degree = length;
    return length;
}

/* Where the values of one byte position are wrong; false: more than can be corrected. */
static bool find_errors(bool *wrong, const uint8_t *x, const uint8_t *multiplier,
                        const uint8_t *value, unsigned m, unsigned t)
{
    uint8_t syndrome[MOST] = {0};
    uint8_t any = 0;
    for (unsigned i = 0; i < m; i++) {
        uint8_t term = weft_gf256_mul(multiplier[i], value[i]);
        wrong[i] = false;
        for (unsigned l = 0; l < m - t; l++) {
            syndrome[l] ^= term;
            term = weft_gf256_mul(term, x[i]);
        }
    }
    for (unsigned l = 0; l < m - t; l++) {
        any |= syndrome[l];
    }
    if (any == 0) {
        return true;
    }
    polynomial locator;
    const unsigned errors = berlekamp_massey(&locator, syndrome, m - t);
    if (errors > (m - t) / 2) {
        return false;
    }
    unsigned roots = 0;
    for (unsigned i = 0; i < m; i++) {
        wrong[i] = evaluate(&locator, weft_gf256_inv(x[i])) == 0;
        roots += wrong[i];
    }
    return roots == errors;
}

/* Interpolate one byte from t values that are not wrong. */
static uint8_t interpolate(const uint8_t *x, const uint8_t *value, const bool *wrong, unsigned m,
                           unsigned t)
{
    uint8_t good_x[MOST];
    uint8_t good[MOST];
    unsigned n = 0;
    for (unsigned i = 0; i < m && n < t; i++) {
        if (!wrong[i]) {
            good_x[n] = x[i];
            good[n++] = value[i];
        }
    }
    uint8_t coefficient[MOST] = {0};
    lagrange_at_0(coefficient, good_x, n);
    uint8_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        sum ^= weft_gf256_mul(coefficient[i], good[i]);
    }
    return sum;
}

weft_status weft_shamir_correct(uint8_t *out, bool *bad, size_t n, const uint8_t *x,
                                const uint8_t *shares, size_t stride, unsigned m, unsigned t,
                                weft_err *err)
{
    WEFT_TRY(check_points(x, m, t, err));
    uint8_t multiplier[MOST];
    dual_multipliers(multiplier, x, m);
    memset(bad, 0, m * sizeof *bad);
    for (size_t at = 0; at < n; at++) {
        uint8_t value[MOST];
        bool wrong[MOST];
        for (unsigned i = 0; i < m; i++) {
            value[i] = shares[i * stride + at];
        }
        if (!find_errors(wrong, x, multiplier, value, m, t)) {
            WEFT_FAIL(err, WEFT_E_AUTH,
                      "more than %u of %u shares are wrong: too many to be corrected", (m - t) / 2,
                      m);
        }
        out[at] = interpolate(x, value, wrong, m, t);
        for (unsigned i = 0; i < m; i++) {
            bad[i] = bad[i] || wrong[i];
        }
    }
    return WEFT_OK;
}
