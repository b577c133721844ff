/* SPDX-License-Identifier: Apache-2.0 */
/* One client's session: its events. Called by client.c and the simulations; pure. */
#include "session_priv.h"

#include "crypto/hash.h"
#include "policy.h"

#include <stdio.h>
#include <string.h>

#define MAX_COME_BACK_MS UINT64_C(3600000)
#define MIN_LEASE_MS     300

static void forget_assignment(weft_session *s)
{
    weft_free(s->alloc, (void *)(uintptr_t)s->assignment.model_spec);
    weft_free(s->alloc, (void *)(uintptr_t)s->assignment.data_schema);
    memset(&s->assignment, 0, sizeof s->assignment);
    weft_session_secure_done(s);
    s->open = false;
    s->has_update = false;
    s->declined = false;
    s->from_zero = false;
    s->offset = 0;
    s->hard_failures = 0;
    memset(&s->update, 0, sizeof s->update);
}

static weft_status take_assignment(weft_session *s, const weft_session_assignment *a, weft_err *err)
{
    char *spec =
        weft_string_copy(s->alloc, a->model_spec ? a->model_spec : "", WEFT_MAX_SPEC_BYTES);
    char *schema =
        weft_string_copy(s->alloc, a->data_schema ? a->data_schema : "", WEFT_MAX_SCHEMA_BYTES);
    if (!spec || !schema) {
        weft_free(s->alloc, spec);
        weft_free(s->alloc, schema);
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for an assignment");
    }
    s->assignment = *a;
    s->assignment.model_spec = spec;
    s->assignment.data_schema = schema;
    s->open = true;
    if (s->assignment.lease_ms < MIN_LEASE_MS) {
        s->assignment.lease_ms = MIN_LEASE_MS;
    }
    return WEFT_OK;
}

/* ---- events --------------------------------------------------------------------------------- */

static weft_status on_assignment(weft_session *s, const weft_session_assignment *a, uint64_t now_ms,
                                 weft_session_actions *out, weft_err *err)
{
    WEFT_TRY(take_assignment(s, a, err));
    weft_session_emit(out, WEFT_SESSION_KEEP_ASSIGNMENT)->u.assignment = &s->assignment;
    weft_err why = WEFT_ERR_INIT;
    weft_status status = weft_policy_check(&s->config, &s->assignment, &why);
    if (status == WEFT_OK && a->secure_aggregation) {
        status = weft_session_secure_check(s, &why);
    }
    if (status != WEFT_OK) {
        weft_session_begin_abandon(s, now_ms, true, why.msg, out);
        return WEFT_OK;
    }
    weft_session_notify(s, WEFT_SESSION_ASSIGNED, s->assignment.base_bytes, 0, "", out);
    weft_session_go(s, PHASE_FETCH, now_ms);
    return WEFT_OK;
}

static weft_status on_checked_in(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                                 weft_session_actions *out, weft_err *err)
{
    weft_session_answered(s, now_ms, out);
    if (event->u.checked_in.answer == WEFT_SESSION_NOTHING_MORE) {
        weft_session_finish(s, WEFT_OK, "the coordinator has nothing more for this client", out);
        return WEFT_OK;
    }
    if (event->u.checked_in.answer == WEFT_SESSION_ASSIGNMENT) {
        return on_assignment(s, event->u.checked_in.assignment, now_ms, out, err);
    }
    const uint64_t wait_ms = event->u.checked_in.come_back_ms;
    const uint64_t most_ms = wait_ms < MAX_COME_BACK_MS ? wait_ms : MAX_COME_BACK_MS;
    weft_session_go(s, PHASE_IDLE, now_ms + (most_ms > 0 ? most_ms : 1));
    return WEFT_OK;
}

static void on_trained(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                       weft_session_actions *out)
{
    const char *detail = event->u.trained.detail;
    weft_err why = WEFT_ERR_INIT;
    if (event->u.trained.stopped) {
        weft_session_end_refused(s, now_ms, detail, out);
        return;
    }
    if (event->u.trained.status != WEFT_OK) {
        s->trainer_failures++;
        weft_session_begin_abandon(s, now_ms, false,
                                   detail && detail[0] ? detail : "the trainer failed", out);
        return;
    }
    if (event->u.trained.n_examples == 0 ||
        weft_metrics_check(event->u.trained.metrics, &why) != WEFT_OK) {
        s->trainer_failures++;
        weft_session_begin_abandon(s, now_ms, false,
                                   why.msg[0] ? why.msg : "the trainer reports no examples", out);
        return;
    }
    s->update.n_examples = event->u.trained.n_examples < s->assignment.max_examples
                               ? event->u.trained.n_examples
                               : s->assignment.max_examples;
    s->update.metrics = *event->u.trained.metrics;
    weft_session_go(s, PHASE_STORE, now_ms);
}

