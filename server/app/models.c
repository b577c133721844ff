/* SPDX-License-Identifier: Apache-2.0 */
/* The table of models in memory: a short list under a lock, loads on the pool. */
#include "app/models.h"

#include "app/memory.h"

#include <pthread.h>
#include <string.h>

typedef struct model {
    struct model *next;
    uint8_t digest[WEFT_DIGEST_BYTES];
    weft_rt_blob *blob; /* one reference of the table's; NULL: not in memory */
    uint32_t pins;
    uint32_t readers; /* gets without put, and loads under way */
    bool loading;
    weft_rpc_call *waiting; /* linked by host_state; each with a reference */
} model;

/* A load on its way through the pool. */
typedef struct load_job {
    weft_rt_job job; /* first */
    weft_models *models;
    uint8_t digest[WEFT_DIGEST_BYTES];
} load_job;

struct weft_models {
    const weft_alloc *alloc;
    weft_store *store;
    weft_rt_pool *pool;
    pthread_mutex_t lock;
    model *head; /* guarded by lock; all of it */
};

weft_status weft_models_new(weft_models **ret, weft_store *store, weft_rt_pool *pool,
                            const weft_alloc *a, weft_err *err)
{
    weft_models *m = weft_array(a, 1, sizeof *m);
    if (!m) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the table of models");
    }
    m->alloc = a;
    m->store = store;
    m->pool = pool;
    (void)pthread_mutex_init(&m->lock, NULL); /* a plain mutex: cannot fail on Linux */
    *ret = m;
    return WEFT_OK;
}

void weft_models_free(weft_models *m)
{
    if (!m) {
        return;
    }
    while (m->head) {
        model *item = m->head;
        m->head = item->next;
        weft_rt_blob_unref(item->blob);
        weft_free(m->alloc, item);
    }
    (void)pthread_mutex_destroy(&m->lock); /* nobody holds it: the caller's contract */
    weft_free(m->alloc, m);
}

static void lock(weft_models *m)
{
    (void)pthread_mutex_lock(&m->lock); /* not recursive: cannot fail */
}

static void unlock(weft_models *m)
{
    (void)pthread_mutex_unlock(&m->lock); /* held by this thread */
}

static model *find_locked(weft_models *m, const uint8_t *digest)
{
    model *item = m->head;
    while (item && memcmp(item->digest, digest, WEFT_DIGEST_BYTES) != 0) {
        item = item->next;
    }
    return item;
}

static model *make_locked(weft_models *m, const uint8_t *digest)
{
    model *item = find_locked(m, digest);
    if (!item) {
        item = weft_array(m->alloc, 1, sizeof *item);
        if (item) {
            memcpy(item->digest, digest, WEFT_DIGEST_BYTES);
            item->next = m->head;
            m->head = item;
        }
    }
    return item;
}

/* Let go of what nobody needs; the blob to unref, outside the lock. */
static weft_rt_blob *tidy_locked(weft_models *m, model *item)
{
    if (item->pins || item->readers) {
        return NULL;
    }
    model **at = &m->head;
    while (*at != item) {
        at = &(*at)->next;
    }
    *at = item->next;
    weft_rt_blob *blob = item->blob;
    weft_free(m->alloc, item);
    return blob;
}

weft_status weft_models_pin(weft_models *m, const uint8_t digest[WEFT_DIGEST_BYTES], weft_err *err)
{
    lock(m);
    model *item = make_locked(m, digest);
    if (item) {
        item->pins++;
    }
    unlock(m);
    if (!item) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the table of models");
    }
    return WEFT_OK;
}

void weft_models_unpin(weft_models *m, const uint8_t digest[WEFT_DIGEST_BYTES])
{
    weft_rt_blob *blob = NULL;
    lock(m);
    model *item = find_locked(m, digest);
    if (item && item->pins) {
        item->pins--;
        blob = tidy_locked(m, item);
    }
    unlock(m);
    weft_rt_blob_unref(blob);
}

void weft_models_offer(weft_models *m, const uint8_t digest[WEFT_DIGEST_BYTES], weft_rt_blob *blob)
{
    lock(m);
    model *item = find_locked(m, digest);
    if (item && !item->blob) {
        item->blob = blob;
        blob = NULL;
    }
    unlock(m);
    weft_rt_blob_unref(blob); /* not wanted, or there already */
}

/* Read a model from the store. Worker threads. */
static weft_status read_model(weft_models *m, weft_rt_blob **ret, const uint8_t *digest,
                              weft_err *err)
{
    uint64_t bytes = 0;
    weft_memory memory = {0};
    WEFT_TRY(weft_store_model_size(m->store, digest, &bytes, err));
    WEFT_TRY(weft_memory_take_zeros(&memory, bytes, weft_store_dir(m->store), m->alloc, err));
    weft_status status = weft_store_model_read_all(m->store, digest, memory.data, bytes, err);
    if (status == WEFT_OK) {
        status = weft_memory_to_blob(ret, &memory, err);
    }
    weft_memory_done(&memory);
    return status;
}

