/* SPDX-License-Identifier: Apache-2.0 */
/* Inside auth only: what the loader and the decisions share. */
#ifndef WEFT_AUTH_PRIV_H
#define WEFT_AUTH_PRIV_H

#include "auth/auth.h"

struct weft_auth {
    const weft_alloc *alloc;
    uint32_t lifetime_days;
    char *ca_pem; /* texts, owned, zero-terminated */
    char *certificate_pem;
    char *key_pem; /* secret */
    weft_cert_info ca;
    weft_cert_info server;
    weft_key *ca_key; /* owned */
    weft_sign_key receipt_key;
    uint8_t operator_public[WEFT_SIGN_PUBLIC_BYTES];
};

#endif
