/* SPDX-License-Identifier: Apache-2.0 */
/* One securely aggregated round in memory; see the header. */
#include "secure_world.h"

#include "crypto/hash.h"
#include "crypto/prg.h"

#include <stdio.h>
#include <string.h>

static const weft_alloc *const memory = &weft_alloc_std;

enum { STORED_MESSAGE = 1, STORED_MASKED, STORED_LEFT, STORED_CLOSED };

/* ---- members and randomness ------------------------------------------------------------------ */

static weft_status fill(void *self, void *out, size_t n, weft_err *err)
{
    (void)err;
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)out)[i] = (uint8_t)weft_rng_u64(self);
    }
    return WEFT_OK;
}

weft_entropy secure_entropy(weft_rng *rng)
{
    return (weft_entropy){fill, rng};
}

void secure_member_make(secure_member *ret, const weft_sign_key *operator_key,
                        const char *federation, const char *name, const weft_entropy *entropy)
{
    weft_sign_key invited;
    weft_invitation invitation;
    (void)snprintf(ret->name, sizeof ret->name, "%s", name);
    assert_ok(weft_sign_key_generate(&invited, entropy, &assert_err));
    assert_ok(weft_sign_key_generate(&ret->key, entropy, &assert_err));
    assert_ok(weft_invitation_make(&invitation, operator_key, federation, name, INT64_MAX / 2,
                                   invited.public_key, &assert_err));
    assert_ok(
        weft_member_make(&ret->chain, &invitation, &invited, ret->key.public_key, &assert_err));
}

/* ---- a client's memory ----------------------------------------------------------------------- */

static weft_status context_used(void *self, bool *ret, const uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES],
                                weft_err *err)
{
    (void)err;
    const secure_disk *d = self;
    *ret = false;
    for (size_t i = 0; i < d->n_contexts; i++) {
        *ret = *ret || memcmp(d->contexts[i], ctx, WEFT_SECAGG_DIGEST_BYTES) == 0;
    }
    return WEFT_OK;
}

static weft_status masked_round(void *self, uint32_t *ret, const char *job, weft_task task,
                                weft_err *err)
{
    (void)job;
    (void)task;
    (void)err;
    *ret = ((const secure_disk *)self)->masked_round;
    return WEFT_OK;
}

static bool pin_good(void *self, const char *client, const uint8_t key[WEFT_SIGN_PUBLIC_BYTES])
{
    const secure_disk *d = self;
    for (size_t i = 0; i < d->n_pins; i++) {
        if (strcmp(d->pins[i].client, client) == 0) {
            return memcmp(d->pins[i].key, key, WEFT_SIGN_PUBLIC_BYTES) == 0;
        }
    }
    return true;
}

static void keep_context(secure_disk *d, const uint8_t *ctx)
{
    bool used = false;
    assert_ok(context_used(d, &used, ctx, &assert_err));
    if (!used) {
        d->contexts = memory->resize(memory->self, d->contexts, (d->n_contexts + 1) * 32);
        assert_non_null(d->contexts);
        memcpy(d->contexts[d->n_contexts++], ctx, 32);
    }
}

static void keep_peers(secure_disk *d, const weft_session_action *a)
{
    if (a->u.secure.n_peers == 0 || d->n_pins > 0) {
        return;
    }
    d->pins = weft_array(memory, a->u.secure.n_peers, sizeof *d->pins);
    assert_non_null(d->pins);
    d->n_pins = a->u.secure.n_peers;
    for (size_t i = 0; i < d->n_pins; i++) {
        memcpy(d->pins[i].client, a->u.secure.peers[i].id, sizeof d->pins[i].client);
        memcpy(d->pins[i].key, a->u.secure.peers[i].member_key, sizeof d->pins[i].key);
    }
}

