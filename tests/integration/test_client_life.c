/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a client of libweft: stop, crashes (real ones, kill -9), renewal, hosts with a loop
 * of their own, fork, a proxy; against a scripted coordinator over real TLS.
 */
#include "client_host.h"

#include "base/file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static const char *this_program;

/* ---- stop ----------------------------------------------------------------------------------- */

static void *stop_when_held(void *arg)
{
    host *h = arg;
    coordinator_wait_held(&h->c);
    weft_client_stop(h->client);
    return NULL;
}

static void test_stop__ends_a_held_run_from_another_thread(void **state)
{
    (void)state;
    for (int poller = 0; poller < 2; poller++) {
        host h;
        begin_enrolled(&h, 4, false);
        close_host(&h);
        h.options.poller_thread = poller;
        open_host(&h);
        script s = coordinator_script(&h.c);
        s.hold = true;
        tell(&h, s);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, stop_when_held, &h), 0);
        weft_error why = WEFT_ERROR_INIT;
        assert_int_equal(weft_client_run(h.client, &why), WEFT_E_CANCELED);
        assert_string_equal(why.message, "stopped on request");
        assert_int_equal(pthread_join(thread, NULL), 0);
        coordinator_release(&h.c);
        assert_weft(weft_client_run(h.client, err)); /* stop was for that run */
        end(&h);
    }
}

static weft_client *signalled;
static void on_alarm(int number)
{
    (void)number;
    weft_client_stop(signalled);
}

static void test_stop__may_be_called_by_a_signal_handler(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 4, false);
    script s = coordinator_script(&h.c);
    s.hold = true;
    tell(&h, s);
    signalled = h.client;
    const struct sigaction on = {.sa_handler = on_alarm};
    assert_int_equal(sigaction(SIGALRM, &on, NULL), 0);
    (void)alarm(1);
    assert_int_equal(weft_client_run(h.client, NULL), WEFT_E_CANCELED);
    end(&h);
}

static void test_stop__during_training_keeps_the_assignment(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 4, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    tell(&h, s);
    h.stop_inside = true;
    assert_int_equal(weft_client_run(h.client, NULL), WEFT_E_CANCELED);
    assert_int_equal(coordinator_seen(&h.c).abandons, 0);
    assert_last_outcome(&h, "sums round 1: open");
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(coordinator_seen(&h.c).receipts, 1);
    assert_last_outcome(&h, "sums round 1: accepted");
    end(&h);
}

/* ---- crashes -------------------------------------------------------------------------------- */

/* In a process of its own: run, and die at an event. */
static int die_at(const char *state_dir, const char *event)
{
    static host h;
    host_options(&h, false);
    h.kill_at = (int)strtol(event, NULL, 10);
    (void)snprintf(h.state, sizeof h.state, "%s", state_dir);
    open_host(&h);
    return (int)weft_client_run(h.client, NULL);
}

