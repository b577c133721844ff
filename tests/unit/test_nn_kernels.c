/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each fast kernel against its naive twin on random shapes, the pieces around them, and the nets
 * that are built of them.
 */
#include "support/support.h"

#include "base/rng.h"
#include "nn/activation.h"
#include "nn/conv.h"
#include "nn/dense.h"
#include "nn/isa/isa.h"
#include "nn/loss.h"
#include "nn/net.h"
#include "nn/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *random_floats(weft_rng *rng, size_t n)
{
    float *p = calloc(n ? n : 1, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        p[i] = (float)weft_rng_normal(rng);
    }
    return p;
}

static float *garbage(size_t n)
{
    float *p = calloc(n ? n : 1, sizeof *p);
    assert_non_null(p);
    memset(p, 0xff, n * sizeof *p); /* NaN */
    return p;
}

/* Largest difference, relative to the largest value. */
static void assert_close(const float *got, const float *want, size_t n, const char *what)
{
    double most = 1e-30;
    double worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)want[i]));
        const double d = fabs((double)got[i] - (double)want[i]);
        worst = d <= 1e30 ? fmax(worst, d) : 1e30; /* NaN, too */
    }
    if (worst > 2e-6 * most) {
        fail_msg("%s: differs by %g of %g", what, worst, most);
    }
}

static uint32_t between(weft_rng *rng, uint32_t low, uint32_t high)
{
    return low + (uint32_t)weft_rng_below(rng, high - low + 1);
}

/* The instruction sets that this processor has. */
static const weft_isa_kind all_isas[] = {WEFT_ISA_PLAIN, WEFT_ISA_AVX2, WEFT_ISA_AVX512};
enum { N_ISAS = 3 };

/* ---- gemm ------------------------------------------------------------------------------------ */

typedef struct gemm_case {
    size_t m, n, k;
    weft_trans ta, tb;
    float alpha, beta;
} gemm_case;

/* What is behind a row of c stays as it is. */
enum { BEHIND = 3 };

static float *run_gemm(weft_gemm_fn *gemm, const gemm_case *c, const float *a, const float *b,
                       const float *start)
{
    const size_t stride = c->n + BEHIND;
    float *out = garbage(c->m * stride);
    if (c->beta != 0.0F) { /* else it is not read */
        memcpy(out, start, c->m * stride * sizeof *out);
    } else {
        for (size_t row = 0; row < c->m; row++) {
            memcpy(out + row * stride + c->n, start + row * stride + c->n, BEHIND * sizeof *out);
        }
    }
    const weft_mat ma = {a, c->ta ? c->m : c->k, c->ta};
    const weft_mat mb = {b, c->tb ? c->k : c->n, c->tb};
    gemm(out, stride, c->m, c->n, c->k, c->alpha, ma, mb, c->beta);
    return out;
}

static void check_gemm(weft_rng *rng, const gemm_case *c)
{
    char what[120];
    const size_t size = c->m * (c->n + BEHIND);
    float *a = random_floats(rng, c->m * c->k);
    float *b = random_floats(rng, c->k * c->n);
    float *start = random_floats(rng, size);
    float *want = run_gemm(weft_gemm_naive, c, a, b, start);
    float *blas = run_gemm(weft_gemm_blas, c, a, b, start);
    (void)snprintf(what, sizeof what, "gemm %zux%zux%zu %d%d %g %g", c->m, c->n, c->k, (int)c->ta,
                   (int)c->tb, (double)c->alpha, (double)c->beta);
    assert_close(blas, want, size, what);
    float *plain = run_gemm(weft_isa_get(WEFT_ISA_PLAIN)->gemm, c, a, b, start);
    assert_close(plain, want, size, what);
    for (int i = 1; i < N_ISAS; i++) {
        const weft_isa *isa = weft_isa_get(all_isas[i]);
        if (isa) {
            float *got = run_gemm(isa->gemm, c, a, b, start);
            if (memcmp(got, plain, size * sizeof *got) != 0) {
                fail_msg("%s: %s has other bits than plain", what, weft_isa_name(all_isas[i]));
            }
            free(got);
        }
    }
    free(a);
    free(b);
    free(start);
    free(want);
    free(blas);
    free(plain);
}

