/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes of layers: what comes out for what goes in. Pure; any thread. */
#include "model/spec_priv.h"

uint32_t weft_shape_size(const weft_shape *shape)
{
    return shape->h * shape->w * shape->c;
}

/* rows * columns + more, or UINT64_MAX. */
static uint64_t plus_product(uint64_t more, uint64_t rows, uint64_t columns)
{
    uint64_t n = 0;
    return __builtin_mul_overflow(rows, columns, &n) || __builtin_add_overflow(n, more, &n)
               ? UINT64_MAX
               : n;
}

uint64_t weft_layer_n_params(const weft_layer *layer)
{
    const uint64_t in = layer->in.c; /* all dimensions are at most 2^24 */
    const uint64_t units = layer->units;
    const uint64_t bias = layer->bias ? 1 : 0;
    const uint64_t gates = layer->kind == WEFT_LAYER_LSTM ? 4 : 3;
    switch (layer->kind) {
    case WEFT_LAYER_DENSE:
        return plus_product(bias * units, in, units);
    case WEFT_LAYER_CONV2D: {
        const uint64_t area = (uint64_t)layer->kernel_h * layer->kernel_w;
        const uint64_t window = plus_product(0, area, in / layer->groups);
        return window == UINT64_MAX ? window : plus_product(bias * units, window, units);
    }
    case WEFT_LAYER_GROUPNORM:
    case WEFT_LAYER_LAYERNORM:
        return 2 * in;
    case WEFT_LAYER_BATCHNORM:
        return 4 * in;
    case WEFT_LAYER_EMBEDDING:
        return (uint64_t)layer->vocab * units;
    case WEFT_LAYER_LSTM:
    case WEFT_LAYER_GRU:
        return gates * units * (in + units + 2 * bias);
    case WEFT_LAYER_MAXPOOL:
    case WEFT_LAYER_AVGPOOL:
    case WEFT_LAYER_RELU:
    case WEFT_LAYER_TANH:
    case WEFT_LAYER_SIGMOID:
    case WEFT_LAYER_FLATTEN:
    case WEFT_LAYER_DROPOUT:
    case WEFT_LAYER_SAVE:
    case WEFT_LAYER_FROM:
    case WEFT_LAYER_ADD:
    case WEFT_LAYER_GLOBALAVGPOOL:
    case WEFT_LAYER_LEAKY_RELU:
    case WEFT_LAYER_GELU:
    case WEFT_LAYER_SILU:
    case WEFT_LAYER_LAST_STEP:
        break;
    }
    return 0;
}

const weft_shape *weft_spec_output(const weft_spec *spec)
{
    return &spec->layers[spec->n_layers - 1].out;
}

uint32_t weft_spec_n_labels(const weft_spec *spec)
{
    const weft_shape *out = weft_spec_output(spec);
    return spec->loss == WEFT_LOSS_SOFTMAX_CE && out->rank == 2 ? out->h : 1;
}

/* One dimension of a sliding window; padded >= kernel. */
static uint32_t windows(uint32_t padded, uint32_t kernel, uint32_t stride)
{
    return (padded - kernel) / stride + 1;
}

/* padding=same: outputs = ceil(inputs / stride), the odd zero goes behind (as TensorFlow does). */
static weft_status same_padding(uint32_t *ret_before, uint32_t *ret_after, uint32_t in,
                                uint32_t kernel, uint32_t stride, uint32_t line, weft_err *err)
{
    const uint64_t out = (in + (uint64_t)stride - 1) / stride;
    const uint64_t span = (out - 1) * stride + kernel;
    const uint64_t zeros = span > in ? span - in : 0;
    if (zeros > 2 * (uint64_t)WEFT_SPEC_MAX_PADDING) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "line %u: kernel %u needs more than %u zeros of padding", line,
                  kernel, 2 * WEFT_SPEC_MAX_PADDING);
    }
    *ret_before = (uint32_t)(zeros / 2);
    *ret_after = (uint32_t)(zeros - zeros / 2);
    return WEFT_OK;
}

