/* SPDX-License-Identifier: Apache-2.0 */
/* spool: uploads on disk, resumed at what is held, complete once, dropped, swept; from threads. */
#include "support/support.h"

#include "base/file.h"
#include "store/spool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct fixture {
    char *dir;
    weft_spool *spool;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    f.dir = test_dir_new();
    assert_ok(weft_spool_open(&f.spool, f.dir, &weft_alloc_std, &assert_err));
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    weft_spool_close(f->spool);
    test_dir_done(f->dir);
    return 0;
}

static uint64_t held(weft_spool *spool, uint64_t id)
{
    uint64_t bytes = 99;
    bool complete = true;
    assert_ok(weft_spool_held(spool, id, &bytes, &complete, &assert_err));
    return complete ? 1000 + bytes : bytes;
}

static weft_spool_upload *begin(weft_spool *spool, uint64_t id, uint64_t start, uint64_t total)
{
    weft_spool_upload *u = NULL;
    assert_ok(weft_spool_begin(&u, spool, id, start, total, &assert_err));
    return u;
}

static void upload(weft_spool *spool, uint64_t id, const char *text, bool durable)
{
    weft_spool_upload *u = begin(spool, id, 0, strlen(text));
    assert_ok(weft_spool_append(u, 0, text, strlen(text), &assert_err));
    assert_ok(weft_spool_complete(u, durable, &assert_err));
    weft_spool_upload_free(u);
}

static void assert_mapped(weft_spool *spool, uint64_t id, const char *text)
{
    weft_view view = {NULL, 0};
    assert_ok(weft_spool_map(&view, spool, id, &assert_err));
    assert_int_equal(view.size, strlen(text));
    assert_memory_equal(view.data, text, view.size);
    weft_spool_unmap(&view);
}

static void test_spool__an_upload_arrives_and_is_read(void **state)
{
    weft_spool *spool = ((fixture *)*state)->spool;
    assert_int_equal(held(spool, 7), 0);
    weft_spool_upload *u = begin(spool, 7, 0, 10);
    assert_ok(weft_spool_append(u, 0, "01234", 5, &assert_err));
    assert_int_equal(held(spool, 7), 5);
    weft_view view;
    assert_int_equal(weft_spool_map(&view, spool, 7, NULL), WEFT_E_NOTFOUND);
    assert_int_equal(weft_spool_complete(u, true, NULL), WEFT_E_INVALID); /* bytes are missing */
    assert_ok(weft_spool_append(u, 5, "56789", 5, &assert_err));
    assert_ok(weft_spool_complete(u, true, &assert_err));
    assert_int_equal(weft_spool_append(u, 10, "x", 1, NULL), WEFT_E_STATE);
    weft_spool_upload_free(u);
    assert_int_equal(held(spool, 7), 1010);
    assert_mapped(spool, 7, "0123456789");
    upload(spool, 8, "not durable", false);
    assert_mapped(spool, 8, "not durable");
    upload(spool, 9, "", true); /* no bytes are fine */
    assert_ok(weft_spool_map(&view, spool, 9, &assert_err));
    assert_null(view.data);
    weft_spool_unmap(&view);
}

