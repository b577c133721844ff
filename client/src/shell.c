/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does what the session decides: persists, calls, trains, tells the host. Called by client.c; owner
 * thread.
 */
#include "base/clock.h"
#include "client_priv.h"
#include "crypto/hash.h"
#include "wire/wire.h"

#include <stdio.h>
#include <string.h>

/* The row of "last seen" is written at most so often. */
#define SEEN_EVERY_MS 60000

static int64_t unix_now(void)
{
    return weft_clock_system.unix_ms(weft_clock_system.self);
}

/* ---- telling the host ----------------------------------------------------------------------- */

static void log_notice(const weft_client *client, const weft_session_action *n)
{
    static const char *const words[] = {"",          "connected", "disconnected", "assigned",
                                        "trained",   "uploaded",  "refused",      "declined",
                                        "abandoned", "renewed",   "secure"};
    const weft_session_assignment *a = n->u.notify.assignment;
    const weft_session_notice notice = n->u.notify.notice;
    const bool bad = notice == WEFT_SESSION_DISCONNECTED || notice == WEFT_SESSION_REFUSED ||
                     notice == WEFT_SESSION_DECLINED || notice == WEFT_SESSION_GAVE_UP;
    const bool work = notice == WEFT_SESSION_WAS_TRAINED || notice == WEFT_SESSION_UPLOADED;
    char job[WEFT_MAX_NAME_BYTES + 32] = {0};
    char effort[64] = {0};
    char reason[WEFT_SESSION_TEXT_BYTES + 16] = {0};
    if (a) {
        (void)snprintf(job, sizeof job, " job=%s round=%u", a->job, a->round);
    }
    if (work) {
        (void)snprintf(effort, sizeof effort, " bytes=%llu ms=%llu",
                       (unsigned long long)n->u.notify.bytes,
                       (unsigned long long)n->u.notify.duration_ms);
    }
    if (n->u.notify.detail && n->u.notify.detail[0]) {
        (void)snprintf(reason, sizeof reason, " reason=\"%s\"", n->u.notify.detail);
    }
    weft_log_line(&client->log, bad ? WEFT_LOG_WARN : WEFT_LOG_INFO, "event=%s%s%s%s",
                  words[notice], job, effort, reason);
}

static void notify(const weft_client *client, const weft_session_action *n)
{
    const weft_session_assignment *a = n->u.notify.assignment;
    log_notice(client, n);
    if (client->observer) {
        const weft_client_event e = {.size = sizeof e,
                                     .kind = (weft_client_event_kind)n->u.notify.notice,
                                     .job = a ? a->job : "",
                                     .round = a ? a->round : 0,
                                     .bytes = n->u.notify.bytes,
                                     .duration_ms = n->u.notify.duration_ms,
                                     .detail = n->u.notify.detail ? n->u.notify.detail : ""};
        client->observer(client->observer_arg, &e);
    }
}

/* ---- actions -------------------------------------------------------------------------------- */

static weft_status check_in(weft_client *client, uint64_t hold_ms)
{
    weft_msg_dataset datasets[WEFT_MAX_DATASETS];
    for (uint32_t i = 0; i < client->n_datasets; i++) {
        const weft_client_data *d = &client->datasets[i];
        datasets[i] =
            (weft_msg_dataset){.name = d->name, .n_examples = d->n_examples, .schema = d->schema};
    }
    weft_transport_check_in(client->transport, datasets, client->n_datasets, hold_ms);
    return WEFT_OK;
}

static weft_status fetch(weft_client *client, const weft_session_action *f, weft_err *err)
{
    if (!client->base || !weft_base_is(client->base, f->u.fetch.digest) ||
        weft_base_size(client->base) != f->u.fetch.bytes) {
        weft_base_free(client->base);
        client->base = NULL;
        WEFT_TRY(weft_base_open(&client->base, client->options.state_dir, f->u.fetch.digest,
                                f->u.fetch.bytes, &client->memory, client->alloc, err));
    }
    if (f->u.fetch.from_zero) {
        WEFT_TRY(weft_base_reset(client->base, err));
    }
    weft_transport_fetch(client->transport, client->base);
    return WEFT_OK;
}

static weft_status upload(weft_client *client, const weft_session_action *u, weft_err *err)
{
    char path[WEFT_CLIENT_MAX_PATH];
    WEFT_TRY(weft_update_file_path(path, sizeof path, client->options.state_dir,
                                   u->u.upload.assignment->assignment_id, err));
    weft_transport_upload(client->transport, u->u.upload.assignment, u->u.upload.update,
                          u->u.upload.offset, path);
    return WEFT_OK;
}

