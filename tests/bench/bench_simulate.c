/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a simulated federation costs beside the training that it is about: one round of
 * weft-simulate in this process, and the same clients trained from the same weights by as many
 * threads that do nothing else, in turns. Every client has 600 of 6000 drawn digits, one epoch,
 * batches of 10.
 *
 *   round_s          seconds of the round; ratio: those of the kernels alone / these
 *   round_cpu_s      CPU seconds of all threads in it: on a busy machine, the better figure
 *   client_bytes     heap of one more virtual client that is not training, beside its data index
 *
 *     bench_simulate [--rounds N] [--threads N] [CASE ...]
 */
#include "federation.h"

#include "nn/train/train.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EXAMPLES = 6000, OF_A_CLIENT = 600, MOST_ROUNDS = 101, MOST_THREADS = 64 };

static const struct bench_case {
    const char *model;
    uint32_t clients;
} cases[] = {{"cnn", 10}, {"2nn", 1000}};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static __attribute__((noreturn)) void die(const char *what, const weft_err *err)
{
    fprintf(stderr, "bench_simulate: %s%s%s\n", what, err ? ": " : "", err ? err->msg : "");
    exit(1);
}

static double seconds_of(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t); /* those asked for exist */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds(void)
{
    return seconds_of(CLOCK_MONOTONIC);
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

/* ---- the world ------------------------------------------------------------------------------- */

/* Client k has the OF_A_CLIENT examples from k * 7 on, around the end. */
static void share_out(sim_world *world, uint32_t clients)
{
    weft_partition *p = world->parts;
    free(p->index);
    free(p->start);
    p->n_parts = clients;
    p->index = malloc((size_t)clients * OF_A_CLIENT * sizeof *p->index);
    p->start = malloc((clients + 1ULL) * sizeof *p->start);
    if (!p->index || !p->start) {
        die("no memory", NULL);
    }
    for (uint32_t k = 0; k <= clients; k++) {
        p->start[k] = (uint64_t)k * OF_A_CLIENT;
        for (uint32_t i = 0; k < clients && i < OF_A_CLIENT; i++) {
            p->index[p->start[k] + i] = (k * 7 + i) % EXAMPLES;
        }
    }
}

static void make_world(sim_world *world, const char *model, uint32_t clients)
{
    char n_clients[16];
    char n_examples[16];
    weft_err err = WEFT_ERR_INIT;
    sim_options options;
    (void)snprintf(n_clients, sizeof n_clients, "%u", clients);
    (void)snprintf(n_examples, sizeof n_examples, "%u", (unsigned)EXAMPLES);
    const char *const argv[] = {"bench_simulate",
                                "--model",
                                model,
                                "--clients",
                                n_clients,
                                "--examples",
                                n_examples,
                                "--fraction",
                                "1",
                                "--rounds",
                                "1",
                                "--eval-every",
                                "1000000",
                                "--lr",
                                "0.01",
                                "--quiet",
                                "--test-examples",
                                "10"};
    char *args[sizeof argv / sizeof argv[0]];
    memcpy(args, argv, sizeof args); /* nobody writes to them */
    if (sim_options_parse(&options, sizeof args / sizeof args[0], args, &err) ||
        sim_world_init(world, &options, &err)) {
        die("no world", &err);
    }
    share_out(world, clients);
}

/* ---- a round --------------------------------------------------------------------------------- */

static weft_status on_round(void *self, const sim_round *round, weft_err *err)
{
    (void)self;
    if (round->row->state == WEFT_ROUND_FAILED) {
        WEFT_FAIL(err, WEFT_E_STATE, "the round failed: %s", round->row->reason);
    }
    return WEFT_OK;
}

static sim_federation *make_federation(const sim_world *world, sim_pool *pool)
{
    weft_err err = WEFT_ERR_INIT;
    sim_federation *fed = NULL;
    const sim_observer observer = {on_round, NULL};
    const sim_start start = {0};
    if (sim_federation_new(&fed, world, pool, 0.0, &observer, &start, &err)) {
        die("no federation", &err);
    }
    return fed;
}

/* Wall-clock seconds; *ret_cpu_s: of all threads. */
static double round_s(const sim_world *world, sim_pool *pool, double *ret_cpu_s)
{
    weft_err err = WEFT_ERR_INIT;
    sim_federation *fed = make_federation(world, pool);
    const double start = seconds();
    const double cpu_start = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    if (sim_federation_run(fed, &err)) {
        die("the simulation failed", &err);
    }
    const double took_s = seconds() - start;
    *ret_cpu_s = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;
    sim_federation_free(fed);
    return took_s;
}

/* ---- the kernels alone ----------------------------------------------------------------------- */

typedef struct kernels {
    const sim_world *world;
    const float *base;
    atomic_uint next; /* client */
} kernels;

typedef struct trainer {
    kernels *job;
    weft_trainer_state *state;
    float *weights;
    pthread_t thread;
} trainer;

static void *train_clients(void *arg)
{
    trainer *t = arg;
    const sim_world *world = t->job->world;
    weft_train_result result;
    for (uint32_t k = atomic_fetch_add(&t->job->next, 1); k < world->n_clients;
         k = atomic_fetch_add(&t->job->next, 1)) {
        const weft_data_view view = sim_world_part(world, k);
        const weft_batch_source source = sim_source(&view);
        memcpy(t->weights, t->job->base, (size_t)world->layout->n_params * sizeof(float));
        if (weft_train(&result, t->state, t->weights, &world->def.plan, k, &source, NULL, NULL)) {
            die("training failed", NULL);
        }
    }
    return NULL;
}

static double kernels_s(kernels *job, trainer *trainers, uint32_t n)
{
    const double start = seconds();
    atomic_store(&job->next, 0);
    for (uint32_t i = 0; i < n; i++) {
        if (pthread_create(&trainers[i].thread, NULL, train_clients, &trainers[i])) {
            die("no thread", NULL);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        (void)pthread_join(trainers[i].thread, NULL); /* ours, joined once */
    }
    return seconds() - start;
}

static void trainers_init(trainer *trainers, uint32_t n, kernels *job)
{
    weft_err err = WEFT_ERR_INIT;
    for (uint32_t i = 0; i < n; i++) {
        trainers[i].job = job;
        trainers[i].weights = malloc((size_t)job->world->layout->n_params * sizeof(float));
        if (!trainers[i].weights || weft_trainer_state_new(&trainers[i].state, job->world->spec,
                                                           NULL, &weft_alloc_std, &err)) {
            die("no memory", NULL);
        }
    }
}

static void trainers_done(trainer *trainers, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        weft_trainer_state_free(trainers[i].state);
        free(trainers[i].weights);
    }
}

/* ---- one case -------------------------------------------------------------------------------- */

static void print(const struct bench_case *c, uint32_t threads, const char *metric, double value,
                  const char *unit, double ratio)
{
    printf(
        "{\"bench\":\"simulate\",\"case\":\"%s clients=%u t=%u\",\"metric\":\"%s\",\"value\":%.6g,"
        "\"unit\":\"%s\",",
        c->model, c->clients, threads, metric, value, unit);
    if (ratio > 0.0) {
        printf("\"reference\":\"kernels alone\",\"ratio\":%.3f}\n", ratio);
    } else {
        printf("\"reference\":null,\"ratio\":null}\n");
    }
    (void)fflush(stdout); /* only for whoever watches */
}

/* Heap of a client: of a federation beside one with half the clients. */
static double client_bytes(const sim_world *world, sim_pool *pool)
{
    size_t used[2];
    sim_world some = *world;
    for (uint32_t i = 0; i < 2; i++) {
        some.n_clients = world->n_clients / (2 - i);
        some.def.target = some.n_clients; /* all of them */
        some.def.minimum = some.n_clients;
        const size_t before = mallinfo2().uordblks;
        sim_federation *fed = make_federation(&some, pool);
        used[i] = mallinfo2().uordblks - before;
        sim_federation_free(fed);
    }
    return (double)(used[1] - used[0]) / (double)(world->n_clients - world->n_clients / 2);
}

static void bench(const struct bench_case *c, uint32_t threads, int rounds)
{
    static double times[MOST_ROUNDS];
    static double ratios[MOST_ROUNDS];
    static double cpu[MOST_ROUNDS];
    weft_err err = WEFT_ERR_INIT;
    sim_world world;
    sim_pool *pool = NULL;
    trainer trainers[MOST_THREADS];
    make_world(&world, c->model, c->clients);
    if (sim_pool_new(&pool, &world, threads, &err)) {
        die("no threads", &err);
    }
    float *base = malloc((size_t)world.layout->n_params * sizeof *base);
    if (!base) {
        die("no memory", NULL);
    }
    weft_layout_init_weights(base, world.layout, world.spec, 1);
    kernels job = {.world = &world, .base = base};
    trainers_init(trainers, threads, &job);
    (void)kernels_s(&job, trainers, threads); /* warm up */
    for (int i = 0; i < rounds; i++) {
        const double alone = kernels_s(&job, trainers, threads);
        times[i] = round_s(&world, pool, &cpu[i]);
        ratios[i] = alone / times[i];
    }
    print(c, threads, "round_s", median(times, rounds), "s", median(ratios, rounds));
    print(c, threads, "round_cpu_s", median(cpu, rounds), "s", 0.0);
    if (c->clients >= 100) {
        print(c, threads, "client_bytes", client_bytes(&world, pool), "B", 0.0);
    }
    trainers_done(trainers, threads);
    free(base);
    sim_pool_free(pool);
    sim_world_done(&world);
}

/* ---- the command line ------------------------------------------------------------------------ */

static void help(void)
{
    printf("bench_simulate [--rounds 1..101] [--threads 1..64] [CASE ...]\n"
           "A simulated round beside its training alone. Cases:\n");
    for (size_t i = 0; i < N_CASES; i++) {
        printf("  %s\n", cases[i].model);
    }
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
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned long threads = cores > 0 && cores <= MOST_THREADS ? (unsigned long)cores : 1;
    unsigned long rounds = 5;
    int at = 1;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        help();
        return 0;
    }
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        unsigned long *value = strcmp(argv[at], "--rounds") == 0    ? &rounds
                               : strcmp(argv[at], "--threads") == 0 ? &threads
                                                                    : NULL;
        const unsigned long most = value == &rounds ? MOST_ROUNDS : MOST_THREADS;
        char *end = NULL;
        const unsigned long n = strtoul(argv[at + 1], &end, 10);
        if (!value || *end || n < 1 || n > most) {
            die("an option is not understood; see --help", NULL);
        }
        *value = n;
    }
    for (size_t i = 0; i < N_CASES; i++) {
        if (wanted(cases[i].model, argc, argv, at)) {
            bench(&cases[i], (uint32_t)threads, (int)rounds);
        }
    }
    return 0;
}
