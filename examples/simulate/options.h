/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line of weft-simulate says. Owner: main. */
#ifndef WEFT_SIMULATE_OPTIONS_H
#define WEFT_SIMULATE_OPTIONS_H

#include "base/err.h"
#include "model/plan.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum sim_split {
    SIM_SPLIT_IID,
    SIM_SPLIT_SHARDS,
    SIM_SPLIT_DIRICHLET,
    SIM_SPLIT_COLUMN
} sim_split;

/* Numbers and flags as given or by default; texts are borrowed from argv. */
typedef struct sim_options {
    /* data */
    const char *data;                 /* path or locator; default: drawn digits */
    const char *test;                 /* path; NULL: the test split of data, or a part held out */
    const char *schema;               /* file; for CSV */
    uint32_t examples, test_examples; /* drawn digits */
    double style;                     /* of each client's hand, drawn digits */
    sim_split split;
    double alpha;    /* dirichlet */
    uint32_t shards; /* a client */
    /* federation */
    const char *job;   /* file, or NULL */
    const char *model; /* "linear", "2nn", "cnn" or a file */
    uint32_t clients;
    double fraction;
    double over_selection;
    double dropout;
    bool secure;
    weft_plan plan;
    uint32_t rounds;
    uint32_t eval_every;
    double target_accuracy; /* 0: none */
    uint64_t seed;
    /* which of them were given: they come before the job file's */
    bool has_model, has_fraction, has_rounds, has_seed, has_target, has_plan, has_over, has_every;
    /* machine */
    uint32_t threads; /* 0: one a core */
    /* results */
    const char *csv, *jsonl, *export_path, *state;
    const char *init; /* a model file to start from, or NULL */
    bool quiet;
    bool help;
} sim_options;

/**
 * Read the command line.
 * @return WEFT_E_INVALID naming the option and what is wrong with it.
 */
WEFT_NODISCARD weft_status sim_options_parse(sim_options *ret, int argc, char **argv,
                                             weft_err *err);

/** The help text on stdout. */
void sim_options_help(void);

#endif
