/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three PEM texts of one end of a TLS connection, checked before gRPC sees them: gRPC takes
 * bad ones without a word and fails later with "empty address list". Threads: any.
 */
#ifndef WEFT_RT_TLS_H
#define WEFT_RT_TLS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct weft_rt_tls {
    const char *ca_pem;   /* one or more certificates that vouch for the other end */
    const char *cert_pem; /* own chain, leaf first; NULL only for a client without identity */
    const char *key_pem;  /* private key of cert_pem's leaf; NULL exactly when cert_pem is */
} weft_rt_tls;

/**
 * Parse all of it and see that key and certificate belong together.
 * @param need_identity  a server: cert_pem and key_pem must be there.
 * @return WEFT_OK; WEFT_E_INVALID something is missing or a pair does not match; WEFT_E_FORMAT not
 *         a PEM certificate or key; WEFT_E_LIMIT above WEFT_MAX_PEM_BYTES.
 */
WEFT_NODISCARD weft_status weft_rt_tls_check(const weft_rt_tls *tls, bool need_identity,
                                             weft_err *err);

/**
 * Whom a certificate names: the first URI in its subject alternative name, as text; "" for none.
 * @return WEFT_OK; WEFT_E_FORMAT not a PEM certificate; WEFT_E_LIMIT longer than out_size - 1.
 */
WEFT_NODISCARD weft_status weft_rt_tls_identity(char *out, size_t out_size, const char *cert_pem,
                                                weft_err *err);

#endif
