/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser of model specs: lines into words, words into layers, shapes on the way. What a spec
 * may hold is in two tables, `kinds` and `options`. Pure; any thread.
 */
#include "model/spec.h"

#include "base/file.h"
#include "model/spec_priv.h"

#include <stdio.h>
#include <string.h>

typedef struct word {
    const char *at;
    size_t n;
} word;

enum { MAX_WORDS = 12 }; /* a conv2d with a name and every option has eight */

typedef struct parser {
    const weft_alloc *alloc;
    weft_err *err;
    weft_spec *spec;
    uint32_t line; /* from 1 */
    uint32_t layers_cap;
    uint32_t tensors_cap;
    uint32_t seen[WEFT_LAYER_DROPOUT + 1]; /* layers of each kind */
    weft_shape shape;                      /* what the next layer gets */
    uint64_t n_params;
    word words[MAX_WORDS];
    uint32_t n_words;
} parser;

enum {
    OPTION_UNITS = 1,
    OPTION_FILTERS = 2,
    OPTION_KERNEL = 4,
    OPTION_STRIDE = 8,
    OPTION_PADDING = 16,
    OPTION_BIAS = 32,
    OPTION_INIT = 64,
    OPTION_SIZE = 128,
    OPTION_RATE = 256
};

static const struct {
    weft_layer_kind kind;
    unsigned needed;
    unsigned allowed;
} kinds[] = {
    {WEFT_LAYER_DENSE, OPTION_UNITS, OPTION_UNITS | OPTION_BIAS | OPTION_INIT},
    {WEFT_LAYER_CONV2D, OPTION_FILTERS | OPTION_KERNEL,
     OPTION_FILTERS | OPTION_KERNEL | OPTION_STRIDE | OPTION_PADDING | OPTION_BIAS | OPTION_INIT},
    {WEFT_LAYER_MAXPOOL, OPTION_SIZE, OPTION_SIZE | OPTION_STRIDE},
    {WEFT_LAYER_AVGPOOL, OPTION_SIZE, OPTION_SIZE | OPTION_STRIDE},
    {WEFT_LAYER_RELU, 0, 0},
    {WEFT_LAYER_TANH, 0, 0},
    {WEFT_LAYER_SIGMOID, 0, 0},
    {WEFT_LAYER_FLATTEN, 0, 0},
    {WEFT_LAYER_DROPOUT, OPTION_RATE, OPTION_RATE},
};

static bool word_is(word w, const char *text)
{
    return w.n == strlen(text) && memcmp(w.at, text, w.n) == 0;
}

/* For messages: a word, but not pages of it. */
static int shown(word w)
{
    return w.n > 40 ? 40 : (int)w.n;
}

/* Decimal digits only, 0..max (max below 2^60). */
static bool number(uint64_t *ret, word w, uint64_t max)
{
    uint64_t v = 0;
    for (size_t i = 0; i < w.n; i++) {
        if (w.at[i] < '0' || w.at[i] > '9') {
            return false;
        }
        v = v * 10 + (uint64_t)(w.at[i] - '0');
        if (v > max) {
            return false;
        }
    }
    *ret = v;
    return w.n > 0;
}

