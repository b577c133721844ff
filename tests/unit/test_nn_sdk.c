/* SPDX-License-Identifier: Apache-2.0 */
/* libweft-nn: data sets, the ready trainer, predictions. This test is the client. */
#include "support/support.h"

#include "base/file.h"
#include "base/rng.h"
#include "data/stats.h"
#include "nn_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What libweft has and the engine's library borrows. */
struct weft_task_control {
    uint64_t done, total;
    uint64_t stop_at;
};

void weft_task_progress(weft_task_control *control, uint64_t done, uint64_t total)
{
    control->done = done;
    control->total = total;
}

int weft_task_canceled(const weft_task_control *control)
{
    return control->done >= control->stop_at;
}

#define assert_api_ok(call)                                                                        \
    do {                                                                                           \
        weft_error api_error = WEFT_ERROR_INIT;                                                    \
        if ((call) != WEFT_OK) {                                                                   \
            fail_msg("%s: %s", #call, api_error.message);                                          \
        }                                                                                          \
    } while (0)

static const char model[] =
    "input 2\ndense units=8\nrelu\ndense units=2\nloss softmax_cross_entropy\n";
enum { N = 100, N_PARAMS = 42 };

/* ---- examples: is b above a? ----------------------------------------------------------------- */

typedef struct examples {
    float x[N][2];
    uint32_t labels[N];
    weft_nn_arrays arrays;
} examples;

static void examples_init(examples *e)
{
    weft_rng rng;
    weft_rng_init(&rng, 1, 0);
    for (int i = 0; i < N; i++) {
        e->x[i][0] = (float)weft_rng_normal(&rng);
        e->x[i][1] = (float)weft_rng_normal(&rng);
        e->labels[i] = e->x[i][1] > e->x[i][0];
    }
    e->arrays = (weft_nn_arrays)WEFT_NN_ARRAYS_INIT;
    e->arrays.n_examples = N;
    e->arrays.n_features = 2;
    e->arrays.features = e->x[0];
    e->arrays.labels = e->labels;
}

static void init_weights(float w[N_PARAMS])
{
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    assert_ok(weft_spec_parse(&spec, model, sizeof model - 1, &weft_alloc_std, &assert_err));
    assert_ok(weft_layout_new(&layout, spec, &weft_alloc_std, &assert_err));
    assert_int_equal(layout->n_params, N_PARAMS);
    weft_layout_init_weights(w, layout, spec, 1);
    weft_layout_free(layout);
    weft_spec_free(spec);
}

static weft_task_info task_of(weft_task_kind kind)
{
    return (weft_task_info){.size = sizeof(weft_task_info),
                            .kind = kind,
                            .job = "job",
                            .round = 1,
                            .dataset = "d",
                            .model_spec = model,
                            .data_schema = "",
                            .optimizer = "sgd",
                            .learning_rate = 0.3,
                            .epsilon = 1e-8,
                            .batch_size = 10,
                            .epochs = 20,
                            .seed = 3,
                            .n_params = N_PARAMS};
}

static double metric(const weft_task_result *r, const char *name)
{
    for (uint32_t i = 0; i < r->n_metrics; i++) {
        if (strcmp(r->metrics[i].name, name) == 0) {
            return r->metrics[i].value;
        }
    }
    fail_msg("no metric %s", name);
    return 0.0;
}

static weft_status run(weft_nn_data *data, const weft_task_info *task, float *w,
                       weft_task_result *result, char message[256])
{
    const weft_trainer trainer = weft_nn_trainer(data);
    weft_task_control control = {0, 0, UINT64_MAX};
    *result = (weft_task_result){.size = sizeof *result};
    message[0] = '\0';
    assert_int_equal(trainer.size, sizeof trainer);
    return trainer.run(trainer.self, task, w, result, &control, message);
}

static void assert_refused(weft_nn_data *data, const weft_task_info *task, float *w,
                           weft_status want, const char *what)
{
    weft_task_result r;
    char message[256];
    const weft_status status = run(data, task, w, &r, message);
    if (status != want || strcmp(message, what) != 0) {
        fail_msg("%s: %s", weft_status_name(status), message);
    }
}

/* ---- arrays ---------------------------------------------------------------------------------- */

static void test_trainer__trains_and_evaluates_on_what_was_held_out(void **state)
{
    (void)state;
    examples e;
    examples_init(&e);
    weft_nn_data *data = NULL;
    assert_api_ok(weft_nn_data_from_arrays(&data, &e.arrays, NULL, &api_error));
    assert_int_equal(weft_nn_data_n_train(data), 80);
    assert_int_equal(weft_nn_data_n_held_out(data), 20);
    float w[N_PARAMS];
    float same[N_PARAMS];
    init_weights(w);
    init_weights(same);
    weft_task_info task = task_of(WEFT_TASK_KIND_TRAIN);
    weft_task_result r;
    char message[256];
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    assert_int_equal(r.n_examples, 80);
    assert_true(metric(&r, "loss") < 0.2 && metric(&r, "accuracy") > 0.9);
    float before[N_PARAMS];
    memcpy(before, w, sizeof w);
    task.kind = WEFT_TASK_KIND_EVALUATE;
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    assert_int_equal(r.n_examples, 20);
    assert_true(metric(&r, "accuracy") >= 0.9);
    assert_memory_equal(before, w, sizeof w);
    task.kind = WEFT_TASK_KIND_TRAIN;
    assert_int_equal(run(data, &task, same, &r, message), WEFT_OK);
    assert_memory_equal(same, w, sizeof w); /* the same task, the same bytes */
    weft_nn_data_close(data);
    /* nothing held out: evaluation is on everything */
    weft_nn_data_options o = WEFT_NN_DATA_OPTIONS_INIT;
    o.held_out = 0.0;
    assert_api_ok(weft_nn_data_from_arrays(&data, &e.arrays, &o, &api_error));
    assert_int_equal(weft_nn_data_n_train(data), N);
    task.kind = WEFT_TASK_KIND_EVALUATE;
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    assert_int_equal(r.n_examples, N);
    weft_nn_data_close(data);
}

static void test_data_from_arrays__splits_by_seed_without_overlap(void **state)
{
    (void)state;
    examples e;
    examples_init(&e);
    uint32_t seen[N] = {0};
    weft_nn_data *data[3] = {NULL};
    for (uint64_t i = 0; i < 3; i++) {
        weft_nn_data_options o = WEFT_NN_DATA_OPTIONS_INIT;
        o.split_seed = i == 1 ? 8 : 7;
        o.held_out = 0.25;
        assert_api_ok(weft_nn_data_from_arrays(&data[i], &e.arrays, &o, &api_error));
    }
    assert_memory_equal(data[0]->index, data[2]->index, sizeof seen);
    assert_memory_not_equal(data[0]->index, data[1]->index, sizeof seen);
    for (uint32_t i = 0; i < 25; i++) {
        seen[data[0]->held_part.index[i]]++;
    }
    for (uint32_t i = 0; i < 75; i++) {
        seen[data[0]->train_part.index[i]]++;
    }
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(seen[i], 1);
    }
    for (int i = 0; i < 3; i++) {
        weft_nn_data_close(data[i]);
    }
    /* at least one example is held out, and one is left */
    for (uint64_t n = 1; n <= 3; n++) {
        e.arrays.n_examples = n;
        assert_api_ok(weft_nn_data_from_arrays(&data[0], &e.arrays, NULL, &api_error));
        assert_int_equal(weft_nn_data_n_held_out(data[0]), n > 1);
        assert_int_equal(weft_nn_data_n_train(data[0]), n > 1 ? n - 1 : 1);
        weft_nn_data_close(data[0]);
    }
}

