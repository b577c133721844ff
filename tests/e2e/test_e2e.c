/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole road with real processes: weftd, weft-client and weft over mutual TLS, on drawn digits.
 * argv: the programs weft, weftd, weft-client.
 */
#include "fed.h"

#include "base/clock.h"

#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static fed f;

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

static const char *write_job(const char *name, uint32_t epochs, const char *round, const char *rest)
{
    char text[1024];
    const int n = snprintf(text, sizeof text,
                           "train: {learning_rate: 0.1, batch_size: 16, epochs: %u}\n"
                           "round: {%s}\n"
                           "%s",
                           (unsigned)epochs, round, rest);
    assert_in_range(n, 1, sizeof text - 1);
    return fed_write_job(&f, name, 24, text);
}

static void submit(const char *name, uint32_t epochs, const char *round, const char *rest)
{
    FED_WEFT(&f, 0, "job", "submit", write_job(name, epochs, round, rest));
}

/* What a job of few clients says, and one of which single updates are looked at; and its clients.
 */
#define PLAIN_JOB "aggregation: {secure: false}\n"

static fed_proc *start_plain(const char *name, const char *data)
{
    return fed_start_client(&f, name, (const char *const[]){"--data", data, FED_PLAIN, NULL});
}

/* The rounds of a job, newest attempt each; the caller's. */
static json_t *rounds_of(const char *job, size_t n)
{
    json_t *list = FED_JSON(&f, "round", "list", job);
    assert_int_equal(json_array_size(list), n);
    return list;
}

/* Every client's part of a round was accepted, once. */
static void check_accepted_once(const char *job, const char *round, size_t n)
{
    json_t *shown = FED_JSON(&f, "round", "show", job, round);
    const json_t *list = json_object_get(shown, "assignments");
    size_t accepted = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *a = json_array_get(list, i);
        if (strcmp(fed_string(a, "task"), "train") != 0) {
            continue;
        }
        accepted += strcmp(fed_string(a, "state"), "accepted") == 0;
        for (size_t k = 0; k < i; k++) {
            const json_t *other = json_array_get(list, k);
            assert_false(strcmp(fed_string(other, "task"), "train") == 0 &&
                         strcmp(fed_string(other, "client"), fed_string(a, "client")) == 0);
        }
    }
    assert_int_equal(accepted, n);
    json_decref(shown);
}

/* ---- a federation, from the first invitation to the exported model --------------------------- */

static void check_versions(const json_t *rounds)
{
    for (size_t i = 0; i < json_array_size(rounds); i++) {
        const json_t *round = json_array_get(rounds, i);
        assert_string_equal(fed_string(round, "state"), "done");
        assert_int_equal(fed_int(round, "round"), i + 1);
        assert_int_equal(fed_int(round, "attempt"), 1);
        assert_int_equal(fed_int(round, "accepted"), 4);
        assert_true(fed_metric(round, "eval_metrics", "accuracy") > 0.1);
        if (i > 0) { /* each starts from what the one before it published */
            assert_string_equal(fed_string(round, "base_version"),
                                fed_string(json_array_get(rounds, i - 1), "version"));
        }
        assert_string_not_equal(fed_string(round, "base_version"), fed_string(round, "version"));
    }
}

static void check_export(void)
{
    const char *file = fed_path(&f, "model.safetensors");
    FED_WEFT(&f, 0, "model", "release", "digits");
    FED_WEFT(&f, 0, "model", "export", "digits", "--output", file);
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_true(st.st_size > 4 * (784 * 24 + 24 + 24 * 10 + 10));
    const fed_proc *p =
        FED_WEFT(&f, 0, "model", "predict", file, "--data", "digits:99:400", "--limit", "3");
    const char *at = strstr(p->text[1].data ? p->text[1].data : "", "accuracy ");
    double accuracy = 0;
    assert_non_null(at);
    assert_int_equal(sscanf(at, "accuracy %lf", &accuracy), 1);
    assert_true(accuracy > 25.0); /* ten classes, three rounds */
}

