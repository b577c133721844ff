/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core under random clients, random operators and random crashes: whole federations in memory, one
 * seed each. After every step the invariants of the architecture hold: no version without its
 * quorum; each receipt's update in exactly one version or in an openly failed round; no client
 * asked again for an update that has a receipt; at most one open round a job; and every round ends.
 */
#include "sim/core_shell.h"

#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CLIENTS 12
#define SEEDS       60
#define STEPS       4000
#define CALM_STEPS  4000 /* enough for every open round to end */

typedef enum phase { IDLE, WAITING, WORKING } phase;

typedef struct client {
    char name[8];
    bool has_d, has_e; /* data sets */
    bool revoked;
    uint64_t revoked_at; /* crashes before; after the next one the shell keeps it out by itself */
    phase at;
    uint64_t ready_ms; /* does nothing before */
    uint64_t call;     /* of the check-in */
    sim_answer assignment;
    uint64_t content; /* of what it trained */
} client;

typedef struct receipt {
    unsigned owner;
    uint64_t content;
    weft_assignment_row row;
} receipt;

/* What happened, over all seeds: the test must not be about nothing. */
typedef struct tally {
    uint64_t versions, failed_rounds, crashes, receipts, repeated, conflicts, late, returned,
        replaced, evaluations, paused, unknown, nothing_more;
} tally;

typedef struct world {
    sim_shell s;
    weft_rng rng;
    client clients[MAX_CLIENTS];
    unsigned n_clients;
    receipt *receipts;
    size_t n_receipts, cap_receipts;
    uint64_t call;
    uint64_t content;
    uint64_t crashes_seen;
    unsigned n_jobs;
    bool calm; /* no more mischief */
    tally *tally;
} world;

static uint64_t below(world *w, uint64_t n)
{
    return weft_rng_below(&w->rng, n);
}

static bool chance(world *w, uint64_t percent)
{
    return !w->calm && below(w, 100) < percent;
}

/* ---- what clients see --------------------------------------------------------------------- */

static void keep_receipt(world *w, client *c, const weft_assignment_row *row)
{
    assert_string_equal(row->client, c->name);
    if (w->n_receipts == w->cap_receipts) {
        w->cap_receipts = w->cap_receipts ? w->cap_receipts * 2 : 64;
        w->receipts = realloc(w->receipts, w->cap_receipts * sizeof *w->receipts);
        assert_non_null(w->receipts);
    }
    w->receipts[w->n_receipts] = (receipt){(unsigned)(c - w->clients), c->content, *row};
    w->n_receipts++;
    w->tally->receipts++;
    w->tally->evaluations += row->task == WEFT_TASK_EVALUATE;
}

/* Nobody is asked for what was delivered, and only for what it can do. */
static void check_assignment(world *w, const client *c, const sim_answer *a)
{
    assert_false(c->revoked);
    assert_string_equal(a->row.client, c->name);
    const weft_assignment_row *kept = sim_assignment(&w->s, a->row.assignment_id);
    const weft_job_row *job = sim_job(&w->s, a->row.job_id);
    const weft_round_row *r = sim_round(&w->s, a->row.job_id, a->row.round, a->row.attempt);
    assert_true(kept && job && r);
    assert_true(strcmp(job->def->dataset, "d") == 0 ? c->has_d : c->has_e);
    assert_memory_equal(a->base, a->row.task == WEFT_TASK_EVALUATE ? r->version : r->base,
                        WEFT_DIGEST_BYTES);
    for (size_t i = 0; i < w->s.db.n_assignments; i++) {
        const weft_assignment_row *other = &w->s.db.assignments[i];
        assert_false(other->state == WEFT_ASSIGNMENT_ACCEPTED && other->job_id == a->row.job_id &&
                     other->round == a->row.round && other->attempt == a->row.attempt &&
                     other->task == a->row.task && strcmp(other->client, c->name) == 0);
    }
}

