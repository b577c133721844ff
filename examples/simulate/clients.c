/* SPDX-License-Identifier: Apache-2.0 */
/* The clients' side: sessions of production with virtual shells around them. Owner thread. */
#include "federation_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const weft_alloc *const memory = &weft_alloc_std;

enum { STREAM_VANISH = 201, STREAM_JITTER = 202, STREAM_STAGE = 204, STREAM_ROUNDING = 205 };

/* A number of (seed, client, count), for decisions that must not depend on the order of events. */
static double chance(const sim_federation *fed, uint64_t stream, uint32_t client, uint64_t count)
{
    weft_rng rng;
    weft_rng_init(&rng, fed->world->def.seed ^ count * 0x9e3779b97f4a7c15U, stream << 32 | client);
    return weft_rng_double(&rng);
}

static weft_status session_new(sim_federation *fed, uint32_t k, weft_err *err)
{
    sim_client *c = &fed->clients[k];
    weft_session_dataset dataset = {{0}};
    memcpy(dataset.name, fed->declared.name, sizeof dataset.name);
    weft_session_config config = WEFT_SESSION_CONFIG_INIT;
    config.datasets = &dataset;
    config.n_datasets = 1;
    if (c->member) { /* the owner wants what the job says */
        config.secure = &c->member->config;
        config.require_secure_aggregation = true;
        config.adversary = (weft_secagg_adversary)fed->world->def.secure.adversary;
        config.gamma = fed->world->def.secure.gamma;
    }
    config.seed = (uint64_t)(chance(fed, STREAM_JITTER, k, c->selections) * 0x1p53);
    return weft_session_new(&c->session, &config, NULL, memory, err);
}

static weft_status make_member(sim_federation *fed, uint32_t k, weft_err *err)
{
    sim_client *c = &fed->clients[k];
    if (!fed->world->def.secure_aggregation) {
        return WEFT_OK;
    }
    c->member = weft_array(memory, 1, sizeof *c->member);
    if (!c->member) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a member's keys");
    }
    return sim_member_init(c->member, &fed->operator_key, c->name, fed->world->def.seed, k, err);
}

weft_status sim_clients_init(sim_federation *fed, weft_err *err)
{
    const uint32_t n = fed->world->n_clients;
    fed->clients = weft_array(memory, n, sizeof *fed->clients);
    if (!fed->clients) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %" PRIu32 " clients", n);
    }
    memcpy(fed->declared.name, fed->world->def.dataset, sizeof fed->declared.name);
    for (uint32_t k = 0; k < n; k++) {
        (void)snprintf(fed->clients[k].name, sizeof fed->clients[k].name, "client-%05" PRIu32,
                       k + 1); /* fits */
        WEFT_TRY(make_member(fed, k, err));
        WEFT_TRY(session_new(fed, k, err));
    }
    return WEFT_OK;
}

void sim_clients_done(sim_federation *fed)
{
    for (uint32_t k = 0; fed->clients && k < fed->world->n_clients; k++) {
        weft_session_free(fed->clients[k].session);
        sim_vector_drop(&fed->clients[k].vector);
        weft_free(memory, fed->clients[k].member);
    }
    weft_free(memory, fed->clients);
    fed->clients = NULL;
}

/* ---- a session's actions --------------------------------------------------------------------- */

/* The client is gone without a word; its session and what it kept are lost. */
static void vanish(sim_federation *fed, uint32_t k)
{
    sim_client *c = &fed->clients[k];
    const double longer = chance(fed, STREAM_JITTER, k, c->selections);
    c->back_at_ms = fed->now_ms + fed->world->def.lease_ms +
                    (uint64_t)(longer * (double)fed->world->def.lease_ms) + 1;
    c->wants_training = false;
    c->vanish_at = SIM_STAGE_NONE;
    sim_vector_drop(&c->vector);
    fed->vanished++;
}

