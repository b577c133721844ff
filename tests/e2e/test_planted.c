/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planted update: a client whose update the test knows, and a search of all that the
 * coordinator has of it, in memory and on disk, while it holds what the client sent and after the
 * round. Without secure aggregation the search finds it; with it, it does not. argv: weft, weftd,
 * weft-client.
 */
#include "fed.h"

#include "config/job.h"
#include "secagg/terms.h"

#include <weft/weft.h>

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N = 4, N_PARAMS = 4096, N_EXAMPLES = 1000, RUN = 8, N_RUNS = 8, BLOCK = 1 << 16 };

/* ---- the search ------------------------------------------------------------------------------ */

/* Runs of neighbouring values, from all over the update: a copy of any part of it is seen. */
typedef struct pattern {
    float values[N_PARAMS];
    int32_t words[N_PARAMS]; /* in fixed point; rounding is random: right within one */
} pattern;

typedef struct hits {
    size_t floats;
    size_t words;
    uint64_t bytes; /* that were looked at */
} hits;

static bool is_float_run(const uint8_t *at, const float *values)
{
    return memcmp(at, values, RUN * sizeof *values) == 0;
}

static bool is_word_run(const uint8_t *at, const int32_t *words)
{
    for (size_t i = 0; i < RUN; i++) {
        int32_t word;
        memcpy(&word, at + 4 * i, sizeof word); /* any alignment */
        const int64_t off = (int64_t)word - words[i];
        if (off < -1 || off > 1) {
            return false;
        }
    }
    return true;
}

/* Most of memory is zeros, and no run begins with one. */
static bool is_empty(const uint8_t *bytes, size_t n)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

static void search_bytes(hits *h, const uint8_t *bytes, size_t n, const pattern *p)
{
    uint32_t floats[N_RUNS]; /* how runs begin: what decides nearly always */
    uint32_t words[N_RUNS];
    for (size_t k = 0; k < N_RUNS; k++) {
        memcpy(&floats[k], &p->values[k * (N_PARAMS / N_RUNS)], 4);
        words[k] = (uint32_t)p->words[k * (N_PARAMS / N_RUNS)] - 1;
    }
    h->bytes += n;
    for (size_t at = 0; at + (size_t)4 * RUN <= n; at++) {
        uint32_t here;
        memcpy(&here, bytes + at, sizeof here); /* any alignment */
        for (size_t k = 0; here != 0 && k < N_RUNS; k++) {
            const size_t first = k * (N_PARAMS / N_RUNS);
            h->floats += here == floats[k] && is_float_run(bytes + at, p->values + first);
            h->words += here - words[k] <= 2 && is_word_run(bytes + at, p->words + first);
        }
    }
}

/* [from, from + n) of a descriptor, in blocks that overlap by a run. What cannot be read is not
 * there: a guard page, or the end of a file. */
static void search_range(hits *h, int fd, uint64_t from, uint64_t n, const pattern *p)
{
    static uint8_t block[BLOCK];
    const size_t overlap = (size_t)4 * RUN - 1;
    for (uint64_t at = 0; at < n; at += BLOCK - overlap) {
        const size_t want = n - at < BLOCK ? (size_t)(n - at) : BLOCK;
        const ssize_t got = pread(fd, block, want, (off_t)(from + at));
        if (got <= 0) {
            break;
        }
        if (is_empty(block, (size_t)got)) {
            h->bytes += (uint64_t)got;
        } else {
            search_bytes(h, block, (size_t)got, p);
        }
    }
    memset(block, 0, sizeof block);
}

/* All that a process has mapped and may read. Mappings of more than 4 GiB are a sanitizer's
 * shadow, which holds no data of the program. */
