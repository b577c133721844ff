/* SPDX-License-Identifier: Apache-2.0 */
/* weft model and weft job stats against a coordinator that says what it is told. argv[1] is the
 * program. */
#include "cli_fixture.h"

#include "base/file.h"
#include "config/job.h"
#include "data/stats.h"
#include "weights/weights.h"
#include "wire/chunk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- models ---------------------------------------------------------------------------------- */

static const float weights[3] = {1.5F, -2.0F, 0.25F};
static const char spec_text[] = "input 2\ndense units=1\nloss mse\n";

static void says_model(const uint8_t digest[32], const char *spec, uint64_t bytes)
{
    const weft_msg_model_info model = {.digest = {digest, 32},
                                       .job = "digits",
                                       .round = 3,
                                       .bytes = bytes,
                                       .created_unix_ms = 1700000000000,
                                       .release_name = "",
                                       .current = true,
                                       .model_spec = spec,
                                       .data_schema = ""};
    const weft_msg_list_models_reply reply = {&model, 1};
    admin_says(&coordinator, WEFT_METHOD_LIST_MODELS, WEFT_MSG_LIST_MODELS_REPLY, &reply);
}

static void says_current(const uint8_t digest[32])
{
    weft_job_def def;
    assert_int_equal(
        weft_job_yaml_parse(&def, "digits.yaml", job_text, strlen(job_text), &weft_alloc_std, NULL),
        WEFT_OK);
    weft_msg_job_info job = job_info("done", 3);
    job.current_version = (weft_view){digest, 32};
    const weft_msg_get_job_reply reply = {&job, &def, NULL, 0};
    admin_says(&coordinator, WEFT_METHOD_GET_JOB, WEFT_MSG_GET_JOB_REPLY, &reply);
    weft_job_def_done(&def, &weft_alloc_std);
}

/* The bytes in chunks of at most `step`. */
static void says_chunks(const void *data, size_t size, size_t step)
{
    for (size_t at = 0; at < size; at += step) {
        const size_t n = size - at < step ? size - at : step;
        const weft_chunk chunk = {.offset = at, .total_bytes = size, .data_bytes = (uint32_t)n};
        uint8_t head[WEFT_CHUNK_MAX_HEAD_BYTES];
        weft_buf b;
        weft_buf_init(&b, &weft_alloc_std, 1U << 20);
        assert_int_equal(weft_buf_add(&b, head, weft_chunk_write_head(head, &chunk, false), NULL),
                         WEFT_OK);
        assert_int_equal(weft_buf_add(&b, (const uint8_t *)data + at, n, NULL), WEFT_OK);
        admin_says_bytes(&coordinator, WEFT_METHOD_FETCH_VERSION, b.data, b.size);
        weft_buf_done(&b);
    }
}

