/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/secagg_world.h"

#include "base/limits.h"
#include "crypto/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Also for fuzz targets and benchmarks: no test framework here. */
#define REQUIRE(holds)                                                                             \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds);                            \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static weft_status fill(void *self, void *out, size_t n, weft_err *err)
{
    (void)err;
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)out)[i] = (uint8_t)(weft_rng_u64(self) >> 56);
    }
    return WEFT_OK;
}

static double now(const secagg_world *w)
{
    return w->clock ? w->clock() : 0.0;
}

static void enter(const secagg_world *w, int who)
{
    if (w->enter) {
        w->enter(w->self, who);
    }
}

/* ---- members --------------------------------------------------------------------------------- */

void secagg_world_member(secagg_world *w, secagg_party *p, const char *name)
{
    weft_sign_key invitation_key;
    weft_invitation invitation;
    memset(p, 0, sizeof *p);
    (void)snprintf(p->name, sizeof p->name, "%s", name); /* names here fit */
    weft_buf_init(&p->state, &weft_alloc_std, WEFT_MAX_SECAGG_STATE_BYTES);
    REQUIRE(weft_sign_key_generate(&invitation_key, &w->entropy, NULL) == WEFT_OK);
    REQUIRE(weft_invitation_make(&invitation, &w->operator_key, "fed", name, 1000,
                                 invitation_key.public_key, NULL) == WEFT_OK);
    REQUIRE(weft_sign_key_generate(&p->key, &w->entropy, NULL) == WEFT_OK);
    REQUIRE(weft_member_make(&p->chain, &invitation, &invitation_key, p->key.public_key, NULL) ==
            WEFT_OK);
}

static void new_coordinator(secagg_world *w)
{
    weft_secagg_server_config config = {.policy = w->context.policy,
                                        .minimum = w->minimum,
                                        .expected = w->n,
                                        .federation = "fed",
                                        .operator_public = w->operator_key.public_key,
                                        .alloc = &weft_alloc_std};
    REQUIRE(weft_secagg_ctx(config.ctx, &w->context, NULL) == WEFT_OK);
    REQUIRE(weft_secagg_server_new(&w->server, &config, NULL) == WEFT_OK);
}

void secagg_world_init(secagg_world *w, uint32_t n, size_t d, const weft_secagg_policy *policy,
                       uint64_t seed)
{
    memset(w, 0, sizeof *w);
    weft_rng_init(&w->rng, seed, 0);
    w->entropy = (weft_entropy){fill, &w->rng};
    w->n = n;
    w->d = d;
    w->context = (weft_secagg_context){.federation = "fed",
                                       .job = "job",
                                       .job_id = 1,
                                       .round = 3,
                                       .attempt = 1,
                                       .task = WEFT_TASK_TRAIN,
                                       .plan = WEFT_PLAN_INIT,
                                       .policy = *policy,
                                       .encoding = {(const uint8_t *)"grid", 4}};
    w->owner = *policy;
    REQUIRE(weft_sign_key_generate(&w->operator_key, &w->entropy, NULL) == WEFT_OK);
    w->parties = calloc(n, sizeof *w->parties);
    REQUIRE(w->parties != NULL);
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "c%05u", i); /* fits */
        secagg_world_member(w, &w->parties[i], name);
        if (d > 0) {
            w->parties[i].input = malloc(d * sizeof(uint32_t));
            w->parties[i].masked = malloc(d * sizeof(uint32_t));
            REQUIRE(w->parties[i].input && w->parties[i].masked);
            REQUIRE(fill(&w->rng, w->parties[i].input, d * sizeof(uint32_t), NULL) == WEFT_OK);
        }
    }
    new_coordinator(w);
}

void secagg_world_done(secagg_world *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        weft_secagg_client_free(w->parties[i].machine);
        weft_buf_done(&w->parties[i].state);
        free(w->parties[i].input);
        free(w->parties[i].masked);
    }
    for (size_t i = 0; i < w->n_events; i++) {
        free(w->events[i].bytes);
    }
    free(w->events);
    free(w->parties);
    weft_secagg_server_free(w->server);
}

/* ---- clients --------------------------------------------------------------------------------- */

void secagg_world_config(const secagg_world *w, const secagg_party *p,
                         weft_secagg_client_config *ret)
{
    *ret = (weft_secagg_client_config){.context = w->context,
                                       .owner = w->owner,
                                       .operator_public = w->operator_key.public_key,
                                       .member_key = &p->key,
                                       .chain = &p->chain,
                                       .pins = w->pins,
                                       .alloc = &weft_alloc_std};
}

static void store(secagg_party *p)
{
    weft_buf_clear(&p->state);
    REQUIRE(weft_secagg_client_state(p->machine, &p->state, NULL) == WEFT_OK);
}

void secagg_world_begin(secagg_world *w, secagg_party *p)
{
    weft_secagg_client_config config;
    weft_secagg_abort abort_;
    secagg_world_config(w, p, &config);
    REQUIRE(weft_secagg_client_new(&p->machine, &config, &w->entropy, &abort_, NULL) == WEFT_OK);
    store(p);
}

