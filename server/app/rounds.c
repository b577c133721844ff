/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of open rounds. `sum` and what follows it is shared with workers, the rest is the owner's.
 */
#include "app/rounds.h"

#include "agg/agg.h"
#include "agg/masked.h"
#include "app/next_version.h"
#include "app/unmask.h"

#include <pthread.h>
#include <string.h>

enum { MAX_STRIPES = 16 };
/* 1 MiB of update: what stays mapped behind a worker; also the least that is worth a stripe */
enum { WINDOW = 256 << 10 };

typedef struct round_sum {
    struct round_sum *next;
    weft_rounds *all;
    atomic_uint refs; /* the list's, one a job under way */
    uint64_t job_id;
    uint32_t round;
    uint32_t attempt;
    uint32_t cohort;
    uint64_t model_bytes;
    uint8_t base[WEFT_DIGEST_BYTES];
    weft_job_def def; /* owned */
    uint32_t folding; /* folds under way */
    bool finish_due;
    bool finishing;
    bool dropped;
    bool reported; /* finished: goes at the next tidy */
    bool base_pinned;
    /* shared with workers */
    pthread_mutex_t lock;
    weft_task task;
    weft_secure_session *session; /* referenced; NULL: a plain sum */
    weft_sum *sum;                /* made by the first fold, under lock; then by stripes */
    weft_masked_sum *masked;      /* or this */
    weft_memory acc;              /* of the sum */
    weft_err failure;             /* guarded by lock; code != OK: the round cannot be finished */
    pthread_mutex_t stripes[MAX_STRIPES];
    uint32_t n_stripes;
    /* the finish: worker, then owner */
    weft_rt_job job;
    weft_item item;
    weft_round_result result;
    weft_fixed_totals totals;
    char liars[WEFT_UNMASK_LIARS_BYTES];
    bool version_pinned;
} round_sum;

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
    } part[MAX_STRIPES];
} fold;

struct weft_rounds {
    weft_rounds_host host;
    round_sum *head;
};

/* ---- references ------------------------------------------------------------------------------ */

static void drop_sum(round_sum *s)
{
    weft_sum_free(s->sum);
    s->sum = NULL;
    weft_masked_sum_free(s->masked);
    s->masked = NULL;
    weft_memory_done(&s->acc);
}

static void unref(round_sum *s)
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
    drop_sum(s);
    for (uint32_t i = 0; i < MAX_STRIPES; i++) {
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
        unref(s);
    }
}

static round_sum *find(const weft_rounds *rounds, uint64_t job_id, uint32_t round, uint32_t attempt,
                       weft_task task)
{
    round_sum *s = rounds->head;
    while (s &&
           (s->job_id != job_id || s->round != round || s->attempt != attempt || s->task != task)) {
        s = s->next;
    }
    return s;
}

/* Remember the first failure: the round ends with it. */
static void fail(round_sum *s, const weft_err *err)
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

static bool has_failed(round_sum *s)
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
    round_sum *s = find(rounds, job_id, round, attempt, task);
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

/* Of what is added: parameters, or words under the mask. */
static uint64_t n_elements(const round_sum *s)
{
    return s->session ? weft_secure_session_grid(s->session)->n_words
                      : s->model_bytes / sizeof(float);
}

