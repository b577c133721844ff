/* SPDX-License-Identifier: Apache-2.0 */
/* Shared test helpers. */
#include "support/support.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void *counting_resize(void *self, void *p, size_t size)
{
    test_alloc *t = self;
    if (size == 0) {
        t->live -= p != NULL;
        free(p);
        return NULL;
    }
    t->count++;
    if (t->fail_at && (t->persistent ? t->count >= t->fail_at : t->count == t->fail_at)) {
        return NULL;
    }
    void *q = realloc(p, size);
    t->live += q && !p;
    return q;
}

void test_alloc_init(test_alloc *t, size_t fail_at, int persistent)
{
    memset(t, 0, sizeof *t);
    t->alloc.resize = counting_resize;
    t->alloc.self = t;
    t->fail_at = fail_at;
    t->persistent = persistent;
}

void test_every_allocation_may_fail(weft_status (*try_once)(const weft_alloc *a, void *arg),
                                    void *arg)
{
    for (int persistent = 0; persistent < 2; persistent++) {
        size_t n = 1;
        for (;; n++) {
            test_alloc t;
            test_alloc_init(&t, n, persistent);
            const weft_status status = try_once(&t.alloc, arg);
            assert_int_equal(t.live, 0);
            if (t.count < n) { /* the Nth was never asked for: all have been tried */
                assert_int_equal(status, WEFT_OK);
                break;
            }
            assert_int_equal(status, WEFT_E_NOMEM);
        }
        assert_true(n > 1); /* at least one allocation was failed */
    }
}

char *test_dir_new(void)
{
    const char *base = getenv("TMPDIR");
    char *dir = NULL;
    assert_true(asprintf(&dir, "%s/weft-test-XXXXXX", base ? base : "/tmp") > 0);
    assert_non_null(mkdtemp(dir));
    return dir;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void test_dir_done(char *dir)
{
    if (dir) {
        (void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS); /* best effort */
        free(dir);
    }
}

const char *test_source_root(void)
{
    return WEFT_SOURCE_ROOT;
}

const char *test_data_dir(void)
{
    static char path[4096];
    const char *env = getenv("WEFT_DATA_DIR");
    const int n = env ? snprintf(path, sizeof path, "%s", env)
                      : snprintf(path, sizeof path, "%s/../shared/data", WEFT_SOURCE_ROOT);
    struct stat st;
    return n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0 ? path : NULL;
}
