/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client must not forget, in its state folder:
 *
 *   lock              held (flock) by the one process that works with the folder
 *   client.db         SQLite, 0600: identity, the open assignment (with the secret state of its
 *                     secure aggregation), history with receipts, what secure aggregation must not
 *                     forget: contexts begun, rounds masked, members' keys
 *   transport.pem     P-256 private key, 0600      member.pem  Ed25519 private key, 0600
 *   update-<id>.bin   the encoded update of the open assignment; encoded-<id>.bin before masking
 *   base-<hex>.bin    the newest base version, named by its digest; base-<hex>.part while it comes
 *
 * Order of writes: the update's bytes are synced and renamed into place before the row that counts
 * on them is committed; rows of assignments survive a crash of the process at once, the row of an
 * update and the identity also a power failure. Left-overs of crashes are swept at open. Used by
 * client.c only.
 *
 * Threads: owner thread.
 */
#ifndef WEFT_CLIENT_OUTBOX_H
#define WEFT_CLIENT_OUTBOX_H

#include "base/buf.h"
#include "session.h"
#include "wire/arena.h"

/* Rows of history that are kept; about 0.5 KiB each. */
#define WEFT_OUTBOX_MAX_HISTORY 100000

typedef struct weft_outbox weft_outbox;

/**
 * Open the folder, made (0700) where missing.
 * @param observe  only look, beside a process that works with it: no lock, nothing is written.
 * @return WEFT_E_CONFLICT another process holds the folder; WEFT_E_NOTFOUND observe, and there is
 *         no client; WEFT_E_STATE written by a newer weft; WEFT_E_DB; WEFT_E_IO; WEFT_E_NOMEM.
 */
WEFT_NODISCARD weft_status weft_outbox_open(weft_outbox **ret, const char *dir, bool observe,
                                            const weft_alloc *a, weft_err *err);
/** NULL is allowed. */
void weft_outbox_free(weft_outbox *outbox);
/** "<folder>/<name>"; WEFT_E_LIMIT. */
WEFT_NODISCARD weft_status weft_outbox_path(const weft_outbox *outbox, char *out, size_t out_size,
                                            const char *name, weft_err *err);

/* ---- identity ------------------------------------------------------------------------------- */

typedef struct weft_outbox_identity {
    char federation[WEFT_MAX_NAME_BYTES + 1];
    char name[WEFT_MAX_NAME_BYTES + 1];
    char address[256];
    uint8_t operator_key[32];
    uint8_t receipt_key[32];
    uint8_t token_digest[32]; /* SHA-256 of the token that it was enrolled with */
    weft_buf ca_pem;
    weft_buf chain;           /* the member chain, encoded */
    weft_buf certificate_pem; /* empty: not enrolled yet */
    int64_t from_unix_ms;
    int64_t until_unix_ms;
} weft_outbox_identity;

void weft_outbox_identity_init(weft_outbox_identity *identity, const weft_alloc *a);
void weft_outbox_identity_done(weft_outbox_identity *identity);
/** WEFT_E_NOTFOUND there is none; WEFT_E_DB, WEFT_E_NOMEM, WEFT_E_FORMAT. */
WEFT_NODISCARD weft_status weft_outbox_load_identity(weft_outbox *outbox, weft_outbox_identity *ret,
                                                     weft_err *err);
/** Replace it, durably. */
WEFT_NODISCARD weft_status weft_outbox_keep_identity(weft_outbox *outbox,
                                                     const weft_outbox_identity *identity,
                                                     weft_err *err);
/** When the coordinator last answered; 0: never. */
WEFT_NODISCARD weft_status weft_outbox_keep_seen(weft_outbox *outbox, int64_t unix_ms,
                                                 weft_err *err);
int64_t weft_outbox_seen(weft_outbox *outbox);

/* ---- the open assignment -------------------------------------------------------------------- */

/** It is open from now on; replaces another one (which is then forgotten). */
WEFT_NODISCARD weft_status weft_outbox_keep_assignment(weft_outbox *outbox,
                                                       const weft_session_assignment *assignment,
                                                       int64_t unix_ms, weft_err *err);
