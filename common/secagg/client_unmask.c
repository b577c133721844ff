/* SPDX-License-Identifier: Apache-2.0 */
/* The client's neighbours' shares: taking them, and giving away at most one kind of each. */
#include "secagg/client_priv.h"

#include <string.h>

#define MOST WEFT_MAX_SECAGG_NEIGHBOURS

/* ---- delivery -------------------------------------------------------------------------------- */

static weft_status open_all(uint8_t (*opened)[64], const weft_secagg_client *c,
                            const weft_secagg_message *m, const weft_dh_key *c_sk,
                            weft_secagg_abort *abort, weft_err *err)
{
    const uint8_t *sealed = m->of.delivery.sealed;
    for (uint32_t i = 0; i < c->params.k; i++) {
        const weft_secagg_neighbour_state *from = &c->neighbours[i];
        if (!weft_secagg_bit(m->of.delivery.senders, i)) {
            continue;
        }
        const weft_status status =
            weft_secagg_open(opened[i], c_sk, from->c_pk, c->session, from->id,
                             c->chain->invitation.client, from->x, sealed, NULL);
        if (status == WEFT_E_AUTH && !WEFT_SECAGG_SKIPS(TAG)) {
            return weft_secagg_deny(abort, WEFT_SECAGG_SHARE, from->id, err);
        }
        if (status != WEFT_OK && status != WEFT_E_AUTH) {
            WEFT_FAIL(err, status, "a share of client %s cannot be decrypted", from->id);
        }
        sealed += WEFT_SECAGG_SEALED_BYTES;
    }
    return WEFT_OK;
}

weft_status weft_secagg_take_delivery(weft_secagg_client *c, const weft_secagg_message *m,
                                      weft_secagg_abort *abort, weft_err *err)
{
    if (m->of.delivery.k != c->params.k) {
        return weft_secagg_deny(abort, WEFT_SECAGG_MALFORMED, "", err);
    }
    if (m->of.delivery.n < c->params.t && !WEFT_SECAGG_SKIPS(SENDERS)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_TOO_FEW_NEIGHBOURS, "", err);
    }
    weft_dh_key *c_sk = NULL;
    WEFT_TRY(weft_secagg_own_key(&c_sk, c, OWN_C_SK, err));
    uint8_t opened[MOST][64] = {0};
    const weft_status status = open_all(opened, c, m, c_sk, abort, err);
    weft_dh_key_free(c_sk);
    if (status == WEFT_OK) {
        memcpy(c->senders, m->of.delivery.senders, weft_secagg_map_bytes(c->params.k));
        for (uint32_t i = 0; i < c->params.k; i++) {
            memcpy(c->neighbours[i].shares, opened[i], sizeof opened[i]);
        }
    }
    weft_wipe(opened, sizeof opened);
    return status;
}

/* ---- survivors and dropped ------------------------------------------------------------------- */

/* Each neighbour that gave shares is either alive or dropped, nobody else is anything. */
static weft_status check_lists(const weft_secagg_client *c, const weft_secagg_message *m,
                               weft_secagg_abort *abort, weft_err *err)
{
    if (m->of.lists.k != c->params.k) {
        return weft_secagg_deny(abort, WEFT_SECAGG_MALFORMED, "", err);
    }
    if (!m->of.lists.included && !WEFT_SECAGG_SKIPS(INCLUDED)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_SELF_DROPPED, "", err);
    }
    for (uint32_t i = 0; i < c->params.k; i++) {
        const bool alive = weft_secagg_bit(m->of.lists.alive, i);
        const bool dropped = weft_secagg_bit(m->of.lists.dropped, i);
        if (alive && dropped && !WEFT_SECAGG_SKIPS(BOTH_KINDS)) {
            return weft_secagg_deny(abort, WEFT_SECAGG_BOTH_KINDS, c->neighbours[i].id, err);
        }
        if ((alive || dropped) != weft_secagg_bit(c->senders, i) && !WEFT_SECAGG_SKIPS(LISTS)) {
            return weft_secagg_deny(abort, WEFT_SECAGG_LISTS, c->neighbours[i].id, err);
        }
    }
    const uint32_t alive = weft_secagg_map_count(m->of.lists.alive, c->params.k);
    if (alive < c->params.t && !WEFT_SECAGG_SKIPS(ALIVE)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_TOO_FEW_ALIVE, "", err);
    }
    return WEFT_OK;
}