static void test_data_from_arrays__refuses_what_is_no_data_set(void **state)
{
    (void)state;
    examples e;
    examples_init(&e);
    const uint8_t pixel = 0;
    for (int i = 0; i < 9; i++) {
        weft_nn_arrays a = e.arrays;
        weft_nn_data_options o = WEFT_NN_DATA_OPTIONS_INIT;
        weft_error err = WEFT_ERROR_INIT;
        weft_nn_data *data = NULL;
        a.features = i == 0 ? NULL : a.features;
        a.pixels = i == 1 ? &pixel : NULL;
        a.labels = i == 2 ? NULL : a.labels;
        a.targets = i == 3 ? e.x[0] : NULL;
        a.n_targets = i == 4;
        a.n_examples = i == 5 ? 0 : a.n_examples;
        a.n_features = i == 6 ? 0 : a.n_features;
        o.held_out = i == 7 ? 0.91 : i == 8 ? (double)NAN : 0.2;
        assert_int_equal(weft_nn_data_from_arrays(&data, &a, &o, &err), WEFT_E_INVALID);
        assert_null(data);
        assert_int_equal(err.code, WEFT_E_INVALID);
        assert_true(err.message[0] != '\0');
    }
    assert_int_equal(weft_nn_data_from_arrays(NULL, NULL, NULL, NULL), WEFT_E_INVALID);
}