static hits search_memory(pid_t pid, const pattern *p)
{
    hits h = {0, 0, 0};
    char path[64];
    char line[512];
    (void)snprintf(path, sizeof path, "/proc/%ld/mem", (long)pid); /* fits, as the next */
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof path, "/proc/%ld/maps", (long)pid);
    FILE *maps = fopen(path, "re");
    assert_true(fd >= 0);
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        uint64_t from = 0;
        uint64_t to = 0;
        char mode[5] = "";
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, mode) == 3 && mode[0] == 'r' &&
            !strstr(line, "[v") && to - from <= (UINT64_C(4) << 30)) {
            search_range(&h, fd, from, to - from, p);
        }
    }
    (void)fclose(maps); /* only read, as the next */
    (void)close(fd);
    return h;
}

static hits files_hits; /* nftw takes no argument */
static const pattern *files_pattern;

static int search_file(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)where;
    if (kind == FTW_F) {
        const int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        search_range(&files_hits, fd, 0, (uint64_t)st->st_size, files_pattern);
        (void)close(fd); /* only read */
    }
    return 0;
}

/* Every file below: databases, their logs, the spool, the models. */
static hits search_files(const char *dir, const pattern *p)
{
    files_hits = (hits){0, 0, 0};
    files_pattern = p;
    assert_int_equal(nftw(dir, search_file, 16, FTW_PHYS), 0);
    return files_hits;
}

/* ---- the update ------------------------------------------------------------------------------ */

static pattern planted;

/* Different numbers all over, some thousand steps of the grid each. */
static float planted_value(size_t i)
{
    return (float)((i * 2654435761U) % 65521U) / 65521.0F * 0.2F - 0.1F;
}

static const char *const job_text =
    "name: plant\n"
    "dataset: plant\n"
    "model: |\n"
    "  tensor w 4096\n"
    "train: {epochs: 1}\n"
    "round: {target: 4, minimum: 3, over_selection: 1}\n"
    "stop: {rounds: 1}\n"
    "aggregation: {clip_norm: 10, max_examples: 1000, secure: %s}\n";

typedef struct words_sink {
    int32_t *to;
    size_t n;
} words_sink;

static weft_status keep_words(void *self, uint32_t *words, size_t n, weft_err *err)
{
    words_sink *sink = self;
    (void)err;
    for (size_t i = 0; i < n && sink->n < N_PARAMS; i++) {
        sink->to[sink->n++] = (int32_t)words[i];
    }
    return WEFT_OK;
}

/* The words on the job's own grid. */
static void make_pattern(const char *job_file)
{
    static const uint8_t seed[WEFT_FIXED_SEED_BYTES] = {1};
    weft_job_def def;
    weft_secagg_terms terms;
    weft_fixed_grid grid;
    weft_fixed_result result;
    weft_metrics metrics = {0};
    words_sink sink = {planted.words, 0};
    const weft_fixed_sink to = {keep_words, &sink};
    for (size_t i = 0; i < N_PARAMS; i++) {
        planted.values[i] = planted_value(i);
    }
    assert_ok(weft_job_yaml_load(&def, job_file, &weft_alloc_std, &assert_err));
    weft_secagg_terms_make(&terms, &def, WEFT_TASK_TRAIN);
    assert_ok(weft_secagg_terms_grid(&grid, &terms, WEFT_TASK_TRAIN, N_PARAMS, def.clip_norm,
                                     def.max_examples, &assert_err));
    assert_ok(weft_fixed_encode(&result, &to, &grid, planted.values, NULL, N_EXAMPLES, &metrics,
                                seed, &weft_alloc_std, &assert_err));
    assert_false(result.clipped);
    assert_int_equal(sink.n, N_PARAMS);
    for (size_t k = 0; k < N_RUNS; k++) { /* the search may pass over zeros */
        assert_true(planted.words[k * (N_PARAMS / N_RUNS)] < -1 ||
                    planted.words[k * (N_PARAMS / N_RUNS)] > 1);
        assert_true(planted.values[k * (N_PARAMS / N_RUNS)] != 0.0F);
    }
    weft_job_def_done(&def, &weft_alloc_std);
}

