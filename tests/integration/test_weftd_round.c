/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The road of an update through a real weftd: assignment, model, upload, receipt, next version; cut
 * and resumed at any point, refused with the right reason, and carried on by a coordinator that was
 * killed.
 */
#include "weftd_fixture.h"

#include "base/file.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 600000 }; /* parameters: 2.4 MB, three chunks */

typedef struct federation {
    weftd w;
    peer op;
    peer a;
    peer b;
} federation;

static void start(federation *f)
{
    weftd_start(&f->w, NULL);
    peer_operator(&f->op, &f->w);
    peer_client(&f->a, &f->w, &f->op, "alice");
    peer_client(&f->b, &f->w, &f->op, "bob");
}

static void reconnect(federation *f)
{
    peer_reconnect(&f->op, &f->w);
    peer_reconnect(&f->a, &f->w);
    peer_reconnect(&f->b, &f->w);
}

static void end(federation *f)
{
    peer_done(&f->a);
    peer_done(&f->b);
    peer_done(&f->op);
    weftd_done(&f->w);
}

static void submit_job(federation *f, const char *name, uint64_t n, uint32_t target,
                       uint32_t rounds)
{
    weft_job_def def;
    job_plain(&def, name, n, target, rounds);
    job_submit(&f->op, &def);
    weft_job_def_done(&def, &weft_alloc_std);
}

/* The current weights of a job, all of them. */
static void fetch_current(federation *f, const char *job, weft_buf *out)
{
    const weft_msg_fetch_version_request request = {.job = job};
    uint8_t digest[32];
    uint8_t want[32];
    weft_buf_clear(out);
    assert_int_equal(fetch(&f->op, WEFT_METHOD_FETCH_VERSION, WEFT_MSG_FETCH_VERSION_REQUEST,
                           &request, out, digest),
                     WEFT_RT_OK);
    assert_ok(weft_sha256(want, out->data, out->size, NULL));
    assert_memory_equal(digest, want, 32);
}

static void assert_all(const weft_buf *weights, size_t n, float want)
{
    assert_int_equal(weights->size, n * sizeof(float));
    for (size_t i = 0; i < n; i += 997) {
        float v = 0;
        memcpy(&v, weights->data + i * sizeof v, sizeof v);
        if (fabsf(v - want) > 1e-6F) {
            fail_msg("weight %zu is %g, want %g", i, (double)v, (double)want);
        }
    }
}

static void test_round__averages_what_clients_send(void **state)
{
    (void)state;
    federation f;
    answer a;
    answer b;
    weft_msg_assignment to_a;
    weft_msg_assignment to_b;
    weft_buf weights;
    start(&f);
    weft_buf_init(&weights, &weft_alloc_std, 16U << 20);
    submit_job(&f, "sums", N, 2, 2);
    waiting held;
    const weft_msg_dataset set = {"numbers", 100, ""};
    const weft_msg_check_in_request request = {&set, 1, "test 1", 20000};
    for (uint32_t round = 1; round <= 2; round++) {
        weft_msg_check_in_reply reply;
        waiting_start(&held, &f.a, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request);
        assert_false(waiting_end(&held, 50));
        check_in(&b, &f.b, &to_b);
        assert_true(waiting_end(&held, PATIENCE_MS)); /* the long poll ends with work */
        assert_ok(weft_msg_check_in_reply_decode(&reply, held.a.bytes.data, held.a.bytes.size,
                                                 &held.a.arena, NULL));
        assert_non_null(reply.assignment);
        to_a = *reply.assignment;
        assert_int_equal(to_a.round, round);
        assert_int_equal(to_a.cohort, 2);
        assert_int_equal(to_a.base_bytes, N * sizeof(float));
        contribute(&f.w, &f.a, &to_a, 1.0F, 30);
        contribute(&f.w, &f.b, &to_b, 2.0F, 10);
        wait_rounds(&f.op, "sums", round);
        waiting_done(&held);
        answer_done(&b);
        fetch_current(&f, "sums", &weights);
        assert_all(&weights, N, 1.25F * (float)round); /* (30 * 1 + 10 * 2) / 40 */
    }
    wait_status(&f.op, "sums", "done");
    const weft_msg_check_in_request now = {&set, 1, "test 1", 0};
    weft_msg_check_in_reply reply;
    call_ok(&a, &f.a, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &now,
            WEFT_MSG_CHECK_IN_REPLY, &reply);
    assert_null(reply.assignment);
    answer_done(&a);
    weft_buf_done(&weights);
    end(&f);
}

