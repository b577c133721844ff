/* SPDX-License-Identifier: Apache-2.0 */
/* The session's next call: backoff, renewal of the certificate, leases. Called by session.c; pure.
 */
#include "session_priv.h"

#include <stdio.h>
#include <string.h>

/* After so many failed calls in a row the certificate may be what is wrong, whatever our clock
 * says: renew over a connection without it. */
#define RENEW_EVERY_FAILURES 8

weft_session_action *weft_session_emit(weft_session_actions *out, weft_session_action_kind kind)
{
    weft_session_action *action = &out->item[out->n];
    out->n++; /* the longest batch has 6 */
    memset(action, 0, sizeof *action);
    action->kind = kind;
    return action;
}

void weft_session_set_text(char to[WEFT_SESSION_TEXT_BYTES], const char *text)
{
    (void)snprintf(to, WEFT_SESSION_TEXT_BYTES, "%s", text ? text : "");
}

void weft_session_notify(weft_session *s, weft_session_notice notice, uint64_t bytes,
                         uint64_t duration_ms, const char *detail, weft_session_actions *out)
{
    weft_session_action *action = weft_session_emit(out, WEFT_SESSION_NOTIFY);
    action->u.notify.notice = notice;
    action->u.notify.assignment = s->open ? &s->assignment : NULL;
    action->u.notify.bytes = bytes;
    action->u.notify.duration_ms = duration_ms;
    action->u.notify.detail = detail;
}

void weft_session_finish(weft_session *s, weft_status status, const char *detail,
                         weft_session_actions *out)
{
    weft_session_set_text(s->text, detail);
    weft_session_action *action = weft_session_emit(out, WEFT_SESSION_FINISH);
    action->u.finish.status = status;
    action->u.finish.detail = s->text;
    s->at = PHASE_DONE;
    s->call = 0;
    s->lease_call = false;
}

void weft_session_cancel(weft_session *s, weft_session_actions *out)
{
    if (s->call || s->lease_call) {
        (void)weft_session_emit(out, WEFT_SESSION_CANCEL);
    }
    s->call = 0;
    s->lease_call = false;
}

uint64_t weft_session_exponential(uint64_t min_ms, uint64_t max_ms, uint32_t exponent)
{
    const uint32_t shift = exponent < 32 ? exponent : 32;
    return min_ms > max_ms >> shift ? max_ms : min_ms << shift;
}

/* Half of it for certain, half by lot: many clients that lost the same coordinator spread out. */
uint64_t weft_session_jitter(weft_session *s, uint64_t delay_ms)
{
    return delay_ms / 2 + weft_rng_below(&s->rng, delay_ms / 2 + 1);
}

uint64_t weft_session_back_off(weft_session *s, uint64_t now_ms)
{
    const uint64_t wait_ms =
        weft_session_jitter(s, weft_session_exponential(s->config.backoff_min_ms,
                                                        s->config.backoff_max_ms, s->failures));
    s->failures++;
    s->due_ms = now_ms + wait_ms;
    return wait_ms;
}
/* The coordinator answered. */
void weft_session_answered(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    s->failures = 0;
    s->give_up_ms = now_ms + s->config.keep_ms;
    if (!s->connected) {
        s->connected = true;
        weft_session_notify(s, WEFT_SESSION_CONNECTED, 0, 0, "", out);
    }
}

/* ---- the certificate ------------------------------------------------------------------------ */

bool weft_session_expired(const weft_session *s)
{
    return s->config.certificate_until_unix_ms != 0 &&
           s->unix_ms >= s->config.certificate_until_unix_ms;
}

static bool renewal_due(const weft_session *s, uint64_t now_ms)
{
    const int64_t from = s->config.certificate_from_unix_ms;
    const int64_t until = s->config.certificate_until_unix_ms;
    if (until == 0) {
        return false;
    }
    if (s->failures > 0 && s->failures % RENEW_EVERY_FAILURES == 0) {
        return true;
    }
    return now_ms >= s->renew_due_ms && s->unix_ms >= until - (until - from) / 3;
}

/* ---- the next call -------------------------------------------------------------------------- */

