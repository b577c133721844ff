/* SPDX-License-Identifier: Apache-2.0 */
/* Specs, layouts, plans, job definitions and metrics. */
#include "support/support.h"

#include "model/job.h"
#include "model/layout.h"
#include "model/metric.h"
#include "model/spec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char cnn_text[] = "input 28x28x1\n"
                               "conv2d filters=32 kernel=5 padding=same\n"
                               "relu\n"
                               "maxpool size=2\n"
                               "conv2d filters=64 kernel=5 padding=same\n"
                               "relu\n"
                               "maxpool size=2\n"
                               "flatten\n"
                               "dense hidden units=512\n"
                               "relu\n"
                               "dense units=10\n"
                               "loss softmax_cross_entropy\n";

static weft_spec *parse(const char *text)
{
    weft_spec *spec = NULL;
    weft_err err = WEFT_ERR_INIT;
    if (weft_spec_parse(&spec, text, strlen(text), &weft_alloc_std, &err) != WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    return spec;
}

static void assert_refused(const char *text, weft_status want, const char *message)
{
    weft_spec *spec = NULL;
    weft_err err = WEFT_ERR_INIT;
    const weft_status status = weft_spec_parse(&spec, text, strlen(text), &weft_alloc_std, &err);
    if (status != want || !strstr(err.msg, message)) {
        fail_msg("'%s': %s: %s", text, weft_status_name(status), err.msg);
    }
    assert_null(spec);
    assert_int_equal(err.code, want);
}

static void assert_prints(const char *text, const char *want)
{
    weft_spec *spec = parse(text);
    weft_buf out;
    weft_buf_init(&out, &weft_alloc_std, 2 * WEFT_MAX_SPEC_BYTES);
    assert_ok(weft_spec_print(spec, &out, &assert_err));
    assert_string_equal(weft_buf_text(&out), want);
    weft_buf_done(&out);
    weft_spec_free(spec);
}

static void test_spec_parse__infers_the_shapes_of_a_cnn(void **state)
{
    (void)state;
    weft_spec *spec = parse(cnn_text);
    assert_int_equal(spec->n_layers, 10);
    assert_int_equal(spec->loss, WEFT_LOSS_SOFTMAX_CE);
    const weft_layer *conv = &spec->layers[0];
    assert_string_equal(conv->name, "conv2d1");
    assert_int_equal(conv->pad_top, 2);
    assert_int_equal(conv->pad_bottom, 2);
    assert_int_equal(conv->out.h, 28);
    assert_int_equal(conv->out.c, 32);
    assert_int_equal(spec->layers[4].out.w, 14);
    assert_int_equal(spec->layers[5].out.w, 7);
    assert_int_equal(spec->layers[6].out.rank, 1);
    assert_int_equal(spec->layers[6].out.c, 3136);
    assert_string_equal(spec->layers[7].name, "hidden");
    assert_string_equal(spec->layers[9].name, "dense2");
    weft_spec_free(spec);
}

static void test_spec_parse__windows_round_down_and_same_rounds_up(void **state)
{
    (void)state;
    weft_spec *spec = parse("input 7x9x2\n"
                            "conv2d a filters=3 kernel=3x2 stride=2 padding=1\n"
                            "loss mse\n");
    assert_int_equal(spec->layers[0].out.h, (7 + 2 - 3) / 2 + 1);
    assert_int_equal(spec->layers[0].out.w, (9 + 2 - 2) / 2 + 1);
    weft_spec_free(spec);
    spec = parse("input 7x8x2\nconv2d filters=3 kernel=4 stride=2 padding=same\nloss mse\n");
    /* TensorFlow: out = ceil(in / stride); pad = max((out - 1) * stride + kernel - in, 0) */
    assert_int_equal(spec->layers[0].out.h, 4);
    assert_int_equal(spec->layers[0].out.w, 4);
    assert_int_equal(spec->layers[0].pad_top, 1);
    assert_int_equal(spec->layers[0].pad_bottom, 2);
    assert_int_equal(spec->layers[0].pad_left, 1);
    assert_int_equal(spec->layers[0].pad_right, 1);
    weft_spec_free(spec);
    spec = parse("input 5x5x1\nmaxpool size=3 stride=2\nflatten\ndense units=1\nloss mse\n");
    assert_int_equal(spec->layers[0].out.h, 2);
    weft_spec_free(spec);
}

static void test_spec_parse__says_what_is_wrong_and_where(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        weft_status status;
        const char *message;
    } cases[] = {
        {"", WEFT_E_FORMAT, "no input line"},
        {"# nothing\n\n", WEFT_E_FORMAT, "line 3: no input line"},
        {"input 4\ndense units=2\n", WEFT_E_FORMAT, "line 3: no loss line"},
        {"input 4\nloss mse\n", WEFT_E_INVALID, "nothing to train"},
        {"dense units=2", WEFT_E_FORMAT, "line 1: the input line comes first"},
        {"input 4\ninput 4", WEFT_E_FORMAT, "line 2: one input line"},
        {"input 4x4x4x4", WEFT_E_FORMAT, "line 1: input wants"},
        {"input 0", WEFT_E_FORMAT, "line 1: input wants"},
        {"input 4x", WEFT_E_FORMAT, "line 1: input wants"},
        {"input 4 4", WEFT_E_FORMAT, "line 1: input wants"},
        {"input 16777217", WEFT_E_FORMAT, "line 1: input wants"},
        {"input 99999999999999999999999", WEFT_E_FORMAT, "line 1: input wants"},
        {"input tokens=4", WEFT_E_FORMAT, "line 1: an input of tokens wants tokens=STEPS"},
        {"input tokens=0 vocab=4", WEFT_E_FORMAT, "line 1: an input of tokens wants"},
        {"input tokens=4 vocab=16777217", WEFT_E_FORMAT, "line 1: an input of tokens wants"},
        {"input tokens=4 vocab=4 x=1", WEFT_E_FORMAT, "line 1: an input of tokens wants"},
        {"input 16384x16385x1", WEFT_E_LIMIT, "line 1: an input of more than"},
        {"input 16384x16384x2", WEFT_E_LIMIT, "line 1: an input of more than"},
        {"input 4\nblah", WEFT_E_FORMAT, "line 2: 'blah' is no kind of layer"},
        {"input 4\ndense", WEFT_E_FORMAT, "line 2: dense needs units=..."},
        {"input 4\ndense units=0", WEFT_E_INVALID, "line 2: units=0 is not 1..16777216"},
        {"input 4\ndense units=-1", WEFT_E_INVALID, "line 2: units=-1"},
        {"input 4\ndense units=16777217", WEFT_E_INVALID, "line 2: units=16777217"},
        {"input 4\ndense units=2 units=2", WEFT_E_FORMAT, "line 2: units is given twice"},
        {"input 4\ndense units=2 kernel=2", WEFT_E_FORMAT, "line 2: dense has no option 'kernel'"},
        {"input 4\ndense units=2 bias=2", WEFT_E_INVALID, "line 2: bias=2 is not 0 or 1"},
        {"input 4\ndense units=2 init=xavier", WEFT_E_INVALID, "line 2: init=xavier is not he"},
        {"input 4\ndense a b units=2", WEFT_E_FORMAT, "line 2: 'b' is not name=value"},
        {"input 4\ndense a/b units=2", WEFT_E_FORMAT, "line 2: the name 'a/b'"},
        {"input 4\ndense a units=2\nrelu a\nloss mse", WEFT_E_INVALID,
         "line 3: the name a is used"},
        {"input 4\ndense dense2 units=2\ndense units=2\nloss mse", WEFT_E_INVALID,
         "line 3: the name dense2 is used twice"},
        {"input 4x4x1\ndense units=2", WEFT_E_INVALID, "line 2: dense wants features"},
        {"input 4\nconv2d filters=1 kernel=1", WEFT_E_INVALID, "line 2: conv2d wants an image"},
        {"input 4\nmaxpool size=1", WEFT_E_INVALID, "line 2: maxpool wants an image"},
        {"input 4\nflatten", WEFT_E_INVALID, "line 2: flatten wants an image"},
        {"input 4x4x1\nmaxpool size=5", WEFT_E_INVALID, "line 2: a window of 5x5 does not fit"},
        {"input 4x4x1\nconv2d filters=1 kernel=7x6 padding=1", WEFT_E_INVALID,
         "a window of 7x6 does not fit into an image of 6x6"},
        {"input 4x4x1\nconv2d filters=1 kernel=3 padding=1025", WEFT_E_INVALID, "padding=1025"},
        {"input 4x4x1\nconv2d filters=1 kernel=3x3x3", WEFT_E_INVALID, "kernel=3x3x3"},
        {"input 4x4x1\nconv2d filters=1 kernel=2050 padding=same", WEFT_E_LIMIT,
         "line 2: kernel 2050"},
        {"input 4\ndropout rate=1", WEFT_E_INVALID, "line 2: rate=1 is not"},
        {"input 4\ndropout rate=0.1234567891", WEFT_E_INVALID, "line 2: rate="},
        {"input 4\ndropout rate=0.999999999", WEFT_E_INVALID, "line 2: rate="},
        {"input 4\ndropout rate=nan", WEFT_E_INVALID, "line 2: rate=nan"},
        {"input 4\ndense units=1\nloss softmax_cross_entropy", WEFT_E_INVALID,
         "at least two outputs"},
        {"input 4\ndense units=2\nloss hinge", WEFT_E_FORMAT, "line 3: loss wants"},
        {"input 4\ndense units=2\nloss mse\nrelu", WEFT_E_FORMAT,
         "line 4: the loss is the last line"},
        {"input 4\ndense units=2\nloss mse\nloss mse", WEFT_E_FORMAT, "line 4: one loss line"},
        {"input 4\ntensor a 4", WEFT_E_FORMAT, "line 2: a spec has layers or tensors"},
        {"tensor a 4\ninput 4", WEFT_E_FORMAT, "line 2: one input line, at the start"},
        {"tensor a 4\ndense units=2", WEFT_E_FORMAT, "line 2: the input line comes first"},
        {"tensor a", WEFT_E_FORMAT, "line 1: tensor wants a name and a shape"},
        {"tensor a 1x2x3x4x5", WEFT_E_FORMAT, "line 1: the shape '1x2x3x4x5'"},
        {"tensor a 0", WEFT_E_FORMAT, "line 1: the shape '0'"},
        {"tensor a 4\ntensor a 4", WEFT_E_INVALID, "line 2: the name a is used twice"},
        {"tensor ../a 4", WEFT_E_FORMAT, "line 1: the name '../a'"},
        {"tensor a 8589934592x2", WEFT_E_LIMIT, "line 1: the model has more than"},
        {"tensor a 8589934592\ntensor b 1", WEFT_E_LIMIT, "line 2: the model has more than"},
        {"input 16777216\ndense units=16777216", WEFT_E_LIMIT, "line 2: the model has more than"},
        {"input 1x1x16777216\nconv2d filters=16777216 kernel=2048 padding=same", WEFT_E_LIMIT,
         "line 2: the model has more than"},
        {"input 16x1024x1\nconv2d filters=16385 kernel=1", WEFT_E_LIMIT, "values an example"},
        {"relu a b c d e f g h i j k l", WEFT_E_FORMAT, "line 1: more than 12 words"},
        /* branches */
        {"input 4\nsave", WEFT_E_FORMAT, "line 2: save wants a name"},
        {"input 4\nsave a/b", WEFT_E_FORMAT, "line 2: the name 'a/b'"},
        {"input 4\nsave a\nsave a", WEFT_E_INVALID, "line 3: the name a is used twice"},
        {"input 4\nadd", WEFT_E_FORMAT, "line 2: add wants the name of what was saved"},
        {"input 4\nadd a", WEFT_E_INVALID, "line 2: nothing was saved as 'a'"},
        {"input 4\nfrom a b", WEFT_E_FORMAT, "line 2: from wants the name"},
        {"input 4\nsave a\ndense units=2\nfrom a", WEFT_E_INVALID,
         "line 4: from leaves what comes before it unused: save it first"},
        {"input 4\nsave a\ndense units=2\nadd a", WEFT_E_INVALID,
         "line 4: 1x1x2 arrive, but 1x1x4 were saved"},
        {"input 4\nsave a\ndense units=2\nloss mse\n", WEFT_E_INVALID,
         "line 5: nothing takes what was saved as a"},
        {"input 2x2x1\nflatten\nsave a\ndense units=4\nadd a", WEFT_E_INVALID,
         "line 5: a flattened image and other features cannot be added"},
        /* groups and normalisations */
        {"input 4x4x6\nconv2d filters=8 kernel=1 groups=4", WEFT_E_INVALID,
         "line 2: groups=4 does not divide 6 channels and the filters"},
        {"input 4x4x8\nconv2d filters=6 kernel=1 groups=4", WEFT_E_INVALID,
         "line 2: groups=4 does not divide 8 channels"},
        {"input 4x4x8\nconv2d filters=6 kernel=1 groups=0", WEFT_E_INVALID, "line 2: groups=0"},
        {"input 4x4x6\ngroupnorm", WEFT_E_FORMAT, "line 2: groupnorm needs groups=..."},
        {"input 4x4x6\ngroupnorm groups=4", WEFT_E_INVALID,
         "line 2: groups=4 does not divide 6 channels"},
        {"input 4x6\ngroupnorm groups=2", WEFT_E_INVALID, "line 2: groupnorm wants an image"},
        {"input 4x6\nbatchnorm", WEFT_E_INVALID, "line 2: batchnorm wants an image"},
        {"input 4\nglobalavgpool", WEFT_E_INVALID, "line 2: globalavgpool wants an image"},
        {"input 4\nleaky_relu slope=1", WEFT_E_INVALID, "line 2: slope=1 is not 0 up to"},
        /* sequences */
        {"input 4x4\nconv2d filters=1 kernel=1", WEFT_E_INVALID, "got 4x4 features"},
        {"input 4\nlstm units=2", WEFT_E_INVALID,
         "line 2: lstm wants a sequence (steps x features), got 1x1x4"},
        {"input 4x4x4\ngru units=2", WEFT_E_INVALID, "line 2: gru wants a sequence"},
        {"input 4\nlast", WEFT_E_INVALID, "line 2: last wants a sequence"},
        {"input 4x4\nlstm", WEFT_E_FORMAT, "line 2: lstm needs units=..."},
        {"input 4x4\nlstm units=2 init=he", WEFT_E_FORMAT, "line 2: lstm has no option 'init'"},
        {"input 4x4\nembedding dims=2", WEFT_E_INVALID, "line 2: embedding wants tokens"},
        {"input tokens=4 vocab=4\nlstm units=2", WEFT_E_INVALID,
         "line 2: lstm wants values, got tokens: put embedding before"},
        {"input tokens=4 vocab=4\nloss mse", WEFT_E_INVALID, "line 2: a loss of tokens"},
        {"input 16777216x1\nlstm units=17", WEFT_E_LIMIT, "line 2: 16777216x1x17 values"},
        {"input 1x16384\nlstm units=16777216", WEFT_E_LIMIT, "line 2: the model has more than"},
        {"input tokens=1 vocab=16777216\nembedding dims=16777216", WEFT_E_LIMIT,
         "line 2: the model has more than"},
        /* losses and metrics */
        {"input 4\ndense units=2\nloss mse delta=1", WEFT_E_FORMAT,
         "line 3: loss mse has no option 'delta=1'"},
        {"input 4\ndense units=2\nloss huber delta=0", WEFT_E_INVALID, "line 3: delta=0 is not"},
        {"input 4\ndense units=2\nloss huber delta=1 delta=1", WEFT_E_FORMAT,
         "line 3: more than one option"},
        {"input 4\ndense units=2\nloss softmax_cross_entropy weights=1", WEFT_E_INVALID,
         "line 3: weights wants one of each of 2 classes"},
        {"input 4\ndense units=2\nloss softmax_cross_entropy weights=1,2,3", WEFT_E_INVALID,
         "line 3: weights wants one of each of 2 classes"},
        {"input 4\ndense units=2\nloss softmax_cross_entropy weights=0,0", WEFT_E_INVALID,
         "line 3: all weights are 0"},
        {"input 4\ndense units=2\nloss softmax_cross_entropy weights=1,-2", WEFT_E_INVALID,
         "line 3: the weight '-2' is not"},
        {"input 4\ndense units=2\nmetrics auc", WEFT_E_FORMAT, "line 3: one metrics line"},
        {"input 4\ndense units=2\nloss mse\nmetrics", WEFT_E_FORMAT, "line 4: metrics wants some"},
        {"input 4\ndense units=2\nloss mse\nmetrics f1", WEFT_E_FORMAT, "line 4: 'f1' is none of"},
        {"input 4\ndense units=2\nloss mse\nmetrics auc", WEFT_E_INVALID,
         "line 4: auc is of two classes"},
        {"input 4\ndense units=13\nloss softmax_cross_entropy\nmetrics recall", WEFT_E_INVALID,
         "line 4: recall is of the classes"},
        {"input 4\ndense units=3\nloss softmax_cross_entropy\nmetrics top_k=3", WEFT_E_INVALID,
         "line 4: top_k is of softmax_cross_entropy and below"},
        {"input 4\ndense units=3\nloss softmax_cross_entropy\nmetrics top_k=1", WEFT_E_FORMAT,
         "line 4: 'top_k=1' is none of"},
        {"input 4\ndense units=2\nloss softmax_cross_entropy\nmetrics auc auc", WEFT_E_FORMAT,
         "line 4: auc is given twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_refused(cases[i].text, cases[i].status, cases[i].message);
    }
}

static void test_spec_parse__escapes_what_it_quotes(void **state)
{
    (void)state;
    assert_refused("\x1b[31m\xff", WEFT_E_FORMAT, "'?[31m?'");
}

static void test_spec_parse__limits_are_inclusive(void **state)
{
    (void)state;
    weft_spec_free(parse("tensor a 8589934592\n"));
    weft_spec_free(parse("input 16384x16384x1\nconv2d filters=1 kernel=1\nloss mse\n"));
    weft_spec_free(parse("input 16777216\ndense units=512 bias=0\nloss mse\n")); /* 2^33 */
    weft_spec_free(parse("input 4x4x1\nconv2d filters=1 kernel=2049 padding=same\nloss mse\n"));
    char name[WEFT_MAX_TENSOR_NAME_BYTES + 2];
    char text[200];
    for (size_t over = 0; over < 2; over++) {
        const size_t n = WEFT_MAX_TENSOR_NAME_BYTES + over;
        memset(name, 'a', n);
        name[n] = '\0';
        (void)snprintf(text, sizeof text, "tensor %s 1", name);
        if (over) {
            assert_refused(text, WEFT_E_LIMIT, "longer than 96");
        } else {
            weft_spec_free(parse(text));
        }
        name[WEFT_MAX_NAME_BYTES + over] = '\0';
        (void)snprintf(text, sizeof text, "input 1\ndense %s units=1\nloss mse", name);
        if (over) {
            assert_refused(text, WEFT_E_LIMIT, "longer than 64");
        } else {
            weft_spec_free(parse(text));
        }
    }
}

static weft_status parse_many(const char *head, const char *line, size_t n, const char *tail)
{
    const size_t size = strlen(head) + n * strlen(line) + strlen(tail) + 1;
    char *text = malloc(size);
    assert_non_null(text);
    char *at = stpcpy(text, head);
    for (size_t i = 0; i < n; i++) {
        at = stpcpy(at, line);
    }
    at = stpcpy(at, tail);
    weft_spec *spec = NULL;
    weft_err err = WEFT_ERR_INIT;
    const weft_status status =
        weft_spec_parse(&spec, text, (size_t)(at - text), &weft_alloc_std, &err);
    weft_spec_free(spec);
    free(text);
    return status;
}

static void test_spec_parse__counts_layers_and_bytes(void **state)
{
    (void)state;
    assert_int_equal(
        parse_many("input 1\ndense units=1\n", "relu\n", WEFT_MAX_LAYERS - 1, "loss mse"), WEFT_OK);
    assert_int_equal(parse_many("input 1\ndense units=1\n", "relu\n", WEFT_MAX_LAYERS, "loss mse"),
                     WEFT_E_LIMIT);
    const char *head = "input 1\ndense units=1\n";
    const size_t rest = WEFT_MAX_SPEC_BYTES - strlen(head) - strlen("loss mse");
    assert_int_equal(parse_many(head, "#", rest - 1, "\nloss mse"), WEFT_OK);
    assert_int_equal(parse_many(head, "#", rest, "\nloss mse"), WEFT_E_LIMIT);
    char *tensors = malloc(32 * (WEFT_MAX_TENSORS + 1));
    assert_non_null(tensors);
    for (size_t n = WEFT_MAX_TENSORS; n <= WEFT_MAX_TENSORS + 1; n++) {
        char *at = tensors;
        for (size_t i = 0; i < n; i++) {
            at += sprintf(at, "tensor t%zu 2\n", i);
        }
        assert_int_equal(parse_many(tensors, "", 0, ""),
                         n <= WEFT_MAX_TENSORS ? WEFT_OK : WEFT_E_LIMIT);
    }
    free(tensors);
}

static void test_spec_print__is_canonical(void **state)
{
    (void)state;
    assert_prints(cnn_text, cnn_text);
    assert_prints("# c\r\n input\t13 # features\n\ndense dense1 bias=1 init=he units=2\r\n"
                  "dropout rate=0.50\ndropout out rate=0\nloss mse",
                  "input 13\ndense units=2\ndropout rate=0.5\ndropout out rate=0\nloss mse\n");
    assert_prints("input 8x8x3\nconv2d kernel=3x3 padding=valid stride=1 filters=4 bias=0\n"
                  "conv2d edge init=zero kernel=3x1 padding=2 filters=4 stride=2\n"
                  "avgpool size=2 stride=2\nmaxpool size=2 stride=1\ntanh\nsigmoid\nloss mse\n",
                  "input 8x8x3\nconv2d filters=4 kernel=3 bias=0\n"
                  "conv2d edge filters=4 kernel=3x1 stride=2 padding=2 init=zero\n"
                  "avgpool size=2\nmaxpool size=2 stride=1\ntanh\nsigmoid\nloss mse\n");
    assert_prints("input vocab=90 tokens=80\nembedding dims=8\nlstm units=256 bias=1\n"
                  "gru second units=0256 bias=0\ndense units=90\n"
                  "loss softmax_cross_entropy\nmetrics top_k=5\n",
                  "input tokens=80 vocab=90\nembedding dims=8\nlstm units=256\n"
                  "gru second units=256 bias=0\ndense units=90\n"
                  "loss softmax_cross_entropy\nmetrics top_k=5\n");
    assert_prints("input 9x8\nlast\nleaky_relu slope=0.01\nleaky_relu slope=0.20\n"
                  "dense units=2\nloss softmax_cross_entropy weights=1.50,0\nmetrics recall auc\n",
                  "input 9x8\nlast\nleaky_relu\nleaky_relu slope=0.2\n"
                  "dense units=2\nloss softmax_cross_entropy weights=1.5,0\nmetrics auc recall\n");
    assert_prints("input 8x8x4\nsave save1\nconv2d filters=4 kernel=3 padding=1 groups=4\n"
                  "groupnorm groups=2\nsave b\nfrom save1\nconv2d filters=4 groups=1 kernel=1\n"
                  "add b\nglobalavgpool\nloss huber delta=1234.5\n",
                  "input 8x8x4\nsave save1\nconv2d filters=4 kernel=3 padding=1 groups=4\n"
                  "groupnorm groups=2\nsave b\nfrom save1\nconv2d filters=4 kernel=1\n"
                  "add b\nglobalavgpool\nloss huber delta=1234.5\n");
    assert_prints("tensor  b.w 64x128\ntensor a 007 # x\n", "tensor b.w 64x128\ntensor a 7\n");
}

static void test_spec_print__keeps_every_dropout_rate(void **state)
{
    (void)state;
    static const uint32_t tried[] = {1,       2,        9,         99999999, 100000000, 123456789,
                                     8388609, 10000001, 249999999, 33333333, 999999961, 500000001};
    for (size_t i = 0; i < sizeof tried / sizeof tried[0]; i++) {
        char text[96];
        (void)snprintf(text, sizeof text, "input 1\ndense units=1\ndropout rate=0.%09u\nloss mse\n",
                       tried[i]);
        weft_spec *spec = parse(text);
        weft_buf out;
        weft_buf_init(&out, &weft_alloc_std, 1000);
        assert_ok(weft_spec_print(spec, &out, &assert_err));
        weft_spec *again = parse(weft_buf_text(&out));
        assert_true(again->layers[1].rate == spec->layers[1].rate);
        assert_true(fabs((double)spec->layers[1].rate - tried[i] * 1e-9) < 6e-8 * tried[i] * 1e-9);
        weft_spec_free(again);
        weft_spec_free(spec);
        weft_buf_done(&out);
    }
}

static weft_status parse_with(const weft_alloc *a, void *arg)
{
    weft_spec *spec = NULL;
    const weft_status status = weft_spec_parse(&spec, arg, strlen(arg), a, NULL);
    weft_spec_free(spec);
    return status;
}

static void test_spec_parse__every_allocation_may_fail(void **state)
{
    (void)state;
    char text[sizeof cnn_text];
    memcpy(text, cnn_text, sizeof text);
    test_every_allocation_may_fail(parse_with, text);
}

static weft_layout *layout_of(const weft_spec *spec)
{
    weft_layout *layout = NULL;
    assert_ok(weft_layout_new(&layout, spec, &weft_alloc_std, &assert_err));
    return layout;
}

static void test_layout_new__of_mcmahans_networks(void **state)
{
    (void)state;
    weft_spec *spec = parse(cnn_text);
    weft_layout *layout = layout_of(spec);
    assert_int_equal(layout->n_params, 1663370); /* McMahan et al. 2017 */
    assert_int_equal(layout->n_tensors, 8);
    static const char *const names[] = {"conv2d1.weight", "conv2d1.bias",  "conv2d2.weight",
                                        "conv2d2.bias",   "hidden.weight", "hidden.bias",
                                        "dense2.weight",  "dense2.bias"};
    uint64_t offset = 0;
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        assert_string_equal(layout->tensors[i].name, names[i]);
        assert_int_equal(layout->tensors[i].offset, offset);
        offset += layout->tensors[i].count;
    }
    assert_int_equal(offset, layout->n_params);
    const weft_tensor_info *conv2 = &layout->tensors[2];
    assert_int_equal(conv2->role, WEFT_TENSOR_CONV_WEIGHT);
    assert_int_equal(conv2->rank, 4);
    assert_int_equal(conv2->shape[0], 5);
    assert_int_equal(conv2->shape[2], 32);
    assert_int_equal(conv2->shape[3], 64);
    const weft_tensor_info *hidden = &layout->tensors[4];
    assert_int_equal(hidden->shape[0], 3136);
    assert_int_equal(hidden->flattened.rank, 3);
    assert_int_equal(hidden->flattened.h, 7);
    assert_int_equal(hidden->flattened.c, 64);
    assert_int_equal(layout->tensors[6].flattened.rank, 0);
    weft_layout_free(layout);
    weft_spec_free(spec);

    spec = parse("input 784\ndense units=200\nrelu\ndense units=200\nrelu\ndense units=10\n"
                 "loss softmax_cross_entropy\n");
    layout = layout_of(spec);
    assert_int_equal(layout->n_params, 199210);
    weft_layout_free(layout);
    weft_spec_free(spec);
}

