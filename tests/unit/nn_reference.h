/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks a second time: in float64, by the layers' definitions, a batch at a time. And problems
 * to compute with them: a spec with seeded weights, inputs and labels.
 */
#ifndef WEFT_TEST_NN_REFERENCE_H
#define WEFT_TEST_NN_REFERENCE_H

#include "support/support.h"

#include "base/rng.h"
#include "nn/net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- layers of one example ------------------------------------------------------------------- */

static inline double image_at(const double *x, const weft_shape *s, long y, long xx, uint32_t c)
{
    if (y < 0 || xx < 0 || y >= (long)s->h || xx >= (long)s->w) {
        return 0.0;
    }
    return x[((size_t)y * s->w + (size_t)xx) * s->c + c];
}

static inline void ref_conv(const weft_layer *l, const double *w, const double *x, double *out)
{
    const uint32_t cin = l->in.c / l->groups;
    const uint32_t per_group = l->units / l->groups;
    const double *bias = w + (size_t)l->kernel_h * l->kernel_w * cin * l->units;
    for (uint32_t at = 0; at < weft_shape_size(&l->out); at++) {
        const uint32_t f = at % l->units;
        const uint32_t xx = at / l->units % l->out.w;
        const uint32_t y = at / l->units / l->out.w;
        const double *filter = w + f;
        double sum = l->bias ? bias[f] : 0.0;
        for (uint32_t ky = 0; ky < l->kernel_h; ky++) {
            for (uint32_t kx = 0; kx < l->kernel_w; kx++) {
                const long iy = (long)(y * l->stride + ky) - (long)l->pad_top;
                const long ix = (long)(xx * l->stride + kx) - (long)l->pad_left;
                for (uint32_t c = 0; c < cin; c++, filter += l->units) {
                    sum += image_at(x, &l->in, iy, ix, f / per_group * cin + c) * *filter;
                }
            }
        }
        out[at] = sum;
    }
}

static inline void ref_pool(const weft_layer *l, const double *x, double *out)
{
    const bool max = l->kind == WEFT_LAYER_MAXPOOL;
    for (uint32_t y = 0; y < l->out.h; y++) {
        for (uint32_t xx = 0; xx < l->out.w; xx++) {
            for (uint32_t c = 0; c < l->in.c; c++) {
                double best = max ? -1e300 : 0.0;
                for (uint32_t k = 0; k < l->kernel_h * l->kernel_w; k++) {
                    const double v = image_at(x, &l->in, (long)(y * l->stride + k / l->kernel_w),
                                              (long)(xx * l->stride + k % l->kernel_w), c);
                    best = max ? fmax(best, v) : best + v / (l->kernel_h * l->kernel_w);
                }
                *out++ = best;
            }
        }
    }
}

static inline void ref_dense(const weft_layer *l, const double *w, const double *x, double *out)
{
    for (uint32_t j = 0; j < l->units; j++) {
        double sum = l->bias ? w[(size_t)l->in.c * l->units + j] : 0.0;
        for (uint32_t i = 0; i < l->in.c; i++) {
            sum += x[i] * w[(size_t)i * l->units + j];
        }
        out[j] = sum;
    }
}

/* Values at stride of base, count of them: their mean and 1 / sqrt(variance + epsilon). */
typedef struct ref_moments {
    double mean, inverse, variance;
} ref_moments;

static inline ref_moments ref_moments_of(const double *x, size_t rows, size_t row_stride,
                                         size_t width)
{
    ref_moments m = {0.0, 0.0, 0.0};
    for (size_t i = 0; i < rows * width; i++) {
        m.mean += x[i / width * row_stride + i % width] / (double)(rows * width);
    }
    for (size_t i = 0; i < rows * width; i++) {
        const double d = x[i / width * row_stride + i % width] - m.mean;
        m.variance += d * d / (double)(rows * width);
    }
    m.inverse = 1.0 / sqrt(m.variance + 1e-5);
    return m;
}

/* rows of c channels in groups of width channels */
static inline void ref_norm(const double *w, const double *x, double *out, size_t rows, size_t c,
                            size_t width)
{
    for (size_t g = 0; g < c / width; g++) {
        const ref_moments m = ref_moments_of(x + g * width, rows, c, width);
        for (size_t i = 0; i < rows * width; i++) {
            const size_t channel = g * width + i % width;
            const size_t at = i / width * c + channel;
            out[at] = (x[at] - m.mean) * m.inverse * w[channel] + w[c + channel];
        }
    }
}

