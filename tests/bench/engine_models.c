/* SPDX-License-Identifier: Apache-2.0 */
/* The models of bench_engine. */
#include "bench_engine.h"

#include "base/rng.h"
#include "nn/isa/isa.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Residual blocks, two of which halve the image: the way past them is a convolution, too. */
static const char resnet8[] =
    "input 32x32x3\nconv2d filters=16 kernel=3 padding=1 bias=0\ngroupnorm groups=8\nrelu\n"
    "save one\nconv2d filters=16 kernel=3 padding=1 bias=0\ngroupnorm groups=8\nrelu\n"
    "conv2d filters=16 kernel=3 padding=1 bias=0\ngroupnorm groups=8\nadd one\nrelu\n"
    "save two\nconv2d filters=32 kernel=3 stride=2 padding=1 bias=0\ngroupnorm groups=8\n"
    "relu\n"
    "conv2d filters=32 kernel=3 padding=1 bias=0\ngroupnorm groups=8\nsave two_main\n"
    "from two\nconv2d filters=32 kernel=1 stride=2 bias=0\ngroupnorm groups=8\n"
    "add two_main\nrelu\n"
    "save three\nconv2d filters=64 kernel=3 stride=2 padding=1 bias=0\ngroupnorm groups=8\n"
    "relu\n"
    "conv2d filters=64 kernel=3 padding=1 bias=0\ngroupnorm groups=8\nsave three_main\n"
    "from three\nconv2d filters=64 kernel=1 stride=2 bias=0\ngroupnorm groups=8\n"
    "add three_main\nrelu\n"
    "globalavgpool\ndense units=10\nloss softmax_cross_entropy\n";

/* As torch_ref.py has them. */
static const struct {
    const char *name;
    const char *spec;
} models[] = {
    {"2nn", "input 784\ndense units=200\nrelu\ndense units=200\nrelu\ndense units=10\n"
            "loss softmax_cross_entropy\n"},
    {"cnn", "input 28x28x1\nconv2d filters=32 kernel=5 padding=same\nrelu\nmaxpool size=2\n"
            "conv2d filters=64 kernel=5 padding=same\nrelu\nmaxpool size=2\nflatten\n"
            "dense units=512\nrelu\ndense units=10\nloss softmax_cross_entropy\n"},
    {"cifar", "input 32x32x3\nconv2d filters=32 kernel=3 padding=same\nrelu\n"
              "conv2d filters=64 kernel=3 padding=same\nrelu\nmaxpool size=2\n"
              "conv2d filters=128 kernel=3 padding=same\nrelu\nmaxpool size=2\nflatten\n"
              "dense units=256\nrelu\ndense units=10\nloss softmax_cross_entropy\n"},
    {"resnet8", resnet8},
    {"lstm", "input tokens=80 vocab=90\nembedding dims=8\nlstm units=256\nlstm units=256\n"
             "dense units=90\nloss softmax_cross_entropy\n"},
};

float *bench_floats(size_t n, uint64_t seed)
{
    float *p = malloc(n * sizeof *p);
    weft_rng rng;
    if (!p) {
        die("no memory");
    }
    weft_rng_init(&rng, seed, 0);
    for (size_t i = 0; i < n; i++) {
        p[i] = weft_rng_float(&rng);
    }
    return p;
}

bool bench_isa_parse(const char *name)
{
    for (int kind = WEFT_ISA_PLAIN; kind <= WEFT_ISA_AVX512; kind++) {
        if (strcmp(name, weft_isa_name((weft_isa_kind)kind)) == 0) {
            options.isa = (weft_isa_kind)kind;
            return true;
        }
    }
    return false;
}

/* Weights that are multiplied at each pixel or step: no biases, norms or tables. */
static double weights_of(const weft_layer *l)
{
    const uint64_t all = weft_layer_n_params(l);
    if (l->kind == WEFT_LAYER_DENSE || l->kind == WEFT_LAYER_CONV2D) {
        return (double)(all - (l->bias ? l->units : 0));
    }
    if (l->kind == WEFT_LAYER_LSTM) {
        return (double)(all - (l->bias ? 8 * (uint64_t)l->units : 0)); /* two for each of 4 gates */
    }
    return 0.0;
}

