/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's trust: its keys and certificates, loaded once, and the decisions about
 * identities: may this invitation be registered, may this token enrol with this key, may this
 * client renew? The answers are certificates or precise refusals; who asks keeps the records (the
 * store) and the time.
 *
 * The operator's private key is never here: membership is verified with its public key.
 *
 * Threads: any; a weft_auth is immutable after open. Certificates are signed with OpenSSL's nonces
 * and entropy's serial numbers, all else is a function of the arguments.
 */
#ifndef WEFT_AUTH_H
#define WEFT_AUTH_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/rng.h"
#include "crypto/cert.h"
#include "crypto/member.h"
#include "crypto/receipt.h"
#include "ledger/head.h"

/* A one-time token of a join file. */
#define WEFT_AUTH_TOKEN_BYTES 32
/* One issued certificate as PEM: about 1.1 KiB with the longest names. */
#define WEFT_AUTH_MAX_CERT_BYTES 4096
/* Client certificates live so long unless configured otherwise; clients renew after two thirds. */
#define WEFT_AUTH_LIFETIME_DAYS 30U
/* The coordinator's and operators' certificates: renewed after two thirds, too (60 days). */
#define WEFT_AUTH_SERVER_DAYS   90
#define WEFT_AUTH_OPERATOR_DAYS 90
/* Certificates begin so long before now: clocks of partners may be behind. */
#define WEFT_AUTH_BACKDATE_MS (INT64_C(5) * 60 * 1000)

/* ---- the coordinator's keys ------------------------------------------------------------------ */

/* Paths; what weft_server_config holds. */
typedef struct weft_auth_files {
    const char *ca_certificate;
    const char *ca_key;
    const char *certificate;
    const char *key;
    const char *receipt_key;
    const char *operator_public_key;
} weft_auth_files;

typedef struct weft_auth weft_auth;

/**
 * Load and check everything: formats, modes of private keys (nobody but the owner may read them),
 * that keys and certificates belong together, roles, expiry. The coordinator's own certificate may
 * have expired: weft_auth_server_renew_at says so, weft_auth_renew_server mends it.
 * @param ret            the caller's to free.
 * @param lifetime_days  of client certificates, 1..3650.
 * @return WEFT_E_NOTFOUND, WEFT_E_IO, WEFT_E_FORMAT, WEFT_E_AUTH with file and reason;
 * WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_auth_open(weft_auth **ret, const weft_auth_files *files,
                                          uint32_t lifetime_days, int64_t now_unix_ms,
                                          const weft_alloc *a, weft_err *err);
/** Wipe and free. NULL is allowed. */
void weft_auth_free(weft_auth *auth);

/** The federation that the authority's certificate names. This and the following live with auth. */
const char *weft_auth_federation(const weft_auth *auth);
const char *weft_auth_ca_pem(const weft_auth *auth);
const char *weft_auth_certificate_pem(const weft_auth *auth);
const char *weft_auth_key_pem(const weft_auth *auth);            /* secret */
const uint8_t *weft_auth_operator_public(const weft_auth *auth); /* [32] */
const uint8_t *weft_auth_receipt_public(const weft_auth *auth);  /* [32] */
/** Sign a head of the ledger, with the same key. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_auth_sign_head(weft_tree_head *head, const weft_auth *auth,
                                               weft_err *err);
/** Sign a receipt. WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_auth_sign_receipt(uint8_t ret[WEFT_SIGN_SIGNATURE_BYTES],
                                                  const weft_auth *auth,
                                                  const weft_receipt_fields *fields, weft_err *err);

/* ---- decisions ------------------------------------------------------------------------------- */

typedef enum weft_auth_state {
    WEFT_AUTH_INVITED = 1,
    WEFT_AUTH_ENROLLED = 2,
    WEFT_AUTH_REVOKED = 3
} weft_auth_state;

/* What the store has on record about one client. Views are borrowed. */
typedef struct weft_auth_record {
    const char *client;
    weft_auth_state state;
    uint8_t token_digest[WEFT_SHA256_BYTES];
    weft_view invitation; /* as registered */
    /* enrolled only */
    uint8_t csr_key_digest[WEFT_SHA256_BYTES]; /* weft_key_digest of the present transport key */
    uint8_t member_key[WEFT_SIGN_PUBLIC_BYTES];
} weft_auth_record;

