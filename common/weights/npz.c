/* SPDX-License-Identifier: Apache-2.0 */
/* NPZ: a ZIP of NPY files, through libzip, in memory. Any thread. */
#include "weights/weights_priv.h"

#include "data/npy.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <zip.h>

enum {
    BLOCK_BYTES = 65536,
    MAX_COMMENT_BYTES = 65535,
    NAME_BYTES = WEFT_MAX_TENSOR_NAME_BYTES + 8
};

static weft_status zip_failed(zip_error_t *why, const char *what, weft_err *err)
{
    const weft_status code =
        zip_error_code_zip(why) == ZIP_ER_MEMORY ? WEFT_E_NOMEM : WEFT_E_FORMAT;
    WEFT_FAIL(err, code, "%s: %.120s", what, zip_error_strerror(why));
}

static void entry_name(char out[NAME_BYTES], const weft_tensor_info *t)
{
    (void)snprintf(out, NAME_BYTES, "%s.npy", t->name); /* fits: the name is limited */
}

/* ---- writing --------------------------------------------------------------------------------- */

/* One NPY file: header and permuted tensor. *ret is owned by the caller. */
static weft_status print_npy(weft_buf *out, const weft_tensor_info *t, const float *weights,
                             float *scratch, weft_err *err)
{
    weft_npy_header h = {.type = WEFT_NPY_F32, .rank = t->rank, .count = t->count};
    uint64_t shape[WEFT_MAX_TENSOR_RANK];
    weft_weights_shape(shape, t);
    memcpy(h.shape, shape, sizeof shape);
    WEFT_TRY(weft_npy_print_header(out, &h, err));
    weft_weights_to_torch(scratch, weights + t->offset, t);
    return weft_buf_add(out, scratch, (size_t)t->count * sizeof *scratch, err);
}

static weft_status add_entry(zip_t *zip, const weft_tensor_info *t, const weft_buf *npy,
                             weft_err *err)
{
    char name[NAME_BYTES];
    entry_name(name, t);
    zip_source_t *source = zip_source_buffer(zip, npy->data, npy->size, 0); /* borrowed to close */
    const zip_int64_t index = source ? zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (index < 0) {
        zip_source_free(source);
        return zip_failed(zip_get_error(zip), "cannot write NPZ", err);
    }
    /* stored, with a constant time (1980): the same model gives the same bytes */
    if (zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(zip, (zip_uint64_t)index, 0, 0x21, 0) != 0) {
        return zip_failed(zip_get_error(zip), "cannot write NPZ", err);
    }
    return WEFT_OK;
}

static weft_status add_comment(zip_t *zip, const weft_spec *spec, const weft_weights_meta *meta,
                               const weft_alloc *a, weft_err *err)
{
    weft_buf text;
    weft_buf_init(&text, a, WEFT_MAX_WEIGHTS_HEADER_BYTES);
    weft_status status = weft_weights_print_meta(&text, spec, meta, true, a, err);
    if (status == WEFT_OK && text.size > MAX_COMMENT_BYTES) { /* a ZIP's limit: without the spec */
        weft_buf_clear(&text);
        status = weft_weights_print_meta(&text, spec, meta, false, a, err);
    }
    if (status == WEFT_OK &&
        zip_set_archive_comment(zip, (const char *)text.data, (zip_uint16_t)text.size) != 0) {
        status = zip_failed(zip_get_error(zip), "cannot write NPZ", err);
    }
    weft_buf_done(&text);
    return status;
}

static weft_status fill_zip(zip_t *zip, weft_buf *npy, const weft_spec *spec,
                            const weft_layout *layout, const float *weights,
                            const weft_weights_meta *meta, float *scratch, const weft_alloc *a,
                            weft_err *err)
{
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        const weft_tensor_info *t = &layout->tensors[i];
        WEFT_TRY(print_npy(&npy[i], t, weights, scratch, err));
        WEFT_TRY(add_entry(zip, t, &npy[i], err));
    }
    return add_comment(zip, spec, meta, a, err);
}

static weft_status copy_out(weft_buf *out, zip_source_t *source, weft_err *err)
{
    if (zip_source_open(source) != 0) {
        return zip_failed(zip_source_error(source), "cannot write NPZ", err);
    }
    weft_status status = WEFT_OK;
    uint8_t block[4096];
    zip_int64_t got = 0;
    while (status == WEFT_OK && (got = zip_source_read(source, block, sizeof block)) > 0) {
        status = weft_buf_add(out, block, (size_t)got, err);
    }
    if (status == WEFT_OK && got < 0) {
        status = zip_failed(zip_source_error(source), "cannot write NPZ", err);
    }
    (void)zip_source_close(source); /* only read */
    return status;
}

