/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models between the coordinator and this machine: found, fetched into a temporary file that is
 * mapped (not held in memory), verified against their digest; and sent for import.
 */
#include "cli/model.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "wire/chunk.h"
#include "wire/pace.h"

enum { STEP_MS = 200, MAX_PIECES = 4096 };

/* What both directions share: the state of one streaming call. */
typedef struct transfer {
    cli *c;
    const char *what; /* "fetching", "sending" */
    uint64_t total;
    uint64_t done;
    cli_progress progress;
    bool ended;
    weft_rt_code code;
    char text[WEFT_ERR_MSG_BYTES];
    weft_status failed; /* of a callback, with err */
    weft_err err;
    weft_buf reply; /* of an upload */
    /* fetch */
    int fd;
    weft_hash *hash;
    weft_chunk_stream order;
    /* upload */
    weft_rt_blob *blob;
    weft_buf header;
    bool header_sent;
    weft_pace pace;
} transfer;

/* ---- the loop ------------------------------------------------------------------------------- */

static void on_done(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                    weft_rt_message *reply)
{
    (void)rpc;
    transfer *t = arg;
    t->ended = true;
    t->code = code;
    (void)snprintf(t->text, sizeof t->text, "%s", text ? text : ""); /* cut at worst */
    if (reply && t->failed == WEFT_OK) {
        t->failed = weft_rt_message_copy(reply, &t->reply, &t->err);
    }
}

static weft_status run(transfer *t, weft_rt_rpc_options *options, weft_err *err)
{
    weft_rt_loop *loop = NULL;
    weft_rt_rpc *rpc = NULL;
    const weft_rt_loop_options loop_options = WEFT_RT_LOOP_OPTIONS_INIT;
    WEFT_TRY(weft_rt_loop_new(&loop, &loop_options, err));
    options->arg = t;
    options->on_done = on_done;
    if (t->c->has_timeout) {
        options->deadline_ms = t->c->timeout_ms; /* else as long as it takes: progress is shown */
    }
    cli_progress_init(&t->progress);
    const weft_status status = weft_rt_rpc_start(&rpc, loop, t->c->channel, options, err);
    while (status == WEFT_OK && !t->ended) {
        (void)weft_rt_loop_step(loop, STEP_MS); /* a timeout only redraws */
        cli_progress_bytes(&t->progress, t->what, t->done, t->total);
    }
    cli_progress_end(&t->progress);
    weft_rt_rpc_free(rpc);
    weft_rt_loop_free(loop);
    WEFT_TRY(status);
    if (t->failed != WEFT_OK) {
        WEFT_FAIL(err, t->failed, "%s", t->err.msg);
    }
    if (t->code != WEFT_RT_OK) {
        return cli_call_failed(t->c, t->code, t->text, err);
    }
    return WEFT_OK;
}

/* ---- fetch ---------------------------------------------------------------------------------- */

static weft_status write_at(int fd, const uint8_t *data, size_t n, uint64_t offset, weft_err *err)
{
    while (n > 0) {
        const ssize_t done = pwrite(fd, data, n, (off_t)offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            WEFT_FAIL_SYS(err, errno, "cannot write the model: %s", strerrordesc_np(errno));
        }
        data += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return WEFT_OK;
}

static weft_status take_data(transfer *t, const weft_view *pieces, size_t n, uint64_t offset,
                             weft_err *err)
{
    for (size_t i = 0; i < n; i++) {
        WEFT_TRY(weft_hash_add(t->hash, pieces[i].data, pieces[i].size, err));
        WEFT_TRY(write_at(t->fd, pieces[i].data, pieces[i].size, offset, err));
        offset += pieces[i].size;
    }
    return WEFT_OK;
}

static weft_status take_message(transfer *t, const weft_rt_message *message, weft_err *err)
{
    static weft_view pieces[MAX_PIECES]; /* one thread; too large for a stack */
    static weft_view data[MAX_PIECES];
    const size_t n = weft_rt_message_pieces(message);
    if (n > MAX_PIECES) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a message of %zu pieces", n);
    }
    for (size_t i = 0; i < n; i++) {
        pieces[i] = weft_rt_message_piece(message, i);
    }
    weft_chunk chunk;
    size_t at = 0;
    WEFT_TRY(weft_chunk_parse(&chunk, &at, pieces, n, 0, weft_rt_message_size(message), err));
    WEFT_TRY(weft_chunk_stream_take(&t->order, &chunk, err));
    const size_t n_data = weft_pieces_range(data, pieces, n, at, chunk.data_bytes);
    WEFT_TRY(take_data(t, data, n_data, chunk.offset, err));
    t->done = chunk.offset + chunk.data_bytes;
    return WEFT_OK;
}

static void on_message(void *arg, weft_rt_rpc *rpc, weft_rt_message *message)
{
    transfer *t = arg;
    const weft_status status = take_message(t, message, &t->err);
    if (status != WEFT_OK) {
        t->failed = status;
        weft_rt_rpc_cancel(rpc);
        return;
    }
    weft_rt_rpc_next(rpc);
}

weft_status cli_open_temporary(int *ret, const char *near, weft_err *err)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(near, '/');
    const int n =
        snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - near) + 1 : 1, slash ? near : ".");
    if (n < 0 || (size_t)n >= sizeof dir) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "the path %.160s is too long", near);
    }
    return weft_file_open_unnamed(ret, dir, err);
}

