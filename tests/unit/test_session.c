/* SPDX-License-Identifier: Apache-2.0 */
/* client session: the road of an assignment, the owner's policy, training, restarts, stop. */
#include "session_fixture.h"

/* ---- the road ------------------------------------------------------------------------------- */

static void test_session_on__walks_the_whole_road(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    assert_int_equal(weft_session_next_ms(f.s), 0);
    tick(&f);
    EXPECT(&f, WEFT_SESSION_CHECK_IN);
    assert_int_equal(f.out.item[0].u.check_in.hold_ms, 30000);
    assert_true(weft_session_next_ms(f.s) == UINT64_MAX);

    const weft_session_assignment a = assignment();
    assign(&f, &a);
    EXPECT(&f, WEFT_SESSION_NOTIFY, WEFT_SESSION_KEEP_ASSIGNMENT, WEFT_SESSION_NOTIFY,
           WEFT_SESSION_FETCH);
    assert_int_equal(f.out.item[0].u.notify.notice, WEFT_SESSION_CONNECTED);
    assert_int_equal(f.out.item[2].u.notify.notice, WEFT_SESSION_ASSIGNED);
    assert_ptr_not_equal(f.out.item[1].u.assignment->model_spec, a.model_spec);
    assert_string_equal(f.out.item[1].u.assignment->model_spec, "tensor w 4");
    assert_memory_equal(f.out.item[3].u.fetch.digest, a.base_digest, 32);
    assert_false(f.out.item[3].u.fetch.from_zero);

    feed(&f, (weft_session_event){.kind = WEFT_SESSION_FETCHED});
    EXPECT(&f, WEFT_SESSION_TRAIN);
    f.now += 700;
    trained_with(&f, WEFT_OK, 10, 0.5);
    EXPECT(&f, WEFT_SESSION_STORE);
    assert_int_equal(f.out.item[0].u.store.update->n_examples, 10);
    f.now += 5;
    stored(&f);
    EXPECT(&f, WEFT_SESSION_NOTIFY, WEFT_SESSION_UPLOAD);
    assert_int_equal(f.out.item[0].u.notify.duration_ms, 705);
    assert_int_equal(f.out.item[0].u.notify.notice, WEFT_SESSION_WAS_TRAINED);
    assert_int_equal(f.out.item[1].u.upload.offset, 0);
    assert_int_equal(f.out.item[1].u.upload.update->total_bytes, 16);

    f.now += 40;
    const weft_session_receipt r = receipt_for(7, 9);
    submitted(&f, &r);
    EXPECT(&f, WEFT_SESSION_CLOSE, WEFT_SESSION_NOTIFY, WEFT_SESSION_CHECK_IN);
    assert_int_equal(f.out.item[0].u.close.outcome, WEFT_OUTCOME_ACCEPTED);
    assert_ptr_equal(f.out.item[0].u.close.receipt, &r);
    assert_int_equal(f.out.item[0].u.close.bytes, 16);
    assert_int_equal(f.out.item[1].u.notify.notice, WEFT_SESSION_UPLOADED);
    assert_int_equal(f.out.item[1].u.notify.duration_ms, 40);
    assert_null(weft_session_open(f.s));

    weft_session_event nothing = {.kind = WEFT_SESSION_CHECKED_IN};
    nothing.u.checked_in.answer = WEFT_SESSION_NOTHING_MORE;
    feed(&f, nothing);
    EXPECT(&f, WEFT_SESSION_FINISH);
    assert_int_equal(f.out.item[0].u.finish.status, WEFT_OK);
    assert_true(weft_session_finished(f.s));
    const weft_session_event late = {.kind = WEFT_SESSION_TICK};
    assert_int_equal(weft_session_on(f.s, &late, f.now, &f.out, NULL), WEFT_E_STATE);
    end(&f);
}