static void test_layout_new__of_plain_tensors_and_without_bias(void **state)
{
    (void)state;
    weft_spec *spec = parse("tensor encoder.weight 64x128\ntensor encoder.bias 64\n");
    weft_layout *layout = layout_of(spec);
    assert_int_equal(layout->n_tensors, 2);
    assert_int_equal(layout->tensors[0].role, WEFT_TENSOR_PLAIN);
    assert_int_equal(layout->tensors[1].offset, 64 * 128);
    assert_int_equal(layout->n_params, 64 * 129);
    weft_layout_free(layout);
    weft_spec_free(spec);
    spec = parse("input 3\ndense units=2 bias=0\nloss mse\n");
    layout = layout_of(spec);
    assert_int_equal(layout->n_tensors, 1);
    assert_int_equal(layout->n_params, 6);
    weft_layout_free(layout);
    weft_spec_free(spec);
}

static weft_status layout_with(const weft_alloc *a, void *arg)
{
    weft_layout *layout = NULL;
    const weft_status status = weft_layout_new(&layout, arg, a, NULL);
    weft_layout_free(layout);
    return status;
}

static void test_layout_new__every_allocation_may_fail(void **state)
{
    (void)state;
    weft_spec *spec = parse(cnn_text);
    test_every_allocation_may_fail(layout_with, spec);
    weft_spec_free(spec);
}

