/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds of a federation whose clients do no training (weights + 1): what the coordinator, the
 * transport and the SDK cost by themselves. A real weftd, real client processes over libweft, on
 * the loopback address; over mutual TLS, and, for comparison with peers that are measured without,
 * over the plain transport that exists for this only.
 *
 *     bench_rounds [--quick] [--seconds S] [--transport mtls|plain] [--model NAME] [--clients N]
 *                  [--durable] [--keep]
 *
 * JSON lines: {"bench","case","metric","value","unit","reference","ratio"}; a ratio above 1 is
 * better than the reference. The reference is Flower 1.23.0, unchanged, by its fastest path
 * (start_server and start_client, no TLS), measured on the same kind of machine (2 shared cores,
 * loopback); WEFT_BENCH_FLWR=1 measures it in the same run where the flwr package is installed.
 */
#include "rounds_world.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- cases and references -------------------------------------------------------------------- */

typedef struct model {
    const char *name;
    uint64_t n_params;
    unsigned clients[4]; /* 0: no more */
} model;

static const model models[] = {
    {"2nn", 199210, {2, 10, 50, 100}},  /* 0.80 MB */
    {"cnn", 1663370, {2, 10, 50, 100}}, /* 6.65 MB */
    {"50mb", 12500000, {2, 10, 20, 0}},
};
enum { N_MODELS = sizeof models / sizeof *models };

/* Flower's figures for one case; 0: not measured. */
typedef struct reference {
    const char *model;
    unsigned clients;
    double rounds_per_s;
    double s_per_round;
    double cpu_s_per_round;
    double server_mb;
    double client_mb;
} reference;

static const reference flower[] = {
    {"2nn", 2, 58, 0.015, 0.0088, 97, 88},     {"2nn", 10, 13.7, 0.070, 0.043, 158, 88},
    {"2nn", 50, 2.06, 0.459, 0.204, 405, 73},  {"2nn", 100, 0.89, 0.899, 0.473, 697, 72},
    {"cnn", 2, 9.6, 0.091, 0.038, 282, 199},   {"cnn", 10, 2.9, 0.32, 0.23, 775, 196},
    {"cnn", 50, 0.32, 3.05, 1.69, 2649, 167},  {"cnn", 100, 0.13, 6.47, 3.79, 4724, 167},
    {"50mb", 2, 1.28, 0.668, 0.47, 1057, 654}, {"50mb", 10, 0.21, 4.88, 3.43, 3803, 565},
    {"50mb", 20, 0.06, 21.1, 8.9, 6470, 525},
};

typedef struct options {
    bool quick;
    bool durable;
    bool keep;
    double seconds;
    const char *transport; /* NULL: both */
    const char *model;     /* NULL: all */
    unsigned clients;      /* 0: all */
} options;

/* ---- Flower in the same run ------------------------------------------------------------------ */

/* Runs flower_rounds.py beside this source; false when it cannot. */
static bool measure_flower(reference *ret, const model *m, unsigned n)
{
    char command[1200];
    (void)snprintf(command, sizeof command,
                   "${WEFT_BENCH_PYTHON:-python3} '" BENCH_SOURCES "/flower_rounds.py' %llu %u",
                   (unsigned long long)m->n_params, n);
    FILE *f = popen(command, "re");
    reference r = {.model = m->name, .clients = n};
    const bool good = f && fscanf(f, "%lf %lf %lf %lf %lf", &r.rounds_per_s, &r.s_per_round,
                                  &r.cpu_s_per_round, &r.server_mb, &r.client_mb) == 5;
    if (f && pclose(f) != 0) {
        return false;
    }
    if (good) {
        *ret = r;
    }
    return good;
}

static reference find_reference(const model *m, unsigned n)
{
    reference r = {.model = m->name, .clients = n};
    for (size_t i = 0; i < sizeof flower / sizeof *flower; i++) {
        if (flower[i].clients == n && strcmp(flower[i].model, m->name) == 0) {
            r = flower[i];
        }
    }
    const char *wanted = getenv("WEFT_BENCH_FLWR");
    if (wanted && strcmp(wanted, "1") == 0 && !measure_flower(&r, m, n)) {
        (void)fprintf(stderr,
                      "bench_rounds: flwr cannot be run here; its stored figures are used\n");
    }
    return r;
}

