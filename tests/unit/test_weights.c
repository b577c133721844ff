/* SPDX-License-Identifier: Apache-2.0 */
/* weights: PyTorch's conventions, safetensors, NPZ; files made by the reference packages. */
#include "support/support.h"

#include "base/file.h"
#include "weights/weights.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct model {
    weft_spec *spec;
    weft_layout *layout;
    float *weights;
} model;

static const char CNN[] = "input 4x3x2\nconv2d filters=3 kernel=3x2 padding=same\nrelu\nflatten\n"
                          "dense units=5\nrelu\ndense units=2\nloss softmax_cross_entropy\n";
static const char DENSE[] = "input 3\ndense units=2\nloss mse\n";

static model model_of(const char *text)
{
    model m = {0};
    assert_ok(weft_spec_parse(&m.spec, text, strlen(text), &weft_alloc_std, &assert_err));
    assert_ok(weft_layout_new(&m.layout, m.spec, &weft_alloc_std, &assert_err));
    m.weights = weft_array(&weft_alloc_std, (size_t)m.layout->n_params, sizeof *m.weights);
    for (uint64_t i = 0; i < m.layout->n_params; i++) {
        m.weights[i] = (float)i + 0.5F;
    }
    return m;
}

static void model_done(model *m)
{
    weft_spec_free(m->spec);
    weft_layout_free(m->layout);
    weft_free(&weft_alloc_std, m->weights);
}

static weft_status to_buf(void *self, const void *data, size_t n, weft_err *err)
{
    return weft_buf_add(self, data, n, err);
}

static weft_status write_model(weft_buf *out, const model *m, weft_weights_format format,
                               const weft_weights_meta *meta, const weft_alloc *a, weft_err *err)
{
    if (format == WEFT_WEIGHTS_NPZ) {
        return weft_npz_write(out, m->spec, m->layout, m->weights, meta, a, err);
    }
    return weft_safetensors_write((weft_weights_sink){to_buf, out}, m->spec, m->layout, m->weights,
                                  meta, a, err);
}

