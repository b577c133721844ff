/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secure aggregation inside the session: when the machine of common/secagg begins, what is kept
 * before what leaves, and how a session of it ends. Called by session.c and session_end.c; pure.
 */
#include "session_priv.h"

#include "crypto/hash.h"
#include "policy.h"

#include <stdio.h>
#include <string.h>

/* A coordinator that does not hold polls is not asked more often than this. */
#define MIN_POLL_MS 50
/* What a state takes: fixed part, and for each neighbour. Reserved at once, so that a growing
 * buffer leaves no copies of it behind. */
#define STATE_BYTES          2048U
#define STATE_BYTES_FOR_EACH 448U

bool weft_session_secure_delivered(const weft_session *s)
{
    return s->secure && s->secure->has_receipt;
}

static void wipe_buf(weft_buf *b)
{
    if (b->data) {
        weft_wipe(b->data, b->cap);
    }
    weft_buf_done(b);
}

static void wipe_masks(weft_session_secagg *x)
{
    weft_wipe(x->masks, x->n_masks * sizeof x->masks[0]);
    x->n_masks = 0;
}

/* Everything but the context, which LEAVE still names. */
static void wipe(weft_session_secagg *x)
{
    weft_secagg_client_free(x->machine);
    x->machine = NULL;
    wipe_masks(x);
    wipe_buf(&x->state);
    weft_buf_done(&x->incoming);
}

void weft_session_secure_done(weft_session *s)
{
    if (s->secure) {
        wipe(s->secure);
        weft_free(s->alloc, s->secure);
        s->secure = NULL;
    }
    s->n_left = 0;
}

/* ---- reasons -------------------------------------------------------------------------------- */

static void tell_reason(char to[WEFT_SESSION_TEXT_BYTES], uint32_t reason, const char *who,
                        const char *detail)
{
    const bool about = who && who[0];
    const bool more = detail && detail[0];
    (void)snprintf(to, WEFT_SESSION_TEXT_BYTES, "secure aggregation: %s%s%s%s%s%.160s",
                   weft_secagg_reason_name((weft_secagg_reason)reason), about ? " (" : "",
                   about ? who : "", about ? ")" : "", more ? ": " : "", more ? detail : "");
}

static void abandon(weft_session *s, uint64_t now_ms, bool declined, const char *text,
                    weft_session_actions *out)
{
    weft_session_begin_abandon(s, now_ms, declined, text, out);
}

/* The machine has aborted, or will not take what came: out of it, with its reason. */
static void abandon_for(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    const weft_secagg_abort why = *weft_secagg_client_abort(s->secure->machine);
    char text[WEFT_SESSION_TEXT_BYTES];
    tell_reason(text, why.reason, why.who, NULL);
    abandon(s, now_ms, false, text, out);
}

/* ---- beginning ------------------------------------------------------------------------------ */

weft_status weft_session_grid(weft_fixed_grid *ret, const weft_session_assignment *a, weft_err *err)
{
    return weft_secagg_terms_grid(ret, &a->secure, a->task, a->base_bytes / 4, a->clip_norm,
                                  a->max_examples, err);
}

/* encoding holds the grid's description as long as the context is used. */
static weft_status make_context(const weft_session *s, weft_secagg_context *ret, weft_buf *encoding,
                                weft_err *err)
{
    const weft_session_assignment *a = &s->assignment;
    weft_fixed_grid grid;
    WEFT_TRY(weft_session_grid(&grid, a, err));
    WEFT_TRY(weft_fixed_describe(encoding, &grid, err));
    *ret = (weft_secagg_context){.federation = s->config.secure->federation,
                                 .job = a->job,
                                 .job_id = a->job_id,
                                 .round = a->round,
                                 .attempt = a->attempt,
                                 .task = a->task,
                                 .plan = a->plan,
                                 .policy = a->secure.policy,
                                 .encoding = weft_buf_view(encoding)};
    memcpy(ret->base_digest, a->base_digest, sizeof ret->base_digest);
    return WEFT_OK;
}

