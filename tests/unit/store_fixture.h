/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of store share: a store of a folder, rows with plausible contents, and copies of
 * what queries hand out. */
#ifndef WEFT_TEST_STORE_FIXTURE_H
#define WEFT_TEST_STORE_FIXTURE_H

#include "support/support.h"

#include "store/queries.h"
#include "store/store.h"

#define T0 INT64_C(1700000000000)

/* Each way of seeing appends to it; enough for small stores. */
typedef struct seen {
    uint32_t n;
    weft_job_row job;
    char definition[64];
    weft_round_row round;
    uint32_t rounds[16];
    weft_assignment_row assignment[4];
    weft_store_change change[8];
    char reasons[8][WEFT_REASON_BYTES];
    weft_store_version version[8];
    char job_name[8][WEFT_MAX_NAME_BYTES + 1];
    char release[8][WEFT_MAX_NAME_BYTES + 1];
} seen;

weft_store *open_store(const char *dir);
weft_job_def def_of(const char *name);
weft_job_row job_of(uint64_t id, const weft_job_def *def);
weft_round_row round_of(uint64_t job_id, uint32_t round, uint32_t attempt);
weft_assignment_row assignment_of(uint64_t id, const weft_round_row *round, const char *client);
weft_status see_job(void *arg, weft_job_row *row, weft_view definition, weft_err *err);
weft_status see_round(void *arg, const weft_round_row *row, weft_err *err);
weft_status see_assignment(void *arg, const weft_assignment_row *row, weft_err *err);
weft_status see_change(void *arg, const weft_store_change *change, weft_err *err);
weft_status see_version(void *arg, const weft_store_version *version, weft_err *err);
/* SQL on one database of a directory that nobody has open. */
void exec_on(const char *dir, const char *file, const char *sql);
weft_version_row version_of(uint64_t job_id, uint32_t round, uint8_t tag);

#endif
