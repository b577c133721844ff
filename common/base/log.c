/* SPDX-License-Identifier: Apache-2.0 */
/* Formats log lines; where they go is the callback's business. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void weft_log_line(const weft_log *log, weft_log_level level, const char *format, ...)
{
    if (!log || !log->line || level > log->level) {
        return;
    }
    char text[1024];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n >= 0) {
        log->line(log->self, level, text);
    }
}
