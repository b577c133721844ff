/* SPDX-License-Identifier: Apache-2.0 */
/* NPY arrays -> a data set. Any thread. */
#include "data/npy.h"

#include "base/file.h"
#include "base/limits.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>

enum { BLOCK_BYTES = 8192 };

static weft_status need_c_order(const weft_npy_header *h, const char *name, weft_err *err)
{
    if (h->fortran && h->rank > 1) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "%.120s is in Fortran order; save numpy.ascontiguousarray of it", name);
    }
    return WEFT_OK;
}

static weft_status feature_shape(weft_shape *ret, const weft_npy_header *h, const char *name,
                                 weft_err *err)
{
    if (h->rank < 1 || h->rank > 4) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "%.120s has rank %" PRIu32
                  ", features have 1 to 4: n, then c, or h, w, or h, w, c",
                  name, h->rank);
    }
    uint64_t n = 1; /* values of an example */
    for (uint32_t i = 1; i < h->rank; i++) {
        if (h->shape[i] == 0 || h->shape[i] > WEFT_MAX_FEATURES ||
            (n *= h->shape[i]) > WEFT_MAX_FEATURES) {
            WEFT_FAIL(err, WEFT_E_LIMIT,
                      "%.120s announces examples of no or more than %" PRIu32 " values", name,
                      (uint32_t)WEFT_MAX_FEATURES);
        }
    }
    if (h->rank <= 2) {
        *ret = (weft_shape){1, 1, 1, (uint32_t)n};
    } else {
        const uint64_t c = h->rank == 4 ? h->shape[3] : 1;
        *ret = (weft_shape){3, (uint32_t)h->shape[1], (uint32_t)h->shape[2], (uint32_t)c};
    }
    return WEFT_OK;
}

/* Read count elements as float32, in blocks. */
static weft_status read_floats(float *out, uint64_t count, weft_npy_type type, weft_source *source,
                               weft_err *err)
{
    uint8_t block[BLOCK_BYTES];
    const size_t size = weft_npy_size(type);
    for (uint64_t done = 0; done < count;) {
        const uint64_t left = count - done;
        const size_t n = left < BLOCK_BYTES / size ? (size_t)left : BLOCK_BYTES / size;
        WEFT_TRY(weft_source_exact(source, block, n * size, "elements", err));
        for (size_t i = 0; i < n; i++) {
            out[done + i] = (float)weft_npy_value(block, type, i);
            if (!isfinite(out[done + i])) {
                WEFT_FAIL(err, WEFT_E_INVALID,
                          "%.120s: element %" PRIu64 " is not finite as float32", source->name,
                          done + i);
            }
        }
        done += n;
    }
    return WEFT_OK;
}

/* As weft_source_array: memory follows what really arrives. */
static weft_status read_growing(float **ret, uint64_t count, weft_npy_type type,
                                weft_source *source, const weft_alloc *a, weft_err *err)
{
    uint64_t have = 0;
    while (have < count) {
        uint64_t next = have ? have * 2 : 1U << 18;
        next = next < count ? next : count;
        float *grown = weft_array_resize(a, *ret, (size_t)next, sizeof *grown);
        if (!grown) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %" PRIu64 " values of %.80s", next,
                      source->name);
        }
        *ret = grown;
        WEFT_TRY(read_floats(grown + have, next - have, type, source, err));
        have = next;
    }
    return WEFT_OK;
}

static weft_status read_features(weft_data *d, weft_source *source, weft_err *err)
{
    weft_npy_header h = {0};
    WEFT_TRY(weft_npy_read_header(&h, source, err));
    WEFT_TRY(need_c_order(&h, source->name, err));
    WEFT_TRY(feature_shape(&d->shape, &h, source->name, err));
    d->n_features = d->shape.h * d->shape.w * d->shape.c;
    if (h.shape[0] == 0 || h.shape[0] > WEFT_MAX_EXAMPLES ||
        h.count > WEFT_MAX_DATA_BYTES / sizeof(float)) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%.120s announces %" PRIu64 " examples of %" PRIu32 " values",
                  source->name, h.shape[0], d->n_features);
    }
    d->n = (uint32_t)h.shape[0];
    if (h.type == WEFT_NPY_U8) {
        void *bytes = NULL;
        d->type = WEFT_FEATURE_U8;
        WEFT_TRY(weft_source_array(source, &bytes, (size_t)h.count, 1, "elements", d->alloc, err));
        d->u8 = bytes;
    } else {
        d->type = WEFT_FEATURE_F32;
        WEFT_TRY(read_growing(&d->f32, h.count, h.type, source, d->alloc, err));
    }
    return weft_source_at_end(source, err);
}