static inline double ref_sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static inline void ref_recurrent(const weft_layer *l, const double *w, const double *x, double *out)
{
    const bool lstm = l->kind == WEFT_LAYER_LSTM;
    const size_t units = l->units;
    const size_t gates = (lstm ? 4 : 3) * units;
    const double *w_hh = w + l->in.c * gates;
    const double *bias = w_hh + units * gates;
    double h[64] = {0.0};
    double c[64] = {0.0};
    double of_x[256];
    double of_h[256];
    assert_true(units <= 64);
    for (uint32_t t = 0; t < l->in.h; t++, x += l->in.c, out += units) {
        for (size_t k = 0; k < gates; k++) {
            of_x[k] = l->bias ? bias[k] : 0.0;
            of_h[k] = l->bias ? bias[gates + k] : 0.0;
            for (uint32_t i = 0; i < l->in.c; i++) {
                of_x[k] += x[i] * w[i * gates + k];
            }
            for (size_t i = 0; i < units; i++) {
                of_h[k] += h[i] * w_hh[i * gates + k];
            }
        }
        for (size_t j = 0; j < units; j++) {
            const double a = ref_sigmoid(of_x[j] + of_h[j]);
            const double b = ref_sigmoid(of_x[units + j] + of_h[units + j]);
            if (lstm) {
                c[j] = b * c[j] + a * tanh(of_x[2 * units + j] + of_h[2 * units + j]);
                h[j] = ref_sigmoid(of_x[3 * units + j] + of_h[3 * units + j]) * tanh(c[j]);
            } else {
                h[j] = (1.0 - b) * tanh(of_x[2 * units + j] + a * of_h[2 * units + j]) + b * h[j];
            }
            out[j] = h[j];
        }
    }
}

static inline double ref_value(const weft_layer *l, double x)
{
    switch ((int)l->kind) {
    case WEFT_LAYER_RELU:
        return fmax(x, 0.0);
    case WEFT_LAYER_LEAKY_RELU:
        return x > 0.0 ? x : (double)l->rate * x;
    case WEFT_LAYER_TANH:
        return tanh(x);
    case WEFT_LAYER_SIGMOID:
        return ref_sigmoid(x);
    case WEFT_LAYER_GELU:
        return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    case WEFT_LAYER_SILU:
        return x * ref_sigmoid(x);
    default:
        return x;
    }
}

static inline void ref_last(const weft_layer *l, const double *x, const float *tokens, double *out)
{
    uint32_t n = l->in.h;
    while (tokens && n > 1 && tokens[n - 1] < 0.0F) {
        n--;
    }
    memcpy(out, x + (size_t)(n - 1) * l->in.c, l->in.c * sizeof *out);
}

/* ---- layers of a batch ----------------------------------------------------------------------- */

static inline void ref_rows(const weft_layer *l, const double *w, const double *x, double *out)
{
    const size_t rows = (size_t)l->in.h * l->in.w;
    for (size_t i = 0; i < rows; i++) {
        if (l->kind == WEFT_LAYER_DENSE) {
            ref_dense(l, w, x + i * l->in.c, out + i * l->units);
        } else if (l->kind == WEFT_LAYER_LAYERNORM) {
            ref_norm(w, x + i * l->in.c, out + i * l->in.c, 1, l->in.c, l->in.c);
        } else { /* embedding */
            for (uint32_t k = 0; k < l->units; k++) {
                out[i * l->units + k] = x[i] < 0.0 ? 0.0 : w[(size_t)x[i] * l->units + k];
            }
        }
    }
}

static inline void ref_example(const weft_layer *l, const double *w, const double *x,
                               const float *tokens, double *out)
{
    const uint32_t n = weft_shape_size(&l->out);
    switch ((int)l->kind) {
    case WEFT_LAYER_DENSE:
    case WEFT_LAYER_LAYERNORM:
    case WEFT_LAYER_EMBEDDING:
        ref_rows(l, w, x, out);
        break;
    case WEFT_LAYER_CONV2D:
        ref_conv(l, w, x, out);
        break;
    case WEFT_LAYER_MAXPOOL:
    case WEFT_LAYER_AVGPOOL:
        ref_pool(l, x, out);
        break;
    case WEFT_LAYER_GROUPNORM:
        ref_norm(w, x, out, (size_t)l->in.h * l->in.w, l->in.c, l->in.c / l->groups);
        break;
    case WEFT_LAYER_GLOBALAVGPOOL:
        for (uint32_t c = 0; c < n; c++) {
            out[c] = ref_moments_of(x + c, (size_t)l->in.h * l->in.w, n, 1).mean;
        }
        break;
    case WEFT_LAYER_LSTM:
    case WEFT_LAYER_GRU:
        ref_recurrent(l, w, x, out);
        break;
    case WEFT_LAYER_LAST_STEP:
        ref_last(l, x, tokens, out);
        break;
    default:
        for (uint32_t i = 0; i < n; i++) {
            out[i] = ref_value(l, x[i]);
        }
        break;
    }
}