static void on_stored(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                      weft_session_actions *out)
{
    s->update.total_bytes = event->u.stored.total_bytes;
    memcpy(s->update.digest, event->u.stored.digest, WEFT_DIGEST_BYTES);
    s->has_update = true;
    s->offset = 0; /* optimistic: the coordinator has none of it yet */
    s->trainer_failures = 0;
    s->give_up_ms = now_ms + s->config.keep_ms;
    weft_session_notify(s, WEFT_SESSION_WAS_TRAINED, s->update.total_bytes, now_ms - s->trained_ms,
                        "", out);
    if (s->assignment.secure_aggregation) {
        weft_session_secure_go(s, now_ms, out);
    } else {
        weft_session_go(s, PHASE_UPLOAD, now_ms);
    }
}

static bool receipt_fits(const weft_session *s, const weft_session_receipt *r)
{
    const bool same = s->update.total_bytes == 0 ||
                      memcmp(r->update_digest, s->update.digest, WEFT_DIGEST_BYTES) == 0;
    const bool sent = !s->assignment.secure_aggregation || (s->secure && s->secure->masked);
    return s->has_update && sent && r->assignment_id == s->assignment.assignment_id && same;
}

static void on_receipt(weft_session *s, const weft_session_receipt *receipt, uint64_t now_ms,
                       weft_session_actions *out)
{
    weft_session_cancel(s, out);
    if (receipt_fits(s, receipt) && s->assignment.secure_aggregation) {
        weft_session_secure_receipt(s, receipt, now_ms, out);
    } else if (receipt_fits(s, receipt)) {
        weft_session_end_accepted(s, now_ms, receipt, out);
    } else {
        (void)weft_session_retry_transfer(s, now_ms, true, "the receipt is for another update",
                                          out);
    }
}

static void on_submitted(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                         weft_session_actions *out)
{
    weft_session_answered(s, now_ms, out);
    if (event->u.submitted.receipt) {
        on_receipt(s, event->u.submitted.receipt, now_ms, out);
    } else {
        weft_session_cancel(s, out); /* the lease's call */
        weft_session_end_refused(s, now_ms, event->u.submitted.refusal, out);
    }
}

static void on_progressed(weft_session *s, const weft_session_event *event, bool lease,
                          uint64_t now_ms, weft_session_actions *out)
{
    weft_session_answered(s, now_ms, out);
    if (event->u.progressed.receipt) {
        on_receipt(s, event->u.progressed.receipt, now_ms, out);
        return;
    }
    if (event->u.progressed.stop) {
        weft_session_cancel(s, out);
        weft_session_end_refused(s, now_ms, event->u.progressed.reason, out);
        return;
    }
    if (!lease) {
        const uint64_t held = event->u.progressed.held_bytes;
        if (held > s->offset) {
            s->hard_failures = 0; /* it moves */
        }
        s->offset = held <= s->update.total_bytes ? held : 0;
        if (s->has_update && s->assignment.secure_aggregation) {
            weft_session_secure_go(s, now_ms, out);
        } else {
            weft_session_go(s, s->has_update ? PHASE_UPLOAD : PHASE_FETCH, now_ms);
        }
    }
}

static void on_renewed(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                       weft_session_actions *out)
{
    weft_session_answered(s, now_ms, out);
    const int64_t from = event->u.renewed.from_unix_ms;
    const int64_t until = event->u.renewed.until_unix_ms;
    s->config.certificate_from_unix_ms = from;
    s->config.certificate_until_unix_ms = until;
    /* never again at once, whatever our clock makes of the dates */
    s->renew_due_ms = now_ms + (until > from ? (uint64_t)(until - from) / 3 : 60000);
    weft_session_notify(s, WEFT_SESSION_CERTIFIED, 0, 0, "", out);
}

/* ---- the machine ---------------------------------------------------------------------------- */

