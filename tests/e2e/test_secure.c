/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secure aggregation with real processes: rounds end, also across kill -9 of the coordinator in
 * every phase, and without a client that dies in the middle. argv: weft, weftd, weft-client.
 */
#include "fed.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { N = 6 };

static fed f;
static fed_proc *clients[N];

static int set_up(void **state)
{
    (void)state;
    fed_new(&f, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fed_done(&f);
    return 0;
}

static void submit(uint32_t epochs, const char *phase_deadline, const char *rest)
{
    char text[1024];
    const int n =
        snprintf(text, sizeof text,
                 "train: {learning_rate: 0.1, batch_size: 16, epochs: %u,\n"
                 "  schedule: cosine, schedule_rounds: 9, schedule_factor: 0.5,\n"
                 "  warmup_rounds: 0.5, clip_gradient: 3, early_stop: 9000,\n"
                 "  augment_shift: 1, augment_crop: 1}\n"
                 "round: {target: 6, minimum: 3, over_selection: 1, selection_window: 1m}\n"
                 "aggregation: {clip_norm: 10, max_examples: 20000}\n"
                 "secure: {phase_deadline: %s}\n"
                 "%s",
                 (unsigned)epochs, phase_deadline, rest);
    assert_in_range(n, 1, sizeof text - 1);
    fed_submit(&f, "digits", 0, text);
}

static void start_clients(const char *last_data)
{
    for (size_t i = 0; i < N; i++) {
        char name[16];
        char data[40];
        (void)snprintf(name, sizeof name, "c%zu", i); /* fits, as the next */
        (void)snprintf(data, sizeof data, "digits=digits:%zu:200", i + 1);
        fed_enrol(&f, name);
        const char *const options[] = {"--data", i == N - 1 && last_data ? last_data : data, NULL};
        clients[i] = fed_start_client(&f, name, options);
    }
}

/* Nobody left a session, for whatever reason: neither asked for both kinds of share, nor told two
 * stories, nor too late. */
static void check_nobody_left(size_t n)
{
    fed_pump(&f, 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(fed_count(clients[i], "event=refused"), 0);
        assert_int_equal(fed_count(clients[i], "event=declined"), 0);
        assert_int_equal(fed_count(clients[i], "event=abandoned"), 0);
        assert_int_equal(fed_count(clients[i], "secure aggregation:"), 0);
        assert_true(fed_count(clients[i], "unmasking answered") > 0);
    }
}

/* Each round in its first attempt; how many were in its sum. */
static void check_rounds(size_t n, const json_int_t *accepted)
{
    json_t *list = FED_JSON(&f, "round", "list", "digits");
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *round = json_array_get(list, i);
        assert_string_equal(fed_string(round, "state"), "done");
        assert_int_equal(fed_int(round, "attempt"), 1);
        assert_int_equal(fed_int(round, "accepted"), accepted[i]);
        assert_string_not_equal(fed_string(round, "base_version"), fed_string(round, "version"));
    }
    json_decref(list);
}

/* ---- nothing happens ------------------------------------------------------------------------- */

static void test_secure__rounds_end_and_the_model_learns(void **state)
{
    (void)state;
    submit(1, "1m", "evaluation: {clients: 6}\nstop: {rounds: 4}\n");
    start_clients(NULL);
    fed_wait_job(&f, "digits", "done");
    check_rounds(4, (const json_int_t[]){N, N, N, N});
    json_t *list = FED_JSON(&f, "round", "list", "digits");
    const double first = fed_metric(json_array_get(list, 0), "eval_metrics", "accuracy");
    const double last = fed_metric(json_array_get(list, 3), "eval_metrics", "accuracy");
    json_decref(list);
    assert_true(last > 0.25); /* ten classes */
    assert_true(last <= 1.0);
    assert_true(last > first);
    check_nobody_left(N);
}

/* ---- kill -9 of the coordinator -------------------------------------------------------------- */

/* The words that end each phase of a training session, in their order. */
static const char *const phase_ends[] = {"neighbours each", "clients did share", "clients did mask",
                                         "clients did confirm", "clients did unmask"};

/* Each time a phase has just ended it dies; what it has told by then must still hold. */
static void test_secure__kill_9_of_the_coordinator_in_every_phase(void **state)
{
    (void)state;
    submit(1, "1m", "stop: {rounds: 2}\n");
    start_clients(NULL);
    for (size_t i = 0; i < sizeof phase_ends / sizeof *phase_ends; i++) {
        fed_wait(&f, f.weftd, phase_ends[i]);
        fed_kill(&f, f.weftd, SIGKILL);
        assert_int_equal(fed_wait_end(&f, f.weftd), 128 + SIGKILL);
        fed_start_weftd(&f);
    }
    fed_wait_job(&f, "digits", "done");
    check_rounds(2, (const json_int_t[]){N, N});
    check_nobody_left(N);
    for (size_t i = 0; i < N; i++) { /* in one session only: what was trained once went in once */
        assert_int_equal(fed_count(clients[i], "event=trained job=digits round=1"), 1);
        assert_int_equal(fed_count(clients[i], "event=uploaded job=digits round=1"), 1);
    }
}

/* ---- kill -9 of a client --------------------------------------------------------------------- */

