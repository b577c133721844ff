/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator's machine: what clients hand in. */
#include "secagg/server.h"

#include "secagg/server_priv.h"

#include <string.h>

/* ---- life ------------------------------------------------------------------------------------ */

weft_status weft_secagg_server_new(weft_secagg_server **ret,
                                   const weft_secagg_server_config *config, weft_err *err)
{
    WEFT_TRY(weft_secagg_policy_check(&config->policy, err));
    if (config->expected > WEFT_MAX_COHORT || config->minimum > WEFT_MAX_COHORT) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a session of %u clients, at least %u: above %u",
                  config->expected, config->minimum, WEFT_MAX_COHORT);
    }
    weft_secagg_server *s = weft_array(config->alloc, 1, sizeof *s);
    if (!s) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a session of secure aggregation");
    }
    s->alloc = config->alloc;
    s->config = *config;
    if (s->config.minimum < config->policy.min_cohort) {
        s->config.minimum = config->policy.min_cohort;
    }
    s->phase = WEFT_SECAGG_PHASE_ADVERTISE;
    weft_buf_init(&s->entries, s->alloc, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    *ret = s;
    return WEFT_OK;
}

static void free_member(const weft_alloc *a, weft_secagg_member *m)
{
    if (m) {
        weft_free(a, m->chain_bytes);
        weft_free(a, m->sealed);
        weft_free(a, m->signatures);
        weft_free(a, m->answer);
        weft_free(a, m);
    }
}

void weft_secagg_server_free(weft_secagg_server *s)
{
    if (s) {
        for (uint32_t i = 0; i < s->n_members; i++) {
            free_member(s->alloc, s->members[i]);
        }
        weft_free(s->alloc, s->members);
        weft_buf_done(&s->entries);
        weft_free(s->alloc, s->neighbours);
        weft_free(s->alloc, s->secrets);
        weft_free(s->alloc, s);
    }
}

/* ---- looking --------------------------------------------------------------------------------- */

const char *weft_secagg_phase_name(weft_secagg_phase phase)
{
    static const char *const names[] = {"unknown", "advertise", "share", "mask",
                                        "confirm", "unmask",    "solve", "failed"};
    const size_t i = (size_t)phase;
    return i < sizeof names / sizeof names[0] ? names[i] : names[0];
}

weft_secagg_phase weft_secagg_server_phase(const weft_secagg_server *s)
{
    return s->phase;
}

weft_secagg_reason weft_secagg_server_failure(const weft_secagg_server *s)
{
    return s->failure;
}

const weft_secagg_params *weft_secagg_server_params(const weft_secagg_server *s)
{
    return &s->params;
}

const char *weft_secagg_server_client(const weft_secagg_server *s, uint32_t i)
{
    return s->params.n > 0 && i < s->n_members ? s->members[i]->id : NULL;
}

bool weft_secagg_server_included(const weft_secagg_server *s, uint32_t i)
{
    return s->phase > WEFT_SECAGG_PHASE_MASK && i < s->n_members &&
           s->members[i]->came[WEFT_SECAGG_PHASE_MASK];
}

uint32_t weft_secagg_server_n_included(const weft_secagg_server *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_members; i++) {
        n += weft_secagg_server_included(s, i);
    }
    return n;
}

