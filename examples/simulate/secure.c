/* SPDX-License-Identifier: Apache-2.0 */
/* Secure aggregation in a simulation. Owner thread. */
#include "secure.h"

#include "crypto/hash.h"
#include "crypto/prg.h"

#include <inttypes.h>
#include <string.h>

static const weft_alloc *const memory = &weft_alloc_std;

enum { STREAM_MEMBER = 203 };

/* ---- a client's keys and memory -------------------------------------------------------------- */

static weft_status fill(void *self, void *out, size_t n, weft_err *err)
{
    (void)err; /* a generator never fails */
    uint8_t *bytes = out;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(weft_rng_u64(self) >> 56);
    }
    return WEFT_OK;
}

weft_entropy sim_entropy(weft_rng *rng, uint64_t seed, uint32_t number)
{
    weft_rng_init(rng, seed, (uint64_t)STREAM_MEMBER << 32 | number);
    return (weft_entropy){fill, rng};
}

static weft_status context_used(void *self, bool *ret, const uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES],
                                weft_err *err)
{
    (void)err;
    const sim_member *m = self;
    *ret = m->has_ctx && memcmp(m->ctx, ctx, sizeof m->ctx) == 0; /* older rounds never come back */
    return WEFT_OK;
}

static weft_status masked_round(void *self, uint32_t *ret, const char *job, weft_task task,
                                weft_err *err)
{
    (void)job; /* there is one */
    (void)err;
    *ret = ((const sim_member *)self)->masked_round[task];
    return WEFT_OK;
}

weft_status sim_member_init(sim_member *ret, const weft_sign_key *operator_key, const char *name,
                            uint64_t seed, uint32_t number, weft_err *err)
{
    weft_sign_key invited;
    weft_invitation invitation;
    ret->entropy = sim_entropy(&ret->rng, seed, number);
    WEFT_TRY(weft_sign_key_generate(&invited, &ret->entropy, err));
    WEFT_TRY(weft_sign_key_generate(&ret->key, &ret->entropy, err));
    WEFT_TRY(weft_invitation_make(&invitation, operator_key, SIM_FEDERATION, name, INT64_MAX / 2,
                                  invited.public_key, err));
    WEFT_TRY(weft_member_make(&ret->chain, &invitation, &invited, ret->key.public_key, err));
    ret->config =
        (weft_session_secure_config){.federation = SIM_FEDERATION,
                                     .operator_public = operator_key->public_key,
                                     .member_key = &ret->key,
                                     .chain = &ret->chain,
                                     .entropy = &ret->entropy,
                                     .memory = {context_used, masked_round, {NULL, NULL}, ret}};
    return WEFT_OK;
}

void sim_member_note(sim_member *member, const weft_session_action *keep)
{
    const weft_session_assignment *a = keep->u.secure.assignment;
    memcpy(member->ctx, keep->u.secure.ctx, sizeof member->ctx);
    member->has_ctx = true;
    if (keep->u.secure.masked) {
        member->masked_round[a->task] = a->round;
    }
}

/* ---- a client's vector ----------------------------------------------------------------------- */

void sim_vector_drop(sim_vector *v)
{
    weft_free(memory, v->encoded);
    weft_free(memory, v->masked);
    *v = (sim_vector){.encoded = NULL};
}

weft_status sim_vector_take(sim_vector *v, sim_task *task, uint64_t assignment_id, weft_err *err)
{
    sim_vector_drop(v);
    v->assignment_id = assignment_id;
    v->n_words = task->grid.n_words;
    v->encoded = task->words;
    task->words = NULL;
    return weft_sha256(v->digest, v->encoded, (size_t)v->n_words * sizeof *v->encoded, err);
}

weft_status sim_vector_mask(sim_vector *v, const weft_session_action *mask, weft_err *err)
{
    const size_t bytes = (size_t)v->n_words * sizeof *v->masked;
    weft_free(memory, v->masked);
    v->masked = weft_array(memory, (size_t)v->n_words, sizeof *v->masked);
    if (!v->masked) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory for a masked vector of %" PRIu64 " words",
                  v->n_words);
    }
    memcpy(v->masked, v->encoded, bytes);
    WEFT_TRY(weft_prg_apply(v->masked, 0, v->n_words, mask->u.mask.masks, mask->u.mask.n_masks,
                            memory, err));
    return weft_sha256(v->digest, v->masked, bytes, err);
}

