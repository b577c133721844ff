/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merkle trees over an append-only log (RFC 9162, section 2.1): the hash of a leaf is
 * SHA-256(0x00 || data), of a node SHA-256(0x01 || left || right); the tree of n leaves splits at
 * the largest power of two below n. Proofs are made from hashes of complete subtrees, which the
 * caller keeps, and checked without them. Pure; any thread.
 */
#ifndef WEFT_LEDGER_MERKLE_H
#define WEFT_LEDGER_MERKLE_H

#include "crypto/hash.h"

/* No tree has more than 2^63 leaves; a consistency proof has one hash more than a path. */
#define WEFT_MERKLE_MAX_LEVELS 63
#define WEFT_MERKLE_MAX_HASHES (WEFT_MERKLE_MAX_LEVELS + 1)

typedef struct weft_merkle_proof {
    uint32_t n;
    uint8_t hash[WEFT_MERKLE_MAX_HASHES][WEFT_SHA256_BYTES];
} weft_merkle_proof;

/* Where the hashes of complete subtrees are. */
typedef struct weft_merkle_source {
    /** The hash over leaves [index << level, (index + 1) << level), all of which exist. */
    weft_status (*node)(void *arg, uint32_t level, uint64_t index, uint8_t ret[WEFT_SHA256_BYTES],
                        weft_err *err);
    void *arg;
} weft_merkle_source;

/** The hash of a leaf. @param data [n]. WEFT_E_LIMIT above 4 KiB; WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_merkle_leaf(uint8_t ret[WEFT_SHA256_BYTES], const void *data,
                                            size_t n, weft_err *err);
/** The hash of a node; ret may be one of its children. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_merkle_parent(uint8_t ret[WEFT_SHA256_BYTES],
                                              const uint8_t left[WEFT_SHA256_BYTES],
                                              const uint8_t right[WEFT_SHA256_BYTES],
                                              weft_err *err);

/** The root over the first `size` leaves; of no leaf: SHA-256 of nothing. The source's errors. */
WEFT_NODISCARD weft_status weft_merkle_root(uint8_t ret[WEFT_SHA256_BYTES],
                                            const weft_merkle_source *source, uint64_t size,
                                            weft_err *err);
/** That leaf `index` is in the tree of `size` leaves (2.1.3.1). WEFT_E_INVALID index >= size. */
WEFT_NODISCARD weft_status weft_merkle_inclusion(weft_merkle_proof *ret,
                                                 const weft_merkle_source *source, uint64_t index,
                                                 uint64_t size, weft_err *err);
/** That the tree of `to` leaves begins with the one of `from` (2.1.4.1). Empty when from is 0 or
 *  to. WEFT_E_INVALID from > to. */
WEFT_NODISCARD weft_status weft_merkle_consistency(weft_merkle_proof *ret,
                                                   const weft_merkle_source *source, uint64_t from,
                                                   uint64_t to, weft_err *err);

/** Check an inclusion proof against a root (2.1.3.2). WEFT_E_AUTH: it does not hold. */
WEFT_NODISCARD weft_status weft_merkle_check_inclusion(const weft_merkle_proof *proof,
                                                       const uint8_t leaf[WEFT_SHA256_BYTES],
                                                       uint64_t index, uint64_t size,
                                                       const uint8_t root[WEFT_SHA256_BYTES],
                                                       weft_err *err);
/** Check a consistency proof between two roots (2.1.4.2). WEFT_E_AUTH: it does not hold. */
WEFT_NODISCARD weft_status weft_merkle_check_consistency(
    const weft_merkle_proof *proof, uint64_t from, const uint8_t from_root[WEFT_SHA256_BYTES],
    uint64_t to, const uint8_t to_root[WEFT_SHA256_BYTES], weft_err *err);

/* The right edge of a growing tree: peak[i] is the complete subtree of 2^i leaves, where bit i of
 * size is set. */
typedef struct weft_merkle_edge {
    uint64_t size;
    uint8_t peak[WEFT_MERKLE_MAX_LEVELS][WEFT_SHA256_BYTES];
} weft_merkle_edge;

/** A subtree that an append completed. */
typedef weft_status (*weft_merkle_node_fn)(void *arg, uint32_t level, uint64_t index,
                                           const uint8_t hash[WEFT_SHA256_BYTES], weft_err *err);

/** The edge of the first `size` leaves. The source's errors. */
WEFT_NODISCARD weft_status weft_merkle_edge_load(weft_merkle_edge *ret,
                                                 const weft_merkle_source *source, uint64_t size,
                                                 weft_err *err);
/** Append a leaf; fn hears of each subtree that is complete now, the leaf first. After a failure
 *  the edge is as before. */
WEFT_NODISCARD weft_status weft_merkle_append(weft_merkle_edge *edge,
                                              const uint8_t leaf[WEFT_SHA256_BYTES],
                                              weft_merkle_node_fn fn, void *arg, weft_err *err);
/** The root of what the edge has seen. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_merkle_edge_root(uint8_t ret[WEFT_SHA256_BYTES],
                                                 const weft_merkle_edge *edge, weft_err *err);

#endif
