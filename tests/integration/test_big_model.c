/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of 2.5 GiB through a real weftd and a real libweft client with a trainer of its own, over
 * mutual TLS: fetched, trained at a few elements, submitted, averaged, exported, imported. On the
 * way the client is killed twice, each time with more than 2 GiB behind it, and goes on where it
 * was. What neither process may do is hold the model in memory: beside file mappings they stay
 * below 256 MB all the time, and of these mappings no more than the model and 256 MB is in memory
 * at once.
 *
 *     test_big_model WEFTD WEFT            the test
 *     test_big_model client STATE JOIN     the client, as a process of its own
 *
 * WEFT_BIG_MODEL_PARAMS makes the model smaller, for a quick look (then nobody is killed).
 */
#include "weftd_fixture.h"

#include "base/clock.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "weft/weft.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define PARAMS UINT64_C(671088640) /* 2.5 GiB of float32 */
#define GIB    (UINT64_C(1) << 30)
/* What has to be free. Nearly everything of this model is a hole of some file; room is taken by the
 * client's update (allocated, so that a full disk is told early) and by the export, twice. */
#define NEED_DISK_GIB   12
#define NEED_MEMORY_GIB 4
/* Beside file mappings; the promise. */
#define LIMIT_KB (256L << 10)
/* A lease that the encoding alone would outlast on a slow machine. */
#define LEASE "20s"

static const char *weft_path;
static uint64_t n_params = PARAMS;
extern char **environ;

/* ---- what the trainer changes -----------------------------------------------------------------
 */

typedef struct change {
    uint64_t at;
    float by; /* exact in the sum's grid */
} change;

enum { N_CHANGES = 5 };

/* Ascending: the first, across 1 and 2 GiB, the last. */
static void get_changes(change ret[N_CHANGES])
{
    ret[0] = (change){0, 0.5F};
    ret[1] = (change){n_params * 2 / 5 - 1, -1.25F}; /* the last float32 below 1 GiB */
    ret[2] = (change){n_params * 4 / 5, 3.0F};       /* the first above 2 GiB */
    ret[3] = (change){n_params * 4 / 5 + 1000003, -0.0078125F};
    ret[4] = (change){n_params - 1, 2.5F};
}

static uint64_t model_bytes(void)
{
    return n_params * sizeof(float);
}

/* SHA-256 of the vector that is zero but for the changes. */
static void want_digest(uint8_t ret[32])
{
    enum { BLOCK = 1 << 18 };
    static float block[BLOCK];
    change changes[N_CHANGES];
    weft_hash *hash = NULL;
    get_changes(changes);
    assert_ok(weft_hash_new(&hash, &weft_alloc_std, NULL));
    for (uint64_t first = 0; first < n_params; first += BLOCK) {
        const uint64_t n = n_params - first < BLOCK ? n_params - first : BLOCK;
        memset(block, 0, sizeof block);
        for (size_t i = 0; i < N_CHANGES; i++) {
            if (changes[i].at >= first && changes[i].at < first + n) {
                block[changes[i].at - first] = changes[i].by;
            }
        }
        assert_ok(weft_hash_add(hash, block, (size_t)n * sizeof(float), NULL));
    }
    assert_ok(weft_hash_finish(ret, hash, NULL));
    weft_hash_free(hash);
}

/* ---- the client's process ---------------------------------------------------------------------
 */

static weft_status train(void *self, const weft_task_info *task, float *weights,
                         weft_task_result *result, weft_task_control *control, char message[256])
{
    change changes[N_CHANGES];
    (void)self;
    (void)control;
    if (task->n_params != n_params || task->kind != WEFT_TASK_KIND_TRAIN) {
        (void)snprintf(message, 256, "want %" PRIu64 " parameters to train", n_params);
        return WEFT_E_INVALID;
    }
    get_changes(changes);
    for (size_t i = 0; i < N_CHANGES; i++) {
        if (weights[changes[i].at] != 0.0F) { /* the first version of a plain model is zeros */
            (void)snprintf(message, 256, "weight %" PRIu64 " is not 0", changes[i].at);
            return WEFT_E_INVALID;
        }
        weights[changes[i].at] += changes[i].by;
    }
    result->n_examples = 3;
    return WEFT_OK;
}

static void tell(void *arg, const weft_client_event *event)
{
    static const char *const words[] = {"",         "connected", "disconnected", "assigned",
                                        "trained",  "uploaded",  "refused",      "declined",
                                        "given up", "renewed"};
    (void)arg;
    printf("%s %s\n", words[event->kind], event->detail);
    (void)fflush(stdout); /* the test reads it */
}

