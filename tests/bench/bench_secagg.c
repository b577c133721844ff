/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secure aggregation in one process: bench_secagg [--n N] [--d D] [--dropout F] [--threads T].
 * JSON lines; the reference of mask_rate and unmask_s is the AES-256-CTR floor of the same run.
 */
#include "sim/secagg_world.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static struct {
    uint32_t n;
    size_t d;
    double dropout;
    int threads;
} opt = {100, 1000000, 0.1, 2};

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* exists */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* reference 0: there is nothing to measure it against */
static void line(const char *metric, double value, const char *unit, double reference, double ratio)
{
    printf(
        "{\"bench\":\"secagg\",\"case\":\"n=%u d=%zu dropout=%g\",\"metric\":\"%s\",\"value\":%g,"
        "\"unit\":\"%s\",",
        opt.n, opt.d, opt.dropout, metric, value, unit);
    if (reference > 0.0) {
        printf("\"reference\":%g,\"ratio\":%g}\n", reference, ratio);
    } else {
        printf("\"reference\":null,\"ratio\":null}\n");
    }
}

/* Bytes a second of one core that only makes keystream, in the pieces that masks are made in. */
static double aes_rate(void)
{
    static uint8_t out[4U * WEFT_PRG_BLOCK_WORDS];
    const uint8_t key[32] = {1};
    double bytes = 0.0;
    const double start = seconds();
    do {
        if (weft_prg_bytes(out, sizeof out, key, NULL) != WEFT_OK) {
            exit(1);
        }
        bytes += sizeof out;
    } while (seconds() - start < 0.5);
    return bytes / (seconds() - start);
}

typedef struct part {
    uint32_t *words;
    uint64_t first, n;
    const weft_prg_stream *streams;
    size_t n_streams;
} part;

static void *apply(void *arg)
{
    const part *p = arg;
    if (weft_prg_apply(p->words + p->first, p->first, p->n, p->streams, p->n_streams,
                       &weft_alloc_std, NULL) != WEFT_OK) {
        exit(1);
    }
    return NULL;
}

static void apply_all(uint32_t *words, const weft_prg_stream *s, size_t n_streams, int threads)
{
    pthread_t thread[64];
    part parts[64];
    const uint64_t step = (opt.d / (uint64_t)threads + 3) / 4 * 4;
    for (int i = 0; i < threads; i++) {
        const uint64_t first = step * (uint64_t)i < opt.d ? step * (uint64_t)i : opt.d / 4 * 4;
        const uint64_t end = i + 1 == threads || first + step > opt.d ? opt.d : first + step;
        parts[i] = (part){words, first, end - first, s, n_streams};
        if (pthread_create(&thread[i], NULL, apply, &parts[i])) {
            exit(1);
        }
    }
    for (int i = 0; i < threads; i++) {
        (void)pthread_join(thread[i], NULL); /* ours */
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const double v = strtod(argv[i + 1], NULL);
        opt.n = strcmp(argv[i], "--n") ? opt.n : (uint32_t)v;
        opt.d = strcmp(argv[i], "--d") ? opt.d : (size_t)v;
        opt.dropout = strcmp(argv[i], "--dropout") ? opt.dropout : v;
        opt.threads = strcmp(argv[i], "--threads") ? opt.threads : (int)v;
    }
    if (opt.n < 3 || opt.d == 0 || opt.threads < 1 || opt.threads > 64) {
        fprintf(stderr, "bench_secagg [--n N] [--d D] [--dropout F] [--threads 1..64]\n");
        return 64;
    }
    const weft_secagg_policy policy = WEFT_SECAGG_POLICY_INIT;
    static secagg_world w;
    secagg_world_init(&w, opt.n, 0, &policy, 1);
    w.clock = seconds;
    secagg_world_phase(&w);
    secagg_world_phase(&w);
    for (uint32_t i = 0; i < (uint32_t)(opt.dropout * opt.n); i++) {
        w.parties[i].gone = true;
    }
    secagg_world_run(&w);
    if (weft_secagg_server_phase(w.server) != WEFT_SECAGG_PHASE_SOLVE) {
        fprintf(stderr, "bench_secagg: the session failed\n");
        return 1;
    }
    double client = 0.0;
    double bytes = 0.0;
    for (int p = WEFT_SECAGG_PHASE_ADVERTISE; p <= WEFT_SECAGG_PHASE_UNMASK; p++) {
        char name[64];
        const char *phase = weft_secagg_phase_name((weft_secagg_phase)p);
        (void)snprintf(name, sizeof name, "client_ms_%s", phase); /* fits */
        line(name, 1e3 * w.client_s[p] / opt.n, "ms", 0.0, 0.0);
        (void)snprintf(name, sizeof name, "server_ms_%s", phase); /* fits */
        line(name, 1e3 * w.server_s[p], "ms", 0.0, 0.0);
        client += w.client_s[p] / opt.n;
        bytes += (double)(w.up[p] + w.down[p]) / opt.n;
    }
    const double aes = aes_rate();
    const uint32_t k = weft_secagg_server_params(w.server)->k;
    const size_t most = weft_secagg_server_n_streams(w.server);
    weft_prg_stream *streams = calloc(most + k + 1, sizeof *streams);
    uint32_t *words = calloc(opt.d, sizeof *words);
    weft_secagg_solution *solution = malloc(sizeof *solution);
    if (!streams || !words || !solution) {
        return 1;
    }
    double start = seconds();
    apply_all(words, streams, k + 1, 1);
    const double mask = seconds() - start;
    const double rate = (k + 1.0) * 4.0 * (double)opt.d / mask;
    line("mask_rate", rate, "B/s", aes, rate / aes);
    const double mask_floor_s = (k + 1.0) * 4.0 * (double)opt.d / aes;
    line("client_s", client + mask, "s", mask_floor_s, mask_floor_s / (client + mask));
    line("traffic_overhead", bytes / (4.0 * (double)opt.d), "1", 0.0, 0.0);
    start = seconds();
    size_t n = 0;
    for (size_t i = 0; i < weft_secagg_server_n_secrets(w.server); i++) {
        if (weft_secagg_server_solve(solution, w.server, i, NULL) != WEFT_OK) {
            return 1;
        }
        memcpy(streams + n, solution->streams, solution->n_streams * sizeof *streams);
        n += solution->n_streams;
    }
    line("solve_s", seconds() - start, "s", 0.0, 0.0);
    apply_all(words, streams, n, opt.threads);
    const double unmask = seconds() - start;
    const double floor_s = (double)n * 4.0 * (double)opt.d / (opt.threads * aes);
    line("unmask_s", unmask, "s", floor_s, floor_s / unmask);
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage); /* our own */
    line("peak_rss", (double)usage.ru_maxrss * 1024.0, "B", 0.0, 0.0);
    free(streams);
    free(words);
    free(solution);
    secagg_world_done(&w);
    return 0;
}
