/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a weft_client, for the files behind <weft/weft.h> only:
 *   client.c (open, attach, run, step, stop), observe.c (what it tells), enrol.c (join, renewal),
 *   shell.c (the session's actions), train.c (TRAIN and STORE), structs.c (sizes of public structs)
 */
#ifndef WEFT_CLIENT_PRIV_H
#define WEFT_CLIENT_PRIV_H

#include "base/log.h"
#include "files.h"
#include "lease.h"
#include "outbox.h"
#include "session.h"
#include "transport.h"
#include "weft/weft.h"
#include "wire/messages.h"

#include <stdatomic.h>
#include <sys/types.h>

typedef struct weft_client_data {
    char name[WEFT_MAX_NAME_BYTES + 1];
    uint64_t n_examples;
    char *schema; /* owned, or NULL */
    weft_trainer trainer;
} weft_client_data;

struct weft_client {
    const weft_alloc *alloc;
    pid_t pid;                   /* of the process that opened it */
    weft_client_options options; /* its texts are owned copies */
    weft_log log;
    weft_outbox *outbox; /* owned */
    weft_outbox_identity identity;
    bool enrolled;             /* identity holds a certificate */
    weft_buf key_pem;          /* transport.pem, once enrolled; wiped */
    weft_transport *transport; /* owned; NULL when observing */
    bool identified;           /* transport knows the present certificate */
    weft_session *session;     /* owned; NULL between runs */
    weft_status end;           /* how the last session ended */
    char end_text[WEFT_SESSION_TEXT_BYTES];
    uint32_t n_datasets;
    weft_client_data datasets[WEFT_MAX_DATASETS];
    weft_base *base;         /* owned: the newest one, or NULL */
    weft_base_memory memory; /* lent to base */
    weft_base_map map;       /* between TRAIN and STORE */
    uint64_t train_ms;       /* how long the trainer took, the last time */
    uint64_t busy_ms;        /* when there was last something to do */
    weft_client_observer observer;
    void *observer_arg;
    int64_t seen_unix_ms; /* as the outbox has it */
    atomic_bool stop;
    int wake_fd; /* epoll over the loop's fd and timer_fd; -1 */
    int timer_fd;
};

#define WEFT_CLIENT_MAX_PATH 4096

/* ---- structs.c ------------------------------------------------------------------------------ */

/* From a public struct of the application's size into one of ours, which holds the defaults.
 * WEFT_E_INVALID: size 0, or a newer struct with something set that this weft does not know. */
WEFT_NODISCARD weft_status weft_struct_in(void *to, size_t to_size, const void *from,
                                          size_t least_size, const char *name, weft_err *err);
/* As much of our struct as the application's has room for; its size field stays. */
void weft_struct_out(void *to, const void *from, size_t from_size);
/* Our error into the application's (NULL is allowed), unless status is OK. @return status. */
WEFT_NODISCARD weft_status weft_client_tell(weft_error *to, weft_status status,
                                            const weft_err *err);
/* There is a client, and this is its process. */
WEFT_NODISCARD weft_status weft_client_usable(const weft_client *client, weft_err *err);

/* ---- enrol.c -------------------------------------------------------------------------------- */

/* Start the RENEW action; a failure before the call is returned. */
WEFT_NODISCARD weft_status weft_client_begin_renewal(weft_client *client, bool anonymous,
                                                     weft_err *err);
/* The reply of a renewal: check, keep, use. */
WEFT_NODISCARD weft_status weft_client_finish_renewal(weft_client *client,
                                                      weft_session_event *event, weft_err *err);
/* Read transport.pem and tell the transport who we are. */
WEFT_NODISCARD weft_status weft_client_identify(weft_client *client, weft_err *err);

/* ---- shell.c -------------------------------------------------------------------------------- */

/* A session from what the outbox holds. */
WEFT_NODISCARD weft_status weft_client_begin_session(weft_client *client, weft_err *err);
/* Nothing to do for a while, or for good: what is in memory goes into the folder, spare files go.
 */
void weft_client_rest(weft_client *client);
/* Hand an event to the session, do what it says, and so on until nothing is left to do at once. */
WEFT_NODISCARD weft_status weft_client_feed(weft_client *client, const weft_session_event *event,
                                            weft_err *err);

/* ---- train.c -------------------------------------------------------------------------------- */

/* TRAIN: runs the trainer; event says how it went. metrics and text must outlive the event. */
void weft_client_train(weft_client *client, const weft_session_assignment *assignment,
                       weft_session_event *event, weft_metrics *metrics,
                       char text[WEFT_SESSION_TEXT_BYTES]);
/* STORE: event is STORED or FAILED. */
void weft_client_store(weft_client *client, const weft_session_assignment *assignment,
                       const weft_session_update *update, weft_session_event *event,
                       char text[WEFT_SESSION_TEXT_BYTES]);

#endif