static void test_fetch__goes_on_from_an_offset(void **state)
{
    (void)state;
    federation f;
    answer a;
    weft_msg_assignment to_a;
    weft_buf whole;
    weft_buf rest;
    uint8_t digest[32];
    start(&f);
    weft_buf_init(&whole, &weft_alloc_std, 16U << 20);
    weft_buf_init(&rest, &weft_alloc_std, 16U << 20);
    submit_job(&f, "offsets", N, 1, 1);
    check_in(&a, &f.a, &to_a);
    weft_msg_fetch_model_request request = {.digest = to_a.base_digest};
    assert_int_equal(fetch(&f.a, WEFT_METHOD_FETCH_MODEL, WEFT_MSG_FETCH_MODEL_REQUEST, &request,
                           &whole, digest),
                     WEFT_RT_OK);
    assert_memory_equal(digest, to_a.base_digest.data, 32);
    assert_int_equal(whole.size, N * sizeof(float));
    static const uint64_t offsets[] = {1, 1048575, 1048577, 2399999, 2400000};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        request.offset = offsets[i];
        weft_buf_clear(&rest);
        assert_int_equal(fetch(&f.a, WEFT_METHOD_FETCH_MODEL, WEFT_MSG_FETCH_MODEL_REQUEST,
                               &request, &rest, digest),
                         WEFT_RT_OK);
        assert_int_equal(rest.size, whole.size - offsets[i]);
        assert_true(rest.size == 0 || memcmp(rest.data, whole.data + offsets[i], rest.size) == 0);
    }
    request.offset = 2400001;
    assert_int_equal(
        fetch(&f.a, WEFT_METHOD_FETCH_MODEL, WEFT_MSG_FETCH_MODEL_REQUEST, &request, &rest, digest),
        WEFT_RT_INVALID_ARGUMENT);
    /* clients see what jobs work on, nothing else */
    static const uint8_t unknown[32] = {1, 2, 3};
    request = (weft_msg_fetch_model_request){.digest = {unknown, 32}};
    assert_int_equal(
        fetch(&f.a, WEFT_METHOD_FETCH_MODEL, WEFT_MSG_FETCH_MODEL_REQUEST, &request, &rest, digest),
        WEFT_RT_NOT_FOUND);
    answer_done(&a);
    weft_buf_done(&whole);
    weft_buf_done(&rest);
    end(&f);
}

/* ---- uploads --------------------------------------------------------------------------------- */

typedef struct update {
    float *delta; /* [N] */
    uint8_t digest[32];
    upload u;
} update;

static void update_make(update *x, const weft_msg_assignment *to, float value)
{
    memset(x, 0, sizeof *x);
    x->delta = calloc(N, sizeof *x->delta);
    assert_non_null(x->delta);
    for (size_t i = 0; i < N; i++) {
        x->delta[i] = value + (float)(i % 3) * 0.25F;
    }
    assert_ok(weft_sha256(x->digest, x->delta, N * sizeof(float), NULL));
    x->u.header = (weft_msg_update_header){.assignment_id = to->assignment_id,
                                           .base_digest = to->base_digest,
                                           .total_bytes = N * sizeof(float),
                                           .update_digest = {x->digest, 32},
                                           .n_examples = 10,
                                           .encoding = "f32"};
    x->u.data = x->delta;
}

static uint64_t held_bytes(peer *p, uint64_t assignment_id, bool *ret_receipt)
{
    const weft_msg_progress_request request = {assignment_id, "upload", 1, 2};
    weft_msg_progress_reply reply;
    answer a;
    call_ok(&a, p, WEFT_METHOD_PROGRESS, WEFT_MSG_PROGRESS_REQUEST, &request,
            WEFT_MSG_PROGRESS_REPLY, &reply);
    const uint64_t held = reply.held_bytes;
    *ret_receipt = reply.receipt != NULL;
    answer_done(&a);
    return held;
}

