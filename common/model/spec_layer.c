/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One layer's line of a model spec: kind, name and options. What a layer may have is in two tables,
 * `kinds` and `options`. Pure; any thread.
 */
#include "model/spec_priv.h"

#include "base/file.h"

#include <string.h>

enum {
    OPTION_UNITS = 1,
    OPTION_FILTERS = 2,
    OPTION_KERNEL = 4,
    OPTION_STRIDE = 8,
    OPTION_PADDING = 16,
    OPTION_BIAS = 32,
    OPTION_INIT = 64,
    OPTION_SIZE = 128,
    OPTION_RATE = 256,
    OPTION_SLOPE = 512,
    OPTION_GROUPS = 1024,
    OPTION_DIMS = 2048
};

static const struct {
    unsigned needed;
    unsigned allowed;
} kinds[] = {
    [WEFT_LAYER_DENSE] = {OPTION_UNITS, OPTION_UNITS | OPTION_BIAS | OPTION_INIT},
    [WEFT_LAYER_CONV2D] = {OPTION_FILTERS | OPTION_KERNEL,
                           OPTION_FILTERS | OPTION_KERNEL | OPTION_STRIDE | OPTION_PADDING |
                               OPTION_GROUPS | OPTION_BIAS | OPTION_INIT},
    [WEFT_LAYER_MAXPOOL] = {OPTION_SIZE, OPTION_SIZE | OPTION_STRIDE},
    [WEFT_LAYER_AVGPOOL] = {OPTION_SIZE, OPTION_SIZE | OPTION_STRIDE},
    [WEFT_LAYER_RELU] = {0, 0},
    [WEFT_LAYER_TANH] = {0, 0},
    [WEFT_LAYER_SIGMOID] = {0, 0},
    [WEFT_LAYER_FLATTEN] = {0, 0},
    [WEFT_LAYER_DROPOUT] = {OPTION_RATE, OPTION_RATE},
    [WEFT_LAYER_LEAKY_RELU] = {0, OPTION_SLOPE},
    [WEFT_LAYER_GROUPNORM] = {OPTION_GROUPS, OPTION_GROUPS},
    [WEFT_LAYER_EMBEDDING] = {OPTION_DIMS, OPTION_DIMS},
    [WEFT_LAYER_LSTM] = {OPTION_UNITS, OPTION_UNITS | OPTION_BIAS},
    [WEFT_LAYER_GRU] = {OPTION_UNITS, OPTION_UNITS | OPTION_BIAS},
    [WEFT_LAYER_LAST_STEP] = {0, 0}, /* the rest has none, too */
};

bool weft_word_is(weft_word w, const char *text)
{
    return w.n == strlen(text) && memcmp(w.at, text, w.n) == 0;
}

int weft_word_shown(weft_word w)
{
    return w.n > 40 ? 40 : (int)w.n;
}

bool weft_word_number(uint64_t *ret, weft_word w, uint64_t max)
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

