/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger over real processes: clients find their updates in it and hold the coordinator to what
 * they have seen of it. argv: the programs weft, weftd, weft-client.
 */
#include "fed.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static fed f;
static const char *const names[] = {"north", "east", "south"};

static void submit(const char *name)
{
    fed_submit(&f, name, 0,
               "train: {learning_rate: 0.1, batch_size: 16}\n"
               "round: {target: 3, minimum: 3, over_selection: 1}\n"
               "stop: {rounds: 2}\n");
}

static void start_weftd(void)
{
    fed_start_weftd(&f);
}

static void stop_weftd(void)
{
    fed_kill(&f, f.weftd, SIGTERM);
    assert_int_equal(fed_wait_end(&f, f.weftd), 0);
}

/* weft-client verify-receipt, as its owner runs it while the agent works. */
static const fed_proc *verify(const char *name, int status)
{
    char folder[40];
    (void)snprintf(folder, sizeof folder, "client-%s", name); /* fits */
    const char *const argv[] = {fed_client_program(), "verify-receipt", "--state",
                                fed_path(&f, folder), NULL};
    fed_proc *p = fed_spawn(&f, "verify", argv, true);
    assert_int_equal(fed_wait_end(&f, p), status);
    return p;
}

static void copy(const char *from, const char *to)
{
    const char *const argv[] = {"/bin/cp", "-a", fed_path(&f, from), fed_path(&f, to), NULL};
    assert_int_equal(fed_wait_end(&f, fed_spawn(&f, "cp", argv, true)), 0);
}

static void move(const char *from, const char *to)
{
    assert_int_equal(rename(fed_path(&f, from), fed_path(&f, to)), 0);
}

static void test_ledger__clients_hold_the_coordinator_to_it(void **state)
{
    (void)state;
    fed_new(&f, NULL);
    for (size_t i = 0; i < 3; i++) {
        char data[40];
        fed_enrol(&f, names[i]);
        (void)snprintf(data, sizeof data, "digits=digits:%zu:100", i + 1); /* fits */
        (void)fed_start_client(&f, names[i], (const char *const[]){"--data", data, NULL});
    }
    submit("first");
    fed_wait_job(&f, "first", "done");
    for (size_t i = 0; i < 3; i++) {
        const fed_proc *p = verify(names[i], 0);
        assert_int_equal(fed_count(p, "seen for the first time"), 1);
        assert_int_equal(fed_count(p, "of job first, round 2 is record"), 1);
    }
    stop_weftd();
    copy("weftd", "weftd-before");
    start_weftd();
    submit("second");
    fed_wait_job(&f, "second", "done");
    const fed_proc *p = verify("north", 0);
    assert_int_equal(fed_count(p, "goes on from the"), 1);
    assert_int_equal(fed_count(p, "of job second, round 2 is record"), 1);
    char config[PATH_MAX];
    (void)snprintf(config, sizeof config, "%s", fed_path(&f, "weftd/weftd.yaml"));
    FED_WEFT(&f, 0, "ledger", "verify", "--config", config, "--head",
             fed_path(&f, "client-north/ledger.head"));
    /* a coordinator that goes back to what it was: north has seen more, east has not */
    stop_weftd();
    move("weftd", "weftd-after");
    move("weftd-before", "weftd");
    p = FED_WEFT(&f, 1, "ledger", "verify", "--config", config, "--head",
                 fed_path(&f, "client-north/ledger.head"));
    assert_int_equal(fed_count(p, "history was taken back"), 1);
    FED_WEFT(&f, 0, "ledger", "verify", "--config", config, "--head",
             fed_path(&f, "client-east/ledger.head"));
    start_weftd();
    p = verify("north", 1);
    assert_int_equal(fed_count(p, "history was taken back"), 1);
    /* a head that is none, at either end */
    fed_write(&f, "client-east/ledger.head", "garbage");
    p = verify("east", 1);
    assert_int_equal(fed_count(p, "ledger.head cannot be used"), 1);
    p = FED_WEFT(&f, 1, "ledger", "verify", "--config", config, "--head",
                 fed_path(&f, "client-east/ledger.head"));
    assert_non_null(strstr(p->text[1].data ? p->text[1].data : "", "is no head of this ledger"));
    fed_done(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ledger__clients_hold_the_coordinator_to_it),
    };
    assert_int_equal(argc, 4);
    fed_programs(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
