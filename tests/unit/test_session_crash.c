/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client session: a client and a coordinator of a few lines in one thread, with virtual time. The
 * client dies before its k-th action, for every k, and the network fails by seed; afterwards each
 * update was trained once it was durable at most once, each assignment ended as the coordinator
 * knows it, and nothing was lost.
 */
#include "support/support.h"

#include "session.h"

#include <string.h>

enum { ASSIGNMENTS = 3, UPDATE_BYTES = 16 };

/* What survives a crash of the client. */
typedef struct disk {
    bool open;
    weft_session_record record;
    unsigned closed[ASSIGNMENTS + 1]; /* by assignment */
    weft_session_outcome outcome[ASSIGNMENTS + 1];
} disk;

/* The coordinator's side: it never forgets. */
typedef struct other {
    uint64_t assignment_id; /* the newest */
    bool open;
    uint64_t held;
    bool accepted[ASSIGNMENTS + 1];
    unsigned refused[ASSIGNMENTS + 1];
} other;

typedef struct world {
    disk disk;
    other other;
    weft_rng rng;
    uint64_t now;
    unsigned n_actions;
    unsigned die_at; /* before this action; 0: never */
    unsigned fail_of_8;
    bool died;
    bool finished;
    unsigned trained[ASSIGNMENTS + 1];
    unsigned trained_again[ASSIGNMENTS + 1]; /* although the update was durable */
    weft_session *s;
} world;

static const weft_session_dataset offered[] = {{"digits"}};

static weft_session_assignment assignment(uint64_t id)
{
    weft_session_assignment a = {.assignment_id = id,
                                 .job = "mnist",
                                 .round = (uint32_t)id,
                                 .attempt = 1,
                                 .task = WEFT_TASK_TRAIN,
                                 .dataset = "digits",
                                 .model_spec = "tensor w 4",
                                 .data_schema = "",
                                 .plan = WEFT_PLAN_INIT,
                                 .base_bytes = UPDATE_BYTES,
                                 .clip_norm = 10.0,
                                 .max_examples = 1000,
                                 .lease_ms = 3000,
                                 .cohort = 8,
                                 .encoding = "f32"};
    return a;
}

static weft_session_receipt receipt(uint64_t id)
{
    weft_session_receipt r = {.assignment_id = id};
    memset(r.update_digest, (int)id, sizeof r.update_digest);
    return r;
}

static bool network_fails(world *w)
{
    return weft_rng_below(&w->rng, 8) < w->fail_of_8;
}

static void fail_call(weft_session_event *e, weft_session_action_kind action)
{
    *e = (weft_session_event){.kind = WEFT_SESSION_FAILED};
    e->u.failed.action = action;
    e->u.failed.status = WEFT_E_AGAIN;
    e->u.failed.detail = "the network is away";
}

/* ---- the coordinator ------------------------------------------------------------------------ */

static weft_session_assignment given;
static weft_session_receipt signed_receipt;

static void answer_check_in(world *w, weft_session_event *e)
{
    other *o = &w->other;
    e->kind = WEFT_SESSION_CHECKED_IN;
    if (!o->open && o->assignment_id == ASSIGNMENTS) {
        e->u.checked_in.answer = WEFT_SESSION_NOTHING_MORE;
        return;
    }
    if (!o->open) {
        o->assignment_id++;
        o->open = true;
        o->held = 0;
    }
    given = assignment(o->assignment_id);
    e->u.checked_in.answer = WEFT_SESSION_ASSIGNMENT;
    e->u.checked_in.assignment = &given;
}

static void answer_progress(world *w, uint64_t id, weft_session_event *e)
{
    const other *o = &w->other;
    e->kind = WEFT_SESSION_PROGRESSED;
    if (o->accepted[id]) {
        signed_receipt = receipt(id);
        e->u.progressed.receipt = &signed_receipt;
        e->u.progressed.stop = true;
    } else if (!o->open || id != o->assignment_id) {
        e->u.progressed.stop = true;
        e->u.progressed.reason = "late";
    } else {
        e->u.progressed.held_bytes = o->held;
    }
}

