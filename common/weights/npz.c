/* SPDX-License-Identifier: Apache-2.0 */
/* Reading NPZ: a ZIP of NPY files, through libzip, from memory. Any thread. */
#include "weights/npz_priv.h"

#include "data/npy.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

static weft_status open_zip(zip_t **ret, const uint8_t *data, size_t size, weft_err *err)
{
    zip_error_t why;
    zip_error_init(&why);
    zip_source_t *source = zip_source_buffer_create(data, size, 0, &why);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
    weft_status status = WEFT_OK;
    if (!zip) {
        zip_source_free(source);
        status = weft_npz_failed(&why, "not an NPZ file", err);
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
        return weft_npz_failed(zip_file_get_error(entry), "cannot unpack NPZ", err);
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
    const bool same = weft_weights_same_order(t);
    WEFT_TRY(read_values(same ? out + t->offset : scratch, &h, &source, t, err));
    if (!same) {
        weft_weights_from_torch(out + t->offset, scratch, t);
    }
    return WEFT_OK;
}

static weft_status read_tensor(float *out, float *scratch, zip_t *zip, const weft_tensor_info *t,
                               weft_err *err)
{
    char name[WEFT_NPZ_NAME_BYTES];
    weft_npz_entry_name(name, t);
    const zip_int64_t index = zip_name_locate(zip, name, ZIP_FL_ENC_GUESS);
    if (index < 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the tensor '%s' of the model is not in the file", t->name);
    }
    zip_file_t *entry = zip_fopen_index(zip, (zip_uint64_t)index, 0);
    if (!entry) {
        return weft_npz_failed(zip_get_error(zip), "cannot unpack NPZ", err);
    }
    const weft_status status = read_entry(out, scratch, entry, t, err);
    (void)zip_fclose(entry); /* what there is to say was said by the reads */
    return status;
}

static bool in_layout(const weft_layout *layout, const char *entry)
{
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        char name[WEFT_NPZ_NAME_BYTES];
        weft_npz_entry_name(name, &layout->tensors[i]);
        if (strcmp(entry, name) == 0) {
            return true;
        }
    }
    char name[WEFT_NPZ_NAME_BYTES]; /* "NAME.npy" */
    const size_t n = strlen(entry);
    if (n < 4 || n - 4 >= sizeof name || strcmp(entry + n - 4, ".npy") != 0) {
        return false;
    }
    memcpy(name, entry, n - 4);
    name[n - 4] = '\0';
    return weft_weights_ignored(layout, name);
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
    const uint64_t most = weft_weights_scratch(layout);
    float *scratch = weft_array(a, (size_t)most, sizeof *scratch);
    weft_status status = WEFT_OK;
    if (!scratch && most > 0) {
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
