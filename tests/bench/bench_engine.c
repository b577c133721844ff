/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of the engine beside sgemm 1024^3 and PyTorch, where there is one, on the same machine in
 * the same seconds: slices of all take turns, so that a noisy neighbour hits each, and ratios are
 * medians of the rounds' ratios. JSON lines; a case is a model, a batch and the threads of a step:
 *
 *   samples_per_s      training; reference: PyTorch's training, or sgemm's rate where there is none
 *   sgemm_share        samples a second * 2 * multiply-adds of a dense step / sgemm's rate on as
 * many threads (above 1 is possible: max-pools' backward skips what is zero) scaling            t >
 * 1: samples a second over those of one thread infer_p50, _p99    microseconds of a forward of one
 * example rss_mb             peak of a fresh process that trains one epoch of 600 samples
 *   first_step_ms      from that process's start to the end of its first step
 *
 *     bench_engine [--cpu] [--portable] [--isa plain|avx2|avx512] [--rounds N] [--slice SECONDS]
 *                  [--torch PYTHON] [--no-compile] [CASE ...]
 *
 * --cpu divides by the threads' CPU time instead of wall-clock time (cases of one thread only), for
 * machines that are shared. --torch names the Python that has torch; default: python3.
 */
#include "bench_engine.h"

#include "nn/gemm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_THREADS = 8, MOST_ROUNDS = 101, SIDE = 1024, MOST_INFERENCES = 200000 };

bench_options options = {.rounds = 7, .slice_s = 0.3, .python = "python3", .compile = true};

static const struct bench_case {
    const char *model;
    uint32_t batch;
    uint32_t threads;
} cases[] = {
    {"2nn", 10, 1},     {"2nn", 50, 1},   {"2nn", 100, 1},    {"cnn", 10, 1},
    {"cnn", 50, 1},     {"cifar", 10, 1}, {"cifar", 50, 1},   {"resnet8", 10, 1},
    {"resnet8", 50, 1}, {"lstm", 10, 1},  {"lstm", 50, 1},    {"cnn", 10, 2},
    {"cnn", 50, 2},     {"cifar", 50, 2}, {"resnet8", 10, 2}, {"lstm", 10, 2},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static const char *case_name(const struct bench_case *c)
{
    static char name[64];
    (void)snprintf(name, sizeof name, "%s b=%u t=%u", c->model, c->batch, c->threads);
    return name;
}

void die(const char *what)
{
    fprintf(stderr, "bench_engine: %s\n", what);
    exit(1);
}

static double clock_of(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t); /* those asked for exist */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds(void)
{
    return clock_of(options.cpu ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC);
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

static void print(const struct bench_case *c, const char *metric, double value, const char *unit,
                  const char *reference, double ratio)
{
    printf(
        "{\"bench\":\"engine\",\"case\":\"%s\",\"metric\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",",
        case_name(c), metric, value, unit);
    if (*reference) {
        printf("\"reference\":\"%s\",\"ratio\":%.3f}\n", reference, ratio);
    } else {
        printf("\"reference\":null,\"ratio\":null}\n");
    }
    (void)fflush(stdout); /* only for whoever watches */
}

/* ---- sgemm ----------------------------------------------------------------------------------- */

typedef struct gemm_worker {
    float *a, *b, *c;
    double rate; /* multiply-adds a second */
} gemm_worker;

static void *gemm_slice(void *arg)
{
    gemm_worker *w = arg;
    const double start = seconds();
    double now = 0.0;
    double done = 0.0;
    do {
        weft_gemm_blas(w->c, SIDE, SIDE, SIDE, SIDE, 1.0F, (weft_mat){w->a, SIDE, WEFT_PLAIN},
                       (weft_mat){w->b, SIDE, WEFT_PLAIN}, 0.0F);
        done += 1.0;
        now = seconds();
    } while (now - start < options.slice_s);
    w->rate = done * SIDE * SIDE * SIDE / (now - start);
    return NULL;
}

static double gemm_rate(gemm_worker *workers, uint32_t n)
{
    pthread_t threads[MOST_THREADS];
    double rate = 0.0;
    for (uint32_t i = 1; i < n; i++) {
        if (pthread_create(&threads[i], NULL, gemm_slice, &workers[i])) {
            die("no thread");
        }
    }
    (void)gemm_slice(&workers[0]); /* returns NULL */
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0 && pthread_join(threads[i], NULL)) {
            die("a thread is lost");
        }
        rate += workers[i].rate;
    }
    return rate;
}

static void gemm_init(gemm_worker *w)
{
    w->a = bench_floats((size_t)SIDE * SIDE, 1);
    w->b = bench_floats((size_t)SIDE * SIDE, 2);
    w->c = bench_floats((size_t)SIDE * SIDE, 3);
}

static void gemm_done(gemm_worker *w)
{
    free(w->a);
    free(w->b);
    free(w->c);
}

/* ---- the engine ------------------------------------------------------------------------------ */

static double train_rate(bench_model *m)
{
    const double start = seconds();
    double now = 0.0;
    double done = 0.0;
    do {
        bench_model_epoch(m);
        done += BENCH_EXAMPLES;
        now = seconds();
    } while (now - start < options.slice_s);
    return done / (now - start);
}

/* Median and 99th percentile of single forwards, in microseconds. */
static void infer_times(bench_model *m, double *p50, double *p99)
{
    static double times[MOST_INFERENCES];
    int n = 0;
    const double start = clock_of(CLOCK_MONOTONIC);
    double now = start;
    while ((now - start < options.slice_s || n < 20) && n < MOST_INFERENCES) {
        const double before = now;
        bench_model_infer(m);
        now = clock_of(CLOCK_MONOTONIC);
        times[n++] = 1e6 * (now - before);
    }
    *p50 = median(times, n);
    *p99 = times[n * 99 / 100];
}

/* ---- one case -------------------------------------------------------------------------------- */

typedef struct rounds {
    double train[MOST_ROUNDS];
    double share[MOST_ROUNDS];
    double scaling[MOST_ROUNDS];
    double torch[MOST_ROUNDS]; /* ratios */
    double p50[MOST_ROUNDS], p99[MOST_ROUNDS];
    double infer[MOST_ROUNDS]; /* ratios */
} rounds;

static void run_rounds(rounds *r, const struct bench_case *c, bench_model *m, bench_model *single,
                       bool torch)
{
    gemm_worker workers[MOST_THREADS] = {0};
    for (uint32_t i = 0; i < c->threads; i++) {
        gemm_init(&workers[i]);
    }
    (void)train_rate(m); /* warm up; so the next */
    (void)gemm_rate(workers, c->threads);
    for (int i = 0; i < options.rounds; i++) {
        const double gemm = gemm_rate(workers, c->threads);
        r->train[i] = train_rate(m);
        r->share[i] = r->train[i] * m->work / gemm;
        if (torch) {
            r->torch[i] = r->train[i] / torch_train(options.slice_s, options.cpu);
        }
        if (single) {
            r->scaling[i] = r->train[i] / train_rate(single);
        }
        infer_times(m, &r->p50[i], &r->p99[i]);
        if (torch) {
            r->infer[i] = torch_infer(options.slice_s) / r->p50[i];
        }
    }
    for (uint32_t i = 0; i < c->threads; i++) {
        gemm_done(&workers[i]);
    }
}

static void print_rounds(rounds *r, const struct bench_case *c, bool torch)
{
    const int n = options.rounds;
    const double rate = median(r->train, n);
    const double share = median(r->share, n);
    print(c, "samples_per_s", rate, "1/s", torch ? torch_name() : "sgemm 1024^3",
          torch ? median(r->torch, n) : share);
    print(c, "sgemm_share", share, "1", "sgemm 1024^3", share);
    if (c->threads > 1) {
        const double scaling = median(r->scaling, n);
        print(c, "scaling", scaling, "1", "one thread", scaling);
    }
    print(c, "infer_p50", median(r->p50, n), "us", torch ? torch_name() : "",
          torch ? median(r->infer, n) : 1.0);
    print(c, "infer_p99", median(r->p99, n), "us", "", 1.0);
}

/* A fresh process of this program (main: --once) that says what it needed. */
static void run_once(const char *program, const struct bench_case *c)
{
    char command[512];
    double first_ms = 0.0;
    double rss_mb = 0.0;
    const double start = clock_of(CLOCK_MONOTONIC);
    (void)snprintf(command, sizeof command, "exec '%s' --once %.9f %s %u %u", program, start,
                   c->model, c->batch, c->threads);
    FILE *child = popen(command, "r");
    if (!child || fscanf(child, "%lf %lf", &first_ms, &rss_mb) != 2) {
        die("the fresh process failed");
    }
    (void)pclose(child); /* it has answered */
    print(c, "first_step_ms", first_ms, "ms", "", 1.0);
    print(c, "rss_mb", rss_mb, "MB", "", 1.0);
}

/* Peak memory of this program. Not getrusage's: that is at least the parent's, which was this
 * process before exec. */
static double peak_mb(void)
{
    char line[128];
    double peak_kb = 0.0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        if (sscanf(line, "VmHWM: %lf", &peak_kb) == 1) {
            break;
        }
    }
    if (!status || fclose(status) || peak_kb <= 0.0) {
        die("the peak of the memory is not known");
    }
    return peak_kb / 1024.0;
}

