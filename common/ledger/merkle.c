/* SPDX-License-Identifier: Apache-2.0 */
/* Trees, proofs and their checks after RFC 9162. Pure, any thread. */
#include "ledger/merkle.h"

#include <string.h>

#define MAX_LEAF_BYTES (4U << 10)

weft_status weft_merkle_leaf(uint8_t ret[WEFT_SHA256_BYTES], const void *data, size_t n,
                             weft_err *err)
{
    uint8_t prefixed[1 + MAX_LEAF_BYTES];
    if (n > MAX_LEAF_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a record of %zu bytes, the limit is %u", n, MAX_LEAF_BYTES);
    }
    prefixed[0] = 0x00;
    if (n > 0) {
        memcpy(prefixed + 1, data, n);
    }
    return weft_sha256(ret, prefixed, 1 + n, err);
}

weft_status weft_merkle_parent(uint8_t ret[WEFT_SHA256_BYTES],
                               const uint8_t left[WEFT_SHA256_BYTES],
                               const uint8_t right[WEFT_SHA256_BYTES], weft_err *err)
{
    uint8_t node[1 + 2 * WEFT_SHA256_BYTES] = {0x01};
    memcpy(node + 1, left, WEFT_SHA256_BYTES);
    memcpy(node + 1 + WEFT_SHA256_BYTES, right, WEFT_SHA256_BYTES);
    return weft_sha256(ret, node, sizeof node, err);
}

/* ---- ranges ---------------------------------------------------------------------------------- */

/* The largest power of two that divides begin and fits into n leaves, as a level. */
static uint32_t fitting_level(uint64_t begin, uint64_t n)
{
    const uint32_t fits = 63U - (uint32_t)__builtin_clzll(n);
    const uint32_t aligned = begin ? (uint32_t)__builtin_ctzll(begin) : fits;
    return aligned < fits ? aligned : fits;
}

/* The tree hash of leaves [begin, end), where the tree of `end` leaves has this range as a node:
 * its complete subtrees go from large to small, so it folds from the right. */
static weft_status range_hash(uint8_t ret[WEFT_SHA256_BYTES], const weft_merkle_source *source,
                              uint64_t begin, uint64_t end, weft_err *err)
{
    uint8_t part[WEFT_MERKLE_MAX_LEVELS + 1][WEFT_SHA256_BYTES];
    uint32_t n = 0;
    for (uint64_t at = begin; at < end;) {
        const uint32_t level = fitting_level(at, end - at);
        WEFT_TRY(source->node(source->arg, level, at >> level, part[n], err));
        at += (uint64_t)1 << level;
        n++;
    }
    memcpy(ret, part[n - 1], WEFT_SHA256_BYTES);
    for (uint32_t i = n - 1; i-- > 0;) {
        WEFT_TRY(weft_merkle_parent(ret, part[i], ret, err));
    }
    return WEFT_OK;
}

weft_status weft_merkle_root(uint8_t ret[WEFT_SHA256_BYTES], const weft_merkle_source *source,
                             uint64_t size, weft_err *err)
{
    return size ? range_hash(ret, source, 0, size, err) : weft_sha256(ret, NULL, 0, err);
}

/* Where a tree of n > 1 leaves splits. */
static uint64_t split(uint64_t n)
{
    return (uint64_t)1 << (63 - __builtin_clzll(n - 1));
}

/* ---- proofs ---------------------------------------------------------------------------------- */

/* Proofs are listed from the leaf up and found from the root down. */
static void reverse(weft_merkle_proof *proof)
{
    for (uint32_t i = 0; i + 1 < proof->n - i; i++) {
        uint8_t swap[WEFT_SHA256_BYTES];
        uint8_t *other = proof->hash[proof->n - 1 - i];
        memcpy(swap, proof->hash[i], sizeof swap);
        memcpy(proof->hash[i], other, sizeof swap);
        memcpy(other, swap, sizeof swap);
    }
}

