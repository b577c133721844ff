/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The member list as the coordinator knows it: invitations, enrolled clients, their certificates,
 * revocations. Policy (who may, signatures) is auth's; the store keeps rows and their history.
 *
 * Owner thread. Changes run inside weft_store_begin .. weft_store_commit.
 */
#ifndef WEFT_STORE_CLIENTS_H
#define WEFT_STORE_CLIENTS_H

#include "store/store.h"

typedef enum weft_store_client_status {
    WEFT_STORE_CLIENT_INVITED = 1,
    WEFT_STORE_CLIENT_ENROLLED = 2,
    WEFT_STORE_CLIENT_REVOKED = 3
} weft_store_client_status;

#define WEFT_STORE_KEY_BYTES 32
/* "weft-client 0.1.0 (linux x86_64)": one word of software and its version. */
#define WEFT_STORE_MAX_SOFTWARE_BYTES 64
/* Invitations, member chains, certificates: a few hundred bytes each. */
#define WEFT_STORE_MAX_CHAIN_BYTES (16U << 10)

typedef struct weft_store_dataset {
    char name[WEFT_MAX_NAME_BYTES + 1];
    uint64_t n_examples;
} weft_store_dataset;

typedef struct weft_store_client_row {
    char name[WEFT_MAX_NAME_BYTES + 1];
    weft_store_client_status status;
    char reason[WEFT_REASON_BYTES]; /* of the revocation */
    int64_t since_unix_ms;          /* of the present status */
    uint8_t token_digest[WEFT_DIGEST_BYTES];
    weft_view invitation; /* signed by the operator */
    int64_t invitation_expires_unix_ms;
    /* from enrolment on (else zero and empty) */
    uint8_t csr_key_digest[WEFT_DIGEST_BYTES]; /* SHA-256 of the request's public key */
    weft_view member_chain;
    uint8_t member_public_key[WEFT_STORE_KEY_BYTES];
    /* the newest certificate */
    uint8_t certificate_fingerprint[WEFT_DIGEST_BYTES];
    int64_t certificate_expires_unix_ms;
    weft_view certificate_pem; /* what Enroll answers again to a repeated request */
    /* from check-ins */
    char software[WEFT_STORE_MAX_SOFTWARE_BYTES + 1];
    int64_t last_seen_unix_ms; /* 0: never */
    uint32_t n_datasets;
    weft_store_dataset datasets[WEFT_MAX_DATASETS];
    uint64_t updates_accepted;
} weft_store_client_row;

/**
 * Record an invitation. A name that is invited and not enrolled yet gets the new token (the old one
 * is void); so does a revoked name (it starts over with new keys).
 * @return WEFT_E_CONFLICT the name is enrolled, or the token is another name's.
 */
WEFT_NODISCARD weft_status weft_store_client_invite(weft_store *store, const char *name,
                                                    const uint8_t token_digest[WEFT_DIGEST_BYTES],
                                                    weft_view invitation, int64_t expires_unix_ms,
                                                    weft_err *err);

/**
 * Record an enrolment. The same (token, key, chain) again changes nothing.
 * @return WEFT_E_NOTFOUND no such token; WEFT_E_CONFLICT the token was used with another key or
 *         member chain, or the member key is another client's; WEFT_E_AUTH revoked.
 */
WEFT_NODISCARD weft_status
weft_store_client_enrol(weft_store *store, const uint8_t token_digest[WEFT_DIGEST_BYTES],
                        const uint8_t csr_key_digest[WEFT_DIGEST_BYTES], weft_view member_chain,
                        const uint8_t member_public_key[WEFT_STORE_KEY_BYTES], weft_err *err);

/**
 * Record a certificate that was issued (enrolment, renewal). Earlier ones stay valid until they
 * expire. @param csr_key_digest  the key it is for; becomes the client's present one.
 * @return WEFT_E_NOTFOUND; WEFT_E_AUTH revoked; WEFT_E_CONFLICT the fingerprint is known already.
 */
WEFT_NODISCARD weft_status weft_store_client_certificate(
    weft_store *store, const char *name, const uint8_t fingerprint[WEFT_DIGEST_BYTES],
    const uint8_t csr_key_digest[WEFT_DIGEST_BYTES], weft_view pem, int64_t expires_unix_ms,
    weft_err *err);

/** Revoke; again is harmless. All its certificates are void with it. WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_store_client_revoke(weft_store *store, const char *name,
                                                    const char *reason, weft_err *err);

/** Note a check-in: software, declared data sets (at most WEFT_MAX_DATASETS), time of the batch. */
WEFT_NODISCARD weft_status weft_store_client_seen(weft_store *store, const char *name,
                                                  const char *software,
                                                  const weft_store_dataset *datasets,
                                                  uint32_t n_datasets, weft_err *err);

/** The row is borrowed for the call. */
typedef weft_status (*weft_store_client_fn)(void *arg, const weft_store_client_row *row,
                                            weft_err *err);
/** Lookups call fn once. WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_store_client_by_name(weft_store *store, const char *name,
                                                     weft_store_client_fn fn, void *arg,
                                                     weft_err *err);
WEFT_NODISCARD weft_status weft_store_client_by_token(weft_store *store,
                                                      const uint8_t token_digest[WEFT_DIGEST_BYTES],
                                                      weft_store_client_fn fn, void *arg,
                                                      weft_err *err);
/**
 * By any of its certificates; the row's certificate is the newest one all the same.
 * @return WEFT_E_NOTFOUND not issued here; WEFT_E_AUTH revoked with its client.
 */
WEFT_NODISCARD weft_status
weft_store_client_by_certificate(weft_store *store, const uint8_t fingerprint[WEFT_DIGEST_BYTES],
                                 weft_store_client_fn fn, void *arg, weft_err *err);
/** All, by name. */
WEFT_NODISCARD weft_status weft_store_each_client(weft_store *store, weft_store_client_fn fn,
                                                  void *arg, weft_err *err);

typedef struct weft_store_certificate {
    const char *client;
    uint8_t fingerprint[WEFT_DIGEST_BYTES]; /* SHA-256 of the DER */
    int64_t issued_unix_ms;
    int64_t expires_unix_ms;
} weft_store_certificate;
typedef weft_status (*weft_store_certificate_fn)(void *arg, const weft_store_certificate *item,
                                                 weft_err *err);
/** Every certificate of clients that are enrolled: the allow list. By client, then time. */
WEFT_NODISCARD weft_status weft_store_each_certificate(weft_store *store,
                                                       weft_store_certificate_fn fn, void *arg,
                                                       weft_err *err);

#endif
