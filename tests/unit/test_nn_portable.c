/* SPDX-License-Identifier: Apache-2.0 */
/*
 * numerics: portable. Training gives the same bits with every instruction set that this processor
 * has and with any number of threads; and those bits are the ones written down here.
 */
#include "support/support.h"

#include "base/rng.h"
#include "nn/isa/isa.h"
#include "nn/team.h"
#include "nn/train/train.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { EXAMPLES = 21, SIDE = 12, CHANNELS = 2, CLASSES = 5, INPUTS = SIDE * SIDE * CHANNELS };

/* A digest that a reader can follow: FNV-1a over the weights' bytes, low byte first. */
static uint64_t digest_of(const float *w, size_t n)
{
    uint64_t digest = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &w[i], sizeof bits);
        for (unsigned shift = 0; shift < 32; shift += 8) {
            digest = (digest ^ (bits >> shift & 0xffU)) * UINT64_C(1099511628211);
        }
    }
    return digest;
}

/* Layers of every kind, and the digests of what they have learned. A change of arithmetic changes
 * them: say so in the commit, it means that clients of both versions give different updates. */
static const struct model_case {
    const char *text;
    weft_optimizer optimizer;
    double momentum;
    uint64_t golden;
} models[] = {
    {"input 288\ndense units=37\nrelu\ndense units=21\ntanh\ndense units=5\n"
     "loss softmax_cross_entropy\n",
     WEFT_OPTIMIZER_SGD, 0.0, UINT64_C(0xe44d0df0bf5367fa)},
    {"input 12x12x2\nconv2d filters=20 kernel=5 padding=same\nrelu\nmaxpool size=2\n"
     "conv2d filters=33 kernel=3 padding=same\nrelu\nmaxpool size=3 stride=1\nflatten\n"
     "dense units=40\nrelu\ndense units=5\nloss softmax_cross_entropy\n",
     WEFT_OPTIMIZER_SGD, 0.9, UINT64_C(0x631091544707042b)},
    {"input 12x12x2\nconv2d filters=18 kernel=3 padding=same\nrelu\n"
     "conv2d filters=16 kernel=3 stride=2 padding=same\nsigmoid\navgpool size=2\n"
     "conv2d filters=9 kernel=1\nrelu\ndropout rate=0.25\nflatten\ndense units=5\n"
     "loss softmax_cross_entropy\n",
     WEFT_OPTIMIZER_ADAM, 0.0, UINT64_C(0x7e7c4509a4a9cccf)},
    {"input 24x12\nlstm units=37\ngru units=21 bias=0\nlstm units=6\nlast\ndense units=5\n"
     "loss softmax_cross_entropy\n",
     WEFT_OPTIMIZER_SGD, 0.0, UINT64_C(0x7e1d62152c5d87c7)},
    {"input 12x12x2\nconv2d filters=24 kernel=3 padding=same bias=0\ngroupnorm groups=4\nrelu\n"
     "save one\nconv2d filters=24 kernel=3 padding=same groups=24\nbatchnorm\ngelu\n"
     "conv2d filters=24 kernel=1 groups=3\nadd one\nrelu\nmaxpool size=2\nlayernorm\nsilu\n"
     "leaky_relu slope=0.1\nglobalavgpool\ndense units=5\nloss softmax_cross_entropy\n",
     WEFT_OPTIMIZER_SGD, 0.9, UINT64_C(0x6f1285f56c28a34e)},
    {"input tokens=288 vocab=9\nembedding dims=5\ngru units=7\nlast\ndense units=5\n"
     "loss softmax_cross_entropy weights=1,2,0.5,1,3\n",
     WEFT_OPTIMIZER_ADAM, 0.0, UINT64_C(0x08c140d9f32da92a)},
};

static weft_arrays drawn_examples(void)
{
    float *x = calloc((size_t)EXAMPLES * INPUTS, sizeof *x);
    uint32_t *labels = calloc(EXAMPLES, sizeof *labels);
    weft_rng rng;
    assert_true(x && labels);
    weft_rng_init(&rng, 7, 0);
    for (size_t i = 0; i < (size_t)EXAMPLES * INPUTS; i++) {
        x[i] = 2.0F * weft_rng_float(&rng) - 1.0F;
    }
    for (size_t i = 0; i < EXAMPLES; i++) {
        labels[i] = (uint32_t)weft_rng_below(&rng, CLASSES);
    }
    return (weft_arrays){
        .n_examples = EXAMPLES, .n_features = INPUTS, .features = x, .labels = labels};
}

static void free_examples(weft_arrays *a)
{
    free((void *)(uintptr_t)a->features);
    free((void *)(uintptr_t)a->labels);
}

/* The features as whole numbers below vocab; the caller's. */
static float *tokens_of(const weft_arrays *arrays, uint32_t vocab)
{
    const size_t n = (size_t)arrays->n_examples * arrays->n_features;
    float *tokens = calloc(n, sizeof *tokens);
    assert_non_null(tokens);
    for (size_t i = 0; i < n; i++) {
        tokens[i] = (float)(uint32_t)(0.5F * (arrays->features[i] + 1.0F) * (float)vocab);
    }
    return tokens;
}