static const weft_tensor_info *tensor(const model *m, const char *name)
{
    for (uint32_t i = 0; i < m->layout->n_tensors; i++) {
        if (strcmp(m->layout->tensors[i].name, name) == 0) {
            return &m->layout->tensors[i];
        }
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

static float float_at(const uint8_t *data, size_t i)
{
    float v = 0.0F;
    memcpy(&v, data + i * sizeof v, sizeof v);
    return v;
}

static weft_buf exported(const model *m, weft_weights_format format)
{
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 1U << 20);
    assert_ok(write_model(&b, m, format, NULL, &weft_alloc_std, &assert_err));
    return b;
}

/* The formats' own words: conv[o][c][y][x], dense[o][i], image inputs by c, y, x. */
static void test_safetensors_write__follows_pytorch(void **state)
{
    (void)state;
    model m = model_of(CNN);
    weft_buf b = exported(&m, WEFT_WEIGHTS_SAFETENSORS);
    const uint8_t *data = b.data + b.size - m.layout->n_params * 4;
    const weft_tensor_info *conv = tensor(&m, "conv2d1.weight");
    for (size_t o = 0; o < 3; o++) {
        for (size_t c = 0; c < 2; c++) {
            for (size_t y = 0; y < 3; y++) {
                for (size_t x = 0; x < 2; x++) {
                    const float want = m.weights[conv->offset + ((y * 2 + x) * 2 + c) * 3 + o];
                    assert_true(float_at(data, conv->offset + ((o * 2 + c) * 3 + y) * 2 + x) ==
                                want);
                }
            }
        }
    }
    const weft_tensor_info *first = tensor(&m, "dense1.weight"); /* behind 4 x 3 x 3 */
    for (size_t o = 0; o < 5; o++) {
        for (size_t c = 0; c < 3; c++) {
            for (size_t y = 0; y < 4; y++) {
                for (size_t x = 0; x < 3; x++) {
                    const float want = m.weights[first->offset + ((y * 3 + x) * 3 + c) * 5 + o];
                    assert_true(float_at(data, first->offset + o * 36 + (c * 4 + y) * 3 + x) ==
                                want);
                }
            }
        }
    }
    const weft_tensor_info *second = tensor(&m, "dense2.weight");
    for (size_t o = 0; o < 2; o++) {
        for (size_t i = 0; i < 5; i++) {
            assert_true(float_at(data, second->offset + o * 5 + i) ==
                        m.weights[second->offset + i * 2 + o]);
        }
    }
    weft_buf_done(&b);
    model_done(&m);
}

static void test_safetensors_write__header_is_as_documented(void **state)
{
    (void)state;
    model m = model_of(DENSE);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 4096);
    const weft_weights_meta meta = {"digits \"1\"", "00ff", 7};
    assert_ok(write_model(&b, &m, WEFT_WEIGHTS_SAFETENSORS, &meta, &weft_alloc_std, &assert_err));
    static const char want[] =
        "{\"__metadata__\":{\"weft.digest\":\"00ff\",\"weft.job\":\"digits \\\"1\\\"\","
        "\"weft.round\":\"7\",\"weft.spec\":\"input 3\\ndense units=2\\nloss mse\\n\"},"
        "\"dense1.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"dense1.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]}}";
    weft_buf text;
    weft_buf_init(&text, &weft_alloc_std, WEFT_MAX_SPEC_BYTES);
    weft_weights_meta back;
    assert_ok(weft_weights_read_meta(&back, &text, WEFT_WEIGHTS_SAFETENSORS, b.data, b.size,
                                     &assert_err));
    assert_string_equal(back.job, meta.job);
    assert_string_equal(back.digest, meta.digest);
    assert_int_equal(back.round, 7);
    assert_string_equal(weft_buf_text(&text), "input 3\ndense units=2\nloss mse\n");
    assert_memory_equal(b.data + 8, want, sizeof want - 1);
    assert_int_equal((b.size - 32) % 8, 0);
    weft_buf_done(&text);
    weft_buf_done(&b);
    model_done(&m);
}

static void round_trip(weft_weights_format format)
{
    static const char *const specs[] = {
        CNN, DENSE, "tensor encoder.weight 3x4x5\ntensor scale 1\n",
        "input 5x5x1\nconv2d filters=2 kernel=2 bias=0\nflatten\ndropout rate=0.5\ndense units=3\n"
        "loss softmax_cross_entropy\n"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        model m = model_of(specs[i]);
        weft_buf b = exported(&m, format);
        weft_buf again = exported(&m, format);
        assert_int_equal(b.size, again.size); /* the same model, the same bytes */
        assert_memory_equal(b.data, again.data, b.size);
        float *back = test_calloc((size_t)m.layout->n_params, sizeof *back);
        assert_ok(weft_weights_read(back, m.layout, format, b.data, b.size, &weft_alloc_std,
                                    &assert_err));
        assert_memory_equal(back, m.weights, m.layout->n_params * sizeof *back);
        test_free(back);
        weft_buf_done(&again);
        weft_buf_done(&b);
        model_done(&m);
    }
}

static void test_weights_read__inverts_safetensors(void **state)
{
    (void)state;
    round_trip(WEFT_WEIGHTS_SAFETENSORS);
}

static void test_weights_read__inverts_npz(void **state)
{
    (void)state;
    round_trip(WEFT_WEIGHTS_NPZ);
}

/* ---- files of the reference packages ----------------------------------------------------------
 */

/* safetensors 0.8.0: dense1.weight = arange(6) as F32 [2][3], dense1.bias = [.5, -1] as F16 */
static const char REFERENCE[] =
    "\xa0\0\0\0\0\0\0\0{\"__metadata__\":{\"a\":\"b\"},\"dense1.weight\":{\"dtype\":\"F32\","
    "\"shape\":[2,3],\"data_offsets\":[0,24]},\"dense1.bias\":{\"dtype\":\"F16\",\"shape\":[2],"
    "\"data_offsets\":[24,28]}} \0\0\0\0\0\0\x80?\0\0\0@\0\0@@\0\0\x80@\0\0\xa0@\0\x38\0\xbc";

