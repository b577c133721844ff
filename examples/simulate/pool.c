/* SPDX-License-Identifier: Apache-2.0 */
/* Worker threads with tasks in a ring. The lock guards the ring's counters; a task belongs to the
 * owner before put and after collect, to one worker between. */
#include "pool.h"

#include "nn/train/train.h"
#include "update/check.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const weft_alloc *const memory = &weft_alloc_std;

/* Examples of one piece of an evaluation: fixed, the mean's last bits depend on it. */
enum { PIECE = 500 };

typedef struct slot {
    sim_task task;
    float *buffer; /* [n_params], owned: trained weights, then the encoded update */
    bool done;     /* guarded by the pool's lock */
} slot;

typedef struct worker {
    sim_pool *pool;
    weft_trainer_state *state; /* owned */
    pthread_t thread;
    bool started;
} worker;

struct sim_pool {
    const sim_world *world;
    worker *workers; /* [n_workers], owned */
    uint32_t n_workers;
    slot *slots; /* [n_slots], owned, used round robin */
    uint32_t n_slots;
    /* positions that only grow; guarded by lock: begun <= put, collected <= put */
    pthread_mutex_t lock;
    pthread_cond_t work; /* put grew, or stop */
    pthread_cond_t back; /* a slot is done */
    uint64_t taken;      /* owner's */
    uint64_t put;
    uint64_t begun;
    uint64_t collected; /* given back */
    bool stop;
};

/* ---- one task -------------------------------------------------------------------------------- */

static weft_status encode(sim_task *t, float *weights, const weft_layout *layout, weft_err *err)
{
    const weft_delta_options options = {
        .codec = &weft_codec_f32, .clip_norm = t->clip_norm, .max_examples = t->max_examples};
    t->update = (uint8_t *)weights; /* in place */
    WEFT_TRY(weft_delta_encode_to(&t->delta, t->update, (size_t)layout->n_params * sizeof(float),
                                  weights, t->base, layout->n_params, t->n_examples, &options,
                                  memory, err));
    const weft_update_rules rules = {.codec = &weft_codec_f32,
                                     .n_params = layout->n_params,
                                     .clip_norm = t->clip_norm,
                                     .max_examples = t->max_examples};
    weft_err why = WEFT_ERR_INIT;
    t->refusal = weft_update_check_bytes(&rules, t->update, (size_t)t->delta.bytes,
                                         t->delta.n_examples, &why);
    memcpy(t->refusal_text, why.msg, sizeof t->refusal_text);
    return WEFT_OK;
}

/* For weft_fixed_sink: one word after the other. */
typedef struct word_sink {
    uint32_t *next;
} word_sink;

static weft_status put_words(void *self, uint32_t *words, size_t n, weft_err *err)
{
    (void)err;
    word_sink *to = self;
    memcpy(to->next, words, n * sizeof *words);
    to->next += n;
    return WEFT_OK;
}

static weft_status encode_words(sim_task *t, const float *weights, weft_err *err)
{
    const bool params = t->grid.layout.n_params > 0;
    weft_fixed_result result;
    t->words = weft_array(memory, (size_t)t->grid.n_words, sizeof *t->words);
    if (!t->words) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a vector of %llu words",
                  (unsigned long long)t->grid.n_words);
    }
    word_sink to = {t->words};
    const weft_fixed_sink sink = {put_words, &to};
    return weft_fixed_encode(&result, &sink, &t->grid, params ? weights : NULL,
                             params ? t->base : NULL, t->n_examples, &t->metrics, t->rounding_seed,
                             memory, err);
}

static weft_status run_task(worker *w, slot *s, weft_err *err)
{
    sim_task *t = &s->task;
    const weft_layout *layout = w->pool->world->layout;
    const weft_batch_source source = sim_source(&t->view);
    weft_train_result result = {0};
    if (t->kind == SIM_TRAIN) {
        memcpy(s->buffer, t->base, (size_t)layout->n_params * sizeof *s->buffer);
        const weft_train_control control = {.round = t->round};
        WEFT_TRY(
            weft_train(&result, w->state, s->buffer, &t->plan, t->seed, &source, &control, err));
    } else {
        WEFT_TRY(weft_evaluate(&result, w->state, t->base, &source, NULL, err));
    }
    t->n_examples = result.n_examples;
    t->n_steps_examples = result.n_examples * (t->kind == SIM_TRAIN ? t->plan.epochs : 1);
    t->loss = result.loss;
    t->accuracy = result.accuracy;
    WEFT_TRY(weft_train_result_metrics(&result, true, &t->metrics, err));
    if (t->secure) {
        return encode_words(t, s->buffer, err);
    }
    return t->kind == SIM_TRAIN ? encode(t, s->buffer, layout, err) : WEFT_OK;
}

