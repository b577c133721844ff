/* SPDX-License-Identifier: Apache-2.0 */
/* rt's small parts, without a network: codes, blobs, queue, pool. */
#include "base/file.h"
#include "rt/blob.h"
#include "rt/code.h"
#include "rt/cq_priv.h"
#include "rt/queue.h"
#include "support/support.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* ---- codes ----------------------------------------------------------------------------------- */

static void test_code__maps_both_ways(void **state)
{
    (void)state;
    for (int s = WEFT_OK; s <= WEFT_E_INTERNAL; s++) {
        const weft_rt_code code = weft_rt_status_code((weft_status)s);
        assert_true(code <= WEFT_RT_UNAUTHENTICATED);
        assert_int_equal(code == WEFT_RT_OK, s == WEFT_OK);
        assert_int_equal(weft_rt_code_status(code) == WEFT_OK, s == WEFT_OK);
    }
    for (int c = WEFT_RT_OK; c <= WEFT_RT_UNAUTHENTICATED; c++) {
        assert_true(strlen(weft_rt_code_name((weft_rt_code)c)) > 1);
        assert_int_equal(weft_rt_code_status((weft_rt_code)c) == WEFT_OK, c == WEFT_RT_OK);
    }
    assert_int_equal(weft_rt_code_status(WEFT_RT_UNAVAILABLE), WEFT_E_AGAIN);
    assert_int_equal(weft_rt_code_status(WEFT_RT_UNAUTHENTICATED), WEFT_E_AUTH);
    assert_int_equal(weft_rt_code_status((weft_rt_code)17), WEFT_E_INTERNAL);
    assert_string_equal(weft_rt_code_name((weft_rt_code)17), "unknown code");
    assert_string_equal(weft_rt_code_name((weft_rt_code)-1), "unknown code");
}

/* ---- messages -------------------------------------------------------------------------------- */

enum { PIECE = 32 }; /* gRPC puts smaller ones together */

/* A message of n pieces. */
static weft_rt_message *message_of(const weft_alloc *a, size_t n)
{
    grpc_slice pieces[300];
    assert_true(n <= 300);
    for (size_t i = 0; i < n; i++) {
        char text[PIECE];
        memset(text, (int)('a' + i % 26), sizeof text);
        pieces[i] = grpc_slice_from_copied_buffer(text, sizeof text);
    }
    grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(pieces, n);
    for (size_t i = 0; i < n; i++) {
        grpc_slice_unref(pieces[i]);
    }
    weft_rt_message *message = weft_rt_message_new(a, bytes);
    assert_non_null(message);
    return message;
}

/* As many as a well-meaning caller's: kept. More: joined, unless there is no memory for it. */
static void test_message__of_very_many_pieces_is_joined(void **state)
{
    (void)state;
    grpc_init();
    static const size_t sizes[] = {1, 256, 257, 300};
    for (size_t i = 0; i < 8; i++) {
        const size_t n = sizes[i % 4];
        test_alloc t;
        test_alloc_init(&t, i < 4 ? 0 : 2, 0); /* the second block of a message is the joined one */
        weft_rt_message *message = message_of(&t.alloc, n);
        assert_int_equal(weft_rt_message_size(message), n * PIECE);
        assert_int_equal(weft_rt_message_pieces(message), n > 256 && i < 4 ? 1 : n);
        weft_buf all;
        weft_buf_init(&all, &weft_alloc_std, n * PIECE);
        assert_ok(weft_rt_message_copy(message, &all, &assert_err));
        assert_int_equal(all.size, n * PIECE);
        assert_int_equal(all.data[n * PIECE - 1], 'a' + (n - 1) % 26);
        weft_buf_done(&all);
        weft_rt_message_unref(message);
        assert_int_equal(t.live, 0);
    }
    grpc_shutdown();
}

/* ---- blobs ----------------------------------------------------------------------------------- */

static void test_blob__lives_until_the_last_reference(void **state)
{
    (void)state;
    test_alloc t;
    test_alloc_init(&t, 0, 0);
    weft_rt_blob *blob = NULL;
    assert_ok(weft_rt_blob_copy(&blob, &t.alloc, "threads", 7, &assert_err));
    assert_ptr_equal(weft_rt_blob_ref(blob), blob);
    weft_rt_blob_unref(blob);
    assert_int_equal(weft_rt_blob_size(blob), 7);
    assert_memory_equal(weft_rt_blob_data(blob), "threads", 7);
    assert_int_equal(t.live, 2);
    weft_rt_blob_unref(blob);
    assert_int_equal(t.live, 0);
    weft_rt_blob_unref(NULL);
    assert_ok(weft_rt_blob_copy(&blob, &t.alloc, NULL, 0, &assert_err));
    assert_int_equal(weft_rt_blob_size(blob), 0);
    weft_rt_blob_unref(blob);
    assert_int_equal(t.live, 0);
}

