/* SPDX-License-Identifier: Apache-2.0 */
/* agg: the exact sum against independent arithmetic, its order-independence, its limits; FedAvg. */
#include "support/support.h"

#include "agg/agg_priv.h"
#include "base/limits.h"
#include "base/rng.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* round_half_even(delta * n * 2^s) by other means: 64-bit mantissas of long double, or float64
 * where 24 + 29 bits are exact. */
static int64_t reference_term(float delta, uint32_t n, int s)
{
#if LDBL_MANT_DIG >= 64
    return (int64_t)rintl(ldexpl((long double)delta * (long double)n, s));
#else
    assert_true(n < UINT32_C(1) << 29);
    return (int64_t)rint(ldexp((double)delta * (double)n, s));
#endif
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Random finite bits whose term stays below 2^62. */
static float random_delta(weft_rng *r, uint32_t n, int s)
{
    for (;;) {
        const float f = float_of((uint32_t)weft_rng_u64(r));
        if (isfinite(f) && fabs(ldexp((double)f * (double)n, s)) < 0x1p62) {
            return f;
        }
    }
}

static void test_kernels__agree_with_exact_arithmetic(void **state)
{
    (void)state;
    weft_rng r;
    weft_rng_init(&r, 11, 0);
    enum { N = 37 };
    float delta[N];
    int64_t before[N];
    weft_sum_kernel *kernels[WEFT_SUM_MAX_KERNELS];
    const size_t n_kernels = weft_sum_kernels(kernels);
    for (int trial = 0; trial < 20000; trial++) {
        const int s = WEFT_SUM_MIN_GRID_BITS +
                      (int)weft_rng_below(&r, WEFT_SUM_MAX_GRID_BITS - WEFT_SUM_MIN_GRID_BITS + 1);
        const uint32_t n = 1 + (uint32_t)weft_rng_below(&r, UINT64_C(1) << weft_rng_below(&r, 32));
        for (size_t i = 0; i < N; i++) {
            delta[i] = random_delta(&r, n, s);
            before[i] = (int64_t)weft_rng_u64(&r) / 4;
        }
        int64_t want[N];
        for (size_t i = 0; i < N; i++) {
            want[i] = before[i] + reference_term(delta[i], n, s);
        }
        for (size_t k = 0; k < n_kernels; k++) {
            int64_t acc[N];
            memcpy(acc, before, sizeof acc);
            kernels[k](acc, delta, N, n, s);
            assert_memory_equal(acc, want, sizeof want);
        }
    }
}

/* Ties and their neighbours: k + 1/2 units of the grid, for every alignment of the vector. */
static void test_kernels__round_half_to_even(void **state)
{
    (void)state;
    const struct {
        double units;
        int64_t want;
    } cases[] = {{0.5, 0},
                 {1.5, 2},
                 {2.5, 2},
                 {3.5, 4},
                 {-0.5, 0},
                 {-1.5, -2},
                 {-2.5, -2},
                 {0.25, 0},
                 {0.75, 1},
                 {1.0, 1},
                 {-1.0, -1},
                 {0.0, 0},
                 {-0.0, 0},
                 {8388607.5, 8388608},
                 {8388606.5, 8388606},
                 {0x1p40, INT64_C(1) << 40},
                 {0x1p-140, 0},
                 {0x1p61, INT64_C(1) << 61}};
    weft_sum_kernel *kernels[WEFT_SUM_MAX_KERNELS];
    const size_t n_kernels = weft_sum_kernels(kernels);
    for (size_t k = 0; k < n_kernels; k++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            for (size_t at = 0; at < 9; at++) {
                float delta[9] = {0};
                int64_t acc[9] = {0};
                delta[at] = (float)ldexp(cases[i].units, -8);
                kernels[k](acc, delta, 9, 1, 8);
                assert_int_equal(acc[at], cases[i].want);
            }
        }
    }
}

#define PARAMS  1001
#define UPDATES 13

typedef struct updates {
    float delta[UPDATES][PARAMS];
    uint64_t n[UPDATES];
} updates;

static void make_updates(updates *u, uint64_t seed, float clip)
{
    weft_rng r;
    weft_rng_init(&r, seed, 1);
    for (size_t k = 0; k < UPDATES; k++) {
        u->n[k] = 1 + weft_rng_below(&r, 600);
        for (size_t i = 0; i < PARAMS; i++) {
            const float size = ldexpf(1.0F, -(int)weft_rng_below(&r, 30));
            u->delta[k][i] = (2.0F * weft_rng_float(&r) - 1.0F) * clip * size;
        }
    }
}

