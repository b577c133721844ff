/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of the messages: message.h has the layout. */
#include "secagg/message.h"

#include "base/file.h"
#include "secagg/secagg_priv.h"

#include <string.h>

#define VERSION 1U

/* What a peer may send of each type: clients little, the coordinator a roster. */
static size_t most_bytes(weft_secagg_type type)
{
    switch (type) {
    case WEFT_SECAGG_ROSTER:
        return WEFT_MAX_SECAGG_MESSAGE_BYTES;
    case WEFT_SECAGG_ADVERTISE:
    case WEFT_SECAGG_SHARES:
    case WEFT_SECAGG_DELIVERY:
    case WEFT_SECAGG_SURVIVORS:
    case WEFT_SECAGG_CONFIRM:
    case WEFT_SECAGG_UNMASK:
    case WEFT_SECAGG_ANSWER:
    case WEFT_SECAGG_ABORT:
        break;
    }
    return WEFT_MAX_SECAGG_CLIENT_BYTES;
}

const char *weft_secagg_type_name(weft_secagg_type type)
{
    static const char *const names[] = {"unknown",   "advertise", "roster", "shares", "delivery",
                                        "survivors", "confirm",   "unmask", "answer", "abort"};
    const size_t i = (size_t)type;
    return i < sizeof names / sizeof names[0] ? names[i] : names[0];
}

/* ---- reading --------------------------------------------------------------------------------- */

static uint8_t read_u8(weft_reader *r)
{
    const uint8_t *p = weft_reader_take(r, 1);
    return p ? *p : 0;
}

/* 1..WEFT_MAX_SECAGG_NEIGHBOURS, or the reader has failed */
static uint16_t read_k(weft_reader *r)
{
    const uint16_t k = weft_reader_u16(r);
    r->failed = r->failed || k == 0 || k > WEFT_MAX_SECAGG_NEIGHBOURS;
    return r->failed ? 0 : k;
}

/* A bitmap whose bits past the last neighbour are zero. */
static const uint8_t *read_map(weft_reader *r, uint16_t k)
{
    const size_t n = weft_secagg_map_bytes(k);
    const uint8_t *map = weft_reader_take(r, n);
    if (map && k % 8 != 0 && map[n - 1] >> (k % 8) != 0) {
        r->failed = true;
    }
    return r->failed ? NULL : map;
}

static void read_keys(weft_secagg_keys *ret, weft_reader *r)
{
    const uint8_t *fixed = weft_reader_take(r, 128);
    const uint16_t n = weft_reader_u16(r);
    const uint8_t *chain = weft_reader_take(r, n);
    if (r->failed || n == 0 || n > WEFT_MAX_CHAIN_BYTES) {
        r->failed = true;
        return;
    }
    memcpy(ret->c_pk, fixed, 32);
    memcpy(ret->s_pk, fixed + 32, 32);
    memcpy(ret->signature, fixed + 64, 64);
    ret->chain = (weft_view){chain, n};
}

bool weft_secagg_entry_next(weft_secagg_entry *ret, weft_reader *r)
{
    if (weft_reader_left(r) == 0) {
        return false;
    }
    const uint8_t n = read_u8(r);
    const uint8_t *id = weft_reader_take(r, n);
    const uint8_t *leaf = weft_reader_take(r, WEFT_SECAGG_DIGEST_BYTES);
    if (r->failed || n == 0 || n > WEFT_MAX_NAME_BYTES) {
        r->failed = true;
        return false;
    }
    *ret = (weft_secagg_entry){n, (const char *)id, leaf};
    return true;
}

bool weft_secagg_neighbour_next(weft_secagg_neighbour *ret, weft_reader *r)
{
    if (weft_reader_left(r) == 0) {
        return false;
    }
    ret->index = weft_reader_u32(r);
    read_keys(&ret->keys, r);
    return !r->failed;
}

