/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients: the loss of each network is computed a second time here, in float64 and by the layers'
 * definitions, and its central differences are compared with what the engine's three sets of
 * kernels propagate back.
 */
#include "support/support.h"

#include "base/rng.h"
#include "nn/net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the reference --------------------------------------------------------------------------- */

enum { MOST_VALUES = 4096 };

static double image_at(const double *x, const weft_shape *s, long y, long xx, uint32_t c)
{
    if (y < 0 || xx < 0 || y >= (long)s->h || xx >= (long)s->w) {
        return 0.0;
    }
    return x[((size_t)y * s->w + (size_t)xx) * s->c + c];
}

static void ref_conv(const weft_layer *l, const double *w, const double *x, double *out)
{
    const double *bias = w + (size_t)l->kernel_h * l->kernel_w * l->in.c * l->units;
    for (uint32_t y = 0; y < l->out.h; y++) {
        for (uint32_t xx = 0; xx < l->out.w; xx++) {
            for (uint32_t f = 0; f < l->units; f++) {
                double sum = l->bias ? bias[f] : 0.0;
                for (uint32_t ky = 0; ky < l->kernel_h; ky++) {
                    for (uint32_t kx = 0; kx < l->kernel_w; kx++) {
                        for (uint32_t c = 0; c < l->in.c; c++) {
                            const long iy = (long)(y * l->stride + ky) - (long)l->pad_top;
                            const long ix = (long)(xx * l->stride + kx) - (long)l->pad_left;
                            sum += image_at(x, &l->in, iy, ix, c) *
                                   w[((ky * l->kernel_w + kx) * l->in.c + c) * l->units + f];
                        }
                    }
                }
                *out++ = sum;
            }
        }
    }
}

static void ref_pool(const weft_layer *l, const double *x, double *out)
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

static void ref_dense(const weft_layer *l, const double *w, const double *x, double *out)
{
    for (uint32_t j = 0; j < l->units; j++) {
        double sum = l->bias ? w[(size_t)l->in.c * l->units + j] : 0.0;
        for (uint32_t i = 0; i < l->in.c; i++) {
            sum += x[i] * w[(size_t)i * l->units + j];
        }
        out[j] = sum;
    }
}

static void ref_layer(const weft_layer *l, const double *w, const double *x, double *out)
{
    const uint32_t n = weft_shape_size(&l->out);
    switch (l->kind) {
    case WEFT_LAYER_DENSE:
        ref_dense(l, w, x, out);
        return;
    case WEFT_LAYER_CONV2D:
        ref_conv(l, w, x, out);
        return;
    case WEFT_LAYER_MAXPOOL:
    case WEFT_LAYER_AVGPOOL:
        ref_pool(l, x, out);
        return;
    case WEFT_LAYER_RELU:
    case WEFT_LAYER_TANH:
    case WEFT_LAYER_SIGMOID:
    case WEFT_LAYER_FLATTEN:
    case WEFT_LAYER_DROPOUT:
        break;
    }
    for (uint32_t i = 0; i < n; i++) {
        out[i] = l->kind == WEFT_LAYER_RELU      ? fmax(x[i], 0.0)
                 : l->kind == WEFT_LAYER_TANH    ? tanh(x[i])
                 : l->kind == WEFT_LAYER_SIGMOID ? 1.0 / (1.0 + exp(-x[i]))
                                                 : x[i];
    }
}

static double ref_example_loss(const weft_spec *spec, const double *w, const float *x,
                               uint32_t label, const float *target)
{
    static double buffer[2][MOST_VALUES];
    double *in = buffer[0];
    double *out = buffer[1];
    for (uint32_t i = 0; i < weft_shape_size(&spec->input); i++) {
        in[i] = (double)x[i];
    }
    for (uint32_t i = 0; i < spec->n_layers; i++) {
        assert_true(weft_shape_size(&spec->layers[i].out) <= MOST_VALUES);
        ref_layer(&spec->layers[i], w, in, out);
        w += weft_layer_n_params(&spec->layers[i]);
        double *t = in;
        in = out;
        out = t;
    }
    const uint32_t n = weft_shape_size(&spec->layers[spec->n_layers - 1].out);
    double sum = 0.0;
    if (spec->loss == WEFT_LOSS_MSE) {
        for (uint32_t i = 0; i < n; i++) {
            sum += (in[i] - (double)target[i]) * (in[i] - (double)target[i]) / n;
        }
        return sum;
    }
    for (uint32_t i = 0; i < n; i++) {
        sum += exp(in[i]);
    }
    return log(sum) - in[label];
}