static int client_fails(const char *what, const weft_error *err)
{
    printf("failed: %s: %s\n", what, err->message);
    return 1;
}

static int run_client(const char *state, const char *join)
{
    weft_error err = WEFT_ERROR_INIT;
    weft_client_options options = WEFT_CLIENT_OPTIONS_INIT;
    weft_dataset dataset = WEFT_DATASET_INIT;
    const weft_trainer trainer = {sizeof trainer, NULL, train};
    weft_receipt receipt = WEFT_RECEIPT_INIT;
    weft_client *client = NULL;
    options.state_dir = state;
    options.connect_backoff_max_ms = 500;
    options.require_secure_aggregation = 0; /* one client: nobody to hide among */
    options.min_cohort = 1;
    dataset.name = "numbers";
    dataset.n_examples = 3;
    if (weft_client_open(&client, &options, &err) != WEFT_OK) {
        return client_fails("open", &err);
    }
    weft_client_observe(client, tell, NULL);
    int status = 0;
    if (weft_client_enrol(client, join, &err) != WEFT_OK) {
        status = client_fails("enrol", &err);
    } else if (weft_client_attach(client, &dataset, &trainer, &err) != WEFT_OK) {
        status = client_fails("attach", &err);
    } else if (weft_client_run(client, &err) != WEFT_OK) {
        status = client_fails("run", &err);
    } else if (weft_client_receipt(client, &receipt, &err) != WEFT_OK) {
        status = client_fails("receipt", &err);
    } else {
        char hex[65];
        weft_hex_encode(hex, receipt.update_digest, 32);
        printf("receipt %s\n", hex);
    }
    weft_client_close(client);
    return status;
}

/* ---- processes under watch --------------------------------------------------------------------
 */

/* What a process took beside file mappings, and in all. */
typedef struct use {
    const char *name;
    long now_kb;
    long peak_kb;
    long mapped_peak_kb;
    long more_models; /* that it may map beside the one */
} use;

typedef struct child {
    pid_t pid; /* 0: ended */
    int out;
    use memory;
    char text[8192]; /* what it said, the newest part */
    size_t n;
    int status;
} child;

typedef struct world {
    weftd w;
    use weftd_memory;
    child client;
    char state[600];
    char join[600];
    uint64_t began_ms;
} world;

static uint64_t mono_ms(void)
{
    return weft_clock_system.mono_ms(NULL);
}

/* RssAnon + RssShmem: what the kernel cannot write back to a file of ours. */
static void sample(use *u, pid_t pid)
{
    char path[64];
    char line[256];
    long anon = 0;
    long shmem = 0;
    long file = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        (void)sscanf(line, "RssAnon: %ld", &anon); /* a line of another field leaves it */
        (void)sscanf(line, "RssShmem: %ld", &shmem);
        (void)sscanf(line, "RssFile: %ld", &file);
    }
    if (f) {
        (void)fclose(f); /* only read */
    }
    u->now_kb = anon + shmem;
    u->peak_kb = u->now_kb > u->peak_kb ? u->now_kb : u->peak_kb;
    u->mapped_peak_kb = file > u->mapped_peak_kb ? file : u->mapped_peak_kb;
    if (u->now_kb > LIMIT_KB) {
        fail_msg("%s takes %ld MB beside its mappings, at most %ld are allowed", u->name,
                 u->now_kb >> 10, LIMIT_KB >> 10);
    }
    /* as sparse as this model is, of mapped pages there is never more than the model itself */
    if (file > (1 + u->more_models) * (long)(model_bytes() >> 10) + LIMIT_KB) {
        fail_msg("%s maps %ld MB, the model has %ld", u->name, file >> 10,
                 (long)(model_bytes() >> 20));
    }
}

static void start_child(child *c, const char *name, char *const argv[])
{
    int pipe_fd[2];
    posix_spawn_file_actions_t actions;
    memset(c, 0, sizeof *c);
    c->memory.name = name;
    assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], STDOUT_FILENO), 0);
    assert_int_equal(posix_spawn(&c->pid, argv[0], &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions); /* ours */
    (void)close(pipe_fd[1]);                          /* the child has it */
    c->out = pipe_fd[0];
}

