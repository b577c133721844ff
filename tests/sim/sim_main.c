/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The deterministic simulator: the real core with its clients on a coordinator in memory; each seed
 * is a federation of its own whose faults (calls and answers lost, clients frozen, restarted and
 * dead, the coordinator dying before any action or after any transaction) are drawn from the seed.
 * A violation names the seed, and the run with the fewest faults that still shows it.
 *
 *   sim [--seed S | --seeds N] [--first S] [--minutes M] [--only FAULT]... [--mutation I]
 *   sim --mutations N
 *
 * With --mutations it is given shells with bugs (core_shell.h) and must find each within N seeds.
 */
#include "sim/secure_rounds.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 10, WORKERS = 2, MAX_TURNS = 3000, MAX_FAULTS = 8192 };

/* What children tell; one place each. */
typedef struct progress {
    uint64_t seed; /* the present one */
    uint64_t rounds;
    uint64_t crashes;
    uint64_t faults;
    uint32_t n_keys;
    uint64_t key[MAX_FAULTS]; /* of the faults of the present seed */
} progress;

static progress *told; /* [WORKERS], shared */
static progress *mine; /* of this child */
/* A fault's key says when and where: leaving one out moves no other in its turn. */
static uint64_t place;            /* of the next one: turn, client, how many were possible there */
static uint64_t only[MAX_FAULTS]; /* [n_only], where choosing: no other ones happen */
static uint32_t n_only;
static bool choosing;
static bool tracing;
static sim_mutation mutation;
static weft_rng chance;
static rounds_world world;
static uint64_t first_seed, n_seeds;
static uint64_t frozen_until[ROUNDS_MAX];

static void trace(const char *what, const char *who)
{
    if (tracing) {
        printf("  %8" PRIu64 " ms  %s %s\n", world.f.s.now_ms, what, who);
    }
}

/* Chance and faults of this client in this turn, whatever happened before. */
static void enter(uint64_t seed, uint64_t turn, uint64_t who)
{
    place = (turn << 20) | (who << 12);
    weft_rng_init(&chance, seed, place + 77);
}

static bool chosen(uint64_t key)
{
    bool found = !choosing;
    for (uint32_t i = 0; i < n_only && !found; i++) {
        found = only[i] == key;
    }
    return found;
}

/* One of n times a fault. */
static bool fault(uint64_t n, const char *what, const char *who)
{
    const uint64_t key = place++;
    if (weft_rng_below(&chance, n) != 0 || !chosen(key)) {
        return false;
    }
    if (mine->n_keys < MAX_FAULTS) {
        mine->key[mine->n_keys++] = key;
    }
    mine->faults++;
    trace(what, who);
    return true;
}

static bool lost(rounds_world *w, const rounds_client *c)
{
    (void)w;
    return fault(40, "a message is lost of", c->name);
}

static void client_turn(rounds_world *w, uint32_t i, uint32_t *n_dead)
{
    rounds_client *c = &w->client[i];
    if (c->gone || w->f.s.now_ms < frozen_until[i]) {
        return;
    }
    if (fault(60, "frozen for a while:", c->name)) {
        frozen_until[i] = w->f.s.now_ms + weft_rng_below(&chance, 25000);
        return;
    }
    if (*n_dead == 0 && w->n > 4 && fault(800, "dies for good:", c->name)) {
        c->gone = true;
        (*n_dead)++;
        return;
    }
    w->restart_clients = fault(20, "restarted:", c->name);
    if (w->f.s.crash_in == SIM_NEVER &&
        fault(60, "the coordinator is about to die after", c->name)) {
        w->f.s.crash_in = weft_rng_below(&chance, 12);
    }
    rounds_step(w, c);
    if (fault(30, "comes twice, from", c->name)) {
        rounds_step(w, c);
    }
    sim_shell_check(&w->f.s, false);
}

/* Everybody in an order of its own, then some of the work, then time. */
static void turn(rounds_world *w, uint64_t seed, uint64_t number, uint32_t *n_dead)
{
    enter(seed, number, ROUNDS_MAX);
    const uint32_t first = (uint32_t)weft_rng_below(&chance, w->n);
    const bool up = weft_rng_below(&chance, 2) == 0;
    for (uint32_t i = 0; i < w->n; i++) {
        const uint32_t who = (up ? first + i : first + w->n - i) % w->n;
        enter(seed, number, who);
        client_turn(w, who, n_dead);
    }
    enter(seed, number, ROUNDS_MAX + 1);
    while (w->f.s.n_work > 0 && !fault(8, "work waits", "")) {
        (void)sim_shell_work(&w->f.s, weft_rng_below(&chance, w->f.s.n_work)); /* or a crash */
        sim_shell_check(&w->f.s, false);
    }
    sim_shell_pass(&w->f.s, 200 + weft_rng_below(&chance, 1500));
    w->f.s.db.logical_ms = w->f.s.now_ms; /* as weftd does from time to time */
    sim_shell_check(&w->f.s, false);
}