/* numpy 2.4 savez_compressed: the same values, the weight as f8 in Fortran order, the bias as f2 */
static const uint8_t NUMPY[] = {
    0x50, 0x4b, 0x03, 0x04, 0x2d, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x00, 0xe4, 0xc8,
    0x06, 0x60, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x11, 0x00, 0x14, 0x00, 0x64, 0x65,
    0x6e, 0x73, 0x65, 0x31, 0x2e, 0x77, 0x65, 0x69, 0x67, 0x68, 0x74, 0x2e, 0x6e, 0x70, 0x79, 0x01,
    0x00, 0x10, 0x00, 0xb0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x57, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x9b, 0xec, 0x17, 0xea, 0x1b, 0x10, 0xc9, 0xc8, 0x50, 0xc6, 0x50, 0xad, 0x9e,
    0x92, 0x5a, 0x9c, 0x5c, 0xa4, 0x6e, 0xa5, 0xa0, 0x6e, 0x93, 0x66, 0xa1, 0xae, 0xa3, 0xa0, 0x9e,
    0x96, 0x5f, 0x54, 0x52, 0x94, 0x98, 0x17, 0x9f, 0x5f, 0x94, 0x92, 0x0a, 0x12, 0x0f, 0x29, 0x2a,
    0x4d, 0x05, 0x0a, 0x17, 0x67, 0x24, 0x16, 0xa4, 0x02, 0xb9, 0x1a, 0x46, 0x3a, 0x0a, 0xc6, 0x9a,
    0x3a, 0x0a, 0xb5, 0x0a, 0xe4, 0x03, 0x2e, 0x06, 0x14, 0xc0, 0xe1, 0x00, 0xa1, 0x3f, 0xd8, 0x43,
    0x68, 0x01, 0x28, 0x9f, 0x01, 0x4a, 0x8b, 0x38, 0x00, 0x00, 0x50, 0x4b, 0x03, 0x04, 0x2d, 0x00,
    0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x00, 0x16, 0x80, 0xbc, 0x51, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x14, 0x00, 0x64, 0x65, 0x6e, 0x73, 0x65, 0x31, 0x2e, 0x62,
    0x69, 0x61, 0x73, 0x2e, 0x6e, 0x70, 0x79, 0x01, 0x00, 0x10, 0x00, 0x84, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x48, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9b, 0xec, 0x17, 0xea, 0x1b,
    0x10, 0xc9, 0xc8, 0x50, 0xc6, 0x50, 0xad, 0x9e, 0x92, 0x5a, 0x9c, 0x5c, 0xa4, 0x6e, 0xa5, 0xa0,
    0x6e, 0x93, 0x66, 0xa4, 0xae, 0xa3, 0xa0, 0x9e, 0x96, 0x5f, 0x54, 0x52, 0x94, 0x98, 0x17, 0x9f,
    0x5f, 0x94, 0x92, 0x0a, 0x12, 0x77, 0x4b, 0xcc, 0x29, 0x4e, 0x05, 0x8a, 0x17, 0x67, 0x24, 0x16,
    0xa4, 0x02, 0xf9, 0x1a, 0x46, 0x3a, 0x9a, 0x3a, 0x0a, 0xb5, 0x0a, 0x14, 0x00, 0x2e, 0x06, 0x0b,
    0x86, 0x3d, 0x00, 0x50, 0x4b, 0x01, 0x02, 0x2d, 0x03, 0x2d, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00,
    0x00, 0x21, 0x00, 0xe4, 0xc8, 0x06, 0x60, 0x57, 0x00, 0x00, 0x00, 0xb0, 0x00, 0x00, 0x00, 0x11,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x64, 0x65, 0x6e, 0x73, 0x65, 0x31, 0x2e, 0x77, 0x65, 0x69, 0x67, 0x68, 0x74, 0x2e, 0x6e,
    0x70, 0x79, 0x50, 0x4b, 0x01, 0x02, 0x2d, 0x03, 0x2d, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00,
    0x21, 0x00, 0x16, 0x80, 0xbc, 0x51, 0x48, 0x00, 0x00, 0x00, 0x84, 0x00, 0x00, 0x00, 0x0f, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x01, 0x9a, 0x00, 0x00, 0x00,
    0x64, 0x65, 0x6e, 0x73, 0x65, 0x31, 0x2e, 0x62, 0x69, 0x61, 0x73, 0x2e, 0x6e, 0x70, 0x79, 0x50,
    0x4b, 0x05, 0x06, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x02, 0x00, 0x7c, 0x00, 0x00, 0x00, 0x23,
    0x01, 0x00, 0x00, 0x00, 0x00,
};

