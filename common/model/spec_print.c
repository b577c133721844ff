/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical text of a spec: defaults are left out, so that equal specs print equal bytes. */
#include "model/spec.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *weft_layer_kind_name(weft_layer_kind kind)
{
    switch (kind) {
    case WEFT_LAYER_DENSE:
        return "dense";
    case WEFT_LAYER_CONV2D:
        return "conv2d";
    case WEFT_LAYER_MAXPOOL:
        return "maxpool";
    case WEFT_LAYER_AVGPOOL:
        return "avgpool";
    case WEFT_LAYER_RELU:
        return "relu";
    case WEFT_LAYER_TANH:
        return "tanh";
    case WEFT_LAYER_SIGMOID:
        return "sigmoid";
    case WEFT_LAYER_FLATTEN:
        return "flatten";
    case WEFT_LAYER_DROPOUT:
        return "dropout";
    }
    return "unknown";
}

const char *weft_init_name(weft_init init)
{
    switch (init) {
    case WEFT_INIT_HE:
        return "he";
    case WEFT_INIT_GLOROT:
        return "glorot";
    case WEFT_INIT_ZERO:
        return "zero";
    }
    return "unknown";
}

const char *weft_loss_name(weft_loss loss)
{
    switch (loss) {
    case WEFT_LOSS_NONE:
        return "none";
    case WEFT_LOSS_SOFTMAX_CE:
        return "softmax_cross_entropy";
    case WEFT_LOSS_MSE:
        return "mse";
    }
    return "unknown";
}

static weft_status print_shape(const weft_shape *shape, weft_buf *out, weft_err *err)
{
    if (shape->rank == 1) {
        return weft_buf_addf(out, err, "input %u\n", shape->c);
    }
    return weft_buf_addf(out, err, "input %ux%ux%u\n", shape->h, shape->w, shape->c);
}

/* The fewest decimals that parse to the same float: rates were parsed from at most nine. No
 * printf("%f"): its decimal point depends on the process's locale. */
static weft_status print_rate(float rate, weft_buf *out, weft_err *err)
{
    double power = 1.0;
    double scaled = round((double)rate);
    int decimals = 0;
    while ((float)(scaled / power) != rate && decimals < 9) {
        decimals++;
        power *= 10.0;
        scaled = round((double)rate * power);
    }
    return decimals == 0 ? weft_buf_addf(out, err, " rate=0")
                         : weft_buf_addf(out, err, " rate=0.%0*lld", decimals, (long long)scaled);
}

static weft_status print_kernel(const weft_layer *layer, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, " filters=%u kernel=%u", layer->units, layer->kernel_h));
    if (layer->kernel_w != layer->kernel_h) {
        WEFT_TRY(weft_buf_addf(out, err, "x%u", layer->kernel_w));
    }
    if (layer->stride != 1) {
        WEFT_TRY(weft_buf_addf(out, err, " stride=%u", layer->stride));
    }
    if (layer->pad_same) {
        return weft_buf_addf(out, err, " padding=same");
    }
    return layer->pad_top ? weft_buf_addf(out, err, " padding=%u", layer->pad_top) : WEFT_OK;
}

static weft_status print_pool(const weft_layer *layer, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, " size=%u", layer->kernel_h));
    return layer->stride != layer->kernel_h ? weft_buf_addf(out, err, " stride=%u", layer->stride)
                                            : WEFT_OK;
}

static weft_status print_weights_options(const weft_layer *layer, weft_buf *out, weft_err *err)
{
    if (!layer->bias) {
        WEFT_TRY(weft_buf_addf(out, err, " bias=0"));
    }
    return layer->init != WEFT_INIT_HE
               ? weft_buf_addf(out, err, " init=%s", weft_init_name(layer->init))
               : WEFT_OK;
}

static weft_status print_options(const weft_layer *layer, weft_buf *out, weft_err *err)
{
    switch (layer->kind) {
    case WEFT_LAYER_DENSE:
        WEFT_TRY(weft_buf_addf(out, err, " units=%u", layer->units));
        return print_weights_options(layer, out, err);
    case WEFT_LAYER_CONV2D:
        WEFT_TRY(print_kernel(layer, out, err));
        return print_weights_options(layer, out, err);
    case WEFT_LAYER_MAXPOOL:
    case WEFT_LAYER_AVGPOOL:
        return print_pool(layer, out, err);
    case WEFT_LAYER_DROPOUT:
        return print_rate(layer->rate, out, err);
    case WEFT_LAYER_RELU:
    case WEFT_LAYER_TANH:
    case WEFT_LAYER_SIGMOID:
    case WEFT_LAYER_FLATTEN:
        break;
    }
    return WEFT_OK;
}

static weft_status print_layer(const weft_layer *layer, uint32_t index_of_kind, weft_buf *out,
                               weft_err *err)
{
    const char *kind = weft_layer_kind_name(layer->kind);
    char name[WEFT_MAX_NAME_BYTES + 1];
    (void)snprintf(name, sizeof name, "%s%u", kind, index_of_kind); /* at most 17 characters */
    WEFT_TRY(weft_buf_addf(out, err, "%s", kind));
    if (strcmp(name, layer->name) != 0) {
        WEFT_TRY(weft_buf_addf(out, err, " %s", layer->name));
    }
    WEFT_TRY(print_options(layer, out, err));
    return weft_buf_add(out, "\n", 1, err);
}

static weft_status print_tensor(const weft_plain_tensor *tensor, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "tensor %s ", tensor->name));
    for (uint32_t i = 0; i < tensor->rank; i++) {
        WEFT_TRY(
            weft_buf_addf(out, err, "%s%llu", i ? "x" : "", (unsigned long long)tensor->shape[i]));
    }
    return weft_buf_add(out, "\n", 1, err);
}

weft_status weft_spec_print(const weft_spec *spec, weft_buf *out, weft_err *err)
{
    for (uint32_t i = 0; i < spec->n_tensors; i++) {
        WEFT_TRY(print_tensor(&spec->tensors[i], out, err));
    }
    if (spec->n_tensors > 0) {
        return WEFT_OK;
    }
    WEFT_TRY(print_shape(&spec->input, out, err));
    uint32_t seen[WEFT_LAYER_DROPOUT + 1] = {0};
    for (uint32_t i = 0; i < spec->n_layers; i++) {
        const weft_layer *layer = &spec->layers[i];
        WEFT_TRY(print_layer(layer, ++seen[layer->kind], out, err));
    }
    return weft_buf_addf(out, err, "loss %s\n", weft_loss_name(spec->loss));
}