static void test_gemm__equals_the_loops_with_the_same_bits_everywhere(void **state)
{
    (void)state;
    static const float alphas[] = {1.0F, 1.0F, -0.5F};
    static const float betas[] = {0.0F, 1.0F, 1.5F, 0.0F, 0.75F};
    weft_rng rng;
    weft_rng_init(&rng, 1, 0);
    for (int i = 0; i < 120; i++) {
        const gemm_case c = {between(&rng, 1, 45),
                             between(&rng, 1, 70),
                             between(&rng, 1, 80),
                             i % 2 ? WEFT_TRANSPOSED : WEFT_PLAIN,
                             i / 2 % 2 ? WEFT_TRANSPOSED : WEFT_PLAIN,
                             alphas[i % 3],
                             betas[i % 5]};
        check_gemm(&rng, &c);
    }
    /* several blocks of k; more rows than a tile of b that no cache keeps; no k at all */
    check_gemm(&rng, &(gemm_case){3, 20, 700, WEFT_PLAIN, WEFT_PLAIN, 1.0F, 0.0F});
    check_gemm(&rng, &(gemm_case){17, 33, 530, WEFT_TRANSPOSED, WEFT_PLAIN, -0.25F, 1.0F});
    check_gemm(&rng, &(gemm_case){16, 300, 260, WEFT_PLAIN, WEFT_PLAIN, 1.0F, 1.0F});
    check_gemm(&rng, &(gemm_case){16, 300, 260, WEFT_PLAIN, WEFT_PLAIN, 2.0F, 0.5F});
    check_gemm(&rng, &(gemm_case){9, 21, 300, WEFT_TRANSPOSED, WEFT_TRANSPOSED, 1.0F, 0.0F});
    check_gemm(&rng, &(gemm_case){5, 7, 0, WEFT_PLAIN, WEFT_PLAIN, 1.0F, 0.0F});
}

/* Infinities, NaN and the smallest numbers go through each instruction set alike: the plain one
 * computes its fused multiply-adds in float64. */
static void test_gemm__has_one_fma_for_all_numbers(void **state)
{
    (void)state;
    enum { M = 5, N = 23, K = 37 };
    weft_rng rng;
    weft_rng_init(&rng, 9, 0);
    float a[M * K];
    float b[K * N];
    for (int round = 0; round < 60; round++) {
        for (size_t i = 0; i < M * K + K * N; i++) {
            uint32_t bits = (uint32_t)weft_rng_u64(&rng);
            if (round % 4 == 0) { /* short mantissas: ties */
                bits &= 0xfff80000U;
            }
            if (round % 4 == 1) { /* exponents close to each other: cancellation */
                bits = (bits & 0x80ffffffU) | 0x3f000000U;
            }
            float *to = i < M * K ? &a[i] : &b[i - M * K];
            memcpy(to, &bits, sizeof bits);
        }
        const gemm_case c = {M, N, K, WEFT_PLAIN, WEFT_PLAIN, 1.0F, 0.0F};
        const float zeros[M * (N + BEHIND)] = {0.0F};
        float *plain = run_gemm(weft_isa_get(WEFT_ISA_PLAIN)->gemm, &c, a, b, zeros);
        for (int i = 1; i < N_ISAS; i++) {
            const weft_isa *isa = weft_isa_get(all_isas[i]);
            float *got = isa ? run_gemm(isa->gemm, &c, a, b, zeros) : NULL;
            for (size_t v = 0; got && v < M * (N + BEHIND); v++) {
                assert_true((isnan(got[v]) && isnan(plain[v])) ||
                            memcmp(&got[v], &plain[v], sizeof *got) == 0);
            }
            free(got);
        }
        free(plain);
    }
}

/* ---- dense ----------------------------------------------------------------------------------- */

typedef struct dense_result {
    float *y, *dx, *w, *bias;
} dense_result;

