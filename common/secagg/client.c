/* SPDX-License-Identifier: Apache-2.0 */
/* The client's machine: beginning, the order of messages, masks, the end. */
#include "secagg/client.h"

#include "crypto/kdf.h"
#include "secagg/client_priv.h"

#include <string.h>

/* ---- secrets of its own ---------------------------------------------------------------------- */

weft_status weft_secagg_own_secret(uint8_t ret[32], const weft_secagg_client *c,
                                   weft_secagg_own which, weft_err *err)
{
    const uint8_t info[] = {'w', 'e', 'f', 't', ' ', 'o', 'w', 'n', (uint8_t)which};
    return weft_hkdf_sha256(ret, 32, c->seed, sizeof c->seed, c->ctx, sizeof c->ctx, info,
                            sizeof info, err);
}

weft_status weft_secagg_own_key(weft_dh_key **ret, const weft_secagg_client *c,
                                weft_secagg_own which, weft_err *err)
{
    uint8_t secret[32];
    WEFT_TRY(weft_secagg_own_secret(secret, c, which, err));
    const weft_status status = weft_dh_key_new(ret, secret, c->alloc, err);
    weft_wipe(secret, sizeof secret);
    return status;
}

static void wipe_shares(weft_secagg_client *c)
{
    for (uint32_t i = 0; c->neighbours && i < c->params.k; i++) {
        weft_wipe(c->neighbours[i].shares, sizeof c->neighbours[i].shares);
    }
}

/* ---- beginning ------------------------------------------------------------------------------- */

weft_status weft_secagg_client_make(weft_secagg_client **ret,
                                    const weft_secagg_client_config *config, weft_err *err)
{
    if (!weft_equal_secret(config->chain->member_key, config->member_key->public_key,
                           WEFT_SIGN_PUBLIC_BYTES) &&
        !WEFT_SECAGG_SKIPS(SIGNATURE)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the member key of %s is not the one of its chain",
                  config->chain->invitation.client);
    }
    weft_secagg_client *c = weft_array(config->alloc, 1, sizeof *c);
    if (!c) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a session of secure aggregation");
    }
    const uint32_t job = config->context.policy.min_cohort;
    c->alloc = config->alloc;
    c->policy = config->context.policy;
    c->min_cohort = job > config->owner.min_cohort ? job : config->owner.min_cohort;
    c->operator_public = config->operator_public;
    c->member_key = config->member_key;
    c->chain = config->chain;
    c->pins = config->pins;
    weft_buf_init(&c->outbox, c->alloc, WEFT_MAX_SECAGG_CLIENT_BYTES);
    weft_buf chain;
    weft_buf_init(&chain, c->alloc, sizeof c->chain_bytes);
    weft_status status = weft_secagg_ctx(c->ctx, &config->context, err);
    if (status == WEFT_OK) {
        status = weft_member_encode(&chain, c->chain, err);
    }
    if (status == WEFT_OK) {
        memcpy(c->chain_bytes, chain.data, chain.size);
        c->keys.chain = (weft_view){c->chain_bytes, chain.size};
        *ret = c;
    } else {
        weft_secagg_client_free(c);
    }
    weft_buf_done(&chain);
    return status;
}

static weft_secagg_reason reason_not_to_begin(const weft_secagg_client_config *config)
{
    if (weft_secagg_policy_check(&config->context.policy, NULL) != WEFT_OK) {
        return WEFT_SECAGG_PARAMETERS;
    }
    if (!weft_secagg_policy_covers(&config->context.policy, &config->owner) &&
        !WEFT_SECAGG_SKIPS(POLICY)) {
        return WEFT_SECAGG_POLICY;
    }
    if (config->context_used && !WEFT_SECAGG_SKIPS(REPEATED)) {
        return WEFT_SECAGG_REPEATED;
    }
    /* the same round again would mask other training with a chance for the difference to leak */
    if (config->masked_round >= config->context.round && !WEFT_SECAGG_SKIPS(ATTEMPT)) {
        return WEFT_SECAGG_SECOND_ATTEMPT;
    }
    return WEFT_SECAGG_FINE;
}

static weft_status advertise(weft_secagg_client *c, const weft_entropy *entropy, weft_err *err)
{
    WEFT_TRY(entropy->fill(entropy->self, c->seed, sizeof c->seed, err));
    weft_dh_key *c_sk = NULL;
    weft_dh_key *s_sk = NULL;
    weft_status status = weft_secagg_own_key(&c_sk, c, OWN_C_SK, err);
    if (status == WEFT_OK) {
        status = weft_secagg_own_key(&s_sk, c, OWN_S_SK, err);
    }
    if (status == WEFT_OK) {
        memcpy(c->keys.c_pk, weft_dh_key_public(c_sk), sizeof c->keys.c_pk);
        memcpy(c->keys.s_pk, weft_dh_key_public(s_sk), sizeof c->keys.s_pk);
        status = weft_secagg_keys_sign(c->keys.signature, c->member_key, c->ctx, &c->keys, err);
    }
    weft_dh_key_free(c_sk);
    weft_dh_key_free(s_sk);
    WEFT_TRY(status);
    const weft_secagg_message m = {
        .type = WEFT_SECAGG_ADVERTISE, .session = c->ctx, .of.advertise = c->keys};
    return weft_secagg_encode(&c->outbox, &m, err);
}

