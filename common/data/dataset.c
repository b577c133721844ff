/* SPDX-License-Identifier: Apache-2.0 */
/* Data sets in memory: their frame, views, batches. Read-only once made; any thread. */
#include "data/dataset.h"

#include "base/limits.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

void weft_data_free(weft_data *data)
{
    if (!data) {
        return;
    }
    const weft_alloc *a = data->alloc;
    weft_free(a, data->u8);
    weft_free(a, data->f32);
    weft_free(a, data->classes);
    weft_free(a, data->values);
    weft_free(a, data->groups);
    for (uint32_t i = 0; data->group_names && i < data->n_groups; i++) {
        weft_free(a, data->group_names[i]);
    }
    weft_free(a, data->group_names);
    weft_free(a, data);
}

static weft_status check_sizes(uint64_t n, weft_shape shape, weft_feature_type type,
                               weft_label_kind labels, uint32_t n_classes, weft_err *err)
{
    if (n == 0 || n > WEFT_MAX_EXAMPLES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%" PRIu64 " examples, allowed are 1 to %" PRIu64, n,
                  (uint64_t)WEFT_MAX_EXAMPLES);
    }
    uint64_t f = 0; /* sizes are 32 bits: one product of two fits, the second is checked */
    if (__builtin_mul_overflow((uint64_t)shape.h * shape.w, (uint64_t)shape.c, &f) || f == 0 ||
        f > WEFT_MAX_FEATURES) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "examples of %" PRIu32 " x %" PRIu32 " x %" PRIu32
                  " values, allowed are 1 to %" PRIu32,
                  shape.h, shape.w, shape.c, (uint32_t)WEFT_MAX_FEATURES);
    }
    const uint64_t element = type == WEFT_FEATURE_F32 ? sizeof(float) : 1;
    if (n * f > WEFT_MAX_DATA_BYTES / element) { /* n * f <= 2^55 */
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "%" PRIu64 " examples of %" PRIu64 " values pass %" PRIu64 " bytes", n, f,
                  (uint64_t)WEFT_MAX_DATA_BYTES);
    }
    if (labels == WEFT_LABEL_CLASS && (n_classes == 0 || n_classes > WEFT_MAX_CLASSES)) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%" PRIu32 " classes, allowed are 1 to %" PRIu32, n_classes,
                  (uint32_t)WEFT_MAX_CLASSES);
    }
    return WEFT_OK;
}

weft_status weft_data_new(weft_data **ret, uint64_t n, weft_shape shape, weft_feature_type type,
                          weft_label_kind labels, uint32_t n_classes, const weft_alloc *a,
                          weft_err *err)
{
    WEFT_TRY(check_sizes(n, shape, type, labels, n_classes, err));
    weft_data *d = weft_array(a, 1, sizeof *d);
    if (!d) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a data set");
    }
    d->alloc = a;
    d->n = (uint32_t)n;
    d->shape = shape;
    d->n_features = shape.h * shape.w * shape.c;
    d->type = type;
    d->labels = labels;
    d->n_classes = labels == WEFT_LABEL_CLASS ? n_classes : 0;
    const size_t values = (size_t)n * d->n_features;
    bool ok = true;
    if (type == WEFT_FEATURE_F32) {
        d->f32 = weft_array(a, values, sizeof *d->f32);
        ok = d->f32 != NULL;
    } else {
        d->u8 = weft_array(a, values, sizeof *d->u8);
        ok = d->u8 != NULL;
    }
    if (ok && labels == WEFT_LABEL_CLASS) {
        d->classes = weft_array(a, (size_t)n, sizeof *d->classes);
        ok = d->classes != NULL;
    } else if (ok && labels == WEFT_LABEL_VALUE) {
        d->values = weft_array(a, (size_t)n, sizeof *d->values);
        ok = d->values != NULL;
    }
    if (!ok) {
        weft_data_free(d);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %" PRIu64 " examples of %" PRIu32 " values", n,
                  shape.h * shape.w * shape.c);
    }
    *ret = d;
    return WEFT_OK;
}

weft_data_view weft_data_all(const weft_data *data)
{
    return (weft_data_view){.data = data, .index = NULL, .n = data->n};
}

uint32_t weft_data_view_at(const weft_data_view *view, uint32_t i)
{
    return view->index ? view->index[i] : i;
}

static void gather_features(float *out, const weft_data *d, uint32_t at)
{
    const size_t f = d->n_features;
    if (d->type == WEFT_FEATURE_F32) {
        memcpy(out, d->f32 + at * f, f * sizeof *out);
        return;
    }
    const uint8_t *in = d->u8 + at * f;
    for (size_t i = 0; i < f; i++) {
        out[i] = (float)in[i] / 255.0F;
    }
}

void weft_data_gather(float *features, uint32_t *classes, float *values, const weft_data_view *view,
                      const uint32_t *order, uint32_t first, uint32_t n)
{
    const weft_data *d = view->data;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t at = weft_data_view_at(view, order ? order[i] : first + i);
        gather_features(features + (size_t)i * d->n_features, d, at);
        if (classes) {
            classes[i] = d->classes[at];
        }
        if (values) {
            values[i] = d->values[at];
        }
    }
}

weft_status weft_data_fits(const weft_data *data, const weft_spec *spec, weft_err *err)
{
    if (spec->input.rank == 0 || spec->n_layers == 0) {
        WEFT_FAIL(
            err, WEFT_E_INVALID,
            "the model is a list of tensors without layers: it cannot be trained on data here");
    }
    const weft_shape in = spec->input;
    const uint64_t wanted = (uint64_t)in.h * in.w * in.c;
    const weft_shape s = data->shape;
    const bool flat = in.rank == 1 || s.rank == 1; /* a picture also serves as a row of features */
    if (wanted != data->n_features || (!flat && (in.h != s.h || in.w != s.w || in.c != s.c))) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the model takes %" PRIu32 "x%" PRIu32 "x%" PRIu32
                  " values, the data have %" PRIu32 "x%" PRIu32 "x%" PRIu32,
                  in.h, in.w, in.c, s.h, s.w, s.c);
    }
    const weft_shape out = *weft_spec_output(spec);
    const uint64_t outputs = (uint64_t)out.h * out.w * out.c;
    const bool binary = spec->loss == WEFT_LOSS_SIGMOID_CE && outputs == 1;
    if (spec->loss == WEFT_LOSS_SOFTMAX_CE && data->labels != WEFT_LABEL_CLASS) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the loss softmax_cross_entropy needs class labels, the data have %s",
                  data->labels == WEFT_LABEL_VALUE ? "numbers" : "none");
    }
    if (binary && data->labels == WEFT_LABEL_CLASS && data->n_classes <= 2) {
        return WEFT_OK;
    }
    if (data->labels == WEFT_LABEL_CLASS && data->n_classes > outputs) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the model has %" PRIu64 " outputs, the data %" PRIu32 " classes", outputs,
                  data->n_classes);
    }
    if (data->labels == WEFT_LABEL_VALUE && outputs != 1) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the model has %" PRIu64 " outputs, the data one number an example", outputs);
    }
    return WEFT_OK;
}