weft_status weft_merkle_inclusion(weft_merkle_proof *ret, const weft_merkle_source *source,
                                  uint64_t index, uint64_t size, weft_err *err)
{
    if (index >= size) {
        WEFT_FAIL(err, WEFT_E_INVALID, "no leaf %llu in a tree of %llu leaves",
                  (unsigned long long)index, (unsigned long long)size);
    }
    uint64_t begin = 0;
    uint64_t end = size;
    ret->n = 0;
    while (end - begin > 1) {
        const uint64_t middle = begin + split(end - begin);
        const bool left = index < middle;
        WEFT_TRY(range_hash(ret->hash[ret->n++], source, left ? middle : begin, left ? end : middle,
                            err));
        begin = left ? begin : middle;
        end = left ? middle : end;
    }
    reverse(ret);
    return WEFT_OK;
}

weft_status weft_merkle_consistency(weft_merkle_proof *ret, const weft_merkle_source *source,
                                    uint64_t from, uint64_t to, weft_err *err)
{
    ret->n = 0;
    if (from > to) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a tree of %llu leaves does not begin with one of %llu",
                  (unsigned long long)to, (unsigned long long)from);
    }
    if (from == 0 || from == to) {
        return WEFT_OK;
    }
    uint64_t begin = 0;
    uint64_t end = to;
    while (end != from) { /* the node that ends where the old tree ends */
        const uint64_t middle = begin + split(end - begin);
        const bool left = from <= middle;
        WEFT_TRY(range_hash(ret->hash[ret->n++], source, left ? middle : begin, left ? end : middle,
                            err));
        begin = left ? begin : middle;
        end = left ? middle : end;
    }
    if (begin > 0) { /* else it is the old root, which the verifier has */
        WEFT_TRY(range_hash(ret->hash[ret->n++], source, begin, end, err));
    }
    reverse(ret);
    return WEFT_OK;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool same(const uint8_t a[WEFT_SHA256_BYTES], const uint8_t b[WEFT_SHA256_BYTES])
{
    return memcmp(a, b, WEFT_SHA256_BYTES) == 0;
}

weft_status weft_merkle_check_inclusion(const weft_merkle_proof *proof,
                                        const uint8_t leaf[WEFT_SHA256_BYTES], uint64_t index,
                                        uint64_t size, const uint8_t root[WEFT_SHA256_BYTES],
                                        weft_err *err)
{
    uint64_t node = index;
    uint64_t last = size - 1;
    uint8_t hash[WEFT_SHA256_BYTES];
    bool good = index < size;
    memcpy(hash, leaf, sizeof hash);
    for (uint32_t i = 0; good && i < proof->n; i++) {
        good = last > 0;
        if ((node & 1) || node == last) {
            WEFT_TRY(weft_merkle_parent(hash, proof->hash[i], hash, err));
            while (!(node & 1) && node) {
                node >>= 1;
                last >>= 1;
            }
        } else {
            WEFT_TRY(weft_merkle_parent(hash, hash, proof->hash[i], err));
        }
        node >>= 1;
        last >>= 1;
    }
    if (!good || last != 0 || !same(hash, root)) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the proof does not show leaf %llu in the tree of %llu leaves",
                  (unsigned long long)index, (unsigned long long)size);
    }
    return WEFT_OK;
}

