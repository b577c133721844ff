/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine itself: one event in, one batch of actions out. Called by server/app's owner thread,
 * by the simulations and by the tests.
 */
#include "core/core_priv.h"

#include <string.h>

weft_status weft_core_new(weft_core **ret, const weft_core_config *config, const weft_alloc *a,
                          weft_err *err)
{
    weft_core *core = weft_array(a, 1, sizeof *core);
    if (!core) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the core");
    }
    core->alloc = a;
    core->config = *config;
    core->next_job_id = 1;
    core->next_assignment_id = 1;
    core_timers_init(&core->timers, a);
    core_map_init(&core->clients, a);
    core_map_init(&core->calls, a);
    core_map_init(&core->polls, a);
    core_map_init(&core->assignments, a);
    weft_actions_init(&core->effects, a);
    *ret = core;
    return WEFT_OK;
}

void weft_core_free(weft_core *core)
{
    if (!core) {
        return;
    }
    for (uint32_t i = 0; i < core->n_jobs; i++) {
        core_job_free(core, core->jobs[i]);
    }
    for (size_t i = 0; i < core->assignments.cap; i++) {
        if (core->assignments.slot[i].value) {
            core_assignment_free(core, core->assignments.slot[i].value);
        }
    }
    for (size_t i = 0; i < core->clients.cap; i++) {
        if (core->clients.slot[i].value) {
            core_client_free(core, core->clients.slot[i].value);
        }
    }
    for (uint32_t i = 0; i < core->n_datasets; i++) {
        weft_free(core->alloc, core->datasets[i]);
    }
    core_bury_all(core);
    core_secure_rows_free(core);
    weft_free(core->alloc, core->jobs);
    weft_free(core->alloc, core->live);
    weft_free(core->alloc, core->datasets);
    core_map_done(&core->polls);
    core_map_done(&core->assignments);
    core_map_done(&core->clients);
    core_map_done(&core->calls);
    core_timers_done(&core->timers);
    weft_actions_done(&core->effects);
    weft_free(core->alloc, core);
}

static weft_status take_due_timers(weft_core *core, weft_err *err)
{
    for (core_timer *timer = core_timers_take(&core->timers, core->now_ms); timer;
         timer = core_timers_take(&core->timers, core->now_ms)) {
        switch (timer->kind) {
        case CORE_TIMER_HOLD: {
            core_client *client = timer->owner;
            client->hold_over = true;
            client->next_over = core->over;
            core->over = client;
            break;
        }
        case CORE_TIMER_LEASE:
            WEFT_TRY(core_assignment_expire(core, timer->owner, err));
            break;
        case CORE_TIMER_POLL:
            WEFT_TRY(core_poll_expire(core, timer->owner, err));
            break;
        case CORE_TIMER_JOB: /* every job is looked at anyway */
        default:
            break;
        }
    }
    return WEFT_OK;
}

static uint64_t job_next_ms(const weft_core *core, const core_job *job)
{
    return job->round ? core_round_next_ms(core, job->round) : core_select_next_ms(core, job);
}

/* Move every job on once. A job that ends leaves the list: changed, so all are looked at again. */
static weft_status take_turn(weft_core *core, bool *changed, weft_err *err)
{
    for (uint32_t i = 0; i < core->n_live; i++) {
        WEFT_TRY(core_round_advance(core, core->live[i], changed, err));
    }
    WEFT_TRY(core_select(core, changed, err));
    for (uint32_t i = 0; i < core->n_live; i++) {
        WEFT_TRY(core_round_look(core, core->live[i], changed, err));
    }
    return WEFT_OK;
}

weft_status core_settle(weft_core *core, weft_err *err)
{
    WEFT_TRY(take_due_timers(core, err));
    bool changed = true;
    while (changed) { /* each turn uses up waiting clients or moves a round on */
        changed = false;
        WEFT_TRY(take_turn(core, &changed, err));
    }
    WEFT_TRY(core_answer_waiting(core, err));
    WEFT_TRY(core_answer_polls(core, err));
    for (uint32_t i = 0; i < core->n_live; i++) {
        core_timer_set(&core->timers, &core->live[i]->timer, job_next_ms(core, core->live[i]));
    }
    return WEFT_OK;
}

