/* SPDX-License-Identifier: Apache-2.0 */
/* update/fixed and agg/masked: what is summed under the masks, at its extremes and on average. */
#include "support/support.h"

#include "agg/masked.h"
#include "base/rng.h"
#include "update/fixed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static weft_fixed_layout layout_of(uint64_t n_params, uint32_t cohort, double clip, uint64_t most)
{
    return (weft_fixed_layout){.n_params = n_params,
                               .cohort = cohort,
                               .clip_norm = clip,
                               .max_examples = most,
                               .n_metrics = 2,
                               .metrics = {"accuracy", "loss"}};
}

static weft_fixed_grid grid_of(uint64_t n_params, uint32_t cohort, double clip, uint64_t most)
{
    weft_fixed_grid g;
    const weft_fixed_layout l = layout_of(n_params, cohort, clip, most);
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_OK);
    return g;
}

static weft_metrics metrics_of(double accuracy, double loss)
{
    weft_metrics m = {.n = 0};
    assert_int_equal(weft_metrics_set(&m, "accuracy", accuracy, NULL), WEFT_OK);
    assert_int_equal(weft_metrics_set(&m, "loss", loss, NULL), WEFT_OK);
    assert_int_equal(weft_metrics_set(&m, "other", 7.0, NULL), WEFT_OK); /* not in the layout */
    return m;
}

/* Collects, and checks what sinks are promised. */
typedef struct collected {
    uint32_t *words;
    size_t n;
    bool odd;
} collected;

static weft_status collect(void *self, uint32_t *words, size_t n, weft_err *err)
{
    (void)err;
    collected *c = self;
    assert_false(c->odd); /* only the last piece may be no multiple of 4 */
    c->odd = n % 4 != 0;
    memcpy(c->words + c->n, words, n * sizeof *words);
    c->n += n;
    return WEFT_OK;
}

static weft_fixed_result encode(uint32_t *words, const weft_fixed_grid *g, const float *delta,
                                uint64_t n_examples, const weft_metrics *m, uint8_t seed)
{
    uint8_t bytes[WEFT_FIXED_SEED_BYTES] = {seed, 1};
    collected c = {words, 0, false};
    const weft_fixed_sink sink = {collect, &c};
    weft_fixed_result r;
    assert_int_equal(
        weft_fixed_encode(&r, &sink, g, delta, NULL, n_examples, m, bytes, &weft_alloc_std, NULL),
        WEFT_OK);
    assert_int_equal(c.n, g->n_words);
    return r;
}

static void test_encode__writes_the_layout(void **state)
{
    (void)state;
    const weft_fixed_grid g = grid_of(3, 10, 4.0, 100);
    assert_true(g.scale == floor(2147483647.0 / 40.0));
    assert_int_equal(g.bound, 214748364);
    assert_int_equal(g.base, 429496730); /* floor((2^32 - 1) / 10) + 1 */
    assert_int_equal(g.weight_digits, 1);
    assert_int_equal(g.value_digits, 2); /* 100 * 2^37 */
    assert_int_equal(g.n_words, 3 + 1 + 1 + 2 * (1 + 2));
    const float delta[3] = {1.0F, -2.0F, 0.0F};
    const weft_metrics m = metrics_of(0.5, -1.0);
    uint32_t w[16];
    const weft_fixed_result r = encode(w, &g, delta, 50, &m, 1);
    assert_int_equal(r.weight, 50);
    assert_false(r.clipped);
    assert_true(fabs(r.norm - sqrt(5.0)) < 1e-12);
    const double one = 0.5 * g.scale; /* q = 50 / 100 */
    assert_true(fabs((double)(int32_t)w[0] - one) < 1.0);
    assert_true(fabs((double)(int32_t)w[1] + 2 * one) < 1.0);
    assert_int_equal(w[2], 0);
    assert_int_equal(w[3], 1);
    assert_int_equal(w[4], 50);
    assert_int_equal(w[5], 50);
    const uint64_t accuracy = w[6] + g.base * w[7];
    assert_true(accuracy == 50 * (uint64_t)((65536.0 + 0.5) * 1048576.0));
    assert_int_equal(w[8], 50);
    const uint64_t loss = w[9] + g.base * w[10];
    assert_true(loss == 50 * (uint64_t)((65536.0 - 1.0) * 1048576.0));
}

