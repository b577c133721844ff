/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an evaluation measures besides loss and accuracy: the share of labels among the K largest
 * outputs, the recall of each class, the area under the ROC curve. Threads: one at a time.
 */
#ifndef WEFT_NN_TRAIN_TALLY_H
#define WEFT_NN_TRAIN_TALLY_H

#include "nn/net.h"

/* One example of a ROC curve. */
typedef struct weft_scored {
    float score;
    bool positive;
} weft_scored;

typedef struct weft_tally {
    uint32_t metrics; /* WEFT_METRIC_... of the spec */
    uint32_t top_k;
    uint32_t outputs; /* of one label */
    uint64_t n;       /* labels */
    uint64_t n_top;   /* of them, those among the largest */
    uint64_t of_class[WEFT_SPEC_MAX_RECALL];
    uint64_t right[WEFT_SPEC_MAX_RECALL];
    uint64_t n_scores;
    weft_scored *scores; /* [examples], borrowed; NULL without WEFT_METRIC_AUC */
} weft_tally;

/** What came out; each has_ is false where nothing was to be measured. */
typedef struct weft_tally_result {
    bool has_top, has_auc;
    bool has_recall[WEFT_SPEC_MAX_RECALL];
    uint32_t top_k;
    double top;
    double auc;
    double recall[WEFT_SPEC_MAX_RECALL];
} weft_tally_result;

/** Begin; scores has room for all examples where weft_tally_wants_scores. */
void weft_tally_init(weft_tally *t, const weft_spec *spec, weft_scored *scores);
bool weft_tally_wants_scores(const weft_spec *spec);

/** Count n labels; those that weft_net_loss refuses must not come here.
 *  @param out  [n][outputs] */
void weft_tally_add(weft_tally *t, const float *out, const weft_truth *truth, uint32_t n);

/** The end; scores are sorted. */
void weft_tally_get(weft_tally *t, weft_tally_result *ret);

#endif
