/* SPDX-License-Identifier: Apache-2.0 */
/* The core from the store: at start, and after a batch that could not be kept. Owner thread. */
#include "app/daemon.h"

#include "app/views.h"

#include <inttypes.h>
#include <string.h>

void weft_daemon_note(weft_daemon *d, const weft_assignment_row *row)
{
    weft_err err = WEFT_ERR_INIT;
    const weft_job_row *job = weft_view_find_job(d->core, row->job_id);
    const weft_round_row *round = weft_core_open_round(d->core, row->job_id);
    const bool may_come =
        row->state == WEFT_ASSIGNMENT_OPEN || row->state == WEFT_ASSIGNMENT_EXPIRED;
    if (!may_come || !job || !round || round->round != row->round ||
        round->attempt != row->attempt) {
        weft_board_remove(d->board, row->assignment_id);
        return;
    }
    weft_rpc_assignment note = {.task = row->task,
                                .model_bytes = job->model_bytes,
                                .clip_norm = job->def->clip_norm,
                                .max_examples = job->def->max_examples,
                                .lease_ms = job->def->lease_ms,
                                .durability = job->def->durability};
    const uint8_t *base = row->task == WEFT_TASK_EVALUATE ? round->version : round->base;
    memcpy(note.base, base, sizeof note.base);
    const weft_secure_session *session = weft_core_secure(d->core, row->job_id);
    if (session) {
        note.masked_bytes = weft_fixed_bytes(weft_secure_session_grid(session));
    }
    if (row->task == WEFT_TASK_EVALUATE) {
        note.max_examples = WEFT_MAX_EXAMPLES; /* a weight of metrics only */
    }
    if (weft_board_put(d->board, row, &note, &err) != WEFT_OK) {
        weft_batch_fail(d, &err);
    }
}

/* After the commit: every assignment of the batch has been noted, so what is still up is left over
 * (uploads that came too late, or never to their end). */
static void drop_left_over(weft_daemon *d, void *arg, bool kept)
{
    const weft_round_row *round = arg;
    const bool over = round->state == WEFT_ROUND_DONE || round->state == WEFT_ROUND_FAILED;
    const weft_task tasks[] = {WEFT_TASK_TRAIN, WEFT_TASK_EVALUATE};
    uint64_t ids[256];
    const size_t max = sizeof ids / sizeof ids[0];
    for (size_t i = 0; kept && i < (over ? 2U : 1U); i++) {
        size_t n = max;
        while (n == max) {
            n = weft_board_end(d->board, round, tasks[i], ids, max);
            for (size_t k = 0; k < n; k++) {
                weft_effects_drop_update(d, round->job_id, ids[k]);
            }
        }
    }
}

void weft_daemon_note_round(weft_daemon *d, const weft_round_row *row)
{
    weft_round_row *copy =
        row->state == WEFT_ROUND_TRAINING ? NULL : weft_batch_memory(d, 1, sizeof *copy);
    if (copy) { /* without memory the next start sweeps */
        *copy = *row;
        weft_batch_after(d, drop_left_over, copy);
    }
}

static weft_status restore_job(void *arg, weft_job_row *row, weft_view definition, weft_err *err)
{
    weft_daemon *d = arg;
    weft_arena arena;
    weft_msg_submit_job_request msg;
    weft_wire_arena_init(&arena, WEFT_MSG_SUBMIT_JOB_REQUEST, d->alloc);
    weft_status status =
        weft_msg_submit_job_request_decode(&msg, definition.data, definition.size, &arena, err);
    if (status == WEFT_OK) {
        row->def = msg.job;
        status = weft_core_restore_job(d->core, row, err);
    }
    d->known_job_id = row->job_id > d->known_job_id ? row->job_id : d->known_job_id;
    weft_arena_done(&arena);
    return status;
}

static weft_status restore_round(void *arg, const weft_round_row *row, weft_err *err)
{
    return weft_core_restore_round(((weft_daemon *)arg)->core, row, err);
}

/* After a reboot an update that was not synced (durability: round) may have holes. It is not
 * folded: without it the round fails openly, and is tried again. */
