/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: submit, pause, resume, cancel, rollback, retries, and the conditions to stop. */
#include "core/core_priv.h"

#include <string.h>

#define MAX_BACKOFF_MS UINT64_C(3600000)

/* ---- records --------------------------------------------------------------------------------- */

core_job *core_job_find(const weft_core *core, uint64_t job_id)
{
    uint32_t low = 0;
    uint32_t high = core->n_jobs;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (core->jobs[middle]->row.job_id < job_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < core->n_jobs && core->jobs[low]->row.job_id == job_id ? core->jobs[low] : NULL;
}

core_job *core_job_named(const weft_core *core, const char *name)
{
    for (uint32_t i = 0; name && i < core->n_jobs; i++) {
        if (strcmp(core->jobs[i]->def.name, name) == 0) {
            return core->jobs[i];
        }
    }
    return NULL;
}

bool core_job_live(const core_job *job)
{
    return job->row.status == WEFT_JOB_RUNNING || job->row.status == WEFT_JOB_PAUSED;
}

static weft_status reserve_job(weft_core *core, weft_err *err)
{
    if (core->n_jobs < core->cap_jobs) {
        return WEFT_OK;
    }
    const uint32_t cap = core->cap_jobs ? core->cap_jobs * 2 : 8;
    core_job **jobs = weft_array_resize(core->alloc, core->jobs, cap, sizeof(core_job *));
    if (!jobs) {
        return core_no_memory(err, cap, "jobs");
    }
    core->jobs = jobs;
    core_job **live = weft_array_resize(core->alloc, core->live, cap, sizeof(core_job *));
    if (!live) {
        return core_no_memory(err, cap, "jobs");
    }
    core->live = live;
    core->cap_jobs = cap;
    return WEFT_OK;
}

static void leave_live(weft_core *core, core_job *job)
{
    uint32_t at = 0;
    while (core->live[at] != job) {
        at++;
    }
    core->n_live--;
    memmove(&core->live[at], &core->live[at + 1], (core->n_live - at) * sizeof(core_job *));
    core_timer_set(&core->timers, &job->timer, CORE_NEVER);
}

static weft_status fill_job(weft_core *core, core_job *job, const weft_job_row *row, weft_err *err)
{
    WEFT_TRY(core_timer_init(&core->timers, &job->timer, CORE_TIMER_JOB, job, err));
    WEFT_TRY(weft_job_def_copy(&job->def, row->def, core->alloc, err));
    job->row = *row;
    job->row.def = &job->def;
    WEFT_TRY(core_dataset_get(&job->dataset, core, job->def.dataset, err));
    job->dataset->n_live += core_job_live(job);
    return WEFT_OK;
}

weft_status core_job_add(core_job **ret, weft_core *core, const weft_job_row *row, weft_err *err)
{
    WEFT_TRY(reserve_job(core, err));
    core_job *job = weft_array(core->alloc, 1, sizeof *job);
    if (!job) {
        return core_no_memory(err, 1, "job");
    }
    const weft_status status = fill_job(core, job, row, err);
    if (status != WEFT_OK) {
        core_job_free(core, job);
        return status;
    }
    core->jobs[core->n_jobs] = job;
    core->n_jobs++;
    if (core_job_live(job)) {
        core->live[core->n_live] = job;
        core->n_live++;
    }
    *ret = job;
    return WEFT_OK;
}

void core_job_free(weft_core *core, core_job *job)
{
    core_round_free(core, job->round);
    core_timer_done(&core->timers, &job->timer);
    weft_job_def_done(&job->def, core->alloc);
    weft_free(core->alloc, job);
}

static weft_status set_status(weft_core *core, core_job *job, weft_job_status status,
                              const char *reason, weft_err *err)
{
    const bool was_live = core_job_live(job);
    job->row.status = status;
    core_text_cut(job->row.reason, reason);
    job->window_ends_ms = 0;
    job->turn_ends_ms = 0;
    if (was_live && !core_job_live(job)) {
        leave_live(core, job);
        job->dataset->n_live--;
        core->job_ended = true;
    }
    core_touch_job(core, job);
    return core_notify(core, "job", job, job->round, "", reason, err);
}

/* ---- conditions to stop ---------------------------------------------------------------------- */

/* The metric that is watched: federated if clients measured it, else the coordinator's. */
static bool watched(const core_job *job, const weft_round_row *round, const char **ret_name,
                    double *ret_value)
{
    *ret_name = job->def.target_metric[0] ? job->def.target_metric : "loss";
    return weft_metrics_get(&round->federated, *ret_name, ret_value) ||
           weft_metrics_get(&round->central, *ret_name, ret_value);
}

static bool reaches(const char *name, double value, double goal)
{
    return strcmp(name, "loss") == 0 ? value <= goal : value >= goal;
}

/* True with a reason when the evaluation ends the job. */
static bool stops_by_metric(char reason[WEFT_REASON_BYTES], core_job *job,
                            const weft_round_row *round)
{
    const char *name = NULL;
    double value = 0.0;
    if (!watched(job, round, &name, &value)) {
        return false;
    }
    const bool better = !job->row.has_best || !reaches(name, job->row.best, value);
    job->row.evals_since_best = better ? 0 : job->row.evals_since_best + 1;
    job->row.best = better ? value : job->row.best;
    job->row.has_best = true;
    if (job->def.target_metric[0] && reaches(name, value, job->def.target_value)) {
        core_text(reason, "%s %.6g reached %.6g in round %u", name, value, job->def.target_value,
                  round->round);
        return true;
    }
    if (job->def.patience > 0 && job->row.evals_since_best >= job->def.patience) {
        core_text(reason, "%s did not improve on %.6g in %u evaluations", name, job->row.best,
                  job->row.evals_since_best);
        return true;
    }
    return false;
}

weft_status core_job_round_done(weft_core *core, core_job *job, const weft_round_row *round,
                                bool evaluated, weft_err *err)
{
    char reason[WEFT_REASON_BYTES] = {0};
    job->row.rounds_done++;
    job->row.attempts = 0;
    job->row.retry_at_ms = 0;
    core_touch_job(core, job);
    bool stop = evaluated && stops_by_metric(reason, job, round);
    if (!stop && job->def.task == WEFT_TASK_STATS) {
        stop = true;
        core_text_cut(reason, "the statistics are complete");
    } else if (!stop && job->row.rounds_done >= job->def.rounds) {
        stop = true;
        core_text(reason, "all %u rounds are done", job->def.rounds);
    }
    if (stop) {
        return set_status(core, job, WEFT_JOB_DONE, reason, err);
    }
    job->row.round++;
    return WEFT_OK;
}

/* ---- retries --------------------------------------------------------------------------------- */

/* Before attempt k + 1: doubled each time, at most an hour unless the job says more. */
static uint64_t backoff_ms(const core_job *job, uint32_t k)
{
    const uint64_t first_ms = job->def.backoff_ms;
    const uint64_t max_ms = first_ms > MAX_BACKOFF_MS ? first_ms : MAX_BACKOFF_MS;
    const uint32_t doublings = k - 1;
    return doublings >= 32 || first_ms << doublings > max_ms ? (first_ms ? max_ms : 0)
                                                             : first_ms << doublings;
}

weft_status core_job_attempt_failed(weft_core *core, core_job *job, uint32_t round,
                                    const char *reason, weft_err *err)
{
    /* Attempts of one round are numbered without a gap: after a pause they are counted anew in
     * steps of max_attempts. */
    const uint32_t k = job->row.attempts % job->def.max_attempts + 1;
    char text[WEFT_REASON_BYTES];
    job->row.attempts++;
    core_touch_job(core, job);
    if (job->row.status != WEFT_JOB_RUNNING) {
        return WEFT_OK;
    }
    if (k == job->def.max_attempts) {
        job->row.retry_at_ms = 0;
        if (round == job->row.round) {
            core_text(text, "round %u failed %u times, at last: %.80s", round, job->row.attempts,
                      reason);
        } else { /* masked input is not asked for again: each attempt was a round of its own */
            core_text(text, "%u rounds up to %u failed, at last: %.80s", job->row.attempts, round,
                      reason);
        }
        return set_status(core, job, WEFT_JOB_PAUSED, text, err);
    }
    job->row.retry_at_ms = core_later(core->now_ms, backoff_ms(job, k));
    core_text(text, "round %u failed; round %u begins in %llu ms (attempt %u)", round,
              job->row.round, CORE_ULL(job->row.retry_at_ms - core->now_ms), job->row.attempts + 1);
    return core_notify(core, "job", job, NULL, "", text, err);
}

/* ---- submit ---------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_augmentation(const weft_plan *a, const weft_plan *b)
{
    return a->augment_shift == b->augment_shift && a->augment_crop == b->augment_crop &&
           a->augment_flip == b->augment_flip;
}

static bool same_plan(const weft_plan *a, const weft_plan *b)
{
    return a->optimizer == b->optimizer && a->learning_rate == b->learning_rate &&
           a->momentum == b->momentum && a->weight_decay == b->weight_decay &&
           a->beta1 == b->beta1 && a->beta2 == b->beta2 && a->epsilon == b->epsilon &&
           a->prox_mu == b->prox_mu && a->batch_size == b->batch_size && a->epochs == b->epochs &&
           a->seed == b->seed && a->numerics == b->numerics && a->schedule == b->schedule &&
           a->schedule_rounds == b->schedule_rounds && a->schedule_factor == b->schedule_factor &&
           a->warmup_rounds == b->warmup_rounds && a->clip_gradient == b->clip_gradient &&
           a->early_stop == b->early_stop && same_augmentation(a, b);
}

static bool same_policy(const weft_job_def *a, const weft_job_def *b)
{
    return a->target == b->target && a->minimum == b->minimum &&
           a->over_selection == b->over_selection && a->deadline_ms == b->deadline_ms &&
           a->lease_ms == b->lease_ms && a->max_attempts == b->max_attempts &&
           a->backoff_ms == b->backoff_ms && a->selection_window_ms == b->selection_window_ms &&
           a->aggregation == b->aggregation && a->clip_norm == b->clip_norm &&
           a->max_examples == b->max_examples && a->durability == b->durability &&
           a->keep_updates == b->keep_updates;
}

static bool same_ends(const weft_job_def *a, const weft_job_def *b)
{
    return a->eval_clients == b->eval_clients && a->eval_every == b->eval_every &&
           a->eval_deadline_ms == b->eval_deadline_ms && a->rounds == b->rounds &&
           a->target_value == b->target_value && a->patience == b->patience &&
           a->init_seed == b->init_seed && a->seed == b->seed &&
           same_text(a->target_metric, b->target_metric) && same_text(a->eval_data, b->eval_data);
}

static bool same_secure(const weft_job_def *a, const weft_job_def *b)
{
    const weft_job_secure *x = &a->secure;
    const weft_job_secure *y = &b->secure;
    return a->secure_aggregation == b->secure_aggregation &&
           (!a->secure_aggregation ||
            (x->adversary == y->adversary && x->gamma == y->gamma && x->delta == y->delta &&
             x->min_colluders == y->min_colluders && x->phase_deadline_ms == y->phase_deadline_ms));
}

/* The same request again? */
static bool same_definition(const weft_job_def *a, const weft_job_def *b)
{
    return same_text(a->dataset, b->dataset) && same_text(a->model_spec, b->model_spec) &&
           same_text(a->data_schema, b->data_schema) && a->task == b->task &&
           same_plan(&a->plan, &b->plan) && same_policy(a, b) && same_secure(a, b) &&
           same_ends(a, b) && a->has_init_version == b->has_init_version &&
           (!a->has_init_version ||
            memcmp(a->init_version, b->init_version, WEFT_DIGEST_BYTES) == 0);
}

static weft_status refuse_submit(weft_core *core, const weft_event *event, weft_status status,
                                 const char *text, weft_err *err)
{
    return core_reply_error(core, event->call, status, text, err);
}

static weft_status reply_job(weft_core *core, uint64_t call, const core_job *job, weft_err *err)
{
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, call, WEFT_REPLY_JOB, err));
    action->u.reply.u.job_id = job->row.job_id;
    return WEFT_OK;
}

