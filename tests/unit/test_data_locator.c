/* SPDX-License-Identifier: Apache-2.0 */
/* Data paths that are more than a place on disk: drawn digits and parts. */
#include "support/support.h"

#include "data/digits.h"
#include "data/load.h"
#include "data/locator.h"

#include <string.h>

static void test_locator_parse__reads_its_forms(void **state)
{
    (void)state;
    weft_locator l;
    assert_ok(weft_locator_parse(&l, "digits:7:500", &assert_err));
    assert_true(l.digits && l.seed == 7 && l.n == 500 && l.strength == 0.3F);
    assert_ok(weft_locator_parse(&l, "digits:7:500:0.5", &assert_err));
    assert_true(l.strength == 0.5F);
    assert_ok(weft_locator_parse(&l, "/data/mnist#3/8", &assert_err));
    assert_string_equal(l.path, "/data/mnist");
    assert_true(!l.digits && l.part == 3 && l.n_parts == 8);
    assert_ok(weft_locator_parse(&l, "/data/set #1.csv", &assert_err)); /* a name like others */
    assert_string_equal(l.path, "/data/set #1.csv");
    assert_int_equal(l.part, 0);
}

static void test_locator_parse__refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"digits:",
                                      "digits:1",
                                      "digits:1:0",
                                      "digits:x:5",
                                      "digits:1:5:2",
                                      "digits:1:5:",
                                      "a#0/8",
                                      "a#9/8",
                                      "a#1/100001",
                                      "#1/2",
                                      ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        weft_locator l;
        weft_err err = WEFT_ERR_INIT;
        assert_int_not_equal(weft_locator_parse(&l, bad[i], &err), WEFT_OK);
        assert_true(strlen(err.msg) > 10);
    }
}

/* The parts are disjoint, cover everything and hold whole examples: pixels and label together. */
static void test_locator_cut__parts_cover_the_whole(void **state)
{
    (void)state;
    uint64_t sum = 0;
    uint64_t whole = 0;
    uint32_t n = 0;
    for (uint32_t part = 0; part <= 3; part++) {
        weft_locator l = {.digits = true, .seed = 5, .n = 20, .part = part, .n_parts = 3};
        weft_data *d = NULL;
        assert_ok(weft_locator_draw(&d, &l, WEFT_SPLIT_TRAIN, &weft_alloc_std, &assert_err));
        assert_ok(weft_locator_cut(&d, &l, &weft_alloc_std, &assert_err));
        for (uint32_t i = 0; i < d->n; i++) {
            uint64_t pixels = 0;
            for (uint32_t k = 0; k < d->n_features; k++) {
                pixels = pixels * 31 + d->u8[(size_t)i * d->n_features + k];
            }
            *(part ? &sum : &whole) += pixels * (d->classes[i] + 1);
        }
        n += part ? d->n : 0;
        weft_data_free(d);
    }
    assert_int_equal(n, 20);
    assert_true(sum == whole);
}

static void test_data_load__draws_another_test_split(void **state)
{
    (void)state;
    weft_data *train = NULL;
    weft_data *test = NULL;
    assert_ok(weft_data_load(&train, "digits:9:10", WEFT_SPLIT_TRAIN, NULL, &weft_alloc_std,
                             &assert_err));
    assert_ok(
        weft_data_load(&test, "digits:9:10", WEFT_SPLIT_TEST, NULL, &weft_alloc_std, &assert_err));
    assert_memory_not_equal(train->u8, test->u8, (size_t)10 * WEFT_DIGITS_PIXELS);
    weft_data_free(train);
    weft_data_free(test);
}

static weft_status load_part(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_locator l = {.digits = true, .seed = 5, .n = 20, .part = 2, .n_parts = 3};
    weft_data *d = NULL;
    weft_status status = weft_locator_draw(&d, &l, WEFT_SPLIT_TRAIN, a, NULL);
    if (status == WEFT_OK) {
        status = weft_locator_cut(&d, &l, a, NULL);
    }
    weft_data_free(d);
    return status;
}

static void test_locator_cut__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(load_part, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locator_parse__reads_its_forms),
        cmocka_unit_test(test_locator_parse__refuses),
        cmocka_unit_test(test_locator_cut__parts_cover_the_whole),
        cmocka_unit_test(test_data_load__draws_another_test_split),
        cmocka_unit_test(test_locator_cut__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
