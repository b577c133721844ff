/* SPDX-License-Identifier: Apache-2.0 */
/* Shorthand for unit tests of the core. */
#include "sim/core_fixture.h"

#include <string.h>

void fix_init(core_fixture *f)
{
    memset(f, 0, sizeof *f);
    const weft_core_config config = {2000, 30000, 3, 7, "fed", {0}};
    sim_shell_init(&f->s, &config);
    sim_job_def(&f->def, "job", "d");
    f->def.target = 2;
    f->def.minimum = 1;
    f->def.over_selection = 1.0;
    f->def.deadline_ms = 60000;
    f->def.lease_ms = 10000;
    f->def.max_attempts = 3;
    f->def.backoff_ms = 1000;
    f->def.selection_window_ms = 0;
    f->def.rounds = 3;
    f->def.max_examples = 100;
    f->s.now_ms = 40000; /* long enough after the start to know who is about */
}

void fix_done(core_fixture *f)
{
    sim_shell_check(&f->s, true);
    sim_shell_done(&f->s);
    weft_job_def_done(&f->def, &weft_alloc_std);
}

uint64_t fix_submit(core_fixture *f, const char *name)
{
    memset(f->def.name, 0, sizeof f->def.name);
    memcpy(f->def.name, name, strlen(name));
    f->call++;
    assert_true(sim_submit(&f->s, f->call, &f->def));
    const sim_answer a = fix_answer(f, f->call);
    if (a.kind == WEFT_REPLY_ERROR) {
        fail_msg("submit: %s", a.detail);
    }
    assert_int_equal(a.kind, WEFT_REPLY_JOB);
    return a.job_id;
}

const weft_job_row *fix_job(core_fixture *f, uint64_t job_id)
{
    const weft_job_row *row = sim_job(&f->s, job_id);
    assert_non_null(row);
    return row;
}

const weft_round_row *fix_round(core_fixture *f, uint64_t job_id, uint32_t round)
{
    const weft_round_row *newest = NULL;
    for (uint32_t attempt = 1;; attempt++) {
        const weft_round_row *row = sim_round(&f->s, job_id, round, attempt);
        if (!row) {
            break;
        }
        newest = row;
    }
    assert_non_null(newest);
    return newest;
}

uint64_t fix_wait(core_fixture *f, const char *client)
{
    f->call++;
    const uint64_t call = f->call;
    (void)sim_check_in(&f->s, call, client, "d", 30000);
    return call;
}

sim_answer fix_answer(core_fixture *f, uint64_t call)
{
    sim_answer a = {0};
    assert_true(sim_shell_answer(&f->s, call, &a));
    return a;
}

void fix_unanswered(core_fixture *f, uint64_t call)
{
    sim_answer a;
    assert_false(sim_shell_answer(&f->s, call, &a));
}

sim_answer fix_assigned(core_fixture *f, const char *client)
{
    const sim_answer a = fix_answer(f, fix_wait(f, client));
    assert_int_equal(a.kind, WEFT_REPLY_ASSIGNMENT);
    assert_string_equal(a.row.client, client);
    return a;
}

sim_answer fix_update_full(core_fixture *f, const sim_answer *assignment, uint64_t content,
                           uint64_t n_examples, weft_refusal refusal, const weft_metrics *metrics)
{
    f->call++;
    (void)sim_update(&f->s, f->call, assignment->row.client, assignment->row.assignment_id,
                     assignment->base, content, n_examples, refusal, metrics);
    return fix_answer(f, f->call);
}

sim_answer fix_update(core_fixture *f, const sim_answer *assignment, uint64_t content)
{
    return fix_update_full(f, assignment, content, 10, WEFT_REFUSAL_NONE, NULL);
}

void fix_deliver(core_fixture *f, const sim_answer *assignment, uint64_t content)
{
    const sim_answer a = fix_update(f, assignment, content);
    assert_int_equal(a.kind, WEFT_REPLY_RECEIPT);
    assert_int_equal(a.row.assignment_id, assignment->row.assignment_id);
    assert_int_equal(a.row.state, WEFT_ASSIGNMENT_ACCEPTED);
}

sim_answer fix_progress(core_fixture *f, const sim_answer *assignment)
{
    f->call++;
    (void)sim_progress(&f->s, f->call, assignment->row.client, assignment->row.assignment_id);
    const sim_answer a = fix_answer(f, f->call);
    assert_int_equal(a.kind, WEFT_REPLY_PROGRESS);
    return a;
}

sim_answer fix_abandon(core_fixture *f, const sim_answer *assignment)
{
    f->call++;
    (void)sim_abandon(&f->s, f->call, assignment->row.client, assignment->row.assignment_id);
    return fix_answer(f, f->call);
}

sim_answer fix_control(core_fixture *f, const char *job, weft_job_status to)
{
    f->call++;
    (void)sim_control(&f->s, f->call, job, to);
    return fix_answer(f, f->call);
}

void fix_train(core_fixture *f, const char *client, uint64_t content)
{
    const sim_answer a = fix_assigned(f, client);
    fix_deliver(f, &a, content);
    sim_shell_work_all(&f->s);
}

weft_metrics fix_metric(const char *name, double value)
{
    weft_metrics m = {0};
    assert_int_equal(weft_metrics_set(&m, name, value, NULL), WEFT_OK);
    return m;
}

void fix_expect_refused(const sim_answer *answer, weft_refusal refusal)
{
    assert_int_equal(answer->kind, WEFT_REPLY_REFUSED);
    assert_int_equal(answer->refusal, refusal);
    assert_true(answer->detail[0] != '\0');
}

sim_answer fix_submit_def(core_fixture *f)
{
    f->call++;
    (void)sim_submit(&f->s, f->call, &f->def);
    return fix_answer(f, f->call);
}

weft_metrics fix_central_of_round(void *self, const weft_job_row *job, uint32_t round)
{
    const double *values = self;
    (void)job;
    return fix_metric("accuracy", values[round - 1]);
}