static void assert_reference(const float *w)
{
    const float want[8] = {0, 3, 1, 4, 2, 5, 0.5F, -1}; /* [in][out], bias */
    assert_memory_equal(w, want, sizeof want);
}

static void test_weights_read__reads_the_reference_packages(void **state)
{
    (void)state;
    model m = model_of(DENSE);
    float w[8] = {0};
    assert_ok(weft_weights_read(w, m.layout, WEFT_WEIGHTS_SAFETENSORS, (const uint8_t *)REFERENCE,
                                sizeof REFERENCE - 1, &weft_alloc_std, &assert_err));
    assert_reference(w);
    memset(w, 0, sizeof w);
    assert_ok(weft_weights_read(w, m.layout, WEFT_WEIGHTS_NPZ, NUMPY, sizeof NUMPY, &weft_alloc_std,
                                &assert_err));
    assert_reference(w);
    weft_weights_meta meta = {"x", "y", 3};
    weft_buf spec;
    weft_buf_init(&spec, &weft_alloc_std, 1000);
    assert_ok(
        weft_weights_read_meta(&meta, &spec, WEFT_WEIGHTS_NPZ, NUMPY, sizeof NUMPY, &assert_err));
    assert_true(meta.job[0] == '\0' && meta.digest[0] == '\0' && meta.round == 0 && spec.size == 0);
    weft_buf_done(&spec);
    model_done(&m);
}

static void test_weights_read__refuses_every_truncation(void **state)
{
    (void)state;
    model m = model_of(DENSE);
    float w[8];
    for (size_t n = 0; n < sizeof REFERENCE - 1; n++) {
        assert_int_not_equal(weft_weights_read(w, m.layout, WEFT_WEIGHTS_SAFETENSORS,
                                               (const uint8_t *)REFERENCE, n, &weft_alloc_std,
                                               NULL),
                             WEFT_OK);
    }
    for (size_t n = 0; n < sizeof NUMPY; n++) {
        assert_int_not_equal(
            weft_weights_read(w, m.layout, WEFT_WEIGHTS_NPZ, NUMPY, n, &weft_alloc_std, NULL),
            WEFT_OK);
    }
    model_done(&m);
}

/* A safetensors file of a header and n zero bytes. */
static weft_status read_header(const char *header, size_t n, weft_err *err)
{
    model m = model_of(DENSE);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 1U << 20);
    const uint8_t zeros[64] = {0};
    assert_ok(weft_buf_add_u64(&b, strlen(header), &assert_err));
    assert_ok(weft_buf_add(&b, header, strlen(header), &assert_err));
    assert_ok(weft_buf_add(&b, zeros, n, &assert_err));
    float w[8];
    const weft_status status = weft_weights_read(w, m.layout, WEFT_WEIGHTS_SAFETENSORS, b.data,
                                                 b.size, &weft_alloc_std, err);
    weft_buf_done(&b);
    model_done(&m);
    return status;
}

