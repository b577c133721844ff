/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes, signatures and keys of the protocol, each over a statement of its own domain. */
#include "secagg/context.h"

#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/statement.h"
#include "secagg/secagg_priv.h"

#include <string.h>

static const uint8_t zeros[32];

static weft_status add_f64(weft_statement *s, double v, weft_err *err)
{
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof bits);
    return weft_statement_add_u64(s, bits, err);
}

/* What of the plan is on the wire (TrainingPlan), and no more: the rest a client cannot know, and
 * it would compute another context than the coordinator's. */
static weft_status add_plan(weft_statement *s, const weft_plan *p, weft_err *err)
{
    const double reals[] = {p->learning_rate, p->momentum,     p->weight_decay, p->beta1,
                            p->beta2,         p->epsilon,      p->prox_mu,      p->schedule_factor,
                            p->warmup_rounds, p->clip_gradient};
    const uint64_t wholes[] = {(uint64_t)p->optimizer,
                               p->batch_size,
                               p->epochs,
                               p->seed,
                               (uint64_t)p->numerics,
                               (uint64_t)p->schedule,
                               p->schedule_rounds,
                               p->early_stop,
                               p->augment_shift,
                               p->augment_crop,
                               (uint64_t)p->augment_flip};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        WEFT_TRY(add_f64(s, reals[i], err));
    }
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        WEFT_TRY(weft_statement_add_u64(s, wholes[i], err));
    }
    return WEFT_OK;
}

static weft_status add_policy(weft_statement *s, const weft_secagg_policy *p, weft_err *err)
{
    WEFT_TRY(weft_statement_add_u64(s, (uint64_t)p->adversary, err));
    WEFT_TRY(add_f64(s, p->gamma, err));
    WEFT_TRY(add_f64(s, p->delta, err));
    WEFT_TRY(weft_statement_add_u64(s, p->min_colluders, err));
    return weft_statement_add_u64(s, p->min_cohort, err);
}

weft_status weft_secagg_ctx(uint8_t ret[WEFT_SECAGG_DIGEST_BYTES],
                            const weft_secagg_context *context, weft_err *err)
{
    weft_statement s;
    uint8_t encoding[32];
    WEFT_TRY(weft_sha256(encoding, context->encoding.data, context->encoding.size, err));
    WEFT_TRY(weft_statement_init(&s, "weft secagg context 1", err));
    WEFT_TRY(weft_statement_add_text(&s, context->federation, err));
    WEFT_TRY(weft_statement_add_text(&s, context->job, err));
    const uint64_t wholes[] = {context->job_id, context->round, context->attempt,
                               (uint64_t)context->task};
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        WEFT_TRY(weft_statement_add_u64(&s, wholes[i], err));
    }
    WEFT_TRY(weft_statement_add(&s, context->base_digest, sizeof context->base_digest, err));
    WEFT_TRY(add_plan(&s, &context->plan, err));
    WEFT_TRY(add_policy(&s, &context->policy, err));
    WEFT_TRY(weft_statement_add(&s, encoding, sizeof encoding, err));
    return weft_sha256(ret, s.data, s.n, err);
}

weft_status weft_secagg_leaf(uint8_t ret[32], const weft_secagg_keys *keys, weft_err *err)
{
    weft_statement s;
    WEFT_TRY(weft_statement_init(&s, "weft secagg leaf 1", err));
    WEFT_TRY(weft_statement_add(&s, keys->c_pk, sizeof keys->c_pk, err));
    WEFT_TRY(weft_statement_add(&s, keys->s_pk, sizeof keys->s_pk, err));
    WEFT_TRY(weft_statement_add(&s, keys->signature, sizeof keys->signature, err));
    WEFT_TRY(weft_statement_add(&s, keys->chain.data, keys->chain.size, err));
    return weft_sha256(ret, s.data, s.n, err);
}