/* ---- clients --------------------------------------------------------------------------------- */

typedef struct member {
    size_t number; /* 0 and N - 1 have the planted update; N - 1 waits before it sends it */
    weft_client *client;
    pthread_t thread;
    weft_status end;
} member;

static fed f;
static member members[N];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* guarded by lock */
static bool secure;
static bool go_on;       /* the last one may */
static size_t n_uploads; /* with their receipts */

static void wait_for_go(void)
{
    (void)pthread_mutex_lock(&lock); /* not recursive, here and below: cannot fail */
    while (!go_on) {
        (void)pthread_cond_wait(&changed, &lock);
    }
    (void)pthread_mutex_unlock(&lock);
}

static weft_status train(void *self, const weft_task_info *task, float *weights,
                         weft_task_result *result, weft_task_control *control, char message[256])
{
    const member *m = self;
    (void)control;
    (void)message;
    if (!secure && m->number == N - 1) {
        wait_for_go();
    }
    for (size_t i = 0; i < task->n_params; i++) { /* from zeros; the others pull elsewhere */
        weights[i] =
            m->number == 0 || m->number == N - 1 ? planted_value(i) : 0.01F * (float)m->number;
    }
    result->n_examples = N_EXAMPLES;
    result->n_metrics = 0;
    return WEFT_OK;
}

/* Called inside run: who waits here has shared its secrets, and not yet sent its masked vector. */
static void observe(void *arg, const weft_client_event *event)
{
    const member *m = arg;
    if (secure && m->number == N - 1 && event->kind == WEFT_CLIENT_SECURE &&
        strcmp(event->detail, "masking") == 0) {
        wait_for_go();
    }
    if (event->kind == WEFT_CLIENT_UPLOADED) {
        (void)pthread_mutex_lock(&lock);
        n_uploads++;
        (void)pthread_cond_broadcast(&changed);
        (void)pthread_mutex_unlock(&lock);
    }
}

static void *run_member(void *arg)
{
    member *m = arg;
    m->end = weft_client_run(m->client, NULL);
    return NULL;
}

static void start_members(void)
{
    for (size_t i = 0; i < N; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "c%zu", i); /* fits */
        fed_enrol(&f, name);
    }
    for (size_t i = 0; i < N; i++) {
        member *m = &members[i];
        char name[32];
        weft_client_options options = WEFT_CLIENT_OPTIONS_INIT;
        weft_dataset dataset = WEFT_DATASET_INIT;
        const weft_trainer trainer = {sizeof trainer, m, train};
        weft_error err = WEFT_ERROR_INIT;
        (void)snprintf(name, sizeof name, "client-c%zu", i); /* fits */
        *m = (member){.number = i};
        options.require_secure_aggregation = secure; /* as the job */
        options.state_dir = fed_path(&f, name);
        dataset.name = "plant";
        dataset.n_examples = N_EXAMPLES;
        if (weft_client_open(&m->client, &options, &err) != WEFT_OK ||
            weft_client_attach(m->client, &dataset, &trainer, &err) != WEFT_OK) {
            fail_msg("client %zu: %s", i, err.message);
        }
        weft_client_observe(m->client, observe, m);
        assert_int_equal(pthread_create(&m->thread, NULL, run_member, m), 0);
    }
}

static void stop_members(void)
{
    for (size_t i = 0; i < N; i++) {
        weft_client_stop(members[i].client);
        assert_int_equal(pthread_join(members[i].thread, NULL), 0);
        weft_client_close(members[i].client);
    }
}

static void wait_uploads(size_t n)
{
    struct timespec until;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &until), 0);
    until.tv_sec += FED_WAIT_S;
    (void)pthread_mutex_lock(&lock);
    int late = 0;
    while (n_uploads < n && !late) {
        late = pthread_cond_timedwait(&changed, &lock, &until);
    }
    const size_t come = n_uploads;
    (void)pthread_mutex_unlock(&lock);
    assert_int_equal(come, n);
}

