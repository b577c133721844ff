/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scripted coordinator's secure aggregation: the machine of common/secagg for the session, and
 * three members more (bob, carol, dave) whose machines run in here. Alice alone comes over the
 * wire. Lies are told to alice only.
 */
#include "coordinator.h"

#include "crypto/hash.h"
#include "crypto/prg.h"
#include "secagg/server.h"
#include "sim/secure_world.h"

#include <math.h>
#include <string.h>

enum { PEERS = 3 };

static const weft_alloc *const memory = &weft_alloc_std;
static const char *const peer_names[PEERS] = {"bob", "carol", "dave"};

typedef struct peer {
    secure_member member;
    weft_secagg_client *machine;
    uint32_t *words; /* [n_words]; masked after MASKING */
} peer;

struct secure_side {
    weft_rng rng;
    weft_fixed_grid grid;
    weft_secagg_server *server;
    peer peers[PEERS];
    weft_buf message; /* what alice gets now */
    bool has_masked;  /* alice's */
    bool summed;
    uint64_t n_params;
};

static bool never_seen(void *self, const char *client, const uint8_t key[WEFT_SIGN_PUBLIC_BYTES])
{
    (void)self;
    (void)client;
    (void)key;
    return true;
}

typedef struct word_sink {
    uint32_t *words;
    size_t n;
} word_sink;

static weft_status take_words(void *self, uint32_t *words, size_t n, weft_err *err)
{
    (void)err;
    word_sink *s = self;
    memcpy(s->words + s->n, words, n * sizeof *words);
    s->n += n;
    return WEFT_OK;
}

/* Like alice's, every delta of theirs is 1 for each parameter, from 10 examples, with loss 0.25. */
static void encode_peer(secure_side *s, peer *p)
{
    const uint64_t n = s->grid.layout.n_params;
    float *delta = weft_array(memory, n ? n : 1, sizeof *delta);
    p->words = weft_array(memory, s->grid.n_words, sizeof *p->words);
    assert_true(delta && p->words);
    for (uint64_t i = 0; i < n; i++) {
        delta[i] = 1.0F;
    }
    weft_metrics metrics = {.n = 0};
    assert_ok(weft_metrics_set(&metrics, "loss", 0.25, &assert_err));
    uint8_t seed[WEFT_FIXED_SEED_BYTES] = {1};
    word_sink words = {p->words, 0};
    const weft_fixed_sink sink = {take_words, &words};
    weft_fixed_result result;
    assert_ok(weft_fixed_encode(&result, &sink, &s->grid, n ? delta : NULL, NULL, 10, &metrics,
                                seed, memory, &assert_err));
    weft_free(memory, delta);
}

static void begin_peer(coordinator *c, uint32_t i, const weft_secagg_context *context)
{
    secure_side *s = c->secure;
    peer *p = &s->peers[i];
    weft_rng keys; /* the same ones in every session, but for a stranger's */
    weft_rng_init(&keys, c->script.strange_member && i == 0 ? 99 : 7, i);
    const weft_entropy made = secure_entropy(&keys);
    secure_member_make(&p->member, &c->operator_key, "test", peer_names[i], &made);
    const weft_entropy fresh = secure_entropy(&s->rng);
    const weft_secagg_client_config config = {.context = *context,
                                              .owner = context->policy,
                                              .operator_public = c->operator_key.public_key,
                                              .member_key = &p->member.key,
                                              .chain = &p->member.chain,
                                              .pins = {never_seen, NULL},
                                              .alloc = memory};
    weft_secagg_abort why;
    assert_ok(weft_secagg_client_new(&p->machine, &config, &fresh, &why, &assert_err));
    encode_peer(s, p);
}

