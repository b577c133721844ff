/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing phases. A closure's record: 1. "WSK1"  2. u8 phase  3. u32 n, clients  4. ADVERTISE: the
 * session [32] (zeros when it failed); the others: a bitmap of who is in.
 */
#include "secagg/server_priv.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t magic[4] = {'W', 'S', 'K', '1'};

static void fail(weft_secagg_server *s, weft_secagg_reason reason)
{
    s->phase = WEFT_SECAGG_PHASE_FAILED;
    s->failure = reason;
}

static uint32_t count_in(const weft_secagg_server *s, weft_secagg_phase phase)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_members; i++) {
        n += s->members[i]->came[phase];
    }
    return n;
}

/* ---- advertise: the roster ------------------------------------------------------------------- */

typedef struct key_of {
    const uint8_t *key; /* [32] */
    uint32_t member;
} key_of;

static int by_key(const void *a, const void *b)
{
    return memcmp(((const key_of *)a)->key, ((const key_of *)b)->key, 32); /* public keys */
}

static void drop_members(weft_secagg_server *s, const bool *drop)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->n_members; i++) {
        weft_secagg_member *m = s->members[i];
        if (drop[i]) {
            weft_free(s->alloc, m->chain_bytes);
            weft_free(s->alloc, m);
        } else {
            s->members[kept++] = m;
        }
    }
    s->n_members = kept;
}

/* Clients that share a key would stop each of their neighbours: none of them is let in. */
static weft_status drop_duplicates(weft_secagg_server *s, weft_err *err)
{
    const uint32_t n = s->n_members;
    key_of *keys = weft_array(s->alloc, n ? n : 1, 2 * sizeof *keys);
    bool *drop = weft_array(s->alloc, n ? n : 1, sizeof *drop);
    if (!keys || !drop) {
        weft_free(s->alloc, keys);
        weft_free(s->alloc, drop);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the keys of %u clients", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        keys[(size_t)2 * i] = (key_of){s->members[i]->keys.c_pk, i};
        keys[(size_t)2 * i + 1] = (key_of){s->members[i]->keys.s_pk, i};
    }
    qsort(keys, (size_t)2 * n, sizeof *keys, by_key);
    for (size_t i = 1; i < (size_t)2 * n; i++) {
        if (by_key(&keys[i - 1], &keys[i]) == 0) {
            drop[keys[i - 1].member] = true;
            drop[keys[i].member] = true;
        }
    }
    drop_members(s, drop);
    weft_free(s->alloc, keys);
    weft_free(s->alloc, drop);
    return WEFT_OK;
}

static weft_status fill_graph(uint32_t *neighbours, const weft_secagg_server *s,
                              const weft_secagg_params *params, const uint8_t session[32],
                              weft_err *err)
{
    uint32_t *ring = NULL;
    uint32_t *place = NULL;
    if (!params->complete) {
        ring = weft_array(s->alloc, params->n, 2 * sizeof *ring);
        if (!ring) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a graph of %u clients", params->n);
        }
        place = ring + params->n;
        const weft_status status = weft_secagg_ring(ring, place, params->n, session, s->alloc, err);
        if (status != WEFT_OK) {
            weft_free(s->alloc, ring);
            return status;
        }
    }
    for (uint32_t i = 0; i < params->n; i++) {
        weft_secagg_neighbours(neighbours + (size_t)i * params->k, params, ring, place, i);
    }
    weft_free(s->alloc, ring);
    return WEFT_OK;
}

static weft_status make_roster(weft_secagg_server *s, const weft_secagg_params *params,
                               weft_err *err)
{
    uint8_t session[32];
    weft_buf_clear(&s->entries);
    for (uint32_t i = 0; i < s->n_members; i++) {
        WEFT_TRY(weft_secagg_entry_add(&s->entries, s->members[i]->id, s->members[i]->leaf, err));
    }
    WEFT_TRY(weft_secagg_session(session, s->config.ctx, params->n, weft_buf_view(&s->entries),
                                 s->alloc, err));
    uint32_t *neighbours = weft_array(s->alloc, (size_t)params->n * params->k, sizeof *neighbours);
    if (!neighbours) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %u clients with %u neighbours each", params->n,
                  params->k);
    }
    const weft_status status = fill_graph(neighbours, s, params, session, err);
    if (status != WEFT_OK) {
        weft_free(s->alloc, neighbours);
        return status;
    }
    memcpy(s->session, session, sizeof s->session);
    s->neighbours = neighbours;
    s->params = *params;
    return WEFT_OK;
}

