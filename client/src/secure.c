/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secure aggregation's share of STORE, and MASK: the vector is encoded into the outbox, and later
 * masked from there into the update's file, block by block; nothing of its length is allocated.
 * Called by train.c and shell.c; owner thread.
 */
#include "client_priv.h"
#include "crypto/hash.h"
#include "update/fixed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Where words go: hashed, into a file. */
typedef struct word_file {
    weft_update_file file;
    weft_hash *hash; /* owned */
} word_file;

static void word_file_done(word_file *f)
{
    weft_update_file_done(&f->file);
    weft_hash_free(f->hash);
}

/* For weft_fixed_sink: words become bytes in place. */
static weft_status write_words(void *self, uint32_t *words, size_t n, weft_err *err)
{
    word_file *f = self;
    uint8_t *bytes = (uint8_t *)words;
    weft_fixed_to_bytes(bytes, words, n);
    WEFT_TRY(weft_hash_add(f->hash, bytes, n * sizeof *words, err));
    return weft_update_file_write(&f->file, bytes, n * sizeof *words, err);
}

static weft_status commit(word_file *f, uint8_t digest[WEFT_SHA256_BYTES], weft_err *err)
{
    WEFT_TRY(weft_hash_finish(digest, f->hash, err));
    return weft_update_file_commit(&f->file, true, err);
}

/* ---- encoding ------------------------------------------------------------------------------- */

static weft_status encode(weft_client *client, const weft_session_assignment *a, word_file *f,
                          const weft_fixed_grid *grid, weft_session_update *update, weft_err *err)
{
    const weft_fixed_sink sink = {write_words, f};
    const bool params = grid->layout.n_params > 0;
    uint8_t seed[WEFT_FIXED_SEED_BYTES];
    weft_fixed_result result;
    WEFT_TRY(weft_entropy_system.fill(weft_entropy_system.self, seed, sizeof seed, err));
    const weft_status status = weft_fixed_encode(
        &result, &sink, grid, params ? client->map.weights : NULL, params ? client->map.base : NULL,
        update->n_examples, &update->metrics, seed, client->alloc, err);
    weft_wipe(seed, sizeof seed);
    WEFT_TRY(status);
    if (result.clipped && a->task == WEFT_TASK_STATS) { /* they are not to be scaled */
        WEFT_FAIL(err, WEFT_E_LIMIT, "statistics with an L2 norm of %g, above %g", result.norm,
                  a->clip_norm);
    }
    if (result.clipped) {
        weft_client_tell_clipped(client, a, result.norm);
    }
    return WEFT_OK;
}

weft_status weft_client_encode(weft_client *client, const weft_session_assignment *a,
                               weft_session_update *update, weft_err *err)
{
    weft_fixed_grid grid;
    word_file f = {.hash = NULL};
    WEFT_TRY(weft_session_grid(&grid, a, err));
    const uint64_t bytes = weft_fixed_bytes(&grid);
    WEFT_TRY(
        weft_encoded_file_begin(&f.file, client->options.state_dir, a->assignment_id, bytes, err));
    weft_status status = weft_hash_new(&f.hash, client->alloc, err);
    if (status == WEFT_OK) {
        status = encode(client, a, &f, &grid, update, err);
    }
    if (status == WEFT_OK) {
        status = commit(&f, update->digest, err);
    }
    word_file_done(&f);
    update->total_bytes = status == WEFT_OK ? bytes : update->total_bytes;
    return status;
}

/* ---- masking -------------------------------------------------------------------------------- */

typedef struct masking {
    weft_client *client;
    const weft_session_action *action;
    weft_session_event *event;
    int fd;            /* of the encoded vector */
    weft_hash *before; /* owned: what is read must be what was stored */
    weft_prg_bank *bank;
    word_file out;
} masking;

