/* SPDX-License-Identifier: Apache-2.0 */
/* common/secagg, both machines together: the sum of the survivors, bit for bit, whoever drops out
 * when, comes twice, late or with garbage, lies about shares, and whoever is restarted. */
#include "support/support.h"

#include "sim/secagg_world.h"

#include <stdlib.h>
#include <string.h>

static weft_secagg_policy policy_of(weft_secagg_adversary adversary)
{
    weft_secagg_policy p = WEFT_SECAGG_POLICY_INIT;
    p.adversary = adversary;
    return p;
}

static void init(secagg_world *w, uint32_t n, weft_secagg_adversary adversary, uint64_t seed)
{
    const weft_secagg_policy p = policy_of(adversary);
    secagg_world_init(w, n, 37, &p, seed);
}

static void assert_sum_of(secagg_world *w, uint32_t n)
{
    assert_int_equal(weft_secagg_server_failure(w->server), WEFT_SECAGG_FINE);
    assert_int_equal(weft_secagg_server_n_included(w->server), n);
    secagg_world_check_sum(w, NULL);
}

static void test_session__sums_everybody(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {3, 4, 5, 7, 10, 70};
    for (int adversary = WEFT_SECAGG_CURIOUS; adversary <= WEFT_SECAGG_ACTIVE; adversary++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            secagg_world w;
            init(&w, sizes[i], (weft_secagg_adversary)adversary, i);
            secagg_world_run(&w);
            assert_sum_of(&w, sizes[i]);
            secagg_world_done(&w);
        }
    }
}

/* As many as are tolerated vanish at each phase: those who were masked before stay in the sum. */
static void drop_at(uint32_t n, uint32_t drop, weft_secagg_adversary adversary,
                    weft_secagg_phase phase)
{
    secagg_world w;
    init(&w, n, adversary, 7 * n + phase);
    while (weft_secagg_server_phase(w.server) < phase) {
        secagg_world_phase(&w);
    }
    for (uint32_t i = 0; i < drop; i++) {
        w.parties[(i * 7 + 2) % n].gone = true;
    }
    secagg_world_run(&w);
    assert_sum_of(&w, phase <= WEFT_SECAGG_PHASE_MASK ? n - drop : n);
    secagg_world_done(&w);
}

static void test_session__survives_dropouts_at_each_phase(void **state)
{
    (void)state;
    for (int phase = WEFT_SECAGG_PHASE_ADVERTISE; phase <= WEFT_SECAGG_PHASE_UNMASK; phase++) {
        drop_at(10, 3, WEFT_SECAGG_ACTIVE, (weft_secagg_phase)phase);
        if (phase != WEFT_SECAGG_PHASE_CONFIRM) {
            drop_at(10, 7, WEFT_SECAGG_CURIOUS, (weft_secagg_phase)phase);
        }
    }
    drop_at(80, 8, WEFT_SECAGG_ACTIVE, WEFT_SECAGG_PHASE_MASK); /* a k-regular graph */
}

/* Some at every phase of one session. */
static void test_session__loses_one_at_every_phase(void **state)
{
    (void)state;
    secagg_world w;
    init(&w, 16, WEFT_SECAGG_ACTIVE, 5); /* t 9 of 15 */
    uint32_t next = 0;
    while (weft_secagg_server_phase(w.server) < WEFT_SECAGG_PHASE_SOLVE) {
        w.parties[next++].gone = true;
        secagg_world_phase(&w);
    }
    assert_sum_of(&w, 13); /* lost before ADVERTISE, SHARE, MASK; the others were masked */
    secagg_world_done(&w);
}

