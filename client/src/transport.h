/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of the Federation service: the session's actions become gRPC calls, their ends
 * become the session's events. At most one main call and one Progress beside it are under way.
 * Called by client.c (its owner thread) and, for Progress alone, by the lease's thread over a
 * transport's channel (lease.h).
 *
 *     weft_transport_check_in(t, ...);            start a call; a failure to start is an event, too
 *     weft_transport_step(t, 1000);               let the network work
 *     while (weft_transport_take(t, &event)) ...  collect what has ended
 *
 * Threads: owner thread, but for the two wakes.
 */
#ifndef WEFT_CLIENT_TRANSPORT_H
#define WEFT_CLIENT_TRANSPORT_H

#include "files.h"
#include "outbox.h"
#include "rt/channel.h"
#include "session.h"
#include "wire/messages.h"

/* A unary call that takes longer is dead; a check-in gets its hold on top. */
#define WEFT_TRANSPORT_CALL_MS 20000U
/* A transfer without a byte for so long is dead. */
#define WEFT_TRANSPORT_STALL_MS 60000U

typedef struct weft_transport weft_transport;

typedef struct weft_transport_options {
    const weft_alloc *alloc;
    const char *http_proxy; /* or NULL; outlives the transport */
    uint32_t backoff_max_ms;
    bool poller_thread;
    uint32_t stall_ms; /* 0: WEFT_TRANSPORT_STALL_MS */
} weft_transport_options;

/** A loop without a connection. Errors as weft_rt_loop_new. */
WEFT_NODISCARD weft_status weft_transport_new(weft_transport **ret,
                                              const weft_transport_options *options, weft_err *err);
/** Cancels what is under way. NULL is allowed. */
void weft_transport_free(weft_transport *t);

/**
 * Whom to call and as whom; replaces the connection, under way may be nothing. key_pem is copied.
 * @return WEFT_E_INVALID, WEFT_E_FORMAT: bad PEMs or address; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_transport_identify(weft_transport *t,
                                                   const weft_outbox_identity *identity,
                                                   const weft_buf *key_pem, weft_err *err);
/** A channel as that of identify, or one without a certificate; the caller's to free. */
WEFT_NODISCARD weft_status weft_transport_channel(weft_rt_channel **ret, const char *address,
                                                  const weft_rt_tls *tls, const char *http_proxy,
                                                  uint32_t backoff_max_ms, const weft_alloc *a,
                                                  weft_err *err);

/* ---- calls: each ends in exactly one event, unless cancelled --------------------------------- */

void weft_transport_check_in(weft_transport *t, const weft_msg_dataset *datasets, size_t n_datasets,
                             uint64_t hold_ms);
/** @param base  is filled and finished; borrowed until the event. */
void weft_transport_fetch(weft_transport *t, weft_base *base);
/** @param path  of the update's file; not looked at when there are no bytes. */
void weft_transport_upload(weft_transport *t, const weft_session_assignment *assignment,
                           const weft_session_update *update, uint64_t offset, const char *path);
void weft_transport_progress(weft_transport *t, uint64_t assignment_id, const char *phase);
/** SecureStep. @param step  a STEP action; its message is copied. */
void weft_transport_secure_step(weft_transport *t, const weft_session_action *step);
void weft_transport_abandon(weft_transport *t, uint64_t assignment_id, const char *reason);
/** @param anonymous  over a connection of its own, without the certificate. */
void weft_transport_renew(weft_transport *t, const char *client, weft_view csr,
                          const uint8_t signature[64], bool anonymous);
/** Drop what is under way; no event comes of it. */
void weft_transport_cancel(weft_transport *t);

/**
 * The next event. What it points to lives until the next call of take or of a starting function.
 * RENEWED: the certificate is the caller's to judge (weft_transport_certificate), dates are 0.
 */
bool weft_transport_take(weft_transport *t, weft_session_event *ret);
weft_view weft_transport_certificate(const weft_transport *t);

/** Let the network work until something happens or timeout_ms have passed. */
void weft_transport_step(weft_transport *t, uint32_t timeout_ms);
/** Is there a call under way? */
bool weft_transport_busy(const weft_transport *t);
/** How far the present fetch or upload is. */
void weft_transport_moved(const weft_transport *t, uint64_t *ret_done, uint64_t *ret_total);

/** weft_rt_loop_fd. */
int weft_transport_fd(const weft_transport *t);
/** Threads: any; async-signal-safe. */
void weft_transport_wake_signal(weft_transport *t);
/** For the lease's thread, while the owner thread is in a trainer. NULL before identify. */
weft_rt_channel *weft_transport_lend_channel(weft_transport *t);

#endif