/* A whole block, or what is left at the end. */
static weft_status read_block(int fd, void *block, size_t size, size_t *ret_n, weft_err *err)
{
    size_t n = 0;
    while (n < size) {
        const ssize_t got = read(fd, (uint8_t *)block + n, size - n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            WEFT_FAIL_SYS(err, errno, "cannot read the encoded vector: %s", strerrordesc_np(errno));
        }
        if (got == 0) {
            break;
        }
        n += (size_t)got;
    }
    *ret_n = n;
    return WEFT_OK;
}

static weft_status mask_blocks(masking *m, uint64_t *ret_bytes, weft_err *err)
{
    uint32_t block[WEFT_PRG_BLOCK_WORDS];
    size_t n = sizeof block;
    *ret_bytes = 0;
    while (n == sizeof block) {
        WEFT_TRY(read_block(m->fd, block, sizeof block, &n, err));
        WEFT_TRY(weft_hash_add(m->before, block, n, err));
        WEFT_TRY(weft_prg_bank_add(m->bank, block, n / sizeof *block, err));
        WEFT_TRY(write_words(&m->out, block, n / sizeof *block, err));
        *ret_bytes += n;
    }
    return WEFT_OK;
}

static weft_status mask_all(masking *m, weft_err *err)
{
    const weft_session_update *update = m->action->u.mask.update;
    const weft_session_assignment *a = m->action->u.mask.assignment;
    const weft_alloc *alloc = m->client->alloc;
    uint64_t bytes = 0;
    uint8_t before[WEFT_SHA256_BYTES];
    WEFT_TRY(weft_prg_bank_new(&m->bank, m->action->u.mask.masks, m->action->u.mask.n_masks, 0,
                               alloc, err));
    WEFT_TRY(weft_hash_new(&m->before, alloc, err));
    WEFT_TRY(weft_hash_new(&m->out.hash, alloc, err));
    WEFT_TRY(weft_update_file_begin(&m->out.file, m->client->options.state_dir, a->assignment_id,
                                    update->total_bytes, err));
    WEFT_TRY(mask_blocks(m, &bytes, err));
    WEFT_TRY(weft_hash_finish(before, m->before, err));
    if (bytes != update->total_bytes || memcmp(before, update->digest, sizeof before) != 0) {
        WEFT_FAIL(err, WEFT_E_FORMAT,
                  "the encoded vector in the outbox is damaged: %" PRIu64 " of %" PRIu64 " bytes",
                  bytes, update->total_bytes);
    }
    WEFT_TRY(commit(&m->out, m->event->u.masked.digest, err));
    m->event->u.masked.total_bytes = bytes;
    return WEFT_OK;
}

static weft_status mask_file(void *self, weft_err *err)
{
    masking *m = self;
    char path[WEFT_CLIENT_MAX_PATH];
    WEFT_TRY(weft_encoded_file_path(path, sizeof path, m->client->options.state_dir,
                                    m->action->u.mask.assignment->assignment_id, err));
    m->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (m->fd < 0) {
        WEFT_FAIL_SYS(err, errno, "cannot open %.160s: %s", path, strerrordesc_np(errno));
    }
    m->out.file.fd = -1;
    const weft_status status = mask_all(m, err);
    word_file_done(&m->out);
    weft_prg_bank_free(m->bank);
    weft_hash_free(m->before);
    (void)close(m->fd); /* nothing was written */
    return status;
}

void weft_client_mask(weft_client *client, const weft_session_action *mask,
                      weft_session_event *event, char text[WEFT_SESSION_TEXT_BYTES])
{
    weft_err err = WEFT_ERR_INIT;
    memset(event, 0, sizeof *event);
    masking m = {.client = client, .action = mask, .event = event};
    event->kind = WEFT_SESSION_MASKED;
    const weft_status status = weft_client_leased(
        client, mask->u.mask.assignment, mask->u.mask.update->total_bytes, mask_file, &m, &err);
    if (status != WEFT_OK) {
        (void)snprintf(text, WEFT_SESSION_TEXT_BYTES, "%s", err.msg);
        event->kind = WEFT_SESSION_FAILED;
        event->u.failed.action = WEFT_SESSION_MASK;
        event->u.failed.status = status;
        event->u.failed.detail = text;
    }
}