static weft_status check_spooled(weft_daemon *d, const weft_assignment_row *row, weft_err *err)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    weft_view view;
    weft_err none = WEFT_ERR_INIT;
    if (!weft_spool_rebooted(d->spool) || row->state != WEFT_ASSIGNMENT_ACCEPTED ||
        weft_spool_map(&view, d->spool, row->assignment_id, &none) != WEFT_OK) {
        return WEFT_OK; /* what is missing is told when it is folded */
    }
    const weft_status status = weft_sha256(digest, view.data, view.size, err);
    weft_spool_unmap(&view);
    WEFT_TRY(status);
    if (memcmp(digest, row->update_digest, sizeof digest) == 0) {
        return WEFT_OK;
    }
    weft_log_line(d->log, WEFT_LOG_WARN,
                  "event=update_lost assignment=%" PRIu64 " client=%s round=%u reason=\"its bytes "
                  "did not survive the reboot\"",
                  row->assignment_id, row->client, row->round);
    return weft_spool_drop(d->spool, row->assignment_id, err);
}

static weft_status restore_assignment(void *arg, const weft_assignment_row *row, weft_err *err)
{
    weft_daemon *d = arg;
    WEFT_TRY(check_spooled(d, row, err));
    WEFT_TRY(weft_core_restore_assignment(d->core, row, err));
    weft_daemon_note(d, row);
    return WEFT_OK;
}

static weft_status restore_ended(void *arg, const weft_assignment_row *row,
                                 const weft_round_row *round, weft_err *err)
{
    return weft_core_restore_ended(((weft_daemon *)arg)->core, row, round, err);
}

static weft_status restore_secure(void *arg, const weft_secure_row *row, weft_err *err)
{
    return weft_core_restore_secure(((weft_daemon *)arg)->core, row, err);
}

static weft_status fill(weft_daemon *d, weft_err *err)
{
    uint64_t next_job = 0;
    uint64_t next_assignment = 0;
    WEFT_TRY(weft_store_restore_jobs(d->store, restore_job, d, err));
    WEFT_TRY(weft_store_restore_rounds(d->store, restore_round, d, err));
    WEFT_TRY(weft_store_restore_assignments(d->store, restore_assignment, d, err));
    WEFT_TRY(weft_store_restore_ended(d->store, restore_ended, d, err));
    WEFT_TRY(weft_store_restore_secure(d->store, restore_secure, d, err));
    WEFT_TRY(weft_store_next_ids(d->store, &next_job, &next_assignment, err));
    weft_actions *actions = &d->batch.actions;
    actions->n = 0;
    WEFT_TRY(
        weft_core_resume(d->core, next_job, next_assignment, weft_daemon_now_ms(d), actions, err));
    return weft_batch_take(d, actions, err);
}

weft_status weft_daemon_restore(weft_daemon *d, weft_err *err)
{
    weft_core_config config = WEFT_CORE_CONFIG_INIT;
    config.come_back_ms = d->config.come_back_ms;
    config.max_hold_ms = d->config.hold_ms;
    config.max_jobs = d->config.max_jobs;
    config.federation = d->host.federation;
    memcpy(config.operator_public, weft_auth_operator_public(d->auth),
           sizeof config.operator_public);
    WEFT_TRY(d->entropy->fill(d->entropy->self, &config.pace_seed, sizeof config.pace_seed, err));
    weft_core_free(d->core);
    d->core = NULL;
    weft_rounds_drop_all(d->rounds);
    weft_board_clear(d->board);
    weft_effects_unpin_all(d);
    d->known_job_id = 0;
    WEFT_TRY(weft_core_new(&d->core, &config, d->alloc, err));
    const weft_status status = fill(d, err);
    if (status != WEFT_OK) {
        weft_batch_drop(d);
    } else {
        weft_batch_end(d);
        weft_log_line(d->log, WEFT_LOG_INFO, "event=restored jobs=%u logical_ms=%" PRIu64,
                      weft_core_n_jobs(d->core), weft_daemon_now_ms(d));
    }
    return status;
}
