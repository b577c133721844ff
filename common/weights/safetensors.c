/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors: a JSON header and bytes (weights.h). Any thread. */
#include "weights/weights_priv.h"

#include "data/npy.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

enum { LENGTH_BYTES = 8, ALIGNMENT = 8 };

/* ---- writing --------------------------------------------------------------------------------- */

static weft_status print_tensor(weft_buf *out, const weft_tensor_info *t, weft_err *err)
{
    uint64_t shape[WEFT_MAX_TENSOR_RANK];
    weft_weights_shape(shape, t);
    WEFT_TRY(weft_buf_addf(out, err, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[", t->name));
    for (uint32_t i = 0; i < t->rank; i++) {
        WEFT_TRY(weft_buf_addf(out, err, "%s%" PRIu64, i > 0 ? "," : "", shape[i]));
    }
    return weft_buf_addf(out, err, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", t->offset * 4,
                         (t->offset + t->count) * 4);
}

static weft_status print_header(weft_buf *out, const weft_spec *spec, const weft_layout *layout,
                                const weft_weights_meta *meta, const weft_alloc *a, weft_err *err)
{
    WEFT_TRY(weft_buf_add_u64(out, 0, err)); /* the length, when it is known */
    WEFT_TRY(weft_buf_addf(out, err, "{\"__metadata__\":"));
    WEFT_TRY(weft_weights_print_meta(out, spec, meta, true, a, err));
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        WEFT_TRY(print_tensor(out, &layout->tensors[i], err));
    }
    WEFT_TRY(weft_buf_add(out, "}", 1, err));
    while (out->size % ALIGNMENT != 0) {
        WEFT_TRY(weft_buf_add(out, " ", 1, err));
    }
    const uint64_t length = out->size - LENGTH_BYTES;
    for (size_t i = 0; i < LENGTH_BYTES; i++) {
        out->data[i] = (uint8_t)(length >> (8 * i));
    }
    return WEFT_OK;
}

static weft_status write_tensors(weft_weights_sink sink, const weft_layout *layout,
                                 const float *weights, const weft_alloc *a, weft_err *err)
{
    const uint64_t most = weft_weights_scratch(layout);
    float *tensor = weft_array(a, (size_t)most, sizeof *tensor);
    if (!tensor && most > 0) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a tensor of %" PRIu64 " values", most);
    }
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; status == WEFT_OK && i < layout->n_tensors; i++) {
        const weft_tensor_info *t = &layout->tensors[i];
        const float *values = weights + t->offset;
        if (!weft_weights_same_order(t)) {
            weft_weights_to_torch(tensor, values, t);
            values = tensor;
        }
        status = sink.write(sink.self, values, (size_t)t->count * sizeof *values, err);
    }
    weft_free(a, tensor);
    return status;
}

weft_status weft_safetensors_write(weft_weights_sink sink, const weft_spec *spec,
                                   const weft_layout *layout, const float *weights,
                                   const weft_weights_meta *meta, const weft_alloc *a,
                                   weft_err *err)
{
    weft_buf head;
    weft_buf_init(&head, a, WEFT_MAX_WEIGHTS_HEADER_BYTES);
    weft_status status = print_header(&head, spec, layout, meta, a, err);
    if (status == WEFT_OK) {
        status = sink.write(sink.self, head.data, head.size, err);
    }
    weft_buf_done(&head);
    WEFT_TRY(status);
    return write_tensors(sink, layout, weights, a, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct file {
    json_t *header; /* owned */
    const uint8_t *data;
    uint64_t size; /* of data */
} file;

static weft_status open_file(file *ret, const uint8_t *data, size_t size, weft_err *err)
{
    weft_reader r;
    weft_reader_init(&r, data, size);
    const uint64_t length = weft_reader_u64(&r);
    if (r.failed || length > weft_reader_left(&r)) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "%zu bytes are not a safetensors file: it starts with the length of its header",
                  size);
    }
    const uint8_t *text = weft_reader_take(&r, (size_t)length);
    void *root = NULL;
    WEFT_TRY(weft_weights_parse_json(&root, text, (size_t)length, err));
    ret->header = root;
    ret->data = r.at;
    ret->size = weft_reader_left(&r);
    return WEFT_OK;
}

typedef struct dtype {
    const char *name;
    size_t size;
    weft_npy_type type; /* how its bits are read; BF16: 0 */
} dtype;

static const dtype dtypes[] = {{"F32", 4, WEFT_NPY_F32},
                               {"F64", 8, WEFT_NPY_F64},
                               {"F16", 2, WEFT_NPY_F16},
                               {"BF16", 2, (weft_npy_type)0}};

static weft_status find_dtype(const dtype **ret, const json_t *entry, const char *name,
                              weft_err *err)
{
    const char *text = json_string_value(json_object_get(entry, "dtype"));
    for (size_t i = 0; text && i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(text, dtypes[i].name) == 0) {
            *ret = &dtypes[i];
            return WEFT_OK;
        }
    }
    WEFT_FAIL(err, WEFT_E_INVALID, "the tensor '%s' is of type %.20s, read are F32, F64, F16, BF16",
              name, text ? text : "none");
}

static weft_status check_shape(const json_t *entry, const weft_tensor_info *t, weft_err *err)
{
    uint64_t want[WEFT_MAX_TENSOR_RANK];
    weft_weights_shape(want, t);
    const json_t *shape = json_object_get(entry, "shape");
    bool same = json_is_array(shape) && json_array_size(shape) == t->rank;
    for (uint32_t i = 0; same && i < t->rank; i++) {
        const json_t *n = json_array_get(shape, i);
        same = json_is_integer(n) && json_integer_value(n) >= 0 &&
               (uint64_t)json_integer_value(n) == want[i];
    }
    if (!same) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the tensor '%s' has another shape than the model's",
                  t->name);
    }
    return WEFT_OK;
}