/* Does the client asked now vanish, and where? Any stage is as likely as another. */
static sim_stage draw_stage(const sim_federation *fed, uint32_t k)
{
    const sim_client *c = &fed->clients[k];
    if (!(fed->dropout > 0.0) || chance(fed, STREAM_VANISH, k, c->selections) >= fed->dropout) {
        return SIM_STAGE_NONE;
    }
    if (!c->member) {
        return SIM_STAGE_TRAIN;
    }
    const int stages = SIM_STAGE_END - SIM_STAGE_TRAIN;
    return (sim_stage)(SIM_STAGE_TRAIN +
                       (int)(chance(fed, STREAM_STAGE, k, c->selections) * stages));
}

/* The type byte of a message of the protocol: SHARES, CONFIRM, ANSWER. */
static sim_stage stage_of(weft_view message)
{
    switch (message.size > 3 ? message.data[3] : 0) {
    case WEFT_SECAGG_SHARES:
        return SIM_STAGE_SHARE;
    case WEFT_SECAGG_CONFIRM:
        return SIM_STAGE_CONFIRM;
    case WEFT_SECAGG_ANSWER:
        return SIM_STAGE_ANSWER;
    default:
        return SIM_STAGE_NONE;
    }
}

static bool vanishes(const sim_client *c, sim_stage before)
{
    return before != SIM_STAGE_NONE && c->vanish_at == before;
}

static weft_status on_train(sim_federation *fed, uint32_t k, bool *ret_gone, weft_err *err)
{
    sim_client *c = &fed->clients[k];
    c->selections++;
    c->vanish_at = draw_stage(fed, k);
    if (vanishes(c, SIM_STAGE_TRAIN)) {
        *ret_gone = true;
        return WEFT_OK;
    }
    c->wants_training = true;
    return sim_push(&fed->training, (sim_due){.client = k}, err);
}

/* A call of the protocol, with the message that leaves. */
static weft_status on_step(sim_federation *fed, uint32_t k, const weft_session_action *action,
                           bool *ret_gone, weft_err *err)
{
    sim_client *c = &fed->clients[k];
    if (vanishes(c, stage_of(action->u.step.message))) {
        *ret_gone = true;
        return WEFT_OK;
    }
    c->step = (sim_step){action->u.step.ctx, action->u.step.message, action->u.step.taken,
                         action->u.step.offset, action->u.step.hold_ms};
    return sim_push(&fed->queue,
                    (sim_due){.kind = SIM_DUE_STEP,
                              .client = k,
                              .id = action->u.step.assignment->assignment_id},
                    err);
}

static weft_status on_mask(sim_federation *fed, uint32_t k, const weft_session_action *action,
                           bool *ret_gone, weft_err *err)
{
    sim_client *c = &fed->clients[k];
    if (vanishes(c, SIM_STAGE_MASK)) {
        *ret_gone = true;
        return WEFT_OK;
    }
    WEFT_TRY(sim_vector_mask(&c->vector, action, err));
    return sim_push(&fed->queue, (sim_due){.kind = SIM_DUE_MASKED, .client = k}, err);
}

static weft_status on_action(sim_federation *fed, uint32_t k, const weft_session_action *action,
                             bool *ret_gone, weft_err *err)
{
    sim_client *c = &fed->clients[k];
    sim_due due = {.client = k};
    switch (action->kind) {
    case WEFT_SESSION_CHECK_IN:
        due.kind = SIM_DUE_CHECK_IN;
        due.id = action->u.check_in.hold_ms;
        break;
    case WEFT_SESSION_FETCH: /* the shared version is at hand */
        due.kind = SIM_DUE_FETCHED;
        break;
    case WEFT_SESSION_TRAIN:
        return on_train(fed, k, ret_gone, err);
    case WEFT_SESSION_STORE:
        due.kind = SIM_DUE_STORED;
        break;
    case WEFT_SESSION_UPLOAD:
        due.kind = SIM_DUE_UPDATE;
        due.id = action->u.upload.assignment->assignment_id;
        break;
    case WEFT_SESSION_PROGRESS:
        due.kind = SIM_DUE_PROGRESS;
        due.id = action->u.progress.assignment_id;
        break;
    case WEFT_SESSION_ABANDON:
        due.kind = SIM_DUE_ABANDON;
        due.id = action->u.abandon.assignment_id;
        (void)snprintf(c->reason, sizeof c->reason, "%s", action->u.abandon.reason); /* cut */
        break;
    case WEFT_SESSION_RENEW:
        WEFT_FAIL(err, WEFT_E_INTERNAL, "a simulated client renews a certificate it does not have");
    case WEFT_SESSION_KEEP_SECURE:
        sim_member_note(c->member, action);
        return WEFT_OK;
    case WEFT_SESSION_STEP:
        return on_step(fed, k, action, ret_gone, err);
    case WEFT_SESSION_MASK:
        return on_mask(fed, k, action, ret_gone, err);
    case WEFT_SESSION_CANCEL: /* nothing runs beside the call that was answered */
    case WEFT_SESSION_KEEP_ASSIGNMENT:
    case WEFT_SESSION_KEEP_ABANDON:
    case WEFT_SESSION_CLOSE:
    case WEFT_SESSION_NOTIFY:
    case WEFT_SESSION_FINISH:
    default:
        return WEFT_OK;
    }
    return sim_push(&fed->queue, due, err);
}