static double variance(const float *w, uint64_t n)
{
    double sum = 0.0;
    double squares = 0.0;
    for (uint64_t i = 0; i < n; i++) {
        sum += (double)w[i];
        squares += (double)w[i] * (double)w[i];
    }
    return squares / (double)n - sum / (double)n * (sum / (double)n);
}

static void test_layout_init_weights__has_the_papers_variances(void **state)
{
    (void)state;
    weft_spec *spec =
        parse("input 9x9x4\nconv2d filters=64 kernel=5\nconv2d filters=64 kernel=5 init=glorot\n"
              "flatten\ndense units=300\ndense units=200 init=glorot\n"
              "dense units=100 init=zero\nloss mse\n");
    weft_layout *layout = layout_of(spec);
    float *w = calloc(layout->n_params, sizeof *w);
    float *again = calloc(layout->n_params, sizeof *again);
    assert_non_null(w);
    assert_non_null(again);
    for (uint64_t i = 0; i < layout->n_params; i++) {
        w[i] = (float)nan(""); /* must be written completely */
    }
    weft_layout_init_weights(w, layout, spec, 7);
    weft_layout_init_weights(again, layout, spec, 7);
    assert_memory_equal(w, again, layout->n_params * sizeof *w);
    weft_layout_init_weights(again, layout, spec, 8);
    assert_memory_not_equal(w, again, layout->n_params * sizeof *w);
    /* He et al. 2015: 2 / fan_in; Glorot and Bengio 2010: 2 / (fan_in + fan_out) */
    const double want[] = {2.0 / 100, 0.0, 2.0 / (1600 + 1600), 0.0, 2.0 / 64, 0.0, 2.0 / 500, 0.0,
                           0.0,       0.0};
    assert_int_equal(layout->n_tensors, 10);
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        const weft_tensor_info *t = &layout->tensors[i];
        const double got = variance(w + t->offset, t->count);
        assert_true(fabs(got - want[i]) <= 0.05 * want[i]);
    }
    /* another stream for each tensor */
    assert_true(w[layout->tensors[0].offset] / w[layout->tensors[2].offset] != 1.0F);
    free(w);
    free(again);
    weft_layout_free(layout);
    weft_spec_free(spec);
}