/* ---- output ---------------------------------------------------------------------------------- */

static void emit(const char *name, const char *metric, double value, const char *unit,
                 double against, bool more_is_better)
{
    (void)printf(
        "{\"bench\":\"rounds\",\"case\":\"%s\",\"metric\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"",
        name, metric, value, unit);
    if (against > 0 && value > 0) {
        (void)printf(",\"reference\":%.6g,\"ratio\":%.3g}\n", against,
                     more_is_better ? value / against : against / value);
    } else {
        (void)printf(",\"reference\":null,\"ratio\":null}\n");
    }
    (void)fflush(stdout);
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* Waits until a round has begun. */
static void await_round(world *w, unsigned round, double patience_s)
{
    const uint64_t until = world_now_ns() + (uint64_t)(patience_s * 1e9);
    while (atomic_load(&w->board->newest) < round) {
        if (world_now_ns() > until) {
            world_die("round %u has not begun after %.0f s (%u tasks done): see %s/log", round,
                      patience_s, atomic_load(&w->board->tasks), w->dir);
        }
        world_check(w);
        world_listen(w, 1000);
    }
}

static double round_began_s(const world *w, unsigned round)
{
    return (double)atomic_load(&w->board->began_ns[round]) * 1e-9;
}

typedef struct result {
    double cold_start_s;
    double s_per_round;
    double cpu_s;         /* of the coordinator, a round */
    double clients_cpu_s; /* of all clients, a round */
    double coordinator_mb;
    double client_mb;
} result;

static result run_case(world *w, const world_job *job, double seconds)
{
    enum { WARM_UP = 2, FEWEST = 3 };
    result r = {0};
    world_start_coordinator(w);
    world_submit(w, job);
    world_stop_coordinator(w);
    const double start = (double)world_now_ns() * 1e-9;
    world_start_coordinator(w);
    world_start_clients(w, job->n_clients);
    await_round(w, 1, 120);
    r.cold_start_s = round_began_s(w, 1) - start;
    await_round(w, 1 + WARM_UP, 180);
    const double cpu = world_cpu_s(w->coordinator);
    const double clients_cpu = world_clients_cpu_s(w);
    const double begin = (double)world_now_ns() * 1e-9;
    const unsigned first = atomic_load(&w->board->newest);
    await_round(w, first + FEWEST, 300);
    for (double left = seconds; left > 0; left = begin + seconds - (double)world_now_ns() * 1e-9) {
        world_listen(w, (int)(left * 1000) + 1);
    }
    const unsigned last = atomic_load(&w->board->newest);
    const double n = (double)(last - first);
    r.s_per_round = (round_began_s(w, last) - round_began_s(w, first)) / n;
    r.cpu_s = (world_cpu_s(w->coordinator) - cpu) / n;
    r.clients_cpu_s = (world_clients_cpu_s(w) - clients_cpu) / n;
    r.coordinator_mb = world_peak_mb(w->coordinator);
    r.client_mb = world_clients_peak_mb(w);
    world_stop_clients(w);
    world_cancel(w, job->name);
    world_stop_coordinator(w);
    return r;
}

static void measure(world *w, const model *m, unsigned n, const options *o)
{
    char name[64];
    world_job job = {.n_params = m->n_params, .n_clients = n, .durable = o->durable};
    (void)snprintf(name, sizeof name, "%s %s n=%u%s", w->plain ? "plain" : "mtls", m->name, n,
                   o->durable ? " durable" : "");
    (void)snprintf(job.name, sizeof job.name, "bench-%s-%u", m->name, n);
    w->durable = o->durable;
    const result r = run_case(w, &job, o->seconds);
    const reference ref = find_reference(m, n);
    const double budget_mb = 64 + 5 * (double)m->n_params * 4 / 1e6 + 0.15 * n;
    emit(name, "rounds_per_s", 1 / r.s_per_round, "1/s", ref.rounds_per_s, true);
    emit(name, "s_per_round", r.s_per_round, "s", ref.s_per_round, false);
    emit(name, "coordinator_cpu_s", r.cpu_s, "s/round", ref.cpu_s_per_round, false);
    emit(name, "clients_cpu_s", r.clients_cpu_s, "s/round", 0, false);
    emit(name, "coordinator_rss_mb", r.coordinator_mb, "MB", ref.server_mb, false);
    emit(name, "coordinator_rss_of_budget", r.coordinator_mb / budget_mb, "1", 1, false);
    emit(name, "client_rss_mb", r.client_mb, "MB", ref.client_mb, false);
    emit(name, "cold_start_s", r.cold_start_s, "s", 0, false);
}

/* ---- choosing -------------------------------------------------------------------------------- */

static bool chosen(const options *o, const model *m, unsigned n)
{
    if (n == 0 || (o->model && strcmp(o->model, m->name) != 0)) {
        return false;
    }
    if (o->clients) {
        return o->clients == n;
    }
    return !o->quick || n == 10;
}

static void run_transport(const char *build_dir, bool plain, const options *o)
{
    unsigned most = 0;
    for (size_t i = 0; i < N_MODELS; i++) {
        for (size_t j = 0; j < 4; j++) {
            const unsigned n = models[i].clients[j];
            most = chosen(o, &models[i], n) && n > most ? n : most;
        }
    }
    if (most == 0) {
        world_die("no case fits: models 2nn, cnn, 50mb; clients 2, 10, 50, 100 (50mb: 2, 10, 20)");
    }
    world w;
    world_make(&w, build_dir, plain, most);
    for (size_t i = 0; i < N_MODELS; i++) {
        for (size_t j = 0; j < 4; j++) {
            if (chosen(o, &models[i], models[i].clients[j])) {
                measure(&w, &models[i], models[i].clients[j], o);
            }
        }
    }
    world_end(&w, o->keep);
}

static const char usage[] =
    "usage: bench_rounds [options]\n"
    "  Rounds without training: a real weftd and client processes on this machine. JSON lines.\n"
    "  --quick             10 clients only, a second each\n"
    "  --seconds S         measure each case for so long (default 4)\n"
    "  --transport NAME    mtls or plain (default: both)\n"
    "  --model NAME        2nn (0.8 MB), cnn (6.65 MB) or 50mb (default: all)\n"
    "  --clients N         only the cases with so many\n"
    "  --durable           both ends wait for their disks, for each update (the peer keeps "
    "nothing)\n"
    "  --keep              leave the folders\n"
    "WEFT_BENCH_FLWR=1 measures Flower in the same run, where WEFT_BENCH_PYTHON (python3) has "
    "flwr\n"
    "1.23.\n";

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"quick", no_argument, NULL, 'q'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"transport", required_argument, NULL, 't'},
                                          {"model", required_argument, NULL, 'm'},
                                          {"clients", required_argument, NULL, 'c'},
                                          {"durable", no_argument, NULL, 'd'},
                                          {"keep", no_argument, NULL, 'k'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    options o = {.seconds = 0};
    for (int c = 0; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'q':
            o.quick = true;
            break;
        case 's':
            o.seconds = strtod(optarg, NULL);
            break;
        case 't':
            o.transport = optarg;
            break;
        case 'm':
            o.model = optarg;
            break;
        case 'c':
            o.clients = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            o.durable = true;
            break;
        case 'k':
            o.keep = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            (void)fputs(usage, stderr);
            return 64;
        }
    }
    if (o.seconds <= 0) {
        o.seconds = o.quick ? 1 : 4;
    }
    const char *build_dir = getenv("WEFT_BUILD_DIR");
    if (!build_dir) {
        world_die("WEFT_BUILD_DIR is not set: run ./dev bench rounds");
    }
    const bool plain = !o.transport || strcmp(o.transport, "plain") == 0;
    const bool mtls = !o.transport || strcmp(o.transport, "mtls") == 0;
    if (plain) {
        run_transport(build_dir, true, &o);
    }
    if (mtls) {
        run_transport(build_dir, false, &o);
    }
    if (!plain && !mtls) {
        world_die("--transport is %s, want mtls or plain", o.transport);
    }
    return 0;
}
