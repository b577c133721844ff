/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A storm of kill -9 and SIGSTOP over the coordinator and its clients, at points a seed chooses.
 * Cohort = target = all clients and the deadlines are generous: every round must end in its first
 * attempt with everybody's update in it once, and the last model must have the bytes of a run that
 * nothing disturbed. (Not so in a secure job: clients round with secret randomness. There it must
 * be as good.) argv: weft, weftd, weft-client, and how many faults for each kind of job (15).
 */
#include "fed.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 6, FAULTS_A_ROUND = 3, MAX_PAUSE_MS = 250, MAX_FREEZE_MS = 150 };

static unsigned n_faults = 15;

static fed f;
static fed_proc *clients[MAX_N];

/* What a client said in its earlier lives. */
static fed_text past[MAX_N];

typedef struct storm {
    bool secure;
    size_t n;
    unsigned rounds;
    uint64_t random; /* the state of the generator */
    unsigned kills_of_weftd;
    unsigned kills_of_clients;
    unsigned freezes;
    uint64_t slowest_ms; /* from a start of weftd to its readiness */
} storm;

/* splitmix64 (Steele, Lea, Flood: OOPSLA 2014). */
static unsigned below(storm *s, unsigned n)
{
    uint64_t z = s->random += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (unsigned)((z ^ (z >> 31)) % n);
}

/* ---- the federation -------------------------------------------------------------------------- */

static void submit(const storm *s)
{
    char text[1024];
    const int n = snprintf(text, sizeof text,
                           "train: {learning_rate: 0.1, batch_size: 16, epochs: 2, seed: 11}\n"
                           "round: {target: %zu, minimum: %zu, over_selection: 1,\n"
                           "  selection_window: 1h, deadline: 1h, lease: 1h}\n"
                           "evaluation: {clients: %zu, deadline: 1h}\n"
                           "stop: {rounds: %u}\n"
                           "%s",
                           s->n, s->n, s->n, s->rounds,
                           s->secure ? "aggregation: {clip_norm: 10, max_examples: 20000}\n"
                                       "secure: {phase_deadline: 30m}\n"
                                     : "aggregation: {secure: false}\n");
    assert_in_range(n, 1, sizeof text - 1);
    fed_submit(&f, "digits", 16, text);
}

static void name_of(char name[static 24], size_t i)
{
    (void)snprintf(name, 24, "c%zu", i); /* fits */
}

static void start_client(const storm *s, size_t i)
{
    char name[24];
    char data[40];
    name_of(name, i);
    (void)snprintf(data, sizeof data, "digits=digits:%zu:300", i + 1); /* fits */
    const char *const secure[] = {"--data", data, NULL};
    const char *const plain[] = {"--data", data, FED_PLAIN, NULL};
    clients[i] = fed_start_client(&f, name, s->secure ? secure : plain);
}

static void start_all(const storm *s)
{
    fed_new(&f, NULL);
    submit(s);
    for (size_t i = 0; i < s->n; i++) {
        char name[24];
        name_of(name, i);
        fed_enrol(&f, name);
        start_client(s, i);
    }
}

static void end_all(void)
{
    for (size_t i = 0; i < MAX_N; i++) {
        free(past[i].data);
        past[i] = (fed_text){0};
        clients[i] = NULL;
    }
    fed_done(&f);
}

static int tear_down(void **state)
{
    (void)state;
    end_all();
    return 0;
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void kill_weftd(storm *s)
{
    fed_kill(&f, f.weftd, SIGKILL);
    assert_int_equal(fed_wait_end(&f, f.weftd), 128 + SIGKILL);
    fed_forget(f.weftd);
    const uint64_t start = weft_clock_system.mono_ms(weft_clock_system.self);
    fed_start_weftd(&f);
    const uint64_t took = weft_clock_system.mono_ms(weft_clock_system.self) - start;
    s->slowest_ms = took > s->slowest_ms ? took : s->slowest_ms;
    s->kills_of_weftd++;
}

static void kill_client(storm *s, size_t i)
{
    fed_kill(&f, clients[i], SIGKILL);
    assert_int_equal(fed_wait_end(&f, clients[i]), 128 + SIGKILL);
    fed_keep_text(&past[i], clients[i]);
    fed_forget(clients[i]);
    start_client(s, i);
    s->kills_of_clients++;
}

static void freeze(storm *s, fed_proc *p)
{
    fed_kill(&f, p, SIGSTOP);
    fed_pump_for(&f, below(s, MAX_FREEZE_MS));
    fed_kill(&f, p, SIGCONT);
    s->freezes++;
}

static void one_fault(storm *s)
{
    const unsigned kind = below(s, 10);
    const size_t i = below(s, (unsigned)s->n);
    if (kind < 4) {
        kill_weftd(s);
    } else if (kind < 8) {
        kill_client(s, i);
    } else {
        freeze(s, kind == 8 ? f.weftd : clients[i]);
    }
}

static bool anybody_said(const storm *s, const char *words)
{
    for (size_t i = 0; i < s->n; i++) {
        if (fed_count(clients[i], words) || (past[i].data && strstr(past[i].data, words))) {
            return true;
        }
    }
    return false;
}

static void wait_for_round(const storm *s, unsigned round)
{
    char words[64];
    (void)snprintf(words, sizeof words, "event=assigned job=digits round=%u\n", round); /* fits */
    const uint64_t until = weft_clock_system.mono_ms(weft_clock_system.self) + FED_WAIT_S * 1000U;
    while (!anybody_said(s, words)) {
        if (weft_clock_system.mono_ms(weft_clock_system.self) > until) {
            fed_tell_all(&f);
            fail_msg("round %u did not begin within %d s", round, FED_WAIT_S);
        }
        fed_pump(&f, 50);
    }
}

/* ---- what must hold -------------------------------------------------------------------------- */

/* A client's part in training is counted once, in the round's only attempt. */
static void check_round(const storm *s, const json_t *round, unsigned number)
{
    char text[16];
    assert_string_equal(fed_string(round, "state"), "done");
    assert_int_equal(fed_int(round, "round"), number);
    assert_int_equal(fed_int(round, "attempt"), 1);
    assert_int_equal(fed_int(round, "accepted"), s->n);
    (void)snprintf(text, sizeof text, "%u", number); /* fits */
    json_t *shown = FED_JSON(&f, "round", "show", "digits", text);
    const json_t *list = json_object_get(shown, "assignments");
    size_t accepted = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *a = json_array_get(list, i);
        accepted += strcmp(fed_string(a, "task"), "train") == 0 &&
                    strcmp(fed_string(a, "state"), "accepted") == 0;
    }
    assert_int_equal(accepted, s->n);
    json_decref(shown);
}

