/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine against PyTorch: outputs, losses and gradients of every layer and loss, and weights
 * after some steps of every optimizer and schedule. PyTorch's numbers are written down in
 * nn_torch_goldens.h; the script that made them draws the same weights and inputs as value() here.
 */
#include "nn_torch_goldens.h"
#include "support/support.h"

#include "nn/train/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TO_X = 1, TO_WEIGHTS = 2, TO_TARGETS = 3 };

/* float32 computes both sides, in different orders. */
static const double tolerance = 1e-5;

/* -0.5 to 0.5 in steps of 2^-16. */
static float value(size_t i, uint32_t salt)
{
    const uint64_t mixed = (i + 1) * UINT64_C(2654435761) + salt * UINT64_C(40503) * 65537;
    return (float)((uint32_t)mixed / 65536U) / 65536.0F - 0.5F;
}

/* A model and n examples for it. */
typedef struct problem {
    weft_spec *spec;
    weft_layout *layout;
    uint32_t n;
    uint32_t n_out;
    uint32_t n_labels;
    float *weights;   /* [n_params] */
    float *x;         /* [n][n_in] */
    uint32_t *labels; /* [n][n_labels] */
    float *targets;   /* [n][n_out] */
} problem;

static void draw_truth(problem *p)
{
    const weft_shape *out = weft_spec_output(p->spec);
    for (uint32_t i = 0; i < p->n * p->n_labels; i++) {
        const bool ignored = out->rank == 2 && i % 4 == 3;
        p->labels[i] = ignored ? WEFT_LABEL_IGNORED : (i * 5 + i / 2 + 2) % out->c;
    }
    for (uint32_t i = 0; i < p->n * p->n_out; i++) {
        const float v = value(i, TO_TARGETS);
        p->targets[i] = p->spec->loss == WEFT_LOSS_SIGMOID_CE ? v + 0.5F : 2.0F * v;
    }
}

static void problem_init(problem *p, const char *text, uint32_t n)
{
    assert_ok(weft_spec_parse(&p->spec, text, strlen(text), &weft_alloc_std, &assert_err));
    assert_ok(weft_layout_new(&p->layout, p->spec, &weft_alloc_std, &assert_err));
    const uint32_t n_in = weft_shape_size(&p->spec->input);
    p->n = n;
    p->n_out = weft_shape_size(weft_spec_output(p->spec));
    p->n_labels = weft_spec_n_labels(p->spec);
    p->weights = calloc((size_t)p->layout->n_params, sizeof *p->weights);
    p->x = calloc((size_t)n * n_in, sizeof *p->x);
    p->labels = calloc((size_t)n * p->n_labels, sizeof *p->labels);
    p->targets = calloc((size_t)n * p->n_out, sizeof *p->targets);
    assert_true(p->weights && p->x && p->labels && p->targets);
    for (uint32_t i = 0; i < p->layout->n_tensors; i++) {
        const weft_tensor_info *t = &p->layout->tensors[i];
        for (size_t k = t->offset; k < t->offset + t->count; k++) {
            p->weights[k] = value(k, TO_WEIGHTS) + (t->role == WEFT_TENSOR_VARIANCE ? 1.0F : 0.0F);
        }
    }
    for (uint32_t i = 0; i < n * n_in; i++) {
        const uint32_t vocab = p->spec->vocab;
        p->x[i] = vocab ? (float)((i * 7 + 3) % vocab) : 2.0F * value(i, TO_X);
    }
    draw_truth(p);
}

static void problem_done(problem *p)
{
    free(p->weights);
    free(p->x);
    free(p->labels);
    free(p->targets);
    weft_layout_free(p->layout);
    weft_spec_free(p->spec);
}

static void assert_near(const char *name, const char *what, const float *got, const double *want,
                        size_t n)
{
    double largest = 0.0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(want[i]));
    }
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)got[i] - want[i]) <= tolerance * largest)) {
            fail_msg("%s: %s %zu is %.9g, PyTorch's %.9g", name, what, i, (double)got[i], want[i]);
        }
    }
}