static void keep_secure(secure_disk *d, const weft_session_action *a)
{
    assert_in_range(a->u.secure.state.size, 1, WEFT_MAX_SECAGG_STATE_BYTES);
    d->state = memory->resize(memory->self, d->state, a->u.secure.state.size);
    assert_non_null(d->state);
    memcpy(d->state, a->u.secure.state.data, a->u.secure.state.size);
    d->record.secure = (weft_view){d->state, a->u.secure.state.size};
    d->record.masked = a->u.secure.masked;
    d->record.has_receipt = a->u.secure.receipt != NULL;
    if (a->u.secure.receipt) {
        d->record.receipt = *a->u.secure.receipt;
    }
    keep_context(d, a->u.secure.ctx);
    keep_peers(d, a);
    if (a->u.secure.masked) {
        d->record.update = *a->u.secure.update;
        d->masked_round = a->u.secure.assignment->round;
        assert_non_null(d->masked);
        weft_free(memory, d->encoded);
        d->encoded = NULL;
    }
}

/* ---- the coordinator: what is stored ----------------------------------------------------------
 */

static void new_server(secure_world *w)
{
    weft_secagg_context context = {.federation = "test",
                                   .job = w->assignment.job,
                                   .job_id = w->assignment.job_id,
                                   .round = w->assignment.round,
                                   .attempt = w->assignment.attempt,
                                   .task = w->assignment.task,
                                   .plan = w->assignment.plan,
                                   .policy = w->assignment.secure.policy};
    weft_buf grid;
    weft_buf_init(&grid, memory, 4096);
    assert_ok(weft_fixed_describe(&grid, &w->grid, &assert_err));
    context.encoding = weft_buf_view(&grid);
    memcpy(context.base_digest, w->assignment.base_digest, sizeof context.base_digest);
    weft_secagg_server_config config = {.policy = w->assignment.secure.policy,
                                        .minimum = w->assignment.secure.policy.min_cohort,
                                        .expected = w->n,
                                        .federation = "test",
                                        .operator_public = w->operator_key.public_key,
                                        .alloc = memory};
    assert_ok(weft_secagg_ctx(config.ctx, &context, &assert_err));
    assert_ok(weft_secagg_server_new(&w->server, &config, &assert_err));
    weft_buf_done(&grid);
}

static void replay(secure_world *w, const secure_stored *s)
{
    const char *name = w->clients[s->client].member.name;
    weft_secagg_verdict verdict = WEFT_SECAGG_REFUSED;
    weft_secagg_reason reason = WEFT_SECAGG_FINE;
    switch (s->kind) {
    case STORED_MESSAGE:
        assert_ok(weft_secagg_server_receive(&verdict, &reason, w->server, name, s->bytes, s->n,
                                             &assert_err));
        assert_int_equal(verdict, WEFT_SECAGG_ACCEPTED);
        break;
    case STORED_MASKED:
        assert_int_equal(weft_secagg_server_masked(w->server, name, &reason), WEFT_SECAGG_ACCEPTED);
        break;
    case STORED_LEFT:
        weft_secagg_server_left(w->server, name);
        break;
    default:
        assert_ok(weft_secagg_server_replay(w->server, s->bytes, s->n, &assert_err));
        break;
    }
}

static void restart(secure_world *w)
{
    weft_secagg_server_free(w->server);
    w->restarts++;
    new_server(w);
    for (size_t i = 0; i < w->n_stored; i++) {
        replay(w, &w->stored[i]);
    }
    for (uint32_t k = 0; k < w->n; k++) { /* held calls are gone */
        if (w->clients[k].held) {
            w->clients[k].hold_until = w->now;
        }
    }
}

static void store(secure_world *w, int kind, uint32_t client, const void *bytes, size_t n)
{
    if (w->n_stored == w->cap_stored) {
        w->cap_stored = w->cap_stored * 2 + 16;
        w->stored = memory->resize(memory->self, w->stored, w->cap_stored * sizeof *w->stored);
        assert_non_null(w->stored);
    }
    secure_stored *s = &w->stored[w->n_stored++];
    *s = (secure_stored){.kind = kind, .client = client, .n = n};
    if (n > 0) {
        s->bytes = weft_array(memory, n, 1);
        assert_non_null(s->bytes);
        memcpy(s->bytes, bytes, n);
    }
    if (w->n_stored == w->restart_at) {
        restart(w);
    }
}

/* ---- the coordinator: the sum ---------------------------------------------------------------- */

static void add_words(secure_world *w, const uint32_t *words)
{
    for (uint64_t i = 0; i < w->grid.n_words; i++) {
        w->sum[i] += words[i];
    }
}

