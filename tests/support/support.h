/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests share: cmocka with its headers in the right order, an allocator that fails the
 * Nth allocation, a counted one that finds leaks, and a temporary folder.
 */
#ifndef WEFT_TEST_SUPPORT_H
#define WEFT_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"

/* Fails allocation number fail_at (from 1); persistent: and every later one. Counts live blocks. */
typedef struct test_alloc {
    weft_alloc alloc;
    size_t count;   /* allocations asked for */
    size_t fail_at; /* 0: never */
    int persistent;
    size_t live; /* blocks not freed yet */
} test_alloc;
void test_alloc_init(test_alloc *t, size_t fail_at, int persistent);

/**
 * Run try once for each N with allocation N failing, transient and persistent, until it succeeds.
 * try returns the status of the code under test and frees what it made; each failure must be
 * WEFT_E_NOMEM and leave nothing allocated.
 */
void test_every_allocation_may_fail(weft_status (*try_once)(const weft_alloc *a, void *arg),
                                    void *arg);

/** A fresh folder under TMPDIR; removed with everything in it by test_dir_done. */
char *test_dir_new(void);
void test_dir_done(char *dir);

/** The project's folder: for tests of files that it ships. */
const char *test_source_root(void);

/** The folder of real data: WEFT_DATA_DIR, or ../shared/data beside the source tree, or NULL. */
const char *test_data_dir(void);

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        weft_err assert_err = WEFT_ERR_INIT;                                                       \
        (void)assert_err;                                                                          \
        const weft_status assert_status = (call);                                                  \
        if (assert_status != WEFT_OK) {                                                            \
            fail_msg("%s: %s: %s", #call, weft_status_name(assert_status), assert_err.msg);        \
        }                                                                                          \
    } while (0)

#endif
