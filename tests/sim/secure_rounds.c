/* SPDX-License-Identifier: Apache-2.0 */
/* A secure job in memory; see the header. */
#include "sim/secure_rounds.h"

#include "crypto/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_PARAMS (SIM_MODEL / 4U)

static weft_status fill(void *self, void *out, size_t n, weft_err *err)
{
    (void)err;
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)out)[i] = (uint8_t)(weft_rng_u64(self) >> 56);
    }
    return WEFT_OK;
}

/* ---- members --------------------------------------------------------------------------------- */

static void make_member(rounds_world *w, rounds_client *c, uint32_t i)
{
    weft_sign_key invited;
    weft_invitation invitation;
    (void)snprintf(c->name, sizeof c->name, "c%02u", i); /* fits */
    assert_ok(weft_sign_key_generate(&invited, &w->entropy, &assert_err));
    assert_ok(weft_sign_key_generate(&c->key, &w->entropy, &assert_err));
    assert_ok(weft_invitation_make(&invitation, &w->operator_key, "fed", c->name, 1000,
                                   invited.public_key, &assert_err));
    assert_ok(weft_member_make(&c->chain, &invitation, &invited, c->key.public_key, &assert_err));
    weft_buf_init(&c->state, &weft_alloc_std, WEFT_MAX_SECAGG_STATE_BYTES);
    c->input = calloc((size_t)w->grid.n_words, sizeof *c->input);
    c->masked = calloc((size_t)w->grid.n_words, sizeof *c->masked);
    assert_true(c->input && c->masked);
}

static void summed(void *self, const sim_sum *sum, const uint32_t *words, size_t n);

static void init(rounds_world *w, uint32_t n, uint32_t rounds, weft_adversary adversary, bool plain,
                 uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->n = n;
    weft_rng_init(&w->rng, seed, 1);
    w->entropy = (weft_entropy){fill, &w->rng};
    assert_ok(weft_sign_key_generate(&w->operator_key, &w->entropy, &assert_err));
    fix_init(&w->f);
    w->plain = plain;
    w->f.def.secure_aggregation = !plain;
    w->f.def.secure.adversary = adversary;
    w->f.def.secure.phase_deadline_ms = 10000;
    w->f.def.target = n;
    w->f.def.minimum = 3;
    w->f.def.selection_window_ms = 5000;
    w->f.def.rounds = rounds;
    w->f.def.max_attempts = 2;
    weft_secagg_terms_make(&w->terms, &w->f.def, WEFT_TASK_TRAIN);
    assert_ok(weft_secagg_terms_grid(&w->grid, &w->terms, WEFT_TASK_TRAIN, MODEL_PARAMS,
                                     w->f.def.clip_norm, w->f.def.max_examples, &assert_err));
    for (uint32_t i = 0; i < n; i++) {
        make_member(w, &w->client[i], i);
    }
    memcpy(w->f.s.config.operator_public, w->operator_key.public_key,
           sizeof w->f.s.config.operator_public);
    w->f.s.self = w;
    w->f.s.summed = summed;
    w->f.s.db.logical_ms = w->f.s.now_ms;
    sim_shell_crash(&w->f.s); /* with that operator's key */
    w->job_id = fix_submit(&w->f, "job");
}

void rounds_init(rounds_world *w, uint32_t n, uint32_t rounds, weft_adversary adversary,
                 uint64_t seed)
{
    init(w, n, rounds, adversary, false, seed);
}

void rounds_init_plain(rounds_world *w, uint32_t n, uint32_t rounds, uint64_t seed)
{
    init(w, n, rounds, WEFT_ADVERSARY_CURIOUS, true, seed);
}

void rounds_done(rounds_world *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        weft_secagg_client_free(w->client[i].machine);
        weft_buf_done(&w->client[i].state);
        free(w->client[i].input);
        free(w->client[i].masked);
    }
    fix_done(&w->f);
}