static void solve(secure_world *w)
{
    for (uint32_t i = 0; weft_secagg_server_client(w->server, i); i++) {
        const char *name = weft_secagg_server_client(w->server, i);
        uint32_t k = 0;
        while (strcmp(w->clients[k].member.name, name) != 0) {
            k++;
        }
        if (weft_secagg_server_included(w->server, i)) {
            assert_true(w->clients[k].uploaded);
            add_words(w, w->clients[k].disk.masked);
        }
    }
    static weft_secagg_solution s;
    for (size_t i = 0; i < weft_secagg_server_n_secrets(w->server); i++) {
        assert_ok(weft_secagg_server_solve(&s, w->server, i, &assert_err));
        assert_int_equal(s.n_liars, 0);
        assert_ok(weft_prg_apply(w->sum, 0, w->grid.n_words, s.streams, s.n_streams, memory,
                                 &assert_err));
    }
}

static void close_phase(secure_world *w)
{
    weft_buf record;
    weft_buf_init(&record, memory, WEFT_MAX_SECAGG_RECORD_BYTES);
    assert_ok(weft_secagg_server_close(w->server, &record, &assert_err));
    store(w, STORED_CLOSED, 0, record.data, record.size);
    weft_buf_done(&record);
    w->phase_until = w->now + w->deadline_ms;
    const weft_secagg_phase phase = weft_secagg_server_phase(w->server);
    if (phase == WEFT_SECAGG_PHASE_SOLVE) {
        solve(w);
    }
    w->ended = phase == WEFT_SECAGG_PHASE_SOLVE || phase == WEFT_SECAGG_PHASE_FAILED;
    for (uint32_t k = 0; k < w->n; k++) {
        if (w->clients[k].held) {
            w->clients[k].hold_until = w->now; /* something new, perhaps */
        }
    }
}

static void close_if_ready(secure_world *w)
{
    if (!w->ended && weft_secagg_server_ready(w->server)) {
        close_phase(w);
    }
}

/* ---- the coordinator: calls ------------------------------------------------------------------ */

static bool network_fails(secure_world *w)
{
    return w->fail_of_8 > 0 && weft_rng_below(&w->rng, 8) < w->fail_of_8;
}

static void fail_call(weft_session_event *e, weft_session_action_kind action, weft_status status)
{
    *e = (weft_session_event){.kind = WEFT_SESSION_FAILED};
    e->u.failed.action = action;
    e->u.failed.status = status;
    e->u.failed.detail = "the network is away";
}

static weft_buf outgoing; /* what an event points to */

/* The client's next message, or nothing new. @return false: hold the poll. */
static bool answer_poll(secure_world *w, uint32_t k, bool expired, weft_session_event *e)
{
    secure_client *c = &w->clients[k];
    weft_secagg_next next = WEFT_SECAGG_NEXT_WAIT;
    weft_secagg_reason reason = WEFT_SECAGG_FINE;
    *e = (weft_session_event){.kind = WEFT_SESSION_STEPPED};
    weft_buf_clear(&outgoing);
    assert_ok(
        weft_secagg_server_next(&next, &reason, &outgoing, w->server, c->member.name, &assert_err));
    const uint32_t type = next == WEFT_SECAGG_NEXT_MESSAGE ? outgoing.data[3] : 0;
    if (next == WEFT_SECAGG_NEXT_WAIT || (type != 0 && type == c->taken)) {
        e->u.stepped.state = WEFT_SESSION_STEP_WAIT;
        return expired;
    }
    e->u.stepped.state = next == WEFT_SECAGG_NEXT_MESSAGE ? WEFT_SESSION_STEP_MESSAGE
                         : next == WEFT_SECAGG_NEXT_DONE  ? WEFT_SESSION_STEP_DONE
                                                          : WEFT_SESSION_STEP_FAILED;
    e->u.stepped.reason = reason;
    if (type != 0) {
        if (w->tamper) {
            w->tamper(w, k, type, &outgoing);
        }
        const uint64_t offset = c->offset < outgoing.size ? c->offset : 0;
        uint64_t n = outgoing.size - offset;
        n = w->piece_bytes > 0 && n > w->piece_bytes ? w->piece_bytes : n;
        e->u.stepped.type = type;
        e->u.stepped.offset = offset;
        e->u.stepped.total_bytes = outgoing.size;
        e->u.stepped.piece = (weft_view){outgoing.data + offset, n};
    }
    return true;
}