static void test_session__fails_below_its_thresholds(void **state)
{
    (void)state;
    static const struct {
        uint32_t n, drop;
        weft_secagg_phase phase;
        weft_secagg_reason reason;
    } cases[] = {
        {4, 2, WEFT_SECAGG_PHASE_ADVERTISE, WEFT_SECAGG_TOO_FEW_CLIENTS},
        {4, 2, WEFT_SECAGG_PHASE_SHARE, WEFT_SECAGG_TOO_FEW_CLIENTS},
        {4, 1, WEFT_SECAGG_PHASE_MASK, WEFT_SECAGG_BELOW_THRESHOLD}, /* tolerates none */
        {10, 4, WEFT_SECAGG_PHASE_MASK, WEFT_SECAGG_BELOW_THRESHOLD},
        {10, 8, WEFT_SECAGG_PHASE_MASK, WEFT_SECAGG_TOO_FEW_CLIENTS},
        {10, 4, WEFT_SECAGG_PHASE_CONFIRM, WEFT_SECAGG_BELOW_THRESHOLD},
        {10, 4, WEFT_SECAGG_PHASE_UNMASK, WEFT_SECAGG_BELOW_THRESHOLD},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        secagg_world w;
        init(&w, cases[i].n, WEFT_SECAGG_ACTIVE, i);
        while (weft_secagg_server_phase(w.server) < cases[i].phase) {
            secagg_world_phase(&w);
        }
        for (uint32_t j = 0; j < cases[i].drop; j++) {
            w.parties[j].gone = true;
        }
        secagg_world_phase(&w);
        assert_int_equal(weft_secagg_server_phase(w.server), WEFT_SECAGG_PHASE_FAILED);
        assert_int_equal(weft_secagg_server_failure(w.server), cases[i].reason);
        /* nobody is asked anything; everybody hears why; nothing can be solved */
        weft_buf out;
        weft_secagg_next next;
        weft_secagg_reason why;
        static weft_secagg_solution solution;
        weft_buf_init(&out, &weft_alloc_std, 1000);
        assert_int_equal(
            weft_secagg_server_next(&next, &why, &out, w.server, w.parties[3].name, NULL), WEFT_OK);
        assert_int_equal(next, WEFT_SECAGG_NEXT_FAILED);
        assert_int_equal(why, cases[i].reason);
        assert_int_equal(out.size, 0);
        assert_int_equal(weft_secagg_server_solve(&solution, w.server, 0, NULL), WEFT_E_STATE);
        secagg_world_done(&w);
    }
}

/* Everybody is killed and restarted before and after each message: the same bytes throughout. */
static void test_session__same_bytes_with_restarts(void **state)
{
    (void)state;
    for (int adversary = WEFT_SECAGG_CURIOUS; adversary <= WEFT_SECAGG_ACTIVE; adversary++) {
        secagg_world calm;
        secagg_world wild;
        init(&calm, 6, (weft_secagg_adversary)adversary, 11);
        init(&wild, 6, (weft_secagg_adversary)adversary, 11);
        wild.restart_clients = true;
        wild.restart_coordinator = true;
        for (int i = 0; weft_secagg_server_phase(calm.server) < WEFT_SECAGG_PHASE_SOLVE; i++) {
            calm.parties[4].gone = wild.parties[4].gone = i == 2; /* no masked input from it */
            secagg_world_phase(&calm);
            secagg_world_phase(&wild);
        }
        secagg_world_restart_coordinator(&wild);
        assert_int_equal(calm.n_events, wild.n_events);
        for (size_t i = 0; i < calm.n_events; i++) {
            assert_int_equal(calm.events[i].n, wild.events[i].n);
            assert_memory_equal(calm.events[i].bytes, wild.events[i].bytes, calm.events[i].n);
        }
        const int failure = (int)weft_secagg_server_failure(wild.server);
        assert_int_equal(failure, (int)weft_secagg_server_failure(calm.server));
        assert_sum_of(&calm, 5);
        assert_sum_of(&wild, 5);
        secagg_world_done(&calm);
        secagg_world_done(&wild);
    }
}

