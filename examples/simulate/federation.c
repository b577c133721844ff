/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: calls and answers first, then training, then the coordinator's work, then time. */
#include "federation_priv.h"

#include <inttypes.h>
#include <string.h>

static const weft_alloc *const memory = &weft_alloc_std;

/* ---- queues ---------------------------------------------------------------------------------- */

weft_status sim_push(sim_queue *queue, sim_due due, weft_err *err)
{
    if (queue->n == queue->cap) {
        const size_t cap = queue->cap ? queue->cap * 2 : 64;
        sim_due *grown = weft_array(memory, cap, sizeof *grown);
        if (!grown) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %zu events", cap);
        }
        for (size_t i = 0; i < queue->n; i++) {
            grown[i] = queue->item[(queue->head + i) % queue->cap];
        }
        weft_free(memory, queue->item);
        queue->item = grown;
        queue->head = 0;
        queue->cap = cap;
    }
    queue->item[(queue->head + queue->n) % queue->cap] = due;
    queue->n++;
    return WEFT_OK;
}

bool sim_pop(sim_queue *queue, sim_due *ret)
{
    if (queue->n == 0) {
        return false;
    }
    *ret = queue->item[queue->head];
    queue->head = (queue->head + 1) % queue->cap;
    queue->n--;
    return true;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* An update as the transport would hand it over: complete, validated. Then its memory is free. */
static weft_status upload(sim_federation *fed, sim_client *c, weft_event *event, uint64_t id,
                          weft_err *err)
{
    sim_task *t = c->task;
    event->kind = WEFT_EVENT_UPDATE;
    event->u.update.assignment_id = id;
    memcpy(event->u.update.base, fed->current.digest, WEFT_DIGEST_BYTES);
    event->u.update.n_examples = t->n_examples;
    event->u.update.metrics = &t->metrics;
    if (t->kind == SIM_TRAIN) {
        memcpy(event->u.update.digest, t->delta.digest, WEFT_DIGEST_BYTES);
        event->u.update.n_examples = t->delta.n_examples;
        event->u.update.bytes = t->delta.bytes;
        event->u.update.refusal = t->refusal;
        event->u.update.detail = t->refusal_text;
    }
    fed->folding = t;
    const weft_status status = sim_coordinator_on(fed, event, err);
    fed->folding = NULL;
    return status;
}

/* The same of a masked vector: what goes under the mask stays there. */
static weft_status upload_masked(sim_federation *fed, const sim_client *c, weft_event *event,
                                 uint64_t id, weft_err *err)
{
    event->kind = WEFT_EVENT_UPDATE;
    event->u.update.assignment_id = id;
    memcpy(event->u.update.base, fed->current.digest, WEFT_DIGEST_BYTES);
    memcpy(event->u.update.digest, c->vector.digest, WEFT_DIGEST_BYTES);
    event->u.update.bytes = c->vector.n_words * sizeof *c->vector.masked;
    return sim_coordinator_on(fed, event, err);
}

static void step_event(weft_event *event, const sim_client *c, uint64_t id)
{
    event->kind = WEFT_EVENT_SECURE_STEP;
    event->u.secure.assignment_id = id;
    memcpy(event->u.secure.ctx, c->step.ctx, WEFT_SECAGG_DIGEST_BYTES);
    event->u.secure.message = c->step.message;
    event->u.secure.taken = c->step.taken;
    event->u.secure.offset = c->step.offset;
    event->u.secure.hold_ms = c->step.hold_ms;
}

static weft_status call_core(sim_federation *fed, const sim_due *due, weft_err *err)
{
    sim_client *c = &fed->clients[due->client];
    weft_event event = {.call = sim_call(due->client, due->kind), .client = c->name};
    switch (due->kind) {
    case SIM_DUE_CHECK_IN:
        event.kind = WEFT_EVENT_CHECK_IN;
        event.u.check_in.datasets = &fed->declared;
        event.u.check_in.n_datasets = 1;
        event.u.check_in.hold_ms = due->id;
        break;
    case SIM_DUE_UPDATE:
        return c->member ? upload_masked(fed, c, &event, due->id, err)
                         : upload(fed, c, &event, due->id, err);
    case SIM_DUE_STEP:
        step_event(&event, c, due->id);
        break;
    case SIM_DUE_PROGRESS:
        event.kind = WEFT_EVENT_PROGRESS;
        event.u.progress.assignment_id = due->id;
        break;
    case SIM_DUE_ABANDON:
        event.kind = WEFT_EVENT_ABANDON;
        event.u.abandon.assignment_id = due->id;
        event.u.abandon.reason = c->reason;
        break;
    case SIM_DUE_FOLDED:
        event = (weft_event){.kind = WEFT_EVENT_FOLDED};
        event.u.folded.assignment_id = due->id;
        break;
    case SIM_DUE_FETCHED:
    case SIM_DUE_STORED:
    case SIM_DUE_MASKED:
    default:
        break;
    }
    return sim_coordinator_on(fed, &event, err);
}

static weft_status feed_session(sim_federation *fed, const sim_due *due, weft_err *err)
{
    weft_session_event event = {.kind = WEFT_SESSION_FETCHED};
    const sim_vector *v = &fed->clients[due->client].vector;
    if (due->kind == SIM_DUE_MASKED) {
        event.kind = WEFT_SESSION_MASKED;
        event.u.masked.total_bytes = v->n_words * sizeof *v->masked;
        memcpy(event.u.masked.digest, v->digest, WEFT_DIGEST_BYTES);
    }
    if (due->kind == SIM_DUE_STORED) {
        const sim_task *t = fed->clients[due->client].task;
        event.kind = WEFT_SESSION_STORED;
        if (v->encoded) {
            event.u.stored.total_bytes = v->n_words * sizeof *v->encoded;
            memcpy(event.u.stored.digest, v->digest, WEFT_DIGEST_BYTES);
        } else if (t->kind == SIM_TRAIN) {
            event.u.stored.total_bytes = t->delta.bytes;
            memcpy(event.u.stored.digest, t->delta.digest, WEFT_DIGEST_BYTES);
        }
    }
    return sim_client_on(fed, due->client, &event, err);
}

static weft_status handle(sim_federation *fed, const sim_due *due, weft_err *err)
{
    if (due->kind == SIM_DUE_FOLDED) {
        return call_core(fed, due, err);
    }
    if (!fed->clients[due->client].session) {
        return WEFT_OK; /* it went away meanwhile */
    }
    if (due->kind == SIM_DUE_FETCHED || due->kind == SIM_DUE_STORED ||
        due->kind == SIM_DUE_MASKED) {
        return feed_session(fed, due, err);
    }
    return call_core(fed, due, err);
}

static weft_status drain(sim_federation *fed, weft_err *err)
{
    sim_due due = {0};
    while (sim_pop(&fed->queue, &due)) {
        WEFT_TRY(handle(fed, &due, err));
    }
    return WEFT_OK;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* One client's training, and all that follows from it; its buffer is free again afterwards. */
static weft_status train_one(sim_federation *fed, bool *ret_any, weft_err *err)
{
    WEFT_TRY(sim_clients_train(fed, ret_any, err));
    if (!*ret_any) {
        return WEFT_OK;
    }
    WEFT_TRY(drain(fed, err));
    sim_task *t = sim_pool_collect(fed->pool); /* the same one: it was not given back yet */
    if (t) {
        fed->clients[t->client].task = NULL;
        sim_pool_give_back(fed->pool, t);
    }
    return WEFT_OK;
}

static weft_status pass_time(sim_federation *fed, weft_err *err)
{
    const uint64_t core_ms = weft_core_next_ms(fed->core);
    const uint64_t clients_ms = sim_clients_next_ms(fed);
    const uint64_t next_ms = core_ms < clients_ms ? core_ms : clients_ms;
    if (next_ms == UINT64_MAX) {
        WEFT_FAIL(err, WEFT_E_STATE, "nothing can happen any more: no client will come back");
    }
    fed->now_ms = next_ms > fed->now_ms ? next_ms : fed->now_ms;
    if (core_ms <= fed->now_ms) {
        const weft_event tick = {.kind = WEFT_EVENT_TICK};
        WEFT_TRY(sim_coordinator_on(fed, &tick, err));
    }
    return sim_clients_tick(fed, err);
}

static weft_status step(sim_federation *fed, weft_err *err)
{
    bool any = false;
    WEFT_TRY(drain(fed, err));
    WEFT_TRY(train_one(fed, &any, err));
    if (!any) {
        WEFT_TRY(sim_coordinator_work(fed, &any, err));
    }
    return any || fed->ended ? WEFT_OK : pass_time(fed, err);
}

weft_status sim_federation_run(sim_federation *fed, weft_err *err)
{
    while (!fed->ended) {
        WEFT_TRY(step(fed, err));
    }
    if (fed->status != WEFT_JOB_DONE) {
        WEFT_FAIL(err, WEFT_E_STATE, "the job %s: %s",
                  fed->status == WEFT_JOB_PAUSED ? "paused" : "failed", fed->reason);
    }
    return WEFT_OK;
}

/* ---- made and freed -------------------------------------------------------------------------- */

static weft_status begin(sim_federation *fed, const sim_start *start, weft_err *err)
{
    WEFT_TRY(sim_coordinator_init(fed, start, err));
    WEFT_TRY(sim_clients_init(fed, err));
    if (start->rounds_done > 0) {
        WEFT_TRY(sim_coordinator_resume(fed, start, err));
    }
    /* everybody is there before the job: the first cohort is drawn from all of them */
    const weft_session_event tick = {.kind = WEFT_SESSION_TICK};
    for (uint32_t k = 0; k < fed->world->n_clients; k++) {
        WEFT_TRY(sim_client_on(fed, k, &tick, err));
    }
    WEFT_TRY(drain(fed, err));
    return start->rounds_done > 0 ? WEFT_OK : sim_coordinator_submit(fed, err);
}

weft_status sim_federation_new(sim_federation **ret, const sim_world *world, sim_pool *pool,
                               double dropout, const sim_observer *observer, const sim_start *start,
                               weft_err *err)
{
    sim_federation *fed = weft_array(memory, 1, sizeof *fed);
    if (!fed) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a federation");
    }
    fed->world = world;
    fed->pool = pool;
    fed->dropout = dropout;
    fed->observer = *observer;
    const weft_status status = begin(fed, start, err);
    if (status != WEFT_OK) {
        sim_federation_free(fed);
        return status;
    }
    *ret = fed;
    return WEFT_OK;
}

void sim_federation_free(sim_federation *fed)
{
    if (!fed) {
        return;
    }
    sim_clients_done(fed);
    sim_coordinator_done(fed);
    weft_free(memory, fed->queue.item);
    weft_free(memory, fed->training.item);
    weft_free(memory, fed);
}

const float *sim_federation_weights(const sim_federation *fed,
                                    uint8_t ret_digest[WEFT_DIGEST_BYTES])
{
    if (ret_digest) {
        memcpy(ret_digest, fed->current.digest, WEFT_DIGEST_BYTES);
    }
    return fed->current.weights;
}

void sim_federation_mark(const sim_federation *fed, sim_start *ret)
{
    *ret = fed->mark;
}

const char *sim_federation_reason(const sim_federation *fed)
{
    return fed->reason;
}

uint64_t sim_federation_vanished(const sim_federation *fed)
{
    return fed->vanished;
}

sim_secure_stats sim_federation_secure(const sim_federation *fed)
{
    return fed->masked.stats;
}