static rounds_client *client_named(rounds_world *w, const char *name)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (strcmp(w->client[i].name, name) == 0) {
            return &w->client[i];
        }
    }
    fail_msg("no client %s", name);
    return NULL;
}

/* ---- what must hold -------------------------------------------------------------------------- */

static void summed(void *self, const sim_sum *sum, const uint32_t *words, size_t n)
{
    rounds_world *w = self;
    assert_int_equal(n, w->grid.n_words);
    uint32_t *plain = calloc(n, sizeof *plain);
    assert_non_null(plain);
    for (size_t i = 0; i < sum->n_folded; i++) {
        const weft_assignment_row *a = sim_assignment(&w->f.s, sum->folded[i]);
        assert_non_null(a);
        const rounds_client *c = client_named(w, a->client);
        for (size_t k = 0; k < n; k++) {
            plain[k] += c->input[k];
        }
    }
    assert_memory_equal(words, plain, n * sizeof *plain);
    free(plain);
    w->n_sums++;
    w->n_summed = (uint32_t)sum->n_folded;
}

static void note_sent(rounds_world *w, rounds_client *c, weft_view message)
{
    uint8_t digest[WEFT_DIGEST_BYTES];
    const uint8_t type = message.data[3];
    assert_in_range(type, 1, WEFT_SECAGG_ABORT);
    assert_ok(weft_sha256(digest, message.data, message.size, &assert_err));
    if (c->has_sent[type]) {
        assert_memory_equal(c->sent[type], digest, sizeof digest);
    } else {
        w->n_answers += type == WEFT_SECAGG_ANSWER;
    }
    memcpy(c->sent[type], digest, sizeof digest);
    c->has_sent[type] = true;
}

static void note_roster(rounds_world *w, const weft_secagg_message *m)
{
    weft_reader r;
    weft_secagg_entry entry;
    weft_reader_init(&r, m->of.roster.entries.data, m->of.roster.entries.size);
    for (uint32_t i = 0; weft_secagg_entry_next(&entry, &r); i++) {
        assert_true(i < ROUNDS_MAX && entry.id_n < sizeof w->roster[i]);
        memset(w->roster[i], 0, sizeof w->roster[i]);
        memcpy(w->roster[i], entry.id, entry.id_n);
    }
}

static bool in_map(const uint8_t *map, uint32_t i)
{
    return (map[i / 8] >> (i % 8) & 1U) != 0;
}

/* Everybody is everybody's neighbour here: neighbour j of c is roster entry j, but for c itself. */
static void note_lists(rounds_world *w, const rounds_client *c, const weft_secagg_message *m)
{
    for (uint32_t i = 0, j = 0; j < m->of.lists.k; i++) {
        if (strcmp(w->roster[i], c->name) == 0) {
            continue;
        }
        const bool alive = in_map(m->of.lists.alive, j);
        const bool dropped = in_map(m->of.lists.dropped, j);
        const uint8_t kind = alive ? 1 : dropped ? 2 : 0;
        assert_false(alive && dropped);
        assert_true(w->kind[i] == 0 || w->kind[i] == kind);
        w->kind[i] = kind;
        j++;
    }
}

static void note_message(rounds_world *w, const rounds_client *c, weft_view bytes)
{
    weft_secagg_message m;
    assert_ok(weft_secagg_decode(&m, bytes.data, bytes.size, &assert_err));
    if (m.type == WEFT_SECAGG_ROSTER) {
        note_roster(w, &m);
    } else if (m.type == WEFT_SECAGG_SURVIVORS || m.type == WEFT_SECAGG_UNMASK) {
        note_lists(w, c, &m);
    }
}

/* ---- a client's disk ------------------------------------------------------------------------- */

static void store(rounds_client *c)
{
    weft_buf_clear(&c->state);
    assert_ok(weft_secagg_client_state(c->machine, &c->state, &assert_err));
}

