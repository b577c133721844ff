/* SPDX-License-Identifier: Apache-2.0 */
/* Lines to stderr. write(2) of one line is not torn by other threads' lines. */
#include "app/stderr_log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const levels[] = {"error", "warn", "info", "debug"};

static void write_line(void *self, weft_log_level level, const char *text)
{
    (void)self;
    char line[1200];
    struct timespec now;
    struct tm utc;
    char time[32] = "";
    (void)clock_gettime(CLOCK_REALTIME, &now); /* a clock that Linux has */
    if (gmtime_r(&now.tv_sec, &utc)) {
        (void)strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc); /* fits */
    }
    int n = snprintf(line, sizeof line - 1, "ts=%s.%03ldZ level=%s %s", time,
                     now.tv_nsec / 1000000L, levels[level], text);
    if (n < 0) {
        return;
    }
    n = n < (int)sizeof line - 1 ? n : (int)sizeof line - 2; /* cut where too long */
    line[n] = '\n';
    (void)!write(STDERR_FILENO, line, (size_t)n + 1); /* nowhere to report a failing stderr */
}

weft_log weft_stderr_log(weft_log_level level)
{
    return (weft_log){write_line, NULL, level};
}

bool weft_stderr_level(const char *word, weft_log_level *ret)
{
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (strcmp(levels[i], word) == 0) {
            *ret = (weft_log_level)i;
            return true;
        }
    }
    return false;
}
