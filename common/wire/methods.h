/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of proto/weft/v1: path, who may call, which kind of call. Static data, any thread. */
#ifndef WEFT_WIRE_METHODS_H
#define WEFT_WIRE_METHODS_H

#include <stdbool.h>

typedef enum weft_method {
    WEFT_METHOD_ENROLL = 0,
    WEFT_METHOD_RENEW,
    WEFT_METHOD_CHECK_IN,
    WEFT_METHOD_FETCH_MODEL,
    WEFT_METHOD_SUBMIT_UPDATE,
    WEFT_METHOD_PROGRESS,
    WEFT_METHOD_ABANDON,
    WEFT_METHOD_SECURE_STEP,
    WEFT_METHOD_LEDGER,
    WEFT_METHOD_SUBMIT_JOB,
    WEFT_METHOD_CONTROL_JOB,
    WEFT_METHOD_LIST_JOBS,
    WEFT_METHOD_GET_JOB,
    WEFT_METHOD_LIST_ROUNDS,
    WEFT_METHOD_GET_ROUND,
    WEFT_METHOD_LIST_MODELS,
    WEFT_METHOD_FETCH_VERSION, /* Admin.FetchModel */
    WEFT_METHOD_IMPORT_MODEL,
    WEFT_METHOD_TAG_MODEL,
    WEFT_METHOD_INVITE,
    WEFT_METHOD_LIST_CLIENTS,
    WEFT_METHOD_REVOKE_CLIENT,
    WEFT_METHOD_WATCH,
    WEFT_METHOD_STATUS,
    WEFT_METHOD_COUNT
} weft_method;

typedef enum weft_method_role {
    WEFT_METHOD_ROLE_ANYONE = 0, /* also without a certificate */
    WEFT_METHOD_ROLE_CLIENT,
    WEFT_METHOD_ROLE_OPERATOR
} weft_method_role;

typedef struct weft_method_info {
    const char *path; /* "/weft.v1.Federation/CheckIn" */
    weft_method_role role;
    bool client_streams; /* many requests, one reply */
    bool server_streams; /* one request, many replies */
} weft_method_info;

/** What is known of a method; static. */
const weft_method_info *weft_method_get(weft_method method);

#endif
