/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL's error queue and PEM texts, handled in one place. Any thread: the queue is its own. */
#include "crypto/openssl_priv.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <string.h>

#include "base/limits.h"

weft_status weft_openssl_fail(weft_err *err, const char *what)
{
    const unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    const weft_status status = weft_err_set(err, WEFT_E_CRYPTO, 0, __FILE__, __LINE__, "%s: %s",
                                            what, reason ? reason : "OpenSSL refused");
    ERR_clear_error();
    return status;
}

weft_status weft_openssl_add_bio(weft_buf *out, BIO *bio, weft_err *err)
{
    char *data = NULL;
    const long n = BIO_get_mem_data(bio, &data);
    if (n < 0) {
        return weft_openssl_fail(err, "a memory BIO");
    }
    return weft_buf_add(out, data, (size_t)n, err);
}

weft_status weft_openssl_pem_bio(BIO **ret, const void *pem, size_t n, weft_err *err)
{
    if (n == 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "an empty PEM");
    }
    if (n > WEFT_MAX_PEM_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a PEM of %zu bytes, above the limit of %u", n,
                  WEFT_MAX_PEM_BYTES);
    }
    BIO *bio = BIO_new_mem_buf(pem, (int)n);
    if (!bio) {
        return weft_openssl_fail(err, "a PEM");
    }
    *ret = bio;
    return WEFT_OK;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL fixes the type */
int weft_openssl_no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

weft_status weft_openssl_read_private(EVP_PKEY **ret, const void *pem, size_t n, weft_err *err)
{
    WEFT_AUTO_BIO *bio = NULL;
    WEFT_TRY(weft_openssl_pem_bio(&bio, pem, n, err));
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, weft_openssl_no_passphrase, NULL);
    ERR_clear_error(); /* its many layers of reasons say less than the line below */
    if (!pkey) {
        const bool encrypted = memmem(pem, n, "ENCRYPTED", strlen("ENCRYPTED")) != NULL;
        WEFT_FAIL(err, WEFT_E_FORMAT, "%s",
                  encrypted ? "the private key is encrypted; weft reads PEM keys without a "
                              "passphrase, kept with mode 0600"
                            : "no PEM private key (-----BEGIN PRIVATE KEY-----) that can be read");
    }
    *ret = pkey;
    return WEFT_OK;
}

weft_status weft_openssl_add_private(weft_buf *out, const EVP_PKEY *pkey, weft_err *err)
{
    WEFT_AUTO_BIO *bio = BIO_new(BIO_s_secmem()); /* wiped when freed */
    if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1) {
        return weft_openssl_fail(err, "a private key as PEM");
    }
    return weft_openssl_add_bio(out, bio, err);
}
