/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that work value by value. Threads: any. */
#include "nn/isa/isa_priv.h"
#include "nn/math.h"

static void relu_forward(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] < 0.0F ? 0.0F : x[i];
    }
}

static void tanh_forward(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = weft_tanhf(x[i]);
    }
}

static void sigmoid_forward(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = weft_sigmoidf(x[i]);
    }
}

static void leaky_relu_forward(float *y, const float *x, size_t n, float slope)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] < 0.0F ? slope * x[i] : x[i];
    }
}

static void gelu_forward(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = 0.5F * x[i] * (1.0F + weft_erff(x[i] * 0.70710678F));
    }
}

static void silu_forward(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] * weft_sigmoidf(x[i]);
    }
}

static void leaky_relu_backward(float *dx, const float *dy, const float *x, size_t n, float slope)
{
    for (size_t i = 0; i < n; i++) {
        dx[i] = x[i] > 0.0F ? dy[i] : slope * dy[i];
    }
}

static void gelu_backward(float *dx, const float *dy, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) { /* Phi(x) + x times the density */
        const float below = 0.5F * (1.0F + weft_erff(x[i] * 0.70710678F));
        const float density = 0.39894228F * weft_expf(-0.5F * x[i] * x[i]);
        dx[i] = dy[i] * (below + x[i] * density);
    }
}

static void silu_backward(float *dx, const float *dy, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float s = weft_sigmoidf(x[i]);
        dx[i] = dy[i] * (s + x[i] * s * (1.0F - s));
    }
}

static void sum_forward(float *y, const float *a, const float *b, size_t n, bool relu)
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

static void relu_backward(float *dx, const float *dy, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dx[i] = y[i] > 0.0F ? dy[i] : 0.0F;
    }
}

static void tanh_backward(float *dx, const float *dy, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dx[i] = dy[i] * (1.0F - y[i] * y[i]);
    }
}

static void sigmoid_backward(float *dx, const float *dy, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dx[i] = dy[i] * y[i] * (1.0F - y[i]);
    }
}

const weft_activation_ops weft_activation = {
    .relu_forward = relu_forward,
    .tanh_forward = tanh_forward,
    .sigmoid_forward = sigmoid_forward,
    .leaky_relu_forward = leaky_relu_forward,
    .gelu_forward = gelu_forward,
    .silu_forward = silu_forward,
    .leaky_relu_backward = leaky_relu_backward,
    .gelu_backward = gelu_backward,
    .silu_backward = silu_backward,
    .sum_forward = sum_forward,
    .relu_backward = relu_backward,
    .tanh_backward = tanh_backward,
    .sigmoid_backward = sigmoid_backward,
};
