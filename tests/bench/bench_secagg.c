/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secure aggregation in one process:
 *
 *   bench_secagg [--n N] [--d D] [--dropout F] [--k K] [--threads T]
 *
 * JSON lines; the reference of mask_rate, client_s and unmask_s is the AES-256-CTR floor of the
 * same run. client_total_s (all phases, the masks, the rounding of the update) and server_total_s
 * (all phases, the sum of the vectors, unmasking) have Flower's SecAgg+ beside them where its
 * figure for the same n, d, shares and dropouts is known: measured before, Flower 1.23.0, its
 * workflow and client mod in one process without a network, on two shared cores of such a machine.
 * With
 * --threads 1, as for that comparison, all times are the processor's, whatever else it does.
 * --k: at least so many neighbours, by the weakest policy that asks for them; default: the default
 * policy's.
 */
#include "sim/secagg_world.h"

#include "update/fixed.h"

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
    uint32_t k;
} opt = {100, 1000000, 0.1, 2, 0};

/* Flower's SecAgg+: seconds of one client, and of the server. shares: with the client's own. */
static const struct {
    uint32_t n;
    size_t d;
    uint32_t shares, dropped;
    double client_s, server_s;
} flower[] = {
    {10, 100000, 10, 0, 0.081, 0.24}, {10, 100000, 10, 1, 0.086, 0.40},
    {50, 100000, 50, 0, 0.63, 17.1},  {50, 100000, 50, 5, 0.77, 26.7},
    {100, 100000, 21, 0, 0.20, 8.2},  {10, 1663370, 10, 0, 0.25, 0.43},
    {10, 1663370, 10, 1, 0.22, 0.57}, {50, 1663370, 50, 0, 1.06, 18.5},
    {100, 1663370, 21, 0, 0.50, 8.6},
};

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(opt.threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC,
                        &t); /* both exist */
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

/* The policy of least gamma and delta that makes k neighbours or more of opt.n clients. */
static weft_secagg_policy policy_of(void)
{
    weft_secagg_policy best = WEFT_SECAGG_POLICY_INIT;
    uint32_t best_k = UINT32_MAX;
    for (int i = 0; opt.k > 0 && i < 40 * 40; i++) {
        weft_secagg_policy p = WEFT_SECAGG_POLICY_INIT;
        weft_secagg_params params;
        p.adversary = WEFT_SECAGG_ACTIVE;
        p.gamma = i / 40 / 100.0;
        p.delta = i % 40 / 100.0;
        if (weft_secagg_params_find(&params, opt.n, &p, NULL) == WEFT_OK && params.k >= opt.k &&
            params.k < best_k) {
            best = p;
            best_k = params.k;
        }
    }
    return best;
}

static void compare(uint32_t k, double client_s, double server_s)
{
    const uint32_t dropped = (uint32_t)(opt.dropout * opt.n);
    double client = 0.0;
    double server = 0.0;
    for (size_t i = 0; i < sizeof flower / sizeof *flower; i++) {
        if (flower[i].n == opt.n && flower[i].d == opt.d && flower[i].shares == k + 1 &&
            flower[i].dropped == dropped) {
            client = flower[i].client_s;
            server = flower[i].server_s;
        }
    }
    line("client_total_s", client_s, "s", client, client / client_s);
    line("server_total_s", server_s, "s", server, server / server_s);
}

static weft_status drop_words(void *self, uint32_t *words, size_t n, weft_err *err)
{
    (void)self;
    (void)words;
    (void)n;
    (void)err;
    return WEFT_OK;
}

