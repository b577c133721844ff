/* SPDX-License-Identifier: Apache-2.0 */
/* What a sum gave: the version is published, and evaluated where that is due. */
#include "core/core_priv.h"

#include <string.h>

static bool evaluation_due(const core_round *round)
{
    const weft_job_def *def = &round->job->def;
    return def->task == WEFT_TASK_TRAIN && (def->eval_clients > 0 || def->eval_data) &&
           (round->row.round % def->eval_every == 0 || round->row.round >= def->rounds);
}

static weft_status publish(weft_core *core, core_round *round, const weft_event *event,
                           weft_err *err)
{
    core_job *job = round->job;
    core->has_version = true;
    core->version = (weft_version_row){
        .has_parent = true,
        .job_id = job->row.job_id,
        .round = round->row.round,
        .bytes = event->u.finished.bytes,
        .created_unix_ms = core->unix_ms,
    };
    memcpy(core->version.digest, event->u.finished.version, WEFT_DIGEST_BYTES);
    memcpy(core->version.parent, round->row.base, WEFT_DIGEST_BYTES);
    round->row.has_version = true;
    memcpy(round->row.version, event->u.finished.version, WEFT_DIGEST_BYTES);
    if (event->u.finished.totals) {
        round->row.train = event->u.finished.totals->metrics;
        round->row.n_examples = event->u.finished.totals->weight;
    } else {
        core_round_mean(&round->row.train, round, false);
    }
    memcpy(job->row.version, event->u.finished.version, WEFT_DIGEST_BYTES);
    job->row.model_bytes = event->u.finished.bytes;
    core_touch_job(core, job);
    WEFT_TRY(core_publish(core, WEFT_ACTION_PUBLISH, job, round->row.round, err));
    WEFT_TRY(core_round_drop_updates(core, round, err));
    WEFT_TRY(core_round_name_liars(core, round, event, err));
    WEFT_TRY(core_secure_end(core, round, NULL, err));
    char text[WEFT_REASON_BYTES];
    core_text(text, "the mean of %u updates", round->row.accepted);
    return core_notify(core, "version", job, round, "", text, err);
}

weft_status core_on_finished(weft_core *core, const weft_event *event, weft_err *err)
{
    const core_job *job = core_job_find(core, event->u.finished.job_id);
    core_round *round = job ? job->round : NULL;
    if (!round || round->row.round != event->u.finished.round ||
        round->row.attempt != event->u.finished.attempt || !round->finishing) {
        return WEFT_OK; /* the attempt was ended meanwhile */
    }
    if (event->u.finished.task == WEFT_TASK_EVALUATE) {
        return round->session && round->session_task == WEFT_TASK_EVALUATE
                   ? core_evaluation_metrics(core, round, event, err)
                   : WEFT_OK;
    }
    if (round->row.state != WEFT_ROUND_AGGREGATING) {
        return WEFT_OK;
    }
    if (!event->u.finished.ok) {
        char text[WEFT_REASON_BYTES];
        const char *reason = event->u.finished.reason;
        core_text(text, "%s", reason && reason[0] ? reason : "the sum could not be finished");
        return core_round_attempt_failed(core, round, text, err);
    }
    WEFT_TRY(publish(core, round, event, err));
    if (evaluation_due(round)) {
        return core_evaluation_begin(core, round, err);
    }
    char reason[WEFT_REASON_BYTES];
    core_text_cut(reason, event->u.finished.liars ? round->row.reason : "");
    return core_round_done(core, round, reason, err);
}
