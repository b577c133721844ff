/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed: libweft inside an application that has everything else already: its own model, its own
 * trainer, its own event loop. Built with nothing but
 *
 *     cc embed.c $(pkg-config --cflags --libs weft) -o embed
 *
 * The application predicts the heating of a house, kWh = w . (degrees below 20, wind, persons) + b,
 * by linear regression on readings that it has collected. weft only sees "four float32 values
 * called weight and bias"; the readings stay in here.
 *
 *     embed --self-check              train alone, no federation
 *     embed STATE JOINFILE HOUSE      enrol once, take part until the job ends
 */
#include <weft/weft.h>

#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The job that fits this application names its tensors like that (see heating.yaml):
 *   tensor weight 3
 *   tensor bias 1 */
enum { N_INPUTS = 3, N_PARAMS = N_INPUTS + 1, N_READINGS = 200, N_HELD_OUT = 50 };

/* ---- the application's own model ------------------------------------------------------------- */

struct reading {
    float x[N_INPUTS];
    float kwh;
};

struct house {
    struct reading reading[N_READINGS];
};

static float noise(unsigned *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return (float)(*seed >> 8) / (float)(1U << 24) - 0.5F;
}

/* Readings of one house: all houses follow the same physics, each with its own weather. */
static void collect_readings(struct house *h, unsigned number)
{
    unsigned seed = number * 2654435761U + 1U;
    for (int i = 0; i < N_READINGS; i++) {
        struct reading *r = &h->reading[i];
        r->x[0] = 1.0F + noise(&seed) + 0.1F * (float)(number % 5);
        r->x[1] = 0.5F + noise(&seed);
        r->x[2] = (float)(1 + (i + (int)number) % 4) / 4.0F;
        r->kwh = 3.0F * r->x[0] + 0.8F * r->x[1] - 0.5F * r->x[2] + 2.0F + 0.05F * noise(&seed);
    }
}

static float predict(const float w[N_PARAMS], const float x[N_INPUTS])
{
    return w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3];
}

static double mean_square(const float w[N_PARAMS], const struct reading *r, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
        const double e = (double)predict(w, r[i].x) - (double)r[i].kwh;
        sum += e * e;
    }
    return sum / n;
}

static void descend(float w[N_PARAMS], const struct reading *r, int n, float rate)
{
    for (int i = 0; i < n; i++) {
        const float e = predict(w, r[i].x) - r[i].kwh;
        for (int k = 0; k < N_INPUTS; k++) {
            w[k] -= rate * e * r[i].x[k];
        }
        w[N_INPUTS] -= rate * e;
    }
}

/* ---- the trainer: all that weft asks of the application ---------------------------------------
 */

static weft_status train(void *self, const weft_task_info *task, float *weights,
                         weft_task_result *result, weft_task_control *control, char message[256])
{
    const struct house *h = self;
    const struct reading *ours = h->reading;
    const struct reading *unseen = h->reading + N_READINGS - N_HELD_OUT;
    const struct reading *measure = ours;
    int n = N_READINGS - N_HELD_OUT;
    if (task->n_params != N_PARAMS) {
        (void)snprintf(message, 256, "this application has %d parameters, the job %zu", N_PARAMS,
                       task->n_params);
        return WEFT_E_INVALID;
    }
    if (task->kind == WEFT_TASK_KIND_TRAIN) {
        for (uint32_t epoch = 0; epoch < task->epochs; epoch++) {
            if (weft_task_canceled(control)) {
                return WEFT_E_CANCELED;
            }
            descend(weights, ours, n, (float)task->learning_rate);
            weft_task_progress(control, epoch + 1, task->epochs);
        }
    } else if (task->kind == WEFT_TASK_KIND_EVALUATE) {
        measure = unseen;
        n = N_HELD_OUT;
    } else {
        (void)snprintf(message, 256, "this application answers no statistics");
        return WEFT_E_INVALID;
    }
    result->n_examples = (uint64_t)n;
    result->n_metrics = 1;
    (void)snprintf(result->metrics[0].name, sizeof result->metrics[0].name, "loss");
    result->metrics[0].value = mean_square(weights, measure, n);
    return isfinite(result->metrics[0].value) ? WEFT_OK : WEFT_E_INVALID;
}

/* ---- the application's own loop ----------------------------------------------------------------
 */

static weft_client *the_client; /* for the signal handler */

static void on_signal(int number)
{
    (void)number;
    weft_client_stop(the_client); /* NOLINT(bugprone-signal-handler): documented as safe */
}