uint32_t weft_word_dimensions(uint64_t *out, uint32_t max_n, weft_word w, uint64_t max)
{
    uint32_t n = 0;
    for (;;) {
        const char *x = memchr(w.at, 'x', w.n);
        const weft_word first = {w.at, x ? (size_t)(x - w.at) : w.n};
        if (n == max_n || !weft_word_number(&out[n], first, max) || out[n] == 0) {
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

bool weft_layer_kind_parse(weft_layer_kind *ret, weft_word w)
{
    for (int i = WEFT_LAYER_DENSE; i < (int)WEFT_N_LAYER_KINDS; i++) {
        if (weft_word_is(w, weft_layer_kind_name((weft_layer_kind)i))) {
            *ret = (weft_layer_kind)i;
            return true;
        }
    }
    return false;
}

static bool dimension(uint32_t *ret, weft_word w)
{
    uint64_t v = 0;
    if (!weft_word_number(&v, w, WEFT_SPEC_MAX_DIM) || v == 0) {
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

bool weft_word_decimal(float *ret, weft_word w, uint64_t max)
{
    const char *dot = memchr(w.at, '.', w.n);
    const weft_word whole = {w.at, dot ? (size_t)(dot - w.at) : w.n};
    const weft_word decimals = {dot ? dot + 1 : w.at, dot ? w.n - whole.n - 1 : 0};
    uint64_t units = 0;
    uint64_t fraction = 0;
    if (!weft_word_number(&units, whole, max - 1) || decimals.n > 9 ||
        (dot && !weft_word_number(&fraction, decimals, 999999999))) {
        return false;
    }
    double power = 1.0;
    for (size_t i = 0; i < decimals.n; i++) {
        power *= 10.0;
    }
    const float value = (float)((double)units + (double)fraction / power);
    if (value >= (float)max) { /* 0.999999999 rounds up */
        return false;
    }
    *ret = value;
    return true;
}

static bool kernel_value(weft_layer *layer, weft_word w)
{
    uint64_t k[2] = {0, 0};
    const uint32_t n = weft_word_dimensions(k, 2, w, WEFT_SPEC_MAX_DIM);
    layer->kernel_h = (uint32_t)k[0];
    layer->kernel_w = (uint32_t)(n == 2 ? k[1] : k[0]);
    return n > 0;
}

static bool padding_value(weft_layer *layer, weft_word w)
{
    uint64_t p = 0;
    layer->pad_same = weft_word_is(w, "same");
    if (!layer->pad_same && !weft_word_is(w, "valid") &&
        !weft_word_number(&p, w, WEFT_SPEC_MAX_PADDING)) {
        return false;
    }
    layer->pad_top = layer->pad_left = layer->pad_bottom = layer->pad_right = (uint32_t)p;
    return true;
}

static bool bias_value(weft_layer *layer, weft_word w)
{
    layer->bias = weft_word_is(w, "1");
    return layer->bias || weft_word_is(w, "0");
}

static bool init_value(weft_layer *layer, weft_word w)
{
    for (int i = WEFT_INIT_HE; i <= (int)WEFT_INIT_ZERO; i++) {
        if (weft_word_is(w, weft_init_name((weft_init)i))) {
            layer->init = (weft_init)i;
            return true;
        }
    }
    return false;
}

static bool units_value(weft_layer *layer, weft_word w)
{
    return dimension(&layer->units, w);
}

static bool stride_value(weft_layer *layer, weft_word w)
{
    return dimension(&layer->stride, w);
}

static bool size_value(weft_layer *layer, weft_word w)
{
    const bool ok = dimension(&layer->kernel_h, w);
    layer->kernel_w = layer->kernel_h;
    return ok;
}

static bool fraction_value(weft_layer *layer, weft_word w)
{
    return weft_word_decimal(&layer->rate, w, 1);
}

static bool groups_value(weft_layer *layer, weft_word w)
{
    return dimension(&layer->groups, w);
}

static const struct {
    const char *name;
    unsigned bit;
    bool (*set)(weft_layer *layer, weft_word value);
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
    {"rate", OPTION_RATE, fraction_value, "0 up to, not including, 1, with at most nine decimals"},
    {"slope", OPTION_SLOPE, fraction_value,
     "0 up to, not including, 1, with at most nine decimals"},
    {"groups", OPTION_GROUPS, groups_value, "1..16777216"},
    {"dims", OPTION_DIMS, units_value, "1..16777216"},
};
enum { N_OPTIONS = sizeof options / sizeof options[0] };

static weft_status option(weft_layer *layer, weft_word w, unsigned allowed, unsigned *given,
                          uint32_t line, weft_err *err)
{
    const char *equals = memchr(w.at, '=', w.n);
    const weft_word name = {w.at, (size_t)(equals - w.at)};
    const weft_word value = {equals + 1, w.n - name.n - 1};
    const char *kind = weft_layer_kind_name(layer->kind);
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (!weft_word_is(name, options[i].name) || !(options[i].bit & allowed)) {
            continue;
        }
        if (*given & options[i].bit) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "line %u: %s is given twice", line, options[i].name);
        }
        *given |= options[i].bit;
        if (!options[i].set(layer, value)) {
            WEFT_FAIL(err, WEFT_E_INVALID, "line %u: %s=%.*s is not %s", line, options[i].name,
                      weft_word_shown(value), value.at, options[i].want);
        }
        return WEFT_OK;
    }
    WEFT_FAIL(err, WEFT_E_FORMAT, "line %u: %s has no option '%.*s'", line, kind,
              weft_word_shown(name), name.at);
}

static weft_status set_name(weft_layer *layer, weft_word w, uint32_t line, weft_err *err)
{
    if (w.n > WEFT_MAX_NAME_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "line %u: a name of %zu bytes is longer than %d", line, w.n,
                  WEFT_MAX_NAME_BYTES);
    }
    memcpy(layer->name, w.at, w.n);
    layer->name[w.n] = '\0';
    if (strlen(layer->name) != w.n || !weft_name_valid(layer->name)) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "line %u: the name '%.*s' has other characters than A-Z a-z 0-9 . _ -", line,
                  weft_word_shown(w), w.at);
    }
    return WEFT_OK;
}

weft_status weft_layer_read(weft_layer *layer, const weft_word *words, uint32_t n_words,
                            uint32_t line, weft_err *err)
{
    const unsigned needed = kinds[layer->kind].needed;
    const unsigned allowed = kinds[layer->kind].allowed;
    unsigned given = 0;
    layer->bias = (allowed & OPTION_BIAS) != 0;
    layer->groups = layer->kind == WEFT_LAYER_CONV2D ? 1 : 0;
    layer->rate = layer->kind == WEFT_LAYER_LEAKY_RELU ? WEFT_LEAKY_SLOPE : 0.0F;
    for (uint32_t i = 1; i < n_words; i++) {
        const weft_word w = words[i];
        if (memchr(w.at, '=', w.n)) {
            WEFT_TRY(option(layer, w, allowed, &given, line, err));
        } else if (i == 1) {
            WEFT_TRY(set_name(layer, w, line, err));
        } else {
            WEFT_FAIL(err, WEFT_E_FORMAT, "line %u: '%.*s' is not name=value", line,
                      weft_word_shown(w), w.at);
        }
    }
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (needed & ~given & options[i].bit) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "line %u: %s needs %s=...", line,
                      weft_layer_kind_name(layer->kind), options[i].name);
        }
    }
    if (layer->stride == 0) {
        layer->stride = layer->kind == WEFT_LAYER_CONV2D ? 1 : layer->kernel_h;
    }
    return WEFT_OK;
}
