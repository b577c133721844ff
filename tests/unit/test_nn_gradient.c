/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients: the loss of each network is computed a second time here, in float64 and by the layers'
 * definitions, and its central differences are compared with what the engine's three sets of
 * kernels propagate back.
 */
#include "nn_reference.h"

/* The engine's gradient, and its loss. */
static double backward(const problem *p, weft_kernels kernels, float *g)
{
    weft_net *net = net_of(p, kernels, true);
    const weft_truth truth = truth_of(p);
    const weft_sink sink = {g, 0.0F, 1.0F};
    weft_loss_sum sum = {0};
    (void)weft_net_forward(net, p->w, p->x, p->n, true);
    assert_ok(weft_net_backward(net, &truth, 1.0F / (float)p->n, &sink, &sum, &assert_err));
    assert_true(sum.n >= p->n); /* steps of sequences */
    weft_net_free(net);
    return sum.loss / p->n / p->n_labels;
}

static double difference(problem *p, uint32_t layer, uint64_t i)
{
    const double h = 1e-5;
    const double w = p->w64[i];
    p->w64[i] = w + h;
    const double more = ref_loss_from(p, layer);
    p->w64[i] = w - h;
    const double less = ref_loss_from(p, layer);
    p->w64[i] = w;
    return (more - less) / (2.0 * h);
}

static const weft_kernels all_kernels[] = {WEFT_KERNELS_NAIVE, WEFT_KERNELS_BLAS,
                                           WEFT_KERNELS_AUTO};
enum { N_KERNELS = 3, MOST_CHECKED = 24 }; /* parameters of one tensor */

static void check_tensor(problem *p, const weft_tensor_info *t, float *const g[], const char *text)
{
    const uint64_t stride = t->count / MOST_CHECKED + 1;
    (void)ref_loss(p); /* the values before this layer, as the last tensor's are still there */
    double most = 0.0;
    for (uint64_t i = 0; i < t->count; i++) {
        most = fmax(most, fabs((double)g[0][t->offset + i]));
    }
    for (uint64_t i = 0; i < t->count; i += stride) {
        const double want = difference(p, t->layer, t->offset + i);
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
        /* functions of one value */
        "input 6\ndense units=9\nleaky_relu\ndense units=4\nleaky_relu slope=0.2\nloss mse\n",
        "input 6\ndense units=9\ngelu\ndense units=4\n" CE,
        "input 6\ndense units=9\nsilu\ndense units=4\n" CE,
        /* normalisations */
        "input 5x4x6\nconv2d filters=8 kernel=3 padding=1\ngroupnorm groups=4\nrelu\n"
        "globalavgpool\ndense units=3\n" CE,
        "input 7x6x2\nconv2d filters=6 kernel=3 padding=1\ngroupnorm groups=1\ntanh\nflatten\n"
        "dense units=3\n" CE,
        "input 9\ndense units=8\ngroupnorm groups=2\ntanh\ndense units=3\n" CE,
        "input 9\ndense units=20\nlayernorm\nrelu\ndense units=3\nloss mse\n",
        "input 4x3x5\nlayernorm\nconv2d filters=3 kernel=2\nlayernorm\nflatten\nlayernorm\n"
        "dense units=3\n" CE,
        "input 5x4x2\nconv2d filters=4 kernel=3 padding=1 bias=0\nbatchnorm\nrelu\nflatten\n"
        "dense units=3\n" CE,
        "input 9\ndense units=8 bias=0\nbatchnorm\ntanh\ndense units=3\nloss mse\n",
        /* groups of channels */
        "input 6x5x4\nconv2d filters=4 kernel=3 padding=same groups=4\nrelu\nflatten\n"
        "dense units=3\n" CE,
        "input 7x6x4\nconv2d filters=8 kernel=3x2 stride=2 padding=1 groups=4 bias=0\ntanh\n"
        "conv2d filters=6 kernel=2 groups=2\nflatten\ndense units=3\n" CE,
        "input 6x6x3\nconv2d filters=6 kernel=1\ntanh\nconv2d filters=12 kernel=3 groups=3 "
        "padding=2\nrelu\nmaxpool size=2\nflatten\ndense units=3\n" CE,
        /* branches: ResNet's two blocks, inputs, values that are read three times */
        "input 6x6x3\nconv2d filters=4 kernel=3 padding=1\nrelu\nsave a\n"
        "conv2d filters=4 kernel=3 padding=1\ngroupnorm groups=2\nrelu\n"
        "conv2d filters=4 kernel=3 padding=1\ngroupnorm groups=2\nadd a\nrelu\n"
        "globalavgpool\ndense units=3\n" CE,
        "input 6x6x3\nconv2d filters=4 kernel=3 padding=1\nsave a\nrelu\n"
        "conv2d filters=6 kernel=3 stride=2 padding=1\ntanh\nsave b\nfrom a\n"
        "conv2d filters=6 kernel=1 stride=2\nadd b\nrelu\nflatten\ndense units=3\n" CE,
        "input 7\nsave x\ndense units=7\ntanh\nadd x\nsave y\ndense units=7\nadd y\nadd x\n"
        "dense units=3\n" CE,
        "input 5\ndense units=6\nsave a\ntanh\nsave b\nfrom a\nsigmoid\nadd a\nadd b\nadd b\n"
        "save c\nfrom c\ndense units=4\nsave d\nfrom b\ndense units=4\nadd d\n" CE,
        "input 5\ndense units=3\nsave a\ndense units=3\nadd a\nsave b\nfrom b\n" CE,
        /* sequences */
        "input 5x4\nlstm units=3\ndense units=4\n" CE,
        "input 5x4\nlstm units=6 bias=0\nlast\ndense units=3\n" CE,
        "input 4x3\ndense units=5\ntanh\ngru units=4\nlayernorm\ngru units=3 bias=0\nlast\n"
        "dense units=3\nloss mse\n",
        "input 1x3\ngru units=4\nflatten\ndense units=3\n" CE,
        "input tokens=6 vocab=9\nembedding dims=4\nlstm units=5\nlstm units=4\ndense units=9\n" CE,
        "input tokens=6 vocab=9\nsave t\nembedding dims=4\ngru units=5\nlast\nsave h\nfrom t\n"
        "embedding dims=5\nflatten\ndense units=5\nadd h\ndense units=3\n" CE,
        /* losses */
        "input 6\ndense units=9\ntanh\ndense units=4\nloss sigmoid_cross_entropy\n",
        "input 6\ndense units=9\ntanh\ndense units=4\nloss huber\n",
        "input 6\ndense units=9\ntanh\ndense units=4\nloss huber delta=0.3\n",
        "input 6\ndense units=9\ntanh\ndense units=3\n"
        "loss softmax_cross_entropy weights=0.5,2,1.25\n",
        "input 4x5\ngru units=3\nloss softmax_cross_entropy weights=0,2,1.25\n",
    };
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        /* few examples are a bad basis for a batch's variance: float32 shows it */
        check_gradient(specs[i], strstr(specs[i], "batchnorm") ? 8 : i % 2 ? 3 : 2);
    }
}