static weft_status to_class(weft_data *d, uint32_t i, double value, const char *name, weft_err *err)
{
    if (!(value >= 0.0 && value < (double)WEFT_MAX_CLASSES)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%.120s: label %" PRIu32 " is %.0f, allowed are 0 to %u",
                  name, i, value, WEFT_MAX_CLASSES - 1);
    }
    d->classes[i] = (uint32_t)value;
    d->n_classes = d->classes[i] + 1 > d->n_classes ? d->classes[i] + 1 : d->n_classes;
    return WEFT_OK;
}

static weft_status read_classes(weft_data *d, weft_npy_type type, weft_source *source,
                                weft_err *err)
{
    d->classes = weft_array(d->alloc, d->n, sizeof *d->classes);
    if (!d->classes) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %" PRIu32 " labels", d->n);
    }
    d->labels = WEFT_LABEL_CLASS;
    d->n_classes = 2; /* even where a small part holds one class */
    const size_t size = weft_npy_size(type);
    for (uint32_t i = 0; i < d->n; i++) {
        uint8_t element[8];
        WEFT_TRY(weft_source_exact(source, element, size, "labels", err));
        WEFT_TRY(to_class(d, i, weft_npy_value(element, type, 0), source->name, err));
    }
    return WEFT_OK;
}

static weft_status read_labels(weft_data *d, weft_source *source, weft_err *err)
{
    weft_npy_header h = {0};
    WEFT_TRY(weft_npy_read_header(&h, source, err));
    const bool column = h.rank == 2 && h.shape[1] == 1;
    if ((h.rank != 1 && !column) || h.shape[0] != d->n) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "%.120s holds %" PRIu64 " labels of rank %" PRIu32 ", the features %" PRIu32
                  " examples",
                  source->name, h.count, h.rank, d->n);
    }
    if (h.type == WEFT_NPY_F16 || h.type == WEFT_NPY_F32 || h.type == WEFT_NPY_F64) {
        d->labels = WEFT_LABEL_VALUE;
        WEFT_TRY(read_growing(&d->values, d->n, h.type, source, d->alloc, err));
    } else {
        WEFT_TRY(read_classes(d, h.type, source, err));
    }
    return weft_source_at_end(source, err);
}

weft_status weft_npy_read(weft_data **ret, weft_source *features, weft_source *labels,
                          const weft_alloc *a, weft_err *err)
{
    weft_data *d = weft_array(a, 1, sizeof *d);
    if (!d) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a data set");
    }
    d->alloc = a;
    weft_status status = read_features(d, features, err);
    if (status == WEFT_OK && labels) {
        status = read_labels(d, labels, err);
    }
    if (status != WEFT_OK) {
        weft_data_free(d);
        return status;
    }
    *ret = d;
    return WEFT_OK;
}

weft_status weft_npy_load(weft_data **ret, const char *dir, weft_split split, const weft_alloc *a,
                          weft_err *err)
{
    const bool test = split == WEFT_SPLIT_TEST;
    char features_path[PATH_MAX];
    char labels_path[PATH_MAX];
    WEFT_TRY(weft_path_join(features_path, sizeof features_path, dir,
                            test ? "test_features.npy" : "features.npy", err));
    WEFT_TRY(weft_path_join(labels_path, sizeof labels_path, dir,
                            test ? "test_labels.npy" : "labels.npy", err));
    weft_source features = {0};
    weft_source labels = {0};
    WEFT_TRY(weft_source_open(&features, features_path, err));
    weft_status status = weft_source_open(&labels, labels_path, err);
    if (status == WEFT_OK) {
        status = weft_npy_read(ret, &features, &labels, a, err);
    }
    weft_source_close(&features);
    weft_source_close(&labels);
    return status;
}