/* ---- the coordinator's sum ------------------------------------------------------------------- */

void sim_masked_drop(sim_masked *m)
{
    weft_secure_session_unref(m->session);
    weft_masked_sum_free(m->sum);
    weft_masked_sum_free(m->plain);
    m->session = NULL;
    m->sum = NULL;
    m->plain = NULL;
}

weft_status sim_masked_open(sim_masked *m, weft_secure_session *session, weft_err *err)
{
    const weft_fixed_grid *grid = weft_secure_session_grid(session);
    sim_masked_drop(m);
    m->session = weft_secure_session_ref(session);
    WEFT_TRY(weft_masked_sum_new(&m->sum, grid, memory, err));
    return weft_masked_sum_new(&m->plain, grid, memory, err);
}

static void add(weft_masked_sum *sum, const uint32_t *words, uint64_t n)
{
    uint8_t bytes[4 * 4096];
    for (uint64_t first = 0; first < n; first += sizeof bytes / 4) {
        const uint64_t left = n - first;
        const uint64_t some = left < sizeof bytes / 4 ? left : sizeof bytes / 4;
        weft_fixed_to_bytes(bytes, words + first, (size_t)some);
        weft_masked_sum_add_range(sum, bytes, first, some);
    }
}

weft_status sim_masked_fold(sim_masked *m, sim_vector *v, weft_err *err)
{
    if (!m->session || !v->masked || v->n_words != weft_secure_session_grid(m->session)->n_words) {
        WEFT_FAIL(err, WEFT_E_INTERNAL, "a masked vector is folded that nobody holds");
    }
    add(m->sum, v->masked, v->n_words);
    add(m->plain, v->encoded, v->n_words);
    sim_vector_drop(v);
    WEFT_TRY(weft_masked_sum_count(m->sum, err));
    return weft_masked_sum_count(m->plain, err);
}

static weft_status unmask(sim_masked *m, weft_secagg_solution *solution, uint64_t n_words,
                          weft_err *err)
{
    const weft_secagg_server *machine = weft_secure_session_machine(m->session);
    for (size_t i = 0; i < weft_secagg_server_n_secrets(machine); i++) {
        WEFT_TRY(weft_secagg_server_solve(solution, machine, i, err));
        WEFT_TRY(weft_prg_apply(weft_masked_sum_words(m->sum), 0, n_words, solution->streams,
                                solution->n_streams, memory, err));
    }
    return WEFT_OK;
}

static void count(sim_masked *m)
{
    const weft_secagg_params *p =
        weft_secagg_server_params(weft_secure_session_machine(m->session));
    m->stats.n_sums++;
    m->stats.n_vectors += weft_masked_sum_clients(m->sum);
    m->stats.n_dropped += p->n - weft_masked_sum_clients(m->sum);
    m->stats.k = p->k > m->stats.k ? p->k : m->stats.k;
    m->stats.t = p->t > m->stats.t ? p->t : m->stats.t;
}

weft_status sim_masked_finish(weft_fixed_totals *ret, sim_masked *m, weft_err *err)
{
    const uint64_t n_words = weft_secure_session_grid(m->session)->n_words;
    weft_secagg_solution *solution = weft_array(memory, 1, sizeof *solution);
    if (!solution) {
        WEFT_FAIL(err, WEFT_E_NOMEM, "no memory to take masks off");
    }
    const weft_status status = unmask(m, solution, n_words, err);
    weft_free(memory, solution);
    WEFT_TRY(status);
    if (memcmp(weft_masked_sum_words(m->sum), weft_masked_sum_words(m->plain),
               (size_t)n_words * sizeof(uint32_t)) != 0) {
        WEFT_FAIL(err, WEFT_E_INTERNAL, "the unmasked sum of %" PRIu32 " clients is not their sum",
                  weft_masked_sum_clients(m->sum));
    }
    count(m);
    return weft_masked_sum_totals(ret, m->sum, err);
}