static weft_status fetch(transfer *t, const weft_msg_model_info *model, weft_err *err)
{
    weft_buf bytes;
    weft_buf_init(&bytes, &weft_alloc_std, WEFT_MAX_CONTROL_BYTES);
    const weft_msg_fetch_version_request request = {.digest = model->digest, .job = ""};
    weft_status status = weft_msg_fetch_version_request_encode(&bytes, &request, err);
    if (status == WEFT_OK) {
        weft_rt_rpc_options options = WEFT_RT_RPC_OPTIONS_INIT;
        options.path = weft_method_get(WEFT_METHOD_FETCH_VERSION)->path;
        options.kind = WEFT_RT_RPC_FETCH;
        options.request = weft_buf_view(&bytes);
        options.on_message = on_message;
        status = run(t, &options, err);
    }
    weft_buf_done(&bytes);
    return status;
}

static weft_status check_digest(transfer *t, const weft_msg_model_info *model, weft_err *err)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    WEFT_TRY(weft_hash_finish(digest, t->hash, err));
    if (!weft_chunk_stream_complete(&t->order) || t->done != model->bytes) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "%llu of %llu bytes came", (unsigned long long)t->done,
                  (unsigned long long)model->bytes);
    }
    if (memcmp(digest, model->digest.data, sizeof digest) != 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT, "what came does not have the digest that was asked for");
    }
    return WEFT_OK;
}

weft_status cli_fetch_model(cli *c, const weft_msg_model_info *model, const char *near,
                            weft_view *ret, weft_err *err)
{
    transfer t;
    memset(&t, 0, sizeof t);
    t.c = c;
    t.what = "fetching";
    t.total = model->bytes;
    t.fd = -1;
    weft_chunk_stream_init(&t.order, 0, model->bytes);
    WEFT_TRY(cli_connect(c, err));
    if (model->bytes == 0 || model->bytes > SIZE_MAX / 2) {
        WEFT_FAIL(err, WEFT_E_LIMIT, "a model of %llu bytes", (unsigned long long)model->bytes);
    }
    weft_status status = weft_hash_new(&t.hash, &weft_alloc_std, err);
    if (status == WEFT_OK) {
        status = cli_open_temporary(&t.fd, near, err);
    }
    if (status == WEFT_OK) {
        status = fetch(&t, model, err);
    }
    if (status == WEFT_OK) {
        status = check_digest(&t, model, err);
    }
    void *map = MAP_FAILED;
    if (status == WEFT_OK) {
        map = mmap(NULL, (size_t)model->bytes, PROT_READ, MAP_SHARED, t.fd, 0);
    }
    if (status == WEFT_OK && map == MAP_FAILED) {
        status = weft_err_set(err, WEFT_E_IO, errno, __FILE__, __LINE__, "cannot map the model: %s",
                              strerrordesc_np(errno));
    }
    if (t.fd >= 0) {
        (void)close(t.fd); /* a temporary file: nothing is lost */
    }
    weft_hash_free(t.hash);
    if (status == WEFT_OK) {
        *ret = (weft_view){map, (size_t)model->bytes};
    }
    return status;
}

void cli_unmap(weft_view *map)
{
    if (map->data) {
        (void)munmap((void *)(uintptr_t)map->data, map->size); /* ours: cannot fail */
        *map = (weft_view){NULL, 0};
    }
}

/* ---- send ----------------------------------------------------------------------------------- */

static weft_status send_next(transfer *t, weft_rt_rpc *rpc)
{
    if (!t->header_sent) {
        t->header_sent = true;
        return weft_rt_rpc_send(rpc, t->header.data, t->header.size, NULL, 0, 0);
    }
    if (t->done == t->total) {
        weft_rt_rpc_end(rpc);
        return WEFT_OK;
    }
    const uint64_t left = t->total - t->done;
    const uint32_t most =
        weft_pace_next(&t->pace, weft_clock_system.mono_ms(weft_clock_system.self));
    const weft_chunk chunk = {.offset = t->done,
                              .total_bytes = t->total,
                              .data_bytes = left < most ? (uint32_t)left : most};
    uint8_t head[WEFT_CHUNK_MAX_HEAD_BYTES];
    const size_t n = weft_chunk_write_head(head, &chunk, true);
    const weft_status status = weft_rt_rpc_send(rpc, head, n, t->blob, t->done, chunk.data_bytes);
    t->done += status == WEFT_OK ? chunk.data_bytes : 0;
    return status;
}

static void on_writable(void *arg, weft_rt_rpc *rpc)
{
    transfer *t = arg;
    const weft_status status = send_next(t, rpc);
    if (status != WEFT_OK && status != WEFT_E_CANCELED) { /* canceled: on_done says why */
        t->failed = weft_err_set(&t->err, status, 0, __FILE__, __LINE__, "cannot send the model");
        weft_rt_rpc_cancel(rpc);
    }
}

weft_status cli_send_model(cli *c, const weft_msg_import_header *header, weft_rt_blob *blob,
                           weft_buf *reply, weft_err *err)
{
    transfer t;
    memset(&t, 0, sizeof t);
    t.c = c;
    t.what = "sending";
    t.total = weft_rt_blob_size(blob);
    t.blob = blob;
    WEFT_TRY(cli_connect(c, err));
    weft_buf_init(&t.header, &weft_alloc_std, WEFT_MAX_CONTROL_BYTES + 16);
    weft_buf_init(&t.reply, &weft_alloc_std, WEFT_MAX_REPLY_BYTES);
    weft_status status = weft_import_part_encode(&t.header, header, err);
    if (status == WEFT_OK) {
        weft_rt_rpc_options options = WEFT_RT_RPC_OPTIONS_INIT;
        options.path = weft_method_get(WEFT_METHOD_IMPORT_MODEL)->path;
        options.kind = WEFT_RT_RPC_UPLOAD;
        options.on_writable = on_writable;
        status = run(&t, &options, err);
    }
    if (status == WEFT_OK) {
        status = weft_buf_add(reply, t.reply.data, t.reply.size, err);
    }
    weft_buf_done(&t.header);
    weft_buf_done(&t.reply);
    return status;
}
