/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training speed of the engine, as a share of what sgemm reaches on the same machine in the same
 * seconds: slices of both take turns, so that a noisy neighbour hits both. One JSON line a case:
 *   value  samples a second, all threads together
 *   ratio  value * multiply-adds of a dense step * 2 / sgemm's rate on as many threads
 *          (above 1 is possible: the backward pass through max-pools skips what is zero)
 *
 *     bench_engine [--cpu] [--rounds N] [--slice SECONDS] [CASE ...]
 *
 * --cpu divides by the threads' CPU time instead of wall-clock time, for machines that are shared.
 */
#include "base/rng.h"
#include "nn/gemm.h"
#include "nn/train/train.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_EXAMPLES = 600, MOST_THREADS = 8, MOST_ROUNDS = 101, SIDE = 1024 };

static const char mlp[] =
    "input 784\ndense units=200\nrelu\ndense units=200\nrelu\ndense units=10\n"
    "loss softmax_cross_entropy\n";
static const char cnn[] =
    "input 28x28x1\nconv2d filters=32 kernel=5 padding=same\nrelu\nmaxpool size=2\n"
    "conv2d filters=64 kernel=5 padding=same\nrelu\nmaxpool size=2\nflatten\ndense "
    "units=512\nrelu\n"
    "dense units=10\nloss softmax_cross_entropy\n";
static const char cifar[] = "input 32x32x3\nconv2d filters=32 kernel=3 padding=same\nrelu\n"
                            "conv2d filters=64 kernel=3 padding=same\nrelu\nmaxpool size=2\n"
                            "conv2d filters=128 kernel=3 padding=same\nrelu\nmaxpool "
                            "size=2\nflatten\ndense units=256\nrelu\n"
                            "dense units=10\nloss softmax_cross_entropy\n";

static const struct bench_case {
    const char *name;
    const char *spec;
    uint32_t batch;
    int threads;
} cases[] = {
    {"2nn b=10 t=1", mlp, 10, 1}, {"2nn b=50 t=1", mlp, 50, 1}, {"2nn b=100 t=1", mlp, 100, 1},
    {"cnn b=10 t=1", cnn, 10, 1}, {"cnn b=50 t=1", cnn, 50, 1}, {"cifar b=50 t=1", cifar, 50, 1},
    {"2nn b=10 t=2", mlp, 10, 2}, {"cnn b=10 t=2", cnn, 10, 2}, {"cnn b=50 t=2", cnn, 50, 2},
};

static struct {
    bool cpu;
    int rounds;
    double slice_s;
} options = {false, 7, 0.3};

static void die(const char *what)
{
    fprintf(stderr, "bench_engine: %s\n", what);
    exit(1);
}

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(options.cpu ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC,
                        &t); /* both exist */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is measured ------------------------------------------------------------------------ */

typedef struct worker {
    weft_trainer_state *state;
    float *weights;
    weft_arrays arrays;
    weft_plan plan;
    float *a, *b, *c; /* of the sgemm */
    bool gemm;        /* what the next slice does */
    double rate;      /* its result: samples, or multiply-adds, a second */
} worker;

static void *slice(void *arg)
{
    worker *w = arg;
    const weft_batch_source source = weft_arrays_source(&w->arrays);
    const double start = seconds();
    double now = 0.0;
    uint64_t done = 0;
    do {
        if (w->gemm) {
            weft_gemm_blas(w->c, SIDE, SIDE, SIDE, SIDE, 1.0F, (weft_mat){w->a, SIDE, WEFT_PLAIN},
                           (weft_mat){w->b, SIDE, WEFT_PLAIN}, 0.0F);
        } else {
            weft_train_result result;
            if (weft_train(&result, w->state, w->weights, &w->plan, done, &source, NULL, NULL)) {
                die("training failed");
            }
        }
        done++;
        now = seconds();
    } while (now - start < options.slice_s);
    const double work = w->gemm ? (double)SIDE * SIDE * SIDE : N_EXAMPLES;
    w->rate = (double)done * work / (now - start);
    return NULL;
}

