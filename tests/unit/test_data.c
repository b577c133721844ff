/* SPDX-License-Identifier: Apache-2.0 */
/* data: data sets, views, partitions, procedural digits. */
#include "support/support.h"

#include "base/limits.h"
#include "data/digits.h"
#include "data/idx.h"
#include "data/load.h"
#include "data/partition.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static weft_data *numbered(uint32_t n, uint32_t n_classes)
{
    weft_data *d = NULL;
    assert_ok(weft_data_new(&d, n, (weft_shape){1, 1, 1, 2}, WEFT_FEATURE_F32, WEFT_LABEL_CLASS,
                            n_classes, &weft_alloc_std, &assert_err));
    for (uint32_t i = 0; i < n; i++) {
        d->f32[2 * i] = (float)i;
        d->f32[2 * i + 1] = -(float)i;
        d->classes[i] = (i * 7) % n_classes;
    }
    return d;
}

static weft_status new_size(uint64_t n, uint32_t h, uint32_t c, uint32_t classes)
{
    weft_data *d = NULL;
    const weft_status status = weft_data_new(&d, n, (weft_shape){3, h, 1, c}, WEFT_FEATURE_U8,
                                             WEFT_LABEL_CLASS, classes, &weft_alloc_std, NULL);
    weft_data_free(d);
    return status;
}

static void test_data_new__keeps_to_its_limits(void **state)
{
    (void)state;
    assert_int_equal(new_size(1, 1, 1, 1), WEFT_OK);
    assert_int_equal(new_size(0, 1, 1, 1), WEFT_E_LIMIT);
    assert_int_equal(new_size(WEFT_MAX_EXAMPLES + 1, 1, 1, 1), WEFT_E_LIMIT);
    assert_int_equal(new_size(1, 0, 1, 1), WEFT_E_LIMIT);
    assert_int_equal(new_size(1, WEFT_MAX_FEATURES, 1, 1), WEFT_OK);
    assert_int_equal(new_size(1, WEFT_MAX_FEATURES + 1, 1, 1), WEFT_E_LIMIT);
    assert_int_equal(new_size(1, UINT32_MAX, UINT32_MAX, 1), WEFT_E_LIMIT);
    assert_int_equal(new_size(WEFT_MAX_EXAMPLES, WEFT_MAX_FEATURES, 1, 1), WEFT_E_LIMIT);
    assert_int_equal(new_size(1, 1, 1, WEFT_MAX_CLASSES), WEFT_OK);
    assert_int_equal(new_size(1, 1, 1, WEFT_MAX_CLASSES + 1), WEFT_E_LIMIT);
    assert_int_equal(new_size(1, 1, 1, 0), WEFT_E_LIMIT);
}

static weft_status make_data(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_data *d = NULL;
    const weft_status status = weft_data_new(&d, 3, (weft_shape){1, 1, 1, 2}, WEFT_FEATURE_F32,
                                             WEFT_LABEL_VALUE, 0, a, NULL);
    weft_data_free(d);
    return status;
}

static void test_data_new__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(make_data, NULL);
}

static void test_data_gather__follows_view_and_order(void **state)
{
    (void)state;
    weft_data *d = numbered(10, 3);
    const uint32_t index[4] = {9, 2, 5, 7};
    const weft_data_view view = {d, index, 4};
    const uint32_t order[3] = {3, 0, 3};
    float x[6];
    uint32_t y[3];
    weft_data_gather(x, y, NULL, &view, order, 0, 3);
    const float want[6] = {7, -7, 9, -9, 7, -7};
    assert_memory_equal(x, want, sizeof want);
    assert_int_equal(y[0], 49 % 3);
    assert_int_equal(y[1], 63 % 3);
    weft_data_gather(x, NULL, NULL, &view, NULL, 1, 2);
    assert_true(x[0] == 2.0F && x[2] == 5.0F);
    weft_data_free(d);
}

static void test_data_gather__scales_bytes_to_one(void **state)
{
    (void)state;
    weft_data *d = NULL;
    assert_ok(weft_data_new(&d, 1, (weft_shape){3, 1, 1, 3}, WEFT_FEATURE_U8, WEFT_LABEL_NONE, 0,
                            &weft_alloc_std, &assert_err));
    d->u8[1] = 51;
    d->u8[2] = 255;
    const weft_data_view all = weft_data_all(d);
    float x[3];
    weft_data_gather(x, NULL, NULL, &all, NULL, 0, 1);
    assert_true(x[0] == 0.0F && x[1] == 0.2F && x[2] == 1.0F);
    weft_data_free(d);
}