void coordinator_secure_begin(coordinator *c, const weft_msg_assignment *a)
{
    if (c->secure) {
        return; /* given before: the same session */
    }
    secure_side *s = weft_array(memory, 1, sizeof *s);
    assert_non_null(s);
    c->secure = s;
    weft_rng_init(&s->rng, 5, c->assignment_id);
    weft_buf_init(&s->message, memory, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    assert_ok(weft_secagg_terms_grid(&s->grid, &a->secure, a->task, a->base_bytes / 4, a->clip_norm,
                                     a->max_examples, &assert_err));
    weft_secagg_context context = {.federation = "test",
                                   .job = a->job,
                                   .job_id = a->job_id,
                                   .round = a->round,
                                   .attempt = a->attempt,
                                   .task = a->task,
                                   .plan = a->plan,
                                   .policy = a->secure.policy};
    weft_buf grid;
    weft_buf_init(&grid, memory, 4096);
    assert_ok(weft_fixed_describe(&grid, &s->grid, &assert_err));
    context.encoding = weft_buf_view(&grid);
    memcpy(context.base_digest, a->base_digest.data, sizeof context.base_digest);
    weft_secagg_server_config config = {.policy = a->secure.policy,
                                        .minimum = 3,
                                        .expected = PEERS + 1,
                                        .federation = "test",
                                        .operator_public = c->operator_key.public_key,
                                        .alloc = memory};
    assert_ok(weft_secagg_ctx(config.ctx, &context, &assert_err));
    assert_ok(weft_secagg_server_new(&s->server, &config, &assert_err));
    for (uint32_t i = 0; i < PEERS; i++) {
        begin_peer(c, i, &context);
    }
    weft_buf_done(&grid);
}

void coordinator_secure_done(coordinator *c)
{
    secure_side *s = c->secure;
    if (!s) {
        return;
    }
    for (uint32_t i = 0; i < PEERS; i++) {
        weft_secagg_client_free(s->peers[i].machine);
        weft_free(memory, s->peers[i].words);
    }
    weft_secagg_server_free(s->server);
    weft_buf_done(&s->message);
    weft_free(memory, s);
    c->secure = NULL;
}

/* ---- the members in here --------------------------------------------------------------------- */

static void mask_peer(secure_side *s, peer *p)
{
    static weft_prg_stream masks[WEFT_MAX_SECAGG_NEIGHBOURS + 1];
    size_t n = 0;
    uint8_t digest[WEFT_SHA256_BYTES];
    weft_secagg_reason reason = WEFT_SECAGG_FINE;
    assert_ok(weft_secagg_client_masks(masks, &n, p->machine, &assert_err));
    assert_ok(weft_prg_apply(p->words, 0, s->grid.n_words, masks, n, memory, &assert_err));
    assert_ok(weft_sha256(digest, p->words, s->grid.n_words * 4, &assert_err));
    assert_ok(weft_secagg_client_masked(p->machine, digest, &assert_err));
    assert_int_equal(weft_secagg_server_masked(s->server, p->member.name, &reason),
                     WEFT_SECAGG_ACCEPTED);
}

/* One step of a member, if it has one. */
static bool step_peer(secure_side *s, peer *p)
{
    weft_secagg_next next = WEFT_SECAGG_NEXT_WAIT;
    weft_secagg_reason reason = WEFT_SECAGG_FINE;
    weft_secagg_verdict verdict = WEFT_SECAGG_SAME;
    weft_buf message;
    const weft_view out = weft_secagg_client_outbox(p->machine);
    if (out.size > 0) {
        assert_ok(weft_secagg_server_receive(&verdict, &reason, s->server, p->member.name, out.data,
                                             out.size, &assert_err));
    }
    bool moved = verdict == WEFT_SECAGG_ACCEPTED;
    weft_buf_init(&message, memory, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    assert_ok(
        weft_secagg_server_next(&next, &reason, &message, s->server, p->member.name, &assert_err));
    const weft_secagg_client_phase before = weft_secagg_client_phase_get(p->machine);
    if (next == WEFT_SECAGG_NEXT_MESSAGE) {
        assert_ok(weft_secagg_client_receive(p->machine, message.data, message.size, &assert_err));
    }
    weft_buf_done(&message);
    moved = moved || weft_secagg_client_phase_get(p->machine) != before;
    if (weft_secagg_client_phase_get(p->machine) == WEFT_SECAGG_CLIENT_MASKING) {
        mask_peer(s, p);
    }
    return moved;
}

static bool close_if_ready(secure_side *s)
{
    const weft_secagg_phase phase = weft_secagg_server_phase(s->server);
    if (phase == WEFT_SECAGG_PHASE_SOLVE || phase == WEFT_SECAGG_PHASE_FAILED ||
        !weft_secagg_server_ready(s->server)) {
        return false;
    }
    weft_buf record;
    weft_buf_init(&record, memory, WEFT_MAX_SECAGG_RECORD_BYTES);
    assert_ok(weft_secagg_server_close(s->server, &record, &assert_err));
    weft_buf_done(&record);
    return true;
}

static void sum_up(coordinator *c)
{
    secure_side *s = c->secure;
    static weft_secagg_solution solution;
    uint32_t n = 0;
    uint32_t *sum = weft_array(memory, s->grid.n_words, sizeof *sum);
    assert_non_null(sum);
    for (uint32_t i = 0; weft_secagg_server_client(s->server, i); i++) {
        const uint32_t *words = i == 0 ? (const uint32_t *)(const void *)c->held
                                       : s->peers[i - 1].words; /* alice comes first */
        if (weft_secagg_server_included(s->server, i)) {
            n++;
            for (uint64_t j = 0; j < s->grid.n_words; j++) {
                sum[j] += words[j];
            }
        }
    }
    for (size_t i = 0; i < weft_secagg_server_n_secrets(s->server); i++) {
        assert_ok(weft_secagg_server_solve(&solution, s->server, i, &assert_err));
        assert_ok(weft_prg_apply(sum, 0, s->grid.n_words, solution.streams, solution.n_streams,
                                 memory, &assert_err));
    }
    weft_fixed_totals totals;
    assert_ok(
        weft_fixed_totals_read(&totals, &s->grid, sum + s->grid.layout.n_params, n, &assert_err));
    c->seen.sums++;
    c->seen.sum_weight = totals.weight;
    c->seen.sum_metrics = totals.metrics;
    if (s->grid.layout.n_params > 0) {
        c->seen.sum_mean = (float)weft_fixed_mean(&s->grid, sum, totals.weight);
    }
    weft_free(memory, sum);
    s->summed = true;
}

static void move_on(coordinator *c)
{
    secure_side *s = c->secure;
    for (bool moved = true; moved;) {
        moved = close_if_ready(s);
        for (uint32_t i = 0; i < PEERS; i++) {
            moved = step_peer(s, &s->peers[i]) || moved;
        }
    }
    if (weft_secagg_server_phase(s->server) == WEFT_SECAGG_PHASE_SOLVE && !s->summed) {
        sum_up(c);
    }
}

/* ---- alice ----------------------------------------------------------------------------------- */

bool coordinator_secure_masked(coordinator *c)
{
    secure_side *s = c->secure;
    weft_secagg_reason reason = weft_secagg_server_may_mask(s->server, "alice");
    if (!s->has_masked && reason == WEFT_SECAGG_FINE) {
        assert_int_equal(weft_secagg_server_masked(s->server, "alice", &reason),
                         WEFT_SECAGG_ACCEPTED);
        s->has_masked = true;
    }
    return s->has_masked;
}

/* @return false: refused, and ret says so. */
static bool take_message(coordinator *c, weft_view message, weft_msg_secure_step_reply *ret)
{
    secure_side *s = c->secure;
    weft_secagg_verdict verdict = WEFT_SECAGG_REFUSED;
    weft_secagg_reason reason = WEFT_SECAGG_FINE;
    weft_secagg_message decoded;
    assert_ok(weft_secagg_decode(&decoded, message.data, message.size, &assert_err));
    if (decoded.type == WEFT_SECAGG_ABORT) {
        c->seen.left_reason = decoded.of.abort.reason;
    }
    assert_ok(weft_secagg_server_receive(&verdict, &reason, s->server, "alice", message.data,
                                         message.size, &assert_err));
    if (verdict == WEFT_SECAGG_REFUSED) {
        ret->state = WEFT_SECURE_FAILED;
        ret->reason = reason;
        return false;
    }
    return true;
}

void coordinator_secure_step(coordinator *c, const weft_msg_secure_step_request *msg,
                             weft_msg_secure_step_reply *ret)
{
    secure_side *s = c->secure;
    weft_secagg_next next = WEFT_SECAGG_NEXT_WAIT;
    weft_secagg_reason reason = WEFT_SECAGG_FINE;
    if (msg->message.size > 0 && !take_message(c, msg->message, ret)) {
        return;
    }
    move_on(c);
    weft_buf_clear(&s->message);
    assert_ok(
        weft_secagg_server_next(&next, &reason, &s->message, s->server, "alice", &assert_err));
    ret->state = next == WEFT_SECAGG_NEXT_WAIT      ? WEFT_SECURE_WAIT
                 : next == WEFT_SECAGG_NEXT_MESSAGE ? WEFT_SECURE_MESSAGE
                 : next == WEFT_SECAGG_NEXT_DONE    ? WEFT_SECURE_DONE
                                                    : WEFT_SECURE_FAILED;
    ret->reason = reason;
    if (next != WEFT_SECAGG_NEXT_MESSAGE) {
        return;
    }
    ret->type = s->message.data[3];
    if (ret->type == msg->taken) {
        ret->state = WEFT_SECURE_WAIT;
        return;
    }
    if (ret->type == c->script.lie_type) {
        assert_true(c->script.lie_offset < s->message.size);
        s->message.data[c->script.lie_offset] ^= c->script.lie_value;
        s->message.data[c->script.lie_again] ^= c->script.lie_again ? c->script.lie_value : 0;
    }
    const size_t offset = msg->offset < s->message.size ? (size_t)msg->offset : 0;
    const size_t left = s->message.size - offset;
    ret->offset = offset;
    ret->total_bytes = s->message.size;
    ret->message = (weft_view){s->message.data + offset, left < 300 ? left : 300};
}
