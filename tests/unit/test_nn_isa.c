/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of each instruction set beside their oracles, and beside each other: the same bits. */
#include "support/support.h"

#include "base/rng.h"
#include "nn/isa/isa.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const weft_isa_kind all_isas[] = {WEFT_ISA_PLAIN, WEFT_ISA_AVX2, WEFT_ISA_AVX512};
enum { N_ISAS = 3 };

static float *random_floats(weft_rng *rng, size_t n)
{
    float *p = calloc(n ? n : 1, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        p[i] = 2.0F * weft_rng_float(rng) - 1.0F;
    }
    return p;
}

/* ---- panels ---------------------------------------------------------------------------------- */

typedef struct panels_case {
    size_t m, n, k;
    weft_trans trans;
    bool onto;
} panels_case;

/* Rows of a and c are longer than what is used: what is behind stays as it is. */
enum { BEHIND = 3 };

static float *run_panels(const weft_panels_ops *ops, const panels_case *c, const float *a,
                         const float *b, const float *start)
{
    const size_t size = c->m * (c->n + BEHIND);
    float *out = calloc(size, sizeof *out);
    float *panels = calloc(ops->size(c->k, c->n), sizeof *panels);
    assert_true(out && panels);
    memcpy(out, start, size * sizeof *out);
    ops->pack(panels, c->k, c->n, (weft_mat){b, c->trans ? c->k : c->n, c->trans});
    ops->multiply(out, c->n + BEHIND, c->m, c->n, c->k, a, c->k + BEHIND, panels, c->onto);
    free(panels);
    return out;
}

static void check_panels(weft_rng *rng, const panels_case *c)
{
    const size_t size = c->m * (c->n + BEHIND);
    float *a = random_floats(rng, c->m * (c->k + BEHIND));
    float *b = random_floats(rng, c->k * c->n);
    float *start = random_floats(rng, size);
    float *want = run_panels(&weft_panels_naive, c, a, b, start);
    float *plain = run_panels(weft_isa_get(WEFT_ISA_PLAIN)->panels, c, a, b, start);
    for (size_t i = 0; i < size; i++) {
        if (fabsf(plain[i] - want[i]) > 4e-6F * sqrtf((float)c->k)) {
            fail_msg("%zux%zux%zu: value %zu is %g, not %g", c->m, c->n, c->k, i, (double)plain[i],
                     (double)want[i]);
        }
    }
    for (int i = 1; i < N_ISAS; i++) {
        const weft_isa *isa = weft_isa_get(all_isas[i]);
        if (isa) {
            float *got = run_panels(isa->panels, c, a, b, start);
            if (memcmp(got, plain, size * sizeof *got) != 0) {
                fail_msg("%zux%zux%zu: %s has other bits than plain", c->m, c->n, c->k,
                         weft_isa_name(all_isas[i]));
            }
            free(got);
        }
    }
    free(a);
    free(b);
    free(start);
    free(want);
    free(plain);
}