static dense_result run_dense(weft_dense d, uint32_t n, const float *x, const float *w,
                              const float *bias, const float *dy, float keep)
{
    dense_result r = {garbage((size_t)n * d.out), garbage((size_t)n * d.in),
                      garbage((size_t)d.in * d.out), garbage(d.out)};
    float *copy = garbage((size_t)n * d.out);
    float *scratch = garbage(d.out);
    memcpy(copy, dy, (size_t)n * d.out * sizeof *copy);
    if (keep != 0.0F) { /* the fused step: the gradient goes into the weights themselves */
        memcpy(r.w, w, (size_t)d.in * d.out * sizeof *w);
        memcpy(r.bias, bias, d.out * sizeof *bias);
        w = r.w;
    }
    weft_dense_forward(&d, r.y, x, w, bias, n, 0, d.out);
    const weft_dense_backward back = {.n = n,
                                      .x = x,
                                      .w = w,
                                      .y = r.y,
                                      .dy = copy,
                                      .dx = r.dx,
                                      .weight_to = r.w,
                                      .bias_to = r.bias,
                                      .scratch = scratch,
                                      .keep = keep,
                                      .scale = -0.25F};
    weft_dense_open(&d, &back);
    weft_dense_back(&d, &back, 0, d.in);
    free(copy);
    free(scratch);
    return r;
}

static void dense_result_done(dense_result *r)
{
    free(r->y);
    free(r->dx);
    free(r->w);
    free(r->bias);
}

static void check_dense(weft_rng *rng, uint32_t in, uint32_t out, uint32_t n, bool relu, float keep)
{
    float *x = random_floats(rng, (size_t)n * in);
    float *w = random_floats(rng, (size_t)in * out);
    float *bias = random_floats(rng, out);
    float *dy = random_floats(rng, (size_t)n * out);
    const weft_dense naive = {in, out, relu, weft_gemm_naive};
    weft_gemm_fn *others[N_ISAS + 1] = {weft_gemm_blas};
    for (int i = 0; i < N_ISAS; i++) {
        const weft_isa *isa = weft_isa_get(all_isas[i]);
        others[i + 1] = isa ? isa->gemm : NULL;
    }
    dense_result want = run_dense(naive, n, x, w, bias, dy, keep);
    for (size_t i = 0; i < N_ISAS + 1; i++) {
        if (!others[i]) {
            continue;
        }
        dense_result got =
            run_dense((weft_dense){in, out, relu, others[i]}, n, x, w, bias, dy, keep);
        assert_close(got.y, want.y, (size_t)n * out, "dense y");
        assert_close(got.dx, want.dx, (size_t)n * in, "dense dx");
        assert_close(got.w, want.w, (size_t)in * out, "dense w");
        assert_close(got.bias, want.bias, out, "dense bias");
        dense_result_done(&got);
    }
    dense_result_done(&want);
    free(x);
    free(w);
    free(bias);
    free(dy);
}

static void test_dense__fast_equals_naive(void **state)
{
    (void)state;
    weft_rng rng;
    weft_rng_init(&rng, 2, 0);
    for (uint32_t out = 1; out <= 57; out++) { /* every width of a panel, whole and in part */
        check_dense(&rng, 1 + out % 7, out, 1 + out % 4, out % 2, out % 3 ? 0.0F : 0.5F);
    }
    for (uint32_t n = 1; n <= 31; n++) { /* rows of a batch, of one tile and of three */
        check_dense(&rng, 63 + n % 4, 97 + n, n, true, n % 2 ? 1.0F : 0.0F);
    }
    check_dense(&rng, 784, 200, 10, true, 1.0F);
    check_dense(&rng, 200, 10, 10, false, 0.0F);
}

/* A row's outputs do not depend on what else is in a batch, nor on who computes which. */
static void test_dense_forward__does_not_depend_on_the_batch(void **state)
{
    (void)state;
    weft_rng rng;
    weft_rng_init(&rng, 3, 0);
    const weft_dense d = {130, 61, true, weft_isa_get(WEFT_ISA_BEST)->gemm};
    float *x = random_floats(&rng, 19 * 130);
    float *w = random_floats(&rng, 130 * 61);
    float *all = garbage(19 * 61);
    float *one = garbage(61);
    weft_dense_forward(&d, all, x, w, NULL, 19, 0, 61);
    for (size_t i = 0; i < 19; i++) {
        weft_dense_forward(&d, one, x + i * 130, w, NULL, 1, 0, 32);
        weft_dense_forward(&d, one, x + i * 130, w, NULL, 1, 32, 61);
        assert_memory_equal(one, all + i * 61, 61 * sizeof *one);
    }
    free(x);
    free(w);
    free(all);
    free(one);
}