void secagg_world_restart_client(secagg_world *w, secagg_party *p)
{
    weft_secagg_client_config config;
    weft_secagg_abort abort_;
    weft_buf again;
    secagg_world_config(w, p, &config);
    weft_secagg_client_free(p->machine);
    p->machine = NULL;
    REQUIRE(weft_secagg_client_restore(&p->machine, &config, p->state.data, p->state.size, &abort_,
                                       NULL) == WEFT_OK);
    weft_buf_init(&again, &weft_alloc_std, WEFT_MAX_SECAGG_STATE_BYTES);
    REQUIRE(weft_secagg_client_state(p->machine, &again, NULL) == WEFT_OK);
    REQUIRE(again.size == p->state.size && memcmp(again.data, p->state.data, again.size) == 0);
    weft_buf_done(&again);
}

/* As a shell does: mask the vector, then fix its digest. */
static void make_masked(secagg_world *w, secagg_party *p)
{
    static weft_prg_stream masks[WEFT_MAX_SECAGG_NEIGHBOURS + 1];
    uint8_t digest[32] = {0};
    size_t n = 0;
    if (w->d > 0) {
        memcpy(p->masked, p->input, w->d * sizeof(uint32_t));
        weft_prg_bank *bank = NULL;
        REQUIRE(weft_secagg_client_masks(masks, &n, p->machine, NULL) == WEFT_OK);
        REQUIRE(weft_prg_bank_new(&bank, masks, n, 0, &weft_alloc_std, NULL) == WEFT_OK);
        REQUIRE(weft_prg_bank_add(bank, p->masked, w->d, NULL) == WEFT_OK);
        weft_prg_bank_free(bank);
        REQUIRE(weft_sha256(digest, p->masked, w->d * sizeof(uint32_t), NULL) == WEFT_OK);
    }
    REQUIRE(weft_secagg_client_masked(p->machine, digest, NULL) == WEFT_OK);
    store(p);
}

/* ---- the coordinator ------------------------------------------------------------------------- */

static void add_event(secagg_world *w, int client, bool masked, const uint8_t *bytes, size_t n)
{
    if ((w->n_events & (w->n_events + 1)) == 0) { /* 0, 1, 3, 7, ...: room for twice as many */
        w->events = realloc(w->events, (2 * w->n_events + 2) * sizeof *w->events);
        REQUIRE(w->events != NULL);
    }
    secagg_event *e = &w->events[w->n_events++];
    *e = (secagg_event){client, masked, malloc(n + 1), n};
    REQUIRE(e->bytes != NULL);
    if (n > 0) {
        memcpy(e->bytes, bytes, n);
    }
}