/* Some of it arrives, or all of it; the reply may be lost. */
static void take_upload(world *w, const weft_session_action *a, weft_session_event *e)
{
    other *o = &w->other;
    const uint64_t id = a->u.upload.assignment->assignment_id;
    assert_true(o->open && id == o->assignment_id);
    assert_true(a->u.upload.offset <= o->held);
    o->held = a->u.upload.offset;
    if (network_fails(w)) {
        o->held += weft_rng_below(&w->rng, UPDATE_BYTES - o->held + 1);
        fail_call(e, WEFT_SESSION_UPLOAD);
        return;
    }
    o->held = UPDATE_BYTES;
    o->open = false;
    if (weft_rng_below(&w->rng, 8) == 0) {
        o->refused[id]++;
        e->kind = WEFT_SESSION_SUBMITTED;
        e->u.submitted.refusal = "late";
    } else {
        o->accepted[id] = true;
        signed_receipt = receipt(id);
        e->kind = WEFT_SESSION_SUBMITTED;
        e->u.submitted.receipt = &signed_receipt;
    }
    if (network_fails(w)) {
        fail_call(e, WEFT_SESSION_UPLOAD);
    }
}

/* ---- the client's shell --------------------------------------------------------------------- */

static void close_record(world *w, const weft_session_action *a)
{
    const uint64_t id = a->u.close.assignment->assignment_id;
    w->disk.closed[id]++;
    w->disk.outcome[id] = a->u.close.outcome;
    w->disk.open = false;
}

/* @return true: e answers. */
static bool perform(world *w, const weft_session_action *a, weft_session_event *e)
{
    static weft_metrics metrics;
    memset(e, 0, sizeof *e);
    switch (a->kind) {
    case WEFT_SESSION_KEEP_ASSIGNMENT:
        memset(&w->disk.record, 0, sizeof w->disk.record);
        w->disk.record.assignment = assignment(a->u.assignment->assignment_id);
        w->disk.open = true;
        return false;
    case WEFT_SESSION_KEEP_ABANDON:
        w->disk.record.abandoning = true;
        return false;
    case WEFT_SESSION_CLOSE:
        close_record(w, a);
        return false;
    case WEFT_SESSION_CHECK_IN:
        if (network_fails(w)) {
            fail_call(e, a->kind);
            return true;
        }
        answer_check_in(w, e);
        if (network_fails(w)) { /* it was given, and the reply was lost */
            fail_call(e, a->kind);
        }
        return true;
    case WEFT_SESSION_FETCH:
        e->kind = WEFT_SESSION_FETCHED;
        if (network_fails(w)) {
            fail_call(e, a->kind);
        }
        return true;
    case WEFT_SESSION_TRAIN:
        w->trained[a->u.train.assignment->assignment_id]++;
        w->trained_again[a->u.train.assignment->assignment_id] += w->disk.record.has_update;
        e->kind = WEFT_SESSION_TRAINED;
        e->u.trained.n_examples = 10;
        e->u.trained.metrics = &metrics;
        return true;
    case WEFT_SESSION_STORE:
        w->disk.record.has_update = true;
        w->disk.record.update = *a->u.store.update;
        w->disk.record.update.total_bytes = UPDATE_BYTES;
        memset(w->disk.record.update.digest, (int)a->u.store.assignment->assignment_id, 32);
        e->kind = WEFT_SESSION_STORED;
        e->u.stored.total_bytes = UPDATE_BYTES;
        memcpy(e->u.stored.digest, w->disk.record.update.digest, 32);
        return true;
    case WEFT_SESSION_UPLOAD:
        take_upload(w, a, e);
        return true;
    case WEFT_SESSION_PROGRESS:
        answer_progress(w, a->u.progress.assignment_id, e);
        if (network_fails(w)) {
            fail_call(e, a->kind);
        }
        return true;
    case WEFT_SESSION_FINISH:
        assert_int_equal(a->u.finish.status, WEFT_OK);
        w->finished = true;
        return false;
    case WEFT_SESSION_ABANDON:
    case WEFT_SESSION_RENEW:
    case WEFT_SESSION_KEEP_SECURE:
    case WEFT_SESSION_STEP:
    case WEFT_SESSION_MASK:
    case WEFT_SESSION_CANCEL:
        fail_msg("nothing here abandons, renews, masks or cancels, but action %d came",
                 (int)a->kind);
        return false;
    case WEFT_SESSION_NOTIFY:
    default:
        return false;
    }
}

