/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: weft_secagg_server_receive, _close, _replay, weft_secagg_client_receive, _restore */
/*
 * Property: clients, coordinator and network do what the input says, in any order of the phases,
 * with restarts, changed and made-up messages. A restarted party is the one that it was (the world
 * looks); a message that was changed and taken may spoil the session, never a machine; where none
 * was, the sum that comes out is the plain one of those in it.
 *
 * The input: clients, adversary, then operations of one byte each with arguments behind them.
 */
#include "sim/secagg_world.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS = 8, MOST_OPERATIONS = 200 };

enum operation {
    POLL_ALL,
    POLL,
    CLOSE,
    VANISH,
    RESTART_COORDINATOR,
    RESTART_CLIENT,
    CHANGED_TO_COORDINATOR,
    CHANGED_TO_CLIENT,
    MADE_UP_TO_BOTH,
    CHANGED_RECORD,
    CHANGED_STATE,
    N_OPERATIONS
};

typedef struct input {
    const uint8_t *data;
    size_t left;
} input;

typedef struct change {
    size_t at;
    uint8_t bits;
    uint8_t cut; /* bytes off the end */
} change;

static bool spoiled;
static change lie;

static uint8_t take(input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

static change take_change(input *in)
{
    const size_t high = take(in);
    const size_t low = take(in);
    const uint8_t bits = take(in);
    return (change){high << 8 | low, bits, take(in)};
}

/* A copy with the change made; false: it changes nothing. */
static bool make_changed(weft_buf *out, weft_view from, const change *c)
{
    weft_buf_init(out, &weft_alloc_std, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    const size_t n = from.size > c->cut ? from.size - c->cut : 0;
    if (weft_buf_add(out, from.data, n, NULL) != WEFT_OK) {
        abort();
    }
    if (n > 0) {
        out->data[c->at % n] ^= c->bits;
    }
    return from.size > 0 && (n != from.size || c->bits != 0);
}

static void tell_lie(void *self, secagg_world *w, uint32_t i, weft_buf *message)
{
    (void)self;
    (void)w;
    (void)i;
    weft_buf changed;
    if (make_changed(&changed, weft_buf_view(message), &lie)) {
        spoiled = true;
    }
    weft_buf_clear(message);
    if (weft_buf_add(message, changed.data, changed.size, NULL) != WEFT_OK) {
        abort();
    }
    weft_buf_done(&changed);
}

static void hand_in(secagg_world *w, const char *name, weft_view message)
{
    spoiled |= secagg_world_hand_in(w, name, message, NULL) == WEFT_SECAGG_ACCEPTED;
}

static void change_outbox(secagg_world *w, const secagg_party *p, const change *c)
{
    weft_buf changed;
    if (!p->machine) {
        return;
    }
    if (make_changed(&changed, weft_secagg_client_outbox(p->machine), c)) {
        hand_in(w, p->name, weft_buf_view(&changed));
    }
    weft_buf_done(&changed);
}

static void make_up(secagg_world *w, secagg_party *p, input *in)
{
    const size_t n = take(in);
    const weft_view message = {in->data, n < in->left ? n : in->left};
    hand_in(w, p->name, message);
    hand_in(w, "stranger", message);
    if (p->machine) {
        weft_secagg_client *m = p->machine;
        const weft_status taken = weft_secagg_client_receive(m, message.data, message.size, NULL);
        spoiled |= taken == WEFT_OK || taken == WEFT_E_AUTH; /* it may leave, it never crashes */
        weft_buf_clear(&p->state);
        if (weft_secagg_client_state(m, &p->state, NULL) != WEFT_OK) {
            abort();
        }
    }
    in->data += message.size;
    in->left -= message.size;
}

/* The newest closure, changed, as if read from a damaged store; true: it was a closure. */
static bool change_record(secagg_world *w, const change *c)
{
    bool taken = false;
    for (size_t i = w->n_events; i-- > 0;) {
        if (w->events[i].client == -1) {
            weft_buf changed;
            (void)make_changed(&changed, (weft_view){w->events[i].bytes, w->events[i].n}, c);
            taken =
                weft_secagg_server_replay(w->server, changed.data, changed.size, NULL) == WEFT_OK;
            weft_buf_done(&changed);
            break;
        }
    }
    return taken;
}

static void change_state(const secagg_world *w, const secagg_party *p, const change *c)
{
    weft_secagg_client_config config;
    weft_secagg_abort why;
    weft_secagg_client *m = NULL;
    weft_buf changed;
    (void)make_changed(&changed, weft_buf_view(&p->state), c);
    secagg_world_config(w, p, &config);
    if (weft_secagg_client_restore(&m, &config, changed.data, changed.size, &why, NULL) ==
        WEFT_OK) {
        weft_secagg_client_free(m);
    }
    weft_buf_done(&changed);
}

static bool goes_on(const secagg_world *w)
{
    return weft_secagg_server_phase(w->server) < WEFT_SECAGG_PHASE_SOLVE;
}

static void poll_all(secagg_world *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (!w->parties[i].gone) {
            secagg_world_poll(w, i);
        }
    }
}

static void poll_with_lie(secagg_world *w, uint32_t i, input *in)
{
    lie = take_change(in);
    w->lie = tell_lie;
    secagg_world_poll(w, i);
    w->lie = NULL;
}

/* False: the session is not worth going on with. */
static bool operate(secagg_world *w, input *in)
{
    const enum operation operation = take(in) % N_OPERATIONS;
    const uint32_t i = operation == POLL_ALL || operation == CLOSE ? 0 : take(in) % w->n;
    secagg_party *p = &w->parties[i];
    change c;
    switch (operation) {
    case POLL_ALL:
        poll_all(w);
        break;
    case POLL:
        secagg_world_poll(w, i);
        break;
    case CLOSE:
        secagg_world_close(w);
        break;
    case VANISH:
        p->gone = true;
        weft_secagg_server_left(w->server, p->name);
        break;
    case RESTART_COORDINATOR:
        secagg_world_restart_coordinator(w);
        break;
    case RESTART_CLIENT:
        if (p->machine) {
            secagg_world_restart_client(w, p);
        }
        break;
    case CHANGED_TO_COORDINATOR:
        c = take_change(in);
        change_outbox(w, p, &c);
        break;
    case CHANGED_TO_CLIENT:
        poll_with_lie(w, i, in);
        break;
    case MADE_UP_TO_BOTH:
        make_up(w, p, in);
        break;
    case CHANGED_RECORD:
        c = take_change(in);
        return !change_record(w, &c);
    case CHANGED_STATE:
        c = take_change(in);
        change_state(w, p, &c);
        break;
    case N_OPERATIONS:
        break;
    }
    return true;
}

static void solve(secagg_world *w)
{
    if (!spoiled) {
        secagg_world_check_sum(w, NULL);
        return;
    }
    weft_secagg_solution *solution = malloc(sizeof *solution);
    if (!solution) {
        abort();
    }
    for (size_t i = 0; i < weft_secagg_server_n_secrets(w->server); i++) {
        (void)!weft_secagg_server_solve(solution, w->server, i, NULL); /* wrong shares fail it */
    }
    free(solution);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {data, size};
    secagg_world w;
    const uint32_t n = 3 + take(&in) % 4;
    const weft_secagg_policy policy = {take(&in) % 2 ? WEFT_SECAGG_CURIOUS : WEFT_SECAGG_ACTIVE,
                                       0.05, 0.1, 1, 3};
    spoiled = false;
    secagg_world_init(&w, n, WORDS, &policy, 1);
    w.minimum = 3;
    bool sound = true;
    for (int i = 0; i < MOST_OPERATIONS && in.left > 0 && sound && goes_on(&w); i++) {
        sound = operate(&w, &in);
    }
    if (sound && weft_secagg_server_phase(w.server) == WEFT_SECAGG_PHASE_SOLVE) {
        solve(&w);
    }
    secagg_world_done(&w);
    return 0;
}