static void test_blob_map__shows_the_file(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char path[512];
    assert_ok(weft_path_join(path, sizeof path, dir, "model", &assert_err));
    weft_rt_blob *blob = NULL;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_rt_blob_map(&blob, &weft_alloc_std, path, &err), WEFT_E_NOTFOUND);
    assert_int_equal(weft_rt_blob_map(&blob, &weft_alloc_std, dir, NULL), WEFT_E_IO);
    assert_null(blob);
    assert_ok(weft_file_write(path, "weights", 7, 0600, &assert_err));
    assert_ok(weft_rt_blob_map(&blob, &weft_alloc_std, path, &assert_err));
    assert_int_equal(weft_rt_blob_size(blob), 7);
    assert_memory_equal(weft_rt_blob_data(blob), "weights", 7);
    weft_rt_blob_unref(blob);
    assert_ok(weft_file_write(path, "", 0, 0600, &assert_err));
    assert_ok(weft_rt_blob_map(&blob, &weft_alloc_std, path, &assert_err));
    assert_int_equal(weft_rt_blob_size(blob), 0);
    weft_rt_blob_unref(blob);
    test_dir_done(dir);
}

static weft_status try_copy(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_rt_blob *blob = NULL;
    const weft_status status = weft_rt_blob_copy(&blob, a, "x", 1, NULL);
    weft_rt_blob_unref(blob);
    return status;
}

static weft_status try_map(const weft_alloc *a, void *arg)
{
    weft_rt_blob *blob = NULL;
    const weft_status status = weft_rt_blob_map(&blob, a, arg, NULL);
    weft_rt_blob_unref(blob);
    return status;
}

/* ---- queue ----------------------------------------------------------------------------------- */

typedef struct item {
    weft_rt_node node;
    unsigned producer;
    unsigned number;
} item;

enum { PRODUCERS = 4, ITEMS = 1000 };

typedef struct producer {
    weft_rt_queue *queue;
    item *items; /* [ITEMS] */
} producer;

static void *produce(void *arg)
{
    const producer *p = arg;
    for (size_t i = 0; i < ITEMS; i++) {
        assert_true(weft_rt_queue_push(p->queue, &p->items[i].node));
    }
    return NULL;
}

static void test_queue__keeps_each_producers_order(void **state)
{
    (void)state;
    static item items[PRODUCERS][ITEMS];
    weft_rt_queue *queue = NULL;
    assert_ok(weft_rt_queue_new(&queue, &weft_alloc_std, &assert_err));
    producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    for (unsigned p = 0; p < PRODUCERS; p++) {
        for (unsigned i = 0; i < ITEMS; i++) {
            items[p][i].producer = p;
            items[p][i].number = i;
        }
        producers[p] = (producer){queue, items[p]};
        assert_int_equal(pthread_create(&threads[p], NULL, produce, &producers[p]), 0);
    }
    unsigned next[PRODUCERS] = {0};
    for (size_t n = 0; n < (size_t)PRODUCERS * ITEMS;) {
        weft_rt_node *node = weft_rt_queue_take(queue, UINT32_MAX);
        assert_non_null(node);
        while (node) {
            const item *it = (const item *)(const void *)node; /* its first member */
            node = node->next;
            assert_int_equal(it->number, next[it->producer]);
            next[it->producer]++;
            n++;
        }
    }
    for (unsigned p = 0; p < PRODUCERS; p++) {
        assert_int_equal(pthread_join(threads[p], NULL), 0);
    }
    assert_null(weft_rt_queue_take(queue, 0));
    weft_rt_queue_free(queue);
}

static void test_queue__wakes_times_out_and_closes(void **state)
{
    (void)state;
    weft_rt_queue *queue = NULL;
    assert_ok(weft_rt_queue_new(&queue, &weft_alloc_std, &assert_err));
    assert_null(weft_rt_queue_take(queue, 1));
    weft_rt_queue_wake(queue);
    assert_null(weft_rt_queue_take(queue, UINT32_MAX));
    item a = {0};
    item b = {0};
    assert_true(weft_rt_queue_push(queue, &a.node));
    weft_rt_queue_close(queue);
    assert_false(weft_rt_queue_push(queue, &b.node));
    assert_ptr_equal(weft_rt_queue_take(queue, UINT32_MAX), &a.node);
    assert_null(a.node.next);
    assert_null(weft_rt_queue_take(queue, UINT32_MAX));
    weft_rt_queue_free(queue);
    weft_rt_queue_free(NULL);
}

