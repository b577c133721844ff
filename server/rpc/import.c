/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ImportModel: as SubmitUpdate, but the bytes go to the host's model writer, which may block: each
 * message is handed over by reference and reading pauses until a worker has written it.
 * Poller threads, one callback of a call at a time.
 */
#include "rpc/rpc_priv.h"

typedef struct import_stream {
    weft_chunk_stream order;
    void *import; /* the host's */
    bool finished;
} import_stream;

static weft_status on_header(weft_rpc_call *call, const weft_rpc_pieces *pieces, size_t at,
                             size_t size, weft_err *err)
{
    const weft_rpc_host *host = call->rpc->host;
    if (size > WEFT_MAX_CONTROL_BYTES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a header of %zu bytes, at most %u are allowed", size,
                  WEFT_MAX_CONTROL_BYTES);
    }
    uint8_t *flat = weft_arena_take(&call->arena, size ? size : 1, 1);
    import_stream *s = weft_arena_take(&call->arena, 1, sizeof *s);
    if (!flat || !s || !weft_pieces_copy(flat, pieces->all, pieces->n, at, size)) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "the coordinator has no memory");
    }
    if (!weft_rpc_call_decode_bytes(call, WEFT_MSG_IMPORT_HEADER, (weft_view){flat, size})) {
        return WEFT_OK; /* answered */
    }
    const weft_msg_import_header *header = call->msg;
    weft_chunk_stream_init(&s->order, 0, header->total_bytes);
    weft_chunk_stream_expect(&s->order, header->total_bytes);
    WEFT_TRY(host->import_begin(host->self, &s->import, call, header, err));
    call->stream = s;
    return WEFT_OK;
}

static weft_status on_part(weft_rpc_call *call, weft_rt_message *message,
                           const weft_rpc_pieces *pieces, weft_err *err)
{
    const weft_rpc_host *host = call->rpc->host;
    weft_part_kind kind = WEFT_PART_HEADER;
    size_t at = 0;
    size_t size = 0;
    import_stream *s = call->stream;
    WEFT_TRY(weft_part_parse(&kind, &at, &size, pieces->all, pieces->n, err));
    if ((kind == WEFT_PART_HEADER) != (s == NULL)) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "want one header, then chunks");
    }
    if (!s) {
        return on_header(call, pieces, at, size, err);
    }
    weft_chunk chunk;
    size_t data_at = 0;
    WEFT_TRY(weft_chunk_parse(&chunk, &data_at, pieces->all, pieces->n, at, size, err));
    WEFT_TRY(weft_chunk_stream_take(&s->order, &chunk, err));
    weft_rt_call_pause(call->rt);
    host->import_data(host->self, s->import, message, data_at, chunk.data_bytes);
    return WEFT_OK;
}

void weft_rpc_import_message(void *ctx, weft_rt_call *rt, weft_rt_message *message)
{
    weft_rpc_call *call = weft_rt_call_state(rt);
    call = call ? call : weft_rpc_call_new(ctx, rt);
    if (!call || atomic_load(&call->answered)) {
        return;
    }
    weft_err err = WEFT_ERR_INIT;
    weft_rpc_pieces pieces;
    weft_status status = weft_rpc_pieces_init(&pieces, call->rpc->host->alloc, message, &err);
    if (status == WEFT_OK) {
        status = on_part(call, message, &pieces, &err);
        weft_rpc_pieces_done(&pieces);
    }
    if (status != WEFT_OK) {
        weft_rpc_fail_err(call, &err);
    }
}

void weft_rpc_import_half_close(void *ctx, weft_rt_call *rt)
{
    weft_rpc_call *call = weft_rt_call_state(rt);
    call = call ? call : weft_rpc_call_new(ctx, rt);
    if (!call || atomic_load(&call->answered)) {
        return;
    }
    import_stream *s = call->stream;
    if (!s || !weft_chunk_stream_complete(&s->order)) {
        weft_rpc_fail(call, WEFT_E_INVALID, "the stream ended before the whole model had come");
        return;
    }
    s->finished = true;
    const weft_rpc_host *host = call->rpc->host;
    host->import_finish(host->self, s->import);
}

void weft_rpc_import_closed(void *ctx, weft_rt_call *rt, bool cancelled)
{
    (void)ctx;
    (void)cancelled;
    weft_rpc_call *call = weft_rt_call_state(rt);
    if (!call) {
        return;
    }
    const import_stream *s = call->stream;
    if (s) {
        const weft_rpc_host *host = call->rpc->host;
        host->import_drop(host->self, s->import);
    }
    weft_rpc_call_closed(call);
}