/* Resends are byte-identical. */
static void note_sent(secure_client *c, weft_view message)
{
    uint8_t digest[WEFT_SHA256_BYTES];
    const uint8_t type = message.data[3];
    assert_in_range(type, 1, WEFT_SECAGG_ABORT);
    assert_ok(weft_sha256(digest, message.data, message.size, &assert_err));
    if (c->has_sent[type]) {
        assert_memory_equal(c->sent[type], digest, sizeof digest);
    }
    memcpy(c->sent[type], digest, sizeof digest);
    c->has_sent[type] = true;
}

/* @return true: e answers. */
static bool take_step(secure_world *w, uint32_t k, const weft_session_action *a,
                      weft_session_event *e)
{
    secure_client *c = &w->clients[k];
    if (network_fails(w)) {
        fail_call(e, a->kind, WEFT_E_AGAIN);
        return true;
    }
    if (a->u.step.message.size > 0) {
        weft_secagg_verdict verdict = WEFT_SECAGG_REFUSED;
        weft_secagg_reason reason = WEFT_SECAGG_FINE;
        note_sent(c, a->u.step.message);
        assert_ok(weft_secagg_server_receive(&verdict, &reason, w->server, c->member.name,
                                             a->u.step.message.data, a->u.step.message.size,
                                             &assert_err));
        if (verdict == WEFT_SECAGG_REFUSED) {
            *e = (weft_session_event){.kind = WEFT_SESSION_STEPPED};
            e->u.stepped.state = WEFT_SESSION_STEP_FAILED;
            e->u.stepped.reason = reason;
            return true;
        }
        if (verdict == WEFT_SECAGG_ACCEPTED) {
            store(w, STORED_MESSAGE, k, a->u.step.message.data, a->u.step.message.size);
            close_if_ready(w);
        }
        if (network_fails(w)) { /* taken, and the reply is lost */
            fail_call(e, a->kind, WEFT_E_AGAIN);
            return true;
        }
    }
    c->taken = a->u.step.taken;
    c->offset = a->u.step.offset;
    if (answer_poll(w, k, a->u.step.hold_ms == 0, e)) {
        return true;
    }
    c->held = true;
    c->hold_until = w->now + a->u.step.hold_ms;
    return false;
}

static weft_session_receipt receipt_for(const secure_client *c, uint64_t id)
{
    weft_session_receipt r = {.assignment_id = id};
    memcpy(r.update_digest, c->upload_digest, sizeof r.update_digest);
    return r;
}

static weft_session_receipt signed_receipt; /* what an event points to */

static void take_upload(secure_world *w, uint32_t k, const weft_session_action *a,
                        weft_session_event *e)
{
    secure_client *c = &w->clients[k];
    uint8_t digest[WEFT_SHA256_BYTES];
    const size_t bytes = (size_t)w->grid.n_words * 4;
    assert_non_null(c->disk.masked);
    assert_int_equal(a->u.upload.update->total_bytes, bytes);
    assert_ok(weft_sha256(digest, c->disk.masked, bytes, &assert_err));
    assert_memory_equal(digest, a->u.upload.update->digest, sizeof digest);
    if (network_fails(w)) {
        fail_call(e, a->kind, WEFT_E_AGAIN);
        return;
    }
    *e = (weft_session_event){.kind = WEFT_SESSION_SUBMITTED};
    weft_secagg_reason reason = weft_secagg_server_may_mask(w->server, c->member.name);
    if (!c->uploaded && reason != WEFT_SECAGG_FINE) {
        e->u.submitted.refusal = weft_secagg_reason_name(reason);
        return;
    }
    if (!c->uploaded) {
        assert_int_equal(weft_secagg_server_masked(w->server, c->member.name, &reason),
                         WEFT_SECAGG_ACCEPTED);
        memcpy(c->upload_digest, digest, sizeof digest);
        c->uploaded = true;
        store(w, STORED_MASKED, k, NULL, 0);
        close_if_ready(w);
    }
    assert_memory_equal(c->upload_digest, digest, sizeof digest); /* y never changes */
    signed_receipt = receipt_for(c, a->u.upload.assignment->assignment_id);
    e->u.submitted.receipt = &signed_receipt;
    if (network_fails(w)) {
        fail_call(e, a->kind, WEFT_E_AGAIN);
    }
}