/* An update of frozen layers: zeros take no room, and count as held. */
static void test_spool_append__zeros_are_holes(void **state)
{
    fixture *f = *state;
    enum { SIZE = 1 << 20 };
    static uint8_t data[SIZE];
    data[0] = 1;
    data[SIZE / 2] = 2;
    weft_spool_upload *u = begin(f->spool, 3, 0, 2 * SIZE);
    for (size_t at = 0; at < SIZE; at += 8192) {
        assert_ok(weft_spool_append(u, at, data + at, 8192, &assert_err));
    }
    weft_spool_upload_free(u);
    assert_int_equal(held(f->spool, 3), SIZE); /* also what ends in a hole */
    u = begin(f->spool, 3, SIZE, 2 * SIZE);
    assert_ok(weft_spool_append(u, SIZE, data + 1, SIZE / 2 - 1, &assert_err));
    assert_ok(weft_spool_append(u, SIZE + SIZE / 2 - 1, data + SIZE / 2, SIZE / 2, &assert_err));
    assert_int_equal(weft_spool_complete(u, true, NULL), WEFT_E_INVALID); /* a byte is missing */
    assert_ok(weft_spool_append(u, 2 * SIZE - 1, data + 1, 1, &assert_err));
    assert_ok(weft_spool_complete(u, true, &assert_err));
    weft_spool_upload_free(u);
    weft_view view = {NULL, 0};
    assert_ok(weft_spool_map(&view, f->spool, 3, &assert_err));
    assert_int_equal(view.size, 2 * SIZE);
    assert_memory_equal(view.data, data, SIZE);
    assert_memory_equal(view.data + SIZE, data + 1, SIZE - 1);
    assert_int_equal(view.data[2 * SIZE - 1], 0);
    weft_spool_unmap(&view);
    char path[512];
    struct stat st;
    assert_ok(weft_path_join(path, sizeof path, f->dir, "3.upd", &assert_err));
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_blocks * 512 <= SIZE); /* of 2 * SIZE, and three pieces have bytes */
}

static void test_spool_unload__the_bytes_stay_readable(void **state)
{
    weft_spool *spool = ((fixture *)*state)->spool;
    static uint8_t data[3 * 65536];
    memset(data, 0x5a, sizeof data);
    weft_spool_upload *u = begin(spool, 1, 0, sizeof data);
    assert_ok(weft_spool_append(u, 0, data, sizeof data, &assert_err));
    assert_ok(weft_spool_complete(u, false, &assert_err));
    weft_spool_upload_free(u);
    weft_view view = {NULL, 0};
    weft_spool_unload(&view, 0, 65536); /* of nothing */
    assert_ok(weft_spool_map(&view, spool, 1, &assert_err));
    assert_memory_equal(view.data, data, sizeof data);
    weft_spool_unload(&view, 65536, 65536);
    assert_memory_equal(view.data, data, sizeof data);
    weft_spool_unmap(&view);
}

static void test_spool_append__only_at_what_is_held_and_within_the_total(void **state)
{
    weft_spool *spool = ((fixture *)*state)->spool;
    weft_spool_upload *u = begin(spool, 1, 0, 6);
    assert_ok(weft_spool_append(u, 0, "abc", 3, &assert_err));
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_spool_append(u, 4, "x", 1, &err), WEFT_E_INVALID);
    assert_string_equal(err.msg, "a chunk for offset 4 and 3 bytes are held");
    assert_int_equal(weft_spool_append(u, 2, "x", 1, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_spool_append(u, 3, "defg", 4, NULL), WEFT_E_LIMIT);
    assert_ok(weft_spool_append(u, 3, "de", 2, &assert_err));
    assert_ok(weft_spool_append(u, 5, "f", 1, &assert_err));
    assert_int_equal(weft_spool_append(u, 6, "g", 1, NULL), WEFT_E_LIMIT);
    assert_ok(weft_spool_complete(u, false, &assert_err));
    weft_spool_upload_free(u);
    assert_mapped(spool, 1, "abcdef");
}