static void check_layer(const struct layer_golden *g, const weft_net_options *options)
{
    problem p;
    weft_net *net = NULL;
    weft_loss_sum sum = {0};
    problem_init(&p, g->spec, g->n);
    assert_int_equal(p.layout->n_params, g->n_params);
    assert_int_equal((size_t)p.n * p.n_out, g->n_outputs);
    float *gradient = calloc(g->n_params + 1, sizeof *gradient);
    assert_non_null(gradient);
    const bool labels = p.spec->loss == WEFT_LOSS_SOFTMAX_CE;
    const weft_truth truth = {labels ? p.labels : NULL, labels ? NULL : p.targets};
    const weft_sink sink = {gradient, 0.0F, 1.0F};
    assert_ok(weft_net_new(&net, p.spec, p.layout, options, &weft_alloc_std, &assert_err));
    weft_net_take_running(net, p.weights);
    const float *out = weft_net_forward(net, p.weights, p.x, p.n, true);
    assert_near(g->name, "output", out, g->outputs, g->n_outputs);
    const float inverse = 1.0F / (float)weft_net_truth_weight(net, &truth, p.n);
    assert_ok(weft_net_backward(net, &truth, inverse, &sink, &sum, &assert_err));
    assert_near(g->name, "gradient", gradient, g->gradient, g->n_params);
    assert_true(fabs(sum.loss / sum.weight - g->loss) <= tolerance * fabs(g->loss));
    weft_net_free(net);
    free(gradient);
    problem_done(&p);
}

static void test_layers__compute_what_pytorch_does(void **state)
{
    (void)state;
    weft_net_options options = WEFT_NET_OPTIONS_INIT;
    options.train = true;
    for (size_t i = 0; i < sizeof layer_goldens / sizeof layer_goldens[0]; i++) {
        options.numerics = WEFT_NUMERICS_FAST;
        check_layer(&layer_goldens[i], &options);
        options.numerics = WEFT_NUMERICS_PORTABLE;
        check_layer(&layer_goldens[i], &options);
    }
}

/* Every kind of layer that has a value of its own is among them. */
static void test_layers__are_all_there(void **state)
{
    (void)state;
    for (int kind = 0; kind < WEFT_N_LAYER_KINDS; kind++) {
        const char *word = weft_layer_kind_name((weft_layer_kind)kind);
        char line[32];
        (void)snprintf(line, sizeof line, "\n%s", word); /* fits */
        bool found = kind == WEFT_LAYER_DROPOUT;         /* draws; evaluation passes values on */
        for (size_t i = 0; i < sizeof layer_goldens / sizeof layer_goldens[0] && !found; i++) {
            const char *at = strstr(layer_goldens[i].spec, line);
            found = at && strchr(" \n", at[strlen(line)]);
        }
        if (!found) {
            fail_msg("no golden of %s", word);
        }
    }
}

static void check_run(const struct run_golden *g, uint32_t copies)
{
    problem p;
    weft_trainer_state *trainer = NULL;
    weft_train_result result;
    problem_init(&p, g->spec, g->n);
    assert_int_equal(p.layout->n_params, g->n_params);
    const uint32_t n_in = weft_shape_size(&p.spec->input);
    float *x = calloc((size_t)copies * p.n * n_in, sizeof *x);
    uint32_t *labels = calloc((size_t)copies * p.n, sizeof *labels);
    assert_true(x && labels);
    for (uint32_t i = 0; i < copies; i++) {
        memcpy(x + (size_t)i * p.n * n_in, p.x, (size_t)p.n * n_in * sizeof *x);
        memcpy(labels + (size_t)i * p.n, p.labels, p.n * sizeof *labels);
    }
    const weft_arrays arrays = {
        .n_examples = (uint64_t)copies * p.n, .n_features = n_in, .features = x, .labels = labels};
    const weft_batch_source source = weft_arrays_source(&arrays);
    const weft_train_control control = {.round = g->round};
    assert_ok(weft_trainer_state_new(&trainer, p.spec, NULL, &weft_alloc_std, &assert_err));
    assert_ok(weft_train(&result, trainer, p.weights, &g->plan, 1, &source, &control, &assert_err));
    assert_near(g->name, "weight", p.weights, g->weights, g->n_params);
    weft_trainer_state_free(trainer);
    free(x);
    free(labels);
    problem_done(&p);
}

/* A batch of the same examples many times over has the same mean, also where it is cut into
 * chunks (43 * 6 = 2 * 128 + 2). */
static void test_training__goes_where_pytorchs_goes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof run_goldens / sizeof run_goldens[0]; i++) {
        check_run(&run_goldens[i], 1);
        check_run(&run_goldens[i], 43);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers__compute_what_pytorch_does),
        cmocka_unit_test(test_layers__are_all_there),
        cmocka_unit_test(test_training__goes_where_pytorchs_goes),
    };
    return cmocka_run_group_tests_name("nn_torch", tests, NULL, NULL);
}