static void test_federation__four_clients_train_three_rounds(void **state)
{
    (void)state;
    const char *const names[] = {"north", "east", "south", "west"};
    fed_proc *clients[4];
    submit("digits", 2, "target: 4, minimum: 4, over_selection: 1",
           "evaluation: {clients: 3}\nstop: {rounds: 3}\n");
    for (size_t i = 0; i < 4; i++) {
        char data[40];
        fed_enrol(&f, names[i]);
        (void)snprintf(data, sizeof data, "digits=digits:%zu:300", i + 1); /* fits */
        clients[i] = fed_start_client(&f, names[i], (const char *const[]){"--data", data, NULL});
    }
    fed_wait_job(&f, "digits", "done");
    json_t *rounds = rounds_of("digits", 3);
    check_versions(rounds);
    json_decref(rounds);
    json_t *job = FED_JSON(&f, "job", "show", "digits");
    assert_int_equal(fed_int(job, "rounds_done"), 3);
    assert_true(json_is_true(json_object_get(job, "secure_aggregation"))); /* nobody asked */
    json_decref(job);
    json_t *models = FED_JSON(&f, "model", "list", "digits");
    assert_int_equal(json_array_size(models), 4); /* with the initial weights */
    json_decref(models);
    json_t *list = FED_JSON(&f, "client", "list");
    assert_int_equal(json_array_size(list), 4);
    for (size_t i = 0; i < 4; i++) {
        const json_t *client = json_array_get(list, i);
        assert_string_equal(fed_string(client, "status"), "enrolled");
        assert_int_equal(fed_int(client, "updates_accepted"), 3);
    }
    json_decref(list);
    check_export();
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(fed_count(clients[i], "event=trained job=digits"),
                         fed_count(clients[i], "event=assigned job=digits"));
        fed_kill(&f, clients[i], SIGTERM);
        assert_int_equal(fed_wait_end(&f, clients[i]), 0);
    }
    fed_kill(&f, f.weftd, SIGTERM);
    assert_int_equal(fed_wait_end(&f, f.weftd), 0);
    fed_check_store(&f);
}

/* SLOW_EPOCHS over SLOW_DATA take seconds: time enough to freeze somebody in the middle. */
#define SLOW_EPOCHS 40
#define SLOW_DATA   "digits=digits:4:20000"

/* ---- kill -9 --------------------------------------------------------------------------------- */

/* Three of four updates are in and the fourth client is frozen in its training: the round is open
 * for as long as we like. */
static void test_kill_9__of_the_coordinator_the_same_round_goes_on(void **state)
{
    (void)state;
    const char *const names[] = {"north", "east", "south", "slow"};
    fed_proc *clients[4];
    submit("digits", SLOW_EPOCHS, "target: 4, minimum: 4, over_selection: 1",
           PLAIN_JOB "stop: {rounds: 2}\n");
    for (size_t i = 0; i < 4; i++) {
        char data[40];
        fed_enrol(&f, names[i]);
        (void)snprintf(data, sizeof data, "digits=digits:%zu:200", i + 1); /* fits */
        clients[i] = start_plain(names[i], i == 3 ? SLOW_DATA : data);
    }
    fed_wait(&f, clients[3], "event=assigned job=digits round=1");
    fed_kill(&f, clients[3], SIGSTOP);
    for (size_t i = 0; i < 3; i++) {
        fed_wait(&f, clients[i], "event=uploaded job=digits round=1");
    }
    json_t *before = FED_JSON(&f, "job", "show", "digits");
    assert_int_equal(fed_int(before, "accepted"), 3);
    assert_int_equal(fed_int(before, "round"), 1);

    fed_kill(&f, f.weftd, SIGKILL);
    assert_int_equal(fed_wait_end(&f, f.weftd), 128 + SIGKILL);
    fed_check_store(&f);
    fed_start_weftd(&f);
    json_t *after = FED_JSON(&f, "job", "show", "digits");
    assert_int_equal(fed_int(after, "accepted"), 3); /* nothing acknowledged is lost */
    assert_int_equal(fed_int(after, "round"), 1);
    assert_string_equal(fed_string(after, "current_version"),
                        fed_string(before, "current_version"));
    json_decref(before);
    json_decref(after);

    fed_kill(&f, clients[3], SIGCONT);
    fed_wait_job(&f, "digits", "done");
    json_t *rounds = rounds_of("digits", 2);
    const json_t *first = json_array_get(rounds, 0);
    assert_int_equal(fed_int(first, "attempt"), 1); /* the same attempt, not another */
    assert_int_equal(fed_int(first, "accepted"), 4);
    json_decref(rounds);
    check_accepted_once("digits", "1", 4);
    for (size_t i = 0; i < 4; i++) { /* nobody was asked twice */
        assert_int_equal(fed_count(clients[i], "event=trained job=digits round=1"), 1);
    }
    fed_kill(&f, f.weftd, SIGTERM);
    assert_int_equal(fed_wait_end(&f, f.weftd), 0);
    fed_check_store(&f);
}