static void test_spool_begin__resumes_across_a_restart_or_starts_over(void **state)
{
    fixture *f = *state;
    weft_spool_upload *u = begin(f->spool, 1, 0, 8);
    assert_ok(weft_spool_append(u, 0, "abcdef", 6, &assert_err));
    weft_spool_upload_free(u);
    weft_spool_close(f->spool);
    f->spool = NULL;
    assert_ok(weft_spool_open(&f->spool, f->dir, &weft_alloc_std, &assert_err));
    assert_int_equal(held(f->spool, 1), 6);
    assert_int_equal(weft_spool_begin(&u, f->spool, 1, 7, 8, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_spool_begin(&u, f->spool, 1, 9, 8, NULL), WEFT_E_INVALID);
    u = begin(f->spool, 1, 4, 8); /* a client that knows of less */
    assert_int_equal(held(f->spool, 1), 4);
    assert_ok(weft_spool_append(u, 4, "EFGH", 4, &assert_err));
    assert_ok(weft_spool_complete(u, true, &assert_err));
    weft_spool_upload_free(u);
    assert_mapped(f->spool, 1, "abcdEFGH");
    u = begin(f->spool, 2, 0, 8);
    assert_ok(weft_spool_append(u, 0, "abc", 3, &assert_err));
    weft_spool_upload_free(u);
    u = begin(f->spool, 2, 0, 2); /* other bytes, fewer */
    assert_ok(weft_spool_append(u, 0, "xy", 2, &assert_err));
    assert_ok(weft_spool_complete(u, true, &assert_err));
    weft_spool_upload_free(u);
    assert_mapped(f->spool, 2, "xy");
}

static void test_spool_begin__the_newest_upload_wins(void **state)
{
    weft_spool *spool = ((fixture *)*state)->spool;
    weft_spool_upload *dead = begin(spool, 1, 0, 4);
    assert_ok(weft_spool_append(dead, 0, "ab", 2, &assert_err));
    weft_spool_upload *u = begin(spool, 1, 2, 4);
    assert_int_equal(weft_spool_append(dead, 2, "XX", 2, NULL), WEFT_E_STATE);
    assert_int_equal(weft_spool_complete(dead, true, NULL), WEFT_E_STATE);
    assert_ok(weft_spool_append(u, 2, "cd", 2, &assert_err));
    weft_spool_upload_free(dead); /* in any order */
    assert_ok(weft_spool_complete(u, true, &assert_err));
    weft_spool_upload_free(u);
    assert_mapped(spool, 1, "abcd");
}

static void test_spool_begin__a_complete_upload_never_changes(void **state)
{
    weft_spool *spool = ((fixture *)*state)->spool;
    upload(spool, 1, "good", true);
    weft_view view;
    assert_ok(weft_spool_map(&view, spool, 1, &assert_err));
    weft_spool_upload *u = NULL;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_spool_begin(&u, spool, 1, 0, 4, &err), WEFT_E_CONFLICT);
    assert_string_equal(err.msg,
                        "a complete upload of 4 bytes is held; this one is to start at 0 of 4");
    assert_int_equal(weft_spool_begin(&u, spool, 1, 4, 5, NULL), WEFT_E_CONFLICT);
    assert_int_equal(weft_spool_begin(&u, spool, 1, 5, 5, NULL), WEFT_E_CONFLICT);
    /* the client that did not hear that it was complete */
    u = begin(spool, 1, 4, 4);
    assert_int_equal(weft_spool_append(u, 4, "x", 1, NULL), WEFT_E_LIMIT);
    assert_ok(weft_spool_complete(u, true, &assert_err));
    weft_spool_upload_free(u);
    /* after a drop another may come; the view still shows the old bytes */
    assert_ok(weft_spool_drop(spool, 1, &assert_err));
    upload(spool, 1, "other", false);
    assert_memory_equal(view.data, "good", 4);
    weft_spool_unmap(&view);
    assert_mapped(spool, 1, "other");
}

static void test_spool_drop__ends_a_running_upload(void **state)
{
    weft_spool *spool = ((fixture *)*state)->spool;
    assert_ok(weft_spool_drop(spool, 1, &assert_err)); /* nothing held is fine */
    weft_spool_upload *u = begin(spool, 1, 0, 4);
    assert_ok(weft_spool_append(u, 0, "ab", 2, &assert_err));
    assert_ok(weft_spool_drop(spool, 1, &assert_err));
    assert_int_equal(weft_spool_append(u, 2, "cd", 2, NULL), WEFT_E_STATE);
    weft_spool_upload_free(u);
    assert_int_equal(held(spool, 1), 0);
    weft_view view;
    assert_int_equal(weft_spool_map(&view, spool, 1, NULL), WEFT_E_NOTFOUND);
}

static weft_status keep_even(void *arg, uint64_t id, bool *ret_keep, weft_err *err)
{
    (void)err;
    *(uint64_t *)arg += id;
    *ret_keep = id % 2 == 0;
    return WEFT_OK;
}

