/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training: gathering updates until the target, the deadline or nobody is left, then the sum's end.
 */
#include "core/core_priv.h"

weft_status core_round_finish(weft_core *core, core_round *round, weft_err *err)
{
    const bool folded = round->session ? round->session_folded >= round->session_masked
                                       : round->folded >= round->row.accepted;
    if (round->finishing || !folded) {
        return WEFT_OK;
    }
    round->finishing = true;
    return core_sum(core, WEFT_ACTION_FINISH, round, err);
}

weft_status core_round_close(weft_core *core, core_round *round, const char *reason, weft_err *err)
{
    WEFT_TRY(core_round_end_open(core, round, WEFT_ASSIGNMENT_LATE, "the round has closed", err));
    core_round_set_state(core, round, WEFT_ROUND_AGGREGATING, reason);
    round->row.deadline_ms = 0;
    WEFT_TRY(core_notify(core, "round", round->job, round, "", reason, err));
    return core_round_finish(core, round, err);
}

weft_status core_training_advance(weft_core *core, core_round *round, bool *changed, weft_err *err)
{
    const weft_job_def *def = &round->job->def;
    if (!core_secure_gathering(round)) {
        return core_secure_advance(core, round, changed, err);
    }
    const uint32_t accepted = core_round_come(round);
    char text[WEFT_REASON_BYTES];
    if (accepted < def->target && core->now_ms < round->row.deadline_ms) {
        return WEFT_OK;
    }
    *changed = true;
    if (accepted >= def->minimum && round->session) {
        return core_secure_close(core, round, err);
    }
    if (accepted >= def->minimum) {
        core_text(text, "%u updates %s", accepted,
                  accepted >= def->target ? "reached the target" : "at the deadline");
        return core_round_close(core, round, text, err);
    }
    core_text(text, "%u updates at the deadline, at least %u are needed", accepted, def->minimum);
    return core_round_attempt_failed(core, round, text, err);
}

/* Expired ones may return with their updates. */
static uint32_t returning(const core_round *round)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < round->n; i++) {
        const core_assignment *a = round->list[i];
        n += a->row.state == WEFT_ASSIGNMENT_EXPIRED && !a->client->revoked;
    }
    return n;
}

weft_status core_round_look(weft_core *core, core_job *job, bool *changed, weft_err *err)
{
    core_round *round = job->round;
    if (!round || round->row.state != WEFT_ROUND_TRAINING || !core_secure_gathering(round)) {
        return WEFT_OK;
    }
    char text[WEFT_REASON_BYTES];
    const uint32_t minimum = job->def.minimum;
    const uint32_t filled = round->open + round->row.accepted;
    if (round->open == round->advertised && core_round_come(round) >= minimum) {
        *changed = true;
        if (round->session) {
            return core_secure_close(core, round, err);
        }
        core_text(text, "%u updates, and no assignment is open any more", round->row.accepted);
        return core_round_close(core, round, text, err);
    }
    if (filled >= minimum || core->now_ms < round->recheck_ms) {
        return WEFT_OK;
    }
    round->recheck_ms = core_later(core->now_ms, core->config.come_back_ms + 1);
    const uint64_t hope =
        (uint64_t)filled + returning(round) + core_select_reserve(core, round, job->def.task);
    if (hope >= minimum || core->now_ms < core->known_at_ms) {
        return WEFT_OK;
    }
    *changed = true;
    core_text(text, "only %llu of at least %u updates can still come", CORE_ULL(hope), minimum);
    return core_round_attempt_failed(core, round, text, err);
}

weft_status core_on_folded(weft_core *core, const weft_event *event, weft_err *err)
{
    (void)err;
    core_assignment *a = core_assignment_find(core, event->u.folded.assignment_id);
    if (!a || !a->round || a->row.state != WEFT_ASSIGNMENT_ACCEPTED || a->folded) {
        return WEFT_OK;
    }
    core_round *round = a->round;
    if (round->session && a->row.task == round->session_task) {
        a->folded = true;
        round->session_folded++;
    } else if (!round->session && a->row.task != WEFT_TASK_EVALUATE) {
        a->folded = true;
        round->folded++;
    }
    return WEFT_OK; /* of a round that failed meanwhile: nobody asks any more */
}