static void run_seed(uint64_t seed)
{
    rounds_world *w = &world;
    uint32_t n_dead = 0;
    mine->n_keys = 0;
    memset(frozen_until, 0, sizeof frozen_until);
    weft_rng_init(&chance, seed, 77);
    const uint32_t n = 3 + (uint32_t)weft_rng_below(&chance, 4);
    const uint32_t rounds = 1 + (uint32_t)weft_rng_below(&chance, 6);
    const uint64_t kind = weft_rng_below(&chance, 4);
    if (kind >= 2) {
        rounds_init_plain(w, n, 4 * rounds, seed);
    } else {
        rounds_init(w, n, rounds, kind ? WEFT_ADVERSARY_ACTIVE : WEFT_ADVERSARY_CURIOUS, seed);
    }
    w->lost = lost;
    w->f.s.mutation = mutation;
    unsigned turns = 0;
    while (fix_job(&w->f, w->job_id)->status == WEFT_JOB_RUNNING) {
        turn(w, seed, turns, &n_dead);
        turns++;
        if (turns > MAX_TURNS) {
            fail_msg("seed %" PRIu64 ": the job does not end", seed);
        }
    }
    mine->rounds += w->f.s.db.n_rounds;
    mine->crashes += w->f.s.crashes;
    rounds_done(w); /* and every version made again */
}

static void test_sim(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < n_seeds; i++) {
        mine->seed = first_seed + i;
        run_seed(first_seed + i);
    }
}

/* ---- children -------------------------------------------------------------------------------- */

/* @return the child; its output goes nowhere unless loud. */
static pid_t start(uint32_t worker, uint64_t first, uint64_t n, bool loud)
{
    (void)fflush(stdout); /* or it is printed twice */
    const pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    if (!loud && (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))) {
        _exit(2);
    }
    mine = &told[worker];
    first_seed = first;
    n_seeds = n;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sim)};
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)fflush(stdout); /* _exit does not */
    _exit(failed != 0);
}

