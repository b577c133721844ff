/* SPDX-License-Identifier: Apache-2.0 */
/* update: codec, norm, validation, and the client's delta. */
#include "support/support.h"

#include "base/limits.h"
#include "base/rng.h"
#include "update/check.h"
#include "update/delta.h"
#include "update/norm_priv.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 10007 /* neither lanes nor blocks divide it */

static void fill(float *values, size_t n, uint64_t seed, float size)
{
    weft_rng r;
    weft_rng_init(&r, seed, 3);
    for (size_t i = 0; i < n; i++) {
        values[i] = (2.0F * weft_rng_float(&r) - 1.0F) * size;
    }
}

/* ---- codec ----------------------------------------------------------------------------------- */

static void test_codec_f32__is_little_endian(void **state)
{
    (void)state;
    const float values[2] = {1.0F, -2.5F};
    const uint8_t bytes[8] = {0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0};
    uint8_t out[8];
    weft_codec_f32.encode(out, values, 2);
    assert_memory_equal(out, bytes, 8);
    float back[2];
    assert_int_equal(weft_codec_f32.decode(back, 2, bytes, 8, NULL), WEFT_OK);
    assert_memory_equal(back, values, sizeof values);
    assert_int_equal(weft_codec_f32.size_bytes(2), 8);
    assert_true(weft_codec_f32.size_bytes(WEFT_MAX_PARAMS) == WEFT_MAX_PARAMS * 4);
}

static void test_codec_f32_decode__refuses_other_lengths(void **state)
{
    (void)state;
    const uint8_t bytes[12] = {0};
    float back[3];
    assert_int_equal(weft_codec_f32.decode(back, 2, bytes, 7, NULL), WEFT_E_FORMAT);
    assert_int_equal(weft_codec_f32.decode(back, 2, bytes, 9, NULL), WEFT_E_FORMAT);
    assert_int_equal(weft_codec_f32.decode(back, 0, bytes, 0, NULL), WEFT_OK);
    assert_int_equal(weft_codec_f32.decode(back, SIZE_MAX / 2, bytes, 12, NULL), WEFT_E_FORMAT);
}

static void test_codec_f32_view__needs_alignment(void **state)
{
    (void)state;
    const float values[2] = {1.0F, 2.0F};
    const uint8_t *bytes = (const uint8_t *)values;
    assert_true(weft_codec_f32.view(bytes) == values);
    assert_null(weft_codec_f32.view(bytes + 1));
}

static void test_codec_find__knows_f32_only(void **state)
{
    (void)state;
    assert_true(weft_codec_find("f32") == &weft_codec_f32);
    assert_null(weft_codec_find("f3"));
    assert_null(weft_codec_find("f32x"));
    assert_null(weft_codec_find(NULL));
}

static void test_refusal_name__names_every_number(void **state)
{
    (void)state;
    assert_string_equal(weft_refusal_name(WEFT_REFUSAL_NONE), "none");
    assert_string_equal(weft_refusal_name(WEFT_REFUSAL_WRONG_BASE), "wrong base");
    assert_string_equal(weft_refusal_name(WEFT_REFUSAL_WEIGHT), "weight");
    assert_string_equal(weft_refusal_name(WEFT_REFUSAL_ENCODING), "encoding");
    assert_string_equal(weft_refusal_name((weft_refusal)12), "unknown reason");
}

/* ---- norm ------------------------------------------------------------------------------------ */

static void test_norm__fast_kernel_gives_the_oracle_s_bits(void **state)
{
    (void)state;
    static float values[WEFT_NORM_BLOCK];
    fill(values, WEFT_NORM_BLOCK, 1, 3.0F);
    for (size_t groups = 0; groups <= WEFT_NORM_BLOCK / WEFT_NORM_LANES; groups += 7) {
        double a[WEFT_NORM_LANES];
        double b[WEFT_NORM_LANES];
        for (size_t j = 0; j < WEFT_NORM_LANES; j++) {
            a[j] = b[j] = (double)j / 3.0;
        }
        weft_norm_lanes_portable(a, values, groups);
        weft_norm_lanes_best()(b, values, groups);
        assert_memory_equal(a, b, sizeof a);
    }
}

