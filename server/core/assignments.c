/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client's part in one round: leases, updates, receipts, repeated requests.
 *
 * An assignment whose lease ran out comes back to life when its client is heard of again and nobody
 * took its slot: an update that was trained meanwhile is not lost.
 */
#include "core/core_priv.h"

#include <string.h>

/* ---- records --------------------------------------------------------------------------------- */

core_assignment *core_assignment_find(const weft_core *core, uint64_t assignment_id)
{
    return core_map_find(&core->assignments, assignment_id, NULL, NULL);
}

static weft_status append_to_round(weft_core *core, core_round *round, core_assignment *a,
                                   weft_err *err)
{
    if (round->n == round->cap) {
        const uint32_t cap = round->cap ? round->cap * 2 : 16;
        core_assignment **list =
            weft_array_resize(core->alloc, round->list, cap, sizeof(core_assignment *));
        if (!list) {
            return core_no_memory(err, cap, "assignments");
        }
        round->list = list;
        round->cap = cap;
    }
    round->list[round->n] = a;
    round->n++;
    return WEFT_OK;
}

weft_status core_assignment_add(core_assignment **ret, weft_core *core, core_round *round,
                                const weft_assignment_row *row, weft_err *err)
{
    core_client *client = NULL;
    WEFT_TRY(core_client_get(&client, core, row->client, err));
    core_assignment *a = weft_array(core->alloc, 1, sizeof *a);
    if (!a) {
        return core_no_memory(err, 1, "assignment");
    }
    a->row = *row;
    a->client = client;
    weft_status status = core_timer_init(&core->timers, &a->poll, CORE_TIMER_POLL, a, err);
    if (status == WEFT_OK) {
        status = core_timer_init(&core->timers, &a->lease, CORE_TIMER_LEASE, a, err);
    }
    if (status == WEFT_OK) {
        status = core_map_add(&core->assignments, row->assignment_id, a, err);
    }
    if (status != WEFT_OK) {
        core_assignment_free(core, a);
        return status;
    }
    if (round) { /* a is in the map: freed with it whatever comes */
        WEFT_TRY(append_to_round(core, round, a, err));
        a->round = round;
    }
    *ret = a;
    return WEFT_OK;
}

void core_assignment_free(weft_core *core, core_assignment *a)
{
    core_timer_done(&core->timers, &a->poll);
    core_timer_done(&core->timers, &a->lease);
    weft_free(core->alloc, a);
}

/* Out of the map; memory lives until the next event. */
static void forget(weft_core *core, core_assignment *a)
{
    core_timer_done(&core->timers, &a->poll);
    core_timer_done(&core->timers, &a->lease);
    core_map_remove(&core->assignments, a->row.assignment_id, a);
    core_bury(core, &a->node);
}

