/* SPDX-License-Identifier: Apache-2.0 */
/* Secure sessions as values: made from a round's row, counted, freed. */
#include "core/core_priv.h"

#include <string.h>

weft_secure_session *weft_secure_session_ref(weft_secure_session *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void weft_secure_session_unref(weft_secure_session *s)
{
    if (s && atomic_fetch_sub(&s->refs, 1) == 1) {
        weft_secagg_server_free(s->machine);
        weft_free(s->alloc, s);
    }
}

const weft_secagg_server *weft_secure_session_machine(const weft_secure_session *s)
{
    return s->machine;
}

const weft_fixed_grid *weft_secure_session_grid(const weft_secure_session *s)
{
    return &s->grid;
}

const weft_secagg_terms *weft_secure_session_terms(const weft_secure_session *s)
{
    return &s->terms;
}

const uint8_t *weft_secure_session_ctx(const weft_secure_session *s)
{
    return s->ctx;
}

/* As every client makes it of its assignment. */
static weft_status make_ctx(weft_secure_session *s, const weft_core *core, const core_job *job,
                            const weft_round_row *row, weft_task task, weft_err *err)
{
    const bool evaluate = task == WEFT_TASK_EVALUATE;
    weft_buf encoding;
    weft_buf_init(&encoding, core->alloc, 1024);
    weft_status status = weft_fixed_describe(&encoding, &s->grid, err);
    if (status == WEFT_OK) {
        weft_secagg_context context = {
            .federation = s->federation,
            .job = job->def.name,
            .job_id = row->job_id,
            .round = row->round,
            .attempt = row->attempt,
            .task = task,
            .plan = job->def.plan,
            .policy = s->terms.policy,
            .encoding = {encoding.data, encoding.size},
        };
        memcpy(context.base_digest, evaluate ? row->version : row->base, WEFT_DIGEST_BYTES);
        status = weft_secagg_ctx(s->ctx, &context, err);
    }
    weft_buf_done(&encoding);
    return status;
}

static weft_status fill(weft_secure_session *s, const weft_core *core, const core_job *job,
                        const weft_round_row *row, weft_task task, weft_err *err)
{
    const weft_job_def *def = &job->def;
    const char *federation = core->config.federation;
    memcpy(s->federation, federation, strnlen(federation, WEFT_MAX_NAME_BYTES));
    memcpy(s->operator_public, core->config.operator_public, sizeof s->operator_public);
    weft_secagg_terms_make(&s->terms, def, task);
    WEFT_TRY(weft_secagg_terms_grid(&s->grid, &s->terms, task, job->row.model_bytes / sizeof(float),
                                    def->clip_norm, def->max_examples, err));
    WEFT_TRY(make_ctx(s, core, job, row, task, err));
    weft_secagg_server_config config = {
        .policy = s->terms.policy,
        .minimum = s->terms.policy.min_cohort,
        .expected = s->terms.max_cohort,
        .federation = s->federation,
        .operator_public = s->operator_public,
        .alloc = s->alloc,
    };
    memcpy(config.ctx, s->ctx, sizeof config.ctx);
    return weft_secagg_server_new(&s->machine, &config, err);
}

weft_status core_session_new(weft_secure_session **ret, const weft_core *core, const core_job *job,
                             const weft_round_row *row, weft_task task, weft_err *err)
{
    weft_secure_session *s = weft_array(core->alloc, 1, sizeof *s);
    if (!s) {
        return core_no_memory(err, 1, "secure session");
    }
    atomic_init(&s->refs, 1);
    s->alloc = core->alloc;
    const weft_status status = fill(s, core, job, row, task, err);
    if (status != WEFT_OK) {
        weft_secure_session_unref(s);
        return status;
    }
    *ret = s;
    return WEFT_OK;
}