/* ---- convolution ----------------------------------------------------------------------------- */

static uint32_t outputs(uint32_t n, uint32_t kernel, uint32_t stride)
{
    return (n - kernel) / stride + 1;
}

static weft_conv random_conv(weft_rng *rng)
{
    static const uint32_t filters[] = {1, 3, 8, 16, 16, 32, 48};
    static const uint32_t channels[] = {1, 1, 2, 3, 8, 16, 20, 33};
    weft_conv c = {.h = between(rng, 3, 13), .w = between(rng, 3, 13)};
    c.cin = channels[weft_rng_below(rng, 8)];
    c.cout = filters[weft_rng_below(rng, 7)];
    c.kh = between(rng, 1, 5);
    c.kw = between(rng, 1, 5);
    c.stride = between(rng, 0, 3) ? 1 : between(rng, 1, 3);
    c.pad_top = between(rng, 0, 3);
    c.pad_bottom = between(rng, 0, 3);
    c.pad_left = between(rng, 0, 3);
    c.pad_right = between(rng, 0, 3);
    c.h = c.h < c.kh ? c.kh : c.h;
    c.w = c.w < c.kw ? c.kw : c.w;
    c.oh = outputs(c.h + c.pad_top + c.pad_bottom, c.kh, c.stride);
    c.ow = outputs(c.w + c.pad_left + c.pad_right, c.kw, c.stride);
    c.relu = between(rng, 0, 2) > 0;
    const uint32_t size = between(rng, 1, 3);
    if (between(rng, 0, 3) > 0 && size <= c.oh && size <= c.ow) {
        const uint32_t stride = between(rng, 0, 2) ? size : between(rng, 1, 3);
        c.pooled = true;
        c.pool = (weft_pool){c.oh,
                             c.ow,
                             c.cout,
                             size,
                             stride,
                             outputs(c.oh, size, stride),
                             outputs(c.ow, size, stride)};
    }
    return c;
}

typedef struct conv_data {
    uint32_t n;
    float *x, *w, *bias, *dy;
} conv_data;

typedef struct conv_result {
    float *y, *dx, *dw, *db;
    uint8_t *slot;
} conv_result;

static conv_result run_conv(const weft_conv_ops *ops, const weft_conv *c, const conv_data *d)
{
    const size_t n_out = d->n * weft_conv_n_out(c);
    const size_t n_in = (size_t)d->n * c->h * c->w * c->cin;
    conv_result r = {garbage(n_out), garbage(n_in), garbage(weft_conv_n_weights(c)),
                     garbage(c->cout), calloc(n_out, 1)};
    float *dy = garbage(n_out);
    const size_t n_scratch = ops->scratch(c, true);
    float *scratch = garbage(n_scratch);
    assert_non_null(r.slot);
    memcpy(dy, d->dy, n_out * sizeof *dy);
    ops->forward(c, &(weft_conv_forward){.n = d->n,
                                         .x = d->x,
                                         .w = d->w,
                                         .bias = d->bias,
                                         .y = r.y,
                                         .slot = r.slot,
                                         .scratch = scratch});
    const weft_conv_backward back = {.n = d->n,
                                     .x = d->x,
                                     .w = d->w,
                                     .y = r.y,
                                     .slot = r.slot,
                                     .dy = dy,
                                     .dx = r.dx,
                                     .dw = r.dw,
                                     .db = r.db,
                                     .scratch = scratch};
    weft_conv_open(c, &back);
    ops->to_w(c, &back, 0, c->cout / 2); /* as two threads would */
    memset(scratch, 0xff, n_scratch * sizeof *scratch);
    ops->to_w(c, &back, c->cout / 2, c->cout);
    ops->to_x(c, &back);
    free(scratch);
    free(dy);
    return r;
}

