/* SPDX-License-Identifier: Apache-2.0 */
/* Folding: a spooled update is added by stripes, on the workers. */
#include "app/rounds_priv.h"

typedef struct fold {
    weft_item item; /* first */
    round_sum *sum; /* referenced */
    uint64_t assignment_id;
    uint64_t n_examples;
    weft_view view;
    atomic_uint stripes_left;
    uint32_t n_stripes;
    struct fold_part {
        weft_rt_job job; /* first */
        struct fold *fold;
        uint32_t index;
    } part[ROUND_SUM_MAX_STRIPES];
} fold;

static void add_window(const fold *f, uint64_t first, uint64_t n)
{
    weft_sum *sum = f->sum->sum;
    const uint8_t *bytes = f->view.data + first * sizeof(float);
    if (f->sum->masked) {
        weft_masked_sum_add_range(f->sum->masked, bytes, first, n);
        weft_spool_unload(&f->view, (size_t)first * sizeof(uint32_t), (size_t)n * sizeof(uint32_t));
        return;
    }
    const float *values = weft_codec_f32.view(bytes);
    float block[WEFT_CODEC_MAX_BLOCK_VALUES];
    if (values) {
        weft_sum_add_range(sum, values, first, n, f->n_examples);
    }
    for (uint64_t at = 0; !values && at < n; at += WEFT_CODEC_MAX_BLOCK_VALUES) {
        const uint64_t left =
            n - at < WEFT_CODEC_MAX_BLOCK_VALUES ? n - at : WEFT_CODEC_MAX_BLOCK_VALUES;
        /* f32 decodes every pattern, and its size is right: validated before */
        (void)weft_codec_f32.decode(block, (size_t)left, bytes + at * sizeof(float),
                                    (size_t)left * sizeof(float), NULL);
        weft_sum_add_range(sum, block, first + at, left, f->n_examples);
    }
    weft_spool_unload(&f->view, (size_t)first * sizeof(float), (size_t)n * sizeof(float));
}

/* One stripe of one update. */
static void add_stripe(fold *f, uint32_t index)
{
    round_sum *s = f->sum;
    const uint64_t n_params = round_sum_elements(s);
    const uint64_t windows = (n_params + ROUND_SUM_WINDOW - 1) / ROUND_SUM_WINDOW;
    const uint64_t from = windows * index / f->n_stripes;
    const uint64_t to = windows * (index + 1) / f->n_stripes;
    (void)pthread_mutex_lock(&s->stripes[index]); /* not recursive: cannot fail */
    for (uint64_t w = from; w < to; w++) {
        const uint64_t first = w * ROUND_SUM_WINDOW;
        add_window(f, first,
                   n_params - first < ROUND_SUM_WINDOW ? n_params - first : ROUND_SUM_WINDOW);
    }
    (void)pthread_mutex_unlock(&s->stripes[index]);
}

static void finish_part(fold *f)
{
    if (atomic_fetch_sub(&f->stripes_left, 1) == 1) {
        const weft_rounds_host *host = &f->sum->all->host;
        weft_spool_unmap(&f->view);
        if (!host->post(host->self, &f->item)) {
            round_sum_unref(f->sum);
            weft_free(host->alloc, f);
        }
    }
}

static void run_stripe(weft_rt_job *job)
{
    struct fold_part *part = (struct fold_part *)(void *)job; /* its first member */
    fold *f = part->fold;
    add_stripe(f, part->index);
    finish_part(f);
}

static weft_status make_masked_locked(round_sum *s, weft_err *err)
{
    const weft_rounds_host *host = &s->all->host;
    const weft_fixed_grid *grid = weft_secure_session_grid(s->session);
    WEFT_TRY(weft_memory_take_zeros(&s->acc, grid->n_words * sizeof(uint32_t),
                                    weft_store_dir(host->store), host->alloc, err));
    const weft_status status =
        weft_masked_sum_new_over(&s->masked, s->acc.data, grid, host->alloc, err);
    if (status != WEFT_OK) {
        weft_memory_done(&s->acc);
    }
    return status;
}

static weft_status make_sum_locked(round_sum *s, weft_err *err)
{
    const weft_rounds_host *host = &s->all->host;
    if (s->session) {
        return make_masked_locked(s, err);
    }
    const uint64_t n_params = s->model_bytes / sizeof(float);
    WEFT_TRY(weft_memory_take_zeros(&s->acc, n_params * sizeof(int64_t),
                                    weft_store_dir(host->store), host->alloc, err));
    const weft_status status =
        weft_sum_new_over(&s->sum, s->acc.data, n_params, s->cohort, s->def.max_examples,
                          s->def.clip_norm, host->alloc, err);
    if (status != WEFT_OK) {
        weft_memory_done(&s->acc);
    }
    return status;
}