static void test_round__tells_what_went_up_and_down(void **state)
{
    (void)state;
    federation f;
    answer a;
    answer b;
    weft_msg_assignment to_a;
    weft_msg_submit_reply reply;
    weft_msg_get_round_reply round;
    weft_buf bytes;
    uint8_t digest[32];
    update x;
    start(&f);
    weft_buf_init(&bytes, &weft_alloc_std, 16U << 20);
    submit_job(&f, "traffic", N, 1, 1);
    check_in(&a, &f.a, &to_a);
    const weft_msg_fetch_model_request fetch_all = {.digest = to_a.base_digest};
    const weft_msg_fetch_model_request fetch_rest = {.digest = to_a.base_digest, .offset = 1400000};
    assert_int_equal(fetch(&f.a, WEFT_METHOD_FETCH_MODEL, WEFT_MSG_FETCH_MODEL_REQUEST, &fetch_all,
                           &bytes, digest),
                     WEFT_RT_OK);
    weft_buf_clear(&bytes);
    assert_int_equal(fetch(&f.a, WEFT_METHOD_FETCH_MODEL, WEFT_MSG_FETCH_MODEL_REQUEST, &fetch_rest,
                           &bytes, digest),
                     WEFT_RT_OK);
    /* one without a part in the round does not count */
    weft_buf_clear(&bytes);
    assert_int_equal(fetch(&f.b, WEFT_METHOD_FETCH_MODEL, WEFT_MSG_FETCH_MODEL_REQUEST, &fetch_all,
                           &bytes, digest),
                     WEFT_RT_OK);
    update_make(&x, &to_a, 0.5F);
    submit(&b, &f.a, &x.u, &reply);
    assert_non_null(reply.receipt);
    answer_done(&b);
    wait_rounds(&f.op, "traffic", 1);
    const weft_msg_get_round_request get = {.job = "traffic", .round = 1};
    call_ok(&b, &f.op, WEFT_METHOD_GET_ROUND, WEFT_MSG_GET_ROUND_REQUEST, &get,
            WEFT_MSG_GET_ROUND_REPLY, &round);
    assert_int_equal(round.round->bytes_up, N * sizeof(float));
    assert_int_equal(round.round->bytes_down, 2 * N * sizeof(float) - 1400000);
    answer_done(&b);
    answer_done(&a);
    weft_buf_done(&bytes);
    free(x.delta);
    end(&f);
}

static void test_submit__goes_on_where_it_was_cut(void **state)
{
    (void)state;
    federation f;
    answer a;
    answer up;
    weft_msg_assignment to_a;
    weft_msg_submit_reply reply;
    update x;
    bool receipt = false;
    start(&f);
    submit_job(&f, "resume", N, 1, 2);
    check_in(&a, &f.a, &to_a);
    update_make(&x, &to_a, 0.5F);
    /* more than is held is refused, whatever comes after */
    x.u.header.start_offset = 1;
    submit(&up, &f.a, &x.u, &reply);
    assert_int_equal(up.code, WEFT_RT_INVALID_ARGUMENT);
    answer_done(&up);
    x.u.header.start_offset = 0;
    x.u.chunk_bytes = 100000;
    x.u.stop_after = 700000;
    submit(&up, &f.a, &x.u, &reply);
    assert_int_equal(up.code, WEFT_RT_CANCELED);
    answer_done(&up);
    uint64_t held = held_bytes(&f.a, to_a.assignment_id, &receipt);
    assert_true(held > 0 && held <= 700000 && held % 100000 == 0);
    assert_false(receipt);
    /* nobody else learns or touches it */
    assert_int_equal(held_bytes(&f.b, to_a.assignment_id, &receipt), 0);
    /* the coordinator is killed; what it held, it holds */
    weftd_kill(&f.w);
    weftd_restart(&f.w, NULL);
    reconnect(&f);
    held = held_bytes(&f.a, to_a.assignment_id, &receipt);
    assert_true(held > 0 && held <= 700000 && held % 100000 == 0);
    x.u.header.start_offset = held;
    x.u.stop_after = 0;
    submit(&up, &f.a, &x.u, &reply);
    assert_int_equal(up.code, WEFT_RT_OK);
    assert_non_null(reply.receipt);
    answer_done(&up);
    assert_int_equal(held_bytes(&f.a, to_a.assignment_id, &receipt), 0);
    assert_true(receipt);
    wait_rounds(&f.op, "resume", 1);
    weft_buf weights;
    weft_buf_init(&weights, &weft_alloc_std, 16U << 20);
    fetch_current(&f, "resume", &weights);
    for (size_t i = 0; i < N; i += 101) {
        float v = 0;
        memcpy(&v, weights.data + i * sizeof v, sizeof v);
        assert_true(fabsf(v - x.delta[i]) < 1e-6F);
    }
    weft_buf_done(&weights);
    free(x.delta);
    answer_done(&a);
    end(&f);
}

