/* SPDX-License-Identifier: Apache-2.0 */
/* The federation that bench_rounds measures; see the header. */
#include "rounds_world.h"

#include <weft/weft.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_MS      30000
#define AT_ONCE       8 /* enrolments */
#define DATASET       "bench"
#define CLIP_NORM     "100000"
#define COMMAND_PARTS 24

void world_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("bench_rounds: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1);
}

uint64_t world_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* exists */
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* ---- processes ------------------------------------------------------------------------------- */

/* A child that dies with us; out: its stdout, or -1 for a log file in the world's folder. */
static pid_t spawn(const world *w, char *const argv[], int out)
{
    const pid_t pid = fork();
    if (pid < 0) {
        world_die("cannot fork: %s", strerror(errno));
    }
    if (pid > 0) {
        return pid;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    char path[300];
    (void)snprintf(path, sizeof path, "%s/log", w->dir);
    const int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    (void)dup2(out >= 0 ? out : log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    (void)execv(argv[0], argv);
    _exit(127);
}

/* Waits for the child. @return its exit status, or -1. */
static int reap(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* weft --operator DIR [--address ...] ARGS...: must succeed. */
static void weft(const world *w, const char *const args[])
{
    char folder[300];
    (void)snprintf(folder, sizeof folder, "%s/operator", w->dir);
    const char *all[COMMAND_PARTS] = {w->weft, "--operator", folder, "--address", w->target};
    size_t n = 5;
    for (size_t i = 0; args[i] && n < COMMAND_PARTS - 1; i++) {
        all[n++] = args[i];
    }
    char *argv[COMMAND_PARTS] = {NULL};
    memcpy(argv, all, sizeof argv); /* execv only reads them */
    const int status = reap(spawn(w, argv, -1));
    if (status != 0) {
        world_die("weft %s %s ended with %d: see %s/log", args[0], args[1] ? args[1] : "", status,
                  w->dir);
    }
}

/* ---- the coordinator ------------------------------------------------------------------------- */

void world_start_coordinator(world *w)
{
    char config[300];
    (void)snprintf(config, sizeof config, "%s/weftd/weftd.yaml", w->dir);
    const char *all[] = {w->weftd,   "--config",
                         config,     "--listen",
                         w->address, w->plain ? "--plain-loopback-for-benchmarks" : NULL,
                         NULL};
    char *argv[sizeof all / sizeof *all];
    memcpy(argv, all, sizeof argv); /* execv only reads them */
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0) {
        world_die("no pipe: %s", strerror(errno));
    }
    w->coordinator = spawn(w, argv, out[1]);
    w->coordinator_out = out[0];
    (void)close(out[1]);
    char line[1024] = "";
    size_t n = 0;
    while (!strchr(line, '\n')) {
        struct pollfd wait = {.fd = out[0], .events = POLLIN};
        const ssize_t got =
            poll(&wait, 1, READY_MS) == 1 ? read(out[0], line + n, sizeof line - 1 - n) : -1;
        if (got <= 0) {
            world_die("weftd did not become ready: see %s/log", w->dir);
        }
        n += (size_t)got;
    }
}

void world_stop_coordinator(world *w)
{
    if (w->coordinator == 0) {
        return;
    }
    (void)kill(w->coordinator, SIGTERM);
    const int status = reap(w->coordinator);
    w->coordinator = 0;
    (void)close(w->coordinator_out);
    if (status != 0) {
        world_die("weftd ended with %d: see %s/log", status, w->dir);
    }
}

/* ---- clients --------------------------------------------------------------------------------- */

static world_board *client_board; /* the trainer's, in a client's process */
static int client_bell;

static weft_status add_one(void *self, const weft_task_info *task, float *weights,
                           weft_task_result *result, weft_task_control *control, char message[256])
{
    (void)self;
    (void)control;
    (void)message;
    world_board *board = client_board;
    const unsigned round = task->round;
    if (round < WORLD_MAX_ROUNDS) {
        uint64_t none = 0;
        (void)atomic_compare_exchange_strong(&board->began_ns[round], &none, world_now_ns());
        unsigned newest = atomic_load(&board->newest);
        while (newest < round && !atomic_compare_exchange_weak(&board->newest, &newest, round)) {
        }
        if (newest < round) {
            (void)eventfd_write(client_bell, 1); /* full: it rings already */
        }
    }
    atomic_fetch_add(&board->tasks, 1);
    for (size_t i = 0; i < task->n_params; i++) {
        weights[i] += 1.0F;
    }
    result->n_examples = 1;
    result->n_metrics = 0;
    return WEFT_OK;
}

static void client_failed(const char *what, unsigned index, const weft_error *err)
{
    (void)fprintf(stderr, "client %u: %s: %s\n", index, what, err->message);
    _exit(1);
}

static weft_client *open_client(const world *w, unsigned index)
{
    char folder[300];
    (void)snprintf(folder, sizeof folder, "%s/c%u", w->dir, index);
    weft_error err = WEFT_ERROR_INIT;
    weft_client_options options = WEFT_CLIENT_OPTIONS_INIT;
    options.state_dir = folder;
    options.connect_backoff_max_ms = 1000;
    options.require_secure_aggregation = 0; /* the jobs are plain, as the peers' */
    options.min_cohort = 1;
    options.sync_above_ms = w->durable ? 0 : 1000; /* the updates take no time to make again */
    weft_client *client = NULL;
    if (weft_client_open(&client, &options, &err) != WEFT_OK) {
        client_failed("open", index, &err);
    }
    return client;
}

static _Noreturn void enrol(const world *w, unsigned index)
{
    weft_client *client = open_client(w, index);
    weft_error err = WEFT_ERROR_INIT;
    char join[300];
    (void)snprintf(join, sizeof join, "%s/c%u.join", w->dir, index);
    if (weft_client_enrol(client, join, &err) != WEFT_OK) {
        client_failed("enrol", index, &err);
    }
    weft_client_close(client);
    _exit(0);
}

static _Noreturn void take_part(const world *w, unsigned index)
{
    weft_client *client = open_client(w, index);
    weft_error err = WEFT_ERROR_INIT;
    weft_dataset dataset = WEFT_DATASET_INIT;
    dataset.name = DATASET;
    const weft_trainer trainer = {.size = sizeof trainer, .run = add_one};
    if (weft_client_attach(client, &dataset, &trainer, &err) != WEFT_OK) {
        client_failed("attach", index, &err);
    }
    client_board = w->board;
    client_bell = w->bell;
    if (weft_client_run(client, &err) != WEFT_OK) {
        client_failed("run", index, &err);
    }
    weft_client_close(client);
    _exit(0);
}

/* A child that has nothing but what it needs: no gRPC has been started in this process. */
static pid_t fork_client(const world *w, unsigned index, void (*run)(const world *, unsigned))
{
    const pid_t pid = fork();
    if (pid < 0) {
        world_die("cannot fork: %s", strerror(errno));
    }
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        char path[300];
        (void)snprintf(path, sizeof path, "%s/log", w->dir);
        const int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        (void)dup2(log, STDERR_FILENO);
        /* as the agent does, which is a program and may: what chunks took stays for the next */
        (void)mallopt(M_TRIM_THRESHOLD, 64 << 20);
        (void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
        run(w, index);
        _exit(0);
    }
    return pid;
}

void world_listen(const world *w, int timeout_ms)
{
    struct pollfd wait = {.fd = w->bell, .events = POLLIN};
    eventfd_t rung = 0;
    if (poll(&wait, 1, timeout_ms) == 1) {
        (void)eventfd_read(w->bell, &rung); /* how often does not matter */
    }
}

void world_start_clients(world *w, unsigned n)
{
    memset(w->board, 0, sizeof *w->board);
    for (w->n_clients = 0; w->n_clients < n; w->n_clients++) {
        w->clients[w->n_clients] = fork_client(w, w->n_clients, take_part);
    }
}

void world_stop_clients(world *w)
{
    for (unsigned i = 0; i < w->n_clients; i++) {
        (void)kill(w->clients[i], SIGKILL);
    }
    for (unsigned i = 0; i < w->n_clients; i++) {
        (void)reap(w->clients[i]);
    }
    w->n_clients = 0;
}

void world_check(world *w)
{
    int status = 0;
    const pid_t gone = waitpid(-1, &status, WNOHANG);
    if (gone > 0) {
        const bool coordinator = gone == w->coordinator;
        w->coordinator = coordinator ? 0 : w->coordinator;
        world_die("%s %ld ended with %s %d: see %s/log", coordinator ? "weftd" : "a client",
                  (long)gone, WIFSIGNALED(status) ? "signal" : "status",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), w->dir);
    }
}

/* ---- the federation -------------------------------------------------------------------------- */

static unsigned free_port(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (fd < 0 || bind(fd, (const struct sockaddr *)(const void *)&at, sizeof at) != 0 ||
        getsockname(fd, (struct sockaddr *)(void *)&at, &size) != 0) {
        world_die("no free port: %s", strerror(errno));
    }
    (void)close(fd);
    return ntohs(at.sin_port);
}

static void enrol_all(world *w, unsigned n)
{
    for (w->n_enrolled = 0; w->n_enrolled < n;) {
        pid_t some[AT_ONCE];
        unsigned started = 0;
        while (started < AT_ONCE && w->n_enrolled + started < n) {
            some[started] = fork_client(w, w->n_enrolled + started, enrol);
            started++;
        }
        for (unsigned i = 0; i < started; i++) {
            if (reap(some[i]) != 0) {
                world_die("client %u cannot enrol: see %s/log", w->n_enrolled + i, w->dir);
            }
        }
        w->n_enrolled += started;
    }
}

void world_make(world *w, const char *build_dir, bool plain, unsigned n)
{
    *w = (world){.plain = plain};
    const char *base = getenv("TMPDIR");
    (void)snprintf(w->dir, sizeof w->dir, "%s/weft-bench-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(w->dir)) {
        world_die("no temporary folder %s: %s", w->dir, strerror(errno));
    }
    (void)snprintf(w->weft, sizeof w->weft, "%s/server/cli/weft", build_dir);
    (void)snprintf(w->weftd, sizeof w->weftd, "%s/server/app/weftd", build_dir);
    (void)snprintf(w->address, sizeof w->address, "127.0.0.1:%u", free_port());
    (void)snprintf(w->target, sizeof w->target, "%s", w->address);
    w->board =
        mmap(NULL, sizeof *w->board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w->board == MAP_FAILED) {
        world_die("no shared memory: %s", strerror(errno));
    }
    w->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->bell < 0) {
        world_die("no eventfd: %s", strerror(errno));
    }
    char folder[300];
    (void)snprintf(folder, sizeof folder, "%s/weftd", w->dir);
    weft(w, (const char *const[]){"init", "--federation", "bench", "--dir", folder, NULL});
    if (plain) {
        (void)snprintf(w->target, sizeof w->target, "plain:%s", w->address);
    }
    world_start_coordinator(w);
    for (unsigned i = 0; i < n; i++) {
        char name[16];
        char join[300];
        (void)snprintf(name, sizeof name, "c%u", i);
        (void)snprintf(join, sizeof join, "%s/c%u.join", w->dir, i);
        weft(w, (const char *const[]){"client", "invite", name, "--output", join, "--join-address",
                                      w->target, NULL});
    }
    enrol_all(w, n);
    world_stop_coordinator(w);
}

