/* SPDX-License-Identifier: Apache-2.0 */
/* How assignments end, and what follows from failures. Called by session.c; pure. */
#include "session_priv.h"

#include <stdio.h>
#include <string.h>

/* A peer that refuses the same thing so often will not change its mind. */
#define MAX_HARD_FAILURES    3
#define MAX_TRAINER_PAUSE_MS UINT64_C(300000)
#define MAX_RENEW_WAIT_MS    UINT64_C(3600000)

/* ---- the ends of an assignment -------------------------------------------------------------- */

static void close_assignment(weft_session *s, weft_session_outcome outcome,
                             const weft_session_receipt *receipt, weft_session_actions *out)
{
    weft_session_action *action = weft_session_emit(out, WEFT_SESSION_CLOSE);
    action->u.close.assignment = &s->assignment;
    action->u.close.outcome = outcome;
    action->u.close.reason = outcome == WEFT_OUTCOME_ACCEPTED ? "" : s->reason;
    action->u.close.receipt = receipt;
    action->u.close.n_examples = s->has_update ? s->update.n_examples : 0;
    action->u.close.bytes = s->has_update ? s->update.total_bytes : 0;
}

void weft_session_end_accepted(weft_session *s, uint64_t now_ms,
                               const weft_session_receipt *receipt, weft_session_actions *out)
{
    close_assignment(s, WEFT_OUTCOME_ACCEPTED, receipt, out);
    if (s->assignment.secure_aggregation) { /* uploaded long ago: the protocol is over now */
        weft_session_notify(s, WEFT_SESSION_SECURED, 0, 0, "done", out);
    } else {
        weft_session_notify(s, WEFT_SESSION_UPLOADED, s->update.total_bytes, now_ms - s->since_ms,
                            "", out);
    }
    s->trainer_failures = 0;
    s->open = false;
    weft_session_go(s, PHASE_IDLE, now_ms);
}

void weft_session_end_refused(weft_session *s, uint64_t now_ms, const char *reason,
                              weft_session_actions *out)
{
    weft_session_set_text(s->reason,
                          reason && reason[0] ? reason : "the coordinator gave no reason");
    close_assignment(s, WEFT_OUTCOME_REFUSED, NULL, out);
    weft_session_notify(s, WEFT_SESSION_REFUSED, 0, 0, s->reason, out);
    s->open = false;
    weft_session_go(s, PHASE_IDLE, now_ms);
}

/* The coordinator was told, or does not want to know. */
void weft_session_end_abandoned(weft_session *s, uint64_t now_ms, weft_session_actions *out)
{
    close_assignment(s, s->declined ? WEFT_OUTCOME_DECLINED : WEFT_OUTCOME_ABANDONED, NULL, out);
    if (!s->declined) {
        weft_session_notify(s, WEFT_SESSION_GAVE_UP, 0, 0, s->reason, out);
    }
    uint64_t pause_ms = s->config.decline_pause_ms;
    if (!s->declined && s->trainer_failures > 0) {
        pause_ms = weft_session_jitter(
            s, weft_session_exponential(1000, MAX_TRAINER_PAUSE_MS, s->trainer_failures - 1));
    }
    s->open = false;
    weft_session_go(s, PHASE_IDLE, now_ms + pause_ms);
}

void weft_session_begin_abandon(weft_session *s, uint64_t now_ms, bool declined, const char *reason,
                                weft_session_actions *out)
{
    weft_session_set_text(s->reason, reason && reason[0] ? reason : "no reason was given");
    s->declined = declined;
    weft_session_action *action = weft_session_emit(out, WEFT_SESSION_KEEP_ABANDON);
    action->u.keep.reason = s->reason;
    action->u.keep.declined = declined;
    if (declined) {
        weft_session_notify(s, WEFT_SESSION_DECLINED, 0, 0, s->reason, out);
    }
    weft_session_secure_leave(s);
    weft_session_go(s, s->n_left > 0 ? PHASE_LEAVE : PHASE_ABANDON, now_ms);
}