static void take_assignment(world *w, client *c, const sim_answer *a)
{
    check_assignment(w, c, a);
    const bool same = c->assignment.row.assignment_id == a->row.assignment_id && c->content != 0 &&
                      !chance(w, 20);
    if (!same) { /* trains; also again, when it lost what it had trained */
        w->content++;
        c->content = w->content;
    }
    const weft_round_row *r = sim_round(&w->s, a->row.job_id, a->row.round, a->row.attempt);
    w->tally->replaced += a->row.task == WEFT_TASK_TRAIN && r->opened_unix_ms != 0 &&
                          a->left_ms < sim_job(&w->s, a->row.job_id)->def->deadline_ms;
    c->assignment = *a;
    c->at = WORKING;
    c->ready_ms = w->s.now_ms + below(w, 4000);
}

static void hear(world *w, client *c)
{
    sim_answer a;
    if (c->at != WAITING || !sim_shell_answer(&w->s, c->call, &a)) {
        return;
    }
    c->at = IDLE;
    switch ((int)a.kind) {
    case WEFT_REPLY_ASSIGNMENT:
        take_assignment(w, c, &a);
        break;
    case WEFT_REPLY_COME_BACK:
        c->ready_ms = w->s.now_ms + a.come_back_ms;
        break;
    case WEFT_REPLY_NOTHING_MORE:
        w->tally->nothing_more++;
        c->ready_ms = w->s.now_ms + 5000; /* an agent would end; this one hopes for a new job */
        break;
    default:
        assert_int_equal(a.kind, WEFT_REPLY_ERROR);
        assert_int_equal(a.status, WEFT_E_AUTH);
        assert_true(c->revoked || w->s.crashes != w->crashes_seen); /* or it was just lost */
        c->ready_ms = w->s.now_ms + 10000;
        break;
    }
}

/* Everybody hears what was sent; a crash cuts the calls that were not answered. */
static void hear_all(world *w)
{
    for (unsigned i = 0; i < w->n_clients; i++) {
        hear(w, &w->clients[i]);
    }
    if (w->crashes_seen != w->s.crashes) {
        w->crashes_seen = w->s.crashes;
        for (unsigned i = 0; i < w->n_clients; i++) {
            client *c = &w->clients[i];
            c->at = c->at == WAITING ? IDLE : c->at;
            c->ready_ms = 0; /* reconnects; the clock may have gone back to the last commit */
        }
    }
}

/* ---- what clients do ------------------------------------------------------------------------ */

static void check_in(world *w, client *c)
{
    weft_declared list[2] = {{.n_examples = 1}, {.n_examples = 1}};
    uint32_t n = 0;
    if (c->has_d) {
        list[n].name[0] = 'd';
        n++;
    }
    if (c->has_e) {
        list[n].name[0] = 'e';
        n++;
    }
    const uint64_t holds_ms[] = {0, 500, 30000};
    w->call++;
    c->call = w->call;
    c->at = WAITING;
    weft_event e = {.kind = WEFT_EVENT_CHECK_IN, .call = c->call, .client = c->name};
    e.u.check_in.datasets = list;
    e.u.check_in.n_datasets = n;
    e.u.check_in.hold_ms = w->calm ? 30000 : holds_ms[below(w, 3)];
    (void)sim_shell_feed(&w->s, &e);
}

static void replace_call(world *w, client *c)
{
    const uint64_t old = c->call;
    check_in(w, c);
    sim_answer a;
    if (sim_shell_answer(&w->s, old, &a)) {
        assert_int_equal(a.kind, WEFT_REPLY_COME_BACK);
        assert_int_equal(a.come_back_ms, 0);
    }
}

static void heard_refusal(world *w, client *c, const sim_answer *a)
{
    assert_int_equal(a->kind, WEFT_REPLY_REFUSED);
    assert_true(a->refusal != WEFT_REFUSAL_NONE && a->detail[0]);
    w->tally->late += a->refusal == WEFT_REFUSAL_LATE;
    w->tally->conflicts += a->refusal == WEFT_REFUSAL_CONFLICT;
    c->at = IDLE;
    c->content = 0;
}

