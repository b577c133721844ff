/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that wait for work. Threads: a team belongs to one caller at a time. */
#include "nn/team.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Looks at a counter before a thread goes to sleep: some tens of microseconds. */
enum { SPINS = 1000 };

struct weft_team {
    const weft_alloc *alloc;
    uint32_t n;       /* members, the caller included */
    uint32_t started; /* threads */
    weft_team_fn *fn; /* of the round that runs */
    void *arg;
    void (*on_start)(void *self, uint32_t index);
    void *self;
    atomic_uint round;   /* counts pieces of work */
    atomic_uint working; /* members of this round that are not done, but for the caller */
    atomic_bool ending;
    pthread_mutex_t lock;
    pthread_cond_t begun; /* a round has begun, or the end */
    pthread_cond_t done;  /* nobody works */
    struct member {
        weft_team *team;
        uint32_t index;
        pthread_t thread;
    } * members; /* [n - 1], owned */
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Waits for a round behind seen; returns its number. */
static unsigned wait_for_round(weft_team *team, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        const unsigned round = atomic_load_explicit(&team->round, memory_order_acquire);
        if (round != seen) {
            return round;
        }
        pause_briefly();
    }
    (void)pthread_mutex_lock(&team->lock); /* a plain mutex: cannot fail, here and below */
    while (atomic_load(&team->round) == seen) {
        (void)pthread_cond_wait(&team->begun, &team->lock);
    }
    (void)pthread_mutex_unlock(&team->lock);
    return atomic_load(&team->round);
}

static void *member_main(void *arg)
{
    const struct member *me = arg;
    weft_team *team = me->team;
    unsigned seen = 0;
    if (team->on_start) {
        team->on_start(team->self, me->index);
    }
    for (;;) {
        seen = wait_for_round(team, seen);
        if (atomic_load(&team->ending)) {
            return NULL;
        }
        team->fn(team->arg, me->index, team->n);
        if (atomic_fetch_sub_explicit(&team->working, 1, memory_order_acq_rel) == 1) {
            (void)pthread_mutex_lock(&team->lock);
            (void)pthread_cond_signal(&team->done); /* the caller may sleep already */
            (void)pthread_mutex_unlock(&team->lock);
        }
    }
}

static void begin_round(weft_team *team)
{
    (void)pthread_mutex_lock(&team->lock);
    atomic_fetch_add_explicit(&team->round, 1, memory_order_release);
    (void)pthread_cond_broadcast(&team->begun);
    (void)pthread_mutex_unlock(&team->lock);
}

void weft_team_run(weft_team *team, weft_team_fn *fn, void *arg)
{
    if (!team) {
        fn(arg, 0, 1);
        return;
    }
    team->fn = fn;
    team->arg = arg;
    atomic_store(&team->working, team->n - 1);
    begin_round(team);
    fn(arg, 0, team->n);
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&team->working, memory_order_acquire) == 0) {
            return;
        }
        pause_briefly();
    }
    (void)pthread_mutex_lock(&team->lock);
    while (atomic_load(&team->working) > 0) {
        (void)pthread_cond_wait(&team->done, &team->lock);
    }
    (void)pthread_mutex_unlock(&team->lock);
}

uint32_t weft_team_size(const weft_team *team)
{
    return team ? team->n : 1;
}

static weft_status start(weft_team *team, weft_err *err)
{
    for (uint32_t i = 0; i + 1 < team->n; i++) {
        struct member *m = &team->members[i];
        m->team = team;
        m->index = i + 1;
        if (pthread_create(&m->thread, NULL, member_main, m)) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "thread %u of %u cannot be started", i + 1, team->n);
        }
        team->started++;
    }
    return WEFT_OK;
}

weft_status weft_team_new(weft_team **ret, uint32_t n_threads,
                          void (*started)(void *self, uint32_t index), void *self,
                          const weft_alloc *a, weft_err *err)
{
    if (n_threads < 1 || n_threads > WEFT_TEAM_MOST) {
        WEFT_FAIL(err, WEFT_E_INVALID, "n_threads is %u, outside 1 to %u", n_threads,
                  WEFT_TEAM_MOST);
    }
    if (n_threads == 1) {
        *ret = NULL;
        return WEFT_OK;
    }
    weft_team *team = weft_array(a, 1, sizeof *team);
    struct member *members = weft_array(a, n_threads - 1, sizeof *members);
    if (!team || !members) {
        weft_free(a, team);
        weft_free(a, members);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %u threads", n_threads);
    }
    team->alloc = a;
    team->n = n_threads;
    team->on_start = started;
    team->self = self;
    team->members = members;
    (void)pthread_mutex_init(&team->lock, NULL); /* default attributes: cannot fail on Linux */
    (void)pthread_cond_init(&team->begun, NULL);
    (void)pthread_cond_init(&team->done, NULL);
    const weft_status status = start(team, err);
    if (status != WEFT_OK) {
        weft_team_free(team);
        return status;
    }
    *ret = team;
    return WEFT_OK;
}

void weft_team_free(weft_team *team)
{
    if (!team) {
        return;
    }
    atomic_store(&team->ending, true);
    begin_round(team);
    for (uint32_t i = 0; i < team->started; i++) {
        (void)pthread_join(team->members[i].thread, NULL); /* they end */
    }
    (void)pthread_mutex_destroy(&team->lock);
    (void)pthread_cond_destroy(&team->begun);
    (void)pthread_cond_destroy(&team->done);
    weft_free(team->alloc, team->members);
    weft_free(team->alloc, team);
}
