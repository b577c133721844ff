/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients as the core sees them: who waits with which data sets, who is about, who is revoked; the
 * pace of those without work.
 */
#include "core/core_priv.h"

#include "base/rng.h"

#include <string.h>

/* ---- data sets ------------------------------------------------------------------------------- */

static core_dataset *find_dataset(const weft_core *core, const char *name)
{
    for (uint32_t i = 0; i < core->n_datasets; i++) {
        if (strcmp(core->datasets[i]->name, name) == 0) {
            return core->datasets[i];
        }
    }
    return NULL;
}

bool core_client_declares(const core_client *client, const char *dataset)
{
    for (uint32_t i = 0; i < client->n_declared; i++) {
        if (strcmp(client->declared[i].name, dataset) == 0) {
            return true;
        }
    }
    return false;
}

static weft_status add_dataset(core_dataset **ret, weft_core *core, const char *name, weft_err *err)
{
    if (core->n_datasets == core->cap_datasets) {
        const uint32_t cap = core->cap_datasets ? core->cap_datasets * 2 : 8;
        core_dataset **list =
            weft_array_resize(core->alloc, core->datasets, cap, sizeof(core_dataset *));
        if (!list) {
            return core_no_memory(err, cap, "data sets");
        }
        core->datasets = list;
        core->cap_datasets = cap;
    }
    core_dataset *d = weft_array(core->alloc, 1, sizeof *d);
    if (!d) {
        return core_no_memory(err, 1, "data set");
    }
    memcpy(d->name, name, strnlen(name, WEFT_MAX_NAME_BYTES));
    core->datasets[core->n_datasets] = d;
    core->n_datasets++;
    *ret = d;
    return WEFT_OK;
}

weft_status core_dataset_get(core_dataset **ret, weft_core *core, const char *name, weft_err *err)
{
    core_dataset *d = find_dataset(core, name);
    if (!d) {
        WEFT_TRY(add_dataset(&d, core, name, err));
        for (size_t i = 0; i < core->clients.cap; i++) { /* sums: the order does not matter */
            const core_client *client = core->clients.slot[i].value;
            if (client && core_client_declares(client, name)) {
                d->n_waiting += client->call != 0;
                d->n_busy += client->open != NULL;
            }
        }
    }
    *ret = d;
    return WEFT_OK;
}

/* Add to the counts of every data set that the client declares. */
static void count(weft_core *core, const core_client *client, int waiting, int busy)
{
    for (uint32_t i = 0; i < client->n_declared; i++) {
        core_dataset *d = find_dataset(core, client->declared[i].name);
        if (d) {
            d->n_waiting += (uint32_t)waiting;
            d->n_busy += (uint32_t)busy;
        }
    }
}

/* ---- records --------------------------------------------------------------------------------- */

static bool has_name(const void *value, const void *wanted)
{
    const core_client *client = value;
    return strcmp(client->name, wanted) == 0;
}

core_client *core_client_find(const weft_core *core, const char *name)
{
    return core_map_find(&core->clients, core_hash_text(name), has_name, name);
}

weft_status core_client_get(core_client **ret, weft_core *core, const char *name, weft_err *err)
{
    core_client *client = core_client_find(core, name);
    if (client) {
        *ret = client;
        return WEFT_OK;
    }
    client = weft_array(core->alloc, 1, sizeof *client);
    if (!client) {
        return core_no_memory(err, 1, "client");
    }
    memcpy(client->name, name, strnlen(name, WEFT_MAX_NAME_BYTES));
    client->away = true;
    weft_status status =
        core_timer_init(&core->timers, &client->hold, CORE_TIMER_HOLD, client, err);
    if (status == WEFT_OK) {
        status = core_map_add(&core->clients, core_hash_text(client->name), client, err);
    }
    if (status != WEFT_OK) {
        core_client_free(core, client);
        return status;
    }
    *ret = client;
    return WEFT_OK;
}

void core_client_free(weft_core *core, core_client *client)
{
    core_timer_done(&core->timers, &client->hold);
    weft_free(core->alloc, client->declared);
    weft_free(core->alloc, client);
}

void core_client_seen(weft_core *core, core_client *client)
{
    client->away = false;
    client->last_seen_ms = core->now_ms;
}

bool core_client_about(const weft_core *core, const core_client *client)
{
    const uint64_t pause_ms = core_later(
        core->config.max_hold_ms, core_later(core->config.come_back_ms, core->config.come_back_ms));
    return !client->revoked && !client->away &&
           (client->call != 0 || client->open ||
            core->now_ms <= core_later(client->last_seen_ms, pause_ms));
}

