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

/* ---- gemm ------------------------------------------------------------------------------------ */

static void test_gemm_blas__equals_the_loops(void **state)
{
    (void)state;
    weft_rng rng;
    weft_rng_init(&rng, 1, 0);
    for (int i = 0; i < 60; i++) {
        const size_t m = between(&rng, 1, 40);
        const size_t n = between(&rng, 1, 40);
        const size_t k = between(&rng, 1, 40);
        const weft_trans ta = i % 2 ? WEFT_TRANSPOSED : WEFT_PLAIN;
        const weft_trans tb = i / 2 % 2 ? WEFT_TRANSPOSED : WEFT_PLAIN;
        const float beta = i % 3 ? 1.5F : 0.0F;
        float *a = random_floats(&rng, m * k);
        float *b = random_floats(&rng, k * n);
        float *want = random_floats(&rng, m * n);
        float *got = garbage(m * n);
        if (beta != 0.0F) {
            memcpy(got, want, m * n * sizeof *got);
        } else {
            memset(want, 0xff, m * n * sizeof *want); /* beta 0 does not read */
        }
        const weft_mat ma = {a, ta ? m : k, ta};
        const weft_mat mb = {b, tb ? k : n, tb};
        weft_gemm_naive(want, n, m, n, k, -0.5F, ma, mb, beta);
        weft_gemm_blas(got, n, m, n, k, -0.5F, ma, mb, beta);
        assert_close(got, want, m * n, "gemm");
        free(a);
        free(b);
        free(want);
        free(got);
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
    weft_dense_forward(&d, r.y, x, w, bias, n);
    weft_dense_backward(&d, r.dx, copy, r.y, x, w, n, scratch, r.w, r.bias, keep, -0.25F);
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
    const weft_dense naive = {in, out, relu, weft_gemm_naive, false};
    const weft_dense others[] = {
        {in, out, relu, weft_gemm_blas, false},
        {in, out, relu, weft_gemm_blas, weft_dense_has_avx2()},
    };
    dense_result want = run_dense(naive, n, x, w, bias, dy, keep);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        dense_result got = run_dense(others[i], n, x, w, bias, dy, keep);
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
    for (uint32_t n = 1; n <= WEFT_DENSE_SMALL + 1;
         n++) { /* rows of a batch, both sides of small */
        check_dense(&rng, 63 + n % 4, 97 + n, n, true, n % 2 ? 1.0F : 0.0F);
    }
    check_dense(&rng, 784, 200, 10, true, 1.0F);
    check_dense(&rng, 200, 10, 10, false, 0.0F);
}

/* A row's outputs do not depend on what else is in a small batch. */
static void test_dense_forward__does_not_depend_on_the_batch(void **state)
{
    (void)state;
    if (!weft_dense_has_avx2()) {
        skip();
    }
    weft_rng rng;
    weft_rng_init(&rng, 3, 0);
    const weft_dense d = {130, 61, true, weft_gemm_blas, true};
    float *x = random_floats(&rng, 19 * 130);
    float *w = random_floats(&rng, 130 * 61);
    float *all = garbage(19 * 61);
    float *one = garbage(61);
    weft_dense_forward(&d, all, x, w, NULL, 19);
    for (size_t i = 0; i < 19; i++) {
        weft_dense_forward(&d, one, x + i * 130, w, NULL, 1);
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

static conv_result run_conv(const weft_conv_ops *ops, const weft_conv *c, const conv_data *d,
                            bool want_dx)
{
    const size_t n_out = d->n * weft_conv_n_out(c);
    const size_t n_in = (size_t)d->n * c->h * c->w * c->cin;
    conv_result r = {garbage(n_out), garbage(n_in), garbage(weft_conv_n_weights(c)),
                     garbage(c->cout), calloc(n_out, 1)};
    float *dy = garbage(n_out);
    float *scratch = garbage(ops->scratch(c, true));
    assert_non_null(r.slot);
    memcpy(dy, d->dy, n_out * sizeof *dy);
    ops->forward(c, &(weft_conv_forward){.n = d->n,
                                         .x = d->x,
                                         .w = d->w,
                                         .bias = d->bias,
                                         .y = r.y,
                                         .slot = r.slot,
                                         .scratch = scratch});
    ops->backward(c, &(weft_conv_backward){.n = d->n,
                                           .x = d->x,
                                           .w = d->w,
                                           .y = r.y,
                                           .slot = r.slot,
                                           .dy = dy,
                                           .dx = want_dx ? r.dx : NULL,
                                           .dw = r.dw,
                                           .db = r.db,
                                           .scratch = scratch});
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

static void compare_conv(const weft_conv_ops *ops, const weft_conv *c, const conv_data *d,
                         const conv_result *want, bool want_dx, const char *name)
{
    char what[160];
    conv_result got = run_conv(ops, c, d, want_dx);
    (void)snprintf(what, sizeof what, "%s %ux%ux%u %ux%u/%u pad %u %u %u %u -> %ux%ux%u pool %u/%u",
                   name, c->h, c->w, c->cin, c->kh, c->kw, c->stride, c->pad_top, c->pad_left,
                   c->pad_bottom, c->pad_right, c->oh, c->ow, c->cout, c->pool.size,
                   c->pool.stride);
    const size_t n_out = d->n * weft_conv_n_out(c);
    assert_close(got.y, want->y, n_out, what);
    if (c->pooled && memcmp(got.slot, want->slot, n_out) != 0) {
        fail_msg("%s: other slots", what);
    }
    assert_close(got.dw, want->dw, weft_conv_n_weights(c), what);
    assert_close(got.db, want->db, c->cout, what);
    if (want_dx) {
        assert_close(got.dx, want->dx, (size_t)d->n * c->h * c->w * c->cin, what);
    }
    conv_result_done(&got);
}

static void test_conv__fast_equals_naive(void **state)
{
    (void)state;
    weft_rng rng;
    weft_rng_init(&rng, 4, 0);
    uint32_t fast = 0;
    for (int i = 0; i < 150; i++) {
        const weft_conv c = random_conv(&rng);
        conv_data d = {.n = between(&rng, 1, 3)};
        d.x = random_floats(&rng, (size_t)d.n * c.h * c.w * c.cin);
        d.w = random_floats(&rng, weft_conv_n_weights(&c));
        d.bias = i % 4 ? random_floats(&rng, c.cout) : NULL;
        d.dy = random_floats(&rng, d.n * weft_conv_n_out(&c));
        conv_result want = run_conv(&weft_conv_naive, &c, &d, true);
        compare_conv(&weft_conv_blas, &c, &d, &want, i % 2, "blas");
        const weft_conv_ops *avx2 = weft_conv_avx2(&c);
        if (avx2) {
            compare_conv(avx2, &c, &d, &want, i % 2, "avx2");
            fast++;
        }
        conv_result_done(&want);
        free(d.x);
        free(d.w);
        free(d.bias);
        free(d.dy);
    }
    assert_true(fast > 75 || !weft_dense_has_avx2()); /* they were there to be compared */
}

static void test_conv_choose__takes_the_fast_kernels_for_mcmahans_cnn(void **state)
{
    (void)state;
    weft_conv c = {28, 28, 1,  5,  5,  1,    2,    2,
                   2,  2,  28, 28, 32, true, true, {28, 28, 32, 2, 2, 14, 14}};
    assert_ptr_equal(weft_conv_choose(&c, WEFT_KERNELS_NAIVE), &weft_conv_naive);
    assert_ptr_equal(weft_conv_choose(&c, WEFT_KERNELS_BLAS), &weft_conv_blas);
    if (weft_dense_has_avx2()) {
        assert_ptr_not_equal(weft_conv_choose(&c, WEFT_KERNELS_AUTO), &weft_conv_blas);
    }
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
    weft_loss_sum sum = {0.0, 0, 0};
    float dz[6] = {9.0F, 9.0F, 9.0F, 9.0F, 9.0F, 9.0F};
    assert_ok(weft_loss_softmax(NULL, z, right, 2, 3, 1.0F, &sum, &assert_err));
    assert_int_equal(sum.correct, 2);
    assert_ok(weft_loss_softmax(NULL, z, wrong, 2, 3, 1.0F, &sum, &assert_err));
    assert_int_equal(sum.correct, 2);
    assert_int_equal(sum.n, 4);
    const weft_loss_sum before = sum;
    assert_int_equal(weft_loss_softmax(dz, z, bad, 2, 3, 1.0F, &sum, NULL), WEFT_E_INVALID);
    assert_memory_equal(&sum, &before, sizeof sum);
    assert_true(dz[0] == 9.0F);
    /* log(e^1 + e^3 + e^2) - 3 */
    sum = (weft_loss_sum){0.0, 0, 0};
    assert_ok(weft_loss_softmax(dz, z, right, 1, 3, 1.0F, &sum, &assert_err));
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
    net_case c = {parse(text), NULL, {max_batch, train, WEFT_KERNELS_AUTO}};
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
    weft_loss_sum sum = {0.0, 0, 0};
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
        weft_loss_sum sum = {0.0, 0, 0};
        assert_ok(weft_net_new(&net, c.spec, c.layout, &c.options, &weft_alloc_std, &assert_err));
        (void)weft_net_forward(net, w, x, 1, false);
        assert_int_equal(weft_net_loss(net, i ? &labels : &targets, &sum, NULL), WEFT_E_INVALID);
        assert_ok(weft_net_loss(net, i ? &targets : &labels, &sum, &assert_err));
        weft_net_free(net);
        net_case_done(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm_blas__equals_the_loops),
        cmocka_unit_test(test_dense__fast_equals_naive),
        cmocka_unit_test(test_dense_forward__does_not_depend_on_the_batch),
        cmocka_unit_test(test_conv__fast_equals_naive),
        cmocka_unit_test(test_conv_choose__takes_the_fast_kernels_for_mcmahans_cnn),
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
    return cmocka_run_group_tests(tests, NULL, NULL);
}