static void conv_result_done(conv_result *r)
{
    free(r->y);
    free(r->dx);
    free(r->dw);
    free(r->db);
    free(r->slot);
}

static void compare_conv(const conv_result *got, const weft_conv *c, uint32_t n,
                         const conv_result *want, const char *name)
{
    char what[160];
    (void)snprintf(what, sizeof what, "%s %ux%ux%u %ux%u/%u pad %u %u %u %u -> %ux%ux%u pool %u/%u",
                   name, c->h, c->w, c->cin, c->kh, c->kw, c->stride, c->pad_top, c->pad_left,
                   c->pad_bottom, c->pad_right, c->oh, c->ow, c->cout, c->pool.size,
                   c->pool.stride);
    const size_t n_out = n * weft_conv_n_out(c);
    assert_close(got->y, want->y, n_out, what);
    if (c->pooled && memcmp(got->slot, want->slot, n_out) != 0) {
        fail_msg("%s: other slots", what);
    }
    assert_close(got->dw, want->dw, weft_conv_n_weights(c), what);
    assert_close(got->db, want->db, c->cout, what);
    assert_close(got->dx, want->dx, (size_t)n * c->h * c->w * c->cin, what);
}

static bool same_bits(const conv_result *a, const conv_result *b, const weft_conv *c, uint32_t n)
{
    return memcmp(a->y, b->y, n * weft_conv_n_out(c) * sizeof(float)) == 0 &&
           memcmp(a->dw, b->dw, weft_conv_n_weights(c) * sizeof(float)) == 0 &&
           memcmp(a->db, b->db, c->cout * sizeof(float)) == 0 &&
           memcmp(a->dx, b->dx, (size_t)n * c->h * c->w * c->cin * sizeof(float)) == 0;
}

/* All implementations: close to the naive result, and those in isa/ with the same bits. */
static void compare_all(const weft_conv *c, const conv_data *d)
{
    conv_result want = run_conv(&weft_conv_naive, c, d);
    conv_result blas = run_conv(&weft_conv_blas, c, d);
    conv_result plain = run_conv(weft_isa_get(WEFT_ISA_PLAIN)->conv, c, d);
    compare_conv(&blas, c, d->n, &want, "blas");
    compare_conv(&plain, c, d->n, &want, "plain");
    for (int i = 1; i < N_ISAS; i++) {
        const weft_isa *isa = weft_isa_get(all_isas[i]);
        if (!isa) {
            continue;
        }
        conv_result got = run_conv(isa->conv, c, d);
        compare_conv(&got, c, d->n, &want, weft_isa_name(all_isas[i]));
        if (!same_bits(&got, &plain, c, d->n)) {
            fail_msg("%s has other bits than plain: %ux%ux%u %ux%u/%u -> %u pool %u",
                     weft_isa_name(all_isas[i]), c->h, c->w, c->cin, c->kh, c->kw, c->stride,
                     c->cout, c->pool.size);
        }
        conv_result_done(&got);
    }
    conv_result_done(&want);
    conv_result_done(&blas);
    conv_result_done(&plain);
}

static void test_conv__fast_equals_naive(void **state)
{
    (void)state;
    weft_rng rng;
    weft_rng_init(&rng, 4, 0);
    for (int i = 0; i < 150; i++) {
        const weft_conv c = random_conv(&rng);
        conv_data d = {.n = between(&rng, 1, 3)};
        d.x = random_floats(&rng, (size_t)d.n * c.h * c.w * c.cin);
        d.w = random_floats(&rng, weft_conv_n_weights(&c));
        d.bias = i % 4 ? random_floats(&rng, c.cout) : NULL;
        d.dy = random_floats(&rng, d.n * weft_conv_n_out(&c));
        compare_all(&c, &d);
        free(d.x);
        free(d.w);
        free(d.bias);
        free(d.dy);
    }
}

/* A bound of 2^28 values: 32-bit offsets. */
static void test_conv_is_small__up_to_32_bit_offsets(void **state)
{
    (void)state;
    weft_conv c = {.h = 16384, .w = 16384, .cin = 1, .kh = 3, .kw = 3, .stride = 1, .cout = 16};
    assert_true(weft_conv_is_small(&c));
    c.pad_top = 1;
    assert_false(weft_conv_is_small(&c));
    c.pad_top = 0;
    c.cout = (1U << 28) / 48;
    assert_true(weft_conv_is_small(&c));
    c.cout++;
    assert_false(weft_conv_is_small(&c));
}