/* ---- a problem ------------------------------------------------------------------------------- */

typedef struct problem {
    weft_spec *spec;
    weft_layout *layout;
    uint32_t n; /* examples */
    uint32_t n_in, n_out;
    float *x, *w, *targets;
    uint32_t *labels;
    double *w64;
} problem;

static float *floats(size_t n)
{
    float *p = calloc(n, sizeof *p);
    assert_non_null(p);
    return p;
}

static problem problem_new(const char *text, uint32_t n, uint64_t seed)
{
    problem p = {.n = n};
    weft_err err = WEFT_ERR_INIT;
    if (weft_spec_parse(&p.spec, text, strlen(text), &weft_alloc_std, &err) != WEFT_OK) {
        fail_msg("%s: %s", text, err.msg);
    }
    assert_ok(weft_layout_new(&p.layout, p.spec, &weft_alloc_std, &assert_err));
    p.n_in = weft_shape_size(&p.spec->input);
    p.n_out = weft_shape_size(&p.spec->layers[p.spec->n_layers - 1].out);
    p.x = floats((size_t)n * p.n_in);
    p.targets = floats((size_t)n * p.n_out);
    p.w = floats(p.layout->n_params);
    p.labels = calloc(n, sizeof *p.labels);
    p.w64 = calloc(p.layout->n_params, sizeof *p.w64);
    assert_non_null(p.labels);
    assert_non_null(p.w64);
    weft_layout_init_weights(p.w, p.layout, p.spec, seed);
    weft_rng rng;
    weft_rng_init(&rng, seed, 99);
    for (uint64_t i = 0; i < p.layout->n_params; i++) {
        p.w[i] += 0.1F * (2.0F * weft_rng_float(&rng) - 1.0F); /* biases, too */
        p.w64[i] = (double)p.w[i];
    }
    for (size_t i = 0; i < (size_t)n * p.n_in; i++) {
        p.x[i] = (float)weft_rng_normal(&rng);
    }
    for (size_t i = 0; i < (size_t)n * p.n_out; i++) {
        p.targets[i] = (float)weft_rng_normal(&rng);
    }
    for (uint32_t i = 0; i < n; i++) {
        p.labels[i] = (uint32_t)weft_rng_below(&rng, p.n_out);
    }
    return p;
}

static void problem_done(problem *p)
{
    weft_spec_free(p->spec);
    weft_layout_free(p->layout);
    free(p->x);
    free(p->w);
    free(p->targets);
    free(p->labels);
    free(p->w64);
}

static weft_truth truth_of(const problem *p)
{
    return p->spec->loss == WEFT_LOSS_MSE ? (weft_truth){NULL, p->targets}
                                          : (weft_truth){p->labels, NULL};
}

static double ref_loss(const problem *p)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < p->n; i++) {
        sum += ref_example_loss(p->spec, p->w64, p->x + (size_t)i * p->n_in, p->labels[i],
                                p->targets + (size_t)i * p->n_out);
    }
    return sum / p->n;
}

static weft_net *net_of(const problem *p, weft_kernels kernels, bool train)
{
    weft_net_options options = WEFT_NET_OPTIONS_INIT;
    options.max_batch = p->n;
    options.train = train;
    options.kernels = kernels;
    weft_net *net = NULL;
    assert_ok(weft_net_new(&net, p->spec, p->layout, &options, &weft_alloc_std, &assert_err));
    return net;
}

/* The engine's gradient, and its loss. */
static double backward(const problem *p, weft_kernels kernels, float *g)
{
    weft_net *net = net_of(p, kernels, true);
    const weft_truth truth = truth_of(p);
    const weft_sink sink = {g, 0.0F, 1.0F};
    weft_loss_sum sum = {0.0, 0, 0};
    (void)weft_net_forward(net, p->w, p->x, p->n, true);
    assert_ok(weft_net_backward(net, &truth, 1.0F / (float)p->n, &sink, &sum, &assert_err));
    assert_int_equal(sum.n, p->n);
    weft_net_free(net);
    return sum.loss / p->n;
}

static double difference(problem *p, uint64_t i)
{
    const double h = 1e-5;
    const double w = p->w64[i];
    p->w64[i] = w + h;
    const double more = ref_loss(p);
    p->w64[i] = w - h;
    const double less = ref_loss(p);
    p->w64[i] = w;
    return (more - less) / (2.0 * h);
}