static weft_secagg_client_config config_of(const rounds_world *w, const rounds_client *c,
                                           weft_buf *encoding)
{
    assert_ok(weft_fixed_describe(encoding, &w->grid, &assert_err));
    weft_secagg_client_config config = {.context = {.federation = "fed",
                                                    .job = w->f.def.name,
                                                    .job_id = w->job_id,
                                                    .round = c->assignment.row.round,
                                                    .attempt = c->assignment.row.attempt,
                                                    .task = WEFT_TASK_TRAIN,
                                                    .plan = w->f.def.plan,
                                                    .policy = w->terms.policy,
                                                    .encoding = weft_buf_view(encoding)},
                                        .owner = w->terms.policy,
                                        .operator_public = w->operator_key.public_key,
                                        .member_key = &c->key,
                                        .chain = &c->chain,
                                        .alloc = &weft_alloc_std};
    memcpy(config.context.base_digest, c->assignment.base, WEFT_DIGEST_BYTES);
    return config;
}

static void open_machine(rounds_world *w, rounds_client *c)
{
    weft_buf encoding;
    weft_secagg_abort why;
    weft_buf_init(&encoding, &weft_alloc_std, 4096);
    const weft_secagg_client_config config = config_of(w, c, &encoding);
    weft_secagg_client_free(c->machine);
    c->machine = NULL;
    if (c->state.size > 0) {
        assert_ok(weft_secagg_client_restore(&c->machine, &config, c->state.data, c->state.size,
                                             &why, &assert_err));
    } else {
        assert_ok(weft_secagg_client_new(&c->machine, &config, &w->entropy, &why, &assert_err));
        store(c);
    }
    weft_buf_done(&encoding);
}

/* Whatever it has "trained" is encoded as a real update is: the totals are looked at. */
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

static void train(rounds_world *w, rounds_client *c)
{
    float weights[MODEL_PARAMS];
    uint8_t seed[WEFT_FIXED_SEED_BYTES];
    const weft_metrics metrics = fix_metric("loss", 0.5);
    for (size_t i = 0; i < MODEL_PARAMS; i++) {
        weights[i] = (float)(weft_rng_double(&w->rng) - 0.5);
    }
    assert_ok(fill(&w->rng, seed, sizeof seed, &assert_err));
    word_sink words = {c->input, 0};
    const weft_fixed_sink sink = {take_words, &words};
    weft_fixed_result result;
    assert_ok(weft_fixed_encode(&result, &sink, &w->grid, weights, NULL, 10, &metrics, seed,
                                &weft_alloc_std, &assert_err));
    assert_int_equal(words.n, w->grid.n_words);
}

static void make_masked(rounds_world *w, rounds_client *c)
{
    weft_prg_stream masks[WEFT_MAX_SECAGG_NEIGHBOURS + 1];
    uint8_t digest[WEFT_DIGEST_BYTES];
    const size_t bytes = (size_t)w->grid.n_words * sizeof *c->masked;
    size_t n = 0;
    memcpy(c->masked, c->input, bytes);
    assert_ok(weft_secagg_client_masks(masks, &n, c->machine, &assert_err));
    assert_ok(weft_prg_apply(c->masked, 0, (size_t)w->grid.n_words, masks, n, &weft_alloc_std,
                             &assert_err));
    assert_ok(weft_sha256(digest, c->masked, bytes, &assert_err));
    assert_ok(weft_secagg_client_masked(c->machine, digest, &assert_err));
    store(c);
}

/* ---- a client's steps ------------------------------------------------------------------------ */

const uint8_t *rounds_ctx(const rounds_client *c)
{
    return weft_secagg_client_ctx(c->machine);
}

static bool lost(rounds_world *w, const rounds_client *c)
{
    return w->lost && w->lost(w, c);
}