static void test_submit__a_repeated_update_gets_the_same_receipt(void **state)
{
    (void)state;
    federation f;
    answer a;
    answer first;
    answer second;
    weft_msg_assignment to_a;
    weft_msg_submit_reply one;
    weft_msg_submit_reply two;
    update x;
    start(&f);
    submit_job(&f, "twice", N, 2, 1); /* two are wanted: the round stays open */
    waiting held;
    const weft_msg_dataset set = {"numbers", 100, ""};
    const weft_msg_check_in_request request = {&set, 1, "test 1", 20000};
    waiting_start(&held, &f.b, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request);
    assert_false(waiting_end(&held, 50));
    check_in(&a, &f.a, &to_a);
    update_make(&x, &to_a, 0.5F);
    submit(&first, &f.a, &x.u, &one);
    assert_int_equal(first.code, WEFT_RT_OK);
    assert_non_null(one.receipt);
    submit(&second, &f.a, &x.u, &two);
    assert_int_equal(second.code, WEFT_RT_OK);
    assert_int_equal(first.bytes.size, second.bytes.size);
    assert_memory_equal(first.bytes.data, second.bytes.data, first.bytes.size);
    answer_done(&second);
    /* also after a restart */
    weftd_kill(&f.w);
    weftd_restart(&f.w, NULL);
    reconnect(&f);
    submit(&second, &f.a, &x.u, &two);
    assert_int_equal(second.code, WEFT_RT_OK);
    assert_memory_equal(first.bytes.data, second.bytes.data, first.bytes.size);
    answer_done(&second);
    /* another update of the same assignment is not taken */
    x.delta[0] += 1.0F;
    assert_ok(weft_sha256(x.digest, x.delta, N * sizeof(float), NULL));
    submit(&second, &f.a, &x.u, &two);
    assert_int_equal(second.code, WEFT_RT_OK);
    assert_null(two.receipt);
    assert_int_equal(two.refusal, WEFT_REFUSAL_CONFLICT);
    answer_done(&second);
    waiting_done(&held);
    answer_done(&first);
    answer_done(&a);
    free(x.delta);
    end(&f);
}

/* One refused update; the assignment is a fresh one each time. */
static void refused(federation *f, weft_refusal want, void (*spoil)(update *x))
{
    answer a;
    answer up;
    weft_msg_assignment to;
    weft_msg_submit_reply reply;
    update x;
    char job[32];
    (void)snprintf(job, sizeof job, "refusal-%d", (int)want);
    submit_job(f, job, N, 1, 1);
    check_in(&a, &f->a, &to);
    update_make(&x, &to, 0.5F);
    spoil(&x);
    submit(&up, &f->a, &x.u, &reply);
    if (up.code != WEFT_RT_OK || reply.receipt || reply.refusal != (uint32_t)want) {
        fail_msg("%s: code %d (%s), refusal %u, want %d", job, (int)up.code, up.text, reply.refusal,
                 (int)want);
    }
    assert_true(reply.detail[0] != '\0');
    answer_done(&up);
    const weft_msg_control_job_request cancel = {job, "cancel", "seen"};
    weft_msg_job_info info;
    call_ok(&up, &f->op, WEFT_METHOD_CONTROL_JOB, WEFT_MSG_CONTROL_JOB_REQUEST, &cancel,
            WEFT_MSG_JOB_INFO, &info);
    assert_string_equal(info.status, "canceled");
    answer_done(&up);
    answer_done(&a);
    free(x.delta);
}