/* Evaluation: no dropout, batchnorm by its running values, two buffers in turns where nothing is
 * kept. */
static void test_net_forward__equals_the_layers_definitions_in_evaluation(void **state)
{
    (void)state;
    static const char *const specs[] = {
        "input 5x4x2\nconv2d filters=4 kernel=3 padding=1\nbatchnorm\nrelu\nsave a\n"
        "conv2d filters=4 kernel=3 padding=1\nbatchnorm\nrelu\ndropout rate=0.5\nadd a\n"
        "relu\nglobalavgpool\ndense units=3\n" CE,
        "input 7\nsave x\ndense units=7\ntanh\nadd x\nsave y\ndense units=7\nbatchnorm\n"
        "add y\nadd x\nlayernorm\ndense units=3\n" CE,
        "input tokens=6 vocab=9\nembedding dims=4\nlstm units=5\ngru units=4\nlast\n"
        "dense units=9\n" CE,
    };
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        problem p = problem_new(specs[i], 5, 3 + i);
        weft_net *net = net_of(&p, WEFT_KERNELS_AUTO, false);
        const float *out = weft_net_forward(net, p.w, p.x, p.n, false);
        ref_forward(&p, false);
        for (uint32_t k = 0; k < p.n * p.n_out; k++) {
            assert_true(fabs((double)out[k] - p.values[p.spec->n_layers][k]) < 1e-5);
        }
        weft_net_free(net);
        problem_done(&p);
    }
}

/* PyTorch's rule: running += 0.1 (batch - running), the variance by n - 1. */
static void test_net__keeps_batchnorms_running_values(void **state)
{
    (void)state;
    problem p = problem_new("input 3\nbatchnorm\ndense units=2\n" CE, 5, 1);
    weft_net *net = net_of(&p, WEFT_KERNELS_AUTO, true);
    const weft_truth truth = truth_of(&p);
    weft_loss_sum sum = {0};
    const weft_sink step = {p.w, 0.9F, -0.1F}; /* decay must not touch them */
    float running[6];
    memcpy(running, p.w + 6, sizeof running); /* behind weight and bias */
    weft_net_take_running(net, p.w);
    (void)weft_net_forward(net, p.w, p.x, p.n, true);
    assert_ok(weft_net_backward(net, &truth, 0.2F, &step, &sum, &assert_err));
    weft_net_put_running(net, p.w);
    ref_forward(&p, true);
    for (size_t c = 0; c < 3; c++) {
        const ref_moments m = ref_moments_of(p.values[0] + c, 5, 3, 1);
        const double mean = 0.9 * (double)running[c] + 0.1 * m.mean;
        const double variance = 0.9 * (double)running[3 + c] + 0.1 * m.variance * 5.0 / 4.0;
        assert_true(fabs((double)p.w[6 + c] - mean) < 1e-6);
        assert_true(fabs((double)p.w[9 + c] - variance) < 1e-6);
    }
    weft_net_free(net);
    problem_done(&p);
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
    weft_loss_sum sum = {0};
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
            sum = (weft_loss_sum){0};
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
    weft_loss_sum sum = {0};
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
    weft_loss_sum sum = {0};
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
        cmocka_unit_test(test_net_forward__equals_the_layers_definitions_in_evaluation),
        cmocka_unit_test(test_net__keeps_batchnorms_running_values),
        cmocka_unit_test(test_net_backward__goes_through_the_masks_of_dropout),
        cmocka_unit_test(test_net_forward__keeps_dropouts_rate_and_mean),
        cmocka_unit_test(test_net_backward__accumulates_and_steps_where_the_sink_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