static weft_sum *new_sum(void)
{
    weft_sum *sum = NULL;
    assert_int_equal(weft_sum_new(&sum, PARAMS, UPDATES, 600, 2.0, &weft_alloc_std, NULL), WEFT_OK);
    return sum;
}

static void count_all(weft_sum *sum, const updates *u)
{
    for (size_t k = 0; k < UPDATES; k++) {
        assert_int_equal(weft_sum_count(sum, u->n[k], NULL), WEFT_OK);
    }
}

static void test_sum__is_equal_for_any_order_and_split(void **state)
{
    (void)state;
    static updates u;
    make_updates(&u, 5, 2.0F);
    weft_sum *want = new_sum();
    for (size_t k = 0; k < UPDATES; k++) {
        weft_sum_add_range(want, u.delta[k], 0, PARAMS, u.n[k]);
    }
    weft_rng r;
    weft_rng_init(&r, 6, 0);
    for (int trial = 0; trial < 200; trial++) {
        weft_sum *sum = new_sum();
        uint32_t order[UPDATES];
        for (uint32_t k = 0; k < UPDATES; k++) {
            order[k] = k;
        }
        weft_rng_shuffle(&r, order, UPDATES);
        for (size_t k = 0; k < UPDATES; k++) {
            for (uint64_t first = 0; first < PARAMS;) {
                const uint64_t n = 1 + weft_rng_below(&r, PARAMS - first);
                weft_sum_add_range(sum, u.delta[order[k]] + first, first, n, u.n[order[k]]);
                first += n;
            }
        }
        assert_memory_equal(sum->acc, want->acc, PARAMS * sizeof *sum->acc);
        weft_sum_free(sum);
    }
    weft_sum_free(want);
}

typedef struct part {
    weft_sum *sum;
    const updates *u;
    uint64_t first;
    uint64_t n;
} part;

static void *fold_part(void *arg)
{
    const part *p = arg;
    for (size_t k = 0; k < UPDATES; k++) {
        weft_sum_add_range(p->sum, p->u->delta[k] + p->first, p->first, p->n, p->u->n[k]);
    }
    return NULL;
}

static void test_sum__is_equal_for_any_number_of_threads(void **state)
{
    (void)state;
    static updates u;
    make_updates(&u, 9, 2.0F);
    weft_sum *want = new_sum();
    (void)fold_part(&(part){want, &u, 0, PARAMS}); /* always NULL */
    for (uint64_t threads = 2; threads <= 5; threads++) {
        weft_sum *sum = new_sum();
        pthread_t id[5];
        part parts[5];
        for (uint64_t t = 0; t < threads; t++) {
            const uint64_t first = PARAMS * t / threads;
            parts[t] = (part){sum, &u, first, PARAMS * (t + 1) / threads - first};
            assert_int_equal(pthread_create(&id[t], NULL, fold_part, &parts[t]), 0);
        }
        for (uint64_t t = 0; t < threads; t++) {
            assert_int_equal(pthread_join(id[t], NULL), 0);
        }
        assert_memory_equal(sum->acc, want->acc, PARAMS * sizeof *sum->acc);
        weft_sum_free(sum);
    }
    weft_sum_free(want);
}

/* Frozen layers: blocks of zeros, and zeros of the other sign among values. */
static void test_sum__leaves_alone_what_is_zero(void **state)
{
    (void)state;
    enum { WIDE = 3 * 4096 + 5 };
    static float delta[WIDE];
    static int64_t acc[WIDE];
    static int64_t want[WIDE];
    delta[4095] = 0.5F;      /* the first block's last */
    delta[8192] = -0.0F;     /* the third block: nothing but a negative zero */
    delta[WIDE - 1] = -2.0F; /* the short block's last */
    weft_sum *sum = NULL;
    assert_int_equal(weft_sum_new_over(&sum, acc, WIDE, 2, 7, 4.0, &weft_alloc_std, NULL), WEFT_OK);
    weft_sum_add_range(sum, delta, 0, WIDE, 7);
    weft_sum_add_range(sum, delta + 4000, 4000, 5000, 3);
    weft_sum_kernel_portable(want, delta, WIDE, 7, weft_sum_grid_bits(sum));
    weft_sum_kernel_portable(want + 4000, delta + 4000, 5000, 3, weft_sum_grid_bits(sum));
    assert_memory_equal(acc, want, sizeof acc);
    weft_sum_free(sum); /* acc is not its own */
    assert_true(acc[4095] != 0 && acc[WIDE - 1] != 0);
}

