/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host application of libweft in front of a scripted coordinator: its trainer adds one to every
 * weight, its observer counts, and it dies (kill -9) where the test wants.
 */
#ifndef WEFT_TEST_CLIENT_HOST_H
#define WEFT_TEST_CLIENT_HOST_H

#include "coordinator.h"
#include "weft/weft.h"

typedef struct host {
    coordinator c;
    char *dir;
    char state[4096];
    char join[4096];
    weft_client *client;
    weft_client_options options;
    unsigned trained; /* calls of the trainer */
    weft_status answer;
    bool until_canceled;
    bool stop_inside;
    int kill_at;       /* the process dies at this kind of event; 0: none */
    int kill_at_step;  /* or at this event of secure aggregation */
    unsigned n_events; /* all of them */
    unsigned n_of_kind[16];
    char detail[300];   /* of the newest event that has one */
    char given_up[300]; /* of the newest refusal, decline or abandon */
    char steps[600];    /* of secure aggregation, by "; " */
    char proxy[64];
} host;

#define assert_weft(call)                                                                          \
    do {                                                                                           \
        weft_error e_ = WEFT_ERROR_INIT;                                                           \
        weft_error *err = &e_;                                                                     \
        const weft_status status_ = (call);                                                        \
        if (status_ != WEFT_OK) {                                                                  \
            fail_msg("%s: %d %s", #call, (int)status_, e_.message);                                \
        }                                                                                          \
    } while (0)

/* A coordinator for a model of so many parameters, and a host that has not enrolled with it; it
 * takes plain jobs, too, unless secure. */
void begin(host *h, uint64_t n_params, bool secure);
/* The same, enrolled. */
void begin_enrolled(host *h, uint64_t n_params, bool secure);
void end(host *h);
/* Open the client of h->state with h->options; its data set is "numbers". */
void open_host(host *h);
void close_host(host *h);
/* Default options; only secure jobs, or plain ones, too. */
void host_options(host *h, bool secure);
void tell(host *h, script s);
/* The newest line of the history, whole, or words in it. */
void assert_last_outcome(const host *h, const char *want);
void assert_last_outcome_says(const host *h, const char *words);
/* The trainer, self is the host. */
weft_status host_train(void *self, const weft_task_info *task, float *weights,
                       weft_task_result *result, weft_task_control *control, char message[256]);

#endif