/* ---- threads --------------------------------------------------------------------------------- */

/* The next slot to work on, or NULL at the end. */
static slot *begin(sim_pool *pool)
{
    slot *s = NULL;
    (void)pthread_mutex_lock(&pool->lock); /* default mutexes of ours do not fail */
    while (!pool->stop && pool->begun == pool->put) {
        (void)pthread_cond_wait(&pool->work, &pool->lock);
    }
    if (!pool->stop) {
        s = &pool->slots[pool->begun % pool->n_slots];
        pool->begun++;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return s;
}

static void *work(void *arg)
{
    worker *w = arg;
    for (slot *s = begin(w->pool); s; s = begin(w->pool)) {
        s->task.err = (weft_err)WEFT_ERR_INIT;
        s->task.status = run_task(w, s, &s->task.err);
        (void)pthread_mutex_lock(&w->pool->lock);
        s->done = true;
        (void)pthread_cond_signal(&w->pool->back); /* one owner waits */
        (void)pthread_mutex_unlock(&w->pool->lock);
    }
    return NULL;
}

/* ---- the ring -------------------------------------------------------------------------------- */

sim_task *sim_pool_take(sim_pool *pool)
{
    if (pool->taken - pool->collected == pool->n_slots) { /* both are the owner's to change */
        return NULL;
    }
    slot *s = &pool->slots[pool->taken % pool->n_slots];
    pool->taken++;
    s->done = false; /* no worker knows the slot yet */
    memset(&s->task, 0, sizeof s->task);
    return &s->task;
}

void sim_pool_put(sim_pool *pool, sim_task *task)
{
    (void)task; /* tasks are put in the order in which they were taken */
    (void)pthread_mutex_lock(&pool->lock);
    pool->put++;
    (void)pthread_cond_signal(&pool->work);
    (void)pthread_mutex_unlock(&pool->lock);
}

sim_task *sim_pool_collect(sim_pool *pool)
{
    if (pool->collected == pool->taken) {
        return NULL;
    }
    slot *s = &pool->slots[pool->collected % pool->n_slots];
    (void)pthread_mutex_lock(&pool->lock);
    while (!s->done) {
        (void)pthread_cond_wait(&pool->back, &pool->lock);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return &s->task;
}

void sim_pool_give_back(sim_pool *pool, sim_task *task)
{
    weft_free(memory, task->words); /* task: the one collected last */
    task->words = NULL;
    pool->collected++;
}

/* ---- evaluation ------------------------------------------------------------------------------ */

typedef struct mean {
    double loss, accuracy, n;
} mean;

/* The oldest piece; nothing when none is under way. */
static weft_status collect_piece(sim_pool *pool, mean *m, weft_err *err)
{
    sim_task *t = sim_pool_collect(pool);
    if (!t) {
        return WEFT_OK;
    }
    weft_status status = t->status;
    if (status != WEFT_OK) { /* the first one's words stay */
        status = weft_err_set(err, status, 0, __FILE__, __LINE__, "%s", t->err.msg);
    }
    const double n = (double)t->n_examples;
    m->loss += t->loss * n;
    m->accuracy += t->accuracy * n;
    m->n += n;
    sim_pool_give_back(pool, t);
    return status;
}

static weft_status run_pieces(sim_pool *pool, mean *m, const float *weights,
                              const weft_data_view *view, const uint32_t *index, weft_err *err)
{
    weft_status status = WEFT_OK;
    uint32_t at = 0;
    while (at < view->n || pool->collected < pool->taken) {
        sim_task *t = at < view->n ? sim_pool_take(pool) : NULL;
        if (!t) {
            const weft_status piece = collect_piece(pool, m, err);
            status = status == WEFT_OK ? piece : status;
            continue;
        }
        const uint32_t left = view->n - at;
        t->kind = SIM_EVALUATE;
        t->base = weights;
        t->view = (weft_data_view){view->data, index + at, left < PIECE ? left : PIECE};
        at += t->view.n;
        sim_pool_put(pool, t);
    }
    return status;
}

weft_status sim_pool_evaluate(sim_pool *pool, weft_metrics *ret, const float *weights,
                              const weft_data_view *view, weft_err *err)
{
    uint32_t *index = weft_array(memory, view->n, sizeof *index);
    if (!index) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory to test %u examples", view->n);
    }
    for (uint32_t i = 0; i < view->n; i++) {
        index[i] = weft_data_view_at(view, i);
    }
    mean m = {0};
    const weft_status status = run_pieces(pool, &m, weights, view, index, err);
    weft_free(memory, index);
    WEFT_TRY(status);
    const weft_train_result result = {.n_examples = view->n,
                                      .loss = m.loss / m.n,
                                      .accuracy = m.accuracy / m.n,
                                      .has_accuracy = view->data->labels == WEFT_LABEL_CLASS};
    return weft_train_result_metrics(&result, true, ret, err);
}

/* ---- made and freed -------------------------------------------------------------------------- */

static weft_status fill(sim_pool *pool, weft_err *err)
{
    const size_t n_params = (size_t)pool->world->layout->n_params;
    pool->workers = weft_array(memory, pool->n_workers, sizeof *pool->workers);
    pool->slots = weft_array(memory, pool->n_slots, sizeof *pool->slots);
    for (uint32_t i = 0; pool->slots && i < pool->n_slots; i++) {
        pool->slots[i].buffer = weft_array(memory, n_params, sizeof(float));
        if (!pool->slots[i].buffer) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %u models", pool->n_slots);
        }
    }
    if (!pool->workers || !pool->slots) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for %u threads", pool->n_workers);
    }
    for (uint32_t i = 0; i < pool->n_workers; i++) {
        worker *w = &pool->workers[i];
        w->pool = pool;
        WEFT_TRY(weft_trainer_state_new(&w->state, pool->world->spec, NULL, memory, err));
        const int rc = pthread_create(&w->thread, NULL, work, w);
        w->started = rc == 0;
        if (rc != 0) {
            WEFT_FAIL_SYS(err, rc, "cannot start a thread: %s", strerrordesc_np(rc));
        }
    }
    return WEFT_OK;
}

