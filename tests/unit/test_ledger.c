/* SPDX-License-Identifier: Apache-2.0 */
/* common/ledger: trees against RFC 6962's known ones, every proof of small trees, and signed heads.
 */
#include "support/support.h"

#include "base/buf.h"
#include "ledger/head.h"

#include <string.h>

enum { MAX_LEAVES = 70 };

/* ---- a tree by the book: the definition of 2.1.1, and all complete subtrees ------------------ */

typedef struct book {
    uint8_t leaf[MAX_LEAVES][WEFT_SHA256_BYTES];
} book;

static uint64_t split(uint64_t n)
{
    uint64_t k = 1;
    while (k * 2 < n) {
        k *= 2;
    }
    return k;
}

static void tree_hash(uint8_t ret[WEFT_SHA256_BYTES], const book *b, uint64_t begin, uint64_t end)
{
    uint8_t left[WEFT_SHA256_BYTES];
    uint8_t right[WEFT_SHA256_BYTES];
    if (begin == end) {
        assert_int_equal(weft_sha256(ret, NULL, 0, NULL), WEFT_OK);
    } else if (end - begin == 1) {
        memcpy(ret, b->leaf[begin], WEFT_SHA256_BYTES);
    } else {
        const uint64_t k = split(end - begin);
        tree_hash(left, b, begin, begin + k);
        tree_hash(right, b, begin + k, end);
        assert_int_equal(weft_merkle_parent(ret, left, right, NULL), WEFT_OK);
    }
}

static weft_status node(void *arg, uint32_t level, uint64_t index, uint8_t ret[WEFT_SHA256_BYTES],
                        weft_err *err)
{
    (void)err;
    tree_hash(ret, arg, index << level, (index + 1) << level);
    return WEFT_OK;
}

static void fill(book *b)
{
    for (uint32_t i = 0; i < MAX_LEAVES; i++) {
        assert_int_equal(weft_merkle_leaf(b->leaf[i], &i, sizeof i, NULL), WEFT_OK);
    }
}

/* ---- trees ----------------------------------------------------------------------------------- */

static weft_status ignore(void *arg, uint32_t level, uint64_t index,
                          const uint8_t hash[WEFT_SHA256_BYTES], weft_err *err)
{
    (void)arg, (void)level, (void)index, (void)hash, (void)err;
    return WEFT_OK;
}

/* The test tree of the reference implementation of RFC 6962 (same hashes as RFC 9162 with
 * SHA-256): roots after each of its eight leaves. */
