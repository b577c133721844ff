/* SPDX-License-Identifier: Apache-2.0 */
/* data: IDX, NPY, gzip, folders; the real sets where WEFT_DATA_DIR has them. */
#include "support/support.h"

#include "base/file.h"
#include "base/limits.h"
#include "data/digits.h"
#include "data/load.h"
#include "data/stats.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

static weft_source bytes(const void *data, size_t n, const char *name, weft_source *s)
{
    weft_source_init_bytes(s, data, n, name);
    return *s;
}

/* ---- IDX ------------------------------------------------------------------------------------- */

static const uint8_t IMAGES[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0,
                                 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255};
static const uint8_t LABELS[] = {0, 0, 8, 1, 0, 0, 0, 2, 7, 3};

static weft_status idx(weft_data **ret, const void *images, size_t n_images, const void *labels,
                       size_t n_labels, const weft_alloc *a, weft_err *err)
{
    weft_source x;
    weft_source y;
    (void)bytes(images, n_images, "x", &x);
    (void)bytes(labels, n_labels, "y", &y);
    return weft_idx_read(ret, &x, labels ? &y : NULL, a, err);
}

static void test_idx_read__reads_images_and_labels(void **state)
{
    (void)state;
    weft_data *d = NULL;
    assert_ok(idx(&d, IMAGES, sizeof IMAGES, LABELS, sizeof LABELS, &weft_alloc_std, &assert_err));
    assert_int_equal(d->n, 2);
    assert_true(d->shape.rank == 3 && d->shape.h == 1 && d->shape.w == 3 && d->shape.c == 1);
    assert_memory_equal(d->u8, IMAGES + 16, 6);
    assert_true(d->classes[0] == 7 && d->classes[1] == 3 && d->n_classes == 10);
    weft_data_free(d);
    assert_ok(idx(&d, IMAGES, sizeof IMAGES, NULL, 0, &weft_alloc_std, &assert_err));
    assert_int_equal(d->labels, WEFT_LABEL_NONE);
    weft_data_free(d);
    const uint8_t colour[] = {0, 0, 8, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 9, 8, 7};
    assert_ok(idx(&d, colour, sizeof colour, NULL, 0, &weft_alloc_std, &assert_err));
    assert_int_equal(d->shape.c, 3);
    weft_data_free(d);
}

static void test_idx_read__refuses_damage(void **state)
{
    (void)state;
    weft_data *d = NULL;
    weft_err err = WEFT_ERR_INIT;
    for (size_t n = 0; n < sizeof IMAGES; n++) {
        assert_int_equal(idx(&d, IMAGES, n, LABELS, sizeof LABELS, &weft_alloc_std, NULL),
                         WEFT_E_FORMAT);
    }
    for (size_t n = 0; n < sizeof LABELS; n++) {
        assert_int_equal(idx(&d, IMAGES, sizeof IMAGES, LABELS, n, &weft_alloc_std, NULL),
                         WEFT_E_FORMAT);
    }
    uint8_t more[sizeof IMAGES + 1] = {0};
    memcpy(more, IMAGES, sizeof IMAGES);
    assert_int_equal(idx(&d, more, sizeof more, NULL, 0, &weft_alloc_std, &err), WEFT_E_FORMAT);
    assert_string_equal(err.msg, "x goes on after its last element");
    weft_err_clear(&err);
    more[2] = 0x0d;
    assert_int_equal(idx(&d, more, sizeof more, NULL, 0, &weft_alloc_std, &err), WEFT_E_FORMAT);
    assert_string_equal(err.msg,
                        "x holds elements of IDX type 0x0d, only unsigned bytes (0x08) are read");
    weft_err_clear(&err);
    const uint8_t three[] = {0, 0, 8, 1, 0, 0, 0, 3, 7, 3, 1};
    assert_int_equal(idx(&d, IMAGES, sizeof IMAGES, three, sizeof three, &weft_alloc_std, &err),
                     WEFT_E_FORMAT);
    assert_string_equal(err.msg, "y holds 3 labels of rank 1, x 2 images");
    assert_null(d);
}

