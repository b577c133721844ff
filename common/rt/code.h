/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codes that end a gRPC call, as they are on the wire, and how they map to weft's own. Every
 * user of rt includes this through server.h or channel.h; grpc's headers stay inside rt.
 */
#ifndef WEFT_RT_CODE_H
#define WEFT_RT_CODE_H

#include "base/status.h"

typedef enum weft_rt_code {
    WEFT_RT_OK = 0,
    WEFT_RT_CANCELED = 1,
    WEFT_RT_UNKNOWN = 2,
    WEFT_RT_INVALID_ARGUMENT = 3,
    WEFT_RT_DEADLINE_EXCEEDED = 4,
    WEFT_RT_NOT_FOUND = 5,
    WEFT_RT_ALREADY_EXISTS = 6,
    WEFT_RT_PERMISSION_DENIED = 7,
    WEFT_RT_RESOURCE_EXHAUSTED = 8,
    WEFT_RT_FAILED_PRECONDITION = 9,
    WEFT_RT_ABORTED = 10,
    WEFT_RT_OUT_OF_RANGE = 11,
    WEFT_RT_UNIMPLEMENTED = 12,
    WEFT_RT_INTERNAL = 13,
    WEFT_RT_UNAVAILABLE = 14,
    WEFT_RT_DATA_LOSS = 15,
    WEFT_RT_UNAUTHENTICATED = 16
} weft_rt_code;

/** "unavailable"; "unknown code" for anything else. Static string. Threads: any. */
const char *weft_rt_code_name(weft_rt_code code);

/** What a code means to a caller: UNAVAILABLE is WEFT_E_AGAIN, and so on. Threads: any. */
weft_status weft_rt_code_status(weft_rt_code code);

/** The code for a failed status: WEFT_E_LIMIT is RESOURCE_EXHAUSTED, and so on. Threads: any. */
weft_rt_code weft_rt_status_code(weft_status status);

#endif
