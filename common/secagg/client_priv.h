/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the client's machine: its fields, and the steps that have files of their own. */
#ifndef WEFT_SECAGG_CLIENT_PRIV_H
#define WEFT_SECAGG_CLIENT_PRIV_H

#include "secagg/client.h"
#include "secagg/secagg_priv.h"

/* Coordinator messages in the order of their steps. */
enum { TAKE_ROSTER = 0, TAKE_DELIVERY, TAKE_SURVIVORS, TAKE_UNMASK, TAKES };

typedef struct weft_secagg_neighbour_state {
    char id[WEFT_MAX_NAME_BYTES + 1];
    uint32_t index; /* in the roster */
    uint8_t x;      /* point of the shares that it gives this client: 1 + the place among its own */
    uint8_t c_pk[32];
    uint8_t s_pk[32];
    uint8_t member_key[32];
    uint8_t shares[64]; /* that it gave this client: of its b, of its s_sk; secret */
} weft_secagg_neighbour_state;

struct weft_secagg_client {
    const weft_alloc *alloc;
    weft_secagg_policy policy;       /* the job's */
    uint32_t min_cohort;             /* the larger one of the job's and the owner's */
    const uint8_t *operator_public;  /* [32], borrowed */
    const weft_sign_key *member_key; /* borrowed */
    const weft_member_chain *chain;  /* borrowed */
    weft_secagg_pins pins;
    uint8_t ctx[32];
    weft_secagg_client_phase phase;
    weft_secagg_abort abort; /* why aborted; else why the last message was refused */
    uint8_t seed[32];        /* of the client's own secrets; secret, zeros from MASKED on */
    weft_secagg_keys keys;   /* its own; chain points to chain_bytes */
    uint8_t chain_bytes[WEFT_MAX_CHAIN_BYTES];
    uint8_t session[32];                       /* from the roster on */
    weft_secagg_params params;                 /* n 0: no roster yet */
    uint32_t index;                            /* its own */
    weft_secagg_neighbour_state *neighbours;   /* [params.k], owned; secret */
    uint8_t senders[WEFT_SECAGG_BITMAP_BYTES]; /* who gave shares */
    uint8_t alive[WEFT_SECAGG_BITMAP_BYTES];   /* as confirmed */
    uint8_t dropped[WEFT_SECAGG_BITMAP_BYTES];
    uint8_t masked_digest[32];
    bool taken[TAKES];
    uint8_t taken_digest[TAKES][32];
    weft_buf outbox;
};

/** Why a message is not believed: *abort, and WEFT_E_AUTH. */
weft_status weft_secagg_deny(weft_secagg_abort *abort, weft_secagg_reason reason, const char *who,
                             weft_err *err);

/* One of the client's own secrets. */
typedef enum weft_secagg_own {
    OWN_C_SK = 1,
    OWN_S_SK = 2,
    OWN_B = 3,
    OWN_POLYNOMIAL = 4
} weft_secagg_own;
WEFT_NODISCARD weft_status weft_secagg_own_secret(uint8_t ret[32], const weft_secagg_client *c,
                                                  weft_secagg_own which, weft_err *err);
/** The key pair of OWN_C_SK or OWN_S_SK. */
WEFT_NODISCARD weft_status weft_secagg_own_key(weft_dh_key **ret, const weft_secagg_client *c,
                                               weft_secagg_own which, weft_err *err);

/* The steps: they write the next message into out, and change the machine only when they succeed.
 * WEFT_E_AUTH with *abort: not believed. */
WEFT_NODISCARD weft_status weft_secagg_take_roster(weft_secagg_client *c,
                                                   const weft_secagg_roster *roster, weft_buf *out,
                                                   weft_secagg_abort *abort, weft_err *err);
WEFT_NODISCARD weft_status weft_secagg_take_delivery(weft_secagg_client *c,
                                                     const weft_secagg_message *m,
                                                     weft_secagg_abort *abort, weft_err *err);
WEFT_NODISCARD weft_status weft_secagg_take_survivors(weft_secagg_client *c,
                                                      const weft_secagg_message *m, weft_buf *out,
                                                      weft_secagg_abort *abort, weft_err *err);
WEFT_NODISCARD weft_status weft_secagg_take_unmask(weft_secagg_client *c,
                                                   const weft_secagg_message *m, weft_buf *out,
                                                   weft_secagg_abort *abort, weft_err *err);

/** An empty machine of a configuration. */
WEFT_NODISCARD weft_status weft_secagg_client_make(weft_secagg_client **ret,
                                                   const weft_secagg_client_config *config,
                                                   weft_err *err);

#endif