static void test_norm__is_the_euclidean_norm(void **state)
{
    (void)state;
    weft_norm n;
    weft_norm_init(&n);
    assert_true(weft_norm_get(&n) == 0.0);
    const float v[2] = {3.0F, -4.0F};
    weft_norm_add(&n, v, 2);
    assert_true(weft_norm_get(&n) == 5.0);
    static float values[N];
    fill(values, N, 2, 1.0F);
    long double sum = 0.0L;
    for (size_t i = 0; i < N; i++) {
        sum += (long double)values[i] * (long double)values[i];
    }
    weft_norm_init(&n);
    weft_norm_add(&n, values, N);
    assert_true(fabs(weft_norm_get(&n) - (double)sqrtl(sum)) <= 1e-13 * (double)sqrtl(sum));
}

static void test_norm__does_not_depend_on_the_pieces(void **state)
{
    (void)state;
    static float values[N];
    fill(values, N, 4, 1e3F);
    weft_norm whole;
    weft_norm_init(&whole);
    weft_norm_add(&whole, values, N);
    weft_rng r;
    weft_rng_init(&r, 8, 0);
    for (int trial = 0; trial < 100; trial++) {
        weft_norm pieces;
        weft_norm_init(&pieces);
        const uint64_t most = UINT64_C(1) << weft_rng_below(&r, 14);
        for (size_t at = 0; at < N;) {
            const size_t left = N - at;
            const size_t want = 1 + (size_t)weft_rng_below(&r, most);
            const size_t n = want < left ? want : left;
            weft_norm_add(&pieces, values + at, n);
            at += n;
        }
        assert_memory_equal(&pieces, &whole, sizeof whole);
    }
}

static void test_norm__takes_the_extremes_of_float32(void **state)
{
    (void)state;
    const float v[3] = {FLT_MAX, -FLT_MAX, FLT_TRUE_MIN};
    weft_norm n;
    weft_norm_init(&n);
    weft_norm_add(&n, v, 3);
    assert_true(isfinite(weft_norm_square(&n)));
    weft_norm_init(&n);
    weft_norm_add(&n, &v[2], 1);
    assert_true(weft_norm_get(&n) == (double)FLT_TRUE_MIN);
}

/* ---- check ----------------------------------------------------------------------------------- */

static const weft_update_rules rules = {NULL, 4, 5.0, 100};

static void test_check__accepts_up_to_its_limits(void **state)
{
    (void)state;
    const float at[4] = {3.0F, 0.0F, -4.0F, 0.0F};
    assert_int_equal(weft_update_check_bytes(&rules, at, 16, 100, NULL), WEFT_REFUSAL_NONE);
    assert_int_equal(weft_update_check_bytes(&rules, at, 16, 1, NULL), WEFT_REFUSAL_NONE);
    const float below[4] = {3.0F, 0.0F, nextafterf(-4.0F, 0.0F), 0.0F};
    assert_int_equal(weft_update_check_bytes(&rules, below, 16, 99, NULL), WEFT_REFUSAL_NONE);
    const float zero[4] = {0};
    assert_int_equal(weft_update_check_bytes(&rules, zero, 16, 1, NULL), WEFT_REFUSAL_NONE);
}