weft_status weft_secagg_session(uint8_t ret[32], const uint8_t ctx[32], uint32_t n,
                                weft_view entries, const weft_alloc *a, weft_err *err)
{
    /* entries have their lengths in front: the bytes say where each begins */
    weft_statement s;
    weft_hash *hash = NULL;
    WEFT_TRY(weft_statement_init(&s, "weft secagg session 1", err));
    WEFT_TRY(weft_statement_add(&s, ctx, 32, err));
    WEFT_TRY(weft_statement_add_u64(&s, n, err));
    WEFT_TRY(weft_hash_new(&hash, a, err));
    weft_status status = weft_hash_add(hash, s.data, s.n, err);
    if (status == WEFT_OK) {
        status = weft_hash_add(hash, entries.data, entries.size, err);
    }
    if (status == WEFT_OK) {
        status = weft_hash_finish(ret, hash, err);
    }
    weft_hash_free(hash);
    return status;
}

weft_status weft_secagg_commitment(uint8_t ret[32], const uint8_t session[32], const char *id,
                                   const uint8_t b[32], weft_err *err)
{
    weft_statement s;
    WEFT_TRY(weft_statement_init(&s, "weft secagg commitment 1", err));
    WEFT_TRY(weft_statement_add(&s, session, 32, err));
    WEFT_TRY(weft_statement_add_text(&s, id, err));
    WEFT_TRY(weft_statement_add(&s, b, 32, err));
    const weft_status status = weft_sha256(ret, s.data, s.n, err);
    weft_wipe(&s, sizeof s);
    return status;
}

/* ---- signatures ------------------------------------------------------------------------------ */

static weft_status state_keys(weft_statement *s, const uint8_t ctx[32],
                              const weft_secagg_keys *keys, weft_err *err)
{
    WEFT_TRY(weft_statement_init(s, "weft secagg keys 1", err));
    WEFT_TRY(weft_statement_add(s, ctx, 32, err));
    WEFT_TRY(weft_statement_add(s, keys->c_pk, sizeof keys->c_pk, err));
    return weft_statement_add(s, keys->s_pk, sizeof keys->s_pk, err);
}

weft_status weft_secagg_keys_sign(uint8_t ret[64], const weft_sign_key *member_key,
                                  const uint8_t ctx[32], const weft_secagg_keys *keys,
                                  weft_err *err)
{
    weft_statement s = {.n = 0};
    WEFT_TRY(state_keys(&s, ctx, keys, err));
    return weft_sign(ret, member_key, s.data, s.n, err);
}

weft_status weft_secagg_keys_verify(const uint8_t member_key[32], const uint8_t ctx[32],
                                    const weft_secagg_keys *keys, weft_err *err)
{
    weft_statement s = {.n = 0};
    WEFT_TRY(state_keys(&s, ctx, keys, err));
    return weft_sign_verify(member_key, s.data, s.n, keys->signature, err);
}

static weft_status state_included(weft_statement *s, const uint8_t session[32], const char *by,
                                  const char *whom, weft_err *err)
{
    WEFT_TRY(weft_statement_init(s, "weft secagg included 1", err));
    WEFT_TRY(weft_statement_add(s, session, 32, err));
    WEFT_TRY(weft_statement_add_text(s, by, err));
    return weft_statement_add_text(s, whom, err);
}

weft_status weft_secagg_included_sign(uint8_t ret[64], const weft_sign_key *member_key,
                                      const uint8_t session[32], const char *by, const char *whom,
                                      weft_err *err)
{
    weft_statement s = {.n = 0};
    WEFT_TRY(state_included(&s, session, by, whom, err));
    return weft_sign(ret, member_key, s.data, s.n, err);
}

weft_status weft_secagg_included_verify(const uint8_t member_key[32], const uint8_t session[32],
                                        const char *by, const char *whom,
                                        const uint8_t signature[64], weft_err *err)
{
    weft_statement s = {.n = 0};
    WEFT_TRY(state_included(&s, session, by, whom, err));
    return weft_sign_verify(member_key, s.data, s.n, signature, err);
}