static void on_event(void *arg, const weft_client_event *event)
{
    static const char *const words[] = {"",         "connected", "disconnected", "assigned",
                                        "trained",  "uploaded",  "refused",      "declined",
                                        "given up", "renewed",   "secure"};
    (void)arg;
    (void)printf("weft: %s %s %s\n", words[event->kind], event->job, event->detail);
}

/* One descriptor among the many that an application waits for. */
static weft_status loop(weft_client *client, weft_error *err)
{
    struct pollfd fds[1] = {{weft_client_wake_fd(client), POLLIN, 0}};
    weft_status status = weft_client_step(client, 0, err);
    while (status == WEFT_E_AGAIN) {
        (void)poll(fds, 1, 1000); /* the application's other work happens here */
        status = weft_client_step(client, 0, err);
    }
    return status;
}

static int fail(const char *what, const weft_error *err)
{
    (void)fprintf(stderr, "embed: %s: %s\n", what, err->message);
    return 1;
}

static int take_part(const char *state, const char *join_file, unsigned number)
{
    struct house house;
    weft_error err = WEFT_ERROR_INIT;
    weft_client_options options = WEFT_CLIENT_OPTIONS_INIT;
    weft_dataset readings = WEFT_DATASET_INIT;
    const weft_trainer trainer = {sizeof trainer, &house, train};
    weft_client *client = NULL;
    collect_readings(&house, number);
    options.state_dir = state;
    options.allowed_jobs = "heating*"; /* the owner's policy: this application, nothing else */
    options.poller_thread = 1;
    if (weft_client_open(&client, &options, &err) != WEFT_OK) {
        return fail("cannot open", &err);
    }
    readings.name = "heating";
    readings.n_examples = N_READINGS - N_HELD_OUT;
    weft_client_observe(client, on_event, NULL);
    weft_status status = weft_client_enrol(client, join_file, &err);
    if (status == WEFT_OK) {
        status = weft_client_attach(client, &readings, &trainer, &err);
    }
    if (status == WEFT_OK) {
        the_client = client;
        (void)signal(SIGINT, on_signal);
        (void)signal(SIGTERM, on_signal);
        status = loop(client, &err);
    }
    weft_receipt receipt = WEFT_RECEIPT_INIT;
    if (weft_client_receipt(client, &receipt, NULL) == WEFT_OK) {
        (void)printf("newest receipt: %s, round %u\n", receipt.job, (unsigned)receipt.round);
    }
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    weft_client_close(client);
    return status == WEFT_OK || status == WEFT_E_CANCELED ? 0 : fail("stopped", &err);
}

/* ---- without a federation ----------------------------------------------------------------------
 */

static int self_check(void)
{
    struct house house;
    float w[N_PARAMS] = {0};
    collect_readings(&house, 1);
    const double before = mean_square(w, house.reading, N_READINGS);
    for (int i = 0; i < 200; i++) {
        descend(w, house.reading, N_READINGS - N_HELD_OUT, 0.1F);
    }
    const double after = mean_square(w, house.reading, N_READINGS);
    (void)printf("libweft %s; mean square %.3f before, %.5f after training alone\n", weft_version(),
                 before, after);
    /* an application that has not enrolled is told so, not left waiting */
    char dir[] = "/tmp/weft-embed-XXXXXX";
    char state[64];
    if (!mkdtemp(dir)) {
        return 1;
    }
    (void)snprintf(state, sizeof state, "%s/state", dir);
    weft_error err = WEFT_ERROR_INIT;
    weft_client_options options = WEFT_CLIENT_OPTIONS_INIT;
    weft_client *client = NULL;
    options.state_dir = state;
    if (weft_client_open(&client, &options, &err) != WEFT_OK) {
        return fail("cannot open", &err);
    }
    const weft_status status = weft_client_run(client, &err);
    weft_client_close(client);
    (void)printf("without a join file: %s\n", err.message);
    static const char *const left[] = {"lock", "client.db"};
    char path[96];
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", state, left[i]);
        (void)remove(path);
    }
    (void)rmdir(state);
    const int clean = rmdir(dir) == 0;
    return clean && status == WEFT_E_AUTH && after < 0.01 && before > 1.0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--self-check") == 0) {
        return self_check();
    }
    if (argc == 4) {
        return take_part(argv[1], argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    }
    (void)fprintf(stderr, "usage: embed --self-check | embed STATE JOINFILE HOUSE\n");
    return 64;
}