static void test_data_options__of_an_older_application_are_shorter(void **state)
{
    (void)state;
    examples e;
    examples_init(&e);
    weft_nn_data *data = NULL;
    weft_nn_data_options o = {offsetof(weft_nn_data_options, split_seed), 0.5, 999};
    assert_api_ok(weft_nn_data_from_arrays(&data, &e.arrays, &o, &api_error));
    assert_int_equal(weft_nn_data_n_held_out(data), 50);
    assert_int_equal(data->split_seed, 1); /* the default: it lay beyond the size */
    weft_nn_data_close(data);
}

static void test_trainer__says_why_it_cannot(void **state)
{
    (void)state;
    examples e;
    examples_init(&e);
    weft_nn_data *data = NULL;
    float w[N_PARAMS];
    init_weights(w);
    assert_api_ok(weft_nn_data_from_arrays(&data, &e.arrays, NULL, &api_error));
    weft_task_info task = task_of(WEFT_TASK_KIND_TRAIN);
    task.n_params = 41;
    assert_refused(data, &task, w, WEFT_E_INVALID, "the task brings 41 weights, its model has 42");
    task = task_of(WEFT_TASK_KIND_TRAIN);
    task.optimizer = "lion";
    assert_refused(data, &task, w, WEFT_E_INVALID, "the optimizer lion is neither sgd nor adam");
    task = task_of(WEFT_TASK_KIND_TRAIN);
    task.learning_rate = -1.0;
    assert_refused(data, &task, w, WEFT_E_INVALID, "learning_rate is -1, outside (0, 1000]");
    task = task_of(WEFT_TASK_KIND_TRAIN);
    task.model_spec = "tensor a 42";
    assert_refused(data, &task, w, WEFT_E_INVALID,
                   "the model is plain tensors: only a trainer of its own can use it");
    task.model_spec = "input 2\nblah\n";
    assert_refused(data, &task, w, WEFT_E_FORMAT, "line 2: 'blah' is no kind of layer");
    task = task_of((weft_task_kind)9);
    assert_refused(data, &task, w, WEFT_E_INVALID, "a task of an unknown kind: update this client");
    task = task_of(WEFT_TASK_KIND_STATS);
    assert_refused(data, &task, w, WEFT_E_INVALID,
                   "statistics are of tables, and this data set is none");
    task = task_of(WEFT_TASK_KIND_TRAIN); /* and after all of that */
    weft_task_result r;
    char message[256];
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    weft_nn_data_close(data);
}

static void test_trainer__stops_when_the_client_says_so(void **state)
{
    (void)state;
    examples e;
    examples_init(&e);
    weft_nn_data *data = NULL;
    float w[N_PARAMS];
    init_weights(w);
    assert_api_ok(weft_nn_data_from_arrays(&data, &e.arrays, NULL, &api_error));
    const weft_trainer trainer = weft_nn_trainer(data);
    const weft_task_info task = task_of(WEFT_TASK_KIND_TRAIN);
    weft_task_control control = {0, 0, 5};
    weft_task_result r = {.size = sizeof r};
    char message[256];
    assert_int_equal(trainer.run(trainer.self, &task, w, &r, &control, message), WEFT_E_CANCELED);
    assert_int_equal(control.done, 5);
    assert_int_equal(control.total, 160);
    weft_nn_data_close(data);
}