/* Within a phase the order of arrival changes nothing. */
static void test_server__replays_in_any_order_within_a_phase(void **state)
{
    (void)state;
    secagg_world w;
    init(&w, 7, WEFT_SECAGG_ACTIVE, 21);
    secagg_world_run(&w);
    weft_buf before;
    weft_secagg_next next;
    weft_secagg_reason why;
    size_t first = 0;
    for (size_t i = 0; i < w.n_events; i++) {
        if (w.events[i].client == -1) { /* reverse what came before this closure */
            for (size_t a = first, b = i; a + 1 < b; a++) {
                const secagg_event swapped = w.events[a];
                w.events[a] = w.events[--b];
                w.events[b] = swapped;
            }
            first = i + 1;
        }
    }
    /* short of the answers and the last closure: everybody is asked */
    for (uint32_t i = 0; i < w.n + 1; i++) {
        free(w.events[--w.n_events].bytes);
    }
    secagg_world_restart_coordinator(&w);
    assert_int_equal(weft_secagg_server_phase(w.server), WEFT_SECAGG_PHASE_UNMASK);
    weft_buf_init(&before, &weft_alloc_std, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    assert_int_equal(
        weft_secagg_server_next(&next, &why, &before, w.server, w.parties[2].name, NULL), WEFT_OK);
    /* the client has answered this very request */
    assert_int_equal(
        weft_secagg_client_receive(w.parties[2].machine, before.data, before.size, NULL), WEFT_OK);
    secagg_world_run(&w);
    assert_sum_of(&w, 7);
    weft_buf_done(&before);
    secagg_world_done(&w);
}

/* ---- messages that should not come ----------------------------------------------------------- */

static void assert_verdict(secagg_world *w, const char *name, weft_view message,
                           weft_secagg_verdict verdict, weft_secagg_reason reason)
{
    weft_secagg_reason why = WEFT_SECAGG_FINE;
    assert_int_equal(secagg_world_hand_in(w, name, message, &why), verdict);
    assert_int_equal(why, reason);
}

static void test_server__refuses_what_should_not_come(void **state)
{
    (void)state;
    secagg_world w;
    init(&w, 5, WEFT_SECAGG_ACTIVE, 31);
    secagg_world_poll(&w, 0);
    uint8_t advert[1024];
    const weft_view sent = weft_secagg_client_outbox(w.parties[0].machine);
    assert_true(sent.size <= sizeof advert);
    memcpy(advert, sent.data, sent.size);
    const weft_view message = {advert, sent.size};
    assert_verdict(&w, "c00000", message, WEFT_SECAGG_SAME, WEFT_SECAGG_FINE);
    assert_verdict(&w, "c00001", message, WEFT_SECAGG_REFUSED, WEFT_SECAGG_CHAIN); /* not its own */
    assert_verdict(&w, "c00001", (weft_view){advert, sent.size - 1}, WEFT_SECAGG_REFUSED,
                   WEFT_SECAGG_MALFORMED);
    advert[40] ^= 1; /* a bit of c_pk */
    assert_verdict(&w, "c00000", message, WEFT_SECAGG_REFUSED, WEFT_SECAGG_CONFLICT);
    advert[40] ^= 1;
    advert[4] ^= 1; /* of ctx */
    assert_verdict(&w, "c00003", message, WEFT_SECAGG_REFUSED, WEFT_SECAGG_OTHER_SESSION);
    advert[4] ^= 1;
    for (uint32_t i = 1; i < 5; i++) {
        secagg_world_begin(&w, &w.parties[i]);
        uint8_t forged[1024];
        const weft_view own = weft_secagg_client_outbox(w.parties[i].machine);
        memcpy(forged, own.data, own.size);
        forged[40] ^= 1;
        assert_verdict(&w, w.parties[i].name, (weft_view){forged, own.size}, WEFT_SECAGG_REFUSED,
                       WEFT_SECAGG_SIGNATURE);
        secagg_world_poll(&w, i);
    }
    secagg_world_close(&w);
    assert_verdict(&w, "c00000", message, WEFT_SECAGG_SAME, WEFT_SECAGG_FINE); /* of any phase */
    assert_verdict(&w, "zoe", message, WEFT_SECAGG_REFUSED, WEFT_SECAGG_LATE);
    /* a shares message with another number of neighbours, and from nobody of this session */
    secagg_world_poll(&w, 0);
    const weft_view shares = weft_secagg_client_outbox(w.parties[0].machine);
    assert_verdict(&w, "zoe", shares, WEFT_SECAGG_REFUSED, WEFT_SECAGG_NOT_INVITED);
    uint8_t fewer[2048];
    memcpy(fewer, shares.data, shares.size);
    fewer[68]--; /* k */
    assert_verdict(&w, "c00001", (weft_view){fewer, shares.size - WEFT_SECAGG_SEALED_BYTES},
                   WEFT_SECAGG_REFUSED, WEFT_SECAGG_MALFORMED);
    /* masked input before its time */
    weft_secagg_reason why = WEFT_SECAGG_FINE;
    assert_int_equal(weft_secagg_server_masked(w.server, "c00000", &why), WEFT_SECAGG_REFUSED);
    assert_int_equal(why, WEFT_SECAGG_OUT_OF_ORDER);
    secagg_world_phase(&w);
    secagg_world_phase(&w); /* masked by all */
    assert_int_equal(weft_secagg_server_masked(w.server, "c00000", &why), WEFT_SECAGG_SAME);
    /* an answer before anybody was asked */
    const uint8_t early[38 + 4 * 32] = {'W', 'S', 1, WEFT_SECAGG_ANSWER};
    uint8_t answer[sizeof early];
    memcpy(answer, early, sizeof early);
    answer[36] = 4;
    assert_verdict(&w, "c00001", (weft_view){answer, sizeof answer}, WEFT_SECAGG_REFUSED,
                   WEFT_SECAGG_OUT_OF_ORDER);
    secagg_world_run(&w);
    assert_sum_of(&w, 5);
    secagg_world_done(&w);
}

static void test_server__a_late_client_is_not_let_in(void **state)
{
    (void)state;
    secagg_world w;
    init(&w, 8, WEFT_SECAGG_ACTIVE, 41);
    secagg_world_phase(&w);
    secagg_world_phase(&w);
    w.parties[6].gone = true;
    secagg_world_phase(&w); /* without its masked input */
    w.parties[6].gone = false;
    secagg_world_poll(&w, 6);
    weft_secagg_reason why = WEFT_SECAGG_FINE;
    assert_int_equal(weft_secagg_server_masked(w.server, w.parties[6].name, &why),
                     WEFT_SECAGG_REFUSED);
    assert_int_equal(why, WEFT_SECAGG_LATE);
    weft_secagg_next next;
    assert_int_equal(weft_secagg_server_next(&next, &why, NULL, w.server, w.parties[6].name, NULL),
                     WEFT_OK);
    assert_int_equal(next, WEFT_SECAGG_NEXT_FAILED);
    assert_int_equal(why, WEFT_SECAGG_LATE);
    secagg_world_run(&w);
    assert_sum_of(&w, 7);
    secagg_world_done(&w);
}

static void test_server__waits_for_nobody_who_left(void **state)
{
    (void)state;
    secagg_world w;
    init(&w, 8, WEFT_SECAGG_ACTIVE, 43);
    secagg_world_phase(&w);
    for (uint32_t i = 0; i < 7; i++) {
        secagg_world_poll(&w, i);
        assert_false(weft_secagg_server_ready(w.server));
    }
    weft_secagg_client_leave(w.parties[7].machine);
    assert_verdict(&w, w.parties[7].name, weft_secagg_client_outbox(w.parties[7].machine),
                   WEFT_SECAGG_ACCEPTED, WEFT_SECAGG_FINE);
    assert_true(weft_secagg_server_ready(w.server));
    w.parties[7].gone = true;
    secagg_world_close(&w);
    secagg_world_run(&w);
    assert_sum_of(&w, 7);
    secagg_world_done(&w);
}

/* ---- liars ----------------------------------------------------------------------------------- */

/* Clients that answer with wrong shares. 9 shares of a secret with t 6: one is corrected, named. */
static void lie_about_shares(uint32_t liars)
{
    secagg_world w;
    init(&w, 10, WEFT_SECAGG_ACTIVE, 51);
    while (weft_secagg_server_phase(w.server) < WEFT_SECAGG_PHASE_UNMASK) {
        secagg_world_phase(&w);
    }
    for (uint32_t i = 0; i < w.n; i++) {
        if (i >= liars) {
            secagg_world_poll(&w, i);
            continue;
        }
        weft_buf out;
        weft_secagg_next next;
        weft_secagg_reason why;
        weft_buf_init(&out, &weft_alloc_std, WEFT_MAX_SECAGG_MESSAGE_BYTES);
        assert_int_equal(
            weft_secagg_server_next(&next, &why, &out, w.server, w.parties[i].name, NULL), WEFT_OK);
        assert_int_equal(weft_secagg_client_receive(w.parties[i].machine, out.data, out.size, NULL),
                         WEFT_OK);
        weft_buf_clear(&out);
        const weft_view honest = weft_secagg_client_outbox(w.parties[i].machine);
        assert_int_equal(weft_buf_add(&out, honest.data, honest.size, NULL), WEFT_OK);
        for (size_t b = 38; b < out.size; b++) {
            out.data[b] ^= (uint8_t)(1 + i);
        }
        assert_verdict(&w, w.parties[i].name, weft_buf_view(&out), WEFT_SECAGG_ACCEPTED,
                       WEFT_SECAGG_FINE);
        weft_buf_done(&out);
    }
    secagg_world_close(&w);
    static weft_secagg_solution s;
    if (liars == 1) {
        size_t named = 0;
        secagg_world_check_sum(&w, &named);
        assert_int_equal(named, 9); /* once for each secret that it held a share of */
        assert_int_equal(weft_secagg_server_solve(&s, w.server, 4, NULL), WEFT_OK);
        assert_int_equal(s.n_liars, 1);
        assert_string_equal(weft_secagg_server_client(w.server, s.liars[0]), "c00000");
    } else {
        weft_err err = WEFT_ERR_INIT;
        assert_int_equal(weft_secagg_server_solve(&s, w.server, 4, &err), WEFT_E_AUTH);
        assert_non_null(strstr(err.msg, "more than 1 are wrong"));
        assert_int_equal(s.n_streams, 0);
    }
    secagg_world_done(&w);
}

static void test_solve__corrects_and_names_liars(void **state)
{
    (void)state;
    lie_about_shares(1);
    lie_about_shares(2);
}

/* An owner that commits to one b and shares another. */
static void test_solve__a_wrong_commitment_is_noticed(void **state)
{
    (void)state;
    secagg_world w;
    init(&w, 6, WEFT_SECAGG_ACTIVE, 61);
    secagg_world_phase(&w);
    for (uint32_t i = 0; i < w.n; i++) {
        if (i != 2) {
            secagg_world_poll(&w, i);
            continue;
        }
        weft_buf out;
        weft_secagg_next next;
        weft_secagg_reason why;
        weft_buf_init(&out, &weft_alloc_std, WEFT_MAX_SECAGG_MESSAGE_BYTES);
        assert_int_equal(
            weft_secagg_server_next(&next, &why, &out, w.server, w.parties[i].name, NULL), WEFT_OK);
        assert_int_equal(weft_secagg_client_receive(w.parties[i].machine, out.data, out.size, NULL),
                         WEFT_OK);
        weft_buf_clear(&out);
        const weft_view honest = weft_secagg_client_outbox(w.parties[i].machine);
        assert_int_equal(weft_buf_add(&out, honest.data, honest.size, NULL), WEFT_OK);
        out.data[36] ^= 1;
        assert_verdict(&w, w.parties[i].name, weft_buf_view(&out), WEFT_SECAGG_ACCEPTED,
                       WEFT_SECAGG_FINE);
        weft_buf_done(&out);
    }
    secagg_world_close(&w);
    secagg_world_run(&w);
    static weft_secagg_solution s;
    weft_err err = WEFT_ERR_INIT;
    assert_int_equal(weft_secagg_server_solve(&s, w.server, 1, NULL), WEFT_OK);
    assert_int_equal(weft_secagg_server_solve(&s, w.server, 2, &err), WEFT_E_AUTH);
    assert_non_null(strstr(err.msg, "c00002"));
    secagg_world_done(&w);
}

/* ---- the client's own care ------------------------------------------------------------------- */

static void test_client__masks_one_vector_only(void **state)
{
    (void)state;
    secagg_world w;
    init(&w, 4, WEFT_SECAGG_ACTIVE, 71);
    secagg_world_phase(&w);
    secagg_world_phase(&w);
    weft_secagg_client *c = w.parties[0].machine;
    static weft_prg_stream masks[WEFT_MAX_SECAGG_NEIGHBOURS + 1];
    const uint8_t digest[32] = {1};
    const uint8_t other[32] = {2};
    size_t n = 0;
    assert_int_equal(weft_secagg_client_masks(masks, &n, c, NULL), WEFT_E_STATE);
    assert_int_equal(weft_secagg_client_masked(c, digest, NULL), WEFT_E_STATE);
    weft_buf out;
    weft_secagg_next next;
    weft_secagg_reason why;
    weft_buf_init(&out, &weft_alloc_std, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    assert_int_equal(weft_secagg_server_next(&next, &why, &out, w.server, "c00000", NULL), WEFT_OK);
    assert_int_equal(weft_secagg_client_receive(c, out.data, out.size, NULL), WEFT_OK);
    assert_int_equal(weft_secagg_client_outbox(c).size, 0);
    assert_int_equal(weft_secagg_client_masks(masks, &n, c, NULL), WEFT_OK);
    assert_int_equal(n, 4); /* its own, and three */
    assert_int_equal(weft_secagg_client_masked(c, digest, NULL), WEFT_OK);
    assert_int_equal(weft_secagg_client_masked(c, digest, NULL), WEFT_OK);
    assert_int_equal(weft_secagg_client_masked(c, other, NULL), WEFT_E_CONFLICT);
    assert_int_equal(weft_secagg_client_masks(masks, &n, c, NULL), WEFT_E_STATE); /* keys gone */
    weft_buf_done(&out);
    secagg_world_done(&w);
}

static void test_client__a_changed_state_is_a_lost_one(void **state)
{
    (void)state;
    secagg_world w;
    init(&w, 4, WEFT_SECAGG_ACTIVE, 81);
    secagg_world_phase(&w);
    secagg_world_phase(&w);
    secagg_party *p = &w.parties[1];
    weft_secagg_client_config config;
    weft_secagg_abort why;
    weft_secagg_client *c = NULL;
    secagg_world_config(&w, p, &config);
    for (size_t cut = 0; cut < p->state.size; cut += 1 + p->state.size / 50) {
        assert_int_equal(weft_secagg_client_restore(&c, &config, p->state.data, cut, &why, NULL),
                         WEFT_E_STATE);
        assert_int_equal(why.reason, WEFT_SECAGG_STATE_LOST);
        p->state.data[cut] ^= 0x10;
        assert_int_equal(
            weft_secagg_client_restore(&c, &config, p->state.data, p->state.size, &why, NULL),
            WEFT_E_STATE);
        p->state.data[cut] ^= 0x10;
    }
    config.context.attempt++; /* the state of another attempt */
    assert_int_equal(
        weft_secagg_client_restore(&c, &config, p->state.data, p->state.size, &why, NULL),
        WEFT_E_STATE);
    assert_int_equal(why.reason, WEFT_SECAGG_STATE_LOST);
    secagg_world_done(&w);
}

/* After the answer and after an abort no secret is left, in the machine or in its state. */
static bool contains(const weft_buf *in, const uint8_t *what, size_t n)
{
    return memmem(in->data, in->size, what, n) != NULL;
}

static void test_client__forgets_its_secrets(void **state)
{
    (void)state;
    secagg_world w;
    init(&w, 5, WEFT_SECAGG_ACTIVE, 91);
    secagg_world_phase(&w);
    secagg_party *p = &w.parties[0];
    uint8_t seed[32];
    memcpy(seed, p->state.data + 4 + 32 + 3, sizeof seed);
    assert_true(contains(&p->state, seed, sizeof seed));
    secagg_world_phase(&w);
    assert_true(contains(&p->state, seed, sizeof seed));
    secagg_world_phase(&w); /* masked */
    assert_false(contains(&p->state, seed, sizeof seed));
    secagg_world_run(&w);
    static const uint8_t zeros[64];
    assert_int_equal(weft_secagg_client_phase_get(p->machine), WEFT_SECAGG_CLIENT_ANSWERED);
    assert_true(contains(&p->state, zeros, sizeof zeros)); /* where shares were */
    assert_sum_of(&w, 5);
    secagg_world_done(&w);
}

/* ---- memory ---------------------------------------------------------------------------------- */

typedef struct memory_case {
    secagg_world *w;
    weft_buf roster;
} memory_case;

static weft_status try_client(const weft_alloc *a, void *arg)
{
    const memory_case *m = arg;
    weft_secagg_client_config config;
    weft_secagg_abort why;
    weft_secagg_client *c = NULL;
    weft_buf state;
    secagg_world_config(m->w, &m->w->parties[0], &config);
    config.alloc = a;
    weft_buf_init(&state, a, WEFT_MAX_SECAGG_STATE_BYTES);
    weft_status status = weft_secagg_client_restore(&c, &config, m->w->parties[0].state.data,
                                                    m->w->parties[0].state.size, &why, NULL);
    if (status == WEFT_OK) {
        status = weft_secagg_client_receive(c, m->roster.data, m->roster.size, NULL);
        assert_true(status == WEFT_OK ||
                    weft_secagg_client_phase_get(c) == WEFT_SECAGG_CLIENT_ADVERTISED);
    }
    if (status == WEFT_OK) {
        status = weft_secagg_client_state(c, &state, NULL);
    }
    weft_buf_done(&state);
    weft_secagg_client_free(c);
    return status;
}

static weft_status replay_all(weft_secagg_server *s, const secagg_world *w)
{
    for (size_t i = 0; i < w->n_events; i++) {
        const secagg_event *e = &w->events[i];
        weft_secagg_verdict verdict;
        if (e->client == -1) {
            WEFT_TRY(weft_secagg_server_replay(s, e->bytes, e->n, NULL));
        } else if (e->masked) {
            (void)weft_secagg_server_masked(s, w->parties[e->client].name, NULL); /* no memory */
        } else {
            WEFT_TRY(weft_secagg_server_receive(&verdict, NULL, s, w->parties[e->client].name,
                                                e->bytes, e->n, NULL));
        }
    }
    return WEFT_OK;
}

static weft_status try_server(const weft_alloc *a, void *arg)
{
    const memory_case *m = arg;
    weft_secagg_server_config config = {.policy = m->w->context.policy,
                                        .federation = "fed",
                                        .operator_public = m->w->operator_key.public_key,
                                        .alloc = a};
    weft_secagg_server *s = NULL;
    WEFT_TRY(weft_secagg_ctx(config.ctx, &m->w->context, NULL));
    WEFT_TRY(weft_secagg_server_new(&s, &config, NULL));
    const weft_status status = replay_all(s, m->w);
    weft_secagg_server_free(s);
    return status;
}

static void test_machines__every_allocation_may_fail(void **state)
{
    (void)state;
    secagg_world w;
    init(&w, 70, WEFT_SECAGG_CURIOUS, 101);
    for (uint32_t i = 0; i < w.n; i++) {
        secagg_world_poll(&w, i);
    }
    secagg_world_close(&w);
    memory_case m = {.w = &w};
    weft_secagg_next next;
    weft_secagg_reason why;
    weft_buf_init(&m.roster, &weft_alloc_std, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    assert_int_equal(weft_secagg_server_next(&next, &why, &m.roster, w.server, "c00000", NULL),
                     WEFT_OK);
    test_every_allocation_may_fail(try_client, &m);
    weft_buf_done(&m.roster);
    secagg_world_done(&w);
    init(&w, 3, WEFT_SECAGG_ACTIVE, 102);
    secagg_world_run(&w);
    test_every_allocation_may_fail(try_server, &m);
    secagg_world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session__sums_everybody),
        cmocka_unit_test(test_session__survives_dropouts_at_each_phase),
        cmocka_unit_test(test_session__loses_one_at_every_phase),
        cmocka_unit_test(test_session__fails_below_its_thresholds),
        cmocka_unit_test(test_session__same_bytes_with_restarts),
        cmocka_unit_test(test_server__replays_in_any_order_within_a_phase),
        cmocka_unit_test(test_server__refuses_what_should_not_come),
        cmocka_unit_test(test_server__a_late_client_is_not_let_in),
        cmocka_unit_test(test_server__waits_for_nobody_who_left),
        cmocka_unit_test(test_solve__corrects_and_names_liars),
        cmocka_unit_test(test_solve__a_wrong_commitment_is_noticed),
        cmocka_unit_test(test_client__masks_one_vector_only),
        cmocka_unit_test(test_client__a_changed_state_is_a_lost_one),
        cmocka_unit_test(test_client__forgets_its_secrets),
        cmocka_unit_test(test_machines__every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("secagg", tests, NULL, NULL);
}