/* Until the client trains, which needs nobody else: then it has a thread that renews the lease. */
static void wait_for_training(const fed_proc *client)
{
    for (int i = 0; i < FED_WAIT_S * 50; i++) {
        glob_t found;
        char pattern[64];
        (void)snprintf(pattern, sizeof pattern, "/proc/%ld/task/*/comm", (long)client->pid);
        bool trains = false;
        if (glob(pattern, 0, NULL, &found) == 0) {
            for (size_t k = 0; k < found.gl_pathc; k++) {
                char name[32] = "";
                FILE *file = fopen(found.gl_pathv[k], "re");
                trains = trains || (file && fgets(name, sizeof name, file) &&
                                    strcmp(name, "weft-lease\n") == 0);
                if (file) {
                    (void)fclose(file); /* only read */
                }
            }
            globfree(&found);
        }
        if (trains) {
            return;
        }
        fed_pump(&f, 20);
    }
    fail_msg("the client does not train");
}

/* The coordinator is frozen while the client trains, so that it dies with its update unsent. */
static void test_kill_9__of_a_client_uploads_without_training_again(void **state)
{
    (void)state;
    submit("digits", SLOW_EPOCHS, "target: 1, minimum: 1, over_selection: 1",
           PLAIN_JOB "stop: {rounds: 1}\n");
    fed_enrol(&f, "north");
    fed_proc *client = start_plain("north", SLOW_DATA);
    fed_wait(&f, client, "event=assigned job=digits round=1");
    wait_for_training(client);
    fed_kill(&f, f.weftd, SIGSTOP);
    fed_wait(&f, client, "event=trained job=digits round=1");
    assert_int_equal(fed_count(client, "event=uploaded"), 0);
    fed_kill(&f, client, SIGKILL);
    assert_int_equal(fed_wait_end(&f, client), 128 + SIGKILL);
    fed_kill(&f, f.weftd, SIGCONT);

    client = start_plain("north", SLOW_DATA);
    fed_wait(&f, client, "event=uploaded job=digits round=1");
    assert_int_equal(fed_count(client, "event=trained"), 0);
    fed_wait_job(&f, "digits", "done");
    check_accepted_once("digits", "1", 1);
}

/* ---- revocation ------------------------------------------------------------------------------ */

/* Until the coordinator holds its check-in (the client itself says nothing before an answer). */
static void wait_connected(const char *name)
{
    for (int i = 0; i < FED_WAIT_S * 10; i++) {
        json_t *client = FED_JSON(&f, "client", "show", name);
        const bool connected = json_is_true(json_object_get(client, "connected"));
        json_decref(client);
        if (connected) {
            return;
        }
        fed_pump(&f, 50);
    }
    fail_msg("%s did not connect", name);
}

static void test_revoke__cuts_a_held_check_in(void **state)
{
    (void)state;
    fed_done(&f);
    fed_new(&f, "hold: 10m\n"); /* longer than any wait here: only a cut can end it */
    submit("digits", 1, "target: 4, minimum: 4", "");
    fed_enrol(&f, "north");
    fed_enrol(&f, "east");
    fed_proc *north = start_plain("north", "digits=digits:1:100");
    fed_proc *east = start_plain("east", "digits=digits:2:100");
    wait_connected("north");
    wait_connected("east");
    FED_WEFT(&f, 0, "client", "revoke", "north", "--reason", "left the study");
    assert_int_equal(fed_wait_end(&f, north), 2);
    fed_pump(&f, 0);
    assert_false(east->ended); /* others notice nothing */
    /* and it does not come back, neither by connecting nor by enrolling once more */
    north = start_plain("north", "digits=digits:1:100");
    assert_int_equal(fed_wait_end(&f, north), 2);
    json_t *client = FED_JSON(&f, "client", "show", "north");
    assert_string_equal(fed_string(client, "status"), "revoked");
    json_decref(client);
}

/* ---- several jobs, control ------------------------------------------------------------------- */