static void test_plan_check__what_a_schedule_needs(void **state)
{
    (void)state;
    weft_err err = WEFT_ERR_INIT;
    weft_plan p = WEFT_PLAN_INIT;
    p.schedule = WEFT_SCHEDULE_COSINE;
    assert_int_equal(weft_plan_check(&p, &err), WEFT_E_INVALID);
    assert_string_equal(err.msg, "schedule_rounds is 0, outside [1, 1000000]");
    p.schedule_rounds = 1000000;
    p.schedule_factor = 1.0;
    assert_ok(weft_plan_check(&p, &assert_err));
    p.schedule_rounds++;
    assert_int_equal(weft_plan_check(&p, NULL), WEFT_E_INVALID);
    p.schedule_rounds = 1;
    p.schedule_factor = 1.5;
    assert_int_equal(weft_plan_check(&p, NULL), WEFT_E_INVALID);
}

static void refuse_model(const weft_plan *plan, const char *text, const char *message)
{
    weft_spec *spec = NULL;
    weft_err err = WEFT_ERR_INIT;
    assert_ok(weft_spec_parse(&spec, text, strlen(text), &weft_alloc_std, &assert_err));
    const weft_status status = weft_plan_check_model(plan, spec, &err);
    weft_spec_free(spec);
    assert_string_equal(err.msg, message);
    assert_int_equal(status, message[0] ? WEFT_E_INVALID : WEFT_OK);
}

