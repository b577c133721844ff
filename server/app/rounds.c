/* SPDX-License-Identifier: Apache-2.0 */
/* The set of open sums, and what each holds. */
#include "app/rounds_priv.h"

#include <string.h>

/* ---- references ------------------------------------------------------------------------------ */

void round_sum_drop(round_sum *s)
{
    weft_sum_free(s->sum);
    s->sum = NULL;
    weft_masked_sum_free(s->masked);
    s->masked = NULL;
    weft_memory_done(&s->acc);
}

void round_sum_ref(round_sum *s)
{
    (void)atomic_fetch_add(&s->refs, 1); /* the count does not matter */
}

void round_sum_unref(round_sum *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1) {
        return;
    }
    const weft_rounds_host *host = &s->all->host;
    if (s->base_pinned) {
        weft_models_unpin(host->models, s->base);
    }
    if (s->version_pinned) {
        weft_models_unpin(host->models, s->result.version);
    }
    round_sum_drop(s);
    for (uint32_t i = 0; i < ROUND_SUM_MAX_STRIPES; i++) {
        (void)pthread_mutex_destroy(&s->stripes[i]); /* nobody holds it: the last reference */
    }
    (void)pthread_mutex_destroy(&s->lock); /* the same */
    weft_secure_session_unref(s->session);
    weft_job_def_done(&s->def, host->alloc);
    weft_free(host->alloc, s);
}

static void unlink_sum(round_sum *s)
{
    round_sum **at = &s->all->head;
    while (*at && *at != s) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = s->next;
        s->dropped = true;
        round_sum_unref(s);
    }
}

round_sum *round_sum_find(const weft_rounds *rounds, uint64_t job_id, uint32_t round,
                          uint32_t attempt, weft_task task)
{
    round_sum *s = rounds->head;
    while (s &&
           (s->job_id != job_id || s->round != round || s->attempt != attempt || s->task != task)) {
        s = s->next;
    }
    return s;
}

void round_sum_fail(round_sum *s, const weft_err *err)
{
    (void)pthread_mutex_lock(&s->lock); /* not recursive: cannot fail */
    if (s->failure.code == WEFT_OK) {
        s->failure = *err;
        weft_log_line(s->all->host.log, WEFT_LOG_ERROR,
                      "event=aggregation_failed job=%s round=%u attempt=%u error=\"%s\"",
                      s->def.name, s->round, s->attempt, err->msg);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

bool round_sum_has_failed(round_sum *s)
{
    (void)pthread_mutex_lock(&s->lock); /* not recursive: cannot fail */
    const bool failed = s->failure.code != WEFT_OK;
    (void)pthread_mutex_unlock(&s->lock);
    return failed;
}

/* ---- the set of sums ------------------------------------------------------------------------- */

weft_status weft_rounds_new(weft_rounds **ret, const weft_rounds_host *host, weft_err *err)
{
    weft_rounds *rounds = weft_array(host->alloc, 1, sizeof *rounds);
    if (!rounds) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the rounds");
    }
    rounds->host = *host;
    *ret = rounds;
    return WEFT_OK;
}

void weft_rounds_drop_all(weft_rounds *rounds)
{
    while (rounds->head) {
        unlink_sum(rounds->head);
    }
}

void weft_rounds_free(weft_rounds *rounds)
{
    if (rounds) {
        weft_rounds_drop_all(rounds);
        weft_free(rounds->host.alloc, rounds);
    }
}

void weft_rounds_drop(weft_rounds *rounds, uint64_t job_id, uint32_t round, uint32_t attempt,
                      weft_task task)
{
    round_sum *s = round_sum_find(rounds, job_id, round, attempt, task);
    if (s) {
        unlink_sum(s);
    }
}

void weft_rounds_tidy(weft_rounds *rounds)
{
    round_sum *s = rounds->head;
    while (s) {
        round_sum *next = s->next;
        if (s->reported) {
            unlink_sum(s);
        }
        s = next;
    }
}

uint64_t round_sum_elements(const round_sum *s)
{
    return s->session ? weft_secure_session_grid(s->session)->n_words
                      : s->model_bytes / sizeof(float);
}

static uint32_t stripes_for(const weft_rounds *rounds, uint64_t n_params)
{
    const uint64_t useful = (n_params + ROUND_SUM_WINDOW - 1) / ROUND_SUM_WINDOW;
    uint64_t n = rounds->host.n_workers < ROUND_SUM_MAX_STRIPES ? rounds->host.n_workers
                                                                : ROUND_SUM_MAX_STRIPES;
    n = n < useful ? n : useful;
    return n ? (uint32_t)n : 1;
}

weft_status weft_rounds_open(weft_rounds *rounds, const weft_action *action, weft_err *err)
{
    const weft_rounds_host *host = &rounds->host;
    weft_rounds_drop(rounds, action->u.sum.job_id, action->u.sum.round, action->u.sum.attempt,
                     action->u.sum.task);
    round_sum *s = weft_array(host->alloc, 1, sizeof *s);
    if (!s) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a round");
    }
    const weft_status status = weft_job_def_copy(&s->def, action->u.sum.def, host->alloc, err);
    if (status != WEFT_OK) {
        weft_free(host->alloc, s);
        return status;
    }
    s->all = rounds;
    atomic_init(&s->refs, 1);
    s->job_id = action->u.sum.job_id;
    s->round = action->u.sum.round;
    s->attempt = action->u.sum.attempt;
    s->cohort = action->u.sum.cohort;
    s->model_bytes = action->u.sum.model_bytes;
    memcpy(s->base, action->u.sum.base, sizeof s->base);
    s->task = action->u.sum.task;
    s->session = action->u.sum.secure ? weft_secure_session_ref(action->u.sum.secure) : NULL;
    s->n_stripes = stripes_for(rounds, round_sum_elements(s));
    (void)pthread_mutex_init(&s->lock, NULL); /* a plain mutex: cannot fail on Linux */
    for (uint32_t i = 0; i < ROUND_SUM_MAX_STRIPES; i++) {
        (void)pthread_mutex_init(&s->stripes[i], NULL); /* the same */
    }
    s->next = rounds->head;
    rounds->head = s;
    const weft_status pinned = weft_models_pin(host->models, s->base, err);
    s->base_pinned = pinned == WEFT_OK;
    if (pinned != WEFT_OK) {
        unlink_sum(s);
    }
    return pinned;
}
