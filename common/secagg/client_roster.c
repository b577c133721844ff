/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client and the roster: nothing of it is believed that the client can compute itself (session,
 * parameters, graph) or that its owner's key does not vouch for (neighbours). Then its shares.
 */
#include "crypto/shamir.h"
#include "secagg/client_priv.h"

#include "base/file.h"

#include <string.h>

#define MOST WEFT_MAX_SECAGG_NEIGHBOURS

/* The roster as it is being believed; moved into the machine at the end. */
typedef struct belief {
    weft_secagg_params params;
    uint32_t index;
    uint8_t session[32];
    weft_secagg_neighbour_state *neighbours; /* [params.k], owned */
    weft_view leaves[MOST];                  /* of the neighbours */
} belief;

static void copy_id(char *out, const weft_secagg_entry *entry)
{
    memset(out, 0, WEFT_MAX_NAME_BYTES + 1);
    memcpy(out, entry->id, entry->id_n);
}

/* ---- the list -------------------------------------------------------------------------------- */

static weft_status check_params(belief *b, const weft_secagg_client *c,
                                const weft_secagg_roster *roster, weft_secagg_abort *abort,
                                weft_err *err)
{
    if (roster->n < c->min_cohort && !WEFT_SECAGG_SKIPS(COHORT)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_COHORT_TOO_SMALL, "", err);
    }
    weft_secagg_policy policy = c->policy;
    if (WEFT_SECAGG_SKIPS(COHORT)) {
        policy.min_cohort = WEFT_SECAGG_MIN_COHORT;
    }
    if (weft_secagg_params_find(&b->params, roster->n, &policy, NULL) != WEFT_OK ||
        b->params.k != roster->k || b->params.t != roster->t) {
        return weft_secagg_deny(abort, WEFT_SECAGG_PARAMETERS, "", err);
    }
    return WEFT_OK;
}

/* Ids strictly ascending; the client's own entry once, as it sent it. */
static weft_status check_entries(belief *b, const weft_secagg_client *c,
                                 const weft_secagg_roster *roster, weft_secagg_abort *abort,
                                 weft_err *err)
{
    const char *me = c->chain->invitation.client;
    uint8_t leaf[32];
    WEFT_TRY(weft_secagg_leaf(leaf, &c->keys, err));
    weft_reader r;
    weft_reader_init(&r, roster->entries.data, roster->entries.size);
    weft_secagg_entry entry;
    char id[WEFT_MAX_NAME_BYTES + 1];
    char before[WEFT_MAX_NAME_BYTES + 1] = "";
    bool found = false;
    for (uint32_t i = 0; weft_secagg_entry_next(&entry, &r); i++) {
        copy_id(id, &entry);
        if (!weft_name_valid(id) || strlen(id) != entry.id_n || strcmp(before, id) >= 0) {
            return weft_secagg_deny(abort, WEFT_SECAGG_ROSTER_ORDER, "", err);
        }
        if (strcmp(id, me) == 0) {
            b->index = i;
            found = memcmp(entry.leaf, leaf, sizeof leaf) == 0 || WEFT_SECAGG_SKIPS(SELF);
        }
        memcpy(before, id, sizeof before);
    }
    if (!found) {
        return weft_secagg_deny(abort, WEFT_SECAGG_SELF_MISSING, "", err);
    }
    return WEFT_OK;
}

/* 1 + this client's place among the neighbours of j */
static uint8_t point_at(const belief *b, const uint32_t *ring, const uint32_t *place, uint32_t j)
{
    uint32_t theirs[MOST];
    uint32_t before = 0;
    weft_secagg_neighbours(theirs, &b->params, ring, place, j);
    while (before < b->params.k && theirs[before] < b->index) {
        before++;
    }
    return (uint8_t)(before + 1);
}

static void fill_neighbours(belief *b, const uint32_t *ring, const uint32_t *place)
{
    uint32_t mine[MOST];
    weft_secagg_neighbours(mine, &b->params, ring, place, b->index);
    for (uint32_t i = 0; i < b->params.k; i++) {
        b->neighbours[i].index = mine[i];
        b->neighbours[i].x = point_at(b, ring, place, mine[i]);
    }
}

/* Who the neighbours are: computed here, from the session's hash. */
static weft_status compute_neighbours(belief *b, const weft_secagg_client *c, weft_err *err)
{
    if (b->params.complete) {
        fill_neighbours(b, NULL, NULL);
        return WEFT_OK;
    }
    uint32_t *ring = weft_array(c->alloc, b->params.n, 2 * sizeof *ring);
    if (!ring) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a graph of %u clients", b->params.n);
    }
    uint32_t *place = ring + b->params.n;
    const weft_status status =
        weft_secagg_ring(ring, place, b->params.n, b->session, c->alloc, err);
    if (status == WEFT_OK) {
        fill_neighbours(b, ring, place);
    }
    weft_free(c->alloc, ring);
    return status;
}

