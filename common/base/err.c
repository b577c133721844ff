/* SPDX-License-Identifier: Apache-2.0 */
/* Status names and the error record. No state, any thread. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *weft_status_name(weft_status status)
{
    static const char *const names[] = {
        "ok",       "no memory", "invalid",  "format",  "limit", "auth", "state",  "not found",
        "conflict", "again",     "canceled", "timeout", "io",    "db",   "crypto", "internal"};
    const size_t i = (size_t)status;
    return i < sizeof names / sizeof names[0] ? names[i] : "unknown";
}

weft_status weft_err_set(weft_err *err, weft_status code, int sys, const char *file, int line,
                         const char *format, ...)
{
    if (!err || err->code != WEFT_OK) {
        return code;
    }
    err->code = code;
    err->sys = sys;
    err->file = file;
    err->line = line;
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(err->msg, sizeof err->msg, format, args);
    va_end(args);
    if (n < 0) {
        err->msg[0] = '\0';
    }
    for (char *c = err->msg; *c; c++) {
        if (*c < 0x20 || *c > 0x7e) {
            *c = '?';
        }
    }
    return code;
}

void weft_err_clear(weft_err *err)
{
    if (err) {
        memset(err, 0, sizeof *err);
        err->file = "";
    }
}