static weft_status finish(weft_client *client, const weft_session_action *f)
{
    client->end = f->u.finish.status;
    (void)snprintf(client->end_text, sizeof client->end_text, "%s", f->u.finish.detail);
    weft_log_line(
        &client->log,
        client->end == WEFT_OK || client->end == WEFT_E_CANCELED ? WEFT_LOG_INFO : WEFT_LOG_ERROR,
        "event=ended status=%s reason=\"%s\"", weft_status_name(client->end), client->end_text);
    return WEFT_OK;
}

/* All but TRAIN, STORE and MASK, whose result is there when they return. */
static weft_status perform(weft_client *client, const weft_session_action *action, weft_err *err)
{
    weft_transport *t = client->transport;
    switch (action->kind) {
    case WEFT_SESSION_KEEP_ASSIGNMENT:
        return weft_outbox_keep_assignment(client->outbox, action->u.assignment, unix_now(), err);
    case WEFT_SESSION_KEEP_ABANDON:
        return weft_outbox_keep_abandon(client->outbox, action->u.keep.reason,
                                        action->u.keep.declined, err);
    case WEFT_SESSION_KEEP_SECURE:
        return weft_outbox_keep_secure(client->outbox, action, client->identity.name, unix_now(),
                                       err);
    case WEFT_SESSION_CLOSE:
        return weft_outbox_close_assignment(client->outbox, action, client->identity.name,
                                            unix_now(), err);
    case WEFT_SESSION_CHECK_IN:
        return check_in(client, action->u.check_in.hold_ms);
    case WEFT_SESSION_FETCH:
        return fetch(client, action, err);
    case WEFT_SESSION_UPLOAD:
        return upload(client, action, err);
    case WEFT_SESSION_PROGRESS:
        weft_transport_progress(t, action->u.progress.assignment_id, action->u.progress.phase);
        return WEFT_OK;
    case WEFT_SESSION_STEP:
        weft_transport_secure_step(t, action);
        return WEFT_OK;
    case WEFT_SESSION_ABANDON:
        weft_transport_abandon(t, action->u.abandon.assignment_id, action->u.abandon.reason);
        return WEFT_OK;
    case WEFT_SESSION_RENEW:
        return weft_client_begin_renewal(client, action->u.renew.anonymous, err);
    case WEFT_SESSION_CANCEL:
        weft_transport_cancel(t);
        return WEFT_OK;
    case WEFT_SESSION_NOTIFY:
        notify(client, action);
        return WEFT_OK;
    case WEFT_SESSION_FINISH:
        return finish(client, action);
    case WEFT_SESSION_TRAIN:
    case WEFT_SESSION_STORE:
    case WEFT_SESSION_MASK:
        break;
    }
    WEFT_FAIL(err, WEFT_E_INTERNAL, "action %d", (int)action->kind);
}

/* What an event points to while the session looks at it. */
typedef struct carried {
    weft_session_event event;
    weft_metrics metrics;
    char text[WEFT_SESSION_TEXT_BYTES];
} carried;

/* One batch. @return true: next holds an event that is there already. */
static bool perform_all(weft_client *client, const weft_session_actions *actions, carried *next)
{
    for (uint32_t i = 0; i < actions->n; i++) {
        const weft_session_action *action = &actions->item[i];
        if (action->kind == WEFT_SESSION_TRAIN) { /* always the last of its batch */
            weft_client_train(client, action->u.train.assignment, &next->event, &next->metrics,
                              next->text);
            return true;
        }
        if (action->kind == WEFT_SESSION_STORE) {
            weft_client_store(client, action->u.store.assignment, action->u.store.update,
                              &next->event, next->text);
            return true;
        }
        if (action->kind == WEFT_SESSION_MASK) {
            weft_client_mask(client, action, &next->event, next->text);
            return true;
        }
        weft_err err = WEFT_ERR_INIT;
        const weft_status status = perform(client, action, &err);
        if (status != WEFT_OK) {
            memset(&next->event, 0, sizeof next->event);
            (void)snprintf(next->text, sizeof next->text, "%s", err.msg);
            next->event.kind = WEFT_SESSION_FAILED;
            next->event.u.failed.action = action->kind;
            next->event.u.failed.status = status;
            next->event.u.failed.detail = next->text;
            return true;
        }
    }
    return false;
}

/* The coordinator answered: note when, at most once a minute. */
static void keep_seen(weft_client *client, const weft_session_event *event)
{
    const bool answer = event->kind != WEFT_SESSION_TICK && event->kind != WEFT_SESSION_FAILED &&
                        event->kind != WEFT_SESSION_STOP;
    const int64_t now = unix_now();
    if (answer && (now - client->seen_unix_ms >= SEEN_EVERY_MS || now < client->seen_unix_ms)) {
        weft_err err = WEFT_ERR_INIT;
        if (weft_outbox_keep_seen(client->outbox, now, &err) != WEFT_OK) {
            weft_log_line(&client->log, WEFT_LOG_WARN, "event=not_noted reason=\"%s\"", err.msg);
        }
        client->seen_unix_ms = now;
    }
}

