/* SPDX-License-Identifier: Apache-2.0 */
/* secagg/params: the published table of graph parameters, and what is refused. */
#include "support/support.h"

#include "secagg/params.h"

/* google-parfait/federated-compute, sigma 40, eta 20: n = 10^2 .. 10^6 as k, t */
static const struct {
    double gamma, delta;
    weft_secagg_adversary adversary;
    uint32_t want[5][2];
} published[] = {
    {.05, .05, WEFT_SECAGG_CURIOUS, {{12, 6}, {30, 17}, {34, 20}, {36, 21}, {38, 22}}},
    {.05, .05, WEFT_SECAGG_ACTIVE, {{16, 11}, {52, 37}, {62, 44}, {68, 48}, {74, 52}}},
    {.33, .05, WEFT_SECAGG_ACTIVE, {{42, 37}, {132, 109}, {178, 146}, {196, 160}, {212, 173}}},
    {.33, .33, WEFT_SECAGG_CURIOUS, {{68, 34}, {286, 150}, {422, 221}, {480, 251}, {518, 270}}},
};

static void test_search__published_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        uint32_t n = 100;
        for (size_t j = 0; j < 5; j++, n *= 10) {
            uint32_t k = 0;
            uint32_t t = 0;
            assert_true(weft_secagg_graph_search(&k, &t, n, published[i].gamma, published[i].delta,
                                                 published[i].adversary, 40.0, 20.0));
            assert_int_equal(k, published[i].want[j][0]);
            assert_int_equal(t, published[i].want[j][1]);
        }
    }
}

static void test_find__complete_graphs(void **state)
{
    (void)state;
    weft_secagg_policy policy = WEFT_SECAGG_POLICY_INIT;
    weft_secagg_params p;
    assert_int_equal(weft_secagg_params_find(&p, 4, &policy, NULL), WEFT_OK);
    assert_true(p.complete && p.k == 3 && p.t == 3 && p.dropouts == 0);
    for (uint32_t n = 3; n <= 64; n++) {
        assert_int_equal(weft_secagg_params_find(&p, n, &policy, NULL), WEFT_OK);
        assert_true(p.complete && p.k == n - 1 && p.t >= 2 && p.t <= p.k);
        /* the two kinds of share of one client can never both come out */
        assert_true(2 * p.t > p.k + p.colluders);
    }
    assert_int_equal(weft_secagg_params_find(&p, 65, &policy, NULL), WEFT_OK);
    assert_false(p.complete);
    policy.min_colluders = 3;
    assert_int_equal(weft_secagg_params_find(&p, 4, &policy, NULL), WEFT_E_LIMIT);
}

static void test_find__refuses(void **state)
{
    (void)state;
    weft_secagg_policy policy = WEFT_SECAGG_POLICY_INIT;
    weft_secagg_params p;
    assert_int_equal(weft_secagg_params_find(&p, 2, &policy, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_secagg_params_find(&p, WEFT_MAX_COHORT + 1, &policy, NULL),
                     WEFT_E_INVALID);
    policy.gamma = 0.33;
    policy.delta = 0.25; /* k above 254 */
    assert_int_equal(weft_secagg_params_find(&p, 10000, &policy, NULL), WEFT_E_LIMIT);
    policy.delta = 0.3; /* 0.33 + 2 * 0.3 > 0.9 */
    assert_int_equal(weft_secagg_params_find(&p, 100, &policy, NULL), WEFT_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search__published_table),
        cmocka_unit_test(test_find__complete_graphs),
        cmocka_unit_test(test_find__refuses),
    };
    return cmocka_run_group_tests_name("secagg_params", tests, NULL, NULL);
}
