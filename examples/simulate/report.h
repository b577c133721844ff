/* SPDX-License-Identifier: Apache-2.0 */
/* The curve of a simulation: in memory, as files, and as progress on stderr. Owner thread. */
#ifndef WEFT_SIMULATE_REPORT_H
#define WEFT_SIMULATE_REPORT_H

#include "base/buf.h"
#include "model/metric.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* One round. Numbers that were not measured are NAN. */
typedef struct sim_point {
    uint32_t round;
    uint32_t clients;
    uint64_t examples; /* of their updates */
    double train_loss, train_accuracy;
    double test_loss, test_accuracy;
    double seconds; /* since the beginning, over all runs */
} sim_point;

typedef struct sim_report {
    sim_point *points; /* [n], owned */
    size_t n, cap;
    FILE *csv, *jsonl; /* owned; NULL: not wanted */
    uint32_t rounds;   /* at most so many */
    bool quiet;
    double began_s;   /* wall clock at the start of this run */
    double before_s;  /* seconds of earlier runs */
    double last_s;    /* wall clock of the last point */
    uint64_t trained; /* examples times epochs in this run */
    size_t first;     /* points of earlier runs */
} sim_report;

/** Open the files; points of earlier runs are added before with sim_report_load. */
WEFT_NODISCARD weft_status sim_report_init(sim_report *r, const char *csv, const char *jsonl,
                                           uint32_t rounds, bool quiet, weft_err *err);
void sim_report_done(sim_report *r);

/** A point of an earlier run: into the curve and the files. */
WEFT_NODISCARD weft_status sim_report_load(sim_report *r, const sim_point *point, weft_err *err);
/** A point of this run: time is filled in, progress is shown. */
WEFT_NODISCARD weft_status sim_report_add(sim_report *r, sim_point point, uint64_t trained,
                                          weft_err *err);
/** An attempt that failed: only shown. */
void sim_report_failed(sim_report *r, uint32_t round, const char *reason);

/** Append one point as a JSON object without its end of line. */
WEFT_NODISCARD weft_status sim_point_print(const sim_point *point, weft_buf *out, weft_err *err);

/** Wall-clock seconds of some clock that never steps. */
double sim_now_s(void);

#endif
