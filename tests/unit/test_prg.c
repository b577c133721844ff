/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/prg: mask streams against AES-256's known answers, and their independence of how a vector
 * is cut into blocks, ranges and banks. */
#include "support/support.h"

#include "base/buf.h"
#include "base/limits.h"
#include "crypto/prg.h"

#include <stdlib.h>
#include <string.h>

/* AES-256 of the blocks 0 and 1 under the zero key: H and the tag of GCM's test case 13. */
static void test_prg__known_answers(void **state)
{
    (void)state;
    uint8_t want[32];
    uint8_t out[32];
    const uint8_t key[32] = {0};
    assert_true(weft_hex_decode(
        want, 32, "dc95c078a2408989ad48a21492842087530f8afbc74536b9a963b4f1c4cb738b", 64));
    assert_int_equal(weft_prg_bytes(out, sizeof out, key, NULL), WEFT_OK);
    assert_memory_equal(out, want, sizeof out);
    uint32_t word = 5;
    const weft_prg_stream s = {.subtract = false};
    assert_int_equal(weft_prg_apply(&word, 0, 1, &s, 1, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(word, 5U + 0x78c095dcU); /* little-endian words */
    assert_int_equal(weft_prg_apply(&word, 4, 1, &s, 1, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(word, 5U + 0x78c095dcU + 0xfb8a0f53U);
}

enum { N = 3 * WEFT_PRG_BLOCK_WORDS + 5, STREAMS = 150 };

static void make_streams(weft_prg_stream *s)
{
    for (size_t i = 0; i < STREAMS; i++) {
        memset(s[i].key, (int)i, sizeof s[i].key);
        s[i].subtract = i % 3 == 1;
    }
}

/* The plain definition: one stream after the other, whole. */
static void reference(uint32_t *words, const weft_prg_stream *s, size_t n)
{
    uint8_t *stream = malloc((size_t)N * 4);
    assert_non_null(stream);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(weft_prg_bytes(stream, (size_t)N * 4, s[i].key, NULL), WEFT_OK);
        for (size_t w = 0; w < N; w++) {
            const uint8_t *b = stream + 4 * w;
            const uint32_t word =
                (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
            words[w] += s[i].subtract ? 0U - word : word;
        }
    }
    free(stream);
}

static void test_apply__equals_the_definition_in_any_ranges(void **state)
{
    (void)state;
    static weft_prg_stream s[STREAMS];
    uint32_t *want = calloc(N, sizeof *want);
    uint32_t *got = calloc(N, sizeof *got);
    assert_true(want && got);
    make_streams(s);
    for (size_t w = 0; w < N; w++) {
        want[w] = got[w] = (uint32_t)w * 2654435761U;
    }
    reference(want, s, STREAMS);
    /* ranges in any order, of uneven lengths */
    static const size_t cuts[] = {0, 4, 4096, WEFT_PRG_BLOCK_WORDS + 12, N};
    for (size_t r = 4; r-- > 0;) {
        assert_int_equal(weft_prg_apply(got + cuts[r], cuts[r], cuts[r + 1] - cuts[r], s, STREAMS,
                                        &weft_alloc_std, NULL),
                         WEFT_OK);
    }
    assert_memory_equal(got, want, N * sizeof *want);
    /* the same streams with the other sign take the mask off */
    for (size_t i = 0; i < STREAMS; i++) {
        s[i].subtract = !s[i].subtract;
    }
    assert_int_equal(weft_prg_apply(got, 0, N, s, STREAMS, &weft_alloc_std, NULL), WEFT_OK);
    for (size_t w = 0; w < N; w++) {
        assert_int_equal(got[w], (uint32_t)w * 2654435761U);
    }
    free(want);
    free(got);
}

static void test_bank__goes_on_where_it_stopped(void **state)
{
    (void)state;
    static weft_prg_stream s[STREAMS];
    static uint32_t want[N];
    static uint32_t got[N];
    make_streams(s);
    reference(want, s, 7);
    weft_prg_bank *bank = NULL;
    assert_int_equal(weft_prg_bank_new(&bank, s, 7, 0, &weft_alloc_std, NULL), WEFT_OK);
    size_t at = 0;
    for (size_t step = 4; at + step < N; step += 1004) {
        assert_int_equal(weft_prg_bank_add(bank, got + at, step, NULL), WEFT_OK);
        at += step;
    }
    assert_int_equal(weft_prg_bank_add(bank, got + at, N - at, NULL), WEFT_OK); /* odd: the last */
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(weft_prg_bank_add(bank, got, 4, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_prg_bank_add(bank, got, 0, NULL), WEFT_OK);
    weft_prg_bank_free(bank);
    weft_prg_bank_free(NULL);
}

static void test_bank__refuses_positions(void **state)
{
    (void)state;
    weft_prg_bank *bank = NULL;
    const weft_prg_stream s = {.subtract = false};
    assert_int_equal(weft_prg_bank_new(&bank, &s, 1, 2, &weft_alloc_std, NULL), WEFT_E_INVALID);
    assert_int_equal(
        weft_prg_bank_new(&bank, &s, 1, 2 * WEFT_MAX_PARAMS + 4, &weft_alloc_std, NULL),
        WEFT_E_INVALID);
    /* beyond 2^32 words the counter has more than 32 bits */
    assert_int_equal(weft_prg_bank_new(&bank, &s, 1, 2 * WEFT_MAX_PARAMS, &weft_alloc_std, NULL),
                     WEFT_OK);
    uint32_t far = 0;
    uint32_t near = 0;
    assert_int_equal(weft_prg_bank_add(bank, &far, 1, NULL), WEFT_OK);
    weft_prg_bank_free(bank);
    assert_int_equal(weft_prg_apply(&near, 0, 1, &s, 1, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_not_equal(far, near);
}

static weft_status try_bank(const weft_alloc *a, void *arg)
{
    weft_prg_bank *bank = NULL;
    WEFT_TRY(weft_prg_bank_new(&bank, arg, 3, 0, a, NULL));
    weft_prg_bank_free(bank);
    return WEFT_OK;
}

static void test_bank_new__every_allocation_may_fail(void **state)
{
    (void)state;
    static weft_prg_stream s[STREAMS];
    make_streams(s);
    test_every_allocation_may_fail(try_bank, s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prg__known_answers),
        cmocka_unit_test(test_apply__equals_the_definition_in_any_ranges),
        cmocka_unit_test(test_bank__goes_on_where_it_stopped),
        cmocka_unit_test(test_bank__refuses_positions),
        cmocka_unit_test(test_bank_new__every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("prg", tests, NULL, NULL);
}