static weft_status want_image(const weft_layer *layer, const weft_shape *in, uint32_t line,
                              weft_err *err)
{
    if (in->rank != 3) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "line %u: %s wants an image (height x width x channels), got %ux%u features",
                  line, weft_layer_kind_name(layer->kind), in->h, in->c);
    }
    return WEFT_OK;
}

static weft_status infer_window(weft_layer *layer, const weft_shape *in, uint32_t line,
                                weft_err *err)
{
    WEFT_TRY(want_image(layer, in, line, err));
    if (layer->pad_same) {
        WEFT_TRY(same_padding(&layer->pad_top, &layer->pad_bottom, in->h, layer->kernel_h,
                              layer->stride, line, err));
        WEFT_TRY(same_padding(&layer->pad_left, &layer->pad_right, in->w, layer->kernel_w,
                              layer->stride, line, err));
    }
    const uint32_t h = in->h + layer->pad_top + layer->pad_bottom;
    const uint32_t w = in->w + layer->pad_left + layer->pad_right;
    if (layer->kernel_h > h || layer->kernel_w > w) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "line %u: a window of %ux%u does not fit into an image of %ux%u", line,
                  layer->kernel_h, layer->kernel_w, h, w);
    }
    layer->out.rank = 3;
    layer->out.h = windows(h, layer->kernel_h, layer->stride);
    layer->out.w = windows(w, layer->kernel_w, layer->stride);
    layer->out.c = layer->kind == WEFT_LAYER_CONV2D ? layer->units : in->c;
    return WEFT_OK;
}

static weft_status check_size(const weft_shape *out, uint32_t line, weft_err *err)
{
    const uint64_t plane = (uint64_t)out->h * out->w; /* each at most 2^24 + 2^12 */
    if (plane > WEFT_SPEC_MAX_VALUES || plane * out->c > WEFT_SPEC_MAX_VALUES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "line %u: %ux%ux%u values an example are more than %u", line,
                  out->h, out->w, out->c, WEFT_SPEC_MAX_VALUES);
    }
    return WEFT_OK;
}

static weft_status want_steps(const weft_layer *layer, const weft_shape *in, uint32_t line,
                              weft_err *err)
{
    if (in->rank != 2) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "line %u: %s wants a sequence (steps x features), got %ux%ux%u", line,
                  weft_layer_kind_name(layer->kind), in->h, in->w, in->c);
    }
    return WEFT_OK;
}

static weft_status infer_groups(const weft_layer *layer, uint32_t line, weft_err *err)
{
    const uint32_t channels = layer->in.c;
    const bool conv = layer->kind == WEFT_LAYER_CONV2D;
    if (channels % layer->groups != 0 || (conv && layer->units % layer->groups != 0)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "line %u: groups=%u does not divide %u channels%s", line,
                  layer->groups, channels, conv ? " and the filters" : "");
    }
    return WEFT_OK;
}

/* Where the values of a flattened image lie in other orders here and in PyTorch, so must those
 * that are added to them. */
static weft_status infer_add(const weft_flow *a, const weft_flow *b, uint32_t line, weft_err *err)
{
    const weft_shape *x = &a->shape;
    const weft_shape *y = &b->shape;
    if (x->rank != y->rank || x->h != y->h || x->w != y->w || x->c != y->c) {
        WEFT_FAIL(err, WEFT_E_INVALID, "line %u: %ux%ux%u arrive, but %ux%ux%u were saved", line,
                  x->h, x->w, x->c, y->h, y->w, y->c);
    }
    const weft_shape *i = &a->image;
    const weft_shape *k = &b->image;
    if (i->rank != k->rank || i->h != k->h || i->w != k->w) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "line %u: a flattened image and other features cannot be added", line);
    }
    return WEFT_OK;
}

