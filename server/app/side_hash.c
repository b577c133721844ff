/* SPDX-License-Identifier: Apache-2.0 */
/* Two references: the maker's, and that of the job in the pool's queue, which may come late. */
#include "app/side_hash.h"

#include <pthread.h>
#include <stdatomic.h>

/* of one step; in the second-level cache still when the maker has just left it */
#define STEP_BYTES ((size_t)256 << 10)

struct weft_side_hash {
    weft_rt_job job; /* first */
    const weft_alloc *alloc;
    atomic_uint refs;
    atomic_bool taken; /* by the job, or by the maker: who hashes */
    const uint8_t *data;
    size_t size;
    weft_hash *hash; /* owned; of whoever has taken it */
    size_t hashed;   /* the same */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t ready; /* guarded by lock */
    bool dropped; /* guarded by lock: the job stops */
    bool done;    /* guarded by lock: nobody but the maker is at it any more */
    weft_err failure;
};

static void unref(weft_side_hash *h)
{
    if (atomic_fetch_sub(&h->refs, 1) != 1) {
        return;
    }
    weft_hash_free(h->hash);
    (void)pthread_cond_destroy(&h->moved); /* nobody waits: the last reference */
    (void)pthread_mutex_destroy(&h->lock); /* the same */
    weft_free(h->alloc, h);
}

/* More than `hashed` bytes, or 0: dropped. */
static size_t wait_ready(weft_side_hash *h)
{
    (void)pthread_mutex_lock(&h->lock); /* not recursive: cannot fail */
    while (h->ready == h->hashed && !h->dropped) {
        (void)pthread_cond_wait(&h->moved, &h->lock);
    }
    const size_t ready = h->dropped ? 0 : h->ready;
    (void)pthread_mutex_unlock(&h->lock); /* held by this thread */
    return ready;
}

static weft_status hash_to(weft_side_hash *h, size_t end, weft_err *err)
{
    while (h->hashed < end) {
        const size_t left = end - h->hashed;
        const size_t n = left < STEP_BYTES ? left : STEP_BYTES;
        WEFT_TRY(weft_hash_add(h->hash, h->data + h->hashed, n, err));
        h->hashed += n;
    }
    return WEFT_OK;
}

static void follow(weft_side_hash *h)
{
    weft_status status = WEFT_OK;
    size_t ready = 1;
    while (status == WEFT_OK && ready > 0 && h->hashed < h->size) {
        ready = wait_ready(h);
        status = hash_to(h, ready, &h->failure);
    }
    (void)pthread_mutex_lock(&h->lock); /* not recursive: cannot fail */
    h->done = true;
    (void)pthread_cond_signal(&h->moved);
    (void)pthread_mutex_unlock(&h->lock); /* held by this thread */
}

static void run(weft_rt_job *job)
{
    weft_side_hash *h = (weft_side_hash *)(void *)job; /* its first member */
    if (!atomic_exchange(&h->taken, true)) {
        follow(h);
    }
    unref(h);
}

weft_status weft_side_hash_new(weft_side_hash **ret, const void *data, size_t size,
                               weft_rt_pool *pool, const weft_alloc *a, weft_err *err)
{
    weft_side_hash *h = weft_array(a, 1, sizeof *h);
    if (!h) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a hash");
    }
    h->alloc = a;
    h->data = data;
    h->size = size;
    h->job.run = run;
    atomic_init(&h->refs, 1);
    atomic_init(&h->taken, false);
    (void)pthread_mutex_init(&h->lock, NULL); /* a plain mutex: cannot fail on Linux */
    (void)pthread_cond_init(&h->moved, NULL); /* the same */
    const weft_status status = weft_hash_new(&h->hash, a, err);
    if (status != WEFT_OK) {
        unref(h);
        return status;
    }
    atomic_store(&h->refs, 2);
    if (!weft_rt_pool_submit(pool, &h->job)) {
        unref(h); /* stopping: the maker does it */
    }
    *ret = h;
    return WEFT_OK;
}

void weft_side_hash_advance(weft_side_hash *hash, size_t ready)
{
    (void)pthread_mutex_lock(&hash->lock); /* not recursive: cannot fail */
    hash->ready = ready;
    (void)pthread_cond_signal(&hash->moved);
    (void)pthread_mutex_unlock(&hash->lock); /* held by this thread */
}

/* Until the job has left, or never comes any more. */
static void settle(weft_side_hash *h)
{
    const bool free = !atomic_exchange(&h->taken, true);
    (void)pthread_mutex_lock(&h->lock); /* not recursive: cannot fail */
    h->done = h->done || free;
    while (!h->done) {
        (void)pthread_cond_wait(&h->moved, &h->lock);
    }
    (void)pthread_mutex_unlock(&h->lock); /* held by this thread */
}

weft_status weft_side_hash_finish(weft_side_hash *hash, uint8_t ret[WEFT_SHA256_BYTES],
                                  weft_err *err)
{
    weft_side_hash_advance(hash, hash->size);
    settle(hash);
    if (hash->failure.code != WEFT_OK) {
        WEFT_FAIL(err, hash->failure.code, "%s", hash->failure.msg);
    }
    WEFT_TRY(hash_to(hash, hash->size, err));
    return weft_hash_finish(ret, hash->hash, err);
}

void weft_side_hash_drop(weft_side_hash *hash)
{
    if (!hash) {
        return;
    }
    (void)pthread_mutex_lock(&hash->lock); /* not recursive: cannot fail */
    hash->dropped = true;
    (void)pthread_cond_signal(&hash->moved);
    (void)pthread_mutex_unlock(&hash->lock); /* held by this thread */
    settle(hash);
    unref(hash);
}
