/* SPDX-License-Identifier: Apache-2.0 */
/* client files: bases that are fetched, resumed, checked and mapped; updates; sweeping. */
#include "support/support.h"

#include "base/file.h"
#include "crypto/hash.h"
#include "files.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 200000 };

typedef struct fixture {
    char *dir;
    uint8_t bytes[SIZE];
    uint8_t digest[32];
    weft_base *b;
    weft_base_memory *memory; /* lent to b, or NULL */
    weft_base_memory lent;
    bool in_memory;
} fixture;

static void begin(fixture *f)
{
    f->dir = test_dir_new();
    f->b = NULL;
    f->memory = NULL;
    f->in_memory = false;
    weft_base_memory_init(&f->lent, &weft_alloc_std);
    for (size_t i = 0; i < SIZE; i++) {
        f->bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
    assert_ok(weft_sha256(f->digest, f->bytes, SIZE, &assert_err));
}

static void open_base(fixture *f)
{
    weft_base_free(f->b);
    f->b = NULL;
    assert_ok(
        weft_base_open(&f->b, f->dir, f->digest, SIZE, f->memory, &weft_alloc_std, &assert_err));
}

static void end(fixture *f)
{
    weft_base_free(f->b);
    weft_base_memory_done(&f->lent);
    test_dir_done(f->dir);
}

static void add(fixture *f, size_t n)
{
    const uint64_t at = weft_base_have(f->b);
    const weft_view pieces[] = {{f->bytes + at, n / 3}, {f->bytes + at + n / 3, n - n / 3}};
    assert_ok(weft_base_add(f->b, pieces, 2, &assert_err));
}

static bool exists(const fixture *f, const char *name)
{
    char path[4096];
    assert_ok(weft_path_join(path, sizeof path, f->dir, name, &assert_err));
    return access(path, F_OK) == 0;
}

static void name_of(const fixture *f, const char *ending, char out[96])
{
    char hex[65];
    weft_hex_encode(hex, f->digest, 32);
    (void)snprintf(out, 96, "base-%s%s", hex, ending);
}

/* ---- base ----------------------------------------------------------------------------------- */

static void test_base__resumes_and_completes(void **state)
{
    (void)state;
    fixture f;
    char part[96];
    char whole[96];
    begin(&f);
    name_of(&f, ".part", part);
    name_of(&f, ".bin", whole);
    open_base(&f);
    assert_int_equal(weft_base_have(f.b), 0);
    add(&f, 70000);
    open_base(&f); /* as after a crash */
    assert_int_equal(weft_base_have(f.b), 70000);
    assert_false(weft_base_complete(f.b));
    assert_true(exists(&f, part));
    add(&f, SIZE - 70001);
    assert_int_equal(weft_base_finish(f.b, NULL), WEFT_E_FORMAT); /* one byte is missing */
    add(&f, 1);
    assert_ok(weft_base_finish(f.b, &assert_err));
    assert_true(weft_base_complete(f.b));
    assert_false(exists(&f, part));
    assert_true(exists(&f, whole));
    open_base(&f);
    assert_true(weft_base_complete(f.b));
    assert_int_equal(weft_base_have(f.b), SIZE);
    assert_true(weft_base_is(f.b, f.digest));
    end(&f);
}

static void test_base__takes_no_wrong_bytes(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    open_base(&f);
    f.bytes[12345] ^= 1;
    add(&f, SIZE);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_base_finish(f.b, &err), WEFT_E_FORMAT);
    assert_non_null(strstr(err.msg, "do not have its digest"));
    assert_int_equal(weft_base_have(f.b), 0); /* from the start again */
    f.bytes[12345] ^= 1;
    add(&f, SIZE);
    const weft_view one_more = {f.bytes, 1};
    assert_int_equal(weft_base_add(f.b, &one_more, 1, NULL), WEFT_E_FORMAT);
    assert_ok(weft_base_finish(f.b, &assert_err));
    end(&f);
}

static void test_base__a_file_that_rotted_is_fetched_again(void **state)
{
    (void)state;
    fixture f;
    char whole[96];
    char path[4096];
    begin(&f);
    name_of(&f, ".bin", whole);
    assert_ok(weft_path_join(path, sizeof path, f.dir, whole, &assert_err));
    f.bytes[5] ^= 4;
    assert_ok(weft_file_write(path, f.bytes, SIZE, 0600, &assert_err));
    f.bytes[5] ^= 4;
    open_base(&f);
    assert_false(weft_base_complete(f.b));
    assert_int_equal(weft_base_have(f.b), 0);
    add(&f, SIZE);
    assert_ok(weft_base_finish(f.b, &assert_err));
    end(&f);
}

