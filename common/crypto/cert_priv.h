/* SPDX-License-Identifier: Apache-2.0 */
/* Inside crypto only: what the key and certificate files share. */
#ifndef WEFT_CRYPTO_CERT_PRIV_H
#define WEFT_CRYPTO_CERT_PRIV_H

#include "crypto/cert.h"
#include "crypto/openssl_priv.h"

struct weft_key {
    const weft_alloc *alloc;
    EVP_PKEY *pkey; /* owned; P-256, points uncompressed */
};

/** The first certificate of a PEM. WEFT_E_FORMAT, WEFT_E_LIMIT. */
WEFT_NODISCARD weft_status weft_cert_read_pem(X509 **ret, weft_view pem, weft_err *err);
/** Does the certificate's public key belong to key? */
bool weft_cert_has_key(const X509 *cert, const weft_key *key);

#endif
