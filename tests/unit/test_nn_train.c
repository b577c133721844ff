/* SPDX-License-Identifier: Apache-2.0 */
/* Optimizers, sources, the training loop and evaluation. */
#include "support/support.h"

#include "base/rng.h"
#include "nn/train/optimizer.h"
#include "nn/train/train.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- optimizers ------------------------------------------------------------------------------ */

enum { N = 7, STEPS = 20 };

/* The papers' formulas in float64, for one parameter. */
static double reference(const weft_plan *p, double w, const double *g)
{
    const double base = w;
    double v = 0.0;
    double m = 0.0;
    for (int t = 1; t <= STEPS; t++) {
        const double d = g[t - 1] + p->weight_decay * w + p->prox_mu * (w - base);
        if (p->optimizer == WEFT_OPTIMIZER_SGD) {
            v = p->momentum * v + d;
            w -= p->learning_rate * v;
        } else {
            m = p->beta1 * m + (1.0 - p->beta1) * d;
            v = p->beta2 * v + (1.0 - p->beta2) * d * d;
            const double mean = m / (1.0 - pow(p->beta1, t));
            const double square = v / (1.0 - pow(p->beta2, t));
            w -= p->learning_rate * mean / (sqrt(square) + p->epsilon);
        }
    }
    return w;
}

static void check_optimizer(const weft_plan *plan)
{
    weft_rng rng;
    weft_rng_init(&rng, 1, 1);
    double gradients[N][STEPS];
    double want[N];
    float w[N];
    float base[N];
    float state[2 * N] = {0};
    for (int i = 0; i < N; i++) {
        w[i] = base[i] = (float)weft_rng_normal(&rng);
        for (int t = 0; t < STEPS; t++) {
            gradients[i][t] = (double)(float)weft_rng_normal(&rng);
        }
        want[i] = reference(plan, (double)w[i], gradients[i]);
    }
    for (int t = 1; t <= STEPS; t++) {
        float g[N];
        for (int i = 0; i < N; i++) {
            g[i] = (float)gradients[i][t - 1];
        }
        weft_optimizer_step(plan, w, g, weft_optimizer_needs_base(plan) ? base : NULL,
                            weft_optimizer_n_state(plan) ? state : NULL, N, (uint64_t)t);
    }
    for (int i = 0; i < N; i++) {
        assert_true(fabs((double)w[i] - want[i]) < 1e-5);
    }
}

static void test_optimizer_step__follows_the_formulas(void **state)
{
    (void)state;
    const weft_plan defaults = WEFT_PLAN_INIT;
    for (int i = 0; i < 16; i++) {
        weft_plan p = defaults;
        p.optimizer = i & 1 ? WEFT_OPTIMIZER_ADAM : WEFT_OPTIMIZER_SGD;
        p.learning_rate = 0.05;
        p.momentum = i & 2 ? 0.9 : 0.0;
        p.weight_decay = i & 4 ? 0.1 : 0.0;
        p.prox_mu = i & 8 ? 0.5 : 0.0;
        assert_int_equal(weft_optimizer_n_state(&p), i & 1 ? 2 : i & 2 ? 1 : 0);
        assert_int_equal(weft_optimizer_needs_base(&p), i >= 8);
        check_optimizer(&p);
    }
}

static void test_optimizer_is_plain__only_without_state(void **state)
{
    (void)state;
    weft_plan p = WEFT_PLAN_INIT;
    float keep = 0.0F;
    float scale = 0.0F;
    p.weight_decay = 0.5;
    assert_true(weft_optimizer_is_plain(&p, &keep, &scale));
    assert_true(keep == 0.95F && scale == -0.1F); /* w - 0.1 (g + 0.5 w) */
    p.prox_mu = 1.0;
    assert_false(weft_optimizer_is_plain(&p, &keep, &scale));
    p.prox_mu = 0.0;
    p.momentum = 0.1;
    assert_false(weft_optimizer_is_plain(&p, &keep, &scale));
    p.momentum = 0.0;
    p.optimizer = WEFT_OPTIMIZER_ADAM;
    assert_false(weft_optimizer_is_plain(&p, &keep, &scale));
}