static void read_roster(weft_secagg_roster *ret, weft_reader *r)
{
    weft_secagg_entry entry;
    weft_secagg_neighbour neighbour;
    ret->n = weft_reader_u32(r);
    ret->k = read_k(r);
    ret->t = read_k(r);
    r->failed = r->failed || ret->n > WEFT_MAX_COHORT || ret->k >= ret->n || ret->t > ret->k;
    ret->entries.data = r->at;
    for (uint32_t i = 0; i < ret->n && !r->failed; i++) {
        r->failed = !weft_secagg_entry_next(&entry, r);
    }
    ret->entries.size = (size_t)(r->at - ret->entries.data);
    ret->neighbours.data = r->at;
    for (uint32_t i = 0; i < ret->k && !r->failed; i++) {
        r->failed = !weft_secagg_neighbour_next(&neighbour, r);
    }
    ret->neighbours.size = (size_t)(r->at - ret->neighbours.data);
}

static void read_delivery(weft_secagg_message *m, weft_reader *r)
{
    m->of.delivery.k = read_k(r);
    m->of.delivery.senders = read_map(r, m->of.delivery.k);
    if (!r->failed) {
        m->of.delivery.n =
            (uint16_t)weft_secagg_map_count(m->of.delivery.senders, m->of.delivery.k);
        m->of.delivery.sealed =
            weft_reader_take(r, (size_t)m->of.delivery.n * WEFT_SECAGG_SEALED_BYTES);
    }
}

static void read_lists(weft_secagg_message *m, weft_reader *r)
{
    m->of.lists.k = read_k(r);
    const uint8_t included = read_u8(r);
    m->of.lists.included = included == 1;
    m->of.lists.alive = read_map(r, m->of.lists.k);
    m->of.lists.dropped = read_map(r, m->of.lists.k);
    r->failed = r->failed || included > 1;
    if (m->type == WEFT_SECAGG_UNMASK) {
        m->of.lists.signers = read_map(r, m->of.lists.k);
    }
    if (m->type == WEFT_SECAGG_UNMASK && !r->failed) {
        m->of.lists.n_signers = (uint16_t)weft_secagg_map_count(m->of.lists.signers, m->of.lists.k);
        m->of.lists.signatures =
            weft_reader_take(r, (size_t)m->of.lists.n_signers * WEFT_SECAGG_SIGNATURE_BYTES);
    }
}

static void read_abort(weft_secagg_abort *ret, weft_reader *r)
{
    ret->reason = (weft_secagg_reason)read_u8(r);
    const uint8_t n = read_u8(r);
    const uint8_t *who = weft_reader_take(r, n);
    if (r->failed || n > WEFT_MAX_NAME_BYTES || ret->reason == WEFT_SECAGG_FINE ||
        (n > 0 && memchr(who, 0, n))) {
        r->failed = true;
        return;
    }
    memcpy(ret->who, who, n);
    r->failed = n > 0 && !weft_name_valid(ret->who);
}

static void read_body(weft_secagg_message *m, weft_reader *r)
{
    switch (m->type) {
    case WEFT_SECAGG_ADVERTISE:
        read_keys(&m->of.advertise, r);
        break;
    case WEFT_SECAGG_ROSTER:
        read_roster(&m->of.roster, r);
        break;
    case WEFT_SECAGG_SHARES:
        m->of.shares.commitment = weft_reader_take(r, WEFT_SECAGG_DIGEST_BYTES);
        m->of.shares.k = read_k(r);
        m->of.shares.sealed =
            weft_reader_take(r, (size_t)m->of.shares.k * WEFT_SECAGG_SEALED_BYTES);
        break;
    case WEFT_SECAGG_DELIVERY:
        read_delivery(m, r);
        break;
    case WEFT_SECAGG_SURVIVORS:
    case WEFT_SECAGG_UNMASK:
        read_lists(m, r);
        break;
    case WEFT_SECAGG_CONFIRM:
        m->of.confirm.n = read_k(r);
        m->of.confirm.signatures =
            weft_reader_take(r, (size_t)m->of.confirm.n * WEFT_SECAGG_SIGNATURE_BYTES);
        break;
    case WEFT_SECAGG_ANSWER:
        m->of.answer.n = read_k(r);
        m->of.answer.shares = weft_reader_take(r, (size_t)m->of.answer.n * WEFT_SECAGG_SHARE_BYTES);
        break;
    case WEFT_SECAGG_ABORT:
        read_abort(&m->of.abort, r);
        break;
    }
}

