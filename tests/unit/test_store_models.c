/* SPDX-License-Identifier: Apache-2.0 */
/* store: model bytes, whole and piece by piece, read in ranges, verified, swept. */
#include "support/support.h"

#include "crypto/hash.h"
#include "store/models.h"
#include "store/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MIB ((size_t)WEFT_MAX_CHUNK_BYTES)

typedef struct fixture {
    char *dir;
    weft_store *store;
} fixture;

static void open_fixture(fixture *f)
{
    const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    assert_ok(weft_store_open(&f->store, f->dir, &options, &weft_alloc_std, &assert_err));
}

static int set_up(void **state)
{
    static fixture f;
    f.dir = test_dir_new();
    open_fixture(&f);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    weft_store_close(f->store);
    test_dir_done(f->dir);
    return 0;
}

static void reopen(fixture *f)
{
    weft_store_close(f->store);
    f->store = NULL;
    open_fixture(f);
}

/* n bytes that differ from chunk to chunk, the caller's to free */
static uint8_t *make_bytes(size_t n, uint32_t seed, uint8_t *digest)
{
    uint8_t *data = malloc(n);
    assert_non_null(data);
    uint32_t x = seed;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525U + 1013904223U;
        data[i] = (uint8_t)(x >> 24);
    }
    assert_ok(weft_sha256(digest, data, n, &assert_err));
    return data;
}

static void test_model_put__round_trips_at_the_chunk_borders(void **state)
{
    fixture *f = *state;
    const size_t sizes[] = {1, MIB - 1, MIB, MIB + 1, 3 * MIB + 17};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t digest[WEFT_DIGEST_BYTES];
        uint8_t *data = make_bytes(sizes[i], (uint32_t)i, digest);
        assert_ok(
            weft_store_model_put(f->store, digest, data, sizes[i], "spec", NULL, &assert_err));
        reopen(f);
        uint64_t bytes = 0;
        assert_ok(weft_store_model_size(f->store, digest, &bytes, &assert_err));
        assert_true(bytes == sizes[i]);
        uint8_t *back = malloc(sizes[i]);
        assert_non_null(back);
        assert_ok(weft_store_model_read_all(f->store, digest, back, bytes, &assert_err));
        assert_memory_equal(back, data, sizes[i]);
        assert_int_equal(weft_store_model_read_all(f->store, digest, back, bytes - 1, NULL),
                         WEFT_E_INVALID);
        free(back);
        free(data);
    }
}

/* The first version of plain tensors is all zeros: it costs nothing. */
static void test_model_put__zeros_take_no_room(void **state)
{
    fixture *f = *state;
    const size_t size = 40 * MIB + 12;
    uint8_t *data = calloc(1, size);
    uint8_t *back = malloc(size);
    uint8_t digest[WEFT_DIGEST_BYTES];
    assert_true(data && back);
    for (int round = 0; round < 2; round++) { /* nothing but zeros; values in two chunks */
        assert_ok(weft_sha256(digest, data, size, &assert_err));
        assert_ok(weft_store_model_put(f->store, digest, data, size, NULL, NULL, &assert_err));
        reopen(f);
        memset(back, 0xee, size);
        assert_ok(weft_store_model_read_all(f->store, digest, back, size, &assert_err));
        assert_memory_equal(back, data, size);
        memset(back, 0xee, 300);
        assert_ok(weft_store_model_read(f->store, digest, 7 * MIB - 100, back, 300, &assert_err));
        assert_memory_equal(back, data + 7 * MIB - 100, 300);
        data[7 * MIB] = 1;
        data[size - 1] = 2;
    }
    free(data);
    free(back);
    char path[512];
    struct stat st;
    weft_store_close(f->store); /* the log goes into the file */
    f->store = NULL;
    (void)snprintf(path, sizeof path, "%s/models.db", f->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, MIB, 4 * MIB);
    open_fixture(f);
}

