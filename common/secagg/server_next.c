/* SPDX-License-Identifier: Apache-2.0 */
/* What the coordinator tells a client. The same bytes each time: they come of closed phases only.
 */
#include "secagg/server_priv.h"

#include <string.h>

#define MOST WEFT_MAX_SECAGG_NEIGHBOURS

static weft_status add_neighbours(weft_buf *out, const weft_secagg_server *s, uint32_t i,
                                  weft_err *err)
{
    const uint32_t *near = weft_secagg_near(s, i);
    for (uint32_t j = 0; j < s->params.k; j++) {
        WEFT_TRY(weft_secagg_neighbour_add(out, near[j], &s->members[near[j]]->keys, err));
    }
    return WEFT_OK;
}

static weft_status write_roster(weft_buf *out, const weft_secagg_server *s, uint32_t i,
                                weft_err *err)
{
    weft_buf neighbours;
    weft_buf_init(&neighbours, s->alloc, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    weft_status status = add_neighbours(&neighbours, s, i, err);
    if (status == WEFT_OK) {
        const weft_secagg_message m = {.type = WEFT_SECAGG_ROSTER,
                                       .session = s->config.ctx,
                                       .of.roster = {.n = s->params.n,
                                                     .k = (uint16_t)s->params.k,
                                                     .t = (uint16_t)s->params.t,
                                                     .entries = weft_buf_view(&s->entries),
                                                     .neighbours = weft_buf_view(&neighbours)}};
        status = weft_secagg_encode(out, &m, err);
    }
    weft_buf_done(&neighbours);
    return status;
}

/* The place of `whom` among the neighbours of i. */
static uint32_t rank(const weft_secagg_server *s, uint32_t i, uint32_t whom)
{
    const uint32_t *near = weft_secagg_near(s, i);
    uint32_t low = 0;
    uint32_t high = s->params.k;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (near[middle] < whom) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static weft_status write_delivery(weft_buf *out, const weft_secagg_server *s, uint32_t i,
                                  weft_err *err)
{
    const uint32_t *near = weft_secagg_near(s, i);
    uint8_t sealed[MOST][WEFT_SECAGG_SEALED_BYTES];
    uint8_t senders[WEFT_SECAGG_BITMAP_BYTES] = {0};
    uint16_t n = 0;
    for (uint32_t j = 0; j < s->params.k; j++) {
        const weft_secagg_member *from = s->members[near[j]];
        if (from->came[WEFT_SECAGG_PHASE_SHARE] && from->sealed) {
            const size_t at = (size_t)rank(s, near[j], i) * WEFT_SECAGG_SEALED_BYTES;
            memcpy(sealed[n++], from->sealed + at, WEFT_SECAGG_SEALED_BYTES);
            weft_secagg_bit_set(senders, j);
        }
    }
    const weft_secagg_message m = {
        .type = WEFT_SECAGG_DELIVERY,
        .session = s->session,
        .of.delivery = {
            .k = (uint16_t)s->params.k, .n = n, .senders = senders, .sealed = sealed[0]}};
    return weft_secagg_encode(out, &m, err);
}

/* The confirmation of i by its neighbour `by`: by's signatures stand in the order of those of its
 * neighbours that are in the sum. */
static const uint8_t *confirmation(const weft_secagg_server *s, uint32_t by, uint32_t i)
{
    const uint32_t *near = weft_secagg_near(s, by);
    size_t at = 0;
    for (uint32_t j = 0; near[j] != i; j++) {
        at += s->members[near[j]]->came[WEFT_SECAGG_PHASE_MASK];
    }
    return s->members[by]->signatures + at * WEFT_SECAGG_SIGNATURE_BYTES;
}

static weft_status write_lists(weft_buf *out, const weft_secagg_server *s, uint32_t i,
                               weft_secagg_type type, weft_err *err)
{
    const uint32_t *near = weft_secagg_near(s, i);
    uint8_t alive[WEFT_SECAGG_BITMAP_BYTES] = {0};
    uint8_t dropped[WEFT_SECAGG_BITMAP_BYTES] = {0};
    uint8_t signers[WEFT_SECAGG_BITMAP_BYTES] = {0};
    uint8_t signatures[MOST][WEFT_SECAGG_SIGNATURE_BYTES];
    uint16_t n = 0;
    for (uint32_t j = 0; j < s->params.k; j++) {
        const weft_secagg_member *m = s->members[near[j]];
        if (m->came[WEFT_SECAGG_PHASE_MASK]) {
            weft_secagg_bit_set(alive, j);
        } else if (m->came[WEFT_SECAGG_PHASE_SHARE]) {
            weft_secagg_bit_set(dropped, j);
        }
        if (type == WEFT_SECAGG_UNMASK && m->came[WEFT_SECAGG_PHASE_CONFIRM]) {
            weft_secagg_bit_set(signers, j);
            memcpy(signatures[n++], confirmation(s, near[j], i), WEFT_SECAGG_SIGNATURE_BYTES);
        }
    }
    const weft_secagg_message m = {.type = type,
                                   .session = s->session,
                                   .of.lists = {.k = (uint16_t)s->params.k,
                                                .included = true,
                                                .alive = alive,
                                                .dropped = dropped,
                                                .n_signers = n,
                                                .signers = signers,
                                                .signatures = signatures[0]}};
    return weft_secagg_encode(out, &m, err);
}

/* ---- who is told what ------------------------------------------------------------------------ */

static weft_secagg_next failed(weft_secagg_reason *reason, weft_secagg_reason why)
{
    *reason = why;
    return WEFT_SECAGG_NEXT_FAILED;
}

/* In the sum already, and nothing more to do: its part is over, whatever it missed since. */
static weft_secagg_next over(weft_secagg_reason *reason, const weft_secagg_member *m)
{
    return m->came[WEFT_SECAGG_PHASE_MASK] ? WEFT_SECAGG_NEXT_DONE
                                           : failed(reason, WEFT_SECAGG_LATE);
}

/* Without writing anything. */
static weft_secagg_next decide(weft_secagg_reason *reason, const weft_secagg_server *s, uint32_t i)
{
    if (s->phase == WEFT_SECAGG_PHASE_FAILED) {
        return failed(reason, s->failure);
    }
    if (i == s->n_members) {
        return s->phase == WEFT_SECAGG_PHASE_ADVERTISE ? WEFT_SECAGG_NEXT_WAIT
                                                       : failed(reason, WEFT_SECAGG_LATE);
    }
    const weft_secagg_member *m = s->members[i];
    if (s->phase == WEFT_SECAGG_PHASE_SOLVE) {
        return over(reason, m);
    }
    if (m->left) {
        return failed(reason, WEFT_SECAGG_LEFT);
    }
    if (s->phase == WEFT_SECAGG_PHASE_UNMASK && m->came[WEFT_SECAGG_PHASE_UNMASK]) {
        return WEFT_SECAGG_NEXT_DONE;
    }
    if (m->came[s->phase]) {
        return WEFT_SECAGG_NEXT_WAIT;
    }
    if (s->phase == WEFT_SECAGG_PHASE_MASK && m->came[WEFT_SECAGG_PHASE_SHARE] &&
        weft_secagg_doomed(s, i)) {
        return failed(reason, WEFT_SECAGG_TOO_FEW_NEIGHBOURS);
    }
    return weft_secagg_awaited(s, i) ? WEFT_SECAGG_NEXT_MESSAGE : over(reason, m);
}

static weft_status write_message(weft_buf *out, const weft_secagg_server *s, uint32_t i,
                                 weft_err *err)
{
    switch (s->phase) {
    case WEFT_SECAGG_PHASE_SHARE:
        return write_roster(out, s, i, err);
    case WEFT_SECAGG_PHASE_MASK:
        return write_delivery(out, s, i, err);
    case WEFT_SECAGG_PHASE_CONFIRM:
        return write_lists(out, s, i, WEFT_SECAGG_SURVIVORS, err);
    case WEFT_SECAGG_PHASE_UNMASK:
        return write_lists(out, s, i, WEFT_SECAGG_UNMASK, err);
    case WEFT_SECAGG_PHASE_ADVERTISE:
    case WEFT_SECAGG_PHASE_SOLVE:
    case WEFT_SECAGG_PHASE_FAILED:
        break;
    }
    WEFT_FAIL(err, WEFT_E_INTERNAL, "nothing is to be told in phase %s",
              weft_secagg_phase_name(s->phase));
}

weft_status weft_secagg_server_next(weft_secagg_next *ret, weft_secagg_reason *reason,
                                    weft_buf *out, const weft_secagg_server *s, const char *client,
                                    weft_err *err)
{
    weft_secagg_reason why = WEFT_SECAGG_FINE;
    const uint32_t i = weft_secagg_find(s, client);
    const weft_secagg_next next = decide(&why, s, i);
    if (next == WEFT_SECAGG_NEXT_MESSAGE) {
        WEFT_TRY(write_message(out, s, i, err));
    }
    *ret = next;
    *reason = why;
    return WEFT_OK;
}