static void test_roots__rfc6962_reference(void **state)
{
    (void)state;
    static const char *const leaves[] = {"",
                                         "00",
                                         "10",
                                         "2021",
                                         "3031",
                                         "40414243",
                                         "5051525354555657",
                                         "606162636465666768696a6b6c6d6e6f"};
    static const char *const roots[] = {
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
    weft_merkle_edge edge = {.size = 0};
    for (size_t i = 0; i < 8; i++) {
        uint8_t data[16];
        uint8_t hash[WEFT_SHA256_BYTES];
        char text[2 * WEFT_SHA256_BYTES + 1];
        const size_t n = strlen(leaves[i]) / 2;
        assert_true(weft_hex_decode(data, n, leaves[i], strlen(leaves[i])));
        assert_int_equal(weft_merkle_leaf(hash, data, n, NULL), WEFT_OK);
        assert_int_equal(weft_merkle_append(&edge, hash, ignore, NULL, NULL), WEFT_OK);
        assert_int_equal(weft_merkle_edge_root(hash, &edge, NULL), WEFT_OK);
        weft_hex_encode(text, hash, sizeof hash);
        assert_string_equal(text, roots[i]);
    }
}

/* What an append reports is each complete subtree once, with the definition's hash. */
typedef struct report {
    const book *b;
    uint32_t n;
} report;

static weft_status check_node(void *arg, uint32_t level, uint64_t index,
                              const uint8_t hash[WEFT_SHA256_BYTES], weft_err *err)
{
    report *r = arg;
    uint8_t expected[WEFT_SHA256_BYTES];
    (void)err;
    tree_hash(expected, r->b, index << level, (index + 1) << level);
    assert_memory_equal(hash, expected, sizeof expected);
    r->n++;
    return WEFT_OK;
}

static void test_append__reports_every_complete_subtree(void **state)
{
    (void)state;
    book b;
    fill(&b);
    report r = {&b, 0};
    weft_merkle_edge edge = {.size = 0};
    uint32_t complete = 0;
    const weft_merkle_source source = {node, &b};
    for (uint64_t n = 1; n <= MAX_LEAVES; n++) {
        uint8_t root[WEFT_SHA256_BYTES];
        uint8_t expected[WEFT_SHA256_BYTES];
        weft_merkle_edge loaded;
        assert_int_equal(weft_merkle_append(&edge, b.leaf[n - 1], check_node, &r, NULL), WEFT_OK);
        complete += 1 + (uint32_t)__builtin_ctzll(n);
        assert_int_equal(r.n, complete);
        tree_hash(expected, &b, 0, n);
        assert_int_equal(weft_merkle_edge_root(root, &edge, NULL), WEFT_OK);
        assert_memory_equal(root, expected, sizeof root);
        assert_int_equal(weft_merkle_root(root, &source, n, NULL), WEFT_OK);
        assert_memory_equal(root, expected, sizeof root);
        assert_int_equal(weft_merkle_edge_load(&loaded, &source, n, NULL), WEFT_OK);
        assert_int_equal(weft_merkle_edge_root(root, &loaded, NULL), WEFT_OK);
        assert_memory_equal(root, expected, sizeof root);
    }
}

/* ---- proofs ---------------------------------------------------------------------------------- */

/* A flipped bit anywhere, one hash less and one more must all be seen. */
static void refuse_inclusion(const weft_merkle_proof *proof, const uint8_t *leaf, uint64_t index,
                             uint64_t size, const uint8_t *root)
{
    weft_merkle_proof bad = *proof;
    for (uint32_t i = 0; i < proof->n; i++) {
        bad.hash[i][i % WEFT_SHA256_BYTES] ^= 1;
        assert_int_equal(weft_merkle_check_inclusion(&bad, leaf, index, size, root, NULL),
                         WEFT_E_AUTH);
        bad = *proof;
    }
    if (proof->n > 0) {
        bad.n--;
        assert_int_equal(weft_merkle_check_inclusion(&bad, leaf, index, size, root, NULL),
                         WEFT_E_AUTH);
    }
    bad.n = proof->n + 1;
    memset(bad.hash[proof->n], 7, WEFT_SHA256_BYTES);
    assert_int_equal(weft_merkle_check_inclusion(&bad, leaf, index, size, root, NULL), WEFT_E_AUTH);
    assert_int_equal(weft_merkle_check_inclusion(proof, leaf, size, size, root, NULL), WEFT_E_AUTH);
    if (index > 0) {
        assert_int_equal(weft_merkle_check_inclusion(proof, leaf, index - 1, size, root, NULL),
                         WEFT_E_AUTH);
    }
}

static void test_inclusion__every_leaf_of_every_small_tree(void **state)
{
    (void)state;
    book b;
    fill(&b);
    const weft_merkle_source source = {node, &b};
    for (uint64_t size = 1; size <= MAX_LEAVES; size++) {
        uint8_t root[WEFT_SHA256_BYTES];
        tree_hash(root, &b, 0, size);
        for (uint64_t index = 0; index < size; index++) {
            weft_merkle_proof proof;
            assert_int_equal(weft_merkle_inclusion(&proof, &source, index, size, NULL), WEFT_OK);
            assert_int_equal(
                weft_merkle_check_inclusion(&proof, b.leaf[index], index, size, root, NULL),
                WEFT_OK);
            refuse_inclusion(&proof, b.leaf[index], index, size, root);
        }
        weft_merkle_proof none;
        assert_int_equal(weft_merkle_inclusion(&none, &source, size, size, NULL), WEFT_E_INVALID);
    }
}

static void refuse_consistency(const weft_merkle_proof *proof, uint64_t from,
                               const uint8_t *from_root, uint64_t to, const uint8_t *to_root)
{
    weft_merkle_proof bad = *proof;
    uint8_t other[WEFT_SHA256_BYTES];
    for (uint32_t i = 0; i < proof->n; i++) {
        bad.hash[i][i % WEFT_SHA256_BYTES] ^= 0x80;
        assert_int_equal(weft_merkle_check_consistency(&bad, from, from_root, to, to_root, NULL),
                         WEFT_E_AUTH);
        bad = *proof;
    }
    if (proof->n > 0) {
        bad.n--;
        assert_int_equal(weft_merkle_check_consistency(&bad, from, from_root, to, to_root, NULL),
                         WEFT_E_AUTH);
    }
    bad.n = proof->n + 1;
    memset(bad.hash[proof->n], 7, WEFT_SHA256_BYTES);
    assert_int_equal(weft_merkle_check_consistency(&bad, from, from_root, to, to_root, NULL),
                     WEFT_E_AUTH);
    memcpy(other, from_root, sizeof other);
    other[3] ^= 1;
    if (from > 0) {
        assert_int_equal(weft_merkle_check_consistency(proof, from, other, to, to_root, NULL),
                         WEFT_E_AUTH);
        memcpy(other, to_root, sizeof other);
        other[30] ^= 1;
        assert_int_equal(weft_merkle_check_consistency(proof, from, from_root, to, other, NULL),
                         WEFT_E_AUTH);
    }
    if (from < to) {
        assert_int_equal(weft_merkle_check_consistency(proof, to, to_root, from, from_root, NULL),
                         WEFT_E_AUTH);
    }
}

static void test_consistency__every_pair_of_small_trees(void **state)
{
    (void)state;
    book b;
    fill(&b);
    const weft_merkle_source source = {node, &b};
    for (uint64_t to = 1; to <= MAX_LEAVES; to++) {
        uint8_t to_root[WEFT_SHA256_BYTES];
        tree_hash(to_root, &b, 0, to);
        for (uint64_t from = 0; from <= to; from++) {
            uint8_t from_root[WEFT_SHA256_BYTES];
            weft_merkle_proof proof;
            tree_hash(from_root, &b, 0, from);
            assert_int_equal(weft_merkle_consistency(&proof, &source, from, to, NULL), WEFT_OK);
            assert_int_equal(
                weft_merkle_check_consistency(&proof, from, from_root, to, to_root, NULL), WEFT_OK);
            refuse_consistency(&proof, from, from_root, to, to_root);
        }
    }
    weft_merkle_proof none;
    assert_int_equal(weft_merkle_consistency(&none, &source, 3, 2, NULL), WEFT_E_INVALID);
}

/* A log that was changed at any record before the known head cannot be shown to follow from it. */
static void test_consistency__rewritten_history_is_refused(void **state)
{
    (void)state;
    book b;
    fill(&b);
    const uint64_t from = 37;
    const uint64_t to = 61;
    uint8_t known[WEFT_SHA256_BYTES];
    tree_hash(known, &b, 0, from);
    for (uint64_t changed = 0; changed < from; changed++) {
        book rewritten = b;
        uint8_t to_root[WEFT_SHA256_BYTES];
        weft_merkle_proof proof;
        rewritten.leaf[changed][0] ^= 1;
        const weft_merkle_source source = {node, &rewritten};
        tree_hash(to_root, &rewritten, 0, to);
        assert_int_equal(weft_merkle_consistency(&proof, &source, from, to, NULL), WEFT_OK);
        assert_int_equal(weft_merkle_check_consistency(&proof, from, known, to, to_root, NULL),
                         WEFT_E_AUTH);
    }
}

static void test_leaf__too_long_is_refused(void **state)
{
    (void)state;
    static const uint8_t data[(4 << 10) + 1];
    uint8_t hash[WEFT_SHA256_BYTES];
    assert_int_equal(weft_merkle_leaf(hash, data, sizeof data - 1, NULL), WEFT_OK);
    assert_int_equal(weft_merkle_leaf(hash, data, sizeof data, NULL), WEFT_E_LIMIT);
}

/* ---- heads ----------------------------------------------------------------------------------- */

static void test_head__every_field_is_signed(void **state)
{
    (void)state;
    const uint8_t seed[WEFT_SIGN_SEED_BYTES] = {5};
    weft_sign_key key;
    weft_tree_head head = {.federation = "hospitals", .size = 12, .unix_ms = 1700000000000};
    assert_int_equal(weft_sign_key_from_seed(&key, seed, NULL), WEFT_OK);
    assert_int_equal(weft_tree_head_sign(&head, &key, NULL), WEFT_OK);
    assert_int_equal(weft_tree_head_verify(&head, key.public_key, NULL), WEFT_OK);
    weft_tree_head bad[5];
    for (size_t i = 0; i < 5; i++) {
        bad[i] = head;
    }
    bad[0].federation[0] = 'H';
    bad[1].size++;
    bad[2].root[31] ^= 1;
    bad[3].unix_ms--;
    bad[4].signature[0] ^= 1;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(weft_tree_head_verify(&bad[i], key.public_key, NULL), WEFT_E_AUTH);
    }
    weft_sign_key_done(&key);
}

