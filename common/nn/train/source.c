/* SPDX-License-Identifier: Apache-2.0 */
/* Sources over plain arrays and over parts of other sources. Threads: any. */
#include "nn/train/source.h"

#include <string.h>

static size_t at_least_one(uint32_t n)
{
    return n > 0 ? n : 1;
}

static void copy_features(const weft_arrays *a, uint32_t index, float *x)
{
    const size_t n = a->n_features;
    if (a->features) {
        memcpy(x, a->features + index * n, n * sizeof *x);
        return;
    }
    const uint8_t *bytes = a->bytes + index * n;
    for (size_t k = 0; k < n; k++) {
        x[k] = (float)bytes[k] / a->divisor;
    }
}

static weft_status arrays_fetch(const void *self, const uint32_t *index, uint32_t n, float *x,
                                uint32_t *labels, float *targets, weft_err *err)
{
    const weft_arrays *a = self;
    const size_t n_targets = a->n_targets;
    const size_t n_labels = at_least_one(a->n_labels);
    for (uint32_t i = 0; i < n; i++) {
        if (index[i] >= a->n_examples) {
            WEFT_FAIL(err, WEFT_E_INVALID, "example %u of %llu was asked for", index[i],
                      (unsigned long long)a->n_examples);
        }
        copy_features(a, index[i], x + (size_t)i * a->n_features);
        if (n_targets > 0 && targets) {
            memcpy(targets + i * n_targets, a->targets + index[i] * n_targets,
                   n_targets * sizeof *targets);
        } else if (n_targets == 0 && labels) {
            memcpy(labels + i * n_labels, a->labels + index[i] * n_labels,
                   n_labels * sizeof *labels);
        }
    }
    return WEFT_OK;
}

weft_batch_source weft_arrays_source(const weft_arrays *arrays)
{
    return (weft_batch_source){.n_examples = arrays->n_examples,
                               .n_features = arrays->n_features,
                               .n_targets = arrays->n_targets,
                               .n_labels = arrays->n_labels,
                               .fetch = arrays_fetch,
                               .self = arrays};
}

enum { AT_ONCE = 64 };

static weft_status subset_fetch(const void *self, const uint32_t *index, uint32_t n, float *x,
                                uint32_t *labels, float *targets, weft_err *err)
{
    const weft_subset *s = self;
    const weft_batch_source *of = s->of;
    uint32_t mapped[AT_ONCE];
    for (uint32_t at = 0; at < n; at += AT_ONCE) {
        const uint32_t some = n - at < AT_ONCE ? n - at : AT_ONCE;
        for (uint32_t i = 0; i < some; i++) {
            if (index[at + i] >= s->n_examples) {
                WEFT_FAIL(err, WEFT_E_INVALID, "example %u of %llu was asked for", index[at + i],
                          (unsigned long long)s->n_examples);
            }
            mapped[i] = s->index[index[at + i]];
        }
        WEFT_TRY(of->fetch(of->self, mapped, some, x + (size_t)at * of->n_features,
                           labels ? labels + at * at_least_one(of->n_labels) : NULL,
                           targets ? targets + (size_t)at * of->n_targets : NULL, err));
    }
    return WEFT_OK;
}

weft_batch_source weft_subset_source(const weft_subset *subset)
{
    return (weft_batch_source){.n_examples = subset->n_examples,
                               .n_features = subset->of->n_features,
                               .n_targets = subset->of->n_targets,
                               .n_labels = subset->of->n_labels,
                               .fetch = subset_fetch,
                               .self = subset};
}
