/* SPDX-License-Identifier: Apache-2.0 */
/* What normalisations need once a batch. Threads: any. */
#include "nn/norm.h"

size_t weft_norm_scratch(size_t channels)
{
    return 7 * channels;
}

void weft_norm_track(const weft_norm *d, float *running_mean, float *running_variance,
                     const float *mean, const float *inverse)
{
    const float n = (float)d->rows;
    const float unbiased = d->rows > 1 ? n / (n - 1.0F) : 1.0F;
    for (size_t c = 0; c < d->channels; c++) {
        const float variance = 1.0F / (inverse[c] * inverse[c]) - WEFT_NORM_EPSILON;
        running_mean[c] += WEFT_NORM_MOMENTUM * (mean[c] - running_mean[c]);
        running_variance[c] += WEFT_NORM_MOMENTUM * (variance * unbiased - running_variance[c]);
    }
}