weft_status weft_secagg_decode(weft_secagg_message *ret, const void *data, size_t size,
                               weft_err *err)
{
    weft_reader r;
    weft_secagg_message m;
    memset(&m, 0, sizeof m);
    weft_reader_init(&r, data, size);
    const uint8_t *head = weft_reader_take(&r, 4);
    m.session = weft_reader_take(&r, WEFT_SECAGG_DIGEST_BYTES);
    if (r.failed || head[0] != 'W' || head[1] != 'S' || head[2] != VERSION ||
        head[3] < WEFT_SECAGG_ADVERTISE || head[3] > WEFT_SECAGG_ABORT) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%zu bytes are no message of secure aggregation", size);
    }
    m.type = (weft_secagg_type)head[3];
    if (size > most_bytes(m.type)) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a %s message of %zu bytes, above the limit of %zu",
                  weft_secagg_type_name(m.type), size, most_bytes(m.type));
    }
    read_body(&m, &r);
    if (r.failed || weft_reader_left(&r) != 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a %s message of %zu bytes that does not hold together",
                  weft_secagg_type_name(m.type), size);
    }
    *ret = m;
    return WEFT_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static weft_status add_u8(weft_buf *out, uint8_t v, weft_err *err)
{
    return weft_buf_add(out, &v, 1, err);
}

static weft_status add_u16(weft_buf *out, uint16_t v, weft_err *err)
{
    const uint8_t le[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
    return weft_buf_add(out, le, sizeof le, err);
}

static weft_status add_keys(weft_buf *out, const weft_secagg_keys *keys, weft_err *err)
{
    WEFT_TRY(weft_buf_add(out, keys->c_pk, sizeof keys->c_pk, err));
    WEFT_TRY(weft_buf_add(out, keys->s_pk, sizeof keys->s_pk, err));
    WEFT_TRY(weft_buf_add(out, keys->signature, sizeof keys->signature, err));
    WEFT_TRY(add_u16(out, (uint16_t)keys->chain.size, err));
    return weft_buf_add(out, keys->chain.data, keys->chain.size, err);
}

weft_status weft_secagg_entry_add(weft_buf *out, const char *id, const uint8_t leaf[32],
                                  weft_err *err)
{
    const size_t n = strlen(id);
    WEFT_TRY(add_u8(out, (uint8_t)n, err));
    WEFT_TRY(weft_buf_add(out, id, n, err));
    return weft_buf_add(out, leaf, WEFT_SECAGG_DIGEST_BYTES, err);
}

weft_status weft_secagg_neighbour_add(weft_buf *out, uint32_t index, const weft_secagg_keys *keys,
                                      weft_err *err)
{
    WEFT_TRY(weft_buf_add_u32(out, index, err));
    return add_keys(out, keys, err);
}

static weft_status add_k(weft_buf *out, uint16_t k, weft_err *err)
{
    if (k == 0 || k > WEFT_MAX_SECAGG_NEIGHBOURS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%u neighbours, outside 1..%u", k,
                  WEFT_MAX_SECAGG_NEIGHBOURS);
    }
    return add_u16(out, k, err);
}

