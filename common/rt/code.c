/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the names of gRPC's codes and their mapping to weft_status. Threads: any. */
#include "rt/code.h"

#include <stddef.h>

static const char *const names[] = {
    "ok",
    "canceled",
    "unknown",
    "invalid argument",
    "deadline exceeded",
    "not found",
    "already exists",
    "permission denied",
    "resource exhausted",
    "failed precondition",
    "aborted",
    "out of range",
    "unimplemented",
    "internal",
    "unavailable",
    "data loss",
    "unauthenticated",
};

static const weft_status statuses[] = {
    WEFT_OK,         WEFT_E_CANCELED, WEFT_E_INTERNAL, WEFT_E_INVALID,  WEFT_E_TIMEOUT,
    WEFT_E_NOTFOUND, WEFT_E_CONFLICT, WEFT_E_AUTH,     WEFT_E_LIMIT,    WEFT_E_STATE,
    WEFT_E_CONFLICT, WEFT_E_INVALID,  WEFT_E_STATE,    WEFT_E_INTERNAL, WEFT_E_AGAIN,
    WEFT_E_IO,       WEFT_E_AUTH,
};

const char *weft_rt_code_name(weft_rt_code code)
{
    const size_t i = (size_t)code;
    return i < sizeof names / sizeof *names ? names[i] : "unknown code";
}

weft_status weft_rt_code_status(weft_rt_code code)
{
    const size_t i = (size_t)code;
    return i < sizeof statuses / sizeof *statuses ? statuses[i] : WEFT_E_INTERNAL;
}

weft_rt_code weft_rt_status_code(weft_status status)
{
    switch (status) {
    case WEFT_OK:
        return WEFT_RT_OK;
    case WEFT_E_NOMEM:
    case WEFT_E_LIMIT:
        return WEFT_RT_RESOURCE_EXHAUSTED;
    case WEFT_E_INVALID:
    case WEFT_E_FORMAT:
        return WEFT_RT_INVALID_ARGUMENT;
    case WEFT_E_AUTH:
        return WEFT_RT_PERMISSION_DENIED;
    case WEFT_E_STATE:
        return WEFT_RT_FAILED_PRECONDITION;
    case WEFT_E_NOTFOUND:
        return WEFT_RT_NOT_FOUND;
    case WEFT_E_CONFLICT:
        return WEFT_RT_ALREADY_EXISTS;
    case WEFT_E_AGAIN:
        return WEFT_RT_UNAVAILABLE;
    case WEFT_E_CANCELED:
        return WEFT_RT_CANCELED;
    case WEFT_E_TIMEOUT:
        return WEFT_RT_DEADLINE_EXCEEDED;
    case WEFT_E_IO:
    case WEFT_E_DB:
    case WEFT_E_CRYPTO:
    case WEFT_E_INTERNAL:
        break;
    }
    return WEFT_RT_INTERNAL;
}