/* The names and leaves that the roster has for the neighbours. */
static void read_entries(belief *b, const weft_secagg_roster *roster)
{
    weft_reader r;
    weft_reader_init(&r, roster->entries.data, roster->entries.size);
    weft_secagg_entry entry;
    uint32_t found = 0;
    for (uint32_t i = 0; found < b->params.k && weft_secagg_entry_next(&entry, &r); i++) {
        if (i == b->neighbours[found].index) {
            copy_id(b->neighbours[found].id, &entry);
            b->leaves[found++] = (weft_view){entry.leaf, 32};
        }
    }
}

/* ---- one neighbour --------------------------------------------------------------------------- */

static weft_status check_chain(weft_secagg_neighbour_state *n, const weft_secagg_client *c,
                               const weft_secagg_keys *keys, weft_secagg_abort *abort,
                               weft_err *err)
{
    weft_member_chain chain;
    const char *federation = c->chain->invitation.federation;
    if (weft_member_decode(&chain, keys->chain.data, keys->chain.size, NULL) != WEFT_OK) {
        return weft_secagg_deny(abort, WEFT_SECAGG_CHAIN, n->id, err);
    }
    const bool vouched = weft_member_verify(&chain, c->operator_public, federation,
                                            WEFT_MEMBER_ANY_TIME, NULL) == WEFT_OK &&
                         strcmp(chain.invitation.client, n->id) == 0;
    if (!vouched && !WEFT_SECAGG_SKIPS(CHAIN)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_CHAIN, n->id, err);
    }
    memcpy(n->member_key, chain.member_key, sizeof n->member_key);
    if (c->pins.good && !c->pins.good(c->pins.self, n->id, n->member_key) &&
        !WEFT_SECAGG_SKIPS(PIN)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_KEY_CHANGED, n->id, err);
    }
    return WEFT_OK;
}

static weft_status check_neighbour(weft_secagg_neighbour_state *n, const weft_secagg_client *c,
                                   weft_view leaf, const weft_secagg_keys *keys,
                                   weft_secagg_abort *abort, weft_err *err)
{
    uint8_t own[32];
    WEFT_TRY(weft_secagg_leaf(own, keys, err));
    if (memcmp(own, leaf.data, sizeof own) != 0 && !WEFT_SECAGG_SKIPS(LEAF)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_LEAF, n->id, err);
    }
    WEFT_TRY(check_chain(n, c, keys, abort, err));
    if (weft_secagg_keys_verify(n->member_key, c->ctx, keys, NULL) != WEFT_OK &&
        !WEFT_SECAGG_SKIPS(SIGNATURE)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_SIGNATURE, n->id, err);
    }
    if ((weft_dh_low_order(keys->c_pk) || weft_dh_low_order(keys->s_pk)) &&
        !WEFT_SECAGG_SKIPS(LOW_ORDER)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_LOW_ORDER, n->id, err);
    }
    memcpy(n->c_pk, keys->c_pk, sizeof n->c_pk);
    memcpy(n->s_pk, keys->s_pk, sizeof n->s_pk);
    return WEFT_OK;
}

static bool equal_any(const uint8_t *key, const uint8_t *c_pk, const uint8_t *s_pk)
{
    return memcmp(key, c_pk, 32) == 0 || memcmp(key, s_pk, 32) == 0;
}

static bool keys_equal(const weft_secagg_neighbour_state *n, const uint8_t *c_pk,
                       const uint8_t *s_pk, const uint8_t *member_key)
{
    return equal_any(n->c_pk, c_pk, s_pk) || equal_any(n->s_pk, c_pk, s_pk) ||
           memcmp(n->member_key, member_key, 32) == 0;
}

/* Neighbour i's keys are nobody else's: one member, one key pair for each purpose. */
static weft_status check_distinct(const belief *b, const weft_secagg_client *c, uint32_t i,
                                  weft_secagg_abort *abort, weft_err *err)
{
    const weft_secagg_neighbour_state *n = &b->neighbours[i];
    bool equal = memcmp(n->c_pk, n->s_pk, 32) == 0 ||
                 keys_equal(n, c->keys.c_pk, c->keys.s_pk, c->member_key->public_key);
    for (uint32_t j = 0; j < i && !equal; j++) {
        const weft_secagg_neighbour_state *o = &b->neighbours[j];
        equal = keys_equal(n, o->c_pk, o->s_pk, o->member_key);
    }
    if (equal && !WEFT_SECAGG_SKIPS(DUPLICATE)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_DUPLICATE_KEY, n->id, err);
    }
    return WEFT_OK;
}

