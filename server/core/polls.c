/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SecureStep: a client hands in at most one message and waits for the next one of ours. What was
 * taken is in the batch before the answer; the same request again gives the same answer. A held
 * poll is answered when the phase changes, when its hold is over, or when the client polls anew.
 */
#include "core/core_priv.h"

#include <string.h>

/* Messages of one batch: with more clients than that a few poll again, and get theirs one by one.
 */
#define BATCH_MESSAGE_BYTES (UINT64_C(64) << 20)
enum { TYPE_AT = 3 }; /* of a message: common/secagg/message.h */

static weft_status reply(weft_core *core, uint64_t call, weft_secagg_next state,
                         weft_secagg_reason reason, const char *detail, weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, call, WEFT_REPLY_SECURE, err));
    action->u.reply.u.secure.state = state;
    action->u.reply.u.secure.reason = reason;
    core_text_cut(action->u.reply.u.secure.detail, detail);
    return WEFT_OK;
}

static weft_status reply_failed(weft_core *core, uint64_t call, weft_secagg_reason reason,
                                const char *detail, weft_err *err)
{
    return reply(core, call, WEFT_SECAGG_NEXT_FAILED, reason,
                 detail && detail[0] ? detail : weft_secagg_reason_name(reason), err);
}

/* The session is over, or went on without this client. */
static weft_status reply_ended(weft_core *core, uint64_t call, const core_assignment *a,
                               weft_err *err)
{
    const bool accepted = a->row.state == WEFT_ASSIGNMENT_ACCEPTED;
    if (a->ended == WEFT_SECAGG_NEXT_DONE || (!a->ended && accepted)) {
        return reply(core, call, WEFT_SECAGG_NEXT_DONE, WEFT_SECAGG_FINE, "", err);
    }
    const char *detail = a->ended ? a->ended_detail : a->row.reason;
    return reply_failed(core, call, a->ended ? a->ended_reason : WEFT_SECAGG_LATE, detail, err);
}

/* ---- holding --------------------------------------------------------------------------------- */

uint64_t core_poll_stop(weft_core *core, core_assignment *a)
{
    const uint64_t call = a->poll_call;
    if (call != 0) {
        core_map_remove(&core->polls, call, a);
        core_timer_set(&core->timers, &a->poll, CORE_NEVER);
        a->poll_call = 0;
    }
    return call;
}

static weft_status reply_wait(weft_core *core, uint64_t call, weft_err *err)
{
    return reply(core, call, WEFT_SECAGG_NEXT_WAIT, WEFT_SECAGG_FINE, "", err);
}

weft_status core_poll_expire(weft_core *core, core_assignment *a, weft_err *err)
{
    return reply_wait(core, core_poll_stop(core, a), err);
}

weft_status core_poll_end(weft_core *core, core_assignment *a, weft_err *err)
{
    const uint64_t call = core_poll_stop(core, a);
    return call ? reply_ended(core, call, a, err) : WEFT_OK;
}

static weft_status hold(weft_core *core, core_assignment *a, const weft_event *event, weft_err *err)
{
    const uint64_t hold_ms = event->u.secure.hold_ms;
    const uint64_t max_ms = core->config.max_hold_ms;
    if (hold_ms == 0 || event->call == 0) {
        return reply_wait(core, event->call, err);
    }
    WEFT_TRY(core_map_add(&core->polls, event->call, a, err));
    a->poll_call = event->call;
    a->poll_taken = event->u.secure.taken;
    a->poll_offset = event->u.secure.offset;
    core_timer_set(&core->timers, &a->poll,
                   core_later(core->now_ms, hold_ms < max_ms ? hold_ms : max_ms));
    return WEFT_OK;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* A piece of a message, in memory that lives until the next event. */
static weft_status reply_piece(weft_core *core, uint64_t call, const weft_buf *message,
                               uint64_t offset, weft_err *err)
{
    const uint64_t at = offset < message->size ? offset : 0;
    const uint64_t left = message->size - at;
    const size_t n =
        (size_t)(left < WEFT_MAX_SECAGG_PIECE_BYTES ? left : WEFT_MAX_SECAGG_PIECE_BYTES);
    core_node *node = weft_array(core->alloc, 1, sizeof *node + n);
    if (!node) {
        return core_no_memory(err, 1, "message");
    }
    uint8_t *copy = (uint8_t *)(node + 1);
    memcpy(copy, message->data + at, n);
    core_bury(core, node);
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, call, WEFT_REPLY_SECURE, err));
    action->u.reply.u.secure.state = WEFT_SECAGG_NEXT_MESSAGE;
    action->u.reply.u.secure.type = message->data[TYPE_AT];
    action->u.reply.u.secure.offset = at;
    action->u.reply.u.secure.total = message->size;
    action->u.reply.u.secure.piece = (weft_view){copy, n};
    return WEFT_OK;
}