static weft_status fits(const char *text, const weft_data *d, weft_err *err)
{
    weft_spec *spec = NULL;
    assert_ok(weft_spec_parse(&spec, text, strlen(text), &weft_alloc_std, &assert_err));
    const weft_status status = weft_data_fits(d, spec, err);
    weft_spec_free(spec);
    return status;
}

static void test_data_fits__names_both_sides(void **state)
{
    (void)state;
    weft_data *d = numbered(4, 3);
    assert_int_equal(fits("input 2\ndense units=3\nloss softmax_cross_entropy\n", d, NULL),
                     WEFT_OK);
    assert_int_equal(fits("input 2\ndense units=4\nloss softmax_cross_entropy\n", d, NULL),
                     WEFT_OK);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(fits("input 2\ndense units=2\nloss softmax_cross_entropy\n", d, &err),
                     WEFT_E_INVALID);
    assert_string_equal(err.msg, "the model has 2 outputs, the data 3 classes");
    weft_err_clear(&err);
    assert_int_equal(fits("input 3\ndense units=3\nloss softmax_cross_entropy\n", d, &err),
                     WEFT_E_INVALID);
    assert_string_equal(err.msg, "the model takes 1x1x3 values, the data have 1x1x2");
    assert_int_equal(fits("tensor a 3\n", d, NULL), WEFT_E_INVALID);
    weft_data_free(d);
}

/* ---- partitions ------------------------------------------------------------------------------ */

static void assert_covers(const weft_partition *p, uint32_t n)
{
    char *seen = test_calloc(n, 1);
    assert_int_equal(p->start[0], 0);
    assert_int_equal(p->start[p->n_parts], n);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(p->index[i] < n);
        assert_int_equal(seen[p->index[i]]++, 0);
    }
    test_free(seen);
}

static uint32_t classes_of(const weft_partition *p, const weft_data *d, uint32_t k)
{
    uint64_t set = 0;
    const weft_data_view v = weft_partition_view(p, d, k);
    for (uint32_t i = 0; i < v.n; i++) {
        set |= UINT64_C(1) << d->classes[weft_data_view_at(&v, i)];
    }
    return (uint32_t)__builtin_popcountll(set);
}

