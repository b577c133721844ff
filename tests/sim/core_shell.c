/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator in memory: actions done in order, rows kept, crashes and restarts. */
#include "sim/core_shell.h"

#include "crypto/hash.h"
#include "sim/core_secure.h"

#include <stdlib.h>
#include <string.h>

/* Room for one more; tests do not run out of memory. */
#define GROW(list, n, cap)                                                                         \
    do {                                                                                           \
        if ((n) == (cap)) {                                                                        \
            (cap) = (cap) ? (cap)*2 : 8;                                                           \
            (list) = realloc((list), (cap) * sizeof *(list));                                      \
            assert_non_null(list);                                                                 \
        }                                                                                          \
    } while (0)

/* Not NULL, or the test ends here. */
static void require(const void *p)
{
    assert_non_null(p);
    if (!p) {
        abort(); /* cmocka does not return; the compiler cannot know */
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

weft_job_row *sim_job(sim_shell *s, uint64_t job_id)
{
    for (size_t i = 0; i < s->db.n_jobs; i++) {
        if (s->db.jobs[i].job_id == job_id) {
            return &s->db.jobs[i];
        }
    }
    return NULL;
}

weft_round_row *sim_round(sim_shell *s, uint64_t job_id, uint32_t round, uint32_t attempt)
{
    for (size_t i = s->db.n_rounds; i > 0; i--) { /* the newest are asked for most */
        weft_round_row *row = &s->db.rounds[i - 1];
        if (row->job_id == job_id && row->round == round && row->attempt == attempt) {
            return row;
        }
    }
    return NULL;
}

weft_assignment_row *sim_assignment(sim_shell *s, uint64_t assignment_id)
{
    size_t low = 0;
    size_t high = s->db.n_assignments;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (s->db.assignments[middle].assignment_id < assignment_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < s->db.n_assignments && s->db.assignments[low].assignment_id == assignment_id
               ? &s->db.assignments[low]
               : NULL;
}

const sim_eligible *sim_eligible_of(const sim_shell *s, uint64_t job_id, uint32_t round,
                                    uint32_t attempt)
{
    for (size_t i = 0; i < s->db.n_eligible; i++) {
        const sim_eligible *e = &s->db.eligible[i];
        if (e->job_id == job_id && e->round == round && e->attempt == attempt) {
            return e;
        }
    }
    return NULL;
}

static void persist_job(sim_shell *s, const weft_job_row *row)
{
    weft_job_row *kept = sim_job(s, row->job_id);
    if (kept) {
        const weft_job_def *def = kept->def;
        *kept = *row;
        kept->def = def; /* never changes */
        return;
    }
    assert_non_null(row->def);
    weft_job_def *def = malloc(sizeof *def);
    assert_non_null(def);
    assert_int_equal(weft_job_def_copy(def, row->def, &weft_alloc_std, NULL), WEFT_OK);
    GROW(s->db.jobs, s->db.n_jobs, s->db.cap_jobs);
    s->db.jobs[s->db.n_jobs] = *row;
    s->db.jobs[s->db.n_jobs].def = def;
    s->db.n_jobs++;
}

static void persist_round(sim_shell *s, const weft_round_row *row)
{
    weft_round_row *kept = sim_round(s, row->job_id, row->round, row->attempt);
    if (!kept) {
        GROW(s->db.rounds, s->db.n_rounds, s->db.cap_rounds);
        kept = &s->db.rounds[s->db.n_rounds];
        s->db.n_rounds++;
    }
    *kept = *row;
}

static void persist_assignment(sim_shell *s, const weft_assignment_row *row)
{
    weft_assignment_row *kept = sim_assignment(s, row->assignment_id);
    if (kept) {
        *kept = *row;
        return;
    }
    GROW(s->db.assignments, s->db.n_assignments, s->db.cap_assignments);
    size_t at = s->db.n_assignments;
    for (; at > 0 && s->db.assignments[at - 1].assignment_id > row->assignment_id; at--) {
        s->db.assignments[at] = s->db.assignments[at - 1];
    }
    s->db.assignments[at] = *row;
    s->db.n_assignments++;
}

static void persist_eligible(sim_shell *s, const weft_eligible_row *row)
{
    GROW(s->db.eligible, s->db.n_eligible, s->db.cap_eligible);
    sim_eligible *e = &s->db.eligible[s->db.n_eligible];
    *e = (sim_eligible){row->job_id, row->round, row->attempt, row->n, NULL};
    e->name = calloc(row->n, sizeof *e->name);
    assert_non_null(e->name);
    for (uint32_t i = 0; i < row->n; i++) {
        memcpy(e->name[i], row->clients[i], strlen(row->clients[i]));
    }
    s->db.n_eligible++;
}

static bool is_persist(weft_action_kind kind)
{
    return kind == WEFT_ACTION_PERSIST_JOB || kind == WEFT_ACTION_PERSIST_ROUND ||
           kind == WEFT_ACTION_PERSIST_ASSIGNMENT || kind == WEFT_ACTION_PERSIST_VERSION ||
           kind == WEFT_ACTION_PERSIST_ELIGIBLE || kind == WEFT_ACTION_PERSIST_SECURE ||
           kind == WEFT_ACTION_PERSIST_SECURE_OVER;
}

/* A mutation forgets this row. */
static bool forgotten(const sim_shell *s, const weft_action *action)
{
    const weft_action_kind kind = action->kind;
    const bool secure = kind == WEFT_ACTION_PERSIST_SECURE;
    switch ((int)s->mutation) {
    case SIM_MASKED_ROW_LOST:
        return secure && action->u.secure.kind == WEFT_SECURE_MASKED;
    case SIM_CLOSURE_ROW_LOST:
        return secure && action->u.secure.kind == WEFT_SECURE_CLOSED;
    case SIM_MESSAGE_ROW_LOST:
        return secure && action->u.secure.kind == WEFT_SECURE_MESSAGE_TAKEN;
    case SIM_ACCEPTED_ROW_LOST:
        return kind == WEFT_ACTION_PERSIST_ASSIGNMENT &&
               action->u.assignment->state == WEFT_ASSIGNMENT_ACCEPTED;
    case SIM_ROUND_ROW_LOST:
        return kind == WEFT_ACTION_PERSIST_ROUND &&
               action->u.round->state == WEFT_ROUND_AGGREGATING;
    case SIM_JOB_ROW_LOST:
        return kind == WEFT_ACTION_PERSIST_JOB && action->u.job->rounds_done > 0;
    default:
        return false;
    }
}

static void persist(sim_shell *s, const weft_action *action)
{
    if (forgotten(s, action)) {
        return;
    }
    switch ((int)action->kind) {
    case WEFT_ACTION_PERSIST_JOB:
        persist_job(s, action->u.job);
        break;
    case WEFT_ACTION_PERSIST_ROUND:
        persist_round(s, action->u.round);
        break;
    case WEFT_ACTION_PERSIST_ASSIGNMENT:
        persist_assignment(s, action->u.assignment);
        break;
    case WEFT_ACTION_PERSIST_VERSION:
        GROW(s->db.versions, s->db.n_versions, s->db.cap_versions);
        s->db.versions[s->db.n_versions] = action->u.version;
        s->db.n_versions++;
        break;
    case WEFT_ACTION_PERSIST_SECURE:
        sim_secure_persist(s, &action->u.secure);
        break;
    case WEFT_ACTION_PERSIST_SECURE_OVER:
        sim_secure_over(s, &action->u.secure_over);
        break;
    default:
        persist_eligible(s, &action->u.eligible);
        break;
    }
}

/* ---- spool, sums, models --------------------------------------------------------------------- */

sim_spooled *sim_spooled_of(const sim_shell *s, uint64_t assignment_id)
{
    for (size_t i = 0; i < s->n_spool; i++) {
        if (s->spool[i].assignment_id == assignment_id) {
            return &s->spool[i];
        }
    }
    return NULL;
}

bool sim_spool_has(const sim_shell *s, uint64_t assignment_id)
{
    return sim_spooled_of(s, assignment_id) != NULL;
}

sim_spooled *sim_spool_add(sim_shell *s, uint64_t assignment_id)
{
    GROW(s->spool, s->n_spool, s->cap_spool);
    sim_spooled *item = &s->spool[s->n_spool];
    *item = (sim_spooled){.assignment_id = assignment_id};
    s->n_spool++;
    return item;
}

static void drop_spooled(sim_shell *s, uint64_t assignment_id)
{
    sim_spooled *item = sim_spooled_of(s, assignment_id);
    if (item) {
        free(item->words);
        s->n_spool--;
        *item = s->spool[s->n_spool];
    }
}

static sim_sum *find_sum(sim_shell *s, uint64_t job_id, uint32_t round, uint32_t attempt)
{
    for (size_t i = 0; i < s->n_sums; i++) {
        if (s->sums[i].job_id == job_id && s->sums[i].round == round &&
            s->sums[i].attempt == attempt) {
            return &s->sums[i];
        }
    }
    return NULL;
}

static void drop_sum(sim_shell *s, sim_sum *sum)
{
    if (sum) {
        free(sum->folded);
        s->n_sums--;
        *sum = s->sums[s->n_sums];
    }
}

void sim_digest(uint8_t out[WEFT_DIGEST_BYTES], uint64_t content)
{
    assert_int_equal(weft_sha256(out, &content, sizeof content, NULL), WEFT_OK);
}

/* What a round's version is made of: its base and its accepted updates by ascending id. */
static void make_version(uint8_t out[WEFT_DIGEST_BYTES], const sim_shell *s,
                         const weft_round_row *round)
{
    weft_hash *hash = NULL;
    assert_int_equal(weft_hash_new(&hash, &weft_alloc_std, NULL), WEFT_OK);
    assert_int_equal(weft_hash_add(hash, round->base, WEFT_DIGEST_BYTES, NULL), WEFT_OK);
    for (size_t i = 0; i < s->db.n_assignments; i++) {
        const weft_assignment_row *a = &s->db.assignments[i];
        if (a->job_id == round->job_id && a->round == round->round &&
            a->attempt == round->attempt && a->task != WEFT_TASK_EVALUATE &&
            a->state == WEFT_ASSIGNMENT_ACCEPTED) {
            assert_int_equal(weft_hash_add(hash, a->update_digest, WEFT_DIGEST_BYTES, NULL),
                             WEFT_OK);
            assert_int_equal(weft_hash_add(hash, &a->n_examples, sizeof a->n_examples, NULL),
                             WEFT_OK);
        }
    }
    assert_int_equal(weft_hash_finish(out, hash, NULL), WEFT_OK);
    weft_hash_free(hash);
}

static sim_work *add_work(sim_shell *s, weft_event_kind kind, uint64_t job_id, uint32_t round,
                          uint32_t attempt)
{
    GROW(s->work, s->n_work, s->cap_work);
    sim_work *work = &s->work[s->n_work];
    s->n_work++;
    *work = (sim_work){.kind = kind, .job_id = job_id, .round = round, .attempt = attempt};
    return work;
}

static void do_open_sum(sim_shell *s, const weft_action *action)
{
    assert_null(find_sum(s, action->u.sum.job_id, action->u.sum.round, action->u.sum.attempt));
    GROW(s->sums, s->n_sums, s->cap_sums);
    s->sums[s->n_sums] = (sim_sum){.job_id = action->u.sum.job_id,
                                   .round = action->u.sum.round,
                                   .attempt = action->u.sum.attempt};
    s->n_sums++;
    assert_int_equal(action->u.sum.cohort, weft_job_def_cohort(action->u.sum.def));
}

/* Only what is accepted, spooled and not yet folded may be folded. */
static void do_fold(sim_shell *s, const weft_action *action)
{
    const uint64_t id = action->u.fold.assignment_id;
    const weft_assignment_row *a = sim_assignment(s, id);
    const sim_spooled *item = sim_spooled_of(s, id);
    sim_sum *sum = find_sum(s, action->u.fold.job_id, action->u.fold.round, action->u.fold.attempt);
    const weft_job_row *job = sim_job(s, action->u.fold.job_id);
    require(a);
    require(item);
    require(sum);
    require(job);
    assert_int_equal(a->state, WEFT_ASSIGNMENT_ACCEPTED);
    assert_memory_equal(item->digest, a->update_digest, WEFT_DIGEST_BYTES);
    assert_int_equal(a->n_examples, action->u.fold.n_examples);
    for (size_t i = 0; i < sum->n_folded; i++) {
        assert_true(sum->folded[i] != id);
    }
    GROW(sum->folded, sum->n_folded, sum->cap_folded);
    sum->folded[sum->n_folded] = id;
    sum->n_folded++;
    assert_true(sum->n_folded <= weft_job_def_cohort(job->def));
    add_work(s, WEFT_EVENT_FOLDED, a->job_id, a->round, a->attempt)->assignment_id = id;
}

static void do_finish(sim_shell *s, const weft_action *action)
{
    const weft_round_row *round =
        sim_round(s, action->u.sum.job_id, action->u.sum.round, action->u.sum.attempt);
    require(round);
    sim_sum *sum = find_sum(s, round->job_id, round->round, round->attempt);
    require(sum);
    assert_int_equal(sum->n_folded, round->accepted); /* each once: see do_fold */
    for (size_t i = 0; i < s->n_work; i++) {          /* and none is still being folded */
        assert_false(s->work[i].kind == WEFT_EVENT_FOLDED && s->work[i].job_id == round->job_id &&
                     s->work[i].round == round->round && s->work[i].attempt == round->attempt);
    }
    sim_work *work = add_work(s, WEFT_EVENT_FINISHED, round->job_id, round->round, round->attempt);
    make_version(work->version, s, round);
    if (action->u.sum.secure) {
        sim_secure_finish(s, work, sum, action->u.sum.secure);
    }
    drop_sum(s, sum);
}

static void do_publish(sim_shell *s, const weft_action *action)
{
    size_t i = 0;
    while (i < s->n_published && s->published[i].job_id != action->u.publish.job_id) {
        i++;
    }
    assert_true(i < SIM_MAX_JOBS);
    s->n_published = i == s->n_published ? i + 1 : s->n_published;
    s->published[i].job_id = action->u.publish.job_id;
    memcpy(s->published[i].version, action->u.publish.version, WEFT_DIGEST_BYTES);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void do_reply(sim_shell *s, const weft_action *action)
{
    const uint64_t call = action->u.reply.call;
    assert_true(call != 0);
    for (size_t i = 0; i < s->n_answers; i++) {
        assert_true(s->answers[i].call != call); /* exactly one */
    }
    GROW(s->answers, s->n_answers, s->cap_answers);
    sim_answer *a = &s->answers[s->n_answers];
    s->n_answers++;
    memset(a, 0, sizeof *a);
    a->call = call;
    a->kind = action->u.reply.kind;
    switch (a->kind) {
    case WEFT_REPLY_ASSIGNMENT:
        a->row = *action->u.reply.u.assignment.row;
        memcpy(a->base, action->u.reply.u.assignment.base, WEFT_DIGEST_BYTES);
        a->left_ms = action->u.reply.u.assignment.left_ms;
        a->cohort = action->u.reply.u.assignment.cohort;
        assert_int_equal(action->u.reply.u.assignment.base_bytes, SIM_MODEL);
        assert_non_null(action->u.reply.u.assignment.def);
        break;
    case WEFT_REPLY_COME_BACK:
        a->come_back_ms = action->u.reply.u.come_back_ms;
        break;
    case WEFT_REPLY_PROGRESS:
        a->stop = action->u.reply.u.progress.stop;
        a->refusal = action->u.reply.u.progress.reason;
        a->held_bytes = action->u.reply.u.progress.held_bytes;
        a->left_ms = action->u.reply.u.progress.left_ms;
        a->has_receipt = action->u.reply.u.progress.accepted != NULL;
        if (a->has_receipt) {
            a->row = *action->u.reply.u.progress.accepted;
        }
        break;
    case WEFT_REPLY_RECEIPT:
        a->has_receipt = true;
        a->row = *action->u.reply.u.receipt;
        break;
    case WEFT_REPLY_REFUSED:
        a->refusal = action->u.reply.u.refused.refusal;
        memcpy(a->detail, action->u.reply.u.refused.detail, sizeof a->detail);
        break;
    case WEFT_REPLY_JOB:
        a->job_id = action->u.reply.u.job_id;
        break;
    case WEFT_REPLY_ERROR:
        a->status = action->u.reply.u.error.status;
        memcpy(a->detail, action->u.reply.u.error.detail, sizeof a->detail);
        break;
    case WEFT_REPLY_SECURE:
        sim_secure_answer(a, action);
        break;
    case WEFT_REPLY_NOTHING_MORE:
    case WEFT_REPLY_DONE:
    default:
        break;
    }
}

bool sim_shell_answer(sim_shell *s, uint64_t call, sim_answer *ret)
{
    for (size_t i = 0; i < s->n_answers; i++) {
        if (s->answers[i].call == call) {
            *ret = s->answers[i];
            s->n_answers--;
            s->answers[i] = s->answers[s->n_answers];
            return true;
        }
    }
    return false;
}

/* ---- actions --------------------------------------------------------------------------------- */

static void do_action(sim_shell *s, const weft_action *action)
{
    switch ((int)action->kind) {
    case WEFT_ACTION_REPLY:
        do_reply(s, action);
        break;
    case WEFT_ACTION_OPEN_SUM:
        do_open_sum(s, action);
        break;
    case WEFT_ACTION_FOLD:
        if (s->mutation == SIM_FOLD_LOST_AT_RESTART && s->restoring) {
            break;
        }
        do_fold(s, action);
        if (s->mutation == SIM_DOUBLE_FOLD) {
            do_fold(s, action);
        }
        break;
    case WEFT_ACTION_FINISH:
        do_finish(s, action);
        break;
    case WEFT_ACTION_DROP_SUM:
        drop_sum(s, find_sum(s, action->u.sum.job_id, action->u.sum.round, action->u.sum.attempt));
        break;
    case WEFT_ACTION_DROP_UPDATE:
        drop_spooled(s, action->u.fold.assignment_id);
        break;
    case WEFT_ACTION_PUBLISH:
        if (s->mutation != SIM_PUBLISH_LOST || s->restoring) {
            do_publish(s, action);
        }
        break;
    case WEFT_ACTION_EVALUATE:
        add_work(s, WEFT_EVENT_CENTRAL, action->u.publish.job_id, action->u.publish.round, 0);
        break;
    case WEFT_ACTION_CANCEL_CALLS:
        s->canceled_calls++;
        memcpy(s->canceled, action->u.client.name, sizeof s->canceled);
        break;
    case WEFT_ACTION_NOTIFY:
        assert_non_null(action->u.notify.kind);
        assert_non_null(action->u.notify.job);
        s->notices++;
        break;
    default:
        fail_msg("action %d", (int)action->kind);
    }
}

/* One step towards the crash that is planned; true: now. */
static bool dies(sim_shell *s)
{
    if (s->crash_in == SIM_NEVER) {
        return false;
    }
    if (s->crash_in == 0) {
        return true;
    }
    s->crash_in--;
    return false;
}

/* Persists first, as one transaction; then the rest in order. False: died before some action. */
static bool run_batch(sim_shell *s, const weft_actions *list)
{
    size_t i = 0;
    while (i < list->n && is_persist(list->item[i].kind)) {
        i++;
    }
    const bool early = s->mutation == SIM_ACK_BEFORE_COMMIT;
    for (size_t k = i; early && k < list->n; k++) {
        if (list->item[k].kind == WEFT_ACTION_REPLY) {
            do_action(s, &list->item[k]);
        }
    }
    if (i > 0) {
        if (dies(s)) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            persist(s, &list->item[k]);
        }
        s->db.logical_ms = s->now_ms;
    }
    for (; i < list->n; i++) {
        assert_false(is_persist(list->item[i].kind));
        if (dies(s)) {
            return false;
        }
        if (!early || list->item[i].kind != WEFT_ACTION_REPLY) {
            do_action(s, &list->item[i]);
        }
    }
    return !dies(s); /* or after the last one */
}

/* ---- crash and restart ----------------------------------------------------------------------- */

static bool round_open(const weft_round_row *row)
{
    return row && row->state != WEFT_ROUND_DONE && row->state != WEFT_ROUND_FAILED;
}

static bool upload_wanted(sim_shell *s, uint64_t assignment_id)
{
    const weft_assignment_row *a = sim_assignment(s, assignment_id);
    const weft_round_row *round = a ? sim_round(s, a->job_id, a->round, a->attempt) : NULL;
    return round && round_open(round) &&
           (a->state == WEFT_ASSIGNMENT_OPEN || a->state == WEFT_ASSIGNMENT_ACCEPTED);
}

static void lose_memory(sim_shell *s)
{
    weft_core_free(s->core);
    s->core = NULL;
    for (size_t i = 0; i < s->n_sums; i++) {
        free(s->sums[i].folded);
    }
    s->n_sums = 0;
    s->n_work = 0;
    s->n_published = 0; /* answers that were sent are on their way */
    for (size_t i = s->n_spool; i > 0; i--) {
        const uint64_t id = s->spool[i - 1].assignment_id;
        if (!upload_wanted(s, id) || s->mutation == SIM_SPOOL_LOST_AT_RESTART) {
            drop_spooled(s, id);
        }
    }
}

static void feed_rows(sim_shell *s)
{
    uint64_t next_job = 1;
    uint64_t next_assignment = 1;
    for (size_t i = 0; i < s->db.n_jobs; i++) {
        assert_int_equal(weft_core_restore_job(s->core, &s->db.jobs[i], NULL), WEFT_OK);
        next_job = s->db.jobs[i].job_id + 1;
    }
    for (size_t i = 0; i < s->db.n_rounds; i++) {
        if (round_open(&s->db.rounds[i])) {
            assert_int_equal(weft_core_restore_round(s->core, &s->db.rounds[i], NULL), WEFT_OK);
        }
    }
    for (size_t i = 0; i < s->db.n_assignments; i++) {
        const weft_assignment_row *a = &s->db.assignments[i];
        const weft_round_row *round = sim_round(s, a->job_id, a->round, a->attempt);
        next_assignment = a->assignment_id + 1;
        assert_int_equal(round_open(round) ? weft_core_restore_assignment(s->core, a, NULL)
                                           : weft_core_restore_ended(s->core, a, round, NULL),
                         WEFT_OK);
    }
    sim_secure_restore(s);
    weft_actions list;
    weft_actions_init(&list, &weft_alloc_std);
    assert_int_equal(weft_core_resume(s->core, next_job, next_assignment, s->now_ms, &list, NULL),
                     WEFT_OK);
    s->restoring = true;
    assert_true(run_batch(s, &list));
    s->restoring = false;
    weft_actions_done(&list);
}

static void start(sim_shell *s)
{
    s->crash_in = SIM_NEVER;
    s->now_ms = s->db.logical_ms; /* downtime does not count */
    assert_int_equal(weft_core_new(&s->core, &s->config, &weft_alloc_std, NULL), WEFT_OK);
    feed_rows(s);
}

void sim_shell_crash(sim_shell *s)
{
    s->crashes++;
    lose_memory(s);
    start(s);
}

void sim_shell_init(sim_shell *s, const weft_core_config *config)
{
    memset(s, 0, sizeof *s);
    s->config = *config;
    start(s);
}

void sim_shell_done(sim_shell *s)
{
    lose_memory(s);
    for (size_t i = 0; i < s->db.n_jobs; i++) {
        weft_job_def *def = (weft_job_def *)(uintptr_t)s->db.jobs[i].def;
        weft_job_def_done(def, &weft_alloc_std);
        free(def);
    }
    for (size_t i = 0; i < s->db.n_eligible; i++) {
        free(s->db.eligible[i].name);
    }
    free(s->db.jobs);
    free(s->db.rounds);
    free(s->db.assignments);
    free(s->db.versions);
    free(s->db.eligible);
    for (size_t i = 0; i < s->db.n_secure; i++) {
        free((void *)(uintptr_t)s->db.secure[i].data.data);
    }
    free(s->db.secure);
    for (size_t i = 0; i < s->n_spool; i++) {
        free(s->spool[i].words);
    }
    free(s->spool);
    free(s->sums);
    free(s->work);
    free(s->answers);
}

/* ---- events ---------------------------------------------------------------------------------- */

bool sim_shell_feed(sim_shell *s, const weft_event *event)
{
    weft_actions list;
    weft_actions_init(&list, &weft_alloc_std);
    weft_event at = *event;
    at.unix_ms = (int64_t)s->now_ms + 1000000;
    weft_err err = WEFT_ERR_INIT;
    if (weft_core_on(s->core, &at, s->now_ms, &list, &err) != WEFT_OK) {
        fail_msg("event %d: %s", (int)at.kind, err.msg);
    }
    assert_true(weft_core_next_ms(s->core) > s->now_ms); /* nothing that is due was left */
    const bool alive = run_batch(s, &list);
    weft_actions_done(&list);
    if (!alive) {
        sim_shell_crash(s);
    }
    return alive;
}

void sim_shell_pass(sim_shell *s, uint64_t ms)
{
    uint64_t left_ms = ms;
    if (s->mutation == SIM_CLOCK_STANDS_AFTER_RESTART && s->crashes > 1) {
        return;
    }
    while (left_ms > 0) {
        const uint64_t next_ms = weft_core_next_ms(s->core);
        const uint64_t step_ms =
            next_ms != UINT64_MAX && next_ms - s->now_ms < left_ms ? next_ms - s->now_ms : left_ms;
        s->now_ms += step_ms;
        left_ms -= step_ms;
        (void)sim_shell_feed(s, &(weft_event){.kind = WEFT_EVENT_TICK}); /* a crash is no end */
    }
}

bool sim_shell_work(sim_shell *s, size_t index)
{
    assert_true(index < s->n_work);
    const sim_work work = s->work[index];
    s->n_work--;
    for (size_t i = index; i < s->n_work; i++) {
        s->work[i] = s->work[i + 1];
    }
    weft_event e = {.kind = work.kind};
    weft_metrics metrics = {0};
    if (work.kind == WEFT_EVENT_FOLDED) {
        e.u.folded.assignment_id = work.assignment_id;
    } else if (work.kind == WEFT_EVENT_FINISHED) {
        e.u.finished.job_id = work.job_id;
        e.u.finished.round = work.round;
        e.u.finished.attempt = work.attempt;
        e.u.finished.task = WEFT_TASK_TRAIN;
        e.u.finished.ok = !s->finish_fails && !work.failed;
        e.u.finished.totals = work.secure && !work.failed ? &work.totals : NULL;
        memcpy(e.u.finished.version, work.version, WEFT_DIGEST_BYTES);
        e.u.finished.bytes = SIM_MODEL;
        e.u.finished.reason = s->finish_fails ? "the result is not finite" : NULL;
    } else {
        e.u.central.job_id = work.job_id;
        e.u.central.round = work.round;
        e.u.central.reason = "no data";
        if (s->central) {
            metrics = s->central(s->self, sim_job(s, work.job_id), work.round);
            e.u.central.metrics = &metrics;
        }
    }
    return sim_shell_feed(s, &e);
}

void sim_shell_work_all(sim_shell *s)
{
    while (s->n_work > 0) {
        (void)sim_shell_work(s, 0); /* a crash is no end */
    }
}

bool sim_submit(sim_shell *s, uint64_t call, const weft_job_def *def)
{
    weft_event e = {.kind = WEFT_EVENT_JOB_SUBMIT, .call = call};
    e.u.submit.def = def;
    sim_digest(e.u.submit.version, def->init_seed);
    e.u.submit.model_bytes = SIM_MODEL;
    return sim_shell_feed(s, &e);
}

bool sim_control(sim_shell *s, uint64_t call, const char *job, weft_job_status to)
{
    weft_event e = {.kind = WEFT_EVENT_JOB_CONTROL, .call = call};
    e.u.control.job = job;
    e.u.control.to = to;
    e.u.control.reason = "asked for";
    return sim_shell_feed(s, &e);
}

bool sim_check_in(sim_shell *s, uint64_t call, const char *client, const char *dataset,
                  uint64_t hold_ms)
{
    weft_declared declared = {.n_examples = 10};
    memcpy(declared.name, dataset, strlen(dataset));
    weft_event e = {.kind = WEFT_EVENT_CHECK_IN, .call = call, .client = client};
    e.u.check_in.datasets = &declared;
    e.u.check_in.n_datasets = 1;
    e.u.check_in.hold_ms = hold_ms;
    return sim_shell_feed(s, &e);
}

bool sim_gone(sim_shell *s, uint64_t call)
{
    weft_event e = {.kind = WEFT_EVENT_CALL_GONE};
    e.u.gone.call = call;
    return sim_shell_feed(s, &e);
}

bool sim_progress(sim_shell *s, uint64_t call, const char *client, uint64_t assignment_id)
{
    weft_event e = {.kind = WEFT_EVENT_PROGRESS, .call = call, .client = client};
    e.u.progress.assignment_id = assignment_id;
    e.u.progress.held_bytes = sim_spooled_of(s, assignment_id) ? SIM_MODEL : 0;
    return sim_shell_feed(s, &e);
}

bool sim_abandon(sim_shell *s, uint64_t call, const char *client, uint64_t assignment_id)
{
    weft_event e = {.kind = WEFT_EVENT_ABANDON, .call = call, .client = client};
    e.u.abandon.assignment_id = assignment_id;
    e.u.abandon.reason = "out of memory";
    return sim_shell_feed(s, &e);
}

bool sim_update(sim_shell *s, uint64_t call, const char *client, uint64_t assignment_id,
                const uint8_t base[WEFT_DIGEST_BYTES], uint64_t content, uint64_t n_examples,
                weft_refusal refusal, const weft_metrics *metrics)
{
    weft_event e = {.kind = WEFT_EVENT_UPDATE, .call = call, .client = client};
    e.u.update.assignment_id = assignment_id;
    memcpy(e.u.update.base, base, WEFT_DIGEST_BYTES);
    sim_digest(e.u.update.digest, content);
    e.u.update.n_examples = n_examples;
    e.u.update.bytes = SIM_MODEL;
    e.u.update.refusal = refusal;
    e.u.update.metrics = metrics;
    /* as an upload does: into the spool, unless the client's name does not fit or it is complete */
    const weft_assignment_row *a = sim_assignment(s, assignment_id);
    const bool own = a && strcmp(a->client, client) == 0;
    sim_spooled *item = sim_spooled_of(s, assignment_id);
    if (own && !item) {
        item = sim_spool_add(s, assignment_id);
    }
    if (own && a->state != WEFT_ASSIGNMENT_ACCEPTED) {
        memcpy(item->digest, e.u.update.digest, WEFT_DIGEST_BYTES);
    }
    return sim_shell_feed(s, &e);
}

bool sim_revoke(sim_shell *s, uint64_t call, const char *client)
{
    weft_event e = {.kind = WEFT_EVENT_CLIENT_REVOKED, .call = call};
    e.u.client.name = client;
    e.u.client.reason = "lost its laptop";
    return sim_shell_feed(s, &e);
}

bool sim_enrolled(sim_shell *s, uint64_t call, const char *client)
{
    weft_event e = {.kind = WEFT_EVENT_CLIENT_ENROLLED, .call = call};
    e.u.client.name = client;
    return sim_shell_feed(s, &e);
}

bool sim_rollback(sim_shell *s, uint64_t call, const char *job,
                  const uint8_t version[WEFT_DIGEST_BYTES])
{
    weft_event e = {.kind = WEFT_EVENT_ROLLBACK, .call = call};
    e.u.rollback.job = job;
    memcpy(e.u.rollback.version, version, WEFT_DIGEST_BYTES);
    return sim_shell_feed(s, &e);
}

bool sim_sent(sim_shell *s, const char *client, const uint8_t version[WEFT_DIGEST_BYTES],
              uint64_t bytes)
{
    weft_event e = {.kind = WEFT_EVENT_MODEL_SENT, .client = client};
    memcpy(e.u.sent.version, version, WEFT_DIGEST_BYTES);
    e.u.sent.bytes = bytes;
    return sim_shell_feed(s, &e);
}

void sim_job_def(weft_job_def *def, const char *name, const char *dataset)
{
    weft_job_def_init(def);
    def->secure_aggregation = false;
    memcpy(def->name, name, strlen(name) + 1);
    memcpy(def->dataset, dataset, strlen(dataset) + 1);
    def->model_spec = weft_string_copy(&weft_alloc_std, "tensor w 100\n", 64);
    assert_non_null(def->model_spec);
}

/* ---- invariants ------------------------------------------------------------------------------ */

/* Accepted updates per attempt as the rows of the assignments say. */
static uint32_t count_state(const sim_shell *s, const weft_round_row *r,
                            weft_assignment_state state)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s->db.n_assignments; i++) {
        const weft_assignment_row *a = &s->db.assignments[i];
        n += a->job_id == r->job_id && a->round == r->round && a->attempt == r->attempt &&
             a->state == state && a->task != WEFT_TASK_EVALUATE;
    }
    return n;
}

static void check_round(const sim_shell *s, const weft_round_row *r)
{
    const weft_job_row *job = sim_job((sim_shell *)(uintptr_t)s, r->job_id);
    require(job);
    const uint32_t accepted = count_state(s, r, WEFT_ASSIGNMENT_ACCEPTED);
    const uint32_t open = count_state(s, r, WEFT_ASSIGNMENT_OPEN);
    assert_int_equal(accepted, r->accepted);
    assert_true(open + accepted <= r->cohort);
    assert_true(r->cohort <= weft_job_def_cohort(job->def));
    assert_true(r->cohort >= job->def->minimum && r->eligible >= r->cohort);
    assert_true(r->state == WEFT_ROUND_TRAINING || open == 0);
    const bool past_training = r->state == WEFT_ROUND_EVALUATING || r->state == WEFT_ROUND_DONE;
    assert_int_equal(past_training, r->has_version);
    if (r->state == WEFT_ROUND_AGGREGATING || past_training) {
        assert_true(accepted >= job->def->minimum); /* no version without its quorum */
    }
    assert_true(r->state != WEFT_ROUND_FAILED || r->reason[0] != '\0');
    if (r->has_version) { /* every receipt of the round is in the version, once */
        uint8_t version[WEFT_DIGEST_BYTES];
        make_version(version, s, r);
        assert_memory_equal(version, r->version, WEFT_DIGEST_BYTES);
    }
}

/* One open round at most, attempts and rounds without gaps, only the last attempt not failed. */
static void check_job(const sim_shell *s, const weft_job_row *job)
{
    uint32_t open = 0;
    uint32_t done = 0;
    const weft_round_row *last = NULL;
    for (size_t i = 0; i < s->db.n_rounds; i++) {
        const weft_round_row *r = &s->db.rounds[i];
        if (r->job_id != job->job_id) {
            continue;
        }
        open += round_open(r);
        done += r->state == WEFT_ROUND_DONE;
        if (last && last->state == WEFT_ROUND_DONE) {
            assert_true(r->round == last->round + 1 && r->attempt == 1);
        } else if (last) {
            assert_int_equal(last->state, WEFT_ROUND_FAILED);
            /* after masked input the next attempt is a round of its own */
            assert_true(r->round == last->round ||
                        (job->def->secure_aggregation && r->round == last->round + 1));
            assert_int_equal(r->attempt, last->attempt + 1);
        } else {
            assert_true(r->round == 1 && r->attempt == 1);
        }
        last = r;
    }
    assert_true(open <= 1);
    assert_int_equal(done, job->rounds_done);
    assert_true(open == 0 || last->round == job->round);
    assert_true(open == 0 || job->status == WEFT_JOB_RUNNING || job->status == WEFT_JOB_PAUSED);
    assert_true(job->status == WEFT_JOB_RUNNING || job->reason[0] != '\0');
}

/* The core's view is what is durable, and what was published is what it says. */
static void check_core(const sim_shell *s)
{
    assert_int_equal(weft_core_n_jobs(s->core), s->db.n_jobs);
    for (size_t i = 0; i < s->db.n_jobs; i++) {
        const weft_job_row *kept = &s->db.jobs[i];
        weft_job_row seen = *weft_core_job_at(s->core, (uint32_t)i);
        seen.def = kept->def;
        assert_memory_equal(&seen, kept, sizeof seen);
        const weft_round_row *open = weft_core_open_round(s->core, kept->job_id);
        for (size_t k = 0; k < s->db.n_rounds; k++) {
            const weft_round_row *r = &s->db.rounds[k];
            if (r->job_id == kept->job_id && round_open(r)) {
                assert_non_null(open);
                assert_memory_equal(open, r, sizeof *r);
                open = NULL;
            }
        }
        assert_null(open);
    }
    for (size_t i = 0; i < s->n_published; i++) {
        const weft_job_row *job = sim_job((sim_shell *)(uintptr_t)s, s->published[i].job_id);
        assert_memory_equal(s->published[i].version, job->version, WEFT_DIGEST_BYTES);
    }
}

void sim_shell_check(const sim_shell *s, bool deep)
{
    check_core(s);
    for (size_t i = 0; i < s->db.n_jobs; i++) {
        check_job(s, &s->db.jobs[i]);
    }
    const size_t recent = 2 * s->db.n_jobs + 2;
    const size_t first = deep || s->db.n_rounds < recent ? 0 : s->db.n_rounds - recent;
    for (size_t i = first; i < s->db.n_rounds; i++) {
        check_round(s, &s->db.rounds[i]);
    }
    for (size_t i = 0; i < s->db.n_assignments; i++) { /* at most one open one a client */
        const weft_assignment_row *a = &s->db.assignments[i];
        for (size_t k = i + 1; a->state == WEFT_ASSIGNMENT_OPEN && k < s->db.n_assignments; k++) {
            assert_false(s->db.assignments[k].state == WEFT_ASSIGNMENT_OPEN &&
                         strcmp(s->db.assignments[k].client, a->client) == 0);
        }
    }
}
