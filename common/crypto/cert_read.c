/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and verifying certificates. No state of its own, any thread. */
#include "crypto/cert.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crypto/cert_priv.h"

weft_status weft_cert_read_pem(X509 **ret, weft_view pem, weft_err *err)
{
    WEFT_AUTO_BIO *bio = NULL;
    WEFT_TRY(weft_openssl_pem_bio(&bio, pem.data, pem.size, err));
    X509 *cert = PEM_read_bio_X509(bio, NULL, weft_openssl_no_passphrase, NULL);
    ERR_clear_error(); /* the line below says it better */
    if (!cert) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "no PEM certificate (-----BEGIN CERTIFICATE-----) that can be read");
    }
    *ret = cert;
    return WEFT_OK;
}

bool weft_cert_has_key(const X509 *cert, const weft_key *key)
{
    EVP_PKEY *pkey = X509_get0_pubkey(cert);
    const bool same = pkey && EVP_PKEY_eq(pkey, key->pkey) == 1;
    ERR_clear_error(); /* different types are an answer, not an error */
    return same;
}

/* The one URI with our scheme among the certificate's names. */
static weft_status find_identity(weft_identity *ret, const GENERAL_NAMES *names, weft_err *err)
{
    int found = 0;
    const int n = names ? sk_GENERAL_NAME_num(names) : 0;
    for (int i = 0; i < n; i++) {
        int type = 0;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        if (type != GEN_URI) {
            continue;
        }
        WEFT_TRY(weft_identity_parse(ret, (const char *)ASN1_STRING_get0_data(value),
                                     (size_t)ASN1_STRING_length(value), err));
        found++;
    }
    if (found != 1) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the certificate names %d identities (weft://...), not one",
                  found);
    }
    return WEFT_OK;
}

static weft_status read_identity(weft_identity *ret, const X509 *cert, weft_err *err)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    weft_identity id;
    const weft_status status = find_identity(&id, names, err);
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    if (status == WEFT_OK) {
        *ret = id;
    }
    return status;
}

static weft_status read_time(int64_t *ret, const ASN1_TIME *time, weft_err *err)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1) {
        ERR_clear_error();
        WEFT_FAIL(err, WEFT_E_FORMAT, "the certificate's times cannot be read");
    }
    *ret = (int64_t)timegm(&tm) * 1000;
    return WEFT_OK;
}

static weft_status digest_key(uint8_t ret[WEFT_SHA256_BYTES], const X509 *cert, weft_err *err)
{
    uint8_t *der = NULL;
    const int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    if (n <= 0) {
        return weft_openssl_fail(err, "a certificate's key");
    }
    const weft_status status = weft_sha256(ret, der, (size_t)n, err);
    OPENSSL_free(der);
    return status;
}

static weft_status read_info(weft_cert_info *ret, const X509 *cert, weft_err *err)
{
    weft_cert_info info = {.not_before_unix_ms = 0};
    WEFT_TRY(read_identity(&info.id, cert, err));
    WEFT_TRY(read_time(&info.not_before_unix_ms, X509_get0_notBefore(cert), err));
    WEFT_TRY(read_time(&info.not_after_unix_ms, X509_get0_notAfter(cert), err));
    if (X509_digest(cert, EVP_sha256(), info.fingerprint, NULL) != 1) {
        return weft_openssl_fail(err, "a certificate's fingerprint");
    }
    WEFT_TRY(digest_key(info.key_digest, cert, err));
    *ret = info;
    return WEFT_OK;
}

weft_status weft_cert_parse(weft_cert_info *ret, const void *pem, size_t n, weft_err *err)
{
    WEFT_AUTO_X509 *cert = NULL;
    WEFT_TRY(weft_cert_read_pem(&cert, (weft_view){pem, n}, err));
    return read_info(ret, cert, err);
}

