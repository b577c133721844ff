/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Normalisation: y = (x - mean) / sqrt(variance + epsilon) * weight + bias, optionally through
 * relu. One pair of functions serves three layers, which differ in what a mean is of:
 *
 *              samples            rows of a sample   groups
 *   groupnorm  the images         pixels             as given
 *   layernorm  pixels or steps    1                  1
 *   batchnorm  1                  the batch's pixels as many as channels
 *
 * A mean is of one sample's rows and the channels of one group. Sums run over rows in blocks of a
 * fixed size, then over a group's channels (weft_sum): the same bits everywhere. Threads: any.
 */
#ifndef WEFT_NN_NORM_H
#define WEFT_NN_NORM_H

#include <stdbool.h>
#include <stddef.h>

/* As PyTorch's default. */
#define WEFT_NORM_EPSILON 1e-5F
/* How much of a batch goes into batchnorm's running values, as PyTorch's default. */
#define WEFT_NORM_MOMENTUM 0.1F

typedef struct weft_norm {
    size_t samples;
    size_t rows;
    size_t channels;
    size_t groups; /* divides channels */
    bool relu;
} weft_norm;

/** float32 values of scratch that these functions need. */
size_t weft_norm_scratch(size_t channels);

/* Compiled for each instruction set (isa/norm.c), with the same bits. */
typedef struct weft_norm_ops {
    /**
     * @param y        [samples][rows][channels], written.
     * @param weight   [channels]; bias, too.
     * @param mean     [samples][groups], written; inverse, too: 1 / sqrt(variance + epsilon).
     */
    void (*forward)(const weft_norm *d, float *y, const float *x, const float *weight,
                    const float *bias, float *mean, float *inverse, float *scratch);
    /**
     * @param dx       as x, written; NULL: not wanted.
     * @param dy       as x; overwritten with the gradient before the relu.
     * @param y        of forward; used with relu.
     * @param dweight  [channels], written; dbias, too.
     */
    void (*backward)(const weft_norm *d, float *dx, float *dy, const float *y, const float *x,
                     const float *weight, const float *mean, const float *inverse, float *dweight,
                     float *dbias, float *scratch);
    /* batchnorm in evaluation: by given means and variances [channels] (below 0: as 0) */
    void (*apply)(const weft_norm *d, float *y, const float *x, const float *weight,
                  const float *bias, const float *mean, const float *variance, float *scratch);
} weft_norm_ops;

/**
 * batchnorm's running values after a batch, from what weft_norm_forward wrote.
 * @param running_mean, running_variance  [channels], updated; the variance by the unbiased one.
 */
void weft_norm_track(const weft_norm *d, float *running_mean, float *running_variance,
                     const float *mean, const float *inverse);

#endif