static void test_jobs__two_at_once_take_turns(void **state)
{
    (void)state;
    const char *const names[] = {"north", "east"};
    submit("first", 2, "target: 2, minimum: 2, over_selection: 1", PLAIN_JOB "stop: {rounds: 3}\n");
    submit("second", 2, "target: 2, minimum: 2, over_selection: 1",
           PLAIN_JOB "stop: {rounds: 3}\n");
    for (size_t i = 0; i < 2; i++) {
        char data[40];
        fed_enrol(&f, names[i]);
        (void)snprintf(data, sizeof data, "digits=digits:%zu:200", i + 1); /* fits */
        (void)start_plain(names[i], data); /* ends with the federation */
    }
    fed_proc *watch = fed_watch(&f, "second");
    fed_wait_job(&f, "first", "done");
    assert_int_equal(fed_wait_end(&f, watch), 0);
    json_t *first = rounds_of("first", 3);
    json_t *second = rounds_of("second", 3);
    /* fairly: neither waited until the other had ended */
    assert_true(fed_int(json_array_get(second, 0), "opened_unix_ms") <
                fed_int(json_array_get(first, 2), "opened_unix_ms"));
    assert_true(fed_int(json_array_get(first, 0), "opened_unix_ms") <
                fed_int(json_array_get(second, 2), "opened_unix_ms"));
    json_decref(first);
    json_decref(second);
}

static void test_jobs__pause_resume_cancel(void **state)
{
    (void)state;
    submit("digits", 2, "target: 1, minimum: 1, over_selection: 1",
           PLAIN_JOB "stop: {rounds: 1000000}\n");
    fed_enrol(&f, "north");
    fed_proc *client = start_plain("north", "digits=digits:1:200");
    fed_wait(&f, client, "event=uploaded job=digits round=2");
    FED_WEFT(&f, 0, "job", "pause", "digits", "--reason", "maintenance");
    fed_proc *watch = fed_watch(&f, "digits");
    fed_wait(&f, watch, "\"status\":\"paused\"");
    json_t *job = FED_JSON(&f, "job", "show", "digits");
    assert_string_equal(fed_string(job, "status"), "paused");
    assert_non_null(strstr(fed_string(job, "reason"), "maintenance"));
    char next[80];
    (void)snprintf(next, sizeof next, "event=uploaded job=digits round=%d",
                   (int)fed_int(job, "rounds_done") + 2); /* fits */
    json_decref(job);
    FED_WEFT(&f, 0, "job", "resume", "digits");
    fed_wait(&f, client, next); /* rounds go on */
    FED_WEFT(&f, 0, "job", "cancel", "digits", "--reason", "seen enough");
    assert_int_equal(fed_wait_end(&f, watch), 1);
    job = FED_JSON(&f, "job", "show", "digits");
    assert_string_equal(fed_string(job, "status"), "canceled");
    json_decref(job);
    FED_WEFT(&f, 1, "job", "resume", "digits"); /* ended is ended */
    /* and its name is taken, for another definition */
    FED_WEFT(&f, 1, "job", "submit", write_job("digits", 3, "target: 1, minimum: 1", PLAIN_JOB));
}

/* ---- enrolment ------------------------------------------------------------------------------- */

static void test_enrol__one_token_lets_one_machine_in(void **state)
{
    (void)state;
    fed_enrol(&f, "north");
    const char *join = fed_path(&f, "north.join");
    const char *const again[] = {fed_client_program(),         "enrol", "--state",
                                 fed_path(&f, "client-north"), join,    NULL};
    const char *const other[] = {fed_client_program(),         "enrol", "--state",
                                 fed_path(&f, "client-thief"), join,    NULL};
    fed_proc *p = fed_spawn(&f, "again", again, true);
    assert_int_equal(fed_wait_end(&f, p), 0); /* the same machine: harmless */
    p = fed_spawn(&f, "thief", other, true);
    assert_int_equal(fed_wait_end(&f, p), 2);
    json_t *list = FED_JSON(&f, "client", "list");
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        (void)fprintf(stderr, "usage: test_e2e WEFT WEFTD WEFT-CLIENT\n");
        return 64;
    }
    fed_programs(argv);
#define E2E_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        E2E_TEST(test_federation__four_clients_train_three_rounds),
        E2E_TEST(test_kill_9__of_the_coordinator_the_same_round_goes_on),
        E2E_TEST(test_kill_9__of_a_client_uploads_without_training_again),
        E2E_TEST(test_revoke__cuts_a_held_check_in),
        E2E_TEST(test_jobs__two_at_once_take_turns),
        E2E_TEST(test_jobs__pause_resume_cancel),
        E2E_TEST(test_enrol__one_token_lets_one_machine_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