/* ---- a problem: which of three clouds, in four dimensions ------------------------------------ */

enum { EXAMPLES = 300, FEATURES = 4, CLASSES = 3 };

static const char clouds_text[] = "input 4\ndense units=16\nrelu\ndropout rate=0.1\ndense units=3\n"
                                  "loss softmax_cross_entropy\n";
static const char smooth_text[] =
    "input 4\ndense units=16\ntanh\ndense units=3\nloss softmax_cross_entropy\n";

typedef struct clouds {
    weft_spec *spec;
    weft_layout *layout;
    float x[EXAMPLES][FEATURES];
    uint32_t labels[EXAMPLES];
    weft_arrays arrays;
    weft_batch_source source;
} clouds;

static clouds *clouds_new(const char *text)
{
    clouds *c = calloc(1, sizeof *c);
    assert_non_null(c);
    assert_ok(weft_spec_parse(&c->spec, text, strlen(text), &weft_alloc_std, &assert_err));
    assert_ok(weft_layout_new(&c->layout, c->spec, &weft_alloc_std, &assert_err));
    weft_rng rng;
    weft_rng_init(&rng, 11, 0);
    for (uint32_t i = 0; i < EXAMPLES; i++) {
        c->labels[i] = i % CLASSES;
        for (uint32_t k = 0; k < FEATURES; k++) {
            c->x[i][k] = (float)(weft_rng_normal(&rng) + (k == c->labels[i] ? 3.0 : 0.0));
        }
    }
    c->arrays = (weft_arrays){
        .n_examples = EXAMPLES, .n_features = FEATURES, .features = c->x[0], .labels = c->labels};
    c->source = weft_arrays_source(&c->arrays);
    return c;
}

static void clouds_free(clouds *c)
{
    weft_spec_free(c->spec);
    weft_layout_free(c->layout);
    free(c);
}

static weft_trainer_state *state_of(const clouds *c)
{
    weft_trainer_state *state = NULL;
    assert_ok(weft_trainer_state_new(&state, c->spec, NULL, &weft_alloc_std, &assert_err));
    return state;
}

static float *weights_of(const clouds *c)
{
    float *w = calloc((size_t)c->layout->n_params, sizeof *w);
    assert_non_null(w);
    weft_layout_init_weights(w, c->layout, c->spec, 1);
    return w;
}

static size_t bytes_of(const clouds *c)
{
    return (size_t)c->layout->n_params * sizeof(float);
}

static weft_plan plan_of(weft_optimizer optimizer, double rate, uint32_t batch, uint32_t epochs)
{
    weft_plan p = WEFT_PLAN_INIT;
    p.optimizer = optimizer;
    p.learning_rate = rate;
    p.batch_size = batch;
    p.epochs = epochs;
    return p;
}

static void test_train__learns_with_each_optimizer(void **state)
{
    (void)state;
    clouds *c = clouds_new(clouds_text);
    weft_plan plans[] = {
        plan_of(WEFT_OPTIMIZER_SGD, 0.1, 10, 10),   plan_of(WEFT_OPTIMIZER_SGD, 0.03, 10, 10),
        plan_of(WEFT_OPTIMIZER_ADAM, 0.01, 32, 10), plan_of(WEFT_OPTIMIZER_SGD, 0.5, 0, 60),
        plan_of(WEFT_OPTIMIZER_SGD, 0.1, 7, 10),
    };
    plans[1].momentum = 0.9;
    plans[4].prox_mu = 0.01;
    plans[4].weight_decay = 0.001;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        weft_trainer_state *t = state_of(c);
        float *w = weights_of(c);
        weft_train_result before;
        weft_train_result trained;
        weft_train_result after;
        assert_ok(weft_evaluate(&before, t, w, &c->source, NULL, &assert_err));
        assert_ok(weft_train(&trained, t, w, &plans[i], 1, &c->source, NULL, &assert_err));
        assert_ok(weft_evaluate(&after, t, w, &c->source, NULL, &assert_err));
        const uint64_t batches = plans[i].batch_size ? (EXAMPLES - 1) / plans[i].batch_size + 1 : 1;
        assert_int_equal(trained.n_batches, plans[i].epochs * batches);
        assert_int_equal(trained.n_examples, EXAMPLES);
        assert_true(before.loss > 0.9 && trained.loss < 0.4 && after.loss < 0.2);
        assert_true(after.accuracy > 0.93 && after.has_accuracy);
        weft_metrics metrics;
        double accuracy = 0.0;
        assert_ok(weft_train_result_metrics(&after, false, &metrics, &assert_err));
        assert_int_equal(metrics.n, 2);
        assert_true(weft_metrics_get(&metrics, "accuracy", &accuracy));
        assert_true(accuracy == after.accuracy);
        free(w);
        weft_trainer_state_free(t);
    }
    clouds_free(c);
}