static weft_status close_advertise(weft_secagg_server *s, weft_err *err)
{
    weft_secagg_params params;
    WEFT_TRY(drop_duplicates(s, err));
    if (s->n_members < s->config.minimum) {
        fail(s, WEFT_SECAGG_TOO_FEW_CLIENTS);
    } else if (weft_secagg_params_find(&params, s->n_members, &s->config.policy, NULL) != WEFT_OK) {
        fail(s, WEFT_SECAGG_PARAMETERS);
    } else {
        WEFT_TRY(make_roster(s, &params, err));
        s->phase = WEFT_SECAGG_PHASE_SHARE;
    }
    return WEFT_OK;
}

/* ---- thresholds ------------------------------------------------------------------------------ */

/* Must a secret of i be reconstructed: b of those in the sum; s_sk of those that sent shares, are
 * not in it, and have a mask with somebody who is? */
static bool needed(const weft_secagg_server *s, uint32_t i)
{
    const weft_secagg_member *m = s->members[i];
    return m->came[WEFT_SECAGG_PHASE_MASK] ||
           (m->came[WEFT_SECAGG_PHASE_SHARE] &&
            weft_secagg_count_near(s, i, WEFT_SECAGG_PHASE_MASK) > 0);
}

/* Can every secret be reconstructed from the clients of a phase? */
static bool recoverable(const weft_secagg_server *s, weft_secagg_phase phase)
{
    for (uint32_t i = 0; i < s->n_members; i++) {
        if (needed(s, i) && weft_secagg_count_near(s, i, phase) < s->params.t) {
            return false;
        }
    }
    return true;
}

static void close_share(weft_secagg_server *s)
{
    s->phase = WEFT_SECAGG_PHASE_MASK;
    if (count_in(s, WEFT_SECAGG_PHASE_SHARE) < s->config.minimum) {
        fail(s, WEFT_SECAGG_TOO_FEW_CLIENTS);
    }
}

static void close_mask(weft_secagg_server *s)
{
    s->phase = s->config.policy.adversary == WEFT_SECAGG_ACTIVE ? WEFT_SECAGG_PHASE_CONFIRM
                                                                : WEFT_SECAGG_PHASE_UNMASK;
    if (count_in(s, WEFT_SECAGG_PHASE_MASK) < s->config.minimum) {
        fail(s, WEFT_SECAGG_TOO_FEW_CLIENTS);
    } else if (!recoverable(s, WEFT_SECAGG_PHASE_MASK)) {
        fail(s, WEFT_SECAGG_BELOW_THRESHOLD);
    }
    for (uint32_t i = 0; i < s->n_members; i++) { /* delivered, or never to be */
        weft_free(s->alloc, s->members[i]->sealed);
        s->members[i]->sealed = NULL;
    }
}

static weft_status close_unmask(weft_secagg_server *s, weft_err *err)
{
    if (!recoverable(s, WEFT_SECAGG_PHASE_UNMASK)) {
        fail(s, WEFT_SECAGG_BELOW_THRESHOLD);
        return WEFT_OK;
    }
    s->secrets = weft_array(s->alloc, s->n_members, sizeof *s->secrets);
    if (!s->secrets) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the secrets of %u clients", s->n_members);
    }
    s->n_secrets = 0;
    s->n_streams = 0;
    for (uint32_t i = 0; i < s->n_members; i++) {
        if (needed(s, i)) {
            s->secrets[s->n_secrets++] = i;
            s->n_streams += s->members[i]->came[WEFT_SECAGG_PHASE_MASK]
                                ? 1
                                : weft_secagg_count_near(s, i, WEFT_SECAGG_PHASE_MASK);
        }
    }
    s->phase = WEFT_SECAGG_PHASE_SOLVE;
    return WEFT_OK;
}

static weft_status close_phase(weft_secagg_server *s, weft_err *err)
{
    switch (s->phase) {
    case WEFT_SECAGG_PHASE_ADVERTISE:
        return close_advertise(s, err);
    case WEFT_SECAGG_PHASE_SHARE:
        close_share(s);
        return WEFT_OK;
    case WEFT_SECAGG_PHASE_MASK:
        close_mask(s);
        return WEFT_OK;
    case WEFT_SECAGG_PHASE_CONFIRM:
        s->phase = WEFT_SECAGG_PHASE_UNMASK;
        if (!recoverable(s, WEFT_SECAGG_PHASE_CONFIRM)) {
            fail(s, WEFT_SECAGG_BELOW_THRESHOLD);
        }
        return WEFT_OK;
    case WEFT_SECAGG_PHASE_UNMASK:
        return close_unmask(s, err);
    case WEFT_SECAGG_PHASE_SOLVE:
    case WEFT_SECAGG_PHASE_FAILED:
        break;
    }
    WEFT_FAIL(err, WEFT_E_STATE, "nothing is to be closed in phase %s",
              weft_secagg_phase_name(s->phase));
}

/* ---- records --------------------------------------------------------------------------------- */

