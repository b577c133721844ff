/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C side of check_weights.py: exports a seeded model, imports files of the reference packages,
 * runs a model forward. One thread.
 *   weights_tool export SPEC SEED DIR     DIR/model.safetensors, DIR/model.npz, DIR/model.f32
 *   weights_tool import SPEC FILE OUT     OUT: the engine's vector, float32
 *   weights_tool forward FILE N IN OUT    IN, OUT: float32 rows
 */
#include "base/file.h"
#include "nn/net.h"
#include "weights/weights.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct model {
    weft_spec *spec;
    weft_layout *layout;
    float *weights;
} model;

static void model_done(model *m)
{
    weft_spec_free(m->spec);
    weft_layout_free(m->layout);
    weft_free(&weft_alloc_std, m->weights);
}

static weft_status read_spec(weft_spec **ret, const char *path, weft_err *err)
{
    weft_buf text;
    weft_buf_init(&text, &weft_alloc_std, WEFT_MAX_SPEC_BYTES);
    weft_status status = weft_file_read(&text, path, err);
    if (status == WEFT_OK) {
        status = weft_spec_parse(ret, (const char *)text.data, text.size, &weft_alloc_std, err);
    }
    weft_buf_done(&text);
    return status;
}

static weft_status save_all(const model *m, const char *dir, weft_err *err)
{
    const weft_weights_meta meta = {"conformance", "", 3};
    char path[PATH_MAX];
    WEFT_TRY(weft_path_join(path, sizeof path, dir, "model.f32", err));
    WEFT_TRY(
        weft_file_write(path, m->weights, (size_t)m->layout->n_params * sizeof(float), 0644, err));
    WEFT_TRY(weft_path_join(path, sizeof path, dir, "model.safetensors", err));
    WEFT_TRY(weft_weights_save(path, m->spec, m->layout, m->weights, &meta, &weft_alloc_std, err));
    WEFT_TRY(weft_path_join(path, sizeof path, dir, "model.npz", err));
    return weft_weights_save(path, m->spec, m->layout, m->weights, &meta, &weft_alloc_std, err);
}

static weft_status export_model(model *m, char **args, weft_err *err)
{
    WEFT_TRY(read_spec(&m->spec, args[0], err));
    WEFT_TRY(weft_layout_new(&m->layout, m->spec, &weft_alloc_std, err));
    m->weights = weft_array(&weft_alloc_std, (size_t)m->layout->n_params, sizeof *m->weights);
    if (!m->weights) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory");
    }
    weft_layout_init_weights(m->weights, m->layout, m->spec, strtoull(args[1], NULL, 10));
    for (uint64_t i = 0; i < m->layout->n_params; i++) { /* biases, too, are something */
        m->weights[i] += (float)(i % 7) * 0.01F;
    }
    return save_all(m, args[2], err);
}

static weft_status import_model(model *m, char **args, weft_err *err)
{
    weft_spec *spec = NULL;
    WEFT_TRY(read_spec(&spec, args[0], err));
    const weft_status status = weft_weights_load(args[1], spec, &m->spec, &m->layout, &m->weights,
                                                 NULL, &weft_alloc_std, err);
    weft_spec_free(spec);
    WEFT_TRY(status);
    return weft_file_write(args[2], m->weights, (size_t)m->layout->n_params * sizeof(float), 0644,
                           err);
}

static weft_status run_forward(const model *m, const weft_buf *in, uint32_t n, const char *out,
                               weft_err *err)
{
    weft_net *net = NULL;
    weft_net_options options = WEFT_NET_OPTIONS_INIT;
    options.max_batch = n;
    WEFT_TRY(weft_net_new(&net, m->spec, m->layout, &options, &weft_alloc_std, err));
    weft_status status = WEFT_OK;
    if (in->size != (size_t)n * weft_net_n_inputs(net) * sizeof(float)) {
        status = weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__, "%zu bytes for %u rows",
                              in->size, n);
    } else {
        const float *y =
            weft_net_forward(net, m->weights, (const float *)(const void *)in->data, n, false);
        status =
            weft_file_write(out, y, (size_t)n * weft_net_n_outputs(net) * sizeof(float), 0644, err);
    }
    weft_net_free(net);
    return status;
}

static weft_status forward_model(model *m, char **args, weft_err *err)
{
    WEFT_TRY(weft_weights_load(args[0], NULL, &m->spec, &m->layout, &m->weights, NULL,
                               &weft_alloc_std, err));
    weft_buf in;
    weft_buf_init(&in, &weft_alloc_std, 64U << 20);
    weft_status status = weft_file_read(&in, args[2], err);
    if (status == WEFT_OK) {
        status = run_forward(m, &in, (uint32_t)strtoul(args[1], NULL, 10), args[3], err);
    }
    weft_buf_done(&in);
    return status;
}

int main(int argc, char **argv)
{
    weft_err err = WEFT_ERR_INIT;
    model m = {0};
    weft_status status = WEFT_E_INVALID;
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "export") == 0 && argc == 5) {
        status = export_model(&m, argv + 2, &err);
    } else if (strcmp(verb, "import") == 0 && argc == 5) {
        status = import_model(&m, argv + 2, &err);
    } else if (strcmp(verb, "forward") == 0 && argc == 6) {
        status = forward_model(&m, argv + 2, &err);
    } else {
        (void)fputs("usage: see the head of weights_tool.c\n", stderr);
        return 64;
    }
    if (status != WEFT_OK) {
        (void)fprintf(stderr, "weights_tool: %s\n", err.msg);
    }
    model_done(&m);
    return status == WEFT_OK ? 0 : 1;
}