/* Which call an event answers; 0: none. */
static weft_session_action_kind answers(weft_session_event_kind kind)
{
    static const weft_session_action_kind table[] = {
        [WEFT_SESSION_CHECKED_IN] = WEFT_SESSION_CHECK_IN,
        [WEFT_SESSION_FETCHED] = WEFT_SESSION_FETCH,
        [WEFT_SESSION_TRAINED] = WEFT_SESSION_TRAIN,
        [WEFT_SESSION_STORED] = WEFT_SESSION_STORE,
        [WEFT_SESSION_SUBMITTED] = WEFT_SESSION_UPLOAD,
        [WEFT_SESSION_PROGRESSED] = WEFT_SESSION_PROGRESS,
        [WEFT_SESSION_ABANDONED] = WEFT_SESSION_ABANDON,
        [WEFT_SESSION_RENEWED] = WEFT_SESSION_RENEW,
        [WEFT_SESSION_STOP] = 0,
        [WEFT_SESSION_STEPPED] = WEFT_SESSION_STEP,
        [WEFT_SESSION_MASKED] = WEFT_SESSION_MASK,
    };
    return (unsigned)kind < sizeof table / sizeof table[0] ? table[kind] : 0;
}

static weft_status handle(weft_session *s, const weft_session_event *event, bool lease,
                          uint64_t now_ms, weft_session_actions *out, weft_err *err)
{
    switch (event->kind) {
    case WEFT_SESSION_TICK:
        weft_session_tick(s, now_ms, out);
        return WEFT_OK;
    case WEFT_SESSION_CHECKED_IN:
        return on_checked_in(s, event, now_ms, out, err);
    case WEFT_SESSION_FETCHED:
        weft_session_answered(s, now_ms, out);
        weft_session_cancel(s, out); /* the lease's call */
        s->from_zero = false;
        s->hard_failures = 0;
        weft_session_go(s, PHASE_TRAIN, now_ms);
        return WEFT_OK;
    case WEFT_SESSION_TRAINED:
        weft_session_cancel(s, out);
        on_trained(s, event, now_ms, out);
        return WEFT_OK;
    case WEFT_SESSION_STORED:
        on_stored(s, event, now_ms, out);
        return WEFT_OK;
    case WEFT_SESSION_SUBMITTED:
        on_submitted(s, event, now_ms, out);
        return WEFT_OK;
    case WEFT_SESSION_PROGRESSED:
        on_progressed(s, event, lease, now_ms, out);
        return WEFT_OK;
    case WEFT_SESSION_ABANDONED:
        weft_session_answered(s, now_ms, out);
        weft_session_end_abandoned(s, now_ms, out);
        return WEFT_OK;
    case WEFT_SESSION_RENEWED:
        on_renewed(s, event, now_ms, out);
        return WEFT_OK;
    case WEFT_SESSION_STEPPED:
        weft_session_on_stepped(s, event, now_ms, out);
        return WEFT_OK;
    case WEFT_SESSION_MASKED:
        weft_session_on_masked(s, event, now_ms, out);
        return WEFT_OK;
    case WEFT_SESSION_FAILED:
        return weft_session_on_failed(s, event, now_ms, out, err);
    case WEFT_SESSION_STOP:
        weft_session_cancel(s, out);
        weft_session_finish(s, WEFT_E_CANCELED, "stopped on request", out);
        return WEFT_OK;
    default:
        WEFT_FAIL(err, WEFT_E_STATE, "event %d", (int)event->kind);
    }
}

weft_status weft_session_on(weft_session *s, const weft_session_event *event, uint64_t now_ms,
                            weft_session_actions *out, weft_err *err)
{
    out->n = 0;
    if (s->at == PHASE_DONE) {
        WEFT_FAIL(err, WEFT_E_STATE, "the session has finished");
    }
    if (!s->open) {
        forget_assignment(s); /* the last batch's actions are through with it */
    }
    if (s->give_up_ms == 0) {
        s->give_up_ms = now_ms + s->config.keep_ms;
    }
    s->unix_ms = event->unix_ms;
    const weft_session_action_kind call = answers(event->kind);
    const bool lease = event->kind == WEFT_SESSION_PROGRESSED && s->lease_call;
    if (lease) {
        s->lease_call = false;
    } else if (call && call != s->call) {
        WEFT_FAIL(err, WEFT_E_STATE, "event %d, which answers nothing", (int)event->kind);
    } else if (call) {
        s->call = 0;
    }
    const weft_status status = handle(s, event, lease, now_ms, out, err);
    if (status == WEFT_E_NOMEM && call) {
        s->call = call; /* as before: the event may come again */
    }
    WEFT_TRY(status);
    weft_session_advance(s, now_ms, out);
    return WEFT_OK;
}