/* ---- a problem ------------------------------------------------------------------------------- */

typedef struct problem {
    weft_spec *spec;
    weft_layout *layout;
    uint32_t n; /* examples */
    uint32_t n_in, n_out, n_labels;
    float *x, *w, *targets;
    uint32_t *labels; /* [n][n_labels] */
    double *w64;
    double **values; /* [n_layers + 1][n][...]: what each layer got, and what came out */
} problem;

static inline void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    assert_non_null(p);
    return p;
}

static inline float *floats(size_t n)
{
    return zeroed(n, sizeof(float));
}

/* The loss of one example from its outputs. */
static inline double ref_loss_of(const problem *p, const double *out, uint32_t example)
{
    const weft_spec *spec = p->spec;
    const float *target = p->targets + (size_t)example * p->n_out;
    const uint32_t classes = p->n_out / p->n_labels;
    double sum = 0.0;
    for (uint32_t t = 0; spec->loss == WEFT_LOSS_SOFTMAX_CE && t < p->n_labels; t++) {
        const uint32_t label = p->labels[example * p->n_labels + t];
        double exps = 0.0;
        for (uint32_t i = 0; i < classes; i++) {
            exps += exp(out[t * classes + i]);
        }
        if (label != WEFT_LABEL_IGNORED) {
            const double weight = spec->class_weights ? (double)spec->class_weights[label] : 1.0;
            sum += weight * (log(exps) - out[t * classes + label]) / p->n_labels;
        }
    }
    for (uint32_t i = 0; spec->loss != WEFT_LOSS_SOFTMAX_CE && i < p->n_out; i++) {
        const double d = out[i] - (double)target[i];
        const double delta = (double)spec->delta;
        const double huber = fabs(d) <= delta ? 0.5 * d * d : delta * (fabs(d) - 0.5 * delta);
        const double entropy = log(1.0 + exp(out[i])) - (double)target[i] * out[i];
        sum += (spec->loss == WEFT_LOSS_MSE     ? d * d
                : spec->loss == WEFT_LOSS_HUBER ? huber
                                                : entropy) /
               p->n_out;
    }
    return sum;
}

/* Fills values from a layer on; batchnorm as in training, or by its running values. */
static inline void ref_forward_from(const problem *p, uint32_t layer, bool train)
{
    const double *w = p->w64;
    for (size_t i = 0; i < (size_t)p->n * p->n_in; i++) {
        p->values[0][i] = (double)p->x[i];
    }
    for (uint32_t k = 0; k < p->spec->n_layers; k++) {
        const weft_layer *l = &p->spec->layers[k];
        const bool branch = l->kind == WEFT_LAYER_FROM; /* what was saved, not what is before it */
        const size_t in = weft_shape_size(branch ? &l->out : &l->in);
        const size_t out = weft_shape_size(&l->out);
        const double *other = p->values[l->of];
        const double *from = branch ? other : p->values[k];
        const size_t rows = (size_t)p->n * l->in.h * l->in.w;
        if (k < layer) {
            w += weft_layer_n_params(l);
            continue;
        }
        for (size_t i = 0; i < p->n; i++) {
            ref_example(l, w, from + i * in, p->spec->vocab ? p->x + i * p->n_in : NULL,
                        p->values[k + 1] + i * out);
        }
        for (size_t i = 0; l->kind == WEFT_LAYER_ADD && i < p->n * out; i++) {
            p->values[k + 1][i] += other[i];
        }
        if (l->kind == WEFT_LAYER_BATCHNORM && train) {
            ref_norm(w, p->values[k], p->values[k + 1], rows, l->in.c, 1);
        } else if (l->kind == WEFT_LAYER_BATCHNORM) {
            const size_t c = l->in.c;
            for (size_t i = 0; i < rows * c; i++) {
                p->values[k + 1][i] = (p->values[k][i] - w[2 * c + i % c]) /
                                          sqrt(w[3 * c + i % c] + 1e-5) * w[i % c] +
                                      w[c + i % c];
            }
        }
        w += weft_layer_n_params(l);
    }
}

static inline void ref_forward(const problem *p, bool train)
{
    ref_forward_from(p, 0, train);
}