static uint32_t stripes_for(const weft_rounds *rounds, uint64_t n_params)
{
    const uint64_t useful = (n_params + WINDOW - 1) / WINDOW;
    uint64_t n = rounds->host.n_workers < MAX_STRIPES ? rounds->host.n_workers : MAX_STRIPES;
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
    s->n_stripes = stripes_for(rounds, n_elements(s));
    (void)pthread_mutex_init(&s->lock, NULL); /* a plain mutex: cannot fail on Linux */
    for (uint32_t i = 0; i < MAX_STRIPES; i++) {
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

/* ---- folding --------------------------------------------------------------------------------- */

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
    const uint64_t n_params = n_elements(s);
    const uint64_t windows = (n_params + WINDOW - 1) / WINDOW;
    const uint64_t from = windows * index / f->n_stripes;
    const uint64_t to = windows * (index + 1) / f->n_stripes;
    (void)pthread_mutex_lock(&s->stripes[index]); /* not recursive: cannot fail */
    for (uint64_t w = from; w < to; w++) {
        const uint64_t first = w * WINDOW;
        add_window(f, first, n_params - first < WINDOW ? n_params - first : WINDOW);
    }
    (void)pthread_mutex_unlock(&s->stripes[index]);
}

static void finish_part(fold *f)
{
    if (atomic_fetch_sub(&f->stripes_left, 1) == 1) {
        const weft_rounds_host *host = &f->sum->all->host;
        weft_spool_unmap(&f->view);
        if (!host->post(host->self, &f->item)) {
            unref(f->sum);
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
    if (f->view.size != n_elements(s) * 4) { /* a float or a word */
        WEFT_FAIL(err, WEFT_E_INTERNAL, "a spooled update has %zu bytes, want %llu", f->view.size,
                  (unsigned long long)(n_elements(s) * 4));
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
            fail(f->sum, &err);
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

static void start_finish(round_sum *s);

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
        if (!has_failed(s) && count(s, f, &err) != WEFT_OK) {
            fail(s, &err);
        }
        const weft_round_result result = {.job_id = s->job_id,
                                          .round = s->round,
                                          .attempt = s->attempt,
                                          .task = s->task,
                                          .assignment_id = f->assignment_id};
        host->folded(owner, &result);
        if (s->finish_due && s->folding == 0 && !s->finishing) {
            start_finish(s);
        }
    }
    weft_free(host->alloc, f);
    unref(s);
}

weft_status weft_rounds_fold(weft_rounds *rounds, const weft_action *action, weft_err *err)
{
    const weft_rounds_host *host = &rounds->host;
    round_sum *s = find(rounds, action->u.fold.job_id, action->u.fold.round, action->u.fold.attempt,
                        action->u.fold.task);
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
    atomic_fetch_add(&s->refs, 1);
    s->folding++;
    if (!weft_rt_pool_submit(host->pool, &f->part[0].job)) {
        s->folding--; /* stopping: the next start does it again */
        unref(s);
        weft_free(host->alloc, f);
    }
    return WEFT_OK;
}

/* ---- finishing ------------------------------------------------------------------------------- */

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
                                     .alloc = host->alloc};
        status = weft_next_version_make(next, s->result.version, &v, err);
        s->result.bytes = s->model_bytes;
    }
    weft_models_put(host->models, s->base, base);
    drop_sum(s);
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
        drop_sum(s);
        return WEFT_OK;
    }
    return make_version(s, err);
}

static void report(round_sum *s, weft_status status, const weft_err *why)
{
    const weft_rounds_host *host = &s->all->host;
    s->result.ok = status == WEFT_OK;
    if (status != WEFT_OK) {
        fail(s, why);
    }
    if (!host->post(host->self, &s->item)) {
        unref(s);
    }
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
                                       .n_words = n_elements(s),
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
    unref(s);
}

static void start_finish(round_sum *s)
{
    s->finishing = true;
    s->result.job_id = s->job_id;
    s->result.round = s->round;
    s->result.attempt = s->attempt;
    s->result.task = s->task;
    s->job.run = run_finish;
    s->item.run = run_finished;
    atomic_fetch_add(&s->refs, 1);
    if (!weft_rt_pool_submit(s->all->host.pool, &s->job)) {
        unref(s); /* stopping: the next start does it again */
    }
}

weft_status weft_rounds_finish(weft_rounds *rounds, const weft_action *action, weft_err *err)
{
    round_sum *s = find(rounds, action->u.sum.job_id, action->u.sum.round, action->u.sum.attempt,
                        action->u.sum.task);
    if (!s) {
        WEFT_FAIL(err, WEFT_E_NOTFOUND, "no sum is open for round %u", action->u.sum.round);
    }
    s->finish_due = true;
    if (s->folding == 0 && !s->finishing) {
        start_finish(s);
    }
    return WEFT_OK;
}
