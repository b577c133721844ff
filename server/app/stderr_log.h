/* SPDX-License-Identifier: Apache-2.0 */
/* A program's log: key=value lines on stderr, one write each. Threads: any. */
#ifndef WEFT_APP_STDERR_LOG_H
#define WEFT_APP_STDERR_LOG_H

#include "base/log.h"

#include <stdbool.h>

/** Lines up to a level: "ts=2026-01-31T12:00:00.000Z level=info event=..." */
weft_log weft_stderr_log(weft_log_level level);
/** The level of a word; false when there is none. */
bool weft_stderr_level(const char *word, weft_log_level *ret);

#endif