/* The task's course of training reaches the engine; a host of before it had one trains on. */
static void test_trainer__follows_the_schedule_of_the_round(void **state)
{
    (void)state;
    examples e;
    examples_init(&e);
    weft_nn_data *data = NULL;
    float base[N_PARAMS];
    float w[N_PARAMS];
    float plain[N_PARAMS];
    weft_task_result r;
    char message[256];
    init_weights(base);
    assert_api_ok(weft_nn_data_from_arrays(&data, &e.arrays, NULL, &api_error));
    weft_task_info task = task_of(WEFT_TASK_KIND_TRAIN);
    memcpy(plain, base, sizeof plain);
    assert_int_equal(run(data, &task, plain, &r, message), WEFT_OK);
    /* a step to nothing after the first round */
    task.schedule = "step";
    task.schedule_rounds = 1;
    memcpy(w, base, sizeof w);
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    assert_memory_equal(w, plain, sizeof w);
    task.round = 2;
    memcpy(w, base, sizeof w);
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    assert_memory_equal(w, base, sizeof w);
    /* a libweft of before schedules sends a smaller struct, what lies behind is not looked at */
    weft_task_info older = task;
    older.size = offsetof(weft_task_info, schedule);
    memcpy(w, base, sizeof w);
    assert_int_equal(run(data, &older, w, &r, message), WEFT_OK);
    assert_memory_equal(w, plain, sizeof w);
    /* the norm of each batch's gradient bounds how far 160 steps go */
    task.schedule = "constant";
    task.schedule_rounds = 0;
    task.clip_gradient = 1e-3;
    memcpy(w, base, sizeof w);
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    double moved = 0.0;
    for (int i = 0; i < N_PARAMS; i++) {
        moved += ((double)w[i] - (double)base[i]) * ((double)w[i] - (double)base[i]);
    }
    assert_true(moved > 0.0 && moved <= (160 * 0.3 * 1.001e-3) * (160 * 0.3 * 1.001e-3));
    task.clip_gradient = 0.0;
    task.augment_flip = 1;
    assert_refused(data, &task, w, WEFT_E_INVALID,
                   "augment_flip is of images, the model takes none");
    task.schedule = "linear";
    assert_refused(data, &task, w, WEFT_E_INVALID,
                   "the schedule linear is none of constant, step, cosine");
    weft_nn_data_close(data);
}

/* A client's text is windows of characters, which a task with an embedding trains on. */
static void test_data_open__a_text_for_an_lstm(void **state)
{
    (void)state;
    static const char spec[] = "input tokens=5 vocab=97\nembedding dims=6\nlstm units=12\nlast\n"
                               "dense units=97\nloss softmax_cross_entropy\n";
    static const char text[] = "A:\nto be or not to be\n\nB:\nto be or not to be or not\n";
    char *dir = test_dir_new();
    char path[512];
    char locator[600];
    (void)snprintf(path, sizeof path, "%s/play.txt", dir); /* fits, as the next */
    (void)snprintf(locator, sizeof locator, "text:5:1:%s#2/2", path);
    assert_ok(weft_file_write(path, text, sizeof text - 1, 0600, &assert_err));
    weft_nn_data *data = NULL;
    assert_api_ok(weft_nn_data_open(&data, locator, NULL, NULL, &api_error));
    assert_int_equal(weft_nn_data_n_train(data) + weft_nn_data_n_held_out(data), 25);
    weft_task_info task = task_of(WEFT_TASK_KIND_TRAIN);
    uint64_t n_params = 0;
    uint32_t n_inputs = 0;
    uint32_t n_outputs = 0;
    assert_api_ok(weft_nn_shape(spec, &n_params, &n_inputs, &n_outputs, &api_error));
    float *w = calloc((size_t)n_params, sizeof *w);
    assert_non_null(w);
    weft_spec *parsed = NULL;
    weft_layout *layout = NULL;
    assert_ok(weft_spec_parse(&parsed, spec, strlen(spec), &weft_alloc_std, &assert_err));
    assert_ok(weft_layout_new(&layout, parsed, &weft_alloc_std, &assert_err));
    weft_layout_init_weights(w, layout, parsed, 1);
    weft_layout_free(layout);
    weft_spec_free(parsed);
    task.model_spec = spec;
    task.n_params = (size_t)n_params;
    task.optimizer = "adam";
    task.learning_rate = 0.02;
    task.beta1 = 0.9;
    task.beta2 = 0.999;
    task.epochs = 60;
    weft_task_result r;
    char message[256];
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    assert_int_equal(r.n_examples, weft_nn_data_n_train(data));
    assert_true(metric(&r, "accuracy") > 0.9);
    free(w);
    weft_nn_data_close(data);
    test_dir_done(dir);
}

/* ---- files ----------------------------------------------------------------------------------- */

static const char plain_schema[] = "column a numeric\ncolumn b numeric\ntarget above classes=2\n";

typedef struct table {
    char *dir;
    char path[4096];
} table;