void weft_client_rest(weft_client *client)
{
    weft_err err = WEFT_ERR_INIT;
    if (client->memory.size == 0 || client->map.weights) {
        return;
    }
    if (client->base && weft_base_rest(client->base, &err) != WEFT_OK) {
        weft_log_line(&client->log, WEFT_LOG_WARN, "event=base_not_kept reason=\"%s\"", err.msg);
    }
    weft_lease_done(&client->lease);
    weft_base_free(client->base);
    client->base = NULL;
    weft_base_memory_done(&client->memory);
    weft_update_file_drop_spare(client->options.state_dir);
}

weft_status weft_client_feed(weft_client *client, const weft_session_event *event, weft_err *err)
{
    carried now = {.event = *event};
    carried next = {.event = {.kind = WEFT_SESSION_TICK}};
    for (;;) {
        if (now.event.kind == WEFT_SESSION_RENEWED) {
            weft_err bad = WEFT_ERR_INIT;
            const weft_status status = weft_client_finish_renewal(client, &now.event, &bad);
            if (status != WEFT_OK) {
                (void)snprintf(now.text, sizeof now.text, "%s", bad.msg);
                now.event.kind = WEFT_SESSION_FAILED;
                now.event.u.failed.action = WEFT_SESSION_RENEW;
                now.event.u.failed.status = WEFT_E_INTERNAL;
                now.event.u.failed.detail = now.text;
            }
        }
        keep_seen(client, &now.event);
        now.event.unix_ms = unix_now();
        weft_session_actions actions;
        WEFT_TRY(weft_session_on(client->session, &now.event,
                                 weft_clock_system.mono_ms(weft_clock_system.self), &actions, err));
        if (!perform_all(client, &actions, &next)) {
            return WEFT_OK;
        }
        now = next;
        if (now.event.kind == WEFT_SESSION_TRAINED) {
            now.event.u.trained.metrics = &now.metrics;
            now.event.u.trained.detail = now.text;
        } else if (now.event.kind == WEFT_SESSION_FAILED) {
            now.event.u.failed.detail = now.text;
        }
    }
}

/* ---- beginning ------------------------------------------------------------------------------ */

static weft_status make_session(weft_client *client, const weft_session_record *record,
                                weft_err *err)
{
    weft_session_dataset names[WEFT_MAX_DATASETS];
    for (uint32_t i = 0; i < client->n_datasets; i++) {
        memcpy(names[i].name, client->datasets[i].name, sizeof names[i].name);
    }
    weft_session_config config = WEFT_SESSION_CONFIG_INIT;
    config.allowed_jobs = client->options.allowed_jobs;
    config.min_cohort = client->options.min_cohort;
    config.require_secure_aggregation = client->options.require_secure_aggregation != 0;
    config.adversary = (weft_secagg_adversary)client->options.adversary;
    config.gamma = client->options.gamma;
    config.secure = &client->secure;
    config.datasets = names;
    config.n_datasets = client->n_datasets;
    config.backoff_max_ms = client->options.connect_backoff_max_ms;
    config.certificate_from_unix_ms = client->identity.from_unix_ms;
    config.certificate_until_unix_ms = client->identity.until_unix_ms;
    if (config.backoff_min_ms > config.backoff_max_ms) {
        config.backoff_min_ms = config.backoff_max_ms;
    }
    WEFT_TRY(
        weft_entropy_system.fill(weft_entropy_system.self, &config.seed, sizeof config.seed, err));
    return weft_session_new(&client->session, &config, record, client->alloc, err);
}

weft_status weft_client_begin_session(weft_client *client, weft_err *err)
{
    weft_session_record record;
    weft_arena arena;
    weft_wire_arena_init(&arena, WEFT_MSG_ASSIGNMENT, client->alloc);
    weft_buf secure;
    weft_buf_init(&secure, client->alloc, (size_t)2 * WEFT_MAX_SECAGG_STATE_BYTES);
    weft_err why = WEFT_ERR_INIT;
    weft_status status = weft_outbox_load_record(client->outbox, &record, &arena, &secure, &why);
    const bool open = status == WEFT_OK;
    if (status == WEFT_OK || status == WEFT_E_NOTFOUND) {
        weft_files_sweep(client->options.state_dir, open ? record.assignment.assignment_id : 0);
        status = make_session(client, open ? &record : NULL, err);
    } else {
        status = weft_err_set(err, status, why.sys, why.file, why.line, "%s", why.msg);
    }
    weft_arena_done(&arena);
    if (secure.data) {
        weft_wipe(secure.data, secure.cap);
    }
    weft_buf_done(&secure);
    return status;
}
