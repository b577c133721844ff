/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's state as bytes, all integers little-endian:
 *   1. "WSC1"  2. ctx[32]  3. u8 phase, u8 abort reason, u8 n, who[n]  4. seed[32] c_pk[32]
 * s_pk[32] signature[64]  5. session[32] u32 n, k, t, colluders, dropouts, u8 complete, u64
 * log2_failure, u32 index  6. k times: u8 n, id[n], u32 index, u8 x, c_pk[32], s_pk[32],
 * member_key[32], shares[64]  7. three bitmaps [32]: senders, alive, dropped  8. masked digest[32]
 *   9. four times: u8 taken, digest[32]  10. u32 n, outbox[n]  11. SHA-256 of all before
 */
#include "secagg/client_priv.h"

#include "base/file.h"

#include <string.h>

static const uint8_t magic[4] = {'W', 'S', 'C', '1'};

/* ---- writing --------------------------------------------------------------------------------- */

static weft_status add_u8(weft_buf *out, uint8_t v, weft_err *err)
{
    return weft_buf_add(out, &v, 1, err);
}

static weft_status add_text(weft_buf *out, const char *text, weft_err *err)
{
    const size_t n = strlen(text);
    WEFT_TRY(add_u8(out, (uint8_t)n, err));
    return weft_buf_add(out, text, n, err);
}

static weft_status add_head(weft_buf *out, const weft_secagg_client *c, weft_err *err)
{
    WEFT_TRY(weft_buf_add(out, magic, sizeof magic, err));
    WEFT_TRY(weft_buf_add(out, c->ctx, sizeof c->ctx, err));
    WEFT_TRY(add_u8(out, (uint8_t)c->phase, err));
    WEFT_TRY(add_u8(out, (uint8_t)c->abort.reason, err));
    WEFT_TRY(add_text(out, c->abort.who, err));
    WEFT_TRY(weft_buf_add(out, c->seed, sizeof c->seed, err));
    WEFT_TRY(weft_buf_add(out, c->keys.c_pk, sizeof c->keys.c_pk, err));
    WEFT_TRY(weft_buf_add(out, c->keys.s_pk, sizeof c->keys.s_pk, err));
    return weft_buf_add(out, c->keys.signature, sizeof c->keys.signature, err);
}

static weft_status add_params(weft_buf *out, const weft_secagg_client *c, weft_err *err)
{
    const weft_secagg_params *p = &c->params;
    const uint32_t numbers[] = {p->n, p->k, p->t, p->colluders, p->dropouts};
    uint64_t failure = 0;
    memcpy(&failure, &p->log2_failure, sizeof failure);
    WEFT_TRY(weft_buf_add(out, c->session, sizeof c->session, err));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        WEFT_TRY(weft_buf_add_u32(out, numbers[i], err));
    }
    WEFT_TRY(add_u8(out, p->complete, err));
    WEFT_TRY(weft_buf_add_u64(out, failure, err));
    return weft_buf_add_u32(out, c->index, err);
}

static weft_status add_neighbour(weft_buf *out, const weft_secagg_neighbour_state *n, weft_err *err)
{
    WEFT_TRY(add_text(out, n->id, err));
    WEFT_TRY(weft_buf_add_u32(out, n->index, err));
    WEFT_TRY(add_u8(out, n->x, err));
    WEFT_TRY(weft_buf_add(out, n->c_pk, sizeof n->c_pk, err));
    WEFT_TRY(weft_buf_add(out, n->s_pk, sizeof n->s_pk, err));
    WEFT_TRY(weft_buf_add(out, n->member_key, sizeof n->member_key, err));
    return weft_buf_add(out, n->shares, sizeof n->shares, err);
}

static weft_status add_tail(weft_buf *out, const weft_secagg_client *c, weft_err *err)
{
    WEFT_TRY(weft_buf_add(out, c->senders, sizeof c->senders, err));
    WEFT_TRY(weft_buf_add(out, c->alive, sizeof c->alive, err));
    WEFT_TRY(weft_buf_add(out, c->dropped, sizeof c->dropped, err));
    WEFT_TRY(weft_buf_add(out, c->masked_digest, sizeof c->masked_digest, err));
    for (size_t i = 0; i < TAKES; i++) {
        WEFT_TRY(add_u8(out, c->taken[i], err));
        WEFT_TRY(weft_buf_add(out, c->taken_digest[i], sizeof c->taken_digest[i], err));
    }
    WEFT_TRY(weft_buf_add_u32(out, (uint32_t)c->outbox.size, err));
    return weft_buf_add(out, c->outbox.data, c->outbox.size, err);
}