static void test_session_on__comes_back_when_told(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    tick(&f);
    come_back(&f, 2345);
    assert_int_equal(weft_session_next_ms(f.s), f.now + 2345);
    f.now += 2344;
    tick(&f);
    EXPECT_NOTHING(&f);
    f.now += 1;
    tick(&f);
    EXPECT(&f, WEFT_SESSION_CHECK_IN);
    come_back(&f, UINT64_MAX); /* a coordinator cannot send us away for ever, or spin us */
    assert_int_equal(weft_session_next_ms(f.s), f.now + 3600000);
    f.now += 3600000;
    tick(&f);
    come_back(&f, 0);
    EXPECT_NOTHING(&f);
    assert_int_equal(weft_session_next_ms(f.s), f.now + 1);
    end(&f);
}

static void test_session_on__refuses_answers_to_nothing(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    const weft_session_event e = {.kind = WEFT_SESSION_FETCHED};
    assert_int_equal(weft_session_on(f.s, &e, f.now, &f.out, NULL), WEFT_E_STATE);
    tick(&f);
    weft_session_event wrong = {.kind = WEFT_SESSION_FAILED};
    wrong.u.failed.action = WEFT_SESSION_UPLOAD;
    assert_int_equal(weft_session_on(f.s, &wrong, f.now, &f.out, NULL), WEFT_E_STATE);
    wrong.kind = (weft_session_event_kind)99;
    assert_int_equal(weft_session_on(f.s, &wrong, f.now, &f.out, NULL), WEFT_E_STATE);
    come_back(&f, 10); /* unharmed */
    end(&f);
}

/* ---- policy --------------------------------------------------------------------------------- */

static void test_session_job_allowed__names_and_prefixes(void **state)
{
    (void)state;
    assert_true(weft_session_job_allowed(NULL, "anything"));
    assert_true(weft_session_job_allowed("mnist", "mnist"));
    assert_false(weft_session_job_allowed("mnist", "mnist2"));
    assert_false(weft_session_job_allowed("mnist2", "mnist"));
    assert_true(weft_session_job_allowed("a, heart-* ,b", "heart-v2"));
    assert_true(weft_session_job_allowed("a, heart-* ,b", "heart-"));
    assert_false(weft_session_job_allowed("a,heart-*,b", "heart"));
    assert_true(weft_session_job_allowed("a,b", "b"));
    assert_true(weft_session_job_allowed("*", "x"));
    assert_false(weft_session_job_allowed("", "x"));
}

static void expect_declined(weft_session_config config, weft_session_assignment a, const char *part)
{
    fixture f;
    begin(&f);
    end(&f);
    f.config = config;
    f.config.datasets = offered;
    f.config.n_datasets = 2;
    begin_with(&f, NULL);
    tick(&f);
    assign(&f, &a);
    EXPECT(&f, WEFT_SESSION_NOTIFY, WEFT_SESSION_KEEP_ASSIGNMENT, WEFT_SESSION_KEEP_ABANDON,
           WEFT_SESSION_NOTIFY, WEFT_SESSION_ABANDON);
    assert_true(f.out.item[2].u.keep.declined);
    assert_int_equal(f.out.item[3].u.notify.notice, WEFT_SESSION_DECLINED);
    if (!strstr(f.out.item[4].u.abandon.reason, part)) {
        fail_msg("reason '%s', wanted '%s'", f.out.item[4].u.abandon.reason, part);
    }
    feed(&f, (weft_session_event){.kind = WEFT_SESSION_ABANDONED});
    EXPECT(&f, WEFT_SESSION_CLOSE);
    assert_int_equal(f.out.item[0].u.close.outcome, WEFT_OUTCOME_DECLINED);
    assert_non_null(strstr(f.out.item[0].u.close.reason, part));
    assert_int_equal(weft_session_next_ms(f.s), f.now + config.decline_pause_ms);
    end(&f);
}

/* Of the memory nothing is known. */
static weft_status no_context(void *self, bool *ret, const uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES],
                              weft_err *err)
{
    (void)self;
    (void)ctx;
    (void)err;
    *ret = false;
    return WEFT_OK;
}