static void test_plan_check_model__augments_images_only(void **state)
{
    (void)state;
    static const char image[] = "input 6x5x1\nflatten\ndense units=2\nloss softmax_cross_entropy\n";
    static const char table[] = "input 9\ndense units=2\nloss softmax_cross_entropy\n";
    weft_plan plan = WEFT_PLAN_INIT;
    assert_false(weft_plan_augments(&plan));
    refuse_model(&plan, table, "");
    plan.augment_flip = true;
    assert_true(weft_plan_augments(&plan));
    refuse_model(&plan, image, "");
    refuse_model(&plan, "tensor a 3\n", "");
    refuse_model(&plan, table, "augment_flip is of images, the model takes none");
    plan.augment_crop = 4;
    refuse_model(&plan, image, "");
    refuse_model(&plan, table, "augment_crop is of images, the model takes none");
    plan.augment_crop = 5;
    refuse_model(&plan, image, "augment_crop is 5, the images are 6x5");
    plan.augment_shift = 1;
    refuse_model(&plan,
                 "input tokens=4 vocab=3\nembedding dims=2\nlast\ndense units=2\n"
                 "loss softmax_cross_entropy\n",
                 "augment_shift is of images, the model takes none");
}

static void test_plan_check__ranges(void **state)
{
    (void)state;
    const weft_plan good = WEFT_PLAN_INIT;
    assert_ok(weft_plan_check(&good, &assert_err));
    weft_plan p = good;
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        weft_err err = WEFT_ERR_INIT;                                                              \
        p = good;                                                                                  \
        p.field = (value);                                                                         \
        assert_int_equal(weft_plan_check(&p, &err), WEFT_E_INVALID);                               \
        assert_non_null(strstr(err.msg, #field));                                                  \
    } while (0)
#define ACCEPTED(field, value)                                                                     \
    do {                                                                                           \
        p = good;                                                                                  \
        p.field = (value);                                                                         \
        assert_ok(weft_plan_check(&p, &assert_err));                                               \
    } while (0)
    REFUSED(schedule, (weft_schedule)3);
    REFUSED(schedule, (weft_schedule)-1);
    REFUSED(schedule_rounds, 1); /* without a schedule there are none */
    REFUSED(schedule_factor, 0.5);
    REFUSED(warmup_rounds, -0.5);
    REFUSED(warmup_rounds, 1000000.5);
    ACCEPTED(warmup_rounds, 0.5);
    REFUSED(clip_gradient, nan(""));
    REFUSED(clip_gradient, -1.0);
    ACCEPTED(clip_gradient, 1e6);
    REFUSED(early_stop, 10001);
    ACCEPTED(early_stop, 10000);
    REFUSED(augment_shift, 1025);
    ACCEPTED(augment_shift, 1024);
    REFUSED(augment_crop, 1025);
    ACCEPTED(augment_crop, 1024);
    REFUSED(optimizer, (weft_optimizer)3);
    REFUSED(learning_rate, 0.0);
    REFUSED(learning_rate, nan(""));
    REFUSED(learning_rate, 1000.1);
    ACCEPTED(learning_rate, 1000.0);
    REFUSED(momentum, 1.0);
    REFUSED(momentum, -0.1);
    ACCEPTED(momentum, 0.999);
    REFUSED(weight_decay, 1.1);
    ACCEPTED(weight_decay, 1.0);
    REFUSED(beta1, 1.0);
    REFUSED(beta2, 1.0);
    ACCEPTED(beta2, 0.0);
    REFUSED(epsilon, 0.0);
    ACCEPTED(epsilon, 1.0);
    REFUSED(prox_mu, 1000.5);
    ACCEPTED(prox_mu, 1000.0);
    REFUSED(batch_size, 65537);
    ACCEPTED(batch_size, 65536);
    ACCEPTED(batch_size, 0);
    REFUSED(epochs, 0);
    REFUSED(epochs, 10001);
    ACCEPTED(epochs, 10000);
#undef REFUSED
#undef ACCEPTED
}

static weft_job_def good_job(char *spec)
{
    weft_job_def def;
    weft_job_def_init(&def);
    memcpy(def.name, "digits", 7);
    memcpy(def.dataset, "mnist", 6);
    def.model_spec = spec;
    return def;
}

static void test_job_def_check__names_the_field(void **state)
{
    (void)state;
    char spec[sizeof cnn_text];
    memcpy(spec, cnn_text, sizeof spec);
    char schema[] = "column a numeric\n";
    char bad[] = "input 4\nblah\n";
    const weft_job_def good = good_job(spec);
    assert_ok(weft_job_def_check(&good, &weft_alloc_std, &assert_err));
    weft_job_def d = good;
#define REFUSED(change, word)                                                                      \
    do {                                                                                           \
        weft_err err = WEFT_ERR_INIT;                                                              \
        d = good;                                                                                  \
        change;                                                                                    \
        assert_int_not_equal(weft_job_def_check(&d, &weft_alloc_std, &err), WEFT_OK);              \
        if (!strstr(err.msg, word)) {                                                              \
            fail_msg("%s", err.msg);                                                               \
        }                                                                                          \
    } while (0)
    REFUSED(d.name[0] = '\0', "name");
    REFUSED(d.dataset[0] = '.', "dataset");
    REFUSED(d.model_spec = NULL, "model is missing");
    REFUSED(d.model_spec = bad, "model: line 2: 'blah'");
    REFUSED(d.task = WEFT_TASK_EVALUATE, "task");
    REFUSED(d.task = WEFT_TASK_STATS, "schema");
    REFUSED(d.plan.epochs = 0, "epochs");
    REFUSED(d.target = 0, "round.target");
    REFUSED(d.target = WEFT_MAX_COHORT + 1, "round.target");
    REFUSED(d.minimum = 0, "round.minimum");
    REFUSED((d.minimum = 5, d.target = 3), "round.minimum is 5, above round.target 3");
    REFUSED(d.over_selection = 0.9, "over_selection");
    REFUSED(d.over_selection = 4.1, "over_selection");
    REFUSED(d.over_selection = nan(""), "over_selection");
    REFUSED(d.deadline_ms = 999, "round.deadline_ms");
    REFUSED(d.deadline_ms = 604800001, "round.deadline_ms");
    REFUSED(d.lease_ms = 999, "round.lease_ms");
    REFUSED((d.deadline_ms = 2000, d.lease_ms = 2001), "round.lease_ms is 2001, above");
    REFUSED(d.max_attempts = 0, "max_attempts");
    REFUSED(d.max_attempts = 1001, "max_attempts");
    REFUSED(d.aggregation = (weft_aggregation)2, "aggregation");
    REFUSED(d.clip_norm = 0.0, "clip_norm");
    REFUSED(d.clip_norm = HUGE_VAL, "clip_norm");
    REFUSED(d.max_examples = 0, "max_examples");
    REFUSED(d.max_examples = WEFT_MAX_EXAMPLES + 1, "max_examples");
    REFUSED(d.durability = (weft_durability)0, "durability");
    REFUSED((d.secure_aggregation = false, d.keep_updates = WEFT_MAX_KEEP_UPDATES + 1),
            "keep_updates is 1001");
    REFUSED((d.secure_aggregation = true, d.keep_updates = 1), "aggregation.secure is true");
    REFUSED(d.eval_every = 0, "evaluation.every");
    REFUSED(d.eval_clients = WEFT_MAX_COHORT + 1, "evaluation.clients");
    REFUSED(d.eval_deadline_ms = 0, "evaluation.deadline_ms");
    REFUSED(d.rounds = 0, "stop.rounds");
    REFUSED(d.rounds = 1000001, "stop.rounds");
    REFUSED((d.eval_clients = 3, d.target_metric[0] = '1'), "metric name");
    REFUSED((d.eval_clients = 3, d.target_metric[0] = 'a', d.target_value = nan("")), "not finite");
    REFUSED(d.target_metric[0] = 'a', "stop.target_metric needs an evaluation");
    REFUSED(d.patience = 3, "stop.patience needs an evaluation");
    REFUSED(d.minimum = 2, "round.minimum is 2, a secure sum of fewer than 3");
    REFUSED((d.target = 2, d.minimum = 2), "round.target is 2, a secure sum of fewer than 3");
    REFUSED(d.eval_clients = 2, "evaluation.clients is 2, a secure sum of fewer than 3");
#undef REFUSED
    d = good; /* what is refused to a secure job, a plain one may do */
    d.secure_aggregation = false;
    d.target = d.minimum = d.eval_clients = 1;
    assert_ok(weft_job_def_check(&d, &weft_alloc_std, &assert_err));
    d = good;
    d.task = WEFT_TASK_STATS;
    d.data_schema = schema;
    d.minimum = d.target = WEFT_MAX_COHORT;
    d.over_selection = 4.0;
    d.lease_ms = d.deadline_ms = 604800000;
    d.clip_norm = 1e6;
    d.max_examples = WEFT_MAX_EXAMPLES;
    d.rounds = 1000000;
    d.eval_clients = WEFT_SECURE_MIN_COHORT;
    d.patience = 3;
    assert_ok(weft_job_def_check(&d, &weft_alloc_std, &assert_err));
}

static void test_job_def_cohort__rounds_up_and_is_limited(void **state)
{
    (void)state;
    weft_job_def d;
    weft_job_def_init(&d);
    d.target = 10;
    d.over_selection = 1.3;
    assert_int_equal(weft_job_def_cohort(&d), 13);
    d.over_selection = 1.31;
    assert_int_equal(weft_job_def_cohort(&d), 14);
    d.over_selection = 1.0;
    assert_int_equal(weft_job_def_cohort(&d), 10);
    d.target = WEFT_MAX_COHORT;
    d.over_selection = 2.0;
    assert_int_equal(weft_job_def_cohort(&d), WEFT_MAX_COHORT);
}

static weft_status copy_with(const weft_alloc *a, void *arg)
{
    weft_job_def copy;
    const weft_status status = weft_job_def_copy(&copy, arg, a, NULL);
    if (status == WEFT_OK) {
        weft_job_def_done(&copy, a);
    }
    return status;
}

static void test_job_def_copy__is_deep(void **state)
{
    (void)state;
    char spec[] = "tensor a 1";
    char schema[] = "b";
    char data[] = "c";
    weft_job_def def = good_job(spec);
    def.data_schema = schema;
    def.eval_data = data;
    weft_job_def copy;
    assert_ok(weft_job_def_copy(&copy, &def, &weft_alloc_std, &assert_err));
    spec[0] = schema[0] = data[0] = '?';
    assert_string_equal(copy.model_spec, "tensor a 1");
    assert_string_equal(copy.data_schema, "b");
    assert_string_equal(copy.eval_data, "c");
    weft_job_def_done(&copy, &weft_alloc_std);
    assert_null(copy.model_spec);
    test_every_allocation_may_fail(copy_with, &def);
}

static void test_metrics_set__replaces_and_checks(void **state)
{
    (void)state;
    weft_metrics m = {0};
    assert_ok(weft_metrics_set(&m, "loss", 1.5, &assert_err));
    assert_ok(weft_metrics_set(&m, "loss", 2.5, &assert_err));
    assert_int_equal(m.n, 1);
    double v = 0.0;
    assert_true(weft_metrics_get(&m, "loss", &v));
    assert_true(v == 2.5);
    assert_false(weft_metrics_get(&m, "accuracy", &v));
    assert_int_equal(weft_metrics_set(&m, "x", nan(""), NULL), WEFT_E_INVALID);
    assert_int_equal(weft_metrics_set(&m, "x", HUGE_VAL, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_metrics_set(&m, "", 1.0, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_metrics_set(&m, "a b", 1.0, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_metrics_set(&m, "1a", 1.0, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_metrics_set(&m, "abcdefghijabcdefghijabcdefghijabc", 1.0, NULL),
                     WEFT_E_INVALID);
    assert_ok(weft_metrics_set(&m, "abcdefghijabcdefghijabcdefghijab", 1.0, &assert_err));
    for (char name[2] = "a"; m.n < WEFT_MAX_METRICS; name[0]++) {
        assert_ok(weft_metrics_set(&m, name, 1.0, &assert_err));
    }
    assert_ok(weft_metrics_check(&m, &assert_err));
    assert_int_equal(weft_metrics_set(&m, "one.more", 1.0, NULL), WEFT_E_LIMIT);
    assert_ok(weft_metrics_set(&m, "loss", 1.0, &assert_err));
}

static void test_metrics_check__refuses_what_a_peer_may_send(void **state)
{
    (void)state;
    weft_metrics m = {0};
    m.n = WEFT_MAX_METRICS + 1;
    assert_int_equal(weft_metrics_check(&m, NULL), WEFT_E_LIMIT);
    m.n = 2;
    memcpy(m.item[0].name, "loss", 5);
    memcpy(m.item[1].name, "loss", 5);
    assert_int_equal(weft_metrics_check(&m, NULL), WEFT_E_INVALID);
    memset(m.item[1].name, 'a', sizeof m.item[1].name); /* no zero at its end */
    assert_int_equal(weft_metrics_check(&m, NULL), WEFT_E_INVALID);
    memcpy(m.item[1].name, "acc", 4);
    assert_ok(weft_metrics_check(&m, &assert_err));
    m.item[1].value = nan("");
    assert_int_equal(weft_metrics_check(&m, NULL), WEFT_E_INVALID);
}

static void test_metrics_mean__weighs_each_name_by_its_own_examples(void **state)
{
    (void)state;
    weft_metrics_mean mean = {0};
    weft_metrics m = {0};
    assert_ok(weft_metrics_set(&m, "loss", 1.0, &assert_err));
    weft_metrics_mean_add(&mean, &m, 1);
    assert_ok(weft_metrics_set(&m, "loss", 3.0, &assert_err));
    assert_ok(weft_metrics_set(&m, "accuracy", 0.5, &assert_err));
    weft_metrics_mean_add(&mean, &m, 3);
    weft_metrics out;
    weft_metrics_mean_get(&mean, &out);
    double v = 0.0;
    assert_int_equal(out.n, 2);
    assert_true(weft_metrics_get(&out, "loss", &v));
    assert_true(v == 2.5);
    assert_true(weft_metrics_get(&out, "accuracy", &v));
    assert_true(v == 0.5);
}

static void test_metrics_mean__leaves_out_what_is_not_finite(void **state)
{
    (void)state;
    weft_metrics_mean mean = {0};
    weft_metrics m = {0};
    weft_metrics out;
    assert_ok(weft_metrics_set(&m, "loss", 1e308, &assert_err));
    weft_metrics_mean_add(&mean, &m, 1000);
    weft_metrics_mean_get(&mean, &out);
    assert_int_equal(out.n, 0);
    memset(&mean, 0, sizeof mean);
    weft_metrics_mean_add(&mean, &m, 0);
    weft_metrics_mean_get(&mean, &out);
    assert_int_equal(out.n, 0);
    /* a full mean takes no new names and forgets none */
    memset(&mean, 0, sizeof mean);
    m.n = WEFT_MAX_METRICS;
    for (uint32_t i = 0; i < WEFT_MAX_METRICS; i++) {
        (void)snprintf(m.item[i].name, sizeof m.item[i].name, "m%u", i);
        m.item[i].value = i;
    }
    weft_metrics_mean_add(&mean, &m, 1);
    m.n = 1;
    memcpy(m.item[0].name, "late", 5);
    weft_metrics_mean_add(&mean, &m, 1);
    weft_metrics_mean_get(&mean, &out);
    assert_int_equal(out.n, WEFT_MAX_METRICS);
    assert_string_equal(out.item[0].name, "m0");
}

/* Names, shapes and roles of what is not dense or convolution, and where it starts. */
static void test_layout_new__of_every_kind_of_layer(void **state)
{
    (void)state;
    weft_spec *spec = parse("input 4x4x2\nconv2d filters=4 kernel=3 groups=2 bias=0\nbatchnorm\n"
                            "flatten\nlayernorm\ndense units=2\nloss mse\n");
    weft_layout *layout = NULL;
    assert_ok(weft_layout_new(&layout, spec, &weft_alloc_std, &assert_err));
    static const char *const names[] = {
        "conv2d1.weight",          "batchnorm1.weight",      "batchnorm1.bias",
        "batchnorm1.running_mean", "batchnorm1.running_var", "layernorm1.weight",
        "layernorm1.bias",         "dense1.weight",          "dense1.bias"};
    assert_int_equal(layout->n_tensors, 9);
    for (uint32_t i = 0; i < 9; i++) {
        assert_string_equal(layout->tensors[i].name, names[i]);
        assert_int_equal(layout->tensors[i].flattened.rank, i >= 5 && i <= 7 ? 3 : 0);
    }
    assert_int_equal(layout->tensors[0].shape[2], 1); /* of two channels, one each */
    float w[118];
    assert_int_equal(layout->n_params, 3 * 3 * 4 + 4 * 4 + 2 * 16 + 16 * 2 + 2);
    weft_layout_init_weights(w, layout, spec, 1);
    assert_true(w[layout->tensors[1].offset] == 1.0F && w[layout->tensors[2].offset] == 0.0F);
    assert_true(w[layout->tensors[3].offset] == 0.0F && w[layout->tensors[4].offset] == 1.0F);
    weft_layout_free(layout);
    weft_spec_free(spec);
    spec = parse("input tokens=4 vocab=7\nembedding dims=3\nlstm units=5\ngru units=2 bias=0\n"
                 "loss mse\n");
    assert_ok(weft_layout_new(&layout, spec, &weft_alloc_std, &assert_err));
    static const struct {
        const char *name;
        uint64_t shape[2];
    } wanted[] = {
        {"embedding1.weight", {7, 3}},   {"lstm1.weight_ih_l0", {3, 20}},
        {"lstm1.weight_hh_l0", {5, 20}}, {"lstm1.bias_ih_l0", {20, 0}},
        {"lstm1.bias_hh_l0", {20, 0}},   {"gru1.weight_ih_l0", {5, 6}},
        {"gru1.weight_hh_l0", {2, 6}},
    };
    assert_int_equal(layout->n_tensors, 7);
    for (uint32_t i = 0; i < 7; i++) {
        assert_string_equal(layout->tensors[i].name, wanted[i].name);
        assert_memory_equal(layout->tensors[i].shape, wanted[i].shape, sizeof wanted[i].shape);
    }
    weft_layout_free(layout);
    weft_spec_free(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec_parse__infers_the_shapes_of_a_cnn),
        cmocka_unit_test(test_spec_parse__windows_round_down_and_same_rounds_up),
        cmocka_unit_test(test_spec_parse__says_what_is_wrong_and_where),
        cmocka_unit_test(test_spec_parse__escapes_what_it_quotes),
        cmocka_unit_test(test_spec_parse__limits_are_inclusive),
        cmocka_unit_test(test_spec_parse__counts_layers_and_bytes),
        cmocka_unit_test(test_spec_print__is_canonical),
        cmocka_unit_test(test_spec_print__keeps_every_dropout_rate),
        cmocka_unit_test(test_spec_parse__every_allocation_may_fail),
        cmocka_unit_test(test_layout_new__of_every_kind_of_layer),
        cmocka_unit_test(test_layout_new__of_mcmahans_networks),
        cmocka_unit_test(test_layout_new__of_plain_tensors_and_without_bias),
        cmocka_unit_test(test_layout_new__every_allocation_may_fail),
        cmocka_unit_test(test_layout_init_weights__has_the_papers_variances),
        cmocka_unit_test(test_plan_check__what_a_schedule_needs),
        cmocka_unit_test(test_plan_check_model__augments_images_only),
        cmocka_unit_test(test_plan_check__ranges),
        cmocka_unit_test(test_job_def_check__names_the_field),
        cmocka_unit_test(test_job_def_cohort__rounds_up_and_is_limited),
        cmocka_unit_test(test_job_def_copy__is_deep),
        cmocka_unit_test(test_metrics_set__replaces_and_checks),
        cmocka_unit_test(test_metrics_check__refuses_what_a_peer_may_send),
        cmocka_unit_test(test_metrics_mean__weighs_each_name_by_its_own_examples),
        cmocka_unit_test(test_metrics_mean__leaves_out_what_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