/* Headers that announce far more than there is cost no more than there is. */
static void test_idx_read__does_not_trust_sizes(void **state)
{
    (void)state;
    weft_budget budget;
    weft_budget_init(&budget, &weft_alloc_std, 4U << 20);
    weft_data *d = NULL;
    const uint8_t lie[] = {0, 0, 8, 3, 0, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 1, 0, 1, 2, 3};
    assert_int_equal(idx(&d, lie, sizeof lie, NULL, 0, &budget.alloc, NULL), WEFT_E_FORMAT);
    assert_int_equal(budget.used, 0);
    const uint8_t huge[] = {0, 0, 8, 3, 0x7f, 0xff, 0xff, 0xff, 0, 1, 0, 0, 0, 0, 1, 0, 1, 2, 3};
    assert_int_equal(idx(&d, huge, sizeof huge, NULL, 0, &budget.alloc, NULL), WEFT_E_LIMIT);
    const uint8_t zero[] = {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0};
    assert_int_equal(idx(&d, zero, sizeof zero, NULL, 0, &budget.alloc, NULL), WEFT_E_LIMIT);
}

static weft_status read_idx(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_data *d = NULL;
    const weft_status status = idx(&d, IMAGES, sizeof IMAGES, LABELS, sizeof LABELS, a, NULL);
    weft_data_free(d);
    return status;
}

static void test_idx_read__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(read_idx, NULL);
}

static void test_idx_save__loads_again_also_packed(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_data *d = NULL;
    assert_ok(weft_digits_new(&d, 20, 4, NULL, &weft_alloc_std, &assert_err));
    const uint32_t index[3] = {19, 4, 7};
    const weft_data_view view = {d, index, 3};
    const weft_data_view all = weft_data_all(d);
    assert_ok(weft_idx_save(&all, dir, WEFT_SPLIT_TRAIN, &weft_alloc_std, &assert_err));
    assert_ok(weft_idx_save(&view, dir, WEFT_SPLIT_TEST, &weft_alloc_std, &assert_err));
    weft_data *back = NULL;
    assert_ok(weft_data_load(&back, dir, WEFT_SPLIT_TRAIN, NULL, &weft_alloc_std, &assert_err));
    assert_int_equal(back->n, 20);
    assert_memory_equal(back->u8, d->u8, 20U * WEFT_DIGITS_PIXELS);
    assert_memory_equal(back->classes, d->classes, 20 * sizeof *d->classes);
    weft_data_free(back);
    /* pack one of the pair */
    char path[PATH_MAX];
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 1U << 20);
    assert_ok(weft_path_join(path, sizeof path, dir, "t10k-images-idx3-ubyte", &assert_err));
    assert_ok(weft_file_read(&b, path, &assert_err));
    assert_int_equal(remove(path), 0);
    assert_ok(weft_path_join(path, sizeof path, dir, "t10k-images.idx3-ubyte.gz", &assert_err));
    gzFile z = gzopen(path, "wb");
    assert_int_equal(gzwrite(z, b.data, (unsigned)b.size), b.size);
    assert_int_equal(gzclose(z), Z_OK);
    assert_ok(weft_data_load(&back, dir, WEFT_SPLIT_TEST, NULL, &weft_alloc_std, &assert_err));
    assert_int_equal(back->n, 3);
    assert_memory_equal(back->u8, d->u8 + 19U * WEFT_DIGITS_PIXELS, WEFT_DIGITS_PIXELS);
    assert_int_equal(back->classes[1], d->classes[4]);
    weft_data_free(back);
    /* a packed file that was cut */
    weft_buf_clear(&b);
    assert_ok(weft_file_read(&b, path, &assert_err));
    assert_ok(weft_file_write(path, b.data, b.size / 2, 0644, &assert_err));
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_data_load(&back, dir, WEFT_SPLIT_TEST, NULL, &weft_alloc_std, &err),
                     WEFT_E_FORMAT);
    assert_non_null(strstr(err.msg, "gzip"));
    weft_buf_done(&b);
    weft_data_free(d);
    test_dir_done(dir);
}

/* ---- NPY: bytes as numpy 2.4 wrote them -------------------------------------------------------
 */