static void take_text(child *c)
{
    if (c->n > sizeof c->text / 2) {
        memmove(c->text, c->text + c->n / 2, c->n - c->n / 2);
        c->n -= c->n / 2;
    }
    const ssize_t got = read(c->out, c->text + c->n, sizeof c->text - 1 - c->n);
    c->n += got > 0 ? (size_t)got : 0;
    c->text[c->n] = '\0';
    if (got == 0) {
        (void)close(c->out); /* only read */
        c->out = -1;
    }
}

/* Watch both for some milliseconds; true once c has ended. */
static bool watch(world *f, child *c)
{
    struct pollfd fd = {c->out, POLLIN, 0};
    if (c->out < 0) {
        (void)poll(NULL, 0, 5); /* only to wait for its end */
    } else if (poll(&fd, 1, 10) > 0) {
        take_text(c);
    }
    sample(&f->weftd_memory, f->w.pid);
    if (waitpid(c->pid, &c->status, c->out < 0 ? 0 : WNOHANG) == c->pid) {
        while (c->out >= 0) {
            take_text(c);
        }
        c->pid = 0;
        return true;
    }
    sample(&c->memory, c->pid);
    return false;
}

static void say(const world *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const world *f, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cut at worst */
    va_end(args);
    print_message("%6.1f s  %s\n", (double)(mono_ms() - f->began_ms) / 1000.0, text);
}

/* Run `weft ...` to its good end, both it and weftd under watch; what it said is the child's text.
 */
static void weft(world *f, child *c, const char *const arguments[])
{
    char op[600];
    char *argv[16] = {strdup(weft_path), strdup("--operator"), NULL, strdup("--timeout"),
                      strdup("30m"),     strdup("--address"),  NULL};
    size_t n = 7;
    (void)snprintf(op, sizeof op, "%s/op", f->w.dir);
    argv[2] = strdup(op);
    argv[6] = strdup(f->w.address);
    for (size_t i = 0; arguments[i]; i++) {
        assert_true(n < 15);
        argv[n++] = strdup(arguments[i]);
    }
    start_child(c, "weft", argv);
    /* an import reads a file and sends another */
    c->memory.more_models = arguments[1] && strcmp(arguments[1], "import") == 0;
    while (!watch(f, c)) {
    }
    for (size_t i = 0; i < n; i++) {
        free(argv[i]);
    }
    if (!WIFEXITED(c->status) || WEXITSTATUS(c->status) != 0) {
        fail_msg("weft %s ended with %x: %s", arguments[0], (unsigned)c->status, c->text);
    }
}
#define WEFT(f, c, ...) weft(f, c, (const char *const[]){__VA_ARGS__, NULL})

/* ---- the client, killed where it hurts --------------------------------------------------------
 */

/* The size of the file in dir whose name has these ends; -1: there is none. */
static int64_t size_of(const char *dir, const char *begin, const char *end)
{
    int64_t size = -1;
    DIR *d = opendir(dir);
    for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        const size_t n = strlen(e->d_name);
        struct stat st;
        if (strncmp(e->d_name, begin, strlen(begin)) == 0 && n >= strlen(end) &&
            strcmp(e->d_name + n - strlen(end), end) == 0 &&
            fstatat(dirfd(d), e->d_name, &st, 0) == 0) {
            size = st.st_size;
        }
    }
    if (d) {
        (void)closedir(d); /* only read */
    }
    return size;
}

static void start_client(world *f)
{
    static char self[] = "/proc/self/exe";
    static char word[] = "client";
    char *argv[] = {self, word, f->state, f->join, NULL};
    const use before = f->client.memory;
    start_child(&f->client, "client", argv);
    f->client.memory.peak_kb = before.peak_kb;
    f->client.memory.mapped_peak_kb = before.mapped_peak_kb;
}

static void kill_client(world *f)
{
    assert_int_equal(kill(f->client.pid, SIGKILL), 0);
    while (!watch(f, &f->client)) {
    }
}

/* Until the file has 2 GiB; then the client is killed, and what is there counts. */
static int64_t kill_at_2_gib(world *f, const char *dir, const char *begin, const char *end)
{
    int64_t size = -1;
    while (size <= (int64_t)(2 * GIB)) {
        if (watch(f, &f->client)) {
            fail_msg("the client ended with %x: %s", (unsigned)f->client.status, f->client.text);
        }
        size = size_of(dir, begin, end);
    }
    kill_client(f);
    size = size_of(dir, begin, end);
    assert_true(size > (int64_t)(2 * GIB)); /* else it was through already */
    return size;
}

