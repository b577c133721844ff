/* SPDX-License-Identifier: Apache-2.0 */
/* weft.yaml in the operator's directory: where the coordinator is and which keys to use. */
#ifndef WEFT_CONFIG_OPERATOR_H
#define WEFT_CONFIG_OPERATOR_H

#include "config/server.h"

/* Relative paths are relative to the folder of the file; load makes them complete. */
typedef struct weft_operator_config {
    char federation[WEFT_MAX_NAME_BYTES + 1];            /* required */
    char address[WEFT_CONFIG_MAX_ADDRESS_BYTES + 1];     /* host:port, required */
    char ca_certificate[WEFT_CONFIG_MAX_PATH_BYTES + 1]; /* transport CA, "ca.pem" */
    char certificate[WEFT_CONFIG_MAX_PATH_BYTES + 1];    /* the operator's, "operator.pem" */
    char key[WEFT_CONFIG_MAX_PATH_BYTES + 1];            /* "operator-tls.key" */
    char
        member_key[WEFT_CONFIG_MAX_PATH_BYTES + 1]; /* Ed25519, signs invitations, "operator.key" */
    char receipt_public_key[WEFT_CONFIG_MAX_PATH_BYTES + 1]; /* the coordinator's, "receipt.pub" */
} weft_operator_config;

/** The defaults. */
void weft_operator_config_init(weft_operator_config *config);
/** As weft_server_config_load. */
WEFT_NODISCARD weft_status weft_operator_config_load(weft_operator_config *out, const char *path,
                                                     const weft_alloc *a, weft_err *err);
WEFT_NODISCARD weft_status weft_operator_config_parse(weft_operator_config *out, const char *file,
                                                      const char *text, size_t size,
                                                      const weft_alloc *a, weft_err *err);

#endif