static void test_check__refuses_with_a_reason(void **state)
{
    (void)state;
    const float fine[5] = {1.0F, 0.0F, -1.0F, 0.0F, 0.0F};
    const float above[4] = {3.0F, 0.0F, nextafterf(-4.0F, -5.0F), 0.0F};
    const float nan[4] = {1.0F, 0.0F, NAN, 0.0F};
    const float infinite[4] = {1.0F, 0.0F, 0.0F, -INFINITY};
    const struct {
        const float *data;
        size_t size;
        uint64_t n_examples;
        weft_refusal want;
        const char *message;
    } cases[] = {
        {fine, 15, 1, WEFT_REFUSAL_WRONG_SHAPE, "got 15 bytes, want 16: 4 parameters as f32"},
        {fine, 17, 1, WEFT_REFUSAL_WRONG_SHAPE, "got 17 bytes, want 16: 4 parameters as f32"},
        {fine, 0, 1, WEFT_REFUSAL_WRONG_SHAPE, "got 0 bytes, want 16: 4 parameters as f32"},
        {nan, 16, 0, WEFT_REFUSAL_NON_FINITE, "parameter 2 of 4 is not finite"},
        {infinite, 16, 1, WEFT_REFUSAL_NON_FINITE, "parameter 3 of 4 is not finite"},
        {above, 16, 1, WEFT_REFUSAL_NORM, "the update's L2 norm 5.00000038 is above clip_norm 5"},
        {fine, 16, 0, WEFT_REFUSAL_WEIGHT, "the weight 0 is not within 1..100 (max_examples)"},
        {fine, 16, 101, WEFT_REFUSAL_WEIGHT, "the weight 101 is not within 1..100 (max_examples)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weft_err err = WEFT_ERR_INIT;
        assert_int_equal(weft_update_check_bytes(&rules, cases[i].data, cases[i].size,
                                                 cases[i].n_examples, &err),
                         cases[i].want);
        assert_string_equal(err.msg, cases[i].message);
    }
}

/* Bytes at any alignment, in any pieces, with a value spoilt anywhere: one verdict. */
static void test_check__does_not_depend_on_the_pieces(void **state)
{
    (void)state;
    static float values[N];
    static uint8_t bytes[N * 4 + 8];
    fill(values, N, 12, 1.0F);
    weft_rng r;
    weft_rng_init(&r, 13, 0);
    for (int trial = 0; trial < 200; trial++) {
        const weft_update_rules all = {&weft_codec_f32, N, 1e6, 10};
        const size_t bad = (size_t)weft_rng_below(&r, 2 * N);
        const size_t shift = (size_t)weft_rng_below(&r, 4);
        const size_t extra = weft_rng_below(&r, 4) == 0 ? 1 + (size_t)trial % 4 : 0;
        memcpy(bytes + shift, values, sizeof values);
        if (bad < N) {
            const uint32_t spoilt = 0x7f800000U | (uint32_t)weft_rng_below(&r, 1U << 23);
            memcpy(bytes + shift + bad * 4, &spoilt, 4);
        }
        weft_update_check c;
        weft_update_check_init(&c, &all);
        const uint64_t most = UINT64_C(1) << weft_rng_below(&r, 17);
        const size_t total = sizeof values + extra;
        for (size_t at = 0; at < total;) {
            const size_t want = (size_t)weft_rng_below(&r, most + 1);
            const size_t n = want < total - at ? want : total - at;
            weft_update_check_add(&c, bytes + shift + at, n);
            at += n;
        }
        weft_err err = WEFT_ERR_INIT;
        const weft_refusal got = weft_update_check_finish(&c, 5, &err);
        const weft_refusal want = extra     ? WEFT_REFUSAL_WRONG_SHAPE
                                  : bad < N ? WEFT_REFUSAL_NON_FINITE
                                            : WEFT_REFUSAL_NONE;
        assert_int_equal(got, want);
        assert_true(extra > 0 || bad >= N || c.first_bad == bad);
        if (want == WEFT_REFUSAL_NONE) {
            weft_norm norm;
            weft_norm_init(&norm);
            weft_norm_add(&norm, values, N);
            assert_true(weft_update_check_norm(&c) == weft_norm_get(&norm));
        }
    }
}

/* An encoding with blocks, to prove the seam: 4 values in 9 bytes, a tag that must be 7 first; a
 * short block has its tag, too. */
static uint64_t toy_size(uint64_t n)
{
    return n / 4 * 9 + (n % 4 ? 1 + n % 4 * 2 : 0);
}

static void toy_encode(uint8_t *out, const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0) {
            *out++ = 7;
        }
        const int16_t v = (int16_t)values[i];
        memcpy(out, &v, 2);
        out += 2;
    }
}