weft_status weft_secagg_take_survivors(weft_secagg_client *c, const weft_secagg_message *m,
                                       weft_buf *out, weft_secagg_abort *abort, weft_err *err)
{
    WEFT_TRY(check_lists(c, m, abort, err));
    uint8_t signatures[MOST][WEFT_SECAGG_SIGNATURE_BYTES];
    uint16_t n = 0;
    for (uint32_t i = 0; i < c->params.k; i++) {
        if (weft_secagg_bit(m->of.lists.alive, i)) {
            WEFT_TRY(weft_secagg_included_sign(signatures[n++], c->member_key, c->session,
                                               c->chain->invitation.client, c->neighbours[i].id,
                                               err));
        }
    }
    const weft_secagg_message confirm = {
        .type = WEFT_SECAGG_CONFIRM,
        .session = c->session,
        .of.confirm = {.n = n, .signatures = signatures[0]},
    };
    WEFT_TRY(weft_secagg_encode(out, &confirm, err));
    const size_t map = weft_secagg_map_bytes(c->params.k);
    memcpy(c->alive, m->of.lists.alive, map);
    memcpy(c->dropped, m->of.lists.dropped, map);
    return WEFT_OK;
}

/* How many neighbours that are called alive have confirmed this client; wrong signatures count for
 * nothing: one lying neighbour cannot stop the others. */
static uint32_t count_confirmed(const weft_secagg_client *c, const weft_secagg_message *m)
{
    const uint8_t *signature = m->of.lists.signatures;
    uint32_t confirmed = 0;
    for (uint32_t i = 0; i < c->params.k; i++) {
        const weft_secagg_neighbour_state *by = &c->neighbours[i];
        if (!weft_secagg_bit(m->of.lists.signers, i)) {
            continue;
        }
        /* enough is enough: verifying more would change nothing */
        if (weft_secagg_bit(m->of.lists.alive, i) && confirmed < c->params.t &&
            (WEFT_SECAGG_SKIPS(CONFIRMATION) ||
             weft_secagg_included_verify(by->member_key, c->session, by->id,
                                         c->chain->invitation.client, signature,
                                         NULL) == WEFT_OK)) {
            confirmed++;
        }
        signature += WEFT_SECAGG_SIGNATURE_BYTES;
    }
    return confirmed;
}

/* Against a coordinator that lies: the very lists that this client has confirmed, and enough
 * neighbours that have confirmed it. */
static weft_status check_confirmed(const weft_secagg_client *c, const weft_secagg_message *m,
                                   weft_secagg_abort *abort, weft_err *err)
{
    const size_t map = weft_secagg_map_bytes(c->params.k);
    if ((memcmp(m->of.lists.alive, c->alive, map) != 0 ||
         memcmp(m->of.lists.dropped, c->dropped, map) != 0) &&
        !WEFT_SECAGG_SKIPS(LISTS_CHANGED)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_LISTS_CHANGED, "", err);
    }
    if (count_confirmed(c, m) < c->params.t && !WEFT_SECAGG_SKIPS(ALIVE)) {
        return weft_secagg_deny(abort, WEFT_SECAGG_TOO_FEW_CONFIRMED, "", err);
    }
    return WEFT_OK;
}

/* One share for each neighbour: of b for the living, whose own mask is to come off; of s_sk for the
 * dropped, whose masks with others are. Never both: that would open its input. */
static weft_status write_answer(weft_buf *out, const weft_secagg_client *c,
                                const weft_secagg_message *m, weft_err *err)
{
    uint8_t shares[2 * MOST][WEFT_SECAGG_SHARE_BYTES];
    uint16_t n = 0;
    for (uint32_t i = 0; i < c->params.k; i++) {
        if (weft_secagg_bit(m->of.lists.alive, i)) {
            memcpy(shares[n++], c->neighbours[i].shares, WEFT_SECAGG_SHARE_BYTES);
        }
        if (weft_secagg_bit(m->of.lists.dropped, i)) {
            memcpy(shares[n++], c->neighbours[i].shares + 32, WEFT_SECAGG_SHARE_BYTES);
        }
    }
    const weft_secagg_message answer = {.type = WEFT_SECAGG_ANSWER,
                                        .session = c->session,
                                        .of.answer = {.n = n, .shares = shares[0]}};
    const weft_status status = weft_secagg_encode(out, &answer, err);
    weft_wipe(shares, sizeof shares);
    return status;
}

weft_status weft_secagg_take_unmask(weft_secagg_client *c, const weft_secagg_message *m,
                                    weft_buf *out, weft_secagg_abort *abort, weft_err *err)
{
    WEFT_TRY(check_lists(c, m, abort, err));
    if (c->policy.adversary == WEFT_SECAGG_ACTIVE) {
        WEFT_TRY(check_confirmed(c, m, abort, err));
    }
    return write_answer(out, c, m, err);
}