/* ---- values ---------------------------------------------------------------------------------- */

static void test_rows_finish__adds_clips_and_keeps_nan(void **state)
{
    (void)state;
    float y[6] = {1.0F, -2.0F, 3.0F, -0.5F, NAN, 0.25F};
    const float bias[3] = {-2.0F, 3.0F, 0.0F};
    weft_rows_finish(y, bias, 2, 3, true);
    assert_true(y[0] == 0.0F && y[1] == 1.0F && y[2] == 3.0F && y[3] == 0.0F && y[5] == 0.25F);
    assert_true(isnan(y[4]));
}

static void test_all_finite__finds_one_in_many(void **state)
{
    (void)state;
    enum { N = 10000 };
    float *x = calloc(N, sizeof *x);
    assert_non_null(x);
    assert_true(weft_all_finite(x, N));
    static const size_t places[] = {0, 4095, 4096, N - 1};
    for (size_t i = 0; i < 4; i++) {
        const size_t at = places[i];
        x[at] = i % 2 ? INFINITY : NAN;
        assert_false(weft_all_finite(x, N));
        assert_true(weft_all_finite(x, at));
        x[at] = -3.4e38F;
        assert_true(weft_all_finite(x, N));
    }
    free(x);
}

static void test_softmax_rows__of_large_logits(void **state)
{
    (void)state;
    float z[6] = {1000.0F, 1000.0F, -1000.0F, 0.0F, logf(2.0F), logf(5.0F)};
    weft_softmax_rows(z, 2, 3);
    const float want[6] = {0.5F, 0.5F, 0.0F, 0.125F, 0.25F, 0.625F};
    assert_close(z, want, 6, "softmax");
}

static void test_loss_softmax__counts_and_refuses(void **state)
{
    (void)state;
    const float z[6] = {1.0F, 3.0F, 2.0F, 5.0F, 5.0F, 0.0F};
    const uint32_t right[2] = {1, 0}; /* of two largest, the first */
    const uint32_t wrong[2] = {0, 1};
    const uint32_t bad[2] = {0, 3};
    weft_loss_sum sum = {0};
    float dz[6] = {9.0F, 9.0F, 9.0F, 9.0F, 9.0F, 9.0F};
    assert_ok(weft_loss_softmax(NULL, z, right, 2, 3, NULL, 1.0F, &sum, &assert_err));
    assert_int_equal(sum.correct, 2);
    assert_ok(weft_loss_softmax(NULL, z, wrong, 2, 3, NULL, 1.0F, &sum, &assert_err));
    assert_int_equal(sum.correct, 2);
    assert_int_equal(sum.n, 4);
    const weft_loss_sum before = sum;
    assert_int_equal(weft_loss_softmax(dz, z, bad, 2, 3, NULL, 1.0F, &sum, NULL), WEFT_E_INVALID);
    assert_memory_equal(&sum, &before, sizeof sum);
    assert_true(dz[0] == 9.0F);
    /* log(e^1 + e^3 + e^2) - 3 */
    sum = (weft_loss_sum){0};
    assert_ok(weft_loss_softmax(dz, z, right, 1, 3, NULL, 1.0F, &sum, &assert_err));
    assert_true(fabs(sum.loss - (log(exp(1.0) + exp(3.0) + exp(2.0)) - 3.0)) < 1e-6);
}

/* ---- nets ------------------------------------------------------------------------------------ */

static const char cnn_text[] =
    "input 28x28x1\nconv2d filters=32 kernel=5 padding=same\nrelu\nmaxpool size=2\n"
    "conv2d filters=64 kernel=5 padding=same\nrelu\nmaxpool size=2\nflatten\ndense "
    "units=512\nrelu\n"
    "dense units=10\nloss softmax_cross_entropy\n";

