/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine as a trainer of the SDK: tasks to plans, examples to weights or metrics. Called by
 * the client on its owner thread.
 *
 * The two functions of weft_task_control come from libweft, of which libweft-nn is independent: a
 * host that only predicts has none. They are weak here and there whenever a client calls.
 */
#include "nn_priv.h"

#include "data/stats.h"

#include <stdio.h>
#include <string.h>

extern __attribute__((weak)) void weft_task_progress(weft_task_control *control, uint64_t done,
                                                     uint64_t total);
extern __attribute__((weak)) int weft_task_canceled(const weft_task_control *control);

static bool canceled(void *self)
{
    return weft_task_canceled && weft_task_canceled(self);
}

static void progress(void *self, uint64_t done, uint64_t total)
{
    if (weft_task_progress) {
        weft_task_progress(self, done, total);
    }
}

/* Does the libweft of the host have a field? */
static bool has(const weft_task_info *task, size_t end)
{
    return task->size >= end;
}
#define HAS(task, field) has(task, offsetof(weft_task_info, field) + sizeof(task)->field)

/* How the rate goes on, what ends training, what is done to images: appended together. */
static weft_status add_course(weft_plan *plan, const weft_task_info *task, weft_err *err)
{
    static const weft_schedule schedules[] = {WEFT_SCHEDULE_CONSTANT, WEFT_SCHEDULE_STEP,
                                              WEFT_SCHEDULE_COSINE};
    size_t i = 0;
    while (i < 3 && strcmp(task->schedule, weft_schedule_name(schedules[i])) != 0) {
        i++;
    }
    if (i == 3) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the schedule %.40s is none of constant, step, cosine",
                  task->schedule);
    }
    plan->schedule = schedules[i];
    plan->schedule_rounds = task->schedule_rounds;
    plan->schedule_factor = task->schedule_factor;
    plan->warmup_rounds = task->warmup_rounds;
    plan->clip_gradient = task->clip_gradient;
    plan->early_stop = task->early_stop;
    plan->augment_shift = task->augment_shift;
    plan->augment_crop = task->augment_crop;
    plan->augment_flip = task->augment_flip != 0;
    return WEFT_OK;
}

static weft_status plan_of(weft_plan *ret, const weft_task_info *task, weft_err *err)
{
    const bool adam = strcmp(task->optimizer, "adam") == 0;
    if (!adam && strcmp(task->optimizer, "sgd") != 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the optimizer %.40s is neither sgd nor adam",
                  task->optimizer);
    }
    const bool portable =
        HAS(task, numerics) && task->numerics && strcmp(task->numerics, "portable") == 0;
    *ret = (weft_plan){.optimizer = adam ? WEFT_OPTIMIZER_ADAM : WEFT_OPTIMIZER_SGD,
                       .learning_rate = task->learning_rate,
                       .momentum = task->momentum,
                       .weight_decay = task->weight_decay,
                       .beta1 = task->beta1,
                       .beta2 = task->beta2,
                       .epsilon = task->epsilon,
                       .prox_mu = task->prox_mu,
                       .batch_size = task->batch_size,
                       .epochs = task->epochs,
                       .seed = task->seed,
                       .numerics = portable ? WEFT_NUMERICS_PORTABLE : WEFT_NUMERICS_FAST};
    if (HAS(task, augment_flip) && task->schedule) {
        WEFT_TRY(add_course(ret, task, err));
    }
    return weft_plan_check(ret, err);
}

/* ---- the engine for a spec ------------------------------------------------------------------- */

static weft_status build(weft_nn_data *data, const char *text, weft_err *err)
{
    weft_spec *spec = NULL;
    WEFT_TRY(weft_spec_parse(&spec, text, strlen(text), data->alloc, err));
    weft_status status = data->loaded ? weft_data_fits(data->loaded, spec, err) : WEFT_OK;
    if (status == WEFT_OK) {
        status = weft_trainer_state_new(&data->state, spec, NULL, data->alloc, err);
    }
    weft_spec_free(spec);
    return status;
}

static void drop_engine(weft_nn_data *data)
{
    weft_trainer_state_free(data->state);
    weft_free(data->alloc, data->state_text);
    data->state = NULL;
    data->state_text = NULL;
}

