/* SPDX-License-Identifier: Apache-2.0 */
/* Named means over examples, as clients report them and rounds average them. Pure. */
#ifndef WEFT_MODEL_METRIC_H
#define WEFT_MODEL_METRIC_H

#include "base/err.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct weft_metric {
    char name[WEFT_MAX_METRIC_NAME_BYTES + 1];
    double value;
} weft_metric;

typedef struct weft_metrics {
    uint32_t n;
    weft_metric item[WEFT_MAX_METRICS];
} weft_metrics;

/** Set or replace one. WEFT_E_INVALID not finite or a bad name; WEFT_E_LIMIT when full. */
WEFT_NODISCARD weft_status weft_metrics_set(weft_metrics *m, const char *name, double value,
                                            weft_err *err);
/** The value of a name; false when absent. */
bool weft_metrics_get(const weft_metrics *m, const char *name, double *ret_value);
/** Every name valid and unique, every value finite, n within the limit. */
WEFT_NODISCARD weft_status weft_metrics_check(const weft_metrics *m, weft_err *err);

/** A weighted mean that is built report by report; the caller fixes the order (by assignment). */
typedef struct weft_metrics_mean {
    weft_metrics sum;                /* value = sum of weight * value */
    double weight[WEFT_MAX_METRICS]; /* weight seen for the item */
} weft_metrics_mean;
void weft_metrics_mean_add(weft_metrics_mean *mean, const weft_metrics *m, uint64_t n_examples);
void weft_metrics_mean_get(const weft_metrics_mean *mean, weft_metrics *ret);

#endif
