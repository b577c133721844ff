/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_status: what every fallible call returns. The values reach the wire, the logs and the
 * SDK's ABI: they are fixed for ever, new ones are appended. client/include/weft/weft.h shows
 * the same list to applications under the same guard; a test compares the two.
 */
#ifndef WEFT_STATUS_H
#define WEFT_STATUS_H

#if defined(__GNUC__)
#define WEFT_NODISCARD __attribute__((warn_unused_result))
#else
#define WEFT_NODISCARD
#endif

typedef enum weft_status {
    WEFT_OK = 0,
    WEFT_E_NOMEM = 1,     /* an allocation failed */
    WEFT_E_INVALID = 2,   /* an argument or a value is not acceptable */
    WEFT_E_FORMAT = 3,    /* bytes do not follow their format */
    WEFT_E_LIMIT = 4,     /* a named limit was passed */
    WEFT_E_AUTH = 5,      /* not allowed, or an identity or signature does not hold */
    WEFT_E_STATE = 6,     /* not possible in the present state */
    WEFT_E_NOTFOUND = 7,  /* no such thing */
    WEFT_E_CONFLICT = 8,  /* exists already, with other content */
    WEFT_E_AGAIN = 9,     /* not now: try again */
    WEFT_E_CANCELED = 10, /* stopped on request */
    WEFT_E_TIMEOUT = 11,  /* a deadline passed */
    WEFT_E_IO = 12,       /* the operating system refused; weft_err.sys holds errno */
    WEFT_E_DB = 13,       /* SQLite refused */
    WEFT_E_CRYPTO = 14,   /* OpenSSL refused */
    WEFT_E_INTERNAL = 15  /* a defect in weft */
} weft_status;

/** The name of a status ("limit"), or "unknown". Static string. Threads: any. */
const char *weft_status_name(weft_status status);

#endif
