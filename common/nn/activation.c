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

void weft_leaky_relu_forward(float *y, const float *x, size_t n, float slope)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] < 0.0F ? slope * x[i] : x[i];
    }
}

void weft_gelu_forward(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = 0.5F * x[i] * (1.0F + weft_erff(x[i] * 0.70710678F));
    }
}

void weft_silu_forward(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] * weft_sigmoidf(x[i]);
    }
}

void weft_leaky_relu_backward(float *dx, const float *dy, const float *x, size_t n, float slope)
{
    for (size_t i = 0; i < n; i++) {
        dx[i] = x[i] > 0.0F ? dy[i] : slope * dy[i];
    }
}

void weft_gelu_backward(float *dx, const float *dy, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) { /* Phi(x) + x times the density */
        const float below = 0.5F * (1.0F + weft_erff(x[i] * 0.70710678F));
        const float density = 0.39894228F * weft_expf(-0.5F * x[i] * x[i]);
        dx[i] = dy[i] * (below + x[i] * density);
    }
}

void weft_silu_backward(float *dx, const float *dy, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float s = weft_sigmoidf(x[i]);
        dx[i] = dy[i] * (s + x[i] * s * (1.0F - s));
    }
}

void weft_sum_forward(float *y, const float *a, const float *b, size_t n, bool relu)
{
    if (relu) {
        for (size_t i = 0; i < n; i++) {
            const float sum = a[i] + b[i];
            y[i] = sum < 0.0F ? 0.0F : sum;
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            y[i] = a[i] + b[i];
        }
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
