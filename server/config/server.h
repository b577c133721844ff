/* SPDX-License-Identifier: Apache-2.0 */
/* weftd.yaml: the coordinator's configuration. Any thread. */
#ifndef WEFT_CONFIG_SERVER_H
#define WEFT_CONFIG_SERVER_H

#include "base/alloc.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"

#include <stdint.h>

#define WEFT_CONFIG_MAX_ADDRESS_BYTES 255
#define WEFT_CONFIG_MAX_PATH_BYTES    1023

/* Relative paths are relative to the folder of the file; load makes them complete. */
typedef struct weft_server_config {
    char federation[WEFT_MAX_NAME_BYTES + 1];          /* required */
    char listen[WEFT_CONFIG_MAX_ADDRESS_BYTES + 1];    /* "0.0.0.0:7443"; port 0: any free */
    char advertise[WEFT_CONFIG_MAX_ADDRESS_BYTES + 1]; /* what join files say; "" : listen */
    char data_dir[WEFT_CONFIG_MAX_PATH_BYTES + 1];     /* "data" */
    /* keys: paths */
    char ca_certificate[WEFT_CONFIG_MAX_PATH_BYTES + 1];      /* "ca.pem" */
    char ca_key[WEFT_CONFIG_MAX_PATH_BYTES + 1];              /* "ca.key" */
    char certificate[WEFT_CONFIG_MAX_PATH_BYTES + 1];         /* "server.pem" */
    char key[WEFT_CONFIG_MAX_PATH_BYTES + 1];                 /* "server.key" */
    char receipt_key[WEFT_CONFIG_MAX_PATH_BYTES + 1];         /* "receipt.key" */
    char operator_public_key[WEFT_CONFIG_MAX_PATH_BYTES + 1]; /* "operator.pub" */
    /* limits */
    uint32_t max_clients;          /* connected at once, 1..WEFT_MAX_COHORT; 10000 */
    uint32_t max_calls_per_client; /* 1..1000; 8 */
    uint32_t max_jobs;             /* not ended at once, 1..10000; 64 */
    uint64_t max_model_bytes;      /* imports and jobs above it are refused; 32 GiB */
    uint32_t lifetime_days;        /* of client certificates, 1..3650; 30 */
    /* pace */
    uint64_t come_back_ms;    /* mean pause of clients without work, 10 ms..1 h; 2 s */
    uint64_t hold_ms;         /* the longest a check-in is held, 0..10 min; 30 s */
    uint32_t workers;         /* threads that validate and fold, 0: as many as cores; 0..256 */
    weft_log_level log_level; /* error, warn, info, debug; info */
} weft_server_config;

/** The defaults. */
void weft_server_config_init(weft_server_config *config);
/**
 * Read a file over the defaults. @param out  written completely on success only.
 * @return WEFT_E_FORMAT, WEFT_E_INVALID with "FILE:LINE: field: ..."; WEFT_E_NOTFOUND;
 * WEFT_E_LIMIT.
 */
WEFT_NODISCARD weft_status weft_server_config_load(weft_server_config *out, const char *path,
                                                   const weft_alloc *a, weft_err *err);
/** The same from memory; paths stay as they are written. */
WEFT_NODISCARD weft_status weft_server_config_parse(weft_server_config *out, const char *file,
                                                    const char *text, size_t size,
                                                    const weft_alloc *a, weft_err *err);

#endif