/* What a client's clipping and rounding takes: its delta onto the grid. */
static double encode(void)
{
    const weft_fixed_layout layout = {
        .n_params = opt.d, .cohort = opt.n, .clip_norm = 10.0, .max_examples = 10000};
    const weft_fixed_sink sink = {drop_words, NULL};
    const weft_metrics none = {.n = 0};
    const uint8_t seed[WEFT_FIXED_SEED_BYTES] = {1};
    weft_fixed_grid grid;
    weft_fixed_result result;
    float *delta = calloc(opt.d, sizeof *delta);
    if (!delta || weft_fixed_grid_make(&grid, &layout, NULL) != WEFT_OK) {
        exit(1);
    }
    for (size_t i = 0; i < opt.d; i++) {
        delta[i] = (float)((i * 2654435761U) % 1000) * 1e-6F;
    }
    const double start = seconds();
    if (weft_fixed_encode(&result, &sink, &grid, delta, NULL, 600, &none, seed, &weft_alloc_std,
                          NULL) != WEFT_OK) {
        exit(1);
    }
    const double took = seconds() - start;
    free(delta);
    return took;
}

/* What the coordinator's sum of the vectors takes, one thread. */
static double sum_all(uint32_t *words, const uint32_t *vector, uint32_t n)
{
    const double start = seconds();
    for (uint32_t i = 0; i < n; i++) {
        for (size_t j = 0; j < opt.d; j++) {
            words[j] += vector[j] ^ i;
        }
    }
    return seconds() - start;
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const double v = strtod(argv[i + 1], NULL);
        opt.n = strcmp(argv[i], "--n") ? opt.n : (uint32_t)v;
        opt.d = strcmp(argv[i], "--d") ? opt.d : (size_t)v;
        opt.dropout = strcmp(argv[i], "--dropout") ? opt.dropout : v;
        opt.k = strcmp(argv[i], "--k") ? opt.k : (uint32_t)v;
        opt.threads = strcmp(argv[i], "--threads") ? opt.threads : (int)v;
    }
    if (opt.n < 3 || opt.d == 0 || opt.threads < 1 || opt.threads > 64) {
        fprintf(stderr, "bench_secagg [--n N] [--d D] [--dropout F] [--k K] [--threads 1..64]\n");
        return 64;
    }
    const weft_secagg_policy policy = policy_of();
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
    double server = 0.0;
    double bytes = 0.0;
    for (int p = WEFT_SECAGG_PHASE_ADVERTISE; p <= WEFT_SECAGG_PHASE_UNMASK; p++) {
        char name[64];
        const char *phase = weft_secagg_phase_name((weft_secagg_phase)p);
        (void)snprintf(name, sizeof name, "client_ms_%s", phase); /* fits */
        line(name, 1e3 * w.client_s[p] / opt.n, "ms", 0.0, 0.0);
        (void)snprintf(name, sizeof name, "server_ms_%s", phase); /* fits */
        line(name, 1e3 * w.server_s[p], "ms", 0.0, 0.0);
        client += w.client_s[p] / opt.n;
        server += w.server_s[p];
        bytes += (double)(w.up[p] + w.down[p]) / opt.n;
    }
    const double aes = aes_rate();
    const uint32_t k = weft_secagg_server_params(w.server)->k;
    line("k", k, "1", 0.0, 0.0);
    const size_t most = weft_secagg_server_n_streams(w.server);
    weft_prg_stream *streams = calloc(most + k + 1, sizeof *streams);
    uint32_t *words = calloc(opt.d, sizeof *words);
    weft_secagg_solution *solution = malloc(sizeof *solution);
    if (!streams || !words || !solution) {
        return 1;
    }
    memset(words, 1, opt.d * sizeof *words); /* there, as an encoded vector is */
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
    uint32_t *vector = calloc(opt.d, sizeof *vector);
    if (!vector) {
        return 1;
    }
    const uint32_t included = weft_secagg_server_n_included(w.server);
    const double encode_s = encode();
    line("encode_s", encode_s, "s", 0.0, 0.0);
    compare(k, client + mask + encode_s, server + unmask + sum_all(words, vector, included));
    free(vector);
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage); /* our own */
    line("peak_rss", (double)usage.ru_maxrss * 1024.0, "B", 0.0, 0.0);
    free(streams);
    free(words);
    free(solution);
    secagg_world_done(&w);
    return 0;
}