static void test_spool_sweep__keeps_what_is_wanted_and_what_is_not_ours(void **state)
{
    fixture *f = *state;
    upload(f->spool, 1, "a", false);
    upload(f->spool, 2, "b", false);
    weft_spool_upload_free(begin(f->spool, 3, 0, 4));
    weft_spool_upload_free(begin(f->spool, UINT64_MAX - 1, 0, 4));
    const char *const others[] = {"notes.txt", "x.part", "01.upd", "5.update", "-5.upd", "5.part~"};
    char path[512];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", f->dir, others[i]);
        assert_ok(weft_file_write(path, "x", 1, 0600, &assert_err));
    }
    uint64_t sum = 0;
    uint32_t dropped = 0;
    assert_ok(weft_spool_sweep(f->spool, keep_even, &sum, &dropped, &assert_err));
    assert_int_equal(dropped, 2);
    assert_true(sum == 1 + 2 + 3 + (UINT64_MAX - 1));
    assert_int_equal(held(f->spool, 1), 0);
    assert_int_equal(held(f->spool, 2), 1001);
    assert_int_equal(held(f->spool, 3), 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", f->dir, others[i]);
        assert_int_equal(access(path, F_OK), 0);
    }
}

static void test_spool_open__a_reboot_drops_what_was_unfinished(void **state)
{
    fixture *f = *state;
    upload(f->spool, 1, "complete", true);
    weft_spool_upload *u = begin(f->spool, 2, 0, 9);
    assert_ok(weft_spool_append(u, 0, "part", 4, &assert_err));
    weft_spool_upload_free(u);
    weft_spool_close(f->spool);
    f->spool = NULL;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/boot", f->dir);
    assert_ok(weft_file_write(path, "another boot\n", 13, 0600, &assert_err));
    assert_ok(weft_spool_open(&f->spool, f->dir, &weft_alloc_std, &assert_err));
    assert_int_equal(held(f->spool, 1), 1008);
    assert_int_equal(held(f->spool, 2), 0);
}