static void test_base__reset_forgets_what_came(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    open_base(&f);
    add(&f, 1000);
    assert_ok(weft_base_reset(f.b, &assert_err));
    assert_int_equal(weft_base_have(f.b), 0);
    add(&f, SIZE);
    assert_ok(weft_base_finish(f.b, &assert_err));
    assert_ok(weft_base_reset(f.b, &assert_err)); /* a complete one stays */
    assert_true(weft_base_complete(f.b));
    end(&f);
}

static void test_base__only_the_newest_is_kept(void **state)
{
    (void)state;
    fixture f;
    char old[96];
    begin(&f);
    open_base(&f);
    add(&f, SIZE);
    assert_ok(weft_base_finish(f.b, &assert_err));
    name_of(&f, ".bin", old);
    f.bytes[0]++;
    assert_ok(weft_sha256(f.digest, f.bytes, SIZE, &assert_err));
    open_base(&f);
    assert_true(exists(&f, old)); /* until the new one is there */
    add(&f, SIZE);
    assert_ok(weft_base_finish(f.b, &assert_err));
    assert_false(exists(&f, old));
    end(&f);
}

static void test_base_map__training_does_not_touch_the_base(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    open_base(&f);
    weft_base_map map = {0};
    assert_int_equal(weft_base_map_new(&map, f.b, NULL), WEFT_E_STATE);
    add(&f, SIZE);
    assert_ok(weft_base_finish(f.b, &assert_err));
    assert_ok(weft_base_map_new(&map, f.b, &assert_err));
    assert_int_equal(map.n_params, SIZE / 4);
    assert_memory_equal(map.base, f.bytes, SIZE);
    assert_memory_equal(map.weights, f.bytes, SIZE);
    for (uint64_t i = 0; i < map.n_params; i++) {
        map.weights[i] = 1.0F;
    }
    assert_memory_equal(map.base, f.bytes, SIZE);
    weft_base_map_done(&map);
    weft_base_map_done(&map); /* harmless */
    open_base(&f);            /* reads it all: still the right digest */
    assert_true(weft_base_complete(f.b));
    end(&f);
}

