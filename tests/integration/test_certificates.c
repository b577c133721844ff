/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates renew by themselves: the coordinator's own and the operator's. A federation is made
 * in the past, the coordinator runs on a clock that the test holds, and TLS, which knows only
 * today, shows what is really served. argv[1] is the program weft.
 */
#include "admin.h"

#include "app/daemon.h"
#include "auth/init.h"
#include "base/clock.h"
#include "base/file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_MS INT64_C(86400000)

static const char *weft;

/* ---- a federation from the past ------------------------------------------------------------- */

static _Atomic int64_t offset_ms; /* of the coordinator's wall clock */

static uint64_t mono_ms(void *self)
{
    (void)self;
    return weft_clock_system.mono_ms(weft_clock_system.self);
}

static int64_t unix_ms(void *self)
{
    (void)self;
    return weft_clock_system.unix_ms(weft_clock_system.self) + offset_ms;
}

static const weft_clock shifted = {mono_ms, unix_ms, NULL};

typedef struct federation {
    char *root;
    char coordinator[PATH_MAX];
    char operators[PATH_MAX];
    weft_daemon *daemon;
} federation;

/* Made so many days ago. */
static void make(federation *f, int64_t days_ago)
{
    memset(f, 0, sizeof *f);
    f->root = test_dir_new();
    (void)snprintf(f->coordinator, sizeof f->coordinator, "%s/weftd", f->root); /* fits: short */
    (void)snprintf(f->operators, sizeof f->operators, "%s/operator", f->root);
    const weft_auth_init init = {.coordinator_dir = f->coordinator,
                                 .operator_dir = f->operators,
                                 .federation = "north",
                                 .operator_name = "olga",
                                 .listen = "127.0.0.1:0",
                                 .address = "127.0.0.1:7443"};
    offset_ms = -days_ago * DAY_MS;
    assert_ok(weft_auth_init_federation(&init, &weft_entropy_system, unix_ms(NULL), &weft_alloc_std,
                                        NULL));
}

static void start(federation *f)
{
    char path[PATH_MAX];
    weft_server_config config;
    weft_err err = WEFT_ERR_INIT;
    static const weft_log silent = {.level = WEFT_LOG_ERROR};
    assert_ok(weft_path_join(path, sizeof path, f->coordinator, "weftd.yaml", NULL));
    assert_ok(weft_server_config_load(&config, path, &weft_alloc_std, NULL));
    const weft_daemon_options options = {.config = &config,
                                         .alloc = &weft_alloc_std,
                                         .log = &silent,
                                         .clock = &shifted,
                                         .entropy = &weft_entropy_system};
    if (weft_daemon_new(&f->daemon, &options, &err) != WEFT_OK) {
        fail_msg("%s", err.msg);
    }
}

static void end(federation *f)
{
    weft_daemon_free(f->daemon);
    test_dir_done(f->root);
}

static const ended *run(const federation *f, const char *verb, const char *option,
                        const char *value)
{
    char address[64];
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", weft_daemon_port(f->daemon)); /* fits */
    return run_program(f->root,
                       (const char *const[]){weft, verb, "--operator", f->operators, "--address",
                                             address, "--timeout", "20s", option, value, NULL});
}

/* ---- files ---------------------------------------------------------------------------------- */

static void read_all(weft_buf *out, const char *dir, const char *name)
{
    char path[PATH_MAX];
    weft_buf_init(out, &weft_alloc_std, WEFT_MAX_PEM_BYTES);
    assert_ok(weft_path_join(path, sizeof path, dir, name, NULL));
    assert_ok(weft_file_read(out, path, NULL));
}

/* Days from the real now until the certificate of a file ends. */
static int64_t days_left(const char *dir, const char *name)
{
    weft_buf pem;
    weft_cert_info info;
    read_all(&pem, dir, name);
    assert_ok(weft_cert_parse(&info, pem.data, pem.size, NULL));
    weft_buf_done(&pem);
    const int64_t now = weft_clock_system.unix_ms(weft_clock_system.self);
    const int64_t year = 365 * DAY_MS; /* rounds to the nearest, also below zero */
    return (info.not_after_unix_ms - now + year + DAY_MS / 2) / DAY_MS - 365;
}

static void move_file(const federation *f, const char *from, const char *to)
{
    char a[PATH_MAX];
    char b[PATH_MAX];
    assert_ok(weft_path_join(a, sizeof a, f->operators, from, NULL));
    assert_ok(weft_path_join(b, sizeof b, f->root, to, NULL));
    assert_int_equal(rename(a, b), 0);
}