static weft_status no_round(void *self, uint32_t *ret, const char *job, weft_task task,
                            weft_err *err)
{
    (void)self;
    (void)job;
    (void)task;
    (void)err;
    *ret = 0;
    return WEFT_OK;
}

static weft_session_secure_config speaks(void)
{
    return (weft_session_secure_config){
        .federation = "test", .memory = {.context_used = no_context, .masked_round = no_round}};
}

static weft_session_assignment secure_assignment(void)
{
    weft_session_assignment a = assignment();
    a.secure_aggregation = true;
    a.secure = (weft_secagg_terms){
        .policy = WEFT_SECAGG_POLICY_INIT, .max_cohort = 8, .metrics = "accuracy loss"};
    strcpy(a.encoding, WEFT_FIXED_ENCODING);
    return a;
}

static void test_session_on__keeps_to_the_owners_policy(void **state)
{
    (void)state;
    const weft_session_config plain = WEFT_SESSION_CONFIG_INIT;
    weft_session_config c = plain;
    c.allowed_jobs = "hearts,wdbc-*";
    expect_declined(c, assignment(), "mnist is not among");
    c = plain;
    c.min_cohort = 9; /* one above the cohort */
    expect_declined(c, assignment(), "a cohort of 8, this client takes part in 9 or more");
    c = plain;
    c.require_secure_aggregation = true;
    expect_declined(c, assignment(), "no secure aggregation");
    weft_session_assignment a = assignment();
    a.secure_aggregation = true;
    expect_declined(plain, a, "does not speak");
}

/* The coordinator can only be stricter. */
static void test_session_on__declines_weaker_secure_aggregation(void **state)
{
    (void)state;
    const weft_session_secure_config secure = speaks();
    weft_session_config c = WEFT_SESSION_CONFIG_INIT;
    c.secure = &secure;
    weft_session_assignment a = secure_assignment();
    a.secure.policy.adversary = WEFT_SECAGG_CURIOUS;
    expect_declined(c, a, "against curious coordinators");
    a = secure_assignment();
    a.secure.policy.gamma = 0.01;
    expect_declined(c, a, "gamma 0.01");
    a = secure_assignment();
    a.secure.policy.min_colluders = 0;
    expect_declined(c, a, "0 colluders");
    c.min_cohort = 6;
    expect_declined(c, secure_assignment(), "3 clients or more; this client wants active");
    c.min_cohort = 0;
    a = secure_assignment();
    a.secure.max_cohort = 0;
    expect_declined(c, a, "cohort");
    a = secure_assignment();
    strcpy(a.encoding, "f32");
    expect_declined(c, a, "encoding f32");
    a = secure_assignment();
    strcpy(a.secure.metrics, "loss ");
    expect_declined(c, a, "metric");
}

static void test_session_on__takes_what_the_policy_admits(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    end(&f);
    f.config.allowed_jobs = "mni*";
    f.config.min_cohort = 8; /* exactly */
    f.config.require_secure_aggregation = true;
    const weft_session_secure_config secure = speaks();
    f.config.secure = &secure;
    begin_with(&f, NULL);
    weft_session_assignment a = secure_assignment();
    a.secure.policy.min_cohort = 8;
    tick(&f);
    assign(&f, &a);
    EXPECT(&f, WEFT_SESSION_NOTIFY, WEFT_SESSION_KEEP_ASSIGNMENT, WEFT_SESSION_NOTIFY,
           WEFT_SESSION_FETCH);
    end(&f);
}