/* A transfer failed. The same refusal again and again: give the assignment up. Else wait, and ask
 * what the coordinator holds. @return the wait; 0: given up. */
uint64_t weft_session_retry_transfer(weft_session *s, uint64_t now_ms, bool hard,
                                     const char *detail, weft_session_actions *out)
{
    s->hard_failures += hard ? 1U : 0U;
    if (s->hard_failures >= MAX_HARD_FAILURES || now_ms >= s->give_up_ms) {
        weft_session_begin_abandon(s, now_ms, false, detail, out);
        return 0;
    }
    s->at = PHASE_ASK;
    return weft_session_back_off(s, now_ms);
}

/* ---- failures ------------------------------------------------------------------------------- */

static void tell_disconnected(weft_session *s, uint64_t wait_ms, const char *detail,
                              weft_session_actions *out)
{
    if (s->connected || s->failures == 1) { /* once for each loss */
        char next[48];
        (void)snprintf(next, sizeof next, "; next try in %llu ms", (unsigned long long)wait_ms);
        (void)snprintf(s->text, sizeof s->text, "%.*s%s", (int)(sizeof s->text - sizeof next),
                       detail, next);
        weft_session_notify(s, WEFT_SESSION_DISCONNECTED, 0, 0, s->text, out);
    }
    s->connected = false;
}

static void disconnected(weft_session *s, uint64_t now_ms, const char *detail,
                         weft_session_actions *out)
{
    const uint64_t wait_ms = weft_session_back_off(s, now_ms);
    tell_disconnected(s, wait_ms, detail, out);
}

/* The network, or a coordinator that is busy or on its way down. Not IO: a disk of ours that is
 * full stays full, and an assignment that waits for it holds a round up. */
static bool transient(weft_status status)
{
    return status == WEFT_E_AGAIN || status == WEFT_E_TIMEOUT || status == WEFT_E_CANCELED ||
           status == WEFT_E_LIMIT || status == WEFT_E_INTERNAL;
}

static void renewal_failed(weft_session *s, uint64_t now_ms, weft_status status, const char *detail,
                           weft_session_actions *out)
{
    if (status == WEFT_E_AUTH && (weft_session_expired(s) || !s->connected)) {
        weft_session_finish(s, WEFT_E_AUTH, detail, out);
        return;
    }
    if (weft_session_expired(s) || !s->connected) {
        disconnected(s, now_ms, detail, out);
        s->renew_due_ms = s->due_ms;
        return;
    }
    /* the old one still serves: again after a tenth of what it has left */
    const uint64_t left_ms =
        (uint64_t)(s->config.certificate_until_unix_ms - s->unix_ms) / 10 + 1000;
    s->renew_due_ms = now_ms + (left_ms < MAX_RENEW_WAIT_MS ? left_ms : MAX_RENEW_WAIT_MS);
}

static void transfer_failed(weft_session *s, uint64_t now_ms, weft_status status,
                            const char *detail, weft_session_actions *out)
{
    const bool soft = transient(status);
    weft_session_cancel(s, out); /* the lease's call */
    if (status == WEFT_E_NOMEM || (s->at == PHASE_FETCH && status == WEFT_E_NOTFOUND)) {
        weft_session_begin_abandon(s, now_ms, false, detail, out);
        return;
    }
    s->from_zero = s->at == PHASE_FETCH && status == WEFT_E_FORMAT;
    const uint64_t wait_ms = weft_session_retry_transfer(s, now_ms, !soft, detail, out);
    if (soft && s->at == PHASE_ASK) {
        tell_disconnected(s, wait_ms, detail, out);
    }
}

static void ask_failed(weft_session *s, uint64_t now_ms, weft_status status, const char *detail,
                       weft_session_actions *out)
{
    if (status == WEFT_E_NOTFOUND) {
        weft_session_end_refused(s, now_ms, detail, out);
    } else if (!transient(status)) {
        (void)weft_session_retry_transfer(s, now_ms, true, detail, out);
    } else if (now_ms >= s->give_up_ms) {
        weft_session_begin_abandon(s, now_ms, false, detail, out);
    } else {
        disconnected(s, now_ms, detail, out);
    }
}