static void start_client(world *w)
{
    weft_session_config c = WEFT_SESSION_CONFIG_INIT;
    c.datasets = offered;
    c.n_datasets = 1;
    c.seed = weft_rng_u64(&w->rng);
    assert_ok(weft_session_new(&w->s, &c, w->disk.open ? &w->disk.record : NULL, &weft_alloc_std,
                               &assert_err));
}

/* Feed one event and everything that follows at once. @return false: the client died. */
static bool feed(world *w, weft_session_event e)
{
    for (bool more = true; more;) {
        weft_session_actions out;
        assert_ok(weft_session_on(w->s, &e, w->now, &out, &assert_err));
        more = false;
        for (uint32_t i = 0; i < out.n; i++) {
            w->n_actions++;
            if (w->n_actions == w->die_at) {
                return false;
            }
            more = perform(w, &out.item[i], &e) || more;
        }
    }
    return true;
}

static void run(world *w, uint64_t seed, unsigned die_at, unsigned fail_of_8)
{
    memset(w, 0, sizeof *w);
    weft_rng_init(&w->rng, seed, 0);
    w->die_at = die_at;
    w->fail_of_8 = fail_of_8;
    w->now = 1;
    start_client(w);
    while (!w->finished) {
        if (!feed(w, (weft_session_event){.kind = WEFT_SESSION_TICK})) {
            weft_session_free(w->s);
            w->died = true;
            w->now = 1; /* its clock starts anew */
            start_client(w);
            continue;
        }
        const uint64_t next = weft_session_next_ms(w->s);
        w->now = next > w->now && next != UINT64_MAX ? next : w->now;
        assert_true(w->n_actions < 5000); /* it gets somewhere */
    }
    weft_session_free(w->s);
}

static void check(const world *w)
{
    assert_false(w->disk.open);
    for (unsigned id = 1; id <= ASSIGNMENTS; id++) {
        assert_int_equal(w->disk.closed[id], 1);
        assert_int_equal(w->trained_again[id], 0);
        assert_int_equal(w->disk.outcome[id] == WEFT_OUTCOME_ACCEPTED, w->other.accepted[id]);
        assert_int_equal(w->other.accepted[id] + w->other.refused[id], 1);
    }
}

static void test_session__dies_before_any_action_and_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        world w;
        run(&w, seed, 0, 0);
        check(&w);
        const unsigned n = w.n_actions;
        assert_true(n > 20);
        for (unsigned k = 1; k <= n; k++) {
            run(&w, seed, k, 0);
            assert_true(w.died);
            check(&w);
        }
    }
}

static void test_session__survives_a_bad_network_and_a_crash(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        for (unsigned fail_of_8 = 1; fail_of_8 <= 5; fail_of_8 += 2) {
            world w;
            run(&w, seed, 0, fail_of_8);
            check(&w);
            run(&w, seed, 1 + (unsigned)(seed * 7) % w.n_actions, fail_of_8);
            check(&w);
        }
    }
}

static void test_session__repeats_by_seed(void **state)
{
    (void)state;
    world a;
    world b;
    run(&a, 5, 9, 3);
    run(&b, 5, 9, 3);
    assert_int_equal(a.n_actions, b.n_actions);
    assert_int_equal(a.now, b.now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session__dies_before_any_action_and_loses_nothing),
        cmocka_unit_test(test_session__survives_a_bad_network_and_a_crash),
        cmocka_unit_test(test_session__repeats_by_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