static void test_train__fits_a_line_with_mse(void **state)
{
    (void)state;
    static const char text[] = "input 2\ndense units=1\nloss mse\n";
    weft_spec *spec = NULL;
    assert_ok(weft_spec_parse(&spec, text, sizeof text - 1, &weft_alloc_std, &assert_err));
    float x[100][2];
    float y[100];
    weft_rng rng;
    weft_rng_init(&rng, 3, 0);
    for (int i = 0; i < 100; i++) {
        x[i][0] = (float)weft_rng_normal(&rng);
        x[i][1] = (float)weft_rng_normal(&rng);
        y[i] = 2.0F * x[i][0] - 0.5F * x[i][1] + 0.25F;
    }
    const weft_arrays arrays = {
        .n_examples = 100, .n_features = 2, .n_targets = 1, .features = x[0], .targets = y};
    const weft_batch_source source = weft_arrays_source(&arrays);
    weft_trainer_state *t = NULL;
    assert_ok(weft_trainer_state_new(&t, spec, NULL, &weft_alloc_std, &assert_err));
    float w[3] = {0};
    weft_train_result r;
    const weft_plan plan = plan_of(WEFT_OPTIMIZER_SGD, 0.1, 10, 30);
    assert_ok(weft_train(&r, t, w, &plan, 1, &source, NULL, &assert_err));
    assert_true(fabsf(w[0] - 2.0F) < 1e-4F && fabsf(w[1] + 0.5F) < 1e-4F &&
                fabsf(w[2] - 0.25F) < 1e-4F);
    assert_false(r.has_accuracy);
    weft_metrics metrics;
    assert_ok(weft_train_result_metrics(&r, false, &metrics, &assert_err));
    assert_int_equal(metrics.n, 1);
    weft_trainer_state_free(t);
    weft_spec_free(spec);
}

/* ---- the same bytes -------------------------------------------------------------------------- */

static void train_bytes(const clouds *c, weft_trainer_state *t, float *w, uint64_t seed)
{
    const weft_plan plan = plan_of(WEFT_OPTIMIZER_SGD, 0.1, 10, 3);
    weft_train_result r;
    weft_layout_init_weights(w, c->layout, c->spec, 1);
    assert_ok(weft_train(&r, t, w, &plan, seed, &c->source, NULL, &assert_err));
}

static void test_train__gives_the_same_bytes_for_the_same_seed(void **state)
{
    (void)state;
    clouds *c = clouds_new(clouds_text);
    weft_trainer_state *fresh = state_of(c);
    weft_trainer_state *used = state_of(c);
    float *a = weights_of(c);
    float *b = weights_of(c);
    /* what a state did before leaves no trace: other plans, larger batches, an evaluation */
    weft_plan other = plan_of(WEFT_OPTIMIZER_ADAM, 0.01, 0, 2);
    other.prox_mu = 1.0;
    weft_train_result r;
    assert_ok(weft_train(&r, used, b, &other, 9, &c->source, NULL, &assert_err));
    assert_ok(weft_evaluate(&r, used, b, &c->source, NULL, &assert_err));
    train_bytes(c, fresh, a, 5);
    train_bytes(c, used, b, 5);
    assert_memory_equal(a, b, bytes_of(c));
    train_bytes(c, used, b, 6);
    assert_memory_not_equal(a, b, bytes_of(c));
    /* nor does the memory the weights lie in */
    float *shifted = calloc((size_t)c->layout->n_params + 1, sizeof *shifted);
    assert_non_null(shifted);
    train_bytes(c, fresh, shifted + 1, 5);
    assert_memory_equal(a, shifted + 1, bytes_of(c));
    free(shifted);
    free(a);
    free(b);
    weft_trainer_state_free(fresh);
    weft_trainer_state_free(used);
    clouds_free(c);
}

