/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging is a callback that programs and embedders hand in; libraries never print. A line is
 * `key=value` words; values with spaces are quoted by the caller's format.
 */
#ifndef WEFT_LOG_H
#define WEFT_LOG_H

typedef enum weft_log_level {
    WEFT_LOG_ERROR = 0,
    WEFT_LOG_WARN = 1,
    WEFT_LOG_INFO = 2,
    WEFT_LOG_DEBUG = 3
} weft_log_level;

typedef struct weft_log {
    void (*line)(void *self, weft_log_level level, const char *text); /* any thread */
    void *self;
    weft_log_level level; /* lines above it are not formatted */
} weft_log;

/** Format one line and hand it over; log may be NULL. At most 1 KiB, the rest is cut. */
void weft_log_line(const weft_log *log, weft_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