/* Multiply-adds of one example: forward and both gradients, but none for the input's. */
static double work_of(const weft_spec *spec)
{
    double total = 0.0;
    bool first = true; /* nothing before has parameters */
    for (uint32_t i = 0; i < spec->n_layers; i++) {
        const weft_layer *l = &spec->layers[i];
        total += (double)l->out.h * l->out.w * weights_of(l) * (first ? 2.0 : 3.0);
        first = first && weft_layer_n_params(l) == 0;
    }
    return total;
}

/* Whole numbers below vocab. */
static void to_tokens(float *x, size_t n, uint32_t vocab)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = floorf(x[i] * (float)vocab);
    }
}

bool bench_model_init(bench_model *m, const char *name, uint32_t batch, uint32_t threads)
{
    const char *text = NULL;
    memset(m, 0, sizeof *m);
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        text = strcmp(models[i].name, name) == 0 ? models[i].spec : text;
    }
    if (!text || weft_spec_parse(&m->spec, text, strlen(text), &weft_alloc_std, NULL)) {
        return false;
    }
    weft_net_options net = WEFT_NET_OPTIONS_INIT;
    net.n_threads = threads;
    net.isa = options.isa;
    net.numerics = options.portable ? WEFT_NUMERICS_PORTABLE : WEFT_NUMERICS_FAST;
    const uint32_t n_in = weft_shape_size(&m->spec->input);
    const uint32_t n_labels = weft_spec_n_labels(m->spec);
    uint32_t *labels = malloc((size_t)BENCH_EXAMPLES * n_labels * sizeof *labels);
    if (!labels || weft_layout_new(&m->layout, m->spec, &weft_alloc_std, NULL) ||
        weft_trainer_state_new(&m->state, m->spec, &net, &weft_alloc_std, NULL)) {
        die("no memory");
    }
    for (uint32_t i = 0; i < BENCH_EXAMPLES * n_labels; i++) {
        labels[i] = i % weft_spec_output(m->spec)->c;
    }
    float *features = bench_floats((size_t)BENCH_EXAMPLES * n_in, 4);
    if (m->spec->vocab) {
        to_tokens(features, (size_t)BENCH_EXAMPLES * n_in, m->spec->vocab);
    }
    m->weights = malloc((size_t)m->layout->n_params * sizeof *m->weights);
    m->arrays = (weft_arrays){.n_examples = BENCH_EXAMPLES,
                              .n_features = n_in,
                              .n_labels = n_labels,
                              .features = features,
                              .labels = labels};
    m->plan = (weft_plan)WEFT_PLAN_INIT;
    m->plan.batch_size = batch;
    m->plan.learning_rate = 0.01;
    m->plan.numerics = net.numerics;
    if (!m->weights) {
        die("no memory");
    }
    weft_layout_init_weights(m->weights, m->layout, m->spec, 1);
    m->work = work_of(m->spec);
    return true;
}

void bench_model_done(bench_model *m)
{
    free(m->weights);
    free((void *)(uintptr_t)m->arrays.features);
    free((void *)(uintptr_t)m->arrays.labels);
    weft_net_free(m->net);
    weft_trainer_state_free(m->state);
    weft_layout_free(m->layout);
    weft_spec_free(m->spec);
}

static void train(bench_model *m, const weft_arrays *arrays)
{
    weft_train_result result;
    const weft_batch_source source = weft_arrays_source(arrays);
    if (weft_train(&result, m->state, m->weights, &m->plan, m->epochs++, &source, NULL, NULL)) {
        die("training failed");
    }
}

void bench_model_epoch(bench_model *m)
{
    train(m, &m->arrays);
}

void bench_model_step(bench_model *m)
{
    weft_arrays first = m->arrays;
    first.n_examples = m->plan.batch_size;
    train(m, &first);
}

void bench_model_infer(bench_model *m)
{
    if (!m->net) {
        weft_net_options net = WEFT_NET_OPTIONS_INIT;
        net.max_batch = 1;
        net.isa = options.isa;
        net.numerics = m->plan.numerics;
        if (weft_net_new(&m->net, m->spec, m->layout, &net, &weft_alloc_std, NULL)) {
            die("no memory");
        }
    }
    (void)weft_net_forward(m->net, m->weights, m->arrays.features, 1, false); /* only timed */
}
