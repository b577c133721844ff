/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/kdf: HKDF-SHA256 against the vectors of RFC 5869, appendix A. */
#include "support/support.h"

#include "base/buf.h"
#include "crypto/kdf.h"

#include <string.h>

static const struct {
    const char *secret, *salt, *info, *key;
} vectors[] = {
    /* A.1 */
    {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
     "f0f1f2f3f4f5f6f7f8f9",
     "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
    /* A.2 */
    {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d"
     "2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
     "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d"
     "8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
     "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdd"
     "dedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
     "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e59"
     "0e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
    /* A.3 */
    {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
     "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
};

static size_t unhex(uint8_t *out, const char *text)
{
    const size_t n = strlen(text) / 2;
    assert_true(weft_hex_decode(out, n, text, 2 * n));
    return n;
}

static void test_hkdf__rfc5869(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint8_t secret[80];
        uint8_t salt[80];
        uint8_t info[80];
        uint8_t want[82];
        uint8_t key[82];
        const size_t secret_n = unhex(secret, vectors[i].secret);
        const size_t salt_n = unhex(salt, vectors[i].salt);
        const size_t info_n = unhex(info, vectors[i].info);
        const size_t n = unhex(want, vectors[i].key);
        assert_int_equal(
            weft_hkdf_sha256(key, n, secret, secret_n, salt, salt_n, info, info_n, NULL), WEFT_OK);
        assert_memory_equal(key, want, n);
        /* another purpose, another key */
        info[0] ^= 1;
        assert_int_equal(weft_hkdf_sha256(key, n, secret, secret_n, salt, salt_n, info,
                                          info_n ? info_n : 1, NULL),
                         WEFT_OK);
        assert_memory_not_equal(key, want, n);
    }
}

static void test_hkdf__refuses_lengths(void **state)
{
    (void)state;
    static uint8_t out[WEFT_HKDF_MAX_BYTES + 1];
    static const uint8_t info[1025];
    const uint8_t one = 1;
    assert_int_equal(weft_hkdf_sha256(out, 0, &one, 1, NULL, 0, "", 0, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_hkdf_sha256(out, 32, &one, 0, NULL, 0, "", 0, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_hkdf_sha256(out, sizeof out, &one, 1, NULL, 0, "", 0, NULL),
                     WEFT_E_INVALID);
    assert_int_equal(weft_hkdf_sha256(out, 32, &one, 1, NULL, 0, info, 1025, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_hkdf_sha256(out, 32, &one, 1, NULL, 0, info, 1024, NULL), WEFT_OK);
    assert_int_equal(weft_hkdf_sha256(out, WEFT_HKDF_MAX_BYTES, &one, 1, NULL, 0, "", 0, NULL),
                     WEFT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hkdf__rfc5869),
        cmocka_unit_test(test_hkdf__refuses_lengths),
    };
    return cmocka_run_group_tests_name("kdf", tests, NULL, NULL);
}
