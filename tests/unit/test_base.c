/* SPDX-License-Identifier: Apache-2.0 */
/* base: buffers with a maximum, budgets, the seeded generator, files, names. */
#include "support/support.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/rng.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_buf_add__stops_at_its_maximum(void **state)
{
    (void)state;
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 4);
    assert_int_equal(weft_buf_add(&b, "abc", 3, NULL), WEFT_OK);
    assert_int_equal(weft_buf_add(&b, "d", 1, NULL), WEFT_OK);
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_buf_add(&b, "e", 1, &err), WEFT_E_LIMIT);
    assert_string_equal(err.msg, "4 bytes and 1 more pass the limit of 4");
    assert_int_equal(b.size, 4);
    assert_string_equal(weft_buf_text(&b), "abcd");
    weft_buf_done(&b);
}

static weft_status fill_buf(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_buf b;
    weft_buf_init(&b, a, 4096);
    weft_status status = WEFT_OK;
    for (int i = 0; status == WEFT_OK && i < 100; i++) {
        status = weft_buf_addf(&b, NULL, "%d,", i);
    }
    weft_buf_done(&b);
    return status;
}

static void test_bytes_zero__looks_at_every_byte(void **state)
{
    (void)state;
    uint8_t bytes[67] = {0};
    for (size_t n = 0; n <= sizeof bytes; n++) {
        assert_true(weft_bytes_zero(bytes, n));
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = 1;
        assert_true(weft_bytes_zero(bytes, i));
        assert_false(weft_bytes_zero(bytes, i + 1));
        assert_false(weft_bytes_zero(bytes, sizeof bytes));
        bytes[i] = 0;
    }
    memset(bytes, 7, sizeof bytes); /* all equal is not enough */
    assert_false(weft_bytes_zero(bytes, sizeof bytes));
}

static void test_buf_addf__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(fill_buf, NULL);
}

static void test_budget__refuses_above_and_counts_frees(void **state)
{
    (void)state;
    weft_budget b;
    weft_budget_init(&b, &weft_alloc_std, 100 + 2 * 16);
    void *p = weft_array(&b.alloc, 60, 1);
    assert_non_null(p);
    assert_null(weft_array(&b.alloc, 41, 1));
    void *q = weft_array(&b.alloc, 40, 1);
    assert_non_null(q);
    assert_int_equal(b.used, b.max);
    weft_free(&b.alloc, p);
    p = weft_array_resize(&b.alloc, q, 100, 1);
    assert_non_null(p);
    weft_free(&b.alloc, p);
    assert_int_equal(b.used, 0);
    assert_null(weft_array(&b.alloc, SIZE_MAX / 2, 4));
}

static void test_reader__never_passes_the_end(void **state)
{
    (void)state;
    const uint8_t data[] = {1, 0, 2, 0, 0, 0, 9};
    weft_reader r;
    weft_reader_init(&r, data, sizeof data);
    assert_int_equal(weft_reader_u16(&r), 1);
    assert_int_equal(weft_reader_u32(&r), 2);
    assert_int_equal(weft_reader_left(&r), 1);
    assert_int_equal(weft_reader_u16(&r), 0);
    assert_true(r.failed);
    assert_null(weft_reader_take(&r, 1)); /* a failed reader stays failed */
}

static void test_hex__round_trips_and_refuses(void **state)
{
    (void)state;
    const uint8_t data[3] = {0x00, 0xaf, 0x19};
    char text[7];
    weft_hex_encode(text, data, 3);
    assert_string_equal(text, "00af19");
    uint8_t back[3];
    assert_true(weft_hex_decode(back, 3, "00AF19", 6));
    assert_memory_equal(back, data, 3);
    assert_false(weft_hex_decode(back, 3, "00af1", 5));
    assert_false(weft_hex_decode(back, 3, "00af1g", 6));
}

/* Reference: the authors' C programs of splitmix64 and xoshiro256**. */
static void test_rng__is_xoshiro256starstar(void **state)
{
    (void)state;
    weft_rng r = {{1, 2, 3, 4}};
    assert_true(weft_rng_u64(&r) == 11520U);
    assert_true(weft_rng_u64(&r) == 0U);
    assert_true(weft_rng_u64(&r) == 1509978240U);
    assert_true(weft_rng_u64(&r) == 1215971899390074240U);
}