#define BIAS "\"dense1.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]}"
#define WEIGHT(type, shape, at)                                                                    \
    "\"dense1.weight\":{\"dtype\":" type ",\"shape\":" shape ",\"data_offsets\":" at "}"

static void test_safetensors_read__refuses_and_names(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t n;
        const char *message; /* NULL: good */
    } cases[] = {
        {"{" WEIGHT("\"F32\"", "[2,3]", "[0,24]") "," BIAS "}", 32, NULL},
        {"{" WEIGHT("\"F32\"", "[2,3]", "[0,24]") "," BIAS "}", 33,
         "the tensors have 32 bytes, the file 33"},
        {"{" WEIGHT("\"F32\"", "[2,3]", "[0,24]") "," BIAS "}", 31,
         "the tensor 'dense1.bias' does not lie where the header says"},
        {"{" BIAS "}", 32, "the tensor 'dense1.weight' of the model is not in the file"},
        {"{" WEIGHT("\"F32\"", "[2,3]", "[0,24]") "," BIAS ",\"x\":{}}", 32,
         "the tensor 'x' of the file is not in the model"},
        {"{" WEIGHT("\"F32\"", "[3,2]", "[0,24]") "," BIAS "}", 32,
         "the tensor 'dense1.weight' has another shape than the model's"},
        {"{" WEIGHT("\"F32\"", "[6]", "[0,24]") "," BIAS "}", 32,
         "the tensor 'dense1.weight' has another shape than the model's"},
        {"{" WEIGHT("\"F32\"", "[2,3.0]", "[0,24]") "," BIAS "}", 32,
         "the tensor 'dense1.weight' has another shape than the model's"},
        {"{" WEIGHT("\"I32\"", "[2,3]", "[0,24]") "," BIAS "}", 32,
         "the tensor 'dense1.weight' is of type I32, read are F32, F64, F16, BF16"},
        {"{" WEIGHT("5", "[2,3]", "[0,24]") "," BIAS "}", 32,
         "the tensor 'dense1.weight' is of type none, read are F32, F64, F16, BF16"},
        {"{" WEIGHT("\"F32\"", "[2,3]", "[0,23]") "," BIAS "}", 32,
         "the tensor 'dense1.weight' does not lie where the header says"},
        {"{" WEIGHT("\"F32\"", "[2,3]", "[24,0]") "," BIAS "}", 32,
         "the tensor 'dense1.weight' does not lie where the header says"},
        {"{" WEIGHT("\"F32\"", "[2,3]", "[-24,0]") "," BIAS "}", 32,
         "the tensor 'dense1.weight' does not lie where the header says"},
        {"{" WEIGHT("\"F32\"", "[2,3]", "[9223372036854775784,9223372036854775807]") "," BIAS "}",
         32, "the tensor 'dense1.weight' does not lie where the header says"},
        {"{" WEIGHT("\"F32\"", "[2,3]", "7") "," BIAS "}", 32,
         "the tensor 'dense1.weight' does not lie where the header says"},
        {"[]", 32, "the header is not a JSON object"},
        {"{", 32, "the header is not a JSON object"},
        {"{\"x\":1,\"x\":1}", 32, "the header is not a JSON object"},
        {"{}", 0, "the model has 8 values, the file only 10 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weft_err err = WEFT_ERR_INIT;
        const weft_status status = read_header(cases[i].header, cases[i].n, &err);
        assert_string_equal(err.msg, cases[i].message ? cases[i].message : "");
        assert_int_equal(status == WEFT_OK, cases[i].message == NULL);
    }
}