static void check_in(rounds_world *w, rounds_client *c)
{
    const uint64_t call = ++w->f.call;
    sim_answer a;
    if (lost(w, c)) {
        return;
    }
    (void)sim_check_in(&w->f.s, call, c->name, "d", 0); /* a crash: it asks again */
    if (!sim_shell_answer(&w->f.s, call, &a) || lost(w, c) || a.kind != WEFT_REPLY_ASSIGNMENT) {
        return;
    }
    if (c->n_sessions > 0 && c->assignment.row.assignment_id == a.row.assignment_id) {
        return;
    }
    c->assignment = a;
    c->assigned = true;
    c->over = false;
    c->has_receipt = false;
    c->n_sessions++;
    weft_buf_clear(&c->state);
    memset(c->has_sent, 0, sizeof c->has_sent);
    memset(w->kind, 0, sizeof w->kind);
    if (!w->plain) {
        train(w, c);
        open_machine(w, c);
    }
}

/* A held check-in would do: here they ask until their round begins. */
static void wait_for_work(rounds_world *w, rounds_client *c)
{
    const uint64_t call = ++w->f.call;
    (void)sim_check_in(&w->f.s, call, c->name, "d", 20000); /* it asks again */
}

static void upload(rounds_world *w, rounds_client *c)
{
    const uint64_t call = ++w->f.call;
    const uint64_t id = c->assignment.row.assignment_id;
    sim_answer a;
    if (lost(w, c)) {
        return;
    }
    if (w->plain) {
        const weft_metrics metrics = fix_metric("loss", 0.5);
        (void)sim_update(&w->f.s, call, c->name, id, c->assignment.base, id, 10, WEFT_REFUSAL_NONE,
                         &metrics); /* a crash: once more */
    } else {
        (void)sim_masked(&w->f.s, call, c->name, id, c->assignment.base, c->masked,
                         (size_t)w->grid.n_words); /* the same */
    }
    if (!sim_shell_answer(&w->f.s, call, &a) || lost(w, c)) {
        return;
    }
    if (a.kind == WEFT_REPLY_RECEIPT) {
        assert_int_equal(a.row.assignment_id, id);
        c->has_receipt = true;
        c->over = w->plain;
        c->gone = c->gone || c->die_receipt;
    } else {
        assert_int_equal(a.kind, WEFT_REPLY_REFUSED);
        c->over = true;
        c->ended = WEFT_SECAGG_NEXT_FAILED;
        memcpy(c->detail, a.detail, sizeof c->detail);
    }
}

bool rounds_send(rounds_world *w, const rounds_client *c, weft_view message, uint32_t taken,
                 sim_answer *ret)
{
    const uint64_t call = ++w->f.call;
    if (lost(w, c)) {
        return false;
    }
    (void)sim_step(&w->f.s, call, c->name, c->assignment.row.assignment_id, rounds_ctx(c), message,
                   taken, 0); /* whether there is an answer shows */
    return sim_shell_answer(&w->f.s, call, ret) && !lost(w, c);
}

static void receive(rounds_world *w, rounds_client *c, const sim_answer *a)
{
    const weft_view piece = {a->secure.piece, a->secure.n};
    note_message(w, c, piece);
    assert_ok(weft_secagg_client_receive(c->machine, piece.data, piece.size, &assert_err));
    store(c);
}

static uint32_t taken_of(const rounds_client *c)
{
    static const uint32_t taken[] = {
        [WEFT_SECAGG_CLIENT_SHARED] = WEFT_SECAGG_ROSTER,
        [WEFT_SECAGG_CLIENT_MASKING] = WEFT_SECAGG_DELIVERY,
        [WEFT_SECAGG_CLIENT_MASKED] = WEFT_SECAGG_DELIVERY,
        [WEFT_SECAGG_CLIENT_CONFIRMED] = WEFT_SECAGG_SURVIVORS,
        [WEFT_SECAGG_CLIENT_ANSWERED] = WEFT_SECAGG_UNMASK,
        [WEFT_SECAGG_CLIENT_ABORTED] = 0,
    };
    return taken[weft_secagg_client_phase_get(c->machine)];
}