/* ---- shares and masks ------------------------------------------------------------------------ */

/* (purpose, session, from, to): the key's info, and with x what the seal vouches for. */
static weft_status state_between(weft_statement *s, const char *purpose, const uint8_t session[32],
                                 const char *from, const char *to, weft_err *err)
{
    WEFT_TRY(weft_statement_init(s, purpose, err));
    WEFT_TRY(weft_statement_add(s, WEFT_SECAGG_SKIPS(SESSION) ? zeros : session, 32, err));
    WEFT_TRY(weft_statement_add_text(s, from, err));
    return weft_statement_add_text(s, to, err);
}

static weft_status derive(uint8_t ret[32], const weft_dh_key *key, const uint8_t peer[32],
                          const weft_statement *info, weft_err *err)
{
    uint8_t secret[WEFT_DH_BYTES] = {0};
    weft_status status = WEFT_OK;
    if (!(WEFT_SECAGG_SKIPS(LOW_ORDER) && weft_dh_low_order(peer))) {
        status = weft_dh_agree(secret, key, peer, err);
    }
    if (status == WEFT_OK) {
        status =
            weft_hkdf_sha256(ret, 32, secret, sizeof secret, NULL, 0, info->data, info->n, err);
    }
    weft_wipe(secret, sizeof secret);
    return status;
}

static weft_status share_key(uint8_t ret[32], weft_statement *aad, const weft_dh_key *c_sk,
                             const uint8_t peer[32], const uint8_t session[32], const char *from,
                             const char *to, uint8_t x, weft_err *err)
{
    WEFT_TRY(state_between(aad, "weft secagg share 1", session, from, to, err));
    WEFT_TRY(derive(ret, c_sk, peer, aad, err));
    return weft_statement_add(aad, &x, 1, err);
}

/* One key a direction and session, one message a key: the nonce may be fixed. */
weft_status weft_secagg_seal(uint8_t ret[WEFT_SECAGG_SEALED_BYTES], const weft_dh_key *c_sk,
                             const uint8_t peer_c_pk[32], const uint8_t session[32],
                             const char *from, const char *to, uint8_t x, const uint8_t shares[64],
                             weft_err *err)
{
    weft_statement aad = {.n = 0};
    uint8_t key[WEFT_AEAD_KEY_BYTES];
    WEFT_TRY(share_key(key, &aad, c_sk, peer_c_pk, session, from, to, x, err));
    const weft_status status = weft_aead_seal(ret, key, zeros, aad.data, aad.n, shares, 64, err);
    weft_wipe(key, sizeof key);
    return status;
}

weft_status weft_secagg_open(uint8_t ret[64], const weft_dh_key *c_sk, const uint8_t peer_c_pk[32],
                             const uint8_t session[32], const char *from, const char *to, uint8_t x,
                             const uint8_t sealed[WEFT_SECAGG_SEALED_BYTES], weft_err *err)
{
    weft_statement aad = {.n = 0};
    uint8_t key[WEFT_AEAD_KEY_BYTES];
    WEFT_TRY(share_key(key, &aad, c_sk, peer_c_pk, session, from, to, x, err));
    const weft_status status =
        weft_aead_open(ret, key, zeros, aad.data, aad.n, sealed, WEFT_SECAGG_SEALED_BYTES, err);
    weft_wipe(key, sizeof key);
    return status;
}

weft_status weft_secagg_mask_key(uint8_t ret[32], const weft_dh_key *s_sk,
                                 const uint8_t peer_s_pk[32], const uint8_t session[32],
                                 const char *one, const char *other, weft_err *err)
{
    const bool ordered = strcmp(one, other) < 0;
    weft_statement info = {.n = 0};
    WEFT_TRY(state_between(&info, "weft secagg mask 1", session, ordered ? one : other,
                           ordered ? other : one, err));
    return derive(ret, s_sk, peer_s_pk, &info, err);
}
