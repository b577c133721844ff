/* SPDX-License-Identifier: Apache-2.0 */
/* The owner's policy and the sanity of assignments. Called by session.c; pure. */
#include "policy.h"

#include <math.h>
#include <string.h>

/* The next entry of a comma-separated list, without the spaces around it. */
static bool next_entry(const char **at, const char **ret_entry, size_t *ret_size)
{
    const char *p = *at;
    if (!p) {
        return false;
    }
    const char *comma = strchr(p, ',');
    size_t n = comma ? (size_t)(comma - p) : strlen(p);
    *at = comma ? comma + 1 : NULL;
    while (n > 0 && *p == ' ') {
        p++;
        n--;
    }
    while (n > 0 && p[n - 1] == ' ') {
        n--;
    }
    *ret_entry = p;
    *ret_size = n;
    return true;
}

weft_status weft_policy_check_jobs(const char *allowed_jobs, weft_err *err)
{
    if (allowed_jobs &&
        strnlen(allowed_jobs, WEFT_POLICY_MAX_JOBS_BYTES + 1) > WEFT_POLICY_MAX_JOBS_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the list of allowed jobs is longer than %d bytes",
                  WEFT_POLICY_MAX_JOBS_BYTES);
    }
    const char *entry = NULL;
    size_t n = 0;
    for (const char *at = allowed_jobs; next_entry(&at, &entry, &n);) {
        const char *star = memchr(entry, '*', n);
        if (n == 0 || n > WEFT_MAX_NAME_BYTES + 1 || (star && star != entry + n - 1)) {
            WEFT_FAIL(err, WEFT_E_INVALID,
                      "'%.*s' in the list of allowed jobs is neither a name nor a prefix with '*' "
                      "at its end",
                      (int)(n < 80 ? n : 80), entry);
        }
    }
    return WEFT_OK;
}

bool weft_session_job_allowed(const char *allowed_jobs, const char *job)
{
    if (!allowed_jobs) {
        return true;
    }
    const size_t job_size = strlen(job);
    const char *entry = NULL;
    size_t n = 0;
    for (const char *at = allowed_jobs; next_entry(&at, &entry, &n);) {
        if (n > 0 && entry[n - 1] == '*') {
            if (job_size >= n - 1 && memcmp(job, entry, n - 1) == 0) {
                return true;
            }
        } else if (n == job_size && memcmp(job, entry, n) == 0) {
            return true;
        }
    }
    return false;
}

weft_secagg_policy weft_policy_owner(const weft_session_config *config)
{
    weft_secagg_policy owner = WEFT_SECAGG_POLICY_INIT;
    owner.adversary = config->adversary;
    owner.gamma = config->gamma;
    if (config->min_cohort > owner.min_cohort) {
        owner.min_cohort = config->min_cohort;
    }
    return owner;
}

/* Only what the coordinator could make weaker; the rest of the protocol checks itself. */
static weft_status check_secure(const weft_session_config *config, const weft_session_assignment *a,
                                weft_err *err)
{
    const weft_secagg_policy owner = weft_policy_owner(config);
    WEFT_TRY(weft_secagg_policy_check(&a->secure.policy, err));
    if (!weft_secagg_policy_covers(&a->secure.policy, &owner)) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "secure aggregation against %s coordinators, gamma %g, %u colluders, %u clients "
                  "or more; this client wants %s, %g, %u, %u",
                  a->secure.policy.adversary == WEFT_SECAGG_ACTIVE ? "active" : "curious",
                  a->secure.policy.gamma, a->secure.policy.min_colluders,
                  a->secure.policy.min_cohort,
                  owner.adversary == WEFT_SECAGG_ACTIVE ? "active" : "curious", owner.gamma,
                  owner.min_colluders, owner.min_cohort);
    }
    weft_fixed_grid grid;
    return weft_session_grid(&grid, a, err);
}

static weft_status check_owner(const weft_session_config *config, const weft_session_assignment *a,
                               weft_err *err)
{
    if (!weft_session_job_allowed(config->allowed_jobs, a->job)) {
        WEFT_FAIL(err, WEFT_E_AUTH, "job %s is not among the jobs that this client allows", a->job);
    }
    if (a->cohort < config->min_cohort) {
        WEFT_FAIL(err, WEFT_E_AUTH, "a cohort of %u, this client takes part in %u or more",
                  a->cohort, config->min_cohort);
    }
    if (config->require_secure_aggregation && !a->secure_aggregation) {
        WEFT_FAIL(err, WEFT_E_AUTH,
                  "no secure aggregation, this client takes part only where it is on");
    }
    return WEFT_OK;
}

static weft_status check_numbers(const weft_session_assignment *a, weft_err *err)
{
    if (a->assignment_id == 0 || a->round == 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "an assignment without number or round");
    }
    if (a->base_bytes == 0 || a->base_bytes % 4 != 0 || a->base_bytes / 4 > WEFT_MAX_PARAMS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a base version of %llu bytes",
                  (unsigned long long)a->base_bytes);
    }
    if (!isfinite(a->clip_norm) || a->clip_norm <= 0.0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "a clip norm of %g, it must be above 0", a->clip_norm);
    }
    if (a->max_examples == 0 || a->max_examples > WEFT_MAX_EXAMPLES) {
        WEFT_FAIL(err, WEFT_E_INVALID, "max_examples %llu, it must be 1 to %llu",
                  (unsigned long long)a->max_examples, (unsigned long long)WEFT_MAX_EXAMPLES);
    }
    return WEFT_OK;
}

weft_status weft_policy_check(const weft_session_config *config, const weft_session_assignment *a,
                              weft_err *err)
{
    WEFT_TRY(check_owner(config, a, err));
    if (a->secure_aggregation && !config->secure) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "secure aggregation is asked for, which this client does not speak yet");
    }
    if (a->task != WEFT_TASK_TRAIN && a->task != WEFT_TASK_EVALUATE && a->task != WEFT_TASK_STATS) {
        WEFT_FAIL(err, WEFT_E_INVALID, "task %d is of a newer weft", (int)a->task);
    }
    if (strcmp(a->encoding, a->secure_aggregation ? WEFT_FIXED_ENCODING : "f32") != 0) {
        WEFT_FAIL(err, WEFT_E_INVALID, "encoding %s is of a newer weft", a->encoding);
    }
    WEFT_TRY(check_numbers(a, err));
    if (a->secure_aggregation) {
        WEFT_TRY(check_secure(config, a, err));
    }
    WEFT_TRY(weft_plan_check(&a->plan, err));
    for (uint32_t i = 0; i < config->n_datasets; i++) {
        if (strcmp(config->datasets[i].name, a->dataset) == 0) {
            return WEFT_OK;
        }
    }
    WEFT_FAIL(err, WEFT_E_INVALID, "data set %s is not offered here", a->dataset);
}