static bool dimension(uint32_t *ret, word w)
{
    uint64_t v = 0;
    if (!number(&v, w, WEFT_SPEC_MAX_DIM) || v == 0) {
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

/* "AxBxC" into numbers 1..max; 0 when it is none of up to max_n. */
static uint32_t dimensions(uint64_t *out, uint32_t max_n, word w, uint64_t max)
{
    uint32_t n = 0;
    for (;;) {
        const char *x = memchr(w.at, 'x', w.n);
        const word first = {w.at, x ? (size_t)(x - w.at) : w.n};
        if (n == max_n || !number(&out[n], first, max) || out[n] == 0) {
            return 0;
        }
        n++;
        if (!x) {
            return n;
        }
        w.at += first.n + 1;
        w.n -= first.n + 1;
    }
}

/* [0, 1) with at most nine decimals; own code, as strtof depends on the process's locale. */
static bool rate_value(float *ret, word w)
{
    const char *dot = memchr(w.at, '.', w.n);
    const word whole = {w.at, dot ? (size_t)(dot - w.at) : w.n};
    const word decimals = {dot ? dot + 1 : w.at, dot ? w.n - whole.n - 1 : 0};
    uint64_t unit = 0;
    uint64_t fraction = 0;
    if (!number(&unit, whole, 0) || decimals.n > 9 ||
        (dot && !number(&fraction, decimals, 999999999))) {
        return false;
    }
    double power = 1.0;
    for (size_t i = 0; i < decimals.n; i++) {
        power *= 10.0;
    }
    const float value = (float)((double)fraction / power);
    if (value >= 1.0F) { /* 0.999999999 rounds up */
        return false;
    }
    *ret = value;
    return true;
}

static bool kernel_value(weft_layer *layer, word w)
{
    uint64_t k[2] = {0, 0};
    const uint32_t n = dimensions(k, 2, w, WEFT_SPEC_MAX_DIM);
    layer->kernel_h = (uint32_t)k[0];
    layer->kernel_w = (uint32_t)(n == 2 ? k[1] : k[0]);
    return n > 0;
}

static bool padding_value(weft_layer *layer, word w)
{
    uint64_t p = 0;
    layer->pad_same = word_is(w, "same");
    if (!layer->pad_same && !word_is(w, "valid") && !number(&p, w, WEFT_SPEC_MAX_PADDING)) {
        return false;
    }
    layer->pad_top = layer->pad_left = layer->pad_bottom = layer->pad_right = (uint32_t)p;
    return true;
}

static bool bias_value(weft_layer *layer, word w)
{
    layer->bias = word_is(w, "1");
    return layer->bias || word_is(w, "0");
}

static bool init_value(weft_layer *layer, word w)
{
    for (int i = WEFT_INIT_HE; i <= (int)WEFT_INIT_ZERO; i++) {
        if (word_is(w, weft_init_name((weft_init)i))) {
            layer->init = (weft_init)i;
            return true;
        }
    }
    return false;
}

static bool units_value(weft_layer *layer, word w)
{
    return dimension(&layer->units, w);
}

static bool stride_value(weft_layer *layer, word w)
{
    return dimension(&layer->stride, w);
}

static bool size_value(weft_layer *layer, word w)
{
    const bool ok = dimension(&layer->kernel_h, w);
    layer->kernel_w = layer->kernel_h;
    return ok;
}

static bool dropout_value(weft_layer *layer, word w)
{
    return rate_value(&layer->rate, w);
}

static const struct {
    const char *name;
    unsigned bit;
    bool (*set)(weft_layer *layer, word value);
    const char *want; /* for messages */
} options[] = {
    {"units", OPTION_UNITS, units_value, "1..16777216"},
    {"filters", OPTION_FILTERS, units_value, "1..16777216"},
    {"kernel", OPTION_KERNEL, kernel_value, "K or KHxKW"},
    {"stride", OPTION_STRIDE, stride_value, "1..16777216"},
    {"padding", OPTION_PADDING, padding_value, "same, valid or 0..1024"},
    {"bias", OPTION_BIAS, bias_value, "0 or 1"},
    {"init", OPTION_INIT, init_value, "he, glorot or zero"},
    {"size", OPTION_SIZE, size_value, "1..16777216"},
    {"rate", OPTION_RATE, dropout_value, "0 up to, not including, 1, with at most nine decimals"},
};
enum { N_OPTIONS = sizeof options / sizeof options[0] };

static weft_status option(parser *p, weft_layer *layer, word w, unsigned allowed, unsigned *given)
{
    const char *equals = memchr(w.at, '=', w.n);
    const word name = {w.at, (size_t)(equals - w.at)};
    const word value = {equals + 1, w.n - name.n - 1};
    const char *kind = weft_layer_kind_name(layer->kind);
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (!word_is(name, options[i].name) || !(options[i].bit & allowed)) {
            continue;
        }
        if (*given & options[i].bit) {
            WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: %s is given twice", p->line,
                      options[i].name);
        }
        *given |= options[i].bit;
        if (!options[i].set(layer, value)) {
            WEFT_FAIL(p->err, WEFT_E_INVALID, "line %u: %s=%.*s is not %s", p->line,
                      options[i].name, shown(value), value.at, options[i].want);
        }
        return WEFT_OK;
    }
    WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: %s has no option '%.*s'", p->line, kind, shown(name),
              name.at);
}

