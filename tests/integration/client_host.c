/* SPDX-License-Identifier: Apache-2.0 */
/* A host application of libweft, as tests want it. */
#include "client_host.h"

#include "base/file.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

weft_status host_train(void *self, const weft_task_info *task, float *weights,
                       weft_task_result *result, weft_task_control *control, char message[256])
{
    host *h = self;
    h->trained++;
    if (task->kind == WEFT_TASK_KIND_TRAIN) {
        for (size_t i = 0; i < task->n_params; i++) {
            weights[i] += 1.0F;
        }
    }
    weft_task_progress(control, 1, 2);
    if (h->stop_inside) {
        h->stop_inside = false;
        weft_client_stop(h->client);
    }
    while (h->until_canceled && !weft_task_canceled(control)) {
        struct pollfd none = {.fd = -1};
        (void)poll(&none, 1, 10);
    }
    if (weft_task_canceled(control)) {
        return WEFT_E_CANCELED;
    }
    if (h->answer != WEFT_OK) {
        strcpy(message, "the disk of scanner 3 is full");
        return h->answer;
    }
    result->n_examples = 10;
    result->n_metrics = 1;
    strcpy(result->metrics[0].name, "loss");
    result->metrics[0].value = 0.25;
    return WEFT_OK;
}

static void on_event(void *arg, const weft_client_event *event)
{
    host *h = arg;
    h->n_events++;
    h->n_of_kind[event->kind]++;
    if (event->detail[0]) {
        (void)snprintf(h->detail, sizeof h->detail, "%s", event->detail);
    }
    if (event->kind == WEFT_CLIENT_SECURE) {
        const size_t used = strlen(h->steps);
        (void)snprintf(h->steps + used, sizeof h->steps - used, "%s; ", event->detail);
    }
    if (event->kind == WEFT_CLIENT_REFUSED || event->kind == WEFT_CLIENT_DECLINED ||
        event->kind == WEFT_CLIENT_ABANDONED) {
        (void)snprintf(h->given_up, sizeof h->given_up, "%s", event->detail);
    }
    if ((event->kind == WEFT_CLIENT_SECURE &&
         (int)h->n_of_kind[WEFT_CLIENT_SECURE] == h->kill_at_step) ||
        (int)event->kind == h->kill_at) {
        (void)kill(getpid(), SIGKILL);
    }
}

void open_host(host *h)
{
    h->options.state_dir = h->state;
    assert_weft(weft_client_open(&h->client, &h->options, err));
    weft_dataset d = WEFT_DATASET_INIT;
    d.name = "numbers";
    d.n_examples = 10;
    weft_trainer t = {sizeof t, h, host_train};
    assert_weft(weft_client_attach(h->client, &d, &t, err));
    weft_client_observe(h->client, on_event, h);
}

void close_host(host *h)
{
    weft_client_close(h->client);
    h->client = NULL;
}

void host_options(host *h, bool secure)
{
    const weft_client_options defaults = WEFT_CLIENT_OPTIONS_INIT;
    h->options = defaults;
    h->options.require_secure_aggregation = secure;
    h->options.connect_backoff_max_ms = 100;
}

void begin(host *h, uint64_t n_params, bool secure)
{
    memset(h, 0, sizeof *h);
    host_options(h, secure);
    coordinator_start(&h->c, n_params);
    h->dir = test_dir_new();
    assert_ok(weft_path_join(h->state, sizeof h->state, h->dir, "state", &assert_err));
    coordinator_join_file(&h->c, h->dir, h->join);
    open_host(h);
}

void begin_enrolled(host *h, uint64_t n_params, bool secure)
{
    begin(h, n_params, secure);
    assert_weft(weft_client_enrol(h->client, h->join, err));
}

void end(host *h)
{
    close_host(h);
    coordinator_stop(&h->c);
    test_dir_done(h->dir);
}

void tell(host *h, script s)
{
    coordinator_tell(&h->c, &s);
}

static int take_outcome(void *arg, const weft_contribution *item)
{
    (void)snprintf(arg, 300, "%s round %u: %s", item->job, item->round, item->outcome);
    return 0;
}

void assert_last_outcome(const host *h, const char *want)
{
    char text[300] = "";
    assert_weft(weft_client_history(h->client, take_outcome, text, err));
    assert_string_equal(text, want);
}

void assert_last_outcome_says(const host *h, const char *words)
{
    char text[300] = "";
    assert_weft(weft_client_history(h->client, take_outcome, text, err));
    if (!strstr(text, words)) {
        fail_msg("outcome '%s', wanted '%s'", text, words);
    }
}