static void start_call(weft_session *s, uint64_t now_ms, weft_session_action_kind kind,
                       weft_session_actions *out)
{
    weft_session_action *action = weft_session_emit(out, kind);
    s->call = kind;
    s->since_ms = now_ms;
    switch ((int)kind) {
    case WEFT_SESSION_CHECK_IN:
        action->u.check_in.hold_ms = s->config.hold_ms;
        break;
    case WEFT_SESSION_FETCH:
        memcpy(action->u.fetch.digest, s->assignment.base_digest, WEFT_DIGEST_BYTES);
        action->u.fetch.bytes = s->assignment.base_bytes;
        action->u.fetch.from_zero = s->from_zero;
        break;
    case WEFT_SESSION_TRAIN:
        s->trained_ms = now_ms;
        action->u.train.assignment = &s->assignment;
        break;
    case WEFT_SESSION_STORE:
        action->u.store.assignment = &s->assignment;
        action->u.store.update = &s->update;
        break;
    case WEFT_SESSION_UPLOAD:
        action->u.upload.assignment = &s->assignment;
        action->u.upload.update = &s->update;
        action->u.upload.offset = s->offset;
        break;
    case WEFT_SESSION_PROGRESS:
        action->u.progress.assignment_id = s->assignment.assignment_id;
        action->u.progress.phase = s->has_update ? "upload" : "fetch";
        break;
    case WEFT_SESSION_STEP:
        weft_session_secure_step(s, action);
        break;
    case WEFT_SESSION_MASK:
        action->u.mask.assignment = &s->assignment;
        action->u.mask.update = &s->update;
        action->u.mask.masks = s->secure->masks;
        action->u.mask.n_masks = s->secure->n_masks;
        break;
    case WEFT_SESSION_ABANDON:
        action->u.abandon.assignment_id = s->assignment.assignment_id;
        action->u.abandon.reason = s->reason;
        break;
    default: /* RENEW */
        action->u.renew.anonymous = weft_session_expired(s) || (s->failures > 0 && !s->connected);
        break;
    }
}

void weft_session_advance(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    static const weft_session_action_kind calls[] = {
        [PHASE_IDLE] = WEFT_SESSION_CHECK_IN, [PHASE_ASK] = WEFT_SESSION_PROGRESS,
        [PHASE_FETCH] = WEFT_SESSION_FETCH,   [PHASE_TRAIN] = WEFT_SESSION_TRAIN,
        [PHASE_STORE] = WEFT_SESSION_STORE,   [PHASE_UPLOAD] = WEFT_SESSION_UPLOAD,
        [PHASE_STEP] = WEFT_SESSION_STEP,     [PHASE_MASK] = WEFT_SESSION_MASK,
        [PHASE_LEAVE] = WEFT_SESSION_STEP,    [PHASE_ABANDON] = WEFT_SESSION_ABANDON,
    };
    if (s->at == PHASE_DONE || s->call || now_ms < s->due_ms) {
        return;
    }
    const bool local = s->at == PHASE_TRAIN || s->at == PHASE_STORE || s->at == PHASE_MASK;
    if (!local && renewal_due(s, now_ms)) {
        start_call(s, now_ms, WEFT_SESSION_RENEW, out);
        return;
    }
    start_call(s, now_ms, calls[s->at], out);
    if (s->at == PHASE_FETCH || s->at == PHASE_TRAIN || s->at == PHASE_UPLOAD) {
        s->lease_due_ms = now_ms + s->assignment.lease_ms / 3;
    }
}

/* While a transfer or the training is under way: the lease. */
void weft_session_tick(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    const bool leased = s->call == WEFT_SESSION_FETCH || s->call == WEFT_SESSION_TRAIN ||
                        s->call == WEFT_SESSION_UPLOAD;
    if (!leased || s->lease_call || now_ms < s->lease_due_ms) {
        return;
    }
    weft_session_action *action = weft_session_emit(out, WEFT_SESSION_PROGRESS);
    action->u.progress.assignment_id = s->assignment.assignment_id;
    action->u.progress.phase = s->call == WEFT_SESSION_FETCH   ? "fetch"
                               : s->call == WEFT_SESSION_TRAIN ? "train"
                                                               : "upload";
    s->lease_call = true;
    s->lease_due_ms = now_ms + s->assignment.lease_ms / 3;
}