weft_status sim_client_on(sim_federation *fed, uint32_t k, const weft_session_event *event,
                          weft_err *err)
{
    sim_client *c = &fed->clients[k];
    weft_session_actions actions = {0};
    bool gone = false;
    WEFT_TRY(weft_session_on(c->session, event, fed->now_ms, &actions, err));
    for (uint32_t i = 0; i < actions.n && !gone; i++) {
        WEFT_TRY(on_action(fed, k, &actions.item[i], &gone, err));
    }
    if (gone) {
        vanish(fed, k);
    }
    if (gone || weft_session_finished(c->session)) {
        weft_session_free(c->session);
        c->session = NULL;
    }
    return WEFT_OK;
}

/* ---- replies --------------------------------------------------------------------------------- */

static weft_session_receipt receipt_of(const sim_federation *fed, const weft_assignment_row *row)
{
    weft_session_receipt r = {
        .assignment_id = row->assignment_id, .round = row->round, .n_examples = row->n_examples};
    memcpy(r.job, fed->world->def.name, sizeof r.job);
    memcpy(r.update_digest, row->update_digest, sizeof r.update_digest);
    return r;
}

static weft_status reply_assignment(sim_federation *fed, uint32_t k,
                                    const weft_assignment_view *view, weft_err *err)
{
    const weft_job_def *def = view->def;
    weft_session_assignment a = {.assignment_id = view->row->assignment_id,
                                 .job_id = view->row->job_id,
                                 .round = view->row->round,
                                 .attempt = view->row->attempt,
                                 .task = view->row->task,
                                 .model_spec = def->model_spec,
                                 .data_schema = def->data_schema ? def->data_schema : "",
                                 .plan = def->plan,
                                 .base_bytes = view->base_bytes,
                                 .clip_norm = def->clip_norm,
                                 .max_examples = def->max_examples,
                                 .deadline_ms = view->left_ms,
                                 .lease_ms = def->lease_ms,
                                 .cohort = view->cohort,
                                 .secure_aggregation = def->secure_aggregation,
                                 .encoding = "f32"};
    if (def->secure_aggregation) {
        weft_secagg_terms_make(&a.secure, def, view->row->task);
        memcpy(a.encoding, WEFT_FIXED_ENCODING, sizeof WEFT_FIXED_ENCODING);
    }
    memcpy(a.job, def->name, sizeof a.job);
    memcpy(a.dataset, def->dataset, sizeof a.dataset);
    memcpy(a.base_digest, view->base, sizeof a.base_digest);
    const weft_session_event event = {
        .kind = WEFT_SESSION_CHECKED_IN,
        .u.checked_in = {.answer = WEFT_SESSION_ASSIGNMENT, .assignment = &a}};
    return sim_client_on(fed, k, &event, err);
}

static weft_status reply_progress(sim_federation *fed, uint32_t k, const weft_action *action,
                                  weft_err *err)
{
    const weft_assignment_row *accepted = action->u.reply.u.progress.accepted;
    weft_session_receipt receipt = {0};
    if (accepted) {
        receipt = receipt_of(fed, accepted);
    }
    const weft_session_event event = {
        .kind = WEFT_SESSION_PROGRESSED,
        .u.progressed = {.stop = action->u.reply.u.progress.stop,
                         .reason = weft_refusal_name(action->u.reply.u.progress.reason),
                         .held_bytes = 0,
                         .receipt = accepted ? &receipt : NULL}};
    return sim_client_on(fed, k, &event, err);
}

