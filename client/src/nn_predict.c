/* SPDX-License-Identifier: Apache-2.0 */
/* A released model's outputs for a host. Threads: any. */
#include "nn_priv.h"

#include "nn/loss.h"

#include <string.h>

typedef struct model {
    weft_spec *spec;     /* owned */
    weft_layout *layout; /* owned */
    weft_net *net;       /* owned; NULL until it is needed */
} model;

static void model_done(model *m)
{
    weft_net_free(m->net);
    weft_layout_free(m->layout);
    weft_spec_free(m->spec);
}

static weft_status model_parse(model *m, const char *text, weft_err *err)
{
    if (!text) {
        WEFT_FAIL(err, WEFT_E_INVALID, "no model spec was given");
    }
    WEFT_TRY(weft_spec_parse(&m->spec, text, strlen(text), &weft_alloc_std, err));
    if (m->spec->n_layers == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the model is plain tensors: weft cannot compute it");
    }
    return weft_layout_new(&m->layout, m->spec, &weft_alloc_std, err);
}

static uint32_t n_outputs(const model *m)
{
    return weft_shape_size(weft_spec_output(m->spec));
}

static weft_status predict(model *m, const char *text, const float *weights, uint64_t n_params,
                           const float *features, uint64_t n_examples, float *outputs,
                           weft_err *err)
{
    weft_net_options options = WEFT_NET_OPTIONS_INIT;
    options.max_batch = n_examples < 64 ? (uint32_t)n_examples : 64;
    WEFT_TRY(model_parse(m, text, err));
    if (n_params != m->layout->n_params) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%llu weights were given, the model has %llu",
                  (unsigned long long)n_params, (unsigned long long)m->layout->n_params);
    }
    if (n_examples == 0) {
        return WEFT_OK;
    }
    const size_t in = weft_shape_size(&m->spec->input);
    const size_t out = n_outputs(m);
    WEFT_TRY(weft_net_new(&m->net, m->spec, m->layout, &options, &weft_alloc_std, err));
    for (uint64_t at = 0; at < n_examples; at += options.max_batch) {
        const uint64_t left = n_examples - at;
        const uint32_t n = left < options.max_batch ? (uint32_t)left : options.max_batch;
        const float *y = weft_net_forward(m->net, weights, features + at * in, n, false);
        memcpy(outputs + at * out, y, n * out * sizeof *y);
    }
    if (m->spec->loss == WEFT_LOSS_SOFTMAX_CE) {
        const uint32_t steps = weft_spec_n_labels(m->spec);
        weft_softmax_rows(outputs, n_examples * steps, (uint32_t)out / steps);
    } else if (m->spec->loss == WEFT_LOSS_SIGMOID_CE) {
        weft_sigmoid_rows(outputs, (size_t)n_examples * out);
    }
    return WEFT_OK;
}

weft_status weft_nn_shape(const char *model_spec, uint64_t *ret_n_params, uint32_t *ret_n_inputs,
                          uint32_t *ret_n_outputs, weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    model m = {NULL, NULL, NULL};
    const weft_status status = model_parse(&m, model_spec, &why);
    if (status == WEFT_OK) {
        *ret_n_params = m.layout->n_params;
        *ret_n_inputs = weft_shape_size(&m.spec->input);
        *ret_n_outputs = n_outputs(&m);
    }
    model_done(&m);
    return status == WEFT_OK ? WEFT_OK : weft_nn_error(err, &why);
}

weft_status weft_nn_predict(const char *model_spec, const float *weights, uint64_t n_params,
                            const float *features, uint64_t n_examples, float *outputs,
                            weft_error *err)
{
    weft_err why = WEFT_ERR_INIT;
    model m = {NULL, NULL, NULL};
    const weft_status status =
        predict(&m, model_spec, weights, n_params, features, n_examples, outputs, &why);
    model_done(&m);
    return status == WEFT_OK ? WEFT_OK : weft_nn_error(err, &why);
}