static weft_status set_name(parser *p, weft_layer *layer, word w)
{
    if (w.n > WEFT_MAX_NAME_BYTES) {
        WEFT_FAIL(p->err, WEFT_E_LIMIT, "line %u: a name of %zu bytes is longer than %d", p->line,
                  w.n, WEFT_MAX_NAME_BYTES);
    }
    memcpy(layer->name, w.at, w.n);
    layer->name[w.n] = '\0';
    if (strlen(layer->name) != w.n || !weft_name_valid(layer->name)) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT,
                  "line %u: the name '%.*s' has other characters than A-Z a-z 0-9 . _ -", p->line,
                  shown(w), w.at);
    }
    return WEFT_OK;
}

static weft_status unique_name(const parser *p, const weft_layer *layer)
{
    for (uint32_t i = 0; i < p->spec->n_layers; i++) {
        if (strcmp(p->spec->layers[i].name, layer->name) == 0) {
            WEFT_FAIL(p->err, WEFT_E_INVALID, "line %u: the name %s is used twice", p->line,
                      layer->name);
        }
    }
    return WEFT_OK;
}

static weft_status count_params(parser *p, uint64_t more)
{
    if (more > WEFT_MAX_PARAMS - p->n_params) {
        WEFT_FAIL(p->err, WEFT_E_LIMIT, "line %u: the model has more than %llu parameters", p->line,
                  (unsigned long long)WEFT_MAX_PARAMS);
    }
    p->n_params += more;
    return WEFT_OK;
}

/* Room for one more element in an array that doubles up to max. */
static weft_status grow(parser *p, void **array, uint32_t *cap, uint32_t n, uint32_t max,
                        size_t size)
{
    if (n == max) {
        WEFT_FAIL(p->err, WEFT_E_LIMIT, "line %u: more than %u lines of this kind", p->line, max);
    }
    if (n == *cap) {
        const uint32_t more = *cap ? *cap * 2 : 8;
        void *grown = weft_array_resize(p->alloc, *array, more, size);
        if (!grown) {
            WEFT_FAIL(p->err, WEFT_E_NOMEM, "no memory for a model spec");
        }
        *array = grown;
        *cap = more;
    }
    return WEFT_OK;
}

static weft_status layer_words(parser *p, weft_layer *layer, unsigned needed, unsigned allowed)
{
    unsigned given = 0;
    for (uint32_t i = 1; i < p->n_words; i++) {
        const word w = p->words[i];
        if (memchr(w.at, '=', w.n)) {
            WEFT_TRY(option(p, layer, w, allowed, &given));
        } else if (i == 1) {
            WEFT_TRY(set_name(p, layer, w));
        } else {
            WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: '%.*s' is not name=value", p->line, shown(w),
                      w.at);
        }
    }
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (needed & ~given & options[i].bit) {
            WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: %s needs %s=...", p->line,
                      weft_layer_kind_name(layer->kind), options[i].name);
        }
    }
    if (layer->stride == 0) {
        layer->stride = layer->kind == WEFT_LAYER_CONV2D ? 1 : layer->kernel_h;
    }
    return WEFT_OK;
}

static weft_status layer_line(parser *p, size_t which)
{
    const weft_layer_kind kind = kinds[which].kind;
    if (p->spec->input.rank == 0) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: the input line comes first", p->line);
    }
    if (p->spec->loss != WEFT_LOSS_NONE) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: the loss is the last line", p->line);
    }
    weft_layer layer = {.kind = kind};
    layer.bias = kind == WEFT_LAYER_DENSE || kind == WEFT_LAYER_CONV2D;
    (void)snprintf(layer.name, sizeof layer.name, "%s%u", weft_layer_kind_name(kind),
                   ++p->seen[kind]); /* at most 17 characters */
    WEFT_TRY(layer_words(p, &layer, kinds[which].needed, kinds[which].allowed));
    WEFT_TRY(unique_name(p, &layer));
    WEFT_TRY(weft_layer_infer(&layer, &p->shape, p->line, p->err));
    WEFT_TRY(count_params(p, weft_layer_n_params(&layer)));
    void *layers = p->spec->layers;
    WEFT_TRY(grow(p, &layers, &p->layers_cap, p->spec->n_layers, WEFT_MAX_LAYERS, sizeof layer));
    p->spec->layers = layers;
    p->spec->layers[p->spec->n_layers++] = layer;
    p->shape = layer.out;
    return WEFT_OK;
}