static weft_status reply_submitted(sim_federation *fed, uint32_t k, const weft_action *action,
                                   weft_err *err)
{
    weft_session_event event = {.kind = WEFT_SESSION_SUBMITTED};
    weft_session_receipt receipt = {0};
    char text[WEFT_SESSION_TEXT_BYTES];
    if (action->u.reply.kind == WEFT_REPLY_RECEIPT) {
        receipt = receipt_of(fed, action->u.reply.u.receipt);
        event.u.submitted.receipt = &receipt;
    } else {
        (void)snprintf(text, sizeof text, "%s: %s",
                       weft_refusal_name(action->u.reply.u.refused.refusal),
                       action->u.reply.u.refused.detail); /* cut where it does not fit */
        event.u.submitted.refusal = text;
    }
    return sim_client_on(fed, k, &event, err);
}

static weft_status reply_step(sim_federation *fed, uint32_t k, const weft_action *action,
                              weft_err *err)
{
    weft_session_event event = {.kind = WEFT_SESSION_STEPPED};
    event.u.stepped.state = (weft_session_step)action->u.reply.u.secure.state;
    event.u.stepped.type = action->u.reply.u.secure.type;
    event.u.stepped.offset = action->u.reply.u.secure.offset;
    event.u.stepped.total_bytes = action->u.reply.u.secure.total;
    event.u.stepped.piece = action->u.reply.u.secure.piece;
    event.u.stepped.reason = action->u.reply.u.secure.reason;
    event.u.stepped.detail = action->u.reply.u.secure.detail;
    return sim_client_on(fed, k, &event, err);
}