weft_status weft_cert_check_key(weft_view pem, const weft_key *key, weft_err *err)
{
    WEFT_AUTO_X509 *cert = NULL;
    WEFT_TRY(weft_cert_read_pem(&cert, pem, err));
    if (!weft_cert_has_key(cert, key)) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the certificate is for another private key");
    }
    return WEFT_OK;
}

/* "2026-03-01 12:00:00 UTC" */
static void print_time(char out[32], int64_t unix_ms)
{
    const time_t s = (time_t)(unix_ms / 1000);
    struct tm tm;
    if (!gmtime_r(&s, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0) {
        (void)snprintf(out, 32, "%lld ms", (long long)unix_ms); /* fits: 20 digits */
    }
}

static weft_status explain(int reason, const weft_cert_info *info, weft_err *err)
{
    char when[32];
    switch (reason) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        print_time(when, info->not_after_unix_ms);
        WEFT_FAIL(err, WEFT_E_AUTH, "the certificate of %s %s expired on %s",
                  weft_role_name(info->id.role), info->id.name, when);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        print_time(when, info->not_before_unix_ms);
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "the certificate of %s %s is valid from %s only: is a clock "
                  "wrong?",
                  weft_role_name(info->id.role), info->id.name, when);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        WEFT_FAIL(err, WEFT_E_AUTH, "the certificate of %s %s was issued by another authority",
                  weft_role_name(info->id.role), info->id.name);
    default:
        WEFT_FAIL(err, WEFT_E_AUTH, "the certificate of %s %s does not verify: %s",
                  weft_role_name(info->id.role), info->id.name,
                  X509_verify_cert_error_string(reason));
    }
}

/* OpenSSL's verdict on a chain of length one: X509_V_OK, or why not; -1: it could not try. */
static int verdict(X509 *cert, X509 *ca, weft_role role, int64_t now_unix_ms)
{
    int reason = -1;
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (store && ctx && X509_STORE_add_cert(store, ca) == 1 &&
        X509_STORE_CTX_init(ctx, store, cert, NULL) == 1) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_time(param, (time_t)(now_unix_ms / 1000));
        const int purpose =
            role == WEFT_ROLE_COORDINATOR ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT;
        if (X509_VERIFY_PARAM_set_purpose(param, purpose) == 1) {
            reason = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
        }
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    ERR_clear_error();
    return reason;
}

weft_status weft_cert_verify(weft_view pem, weft_view ca_pem, weft_role role, int64_t now_unix_ms,
                             weft_err *err)
{
    WEFT_AUTO_X509 *cert = NULL;
    WEFT_AUTO_X509 *ca = NULL;
    weft_cert_info info = {.not_before_unix_ms = 0};
    weft_cert_info authority = info;
    WEFT_TRY(weft_cert_read_pem(&cert, pem, err));
    WEFT_TRY(weft_cert_read_pem(&ca, ca_pem, err));
    WEFT_TRY(read_info(&info, cert, err));
    WEFT_TRY(read_info(&authority, ca, err));
    if (authority.id.role != WEFT_ROLE_AUTHORITY) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the certificate of %s %s is no authority",
                  weft_role_name(authority.id.role), authority.id.name);
    }
    const int reason = verdict(cert, ca, info.id.role, now_unix_ms);
    if (reason < 0) {
        WEFT_FAIL(err, WEFT_E_CRYPTO, "OpenSSL could not check a certificate");
    }
    if (reason != X509_V_OK) {
        return explain(reason, &info, err);
    }
    if (strcmp(info.id.federation, authority.id.federation) != 0) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the certificate is for federation %s, not %s",
                  info.id.federation, authority.id.federation);
    }
    if (info.id.role == WEFT_ROLE_AUTHORITY || (role != WEFT_ROLE_NONE && info.id.role != role)) {
        WEFT_FAIL(err, WEFT_E_AUTH, "the certificate is that of %s %s, wanted is role %s",
                  weft_role_name(info.id.role), info.id.name, weft_role_name(role));
    }
    return WEFT_OK;
}
