/* SPDX-License-Identifier: Apache-2.0 */
/* The system's clocks. */
#include "base/clock.h"

#include <time.h>

static int64_t read_ms(clockid_t id)
{
    struct timespec t = {0, 0};
    (void)clock_gettime(id, &t); /* fails only for an unknown clock */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t system_mono_ms(void *self)
{
    (void)self;
    return (uint64_t)read_ms(CLOCK_MONOTONIC);
}

static int64_t system_unix_ms(void *self)
{
    (void)self;
    return read_ms(CLOCK_REALTIME);
}

const weft_clock weft_clock_system = {system_mono_ms, system_unix_ms, NULL};
