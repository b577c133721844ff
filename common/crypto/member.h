/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Membership: operator -> invitation -> member. The operator's Ed25519 key signs an invitation key
 * with a client's name and an expiry; that key, sent to the partner out of band, signs the member
 * key that the client made itself. Whoever knows the operator's public key verifies the chain; the
 * coordinator can neither invent nor impersonate a member.
 *
 * Formats, all integers little-endian, version 1:
 *   invitation: 1. "WFI1"  2. u32 n, federation  3. u32 n, client  4. u64 expiry, unix ms
 *               5. invitation public key [32]  6. operator's signature [64]
 *   chain:      1. "WFM1"  2. u32 n, invitation as above  3. member public key [32]
 *               4. signature by the invitation key [64]
 * What is signed is never these bytes but a statement: u32 n, domain ("weft invitation 1",
 * "weft member 1", "weft renew 1"), then each field as u32 n, bytes.
 *
 * Pure, no allocation but in the caller's buffers; any thread.
 */
#ifndef WEFT_CRYPTO_MEMBER_H
#define WEFT_CRYPTO_MEMBER_H

#include "base/limits.h"
#include "crypto/sign.h"

/* 4 + (4 + name) * 2 + 8 + 32 + 64 */
#define WEFT_MAX_INVITATION_BYTES (4 + 2 * (4 + WEFT_MAX_NAME_BYTES) + 8 + 32 + 64)
#define WEFT_MAX_CHAIN_BYTES      (4 + 4 + WEFT_MAX_INVITATION_BYTES + 32 + 64)

/* As `now` of a verification: the expiry does not matter. It bounds enrolment only; the chain of a
 * client that enrolled in time stays good. */
#define WEFT_MEMBER_ANY_TIME INT64_MIN

typedef struct weft_invitation {
    char federation[WEFT_MAX_NAME_BYTES + 1];
    char client[WEFT_MAX_NAME_BYTES + 1];
    int64_t expires_unix_ms;
    uint8_t public_key[WEFT_SIGN_PUBLIC_BYTES];   /* of the invitation key */
    uint8_t signature[WEFT_SIGN_SIGNATURE_BYTES]; /* by the operator key */
} weft_invitation;

typedef struct weft_member_chain {
    weft_invitation invitation;
    uint8_t member_key[WEFT_SIGN_PUBLIC_BYTES];
    uint8_t signature[WEFT_SIGN_SIGNATURE_BYTES]; /* by the invitation key */
} weft_member_chain;

/**
 * Invite: sign an invitation key with the operator key.
 * @param invitation_key  [32], the public part of a fresh pair; its seed goes into the join file.
 * @return WEFT_E_INVALID a name or an expiry <= 0; WEFT_E_CRYPTO.
 */
WEFT_NODISCARD weft_status weft_invitation_make(weft_invitation *ret,
                                                const weft_sign_key *operator_key,
                                                const char *federation, const char *client,
                                                int64_t expires_unix_ms,
                                                const uint8_t invitation_key[32], weft_err *err);
/** Append the encoded invitation (at most WEFT_MAX_INVITATION_BYTES). */
WEFT_NODISCARD weft_status weft_invitation_encode(weft_buf *out, const weft_invitation *invitation,
                                                  weft_err *err);
/** Read exactly n bytes; decode(encode(x)) == x. WEFT_E_FORMAT, WEFT_E_LIMIT. */
WEFT_NODISCARD weft_status weft_invitation_decode(weft_invitation *ret, const void *data, size_t n,
                                                  weft_err *err);
/**
 * Signed by this operator, for this federation, not expired at now?
 * @param federation   NULL: any.
 * @param now_unix_ms  WEFT_MEMBER_ANY_TIME: the expiry is not looked at.
 * @return WEFT_E_AUTH with the reason.
 */
WEFT_NODISCARD weft_status weft_invitation_verify(const weft_invitation *invitation,
                                                  const uint8_t operator_public[32],
                                                  const char *federation, int64_t now_unix_ms,
                                                  weft_err *err);

/** Accept an invitation: sign the member's public key with the invitation key. WEFT_E_AUTH when
 *  the key is not the invitation's. */
WEFT_NODISCARD weft_status weft_member_make(weft_member_chain *ret,
                                            const weft_invitation *invitation,
                                            const weft_sign_key *invitation_key,
                                            const uint8_t member_key[32], weft_err *err);
/** Append the encoded chain (at most WEFT_MAX_CHAIN_BYTES). */
WEFT_NODISCARD weft_status weft_member_encode(weft_buf *out, const weft_member_chain *chain,
                                              weft_err *err);
/** Read exactly n bytes; decode(encode(x)) == x. WEFT_E_FORMAT, WEFT_E_LIMIT. */
WEFT_NODISCARD weft_status weft_member_decode(weft_member_chain *ret, const void *data, size_t n,
                                              weft_err *err);
/** The whole chain, parameters as weft_invitation_verify. WEFT_E_AUTH with the reason. */
WEFT_NODISCARD weft_status weft_member_verify(const weft_member_chain *chain,
                                              const uint8_t operator_public[32],
                                              const char *federation, int64_t now_unix_ms,
                                              weft_err *err);

/** Sign a certificate renewal with the member key: ("weft renew 1", federation, client, csr).
 *  @param csr  [n], at most WEFT_MAX_CSR_BYTES. WEFT_E_LIMIT, WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_renewal_sign(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES],
                                             const weft_sign_key *member_key,
                                             const char *federation, const char *client,
                                             const void *csr, size_t n, weft_err *err);
/** WEFT_E_AUTH when the signature is not the member's over exactly this. */
WEFT_NODISCARD weft_status weft_renewal_verify(const uint8_t member_public[32],
                                               const char *federation, const char *client,
                                               const void *csr, size_t n,
                                               const uint8_t signature[64], weft_err *err);

/** The same for an operator's transport certificate, with the federation's operator key:
 *  ("weft renew operator 1", federation, name, csr). No client's signature can be mistaken for it.
 *  WEFT_E_LIMIT, WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_operator_renewal_sign(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES],
                                                      const weft_sign_key *operator_key,
                                                      const char *federation, const char *name,
                                                      const void *csr, size_t n, weft_err *err);
/** WEFT_E_AUTH when the signature is not the operator key's over exactly this. */
WEFT_NODISCARD weft_status weft_operator_renewal_verify(const uint8_t operator_public[32],
                                                        const char *federation, const char *name,
                                                        const void *csr, size_t n,
                                                        const uint8_t signature[64], weft_err *err);

#endif