static int once(char **argv)
{
    const double start = strtod(argv[0], NULL);
    bench_model m;
    if (!bench_model_init(&m, argv[1], (uint32_t)strtoul(argv[2], NULL, 10),
                          (uint32_t)strtoul(argv[3], NULL, 10))) {
        return 1;
    }
    bench_model_step(&m);
    const double first_ms = 1e3 * (clock_of(CLOCK_MONOTONIC) - start);
    bench_model_epoch(&m);
    printf("%.3f %.2f\n", first_ms, peak_mb());
    bench_model_done(&m);
    return 0;
}

static void bench(const char *program, const struct bench_case *c)
{
    static rounds r;
    bench_model m;
    bench_model single;
    if (!bench_model_init(&m, c->model, c->batch, c->threads) ||
        (c->threads > 1 && !bench_model_init(&single, c->model, c->batch, 1))) {
        fprintf(stderr, "bench_engine: %s is not a model of this build\n", c->model);
        return;
    }
    const bool torch = torch_setup(c->model, c->batch, c->threads);
    run_rounds(&r, c, &m, c->threads > 1 ? &single : NULL, torch);
    print_rounds(&r, c, torch);
    bench_model_done(&m);
    if (c->threads > 1) {
        bench_model_done(&single);
    }
    run_once(program, c);
}

