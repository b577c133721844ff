/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A coordinator that lies. Each lie is told twice: to clients as they are, which abort with the
 * reason and give nothing away; and, as a control, to clients in which that one check is switched
 * off (the hook exists in this test's build only), where the attack succeeds: mostly, client 0's
 * input comes out.
 */
#include "support/support.h"

#include "secagg/client_priv.h"
#include "sim/secagg_world.h"

#include "crypto/shamir.h"

#include <stdlib.h>
#include <string.h>

unsigned weft_secagg_test_skip;

#define BIT(check) (1U << WEFT_SECAGG_CHECK_##check)

enum { D = 33, MOST_PARTIES = 70 };

typedef struct attack {
    secagg_world w;
    unsigned bits;          /* the check that stops it */
    bool control;           /* switched off for everybody */
    bool puppets;           /* all but client 0 are the coordinator's own: it is off there anyway */
    weft_secagg_type about; /* which message is a lie */
    void (*edit)(struct attack *a, weft_buf *message);
    uint8_t confirms[MOST_PARTIES][4096]; /* what clients confirmed, as sent */
} attack;

static void on_enter(void *self, int who)
{
    const attack *a = self;
    const bool off = a->control || who == -1 || (who != 0 && a->puppets);
    weft_secagg_test_skip = off ? a->bits : 0;
}

/* Only client 0 is lied to this way. */
static void on_message(void *self, secagg_world *w, uint32_t i, weft_buf *message)
{
    (void)w;
    attack *a = self;
    if (i == 0 && a->edit && message->data[3] == a->about) {
        a->edit(a, message);
    }
}

static void begin(attack *a, uint32_t n, weft_secagg_adversary adversary, unsigned bits,
                  bool control)
{
    weft_secagg_policy p = WEFT_SECAGG_POLICY_INIT;
    p.adversary = adversary;
    memset(a, 0, sizeof *a);
    a->bits = bits;
    a->control = control;
    weft_secagg_test_skip = 0;
    secagg_world_init(&a->w, n, D, &p, 1000 + bits);
    a->w.enter = on_enter;
    a->w.lie = on_message;
    a->w.self = a;
}

static void finish(attack *a)
{
    weft_secagg_test_skip = 0;
    secagg_world_done(&a->w);
}

static void phases(attack *a, int n)
{
    while (n-- > 0 && weft_secagg_server_phase(a->w.server) < WEFT_SECAGG_PHASE_SOLVE) {
        secagg_world_phase(&a->w);
    }
}

static weft_secagg_client *victim(const attack *a)
{
    return a->w.parties[0].machine;
}

/* The client has ended with this reason, holds no secret any more, and says so. */
static void assert_aborted(const attack *a, uint32_t i, weft_secagg_reason reason, const char *who)
{
    const weft_secagg_client *c = a->w.parties[i].machine;
    static const uint8_t zeros[64];
    assert_int_equal(weft_secagg_client_phase_get(c), WEFT_SECAGG_CLIENT_ABORTED);
    assert_int_equal(weft_secagg_client_abort(c)->reason, reason);
    if (who) {
        assert_string_equal(weft_secagg_client_abort(c)->who, who);
    }
    weft_secagg_message m;
    const weft_view outbox = weft_secagg_client_outbox(c);
    assert_int_equal(weft_secagg_decode(&m, outbox.data, outbox.size, NULL), WEFT_OK);
    assert_int_equal(m.type, WEFT_SECAGG_ABORT);
    assert_int_equal(m.of.abort.reason, reason);
    assert_memory_equal(c->seed, zeros, sizeof c->seed);
    for (uint32_t j = 0; c->neighbours && j < c->params.k; j++) {
        assert_memory_equal(c->neighbours[j].shares, zeros, 64);
    }
}

/* ---- what an attacker does with secrets ------------------------------------------------------ */

/* Client 0's masked vector without the masks that these secrets make: is it its input? */
static bool recovers(const attack *a, const uint8_t b[32], const uint8_t s_sk[32])
{
    const secagg_party *p = &a->w.parties[0];
    const weft_secagg_client *c = p->machine;
    weft_prg_stream streams[MOST_PARTIES];
    uint32_t x[D];
    size_t n = 1;
    weft_dh_key *key = NULL;
    memcpy(x, p->masked, sizeof x);
    memcpy(streams[0].key, b, 32);
    streams[0].subtract = true;
    assert_int_equal(weft_dh_key_new(&key, s_sk, &weft_alloc_std, NULL), WEFT_OK);
    for (uint32_t i = 0; i < c->params.k; i++) {
        if (weft_secagg_bit(c->senders, i)) {
            const weft_secagg_neighbour_state *o = &c->neighbours[i];
            streams[n].subtract = o->index < c->index;
            assert_int_equal(weft_secagg_mask_key(streams[n++].key, key, o->s_pk, c->session,
                                                  p->name, o->id, NULL),
                             WEFT_OK);
        }
    }
    weft_dh_key_free(key);
    assert_int_equal(weft_prg_apply(x, 0, D, streams, n, &weft_alloc_std, NULL), WEFT_OK);
    return memcmp(x, p->input, sizeof x) == 0;
}

/* What party i holds of `owner`: the point and its two shares. */
static uint8_t holds(const attack *a, uint32_t i, const char *owner, uint8_t shares[64])
{
    const weft_secagg_client *c = a->w.parties[i].machine;
    for (uint32_t j = 0; j < c->params.k; j++) {
        if (strcmp(c->neighbours[j].id, owner) == 0) {
            memcpy(shares, c->neighbours[j].shares, 64);
            return c->neighbours[j].x;
        }
    }
    fail_msg("client %u is no neighbour of %s", i, owner);
    return 0;
}

static uint8_t point_of(const attack *a, uint32_t i, const char *owner)
{
    uint8_t unused[64];
    return holds(a, i, owner, unused);
}

/* All others are the coordinator's: it has their shares of client 0's secrets. */
static bool puppets_recover(const attack *a)
{
    uint8_t x[MOST_PARTIES];
    uint8_t shares[MOST_PARTIES][64];
    uint8_t secrets[64];
    const uint32_t t = victim(a)->params.t;
    if (weft_secagg_client_phase_get(victim(a)) != WEFT_SECAGG_CLIENT_MASKED) {
        return false;
    }
    for (uint32_t i = 0; i < t; i++) {
        x[i] = holds(a, i + 1, a->w.parties[0].name, shares[i]);
    }
    assert_int_equal(weft_shamir_combine(secrets, 64, x, shares[0], 64, t, NULL), WEFT_OK);
    return recovers(a, secrets, secrets + 32);
}

/* The share of a kind that an answer holds of owner's secret, by the lists it was asked with. */
static bool share_in(uint8_t out[32], const weft_secagg_client *c, weft_view answer,
                     const uint8_t *alive, const uint8_t *dropped, const char *owner, bool of_s_sk)
{
    weft_secagg_message m;
    size_t at = 0;
    if (weft_secagg_decode(&m, answer.data, answer.size, NULL) != WEFT_OK ||
        m.type != WEFT_SECAGG_ANSWER) {
        return false;
    }
    for (uint32_t i = 0; i < c->params.k; i++) {
        for (int kind = 0; kind < 2; kind++) {
            if (!weft_secagg_bit(kind ? dropped : alive, i)) {
                continue;
            }
            if (strcmp(c->neighbours[i].id, owner) == 0 && (kind == 1) == of_s_sk) {
                memcpy(out, m.of.answer.shares + 32 * at, 32);
                return true;
            }
            at++;
        }
    }
    return false;
}

/* ---- lists told by hand ---------------------------------------------------------------------- */

typedef struct lists {
    bool included;
    uint8_t alive[8], dropped[8], signers[8];
    uint8_t signatures[MOST_PARTIES][64];
} lists;

/* Everybody alive, as it is. */
static lists honest_lists(const attack *a, uint32_t i)
{
    lists l = {.included = true};
    const weft_secagg_client *c = a->w.parties[i].machine;
    memcpy(l.alive, c->senders, weft_secagg_map_bytes(c->params.k));
    return l;
}

static weft_status tell(attack *a, uint32_t i, weft_secagg_type type, const lists *l)
{
    weft_secagg_client *c = a->w.parties[i].machine;
    weft_buf out;
    weft_buf_init(&out, &weft_alloc_std, WEFT_MAX_SECAGG_CLIENT_BYTES);
    const weft_secagg_message m = {
        .type = type,
        .session = c->session,
        .of.lists = {.k = (uint16_t)c->params.k,
                     .included = l->included,
                     .alive = l->alive,
                     .dropped = l->dropped,
                     .signers = l->signers,
                     .n_signers = (uint16_t)weft_secagg_map_count(l->signers, c->params.k),
                     .signatures = l->signatures[0]}};
    assert_int_equal(weft_secagg_encode(&out, &m, NULL), WEFT_OK);
    on_enter(a, (int)i);
    const weft_status status = weft_secagg_client_receive(c, out.data, out.size, NULL);
    weft_buf_done(&out);
    return status;
}

/* Survivors to everybody; what they confirm is kept. */
static void tell_survivors(attack *a, uint32_t i, const lists *l)
{
    if (tell(a, i, WEFT_SECAGG_SURVIVORS, l) == WEFT_OK) {
        const weft_view sent = weft_secagg_client_outbox(a->w.parties[i].machine);
        assert_true(sent.size <= sizeof a->confirms[i]);
        memcpy(a->confirms[i], sent.data, sent.size);
    }
}

/* Every genuine confirmation of client i, from complete graphs in which all are alive. */
static void add_signatures(const attack *a, uint32_t i, lists *l)
{
    const uint32_t n = a->w.n;
    for (uint32_t by = 0; by < n; by++) {
        if (by != i && a->confirms[by][0] != 0) {
            const uint32_t rank = i - (i > by);
            weft_secagg_bit_set(l->signers, by - (by > i));
            memcpy(l->signatures[by - (by > i)], a->confirms[by] + 38 + 64 * rank, 64);
        }
    }
}

static void masked_by_all(attack *a)
{
    phases(a, 3);
    for (uint32_t i = 0; i < a->w.n; i++) {
        assert_int_equal(weft_secagg_client_phase_get(a->w.parties[i].machine),
                         WEFT_SECAGG_CLIENT_MASKED);
    }
}

/* ---- members that are none ------------------------------------------------------------------- */

/* The coordinator makes all others of a cohort itself; what it lacks is what the check asks for. */
static void replace_party(attack *a, uint32_t i, secagg_world *of)
{
    secagg_party *p = &a->w.parties[i];
    const secagg_party old = *p;
    secagg_world_member(of, p, old.name);
    p->input = old.input;
    p->masked = old.masked;
}

static bool other_key_known(void *self, const char *client, const uint8_t key[32])
{
    (void)self;
    (void)key;
    return strcmp(client, "c00000") == 0;
}

static void sybils(unsigned bits, weft_secagg_reason reason)
{
    for (int control = 0; control < 2; control++) {
        attack a;
        begin(&a, 5, WEFT_SECAGG_ACTIVE, bits, control);
        a.puppets = true;
        secagg_world own = {.entropy = a.w.entropy}; /* an operator of the coordinator's */
        assert_int_equal(weft_sign_key_generate(&own.operator_key, &own.entropy, NULL), WEFT_OK);
        for (uint32_t i = 1; i < a.w.n; i++) {
            if (bits == BIT(CHAIN)) {
                replace_party(&a, i, &own);
            } else if (bits == BIT(SIGNATURE)) { /* genuine chains, without their keys */
                assert_int_equal(weft_sign_key_generate(&a.w.parties[i].key, &a.w.entropy, NULL),
                                 WEFT_OK);
            }
        }
        if (bits == BIT(PIN)) {
            a.w.pins.good = other_key_known;
        }
        phases(&a, 3);
        if (control) {
            assert_true(puppets_recover(&a));
        } else {
            assert_aborted(&a, 0, reason, "c00001");
            assert_false(puppets_recover(&a));
        }
        finish(&a);
    }
}

static void test_lie__swapped_keys(void **state)
{
    (void)state;
    sybils(BIT(SIGNATURE), WEFT_SECAGG_SIGNATURE);
}

static void test_lie__invented_members(void **state)
{
    (void)state;
    sybils(BIT(CHAIN), WEFT_SECAGG_CHAIN);
}

static void test_lie__changed_member_keys(void **state)
{
    (void)state;
    sybils(BIT(PIN), WEFT_SECAGG_KEY_CHANGED);
}

/* ---- rosters --------------------------------------------------------------------------------- */

typedef struct roster {
    uint8_t ctx[32];
    uint32_t n;
    uint16_t k, t;
    char id[MOST_PARTIES][WEFT_MAX_NAME_BYTES + 1];
    uint8_t leaf[MOST_PARTIES][32];
    weft_secagg_neighbour neighbours[MOST_PARTIES];
    uint8_t chains[MOST_PARTIES][WEFT_MAX_CHAIN_BYTES];
} roster;

static void read_roster(roster *r, const weft_buf *message)
{
    weft_secagg_message m;
    weft_secagg_entry entry;
    weft_reader reader;
    memset(r, 0, sizeof *r);
    assert_int_equal(weft_secagg_decode(&m, message->data, message->size, NULL), WEFT_OK);
    memcpy(r->ctx, m.session, 32);
    r->n = m.of.roster.n;
    r->k = m.of.roster.k;
    r->t = m.of.roster.t;
    weft_reader_init(&reader, m.of.roster.entries.data, m.of.roster.entries.size);
    for (uint32_t i = 0; weft_secagg_entry_next(&entry, &reader); i++) {
        memcpy(r->id[i], entry.id, entry.id_n);
        memcpy(r->leaf[i], entry.leaf, 32);
    }
    weft_reader_init(&reader, m.of.roster.neighbours.data, m.of.roster.neighbours.size);
    for (uint32_t i = 0; weft_secagg_neighbour_next(&r->neighbours[i], &reader); i++) {
        weft_view *chain = &r->neighbours[i].keys.chain;
        memcpy(r->chains[i], chain->data, chain->size);
        chain->data = r->chains[i];
    }
}

static void write_roster(weft_buf *message, const roster *r)
{
    weft_buf entries;
    weft_buf neighbours;
    weft_buf_init(&entries, &weft_alloc_std, 1U << 20);
    weft_buf_init(&neighbours, &weft_alloc_std, 1U << 20);
    for (uint32_t i = 0; i < r->n; i++) {
        assert_int_equal(weft_secagg_entry_add(&entries, r->id[i], r->leaf[i], NULL), WEFT_OK);
    }
    for (uint32_t i = 0; i < r->k; i++) {
        assert_int_equal(weft_secagg_neighbour_add(&neighbours, r->neighbours[i].index,
                                                   &r->neighbours[i].keys, NULL),
                         WEFT_OK);
    }
    const weft_secagg_message m = {.type = WEFT_SECAGG_ROSTER,
                                   .session = r->ctx,
                                   .of.roster = {.n = r->n,
                                                 .k = r->k,
                                                 .t = r->t,
                                                 .entries = weft_buf_view(&entries),
                                                 .neighbours = weft_buf_view(&neighbours)}};
    weft_buf_clear(message);
    assert_int_equal(weft_secagg_encode(message, &m, NULL), WEFT_OK);
    weft_buf_done(&entries);
    weft_buf_done(&neighbours);
}

/* A member that colludes signs what it is told to; the roster's leaf follows. */
static void resign(attack *a, roster *r, uint32_t neighbour)
{
    weft_secagg_neighbour *n = &r->neighbours[neighbour];
    assert_int_equal(weft_secagg_keys_sign(n->keys.signature, &a->w.parties[n->index].key, r->ctx,
                                           &n->keys, NULL),
                     WEFT_OK);
    assert_int_equal(weft_secagg_leaf(r->leaf[n->index], &n->keys, NULL), WEFT_OK);
}

static void edit_self(attack *a, weft_buf *message)
{
    (void)a;
    static roster r;
    read_roster(&r, message);
    r.leaf[0][0] ^= 1; /* other keys in its place */
    write_roster(message, &r);
}

static void edit_order(attack *a, weft_buf *message)
{
    (void)a;
    static roster r;
    read_roster(&r, message);
    memcpy(r.id[2], r.id[1], sizeof r.id[2]); /* one of them twice */
    write_roster(message, &r);
}

static void edit_params(attack *a, weft_buf *message)
{
    (void)a;
    static roster r;
    read_roster(&r, message);
    r.t--;
    write_roster(message, &r);
}

static void edit_graph(attack *a, weft_buf *message)
{
    static roster r;
    read_roster(&r, message);
    for (uint32_t i = 1; i < r.n; i++) { /* somebody who is no neighbour, instead of the first */
        bool is = false;
        for (uint32_t j = 0; j < r.k; j++) {
            is = is || r.neighbours[j].index == i;
        }
        if (!is && i < r.neighbours[1].index) {
            r.neighbours[0].index = i;
            r.neighbours[0].keys = a->w.parties[i].machine->keys;
        }
    }
    write_roster(message, &r);
}

static void edit_leaf(attack *a, weft_buf *message)
{
    static roster r;
    uint8_t leaf[32];
    read_roster(&r, message);
    memcpy(leaf, r.leaf[r.neighbours[0].index], sizeof leaf);
    memset(r.neighbours[0].keys.c_pk, 9, 32); /* a pair of its own, well signed */
    resign(a, &r, 0);
    memcpy(r.leaf[r.neighbours[0].index], leaf, sizeof leaf);
    write_roster(message, &r);
}

static void edit_duplicate(attack *a, weft_buf *message)
{
    static roster r;
    read_roster(&r, message);
    memcpy(r.neighbours[1].keys.c_pk, r.neighbours[0].keys.c_pk, 32);
    resign(a, &r, 1);
    write_roster(message, &r);
}

static void edit_low_order(attack *a, weft_buf *message)
{
    static roster r;
    read_roster(&r, message);
    memset(r.neighbours[0].keys.c_pk, 0, 32);
    resign(a, &r, 0);
    write_roster(message, &r);
}

/* Is the share that client 0 seals for its first neighbour readable for everybody? */
static bool reads_first_share(const attack *a)
{
    weft_secagg_message m;
    uint8_t shares[64];
    const uint8_t anybody[32] = {1};
    const weft_secagg_client *c = victim(a);
    const weft_view sent = weft_secagg_client_outbox(c);
    weft_dh_key *key = NULL;
    if (weft_secagg_decode(&m, sent.data, sent.size, NULL) != WEFT_OK ||
        m.type != WEFT_SECAGG_SHARES) {
        return false;
    }
    assert_int_equal(weft_dh_key_new(&key, anybody, &weft_alloc_std, NULL), WEFT_OK);
    const bool good = weft_secagg_open(shares, key, c->neighbours[0].c_pk, c->session, "c00000",
                                       c->neighbours[0].id, 1, m.of.shares.sealed, NULL) == WEFT_OK;
    weft_dh_key_free(key);
    return good;
}

/* The client took the roster and gave its shares away. */
static bool shared(const attack *a)
{
    return weft_secagg_client_phase_get(victim(a)) == WEFT_SECAGG_CLIENT_SHARED;
}

static void roster_lie(uint32_t n, unsigned bits, void (*edit)(attack *, weft_buf *),
                       bool (*succeeds)(const attack *), weft_secagg_reason reason, const char *who)
{
    for (int control = 0; control < (bits ? 2 : 1); control++) {
        attack a;
        begin(&a, n, WEFT_SECAGG_ACTIVE, bits, control);
        a.about = WEFT_SECAGG_ROSTER;
        a.edit = edit;
        phases(&a, 1);
        secagg_world_poll(&a.w, 0);
        if (control) {
            assert_true(succeeds(&a));
        } else {
            assert_aborted(&a, 0, reason, who);
        }
        finish(&a);
    }
}

static void test_lie__rosters(void **state)
{
    (void)state;
    roster_lie(5, BIT(SELF), edit_self, shared, WEFT_SECAGG_SELF_MISSING, "");
    roster_lie(70, BIT(NEIGHBOURS), edit_graph, shared, WEFT_SECAGG_NEIGHBOURS, "");
    roster_lie(5, BIT(LEAF), edit_leaf, shared, WEFT_SECAGG_LEAF, "c00001");
    roster_lie(5, BIT(DUPLICATE), edit_duplicate, shared, WEFT_SECAGG_DUPLICATE_KEY, "c00002");
    roster_lie(5, BIT(LOW_ORDER), edit_low_order, reads_first_share, WEFT_SECAGG_LOW_ORDER,
               "c00001");
    roster_lie(5, 0, edit_order, NULL, WEFT_SECAGG_ROSTER_ORDER, "");
    roster_lie(5, 0, edit_params, NULL, WEFT_SECAGG_PARAMETERS, "");
}

/* Three where the client's owner wants five: two colluders are enough to take the sum apart. */
static void test_lie__a_small_cohort(void **state)
{
    (void)state;
    for (int control = 0; control < 2; control++) {
        attack a;
        begin(&a, 3, WEFT_SECAGG_ACTIVE, BIT(COHORT), control);
        weft_secagg_server_config config = {.policy = a.w.context.policy,
                                            .minimum = 3,
                                            .expected = 3,
                                            .federation = "fed",
                                            .operator_public = a.w.operator_key.public_key,
                                            .alloc = &weft_alloc_std};
        a.puppets = true;
        a.w.context.policy.min_cohort = 5; /* what it tells the clients */
        a.w.owner.min_cohort = 5;
        weft_secagg_server_free(a.w.server);
        assert_int_equal(weft_secagg_ctx(config.ctx, &a.w.context, NULL), WEFT_OK);
        assert_int_equal(weft_secagg_server_new(&a.w.server, &config, NULL), WEFT_OK);
        secagg_world_run(&a.w);
        if (control) {
            secagg_world_check_sum(&a.w, NULL); /* of three, of which it knows two */
        } else {
            assert_aborted(&a, 0, WEFT_SECAGG_COHORT_TOO_SMALL, "");
            assert_int_equal(weft_secagg_server_phase(a.w.server), WEFT_SECAGG_PHASE_FAILED);
        }
        finish(&a);
    }
}

/* Another roster for the same context, once the client has shared for the first. */
static void test_lie__a_second_roster(void **state)
{
    (void)state;
    for (int control = 0; control < 2; control++) {
        attack a;
        begin(&a, 5, WEFT_SECAGG_ACTIVE, BIT(ONCE), control);
        weft_buf message;
        static roster r;
        weft_secagg_next next;
        weft_secagg_reason why;
        weft_buf_init(&message, &weft_alloc_std, WEFT_MAX_SECAGG_MESSAGE_BYTES);
        phases(&a, 1);
        assert_int_equal(weft_secagg_server_next(&next, &why, &message, a.w.server, "c00000", NULL),
                         WEFT_OK);
        on_enter(&a, 0);
        assert_int_equal(weft_secagg_client_receive(victim(&a), message.data, message.size, NULL),
                         WEFT_OK);
        assert_int_equal(weft_secagg_client_receive(victim(&a), message.data, message.size, NULL),
                         WEFT_OK); /* the same again is nothing new */
        uint8_t session[32];
        memcpy(session, victim(&a)->session, sizeof session);
        read_roster(&r, &message);
        memset(r.neighbours[0].keys.c_pk, 9, 32);
        resign(&a, &r, 0);
        write_roster(&message, &r);
        const weft_status status =
            weft_secagg_client_receive(victim(&a), message.data, message.size, NULL);
        if (control) {
            assert_int_equal(status, WEFT_OK);
            assert_memory_not_equal(session, victim(&a)->session, sizeof session);
        } else {
            assert_int_equal(status, WEFT_E_CONFLICT);
            assert_int_equal(weft_secagg_client_abort(victim(&a))->reason, WEFT_SECAGG_CONFLICT);
            assert_memory_equal(session, victim(&a)->session, sizeof session);
        }
        weft_buf_done(&message);
        finish(&a);
    }
}

/* ---- shares ---------------------------------------------------------------------------------- */

/* Client 0 got another roster than the others: its first neighbour signed two pairs of keys. The
 * delivery is dressed up for its session and leaves that neighbour out. */
static void edit_both(attack *a, weft_buf *message)
{
    if (message->data[3] == WEFT_SECAGG_ROSTER) {
        static roster r;
        read_roster(&r, message);
        memset(r.neighbours[0].keys.c_pk, 9, 32);
        resign(a, &r, 0);
        write_roster(message, &r);
        a->about = WEFT_SECAGG_DELIVERY;
        return;
    }
    memcpy(message->data + 4, victim(a)->session, 32);
    message->data[38] &= 0xfe;
    memmove(message->data + 39, message->data + 39 + 80, message->size - 39 - 80);
    message->size -= 80;
}

static void edit_tag(attack *a, weft_buf *message)
{
    (void)a;
    message->data[39 + 3] ^= 1;
}

/* Only three of six: fewer than t. */
static void edit_senders(attack *a, weft_buf *message)
{
    (void)a;
    message->data[38] = 7;
    message->size = 39 + (size_t)3 * 80;
}

static void delivery_lie(unsigned bits, void (*edit)(attack *, weft_buf *),
                         weft_secagg_reason reason, const char *who)
{
    for (int control = 0; control < 2; control++) {
        attack a;
        begin(&a, 7, WEFT_SECAGG_ACTIVE, bits, control);
        a.about = WEFT_SECAGG_DELIVERY;
        a.edit = edit;
        phases(&a, 3);
        if (control) { /* its masked input has left */
            assert_int_equal(weft_secagg_client_phase_get(victim(&a)), WEFT_SECAGG_CLIENT_MASKED);
        } else {
            assert_aborted(&a, 0, reason, who);
        }
        finish(&a);
    }
}

/* Client 0 gets another roster than all others, and is served as if it were of their session. */
static void test_lie__rosters_that_differ(void **state)
{
    (void)state;
    for (int control = 0; control < 2; control++) {
        attack a;
        uint8_t shares[4096];
        begin(&a, 7, WEFT_SECAGG_ACTIVE, BIT(SESSION), control);
        a.about = WEFT_SECAGG_ROSTER;
        a.edit = edit_both;
        phases(&a, 1);
        for (uint32_t i = 0; i < a.w.n; i++) {
            secagg_world_poll(&a.w, i);
        }
        assert_memory_not_equal(victim(&a)->session, a.w.parties[2].machine->session, 32);
        const weft_view sent = weft_secagg_client_outbox(victim(&a));
        assert_true(sent.size <= sizeof shares);
        memcpy(shares, sent.data, sent.size);
        memcpy(shares + 4, a.w.parties[2].machine->session, 32);
        assert_int_equal(secagg_world_hand_in(&a.w, "c00000", (weft_view){shares, sent.size}, NULL),
                         WEFT_SECAGG_ACCEPTED);
        secagg_world_close(&a.w);
        phases(&a, 1);
        if (control) { /* its masked input has left */
            assert_int_equal(weft_secagg_client_phase_get(victim(&a)), WEFT_SECAGG_CLIENT_MASKED);
        } else {
            assert_aborted(&a, 0, WEFT_SECAGG_SHARE, "c00002");
            assert_aborted(&a, 2, WEFT_SECAGG_SHARE, "c00000");
        }
        finish(&a);
    }
}

static void test_lie__deliveries(void **state)
{
    (void)state;
    delivery_lie(BIT(TAG), edit_tag, WEFT_SECAGG_SHARE, "c00001");
    delivery_lie(BIT(SENDERS), edit_senders, WEFT_SECAGG_TOO_FEW_NEIGHBOURS, "");
}

/* ---- survivors ------------------------------------------------------------------------------- */

static void lists_lie(unsigned bits, void (*edit)(lists *), weft_secagg_reason reason,
                      const char *who)
{
    for (int control = 0; control < 2; control++) {
        attack a;
        begin(&a, 7, WEFT_SECAGG_ACTIVE, bits, control);
        masked_by_all(&a);
        lists l = honest_lists(&a, 0);
        edit(&l);
        const weft_status status = tell(&a, 0, WEFT_SECAGG_SURVIVORS, &l);
        if (control) {
            assert_int_equal(status, WEFT_OK); /* and confirms it */
        } else {
            assert_int_equal(status, WEFT_E_AUTH);
            assert_aborted(&a, 0, reason, who);
        }
        finish(&a);
    }
}

static void say_dropped(lists *l)
{
    l->included = false;
}

static void leave_one_out(lists *l)
{
    l->alive[0] &= 0xfd;
}

static void test_lie__lists(void **state)
{
    (void)state;
    lists_lie(BIT(INCLUDED), say_dropped, WEFT_SECAGG_SELF_DROPPED, "");
    lists_lie(BIT(LISTS), leave_one_out, WEFT_SECAGG_LISTS, "c00002");
}

/* Everybody but client 0 is told that only client 0 is alive: that would give the key of its own
 * mask and the keys of everybody else's, which together are all of its masks. */
static void test_lie__alone_among_the_dropped(void **state)
{
    (void)state;
    for (int adversary = WEFT_SECAGG_CURIOUS; adversary <= WEFT_SECAGG_ACTIVE; adversary++) {
        for (int control = 0; control < 2; control++) {
            attack a;
            begin(&a, 5, (weft_secagg_adversary)adversary, BIT(ALIVE), control);
            masked_by_all(&a);
            lists l = {.included = true};
            /* client 0 is the first neighbour of all others */
            l.alive[0] = 1;
            l.dropped[0] = 14;
            for (uint32_t i = 1; i < 5; i++) {
                if (adversary == WEFT_SECAGG_ACTIVE) {
                    tell_survivors(&a, i, &l);
                }
                const weft_status status = control || adversary == WEFT_SECAGG_CURIOUS
                                               ? tell(&a, i, WEFT_SECAGG_UNMASK, &l)
                                               : WEFT_E_AUTH;
                assert_int_equal(status, control ? WEFT_OK : WEFT_E_AUTH);
                if (!control) {
                    assert_aborted(&a, i, WEFT_SECAGG_TOO_FEW_ALIVE, "");
                }
            }
            if (control) {
                /* its masks, one by one: b, and each other's key with client 0's public one */
                const secagg_party *p = &a.w.parties[0];
                const weft_secagg_client *c = p->machine;
                const uint32_t t = c->params.t;
                uint32_t x[D];
                memcpy(x, p->masked, sizeof x);
                for (uint32_t owner = 0; owner < 5; owner++) {
                    uint8_t points[5];
                    uint8_t shares[5][32];
                    weft_prg_stream s = {.subtract = owner == 0};
                    uint32_t n = 0;
                    for (uint32_t i = 1; i < 5; i++) {
                        const weft_secagg_client *by = a.w.parties[i].machine;
                        const char *id = a.w.parties[owner].name;
                        if (share_in(shares[n], by, weft_secagg_client_outbox(by), l.alive,
                                     l.dropped, id, owner != 0)) {
                            points[n++] = point_of(&a, i, id);
                        }
                    }
                    uint8_t secret[32];
                    assert_true(n >= t);
                    assert_int_equal(
                        weft_shamir_combine(secret, 32, points, shares[0], 32, t, NULL), WEFT_OK);
                    if (owner == 0) {
                        memcpy(s.key, secret, 32);
                    } else {
                        weft_dh_key *key = NULL;
                        assert_int_equal(weft_dh_key_new(&key, secret, &weft_alloc_std, NULL),
                                         WEFT_OK);
                        assert_int_equal(weft_secagg_mask_key(s.key, key, c->keys.s_pk, c->session,
                                                              a.w.parties[owner].name, p->name,
                                                              NULL),
                                         WEFT_OK);
                        weft_dh_key_free(key); /* client 0 subtracted masks of later clients */
                    }
                    assert_int_equal(weft_prg_apply(x, 0, D, &s, 1, &weft_alloc_std, NULL),
                                     WEFT_OK);
                }
                assert_memory_equal(x, p->input, sizeof x);
            }
            finish(&a);
        }
    }
}

/* Both kinds of client 0's shares are asked for, in one request or in two. */
static bool both_kinds_recover(const attack *a, uint8_t shares[2][MOST_PARTIES][32], uint32_t n)
{
    uint8_t points[MOST_PARTIES];
    uint8_t secrets[2][32];
    const uint32_t t = victim(a)->params.t;
    if (n < t) {
        return false;
    }
    for (uint32_t i = 0; i < t; i++) {
        points[i] = point_of(a, i + 1, "c00000");
    }
    for (int kind = 0; kind < 2; kind++) {
        assert_int_equal(
            weft_shamir_combine(secrets[kind], 32, points, shares[kind][0], 32, t, NULL), WEFT_OK);
    }
    return recovers(a, secrets[0], secrets[1]);
}

static void test_lie__both_kinds_of_share(void **state)
{
    (void)state;
    for (int control = 0; control < 2; control++) {
        attack a;
        static uint8_t shares[2][MOST_PARTIES][32];
        uint32_t n = 0;
        begin(&a, 5, WEFT_SECAGG_ACTIVE, BIT(BOTH_KINDS), control);
        masked_by_all(&a);
        for (uint32_t i = 0; i < 5; i++) {
            lists l = honest_lists(&a, i);
            l.dropped[0] = i ? 1 : 0;
            tell_survivors(&a, i, &l);
        }
        for (uint32_t i = 1; i < 5; i++) {
            if (!control) {
                assert_aborted(&a, i, WEFT_SECAGG_BOTH_KINDS, "c00000");
                continue;
            }
            lists l = honest_lists(&a, i);
            l.dropped[0] = 1;
            add_signatures(&a, i, &l);
            assert_int_equal(tell(&a, i, WEFT_SECAGG_UNMASK, &l), WEFT_OK);
            const weft_secagg_client *by = a.w.parties[i].machine;
            for (int kind = 0; kind < 2; kind++) {
                assert_true(share_in(shares[kind][n], by, weft_secagg_client_outbox(by), l.alive,
                                     l.dropped, "c00000", kind == 1));
            }
            n++;
        }
        assert_int_equal(both_kinds_recover(&a, shares, n), control);
        finish(&a);
    }
}

static void test_lie__a_second_request(void **state)
{
    (void)state;
    for (int control = 0; control < 2; control++) {
        attack a;
        static uint8_t shares[2][MOST_PARTIES][32];
        uint32_t n = 0;
        begin(&a, 5, WEFT_SECAGG_CURIOUS, BIT(ONCE), control);
        masked_by_all(&a);
        for (uint32_t i = 1; i < 5; i++) {
            const weft_secagg_client *by = a.w.parties[i].machine;
            lists l = honest_lists(&a, i);
            assert_int_equal(tell(&a, i, WEFT_SECAGG_UNMASK, &l), WEFT_OK);
            assert_true(share_in(shares[0][n], by, weft_secagg_client_outbox(by), l.alive,
                                 l.dropped, "c00000", false));
            assert_int_equal(tell(&a, i, WEFT_SECAGG_UNMASK, &l), WEFT_OK); /* again is harmless */
            uint8_t before[4096];
            const weft_view answer = weft_secagg_client_outbox(by);
            memcpy(before, answer.data, answer.size);
            l.alive[0] &= 0xfe;
            l.dropped[0] = 1;
            const weft_status status = tell(&a, i, WEFT_SECAGG_UNMASK, &l);
            assert_int_equal(status, control ? WEFT_OK : WEFT_E_CONFLICT);
            if (control) {
                assert_true(share_in(shares[1][n++], by, weft_secagg_client_outbox(by), l.alive,
                                     l.dropped, "c00000", true));
            } else {
                assert_int_equal(weft_secagg_client_abort(by)->reason, WEFT_SECAGG_ANSWERED);
                assert_int_equal(weft_secagg_client_outbox(by).size, answer.size);
                assert_memory_equal(weft_secagg_client_outbox(by).data, before, answer.size);
            }
        }
        assert_int_equal(both_kinds_recover(&a, shares, n), control);
        finish(&a);
    }
}

/* One list to be confirmed, another one to be answered: client 1 was confirmed as alive, then the
 * key of its masks is asked for. */
static void test_lie__other_lists_than_confirmed(void **state)
{
    (void)state;
    for (int control = 0; control < 2; control++) {
        attack a;
        uint32_t got = 0;
        begin(&a, 7, WEFT_SECAGG_ACTIVE, BIT(LISTS_CHANGED), control);
        masked_by_all(&a);
        for (uint32_t i = 0; i < 7; i++) {
            const lists l = honest_lists(&a, i);
            tell_survivors(&a, i, &l);
        }
        for (uint32_t i = 0; i < 7; i++) {
            if (i == 1) {
                continue;
            }
            const weft_secagg_client *by = a.w.parties[i].machine;
            const uint8_t bit = (uint8_t)(i ? 2 : 1); /* of client 1 */
            uint8_t share[32];
            lists l = honest_lists(&a, i);
            add_signatures(&a, i, &l);
            l.alive[0] = (uint8_t)(l.alive[0] & ~bit);
            l.dropped[0] = bit;
            assert_int_equal(tell(&a, i, WEFT_SECAGG_UNMASK, &l), control ? WEFT_OK : WEFT_E_AUTH);
            if (!control) {
                assert_aborted(&a, i, WEFT_SECAGG_LISTS_CHANGED, "");
            }
            got += share_in(share, by, weft_secagg_client_outbox(by), l.alive, l.dropped, "c00001",
                            true);
        }
        assert_true(control ? got >= victim(&a)->params.t : got == 0);
        finish(&a);
    }
}

/* Confirmations that nobody gave; or none at all. */
static void test_lie__forged_and_missing_confirmations(void **state)
{
    (void)state;
    for (int missing = 0; missing < 2; missing++) {
        for (int control = 0; control < 2; control++) {
            attack a;
            begin(&a, 7, WEFT_SECAGG_ACTIVE, missing ? BIT(ALIVE) : BIT(CONFIRMATION), control);
            masked_by_all(&a);
            lists l = honest_lists(&a, 0);
            tell_survivors(&a, 0, &l);
            if (!missing) {
                memset(l.signatures, 0x5a, sizeof l.signatures);
                l.signers[0] = 63;
            }
            const weft_status status = tell(&a, 0, WEFT_SECAGG_UNMASK, &l);
            if (control) { /* shares for nobody's sake */
                assert_int_equal(status, WEFT_OK);
                assert_int_equal(weft_secagg_client_phase_get(victim(&a)),
                                 WEFT_SECAGG_CLIENT_ANSWERED);
            } else {
                assert_int_equal(status, WEFT_E_AUTH);
                assert_aborted(&a, 0, WEFT_SECAGG_TOO_FEW_CONFIRMED, "");
            }
            finish(&a);
        }
    }
}

/* Half of the clients are told that client 0 is alive, half that it dropped: with t above half of
 * the neighbours and the colluders neither of its secrets comes out, and client 0 itself sees that
 * too few confirm it. */
static void test_lie__different_lists_to_different_clients(void **state)
{
    (void)state;
    attack a;
    uint32_t of_b = 0;
    uint32_t of_s = 0;
    begin(&a, 9, WEFT_SECAGG_ACTIVE, 0, false); /* k 8, t 5 */
    masked_by_all(&a);
    for (uint32_t i = 0; i < 9; i++) {
        lists l = honest_lists(&a, i);
        if (i > 4) {
            l.alive[0] &= 0xfe;
            l.dropped[0] = 1;
        }
        assert_int_equal(tell(&a, i, WEFT_SECAGG_SURVIVORS, &l), WEFT_OK);
        const weft_view sent = weft_secagg_client_outbox(a.w.parties[i].machine);
        memcpy(a.confirms[i], sent.data, sent.size);
    }
    lists l = honest_lists(&a, 0);
    for (uint32_t by = 1; by <= 4; by++) { /* all that exist */
        weft_secagg_bit_set(l.signers, by - 1);
        memcpy(l.signatures[by - 1], a.confirms[by] + 38, 64);
    }
    assert_int_equal(tell(&a, 0, WEFT_SECAGG_UNMASK, &l), WEFT_E_AUTH);
    assert_aborted(&a, 0, WEFT_SECAGG_TOO_FEW_CONFIRMED, "");
    for (uint32_t i = 1; i < 9; i++) {
        of_b += i <= 4;
        of_s += i > 4;
    }
    assert_true(of_b < victim(&a)->params.t && of_s < victim(&a)->params.t);
    finish(&a);
}

/* ---- sessions that should not begin ---------------------------------------------------------- */

static void begin_lie(unsigned bits, void (*edit)(weft_secagg_client_config *),
                      weft_secagg_reason reason)
{
    for (int control = 0; control < 2; control++) {
        attack a;
        weft_secagg_client_config config;
        weft_secagg_abort why;
        weft_secagg_client *c = NULL;
        begin(&a, 3, WEFT_SECAGG_ACTIVE, bits, control);
        secagg_world_config(&a.w, &a.w.parties[0], &config);
        edit(&config);
        on_enter(&a, 0);
        const weft_status status = weft_secagg_client_new(&c, &config, &a.w.entropy, &why, NULL);
        assert_int_equal(status, control ? WEFT_OK : WEFT_E_STATE);
        assert_int_equal(why.reason, control ? WEFT_SECAGG_FINE : reason);
        weft_secagg_client_free(c);
        finish(&a);
    }
}

static void use_again(weft_secagg_client_config *config)
{
    config->context_used = true;
}

static void second_attempt(weft_secagg_client_config *config)
{
    config->context.attempt = 2;
    config->masked_round = config->context.round; /* of attempt 1 */
}

static void weaker_policy(weft_secagg_client_config *config)
{
    config->context.policy.adversary = WEFT_SECAGG_CURIOUS;
}

static void fewer_colluders(weft_secagg_client_config *config)
{
    config->owner.gamma = 0.2;
}

static void test_lie__sessions_that_do_not_begin(void **state)
{
    (void)state;
    begin_lie(BIT(REPEATED), use_again, WEFT_SECAGG_REPEATED);
    begin_lie(BIT(ATTEMPT), second_attempt, WEFT_SECAGG_SECOND_ATTEMPT);
    begin_lie(BIT(POLICY), weaker_policy, WEFT_SECAGG_POLICY);
    begin_lie(BIT(POLICY), fewer_colluders, WEFT_SECAGG_POLICY);
}

static void test_client__garbage_ends_the_session(void **state)
{
    (void)state;
    attack a;
    begin(&a, 3, WEFT_SECAGG_ACTIVE, 0, false);
    secagg_world_phase(&a.w);
    const uint8_t garbage[40] = {'W', 'S', 1, WEFT_SECAGG_DELIVERY};
    const weft_view own = weft_secagg_client_outbox(victim(&a));
    /* a message of another step, or of a client, changes nothing */
    uint8_t message[1024];
    memcpy(message, own.data, own.size);
    assert_int_equal(weft_secagg_client_receive(victim(&a), message, own.size, NULL), WEFT_E_STATE);
    assert_int_equal(weft_secagg_client_abort(victim(&a))->reason, WEFT_SECAGG_OUT_OF_ORDER);
    assert_int_equal(weft_secagg_client_phase_get(victim(&a)), WEFT_SECAGG_CLIENT_ADVERTISED);
    assert_int_equal(weft_secagg_client_receive(victim(&a), garbage, sizeof garbage, NULL),
                     WEFT_E_AUTH);
    assert_aborted(&a, 0, WEFT_SECAGG_MALFORMED, "");
    assert_int_equal(weft_secagg_client_receive(victim(&a), garbage, sizeof garbage, NULL),
                     WEFT_E_STATE);
    finish(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lie__swapped_keys),
        cmocka_unit_test(test_lie__invented_members),
        cmocka_unit_test(test_lie__changed_member_keys),
        cmocka_unit_test(test_lie__rosters),
        cmocka_unit_test(test_lie__a_small_cohort),
        cmocka_unit_test(test_lie__a_second_roster),
        cmocka_unit_test(test_lie__rosters_that_differ),
        cmocka_unit_test(test_lie__deliveries),
        cmocka_unit_test(test_lie__lists),
        cmocka_unit_test(test_lie__alone_among_the_dropped),
        cmocka_unit_test(test_lie__both_kinds_of_share),
        cmocka_unit_test(test_lie__a_second_request),
        cmocka_unit_test(test_lie__other_lists_than_confirmed),
        cmocka_unit_test(test_lie__forged_and_missing_confirmations),
        cmocka_unit_test(test_lie__different_lists_to_different_clients),
        cmocka_unit_test(test_lie__sessions_that_do_not_begin),
        cmocka_unit_test(test_client__garbage_ends_the_session),
    };
    return cmocka_run_group_tests_name("secagg_lies", tests, NULL, NULL);
}