/* A certificate that was granted: what to answer and what to record. */
typedef struct weft_auth_grant {
    char client[WEFT_MAX_NAME_BYTES + 1];
    uint8_t csr_key_digest[WEFT_SHA256_BYTES];
    uint8_t member_key[WEFT_SIGN_PUBLIC_BYTES];
    uint8_t fingerprint[WEFT_SHA256_BYTES]; /* of the certificate's DER */
    int64_t not_after_unix_ms;
    bool repeated; /* enrolment: the record says the same already; only the certificate is new */
    size_t pem_size;
    char pem[WEFT_AUTH_MAX_CERT_BYTES]; /* [pem_size], not zero-terminated */
} weft_auth_grant;

/**
 * May this invitation be registered (Admin.Invite)? Signed by our operator, for our federation and
 * this client, not expired.
 * @return WEFT_E_FORMAT, WEFT_E_LIMIT, WEFT_E_AUTH, WEFT_E_INVALID with the reason.
 */
WEFT_NODISCARD weft_status weft_auth_check_invitation(weft_invitation *ret, const weft_auth *auth,
                                                      const char *client, weft_view token_digest,
                                                      weft_view invitation, int64_t now_unix_ms,
                                                      weft_err *err);

/** SHA-256 of a token: what records are looked up by. WEFT_E_INVALID not 32 bytes. */
WEFT_NODISCARD weft_status weft_auth_token_digest(uint8_t ret[WEFT_SHA256_BYTES], weft_view token,
                                                  weft_err *err);
/** The refusal for a token that no record has, the same text as for one that was replaced. */
WEFT_NODISCARD weft_status weft_auth_unknown_token(weft_err *err);

typedef struct weft_auth_enrolment {
    weft_view token;
    weft_view csr_der;
    weft_view member_chain;
} weft_auth_enrolment;

/**
 * Decide on an enrolment. The same token with the same transport and member key again is granted a
 * certificate again (a lost reply does not burn the token), also after the invitation expired;
 * with another key it is refused.
 * @param record  of the token's digest (weft_auth_token_digest).
 * @return WEFT_E_AUTH refused; WEFT_E_FORMAT, WEFT_E_LIMIT bytes that cannot be read;
 * WEFT_E_CRYPTO.
 */
WEFT_NODISCARD weft_status weft_auth_enroll(weft_auth_grant *ret, const weft_auth *auth,
                                            const weft_auth_record *record,
                                            const weft_auth_enrolment *request,
                                            const weft_entropy *entropy, int64_t now_unix_ms,
                                            weft_err *err);

/**
 * Decide on a renewal: the member key vouches for the new request, whether or not the present
 * certificate is still valid. grant->repeated is false.
 * @param signature  64 bytes over ("weft renew 1", federation, client, csr).
 * @return as weft_auth_enroll.
 */
WEFT_NODISCARD weft_status weft_auth_renew(weft_auth_grant *ret, const weft_auth *auth,
                                           const weft_auth_record *record, weft_view csr_der,
                                           weft_view signature, const weft_entropy *entropy,
                                           int64_t now_unix_ms, weft_err *err);

/**
 * Decide on the renewal of an operator's transport certificate: the federation's operator key
 * vouches for the request, whether or not the present certificate is still valid. A certificate
 * alone renews nothing: one that is stolen ends with its time.
 * @param ret        client is the operator's name, member_key zero.
 * @param name       of the operator.
 * @param signature  64 bytes, as of weft_operator_renewal_sign.
 * @return as weft_auth_renew.
 */
WEFT_NODISCARD weft_status weft_auth_renew_operator(weft_auth_grant *ret, const weft_auth *auth,
                                                    const char *name, weft_view csr_der,
                                                    weft_view signature,
                                                    const weft_entropy *entropy,
                                                    int64_t now_unix_ms, weft_err *err);

/** When the coordinator's own certificate should be renewed; INT64_MAX: it ends with the authority.
 */
int64_t weft_auth_server_renew_at(const weft_auth *auth);
/**
 * Append the successor (PEM) of the coordinator's own certificate: the same key, hosts and name,
 * WEFT_AUTH_SERVER_DAYS from now. auth itself keeps the certificate it has loaded.
 * @param ret_renew_at  when the successor in its turn should be renewed.
 * @return WEFT_E_AUTH the authority has expired; WEFT_E_CRYPTO; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_auth_renew_server(weft_buf *out, int64_t *ret_renew_at,
                                                  const weft_auth *auth,
                                                  const weft_entropy *entropy, int64_t now_unix_ms,
                                                  weft_err *err);

/** When a certificate should be renewed: two thirds between the two times. */
int64_t weft_auth_renew_at(int64_t not_before_unix_ms, int64_t not_after_unix_ms);

#endif