static void test_sum_add_range__does_not_write_where_nothing_is_added(void **state)
{
    (void)state;
    enum { WIDE = 2 * 4096 };
    static float delta[WIDE]; /* zeros */
    int64_t *acc = mmap(NULL, WIDE * sizeof *acc, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(acc != MAP_FAILED);
    weft_sum *sum = NULL;
    assert_int_equal(weft_sum_new_over(&sum, acc, WIDE, 1, 1, 1.0, &weft_alloc_std, NULL), WEFT_OK);
    weft_sum_add_range(sum, delta, 0, WIDE, 1); /* a write would end the test */
    weft_sum_free(sum);
    assert_int_equal(munmap(acc, WIDE * sizeof *acc), 0);
}

static void test_fedavg_finish_range__is_the_same_in_pieces(void **state)
{
    (void)state;
    static updates u;
    static float base[PARAMS];
    static float whole[PARAMS];
    static float pieces[PARAMS];
    make_updates(&u, 33, 2.0F);
    weft_sum *sum = new_sum();
    for (size_t k = 0; k < UPDATES; k++) {
        weft_sum_add_range(sum, u.delta[k], 0, PARAMS, u.n[k]);
    }
    const weft_aggregator *fedavg = weft_aggregator_find("fedavg");
    assert_int_equal(fedavg->finish_range(pieces, base, sum, 0, 1, NULL), WEFT_E_STATE);
    count_all(sum, &u);
    for (size_t i = 0; i < PARAMS; i++) {
        base[i] = cosf((float)i);
    }
    assert_int_equal(fedavg->finish(whole, base, sum, NULL), WEFT_OK);
    for (size_t first = 0; first < PARAMS; first += 100) {
        const size_t n = PARAMS - first < 100 ? PARAMS - first : 100;
        assert_int_equal(fedavg->finish_range(pieces + first, base + first, sum, first, n, NULL),
                         WEFT_OK);
    }
    assert_memory_equal(pieces, whole, sizeof whole);
    weft_err err = WEFT_ERR_INIT;
    base[700] = INFINITY;
    assert_int_equal(fedavg->finish_range(pieces, base + 600, sum, 600, 200, &err), WEFT_E_INVALID);
    assert_string_equal(err.msg, "the result is not finite: parameter 700");
    weft_sum_free(sum);
}

static void test_fedavg__agrees_with_float64(void **state)
{
    (void)state;
    static updates u;
    make_updates(&u, 21, 2.0F);
    weft_sum *sum = new_sum();
    for (size_t k = 0; k < UPDATES; k++) {
        weft_sum_add_range(sum, u.delta[k], 0, PARAMS, u.n[k]);
    }
    count_all(sum, &u);
    static float base[PARAMS];
    static float next[PARAMS];
    for (size_t i = 0; i < PARAMS; i++) {
        base[i] = sinf((float)i);
    }
    assert_int_equal(weft_aggregator_find("fedavg")->finish(next, base, sum, NULL), WEFT_OK);
    for (size_t i = 0; i < PARAMS; i++) {
        double total = 0.0;
        double weight = 0.0;
        for (size_t k = 0; k < UPDATES; k++) {
            total += (double)u.delta[k][i] * (double)u.n[k];
            weight += (double)u.n[k];
        }
        const double mean = total / weight;
        assert_true(fabs(weft_sum_mean(sum, i) - mean) <= 1e-9);
        assert_true(fabs((double)next[i] - ((double)base[i] + mean)) <= 1e-6);
        assert_true(next[i] == (float)((double)base[i] + weft_sum_mean(sum, i)));
    }
    weft_sum_free(sum);
}

/* Three clients by hand: (1 * 4 + 3 * 8 + 4 * -2) / 8 = 2.5 */
static void test_fedavg__weights_by_examples(void **state)
{
    (void)state;
    weft_sum *sum = NULL;
    assert_int_equal(weft_sum_new(&sum, 1, 3, 4, 8.0, &weft_alloc_std, NULL), WEFT_OK);
    const float delta[3] = {4.0F, 8.0F, -2.0F};
    const uint64_t weight[3] = {1, 3, 4};
    for (size_t k = 0; k < 3; k++) {
        weft_sum_add_range(sum, &delta[k], 0, 1, weight[k]);
        assert_int_equal(weft_sum_count(sum, weight[k], NULL), WEFT_OK);
    }
    const float base = 10.0F;
    float next = 0.0F;
    assert_int_equal(weft_aggregator_find("fedavg")->finish(&next, &base, sum, NULL), WEFT_OK);
    assert_true(next == 12.5F);
    assert_int_equal(weft_sum_updates(sum), 3);
    assert_int_equal(weft_sum_examples(sum), 8);
    weft_sum_free(sum);
}

static void test_fedavg__refuses_what_is_not_finite(void **state)
{
    (void)state;
    const weft_aggregator *fedavg = weft_aggregator_find("fedavg");
    weft_sum *sum = NULL;
    assert_int_equal(weft_sum_new(&sum, 2, 1, 1, 1e3, &weft_alloc_std, NULL), WEFT_OK);
    float next[2];
    const float fine[2] = {0.0F, FLT_MAX};
    assert_int_equal(fedavg->finish(next, fine, sum, NULL), WEFT_E_STATE); /* empty */
    const float delta[2] = {0.0F, 1e3F};
    weft_sum_add_range(sum, delta, 0, 2, 1);
    assert_int_equal(weft_sum_count(sum, 1, NULL), WEFT_OK);
    assert_int_equal(fedavg->finish(next, fine, sum, NULL), WEFT_OK); /* far below half an ulp */
    weft_err err = WEFT_ERR_INIT;
    const float bad[2] = {0.0F, NAN};
    assert_int_equal(fedavg->finish(next, bad, sum, &err), WEFT_E_INVALID);
    assert_string_equal(err.msg, "the result is not finite: parameter 1");
    const float worse[2] = {-INFINITY, 0.0F};
    assert_int_equal(fedavg->finish(next, worse, sum, NULL), WEFT_E_INVALID);
    weft_sum_free(sum);
}

static void test_fedavg__refuses_a_result_beyond_float32(void **state)
{
    (void)state;
    weft_sum *sum = NULL;
    assert_int_equal(weft_sum_new(&sum, 1, 1, 1, 0x1p54, &weft_alloc_std, NULL), WEFT_OK);
    const float base = -FLT_MAX; /* its half ulp is 2^103 */
    const float delta = -0x1p54F;
    weft_sum_add_range(sum, &delta, 0, 1, 1);
    assert_int_equal(weft_sum_count(sum, 1, NULL), WEFT_OK);
    float next = 0.0F;
    assert_int_equal(weft_aggregator_find("fedavg")->finish(&next, &base, sum, NULL), WEFT_OK);
    assert_true(next == base);
    sum->grid_bits = -60; /* as if the deltas had been 2^68 times larger */
    assert_int_equal(weft_aggregator_find("fedavg")->finish(&next, &base, sum, NULL),
                     WEFT_E_INVALID);
    weft_sum_free(sum);
}

static void test_sum_grid__leaves_room_for_the_largest_sum(void **state)
{
    (void)state;
    /* product 2^12: exactly; one below and one above the power of two */
    assert_int_equal(weft_sum_grid(4, 1024, 1.0), 50);
    assert_int_equal(weft_sum_grid(4, 1023, 1.0), 50);
    assert_int_equal(weft_sum_grid(4, 1025, 1.0), 49);
    assert_int_equal(weft_sum_grid(4, 1024, nextafter(1.0, 2.0)), 49);
    assert_int_equal(weft_sum_grid(1, 1, 1e-300), WEFT_SUM_MAX_GRID_BITS);
    const struct {
        uint32_t cohort;
        uint64_t max_examples;
        float clip;
    } cases[] = {{4, 1024, 1.0F},
                 {4, 1023, 1.0F},
                 {4, 1025, 1.0F},
                 {100, 600, 10.0F},
                 {7, WEFT_MAX_EXAMPLES, 0x1p-3F},
                 {9, WEFT_MAX_EXAMPLES, 0.3F}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            weft_sum *sum = NULL;
            assert_int_equal(weft_sum_new(&sum, 5, cases[i].cohort, cases[i].max_examples,
                                          (double)cases[i].clip, &weft_alloc_std, NULL),
                             WEFT_OK);
            float delta[5];
            for (size_t j = 0; j < 5; j++) {
                delta[j] = (float)sign * cases[i].clip;
            }
            int64_t before = 0;
            for (uint32_t k = 0; k < cases[i].cohort; k++) {
                weft_sum_add_range(sum, delta, 0, 5, cases[i].max_examples);
                assert_int_equal(weft_sum_count(sum, cases[i].max_examples, NULL), WEFT_OK);
                assert_true(sign > 0 ? sum->acc[4] > before : sum->acc[4] < before);
                before = sum->acc[4];
            }
            assert_true(llabs(sum->acc[4]) <= INT64_C(1) << 62);
            assert_true(llabs(sum->acc[4]) >= INT64_C(1) << 60); /* and wastes few bits */
            assert_true(fabs(weft_sum_mean(sum, 4) - (double)delta[4]) <=
                        fabs((double)delta[4]) * 1e-12);
            weft_err err = WEFT_ERR_INIT;
            assert_int_equal(weft_sum_count(sum, 1, &err), WEFT_E_LIMIT); /* one above the cohort */
            assert_int_equal(weft_sum_updates(sum), cases[i].cohort);
            weft_sum_free(sum);
        }
    }
}