static void test_base__zeros_take_no_room(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    enum { BIG = 8 << 20 };
    static uint8_t zeros[1 << 20];
    uint8_t digest[32];
    weft_hash *h = NULL;
    assert_ok(weft_hash_new(&h, &weft_alloc_std, &assert_err));
    for (int i = 0; i < BIG >> 20; i++) {
        assert_ok(weft_hash_add(h, zeros, sizeof zeros, &assert_err));
    }
    assert_ok(weft_hash_finish(digest, h, &assert_err));
    weft_hash_free(h);
    weft_base *b = NULL;
    assert_ok(weft_base_open(&b, dir, digest, BIG, NULL, &weft_alloc_std, &assert_err));
    const weft_view piece = {zeros, sizeof zeros};
    for (int i = 0; i < BIG >> 20; i++) {
        assert_ok(weft_base_add(b, &piece, 1, &assert_err));
    }
    assert_ok(weft_base_finish(b, &assert_err));
    weft_base_free(b);
    char hex[65];
    char name[96];
    char path[4096];
    struct stat st;
    weft_hex_encode(hex, digest, 32);
    (void)snprintf(name, sizeof name, "base-%s.bin", hex);
    assert_ok(weft_path_join(path, sizeof path, dir, name, &assert_err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, BIG);
    assert_true(st.st_blocks * 512 < BIG / 2);
    b = NULL;
    assert_ok(weft_base_open(&b, dir, digest, BIG, NULL, &weft_alloc_std, &assert_err));
    assert_true(weft_base_complete(b));
    weft_base_free(b);
    test_dir_done(dir);
}

static weft_status open_once(const weft_alloc *a, void *arg)
{
    fixture *f = arg;
    weft_base *b = NULL;
    weft_err err = WEFT_ERR_INIT;
    weft_base_memory memory;
    weft_base_memory_init(&memory, a);
    const weft_status status =
        weft_base_open(&b, f->dir, f->digest, SIZE, f->in_memory ? &memory : NULL, a, &err);
    weft_base_free(b);
    weft_base_memory_done(&memory);
    return status;
}

static void test_base_open__every_allocation_may_fail(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    test_every_allocation_may_fail(open_once, &f);
    f.in_memory = true;
    test_every_allocation_may_fail(open_once, &f);
    end(&f);
}

/* ---- base in memory ------------------------------------------------------------------------- */

static void test_base_memory__comes_into_the_folder_when_it_rests(void **state)
{
    (void)state;
    fixture f;
    char whole[96];
    begin(&f);
    f.memory = &f.lent;
    name_of(&f, ".bin", whole);
    open_base(&f);
    add(&f, 70000);
    assert_ok(weft_base_rest(f.b, &assert_err)); /* nothing to keep yet */
    add(&f, SIZE - 70000);
    assert_ok(weft_base_finish(f.b, &assert_err));
    assert_false(exists(&f, whole));
    assert_ok(weft_base_rest(f.b, &assert_err));
    assert_true(exists(&f, whole));
    weft_base_free(f.b);
    f.b = NULL;
    weft_base_memory_done(&f.lent); /* other memory: the bytes come from the file */
    open_base(&f);
    assert_true(weft_base_complete(f.b));
    assert_memory_equal(f.lent.base, f.bytes, SIZE);
    weft_base_map map = {0};
    assert_ok(weft_base_map_new(&map, f.b, &assert_err));
    memset(map.weights, 0, SIZE);
    assert_memory_equal(map.base, f.bytes, SIZE); /* training does not touch it */
    weft_base_map_done(&map);
    end(&f);
}

static void test_base_memory__takes_no_wrong_bytes(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    f.memory = &f.lent;
    open_base(&f);
    f.bytes[12345] ^= 1;
    add(&f, SIZE);
    assert_int_equal(weft_base_finish(f.b, NULL), WEFT_E_FORMAT);
    assert_int_equal(weft_base_have(f.b), 0);
    f.bytes[12345] ^= 1;
    add(&f, 10);
    assert_ok(weft_base_reset(f.b, &assert_err));
    add(&f, SIZE);
    assert_ok(weft_base_finish(f.b, &assert_err));
    assert_memory_equal(f.lent.base, f.bytes, SIZE);
    end(&f);
}

static void test_base_memory__a_large_one_is_a_file(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_base *b = NULL;
    assert_ok(weft_base_open(&b, f.dir, f.digest, WEFT_BASE_MEMORY_BYTES + 4, &f.lent,
                             &weft_alloc_std, &assert_err));
    assert_int_equal(f.lent.size, 0);
    weft_base_free(b);
    b = NULL;
    assert_ok(weft_base_open(&b, f.dir, f.digest, WEFT_BASE_MEMORY_BYTES, &f.lent, &weft_alloc_std,
                             &assert_err));
    assert_int_equal(f.lent.size, WEFT_BASE_MEMORY_BYTES);
    weft_base_free(b);
    end(&f);
}

/* ---- update --------------------------------------------------------------------------------- */

static void test_update_file__is_there_whole_or_not_at_all(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_update_file file;
    assert_ok(weft_update_file_begin(&file, f.dir, 9, SIZE, &assert_err));
    assert_ok(weft_update_file_write(&file, f.bytes, 1000, &assert_err));
    assert_false(weft_update_file_present(f.dir, 9, SIZE));
    weft_update_file_done(&file);
    assert_false(exists(&f, "update-9.tmp"));
    static const uint8_t zeros[5000];
    assert_ok(weft_update_file_begin(&file, f.dir, 9, SIZE, &assert_err));
    assert_ok(weft_update_file_write(&file, f.bytes, 1000, &assert_err));
    assert_ok(weft_update_file_write(&file, zeros, sizeof zeros, &assert_err));
    assert_ok(weft_update_file_write(&file, f.bytes + 1000, 24, &assert_err));
    assert_ok(weft_update_file_commit(&file, true, &assert_err));
    weft_update_file_done(&file);                          /* harmless */
    assert_true(weft_update_file_present(f.dir, 9, 6024)); /* what was written, not what was said */
    assert_false(weft_update_file_present(f.dir, 9, 6023));
    assert_false(weft_update_file_present(f.dir, 8, 6024));
    assert_true(weft_update_file_present(f.dir, 8, 0));
    weft_buf back;
    char path[4096];
    weft_buf_init(&back, &weft_alloc_std, SIZE);
    assert_ok(weft_update_file_path(path, sizeof path, f.dir, 9, &assert_err));
    assert_ok(weft_file_read(&back, path, &assert_err));
    assert_memory_equal(back.data, f.bytes, 1000);
    assert_memory_equal(back.data + 1000, zeros, sizeof zeros);
    assert_memory_equal(back.data + 6000, f.bytes + 1000, 24);
    weft_buf_done(&back);
    end(&f);
}

/* The next update of the same size overwrites an accepted one, zeros included. */
static void test_update_file__an_accepted_one_makes_room_for_the_next(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    weft_update_file file;
    char path[4096];
    struct stat first;
    struct stat second;
    assert_ok(weft_update_file_begin(&file, f.dir, 9, 6000, &assert_err));
    assert_ok(weft_update_file_write(&file, f.bytes, 6000, &assert_err));
    assert_ok(weft_update_file_commit(&file, false, &assert_err));
    assert_ok(weft_update_file_path(path, sizeof path, f.dir, 9, &assert_err));
    assert_int_equal(stat(path, &first), 0);
    weft_update_file_recycle(f.dir, 9, 6000);
    assert_false(weft_update_file_present(f.dir, 9, 6000));
    static const uint8_t zeros[5000];
    assert_ok(weft_update_file_begin(&file, f.dir, 10, 6000, &assert_err));
    assert_ok(weft_update_file_write(&file, zeros, sizeof zeros, &assert_err));
    assert_ok(weft_update_file_write(&file, f.bytes, 1000, &assert_err));
    assert_ok(weft_update_file_commit(&file, false, &assert_err));
    assert_ok(weft_update_file_path(path, sizeof path, f.dir, 10, &assert_err));
    assert_int_equal(stat(path, &second), 0);
    assert_true(second.st_ino == first.st_ino);
    weft_buf back;
    weft_buf_init(&back, &weft_alloc_std, SIZE);
    assert_ok(weft_file_read(&back, path, &assert_err));
    assert_int_equal(back.size, 6000);
    assert_memory_equal(back.data, zeros, sizeof zeros);
    assert_memory_equal(back.data + 5000, f.bytes, 1000);
    weft_buf_done(&back);
    weft_update_file_recycle(f.dir, 10, 6000);
    assert_ok(weft_update_file_begin(&file, f.dir, 11, 4000, &assert_err)); /* of another size */
    assert_ok(weft_update_file_write(&file, zeros, 4000, &assert_err));
    assert_ok(weft_update_file_commit(&file, false, &assert_err));
    assert_false(exists(&f, "update-spare"));
    assert_true(weft_update_file_present(f.dir, 11, 4000));
    weft_update_file_recycle(f.dir, 11, 4000);
    weft_update_file_drop_spare(f.dir);
    assert_false(exists(&f, "update-spare"));
    end(&f);
}

/* A disk that is full, in the form of a limit on file sizes. */
static void test_files__a_full_disk_is_told(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit small = {4096, before.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    weft_update_file file;
    weft_err err = WEFT_ERR_INIT;
    const weft_status begun = weft_update_file_begin(&file, f.dir, 9, SIZE, &err);
    open_base(&f);
    const weft_view piece = {f.bytes, SIZE};
    const weft_status added = weft_base_add(f.b, &piece, 1, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(begun, WEFT_E_IO);
    assert_non_null(strstr(err.msg, "no room for an update of 200000 bytes"));
    assert_false(exists(&f, "update-9.tmp"));
    assert_int_equal(added, WEFT_E_IO);
    add(&f, SIZE); /* there is room again: it goes on where it was */
    assert_ok(weft_base_finish(f.b, &assert_err));
    end(&f);
}

static void test_sweep__removes_what_crashes_left(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    static const char *const names[] = {"update-1.bin", "update-2.bin",  "update-2.tmp",
                                        "member.pem",   "x.tmp.123",     "base-aa.bin",
                                        "base-bb.part", "base-notes.txt"};
    char path[4096];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_ok(weft_path_join(path, sizeof path, f.dir, names[i], &assert_err));
        assert_ok(weft_file_write(path, "x", 1, 0600, &assert_err));
    }
    const struct timespec older[2] = {{1000, 0}, {1000, 0}};
    assert_ok(weft_path_join(path, sizeof path, f.dir, "base-aa.bin", &assert_err));
    assert_int_equal(utimensat(AT_FDCWD, path, older, 0), 0);
    weft_files_sweep(f.dir, 2);
    assert_false(exists(&f, "update-1.bin"));
    assert_true(exists(&f, "update-2.bin"));
    assert_false(exists(&f, "update-2.tmp"));
    assert_true(exists(&f, "member.pem"));
    assert_false(exists(&f, "x.tmp.123"));
    assert_false(exists(&f, "base-aa.bin"));
    assert_true(exists(&f, "base-bb.part"));
    assert_true(exists(&f, "base-notes.txt"));
    weft_files_sweep(f.dir, 0);
    assert_false(exists(&f, "update-2.bin"));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base__resumes_and_completes),
        cmocka_unit_test(test_base__takes_no_wrong_bytes),
        cmocka_unit_test(test_base__a_file_that_rotted_is_fetched_again),
        cmocka_unit_test(test_base__reset_forgets_what_came),
        cmocka_unit_test(test_base__only_the_newest_is_kept),
        cmocka_unit_test(test_base_map__training_does_not_touch_the_base),
        cmocka_unit_test(test_base__zeros_take_no_room),
        cmocka_unit_test(test_base_open__every_allocation_may_fail),
        cmocka_unit_test(test_base_memory__comes_into_the_folder_when_it_rests),
        cmocka_unit_test(test_base_memory__takes_no_wrong_bytes),
        cmocka_unit_test(test_base_memory__a_large_one_is_a_file),
        cmocka_unit_test(test_update_file__is_there_whole_or_not_at_all),
        cmocka_unit_test(test_update_file__an_accepted_one_makes_room_for_the_next),
        cmocka_unit_test(test_files__a_full_disk_is_told),
        cmocka_unit_test(test_sweep__removes_what_crashes_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
