/* SPDX-License-Identifier: Apache-2.0 */
/* Job definitions: defaults, copies, ranges. Pure; any thread. */
#include "model/job.h"

#include "base/file.h"
#include "model/metric.h"
#include "model/spec.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const uint64_t second_ms = 1000;
static const uint64_t day_ms = UINT64_C(24) * 3600 * 1000;
static const uint64_t week_ms = UINT64_C(7) * 24 * 3600 * 1000;

void weft_job_def_init(weft_job_def *def)
{
    memset(def, 0, sizeof *def);
    def->task = WEFT_TASK_TRAIN;
    def->plan = (weft_plan)WEFT_PLAN_INIT;
    def->target = 10;
    def->minimum = 3;
    def->over_selection = 1.3;
    def->deadline_ms = 600 * second_ms;
    def->lease_ms = 60 * second_ms;
    def->max_attempts = 5;
    def->backoff_ms = 5 * second_ms;
    def->selection_window_ms = 5 * second_ms;
    def->aggregation = WEFT_AGGREGATION_FEDAVG;
    /* The grid of a secure sum is as fine as these two are small. One client's delta of the MNIST
     * models has a norm of 1.5 to 6.5 in its first round and less later
     * (docs/secure-aggregation.md); hospitals and devices of the literature hold hundreds to
     * thousands of examples. */
    def->clip_norm = 10.0;
    def->max_examples = 10000;
    def->durability = WEFT_DURABILITY_UPDATE;
    def->secure_aggregation = WEFT_SECURE_BY_DEFAULT;
    def->secure = (weft_job_secure){WEFT_ADVERSARY_ACTIVE, 0.05, 0.1, 1, 120 * second_ms};
    def->eval_every = 1;
    def->eval_deadline_ms = 300 * second_ms;
    def->rounds = 100;
    def->init_seed = 1;
    def->seed = 1;
}

void weft_job_def_done(weft_job_def *def, const weft_alloc *a)
{
    if (def) {
        weft_free(a, def->model_spec);
        weft_free(a, def->data_schema);
        weft_free(a, def->eval_data);
        def->model_spec = NULL;
        def->data_schema = NULL;
        def->eval_data = NULL;
    }
}

static weft_status copy_text(char **ret, const char *text, const weft_alloc *a, weft_err *err)
{
    if (!text) {
        *ret = NULL;
        return WEFT_OK;
    }
    *ret = weft_string_copy(a, text, strlen(text));
    if (!*ret) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a job definition");
    }
    return WEFT_OK;
}

static weft_status copy_texts(weft_job_def *copy, const weft_job_def *def, const weft_alloc *a,
                              weft_err *err)
{
    WEFT_TRY(copy_text(&copy->model_spec, def->model_spec, a, err));
    WEFT_TRY(copy_text(&copy->data_schema, def->data_schema, a, err));
    return copy_text(&copy->eval_data, def->eval_data, a, err);
}

weft_status weft_job_def_copy(weft_job_def *out, const weft_job_def *def, const weft_alloc *a,
                              weft_err *err)
{
    weft_job_def copy = *def;
    copy.model_spec = NULL;
    copy.data_schema = NULL;
    copy.eval_data = NULL;
    const weft_status status = copy_texts(&copy, def, a, err);
    if (status != WEFT_OK) {
        weft_job_def_done(&copy, a);
        return status;
    }
    *out = copy;
    return WEFT_OK;
}

uint32_t weft_job_def_cohort(const weft_job_def *def)
{
    const double cohort = ceil((double)def->target * def->over_selection);
    return cohort > (double)WEFT_MAX_COHORT ? WEFT_MAX_COHORT : (uint32_t)cohort;
}

static weft_status whole(const char *field, uint64_t value, uint64_t min, uint64_t max,
                         weft_err *err)
{
    if (value < min || value > max) {
        WEFT_FAIL(err, WEFT_E_INVALID, "%s is %llu, outside %llu to %llu", field,
                  (unsigned long long)value, (unsigned long long)min, (unsigned long long)max);
    }
    return WEFT_OK;
}

