/* SPDX-License-Identifier: Apache-2.0 */
/* IDX files: decode from any source, find the usual names, write. Any thread. */
#include "data/idx.h"

#include "base/file.h"
#include "base/limits.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { TYPE_UNSIGNED_BYTE = 0x08, MAX_RANK = 4 };

typedef struct idx_header {
    uint32_t rank;
    uint32_t size[MAX_RANK];
} idx_header;

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static weft_status read_header(idx_header *ret, weft_source *source, weft_err *err)
{
    uint8_t magic[4];
    WEFT_TRY(weft_source_exact(source, magic, sizeof magic, "IDX header", err));
    if (magic[0] != 0 || magic[1] != 0 || magic[3] == 0 || magic[3] > MAX_RANK) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "%.120s is not an IDX file of rank 1 to 4: it starts with %02x %02x %02x %02x",
                  source->name, magic[0], magic[1], magic[2], magic[3]);
    }
    if (magic[2] != TYPE_UNSIGNED_BYTE) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "%.120s holds elements of IDX type 0x%02x, only unsigned bytes (0x08) are read",
                  source->name, magic[2]);
    }
    ret->rank = magic[3];
    for (uint32_t i = 0; i < ret->rank; i++) {
        uint8_t size[4];
        WEFT_TRY(weft_source_exact(source, size, sizeof size, "IDX header", err));
        ret->size[i] = big_endian(size);
    }
    return WEFT_OK;
}

static weft_status read_labels(uint8_t **ret, weft_source *labels, uint32_t n, const char *images,
                               const weft_alloc *a, weft_err *err)
{
    idx_header head = {0};
    WEFT_TRY(read_header(&head, labels, err));
    if (head.rank != 1 || head.size[0] != n) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "%.80s holds %" PRIu32 " labels of rank %" PRIu32 ", %.80s %" PRIu32 " images",
                  labels->name, head.size[0], head.rank, images, n);
    }
    void *bytes = NULL;
    WEFT_TRY(weft_source_array(labels, &bytes, n, 1, "labels", a, err));
    *ret = bytes;
    return weft_source_at_end(labels, err);
}

static uint32_t count_classes(const uint8_t *labels, uint32_t n)
{
    uint32_t most = 9; /* digits, even where a small part lacks the nine */
    for (uint32_t i = 0; i < n; i++) {
        most = labels[i] > most ? labels[i] : most;
    }
    return most + 1;
}

/* Wraps pixels (moved on success) and labels (copied; NULL: none) into a data set. */
static weft_status assemble(weft_data **ret, const idx_header *head, uint8_t *pixels,
                            const uint8_t *labels, const weft_alloc *a, weft_err *err)
{
    const uint32_t n = head->size[0];
    weft_data *d = weft_array(a, 1, sizeof *d);
    uint32_t *classes = labels && d ? weft_array(a, n, sizeof *classes) : NULL;
    if (!d || (labels && !classes)) {
        weft_free(a, d);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %" PRIu32 " labels", n);
    }
    d->alloc = a;
    d->n = n;
    d->shape = (weft_shape){3, head->size[1], head->size[2], head->rank == 4 ? head->size[3] : 1};
    d->n_features = d->shape.h * d->shape.w * d->shape.c;
    d->type = WEFT_FEATURE_U8;
    d->u8 = pixels;
    if (labels) {
        d->labels = WEFT_LABEL_CLASS;
        d->n_classes = count_classes(labels, n);
        d->classes = classes;
        for (uint32_t i = 0; i < n; i++) {
            classes[i] = labels[i];
        }
    }
    *ret = d;
    return WEFT_OK;
}

static weft_status check_images(const idx_header *head, const char *name, weft_err *err)
{
    if (head->rank < 3) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%.120s has rank %" PRIu32 ", images have 3 or 4", name,
                  head->rank);
    }
    const uint64_t area = (uint64_t)head->size[1] * head->size[2];
    const uint64_t channels = head->rank == 4 ? head->size[3] : 1;
    const bool fits = area != 0 && channels != 0 && area <= WEFT_MAX_FEATURES &&
                      area * channels <= WEFT_MAX_FEATURES;
    if (head->size[0] == 0 || head->size[0] > WEFT_MAX_EXAMPLES || !fits) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "%.120s announces %" PRIu32 " images of %" PRIu32 " x %" PRIu32 " x %" PRIu64,
                  name, head->size[0], head->size[1], head->size[2], channels);
    }
    return WEFT_OK;
}

weft_status weft_idx_read(weft_data **ret, weft_source *images, weft_source *labels,
                          const weft_alloc *a, weft_err *err)
{
    idx_header head = {0};
    WEFT_TRY(read_header(&head, images, err));
    WEFT_TRY(check_images(&head, images->name, err));
    const size_t pixel_bytes =
        (size_t)head.size[1] * head.size[2] * (head.rank == 4 ? head.size[3] : 1);
    uint8_t *label_bytes = NULL;
    void *pixels = NULL;
    weft_status status = WEFT_OK;
    if (labels) { /* first: they are small and tell whether the pair belongs together */
        status = read_labels(&label_bytes, labels, head.size[0], images->name, a, err);
    }
    if (status == WEFT_OK) {
        status = weft_source_array(images, &pixels, head.size[0], pixel_bytes, "pixels", a, err);
    }
    if (status == WEFT_OK) {
        status = weft_source_at_end(images, err);
    }
    if (status == WEFT_OK) {
        status = assemble(ret, &head, pixels, label_bytes, a, err);
    }
    if (status != WEFT_OK) {
        weft_free(a, pixels);
    }
    weft_free(a, label_bytes);
    return status;
}

