/* SPDX-License-Identifier: Apache-2.0 */
/* Taking the masks off: secrets from shares, checked against what their owners had published. */
#include "crypto/shamir.h"
#include "secagg/server_priv.h"

#include <string.h>

#define MOST WEFT_MAX_SECAGG_NEIGHBOURS

size_t weft_secagg_server_n_secrets(const weft_secagg_server *s)
{
    return s->n_secrets;
}

size_t weft_secagg_server_n_streams(const weft_secagg_server *s)
{
    return s->n_streams;
}

/* The shares of one secret that have come back. */
typedef struct gathered {
    unsigned m;
    uint8_t x[MOST];
    uint32_t holder[MOST];
    uint8_t shares[MOST][WEFT_SECAGG_SHARE_BYTES];
} gathered;

/* A holder's answer has one share for each of its neighbours that sent shares, in their order. */
static const uint8_t *share_at(const weft_secagg_server *s, uint32_t holder, uint32_t owner)
{
    const uint32_t *near = weft_secagg_near(s, holder);
    size_t at = 0;
    for (uint32_t j = 0; near[j] != owner; j++) {
        at += s->members[near[j]]->came[WEFT_SECAGG_PHASE_SHARE];
    }
    return s->members[holder]->answer + at * WEFT_SECAGG_SHARE_BYTES;
}

static void gather(gathered *g, const weft_secagg_server *s, uint32_t owner)
{
    const uint32_t *near = weft_secagg_near(s, owner);
    g->m = 0;
    for (uint32_t j = 0; j < s->params.k; j++) {
        if (s->members[near[j]]->came[WEFT_SECAGG_PHASE_UNMASK]) {
            g->x[g->m] = (uint8_t)(j + 1);
            g->holder[g->m] = near[j];
            memcpy(g->shares[g->m++], share_at(s, near[j], owner), WEFT_SECAGG_SHARE_BYTES);
        }
    }
}

/* Is it the secret whose commitment or public key its owner had sent? */
static weft_status check_secret(bool *good, const weft_secagg_server *s, uint32_t owner,
                                const uint8_t secret[32], weft_err *err)
{
    const weft_secagg_member *m = s->members[owner];
    if (m->came[WEFT_SECAGG_PHASE_MASK]) {
        uint8_t commitment[32];
        WEFT_TRY(weft_secagg_commitment(commitment, s->session, m->id, secret, err));
        *good = memcmp(commitment, m->commitment, sizeof commitment) == 0;
        return WEFT_OK;
    }
    weft_dh_key *key = NULL;
    WEFT_TRY(weft_dh_key_new(&key, secret, s->alloc, err));
    *good = memcmp(weft_dh_key_public(key), m->keys.s_pk, 32) == 0;
    weft_dh_key_free(key);
    return WEFT_OK;
}

static weft_status reconstruct(uint8_t secret[32], weft_secagg_solution *ret,
                               const weft_secagg_server *s, uint32_t owner, const gathered *g,
                               weft_err *err)
{
    bool good = false;
    WEFT_TRY(weft_shamir_combine(secret, 32, g->x, g->shares[0], WEFT_SECAGG_SHARE_BYTES,
                                 s->params.t, err));
    WEFT_TRY(check_secret(&good, s, owner, secret, err));
    if (good) {
        return WEFT_OK;
    }
    bool bad[MOST] = {false};
    const weft_status status = weft_shamir_correct(
        secret, bad, 32, g->x, g->shares[0], WEFT_SECAGG_SHARE_BYTES, g->m, s->params.t, NULL);
    if (status == WEFT_OK) {
        WEFT_TRY(check_secret(&good, s, owner, secret, err));
    }
    for (unsigned i = 0; good && i < g->m; i++) {
        if (bad[i]) {
            ret->liars[ret->n_liars++] = g->holder[i];
        }
    }
    if (!good) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "of %u shares of a secret of client %s more than %u are wrong, or it shared "
                  "another one than it had committed to",
                  g->m, s->members[owner]->id, (g->m - s->params.t) / 2);
    }
    return WEFT_OK;
}

/* The masks that a dropped client shares with those who are in the sum. Theirs have the sign of
 * theirs: what has it the other way round takes them off. */
static weft_status pair_streams(weft_secagg_solution *ret, const weft_secagg_server *s,
                                uint32_t dropped, const uint8_t secret[32], weft_err *err)
{
    const uint32_t *near = weft_secagg_near(s, dropped);
    const char *id = s->members[dropped]->id;
    weft_dh_key *key = NULL;
    WEFT_TRY(weft_dh_key_new(&key, secret, s->alloc, err));
    weft_status status = WEFT_OK;
    for (uint32_t j = 0; status == WEFT_OK && j < s->params.k; j++) {
        const weft_secagg_member *m = s->members[near[j]];
        if (m->came[WEFT_SECAGG_PHASE_MASK]) {
            weft_prg_stream *stream = &ret->streams[ret->n_streams++];
            stream->subtract = dropped < near[j];
            status =
                weft_secagg_mask_key(stream->key, key, m->keys.s_pk, s->session, id, m->id, err);
        }
    }
    weft_dh_key_free(key);
    return status;
}

weft_status weft_secagg_server_solve(weft_secagg_solution *ret, const weft_secagg_server *s,
                                     size_t i, weft_err *err)
{
    ret->n_streams = 0;
    ret->n_liars = 0;
    if (s->phase != WEFT_SECAGG_PHASE_SOLVE || i >= s->n_secrets) {
        WEFT_FAIL(err, WEFT_E_STATE, "secret %zu of %zu is not to be solved in phase %s", i,
                  s->n_secrets, weft_secagg_phase_name(s->phase));
    }
    const uint32_t owner = s->secrets[i];
    gathered g;
    uint8_t secret[32] = {0};
    gather(&g, s, owner);
    weft_status status = reconstruct(secret, ret, s, owner, &g, err);
    if (status == WEFT_OK && s->members[owner]->came[WEFT_SECAGG_PHASE_MASK]) {
        ret->streams[0].subtract = true;
        memcpy(ret->streams[0].key, secret, sizeof secret);
        ret->n_streams = 1;
    } else if (status == WEFT_OK) {
        status = pair_streams(ret, s, owner, secret, err);
    }
    weft_wipe(secret, sizeof secret);
    weft_wipe(&g, sizeof g);
    return status;
}