/* Where a client is, or would be. */
static uint32_t place_of(const weft_secagg_server *s, const char *client, bool *found)
{
    uint32_t low = 0;
    uint32_t high = s->n_members;
    *found = false;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const int order = strcmp(s->members[middle]->id, client);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint32_t weft_secagg_find(const weft_secagg_server *s, const char *client)
{
    bool found = false;
    const uint32_t i = place_of(s, client, &found);
    return found ? i : s->n_members;
}

uint32_t weft_secagg_count_near(const weft_secagg_server *s, uint32_t i, weft_secagg_phase phase)
{
    const uint32_t *near = weft_secagg_near(s, i);
    uint32_t n = 0;
    for (uint32_t j = 0; j < s->params.k; j++) {
        n += s->members[near[j]]->came[phase];
    }
    return n;
}

bool weft_secagg_doomed(const weft_secagg_server *s, uint32_t i)
{
    return weft_secagg_count_near(s, i, WEFT_SECAGG_PHASE_SHARE) < s->params.t;
}

weft_secagg_phase weft_secagg_asked(const weft_secagg_server *s)
{
    return s->config.policy.adversary == WEFT_SECAGG_ACTIVE ? WEFT_SECAGG_PHASE_CONFIRM
                                                            : WEFT_SECAGG_PHASE_MASK;
}

bool weft_secagg_awaited(const weft_secagg_server *s, uint32_t i)
{
    const weft_secagg_member *m = s->members[i];
    switch (s->phase) {
    case WEFT_SECAGG_PHASE_ADVERTISE:
    case WEFT_SECAGG_PHASE_SHARE:
        return true;
    case WEFT_SECAGG_PHASE_MASK:
        return m->came[WEFT_SECAGG_PHASE_SHARE] && !weft_secagg_doomed(s, i);
    case WEFT_SECAGG_PHASE_CONFIRM:
        return m->came[WEFT_SECAGG_PHASE_MASK];
    case WEFT_SECAGG_PHASE_UNMASK:
        return m->came[weft_secagg_asked(s)];
    case WEFT_SECAGG_PHASE_SOLVE:
    case WEFT_SECAGG_PHASE_FAILED:
        break;
    }
    return false;
}

void weft_secagg_server_expect(weft_secagg_server *s, uint32_t n)
{
    s->config.expected = n;
}

void weft_secagg_server_progress(const weft_secagg_server *s, uint32_t *ret_come,
                                 uint32_t *ret_expected)
{
    uint32_t come = 0;
    uint32_t expected = 0;
    for (uint32_t i = 0; s->phase < WEFT_SECAGG_PHASE_SOLVE && i < s->n_members; i++) {
        const weft_secagg_member *m = s->members[i];
        const bool here = m->came[s->phase];
        come += here;
        expected += here || (weft_secagg_awaited(s, i) && !m->left);
    }
    *ret_come = come;
    *ret_expected = s->phase == WEFT_SECAGG_PHASE_ADVERTISE ? s->config.expected : expected;
}

bool weft_secagg_server_came(const weft_secagg_server *s, const char *client)
{
    const uint32_t i = weft_secagg_find(s, client);
    return s->phase < WEFT_SECAGG_PHASE_SOLVE && i < s->n_members && s->members[i]->came[s->phase];
}

bool weft_secagg_server_ready(const weft_secagg_server *s)
{
    uint32_t come = 0;
    uint32_t expected = 0;
    weft_secagg_server_progress(s, &come, &expected);
    return s->phase < WEFT_SECAGG_PHASE_SOLVE && come >= expected;
}

void weft_secagg_server_left(weft_secagg_server *s, const char *client)
{
    const uint32_t i = weft_secagg_find(s, client);
    if (i < s->n_members) {
        s->members[i]->left = true;
    }
}

/* ---- advertise ------------------------------------------------------------------------------- */

/* What the coordinator can see of a lie, it refuses: one bad entry would stop its neighbours. */
static weft_secagg_reason judge_keys(const weft_secagg_server *s, const char *client,
                                     const weft_secagg_keys *keys)
{
    weft_member_chain chain;
    if (weft_member_decode(&chain, keys->chain.data, keys->chain.size, NULL) != WEFT_OK) {
        return WEFT_SECAGG_CHAIN;
    }
    if ((weft_member_verify(&chain, s->config.operator_public, s->config.federation,
                            WEFT_MEMBER_ANY_TIME, NULL) != WEFT_OK ||
         strcmp(chain.invitation.client, client) != 0) &&
        !WEFT_SECAGG_SKIPS(CHAIN)) {
        return WEFT_SECAGG_CHAIN;
    }
    if (weft_secagg_keys_verify(chain.member_key, s->config.ctx, keys, NULL) != WEFT_OK &&
        !WEFT_SECAGG_SKIPS(SIGNATURE)) {
        return WEFT_SECAGG_SIGNATURE;
    }
    if ((weft_dh_low_order(keys->c_pk) || weft_dh_low_order(keys->s_pk)) &&
        !WEFT_SECAGG_SKIPS(LOW_ORDER)) {
        return WEFT_SECAGG_LOW_ORDER;
    }
    return memcmp(keys->c_pk, keys->s_pk, 32) == 0 ? WEFT_SECAGG_DUPLICATE_KEY : WEFT_SECAGG_FINE;
}

static weft_status grow(weft_secagg_server *s, weft_err *err)
{
    if (s->n_members < s->cap_members) {
        return WEFT_OK;
    }
    const uint32_t cap = s->cap_members ? 2 * s->cap_members : 16;
    weft_secagg_member **grown =
        weft_array_resize(s->alloc, s->members, cap, sizeof(weft_secagg_member *));
    if (!grown) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %u clients", cap);
    }
    s->members = grown;
    s->cap_members = cap;
    return WEFT_OK;
}

