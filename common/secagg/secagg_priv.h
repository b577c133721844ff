/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside secagg only: what both machines compute alike. Every hash, key and signature is over a
 * statement (crypto/statement.h) of its own domain. Pure; any thread.
 */
#ifndef WEFT_SECAGG_PRIV_H
#define WEFT_SECAGG_PRIV_H

#include "crypto/dh.h"
#include "secagg/message.h"

#include <stdbool.h>

/*
 * The checks that tests switch off one by one, to show that each of them is what stops its attack.
 * The product is compiled without the hook: there the macro is the constant false.
 */
typedef enum weft_secagg_check {
    WEFT_SECAGG_CHECK_COHORT = 0,
    WEFT_SECAGG_CHECK_SELF,
    WEFT_SECAGG_CHECK_NEIGHBOURS,
    WEFT_SECAGG_CHECK_LEAF,
    WEFT_SECAGG_CHECK_CHAIN,
    WEFT_SECAGG_CHECK_PIN,
    WEFT_SECAGG_CHECK_SIGNATURE,
    WEFT_SECAGG_CHECK_DUPLICATE,
    WEFT_SECAGG_CHECK_LOW_ORDER,
    WEFT_SECAGG_CHECK_SESSION, /* keys and seals are bound to the session */
    WEFT_SECAGG_CHECK_TAG,
    WEFT_SECAGG_CHECK_SENDERS,
    WEFT_SECAGG_CHECK_INCLUDED,
    WEFT_SECAGG_CHECK_BOTH_KINDS,
    WEFT_SECAGG_CHECK_LISTS,
    WEFT_SECAGG_CHECK_LISTS_CHANGED,
    WEFT_SECAGG_CHECK_CONFIRMATION, /* a confirmation's signature */
    WEFT_SECAGG_CHECK_ALIVE,        /* enough neighbours */
    WEFT_SECAGG_CHECK_ONCE,         /* one answer a session, one roster a context */
    WEFT_SECAGG_CHECK_REPEATED,
    WEFT_SECAGG_CHECK_ATTEMPT,
    WEFT_SECAGG_CHECK_POLICY
} weft_secagg_check;
#if defined(WEFT_SECAGG_TEST_SKIP)
extern unsigned weft_secagg_test_skip; /* bits by weft_secagg_check */
#define WEFT_SECAGG_SKIPS(check) ((weft_secagg_test_skip >> WEFT_SECAGG_CHECK_##check & 1U) != 0)
#else
#define WEFT_SECAGG_SKIPS(check) false
#endif

/* ---- bitmaps --------------------------------------------------------------------------------- */

static inline bool weft_secagg_bit(const uint8_t *map, uint32_t i)
{
    return (map[i / 8] >> (i % 8) & 1U) != 0;
}

static inline void weft_secagg_bit_set(uint8_t *map, uint32_t i)
{
    map[i / 8] = (uint8_t)(map[i / 8] | 1U << (i % 8));
}

static inline size_t weft_secagg_map_bytes(uint32_t n)
{
    return (n + 7) / 8;
}

uint32_t weft_secagg_map_count(const uint8_t *map, uint32_t n);

/* ---- hashes, signatures ---------------------------------------------------------------------- */

/** SHA-256 of what the roster says of one client: keys, signature, member chain. */
WEFT_NODISCARD weft_status weft_secagg_leaf(uint8_t ret[32], const weft_secagg_keys *keys,
                                            weft_err *err);
/** The session: ctx and every entry of the roster in order. */
WEFT_NODISCARD weft_status weft_secagg_session(uint8_t ret[32], const uint8_t ctx[32], uint32_t n,
                                               weft_view entries, const weft_alloc *a,
                                               weft_err *err);
/** SHA-256(session, id, b). */
WEFT_NODISCARD weft_status weft_secagg_commitment(uint8_t ret[32], const uint8_t session[32],
                                                  const char *id, const uint8_t b[32],
                                                  weft_err *err);
/** The member key's signature over (ctx, c_pk, s_pk). */
WEFT_NODISCARD weft_status weft_secagg_keys_sign(uint8_t ret[64], const weft_sign_key *member_key,
                                                 const uint8_t ctx[32],
                                                 const weft_secagg_keys *keys, weft_err *err);
/** WEFT_E_AUTH when it does not hold. */
WEFT_NODISCARD weft_status weft_secagg_keys_verify(const uint8_t member_key[32],
                                                   const uint8_t ctx[32],
                                                   const weft_secagg_keys *keys, weft_err *err);
/** The signature by `by` that `whom` is included. */
WEFT_NODISCARD weft_status weft_secagg_included_sign(uint8_t ret[64],
                                                     const weft_sign_key *member_key,
                                                     const uint8_t session[32], const char *by,
                                                     const char *whom, weft_err *err);
WEFT_NODISCARD weft_status weft_secagg_included_verify(const uint8_t member_key[32],
                                                       const uint8_t session[32], const char *by,
                                                       const char *whom,
                                                       const uint8_t signature[64], weft_err *err);

/* ---- shares and masks ------------------------------------------------------------------------ */

/** Seal the shares of b and s_sk [64] that `from` has for `to`; x is the share's point. */
WEFT_NODISCARD weft_status weft_secagg_seal(uint8_t ret[WEFT_SECAGG_SEALED_BYTES],
                                            const weft_dh_key *c_sk, const uint8_t peer_c_pk[32],
                                            const uint8_t session[32], const char *from,
                                            const char *to, uint8_t x, const uint8_t shares[64],
                                            weft_err *err);
/** WEFT_E_AUTH when it was not sealed by `from` for `to` in this session. */
WEFT_NODISCARD weft_status weft_secagg_open(uint8_t ret[64], const weft_dh_key *c_sk,
                                            const uint8_t peer_c_pk[32], const uint8_t session[32],
                                            const char *from, const char *to, uint8_t x,
                                            const uint8_t sealed[WEFT_SECAGG_SEALED_BYTES],
                                            weft_err *err);
/** The key of the mask between two clients; the same for both. Secret. */
WEFT_NODISCARD weft_status weft_secagg_mask_key(uint8_t ret[32], const weft_dh_key *s_sk,
                                                const uint8_t peer_s_pk[32],
                                                const uint8_t session[32], const char *one,
                                                const char *other, weft_err *err);

/* ---- the graph ------------------------------------------------------------------------------- */

/**
 * The ring: a permutation of 0..n-1 expanded from SHA-256(session, "graph").
 * @param ring      [n], who is at a place.
 * @param place     [n], where one is.
 */
WEFT_NODISCARD weft_status weft_secagg_ring(uint32_t *ring, uint32_t *place, uint32_t n,
                                            const uint8_t session[32], const weft_alloc *a,
                                            weft_err *err);
/** The k neighbours of i, ascending; in a complete graph ring and place may be NULL. */
void weft_secagg_neighbours(uint32_t *ret, const weft_secagg_params *params, const uint32_t *ring,
                            const uint32_t *place, uint32_t i);

#endif