static void test_rng__streams_differ_and_bounds_hold(void **state)
{
    (void)state;
    weft_rng a;
    weft_rng b;
    weft_rng_init(&a, 7, 0);
    weft_rng_init(&b, 7, 1);
    assert_true(weft_rng_u64(&a) != weft_rng_u64(&b));
    double sum = 0.0;
    double squares = 0.0;
    for (int i = 0; i < 20000; i++) {
        assert_true(weft_rng_below(&a, 3) < 3);
        const float f = weft_rng_float(&a);
        assert_true(f >= 0.0F && f < 1.0F);
        const double x = weft_rng_normal(&a);
        sum += x;
        squares += x * x;
    }
    assert_true(sum / 20000 > -0.03 && sum / 20000 < 0.03);
    assert_true(squares / 20000 > 0.95 && squares / 20000 < 1.05);
}

static void test_file__create_never_overwrites(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char path[4200];
    assert_int_equal(weft_path_join(path, sizeof path, dir, "key", NULL), WEFT_OK);
    assert_int_equal(weft_file_create(path, "one", 3, 0600, NULL), WEFT_OK);
    assert_int_equal(weft_file_create(path, "two", 3, 0600, NULL), WEFT_E_CONFLICT);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    weft_buf b;
    weft_buf_init(&b, &weft_alloc_std, 3);
    assert_int_equal(weft_file_read(&b, path, NULL), WEFT_OK);
    assert_memory_equal(b.data, "one", 3);
    weft_buf_clear(&b);
    assert_int_equal(weft_file_write(path, "four", 4, 0600, NULL), WEFT_OK);
    assert_int_equal(weft_file_read(&b, path, NULL), WEFT_E_LIMIT); /* one above the limit */
    weft_buf_done(&b);
    test_dir_done(dir);
}

static void test_file__unnamed_ones_leave_nothing(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    char byte = 0;
    int fd = -1;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_file_open_unnamed(&fd, dir, NULL), WEFT_OK);
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    assert_int_equal(pread(fd, &byte, 1, 0), 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(rmdir(dir), 0); /* empty, while it is open */
    assert_int_equal(close(fd), 0);
    assert_int_equal(weft_file_open_unnamed(&fd, dir, &err), WEFT_E_IO);
    assert_non_null(strstr(err.msg, "cannot make a temporary file in "));
    assert_int_equal(mkdir(dir, 0700), 0);
    test_dir_done(dir);
}

static void test_name_valid__keeps_paths_out(void **state)
{
    (void)state;
    assert_true(weft_name_valid("hospital-3_a.b"));
    assert_false(weft_name_valid(""));
    assert_false(weft_name_valid("../x"));
    assert_false(weft_name_valid("a/b"));
    assert_false(weft_name_valid("-rf"));
    char name[WEFT_MAX_NAME_BYTES + 2];
    memset(name, 'a', sizeof name);
    name[WEFT_MAX_NAME_BYTES] = '\0';
    assert_true(weft_name_valid(name));
    name[WEFT_MAX_NAME_BYTES] = 'a';
    name[WEFT_MAX_NAME_BYTES + 1] = '\0';
    assert_false(weft_name_valid(name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_add__stops_at_its_maximum),
        cmocka_unit_test(test_bytes_zero__looks_at_every_byte),
        cmocka_unit_test(test_buf_addf__every_allocation_may_fail),
        cmocka_unit_test(test_budget__refuses_above_and_counts_frees),
        cmocka_unit_test(test_reader__never_passes_the_end),
        cmocka_unit_test(test_hex__round_trips_and_refuses),
        cmocka_unit_test(test_rng__is_xoshiro256starstar),
        cmocka_unit_test(test_rng__streams_differ_and_bounds_hold),
        cmocka_unit_test(test_file__create_never_overwrites),
        cmocka_unit_test(test_file__unnamed_ones_leave_nothing),
        cmocka_unit_test(test_name_valid__keeps_paths_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