void core_assignment_retire(weft_core *core, core_assignment *a)
{
    core_client *client = a->client;
    core_timer_set(&core->timers, &a->lease, CORE_NEVER);
    a->round = NULL;
    if (client->lapsed == a) {
        client->lapsed = NULL;
    }
    core_assignment *older = client->last;
    if (older && older->row.assignment_id > a->row.assignment_id) {
        forget(core, a);
        return;
    }
    client->last = a;
    if (older) {
        forget(core, older);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Does it count among its round's open ones? Those of the other task have all ended. */
static void set_open(weft_core *core, core_assignment *a, bool open)
{
    core_client_set_open(core, a->client, open ? a : NULL);
    a->round->open = open ? a->round->open + 1 : a->round->open - 1;
    a->round->recheck_ms = 0;
}

void core_assignment_renew(weft_core *core, core_assignment *a)
{
    a->row.lease_until_ms = core_later(core->now_ms, a->round->job->def.lease_ms);
    core_timer_set(&core->timers, &a->lease, a->row.lease_until_ms);
}

weft_status core_assignment_open(weft_core *core, core_round *round, core_client *client,
                                 weft_task task, weft_err *err)
{
    weft_assignment_row row = {
        .assignment_id = core->next_assignment_id,
        .job_id = round->row.job_id,
        .round = round->row.round,
        .attempt = round->row.attempt,
        .task = task,
        .state = WEFT_ASSIGNMENT_OPEN,
    };
    memcpy(row.client, client->name, sizeof row.client);
    core->next_assignment_id++;
    core_assignment *a = NULL;
    WEFT_TRY(core_assignment_add(&a, core, round, &row, err));
    set_open(core, a, true);
    core_assignment_renew(core, a);
    core_touch_assignment(core, a);
    if (task == WEFT_TASK_EVALUATE) {
        round->asked++;
    }
    return core_reply_assignment(core, core_client_stop_waiting(core, client), a, err);
}

void core_assignment_end(weft_core *core, core_assignment *a, weft_assignment_state state,
                         weft_refusal refusal, const char *reason)
{
    if (a->row.state == WEFT_ASSIGNMENT_OPEN) {
        set_open(core, a, false);
        a->round->advertised -= a->advertised;
    }
    if (a->client->lapsed == a) {
        a->client->lapsed = NULL;
    }
    a->row.state = state;
    a->row.refusal = refusal;
    core_text_cut(a->row.reason, reason);
    core_timer_set(&core->timers, &a->lease, CORE_NEVER);
    core_touch_assignment(core, a);
}

weft_status core_assignment_expire(weft_core *core, core_assignment *a, weft_err *err)
{
    char text[WEFT_REASON_BYTES];
    core_text(text, "no sign of life for %llu ms", CORE_ULL(a->round->job->def.lease_ms));
    core_assignment_end(core, a, WEFT_ASSIGNMENT_EXPIRED, WEFT_REFUSAL_LATE, text);
    a->client->lapsed = a;
    a->client->away = true;
    return core_notify(core, "update", a->round->job, a->round, a->row.client, text, err);
}

bool core_assignment_may_return(const core_assignment *a)
{
    if (a->row.state != WEFT_ASSIGNMENT_EXPIRED || !a->round) {
        return false;
    }
    const weft_round_row *round = &a->round->row;
    return a->row.task == WEFT_TASK_EVALUATE
               ? round->state == WEFT_ROUND_EVALUATING && core_secure_gathering(a->round)
               : round->state == WEFT_ROUND_TRAINING && core_round_lost(a->round) > 0;
}

void core_assignment_return(weft_core *core, core_assignment *a)
{
    a->row.state = WEFT_ASSIGNMENT_OPEN;
    a->row.refusal = WEFT_REFUSAL_NONE;
    core_text_cut(a->row.reason, "");
    if (a->client->lapsed == a) {
        a->client->lapsed = NULL;
    }
    set_open(core, a, true);
    core_assignment_renew(core, a);
    core_touch_assignment(core, a);
}

/* ---- updates --------------------------------------------------------------------------------- */

static weft_status reply_refused(weft_core *core, uint64_t call, weft_refusal refusal,
                                 const char *detail, weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, call, WEFT_REPLY_REFUSED, err));
    action->u.reply.u.refused.refusal = refusal;
    core_text_cut(action->u.reply.u.refused.detail, detail);
    return WEFT_OK;
}

static weft_status reply_receipt(weft_core *core, uint64_t call, const core_assignment *a,
                                 weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, call, WEFT_REPLY_RECEIPT, err));
    action->u.reply.u.receipt = &a->row;
    return WEFT_OK;
}

/* Is it this client's turn to send a masked vector? */
static weft_refusal may_mask(char detail[WEFT_REASON_BYTES], const core_assignment *a)
{
    const weft_secagg_reason reason =
        weft_secagg_server_may_mask(a->round->session->machine, a->row.client);
    if (reason == WEFT_SECAGG_FINE) {
        return WEFT_REFUSAL_NONE;
    }
    core_text(detail, "no masked vector is taken now: %s", weft_secagg_reason_name(reason));
    return WEFT_REFUSAL_LATE;
}