/* What there is for the client; *ret_wait: nothing new. */
static weft_status answer(bool *ret_wait, weft_core *core, const core_assignment *a, uint64_t call,
                          uint32_t taken, uint64_t offset, weft_err *err)
{
    const weft_secagg_server *machine = a->round->session->machine;
    weft_secagg_next next = WEFT_SECAGG_NEXT_WAIT;
    weft_secagg_reason reason = WEFT_SECAGG_FINE;
    weft_buf message;
    weft_buf_init(&message, core->alloc, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    weft_status status =
        weft_secagg_server_next(&next, &reason, &message, machine, a->row.client, err);
    const bool fresh =
        next == WEFT_SECAGG_NEXT_MESSAGE && message.size > TYPE_AT && message.data[TYPE_AT] > taken;
    *ret_wait = false;
    if (status != WEFT_OK) {
        weft_buf_done(&message);
        return status;
    }
    if (fresh) {
        status = reply_piece(core, call, &message, offset, err);
    } else if (next == WEFT_SECAGG_NEXT_DONE) {
        status = reply(core, call, next, WEFT_SECAGG_FINE, "", err);
    } else if (next == WEFT_SECAGG_NEXT_FAILED) {
        status = reply_failed(core, call, reason, a->row.reason, err);
    } else {
        *ret_wait = true;
    }
    weft_buf_done(&message);
    return status;
}

static weft_status answer_round(weft_core *core, core_round *round, weft_err *err)
{
    uint64_t left = BATCH_MESSAGE_BYTES;
    round->polls_due = false;
    for (uint32_t i = 0; i < round->n; i++) {
        core_assignment *a = round->list[i];
        if (a->poll_call == 0) {
            continue;
        }
        if (left < WEFT_MAX_SECAGG_PIECE_BYTES) {
            WEFT_TRY(core_poll_expire(core, a, err));
            continue;
        }
        bool wait = false;
        const uint64_t call = a->poll_call;
        WEFT_TRY(answer(&wait, core, a, call, a->poll_taken, a->poll_offset, err));
        if (!wait) {
            (void)core_poll_stop(core, a);           /* it is answered */
            left -= WEFT_MAX_SECAGG_PIECE_BYTES / 4; /* most are far smaller */
        }
    }
    return WEFT_OK;
}

weft_status core_answer_polls(weft_core *core, weft_err *err)
{
    for (uint32_t i = 0; i < core->n_live; i++) {
        core_round *round = core->live[i]->round;
        if (round && round->polls_due && round->session) {
            WEFT_TRY(answer_round(core, round, err));
        }
    }
    return WEFT_OK;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* It says that it will not go on, and why. */
static weft_status on_abort(weft_core *core, core_assignment *a, const weft_secagg_abort *abort,
                            weft_err *err)
{
    char text[WEFT_REASON_BYTES];
    core_text(text, "left the secure session: %s%s%s", weft_secagg_reason_name(abort->reason),
              abort->who[0] ? ", about " : "", abort->who);
    WEFT_TRY(core_secure_left(core, a, err));
    if (a->row.state == WEFT_ASSIGNMENT_OPEN) {
        core_assignment_end(core, a, WEFT_ASSIGNMENT_ABANDONED, WEFT_REFUSAL_LATE, text);
        WEFT_TRY(core_fold(core, WEFT_ACTION_DROP_UPDATE, a, err));
    }
    return core_notify(core, "update", a->round->job, a->round, a->row.client, text, err);
}

static bool is_abort(const weft_event *event, weft_secagg_abort *ret)
{
    weft_secagg_message message;
    const weft_view bytes = event->u.secure.message;
    if (weft_secagg_decode(&message, bytes.data, bytes.size, NULL) != WEFT_OK ||
        message.type != WEFT_SECAGG_ABORT) {
        return false;
    }
    *ret = message.of.abort;
    return true;
}

/* *ret_done: the call has its answer. */
static weft_status take(bool *ret_done, weft_core *core, core_assignment *a,
                        const weft_event *event, weft_err *err)
{
    core_round *round = a->round;
    const weft_view message = event->u.secure.message;
    weft_secagg_server *machine = round->session->machine;
    const bool first = weft_secagg_server_phase(machine) == WEFT_SECAGG_PHASE_ADVERTISE;
    weft_secagg_verdict verdict = WEFT_SECAGG_REFUSED;
    weft_secagg_reason reason = WEFT_SECAGG_FINE;
    weft_err why = WEFT_ERR_INIT;
    const weft_status status = weft_secagg_server_receive(&verdict, &reason, machine, a->row.client,
                                                          message.data, message.size, &why);
    *ret_done = true;
    if (status == WEFT_E_NOMEM) {
        return core_no_memory(err, 1, "message of a secure session");
    }
    if (status != WEFT_OK) {
        return core_reply_error(core, event->call, status, why.msg, err);
    }
    if (verdict == WEFT_SECAGG_REFUSED) {
        return reply_failed(core, event->call, reason, why.msg, err);
    }
    *ret_done = false;
    if (verdict == WEFT_SECAGG_SAME) {
        return WEFT_OK;
    }
    round->session_moved = true;
    if (first) {
        a->advertised = true;
        round->advertised++;
        round->come++;
        core_timer_set(&core->timers, &a->lease, CORE_NEVER);
    }
    return core_secure_row_add(core, round, WEFT_SECURE_MESSAGE_TAKEN, a->row.assignment_id,
                               message, err);
}

/* Has this assignment a part in the session that is open now? */
static bool in_session(const core_assignment *a)
{
    const core_round *round = a->round;
    return round && round->session && round->session_task == a->row.task;
}

static weft_status step(weft_core *core, core_assignment *a, const weft_event *event, weft_err *err)
{
    weft_secagg_abort abort = {.reason = WEFT_SECAGG_FINE};
    const bool over = weft_secagg_server_phase(a->round->session->machine) >=
                      WEFT_SECAGG_PHASE_SOLVE; /* the machine is shared with workers then */
    bool done = false;
    if (event->u.secure.message.size > 0 && is_abort(event, &abort)) {
        WEFT_TRY(on_abort(core, a, &abort, err));
        return reply(core, event->call, WEFT_SECAGG_NEXT_DONE, WEFT_SECAGG_FINE, "", err);
    }
    if (event->u.secure.message.size > 0 && !over) {
        WEFT_TRY(take(&done, core, a, event, err));
    }
    const uint64_t before = core_poll_stop(core, a);
    if (before) { /* the newest poll is the one that counts */
        WEFT_TRY(reply_wait(core, before, err));
    }
    if (done) {
        return WEFT_OK;
    }
    bool wait = false;
    WEFT_TRY(
        answer(&wait, core, a, event->call, event->u.secure.taken, event->u.secure.offset, err));
    return wait ? hold(core, a, event, err) : WEFT_OK;
}

weft_status core_on_secure_step(weft_core *core, const weft_event *event, weft_err *err)
{
    core_assignment *a = core_assignment_find(core, event->u.secure.assignment_id);
    if (!a || strcmp(a->row.client, event->client) != 0) {
        return reply_failed(core, event->call, WEFT_SECAGG_NOT_INVITED,
                            "this client has no such assignment", err);
    }
    core_client_seen(core, a->client);
    if (!in_session(a)) {
        return reply_ended(core, event->call, a, err);
    }
    if (memcmp(event->u.secure.ctx, a->round->session->ctx, WEFT_SECAGG_DIGEST_BYTES) != 0) {
        return reply_failed(core, event->call, WEFT_SECAGG_OTHER_SESSION,
                            "the context differs from the coordinator's: another base, plan, "
                            "policy or grid",
                            err);
    }
    if (!a->client->open && core_assignment_may_return(a)) {
        core_assignment_return(core, a);
    }
    const weft_assignment_state state = a->row.state;
    if (state != WEFT_ASSIGNMENT_OPEN && state != WEFT_ASSIGNMENT_ACCEPTED) {
        return reply_ended(core, event->call, a, err);
    }
    if (state == WEFT_ASSIGNMENT_OPEN && !a->advertised) {
        core_assignment_renew(core, a);
    }
    return step(core, a, event, err);
}
