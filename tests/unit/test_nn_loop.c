/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plan and a spec ask of the training loop beside optimizers: schedules, clipping, early
 * stop, augmentation, metrics, planned memory; and that ResNet-8 and a character LSTM learn.
 */
#include "support/support.h"

#include "base/rng.h"
#include "nn/train/augment.h"
#include "nn/train/schedule.h"
#include "nn/train/tally.h"
#include "nn/train/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct model {
    weft_spec *spec;
    weft_layout *layout;
    weft_trainer_state *state;
    float *w;
} model;

static model model_new(const char *text, const weft_alloc *a)
{
    model m = {0};
    weft_err err = WEFT_ERR_INIT;
    if (weft_spec_parse(&m.spec, text, strlen(text), &weft_alloc_std, &err) != WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    assert_ok(weft_layout_new(&m.layout, m.spec, &weft_alloc_std, &assert_err));
    assert_ok(weft_trainer_state_new(&m.state, m.spec, NULL, a, &assert_err));
    m.w = calloc((size_t)m.layout->n_params, sizeof *m.w);
    assert_non_null(m.w);
    weft_layout_init_weights(m.w, m.layout, m.spec, 1);
    return m;
}

static void model_done(model *m)
{
    weft_trainer_state_free(m->state);
    weft_layout_free(m->layout);
    weft_spec_free(m->spec);
    free(m->w);
}

/* ---- schedules ------------------------------------------------------------------------------- */

static void assert_rate(const weft_plan *plan, uint32_t round, uint64_t done, uint64_t total,
                        double want)
{
    const double got = weft_schedule_rate(plan, round, done, total);
    if (fabs(got - want) > 1e-12) {
        fail_msg("round %u, batch %llu of %llu: %.15g, want %.15g", round, (unsigned long long)done,
                 (unsigned long long)total, got, want);
    }
}

static void test_schedule_rate__goes_on_over_rounds_and_batches(void **state)
{
    (void)state;
    weft_plan plan = WEFT_PLAN_INIT;
    plan.learning_rate = 0.8;
    assert_rate(&plan, 1, 0, 5, 0.8);
    assert_rate(&plan, 900, 4, 5, 0.8);
    plan.schedule = WEFT_SCHEDULE_STEP;
    plan.schedule_rounds = 3;
    plan.schedule_factor = 0.5;
    assert_rate(&plan, 3, 4, 5, 0.8);
    assert_rate(&plan, 4, 0, 5, 0.4);
    assert_rate(&plan, 7, 0, 5, 0.2);
    plan.schedule = WEFT_SCHEDULE_COSINE;
    plan.schedule_rounds = 4;
    plan.schedule_factor = 0.25;
    assert_rate(&plan, 1, 0, 2, 0.8);
    assert_rate(&plan, 3, 0, 2, 0.8 * (0.25 + 0.75 * 0.5));
    assert_rate(&plan, 2, 1, 2, 0.8 * (0.25 + 0.75 * 0.5 * (1.0 + cos(acos(-1.0) * 1.5 / 4.0))));
    assert_rate(&plan, 5, 0, 2, 0.8 * 0.25);
    assert_rate(&plan, 500, 1, 2, 0.8 * 0.25);
    plan.schedule = WEFT_SCHEDULE_CONSTANT;
    plan.warmup_rounds = 2.0;
    assert_rate(&plan, 1, 0, 5, 0.8 * 0.1);
    assert_rate(&plan, 2, 3, 5, 0.8 * 0.9);
    assert_rate(&plan, 2, 4, 5, 0.8);
    assert_rate(&plan, 3, 0, 5, 0.8);
}

/* ---- clipping, early stop -------------------------------------------------------------------- */

enum { POINTS = 12 };

typedef struct points {
    float x[POINTS][2];
    float y[POINTS];
    weft_arrays arrays;
    weft_batch_source source;
} points;

static void points_init(points *p)
{
    for (uint32_t i = 0; i < POINTS; i++) {
        p->x[i][0] = (float)(i % 4);
        p->x[i][1] = (float)(i % 3) - 1.0F;
        p->y[i] = 100.0F * p->x[i][0] - 30.0F;
    }
    p->arrays = (weft_arrays){.n_examples = POINTS,
                              .n_features = 2,
                              .n_targets = 1,
                              .features = p->x[0],
                              .targets = p->y};
    p->source = weft_arrays_source(&p->arrays);
}

static void test_train__clips_the_gradients_norm(void **state)
{
    (void)state;
    points p;
    points_init(&p);
    weft_train_result r;
    weft_plan plan = WEFT_PLAN_INIT;
    plan.batch_size = 0;
    plan.learning_rate = 0.5;
    float moved[2][3];
    for (int i = 0; i < 2; i++) { /* free, then clipped */
        model m = model_new("input 2\ndense units=1 init=zero\nloss mse\n", &weft_alloc_std);
        plan.clip_gradient = i ? 0.25 : 0.0;
        assert_ok(weft_train(&r, m.state, m.w, &plan, 1, &p.source, NULL, &assert_err));
        memcpy(moved[i], m.w, sizeof moved[i]);
        model_done(&m);
    }
    double dot = 0.0;
    double squares[2] = {0.0, 0.0};
    for (int k = 0; k < 3; k++) {
        dot += (double)moved[0][k] * (double)moved[1][k];
        squares[0] += (double)moved[0][k] * (double)moved[0][k];
        squares[1] += (double)moved[1][k] * (double)moved[1][k];
    }
    assert_true(sqrt(squares[0]) > 10.0);
    assert_true(fabs(sqrt(squares[1]) - 0.5 * 0.25) < 1e-6);
    assert_true(fabs(dot / sqrt(squares[0] * squares[1]) - 1.0) < 1e-6); /* the same direction */
}

static void test_train__stops_when_the_loss_no_longer_falls(void **state)
{
    (void)state;
    points p;
    points_init(&p);
    weft_train_result r;
    weft_plan plan = WEFT_PLAN_INIT;
    plan.batch_size = 0;
    plan.epochs = 10000;
    plan.learning_rate = 0.1;
    plan.early_stop = 5;
    model m = model_new("input 2\ndense units=1\nloss mse\n", &weft_alloc_std);
    assert_ok(weft_train(&r, m.state, m.w, &plan, 1, &p.source, NULL, &assert_err));
    assert_in_range(r.n_batches, 6, 9999);
    assert_true(r.loss < 1e-3); /* it had nothing left to learn */
    model_done(&m);
}

/* ---- augmentation ---------------------------------------------------------------------------- */

enum { H = 6, W = 5, C = 2, PIXELS = H * W * C };

static void test_augment__moves_mirrors_and_crops(void **state)
{
    (void)state;
    const weft_shape shape = {3, H, W, C};
    float image[PIXELS];
    float x[PIXELS];
    float before[PIXELS];
    weft_rng rng;
    weft_rng_init(&rng, 3, 0);
    for (int i = 0; i < PIXELS; i++) {
        image[i] = (float)(i + 1);
    }
    bool seen_flip[2] = {false, false};
    bool seen_shift[5][5] = {{false}};
    weft_plan plan = WEFT_PLAN_INIT;
    plan.augment_flip = true;
    plan.augment_shift = 2;
    for (int round = 0; round < 400; round++) {
        memcpy(x, image, sizeof x);
        weft_augment(x, before, &shape, &plan, &rng);
        uint32_t fits = 0;
        for (int flip = 0; flip < 2; flip++) {
            for (int k = 0; k < 25; k++) {
                float want[PIXELS] = {0.0F};
                for (int i = 0; i < PIXELS; i++) {
                    const int row = i / C / W - (k / 5 - 2);
                    const int column = i / C % W - (k % 5 - 2);
                    const int from = flip ? W - 1 - column : column;
                    if (row >= 0 && row < H && column >= 0 && column < W) {
                        want[i] = image[(row * W + from) * C + i % C];
                    }
                }
                if (memcmp(want, x, sizeof x) == 0) {
                    fits++;
                    seen_flip[flip] = true;
                    seen_shift[k / 5][k % 5] = true;
                }
            }
        }
        assert_int_equal(fits, 1);
    }
    assert_true(seen_flip[0] && seen_flip[1]);
    for (int k = 0; k < 25; k++) {
        assert_true(seen_shift[k / 5][k % 5]);
    }
    /* a crop of a plane stays on the plane, and stays inside of its values */
    plan.augment_flip = false;
    plan.augment_shift = 0;
    plan.augment_crop = 2;
    for (int round = 0; round < 50; round++) {
        memcpy(x, image, sizeof x);
        weft_augment(x, before, &shape, &plan, &rng);
        for (int i = 0; i < PIXELS; i++) {
            assert_true(x[i] >= 1.0F && x[i] <= (float)PIXELS);
            assert_true(i % C == 0 || fabs((double)(x[i] - x[i - 1]) - 1.0) < 1e-4);
        }
    }
}

/* ---- metrics --------------------------------------------------------------------------------- */

static void test_tally__of_few_examples_by_hand(void **state)
{
    (void)state;
    model m = model_new("input 1\ndense units=1\nloss sigmoid_cross_entropy\nmetrics auc\n",
                        &weft_alloc_std);
    const float scores[6] = {0.5F, -1.0F, 2.0F, 0.5F, 3.0F, -2.0F};
    const uint32_t positive[6] = {1, 0, 1, 0, 0, 1};
    weft_scored room[6];
    weft_tally t;
    weft_tally_result r;
    weft_tally_init(&t, m.spec, room);
    weft_tally_add(&t, scores, &(weft_truth){positive, NULL}, 6);
    weft_tally_get(&t, &r);
    assert_true(r.has_auc && !r.has_top && !r.has_recall[0]);
    /* of nine pairs 0.5 > -1, 0.5 = 0.5, 2 > -1, 2 > 0.5: 3.5 */
    assert_true(fabs(r.auc - 3.5 / 9.0) < 1e-15);
    weft_tally_init(&t, m.spec, room);
    weft_tally_add(&t, scores, &(weft_truth){positive, NULL}, 1); /* no negative */
    weft_tally_get(&t, &r);
    assert_false(r.has_auc);
    model_done(&m);
    m = model_new("input 1\ndense units=3\nloss softmax_cross_entropy\nmetrics recall top_k=2\n",
                  &weft_alloc_std);
    const float out[4][3] = {{3, 2, 1}, {3, 2, 1}, {1, 1, 1}, {0, 5, 9}};
    const uint32_t labels[4] = {0, 1, 1, 0};
    weft_tally_init(&t, m.spec, NULL);
    weft_tally_add(&t, out[0], &(weft_truth){labels, NULL}, 4);
    weft_tally_get(&t, &r);
    assert_true(r.has_recall[0] && r.has_recall[1] && !r.has_recall[2]);
    assert_true(r.recall[0] == 0.5 && r.recall[1] == 0.0);
    assert_true(r.has_top && r.top == 0.75);
    weft_train_result result = {.n_examples = 4, .tally = r};
    weft_metrics metrics;
    double value = 0.0;
    assert_ok(weft_train_result_metrics(&result, true, &metrics, &assert_err));
    assert_true(weft_metrics_get(&metrics, "client_recall_0", &value) && value == 0.5);
    assert_true(weft_metrics_get(&metrics, "top2", &value) && value == 0.75);
    assert_ok(weft_train_result_metrics(&result, false, &metrics, &assert_err));
    assert_true(weft_metrics_get(&metrics, "recall_0", &value));
    assert_false(weft_metrics_get(&metrics, "recall_2", &value));
    model_done(&m);
}

/* ---- models ---------------------------------------------------------------------------------- */

/* Bars, upright or lying, somewhere in a noisy image. */
static void test_train__resnet8_learns_and_allocates_what_was_planned(void **state)
{
    (void)state;
    static const char text[] =
        "input 12x12x1\nconv2d filters=8 kernel=3 padding=1 bias=0\ngroupnorm groups=4\nrelu\n"
        "save a\nconv2d filters=8 kernel=3 padding=1 bias=0\ngroupnorm groups=4\nrelu\n"
        "conv2d filters=8 kernel=3 padding=1 bias=0\ngroupnorm groups=4\nadd a\nrelu\n"
        "save b\nconv2d filters=16 kernel=3 stride=2 padding=1 bias=0\ngroupnorm groups=4\nrelu\n"
        "conv2d filters=16 kernel=3 padding=1 bias=0\ngroupnorm groups=4\nsave c\nfrom b\n"
        "conv2d filters=16 kernel=1 stride=2 bias=0\nadd c\nrelu\n"
        "save d\nconv2d filters=32 kernel=3 stride=2 padding=1 bias=0\ngroupnorm groups=4\nrelu\n"
        "conv2d filters=32 kernel=3 padding=1 bias=0\ngroupnorm groups=4\nsave e\nfrom d\n"
        "conv2d filters=32 kernel=1 stride=2 bias=0\nadd e\nrelu\n"
        "globalavgpool\ndense units=2\nloss softmax_cross_entropy\n";
    enum { IMAGES = 60, SIDE = 12 };
    float *x = calloc(IMAGES, SIDE * SIDE * sizeof *x);
    uint32_t labels[IMAGES];
    weft_rng rng;
    assert_non_null(x);
    weft_rng_init(&rng, 5, 0);
    for (uint32_t i = 0; i < IMAGES; i++) {
        const uint64_t at = weft_rng_below(&rng, SIDE);
        labels[i] = i % 2;
        for (uint32_t k = 0; k < SIDE * SIDE; k++) {
            const bool bar = (labels[i] ? k % SIDE : k / SIDE) == at;
            x[i * SIDE * SIDE + k] = (bar ? 1.0F : 0.0F) + 0.1F * weft_rng_float(&rng);
        }
    }
    const weft_arrays arrays = {
        .n_examples = IMAGES, .n_features = SIDE * SIDE, .features = x, .labels = labels};
    const weft_batch_source source = weft_arrays_source(&arrays);
    test_alloc counted;
    test_alloc_init(&counted, 0, 0);
    model m = model_new(text, &counted.alloc);
    weft_plan plan = WEFT_PLAN_INIT;
    weft_train_result r;
    plan.batch_size = 10;
    plan.momentum = 0.9;
    plan.learning_rate = 0.05;
    plan.clip_gradient = 5.0;
    plan.augment_shift = 1;
    assert_ok(weft_train(&r, m.state, m.w, &plan, 1, &source, NULL, &assert_err));
    const size_t count = counted.count;
    plan.epochs = 7;
    assert_ok(weft_train(&r, m.state, m.w, &plan, 2, &source, NULL, &assert_err));
    assert_int_equal(counted.count, count);
    assert_ok(weft_evaluate(&r, m.state, m.w, &source, NULL, &assert_err));
    assert_true(r.accuracy > 0.95);
    weft_train_memory memory;
    assert_ok(weft_train_plan_memory(&memory, m.spec, &plan, &weft_alloc_std, &assert_err));
    assert_int_equal(memory.parameters, m.layout->n_params * 4);
    assert_int_equal(memory.optimizer, 2 * m.layout->n_params * 4); /* gradient, momentum */
    weft_net *net = NULL;
    weft_net_memory of_net;
    weft_net_options options = WEFT_NET_OPTIONS_INIT;
    options.max_batch = 10;
    options.train = true;
    assert_ok(weft_net_new(&net, m.spec, m.layout, &options, &weft_alloc_std, &assert_err));
    weft_net_get_memory(net, &of_net);
    assert_int_equal(memory.activations, of_net.activations);
    assert_int_equal(memory.scratch, of_net.scratch);
    weft_net_free(net);
    model_done(&m);
    free(x);
}

/* A text that repeats: the next of its tokens can be known, but only by looking back. */
static void test_train__lstm_learns_to_continue_a_text(void **state)
{
    (void)state;
    static const uint32_t text[] = {0, 1, 2, 1, 0, 3, 1, 4};
    enum { SEQUENCES = 24, STEPS = 12, PERIOD = 8 };
    float x[SEQUENCES][STEPS];
    uint32_t labels[SEQUENCES][STEPS];
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        for (uint32_t t = 0; t < STEPS; t++) {
            const bool padding = i % 5 == 0 && t >= 9;
            x[i][t] = padding ? -1.0F : (float)text[(i + t) % PERIOD];
            labels[i][t] = padding || t < 2 ? WEFT_LABEL_IGNORED : text[(i + t + 1) % PERIOD];
        }
    }
    weft_arrays arrays = {.n_examples = SEQUENCES,
                          .n_features = STEPS,
                          .n_labels = STEPS,
                          .features = x[0],
                          .labels = labels[0]};
    weft_batch_source source = weft_arrays_source(&arrays);
    model m = model_new("input tokens=12 vocab=5\nembedding dims=4\nlstm units=12\n"
                        "lstm units=12\ndense units=5\nloss softmax_cross_entropy\n",
                        &weft_alloc_std);
    weft_plan plan = WEFT_PLAN_INIT;
    weft_train_result r;
    plan.optimizer = WEFT_OPTIMIZER_ADAM;
    plan.learning_rate = 0.02;
    plan.batch_size = 8;
    plan.epochs = 60;
    assert_ok(weft_train(&r, m.state, m.w, &plan, 1, &source, NULL, &assert_err));
    assert_ok(weft_evaluate(&r, m.state, m.w, &source, NULL, &assert_err));
    assert_true(r.accuracy > 0.95);
    /* what does not fit is refused before anything is read from it */
    weft_err err = WEFT_ERR_INIT;
    x[3][4] = 5.0F;
    assert_int_equal(weft_evaluate(&r, m.state, m.w, &source, NULL, &err), WEFT_E_INVALID);
    assert_string_equal(err.msg, "token 4 of an example is 5: they are whole numbers below 5, "
                                 "negative only behind the last");
    weft_err_clear(&err);
    source.n_labels = 1;
    assert_int_equal(weft_evaluate(&r, m.state, m.w, &source, NULL, &err), WEFT_E_INVALID);
    assert_string_equal(err.msg, "the data have 1 labels an example, the model's outputs want 12");
    model_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule_rate__goes_on_over_rounds_and_batches),
        cmocka_unit_test(test_train__clips_the_gradients_norm),
        cmocka_unit_test(test_train__stops_when_the_loss_no_longer_falls),
        cmocka_unit_test(test_augment__moves_mirrors_and_crops),
        cmocka_unit_test(test_tally__of_few_examples_by_hand),
        cmocka_unit_test(test_train__resnet8_learns_and_allocates_what_was_planned),
        cmocka_unit_test(test_train__lstm_learns_to_continue_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
