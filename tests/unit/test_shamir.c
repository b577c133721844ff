/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/shamir: the field, sharing, and decoding with wrong shares, which are named. */
#include "support/support.h"

#include "base/rng.h"
#include "crypto/shamir.h"

#include <string.h>

enum { MOST = WEFT_SHAMIR_MAX_SHARES, BYTES = 70 };

/* The schoolbook: carry-less product, then the remainder by x^8 + x^4 + x^3 + x + 1. */
static uint8_t slow_mul(uint8_t a, uint8_t b)
{
    unsigned p = 0;
    for (unsigned i = 0; i < 8; i++) {
        p ^= b >> i & 1U ? (unsigned)a << i : 0U;
    }
    for (unsigned i = 15; i-- > 8;) {
        p ^= p >> i & 1U ? 0x11bU << (i - 8) : 0U;
    }
    return (uint8_t)p;
}

static void test_field__all_products_and_inverses(void **state)
{
    (void)state;
    assert_int_equal(weft_gf256_mul(0x57, 0x83), 0xc1); /* FIPS 197, section 4.2 */
    assert_int_equal(weft_gf256_mul(0x57, 0x13), 0xfe); /* FIPS 197, section 4.2.1 */
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            assert_int_equal(weft_gf256_mul((uint8_t)a, (uint8_t)b),
                             slow_mul((uint8_t)a, (uint8_t)b));
        }
        assert_int_equal(weft_gf256_mul((uint8_t)a, weft_gf256_inv((uint8_t)a)), a ? 1 : 0);
    }
}

typedef struct sharing {
    weft_rng rng;
    unsigned m, t;
    size_t n;
    uint8_t x[MOST];
    uint8_t poly[MOST * BYTES];
    uint8_t shares[MOST * BYTES];
} sharing;

static void make(sharing *s, uint64_t seed, unsigned m, unsigned t, size_t n)
{
    weft_rng_init(&s->rng, seed, 0);
    s->m = m;
    s->t = t;
    s->n = n;
    uint32_t order[MOST];
    for (uint32_t i = 0; i < MOST; i++) {
        order[i] = i + 1;
    }
    weft_rng_shuffle(&s->rng, order, MOST);
    for (size_t i = 0; i < t * n; i++) {
        s->poly[i] = (uint8_t)weft_rng_u64(&s->rng);
    }
    for (unsigned i = 0; i < m; i++) {
        s->x[i] = (uint8_t)order[i];
        weft_shamir_share(s->shares + i * n, s->x[i], s->poly, t, n);
    }
}

/* a + b x + c x^2 by hand, then every threshold up to the largest */
static void test_share__is_the_polynomial(void **state)
{
    (void)state;
    const uint8_t poly[3] = {0x53, 0xca, 0x07};
    uint8_t share = 0;
    weft_shamir_share(&share, 9, poly, 3, 1);
    assert_int_equal(share, 0x53 ^ slow_mul(0xca, 9) ^ slow_mul(0x07, slow_mul(9, 9)));
    static sharing s;
    uint8_t out[BYTES];
    for (unsigned t = 1; t <= MOST; t += t < 6 ? 1 : 31) {
        make(&s, t, MOST, t, BYTES);
        assert_int_equal(weft_shamir_combine(out, s.n, s.x, s.shares, s.n, t, NULL), WEFT_OK);
        assert_memory_equal(out, s.poly, s.n);
        /* any t of them: the last ones */
        const unsigned first = MOST - t;
        assert_int_equal(
            weft_shamir_combine(out, s.n, s.x + first, s.shares + first * s.n, s.n, t, NULL),
            WEFT_OK);
        assert_memory_equal(out, s.poly, s.n);
    }
}