static weft_spec *parse(const char *text)
{
    weft_spec *spec = NULL;
    assert_ok(weft_spec_parse(&spec, text, strlen(text), &weft_alloc_std, &assert_err));
    return spec;
}

typedef struct net_case {
    weft_spec *spec;
    weft_layout *layout;
    weft_net_options options;
} net_case;

static net_case net_case_new(const char *text, uint32_t max_batch, bool train)
{
    net_case c = {parse(text), NULL, WEFT_NET_OPTIONS_INIT};
    c.options.max_batch = max_batch;
    c.options.train = train;
    assert_ok(weft_layout_new(&c.layout, c.spec, &weft_alloc_std, &assert_err));
    return c;
}

static void net_case_done(net_case *c)
{
    weft_spec_free(c->spec);
    weft_layout_free(c->layout);
}

static weft_status new_net(const weft_alloc *a, void *arg)
{
    const net_case *c = arg;
    weft_net *net = NULL;
    const weft_status status = weft_net_new(&net, c->spec, c->layout, &c->options, a, NULL);
    weft_net_free(net);
    return status;
}

static void test_net_new__every_allocation_may_fail(void **state)
{
    (void)state;
    net_case c = net_case_new(cnn_text, 2, true);
    test_every_allocation_may_fail(new_net, &c);
    net_case_done(&c);
}

static void test_net_new__refuses_what_it_cannot_run(void **state)
{
    (void)state;
    net_case plain = net_case_new("tensor a 4\n", 1, true);
    assert_int_equal(new_net(&weft_alloc_std, &plain), WEFT_E_INVALID);
    net_case_done(&plain);
    net_case c = net_case_new("input 4\ndense units=2\nloss mse\n", 0, true);
    assert_int_equal(new_net(&weft_alloc_std, &c), WEFT_E_INVALID);
    c.options.max_batch = 65537;
    assert_int_equal(new_net(&weft_alloc_std, &c), WEFT_E_INVALID);
    c.options.max_batch = 65536;
    assert_int_equal(new_net(&weft_alloc_std, &c), WEFT_OK);
    net_case_done(&c);
    /* 2^28 values an example, 65536 examples: 64 TiB */
    net_case big =
        net_case_new("input 16384x16384x1\nconv2d filters=1 kernel=1\nloss mse\n", 65536, false);
    assert_int_equal(new_net(&weft_alloc_std, &big), WEFT_E_LIMIT);
    net_case_done(&big);
    net_case wide = net_case_new(
        "input 1x1x8388608\nconv2d filters=1 kernel=16 padding=same\nloss mse\n", 1, false);
    assert_int_equal(new_net(&weft_alloc_std, &wide), WEFT_E_LIMIT); /* windows of 2^31 values */
    net_case_done(&wide);
}

static void test_net__plans_its_memory_and_allocates_no_more(void **state)
{
    (void)state;
    net_case c = net_case_new(cnn_text, 10, true);
    test_alloc counted;
    test_alloc_init(&counted, 0, 0);
    weft_net *net = NULL;
    weft_rng rng;
    weft_rng_init(&rng, 5, 0);
    assert_ok(weft_net_new(&net, c.spec, c.layout, &c.options, &counted.alloc, &assert_err));
    const size_t allocations = counted.count;
    weft_net_memory memory;
    weft_net_get_memory(net, &memory);
    assert_int_equal(memory.parameters, 1663370 * 4);
    assert_int_equal(memory.workspace, memory.activations + memory.scratch + 64);
    /* outputs of conv+pool 6272 and 3136 with their slots, dense 512 and 10, the input's 784, and
     * twice the widest gradient (6272), ten times; to the next cache line each */
    const uint64_t values = 10 * (6272 + 3136 + 512 + 10 + 784 + 2 * 6272);
    assert_in_range(memory.activations, values * 4 + 10 * (6272 + 3136),
                    values * 4 + 10 * (6272 + 3136) + 9 * 64);
    assert_true(memory.workspace < 4U << 20);
    float *w = random_floats(&rng, 1663370);
    float *x = random_floats(&rng, 7840);
    uint32_t labels[10] = {0};
    weft_loss_sum sum = {0};
    const weft_truth truth = {labels, NULL};
    const weft_sink sink = {w, 1.0F, -0.01F};
    for (int i = 0; i < 3; i++) {
        (void)weft_net_forward(net, w, x, 10, true);
        assert_ok(weft_net_backward(net, &truth, 0.1F, &sink, &sum, &assert_err));
    }
    assert_int_equal(counted.count, allocations);
    weft_net_free(net);
    assert_int_equal(counted.live, 0);
    free(w);
    free(x);
    net_case_done(&c);
}