static void test_session_on__declines_nonsense(void **state)
{
    (void)state;
    const weft_session_config c = WEFT_SESSION_CONFIG_INIT;
    weft_session_assignment a = assignment();
    strcpy(a.dataset, "secrets");
    expect_declined(c, a, "secrets is not offered");
    a = assignment();
    a.task = (weft_task)9;
    expect_declined(c, a, "task 9");
    a = assignment();
    strcpy(a.encoding, "int3");
    expect_declined(c, a, "int3");
    const uint64_t bytes[] = {0, 15, (WEFT_MAX_PARAMS + 1) * 4};
    for (size_t i = 0; i < 3; i++) {
        a = assignment();
        a.base_bytes = bytes[i];
        expect_declined(c, a, "a base version of");
    }
    const double norms[] = {0.0, -1.0, (double)NAN, (double)INFINITY};
    for (size_t i = 0; i < 4; i++) {
        a = assignment();
        a.clip_norm = norms[i];
        expect_declined(c, a, "clip norm");
    }
    a = assignment();
    a.max_examples = 0;
    expect_declined(c, a, "max_examples 0");
    a = assignment();
    a.max_examples = WEFT_MAX_EXAMPLES + 1;
    expect_declined(c, a, "max_examples");
    a = assignment();
    a.round = 0;
    expect_declined(c, a, "without number or round");
    a = assignment();
    a.plan.learning_rate = -1.0;
    expect_declined(c, a, "learning_rate");
}

static void test_session_new__refuses_bad_settings(void **state)
{
    (void)state;
    weft_session *s = NULL;
    weft_session_config c = WEFT_SESSION_CONFIG_INIT;
    c.allowed_jobs = "a,b*c";
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_session_new(&s, &c, NULL, &weft_alloc_std, &err), WEFT_E_INVALID);
    assert_non_null(strstr(err.msg, "'b*c'"));
    c.allowed_jobs = "a,,b";
    assert_int_equal(weft_session_new(&s, &c, NULL, &weft_alloc_std, NULL), WEFT_E_INVALID);
    c.allowed_jobs = NULL;
    c.backoff_min_ms = 0;
    assert_int_equal(weft_session_new(&s, &c, NULL, &weft_alloc_std, NULL), WEFT_E_INVALID);
    c.backoff_min_ms = 2;
    c.backoff_max_ms = 1;
    assert_int_equal(weft_session_new(&s, &c, NULL, &weft_alloc_std, NULL), WEFT_E_INVALID);
    assert_null(s);
}

/* ---- training ------------------------------------------------------------------------------- */

static void test_session_on__abandons_when_the_trainer_fails_and_pauses_longer(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_TRAIN);
    uint64_t want = 1000;
    for (int i = 0; i < 12; i++) {
        trained_with(&f, WEFT_E_IO, 0, 0.0);
        EXPECT(&f, WEFT_SESSION_KEEP_ABANDON, WEFT_SESSION_ABANDON);
        assert_false(f.out.item[0].u.keep.declined);
        assert_string_equal(f.out.item[1].u.abandon.reason, "out of paper");
        feed(&f, (weft_session_event){.kind = WEFT_SESSION_ABANDONED});
        EXPECT(&f, WEFT_SESSION_CLOSE, WEFT_SESSION_NOTIFY);
        assert_int_equal(f.out.item[0].u.close.outcome, WEFT_OUTCOME_ABANDONED);
        assert_int_equal(f.out.item[1].u.notify.notice, WEFT_SESSION_GAVE_UP);
        const uint64_t wait = weft_session_next_ms(f.s) - f.now;
        assert_in_range(wait, want / 2, want);
        want = want * 2 < 300000 ? want * 2 : 300000;
        f.now = weft_session_next_ms(f.s);
        tick(&f);
        const weft_session_assignment a = assignment();
        assign(&f, &a);
        feed(&f, (weft_session_event){.kind = WEFT_SESSION_FETCHED});
    }
    end(&f);
}

static void test_session_on__refuses_what_a_trainer_may_not_report(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        fixture f;
        begin(&f);
        walk_to(&f, WEFT_SESSION_TRAIN);
        trained_with(&f, WEFT_OK, i ? 10 : 0, i ? (double)NAN : 0.5);
        EXPECT(&f, WEFT_SESSION_KEEP_ABANDON, WEFT_SESSION_ABANDON);
        end(&f);
    }
}

static void test_session_on__weighs_at_most_max_examples(void **state)
{
    (void)state;
    const uint64_t n[] = {999, 1000, 1001};
    const uint64_t want[] = {999, 1000, 1000};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        begin(&f);
        walk_to(&f, WEFT_SESSION_TRAIN);
        trained_with(&f, WEFT_OK, n[i], 0.5);
        EXPECT(&f, WEFT_SESSION_STORE);
        assert_int_equal(f.out.item[0].u.store.update->n_examples, want[i]);
        end(&f);
    }
}