static table table_new(void)
{
    table t = {test_dir_new(), {0}};
    examples e;
    weft_buf text;
    examples_init(&e);
    weft_buf_init(&text, &weft_alloc_std, 100000);
    assert_ok(weft_buf_addf(&text, &assert_err, "a,b,secret,above\n"));
    for (int i = 0; i < N; i++) {
        assert_ok(weft_buf_addf(&text, &assert_err, "%.6f,%.6f,%d,%u\n", 100.0 * (double)e.x[i][0],
                                100.0 * (double)e.x[i][1], i, e.labels[i]));
    }
    assert_ok(weft_path_join(t.path, sizeof t.path, t.dir, "table.csv", &assert_err));
    assert_ok(weft_file_write(t.path, text.data, text.size, 0600, &assert_err));
    weft_buf_done(&text);
    return t;
}

static void test_trainer__scales_a_table_as_the_task_says(void **state)
{
    (void)state;
    table t = table_new();
    weft_nn_data *data = NULL;
    assert_api_ok(weft_nn_data_open(&data, t.path, plain_schema, NULL, &api_error));
    assert_int_equal(weft_nn_data_n_train(data), 80);
    /* one round of statistics, as a federation of one would do it */
    weft_schema *schema = NULL;
    weft_schema *scaled = NULL;
    float stats[100];
    weft_task_result r;
    char message[256];
    assert_ok(weft_schema_parse(&schema, plain_schema, strlen(plain_schema), &weft_alloc_std,
                                &assert_err));
    weft_task_info task = task_of(WEFT_TASK_KIND_STATS);
    task.n_params = weft_stats_length(schema);
    task.model_spec = "tensor stats 48\n";
    task.data_schema = plain_schema;
    assert_true(task.n_params < 100);
    assert_int_equal(run(data, &task, stats, &r, message), WEFT_OK);
    assert_int_equal(r.n_examples, N);
    assert_int_equal(r.n_metrics, 0);
    assert_ok(weft_stats_apply(&scaled, schema, stats, (uint32_t)task.n_params, &weft_alloc_std,
                               &assert_err));
    assert_true(fabs(scaled->columns[0].std - 100.0) < 20.0);
    task.n_params++;
    assert_refused(data, &task, stats, WEFT_E_INVALID,
                   "the task wants 49 values, its schema has statistics of 48");
    /* train on scaled features: with those of the file the loss would explode */
    weft_buf text;
    weft_buf_init(&text, &weft_alloc_std, WEFT_MAX_SCHEMA_BYTES);
    assert_ok(weft_schema_print(scaled, &text, &assert_err));
    float w[N_PARAMS];
    init_weights(w);
    task = task_of(WEFT_TASK_KIND_TRAIN);
    task.data_schema = weft_buf_text(&text);
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    assert_true(fabsf(data->arrays.features[0]) < 5.0F);
    assert_true(metric(&r, "accuracy") > 0.9);
    const weft_data *loaded = data->loaded;
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    assert_ptr_equal(data->loaded, loaded); /* not read again */
    task.data_schema = "";
    task.learning_rate = 1e-6;
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    assert_true(fabsf(data->arrays.features[0]) > 5.0F); /* as declared */
    weft_buf_done(&text);
    weft_schema_free(schema);
    weft_schema_free(scaled);
    weft_nn_data_close(data);
    test_dir_done(t.dir);
}

static void test_trainer__keeps_to_the_columns_that_are_declared(void **state)
{
    (void)state;
    table t = table_new();
    weft_nn_data *data = NULL;
    float w[N_PARAMS];
    init_weights(w);
    weft_task_info task = task_of(WEFT_TASK_KIND_TRAIN);
    task.data_schema = "column a numeric\ncolumn secret numeric\ntarget above classes=2\n";
    assert_api_ok(weft_nn_data_open(&data, t.path, plain_schema, NULL, &api_error));
    assert_refused(data, &task, w, WEFT_E_INVALID,
                   "the task uses column secret, which the data set does not declare");
    task.kind = WEFT_TASK_KIND_STATS;
    assert_refused(data, &task, w, WEFT_E_INVALID,
                   "the task uses column secret, which the data set does not declare");
    task.data_schema = "csv header=0\ncolumn a numeric\ncolumn b numeric\ncolumn c ignore\ntarget "
                       "above classes=2\n";
    assert_refused(data, &task, w, WEFT_E_INVALID,
                   "the task reads the file's columns in another way than the data set declares");
    weft_nn_data_close(data);
    /* declared, but to be ignored */
    assert_api_ok(weft_nn_data_open(
        &data, t.path,
        "column a numeric\ncolumn b numeric\ncolumn secret ignore\ntarget above classes=2\n", NULL,
        &api_error));
    task.kind = WEFT_TASK_KIND_TRAIN;
    task.data_schema = "column a numeric\ncolumn secret numeric\ntarget above classes=2\n";
    assert_refused(data, &task, w, WEFT_E_INVALID,
                   "the task uses column secret, which the data set does not declare");
    weft_nn_data_close(data);
    /* nothing declared: any, and the file is read at the first task */
    assert_api_ok(weft_nn_data_open(&data, t.path, NULL, NULL, &api_error));
    assert_int_equal(weft_nn_data_n_train(data), 0);
    weft_task_result r;
    char message[256];
    task.learning_rate = 1e-6;
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    assert_int_equal(weft_nn_data_n_train(data), 80);
    weft_nn_data_close(data);
    test_dir_done(t.dir);
}

