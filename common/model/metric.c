/* SPDX-License-Identifier: Apache-2.0 */
/* Named metrics and their weighted means. Pure; any thread. */
#include "model/metric.h"

#include <math.h>
#include <string.h>

static bool name_valid(const char *name)
{
    const size_t n = strnlen(name, WEFT_MAX_METRIC_NAME_BYTES + 1);
    if (n == 0 || n > WEFT_MAX_METRIC_NAME_BYTES) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const char c = name[i];
        const bool first = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        const bool other = (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
        if (!first && (i == 0 || !other)) {
            return false;
        }
    }
    return true;
}

static uint32_t find(const weft_metrics *m, const char *name)
{
    uint32_t i = 0;
    while (i < m->n && strcmp(m->item[i].name, name) != 0) {
        i++;
    }
    return i;
}

static weft_status check_item(const char *name, double value, weft_err *err)
{
    if (!name_valid(name)) {
        WEFT_FAIL(err, WEFT_E_INVALID,
                  "the metric name '%.40s' is not 1 to %d of A-Z a-z 0-9 _ . - from a letter", name,
                  WEFT_MAX_METRIC_NAME_BYTES);
    }
    if (!isfinite(value)) {
        WEFT_FAIL(err, WEFT_E_INVALID, "the metric %s is not finite", name);
    }
    return WEFT_OK;
}

weft_status weft_metrics_set(weft_metrics *m, const char *name, double value, weft_err *err)
{
    WEFT_TRY(check_item(name, value, err));
    const uint32_t i = find(m, name);
    if (i == WEFT_MAX_METRICS) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "more than %d metrics", WEFT_MAX_METRICS);
    }
    if (i == m->n) {
        memset(m->item[i].name, 0, sizeof m->item[i].name);
        memcpy(m->item[i].name, name, strlen(name));
        m->n++;
    }
    m->item[i].value = value;
    return WEFT_OK;
}

bool weft_metrics_get(const weft_metrics *m, const char *name, double *ret_value)
{
    const uint32_t i = find(m, name);
    if (i == m->n) {
        return false;
    }
    *ret_value = m->item[i].value;
    return true;
}

weft_status weft_metrics_check(const weft_metrics *m, weft_err *err)
{
    if (m->n > WEFT_MAX_METRICS) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "%u metrics are more than %d", m->n, WEFT_MAX_METRICS);
    }
    for (uint32_t i = 0; i < m->n; i++) {
        /* the name may lack its zero: it may come from a peer */
        WEFT_TRY(
            check_item(memchr(m->item[i].name, 0, sizeof m->item[i].name) ? m->item[i].name : "",
                       m->item[i].value, err));
        if (find(m, m->item[i].name) != i) {
            WEFT_FAIL(err, WEFT_E_INVALID, "the metric %s is given twice", m->item[i].name);
        }
    }
    return WEFT_OK;
}

void weft_metrics_mean_add(weft_metrics_mean *mean, const weft_metrics *m, uint64_t n_examples)
{
    for (uint32_t k = 0; k < m->n; k++) {
        const uint32_t i = find(&mean->sum, m->item[k].name);
        if (i == WEFT_MAX_METRICS) {
            continue; /* the first names win: clients that report others cannot push them out */
        }
        if (i == mean->sum.n) {
            mean->sum.n++;
            mean->sum.item[i] = m->item[k];
            mean->sum.item[i].value = 0.0;
            mean->weight[i] = 0.0;
        }
        mean->sum.item[i].value += m->item[k].value * (double)n_examples;
        mean->weight[i] += (double)n_examples;
    }
}

void weft_metrics_mean_get(const weft_metrics_mean *mean, weft_metrics *ret)
{
    memset(ret, 0, sizeof *ret);
    for (uint32_t i = 0; i < mean->sum.n; i++) {
        const double value = mean->sum.item[i].value / mean->weight[i];
        if (isfinite(value)) { /* sums of huge values may overflow; no weight at all is NaN */
            ret->item[ret->n] = mean->sum.item[i];
            ret->item[ret->n].value = value;
            ret->n++;
        }
    }
}
