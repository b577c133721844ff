/* SPDX-License-Identifier: Apache-2.0 */
/* What operators do: jobs, rounds, models, imports, releases, watching. */
#include "weftd_fixture.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 1000 };

typedef struct federation {
    weftd w;
    peer op;
    peer a;
} federation;

static void start(federation *f)
{
    weftd_start(&f->w, NULL);
    peer_operator(&f->op, &f->w);
    peer_client(&f->a, &f->w, &f->op, "alice");
}

static void end(federation *f)
{
    peer_done(&f->a);
    peer_done(&f->op);
    weftd_done(&f->w);
}

/* A job of `rounds` rounds with one client that adds 1 in each. */
static void run_job(federation *f, const char *name, uint32_t rounds, uint32_t of)
{
    weft_job_def def;
    job_plain(&def, name, N, 1, of);
    job_submit(&f->op, &def);
    weft_job_def_done(&def, &weft_alloc_std);
    for (uint32_t r = 1; r <= rounds; r++) {
        weft_msg_assignment to;
        answer a;
        check_in(&a, &f->a, &to);
        contribute(&f->w, &f->a, &to, 1.0F, 10);
        answer_done(&a);
        wait_rounds(&f->op, name, r);
    }
}

static float first_weight(federation *f, const weft_msg_fetch_version_request *request)
{
    weft_buf out;
    uint8_t digest[32];
    float v = 0;
    weft_buf_init(&out, &weft_alloc_std, 1U << 20);
    assert_int_equal(fetch(&f->op, WEFT_METHOD_FETCH_VERSION, WEFT_MSG_FETCH_VERSION_REQUEST,
                           request, &out, digest),
                     WEFT_RT_OK);
    assert_int_equal(out.size, N * sizeof(float));
    memcpy(&v, out.data, sizeof v);
    weft_buf_done(&out);
    return v;
}

static void control(federation *f, const char *job, const char *verb, const char *status)
{
    const weft_msg_control_job_request request = {job, verb, "by the test"};
    weft_msg_job_info info;
    answer a;
    call_ok(&a, &f->op, WEFT_METHOD_CONTROL_JOB, WEFT_MSG_CONTROL_JOB_REQUEST, &request,
            WEFT_MSG_JOB_INFO, &info);
    assert_string_equal(info.name, job);
    assert_string_equal(info.status, status);
    answer_done(&a);
}

static void test_jobs__are_listed_shown_and_controlled(void **state)
{
    (void)state;
    federation f;
    answer a;
    start(&f);
    run_job(&f, "first", 1, 3);
    run_job(&f, "second", 0, 3);
    const weft_msg_list_jobs_request list = {0};
    weft_msg_list_jobs_reply jobs;
    call_ok(&a, &f.op, WEFT_METHOD_LIST_JOBS, WEFT_MSG_LIST_JOBS_REQUEST, &list,
            WEFT_MSG_LIST_JOBS_REPLY, &jobs);
    assert_int_equal(jobs.n_jobs, 2);
    assert_string_equal(jobs.jobs[0].name, "first");
    assert_int_equal(jobs.jobs[0].rounds_done, 1);
    assert_int_equal(jobs.jobs[0].rounds_total, 3);
    assert_int_equal(jobs.jobs[0].current_version.size, 32);
    const weft_msg_list_jobs_request after = {jobs.jobs[0].job_id};
    answer_done(&a);
    call_ok(&a, &f.op, WEFT_METHOD_LIST_JOBS, WEFT_MSG_LIST_JOBS_REQUEST, &after,
            WEFT_MSG_LIST_JOBS_REPLY, &jobs);
    assert_int_equal(jobs.n_jobs, 1);
    assert_string_equal(jobs.jobs[0].name, "second");
    assert_non_null(strstr(jobs.jobs[0].reason, "waiting for clients: "));
    assert_non_null(strstr(jobs.jobs[0].reason, "with data set numbers are here, at least 1 "));
    answer_done(&a);
    control(&f, "second", "pause", "paused");
    control(&f, "second", "resume", "running");
    control(&f, "second", "cancel", "canceled");
    const weft_msg_get_job_request get = {"second"};
    weft_msg_get_job_reply job;
    call_ok(&a, &f.op, WEFT_METHOD_GET_JOB, WEFT_MSG_GET_JOB_REQUEST, &get, WEFT_MSG_GET_JOB_REPLY,
            &job);
    assert_string_equal(job.definition->model_spec, "tensor w 1000\n");
    assert_int_equal(job.definition->rounds, 3);
    assert_int_equal(job.n_history, 4);
    assert_string_equal(job.history[0].status, "running");
    assert_string_equal(job.history[1].status, "paused");
    assert_string_equal(job.history[3].status, "canceled");
    assert_non_null(strstr(job.history[3].reason, "by the test"));
    answer_done(&a);
    const weft_msg_get_job_request none = {"nothing"};
    call(&a, &f.op, WEFT_METHOD_GET_JOB, WEFT_MSG_GET_JOB_REQUEST, &none, WEFT_MSG_GET_JOB_REPLY,
         &job);
    assert_int_equal(a.code, WEFT_RT_NOT_FOUND);
    answer_done(&a);
    const weft_msg_control_job_request odd = {"first", "explode", ""};
    call(&a, &f.op, WEFT_METHOD_CONTROL_JOB, WEFT_MSG_CONTROL_JOB_REQUEST, &odd, WEFT_MSG_JOB_INFO,
         NULL);
    assert_int_equal(a.code, WEFT_RT_INVALID_ARGUMENT);
    answer_done(&a);
    end(&f);
}

