/* SPDX-License-Identifier: Apache-2.0 */
/* Window after window: the mean, the hash, the store, memory. Worker threads. */
#include "app/next_version.h"

#include "app/side_hash.h"

#include <string.h>

/* Elements of a window: 1 MiB of weights, a chunk of the store */
enum { WINDOW = WEFT_MAX_CHUNK_BYTES / sizeof(float) };

typedef struct pass {
    const weft_next_version *v;
    float *next;    /* [n_params] */
    float *scratch; /* [WINDOW] where next is a mapping, else NULL */
    weft_model_writer *writer;
    weft_side_hash *hash; /* NULL: the writer's */
} pass;

/* In a mapping zeros stay holes of its file, and of the sum only a window is in memory. */
static weft_status make_window(const pass *p, uint64_t first, uint64_t n, weft_err *err)
{
    const weft_next_version *v = p->v;
    float *at = p->next + first;
    float *out = p->scratch ? p->scratch : at;
    const size_t size = (size_t)n * sizeof *out;
    WEFT_TRY(v->finish(v->sum, out, v->base + first, first, n, err));
    if (p->hash) {
        weft_side_hash_advance(p->hash, (size_t)first * sizeof *out + size);
    }
    WEFT_TRY(weft_model_writer_add(p->writer, out, size, err));
    if (out != at && !weft_bytes_zero(out, size)) {
        memcpy(at, out, size);
    }
    weft_memory_unload(v->acc, (size_t)first * v->acc_width, (size_t)n * v->acc_width);
    return WEFT_OK;
}

static weft_status make_all(const pass *p, uint8_t *ret_digest, weft_err *err)
{
    const uint64_t n_params = p->v->n_params;
    for (uint64_t first = 0; first < n_params; first += WINDOW) {
        const uint64_t left = n_params - first;
        WEFT_TRY(make_window(p, first, left < WINDOW ? left : WINDOW, err));
    }
    if (p->hash) {
        WEFT_TRY(weft_side_hash_finish(p->hash, ret_digest, err));
        return weft_model_writer_commit_as(p->writer, ret_digest, p->v->model_spec,
                                           p->v->data_schema, err);
    }
    return weft_model_writer_commit(p->writer, NULL, p->v->model_spec, p->v->data_schema,
                                    ret_digest, err);
}

static weft_status begin(pass *p, uint64_t bytes, weft_err *err)
{
    const weft_next_version *v = p->v;
    if (p->scratch) { /* of a mapping only a window is in memory: hashed there */
        return weft_model_writer_new(&p->writer, v->store, bytes, err);
    }
    WEFT_TRY(weft_model_writer_new_unhashed(&p->writer, v->store, bytes, err));
    return weft_side_hash_new(&p->hash, p->next, (size_t)bytes, v->pool, v->alloc, err);
}

weft_status weft_next_version_make(weft_memory *ret, uint8_t ret_digest[WEFT_DIGEST_BYTES],
                                   const weft_next_version *v, weft_err *err)
{
    const uint64_t bytes = v->n_params * sizeof(float);
    /* a mapping is zeros, where windows of zeros are left out; the heap is written throughout */
    WEFT_TRY(weft_memory_take(ret, bytes, weft_store_dir(v->store), v->alloc, err));
    pass p = {.v = v, .next = ret->data};
    if (weft_memory_is_mapped(ret)) {
        p.scratch = weft_array(v->alloc, WINDOW, sizeof *p.scratch);
        if (!p.scratch) {
            WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for the next version");
        }
    }
    weft_status status = begin(&p, bytes, err);
    if (status == WEFT_OK) {
        status = make_all(&p, ret_digest, err);
    }
    weft_side_hash_drop(p.hash);
    weft_model_writer_free(p.writer);
    weft_free(v->alloc, p.scratch);
    return status;
}
