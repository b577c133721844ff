/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SubmitUpdate: a header, then chunks that go from rt's pieces straight into the spool, hashed and
 * checked on the way while they are in the cache. When the last byte is there (or nothing has to
 * come: the update is refused already, or its assignment is over), the host goes on.
 * Poller threads, one callback of a call at a time.
 */
#include "rpc/rpc_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct submit {
    weft_chunk_stream order;
    weft_hash *hash;         /* NULL: an upload that goes on; the host reads it whole */
    weft_update_check check; /* while hash is there */
    uint64_t alive_due_ms;   /* when the next chunk renews the lease */
} submit;

/* ---- the header ------------------------------------------------------------------------------ */

__attribute__((format(printf, 3, 4))) static void
refuse(weft_rpc_update *update, weft_refusal refusal, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(update->detail, sizeof update->detail, format, args); /* cut where too long */
    va_end(args);
    update->refusal = refusal;
    update->checked = true;
}

/* Of a masked vector nothing can be seen but its size: all else went under the mask. */
static void judge_masked(weft_rpc_update *update)
{
    const weft_msg_update_header *h = &update->header;
    const uint64_t want = update->assignment.masked_bytes;
    if (strcmp(h->encoding, WEFT_FIXED_ENCODING) != 0) {
        refuse(update, WEFT_REFUSAL_ENCODING,
               "the encoding is %.16s: the job aggregates securely, it takes " WEFT_FIXED_ENCODING,
               h->encoding);
    } else if (h->total_bytes != want) {
        refuse(update, WEFT_REFUSAL_WRONG_SHAPE, "the masked vector has %llu bytes, want %llu",
               (unsigned long long)h->total_bytes, (unsigned long long)want);
    } else if (h->n_examples > 0 || h->metrics.n > 0) {
        refuse(update, WEFT_REFUSAL_WEIGHT,
               "weight and metrics of a masked update go under its mask");
    }
}

/* What can be said before a byte has come: a client need not upload in vain. */
static void judge_header(weft_rpc_update *update)
{
    const weft_rpc_assignment *assignment = &update->assignment;
    const weft_msg_update_header *h = &update->header;
    const weft_codec *codec = weft_codec_find(h->encoding[0] ? h->encoding : "f32");
    const uint64_t n_params = assignment->model_bytes / sizeof(float);
    const uint64_t want = assignment->task == WEFT_TASK_EVALUATE ? 0
                          : codec                                ? codec->size_bytes(n_params)
                                                                 : 0;
    if (memcmp(h->base_digest.data, assignment->base, WEFT_DIGEST_BYTES) != 0) {
        refuse(update, WEFT_REFUSAL_WRONG_BASE, "the update is against another base version");
    } else if (assignment->masked_bytes > 0) {
        judge_masked(update);
    } else if (!codec) {
        refuse(update, WEFT_REFUSAL_ENCODING, "the encoding %.16s is not known", h->encoding);
    } else if (h->total_bytes != want) {
        refuse(update, WEFT_REFUSAL_WRONG_SHAPE, "the update has %llu bytes, want %llu",
               (unsigned long long)h->total_bytes, (unsigned long long)want);
    } else if (h->n_examples == 0 || h->n_examples > assignment->max_examples) {
        refuse(update, WEFT_REFUSAL_WEIGHT, "the weight is %llu, want 1 to %llu",
               (unsigned long long)h->n_examples, (unsigned long long)assignment->max_examples);
    }
}

static weft_status begin_stream(weft_rpc_call *call, weft_err *err)
{
    const weft_rpc_assignment *assignment = &call->update->assignment;
    const weft_rpc_host *host = call->rpc->host;
    const weft_msg_update_header *h = &call->update->header;
    /* not in the arena: the owner may give that up before the stream is closed */
    submit *s = weft_array(host->alloc, 1, sizeof *s);
    if (!s) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    call->stream = s;
    s->alive_due_ms = host->clock->mono_ms(host->clock->self) + assignment->lease_ms / 4;
    weft_chunk_stream_init(&s->order, h->start_offset, h->total_bytes);
    weft_chunk_stream_expect(&s->order, h->total_bytes);
    if (h->start_offset == 0) {
        const weft_update_rules rules = {.codec =
                                             weft_codec_find(h->encoding[0] ? h->encoding : "f32"),
                                         .n_params = assignment->model_bytes / sizeof(float),
                                         .clip_norm = assignment->clip_norm,
                                         .max_examples = assignment->max_examples};
        weft_update_check_init(&s->check, &rules);
        WEFT_TRY(weft_hash_new(&s->hash, host->alloc, err));
    }
    return host->upload_begin(host->self, &call->update->upload, h->assignment_id, h->start_offset,
                              h->total_bytes, err);
}