static void test_session_on__abandons_what_cannot_be_stored(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_STORE);
    failed(&f, WEFT_SESSION_STORE, WEFT_E_INVALID);
    EXPECT(&f, WEFT_SESSION_KEEP_ABANDON, WEFT_SESSION_ABANDON);
    end(&f);
}

static void test_session_on__renews_the_lease_and_stops_when_told(void **state)
{
    (void)state;
    const weft_session_action_kind calls[] = {WEFT_SESSION_FETCH, WEFT_SESSION_TRAIN,
                                              WEFT_SESSION_UPLOAD};
    const char *phases[] = {"fetch", "train", "upload"};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        begin(&f);
        walk_to(&f, calls[i]);
        assert_int_equal(weft_session_next_ms(f.s), f.now + 1000);
        f.now += 999;
        tick(&f);
        EXPECT_NOTHING(&f);
        f.now += 1;
        tick(&f);
        EXPECT(&f, WEFT_SESSION_PROGRESS);
        assert_string_equal(f.out.item[0].u.progress.phase, phases[i]);
        assert_true(weft_session_next_ms(f.s) == UINT64_MAX); /* one at a time */
        progressed(&f, false, 0, NULL);
        EXPECT_NOTHING(&f);
        assert_int_equal(weft_session_next_ms(f.s), f.now + 1000);
        f.now += 1000;
        tick(&f);
        failed(&f, WEFT_SESSION_PROGRESS, WEFT_E_AGAIN); /* the transfer goes on */
        EXPECT_NOTHING(&f);
        f.now += 1000;
        tick(&f);
        EXPECT(&f, WEFT_SESSION_PROGRESS);
        progressed(&f, true, 0, NULL);
        EXPECT(&f, WEFT_SESSION_CANCEL, WEFT_SESSION_CLOSE, WEFT_SESSION_NOTIFY,
               WEFT_SESSION_CHECK_IN);
        assert_int_equal(f.out.item[1].u.close.outcome, WEFT_OUTCOME_REFUSED);
        end(&f);
    }
}

static void test_session_on__cancels_the_leases_call_with_its_transfer(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_UPLOAD);
    f.now += 1000;
    tick(&f);
    const weft_session_receipt r = receipt_for(7, 9);
    submitted(&f, &r);
    EXPECT(&f, WEFT_SESSION_CANCEL, WEFT_SESSION_CLOSE, WEFT_SESSION_NOTIFY, WEFT_SESSION_CHECK_IN);
    end(&f);
    begin(&f);
    walk_to(&f, WEFT_SESSION_FETCH);
    f.now += 1000;
    tick(&f);
    feed(&f, (weft_session_event){.kind = WEFT_SESSION_FETCHED});
    EXPECT(&f, WEFT_SESSION_CANCEL, WEFT_SESSION_TRAIN);
    end(&f);
}

static void test_session_on__training_stopped_by_the_coordinator_is_refused(void **state)
{
    (void)state;
    fixture f;
    begin(&f);
    walk_to(&f, WEFT_SESSION_TRAIN);
    weft_session_event e = {.kind = WEFT_SESSION_TRAINED};
    e.u.trained.status = WEFT_E_CANCELED;
    e.u.trained.stopped = true;
    e.u.trained.detail = "late: the round has closed";
    feed(&f, e);
    EXPECT(&f, WEFT_SESSION_CLOSE, WEFT_SESSION_NOTIFY, WEFT_SESSION_CHECK_IN);
    assert_int_equal(f.out.item[0].u.close.outcome, WEFT_OUTCOME_REFUSED);
    end(&f);
}

/* ---- after a crash -------------------------------------------------------------------------- */

static void begin_restored(fixture *f, const weft_session_record *record)
{
    begin(f);
    end(f);
    begin_with(f, record);
    tick(f);
}

