/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/sign: Ed25519 against RFC 8032's vectors, PEM texts, refusals; crypto/receipt. */
#include "support/support.h"

#include "base/buf.h"
#include "crypto/cert.h"
#include "crypto/receipt.h"
#include "crypto/sign.h"

#include <string.h>

/* RFC 8032, 7.1, TEST 1 to 3 and TEST SHA(abc). */
static const struct {
    const char *seed;
    const char *public_key;
    const char *message;
    const char *signature;
} vectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b"
     "4"
     "6bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11"
     "d"
     "8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc"
     "6"
     "594a7c15e9716ed28dc027beceea1ec40a"},
    {"833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
     "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3fee"
     "bb"
     "d454d4423643ce80e2a9ac94fa54ca49f",
     "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e"
     "0"
     "303dca179c138ac17ad9bef1177331a704"},
};

enum { N_VECTORS = sizeof vectors / sizeof vectors[0] };

static size_t bytes_of(uint8_t *out, const char *hex)
{
    const size_t n = strlen(hex) / 2;
    assert_true(weft_hex_decode(out, n, hex, 2 * n));
    return n;
}

static void test_sign__rfc8032(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_VECTORS; i++) {
        uint8_t seed[32];
        uint8_t message[64];
        uint8_t want[64];
        uint8_t got[64];
        weft_sign_key key;
        assert_int_equal(bytes_of(seed, vectors[i].seed), 32);
        assert_int_equal(weft_sign_key_from_seed(&key, seed, NULL), WEFT_OK);
        assert_int_equal(bytes_of(want, vectors[i].public_key), 32);
        assert_memory_equal(key.public_key, want, 32);
        const size_t n = bytes_of(message, vectors[i].message);
        assert_int_equal(weft_sign(got, &key, message, n, NULL), WEFT_OK);
        assert_int_equal(bytes_of(want, vectors[i].signature), 64);
        assert_memory_equal(got, want, 64);
        assert_int_equal(weft_sign_verify(key.public_key, message, n, got, NULL), WEFT_OK);
        weft_sign_key_done(&key);
        const uint8_t zero[sizeof key] = {0};
        assert_memory_equal(&key, zero, sizeof key);
    }
}

static weft_sign_key make_key(uint8_t fill)
{
    uint8_t seed[32];
    memset(seed, fill, sizeof seed);
    weft_sign_key key;
    assert_int_equal(weft_sign_key_from_seed(&key, seed, NULL), WEFT_OK);
    return key;
}