static weft_status try_queue(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_rt_queue *queue = NULL;
    const weft_status status = weft_rt_queue_new(&queue, a, NULL);
    weft_rt_queue_free(queue);
    return status;
}

/* ---- pool ------------------------------------------------------------------------------------ */

typedef struct task {
    weft_rt_job job;
    weft_rt_pool *pool;
    atomic_uint *done;
    unsigned order; /* in which it ran, from 1 */
    struct task *then;
} task;

static void run_task(weft_rt_job *job)
{
    task *t = (task *)(void *)job; /* its first member */
    t->order = atomic_fetch_add(t->done, 1) + 1;
    if (t->then) {
        assert_true(weft_rt_pool_submit(t->pool, &t->then->job));
    }
}

static void test_pool__one_thread_keeps_the_order_and_stop_drains(void **state)
{
    (void)state;
    enum { N = 500 };
    static task tasks[N];
    atomic_uint done = 0;
    weft_rt_pool *pool = NULL;
    assert_ok(weft_rt_pool_new(&pool, &weft_alloc_std, 1, "one", &assert_err));
    for (size_t i = 0; i < N; i++) {
        tasks[i] = (task){{{NULL}, run_task}, pool, &done, 0, NULL};
        assert_true(weft_rt_pool_submit(pool, &tasks[i].job));
    }
    weft_rt_pool_stop(pool);
    assert_int_equal(atomic_load(&done), N);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(tasks[i].order, i + 1);
    }
    task late = {{{NULL}, run_task}, pool, &done, 0, NULL};
    assert_false(weft_rt_pool_submit(pool, &late.job));
    assert_int_equal(weft_rt_pool_busy(pool), 0);
    weft_rt_pool_stop(pool); /* again is fine */
    weft_rt_pool_free(pool);
}

static void test_pool__jobs_may_submit_jobs(void **state)
{
    (void)state;
    enum { N = 64 };
    static task tasks[N];
    atomic_uint done = 0;
    weft_rt_pool *pool = NULL;
    assert_ok(weft_rt_pool_new(&pool, &weft_alloc_std, 4, "four", &assert_err));
    for (size_t i = 0; i < N; i++) {
        tasks[i] = (task){{{NULL}, run_task}, pool, &done, 0, i + 1 < N ? &tasks[i + 1] : NULL};
    }
    assert_true(weft_rt_pool_submit(pool, &tasks[0].job));
    while (weft_rt_pool_busy(pool) > 0) {
    }
    weft_rt_pool_free(pool);
    assert_int_equal(atomic_load(&done), N);
}

static void test_pool_new__limits(void **state)
{
    (void)state;
    weft_rt_pool *pool = NULL;
    assert_int_equal(weft_rt_pool_new(&pool, &weft_alloc_std, 0, "x", NULL), WEFT_E_INVALID);
    assert_int_equal(weft_rt_pool_new(&pool, &weft_alloc_std, 65, "x", NULL), WEFT_E_INVALID);
    assert_int_equal(weft_rt_pool_new(&pool, &weft_alloc_std, 1, "sixteen letters!", NULL),
                     WEFT_E_INVALID);
    assert_null(pool);
    assert_ok(weft_rt_pool_new(&pool, &weft_alloc_std, 64, "fifteen letters", &assert_err));
    weft_rt_pool_free(pool);
    weft_rt_pool_free(NULL);
}

static weft_status try_pool(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_rt_pool *pool = NULL;
    const weft_status status = weft_rt_pool_new(&pool, a, 1, "x", NULL);
    weft_rt_pool_free(pool);
    return status;
}

static void test_new__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(try_copy, NULL);
    test_every_allocation_may_fail(try_queue, NULL);
    test_every_allocation_may_fail(try_pool, NULL);
    char *dir = test_dir_new();
    char path[512];
    assert_ok(weft_path_join(path, sizeof path, dir, "model", &assert_err));
    assert_ok(weft_file_write(path, "weights", 7, 0600, &assert_err));
    test_every_allocation_may_fail(try_map, path);
    test_dir_done(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code__maps_both_ways),
        cmocka_unit_test(test_message__of_very_many_pieces_is_joined),
        cmocka_unit_test(test_blob__lives_until_the_last_reference),
        cmocka_unit_test(test_blob_map__shows_the_file),
        cmocka_unit_test(test_queue__keeps_each_producers_order),
        cmocka_unit_test(test_queue__wakes_times_out_and_closes),
        cmocka_unit_test(test_pool__one_thread_keeps_the_order_and_stop_drains),
        cmocka_unit_test(test_pool__jobs_may_submit_jobs),
        cmocka_unit_test(test_pool_new__limits),
        cmocka_unit_test(test_new__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