/* A net with every kind of kernel, trained by one thread and by two at once. */
typedef struct job {
    weft_trainer_state *state;
    const weft_batch_source *source;
    float *w;
    weft_status status;
} job;

static void *train_image_job(void *arg)
{
    job *j = arg;
    const weft_plan plan = plan_of(WEFT_OPTIMIZER_SGD, 0.01, 25, 2);
    weft_train_result r;
    j->status = weft_train(&r, j->state, j->w, &plan, 3, j->source, NULL, NULL);
    return NULL;
}

static void test_train__gives_the_same_bytes_in_parallel_threads(void **state)
{
    (void)state;
    static const char text[] =
        "input 12x12x1\nconv2d filters=16 kernel=5 padding=same\nrelu\nmaxpool size=2\n"
        "conv2d filters=16 kernel=3\nrelu\nconv2d filters=5 kernel=3\nrelu\nflatten\ndense "
        "units=30\n"
        "relu\ndense units=3\nloss softmax_cross_entropy\n";
    enum { IMAGES = 60, PIXELS = 144 };
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    assert_ok(weft_spec_parse(&spec, text, sizeof text - 1, &weft_alloc_std, &assert_err));
    assert_ok(weft_layout_new(&layout, spec, &weft_alloc_std, &assert_err));
    uint8_t *pixels = calloc(IMAGES, PIXELS);
    uint32_t labels[IMAGES];
    assert_non_null(pixels);
    weft_rng rng;
    weft_rng_init(&rng, 8, 0);
    for (uint32_t i = 0; i < IMAGES; i++) {
        labels[i] = i % 3;
        for (uint32_t k = 0; k < PIXELS; k++) {
            pixels[i * PIXELS + k] = (uint8_t)weft_rng_below(&rng, 256);
        }
    }
    const weft_arrays arrays = {.n_examples = IMAGES,
                                .n_features = PIXELS,
                                .bytes = pixels,
                                .divisor = 255.0F,
                                .labels = labels};
    const weft_batch_source source = weft_arrays_source(&arrays);
    job jobs[3] = {0};
    for (int i = 0; i < 3; i++) {
        jobs[i].source = &source;
        jobs[i].w = calloc((size_t)layout->n_params, sizeof(float));
        assert_non_null(jobs[i].w);
        weft_layout_init_weights(jobs[i].w, layout, spec, 1);
        assert_ok(weft_trainer_state_new(&jobs[i].state, spec, NULL, &weft_alloc_std, &assert_err));
    }
    (void)train_image_job(&jobs[0]); /* alone; returns NULL */
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, train_image_job, &jobs[i + 1]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(jobs[i].status, WEFT_OK);
        assert_memory_equal(jobs[i].w, jobs[0].w, (size_t)layout->n_params * sizeof(float));
    }
    for (int i = 0; i < 3; i++) {
        free(jobs[i].w);
        weft_trainer_state_free(jobs[i].state);
    }
    free(pixels);
    weft_layout_free(layout);
    weft_spec_free(spec);
}

