/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the client's session share: one session, fed by hand, its last batch looked at.
 */
#ifndef WEFT_TEST_SESSION_FIXTURE_H
#define WEFT_TEST_SESSION_FIXTURE_H

#include "support/support.h"

#include "session.h"

#include <math.h>
#include <string.h>

typedef struct fixture {
    weft_session *s;
    weft_session_config config;
    weft_session_actions out;
    uint64_t now;
    int64_t unix_ms;
} fixture;

static const weft_session_dataset offered[] = {{"digits"}, {"hearts"}};

static inline weft_session_assignment assignment(void)
{
    weft_session_assignment a = {.assignment_id = 7,
                                 .job = "mnist",
                                 .round = 3,
                                 .attempt = 1,
                                 .task = WEFT_TASK_TRAIN,
                                 .dataset = "digits",
                                 .model_spec = "tensor w 4",
                                 .data_schema = "",
                                 .plan = WEFT_PLAN_INIT,
                                 .base_digest = {1, 2, 3},
                                 .base_bytes = 16,
                                 .clip_norm = 10.0,
                                 .max_examples = 1000,
                                 .deadline_ms = 60000,
                                 .lease_ms = 3000,
                                 .cohort = 8,
                                 .encoding = "f32"};
    return a;
}

static inline void begin_with(fixture *f, const weft_session_record *record)
{
    f->s = NULL;
    f->now = 1000;
    assert_ok(weft_session_new(&f->s, &f->config, record, &weft_alloc_std, &assert_err));
}

static inline void begin(fixture *f)
{
    memset(f, 0, sizeof *f);
    f->config = (weft_session_config)WEFT_SESSION_CONFIG_INIT;
    f->config.datasets = offered;
    f->config.n_datasets = 2;
    f->unix_ms = 1000000;
    begin_with(f, NULL);
}

static inline void end(fixture *f)
{
    weft_session_free(f->s);
    f->s = NULL;
}

static inline void feed(fixture *f, weft_session_event event)
{
    event.unix_ms = f->unix_ms;
    assert_ok(weft_session_on(f->s, &event, f->now, &f->out, &assert_err));
}

/* The kinds of the last batch, in order; ends with 0. */
static inline void expect(const fixture *f, const int *kinds, int line)
{
    uint32_t i = 0;
    for (; kinds[i]; i++) {
        if (i >= f->out.n || (int)f->out.item[i].kind != kinds[i]) {
            fail_msg("line %d: action %u is %d of %u, wanted %d", line, i,
                     i < f->out.n ? (int)f->out.item[i].kind : 0, f->out.n, kinds[i]);
        }
    }
    if (f->out.n != i) {
        fail_msg("line %d: %u actions, wanted %u; the next is %d", line, f->out.n, i,
                 (int)f->out.item[i].kind);
    }
}
#define EXPECT(f, ...)    expect((f), (const int[]){__VA_ARGS__, 0}, __LINE__)
#define EXPECT_NOTHING(f) expect((f), (const int[]){0}, __LINE__)

static inline const weft_session_action *find(const fixture *f, weft_session_action_kind kind)
{
    uint32_t i = 0;
    while (i < f->out.n && f->out.item[i].kind != kind) {
        i++;
    }
    if (i == f->out.n) {
        fail_msg("no action %d in the batch", (int)kind);
    }
    return &f->out.item[i < f->out.n ? i : 0];
}

static inline void tick(fixture *f)
{
    feed(f, (weft_session_event){.kind = WEFT_SESSION_TICK});
}

static inline void failed(fixture *f, weft_session_action_kind action, weft_status status)
{
    weft_session_event e = {.kind = WEFT_SESSION_FAILED};
    e.u.failed.action = action;
    e.u.failed.status = status;
    e.u.failed.detail = "the network is away";
    feed(f, e);
}

static inline void assign(fixture *f, const weft_session_assignment *a)
{
    weft_session_event e = {.kind = WEFT_SESSION_CHECKED_IN};
    e.u.checked_in.answer = WEFT_SESSION_ASSIGNMENT;
    e.u.checked_in.assignment = a;
    feed(f, e);
}

static inline void come_back(fixture *f, uint64_t ms)
{
    weft_session_event e = {.kind = WEFT_SESSION_CHECKED_IN};
    e.u.checked_in.answer = WEFT_SESSION_COME_BACK;
    e.u.checked_in.come_back_ms = ms;
    feed(f, e);
}

static inline void trained_with(fixture *f, weft_status status, uint64_t n, double loss)
{
    static weft_metrics metrics;
    metrics.n = 1;
    strcpy(metrics.item[0].name, "loss");
    metrics.item[0].value = loss;
    weft_session_event e = {.kind = WEFT_SESSION_TRAINED};
    e.u.trained.status = status;
    e.u.trained.n_examples = n;
    e.u.trained.metrics = &metrics;
    e.u.trained.detail = status == WEFT_OK ? NULL : "out of paper";
    feed(f, e);
}

static inline void stored(fixture *f)
{
    weft_session_event e = {.kind = WEFT_SESSION_STORED};
    e.u.stored.total_bytes = 16;
    memset(e.u.stored.digest, 9, sizeof e.u.stored.digest);
    feed(f, e);
}

static inline weft_session_receipt receipt_for(uint64_t id, uint8_t digest)
{
    weft_session_receipt r = {.assignment_id = id, .round = 3, .n_examples = 10};
    memset(r.update_digest, digest, sizeof r.update_digest);
    return r;
}

static inline void submitted(fixture *f, const weft_session_receipt *receipt)
{
    weft_session_event e = {.kind = WEFT_SESSION_SUBMITTED};
    e.u.submitted.receipt = receipt;
    e.u.submitted.refusal = receipt ? NULL : "late: the round has closed";
    feed(f, e);
}

static inline void progressed(fixture *f, bool stop, uint64_t held,
                              const weft_session_receipt *receipt)
{
    weft_session_event e = {.kind = WEFT_SESSION_PROGRESSED};
    e.u.progressed.stop = stop;
    e.u.progressed.reason = stop ? "late: the round has closed" : NULL;
    e.u.progressed.held_bytes = held;
    e.u.progressed.receipt = receipt;
    feed(f, e);
}

/* Up to the point where the named call is under way. */
static inline void walk_to(fixture *f, weft_session_action_kind kind)
{
    const weft_session_assignment a = assignment();
    tick(f);
    if (kind == WEFT_SESSION_CHECK_IN) {
        return;
    }
    assign(f, &a);
    if (kind == WEFT_SESSION_FETCH) {
        return;
    }
    feed(f, (weft_session_event){.kind = WEFT_SESSION_FETCHED});
    if (kind == WEFT_SESSION_TRAIN) {
        return;
    }
    if (kind == WEFT_SESSION_ABANDON) {
        trained_with(f, WEFT_E_INVALID, 0, 0.0);
        return;
    }
    trained_with(f, WEFT_OK, 10, 0.5);
    if (kind == WEFT_SESSION_STORE) {
        return;
    }
    stored(f);
    if (kind == WEFT_SESSION_UPLOAD) {
        return;
    }
    failed(f, WEFT_SESSION_UPLOAD, WEFT_E_AGAIN); /* kind is PROGRESS: it asks */
    f->now = weft_session_next_ms(f->s);
    tick(f);
}

#endif
