/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's log. Any thread: a line is one write. */
#include "agent.h"

#include <stdio.h>
#include <time.h>

void agent_log_line(void *self, weft_log_level level, const char *text)
{
    static const char *const words[] = {"error", "warn", "info", "debug"};
    const weft_log_level *most = self;
    if (level > *most) {
        return;
    }
    struct timespec now = {0, 0};
    struct tm utc = {0};
    char stamp[32] = "";
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    if (gmtime_r(&now.tv_sec, &utc)) {
        (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    }
    /* nowhere to report that the log cannot be written */
    (void)fprintf(stderr, "time=%s.%03ldZ level=%s %s\n", stamp, now.tv_nsec / 1000000,
                  words[level], text);
}

int agent_fail(const char *what, weft_status status, const char *message)
{
    (void)fprintf(stderr, "weft-client: %s: %s\n", what, message);
    if (status == WEFT_E_AUTH || status == WEFT_E_AGAIN || status == WEFT_E_TIMEOUT) {
        return AGENT_NOT_REACHED;
    }
    return AGENT_FAILED;
}
