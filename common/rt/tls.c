/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the check of PEM texts before gRPC gets them. Threads: any. */
#include "rt/tls.h"

#include "base/limits.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

static void bio_done(BIO **bio)
{
    BIO_free(*bio);
}

static void x509_done(X509 **cert)
{
    X509_free(*cert);
}

static void key_done(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void names_done(GENERAL_NAMES **names)
{
    GENERAL_NAMES_free(*names);
}

#define AUTO_BIO  __attribute__((cleanup(bio_done))) BIO
#define AUTO_X509 __attribute__((cleanup(x509_done))) X509
#define AUTO_KEY  __attribute__((cleanup(key_done))) EVP_PKEY

/* NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL fixes the type */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1; /* never ask at a terminal */
}

static weft_status open_pem(BIO **ret, const char *pem, const char *what, weft_err *err)
{
    const size_t size = strlen(pem);
    if (size > WEFT_MAX_PEM_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the %s has %zu bytes, at most %u are allowed", what, size,
                  WEFT_MAX_PEM_BYTES);
    }
    BIO *bio = BIO_new_mem_buf(pem, (int)size);
    if (!bio) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory to read the %s", what);
    }
    *ret = bio;
    return WEFT_OK;
}

/* Every certificate of pem must parse; the first one is handed out. */
static weft_status read_certs(X509 **ret, const char *pem, const char *what, weft_err *err)
{
    AUTO_BIO *bio = NULL;
    WEFT_TRY(open_pem(&bio, pem, what, err));
    AUTO_X509 *first = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    if (!first) {
        ERR_clear_error();
        WEFT_FAIL(err, WEFT_E_FORMAT, "the %s is not a PEM certificate", what);
    }
    for (int n = 2;; n++) {
        X509 *more = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
        if (!more) {
            const int reason = ERR_GET_REASON(ERR_peek_last_error());
            ERR_clear_error();
            if (reason == PEM_R_NO_START_LINE) {
                break;
            }
            WEFT_FAIL(err, WEFT_E_FORMAT, "certificate number %d of the %s is damaged", n, what);
        }
        X509_free(more);
    }
    *ret = first;
    first = NULL;
    return WEFT_OK;
}

static weft_status check_pair(const char *cert_pem, const char *key_pem, weft_err *err)
{
    AUTO_X509 *cert = NULL;
    WEFT_TRY(read_certs(&cert, cert_pem, "own certificate", err));
    AUTO_BIO *bio = NULL;
    WEFT_TRY(open_pem(&bio, key_pem, "private key", err));
    AUTO_KEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    if (!key) {
        ERR_clear_error();
        WEFT_FAIL(err, WEFT_E_FORMAT, "the private key is not an unencrypted PEM key");
    }
    if (X509_check_private_key(cert, key) != 1) {
        ERR_clear_error();
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the private key does not belong to the certificate: give the pair that was made "
                  "together");
    }
    return WEFT_OK;
}

weft_status weft_rt_tls_check(const weft_rt_tls *tls, bool need_identity, weft_err *err)
{
    if (!tls || !tls->ca_pem) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a CA certificate is needed to verify the other end");
    }
    if (!tls->cert_pem != !tls->key_pem) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "a certificate and its private key come together: the %s is "
                  "missing",
                  tls->cert_pem ? "key" : "certificate");
    }
    if (need_identity && !tls->cert_pem) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a server needs a certificate and its private key");
    }
    AUTO_X509 *ca = NULL;
    WEFT_TRY(read_certs(&ca, tls->ca_pem, "CA certificate", err));
    return tls->cert_pem ? check_pair(tls->cert_pem, tls->key_pem, err) : WEFT_OK;
}

weft_status weft_rt_tls_identity(char *out, size_t out_size, const char *cert_pem, weft_err *err)
{
    AUTO_X509 *cert = NULL;
    WEFT_TRY(read_certs(&cert, cert_pem, "own certificate", err));
    __attribute__((cleanup(names_done))) GENERAL_NAMES *names =
        X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    const char *uri = "";
    size_t n = 0;
    for (int i = 0; n == 0 && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI) {
            uri = (const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
            n = (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier);
        }
    }
    if (n >= out_size) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "the certificate's name has %zu bytes, at most %zu are allowed", n, out_size - 1);
    }
    memcpy(out, uri, n);
    out[n] = 0;
    return WEFT_OK;
}
