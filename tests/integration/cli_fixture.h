/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the program weft share: a federation "north", its coordinator as admin.h plays
 * it, and what a run of the program said. One group of tests at a time. */
#ifndef WEFT_TEST_CLI_FIXTURE_H
#define WEFT_TEST_CLI_FIXTURE_H

#include "admin.h"

#include <jansson.h>
#include <limits.h>

extern const char *weft; /* the program; main sets it */
extern char *root;       /* a folder of the test's own */
extern char operator_dir[PATH_MAX];
extern admin coordinator;

#define RUN(...)                                                                                   \
    run_program(root, (const char *const[]){weft, "--operator", operator_dir, "--address",         \
                                            coordinator.address, __VA_ARGS__, NULL})

void assert_fails(const ended *e, int status, const char *words);
void assert_done(const ended *e);
/* One result as JSON; the caller's to decref. */
json_t *json_of(const ended *e);
const char *string_at(const json_t *object, const char *key);
json_int_t int_at(const json_t *object, const char *key);
/* A path in root; good until the fourth call after this. */
const char *in_root(const char *name);

/* Of a group of tests; forget after each of them. */
int set_up(void **state);
int tear_down(void **state);
int forget(void **state);

/* A small job: its file, and what the coordinator says of it. */
extern const char job_text[];
weft_msg_job_info job_info(const char *status, uint32_t rounds_done);
/* Queue an event of a watch. */
void says_event(const char *kind, const weft_msg_job_info *job, const weft_msg_round_info *round);

#endif