static weft_status add_submitted(weft_core *core, const weft_event *event, weft_err *err)
{
    const weft_job_def *def = event->u.submit.def;
    weft_job_row row = {
        .job_id = core->next_job_id,
        .def = def,
        .status = WEFT_JOB_RUNNING,
        .round = 1,
        .has_version = true,
        .model_bytes = event->u.submit.model_bytes,
        .created_unix_ms = event->unix_ms,
    };
    memcpy(row.version, event->u.submit.version, WEFT_DIGEST_BYTES);
    core_job *job = NULL;
    WEFT_TRY(core_job_add(&job, core, &row, err));
    core->next_job_id++;
    core_touch_job(core, job);
    core->has_version = true;
    core->version = (weft_version_row){
        .job_id = row.job_id,
        .bytes = row.model_bytes,
        .created_unix_ms = event->unix_ms,
    };
    memcpy(core->version.digest, row.version, WEFT_DIGEST_BYTES);
    WEFT_TRY(reply_job(core, event->call, job, err));
    WEFT_TRY(core_publish(core, WEFT_ACTION_PUBLISH, job, 0, err));
    return core_notify(core, "job", job, NULL, "", "submitted", err);
}

weft_status core_on_submit(weft_core *core, const weft_event *event, weft_err *err)
{
    const weft_job_def *def = event->u.submit.def;
    char text[WEFT_REASON_BYTES];
    weft_err why = WEFT_ERR_INIT;
    const weft_status valid = weft_job_def_check(def, core->alloc, &why);
    if (valid == WEFT_E_NOMEM) {
        return weft_err_set(err, WEFT_E_NOMEM, 0, __FILE__, __LINE__, "%s", why.msg);
    }
    if (valid != WEFT_OK) {
        return refuse_submit(core, event, valid, why.msg, err);
    }
    /* never fall back to plain updates in silence */
    const weft_status secure =
        weft_secagg_terms_check(def, event->u.submit.model_bytes / sizeof(float), &why);
    if (secure != WEFT_OK) {
        return refuse_submit(core, event, secure, why.msg, err);
    }
    const core_job *known = core_job_named(core, def->name);
    if (known && same_definition(&known->def, def)) {
        return reply_job(core, event->call, known, err);
    }
    if (known) {
        core_text(text, "job %s exists already with another definition: choose another name",
                  def->name);
        return refuse_submit(core, event, WEFT_E_CONFLICT, text, err);
    }
    if (core->n_live >= core->config.max_jobs) {
        core_text(text, "%u jobs run already, the limit: cancel one or wait for its end",
                  core->config.max_jobs);
        return refuse_submit(core, event, WEFT_E_LIMIT, text, err);
    }
    return add_submitted(core, event, err);
}

