/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft-client, the ready agent: what its commands share. One thread.
 * Results go to stdout, log lines (key=value) to stderr.
 */
#ifndef WEFT_AGENT_H
#define WEFT_AGENT_H

#include "base/err.h"
#include "base/log.h"

#include <stdint.h>
#include <weft/weft.h>

/* exit statuses, as product.md and --help tell them */
enum { AGENT_DONE = 0, AGENT_FAILED = 1, AGENT_NOT_REACHED = 2, AGENT_USAGE = 64 };

enum { AGENT_MAX_DATA = 32 };

typedef enum agent_format { AGENT_TEXT = 0, AGENT_JSON } agent_format;

/* NAME=PATH and what belongs to it. */
typedef struct agent_data {
    const char *name;   /* of the data set; in the argument's own memory */
    const char *path;   /* IDX or NPY folder, CSV, each also with #I/N; digits:SEED:N[:STYLE] */
    const char *schema; /* file, or NULL */
} agent_data;

typedef struct agent_options {
    const char *state_dir;
    const char *join_file;
    const char *http_proxy;
    const char *allowed_jobs;
    uint32_t min_cohort;
    int allow_plain; /* also jobs without secure aggregation */
    int adversary;   /* weft_policy_adversary */
    double gamma;
    int once;
    double held_out;
    uint32_t n_data;
    agent_data data[AGENT_MAX_DATA];
    agent_format format;
    weft_log_level level;
} agent_options;

/* ---- log.c: stderr, one line each, with a time ---------------------------------------------- */

void agent_log_line(void *self, weft_log_level level, const char *text);
/* Tell an error once. @return the exit status that it means. */
int agent_fail(const char *what, weft_status status, const char *message);

/* ---- data.c ---------------------------------------------------------------------------------- */

typedef struct agent_sets agent_sets;
/* Open and attach every data set of the options. */
weft_status agent_sets_open(agent_sets **ret, weft_client *client, const agent_options *options,
                            weft_error *err);
void agent_sets_close(agent_sets *sets);

/* ---- run.c, show.c: the commands; they return the exit status -------------------------------- */

int agent_enrol(const agent_options *options);
int agent_run(const agent_options *options);
int agent_status(const agent_options *options);
int agent_history(const agent_options *options);
int agent_verify_receipt(const agent_options *options);

#endif
