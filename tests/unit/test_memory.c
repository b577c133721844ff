/* SPDX-License-Identifier: Apache-2.0 */
/* weftd's memory for whole models: heap below the border, an unlinked file above it. */
#include "support/support.h"

#include "app/memory.h"

#include <dirent.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };
static const size_t border = WEFT_APP_MAPPED_BYTES;

/* Files in the folder, but for . and .. */
static int count_files(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    }
    (void)closedir(d); /* only read */
    return n;
}

static void test_memory_take__is_a_file_above_the_border_only(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    const size_t sizes[] = {1, border - 1, border, border + 1, 3 * border};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        weft_memory m = {0};
        assert_false(weft_memory_is_mapped(&m));
        assert_ok(weft_memory_take(&m, sizes[i], dir, &weft_alloc_std, &assert_err));
        assert_int_equal(m.size, sizes[i]);
        assert_true(weft_memory_is_mapped(&m) == (sizes[i] > border));
        ((uint8_t *)m.data)[sizes[i] - 1] = 1; /* all of it is there */
        assert_int_equal(count_files(dir), 0); /* a crash leaves nothing behind */
        weft_memory_done(&m);
        assert_null(m.data);
        weft_memory_done(&m);
    }
    weft_memory m = {0};
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_memory_take(&m, 0, dir, &weft_alloc_std, NULL), WEFT_E_LIMIT);
    assert_int_equal(weft_memory_take(&m, UINT64_MAX, dir, &weft_alloc_std, NULL), WEFT_E_LIMIT);
    assert_int_equal(weft_memory_take(&m, border + 1, "/nowhere", &weft_alloc_std, &err),
                     WEFT_E_IO);
    assert_non_null(strstr(err.msg, "cannot make a temporary file in /nowhere"));
    assert_null(m.data);
    test_dir_done(dir);
}

static void test_memory_take_zeros__are_zeros_and_take_no_pages(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    static unsigned char resident[2 * WEFT_APP_MAPPED_BYTES / PAGE];
    weft_memory m = {0};
    assert_ok(weft_memory_take_zeros(&m, 100 * PAGE, dir, &weft_alloc_std, &assert_err));
    assert_true(weft_bytes_zero(m.data, m.size));
    weft_memory_unload(&m, 0, m.size); /* the heap stays as it is */
    memset(m.data, 5, m.size);
    weft_memory_unload(&m, 0, m.size);
    assert_int_equal(((uint8_t *)m.data)[PAGE], 5);
    weft_memory_done(&m);
    assert_ok(weft_memory_take_zeros(&m, 2 * border, dir, &weft_alloc_std, &assert_err));
    ((uint8_t *)m.data)[border] = 7;
    assert_int_equal(mincore(m.data, m.size, resident), 0);
    size_t n = 0;
    for (size_t i = 0; i < sizeof resident; i++) {
        n += resident[i] & 1U;
    }
    assert_in_range(n, 1, sizeof resident / 4);
    weft_memory_unload(&m, 0, m.size);
    assert_int_equal(((uint8_t *)m.data)[border], 7); /* it lies in the file */
    assert_true(weft_bytes_zero(m.data, border));
    weft_memory_done(&m);
    test_dir_done(dir);
}

static weft_status to_blob(const weft_alloc *a, const char *dir, size_t size)
{
    weft_memory m = {0};
    weft_rt_blob *blob = NULL;
    weft_status status = weft_memory_take_zeros(&m, size, dir, a, NULL);
    if (status == WEFT_OK) {
        ((uint8_t *)m.data)[size - 1] = 9;
        status = weft_memory_to_blob(&blob, &m, NULL);
    }
    if (status == WEFT_OK) {
        assert_null(m.data);
        assert_true(weft_rt_blob_size(blob) == size);
        assert_int_equal(weft_rt_blob_data(blob)[size - 1], 9);
    }
    weft_memory_done(&m);
    weft_rt_blob_unref(blob);
    return status;
}

static weft_status try_small(const weft_alloc *a, void *dir)
{
    return to_blob(a, dir, 1000);
}

static weft_status try_large(const weft_alloc *a, void *dir)
{
    return to_blob(a, dir, border + 1);
}

static void test_memory__every_allocation_may_fail(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    test_every_allocation_may_fail(try_small, dir);
    test_every_allocation_may_fail(try_large, dir);
    assert_int_equal(count_files(dir), 0);
    test_dir_done(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_take__is_a_file_above_the_border_only),
        cmocka_unit_test(test_memory_take_zeros__are_zeros_and_take_no_pages),
        cmocka_unit_test(test_memory__every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