static void answer_progress(secure_world *w, uint32_t k, const weft_session_action *a,
                            weft_session_event *e)
{
    const secure_client *c = &w->clients[k];
    *e = (weft_session_event){.kind = WEFT_SESSION_PROGRESSED};
    if (c->uploaded) {
        signed_receipt = receipt_for(c, a->u.progress.assignment_id);
        e->u.progressed.receipt = &signed_receipt;
        e->u.progressed.stop = true;
    } else if (c->abandoned || w->ended) {
        e->u.progressed.stop = true;
        e->u.progressed.reason = "late";
    }
}

static void leave(secure_world *w, uint32_t k, const char *reason)
{
    secure_client *c = &w->clients[k];
    (void)snprintf(c->reason, sizeof c->reason, "%s", reason);
    if (!c->abandoned) {
        c->abandoned = true;
        weft_secagg_server_left(w->server, c->member.name);
        store(w, STORED_LEFT, k, NULL, 0);
        close_if_ready(w);
    }
}

static weft_session_assignment given; /* what an event points to */

static void answer_check_in(secure_world *w, uint32_t k, weft_session_event *e)
{
    secure_client *c = &w->clients[k];
    *e = (weft_session_event){.kind = WEFT_SESSION_CHECKED_IN};
    if (c->asked && c->disk.closed > 0) {
        e->u.checked_in.answer = WEFT_SESSION_NOTHING_MORE;
        return;
    }
    c->asked = true;
    given = w->assignment;
    given.assignment_id = k + 1;
    e->u.checked_in.answer = WEFT_SESSION_ASSIGNMENT;
    e->u.checked_in.assignment = &given;
}

/* ---- a client's shell ------------------------------------------------------------------------ */

