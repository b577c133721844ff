/* SPDX-License-Identifier: Apache-2.0 */
/* Two steps on the pool: solve secrets, add streams. Worker threads. */
#include "app/unmask.h"

#include "crypto/hash.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PARTS = 64 };
/* the least that is worth a worker of its own: a few blocks */
#define LEAST_WORDS (UINT64_C(4) * WEFT_PRG_BLOCK_WORDS)

typedef struct unmask unmask;

typedef struct part {
    weft_rt_job job; /* first */
    unmask *all;
    uint32_t index;
} part;

struct unmask {
    weft_unmask_config config;
    const weft_secagg_server *machine;
    size_t n_secrets;
    size_t max_streams;
    weft_prg_stream *streams; /* [max_streams], secret, owned */
    bool *liar;               /* [roster], guarded by lock, owned */
    uint32_t n_roster;
    atomic_size_t next_secret;
    atomic_size_t n_streams;
    atomic_bool failed;
    pthread_mutex_t lock;
    weft_unmask_result result; /* failure guarded by lock */
    uint32_t n_parts;
    atomic_uint left;
    part parts[MAX_PARTS];
};

static void fail(unmask *u, const weft_err *err)
{
    (void)pthread_mutex_lock(&u->lock); /* not recursive: cannot fail */
    if (u->result.failure.code == WEFT_OK) {
        u->result.failure = *err;
    }
    (void)pthread_mutex_unlock(&u->lock);
    atomic_store(&u->failed, true);
}

