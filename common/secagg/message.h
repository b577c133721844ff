/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of the protocol and their bytes. The machines (client.h, server.h) read and write
 * them; the shells carry them as opaque bytes. Masked vectors are not among them: they travel as
 * updates with encoding "masked_u32".
 *
 * Every message: 1. "WS"  2. u8 version (1)  3. u8 type  4. [32] ctx (types 1, 2) or session (all
 * others)  5. the body; integers little-endian; nothing may follow. A bitmap over a client's k
 * neighbours (in roster order) has ceil(k / 8) bytes, least significant bit first, the rest zero.
 *
 *   1 advertise (client)  c_pk[32] s_pk[32] signature[64] u16 n, member chain[n]
 *   2 roster              u32 n, u16 k, u16 t, then n times: u8 n, id[n], leaf[32];
 *                         then k times: u32 index, c_pk, s_pk, signature, u16 n, chain[n]
 *   3 shares (client)     commitment[32] u16 k, then k times a sealed share [80]
 *   4 delivery            u16 k, bitmap senders, then for each sender: sealed share [80]
 *   5 survivors           u16 k, u8 included, bitmap alive, bitmap dropped
 *   6 confirm (client)    u16 n, then for each alive neighbour: signature[64]
 *   7 unmask              u16 k, u8 included, bitmap alive, bitmap dropped, bitmap signers, then
 *                         for each signer: signature[64] over (session, "included", signer, me)
 *   8 answer (client)     u16 n, then for each neighbour, alive or dropped: share[32]
 *   9 abort (client)      u8 reason, u8 n, who[n]
 *
 * Decoded pointers point into the bytes. Pure; any thread; no allocation.
 */
#ifndef WEFT_SECAGG_MESSAGE_H
#define WEFT_SECAGG_MESSAGE_H

#include "base/buf.h"
#include "base/limits.h"
#include "crypto/member.h"
#include "secagg/context.h"
#include "secagg/reason.h"

#define WEFT_SECAGG_KEY_BYTES       32
#define WEFT_SECAGG_SHARE_BYTES     32
#define WEFT_SECAGG_SEALED_BYTES    80 /* a share of b, a share of s_sk, the tag */
#define WEFT_SECAGG_SIGNATURE_BYTES 64
#define WEFT_SECAGG_BITMAP_BYTES    ((WEFT_MAX_SECAGG_NEIGHBOURS + 7) / 8)

typedef enum weft_secagg_type {
    WEFT_SECAGG_ADVERTISE = 1,
    WEFT_SECAGG_ROSTER = 2,
    WEFT_SECAGG_SHARES = 3,
    WEFT_SECAGG_DELIVERY = 4,
    WEFT_SECAGG_SURVIVORS = 5,
    WEFT_SECAGG_CONFIRM = 6,
    WEFT_SECAGG_UNMASK = 7,
    WEFT_SECAGG_ANSWER = 8,
    WEFT_SECAGG_ABORT = 9
} weft_secagg_type;

/* The two public keys of one client for one session, signed. */
typedef struct weft_secagg_keys {
    uint8_t c_pk[WEFT_SECAGG_KEY_BYTES]; /* encrypts shares */
    uint8_t s_pk[WEFT_SECAGG_KEY_BYTES]; /* agrees on masks */
    uint8_t signature[WEFT_SECAGG_SIGNATURE_BYTES];
    weft_view chain; /* 1..WEFT_MAX_CHAIN_BYTES, common/crypto/member.h */
} weft_secagg_keys;

typedef struct weft_secagg_entry {
    uint8_t id_n;
    const char *id;      /* [id_n], no terminating zero */
    const uint8_t *leaf; /* [32] */
} weft_secagg_entry;

typedef struct weft_secagg_neighbour {
    uint32_t index; /* in the roster */
    weft_secagg_keys keys;
} weft_secagg_neighbour;

typedef struct weft_secagg_roster {
    uint32_t n;
    uint16_t k, t;        /* as the coordinator computed them */
    weft_view entries;    /* n of them, checked: read with weft_secagg_entry_next */
    weft_view neighbours; /* k of them, checked: read with weft_secagg_neighbour_next */
} weft_secagg_roster;

typedef struct weft_secagg_message {
    weft_secagg_type type;
    const uint8_t *session; /* [32]; ctx for advertise and roster */
    union {
        weft_secagg_keys advertise;
        weft_secagg_roster roster;
        struct {
            const uint8_t *commitment; /* [32] */
            uint16_t k;
            const uint8_t *sealed; /* [k][80] */
        } shares;
        struct {
            uint16_t k, n;
            const uint8_t *senders; /* bitmap of n */
            const uint8_t *sealed;  /* [n][80] */
        } delivery;
        struct {
            uint16_t k;
            bool included;
            const uint8_t *alive, *dropped; /* bitmaps; may overlap: the machine checks */
            uint16_t n_signers;             /* unmask only */
            const uint8_t *signers;         /* bitmap, unmask only */
            const uint8_t *signatures;      /* [n_signers][64], unmask only */
        } lists;                            /* survivors, unmask */
        struct {
            uint16_t n;
            const uint8_t *signatures; /* [n][64] */
        } confirm;
        struct {
            uint16_t n;
            const uint8_t *shares; /* [n][32] */
        } answer;
        weft_secagg_abort abort;
    } of;
} weft_secagg_message;

/**
 * Read exactly size bytes. encode(decode(x)) == x.
 * @return WEFT_E_LIMIT above the type's limit; WEFT_E_FORMAT says what is wrong. ret only on
 *         success; its pointers point into data.
 */
WEFT_NODISCARD weft_status weft_secagg_decode(weft_secagg_message *ret, const void *data,
                                              size_t size, weft_err *err);
/** Append. WEFT_E_INVALID a count out of range; WEFT_E_LIMIT, WEFT_E_NOMEM. */
WEFT_NODISCARD weft_status weft_secagg_encode(weft_buf *out, const weft_secagg_message *message,
                                              weft_err *err);

/** The next entry of a decoded roster (or of one being decoded); false at the end or when cut. */
bool weft_secagg_entry_next(weft_secagg_entry *ret, weft_reader *r);
bool weft_secagg_neighbour_next(weft_secagg_neighbour *ret, weft_reader *r);

/** Append one roster entry or neighbour as weft_secagg_roster holds them. WEFT_E_LIMIT, NOMEM. */
WEFT_NODISCARD weft_status weft_secagg_entry_add(weft_buf *out, const char *id,
                                                 const uint8_t leaf[WEFT_SECAGG_DIGEST_BYTES],
                                                 weft_err *err);
WEFT_NODISCARD weft_status weft_secagg_neighbour_add(weft_buf *out, uint32_t index,
                                                     const weft_secagg_keys *keys, weft_err *err);

/** "advertise", ...; "unknown". Static string. */
const char *weft_secagg_type_name(weft_secagg_type type);

#endif
