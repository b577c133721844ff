/* SPDX-License-Identifier: Apache-2.0 */
/* The terms of an assignment. */
#include "secagg/terms.h"

#include <string.h>

/* What the engine measures; a job may watch one more. */
static const char *const measured[] = {"accuracy", "loss"};
enum { N_MEASURED = 2 };

static void add_name(char *out, const char *name)
{
    const size_t used = strlen(out);
    const size_t n = strlen(name);
    const size_t blank = used > 0;
    if (used + blank + n > WEFT_SECAGG_METRICS_BYTES) {
        return; /* never: two short names and one of WEFT_MAX_METRIC_NAME_BYTES */
    }
    if (blank) {
        out[used] = ' ';
    }
    memcpy(out + used + blank, name, n + 1);
}

static void name_metrics(char out[WEFT_SECAGG_METRICS_BYTES + 1], const char *watched)
{
    bool pending = watched[0] != '\0';
    memset(out, 0, WEFT_SECAGG_METRICS_BYTES + 1);
    for (int i = 0; i < N_MEASURED; i++) {
        const int order = pending ? strcmp(watched, measured[i]) : 1;
        if (order < 0) {
            add_name(out, watched);
        }
        pending = pending && order > 0;
        add_name(out, measured[i]);
    }
    if (pending) {
        add_name(out, watched);
    }
}

void weft_secagg_terms_make(weft_secagg_terms *ret, const weft_job_def *def, weft_task task)
{
    const bool evaluate = task == WEFT_TASK_EVALUATE;
    memset(ret, 0, sizeof *ret);
    ret->policy = (weft_secagg_policy){
        .adversary = def->secure.adversary == WEFT_ADVERSARY_CURIOUS ? WEFT_SECAGG_CURIOUS
                                                                     : WEFT_SECAGG_ACTIVE,
        .gamma = def->secure.gamma,
        .delta = def->secure.delta,
        .min_colluders = def->secure.min_colluders,
        .min_cohort = def->minimum,
    };
    if (evaluate && def->eval_clients < def->minimum) {
        ret->policy.min_cohort = def->eval_clients;
    }
    ret->phase_deadline_ms = def->secure.phase_deadline_ms;
    ret->max_cohort = evaluate ? def->eval_clients : def->target;
    name_metrics(ret->metrics, def->target_metric);
}