static void digest_again(update *x)
{
    assert_ok(weft_sha256(x->digest, x->delta, (size_t)x->u.header.total_bytes, NULL));
}
static void spoil_digest(update *x)
{
    x->digest[5] ^= 1;
}
static void spoil_nan(update *x)
{
    x->delta[N - 1] = NAN;
    digest_again(x);
}
static void spoil_norm(update *x)
{
    x->delta[7] = 20000.0F;
    digest_again(x);
}
static void spoil_shape(update *x)
{
    x->u.header.total_bytes -= 4;
    digest_again(x);
}
static void spoil_base(update *x)
{
    static const uint8_t other[32] = {1};
    x->u.header.base_digest.data = other;
}
static void spoil_weight(update *x)
{
    x->u.header.n_examples = 0;
}
static void spoil_encoding(update *x)
{
    x->u.header.encoding = "f64";
}
static void spoil_assignment(update *x)
{
    x->u.header.assignment_id += 1000;
}

static void test_submit__refuses_with_the_reason(void **state)
{
    (void)state;
    federation f;
    start(&f);
    refused(&f, WEFT_REFUSAL_WRONG_DIGEST, spoil_digest);
    refused(&f, WEFT_REFUSAL_NON_FINITE, spoil_nan);
    refused(&f, WEFT_REFUSAL_NORM, spoil_norm);
    refused(&f, WEFT_REFUSAL_WRONG_SHAPE, spoil_shape);
    refused(&f, WEFT_REFUSAL_WRONG_BASE, spoil_base);
    refused(&f, WEFT_REFUSAL_WEIGHT, spoil_weight);
    refused(&f, WEFT_REFUSAL_ENCODING, spoil_encoding);
    refused(&f, WEFT_REFUSAL_UNKNOWN, spoil_assignment);
    end(&f);
}

static void test_submit__is_not_for_others(void **state)
{
    (void)state;
    federation f;
    answer a;
    answer up;
    weft_msg_assignment to;
    weft_msg_submit_reply reply;
    update x;
    start(&f);
    submit_job(&f, "mine", N, 1, 1);
    check_in(&a, &f.a, &to);
    update_make(&x, &to, 0.5F);
    submit(&up, &f.b, &x.u, &reply);
    assert_int_equal(up.code, WEFT_RT_OK);
    assert_int_equal(reply.refusal, WEFT_REFUSAL_UNKNOWN);
    answer_done(&up);
    submit(&up, &f.a, &x.u, &reply);
    assert_non_null(reply.receipt);
    answer_done(&up);
    free(x.delta);
    answer_done(&a);
    end(&f);
}

/* Both clients of a round of two; held and b hold what the assignments point to. */
static void both_check_in(federation *f, waiting *held, weft_msg_assignment *to_a, answer *b,
                          weft_msg_assignment *to_b)
{
    static const weft_msg_dataset set = {"numbers", 100, ""};
    const weft_msg_check_in_request request = {&set, 1, "test 1", 20000};
    weft_msg_check_in_reply reply;
    waiting_start(held, &f->a, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request);
    assert_false(waiting_end(held, 50));
    check_in(b, &f->b, to_b);
    assert_true(waiting_end(held, PATIENCE_MS));
    assert_ok(weft_msg_check_in_reply_decode(&reply, held->a.bytes.data, held->a.bytes.size,
                                             &held->a.arena, NULL));
    *to_a = *reply.assignment;
}

/* As a restored backup finds it: rows of accepted updates, and no spool. */
static void remove_update(const federation *f, const char *path)
{
    (void)f;
    assert_int_equal(unlink(path), 0);
}

/* As a power cut may leave an update that nobody synced: of the right size, with a hole. */
static void punch_update(const federation *f, const char *path)
{
    static const char hole[8] = {0};
    char boot[600];
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, hole, sizeof hole, 0), sizeof hole);
    assert_int_equal(close(fd), 0);
    (void)snprintf(boot, sizeof boot, "%s/coord/data/spool/boot", f->w.dir); /* fits: short */
    assert_ok(weft_file_write(boot, "another boot\n", 13, 0600, &assert_err));
}