static void test_weights_read__refuses_what_is_not_finite(void **state)
{
    (void)state;
    for (int f = WEFT_WEIGHTS_SAFETENSORS; f <= WEFT_WEIGHTS_NPZ; f++) {
        model m = model_of(DENSE);
        m.weights[7] = INFINITY;
        weft_buf b = exported(&m, (weft_weights_format)f);
        float w[8];
        weft_err err = WEFT_ERR_INIT;
        assert_int_equal(weft_weights_read(w, m.layout, (weft_weights_format)f, b.data, b.size,
                                           &weft_alloc_std, &err),
                         WEFT_E_INVALID);
        assert_string_equal(err.msg, "value 1 of the tensor 'dense1.bias' is not finite");
        weft_buf_done(&b);
        model_done(&m);
    }
}

static void test_npz_read__refuses_and_names(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        const char *message;
    } cases[] = {
        {"input 3\ndense units=3\nloss mse\n",
         "the tensor 'dense1.weight' has another shape than the model's"},
        {"input 3\ndense units=2 bias=0\nloss mse\n",
         "the tensor 'dense1.bias.npy' of the file is not in the model"},
        {"input 3\ndense units=2\ndense units=2\nloss mse\n",
         "the tensor 'dense2.weight' of the model is not in the file"},
        {"input 3000000\ndense units=2\nloss mse\n",
         "the model has 6000002 values, the file only 437 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        model m = model_of(cases[i].spec);
        weft_err err = WEFT_ERR_INIT;
        assert_int_equal(weft_weights_read(m.weights, m.layout, WEFT_WEIGHTS_NPZ, NUMPY,
                                           sizeof NUMPY, &weft_alloc_std, &err),
                         WEFT_E_INVALID);
        assert_string_equal(err.msg, cases[i].message);
        model_done(&m);
    }
    /* one flipped bit in the packed values: the CRC tells */
    uint8_t bad[sizeof NUMPY];
    memcpy(bad, NUMPY, sizeof bad);
    const uint8_t *name = memmem(bad, sizeof bad, "dense1.weight.npy", 17);
    bad[name - bad + 17 + 20 + 30] ^= 4;
    model m = model_of(DENSE);
    float w[8];
    assert_int_equal(
        weft_weights_read(w, m.layout, WEFT_WEIGHTS_NPZ, bad, sizeof bad, &weft_alloc_std, NULL),
        WEFT_E_FORMAT);
    model_done(&m);
}

/* ---- files ------------------------------------------------------------------------------------
 */

/* Nothing as large as the model comes from the first allocator: it may have a third of it. */
static void test_weights_load_apart__takes_little_of_the_heap(void **state)
{
    (void)state;
    static const char text[] = "input 512\ndense units=256\nloss mse\n"; /* 513 KB */
    char *dir = test_dir_new();
    static const char *const names[] = {"m.safetensors", "m.npz"};
    model m = {0};
    assert_ok(weft_spec_parse(&m.spec, text, strlen(text), &weft_alloc_std, &assert_err));
    assert_ok(weft_layout_new(&m.layout, m.spec, &weft_alloc_std, &assert_err));
    m.weights = weft_array(&weft_alloc_std, (size_t)m.layout->n_params, sizeof *m.weights);
    assert_non_null(m.weights);
    for (size_t i = 0; i < m.layout->n_params; i++) {
        m.weights[i] = (float)(i % 1021);
    }
    const size_t size = (size_t)m.layout->n_params * sizeof *m.weights;
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_MAX];
        weft_budget heap;
        weft_budget large; /* the weights, and the tensor in the file's order */
        model back = {0};
        weft_err err = WEFT_ERR_INIT;
        assert_ok(weft_path_join(path, sizeof path, dir, names[i], &assert_err));
        assert_ok(weft_weights_save(path, m.spec, m.layout, m.weights, NULL, &weft_alloc_std,
                                    &assert_err));
        weft_budget_init(&heap, &weft_alloc_std, size / 3);
        weft_budget_init(&large, &weft_alloc_std, 2 * size + 64);
        assert_int_equal(weft_weights_load_apart(path, NULL, &back.spec, &back.layout,
                                                 &back.weights, NULL, &heap.alloc, &large.alloc,
                                                 &err),
                         WEFT_OK);
        assert_memory_equal(back.weights, m.weights, size);
        assert_in_range(large.used, size, size + 64); /* what is left are the weights */
        weft_free(&large.alloc, back.weights);
        back.weights = NULL;
        weft_layout_free(back.layout);
        weft_spec_free(back.spec);
        assert_int_equal(heap.used + large.used, 0);
    }
    model_done(&m);
    test_dir_done(dir);
}

