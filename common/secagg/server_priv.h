/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the coordinator's machine: its fields, and what its files share. */
#ifndef WEFT_SECAGG_SERVER_PRIV_H
#define WEFT_SECAGG_SERVER_PRIV_H

#include "secagg/secagg_priv.h"
#include "secagg/server.h"

/* Phases in which clients hand something in: 1..UNMASK. */
enum { PHASES = WEFT_SECAGG_PHASE_UNMASK + 1 };

/* One client. Arrays are owned and NULL until they arrive. */
typedef struct weft_secagg_member {
    char id[WEFT_MAX_NAME_BYTES + 1];
    weft_secagg_keys keys; /* chain points to chain_bytes */
    uint8_t leaf[32];
    uint8_t commitment[32];
    uint8_t *chain_bytes; /* [keys.chain.size] */
    uint8_t *sealed;      /* [k][80] for its neighbours; gone once MASK has closed */
    uint8_t *signatures;  /* [alive neighbours][64] */
    uint8_t *answer;      /* [neighbours that sent shares][32] */
    bool came[PHASES];    /* handed in in this phase, and is in when it has closed */
    bool left;
    uint8_t digest[PHASES][32]; /* of the accepted messages */
} weft_secagg_member;

struct weft_secagg_server {
    const weft_alloc *alloc;
    weft_secagg_server_config config;
    weft_secagg_phase phase;
    weft_secagg_reason failure;
    weft_secagg_member **members; /* [n_members], owned, ascending by id: the roster once closed */
    uint32_t n_members, cap_members;
    uint8_t session[32];
    weft_secagg_params params; /* n 0 in ADVERTISE */
    weft_buf entries;          /* of the roster */
    uint32_t *neighbours;      /* [n][k], owned; ascending */
    uint32_t *secrets;         /* [n_secrets], owned: whose; SOLVE only */
    size_t n_secrets;
    size_t n_streams;
};

/** Index of a client, or n_members. */
uint32_t weft_secagg_find(const weft_secagg_server *s, const char *client);
/** The k neighbours of i. */
static inline const uint32_t *weft_secagg_near(const weft_secagg_server *s, uint32_t i)
{
    return s->neighbours + (size_t)i * s->params.k;
}
/** Neighbours of i that are in a phase's closed (or growing) set. */
uint32_t weft_secagg_count_near(const weft_secagg_server *s, uint32_t i, weft_secagg_phase phase);
/** Too few of its neighbours sent shares: the client itself will not go on. */
bool weft_secagg_doomed(const weft_secagg_server *s, uint32_t i);
/** Is something of i expected in the present phase? */
bool weft_secagg_awaited(const weft_secagg_server *s, uint32_t i);
/** The phase whose members are asked in UNMASK: CONFIRM, or MASK against a curious coordinator. */
weft_secagg_phase weft_secagg_asked(const weft_secagg_server *s);

#endif