weft_status weft_secagg_client_state(const weft_secagg_client *c, weft_buf *out, weft_err *err)
{
    const size_t first = out->size;
    uint8_t digest[32];
    WEFT_TRY(add_head(out, c, err));
    WEFT_TRY(add_params(out, c, err));
    for (uint32_t i = 0; i < c->params.k; i++) {
        WEFT_TRY(add_neighbour(out, &c->neighbours[i], err));
    }
    WEFT_TRY(add_tail(out, c, err));
    WEFT_TRY(weft_sha256(digest, out->data + first, out->size - first, err));
    return weft_buf_add(out, digest, sizeof digest, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void read_into(weft_reader *r, void *out, size_t n)
{
    const uint8_t *p = weft_reader_take(r, n);
    if (p) {
        memcpy(out, p, n);
    }
}

static uint8_t read_u8(weft_reader *r)
{
    uint8_t v = 0;
    read_into(r, &v, 1);
    return v;
}

static void read_text(weft_reader *r, char out[WEFT_MAX_NAME_BYTES + 1])
{
    const uint8_t n = read_u8(r);
    if (n > WEFT_MAX_NAME_BYTES) {
        r->failed = true;
        return;
    }
    memset(out, 0, WEFT_MAX_NAME_BYTES + 1);
    read_into(r, out, n);
}

static void read_head(weft_secagg_client *c, weft_reader *r)
{
    c->phase = (weft_secagg_client_phase)read_u8(r);
    c->abort.reason = (weft_secagg_reason)read_u8(r);
    read_text(r, c->abort.who);
    read_into(r, c->seed, sizeof c->seed);
    read_into(r, c->keys.c_pk, sizeof c->keys.c_pk);
    read_into(r, c->keys.s_pk, sizeof c->keys.s_pk);
    read_into(r, c->keys.signature, sizeof c->keys.signature);
    r->failed = r->failed || c->phase < WEFT_SECAGG_CLIENT_ADVERTISED ||
                c->phase > WEFT_SECAGG_CLIENT_ABORTED;
}

static void read_params(weft_secagg_client *c, weft_reader *r)
{
    weft_secagg_params *p = &c->params;
    read_into(r, c->session, sizeof c->session);
    p->n = weft_reader_u32(r);
    p->k = weft_reader_u32(r);
    p->t = weft_reader_u32(r);
    p->colluders = weft_reader_u32(r);
    p->dropouts = weft_reader_u32(r);
    p->complete = read_u8(r) != 0;
    const uint64_t failure = weft_reader_u64(r);
    memcpy(&p->log2_failure, &failure, sizeof failure);
    c->index = weft_reader_u32(r);
    r->failed = r->failed || p->n > WEFT_MAX_COHORT || p->k > WEFT_MAX_SECAGG_NEIGHBOURS ||
                p->t > p->k || (p->n > 0 && (p->k == 0 || p->k >= p->n || c->index >= p->n)) ||
                (p->n == 0 && p->k > 0);
}

static void read_neighbour(weft_secagg_neighbour_state *n, weft_reader *r)
{
    read_text(r, n->id);
    n->index = weft_reader_u32(r);
    n->x = read_u8(r);
    read_into(r, n->c_pk, sizeof n->c_pk);
    read_into(r, n->s_pk, sizeof n->s_pk);
    read_into(r, n->member_key, sizeof n->member_key);
    read_into(r, n->shares, sizeof n->shares);
}

static weft_status read_tail(weft_secagg_client *c, weft_reader *r, weft_err *err)
{
    read_into(r, c->senders, sizeof c->senders);
    read_into(r, c->alive, sizeof c->alive);
    read_into(r, c->dropped, sizeof c->dropped);
    read_into(r, c->masked_digest, sizeof c->masked_digest);
    for (size_t i = 0; i < TAKES; i++) {
        c->taken[i] = read_u8(r) != 0;
        read_into(r, c->taken_digest[i], sizeof c->taken_digest[i]);
    }
    const uint32_t n = weft_reader_u32(r);
    const uint8_t *outbox = weft_reader_take(r, n);
    r->failed = r->failed || weft_reader_left(r) != 0;
    return outbox && !r->failed ? weft_buf_add(&c->outbox, outbox, n, err) : WEFT_OK;
}

static weft_status read_state(weft_secagg_client *c, weft_reader *r, weft_err *err)
{
    read_head(c, r);
    read_params(c, r);
    if (r->failed) {
        return WEFT_OK;
    }
    c->neighbours = weft_array(c->alloc, c->params.k ? c->params.k : 1, sizeof *c->neighbours);
    if (!c->neighbours) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %u neighbours", c->params.k);
    }
    for (uint32_t i = 0; i < c->params.k; i++) {
        read_neighbour(&c->neighbours[i], r);
    }
    return read_tail(c, r, err);
}

/* Ours, of this context, and whole: a changed state is as good as a lost one. */
static bool genuine(const weft_secagg_client *c, const uint8_t *state, size_t n)
{
    uint8_t digest[32];
    if (n < sizeof magic + sizeof c->ctx + sizeof digest || n > WEFT_MAX_SECAGG_STATE_BYTES ||
        memcmp(state, magic, sizeof magic) != 0 ||
        memcmp(state + sizeof magic, c->ctx, sizeof c->ctx) != 0) {
        return false;
    }
    return weft_sha256(digest, state, n - sizeof digest, NULL) == WEFT_OK &&
           memcmp(digest, state + n - sizeof digest, sizeof digest) == 0;
}

weft_status weft_secagg_client_restore(weft_secagg_client **ret,
                                       const weft_secagg_client_config *config, const void *state,
                                       size_t n, weft_secagg_abort *abort, weft_err *err)
{
    weft_secagg_client *c = NULL;
    *abort = (weft_secagg_abort){.reason = WEFT_SECAGG_FINE};
    WEFT_TRY(weft_secagg_client_make(&c, config, err));
    weft_reader r;
    weft_reader_init(&r, state, n);
    r.failed = !genuine(c, state, n);
    weft_status status = WEFT_OK;
    if (!r.failed) {
        r.at += sizeof magic + sizeof c->ctx;
        r.end -= 32;
        status = read_state(c, &r, err);
    }
    if (status == WEFT_OK && !r.failed) {
        *ret = c;
        return WEFT_OK;
    }
    weft_secagg_client_free(c);
    WEFT_TRY(status);
    abort->reason = WEFT_SECAGG_STATE_LOST;
    WEFT_FAIL(err, WEFT_E_STATE, "%zu bytes are no state of this session of secure aggregation", n);
}
