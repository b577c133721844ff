/* SPDX-License-Identifier: Apache-2.0 */
/* Losses over the outputs of a batch. Threads: any. */
#include "nn/loss.h"

#include "nn/math.h"

#include <string.h>

/* The index of the first largest value. */
static uint32_t first_max(const float *z, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = z[i] > z[best] ? i : best;
    }
    return best;
}

/* One example. The largest logit's share is kept out of the sum, and the label's out of its own
 * gradient: 1 + tiny - 1 would lose what a well-trained model has left to learn. */
static double softmax_row(float *dz, const float *z, uint32_t label, uint32_t classes,
                          float inverse_n)
{
    const uint32_t best = first_max(z, classes);
    float below = 0.0F;  /* without best, whose share is 1 */
    float others = 0.0F; /* without label */
    for (uint32_t c = 0; c < classes; c++) {
        const float e = weft_expf(z[c] - z[best]);
        below += c != best ? e : 0.0F;
        others += c != label ? e : 0.0F;
        if (dz) {
            dz[c] = e;
        }
    }
    if (dz) {
        const float scale = inverse_n / (1.0F + below);
        dz[label] = -others;
        for (uint32_t c = 0; c < classes; c++) {
            dz[c] *= scale;
        }
    }
    return (double)(weft_log1pf(below) - (z[label] - z[best]));
}

weft_status weft_loss_softmax(float *dz, const float *z, const uint32_t *labels, uint32_t n,
                              uint32_t classes, const float *weights, float inverse_n,
                              weft_loss_sum *sum, weft_err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        if (labels[i] >= classes && labels[i] != WEFT_LABEL_IGNORED) {
            WEFT_FAIL(err, WEFT_E_INVALID, "an example has label %u, the model has %u classes",
                      labels[i], classes);
        }
    }
    for (uint32_t i = 0; i < n; i++, z += classes) {
        const uint32_t label = labels[i];
        if (label != WEFT_LABEL_IGNORED) {
            const float weight = weights ? weights[label] : 1.0F;
            sum->correct += first_max(z, classes) == label;
            sum->loss += (double)weight * softmax_row(dz, z, label, classes, weight * inverse_n);
            sum->weight += (double)weight;
            sum->n++;
        } else if (dz) {
            memset(dz, 0, classes * sizeof *dz);
        }
        dz = dz ? dz + classes : NULL;
    }
    return WEFT_OK;
}

weft_status weft_loss_sigmoid(float *dz, const float *z, const float *targets,
                              const uint32_t *labels, uint32_t n, uint32_t outputs, float inverse_n,
                              weft_loss_sum *sum, weft_err *err)
{
    const size_t values = (size_t)n * outputs;
    for (size_t i = 0; i < values; i++) {
        const double t = targets ? (double)targets[i] : (double)labels[i];
        if (!(t >= 0.0 && t <= 1.0)) {
            WEFT_FAIL(err, WEFT_E_INVALID, "a target is %g, sigmoid_cross_entropy wants 0 to 1", t);
        }
    }
    double total = 0.0;
    for (size_t i = 0; i < values; i++) {
        const float t = targets ? targets[i] : (float)labels[i];
        total += (double)(weft_softplusf(z[i]) - t * z[i]);
        sum->correct += outputs == 1 && (z[i] > 0.0F) == (t > 0.5F);
        if (dz) {
            dz[i] = (weft_sigmoidf(z[i]) - t) * (inverse_n / (float)outputs);
        }
    }
    sum->loss += total / (double)outputs;
    sum->weight += n;
    sum->n += n;
    return WEFT_OK;
}

void weft_loss_mse(float *dy, const float *y, const float *targets, uint32_t n, uint32_t outputs,
                   float inverse_n, weft_loss_sum *sum)
{
    const float slope = 2.0F * inverse_n / (float)outputs;
    const size_t values = (size_t)n * outputs;
    double squares = 0.0;
    for (size_t i = 0; i < values; i++) {
        const float d = y[i] - targets[i];
        squares += (double)d * (double)d;
        if (dy) {
            dy[i] = slope * d;
        }
    }
    sum->loss += squares / (double)outputs;
    sum->weight += n;
    sum->n += n;
}

void weft_loss_huber(float *dy, const float *y, const float *targets, uint32_t n, uint32_t outputs,
                     float delta, float inverse_n, weft_loss_sum *sum)
{
    const float slope = inverse_n / (float)outputs;
    const size_t values = (size_t)n * outputs;
    double total = 0.0;
    for (size_t i = 0; i < values; i++) {
        const float d = y[i] - targets[i];
        float clipped = d > delta ? delta : d;
        clipped = clipped < -delta ? -delta : clipped;
        total += (double)clipped * ((double)d - 0.5 * (double)clipped);
        if (dy) {
            dy[i] = slope * clipped;
        }
    }
    sum->loss += total / (double)outputs;
    sum->weight += n;
    sum->n += n;
}

void weft_sigmoid_rows(float *z, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        z[i] = weft_sigmoidf(z[i]);
    }
}

void weft_softmax_rows(float *z, uint64_t rows, uint32_t classes)
{
    for (uint64_t i = 0; i < rows; i++, z += classes) {
        const float most = z[first_max(z, classes)];
        float total = 0.0F;
        for (uint32_t c = 0; c < classes; c++) {
            z[c] = weft_expf(z[c] - most);
            total += z[c];
        }
        for (uint32_t c = 0; c < classes; c++) {
            z[c] /= total;
        }
    }
}