static weft_status toy_decode(float *values, size_t n, const uint8_t *data, size_t size,
                              weft_err *err)
{
    if (size != toy_size(n)) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "length");
    }
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0 && *data++ != 7) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "tag");
        }
        int16_t v;
        memcpy(&v, data, 2);
        data += 2;
        values[i] = (float)v;
    }
    return WEFT_OK;
}

static const float *toy_view(const void *data)
{
    (void)data;
    return NULL;
}

static const weft_codec toy = {"toy", 4, 9, toy_size, toy_encode, toy_decode, toy_view};

static void test_check__streams_encodings_with_blocks(void **state)
{
    (void)state;
    enum { VALUES = 4099 };
    static float values[VALUES];
    static uint8_t bytes[VALUES * 3];
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = (float)((int)i % 50 - 25);
    }
    toy_encode(bytes, values, VALUES);
    weft_norm norm;
    weft_norm_init(&norm);
    weft_norm_add(&norm, values, VALUES);
    const weft_update_rules all = {&toy, VALUES, 1e6, 10};
    const size_t size = (size_t)toy_size(VALUES);
    for (size_t piece = 1; piece < size; piece = piece * 2 + 1) {
        for (size_t damage = 0; damage < 2; damage++) {
            const size_t tag = size - 7; /* of the short block at the end */
            bytes[tag] = damage ? 8 : 7;
            weft_update_check c;
            weft_update_check_init(&c, &all);
            for (size_t at = 0; at < size; at += piece) {
                weft_update_check_add(&c, bytes + at, piece < size - at ? piece : size - at);
            }
            assert_int_equal(weft_update_check_finish(&c, 1, NULL),
                             damage ? WEFT_REFUSAL_ENCODING : WEFT_REFUSAL_NONE);
            assert_true(damage || weft_update_check_norm(&c) == weft_norm_get(&norm));
        }
    }
}

/* ---- delta ----------------------------------------------------------------------------------- */

static const weft_delta_options wide = {NULL, 1e6, false, 1000};

static void test_delta_encode__is_new_minus_base(void **state)
{
    (void)state;
    const float weights[3] = {1.5F, 2.0F, -1.0F};
    const float base[3] = {1.0F, 4.0F, -1.0F};
    const float want[3] = {0.5F, -2.0F, 0.0F};
    uint8_t out[12];
    weft_delta_result r;
    assert_int_equal(weft_delta_encode_to(&r, out, sizeof out, weights, base, 3, 7, &wide,
                                          &weft_alloc_std, NULL),
                     WEFT_OK);
    assert_memory_equal(out, want, sizeof want);
    assert_int_equal(r.bytes, 12);
    assert_int_equal(r.n_examples, 7);
    assert_false(r.clipped);
    assert_true(r.norm == sqrt(4.25));
    uint8_t digest[WEFT_SHA256_BYTES];
    assert_int_equal(weft_sha256(digest, out, sizeof out, NULL), WEFT_OK);
    assert_memory_equal(r.digest, digest, sizeof digest);
    /* without a base the weights are the delta */
    assert_int_equal(weft_delta_encode_to(&r, out, sizeof out, weights, NULL, 3, 7, &wide,
                                          &weft_alloc_std, NULL),
                     WEFT_OK);
    assert_memory_equal(out, weights, sizeof weights);
}

/* Whatever the size of the numbers: what was clipped passes the coordinator's check, keeps its
 * direction and loses next to nothing. */