/* The batch's mean loss, where only this layer and later ones have changed. */
static inline double ref_loss_from(const problem *p, uint32_t layer)
{
    double sum = 0.0;
    ref_forward_from(p, layer, true);
    for (uint32_t i = 0; i < p->n; i++) {
        sum += ref_loss_of(p, p->values[p->spec->n_layers] + (size_t)i * p->n_out, i);
    }
    return sum / p->n;
}

static inline double ref_loss(const problem *p)
{
    return ref_loss_from(p, 0);
}

static inline void fill_inputs(problem *p, weft_rng *rng)
{
    const uint32_t vocab = p->spec->vocab;
    for (size_t i = 0; i < (size_t)p->n * p->n_in; i++) {
        p->x[i] = vocab ? (float)weft_rng_below(rng, vocab) : (float)weft_rng_normal(rng);
    }
    for (uint32_t i = 0; vocab && i < p->n; i++) { /* padding: none, one token, two, ... */
        for (uint32_t k = 0; k < i && k < p->n_in; k++) {
            p->x[(size_t)(i + 1) * p->n_in - 1 - k] = -1.0F;
        }
    }
    const bool shares = p->spec->loss == WEFT_LOSS_SIGMOID_CE;
    for (size_t i = 0; i < (size_t)p->n * p->n_out; i++) {
        p->targets[i] = shares ? weft_rng_float(rng) : (float)weft_rng_normal(rng);
    }
    for (uint32_t i = 0; i < p->n * p->n_labels; i++) {
        p->labels[i] = (uint32_t)weft_rng_below(rng, p->n_out / p->n_labels);
    }
    if (p->n_labels > 1) {
        p->labels[p->n_labels] = WEFT_LABEL_IGNORED;
    }
}

static inline problem problem_new(const char *text, uint32_t n, uint64_t seed)
{
    problem p = {.n = n};
    weft_err err = WEFT_ERR_INIT;
    if (weft_spec_parse(&p.spec, text, strlen(text), &weft_alloc_std, &err) != WEFT_OK) {
        fail_msg("%s: %s", text, err.msg);
    }
    assert_ok(weft_layout_new(&p.layout, p.spec, &weft_alloc_std, &assert_err));
    p.n_in = weft_shape_size(&p.spec->input);
    p.n_out = weft_shape_size(weft_spec_output(p.spec));
    p.n_labels = weft_spec_n_labels(p.spec);
    p.x = floats((size_t)n * p.n_in);
    p.targets = floats((size_t)n * p.n_out);
    p.w = floats(p.layout->n_params);
    p.labels = zeroed((size_t)n * p.n_labels + 1, sizeof *p.labels);
    p.w64 = zeroed(p.layout->n_params, sizeof *p.w64);
    p.values = zeroed(p.spec->n_layers + 1, sizeof *p.values);
    p.values[0] = zeroed((size_t)n * p.n_in, sizeof(double));
    for (uint32_t i = 0; i < p.spec->n_layers; i++) {
        p.values[i + 1] =
            zeroed((size_t)n * weft_shape_size(&p.spec->layers[i].out), sizeof(double));
    }
    weft_layout_init_weights(p.w, p.layout, p.spec, seed);
    weft_rng rng;
    weft_rng_init(&rng, seed, 99);
    for (uint64_t i = 0; i < p.layout->n_params; i++) {
        p.w[i] += 0.1F * (2.0F * weft_rng_float(&rng) - 1.0F); /* biases, too */
        p.w64[i] = (double)p.w[i];
    }
    fill_inputs(&p, &rng);
    return p;
}

static inline void problem_done(problem *p)
{
    for (uint32_t i = 0; i <= p->spec->n_layers; i++) {
        free(p->values[i]);
    }
    free(p->values);
    weft_spec_free(p->spec);
    weft_layout_free(p->layout);
    free(p->x);
    free(p->w);
    free(p->targets);
    free(p->labels);
    free(p->w64);
}

static inline weft_truth truth_of(const problem *p)
{
    return p->spec->loss == WEFT_LOSS_SOFTMAX_CE ? (weft_truth){p->labels, NULL}
                                                 : (weft_truth){NULL, p->targets};
}

static inline weft_net *net_of(const problem *p, weft_kernels kernels, bool train)
{
    weft_net_options options = WEFT_NET_OPTIONS_INIT;
    options.max_batch = p->n;
    options.train = train;
    options.kernels = kernels;
    weft_net *net = NULL;
    assert_ok(weft_net_new(&net, p->spec, p->layout, &options, &weft_alloc_std, &assert_err));
    return net;
}

#endif