/* The host takes over. */
static void ready(weft_rpc_call *call)
{
    const weft_rpc_host *host = call->rpc->host;
    (void)weft_rpc_call_ref(call); /* the host's */
    atomic_store(&call->posted, true);
    host->update_ready(host->self, call);
}

/* Every byte has come. */
static weft_status finish(weft_rpc_call *call, weft_err *err)
{
    submit *s = call->stream;
    weft_rpc_update *update = call->update;
    if (s->hash) {
        uint8_t digest[WEFT_SHA256_BYTES];
        weft_err why = WEFT_ERR_INIT;
        WEFT_TRY(weft_hash_finish(digest, s->hash, err));
        weft_hash_free(s->hash);
        s->hash = NULL;
        const weft_refusal refusal =
            update->assignment.masked_bytes > 0
                ? WEFT_REFUSAL_NONE
                : weft_update_check_finish(&s->check, update->header.n_examples, &why);
        if (memcmp(digest, update->header.update_digest.data, sizeof digest) != 0) {
            refuse(update, WEFT_REFUSAL_WRONG_DIGEST,
                   "the bytes do not have the digest that the "
                   "header names");
        } else if (refusal != WEFT_REFUSAL_NONE) {
            refuse(update, refusal, "%s", why.msg);
        }
        update->checked = true;
    }
    ready(call);
    return WEFT_OK;
}

static void on_header(weft_rpc_call *call, const uint8_t *bytes, size_t size)
{
    const weft_rpc_host *host = call->rpc->host;
    weft_err err = WEFT_ERR_INIT;
    weft_rpc_update *update = weft_arena_take(&call->arena, 1, sizeof *update);
    if (!update) {
        weft_rpc_fail(call, WEFT_E_NOMEM, "the coordinator has no memory");
        return;
    }
    if (!weft_rpc_call_decode_bytes(call, WEFT_MSG_UPDATE_HEADER, (weft_view){bytes, size})) {
        return;
    }
    memcpy(&update->header, call->msg, sizeof update->header);
    call->update = update;
    update->open =
        host->assignment(host->self, update->header.assignment_id, call->name, &update->assignment);
    if (update->open) {
        judge_header(update);
    }
    if (!update->open || update->checked || update->header.total_bytes == 0) {
        update->checked = true;
        ready(call);
        return;
    }
    weft_status status = begin_stream(call, &err);
    const submit *s = call->stream;
    if (status == WEFT_OK && weft_chunk_stream_complete(&s->order)) {
        status = finish(call, &err); /* all is here since before a restart: no chunk will come */
    }
    if (status != WEFT_OK) {
        weft_rpc_fail_err(call, &err);
    }
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* A slow link that moves is alive: bytes renew the lease, too, as its client's Progress calls may
 * be stuck behind them. Before the bytes are looked at, and once in a while only: an upload that
 * takes less than a quarter of the lease costs no event. */
static void renew_lease(weft_rpc_call *call, submit *s)
{
    const weft_rpc_host *host = call->rpc->host;
    const uint64_t now = host->clock->mono_ms(host->clock->self);
    if (now >= s->alive_due_ms) {
        s->alive_due_ms = now + call->update->assignment.lease_ms / 4;
        weft_rpc_call_alive(call);
    }
}

static weft_status on_chunk(weft_rpc_call *call, weft_rpc_pieces *pieces, size_t at, size_t size,
                            weft_err *err)
{
    const weft_rpc_host *host = call->rpc->host;
    submit *s = call->stream;
    weft_chunk chunk;
    size_t data_at = 0;
    renew_lease(call, s);
    WEFT_TRY(weft_chunk_parse(&chunk, &data_at, pieces->all, pieces->n, at, size, err));
    WEFT_TRY(weft_chunk_stream_take(&s->order, &chunk, err));
    if (s->order.total - s->order.next >= WEFT_MAX_CHUNK_BYTES) {
        /* from the network while this one is hashed and written; for less it is not worth it */
        weft_rt_call_read_ahead(call->rt);
    }
    weft_view *data = pieces->all; /* in place: the rest of the message was read */
    const size_t n = weft_pieces_range(data, data, pieces->n, data_at, chunk.data_bytes);
    WEFT_TRY(host->upload_append(host->self, call->update->upload, chunk.offset, data, n, err));
    for (size_t i = 0; s->hash && i < n; i++) {
        WEFT_TRY(weft_hash_add(s->hash, data[i].data, data[i].size, err));
        if (call->update->assignment.masked_bytes == 0) {
            weft_update_check_add(&s->check, data[i].data, data[i].size);
        }
    }
    return WEFT_OK;
}

static weft_status on_part(weft_rpc_call *call, weft_rpc_pieces *pieces, weft_err *err)
{
    weft_part_kind kind = WEFT_PART_HEADER;
    size_t at = 0;
    size_t size = 0;
    WEFT_TRY(weft_part_parse(&kind, &at, &size, pieces->all, pieces->n, err));
    if (kind == WEFT_PART_CHUNK) {
        if (!call->stream) {
            WEFT_FAIL(err, WEFT_E_FORMAT, "a header must come before the first chunk");
        }
        WEFT_TRY(on_chunk(call, pieces, at, size, err));
        const submit *s = call->stream;
        return weft_chunk_stream_complete(&s->order) ? finish(call, err) : WEFT_OK;
    }
    if (call->update) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "a second header came");
    }
    if (size > WEFT_MAX_CONTROL_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a header of %zu bytes, at most %u are allowed", size,
                  WEFT_MAX_CONTROL_BYTES);
    }
    uint8_t *flat = weft_arena_take(&call->arena, size ? size : 1, 1);
    if (!flat || !weft_pieces_copy(flat, pieces->all, pieces->n, at, size)) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    on_header(call, flat, size);
    return WEFT_OK;
}