/** Its update is in place (weft_update_file_commit). sync: survives a power failure, too. */
WEFT_NODISCARD weft_status weft_outbox_keep_update(weft_outbox *outbox,
                                                   const weft_session_assignment *assignment,
                                                   const weft_session_update *update, bool sync,
                                                   weft_err *err);
/** It is to be abandoned. */
WEFT_NODISCARD weft_status weft_outbox_keep_abandon(weft_outbox *outbox, const char *reason,
                                                    bool declined, weft_err *err);
/**
 * What is open, for weft_session_new. An update whose file is gone or has another bytes does not
 * count (it is read to see).
 * @param arena   for the texts.
 * @param secure  gets the state of secure aggregation, which ret->secure points to; secret: wipe
 * it.
 * @return WEFT_E_NOTFOUND nothing is open.
 */
WEFT_NODISCARD weft_status weft_outbox_load_record(weft_outbox *outbox, weft_session_record *ret,
                                                   weft_arena *arena, weft_buf *secure,
                                                   weft_err *err);
/** Into the history; the update's file goes away after that (an accepted one may be the next one's
 * spare). */
WEFT_NODISCARD weft_status weft_outbox_close_assignment(weft_outbox *outbox,
                                                        const weft_session_action *close,
                                                        const char *client, int64_t unix_ms,
                                                        weft_err *err);

/* ---- secure aggregation (outbox_secure.c) ---------------------------------------------------- */

/**
 * Replace the open assignment's state of secure aggregation; note its context, and the peers' keys,
 * if they are new; once masked, the round and the update, after which the vector before it goes.
 * Survives a power failure.
 * @param keep    a KEEP_SECURE action.
 * @param client  this client's name, for the receipt.
 */
WEFT_NODISCARD weft_status weft_outbox_keep_secure(weft_outbox *outbox,
                                                   const weft_session_action *keep,
                                                   const char *client, int64_t unix_ms,
                                                   weft_err *err);
/** What the session asks of its memory; self is the outbox. Errors: WEFT_E_DB, WEFT_E_IO. */
WEFT_NODISCARD weft_status weft_outbox_context_used(void *self, bool *ret,
                                                    const uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES],
                                                    weft_err *err);
WEFT_NODISCARD weft_status weft_outbox_masked_round(void *self, uint32_t *ret, const char *job,
                                                    weft_task task, weft_err *err);
/** False: this client's key was another one. Also when it cannot be looked up. */
bool weft_outbox_pin_good(void *self, const char *client,
                          const uint8_t key[WEFT_SIGN_PUBLIC_BYTES]);

/* ---- looking back --------------------------------------------------------------------------- */

typedef struct weft_outbox_item {
    const char *job;
    uint32_t round;
    weft_task task;
    weft_session_outcome outcome; /* 0: open */
    const char *reason;
    uint64_t n_examples;
    uint64_t bytes;
    int64_t unix_ms;
} weft_outbox_item;

/** Every assignment that has ended, oldest first, then the open one. Stops when fn returns nonzero.
 * fn must not call the outbox. */
WEFT_NODISCARD weft_status weft_outbox_history(weft_outbox *outbox,
                                               int (*fn)(void *arg, const weft_outbox_item *item),
                                               void *arg, weft_err *err);
/** WEFT_E_NOTFOUND none yet. */
WEFT_NODISCARD weft_status weft_outbox_last_receipt(weft_outbox *outbox, weft_session_receipt *ret,
                                                    weft_err *err);

/* ---- private keys --------------------------------------------------------------------------- */

/** Append a key file's PEM (secret). WEFT_E_NOTFOUND; WEFT_E_AUTH others may read the file. */
WEFT_NODISCARD weft_status weft_outbox_load_key(const weft_outbox *outbox, const char *name,
                                                weft_buf *out, weft_err *err);
/** Write a new key file, 0600. WEFT_E_CONFLICT it exists. */
WEFT_NODISCARD weft_status weft_outbox_create_key(const weft_outbox *outbox, const char *name,
                                                  const weft_buf *pem, weft_err *err);

#endif