static weft_status prepare(fold *f, weft_err *err)
{
    round_sum *s = f->sum;
    const weft_rounds_host *host = &s->all->host;
    (void)pthread_mutex_lock(&s->lock); /* not recursive: cannot fail */
    weft_status status = s->failure.code;
    if (status == WEFT_OK && !s->sum && !s->masked) {
        status = make_sum_locked(s, err);
    }
    (void)pthread_mutex_unlock(&s->lock);
    WEFT_TRY(status);
    WEFT_TRY(weft_spool_map(&f->view, host->spool, f->assignment_id, err));
    if (f->view.size != round_sum_elements(s) * 4) { /* a float or a word */
        WEFT_FAIL(err, WEFT_E_INTERNAL, "a spooled update has %zu bytes, want %llu", f->view.size,
                  (unsigned long long)(round_sum_elements(s) * 4));
    }
    return WEFT_OK;
}

/* The first job of a fold: look, then share the work out. */
static void run_fold(weft_rt_job *job)
{
    struct fold_part *first = (struct fold_part *)(void *)job; /* its first member */
    fold *f = first->fold;
    weft_err err = WEFT_ERR_INIT;
    if (prepare(f, &err) != WEFT_OK) {
        if (err.code != WEFT_OK) { /* else the round had failed before */
            round_sum_fail(f->sum, &err);
        }
        finish_part(f);
        return;
    }
    const uint32_t n = f->sum->n_stripes;
    f->n_stripes = n;
    atomic_store(&f->stripes_left, n);
    for (uint32_t i = 1; i < n; i++) {
        f->part[i] = (struct fold_part){{{NULL}, run_stripe}, f, i};
        if (!weft_rt_pool_submit(f->sum->all->host.pool, &f->part[i].job)) {
            run_stripe(&f->part[i].job);
        }
    }
    add_stripe(f, 0);
    finish_part(f);
}

static weft_status count(round_sum *s, const fold *f, weft_err *err)
{
    return s->masked ? weft_masked_sum_count(s->masked, err)
                     : weft_sum_count(s->sum, f->n_examples, err);
}

/* Owner: one update is in. */
static void run_folded(weft_item *item, void *owner)
{
    fold *f = (fold *)(void *)item; /* its first member */
    round_sum *s = f->sum;
    const weft_rounds_host *host = &s->all->host;
    s->folding--;
    if (!s->dropped) {
        weft_err err = WEFT_ERR_INIT;
        if (!round_sum_has_failed(s) && count(s, f, &err) != WEFT_OK) {
            round_sum_fail(s, &err);
        }
        const weft_round_result result = {.job_id = s->job_id,
                                          .round = s->round,
                                          .attempt = s->attempt,
                                          .task = s->task,
                                          .assignment_id = f->assignment_id};
        host->folded(owner, &result);
        if (s->finish_due && s->folding == 0 && !s->finishing) {
            round_sum_start_finish(s);
        }
    }
    weft_free(host->alloc, f);
    round_sum_unref(s);
}

weft_status weft_rounds_fold(weft_rounds *rounds, const weft_action *action, weft_err *err)
{
    const weft_rounds_host *host = &rounds->host;
    round_sum *s = round_sum_find(rounds, action->u.fold.job_id, action->u.fold.round,
                                  action->u.fold.attempt, action->u.fold.task);
    if (!s) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no sum is open for round %u", action->u.fold.round);
    }
    fold *f = weft_array(host->alloc, 1, sizeof *f);
    if (!f) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory to fold an update");
    }
    f->item.run = run_folded;
    f->sum = s;
    f->assignment_id = action->u.fold.assignment_id;
    f->n_examples = action->u.fold.n_examples;
    atomic_init(&f->stripes_left, 1);
    f->part[0] = (struct fold_part){{{NULL}, run_fold}, f, 0};
    round_sum_ref(s);
    s->folding++;
    if (!weft_rt_pool_submit(host->pool, &f->part[0].job)) {
        s->folding--; /* stopping: the next start does it again */
        round_sum_unref(s);
        weft_free(host->alloc, f);
    }
    return WEFT_OK;
}