weft_status sim_client_reply(sim_federation *fed, const weft_action *action, weft_err *err)
{
    const uint32_t k = sim_caller(action->u.reply.call);
    weft_session_event event = {.kind = WEFT_SESSION_CHECKED_IN};
    if (!fed->clients[k].session) {
        return WEFT_OK; /* it went away with its call open */
    }
    switch (action->u.reply.kind) {
    case WEFT_REPLY_ASSIGNMENT:
        return reply_assignment(fed, k, &action->u.reply.u.assignment, err);
    case WEFT_REPLY_COME_BACK:
        event.u.checked_in.answer = WEFT_SESSION_COME_BACK;
        event.u.checked_in.come_back_ms = action->u.reply.u.come_back_ms;
        return sim_client_on(fed, k, &event, err);
    case WEFT_REPLY_NOTHING_MORE:
        event.u.checked_in.answer = WEFT_SESSION_NOTHING_MORE;
        return sim_client_on(fed, k, &event, err);
    case WEFT_REPLY_PROGRESS:
        return reply_progress(fed, k, action, err);
    case WEFT_REPLY_RECEIPT:
    case WEFT_REPLY_REFUSED:
        return reply_submitted(fed, k, action, err);
    case WEFT_REPLY_DONE:
        event.kind = WEFT_SESSION_ABANDONED;
        return sim_client_on(fed, k, &event, err);
    case WEFT_REPLY_SECURE:
        return reply_step(fed, k, action, err);
    case WEFT_REPLY_JOB:
    case WEFT_REPLY_ERROR:
    default:
        WEFT_FAIL(err, WEFT_E_INTERNAL, "client %s: %s", fed->clients[k].name,
                  action->u.reply.u.error.detail);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

uint64_t sim_clients_next_ms(const sim_federation *fed)
{
    uint64_t next_ms = UINT64_MAX;
    for (uint32_t k = 0; k < fed->world->n_clients; k++) {
        const sim_client *c = &fed->clients[k];
        const uint64_t at = c->session      ? weft_session_next_ms(c->session)
                            : c->back_at_ms ? c->back_at_ms
                                            : UINT64_MAX;
        next_ms = at < next_ms ? at : next_ms;
    }
    return next_ms;
}

weft_status sim_clients_tick(sim_federation *fed, weft_err *err)
{
    const weft_session_event tick = {.kind = WEFT_SESSION_TICK};
    for (uint32_t k = 0; k < fed->world->n_clients; k++) {
        sim_client *c = &fed->clients[k];
        if (!c->session && c->back_at_ms != 0 && c->back_at_ms <= fed->now_ms) {
            c->back_at_ms = 0;
            WEFT_TRY(session_new(fed, k, err));
        }
        if (c->session && weft_session_next_ms(c->session) <= fed->now_ms) {
            WEFT_TRY(sim_client_on(fed, k, &tick, err));
        }
    }
    return WEFT_OK;
}

/* ---- training -------------------------------------------------------------------------------- */

/* Of the assignment alone, so that a simulation that was interrupted rounds as one that was not. */
static weft_status draw_rounding(sim_task *t, const weft_session_assignment *a, uint64_t seed,
                                 uint32_t k, weft_err *err)
{
    const uint64_t which = (uint64_t)a->round << 16 | (uint64_t)a->attempt << 2 | (uint64_t)a->task;
    weft_rng rng;
    weft_rng_init(&rng, seed ^ which * 0x9e3779b97f4a7c15U, (uint64_t)STREAM_ROUNDING << 32 | k);
    for (size_t i = 0; i < sizeof t->rounding_seed; i++) {
        t->rounding_seed[i] = (uint8_t)(weft_rng_u64(&rng) >> 56);
    }
    return weft_session_grid(&t->grid, a, err);
}

static weft_status fill_task(sim_federation *fed, sim_task *t, uint32_t k, weft_err *err)
{
    const weft_session_assignment *a = weft_session_open(fed->clients[k].session);
    t->kind = a->task == WEFT_TASK_EVALUATE ? SIM_EVALUATE : SIM_TRAIN;
    t->client = k;
    t->view = sim_world_part(fed->world, k);
    t->base = fed->current.weights;
    t->plan = a->plan;
    t->round = a->round;
    t->clip_norm = a->clip_norm;
    t->max_examples = a->max_examples;
    t->secure = a->secure_aggregation;
    if (t->secure) {
        WEFT_TRY(draw_rounding(t, a, fed->world->def.seed, k, err));
    }
    return weft_session_train_seed(&t->seed, a->plan.seed, fed->clients[k].name, a->job, a->round,
                                   err);
}

static weft_status feed_trained(sim_federation *fed, sim_task *t, weft_err *err)
{
    sim_client *c = &fed->clients[t->client];
    weft_session_event event = {.kind = WEFT_SESSION_TRAINED};
    event.u.trained.status = t->status;
    event.u.trained.detail = t->err.msg;
    event.u.trained.n_examples = t->n_examples;
    event.u.trained.metrics = &t->metrics;
    const weft_assignment_row *row =
        weft_core_assignment(fed->core, weft_session_open(c->session)->assignment_id);
    if (!row || row->state != WEFT_ASSIGNMENT_OPEN) { /* the round closed without it */
        event.u.trained.status = WEFT_E_CANCELED;
        event.u.trained.stopped = true;
        event.u.trained.detail = "late: the round has closed";
    } else {
        fed->trained_examples += t->kind == SIM_TRAIN ? t->n_steps_examples : 0;
    }
    c->wants_training = false;
    c->task = t;
    if (t->words && event.u.trained.status == WEFT_OK) {
        WEFT_TRY(sim_vector_take(&c->vector, t, row->assignment_id, err));
    }
    return sim_client_on(fed, t->client, &event, err);
}

weft_status sim_clients_train(sim_federation *fed, bool *ret_any, weft_err *err)
{
    sim_task *t = NULL;
    while (fed->training.n > 0 && (t = sim_pool_take(fed->pool)) != NULL) {
        sim_due next = {0};
        (void)sim_pop(&fed->training, &next); /* there is one */
        const weft_status status = fill_task(fed, t, next.client, err);
        sim_pool_put(fed->pool, t); /* also after a failure: what was taken must come back */
        WEFT_TRY(status);
    }
    t = sim_pool_collect(fed->pool);
    *ret_any = t != NULL;
    return t ? feed_trained(fed, t, err) : WEFT_OK;
}