static weft_status infer_kind(weft_layer *layer, const weft_flow *flow, const weft_flow *other,
                              uint32_t line, weft_err *err)
{
    const weft_shape *in = &layer->in;
    switch (layer->kind) {
    case WEFT_LAYER_DENSE:
        if (in->rank == 3) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "line %u: dense wants features, got an image of %ux%ux%u: put flatten before "
                      "it",
                      line, in->h, in->w, in->c);
        }
        layer->out.c = layer->units;
        return WEFT_OK;
    case WEFT_LAYER_CONV2D:
        WEFT_TRY(want_image(layer, in, line, err));
        WEFT_TRY(infer_groups(layer, line, err));
        return infer_window(layer, in, line, err);
    case WEFT_LAYER_MAXPOOL:
    case WEFT_LAYER_AVGPOOL:
        return infer_window(layer, in, line, err);
    case WEFT_LAYER_FLATTEN:
        if (in->rank == 1) {
            return want_image(layer, in, line, err);
        }
        layer->out = (weft_shape){1, 1, 1, weft_shape_size(in)};
        return WEFT_OK;
    case WEFT_LAYER_GLOBALAVGPOOL:
        layer->out = (weft_shape){1, 1, 1, in->c};
        return want_image(layer, in, line, err);
    case WEFT_LAYER_GROUPNORM:
        if (in->rank == 2) {
            return want_image(layer, in, line, err);
        }
        return infer_groups(layer, line, err);
    case WEFT_LAYER_BATCHNORM:
        return in->rank == 2 ? want_image(layer, in, line, err) : WEFT_OK;
    case WEFT_LAYER_EMBEDDING:
        if (layer->vocab == 0) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "line %u: embedding wants tokens, as in: input tokens=80 vocab=90", line);
        }
        layer->out.c = layer->units;
        return WEFT_OK;
    case WEFT_LAYER_LSTM:
    case WEFT_LAYER_GRU:
        layer->out.c = layer->units;
        return want_steps(layer, in, line, err);
    case WEFT_LAYER_LAST_STEP:
        layer->out = (weft_shape){1, 1, 1, in->c};
        return want_steps(layer, in, line, err);
    case WEFT_LAYER_FROM:
        layer->out = other->shape;
        return WEFT_OK;
    case WEFT_LAYER_ADD:
        return infer_add(flow, other, line, err);
    case WEFT_LAYER_RELU:
    case WEFT_LAYER_TANH:
    case WEFT_LAYER_SIGMOID:
    case WEFT_LAYER_DROPOUT:
    case WEFT_LAYER_SAVE:
    case WEFT_LAYER_LEAKY_RELU:
    case WEFT_LAYER_GELU:
    case WEFT_LAYER_SILU:
    case WEFT_LAYER_LAYERNORM:
        break;
    }
    return WEFT_OK;
}

/* Does the layer leave the values in their order? Then they still are what flatten made. */
static bool keeps_order(weft_layer_kind kind)
{
    return kind != WEFT_LAYER_DENSE && kind != WEFT_LAYER_GLOBALAVGPOOL &&
           kind != WEFT_LAYER_LAST_STEP;
}

weft_status weft_layer_infer(weft_layer *layer, weft_flow *flow, const weft_flow *other,
                             uint32_t line, weft_err *err)
{
    layer->in = flow->shape;
    layer->out = flow->shape;
    layer->image = flow->image;
    layer->vocab = flow->vocab;
    const bool passes = layer->kind == WEFT_LAYER_SAVE || layer->kind == WEFT_LAYER_FROM;
    if (flow->vocab > 0 && !passes && layer->kind != WEFT_LAYER_EMBEDDING) {
        WEFT_FAIL(err, WEFT_E_INVALID, "line %u: %s wants values, got tokens: put embedding before",
                  line, weft_layer_kind_name(layer->kind));
    }
    WEFT_TRY(infer_kind(layer, flow, other, line, err));
    flow->shape = layer->out;
    if (layer->kind == WEFT_LAYER_FROM) {
        *flow = *other;
    } else if (layer->kind == WEFT_LAYER_FLATTEN && layer->in.rank == 3) {
        flow->image = layer->in;
    } else if (!keeps_order(layer->kind)) {
        flow->image = (weft_shape){0, 0, 0, 0};
    }
    flow->vocab = layer->kind == WEFT_LAYER_EMBEDDING ? 0 : flow->vocab;
    return check_size(&layer->out, line, err);
}
