/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser of model specs: text into lines, lines into words; shapes and parameters are counted
 * on the way. Pure; any thread.
 */
#include "model/spec.h"

#include "model/spec_priv.h"

#include <stdio.h>
#include <string.h>

enum { MAX_WORDS = 12 }; /* a conv2d with a name and every option has eight */

typedef struct parser {
    const weft_alloc *alloc;
    weft_err *err;
    weft_spec *spec;
    uint32_t line; /* from 1 */
    uint32_t layers_cap;
    uint32_t tensors_cap;
    uint32_t seen[WEFT_N_LAYER_KINDS]; /* layers of each kind */
    bool used[WEFT_MAX_LAYERS];        /* saves that something takes */
    weft_flow flow;                    /* what the next layer gets */
    uint64_t n_params;
    weft_word words[MAX_WORDS];
    uint32_t n_words;
} parser;

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

/* ---- branches -------------------------------------------------------------------------------- */

static weft_flow flow_of(const weft_layer *save)
{
    return (weft_flow){save->in, save->image, save->vocab};
}

/* `from NAME`, `add NAME`: the save of that name. */
static weft_status find_save(parser *p, weft_layer *layer)
{
    const char *kind = weft_layer_kind_name(layer->kind);
    if (p->n_words != 2) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: %s wants the name of what was saved", p->line,
                  kind);
    }
    for (uint32_t i = 0; i < p->spec->n_layers; i++) {
        if (p->spec->layers[i].kind == WEFT_LAYER_SAVE &&
            weft_word_is(p->words[1], p->spec->layers[i].name)) {
            layer->of = i;
            p->used[i] = true;
            return WEFT_OK;
        }
    }
    WEFT_FAIL(p->err, WEFT_E_INVALID, "line %u: nothing was saved as '%.*s'", p->line,
              weft_word_shown(p->words[1]), p->words[1].at);
}

static weft_status read_layer(parser *p, weft_layer *layer)
{
    const uint32_t n = p->spec->n_layers;
    if (layer->kind == WEFT_LAYER_SAVE && p->n_words != 2) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: save wants a name", p->line);
    }
    if (layer->kind != WEFT_LAYER_FROM && layer->kind != WEFT_LAYER_ADD) {
        WEFT_TRY(weft_layer_read(layer, p->words, p->n_words, p->line, p->err));
        WEFT_TRY(unique_name(p, layer));
        return weft_layer_infer(layer, &p->flow, NULL, p->line, p->err);
    }
    WEFT_TRY(find_save(p, layer));
    WEFT_TRY(unique_name(p, layer));
    if (layer->kind == WEFT_LAYER_FROM && p->spec->layers[n - 1].kind != WEFT_LAYER_SAVE) {
        WEFT_FAIL(p->err, WEFT_E_INVALID,
                  "line %u: from leaves what comes before it unused: save it first", p->line);
    }
    const weft_flow other = flow_of(&p->spec->layers[layer->of]);
    return weft_layer_infer(layer, &p->flow, &other, p->line, p->err);
}

static weft_status layer_line(parser *p, weft_layer_kind kind)
{
    if (p->spec->input.rank == 0) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: the input line comes first", p->line);
    }
    if (p->spec->loss != WEFT_LOSS_NONE) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: the loss is the last line", p->line);
    }
    weft_layer layer = {.kind = kind};
    (void)snprintf(layer.name, sizeof layer.name, "%s%u", weft_layer_kind_name(kind),
                   ++p->seen[kind]); /* at most 23 characters */
    WEFT_TRY(read_layer(p, &layer));
    WEFT_TRY(count_params(p, weft_layer_n_params(&layer)));
    void *layers = p->spec->layers;
    WEFT_TRY(grow(p, &layers, &p->layers_cap, p->spec->n_layers, WEFT_MAX_LAYERS, sizeof layer));
    p->spec->layers = layers;
    p->spec->layers[p->spec->n_layers++] = layer;
    return WEFT_OK;
}

/* ---- the other lines ------------------------------------------------------------------------- */

/* "NAME=NUMBER", 1..max */
static bool named_number(uint64_t *ret, weft_word w, const char *name, uint64_t max)
{
    const size_t n = strlen(name);
    return w.n > n && memcmp(w.at, name, n) == 0 && w.at[n] == '=' &&
           weft_word_number(ret, (weft_word){w.at + n + 1, w.n - n - 1}, max) && *ret > 0;
}

/* input tokens=STEPS vocab=TOKENS */
static weft_status tokens_line(parser *p)
{
    uint64_t steps = 0;
    uint64_t vocab = 0;
    const weft_word *w = p->words;
    const bool turned = p->n_words == 3 && named_number(&vocab, w[1], "vocab", WEFT_SPEC_MAX_DIM);
    if (p->n_words != 3 || !named_number(&steps, w[turned ? 2 : 1], "tokens", WEFT_SPEC_MAX_DIM) ||
        (!turned && !named_number(&vocab, w[2], "vocab", WEFT_SPEC_MAX_DIM))) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT,
                  "line %u: an input of tokens wants tokens=STEPS vocab=TOKENS, each 1..%u",
                  p->line, WEFT_SPEC_MAX_DIM);
    }
    p->flow = (weft_flow){.shape = {2, (uint32_t)steps, 1, 1}, .vocab = (uint32_t)vocab};
    p->spec->input = p->flow.shape;
    p->spec->vocab = p->flow.vocab;
    return WEFT_OK;
}