static void test_delta_encode__clips_to_what_the_check_accepts(void **state)
{
    (void)state;
    static float weights[N];
    static float base[N];
    static uint8_t out[N * 4];
    const double clips[] = {1e-30, 1e-6, 0.1, 1.0, 3.0, 1e6};
    for (size_t i = 0; i < sizeof clips / sizeof clips[0]; i++) {
        fill(weights, N, 30 + i, 1e12F);
        fill(base, N, 60 + i, 1e9F);
        const weft_delta_options options = {NULL, clips[i], false, 10};
        weft_delta_result r;
        assert_int_equal(weft_delta_encode_to(&r, out, sizeof out, weights, base, N, 1, &options,
                                              &weft_alloc_std, NULL),
                         WEFT_OK);
        assert_true(r.clipped && r.norm > clips[i]);
        const weft_update_rules limits = {NULL, N, clips[i], 10};
        weft_update_check c;
        weft_update_check_init(&c, &limits);
        weft_update_check_add(&c, out, sizeof out);
        assert_int_equal(weft_update_check_finish(&c, r.n_examples, NULL), WEFT_REFUSAL_NONE);
        assert_true(weft_update_check_norm(&c) >= clips[i] * (1.0 - 1e-6));
        const double scale = clips[i] / r.norm;
        for (size_t k = 0; k < N; k++) {
            float sent;
            memcpy(&sent, out + k * 4, 4);
            const double exact = (double)(weights[k] - base[k]) * scale;
            assert_true(fabs((double)sent - exact) <= fabs(exact) * 1e-6 + 1e-45);
        }
    }
}

static void test_delta_encode__leaves_the_limit_itself_alone(void **state)
{
    (void)state;
    const float delta[2] = {3.0F, 4.0F};
    const struct {
        double clip;
        bool clipped;
    } cases[] = {{5.0, false}, {nextafter(5.0, 6.0), false}, {nextafter(5.0, 4.0), true}};
    for (size_t i = 0; i < 3; i++) {
        weft_delta_options options = {NULL, cases[i].clip, false, 10};
        uint8_t out[8];
        weft_delta_result r;
        assert_int_equal(
            weft_delta_encode_to(&r, out, 8, delta, NULL, 2, 1, &options, &weft_alloc_std, NULL),
            WEFT_OK);
        assert_int_equal(r.clipped, cases[i].clipped);
        assert_int_equal(memcmp(out, delta, 8) == 0, !cases[i].clipped);
        /* statistics are exact or refused */
        options.exact = true;
        assert_int_equal(
            weft_delta_encode_to(&r, out, 8, delta, NULL, 2, 1, &options, &weft_alloc_std, NULL),
            cases[i].clipped ? WEFT_E_LIMIT : WEFT_OK);
    }
}

static void test_delta_encode__works_in_place(void **state)
{
    (void)state;
    static float weights[N];
    static float base[N];
    static uint8_t apart[N * 4];
    fill(weights, N, 70, 1.0F);
    fill(base, N, 71, 1.0F);
    const weft_delta_options options = {NULL, 0.5, false, 10};
    weft_delta_result a;
    weft_delta_result b;
    assert_int_equal(weft_delta_encode_to(&a, apart, sizeof apart, weights, base, N, 1, &options,
                                          &weft_alloc_std, NULL),
                     WEFT_OK);
    assert_int_equal(weft_delta_encode_to(&b, (uint8_t *)weights, sizeof weights, weights, base, N,
                                          1, &options, &weft_alloc_std, NULL),
                     WEFT_OK);
    assert_memory_equal(apart, weights, sizeof weights);
    assert_memory_equal(a.digest, b.digest, sizeof a.digest);
}

static void test_delta_encode__refuses_a_diverged_training(void **state)
{
    (void)state;
    static float weights[N];
    static uint8_t out[N * 4];
    const size_t at[] = {0, 1, 2047, 2048, N - 1};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        fill(weights, N, 80, 1.0F);
        weights[at[i]] = i % 2 ? NAN : INFINITY;
        weft_err err = WEFT_ERR_INIT;
        weft_delta_result r = {.bytes = 99};
        assert_int_equal(weft_delta_encode_to(&r, out, sizeof out, weights, NULL, N, 1, &wide,
                                              &weft_alloc_std, &err),
                         WEFT_E_INVALID);
        char want[64];
        (void)snprintf(want, sizeof want, "parameter %zu of the update is not finite", at[i]);
        assert_memory_equal(err.msg, want, strlen(want));
        assert_int_equal(r.bytes, 99); /* untouched on failure */
    }
    /* finite weights whose difference is not */
    const float high = FLT_MAX;
    const float low = -FLT_MAX;
    weft_delta_result r;
    assert_int_equal(
        weft_delta_encode_to(&r, out, 4, &high, &low, 1, 1, &wide, &weft_alloc_std, NULL),
        WEFT_E_INVALID);
}