static weft_status fill_member(weft_secagg_member *m, const weft_secagg_server *s,
                               const char *client, const weft_secagg_keys *keys, weft_err *err)
{
    memcpy(m->id, client, strlen(client) + 1);
    m->chain_bytes = weft_array(s->alloc, keys->chain.size, 1);
    if (!m->chain_bytes) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a member chain");
    }
    memcpy(m->chain_bytes, keys->chain.data, keys->chain.size);
    m->keys = *keys;
    m->keys.chain.data = m->chain_bytes;
    return weft_secagg_leaf(m->leaf, &m->keys, err);
}

static weft_status add_member(weft_secagg_server *s, const char *client,
                              const weft_secagg_keys *keys, const uint8_t digest[32], weft_err *err)
{
    WEFT_TRY(grow(s, err));
    weft_secagg_member *m = weft_array(s->alloc, 1, sizeof *m);
    if (!m) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a client");
    }
    const weft_status status = fill_member(m, s, client, keys, err);
    if (status != WEFT_OK) {
        free_member(s->alloc, m);
        return status;
    }
    bool found = false;
    const uint32_t at = place_of(s, client, &found);
    memmove(s->members + at + 1, s->members + at,
            (s->n_members - at) * sizeof(weft_secagg_member *));
    s->members[at] = m;
    s->n_members++;
    m->came[WEFT_SECAGG_PHASE_ADVERTISE] = true;
    memcpy(m->digest[WEFT_SECAGG_PHASE_ADVERTISE], digest, 32);
    return WEFT_OK;
}

static weft_status advertise(weft_secagg_reason *why, weft_secagg_server *s, const char *client,
                             const weft_secagg_message *m, const uint8_t digest[32], weft_err *err)
{
    if (s->n_members >= WEFT_MAX_COHORT) {
        *why = WEFT_SECAGG_LATE;
        return WEFT_OK;
    }
    *why = judge_keys(s, client, &m->of.advertise);
    return *why == WEFT_SECAGG_FINE ? add_member(s, client, &m->of.advertise, digest, err)
                                    : WEFT_OK;
}

/* ---- the other phases ------------------------------------------------------------------------ */

static weft_status keep(uint8_t **ret, const weft_secagg_server *s, const uint8_t *data, size_t n,
                        weft_err *err)
{
    uint8_t *copy = weft_array(s->alloc, n, 1);
    if (!copy) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %zu bytes of a client", n);
    }
    memcpy(copy, data, n);
    *ret = copy;
    return WEFT_OK;
}

/* The body of a message whose sender and phase are right; a count that is not the computed one is
 * malformed. */
