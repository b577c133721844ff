/* SPDX-License-Identifier: Apache-2.0 */
/* Names of refusals, for messages and logs. */
#include "update/refusal.h"

#include <stddef.h>

const char *weft_refusal_name(weft_refusal refusal)
{
    static const char *const names[] = {
        "none",        "late",         "unknown assignment", "wrong base",
        "wrong shape", "wrong digest", "not finite",         "norm",
        "weight",      "metrics",      "conflict",           "encoding",
    };
    const size_t i = (size_t)refusal;
    return i < sizeof names / sizeof names[0] ? names[i] : "unknown reason";
}