/* ---- control --------------------------------------------------------------------------------- */

static const char *status_name(weft_job_status status)
{
    static const char *const names[] = {"unknown", "running",  "paused",
                                        "done",    "canceled", "failed"};
    const size_t i = (size_t)status;
    return i < sizeof names / sizeof names[0] ? names[i] : names[0];
}

/* The open round ends with the job: in the open, unless its version is published already. */
static weft_status end_round(weft_core *core, core_job *job, const char *reason, weft_err *err)
{
    if (!job->round) {
        return WEFT_OK;
    }
    if (job->round->row.state == WEFT_ROUND_EVALUATING) {
        return core_round_done(core, job->round, reason, err);
    }
    WEFT_TRY(core_round_fail(core, job->round, reason, WEFT_ASSIGNMENT_REVOKED, err));
    job->row.attempts++;
    core_touch_job(core, job);
    return WEFT_OK;
}

/* given: the operator's words, or NULL */
static weft_status control(weft_core *core, core_job *job, weft_job_status to, const char *given,
                           weft_err *err)
{
    char text[WEFT_REASON_BYTES] = {0};
    if (to == WEFT_JOB_RUNNING) {
        job->row.retry_at_ms = 0;
        return set_status(core, job, to, "", err);
    }
    core_text(text, "%s by the operator%s%s", status_name(to), given && given[0] ? ": " : "",
              given ? given : "");
    if (to == WEFT_JOB_CANCELED) {
        WEFT_TRY(end_round(core, job, text, err));
    }
    return core_job_live(job) ? set_status(core, job, to, text, err) : WEFT_OK;
}