static void test_session_new__asks_before_it_goes_on(void **state)
{
    (void)state;
    fixture f;
    weft_session_record r = {.assignment = assignment()};
    begin_restored(&f, &r);
    EXPECT(&f, WEFT_SESSION_PROGRESS);
    assert_int_equal(f.out.item[0].u.progress.assignment_id, 7);
    progressed(&f, false, 0, NULL);
    (void)find(&f, WEFT_SESSION_FETCH); /* nothing was trained, or it was lost */
    end(&f);
    begin_restored(&f, &r);
    progressed(&f, true, 0, NULL);
    assert_int_equal(find(&f, WEFT_SESSION_CLOSE)->u.close.outcome, WEFT_OUTCOME_REFUSED);
    end(&f);

    r.has_update = true;
    r.update = (weft_session_update){.total_bytes = 16, .n_examples = 10};
    memset(r.update.digest, 9, sizeof r.update.digest);
    begin_restored(&f, &r);
    EXPECT(&f, WEFT_SESSION_PROGRESS);
    progressed(&f, false, 4, NULL);
    const weft_session_action *u = find(&f, WEFT_SESSION_UPLOAD);
    assert_int_equal(u->u.upload.offset, 4);
    assert_int_equal(u->u.upload.update->n_examples, 10);
    assert_string_equal(u->u.upload.assignment->model_spec, "tensor w 4");
    end(&f);
}

static void test_session_new__abandons_what_was_to_be_abandoned(void **state)
{
    (void)state;
    for (int declined = 0; declined < 2; declined++) {
        fixture f;
        const weft_session_record r = {.assignment = assignment(),
                                       .abandoning = true,
                                       .declined = declined != 0,
                                       .reason = "the scanner is out"};
        begin_restored(&f, &r);
        EXPECT(&f, WEFT_SESSION_ABANDON);
        assert_string_equal(f.out.item[0].u.abandon.reason, "the scanner is out");
        feed(&f, (weft_session_event){.kind = WEFT_SESSION_ABANDONED});
        const weft_session_action *c = find(&f, WEFT_SESSION_CLOSE);
        assert_int_equal(c->u.close.outcome,
                         declined ? WEFT_OUTCOME_DECLINED : WEFT_OUTCOME_ABANDONED);
        assert_string_equal(c->u.close.reason, "the scanner is out");
        end(&f);
    }
}

/* ---- stop ----------------------------------------------------------------------------------- */

static void test_session_on__stops_in_every_phase_and_keeps_the_assignment(void **state)
{
    (void)state;
    const weft_session_action_kind calls[] = {
        WEFT_SESSION_CHECK_IN, WEFT_SESSION_FETCH,    WEFT_SESSION_TRAIN,  WEFT_SESSION_STORE,
        WEFT_SESSION_UPLOAD,   WEFT_SESSION_PROGRESS, WEFT_SESSION_ABANDON};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        fixture f;
        begin(&f);
        walk_to(&f, calls[i]);
        feed(&f, (weft_session_event){.kind = WEFT_SESSION_STOP});
        EXPECT(&f, WEFT_SESSION_CANCEL, WEFT_SESSION_FINISH);
        assert_int_equal(f.out.item[1].u.finish.status, WEFT_E_CANCELED);
        assert_true(weft_session_next_ms(f.s) == UINT64_MAX);
        assert_int_equal(weft_session_open(f.s) != NULL, calls[i] != WEFT_SESSION_CHECK_IN);
        end(&f);
    }
    fixture f; /* while waiting, there is nothing to cancel */
    begin(&f);
    tick(&f);
    come_back(&f, 100);
    feed(&f, (weft_session_event){.kind = WEFT_SESSION_STOP});
    EXPECT(&f, WEFT_SESSION_FINISH);
    end(&f);
}

/* ---- seeds and memory ----------------------------------------------------------------------- */

/* Reference: Python, int.from_bytes(sha256(b"weft train seed 1|1|alice|mnist|3").digest()[:8],
 * "little"). */