static void test_weights_load__brings_the_model_back(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    static const char *const names[] = {"m.safetensors", "m.npz"};
    model m = model_of(CNN);
    const weft_weights_meta meta = {"job", "ab", 12};
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_MAX];
        assert_ok(weft_path_join(path, sizeof path, dir, names[i], &assert_err));
        for (int twice = 0; twice < 2; twice++) { /* replaces */
            assert_ok(weft_weights_save(path, m.spec, m.layout, m.weights, &meta, &weft_alloc_std,
                                        &assert_err));
        }
        model back = {0};
        weft_weights_meta told;
        assert_ok(weft_weights_load(path, NULL, &back.spec, &back.layout, &back.weights, &told,
                                    &weft_alloc_std, &assert_err));
        assert_memory_equal(back.weights, m.weights, m.layout->n_params * sizeof *m.weights);
        assert_int_equal(back.spec->n_layers, m.spec->n_layers);
        assert_true(told.round == 12 && strcmp(told.job, "job") == 0);
        model_done(&back);
    }
    char path[PATH_MAX];
    assert_ok(weft_path_join(path, sizeof path, dir, "ref.safetensors", &assert_err));
    assert_ok(weft_file_write(path, REFERENCE, sizeof REFERENCE - 1, 0600, &assert_err));
    model back = {0};
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_weights_load(path, NULL, &back.spec, &back.layout, &back.weights, NULL,
                                       &weft_alloc_std, &err),
                     WEFT_E_INVALID);
    assert_non_null(strstr(err.msg, "give its spec"));
    model dense = model_of(DENSE);
    assert_ok(weft_weights_load(path, dense.spec, &back.spec, &back.layout, &back.weights, NULL,
                                &weft_alloc_std, &assert_err));
    assert_reference(back.weights);
    model_done(&back);
    model_done(&dense);
    assert_ok(weft_file_write(path, "", 0, 0600, &assert_err));
    assert_int_equal(weft_weights_load(path, m.spec, &back.spec, &back.layout, &back.weights, NULL,
                                       &weft_alloc_std, NULL),
                     WEFT_E_FORMAT);
    assert_int_equal(remove(path), 0);
    assert_int_equal(weft_weights_load(path, m.spec, &back.spec, &back.layout, &back.weights, NULL,
                                       &weft_alloc_std, NULL),
                     WEFT_E_NOTFOUND);
    assert_int_equal(
        weft_weights_save("m.pt", m.spec, m.layout, m.weights, NULL, &weft_alloc_std, NULL),
        WEFT_E_INVALID);
    model_done(&m);
    test_dir_done(dir);
}

static int count_files(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        n += e->d_name[0] != '.';
    }
    (void)closedir(d); /* only read */
    return n;
}