static void test_delta_encode__checks_its_arguments(void **state)
{
    (void)state;
    const float w = 1.0F;
    uint8_t out[4];
    weft_delta_result r;
    const weft_alloc *a = &weft_alloc_std;
    assert_int_equal(weft_delta_encode_to(&r, out, 3, &w, NULL, 1, 1, &wide, a, NULL),
                     WEFT_E_LIMIT);
    assert_int_equal(weft_delta_encode_to(&r, out, 4, &w, NULL, 0, 1, &wide, a, NULL),
                     WEFT_E_INVALID);
    assert_int_equal(
        weft_delta_encode_to(&r, out, 4, &w, NULL, WEFT_MAX_PARAMS + 1, 1, &wide, a, NULL),
        WEFT_E_INVALID);
    assert_int_equal(weft_delta_encode_to(&r, out, 4, &w, NULL, 1, 0, &wide, a, NULL),
                     WEFT_E_INVALID);
    const weft_delta_options bad[] = {{NULL, 0.0, false, 10},
                                      {NULL, -1.0, false, 10},
                                      {NULL, (double)NAN, false, 10},
                                      {NULL, (double)INFINITY, false, 10},
                                      {NULL, 1.0, false, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(weft_delta_encode_to(&r, out, 4, &w, NULL, 1, 1, &bad[i], a, NULL),
                         WEFT_E_INVALID);
    }
}

static void test_delta_encode__lowers_the_weight_to_the_limit(void **state)
{
    (void)state;
    const float w = 1.0F;
    const uint64_t given[] = {999, 1000, 1001, UINT64_MAX};
    const uint64_t wanted[] = {999, 1000, 1000, 1000};
    for (size_t i = 0; i < 4; i++) {
        uint8_t out[4];
        weft_delta_result r;
        assert_int_equal(
            weft_delta_encode_to(&r, out, 4, &w, NULL, 1, given[i], &wide, &weft_alloc_std, NULL),
            WEFT_OK);
        assert_true(r.n_examples == wanted[i]);
    }
}

typedef struct counting_sink {
    size_t bytes;
    size_t fail_after;
    size_t largest;
} counting_sink;

static weft_status count_bytes(void *self, const uint8_t *data, size_t n, weft_err *err)
{
    (void)data;
    counting_sink *sink = self;
    if (sink->bytes + n > sink->fail_after) {
        WEFT_FAIL(err, WEFT_E_IO, "the disk is full");
    }
    sink->bytes += n;
    sink->largest = n > sink->largest ? n : sink->largest;
    return WEFT_OK;
}

static void test_delta_encode__streams_and_returns_the_sink_s_failure(void **state)
{
    (void)state;
    static float weights[N];
    fill(weights, N, 90, 1.0F);
    counting_sink sink = {0, SIZE_MAX, 0};
    const weft_delta_sink s = {.write = count_bytes, .self = &sink};
    weft_delta_result r;
    assert_int_equal(weft_delta_encode(&r, &s, weights, NULL, N, 1, &wide, &weft_alloc_std, NULL),
                     WEFT_OK);
    assert_int_equal(sink.bytes, N * 4);
    assert_true(sink.largest <= 16384);
    sink = (counting_sink){0, N * 2, 0};
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_delta_encode(&r, &s, weights, NULL, N, 1, &wide, &weft_alloc_std, &err),
                     WEFT_E_IO);
    assert_string_equal(err.msg, "the disk is full");
}

typedef struct passed_values {
    uint64_t next; /* first value that was not passed in this pass */
    uint32_t passes;
    uint32_t calls;
    uint64_t n;
} passed_values;

static void note_passed(void *self, uint64_t first, uint64_t n)
{
    passed_values *p = self;
    assert_true(first == p->next && n > 0 && n <= UINT64_C(1) << 18 && first + n <= p->n);
    p->next = first + n == p->n ? 0 : first + n;
    p->passes += first + n == p->n;
    p->calls++;
}