static void let_go(void)
{
    (void)pthread_mutex_lock(&lock);
    go_on = true;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    go_on = false;
    n_uploads = 0;
    fed_new(&f, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fed_done(&f);
    return 0;
}

/* Frozen: what is looked at does not change meanwhile. */
static void search_coordinator(hits *memory, hits *files)
{
    fed_kill(&f, f.weftd, SIGSTOP);
    *memory = search_memory(f.weftd->pid, &planted);
    *files = search_files(f.weftd_dir, &planted);
    fed_kill(&f, f.weftd, SIGCONT);
    assert_true(memory->bytes > (1U << 20));
    assert_true(files->bytes > (1U << 14));
}

/* The round up to where all updates but one are with the coordinator; then to its end. */
static void run_round(bool with_secure, hits memory[2], hits files[2])
{
    char text[1024];
    (void)snprintf(text, sizeof text, job_text, with_secure ? "true" : "false"); /* fits */
    fed_write(&f, "plant.yaml", text);
    secure = with_secure;
    FED_WEFT(&f, 0, "job", "submit", fed_path(&f, "plant.yaml"));
    if (with_secure) {
        make_pattern(fed_path(&f, "plant.yaml"));
    }
    start_members();
    wait_uploads(N - 1);
    search_coordinator(&memory[0], &files[0]);
    if (with_secure) { /* the words are those that a client has before it masks them */
        assert_true(search_files(fed_path(&f, "client-c3"), &planted).words >= N_RUNS);
    }
    let_go();
    fed_wait_job(&f, "plant", "done");
    search_coordinator(&memory[1], &files[1]);
    stop_members();
    json_t *list = FED_JSON(&f, "round", "list", "plant");
    assert_int_equal(fed_int(json_array_get(list, 0), "accepted"), N);
    assert_int_equal(fed_int(json_array_get(list, 0), "attempt"), 1);
    json_decref(list);
}

static void test_planted__is_nowhere_in_a_secure_coordinator(void **state)
{
    (void)state;
    hits memory[2];
    hits files[2];
    run_round(true, memory, files);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(memory[i].floats, 0);
        assert_int_equal(memory[i].words, 0);
        assert_int_equal(files[i].floats, 0);
        assert_int_equal(files[i].words, 0);
    }
}

/* The control: the same search, the same federation. */
static void test_planted__is_found_in_a_plain_one(void **state)
{
    (void)state;
    hits memory[2];
    hits files[2];
    run_round(false, memory, files);
    assert_true(memory[0].floats + files[0].floats > 0);
    assert_true(files[0].floats >= N_RUNS); /* the spool has all of it */
}

/* The control of the words, which no plain coordinator has: in a file, at an odd place, and in
 * memory; each one off by the rounding. */
static void test_planted__words_are_found_where_they_are(void **state)
{
    (void)state;
    static uint8_t bytes[4 * N_PARAMS + 3];
    for (size_t i = 0; i < N_PARAMS; i++) {
        const int32_t word = planted.words[i] + (int32_t)(i % 3) - 1;
        memcpy(bytes + 3 + 4 * i, &word, sizeof word);
    }
    char *dir = test_dir_new();
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%.1000s/words", dir);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, sizeof bytes, file), sizeof bytes);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(search_files(dir, &planted).words, N_RUNS);
    assert_true(search_memory(getpid(), &planted).words >= N_RUNS);
    test_dir_done(dir);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        (void)fprintf(stderr, "usage: test_planted WEFT WEFTD WEFT-CLIENT\n");
        return 64;
    }
    fed_programs(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_planted__is_nowhere_in_a_secure_coordinator, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_planted__is_found_in_a_plain_one, set_up, tear_down),
        cmocka_unit_test(test_planted__words_are_found_where_they_are), /* of the first's grid */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