static weft_status input_line(parser *p)
{
    uint64_t d[3] = {0, 1, 1};
    if (p->spec->input.rank != 0 || p->spec->n_tensors > 0) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: one input line, at the start", p->line);
    }
    if (p->n_words > 1 && memchr(p->words[1].at, '=', p->words[1].n)) {
        return tokens_line(p);
    }
    const uint32_t n =
        p->n_words == 2 ? weft_word_dimensions(d, 3, p->words[1], WEFT_SPEC_MAX_DIM) : 0;
    if (n == 0) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT,
                  "line %u: input wants HEIGHTxWIDTHxCHANNELS, STEPSxFEATURES, one number of "
                  "features, or tokens=STEPS vocab=TOKENS",
                  p->line);
    }
    if (d[0] * d[1] > WEFT_SPEC_MAX_VALUES || d[0] * d[1] * d[2] > WEFT_SPEC_MAX_VALUES) {
        WEFT_FAIL(p->err, WEFT_E_LIMIT, "line %u: an input of more than %u values", p->line,
                  WEFT_SPEC_MAX_VALUES);
    }
    const weft_shape shapes[] = {
        {1, 1, 1, (uint32_t)d[0]},
        {2, (uint32_t)d[0], 1, (uint32_t)d[1]},
        {3, (uint32_t)d[0], (uint32_t)d[1], (uint32_t)d[2]},
    };
    p->flow = (weft_flow){.shape = shapes[n - 1]};
    p->spec->input = p->flow.shape;
    return WEFT_OK;
}

static weft_status loss_line(parser *p)
{
    if (p->spec->input.rank == 0 || p->spec->loss != WEFT_LOSS_NONE) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: one loss line, behind the layers", p->line);
    }
    if (p->flow.vocab > 0) {
        WEFT_FAIL(p->err, WEFT_E_INVALID,
                  "line %u: a loss of tokens: put embedding and other layers before it", p->line);
    }
    return weft_spec_read_loss(p->spec, &p->flow.shape, p->words, p->n_words, p->line, p->err);
}

static weft_status metrics_line(parser *p)
{
    if (p->spec->loss == WEFT_LOSS_NONE || p->spec->metrics != 0) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: one metrics line, behind the loss", p->line);
    }
    return weft_spec_read_metrics(p->spec, &p->flow.shape, p->words, p->n_words, p->line, p->err);
}

static weft_status tensor_name(parser *p, weft_plain_tensor *tensor, weft_word w)
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
                p->line, weft_word_shown(w), w.at);
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
    tensor.rank =
        weft_word_dimensions(tensor.shape, WEFT_MAX_TENSOR_RANK, p->words[2], WEFT_MAX_PARAMS);
    if (tensor.rank == 0) {
        WEFT_FAIL(p->err, WEFT_E_FORMAT,
                  "line %u: the shape '%.*s' is not one to %d numbers from 1, as in 64x128",
                  p->line, weft_word_shown(p->words[2]), p->words[2].at, WEFT_MAX_TENSOR_RANK);
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
    const weft_word first = p->words[0];
    if (weft_word_is(first, "input")) {
        return input_line(p);
    }
    if (weft_word_is(first, "loss")) {
        return loss_line(p);
    }
    if (weft_word_is(first, "metrics")) {
        return metrics_line(p);
    }
    if (weft_word_is(first, "tensor")) {
        return tensor_line(p);
    }
    weft_layer_kind kind = WEFT_LAYER_DENSE;
    if (weft_layer_kind_parse(&kind, first)) {
        return layer_line(p, kind);
    }
    WEFT_FAIL(p->err, WEFT_E_FORMAT, "line %u: '%.*s' is no kind of layer", p->line,
              weft_word_shown(first), first.at);
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
        p->words[p->n_words++] = (weft_word){start, (size_t)(at - start)};
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
        WEFT_FAIL(p->err, WEFT_E_INVALID, "line %u: no layer with parameters: nothing to train",
                  p->line);
    }
    for (uint32_t i = 0; i < spec->n_layers; i++) {
        if (spec->layers[i].kind == WEFT_LAYER_SAVE && !p->used[i]) {
            WEFT_FAIL(p->err, WEFT_E_INVALID, "line %u: nothing takes what was saved as %s",
                      p->line, spec->layers[i].name);
        }
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
        weft_free(spec->alloc, spec->class_weights);
        weft_free(spec->alloc, spec->tensors);
        weft_free(spec->alloc, spec);
    }
}