static void test_session_train_seed__is_the_hash_of_who_and_what(void **state)
{
    (void)state;
    uint64_t base = 0;
    uint64_t other = 0;
    assert_ok(weft_session_train_seed(&base, 1, "alice", "mnist", 3, &assert_err));
    assert_true(base == UINT64_C(6763050876527105906));
    assert_ok(weft_session_train_seed(&other, 2, "alice", "mnist", 3, &assert_err));
    assert_true(other != base);
    assert_ok(weft_session_train_seed(&other, 1, "bob", "mnist", 3, &assert_err));
    assert_true(other != base);
    assert_ok(weft_session_train_seed(&other, 1, "alice", "hearts", 3, &assert_err));
    assert_true(other != base);
    assert_ok(weft_session_train_seed(&other, 1, "alice", "mnist", 4, &assert_err));
    assert_true(other != base);
}

static weft_status take_part(const weft_alloc *a, void *arg)
{
    (void)arg;
    weft_session_config c = WEFT_SESSION_CONFIG_INIT;
    c.datasets = offered;
    c.n_datasets = 2;
    c.allowed_jobs = "mnist";
    weft_session *s = NULL;
    weft_err err = WEFT_ERR_INIT;
    WEFT_TRY(weft_session_new(&s, &c, NULL, a, &err));
    weft_session_actions out;
    weft_session_event e = {.kind = WEFT_SESSION_TICK};
    weft_status status = weft_session_on(s, &e, 1, &out, &err);
    weft_session_assignment given = assignment();
    if (status == WEFT_OK) {
        e.kind = WEFT_SESSION_CHECKED_IN;
        e.u.checked_in.answer = WEFT_SESSION_ASSIGNMENT;
        e.u.checked_in.assignment = &given;
        status = weft_session_on(s, &e, 2, &out, &err);
        if (status == WEFT_E_NOMEM) { /* nothing happened: the same event once more is fine */
            assert_null(weft_session_open(s));
            weft_err again = WEFT_ERR_INIT;
            const weft_status st = weft_session_on(s, &e, 3, &out, &again);
            assert_true(st == WEFT_OK || st == WEFT_E_NOMEM);
        }
    }
    weft_session_free(s);
    return status;
}

static void test_session__every_allocation_may_fail(void **state)
{
    (void)state;
    test_every_allocation_may_fail(take_part, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_on__walks_the_whole_road),
        cmocka_unit_test(test_session_on__comes_back_when_told),
        cmocka_unit_test(test_session_on__refuses_answers_to_nothing),
        cmocka_unit_test(test_session_job_allowed__names_and_prefixes),
        cmocka_unit_test(test_session_on__keeps_to_the_owners_policy),
        cmocka_unit_test(test_session_on__declines_weaker_secure_aggregation),
        cmocka_unit_test(test_session_on__takes_what_the_policy_admits),
        cmocka_unit_test(test_session_on__declines_nonsense),
        cmocka_unit_test(test_session_new__refuses_bad_settings),
        cmocka_unit_test(test_session_on__abandons_when_the_trainer_fails_and_pauses_longer),
        cmocka_unit_test(test_session_on__refuses_what_a_trainer_may_not_report),
        cmocka_unit_test(test_session_on__weighs_at_most_max_examples),
        cmocka_unit_test(test_session_on__abandons_what_cannot_be_stored),
        cmocka_unit_test(test_session_on__renews_the_lease_and_stops_when_told),
        cmocka_unit_test(test_session_on__cancels_the_leases_call_with_its_transfer),
        cmocka_unit_test(test_session_on__training_stopped_by_the_coordinator_is_refused),
        cmocka_unit_test(test_session_new__asks_before_it_goes_on),
        cmocka_unit_test(test_session_new__abandons_what_was_to_be_abandoned),
        cmocka_unit_test(test_session_on__stops_in_every_phase_and_keeps_the_assignment),
        cmocka_unit_test(test_session_train_seed__is_the_hash_of_who_and_what),
        cmocka_unit_test(test_session__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