/* The archive is made in the memory of source, which stays ours. */
static weft_status make_zip(zip_source_t *source, weft_buf *npy, const weft_spec *spec,
                            const weft_layout *layout, const float *weights,
                            const weft_weights_meta *meta, float *scratch, const weft_alloc *a,
                            weft_err *err)
{
    zip_error_t why;
    zip_error_init(&why);
    zip_source_keep(source);
    zip_t *zip = zip_open_from_source(source, ZIP_CREATE | ZIP_TRUNCATE, &why);
    if (!zip) {
        zip_source_free(source);
        const weft_status failed = zip_failed(&why, "cannot write NPZ", err);
        zip_error_fini(&why);
        return failed;
    }
    zip_error_fini(&why);
    weft_status status = fill_zip(zip, npy, spec, layout, weights, meta, scratch, a, err);
    if (status == WEFT_OK && zip_close(zip) != 0) {
        status = zip_failed(zip_get_error(zip), "cannot write NPZ", err);
    } else if (status == WEFT_OK) {
        return WEFT_OK;
    }
    zip_discard(zip);
    return status;
}

static uint64_t largest_tensor(const weft_layout *layout)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        most = layout->tensors[i].count > most ? layout->tensors[i].count : most;
    }
    return most;
}

static weft_status write_npz(weft_buf *out, weft_buf *npy, const weft_spec *spec,
                             const weft_layout *layout, const float *weights,
                             const weft_weights_meta *meta, float *scratch, const weft_alloc *a,
                             weft_err *err)
{
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        const uint64_t bytes = layout->tensors[i].count * sizeof(float);
        weft_buf_init(&npy[i], a, (size_t)bytes + 4096);
    }
    zip_error_t why;
    zip_error_init(&why);
    zip_source_t *source = zip_source_buffer_create(NULL, 0, 0, &why);
    weft_status status = WEFT_OK;
    if (!source) {
        status = zip_failed(&why, "cannot write NPZ", err);
    } else {
        status = make_zip(source, npy, spec, layout, weights, meta, scratch, a, err);
    }
    zip_error_fini(&why);
    if (status == WEFT_OK) {
        status = copy_out(out, source, err);
    }
    zip_source_free(source);
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        weft_buf_done(&npy[i]);
    }
    return status;
}

weft_status weft_npz_write(weft_buf *out, const weft_spec *spec, const weft_layout *layout,
                           const float *weights, const weft_weights_meta *meta, const weft_alloc *a,
                           weft_err *err)
{
    weft_buf *npy = weft_array(a, layout->n_tensors, sizeof *npy);
    float *scratch = weft_array(a, (size_t)largest_tensor(layout), sizeof *scratch);
    weft_status status = WEFT_OK;
    if (npy && scratch) {
        status = write_npz(out, npy, spec, layout, weights, meta, scratch, a, err);
    } else {
        status = WEFT_E_NOMEM;
        (void)weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                           "no memory for a model of %" PRIu64 " values", layout->n_params);
    }
    weft_free(a, npy);
    weft_free(a, scratch);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

static weft_status open_zip(zip_t **ret, const uint8_t *data, size_t size, weft_err *err)
{
    zip_error_t why;
    zip_error_init(&why);
    zip_source_t *source = zip_source_buffer_create(data, size, 0, &why);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
    weft_status status = WEFT_OK;
    if (!zip) {
        zip_source_free(source);
        status = zip_failed(&why, "not an NPZ file", err);
    }
    zip_error_fini(&why);
    *ret = zip;
    return status;
}

/* An entry as a source for the NPY reader. */
static weft_status entry_read(void *self, void *out, size_t n, size_t *ret_n, weft_err *err)
{
    zip_file_t *entry = self;
    const zip_int64_t got = zip_fread(entry, out, n);
    if (got < 0) {
        return zip_failed(zip_file_get_error(entry), "cannot unpack NPZ", err);
    }
    *ret_n = (size_t)got;
    return WEFT_OK;
}

static weft_status check_header(const weft_npy_header *h, const weft_tensor_info *t, weft_err *err)
{
    uint64_t want[WEFT_MAX_TENSOR_RANK];
    weft_weights_shape(want, t);
    bool same = h->rank == t->rank;
    for (uint32_t i = 0; same && i < t->rank; i++) {
        same = h->shape[i] == want[i];
    }
    if (!same) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the tensor '%s' has another shape than the model's",
                  t->name);
    }
    if (h->type != WEFT_NPY_F32 && h->type != WEFT_NPY_F64 && h->type != WEFT_NPY_F16) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the tensor '%s' holds integers, wanted are f2, f4 or f8",
                  t->name);
    }
    return WEFT_OK;
}

/* Where element i of a file in Fortran order goes in C order. */
static uint64_t c_order(const weft_npy_header *h, uint64_t i)
{
    uint64_t at = 0;
    uint64_t stride = h->count;
    for (uint32_t k = 0; k < h->rank; k++) { /* the first index varies fastest */
        stride /= h->shape[k];
        at += i % h->shape[k] * stride;
        i /= h->shape[k];
    }
    return at;
}