static void test_delta_encode__tells_what_it_has_read(void **state)
{
    (void)state;
    const struct {
        size_t n;
        uint32_t windows;
    } cases[] = {{1, 1}, {(1U << 18) - 1, 1}, {1U << 18, 1}, {(1U << 18) + 1, 2}, {700001, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float *weights = calloc(cases[i].n, sizeof *weights);
        assert_non_null(weights);
        counting_sink sink = {0, SIZE_MAX, 0};
        passed_values passed = {.n = cases[i].n};
        const weft_delta_sink s = {
            .write = count_bytes, .self = &sink, .passed = note_passed, .passed_self = &passed};
        weft_delta_result r;
        assert_int_equal(
            weft_delta_encode(&r, &s, weights, NULL, cases[i].n, 1, &wide, &weft_alloc_std, NULL),
            WEFT_OK);
        assert_int_equal(passed.passes, 2);
        assert_int_equal(passed.calls, 2 * cases[i].windows);
        free(weights);
    }
}

static void test_delta_encode__streams_encodings_with_blocks(void **state)
{
    (void)state;
    enum { VALUES = 4099 };
    static float values[VALUES];
    static uint8_t want[VALUES * 3];
    static uint8_t out[VALUES * 3];
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = (float)((int)i % 50 - 25);
    }
    toy_encode(want, values, VALUES);
    const weft_delta_options options = {&toy, 1e6, false, 10};
    weft_delta_result r;
    assert_int_equal(weft_delta_encode_to(&r, out, sizeof out, values, NULL, VALUES, 1, &options,
                                          &weft_alloc_std, NULL),
                     WEFT_OK);
    assert_int_equal(r.bytes, toy_size(VALUES));
    assert_memory_equal(out, want, (size_t)toy_size(VALUES));
}

static weft_status try_encode(const weft_alloc *a, void *arg)
{
    (void)arg;
    const float w = 1.0F;
    uint8_t out[4];
    weft_delta_result r;
    return weft_delta_encode_to(&r, out, sizeof out, &w, NULL, 1, 1, &wide, a, NULL);
}

static void test_delta_encode__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(try_encode, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec_f32__is_little_endian),
        cmocka_unit_test(test_codec_f32_decode__refuses_other_lengths),
        cmocka_unit_test(test_codec_f32_view__needs_alignment),
        cmocka_unit_test(test_codec_find__knows_f32_only),
        cmocka_unit_test(test_refusal_name__names_every_number),
        cmocka_unit_test(test_norm__fast_kernel_gives_the_oracle_s_bits),
        cmocka_unit_test(test_norm__is_the_euclidean_norm),
        cmocka_unit_test(test_norm__does_not_depend_on_the_pieces),
        cmocka_unit_test(test_norm__takes_the_extremes_of_float32),
        cmocka_unit_test(test_check__accepts_up_to_its_limits),
        cmocka_unit_test(test_check__refuses_with_a_reason),
        cmocka_unit_test(test_check__does_not_depend_on_the_pieces),
        cmocka_unit_test(test_check__streams_encodings_with_blocks),
        cmocka_unit_test(test_delta_encode__is_new_minus_base),
        cmocka_unit_test(test_delta_encode__clips_to_what_the_check_accepts),
        cmocka_unit_test(test_delta_encode__leaves_the_limit_itself_alone),
        cmocka_unit_test(test_delta_encode__works_in_place),
        cmocka_unit_test(test_delta_encode__refuses_a_diverged_training),
        cmocka_unit_test(test_delta_encode__checks_its_arguments),
        cmocka_unit_test(test_delta_encode__lowers_the_weight_to_the_limit),
        cmocka_unit_test(test_delta_encode__streams_and_returns_the_sink_s_failure),
        cmocka_unit_test(test_delta_encode__tells_what_it_has_read),
        cmocka_unit_test(test_delta_encode__streams_encodings_with_blocks),
        cmocka_unit_test(test_delta_encode__every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("update", tests, NULL, NULL);
}