static const weft_kernels all_kernels[] = {WEFT_KERNELS_NAIVE, WEFT_KERNELS_BLAS,
                                           WEFT_KERNELS_AUTO};
enum { N_KERNELS = 3, MOST_CHECKED = 24 }; /* parameters of one tensor */

static void check_tensor(problem *p, const weft_tensor_info *t, float *const g[], const char *text)
{
    const uint64_t stride = t->count / MOST_CHECKED + 1;
    double most = 0.0;
    for (uint64_t i = 0; i < t->count; i++) {
        most = fmax(most, fabs((double)g[0][t->offset + i]));
    }
    for (uint64_t i = 0; i < t->count; i += stride) {
        const double want = difference(p, t->offset + i);
        for (int k = 0; k < N_KERNELS; k++) {
            const double got = (double)g[k][t->offset + i];
            if (!(fabs(got - want) <= 1e-5 * most + 1e-8)) {
                fail_msg("%s\n%s[%llu], kernels %d: %.9g, want %.9g", text, t->name,
                         (unsigned long long)i, (int)all_kernels[k], got, want);
            }
        }
    }
}

static void check_gradient(const char *text, uint32_t n)
{
    problem p = problem_new(text, n, 1 + n);
    float *g[N_KERNELS];
    for (int k = 0; k < N_KERNELS; k++) {
        g[k] = floats(p.layout->n_params);
        memset(g[k], 0xff, p.layout->n_params * sizeof(float)); /* NaN: must be written */
        const double loss = backward(&p, all_kernels[k], g[k]);
        assert_true(fabs(loss - ref_loss(&p)) <= 1e-5 * fabs(loss) + 1e-7);
    }
    for (uint32_t i = 0; i < p.layout->n_tensors; i++) {
        check_tensor(&p, &p.layout->tensors[i], g, text);
    }
    for (int k = 0; k < N_KERNELS; k++) {
        free(g[k]);
    }
    problem_done(&p);
}

/* ---- tests ----------------------------------------------------------------------------------- */

#define CE "loss softmax_cross_entropy\n"

