/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Selection. Uniform and repeatable: the eligible clients, sorted by name and recorded, are ordered
 * by HMAC-SHA256(key = the job's seed, 8 bytes little-endian; round and attempt, 4 bytes each,
 * little-endian; client name), and the first of them are the cohort. Replacements for lost slots
 * and evaluating clients are taken in the same order from those who wait at that moment; the
 * assignments record them, a replay reads them there.
 *
 * Several jobs: open rounds get what they miss first; then jobs start rounds, the one served
 * longest ago first. A job that needs many clients would starve beside one that needs few: while
 * enough clients for it are about, jobs served later leave it a turn, which is bounded in time.
 */
#include "core/core_priv.h"

#include "crypto/hash.h"

#include <stdlib.h>
#include <string.h>

/* ---- the order ------------------------------------------------------------------------------- */

typedef struct ticket {
    uint8_t mark[WEFT_SHA256_BYTES];
    uint32_t index;
} ticket;

static int compare_tickets(const void *a, const void *b)
{
    const ticket *x = a;
    const ticket *y = b;
    const int order = memcmp(x->mark, y->mark, sizeof x->mark);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static void put_le(uint8_t *out, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static weft_status draw(ticket *tickets, const weft_job_def *def, uint32_t round, uint32_t attempt,
                        const char *const *clients, uint32_t n, weft_err *err)
{
    uint8_t key[8];
    uint8_t text[8 + WEFT_MAX_NAME_BYTES];
    put_le(key, def->seed, sizeof key);
    put_le(text, round, 4);
    put_le(text + 4, attempt, 4);
    for (uint32_t i = 0; i < n; i++) {
        const size_t length = strnlen(clients[i], WEFT_MAX_NAME_BYTES);
        memcpy(text + 8, clients[i], length);
        WEFT_TRY(weft_hmac_sha256(tickets[i].mark, key, sizeof key, text, 8 + length, err));
        tickets[i].index = i;
    }
    return WEFT_OK;
}

weft_status weft_core_order(uint32_t *ret_order, uint32_t *ret_cohort, const weft_job_def *def,
                            uint32_t round, uint32_t attempt, const char *const *clients,
                            uint32_t n, const weft_alloc *a, weft_err *err)
{
    const uint32_t cohort = weft_job_def_cohort(def);
    *ret_cohort = cohort < n ? cohort : n;
    if (n == 0) {
        return WEFT_OK;
    }
    ticket *tickets = weft_array(a, n, sizeof *tickets);
    if (!tickets) {
        return core_no_memory(err, n, "tickets");
    }
    const weft_status status = draw(tickets, def, round, attempt, clients, n, err);
    if (status == WEFT_OK) {
        qsort(tickets, n, sizeof *tickets, compare_tickets);
        for (uint32_t i = 0; i < n; i++) {
            ret_order[i] = tickets[i].index;
        }
    }
    weft_free(a, tickets);
    return status;
}

/* ---- who waits ------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    const char *const *x = a;
    const char *const *y = b;
    return strcmp(*x, *y);
}

/* Stamp the clients that have a part of this task in the round already. */
static void stamp_members(weft_core *core, const core_round *round, weft_task task)
{
    core->stamp++;
    for (uint32_t i = 0; round && i < round->n; i++) {
        if (round->list[i]->row.task == task) {
            round->list[i]->client->stamp = core->stamp;
        }
    }
}

/* Clients that wait, declare the data set and have no part of this task in the round yet. */
static uint32_t count_waiting(const weft_core *core, const core_job *job)
{
    uint32_t n = 0;
    for (const core_client *c = core->first_waiting; c; c = c->next) {
        n += c->stamp != core->stamp && core_client_declares(c, job->def.dataset);
    }
    return n;
}

/* Their names, sorted; *ret is NULL when there is none. One block: head, pointers, texts. */
static weft_status collect(core_names **ret, weft_core *core, const core_job *job,
                           const core_round *round, weft_task task, weft_err *err)
{
    stamp_members(core, round, task);
    const uint32_t n = count_waiting(core, job);
    *ret = NULL;
    if (n == 0) {
        return WEFT_OK;
    }
    const size_t each = sizeof(char *) + WEFT_MAX_NAME_BYTES + 1;
    core_names *names = weft_array(core->alloc, 1, sizeof *names + n * each);
    if (!names) {
        return core_no_memory(err, n, "eligible clients");
    }
    names->name = (const char **)(void *)(names + 1);
    char *text = (char *)(names->name + n);
    for (const core_client *c = core->first_waiting; c; c = c->next) {
        if (c->stamp != core->stamp && core_client_declares(c, job->def.dataset)) {
            memcpy(text, c->name, sizeof c->name);
            names->name[names->n] = text;
            names->n++;
            text += sizeof c->name;
        }
    }
    qsort(names->name, names->n, sizeof(char *), compare_names);
    *ret = names;
    return WEFT_OK;
}

/* Give assignments to the first `most` of the names in the round's order. */
static weft_status assign(weft_core *core, core_round *round, const core_names *names,
                          uint32_t most, weft_task task, weft_err *err)
{
    uint32_t *order = weft_array(core->alloc, names->n, sizeof *order);
    if (!order) {
        return core_no_memory(err, names->n, "tickets");
    }
    uint32_t cohort = 0;
    weft_status status =
        weft_core_order(order, &cohort, &round->job->def, round->row.round, round->row.attempt,
                        names->name, names->n, core->alloc, err);
    for (uint32_t i = 0; status == WEFT_OK && i < names->n && i < most; i++) {
        core_client *client = core_client_find(core, names->name[order[i]]);
        status = core_assignment_open(core, round, client, task, err);
    }
    weft_free(core->alloc, order);
    return status;
}

uint32_t core_select_reserve(weft_core *core, const core_round *round, weft_task task)
{
    stamp_members(core, round, task);
    uint32_t n = 0;
    for (size_t i = 0; i < core->clients.cap; i++) { /* a sum: the order does not matter */
        const core_client *c = core->clients.slot[i].value;
        n += c && c->stamp != core->stamp && core_client_about(core, c) &&
             core_client_declares(c, round->job->def.dataset);
    }
    return n;
}

/* ---- open rounds ----------------------------------------------------------------------------- */

/* Fill lost slots, or ask for evaluations. */
static weft_status serve_round(weft_core *core, core_job *job, bool *changed, weft_err *err)
{
    core_round *round = job->round;
    if (!round || job->dataset->n_waiting == 0) {
        return WEFT_OK;
    }
    const uint32_t lost = core_round_lost(round);
    const uint32_t wanted = lost > 0 ? lost : core_round_to_ask(core, round);
    const weft_task task = lost > 0 ? job->def.task : WEFT_TASK_EVALUATE;
    if (wanted == 0) {
        return WEFT_OK;
    }
    core_names *names = NULL;
    WEFT_TRY(collect(&names, core, job, round, task, err));
    if (!names) {
        return WEFT_OK;
    }
    *changed = true;
    core_bury(core, &names->node);
    return assign(core, round, names, wanted, task, err);
}

/* ---- new rounds ------------------------------------------------------------------------------ */

static bool ready(const weft_core *core, const core_job *job)
{
    return job->row.status == WEFT_JOB_RUNNING && !job->round && job->row.has_version &&
           core->now_ms >= job->row.retry_at_ms;
}

static bool served_before(const core_job *a, const core_job *b)
{
    return a->served != b->served ? a->served < b->served : a->row.job_id < b->row.job_id;
}

/* The first job in turn that comes after this one (NULL: of all). */
static core_job *next_in_turn(const weft_core *core, const core_job *after)
{
    core_job *best = NULL;
    for (uint32_t i = 0; i < core->n_live; i++) {
        core_job *job = core->live[i];
        if ((!after || served_before(after, job)) && (!best || served_before(job, best))) {
            best = job;
        }
    }
    return best;
}

/* Enough clients wait, and the time to wait for more is over. */
static bool complete(weft_core *core, core_job *job)
{
    const uint32_t n = job->dataset->n_waiting;
    if (n < job->def.minimum) {
        job->window_ends_ms = 0;
        return false;
    }
    if (job->window_ends_ms == 0) {
        job->window_ends_ms = core_later(core->now_ms, job->def.selection_window_ms);
    }
    return n >= weft_job_def_cohort(&job->def) || core->now_ms >= job->window_ends_ms;
}

/* Does a job that was served longer ago still have its turn with these clients? */
static bool steps_back(weft_core *core, const core_job *job)
{
    for (uint32_t i = 0; i < core->n_live; i++) {
        core_job *older = core->live[i];
        const core_dataset *d = older->dataset;
        if (d != job->dataset || older == job || !served_before(older, job) ||
            !ready(core, older) || d->n_waiting + d->n_busy < older->def.minimum) {
            continue;
        }
        if (older->turn_ends_ms == 0) {
            older->turn_ends_ms =
                core_later(core->now_ms,
                           core_later(older->def.selection_window_ms, core->config.come_back_ms));
        }
        if (core->now_ms < older->turn_ends_ms) {
            return true;
        }
    }
    return false;
}

static weft_status start_round(weft_core *core, core_job *job, weft_err *err)
{
    core_names *names = NULL;
    WEFT_TRY(collect(&names, core, job, NULL, job->def.task, err));
    if (!names) {
        WEFT_FAIL(err, WEFT_E_INTERNAL, "the waiting clients were counted wrongly");
    }
    const uint32_t most = weft_job_def_cohort(&job->def);
    const uint32_t cohort = names->n < most ? names->n : most;
    core_round *round = NULL;
    const weft_status status = core_round_begin(&round, core, job, names, cohort, err);
    if (status != WEFT_OK) {
        if (!job->round || job->round->eligible != names) {
            core_bury(core, &names->node);
        }
        return status;
    }
    core->serving++;
    job->served = core->serving;
    job->window_ends_ms = 0;
    for (uint32_t i = 0; i < core->n_live; i++) { /* a new turn for those who stood back */
        if (core->live[i]->dataset == job->dataset) {
            core->live[i]->turn_ends_ms = 0;
        }
    }
    return assign(core, round, names, cohort, job->def.task, err);
}

weft_status core_select(weft_core *core, bool *changed, weft_err *err)
{
    for (uint32_t i = 0; i < core->n_live; i++) {
        WEFT_TRY(serve_round(core, core->live[i], changed, err));
    }
    for (core_job *job = next_in_turn(core, NULL); job; job = next_in_turn(core, job)) {
        if (!ready(core, job)) {
            job->window_ends_ms = 0;
            job->turn_ends_ms = 0;
        } else if (complete(core, job) && !steps_back(core, job)) {
            WEFT_TRY(start_round(core, job, err));
            *changed = true;
        }
    }
    return WEFT_OK;
}

uint64_t core_select_next_ms(const weft_core *core, const core_job *job)
{
    if (job->row.status != WEFT_JOB_RUNNING) {
        return CORE_NEVER;
    }
    if (job->row.retry_at_ms > core->now_ms) {
        return job->row.retry_at_ms;
    }
    uint64_t next_ms = CORE_NEVER;
    if (job->window_ends_ms > core->now_ms) {
        next_ms = job->window_ends_ms;
    }
    if (job->turn_ends_ms > core->now_ms && job->turn_ends_ms < next_ms) {
        next_ms = job->turn_ends_ms;
    }
    return next_ms;
}