static weft_status input_line(parser *p)
{
    uint64_t d[3] = {0, 0, 0};
    if (p->spec->input.rank != 0 || p->spec->n_tensors > 0) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: one input line, at the start", p->line);
    }
    const uint32_t n = p->n_words == 2 ? dimensions(d, 3, p->words[1], WEFT_SPEC_MAX_DIM) : 0;
    if (n != 1 && n != 3) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT,
                  "line %u: input wants HEIGHTxWIDTHxCHANNELS or one number of features", p->line);
    }
    if (d[0] * d[1] > WEFT_SPEC_MAX_VALUES || d[0] * d[1] * d[2] > WEFT_SPEC_MAX_VALUES) {
        WEFT_FAIL(p->err, WEFT_E_LIMIT, "line %u: an input of more than %u values", p->line,
                  WEFT_SPEC_MAX_VALUES);
    }
    p->shape = n == 1 ? (weft_shape){1, 1, 1, (uint32_t)d[0]}
                      : (weft_shape){3, (uint32_t)d[0], (uint32_t)d[1], (uint32_t)d[2]};
    p->spec->input = p->shape;
    return WEFT_OK;
}

static weft_status loss_line(parser *p)
{
    if (p->spec->input.rank == 0 || p->spec->loss != WEFT_LOSS_NONE) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: one loss line, behind the layers", p->line);
    }
    for (int i = WEFT_LOSS_SOFTMAX_CE; i <= (int)WEFT_LOSS_MSE; i++) {
        if (p->n_words == 2 && word_is(p->words[1], weft_loss_name((weft_loss)i))) {
            p->spec->loss = (weft_loss)i;
        }
    }
    if (p->spec->loss == WEFT_LOSS_NONE) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: loss wants softmax_cross_entropy or mse",
                  p->line);
    }
    if (p->spec->loss == WEFT_LOSS_SOFTMAX_CE && (p->shape.rank != 1 || p->shape.c < 2)) {
        WEFT_FAIL(
            p->err, WEFT_E_INVALID,
            "line %u: softmax_cross_entropy wants at least two outputs in one row, got %ux%ux%u",
            p->line, p->shape.h, p->shape.w, p->shape.c);
    }
    return WEFT_OK;
}

static weft_status tensor_name(parser *p, weft_plain_tensor *tensor, word w)
{
    if (w.n > WEFT_MAX_TENSOR_NAME_BYTES) {
        WEFT_FAIL(p->err, WEFT_E_LIMIT, "line %u: a name of %zu bytes is longer than %d", p->line,
                  w.n, WEFT_MAX_TENSOR_NAME_BYTES);
    }
    for (size_t i = 0; i < w.n; i++) {
        const char c = w.at[i];
        const bool plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (!plain && (i == 0 || (c != '.' && c != '-'))) {
            WEFT_FAIL(
                p->err, WEFT_E_FORMAT,
                "line %u: the name '%.*s' has other characters than A-Z a-z 0-9 _ and, behind "
                "the first, . -",
                p->line, shown(w), w.at);
        }
    }
    memcpy(tensor->name, w.at, w.n);
    for (uint32_t i = 0; i < p->spec->n_tensors; i++) {
        if (strcmp(p->spec->tensors[i].name, tensor->name) == 0) {
            WEFT_FAIL(p->err, WEFT_E_INVALID, "line %u: the name %s is used twice", p->line,
                      tensor->name);
        }
    }
    return WEFT_OK;
}

