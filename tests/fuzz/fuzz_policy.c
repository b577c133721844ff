/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_policy_check_jobs, weft_session_job_allowed */
/* A list that passes the check admits exactly what its entries, one by one, admit. */
#include "policy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* First line: the job; the rest: the list. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[512];
    if (size >= sizeof text || memchr(data, '\0', size)) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    char *list = strchr(text, '\n');
    if (!list) {
        return 0;
    }
    *list++ = '\0';
    const bool allowed = weft_session_job_allowed(list, text);
    if (weft_policy_check_jobs(list, NULL) != WEFT_OK) {
        return 0;
    }
    bool any = false;
    for (char *entry = list; entry;) {
        char *comma = strchr(entry, ',');
        if (comma) {
            *comma = '\0';
        }
        any = any || weft_session_job_allowed(entry, text);
        entry = comma ? comma + 1 : NULL;
    }
    if (any != allowed) {
        abort();
    }
    return 0;
}