static void poll(rounds_world *w, rounds_client *c)
{
    const weft_view outbox = weft_secagg_client_outbox(c->machine);
    sim_answer a;
    if (outbox.size > 0) {
        if (outbox.data[3] == c->die_before) {
            c->gone = true;
            return;
        }
        note_sent(w, c, outbox);
    }
    if (!rounds_send(w, c, outbox, taken_of(c), &a)) {
        return;
    }
    assert_int_equal(a.kind, WEFT_REPLY_SECURE);
    switch (a.secure.state) {
    case WEFT_SECAGG_NEXT_MESSAGE:
        receive(w, c, &a);
        break;
    case WEFT_SECAGG_NEXT_WAIT:
        break;
    case WEFT_SECAGG_NEXT_DONE:
    case WEFT_SECAGG_NEXT_FAILED:
        c->over = true;
        c->ended = a.secure.state;
        c->reason = a.secure.reason;
        memcpy(c->detail, a.detail, sizeof c->detail);
        break;
    }
}

static void restart(rounds_world *w, rounds_client *c)
{
    const sim_mutation mutation = w->f.s.mutation;
    if (mutation == SIM_CLIENT_KEYS_LOST) {
        weft_buf_clear(&c->state);
    }
    open_machine(w, c);
    if (mutation == SIM_CLIENT_MASKS_AGAIN &&
        weft_secagg_client_phase_get(c->machine) == WEFT_SECAGG_CLIENT_MASKED && !c->has_receipt) {
        train(w, c);
        make_masked(w, c);
    }
}

/* Nothing that has a receipt is lost. */
static void check_receipt(rounds_world *w, const rounds_client *c)
{
    const weft_assignment_row *row =
        c->has_receipt ? sim_assignment(&w->f.s, c->assignment.row.assignment_id) : NULL;
    assert_true(!c->has_receipt || (row && row->state == WEFT_ASSIGNMENT_ACCEPTED));
}

void rounds_step(rounds_world *w, rounds_client *c)
{
    check_receipt(w, c);
    if (!c->assigned || c->over) {
        check_in(w, c);
        if (!c->assigned || c->over) {
            wait_for_work(w, c);
        }
        return;
    }
    if (w->plain) {
        upload(w, c);
        return;
    }
    if (w->crash_always) { /* not while they gather: held calls end with it */
        sim_shell_crash(&w->f.s);
    }
    if (w->restart_clients) {
        restart(w, c);
    }
    if (w->disturb) {
        w->disturb(w, c);
    }
    const weft_secagg_client_phase phase = weft_secagg_client_phase_get(c->machine);
    if (phase == WEFT_SECAGG_CLIENT_MASKING) {
        make_masked(w, c);
    }
    if (phase == WEFT_SECAGG_CLIENT_MASKING ||
        (phase == WEFT_SECAGG_CLIENT_MASKED && !c->has_receipt)) {
        c->gone = c->gone || c->die_masked;
        if (!c->gone) {
            upload(w, c);
        }
        return;
    }
    poll(w, c);
}

/* ---- time ------------------------------------------------------------------------------------ */

void rounds_turn(rounds_world *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (!w->client[i].gone) {
            rounds_step(w, &w->client[i]);
            sim_shell_check(&w->f.s, false);
        }
    }
    sim_shell_work_all(&w->f.s);
    sim_shell_pass(&w->f.s, 500);
    w->f.s.db.logical_ms = w->f.s.now_ms; /* as weftd does from time to time */
}

void rounds_run(rounds_world *w)
{
    for (uint32_t i = 0; fix_job(&w->f, w->job_id)->status == WEFT_JOB_RUNNING; i++) {
        assert_true(i < 2000); /* it gets somewhere */
        rounds_turn(w);
    }
}
