/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new federation: the coordinator's folder and, apart from it, the operator's. Used by
 * `weft init` and by tests. Nothing that exists is ever overwritten.
 *
 * The coordinator's folder (0700):
 * - weftd.yaml (0644): configuration
 * - ca.pem (0644), ca.key (0600, P-256): the transport authority
 * - server.pem (0644), server.key (0600, P-256): the coordinator's certificate; weftd renews it
 * - receipt.key (0600, Ed25519), receipt.pub (0644)
 * - operator.pub (0644)
 *
 * The operator's folder (0700):
 * - weft.yaml (0644): configuration
 * - operator.key (0600, Ed25519), operator.pub (0644): vouches for members and renewals
 * - operator.pem (0644), operator-tls.key (0600, P-256): the operator's certificate; weft renews it
 * - ca.pem (0644), receipt.pub (0644)
 */
#ifndef WEFT_AUTH_INIT_H
#define WEFT_AUTH_INIT_H

#include "auth/auth.h"

typedef struct weft_auth_init {
    const char
        *coordinator_dir;     /* both made with mode 0700 where missing, and emptied of nothing */
    const char *operator_dir; /* another folder than the coordinator's */
    const char *federation;
    const char *operator_name; /* in the operator's certificate: "operator" */
    const char *listen;        /* "0.0.0.0:7443": what weftd binds */
    const char *address;       /* "weft.example.org:7443": what clients and operators connect to */
    const char *const *hosts;  /* [n_hosts] DNS names and IPs for the coordinator's certificate;
                                  the host of address is added where missing */
    size_t n_hosts;
} weft_auth_init;

/**
 * Make all of it. Checks first that none of the files exists; on a failure on the way the files
 * made so far are removed again.
 * @return WEFT_E_CONFLICT naming the file that exists; WEFT_E_INVALID a name, host or address;
 *         WEFT_E_IO; WEFT_E_CRYPTO; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_auth_init_federation(const weft_auth_init *init,
                                                     const weft_entropy *entropy,
                                                     int64_t now_unix_ms, const weft_alloc *a,
                                                     weft_err *err);

#endif
