/* SPDX-License-Identifier: Apache-2.0 */
/* A client's update: delta, clip, encode, hash; one or two passes in small blocks. */
#include "update/delta.h"

#include "base/limits.h"
#include "update/delta_priv.h"
#include "update/norm.h"

#include <math.h>
#include <string.h>

/* Values of one step: the buffers below stay in the first-level cache. */
#define STEP 2048U

/* Values between two calls of `passed`. */
#define PASSED_WINDOW (UINT64_C(1) << 18)

_Static_assert(PASSED_WINDOW % STEP == 0, "windows are whole steps");
_Static_assert(STEP % WEFT_CODEC_MAX_BLOCK_VALUES == 0, "steps are whole blocks");

typedef struct source {
    const float *weights;
    const float *base; /* NULL: zeros */
    uint64_t n;
    const weft_delta_sink *sink;
} source;

void weft_delta_read(float *out, const float *weights, const float *base, uint64_t first, size_t n)
{
    if (!base) {
        memcpy(out, weights + first, n * sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = weights[first + i] - base[first + i];
    }
}

static void read_delta(float *out, const source *s, uint64_t first, size_t n)
{
    weft_delta_read(out, s->weights, s->base, first, n);
}

static size_t step_at(const source *s, uint64_t first)
{
    return s->n - first < STEP ? (size_t)(s->n - first) : STEP;
}

/* Everything before `end` was read. */
static void tell_passed(const source *s, uint64_t end)
{
    if (s->sink->passed && (end % PASSED_WINDOW == 0 || end == s->n)) {
        const uint64_t first = (end - 1) / PASSED_WINDOW * PASSED_WINDOW;
        s->sink->passed(s->sink->passed_self, first, end - first);
    }
}

weft_status weft_delta_not_finite(const float *block, size_t n, const float *weights,
                                  uint64_t first, weft_err *err)
{
    size_t i = 0;
    while (i + 1 < n && isfinite(block[i])) {
        i++;
    }
    WEFT_FAIL(err, WEFT_E_INVALID,
              "parameter %llu of the update is not finite (weight %g): the training diverged, a "
              "lower learning rate may help",
              (unsigned long long)(first + i), (double)weights[first + i]);
}

static weft_status measure(double *ret_norm, const source *s, weft_err *err)
{
    float block[STEP];
    weft_norm norm;
    weft_norm_init(&norm);
    for (uint64_t first = 0; first < s->n; first += STEP) {
        const size_t n = step_at(s, first);
        read_delta(block, s, first, n);
        weft_norm_add(&norm, block, n);
        if (!isfinite(weft_norm_square(&norm))) {
            return weft_delta_not_finite(block, n, s->weights, first, err);
        }
        tell_passed(s, first + n);
    }
    *ret_norm = weft_norm_get(&norm);
    return WEFT_OK;
}

/* x is not larger in magnitude than some float, so this cannot overflow. */
static float toward_zero(double x)
{
    float f = (float)x;
    if (fabs((double)f) > fabs(x)) {
        uint32_t bits = 0;
        memcpy(&bits, &f, sizeof bits);
        bits--;
        memcpy(&f, &bits, sizeof f);
    }
    return f;
}

static void scale_block(float *block, size_t n, double scale)
{
    for (size_t i = 0; scale < 1.0 && i < n; i++) {
        block[i] = toward_zero((double)block[i] * scale);
    }
}

static weft_status emit(weft_delta_result *ret, const source *s, const weft_codec *codec,
                        double scale, weft_hash *hash, weft_err *err)
{
    float block[STEP];
    uint8_t bytes[STEP / WEFT_CODEC_MAX_BLOCK_VALUES * WEFT_CODEC_MAX_BLOCK_BYTES];
    for (uint64_t first = 0; first < s->n; first += STEP) {
        const size_t n = step_at(s, first);
        read_delta(block, s, first, n);
        scale_block(block, n, scale);
        const size_t size = (size_t)codec->size_bytes(n);
        codec->encode(bytes, block, n);
        WEFT_TRY(weft_hash_add(hash, bytes, size, err));
        WEFT_TRY(s->sink->write(s->sink->self, bytes, size, err));
        ret->bytes += size;
        tell_passed(s, first + n);
    }
    return weft_hash_finish(ret->digest, hash, err);
}

static weft_status check_arguments(uint64_t n_params, uint64_t n_examples,
                                   const weft_delta_options *o, weft_err *err)
{
    if (n_params == 0 || n_params > WEFT_MAX_PARAMS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%llu parameters are not within 1..%llu",
                  (unsigned long long)n_params, (unsigned long long)WEFT_MAX_PARAMS);
    }
    if (n_examples == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "an update of 0 examples has no weight");
    }
    if (!(o->clip_norm > 0.0) || !isfinite(o->clip_norm) || o->max_examples == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "clip_norm %g and max_examples %llu must be above 0",
                  o->clip_norm, (unsigned long long)o->max_examples);
    }
    return WEFT_OK;
}

/* From the norm in r. */
static weft_status choose_scale(weft_delta_result *r, double *ret_scale,
                                const weft_delta_options *options, weft_err *err)
{
    r->clipped = r->norm > options->clip_norm;
    if (r->clipped && options->exact) {
        WEFT_FAIL(err, WEFT_E_LIMIT,
                  "the L2 norm %.9g is above the job's clip_norm %.9g, and statistics cannot be "
                  "scaled: raise aggregation.clip_norm",
                  r->norm, options->clip_norm);
    }
    *ret_scale = r->clipped ? options->clip_norm / r->norm * WEFT_DELTA_CLIP_MARGIN : 1.0;
    return WEFT_OK;
}