static void test_partition_iid__covers_evenly_and_repeats(void **state)
{
    (void)state;
    weft_data *d = numbered(1003, 10);
    weft_partition *p = NULL;
    weft_partition *q = NULL;
    assert_ok(weft_partition_iid(&p, d, 10, 5, &weft_alloc_std, &assert_err));
    assert_covers(p, d->n);
    for (uint32_t k = 0; k < 10; k++) {
        const uint64_t n = p->start[k + 1] - p->start[k];
        assert_true(n == 100 || n == 101);
        assert_int_equal(classes_of(p, d, k), 10);
    }
    assert_ok(weft_partition_iid(&q, d, 10, 5, &weft_alloc_std, &assert_err));
    assert_memory_equal(p->index, q->index, d->n * sizeof *p->index);
    weft_partition_free(q);
    assert_ok(weft_partition_iid(&q, d, 10, 6, &weft_alloc_std, &assert_err));
    assert_memory_not_equal(p->index, q->index, d->n * sizeof *p->index);
    weft_partition_free(q);
    weft_partition_free(p);
    assert_int_equal(weft_partition_iid(&p, d, 1004, 1, &weft_alloc_std, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_partition_iid(&p, d, 0, 1, &weft_alloc_std, NULL), WEFT_E_INVALID);
    weft_data_free(d);
}

/* McMahan et al. 2017: 60,000 examples, 200 shards of 300, two a client. */
static void test_partition_shards__gives_two_shards_of_300(void **state)
{
    (void)state;
    weft_data *d = numbered(60000, 10);
    weft_partition *p = NULL;
    assert_ok(weft_partition_shards(&p, d, 100, 2, 1, &weft_alloc_std, &assert_err));
    assert_covers(p, d->n);
    for (uint32_t k = 0; k < 100; k++) {
        assert_int_equal(p->start[k + 1] - p->start[k], 600);
        assert_in_range(classes_of(p, d, k), 1, 4);
        for (uint32_t half = 0; half < 2; half++) { /* a shard is a run of the sorted order */
            const uint32_t *run = p->index + p->start[k] + half * 300;
            assert_true(d->classes[run[299]] - d->classes[run[0]] <= 1);
        }
    }
    weft_partition_free(p);
    assert_int_equal(weft_partition_shards(&p, d, 100, 601, 1, &weft_alloc_std, NULL),
                     WEFT_E_INVALID);
    weft_data_free(d);
}

static double largest_share(const weft_partition *p, const weft_data *d)
{
    double sum = 0.0;
    for (uint32_t k = 0; k < p->n_parts; k++) {
        uint32_t count[10] = {0};
        uint32_t most = 0;
        const weft_data_view v = weft_partition_view(p, d, k);
        for (uint32_t i = 0; i < v.n; i++) {
            const uint32_t n = ++count[d->classes[weft_data_view_at(&v, i)]];
            most = n > most ? n : most;
        }
        sum += (double)most / v.n;
    }
    return sum / p->n_parts;
}

static void test_partition_dirichlet__skew_falls_with_alpha(void **state)
{
    (void)state;
    weft_data *d = numbered(10000, 10);
    const double alphas[3] = {0.05, 1.0, 1000.0};
    double share[3];
    for (int i = 0; i < 3; i++) {
        weft_partition *p = NULL;
        assert_ok(
            weft_partition_dirichlet(&p, d, 20, alphas[i], 10, 3, &weft_alloc_std, &assert_err));
        assert_covers(p, d->n);
        for (uint32_t k = 0; k < 20; k++) {
            assert_true(p->start[k + 1] - p->start[k] >= 10);
        }
        share[i] = largest_share(p, d);
        weft_partition_free(p);
    }
    assert_true(share[0] > 0.6);
    assert_true(share[1] > 0.2 && share[1] < share[0]);
    assert_true(share[2] < 0.13); /* nearly IID: a tenth each */
    weft_partition *p = NULL;
    assert_int_equal(weft_partition_dirichlet(&p, d, 20, 0.0, 1, 3, &weft_alloc_std, NULL),
                     WEFT_E_INVALID);
    assert_int_equal(weft_partition_dirichlet(&p, d, 20, 0.001, 501, 3, &weft_alloc_std, NULL),
                     WEFT_E_INVALID);
    assert_ok(weft_partition_dirichlet(&p, d, 20, 0.001, 500, 3, &weft_alloc_std, &assert_err));
    for (uint32_t k = 0; k < 20; k++) {
        assert_int_equal(p->start[k + 1] - p->start[k], 500);
    }
    weft_partition_free(p);
    weft_data_free(d);
}

static void test_partition_holdout__splits_a_view(void **state)
{
    (void)state;
    weft_data *d = numbered(100, 2);
    const uint32_t index[5] = {90, 80, 70, 60, 50};
    const weft_data_view view = {d, index, 5};
    weft_partition *p = NULL;
    assert_ok(weft_partition_holdout(&p, &view, 0.2, 1, &weft_alloc_std, &assert_err));
    assert_int_equal(p->n_parts, 2);
    assert_int_equal(p->start[1], 4);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 5; i++) {
        sum += p->index[i];
    }
    assert_int_equal(sum, 350);
    weft_partition_free(p);
    assert_ok(weft_partition_holdout(&p, &view, 0.01, 1, &weft_alloc_std, &assert_err));
    assert_int_equal(p->start[1], 4); /* never empty */
    weft_partition_free(p);
    assert_ok(weft_partition_holdout(&p, &view, 0.99, 1, &weft_alloc_std, &assert_err));
    assert_int_equal(p->start[1], 1);
    weft_partition_free(p);
    const weft_data_view one = {d, index, 1};
    assert_int_equal(weft_partition_holdout(&p, &one, 0.5, 1, &weft_alloc_std, NULL),
                     WEFT_E_INVALID);
    weft_data_free(d);
}

