/* SPDX-License-Identifier: Apache-2.0 */
/* The grid that the terms of an assignment stand for, and whether a job's terms can be met. */
#include "secagg/terms.h"

#include <string.h>

/* Names apart, as many as the layout holds. */
static weft_status split_metrics(weft_fixed_layout *layout, const char *names, weft_err *err)
{
    while (*names) {
        const size_t n = strcspn(names, " ");
        const bool more = names[n] == ' ';
        if (n == 0 || n > WEFT_MAX_METRIC_NAME_BYTES || layout->n_metrics == WEFT_MAX_METRICS ||
            (more && names[n + 1] == '\0')) {
            WEFT_FAIL(err, WEFT_E_INVALID, "metric %u of the secure terms is no name of 1 to %d",
                      (unsigned)layout->n_metrics + 1, WEFT_MAX_METRIC_NAME_BYTES);
        }
        memcpy(layout->metrics[layout->n_metrics], names, n);
        layout->n_metrics++;
        names += n + more;
    }
    return WEFT_OK;
}

weft_status weft_secagg_terms_grid(weft_fixed_grid *ret, const weft_secagg_terms *terms,
                                   weft_task task, uint64_t n_params, double clip_norm,
                                   uint64_t max_examples, weft_err *err)
{
    weft_fixed_layout layout;
    memset(&layout, 0, sizeof layout);
    layout.n_params = task == WEFT_TASK_EVALUATE ? 0 : n_params;
    layout.exact = task == WEFT_TASK_STATS;
    layout.cohort = terms->max_cohort;
    layout.clip_norm = clip_norm;
    layout.max_examples = max_examples;
    WEFT_TRY(split_metrics(&layout, terms->metrics, err));
    return weft_fixed_grid_make(ret, &layout, err);
}

static weft_status check_task(const weft_job_def *def, weft_task task, uint64_t n_params,
                              weft_err *err)
{
    weft_secagg_terms terms;
    weft_fixed_grid grid;
    weft_secagg_params params;
    weft_secagg_terms_make(&terms, def, task);
    WEFT_TRY(weft_secagg_terms_grid(&grid, &terms, task, n_params, def->clip_norm,
                                    def->max_examples, err));
    WEFT_TRY(weft_secagg_params_find(&params, terms.policy.min_cohort, &terms.policy, err));
    return weft_secagg_params_find(&params, terms.max_cohort, &terms.policy, err);
}

weft_status weft_secagg_terms_check(const weft_job_def *def, uint64_t n_params, weft_err *err)
{
    if (!def->secure_aggregation) {
        return WEFT_OK;
    }
    WEFT_TRY(check_task(def, def->task, n_params, err));
    return def->eval_clients > 0 ? check_task(def, WEFT_TASK_EVALUATE, n_params, err) : WEFT_OK;
}