weft_status weft_secagg_client_new(weft_secagg_client **ret,
                                   const weft_secagg_client_config *config,
                                   const weft_entropy *entropy, weft_secagg_abort *abort,
                                   weft_err *err)
{
    *abort = (weft_secagg_abort){.reason = reason_not_to_begin(config)};
    if (abort->reason != WEFT_SECAGG_FINE) {
        WEFT_FAIL(err, WEFT_E_STATE, "secure aggregation of job %s, round %u does not begin: %s",
                  config->context.job, config->context.round,
                  weft_secagg_reason_name(abort->reason));
    }
    weft_secagg_client *c = NULL;
    WEFT_TRY(weft_secagg_client_make(&c, config, err));
    const weft_status status = advertise(c, entropy, err);
    if (status != WEFT_OK) {
        weft_secagg_client_free(c);
        return status;
    }
    c->phase = WEFT_SECAGG_CLIENT_ADVERTISED;
    *ret = c;
    return WEFT_OK;
}

void weft_secagg_client_free(weft_secagg_client *c)
{
    if (c) {
        const weft_alloc *a = c->alloc;
        wipe_shares(c);
        weft_free(a, c->neighbours);
        weft_buf_done(&c->outbox);
        weft_wipe(c, sizeof *c);
        weft_free(a, c);
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

weft_status weft_secagg_deny(weft_secagg_abort *abort, weft_secagg_reason reason, const char *who,
                             weft_err *err)
{
    memset(abort, 0, sizeof *abort);
    abort->reason = reason;
    memcpy(abort->who, who, strnlen(who, WEFT_MAX_NAME_BYTES));
    WEFT_FAIL(err, WEFT_E_AUTH, "secure aggregation ends here: %s%s%s",
              weft_secagg_reason_name(reason), who[0] ? ": client " : "", who);
}

static void end(weft_secagg_client *c, const weft_secagg_abort *why)
{
    c->abort = *why;
    c->phase = WEFT_SECAGG_CLIENT_ABORTED;
    weft_wipe(c->seed, sizeof c->seed);
    wipe_shares(c);
    weft_buf_clear(&c->outbox);
    const weft_secagg_message m = {
        .type = WEFT_SECAGG_ABORT, .session = c->params.n ? c->session : c->ctx, .of.abort = *why};
    if (weft_secagg_encode(&c->outbox, &m, NULL) != WEFT_OK) {
        weft_buf_clear(&c->outbox); /* nobody hears why; the coordinator's deadline does it */
    }
}

void weft_secagg_client_leave(weft_secagg_client *c)
{
    if (c->phase != WEFT_SECAGG_CLIENT_ABORTED && c->phase != WEFT_SECAGG_CLIENT_ANSWERED) {
        end(c, &(weft_secagg_abort){.reason = WEFT_SECAGG_LEFT});
    }
}

/* ---- the order of messages ------------------------------------------------------------------- */

static weft_status refuse(weft_secagg_client *c, weft_secagg_reason reason, weft_status status,
                          const char *what, weft_err *err)
{
    c->abort = (weft_secagg_abort){.reason = reason};
    WEFT_FAIL(err, status, "a %s message is refused: %s", what, weft_secagg_reason_name(reason));
}

/* Which step a message belongs to; TAKES: none of the coordinator's. */
static int step_of(weft_secagg_type type)
{
    switch (type) {
    case WEFT_SECAGG_ROSTER:
        return TAKE_ROSTER;
    case WEFT_SECAGG_DELIVERY:
        return TAKE_DELIVERY;
    case WEFT_SECAGG_SURVIVORS:
        return TAKE_SURVIVORS;
    case WEFT_SECAGG_UNMASK:
        return TAKE_UNMASK;
    case WEFT_SECAGG_ADVERTISE:
    case WEFT_SECAGG_SHARES:
    case WEFT_SECAGG_CONFIRM:
    case WEFT_SECAGG_ANSWER:
    case WEFT_SECAGG_ABORT:
        break;
    }
    return TAKES;
}

/* Is it the present phase's turn for this step? */
static bool expected(const weft_secagg_client *c, int step)
{
    const bool active = c->policy.adversary == WEFT_SECAGG_ACTIVE;
    switch (c->phase) {
    case WEFT_SECAGG_CLIENT_ADVERTISED:
        return step == TAKE_ROSTER;
    case WEFT_SECAGG_CLIENT_SHARED:
        return step == TAKE_DELIVERY;
    case WEFT_SECAGG_CLIENT_MASKED:
        return step == (active ? TAKE_SURVIVORS : TAKE_UNMASK);
    case WEFT_SECAGG_CLIENT_CONFIRMED:
        return step == TAKE_UNMASK;
    case WEFT_SECAGG_CLIENT_MASKING:
    case WEFT_SECAGG_CLIENT_ANSWERED:
    case WEFT_SECAGG_CLIENT_ABORTED:
        break;
    }
    return false;
}

static weft_status take(weft_secagg_client *c, int step, const weft_secagg_message *m,
                        weft_buf *out, weft_secagg_abort *abort, weft_err *err)
{
    switch (step) {
    case TAKE_ROSTER:
        return weft_secagg_take_roster(c, &m->of.roster, out, abort, err);
    case TAKE_DELIVERY:
        return weft_secagg_take_delivery(c, m, abort, err);
    case TAKE_SURVIVORS:
        return weft_secagg_take_survivors(c, m, out, abort, err);
    default:
        return weft_secagg_take_unmask(c, m, out, abort, err);
    }
}

static void advance(weft_secagg_client *c, int step, const uint8_t digest[32], weft_buf *out)
{
    static const weft_secagg_client_phase next[TAKES] = {
        WEFT_SECAGG_CLIENT_SHARED, WEFT_SECAGG_CLIENT_MASKING, WEFT_SECAGG_CLIENT_CONFIRMED,
        WEFT_SECAGG_CLIENT_ANSWERED};
    c->phase = next[step];
    c->taken[step] = true;
    memcpy(c->taken_digest[step], digest, sizeof c->taken_digest[step]);
    weft_buf_done(&c->outbox);
    c->outbox = *out;
    weft_buf_init(out, c->alloc, 0); /* moved */
    c->abort = (weft_secagg_abort){.reason = WEFT_SECAGG_FINE};
    if (c->phase == WEFT_SECAGG_CLIENT_ANSWERED && !WEFT_SECAGG_SKIPS(ONCE)) {
        weft_wipe(c->seed, sizeof c->seed);
        wipe_shares(c);
    }
}

/* A message of a step that was taken: the same one changes nothing, another one is refused. */
static weft_status repeated(weft_secagg_client *c, int step, const uint8_t digest[32],
                            const weft_secagg_message *m, weft_err *err)
{
    if (memcmp(c->taken_digest[step], digest, 32) == 0) { /* public messages */
        return WEFT_OK;
    }
    return refuse(c, step == TAKE_UNMASK ? WEFT_SECAGG_ANSWERED : WEFT_SECAGG_CONFLICT,
                  WEFT_E_CONFLICT, weft_secagg_type_name(m->type), err);
}

static weft_status receive_decoded(weft_secagg_client *c, const weft_secagg_message *m,
                                   const uint8_t digest[32], weft_err *err)
{
    const int step = step_of(m->type);
    const char *what = weft_secagg_type_name(m->type);
    if (step == TAKES) {
        return refuse(c, WEFT_SECAGG_OUT_OF_ORDER, WEFT_E_STATE, what, err);
    }
    const bool again = c->taken[step] && WEFT_SECAGG_SKIPS(ONCE);
    if (c->taken[step] && !again) {
        return repeated(c, step, digest, m, err);
    }
    if (!expected(c, step) && !again) {
        return refuse(c, WEFT_SECAGG_OUT_OF_ORDER, WEFT_E_STATE, what, err);
    }
    const uint8_t *want = step == TAKE_ROSTER ? c->ctx : c->session;
    if (memcmp(m->session, want, WEFT_SECAGG_DIGEST_BYTES) != 0) {
        return refuse(c, WEFT_SECAGG_OTHER_SESSION, WEFT_E_STATE, what, err);
    }
    weft_secagg_abort abort = {.reason = WEFT_SECAGG_FINE};
    weft_buf out;
    weft_buf_init(&out, c->alloc, WEFT_MAX_SECAGG_CLIENT_BYTES);
    const weft_status status = take(c, step, m, &out, &abort, err);
    if (status == WEFT_OK) {
        advance(c, step, digest, &out);
    } else if (abort.reason != WEFT_SECAGG_FINE) {
        end(c, &abort);
    }
    weft_buf_done(&out);
    return status;
}

weft_status weft_secagg_client_receive(weft_secagg_client *c, const void *message, size_t n,
                                       weft_err *err)
{
    if (c->phase == WEFT_SECAGG_CLIENT_ABORTED) {
        WEFT_FAIL(err, WEFT_E_STATE, "this session has ended: %s",
                  weft_secagg_reason_name(c->abort.reason));
    }
    weft_secagg_message m;
    uint8_t digest[32];
    WEFT_TRY(weft_sha256(digest, message, n, err));
    if (weft_secagg_decode(&m, message, n, NULL) != WEFT_OK) {
        if (c->phase == WEFT_SECAGG_CLIENT_ANSWERED) {
            return refuse(c, WEFT_SECAGG_MALFORMED, WEFT_E_STATE, "malformed", err);
        }
        weft_secagg_abort abort;
        const weft_status status = weft_secagg_deny(&abort, WEFT_SECAGG_MALFORMED, "", err);
        end(c, &abort);
        return status;
    }
    return receive_decoded(c, &m, digest, err);
}

/* ---- masks ----------------------------------------------------------------------------------- */

static weft_status pair_masks(weft_prg_stream *ret, size_t *n, const weft_secagg_client *c,
                              const weft_dh_key *s_sk, weft_err *err)
{
    const char *me = c->chain->invitation.client;
    for (uint32_t i = 0; i < c->params.k; i++) {
        const weft_secagg_neighbour_state *other = &c->neighbours[i];
        if (weft_secagg_bit(c->senders, i)) {
            weft_prg_stream *stream = &ret[(*n)++];
            stream->subtract = other->index > c->index;
            WEFT_TRY(weft_secagg_mask_key(stream->key, s_sk, other->s_pk, c->session, me, other->id,
                                          err));
        }
    }
    return WEFT_OK;
}

weft_status weft_secagg_client_masks(weft_prg_stream *ret, size_t *ret_n,
                                     const weft_secagg_client *c, weft_err *err)
{
    if (c->phase != WEFT_SECAGG_CLIENT_MASKING) {
        WEFT_FAIL(err, WEFT_E_STATE, "there are no masks in this phase: their keys are gone");
    }
    weft_dh_key *s_sk = NULL;
    size_t n = 1;
    ret[0].subtract = false;
    WEFT_TRY(weft_secagg_own_secret(ret[0].key, c, OWN_B, err));
    WEFT_TRY(weft_secagg_own_key(&s_sk, c, OWN_S_SK, err));
    const weft_status status = pair_masks(ret, &n, c, s_sk, err);
    weft_dh_key_free(s_sk);
    if (status == WEFT_OK) {
        *ret_n = n;
    }
    return status;
}

weft_status weft_secagg_client_masked(weft_secagg_client *c,
                                      const uint8_t digest[WEFT_SHA256_BYTES], weft_err *err)
{
    const bool before =
        c->phase >= WEFT_SECAGG_CLIENT_MASKED && c->phase <= WEFT_SECAGG_CLIENT_ANSWERED;
    if (before && memcmp(c->masked_digest, digest, WEFT_SHA256_BYTES) == 0) {
        return WEFT_OK;
    }
    if (before) {
        WEFT_FAIL(err, WEFT_E_CONFLICT,
                  "another vector was masked in this session: a second one would reveal the "
                  "difference");
    }
    if (c->phase != WEFT_SECAGG_CLIENT_MASKING) {
        WEFT_FAIL(err, WEFT_E_STATE, "nothing is to be masked in this phase");
    }
    memcpy(c->masked_digest, digest, sizeof c->masked_digest);
    c->phase = WEFT_SECAGG_CLIENT_MASKED;
    if (!WEFT_SECAGG_SKIPS(ONCE)) {
        weft_wipe(c->seed, sizeof c->seed); /* nothing needs the masks any more */
    }
    return WEFT_OK;
}

/* ---- looking --------------------------------------------------------------------------------- */

weft_secagg_client_phase weft_secagg_client_phase_get(const weft_secagg_client *c)
{
    return c->phase;
}

const weft_secagg_abort *weft_secagg_client_abort(const weft_secagg_client *c)
{
    return &c->abort;
}

weft_view weft_secagg_client_outbox(const weft_secagg_client *c)
{
    const bool silent =
        c->phase == WEFT_SECAGG_CLIENT_MASKING || c->phase == WEFT_SECAGG_CLIENT_MASKED;
    return silent ? (weft_view){NULL, 0} : weft_buf_view(&c->outbox);
}

const uint8_t *weft_secagg_client_ctx(const weft_secagg_client *c)
{
    return c->ctx;
}

const weft_secagg_params *weft_secagg_client_params(const weft_secagg_client *c)
{
    return &c->params;
}

bool weft_secagg_client_peer(const weft_secagg_client *c, uint32_t i, weft_secagg_peer *ret)
{
    if (!c->neighbours || i >= c->params.k) {
        return false;
    }
    memcpy(ret->id, c->neighbours[i].id, sizeof ret->id);
    memcpy(ret->member_key, c->neighbours[i].member_key, sizeof ret->member_key);
    return true;
}