static void send_update(world *w, client *c)
{
    const weft_assignment_row *row = &c->assignment.row;
    weft_metrics m = {0};
    assert_int_equal(weft_metrics_set(&m, "loss", (double)(c->content % 97) / 10.0, NULL), WEFT_OK);
    uint8_t base[WEFT_DIGEST_BYTES];
    memcpy(base, c->assignment.base, sizeof base);
    base[0] ^= chance(w, 3);
    const weft_refusal found = chance(w, 3) ? WEFT_REFUSAL_NON_FINITE : WEFT_REFUSAL_NONE;
    const weft_assignment_row *before = sim_assignment(&w->s, row->assignment_id);
    const bool lapsed = before && before->state == WEFT_ASSIGNMENT_EXPIRED;
    w->call++;
    (void)sim_update(&w->s, w->call, c->name, row->assignment_id, base, c->content,
                     1 + c->content % 50, found, &m);
    sim_answer a;
    if (!sim_shell_answer(&w->s, w->call, &a) || chance(w, 10)) {
        return; /* the answer was lost on the way: it will ask again */
    }
    if (a.kind == WEFT_REPLY_RECEIPT) {
        w->tally->returned += lapsed;
        keep_receipt(w, c, &a.row);
        c->at = IDLE;
        c->content = 0;
        return;
    }
    heard_refusal(w, c, &a);
}

static void send_progress(world *w, client *c)
{
    w->call++;
    (void)sim_progress(&w->s, w->call, c->name, c->assignment.row.assignment_id);
    sim_answer a;
    if (!sim_shell_answer(&w->s, w->call, &a)) {
        return;
    }
    assert_int_equal(a.kind, WEFT_REPLY_PROGRESS);
    if (a.has_receipt) { /* an answer that was lost before */
        assert_false(a.stop);
        uint8_t digest[WEFT_DIGEST_BYTES];
        sim_digest(digest, c->content);
        if (memcmp(digest, a.row.update_digest, sizeof digest) == 0) {
            keep_receipt(w, c, &a.row);
        }
    }
    if (a.has_receipt || a.stop) {
        c->at = IDLE;
        c->content = 0;
    }
}

static void work(world *w, client *c)
{
    const uint64_t what = w->calm ? 50 : below(w, 100);
    if (what < 5) {
        w->call++;
        (void)sim_abandon(&w->s, w->call, c->name, c->assignment.row.assignment_id);
        c->at = IDLE;
        c->content = 0;
    } else if (what < 15) {
        c->ready_ms = w->s.now_ms + below(w, 30000); /* silent: the lease may be lost */
    } else if (what < 40) {
        send_progress(w, c);
    } else if (what < 95) {
        send_update(w, c);
    } else {
        c->at = IDLE; /* dies and comes back */
    }
}

/* An old receipt is asked for again: the same answer, or none at all any more. */
static void repeat_old(world *w)
{
    if (w->n_receipts == 0) {
        return;
    }
    const size_t recent = w->n_receipts < 20 ? w->n_receipts : 20;
    const receipt *r = &w->receipts[w->n_receipts - 1 - below(w, recent)];
    const client *c = &w->clients[r->owner];
    const bool other = chance(w, 30);
    w->call++;
    (void)sim_update(&w->s, w->call, c->name, r->row.assignment_id, r->row.update_digest,
                     r->content + (other ? 1000000 : 0), r->row.n_examples, WEFT_REFUSAL_NONE,
                     NULL);
    sim_answer a;
    if (!sim_shell_answer(&w->s, w->call, &a)) {
        return;
    }
    if (a.kind == WEFT_REPLY_RECEIPT) {
        assert_false(other);
        assert_memory_equal(a.row.update_digest, r->row.update_digest, WEFT_DIGEST_BYTES);
        assert_int_equal(a.row.accepted_unix_ms, r->row.accepted_unix_ms);
        assert_int_equal(a.row.n_examples, r->row.n_examples);
        w->tally->repeated++;
        return;
    }
    assert_int_equal(a.kind, WEFT_REPLY_REFUSED);
    assert_true(a.refusal == WEFT_REFUSAL_UNKNOWN || (other && a.refusal == WEFT_REFUSAL_CONFLICT));
    w->tally->unknown += a.refusal == WEFT_REFUSAL_UNKNOWN;
    w->tally->conflicts += a.refusal == WEFT_REFUSAL_CONFLICT;
}