static uint64_t weight_to_send(uint64_t n_examples, const weft_delta_options *options)
{
    return n_examples < options->max_examples ? n_examples : options->max_examples;
}

weft_status weft_delta_encode(weft_delta_result *ret, const weft_delta_sink *sink,
                              const float *weights, const float *base, uint64_t n_params,
                              uint64_t n_examples, const weft_delta_options *options,
                              const weft_alloc *a, weft_err *err)
{
    WEFT_TRY(check_arguments(n_params, n_examples, options, err));
    const source s = {weights, base, n_params, sink};
    const weft_codec *codec = options->codec ? options->codec : &weft_codec_f32;
    weft_delta_result r = {0};
    WEFT_TRY(measure(&r.norm, &s, err));
    double scale = 1.0;
    WEFT_TRY(choose_scale(&r, &scale, options, err));
    r.n_examples = weight_to_send(n_examples, options);
    weft_hash *hash = NULL;
    WEFT_TRY(weft_hash_new(&hash, a, err));
    const weft_status status = emit(&r, &s, codec, scale, hash, err);
    weft_hash_free(hash);
    WEFT_TRY(status);
    *ret = r;
    return WEFT_OK;
}

/* Behind the reader: byte k of the output is written after the value that it came from was read. */
static weft_status write_memory(void *self, const uint8_t *data, size_t n, weft_err *err)
{
    (void)err;
    uint8_t **at = self;
    memcpy(*at, data, n);
    *at += n;
    return WEFT_OK;
}

/* Unscaled, which is right unless the norm says otherwise in the end. */
static weft_status emit_whole(weft_delta_result *ret, uint8_t *out, const source *s,
                              weft_hash *hash, weft_err *err)
{
    float block[STEP];
    weft_norm norm;
    weft_norm_init(&norm);
    for (uint64_t first = 0; first < s->n; first += STEP) {
        const size_t n = step_at(s, first);
        read_delta(block, s, first, n);
        weft_norm_add(&norm, block, n);
        if (!isfinite(weft_norm_square(&norm))) {
            return weft_delta_not_finite(block, n, s->weights, first, err);
        }
        uint8_t *at = out + first * sizeof(float);
        weft_codec_f32.encode(at, block, n);
        WEFT_TRY(weft_hash_add(hash, at, n * sizeof(float), err));
    }
    ret->norm = weft_norm_get(&norm);
    return weft_hash_finish(ret->digest, hash, err);
}

/* What is there, scaled: f32 gives back the very values that went in. */
static weft_status scale_whole(weft_delta_result *ret, uint8_t *out, const source *s, double scale,
                               weft_hash *hash, weft_err *err)
{
    float block[STEP];
    for (uint64_t first = 0; first < s->n; first += STEP) {
        const size_t n = step_at(s, first);
        uint8_t *at = out + first * sizeof(float);
        WEFT_TRY(weft_codec_f32.decode(block, n, at, n * sizeof(float), err));
        scale_block(block, n, scale);
        weft_codec_f32.encode(at, block, n);
        WEFT_TRY(weft_hash_add(hash, at, n * sizeof(float), err));
    }
    return weft_hash_finish(ret->digest, hash, err);
}

static weft_status encode_f32_to(weft_delta_result *ret, uint8_t *out, const source *s,
                                 const weft_delta_options *options, weft_hash *hash, weft_err *err)
{
    WEFT_TRY(emit_whole(ret, out, s, hash, err));
    double scale = 1.0;
    WEFT_TRY(choose_scale(ret, &scale, options, err));
    ret->bytes = weft_codec_f32.size_bytes(s->n);
    return ret->clipped ? scale_whole(ret, out, s, scale, hash, err) : WEFT_OK;
}

weft_status weft_delta_encode_to(weft_delta_result *ret, uint8_t *out, size_t out_size,
                                 const float *weights, const float *base, uint64_t n_params,
                                 uint64_t n_examples, const weft_delta_options *options,
                                 const weft_alloc *a, weft_err *err)
{
    const weft_codec *codec = options->codec ? options->codec : &weft_codec_f32;
    if (n_params <= WEFT_MAX_PARAMS && codec->size_bytes(n_params) > out_size) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%llu parameters need %llu bytes, the output has %zu",
                  (unsigned long long)n_params, (unsigned long long)codec->size_bytes(n_params),
                  out_size);
    }
    uint8_t *at = out;
    const weft_delta_sink sink = {.write = write_memory, .self = &at};
    if (codec != &weft_codec_f32) {
        return weft_delta_encode(ret, &sink, weights, base, n_params, n_examples, options, a, err);
    }
    WEFT_TRY(check_arguments(n_params, n_examples, options, err));
    const source s = {weights, base, n_params, &sink};
    weft_delta_result r = {.n_examples = weight_to_send(n_examples, options)};
    weft_hash *hash = NULL;
    WEFT_TRY(weft_hash_new(&hash, a, err));
    const weft_status status = encode_f32_to(&r, out, &s, options, hash, err);
    weft_hash_free(hash);
    WEFT_TRY(status);
    *ret = r;
    return WEFT_OK;
}