static weft_status tensor_line(parser *p)
{
    if (p->spec->input.rank != 0) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: a spec has layers or tensors, not both",
                  p->line);
    }
    if (p->n_words != 3) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: tensor wants a name and a shape", p->line);
    }
    weft_plain_tensor tensor = {.rank = 0};
    WEFT_TRY(tensor_name(p, &tensor, p->words[1]));
    tensor.rank = dimensions(tensor.shape, WEFT_MAX_TENSOR_RANK, p->words[2], WEFT_MAX_PARAMS);
    if (tensor.rank == 0) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT,
                  "line %u: the shape '%.*s' is not one to %d numbers from 1, as in 64x128",
                  p->line, shown(p->words[2]), p->words[2].at, WEFT_MAX_TENSOR_RANK);
    }
    uint64_t count = 1;
    for (uint32_t i = 0; i < tensor.rank; i++) {
        if (__builtin_mul_overflow(count, tensor.shape[i], &count) || count > WEFT_MAX_PARAMS) {
            count = WEFT_MAX_PARAMS + 1; /* count_params refuses it */
            break;
        }
    }
    WEFT_TRY(count_params(p, count));
    void *tensors = p->spec->tensors;
    WEFT_TRY(
        grow(p, &tensors, &p->tensors_cap, p->spec->n_tensors, WEFT_MAX_TENSORS, sizeof tensor));
    p->spec->tensors = tensors;
    p->spec->tensors[p->spec->n_tensors++] = tensor;
    return WEFT_OK;
}

static weft_status parse_line(parser *p)
{
    const word first = p->words[0];
    if (word_is(first, "input")) {
        return input_line(p);
    }
    if (word_is(first, "loss")) {
        return loss_line(p);
    }
    if (word_is(first, "tensor")) {
        return tensor_line(p);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (word_is(first, weft_layer_kind_name(kinds[i].kind))) {
            return layer_line(p, i);
        }
    }
    WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: '%.*s' is no kind of layer", p->line, shown(first),
              first.at);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The words of one line, up to a comment. */
static weft_status split(parser *p, const char *at, size_t n)
{
    const char *comment = memchr(at, '#', n);
    const char *end = comment ? comment : at + n;
    p->n_words = 0;
    while (at < end) {
        if (blank(*at)) {
            at++;
            continue;
        }
        const char *start = at;
        while (at < end && !blank(*at)) {
            at++;
        }
        if (p->n_words == MAX_WORDS) {
            WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: more than %d words", p->line, MAX_WORDS);
        }
        p->words[p->n_words++] = (word){start, (size_t)(at - start)};
    }
    return WEFT_OK;
}

static weft_status check_end(const parser *p)
{
    const weft_spec *spec = p->spec;
    if (spec->n_tensors > 0) {
        return WEFT_OK;
    }
    if (spec->input.rank == 0) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: no input line, as in: input 28x28x1", p->line);
    }
    if (spec->loss == WEFT_LOSS_NONE) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT,
                  "line %u: no loss line: end with loss softmax_cross_entropy or loss mse",
                  p->line);
    }
    if (p->n_params == 0) {
        WEFT_FAIL(p->err, WEFT_E_INVALID, "line %u: no dense or conv2d layer: nothing to train",
                  p->line);
    }
    return WEFT_OK;
}

static void free_spec(weft_spec **spec)
{
    weft_spec_free(*spec);
}

weft_status weft_spec_parse(weft_spec **ret, const char *text, size_t size, const weft_alloc *a,
                            weft_err *err)
{
    if (size > WEFT_MAX_SPEC_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a model spec of %zu bytes is longer than %u", size,
                  WEFT_MAX_SPEC_BYTES);
    }
    __attribute__((cleanup(free_spec))) weft_spec *spec = weft_array(a, 1, sizeof *spec);
    if (!spec) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model spec");
    }
    spec->alloc = a;
    parser p = {.alloc = a, .err = err, .spec = spec, .line = 1};
    for (size_t at = 0; at < size; p.line++) {
        const char *newline = memchr(text + at, '\n', size - at);
        const size_t n = newline ? (size_t)(newline - (text + at)) : size - at;
        WEFT_TRY(split(&p, text + at, n));
        if (p.n_words > 0) {
            WEFT_TRY(parse_line(&p));
        }
        at += n + 1;
    }
    WEFT_TRY(check_end(&p));
    *ret = spec;
    spec = NULL;
    return WEFT_OK;
}

void weft_spec_free(weft_spec *spec)
{
    if (spec) {
        weft_free(spec->alloc, spec->layers);
        weft_free(spec->alloc, spec->tensors);
        weft_free(spec->alloc, spec);
    }
}