static void test_sum_new__refuses_coarse_grids_and_bad_arguments(void **state)
{
    (void)state;
    weft_sum *sum = NULL;
    /* 62 - log2(1024 * 2^31 * 2^13) = 8: at the limit, one below, one above */
    assert_int_equal(weft_sum_new(&sum, 1, 1024, WEFT_MAX_EXAMPLES, 0x1p13, &weft_alloc_std, NULL),
                     WEFT_OK);
    assert_int_equal(weft_sum_grid_bits(sum), 8);
    weft_sum_free(sum);
    assert_int_equal(weft_sum_new(&sum, 1, 1024, WEFT_MAX_EXAMPLES, 0x1p12, &weft_alloc_std, NULL),
                     WEFT_OK);
    assert_int_equal(weft_sum_grid_bits(sum), 9);
    weft_sum_free(sum);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_sum_new(&sum, 1, 1025, WEFT_MAX_EXAMPLES, 0x1p13, &weft_alloc_std, &err),
                     WEFT_E_LIMIT);
    assert_non_null(strstr(err.msg, "lower max_examples or clip_norm"));
    const struct {
        uint64_t n_params;
        uint32_t cohort;
        uint64_t max_examples;
        double clip;
    } bad[] = {{0, 1, 1, 1.0},         {WEFT_MAX_PARAMS + 1, 1, 1, 1.0},
               {1, 0, 1, 1.0},         {1, WEFT_MAX_COHORT + 1, 1, 1.0},
               {1, 1, 0, 1.0},         {1, 1, WEFT_MAX_EXAMPLES + 1, 1.0},
               {1, 1, 1, 0.0},         {1, 1, 1, -1.0},
               {1, 1, 1, (double)NAN}, {1, 1, 1, (double)INFINITY}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(
            weft_sum_check(bad[i].n_params, bad[i].cohort, bad[i].max_examples, bad[i].clip, NULL),
            WEFT_E_INVALID);
        assert_int_equal(weft_sum_new(&sum, bad[i].n_params, bad[i].cohort, bad[i].max_examples,
                                      bad[i].clip, &weft_alloc_std, NULL),
                         WEFT_E_INVALID);
    }
    assert_int_equal(
        weft_sum_new(&sum, 1, WEFT_MAX_COHORT, WEFT_MAX_EXAMPLES, 1.0, &weft_alloc_std, NULL),
        WEFT_OK);
    weft_sum_free(sum);
}