void world_end(world *w, bool keep)
{
    world_stop_clients(w);
    world_stop_coordinator(w);
    if (!keep) {
        char *const argv[] = {(char[]){"/bin/rm"}, (char[]){"-rf"}, w->dir, NULL};
        (void)reap(spawn(w, argv, -1));
    }
    (void)munmap(w->board, sizeof *w->board);
    (void)close(w->bell);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

void world_submit(const world *w, const world_job *job)
{
    char path[400];
    (void)snprintf(path, sizeof path, "%s/%s.yaml", w->dir, job->name);
    FILE *f = fopen(path, "we");
    if (!f) {
        world_die("cannot write %s: %s", path, strerror(errno));
    }
    (void)fprintf(f,
                  "name: %s\n"
                  "dataset: " DATASET "\n"
                  "model: |\n"
                  "  tensor w %llu\n"
                  "round:\n"
                  "  target: %u\n"
                  "  minimum: %u\n"
                  "  over_selection: 1\n"
                  "  deadline: 10m\n"
                  "  lease: 60s\n"
                  "aggregation:\n"
                  "  clip_norm: " CLIP_NORM "\n"
                  "  durability: %s\n"
                  "  secure: false\n"
                  "stop:\n"
                  "  rounds: 1000000\n",
                  job->name, (unsigned long long)job->n_params, job->n_clients, job->n_clients,
                  job->durable ? "update" : "round");
    if (fclose(f) != 0) {
        world_die("cannot write %s: %s", path, strerror(errno));
    }
    weft(w, (const char *const[]){"job", "submit", path, NULL});
}

void world_cancel(const world *w, const char *job)
{
    weft(w, (const char *const[]){"job", "cancel", job, NULL});
}

/* ---- what it costs --------------------------------------------------------------------------- */

double world_cpu_s(pid_t pid)
{
    char path[64];
    char text[1024] = "";
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *f = fopen(path, "re");
    unsigned long long user = 0;
    unsigned long long system = 0;
    const char *name_end = f && fgets(text, sizeof text, f) ? strrchr(text, ')') : NULL;
    if (!name_end || sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                            &user, &system) != 2) {
        world_die("no CPU time of process %ld", (long)pid);
    }
    (void)fclose(f);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

double world_peak_mb(pid_t pid)
{
    char path[64];
    char line[256];
    double kib = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmHWM: %lf", &kib) == 1) {
            break;
        }
    }
    if (!f || kib <= 0) {
        world_die("no memory size of process %ld", (long)pid);
    }
    (void)fclose(f);
    return kib * 1024 / 1e6;
}

double world_clients_cpu_s(const world *w)
{
    double sum = 0;
    for (unsigned i = 0; i < w->n_clients; i++) {
        sum += world_cpu_s(w->clients[i]);
    }
    return sum;
}

double world_clients_peak_mb(const world *w)
{
    double most = 0;
    for (unsigned i = 0; i < w->n_clients; i++) {
        const double mb = world_peak_mb(w->clients[i]);
        most = mb > most ? mb : most;
    }
    return most;
}