/* With t - 1 shares every secret is equally possible: each byte has exactly one polynomial. */
static void test_share__one_too_few_says_nothing(void **state)
{
    (void)state;
    bool seen[256] = {false};
    const uint8_t known[2] = {0x11, 0xa7}; /* shares 1 and 2 of a threshold of three */
    for (unsigned third = 0; third < 256; third++) {
        const uint8_t shares[3] = {known[0], known[1], (uint8_t)third};
        uint8_t secret = 0;
        assert_int_equal(
            weft_shamir_combine(&secret, 1, (const uint8_t[]){1, 2, 3}, shares, 1, 3, NULL),
            WEFT_OK);
        assert_false(seen[secret]);
        seen[secret] = true;
    }
}

static void test_combine__refuses_points(void **state)
{
    (void)state;
    uint8_t out = 0;
    const uint8_t shares[3] = {1, 2, 3};
    assert_int_equal(weft_shamir_combine(&out, 1, (const uint8_t[]){1, 2, 1}, shares, 1, 3, NULL),
                     WEFT_E_INVALID);
    assert_int_equal(weft_shamir_combine(&out, 1, (const uint8_t[]){1, 0, 3}, shares, 1, 3, NULL),
                     WEFT_E_INVALID);
    assert_int_equal(weft_shamir_combine(&out, 1, (const uint8_t[]){1}, shares, 1, 0, NULL),
                     WEFT_E_INVALID);
}

/* Every number of wrong shares up to the bound is corrected and named; one more is not believed. */
static void test_correct__names_the_liars(void **state)
{
    (void)state;
    static const struct {
        unsigned m, t;
    } cases[] = {{3, 1}, {4, 3}, {7, 3}, {15, 11}, {36, 20}, {100, 60}, {254, 171}, {255, 1}};
    static sharing s;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const unsigned most = (cases[c].m - cases[c].t) / 2;
        for (unsigned wrong = 0; wrong <= most; wrong += wrong < 3 ? 1 : (most - wrong) / 3 + 1) {
            make(&s, 100 * c + wrong, cases[c].m, cases[c].t, 8);
            bool lies[MOST] = {false};
            for (unsigned i = 0; i < wrong; i++) {
                const unsigned who = (i * 7 + 3) % s.m;
                unsigned free = who;
                while (lies[free]) {
                    free = (free + 1) % s.m;
                }
                lies[free] = true;
                s.shares[free * s.n + i % s.n] ^= (uint8_t)(i + 1); /* one byte of it is enough */
            }
            uint8_t out[BYTES];
            bool bad[MOST];
            assert_int_equal(weft_shamir_correct(out, bad, s.n, s.x, s.shares, s.n, s.m, s.t, NULL),
                             WEFT_OK);
            assert_memory_equal(out, s.poly, s.n);
            for (unsigned i = 0; i < s.m; i++) {
                assert_int_equal(bad[i], lies[i]);
            }
        }
    }
}

static void test_correct__one_too_many_is_noticed(void **state)
{
    (void)state;
    static sharing s;
    unsigned refused = 0;
    for (unsigned trial = 0; trial < 50; trial++) {
        make(&s, 5000 + trial, 20, 11, 4);
        for (unsigned i = 0; i < 5; i++) { /* 4 can be corrected */
            for (size_t b = 0; b < s.n; b++) {
                s.shares[i * s.n + b] ^= (uint8_t)(1 + weft_rng_below(&s.rng, 255));
            }
        }
        uint8_t out[BYTES];
        bool bad[MOST];
        const weft_status status =
            weft_shamir_correct(out, bad, s.n, s.x, s.shares, s.n, s.m, s.t, NULL);
        refused += status == WEFT_E_AUTH;
        /* where it is not noticed, the secret is wrong, which the commitment shows */
        assert_true(status == WEFT_E_AUTH || memcmp(out, s.poly, s.n) != 0);
    }
    assert_true(refused > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_field__all_products_and_inverses),
        cmocka_unit_test(test_share__is_the_polynomial),
        cmocka_unit_test(test_share__one_too_few_says_nothing),
        cmocka_unit_test(test_combine__refuses_points),
        cmocka_unit_test(test_correct__names_the_liars),
        cmocka_unit_test(test_correct__one_too_many_is_noticed),
    };
    return cmocka_run_group_tests_name("shamir", tests, NULL, NULL);
}
