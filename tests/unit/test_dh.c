/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/dh: X25519 against the vectors of RFC 7748, and every point of low order. */
#include "support/support.h"

#include "base/buf.h"
#include "crypto/dh.h"

#include <string.h>

static void unhex(uint8_t out[32], const char *text)
{
    assert_true(weft_hex_decode(out, 32, text, 64));
}

static weft_dh_key *key_of(const char *text)
{
    uint8_t secret[32];
    weft_dh_key *key = NULL;
    unhex(secret, text);
    assert_int_equal(weft_dh_key_new(&key, secret, &weft_alloc_std, NULL), WEFT_OK);
    return key;
}

/* RFC 7748, section 5.2: scalar, u-coordinate, product */
static const char *const products[][3] = {
    {"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
     "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
     "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
    {"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
     "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
     "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
};

static void test_agree__rfc7748(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint8_t point[32];
        uint8_t want[32];
        uint8_t out[32];
        weft_dh_key *key = key_of(products[i][0]);
        unhex(point, products[i][1]);
        unhex(want, products[i][2]);
        assert_int_equal(weft_dh_agree(out, key, point, NULL), WEFT_OK);
        assert_memory_equal(out, want, 32);
        weft_dh_key_free(key);
    }
}

/* RFC 7748, section 6.1 */
static void test_agree__alice_and_bob(void **state)
{
    (void)state;
    weft_dh_key *alice = key_of("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    weft_dh_key *bob = key_of("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    uint8_t want[32];
    uint8_t out[32];
    unhex(want, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    assert_memory_equal(weft_dh_key_public(alice), want, 32);
    unhex(want, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    assert_memory_equal(weft_dh_key_public(bob), want, 32);
    unhex(want, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_int_equal(weft_dh_agree(out, alice, weft_dh_key_public(bob), NULL), WEFT_OK);
    assert_memory_equal(out, want, 32);
    assert_int_equal(weft_dh_agree(out, bob, weft_dh_key_public(alice), NULL), WEFT_OK);
    assert_memory_equal(out, want, 32);
    weft_dh_key_free(alice);
    weft_dh_key_free(bob);
    weft_dh_key_free(NULL);
}

/* Orders 4, 1, 8, 8, 2, and the other encodings of the first two. */
static const char *const low[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static void test_agree__refuses_points_of_low_order(void **state)
{
    (void)state;
    weft_dh_key *key = key_of("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    static const uint8_t zeros[32];
    uint8_t point[32];
    uint8_t out[32];
    for (size_t i = 0; i < sizeof low / sizeof low[0]; i++) {
        unhex(point, low[i]);
        for (int high = 0; high < 2; high++) {
            point[31] = (uint8_t)((point[31] & 0x7f) | high << 7); /* does not count */
            memset(out, 0xff, sizeof out);
            assert_true(weft_dh_low_order(point));
            assert_int_equal(weft_dh_agree(out, key, point, NULL), WEFT_E_AUTH);
            assert_memory_equal(out, zeros, 32);
        }
        point[0] ^= 4; /* a neighbour of it is an ordinary point */
        assert_false(weft_dh_low_order(point));
        assert_int_equal(weft_dh_agree(out, key, point, NULL), WEFT_OK);
    }
    weft_dh_key_free(key);
}

static weft_status try_key(const weft_alloc *a, void *arg)
{
    weft_dh_key *key = NULL;
    WEFT_TRY(weft_dh_key_new(&key, arg, a, NULL));
    weft_dh_key_free(key);
    return WEFT_OK;
}

static void test_key_new__every_allocation_may_fail(void **state)
{
    (void)state;
    uint8_t secret[32] = {7};
    test_every_allocation_may_fail(try_key, secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agree__rfc7748),
        cmocka_unit_test(test_agree__alice_and_bob),
        cmocka_unit_test(test_agree__refuses_points_of_low_order),
        cmocka_unit_test(test_key_new__every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("dh", tests, NULL, NULL);
}