static void abandon_failed(weft_session *s, uint64_t now_ms, weft_status status, const char *detail,
                           weft_session_actions *out)
{
    if (transient(status) && now_ms < s->give_up_ms) {
        disconnected(s, now_ms, detail, out);
    } else {
        weft_session_end_abandoned(s, now_ms, out);
    }
}

static bool is_persist(weft_session_action_kind kind)
{
    return kind == WEFT_SESSION_KEEP_ASSIGNMENT || kind == WEFT_SESSION_KEEP_ABANDON ||
           kind == WEFT_SESSION_CLOSE || kind == WEFT_SESSION_KEEP_SECURE;
}

static void step_failed(weft_session *s, uint64_t now_ms, weft_status status, const char *detail,
                        weft_session_actions *out)
{
    if (s->at == PHASE_LEAVE) { /* it was a courtesy */
        weft_session_go(s, PHASE_ABANDON, now_ms);
    } else if (status == WEFT_E_NOTFOUND && weft_session_secure_delivered(s)) {
        weft_session_end_accepted(s, now_ms, &s->secure->receipt, out);
    } else {
        ask_failed(s, now_ms, status, detail, out);
    }
}

static void call_failed(weft_session *s, weft_session_action_kind kind, weft_status status,
                        const char *detail, uint64_t now_ms, weft_session_actions *out)
{
    switch ((int)kind) {
    case WEFT_SESSION_RENEW:
        renewal_failed(s, now_ms, status, detail, out);
        return;
    case WEFT_SESSION_STORE: /* a result that must not leave, or no room for it */
        s->trainer_failures++;
        weft_session_begin_abandon(s, now_ms, false, detail, out);
        return;
    case WEFT_SESSION_MASK:
        weft_session_begin_abandon(s, now_ms, false, detail, out);
        return;
    default:
        break;
    }
    if (status == WEFT_E_AUTH || (status == WEFT_E_STATE && kind == WEFT_SESSION_CHECK_IN)) {
        weft_session_cancel(s, out);
        weft_session_finish(s, status, detail, out);
        return;
    }
    switch ((int)kind) {
    case WEFT_SESSION_CHECK_IN:
        if (status == WEFT_E_INVALID || status == WEFT_E_NOMEM) {
            weft_session_finish(s, status, detail, out);
        } else {
            disconnected(s, now_ms, detail, out);
        }
        return;
    case WEFT_SESSION_PROGRESS:
        ask_failed(s, now_ms, status, detail, out);
        return;
    case WEFT_SESSION_STEP:
        step_failed(s, now_ms, status, detail, out);
        return;
    case WEFT_SESSION_ABANDON:
        abandon_failed(s, now_ms, status, detail, out);
        return;
    default:
        transfer_failed(s, now_ms, status, detail, out);
        return;
    }
}

weft_status weft_session_on_failed(weft_session *s, const weft_session_event *event,
                                   uint64_t now_ms, weft_session_actions *out, weft_err *err)
{
    const weft_session_action_kind kind = event->u.failed.action;
    const weft_status status = event->u.failed.status;
    const char *detail = event->u.failed.detail && event->u.failed.detail[0]
                             ? event->u.failed.detail
                             : weft_status_name(status);
    if (is_persist(kind)) { /* without a memory there is nothing to promise */
        s->call = 0;
        s->lease_call = false;
        weft_session_finish(s, status, detail, out);
        return WEFT_OK;
    }
    if (kind == WEFT_SESSION_PROGRESS && s->lease_call) {
        s->lease_call = false;
        if (status == WEFT_E_AUTH) {
            weft_session_cancel(s, out);
            weft_session_finish(s, status, detail, out);
        } /* else: the transfer itself will tell, and the next renewal is due in lease / 3 */
        return WEFT_OK;
    }
    if (kind != s->call || kind == 0) {
        WEFT_FAIL(err, WEFT_E_STATE, "failure of action %d, which is not under way", (int)kind);
    }
    s->call = 0;
    call_failed(s, kind, status, detail, now_ms, out);
    return WEFT_OK;
}
