/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the worker threads: jobs run in the order in which they came, stop runs all that are left.
 */
#include "rt/queue.h"

#include "rt/locks.h"

#include <pthread.h>
#include <string.h>

#define MAX_THREADS    64
#define MAX_NAME_BYTES 15

struct weft_rt_pool {
    const weft_alloc *alloc;
    weft_rt_lock lock;
    pthread_cond_t filled;
    weft_rt_node *first; /* guarded by lock; oldest waiting job */
    weft_rt_node *last;  /* guarded by lock; valid while first is */
    size_t busy;         /* guarded by lock; waiting and running */
    bool stopping;       /* guarded by lock */
    uint32_t n_threads;  /* running; joined by stop, which sets it to 0 */
    pthread_t threads[MAX_THREADS];
};

static weft_rt_job *job_of(weft_rt_node *node)
{
    return (weft_rt_job *)(void *)((char *)node - offsetof(weft_rt_job, node));
}

/* The next job, or NULL when the pool stops and none is left. */
static weft_rt_job *next_job(weft_rt_pool *pool)
{
    weft_rt_lock_take(&pool->lock);
    while (!pool->first && !pool->stopping) {
        (void)pthread_cond_wait(&pool->filled, &pool->lock.mutex);
    }
    weft_rt_node *node = pool->first;
    if (node) {
        pool->first = node->next;
    }
    weft_rt_lock_give(&pool->lock);
    return node ? job_of(node) : NULL;
}

static void *work(void *arg)
{
    weft_rt_pool *pool = arg;
    for (weft_rt_job *job = next_job(pool); job; job = next_job(pool)) {
        job->run(job);
        weft_rt_lock_take(&pool->lock);
        pool->busy--;
        weft_rt_lock_give(&pool->lock);
    }
    return NULL;
}

weft_status weft_rt_pool_new(weft_rt_pool **ret, const weft_alloc *alloc, uint32_t n_threads,
                             const char *name, weft_err *err)
{
    if (n_threads < 1 || n_threads > MAX_THREADS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a pool has 1 to %d threads, not %u", MAX_THREADS,
                  n_threads);
    }
    if (strlen(name) > MAX_NAME_BYTES) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the thread name %s has more than %d bytes", name,
                  MAX_NAME_BYTES);
    }
    weft_rt_pool *pool = weft_array(alloc, 1, sizeof *pool);
    if (!pool) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a pool of threads");
    }
    pool->alloc = alloc;
    weft_rt_lock_init(&pool->lock);
    (void)pthread_cond_init(&pool->filled, NULL);
    while (pool->n_threads < n_threads) {
        const int sys = pthread_create(&pool->threads[pool->n_threads], NULL, work, pool);
        if (sys != 0) {
            weft_rt_pool_free(pool);
            WEFT_FAIL_SYS(err, sys, "cannot start a worker thread: %s", strerrordesc_np(sys));
        }
        (void)pthread_setname_np(pool->threads[pool->n_threads], name); /* for people only */
        pool->n_threads++;
    }
    *ret = pool;
    return WEFT_OK;
}

bool weft_rt_pool_submit(weft_rt_pool *pool, weft_rt_job *job)
{
    weft_rt_lock_take(&pool->lock);
    const bool open = !pool->stopping;
    if (open) {
        job->node.next = NULL;
        if (pool->first) {
            pool->last->next = &job->node;
        } else {
            pool->first = &job->node;
        }
        pool->last = &job->node;
        pool->busy++;
        (void)pthread_cond_signal(&pool->filled);
    }
    weft_rt_lock_give(&pool->lock);
    return open;
}

size_t weft_rt_pool_busy(weft_rt_pool *pool)
{
    weft_rt_lock_take(&pool->lock);
    const size_t busy = pool->busy;
    weft_rt_lock_give(&pool->lock);
    return busy;
}

void weft_rt_pool_stop(weft_rt_pool *pool)
{
    weft_rt_lock_take(&pool->lock);
    pool->stopping = true;
    (void)pthread_cond_broadcast(&pool->filled);
    weft_rt_lock_give(&pool->lock);
    for (uint32_t i = 0; i < pool->n_threads; i++) {
        (void)pthread_join(pool->threads[i], NULL); /* our own, joined once */
    }
    pool->n_threads = 0;
}

void weft_rt_pool_free(weft_rt_pool *pool)
{
    if (pool) {
        weft_rt_pool_stop(pool);
        (void)pthread_cond_destroy(&pool->filled);
        weft_rt_lock_done(&pool->lock);
        weft_free(pool->alloc, pool);
    }
}
