/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing NPZ. libzip asks for the bytes of one entry after the other: what lies in the model as it
 * is written is read from there, weights of another order are permuted while their entry is open.
 * Any thread.
 */
#include "weights/npz_priv.h"

#include "data/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_COMMENT_BYTES = 65535 };

weft_status weft_npz_failed(zip_error_t *why, const char *what, weft_err *err)
{
    weft_status code = WEFT_E_FORMAT;
    if (zip_error_code_zip(why) == ZIP_ER_MEMORY) {
        code = WEFT_E_NOMEM;
    } else if (zip_error_system_type(why) == ZIP_ET_SYS) {
        code = WEFT_E_IO;
    }
    WEFT_FAIL(err, code, "%s: %.120s", what, zip_error_strerror(why));
}

void weft_npz_entry_name(char out[WEFT_NPZ_NAME_BYTES], const weft_tensor_info *t)
{
    (void)snprintf(out, WEFT_NPZ_NAME_BYTES, "%s.npy", t->name); /* fits: the name is limited */
}

/* ---- one entry as libzip's source ------------------------------------------------------------ */

/* One NPY file: header, then the tensor's values. */
typedef struct entry {
    const weft_tensor_info *tensor;
    const float *values; /* of the tensor in the model, borrowed */
    const weft_alloc *alloc;
    float *permuted; /* owned, while it is open; NULL where the order is the same */
    weft_buf head;   /* NPY's */
    uint64_t at;     /* the next byte */
    zip_error_t error;
} entry;

static weft_status entry_init(entry *e, const weft_tensor_info *t, const float *weights,
                              const weft_alloc *a, weft_err *err)
{
    weft_npy_header h = {.type = WEFT_NPY_F32, .rank = t->rank, .count = t->count};
    uint64_t shape[WEFT_MAX_TENSOR_RANK];
    e->tensor = t;
    e->values = weights + t->offset;
    e->alloc = a;
    weft_weights_shape(shape, t);
    memcpy(h.shape, shape, sizeof shape);
    return weft_npy_print_header(&e->head, &h, err);
}

static zip_int64_t entry_open(entry *e)
{
    e->at = 0;
    if (weft_weights_same_order(e->tensor)) {
        return 0;
    }
    e->permuted = weft_array(e->alloc, (size_t)e->tensor->count, sizeof *e->permuted);
    if (!e->permuted) {
        zip_error_set(&e->error, ZIP_ER_MEMORY, 0);
        return -1;
    }
    weft_weights_to_torch(e->permuted, e->values, e->tensor);
    return 0;
}

static zip_int64_t entry_read(entry *e, uint8_t *out, uint64_t n)
{
    const uint64_t values_bytes = e->tensor->count * sizeof(float);
    const bool in_head = e->at < e->head.size;
    const float *values = e->permuted ? e->permuted : e->values;
    const uint8_t *from = in_head ? e->head.data : (const uint8_t *)values;
    const uint64_t offset = in_head ? e->at : e->at - e->head.size;
    const uint64_t left = (in_head ? e->head.size : values_bytes) - offset;
    const uint64_t take = n < left ? n : left;
    memcpy(out, from + offset, (size_t)take);
    e->at += take;
    return (zip_int64_t)take; /* fewer than asked for are fine, 0 is the end */
}

static zip_int64_t entry_stat(entry *e, zip_stat_t *out)
{
    zip_stat_init(out);
    out->size = e->head.size + e->tensor->count * sizeof(float);
    out->valid |= ZIP_STAT_SIZE;
    return sizeof *out;
}