static weft_metrics measured(uint32_t k)
{
    weft_metrics m = {.n = 0};
    assert_ok(weft_metrics_set(&m, "loss", 0.25 * (double)(k % 7), &assert_err));
    assert_ok(weft_metrics_set(&m, "accuracy", 1.0 / (double)(1 + k), &assert_err));
    return m;
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

/* Whatever it has "trained": some numbers. */
static void encode(secure_world *w, uint32_t k, const weft_session_action *a, weft_session_event *e)
{
    secure_client *c = &w->clients[k];
    secure_disk *d = &c->disk;
    const uint64_t n = w->grid.layout.n_params;
    float *weights = weft_array(memory, (size_t)(n > 0 ? n : 1), sizeof *weights);
    weft_free(memory, d->encoded);
    d->encoded = weft_array(memory, (size_t)w->grid.n_words, sizeof *d->encoded);
    assert_true(weights && d->encoded);
    for (uint64_t i = 0; i < n; i++) {
        weights[i] = (float)(weft_rng_double(&c->rng) - 0.5);
    }
    uint8_t seed[WEFT_FIXED_SEED_BYTES];
    assert_ok(fill(&c->rng, seed, sizeof seed, &assert_err));
    word_sink words = {d->encoded, 0};
    const weft_fixed_sink sink = {take_words, &words};
    weft_fixed_result result;
    assert_ok(weft_fixed_encode(&result, &sink, &w->grid, n > 0 ? weights : NULL, NULL,
                                a->u.store.update->n_examples, &a->u.store.update->metrics, seed,
                                memory, &assert_err));
    assert_int_equal(words.n, w->grid.n_words);
    weft_free(memory, weights);
    memcpy(c->truth, d->encoded, words.n * sizeof *c->truth);
    d->record.has_update = true;
    d->record.update = *a->u.store.update;
    d->record.update.total_bytes = words.n * sizeof *c->truth;
    assert_ok(
        weft_sha256(d->record.update.digest, d->encoded, words.n * sizeof *c->truth, &assert_err));
    *e = (weft_session_event){.kind = WEFT_SESSION_STORED};
    e->u.stored.total_bytes = d->record.update.total_bytes;
    memcpy(e->u.stored.digest, d->record.update.digest, WEFT_DIGEST_BYTES);
}

static void mask(secure_world *w, uint32_t k, const weft_session_action *a, weft_session_event *e)
{
    secure_client *c = &w->clients[k];
    const size_t n = (size_t)w->grid.n_words;
    assert_non_null(c->disk.encoded);
    weft_free(memory, c->disk.masked);
    c->disk.masked = weft_array(memory, n, sizeof *c->disk.masked);
    assert_non_null(c->disk.masked);
    memcpy(c->disk.masked, c->disk.encoded, n * sizeof *c->disk.masked);
    assert_ok(weft_prg_apply(c->disk.masked, 0, n, a->u.mask.masks, a->u.mask.n_masks, memory,
                             &assert_err));
    c->n_masked_made++;
    *e = (weft_session_event){.kind = WEFT_SESSION_MASKED};
    e->u.masked.total_bytes = n * sizeof *c->disk.masked;
    assert_ok(
        weft_sha256(e->u.masked.digest, c->disk.masked, n * sizeof *c->disk.masked, &assert_err));
}

static weft_metrics trained_metrics; /* what an event points to */

static void train(secure_world *w, uint32_t k, weft_session_event *e)
{
    (void)w;
    secure_client *c = &w->clients[k];
    c->n_trained++;
    trained_metrics = measured(k);
    *e = (weft_session_event){.kind = WEFT_SESSION_TRAINED};
    e->u.trained.n_examples = 10 + k % 90;
    e->u.trained.metrics = &trained_metrics;
}

/* What is durable at once. @return false: it is another kind of action. */
static bool persist(secure_client *c, const weft_session_action *a)
{
    secure_disk *d = &c->disk;
    switch ((int)a->kind) {
    case WEFT_SESSION_KEEP_ASSIGNMENT:
        memset(&d->record, 0, sizeof d->record);
        d->record.assignment = *a->u.assignment;
        d->record.assignment.model_spec = "tensor w 4"; /* outlives the session */
        d->record.assignment.data_schema = "";
        d->open = true;
        return true;
    case WEFT_SESSION_KEEP_SECURE:
        keep_secure(d, a);
        return true;
    case WEFT_SESSION_KEEP_ABANDON:
        d->record.abandoning = true;
        d->record.declined = a->u.keep.declined;
        d->record.secure.size = 0;
        (void)snprintf(d->record.reason, sizeof d->record.reason, "%s", a->u.keep.reason);
        return true;
    case WEFT_SESSION_CLOSE:
        d->open = false;
        d->closed++;
        d->outcome = a->u.close.outcome;
        (void)snprintf(d->reason, sizeof d->reason, "%s", a->u.close.reason);
        weft_free(memory, d->encoded);
        d->encoded = NULL;
        return true;
    default:
        return false;
    }
}

/* @return true: e answers. */
static bool perform(secure_world *w, uint32_t k, const weft_session_action *a,
                    weft_session_event *e)
{
    secure_client *c = &w->clients[k];
    if (persist(c, a)) {
        return false;
    }
    switch ((int)a->kind) {
    case WEFT_SESSION_CHECK_IN:
        answer_check_in(w, k, e);
        return true;
    case WEFT_SESSION_FETCH:
        *e = (weft_session_event){.kind = WEFT_SESSION_FETCHED};
        return true;
    case WEFT_SESSION_TRAIN:
        train(w, k, e);
        return true;
    case WEFT_SESSION_STORE:
        encode(w, k, a, e);
        return true;
    case WEFT_SESSION_STEP:
        return take_step(w, k, a, e);
    case WEFT_SESSION_MASK:
        mask(w, k, a, e);
        return true;
    case WEFT_SESSION_UPLOAD:
        take_upload(w, k, a, e);
        return true;
    case WEFT_SESSION_PROGRESS:
        answer_progress(w, k, a, e);
        return true;
    case WEFT_SESSION_ABANDON:
        leave(w, k, a->u.abandon.reason);
        *e = (weft_session_event){.kind = WEFT_SESSION_ABANDONED};
        return true;
    case WEFT_SESSION_CANCEL:
        c->held = false;
        return false;
    default: /* NOTIFY, FINISH */
        return false;
    }
}

static void start_client(secure_world *w, uint32_t k)
{
    secure_client *c = &w->clients[k];
    static const weft_session_dataset offered[] = {{"digits"}};
    weft_session_config config = WEFT_SESSION_CONFIG_INIT;
    config.datasets = offered;
    config.n_datasets = 1;
    config.require_secure_aggregation = true;
    config.min_cohort = 3;
    config.secure = &c->secure;
    config.seed = weft_rng_u64(&w->rng);
    assert_ok(weft_session_new(&c->session, &config, c->disk.open ? &c->disk.record : NULL, memory,
                               &assert_err));
}

static void stop_client(secure_client *c)
{
    weft_session_free(c->session);
    c->session = NULL;
    c->held = false;
}

/* It dies here: for good, or to come back. */
static bool dies(secure_world *w, uint32_t k, const weft_session_action *a)
{
    secure_client *c = &w->clients[k];
    c->n_actions++;
    if (c->vanish_before == a->kind ||
        (c->vanish_after_receipt && c->uploaded && a->kind == WEFT_SESSION_STEP)) {
        stop_client(c);
        c->vanished = true;
        return true;
    }
    if (c->n_actions == c->die_at) {
        stop_client(c);
        c->died = true;
        start_client(w, k);
        return true;
    }
    return false;
}

static void feed(secure_world *w, uint32_t k, weft_session_event e)
{
    secure_client *c = &w->clients[k];
    for (bool more = true; more;) {
        weft_session_actions out;
        assert_ok(weft_session_on(c->session, &e, w->now, &out, &assert_err));
        more = false;
        for (uint32_t i = 0; i < out.n; i++) {
            if (dies(w, k, &out.item[i])) {
                return;
            }
            more = perform(w, k, &out.item[i], &e) || more;
        }
        assert_true(c->n_actions < 20000); /* it gets somewhere */
    }
    if (weft_session_finished(c->session)) {
        stop_client(c);
        c->done = true;
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

/* Everybody whose time has come. @return whether anybody moved. */
static bool turn(secure_world *w)
{
    bool any = false;
    for (uint32_t k = 0; k < w->n; k++) {
        secure_client *c = &w->clients[k];
        weft_session_event e = {.kind = WEFT_SESSION_TICK};
        if (c->session && c->held && c->hold_until <= w->now) {
            c->held = false;
            if (!answer_poll(w, k, true, &e)) {
                fail_msg("a poll that is not held any more was not answered");
            }
            feed(w, k, e);
            any = true;
        } else if (c->session && !c->held && weft_session_next_ms(c->session) <= w->now) {
            feed(w, k, e);
            any = true;
        }
    }
    return any;
}

static bool pass_time(secure_world *w)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t k = 0; k < w->n; k++) {
        const secure_client *c = &w->clients[k];
        if (c->session) {
            const uint64_t at = c->held ? c->hold_until : weft_session_next_ms(c->session);
            next = at < next ? at : next;
        }
    }
    if (next == UINT64_MAX) {
        return false;
    }
    if (!w->ended && w->phase_until < next) {
        w->now = w->phase_until;
        close_phase(w);
    } else {
        w->now = next > w->now ? next : w->now + 1;
    }
    return true;
}

void secure_world_run(secure_world *w)
{
    w->phase_until = w->now + w->deadline_ms;
    for (uint32_t k = 0; k < w->n; k++) {
        start_client(w, k);
    }
    for (unsigned i = 0; turn(w) || pass_time(w); i++) {
        assert_true(i < 200000);
    }
    while (!w->ended) { /* everybody has vanished: the deadlines pass */
        close_phase(w);
    }
}

void secure_world_again(secure_world *w)
{
    weft_secagg_server_free(w->server);
    w->ended = false;
    memset(w->sum, 0, (size_t)w->grid.n_words * sizeof *w->sum);
    new_server(w);
}

void secure_world_return(secure_world *w, uint32_t k)
{
    w->clients[k].vanished = false;
    start_client(w, k);
    for (unsigned i = 0; turn(w) || pass_time(w); i++) {
        assert_true(i < 10000);
    }
}

/* ---- made and checked ------------------------------------------------------------------------ */

static void init_assignment(weft_session_assignment *a, uint32_t n, uint64_t n_params)
{
    *a = (weft_session_assignment){
        .job = "mnist",
        .job_id = 4,
        .round = 3,
        .attempt = 1,
        .task = n_params > 0 ? WEFT_TASK_TRAIN : WEFT_TASK_EVALUATE,
        .dataset = "digits",
        .model_spec = "tensor w 4",
        .data_schema = "",
        .plan = WEFT_PLAN_INIT,
        .base_digest = {1, 2, 3},
        .base_bytes = n_params > 0 ? n_params * 4 : 16,
        .clip_norm = 10.0,
        .max_examples = 1000,
        .lease_ms = 60000,
        .cohort = n,
        .secure_aggregation = true,
        .secure = {.policy = WEFT_SECAGG_POLICY_INIT, .max_cohort = n, .metrics = "accuracy loss"},
        .encoding = WEFT_FIXED_ENCODING};
}

void secure_world_init(secure_world *w, uint32_t n, uint64_t n_params, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->n = n;
    w->now = 1;
    w->deadline_ms = 120000;
    weft_rng_init(&w->rng, seed, 1);
    weft_buf_init(&outgoing, memory, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    init_assignment(&w->assignment, n, n_params);
    assert_ok(weft_session_grid(&w->grid, &w->assignment, &assert_err));
    w->clients = weft_array(memory, n, sizeof *w->clients);
    w->sum = weft_array(memory, (size_t)w->grid.n_words, sizeof *w->sum);
    assert_true(w->clients && w->sum);
    const weft_entropy entropy = secure_entropy(&w->rng);
    assert_ok(weft_sign_key_generate(&w->operator_key, &entropy, &assert_err));
    for (uint32_t k = 0; k < n; k++) {
        secure_client *c = &w->clients[k];
        char name[16];
        (void)snprintf(name, sizeof name, "c%05u", k + 1);
        weft_rng_init(&c->rng, seed, 2 + k);
        c->entropy = secure_entropy(&c->rng);
        secure_member_make(&c->member, &w->operator_key, "test", name, &entropy);
        c->truth = weft_array(memory, (size_t)w->grid.n_words, sizeof *c->truth);
        assert_non_null(c->truth);
        c->secure = (weft_session_secure_config){
            .federation = "test",
            .operator_public = w->operator_key.public_key,
            .member_key = &c->member.key,
            .chain = &c->member.chain,
            .entropy = &c->entropy,
            .memory = {context_used, masked_round, {pin_good, &c->disk}, &c->disk}};
    }
    new_server(w);
}

bool secure_world_check(secure_world *w)
{
    if (weft_secagg_server_phase(w->server) != WEFT_SECAGG_PHASE_SOLVE) {
        return false;
    }
    uint32_t n = 0;
    uint32_t *want = weft_array(memory, (size_t)w->grid.n_words, sizeof *want);
    assert_non_null(want);
    for (uint32_t i = 0; weft_secagg_server_client(w->server, i); i++) {
        if (!weft_secagg_server_included(w->server, i)) {
            continue;
        }
        uint32_t k = 0;
        while (strcmp(w->clients[k].member.name, weft_secagg_server_client(w->server, i)) != 0) {
            k++;
        }
        n++;
        for (uint64_t j = 0; j < w->grid.n_words; j++) {
            want[j] += w->clients[k].truth[j];
        }
    }
    assert_memory_equal(w->sum, want, w->grid.n_words * sizeof *want);
    weft_free(memory, want);
    weft_fixed_totals totals;
    assert_ok(weft_fixed_totals_read(&totals, &w->grid, w->sum + w->grid.layout.n_params, n,
                                     &assert_err));
    assert_int_equal(totals.clients, n);
    return true;
}

secure_client *secure_world_client(secure_world *w, uint32_t k)
{
    return &w->clients[k];
}

void secure_world_done(secure_world *w)
{
    for (uint32_t k = 0; k < w->n; k++) {
        secure_client *c = &w->clients[k];
        stop_client(c);
        weft_free(memory, c->disk.contexts);
        weft_free(memory, c->disk.state);
        weft_free(memory, c->disk.pins);
        weft_free(memory, c->disk.encoded);
        weft_free(memory, c->disk.masked);
        weft_free(memory, c->truth);
    }
    for (size_t i = 0; i < w->n_stored; i++) {
        weft_free(memory, w->stored[i].bytes);
    }
    weft_free(memory, w->stored);
    weft_free(memory, w->clients);
    weft_free(memory, w->sum);
    weft_secagg_server_free(w->server);
    weft_buf_done(&outgoing);
}