void core_client_set_open(weft_core *core, core_client *client, core_assignment *a)
{
    count(core, client, 0, (a != NULL) - (client->open != NULL));
    client->open = a;
}

/* Copy what a check-in declares; a name counts once. */
static weft_status set_declared(weft_core *core, core_client *client, const weft_declared *datasets,
                                uint32_t n, weft_err *err)
{
    weft_declared *copy = NULL;
    if (n > 0) {
        copy = weft_array(core->alloc, n, sizeof *copy);
        if (!copy) {
            return core_no_memory(err, n, "data sets");
        }
    }
    const int busy = client->open != NULL; /* it does not wait now */
    count(core, client, 0, -busy);
    weft_free(core->alloc, client->declared);
    client->declared = copy;
    client->n_declared = 0;
    for (uint32_t i = 0; i < n; i++) {
        char name[WEFT_MAX_NAME_BYTES + 1] = {0};
        memcpy(name, datasets[i].name, strnlen(datasets[i].name, WEFT_MAX_NAME_BYTES));
        if (!core_client_declares(client, name)) {
            memcpy(copy[client->n_declared].name, name, sizeof name);
            copy[client->n_declared].n_examples = datasets[i].n_examples;
            client->n_declared++;
        }
    }
    count(core, client, 0, busy);
    return WEFT_OK;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static weft_status start_waiting(weft_core *core, core_client *client, uint64_t call,
                                 uint64_t hold_ms, weft_err *err)
{
    WEFT_TRY(core_map_add(&core->calls, call, client, err));
    const uint64_t max_ms = core->config.max_hold_ms;
    client->call = call;
    client->prev = core->last_waiting;
    client->next = NULL;
    *(core->last_waiting ? &core->last_waiting->next : &core->first_waiting) = client;
    core->last_waiting = client;
    core->n_waiting++;
    count(core, client, 1, 0);
    core_timer_set(&core->timers, &client->hold,
                   core_later(core->now_ms, hold_ms < max_ms ? hold_ms : max_ms));
    return WEFT_OK;
}

uint64_t core_client_stop_waiting(weft_core *core, core_client *client)
{
    const uint64_t call = client->call;
    if (call == 0) {
        return 0;
    }
    core_map_remove(&core->calls, call, client);
    *(client->prev ? &client->prev->next : &core->first_waiting) = client->next;
    *(client->next ? &client->next->prev : &core->last_waiting) = client->prev;
    client->prev = NULL;
    client->next = NULL;
    client->call = 0;
    core->n_waiting--;
    count(core, client, -1, 0);
    core_timer_set(&core->timers, &client->hold, CORE_NEVER);
    return call;
}

/* Every job that it could serve has ended, and there was one. */
static bool nothing_more(const weft_core *core, const core_client *client)
{
    bool served = false;
    for (uint32_t i = 0; i < client->n_declared; i++) {
        const core_dataset *d = find_dataset(core, client->declared[i].name);
        if (d && d->n_live > 0) {
            return false;
        }
        served = served || d;
    }
    return served;
}

/* Uniform in [0.5, 1.5] of the mean, from the seed, the name and how often it was sent away. */
static uint64_t pace(weft_core *core, core_client *client)
{
    const uint64_t mean_ms = core->config.come_back_ms;
    weft_rng rng;
    weft_rng_init(&rng, core->config.pace_seed ^ core_hash_text(client->name), client->sent_away);
    client->sent_away++;
    return mean_ms == CORE_NEVER ? mean_ms : mean_ms / 2 + weft_rng_below(&rng, mean_ms + 1);
}

static weft_status send_away(weft_core *core, core_client *client, weft_err *err)
{
    const uint64_t call = core_client_stop_waiting(core, client);
    weft_action *action = NULL;
    if (nothing_more(core, client)) {
        return core_reply(&action, core, call, WEFT_REPLY_NOTHING_MORE, err);
    }
    WEFT_TRY(core_reply(&action, core, call, WEFT_REPLY_COME_BACK, err));
    action->u.reply.u.come_back_ms = pace(core, client);
    return WEFT_OK;
}

weft_status core_answer_waiting(weft_core *core, weft_err *err)
{
    while (core->over) {
        core_client *client = core->over;
        core->over = client->next_over;
        client->hold_over = false;
        if (client->call != 0) {
            WEFT_TRY(send_away(core, client, err));
        }
    }
    core_client *next = NULL;
    for (core_client *client = core->job_ended ? core->first_waiting : NULL; client;
         client = next) {
        next = client->next;
        if (nothing_more(core, client)) {
            WEFT_TRY(send_away(core, client, err));
        }
    }
    core->job_ended = false;
    return WEFT_OK;
}

/* ---- events ---------------------------------------------------------------------------------- */

/* The newest check-in of a client is the one that counts. */
static weft_status replace_call(weft_core *core, core_client *client, weft_err *err)
{
    if (client->call == 0) {
        return WEFT_OK;
    }
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, core_client_stop_waiting(core, client), WEFT_REPLY_COME_BACK,
                        err));
    action->u.reply.u.come_back_ms = 0;
    return WEFT_OK;
}