static weft_status check_texts(const weft_job_def *def, const weft_alloc *a, weft_err *err)
{
    if (!weft_name_valid(def->name)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "name is '%.64s', not 1 to %d of A-Z a-z 0-9 . _ -",
                  def->name, WEFT_MAX_NAME_BYTES);
    }
    if (!weft_name_valid(def->dataset)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "dataset is '%.64s', not 1 to %d of A-Z a-z 0-9 . _ -",
                  def->dataset, WEFT_MAX_NAME_BYTES);
    }
    if (!def->model_spec) {
        WEFT_FAIL(err, WEFT_E_INVALID, "model is missing");
    }
    weft_spec *spec = NULL;
    weft_err detail = WEFT_ERR_INIT;
    weft_status status =
        weft_spec_parse(&spec, def->model_spec, strlen(def->model_spec), a, &detail);
    if (status != WEFT_OK) {
        return weft_err_set(err, status, 0, __FILE__, __LINE__, "model: %s", detail.msg);
    }
    if (def->task == WEFT_TASK_TRAIN) { /* a stats job has a train job's plan and its own model */
        status = weft_plan_check_model(&def->plan, spec, err);
    }
    weft_spec_free(spec);
    WEFT_TRY(status);
    if (def->data_schema && strlen(def->data_schema) > WEFT_MAX_SCHEMA_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "data schema: %zu bytes are more than %u",
                  strlen(def->data_schema), WEFT_MAX_SCHEMA_BYTES);
    }
    return WEFT_OK;
}

static weft_status check_round(const weft_job_def *def, weft_err *err)
{
    WEFT_TRY(whole("round.target", def->target, 1, WEFT_MAX_COHORT, err));
    WEFT_TRY(whole("round.minimum", def->minimum, 1, WEFT_MAX_COHORT, err));
    if (def->minimum > def->target) {
        WEFT_FAIL(err, WEFT_E_INVALID, "round.minimum is %u, above round.target %u", def->minimum,
                  def->target);
    }
    if (!(def->over_selection >= 1.0 && def->over_selection <= 4.0)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "round.over_selection is %g, outside 1 to 4",
                  def->over_selection);
    }
    WEFT_TRY(whole("round.deadline_ms", def->deadline_ms, second_ms, week_ms, err));
    WEFT_TRY(whole("round.lease_ms", def->lease_ms, second_ms, week_ms, err));
    if (def->lease_ms > def->deadline_ms) {
        WEFT_FAIL(err, WEFT_E_INVALID, "round.lease_ms is %llu, above round.deadline_ms %llu",
                  (unsigned long long)def->lease_ms, (unsigned long long)def->deadline_ms);
    }
    WEFT_TRY(whole("round.max_attempts", def->max_attempts, 1, 1000, err));
    WEFT_TRY(whole("round.backoff_ms", def->backoff_ms, 0, week_ms, err));
    return whole("round.selection_window_ms", def->selection_window_ms, 0, week_ms, err);
}

static weft_status check_aggregation(const weft_job_def *def, weft_err *err)
{
    if (def->aggregation != WEFT_AGGREGATION_FEDAVG) {
        WEFT_FAIL(err, WEFT_E_INVALID, "aggregation is %d, not fedavg", (int)def->aggregation);
    }
    if (!(def->clip_norm > 0.0 && def->clip_norm <= 1e6)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "aggregation.clip_norm is %g, outside (0, 1e6]",
                  def->clip_norm);
    }
    if (def->durability != WEFT_DURABILITY_UPDATE && def->durability != WEFT_DURABILITY_ROUND) {
        WEFT_FAIL(err, WEFT_E_INVALID, "durability is %d, neither update nor round",
                  (int)def->durability);
    }
    if (def->keep_updates > 0 && def->secure_aggregation) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "aggregation.keep_updates is %u and aggregation.secure is true: nobody but its "
                  "client ever holds an update of such a job, so there is none to keep",
                  def->keep_updates);
    }
    WEFT_TRY(whole("aggregation.keep_updates", def->keep_updates, 0, WEFT_MAX_KEEP_UPDATES, err));
    return whole("aggregation.max_examples", def->max_examples, 1, WEFT_MAX_EXAMPLES, err);
}