/* Start it again: the file goes on from where it was, until it has become another. */
static void resume(world *f, const char *dir, const char *begin, const char *end, int64_t size)
{
    start_client(f);
    for (int64_t now = size; now >= 0; now = size_of(dir, begin, end)) {
        if (now < size) {
            fail_msg("%s...%s went back from %" PRId64 " to %" PRId64, begin, end, size, now);
        }
        if (watch(f, &f->client)) {
            fail_msg("the client ended with %x: %s", (unsigned)f->client.status, f->client.text);
        }
    }
}

static void take_part(world *f)
{
    char spool[600];
    (void)snprintf(spool, sizeof spool, "%s/coord/data/spool", f->w.dir);
    start_client(f);
    if (n_params == PARAMS) {
        int64_t size = kill_at_2_gib(f, f->state, "base-", ".part");
        say(f, "client killed with %" PRId64 " bytes of the base version", size);
        resume(f, f->state, "base-", ".part", size);
        say(f, "base version complete");
        size = kill_at_2_gib(f, spool, "", ".part");
        say(f, "client killed with %" PRId64 " bytes of the update sent", size);
        resume(f, spool, "", ".part", size);
        say(f, "update complete");
    }
    while (!watch(f, &f->client)) {
    }
    if (!WIFEXITED(f->client.status) || WEXITSTATUS(f->client.status) != 0) {
        fail_msg("the client ended with %x: %s", (unsigned)f->client.status, f->client.text);
    }
}

/* ---- the test ---------------------------------------------------------------------------------
 */

static uint64_t memory_available_kb(void)
{
    char line[256];
    unsigned long long kb = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        (void)sscanf(line, "MemAvailable: %llu", &kb); /* a line of another field leaves it */
    }
    if (f) {
        (void)fclose(f); /* only read */
    }
    return kb;
}

/* Is the machine large enough? Says so where it is not. */
static bool has_room(void)
{
    const char *dir = getenv("TMPDIR");
    struct statfs fs;
    if (statfs(dir ? dir : "/tmp", &fs) != 0 || fs.f_type == TMPFS_MAGIC) {
        printf("skipped: %s is not on a disk (TMPDIR names another folder)\n", dir ? dir : "/tmp");
        return false;
    }
    const uint64_t disk = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    const uint64_t memory = memory_available_kb() << 10;
    const uint64_t scale = PARAMS / n_params;
    if (disk < NEED_DISK_GIB * GIB / scale || memory < NEED_MEMORY_GIB * GIB / scale) {
        printf("skipped: %.1f GiB of disk and %.1f GiB of memory are free, the model needs %d and "
               "%d (TMPDIR names another disk)\n",
               (double)disk / (double)GIB, (double)memory / (double)GIB, NEED_DISK_GIB,
               NEED_MEMORY_GIB);
        return false;
    }
    return true;
}

static void write_job(world *f, char *path, size_t size)
{
    char text[1024];
    assert_ok(weft_path_join(path, size, f->w.dir, "big.yaml", NULL));
    const int n = snprintf(text, sizeof text,
                           "name: big\n"
                           "dataset: numbers\n"
                           "model: |\n"
                           "  tensor w %" PRIu64 "\n"
                           "round: {target: 1, minimum: 1, deadline: 30m, lease: " LEASE
                           ", selection_window: 0s}\n"
                           "aggregation: {clip_norm: 10, max_examples: 100, secure: false}\n"
                           "evaluation: {clients: 0}\n"
                           "stop: {rounds: 1}\n",
                           n_params);
    assert_ok(weft_file_write(path, text, (size_t)n, 0600, NULL));
}

/* The receipt names the update's digest, `model list` the new version's; base 0: both are ours. */
static void check_digests(world *f)
{
    uint8_t digest[32];
    char hex[65];
    child c;
    want_digest(digest);
    weft_hex_encode(hex, digest, 32);
    const char *receipt = strstr(f->client.text, "receipt ");
    assert_non_null(receipt);
    assert_memory_equal(receipt + strlen("receipt "), hex, 64);
    WEFT(f, &c, "--format", "json", "model", "list");
    if (!strstr(c.text, hex)) {
        fail_msg("no version %s in %s", hex, c.text);
    }
}