static void meddle(world *w, const client *c)
{
    if (w->s.db.n_assignments == 0) {
        return;
    }
    const weft_assignment_row row = w->s.db.assignments[below(w, w->s.db.n_assignments)];
    if (strcmp(row.client, c->name) == 0) {
        return;
    }
    w->call++;
    sim_answer a;
    (void)sim_update(&w->s, w->call, c->name, row.assignment_id, row.update_digest, 77, 5,
                     WEFT_REFUSAL_NONE, NULL);
    if (sim_shell_answer(&w->s, w->call, &a)) {
        assert_int_equal(a.kind, WEFT_REPLY_REFUSED);
        assert_int_equal(a.refusal, WEFT_REFUSAL_UNKNOWN);
    }
}

static void act(world *w, client *c)
{
    if (c->revoked && c->revoked_at != w->s.crashes) {
        return;
    }
    if (chance(w, 4)) {
        repeat_old(w);
    } else if (chance(w, 2)) {
        meddle(w, c);
    } else if (c->at == WAITING && chance(w, 8)) {
        (void)sim_gone(&w->s, c->call);
        c->at = IDLE;
    } else if (c->at == WAITING && chance(w, 5)) {
        replace_call(w, c);
    } else if (c->at == IDLE && w->s.now_ms >= c->ready_ms) {
        check_in(w, c);
    } else if (c->at == WORKING && w->s.now_ms >= c->ready_ms) {
        work(w, c);
    }
}

/* ---- what operators do ---------------------------------------------------------------------- */

static void submit_some_job(world *w)
{
    if (w->n_jobs == 6) {
        return;
    }
    weft_job_def def;
    char name[8];
    (void)snprintf(name, sizeof name, "job%u", w->n_jobs);
    sim_job_def(&def, name, below(w, 3) ? "d" : "e");
    def.target = 1 + (uint32_t)below(w, 5);
    def.minimum = 1 + (uint32_t)below(w, def.target);
    def.over_selection = 1.0 + (double)below(w, 3) * 0.4;
    def.deadline_ms = 5000 + below(w, 40000);
    def.lease_ms = 1000 + below(w, 4000);
    def.max_attempts = 1 + (uint32_t)below(w, 4);
    def.backoff_ms = below(w, 3000);
    def.selection_window_ms = below(w, 3) * 1500;
    def.rounds = 3 + (uint32_t)below(w, 40);
    def.eval_clients = (uint32_t)below(w, 3);
    def.eval_every = 1 + (uint32_t)below(w, 2);
    def.eval_deadline_ms = 3000 + below(w, 20000);
    def.patience = def.eval_clients > 0 && below(w, 2) ? 5 : 0;
    def.seed = below(w, 1000);
    def.eval_data = below(w, 3) ? NULL : weft_string_copy(&weft_alloc_std, "test set", 16);
    w->call++;
    (void)sim_submit(&w->s, w->call, &def);
    sim_answer a;
    if (sim_shell_answer(&w->s, w->call, &a) && a.kind == WEFT_REPLY_JOB) {
        w->n_jobs++; /* with a lost answer the same name is tried again, with another definition */
    } else if (weft_core_job_by_name(w->s.core, name)) {
        w->n_jobs++;
    }
    weft_job_def_done(&def, &weft_alloc_std);
}