/* A disk that is full, by the limit on file sizes: a short write, then an error. */
static void test_spool_append__a_full_disk_keeps_what_was_held(void **state)
{
    weft_spool *spool = ((fixture *)*state)->spool;
    static const char data[8192];
    weft_spool_upload *u = begin(spool, 1, 0, 16384);
    assert_ok(weft_spool_append(u, 0, data, 4096, &assert_err));
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    const struct rlimit small = {6000, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    weft_err err = WEFT_ERR_INIT;
    const weft_status status = weft_spool_append(u, 4096, data, 8192, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(signal(SIGXFSZ, handler) == SIG_IGN);
    assert_int_equal(status, WEFT_E_IO);
    assert_int_equal(err.sys, EFBIG);
    assert_non_null(strstr(err.msg, "cannot write the upload of assignment 1 in the spool"));
    assert_int_equal(held(spool, 1), 4096);
    assert_ok(weft_spool_append(u, 4096, data, 8192, &assert_err)); /* space again */
    assert_ok(weft_spool_append(u, 12288, data, 4096, &assert_err));
    assert_ok(weft_spool_complete(u, true, &assert_err));
    weft_spool_upload_free(u);
}

static weft_status try_all(const weft_alloc *a, void *arg)
{
    weft_spool *spool = NULL;
    weft_spool_upload *u = NULL;
    WEFT_TRY(weft_spool_open(&spool, arg, a, NULL));
    weft_status status = weft_spool_begin(&u, spool, 1, 0, 1, NULL);
    uint64_t bytes = 0;
    weft_spool_upload_free(u);
    if (status == WEFT_OK) {
        status = weft_spool_held(spool, 1, &bytes, NULL, NULL);
    }
    if (status == WEFT_OK) {
        status = weft_spool_drop(spool, 1, NULL);
    }
    weft_spool_close(spool);
    return status;
}

static void test_spool__every_allocation_may_fail(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    test_every_allocation_may_fail(try_all, dir);
    test_dir_done(dir);
}

/* ---- threads --------------------------------------------------------------------------------- */

typedef struct worker {
    weft_spool *spool;
    uint64_t id;
    int failed;
} worker;

static void *upload_many(void *arg)
{
    worker *w = arg;
    uint8_t block[997];
    memset(block, (int)w->id, sizeof block);
    for (uint64_t i = 0; i < 40 && !w->failed; i++) {
        const uint64_t id = 1 + w->id + i * 256; /* all in few buckets of the table */
        weft_spool_upload *u = NULL;
        w->failed |= weft_spool_begin(&u, w->spool, id, 0, 5 * sizeof block, NULL) != WEFT_OK;
        for (uint64_t k = 0; k < 5 && !w->failed; k++) {
            w->failed |=
                weft_spool_append(u, k * sizeof block, block, sizeof block, NULL) != WEFT_OK;
        }
        w->failed |= weft_spool_complete(u, false, NULL) != WEFT_OK;
        weft_spool_upload_free(u);
        weft_view view = {NULL, 0};
        w->failed |= weft_spool_map(&view, w->spool, id, NULL) != WEFT_OK;
        w->failed |= view.size != 5 * sizeof block || view.data[view.size - 1] != w->id;
        weft_spool_unmap(&view);
        w->failed |= weft_spool_drop(w->spool, id, NULL) != WEFT_OK;
    }
    return NULL;
}

/* Both fight for one assignment; each may lose at any step, only the file must stay sane. */
static void *fight(void *arg)
{
    worker *w = arg;
    for (int i = 0; i < 200; i++) {
        weft_spool_upload *u = NULL;
        if (weft_spool_begin(&u, w->spool, 5, 0, 8, NULL) != WEFT_OK) {
            continue; /* the other has completed it */
        }
        const char *data = w->id ? "aaaaaaaa" : "bbbbbbbb";
        if (weft_spool_append(u, 0, data, 4, NULL) == WEFT_OK &&
            weft_spool_append(u, 4, data, 4, NULL) == WEFT_OK &&
            weft_spool_complete(u, false, NULL) == WEFT_OK) {
            weft_view view = {NULL, 0};
            if (weft_spool_map(&view, w->spool, 5, NULL) == WEFT_OK) {
                w->failed |= view.size != 8 || view.data[0] != view.data[7];
                weft_spool_unmap(&view);
            }
            w->failed |= weft_spool_drop(w->spool, 5, NULL) != WEFT_OK;
        }
        weft_spool_upload_free(u);
    }
    return NULL;
}

static void run_threads(weft_spool *spool, void *(*fn)(void *))
{
    pthread_t threads[4];
    worker workers[4];
    for (uint64_t i = 0; i < 4; i++) {
        workers[i] = (worker){spool, fn == upload_many ? i : i % 2, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, fn, &workers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_false(workers[i].failed);
    }
}

static void test_spool__many_uploads_at_once(void **state)
{
    weft_spool *spool = ((fixture *)*state)->spool;
    run_threads(spool, upload_many);
    uint64_t sum = 0;
    uint32_t dropped = 9;
    assert_ok(weft_spool_sweep(spool, keep_even, &sum, &dropped, &assert_err));
    assert_true(dropped == 0 && sum == 0); /* nothing was left behind */
}

static void test_spool__two_uploads_of_one_assignment(void **state)
{
    run_threads(((fixture *)*state)->spool, fight);
}

int main(void)
{
#define SPOOL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(test_spool__an_upload_arrives_and_is_read),
        SPOOL_TEST(test_spool_append__zeros_are_holes),
        SPOOL_TEST(test_spool_unload__the_bytes_stay_readable),
        SPOOL_TEST(test_spool_append__only_at_what_is_held_and_within_the_total),
        SPOOL_TEST(test_spool_begin__resumes_across_a_restart_or_starts_over),
        SPOOL_TEST(test_spool_begin__the_newest_upload_wins),
        SPOOL_TEST(test_spool_begin__a_complete_upload_never_changes),
        SPOOL_TEST(test_spool_drop__ends_a_running_upload),
        SPOOL_TEST(test_spool_sweep__keeps_what_is_wanted_and_what_is_not_ours),
        SPOOL_TEST(test_spool_open__a_reboot_drops_what_was_unfinished),
        SPOOL_TEST(test_spool_append__a_full_disk_keeps_what_was_held),
        cmocka_unit_test(test_spool__every_allocation_may_fail),
        SPOOL_TEST(test_spool__many_uploads_at_once),
        SPOOL_TEST(test_spool__two_uploads_of_one_assignment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
