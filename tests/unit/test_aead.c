/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/aead: AES-256-GCM against the test cases 13 to 16 of McGrew and Viega's specification. */
#include "support/support.h"

#include "base/buf.h"
#include "crypto/aead.h"

#include <stdlib.h>
#include <string.h>

#define KEY   "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
#define NONCE "cafebabefacedbaddecaf888"
#define PLAIN                                                                                      \
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6" \
    "b5"                                                                                           \
    "25b16aedf5aa0de657ba637b39"
#define SEALED                                                                                     \
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b105682" \
    "88"                                                                                           \
    "38c5f61e6393ba7a0abcc9f662"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static const struct {
    const char *key, *nonce, *aad, *plain, *sealed;
} vectors[] = {
    {ZEROS, "000000000000000000000000", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {ZEROS, "000000000000000000000000", "", "00000000000000000000000000000000",
     "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    {KEY, NONCE, "", PLAIN "1aafd255", SEALED "898015adb094dac5d93471bdec1a502270e3cc6c"},
    {KEY, NONCE, "feedfacedeadbeeffeedfacedeadbeefabaddad2", PLAIN,
     SEALED "76fc6ece0f4e1768cddf8853bb2d551b"},
};

static size_t unhex(uint8_t *out, const char *text)
{
    const size_t n = strlen(text) / 2;
    assert_true(weft_hex_decode(out, n, text, 2 * n));
    return n;
}

typedef struct vector {
    uint8_t key[32], nonce[12], aad[64], plain[64], sealed[80];
    size_t aad_n, n, sealed_n;
} vector;

static void read_vector(vector *v, size_t i)
{
    unhex(v->key, vectors[i].key);
    unhex(v->nonce, vectors[i].nonce);
    v->aad_n = unhex(v->aad, vectors[i].aad);
    v->n = unhex(v->plain, vectors[i].plain);
    v->sealed_n = unhex(v->sealed, vectors[i].sealed);
}

static void test_aead__specification(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        vector v;
        uint8_t out[80];
        read_vector(&v, i);
        assert_int_equal(weft_aead_seal(out, v.key, v.nonce, v.aad, v.aad_n, v.plain, v.n, NULL),
                         WEFT_OK);
        assert_memory_equal(out, v.sealed, v.sealed_n);
        assert_int_equal(
            weft_aead_open(out, v.key, v.nonce, v.aad, v.aad_n, v.sealed, v.sealed_n, NULL),
            WEFT_OK);
        if (v.n) {
            assert_memory_equal(out, v.plain, v.n);
        }
    }
}

/* One bit anywhere: nothing comes out. */
static void test_open__refuses_every_flipped_bit(void **state)
{
    (void)state;
    static const uint8_t zeros[80];
    vector v;
    uint8_t out[80];
    read_vector(&v, 3);
    uint8_t *const fields[] = {v.key, v.nonce, v.aad, v.sealed};
    const size_t sizes[] = {sizeof v.key, sizeof v.nonce, v.aad_n, v.sealed_n};
    for (size_t f = 0; f < 4; f++) {
        for (size_t bit = 0; bit < 8 * sizes[f]; bit++) {
            fields[f][bit / 8] ^= (uint8_t)(1U << bit % 8);
            memset(out, 0xee, sizeof out);
            assert_int_equal(
                weft_aead_open(out, v.key, v.nonce, v.aad, v.aad_n, v.sealed, v.sealed_n, NULL),
                WEFT_E_AUTH);
            assert_memory_equal(out, zeros, v.n);
            fields[f][bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
    }
    for (size_t n = 0; n < v.sealed_n; n++) {
        assert_int_equal(weft_aead_open(out, v.key, v.nonce, v.aad, v.aad_n, v.sealed, n, NULL),
                         WEFT_E_AUTH);
    }
}

static void test_aead__limits(void **state)
{
    (void)state;
    const size_t most = 1U << 20;
    uint8_t *plain = calloc(1, most + 1);
    uint8_t *out = malloc(most + 17);
    const uint8_t key[32] = {1};
    assert_true(plain && out);
    assert_int_equal(weft_aead_seal(out, key, key, NULL, 0, plain, most, NULL), WEFT_OK);
    assert_int_equal(weft_aead_open(plain, key, key, NULL, 0, out, most + 16, NULL), WEFT_OK);
    assert_int_equal(weft_aead_seal(out, key, key, NULL, 0, plain, most + 1, NULL), WEFT_E_LIMIT);
    assert_int_equal(weft_aead_seal(out, key, key, plain, 4096, plain, 1, NULL), WEFT_OK);
    assert_int_equal(weft_aead_seal(out, key, key, plain, 4097, plain, 1, NULL), WEFT_E_LIMIT);
    free(plain);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aead__specification),
        cmocka_unit_test(test_open__refuses_every_flipped_bit),
        cmocka_unit_test(test_aead__limits),
    };
    return cmocka_run_group_tests_name("aead", tests, NULL, NULL);
}