static weft_status write_record(weft_buf *record, const weft_secagg_server *s, weft_err *err)
{
    const uint8_t phase = (uint8_t)s->phase;
    static const uint8_t no_session[32];
    WEFT_TRY(weft_buf_add(record, magic, sizeof magic, err));
    WEFT_TRY(weft_buf_add(record, &phase, 1, err));
    WEFT_TRY(weft_buf_add_u32(record, s->n_members, err));
    if (s->phase == WEFT_SECAGG_PHASE_ADVERTISE) {
        return weft_buf_add(record, no_session, sizeof no_session, err);
    }
    for (uint32_t first = 0; first < s->n_members; first += 8) {
        uint8_t byte = 0;
        for (uint32_t i = first; i < first + 8 && i < s->n_members; i++) {
            byte = (uint8_t)(byte | (s->members[i]->came[phase] ? 1U << (i - first) : 0U));
        }
        WEFT_TRY(weft_buf_add(record, &byte, 1, err));
    }
    return WEFT_OK;
}

/* The roster is known only once ADVERTISE has closed: into the room that was left for it. */
static void patch_record(uint8_t *record, const weft_secagg_server *s)
{
    for (size_t i = 0; i < 4; i++) {
        record[sizeof magic + 1 + i] = (uint8_t)(s->n_members >> (8 * i));
    }
    memcpy(record + sizeof magic + 5, s->session, sizeof s->session);
}

weft_status weft_secagg_server_close(weft_secagg_server *s, weft_buf *record, weft_err *err)
{
    const size_t first = record->size;
    const bool advertise = s->phase == WEFT_SECAGG_PHASE_ADVERTISE;
    if (s->phase >= WEFT_SECAGG_PHASE_SOLVE) {
        WEFT_FAIL(err, WEFT_E_STATE, "nothing is to be closed in phase %s",
                  weft_secagg_phase_name(s->phase));
    }
    /* written first: what can fail comes before what changes the session */
    weft_status status = write_record(record, s, err);
    if (status == WEFT_OK) {
        status = close_phase(s, err);
    }
    if (status != WEFT_OK) {
        record->size = first;
    } else if (advertise) {
        patch_record(record->data + first, s);
    }
    return status;
}

/* Exactly those of the bitmap are in. */
static weft_status set_members(weft_secagg_server *s, const uint8_t *map, weft_err *err)
{
    for (uint32_t i = 0; i < s->n_members; i++) {
        if (weft_secagg_bit(map, i) && !s->members[i]->came[s->phase]) {
            WEFT_FAIL(err, WEFT_E_STATE, "client %s is in the record of phase %s and never came",
                      s->members[i]->id, weft_secagg_phase_name(s->phase));
        }
    }
    for (uint32_t i = 0; i < s->n_members; i++) {
        s->members[i]->came[s->phase] = weft_secagg_bit(map, i);
    }
    return WEFT_OK;
}

static weft_status replay_advertise(weft_secagg_server *s, uint32_t n, const uint8_t *session,
                                    weft_err *err)
{
    WEFT_TRY(close_phase(s, err));
    if (s->n_members != n || memcmp(s->session, session, sizeof s->session) != 0) {
        fail(s, WEFT_SECAGG_STATE_LOST);
        WEFT_FAIL(err, WEFT_E_STATE,
                  "the stored advertisements make another roster: %u clients, %u "
                  "were recorded",
                  s->n_members, n);
    }
    return WEFT_OK;
}

weft_status weft_secagg_server_replay(weft_secagg_server *s, const void *record, size_t n,
                                      weft_err *err)
{
    weft_reader r;
    weft_reader_init(&r, record, n);
    const uint8_t *head = weft_reader_take(&r, sizeof magic + 1);
    const uint32_t clients = weft_reader_u32(&r);
    if (r.failed || memcmp(head, magic, sizeof magic) != 0 || clients > WEFT_MAX_COHORT) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%zu bytes are no record of a closed phase", n);
    }
    const bool advertise = head[4] == WEFT_SECAGG_PHASE_ADVERTISE;
    const uint8_t *body = weft_reader_take(&r, advertise ? 32 : weft_secagg_map_bytes(clients));
    if (!body || weft_reader_left(&r) != 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%zu bytes are no record of %u clients", n, clients);
    }
    if (head[4] != s->phase || s->phase >= WEFT_SECAGG_PHASE_SOLVE ||
        (!advertise && clients != s->n_members)) {
        WEFT_FAIL(err, WEFT_E_STATE, "a record of phase %u with %u clients does not belong here",
                  head[4], clients);
    }
    if (advertise) {
        return replay_advertise(s, clients, body, err);
    }
    WEFT_TRY(set_members(s, body, err));
    return close_phase(s, err);
}
