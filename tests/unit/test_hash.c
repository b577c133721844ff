/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/hash: SHA-256 and HMAC against NIST's and the RFC's vectors, and the care of secrets. */
#include "support/support.h"

#include "base/buf.h"
#include "crypto/hash.h"

#include <stdlib.h>
#include <string.h>

static void assert_hex(const uint8_t *bytes, size_t n, const char *hex)
{
    char text[2 * 64 + 1];
    assert_true(n <= 64);
    weft_hex_encode(text, bytes, n);
    assert_string_equal(text, hex);
}

/* NIST, "Secure Hashing" examples and the SHA test vectors for hashing byte-oriented messages. */
static const struct {
    const char *text;
    const char *digest;
} sha_vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr"
     "lmnopqrsmnopqrstnopqrstu",
     "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
};

static void test_sha256__nist_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sha_vectors / sizeof sha_vectors[0]; i++) {
        uint8_t out[WEFT_SHA256_BYTES];
        assert_int_equal(weft_sha256(out, sha_vectors[i].text, strlen(sha_vectors[i].text), NULL),
                         WEFT_OK);
        assert_hex(out, sizeof out, sha_vectors[i].digest);
    }
    uint8_t out[WEFT_SHA256_BYTES];
    assert_int_equal(weft_sha256(out, NULL, 0, NULL), WEFT_OK);
    assert_hex(out, sizeof out, sha_vectors[0].digest);
}

/* One million times "a", in pieces of every size up to 999: the pieces do not matter. */
static void test_hash_add__million_letters_in_uneven_pieces(void **state)
{
    (void)state;
    char block[1000];
    memset(block, 'a', sizeof block);
    weft_hash *hash = NULL;
    assert_int_equal(weft_hash_new(&hash, &weft_alloc_std, NULL), WEFT_OK);
    size_t left = 1000000;
    for (size_t n = 0; left > 0; n = (n + 7) % sizeof block) {
        const size_t take = n < left ? n : left;
        assert_int_equal(weft_hash_add(hash, block, take, NULL), WEFT_OK);
        left -= take;
    }
    uint8_t out[WEFT_SHA256_BYTES];
    assert_int_equal(weft_hash_finish(out, hash, NULL), WEFT_OK);
    assert_hex(out, sizeof out, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    /* and it starts over */
    assert_int_equal(weft_hash_add(hash, "abc", 3, NULL), WEFT_OK);
    assert_int_equal(weft_hash_finish(out, hash, NULL), WEFT_OK);
    assert_hex(out, sizeof out, sha_vectors[1].digest);
    weft_hash_free(hash);
}

static weft_status try_hash(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_hash *hash = NULL;
    WEFT_TRY(weft_hash_new(&hash, a, NULL));
    weft_hash_free(hash);
    return WEFT_OK;
}

static void test_hash_new__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(try_hash, NULL);
    weft_hash_free(NULL);
}

/* RFC 4231, test cases 1 to 4, 6 and 7 (5 is about truncation). */
static const struct {
    const char *key; /* hexadecimal; "*aa131" = 131 times 0xaa */
    const char *data;
    const char *mac;
} hmac_vectors[] = {
    {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {"4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
     "ddd"
     "dddd",
     "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
    {"0102030405060708090a0b0c0d0e0f10111213141516171819",
     "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdc"
     "dcd"
     "cdcd",
     "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
    {"*",
     "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d20486173682"
     "04b6579204669727374",
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    {"*",
     "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b2d73697a65206"
     "b"
     "657920616e642061206c6172676572207468616e20626c6f636b2d73697a6520646174612e20546865206b6579206"
     "e"
     "6565647320746f20626520686173686564206265666f7265206265696e6720757365642062792074686520484d414"
     "3"
     "20616c676f726974686d2e",
     "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
};

static void test_hmac_sha256__rfc4231(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hmac_vectors / sizeof hmac_vectors[0]; i++) {
        uint8_t key[131];
        size_t key_n = sizeof key;
        memset(key, 0xaa, sizeof key);
        if (hmac_vectors[i].key[0] != '*') {
            key_n = strlen(hmac_vectors[i].key) / 2;
            assert_true(weft_hex_decode(key, key_n, hmac_vectors[i].key, 2 * key_n));
        }
        uint8_t data[200];
        const size_t n = strlen(hmac_vectors[i].data) / 2;
        assert_true(weft_hex_decode(data, n, hmac_vectors[i].data, 2 * n));
        uint8_t out[WEFT_SHA256_BYTES];
        assert_int_equal(weft_hmac_sha256(out, key, key_n, data, n, NULL), WEFT_OK);
        assert_hex(out, sizeof out, hmac_vectors[i].mac);
    }
}

/* The MAC of nothing under no key, a well-known value. */
static void test_hmac_sha256__empty_key_and_data(void **state)
{
    (void)state;
    uint8_t out[WEFT_SHA256_BYTES];
    assert_int_equal(weft_hmac_sha256(out, NULL, 0, NULL, 0, NULL), WEFT_OK);
    assert_hex(out, sizeof out, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_equal_secret__every_bit_counts(void **state)
{
    (void)state;
    uint8_t a[32];
    uint8_t b[32];
    memset(a, 7, sizeof a);
    memcpy(b, a, sizeof b);
    assert_true(weft_equal_secret(a, b, sizeof a));
    for (size_t bit = 0; bit < 8 * sizeof a; bit++) {
        b[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(weft_equal_secret(a, b, sizeof a));
        b[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_true(weft_equal_secret(a, "", 0));
}

static void test_wipe__leaves_zeros_and_no_more(void **state)
{
    (void)state;
    uint8_t secret[10];
    memset(secret, 0xee, sizeof secret);
    weft_wipe(secret + 1, 8);
    const uint8_t want[10] = {0xee, 0, 0, 0, 0, 0, 0, 0, 0, 0xee};
    assert_memory_equal(secret, want, sizeof want);
    weft_wipe(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256__nist_vectors),
        cmocka_unit_test(test_hash_add__million_letters_in_uneven_pieces),
        cmocka_unit_test(test_hash_new__every_allocation_may_fail),
        cmocka_unit_test(test_hmac_sha256__rfc4231),
        cmocka_unit_test(test_hmac_sha256__empty_key_and_data),
        cmocka_unit_test(test_equal_secret__every_bit_counts),
        cmocka_unit_test(test_wipe__leaves_zeros_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