static void test_model_read__ranges_across_chunks(void **state)
{
    fixture *f = *state;
    const size_t n = 2 * MIB + 100;
    uint8_t digest[WEFT_DIGEST_BYTES];
    uint8_t *data = make_bytes(n, 5, digest);
    assert_ok(weft_store_model_put(f->store, digest, data, n, NULL, NULL, &assert_err));
    static uint8_t out[3 * WEFT_MAX_CHUNK_BYTES];
    const struct {
        size_t offset, n;
    } ranges[] = {{0, 1}, {MIB - 1, 2}, {MIB - 5, MIB + 10}, {2 * MIB, 100}, {n, 0}, {0, n}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        assert_ok(weft_store_model_read(f->store, digest, ranges[i].offset, out, ranges[i].n,
                                        &assert_err));
        assert_memory_equal(out, data + ranges[i].offset, ranges[i].n);
    }
    assert_int_equal(weft_store_model_read(f->store, digest, n, out, 1, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_store_model_read(f->store, digest, n + 1, out, 0, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_store_model_read(f->store, digest, 1, out, n, NULL), WEFT_E_INVALID);
    digest[0] ^= 1;
    assert_int_equal(weft_store_model_read(f->store, digest, 0, out, 1, NULL), WEFT_E_NOTFOUND);
    free(data);
}

static void test_model_writer__computes_the_digest_from_odd_pieces(void **state)
{
    fixture *f = *state;
    const size_t n = 2 * MIB + 12345;
    uint8_t digest[WEFT_DIGEST_BYTES];
    uint8_t *data = make_bytes(n, 9, digest);
    const size_t pieces[] = {1, 4096, MIB / 2 + 3, MIB, 777};
    weft_model_writer *w = NULL;
    assert_ok(weft_model_writer_new(&w, f->store, n, &assert_err));
    uint8_t got[WEFT_DIGEST_BYTES];
    size_t at = 0;
    for (size_t i = 0; at < n; i++) {
        size_t piece = pieces[i % 5];
        piece = piece < n - at ? piece : n - at;
        assert_int_equal(weft_model_writer_commit(w, NULL, NULL, NULL, got, NULL), WEFT_E_INVALID);
        assert_ok(weft_model_writer_add(w, data + at, piece, &assert_err));
        at += piece;
    }
    assert_int_equal(weft_model_writer_add(w, data, 1, NULL), WEFT_E_LIMIT);
    assert_int_equal(weft_store_model_size(f->store, digest, &(uint64_t){0}, NULL),
                     WEFT_E_NOTFOUND); /* not before the commit */
    assert_ok(weft_model_writer_commit(w, digest, "the spec", "the schema", got, &assert_err));
    weft_model_writer_free(w);
    assert_memory_equal(got, digest, sizeof digest);
    uint8_t *back = malloc(n);
    assert_non_null(back);
    assert_ok(weft_store_model_read_all(f->store, digest, back, n, &assert_err));
    assert_memory_equal(back, data, n);
    weft_buf spec;
    weft_buf schema;
    weft_buf_init(&spec, &weft_alloc_std, 64);
    weft_buf_init(&schema, &weft_alloc_std, 64);
    assert_ok(weft_store_model_texts(f->store, digest, &spec, &schema, &assert_err));
    assert_string_equal(weft_buf_text(&spec), "the spec");
    assert_string_equal(weft_buf_text(&schema), "the schema");
    weft_buf_done(&spec);
    weft_buf_done(&schema);
    free(back);
    free(data);
}

static void test_model_writer__another_digest_keeps_nothing(void **state)
{
    fixture *f = *state;
    uint8_t digest[WEFT_DIGEST_BYTES];
    uint8_t *data = make_bytes(MIB + 1, 9, digest);
    uint8_t want[WEFT_DIGEST_BYTES] = {0};
    weft_model_writer *w = NULL;
    assert_int_equal(weft_model_writer_new(&w, f->store, 0, NULL), WEFT_E_INVALID);
    assert_int_equal(weft_model_writer_new(&w, f->store, WEFT_MAX_PARAMS * 4 + 1, NULL),
                     WEFT_E_LIMIT);
    assert_ok(weft_model_writer_new(&w, f->store, MIB + 1, &assert_err));
    assert_ok(weft_model_writer_add(w, data, MIB + 1, &assert_err));
    uint8_t got[WEFT_DIGEST_BYTES];
    assert_int_equal(weft_model_writer_commit(w, want, NULL, NULL, got, NULL), WEFT_E_INVALID);
    weft_model_writer_free(w);
    assert_int_equal(weft_store_model_size(f->store, digest, &(uint64_t){0}, NULL),
                     WEFT_E_NOTFOUND);
    uint32_t dropped = 9;
    assert_ok(weft_store_model_sweep(f->store, &dropped, &assert_err));
    assert_int_equal(dropped, 0); /* freeing the writer has dropped its parts */
    free(data);
}

static void test_model_put__the_same_bytes_twice_are_one_model(void **state)
{
    fixture *f = *state;
    uint8_t digest[WEFT_DIGEST_BYTES];
    uint8_t *data = make_bytes(MIB + 1, 2, digest);
    assert_ok(weft_store_model_put(f->store, digest, data, MIB + 1, "first", NULL, &assert_err));
    assert_ok(weft_store_model_put(f->store, digest, data, MIB + 1, "second", NULL, &assert_err));
    weft_model_writer *w = NULL;
    uint8_t got[WEFT_DIGEST_BYTES];
    assert_ok(weft_model_writer_new(&w, f->store, MIB + 1, &assert_err));
    assert_ok(weft_model_writer_add(w, data, MIB + 1, &assert_err));
    assert_ok(weft_model_writer_commit(w, NULL, "third", NULL, got, &assert_err));
    weft_model_writer_free(w);
    weft_buf spec;
    weft_buf_init(&spec, &weft_alloc_std, 64);
    assert_ok(weft_store_model_texts(f->store, digest, &spec, NULL, &assert_err));
    assert_string_equal(weft_buf_text(&spec), "first");
    weft_buf_done(&spec);
    uint32_t dropped = 0;
    assert_ok(weft_store_model_sweep(f->store, &dropped, &assert_err));
    assert_int_equal(dropped, 1); /* one, and no version names it */
    assert_int_equal(weft_store_model_size(f->store, digest, &(uint64_t){0}, NULL),
                     WEFT_E_NOTFOUND);
    free(data);
}

static void test_model_sweep__keeps_what_versions_name(void **state)
{
    fixture *f = *state;
    uint8_t kept[WEFT_DIGEST_BYTES];
    uint8_t orphan[WEFT_DIGEST_BYTES];
    uint8_t *a = make_bytes(2 * MIB, 3, kept);
    uint8_t *b = make_bytes(2 * MIB, 4, orphan);
    assert_ok(weft_store_model_put(f->store, orphan, b, 2 * MIB, NULL, NULL, &assert_err));
    assert_ok(weft_store_model_put(f->store, kept, a, 2 * MIB, NULL, NULL, &assert_err));
    weft_version_row version;
    memset(&version, 0, sizeof version);
    memcpy(version.digest, kept, sizeof kept);
    version.bytes = 2 * MIB;
    assert_ok(weft_store_begin(f->store, 1, &assert_err));
    assert_ok(weft_store_put_version(f->store, &version, &assert_err));
    assert_ok(weft_store_commit(f->store, 1, &assert_err));
    uint32_t dropped = 0;
    assert_ok(weft_store_model_sweep(f->store, &dropped, &assert_err));
    assert_int_equal(dropped, 1);
    uint64_t bytes = 0;
    assert_int_equal(weft_store_model_size(f->store, orphan, &bytes, NULL), WEFT_E_NOTFOUND);
    assert_ok(weft_store_model_read_all(f->store, kept, b, 2 * MIB, &assert_err));
    assert_memory_equal(a, b, 2 * MIB);
    free(a);
    free(b);
}

static void test_model_read_all__damage_is_found(void **state)
{
    fixture *f = *state;
    uint8_t digest[WEFT_DIGEST_BYTES];
    uint8_t *data = make_bytes(100, 2, digest);
    digest[31] ^= 1; /* as if the bytes had changed */
    assert_ok(weft_store_model_put(f->store, digest, data, 100, NULL, NULL, &assert_err));
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_store_model_read_all(f->store, digest, data, 100, &err), WEFT_E_FORMAT);
    assert_non_null(strstr(err.msg, "are damaged: restore models.db from a backup"));
    free(data);
}

static weft_status write_model(const weft_alloc *a, void *arg)
{
    /* the store's allocator is fixed at open: a store of its own each time */
    const weft_store_options options = WEFT_STORE_OPTIONS_INIT;
    weft_store *store = NULL;
    WEFT_TRY(weft_store_open(&store, arg, &options, a, NULL));
    static uint8_t data[4096];
    uint8_t digest[WEFT_DIGEST_BYTES];
    weft_model_writer *w = NULL;
    weft_status status = weft_model_writer_new(&w, store, sizeof data, NULL);
    if (status == WEFT_OK) {
        status = weft_model_writer_add(w, data, sizeof data, NULL);
    }
    if (status == WEFT_OK) {
        status = weft_model_writer_commit(w, NULL, NULL, NULL, digest, NULL);
    }
    weft_model_writer_free(w);
    if (status == WEFT_OK) {
        status = weft_store_model_read_all(store, digest, data, sizeof data, NULL);
    }
    weft_store_close(store);
    return status;
}

static void test_model_writer__every_allocation_may_fail(void **state)
{
    (void)state;
    char *dir = test_dir_new();
    test_every_allocation_may_fail(write_model, dir);
    test_dir_done(dir);
}

/* ---- threads --------------------------------------------------------------------------------- */

typedef struct worker {
    weft_store *store;
    uint32_t seed;
    int failed;
} worker;

static void *put_and_read(void *arg)
{
    worker *w = arg;
    const size_t n = MIB + 4096;
    for (uint32_t i = 0; i < 4 && !w->failed; i++) {
        uint8_t digest[WEFT_DIGEST_BYTES];
        uint8_t *data = make_bytes(n, w->seed + i / 2, digest); /* every other one is known */
        uint8_t *back = calloc(1, n);
        w->failed |= !back ||
                     weft_store_model_put(w->store, digest, data, n, NULL, NULL, NULL) != WEFT_OK ||
                     weft_store_model_read_all(w->store, digest, back, n, NULL) != WEFT_OK ||
                     memcmp(back, data, n) != 0;
        free(back);
        free(data);
    }
    return NULL;
}

static void test_models__writers_and_readers_at_once(void **state)
{
    fixture *f = *state;
    pthread_t threads[4];
    worker workers[4];
    for (uint32_t i = 0; i < 4; i++) {
        workers[i] = (worker){f->store, i / 2 * 100, 0}; /* pairs write the same models */
        assert_int_equal(pthread_create(&threads[i], NULL, put_and_read, &workers[i]), 0);
    }
    /* the writer of rows goes on meanwhile */
    for (uint64_t i = 1; i <= 50; i++) {
        assert_ok(weft_store_begin(f->store, 1, &assert_err));
        assert_ok(weft_store_commit(f->store, i, &assert_err));
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_false(workers[i].failed);
    }
    uint32_t dropped = 0;
    assert_ok(weft_store_model_sweep(f->store, &dropped, &assert_err));
    assert_int_equal(dropped, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_model_put__round_trips_at_the_chunk_borders, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_model_put__zeros_take_no_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_model_read__ranges_across_chunks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_model_writer__computes_the_digest_from_odd_pieces,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_model_writer__another_digest_keeps_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_model_put__the_same_bytes_twice_are_one_model, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_model_sweep__keeps_what_versions_name, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_model_read_all__damage_is_found, set_up, tear_down),
        cmocka_unit_test(test_model_writer__every_allocation_may_fail),
        cmocka_unit_test_setup_teardown(test_models__writers_and_readers_at_once, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