static void run_and_die(const host *h, weft_client_event_kind at)
{
    char event[16];
    (void)snprintf(event, sizeof event, "%d", (int)at);
    char *const argv[] = {(char *)(uintptr_t)this_program, (char *)(uintptr_t) "--die",
                          (char *)(uintptr_t)h->state, event, NULL};
    pid_t pid = 0;
    int how = 0;
    assert_int_equal(posix_spawn(&pid, this_program, NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void test_crash__what_was_trained_is_never_trained_again(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 1000, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    tell(&h, s);
    close_host(&h);
    run_and_die(&h, WEFT_CLIENT_TRAINED);
    open_host(&h);
    assert_last_outcome(&h, "sums round 1: open");
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(h.trained, 0);
    assert_int_equal(coordinator_seen(&h.c).receipts, 1);
    assert_last_outcome(&h, "sums round 1: accepted");
    const float *update = (const float *)(const void *)h.c.held;
    assert_true(update[999] == 1.0F);
    end(&h);
}

static void test_crash__before_training_it_trains_the_same_assignment(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 1000, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    tell(&h, s);
    close_host(&h);
    run_and_die(&h, WEFT_CLIENT_ASSIGNED);
    open_host(&h);
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(h.trained, 1);
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.receipts, 1);
    assert_true(n.progress >= 1); /* it asked first whether it is still wanted */
    end(&h);
}

static void test_crash__after_the_receipt_the_coordinator_is_not_bothered(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 1000, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    tell(&h, s);
    close_host(&h);
    run_and_die(&h, WEFT_CLIENT_UPLOADED);
    open_host(&h);
    assert_last_outcome(&h, "sums round 1: accepted");
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(coordinator_seen(&h.c).uploads, 1);
    end(&h);
}

/* ---- certificates --------------------------------------------------------------------------- */

static void test_renewal__before_the_certificate_expires(void **state)
{
    (void)state;
    host h;
    begin(&h, 4, false);
    script s = coordinator_script(&h.c);
    s.certificate_ms = 4000; /* of a life of 14 s, two thirds are over */
    s.n_assignments = 1;
    tell(&h, s);
    assert_weft(weft_client_enrol(h.client, h.join, err));
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.renewals, 1);
    assert_int_equal(n.anonymous_renewals, 0);
    assert_int_equal(n.receipts, 1);
    assert_int_equal(h.n_of_kind[WEFT_CLIENT_RENEWED], 1);
    weft_client_info info = WEFT_CLIENT_INFO_INIT;
    assert_weft(weft_client_get_info(h.client, &info, err));
    assert_true(info.certificate_expires_unix_ms > 0);
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(coordinator_seen(&h.c).renewals, 1);
    end(&h);
}

static void test_renewal__of_an_expired_certificate_by_the_member_key(void **state)
{
    (void)state;
    host h;
    begin(&h, 4, false);
    script s = coordinator_script(&h.c);
    s.certificate_ms = -5000;
    s.n_assignments = 1;
    tell(&h, s);
    assert_weft(weft_client_enrol(h.client, h.join, err));
    assert_weft(weft_client_run(h.client, err));
    const seen n = coordinator_seen(&h.c);
    assert_int_equal(n.renewals, 1);
    assert_int_equal(n.anonymous_renewals, 1);
    assert_int_equal(n.receipts, 1);
    end(&h);
}

static void test_run__ends_when_revoked(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 4, false);
    script s = coordinator_script(&h.c);
    s.revoked = true;
    tell(&h, s);
    weft_error why = WEFT_ERROR_INIT;
    assert_int_equal(weft_client_run(h.client, &why), WEFT_E_AUTH);
    assert_non_null(strstr(why.message, "alice is revoked"));
    end(&h);
}

/* ---- hosts with a loop of their own --------------------------------------------------------- */

static void test_step__runs_from_a_hosts_poll_loop(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 100000, false);
    close_host(&h);
    h.options.poller_thread = 1;
    open_host(&h);
    script s = coordinator_script(&h.c);
    s.n_assignments = 2;
    s.come_back_ms = 30; /* its own timer wakes the host, too */
    tell(&h, s);
    struct pollfd fd = {.fd = weft_client_wake_fd(h.client), .events = POLLIN};
    weft_status status = weft_client_step(h.client, 0, NULL);
    assert_true(fd.fd >= 0);
    while (status == WEFT_E_AGAIN) {
        assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1); /* never a lost wake */
        status = weft_client_step(h.client, 0, NULL);
    }
    assert_int_equal(status, WEFT_OK);
    assert_int_equal(coordinator_seen(&h.c).receipts, 2);
    end(&h);
}

static void test_step__without_a_thread(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 100, false);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    tell(&h, s);
    assert_int_equal(weft_client_wake_fd(h.client), -1);
    weft_status status = WEFT_E_AGAIN;
    while (status == WEFT_E_AGAIN) {
        status = weft_client_step(h.client, 5, NULL);
    }
    assert_int_equal(status, WEFT_OK);
    assert_int_equal(coordinator_seen(&h.c).receipts, 1);
    end(&h);
}