static void test_panels__equal_the_loops_with_the_same_bits_everywhere(void **state)
{
    (void)state;
    weft_rng rng;
    weft_rng_init(&rng, 1, 0);
    for (size_t i = 0; i < 120; i++) {
        check_panels(&rng,
                     &(panels_case){1 + weft_rng_below(&rng, 32), 1 + weft_rng_below(&rng, 200),
                                    1 + weft_rng_below(&rng, 90),
                                    i % 2 ? WEFT_TRANSPOSED : WEFT_PLAIN, i / 2 % 2 == 1});
    }
    for (size_t m = 1; m <= 4; m++) { /* few rows of many columns; a long chain */
        check_panels(&rng, &(panels_case){m, 300, 700, WEFT_PLAIN, true});
        check_panels(&rng, &(panels_case){m * 15, 40, 700, WEFT_TRANSPOSED, false});
    }
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* Runs of all that isa has over the same inputs; the results lie one behind the other in out. */
typedef void run_fn(const weft_isa *isa, float *out, const float *x, size_t rows, size_t n);

static void same_everywhere(run_fn *run, const char *what, size_t results)
{
    weft_rng rng;
    weft_rng_init(&rng, 2, 0);
    for (size_t i = 0; i < 40; i++) {
        const size_t rows = 1 + weft_rng_below(&rng, i % 4 == 0 ? 300 : 9);
        const size_t n = 4 * (1 + weft_rng_below(&rng, 25));
        const size_t size = results * rows * n;
        float *x = random_floats(&rng, 4 * rows * n);
        float *want = calloc(size, sizeof *want);
        float *got = calloc(size, sizeof *got);
        assert_true(want && got);
        run(weft_isa_get(WEFT_ISA_PLAIN), want, x, rows, n);
        for (size_t k = 1; k < N_ISAS; k++) {
            const weft_isa *isa = weft_isa_get(all_isas[k]);
            if (isa) {
                memset(got, 0, size * sizeof *got);
                run(isa, got, x, rows, n);
                if (memcmp(got, want, size * sizeof *got) != 0) {
                    fail_msg("%s of %zux%zu: %s has other bits than plain", what, rows, n,
                             weft_isa_name(all_isas[k]));
                }
            }
        }
        free(x);
        free(want);
        free(got);
    }
}

enum { N_ACTIVATIONS = 14 };

static void run_activations(const weft_isa *isa, float *out, const float *x, size_t rows, size_t n)
{
    const size_t size = rows * n - 1; /* no multiple of any vector */
    const float *a = x;
    const float *b = x + rows * n;
    const weft_activation_ops *ops = isa->activation;
    float *to[N_ACTIVATIONS];
    for (size_t i = 0; i < N_ACTIVATIONS; i++) {
        to[i] = out + i * rows * n;
    }
    ops->relu_forward(to[0], a, size);
    ops->tanh_forward(to[1], a, size);
    ops->sigmoid_forward(to[2], a, size);
    ops->leaky_relu_forward(to[3], a, size, 0.1F);
    ops->gelu_forward(to[4], a, size);
    ops->silu_forward(to[5], a, size);
    ops->sum_forward(to[6], a, b, size, true);
    ops->sum_forward(to[7], a, b, size, false);
    ops->leaky_relu_backward(to[8], a, b, size, 0.1F);
    ops->gelu_backward(to[9], a, b, size);
    ops->silu_backward(to[10], a, b, size);
    ops->relu_backward(to[11], a, b, size);
    ops->tanh_backward(to[12], a, b, size);
    ops->sigmoid_backward(to[13], a, b, size);
}

static void test_activations__have_the_same_bits_everywhere(void **state)
{
    (void)state;
    same_everywhere(run_activations, "activations", N_ACTIVATIONS);
}

enum { N_LOOPS = 10 };

static void run_loops(const weft_isa *isa, float *out, const float *x, size_t rows, size_t n)
{
    const size_t size = rows * n;
    const float *g = x + size;
    const weft_loops *loops = isa->loops;
    const weft_adam adam = {0.9F, 0.999F, 0.1F, 0.001F, 0.01F, 1.5F, 1e-8F};
    for (size_t i = 0; i < N_LOOPS; i++) { /* all change what is there */
        memcpy(out + i * size, x, size * sizeof *out);
    }
    loops->rows_finish(out, g, rows, n, true);
    loops->relu_back(out + size, g, size - 1);
    loops->rows_sum(out + 2 * size, g, rows, n - 1);
    loops->blend(out + 3 * size, 0.5F, -0.25F, g, size - 1);
    loops->add(out + 4 * size, g, size - 1);
    loops->decay(out + 5 * size, g, 0.01F, size - 1);
    loops->proximal(out + 6 * size, g, x + 2 * size, 0.1F, size - 1);
    loops->sgd(out + 7 * size, g, 0.1F, size - 1);
    float *v = out + 8 * size; /* a moment: not below 0 */
    loops->relu_back(v, v, size);
    loops->adam(out + 9 * size, g, out + 4 * size, v, &adam, size - 1);
    loops->momentum(out + 7 * size, g, out + 6 * size, 0.1F, 0.9F, size - 1);
}

static void test_loops__have_the_same_bits_everywhere(void **state)
{
    (void)state;
    same_everywhere(run_loops, "loops", N_LOOPS);
}

static void test_loops__do_what_they_say(void **state)
{
    (void)state;
    const weft_loops *loops = weft_loops_best();
    float y[6] = {1.0F, -4.0F, 3.0F, -1.0F, 5.0F, -6.0F};
    const float x[6] = {0.5F, 2.0F, 0.0F, -1.0F, 1.0F, 4.0F};
    loops->rows_finish(y, x, 2, 3, true);
    assert_memory_equal(y, ((float[]){1.5F, 0.0F, 3.0F, 0.0F, 7.0F, 0.0F}), sizeof y);
    loops->rows_sum(y, x, 2, 3);
    assert_memory_equal(y, ((float[]){1.0F, 3.0F, 7.0F, 0.0F, 7.0F, 0.0F}), sizeof y);
    loops->relu_back(y, x, 6);
    assert_memory_equal(y, ((float[]){1.0F, 3.0F, 0.0F, 0.0F, 7.0F, 0.0F}), sizeof y);
    loops->blend(y, 2.0F, -1.0F, x, 6);
    assert_memory_equal(y, ((float[]){1.5F, 4.0F, 0.0F, 1.0F, 13.0F, -4.0F}), sizeof y);
    loops->proximal(y, x, (float[]){0.5F, 1.0F, 0.0F, 1.0F, 1.0F, 0.0F}, 0.5F, 6);
    assert_memory_equal(y, ((float[]){1.5F, 4.5F, 0.0F, 0.0F, 13.0F, -2.0F}), sizeof y);
}

enum { N_NORMS = 5 };

static void run_norms(const weft_isa *isa, float *out, const float *x, size_t rows, size_t n)
{
    const weft_norm d = {.samples = 1, .rows = rows, .channels = n, .groups = n / 4, .relu = true};
    const size_t size = rows * n;
    float *scratch = calloc(weft_norm_scratch(n) + 4 * n, sizeof *scratch);
    float *dy = out + size;
    assert_non_null(scratch);
    float *mean = scratch + weft_norm_scratch(n);
    float *inverse = mean + n;
    isa->norm->forward(&d, out, x, x + size, x + 2 * size, mean, inverse, scratch);
    memcpy(dy, x + 3 * size, size * sizeof *dy);
    isa->norm->backward(&d, out + 2 * size, dy, out, x, x + size, mean, inverse, out + 3 * size,
                        inverse + n, scratch);
    isa->norm->apply(&d, out + 4 * size, x, x + size, x + 2 * size, mean, x + 3 * size, scratch);
    free(scratch);
}

static void test_norms__have_the_same_bits_everywhere(void **state)
{
    (void)state;
    same_everywhere(run_norms, "norms", N_NORMS);
}

/* Against float64 loops over one group. */
static void test_norm_forward__is_mean_and_variance(void **state)
{
    (void)state;
    enum { ROWS = 211, CHANNELS = 6, WIDTH = 3 };
    weft_rng rng;
    weft_rng_init(&rng, 3, 0);
    float *x = random_floats(&rng, (size_t)ROWS * CHANNELS);
    float y[ROWS * CHANNELS];
    const float weight[CHANNELS] = {1.0F, 2.0F, -1.0F, 0.5F, 1.0F, 3.0F};
    const float bias[CHANNELS] = {0.0F, 1.0F, 2.0F, -1.0F, 0.0F, 0.5F};
    float mean[2];
    float inverse[2];
    float scratch[7 * CHANNELS];
    const weft_norm d = {.samples = 1, .rows = ROWS, .channels = CHANNELS, .groups = 2};
    assert_true(weft_norm_scratch(CHANNELS) <= sizeof scratch / sizeof *scratch);
    weft_isa_get(WEFT_ISA_BEST)->norm->forward(&d, y, x, weight, bias, mean, inverse, scratch);
    for (size_t g = 0; g < 2; g++) {
        double sum = 0.0;
        double squares = 0.0;
        for (size_t i = 0; i < (size_t)ROWS * CHANNELS; i++) {
            sum += i % CHANNELS / WIDTH == g ? (double)x[i] : 0.0;
        }
        sum /= ROWS * WIDTH;
        for (size_t i = 0; i < (size_t)ROWS * CHANNELS; i++) {
            squares +=
                i % CHANNELS / WIDTH == g ? ((double)x[i] - sum) * ((double)x[i] - sum) : 0.0;
        }
        const double factor = 1.0 / sqrt(squares / (ROWS * WIDTH) + (double)WEFT_NORM_EPSILON);
        for (size_t i = 0; i < (size_t)ROWS * CHANNELS; i++) {
            const size_t c = i % CHANNELS;
            const double want = ((double)x[i] - sum) * factor * (double)weight[c] + (double)bias[c];
            assert_true(c / WIDTH != g || fabs((double)y[i] - want) < 1e-5);
        }
    }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_panels__equal_the_loops_with_the_same_bits_everywhere),
        cmocka_unit_test(test_activations__have_the_same_bits_everywhere),
        cmocka_unit_test(test_loops__have_the_same_bits_everywhere),
        cmocka_unit_test(test_loops__do_what_they_say),
        cmocka_unit_test(test_norms__have_the_same_bits_everywhere),
        cmocka_unit_test(test_norm_forward__is_mean_and_variance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