static void test_trainer__positions_count_where_there_is_no_header(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char path[4096];
    static const char lines[] = "1,2,3,0\n2,1,4,1\n";
    assert_ok(weft_path_join(path, sizeof path, dir, "t.csv", &assert_err));
    assert_ok(weft_file_write(path, lines, sizeof lines - 1, 0600, &assert_err));
    weft_nn_data *data = NULL;
    float w[N_PARAMS];
    init_weights(w);
    assert_api_ok(weft_nn_data_open(
        &data, path,
        "csv header=0\ncolumn a numeric\ncolumn b numeric\ncolumn s ignore\ntarget t classes=2\n",
        NULL, &api_error));
    weft_task_info task = task_of(WEFT_TASK_KIND_TRAIN);
    task.data_schema =
        "csv header=0\ncolumn a numeric\ncolumn s ignore\ncolumn b numeric\ntarget t classes=2\n";
    assert_refused(data, &task, w, WEFT_E_INVALID,
                   "the task uses column b, which the data set does not declare");
    task.data_schema = "csv header=0\ncolumn a numeric mean=1 std=1\ncolumn b numeric\ncolumn s "
                       "ignore\ntarget t classes=2\n";
    weft_task_result r;
    char message[256];
    assert_int_equal(run(data, &task, w, &r, message), WEFT_OK);
    weft_nn_data_close(data);
    test_dir_done(dir);
}

static void test_trainer__tells_nobody_where_the_files_are(void **state)
{
    (void)state;
    table t = table_new();
    weft_nn_data *data = NULL;
    float w[N_PARAMS];
    init_weights(w);
    assert_api_ok(weft_nn_data_open(&data, t.path, NULL, NULL, &api_error));
    const weft_task_info task = task_of(WEFT_TASK_KIND_TRAIN);
    assert_refused(data, &task, w, WEFT_E_INVALID,
                   "table.csv is a CSV: a data schema must say what is in it");
    weft_nn_data_close(data);
    test_dir_done(t.dir);
}

