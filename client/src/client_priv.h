/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a weft_client, for the files behind <weft/weft.h> only:
 *   client.c (open, attach, run, step, stop), observe.c (what it tells), enrol.c (join, renewal),
 *   shell.c (the session's actions), train.c (TRAIN and STORE), secure.c (secure aggregation's),
 *   structs.c (sizes of public structs)
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
    bool enrolled;                     /* identity holds a certificate */
    weft_buf key_pem;                  /* transport.pem, once enrolled; wiped */
    weft_transport *transport;         /* owned; NULL when observing */
    bool identified;                   /* transport knows the present certificate */
    weft_session_secure_config secure; /* what the session takes for secure aggregation */
    weft_sign_key member_key;          /* once identified; wiped */
    weft_member_chain chain;
    weft_session *session; /* owned; NULL between runs */
    weft_status end;       /* how the last session ended */
    char end_text[WEFT_SESSION_TEXT_BYTES];
    uint32_t n_datasets;
    weft_client_data datasets[WEFT_MAX_DATASETS];
    weft_base *base;         /* owned: the newest one, or NULL */
    weft_base_memory memory; /* lent to base */
    weft_base_map map;       /* between TRAIN and STORE */
    weft_lease lease;        /* its thread sleeps between tasks */
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
/* Read transport.pem and tell the transport who we are; read member.pem for secure aggregation. */
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
/* Work that takes longer than a lease may last when it is about so many bytes: the lease is renewed
 * meanwhile. What the coordinator may say to that it says again when the update comes. */
WEFT_NODISCARD weft_status weft_client_leased(weft_client *client,
                                              const weft_session_assignment *assignment,
                                              uint64_t bytes,
                                              weft_status (*work)(void *self, weft_err *err),
                                              void *self, weft_err *err);
/* Tell the log that an update was clipped. */
void weft_client_tell_clipped(const weft_client *client, const weft_session_assignment *assignment,
                              double norm);
/* STORE: event is STORED or FAILED. */
void weft_client_store(weft_client *client, const weft_session_assignment *assignment,
                       const weft_session_update *update, weft_session_event *event,
                       char text[WEFT_SESSION_TEXT_BYTES]);

/* ---- secure.c ------------------------------------------------------------------------------- */

/* Encode what was trained into the vector that will be masked. update's bytes and digest are set.
 */
WEFT_NODISCARD weft_status weft_client_encode(weft_client *client,
                                              const weft_session_assignment *assignment,
                                              weft_session_update *update, weft_err *err);
/* MASK: event is MASKED or FAILED. */
void weft_client_mask(weft_client *client, const weft_session_action *mask,
                      weft_session_event *event, char text[WEFT_SESSION_TEXT_BYTES]);

#endif
