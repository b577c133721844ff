/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as messages. Pure. */
#include "app/views.h"

#include <string.h>

#define NAME_OF(names, value)                                                                      \
    ((size_t)(value) < sizeof(names) / sizeof(names)[0] ? (names)[value] : "unknown")

const char *weft_view_job_status(weft_job_status status)
{
    static const char *const names[] = {"unknown", "running",  "paused",
                                        "done",    "canceled", "failed"};
    return NAME_OF(names, status);
}

const char *weft_view_round_state(weft_round_state state)
{
    static const char *const names[] = {"unknown",    "training", "aggregating",
                                        "evaluating", "done",     "failed"};
    return NAME_OF(names, state);
}

const char *weft_view_assignment_state(weft_assignment_state state)
{
    static const char *const names[] = {"unknown", "open", "accepted", "abandoned",
                                        "expired", "late", "refused",  "revoked"};
    return NAME_OF(names, state);
}

const char *weft_view_client_status(weft_store_client_status status)
{
    static const char *const names[] = {"unknown", "invited", "enrolled", "revoked"};
    return NAME_OF(names, status);
}

const weft_job_row *weft_view_find_job(const weft_core *core, uint64_t job_id)
{
    uint32_t low = 0;
    uint32_t high = weft_core_n_jobs(core);
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const weft_job_row *row = weft_core_job_at(core, middle);
        if (row->job_id == job_id) {
            return row;
        }
        if (row->job_id < job_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static weft_view digest_of(bool has, const uint8_t *digest)
{
    return (weft_view){has ? digest : NULL, has ? WEFT_DIGEST_BYTES : 0};
}

void weft_view_job(weft_msg_job_info *out, const weft_job_row *row, const weft_round_row *open)
{
    memset(out, 0, sizeof *out);
    out->job_id = row->job_id;
    out->name = row->def->name;
    out->status = weft_view_job_status(row->status);
    out->reason = row->reason;
    out->round = row->round;
    out->rounds_done = row->rounds_done;
    out->rounds_total = row->def->rounds;
    out->current_version = digest_of(row->has_version, row->version);
    out->dataset = row->def->dataset;
    out->created_unix_ms = row->created_unix_ms;
    out->secure_aggregation = row->def->secure_aggregation;
    if (open) {
        out->cohort = open->cohort;
        out->accepted = open->accepted;
        out->round_state = weft_view_round_state(open->state);
    }
}

void weft_view_round(weft_msg_round_info *out, const weft_round_row *row, const weft_job_def *def)
{
    memset(out, 0, sizeof *out);
    out->job = def ? def->name : "";
    out->round = row->round;
    out->attempt = row->attempt;
    out->state = weft_view_round_state(row->state);
    out->reason = row->reason;
    out->eligible = row->eligible;
    out->cohort = row->cohort;
    out->accepted = row->accepted;
    out->n_examples = row->n_examples;
    out->base_version = digest_of(true, row->base);
    out->version = digest_of(row->has_version, row->version);
    out->opened_unix_ms = row->opened_unix_ms;
    out->closed_unix_ms = row->closed_unix_ms;
    out->train_metrics = row->train;
    out->eval_metrics = row->federated;
    out->central_metrics = row->central;
    out->bytes_up = row->bytes_up;
    out->bytes_down = row->bytes_down;
}

void weft_view_assignment(weft_msg_assignment_info *out, const weft_assignment_row *row)
{
    const bool has_update = row->state == WEFT_ASSIGNMENT_ACCEPTED && row->bytes > 0;
    memset(out, 0, sizeof *out);
    out->assignment_id = row->assignment_id;
    out->client = row->client;
    out->state = weft_view_assignment_state(row->state);
    out->reason = row->reason;
    out->n_examples = row->n_examples;
    out->update_digest = digest_of(has_update, row->update_digest);
    out->task = row->task;
}

void weft_view_version(weft_msg_model_info *out, const weft_store_version *version)
{
    const weft_version_row *row = &version->row;
    memset(out, 0, sizeof *out);
    out->digest = digest_of(true, row->digest);
    out->parent = digest_of(row->has_parent, row->parent);
    out->job = version->job;
    out->round = row->round;
    out->bytes = row->bytes;
    out->created_unix_ms = row->created_unix_ms;
    out->released = version->released;
    out->release_name = version->release;
    out->current = version->current;
    /* what clients measured counts more than what one data set says */
    out->metrics = version->federated.n ? version->federated : version->central;
}