static weft_status take_body(weft_secagg_reason *why, weft_secagg_server *s, uint32_t i,
                             const weft_secagg_message *m, weft_err *err)
{
    weft_secagg_member *member = s->members[i];
    const weft_secagg_phase expected =
        m->type == WEFT_SECAGG_CONFIRM ? WEFT_SECAGG_PHASE_MASK : WEFT_SECAGG_PHASE_SHARE;
    if (m->type == WEFT_SECAGG_SHARES) {
        if (m->of.shares.k != s->params.k) {
            *why = WEFT_SECAGG_MALFORMED;
            return WEFT_OK;
        }
        memcpy(member->commitment, m->of.shares.commitment, sizeof member->commitment);
        return keep(&member->sealed, s, m->of.shares.sealed,
                    (size_t)s->params.k * WEFT_SECAGG_SEALED_BYTES, err);
    }
    const bool confirm = m->type == WEFT_SECAGG_CONFIRM;
    const uint16_t n = confirm ? m->of.confirm.n : m->of.answer.n;
    if (n != weft_secagg_count_near(s, i, expected)) {
        *why = WEFT_SECAGG_MALFORMED;
        return WEFT_OK;
    }
    return confirm ? keep(&member->signatures, s, m->of.confirm.signatures,
                          (size_t)n * WEFT_SECAGG_SIGNATURE_BYTES, err)
                   : keep(&member->answer, s, m->of.answer.shares,
                          (size_t)n * WEFT_SECAGG_SHARE_BYTES, err);
}

static weft_secagg_phase phase_of(weft_secagg_type type)
{
    switch (type) {
    case WEFT_SECAGG_ADVERTISE:
        return WEFT_SECAGG_PHASE_ADVERTISE;
    case WEFT_SECAGG_SHARES:
        return WEFT_SECAGG_PHASE_SHARE;
    case WEFT_SECAGG_CONFIRM:
        return WEFT_SECAGG_PHASE_CONFIRM;
    case WEFT_SECAGG_ANSWER:
        return WEFT_SECAGG_PHASE_UNMASK;
    case WEFT_SECAGG_ROSTER:
    case WEFT_SECAGG_DELIVERY:
    case WEFT_SECAGG_SURVIVORS:
    case WEFT_SECAGG_UNMASK:
    case WEFT_SECAGG_ABORT:
        break;
    }
    return WEFT_SECAGG_PHASE_FAILED;
}

/* Before the body is looked at. FINE: it is this client's turn with this message. */
static weft_secagg_reason judge_turn(const weft_secagg_server *s, uint32_t i,
                                     weft_secagg_phase phase, const uint8_t *session)
{
    const uint8_t *want = phase == WEFT_SECAGG_PHASE_ADVERTISE ? s->config.ctx : s->session;
    if (s->phase == WEFT_SECAGG_PHASE_FAILED) {
        return s->failure;
    }
    if (phase > s->phase) {
        return WEFT_SECAGG_OUT_OF_ORDER;
    }
    if (memcmp(session, want, 32) != 0) {
        return WEFT_SECAGG_OTHER_SESSION;
    }
    if (i < s->n_members && s->members[i]->left) {
        return WEFT_SECAGG_LEFT;
    }
    if (phase < s->phase) {
        return WEFT_SECAGG_LATE;
    }
    if (i == s->n_members) {
        return phase == WEFT_SECAGG_PHASE_ADVERTISE ? WEFT_SECAGG_FINE : WEFT_SECAGG_NOT_INVITED;
    }
    return weft_secagg_awaited(s, i) ? WEFT_SECAGG_FINE : WEFT_SECAGG_LATE;
}

static weft_status take(weft_secagg_reason *why, weft_secagg_server *s, const char *client,
                        uint32_t i, const weft_secagg_message *m, const uint8_t digest[32],
                        weft_err *err)
{
    if (m->type == WEFT_SECAGG_ADVERTISE) {
        return advertise(why, s, client, m, digest, err);
    }
    WEFT_TRY(take_body(why, s, i, m, err));
    if (*why == WEFT_SECAGG_FINE) {
        s->members[i]->came[s->phase] = true;
        memcpy(s->members[i]->digest[s->phase], digest, 32);
    }
    return WEFT_OK;
}

static weft_status receive_abort(weft_secagg_verdict *ret, weft_secagg_server *s, uint32_t i)
{
    *ret = i < s->n_members && s->members[i]->left ? WEFT_SECAGG_SAME : WEFT_SECAGG_ACCEPTED;
    if (i < s->n_members) {
        s->members[i]->left = true;
    }
    return WEFT_OK;
}

