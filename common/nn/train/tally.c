/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics of an evaluation. Threads: one at a time. */
#include "nn/train/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool weft_tally_wants_scores(const weft_spec *spec)
{
    return (spec->metrics & WEFT_METRIC_AUC) != 0;
}

void weft_tally_init(weft_tally *t, const weft_spec *spec, weft_scored *scores)
{
    *t = (weft_tally){.metrics = spec->metrics,
                      .top_k = spec->top_k,
                      .outputs = weft_spec_output(spec)->c,
                      .scores = scores};
}

/* Is the label's output among the K largest? Of equal ones the first are larger. */
static bool among_largest(const float *out, uint32_t n, uint32_t label, uint32_t k)
{
    uint32_t larger = 0;
    for (uint32_t i = 0; i < n; i++) {
        larger += out[i] > out[label] || (i < label && out[i] == out[label]);
    }
    return larger < k;
}

static void add_label(weft_tally *t, const float *out, uint32_t label)
{
    t->n++;
    if (t->metrics & WEFT_METRIC_TOP_K) {
        t->n_top += among_largest(out, t->outputs, label, t->top_k);
    }
    if (t->metrics & WEFT_METRIC_RECALL) {
        t->of_class[label]++;
        t->right[label] += among_largest(out, t->outputs, label, 1);
    }
}

void weft_tally_add(weft_tally *t, const float *out, const weft_truth *truth, uint32_t n)
{
    for (uint32_t i = 0; i < n && t->metrics != 0; i++, out += t->outputs) {
        if (t->metrics & WEFT_METRIC_AUC) { /* of the second class, or of the only output */
            const float score = t->outputs == 2 ? out[1] - out[0] : out[0];
            const bool positive = truth->labels ? truth->labels[i] == 1 : truth->targets[i] > 0.5F;
            t->scores[t->n_scores++] = (weft_scored){score, positive};
        }
        if (truth->labels && truth->labels[i] != WEFT_LABEL_IGNORED) {
            add_label(t, out, truth->labels[i]);
        }
    }
}

static int by_score(const void *a, const void *b)
{
    const float x = ((const weft_scored *)a)->score;
    const float y = ((const weft_scored *)b)->score;
    return (x > y) - (x < y);
}

/* Mann and Whitney's U: the share of pairs of a positive and a negative that are in order, a half
 * for equal ones. False without both, or where a score is no number. */
static bool area(weft_tally *t, double *ret)
{
    const size_t n = (size_t)t->n_scores;
    double positives = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(t->scores[i].score)) {
            return false;
        }
        positives += t->scores[i].positive ? 1.0 : 0.0;
    }
    const double negatives = (double)n - positives;
    if (n == 0 || positives < 1.0 || negatives < 1.0) {
        return false;
    }
    qsort(t->scores, n, sizeof *t->scores, by_score);
    double pairs = 0.0;
    double below = 0.0; /* negatives with a smaller score */
    for (size_t at = 0; at < n;) {
        double same[2] = {0.0, 0.0};
        const float score = t->scores[at].score;
        for (; at < n && t->scores[at].score == score; at++) {
            same[t->scores[at].positive] += 1.0;
        }
        pairs += same[1] * (below + 0.5 * same[0]);
        below += same[0];
    }
    *ret = pairs / (positives * negatives);
    return true;
}

void weft_tally_get(weft_tally *t, weft_tally_result *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->top_k = t->top_k;
    ret->has_top = (t->metrics & WEFT_METRIC_TOP_K) && t->n > 0;
    ret->top = ret->has_top ? (double)t->n_top / (double)t->n : 0.0;
    ret->has_auc = (t->metrics & WEFT_METRIC_AUC) && area(t, &ret->auc);
    for (uint32_t i = 0; i < WEFT_SPEC_MAX_RECALL; i++) {
        ret->has_recall[i] = t->of_class[i] > 0;
        ret->recall[i] = ret->has_recall[i] ? (double)t->right[i] / (double)t->of_class[i] : 0.0;
    }
}