static weft_status dispatch(weft_core *core, const weft_event *event, weft_err *err)
{
    switch (event->kind) {
    case WEFT_EVENT_JOB_SUBMIT:
        return core_on_submit(core, event, err);
    case WEFT_EVENT_JOB_CONTROL:
        return core_on_control(core, event, err);
    case WEFT_EVENT_CHECK_IN:
        return core_on_check_in(core, event, err);
    case WEFT_EVENT_CALL_GONE:
        core_on_call_gone(core, event);
        return WEFT_OK;
    case WEFT_EVENT_PROGRESS:
        return core_on_progress(core, event, err);
    case WEFT_EVENT_ABANDON:
        return core_on_abandon(core, event, err);
    case WEFT_EVENT_SECURE_STEP:
        return core_on_secure_step(core, event, err);
    case WEFT_EVENT_UPDATE:
        return core_on_update(core, event, err);
    case WEFT_EVENT_FOLDED:
        return core_on_folded(core, event, err);
    case WEFT_EVENT_FINISHED:
        return core_on_finished(core, event, err);
    case WEFT_EVENT_CENTRAL:
        return core_on_central(core, event, err);
    case WEFT_EVENT_CLIENT_REVOKED:
        return core_on_revoked(core, event, err);
    case WEFT_EVENT_ROLLBACK:
        return core_on_rollback(core, event, err);
    case WEFT_EVENT_CLIENT_ENROLLED:
        return core_on_enrolled(core, event, err);
    case WEFT_EVENT_MODEL_SENT:
        core_on_model_sent(core, event);
        return WEFT_OK;
    case WEFT_EVENT_TICK:
        return WEFT_OK;
    default:
        WEFT_FAIL(err, WEFT_E_INTERNAL, "event %d is not known", (int)event->kind);
    }
}

/* Events of clients name their caller. */
static weft_status check_caller(const weft_event *event, weft_err *err)
{
    const bool of_client =
        event->kind == WEFT_EVENT_CHECK_IN || event->kind == WEFT_EVENT_PROGRESS ||
        event->kind == WEFT_EVENT_ABANDON || event->kind == WEFT_EVENT_UPDATE ||
        event->kind == WEFT_EVENT_SECURE_STEP || event->kind == WEFT_EVENT_MODEL_SENT;
    const bool about_client =
        event->kind == WEFT_EVENT_CLIENT_REVOKED || event->kind == WEFT_EVENT_CLIENT_ENROLLED;
    const char *name = of_client ? event->client : about_client ? event->u.client.name : "x";
    if (!name || name[0] == '\0' || strnlen(name, WEFT_MAX_NAME_BYTES + 1) > WEFT_MAX_NAME_BYTES) {
        WEFT_FAIL(err, WEFT_E_INTERNAL, "event %d names no client", (int)event->kind);
    }
    return WEFT_OK;
}

weft_status weft_core_on(weft_core *core, const weft_event *event, uint64_t now_ms,
                         weft_actions *out, weft_err *err)
{
    core_bury_all(core);
    WEFT_TRY(check_caller(event, err));
    core->now_ms = now_ms > core->now_ms ? now_ms : core->now_ms;
    core->unix_ms = event->unix_ms;
    WEFT_TRY(dispatch(core, event, err));
    WEFT_TRY(core_settle(core, err));
    return core_flush(core, out, err);
}

uint64_t weft_core_next_ms(const weft_core *core)
{
    return core_timers_next(&core->timers);
}

uint32_t weft_core_n_jobs(const weft_core *core)
{
    return core->n_jobs;
}

const weft_job_row *weft_core_job_at(const weft_core *core, uint32_t index)
{
    return index < core->n_jobs ? &core->jobs[index]->row : NULL;
}

const weft_job_row *weft_core_job_by_name(const weft_core *core, const char *name)
{
    const core_job *job = core_job_named(core, name);
    return job ? &job->row : NULL;
}

const weft_round_row *weft_core_open_round(const weft_core *core, uint64_t job_id)
{
    const core_job *job = core_job_find(core, job_id);
    return job && job->round ? &job->round->row : NULL;
}

uint32_t weft_core_offering(const weft_core *core, uint64_t job_id)
{
    const core_job *job = core_job_find(core, job_id);
    uint32_t n = 0;
    for (size_t i = 0; job && i < core->clients.cap; i++) { /* a sum: the order does not matter */
        const core_client *c = core->clients.slot[i].value;
        n += c && core_client_about(core, c) && core_client_declares(c, job->def.dataset);
    }
    return n;
}

const weft_assignment_row *weft_core_assignment(const weft_core *core, uint64_t assignment_id)
{
    const core_assignment *a = core_assignment_find(core, assignment_id);
    return a ? &a->row : NULL;
}

const weft_secure_session *weft_core_secure(const weft_core *core, uint64_t job_id)
{
    const core_job *job = core_job_find(core, job_id);
    return job && job->round ? job->round->session : NULL;
}

uint32_t weft_core_waiting(const weft_core *core)
{
    return core->n_waiting;
}