static weft_status ask_memory(const weft_session *s, weft_secagg_client_config *config,
                              uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES], weft_err *err)
{
    const weft_session_memory *m = &s->config.secure->memory;
    WEFT_TRY(weft_secagg_ctx(ctx, &config->context, err));
    WEFT_TRY(m->context_used(m->self, &config->context_used, ctx, err));
    return m->masked_round(m->self, &config->masked_round, s->assignment.job, s->assignment.task,
                           err);
}

static weft_status make_config(const weft_session *s, weft_secagg_client_config *ret,
                               weft_buf *encoding, uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES],
                               weft_err *err)
{
    const weft_session_secure_config *c = s->config.secure;
    *ret = (weft_secagg_client_config){.owner = weft_policy_owner(&s->config),
                                       .operator_public = c->operator_public,
                                       .member_key = c->member_key,
                                       .chain = c->chain,
                                       .pins = c->memory.pins,
                                       .alloc = s->alloc};
    WEFT_TRY(make_context(s, &ret->context, encoding, err));
    return ask_memory(s, ret, ctx, err);
}

weft_status weft_session_secure_check(const weft_session *s, weft_err *err)
{
    weft_secagg_client_config config;
    weft_buf encoding;
    uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES];
    weft_buf_init(&encoding, s->alloc, 4096);
    weft_status status = make_config(s, &config, &encoding, ctx, err);
    weft_buf_done(&encoding);
    WEFT_TRY(status);
    char text[WEFT_SESSION_TEXT_BYTES];
    if (config.masked_round >= s->assignment.round) {
        tell_reason(text, WEFT_SECAGG_SECOND_ATTEMPT, NULL, NULL);
        WEFT_FAIL(err, WEFT_E_AUTH, "%.150s", text);
    }
    if (config.context_used) {
        tell_reason(text, WEFT_SECAGG_REPEATED, NULL, NULL);
        WEFT_FAIL(err, WEFT_E_AUTH, "%.150s", text);
    }
    return WEFT_OK;
}

static weft_status make_machine(weft_session *s, weft_view state, weft_secagg_abort *why,
                                weft_err *err)
{
    weft_session_secagg *x = weft_array(s->alloc, 1, sizeof *x);
    if (!x) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for secure aggregation");
    }
    s->secure = x;
    weft_buf_init(&x->state, s->alloc, WEFT_MAX_SECAGG_STATE_BYTES + STATE_BYTES);
    weft_buf_init(&x->incoming, s->alloc, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    weft_secagg_client_config config;
    weft_buf encoding;
    weft_buf_init(&encoding, s->alloc, 4096);
    weft_status status = make_config(s, &config, &encoding, x->ctx, err);
    if (status == WEFT_OK && state.size > 0) {
        status = weft_secagg_client_restore(&x->machine, &config, state.data, state.size, why, err);
    } else if (status == WEFT_OK) {
        status = weft_secagg_client_new(&x->machine, &config, s->config.secure->entropy, why, err);
    }
    weft_buf_done(&encoding);
    return status;
}

/* KEEP_SECURE, before whatever depends on it. @return false: abandoned. */
static bool keep(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    weft_session_secagg *x = s->secure;
    weft_err err = WEFT_ERR_INIT;
    const size_t room =
        STATE_BYTES + STATE_BYTES_FOR_EACH * (size_t)weft_secagg_client_params(x->machine)->k;
    weft_status status = WEFT_OK;
    weft_buf_clear(&x->state);
    if (x->state.cap < room) {
        static const uint8_t zeros[256];
        wipe_buf(&x->state);
        while (status == WEFT_OK && x->state.size < room) {
            status = weft_buf_add(&x->state, zeros, sizeof zeros, &err);
        }
        weft_buf_clear(&x->state);
    }
    if (status == WEFT_OK) {
        status = weft_secagg_client_state(x->machine, &x->state, &err);
    }
    if (status != WEFT_OK) {
        abandon(s, now_ms, false, err.msg, out);
        return false;
    }
    weft_session_action *action = weft_session_emit(out, WEFT_SESSION_KEEP_SECURE);
    action->u.secure.assignment = &s->assignment;
    action->u.secure.state = weft_buf_view(&x->state);
    action->u.secure.ctx = x->ctx;
    action->u.secure.masked = x->masked;
    action->u.secure.update = &s->update;
    action->u.secure.receipt = x->has_receipt ? &x->receipt : NULL;
    action->u.secure.peers = x->peers;
    action->u.secure.n_peers = x->n_peers;
    return true;
}

