/* SPDX-License-Identifier: Apache-2.0 */
/* Inside crypto only: OpenSSL's refusals become ours, its handles free themselves, PEM text. */
#ifndef WEFT_CRYPTO_OPENSSL_PRIV_H
#define WEFT_CRYPTO_OPENSSL_PRIV_H

#include "base/buf.h"
#include "base/err.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#define WEFT_OPENSSL_AUTO(name, type, done)                                                        \
    static inline void name(type **p)                                                              \
    {                                                                                              \
        done(*p);                                                                                  \
    }
WEFT_OPENSSL_AUTO(weft_openssl_bio_done, BIO, BIO_free_all)
WEFT_OPENSSL_AUTO(weft_openssl_pkey_done, EVP_PKEY, EVP_PKEY_free)
WEFT_OPENSSL_AUTO(weft_openssl_md_ctx_done, EVP_MD_CTX, EVP_MD_CTX_free)
WEFT_OPENSSL_AUTO(weft_openssl_cipher_ctx_done, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)
WEFT_OPENSSL_AUTO(weft_openssl_x509_done, X509, X509_free)
WEFT_OPENSSL_AUTO(weft_openssl_req_done, X509_REQ, X509_REQ_free)
#define WEFT_AUTO_BIO        __attribute__((cleanup(weft_openssl_bio_done))) BIO
#define WEFT_AUTO_PKEY       __attribute__((cleanup(weft_openssl_pkey_done))) EVP_PKEY
#define WEFT_AUTO_MD_CTX     __attribute__((cleanup(weft_openssl_md_ctx_done))) EVP_MD_CTX
#define WEFT_AUTO_CIPHER_CTX __attribute__((cleanup(weft_openssl_cipher_ctx_done))) EVP_CIPHER_CTX
#define WEFT_AUTO_X509       __attribute__((cleanup(weft_openssl_x509_done))) X509
#define WEFT_AUTO_REQ        __attribute__((cleanup(weft_openssl_req_done))) X509_REQ

/** WEFT_E_CRYPTO "<what>: <OpenSSL's reason>"; empties this thread's error queue. */
WEFT_NODISCARD weft_status weft_openssl_fail(weft_err *err, const char *what);

/** Append what a memory BIO holds. */
WEFT_NODISCARD weft_status weft_openssl_add_bio(weft_buf *out, BIO *bio, weft_err *err);
/** A read-only BIO over a PEM. WEFT_E_LIMIT above WEFT_MAX_PEM_BYTES. */
WEFT_NODISCARD weft_status weft_openssl_pem_bio(BIO **ret, const void *pem, size_t n,
                                                weft_err *err);
/** The private key of a PEM, never asking for a passphrase. WEFT_E_FORMAT, WEFT_E_LIMIT. */
WEFT_NODISCARD weft_status weft_openssl_read_private(EVP_PKEY **ret, const void *pem, size_t n,
                                                     weft_err *err);
/** Append a private key as PKCS#8 PEM. */
WEFT_NODISCARD weft_status weft_openssl_add_private(weft_buf *out, const EVP_PKEY *pkey,
                                                    weft_err *err);
/** As OpenSSL's pem_password_cb: an encrypted PEM is refused, never asked about. */
int weft_openssl_no_passphrase(char *buf, int size, int writing, void *arg);

#endif