weft_status sim_pool_new(sim_pool **ret, const sim_world *world, uint32_t n_threads, weft_err *err)
{
    sim_pool *pool = weft_array(memory, 1, sizeof *pool);
    if (!pool) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for threads");
    }
    pool->world = world;
    pool->n_workers = n_threads;
    pool->n_slots = 2 * n_threads;               /* so that no thread waits for the owner */
    (void)pthread_mutex_init(&pool->lock, NULL); /* these do not fail with default attributes */
    (void)pthread_cond_init(&pool->work, NULL);
    (void)pthread_cond_init(&pool->back, NULL);
    const weft_status status = fill(pool, err);
    if (status != WEFT_OK) {
        sim_pool_free(pool);
        return status;
    }
    *ret = pool;
    return WEFT_OK;
}

void sim_pool_free(sim_pool *pool)
{
    if (!pool) {
        return;
    }
    (void)pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    (void)pthread_cond_broadcast(&pool->work);
    (void)pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; pool->workers && i < pool->n_workers; i++) {
        if (pool->workers[i].started) {
            (void)pthread_join(pool->workers[i].thread, NULL); /* ours, joined once */
        }
        weft_trainer_state_free(pool->workers[i].state);
    }
    for (uint32_t i = 0; pool->slots && i < pool->n_slots; i++) {
        weft_free(memory, pool->slots[i].buffer);
        weft_free(memory, pool->slots[i].task.words);
    }
    (void)pthread_mutex_destroy(&pool->lock);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_cond_destroy(&pool->back);
    weft_free(memory, pool->workers);
    weft_free(memory, pool->slots);
    weft_free(memory, pool);
}
