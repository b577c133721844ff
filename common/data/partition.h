/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions: which examples belong to which client, as index lists over one data set. Seeded:
 * the same arguments give the same lists everywhere. Pure; any thread; immutable once made.
 */
#ifndef WEFT_DATA_PARTITION_H
#define WEFT_DATA_PARTITION_H

#include "data/dataset.h"

typedef struct weft_partition {
    const weft_alloc *alloc;
    uint32_t n_parts;
    uint64_t *start; /* [n_parts + 1], owned: part k is index[start[k] .. start[k+1]) */
    uint32_t *index; /* owned: positions in the data set */
} weft_partition;

void weft_partition_free(weft_partition *p);

/** Part k of a data set, k < n_parts. Borrows both. */
weft_data_view weft_partition_view(const weft_partition *p, const weft_data *data, uint32_t k);

/**
 * Independent and identically distributed: shuffle, cut into n_parts of (nearly) equal size.
 * @param n_parts  1..data->n.
 */
WEFT_NODISCARD weft_status weft_partition_iid(weft_partition **ret, const weft_data *data,
                                              uint32_t n_parts, uint64_t seed, const weft_alloc *a,
                                              weft_err *err);

/**
 * McMahan's pathological split: sort by label, cut into n_parts * per_part shards, give each part
 * per_part of them at random. What does not fill a shard goes to the last one.
 * @return WEFT_E_INVALID without class labels or with fewer examples than shards.
 */
WEFT_NODISCARD weft_status weft_partition_shards(weft_partition **ret, const weft_data *data,
                                                 uint32_t n_parts, uint32_t per_part, uint64_t seed,
                                                 const weft_alloc *a, weft_err *err);

/**
 * Each class is spread over the parts by proportions from a symmetric Dirichlet(alpha) (Hsu et al.
 * 2019): small alpha, few classes a part. No part is left with fewer than min_examples: the
 * largest gives.
 * @param alpha  0.001..1000000
 */
WEFT_NODISCARD weft_status weft_partition_dirichlet(weft_partition **ret, const weft_data *data,
                                                    uint32_t n_parts, double alpha,
                                                    uint32_t min_examples, uint64_t seed,
                                                    const weft_alloc *a, weft_err *err);

/** One part for each value of the group column. WEFT_E_INVALID when the data set has none. */
WEFT_NODISCARD weft_status weft_partition_column(weft_partition **ret, const weft_data *data,
                                                 const weft_alloc *a, weft_err *err);

/**
 * Two parts of a view: 0 to train on, 1 held out for evaluation; each at least one example.
 * @param fraction  held out, (0, 1).
 * @return WEFT_E_INVALID with fewer than two examples.
 */
WEFT_NODISCARD weft_status weft_partition_holdout(weft_partition **ret, const weft_data_view *view,
                                                  double fraction, uint64_t seed,
                                                  const weft_alloc *a, weft_err *err);

#endif