/* Keep the engine of the last task while the model is the same. */
static weft_status have_engine(weft_nn_data *data, const weft_task_info *task, weft_err *err)
{
    if (!data->state_text || strcmp(data->state_text, task->model_spec) != 0) {
        drop_engine(data);
        WEFT_TRY(build(data, task->model_spec, err));
        data->state_text =
            weft_string_copy(data->alloc, task->model_spec, strlen(task->model_spec));
        if (!data->state_text) {
            drop_engine(data);
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model spec");
        }
    }
    const uint64_t want = weft_trainer_state_n_params(data->state);
    if (task->n_params != want) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the task brings %zu weights, its model has %llu",
                  task->n_params, (unsigned long long)want);
    }
    return WEFT_OK;
}

/* ---- the tasks ------------------------------------------------------------------------------- */

static weft_status fill_result(weft_task_result *ret, const weft_train_result *result,
                               weft_err *err)
{
    weft_metrics metrics;
    WEFT_TRY(weft_train_result_metrics(result, true, &metrics, err));
    ret->n_examples = result->n_examples;
    ret->n_metrics = metrics.n; /* at most as many as fit */
    for (uint32_t i = 0; i < metrics.n; i++) {
        _Static_assert(sizeof ret->metrics[i].name == sizeof metrics.item[i].name, "one size");
        memcpy(ret->metrics[i].name, metrics.item[i].name, sizeof ret->metrics[i].name);
        ret->metrics[i].value = metrics.item[i].value;
    }
    return WEFT_OK;
}

static weft_status train_or_evaluate(weft_nn_data *data, const weft_task_info *task, float *weights,
                                     weft_task_result *result, weft_task_control *control,
                                     weft_err *err)
{
    const weft_train_control calls = {canceled, progress, control, task->round};
    weft_train_result out;
    WEFT_TRY(weft_nn_data_prepare(data, task->data_schema, err));
    WEFT_TRY(have_engine(data, task, err));
    if (task->kind == WEFT_TASK_KIND_TRAIN) {
        const weft_batch_source source = weft_subset_source(&data->train_part);
        weft_plan plan;
        WEFT_TRY(plan_of(&plan, task, err));
        WEFT_TRY(weft_train(&out, data->state, weights, &plan, task->seed, &source, &calls, err));
    } else {
        const bool held = data->held_part.n_examples > 0;
        const weft_batch_source source = held ? weft_subset_source(&data->held_part) : data->all;
        WEFT_TRY(weft_evaluate(&out, data->state, weights, &source, &calls, err));
    }
    return fill_result(result, &out, err);
}

static weft_status statistics(const weft_nn_data *data, const weft_task_info *task, float *weights,
                              weft_task_result *result, weft_err *err)
{
    if (!data->csv) {
        WEFT_FAIL(err, WEFT_E_INVALID, "statistics are of tables, and this data set is none");
    }
    weft_schema *schema = NULL;
    WEFT_TRY(weft_nn_data_schema(&schema, data, task->data_schema, err));
    weft_status status = WEFT_OK;
    uint64_t n = 0;
    if (!schema) {
        status = weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                              "the task brings no data schema");
    } else if (task->n_params != weft_stats_length(schema)) {
        status = weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                              "the task wants %zu values, its schema has statistics of %u",
                              task->n_params, weft_stats_length(schema));
    } else {
        status = weft_stats_load(weights, &n, schema, data->csv, data->alloc, err);
    }
    weft_schema_free(schema);
    if (status == WEFT_OK) {
        result->n_examples = n;
        result->n_metrics = 0;
    }
    return status;
}

/* The message travels to the coordinator: without the folders of this machine. */
static void tell(char message[256], const weft_err *err)
{
    const char *slash = strrchr(err->msg, '/');
    (void)snprintf(message, 256, "%s", slash ? slash + 1 : err->msg); /* of the same size */
}

static weft_status run(void *self, const weft_task_info *task, float *weights,
                       weft_task_result *result, weft_task_control *control, char message[256])
{
    weft_err err = WEFT_ERR_INIT;
    weft_status status = WEFT_E_INVALID;
    switch (task->kind) {
    case WEFT_TASK_KIND_TRAIN:
    case WEFT_TASK_KIND_EVALUATE:
        status = train_or_evaluate(self, task, weights, result, control, &err);
        break;
    case WEFT_TASK_KIND_STATS:
        status = statistics(self, task, weights, result, &err);
        break;
    default: /* of a newer coordinator */
        status = weft_err_set(&err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                              "a task of an unknown kind: update this client");
        break;
    }
    if (status != WEFT_OK) {
        tell(message, &err);
    }
    return status;
}

weft_trainer weft_nn_trainer(weft_nn_data *data)
{
    return (weft_trainer){.size = sizeof(weft_trainer), .self = data, .run = run};
}