/* A load ended: tell those who wait. blob's reference becomes the table's. */
static void finish_load(weft_models *m, const uint8_t *digest, weft_rt_blob *blob,
                        const weft_err *err)
{
    lock(m);
    model *item = find_locked(m, digest);
    if (!item) { /* never: loading counts as a reader */
        unlock(m);
        weft_rt_blob_unref(blob);
        return;
    }
    weft_rpc_call *waiting = item->waiting;
    item->waiting = NULL;
    item->loading = false;
    if (blob && !item->blob) {
        item->blob = blob;
        blob = NULL;
    }
    weft_rt_blob *ready = item->blob;
    for (weft_rpc_call *call = waiting; call && ready; call = call->host_state) {
        item->readers++;
        (void)weft_rt_blob_ref(ready); /* the call's */
    }
    item->readers--;
    weft_rt_blob *gone = tidy_locked(m, item);
    unlock(m);
    weft_rt_blob_unref(blob);
    weft_rt_blob_unref(gone);
    while (waiting) {
        weft_rpc_call *call = waiting;
        waiting = call->host_state;
        call->host_state = NULL;
        weft_rpc_fetch_ready(call, digest, ready, err->code, err->msg);
        weft_rpc_call_unref(call);
    }
}

static void run_load(weft_rt_job *job)
{
    load_job *load = (load_job *)(void *)job; /* its first member */
    weft_models *m = load->models;
    weft_err err = WEFT_ERR_INIT;
    weft_rt_blob *blob = NULL;
    if (read_model(m, &blob, load->digest, &err) != WEFT_OK) {
        blob = NULL;
    }
    finish_load(m, load->digest, blob, &err);
    weft_free(m->alloc, load);
}

/* Begin a load for a model that has a waiting call; the model counts one reader for it. */
static void start_load(weft_models *m, const uint8_t *digest)
{
    load_job *load = weft_array(m->alloc, 1, sizeof *load);
    if (load) {
        load->job.run = run_load;
        load->models = m;
        memcpy(load->digest, digest, WEFT_DIGEST_BYTES);
        if (weft_rt_pool_submit(m->pool, &load->job)) {
            return;
        }
        weft_free(m->alloc, load);
    }
    weft_err err = WEFT_ERR_INIT;
    (void)!weft_err_set(&err, WEFT_E_AGAIN, 0, __FILE__, __LINE__,
                        "the coordinator cannot load the model now"); /* its return is the code */
    finish_load(m, digest, NULL, &err);
}

weft_status weft_models_get(weft_models *m, weft_rt_blob **ret, const uint8_t *digest,
                            bool published, weft_rpc_call *call, weft_err *err)
{
    bool start = false;
    lock(m);
    model *item = published ? find_locked(m, digest) : make_locked(m, digest);
    if (!item || (published && !item->pins)) {
        unlock(m);
        WEFT_FAIL(err, published ? WEFT_E_NOTFOUND : WEFT_E_NOMEM,
                  published ? "no job works on this version (any more)"
                            : "no memory for the table of models");
    }
    if (item->blob) {
        item->readers++;
        *ret = weft_rt_blob_ref(item->blob);
    } else {
        *ret = NULL;
        call->host_state = item->waiting;
        item->waiting = call;
        start = !item->loading;
        item->loading = true;
        item->readers += start;
    }
    unlock(m);
    if (start) {
        start_load(m, digest);
    }
    return WEFT_OK;
}

void weft_models_put(weft_models *m, const uint8_t *digest, weft_rt_blob *blob)
{
    weft_rt_blob *gone = NULL;
    lock(m);
    model *item = find_locked(m, digest);
    if (item && item->readers) {
        item->readers--;
        gone = tidy_locked(m, item);
    }
    unlock(m);
    weft_rt_blob_unref(blob);
    weft_rt_blob_unref(gone);
}

weft_status weft_models_load(weft_models *m, weft_rt_blob **ret, const uint8_t *digest,
                             weft_err *err)
{
    weft_rt_blob *blob = NULL;
    lock(m);
    model *item = make_locked(m, digest);
    if (item) {
        item->readers++;
        blob = item->blob ? weft_rt_blob_ref(item->blob) : NULL;
    }
    unlock(m);
    if (!item) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the table of models");
    }
    if (!blob) {
        const weft_status status = read_model(m, &blob, digest, err);
        if (status != WEFT_OK) {
            weft_models_put(m, digest, NULL);
            return status;
        }
        weft_models_offer(m, digest, weft_rt_blob_ref(blob));
    }
    *ret = blob;
    return WEFT_OK;
}

uint64_t weft_models_bytes(weft_models *m)
{
    uint64_t bytes = 0;
    lock(m);
    for (const model *item = m->head; item; item = item->next) {
        bytes += item->blob ? weft_rt_blob_size(item->blob) : 0;
    }
    unlock(m);
    return bytes;
}
