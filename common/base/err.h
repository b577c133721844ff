/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft_err: the detail of a failure. It travels with the call (never with the thread: completions
 * hop threads): the caller owns it, may pass NULL, and the first writer wins.
 *
 * WEFT_FAIL and WEFT_TRY are the only macros in the project that return.
 */
#ifndef WEFT_ERR_H
#define WEFT_ERR_H

#include "base/status.h"

#define WEFT_ERR_MSG_BYTES 256

typedef struct weft_err {
    weft_status code;
    int sys; /* errno, or 0 */
    const char *file;
    int line;
    char msg[WEFT_ERR_MSG_BYTES]; /* one sentence, values, no secrets */
} weft_err;

#define WEFT_ERR_INIT                                                                              \
    {                                                                                              \
        WEFT_OK, 0, "", 0,                                                                         \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/**
 * Write a failure into err, unless err is NULL or already holds one.
 * Bytes of the formatted text outside printable ASCII become '?': peers' strings may be in it.
 * @return code, so that it can be returned in one line. Threads: any.
 */
weft_status weft_err_set(weft_err *err, weft_status code, int sys, const char *file, int line,
                         const char *format, ...) __attribute__((format(printf, 6, 7)));

/** Forget what err holds. NULL is allowed. */
void weft_err_clear(weft_err *err);

/* They return the code itself, not what weft_err_set returned, so that static analysis knows that
 * a failure is never WEFT_OK. */
#define WEFT_FAIL(err, code, ...)                                                                  \
    do {                                                                                           \
        (void)weft_err_set((err), (code), 0, __FILE__, __LINE__, __VA_ARGS__);                     \
        return (code);                                                                             \
    } while (0)
#define WEFT_FAIL_SYS(err, sys, ...)                                                               \
    do {                                                                                           \
        (void)weft_err_set((err), WEFT_E_IO, (sys), __FILE__, __LINE__, __VA_ARGS__);              \
        return WEFT_E_IO;                                                                          \
    } while (0)
#define WEFT_TRY(call)                                                                             \
    do {                                                                                           \
        const weft_status weft_try_status = (call);                                                \
        if (weft_try_status != WEFT_OK) {                                                          \
            return weft_try_status;                                                                \
        }                                                                                          \
    } while (0)

#endif
