/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that work value by value. Threads: any. */
#include "nn/activation.h"

#include "nn/math.h"

void weft_relu_forward(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] < 0.0F ? 0.0F : x[i];
    }
}

void weft_tanh_forward(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = weft_tanhf(x[i]);
    }
}

void weft_sigmoid_forward(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = weft_sigmoidf(x[i]);
    }
}

void weft_relu_backward(float *dx, const float *dy, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dx[i] = y[i] > 0.0F ? dy[i] : 0.0F;
    }
}

void weft_tanh_backward(float *dx, const float *dy, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dx[i] = dy[i] * (1.0F - y[i] * y[i]);
    }
}

void weft_sigmoid_backward(float *dx, const float *dy, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dx[i] = dy[i] * y[i] * (1.0F - y[i]);
    }
}

void weft_dropout_forward(float *y, uint8_t *kept, const float *x, size_t n, float rate,
                          weft_rng *rng)
{
    const float scale = 1.0F / (1.0F - rate);
    for (size_t i = 0; i < n; i++) {
        kept[i] = weft_rng_float(rng) >= rate;
        y[i] = kept[i] ? x[i] * scale : 0.0F;
    }
}

void weft_dropout_backward(float *dx, const float *dy, const uint8_t *kept, size_t n, float rate)
{
    const float scale = 1.0F / (1.0F - rate);
    for (size_t i = 0; i < n; i++) {
        dx[i] = kept[i] ? dy[i] * scale : 0.0F;
    }
}
