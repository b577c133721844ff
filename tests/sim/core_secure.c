/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator in memory: its secure sessions. */
#include "sim/core_secure.h"

#include "crypto/hash.h"

#include <stdlib.h>
#include <string.h>

/* ---- rows ------------------------------------------------------------------------------------ */

void sim_secure_persist(sim_shell *s, const weft_secure_row *row)
{
    if (s->db.n_secure == s->db.cap_secure) {
        s->db.cap_secure = s->db.cap_secure ? 2 * s->db.cap_secure : 16;
        s->db.secure = realloc(s->db.secure, s->db.cap_secure * sizeof *s->db.secure);
        assert_non_null(s->db.secure);
    }
    for (size_t i = 0; i < s->db.n_secure; i++) { /* appended, never changed */
        const weft_secure_row *kept = &s->db.secure[i];
        assert_false(kept->job_id == row->job_id && kept->round == row->round &&
                     kept->attempt == row->attempt && kept->task == row->task &&
                     kept->seq >= row->seq);
    }
    uint8_t *data = malloc(row->data.size + 1);
    assert_non_null(data);
    if (row->data.size > 0) {
        memcpy(data, row->data.data, row->data.size);
    }
    s->db.secure[s->db.n_secure] = *row;
    s->db.secure[s->db.n_secure].data.data = data;
    s->db.n_secure++;
}

void sim_secure_over(sim_shell *s, const weft_secure_over *over)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->db.n_secure; i++) {
        const weft_secure_row *row = &s->db.secure[i];
        if (row->job_id == over->job_id && row->round == over->round &&
            row->attempt == over->attempt && row->task == over->task) {
            free((void *)(uintptr_t)row->data.data);
        } else {
            s->db.secure[kept++] = *row;
        }
    }
    s->db.n_secure = kept;
}

void sim_secure_restore(sim_shell *s)
{
    for (size_t i = 0; i < s->db.n_secure; i++) {
        assert_ok(weft_core_restore_secure(s->core, &s->db.secure[i], &assert_err));
    }
}

/* ---- the sum --------------------------------------------------------------------------------- */

static void unmask(sim_work *work, uint32_t *words, size_t n, const weft_secagg_server *machine)
{
    weft_secagg_solution *solution = malloc(sizeof *solution);
    assert_non_null(solution);
    for (size_t i = 0; i < weft_secagg_server_n_secrets(machine); i++) {
        if (weft_secagg_server_solve(solution, machine, i, NULL) != WEFT_OK) {
            work->failed = true;
            break;
        }
        assert_ok(weft_prg_apply(words, 0, n, solution->streams, solution->n_streams,
                                 &weft_alloc_std, &assert_err));
    }
    free(solution);
}

void sim_secure_finish(sim_shell *s, sim_work *work, const sim_sum *sum,
                       const weft_secure_session *session)
{
    const weft_secagg_server *machine = weft_secure_session_machine(session);
    const weft_fixed_grid *grid = weft_secure_session_grid(session);
    const size_t n = (size_t)grid->n_words;
    uint32_t *words = calloc(n, sizeof *words);
    assert_non_null(words);
    assert_int_equal(weft_secagg_server_phase(machine), WEFT_SECAGG_PHASE_SOLVE);
    assert_int_equal(weft_secagg_server_n_included(machine), sum->n_folded);
    for (size_t i = 0; i < sum->n_folded; i++) {
        const sim_spooled *item = sim_spooled_of(s, sum->folded[i]);
        assert_true(item && item->words && item->n_words == n);
        for (size_t k = 0; k < n; k++) {
            words[k] += item->words[k];
        }
    }
    work->secure = true;
    unmask(work, words, n, machine);
    work->failed =
        work->failed || weft_fixed_totals_read(&work->totals, grid, words + grid->layout.n_params,
                                               (uint32_t)sum->n_folded, NULL) != WEFT_OK;
    if (s->summed && !work->failed) {
        s->summed(s->self, sum, words, n);
    }
    free(words);
}

/* ---- calls ----------------------------------------------------------------------------------- */

void sim_secure_answer(sim_answer *ret, const weft_action *action)
{
    const weft_view piece = action->u.reply.u.secure.piece;
    ret->secure.state = action->u.reply.u.secure.state;
    ret->secure.type = action->u.reply.u.secure.type;
    ret->secure.reason = action->u.reply.u.secure.reason;
    memcpy(ret->detail, action->u.reply.u.secure.detail, sizeof ret->detail);
    assert_int_equal(action->u.reply.u.secure.offset, 0); /* small sessions: one piece each */
    assert_int_equal(action->u.reply.u.secure.total, piece.size);
    assert_true(piece.size <= sizeof ret->secure.piece);
    ret->secure.n = piece.size;
    if (piece.size > 0) {
        memcpy(ret->secure.piece, piece.data, piece.size);
    }
}

bool sim_step(sim_shell *s, uint64_t call, const char *client, uint64_t assignment_id,
              const uint8_t ctx[WEFT_SECAGG_DIGEST_BYTES], weft_view message, uint32_t taken,
              uint64_t hold_ms)
{
    weft_event e = {.kind = WEFT_EVENT_SECURE_STEP, .call = call, .client = client};
    e.u.secure.assignment_id = assignment_id;
    memcpy(e.u.secure.ctx, ctx, sizeof e.u.secure.ctx);
    e.u.secure.message = message;
    e.u.secure.taken = taken;
    e.u.secure.hold_ms = hold_ms;
    return sim_shell_feed(s, &e);
}

bool sim_masked(sim_shell *s, uint64_t call, const char *client, uint64_t assignment_id,
                const uint8_t base[WEFT_DIGEST_BYTES], const uint32_t *words, size_t n)
{
    weft_event e = {.kind = WEFT_EVENT_UPDATE, .call = call, .client = client};
    e.u.update.assignment_id = assignment_id;
    memcpy(e.u.update.base, base, WEFT_DIGEST_BYTES);
    assert_ok(weft_sha256(e.u.update.digest, words, n * sizeof *words, &assert_err));
    e.u.update.bytes = n * sizeof *words;
    const weft_assignment_row *a = sim_assignment(s, assignment_id);
    sim_spooled *item = sim_spooled_of(s, assignment_id);
    if (a && strcmp(a->client, client) == 0 && a->state != WEFT_ASSIGNMENT_ACCEPTED) {
        item = item ? item : sim_spool_add(s, assignment_id);
        free(item->words);
        item->words = malloc(n * sizeof *words);
        assert_non_null(item->words);
        memcpy(item->words, words, n * sizeof *words);
        item->n_words = n;
        memcpy(item->digest, e.u.update.digest, WEFT_DIGEST_BYTES);
    }
    return sim_shell_feed(s, &e);
}