static void operate(world *w)
{
    char name[8];
    (void)snprintf(name, sizeof name, "job%u", (unsigned)below(w, w->n_jobs + 1));
    const uint64_t what = below(w, 100);
    w->call++;
    if (what < 30) {
        submit_some_job(w);
    } else if (what < 45) {
        (void)sim_control(&w->s, w->call, name, WEFT_JOB_PAUSED);
    } else if (what < 75) {
        (void)sim_control(&w->s, w->call, name, WEFT_JOB_RUNNING);
    } else if (what < 77) {
        (void)sim_control(&w->s, w->call, name, WEFT_JOB_CANCELED);
    } else if (what < 83) {
        client *c = &w->clients[below(w, w->n_clients)];
        c->revoked = sim_revoke(&w->s, w->call, c->name); /* in a crash it may have been lost */
        c->revoked_at = w->s.crashes;
        hear_all(w);
    } else if (what < 95) {
        client *c = &w->clients[below(w, w->n_clients)];
        (void)sim_enrolled(&w->s, w->call, c->name);
        c->revoked = false;
    } else if (w->s.db.n_versions > 0) {
        const weft_version_row v = w->s.db.versions[below(w, w->s.db.n_versions)];
        (void)snprintf(name, sizeof name, "job%u", (unsigned)(v.job_id - 1) % 8);
        (void)sim_rollback(&w->s, w->call, name, v.digest);
    }
}

/* ---- one federation ------------------------------------------------------------------------- */

static void check_receipts(world *w)
{
    for (size_t i = 0; i < w->n_receipts; i++) {
        const weft_assignment_row *mine = &w->receipts[i].row;
        const weft_assignment_row *kept = sim_assignment(&w->s, mine->assignment_id);
        assert_non_null(kept);
        assert_int_equal(kept->state, WEFT_ASSIGNMENT_ACCEPTED);
        assert_memory_equal(kept->update_digest, mine->update_digest, WEFT_DIGEST_BYTES);
        assert_int_equal(kept->accepted_unix_ms, mine->accepted_unix_ms);
        const weft_round_row *r = sim_round(&w->s, kept->job_id, kept->round, kept->attempt);
        /* done: sim_shell_check finds it in the version, once; else it failed openly, or is open */
        assert_true(r->state != WEFT_ROUND_FAILED || r->reason[0] != '\0');
    }
}

static void pass_time(world *w)
{
    const uint64_t next_ms = weft_core_next_ms(w->s.core);
    const uint64_t most_ms = below(w, 15) ? 100 : 5000;
    uint64_t ms = 1 + below(w, most_ms);
    if (next_ms != UINT64_MAX && below(w, 6) == 0 && next_ms - w->s.now_ms < 20000) {
        ms = next_ms - w->s.now_ms;
    }
    sim_shell_pass(&w->s, ms);
}

static void step(world *w)
{
    if (w->s.crash_in == SIM_NEVER && chance(w, 1)) {
        w->s.crash_in = (size_t)below(w, 15);
    }
    w->s.finish_fails = chance(w, 5);
    const uint64_t what = below(w, 100);
    if (what < 55) {
        act(w, &w->clients[below(w, w->n_clients)]);
    } else if (what < 75) {
        if (w->s.n_work > 0) {
            (void)sim_shell_work(&w->s, (size_t)below(w, w->s.n_work));
        }
    } else if (what < 98 || w->calm) {
        pass_time(w);
    } else {
        operate(w);
    }
    hear_all(w);
    sim_shell_check(&w->s, false);
}

static weft_metrics some_metrics(void *self, const weft_job_row *job, uint32_t round)
{
    (void)self;
    weft_metrics m = {0};
    assert_int_equal(weft_metrics_set(&m, "loss", 10.0 / (double)(round + job->job_id), NULL),
                     WEFT_OK);
    return m;
}

static bool some_round_is_open(world *w)
{
    for (uint32_t i = 0; i < weft_core_n_jobs(w->s.core); i++) {
        if (weft_core_open_round(w->s.core, weft_core_job_at(w->s.core, i)->job_id)) {
            return true;
        }
    }
    return false;
}

/* No new rounds, no more mischief: what is open ends. */
static void calm_down(world *w)
{
    w->calm = true;
    w->s.crash_in = SIM_NEVER;
    for (uint32_t i = 0; i < weft_core_n_jobs(w->s.core); i++) {
        w->call++;
        (void)sim_control(&w->s, w->call, weft_core_job_at(w->s.core, i)->def->name,
                          WEFT_JOB_PAUSED);
    }
    int left = CALM_STEPS;
    for (; left > 0 && some_round_is_open(w); left--) {
        step(w);
    }
    assert_true(left > 0); /* every round ends */
}

