/* SPDX-License-Identifier: Apache-2.0 */
/* Time comes in as a parameter; the shell reads it here. */
#ifndef WEFT_CLOCK_H
#define WEFT_CLOCK_H

#include <stdint.h>

typedef struct weft_clock {
    uint64_t (*mono_ms)(void *self); /* never steps; its zero means nothing */
    int64_t (*unix_ms)(void *self);  /* wall clock: for certificates and for people only */
    void *self;
} weft_clock;

/** CLOCK_MONOTONIC and CLOCK_REALTIME. Threads: any. */
extern const weft_clock weft_clock_system;

#endif