static size_t npy(uint8_t *out, const char *descr, const char *shape, const void *data, size_t n)
{
    const int head = snprintf((char *)out, 120, "\x93NUMPY\x01");
    out[head] = 0;
    out[8] = 0x76;
    out[9] = 0;
    const int len =
        snprintf((char *)out + 10, 119, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                 descr, shape);
    memset(out + 10 + len, ' ', (size_t)(118 - len));
    out[127] = '\n';
    memcpy(out + 128, data, n);
    return 128 + n;
}

static weft_status npy_pair(weft_data **ret, const uint8_t *x, size_t nx, const uint8_t *y,
                            size_t ny, const weft_alloc *a, weft_err *err)
{
    weft_source features;
    weft_source labels;
    (void)bytes(x, nx, "x", &features);
    (void)bytes(y, ny, "y", &labels);
    return weft_npy_read(ret, &features, y ? &labels : NULL, a, err);
}

static void test_npy_read__reads_what_numpy_wrote(void **state)
{
    (void)state;
    uint8_t x[256];
    uint8_t y[256];
    const float f4[6] = {0, 1, 2, 3, 4, 5};
    const int64_t i8[2] = {1, 3};
    const size_t nx = npy(x, "<f4", "(2, 3)", f4, sizeof f4);
    size_t ny = npy(y, "<i8", "(2,)", i8, sizeof i8);
    weft_data *d = NULL;
    assert_ok(npy_pair(&d, x, nx, y, ny, &weft_alloc_std, &assert_err));
    assert_true(d->n == 2 && d->n_features == 3 && d->type == WEFT_FEATURE_F32);
    assert_memory_equal(d->f32, f4, sizeof f4);
    assert_true(d->classes[0] == 1 && d->classes[1] == 3 && d->n_classes == 4);
    weft_data_free(d);
    const double f8[2] = {-0.5, 1e3};
    ny = npy(y, "<f8", "(2, 1)", f8, sizeof f8);
    assert_ok(npy_pair(&d, x, nx, y, ny, &weft_alloc_std, &assert_err));
    assert_true(d->labels == WEFT_LABEL_VALUE && d->values[0] == -0.5F && d->values[1] == 1000.0F);
    weft_data_free(d);
    const uint8_t pixels[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    const uint8_t b1[2] = {1, 0};
    ny = npy(y, "|b1", "(2,)", b1, sizeof b1);
    assert_ok(npy_pair(&d, x, npy(x, "|u1", "(2, 2, 2)", pixels, 8), y, ny, &weft_alloc_std,
                       &assert_err));
    assert_true(d->type == WEFT_FEATURE_U8 && d->shape.rank == 3 && d->shape.h == 2);
    assert_true(d->classes[0] == 1 && d->classes[1] == 0);
    weft_data_free(d);
    const int32_t i4[2] = {-5, 7};
    assert_ok(npy_pair(&d, x, npy(x, "<i4", "(2,)", i4, sizeof i4), NULL, 0, &weft_alloc_std,
                       &assert_err));
    assert_true(d->n_features == 1 && d->f32[0] == -5.0F && d->f32[1] == 7.0F);
    weft_data_free(d);
}

static void test_npy_value__reads_halves(void **state)
{
    (void)state;
    /* numpy: float16 1.5, -0.25, 6e-8 (smallest), 65504, inf */
    const uint8_t h[] = {0x00, 0x3e, 0x00, 0xb4, 0x01, 0x00, 0xff, 0x7b, 0x00, 0x7c, 0x01, 0x7c};
    assert_true(weft_npy_value(h, WEFT_NPY_F16, 0) == 1.5);
    assert_true(weft_npy_value(h, WEFT_NPY_F16, 1) == -0.25);
    assert_true(weft_npy_value(h, WEFT_NPY_F16, 2) == 0x1p-24);
    assert_true(weft_npy_value(h, WEFT_NPY_F16, 3) == 65504.0);
    assert_true(isinf(weft_npy_value(h, WEFT_NPY_F16, 4)));
    assert_true(isnan(weft_npy_value(h, WEFT_NPY_F16, 5)));
    const uint8_t i1[] = {0xfe};
    assert_true(weft_npy_value(i1, WEFT_NPY_I8, 0) == -2.0);
}

static void test_npy_read__refuses_and_names(void **state)
{
    (void)state;
    static const struct {
        const char *descr, *shape;
        weft_status status;
        const char *message;
    } cases[] = {
        {">f4", "(2, 3)", WEFT_E_FORMAT,
         "x holds elements of type '>f4', read are f2, f4, f8, u1, i1, i4, i8 (little-endian) and "
         "booleans"},
        {"<f4", "(2, 3, ", WEFT_E_FORMAT, "x has a damaged NPY header"},
        {"<f4", "()", WEFT_E_FORMAT,
         "x has rank 0, features have 1 to 4: n, then c, or h, w, or h, w, c"},
        {"<f4", "(2, 0)", WEFT_E_LIMIT, "x announces examples of no or more than 16777216 values"},
        {"<f4", "(1, 16777217)", WEFT_E_LIMIT,
         "x announces examples of no or more than 16777216 values"},
        {"<f4", "(0, 3)", WEFT_E_LIMIT, "x announces 0 examples of 3 values"},
        {"<f4", "(4294967296, 3)", WEFT_E_LIMIT, "x announces 4294967296 examples of 3 values"},
        {"<f4", "(18446744073709551616, 3)", WEFT_E_FORMAT, "x has a damaged NPY header"},
        {"<f4", "(9223372036854775807, 3)", WEFT_E_FORMAT, "x has a damaged NPY header"},
        {"<f4", "(2, 4)", WEFT_E_FORMAT, "x ends after 24 of 32 bytes of its elements"},
        {"<f4", "(2, 2)", WEFT_E_FORMAT, "x goes on after its last element"},
    };
    const float f4[6] = {0, 1, 2, 3, 4, 5};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t x[256];
        const size_t n = npy(x, cases[i].descr, cases[i].shape, f4, sizeof f4);
        weft_data *d = NULL;
        weft_err err = WEFT_ERR_INIT;
        assert_int_equal(npy_pair(&d, x, n, NULL, 0, &weft_alloc_std, &err), cases[i].status);
        assert_null(d);
        assert_string_equal(err.msg, cases[i].message);
    }
    uint8_t x[256];
    uint8_t y[256];
    const float bad[2] = {1.0F, NAN};
    const int32_t negative[2] = {0, -1};
    weft_data *d = NULL;
    weft_err err = WEFT_ERR_INIT;
    const size_t columns = npy(x, "<f4", "(2, 3)", f4, sizeof f4);
    memcpy(memmem(x, columns, "False,", 6), "True ,", 6);
    assert_int_equal(npy_pair(&d, x, columns, NULL, 0, &weft_alloc_std, &err), WEFT_E_FORMAT);
    assert_string_equal(err.msg, "x is in Fortran order; save numpy.ascontiguousarray of it");
    size_t nx = npy(x, "<f4", "(2,)", bad, sizeof bad);
    assert_int_equal(npy_pair(&d, x, nx, NULL, 0, &weft_alloc_std, NULL), WEFT_E_INVALID);
    nx = npy(x, "<f4", "(2,)", f4, 8);
    size_t ny = npy(y, "<i4", "(2,)", negative, sizeof negative);
    assert_int_equal(npy_pair(&d, x, nx, y, ny, &weft_alloc_std, NULL), WEFT_E_INVALID);
    ny = npy(y, "<i4", "(1,)", negative, 4);
    assert_int_equal(npy_pair(&d, x, nx, y, ny, &weft_alloc_std, NULL), WEFT_E_FORMAT);
    for (size_t n = 0; n < nx; n++) {
        assert_int_equal(npy_pair(&d, x, n, NULL, 0, &weft_alloc_std, NULL), WEFT_E_FORMAT);
    }
}

