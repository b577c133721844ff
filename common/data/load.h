/* SPDX-License-Identifier: Apache-2.0 */
/* Picks the reader for a path: what agents, the evaluation worker and the simulation call. */
#ifndef WEFT_DATA_LOAD_H
#define WEFT_DATA_LOAD_H

#include "data/csv.h"
#include "data/idx.h"
#include "data/npy.h"

/**
 * Load a data set.
 * - a folder: IDX (train-*, t10k-*), else NPY (features.npy, labels.npy; test_*.npy), else CSV
 *   (train.csv or data.csv; test.csv; each also .gz)
 * - a file: CSV, whatever its name (the split is ignored)
 * - a text (the split is ignored), drawn digits, or a part of any of these: see locator.h
 * @param schema  for CSV; NULL: WEFT_E_INVALID where a CSV is found.
 * @return WEFT_E_NOTFOUND naming what was looked for (also when only the test split is missing);
 *         else as the readers.
 */
WEFT_NODISCARD weft_status weft_data_load(weft_data **ret, const char *path, weft_split split,
                                          const weft_schema *schema, const weft_alloc *a,
                                          weft_err *err);

/** The path of the CSV that weft_data_load would read, for weft_stats_load. WEFT_E_NOTFOUND. */
WEFT_NODISCARD weft_status weft_data_find_csv(char *out, size_t out_size, const char *path,
                                              weft_split split, weft_err *err);

#endif