/* libzip's callback. */
static zip_int64_t entry_call(void *state, void *data, zip_uint64_t n, zip_source_cmd_t command)
{
    entry *e = state;
    switch ((int)command) {
    case ZIP_SOURCE_OPEN:
        return entry_open(e);
    case ZIP_SOURCE_READ:
        return entry_read(e, data, n);
    case ZIP_SOURCE_CLOSE:
        weft_free(e->alloc, e->permuted);
        e->permuted = NULL;
        return 0;
    case ZIP_SOURCE_STAT:
        return entry_stat(e, data);
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&e->error, data, n);
    case ZIP_SOURCE_FREE: /* the entry is ours */
        return 0;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE,
                                              -1);
    default:
        zip_error_set(&e->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

/* ---- the archive ----------------------------------------------------------------------------- */

/* What is written; everything but the entries is borrowed. */
typedef struct archive {
    const weft_spec *spec;
    const weft_layout *layout;
    const weft_weights_meta *meta;
    const weft_alloc *alloc;
    entry *entries; /* [layout->n_tensors], owned */
} archive;

static weft_status add_entry(zip_t *zip, entry *e, weft_err *err)
{
    char name[WEFT_NPZ_NAME_BYTES];
    weft_npz_entry_name(name, e->tensor);
    zip_source_t *source = zip_source_function(zip, entry_call, e);
    const zip_int64_t index = source ? zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (index < 0) {
        zip_source_free(source);
        return weft_npz_failed(zip_get_error(zip), "cannot write NPZ", err);
    }
    /* stored, with a constant time (1980): the same model gives the same bytes */
    if (zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(zip, (zip_uint64_t)index, 0, 0x21, 0) != 0) {
        return weft_npz_failed(zip_get_error(zip), "cannot write NPZ", err);
    }
    return WEFT_OK;
}

static weft_status add_comment(zip_t *zip, const archive *ar, weft_err *err)
{
    weft_buf text;
    weft_buf_init(&text, ar->alloc, WEFT_MAX_WEIGHTS_HEADER_BYTES);
    weft_status status = weft_weights_print_meta(&text, ar->spec, ar->meta, true, ar->alloc, err);
    if (status == WEFT_OK && text.size > MAX_COMMENT_BYTES) { /* a ZIP's limit: without the spec */
        weft_buf_clear(&text);
        status = weft_weights_print_meta(&text, ar->spec, ar->meta, false, ar->alloc, err);
    }
    if (status == WEFT_OK &&
        zip_set_archive_comment(zip, (const char *)text.data, (zip_uint16_t)text.size) != 0) {
        status = weft_npz_failed(zip_get_error(zip), "cannot write NPZ", err);
    }
    weft_buf_done(&text);
    return status;
}

static weft_status fill_zip(zip_t *zip, const archive *ar, weft_err *err)
{
    for (uint32_t i = 0; i < ar->layout->n_tensors; i++) {
        WEFT_TRY(add_entry(zip, &ar->entries[i], err));
    }
    return add_comment(zip, ar, err);
}

/* The archive goes where target says, which stays the caller's. */
static weft_status make_zip(zip_source_t *target, const archive *ar, weft_err *err)
{
    zip_error_t why;
    zip_error_init(&why);
    zip_source_keep(target);
    zip_t *zip = zip_open_from_source(target, ZIP_CREATE | ZIP_TRUNCATE, &why);
    if (!zip) {
        zip_source_free(target);
        const weft_status failed = weft_npz_failed(&why, "cannot write NPZ", err);
        zip_error_fini(&why);
        return failed;
    }
    zip_error_fini(&why);
    weft_status status = fill_zip(zip, ar, err);
    if (status == WEFT_OK && zip_close(zip) != 0) {
        status = weft_npz_failed(zip_get_error(zip), "cannot write NPZ", err);
    } else if (status == WEFT_OK) {
        return WEFT_OK;
    }
    zip_discard(zip);
    return status;
}

static weft_status copy_out(weft_buf *out, zip_source_t *source, weft_err *err)
{
    if (zip_source_open(source) != 0) {
        return weft_npz_failed(zip_source_error(source), "cannot write NPZ", err);
    }
    weft_status status = WEFT_OK;
    uint8_t block[4096];
    zip_int64_t got = 0;
    while (status == WEFT_OK && (got = zip_source_read(source, block, sizeof block)) > 0) {
        status = weft_buf_add(out, block, (size_t)got, err);
    }
    if (status == WEFT_OK && got < 0) {
        status = weft_npz_failed(zip_source_error(source), "cannot write NPZ", err);
    }
    (void)zip_source_close(source); /* only read */
    return status;
}

/* To the file at path, or where that is NULL, to out. */
static weft_status write_archive(const archive *ar, const char *path, weft_buf *out, weft_err *err)
{
    zip_error_t why;
    zip_error_init(&why);
    zip_source_t *target = path ? zip_source_file_create(path, 0, 0, &why)
                                : zip_source_buffer_create(NULL, 0, 0, &why);
    weft_status status =
        target ? make_zip(target, ar, err) : weft_npz_failed(&why, "cannot write NPZ", err);
    zip_error_fini(&why);
    if (status == WEFT_OK && !path) {
        status = copy_out(out, target, err);
    }
    zip_source_free(target);
    return status;
}

static weft_status write_model(const char *path, weft_buf *out, const weft_spec *spec,
                               const weft_layout *layout, const float *weights,
                               const weft_weights_meta *meta, const weft_alloc *a, weft_err *err)
{
    archive ar = {.spec = spec, .layout = layout, .meta = meta, .alloc = a};
    ar.entries = weft_array(a, layout->n_tensors, sizeof *ar.entries);
    if (!ar.entries) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model of %" PRIu64 " values",
                  layout->n_params);
    }
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        weft_buf_init(&ar.entries[i].head, a, 4096);
        zip_error_init(&ar.entries[i].error);
        if (status == WEFT_OK) {
            status = entry_init(&ar.entries[i], &layout->tensors[i], weights, a, err);
        }
    }
    if (status == WEFT_OK) {
        status = write_archive(&ar, path, out, err);
    }
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        weft_buf_done(&ar.entries[i].head);
        zip_error_fini(&ar.entries[i].error);
        weft_free(a, ar.entries[i].permuted);
    }
    weft_free(a, ar.entries);
    return status;
}

weft_status weft_npz_write(weft_buf *out, const weft_spec *spec, const weft_layout *layout,
                           const float *weights, const weft_weights_meta *meta, const weft_alloc *a,
                           weft_err *err)
{
    return write_model(NULL, out, spec, layout, weights, meta, a, err);
}

weft_status weft_npz_write_file(const char *path, const weft_spec *spec, const weft_layout *layout,
                                const float *weights, const weft_weights_meta *meta,
                                const weft_alloc *a, weft_err *err)
{
    return write_model(path, NULL, spec, layout, weights, meta, a, err);
}