static weft_status check_neighbours(belief *b, const weft_secagg_client *c,
                                    const weft_secagg_roster *roster, weft_secagg_abort *abort,
                                    weft_err *err)
{
    weft_secagg_neighbour n;
    weft_reader r;
    WEFT_TRY(compute_neighbours(b, c, err));
    weft_reader_init(&r, roster->neighbours.data, roster->neighbours.size);
    for (uint32_t i = 0; WEFT_SECAGG_SKIPS(NEIGHBOURS) && weft_secagg_neighbour_next(&n, &r); i++) {
        b->neighbours[i].index = n.index; /* believe the coordinator's choice */
    }
    read_entries(b, roster);
    weft_reader_init(&r, roster->neighbours.data, roster->neighbours.size);
    for (uint32_t i = 0; weft_secagg_neighbour_next(&n, &r); i++) {
        if (n.index != b->neighbours[i].index) {
            return weft_secagg_deny(abort, WEFT_SECAGG_NEIGHBOURS, "", err);
        }
        WEFT_TRY(check_neighbour(&b->neighbours[i], c, b->leaves[i], &n.keys, abort, err));
        WEFT_TRY(check_distinct(b, c, i, abort, err));
    }
    return WEFT_OK;
}

/* ---- shares ---------------------------------------------------------------------------------- */

/* [t][64]: row 0 is b and s_sk, the others are a stream of the client's own. */
static weft_status fill_polynomial(uint8_t *poly, const weft_secagg_client *c, uint32_t t,
                                   weft_err *err)
{
    uint8_t key[32];
    WEFT_TRY(weft_secagg_own_secret(key, c, OWN_POLYNOMIAL, err));
    const weft_status status = weft_prg_bytes(poly, (size_t)t * 64, key, err);
    weft_wipe(key, sizeof key);
    WEFT_TRY(status);
    WEFT_TRY(weft_secagg_own_secret(poly, c, OWN_B, err));
    return weft_secagg_own_secret(poly + 32, c, OWN_S_SK, err);
}

static weft_status seal_all(uint8_t *sealed, const weft_secagg_client *c, const belief *b,
                            const uint8_t *poly, weft_err *err)
{
    weft_dh_key *c_sk = NULL;
    WEFT_TRY(weft_secagg_own_key(&c_sk, c, OWN_C_SK, err));
    weft_status status = WEFT_OK;
    uint8_t shares[64];
    for (uint32_t i = 0; status == WEFT_OK && i < b->params.k; i++) {
        const uint8_t x = (uint8_t)(i + 1);
        const weft_secagg_neighbour_state *to = &b->neighbours[i];
        weft_shamir_share(shares, x, poly, b->params.t, sizeof shares);
        status = weft_secagg_seal(sealed + (size_t)i * WEFT_SECAGG_SEALED_BYTES, c_sk, to->c_pk,
                                  b->session, c->chain->invitation.client, to->id, x, shares, err);
    }
    weft_wipe(shares, sizeof shares);
    weft_dh_key_free(c_sk);
    return status;
}

static weft_status write_shares(weft_buf *out, const weft_secagg_client *c, const belief *b,
                                weft_err *err)
{
    uint8_t poly[MOST * 64];
    uint8_t sealed[MOST * WEFT_SECAGG_SEALED_BYTES];
    uint8_t commitment[32];
    weft_status status = fill_polynomial(poly, c, b->params.t, err);
    if (status == WEFT_OK) {
        status =
            weft_secagg_commitment(commitment, b->session, c->chain->invitation.client, poly, err);
    }
    if (status == WEFT_OK) {
        status = seal_all(sealed, c, b, poly, err);
    }
    weft_wipe(poly, sizeof poly);
    WEFT_TRY(status);
    const weft_secagg_message m = {
        .type = WEFT_SECAGG_SHARES,
        .session = b->session,
        .of.shares = {.commitment = commitment, .k = (uint16_t)b->params.k, .sealed = sealed}};
    return weft_secagg_encode(out, &m, err);
}

static weft_status believe(belief *b, const weft_secagg_client *c, const weft_secagg_roster *roster,
                           weft_buf *out, weft_secagg_abort *abort, weft_err *err)
{
    WEFT_TRY(check_params(b, c, roster, abort, err));
    WEFT_TRY(check_entries(b, c, roster, abort, err));
    WEFT_TRY(weft_secagg_session(b->session, c->ctx, roster->n, roster->entries, c->alloc, err));
    b->neighbours = weft_array(c->alloc, b->params.k, sizeof *b->neighbours);
    if (!b->neighbours) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %u neighbours", b->params.k);
    }
    WEFT_TRY(check_neighbours(b, c, roster, abort, err));
    return write_shares(out, c, b, err);
}

weft_status weft_secagg_take_roster(weft_secagg_client *c, const weft_secagg_roster *roster,
                                    weft_buf *out, weft_secagg_abort *abort, weft_err *err)
{
    belief b;
    memset(&b, 0, sizeof b);
    const weft_status status = believe(&b, c, roster, out, abort, err);
    if (status == WEFT_OK) {
        weft_free(c->alloc, c->neighbours); /* only where a test took a second roster */
        c->params = b.params;
        c->index = b.index;
        memcpy(c->session, b.session, sizeof c->session);
        c->neighbours = b.neighbours;
        b.neighbours = NULL;
    }
    weft_free(c->alloc, b.neighbours);
    return status;
}