/* One step over everything: of a batch of 300 (three chunks), of batch_size 0, and by hand. */
static void test_train__adds_up_chunks_of_a_large_batch(void **state)
{
    (void)state;
    clouds *c = clouds_new(smooth_text);
    weft_trainer_state *t = state_of(c);
    float *whole = weights_of(c);
    float *large = weights_of(c);
    float *by_hand = weights_of(c);
    weft_train_result r;
    weft_plan plan = plan_of(WEFT_OPTIMIZER_SGD, 0.5, 0, 1);
    plan.weight_decay = 0.1;
    assert_true(EXAMPLES > 2 * WEFT_TRAIN_CHUNK);
    assert_ok(weft_train(&r, t, whole, &plan, 1, &c->source, NULL, &assert_err));
    assert_int_equal(r.n_batches, 1);
    plan.batch_size = EXAMPLES;
    assert_ok(weft_train(&r, t, large, &plan, 2, &c->source, NULL, &assert_err));
    assert_memory_equal(whole, large, bytes_of(c));
    weft_net *net = NULL;
    weft_net_options options = WEFT_NET_OPTIONS_INIT;
    options.max_batch = EXAMPLES;
    options.train = true;
    options.kernels = WEFT_KERNELS_NAIVE;
    const weft_truth truth = {c->labels, NULL};
    const weft_sink sink = {by_hand, 1.0F - 0.5F * 0.1F, -0.5F};
    weft_loss_sum sum = {0};
    assert_ok(weft_net_new(&net, c->spec, c->layout, &options, &weft_alloc_std, &assert_err));
    (void)weft_net_forward(net, by_hand, c->x[0], EXAMPLES, true);
    assert_ok(weft_net_backward(net, &truth, 1.0F / EXAMPLES, &sink, &sum, &assert_err));
    for (uint64_t i = 0; i < c->layout->n_params; i++) {
        assert_true(fabsf(by_hand[i] - whole[i]) < 1e-6F);
    }
    assert_true(fabs(sum.loss / EXAMPLES - r.loss) < 1e-6);
    weft_net_free(net);
    free(whole);
    free(large);
    free(by_hand);
    weft_trainer_state_free(t);
    clouds_free(c);
}