/* What the core itself looks at; validation of the bytes came before. */
static weft_refusal examine(char detail[WEFT_REASON_BYTES], const core_assignment *a,
                            const weft_event *event)
{
    const core_round *round = a->round;
    const bool evaluate = a->row.task == WEFT_TASK_EVALUATE;
    const uint8_t *base = evaluate ? round->row.version : round->row.base;
    const uint64_t max = evaluate ? WEFT_MAX_EXAMPLES : round->job->def.max_examples;
    const uint64_t n = event->u.update.n_examples;
    const bool secure = round->session != NULL;
    if (memcmp(event->u.update.base, base, WEFT_DIGEST_BYTES) != 0) {
        core_text_cut(detail, "the update is not based on this round's model version");
        return WEFT_REFUSAL_WRONG_BASE;
    }
    if (event->u.update.refusal != WEFT_REFUSAL_NONE) {
        core_text(detail, "%s",
                  event->u.update.detail ? event->u.update.detail
                                         : weft_refusal_name(event->u.update.refusal));
        return event->u.update.refusal;
    }
    if (secure && (n > 0 || (event->u.update.metrics && event->u.update.metrics->n > 0))) {
        core_text_cut(detail, "weight and metrics of a masked update go under its mask");
        return WEFT_REFUSAL_WEIGHT;
    }
    if (secure) {
        return may_mask(detail, a);
    }
    if (n == 0 || n > max) {
        core_text(detail, "the weight %llu is not within 1..%llu (max_examples)", CORE_ULL(n),
                  CORE_ULL(max));
        return WEFT_REFUSAL_WEIGHT;
    }
    weft_err why = WEFT_ERR_INIT;
    if (event->u.update.metrics && weft_metrics_check(event->u.update.metrics, &why) != WEFT_OK) {
        core_text_cut(detail, why.msg);
        return WEFT_REFUSAL_METRICS;
    }
    return WEFT_REFUSAL_NONE;
}

static weft_status refuse(weft_core *core, core_assignment *a, const weft_event *event,
                          weft_refusal refusal, const char *detail, weft_err *err)
{
    WEFT_TRY(core_secure_left(core, a, err));
    core_assignment_end(core, a, WEFT_ASSIGNMENT_REFUSED, refusal, detail);
    WEFT_TRY(reply_refused(core, event->call, refusal, detail, err));
    WEFT_TRY(core_fold(core, WEFT_ACTION_DROP_UPDATE, a, err));
    char text[WEFT_REASON_BYTES];
    core_text(text, "refused: %.140s", detail);
    return core_notify(core, "update", a->round->job, a->round, a->row.client, text, err);
}

static weft_status accept(weft_core *core, core_assignment *a, const weft_event *event,
                          weft_err *err)
{
    core_round *round = a->round;
    core_assignment_end(core, a, WEFT_ASSIGNMENT_ACCEPTED, WEFT_REFUSAL_NONE, "");
    memcpy(a->row.update_digest, event->u.update.digest, WEFT_DIGEST_BYTES);
    a->row.n_examples = event->u.update.n_examples;
    a->row.bytes = event->u.update.bytes;
    a->row.accepted_unix_ms = event->unix_ms;
    if (event->u.update.metrics) {
        a->row.metrics = *event->u.update.metrics;
    }
    /* the fold first: workers are at it while the owner signs receipts */
    if (round->session || a->row.task != WEFT_TASK_EVALUATE) {
        WEFT_TRY(core_fold(core, WEFT_ACTION_FOLD, a, err));
    }
    WEFT_TRY(reply_receipt(core, event->call, a, err));
    if (round->session) {
        WEFT_TRY(core_secure_masked(core, a, err));
    }
    if (a->row.task == WEFT_TASK_EVALUATE && round->session) {
        return WEFT_OK;
    }
    if (a->row.task == WEFT_TASK_EVALUATE) {
        round->reported++;
        return core_notify(core, "evaluation", round->job, round, a->row.client, "reported", err);
    }
    round->row.accepted++;
    round->row.n_examples += a->row.n_examples;
    round->row.bytes_up += a->row.bytes;
    core_touch_round(core, round);
    return core_notify(core, "update", round->job, round, a->row.client, "accepted", err);
}

/* Why nothing can be done for it any more. */
static const char *why_over(const core_assignment *a)
{
    return a->row.reason[0] ? a->row.reason : "the assignment is over";
}

static weft_status update_again(weft_core *core, const core_assignment *a, const weft_event *event,
                                weft_err *err)
{
    if (memcmp(a->row.update_digest, event->u.update.digest, WEFT_DIGEST_BYTES) == 0) {
        return reply_receipt(core, event->call, a, err);
    }
    return reply_refused(core, event->call, WEFT_REFUSAL_CONFLICT,
                         "another update of this assignment was accepted", err);
}

