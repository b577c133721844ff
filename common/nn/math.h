/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elementary functions whose bits are the same on every machine, compiler and vector width: the C
 * library's differ between versions, and between processors by its own run-time dispatch. They are
 * made of + - * / and bit operations only, which IEEE 754 fixes; nothing here is fused (the build
 * has -ffp-contract=off), so a loop over them may be vectorised for any processor without changing
 * a bit. Branch-free: compilers do vectorise such loops at -O3.
 *
 * Accuracy against the exact value is stated in ulp (units in the last place of the result) and
 * tested in test_nn_math.c. NaN in, NaN out. The polynomials are those of Cephes (Moshier 1989)
 * unless said.
 *
 * Threads: any; all are pure.
 */
#ifndef WEFT_NN_MATH_H
#define WEFT_NN_MATH_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t weft_float_bits(float x)
{
    uint32_t bits = 0;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float weft_float_of(uint32_t bits)
{
    float x = 0.0F;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x with the sign bit of s. */
static inline float weft_copysignf(float x, float s)
{
    return weft_float_of((weft_float_bits(x) & 0x7fffffffU) | (weft_float_bits(s) & 0x80000000U));
}

/** e^x, 2 ulp; overflows to infinity, underflows through the subnormals to 0. */
static inline float weft_expf(float x)
{
    /* beyond these the result is 0 or infinity anyway; NaN passes both comparisons */
    x = x < -104.0F ? -104.0F : x;
    x = x > 89.0F ? 89.0F : x;
    /* k = x / ln 2 to the nearest integer: adding 1.5 * 2^23 leaves it in the low bits */
    const float magic = 12582912.0F;
    const float shifted = x * 1.44269504F + magic;
    const float k = shifted - magic;
    const uint32_t n = weft_float_bits(shifted) - weft_float_bits(magic);
    const float r = (x - k * 0.693359375F) - k * -2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + r + 1.0F;
    /* 2^n in two factors, each of a normal exponent: n is -150 to 128 */
    const uint32_t half = (n + 1024U) / 2U - 512U;
    const float a = weft_float_of((half + 127U) << 23U);
    const float b = weft_float_of((n - half + 127U) << 23U);
    return p * a * b;
}

/** Natural logarithm, 2 ulp; -infinity of 0, NaN of negative numbers. */
static inline float weft_logf(float x)
{
    const float tiny = 1.17549435e-38F;
    const int small = x < tiny; /* subnormals are scaled up */
    const float scaled = small ? x * 8388608.0F : x;
    /* mantissa in [sqrt(1/2), sqrt(2)) */
    const uint32_t bits = weft_float_bits(scaled) - 0x3f3504f3U;
    const uint32_t exponent = (bits & 0xff800000U) >> 23U; /* of a number below 1: wraps at 512 */
    const float m = weft_float_of((bits & 0x007fffffU) + 0x3f3504f3U);
    const int32_t signed_exponent = (int32_t)((exponent ^ 0x100U) & 0x1ffU) - 0x100;
    const float e = (float)(signed_exponent - (small ? 23 : 0));
    const float r = m - 1.0F;
    const float z = r * r;
    float p = 7.0376836292e-2F;
    p = p * r - 1.1514610310e-1F;
    p = p * r + 1.1676998740e-1F;
    p = p * r - 1.2420140846e-1F;
    p = p * r + 1.4249322787e-1F;
    p = p * r - 1.6668057665e-1F;
    p = p * r + 2.0000714765e-1F;
    p = p * r - 2.4999993993e-1F;
    p = p * r + 3.3333331174e-1F;
    const float low = p * r * z + e * -2.12194440e-4F - 0.5F * z;
    float result = (r + low) + e * 0.693359375F;
    result = x > 3.40282347e38F ? x : result; /* infinity */
    result = x == 0.0F ? -weft_float_of(0x7f800000U) : result;
    return x >= 0.0F ? result : weft_float_of(0x7fc00000U);
}

/** log(1 + x) for x > -1, 3 ulp (Kahan's correction of the rounding in 1 + x). */
static inline float weft_log1pf(float x)
{
    const float u = 1.0F + x;
    const float lost = (u - 1.0F) - x;
    const float result = weft_logf(u) - lost / u;
    return u > 3.40282347e38F ? u : (u == 1.0F ? x : result);
}

/** 1 / (1 + e^-x), 3 ulp where it is a normal number. */
static inline float weft_sigmoidf(float x)
{
    return 1.0F / (1.0F + weft_expf(-x));
}

/** Hyperbolic tangent, 3 ulp. */
static inline float weft_tanhf(float x)
{
    const float a = weft_float_of(weft_float_bits(x) & 0x7fffffffU);
    const float z = x * x;
    float p = -5.70498872745e-3F;
    p = p * z + 2.06390887954e-2F;
    p = p * z - 5.37397155531e-2F;
    p = p * z + 1.33314422036e-1F;
    p = p * z - 3.33332819422e-1F;
    const float near = p * z * x + x;
    const float far = weft_copysignf(1.0F - 2.0F / (weft_expf(2.0F * a) + 1.0F), x);
    return a < 0.625F ? near : far;
}

/** log(1 + e^x) without overflow, 3 ulp: the loss of a sigmoid. */
static inline float weft_softplusf(float x)
{
    const float a = weft_float_of(weft_float_bits(x) & 0x7fffffffU);
    return (x > 0.0F ? x : x - x) + weft_log1pf(weft_expf(-a)); /* x - x: 0, or NaN */
}

/** The error function, within 5e-7 absolutely: the rational approximation of Eigen 3. */
static inline float weft_erff(float x)
{
    float c = x < -4.0F ? -4.0F : x;
    c = c > 4.0F ? 4.0F : c;
    const float z = c * c;
    float p = -2.72614225801306e-10F;
    p = p * z + 2.77068142495902e-08F;
    p = p * z - 2.10102402082508e-06F;
    p = p * z - 5.69250639462346e-05F;
    p = p * z - 7.34990630326855e-04F;
    p = p * z - 2.95459980854025e-03F;
    p = p * z - 1.60960333262415e-02F;
    float q = -1.45660718464996e-05F;
    q = q * z - 2.13374055278905e-04F;
    q = q * z - 1.68282697438203e-03F;
    q = q * z - 7.37332916720468e-03F;
    q = q * z - 1.42647390514189e-02F;
    return p * c / q;
}

/** base^n by squaring: for bias corrections and decays, where libm's pow would differ. */
static inline double weft_powi(double base, uint64_t n)
{
    double result = 1.0;
    for (; n > 0; n >>= 1U, base *= base) {
        result = n & 1U ? result * base : result;
    }
    return result;
}

/** cos(pi t) for t in [0, 1], within 1e-15: for schedules. */
static inline double weft_cospi(double t)
{
    const double x = 3.14159265358979323846 * (0.5 - t); /* cos(pi t) = sin(pi (1/2 - t)) */
    const double z = x * x;
    double p = 0.0;
    for (int k = 21; k > 1; k -= 2) { /* Taylor's series: |x| is at most pi / 2 */
        p = (p + 1.0) * z / (double)(-k * (k - 1));
    }
    return x + x * p;
}

/* ---- sums ------------------------------------------------------------------------------------ */

/*
 * Sums of many values run in 16 lanes, value i into lane i % 16, whatever the processor's vectors
 * are; then one tree: lane l + 8 onto lane l, l + 4, l + 2, l + 1. The compiler may keep the lanes
 * in one, two or four registers.
 */
enum { WEFT_SUM_LANES = 16 };

static inline float weft_lanes_sum(const float lane[WEFT_SUM_LANES])
{
    float half[8];
    for (size_t i = 0; i < 8; i++) {
        half[i] = lane[i] + lane[i + 8];
    }
    return ((half[0] + half[4]) + (half[2] + half[6])) +
           ((half[1] + half[5]) + (half[3] + half[7]));
}

/** Sum of x[0..n). */
static inline float weft_sum(const float *x, size_t n)
{
    float lane[WEFT_SUM_LANES] = {0.0F};
    size_t i = 0;
    for (; i + WEFT_SUM_LANES <= n; i += WEFT_SUM_LANES) {
        for (size_t l = 0; l < WEFT_SUM_LANES; l++) {
            lane[l] += x[i + l];
        }
    }
    for (size_t l = 0; i + l < n; l++) {
        lane[l] += x[i + l];
    }
    return weft_lanes_sum(lane);
}

/** Sum of a[i] * b[i]; each product is rounded before it is added. */
static inline float weft_dot(const float *a, const float *b, size_t n)
{
    float lane[WEFT_SUM_LANES] = {0.0F};
    size_t i = 0;
    for (; i + WEFT_SUM_LANES <= n; i += WEFT_SUM_LANES) {
        for (size_t l = 0; l < WEFT_SUM_LANES; l++) {
            lane[l] += a[i + l] * b[i + l];
        }
    }
    for (size_t l = 0; i + l < n; l++) {
        lane[l] += a[i + l] * b[i + l];
    }
    return weft_lanes_sum(lane);
}

#endif