static void test_train__keeps_near_the_base_with_prox_mu(void **state)
{
    (void)state;
    clouds *c = clouds_new(smooth_text);
    weft_trainer_state *t = state_of(c);
    double distance[2] = {0.0, 0.0};
    for (int i = 0; i < 2; i++) {
        float *base = weights_of(c);
        float *w = weights_of(c);
        weft_plan plan = plan_of(WEFT_OPTIMIZER_SGD, 0.1, 10, 5);
        plan.prox_mu = i ? 5.0 : 0.0;
        weft_train_result r;
        assert_ok(weft_train(&r, t, w, &plan, 1, &c->source, NULL, &assert_err));
        for (uint64_t k = 0; k < c->layout->n_params; k++) {
            distance[i] += pow((double)(w[k] - base[k]), 2.0);
        }
        free(base);
        free(w);
    }
    assert_true(distance[1] < 0.1 * distance[0]);
    weft_trainer_state_free(t);
    clouds_free(c);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static weft_status train_once(const clouds *c, const weft_batch_source *source,
                              const weft_train_control *control, double rate, weft_err *err)
{
    weft_trainer_state *t = state_of(c);
    float *w = weights_of(c);
    const weft_plan plan = plan_of(WEFT_OPTIMIZER_SGD, rate, 10, 3);
    weft_train_result r;
    const weft_status status = weft_train(&r, t, w, &plan, 1, source, control, err);
    free(w);
    weft_trainer_state_free(t);
    return status;
}

typedef struct watcher {
    uint64_t stop_at;
    uint64_t done, total;
} watcher;

static bool watcher_canceled(void *self)
{
    const watcher *w = self;
    return w->done >= w->stop_at;
}

static void watcher_progress(void *self, uint64_t done, uint64_t total)
{
    watcher *w = self;
    assert_int_equal(done, w->done + 1);
    w->done = done;
    w->total = total;
}

static void test_train__reports_and_stops_on_request(void **state)
{
    (void)state;
    clouds *c = clouds_new(clouds_text);
    watcher w = {.stop_at = 7};
    const weft_train_control control = {watcher_canceled, watcher_progress, &w, 1};
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(train_once(c, &c->source, &control, 0.1, &err), WEFT_E_CANCELED);
    assert_string_equal(err.msg, "canceled after 7 of 90 batches");
    assert_int_equal(w.done, 7);
    w = (watcher){.stop_at = 1000};
    assert_int_equal(train_once(c, &c->source, &control, 0.1, NULL), WEFT_OK);
    assert_int_equal(w.done, 90);
    assert_int_equal(w.total, 90);
    weft_trainer_state *t = state_of(c);
    float *weights = weights_of(c);
    weft_train_result r;
    w = (watcher){.stop_at = 2};
    assert_int_equal(weft_evaluate(&r, t, weights, &c->source, &control, NULL), WEFT_E_CANCELED);
    free(weights);
    weft_trainer_state_free(t);
    clouds_free(c);
}

static void assert_train_refused(const clouds *c, const weft_batch_source *source, double rate,
                                 const char *message)
{
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(train_once(c, source, NULL, rate, &err), WEFT_E_INVALID);
    if (!strstr(err.msg, message)) {
        fail_msg("%s", err.msg);
    }
}

static void test_train__says_what_does_not_fit(void **state)
{
    (void)state;
    clouds *c = clouds_new(smooth_text);
    weft_batch_source s = c->source;
    s.n_examples = 0;
    assert_train_refused(c, &s, 0.1, "0 examples");
    s.n_examples = UINT64_C(1) << 32;
    assert_train_refused(c, &s, 0.1, "4294967296 examples");
    s = c->source;
    s.n_features = 5;
    assert_train_refused(c, &s, 0.1, "the data have 5 features, the model takes 4");
    s = c->source;
    s.n_targets = 1;
    assert_train_refused(c, &s, 0.1, "wants labels");
    assert_train_refused(c, &c->source, 2000.0, "learning_rate is 2000");
    c->labels[17] = 3;
    assert_train_refused(c, &c->source, 0.1, "label 3, the model has 3 classes");
    c->labels[17] = 2;
    c->x[20][0] = INFINITY;
    assert_train_refused(c, &c->source, 0.1, "not finite");
    clouds_free(c);
    clouds *m = clouds_new("input 4\ndense units=3\nloss mse\n");
    assert_train_refused(m, &m->source, 0.1, "mse wants 3 target values");
    float targets[EXAMPLES][CLASSES] = {{0}};
    m->arrays.n_targets = 3;
    m->arrays.targets = targets[0];
    m->source = weft_arrays_source(&m->arrays);
    assert_train_refused(m, &m->source, 1000.0, "lower learning_rate");
    clouds_free(m);
}

static weft_status fail_fetch(const void *self, const uint32_t *index, uint32_t n, float *x,
                              uint32_t *labels, float *targets, weft_err *err)
{
    (void)self;
    (void)index;
    (void)n;
    (void)x;
    (void)labels;
    (void)targets;
    WEFT_FAIL(err, WEFT_E_IO, "the disk is gone");
}

static void test_train__passes_on_what_the_source_says(void **state)
{
    (void)state;
    clouds *c = clouds_new(smooth_text);
    weft_batch_source s = c->source;
    s.fetch = fail_fetch;
    assert_int_equal(train_once(c, &s, NULL, 0.1, NULL), WEFT_E_IO);
    clouds_free(c);
}

typedef struct oom_arg {
    clouds *c;
    weft_plan plan;
} oom_arg;

static weft_status train_with(const weft_alloc *a, void *arg)
{
    const oom_arg *o = arg;
    weft_trainer_state *t = NULL;
    weft_train_result r;
    float *w = weights_of(o->c);
    weft_status status = weft_trainer_state_new(&t, o->c->spec, NULL, a, NULL);
    if (status == WEFT_OK) {
        status = weft_train(&r, t, w, &o->plan, 1, &o->c->source, NULL, NULL);
    }
    if (status == WEFT_OK) {
        status = weft_evaluate(&r, t, w, &o->c->source, NULL, NULL);
    }
    weft_trainer_state_free(t);
    free(w);
    return status;
}

static void test_train__every_allocation_may_fail(void **state)
{
    (void)state;
    oom_arg o = {clouds_new(clouds_text), plan_of(WEFT_OPTIMIZER_ADAM, 0.01, 0, 1)};
    o.plan.prox_mu = 0.1;
    test_every_allocation_may_fail(train_with, &o);
    clouds_free(o.c);
}

static void test_train__allocates_nothing_the_second_time(void **state)
{
    (void)state;
    clouds *c = clouds_new(clouds_text);
    test_alloc counted;
    test_alloc_init(&counted, 0, 0);
    weft_trainer_state *t = NULL;
    float *w = weights_of(c);
    weft_train_result r;
    const weft_plan plan = plan_of(WEFT_OPTIMIZER_ADAM, 0.01, 20, 1);
    size_t count = 0;
    assert_ok(weft_trainer_state_new(&t, c->spec, NULL, &counted.alloc, &assert_err));
    for (int i = 0; i < 3; i++) {
        assert_ok(weft_train(&r, t, w, &plan, 1, &c->source, NULL, &assert_err));
        assert_ok(weft_evaluate(&r, t, w, &c->source, NULL, &assert_err));
        count = i == 0 ? counted.count : count;
    }
    assert_int_equal(counted.count, count);
    weft_trainer_state_free(t);
    free(w);
    clouds_free(c);
}

static void test_trainer_state_new__refuses_plain_tensors(void **state)
{
    (void)state;
    weft_spec *spec = NULL;
    weft_trainer_state *t = NULL;
    assert_ok(weft_spec_parse(&spec, "tensor a 4", 10, &weft_alloc_std, &assert_err));
    assert_int_equal(weft_trainer_state_new(&t, spec, NULL, &weft_alloc_std, NULL), WEFT_E_INVALID);
    weft_spec_free(spec);
}

/* ---- sources --------------------------------------------------------------------------------- */

static void test_sources__scale_bytes_and_map_subsets(void **state)
{
    (void)state;
    uint8_t bytes[200][2];
    float targets[200][2];
    for (uint32_t i = 0; i < 200; i++) {
        bytes[i][0] = (uint8_t)i;
        bytes[i][1] = 255;
        targets[i][0] = (float)i;
        targets[i][1] = -1.0F;
    }
    const weft_arrays arrays = {.n_examples = 200,
                                .n_features = 2,
                                .n_targets = 2,
                                .bytes = bytes[0],
                                .divisor = 255.0F,
                                .targets = targets[0]};
    const weft_batch_source all = weft_arrays_source(&arrays);
    uint32_t odd[100];
    uint32_t wanted[150];
    for (uint32_t i = 0; i < 100; i++) {
        odd[i] = 2 * i + 1;
    }
    for (uint32_t i = 0; i < 150; i++) { /* more than one mapped block, with repeats */
        wanted[i] = (7 * i) % 100;
    }
    const weft_subset subset = {&all, odd, 100};
    const weft_batch_source source = weft_subset_source(&subset);
    float x[150][2];
    float y[150][2];
    assert_int_equal(source.n_examples, 100);
    assert_ok(source.fetch(source.self, wanted, 150, x[0], NULL, y[0], &assert_err));
    for (uint32_t i = 0; i < 150; i++) {
        const uint32_t at = 2 * wanted[i] + 1;
        assert_true(x[i][0] == (float)at / 255.0F && x[i][1] == 1.0F && y[i][0] == (float)at);
    }
    const uint32_t beyond = 100;
    assert_int_equal(source.fetch(source.self, &beyond, 1, x[0], NULL, NULL, NULL), WEFT_E_INVALID);
    const uint32_t far = 200;
    assert_int_equal(all.fetch(all.self, &far, 1, x[0], NULL, NULL, NULL), WEFT_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimizer_step__follows_the_formulas),
        cmocka_unit_test(test_optimizer_is_plain__only_without_state),
        cmocka_unit_test(test_train__learns_with_each_optimizer),
        cmocka_unit_test(test_train__fits_a_line_with_mse),
        cmocka_unit_test(test_train__gives_the_same_bytes_for_the_same_seed),
        cmocka_unit_test(test_train__gives_the_same_bytes_in_parallel_threads),
        cmocka_unit_test(test_train__adds_up_chunks_of_a_large_batch),
        cmocka_unit_test(test_train__keeps_near_the_base_with_prox_mu),
        cmocka_unit_test(test_train__reports_and_stops_on_request),
        cmocka_unit_test(test_train__says_what_does_not_fit),
        cmocka_unit_test(test_train__passes_on_what_the_source_says),
        cmocka_unit_test(test_train__every_allocation_may_fail),
        cmocka_unit_test(test_train__allocates_nothing_the_second_time),
        cmocka_unit_test(test_trainer_state_new__refuses_plain_tensors),
        cmocka_unit_test(test_sources__scale_bytes_and_map_subsets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