/* What the open session has on disk: with its first phase open, a row for each who advertised. */
static int count_secure_rows(void)
{
    const char *path = fed_path(&f, "weftd/data/weft.db");
    sqlite3 *db = NULL;
    sqlite3_stmt *query = NULL;
    int n = -1; /* the file is busy: later */
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT count(*) FROM secure", -1, &query, NULL) == SQLITE_OK &&
        sqlite3_step(query) == SQLITE_ROW) {
        n = sqlite3_column_int(query, 0);
    }
    (void)sqlite3_finalize(query); /* repeats the error of the step */
    (void)sqlite3_close(db);       /* only read */
    return n;
}

static void wait_advertised(int n)
{
    for (int i = 0; i < FED_WAIT_S * 50; i++) {
        if (count_secure_rows() == n) {
            return;
        }
        fed_pump(&f, 20);
    }
    fail_msg("%d clients did not advertise", n);
}

/* What the operator sees meanwhile: the phase, and who is waited for. */
static void check_shown(const char *phase, json_int_t answered, const char *waited_for)
{
    json_t *round = FED_JSON(&f, "round", "show", "digits", "1");
    const json_t *secure = json_object_get(round, "secure");
    assert_non_null(secure);
    assert_string_equal(fed_string(secure, "phase"), phase);
    assert_int_equal(fed_int(secure, "answered"), answered);
    assert_int_equal(fed_int(secure, "expected"), N);
    const json_t *list = json_object_get(round, "assignments");
    assert_int_equal(json_array_size(list), N);
    for (size_t i = 0; i < N; i++) {
        const json_t *a = json_array_get(list, i);
        const bool waited = strcmp(fed_string(a, "client"), waited_for) == 0;
        assert_int_equal(json_is_true(json_object_get(a, "answered")), !waited);
    }
    json_decref(round);
    const fed_proc *p = FED_WEFT(&f, 0, "round", "show", "digits", "1");
    assert_non_null(strstr(p->text[0].data, "phase advertise: 5 of 6 clients have answered"));
}

/* Takes a second or more: time enough to freeze the client in the middle. */
#define SLOW_EPOCHS 40
#define SLOW_DATA   "digits=digits:9:20000"

/* One client is frozen before it advertises, which holds the first phase open; another, that has
 * advertised, dies. The session begins with both in its roster, and goes on without the dead. */
static void test_secure__kill_9_of_a_client_the_round_goes_on(void **state)
{
    (void)state;
    submit(SLOW_EPOCHS, "3s", "stop: {rounds: 1}\n");
    start_clients(SLOW_DATA);
    fed_wait(&f, clients[N - 1], "event=assigned job=digits round=1");
    fed_kill(&f, clients[N - 1], SIGSTOP);
    wait_advertised(N - 1);
    check_shown("advertise", N - 1, "c5");
    fed_kill(&f, clients[0], SIGKILL);
    assert_int_equal(fed_wait_end(&f, clients[0]), 128 + SIGKILL);
    fed_kill(&f, clients[N - 1], SIGCONT);
    fed_wait(&f, f.weftd, "secure session of 6 clients");
    fed_wait(&f, f.weftd, "5 of 6 clients did share");
    fed_wait(&f, f.weftd, "5 of 5 clients did mask");
    fed_wait_job(&f, "digits", "done");
    check_rounds(1, (const json_int_t[]){N - 1});
    clients[0] = clients[N - 1]; /* the others */
    check_nobody_left(N - 1);
}

/* One dies as soon as it says that it has done a step; where exactly that leaves it does not
 * matter: what it sent counts, and what it did not is done without. */
static void test_secure__kill_9_of_a_client_in_the_later_phases(void **state)
{
    (void)state;
    const char *const steps[] = {"masking", "event=uploaded job=digits", "survivors confirmed"};
    const json_int_t least[] = {N - 1, N, N}; /* with its receipt it is in the sum */
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (i > 0) {
            fed_done(&f);
            fed_new(&f, NULL);
        }
        submit(1, "3s", "stop: {rounds: 1}\n");
        start_clients(NULL);
        fed_wait(&f, clients[0], steps[i]);
        fed_kill(&f, clients[0], SIGKILL);
        assert_int_equal(fed_wait_end(&f, clients[0]), 128 + SIGKILL);
        fed_wait_job(&f, "digits", "done");
        json_t *list = FED_JSON(&f, "round", "list", "digits");
        const json_t *round = json_array_get(list, 0);
        assert_int_equal(json_array_size(list), 1);
        assert_string_equal(fed_string(round, "state"), "done");
        assert_int_equal(fed_int(round, "attempt"), 1);
        assert_in_range(fed_int(round, "accepted"), least[i], N);
        json_decref(list);
        clients[0] = clients[N - 1]; /* the others */
        check_nobody_left(N - 1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        (void)fprintf(stderr, "usage: test_secure WEFT WEFTD WEFT-CLIENT\n");
        return 64;
    }
    fed_programs(argv);
#define SECURE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        SECURE_TEST(test_secure__rounds_end_and_the_model_learns),
        SECURE_TEST(test_secure__kill_9_of_the_coordinator_in_every_phase),
        SECURE_TEST(test_secure__kill_9_of_a_client_the_round_goes_on),
        SECURE_TEST(test_secure__kill_9_of_a_client_in_the_later_phases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
