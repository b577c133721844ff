/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's own elementary functions against libm in float64, and the order of its sums. */
#include "support/support.h"

#include "base/rng.h"
#include "nn/math.h"

#include <float.h>

/* The distance of got from the exact value, in units of the last place of a float. */
static double ulps(float got, double want)
{
    if (isnan(want) || isinf((float)want)) {
        return isnan(want) ? (isnan(got) ? 0.0 : 1e9) : ((float)want == got ? 0.0 : 1e9);
    }
    int exponent = 0;
    (void)frexp(want, &exponent); /* only its exponent */
    const double unit = ldexp(1.0, (exponent < -125 ? -125 : exponent) - 24);
    return fabs((double)got - want) / unit;
}

/* All floats of both signs between the bounds, in steps of their bits. */
static double worst(float (*got)(float), double (*want)(double), float low, float high,
                    uint32_t step)
{
    double most = 0.0;
    for (int sign = 0; sign < 2; sign++) {
        for (uint64_t bits = weft_float_bits(low); bits <= weft_float_bits(high); bits += step) {
            const float x = weft_float_of((uint32_t)bits | (sign ? 0x80000000U : 0U));
            const double off = ulps(got(x), want((double)x));
            most = off > most ? off : most;
        }
    }
    return most;
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double softplus(double x)
{
    return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x)));
}

enum { STEP = 4001 }; /* of 2^31: half a million values a sign */

static void test_expf__is_within_2_ulp(void **state)
{
    (void)state;
    assert_true(worst(weft_expf, exp, 0.0F, 200.0F, STEP) < 2.0);
    assert_true(weft_expf(0.0F) == 1.0F);
    assert_true(isinf(weft_expf(INFINITY)) && weft_expf(-INFINITY) == 0.0F);
    assert_true(isnan(weft_expf(NAN)));
    assert_true(weft_expf(-100.0F) > 0.0F); /* a subnormal */
    assert_true(isfinite(weft_expf(88.72F)) && isinf(weft_expf(88.73F)));
}

static void test_logf__is_within_2_ulp(void **state)
{
    (void)state;
    assert_true(worst(weft_logf, log, 1e-45F, FLT_MAX, STEP) < 2.0); /* NaN below 0, too */
    assert_true(weft_logf(1.0F) == 0.0F);
    assert_true(isinf(weft_logf(0.0F)) && weft_logf(0.0F) < 0.0F);
    assert_true(isinf(weft_logf(INFINITY)) && isnan(weft_logf(NAN)) && isnan(weft_logf(-1.0F)));
}

static void test_log1pf__is_within_3_ulp(void **state)
{
    (void)state;
    assert_true(worst(weft_log1pf, log1p, 0.0F, 0.99F, STEP) < 3.0);
    for (float x = 1.0F; x < FLT_MAX / 2.0F; x *= 1.7F) {
        assert_true(ulps(weft_log1pf(x), log1p((double)x)) < 3.0);
    }
    assert_true(isinf(weft_log1pf(INFINITY)) && isnan(weft_log1pf(NAN)));
}

static void test_tanhf_and_sigmoidf__are_within_3_ulp(void **state)
{
    (void)state;
    assert_true(worst(weft_tanhf, tanh, 0.0F, 100.0F, STEP) < 3.0);
    assert_true(worst(weft_sigmoidf, sigmoid, 0.0F, 80.0F, STEP) < 3.0);
    assert_true(worst(weft_softplusf, softplus, 0.0F, 80.0F, STEP) < 3.0);
    assert_true(weft_tanhf(INFINITY) == 1.0F && weft_tanhf(-INFINITY) == -1.0F);
    assert_true(weft_sigmoidf(-INFINITY) == 0.0F && weft_sigmoidf(INFINITY) == 1.0F);
    assert_true(isnan(weft_tanhf(NAN)) && isnan(weft_sigmoidf(NAN)) && isnan(weft_softplusf(NAN)));
}

static void test_erff__is_within_5e_7(void **state)
{
    (void)state;
    double most = 0.0;
    for (double x = -6.0; x <= 6.0; x += 1e-4) {
        most = fmax(most, fabs((double)weft_erff((float)x) - erf((double)(float)x)));
    }
    assert_true(most < 5e-7);
    assert_true(worst(weft_erff, erf, 1e-30F, 0.5F, STEP) < 4.0); /* odd, and exact near 0 */
    assert_true(isnan(weft_erff(NAN)));
}

static void test_powi_and_cospi__follow_libm(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 5000; n = n * 2 + 1) {
        assert_true(fabs(weft_powi(0.999, n) / pow(0.999, (double)n) - 1.0) < 1e-12);
    }
    for (int i = 0; i <= 1000; i++) {
        const double t = i / 1000.0;
        assert_true(fabs(weft_cospi(t) - cos(3.14159265358979323846 * t)) < 1e-15);
    }
}

/* A loop that the compiler vectorises gives what single calls give. */
static void test_functions__vectorised_give_the_same_bits(void **state)
{
    (void)state;
    enum { N = 4099 };
    static float x[N];
    static float y[N];
    weft_rng rng;
    weft_rng_init(&rng, 1, 0);
    for (size_t i = 0; i < N; i++) {
        x[i] = 200.0F * weft_rng_float(&rng) - 100.0F;
    }
    for (size_t i = 0; i < N; i++) {
        y[i] = weft_tanhf(x[i]) + weft_expf(x[i]) + weft_erff(x[i]) + weft_log1pf(x[i] * x[i]);
    }
    for (size_t i = 0; i < N; i++) {
        volatile float one = x[i];
        const float v = one;
        const float want = weft_tanhf(v) + weft_expf(v) + weft_erff(v) + weft_log1pf(v * v);
        assert_memory_equal(&want, &y[i], sizeof want);
    }
}

/* By hand, in the order that math.h promises. */
static void test_sum_and_dot__have_one_order(void **state)
{
    (void)state;
    float a[61];
    float b[61];
    weft_rng rng;
    weft_rng_init(&rng, 2, 0);
    for (size_t i = 0; i < 61; i++) {
        a[i] = (float)weft_rng_normal(&rng);
        b[i] = (float)weft_rng_normal(&rng);
    }
    for (size_t n = 0; n <= 61; n++) {
        float sums[16] = {0.0F};
        float dots[16] = {0.0F};
        for (size_t i = 0; i < n; i++) {
            sums[i % 16] += a[i];
            dots[i % 16] += a[i] * b[i];
        }
        for (size_t step = 8; step > 0; step /= 2) {
            for (size_t l = 0; l < step; l++) {
                sums[l] += sums[l + step];
                dots[l] += dots[l + step];
            }
        }
        const float sum = weft_sum(a, n);
        const float dot = weft_dot(a, b, n);
        assert_memory_equal(&sum, &sums[0], sizeof sum);
        assert_memory_equal(&dot, &dots[0], sizeof dot);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expf__is_within_2_ulp),
        cmocka_unit_test(test_logf__is_within_2_ulp),
        cmocka_unit_test(test_log1pf__is_within_3_ulp),
        cmocka_unit_test(test_tanhf_and_sigmoidf__are_within_3_ulp),
        cmocka_unit_test(test_erff__is_within_5e_7),
        cmocka_unit_test(test_powi_and_cospi__follow_libm),
        cmocka_unit_test(test_functions__vectorised_give_the_same_bits),
        cmocka_unit_test(test_sum_and_dot__have_one_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