/* n times the same extreme vector: the largest sums there are, decoded without a wrap. */
static void test_sum__never_wraps(void **state)
{
    (void)state;
    static const struct {
        uint32_t cohort;
        double clip;
        uint64_t most;
    } cases[] = {
        {1, 1e6, WEFT_MAX_EXAMPLES},
        {2, 1.0, 3},
        {3, 0.7, 1431655765},
        {10, 1e-9, 429496729},
        {10, 1e-9, 429496730},
        {1000, 10.0, 1000000},
        {99999, 100.0, WEFT_MAX_EXAMPLES},
        {WEFT_MAX_COHORT, 21474.0, WEFT_MAX_EXAMPLES},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const weft_fixed_grid g = grid_of(1, cases[i].cohort, cases[i].clip, cases[i].most);
        for (int sign = -1; sign <= 1; sign += 2) {
            const float delta = (float)(sign * 4e6); /* clipped to the norm, which it holds alone */
            const double extreme = sign * 1e9;
            const weft_metrics m = metrics_of(extreme, sign > 0 ? 65536.0 : -65536.0);
            uint32_t w[64];
            weft_fixed_totals t;
            (void)encode(w, &g, &delta, UINT64_C(1) << 40, &m, (uint8_t)i); /* checked below */
            assert_true(weft_fixed_in_bounds(&g, w, 1, 1));
            for (uint64_t j = 0; j < g.n_words; j++) {
                const uint64_t exact = (uint64_t)w[j] * g.layout.cohort;
                assert_true(j == 0 || exact <= UINT32_MAX);
                w[j] *= g.layout.cohort;
            }
            const uint32_t n = g.layout.cohort;
            assert_true(weft_fixed_in_bounds(&g, w, n, 1));
            assert_int_equal(weft_fixed_totals_read(&t, &g, w + 1, n, NULL), WEFT_OK);
            assert_true(t.weight == n * g.layout.max_examples);
            const double mean = weft_fixed_mean(&g, w, t.weight);
            assert_true(fabs(mean - sign * cases[i].clip) <= 1.0 / g.scale + 1e-7 * cases[i].clip);
            double value = 0.0;
            assert_true(weft_metrics_get(&t.metrics, "accuracy", &value));
            assert_true(value == sign * 65536.0);
            assert_true(weft_metrics_get(&t.metrics, "loss", &value));
            assert_true(value == sign * 65536.0);
        }
    }
}

/* The step's fraction is a probability: the mean over many parameters is the value. */
static void test_encode__rounds_without_bias(void **state)
{
    (void)state;
    enum { N = 200000 };
    const weft_fixed_grid g = grid_of(N, 100000, 10000.0, 1);
    assert_true(g.scale == 2.0);
    float *delta = malloc(N * sizeof *delta);
    uint32_t *w = malloc(g.n_words * sizeof *w);
    assert_true(delta && w);
    const weft_metrics m = {.n = 0};
    for (int sign = -1; sign <= 1; sign += 2) {
        for (size_t i = 0; i < N; i++) {
            delta[i] = (float)sign * 0.65F; /* 1.3 units */
        }
        (void)encode(w, &g, delta, 1, &m, 3); /* checked below */
        double sum = 0.0;
        for (size_t i = 0; i < N; i++) {
            const int32_t x = (int32_t)w[i];
            assert_true(x == sign || x == 2 * sign);
            sum += x;
        }
        /* deviation 0.46 / sqrt(N) = 0.00103: five of them */
        assert_true(fabs(sum / N - sign * 1.3) < 0.0052);
    }
    free(delta);
    free(w);
}