/* An update has 50 thousand bytes and a few; the metrics of an evaluation have none. */
#define UPDATE "bytes=5"

/* Nobody trained for a round again once its update was with the coordinator. */
static void check_not_trained_again(size_t i, unsigned rounds)
{
    for (unsigned round = 1; round <= rounds; round++) {
        char words[64];
        (void)snprintf(words, sizeof words, "event=uploaded job=digits round=%u " UPDATE, round);
        const char *delivered = past[i].data ? strstr(past[i].data, words) : NULL;
        (void)snprintf(words, sizeof words, "event=trained job=digits round=%u " UPDATE, round);
        if (delivered && strstr(delivered, words)) {
            fail_msg("client %zu trained for round %u after it had delivered", i, round);
        }
    }
}

typedef struct outcome {
    char digest[65]; /* of the last version */
    double accuracy;
} outcome;

/* Waits for the end of the job, checks all of it and ends the federation. */
static outcome finish(const storm *s)
{
    outcome ret;
    fed_wait_job(&f, "digits", "done");
    json_t *list = FED_JSON(&f, "round", "list", "digits");
    assert_int_equal(json_array_size(list), s->rounds);
    for (unsigned i = 0; i < s->rounds; i++) {
        check_round(s, json_array_get(list, i), i + 1);
    }
    const json_t *last = json_array_get(list, s->rounds - 1);
    (void)snprintf(ret.digest, sizeof ret.digest, "%s", fed_string(last, "version")); /* fits */
    ret.accuracy = fed_metric(last, "eval_metrics", "accuracy");
    json_decref(list);
    for (size_t i = 0; i < s->n; i++) {
        fed_pump(&f, 0);
        fed_keep_text(&past[i], clients[i]);
        check_not_trained_again(i, s->rounds);
    }
    fed_kill(&f, f.weftd, SIGTERM);
    assert_int_equal(fed_wait_end(&f, f.weftd), 0);
    fed_check_store(&f);
    end_all();
    return ret;
}

static void weather(storm *s)
{
    s->rounds = (n_faults + FAULTS_A_ROUND - 1) / FAULTS_A_ROUND;
    start_all(s);
    const outcome calm = finish(s);
    start_all(s);
    for (unsigned done = 0; done < n_faults; done++) {
        wait_for_round(s, 1 + done / FAULTS_A_ROUND);
        fed_pump_for(&f, below(s, MAX_PAUSE_MS));
        one_fault(s);
    }
    const outcome after = finish(s);
    print_message("%s: %u rounds, %u kills of weftd, %u of clients, %u freezes; weftd served again "
                  "after at most %llu ms\n",
                  s->secure ? "secure" : "plain", s->rounds, s->kills_of_weftd, s->kills_of_clients,
                  s->freezes, (unsigned long long)s->slowest_ms);
    assert_float_equal(after.accuracy, calm.accuracy, 0.01);
    if (!s->secure) {
        assert_string_equal(after.digest, calm.digest);
    }
}

static void test_storm__plain(void **state)
{
    (void)state;
    storm s = {.n = 4, .random = 1};
    weather(&s);
}

static void test_storm__secure(void **state)
{
    (void)state;
    storm s = {.secure = true, .n = 6, .random = 2};
    weather(&s);
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 5) {
        (void)fprintf(stderr, "usage: test_storm WEFT WEFTD WEFT-CLIENT [FAULTS]\n");
        return 64;
    }
    fed_programs(argv);
    if (argc == 5) {
        n_faults = (unsigned)strtoul(argv[4], NULL, 10);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_storm__plain, tear_down),
        cmocka_unit_test_teardown(test_storm__secure, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