uint64_t weft_session_next_ms(const weft_session *s)
{
    if (s->at == PHASE_DONE) {
        return UINT64_MAX;
    }
    if (!s->call) {
        return s->due_ms;
    }
    const bool leased = s->call == WEFT_SESSION_FETCH || s->call == WEFT_SESSION_TRAIN ||
                        s->call == WEFT_SESSION_UPLOAD;
    return leased && !s->lease_call ? s->lease_due_ms : UINT64_MAX;
}

const weft_session_assignment *weft_session_open(const weft_session *s)
{
    return s->open ? &s->assignment : NULL;
}

bool weft_session_finished(const weft_session *s)
{
    return s->at == PHASE_DONE;
}

static weft_status check_config(const weft_session_config *c, weft_err *err)
{
    WEFT_TRY(weft_policy_check_jobs(c->allowed_jobs, err));
    if (c->n_datasets > WEFT_MAX_DATASETS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%u data sets, at most %d", c->n_datasets,
                  WEFT_MAX_DATASETS);
    }
    if (c->backoff_min_ms == 0 || c->backoff_max_ms < c->backoff_min_ms || c->keep_ms == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a backoff of %llu to %llu ms, giving up after %llu ms",
                  (unsigned long long)c->backoff_min_ms, (unsigned long long)c->backoff_max_ms,
                  (unsigned long long)c->keep_ms);
    }
    return WEFT_OK;
}

static weft_status restore(weft_session *s, const weft_session_record *record, weft_err *err)
{
    WEFT_TRY(take_assignment(s, &record->assignment, err));
    s->has_update = record->has_update;
    s->update = record->update;
    s->declined = record->declined;
    weft_session_set_text(s->reason, record->reason);
    s->at = record->abandoning ? PHASE_ABANDON : PHASE_ASK;
    if (record->secure.size > 0 && !record->abandoning) {
        weft_session_secure_restore(s, record);
    }
    return WEFT_OK;
}

static weft_status set_up(weft_session *s, const weft_session_config *config,
                          const weft_session_record *record, weft_err *err)
{
    const weft_alloc *a = s->alloc;
    s->config = *config;
    s->config.allowed_jobs = NULL;
    s->config.datasets = NULL;
    weft_rng_init(&s->rng, config->seed, 0);
    if (config->allowed_jobs) {
        s->config.allowed_jobs =
            weft_string_copy(a, config->allowed_jobs, WEFT_POLICY_MAX_JOBS_BYTES);
        if (!s->config.allowed_jobs) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a session");
        }
    }
    if (config->n_datasets > 0) {
        weft_session_dataset *copy = weft_array(a, config->n_datasets, sizeof *copy);
        if (!copy) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a session");
        }
        memcpy(copy, config->datasets, config->n_datasets * sizeof *copy);
        s->config.datasets = copy;
    }
    return record ? restore(s, record, err) : WEFT_OK;
}

weft_status weft_session_new(weft_session **ret, const weft_session_config *config,
                             const weft_session_record *record, const weft_alloc *a, weft_err *err)
{
    WEFT_TRY(check_config(config, err));
    weft_session *s = weft_array(a, 1, sizeof *s);
    if (!s) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a session");
    }
    s->alloc = a;
    const weft_status status = set_up(s, config, record, err);
    if (status != WEFT_OK) {
        weft_session_free(s);
        return status;
    }
    *ret = s;
    return WEFT_OK;
}

void weft_session_free(weft_session *s)
{
    if (!s) {
        return;
    }
    forget_assignment(s);
    weft_free(s->alloc, (void *)(uintptr_t)s->config.allowed_jobs);
    weft_free(s->alloc, (void *)(uintptr_t)s->config.datasets);
    weft_free(s->alloc, s);
}

weft_status weft_session_train_seed(uint64_t *ret, uint64_t plan_seed, const char *client,
                                    const char *job, uint32_t round, weft_err *err)
{
    char text[64 + 2 * (WEFT_MAX_NAME_BYTES + 1)];
    const int n = snprintf(text, sizeof text, "weft train seed 1|%llu|%.*s|%.*s|%u",
                           (unsigned long long)plan_seed, WEFT_MAX_NAME_BYTES, client,
                           WEFT_MAX_NAME_BYTES, job, round);
    uint8_t digest[WEFT_SHA256_BYTES];
    WEFT_TRY(weft_sha256(digest, text, (size_t)n, err));
    uint64_t seed = 0;
    for (unsigned i = 8; i-- > 0;) {
        seed = seed << 8 | digest[i];
    }
    *ret = seed;
    return WEFT_OK;
}