static void test_encode__same_seed_same_words(void **state)
{
    (void)state;
    enum { N = 10001 };
    const weft_fixed_grid g = grid_of(N, 100, 10.0, 1000);
    static float delta[N];
    static uint32_t a[N + 64];
    static uint32_t b[N + 64];
    weft_rng rng;
    weft_rng_init(&rng, 5, 0);
    for (size_t i = 0; i < N; i++) {
        delta[i] = weft_rng_float(&rng) - 0.5F;
    }
    const weft_metrics m = metrics_of(0.25, 2.5);
    const weft_fixed_result r = encode(a, &g, delta, 700, &m, 1);
    assert_true(r.clipped);
    double square = 0.0;
    for (size_t i = 0; i < N; i++) {
        square += (double)(int32_t)a[i] * (int32_t)a[i];
    }
    assert_true(sqrt(square) <= 0.7 * 10.0 * g.scale + sqrt((double)N));
    (void)encode(b, &g, delta, 700, &m, 1); /* compared below */
    assert_memory_equal(a, b, g.n_words * sizeof *a);
    (void)encode(b, &g, delta, 700, &m, 2); /* compared below */
    assert_memory_not_equal(a, b, N * sizeof *a);
}

static void test_encode__refuses_what_is_no_update(void **state)
{
    (void)state;
    const weft_fixed_grid g = grid_of(3, 3, 1.0, 10);
    const weft_metrics m = {.n = 0};
    const uint8_t seed[WEFT_FIXED_SEED_BYTES] = {0};
    float delta[3] = {0.0F, 0.0F, 0.0F};
    uint32_t words[64];
    weft_fixed_result r;
    collected c = {words, 0, false};
    const weft_fixed_sink sink = {collect, &c};
    assert_int_equal(
        weft_fixed_encode(&r, &sink, &g, delta, NULL, 0, &m, seed, &weft_alloc_std, NULL),
        WEFT_E_INVALID);
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        weft_err err = WEFT_ERR_INIT;
        delta[1] = bad[i];
        assert_int_equal(
            weft_fixed_encode(&r, &sink, &g, delta, NULL, 1, &m, seed, &weft_alloc_std, &err),
            WEFT_E_INVALID);
        assert_non_null(strstr(err.msg, "parameter 1"));
    }
    assert_int_equal(c.n, 0); /* nothing left */
}

static void test_grid__limits(void **state)
{
    (void)state;
    weft_fixed_grid g;
    weft_fixed_layout l = layout_of(10, WEFT_MAX_COHORT, 21474.0, 1);
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_OK);
    l.clip_norm = 21475.0; /* a step above 1 */
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_E_LIMIT);
    l.n_params = 0; /* metrics only: no step */
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_OK);
    l.cohort = WEFT_MAX_COHORT + 1;
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_E_INVALID);
    l.cohort = 0;
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_E_INVALID);
    l = layout_of(WEFT_MAX_PARAMS, 10, 1.0, WEFT_MAX_EXAMPLES);
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_OK);
    l.max_examples++;
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_E_INVALID);
    l = layout_of(WEFT_MAX_PARAMS + 1, 10, 1.0, 1);
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_E_INVALID);
    l = layout_of(1, 10, (double)NAN, 1);
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_E_INVALID);
    l = layout_of(1, 10, 1.0, 1);
    memcpy(l.metrics[1], "accuracy", 9);
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_E_INVALID);
    /* another grid, other bytes: the context tells them apart */
    weft_buf a;
    weft_buf b;
    weft_buf_init(&a, &weft_alloc_std, 1024);
    weft_buf_init(&b, &weft_alloc_std, 1024);
    g = grid_of(10, 10, 1.0, 100);
    assert_int_equal(weft_fixed_describe(&a, &g, NULL), WEFT_OK);
    g = grid_of(10, 11, 1.0, 100);
    assert_int_equal(weft_fixed_describe(&b, &g, NULL), WEFT_OK);
    assert_true(a.size != b.size || memcmp(a.data, b.data, a.size) != 0);
    weft_buf_done(&a);
    weft_buf_done(&b);
}

