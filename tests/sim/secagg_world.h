/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One session of secure aggregation in one process: a coordinator's machine, n clients' machines
 * with keys that an operator vouches for, everything they would store, and crashes on request. The
 * shells' rules are kept: stored before sent, records before acting. Deterministic.
 */
#ifndef WEFT_SECAGG_WORLD_H
#define WEFT_SECAGG_WORLD_H

#include "secagg/client.h"
#include "secagg/server.h"

#include <stdbool.h>

typedef struct secagg_party {
    char name[WEFT_MAX_NAME_BYTES + 1];
    weft_sign_key key;
    weft_member_chain chain;
    weft_secagg_client *machine; /* NULL: not begun */
    weft_buf state;              /* as stored */
    uint32_t *input;             /* [d], or NULL: no vectors in this world */
    uint32_t *masked;            /* [d] */
    bool gone;                   /* does nothing any more */
} secagg_party;

typedef struct secagg_event {
    int client; /* -1: a closure's record */
    bool masked;
    uint8_t *bytes;
    size_t n;
} secagg_event;

typedef struct secagg_world {
    uint32_t n;
    size_t d;
    weft_secagg_context context;
    weft_secagg_policy owner;
    uint32_t minimum;
    weft_sign_key operator_key;
    weft_rng rng;
    weft_entropy entropy;  /* over rng: fast, and the same each time */
    secagg_party *parties; /* [n], by name */
    weft_secagg_server *server;
    secagg_event *events; /* what the coordinator has stored */
    size_t n_events;
    uint64_t up[WEFT_SECAGG_PHASE_FAILED + 1]; /* bytes by the coordinator's phase */
    uint64_t down[WEFT_SECAGG_PHASE_FAILED + 1];
    double client_s[WEFT_SECAGG_PHASE_FAILED + 1]; /* of all clients; with clock only */
    double server_s[WEFT_SECAGG_PHASE_FAILED + 1];
    double (*clock)(void);
    weft_secagg_pins pins; /* of all clients */
    /* Before a machine is used: whose, -1 for the coordinator's; or NULL. */
    void (*enter)(void *self, int who);
    /* What the coordinator makes of its message to client i before that gets it; or NULL. */
    void (*lie)(void *self, struct secagg_world *w, uint32_t i, weft_buf *message);
    void *self;
    bool restart_clients;     /* each message finds a client that was just restored */
    bool restart_coordinator; /* and a coordinator that was just replayed */
} secagg_world;

/** n clients "c0000".. with inputs of d words (0: none); policy as given. */
void secagg_world_init(secagg_world *w, uint32_t n, size_t d, const weft_secagg_policy *policy,
                       uint64_t seed);
void secagg_world_done(secagg_world *w);
/** A member of this operator, with any name. */
void secagg_world_member(secagg_world *w, secagg_party *p, const char *name);
/** The configuration of a party's machine. */
void secagg_world_config(const secagg_world *w, const secagg_party *p,
                         weft_secagg_client_config *ret);
/** Begin a client: new, stored. */
void secagg_world_begin(secagg_world *w, secagg_party *p);
/** Stored, freed, restored: the same machine, or the test fails. */
void secagg_world_restart_client(secagg_world *w, secagg_party *p);
/** Freed and replayed from the stored events. */
void secagg_world_restart_coordinator(secagg_world *w);

/** One poll of a client: hands in its outbox, takes what it is told, masks when it is time. */
void secagg_world_poll(secagg_world *w, uint32_t i);
/** A message by hand, stored when accepted. */
weft_secagg_verdict secagg_world_hand_in(secagg_world *w, const char *name, weft_view message,
                                         weft_secagg_reason *reason);
/** Poll everybody who is not gone; then close the phase. */
void secagg_world_phase(secagg_world *w);
void secagg_world_close(secagg_world *w);
/** Phases until SOLVE or FAILED. */
void secagg_world_run(secagg_world *w);

/**
 * Sum what was masked, take the masks off, compare with the plain sum of the inputs of those who
 * are in: bit for bit, or the test fails.
 * @param ret_liars  how many wrong shares were named; or NULL.
 */
void secagg_world_check_sum(secagg_world *w, size_t *ret_liars);

#endif