static weft_status no_such_job(weft_core *core, const weft_event *event, const char *name,
                               weft_err *err)
{
    char text[WEFT_REASON_BYTES];
    core_text(text, "there is no job %.64s", name ? name : "");
    return core_reply_error(core, event->call, WEFT_E_NOTFOUND, text, err);
}

weft_status core_on_control(weft_core *core, const weft_event *event, weft_err *err)
{
    core_job *job = core_job_named(core, event->u.control.job);
    const weft_job_status to = event->u.control.to;
    if (!job) {
        return no_such_job(core, event, event->u.control.job, err);
    }
    if (to != WEFT_JOB_PAUSED && to != WEFT_JOB_RUNNING && to != WEFT_JOB_CANCELED) {
        return core_reply_error(core, event->call, WEFT_E_INVALID,
                                "a job can be paused, resumed or canceled", err);
    }
    if (job->row.status != to && !core_job_live(job)) {
        char text[WEFT_REASON_BYTES];
        core_text(text, "job %s is %s", job->def.name, status_name(job->row.status));
        return core_reply_error(core, event->call, WEFT_E_STATE, text, err);
    }
    if (job->row.status != to) {
        WEFT_TRY(control(core, job, to, event->u.control.reason, err));
    }
    weft_action *action = NULL;
    return core_reply(&action, core, event->call, WEFT_REPLY_DONE, err);
}

weft_status core_on_rollback(weft_core *core, const weft_event *event, weft_err *err)
{
    core_job *job = core_job_named(core, event->u.rollback.job);
    if (!job) {
        return no_such_job(core, event, event->u.rollback.job, err);
    }
    weft_action *action = NULL;
    WEFT_TRY(core_reply(&action, core, event->call, WEFT_REPLY_DONE, err));
    if (memcmp(job->row.version, event->u.rollback.version, WEFT_DIGEST_BYTES) == 0) {
        return WEFT_OK; /* the same request again */
    }
    WEFT_TRY(end_round(core, job, "the job was rolled back to another version", err));
    memcpy(job->row.version, event->u.rollback.version, WEFT_DIGEST_BYTES);
    job->row.evals_since_best = 0;
    core_touch_job(core, job);
    WEFT_TRY(core_publish(core, WEFT_ACTION_PUBLISH, job, job->row.rounds_done, err));
    return core_notify(core, "version", job, NULL, "", "rolled back", err);
}