/* A cohort of clients of different weights: FedAvg, up to one step for each of them. */
static void test_masked_sum__is_fedavg(void **state)
{
    (void)state;
    enum { N = 5000, CLIENTS = 12 };
    const weft_fixed_grid g = grid_of(N, 16, 50.0, 1000);
    static float delta[CLIENTS][N];
    static uint32_t words[N + 64];
    static uint8_t bytes[4 * (N + 64) + 1];
    static double exact[N];
    static float base[N];
    static float next[N];
    weft_rng rng;
    weft_rng_init(&rng, 9, 0);
    weft_masked_sum *sum = NULL;
    weft_masked_sum *reversed = NULL;
    assert_int_equal(weft_masked_sum_new(&sum, &g, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(weft_masked_sum_new(&reversed, &g, &weft_alloc_std, NULL), WEFT_OK);
    double weight = 0.0;
    double accuracy = 0.0;
    memset(exact, 0, sizeof exact);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        const uint64_t examples = 10 + weft_rng_below(&rng, 990);
        weight += (double)examples;
        accuracy += (double)examples * i / CLIENTS;
        for (size_t j = 0; j < N; j++) {
            delta[i][j] = weft_rng_float(&rng) - 0.4F;
            exact[j] += (double)examples * (double)delta[i][j];
            base[j] = 1.0F;
        }
        const weft_metrics m = metrics_of((double)i / CLIENTS, 1.0);
        (void)encode(words, &g, delta[i], examples, &m, (uint8_t)i); /* summed below */
        weft_fixed_to_bytes(bytes + 1, words, g.n_words);            /* not aligned */
        weft_masked_sum_add_range(sum, bytes + 1, 0, g.n_words);
        const uint64_t half = 1 + weft_rng_below(&rng, g.n_words - 1);
        weft_masked_sum_add_range(reversed, bytes + 1 + 4 * half, half, g.n_words - half);
        weft_masked_sum_add_range(reversed, bytes + 1, 0, half);
        assert_int_equal(weft_masked_sum_count(sum, NULL), WEFT_OK);
    }
    assert_memory_equal(weft_masked_sum_words(sum), weft_masked_sum_words(reversed), 4 * g.n_words);
    weft_fixed_totals t;
    assert_int_equal(weft_masked_sum_totals(&t, sum, NULL), WEFT_OK);
    assert_int_equal(t.clients, CLIENTS);
    assert_true((double)t.weight == weight);
    double value = 0.0;
    assert_true(weft_metrics_get(&t.metrics, "accuracy", &value));
    assert_true(fabs(value - accuracy / weight) < 1e-6);
    assert_false(weft_metrics_get(&t.metrics, "other", &value));
    assert_int_equal(weft_masked_finish_range(next, base, sum, &t, 0, N, NULL), WEFT_OK);
    const double step = CLIENTS * 1000.0 / (g.scale * weight);
    for (size_t j = 0; j < N; j++) {
        assert_true(fabs((double)next[j] - 1.0 - exact[j] / weight) < step + 1.3e-7);
    }
    /* and what is no sum of so many clients is noticed */
    weft_masked_sum_words(sum)[N]++;
    assert_int_equal(weft_masked_sum_totals(&t, sum, NULL), WEFT_E_INVALID);
    weft_masked_sum_words(sum)[N]--;
    weft_masked_sum_words(sum)[17] = 0x80000000U;
    assert_int_equal(weft_masked_sum_totals(&t, sum, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_masked_finish_range(next, base, sum, &t, 0, N, NULL), WEFT_E_INVALID);
    weft_masked_sum_free(sum);
    weft_masked_sum_free(reversed);
}

/* Values as statistics are: zeros beside large ones, and the smallest digit matters. */
static void test_masked_sum__of_statistics_is_exact(void **state)
{
    (void)state;
    enum { CLIENTS = 5, N = 4 };
    static const float values[CLIENTS][N] = {{0.0F, 4095.0F, -4096.0F, 0x1p-30F},
                                             {0.0F, 1.0F, 4096.0F, 0.25F},
                                             {0.0F, 17.5F, -1.0F, 0.0F},
                                             {0.0F, 3.0F, 0x1p-20F, -0x1p-30F},
                                             {0.0F, 0.0F, 2.5F, 7.0F}};
    static const uint64_t examples[CLIENTS] = {3, 1000, 999, 1, 500};
    weft_fixed_layout l = layout_of(N, 100, 1e6, 1000);
    l.exact = true;
    weft_fixed_grid g;
    assert_int_equal(weft_fixed_grid_make(&g, &l, NULL), WEFT_OK);
    uint32_t words[64];
    uint8_t bytes[sizeof words];
    weft_masked_sum *sum = NULL;
    assert_in_range(g.n_words, N * g.param_words, 64);
    assert_int_equal(weft_masked_sum_new(&sum, &g, &weft_alloc_std, NULL), WEFT_OK);
    double want[N] = {0};
    double weight = 0.0;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        const weft_metrics m = {.n = 0};
        (void)encode(words, &g, values[i], examples[i], &m, (uint8_t)i); /* summed below */
        weft_fixed_to_bytes(bytes, words, g.n_words);
        weft_masked_sum_add_range(sum, bytes, 0, g.n_words);
        assert_int_equal(weft_masked_sum_count(sum, NULL), WEFT_OK);
        weight += (double)examples[i];
        for (size_t j = 0; j < N; j++) {
            want[j] += (double)examples[i] * (double)values[i][j];
        }
    }
    weft_fixed_totals t;
    assert_int_equal(weft_masked_sum_totals(&t, sum, NULL), WEFT_OK);
    assert_true((double)t.weight == weight);
    for (size_t j = 0; j < N; j++) {
        const uint32_t *at = weft_masked_sum_words(sum) + j * g.param_words;
        const double mean = weft_fixed_mean(&g, at, t.weight);
        assert_true(fabs(mean - want[j] / weight) <= fabs(want[j]) * 1e-15);
    }
    float next[N];
    const float base[N] = {0};
    assert_int_equal(weft_masked_finish_range(next, base, sum, &t, 0, N, NULL), WEFT_OK);
    assert_true(next[0] == 0.0F);
    weft_masked_sum_words(sum)[g.param_words - 1] = UINT32_MAX; /* more than they all weigh */
    assert_int_equal(weft_masked_sum_totals(&t, sum, NULL), WEFT_E_INVALID);
    weft_masked_sum_free(sum);
}

/* What job plan warns of is what happens, measured as the distance of the mean. */
static void test_noise__is_what_rounding_does(void **state)
{
    (void)state;
    enum { N = 4000, CLIENTS = 4, EXAMPLES = 20 };
    const weft_fixed_grid g = grid_of(N, CLIENTS, 5.0, 1000);
    static float delta[N];
    static uint32_t words[N + 64];
    static uint8_t bytes[sizeof words];
    static float next[N];
    static const float base[N];
    weft_rng rng;
    weft_rng_init(&rng, 3, 0);
    weft_masked_sum *sum = NULL;
    assert_int_equal(weft_masked_sum_new(&sum, &g, &weft_alloc_std, NULL), WEFT_OK);
    for (size_t j = 0; j < N; j++) {
        delta[j] = 1e-6F * (weft_rng_float(&rng) - 0.5F);
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        const weft_metrics m = {.n = 0};
        (void)encode(words, &g, delta, EXAMPLES, &m, (uint8_t)i); /* summed below */
        weft_fixed_to_bytes(bytes, words, g.n_words);
        weft_masked_sum_add_range(sum, bytes, 0, g.n_words);
        assert_int_equal(weft_masked_sum_count(sum, NULL), WEFT_OK);
    }
    weft_fixed_totals t;
    assert_int_equal(weft_masked_sum_totals(&t, sum, NULL), WEFT_OK);
    assert_int_equal(weft_masked_finish_range(next, base, sum, &t, 0, N, NULL), WEFT_OK);
    double square = 0.0;
    for (size_t j = 0; j < N; j++) {
        square += pow((double)next[j] - (double)delta[j], 2.0);
    }
    const double noise = weft_fixed_noise(&g, CLIENTS, EXAMPLES) * 5.0;
    assert_true(sqrt(square) < noise);       /* at most half a step each */
    assert_true(sqrt(square) > noise * 0.7); /* sqrt(1/6) of a step on average, not 1/2 */
    assert_true(weft_fixed_noise(&g, CLIENTS, 5000) == weft_fixed_noise(&g, CLIENTS, 1000));
    weft_masked_sum_free(sum);
}

static void test_masked_sum__counts_up_to_its_cohort(void **state)
{
    (void)state;
    const weft_fixed_grid g = grid_of(4, 3, 1.0, 10);
    weft_masked_sum *sum = NULL;
    weft_fixed_totals t;
    assert_int_equal(weft_masked_sum_new(&sum, &g, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(weft_masked_sum_totals(&t, sum, NULL), WEFT_E_STATE);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(weft_masked_sum_count(sum, NULL), WEFT_OK);
    }
    assert_int_equal(weft_masked_sum_count(sum, NULL), WEFT_E_LIMIT);
    assert_int_equal(weft_masked_sum_totals(&t, sum, NULL), WEFT_E_INVALID); /* three of nothing */
    weft_masked_sum_free(sum);
    weft_masked_sum_free(NULL);
}

static void test_totals__noise_does_not_pass(void **state)
{
    (void)state;
    const weft_fixed_grid g = grid_of(0, 100, 0.0, 1000);
    weft_rng rng;
    weft_rng_init(&rng, 1, 0);
    weft_fixed_totals t;
    uint32_t w[64];
    for (int trial = 0; trial < 2000; trial++) {
        for (size_t i = 0; i < g.n_words; i++) {
            w[i] = (uint32_t)weft_rng_u64(&rng);
        }
        w[0] = 10; /* even if the count were right */
        assert_int_equal(weft_fixed_totals_read(&t, &g, w, 10, NULL), WEFT_E_INVALID);
    }
}

static weft_status try_sum(const weft_alloc *a, void *arg)
{
    weft_masked_sum *sum = NULL;
    WEFT_TRY(weft_masked_sum_new(&sum, arg, a, NULL));
    weft_masked_sum_free(sum);
    return WEFT_OK;
}

static weft_status try_encode(const weft_alloc *a, void *arg)
{
    static uint32_t words[64];
    const uint8_t seed[WEFT_FIXED_SEED_BYTES] = {0};
    const float delta[4] = {1.0F};
    const weft_metrics m = {.n = 0};
    collected c = {words, 0, false};
    const weft_fixed_sink sink = {collect, &c};
    weft_fixed_result r;
    return weft_fixed_encode(&r, &sink, arg, delta, NULL, 1, &m, seed, a, NULL);
}

static void test_fixed__every_allocation_may_fail(void **state)
{
    (void)state;
    weft_fixed_grid g = grid_of(4, 3, 1.0, 10);
    test_every_allocation_may_fail(try_sum, &g);
    test_every_allocation_may_fail(try_encode, &g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode__writes_the_layout),
        cmocka_unit_test(test_sum__never_wraps),
        cmocka_unit_test(test_encode__rounds_without_bias),
        cmocka_unit_test(test_encode__same_seed_same_words),
        cmocka_unit_test(test_encode__refuses_what_is_no_update),
        cmocka_unit_test(test_grid__limits),
        cmocka_unit_test(test_masked_sum__is_fedavg),
        cmocka_unit_test(test_masked_sum__of_statistics_is_exact),
        cmocka_unit_test(test_noise__is_what_rounding_does),
        cmocka_unit_test(test_masked_sum__counts_up_to_its_cohort),
        cmocka_unit_test(test_totals__noise_does_not_pass),
        cmocka_unit_test(test_fixed__every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("fixed", tests, NULL, NULL);
}