static const char *split_name(weft_split split)
{
    return split == WEFT_SPLIT_TEST ? "t10k" : "train";
}

/* Opens the first name that exists; path (of path_size) holds it afterwards. */
static weft_status open_one(weft_source *source, char *path, size_t path_size, const char *dir,
                            const char *prefix, const char *what, const char *form, weft_err *err)
{
    static const char separators[] = {'-', '.'};
    static const char *const endings[] = {"", ".gz"};
    for (size_t i = 0; i < 4; i++) {
        const int n = snprintf(path, path_size, "%s/%s-%s%c%s-ubyte%s", dir, prefix, what,
                               separators[i / 2], form, endings[i % 2]);
        if (n < 0 || (size_t)n >= path_size) {
            WEFT_FAIL(err, WEFT_E_LIMIT, "the path %.160s is too long", dir);
        }
        weft_err quiet = WEFT_ERR_INIT;
        const weft_status status = weft_source_open(source, path, &quiet);
        if (status == WEFT_OK) {
            return WEFT_OK;
        }
        if (status != WEFT_E_NOTFOUND) {
            WEFT_FAIL(err, status, "%s", quiet.msg);
        }
    }
    WEFT_FAIL(err, WEFT_E_NOTFOUND, "%.140s holds no %s-%s-%s-ubyte, nor the same with .gz", dir,
              prefix, what, form);
}

weft_status weft_idx_load(weft_data **ret, const char *dir, weft_split split, const weft_alloc *a,
                          weft_err *err)
{
    char images_path[PATH_MAX];
    char labels_path[PATH_MAX];
    weft_source images = {0};
    weft_source labels = {0};
    const char *prefix = split_name(split);
    WEFT_TRY(
        open_one(&images, images_path, sizeof images_path, dir, prefix, "images", "idx3", err));
    weft_status status =
        open_one(&labels, labels_path, sizeof labels_path, dir, prefix, "labels", "idx1", err);
    if (status == WEFT_OK) {
        status = weft_idx_read(ret, &images, &labels, a, err);
    }
    weft_source_close(&images);
    weft_source_close(&labels);
    return status;
}

static weft_status add_big_endian(weft_buf *b, uint32_t v, weft_err *err)
{
    const uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8),
                              (uint8_t)v};
    return weft_buf_add(b, bytes, sizeof bytes, err);
}

static weft_status print_images(weft_buf *b, const weft_data_view *view, weft_err *err)
{
    const weft_data *d = view->data;
    const uint8_t rank = d->shape.c == 1 ? 3 : 4;
    const uint8_t magic[4] = {0, 0, TYPE_UNSIGNED_BYTE, rank};
    WEFT_TRY(weft_buf_add(b, magic, sizeof magic, err));
    WEFT_TRY(add_big_endian(b, view->n, err));
    WEFT_TRY(add_big_endian(b, d->shape.h, err));
    WEFT_TRY(add_big_endian(b, d->shape.w, err));
    if (rank == 4) {
        WEFT_TRY(add_big_endian(b, d->shape.c, err));
    }
    for (uint32_t i = 0; i < view->n; i++) {
        const size_t at = weft_data_view_at(view, i);
        WEFT_TRY(weft_buf_add(b, d->u8 + at * d->n_features, d->n_features, err));
    }
    return WEFT_OK;
}

static weft_status print_labels(weft_buf *b, const weft_data_view *view, weft_err *err)
{
    const uint8_t magic[4] = {0, 0, TYPE_UNSIGNED_BYTE, 1};
    WEFT_TRY(weft_buf_add(b, magic, sizeof magic, err));
    WEFT_TRY(add_big_endian(b, view->n, err));
    for (uint32_t i = 0; i < view->n; i++) {
        const uint8_t label = (uint8_t)view->data->classes[weft_data_view_at(view, i)];
        WEFT_TRY(weft_buf_add(b, &label, 1, err));
    }
    return WEFT_OK;
}

weft_status weft_idx_save(const weft_data_view *view, const char *dir, weft_split split,
                          const weft_alloc *a, weft_err *err)
{
    const weft_data *d = view->data;
    if (d->type != WEFT_FEATURE_U8 || d->labels != WEFT_LABEL_CLASS || d->n_classes > 256 ||
        view->n == 0) {
        WEFT_FAIL(
            err, WEFT_E_INVALID,
            "an IDX file holds byte images with at most 256 classes: these data are not such");
    }
    char path[PATH_MAX];
    char name[64];
    weft_buf b;
    weft_buf_init(&b, a, 64 + (size_t)view->n * d->n_features);
    (void)snprintf(name, sizeof name, "%s-images-idx3-ubyte", split_name(split)); /* fits */
    weft_status status = weft_path_join(path, sizeof path, dir, name, err);
    if (status == WEFT_OK) {
        status = print_images(&b, view, err);
    }
    if (status == WEFT_OK) {
        status = weft_file_write(path, b.data, b.size, 0644, err);
    }
    weft_buf_clear(&b);
    if (status == WEFT_OK) {
        (void)snprintf(name, sizeof name, "%s-labels-idx1-ubyte", split_name(split)); /* fits */
        status = weft_path_join(path, sizeof path, dir, name, err);
    }
    if (status == WEFT_OK) {
        status = print_labels(&b, view, err);
    }
    if (status == WEFT_OK) {
        status = weft_file_write(path, b.data, b.size, 0644, err);
    }
    weft_buf_done(&b);
    return status;
}