/* A file holds what writing to memory gives; a failed save leaves nothing behind. */
static void test_weights_save__is_what_write_gives(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    static const char *const names[] = {"m.safetensors", "m.npz"};
    static const char PLAIN[] = "tensor a 3x5\ntensor b 7\n";
    const weft_weights_meta meta = {"job", "ab", 12};
    const char *const specs[] = {CNN, PLAIN};
    for (size_t i = 0; i < 4; i++) {
        model m = model_of(specs[i / 2]);
        char path[PATH_MAX];
        weft_buf want;
        weft_buf got;
        weft_buf_init(&want, &weft_alloc_std, 1U << 20);
        weft_buf_init(&got, &weft_alloc_std, 1U << 20);
        assert_ok(weft_path_join(path, sizeof path, dir, names[i % 2], &assert_err));
        assert_ok(weft_weights_save(path, m.spec, m.layout, m.weights, &meta, &weft_alloc_std,
                                    &assert_err));
        assert_ok(write_model(&want, &m, i % 2 ? WEFT_WEIGHTS_NPZ : WEFT_WEIGHTS_SAFETENSORS, &meta,
                              &weft_alloc_std, &assert_err));
        assert_ok(weft_file_read(&got, path, &assert_err));
        assert_int_equal(got.size, want.size);
        assert_memory_equal(got.data, want.data, want.size);
        assert_int_equal(remove(path), 0);
        test_alloc none;
        test_alloc_init(&none, 1, 1);
        assert_int_equal(
            weft_weights_save(path, m.spec, m.layout, m.weights, &meta, &none.alloc, NULL),
            WEFT_E_NOMEM);
        assert_int_equal(count_files(dir), 0);
        assert_ok(weft_path_join(path, sizeof path, "/nowhere", names[i % 2], &assert_err));
        assert_int_equal(
            weft_weights_save(path, m.spec, m.layout, m.weights, &meta, &weft_alloc_std, NULL),
            WEFT_E_IO);
        weft_buf_done(&want);
        weft_buf_done(&got);
        model_done(&m);
    }
    test_dir_done(dir);
}

static weft_status try_save(const weft_alloc *a, void *arg)
{
    model m = model_of(CNN);
    char path[PATH_MAX];
    assert_ok(weft_path_join(path, sizeof path, arg, "m.npz", &assert_err));
    const weft_status status = weft_weights_save(path, m.spec, m.layout, m.weights, NULL, a, NULL);
    assert_int_equal(count_files(arg), status == WEFT_OK);
    assert_int_equal(remove(path) == 0, status == WEFT_OK);
    model_done(&m);
    return status;
}

static void test_weights_save__every_allocation_may_fail(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    test_every_allocation_may_fail(try_save, dir);
    test_dir_done(dir);
}

/* Our allocations; jansson's and libzip's are their own. */
static weft_status write_and_read(const weft_alloc *a, void *arg)
{
    const model *m = arg;
    weft_status status = WEFT_OK;
    for (int f = WEFT_WEIGHTS_SAFETENSORS; status == WEFT_OK && f <= WEFT_WEIGHTS_NPZ; f++) {
        weft_buf b;
        weft_buf_init(&b, a, 1U << 20);
        status = write_model(&b, m, (weft_weights_format)f, NULL, a, NULL);
        if (status == WEFT_OK) {
            status = weft_weights_read(m->weights, m->layout, (weft_weights_format)f, b.data,
                                       b.size, a, NULL);
        }
        weft_buf_done(&b);
    }
    return status;
}

static void test_weights__every_allocation_may_fail(void **state)
{
    (void)state;
    model m = model_of(DENSE);
    test_every_allocation_may_fail(write_and_read, &m);
    model_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_write__follows_pytorch),
        cmocka_unit_test(test_safetensors_write__header_is_as_documented),
        cmocka_unit_test(test_weights_read__inverts_safetensors),
        cmocka_unit_test(test_weights_read__inverts_npz),
        cmocka_unit_test(test_weights_read__reads_the_reference_packages),
        cmocka_unit_test(test_weights_read__refuses_every_truncation),
        cmocka_unit_test(test_safetensors_read__refuses_and_names),
        cmocka_unit_test(test_weights_read__refuses_what_is_not_finite),
        cmocka_unit_test(test_npz_read__refuses_and_names),
        cmocka_unit_test(test_weights_load_apart__takes_little_of_the_heap),
        cmocka_unit_test(test_weights_load__brings_the_model_back),
        cmocka_unit_test(test_weights_save__is_what_write_gives),
        cmocka_unit_test(test_weights_save__every_allocation_may_fail),
        cmocka_unit_test(test_weights__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