/* The exported file's values, beyond 2 GiB, too. */
static void check_export(world *f)
{
    char path[600];
    char header[4096];
    change changes[N_CHANGES];
    uint64_t length = 0;
    float value = 0.0F;
    child c;
    assert_ok(weft_path_join(path, sizeof path, f->w.dir, "big.safetensors", NULL));
    WEFT(f, &c, "model", "export", "big", "--output", path);
    say(f, "exported; weft: %ld MB beside mappings", c.memory.peak_kb >> 10);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &length, sizeof length, 0), sizeof length);
    assert_true(length < sizeof header);
    assert_int_equal(pread(fd, header, (size_t)length, 8), length);
    json_t *root = json_loadb(header, (size_t)length, 0, NULL);
    const json_t *offsets = json_object_get(json_object_get(root, "w"), "data_offsets");
    assert_int_equal(json_integer_value(json_array_get(offsets, 1)), model_bytes());
    json_decref(root);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 8 + length + model_bytes());
    get_changes(changes);
    for (size_t i = 0; i < N_CHANGES; i++) {
        const off_t at = (off_t)(8 + length + changes[i].at * sizeof value);
        assert_int_equal(pread(fd, &value, sizeof value, at), sizeof value);
        assert_true(value == changes[i].by);
    }
    (void)close(fd); /* only read */
}

/* The exported file comes back as the version that it was. */
static void check_import(world *f)
{
    char path[600];
    uint8_t digest[32];
    char hex[65];
    child c;
    want_digest(digest);
    weft_hex_encode(hex, digest, 32);
    assert_ok(weft_path_join(path, sizeof path, f->w.dir, "big.safetensors", NULL));
    assert_int_equal(setenv("TMPDIR", f->w.dir, 1), 0);
    WEFT(f, &c, "model", "import", path);
    if (!strstr(c.text, hex)) {
        fail_msg("no version %s in %s", hex, c.text);
    }
    say(f, "imported; weft: %ld MB beside mappings, %ld MB mapped", c.memory.peak_kb >> 10,
        c.memory.mapped_peak_kb >> 10);
    (void)unlink(path); /* goes with the folder anyway */
}

static int set_up(void **state)
{
    static world f;
    memset(&f, 0, sizeof f);
    f.began_ms = mono_ms();
    f.weftd_memory.name = "weftd";
    f.client.out = -1;
    *state = &f;
    weftd_start(&f.w, NULL);
    return 0;
}

/* Also after a failure: nobody and nothing of this size is left behind. */
static int tear_down(void **state)
{
    world *f = *state;
    if (f->client.pid) {
        (void)kill(f->client.pid, SIGKILL);
        (void)waitpid(f->client.pid, NULL, 0);
    }
    weftd_done(&f->w);
    return 0;
}

static void test_big_model__travels_in_little_memory(void **state)
{
    world *f = *state;
    char job[600];
    child c;
    write_job(f, job, sizeof job);
    (void)snprintf(f->state, sizeof f->state, "%s/client", f->w.dir);
    (void)snprintf(f->join, sizeof f->join, "%s/big.join", f->w.dir);
    WEFT(f, &c, "client", "invite", "big", "--output", f->join);
    WEFT(f, &c, "job", "submit", job);
    say(f, "job submitted: %.2f GB; weftd %ld MB beside mappings", (double)model_bytes() / 1e9,
        f->weftd_memory.peak_kb >> 10);
    take_part(f);
    say(f, "client done: %ld MB beside mappings, %ld MB mapped", f->client.memory.peak_kb >> 10,
        f->client.memory.mapped_peak_kb >> 10);
    WEFT(f, &c, "job", "watch", "big");
    say(f, "round done: weftd %ld MB beside mappings, %ld MB mapped", f->weftd_memory.peak_kb >> 10,
        f->weftd_memory.mapped_peak_kb >> 10);
    check_digests(f);
    check_export(f);
    check_import(f);
    say(f, "peaks beside mappings: weftd %ld MB, client %ld MB", f->weftd_memory.peak_kb >> 10,
        f->client.memory.peak_kb >> 10);
}

int main(int argc, char **argv)
{
    const char *params = getenv("WEFT_BIG_MODEL_PARAMS");
    if (params) {
        n_params = strtoull(params, NULL, 10);
    }
    if (argc == 4 && strcmp(argv[1], "client") == 0) {
        return run_client(argv[2], argv[3]);
    }
    if (argc != 3 || n_params < 2000000 || n_params > PARAMS) {
        (void)fprintf(stderr, "usage: test_big_model WEFTD WEFT\n"); /* nothing else to do */
        return 64;
    }
    if (!has_room()) {
        return 77; /* meson: skipped */
    }
    weftd_path = argv[1];
    weft_path = argv[2];
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
        test_big_model__travels_in_little_memory, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