static void test_sign_verify__every_bit_of_signature_and_message_counts(void **state)
{
    (void)state;
    const weft_sign_key key = make_key(1);
    const weft_sign_key other = make_key(2);
    uint8_t message[5] = "hello";
    uint8_t signature[64];
    assert_int_equal(weft_sign(signature, &key, message, sizeof message, NULL), WEFT_OK);
    for (size_t bit = 0; bit < 8 * sizeof signature; bit++) {
        signature[bit / 8] ^= (uint8_t)(1U << bit % 8);
        weft_err err = WEFT_ERR_INIT;
        assert_int_equal(weft_sign_verify(key.public_key, message, sizeof message, signature, &err),
                         WEFT_E_AUTH);
        assert_string_equal(err.msg, "the signature does not hold");
        signature[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * sizeof message; bit++) {
        message[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(weft_sign_verify(key.public_key, message, sizeof message, signature, NULL),
                         WEFT_E_AUTH);
        message[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_int_equal(weft_sign_verify(other.public_key, message, sizeof message, signature, NULL),
                     WEFT_E_AUTH);
    assert_int_equal(weft_sign_verify(key.public_key, message, sizeof message - 1, signature, NULL),
                     WEFT_E_AUTH);
    assert_int_equal(weft_sign_verify(key.public_key, message, sizeof message, signature, NULL),
                     WEFT_OK);
}

static weft_status no_entropy(void *self, void *out, size_t n, weft_err *err)
{
    (void)self;
    (void)out;
    WEFT_FAIL(err, WEFT_E_IO, "no %zu random bytes today", n);
}

static void test_sign_key_generate__differs_and_reports_entropy(void **state)
{
    (void)state;
    weft_sign_key a;
    weft_sign_key b;
    assert_int_equal(weft_sign_key_generate(&a, &weft_entropy_system, NULL), WEFT_OK);
    assert_int_equal(weft_sign_key_generate(&b, &weft_entropy_system, NULL), WEFT_OK);
    assert_memory_not_equal(&a, &b, sizeof a);
    const weft_entropy broken = {no_entropy, NULL};
    weft_err err = WEFT_ERR_INIT;
    const weft_sign_key before = a;
    assert_int_equal(weft_sign_key_generate(&a, &broken, &err), WEFT_E_IO);
    assert_string_equal(err.msg, "no 32 random bytes today");
    assert_memory_equal(&a, &before, sizeof a);
}

/* The PKCS#8 text of a known key: RFC 8410, 10.3. */
static const char rfc8410_private[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
    "-----END PRIVATE KEY-----\n";
static const char rfc8410_public[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
    "-----END PUBLIC KEY-----\n";

static void test_sign_pem__is_rfc8410_both_ways(void **state)
{
    (void)state;
    weft_sign_key key;
    assert_int_equal(weft_sign_key_from_pem(&key, rfc8410_private, strlen(rfc8410_private), NULL),
                     WEFT_OK);
    uint8_t public_key[32];
    assert_int_equal(
        weft_sign_public_from_pem(public_key, rfc8410_public, strlen(rfc8410_public), NULL),
        WEFT_OK);
    assert_memory_equal(public_key, key.public_key, 32);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 4096);
    assert_int_equal(weft_sign_key_to_pem(&b, &key, NULL), WEFT_OK);
    assert_string_equal(weft_buf_text(&b), rfc8410_private);
    weft_buf_clear(&b);
    assert_int_equal(weft_sign_public_to_pem(&b, key.public_key, NULL), WEFT_OK);
    assert_string_equal(weft_buf_text(&b), rfc8410_public);
    weft_buf_done(&b);
}

static void assert_refused(const char *pem, size_t n, weft_status want, const char *words)
{
    weft_sign_key key;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_sign_key_from_pem(&key, pem, n, &err), want);
    if (!strstr(err.msg, words)) {
        fail_msg("'%s' does not say '%s'", err.msg, words);
    }
}

static void test_sign_key_from_pem__says_what_is_wrong(void **state)
{
    (void)state;
    assert_refused("", 0, WEFT_E_FORMAT, "empty PEM");
    assert_refused("garbage", 7, WEFT_E_FORMAT, "no PEM private key");
    assert_refused(rfc8410_public, strlen(rfc8410_public), WEFT_E_FORMAT, "no PEM private key");
    assert_refused(rfc8410_private, strlen(rfc8410_private) - 30, WEFT_E_FORMAT, "no PEM private");
    static const char encrypted[] =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
        "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgAAAAAAAAAAAICCAAw\n"
        "-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_refused(encrypted, strlen(encrypted), WEFT_E_FORMAT, "encrypted");
    static char big[WEFT_MAX_PEM_BYTES + 1];
    memset(big, '\n', sizeof big);
    memcpy(big, rfc8410_private, strlen(rfc8410_private));
    assert_refused(big, sizeof big, WEFT_E_LIMIT, "65537 bytes"); /* one above */
    weft_sign_key key;
    assert_int_equal(weft_sign_key_from_pem(&key, big, sizeof big - 1, NULL), WEFT_OK); /* at */
    uint8_t public_key[32];
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(
        weft_sign_public_from_pem(public_key, rfc8410_private, strlen(rfc8410_private), &err),
        WEFT_E_FORMAT);
    assert_non_null(strstr(err.msg, "no PEM public key"));
}

static void test_sign_key_from_pem__names_the_type_it_got(void **state)
{
    (void)state;
    weft_key *transport = NULL;
    assert_int_equal(weft_key_generate(&transport, &weft_alloc_std, NULL), WEFT_OK);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 4096);
    assert_int_equal(weft_key_to_pem(&b, transport, NULL), WEFT_OK);
    assert_refused((const char *)b.data, b.size, WEFT_E_FORMAT,
                   "the key is of type EC, wanted is ED25519");
    weft_buf_done(&b);
    weft_key_free(transport);
}

static weft_status try_pem(const weft_alloc *a, void *arg)
{
    const weft_sign_key *key = arg;
    weft_buf b;
    weft_buf_init(&b, a, 4096);
    weft_status status = weft_sign_key_to_pem(&b, key, NULL);
    if (status == WEFT_OK) {
        status = weft_sign_public_to_pem(&b, key->public_key, NULL);
    }
    weft_buf_done(&b);
    return status;
}

static void test_sign_key_to_pem__every_allocation_may_fail(void **state)
{
    (void)state;
    weft_sign_key key = make_key(3);
    test_every_allocation_may_fail(try_pem, &key);
}

/* ---- receipts ------------------------------------------------------------------------------- */

static weft_receipt_fields receipt(void)
{
    weft_receipt_fields f = {
        .assignment_id = 7, .round = 3, .n_examples = 600, .accepted_unix_ms = 1700000000000};
    memcpy(f.job, "digits", sizeof "digits");
    memcpy(f.client, "clinic-1", sizeof "clinic-1");
    memset(f.update_digest, 0x5a, sizeof f.update_digest);
    return f;
}

static void test_receipt__every_field_is_signed(void **state)
{
    (void)state;
    const weft_sign_key key = make_key(4);
    const weft_receipt_fields f = receipt();
    uint8_t signature[64];
    assert_int_equal(weft_receipt_sign(signature, &key, &f, NULL), WEFT_OK);
    assert_int_equal(weft_receipt_verify(key.public_key, &f, signature, NULL), WEFT_OK);
    weft_receipt_fields t[7];
    for (size_t i = 0; i < 7; i++) {
        t[i] = f;
    }
    t[0].assignment_id++;
    t[1].job[0] = 'D';
    t[2].round++;
    t[3].update_digest[31] ^= 1;
    t[4].n_examples++;
    t[5].accepted_unix_ms++;
    t[6].client[7] = '2';
    for (size_t i = 0; i < 7; i++) {
        weft_err err = WEFT_ERR_INIT;
        assert_int_equal(weft_receipt_verify(key.public_key, &t[i], signature, &err), WEFT_E_AUTH);
        assert_non_null(strstr(err.msg, "not signed by the coordinator's receipt key"));
    }
    assert_int_equal(weft_receipt_verify(make_key(5).public_key, &f, signature, NULL), WEFT_E_AUTH);
}

/* What is signed is a statement: letters cannot move from one field to the next. */
static void test_receipt__fields_do_not_run_together(void **state)
{
    (void)state;
    const weft_sign_key key = make_key(4);
    weft_receipt_fields f = receipt();
    uint8_t a[64];
    uint8_t b[64];
    memcpy(f.job, "ab\0", 4);
    memcpy(f.client, "c", 2);
    assert_int_equal(weft_receipt_sign(a, &key, &f, NULL), WEFT_OK);
    memcpy(f.job, "a\0\0", 4);
    memcpy(f.client, "bc", 3);
    assert_int_equal(weft_receipt_sign(b, &key, &f, NULL), WEFT_OK);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sign__rfc8032),
        cmocka_unit_test(test_sign_verify__every_bit_of_signature_and_message_counts),
        cmocka_unit_test(test_sign_key_generate__differs_and_reports_entropy),
        cmocka_unit_test(test_sign_pem__is_rfc8410_both_ways),
        cmocka_unit_test(test_sign_key_from_pem__says_what_is_wrong),
        cmocka_unit_test(test_sign_key_from_pem__names_the_type_it_got),
        cmocka_unit_test(test_sign_key_to_pem__every_allocation_may_fail),
        cmocka_unit_test(test_receipt__every_field_is_signed),
        cmocka_unit_test(test_receipt__fields_do_not_run_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
