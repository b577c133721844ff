/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transport identity: P-256 keys, certificate requests and X.509 certificates of a federation's
 * own authority. A certificate names its owner in one SAN URI,
 *
 *     weft://<federation>/<role>/<name>        role: coordinator, operator or client
 *
 * (the authority itself: weft://<federation>/authority/ca) and nothing else in it is trusted.
 * Transport certificates open connections; membership is a matter of crypto/member.h. Pure but for
 * OpenSSL's own generator (P-256 keys, ECDSA nonces); any thread; handles belong to one thread at a
 * time.
 */
#ifndef WEFT_CRYPTO_CERT_H
#define WEFT_CRYPTO_CERT_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/rng.h"
#include "crypto/hash.h"

/* One PKCS#10 request: a P-256 one takes about 200 bytes. */
#define WEFT_MAX_CSR_BYTES 2048
/* Host names of a coordinator's certificate. */
#define WEFT_MAX_CERT_HOSTS      16
#define WEFT_MAX_HOST_NAME_BYTES 253
/* "weft://" + federation + "/coordinator/" + name */
#define WEFT_MAX_IDENTITY_URI_BYTES (7 + WEFT_MAX_NAME_BYTES + 13 + WEFT_MAX_NAME_BYTES)

/* ---- identity ------------------------------------------------------------------------------- */

typedef enum weft_role {
    WEFT_ROLE_NONE = 0, /* no certificate */
    WEFT_ROLE_COORDINATOR = 1,
    WEFT_ROLE_OPERATOR = 2,
    WEFT_ROLE_CLIENT = 3,
    WEFT_ROLE_AUTHORITY = 4 /* the federation's own CA; never issued to anybody */
} weft_role;

typedef struct weft_identity {
    char federation[WEFT_MAX_NAME_BYTES + 1];
    weft_role role;
    char name[WEFT_MAX_NAME_BYTES + 1];
} weft_identity;

/** "coordinator", "operator", "client", "authority" or "none". Static string. */
const char *weft_role_name(weft_role role);
/** Set federation, role and name. WEFT_E_INVALID naming what is not acceptable. */
WEFT_NODISCARD weft_status weft_identity_set(weft_identity *ret, const char *federation,
                                             weft_role role, const char *name, weft_err *err);
/** Read "weft://<federation>/<role>/<name>", not zero-terminated. WEFT_E_FORMAT. */
WEFT_NODISCARD weft_status weft_identity_parse(weft_identity *ret, const char *uri, size_t n,
                                               weft_err *err);
/** Print the URI; out is zero-terminated. */
void weft_identity_print(char out[WEFT_MAX_IDENTITY_URI_BYTES + 1], const weft_identity *id);

/* ---- keys ----------------------------------------------------------------------------------- */

typedef struct weft_key weft_key; /* P-256: a pair, or a public part alone */

/** A fresh pair; *ret is the caller's to free. WEFT_E_NOMEM, WEFT_E_CRYPTO. */
WEFT_NODISCARD weft_status weft_key_generate(weft_key **ret, const weft_alloc *a, weft_err *err);
/** Read a private key: PKCS#8 or SEC 1 PEM, P-256, not encrypted. WEFT_E_FORMAT, WEFT_E_LIMIT. */
WEFT_NODISCARD weft_status weft_key_from_pem(weft_key **ret, const void *pem, size_t n,
                                             const weft_alloc *a, weft_err *err);
/** Append the private key as PKCS#8 PEM (secret: wipe the buffer). */
WEFT_NODISCARD weft_status weft_key_to_pem(weft_buf *out, const weft_key *key, weft_err *err);
/** SHA-256 of the public part (SubjectPublicKeyInfo DER): the name of a transport key. */
WEFT_NODISCARD weft_status weft_key_digest(uint8_t ret[WEFT_SHA256_BYTES], const weft_key *key,
                                           weft_err *err);
/** Free; NULL is allowed. OpenSSL wipes the private part. */
void weft_key_free(weft_key *key);

/* ---- requests ------------------------------------------------------------------------------- */

/** Append a PKCS#10 request (DER) for the pair. It names nobody: the issuer decides the name. */
WEFT_NODISCARD weft_status weft_csr_make(weft_buf *out, const weft_key *key, weft_err *err);
/**
 * Read a request and check that its sender holds the key.
 * @param ret  the public part, the caller's to free.
 * @return WEFT_E_LIMIT above WEFT_MAX_CSR_BYTES; WEFT_E_FORMAT not a P-256 request; WEFT_E_AUTH
 *         its own signature does not hold.
 */
WEFT_NODISCARD weft_status weft_csr_open(weft_key **ret, const void *der, size_t n,
                                         const weft_alloc *a, weft_err *err);

/* ---- certificates --------------------------------------------------------------------------- */

typedef struct weft_cert_spec {
    weft_identity id;
    int64_t not_before_unix_ms; /* the caller back-dates for clocks that are behind */
    int64_t not_after_unix_ms;  /* > not_before; whole seconds count */
    const char *const *hosts;   /* [n_hosts] DNS names or IP addresses; coordinator only */
    size_t n_hosts;             /* 0..WEFT_MAX_CERT_HOSTS */
} weft_cert_spec;

/** Append a self-signed authority (PEM) for the pair: signs certificates, nothing else. */
WEFT_NODISCARD weft_status weft_cert_make_ca(weft_buf *out, const weft_key *key,
                                             const char *federation, int64_t not_before_unix_ms,
                                             int64_t not_after_unix_ms, const weft_entropy *entropy,
                                             weft_err *err);
/**
 * Append a certificate (PEM) for the subject's public part: serverAuth for a coordinator,
 * clientAuth for operators and clients, a random 128-bit serial number.
 * @param subject  a pair, or what weft_csr_open returned.
 * @return WEFT_E_INVALID a name, host or time; WEFT_E_AUTH ca_key does not belong to ca_pem.
 */
WEFT_NODISCARD weft_status weft_cert_issue(weft_buf *out, const weft_cert_spec *spec,
                                           const weft_key *subject, weft_view ca_pem,
                                           const weft_key *ca_key, const weft_entropy *entropy,
                                           weft_err *err);

/**
 * Append a certificate (PEM) with the names, hosts and key of an earlier one, other times and
 * another serial number. Says nothing about who signed the earlier one: see weft_cert_verify.
 * @return WEFT_E_FORMAT not a certificate; WEFT_E_INVALID times; WEFT_E_AUTH ca_key does not
 *         belong to ca_pem, or the certificate is an authority's.
 */
WEFT_NODISCARD weft_status weft_cert_reissue(weft_buf *out, weft_view pem,
                                             int64_t not_before_unix_ms, int64_t not_after_unix_ms,
                                             weft_view ca_pem, const weft_key *ca_key,
                                             const weft_entropy *entropy, weft_err *err);

typedef struct weft_cert_info {
    weft_identity id;
    int64_t not_before_unix_ms;
    int64_t not_after_unix_ms;
    uint8_t fingerprint[WEFT_SHA256_BYTES]; /* of the certificate's DER */
    uint8_t key_digest[WEFT_SHA256_BYTES];  /* as weft_key_digest */
} weft_cert_info;

/**
 * Read the first certificate of a PEM. Says nothing about who signed it: TLS or weft_cert_verify
 * has to. WEFT_E_FORMAT, WEFT_E_LIMIT above WEFT_MAX_PEM_BYTES.
 */
WEFT_NODISCARD weft_status weft_cert_parse(weft_cert_info *ret, const void *pem, size_t n,
                                           weft_err *err);
/** WEFT_E_AUTH when the certificate is for another key. */
WEFT_NODISCARD weft_status weft_cert_check_key(weft_view pem, const weft_key *key, weft_err *err);
/**
 * Signed by this authority, for this role, valid at now?
 * @param role  WEFT_ROLE_NONE: any.
 * @return WEFT_E_AUTH with the reason ("expired on 2026-01-02 ...", "of another authority").
 */
WEFT_NODISCARD weft_status weft_cert_verify(weft_view pem, weft_view ca_pem, weft_role role,
                                            int64_t now_unix_ms, weft_err *err);

#endif