static void test_head__follows_only_what_it_knows(void **state)
{
    (void)state;
    book b;
    fill(&b);
    const weft_merkle_source source = {node, &b};
    weft_tree_head known = {.federation = "hospitals", .size = 20};
    weft_tree_head next = {.federation = "hospitals", .size = 33};
    weft_merkle_proof proof;
    weft_err err = WEFT_ERR_INIT;
    tree_hash(known.root, &b, 0, 20);
    tree_hash(next.root, &b, 0, 33);
    assert_int_equal(weft_merkle_consistency(&proof, &source, 20, 33, NULL), WEFT_OK);
    assert_int_equal(weft_tree_head_follows(&known, &next, &proof, NULL), WEFT_OK);
    proof.n = 0;
    assert_int_equal(weft_tree_head_follows(&known, &known, &proof, NULL), WEFT_OK);
    assert_int_equal(weft_tree_head_follows(&next, &known, &proof, &err), WEFT_E_AUTH);
    assert_non_null(strstr(err.msg, "20 records and had 33"));
    memcpy(next.federation, "hospitalz", 9);
    assert_int_equal(weft_tree_head_follows(&known, &next, &proof, NULL), WEFT_E_AUTH);
}

static void test_update_record__is_the_text_that_is_hashed(void **state)
{
    (void)state;
    char text[WEFT_LEDGER_UPDATE_RECORD_BYTES];
    weft_receipt_fields receipt = {.assignment_id = 7,
                                   .job = "digits",
                                   .round = 3,
                                   .n_examples = 600,
                                   .accepted_unix_ms = 1700000000123,
                                   .client = "alice"};
    memset(receipt.update_digest, 0xab, sizeof receipt.update_digest);
    const size_t n = weft_ledger_update_record(text, &receipt);
    assert_string_equal(text,
                        "{\"kind\":\"update\",\"assignment\":7,\"job\":\"digits\",\"round\":3,"
                        "\"client\":\"alice\",\"update\":"
                        "\"abababababababababababababababababababababababababababababababab\","
                        "\"n_examples\":600,\"accepted_unix_ms\":1700000000123}");
    assert_int_equal(n, strlen(text));
    memset(receipt.job, 'j', WEFT_MAX_NAME_BYTES);
    memset(receipt.client, 'c', WEFT_MAX_NAME_BYTES);
    receipt.assignment_id = receipt.n_examples = (uint64_t)INT64_MIN;
    receipt.accepted_unix_ms = INT64_MIN;
    receipt.round = UINT32_MAX;
    assert_true(weft_ledger_update_record(text, &receipt) < sizeof text);
    receipt.client[0] = '"';
    assert_int_equal(weft_ledger_update_record(text, &receipt), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roots__rfc6962_reference),
        cmocka_unit_test(test_append__reports_every_complete_subtree),
        cmocka_unit_test(test_inclusion__every_leaf_of_every_small_tree),
        cmocka_unit_test(test_consistency__every_pair_of_small_trees),
        cmocka_unit_test(test_consistency__rewritten_history_is_refused),
        cmocka_unit_test(test_leaf__too_long_is_refused),
        cmocka_unit_test(test_head__every_field_is_signed),
        cmocka_unit_test(test_head__follows_only_what_it_knows),
        cmocka_unit_test(test_update_record__is_the_text_that_is_hashed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