/* The first state of a session; @return false: abandoned. */
static bool begin(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    weft_secagg_abort why = {.reason = WEFT_SECAGG_FINE};
    weft_err err = WEFT_ERR_INIT;
    if (make_machine(s, (weft_view){NULL, 0}, &why, &err) == WEFT_OK) {
        return keep(s, now_ms, out);
    }
    char text[WEFT_SESSION_TEXT_BYTES];
    if (why.reason != WEFT_SECAGG_FINE) {
        tell_reason(text, why.reason, why.who, err.msg);
    } else {
        weft_session_set_text(text, err.msg);
    }
    abandon(s, now_ms, why.reason != WEFT_SECAGG_FINE, text, out);
    return false;
}

void weft_session_secure_restore(weft_session *s, const weft_session_record *record)
{
    weft_secagg_abort why = {.reason = WEFT_SECAGG_STATE_LOST};
    weft_err err = WEFT_ERR_INIT;
    weft_status status = WEFT_E_NOTFOUND;
    if (record->has_update && s->config.secure) {
        status = make_machine(s, record->secure, &why, &err);
    }
    if (status != WEFT_OK) { /* no session can go on from here; the coordinator is told */
        tell_reason(s->reason, why.reason, why.who, err.msg);
        s->at = PHASE_ABANDON;
        return;
    }
    s->secure->masked = record->masked;
    s->secure->has_receipt = record->has_receipt;
    s->secure->receipt = record->receipt;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static void start_masking(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    weft_session_secagg *x = s->secure;
    weft_err err = WEFT_ERR_INIT;
    if (weft_secagg_client_masks(x->masks, &x->n_masks, x->machine, &err) != WEFT_OK) {
        abandon(s, now_ms, false, err.msg, out);
        return;
    }
    weft_session_go(s, PHASE_MASK, now_ms);
}

void weft_session_secure_go(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    if (!s->secure && !begin(s, now_ms, out)) {
        return;
    }
    const weft_secagg_client_phase phase = weft_secagg_client_phase_get(s->secure->machine);
    if (phase == WEFT_SECAGG_CLIENT_MASKING) {
        start_masking(s, now_ms, out);
    } else if (phase == WEFT_SECAGG_CLIENT_MASKED && !s->secure->has_receipt) {
        weft_session_go(s, PHASE_UPLOAD, now_ms);
    } else if (phase == WEFT_SECAGG_CLIENT_ABORTED) {
        abandon_for(s, now_ms, out);
    } else {
        weft_session_go(s, PHASE_STEP, now_ms);
    }
}

/* The last message of the coordinator that a machine in this phase has taken. */
static uint32_t taken(const weft_session_secagg *x)
{
    switch (x->machine ? weft_secagg_client_phase_get(x->machine) : WEFT_SECAGG_CLIENT_ABORTED) {
    case WEFT_SECAGG_CLIENT_SHARED:
        return WEFT_SECAGG_ROSTER;
    case WEFT_SECAGG_CLIENT_MASKING:
    case WEFT_SECAGG_CLIENT_MASKED:
        return WEFT_SECAGG_DELIVERY;
    case WEFT_SECAGG_CLIENT_CONFIRMED:
        return WEFT_SECAGG_SURVIVORS;
    case WEFT_SECAGG_CLIENT_ANSWERED:
        return WEFT_SECAGG_UNMASK;
    case WEFT_SECAGG_CLIENT_ADVERTISED:
    case WEFT_SECAGG_CLIENT_ABORTED:
    default:
        return 0;
    }
}

void weft_session_secure_step(const weft_session *s, weft_session_action *action)
{
    const weft_session_secagg *x = s->secure;
    /* a held poll keeps the lease: it ends well before the lease does */
    const uint64_t third_ms = s->assignment.lease_ms / 3;
    action->u.step.assignment = &s->assignment;
    action->u.step.ctx = x->ctx;
    action->u.step.taken = taken(x);
    action->u.step.offset = x->incoming.size;
    action->u.step.hold_ms = third_ms < s->config.hold_ms ? third_ms : s->config.hold_ms;
    if (s->at == PHASE_LEAVE) {
        action->u.step.message = (weft_view){s->left, s->n_left};
        action->u.step.hold_ms = 0;
    } else if (!x->handed_in) {
        action->u.step.message = weft_secagg_client_outbox(x->machine);
    }
}

static void notify_step(weft_session *s, weft_session_actions *out)
{
    const weft_session_secagg *x = s->secure;
    const weft_secagg_params *p = weft_secagg_client_params(x->machine);
    switch (weft_secagg_client_phase_get(x->machine)) {
    case WEFT_SECAGG_CLIENT_SHARED:
        (void)snprintf(s->text, sizeof s->text,
                       "shares for %u neighbours of %u clients, threshold %u", p->k, p->n, p->t);
        break;
    case WEFT_SECAGG_CLIENT_MASKING:
        (void)snprintf(s->text, sizeof s->text, "masking");
        break;
    case WEFT_SECAGG_CLIENT_CONFIRMED:
        (void)snprintf(s->text, sizeof s->text, "survivors confirmed");
        break;
    case WEFT_SECAGG_CLIENT_ANSWERED:
        (void)snprintf(s->text, sizeof s->text, "unmasking answered");
        break;
    case WEFT_SECAGG_CLIENT_ADVERTISED:
    case WEFT_SECAGG_CLIENT_MASKED:
    case WEFT_SECAGG_CLIENT_ABORTED:
    default:
        return;
    }
    weft_session_notify(s, WEFT_SESSION_SECURED, 0, 0, s->text, out);
}

static void note_peers(weft_session_secagg *x)
{
    x->n_peers = 0;
    while (x->n_peers < WEFT_MAX_SECAGG_NEIGHBOURS &&
           weft_secagg_client_peer(x->machine, x->n_peers, &x->peers[x->n_peers])) {
        x->n_peers++;
    }
}

/* The machine has taken a message. */
static void moved_on(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    weft_session_secagg *x = s->secure;
    const weft_secagg_params *p = weft_secagg_client_params(x->machine);
    if (p->n > s->assignment.secure.max_cohort) { /* the sum could wrap */
        char text[WEFT_SESSION_TEXT_BYTES];
        (void)snprintf(text, sizeof text, "secure aggregation: a roster of %u, the grid is for %u",
                       p->n, s->assignment.secure.max_cohort);
        abandon(s, now_ms, false, text, out);
        return;
    }
    x->handed_in = false;
    s->hard_failures = 0;
    note_peers(x);
    if (keep(s, now_ms, out)) {
        notify_step(s, out);
        weft_session_secure_go(s, now_ms, out);
    }
}

static void receive(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    weft_session_secagg *x = s->secure;
    const weft_secagg_client_phase before = weft_secagg_client_phase_get(x->machine);
    weft_err err = WEFT_ERR_INIT;
    const weft_status status =
        weft_secagg_client_receive(x->machine, x->incoming.data, x->incoming.size, &err);
    weft_buf_clear(&x->incoming);
    switch ((int)status) {
    case WEFT_OK:
        if (weft_secagg_client_phase_get(x->machine) != before) {
            moved_on(s, now_ms, out);
        } else { /* it came before */
            weft_session_go(s, PHASE_STEP, now_ms + MIN_POLL_MS);
        }
        return;
    case WEFT_E_NOMEM:
    case WEFT_E_CRYPTO:
        (void)weft_session_retry_transfer(s, now_ms, true, err.msg, out);
        return;
    default:
        abandon_for(s, now_ms, out);
        return;
    }
}

/* @return false: that is no piece of a message. */
static bool take_piece(weft_session_secagg *x, const weft_session_event *event)
{
    const weft_view piece = event->u.stepped.piece;
    const uint64_t total = event->u.stepped.total_bytes;
    const uint64_t offset = event->u.stepped.offset;
    if (offset == 0) {
        weft_buf_clear(&x->incoming);
        x->incoming_bytes = total;
    }
    return piece.size > 0 && total == x->incoming_bytes && offset == x->incoming.size &&
           piece.size <= total - offset &&
           weft_buf_add(&x->incoming, piece.data, piece.size, NULL) == WEFT_OK;
}

static void on_message(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                       weft_session_actions *out)
{
    weft_session_secagg *x = s->secure;
    if (!take_piece(x, event)) {
        weft_buf_clear(&x->incoming);
        (void)weft_session_retry_transfer(
            s, now_ms, true, "secure aggregation: a piece that does not fit its message", out);
    } else if (x->incoming.size < x->incoming_bytes) {
        weft_session_go(s, PHASE_STEP, now_ms);
    } else {
        receive(s, now_ms, out);
    }
}

/* Nothing more will come. What was delivered is in the sum, also when this client missed the end.
 */
static void on_ended(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                     weft_session_actions *out)
{
    const bool late = event->u.stepped.state == WEFT_SESSION_STEP_DONE ||
                      event->u.stepped.reason == WEFT_SECAGG_LATE;
    if (late && s->secure->has_receipt) {
        weft_session_end_accepted(s, now_ms, &s->secure->receipt, out);
        return;
    }
    char text[WEFT_SESSION_TEXT_BYTES];
    tell_reason(text,
                event->u.stepped.state == WEFT_SESSION_STEP_DONE ? (uint32_t)WEFT_SECAGG_LATE
                                                                 : event->u.stepped.reason,
                NULL, event->u.stepped.detail);
    weft_session_end_refused(s, now_ms, text, out);
}

void weft_session_on_stepped(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                             weft_session_actions *out)
{
    weft_session_answered(s, now_ms, out);
    if (s->at == PHASE_LEAVE) {
        weft_session_go(s, PHASE_ABANDON, now_ms);
        return;
    }
    const bool polled = s->secure->handed_in;
    s->secure->handed_in = true;
    switch (event->u.stepped.state) {
    case WEFT_SESSION_STEP_MESSAGE:
        on_message(s, event, now_ms, out);
        return;
    case WEFT_SESSION_STEP_DONE:
    case WEFT_SESSION_STEP_FAILED:
        on_ended(s, event, now_ms, out);
        return;
    case WEFT_SESSION_STEP_WAIT:
    default:
        weft_session_go(s, PHASE_STEP,
                        polled && s->since_ms + MIN_POLL_MS > now_ms ? s->since_ms + MIN_POLL_MS
                                                                     : now_ms);
        return;
    }
}

void weft_session_on_masked(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                            weft_session_actions *out)
{
    weft_session_secagg *x = s->secure;
    weft_err err = WEFT_ERR_INIT;
    wipe_masks(x);
    if (weft_secagg_client_masked(x->machine, event->u.masked.digest, &err) != WEFT_OK) {
        abandon(s, now_ms, false, err.msg, out);
        return;
    }
    x->masked = true;
    s->update.total_bytes = event->u.masked.total_bytes;
    memcpy(s->update.digest, event->u.masked.digest, WEFT_DIGEST_BYTES);
    s->offset = 0;
    if (keep(s, now_ms, out)) {
        weft_session_go(s, PHASE_UPLOAD, now_ms);
    }
}

void weft_session_secure_receipt(weft_session *s, const weft_session_receipt *receipt,
                                 uint64_t now_ms, weft_session_actions *out)
{
    weft_session_secagg *x = s->secure;
    if (!x->has_receipt) {
        x->has_receipt = true;
        x->receipt = *receipt;
        x->handed_in = true; /* a masked client has nothing to hand in but this */
        if (!keep(s, now_ms, out)) {
            return;
        }
        weft_session_notify(s, WEFT_SESSION_UPLOADED, s->update.total_bytes, now_ms - s->since_ms,
                            "", out);
    }
    weft_session_secure_go(s, now_ms, out);
}

/* ---- leaving -------------------------------------------------------------------------------- */

void weft_session_secure_leave(weft_session *s)
{
    weft_session_secagg *x = s->secure;
    s->n_left = 0;
    if (!x || !x->machine) {
        return;
    }
    if (weft_secagg_client_phase_get(x->machine) != WEFT_SECAGG_CLIENT_ABORTED) {
        weft_secagg_client_leave(x->machine);
    }
    const weft_view last = weft_secagg_client_outbox(x->machine);
    if (last.size <= sizeof s->left) {
        memcpy(s->left, last.data, last.size);
        s->n_left = last.size;
    }
    wipe(x);
}