static void refuse_job(federation *f, const weft_msg_submit_job_request *request, const char *words)
{
    weft_msg_submit_job_reply reply;
    answer a;
    call(&a, &f->op, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REQUEST, request,
         WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
    assert_int_equal(a.code, WEFT_RT_INVALID_ARGUMENT);
    assert_non_null(strstr(a.text, words));
    answer_done(&a);
}

static void test_submit_job__checks_everything(void **state)
{
    (void)state;
    federation f;
    answer a;
    weft_job_def def;
    weft_msg_submit_job_reply reply;
    start(&f);
    job_plain(&def, "dry", 12345, 1, 1);
    weft_msg_submit_job_request request = {.job = &def, .dry_run = true, .plain = true};
    call_ok(&a, &f.op, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REQUEST, &request,
            WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
    assert_null(reply.job);
    assert_int_equal(reply.n_params, 12345);
    assert_int_equal(reply.model_bytes, 49380);
    answer_done(&a);
    const weft_msg_list_jobs_request list = {0};
    weft_msg_list_jobs_reply jobs;
    call_ok(&a, &f.op, WEFT_METHOD_LIST_JOBS, WEFT_MSG_LIST_JOBS_REQUEST, &list,
            WEFT_MSG_LIST_JOBS_REPLY, &jobs);
    assert_int_equal(jobs.n_jobs, 0); /* nothing was started */
    answer_done(&a);
    request.dry_run = false;
    def.minimum = 2; /* above target 1 */
    refuse_job(&f, &request, "minimum");
    def.minimum = 1;
    request.plain = false; /* left out: the job is secure, and too small for that */
    refuse_job(&f, &request, "a secure sum of fewer than");
    def.secure.adversary = 0; /* a policy, but not whole: nothing is made up */
    refuse_job(&f, &request, "adversary");
    memset(&def.secure, 0, sizeof def.secure); /* none at all: the usual one, and too small again */
    refuse_job(&f, &request, "a secure sum of fewer than");
    request.plain = true;
    def.secure_aggregation = true; /* both */
    refuse_job(&f, &request, "says plain");
    def.secure_aggregation = false;
    def.has_init_version = true; /* nobody has stored these */
    call(&a, &f.op, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REQUEST, &request,
         WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
    assert_int_equal(a.code, WEFT_RT_NOT_FOUND);
    answer_done(&a);
    def.has_init_version = false;
    def.eval_data = weft_string_copy(&weft_alloc_std, "/nonexistent/data", 64);
    call(&a, &f.op, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REQUEST, &request,
         WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
    assert_int_not_equal(a.code, WEFT_RT_OK);
    answer_done(&a);
    weft_free(&weft_alloc_std, def.eval_data);
    def.eval_data = NULL;
    job_submit(&f.op, &def);
    job_submit(&f.op, &def); /* the same again is the same job */
    def.rounds = 2;
    call(&a, &f.op, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REQUEST, &request,
         WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
    assert_int_equal(a.code, WEFT_RT_ALREADY_EXISTS);
    answer_done(&a);
    weft_job_def_done(&def, &weft_alloc_std);
    end(&f);
}

static void test_rounds__are_listed_and_shown(void **state)
{
    (void)state;
    federation f;
    answer a;
    start(&f);
    run_job(&f, "rounds", 3, 3);
    wait_status(&f.op, "rounds", "done");
    const weft_msg_list_rounds_request list = {"rounds", 0, 0};
    weft_msg_list_rounds_reply rounds;
    call_ok(&a, &f.op, WEFT_METHOD_LIST_ROUNDS, WEFT_MSG_LIST_ROUNDS_REQUEST, &list,
            WEFT_MSG_LIST_ROUNDS_REPLY, &rounds);
    assert_int_equal(rounds.n_rounds, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const weft_msg_round_info *r = &rounds.rounds[i];
        double loss = 0;
        assert_int_equal(r->round, i + 1);
        assert_int_equal(r->attempt, 1);
        assert_string_equal(r->job, "rounds");
        assert_string_equal(r->state, "done");
        assert_int_equal(r->accepted, 1);
        assert_int_equal(r->n_examples, 10);
        assert_int_equal(r->bytes_up, N * sizeof(float));
        assert_int_equal(r->version.size, 32);
        assert_true(r->closed_unix_ms >= r->opened_unix_ms && r->opened_unix_ms > 0);
        assert_true(weft_metrics_get(&r->train_metrics, "loss", &loss) && loss == 0.5);
    }
    answer_done(&a);
    const weft_msg_list_rounds_request later = {"rounds", 2, 10};
    call_ok(&a, &f.op, WEFT_METHOD_LIST_ROUNDS, WEFT_MSG_LIST_ROUNDS_REQUEST, &later,
            WEFT_MSG_LIST_ROUNDS_REPLY, &rounds);
    assert_int_equal(rounds.n_rounds, 1);
    assert_int_equal(rounds.rounds[0].round, 3);
    answer_done(&a);
    const weft_msg_get_round_request get = {.job = "rounds", .round = 2};
    weft_msg_get_round_reply round;
    call_ok(&a, &f.op, WEFT_METHOD_GET_ROUND, WEFT_MSG_GET_ROUND_REQUEST, &get,
            WEFT_MSG_GET_ROUND_REPLY, &round);
    assert_int_equal(round.round->round, 2);
    assert_int_equal(round.n_assignments, 1);
    assert_string_equal(round.assignments[0].client, "alice");
    assert_string_equal(round.assignments[0].state, "accepted");
    assert_int_equal(round.assignments[0].update_digest.size, 32);
    assert_true(round.n_history >= 2);
    assert_string_equal(round.history[0].status, "training");
    answer_done(&a);
    const weft_msg_get_round_request none = {.job = "rounds", .round = 9};
    call(&a, &f.op, WEFT_METHOD_GET_ROUND, WEFT_MSG_GET_ROUND_REQUEST, &none,
         WEFT_MSG_GET_ROUND_REPLY, &round);
    assert_int_equal(a.code, WEFT_RT_NOT_FOUND);
    assert_string_equal(a.text, "job rounds has no round 9; its last one is 3");
    answer_done(&a);
    end(&f);
}

static void tag(federation *f, const weft_msg_tag_model_request *request, weft_rt_code want,
                answer *a, weft_msg_model_info *info)
{
    call(a, &f->op, WEFT_METHOD_TAG_MODEL, WEFT_MSG_TAG_MODEL_REQUEST, request, WEFT_MSG_MODEL_INFO,
         info);
    if (a->code != want) {
        fail_msg("code %d, want %d: %s", (int)a->code, (int)want, a->text);
    }
}

static void test_models__are_listed_released_and_rolled_back(void **state)
{
    (void)state;
    federation f;
    answer a;
    weft_msg_model_info info;
    start(&f);
    run_job(&f, "models", 2, 5);
    weft_msg_list_models_request list = {.job = "models"};
    weft_msg_list_models_reply models;
    call_ok(&a, &f.op, WEFT_METHOD_LIST_MODELS, WEFT_MSG_LIST_MODELS_REQUEST, &list,
            WEFT_MSG_LIST_MODELS_REPLY, &models);
    assert_int_equal(models.n_models, 3); /* the initial weights and two rounds, newest first */
    assert_int_equal(models.models[0].round, 2);
    assert_true(models.models[0].current);
    assert_false(models.models[1].current);
    assert_memory_equal(models.models[0].parent.data, models.models[1].digest.data, 32);
    assert_int_equal(models.models[2].round, 0);
    uint8_t one[32];
    memcpy(one, models.models[1].digest.data, 32);
    answer_done(&a);
    list.skip = 2;
    call_ok(&a, &f.op, WEFT_METHOD_LIST_MODELS, WEFT_MSG_LIST_MODELS_REQUEST, &list,
            WEFT_MSG_LIST_MODELS_REPLY, &models);
    assert_int_equal(models.n_models, 1);
    assert_int_equal(models.models[0].round, 0);
    answer_done(&a);

    weft_msg_tag_model_request request = {.verb = "release", .job = "models", .round = 1};
    tag(&f, &request, WEFT_RT_INVALID_ARGUMENT, &a, &info); /* no name */
    answer_done(&a);
    request.name = "stable";
    tag(&f, &request, WEFT_RT_OK, &a, &info);
    assert_memory_equal(info.digest.data, one, 32);
    assert_true(info.released);
    assert_string_equal(info.release_name, "stable");
    assert_string_equal(info.model_spec, "tensor w 1000\n");
    answer_done(&a);
    assert_true(first_weight(&f, &(weft_msg_fetch_version_request){.job = "models",
                                                                   .released = true}) == 1.0F);
    assert_true(first_weight(&f, &(weft_msg_fetch_version_request){.job = "models"}) == 2.0F);
    const weft_msg_list_models_request released = {.job = "models", .released = true};
    call_ok(&a, &f.op, WEFT_METHOD_LIST_MODELS, WEFT_MSG_LIST_MODELS_REQUEST, &released,
            WEFT_MSG_LIST_MODELS_REPLY, &models);
    assert_int_equal(models.n_models, 1);
    assert_memory_equal(models.models[0].digest.data, one, 32);
    assert_string_equal(models.models[0].model_spec, "tensor w 1000\n");
    answer_done(&a);

    request = (weft_msg_tag_model_request){.verb = "rollback", .job = "models", .round = 1};
    tag(&f, &request, WEFT_RT_OK, &a, &info);
    assert_memory_equal(info.digest.data, one, 32);
    answer_done(&a);
    assert_true(first_weight(&f, &(weft_msg_fetch_version_request){.job = "models"}) == 1.0F);
    weft_msg_assignment to;
    check_in(&a, &f.a, &to); /* the job goes on from there */
    assert_memory_equal(to.base_digest.data, one, 32);
    contribute(&f.w, &f.a, &to, 5.0F, 10);
    answer_done(&a);
    wait_rounds(&f.op, "models", 3);
    assert_true(first_weight(&f, &(weft_msg_fetch_version_request){.job = "models"}) == 6.0F);
    request.verb = "praise";
    tag(&f, &request, WEFT_RT_INVALID_ARGUMENT, &a, &info);
    answer_done(&a);
    request = (weft_msg_tag_model_request){.verb = "rollback", .job = "models", .round = 77};
    tag(&f, &request, WEFT_RT_NOT_FOUND, &a, &info);
    answer_done(&a);
    end(&f);
}

static void test_import__starts_a_job_from_given_weights(void **state)
{
    (void)state;
    federation f;
    answer a;
    weft_msg_model_info info;
    uint8_t digest[32];
    enum { LARGE = 700000 };
    float *weights = calloc(LARGE, sizeof *weights);
    assert_non_null(weights);
    start(&f);
    for (size_t i = 0; i < LARGE; i++) {
        weights[i] = (float)i;
    }
    assert_ok(weft_sha256(digest, weights, LARGE * sizeof *weights, NULL));
    weft_msg_import_header header = {.model_spec = "tensor w 700000\n",
                                     .total_bytes = LARGE * sizeof *weights,
                                     .digest = {digest, 32}};
    import_model(&a, &f.op, &header, weights, LARGE * sizeof *weights, &info);
    assert_int_equal(a.code, WEFT_RT_OK);
    assert_memory_equal(info.digest.data, digest, 32);
    assert_int_equal(info.bytes, LARGE * sizeof *weights);
    assert_string_equal(info.model_spec, "tensor w 700000\n");
    answer_done(&a);
    import_model(&a, &f.op, &header, weights, LARGE * sizeof *weights, &info); /* again */
    assert_int_equal(a.code, WEFT_RT_OK);
    answer_done(&a);

    weft_job_def def;
    job_plain(&def, "from-import", LARGE, 1, 1);
    def.has_init_version = true;
    memcpy(def.init_version, digest, sizeof def.init_version);
    job_submit(&f.op, &def);
    weft_msg_assignment to;
    weft_buf out;
    weft_buf_init(&out, &weft_alloc_std, 4U << 20);
    check_in(&a, &f.a, &to);
    assert_memory_equal(to.base_digest.data, digest, 32);
    const weft_msg_fetch_model_request request = {.digest = to.base_digest};
    uint8_t got[32];
    assert_int_equal(
        fetch(&f.a, WEFT_METHOD_FETCH_MODEL, WEFT_MSG_FETCH_MODEL_REQUEST, &request, &out, got),
        WEFT_RT_OK);
    assert_int_equal(out.size, LARGE * sizeof *weights);
    assert_memory_equal(out.data, weights, out.size);
    answer_done(&a);

    digest[0] ^= 1; /* damaged on its way */
    import_model(&a, &f.op, &header, weights, LARGE * sizeof *weights, &info);
    assert_int_equal(a.code, WEFT_RT_INVALID_ARGUMENT);
    answer_done(&a);
    weights[5] = NAN;
    assert_ok(weft_sha256(digest, weights, LARGE * sizeof *weights, NULL));
    import_model(&a, &f.op, &header, weights, LARGE * sizeof *weights, &info);
    assert_int_equal(a.code, WEFT_RT_INVALID_ARGUMENT);
    answer_done(&a);
    header.model_spec = "tensor w 4\n";
    import_model(&a, &f.op, &header, weights, LARGE * sizeof *weights, &info);
    assert_int_equal(a.code, WEFT_RT_INVALID_ARGUMENT);
    answer_done(&a);
    weft_job_def_done(&def, &weft_alloc_std);
    weft_buf_done(&out);
    free(weights);
    end(&f);
}

/* ---- watching -------------------------------------------------------------------------------- */

typedef struct watch {
    weft_rt_loop *loop;
    weft_rt_rpc *rpc;
    unsigned snapshots, jobs, rounds, updates, versions;
    bool job_done;
    bool over;
    weft_rt_code code;
} watch;

static void on_event(void *arg, weft_rt_rpc *rpc, weft_rt_message *message)
{
    watch *t = arg;
    weft_msg_watch_event event;
    weft_arena arena;
    weft_buf flat;
    weft_view bytes;
    weft_arena_init(&arena, &weft_alloc_std, WEFT_MAX_DECODE_BYTES);
    weft_buf_init(&flat, &weft_alloc_std, WEFT_MAX_CONTROL_BYTES);
    assert_ok(weft_rt_message_flat(message, &flat, &bytes, NULL));
    assert_ok(weft_msg_watch_event_decode(&event, bytes.data, bytes.size, &arena, NULL));
    t->snapshots += strcmp(event.kind, "snapshot") == 0;
    t->jobs += strcmp(event.kind, "job") == 0;
    t->rounds += strcmp(event.kind, "round") == 0;
    t->updates += strcmp(event.kind, "update") == 0;
    t->versions += strcmp(event.kind, "version") == 0;
    t->job_done |= event.job && strcmp(event.job->status, "done") == 0;
    weft_buf_done(&flat);
    weft_arena_done(&arena);
    weft_rt_rpc_next(rpc);
}

static void on_over(void *arg, weft_rt_rpc *rpc, weft_rt_code code, const char *text,
                    weft_rt_message *reply)
{
    watch *t = arg;
    (void)rpc;
    (void)text;
    (void)reply;
    t->over = true;
    t->code = code;
}

static void watch_start(watch *t, peer *op, const char *job)
{
    const weft_rt_loop_options options = WEFT_RT_LOOP_OPTIONS_INIT;
    weft_rt_rpc_options rpc = WEFT_RT_RPC_OPTIONS_INIT;
    const weft_msg_watch_request request = {job};
    weft_buf out;
    memset(t, 0, sizeof *t);
    weft_buf_init(&out, &weft_alloc_std, 1024);
    assert_ok(weft_msg_watch_request_encode(&out, &request, NULL));
    assert_ok(weft_rt_loop_new(&t->loop, &options, NULL));
    rpc.path = weft_method_get(WEFT_METHOD_WATCH)->path;
    rpc.kind = WEFT_RT_RPC_FETCH;
    rpc.request = weft_buf_view(&out);
    rpc.arg = t;
    rpc.on_message = on_event;
    rpc.on_done = on_over;
    assert_ok(weft_rt_rpc_start(&t->rpc, t->loop, op->channel, &rpc, NULL));
    weft_buf_done(&out);
}

static void watch_until(watch *t, bool (*enough)(const watch *t))
{
    for (int i = 0; i < PATIENCE_MS / 20 && !enough(t); i++) {
        (void)weft_rt_loop_step(t->loop, 20); /* progress shows in t */
    }
    assert_true(enough(t));
}

static bool has_snapshot(const watch *t)
{
    return t->snapshots > 0;
}

static bool has_end(const watch *t)
{
    return t->job_done;
}

static bool is_over(const watch *t)
{
    return t->over;
}

static void test_watch__tells_what_happens(void **state)
{
    (void)state;
    federation f;
    watch all;
    watch other;
    start(&f);
    run_job(&f, "watched", 0, 2);
    run_job(&f, "quiet", 0, 1);
    control(&f, "quiet", "pause", "paused");
    watch_start(&all, &f.op, "");
    watch_start(&other, &f.op, "quiet");
    watch_until(&all, has_snapshot);
    watch_until(&other, has_snapshot);
    assert_int_equal(other.snapshots, 1);
    for (uint32_t r = 1; r <= 2; r++) {
        weft_msg_assignment to;
        answer a;
        check_in(&a, &f.a, &to);
        contribute(&f.w, &f.a, &to, 1.0F, 10);
        answer_done(&a);
        wait_rounds(&f.op, "watched", r);
    }
    watch_until(&all, has_end);
    assert_int_equal(all.snapshots, 2);
    assert_int_equal(all.updates, 2);
    assert_int_equal(all.versions, 2);
    assert_true(all.rounds >= 2);
    assert_int_equal(other.updates, 0); /* not its job */
    weftd_stop(&f.w);
    watch_until(&all, is_over);
    assert_int_equal(all.code, WEFT_RT_UNAVAILABLE);
    weft_rt_rpc_free(all.rpc);
    weft_rt_rpc_free(other.rpc);
    weft_rt_loop_free(all.loop);
    weft_rt_loop_free(other.loop);
    end(&f);
}

static void test_status__counts(void **state)
{
    (void)state;
    federation f;
    answer a;
    weft_msg_status_reply status;
    const weft_msg_status_request request = {0};
    start(&f);
    run_job(&f, "counted", 1, 2);
    call_ok(&a, &f.op, WEFT_METHOD_STATUS, WEFT_MSG_STATUS_REQUEST, &request, WEFT_MSG_STATUS_REPLY,
            &status);
    assert_int_equal(status.clients_enrolled, 1);
    assert_int_equal(status.clients_connected, 1);
    assert_int_equal(status.jobs_running, 1);
    assert_string_equal(status.address, f.w.address);
    answer_done(&a);
    const weft_msg_revoke_client_request revoke = {"alice", "left"};
    call_ok(&a, &f.op, WEFT_METHOD_REVOKE_CLIENT, WEFT_MSG_REVOKE_CLIENT_REQUEST, &revoke,
            WEFT_MSG_CLIENT_INFO, NULL);
    answer_done(&a);
    call_ok(&a, &f.op, WEFT_METHOD_STATUS, WEFT_MSG_STATUS_REQUEST, &request, WEFT_MSG_STATUS_REPLY,
            &status);
    assert_int_equal(status.clients_enrolled, 0);
    assert_int_equal(status.clients_connected, 0);
    answer_done(&a);
    end(&f);
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void test_store__a_batch_that_cannot_be_kept_is_answered_and_undone(void **state)
{
    (void)state;
    federation f;
    answer a;
    weft_job_def def;
    char path[512];
    sqlite3 *db = NULL;
    waiting held;
    start(&f);
    job_plain(&def, "blocked", N, 1, 1);
    const weft_msg_dataset set = {"numbers", 100, ""};
    const weft_msg_check_in_request check = {&set, 1, "test 1", 60000};
    waiting_start(&held, &f.a, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &check);
    assert_false(waiting_end(&held, 100));
    /* somebody holds the database: no commit can happen */
    (void)snprintf(path, sizeof path, "%s/coord/data/weft.db", f.w.dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    const weft_msg_submit_job_request request = {.job = &def, .plain = true};
    weft_msg_submit_job_reply reply;
    call(&a, &f.op, WEFT_METHOD_SUBMIT_JOB, WEFT_MSG_SUBMIT_JOB_REQUEST, &request,
         WEFT_MSG_SUBMIT_JOB_REPLY, &reply);
    assert_int_equal(a.code, WEFT_RT_UNAVAILABLE);
    answer_done(&a);
    assert_true(waiting_end(&held, PATIENCE_MS)); /* the core that held it is gone */
    assert_int_equal(held.a.code, WEFT_RT_UNAVAILABLE);
    waiting_done(&held);
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    /* nothing of it happened, and all goes on */
    const weft_msg_list_jobs_request list = {0};
    weft_msg_list_jobs_reply jobs;
    call_ok(&a, &f.op, WEFT_METHOD_LIST_JOBS, WEFT_MSG_LIST_JOBS_REQUEST, &list,
            WEFT_MSG_LIST_JOBS_REPLY, &jobs);
    assert_int_equal(jobs.n_jobs, 0);
    answer_done(&a);
    weft_job_def_done(&def, &weft_alloc_std);
    run_job(&f, "blocked", 1, 1);
    wait_status(&f.op, "blocked", "done");
    end(&f);
}

int main(int argc, char **argv)
{
    weftd_path = argc > 1 ? argv[1] : "weftd";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs__are_listed_shown_and_controlled),
        cmocka_unit_test(test_submit_job__checks_everything),
        cmocka_unit_test(test_rounds__are_listed_and_shown),
        cmocka_unit_test(test_models__are_listed_released_and_rolled_back),
        cmocka_unit_test(test_import__starts_a_job_from_given_weights),
        cmocka_unit_test(test_watch__tells_what_happens),
        cmocka_unit_test(test_status__counts),
        cmocka_unit_test(test_store__a_batch_that_cannot_be_kept_is_answered_and_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
