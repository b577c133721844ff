/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes of layers: what comes out for what goes in. Pure; any thread. */
#include "model/spec_priv.h"

uint32_t weft_shape_size(const weft_shape *shape)
{
    return shape->h * shape->w * shape->c;
}

uint64_t weft_layer_n_params(const weft_layer *layer)
{
    uint64_t n = 0;
    if (layer->kind == WEFT_LAYER_DENSE) {
        n = weft_shape_size(&layer->in);
    } else if (layer->kind == WEFT_LAYER_CONV2D) {
        n = (uint64_t)layer->kernel_h * layer->kernel_w; /* each at most 2^24 */
        if (__builtin_mul_overflow(n, layer->in.c, &n)) {
            return UINT64_MAX;
        }
    }
    if (__builtin_mul_overflow(n, layer->units, &n) ||
        __builtin_add_overflow(n, layer->bias ? layer->units : 0, &n)) {
        return UINT64_MAX;
    }
    return n;
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
                  "line %u: %s wants an image (height x width x channels), got %u features", line,
                  weft_layer_kind_name(layer->kind), in->c);
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

weft_status weft_layer_infer(weft_layer *layer, const weft_shape *in, uint32_t line, weft_err *err)
{
    layer->in = *in;
    layer->out = *in;
    switch (layer->kind) {
    case WEFT_LAYER_DENSE:
        if (in->rank != 1) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "line %u: dense wants features, got an image of %ux%ux%u: put flatten before "
                      "it",
                      line, in->h, in->w, in->c);
        }
        layer->out = (weft_shape){1, 1, 1, layer->units};
        break;
    case WEFT_LAYER_CONV2D:
    case WEFT_LAYER_MAXPOOL:
    case WEFT_LAYER_AVGPOOL:
        WEFT_TRY(infer_window(layer, in, line, err));
        break;
    case WEFT_LAYER_FLATTEN:
        WEFT_TRY(want_image(layer, in, line, err));
        layer->out = (weft_shape){1, 1, 1, weft_shape_size(in)};
        break;
    case WEFT_LAYER_RELU:
    case WEFT_LAYER_TANH:
    case WEFT_LAYER_SIGMOID:
    case WEFT_LAYER_DROPOUT:
        break;
    }
    return check_size(&layer->out, line, err);
}