/* ---- the coordinator's ----------------------------------------------------------------------- */

static void test_coordinator__renews_an_expired_certificate_at_start(void **state)
{
    (void)state;
    federation f;
    weft_buf before;
    weft_buf after;
    make(&f, 100);
    assert_int_equal(days_left(f.coordinator, "server.pem"), -10);
    read_all(&before, f.coordinator, "server.key");
    offset_ms = 0;
    start(&f);
    assert_int_equal(days_left(f.coordinator, "server.pem"), 90);
    read_all(&after, f.coordinator, "server.key");
    assert_int_equal(before.size, after.size); /* the key stays */
    assert_memory_equal(before.data, after.data, before.size);
    weft_buf_done(&before);
    weft_buf_done(&after);
    const ended *e = run(&f, "status", NULL, NULL); /* a host name check is part of it */
    assert_int_equal(e->status, 0);
    end(&f);
}

static void test_coordinator__renews_while_it_runs(void **state)
{
    (void)state;
    federation f;
    make(&f, 80);
    start(&f); /* 80 days ago, with a certificate for 10 days from now */
    const ended *e = run(&f, "status", NULL, NULL);
    assert_int_equal(e->status, 0);
    assert_int_equal(days_left(f.coordinator, "server.pem"), 10);
    offset_ms = -21 * DAY_MS; /* day 59: not yet */
    e = run(&f, "status", NULL, NULL);
    assert_int_equal(e->status, 0);
    assert_int_equal(days_left(f.coordinator, "server.pem"), 10);
    offset_ms = -19 * DAY_MS; /* day 61: whatever the loop does next, it renews before */
    e = run(&f, "status", NULL, NULL);
    assert_int_equal(e->status, 0);
    assert_int_equal(days_left(f.coordinator, "server.pem"), 71);
    e = run(&f, "status", NULL, NULL);
    assert_int_equal(e->status, 0);
    end(&f);
}

static void test_coordinator__serves_the_renewed_one(void **state)
{
    (void)state;
    federation f;
    make(&f, 100);
    start(&f); /* as 100 days ago: what it serves has expired for us */
    const ended *e = run(&f, "status", NULL, NULL);
    assert_int_equal(e->status, 2);
    offset_ms = 0;
    assert_ok(weft_daemon_reload(f.daemon, NULL)); /* what the loop does when it is time */
    e = run(&f, "status", NULL, NULL);
    assert_int_equal(e->status, 0);
    end(&f);
}

/* ---- the operator's -------------------------------------------------------------------------- */

static void test_operator__renews_by_itself(void **state)
{
    (void)state;
    static const int64_t ages[] = {70, 100}; /* near its end; expired */
    for (size_t i = 0; i < 2; i++) {
        federation f;
        weft_buf before;
        weft_buf after;
        make(&f, ages[i]);
        read_all(&before, f.operators, "operator-tls.key");
        offset_ms = 0;
        start(&f);
        assert_int_equal(days_left(f.operators, "operator.pem"), 90 - ages[i]);
        const ended *e = run(&f, "status", "--format", "jsonl");
        assert_int_equal(e->status, 0);
        assert_string_equal(e->err, "");
        assert_says(e->out, "operator_certificate_not_after_unix_ms");
        assert_int_equal(days_left(f.operators, "operator.pem"), 90);
        read_all(&after, f.operators, "operator-tls.key");
        assert_int_equal(before.size, after.size);
        assert_memory_equal(before.data, after.data, before.size);
        weft_buf_done(&before);
        weft_buf_done(&after);
        read_all(&before, f.operators, "operator.pem");
        e = run(&f, "status", NULL, NULL); /* once is enough */
        assert_int_equal(e->status, 0);
        read_all(&after, f.operators, "operator.pem");
        assert_int_equal(before.size, after.size);
        assert_memory_equal(before.data, after.data, before.size);
        weft_buf_done(&before);
        weft_buf_done(&after);
        end(&f);
    }
}

static void test_operator__near_its_end_goes_on_without_the_operator_key(void **state)
{
    (void)state;
    federation f;
    make(&f, 70);
    offset_ms = 0;
    start(&f);
    move_file(&f, "operator.key", "elsewhere.key");
    const ended *e = run(&f, "status", NULL, NULL);
    assert_int_equal(e->status, 0);
    assert_says(e->out, "north");
    assert_says(e->err, "could not be renewed");
    assert_says(e->err, "weft renew --member-key FILE");
    assert_int_equal(days_left(f.operators, "operator.pem"), 20);
    end(&f);
}