/* Where the tensor's bytes lie. */
static weft_status find_bytes(const uint8_t **ret, const file *f, const json_t *entry,
                              const weft_tensor_info *t, size_t element, weft_err *err)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0); /* NULL for what is no array */
    const json_t *end = json_array_get(offsets, 1);
    const json_int_t from = json_is_integer(begin) ? json_integer_value(begin) : -1;
    const json_int_t to = json_is_integer(end) ? json_integer_value(end) : -1;
    if (json_array_size(offsets) != 2 || from < 0 || to < from || (uint64_t)to > f->size ||
        (uint64_t)(to - from) != t->count * element) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the tensor '%s' does not lie where the header says",
                  t->name);
    }
    *ret = f->data + from;
    return WEFT_OK;
}

static double bf16_value(const uint8_t *p)
{
    const uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    float v = 0.0F;
    memcpy(&v, &bits, sizeof v);
    return (double)v;
}

static weft_status convert(float *out, const uint8_t *bytes, const dtype *d,
                           const weft_tensor_info *t, weft_err *err)
{
    for (uint64_t i = 0; i < t->count; i++) {
        const float v =
            (float)(d->type ? weft_npy_value(bytes, d->type, i) : bf16_value(bytes + 2 * i));
        if (!isfinite(v)) {
            WEFT_FAIL(err, WEFT_E_INVALID, "value %" PRIu64 " of the tensor '%s' is not finite", i,
                      t->name);
        }
        out[i] = v; /* NOLINT(clang-analyzer-core.NullDereference): only NULL without elements */
    }
    return WEFT_OK;
}

static weft_status read_tensor(float *out, float *scratch, const file *f, const weft_tensor_info *t,
                               uint64_t *ret_bytes, weft_err *err)
{
    const json_t *entry = json_object_get(f->header, t->name);
    if (!json_is_object(entry)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the tensor '%s' of the model is not in the file", t->name);
    }
    const dtype *d = NULL;
    const uint8_t *bytes = NULL;
    WEFT_TRY(find_dtype(&d, entry, t->name, err));
    WEFT_TRY(check_shape(entry, t, err));
    WEFT_TRY(find_bytes(&bytes, f, entry, t, d->size, err));
    const bool same = weft_weights_same_order(t);
    WEFT_TRY(convert(same ? out + t->offset : scratch, bytes, d, t, err));
    if (!same) {
        weft_weights_from_torch(out + t->offset, scratch, t);
    }
    *ret_bytes += t->count * d->size;
    return WEFT_OK;
}

/* A whole number of 64 bits, no array. */
static bool is_count(const json_t *entry)
{
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape");
    return type && strcmp(type, "I64") == 0 && json_is_array(shape) && json_array_size(shape) == 0;
}

/* No others than the model's; those that are not read add to bytes. */
static weft_status check_names(const file *f, const weft_layout *layout, uint64_t *bytes,
                               weft_err *err)
{
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(f->header, key, value)
    {
        bool known = strcmp(key, "__metadata__") == 0;
        for (uint32_t i = 0; !known && i < layout->n_tensors; i++) {
            known = strcmp(key, layout->tensors[i].name) == 0;
        }
        if (!known && weft_weights_ignored(layout, key) && is_count(value)) {
            known = true;
            *bytes += sizeof(int64_t);
        }
        if (!known) {
            WEFT_FAIL(err, WEFT_E_INVALID, "the tensor '%.80s' of the file is not in the model",
                      key);
        }
    }
    return WEFT_OK;
}

static weft_status read_tensors(float *out, const file *f, const weft_layout *layout,
                                float *scratch, weft_err *err)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        WEFT_TRY(read_tensor(out, scratch, f, &layout->tensors[i], &bytes, err));
    }
    WEFT_TRY(check_names(f, layout, &bytes, err));
    if (bytes != f->size) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "the tensors have %" PRIu64 " bytes, the file %" PRIu64,
                  bytes, f->size);
    }
    return WEFT_OK;
}

/* A tensor's values are at least two bytes each: a model that the file cannot hold costs nothing.
 */
static weft_status check_size(const weft_layout *layout, uint64_t size, weft_err *err)
{
    if (layout->n_params > size / 2) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the model has %" PRIu64 " values, the file only %" PRIu64 " bytes",
                  layout->n_params, size);
    }
    return WEFT_OK;
}

weft_status weft_safetensors_read(float *out, const weft_layout *layout, const uint8_t *data,
                                  size_t size, const weft_alloc *a, weft_err *err)
{
    WEFT_TRY(check_size(layout, size, err));
    file f = {0};
    WEFT_TRY(open_file(&f, data, size, err));
    const uint64_t most = weft_weights_scratch(layout);
    float *scratch = weft_array(a, (size_t)most, sizeof *scratch);
    weft_status status = WEFT_OK;
    if (scratch || most == 0) {
        status = read_tensors(out, &f, layout, scratch, err);
    } else {
        status = WEFT_E_NOMEM;
        (void)weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                           "no memory for a tensor of %" PRIu64 " values", most);
    }
    weft_free(a, scratch);
    json_decref(f.header);
    return status;
}

weft_status weft_safetensors_read_meta(weft_weights_meta *ret, weft_buf *spec_text,
                                       const uint8_t *data, size_t size, weft_err *err)
{
    file f = {0};
    WEFT_TRY(open_file(&f, data, size, err));
    const weft_status status =
        weft_weights_parse_meta(ret, spec_text, json_object_get(f.header, "__metadata__"), err);
    json_decref(f.header);
    return status;
}