static void count_up(world *w)
{
    for (size_t i = 0; i < w->s.db.n_rounds; i++) {
        w->tally->failed_rounds += w->s.db.rounds[i].state == WEFT_ROUND_FAILED;
        w->tally->versions += w->s.db.rounds[i].has_version;
    }
    for (size_t i = 0; i < w->s.db.n_jobs; i++) {
        w->tally->paused += strstr(w->s.db.jobs[i].reason, "times, at last") != NULL;
    }
    w->tally->crashes += w->s.crashes;
}

static void run_seed(uint64_t seed, tally *counts)
{
    world w = {.tally = counts};
    weft_rng_init(&w.rng, seed, 0);
    const weft_core_config config = {500 + below(&w, 2000), 30000, 4, seed, "fed", {0}};
    sim_shell_init(&w.s, &config);
    w.s.central = some_metrics;
    w.n_clients = 2 + (unsigned)below(&w, MAX_CLIENTS - 1);
    for (unsigned i = 0; i < w.n_clients; i++) {
        client *c = &w.clients[i];
        (void)snprintf(c->name, sizeof c->name, "c%u", i);
        c->has_d = below(&w, 10) < 8;
        c->has_e = !c->has_d || below(&w, 10) < 4;
    }
    submit_some_job(&w);
    submit_some_job(&w);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&w);
        if (i % 100 == 0) {
            check_receipts(&w);
        }
    }
    calm_down(&w);
    sim_shell_check(&w.s, true);
    check_receipts(&w);
    count_up(&w);
    sim_shell_done(&w.s);
    free(w.receipts);
}

static uint64_t present_seed;

static int tell_seed(void **state)
{
    (void)state;
    print_message("last seed %llu: WEFT_CORE_SEED repeats one\n", (unsigned long long)present_seed);
    return 0;
}

static void test_core__keeps_its_invariants_whatever_happens(void **state)
{
    (void)state;
    tally t = {0};
    const char *only = getenv("WEFT_CORE_SEED"); /* repeat one that failed */
    const char *from = getenv("WEFT_CORE_SEEDS_FROM");
    const uint64_t first = only ? strtoull(only, NULL, 10) : from ? strtoull(from, NULL, 10) : 1;
    const uint64_t n = only ? 1 : SEEDS;
    for (uint64_t seed = first; seed < first + n; seed++) {
        present_seed = seed;
        run_seed(seed, &t);
    }
    print_message("%llu versions, %llu failed rounds, %llu crashes, %llu receipts, %llu repeated, "
                  "%llu conflicts, %llu late, %llu returned, %llu replaced, %llu evaluations, "
                  "%llu paused, %llu unknown, %llu nothing more\n",
                  (unsigned long long)t.versions, (unsigned long long)t.failed_rounds,
                  (unsigned long long)t.crashes, (unsigned long long)t.receipts,
                  (unsigned long long)t.repeated, (unsigned long long)t.conflicts,
                  (unsigned long long)t.late, (unsigned long long)t.returned,
                  (unsigned long long)t.replaced, (unsigned long long)t.evaluations,
                  (unsigned long long)t.paused, (unsigned long long)t.unknown,
                  (unsigned long long)t.nothing_more);
    if (!only) {
        assert_true(t.versions > SEEDS && t.failed_rounds > SEEDS && t.crashes > SEEDS);
        assert_true(t.receipts > 10 * SEEDS && t.repeated > SEEDS && t.conflicts > SEEDS);
        assert_true(t.late > SEEDS && t.returned > SEEDS && t.replaced > SEEDS);
        assert_true(t.evaluations > SEEDS && t.paused > 0 && t.nothing_more > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_core__keeps_its_invariants_whatever_happens, tell_seed),
    };
    return cmocka_run_group_tests_name("core_model", tests, NULL, NULL);
}