static weft_status check_secure_policy(const weft_job_secure *s, weft_err *err)
{
    if (s->adversary != WEFT_ADVERSARY_CURIOUS && s->adversary != WEFT_ADVERSARY_ACTIVE) {
        WEFT_FAIL(err, WEFT_E_INVALID, "secure.adversary is %d, neither curious nor active",
                  (int)s->adversary);
    }
    if (!(s->gamma >= 0.0 && s->gamma <= 0.9)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "secure.gamma is %g, outside 0 to 0.9", s->gamma);
    }
    if (!(s->delta >= 0.0 && s->delta <= 0.9)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "secure.delta is %g, outside 0 to 0.9", s->delta);
    }
    const bool active = s->adversary == WEFT_ADVERSARY_ACTIVE;
    const double sum = s->gamma + (active ? 2.0 : 1.0) * s->delta;
    if (sum > 0.9) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "secure.gamma + %ssecure.delta is %g, above 0.9: no threshold serves both; lower "
                  "one",
                  active ? "2 * " : "", sum);
    }
    return whole("secure.phase_deadline_ms", s->phase_deadline_ms, second_ms, day_ms, err);
}

/* A number of clients that are summed: too few of them, and the sum tells on its members. */
static weft_status check_summed(const char *field, uint32_t n, const weft_job_def *def,
                                weft_err *err)
{
    if (n < WEFT_SECURE_MIN_COHORT) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "%s is %u, a secure sum of fewer than %u clients hides nobody: raise it, or "
                  "write aggregation: {secure: false}",
                  field, n, WEFT_SECURE_MIN_COHORT);
    }
    if (def->secure.min_colluders + 1 >= n) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "secure.min_colluders is %u, but of %s %u clients at least 2 must be honest: "
                  "lower the one or raise the other",
                  def->secure.min_colluders, field, n);
    }
    return WEFT_OK;
}

static weft_status check_secure(const weft_job_def *def, weft_err *err)
{
    if (!def->secure_aggregation) {
        return WEFT_OK;
    }
    WEFT_TRY(check_secure_policy(&def->secure, err));
    WEFT_TRY(check_summed("round.target", def->target, def, err)); /* minimum follows it */
    WEFT_TRY(check_summed("round.minimum", def->minimum, def, err));
    return def->eval_clients > 0 ? check_summed("evaluation.clients", def->eval_clients, def, err)
                                 : WEFT_OK;
}

static weft_status check_stop(const weft_job_def *def, weft_err *err)
{
    WEFT_TRY(whole("stop.rounds", def->rounds, 1, 1000000, err));
    if (def->target_metric[0] != '\0') {
        weft_metrics probe = {0};
        weft_err detail = WEFT_ERR_INIT;
        const weft_status status =
            weft_metrics_set(&probe, def->target_metric, def->target_value, &detail);
        if (status != WEFT_OK) {
            return weft_err_set(err, status, 0, __FILE__, __LINE__, "stop: %s", detail.msg);
        }
    }
    const bool measured = def->eval_clients > 0 || def->eval_data;
    if ((def->patience > 0 || def->target_metric[0] != '\0') && !measured) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "stop.%s needs an evaluation: set evaluation.clients or evaluation.data",
                  def->patience > 0 ? "patience" : "target_metric");
    }
    return WEFT_OK;
}

weft_status weft_job_def_check(const weft_job_def *def, const weft_alloc *a, weft_err *err)
{
    if (def->task != WEFT_TASK_TRAIN && def->task != WEFT_TASK_STATS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "task is %d, neither train nor stats", (int)def->task);
    }
    WEFT_TRY(weft_plan_check(&def->plan, err));
    WEFT_TRY(check_texts(def, a, err));
    if (def->task == WEFT_TASK_STATS && !def->data_schema) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a stats job needs a data schema");
    }
    WEFT_TRY(check_round(def, err));
    WEFT_TRY(check_aggregation(def, err));
    WEFT_TRY(whole("evaluation.clients", def->eval_clients, 0, WEFT_MAX_COHORT, err));
    WEFT_TRY(whole("evaluation.every", def->eval_every, 1, 1000000, err));
    WEFT_TRY(whole("evaluation.deadline_ms", def->eval_deadline_ms, second_ms, week_ms, err));
    WEFT_TRY(check_secure(def, err));
    return check_stop(def, err);
}