static weft_status make_partitions(const weft_alloc *a, void *arg)
{
    weft_data *d = arg;
    weft_partition *p = NULL;
    weft_status status = weft_partition_iid(&p, d, 3, 1, a, NULL);
    weft_partition_free(p);
    p = NULL;
    if (status == WEFT_OK) {
        status = weft_partition_shards(&p, d, 3, 2, 1, a, NULL);
        weft_partition_free(p);
        p = NULL;
    }
    if (status == WEFT_OK) {
        status = weft_partition_dirichlet(&p, d, 3, 0.5, 1, 1, a, NULL);
        weft_partition_free(p);
    }
    return status;
}

static void test_partition__every_allocation_may_fail(void **state)
{
    (void)state;
    weft_data *d = numbered(50, 4);
    test_every_allocation_may_fail(make_partitions, d);
    weft_data_free(d);
}

/* ---- digits ---------------------------------------------------------------------------------- */

static void test_digits_new__is_seeded_and_a_prefix_of_more(void **state)
{
    (void)state;
    weft_data *a = NULL;
    weft_data *b = NULL;
    weft_data *c = NULL;
    assert_ok(weft_digits_new(&a, 300, 9, NULL, &weft_alloc_std, &assert_err));
    assert_ok(weft_digits_new(&b, 100, 9, NULL, &weft_alloc_std, &assert_err));
    assert_ok(weft_digits_new(&c, 100, 10, NULL, &weft_alloc_std, &assert_err));
    assert_memory_equal(a->u8, b->u8, 100U * WEFT_DIGITS_PIXELS);
    assert_memory_equal(a->classes, b->classes, 100 * sizeof *a->classes);
    assert_memory_not_equal(b->u8, c->u8, 100U * WEFT_DIGITS_PIXELS);
    uint32_t count[10] = {0};
    for (uint32_t i = 0; i < a->n; i++) {
        uint64_t ink = 0;
        for (uint32_t k = 0; k < WEFT_DIGITS_PIXELS; k++) {
            ink += a->u8[i * WEFT_DIGITS_PIXELS + k];
        }
        assert_in_range(ink / 255, 10, 400); /* something, not everything */
        count[a->classes[i]]++;
    }
    for (int k = 0; k < 10; k++) {
        assert_in_range(count[k], 10, 60);
    }
    weft_data_free(a);
    weft_data_free(b);
    weft_data_free(c);
}

static void test_digits_style__shifts_what_a_client_writes(void **state)
{
    (void)state;
    weft_rng rng;
    weft_rng_init(&rng, 1, 1);
    weft_digits_style none = WEFT_DIGITS_STYLE_INIT;
    weft_digits_style_draw(&none, 0.0F, &rng);
    assert_true(none.slant == 0.0F && none.width == 0.0F && none.contrast == 0.0F);
    const weft_digits_style bold = {0.0F, 1.0F, 0.2F, 0.0F, 0.0F};
    weft_data *plain = NULL;
    weft_data *thick = NULL;
    assert_ok(weft_digits_new(&plain, 200, 3, &none, &weft_alloc_std, &assert_err));
    assert_ok(weft_digits_new(&thick, 200, 3, &bold, &weft_alloc_std, &assert_err));
    double ink[2] = {0.0, 0.0};
    for (size_t i = 0; i < 200U * WEFT_DIGITS_PIXELS; i++) {
        ink[0] += plain->u8[i];
        ink[1] += thick->u8[i];
    }
    assert_true(ink[1] > 1.3 * ink[0]);
    weft_data_free(plain);
    weft_data_free(thick);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_new__keeps_to_its_limits),
        cmocka_unit_test(test_data_new__every_allocation_may_fail),
        cmocka_unit_test(test_data_gather__follows_view_and_order),
        cmocka_unit_test(test_data_gather__scales_bytes_to_one),
        cmocka_unit_test(test_data_fits__names_both_sides),
        cmocka_unit_test(test_partition_iid__covers_evenly_and_repeats),
        cmocka_unit_test(test_partition_shards__gives_two_shards_of_300),
        cmocka_unit_test(test_partition_dirichlet__skew_falls_with_alpha),
        cmocka_unit_test(test_partition_holdout__splits_a_view),
        cmocka_unit_test(test_partition__every_allocation_may_fail),
        cmocka_unit_test(test_digits_new__is_seeded_and_a_prefix_of_more),
        cmocka_unit_test(test_digits_style__shifts_what_a_client_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
