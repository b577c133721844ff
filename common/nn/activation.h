/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that work value by value; y and x (dx and dy) may be the same array. Threads: any. */
#ifndef WEFT_NN_ACTIVATION_H
#define WEFT_NN_ACTIVATION_H

#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Compiled for each instruction set (isa/activation.c), with the same bits. */
typedef struct weft_activation_ops {
    void (*relu_forward)(float *y, const float *x, size_t n);
    void (*tanh_forward)(float *y, const float *x, size_t n);
    void (*sigmoid_forward)(float *y, const float *x, size_t n);
    void (*leaky_relu_forward)(float *y, const float *x, size_t n, float slope);
    /* x Phi(x), Phi the normal distribution's (Hendrycks and Gimpel 2016; no tanh approximation) */
    void (*gelu_forward)(float *y, const float *x, size_t n);
    /* x sigmoid(x) */
    void (*silu_forward)(float *y, const float *x, size_t n);
    /* y = a + b, through relu or not */
    void (*sum_forward)(float *y, const float *a, const float *b, size_t n, bool relu);

    /* gradients from the inputs x of forward */
    void (*leaky_relu_backward)(float *dx, const float *dy, const float *x, size_t n, float slope);
    void (*gelu_backward)(float *dx, const float *dy, const float *x, size_t n);
    void (*silu_backward)(float *dx, const float *dy, const float *x, size_t n);
    /* gradients from the outputs y of forward */
    void (*relu_backward)(float *dx, const float *dy, const float *y, size_t n);
    void (*tanh_backward)(float *dx, const float *dy, const float *y, size_t n);
    void (*sigmoid_backward)(float *dx, const float *dy, const float *y, size_t n);
} weft_activation_ops;

/**
 * Dropout of training: each value is 0 with probability rate, else x / (1 - rate).
 * @param kept  [n], written: 1 where the value was kept.
 * @param rate  [0, 1)
 */
void weft_dropout_forward(float *y, uint8_t *kept, const float *x, size_t n, float rate,
                          weft_rng *rng);
void weft_dropout_backward(float *dx, const float *dy, const uint8_t *kept, size_t n, float rate);

#endif