static void test_npy_print_header__is_numpys(void **state)
{
    (void)state;
    const float f4[6] = {0, 1, 2, 3, 4, 5};
    uint8_t want[256];
    (void)npy(want, "<f4", "(2, 3)", f4, sizeof f4);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 4096);
    const weft_npy_header h = {WEFT_NPY_F32, 2, {2, 3}, 6, false};
    assert_ok(weft_npy_print_header(&b, &h, &assert_err));
    assert_int_equal(b.size, 128);
    assert_memory_equal(b.data, want, 128);
    const weft_npy_header one = {WEFT_NPY_I64, 1, {2}, 2, false};
    weft_buf_clear(&b);
    (void)npy(want, "<i8", "(2,)", f4, 0);
    assert_ok(weft_npy_print_header(&b, &one, &assert_err));
    assert_memory_equal(b.data, want, 128);
    weft_buf_done(&b);
}

static weft_status read_npy(const weft_alloc *a, void *arg)
{
    (void)arg;
    uint8_t x[256];
    uint8_t y[256];
    const float f4[2] = {0, 1};
    const size_t nx = npy(x, "<f4", "(2,)", f4, sizeof f4);
    const size_t ny = npy(y, "|u1", "(2,)", "\0\1", 2);
    weft_data *d = NULL;
    const weft_status status = npy_pair(&d, x, nx, y, ny, a, NULL);
    weft_data_free(d);
    return status;
}