static bool good(pid_t pid)
{
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

/* Does the seed still fail with these faults only? */
static bool still(uint64_t seed)
{
    return !good(start(0, seed, 1, false));
}

/* Leave out as many faults as possible, by halves and so on down to one by one. */
static void shrink(uint64_t seed)
{
    static uint64_t kept[MAX_FAULTS];
    for (uint32_t width = n_only / 2 ? n_only / 2 : 1; width > 0; width /= 2) {
        for (uint32_t at = 0; at < n_only;) {
            const uint32_t n = n_only;
            const uint32_t out = n - at < width ? n - at : width;
            memcpy(kept, only, sizeof kept);
            memmove(only + at, only + at + out, (n - at - out) * sizeof *only);
            n_only = n - out;
            if (!still(seed)) {
                memcpy(only, kept, sizeof only);
                n_only = n;
                at += out;
            }
        }
    }
}

/* The fewest faults with which the seed still fails, then once more for people. */
static void report(uint64_t seed)
{
    if (!choosing) {
        n_only = told[0].n_keys;
        memcpy(only, told[0].key, sizeof only);
        choosing = true;
        shrink(seed);
    }
    tracing = true;
    printf("sim: seed %" PRIu64 " violates an invariant with %" PRIu32 " faults:\n", seed, n_only);
    (void)good(start(0, seed, 1, true)); /* it fails */
    printf("sim: replay with: ./dev sim --seed %" PRIu64, seed);
    for (uint32_t i = 0; i < n_only; i++) {
        printf(" --only %" PRIu64, only[i]);
    }
    printf("\n");
}

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* always there */
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void tell_all(uint64_t seeds, double took)
{
    progress all = {0};
    for (uint32_t i = 0; i < WORKERS; i++) {
        all.rounds += told[i].rounds;
        all.crashes += told[i].crashes;
        all.faults += told[i].faults;
    }
    printf("sim: %" PRIu64 " seeds, %" PRIu64 " rounds, %" PRIu64 " faults, %" PRIu64
           " deaths of the coordinator, no violation; %.0f rounds a minute\n",
           seeds, all.rounds, all.faults, all.crashes, (double)all.rounds * 60.0 / took);
}

/* Chunks of seeds on all workers until n are done or the time is over. */
static bool run(uint64_t first, uint64_t n, double minutes)
{
    pid_t child[WORKERS] = {0};
    uint64_t next = 0;
    const double begun = seconds();
    bool fine = true;
    for (uint32_t busy = 0, i = 0; fine; i = (i + 1) % WORKERS) {
        if (child[i] > 0) {
            busy--;
            fine = good(child[i]);
            child[i] = 0;
        }
        if (!fine) {
            for (uint32_t k = 0; k < WORKERS; k++) {
                (void)(child[k] > 0 && good(child[k])); /* one violation is enough */
            }
            told[0] = told[i]; /* its faults */
            report(told[0].seed);
            return false;
        }
        const bool more = minutes > 0 ? seconds() - begun < minutes * 60 : next < n;
        if (more) {
            const uint64_t left = minutes > 0 || n - next > CHUNK ? CHUNK : n - next;
            child[i] = start(i, first + next, left, false);
            next += left;
            busy++;
        } else if (busy == 0) {
            break;
        }
    }
    tell_all(next, seconds() - begun);
    return fine;
}

static const char *const mutations[SIM_MUTATIONS] = {
    [SIM_SOUND] = "none",
    [SIM_ACK_BEFORE_COMMIT] = "acknowledged before committed",
    [SIM_MASKED_ROW_LOST] = "a masked vector is not on record",
    [SIM_CLOSURE_ROW_LOST] = "a closed phase is not on record",
    [SIM_MESSAGE_ROW_LOST] = "a message is not on record",
    [SIM_ACCEPTED_ROW_LOST] = "an accepted update is not on record",
    [SIM_ROUND_ROW_LOST] = "a closed round is not on record",
    [SIM_JOB_ROW_LOST] = "a finished round is not on record",
    [SIM_DOUBLE_FOLD] = "folded twice",
    [SIM_FOLD_LOST_AT_RESTART] = "not folded after a restart",
    [SIM_SPOOL_LOST_AT_RESTART] = "the spool is lost at a restart",
    [SIM_PUBLISH_LOST] = "not published",
    [SIM_CLOCK_STANDS_AFTER_RESTART] = "no deadline is armed after a restart",
    [SIM_CLIENT_KEYS_LOST] = "a client makes new keys for a session",
    [SIM_CLIENT_MASKS_AGAIN] = "a client uses masks twice",
};

/* Each of them is found. */
static bool run_mutations(uint64_t n)
{
    bool all = true;
    for (int i = SIM_SOUND + 1; i < SIM_MUTATIONS; i++) {
        mutation = (sim_mutation)i;
        uint64_t seed = 1;
        while (seed <= n && good(start(0, seed, 1, false))) {
            seed++;
        }
        if (seed <= n) {
            printf("sim: %s: found by seed %" PRIu64 "\n", mutations[i], seed);
        } else {
            printf("sim: %s: NOT found by %" PRIu64 " seeds\n", mutations[i], n);
            all = false;
        }
    }
    return all;
}

static bool number(const char *text, uint64_t *ret)
{
    char *end = NULL;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

int main(int argc, char **argv)
{
    uint64_t first = 1;
    uint64_t n = 200;
    uint64_t minutes = 0;
    uint64_t bugs = 0;
    bool fine = argc % 2 == 1;
    for (int i = 1; fine && i + 1 < argc; i += 2) {
        uint64_t value = 0;
        fine = number(argv[i + 1], &value);
        if (strcmp(argv[i], "--seed") == 0) {
            first = value;
            n = 1;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            n = value;
        } else if (strcmp(argv[i], "--first") == 0) {
            first = value;
        } else if (strcmp(argv[i], "--minutes") == 0) {
            minutes = value;
        } else if (strcmp(argv[i], "--only") == 0 && n_only < MAX_FAULTS) {
            choosing = true;
            only[n_only++] = value;
        } else if (strcmp(argv[i], "--mutation") == 0) {
            mutation = (sim_mutation)value;
            fine = fine && value < SIM_MUTATIONS;
        } else if (strcmp(argv[i], "--mutations") == 0) {
            bugs = value;
        } else {
            fine = false;
        }
    }
    told = mmap(NULL, WORKERS * sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);
    if (!fine || told == MAP_FAILED) {
        (void)fprintf(
            stderr, "usage: sim [--seed S | --seeds N] [--first S] [--minutes M] [--only FAULT]..."
                    " [--mutation I]\n       sim --mutations N\n");
        return 64;
    }
    if (bugs > 0) {
        return run_mutations(bugs) ? 0 : 1;
    }
    return run(first, n, (double)minutes) ? 0 : 1;
}
