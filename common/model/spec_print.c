/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical text of a spec: defaults are left out, so that equal specs print equal bytes. */
#include "model/spec_priv.h"

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
    case WEFT_LAYER_SAVE:
        return "save";
    case WEFT_LAYER_FROM:
        return "from";
    case WEFT_LAYER_ADD:
        return "add";
    case WEFT_LAYER_GLOBALAVGPOOL:
        return "globalavgpool";
    case WEFT_LAYER_LEAKY_RELU:
        return "leaky_relu";
    case WEFT_LAYER_GELU:
        return "gelu";
    case WEFT_LAYER_SILU:
        return "silu";
    case WEFT_LAYER_GROUPNORM:
        return "groupnorm";
    case WEFT_LAYER_LAYERNORM:
        return "layernorm";
    case WEFT_LAYER_BATCHNORM:
        return "batchnorm";
    case WEFT_LAYER_EMBEDDING:
        return "embedding";
    case WEFT_LAYER_LSTM:
        return "lstm";
    case WEFT_LAYER_GRU:
        return "gru";
    case WEFT_LAYER_LAST_STEP:
        return "last";
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
    case WEFT_LOSS_SIGMOID_CE:
        return "sigmoid_cross_entropy";
    case WEFT_LOSS_HUBER:
        return "huber";
    }
    return "unknown";
}

static weft_status print_input(const weft_spec *spec, weft_buf *out, weft_err *err)
{
    const weft_shape *shape = &spec->input;
    if (spec->vocab > 0) {
        return weft_buf_addf(out, err, "input tokens=%u vocab=%u\n", shape->h, spec->vocab);
    }
    if (shape->rank == 1) {
        return weft_buf_addf(out, err, "input %u\n", shape->c);
    }
    if (shape->rank == 2) {
        return weft_buf_addf(out, err, "input %ux%u\n", shape->h, shape->c);
    }
    return weft_buf_addf(out, err, "input %ux%ux%u\n", shape->h, shape->w, shape->c);
}

/* The fewest decimals that parse to the same float: it was parsed from at most nine. No
 * printf("%f"): its decimal point depends on the process's locale. */
static weft_status print_decimal(float value, weft_buf *out, weft_err *err)
{
    double whole = round((double)value);
    double fraction = 0.0;
    double power = 1.0;
    int decimals = 0;
    while ((float)(whole + fraction / power) != value && decimals < 9) {
        decimals++;
        power *= 10.0;
        const double scaled = round((double)value * power); /* below 2^53 */
        whole = floor(scaled / power);
        fraction = scaled - whole * power;
    }
    WEFT_TRY(weft_buf_addf(out, err, "%lld", (long long)whole));
    return decimals == 0 ? WEFT_OK
                         : weft_buf_addf(out, err, ".%0*lld", decimals, (long long)fraction);
}

static weft_status print_fraction(const char *name, float value, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, " %s=", name));
    return print_decimal(value, out, err);
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
        WEFT_TRY(weft_buf_addf(out, err, " padding=same"));
    } else if (layer->pad_top) {
        WEFT_TRY(weft_buf_addf(out, err, " padding=%u", layer->pad_top));
    }
    return layer->groups != 1 ? weft_buf_addf(out, err, " groups=%u", layer->groups) : WEFT_OK;
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
        return print_fraction("rate", layer->rate, out, err);
    case WEFT_LAYER_LEAKY_RELU:
        return layer->rate != WEFT_LEAKY_SLOPE ? print_fraction("slope", layer->rate, out, err)
                                               : WEFT_OK;
    case WEFT_LAYER_GROUPNORM:
        return weft_buf_addf(out, err, " groups=%u", layer->groups);
    case WEFT_LAYER_EMBEDDING:
        return weft_buf_addf(out, err, " dims=%u", layer->units);
    case WEFT_LAYER_LSTM:
    case WEFT_LAYER_GRU:
        WEFT_TRY(weft_buf_addf(out, err, " units=%u", layer->units));
        return print_weights_options(layer, out, err);
    case WEFT_LAYER_RELU:
    case WEFT_LAYER_TANH:
    case WEFT_LAYER_SIGMOID:
    case WEFT_LAYER_FLATTEN:
    case WEFT_LAYER_SAVE:
    case WEFT_LAYER_FROM:
    case WEFT_LAYER_ADD:
    case WEFT_LAYER_GLOBALAVGPOOL:
    case WEFT_LAYER_GELU:
    case WEFT_LAYER_SILU:
    case WEFT_LAYER_LAYERNORM:
    case WEFT_LAYER_BATCHNORM:
    case WEFT_LAYER_LAST_STEP:
        break;
    }
    return WEFT_OK;
}

static weft_status print_layer(const weft_spec *spec, const weft_layer *layer,
                               uint32_t index_of_kind, weft_buf *out, weft_err *err)
{
    const char *kind = weft_layer_kind_name(layer->kind);
    char name[WEFT_MAX_NAME_BYTES + 1];
    if (layer->kind == WEFT_LAYER_FROM || layer->kind == WEFT_LAYER_ADD) {
        return weft_buf_addf(out, err, "%s %s\n", kind, spec->layers[layer->of].name);
    }
    (void)snprintf(name, sizeof name, "%s%u", kind, index_of_kind); /* at most 23 characters */
    WEFT_TRY(weft_buf_addf(out, err, "%s", kind));
    if (layer->kind == WEFT_LAYER_SAVE || strcmp(name, layer->name) != 0) {
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

static weft_status print_loss(const weft_spec *spec, weft_buf *out, weft_err *err)
{
    WEFT_TRY(weft_buf_addf(out, err, "loss %s", weft_loss_name(spec->loss)));
    if (spec->loss == WEFT_LOSS_HUBER && spec->delta != 1.0F) {
        WEFT_TRY(print_fraction("delta", spec->delta, out, err));
    }
    const uint32_t classes = spec->class_weights ? weft_spec_output(spec)->c : 0;
    for (uint32_t i = 0; i < classes; i++) {
        WEFT_TRY(weft_buf_addf(out, err, i == 0 ? " weights=" : ","));
        WEFT_TRY(print_decimal(spec->class_weights[i], out, err));
    }
    return weft_buf_add(out, "\n", 1, err);
}

static weft_status print_metrics(const weft_spec *spec, weft_buf *out, weft_err *err)
{
    if (spec->metrics == 0) {
        return WEFT_OK;
    }
    WEFT_TRY(weft_buf_addf(out, err, "metrics%s%s", spec->metrics & WEFT_METRIC_AUC ? " auc" : "",
                           spec->metrics & WEFT_METRIC_RECALL ? " recall" : ""));
    if (spec->metrics & WEFT_METRIC_TOP_K) {
        WEFT_TRY(weft_buf_addf(out, err, " top_k=%u", spec->top_k));
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
    WEFT_TRY(print_input(spec, out, err));
    uint32_t seen[WEFT_N_LAYER_KINDS] = {0};
    for (uint32_t i = 0; i < spec->n_layers; i++) {
        const weft_layer *layer = &spec->layers[i];
        WEFT_TRY(print_layer(spec, layer, ++seen[layer->kind], out, err));
    }
    WEFT_TRY(print_loss(spec, out, err));
    return print_metrics(spec, out, err);
}
