/* SPDX-License-Identifier: Apache-2.0 */
/* Processes, pipes and commands of the end-to-end tests. */
#include "fed.h"

#include "base/clock.h"
#include "base/file.h"
#include "store/ledger.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *weft_program;
static const char *weftd_program;
static const char *client_program;

void fed_programs(char **argv)
{
    weft_program = argv[1];
    weftd_program = argv[2];
    client_program = argv[3];
}

const char *fed_client_program(void)
{
    return client_program;
}

/* ---- text ------------------------------------------------------------------------------------ */

static void add_text(fed_text *t, const char *data, size_t n)
{
    if (t->size + n + 1 > t->cap) {
        t->cap = 2 * (t->size + n + 1);
        t->data = realloc(t->data, t->cap);
        assert_non_null(t->data);
    }
    memcpy(t->data + t->size, data, n);
    t->size += n;
    t->data[t->size] = '\0';
}

static const char *all_of(const fed_text *t)
{
    return t->data ? t->data : "";
}

/* Line by line: cmocka cuts long messages. */
static void tell_lines(const char *text)
{
    while (*text) {
        const size_t n = strcspn(text, "\n");
        print_message("%.*s\n", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

void fed_tell_all(const fed *f)
{
    for (size_t i = 0; i < f->n_procs; i++) {
        const fed_proc *p = &f->procs[i];
        for (int k = 0; k < 2; k++) {
            const fed_text *t = &p->text[k];
            const size_t from = t->size > 3000 ? t->size - 3000 : 0;
            if (t->size > 0) {
                print_message("---- %s ", p->name);
                print_message(p->ended ? "(ended with %d)\n" : "(runs)\n", p->status);
                tell_lines(t->data + from);
            }
        }
    }
}

/* ---- processes ------------------------------------------------------------------------------- */

static void make_pipe(int ends[2])
{
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
}

fed_proc *fed_spawn(fed *f, const char *name, const char *const *argv, bool merged)
{
    size_t at = 0;
    while (at < f->n_procs && !(f->procs[at].pid == 0)) {
        at++;
    }
    assert_true(at < FED_MAX_PROCS);
    f->n_procs = at == f->n_procs ? at + 1 : f->n_procs;
    fed_proc *p = &f->procs[at];
    memset(p, 0, sizeof *p);
    (void)snprintf(p->name, sizeof p->name, "%s", name); /* cut at worst */
    int out[2];
    int err[2] = {-1, -1};
    make_pipe(out);
    if (!merged) {
        make_pipe(err);
    }
    posix_spawn_file_actions_t actions;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, out[1], 1), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, merged ? out[1] : err[1], 2), 0);
    /* posix_spawn does not change the strings; its type is older than const */
    assert_int_equal(
        posix_spawn(&p->pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    (void)close(out[1]); /* the child's ends */
    if (!merged) {
        (void)close(err[1]);
    }
    p->fd[0] = out[0];
    p->fd[1] = err[0];
    return p;
}

static void read_some(fed_proc *p, int k)
{
    char block[16384];
    const ssize_t n = read(p->fd[k], block, sizeof block);
    if (n > 0) {
        add_text(&p->text[k], block, (size_t)n);
    } else if (n == 0 || errno != EAGAIN) {
        (void)close(p->fd[k]); /* only read */
        p->fd[k] = -1;
    }
}

static void reap(fed_proc *p)
{
    int status = 0;
    if (p->ended || p->fd[0] >= 0 || p->fd[1] >= 0) {
        return;
    }
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid); /* its output has ended: it does, too */
    p->ended = true;
    p->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void fed_pump(fed *f, int timeout_ms)
{
    struct pollfd fds[2 * FED_MAX_PROCS];
    fed_proc *of[2 * FED_MAX_PROCS];
    int stream[2 * FED_MAX_PROCS];
    nfds_t n = 0;
    for (size_t i = 0; i < f->n_procs; i++) {
        for (int k = 0; k < 2; k++) {
            if (f->procs[i].pid != 0 && f->procs[i].fd[k] >= 0) {
                fds[n] = (struct pollfd){.fd = f->procs[i].fd[k], .events = POLLIN};
                stream[n] = k;
                of[n++] = &f->procs[i];
            }
        }
    }
    if (poll(fds, n, timeout_ms) <= 0) {
        return; /* nothing new */
    }
    for (nfds_t i = 0; i < n; i++) {
        if (fds[i].revents) {
            read_some(of[i], stream[i]);
            reap(of[i]);
        }
    }
}

static uint64_t now_ms(void)
{
    return weft_clock_system.mono_ms(weft_clock_system.self);
}

void fed_pump_for(fed *f, unsigned ms)
{
    const uint64_t until_ms = now_ms() + ms;
    for (uint64_t now = now_ms(); now < until_ms; now = now_ms()) {
        fed_pump(f, (int)(until_ms - now));
    }
}

void fed_keep_text(fed_text *t, const fed_proc *p)
{
    add_text(t, all_of(&p->text[0]), p->text[0].size);
}

void fed_forget(fed_proc *p)
{
    free(p->text[0].data);
    free(p->text[1].data);
    memset(p, 0, sizeof *p);
}

/* True until the deadline; fails the test then. */
static bool still_waiting(fed *f, const fed_proc *p, uint64_t until_ms, const char *words)
{
    if (now_ms() < until_ms) {
        return true;
    }
    fed_tell_all(f);
    fail_msg("%s did not come to '%s' within %d s", p->name, words, FED_WAIT_S);
    return false;
}

void fed_wait(fed *f, fed_proc *p, const char *words)
{
    const uint64_t until_ms = now_ms() + FED_WAIT_S * 1000U;
    fed_text *t = &p->text[0];
    do {
        const char *found = t->data ? strstr(t->data + t->mark, words) : NULL;
        if (found) {
            t->mark = (size_t)(found - t->data) + strlen(words);
            return;
        }
        if (p->ended) {
            fed_tell_all(f);
            fail_msg("%s ended with %d before it said '%s'", p->name, p->status, words);
        }
        fed_pump(f, 1000);
    } while (still_waiting(f, p, until_ms, words));
}

int fed_wait_end(fed *f, fed_proc *p)
{
    const uint64_t until_ms = now_ms() + FED_WAIT_S * 1000U;
    while (!p->ended && still_waiting(f, p, until_ms, "its end")) {
        fed_pump(f, 1000);
    }
    return p->status;
}

size_t fed_count(const fed_proc *p, const char *words)
{
    size_t n = 0;
    for (const char *at = strstr(all_of(&p->text[0]), words); at; at = strstr(at + 1, words)) {
        n++;
    }
    return n;
}

void fed_kill(fed *f, fed_proc *p, int signal_number)
{
    fed_pump(f, 0);
    if (!p->ended) {
        assert_int_equal(kill(p->pid, signal_number), 0);
    }
}

/* ---- the federation -------------------------------------------------------------------------- */

const char *fed_path(const fed *f, const char *name)
{
    static char paths[4][PATH_MAX];
    static size_t next;
    char *path = paths[next++ % 4];
    assert_int_equal(weft_path_join(path, PATH_MAX, f->dir, name, NULL), WEFT_OK);
    return path;
}

void fed_write(const fed *f, const char *name, const char *text)
{
    assert_ok(weft_file_write(fed_path(f, name), text, strlen(text), 0600, &assert_err));
}

static void append_config(const fed *f, const char *config)
{
    char path[PATH_MAX];
    assert_int_equal(weft_path_join(path, sizeof path, f->weftd_dir, "weftd.yaml", NULL), WEFT_OK);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    assert_true(fputs(config, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void fed_new(fed *f, const char *config)
{
    memset(f, 0, sizeof *f);
    f->dir = test_dir_new();
    (void)snprintf(f->weftd_dir, sizeof f->weftd_dir, "%s/weftd", f->dir); /* short */
    (void)snprintf(f->operator_dir, sizeof f->operator_dir, "%s/operator", f->dir);
    (void)snprintf(f->port, sizeof f->port, "0");
    FED_WEFT(f, 0, "init", "--federation", "e2e", "--dir", f->weftd_dir, "--address",
             "127.0.0.1:7443");
    if (config) {
        append_config(f, config);
    }
    fed_start_weftd(f);
}

void fed_start_weftd(fed *f)
{
    char listen[64];
    char config[PATH_MAX];
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%s", f->port); /* fits */
    assert_int_equal(weft_path_join(config, sizeof config, f->weftd_dir, "weftd.yaml", NULL),
                     WEFT_OK);
    f->weftd = fed_spawn(
        f, "weftd",
        (const char *const[]){weftd_program, "--config", config, "--listen", listen, NULL}, true);
    fed_wait(f, f->weftd, "weftd ready address=127.0.0.1:");
    fed_text *t = &f->weftd->text[0];
    fed_wait(f, f->weftd, " federation=e2e pid=");
    char *at = strstr(t->data, "ready address=127.0.0.1:") + strlen("ready address=127.0.0.1:");
    const size_t n = strspn(at, "0123456789");
    assert_in_range(n, 1, sizeof f->port - 1);
    memcpy(f->port, at, n);
    f->port[n] = '\0';
}

void fed_done(fed *f)
{
    for (size_t i = 0; i < f->n_procs; i++) {
        fed_proc *p = &f->procs[i];
        if (p->pid != 0 && !p->ended) {
            (void)kill(p->pid, SIGKILL); /* may have ended just now */
            (void)waitpid(p->pid, NULL, 0);
        }
        for (int k = 0; k < 2; k++) {
            if (p->pid != 0 && p->fd[k] >= 0) {
                (void)close(p->fd[k]); /* only read */
            }
            free(p->text[k].data);
        }
    }
    test_dir_done(f->dir);
    memset(f, 0, sizeof *f);
}

/* ---- commands -------------------------------------------------------------------------------- */

static fed_proc *run_weft(fed *f, const char *const *options, const char *const *arguments)
{
    char address[64];
    const char *argv[32] = {weft_program, "--operator", f->operator_dir};
    size_t n = 3;
    (void)snprintf(address, sizeof address, "127.0.0.1:%s", f->port); /* fits */
    if (strcmp(f->port, "0") != 0) {
        argv[n++] = "--address";
        argv[n++] = address;
    }
    for (; *options; options++) {
        argv[n++] = *options;
    }
    for (; *arguments; arguments++) {
        assert_true(n < 31);
        argv[n++] = *arguments;
    }
    return fed_spawn(f, "weft", argv, false);
}

fed_proc *fed_weft(fed *f, int status, const char *const *arguments)
{
    static fed_proc last; /* good until the next command */
    fed_proc *p = run_weft(f, (const char *const[]){NULL}, arguments);
    const int ended = fed_wait_end(f, p);
    if (ended != status) {
        fed_tell_all(f);
        fail_msg("weft %s %s exited with %d, not %d", arguments[0], arguments[1], ended, status);
    }
    free(last.text[0].data);
    free(last.text[1].data);
    last = *p;
    memset(p, 0, sizeof *p);
    return &last;
}

json_t *fed_json(fed *f, const char *const *arguments)
{
    fed_proc *p = run_weft(f, (const char *const[]){"--format", "json", NULL}, arguments);
    if (fed_wait_end(f, p) != 0) {
        fed_tell_all(f);
        fail_msg("weft %s %s exited with %d", arguments[0], arguments[1], p->status);
    }
    json_error_t error;
    json_t *document = json_loads(all_of(&p->text[0]), JSON_DECODE_ANY, &error);
    if (!document) {
        fail_msg("weft %s %s: %s in %s", arguments[0], arguments[1], error.text,
                 all_of(&p->text[0]));
    }
    fed_forget(p);
    return document;
}

void fed_enrol(fed *f, const char *name)
{
    char join[PATH_MAX];
    char state[PATH_MAX];
    char address[64];
    (void)snprintf(join, sizeof join, "%s/%s.join", f->dir, name); /* short */
    (void)snprintf(state, sizeof state, "%s/client-%s", f->dir, name);
    (void)snprintf(address, sizeof address, "127.0.0.1:%s", f->port);
    FED_WEFT(f, 0, "client", "invite", name, "--output", join, "--join-address", address);
    fed_proc *p = fed_spawn(
        f, name, (const char *const[]){client_program, "enrol", "--state", state, join, NULL},
        true);
    if (fed_wait_end(f, p) != 0) {
        fed_tell_all(f);
        fail_msg("%s cannot enrol", name);
    }
    fed_forget(p);
}

fed_proc *fed_start_client(fed *f, const char *name, const char *const *options)
{
    char state[PATH_MAX];
    (void)snprintf(state, sizeof state, "%s/client-%s", f->dir, name); /* short */
    const char *argv[32] = {client_program, "run", "--state", state};
    size_t n = 4;
    for (; *options; options++) {
        assert_true(n < 31);
        argv[n++] = *options;
    }
    return fed_spawn(f, name, argv, true);
}

const char *fed_write_job(const fed *f, const char *name, unsigned hidden, const char *rest)
{
    char layer[64] = "";
    char text[2048];
    char file[80];
    if (hidden > 0) {
        (void)snprintf(layer, sizeof layer, "  dense units=%u\n  relu\n", hidden); /* fits */
    }
    const int n = snprintf(text, sizeof text,
                           "name: %s\n"
                           "dataset: digits\n"
                           "model: |\n"
                           "  input 28x28x1\n"
                           "  flatten\n"
                           "%s"
                           "  dense units=10\n"
                           "  loss softmax_cross_entropy\n"
                           "%s",
                           name, layer, rest);
    assert_in_range(n, 1, sizeof text - 1);
    (void)snprintf(file, sizeof file, "%s.yaml", name); /* fits: names here are short */
    fed_write(f, file, text);
    return fed_path(f, file);
}

void fed_submit(fed *f, const char *name, unsigned hidden, const char *rest)
{
    FED_WEFT(f, 0, "job", "submit", fed_write_job(f, name, hidden, rest));
}

fed_proc *fed_watch(fed *f, const char *job)
{
    return run_weft(f, (const char *const[]){"--format", "jsonl", NULL},
                    (const char *const[]){"job", "watch", job, NULL});
}

void fed_wait_job(fed *f, const char *job, const char *status)
{
    fed_proc *p = fed_watch(f, job);
    const int want = strcmp(status, "done") == 0 ? 0 : 1;
    if (fed_wait_end(f, p) != want) {
        fed_tell_all(f);
        fail_msg("the watch of %s exited with %d", job, p->status);
    }
    fed_forget(p);
    json_t *shown = FED_JSON(f, "job", "show", job);
    assert_string_equal(fed_string(shown, "status"), status);
    json_decref(shown);
}

static void no_finding(void *arg, const char *text)
{
    (void)arg;
    fail_msg("%s", text);
}

void fed_check_store(const fed *f)
{
    char dir[PATH_MAX];
    uint32_t findings = 0;
    assert_int_equal(weft_path_join(dir, sizeof dir, f->weftd_dir, "data", NULL), WEFT_OK);
    assert_ok(
        weft_store_check(dir, true, no_finding, NULL, &findings, &weft_alloc_std, &assert_err));
    assert_ok(weft_store_ledger_verify(dir, NULL, 0, no_finding, NULL, &findings, NULL,
                                       &weft_alloc_std, &assert_err));
}

json_int_t fed_int(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value)) {
        fail_msg("no number %s", key);
    }
    return json_integer_value(value);
}

const char *fed_string(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) {
        fail_msg("no text %s", key);
    }
    return json_string_value(value);
}

double fed_metric(const json_t *object, const char *metrics, const char *name)
{
    const json_t *value = json_object_get(json_object_get(object, metrics), name);
    if (!json_is_number(value)) {
        fail_msg("no metric %s.%s", metrics, name);
    }
    return json_number_value(value);
}