static void test_npy_read__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(read_npy, NULL);
}

/* ---- folders --------------------------------------------------------------------------------- */

static void put(const char *dir, const char *name, const void *data, size_t n)
{
    char path[PATH_MAX];
    assert_ok(weft_path_join(path, sizeof path, dir, name, &assert_err));
    assert_ok(weft_file_write(path, data, n, 0644, &assert_err));
}

static void test_data_load__finds_what_is_there(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    weft_data *d = NULL;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_data_load(&d, dir, WEFT_SPLIT_TRAIN, NULL, &weft_alloc_std, &err),
                     WEFT_E_NOTFOUND);
    assert_non_null(strstr(err.msg, "wanted are IDX files, NPY files or train.csv or data.csv"));
    put(dir, "data.csv", "a,t\n1,0\n2,1\n", 12);
    weft_err_clear(&err);
    assert_int_equal(weft_data_load(&d, dir, WEFT_SPLIT_TRAIN, NULL, &weft_alloc_std, &err),
                     WEFT_E_INVALID);
    assert_non_null(strstr(err.msg, "a data schema must say"));
    static const char text[] = "column a numeric\ntarget t classes=2\n";
    weft_schema *schema = NULL;
    assert_ok(weft_schema_parse(&schema, text, sizeof text - 1, &weft_alloc_std, &assert_err));
    assert_ok(weft_data_load(&d, dir, WEFT_SPLIT_TRAIN, schema, &weft_alloc_std, &assert_err));
    assert_int_equal(d->n, 2);
    weft_data_free(d);
    char path[PATH_MAX];
    assert_ok(weft_data_find_csv(path, sizeof path, dir, WEFT_SPLIT_TRAIN, &assert_err));
    assert_ok(weft_data_load(&d, path, WEFT_SPLIT_TEST, schema, &weft_alloc_std, &assert_err));
    weft_data_free(d);
    float v[64];
    uint64_t n = 0;
    assert_ok(weft_stats_load(v, &n, schema, path, &weft_alloc_std, &assert_err));
    assert_int_equal(n, 2);
    assert_int_equal(weft_data_load(&d, dir, WEFT_SPLIT_TEST, schema, &weft_alloc_std, NULL),
                     WEFT_E_NOTFOUND);
    weft_schema_free(schema);
    uint8_t x[256];
    const float f4[2] = {0, 1};
    put(dir, "features.npy", x, npy(x, "<f4", "(2,)", f4, sizeof f4));
    put(dir, "labels.npy", x, npy(x, "|u1", "(2,)", "\0\1", 2));
    assert_ok(weft_data_load(&d, dir, WEFT_SPLIT_TRAIN, NULL, &weft_alloc_std, &assert_err));
    assert_int_equal(d->n_features, 1);
    weft_data_free(d);
    put(dir, "train-images-idx3-ubyte", IMAGES, sizeof IMAGES);
    put(dir, "train-labels-idx1-ubyte", LABELS, sizeof LABELS);
    assert_ok(weft_data_load(&d, dir, WEFT_SPLIT_TRAIN, NULL, &weft_alloc_std, &assert_err));
    assert_int_equal(d->type, WEFT_FEATURE_U8);
    weft_data_free(d);
    test_dir_done(dir);
}