static void round_that_loses(void (*lose)(const federation *f, const char *path))
{
    federation f;
    answer b;
    weft_msg_assignment to_a;
    weft_msg_assignment to_b;
    weft_msg_list_rounds_reply rounds;
    waiting held;
    char path[600];
    start(&f);
    submit_job(&f, "restored", N, 2, 1);
    both_check_in(&f, &held, &to_a, &b, &to_b);
    contribute(&f.w, &f.a, &to_a, 3.0F, 10);
    weftd_kill(&f.w);
    (void)snprintf(path, sizeof path, "%s/coord/data/spool/%llu.upd", f.w.dir,
                   (unsigned long long)to_a.assignment_id); /* fits: short */
    lose(&f, path);
    weftd_restart(&f.w, NULL);
    reconnect(&f);
    contribute(&f.w, &f.b, &to_b, 1.0F, 10);
    waiting_done(&held);
    answer_done(&b);
    both_check_in(&f, &held, &to_a, &b, &to_b); /* after the backoff */
    contribute(&f.w, &f.a, &to_a, 3.0F, 10);
    contribute(&f.w, &f.b, &to_b, 1.0F, 10);
    wait_status(&f.op, "restored", "done");
    waiting_done(&held);
    answer_done(&b);
    const weft_msg_list_rounds_request list = {"restored", 0, 0};
    call_ok(&b, &f.op, WEFT_METHOD_LIST_ROUNDS, WEFT_MSG_LIST_ROUNDS_REQUEST, &list,
            WEFT_MSG_LIST_ROUNDS_REPLY, &rounds);
    assert_int_equal(rounds.n_rounds, 2);
    assert_string_equal(rounds.rounds[0].state, "failed");
    assert_non_null(strstr(rounds.rounds[0].reason, "spool"));
    assert_string_equal(rounds.rounds[1].state, "done");
    assert_int_equal(rounds.rounds[1].attempt, 2);
    answer_done(&b);
    end(&f);
}

static void test_round__whose_updates_are_gone_fails_and_is_tried_again(void **state)
{
    (void)state;
    round_that_loses(remove_update);
}

static void test_round__whose_update_has_a_hole_after_a_reboot_is_tried_again(void **state)
{
    (void)state;
    round_that_loses(punch_update);
}

static void test_round__survives_a_kill_after_the_receipts(void **state)
{
    (void)state;
    federation f;
    answer b;
    weft_msg_assignment to_a;
    weft_msg_assignment to_b;
    weft_buf weights;
    start(&f);
    weft_buf_init(&weights, &weft_alloc_std, 16U << 20);
    submit_job(&f, "killed", N, 2, 1);
    waiting held;
    both_check_in(&f, &held, &to_a, &b, &to_b);
    contribute(&f.w, &f.a, &to_a, 3.0F, 10);
    weftd_kill(&f.w); /* one receipt is out */
    weftd_restart(&f.w, NULL);
    reconnect(&f);
    contribute(&f.w, &f.b, &to_b, 1.0F, 10);
    wait_status(&f.op, "killed", "done");
    fetch_current(&f, "killed", &weights);
    assert_all(&weights, N, 2.0F); /* both are in it, once */
    weftd_kill(&f.w);
    weftd_restart(&f.w, NULL);
    reconnect(&f);
    wait_status(&f.op, "killed", "done");
    fetch_current(&f, "killed", &weights);
    assert_all(&weights, N, 2.0F);
    waiting_done(&held);
    answer_done(&b);
    weft_buf_done(&weights);
    end(&f);
}

static void test_abandon__frees_the_assignment(void **state)
{
    (void)state;
    federation f;
    answer a;
    answer b;
    weft_msg_assignment to;
    start(&f);
    submit_job(&f, "given-up", 100, 1, 1);
    check_in(&a, &f.a, &to);
    const weft_msg_abandon_request request = {to.assignment_id, "no disk left"};
    weft_msg_abandon_reply reply;
    call_ok(&b, &f.a, WEFT_METHOD_ABANDON, WEFT_MSG_ABANDON_REQUEST, &request,
            WEFT_MSG_ABANDON_REPLY, &reply);
    answer_done(&b);
    const weft_msg_get_round_request get = {.job = "given-up", .round = 1};
    weft_msg_get_round_reply round;
    call_ok(&b, &f.op, WEFT_METHOD_GET_ROUND, WEFT_MSG_GET_ROUND_REQUEST, &get,
            WEFT_MSG_GET_ROUND_REPLY, &round);
    assert_int_equal(round.n_assignments, 1);
    assert_string_equal(round.assignments[0].client, "alice");
    assert_string_equal(round.assignments[0].state, "abandoned");
    assert_non_null(strstr(round.assignments[0].reason, "no disk left"));
    answer_done(&b);
    answer_done(&a);
    end(&f);
}