static weft_status try_new(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_sum *sum = NULL;
    const weft_status status = weft_sum_new(&sum, 10, 4, 100, 1.0, a, NULL);
    weft_sum_free(sum);
    return status;
}

static void test_sum_new__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(try_new, NULL);
}

static void test_aggregator_find__knows_fedavg_only(void **state)
{
    (void)state;
    assert_string_equal(weft_aggregator_find("fedavg")->name, "fedavg");
    assert_null(weft_aggregator_find("fedsomething"));
    assert_null(weft_aggregator_find(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels__agree_with_exact_arithmetic),
        cmocka_unit_test(test_kernels__round_half_to_even),
        cmocka_unit_test(test_sum__is_equal_for_any_order_and_split),
        cmocka_unit_test(test_sum__is_equal_for_any_number_of_threads),
        cmocka_unit_test(test_sum__leaves_alone_what_is_zero),
        cmocka_unit_test(test_sum_add_range__does_not_write_where_nothing_is_added),
        cmocka_unit_test(test_fedavg_finish_range__is_the_same_in_pieces),
        cmocka_unit_test(test_fedavg__agrees_with_float64),
        cmocka_unit_test(test_fedavg__weights_by_examples),
        cmocka_unit_test(test_fedavg__refuses_what_is_not_finite),
        cmocka_unit_test(test_fedavg__refuses_a_result_beyond_float32),
        cmocka_unit_test(test_sum_grid__leaves_room_for_the_largest_sum),
        cmocka_unit_test(test_sum_new__refuses_coarse_grids_and_bad_arguments),
        cmocka_unit_test(test_sum_new__every_allocation_may_fail),
        cmocka_unit_test(test_aggregator_find__knows_fedavg_only),
    };
    return cmocka_run_group_tests_name("agg", tests, NULL, NULL);
}