/* ---- the real sets --------------------------------------------------------------------------- */

static const char *real(const char *set)
{
    static char path[PATH_MAX];
    const char *dir = test_data_dir();
    if (!dir || weft_path_join(path, sizeof path, dir, set, NULL) != WEFT_OK) {
        print_message("no real data: set WEFT_DATA_DIR\n");
        return NULL;
    }
    return path;
}

static void test_real__mnist_has_its_histogram(void **state)
{
    (void)state;
    const char *dir = real("mnist");
    if (!dir) {
        skip();
    }
    weft_data *d = NULL;
    assert_ok(weft_data_load(&d, dir, WEFT_SPLIT_TRAIN, NULL, &weft_alloc_std, &assert_err));
    static const uint32_t want[10] = {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949};
    uint32_t count[10] = {0};
    for (uint32_t i = 0; i < d->n; i++) {
        count[d->classes[i]]++;
    }
    assert_memory_equal(count, want, sizeof want);
    assert_true(d->n == 60000 && d->n_features == 784 && d->n_classes == 10);
    weft_data_free(d);
    assert_ok(weft_data_load(&d, dir, WEFT_SPLIT_TEST, NULL, &weft_alloc_std, &assert_err));
    assert_int_equal(d->n, 10000);
    weft_data_free(d);
}

static const char HEART[] =
    "csv header=0 missing=?\n"
    "column age numeric\ncolumn sex categorical values=0,1\n"
    "column cp categorical values=1,2,3,4 missing_flag=1\n"
    "column trestbps numeric missing_flag=1\ncolumn chol numeric zero_missing=1 missing_flag=1\n"
    "column fbs categorical values=0,1 missing_flag=1\n"
    "column restecg categorical values=0,1,2 missing_flag=1\n"
    "column thalach numeric missing_flag=1\ncolumn exang categorical values=0,1 missing_flag=1\n"
    "column oldpeak numeric missing_flag=1\n"
    "column slope categorical values=1,2,3 missing_flag=1\ncolumn ca numeric missing_flag=1\n"
    "column thal categorical values=3,6,7 missing_flag=1\n"
    "target num classes=2 positive_above=0\n";

static void test_real__heart_disease_has_its_rows(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        uint32_t rows, positives;
    } hospitals[] = {{"heart-disease/processed.cleveland.data", 303, 139},
                     {"heart-disease/processed.hungarian.data", 294, 106},
                     {"heart-disease/processed.switzerland.data", 123, 115},
                     {"heart-disease/processed.va.data", 200, 149}};
    weft_schema *schema = NULL;
    assert_ok(weft_schema_parse(&schema, HEART, sizeof HEART - 1, &weft_alloc_std, &assert_err));
    double age = 0.0;
    for (size_t i = 0; i < 4; i++) {
        const char *path = real(hospitals[i].file);
        if (!path) {
            weft_schema_free(schema);
            skip();
        }
        weft_data *d = NULL;
        assert_ok(weft_data_load(&d, path, WEFT_SPLIT_TRAIN, schema, &weft_alloc_std, &assert_err));
        assert_int_equal(d->n, hospitals[i].rows);
        uint32_t positives = 0;
        double ages = 0.0;
        for (uint32_t k = 0; k < d->n; k++) {
            positives += d->classes[k];
            ages += (double)d->f32[(size_t)k * d->n_features];
        }
        assert_int_equal(positives, hospitals[i].positives);
        weft_data_free(d);
        float v[512];
        uint64_t n = 0;
        assert_ok(weft_stats_load(v, &n, schema, path, &weft_alloc_std, &assert_err));
        weft_column_stats c;
        assert_ok(weft_stats_column(&c, schema, 0, v, weft_stats_length(schema), &assert_err));
        assert_true(fabs(c.mean - ages / (double)n) < 1e-4);
        assert_ok(weft_stats_column(&c, schema, 13, v, weft_stats_length(schema), &assert_err));
        assert_true(fabs((double)c.fractions[1] - (double)positives / (double)n) < 1e-6);
        age += ages;
    }
    assert_true(age / 920 > 53 && age / 920 < 54); /* heart-disease.names */
    weft_schema_free(schema);
}