static void test_net_backward__equals_differences_for_every_layer(void **state)
{
    (void)state;
    static const char *const specs[] = {
        /* dense, losses, biases */
        "input 7\ndense units=5\n" CE,
        "input 7\ndense units=5 bias=0\nloss mse\n",
        "input 6\ndense units=9\nrelu\ndense units=4\n" CE,
        "input 6\ndense units=9\ntanh\ndense units=4\nloss mse\n",
        "input 6\ndense units=9\nsigmoid\ndense units=4\ntanh\nloss mse\n",
        "input 6\nrelu\ndense units=9\nrelu\nrelu\ndense units=1\nloss mse\n",
        /* convolutions without pools: padding, strides, kernels, channels */
        "input 6x5x2\nconv2d filters=3 kernel=3\nflatten\ndense units=3\n" CE,
        "input 6x5x2\nconv2d filters=16 kernel=3 padding=same\nrelu\nflatten\ndense units=3\n" CE,
        "input 7x8x3\nconv2d filters=16 kernel=4x2 stride=2 padding=same bias=0\ntanh\n"
        "conv2d filters=16 kernel=2x3 stride=2 padding=3\nrelu\nflatten\ndense units=3\n" CE,
        "input 5x5x4\nconv2d filters=6 kernel=1\ntanh\nconv2d filters=16 kernel=1\nrelu\n"
        "conv2d filters=2 kernel=1 stride=2\nloss mse\n",
        "input 4x4x1\nconv2d filters=2 kernel=1 padding=2\ntanh\nflatten\ndense units=2\n" CE,
        "input 3x3x8\nconv2d filters=32 kernel=3\nrelu\nflatten\ndense units=3\n" CE,
        /* pools on their own */
        "input 6x6x3\ntanh\nmaxpool size=2\nflatten\ndense units=3\n" CE,
        "input 7x6x3\nconv2d filters=4 kernel=1\ntanh\nmaxpool size=3 stride=2\nflatten\ndense "
        "units=3\n" CE,
        "input 7x7x2\nconv2d filters=3 kernel=2\navgpool size=3 stride=1\nrelu\nflatten\ndense "
        "units=3\n" CE,
        "input 7x7x2\nconv2d filters=3 kernel=2\navgpool size=2 stride=3\ntanh\nloss mse\n",
        "input 17x16x1\nconv2d filters=2 kernel=2 padding=same\nmaxpool size=16\nflatten\ndense "
        "units=2\n" CE,
        /* convolution, relu and pool in one: every path of the sparse backward */
        "input 8x8x1\nconv2d filters=16 kernel=5 padding=same\nrelu\nmaxpool "
        "size=2\nflatten\ndense units=4\n" CE,
        "input 8x8x1\nconv2d filters=5 kernel=3\nmaxpool size=2\nrelu\nflatten\ndense units=4\n" CE,
        "input 9x7x3\nconv2d filters=16 kernel=3 padding=1\nmaxpool size=2\nflatten\ndense "
        "units=4\n" CE,
        "input 9x9x2\nconv2d filters=16 kernel=3 padding=1\nrelu\nmaxpool size=3 "
        "stride=2\nflatten\ndense units=4\n" CE,
        "input 9x9x2\nconv2d filters=16 kernel=3 stride=2 padding=2\nrelu\nmaxpool size=2 "
        "stride=3\nflatten\ndense units=4\n" CE,
        "input 9x9x1\nconv2d filters=8 kernel=3\ntanh\nconv2d filters=16 kernel=3 "
        "padding=same\nrelu\nmaxpool size=2\n"
        "flatten\ndense units=4\n" CE,
        "input 6x6x4\nconv2d filters=32 kernel=1\nrelu\nconv2d filters=16 kernel=5 "
        "padding=same\nrelu\nmaxpool size=3\n"
        "flatten\ndense units=4\n" CE,
        "input 5x5x12\nconv2d filters=13 kernel=3 padding=same\nconv2d filters=48 kernel=3 "
        "padding=same\nrelu\nmaxpool size=2\n"
        "flatten\ndense units=4\n" CE,
        "input 6x6x3\nconv2d filters=3 kernel=3\nconv2d filters=6 kernel=2 stride=2 "
        "padding=1\nrelu\nmaxpool size=2 stride=1\n"
        "flatten\ndense units=4\nloss mse\n",
        /* all together: McMahan's CNN in small */
        "input 12x12x1\nconv2d filters=16 kernel=5 padding=same\nrelu\nmaxpool size=2\n"
        "conv2d filters=32 kernel=5 padding=same\nrelu\nmaxpool size=2\nflatten\ndense "
        "units=24\nrelu\n"
        "dense units=10\n" CE,
    };
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        check_gradient(specs[i], i % 2 ? 3 : 2);
    }
}

/* Each parameter before the dropout changes mse's loss as a parabola, whose central difference is
 * exact for any step: float32 and a wide step will do. */
static void test_net_backward__goes_through_the_masks_of_dropout(void **state)
{
    (void)state;
    problem p = problem_new(
        "input 5\ndense units=40\ndropout rate=0.4\ndense units=3\ndropout rate=0.25\nloss mse\n",
        4, 5);
    weft_net *net = net_of(&p, WEFT_KERNELS_AUTO, true);
    const weft_truth truth = truth_of(&p);
    float *g = floats(p.layout->n_params);
    const weft_sink sink = {g, 0.0F, 1.0F};
    weft_loss_sum sum = {0.0, 0, 0};
    weft_net_seed(net, 3);
    const float *out = weft_net_forward(net, p.w, p.x, p.n, true);
    uint32_t zeros = 0;
    for (uint32_t i = 0; i < 12; i++) {
        zeros += out[i] == 0.0F;
    }
    assert_in_range(zeros, 1, 8); /* seed 3 drops some of twelve outputs */
    assert_ok(weft_net_backward(net, &truth, 0.25F, &sink, &sum, &assert_err));
    for (uint64_t i = 0; i < p.layout->n_params; i++) {
        double loss[2];
        for (int side = 0; side < 2; side++) {
            const float w = p.w[i];
            p.w[i] += side ? 0.5F : -0.5F;
            weft_net_seed(net, 3);
            (void)weft_net_forward(net, p.w, p.x, p.n, true);
            sum = (weft_loss_sum){0.0, 0, 0};
            assert_ok(weft_net_loss(net, &truth, &sum, &assert_err));
            loss[side] = sum.loss / p.n;
            p.w[i] = w;
        }
        assert_true(fabs((loss[1] - loss[0]) - (double)g[i]) < 2e-5);
    }
    free(g);
    weft_net_free(net);
    problem_done(&p);
}