/* ---- the command line ------------------------------------------------------------------------ */

static void help(void)
{
    printf("bench_engine [--cpu] [--portable] [--isa plain|avx2|avx512] [--rounds 1..101]\n"
           "             [--slice SECONDS] [--torch PYTHON] [--no-compile] [CASE ...]\n"
           "Training and inference beside sgemm 1024^3 and PyTorch in the same seconds. Cases:\n");
    for (size_t i = 0; i < N_CASES; i++) {
        printf("  \"%s\"\n", case_name(&cases[i]));
    }
}

/* One option at argv[*at] with its value; false: unknown, or no value that will do. */
static bool take_option(char **argv, int argc, int *at)
{
    const char *name = argv[*at];
    char *end = NULL;
    if (strcmp(name, "--cpu") == 0) {
        options.cpu = true;
    } else if (strcmp(name, "--portable") == 0) {
        options.portable = true;
    } else if (strcmp(name, "--no-compile") == 0) {
        options.compile = false;
    } else if (*at + 1 == argc) {
        return false;
    } else if (strcmp(name, "--isa") == 0) {
        return bench_isa_parse(argv[++*at]);
    } else if (strcmp(name, "--torch") == 0) {
        options.python = argv[++*at];
    } else if (strcmp(name, "--rounds") == 0) {
        const unsigned long n = strtoul(argv[++*at], &end, 10);
        options.rounds = (int)n;
        return !*end && n >= 1 && n <= MOST_ROUNDS;
    } else if (strcmp(name, "--slice") == 0) {
        options.slice_s = strtod(argv[++*at], &end);
        return !*end && options.slice_s > 0.0;
    } else {
        return false;
    }
    return true;
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

int main(int argc, char **argv)
{
    int at = 1;
    if (argc == 6 && strcmp(argv[1], "--once") == 0) {
        return once(argv + 2);
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        help();
        return 0;
    }
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (!take_option(argv, argc, &at)) {
            die("an option is not understood; see --help");
        }
    }
    if (weft_blas_open(NULL)) {
        die("there is no OpenBLAS to compare with");
    }
    weft_blas_one_thread();
    torch_start();
    for (size_t i = 0; i < N_CASES; i++) {
        if (wanted(case_name(&cases[i]), argc, argv, at)) {
            bench(argv[0], &cases[i]);
        }
    }
    torch_stop();
    return 0;
}
