/* SPDX-License-Identifier: Apache-2.0 */
/* Central evaluation: a data set at the coordinator and a net, kept for a job's versions. */
#include "eval/eval.h"

#include "data/load.h"
#include "nn/train/train.h"

#include <string.h>

struct weft_eval {
    const weft_alloc *alloc;
    weft_data *data;           /* owned */
    weft_arrays arrays;        /* into data */
    weft_trainer_state *state; /* owned */
};

/* The test part of a folder; all of it where there is no such part: it is here to evaluate on. */
static weft_status load(weft_data **ret, const char *path, const weft_schema *schema,
                        const weft_alloc *a, weft_err *err)
{
    weft_err quiet = WEFT_ERR_INIT;
    const weft_status status = weft_data_load(ret, path, WEFT_SPLIT_TEST, schema, a, &quiet);
    if (status == WEFT_E_NOTFOUND) {
        return weft_data_load(ret, path, WEFT_SPLIT_TRAIN, schema, a, err);
    }
    if (status != WEFT_OK) {
        WEFT_FAIL(err, status, "%s", quiet.msg);
    }
    return WEFT_OK;
}

static weft_status load_with_schema(weft_eval *eval, const char *data_schema, const char *data_path,
                                    weft_err *err)
{
    weft_schema *schema = NULL;
    if (data_schema && data_schema[0] != '\0') {
        WEFT_TRY(weft_schema_parse(&schema, data_schema, strlen(data_schema), eval->alloc, err));
    }
    const weft_status status = load(&eval->data, data_path, schema, eval->alloc, err);
    weft_schema_free(schema);
    return status;
}

static weft_status build(weft_eval *eval, const weft_spec *spec, weft_err *err)
{
    const weft_data *data = eval->data;
    WEFT_TRY(weft_data_fits(data, spec, err));
    eval->arrays = (weft_arrays){.n_examples = data->n,
                                 .n_features = data->n_features,
                                 .n_targets = data->values ? 1 : 0,
                                 .features = data->f32,
                                 .bytes = data->u8,
                                 .divisor = 255.0F,
                                 .labels = data->classes,
                                 .targets = data->values};
    return weft_trainer_state_new(&eval->state, spec, NULL, eval->alloc, err);
}

static weft_status fill(weft_eval *eval, const char *model_spec, const char *data_schema,
                        const char *data_path, weft_err *err)
{
    weft_spec *spec = NULL;
    WEFT_TRY(weft_spec_parse(&spec, model_spec, strlen(model_spec), eval->alloc, err));
    weft_status status = WEFT_OK;
    if (spec->n_layers == 0) { /* before a large data set is read for nothing */
        status = weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                              "the model is plain tensors: it cannot be evaluated here");
    }
    if (status == WEFT_OK) {
        status = load_with_schema(eval, data_schema, data_path, err);
    }
    if (status == WEFT_OK) {
        status = build(eval, spec, err);
    }
    weft_spec_free(spec);
    return status;
}

weft_status weft_eval_new(weft_eval **ret, const char *model_spec, const char *data_schema,
                          const char *data_path, const weft_alloc *a, weft_err *err)
{
    weft_eval *eval = weft_array(a, 1, sizeof *eval);
    if (!eval) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for an evaluation");
    }
    eval->alloc = a;
    const weft_status status = fill(eval, model_spec, data_schema, data_path, err);
    if (status != WEFT_OK) {
        weft_eval_free(eval);
        return status;
    }
    *ret = eval;
    return WEFT_OK;
}

void weft_eval_free(weft_eval *eval)
{
    if (eval) {
        weft_trainer_state_free(eval->state);
        weft_data_free(eval->data);
        weft_free(eval->alloc, eval);
    }
}

weft_status weft_eval_run(weft_eval_result *ret, weft_eval *eval, const float *weights,
                          uint64_t n_weights, bool (*canceled)(void *arg), void *arg, weft_err *err)
{
    const uint64_t want = weft_trainer_state_n_params(eval->state);
    if (n_weights != want) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the version has %llu weights, the model %llu",
                  (unsigned long long)n_weights, (unsigned long long)want);
    }
    const weft_batch_source source = weft_arrays_source(&eval->arrays);
    const weft_train_control control = {.canceled = canceled, .self = arg};
    weft_train_result result;
    weft_eval_result out = {.n_examples = 0};
    WEFT_TRY(weft_evaluate(&result, eval->state, weights, &source, &control, err));
    WEFT_TRY(weft_train_result_metrics(&result, false, &out.metrics, err));
    out.n_examples = result.n_examples;
    *ret = out;
    return WEFT_OK;
}