static void test_net_forward__of_inference_equals_training(void **state)
{
    (void)state;
    net_case c = net_case_new("input 12x12x1\nconv2d filters=16 kernel=3\nrelu\nmaxpool "
                              "size=2\ntanh\nconv2d filters=4 kernel=3\n"
                              "sigmoid\navgpool size=3\ndropout rate=0.5\nflatten\ndense "
                              "units=5\nloss softmax_cross_entropy\n",
                              7, true);
    weft_rng rng;
    weft_rng_init(&rng, 6, 0);
    float *w = random_floats(&rng, (size_t)c.layout->n_params);
    float *x = random_floats(&rng, 7 * 144);
    float out[2][35];
    for (int i = 0; i < 2; i++) {
        weft_net *net = NULL;
        c.options.train = i;
        assert_ok(weft_net_new(&net, c.spec, c.layout, &c.options, &weft_alloc_std, &assert_err));
        assert_int_equal(weft_net_n_inputs(net), 144);
        assert_int_equal(weft_net_n_outputs(net), 5);
        memcpy(out[i], weft_net_forward(net, w, x, 7, false), sizeof out[i]);
        weft_net_free(net);
    }
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    free(w);
    free(x);
    net_case_done(&c);
}

static void test_net_loss__wants_the_truth_that_fits(void **state)
{
    (void)state;
    const uint32_t label = 0;
    const float target = 0.0F;
    const weft_truth labels = {&label, NULL};
    const weft_truth targets = {NULL, &target};
    const float w[4] = {0};
    const float x[1] = {1.0F};
    for (int i = 0; i < 2; i++) {
        net_case c = net_case_new(i ? "input 1\ndense units=1\nloss mse\n"
                                    : "input 1\ndense units=2\nloss softmax_cross_entropy\n",
                                  1, false);
        weft_net *net = NULL;
        weft_loss_sum sum = {0};
        assert_ok(weft_net_new(&net, c.spec, c.layout, &c.options, &weft_alloc_std, &assert_err));
        (void)weft_net_forward(net, w, x, 1, false);
        assert_int_equal(weft_net_loss(net, i ? &labels : &targets, &sum, NULL), WEFT_E_INVALID);
        assert_ok(weft_net_loss(net, i ? &targets : &labels, &sum, &assert_err));
        weft_net_free(net);
        net_case_done(&c);
    }
}

static int open_blas(void **state)
{
    (void)state;
    return weft_blas_open(NULL) == WEFT_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm__equals_the_loops_with_the_same_bits_everywhere),
        cmocka_unit_test(test_gemm__has_one_fma_for_all_numbers),
        cmocka_unit_test(test_dense__fast_equals_naive),
        cmocka_unit_test(test_dense_forward__does_not_depend_on_the_batch),
        cmocka_unit_test(test_conv__fast_equals_naive),
        cmocka_unit_test(test_conv_is_small__up_to_32_bit_offsets),
        cmocka_unit_test(test_rows_finish__adds_clips_and_keeps_nan),
        cmocka_unit_test(test_all_finite__finds_one_in_many),
        cmocka_unit_test(test_softmax_rows__of_large_logits),
        cmocka_unit_test(test_loss_softmax__counts_and_refuses),
        cmocka_unit_test(test_net_new__every_allocation_may_fail),
        cmocka_unit_test(test_net_new__refuses_what_it_cannot_run),
        cmocka_unit_test(test_net__plans_its_memory_and_allocates_no_more),
        cmocka_unit_test(test_net_forward__of_inference_equals_training),
        cmocka_unit_test(test_net_loss__wants_the_truth_that_fits),
    };
    return cmocka_run_group_tests(tests, open_blas, NULL);
}
