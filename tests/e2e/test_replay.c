/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft round replay on what a real federation left: the last rounds of a job that keeps its updates
 * give their versions again, a flipped byte is named. argv: weft, weftd, weft-client.
 */
#include "fed.h"

#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { N = 3, ROUNDS = 4, KEEP = 2 };

static fed f;

static int set_up(void **state)
{
    (void)state;
    fed_new(&f, NULL);
    for (size_t i = 0; i < N; i++) {
        char name[24];
        char data[40];
        (void)snprintf(name, sizeof name, "c%zu", i);
        (void)snprintf(data, sizeof data, "digits=digits:%zu:200", i + 1); /* fits */
        fed_enrol(&f, name);
        (void)fed_start_client(&f, name, (const char *const[]){"--data", data, FED_PLAIN, NULL});
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fed_done(&f);
    return 0;
}

static void run_job(const char *name, const char *aggregation)
{
    char text[512];
    const int n = snprintf(text, sizeof text,
                           "train: {learning_rate: 0.1, batch_size: 16, epochs: 1}\n"
                           "round: {target: %d, minimum: %d, over_selection: 1}\n"
                           "aggregation: {secure: false%s}\n"
                           "evaluation: {clients: 1}\n"
                           "stop: {rounds: %d}\n",
                           N, N, aggregation, ROUNDS);
    assert_in_range(n, 1, sizeof text - 1);
    fed_submit(&f, name, 0, text);
    fed_wait_job(&f, name, "done");
}

static const char *config(void)
{
    return fed_path(&f, "weftd/weftd.yaml");
}

static void check_replay_of(const char *file, const char *job, const char *round, int status,
                            const char *words)
{
    const fed_proc *p = FED_WEFT(&f, status, "round", "replay", job, round, "--config", file);
    assert_non_null(p->text[0].data);
    if (!strstr(p->text[0].data, words)) {
        fail_msg("no '%s' in: %s", words, p->text[0].data);
    }
}

static void check_replay(const char *job, const char *round, int status, const char *words)
{
    check_replay_of(config(), job, round, status, words);
}

/* The kept uploads, by name; the caller's to globfree. */
static void list_spool(glob_t *ret, size_t n)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    assert_int_equal(glob(fed_path(&f, "weftd/data/spool/*.upd"), 0, NULL, ret), 0);
    assert_int_equal(ret->gl_pathc, n);
}

static void flip_a_byte(const char *path)
{
    FILE *file = fopen(path, "r+be");
    assert_non_null(file);
    assert_int_equal(fseek(file, 1001, SEEK_SET), 0);
    const int byte = fgetc(file);
    assert_int_equal(fseek(file, 1001, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 4, file), byte ^ 4);
    assert_int_equal(fclose(file), 0);
}

static void stop_weftd(void)
{
    fed_kill(&f, f.weftd, SIGTERM);
    assert_int_equal(fed_wait_end(&f, f.weftd), 0);
}

static void test_replay__the_last_rounds_give_their_versions_again(void **state)
{
    (void)state;
    run_job("kept", ", keep_updates: 2");
    check_replay("kept", "4", 0, "equal: 3 updates");
    check_replay("kept", "3", 0, "equal: 3 updates");
    check_replay("kept", "2", 4, "the job keeps those of its last 2 rounds");
    json_t *shown = FED_JSON(&f, "round", "replay", "kept", "4", "--config", config());
    json_t *round = FED_JSON(&f, "round", "show", "kept", "4");
    assert_string_equal(fed_string(shown, "verdict"), "equal");
    assert_string_equal(fed_string(shown, "version"), fed_string(round, "version"));
    json_decref(round);
    json_decref(shown);

    stop_weftd();
    check_replay("kept", "4", 0, "equal: 3 updates");
    FED_WEFT(&f, 0, "doctor", "--config", config()); /* what is kept is not left over */
    const char *copy = fed_path(&f, "copy");         /* rows and models, no spool */
    FED_WEFT(&f, 0, "backup", copy, "--config", config());
    check_replay_of(fed_path(&f, "copy/weftd.yaml"), "kept", "4", 4,
                    "3 of 3 updates are not there");
    fed_start_weftd(&f); /* and its sweep spares it */
    glob_t kept;
    list_spool(&kept, (size_t)N * KEEP);
    check_replay("kept", "3", 0, "equal: 3 updates");
    flip_a_byte(kept.gl_pathv[0]);
    const char *name = strstr(kept.gl_pathv[0], "spool/");
    check_replay("kept", "3", 1, name);
    check_replay("kept", "4", 0, "equal: 3 updates");
    globfree(&kept);
}

static void test_replay__what_was_not_kept_says_why(void **state)
{
    (void)state;
    run_job("plain", "");
    check_replay("plain", "4", 4, "aggregation.keep_updates is 0");
    FED_WEFT(&f, 1, "round", "replay", "plain", "9", "--config", config());
    FED_WEFT(&f, 1, "round", "replay", "nobody", "1", "--config", config());
    FED_WEFT(&f, 64, "round", "replay", "plain", "zero", "--config", config());
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        (void)fprintf(stderr, "usage: test_replay WEFT WEFTD WEFT-CLIENT\n");
        return 64;
    }
    fed_programs(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replay__the_last_rounds_give_their_versions_again,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replay__what_was_not_kept_says_why, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
