/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Federated column statistics. A client's statistics are one flat float32 vector that travels like
 * an update (a stats job: base all zeros, model spec weft_stats_spec): FedAvg with weight
 * n_examples of the clients' vectors IS the vector of the pooled data, so one round gives means,
 * standard deviations and fractions over everybody's rows, and secure aggregation hides each
 * client's.
 *
 * Every element is a mean over the client's rows (missing ones count as 0), which is what makes the
 * average of the vectors the vector of the pooled rows. Means of values and of squares can be huge
 * or tiny, more than an update's norm limit would let pass. They are therefore written as base-4096
 * digits, each below 4096 in magnitude (the average of digits is the digits of the average):
 *
 *   numeric column or target   fraction present
 *                              8 digits of the mean value, 4096^3 .. 4096^-4
 *                              14 digits of the mean square, 4096^7 .. 4096^-6
 *   categorical column         fraction of each value, of "other" if there is one
 *   class target               fraction of each class
 *   ignored, group             nothing
 *
 * Values are those after the schema's present scaling. Averages come back as float32: a mean is
 * good to 1e-7 of its size, a std to 1e-7 * (mean / std)^2. A second round with the first one's
 * schema looks at centred values and removes that; it is worth it where a mean is above 100 times
 * its std. Pure; any thread.
 */
#ifndef WEFT_DATA_STATS_H
#define WEFT_DATA_STATS_H

#include "data/csv.h"

/** Length of the vector of a schema, > 0 unless every column is ignored. */
uint32_t weft_stats_length(const weft_schema *schema);

/** The model spec of a stats job: "tensor stats N\n" appended to out. */
WEFT_NODISCARD weft_status weft_stats_spec(weft_buf *out, const weft_schema *schema, weft_err *err);

/** Above any vector's L2 norm: the clip_norm of a stats job, so that nothing is clipped. */
double weft_stats_norm(const weft_schema *schema);

/**
 * One client's vector.
 * @param out             [weft_stats_length], written on success.
 * @param ret_n_examples  lines, the vector's weight, > 0.
 * @return as weft_csv_each; WEFT_E_INVALID for a value above 2^47 in magnitude (after scaling).
 */
WEFT_NODISCARD weft_status weft_stats_compute(float *out, uint64_t *ret_n_examples,
                                              const weft_schema *schema, weft_source *source,
                                              const weft_alloc *a, weft_err *err);
/** The same from a file (.gz too). */
WEFT_NODISCARD weft_status weft_stats_load(float *out, uint64_t *ret_n_examples,
                                           const weft_schema *schema, const char *path,
                                           const weft_alloc *a, weft_err *err);

/**
 * From the averaged vector: the schema with mean and std of each numeric column filled in
 * (population std; 1 where it is 0; untouched where no value was present).
 * @param ret  a new schema, the caller's to free.
 * @return WEFT_E_INVALID other length, not finite, or fractions outside 0..1; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_stats_apply(weft_schema **ret, const weft_schema *schema,
                                            const float *vector, uint32_t n, const weft_alloc *a,
                                            weft_err *err);

/** What a vector says about a column, for reports. */
typedef struct weft_column_stats {
    double present; /* fraction of rows */
    double mean;    /* numeric, in the file's units */
    double std;
    const float *fractions; /* [n_fractions] into vector: of all rows; categorical and class */
    uint32_t n_fractions;
} weft_column_stats;
/** WEFT_E_INVALID for columns without statistics or a vector that cannot be one. */
WEFT_NODISCARD weft_status weft_stats_column(weft_column_stats *ret, const weft_schema *schema,
                                             uint32_t column, const float *vector, uint32_t n,
                                             weft_err *err);

#endif
