/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the spec's parser share. */
#ifndef WEFT_MODEL_SPEC_PRIV_H
#define WEFT_MODEL_SPEC_PRIV_H

#include "model/spec.h"

/* What arrives at a layer: a shape, and what else is known of it (see weft_layer). */
typedef struct weft_flow {
    weft_shape shape;
    weft_shape image;
    uint32_t vocab;
} weft_flow;

/**
 * Set what a layer knows of its input and output, and the padding of padding=same.
 * @param flow   what arrives; what leaves on return.
 * @param other  what `from` and `add` take: the kept value; else NULL.
 * @param line   for messages.
 * @return WEFT_E_INVALID the layer does not take that shape; WEFT_E_LIMIT the result is too large.
 */
WEFT_NODISCARD weft_status weft_layer_infer(weft_layer *layer, weft_flow *flow,
                                            const weft_flow *other, uint32_t line, weft_err *err);

/* leaky_relu's slope unless said, as PyTorch's */
#define WEFT_LEAKY_SLOPE 0.01F

/* One word of a line, in place. */
typedef struct weft_word {
    const char *at;
    size_t n;
} weft_word;

bool weft_word_is(weft_word w, const char *text);
/* For messages: its length, but not pages of it. */
int weft_word_shown(weft_word w);
/* Decimal digits only, 0..max (max below 2^60). */
bool weft_word_number(uint64_t *ret, weft_word w, uint64_t max);
/* "AxBxC" into numbers 1..max; 0 when it is none of up to max_n. */
uint32_t weft_word_dimensions(uint64_t *out, uint32_t max_n, weft_word w, uint64_t max);

/* [0, max) with at most nine decimals; own code, as strtof depends on the process's locale. */
bool weft_word_decimal(float *ret, weft_word w, uint64_t max);

bool weft_layer_kind_parse(weft_layer_kind *ret, weft_word w);
/**
 * A layer's name and options.
 * @param layer  zeroed but for its kind and default name; options and name are set.
 * @param words  [n_words], the first is the kind.
 * @return WEFT_E_FORMAT, WEFT_E_INVALID, WEFT_E_LIMIT with "line N: ...".
 */
WEFT_NODISCARD weft_status weft_layer_read(weft_layer *layer, const weft_word *words,
                                           uint32_t n_words, uint32_t line, weft_err *err);

/**
 * The loss line and the metrics line, behind all layers; words[0] is "loss" or "metrics".
 * @return as weft_layer_read.
 */
WEFT_NODISCARD weft_status weft_spec_read_loss(weft_spec *spec, const weft_shape *out,
                                               const weft_word *words, uint32_t n_words,
                                               uint32_t line, weft_err *err);
WEFT_NODISCARD weft_status weft_spec_read_metrics(weft_spec *spec, const weft_shape *out,
                                                  const weft_word *words, uint32_t n_words,
                                                  uint32_t line, weft_err *err);

#endif
