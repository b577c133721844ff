/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a model spec: its loss and what evaluation measures. Pure; any thread. */
#include "model/spec_priv.h"

#include <string.h>

/* Weights and deltas are below this. */
#define MAX_DECIMAL 1000000U

/* The value of "NAME=VALUE". */
static bool option_value(weft_word *ret, weft_word w, const char *name)
{
    const size_t n = strlen(name);
    if (w.n <= n || memcmp(w.at, name, n) != 0 || w.at[n] != '=') {
        return false;
    }
    *ret = (weft_word){w.at + n + 1, w.n - n - 1};
    return true;
}

static weft_status read_weights(weft_spec *spec, uint32_t classes, weft_word list, uint32_t line,
                                weft_err *err)
{
    float sum = 0.0F;
    spec->class_weights = weft_array(spec->alloc, classes, sizeof *spec->class_weights);
    if (!spec->class_weights) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a model spec");
    }
    for (uint32_t i = 0;; i++) {
        const char *comma = memchr(list.at, ',', list.n);
        const weft_word one = {list.at, comma ? (size_t)(comma - list.at) : list.n};
        if (i == classes || (!comma && i + 1 < classes)) {
            WEFT_FAIL(err, WEFT_E_INVALID, "line %u: weights wants one of each of %u classes", line,
                      classes);
        }
        if (!weft_word_decimal(&spec->class_weights[i], one, MAX_DECIMAL)) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "line %u: the weight '%.*s' is not 0 up to %u with at most nine decimals",
                      line, weft_word_shown(one), one.at, MAX_DECIMAL);
        }
        sum += spec->class_weights[i];
        if (!comma) {
            break;
        }
        list = (weft_word){comma + 1, list.n - one.n - 1};
    }
    if (!(sum > 0.0F)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "line %u: all weights are 0: nothing to train", line);
    }
    return WEFT_OK;
}

static weft_status read_option(weft_spec *spec, const weft_shape *out, weft_word w, uint32_t line,
                               weft_err *err)
{
    weft_word value;
    if (spec->loss == WEFT_LOSS_SOFTMAX_CE && option_value(&value, w, "weights") &&
        !spec->class_weights) {
        return read_weights(spec, out->c, value, line, err);
    }
    if (spec->loss == WEFT_LOSS_HUBER && option_value(&value, w, "delta")) {
        if (!weft_word_decimal(&spec->delta, value, MAX_DECIMAL) || !(spec->delta > 0.0F)) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "line %u: delta=%.*s is not above 0 and below %u with at most nine decimals",
                      line, weft_word_shown(value), value.at, MAX_DECIMAL);
        }
        return WEFT_OK;
    }
    WEFT_FAIL(err, WEFT_E_FORMAT, "line %u: loss %s has no option '%.*s'", line,
              weft_loss_name(spec->loss), weft_word_shown(w), w.at);
}

weft_status weft_spec_read_loss(weft_spec *spec, const weft_shape *out, const weft_word *words,
                                uint32_t n_words, uint32_t line, weft_err *err)
{
    for (int i = WEFT_LOSS_SOFTMAX_CE; i <= (int)WEFT_LOSS_HUBER; i++) {
        if (n_words >= 2 && weft_word_is(words[1], weft_loss_name((weft_loss)i))) {
            spec->loss = (weft_loss)i;
        }
    }
    if (spec->loss == WEFT_LOSS_NONE) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "line %u: loss wants softmax_cross_entropy, sigmoid_cross_entropy, mse or huber",
                  line);
    }
    if (spec->loss == WEFT_LOSS_SOFTMAX_CE && (out->rank == 3 || out->c < 2)) {
        WEFT_FAIL(
            err, WEFT_E_INVALID,
            "line %u: softmax_cross_entropy wants at least two outputs in one row, got %ux%ux%u",
            line, out->h, out->w, out->c);
    }
    spec->delta = 1.0F;
    if (n_words > 3) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "line %u: more than one option of a loss", line);
    }
    return n_words == 3 ? read_option(spec, out, words[2], line, err) : WEFT_OK;
}

/* ---- metrics --------------------------------------------------------------------------------- */

static weft_status add_metric(weft_spec *spec, uint32_t metric, weft_word w, uint32_t line,
                              weft_err *err)
{
    if (spec->metrics & metric) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "line %u: %.*s is given twice", line, weft_word_shown(w),
                  w.at);
    }
    spec->metrics |= metric;
    return WEFT_OK;
}

static weft_status check_metrics(const weft_spec *spec, const weft_shape *out, uint32_t line,
                                 weft_err *err)
{
    const bool classes = spec->loss == WEFT_LOSS_SOFTMAX_CE && out->rank == 1;
    const bool two = (classes && out->c == 2) ||
                     (spec->loss == WEFT_LOSS_SIGMOID_CE && weft_shape_size(out) == 1);
    if ((spec->metrics & WEFT_METRIC_AUC) && !two) {
        WEFT_FAIL(err, WEFT_E_INVALID, "line %u: auc is of two classes or one sigmoid output",
                  line);
    }
    if ((spec->metrics & WEFT_METRIC_RECALL) && (!classes || out->c > WEFT_SPEC_MAX_RECALL)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "line %u: recall is of the classes of softmax_cross_entropy, at most %u", line,
                  WEFT_SPEC_MAX_RECALL);
    }
    if ((spec->metrics & WEFT_METRIC_TOP_K) &&
        (spec->loss != WEFT_LOSS_SOFTMAX_CE || spec->top_k >= out->c)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "line %u: top_k is of softmax_cross_entropy and below the number of its classes",
                  line);
    }
    return WEFT_OK;
}

weft_status weft_spec_read_metrics(weft_spec *spec, const weft_shape *out, const weft_word *words,
                                   uint32_t n_words, uint32_t line, weft_err *err)
{
    if (n_words == 1) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "line %u: metrics wants some of auc, recall, top_k=K", line);
    }
    for (uint32_t i = 1; i < n_words; i++) {
        const weft_word w = words[i];
        weft_word value;
        uint64_t k = 0;
        uint32_t metric = 0;
        if (weft_word_is(w, "auc")) {
            metric = WEFT_METRIC_AUC;
        } else if (weft_word_is(w, "recall")) {
            metric = WEFT_METRIC_RECALL;
        } else if (option_value(&value, w, "top_k") &&
                   weft_word_number(&k, value, WEFT_SPEC_MAX_DIM) && k > 1) {
            metric = WEFT_METRIC_TOP_K;
            spec->top_k = (uint32_t)k;
        } else {
            WEFT_FAIL(err, WEFT_E_FORMAT,
                      "line %u: '%.*s' is none of auc, recall, top_k=K with K above 1", line,
                      weft_word_shown(w), w.at);
        }
        WEFT_TRY(add_metric(spec, metric, w, line, err));
    }
    return check_metrics(spec, out, line, err);
}