/* Trains from the same start; the weights are the caller's. */
static float *trained(const struct model_case *model, const weft_net_options *options,
                      const weft_arrays *arrays, size_t *ret_n)
{
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    weft_trainer_state *state = NULL;
    weft_train_result result;
    weft_plan plan = WEFT_PLAN_INIT;
    float *tokens = NULL;
    weft_arrays taken = *arrays;
    plan.numerics = WEFT_NUMERICS_PORTABLE;
    plan.optimizer = model->optimizer;
    plan.momentum = model->momentum;
    plan.learning_rate = model->optimizer == WEFT_OPTIMIZER_ADAM ? 0.003 : 0.02;
    plan.batch_size = 8; /* the last batch has 5 */
    plan.epochs = 2;
    assert_ok(
        weft_spec_parse(&spec, model->text, strlen(model->text), &weft_alloc_std, &assert_err));
    if (spec->vocab > 0) {
        taken.features = tokens = tokens_of(arrays, spec->vocab);
    }
    const weft_batch_source source = weft_arrays_source(&taken);
    assert_ok(weft_layout_new(&layout, spec, &weft_alloc_std, &assert_err));
    assert_ok(weft_trainer_state_new(&state, spec, options, &weft_alloc_std, &assert_err));
    *ret_n = (size_t)layout->n_params;
    float *w = calloc(*ret_n, sizeof *w);
    assert_non_null(w);
    weft_layout_init_weights(w, layout, spec, 3);
    assert_ok(weft_train(&result, state, w, &plan, 5, &source, NULL, &assert_err));
    weft_trainer_state_free(state);
    weft_layout_free(layout);
    weft_spec_free(spec);
    free(tokens);
    return w;
}

static void test_train__has_the_same_bits_on_every_path(void **state)
{
    (void)state;
    static const weft_isa_kind isas[] = {WEFT_ISA_PLAIN, WEFT_ISA_AVX2, WEFT_ISA_AVX512};
    static const uint32_t threads[] = {1, 2, 4};
    weft_arrays arrays = drawn_examples();
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        for (size_t i = 0; i < 9; i++) {
            weft_net_options options = WEFT_NET_OPTIONS_INIT;
            options.isa = isas[i / 3];
            options.n_threads = threads[i % 3];
            if (!weft_isa_get(options.isa)) {
                continue;
            }
            size_t n = 0;
            float *w = trained(&models[m], &options, &arrays, &n);
            const uint64_t digest = digest_of(w, n);
            if (digest != models[m].golden) {
                fail_msg("model %zu, %s, %u threads: digest %#018llx", m,
                         weft_isa_name(options.isa), options.n_threads, (unsigned long long)digest);
            }
            free(w);
        }
    }
    free_examples(&arrays);
}

/* Fast numerics may take OpenBLAS, but the number of threads changes nothing there either. */
static void test_train__fast_does_not_depend_on_threads(void **state)
{
    (void)state;
    weft_arrays arrays = drawn_examples();
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        float *w[2];
        size_t n = 0;
        for (uint32_t i = 0; i < 2; i++) {
            weft_net_options options = WEFT_NET_OPTIONS_INIT;
            options.n_threads = 1 + 2 * i;
            w[i] = trained(&models[m], &options, &arrays, &n);
        }
        assert_memory_equal(w[0], w[1], n * sizeof(float));
        free(w[0]);
        free(w[1]);
    }
    free_examples(&arrays);
}

/* ---- threads --------------------------------------------------------------------------------- */

typedef struct rounds {
    atomic_uint started;
    atomic_uint calls;
    uint32_t seen[8];
} rounds;

static void count_start(void *self, uint32_t index)
{
    rounds *r = self;
    assert_in_range(index, 1, 7);
    atomic_fetch_add(&r->started, 1);
}

static void count_call(void *arg, uint32_t index, uint32_t n)
{
    rounds *r = arg;
    (void)n;
    atomic_fetch_add(&r->calls, 1);
    r->seen[index]++; /* its own place */
}

static void test_team_run__every_member_works_in_every_round(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 8; n++) {
        rounds r = {0};
        weft_team *team = NULL;
        assert_ok(weft_team_new(&team, n, count_start, &r, &weft_alloc_std, &assert_err));
        assert_int_equal(weft_team_size(team), n);
        for (uint32_t i = 1; i <= 200; i++) {
            weft_team_run(team, count_call, &r);
            assert_int_equal(atomic_load(&r.calls), i * n);
        }
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(r.seen[i], 200);
        }
        weft_team_free(team);
        assert_int_equal(atomic_load(&r.started), n - 1);
    }
}

static weft_status new_team(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_team *team = NULL;
    const weft_status status = weft_team_new(&team, 3, NULL, NULL, a, NULL);
    weft_team_free(team);
    return status;
}

static void test_team_new__every_allocation_may_fail(void **state)
{
    (void)state;
    weft_team *team = NULL;
    test_every_allocation_may_fail(new_team, NULL);
    assert_int_equal(weft_team_new(&team, 0, NULL, NULL, &weft_alloc_std, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_team_new(&team, WEFT_TEAM_MOST + 1, NULL, NULL, &weft_alloc_std, NULL),
                     WEFT_E_INVALID);
    assert_null(team);
}

static void test_team_share__covers_everything_once(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 5; n++) {
        for (uint64_t total = 0; total < 70; total++) {
            uint64_t at = 0;
            for (uint32_t i = 0; i < n; i++) {
                uint64_t from = 0;
                uint64_t to = 0;
                weft_team_share(i, n, total, 16, &from, &to);
                assert_int_equal(from, at);
                assert_true(from <= to && (to % 16 == 0 || to == total));
                at = to;
            }
            assert_int_equal(at, total);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train__has_the_same_bits_on_every_path),
        cmocka_unit_test(test_train__fast_does_not_depend_on_threads),
        cmocka_unit_test(test_team_run__every_member_works_in_every_round),
        cmocka_unit_test(test_team_new__every_allocation_may_fail),
        cmocka_unit_test(test_team_share__covers_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