static int index_of(const secagg_world *w, const char *name)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (strcmp(w->parties[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -2;
}

void secagg_world_restart_coordinator(secagg_world *w)
{
    weft_secagg_server_free(w->server);
    new_coordinator(w);
    for (size_t i = 0; i < w->n_events; i++) {
        const secagg_event *e = &w->events[i];
        weft_secagg_verdict verdict = WEFT_SECAGG_ACCEPTED;
        if (e->client == -1) {
            REQUIRE(weft_secagg_server_replay(w->server, e->bytes, e->n, NULL) == WEFT_OK);
        } else if (e->masked) {
            verdict = weft_secagg_server_masked(w->server, w->parties[e->client].name, NULL);
        } else {
            REQUIRE(weft_secagg_server_receive(&verdict, NULL, w->server,
                                               w->parties[e->client].name, e->bytes, e->n,
                                               NULL) == WEFT_OK);
        }
        REQUIRE(verdict == WEFT_SECAGG_ACCEPTED);
    }
}

weft_secagg_verdict secagg_world_hand_in(secagg_world *w, const char *name, weft_view message,
                                         weft_secagg_reason *reason)
{
    weft_secagg_verdict verdict = WEFT_SECAGG_REFUSED;
    weft_secagg_reason why = WEFT_SECAGG_FINE;
    enter(w, -1);
    const double start = now(w);
    const weft_secagg_phase phase = weft_secagg_server_phase(w->server);
    REQUIRE(weft_secagg_server_receive(&verdict, &why, w->server, name, message.data, message.size,
                                       NULL) == WEFT_OK);
    w->server_s[phase] += now(w) - start;
    w->up[phase] += message.size;
    if (verdict == WEFT_SECAGG_ACCEPTED) {
        add_event(w, index_of(w, name), false, message.data, message.size);
    }
    if (reason) {
        *reason = why;
    }
    return verdict;
}

static void upload(secagg_world *w, uint32_t i)
{
    if (weft_secagg_server_masked(w->server, w->parties[i].name, NULL) == WEFT_SECAGG_ACCEPTED) {
        add_event(w, (int)i, true, NULL, 0);
    }
}

static void take_message(secagg_world *w, secagg_party *p)
{
    weft_secagg_next next = WEFT_SECAGG_NEXT_WAIT;
    weft_secagg_reason why = WEFT_SECAGG_FINE;
    weft_buf out;
    weft_buf_init(&out, &weft_alloc_std, WEFT_MAX_SECAGG_MESSAGE_BYTES);
    const weft_secagg_phase phase = weft_secagg_server_phase(w->server);
    enter(w, -1);
    double start = now(w);
    REQUIRE(weft_secagg_server_next(&next, &why, &out, w->server, p->name, NULL) == WEFT_OK);
    w->server_s[phase] += now(w) - start;
    if (next == WEFT_SECAGG_NEXT_MESSAGE) {
        w->down[phase] += out.size;
        if (w->lie) {
            w->lie(w->self, w, (uint32_t)(p - w->parties), &out);
        }
        enter(w, (int)(p - w->parties));
        start = now(w);
        const weft_status taken = weft_secagg_client_receive(p->machine, out.data, out.size, NULL);
        REQUIRE(taken != WEFT_E_NOMEM && taken != WEFT_E_CRYPTO); /* the phase shows the rest */
        store(p);
        w->client_s[phase] += now(w) - start;
    }
    weft_buf_done(&out);
}

void secagg_world_poll(secagg_world *w, uint32_t i)
{
    secagg_party *p = &w->parties[i];
    const weft_secagg_phase phase = weft_secagg_server_phase(w->server);
    if (w->restart_coordinator) {
        secagg_world_restart_coordinator(w);
    }
    enter(w, (int)i);
    double start = now(w);
    if (!p->machine) {
        secagg_world_begin(w, p);
    } else if (w->restart_clients) {
        secagg_world_restart_client(w, p);
    }
    w->client_s[phase] += now(w) - start;
    take_message(w, p);
    enter(w, (int)i);
    if (w->restart_clients) {
        secagg_world_restart_client(w, p);
    }
    if (weft_secagg_client_phase_get(p->machine) == WEFT_SECAGG_CLIENT_MASKING) {
        start = now(w);
        make_masked(w, p);
        w->client_s[phase] += now(w) - start;
        upload(w, i);
    }
    const weft_view outbox = weft_secagg_client_outbox(p->machine);
    if (outbox.size > 0) {
        (void)secagg_world_hand_in(w, p->name, outbox, NULL); /* refusals show in the phases */
    }
}

void secagg_world_close(secagg_world *w)
{
    weft_buf record;
    weft_buf_init(&record, &weft_alloc_std, WEFT_MAX_SECAGG_RECORD_BYTES);
    const weft_secagg_phase phase = weft_secagg_server_phase(w->server);
    enter(w, -1);
    const double start = now(w);
    REQUIRE(weft_secagg_server_close(w->server, &record, NULL) == WEFT_OK);
    w->server_s[phase] += now(w) - start;
    add_event(w, -1, false, record.data, record.size);
    weft_buf_done(&record);
}

void secagg_world_phase(secagg_world *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (!w->parties[i].gone) {
            secagg_world_poll(w, i);
        }
    }
    secagg_world_close(w);
}

void secagg_world_run(secagg_world *w)
{
    while (weft_secagg_server_phase(w->server) < WEFT_SECAGG_PHASE_SOLVE) {
        secagg_world_phase(w);
    }
}

/* ---- the sum --------------------------------------------------------------------------------- */

void secagg_world_check_sum(secagg_world *w, size_t *ret_liars)
{
    uint32_t *sum = calloc(w->d, sizeof *sum);
    uint32_t *plain = calloc(w->d, sizeof *plain);
    weft_secagg_solution *solution = malloc(sizeof *solution);
    REQUIRE(sum && plain && solution);
    REQUIRE(weft_secagg_server_phase(w->server) == WEFT_SECAGG_PHASE_SOLVE);
    for (uint32_t i = 0; weft_secagg_server_client(w->server, i); i++) {
        if (weft_secagg_server_included(w->server, i)) {
            const secagg_party *p =
                &w->parties[index_of(w, weft_secagg_server_client(w->server, i))];
            for (size_t j = 0; j < w->d; j++) {
                sum[j] += p->masked[j];
                plain[j] += p->input[j];
            }
        }
    }
    size_t streams = 0;
    size_t liars = 0;
    for (size_t i = 0; i < weft_secagg_server_n_secrets(w->server); i++) {
        REQUIRE(weft_secagg_server_solve(solution, w->server, i, NULL) == WEFT_OK);
        REQUIRE(weft_prg_apply(sum, 0, w->d, solution->streams, solution->n_streams,
                               &weft_alloc_std, NULL) == WEFT_OK);
        streams += solution->n_streams;
        liars += solution->n_liars;
    }
    REQUIRE(streams == weft_secagg_server_n_streams(w->server));
    REQUIRE(memcmp(sum, plain, w->d * sizeof *sum) == 0);
    if (ret_liars) {
        *ret_liars = liars;
    }
    free(sum);
    free(plain);
    free(solution);
}