weft_status core_on_update(weft_core *core, const weft_event *event, weft_err *err)
{
    core_assignment *a = core_assignment_find(core, event->u.update.assignment_id);
    if (!a || strcmp(a->row.client, event->client) != 0) {
        return reply_refused(core, event->call, WEFT_REFUSAL_UNKNOWN,
                             "this client has no such assignment", err);
    }
    core_client_seen(core, a->client);
    if (a->row.state == WEFT_ASSIGNMENT_ACCEPTED) {
        return update_again(core, a, event, err);
    }
    if (a->row.state != WEFT_ASSIGNMENT_OPEN && !core_assignment_may_return(a)) {
        const weft_refusal refusal = a->row.refusal ? a->row.refusal : WEFT_REFUSAL_LATE;
        WEFT_TRY(reply_refused(core, event->call, refusal, why_over(a), err));
        return core_fold(core, WEFT_ACTION_DROP_UPDATE, a, err);
    }
    char detail[WEFT_REASON_BYTES] = {0};
    const weft_refusal refusal = examine(detail, a, event);
    return refusal ? refuse(core, a, event, refusal, detail, err) : accept(core, a, event, err);
}

/* ---- progress, abandon ----------------------------------------------------------------------- */

weft_status core_on_progress(weft_core *core, const weft_event *event, weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, event->call, WEFT_REPLY_PROGRESS, err));
    action->u.reply.u.progress.held_bytes = event->u.progress.held_bytes;
    core_assignment *a = core_assignment_find(core, event->u.progress.assignment_id);
    if (!a || strcmp(a->row.client, event->client) != 0) {
        action->u.reply.u.progress.stop = true;
        action->u.reply.u.progress.reason = WEFT_REFUSAL_UNKNOWN;
        return WEFT_OK;
    }
    core_client_seen(core, a->client);
    if (!a->client->open && core_assignment_may_return(a)) {
        core_assignment_return(core, a);
    }
    if (a->row.state == WEFT_ASSIGNMENT_ACCEPTED) {
        action->u.reply.u.progress.accepted = &a->row;
        return WEFT_OK;
    }
    if (a->row.state != WEFT_ASSIGNMENT_OPEN) {
        action->u.reply.u.progress.stop = true;
        action->u.reply.u.progress.reason = a->row.refusal ? a->row.refusal : WEFT_REFUSAL_LATE;
        return WEFT_OK;
    }
    if (!a->advertised) {
        core_assignment_renew(core, a);
    }
    const uint64_t deadline_ms = a->round->row.deadline_ms;
    action->u.reply.u.progress.left_ms =
        deadline_ms > core->now_ms ? deadline_ms - core->now_ms : 0;
    return WEFT_OK;
}

weft_status core_on_abandon(weft_core *core, const weft_event *event, weft_err *err)
{
    core_assignment *a = core_assignment_find(core, event->u.abandon.assignment_id);
    if (!a || strcmp(a->row.client, event->client) != 0) {
        return core_reply_error(core, event->call, WEFT_E_NOTFOUND,
                                "this client has no such assignment", err);
    }
    core_client_seen(core, a->client);
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, event->call, WEFT_REPLY_DONE, err));
    const bool lapsed = a->row.state == WEFT_ASSIGNMENT_EXPIRED && a->round;
    if (a->row.state != WEFT_ASSIGNMENT_OPEN && !lapsed) {
        return WEFT_OK; /* over already, or abandoned before */
    }
    const char *reason = event->u.abandon.reason;
    char text[WEFT_REASON_BYTES];
    core_text(text, "abandoned by the client%s%s", reason && reason[0] ? ": " : "",
              reason ? reason : "");
    WEFT_TRY(core_secure_left(core, a, err));
    core_assignment_end(core, a, WEFT_ASSIGNMENT_ABANDONED, WEFT_REFUSAL_LATE, text);
    WEFT_TRY(core_fold(core, WEFT_ACTION_DROP_UPDATE, a, err));
    return core_notify(core, "update", a->round->job, a->round, a->row.client, text, err);
}

/* The count waits for the round's next change to be stored: a commit for each would cost more than
 * it tells. */
void core_on_model_sent(weft_core *core, const weft_event *event)
{
    const core_client *client = core_client_find(core, event->client);
    const core_assignment *a = client ? client->open : NULL;
    if (client && !a) {
        a = client->lapsed;
    }
    core_round *round = a ? a->round : NULL;
    if (!round) {
        return;
    }
    const uint8_t *base = a->row.task == WEFT_TASK_EVALUATE ? round->row.version : round->row.base;
    if (memcmp(base, event->u.sent.version, WEFT_DIGEST_BYTES) == 0) {
        round->row.bytes_down += event->u.sent.bytes;
    }
}