weft_status core_on_check_in(weft_core *core, const weft_event *event, weft_err *err)
{
    if (event->call == 0) {
        return WEFT_OK; /* nobody would hear the answer */
    }
    const uint32_t n = event->u.check_in.n_datasets;
    if (n > WEFT_MAX_DATASETS) {
        char text[WEFT_REASON_BYTES];
        core_text(text, "%u data sets are more than %d", n, WEFT_MAX_DATASETS);
        return core_reply_error(core, event->call, WEFT_E_LIMIT, text, err);
    }
    core_client *client = NULL;
    WEFT_TRY(core_client_get(&client, core, event->client, err));
    if (client->revoked) {
        return core_reply_error(core, event->call, WEFT_E_AUTH, "this client is revoked", err);
    }
    core_client_seen(core, client);
    WEFT_TRY(replace_call(core, client, err));
    WEFT_TRY(set_declared(core, client, event->u.check_in.datasets, n, err));
    if (!client->open && client->lapsed && core_assignment_may_return(client->lapsed)) {
        core_assignment_return(core, client->lapsed);
    }
    if (client->open) {
        if (!client->open->advertised) {
            core_assignment_renew(core, client->open);
        }
        return core_reply_assignment(core, event->call, client->open, err);
    }
    WEFT_TRY(start_waiting(core, client, event->call, event->u.check_in.hold_ms, err));
    return nothing_more(core, client) ? send_away(core, client, err) : WEFT_OK;
}

void core_on_call_gone(weft_core *core, const weft_event *event)
{
    core_client *client = core_map_find(&core->calls, event->u.gone.call, NULL, NULL);
    if (client) {
        (void)core_client_stop_waiting(core, client); /* nobody is there to hear a reply */
        client->away = true;
    }
    core_assignment *a = core_map_find(&core->polls, event->u.gone.call, NULL, NULL);
    if (a) {
        (void)core_poll_stop(core, a); /* the same */
    }
}

static weft_status revoke_assignment(weft_core *core, core_assignment *a, const char *reason,
                                     weft_err *err)
{
    if (!a) {
        return WEFT_OK;
    }
    WEFT_TRY(core_secure_left(core, a, err));
    core_assignment_end(core, a, WEFT_ASSIGNMENT_REVOKED, WEFT_REFUSAL_LATE, reason);
    WEFT_TRY(core_fold(core, WEFT_ACTION_DROP_UPDATE, a, err));
    return core_notify(core, "update", a->round->job, a->round, a->row.client, reason, err);
}

weft_status core_on_revoked(weft_core *core, const weft_event *event, weft_err *err)
{
    core_client *client = NULL;
    WEFT_TRY(core_client_get(&client, core, event->u.client.name, err));
    client->revoked = true;
    if (client->call != 0) {
        WEFT_TRY(core_reply_error(core, core_client_stop_waiting(core, client), WEFT_E_AUTH,
                                  "this client is revoked", err));
    }
    char text[WEFT_REASON_BYTES];
    const char *reason = event->u.client.reason;
    core_text(text, "the client was revoked%s%s", reason && reason[0] ? ": " : "",
              reason ? reason : "");
    WEFT_TRY(revoke_assignment(core, client->open, text, err));
    WEFT_TRY(revoke_assignment(core, client->lapsed, text, err));
    weft_action *action = NULL;
    WEFT_TRY(core_effect(&action, core, WEFT_ACTION_CANCEL_CALLS, err));
    memcpy(action->u.client.name, client->name, sizeof client->name);
    return core_reply(&action, core, event->call, WEFT_REPLY_DONE, err);
}

weft_status core_on_enrolled(weft_core *core, const weft_event *event, weft_err *err)
{
    core_client *client = core_client_find(core, event->u.client.name);
    if (client) {
        client->revoked = false;
    }
    weft_action *action = NULL;
    return core_reply(&action, core, event->call, WEFT_REPLY_DONE, err);
}