/* ---- rt's callbacks -------------------------------------------------------------------------- */

void weft_rpc_submit_message(void *ctx, weft_rt_call *rt, weft_rt_message *message)
{
    weft_rpc_call *call = weft_rt_call_state(rt);
    call = call ? call : weft_rpc_call_new(ctx, rt);
    if (!call || atomic_load(&call->posted) || atomic_load(&call->answered)) {
        return; /* what still comes of an update that is decided */
    }
    weft_err err = WEFT_ERR_INIT;
    weft_rpc_pieces pieces;
    weft_status status = weft_rpc_pieces_init(&pieces, call->rpc->host->alloc, message, &err);
    if (status == WEFT_OK) {
        status = on_part(call, &pieces, &err);
        weft_rpc_pieces_done(&pieces);
    }
    if (status != WEFT_OK) {
        weft_rpc_fail_err(call, &err);
    }
}

void weft_rpc_submit_half_close(void *ctx, weft_rt_call *rt)
{
    weft_rpc_call *call = weft_rt_call_state(rt);
    call = call ? call : weft_rpc_call_new(ctx, rt);
    if (!call || atomic_load(&call->posted) || atomic_load(&call->answered)) {
        return;
    }
    const submit *s = call->stream;
    char text[128];
    (void)snprintf(text, sizeof text, "the stream ended after %llu of %llu bytes",
                   s ? (unsigned long long)s->order.next : 0ULL,
                   s ? (unsigned long long)s->order.total : 0ULL); /* fits */
    weft_rpc_fail(call, WEFT_E_INVALID, text);
}

void weft_rpc_submit_closed(void *ctx, weft_rt_call *rt, bool cancelled)
{
    (void)ctx;
    (void)cancelled;
    weft_rpc_call *call = weft_rt_call_state(rt);
    if (!call) {
        return;
    }
    const weft_rpc_host *host = call->rpc->host;
    submit *s = call->stream;
    call->stream = NULL;
    if (s) {
        weft_hash_free(s->hash);
        weft_free(host->alloc, s);
    }
    /* once posted, the update is the host's */
    if (!atomic_load(&call->posted) && call->update && call->update->upload) {
        host->upload_end(host->self, call->update->upload);
        call->update->upload = NULL;
    }
    weft_rpc_call_closed(call);
}