static void test_data_open__of_drawn_digits_and_of_nothing(void **state)
{
    (void)state;
    weft_nn_data *data = NULL;
    weft_error err = WEFT_ERROR_INIT;
    assert_api_ok(weft_nn_data_open(&data, "digits:3:50", NULL, NULL, &api_error));
    assert_int_equal(weft_nn_data_n_train(data), 40);
    weft_nn_data_close(data);
    data = NULL;
    assert_int_equal(weft_nn_data_open(&data, "/no/such/folder", NULL, NULL, &err),
                     WEFT_E_NOTFOUND);
    assert_null(data);
    assert_non_null(strstr(err.message, "/no/such/folder")); /* this one is for the owner */
    assert_int_equal(weft_nn_data_open(&data, NULL, NULL, NULL, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_nn_data_open(&data, "digits:x", NULL, NULL, NULL), WEFT_E_INVALID);
    weft_nn_data_close(NULL);
}

static weft_status open_and_run(const weft_alloc *a, void *arg)
{
    const table *t = arg;
    weft_nn_data *data = NULL;
    float w[N_PARAMS];
    char message[256];
    weft_task_result r;
    init_weights(w);
    weft_task_info task = task_of(WEFT_TASK_KIND_TRAIN);
    task.epochs = 1;
    task.data_schema = "column a numeric mean=0 std=100\ncolumn b numeric mean=0 std=100\ntarget "
                       "above classes=2\n";
    weft_status status = weft_nn_data_open_with(&data, t->path, plain_schema, NULL, a, NULL);
    if (status == WEFT_OK) {
        status = run(data, &task, w, &r, message);
    }
    weft_nn_data_close(data);
    return status;
}

static void test_data_open__every_allocation_may_fail(void **state)
{
    (void)state;
    table t = table_new();
    test_every_allocation_may_fail(open_and_run, &t);
    test_dir_done(t.dir);
}

/* ---- predictions ----------------------------------------------------------------------------- */

static void test_predict__gives_probabilities_and_values(void **state)
{
    (void)state;
    /* logits are a and b; more examples than one pass takes */
    static const char identity[] = "input 2\ndense units=2\nloss softmax_cross_entropy\n";
    const float w[6] = {1.0F, 0.0F, 0.0F, 1.0F, 0.0F, 0.0F};
    examples e;
    float out[N][2];
    examples_init(&e);
    assert_api_ok(weft_nn_predict(identity, w, 6, e.x[0], N, out[0], &api_error));
    for (int i = 0; i < N; i++) {
        const double want = 1.0 / (1.0 + exp((double)e.x[i][1] - (double)e.x[i][0]));
        assert_true(fabs((double)out[i][0] - want) < 1e-6);
        assert_true(fabs((double)out[i][0] + (double)out[i][1] - 1.0) < 1e-6);
    }
    float value = 0.0F;
    const float line[3] = {2.0F, -1.0F, 0.5F};
    assert_api_ok(weft_nn_predict("input 2\ndense units=1\nloss mse\n", line, 3, e.x[0], 1, &value,
                                  &api_error));
    assert_true(fabsf(value - (2.0F * e.x[0][0] - e.x[0][1] + 0.5F)) < 1e-6F);
    assert_api_ok(weft_nn_predict(identity, w, 6, NULL, 0, NULL, &api_error));
}

static void test_predict__refuses(void **state)
{
    (void)state;
    const float w[6] = {0};
    float out[2];
    weft_error err = WEFT_ERROR_INIT;
    assert_int_equal(weft_nn_predict("input 2\ndense units=2\nloss mse\n", w, 5, w, 1, out, &err),
                     WEFT_E_INVALID);
    assert_string_equal(err.message, "5 weights were given, the model has 6");
    assert_int_equal(weft_nn_predict("tensor a 6\n", w, 6, w, 1, out, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_nn_predict(NULL, w, 6, w, 1, out, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_nn_predict("x", w, 6, w, 1, out, NULL), WEFT_E_FORMAT);
}

static void test_shape__of_a_model(void **state)
{
    (void)state;
    uint64_t n_params = 0;
    uint32_t in = 0;
    uint32_t out = 0;
    assert_api_ok(weft_nn_shape("input 28x28x1\nflatten\ndense units=10\nloss mse\n", &n_params,
                                &in, &out, &api_error));
    assert_int_equal(n_params, 7850);
    assert_int_equal(in, 784);
    assert_int_equal(out, 10);
    assert_int_equal(weft_nn_shape("", &n_params, &in, &out, NULL), WEFT_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer__follows_the_schedule_of_the_round),
        cmocka_unit_test(test_data_open__a_text_for_an_lstm),
        cmocka_unit_test(test_trainer__trains_and_evaluates_on_what_was_held_out),
        cmocka_unit_test(test_data_from_arrays__splits_by_seed_without_overlap),
        cmocka_unit_test(test_data_from_arrays__refuses_what_is_no_data_set),
        cmocka_unit_test(test_data_options__of_an_older_application_are_shorter),
        cmocka_unit_test(test_trainer__says_why_it_cannot),
        cmocka_unit_test(test_trainer__stops_when_the_client_says_so),
        cmocka_unit_test(test_trainer__scales_a_table_as_the_task_says),
        cmocka_unit_test(test_trainer__keeps_to_the_columns_that_are_declared),
        cmocka_unit_test(test_trainer__positions_count_where_there_is_no_header),
        cmocka_unit_test(test_trainer__tells_nobody_where_the_files_are),
        cmocka_unit_test(test_data_open__of_drawn_digits_and_of_nothing),
        cmocka_unit_test(test_data_open__every_allocation_may_fail),
        cmocka_unit_test(test_predict__gives_probabilities_and_values),
        cmocka_unit_test(test_predict__refuses),
        cmocka_unit_test(test_shape__of_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