/* RFC 9162, 2.1.4.2, steps 3 to 7: both roots from one path. */
static weft_status walk_consistency(const weft_merkle_proof *proof, uint64_t from,
                                    const uint8_t from_root[WEFT_SHA256_BYTES], uint64_t to,
                                    const uint8_t to_root[WEFT_SHA256_BYTES], bool *ret_good,
                                    weft_err *err)
{
    uint64_t node = from - 1;
    uint64_t last = to - 1;
    uint8_t old_hash[WEFT_SHA256_BYTES];
    uint8_t new_hash[WEFT_SHA256_BYTES];
    const bool whole = (from & (from - 1)) == 0; /* the old root is the path's first node */
    *ret_good = false;
    if (!whole && proof->n == 0) {
        return WEFT_OK;
    }
    while (node & 1) {
        node >>= 1;
        last >>= 1;
    }
    memcpy(old_hash, whole ? from_root : proof->hash[0], sizeof old_hash);
    memcpy(new_hash, old_hash, sizeof new_hash);
    for (uint32_t i = whole ? 0 : 1; i < proof->n; i++) {
        if (last == 0) {
            return WEFT_OK;
        }
        if ((node & 1) || node == last) {
            WEFT_TRY(weft_merkle_parent(old_hash, proof->hash[i], old_hash, err));
            WEFT_TRY(weft_merkle_parent(new_hash, proof->hash[i], new_hash, err));
            while (!(node & 1) && node) {
                node >>= 1;
                last >>= 1;
            }
        } else {
            WEFT_TRY(weft_merkle_parent(new_hash, new_hash, proof->hash[i], err));
        }
        node >>= 1;
        last >>= 1;
    }
    *ret_good = last == 0 && same(old_hash, from_root) && same(new_hash, to_root);
    return WEFT_OK;
}

weft_status weft_merkle_check_consistency(const weft_merkle_proof *proof, uint64_t from,
                                          const uint8_t from_root[WEFT_SHA256_BYTES], uint64_t to,
                                          const uint8_t to_root[WEFT_SHA256_BYTES], weft_err *err)
{
    bool good = false;
    if (from == to) {
        good = proof->n == 0 && same(from_root, to_root);
    } else if (from == 0) {
        good = proof->n == 0; /* everything begins with nothing */
    } else if (from < to) {
        WEFT_TRY(walk_consistency(proof, from, from_root, to, to_root, &good, err));
    }
    if (!good) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the tree of %llu leaves is not shown to begin with the known one of %llu",
                  (unsigned long long)to, (unsigned long long)from);
    }
    return WEFT_OK;
}

/* ---- the right edge -------------------------------------------------------------------------- */

weft_status weft_merkle_edge_load(weft_merkle_edge *ret, const weft_merkle_source *source,
                                  uint64_t size, weft_err *err)
{
    uint64_t begin = 0;
    for (uint32_t level = WEFT_MERKLE_MAX_LEVELS; level-- > 0;) {
        if (size >> level & 1) {
            WEFT_TRY(source->node(source->arg, level, begin >> level, ret->peak[level], err));
            begin += (uint64_t)1 << level;
        }
    }
    ret->size = size;
    return WEFT_OK;
}

weft_status weft_merkle_append(weft_merkle_edge *edge, const uint8_t leaf[WEFT_SHA256_BYTES],
                               weft_merkle_node_fn fn, void *arg, weft_err *err)
{
    uint8_t hash[WEFT_SHA256_BYTES];
    uint32_t level = 0;
    memcpy(hash, leaf, sizeof hash);
    WEFT_TRY(fn(arg, 0, edge->size, hash, err));
    for (; edge->size >> level & 1; level++) {
        WEFT_TRY(weft_merkle_parent(hash, edge->peak[level], hash, err));
        WEFT_TRY(fn(arg, level + 1, edge->size >> (level + 1), hash, err));
    }
    memcpy(edge->peak[level], hash, sizeof hash);
    edge->size++;
    return WEFT_OK;
}

weft_status weft_merkle_edge_root(uint8_t ret[WEFT_SHA256_BYTES], const weft_merkle_edge *edge,
                                  weft_err *err)
{
    bool first = true;
    if (edge->size == 0) {
        return weft_sha256(ret, NULL, 0, err);
    }
    for (uint32_t level = 0; level < WEFT_MERKLE_MAX_LEVELS; level++) {
        if (!(edge->size >> level & 1)) {
            continue;
        }
        if (first) {
            memcpy(ret, edge->peak[level], WEFT_SHA256_BYTES);
            first = false;
        } else {
            WEFT_TRY(weft_merkle_parent(ret, edge->peak[level], ret, err));
        }
    }
    return WEFT_OK;
}