static weft_status read_values(float *out, const weft_npy_header *h, weft_source *source,
                               const weft_tensor_info *t, weft_err *err)
{
    uint8_t block[4096];
    const size_t size = weft_npy_size(h->type);
    for (uint64_t done = 0; done < h->count;) {
        const uint64_t left = h->count - done;
        const size_t n = left < sizeof block / size ? (size_t)left : sizeof block / size;
        WEFT_TRY(weft_source_exact(source, block, n * size, "elements", err));
        for (size_t i = 0; i < n; i++) {
            const float v = (float)weft_npy_value(block, h->type, i);
            if (!isfinite(v)) {
                WEFT_FAIL(err, WEFT_E_INVALID, "value %" PRIu64 " of the tensor '%s' is not finite",
                          done + i, t->name);
            }
            out[h->fortran ? c_order(h, done + i) : done + i] = v;
        }
        done += n;
    }
    return weft_source_at_end(source, err); /* libzip compares the CRC here */
}

static weft_status read_entry(float *out, float *scratch, zip_file_t *entry,
                              const weft_tensor_info *t, weft_err *err)
{
    weft_source source = {.read = entry_read, .self = entry, .name = t->name};
    weft_npy_header h = {0};
    WEFT_TRY(weft_npy_read_header(&h, &source, err));
    WEFT_TRY(check_header(&h, t, err));
    WEFT_TRY(read_values(scratch, &h, &source, t, err));
    weft_weights_from_torch(out + t->offset, scratch, t);
    return WEFT_OK;
}

static weft_status read_tensor(float *out, float *scratch, zip_t *zip, const weft_tensor_info *t,
                               weft_err *err)
{
    char name[NAME_BYTES];
    entry_name(name, t);
    const zip_int64_t index = zip_name_locate(zip, name, ZIP_FL_ENC_GUESS);
    if (index < 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the tensor '%s' of the model is not in the file", t->name);
    }
    zip_file_t *entry = zip_fopen_index(zip, (zip_uint64_t)index, 0);
    if (!entry) {
        return zip_failed(zip_get_error(zip), "cannot unpack NPZ", err);
    }
    const weft_status status = read_entry(out, scratch, entry, t, err);
    (void)zip_fclose(entry); /* what there is to say was said by the reads */
    return status;
}

static bool in_layout(const weft_layout *layout, const char *entry)
{
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        char name[NAME_BYTES];
        entry_name(name, &layout->tensors[i]);
        if (strcmp(entry, name) == 0) {
            return true;
        }
    }
    return false;
}

static weft_status check_names(zip_t *zip, const weft_layout *layout, weft_err *err)
{
    const zip_int64_t n = zip_get_num_entries(zip, 0);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(zip, (zip_uint64_t)i, ZIP_FL_ENC_GUESS);
        if (!name || !in_layout(layout, name)) {
            WEFT_FAIL(err, WEFT_E_INVALID, "the tensor '%.80s' of the file is not in the model",
                      name ? name : "");
        }
    }
    return WEFT_OK;
}

/* Sizes before memory: an entry can be as large as its tensor, a deflated one 1032 times smaller.
 */
static weft_status check_size(const weft_layout *layout, size_t size, weft_err *err)
{
    if (layout->n_params / 1032 > size) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the model has %" PRIu64 " values, the file only %zu bytes",
                  layout->n_params, size);
    }
    return WEFT_OK;
}

weft_status weft_npz_read(float *out, const weft_layout *layout, const uint8_t *data, size_t size,
                          const weft_alloc *a, weft_err *err)
{
    WEFT_TRY(check_size(layout, size, err));
    zip_t *zip = NULL;
    WEFT_TRY(open_zip(&zip, data, size, err));
    float *scratch = weft_array(a, (size_t)largest_tensor(layout), sizeof *scratch);
    weft_status status = WEFT_OK;
    if (!scratch) {
        status = WEFT_E_NOMEM;
        (void)weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                           "no memory for a model of %" PRIu64 " values", layout->n_params);
    }
    if (status == WEFT_OK) {
        status = check_names(zip, layout, err);
    }
    for (uint32_t i = 0; status == WEFT_OK && i < layout->n_tensors; i++) {
        status = read_tensor(out, scratch, zip, &layout->tensors[i], err);
    }
    weft_free(a, scratch);
    zip_discard(zip);
    return status;
}

weft_status weft_npz_read_meta(weft_weights_meta *ret, weft_buf *spec_text, const uint8_t *data,
                               size_t size, weft_err *err)
{
    zip_t *zip = NULL;
    WEFT_TRY(open_zip(&zip, data, size, err));
    int length = 0;
    const char *comment = zip_get_archive_comment(zip, &length, ZIP_FL_ENC_RAW);
    void *root = NULL;
    weft_status status = WEFT_OK;
    if (comment && length > 0 && comment[0] == '{') { /* others' comments are theirs */
        status = weft_weights_parse_json(&root, comment, (size_t)length, err);
    }
    if (status == WEFT_OK) {
        status = weft_weights_parse_meta(ret, spec_text, root, err);
    }
    json_decref(root);
    zip_discard(zip);
    return status;
}