static void test_net_forward__keeps_dropouts_rate_and_mean(void **state)
{
    (void)state;
    problem p = problem_new("input 20000\ndropout rate=0.3\ndense units=1\nloss mse\n", 1, 5);
    weft_net *net = net_of(&p, WEFT_KERNELS_AUTO, true);
    float *g = floats(p.layout->n_params);
    const weft_sink sink = {g, 0.0F, 1.0F};
    weft_loss_sum sum = {0.0, 0, 0};
    for (uint32_t i = 0; i < p.n_in; i++) {
        p.x[i] = 1.0F;
    }
    p.targets[0] = 0.0F;
    const float y = weft_net_forward(net, p.w, p.x, 1, true)[0];
    const weft_truth truth = truth_of(&p);
    assert_ok(weft_net_backward(net, &truth, 1.0F, &sink, &sum, &assert_err));
    /* dw[i] = 2 y * what dropout made of 1: 0 or 1 / 0.7 */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p.n_in; i++) {
        kept += g[i] != 0.0F;
        assert_true(g[i] == 0.0F || fabs((double)(g[i] / (2.0F * y)) - 1.0 / 0.7) < 1e-5);
    }
    assert_in_range(kept, 13700, 14300); /* 14000 +- 65: 4.6 standard deviations */
    /* evaluation passes everything on */
    (void)weft_net_forward(net, p.w, p.x, 1, false);
    double want = (double)p.w[p.n_in];
    for (uint32_t i = 0; i < p.n_in; i++) {
        want += (double)p.w[i];
    }
    assert_true(fabs((double)weft_net_forward(net, p.w, p.x, 1, false)[0] - want) < 1e-3);
    free(g);
    weft_net_free(net);
    problem_done(&p);
}

static void test_net_backward__accumulates_and_steps_where_the_sink_says(void **state)
{
    (void)state;
    problem p = problem_new(
        "input 8x8x1\nconv2d filters=16 kernel=3 padding=same\nrelu\nmaxpool size=2\n"
        "conv2d filters=16 kernel=3\nrelu\nflatten\ndense units=20\nrelu\ndense units=3\n" CE,
        6, 9);
    const size_t n_params = (size_t)p.layout->n_params;
    float *whole = floats(n_params);
    float *parts = floats(n_params);
    (void)backward(&p, WEFT_KERNELS_AUTO, whole);
    weft_net *net = net_of(&p, WEFT_KERNELS_AUTO, true);
    weft_loss_sum sum = {0.0, 0, 0};
    for (uint32_t at = 0; at < p.n; at += 4) { /* 4 and 2 examples */
        const uint32_t n = p.n - at < 4 ? p.n - at : 4;
        const weft_truth truth = {p.labels + at, NULL};
        const weft_sink sink = {parts, at == 0 ? 0.0F : 1.0F, 1.0F};
        (void)weft_net_forward(net, p.w, p.x + (size_t)at * p.n_in, n, true);
        assert_ok(weft_net_backward(net, &truth, 1.0F / 6.0F, &sink, &sum, &assert_err));
    }
    assert_int_equal(sum.n, 6);
    /* a step into the weights themselves: w = 0.5 w - 2 g */
    float *w = floats(n_params);
    memcpy(w, p.w, n_params * sizeof *w);
    const weft_truth truth = truth_of(&p);
    const weft_sink step = {w, 0.5F, -2.0F};
    (void)weft_net_forward(net, w, p.x, p.n, true);
    assert_ok(weft_net_backward(net, &truth, 1.0F / 6.0F, &step, &sum, &assert_err));
    for (size_t i = 0; i < n_params; i++) {
        assert_true(fabs((double)(parts[i] - whole[i])) < 1e-6);
        assert_true(fabs((double)(w[i] - (0.5F * p.w[i] - 2.0F * whole[i]))) < 2e-6);
    }
    free(whole);
    free(parts);
    free(w);
    weft_net_free(net);
    problem_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_net_backward__equals_differences_for_every_layer),
        cmocka_unit_test(test_net_backward__goes_through_the_masks_of_dropout),
        cmocka_unit_test(test_net_forward__keeps_dropouts_rate_and_mean),
        cmocka_unit_test(test_net_backward__accumulates_and_steps_where_the_sink_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
