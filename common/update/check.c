/* SPDX-License-Identifier: Apache-2.0 */
/* Validation of an update's bytes in one pass. */
#include "update/check.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Values decoded at a time when the bytes cannot be read in place. */
#define SCRATCH_VALUES 1024U

_Static_assert(SCRATCH_VALUES % WEFT_CODEC_MAX_BLOCK_VALUES == 0, "whole blocks fit the scratch");

void weft_update_check_init(weft_update_check *check, const weft_update_rules *rules)
{
    memset(check, 0, sizeof *check);
    check->rules = *rules;
    if (!check->rules.codec) {
        check->rules.codec = &weft_codec_f32;
    }
    weft_norm_init(&check->norm);
}

/* Cost beyond the norm: one look at its sum; the values are searched only when it is not finite. */
static void add_values(weft_update_check *c, const float *values, size_t n)
{
    const uint64_t first = c->norm.n;
    weft_norm_add(&c->norm, values, n);
    if (c->non_finite || isfinite(weft_norm_square(&c->norm))) {
        return;
    }
    c->non_finite = true;
    size_t i = 0;
    while (i + 1 < n && isfinite(values[i])) {
        i++;
    }
    c->first_bad = first + i;
}

static void decode_values(weft_update_check *c, const uint8_t *data, size_t size, size_t n_values)
{
    float scratch[SCRATCH_VALUES];
    if (c->malformed || c->rules.codec->decode(scratch, n_values, data, size, NULL) != WEFT_OK) {
        c->malformed = true;
        return;
    }
    add_values(c, scratch, n_values);
}

static void add_blocks(weft_update_check *c, const uint8_t *data, size_t n_blocks)
{
    const weft_codec *codec = c->rules.codec;
    const float *in_place = codec->view(data);
    if (in_place) {
        add_values(c, in_place, n_blocks * codec->block_values);
        return;
    }
    const size_t batch = SCRATCH_VALUES / codec->block_values;
    while (n_blocks > 0) {
        const size_t take = n_blocks < batch ? n_blocks : batch;
        decode_values(c, data, take * codec->block_bytes, take * codec->block_values);
        data += take * codec->block_bytes;
        n_blocks -= take;
    }
}

void weft_update_check_add(weft_update_check *c, const void *data, size_t n)
{
    const weft_codec *codec = c->rules.codec;
    const uint64_t want = codec->size_bytes(c->rules.n_params);
    const uint64_t room = c->n_bytes < want ? want - c->n_bytes : 0;
    const size_t block_bytes = codec->block_bytes;
    const uint8_t *at = data;
    uint64_t whole = c->rules.n_params / codec->block_values - c->norm.n / codec->block_values;
    c->n_bytes += n;
    n = n < room ? n : (size_t)room; /* what is too much is refused for its length alone */
    if (c->held > 0) {
        const size_t missing = block_bytes - c->held;
        const size_t take = n < missing ? n : missing;
        memcpy(c->hold + c->held, at, take);
        c->held += (uint32_t)take;
        at += take;
        n -= take;
        if (c->held == block_bytes && whole > 0) {
            decode_values(c, c->hold, block_bytes, codec->block_values);
            c->held = 0;
            whole--;
        }
    }
    const size_t n_blocks = n / block_bytes < whole ? n / block_bytes : (size_t)whole;
    if (n_blocks > 0) {
        add_blocks(c, at, n_blocks);
        at += n_blocks * block_bytes;
        n -= n_blocks * block_bytes;
    }
    if (n > 0) {
        memcpy(c->hold + c->held, at, n);
        c->held += (uint32_t)n;
    }
}

/* The sentence is for people; the code carries the decision. */
static weft_refusal refuse(weft_refusal code, weft_status told)
{
    (void)told;
    return code;
}

weft_refusal weft_update_check_finish(weft_update_check *c, uint64_t n_examples, weft_err *err)
{
    const weft_update_rules *r = &c->rules;
    const uint64_t want = r->codec->size_bytes(r->n_params);
    if (c->n_bytes != want) {
        return refuse(WEFT_REFUSAL_WRONG_SHAPE,
                      weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                                   "got %llu bytes, want %llu: %llu parameters as %s",
                                   (unsigned long long)c->n_bytes, (unsigned long long)want,
                                   (unsigned long long)r->n_params, r->codec->name));
    }
    if (c->held > 0) { /* the last block is short */
        decode_values(c, c->hold, c->held, (size_t)(r->n_params % r->codec->block_values));
        c->held = 0;
    }
    if (c->malformed) {
        return refuse(WEFT_REFUSAL_ENCODING, weft_err_set(err, WEFT_E_FORMAT, 0, __FILE__, __LINE__,
                                                          "the bytes are not %s", r->codec->name));
    }
    if (c->non_finite) {
        return refuse(WEFT_REFUSAL_NON_FINITE,
                      weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                                   "parameter %llu of %llu is not finite",
                                   (unsigned long long)c->first_bad,
                                   (unsigned long long)r->n_params));
    }
    const double norm = weft_norm_get(&c->norm);
    if (!(norm <= r->clip_norm)) {
        return refuse(WEFT_REFUSAL_NORM,
                      weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                                   "the update's L2 norm %.9g is above clip_norm %.9g", norm,
                                   r->clip_norm));
    }
    if (n_examples == 0 || n_examples > r->max_examples) {
        return refuse(WEFT_REFUSAL_WEIGHT,
                      weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                                   "the weight %llu is not within 1..%llu (max_examples)",
                                   (unsigned long long)n_examples,
                                   (unsigned long long)r->max_examples));
    }
    return WEFT_REFUSAL_NONE;
}

double weft_update_check_norm(const weft_update_check *check)
{
    return weft_norm_get(&check->norm);
}

weft_refusal weft_update_check_bytes(const weft_update_rules *rules, const void *data, size_t size,
                                     uint64_t n_examples, weft_err *err)
{
    weft_update_check check;
    weft_update_check_init(&check, rules);
    weft_update_check_add(&check, data, size);
    return weft_update_check_finish(&check, n_examples, err);
}
