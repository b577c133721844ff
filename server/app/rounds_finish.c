/* SPDX-License-Identifier: Apache-2.0 */
/* Finishing: the next version of a sum that is whole, the masks taken off first where there are. */
#include "app/rounds_priv.h"

#include "app/next_version.h"

#include <string.h>

static weft_status finish_plain(void *sum, float *next, const float *base, uint64_t first,
                                uint64_t n, weft_err *err)
{
    const round_sum *s = sum;
    return weft_aggregator_find("fedavg")->finish_range(next, base, s->sum, first, n, err);
}

static weft_status finish_masked(void *sum, float *next, const float *base, uint64_t first,
                                 uint64_t n, weft_err *err)
{
    const round_sum *s = sum;
    return weft_masked_finish_range(next, base, s->masked, &s->totals, first, n, err);
}

/* The next weights into memory and into the store; the sum is let go as soon as it is read. */
static weft_status compute(round_sum *s, weft_memory *next, weft_err *err)
{
    const weft_rounds_host *host = &s->all->host;
    if (s->failure.code != WEFT_OK) {
        WEFT_FAIL(err, s->failure.code, "%s", s->failure.msg);
    }
    if (!s->sum && !s->masked) {
        WEFT_FAIL(err, WEFT_E_STATE, "no update was folded");
    }
    weft_rt_blob *base = NULL;
    WEFT_TRY(weft_models_load(host->models, &base, s->base, err));
    weft_status status = WEFT_OK;
    if (weft_rt_blob_size(base) != s->model_bytes) {
        status = weft_err_set(err, WEFT_E_INTERNAL, 0, __FILE__, __LINE__,
                              "the base version has another size");
    } else {
        const weft_next_version v = {.store = host->store,
                                     .finish = s->masked ? finish_masked : finish_plain,
                                     .sum = s,
                                     .n_params = s->model_bytes / sizeof(float),
                                     .acc = &s->acc,
                                     .acc_width = s->masked ? sizeof(uint32_t) : sizeof(int64_t),
                                     .base = (const void *)weft_rt_blob_data(base),
                                     .model_spec = s->def.model_spec,
                                     .data_schema = s->def.data_schema,
                                     .pool = host->pool,
                                     .alloc = host->alloc};
        status = weft_next_version_make(next, s->result.version, &v, err);
        s->result.bytes = s->model_bytes;
    }
    weft_models_put(host->models, s->base, base);
    round_sum_drop(s);
    return status;
}

/* In the store; now for those who will fetch it. */
static weft_status keep(round_sum *s, weft_memory *next, weft_err *err)
{
    const weft_rounds_host *host = &s->all->host;
    weft_rt_blob *blob = NULL;
    WEFT_TRY(weft_models_pin(host->models, s->result.version, err));
    s->version_pinned = true;
    WEFT_TRY(weft_memory_to_blob(&blob, next, err));
    weft_models_offer(host->models, s->result.version, blob);
    return WEFT_OK;
}

static weft_status make_version(round_sum *s, weft_err *err)
{
    weft_memory next = {0};
    weft_status status = compute(s, &next, err);
    if (status == WEFT_OK) {
        status = keep(s, &next, err);
    }
    weft_memory_done(&next);
    return status;
}

static weft_status finish_unmasked(round_sum *s, const weft_unmask_result *result, weft_err *err)
{
    memcpy(s->liars, result->liars, sizeof s->liars);
    s->result.liars = s->liars;
    if (result->failure.code != WEFT_OK) {
        WEFT_FAIL(err, result->failure.code, "%s%s%s", result->failure.msg,
                  s->liars[0] ? "; wrong shares of: " : "", s->liars);
    }
    WEFT_TRY(weft_masked_sum_totals(&s->totals, s->masked, err));
    s->result.totals = &s->totals;
    if (s->task == WEFT_TASK_EVALUATE) {
        round_sum_drop(s);
        return WEFT_OK;
    }
    return make_version(s, err);
}

static void report(round_sum *s, weft_status status, const weft_err *why)
{
    const weft_rounds_host *host = &s->all->host; /* outlives s */
    s->result.ok = status == WEFT_OK;
    if (status != WEFT_OK) {
        round_sum_fail(s, why);
    }
    if (!host->post(host->self, &s->item)) {
        round_sum_unref(s);
    }
    weft_store_model_tidy(host->store); /* now that nobody waits */
}

static void unmasked(void *self, const weft_unmask_result *result)
{
    round_sum *s = self;
    weft_err err = WEFT_ERR_INIT;
    const weft_status status = finish_unmasked(s, result, &err);
    report(s, status, &err);
}

static weft_status start_unmask(round_sum *s, weft_err *err)
{
    const weft_rounds_host *host = &s->all->host;
    if (s->failure.code != WEFT_OK) {
        WEFT_FAIL(err, s->failure.code, "%s", s->failure.msg);
    }
    if (!s->masked) {
        WEFT_FAIL(err, WEFT_E_STATE, "no update was folded");
    }
    const weft_unmask_config config = {.session = s->session,
                                       .words = weft_masked_sum_words(s->masked),
                                       .n_words = round_sum_elements(s),
                                       .pool = host->pool,
                                       .n_workers = host->n_workers,
                                       .alloc = host->alloc,
                                       .done = unmasked,
                                       .self = s};
    return weft_unmask_start(&config, err);
}

static void run_finish(weft_rt_job *job)
{
    round_sum *s = (void *)((char *)job - offsetof(round_sum, job));
    weft_err err = WEFT_ERR_INIT;
    if (s->session) {
        const weft_status status = start_unmask(s, &err);
        if (status != WEFT_OK) {
            report(s, status, &err);
        }
        return;
    }
    const weft_status status = make_version(s, &err);
    report(s, status, &err);
}

static void run_finished(weft_item *item, void *owner)
{
    round_sum *s = (void *)((char *)item - offsetof(round_sum, item));
    if (!s->dropped) {
        s->result.reason = s->result.ok ? NULL : s->failure.msg;
        s->reported = true;
        s->all->host.finished(owner, &s->result);
    }
    round_sum_unref(s);
}

void round_sum_start_finish(round_sum *s)
{
    s->finishing = true;
    s->result.job_id = s->job_id;
    s->result.round = s->round;
    s->result.attempt = s->attempt;
    s->result.task = s->task;
    s->job.run = run_finish;
    s->item.run = run_finished;
    round_sum_ref(s);
    if (!weft_rt_pool_submit(s->all->host.pool, &s->job)) {
        round_sum_unref(s); /* stopping: the next start does it again */
    }
}

weft_status weft_rounds_finish(weft_rounds *rounds, const weft_action *action, weft_err *err)
{
    round_sum *s = round_sum_find(rounds, action->u.sum.job_id, action->u.sum.round,
                                  action->u.sum.attempt, action->u.sum.task);
    if (!s) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no sum is open for round %u", action->u.sum.round);
    }
    s->finish_due = true;
    if (s->folding == 0 && !s->finishing) {
        round_sum_start_finish(s);
    }
    return WEFT_OK;
}