static void free_unmask(unmask *u)
{
    if (u->streams) {
        weft_wipe(u->streams, u->max_streams * sizeof *u->streams);
    }
    weft_free(u->config.alloc, u->streams);
    weft_free(u->config.alloc, u->liar);
    (void)pthread_mutex_destroy(&u->lock); /* nobody holds it */
    weft_free(u->config.alloc, u);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* By the roster's order, whoever found them first. */
static void name_liars(unmask *u)
{
    char *out = u->result.liars;
    size_t used = 0;
    for (uint32_t i = 0; i < u->n_roster; i++) {
        const char *name = weft_secagg_server_client(u->machine, i);
        if (!u->liar[i] || !name) {
            continue;
        }
        const size_t n = strlen(name);
        u->result.n_liars++;
        if (used + n + 8 > WEFT_UNMASK_LIARS_BYTES) {
            memcpy(out + used, ", ...", 6);
            break;
        }
        /* fits: looked at above */
        used += (size_t)snprintf(out + used, n + 3, "%s%s", used > 0 ? ", " : "", name);
    }
}

static void finish(unmask *u)
{
    name_liars(u);
    const weft_unmask_result result = u->result;
    void (*done)(void *, const weft_unmask_result *) = u->config.done;
    void *self = u->config.self;
    free_unmask(u);
    done(self, &result);
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* Run parts 1.. on the pool, part 0 here; the last to end goes on. */
static void run_parts(unmask *u, uint32_t n, void (*run)(weft_rt_job *))
{
    u->n_parts = n;
    atomic_store(&u->left, n);
    for (uint32_t i = 0; i < n; i++) {
        u->parts[i] = (part){{{NULL}, run}, u, i};
    }
    for (uint32_t i = 1; i < n; i++) {
        if (!weft_rt_pool_submit(u->config.pool, &u->parts[i].job)) {
            run(&u->parts[i].job);
        }
    }
    run(&u->parts[0].job); /* last: with it u may be gone */
}

static uint32_t parts_for(const unmask *u, uint64_t useful)
{
    uint64_t n = u->config.n_workers < MAX_PARTS ? u->config.n_workers : MAX_PARTS;
    n = n < useful ? n : useful;
    return n ? (uint32_t)n : 1;
}

/* ---- streams --------------------------------------------------------------------------------- */

static void run_range(weft_rt_job *job)
{
    part *p = (part *)(void *)job; /* its first member */
    unmask *u = p->all;
    /* ranges begin at a multiple of an AES block's words */
    const uint64_t n = u->config.n_words;
    const uint64_t each = (n / u->n_parts + 4) / 4 * 4;
    const uint64_t first = each * p->index < n ? each * p->index : n;
    const uint64_t end = p->index + 1 == u->n_parts || first + each > n ? n : first + each;
    weft_err err = WEFT_ERR_INIT;
    if (end > first &&
        weft_prg_apply(u->config.words + first, first, end - first, u->streams,
                       atomic_load(&u->n_streams), u->config.alloc, &err) != WEFT_OK) {
        fail(u, &err);
    }
    if (atomic_fetch_sub(&u->left, 1) == 1) {
        finish(u);
    }
}

/* ---- secrets --------------------------------------------------------------------------------- */

static void keep_streams(unmask *u, const weft_secagg_solution *solution)
{
    const size_t at = atomic_fetch_add(&u->n_streams, solution->n_streams);
    if (at + solution->n_streams > u->max_streams) {
        weft_err err = WEFT_ERR_INIT;
        (void)!weft_err_set(&err, WEFT_E_INTERNAL, 0, __FILE__, __LINE__,
                            "more masks than were announced"); /* its return is the code */
        fail(u, &err);
        return;
    }
    memcpy(u->streams + at, solution->streams, solution->n_streams * sizeof *u->streams);
}

static void keep_liars(unmask *u, const weft_secagg_solution *solution)
{
    (void)pthread_mutex_lock(&u->lock); /* not recursive: cannot fail */
    for (size_t i = 0; i < solution->n_liars; i++) {
        if (solution->liars[i] < u->n_roster) {
            u->liar[solution->liars[i]] = true;
        }
    }
    (void)pthread_mutex_unlock(&u->lock);
}

/* Secrets one after the other, until none is left. After a failure the rest is solved all the same:
 * whoever lied is to be named. */
static void solve_some(unmask *u, weft_secagg_solution *solution)
{
    for (size_t i = atomic_fetch_add(&u->next_secret, 1); i < u->n_secrets;
         i = atomic_fetch_add(&u->next_secret, 1)) {
        weft_err err = WEFT_ERR_INIT;
        const weft_status status = weft_secagg_server_solve(solution, u->machine, i, &err);
        if (status == WEFT_OK || status == WEFT_E_AUTH) {
            keep_liars(u, solution);
        }
        if (status != WEFT_OK) {
            fail(u, &err);
        } else {
            keep_streams(u, solution);
        }
    }
}

static void run_solve(weft_rt_job *job)
{
    part *p = (part *)(void *)job; /* its first member */
    unmask *u = p->all;
    weft_secagg_solution *solution = weft_array(u->config.alloc, 1, sizeof *solution);
    if (solution) {
        solve_some(u, solution);
        weft_wipe(solution, sizeof *solution);
        weft_free(u->config.alloc, solution);
    } else {
        weft_err err = WEFT_ERR_INIT;
        (void)!weft_err_set(&err, WEFT_E_NOMEM, 0, __FILE__, __LINE__,
                            "no memory to take masks off"); /* its return is the code */
        fail(u, &err);
    }
    if (atomic_fetch_sub(&u->left, 1) != 1) {
        return;
    }
    if (atomic_load(&u->failed)) {
        finish(u);
    } else {
        run_parts(u, parts_for(u, u->config.n_words / LEAST_WORDS), run_range);
    }
}

weft_status weft_unmask_start(const weft_unmask_config *config, weft_err *err)
{
    unmask *u = weft_array(config->alloc, 1, sizeof *u);
    if (!u) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory to take masks off");
    }
    u->config = *config;
    u->machine = weft_secure_session_machine(config->session);
    u->n_secrets = weft_secagg_server_n_secrets(u->machine);
    u->max_streams = weft_secagg_server_n_streams(u->machine);
    u->n_roster = weft_secagg_server_params(u->machine)->n;
    (void)pthread_mutex_init(&u->lock, NULL); /* a plain mutex: cannot fail on Linux */
    u->streams = weft_array(config->alloc, u->max_streams ? u->max_streams : 1, sizeof *u->streams);
    u->liar = weft_array(config->alloc, u->n_roster ? u->n_roster : 1, sizeof *u->liar);
    if (!u->streams || !u->liar) {
        const size_t n = u->max_streams;
        free_unmask(u);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %zu masks", n);
    }
    run_parts(u, parts_for(u, u->n_secrets), run_solve);
    return WEFT_OK;
}