static weft_status add_lists(weft_buf *out, const weft_secagg_message *m, weft_err *err)
{
    const size_t n = weft_secagg_map_bytes(m->of.lists.k);
    WEFT_TRY(add_k(out, m->of.lists.k, err));
    WEFT_TRY(add_u8(out, m->of.lists.included, err));
    WEFT_TRY(weft_buf_add(out, m->of.lists.alive, n, err));
    WEFT_TRY(weft_buf_add(out, m->of.lists.dropped, n, err));
    if (m->type == WEFT_SECAGG_UNMASK) {
        WEFT_TRY(weft_buf_add(out, m->of.lists.signers, n, err));
        WEFT_TRY(weft_buf_add(out, m->of.lists.signatures,
                              (size_t)m->of.lists.n_signers * WEFT_SECAGG_SIGNATURE_BYTES, err));
    }
    return WEFT_OK;
}

static weft_status add_roster(weft_buf *out, const weft_secagg_roster *roster, weft_err *err)
{
    WEFT_TRY(weft_buf_add_u32(out, roster->n, err));
    WEFT_TRY(add_k(out, roster->k, err));
    WEFT_TRY(add_k(out, roster->t, err));
    WEFT_TRY(weft_buf_add(out, roster->entries.data, roster->entries.size, err));
    return weft_buf_add(out, roster->neighbours.data, roster->neighbours.size, err);
}

static weft_status add_body(weft_buf *out, const weft_secagg_message *m, weft_err *err)
{
    switch (m->type) {
    case WEFT_SECAGG_ADVERTISE:
        return add_keys(out, &m->of.advertise, err);
    case WEFT_SECAGG_ROSTER:
        return add_roster(out, &m->of.roster, err);
    case WEFT_SECAGG_SHARES:
        WEFT_TRY(weft_buf_add(out, m->of.shares.commitment, WEFT_SECAGG_DIGEST_BYTES, err));
        WEFT_TRY(add_k(out, m->of.shares.k, err));
        return weft_buf_add(out, m->of.shares.sealed,
                            (size_t)m->of.shares.k * WEFT_SECAGG_SEALED_BYTES, err);
    case WEFT_SECAGG_DELIVERY:
        WEFT_TRY(add_k(out, m->of.delivery.k, err));
        WEFT_TRY(weft_buf_add(out, m->of.delivery.senders, weft_secagg_map_bytes(m->of.delivery.k),
                              err));
        return weft_buf_add(out, m->of.delivery.sealed,
                            (size_t)m->of.delivery.n * WEFT_SECAGG_SEALED_BYTES, err);
    case WEFT_SECAGG_SURVIVORS:
    case WEFT_SECAGG_UNMASK:
        return add_lists(out, m, err);
    case WEFT_SECAGG_CONFIRM:
        WEFT_TRY(add_k(out, m->of.confirm.n, err));
        return weft_buf_add(out, m->of.confirm.signatures,
                            (size_t)m->of.confirm.n * WEFT_SECAGG_SIGNATURE_BYTES, err);
    case WEFT_SECAGG_ANSWER:
        WEFT_TRY(add_k(out, m->of.answer.n, err));
        return weft_buf_add(out, m->of.answer.shares,
                            (size_t)m->of.answer.n * WEFT_SECAGG_SHARE_BYTES, err);
    case WEFT_SECAGG_ABORT:
        WEFT_TRY(add_u8(out, (uint8_t)m->of.abort.reason, err));
        WEFT_TRY(add_u8(out, (uint8_t)strlen(m->of.abort.who), err));
        return weft_buf_add(out, m->of.abort.who, strlen(m->of.abort.who), err);
    }
    WEFT_FAIL(err, WEFT_E_INVALID, "no message of type %d", (int)m->type);
}

weft_status weft_secagg_encode(weft_buf *out, const weft_secagg_message *message, weft_err *err)
{
    const uint8_t head[4] = {'W', 'S', VERSION, (uint8_t)message->type};
    WEFT_TRY(weft_buf_add(out, head, sizeof head, err));
    WEFT_TRY(weft_buf_add(out, message->session, WEFT_SECAGG_DIGEST_BYTES, err));
    return add_body(out, message, err);
}