static weft_status receive_decoded(weft_secagg_verdict *ret, weft_secagg_reason *why,
                                   weft_secagg_server *s, const char *client,
                                   const weft_secagg_message *m, const uint8_t digest[32],
                                   weft_err *err)
{
    const uint32_t i = weft_secagg_find(s, client);
    const weft_secagg_phase phase = phase_of(m->type);
    if (m->type == WEFT_SECAGG_ABORT) {
        return receive_abort(ret, s, i);
    }
    if (phase == WEFT_SECAGG_PHASE_FAILED) {
        *why = WEFT_SECAGG_OUT_OF_ORDER;
        return WEFT_OK;
    }
    if (i < s->n_members && s->members[i]->came[phase]) {
        if (memcmp(s->members[i]->digest[phase], digest, 32) == 0) {
            *ret = WEFT_SECAGG_SAME;
        } else {
            *why = WEFT_SECAGG_CONFLICT;
        }
        return WEFT_OK;
    }
    *why = judge_turn(s, i, phase, m->session);
    if (*why == WEFT_SECAGG_FINE) {
        WEFT_TRY(take(why, s, client, i, m, digest, err));
    }
    if (*why == WEFT_SECAGG_FINE) {
        *ret = WEFT_SECAGG_ACCEPTED;
    }
    return WEFT_OK;
}

weft_status weft_secagg_server_receive(weft_secagg_verdict *ret, weft_secagg_reason *reason,
                                       weft_secagg_server *s, const char *client,
                                       const void *message, size_t n, weft_err *err)
{
    weft_secagg_verdict verdict = WEFT_SECAGG_REFUSED;
    weft_secagg_reason why = WEFT_SECAGG_FINE;
    weft_secagg_message m;
    uint8_t digest[32];
    WEFT_TRY(weft_sha256(digest, message, n, err));
    if (weft_secagg_decode(&m, message, n, NULL) != WEFT_OK ||
        strlen(client) > WEFT_MAX_NAME_BYTES) {
        why = WEFT_SECAGG_MALFORMED;
    } else {
        WEFT_TRY(receive_decoded(&verdict, &why, s, client, &m, digest, err));
    }
    if (verdict == WEFT_SECAGG_REFUSED) {
        (void)weft_err_set(err, WEFT_E_INVALID, 0, __FILE__, __LINE__,
                           "a message of client %s is refused in phase %s: %s", client,
                           weft_secagg_phase_name(s->phase), weft_secagg_reason_name(why));
    }
    if (reason) {
        *reason = verdict == WEFT_SECAGG_REFUSED ? why : WEFT_SECAGG_FINE;
    }
    *ret = verdict;
    return WEFT_OK;
}

/* ---- masked vectors -------------------------------------------------------------------------- */

weft_secagg_reason weft_secagg_server_may_mask(const weft_secagg_server *s, const char *client)
{
    const uint32_t i = weft_secagg_find(s, client);
    if (i < s->n_members && s->members[i]->came[WEFT_SECAGG_PHASE_MASK]) {
        return WEFT_SECAGG_FINE;
    }
    if (i < s->n_members && s->phase == WEFT_SECAGG_PHASE_MASK &&
        s->members[i]->came[WEFT_SECAGG_PHASE_SHARE] && weft_secagg_doomed(s, i)) {
        return WEFT_SECAGG_TOO_FEW_NEIGHBOURS;
    }
    return judge_turn(s, i, WEFT_SECAGG_PHASE_MASK, s->session);
}

weft_secagg_verdict weft_secagg_server_masked(weft_secagg_server *s, const char *client,
                                              weft_secagg_reason *reason)
{
    const weft_secagg_reason why = weft_secagg_server_may_mask(s, client);
    if (reason) {
        *reason = why;
    }
    if (why != WEFT_SECAGG_FINE) {
        return WEFT_SECAGG_REFUSED;
    }
    bool *came = &s->members[weft_secagg_find(s, client)]->came[WEFT_SECAGG_PHASE_MASK];
    const weft_secagg_verdict verdict = *came ? WEFT_SECAGG_SAME : WEFT_SECAGG_ACCEPTED;
    *came = true;
    return verdict;
}
