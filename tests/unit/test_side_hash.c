/* SPDX-License-Identifier: Apache-2.0 */
/* weftd's hash beside the work: whoever computes it, it is the same. */
#include "support/support.h"

#include "app/side_hash.h"

#include <pthread.h>
#include <string.h>

enum { SIZE = 3 * 1000 * 1000 + 7, PART = 400 * 1000 };
static uint8_t data[SIZE];
static uint8_t want[WEFT_SHA256_BYTES];

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZE; i++) {
        data[i] = (uint8_t)(i * 31 + (i >> 9));
    }
    return weft_sha256(want, data, SIZE, NULL) != WEFT_OK;
}

/* A worker that is busy until it is let go. */
typedef struct plug {
    weft_rt_job job; /* first */
    pthread_mutex_t lock;
} plug;

static void run_plug(weft_rt_job *job)
{
    plug *p = (plug *)(void *)job; /* its first member */
    (void)pthread_mutex_lock(&p->lock);
    (void)pthread_mutex_unlock(&p->lock);
}

static weft_rt_pool *make_pool(uint32_t n)
{
    weft_rt_pool *pool = NULL;
    assert_ok(weft_rt_pool_new(&pool, &weft_alloc_std, n, "test", &assert_err));
    return pool;
}

static weft_side_hash *begin(weft_rt_pool *pool)
{
    weft_side_hash *h = NULL;
    assert_ok(weft_side_hash_new(&h, data, SIZE, pool, &weft_alloc_std, &assert_err));
    for (size_t at = 0; at < SIZE; at += PART) {
        weft_side_hash_advance(h, at);
    }
    return h;
}

static void finish(weft_side_hash *h)
{
    uint8_t got[WEFT_SHA256_BYTES] = {0};
    assert_ok(weft_side_hash_finish(h, got, &assert_err));
    assert_memory_equal(got, want, sizeof got);
    weft_side_hash_drop(h);
}

static void test_side_hash__follows_on_a_worker(void **state)
{
    (void)state;
    weft_rt_pool *pool = make_pool(2);
    for (int i = 0; i < 20; i++) {
        finish(begin(pool));
    }
    weft_rt_pool_stop(pool);
    weft_rt_pool_free(pool);
}

static void test_side_hash__waits_for_no_worker(void **state)
{
    (void)state;
    weft_rt_pool *pool = make_pool(1);
    plug p = {.job.run = run_plug, .lock = PTHREAD_MUTEX_INITIALIZER};
    (void)pthread_mutex_lock(&p.lock);
    assert_true(weft_rt_pool_submit(pool, &p.job));
    finish(begin(pool)); /* although the only worker never comes */
    (void)pthread_mutex_unlock(&p.lock);
    weft_rt_pool_stop(pool); /* and the late job finds nothing to do */
    finish(begin(pool));     /* no workers any more */
    weft_rt_pool_free(pool);
}

static void test_side_hash_drop__ends_it_anywhere(void **state)
{
    (void)state;
    weft_rt_pool *pool = make_pool(2);
    for (int i = 0; i < 20; i++) {
        weft_side_hash *h = NULL;
        assert_ok(weft_side_hash_new(&h, data, SIZE, pool, &weft_alloc_std, &assert_err));
        weft_side_hash_advance(h, (size_t)i * 100000);
        weft_side_hash_drop(h);
    }
    weft_side_hash_drop(NULL);
    weft_rt_pool_stop(pool);
    weft_rt_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_side_hash__follows_on_a_worker),
        cmocka_unit_test(test_side_hash__waits_for_no_worker),
        cmocka_unit_test(test_side_hash_drop__ends_it_anywhere),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