static void check_exported(const char *path)
{
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    float *back = NULL;
    weft_weights_meta meta;
    weft_err err = WEFT_ERR_INIT;
    if (weft_weights_load(path, NULL, &spec, &layout, &back, &meta, &weft_alloc_std, &err) !=
        WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    assert_memory_equal(back, weights, sizeof weights);
    assert_string_equal(meta.job, "digits");
    assert_int_equal(meta.round, 3);
    weft_free(&weft_alloc_std, back);
    weft_layout_free(layout);
    weft_spec_free(spec);
}

static void test_model_export__both_formats_verified(void **state)
{
    (void)state;
    uint8_t digest[32];
    assert_int_equal(weft_sha256(digest, weights, sizeof weights, NULL), WEFT_OK);
    static const char *const names[] = {"m.safetensors", "m.npz"};
    for (size_t i = 0; i < 2; i++) {
        const char *path = in_root(names[i]);
        admin_forget(&coordinator);
        says_current(digest);
        says_model(digest, spec_text, sizeof weights);
        says_chunks(weights, sizeof weights, 5);
        const ended *e = RUN("model", "export", "digits", "-o", path);
        assert_done(e);
        assert_says(e->out, "3 parameters in 2 tensors");
        check_exported(path);
    }
    says_current(digest);
    says_model(digest, spec_text, sizeof weights);
    assert_fails(RUN("model", "export", "digits", "-o", in_root("m.npz")), 1, "or --force");
    says_current(digest);
    says_model(digest, spec_text, sizeof weights);
    assert_fails(RUN("model", "export", "digits", "-o", in_root("m.txt")), 64, "m.txt");
}

static void assert_no_export(const char *words)
{
    const char *path = in_root("bad.npz");
    assert_fails(RUN("model", "export", "digits", "-o", path), 1, words);
    assert_int_equal(access(path, F_OK), -1);
    admin_forget(&coordinator);
}

static void test_model_export__nothing_is_written_when_the_bytes_are_wrong(void **state)
{
    (void)state;
    uint8_t digest[32];
    assert_int_equal(weft_sha256(digest, weights, sizeof weights, NULL), WEFT_OK);
    const float other[3] = {1.5F, -2.0F, 0.5F};
    says_current(digest);
    says_model(digest, spec_text, sizeof weights);
    says_chunks(other, sizeof other, 12);
    assert_no_export("does not have the digest");
    says_current(digest);
    says_model(digest, spec_text, sizeof weights);
    says_chunks(weights, 8, 8); /* another total */
    assert_no_export("");
    says_current(digest);
    says_model(digest, spec_text, sizeof weights);
    assert_no_export("0 of 12 bytes came");
    says_current(digest);
    says_model(digest, "input 3\ndense units=1\nloss mse\n", sizeof weights);
    assert_no_export("the spec wants 16 bytes, the model has 12");
    admin_refuses(&coordinator, WEFT_METHOD_GET_JOB, WEFT_RT_NOT_FOUND, "no job digits");
    assert_no_export("weft: no job digits");
}

static void test_model_show__by_the_first_digits(void **state)
{
    (void)state;
    uint8_t digest[32];
    char hex[65];
    assert_int_equal(weft_sha256(digest, weights, sizeof weights, NULL), WEFT_OK);
    weft_hex_encode(hex, digest, 32);
    hex[8] = '\0';
    admin_refuses(&coordinator, WEFT_METHOD_GET_JOB, WEFT_RT_NOT_FOUND, "no such job");
    says_model(digest, spec_text, 12); /* the page of all */
    const weft_msg_list_models_reply none = {NULL, 0};
    admin_says(&coordinator, WEFT_METHOD_LIST_MODELS, WEFT_MSG_LIST_MODELS_REPLY, &none);
    says_model(digest, spec_text, 12); /* the one */
    const ended *e = RUN("model", "show", hex);
    assert_done(e);
    assert_says(e->out, hex);
    assert_says(e->out, "job digits, round 3: its current version");
    assert_says(e->out, spec_text);
    admin_forget(&coordinator);
    admin_refuses(&coordinator, WEFT_METHOD_GET_JOB, WEFT_RT_NOT_FOUND, "no such job");
    assert_fails(RUN("model", "show", "ffffff"), 1, "no model's digest begins with ffffff");
}

static void test_model_release_and_rollback(void **state)
{
    (void)state;
    uint8_t digest[32] = {0xab};
    const weft_msg_model_info tagged = {.digest = {digest, 32},
                                        .job = "digits",
                                        .round = 3,
                                        .bytes = 12,
                                        .released = true,
                                        .release_name = "digits-3",
                                        .model_spec = "",
                                        .data_schema = ""};
    says_current(digest);
    says_model(digest, spec_text, 12);
    admin_says(&coordinator, WEFT_METHOD_TAG_MODEL, WEFT_MSG_MODEL_INFO, &tagged);
    const ended *e = RUN("model", "release", "digits");
    assert_done(e);
    assert_string_equal(e->out, "ab0000000000 is released as digits-3\n");
    admin_forget(&coordinator);
    says_model(digest, spec_text, 12);
    admin_says(&coordinator, WEFT_METHOD_TAG_MODEL, WEFT_MSG_MODEL_INFO, &tagged);
    e = RUN("model", "rollback", "digits@3");
    assert_done(e);
    assert_string_equal(e->out, "job digits goes on from ab0000000000\n");
    const weft_view heard = admin_heard(&coordinator, WEFT_METHOD_TAG_MODEL);
    assert_non_null(memmem(heard.data, heard.size, "rollback", 8));
}

/* ImportPart{header}, then ImportPart{chunk}, one after the other as the coordinator got them. */
static void test_model_import__sends_header_and_bytes(void **state)
{
    (void)state;
    uint8_t digest[32];
    assert_int_equal(weft_sha256(digest, weights, sizeof weights, NULL), WEFT_OK);
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    const char *path = in_root("import.safetensors");
    assert_int_equal(weft_spec_parse(&spec, spec_text, strlen(spec_text), &weft_alloc_std, NULL),
                     WEFT_OK);
    assert_int_equal(weft_layout_new(&layout, spec, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(weft_weights_save(path, spec, layout, weights, NULL, &weft_alloc_std, NULL),
                     WEFT_OK);
    weft_layout_free(layout);
    weft_spec_free(spec);
    const weft_msg_model_info model = {.digest = {digest, 32},
                                       .job = "",
                                       .bytes = 12,
                                       .release_name = "",
                                       .model_spec = "",
                                       .data_schema = ""};
    admin_says(&coordinator, WEFT_METHOD_IMPORT_MODEL, WEFT_MSG_MODEL_INFO, &model);
    const ended *e = RUN("model", "import", path);
    assert_done(e);
    assert_says(e->out, "12 B stored; start from it: weft job submit --from ");

    const weft_view heard = admin_heard(&coordinator, WEFT_METHOD_IMPORT_MODEL);
    assert_int_equal(heard.data[0], 0x0A);
    const size_t n = heard.data[1]; /* below 128: one byte of length */
    weft_arena arena;
    weft_msg_import_header header;
    weft_wire_arena_init(&arena, WEFT_MSG_IMPORT_HEADER, &weft_alloc_std);
    assert_int_equal(weft_msg_import_header_decode(&header, heard.data + 2, n, &arena, NULL),
                     WEFT_OK);
    assert_int_equal(header.total_bytes, 12);
    assert_memory_equal(header.digest.data, digest, 32);
    assert_non_null(strstr(header.model_spec, "dense"));
    weft_arena_done(&arena);
    assert_memory_equal(heard.data + heard.size - 12, weights, 12);
    assert_int_equal(heard.data[2 + n], 0x12);
}

/* A dense layer of side inputs and outputs, saved. @return its weights, the caller's to free. */
static float *save_square(const char *path, unsigned side, size_t *ret_n)
{
    char text[128];
    weft_spec *spec = NULL;
    weft_layout *layout = NULL;
    (void)snprintf(text, sizeof text, "input %u\ndense units=%u\nloss mse\n", side, side);
    assert_int_equal(weft_spec_parse(&spec, text, strlen(text), &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(weft_layout_new(&layout, spec, &weft_alloc_std, NULL), WEFT_OK);
    float *values = malloc((size_t)layout->n_params * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < layout->n_params; i++) {
        values[i] = (float)(i % 1021);
    }
    assert_int_equal(weft_weights_save(path, spec, layout, values, NULL, &weft_alloc_std, NULL),
                     WEFT_OK);
    *ret_n = (size_t)layout->n_params * sizeof *values;
    weft_layout_free(layout);
    weft_spec_free(spec);
    return values;
}

static void says_imported(void)
{
    static const uint8_t digest[32] = {0xab};
    const weft_msg_model_info model = {.digest = {digest, 32}, .bytes = 12};
    admin_forget(&coordinator);
    admin_says(&coordinator, WEFT_METHOD_IMPORT_MODEL, WEFT_MSG_MODEL_INFO, &model);
}

/* 1.4 MB: above what the heap gets, in two chunks, and in another order than the file's. */
static void test_model_import__sends_what_lies_in_files(void **state)
{
    (void)state;
    size_t n = 0;
    uint8_t digest[32];
    const char *path = in_root("square.safetensors");
    float *values = save_square(path, 600, &n);
    assert_int_equal(weft_sha256(digest, values, n, NULL), WEFT_OK);
    says_imported();
    assert_done(RUN("model", "import", path));
    const weft_view heard = admin_heard(&coordinator, WEFT_METHOD_IMPORT_MODEL);
    const size_t second = n - WEFT_MAX_CHUNK_BYTES;
    assert_true(heard.size > n);
    assert_non_null(memmem(heard.data, 256, digest, sizeof digest)); /* in the header */
    assert_memory_equal(heard.data + heard.size - second,
                        (const uint8_t *)values + WEFT_MAX_CHUNK_BYTES, second);
    free(values);
}

static void test_model_import__says_where_there_is_no_room(void **state)
{
    (void)state;
    size_t n = 0;
    const char *path = in_root("square.safetensors");
    free(save_square(path, 600, &n));
    assert_fails(run_program(root, (const char *const[]){"/usr/bin/env", "TMPDIR=/nowhere", weft,
                                                         "--operator", operator_dir, "--address",
                                                         coordinator.address, "model", "import",
                                                         path, NULL}),
                 1, "temporary file in /nowhere/: No such file or directory");
}

/* ---- statistics ------------------------------------------------------------------------------ */

static const char stats_job[] = "name: heart\n"
                                "dataset: heart\n"
                                "model: |\n"
                                "  input 2\n"
                                "  dense units=2\n"
                                "  loss softmax_cross_entropy\n"
                                "data: |\n"
                                "  csv\n"
                                "  column age numeric\n"
                                "  column chol numeric\n"
                                "  target num classes=2\n"
                                "round: {target: 2, minimum: 2}\n"
                                "aggregation: {secure: false}\n"
                                "stop: {rounds: 5}\n";
static const char stats_schema[] =
    "csv\ncolumn age numeric\ncolumn chol numeric\ntarget num classes=2\n";
static const char stats_csv[] = "age,chol,num\n40,200,0\n60,260,1\n50,230,1\n";

/* One federated round's worth of coordinator: submitted, watched to its end, fetched. */
static void says_stats_round(const float *vector, uint32_t n, const uint8_t digest[32])
{
    weft_msg_job_info over = job_info("done", 1);
    over.name = "heart-stats";
    const weft_msg_submit_job_reply submitted = {&over, n, n * sizeof(float)};
    admin_says(&coordinator, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REPLY, &submitted);
    says_event("snapshot", &over, NULL);
    says_current(digest);
    char spec[64];
    (void)snprintf(spec, sizeof spec, "tensor stats %u\n", n); /* fits */
    says_model(digest, spec, n * sizeof(float));
    says_chunks(vector, n * sizeof(float), 64);
}

static void test_job_stats__fills_the_schema_in(void **state)
{
    (void)state;
    weft_schema *schema = NULL;
    float vector[256];
    uint64_t n_examples = 0;
    uint8_t digest[32];
    const char *file = in_root("heart.yaml");
    const char *csv = in_root("heart.csv");
    assert_int_equal(
        weft_schema_parse(&schema, stats_schema, strlen(stats_schema), &weft_alloc_std, NULL),
        WEFT_OK);
    const uint32_t n = weft_stats_length(schema);
    assert_true(n > 0 && n <= 256);
    assert_int_equal(weft_file_write(csv, stats_csv, sizeof stats_csv - 1, 0600, NULL), WEFT_OK);
    assert_int_equal(weft_stats_load(vector, &n_examples, schema, csv, &weft_alloc_std, NULL),
                     WEFT_OK);
    weft_schema_free(schema);
    assert_int_equal(weft_sha256(digest, vector, n * sizeof(float), NULL), WEFT_OK);
    assert_int_equal(weft_file_write(file, stats_job, sizeof stats_job - 1, 0600, NULL), WEFT_OK);
    says_stats_round(vector, n, digest);
    const ended *e = RUN("job", "stats", file, "--name", "heart-stats");
    assert_done(e);
    weft_job_def def;
    weft_err err = WEFT_ERR_INIT;
    if (weft_job_yaml_parse(&def, "printed", e->out, strlen(e->out), &weft_alloc_std, &err) !=
        WEFT_OK) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(def.name, "heart");
    assert_int_equal(def.rounds, 5);
    assert_int_equal(
        weft_schema_parse(&schema, def.data_schema, strlen(def.data_schema), &weft_alloc_std, NULL),
        WEFT_OK);
    /* the population's mean and deviation of the three rows */
    assert_true(schema->columns[0].mean > 49.999 && schema->columns[0].mean < 50.001);
    assert_true(schema->columns[0].std > 8.16 && schema->columns[0].std < 8.17);
    assert_true(schema->columns[1].mean > 229.99 && schema->columns[1].mean < 230.01);
    assert_true(schema->columns[1].std > 24.49 && schema->columns[1].std < 24.50);
    weft_schema_free(schema);
    weft_job_def_done(&def, &weft_alloc_std);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    weft = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_model_export__both_formats_verified, forget),
        cmocka_unit_test_teardown(test_model_export__nothing_is_written_when_the_bytes_are_wrong,
                                  forget),
        cmocka_unit_test_teardown(test_model_show__by_the_first_digits, forget),
        cmocka_unit_test_teardown(test_model_release_and_rollback, forget),
        cmocka_unit_test_teardown(test_model_import__sends_header_and_bytes, forget),
        cmocka_unit_test_teardown(test_model_import__sends_what_lies_in_files, forget),
        cmocka_unit_test_teardown(test_model_import__says_where_there_is_no_room, forget),
        cmocka_unit_test_teardown(test_job_stats__fills_the_schema_in, forget),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