static void test_operator__the_way_back_of_an_expired_one(void **state)
{
    (void)state;
    federation f;
    char key[PATH_MAX];
    make(&f, 100);
    offset_ms = 0;
    start(&f);
    move_file(&f, "operator.key", "elsewhere.key");
    assert_ok(weft_path_join(key, sizeof key, f.root, "elsewhere.key", NULL));
    const ended *e = run(&f, "status", NULL, NULL);
    assert_int_equal(e->status, 2);
    assert_string_equal(e->out, "");
    assert_says(e->err, "the operator's certificate expired on ");
    assert_says(e->err, "weft renew --member-key FILE");
    e = run(&f, "renew", "--member-key", key);
    assert_int_equal(e->status, 0);
    assert_says(e->out, "the certificate of operator olga is good until ");
    e = run(&f, "status", NULL, NULL);
    assert_int_equal(e->status, 0);
    assert_string_equal(e->err, "");
    end(&f);
}

/* A watch that outlives its certificate: when the connection is lost, it comes back with what a new
 * command would come with. The renewal is refused each time, so the old one serves; two were asked.
 */
static void test_watch__renews_before_it_comes_back(void **state)
{
    (void)state;
    static admin fake;
    federation f;
    make(&f, 70); /* due, and good for 20 more days */
    admin_start(&fake, f.coordinator);
    weft_msg_job_info job = {.name = "digits",
                             .status = "running",
                             .reason = "",
                             .rounds_total = 3,
                             .round_state = "",
                             .dataset = "digits"};
    weft_msg_watch_event event = {1700000000000, "snapshot", &job, NULL, "", ""};
    admin_says(&fake, WEFT_METHOD_WATCH, WEFT_MSG_WATCH_EVENT, &event);
    admin_refuses(&fake, WEFT_METHOD_WATCH, WEFT_RT_UNAVAILABLE, "going down");
    job.status = "done";
    admin_says(&fake, WEFT_METHOD_WATCH, WEFT_MSG_WATCH_EVENT, &event);
    admin_refuses(&fake, WEFT_METHOD_RENEW, WEFT_RT_UNAVAILABLE, "not now");
    admin_refuses(&fake, WEFT_METHOD_RENEW, WEFT_RT_UNAVAILABLE, "not now");
    const ended *e =
        run_program(f.root, (const char *const[]){weft, "job", "watch", "digits", "--operator",
                                                  f.operators, "--address", fake.address, NULL});
    assert_string_equal(e->err, "");
    assert_int_equal(e->status, 0);
    assert_says(e->out, "digits is done");
    assert_int_equal(fake.method[WEFT_METHOD_WATCH].n_calls, 2);
    assert_int_equal(fake.method[WEFT_METHOD_RENEW].n_calls, 2);
    admin_stop(&fake);
    test_dir_done(f.root);
}

static void test_operator__another_federations_key_renews_nothing(void **state)
{
    (void)state;
    federation f;
    federation other;
    char key[PATH_MAX];
    make(&other, 0);
    assert_ok(weft_path_join(key, sizeof key, other.operators, "operator.key", NULL));
    make(&f, 0);
    start(&f);
    const ended *e = run(&f, "renew", "--member-key", key);
    assert_int_equal(e->status, 2);
    assert_says(e->err, "not signed by this federation's operator key");
    e = run(&f, "renew", "--format", "json");
    assert_int_equal(e->status, 0);
    assert_says(e->out, "\"operator\": \"olga\"");
    assert_says(e->out, "not_after_unix_ms");
    end(&f);
    test_dir_done(other.root);
}

int main(int argc, char **argv)
{
    assert_true(argc == 2);
    weft = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coordinator__renews_an_expired_certificate_at_start),
        cmocka_unit_test(test_coordinator__renews_while_it_runs),
        cmocka_unit_test(test_coordinator__serves_the_renewed_one),
        cmocka_unit_test(test_operator__renews_by_itself),
        cmocka_unit_test(test_operator__near_its_end_goes_on_without_the_operator_key),
        cmocka_unit_test(test_operator__the_way_back_of_an_expired_one),
        cmocka_unit_test(test_watch__renews_before_it_comes_back),
        cmocka_unit_test(test_operator__another_federations_key_renews_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
