/* SPDX-License-Identifier: Apache-2.0 */
/* secagg/params: the published table of graph parameters, and what is refused. */
#include "support/support.h"

#include "secagg/params.h"

#include <math.h>
#include <string.h>

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

/* ---- against brute force --------------------------------------------------------------------- */

enum { MOST = 13 };

/* Every subset of n things is looked at: how many of size k have x of the first a. */
static uint32_t subsets[MOST + 1][MOST + 1][MOST + 1]; /* [a][k][x] */

static void count_subsets(uint32_t n)
{
    memset(subsets, 0, sizeof subsets);
    for (uint32_t mask = 0; mask < 1U << n; mask++) {
        for (uint32_t a = 0; a <= n; a++) {
            const int k = __builtin_popcount(mask);
            subsets[a][k][__builtin_popcount(mask & ((1U << a) - 1U))]++;
        }
    }
}

/* P[from <= X <= to] where k of n are drawn, a of them marked. */
static double drawn(uint32_t a, uint32_t k, uint32_t from, uint32_t to)
{
    uint32_t all = 0;
    uint32_t in = 0;
    for (uint32_t x = 0; x <= k; x++) {
        all += subsets[a][k][x];
        in += x >= from && x <= to ? subsets[a][k][x] : 0;
    }
    return (double)in / all;
}

typedef struct case_of {
    uint32_t n;
    double gamma, delta, sigma, eta;
    weft_secagg_adversary adversary;
} case_of;

/* The rules of the search as they are written, with probabilities that were counted. */
static bool brute(uint32_t *ret_k, uint32_t *ret_t, const case_of *c)
{
    const uint32_t a = (uint32_t)floor(c->gamma * c->n);
    const uint32_t b = a + (uint32_t)floor(c->delta * c->n);
    const uint32_t present = (uint32_t)ceil((1.0 - c->delta) * c->n);
    const double bound = exp2(-(c->sigma + 1.0));
    for (uint32_t k = 2; k + 1 < c->n; k += 2) {
        /* k given ones, between two parts of the ring, are all among the b that are lost */
        const double apart = k > b ? 0.0 : c->n * (c->n - k - 1.0) / 2.0 * drawn(k, b, k, k);
        uint32_t t1 = 0;
        while (drawn(a, k, t1 + 1, k) > bound / c->n) {
            t1++;
        }
        uint32_t t2 = 0;
        while (t2 < k && drawn(present, k, 0, t2) <= exp2(-c->eta) / c->n) {
            t2++;
        }
        if (c->adversary == WEFT_SECAGG_ACTIVE) {
            t1 = (uint32_t)ceil((t1 + k - 1.25) / 2.0);
        }
        if (apart < bound && t2 > t1) {
            *ret_k = k;
            *ret_t = t1 + 1 < 2 ? 2 : t1 + 1;
            return true;
        }
    }
    return false;
}

static void test_search__agrees_with_brute_force(void **state)
{
    (void)state;
    const double fractions[] = {0.0, 0.05, 0.1, 0.17, 0.25, 0.33};
    const double sigmas[] = {0.3, 2.3, 5.7, 11.1};
    const double etas[] = {0.1, 1.3, 4.9};
    const size_t n_fractions = sizeof fractions / sizeof *fractions;
    uint32_t n_found = 0;
    uint32_t n_none = 0;
    for (uint32_t n = 4; n <= MOST; n++) {
        count_subsets(n);
        for (uint32_t i = 0; i < n_fractions * n_fractions * 4 * 3 * 2; i++) {
            const case_of c = {.n = n,
                               .gamma = fractions[i % n_fractions],
                               .delta = fractions[i / n_fractions % n_fractions],
                               .sigma = sigmas[i / (n_fractions * n_fractions) % 4],
                               .eta = etas[i / (n_fractions * n_fractions * 4) % 3],
                               .adversary = i >= n_fractions * n_fractions * 4 * 3
                                                ? WEFT_SECAGG_ACTIVE
                                                : WEFT_SECAGG_CURIOUS};
            uint32_t k = 0;
            uint32_t t = 0;
            uint32_t want_k = 0;
            uint32_t want_t = 0;
            const bool found =
                weft_secagg_graph_search(&k, &t, n, c.gamma, c.delta, c.adversary, c.sigma, c.eta);
            assert_int_equal(brute(&want_k, &want_t, &c), found);
            assert_int_equal(k, want_k);
            assert_int_equal(t, want_t);
            n_found += found;
            n_none += !found;
        }
    }
    assert_true(n_found > 500 && n_none > 500); /* both were tried */
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
        cmocka_unit_test(test_search__agrees_with_brute_force),
        cmocka_unit_test(test_find__complete_graphs),
        cmocka_unit_test(test_find__refuses),
    };
    return cmocka_run_group_tests_name("secagg_params", tests, NULL, NULL);
}