static double run(worker *workers, int n, bool gemm)
{
    pthread_t threads[MOST_THREADS];
    double rate = 0.0;
    for (int i = 0; i < n; i++) {
        workers[i].gemm = gemm;
        if (i > 0 && pthread_create(&threads[i], NULL, slice, &workers[i])) {
            die("no thread");
        }
    }
    (void)slice(&workers[0]); /* returns NULL */
    for (int i = 0; i < n; i++) {
        if (i > 0 && pthread_join(threads[i], NULL)) {
            die("a thread is lost");
        }
        rate += workers[i].rate;
    }
    return rate;
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static float *random_floats(size_t n, uint64_t seed)
{
    float *p = malloc(n * sizeof *p);
    weft_rng rng;
    if (!p) {
        die("no memory");
    }
    weft_rng_init(&rng, seed, 0);
    for (size_t i = 0; i < n; i++) {
        p[i] = weft_rng_float(&rng);
    }
    return p;
}

static void worker_init(worker *w, const weft_spec *spec, uint32_t batch)
{
    weft_layout *layout = NULL;
    const uint32_t n_in = weft_shape_size(&spec->input);
    uint32_t *labels = malloc(N_EXAMPLES * sizeof *labels);
    if (!labels || weft_layout_new(&layout, spec, &weft_alloc_std, NULL) ||
        weft_trainer_state_new(&w->state, spec, NULL, &weft_alloc_std, NULL)) {
        die("no memory");
    }
    for (uint32_t i = 0; i < N_EXAMPLES; i++) {
        labels[i] = i % 10;
    }
    w->weights = malloc((size_t)layout->n_params * sizeof *w->weights);
    w->a = random_floats((size_t)SIDE * SIDE, 1);
    w->b = random_floats((size_t)SIDE * SIDE, 2);
    w->c = random_floats((size_t)SIDE * SIDE, 3);
    w->arrays = (weft_arrays){.n_examples = N_EXAMPLES,
                              .n_features = n_in,
                              .features = random_floats((size_t)N_EXAMPLES * n_in, 4),
                              .labels = labels};
    w->plan = (weft_plan)WEFT_PLAN_INIT;
    w->plan.batch_size = batch;
    w->plan.learning_rate = 0.01;
    if (!w->weights) {
        die("no memory");
    }
    weft_layout_init_weights(w->weights, layout, spec, 1);
    weft_layout_free(layout);
}

static void worker_done(worker *w)
{
    free(w->weights);
    free(w->a);
    free(w->b);
    free(w->c);
    free((void *)(uintptr_t)w->arrays.features);
    free((void *)(uintptr_t)w->arrays.labels);
    weft_trainer_state_free(w->state);
}

/* Multiply-adds of one example: forward and both gradients, but none for the input's. */
static double work_of(const weft_spec *spec)
{
    double total = 0.0;
    bool first = true;
    for (uint32_t i = 0; i < spec->n_layers; i++) {
        const weft_layer *l = &spec->layers[i];
        const double pixels = l->out.rank == 3 ? (double)l->out.h * l->out.w : 1.0;
        const double weights = (double)(weft_layer_n_params(l) - (l->bias ? l->units : 0));
        total += pixels * weights * (first ? 2.0 : 3.0);
        first = first && weights == 0.0;
    }
    return total;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

static void bench(const struct bench_case *c)
{
    worker workers[MOST_THREADS] = {0};
    double rate[MOST_ROUNDS];
    double ratio[MOST_ROUNDS];
    weft_spec *spec = NULL;
    if (weft_spec_parse(&spec, c->spec, strlen(c->spec), &weft_alloc_std, NULL)) {
        die("the spec is wrong");
    }
    for (int i = 0; i < c->threads; i++) {
        worker_init(&workers[i], spec, c->batch);
    }
    (void)run(workers, c->threads, false); /* warm up */
    (void)run(workers, c->threads, true);  /* warm up */
    for (int i = 0; i < options.rounds; i++) {
        const double gemm = run(workers, c->threads, true);
        rate[i] = run(workers, c->threads, false);
        ratio[i] = rate[i] * work_of(spec) / gemm;
    }
    printf("{\"bench\":\"engine\",\"case\":\"%s\",\"metric\":\"samples_per_s\",\"value\":%.0f,"
           "\"unit\":\"1/s\",\"reference\":\"sgemm 1024^3\",\"ratio\":%.3f}\n",
           c->name, median(rate, options.rounds), median(ratio, options.rounds));
    (void)fflush(stdout); /* only for whoever watches */
    for (int i = 0; i < c->threads; i++) {
        worker_done(&workers[i]);
    }
    weft_spec_free(spec);
}

static bool wanted(const char *name, int argc, char **argv, int first)
{
    for (int i = first; i < argc; i++) {
        if (strcmp(name, argv[i]) == 0) {
            return true;
        }
    }
    return first == argc;
}

static void help(void)
{
    printf("bench_engine [--cpu] [--rounds 1..101] [--slice SECONDS] [CASE ...]\n"
           "Samples a second of training, beside sgemm 1024^3 in the same seconds. Cases:\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        printf("  \"%s\"\n", cases[i].name);
    }
}

int main(int argc, char **argv)
{
    int at = 1;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        help();
        return 0;
    }
    for (; at < argc && argv[at][0] == '-'; at++) {
        char *end = NULL;
        if (strcmp(argv[at], "--cpu") == 0) {
            options.cpu = true;
        } else if (strcmp(argv[at], "--rounds") == 0 && at + 1 < argc) {
            const unsigned long n = strtoul(argv[++at], &end, 10);
            options.rounds = *end || n < 1 || n > MOST_ROUNDS ? 0 : (int)n;
        } else if (strcmp(argv[at], "--slice") == 0 && at + 1 < argc) {
            options.slice_s = strtod(argv[++at], &end);
            options.rounds = *end || !(options.slice_s > 0.0) ? 0 : options.rounds;
        } else {
            options.rounds = 0;
        }
        if (options.rounds == 0) {
            die("usage: bench_engine [--cpu] [--rounds 1..101] [--slice SECONDS] [CASE ...]");
        }
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (wanted(cases[i].name, argc, argv, at)) {
            bench(&cases[i]);
        }
    }
    return 0;
}