static void test_real__adult_and_wdbc_are_read_whole(void **state)
{
    (void)state;
    static const char adult[] =
        "csv header=0 missing=? comment=\"|\"\n"
        "column age numeric\ncolumn workclass ignore\ncolumn fnlwgt numeric\n"
        "column education group\ncolumn education-num numeric\ncolumn marital ignore\n"
        "column occupation ignore\ncolumn relationship ignore\ncolumn race ignore\n"
        "column sex categorical values=Female,Male\ncolumn gain numeric\ncolumn loss numeric\n"
        "column hours numeric\ncolumn country ignore\n"
        "target income values=<=50K|<=50K.,>50K|>50K.\n";
    static const struct {
        const char *file;
        uint32_t rows, positives;
    } parts[] = {{"adult/adult.data.gz", 32561, 7841}, {"adult/adult.test.gz", 16281, 3846}};
    weft_schema *schema = NULL;
    assert_ok(weft_schema_parse(&schema, adult, sizeof adult - 1, &weft_alloc_std, &assert_err));
    for (size_t i = 0; i < 2; i++) {
        const char *path = real(parts[i].file);
        if (!path) {
            weft_schema_free(schema);
            skip();
        }
        weft_data *d = NULL;
        assert_ok(weft_csv_load(&d, schema, path, &weft_alloc_std, &assert_err));
        uint32_t positives = 0;
        for (uint32_t k = 0; k < d->n; k++) {
            positives += d->classes[k];
        }
        assert_int_equal(d->n, parts[i].rows);
        assert_int_equal(positives, parts[i].positives);
        assert_int_equal(d->n_groups, 16);
        weft_data_free(d);
    }
    weft_schema_free(schema);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 8192);
    assert_ok(
        weft_buf_addf(&b, &assert_err, "csv header=0\ncolumn id ignore\ntarget d values=B,M\n"));
    for (int i = 0; i < 30; i++) {
        assert_ok(weft_buf_addf(&b, &assert_err, "column x%d numeric\n", i));
    }
    assert_ok(
        weft_schema_parse(&schema, (const char *)b.data, b.size, &weft_alloc_std, &assert_err));
    weft_data *d = NULL;
    assert_ok(weft_csv_load(&d, schema, real("wdbc/wdbc.data"), &weft_alloc_std, &assert_err));
    uint32_t malignant = 0;
    for (uint32_t k = 0; k < d->n; k++) {
        malignant += d->classes[k];
    }
    assert_true(d->n == 569 && malignant == 212 && d->n_features == 30);
    assert_true(d->f32[0] == 17.99F && d->f32[29] == 0.1189F);
    weft_data_free(d);
    weft_schema_free(schema);
    weft_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idx_read__reads_images_and_labels),
        cmocka_unit_test(test_idx_read__refuses_damage),
        cmocka_unit_test(test_idx_read__does_not_trust_sizes),
        cmocka_unit_test(test_idx_read__every_allocation_may_fail),
        cmocka_unit_test(test_idx_save__loads_again_also_packed),
        cmocka_unit_test(test_npy_read__reads_what_numpy_wrote),
        cmocka_unit_test(test_npy_value__reads_halves),
        cmocka_unit_test(test_npy_read__refuses_and_names),
        cmocka_unit_test(test_npy_print_header__is_numpys),
        cmocka_unit_test(test_npy_read__every_allocation_may_fail),
        cmocka_unit_test(test_data_load__finds_what_is_there),
        cmocka_unit_test(test_real__mnist_has_its_histogram),
        cmocka_unit_test(test_real__heart_disease_has_its_rows),
        cmocka_unit_test(test_real__adult_and_wdbc_are_read_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