/* Until the round's only assignment of alice is in this state. */
static void wait_assignment(federation *f, const char *job, const char *want)
{
    const weft_msg_get_round_request get = {.job = job, .round = 1};
    for (int i = 0; i < PATIENCE_MS / 20; i++) {
        weft_msg_get_round_reply round;
        answer a;
        bool there = false;
        call_ok(&a, &f->op, WEFT_METHOD_GET_ROUND, WEFT_MSG_GET_ROUND_REQUEST, &get,
                WEFT_MSG_GET_ROUND_REPLY, &round);
        for (size_t k = 0; k < round.n_assignments; k++) {
            there |= strcmp(round.assignments[k].client, "alice") == 0 &&
                     strcmp(round.assignments[k].state, want) == 0;
        }
        answer_done(&a);
        if (there) {
            return;
        }
        (void)poll(NULL, 0, 20); /* only to wait */
    }
    fail_msg("alice's assignment of %s never was %s", job, want);
}

static void test_submit__is_taken_after_the_lease_while_the_round_goes_on(void **state)
{
    (void)state;
    federation f;
    answer a;
    weft_msg_assignment to_a;
    weft_msg_assignment to_b;
    weft_job_def def;
    waiting held;
    weft_msg_check_in_reply reply;
    const weft_msg_dataset set = {"numbers", 100, ""};
    const weft_msg_check_in_request request = {&set, 1, "test 1", 20000};
    start(&f);
    job_plain(&def, "slow", N, 2, 1);
    def.lease_ms = 1000;
    job_submit(&f.op, &def);
    weft_job_def_done(&def, &weft_alloc_std);
    waiting_start(&held, &f.b, WEFT_METHOD_CHECK_IN, WEFT_MSG_CHECK_IN_REQUEST, &request);
    assert_false(waiting_end(&held, 50));
    check_in(&a, &f.a, &to_a);
    assert_true(waiting_end(&held, PATIENCE_MS));
    assert_ok(weft_msg_check_in_reply_decode(&reply, held.a.bytes.data, held.a.bytes.size,
                                             &held.a.arena, NULL));
    to_b = *reply.assignment;
    wait_assignment(&f, "slow", "expired");
    contribute(&f.w, &f.a, &to_a, 1.0F, 10); /* what was trained is not lost */
    wait_assignment(&f, "slow", "accepted");
    contribute(&f.w, &f.b, &to_b, 3.0F, 10);
    wait_status(&f.op, "slow", "done");
    weft_buf weights;
    weft_buf_init(&weights, &weft_alloc_std, 16U << 20);
    fetch_current(&f, "slow", &weights);
    assert_all(&weights, N, 2.0F);
    weft_buf_done(&weights);
    waiting_done(&held);
    answer_done(&a);
    end(&f);
}

int main(int argc, char **argv)
{
    weftd_path = argc > 1 ? argv[1] : "weftd";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round__averages_what_clients_send),
        cmocka_unit_test(test_fetch__goes_on_from_an_offset),
        cmocka_unit_test(test_round__tells_what_went_up_and_down),
        cmocka_unit_test(test_submit__goes_on_where_it_was_cut),
        cmocka_unit_test(test_submit__a_repeated_update_gets_the_same_receipt),
        cmocka_unit_test(test_submit__refuses_with_the_reason),
        cmocka_unit_test(test_submit__is_not_for_others),
        cmocka_unit_test(test_round__survives_a_kill_after_the_receipts),
        cmocka_unit_test(test_round__whose_updates_are_gone_fails_and_is_tried_again),
        cmocka_unit_test(test_round__whose_update_has_a_hole_after_a_reboot_is_tried_again),
        cmocka_unit_test(test_abandon__frees_the_assignment),
        cmocka_unit_test(test_submit__is_taken_after_the_lease_while_the_round_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