static void test_open__one_process_a_folder_but_observers(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 4, false);
    weft_client *second = NULL;
    weft_error why = WEFT_ERROR_INIT;
    assert_int_equal(weft_client_open(&second, &h.options, &why), WEFT_E_CONFLICT);
    assert_non_null(strstr(why.message, "another process"));
    weft_client_options look = h.options;
    look.observe = 1;
    assert_weft(weft_client_open(&second, &look, err));
    weft_client_info info = WEFT_CLIENT_INFO_INIT;
    assert_weft(weft_client_get_info(second, &info, err));
    assert_string_equal(info.name, "alice");
    assert_int_equal(weft_client_run(second, NULL), WEFT_E_STATE);
    assert_int_equal(weft_client_enrol(second, h.join, NULL), WEFT_E_STATE);
    weft_client_close(second);
    look.state_dir = h.dir; /* there is no client in it */
    assert_int_equal(weft_client_open(&second, &look, NULL), WEFT_E_NOTFOUND);
    end(&h);
}

static void test_fork__is_detected(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 4, false);
    const pid_t pid = fork();
    if (pid == 0) {
        const bool right = weft_client_step(h.client, 0, NULL) == WEFT_E_STATE &&
                           weft_client_enrol(h.client, h.join, NULL) == WEFT_E_STATE;
        weft_client_close(h.client); /* touches nothing */
        _exit(right ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    assert_weft(weft_client_run(h.client, err)); /* the parent's is as it was */
    end(&h);
}

static void test_attach__checks_what_is_offered(void **state)
{
    (void)state;
    host h;
    begin_enrolled(&h, 4, false);
    weft_trainer t = {sizeof t, &h, host_train};
    weft_dataset d = WEFT_DATASET_INIT;
    d.name = "numbers";
    assert_int_equal(weft_client_attach(h.client, &d, &t, NULL), WEFT_E_CONFLICT);
    d.name = "../etc";
    assert_int_equal(weft_client_attach(h.client, &d, &t, NULL), WEFT_E_INVALID);
    d.name = NULL;
    assert_int_equal(weft_client_attach(h.client, &d, &t, NULL), WEFT_E_INVALID);
    d.name = "other";
    t.run = NULL;
    assert_int_equal(weft_client_attach(h.client, &d, &t, NULL), WEFT_E_INVALID);
    t.run = host_train;
    char name[8];
    for (int i = 1; i < WEFT_MAX_DATASETS; i++) { /* one is attached already */
        (void)snprintf(name, sizeof name, "d%d", i);
        d.name = name;
        assert_weft(weft_client_attach(h.client, &d, &t, err));
    }
    d.name = "one-more";
    assert_int_equal(weft_client_attach(h.client, &d, &t, NULL), WEFT_E_LIMIT);
    end(&h);
}

/* ---- a proxy -------------------------------------------------------------------------------- */

/* CONNECT only, one tunnel after the other until it is closed. */
typedef struct proxy {
    int listener;
    atomic_uint tunnels;
    pthread_t thread;
} proxy;

static void pump(int a, int b)
{
    struct pollfd fds[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    char block[65536];
    while (poll(fds, 2, PATIENCE_MS) > 0) {
        for (int i = 0; i < 2; i++) {
            if (!fds[i].revents) {
                continue;
            }
            ssize_t n = read(fds[i].fd, block, sizeof block);
            if (n <= 0) {
                return;
            }
            for (ssize_t at = 0; at < n;) {
                const ssize_t done = write(fds[1 - i].fd, block + at, (size_t)(n - at));
                if (done <= 0) {
                    return;
                }
                at += done;
            }
        }
    }
}

static void *serve_tunnel(void *arg)
{
    const int near = (int)(intptr_t)arg;
    char text[1024];
    size_t n = 0;
    while (n < sizeof text - 1 && !memmem(text, n, "\r\n\r\n", 4)) {
        const ssize_t got = read(near, text + n, sizeof text - 1 - n);
        if (got <= 0) {
            (void)close(near);
            return NULL;
        }
        n += (size_t)got;
    }
    text[n] = '\0';
    unsigned port = 0;
    const struct in_addr local = {htonl(INADDR_LOOPBACK)};
    const int far = socket(AF_INET, SOCK_STREAM, 0);
    static const char granted[] = "HTTP/1.1 200 OK\r\n\r\n";
    if (sscanf(text, "CONNECT 127.0.0.1:%u ", &port) == 1) {
        const struct sockaddr_in to = {
            .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = local};
        if (connect(far, (const struct sockaddr *)&to, sizeof to) == 0 &&
            write(near, granted, sizeof granted - 1) > 0) {
            pump(near, far);
        }
    }
    (void)close(far);
    (void)close(near);
    return NULL;
}

static void *serve_proxy(void *arg)
{
    proxy *p = arg;
    for (;;) {
        const int fd = accept(p->listener, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        atomic_fetch_add(&p->tunnels, 1);
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve_tunnel, (void *)(intptr_t)fd) == 0) {
            (void)pthread_detach(thread);
        }
    }
}

static void test_run__goes_through_an_http_proxy(void **state)
{
    (void)state;
    proxy p = {.listener = socket(AF_INET, SOCK_STREAM, 0)};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    assert_int_equal(bind(p.listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(p.listener, 8), 0);
    assert_int_equal(getsockname(p.listener, (struct sockaddr *)&at, &size), 0);
    assert_int_equal(pthread_create(&p.thread, NULL, serve_proxy, &p), 0);

    host h;
    begin(&h, 100000, false);
    close_host(&h);
    (void)snprintf(h.proxy, sizeof h.proxy, "http://127.0.0.1:%u", ntohs(at.sin_port));
    h.options.http_proxy = h.proxy;
    open_host(&h);
    script s = coordinator_script(&h.c);
    s.n_assignments = 1;
    tell(&h, s);
    assert_weft(weft_client_enrol(h.client, h.join, err));
    assert_int_equal(atomic_load(&p.tunnels), 1);
    assert_weft(weft_client_run(h.client, err));
    assert_int_equal(coordinator_seen(&h.c).receipts, 1);
    assert_true(atomic_load(&p.tunnels) >= 2); /* every connection took that way */
    end(&h);
    (void)shutdown(p.listener, SHUT_RDWR);
    assert_int_equal(pthread_join(p.thread, NULL), 0);
    (void)close(p.listener);
}

int main(int argc, char **argv)
{
    this_program = argv[0];
    if (argc == 4 && strcmp(argv[1], "--die") == 0) {
        return die_at(argv[2], argv[3]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop__ends_a_held_run_from_another_thread),
        cmocka_unit_test(test_stop__may_be_called_by_a_signal_handler),
        cmocka_unit_test(test_stop__during_training_keeps_the_assignment),
        cmocka_unit_test(test_crash__what_was_trained_is_never_trained_again),
        cmocka_unit_test(test_crash__before_training_it_trains_the_same_assignment),
        cmocka_unit_test(test_crash__after_the_receipt_the_coordinator_is_not_bothered),
        cmocka_unit_test(test_renewal__before_the_certificate_expires),
        cmocka_unit_test(test_renewal__of_an_expired_certificate_by_the_member_key),
        cmocka_unit_test(test_run__ends_when_revoked),
        cmocka_unit_test(test_step__runs_from_a_hosts_poll_loop),
        cmocka_unit_test(test_step__without_a_thread),
        cmocka_unit_test(test_open__one_process_a_folder_but_observers),
        cmocka_unit_test(test_fork__is_detected),
        cmocka_unit_test(test_attach__checks_what_is_offered),
        cmocka_unit_test(test_run__goes_through_an_http_proxy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
